//! One fill: a task owned by nobody's request. Asks, decides, brings, stores.

use crate::{
    access::{Answer, Asking, Yes},
    cache::{Body, Key, Selecting, StoredResponse},
    clock,
    fill::{
        Fills, Span, Wanted,
        decide::{self, Decision, Sent},
        growing::{Growing, RunId},
        guard::{self, Admitted},
        pump::{self, InFlight, Run},
        reader::Reader,
        slice::Source,
    },
    http_caching::{Freshness, Tags, freshen, partial},
    ledger::{Number, Standing, Subject},
    origin::{Exchange, Head, Origin, OriginError, OriginRequest},
    release::Part,
    rules::Policy,
    site::{Mounted, Site},
    telemetry::Fault,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// What a fill is for and what it sends: fixed when it begins.
pub(super) struct Ask {
    pub key: Key,
    pub site: Arc<Site>,
    pub policy: Option<Arc<Policy>>,
    /// The storage it is fetched from, if not from the site's origin.
    pub mount: Option<Arc<Mounted>>,
    /// Normalised path and the query sent: what the ledger is asked about.
    pub path: String,
    pub query: Option<String>,
    /// Without credentials that the LMS is asked about.
    pub request: OriginRequest,
    /// In whose name it is asked, where the LMS decides who may have it.
    pub asking: Option<Asking>,
    /// The file of a release that is asked for.
    pub part: Option<Part>,
    /// The part that is asked for; none: the whole.
    pub span: Option<Span>,
    /// The stored response that the request is about to validate or replace.
    pub replaces: Option<Arc<StoredResponse>>,
    /// What another fill brings, about whose validator the LMS is asked.
    pub coming: Option<Arc<FillHead>>,
    /// The request names a validator of it.
    pub conditional: bool,
    /// Selecting fields known beforehand; only requests with the same values join.
    pub assumed: Selecting,
    /// Nobody joins: what comes is not expected to be storable.
    pub alone: bool,
    /// Nobody waits for it: a stale response was served meanwhile.
    pub unread: bool,
    /// How many fills for the same waiters died before this one.
    pub attempt: u8,
}

impl Ask {
    /// Where it is fetched from.
    pub(super) fn origin(&self) -> &Arc<Origin> {
        self.mount.as_ref().map_or(&self.site.origin, |mount| &mount.origin)
    }

    /// The request as it leaves.
    pub(super) fn sends(&self) -> OriginRequest {
        let mut request = self.request.clone();
        if let Some(asking) = &self.asking {
            asking.learner().show(&mut request.headers);
        }
        request
    }
}

/// The head of a fill's answer, as readers get it.
pub struct FillHead {
    /// Status.
    pub status: StatusCode,
    /// Fields as they are served, but `Age` and `Cache-Status`.
    pub headers: HeaderMap,
    /// Those that are for the request alone that caused the fill (RFC 9111 §5.2.2.4, §5.2.2.7).
    pub own_fields: Vec<HeaderName>,
    /// Length of the body if known.
    pub length: Option<u64>,
    /// What this answer was chosen by.
    pub selecting: Selecting,
    /// How long it may serve.
    pub freshness: Freshness,
    /// The ledger's number noted before the request left.
    pub born: Number,
    /// The answer may be given to others than the request that caused the fill; else why not.
    pub shared: Result<(), &'static str>,
    /// It is stored when it came whole.
    pub kept: bool,
    /// Nothing proves it before its last byte: who reads it meanwhile must not keep it.
    pub unproven: bool,
    /// The validator that names this body and no other.
    pub tag: Option<HeaderValue>,
    /// Where the LMS decides: it said yes to the learner in whose name it was asked.
    pub yes: Option<Yes>,
    /// What it can be purged by beside its URL.
    pub tags: Tags,
    /// The server that answered.
    pub server: SocketAddr,
    /// When the request left.
    pub requested: SystemTime,
}

impl FillHead {
    /// The fields as they are stored, and as others get them than who caused the fill.
    pub fn headers_for_others(&self) -> HeaderMap {
        decide::without(self.headers.clone(), self.own_fields.iter())
    }

    /// Whether it says something to whoever shows no credentials: a refusal, a new session, a page.
    pub fn is_for_a_stranger(&self) -> bool {
        let html = |value: &HeaderValue| value.as_bytes().to_ascii_lowercase().starts_with(b"text/html");
        !self.status.is_success()
            || self.headers.contains_key(header::SET_COOKIE)
            || self.headers.get(header::CONTENT_TYPE).is_some_and(html)
    }
}

/// Why no head came.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The origin's queue is full or the wait too long.
    Busy {
        /// When a place may be free.
        retry_after: Duration,
    },
    /// The origin could not be asked, or took too long.
    Origin(OriginError),
    /// The origin broke off before its head was whole, or it was not HTTP.
    BrokenOff {
        /// How, in a fixed word.
        word: &'static str,
    },
    /// The origin answered a condition for another validator than the one asked about.
    OtherValidator,
    /// The origin answered 304 to a request without a condition.
    Unasked,
    /// No front of the origin has the release that was asked for.
    OtherRelease,
    /// The origin was asked for a part and did not give one that can be used.
    NoParts,
    /// The task ended before its time.
    Aborted,
}

