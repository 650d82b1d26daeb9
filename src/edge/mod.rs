//! The life of a request.
//!
//! ```text
//! client ── listener ── site ── rules ──┬── refuse
//!                                       ├── pass ───────────────────────── relay ── origin
//!                                       └── cache ── look up ──┬── hit, stale
//!                                                              └── obtain: join or begin a fill ── origin
//! ```
//!
//! [`Edge::respond`] reads like this drawing. It hands plain values from one stage to the next; what outlives the request
//! (fills, relays of unsafe methods) are tasks of their own.

mod answer;
mod relay;
mod route;

use crate::{
    cache::{Memory, Pieces, StoredResponse, Use},
    clock,
    fill::{FillHead, Fills, Obtained, Wanted, says_more},
    http_caching::{Directives, Fwd, status_field},
    ledger::Ledger,
    listener::{Connection, Refused, RequestBody, Serve},
    response::{Account, Accounts, Arrival, Body, Part, Plain, fields},
    rules::{Policy, Verdict},
    site::Sites,
    telemetry::{Fault, Outcome},
};
use arc_swap::ArcSwap;
use http::{Method, Request, Response, StatusCode, header};
use route::{Query, Route};
use std::{sync::Arc, time::SystemTime};

/// Everything a request meets on its way. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Parts>);

/// The parts of the edge.
pub struct Parts {
    /// Sites and rules; swapped whole by a reload. A request takes one snapshot and keeps it.
    pub sites: ArcSwap<Sites>,
    /// The memory tier.
    pub memory: Memory,
    /// All fills.
    pub fills: Arc<Fills>,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// Where requests are accounted for.
    pub accounts: Arc<Accounts>,
}

/// A request on its way, from its verdict on.
struct Visit {
    parts: http::request::Parts,
    /// Until it is relayed.
    body: Option<RequestBody>,
    route: Route,
    account: Box<Account>,
    trusted: bool,
    /// Who is connected: the client, or a proxy before the edge.
    peer: std::net::IpAddr,
}

