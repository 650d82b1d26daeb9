//! One connection to one server: made or taken from the pool, a request's head sent, an answer's read.
//!
//! Pingora connects, shakes hands, pools and speaks HTTP. Here it is decided which connection a request may
//! use and when one goes back:
//!
//! - a request with a safe method takes any pooled connection (it is repeated if that was closed meanwhile);
//! - one with an unsafe method takes a pooled connection only if it rested at most [`YOUNG`], else a new
//!   one: an origin that closes idle connections after seconds, as all do, then hardly ever meets a POST
//!   that cannot be repeated;
//! - a connection goes back only after the protocol's own end of the answer and of the request, for the
//!   time the origin's `Keep-Alive` names if that is shorter than ours.

use super::{Data, OriginError, Phase, endpoint::Endpoint, front::Load, line::Line};
use bytes::Bytes;
use futures_util::FutureExt;
use pingora::{
    Error as PingoraError,
    connectors::http::v2::Connector,
    http::{RequestHeader, ResponseHeader},
    protocols::http::{client::HttpSession, v1, v2},
    upstreams::peer::HttpPeer,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// How long a pooled connection may have rested to be used for an unsafe method.
const YOUNG: Duration = Duration::from_secs(1);
/// Interim answers before the real one.
const INTERIM_LIMIT: usize = 32;

/// What connection a request may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Not from the pool.
    pub(super) fresh: bool,
    /// The method is safe: repeated if the pooled connection was closed.
    pub(super) safe: bool,
    /// HTTP/1.1 only.
    pub(super) upgrade: bool,
}

/// One exchange on a connection. Dropped, the connection is closed; see [`Session::release`].
pub(super) struct Session {
    endpoint: Arc<Endpoint>,
    wire: Option<Wire>,
    reused: bool,
    idle: Duration,
    /// Its connection may serve others after it.
    shared: bool,
    _load: Load,
}

enum Wire {
    H1(Box<v1::client::HttpSession>, Line),
    H2(Box<v2::client::Http2Session>),
}

impl Session {
    /// A connection to `endpoint`, from the pool or new.
    pub(super) async fn open(endpoint: Arc<Endpoint>, wanted: Wanted) -> Result<Session, OriginError> {
        let load = endpoint.front().load();
        let connector = endpoint.connector();
        let h2 = endpoint.wants_h2() && !wanted.upgrade;
        let peer = endpoint.peer(wanted.upgrade);
        let times = &peer.options;
        let idle = times.idle_timeout.unwrap_or_default();
        let mut reused = true;
        let mut wire = if wanted.fresh { None } else { from_pool(connector, peer, h2, wanted.safe).await };
        if wire.is_none() {
            reused = false;
            let made = if h2 {
                match connector.new_http_session::<_, ()>(peer).await {
                    Ok(HttpSession::H2(session)) => Ok(Wire::H2(Box::new(session))),
                    Ok(HttpSession::H1(session)) => Ok(Wire::h1(Line::new(session.into_inner()), peer)),
                    Ok(HttpSession::Custom(())) => return Err(OriginError::Protocol),
                    Err(error) => Err(error),
                }
            } else {
                connector.transport().new_stream(peer).await.map(|stream| Wire::h1(Line::new(stream), peer))
            };
            wire = Some(made.map_err(|error| endpoint.told(&error, Phase::Connect))?);
        }
        if let Some(wire) = &mut wire {
            wire.set_timeouts(None, times.write_timeout);
        }
        Ok(Session { endpoint, wire, reused, idle, shared: true, _load: load })
    }