impl Failure {
    /// Whose doing.
    pub fn fault(&self) -> Fault {
        match self {
            Failure::Origin(error) => error.fault(),
            Failure::Busy { .. }
            | Failure::BrokenOff { .. }
            | Failure::OtherValidator
            | Failure::Unasked
            | Failure::OtherRelease
            | Failure::NoParts => Fault::Origin,
            Failure::Aborted => Fault::Edge,
        }
    }

    /// Why, in a fixed word.
    pub fn word(&self) -> &'static str {
        match self {
            Failure::Busy { .. } => "origin-busy",
            Failure::Origin(error) => error.word(),
            Failure::BrokenOff { word } => word,
            Failure::OtherValidator => "other-validator",
            Failure::Unasked => "unasked-304",
            Failure::OtherRelease => "other-release",
            Failure::NoParts => "no-parts",
            Failure::Aborted => "fill-aborted",
        }
    }
}

/// How far a fill is.
#[derive(Clone)]
pub(super) enum Phase {
    Asking,
    Head(Arc<FillHead>),
    Freshened(Arc<StoredResponse>, SocketAddr),
    /// It is for nobody but who asks for it with a request of its own.
    Apart,
    Dead(Failure),
}

/// A fill under way.
pub(super) struct Fill {
    pub(super) ask: Ask,
    pub(super) born: Number,
    pub(super) begun: SystemTime,
    phase: watch::Sender<Phase>,
    body: Arc<Growing>,
    covered: AtomicBool,
}

impl Fill {
    /// A fill not yet begun.
    pub(super) fn new(fills: &Fills, ask: Ask, born: Number) -> Fill {
        let (phase, body) = (watch::Sender::new(Phase::Asking), fills.grow(&Arc::new(Body::default())));
        Fill { ask, born, begun: clock::now(), phase, body, covered: AtomicBool::new(false) }
    }

    /// What it brings may not be stored, nor joined any more.
    pub(super) fn cover(&self) {
        self.covered.store(true, Ordering::Release);
    }

    pub(super) fn is_covered(&self) -> bool {
        self.covered.load(Ordering::Acquire)
    }

    /// Whether it brings, to store it, what has this validator.
    pub(super) fn brings(&self, tag: &HeaderValue) -> bool {
        matches!(&*self.phase.borrow(), Phase::Head(head) if head.kept && head.tag.as_ref() == Some(tag))
    }

    /// Whether who asks for what `wanted` says can have all of it here, as far as is known by now.
    pub(super) fn has(&self, wanted: &Wanted<'_>) -> bool {
        self.body.has_from(wanted.first())
    }

    /// The first reader, for what `wanted` says.
    pub(super) fn reader(&self, wanted: &Wanted<'_>) -> Reader {
        wanted.reads(Reader::new(&self.body, wanted.first()))
    }

