//! A body that grows: one or more runs of chunks that are coming, and any number of readers at their own pace.
//!
//! Bytes are copied in once, into the open chunk of their run, and are readable at once; full or at the run's end the
//! chunk is sealed. A run holds what it sealed in its **window**, outside the tiers. When the window is full, the oldest
//! chunks go if the disk has them by now, or if a reader left behind can have them from the origin ([`Growing::fetches`]);
//! else the run waits for its slowest reader. A body that only passes through holds no more than what its slowest reader has
//! not read.
//!
//! The lock is held for the copy of at most one piece, never across an await.

mod run;
mod seats;
mod state;

use crate::{
    cache::{Body, CHUNK, CacheSettings, Chunk, ChunkId, Kept, Tiers},
    fill::{bodies::Bodies, slice::Source},
    telemetry::Fault,
};
use bytes::Bytes;
use run::{Run, index};
use state::State;
use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

/// Why a body ended before its end: whose doing, and the word for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Whose doing.
    pub fault: Fault,
    /// Why, in a fixed word.
    pub word: &'static str,
}

/// A chunk is known by another name than these bytes have: they are not of this body.
pub(super) const OTHER_BYTES: Cut = Cut { fault: Fault::Origin, word: "other-bytes" };
/// The origin ended before the end it had announced.
const TOO_SHORT: Cut = Cut { fault: Fault::Origin, word: "origin-closed" };

/// Names a run of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(u64);

/// How much of a body a run has at once, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// For readers that are behind.
    pub held: u64,
    /// Ahead of its first reader.
    pub ahead: u64,
}

impl Window {
    /// As it is set.
    pub fn of(settings: &CacheSettings) -> Window {
        Window { held: settings.fill_window, ahead: settings.read_ahead }
    }
}

/// A growing body.
pub struct Growing {
    body: Arc<Body>,
    tiers: Tiers,
    window: Window,
    source: OnceLock<Arc<Source>>,
    bodies: Arc<Bodies>,
    state: Mutex<State>,
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.bodies.forget(self);
    }
}

/// What a reader finds at its place.
pub(super) enum Found {
    /// Bytes, to the end of their chunk or of what came of it.
    Bytes(Bytes),
    /// The chunk is not held, but has this name.
    Named(ChunkId),
    /// A run will bring it.
    Coming,
    /// Nothing is there, and nothing comes.
    Missing,
    /// It will not be had.
    Cut(Cut),
}

/// What becomes of a chunk that is missing.
pub(super) enum Begun {
    /// This run was begun for it, from `start` to before `end`.
    Run { run: RunId, start: u64, end: u64 },
    /// This run was begun, which is to bring it with the whole.
    Whole(RunId),
    /// It comes already.
    Coming,
    /// It cannot be had.
    Never,
}

/// Whether a run may grow.
pub(super) enum Room {
    /// It may.
    Free,
    /// Its readers have enough for now.
    Ahead,
    /// The disk has not decided yet about what is in the way.
    Writing,
    /// A reader that has not moved since then holds up another.
    Lags(Instant),
}