    /// Its connection ends with it.
    pub(super) fn alone(mut self) -> Session {
        self.shared = false;
        self
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(super) fn server(&self) -> SocketAddr {
        self.endpoint.address()
    }

    /// Tells the front how its request went: whether the head of the answer came.
    pub(super) fn tell_front(&self, heard: Result<(), OriginError>) {
        match heard {
            Ok(()) => self.endpoint.front().succeeded(),
            // Closed while nobody used it, as all servers do after a while.
            Err(OriginError::Closed) if self.reused => {}
            Err(error) => self.endpoint.front().failed(error),
        }
    }

    /// Was it taken from the pool?
    pub(super) fn reused(&self) -> bool {
        self.reused
    }

    pub(super) fn is_h2(&self) -> bool {
        matches!(self.wire, Some(Wire::H2(_)))
    }

    /// Sends the head. `end`: no body follows.
    pub(super) async fn send_head(&mut self, head: Box<RequestHeader>, end: bool) -> Result<(), OriginError> {
        let sent = match &mut self.wire {
            Some(Wire::H1(session, _)) => session.write_request_header(head).await.map(drop),
            Some(Wire::H2(session)) => session.write_request_header(head, end),
            None => return Err(OriginError::Closed),
        };
        sent.map_err(|error| match error.etype() {
            pingora::ErrorType::InvalidHTTPHeader => OriginError::Unsendable,
            _ => self.endpoint.told(&error, Phase::Send),
        })
    }

    /// From here on each read may take as long as one piece of a body may.
    pub(super) fn limit_body(&mut self) {
        let times = &self.endpoint.peer(false).options;
        if let Some(wire) = &mut self.wire {
            wire.set_timeouts(times.read_timeout, times.write_timeout);
        }
    }

    /// Reads the final head; `interim` hears of each 100. Cancel-safe; no time limit of its own.
    pub(super) async fn read_head(&mut self, mut interim: impl FnMut()) -> Result<(), OriginError> {
        for _ in 0..INTERIM_LIMIT {
            let read = match &mut self.wire {
                Some(Wire::H1(session, _)) => session.read_response().await.map(drop),
                Some(Wire::H2(session)) => session.read_response_header().await,
                None => return Err(OriginError::Closed),
            };
            read.map_err(|error| self.endpoint.told(&error, Phase::Head))?;
            match self.head().map(|head| head.status.as_u16()) {
                Some(100) => interim(),
                Some(102..=199) => {}
                Some(_) => return Ok(()),
                None => return Err(OriginError::Protocol),
            }
        }
        Err(OriginError::Protocol)
    }

    /// The head that was read last.
    pub(super) fn head(&self) -> Option<&ResponseHeader> {
        match &self.wire {
            Some(Wire::H1(session, _)) => session.resp_header(),
            Some(Wire::H2(session)) => session.response_header(),
            None => None,
        }
    }

    /// The next piece of the body; `None` at the protocol's own end. Cancel-safe.
    pub(super) async fn read_body(&mut self) -> Result<Option<Data<'_>>, OriginError> {
        let endpoint = &self.endpoint;
        let told = |error: Box<PingoraError>| endpoint.told(&error, Phase::Body);
        match &mut self.wire {
            Some(Wire::H1(session, _)) => {
                session.read_body_ref().await.map(|p| p.map(Data::Lent)).map_err(told)
            }
            Some(Wire::H2(session)) => {
                session.read_response_body().await.map(|p| p.map(Data::Owned)).map_err(told)
            }
            None => Err(OriginError::Closed),
        }
    }

    /// No body follows the head that was read: the answer is at its end.
    pub(super) fn is_at_end(&mut self) -> bool {
        match &mut self.wire {
            Some(Wire::H1(session, _)) => session.is_body_done(),
            Some(Wire::H2(session)) => session.response_finished(),
            None => true,
        }
    }

    /// The other direction of an HTTP/1.1 connection.
    pub(super) fn line(&self) -> Option<Line> {
        match &self.wire {
            Some(Wire::H1(_, line)) => Some(line.clone()),
            _ => None,
        }
    }

    /// The HTTP/2 session, to take its sending side.
    pub(super) fn h2(&mut self) -> Option<&mut v2::client::Http2Session> {
        match &mut self.wire {
            Some(Wire::H2(session)) => Some(session),
            _ => None,
        }
    }

    /// After 101: the connection, and the bytes that were read past the head.
    pub(super) fn into_tunnel(mut self) -> Option<(Line, Bytes)> {
        match self.wire.take() {
            Some(Wire::H1(mut session, line)) => {
                // The first piece is what was read past the head, if anything was.
                let ahead = tokio::task::unconstrained(session.read_body_ref()).now_or_never();
                let ahead = ahead.and_then(Result::ok).flatten().map(Bytes::copy_from_slice);
                Some((line, ahead.unwrap_or_default()))
            }
            _ => None,
        }
    }

