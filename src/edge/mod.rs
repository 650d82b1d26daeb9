//! The life of a request.
//!
//! ```text
//! client ── listener ── site ── rules ──┬── refuse
//!                                       ├── pass ───────────────────────── relay ── origin
//!                                       └── cache ── look up ──┬── hit, stale: from memory, from disk
//!                                                              └── obtain: join or begin a fill ── origin
//! ```
//!
//! [`Edge::respond`] reads like this drawing. It hands plain values from one stage to the next; what outlives the request
//! (fills, relays of unsafe methods) are tasks of their own.

mod answer;
mod asked;
mod carry;
mod coded;
mod explain;
mod handover;
mod lessons;
mod look_up;
mod purge;
mod reach;
mod relay;
mod released;
mod route;
mod visit;
mod warm;

use crate::{
    cache::{Key, StoredResponse, Tiers},
    clock,
    fill::{Fills, Obtained, Wanted},
    http_caching::{Directives, Fwd, status_field},
    ledger::{Ledger, Standing},
    listener::{Connection, Refused, RequestBody, Serve},
    release::Manifests,
    response::{Account, Accounts, Arrival, Body, Plain, coding::Coder},
    site::Sites,
    telemetry::{Fault, Outcome},
};
use arc_swap::ArcSwap;
pub use handover::{Handover, Outdated};
use http::{HeaderValue, Request, Response, StatusCode};
use look_up::{Found, Own, Serving, Way};
use purge::Purging;
use reach::{Reach, There, is_partial};
use released::Known;
use std::{sync::Arc, time::SystemTime};
use visit::{Course, Peer, Visit};

/// Everything a request meets on its way. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Parts>);

/// The parts of the edge.
pub struct Parts {
    /// Sites and rules; swapped whole by a reload. A request takes one snapshot and keeps it.
    pub sites: ArcSwap<Sites>,
    /// Where what is stored is.
    pub tiers: Tiers,
    /// All fills.
    pub fills: Arc<Fills>,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// What belongs to the releases that it names.
    pub manifests: Arc<Manifests>,
    /// Where requests are accounted for.
    pub accounts: Arc<Accounts>,
    /// What makes coded variants.
    pub coder: Coder,
    /// Whether another process serves in the place of this one.
    pub handover: Handover,
}

/// What becomes of a request that has no way to go.
enum Otherwise {
    Refused(Box<Response<Body>>),
    Purges(Box<Purging>),
}

impl Serve for Edge {
    type Body = Body;

    fn serve(
        &self,
        request: Request<RequestBody>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Response<Body>> + Send {
        // Received before the future is made, which would carry the request through every state of it.
        let received = self.receive(request, &connection);
        async move {
            match received {
                Ok(visit) => self.respond(visit).await,
                Err(Otherwise::Refused(refused)) => *refused,
                Err(Otherwise::Purges(purging)) => Box::pin(self.purge(*purging)).await,
            }
        }
    }

    fn refused(&self, connection: &Connection, refused: &Refused<'_>) {
        let sites = self.0.sites.load();
        answer::account_refused(&self.0.accounts, &self.known(&sites), connection, refused);
    }
}

impl Edge {
    /// Assembles an edge.
    pub fn new(parts: Parts) -> Edge {
        Edge(Arc::new(parts))
    }

    /// Its parts.
    pub fn parts(&self) -> &Parts {
        &self.0
    }

    /// What is stored under `key` is outdated (RFC 9111 §4.4), here and in a process that serves in the place of this one.
    pub async fn outdate(&self, key: &Key) {
        self.0.fills.invalidate(key);
        self.0.handover.outdated(key).await;
    }

    async fn respond(&self, mut visit: Box<Visit>) -> Response<Body> {
        if visit.route.site.log_must {
            visit.account.room = Some(self.0.accounts.log.room().await);
        }
        match self.at_once(visit) {
            Ok(response) => response,
            // Boxed: a hit does not carry the size of what asks the origin.
            Err((visit, found)) => Box::pin(self.ask(visit, found)).await,
        }
    }

    /// What the way of a request is found by.
    fn known<'a>(&'a self, sites: &'a Sites) -> Known<'a> {
        Known { sites, manifests: &self.0.manifests, as_if: None }
    }