    /// Another reader for what `wanted` says, if it can have all of it here.
    pub(super) fn join(&self, wanted: &Wanted<'_>) -> Option<Reader> {
        Reader::if_all_is_there(&self.body, wanted.first()).map(|reader| wanted.reads(reader))
    }

    /// Whether a request with these fields may wait for this fill, as far as is known by now.
    pub(super) fn fits(&self, headers: &HeaderMap) -> bool {
        let may_suit = match &*self.phase.borrow() {
            Phase::Asking | Phase::Freshened(..) => true,
            // What the LMS said to one learner alone is for nobody else.
            Phase::Head(head) => head.selecting.matches(headers) && (head.kept || self.ask.asking.is_none()),
            Phase::Apart | Phase::Dead(_) => false,
        };
        may_suit && !self.ask.alone && self.ask.assumed.matches(headers)
    }

    /// Waits for the head, or for the end without one.
    pub(super) async fn decided(&self) -> Phase {
        let mut phase = self.phase.subscribe();
        let decided =
            phase.wait_for(|phase| !matches!(phase, Phase::Asking)).await.map(|phase| phase.clone());
        decided.unwrap_or(Phase::Dead(Failure::Aborted))
    }
}

/// Leaves nothing behind, however the task ends: out of the table, waiters told.
struct Ending<'a> {
    fills: &'a Fills,
    fill: &'a Fill,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.fills.table.remove(&self.fill.ask.key, self.fill);
        self.fill.phase.send_if_modified(|phase| {
            let asking = matches!(phase, Phase::Asking);
            if asking {
                *phase = Phase::Dead(Failure::Aborted);
            }
            asking
        });
    }
}

/// Runs a fill to its end.
pub(super) async fn run(fills: Arc<Fills>, fill: Arc<Fill>) {
    let _in_flight = InFlight::new(&fills.metrics);
    let _ending = Ending { fills: &fills, fill: &fill };
    match pump::ask(fill.ask.origin(), fill.ask.sends()).await {
        Ok(exchange) => bring(&fills, &fill, exchange).await,
        Err(failure) => die(&fills, &fill, failure),
    }
}

/// Runs a fill whose answer is there: a check has brought it.
pub(super) async fn go_on(fills: Arc<Fills>, fill: Arc<Fill>, exchange: Exchange) {
    let _in_flight = InFlight::new(&fills.metrics);
    let _ending = Ending { fills: &fills, fill: &fill };
    bring(&fills, &fill, exchange).await;
}

/// How the body of an answer comes.
struct How {
    length: Option<u64>,
    delimited_by_close: bool,
    standing: guard::Standing,
    /// Its bytes are to prove it at their end.
    hashed: bool,
}

/// Brings an answer to its end, and stores it if it may be.
async fn bring(fills: &Arc<Fills>, fill: &Fill, exchange: Exchange) {
    let admitted = match guard::admit(fills, fill, exchange).await {
        Ok(admitted) => admitted,
        Err(failure) => return die(fills, fill, failure),
    };
    let Admitted { head, held, rest, length, delimited_by_close, hashing, standing } = admitted;
    let hashed = hashing.is_some();
    let how = How { length, delimited_by_close, standing, hashed };
    let Some((head, run)) = answered(fills, fill, head, how).await else {
        return;
    };
    let run = Run::new(fills, &fill.body, run, &fill.ask.key, fill.ask.unread);
    match run.pump(&held, rest, hashing).await {
        Ok(()) => {
            store(fills, fill, &head).await;
            run.ends();
        }
        Err(cut) => {
            if !hashed && fill.body.can_fetch() && !fill.body.body().is_unknown() {
                store(fills, fill, &head).await;
            }
            if cut == guard::OTHER_RELEASE
                && let Some(part) = &fill.ask.part
            {
                guard::mismatch(fills, &fill.ask, part, &head.server.to_string());
            }
            run.fails(cut);
        }
    }
}

/// No answer can be brought.
fn die(fills: &Fills, fill: &Fill, failure: Failure) {
    fills.metrics.fills_failed.with_label_values(&[failure.fault().as_str()]).inc();
    fill.phase.send_replace(Phase::Dead(failure));
}