    fn may_be_shared(&self) -> bool {
        self.shared && !self.endpoint.is_removed()
    }

    /// The answer and the request came to their ends: the connection may serve another.
    pub(super) fn release(mut self) {
        let keep = self.may_be_shared() && tokio::runtime::Handle::try_current().is_ok();
        if let Some(Wire::H1(mut session, line)) = self.wire.take_if(|wire| matches!(wire, Wire::H1(..))) {
            let idle = self.idle.min(session.resp_header().and_then(named_idle).unwrap_or(Duration::MAX));
            session.respect_keepalive();
            // Waits only to say goodbye on a connection that is not kept; dropping does as well.
            if keep && let Some(Some(stream)) = session.reuse().now_or_never() {
                line.rest();
                let transport = self.endpoint.connector().transport();
                transport.release_stream(stream, self.endpoint.group(), Some(idle));
            }
        }
    }
}

impl Drop for Session {
    /// An HTTP/2 stream is handed back in any case: unfinished, it is reset; its connection goes on.
    fn drop(&mut self) {
        if let Some(Wire::H2(session)) = self.wire.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            if !self.may_be_shared() {
                session.conn.mark_shutdown();
            }
            self.endpoint.connector().release_http_session(
                *session,
                self.endpoint.peer(false),
                Some(self.idle),
            );
        }
    }
}

impl Wire {
    fn h1(line: Line, peer: &HttpPeer) -> Wire {
        Wire::H1(Box::new(v1::client::HttpSession::new_with_options(Box::new(line.clone()), peer)), line)
    }

    fn set_timeouts(&mut self, read: Option<Duration>, write: Option<Duration>) {
        match self {
            Wire::H1(session, _) => (session.read_timeout, session.write_timeout) = (read, write),
            Wire::H2(session) => (session.read_timeout, session.write_timeout) = (read, write),
        }
    }
}

/// May a connection that rested so long carry a request whose method is (not) safe?
fn may_use(rested: Duration, safe: bool) -> bool {
    safe || rested <= YOUNG
}

async fn from_pool(connector: &Connector, peer: &HttpPeer, h2: bool, safe: bool) -> Option<Wire> {
    if h2 {
        // It waits for a free stream, which a broken server may never give.
        let patience = peer.options.total_connection_timeout.unwrap_or_default();
        match tokio::time::timeout(patience, connector.reused_http_session(peer)).await {
            Ok(Ok(Some(session))) => return Some(Wire::H2(Box::new(session))),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a pooled connection is of no use"),
            Err(_) => tracing::debug!("a pooled connection has no free stream"),
        }
    }
    while let Some(stream) = connector.transport().reused_stream(peer).await {
        let line = Line::from_pool(stream);
        if may_use(line.rested(), safe) {
            return Some(Wire::h1(line, peer));
        }
    }
    None
}

/// What the server's `Keep-Alive: timeout=N` leaves us, a little less so that we are the first to close.
fn named_idle(head: &ResponseHeader) -> Option<Duration> {
    let value = head.headers.get("keep-alive")?.to_str().ok()?;
    let named = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    let named = Duration::from_secs(named.trim().parse().ok()?);
    Some(named.saturating_sub(Duration::from_millis(500)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsafe_method_takes_no_connection_that_rested_long() {
        for (rested, safe, expected) in
            [(0, false, true), (2, false, false), (2, true, true), (50, true, true)]
        {
            assert_eq!(may_use(Duration::from_secs(rested), safe), expected);
        }
    }

    #[test]
    fn the_servers_own_idle_time_is_heeded() {
        for (value, expected) in [
            ("timeout=5, max=100", Some(4500)),
            ("max=100, timeout=1", Some(500)),
            ("timeout=0", Some(0)),
            ("max=100", None),
            ("timeout=soon", None),
        ] {
            let mut head = ResponseHeader::build(200, None).unwrap();
            head.insert_header("keep-alive", value).unwrap();
            assert_eq!(named_idle(&head), expected.map(Duration::from_millis), "{value}");
        }
    }
}