    /// Opens the account of a request and finds its way; or refuses it.
    fn receive(
        &self,
        request: Request<RequestBody>,
        connection: &Connection,
    ) -> Result<Box<Visit>, Otherwise> {
        let from = route::sender(request.headers(), connection);
        let arrival = Arrival { listener: &connection.listener, client: from.client, https: from.https };
        let mut account = Box::new(Account::open(&self.0.accounts, &arrival, &request));
        let sites = self.0.sites.load();
        if purge::is_one(request.method()) {
            return Err(purge::received(&sites, &request, &from, account));
        }
        let route = match route::route(&self.known(&sites), &request, from.https, &mut account) {
            Ok(route) => route,
            Err(plain) => {
                let refused = answer::plain(account, Outcome::Refused, Some(Fault::Client), plain);
                return Err(Otherwise::Refused(Box::new(refused)));
            }
        };
        let peer = Peer { address: connection.peer.ip(), trusted: connection.trusted };
        let (parts, body) = request.into_parts();
        Ok(Box::new(Visit::new(parts, Some(body), route, account, peer)))
    }

    /// What needs no origin: a refusal by rule, and what is stored and may serve. Else what was found, for [`Edge::ask`].
    fn at_once(&self, mut visit: Box<Visit>) -> Result<Response<Body>, (Box<Visit>, Found)> {
        match visit.course() {
            Course::Refuses(status) => {
                let plain = Plain::new(status, "rule");
                return Ok(answer::plain(visit.account, Outcome::Refused, None, plain));
            }
            Course::Relays(why) => return Err((visit, Found::Relays(why))),
            Course::Switched => return Err((visit, Found::Switched)),
            Course::LooksUp if self.0.handover.has_begun() => return Err((visit, Found::HandedOver)),
            Course::LooksUp => {}
        }
        if !self.has_leave(&mut visit) {
            return Err((visit, Found::Unasked));
        }
        let slot = self.0.tiers.slot(&visit.route.key);
        if slot.is_none() && self.0.tiers.may_be_below(&visit.route.key) {
            return Err((visit, Found::Below));
        }
        let now = visit.account.time;
        let found = self.look_up(&visit, slot.as_deref(), now, |stored| self.standing(&visit, stored));
        self.serve_at_hand(visit, found)
    }

    /// The answer from what is in memory. Else what was found.
    fn serve_at_hand(
        &self,
        mut visit: Box<Visit>,
        found: Found,
    ) -> Result<Response<Body>, (Box<Visit>, Found)> {
        let Found::Serves { stored, ttl, how } = &found else { return Err((visit, found)) };
        let Some(leave) = visit.leave.clone() else { return Err((visit, found)) };
        let Some(at_hand) = self.at_hand(&leave, &mut visit, stored) else { return Err((visit, found)) };
        Ok(self.serve(visit, stored, (*ttl, *how), at_hand))
    }

    /// The answer from a stored response that may serve now, with what is there of it.
    fn serve(
        &self,
        mut visit: Box<Visit>,
        stored: &Arc<StoredResponse>,
        (ttl, how): (i64, Serving),
        there: There,
    ) -> Response<Body> {
        let now = visit.account.time;
        if how == Serving::Refreshing {
            visit.end_hop();
            self.0.fills.refresh(&visit.wanted(Some(stored.clone()), self.selecting(&visit)));
        }
        if there.is_partial(stored) {
            let status = status_field::fwd(Fwd::Partial, None, true, false, None, None);
            return self.answer(visit, stored, there, Outcome::Miss, status, now);
        }
        visit.account.detail = how.detail();
        let status = status_field::hit_with(ttl, how.detail());
        self.answer(visit, stored, there, outcome_of(ttl), status, now)
    }

    /// The answer from a stored response, with what is there of it.
    fn answer(
        &self,
        mut visit: Box<Visit>,
        stored: &Arc<StoredResponse>,
        there: There,
        outcome: Outcome,
        cache_status: HeaderValue,
        now: SystemTime,
    ) -> Response<Body> {
        visit.settles = self.settles(&visit, &stored.tags, stored.freshness.received, stored.born);
        self.shown(&visit, stored, &there);
        answer::stored(visit, stored, there, outcome, cache_status, now)
    }