impl Growing {
    /// A body of which nothing comes yet.
    pub(super) fn new(body: Arc<Body>, tiers: Tiers, window: Window, bodies: Arc<Bodies>) -> Growing {
        // What is farther ahead than the window holds is on disk, or nowhere.
        let ahead = if tiers.disk().is_some() { window.ahead } else { window.ahead.min(window.held) };
        let window = Window { ahead, ..window };
        let state = State {
            runs: Vec::new(),
            buffers: tiers.buffers().clone(),
            begun: 0,
            places: Vec::new(),
            keep: true,
            fetches: false,
            with_whole: false,
        };
        Growing { body, tiers, window, source: OnceLock::new(), bodies, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its chunks.
    pub(super) fn body(&self) -> &Arc<Body> {
        &self.body
    }

    /// Where chunks are kept.
    pub(super) fn tiers(&self) -> &Tiers {
        &self.tiers
    }

    /// Where what is missing can be had.
    pub(super) fn source(&self) -> Option<&Arc<Source>> {
        self.source.get()
    }

    /// From here on a chunk that is missing is asked for there, if its validator allows and once the length of the whole is
    /// known. The first source stands.
    pub(super) fn fetches(&self, source: &Arc<Source>) {
        if self.source.set(source.clone()).is_ok() && self.body.length().is_some() {
            self.may_fetch(&mut self.state());
        }
    }

    fn may_fetch(&self, state: &mut State) {
        state.fetches = state.keep && self.source().is_some_and(|source| source.names_content());
    }

    /// What was let go can be had again.
    pub(super) fn can_fetch(&self) -> bool {
        self.state().fetches
    }

    /// It is to be stored.
    pub(super) fn keeps(&self) -> bool {
        self.state().keep
    }

    /// The origin gives no parts: what is missing comes with the whole.
    pub(super) fn gives_no_parts(&self) {
        let mut state = self.state();
        state.gives_no_parts();
        state.wake_readers();
    }

    /// The origin has other bytes now: what is missing cannot be had any more.
    pub(super) fn fetches_no_more(&self) {
        let mut state = self.state();
        (state.fetches, state.with_whole) = (false, false);
        state.wake_readers();
    }

    /// From here on the body only passes through: it will not be stored.
    pub(super) fn pass_through(&self) {
        let mut state = self.state();
        (state.keep, state.fetches, state.with_whole) = (false, false, false);
        for run in 0..state.runs.len() {
            state.let_go(run, self.window);
        }
    }

    /// Begins the run from `start`, a chunk's first byte, to `end` if that is known.
    pub fn begin(&self, start: u64, end: Option<u64>) -> RunId {
        self.state().begin(start, end)
    }

    /// Begins the run a reader at `at` needs, if nothing that comes by now will bring it: to the end of what it reads, or to
    /// the first chunk that is there or comes otherwise. Tells its first byte and its end.
    pub(super) fn begin_missing(&self, place: usize, at: u64) -> Begun {
        let Some(length) = self.body.length() else { return Begun::Never };
        let mut state = self.state();
        if state.coming(at) {
            return Begun::Coming;
        }
        let Some(wanted) = state.places[place].as_ref().map(|place| place.end.min(length)) else {
            return Begun::Never;
        };
        match (state.fetches, state.with_whole) {
            _ if at >= wanted => return Begun::Never,
            (true, _) => {}
            (false, true) => return Begun::Whole(state.begin(0, Some(length))),
            (false, false) => return Begun::Never,
        }
        let held = |at| self.body.id(index(at)).is_some_and(|id| self.tiers.may_have_chunk(&id));
        let mut start = at / CHUNK as u64 * CHUNK as u64;
        let mut end = (start + CHUNK as u64).min(length);
        while end < wanted && !state.has(end) && !held(end) {
            end = (end + CHUNK as u64).min(length);
        }
        // Never one byte: a real origin takes that for none.
        if end - start == 1 {
            start = start.saturating_sub(CHUNK as u64);
        }
        Begun::Run { run: state.begin(start, Some(end)), start, end }
    }

    /// Where a run ends that was begun for what is missing, and the chunk behind, where a reader of it wants that too and it
    /// may be on disk. `None`: the run is long enough.
    pub(super) fn behind(&self, id: RunId) -> Option<(u64, ChunkId)> {
        let mut state = self.state();
        let run = state.run(id)?;
        let (start, end) = (run.start, run.end?);
        let run = state.runs.iter().find(|run| run.id == id)?;
        let wanted = state.readers_of(run).map(|place| place.end).max()?.min(self.body.length()?);
        let goes_on = end < wanted && end - start < self.window.held && !state.has(end);
        Some((end, self.body.id(index(end)).filter(|_| goes_on)?))
    }

    /// The chunk at `end`, where the run was to end, is missing too: it brings that as well.
    pub(super) fn widen(&self, id: RunId, end: u64) {
        let (mut state, length) = (self.state(), self.body.length().unwrap_or(end));
        if !state.has(end)
            && let Some(run) = state.run(id).filter(|run| run.end == Some(end))
        {
            run.end = Some((end + CHUNK as u64).min(length));
        }
    }

    /// The origin sends the whole instead of the part that the run was begun for: the run begins anew from the first byte.
    /// Not where the whole comes already: then the run is over, who waits for it waits for that, and this tells `false`.
    pub(super) fn begin_again(&self, id: RunId) -> bool {
        let mut state = self.state();
        state.gives_no_parts();
        let Some(start) = state.run(id).map(|run| run.start) else { return false };
        let comes =
            |run: &Run| run.shown <= start && run.end.is_none_or(|end| Some(end) == self.body.length());
        let elsewhere = state.runs.iter().any(|run| run.id != id && !run.is_over() && comes(run));
        let Some(run) = state.run(id) else { return false };
        if elsewhere {
            run.end = Some(run.came);
            state.drop_idle();
        } else {
            run.begin_again();
            run.end = self.body.length();
        }
        state.wake_readers();
        state.wake_writers();
        !elsewhere
    }

    /// Makes room for what is to come, so that chunks are allocated in their right size.
    pub fn expect(&self, run: RunId, end: Option<u64>) {
        let mut state = self.state();
        if let Some(run) = state.run(run) {
            let told = run.end.is_none() && end.is_some();
            run.end = end.or(run.end);
            run.expect();
            if told {
                self.may_fetch(&mut state);
            }
        }
    }

    /// Appends a piece, which readers may have at once, unless it is the last one of a run that is to be stored: that is
    /// shown with the run's end, so that who has all of it finds it stored. Hands over the chunks that it completed, if
    /// they are to be kept.
    ///
    /// # Errors
    /// The bytes are not of this body.
    pub fn append(&self, id: RunId, piece: &[u8]) -> Result<Vec<Chunk>, Cut> {
        let mut state = self.state();
        let keep = state.keep;
        let Some(run) = state.runs.iter().position(|run| run.id == id) else { return Ok(Vec::new()) };
        let sealed = state.runs[run].append(piece, keep.then_some(&*self.body))?;
        let growing = &mut state.runs[run];
        if !keep || growing.end != Some(growing.came) {
            growing.shown = growing.shown.max(growing.came);
        }
        state.let_go(run, self.window);
        state.wake_readers();
        Ok(sealed)
    }

    /// A chunk that the run handed over was offered to the disk.
    pub(super) fn offered(&self, id: RunId, chunk: &ChunkId, kept: Kept) {
        let mut state = self.state();
        let sealed = state.run(id).and_then(|run| run.sealed.iter_mut().rev().find(|s| s.awaits(chunk)));
        if let Some(sealed) = sealed {
            sealed.kept = Some(kept);
        }
    }

    /// The run has come to its end: seals what is open, which is the body's last chunk, and hands it over.
    ///
    /// # Errors
    /// The bytes are not of this body, or it ended before its end.
    pub fn seal(&self, id: RunId) -> Result<Option<Chunk>, Cut> {
        let mut state = self.state();
        let keep = state.keep;
        let Some(run) = state.run(id) else { return Ok(None) };
        match run.end {
            Some(end) if end != run.came => return Err(TOO_SHORT),
            None if !self.body.has_length(run.came) => return Err(OTHER_BYTES),
            _ => {}
        }
        let (told, open) = (run.end.is_none(), !run.open.is_empty());
        let last = if open { run.seal(keep.then_some(&*self.body))? } else { None };
        if told {
            self.may_fetch(&mut state);
        }
        Ok(last)
    }

    /// The run is over and brought all of itself.
    pub fn end(&self, id: RunId) {
        let mut state = self.state();
        if let Some(run) = state.run(id) {
            (run.shown, run.end) = (run.came, Some(run.came));
        }
        state.drop_idle();
        state.wake_readers();
    }

    /// The run is over before its end: who waits for it gets an unclean end.
    pub(super) fn cut(&self, id: RunId, cut: Cut) {
        let mut state = self.state();
        let State { runs, places, .. } = &mut *state;
        let Some(run) = runs.iter_mut().find(|run| run.id == id && !run.is_over()) else { return };
        let end = run.end.unwrap_or(u64::MAX);
        // What was shown of the open chunk stays readable; it has no name.
        (run.came, run.end) = (run.shown, Some(run.shown));
        for place in places.iter_mut().flatten().filter(|place| place.end > run.shown && place.at < end) {
            place.cut.get_or_insert(cut);
        }
        state.drop_idle();
        state.wake_readers();
    }

    /// Goes back to the last sealed chunk: the origin broke off and is asked to go on from there, or from one chunk before
    /// where that would be for one byte. What comes again is compared with what came. Tells from where, and to where.
    pub(super) fn go_back(&self, id: RunId) -> Option<(u64, Option<u64>)> {
        let mut state = self.state();
        let run = state.run(id)?;
        run.came -= run.came % CHUNK as u64;
        if run.end == Some(run.came + 1) {
            run.open = run.sealed.pop_back()?.bytes.into();
            run.came -= CHUNK as u64;
        }
        Some((run.came, run.end))
    }

    /// May the run grow? The waker is told when that changes.
    pub(super) fn poll_room(&self, id: RunId, cx: &Context<'_>) -> Room {
        let mut state = self.state();
        let Some(run) = state.runs.iter().position(|run| run.id == id) else { return Room::Free };
        let room = state.room(run, self.window);
        if !matches!(room, Room::Free) {
            state.runs[run].writer = Some(cx.waker().clone());
        }
        room
    }

    /// The reader that has not moved since `since` and holds up a run gets an unclean end. Tells whether there was one.
    pub(super) fn leave_behind(&self, id: RunId, since: Instant, cut: Cut) -> bool {
        let mut state = self.state();
        let Some(run) = state.runs.iter().position(|run| run.id == id) else { return false };
        let Room::Lags(moved) = state.room(run, self.window) else { return false };
        let slowest = state.slowest();
        let mut place = state.places.iter_mut().flatten().filter(|p| p.at == slowest && p.cut.is_none());
        let Some(place) = place.find(|place| moved <= since && place.moved <= since) else { return false };
        place.cut = Some(cut);
        state.let_go(run, self.window);
        state.wake_readers();
        true
    }

    /// Waits until no reader wants more of the run.
    pub(super) async fn abandoned(&self, run: RunId) {
        self.is_read(run, false).await;
    }

    /// Waits until a reader wants more of the run.
    pub(super) async fn read_again(&self, run: RunId) {
        self.is_read(run, true).await;
    }

    async fn is_read(&self, id: RunId, wanted: bool) {
        poll_fn(|cx| {
            let mut state = self.state();
            let Some(run) = state.runs.iter().position(|run| run.id == id) else { return Poll::Ready(()) };
            if state.readers_of(&state.runs[run]).next().is_some() == wanted {
                return Poll::Ready(());
            }
            state.runs[run].writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Where the run began, where it is, and where it will end if that is known.
    pub(super) fn progress(&self, id: RunId) -> (u64, u64, Option<u64>) {
        self.state().run(id).map_or((0, 0, None), |run| (run.start, run.came, run.end))
    }

    /// Whether a reader from `at` on can have all there is behind: nothing was let go that cannot be had again.
    pub(super) fn has_from(&self, at: u64) -> bool {
        self.state().has_from(at)
    }
}