/// What a look-up found.
enum Found {
    /// A stored response that may serve now.
    Serves { stored: Arc<StoredResponse>, ttl: i64, refresh: bool },
    /// Nothing is looked for: the origin alone answers, and why.
    Relays(Fwd),
    /// Nothing that may serve without asking.
    Asks { validates: Option<Arc<StoredResponse>>, on_error: bool, why: Fwd },
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
                Err(refused) => *refused,
            }
        }
    }

    fn refused(&self, connection: &Connection, refused: &Refused<'_>) {
        let sites = self.0.sites.load();
        answer::account_refused(&self.0.accounts, &sites, connection, refused);
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

    /// Opens the account of a request and finds its way; or refuses it.
    fn receive(
        &self,
        request: Request<RequestBody>,
        connection: &Connection,
    ) -> Result<Box<Visit>, Box<Response<Body>>> {
        let from = route::sender(request.headers(), connection);
        let arrival = Arrival { listener: &connection.listener, client: from.client, https: from.https };
        let mut account = Box::new(Account::open(&self.0.accounts, &arrival, &request));
        let route = match route::route(&self.0.sites.load(), &request, from.https, &mut account) {
            Ok(route) => route,
            Err(plain) => {
                let refused = answer::plain(account, Outcome::Refused, Some(Fault::Client), plain);
                return Err(Box::new(refused));
            }
        };
        let ((parts, body), peer) = (request.into_parts(), connection.peer.ip());
        Ok(Box::new(Visit { parts, body: Some(body), route, account, trusted: connection.trusted, peer }))
    }

    /// What needs no origin: a refusal by rule, and what is stored and may serve. Else what was found, for [`Edge::ask`].
    fn at_once(&self, mut visit: Box<Visit>) -> Result<Response<Body>, (Box<Visit>, Found)> {
        match &visit.route.verdict {
            Verdict::Refuse(status) => {
                let plain = Plain::new(*status, "rule");
                return Ok(answer::plain(visit.account, Outcome::Refused, None, plain));
            }
            Verdict::Pass => return Err((visit, Found::Relays(Fwd::Bypass))),
            Verdict::Cache(_) | Verdict::Obey if visit.may_be_stored() => {}
            Verdict::Cache(_) | Verdict::Obey => return Err((visit, Found::Relays(Fwd::Method))),
        }
        let now = visit.account.time;
        let found = self.look_up(&visit, now);
        let Found::Serves { stored, ttl, refresh } = &found else { return Err((visit, found)) };
        let Some(at_hand) = self.at_hand(&visit, stored) else { return Err((visit, found)) };
        if *refresh {
            visit.end_hop();
            self.0.fills.refresh(&visit.wanted(Some(stored.clone()), self.selecting(&visit)));
        }
        let outcome = if *ttl > 0 { Outcome::Hit } else { Outcome::Stale };
        Ok(answer::stored(visit, stored, at_hand, outcome, status_field::hit(*ttl), now))
    }

    /// A request that the origin must be asked for: by a relay, or by a fill.
    async fn ask(&self, mut visit: Box<Visit>, found: Found) -> Response<Body> {
        visit.end_hop();
        let (validates, fallback, why) = match found {
            Found::Relays(why) => return self.relay(visit, why, None).await,
            // A chunk is gone: as if nothing had been found.
            Found::Serves { .. } => (None, None, Fwd::Miss),
            Found::Asks { validates, on_error, why } => {
                (validates.clone(), validates.filter(|_| on_error), why)
            }
        };
        if Directives::request(&visit.parts.headers).only_if_cached {
            let plain = Plain::new(StatusCode::GATEWAY_TIMEOUT, "only-if-cached");
            return answer::plain(visit.account, Outcome::Refused, None, plain);
        }
        if self.goes_by_itself(&visit, validates.is_some(), fallback.is_some()) {
            return self.relay(visit, why, None).await;
        }
        let obtained = self.0.fills.obtain(visit.wanted(validates, self.selecting(&visit))).await;
        if let Some(stored) = fallback.filter(|_| obtained.is_error())
            && let Some(at_hand) = self.at_hand(&visit, &stored)
        {
            let now = clock::now();
            let status = status_field::hit(stored.freshness.ttl(now));
            return answer::stored(visit, &stored, at_hand, Outcome::Stale, status, now);
        }
        self.obtained(visit, obtained, why).await
    }

    /// Answers with what was obtained.
    async fn obtained(&self, mut visit: Box<Visit>, obtained: Obtained, why: Fwd) -> Response<Body> {
        let failed = obtained.is_error();
        match obtained {
            // Not where the origin failed: asked twice it fails twice.
            Obtained::Filling { head, body, .. }
                if !head.kept && head.shared.is_err() && !failed && visit.asks_again(&head) =>
            {
                drop(body);
                self.relay(visit, why, head.shared.err()).await
            }
            Obtained::Filling { head, body, began } => {
                visit.account.origin = Some(head.server);
                let outcome = match (began, head.shared) {
                    (_, Err(_)) if !head.kept => Outcome::Pass,
                    (true, _) => Outcome::Miss,
                    (false, _) => Outcome::Joined,
                };
                let (asked, detail) = (began.then_some(head.status.as_u16()), head.shared.err());
                let status = status_field::fwd(why, asked, head.kept && began, !began, None, detail);
                answer::filling(visit, &head, body, outcome, status)
            }
            Obtained::Freshened { stored, server, began } => {
                visit.account.origin = Some(server);
                let Some(at_hand) = self.at_hand(&visit, &stored) else {
                    return self.relay(visit, why, Some("chunk-missing")).await;
                };
                let outcome = if began { Outcome::Revalidated } else { Outcome::Joined };
                let status = status_field::fwd(why, began.then_some(304), began, !began, None, None);
                answer::stored(visit, &stored, at_hand, outcome, status, clock::now())
            }
            Obtained::Stored(stored) => {
                let Some(at_hand) = self.at_hand(&visit, &stored) else {
                    return self.relay(visit, why, Some("chunk-missing")).await;
                };
                let now = clock::now();
                let status = status_field::hit(stored.freshness.ttl(now));
                answer::stored(visit, &stored, at_hand, Outcome::Hit, status, now)
            }
            Obtained::Released { .. } => self.relay(visit, why, Some("not-shared")).await,
            Obtained::Failed(failure) => {
                let fault = Some(failure.fault());
                answer::plain(visit.account, Outcome::Failed, fault, Plain::failed(&failure))
            }
        }
    }

    fn look_up(&self, visit: &Visit, now: SystemTime) -> Found {
        let nothing = |why| Found::Asks { validates: None, on_error: false, why };
        let Some(slot) = self.0.memory.slot(&visit.route.key) else { return nothing(Fwd::UriMiss) };
        let Some(stored) = slot.select(&visit.parts.headers) else { return nothing(Fwd::VaryMiss) };
        if self.outdated(visit, stored) {
            return nothing(Fwd::Stale);
        }
        match stored.usable(now) {
            Use::Fresh { ttl } => Found::Serves { stored: stored.clone(), ttl, refresh: false },
            Use::WhileRevalidating { ttl } => Found::Serves { stored: stored.clone(), ttl, refresh: true },
            // To be told that a body which is not there has not changed helps nobody.
            Use::Validate { .. } if !self.0.memory.holds(stored) => nothing(Fwd::Stale),
            Use::Validate { on_error } => {
                Found::Asks { validates: Some(stored.clone()), on_error, why: Fwd::Stale }
            }
        }
    }

    /// Does a record of the ledger cover a stored response? Asked again only if one concerned its site since.
    fn outdated(&self, visit: &Visit, stored: &StoredResponse) -> bool {
        let site = &visit.route.site;
        // Before the ledger is asked: a record that comes between is seen the next time.
        let touched = site.marks.touched();
        if stored.checked_at(touched) {
            return false;
        }
        let outdated = self.0.ledger.outdated(&site.marks, visit.path(), visit.query(), stored.born);
        if !outdated {
            stored.remember_check(touched);
        }
        outdated
    }

    /// The names the slot of a request is known to select by.
    fn selecting(&self, visit: &Visit) -> Vec<http::HeaderName> {
        self.0.memory.slot(&visit.route.key).map_or_else(Vec::new, |slot| slot.selecting_names())
    }

    /// Whether a request that found nothing goes to the origin by itself rather than as a fill.
    fn goes_by_itself(&self, visit: &Visit, validates: bool, fallback: bool) -> bool {
        let headers = &visit.parts.headers;
        let open = matches!(visit.route.verdict, Verdict::Obey);
        let credentials = headers.contains_key(header::COOKIE) || headers.contains_key(header::AUTHORIZATION);
        let conditional =
            headers.contains_key(header::IF_NONE_MATCH) || headers.contains_key(header::IF_MODIFIED_SINCE);
        // A HEAD brings no body, so it fills nothing.
        visit.parts.method == Method::HEAD
            // A fill has no body; what this one asks for the origin must see.
            || visit.body.as_ref().is_some_and(|body| !http_body::Body::is_end_stream(body))
            || Directives::request(headers).no_store
            // A learner's own copy of a private page: the origin can say 304, a fill could not.
            || (open && credentials && conditional && !validates)
            // A script's own fields: the origin sees them. What others may share is filled without them, see `share_later`.
            || (visit.says_own_fields() && !self.0.fills.under_way(&visit.route.key))
            || (visit.says_more() && !fallback && self.0.fills.passes(&visit.route.key))
    }

    /// The part of a stored response that a request gets and its bytes, if they are all there.
    fn at_hand(&self, visit: &Visit, stored: &StoredResponse) -> Option<(Part, Pieces)> {
        let part = answer::part_of(visit, stored.status, &stored.headers, Some(stored.length));
        Some((part, answer::pieces(&self.0.memory, visit, stored, part)?))
    }
}