/// Tells the waiters what the head means. Begins the run of what is to be brought.
async fn answered(
    fills: &Arc<Fills>,
    fill: &Fill,
    mut head: Head,
    How { length, delimited_by_close, standing, hashed }: How,
) -> Option<(Arc<FillHead>, RunId)> {
    decide::arrived(&mut head);
    if let Some(mount) = &fill.ask.mount {
        mount.turn_back(&mut head.headers);
    }
    if head.status == StatusCode::NOT_MODIFIED {
        fill.phase.send_replace(validated(fills, fill, &head).await);
        return None;
    }
    let part = match fill.ask.span {
        Some(span) if is_about_parts(head.status) => {
            let Some(part) = partial::part(&head.headers, length, span.start(), span.end()) else {
                fill.phase.send_replace(Phase::Dead(Failure::NoParts));
                return None;
            };
            decide::as_whole(&mut head, part.length);
            Some(part)
        }
        _ => None,
    };
    let length = part.map(|part| part.length).or(length);
    let decision = decide::decide(
        head,
        &fill.ask,
        fill.born,
        length,
        delimited_by_close,
        |again| fills.limit(again),
        &fills.settings.coding,
    );
    let decision = spare_what_is_good(fills, fill, decision);
    let Decision { head, storable } =
        if fill.ask.part.is_some() { of_release(decision, standing) } else { decision };
    if let Err(word) = storable {
        fills.metrics.not_stored.with_label_values(&[word]).inc();
        // What is said to one learner alone says nothing of what is stored for others.
        let speaks = fill.ask.asking.is_none() || head.yes.is_some();
        if let Some(old) = fill.ask.replaces.as_ref().filter(|_| speaks && !decide::is_failure(head.status)) {
            // The origin has something else to say now: what it said before is withdrawn (RFC 9111 §4.3.3, G17).
            fills.tiers.withdraw(&fill.ask.key, &old.body).await;
        }
    }
    heard(fills, fill, &head);
    match head.shared {
        _ if fill.ask.asking.is_some() => {}
        Ok(()) => fills.table.unmark(&fill.ask.key, &fill.ask.request.headers),
        // A failure says nothing of what will come, nor does what is outdated.
        Err(_) if is_outdated(fills, fill, &head.tags) || decide::is_failure(head.status) => {}
        Err(_) => fills.table.mark(&fill.ask.key, &head.selecting, fills.settings.pass_mark),
    }
    let tag = head.tag.clone();
    // A part is of use only together with the others.
    if part.is_some() && (storable.is_err() || tag.is_none()) {
        let phase = if storable.is_err() { Phase::Apart } else { Phase::Dead(Failure::NoParts) };
        fill.phase.send_replace(phase);
        return None;
    }
    if let Some(length) = length {
        fill.body.body().has_length(length);
    }
    match storable {
        // Of what its bytes are to prove nothing is of use but the whole.
        Ok(()) if hashed => {}
        Ok(()) => fill.body.fetches(&Source::of_fill(fills, &fill.ask, &head.headers, tag)),
        Err(_) => fill.body.pass_through(),
    }
    if fill.ask.span.is_some() && part.is_none() {
        // Asked for a part, the origin sends the whole.
        fill.body.gives_no_parts();
    }
    let (start, end) = part.map_or((0, length), |part| (part.start, Some(part.end)));
    let run = fill.body.begin(start, end);
    let head = Arc::new(head);
    fill.phase.send_replace(Phase::Head(head.clone()));
    Some((head, run))
}

/// An answer to who asked for a file of a release: what is not the file is stored nowhere, what is not proven so far nobody keeps.
fn of_release(mut decision: Decision, proven: guard::Standing) -> Decision {
    match proven {
        guard::Standing::Proven => {}
        guard::Standing::Unproven => decision.head.unproven = true,
        guard::Standing::NotTheFile => {
            decision.storable = decision.storable.and(Err("other-release"));
            decision.head.kept = false;
            decision.head.shared = decision.head.shared.and(Err("other-release"));
        }
    }
    decision
}

