//! A reader of a body: what a run holds, else what a tier has, else what it has the origin asked for.

use crate::{
    access::{Learner, Leave},
    cache::{CHUNK, ChunkId, Raised},
    fill::{
        growing::{Begun, Cut, Found, Growing},
        slice,
    },
    telemetry::Fault,
};
use bytes::Bytes;
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// A chunk is in no tier any more, and nothing says that the origin still has the same bytes.
const MISSING: Cut = Cut { fault: Fault::Edge, word: "chunk-missing" };

/// Her leave was taken back while she read.
const FORGOTTEN: Cut = Cut { fault: Fault::Client, word: "access-forgotten" };

/// One reader of a body, for the bytes `at..end`. Holds one piece at most, and one chunk that is read from disk: what it handed
/// over it has let go.
pub struct Reader {
    growing: Arc<Growing>,
    /// Leave to read; none where it is the answer to the reader's own request.
    leave: Option<Leave>,
    place: usize,
    at: u64,
    end: u64,
    /// A piece already taken.
    ahead: Option<Bytes>,
    /// The chunk that is read from disk, for now or for next.
    raised: Option<Raised>,
    /// A chunk that was not on disk: not looked for there again while a run brings it.
    lacked: Option<ChunkId>,
}

impl Reader {
    /// A reader from `at` on.
    pub fn new(growing: &Arc<Growing>, at: u64) -> Reader {
        Reader::in_place(growing, growing.sit(at), at)
    }

    /// A reader from `at` on, if all there is behind can be had.
    pub(super) fn if_all_is_there(growing: &Arc<Growing>, at: u64) -> Option<Reader> {
        growing.sit_if_has_from(at).map(|place| Reader::in_place(growing, place, at))
    }

    fn in_place(growing: &Arc<Growing>, place: usize, at: u64) -> Reader {
        let growing = growing.clone();
        Reader { growing, leave: None, place, at, end: u64::MAX, ahead: None, raised: None, lacked: None }
    }

    /// What is missing may be asked for in this learner's name as long as she reads.
    pub(super) fn of(self, learner: Option<&Arc<Learner>>) -> Reader {
        if let Some(learner) = learner {
            self.growing.speaks(self.place, learner);
        }
        self
    }

    /// Reads no longer than this leave stands.
    pub fn under(mut self, leave: Leave) -> Reader {
        self.leave = Some(leave);
        self
    }

    /// Turns the reader to the bytes from `first` to `last` (or the end).
    pub fn turn_to(&mut self, first: u64, last: Option<u64>) {
        let end = last.map_or(u64::MAX, |last| last.saturating_add(1));
        let at = self.at - self.ahead.as_ref().map_or(0, |ahead| ahead.len() as u64);
        if (first, end) != (at, self.end) {
            (self.at, self.end, self.ahead) = (first, end, None);
            self.growing.move_to(self.place, first, end);
        }
    }

    /// Length of the whole, if it is known by now.
    pub fn length(&self) -> Option<u64> {
        self.growing.body().length()
    }

    /// Waits until the byte at `last` is there or the body ended before it. Tells whether one of both came.
    pub async fn reaches(&self, last: u64) -> bool {
        poll_fn(|cx| self.growing.reaches(self.place, last, cx)).await
    }

    /// The next piece; `None` at the end, `Err` where the body was cut.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        self.poll_piece(cx, true)
    }

    /// The next piece; what is in no tier and does not come is asked for if `asks`, else the body is cut there.
    fn poll_piece(&mut self, cx: &mut Context<'_>, asks: bool) -> Poll<Option<Result<Bytes, Cut>>> {
        if self.leave.as_ref().is_some_and(|leave| !leave.stands()) {
            return Poll::Ready(Some(Err(FORGOTTEN)));
        }
        if let Some(ahead) = self.ahead.take() {
            return Poll::Ready(Some(Ok(ahead)));
        }
        let mut piece = loop {
            let end = self.growing.body().length().map_or(self.end, |length| self.end.min(length));
            if self.at >= end {
                return Poll::Ready(None);
            }
            let found = match self.growing.find(self.place, self.at, cx) {
                Found::Named(id) => ready!(self.poll_tiers(id, cx)),
                found => found,
            };
            match found {
                Found::Bytes(piece) => break piece,
                Found::Coming => return Poll::Pending,
                Found::Cut(cut) => return Poll::Ready(Some(Err(cut))),
                Found::Missing | Found::Named(_) if !asks => return Poll::Ready(Some(Err(MISSING))),
                Found::Missing | Found::Named(_) => match self.growing.begin_missing(self.place, self.at) {
                    Begun::Run { run, start, end } => slice::spawn(&self.growing, run, Some((start, end))),
                    Begun::Whole(run) => slice::spawn(&self.growing, run, None),
                    Begun::Coming => {}
                    Begun::Never => return Poll::Ready(Some(Err(MISSING))),
                },
            }
        };
        piece.truncate(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        self.at += piece.len() as u64;
        self.growing.took(self.place, self.at);
        Poll::Ready(Some(Ok(piece)))
    }

    /// The rest of the chunk of this name, from memory or from disk; else what else may bring it.
    fn poll_tiers(&mut self, id: ChunkId, cx: &mut Context<'_>) -> Poll<Found> {
        let tiers = self.growing.tiers().clone();
        let offset = (self.at % CHUNK as u64) as usize;
        if let Some(chunk) = tiers.chunk(&id) {
            return Poll::Ready(Found::Bytes(chunk.slice(offset..)));
        }
        if self.lacked == Some(id)
            && let found @ (Found::Coming | Found::Cut(_)) = self.growing.wait(self.place, self.at, cx)
        {
            return Poll::Ready(found);
        }
        if self.raised.as_ref().is_none_or(|raised| raised.id() != id) {
            self.raised = tiers.read(&id);
        }
        if let Some(raised) = &mut self.raised {
            let bytes = ready!(Pin::new(raised).poll(cx));
            self.raised = None;
            if let Some(bytes) = bytes {
                self.read_ahead();
                return Poll::Ready(Found::Bytes(bytes.slice(offset..)));
            }
        }
        self.lacked = Some(id);
        Poll::Ready(self.growing.wait(self.place, self.at, cx))
    }

    /// Has the next chunk read while this one is handed over.
    fn read_ahead(&mut self) {
        let (body, next) = (self.growing.body(), self.at / CHUNK as u64 + 1);
        if next * (CHUNK as u64) < self.end.min(body.length().unwrap_or(u64::MAX)) {
            self.raised = body.id(next as usize).and_then(|id| self.growing.tiers().read_ahead(&id));
        }
    }

    /// Waits until the first byte is there, without having the origin asked for it. Tells whether it is.
    pub async fn is_here(&mut self) -> bool {
        self.first(false).await.is_ok()
    }

    /// Waits until the first byte is there.
    ///
    /// # Errors
    /// It will not come.
    pub async fn ready(&mut self) -> Result<(), Cut> {
        self.first(true).await
    }

    async fn first(&mut self, asks: bool) -> Result<(), Cut> {
        poll_fn(|cx| {
            Poll::Ready(match ready!(self.poll_piece(cx, asks)) {
                Some(Ok(piece)) => {
                    self.ahead = Some(piece);
                    Ok(())
                }
                Some(Err(cut)) => Err(cut),
                None => Ok(()),
            })
        })
        .await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.growing.stand_up(self.place);
    }
}
