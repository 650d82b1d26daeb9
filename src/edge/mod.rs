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
mod explain;
mod handover;
mod relay;
mod route;

use crate::{
    cache::{CHUNK, Key, Memory, Pieces, Slot, StoredResponse, Use},
    clock,
    fill::{FillHead, Fills, Obtained, Reader, Span, Wanted, says_more},
    http_caching::{
        Directives, Fwd,
        range::{self, Requested, Spec},
        status_field,
    },
    ledger::Ledger,
    listener::{Connection, Refused, RequestBody, Serve},
    response::{Account, Accounts, Arrival, Body, Part, Plain, fields},
    rules::{Policy, Verdict},
    site::Sites,
    telemetry::{Fault, Outcome},
};
use answer::From;
use arc_swap::ArcSwap;
pub use handover::{Handover, Outdated};
use http::{Method, Request, Response, StatusCode, header};
use route::{Query, Route};
use std::{sync::Arc, time::SystemTime};

/// So many bytes of a body whose chunks can be had again are taken at once.
const PINNED: u64 = 4 * CHUNK as u64;

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
    /// Whether another process serves in the place of this one.
    pub handover: Handover,
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
    /// Nothing is looked for: another process serves in the place of this one.
    HandedOver,
    /// Nothing that may serve without asking.
    Asks { validates: Option<Arc<StoredResponse>>, on_error: bool, why: Fwd },
}

/// How the bytes of a stored body are reached.
enum Reach {
    /// None is needed.
    Nothing,
    /// Taken at once, first to last, if all are there.
    Pieces(u64, u64),
    /// Read one after the other; whether reading can begin now.
    Reader { first: u64, last: u64, there: bool },
}

/// What the verdict leaves to do.
enum Course {
    Refuses(StatusCode),
    Relays(Fwd),
    LooksUp,
}

/// How a request goes on that nothing stored answers.
enum Way {
    /// The client wants nothing that is not stored.
    Refuses,
    /// By itself; why, if the rules alone do not say so.
    Relays { why: Fwd, own: Option<Own> },
    /// By a fill.
    Obtains { validates: Option<Arc<StoredResponse>>, fallback: Option<Arc<StoredResponse>>, why: Fwd },
}

/// Why a request that may be stored goes to the origin by itself.
#[derive(Clone, Copy)]
enum Own {
    /// Another process serves in the place of this one, and may know of purges that are not known here.
    HandedOver,
    /// A HEAD brings no body, so it fills nothing.
    Head,
    /// A fill has no body; what this one asks for the origin must see.
    Body,
    /// The client wants nothing stored.
    NoStore,
    /// A learner's own copy of a private page: the origin can say 304, a fill could not.
    ClientsCopy,
    /// A script's own fields: the origin sees them. What others may share is filled without them, see `share_later`.
    Fields,
    /// What came last was for nobody else, and this one says more than a fill may.
    PassMark,
}