    /// A request that the disk or the origin must be asked for: read, relayed, or answered by a fill.
    async fn ask(&self, mut visit: Box<Visit>, mut found: Found) -> Response<Body> {
        let mut current = None;
        if matches!(found, Found::Unasked) {
            (visit, found, current) = match self.ask_lms(visit).await {
                Ok(on) => on,
                Err(response) => return *response,
            };
        }
        if matches!(found, Found::Below) {
            let below = self.look_below(&mut visit).await;
            match self.serve_at_hand(visit, below) {
                Ok(response) => return response,
                Err(on) => (visit, found) = on,
            }
        }
        visit.end_hop();
        let mut lacks = None;
        if let Found::Serves { stored, ttl, how } = &found
            && let Some(leave) = &visit.leave.clone()
        {
            if let Some(here) = self.here(leave, &mut visit, stored).await {
                return self.serve(visit, stored, (*ttl, *how), here);
            }
            self.0.accounts.metrics.incomplete.inc();
            if !Directives::request(&visit.parts.headers).only_if_cached
                && let Some(fetched) = self.fetched(leave, &mut visit, stored).await
            {
                let status = status_field::fwd(Fwd::Partial, None, true, false, None, None);
                return self.answer(visit, stored, fetched, Outcome::Miss, status, clock::now());
            }
            lacks = Some(stored.body.clone()).filter(|_| stored.content_tag().is_none());
        }
        let found = self.on_reflection(found).await;
        let (validates, fallback, why) = match self.way(&visit, found) {
            Way::Refuses => {
                let plain = Plain::new(StatusCode::GATEWAY_TIMEOUT, "only-if-cached");
                return answer::plain(visit.account, Outcome::Refused, None, plain);
            }
            Way::Relays { why, own } => {
                return self.relay(visit, why, own.and_then(Own::detail)).await;
            }
            Way::Obtains { validates, fallback, why } => (validates, fallback, why),
        };
        let wanted = Wanted { lacks, current, ..visit.wanted(validates, self.selecting(&visit)) };
        let obtained = self.0.fills.obtain(wanted).await;
        if let Some(stored) = fallback.filter(|_| obtained.is_error())
            && let Some(leave) = &visit.leave.clone()
            && self.0.tiers.has(&stored.body).await
            // Never across a hard purge, though this request came before it.
            && self.standing(&visit, &stored) != Standing::Outdated
            && let Some(here) = self.here(leave, &mut visit, &stored).await
        {
            let now = clock::now();
            let status = status_field::hit(stored.freshness.ttl(now));
            return self.answer(visit, &stored, here, Outcome::Stale, status, now);
        }
        self.obtained(visit, obtained, why).await
    }

    async fn obtained_in_hand(&self, visit: &mut Visit, stored: &StoredResponse) -> Option<There> {
        let leave = visit.leave.clone()?;
        self.in_hand(&leave, visit, stored).await
    }

    /// Answers with what was obtained.
    async fn obtained(&self, mut visit: Box<Visit>, obtained: Obtained, why: Fwd) -> Response<Body> {
        let failed = obtained.is_error();
        match obtained {
            // Not where the origin failed: asked twice it fails twice.
            Obtained::Filling { head, body, .. }
                if !head.kept
                    && head.shared.is_err()
                    && !failed
                    && visit.part().is_none()
                    && visit.asks_again(&head) =>
            {
                drop(body);
                self.relay(visit, why, head.shared.err()).await
            }
            Obtained::Filling { head, mut body, began } => {
                visit.account.origin = Some(head.server);
                let outcome = match (began, head.shared) {
                    (_, Err(_)) if !head.kept => Outcome::Pass,
                    (true, _) => Outcome::Miss,
                    (false, _) => Outcome::Joined,
                };
                let told = visit.is_told_why() || head.yes.is_some();
                let (asked, detail) =
                    (began.then_some(head.status.as_u16()), head.shared.err().filter(|_| told));
                let ttl = head.kept.then(|| head.freshness.ttl(clock::now()));
                let status = status_field::fwd(why, asked, head.kept && began, !began, ttl, detail);
                visit.settles = head.kept && self.settles(&visit, &head.tags, head.requested, head.born);
                self.show_growing(&mut visit, &head);
                let part = self.part_of_growing(&visit, &head, &mut body).await;
                answer::filling(visit, &head, (part, body), outcome, status)
            }
            Obtained::Freshened { stored, server, began } => {
                visit.account.origin = Some(server);
                let Some(in_hand) = self.obtained_in_hand(&mut visit, &stored).await else {
                    return self.relay(visit, why, Some("chunk-missing")).await;
                };
                let outcome = if began { Outcome::Revalidated } else { Outcome::Joined };
                let now = clock::now();
                let ttl = Some(stored.freshness.ttl(now));
                let status = status_field::fwd(why, began.then_some(304), began, !began, ttl, None);
                self.answer(visit, &stored, in_hand, outcome, status, now)
            }
            Obtained::Stored(stored) => {
                let Some(in_hand) = self.obtained_in_hand(&mut visit, &stored).await else {
                    return self.relay(visit, why, Some("chunk-missing")).await;
                };
                let now = clock::now();
                let status = status_field::hit(stored.freshness.ttl(now));
                self.answer(visit, &stored, in_hand, Outcome::Hit, status, now)
            }
            Obtained::Released { .. } => self.relay(visit, why, Some("not-shared")).await,
            Obtained::Failed(failure) => {
                let fault = Some(failure.fault());
                answer::failed(visit, Outcome::Failed, fault, Plain::failed(&failure))
            }
        }
    }
}

/// What became of a request that was served from what is stored, with so many seconds of freshness left.
const fn outcome_of(ttl: i64) -> Outcome {
    if ttl > 0 { Outcome::Hit } else { Outcome::Stale }
}
