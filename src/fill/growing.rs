//! A body that grows: one or more runs of chunks that are coming, and any number of readers at their own pace.
//!
//! Bytes are copied in once, into the open chunk of their run, and are readable at once; full or at the run's end the
//! chunk is sealed. A run holds what it sealed in its **window**, outside the memory tier. When the window is full, the
//! oldest chunks go if a reader left behind can get them again ([`Growing::fetches`]); else the run waits for its slowest
//! reader. A body that only passes through holds no more than what its slowest reader has not read.
//!
//! The lock is held for the copy of at most one piece, never across an await.

use crate::{
    cache::{Body, CHUNK, Chunk, ChunkId, Memory},
    clock,
    fill::{bodies::Bodies, slice::Source},
    telemetry::Fault,
};
use bytes::{Bytes, BytesMut};
use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

/// How far ahead of a run a reader may be and still wait for it, and how far before its start it may be and still count
/// as its reader, bytes.
const NEAR: u64 = 4 * CHUNK as u64;

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

/// Contiguous chunks that are coming.
struct Run {
    id: RunId,
    /// First byte; a chunk begins there.
    start: u64,
    /// Chunks sealed and still held; the first of them begins at `held`.
    sealed: VecDeque<Bytes>,
    held: u64,
    open: BytesMut,
    /// Where the next byte that comes belongs.
    came: u64,
    /// Readers may have what is before.
    shown: u64,
    /// Where it ends, as far as is known.
    end: Option<u64>,
    writer: Option<Waker>,
}

struct Place {
    at: u64,
    /// Where its range ends; `u64::MAX`: with the body.
    end: u64,
    moved: Instant,
    waker: Option<Waker>,
    /// What it gets where it finds nothing more.
    cut: Option<Cut>,
}

struct State {
    runs: Vec<Run>,
    begun: u64,
    places: Vec<Option<Place>>,
    keep: bool,
    /// Missing chunks can be had from the origin.
    fetches: bool,
}

/// A growing body.
pub struct Growing {
    body: Arc<Body>,
    memory: Memory,
    /// Bytes a run may hold for readers behind, and be ahead of its first.
    window: u64,
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
    /// A reader that has not moved since then holds up another.
    Lags(Instant),
}

