//! Everything towards an origin: which server, which connection, what is sent, what an answer means.
//!
//! Fills [`fetch`](Origin::fetch), relays [`relay`](Origin::relay); both first take a place
//! ([`admit`](Origin::admit)). Pingora connects, pools, shakes hands and speaks HTTP; nothing outside this
//! part names its client. All time-outs are on progress, none on the whole of a transfer.
//!
//! Repeated is only what cannot have been done, or may be done twice: a request of which nothing was sent (any method, once, at
//! another front), one with a safe method whose connection was closed before its answer (once on a new connection to the same
//! front where it was a pooled one, once at another front). Second fronts are asked for a share of the requests only: when all fronts fail, each
//! request costs one. A head that did not come in time is not asked for again: the work may be going on.

mod balance;
mod body;
mod checks;
mod client;
mod endpoint;
mod error;
mod front;
mod head;
mod identity;
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

pub use balance::Balance;
pub use body::{Data, OriginBody};
pub use error::{OriginConfigError, OriginError, Phase};
pub use queue::{Busy, Permit};
pub use relay::{Relayed, RelayedBody};
pub use settings::{
    CheckSettings, HostField, OriginCertificate, OriginHttp, OriginSettings, OriginTimeouts, OriginTls,
};
pub use tunnel::Tunnel;
pub use upload::Upload;

use crate::{
    clock,
    rules::Class,
    telemetry::{Fault, Metrics, RetryMetrics},
};
use balance::Choice;
use client::{Session, Wanted};
use endpoint::Endpoint;
use head::Framing;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use prometheus::{Histogram, IntCounter};
use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};
use tower::retry::budget::{Budget, TpsBudget};

/// Second tries are counted over this time, and so many a second are allowed in any case.
const RETRIES: (Duration, u32) = (Duration::from_secs(10), 1);

/// One origin: its servers, its pool, its queue.
///
/// Cheap to keep; a reload that changes nothing of its settings keeps it, and with it the pool.
pub struct Origin {
    settings: Arc<OriginSettings>,
    servers: Arc<servers::Servers>,
    /// What of the requests may go to a second front.
    retries: (TpsBudget, RetryMetrics),
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
    /// Whose turn it is.
    pub turn: Turn,
}

