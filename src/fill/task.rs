//! One fill: a task owned by nobody's request. Asks, decides, pumps, stores.

use crate::{
    cache::{Chunk, Key, Selecting, StoredResponse},
    fill::{
        Fills,
        decide::{self, Decision},
        growing::{Cut, Growing, Reader},
    },
    http_caching::Freshness,
    ledger::Number,
    origin::{Busy, Exchange, Head, OriginBody, OriginError, OriginRequest},
    rules::Policy,
    site::Site,
    telemetry::Fault,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// A fill that nobody reads is still finished if at most this much remains …
const FINISH_REMAINING: u64 = 8 << 20;
/// … or the body has at most this much.
const FINISH_LENGTH: u64 = 32 << 20;
/// Else it stops after this time without a reader.
const UNREAD: Duration = Duration::from_secs(3);

/// What a fill is for and what it sends: fixed when it begins.
pub(super) struct Ask {
    pub key: Key,
    pub site: Arc<Site>,
    pub policy: Option<Arc<Policy>>,
    /// Normalised path and the query sent: what the ledger is asked about.
    pub path: String,
    pub query: Option<String>,
    pub request: OriginRequest,
    /// The stored response that the request is about to validate or replace.
    pub replaces: Option<Arc<StoredResponse>>,
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

/// The head of a fill's answer, as readers get it.
pub struct FillHead {
    /// Status.
    pub status: StatusCode,
    /// Fields as they are served, but `Age` and `Cache-Status`.
    pub headers: HeaderMap,
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
    /// The server that answered.
    pub server: SocketAddr,
}

impl FillHead {
    /// The fields as others get them than who caused the fill: without those that each must ask for (RFC 9111 §5.2.2.4).
    pub fn headers_for_others(&self) -> HeaderMap {
        decide::shared_fields(&self.headers)
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
    /// The task ended before its time.
    Aborted,
}

impl Failure {
    /// Whose doing.
    pub fn fault(&self) -> Fault {
        match self {
            Failure::Origin(error) => error.fault(),
            Failure::Busy { .. } | Failure::BrokenOff { .. } | Failure::OtherValidator | Failure::Unasked => {
                Fault::Origin
            }
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
    Dead(Failure),
}

/// A fill under way.
pub(super) struct Fill {
    pub(super) ask: Ask,
    pub(super) born: Number,
    phase: watch::Sender<Phase>,
    body: Arc<Growing>,
    covered: AtomicBool,
}

impl Fill {
    /// A fill not yet begun, and its first reader.
    pub(super) fn new(ask: Ask, born: Number) -> (Arc<Fill>, Reader) {
        let (body, reader) = Growing::with_reader();
        let phase = watch::Sender::new(Phase::Asking);
        (Arc::new(Fill { ask, born, phase, body, covered: AtomicBool::new(false) }), reader)
    }

    /// What it brings may not be stored, nor joined any more.
    pub(super) fn cover(&self) {
        self.covered.store(true, Ordering::Release);
    }

    pub(super) fn is_covered(&self) -> bool {
        self.covered.load(Ordering::Acquire)
    }

    pub(super) fn body(&self) -> &Arc<Growing> {
        &self.body
    }

    /// Whether a request with these fields may wait for this fill, as far as is known by now.
    pub(super) fn fits(&self, headers: &HeaderMap) -> bool {
        let may_suit = match &*self.phase.borrow() {
            Phase::Asking | Phase::Freshened(..) => true,
            Phase::Head(head) => head.selecting.matches(headers),
            Phase::Dead(_) => false,
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

/// Leaves nothing behind, however the task ends: out of the table, waiters told, readers cut.
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
        self.fill.body.cut(Cut { fault: Fault::Edge, word: "fill-aborted" });
        self.fills.metrics.fills_in_flight.dec();
    }
}

/// Runs a fill to its end.
pub(super) async fn run(fills: Arc<Fills>, fill: Arc<Fill>) {
    fills.metrics.fills.inc();
    fills.metrics.fills_in_flight.inc();
    let _ending = Ending { fills: &fills, fill: &fill };
    let exchange = match ask(&fill).await {
        Ok(exchange) => exchange,
        Err(failure) => {
            fills.metrics.fills_failed.with_label_values(&[failure.fault().as_str()]).inc();
            fill.phase.send_replace(Phase::Dead(failure));
            return;
        }
    };
    let Exchange { mut head, body } = exchange;
    decide::arrived(&mut head);
    if head.status == StatusCode::NOT_MODIFIED {
        fill.phase.send_replace(validated(&fills, &fill, &head));
        return;
    }
    let Decision { head, storable } = decide::decide(
        head,
        &fill.ask,
        fill.born,
        body.length(),
        body.delimited_by_close(),
        fills.settings.body_limit,
    );
    let head = Arc::new(head);
    if let Err(word) = storable {
        fills.metrics.not_stored.with_label_values(&[word]).inc();
        fill.body.pass_through();
        if let Some(old) = fill.ask.replaces.as_ref().filter(|_| !decide::is_failure(head.status)) {
            // The origin has something else to say now: what it said before is withdrawn (RFC 9111 §4.3.3, G17).
            fills.memory.withdraw(&fill.ask.key, old);
        }
    }
    match head.shared {
        Ok(()) => fills.table.unmark(&fill.ask.key, &fill.ask.request.headers),
        // A failure says nothing of what will come, nor does what is outdated.
        Err(_) if is_outdated(&fills, &fill) || decide::is_failure(head.status) => {}
        Err(_) => fills.table.mark(&fill.ask.key, &head.selecting, fills.settings.pass_mark),
    }
    fill.phase.send_replace(Phase::Head(head.clone()));
    match pump(&fills, &fill, body, storable.is_ok()).await {
        Ok(()) => {
            if let Some(chunks) = fill.body.chunks() {
                store(&fills, &fill, &head, &chunks);
            }
            fill.body.complete();
        }
        Err(cut) => {
            fills.metrics.fills_failed.with_label_values(&[cut.fault.as_str()]).inc();
            fill.body.cut(cut);
        }
    }
}

async fn ask(fill: &Fill) -> Result<Exchange, Failure> {
    let origin = &fill.ask.site.origin;
    let permit = origin.admit().await.map_err(|Busy { retry_after }| Failure::Busy { retry_after })?;
    origin.fetch(permit, fill.ask.request.clone()).await.map_err(|error| match error {
        OriginError::Closed | OriginError::Protocol => Failure::BrokenOff { word: error.word() },
        error => Failure::Origin(error),
    })
}

/// What a 304 comes to. It says something only to who asked, and only of what was asked about.
fn validated(fills: &Fills, fill: &Fill, head: &Head) -> Phase {
    let key = &fill.ask.key;
    let Some(old) = fill.ask.replaces.as_ref().filter(|_| fill.ask.conditional) else {
        return Phase::Dead(Failure::Unasked);
    };
    let Some(new) = decide::freshened(old, head, &fill.ask, fill.born).map(Arc::new) else {
        fills.memory.withdraw(key, old);
        return Phase::Dead(Failure::OtherValidator);
    };
    if fill.is_covered() || !fills.memory.freshen(key, &new) {
        return Phase::Dead(Failure::OtherValidator);
    }
    if !new.is_fresh() && !is_outdated(fills, fill) {
        fills.table.mark(key, &new.selecting, fills.settings.pass_mark);
    }
    Phase::Freshened(new, head.server)
}

/// Copies the answer's body into the growing one, to its end.
async fn pump(fills: &Fills, fill: &Fill, mut body: OriginBody, mut keep: bool) -> Result<(), Cut> {
    let growing = &fill.body;
    let expected = body.length();
    growing.expect(expected);
    loop {
        if !keep {
            growing.room().await;
        }
        let finishes = keep && (fill.ask.unread || finishes_unread(expected, growing.length()));
        let piece = tokio::select! {
            biased;
            // First: an origin that is never waited for must not keep a fill alive.
            () = growing.abandoned(), if !finishes => {
                if !keep || !read_again(growing).await {
                    return Err(Cut { fault: Fault::Client, word: "nobody-reads" });
                }
                continue;
            }
            piece = body.next() => piece,
        };
        match piece.map_err(|error: OriginError| Cut { fault: error.fault(), word: error.word() })? {
            None => return Ok(()),
            Some(piece) if keep && expected == Some(growing.length() + piece.len() as u64) => {
                growing.append_last(&piece);
            }
            Some(piece) => growing.append(&piece),
        }
        if keep && growing.length() > fills.settings.body_limit {
            keep = false;
            growing.pass_through();
            fills.metrics.not_stored.with_label_values(&["too-long"]).inc();
        }
    }
}

/// Whether a fill that nobody reads goes on to its end.
fn finishes_unread(expected: Option<u64>, came: u64) -> bool {
    match expected {
        None => came <= FINISH_LENGTH,
        Some(length) => {
            let remains = length.saturating_sub(came);
            length <= FINISH_LENGTH || remains <= FINISH_REMAINING || remains <= length / 4
        }
    }
}

async fn read_again(growing: &Growing) -> bool {
    tokio::time::timeout(UNREAD, growing.read_again()).await.is_ok()
}

/// Did a record of the ledger or an unsafe method cover a fill since it began?
fn is_outdated(fills: &Fills, fill: &Fill) -> bool {
    let Ask { site, path, query, .. } = &fill.ask;
    fill.is_covered() || fills.ledger.outdated(&site.marks, path, query.as_deref(), fill.born)
}

/// Chunks first, then the head that names them; nothing if a record or an unsafe method covered the fill meanwhile.
fn store(fills: &Fills, fill: &Fill, head: &FillHead, chunks: &[Chunk]) {
    let ask = &fill.ask;
    for chunk in chunks {
        fills.memory.keep_chunk(chunk);
    }
    let length = chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum();
    let ids: Arc<[_]> = chunks.iter().map(|chunk| chunk.id).collect();
    let stored = Arc::new(decide::stored(head, ask, length, ids));
    fills.memory.store(&ask.key, &stored, || !is_outdated(fills, fill));
    fills.memory.settle();
}
