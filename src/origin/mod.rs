//! Everything towards an origin: which server, which connection, what is sent, what an answer means.
//!
//! Fills [`fetch`](Origin::fetch), relays [`relay`](Origin::relay); both first take a place
//! ([`admit`](Origin::admit)). Pingora connects, pools, shakes hands and speaks HTTP; nothing outside this
//! part names its client. All time-outs are on progress, none on the whole of a transfer.
//!
//! Repeated is only what cannot have been done: a request of which nothing was sent (any method, once, on
//! another server), or one with a safe method whose pooled connection had been closed (once, on a new one).

mod body;
mod client;
mod endpoint;
mod error;
mod head;
mod line;
mod queue;
mod relay;
mod resolve;
mod servers;
mod settings;
#[cfg(test)]
mod tests;
mod tunnel;
mod upload;

pub use body::{Data, OriginBody};
pub use error::{OriginConfigError, OriginError, Phase};
pub use queue::{Busy, Permit};
pub use relay::{Relayed, RelayedBody};
pub use settings::{HostField, OriginHttp, OriginSettings, OriginTimeouts, OriginTls};
pub use tunnel::Tunnel;
pub use upload::Upload;

use crate::{
    clock,
    telemetry::{Fault, Metrics},
};
use client::{Session, Wanted};
use head::Framing;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use prometheus::{Histogram, IntCounter};
use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::SystemTime,
};

/// One origin: its servers, its pool, its queue.
///
/// Cheap to keep; a reload that changes nothing of its settings keeps it, and with it the pool.
pub struct Origin {
    settings: Arc<OriginSettings>,
    servers: servers::Servers,
    queue: Arc<queue::Queue>,
    /// Who may have something is asked apart from what is fetched: neither waits for the other.
    checks: Arc<queue::Queue>,
    /// Answers by the hundreds of their status, and at last those that never came.
    answers: [IntCounter; 6],
    /// From sending a request to the head of its answer.
    seconds: Histogram,
}

/// A request as an origin is to get it; framing and the fields of the connection are added here.
#[derive(Clone, Debug)]
pub struct OriginRequest {
    /// The method.
    pub method: Method,
    /// Path and query, exactly as sent.
    pub target: String,
    /// The client's `Host`; an origin with one of its own is sent that.
    pub host: HeaderValue,
    /// End-to-end fields.
    pub headers: HeaderMap,
    /// The value of `Upgrade`, if the client asks for one.
    pub upgrade: Option<HeaderValue>,
}

/// The head of an answer, without what belongs to the connection it came on.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// End-to-end fields; one `Content-Length` if there was any.
    pub headers: HeaderMap,
    /// The server that answered.
    pub server: SocketAddr,
    /// When the request was sent: the start of its corrected age (RFC 9111 §4.2.3).
    pub requested: SystemTime,
    /// When the head was complete.
    pub received: SystemTime,
}

/// An answer: its head, and its body that is still arriving.
#[derive(Debug)]
pub struct Exchange {
    /// The head.
    pub head: Head,
    /// The body; it also holds the place in flight.
    pub body: OriginBody,
}

/// Is nothing changed by it, so that it may be repeated (RFC 9110 §9.2.1)?
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// How a request without a body is framed (RFC 9110 §8.6).
fn bodiless(method: &Method) -> Framing {
    if is_safe(method) { Framing::None } else { Framing::Length(0) }
}

impl Origin {
    /// An origin as `settings` say. Resolves and connects nothing yet: a name without an address is no error.
    ///
    /// # Errors
    /// The file of authorities is not usable, or TLS has no name to verify.
    pub fn new(settings: OriginSettings, metrics: &Metrics) -> Result<Arc<Origin>, OriginConfigError> {
        let settings = Arc::new(settings);
        let OriginSettings { name, in_flight, checks, queue, queue_wait, .. } = &*settings;
        let answers = ["1xx", "2xx", "3xx", "4xx", "5xx", "error"]
            .map(|class| metrics.origin_requests.with_label_values(&[name.as_str(), class]));
        let seconds = metrics.origin_seconds.with_label_values(&[name.as_str()]);
        let checks = queue::Queue::new(*checks, *queue, *queue_wait, metrics.checks_of(name));
        let queue = queue::Queue::new(*in_flight, *queue, *queue_wait, metrics.requests_of(name));
        let servers = servers::Servers::new(&settings)?;
        Ok(Arc::new(Origin { servers, settings, queue, checks, answers, seconds }))
    }

    /// What it was made from.
    pub fn settings(&self) -> &OriginSettings {
        &self.settings
    }

    /// Waits for a place in flight.
    ///
    /// # Errors
    /// [`Busy`]: the queue is full, or the wait was too long.
    pub async fn admit(self: &Arc<Self>) -> Result<Permit, Busy> {
        self.queue.admit().await
    }