impl Own {
    /// The word for the log, if it needs one.
    fn detail(self) -> Option<&'static str> {
        matches!(self, Own::HandedOver).then_some("handed-over")
    }
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
        match visit.course() {
            Course::Refuses(status) => {
                let plain = Plain::new(status, "rule");
                return Ok(answer::plain(visit.account, Outcome::Refused, None, plain));
            }
            Course::Relays(why) => return Err((visit, Found::Relays(why))),
            Course::LooksUp if self.0.handover.has_begun() => return Err((visit, Found::HandedOver)),
            Course::LooksUp => {}
        }
        let now = visit.account.time;
        let slot = self.0.memory.slot(&visit.route.key);
        let found = self.look_up(&visit, slot.as_deref(), now, |stored| self.outdated(&visit, stored));
        let Found::Serves { stored, ttl, refresh } = &found else { return Err((visit, found)) };
        let Some(at_hand) = self.at_hand(&mut visit, stored) else { return Err((visit, found)) };
        if *refresh {
            visit.end_hop();
            self.0.fills.refresh(&visit.wanted(Some(stored.clone()), self.selecting(&visit)));
        }
        if is_partial(&at_hand.0, stored) {
            let status = status_field::fwd(Fwd::Partial, None, true, false, None, None);
            return Ok(answer::stored(visit, stored, at_hand, Outcome::Miss, status, now));
        }
        let outcome = outcome_of(*ttl);
        Ok(answer::stored(visit, stored, at_hand, outcome, status_field::hit(*ttl), now))
    }

    /// A request that the origin must be asked for: by a relay, or by a fill.
    async fn ask(&self, mut visit: Box<Visit>, found: Found) -> Response<Body> {
        visit.end_hop();
        if let Found::Serves { stored, .. } = &found
            && !Directives::request(&visit.parts.headers).only_if_cached
            && let Some(in_hand) = self.in_hand(&mut visit, stored).await
        {
            let status = status_field::fwd(Fwd::Partial, None, true, false, None, None);
            return answer::stored(visit, stored, in_hand, Outcome::Miss, status, clock::now());
        }
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
        let obtained = self.0.fills.obtain(visit.wanted(validates, self.selecting(&visit))).await;
        if let Some(stored) =
            fallback.filter(|stored| obtained.is_error() && self.0.memory.holds(&stored.body))
            // Never across a record, though this request came before it.
            && !self.outdated(&visit, &stored)
            && let Some(at_hand) = self.at_hand(&mut visit, &stored)
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
            Obtained::Filling { head, mut body, began } => {
                visit.account.origin = Some(head.server);
                let outcome = match (began, head.shared) {
                    (_, Err(_)) if !head.kept => Outcome::Pass,
                    (true, _) => Outcome::Miss,
                    (false, _) => Outcome::Joined,
                };
                let (asked, detail) = (began.then_some(head.status.as_u16()), head.shared.err());
                let status = status_field::fwd(why, asked, head.kept && began, !began, None, detail);
                let part = self.part_of_growing(&visit, &head, &mut body).await;
                answer::filling(visit, &head, (part, body), outcome, status)
            }
            Obtained::Freshened { stored, server, began } => {
                visit.account.origin = Some(server);
                let Some(in_hand) = self.in_hand(&mut visit, &stored).await else {
                    return self.relay(visit, why, Some("chunk-missing")).await;
                };
                let outcome = if began { Outcome::Revalidated } else { Outcome::Joined };
                let status = status_field::fwd(why, began.then_some(304), began, !began, None, None);
                answer::stored(visit, &stored, in_hand, outcome, status, clock::now())
            }
            Obtained::Stored(stored) => {
                let Some(in_hand) = self.in_hand(&mut visit, &stored).await else {
                    return self.relay(visit, why, Some("chunk-missing")).await;
                };
                let now = clock::now();
                let status = status_field::hit(stored.freshness.ttl(now));
                answer::stored(visit, &stored, in_hand, Outcome::Hit, status, now)
            }
            Obtained::Released { .. } => self.relay(visit, why, Some("not-shared")).await,
            Obtained::Failed(failure) => {
                let fault = Some(failure.fault());
                answer::plain(visit.account, Outcome::Failed, fault, Plain::failed(&failure))
            }
        }
    }

    fn look_up(
        &self,
        visit: &Visit,
        slot: Option<&Slot>,
        now: SystemTime,
        outdated: impl FnOnce(&StoredResponse) -> bool,
    ) -> Found {
        let nothing = |why| Found::Asks { validates: None, on_error: false, why };
        let Some(slot) = slot else { return nothing(Fwd::UriMiss) };
        let Some(stored) = slot.select(&visit.parts.headers) else { return nothing(Fwd::VaryMiss) };
        if outdated(stored) {
            return nothing(Fwd::Stale);
        }
        match stored.usable(now) {
            Use::Fresh { ttl } => Found::Serves { stored: stored.clone(), ttl, refresh: false },
            Use::WhileRevalidating { ttl } => Found::Serves { stored: stored.clone(), ttl, refresh: true },
            // To be told that a body which is not there has not changed helps nobody.
            Use::Validate { .. } if stored.content_tag().is_none() && !self.0.memory.holds(&stored.body) => {
                nothing(Fwd::Stale)
            }
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
        let outdated = self.covered(visit, stored);
        if !outdated {
            stored.remember_check(touched);
        }
        outdated
    }

    /// The same, asked of the ledger itself.
    fn covered(&self, visit: &Visit, stored: &StoredResponse) -> bool {
        self.0.ledger.outdated(&visit.route.site.marks, visit.path(), visit.query(), stored.born)
    }

    /// The names the slot of a request is known to select by.
    fn selecting(&self, visit: &Visit) -> Vec<http::HeaderName> {
        self.0.memory.slot(&visit.route.key).map_or_else(Vec::new, |slot| slot.selecting_names())
    }

    /// How a request goes on that was not answered from what was found.
    fn way(&self, visit: &Visit, found: Found) -> Way {
        let (validates, fallback, why) = match found {
            Found::Relays(why) => return Way::Relays { why, own: None },
            Found::HandedOver => return Way::Relays { why: Fwd::Bypass, own: Some(Own::HandedOver) },
            // A chunk is gone: as if nothing had been found.
            Found::Serves { .. } => (None, None, Fwd::Miss),
            Found::Asks { validates, on_error, why } => {
                (validates.clone(), validates.filter(|_| on_error), why)
            }
        };
        if Directives::request(&visit.parts.headers).only_if_cached {
            return Way::Refuses;
        }
        match self.goes_by_itself(visit, validates.is_some(), fallback.is_some()) {
            Some(own) => Way::Relays { why, own: Some(own) },
            None => Way::Obtains { validates, fallback, why },
        }
    }

    /// Whether a request that found nothing goes to the origin by itself rather than as a fill, and why.
    fn goes_by_itself(&self, visit: &Visit, validates: bool, fallback: bool) -> Option<Own> {
        let headers = &visit.parts.headers;
        let open = matches!(visit.route.verdict, Verdict::Obey);
        let credentials = headers.contains_key(header::COOKIE) || headers.contains_key(header::AUTHORIZATION);
        let conditional =
            headers.contains_key(header::IF_NONE_MATCH) || headers.contains_key(header::IF_MODIFIED_SINCE);
        if visit.parts.method == Method::HEAD && !fallback {
            Some(Own::Head)
        } else if visit.has_body() {
            Some(Own::Body)
        } else if Directives::request(headers).no_store {
            Some(Own::NoStore)
        } else if open && credentials && conditional && !validates {
            Some(Own::ClientsCopy)
        } else if visit.says_own_fields() && !fallback && !self.0.fills.under_way(&visit.route.key) {
            Some(Own::Fields)
        } else if visit.says_more() && !fallback && self.0.fills.passes(&visit.route.key, headers) {
            Some(Own::PassMark)
        } else {
            None
        }
    }

    /// The part of a stored response that a request gets, and its bytes or who reads them, if its first byte is there now.
    ///
    /// Bytes that are there are taken at once, as far as that pins little memory: a whole window of what could not be had
    /// again, a few chunks of what could.
    fn at_hand(&self, visit: &mut Visit, stored: &StoredResponse) -> Option<(Part, From)> {
        let part = answer::part_of(visit, stored.status, &stored.headers, Some(stored.length));
        match self.reach(visit, stored, &part) {
            Reach::Nothing => Some((part, From::Pieces(Pieces::new()))),
            Reach::Pieces(first, last) => {
                Some((part, From::Pieces(self.0.memory.pieces(&stored.body, first, last)?)))
            }
            Reach::Reader { first, last, there } => {
                there.then(|| (part, From::Reader(self.read(visit, stored, first, last))))
            }
        }
    }

    /// How the bytes are reached that a part of a stored response needs.
    fn reach(&self, visit: &Visit, stored: &StoredResponse, part: &Part) -> Reach {
        let Some((first, last)) = part.bytes(stored.length).filter(|_| visit.parts.method != Method::HEAD)
        else {
            return Reach::Nothing;
        };
        let (memory, body) = (&self.0.memory, &stored.body);
        let again = stored.content_tag().is_some();
        let pinned = if again { PINNED } else { self.0.fills.window() };
        if last - first < pinned && !matches!(part, Part::Ranges { .. }) {
            return Reach::Pieces(first, last);
        }
        let there = if again { memory.holds_at(body, first) } else { memory.holds(body) };
        Reach::Reader { first, last, there }
    }

    /// As [`Edge::at_hand`], after the origin was asked for what is missing; `None` if it does not have it.
    async fn in_hand(&self, visit: &mut Visit, stored: &StoredResponse) -> Option<(Part, From)> {
        if let Some(at_hand) = self.at_hand(visit, stored) {
            return Some(at_hand);
        }
        stored.content_tag()?;
        let part = answer::part_of(visit, stored.status, &stored.headers, Some(stored.length));
        let (first, last) = part.bytes(stored.length)?;
        let mut reader = self.read(visit, stored, first, last);
        reader.ready().await.ok()?;
        Some((part, From::Reader(reader)))
    }

    fn read(&self, visit: &mut Visit, stored: &StoredResponse, first: u64, last: u64) -> Reader {
        visit.end_hop();
        self.0.fills.read(stored, &visit.wanted(None, self.selecting(visit)), first, last)
    }

    /// The part of a growing body that a request gets. While the length is unknown, a range is answered as one once its last
    /// byte is there, if it is not too long to wait for.
    async fn part_of_growing(&self, visit: &Visit, head: &FillHead, body: &mut Reader) -> Part {
        let part = |length| answer::part_of(visit, head.status, &head.headers, length);
        let part_now = part(head.length);
        let Part::Range { first, last, length: None } = part_now else { return part_now };
        if !head.kept || last - first >= self.0.fills.window() / 2 {
            return Part::Whole;
        }
        body.turn_to(first, Some(last));
        body.reaches(last).await;
        part(body.length())
    }
}