impl Visit {
    /// Path, as the origin is asked and the key has it.
    fn path(&self) -> &str {
        self.route.path.as_deref().unwrap_or(self.parts.uri.path())
    }

    /// Query, as the origin is asked and the key has it.
    fn query(&self) -> Option<&str> {
        match &self.route.query {
            Query::AsSent => self.parts.uri.query(),
            Query::Changed(query) => query.as_deref(),
        }
    }

    /// Takes out what ends at this hop, before anything goes on.
    fn end_hop(&mut self) {
        fields::strip_hop_by_hop(&mut self.parts.headers);
        fields::join_cookies(&mut self.parts.headers);
    }

    fn may_be_stored(&self) -> bool {
        matches!(self.parts.method, Method::GET | Method::HEAD) && self.route.upgrade.is_none()
    }

    fn policy(&self) -> Option<&Arc<Policy>> {
        match &self.route.verdict {
            Verdict::Cache(policy) => Some(policy),
            _ => None,
        }
    }

    /// A fill carries less than this request says. If what comes can be shared that does not matter; if not, the origin had better
    /// be asked by the request itself.
    fn says_more(&self) -> bool {
        self.says_fields() || self.says_credentials()
    }

    /// It says a range, or a field that no fill carries.
    fn says_fields(&self) -> bool {
        self.parts.headers.contains_key(header::RANGE) || self.says_own_fields()
    }

    /// Where no rule speaks: a field beyond a browser's standard ones.
    fn says_own_fields(&self) -> bool {
        matches!(self.route.verdict, Verdict::Obey) && says_more(&self.parts.headers)
    }

    fn says_credentials(&self) -> bool {
        self.withholds(header::COOKIE) || self.withholds(header::AUTHORIZATION)
    }

    /// Whether this request, whose fill brought what is for nobody else, is sent by itself as well. What a stranger is refused,
    /// or a page made for one, is no answer to a learner who showed her cookie; a file is.
    fn asks_again(&self, head: &FillHead) -> bool {
        self.says_fields() || (self.says_credentials() && head.is_for_a_stranger())
    }

    /// The rule keeps this credential from a fill.
    fn withholds(&self, name: http::HeaderName) -> bool {
        self.parts.headers.contains_key(&name)
            && self.policy().is_some_and(|policy| !policy.forward.contains(&name))
    }

    fn wanted(&self, validates: Option<Arc<StoredResponse>>, selecting: Vec<http::HeaderName>) -> Wanted<'_> {
        let route = &self.route;
        let mut added = http::HeaderMap::new();
        fields::shared_forward(&mut added, &self.asker());
        for state in self.parts.headers.get_all("tracestate") {
            added.append("tracestate", state.clone());
        }
        self.account.trace.apply(&mut added);
        Wanted {
            key: &route.key,
            site: &route.site,
            policy: self.policy(),
            path: self.path(),
            query: self.query(),
            origin_host: route.host.clone(),
            added,
            client: &self.parts.headers,
            selecting,
            validates,
        }
    }

    fn asker(&self) -> fields::Asker<'_> {
        fields::Asker {
            peer: self.peer,
            trusted: self.trusted,
            host: self.route.host.to_str().unwrap_or_default(),
            https: self.route.https,
        }
    }
}
