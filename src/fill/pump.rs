//! From an origin's answer into a run: paced by the readers, continued where the origin breaks off, ended when nobody reads.

use crate::{
    cache::{CHUNK, Chunk, Key},
    clock,
    fill::{
        Fills,
        growing::{Cut, Growing, Room, RunId},
        guard::OTHER_RELEASE,
        slice,
        task::Failure,
    },
    origin::{Busy, Exchange, Origin, OriginBody, OriginError, OriginRequest},
    release::Hashing,
    telemetry::{Fault, Metrics},
};
use bytes::Bytes;
use prometheus::IntGauge;
use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

/// A run that nobody reads is still finished if at most this much remains …
const FINISH_REMAINING: u64 = 8 << 20;
/// … or it has at most this much.
const FINISH_LENGTH: u64 = 32 << 20;
/// Else it stops after this time without a reader.
const UNREAD: Duration = Duration::from_secs(3);
/// How often a run that the origin breaks off is continued.
const CONTINUATIONS: u8 = 2;
/// The memory tier applies what it put off each time so many bytes of a run were given to it.
const SETTLE: u64 = 4 << 20;
/// How often a run whose window is full looks whether the disk has written what is in the way.
const WRITTEN: Duration = Duration::from_millis(5);

const NOBODY_READS: Cut = Cut { fault: Fault::Client, word: "nobody-reads" };
const ABORTED: Cut = Cut { fault: Fault::Edge, word: "fill-aborted" };
const LAGGED: Cut = Cut { fault: Fault::Client, word: "lagged" };

/// Asks an origin in its turn.
pub(super) async fn ask(origin: &Arc<Origin>, request: OriginRequest) -> Result<Exchange, Failure> {
    let permit =
        origin.admit(&request).await.map_err(|Busy { retry_after }| Failure::Busy { retry_after })?;
    origin.fetch(permit, request).await.map_err(failure_of)
}

/// What a request comes to that got no answer.
pub(super) fn failure_of(error: OriginError) -> Failure {
    match error {
        OriginError::Closed | OriginError::Protocol => Failure::BrokenOff { word: error.word() },
        error => Failure::Origin(error),
    }
}

/// Counts an exchange that brings what is to be stored.
pub(super) struct InFlight(IntGauge);

impl InFlight {
    pub(super) fn new(metrics: &Metrics) -> InFlight {
        metrics.fills.inc();
        metrics.fills_in_flight.inc();
        InFlight(metrics.fills_in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A run that is being brought. Dropped before its end, however that comes about, it is cut.
pub(super) struct Run<'a> {
    fills: &'a Fills,
    growing: &'a Growing,
    id: RunId,
    /// What it brings will stand under this.
    key: &'a Key,
    /// Nobody waits for it, and it is brought all the same.
    unread: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        fills: &'a Fills,
        growing: &'a Growing,
        id: RunId,
        key: &'a Key,
        unread: bool,
    ) -> Run<'a> {
        Run { fills, growing, id, key, unread }
    }

    /// Brings an answer's body to its end, and its last chunk: what was read of it by now, and what comes. What `hashing` is not
    /// content with is cut before the last of it is shown.
    ///
    /// # Errors
    /// The origin broke off and nothing continues it, it sent other bytes, or nobody reads.
    pub(super) async fn pump(
        &self,
        held: &[u8],
        rest: Option<OriginBody>,
        mut hashing: Option<Hashing>,
    ) -> Result<(), Cut> {
        self.growing.expect(self.id, None);
        for piece in held.chunks(CHUNK) {
            self.keep(self.growing.append(self.id, piece)?);
        }
        let Some(mut body) = rest else { return self.seal() };
        // What came twice would be hashed twice.
        let mut continuations = 0..if hashing.is_some() { 0 } else { CONTINUATIONS };
        loop {
            let cut = match self.copy(body, hashing.take()).await {
                Ok(()) => return self.seal(),
                Err(Stopped::BrokeOff(error)) => Cut { fault: error.fault(), word: error.word() },
                Err(Stopped::Cut(cut)) => return Err(cut),
            };
            continuations.next().ok_or(cut)?;
            body = slice::go_on(self.growing, self.id).await.ok_or(cut)?;
        }
    }

    fn seal(&self) -> Result<(), Cut> {
        self.growing.seal(self.id).map(|last| self.keep(last))
    }

    /// All of it is there, and stored.
    pub(super) fn ends(self) {
        self.growing.end(self.id);
    }