impl Growing {
    /// A body of which nothing comes yet. `window`: bytes a run may hold.
    pub(super) fn new(body: Arc<Body>, memory: Memory, window: u64, bodies: Arc<Bodies>) -> Growing {
        let state = State { runs: Vec::new(), begun: 0, places: Vec::new(), keep: true, fetches: false };
        Growing { body, memory, window, source: OnceLock::new(), bodies, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its chunks.
    pub(super) fn body(&self) -> &Arc<Body> {
        &self.body
    }

    /// Where chunks are kept.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Where what is missing can be had.
    pub(super) fn source(&self) -> Option<&Arc<Source>> {
        self.source.get()
    }

    /// From here on a chunk that is missing is asked for there, if its validator allows. The first source stands.
    pub(super) fn fetches(&self, source: &Arc<Source>) {
        if self.source.set(source.clone()).is_ok() {
            self.state().fetches = source.names_content() && self.body.length().is_some();
        }
    }

    /// What was let go can be had again.
    pub(super) fn can_fetch(&self) -> bool {
        self.state().fetches
    }

    /// It is to be stored.
    pub(super) fn keeps(&self) -> bool {
        self.state().keep
    }

    /// The origin gives no parts: what is missing comes by a whole run or not at all.
    pub(super) fn fetches_no_more(&self) {
        let mut state = self.state();
        state.fetches = false;
        state.wake_readers();
    }

    /// From here on the body only passes through: it will not be stored.
    pub(super) fn pass_through(&self) {
        let mut state = self.state();
        (state.keep, state.fetches) = (false, false);
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
        if !state.fetches || at >= wanted {
            return Begun::Never;
        }
        let held = |at| self.body.id(index(at)).is_some_and(|id| self.memory.has_chunk(&id));
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

    /// The origin sends the whole instead of the part that the run was begun for: the run begins anew from the first byte.
    /// Not where the whole comes already: then the run is over, who waits for it waits for that, and this tells `false`.
    pub(super) fn begin_again(&self, id: RunId) -> bool {
        let mut state = self.state();
        state.fetches = false;
        let Some(start) = state.run(id).map(|run| run.start) else { return false };
        let comes =
            |run: &Run| run.shown <= start && run.end.is_none_or(|end| Some(end) == self.body.length());
        let elsewhere = state.runs.iter().any(|run| run.id != id && !run.is_over() && comes(run));
        let Some(run) = state.run(id) else { return false };
        if elsewhere {
            run.end = Some(run.came);
            state.drop_idle();
        } else {
            (run.start, run.held, run.came, run.shown) = (0, 0, 0, 0);
            run.end = self.body.length();
        }
        state.wake_readers();
        state.wake_writers();
        !elsewhere
    }

    /// Makes room for what is to come, so that chunks are allocated in their right size.
    pub fn expect(&self, run: RunId, end: Option<u64>) {
        if let Some(run) = self.state().run(run) {
            run.end = end.or(run.end);
            let left = run.end.map_or(CHUNK as u64, |end| end - run.came);
            run.open.reserve(left.min(CHUNK as u64) as usize);
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
        if run.open.is_empty() { Ok(None) } else { run.seal(keep.then_some(&*self.body)) }
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
            run.open = run.sealed.pop_back()?.into();
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
        let state = self.state();
        state.fetches || !state.runs.iter().any(|run| run.start <= at && at < run.held)
    }

    /// Takes a seat at `at`.
    pub(super) fn sit(&self, at: u64) -> usize {
        let mut state = self.state();
        let place = Some(Place { at, end: u64::MAX, moved: clock::instant(), waker: None, cut: None });
        let free = state.places.iter().position(Option::is_none);
        let index = free.unwrap_or(state.places.len());
        match free {
            Some(free) => state.places[free] = place,
            None => state.places.push(place),
        }
        state.wake_writers();
        index
    }

    /// The reader leaves.
    pub(super) fn stand_up(&self, place: usize) {
        let mut state = self.state();
        state.places[place] = None;
        for run in 0..state.runs.len() {
            state.let_go(run, self.window);
        }
        state.drop_idle();
        state.wake_writers();
    }

    /// The reader now reads from `at` to before `end`.
    pub(super) fn move_to(&self, place: usize, at: u64, end: u64) {
        let mut state = self.state();
        if let Some(place) = &mut state.places[place] {
            (place.at, place.end, place.moved) = (at, end, clock::instant());
        }
        for run in 0..state.runs.len() {
            state.let_go(run, self.window);
        }
        state.wake_writers();
    }

    /// What the reader finds at `at`. If something comes, it is woken then.
    pub(super) fn find(&self, place: usize, at: u64, cx: &Context<'_>) -> Found {
        let mut state = self.state();
        if let Some(bytes) = state.runs.iter().find_map(|run| run.piece(at)) {
            return Found::Bytes(bytes);
        }
        // What came and is not shown yet is had with the run's end.
        let withheld = state.runs.iter().any(|run| (run.shown..run.came).contains(&at));
        match self.body.id(index(at)).filter(|_| !withheld) {
            Some(id) => Found::Named(id),
            None => state.wait(place, at, cx),
        }
    }

    /// The reader has taken what is before `at`.
    pub(super) fn took(&self, place: usize, at: u64) {
        let mut state = self.state();
        if let Some(place) = &mut state.places[place] {
            (place.at, place.moved) = (at, clock::instant());
        }
        for run in 0..state.runs.len() {
            state.let_go(run, self.window);
        }
        state.wake_writers();
    }

    /// Whether the byte at `last` was shown, or it is known that it will not be. If not, the reader is woken then.
    pub(super) fn reaches(&self, place: usize, last: u64, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        let reached = self.body.length().is_some() || state.runs.iter().any(|run| run.shown > last);
        let Some(place) = state.places[place].as_mut().filter(|place| !reached && place.cut.is_none()) else {
            return true;
        };
        place.waker = Some(cx.waker().clone());
        false
    }

    /// As [`Growing::find`], where the chunk is in no tier though it has a name.
    pub(super) fn wait(&self, place: usize, at: u64, cx: &Context<'_>) -> Found {
        self.state().wait(place, at, cx)
    }
}

fn index(at: u64) -> usize {
    (at / CHUNK as u64) as usize
}

impl Run {
    /// Appends a piece, and seals what it completes. What comes a second time, after the run went back, is compared.
    fn append(&mut self, mut piece: &[u8], body: Option<&Body>) -> Result<Vec<Chunk>, Cut> {
        let mut sealed = Vec::new();
        while !piece.is_empty() {
            let at = (self.came % CHUNK as u64) as usize;
            let known = self.open.get(at..).filter(|known| !known.is_empty());
            let (now, later) = piece.split_at(known.map_or(CHUNK - at, <[u8]>::len).min(piece.len()));
            match known {
                Some(known) if !known.starts_with(now) => return Err(OTHER_BYTES),
                Some(_) => {}
                None => self.open.extend_from_slice(now),
            }
            self.came += now.len() as u64;
            piece = later;
            if self.open.len() == CHUNK && self.came.is_multiple_of(CHUNK as u64) {
                sealed.extend(self.seal(body)?);
                if !piece.is_empty() {
                    self.open.reserve(CHUNK);
                }
            }
        }
        Ok(sealed)
    }

    /// Seals the open chunk, and names it if its body is kept. One that has much more room than bytes is copied: the memory
    /// tier counts its bytes.
    fn seal(&mut self, body: Option<&Body>) -> Result<Option<Chunk>, Cut> {
        let open = std::mem::take(&mut self.open);
        let fits = open.capacity() - open.len() <= open.len() / 8;
        let bytes = if fits { open.freeze() } else { Bytes::copy_from_slice(&open) };
        self.sealed.push_back(bytes.clone());
        let Some(body) = body else { return Ok(None) };
        let chunk = Chunk::seal(bytes);
        let first = self.came - chunk.bytes.len() as u64;
        if body.name(index(first), chunk.id) { Ok(Some(chunk)) } else { Err(OTHER_BYTES) }
    }

    /// Nothing more comes.
    fn is_over(&self) -> bool {
        self.came == self.shown && self.end == Some(self.came)
    }

    /// The bytes at `at` that a reader may have: to the end of their chunk.
    fn piece(&self, at: u64) -> Option<Bytes> {
        if at < self.held || at >= self.shown {
            return None;
        }
        let offset = (at % CHUNK as u64) as usize;
        let end = (self.shown - (at - offset as u64)).min(CHUNK as u64) as usize;
        match self.sealed.get(index(at) - index(self.held)) {
            Some(sealed) => Some(sealed.slice(offset..end)),
            None => Some(Bytes::copy_from_slice(self.open.get(offset..end)?)),
        }
    }
}

impl State {
    fn begin(&mut self, start: u64, end: Option<u64>) -> RunId {
        if !self.keep {
            // Who waited for a part gets the whole of what only passes through.
            for place in self.places.iter_mut().flatten() {
                place.at = place.at.min(start);
            }
        }
        let id = RunId(self.begun);
        self.begun += 1;
        let (sealed, open) = (VecDeque::new(), BytesMut::new());
        self.runs.push(Run {
            id,
            start,
            sealed,
            held: start,
            open,
            came: start,
            shown: start,
            end,
            writer: None,
        });
        id
    }

    fn run(&mut self, id: RunId) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.id == id)
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().flatten().filter(|place| place.cut.is_none())
    }

    /// Readers that want more of a run than came: those in it or near. Where nothing can be had again, all that want more.
    fn readers_of<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = &'a Place> {
        self.places().filter(move |place| {
            let near = place.at + NEAR >= run.start && place.at <= run.came + NEAR;
            place.end > run.shown && run.end.is_none_or(|end| place.at < end) && (near || !self.fetches)
        })
    }

    fn slowest(&self) -> u64 {
        self.places().map(|place| place.at).min().unwrap_or(u64::MAX)
    }

    fn room(&self, run: usize, window: u64) -> Room {
        let (run, window) = (&self.runs[run], if self.keep { window } else { CHUNK as u64 });
        let fastest = self.readers_of(run).map(|place| place.at).max();
        if fastest.is_some_and(|fastest| run.came >= fastest + window) {
            return Room::Ahead;
        }
        if self.fetches || run.came < self.slowest().saturating_add(window) {
            return Room::Free;
        }
        let slowest = self.slowest();
        let moved = self.places().filter(|place| place.at == slowest).map(|place| place.moved).min();
        let others = self.readers_of(run).any(|place| place.at > slowest);
        moved.filter(|_| others).map_or(Room::Ahead, Room::Lags)
    }

    /// Lets chunks go that nobody needs any more, or that must be had again by who does; never those that the first of its
    /// readers still needs, which is at most a window behind.
    fn let_go(&mut self, run: usize, window: u64) {
        let (slowest, keep, fetches) = (self.slowest(), self.keep, self.fetches);
        let within = self.runs[run].held..=self.runs[run].came;
        let first = self.places().map(|place| place.at).filter(|at| within.contains(at)).max();
        let run = &mut self.runs[run];
        while let Some(oldest) = run.sealed.front() {
            let end = run.held + oldest.len() as u64;
            let full = run.sealed.len() as u64 * CHUNK as u64 >= window;
            let unread = end > slowest;
            let needed = first.is_some_and(|first| end > first) || (unread && !fetches);
            if if keep { !full || needed } else { unread } {
                break;
            }
            run.held = end;
            run.sealed.pop_front();
        }
    }

    /// A run that is over is forgotten when nobody reads what it holds.
    fn drop_idle(&mut self) {
        let State { runs, places, .. } = self;
        runs.retain(|run| {
            !run.is_over()
                || places.iter().flatten().any(|place| place.at < run.shown && place.end > run.held)
        });
    }

    /// Whether a run will bring the byte at `at` before long.
    fn coming(&self, at: u64) -> bool {
        self.runs.iter().any(|run| {
            let within = at >= run.shown && run.end.is_none_or(|end| at < end);
            within && (at <= run.came + NEAR || !self.fetches)
        })
    }

    /// Whether a run holds the byte at `at`, or will bring it before long.
    fn has(&self, at: u64) -> bool {
        self.coming(at) || self.runs.iter().any(|run| (run.held..run.came).contains(&at))
    }

    fn wait(&mut self, place: usize, at: u64, cx: &Context<'_>) -> Found {
        let coming = self.coming(at);
        let Some(place) = self.places.get_mut(place).and_then(Option::as_mut) else { return Found::Missing };
        if let Some(cut) = place.cut {
            return Found::Cut(cut);
        }
        if !coming {
            return Found::Missing;
        }
        place.waker = Some(cx.waker().clone());
        // Another reader at the end of what came may now be held up.
        self.wake_writers();
        Found::Coming
    }

    fn wake_readers(&mut self) {
        for waker in self.places.iter_mut().flatten().filter_map(|place| place.waker.take()) {
            waker.wake();
        }
    }

    fn wake_writers(&mut self) {
        for waker in self.runs.iter_mut().filter_map(|run| run.writer.take()) {
            waker.wake();
        }
    }
}