/// A failure is not stored in the place of what may serve again, be it stale (G22).
fn spare_what_is_good(fills: &Fills, fill: &Fill, mut decision: Decision) -> Decision {
    let ask = &fill.ask;
    let good = |stored: &StoredResponse| {
        let (path, query, came) = (&ask.path, ask.query.as_deref(), stored.freshness.received);
        let subject = Subject { path, query, tags: &stored.tags, came };
        !decide::is_failure(stored.status)
            && fills.ledger.standing(&ask.site.marks, &subject, stored.born) != Standing::Outdated
            && !fills.groups.covers(&ask.key, stored)
    };
    let slot = fills.tiers.slot(&ask.key);
    let there = slot.as_ref().and_then(|slot| slot.select(&ask.request.headers)).or(ask.replaces.as_ref());
    if decide::is_failure(decision.head.status) && there.is_some_and(|stored| good(stored)) {
        decision.storable = decision.storable.and(Err("failure"));
        decision.head.kept = false;
    }
    decision
}

/// What the LMS said to the learner in whose name it was asked is remembered, or forgotten.
fn heard(fills: &Fills, fill: &Fill, head: &FillHead) {
    match (&fill.ask.asking, &head.yes) {
        (Some(_), Some(yes)) => drop(fills.checks.remember(yes)),
        (Some(asking), None) if !decide::is_failure(head.status) => fills.checks.deny(asking),
        _ => {}
    }
}

/// Whether an answer to a request for a part speaks of parts; any other is as if the whole had been asked for.
fn is_about_parts(status: StatusCode) -> bool {
    matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE)
}

/// What a 304 comes to. It says something only to who asked, and only of what was asked about.
async fn validated(fills: &Fills, fill: &Fill, head: &Head) -> Phase {
    let key = &fill.ask.key;
    let Some(old) = fill.ask.replaces.as_ref().filter(|_| fill.ask.conditional) else {
        return Phase::Dead(Failure::Unasked);
    };
    if let Some(asking) = &fill.ask.asking {
        match decide::judged(asking, head, &fill.ask) {
            Answer::Current(yes) => drop(fills.checks.remember(&yes)),
            _ => fills.checks.deny(asking),
        }
    }
    let new = freshen::is_about(&old.headers, &head.headers)
        .then(|| decide::freshened(old, head, Sent::from(&fill.ask), fill.born))
        .flatten();
    let Some(new) = new.map(Arc::new) else {
        fills.tiers.withdraw(key, &old.body).await;
        return Phase::Dead(Failure::OtherValidator);
    };
    if fill.is_covered() || !fills.freshen(key, &new, head.requested).await {
        return Phase::Dead(Failure::OtherValidator);
    }
    if !new.is_fresh() && fill.ask.asking.is_none() && !is_outdated(fills, fill, &new.tags) {
        fills.table.mark(key, &new.selecting, fills.settings.pass_mark);
    }
    Phase::Freshened(new, head.server)
}

/// Did a record of the ledger or an unsafe method cover a fill since it began?
fn is_outdated(fills: &Fills, fill: &Fill, tags: &Tags) -> bool {
    let Ask { site, path, query, .. } = &fill.ask;
    let subject = Subject { path, query: query.as_deref(), tags, came: fill.begun };
    fill.is_covered() || fills.ledger.outdated(&site.marks, &subject, fill.born)
}

/// Stores the head that names the chunks, which were kept before it; nothing if it is not to be kept, or if a record or an
/// unsafe method covered the fill meanwhile.
async fn store(fills: &Fills, fill: &Fill, head: &FillHead) {
    let (ask, body) = (&fill.ask, fill.body.body());
    let Some(length) = body.length().filter(|_| fill.body.keeps()) else { return };
    let stored = Arc::new(decide::stored(head, ask, length, body.clone()));
    let admit = || !is_outdated(fills, fill, &head.tags) && !fills.is_covered_by_group(&ask.key, head);
    fills.tiers.store(&ask.key, &stored, admit).await;
    fills.tiers.settle();
}