/// Whether a part needs bytes that never came.
fn is_partial(part: &Part, stored: &StoredResponse) -> bool {
    part.bytes(stored.length).is_some_and(|(first, last)| !stored.body.knows(first, last))
}

/// What became of a request that was served from what is stored, with so many seconds of freshness left.
const fn outcome_of(ttl: i64) -> Outcome {
    if ttl > 0 { Outcome::Hit } else { Outcome::Stale }
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

    fn course(&self) -> Course {
        match &self.route.verdict {
            Verdict::Refuse(status) => Course::Refuses(*status),
            Verdict::Pass => Course::Relays(Fwd::Bypass),
            Verdict::Cache(_) | Verdict::Obey if self.may_be_stored() => Course::LooksUp,
            Verdict::Cache(_) | Verdict::Obey => Course::Relays(Fwd::Method),
        }
    }

    /// Whether a body comes with it; of a request that is only talked about, whether it announces one.
    fn has_body(&self) -> bool {
        match &self.body {
            Some(body) => !http_body::Body::is_end_stream(body),
            None => self.announced().is_some(),
        }
    }

    /// The length of the body it announces, if that has one.
    fn announced(&self) -> Option<u64> {
        let length = self.parts.headers.get(header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok().filter(|length| *length > 0)
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
            span: self.span(),
        }
    }

    /// The part of a body that this request can be answered with, before anything is known of the body.
    fn span(&self) -> Option<Span> {
        match range::parse(&self.parts.headers) {
            Requested::Ranges(specs) if self.parts.method == Method::GET => match specs[..] {
                [Spec::From { first, last }] => Some(Span { first, last }),
                _ => None,
            },
            _ => None,
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