    /// It did not come to its end.
    pub(super) fn fails(self, cut: Cut) {
        self.fills.metrics.fills_failed.with_label_values(&[cut.fault.as_str()]).inc();
        self.growing.cut(self.id, cut);
    }

    async fn copy(&self, mut body: OriginBody, mut hashing: Option<Hashing>) -> Result<(), Stopped> {
        let Run { growing, id, .. } = *self;
        growing.expect(id, None);
        let mut withheld = Bytes::new();
        loop {
            self.room().await;
            let finishes = self.finishes_unread();
            let piece = tokio::select! {
                biased;
                // First: an origin that is never waited for must not keep a fill alive.
                () = growing.abandoned(id), if !finishes => {
                    if !growing.keeps() || !self.is_read_again().await {
                        return Err(Stopped::Cut(NOBODY_READS));
                    }
                    continue;
                }
                piece = body.next() => piece,
            };
            match piece.map_err(Stopped::BrokeOff)? {
                None => {
                    if hashing.is_some_and(|hashing| !hashing.fits()) {
                        return Err(Stopped::Cut(OTHER_RELEASE));
                    }
                    self.keep(growing.append(id, &withheld).map_err(Stopped::Cut)?);
                    return Ok(());
                }
                Some(piece) => match &mut hashing {
                    None => self.keep(growing.append(id, &piece).map_err(Stopped::Cut)?),
                    // The last of it is shown when all of it is proven: a piece goes on when the next is there.
                    Some(hashing) => {
                        hashing.update(&piece);
                        let before = std::mem::replace(&mut withheld, piece.into_bytes());
                        self.keep(growing.append(id, &before).map_err(Stopped::Cut)?);
                    }
                },
            }
            self.limit();
        }
    }

    /// Gives sealed chunks to the tiers.
    fn keep(&self, sealed: impl IntoIterator<Item = Chunk>) {
        let tiers = &self.fills.tiers;
        let mut any = false;
        for chunk in sealed {
            if let Some(kept) = tiers.keep(self.key, &chunk) {
                self.growing.offered(self.id, &chunk.id, kept);
            }
            any = true;
        }
        let (start, came, _) = self.growing.progress(self.id);
        if any && (came - start) % SETTLE < CHUNK as u64 {
            tiers.settle();
        }
    }

    /// A body whose length was not known, and is too long to be stored, passes through from here on.
    fn limit(&self) {
        let (_, came, end) = self.growing.progress(self.id);
        if end.is_none() && came > self.fills.limit(false) && self.growing.keeps() {
            self.growing.pass_through();
            self.fills.metrics.not_stored.with_label_values(&["too-long"]).inc();
        }
    }

    /// Waits until there is room in the window. A reader that holds up others and does not move is left behind.
    async fn room(&self) {
        let room = |cx: &mut std::task::Context<'_>| self.growing.poll_room(self.id, cx);
        loop {
            let in_the_way = poll_fn(|cx| match room(cx) {
                Room::Ahead => Poll::Pending,
                room => Poll::Ready(room),
            });
            let since = match in_the_way.await {
                Room::Free | Room::Ahead => return,
                Room::Writing => {
                    tokio::time::sleep(WRITTEN).await;
                    continue;
                }
                Room::Lags(since) => since,
            };
            let limit = self.fills.settings.lag_limit;
            let moves = poll_fn(|cx| match room(cx) {
                Room::Lags(now) if now == since => Poll::Pending,
                _ => Poll::Ready(()),
            });
            let patience = tokio::time::timeout(limit.saturating_sub(clock::instant() - since), moves);
            if patience.await.is_err() && self.growing.leave_behind(self.id, since, LAGGED) {
                self.fills.metrics.lagged.inc();
            }
        }
    }

    /// Whether a run that nobody reads goes on to its end.
    fn finishes_unread(&self) -> bool {
        let (start, came, end) = self.growing.progress(self.id);
        let little = match end {
            None => came - start <= FINISH_LENGTH,
            Some(end) => {
                let (length, remains) = (end - start, end - came);
                length <= FINISH_LENGTH || remains <= FINISH_REMAINING || remains <= length / 4
            }
        };
        self.growing.keeps() && (little || (self.unread && !self.growing.can_fetch()))
    }

    async fn is_read_again(&self) -> bool {
        tokio::time::timeout(UNREAD, self.growing.read_again(self.id)).await.is_ok()
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.growing.cut(self.id, ABORTED);
    }
}

enum Stopped {
    BrokeOff(OriginError),
    Cut(Cut),
}