/// What decides when a request has its turn, beside its method.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The site that asks.
    pub site: Arc<str>,
    /// Who goes first of it.
    pub class: Class,
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
        let OriginSettings { name, checks, .. } = &*settings;
        let answers = ["1xx", "2xx", "3xx", "4xx", "5xx", "error"]
            .map(|class| metrics.origin_requests.with_label_values(&[name.as_str(), class]));
        let seconds = metrics.origin_seconds.with_label_values(&[name.as_str()]);
        let places = settings.places();
        let of_checks = queue::Places { all: *checks, reserved: 0, per_site: *checks, ..places };
        let checks = queue::Queue::new(name, of_checks, metrics.checks_of(name));
        let queue = queue::Queue::new(name, places, metrics.requests_of(name));
        let retries = metrics.retries(name);
        let servers = servers::Servers::new(&settings, &metrics.fronts(name))?;
        let budget = TpsBudget::new(RETRIES.0, RETRIES.1, f32::from(settings.retry_percent) / 100.0);
        let retries = (budget, retries);
        Ok(Arc::new(Origin { servers, settings, retries, queue, checks, answers, seconds }))
    }

    /// To be called about once a second: begins what is due of the checks of the fronts.
    pub fn tend(&self) {
        self.servers.tend();
    }

    /// What it was made from.
    pub fn settings(&self) -> &OriginSettings {
        &self.settings
    }

    /// Waits for a place in flight.
    ///
    /// # Errors
    /// [`Busy`]: the queue is full, or the wait was too long.
    pub async fn admit(self: &Arc<Self>, request: &OriginRequest) -> Result<Permit, Busy> {
        self.queue.admit(&request.turn, is_safe(&request.method)).await
    }

    /// Waits for a place among the access checks in flight.
    ///
    /// # Errors
    /// [`Busy`]: too many wait, or the wait was too long.
    pub async fn admit_check(self: &Arc<Self>, request: &OriginRequest) -> Result<Permit, Busy> {
        self.checks.admit(&request.turn, true).await
    }

    /// An answer to a check whose body is wanted takes a place among the others, if one is free.
    pub fn no_longer_checks(&self, turn: &Turn, body: &mut OriginBody) {
        if let Some(place) = self.queue.try_admit(turn, true) {
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
            // Nobody was asked.
            Err(OriginError::Down(_)) => {}
            Err(error) if error.fault() == Fault::Origin => self.answers[5].inc(),
            Err(_) => {}
        }
    }

    /// A request without a body, repeated where that is allowed.
    async fn exchange(&self, permit: Permit, request: &OriginRequest) -> Result<Exchange, OriginError> {
        let safe = is_safe(&request.method);
        let framing = bodiless(&request.method);
        let mut wanted = Wanted { fresh: false, safe, upgrade: request.upgrade.is_some() };
        let mut choice = Choice { key: &request.target, avoid: None, may_try: safe };
        let mut again = None;
        self.retries.0.deposit();
        loop {
            let asking = self.head(request, framing, false)?;
            let mut session = match again.take() {
                Some(front) => self.connect_to(front, wanted, choice).await?,
                None => self.connect(wanted, choice).await?,
            };
            let requested = clock::now();
            let asked = async {
                session.send_head(asking, true).await?;
                let head = session.read_head(|| {});
                let overdue = Err(OriginError::Timeout(Phase::Head));
                tokio::time::timeout(self.settings.timeouts.head, head).await.unwrap_or(overdue)
            };
            let heard = asked.await;
            session.tell_front(heard);
            match heard {
                Ok(()) => {
                    let sent = Arc::new(AtomicBool::new(true));
                    return self.answer(session, permit, request, requested, sent);
                }
                // Which says nothing of the front: it may be the only one, and on trial.
                Err(OriginError::Closed) if safe && session.reused() => {
                    (wanted.fresh, again) = (true, Some(session.endpoint().clone()));
                }
                Err(OriginError::Closed)
                    if safe && choice.avoid.is_none() && self.may_go_on_from(session.server()) =>
                {
                    choice.avoid = Some(session.server());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A connection to the next front.
    async fn connect(&self, wanted: Wanted, choice: Choice<'_>) -> Result<Session, OriginError> {
        let front = self.servers.choose(choice).await?;
        self.connect_to(front, wanted, choice).await
    }

    /// A connection to `front`; to another, once, if it takes none.
    async fn connect_to(
        &self,
        front: Arc<Endpoint>,
        wanted: Wanted,
        choice: Choice<'_>,
    ) -> Result<Session, OriginError> {
        let failed = match self.open(&front, wanted).await {
            Err(failed) if failed.nothing_sent() => failed,
            done => return done,
        };
        if choice.avoid.is_some() || !self.may_go_on_from(front.address()) {
            return Err(failed);
        }
        let other = Choice { avoid: Some(front.address()), ..choice };
        let Ok(other) = self.servers.choose(other).await else { return Err(failed) };
        self.open(&other, wanted).await
    }

    async fn open(&self, endpoint: &Arc<Endpoint>, wanted: Wanted) -> Result<Session, OriginError> {
        let session = Session::open(endpoint.clone(), wanted).await;
        if let Err(failed) = &session {
            endpoint.front().failed(*failed);
            if failed.nothing_sent() {
                self.servers.unreachable(endpoint.address());
                let (origin, front, word) = (&self.settings.name, endpoint.address(), failed.word());
                tracing::warn!(origin, %front, word, "no connection");
            }
        }
        session
    }

    /// There is another front, and not too much was sent to a second one of late.
    fn may_go_on_from(&self, front: SocketAddr) -> bool {
        let (budget, metrics) = &self.retries;
        if !self.servers.has_another(front) {
            return false;
        }
        let granted = budget.withdraw();
        if granted {
            metrics.made.inc()
        } else {
            metrics.over_budget.inc()
        }
        granted
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