    /// Waits for a place among the access checks in flight.
    ///
    /// # Errors
    /// [`Busy`]: too many wait, or the wait was too long.
    pub async fn admit_check(self: &Arc<Self>) -> Result<Permit, Busy> {
        self.checks.admit().await
    }

    /// An answer to a check whose body is wanted takes a place among the others, if one is free.
    pub fn no_longer_checks(&self, body: &mut OriginBody) {
        if let Some(place) = self.queue.try_admit() {
            body.takes(place);
        }
    }

    /// Sends a request without a body and reads the head of the answer; interim answers are dropped.
    ///
    /// # Errors
    /// No usable answer came; dropping the future closes the connection.
    pub async fn fetch(
        self: &Arc<Self>,
        permit: Permit,
        request: OriginRequest,
    ) -> Result<Exchange, OriginError> {
        let exchange = self.exchange(permit, &request).await;
        self.count(exchange.as_ref().map(|exchange| &exchange.head));
        exchange
    }

    /// One answer, or none: counted once, whatever was repeated.
    fn count(&self, answer: Result<&Head, &OriginError>) {
        match answer {
            Ok(head) => {
                self.answers[usize::from(head.status.as_u16() / 100).clamp(1, 5) - 1].inc();
                let waited = head.received.duration_since(head.requested).unwrap_or_default();
                self.seconds.observe(waited.as_secs_f64());
            }
            Err(error) if error.fault() == Fault::Origin => self.answers[5].inc(),
            Err(_) => {}
        }
    }

    /// A request without a body, repeated where that is allowed.
    async fn exchange(&self, permit: Permit, request: &OriginRequest) -> Result<Exchange, OriginError> {
        let safe = is_safe(&request.method);
        let framing = bodiless(&request.method);
        let mut wanted = Wanted { fresh: false, safe, upgrade: request.upgrade.is_some() };
        loop {
            let asking = self.head(request, framing, false)?;
            let mut session = self.connect(wanted).await?;
            let requested = clock::now();
            let asked = async {
                session.send_head(asking, true).await?;
                let head = session.read_head(|| {});
                let overdue = Err(OriginError::Timeout(Phase::Head));
                tokio::time::timeout(self.settings.timeouts.head, head).await.unwrap_or(overdue)
            };
            match asked.await {
                Ok(()) => {
                    let sent = Arc::new(AtomicBool::new(true));
                    return self.answer(session, permit, request, requested, sent);
                }
                Err(OriginError::Closed) if safe && session.reused() => wanted.fresh = true,
                Err(error) => return Err(error),
            }
        }
    }

    /// A connection to the next server; to another, once, if that one takes none.
    async fn connect(&self, wanted: Wanted) -> Result<Session, OriginError> {
        let endpoint = self.servers.choose(None).await?;
        let failed = match Session::open(endpoint.clone(), wanted).await {
            Err(failed) if failed.nothing_sent() => failed,
            done => return done,
        };
        self.servers.failed(&endpoint);
        tracing::warn!(origin = self.settings.name, server = %endpoint.address(), word = failed.word(), "no connection");
        let Ok(other) = self.servers.choose(Some(endpoint.address())).await else {
            return Err(failed);
        };
        let session = Session::open(other.clone(), wanted).await;
        if session.as_ref().is_err_and(OriginError::nothing_sent) {
            self.servers.failed(&other);
        }
        session
    }

    /// The fields that go out for `request`, `Host` among them, if a body of so many bytes belongs to it. Sends nothing.
    ///
    /// # Errors
    /// [`OriginError::Unsendable`]: it would not be sent.
    pub fn sends(
        &self,
        request: &OriginRequest,
        body: Option<u64>,
        expect: bool,
    ) -> Result<HeaderMap, OriginError> {
        let framing = body.map_or_else(|| bodiless(&request.method), Framing::Length);
        Ok(self.head(request, framing, expect)?.headers.clone())
    }

    fn head(
        &self,
        request: &OriginRequest,
        framing: Framing,
        expect: bool,
    ) -> Result<Box<pingora::http::RequestHeader>, OriginError> {
        head::of_request(request, &self.settings.host, framing, expect)
    }

    /// The answer whose head `session` has read. `sent`: the request is, or will be, at its end.
    fn answer(
        &self,
        session: Session,
        permit: Permit,
        request: &OriginRequest,
        requested: SystemTime,
        sent: Arc<AtomicBool>,
    ) -> Result<Exchange, OriginError> {
        let read = session.head().ok_or(OriginError::Closed)?;
        let cleaned = head::of_response(read, &request.method, session.is_h2())?;
        if cleaned.status == StatusCode::SWITCHING_PROTOCOLS && request.upgrade.is_none() {
            return Err(OriginError::Protocol);
        }
        let (server, received) = (session.server(), clock::now());
        let head = Head { status: cleaned.status, headers: cleaned.headers, server, requested, received };
        Ok(Exchange { head, body: OriginBody::new(session, permit, cleaned.body, sent) })
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("settings", &self.settings).finish_non_exhaustive()
    }
}
