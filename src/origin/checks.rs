//! Active checks: a front is asked for a page now and then, and its status decides.
//!
//! Pingora's load balancer counts what is asked for one after the other and says when a front's health turns; how one is asked is
//! decided here, as each server has a name of its own to verify, which Pingora's own check knows but one of. A check takes no place in the
//! queue: what is too busy to answer it in time is not to get more.

use super::{
    CheckSettings, OriginError, OriginSettings,
    balance::endpoint_of,
    client::{Session, Wanted},
    endpoint::Endpoint,
};
use async_trait::async_trait;
use pingora::{Error, ErrorType, http::RequestHeader};
use pingora_load_balancing::{Backend, health_check::HealthCheck};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// What is asked of each front.
pub(super) struct Check {
    settings: Arc<OriginSettings>,
    check: CheckSettings,
}

/// When the fronts are to be asked next.
#[derive(Default)]
pub(super) struct Rounds(Mutex<Round>);

#[derive(Default)]
struct Round {
    under_way: bool,
    next: Option<Instant>,
}

impl Rounds {
    /// Whether a round is to begin now; if so, [`Rounds::ended`] is to be told of its end.
    pub(super) fn begin(&self, check: &CheckSettings, now: Instant) -> bool {
        let mut round = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = !round.under_way && round.next.is_none_or(|next| next <= now);
        if due {
            *round = Round { under_way: true, next: Some(now + check.interval) };
        }
        due
    }

    pub(super) fn ended(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).under_way = false;
    }
}

impl Check {
    pub(super) fn new(settings: &Arc<OriginSettings>, check: &CheckSettings) -> Check {
        Check { settings: settings.clone(), check: check.clone() }
    }

    async fn ask(&self, endpoint: &Arc<Endpoint>) -> Result<(), String> {
        let asked = async {
            let wanted = Wanted { fresh: true, safe: true, upgrade: false };
            let mut session = Session::open(endpoint.clone(), wanted).await?.alone();
            session.send_head(self.request(endpoint).ok_or(OriginError::Unsendable)?, true).await?;
            session.read_head(|| {}).await?;
            session.head().map(|head| head.status.as_u16()).ok_or(OriginError::Protocol)
        };
        match tokio::time::timeout(self.check.timeout, asked).await {
            Ok(Ok(status)) if status == self.check.status => Ok(()),
            Ok(Ok(status)) => Err(format!("status {status}")),
            Ok(Err(error)) => Err(error.word().to_owned()),
            Err(_) => Err(format!("no answer within {:?}", self.check.timeout)),
        }
    }

    fn request(&self, endpoint: &Endpoint) -> Option<Box<RequestHeader>> {
        let mut head = RequestHeader::build("GET", self.check.path.as_bytes(), None).ok()?;
        let host = match (&self.check.host, self.settings.host.set()) {
            (Some(host), _) | (None, Some(host)) => host.as_bytes(),
            (None, None) => endpoint.name().as_bytes(),
        };
        head.append_header("Host", host).ok()?;
        head.append_header("User-Agent", concat!("lectern/", env!("CARGO_PKG_VERSION"))).ok()?;
        Some(Box::new(head))
    }
}

#[async_trait]
impl HealthCheck for Check {
    async fn check(&self, target: &Backend) -> pingora::Result<()> {
        let Some(endpoint) = endpoint_of(target) else { return Ok(()) };
        let asked = self.ask(endpoint).await;
        asked.map_err(|why| {
            endpoint.note(&why);
            Error::explain(ErrorType::Custom("CheckFailed"), why)
        })
    }

    async fn health_status_change(&self, target: &Backend, healthy: bool) {
        if let Some(endpoint) = endpoint_of(target) {
            endpoint.front().checked(healthy, &endpoint.noted());
        }
    }

    fn health_threshold(&self, success: bool) -> usize {
        if success { self.check.rise } else { self.check.fall }
    }
}
