//! A body that grows: one writer (the fill), any number of readers at their own pace.
//!
//! Bytes are copied once, into the open chunk, and are readable at once; full or at the end it is sealed. While the body
//! is to be kept all chunks stay; a body that only passes through lets chunks go behind its slowest reader, and its
//! writer waits when that one is too far behind.
//!
//! The lock is held for the copy of at most one piece, never across an await.

use crate::{
    cache::{CHUNK, Chunk},
    telemetry::Fault,
};
use bytes::{Bytes, BytesMut};
use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// How far a body that only passes through may run ahead of its slowest reader, bytes.
const RUN_AHEAD: u64 = CHUNK as u64;

/// Why a body ended before its end: whose doing, and the word for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Whose doing.
    pub fault: Fault,
    /// Why, in a fixed word.
    pub word: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Complete,
    Cut(Cut),
}

struct Place {
    at: u64,
    waker: Option<Waker>,
}

struct State {
    /// Sealed chunks still held; the first of them is number `gone`.
    sealed: VecDeque<Chunk>,
    gone: usize,
    open: BytesMut,
    /// Bytes that came so far.
    length: u64,
    /// Bytes of them that readers may have.
    shown: u64,
    end: End,
    keep: bool,
    readers: Vec<Option<Place>>,
    writer: Option<Waker>,
}

/// A growing body.
pub struct Growing {
    state: Mutex<State>,
}

/// One reader of a growing body, for the bytes `at..end`.
pub struct Reader {
    body: Arc<Growing>,
    place: usize,
    at: u64,
    end: Option<u64>,
}

impl Growing {
    fn new() -> Arc<Growing> {
        Arc::new(Growing {
            state: Mutex::new(State {
                sealed: VecDeque::new(),
                gone: 0,
                open: BytesMut::new(),
                length: 0,
                shown: 0,
                end: End::Open,
                keep: true,
                readers: Vec::new(),
                writer: None,
            }),
        })
    }

    /// Makes room for a body of this length, so that its chunks are allocated in their right size.
    pub fn expect(&self, length: Option<u64>) {
        self.state().open.reserve(length.map_or(CHUNK, |length| length.min(CHUNK as u64) as usize));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a piece, which readers may have at once.
    pub fn append(&self, piece: &[u8]) {
        let mut state = self.state();
        state.append(piece);
        state.shown = state.length;
        state.let_go();
        state.wake_readers();
    }

    /// Appends a piece that readers may have when the body is complete: the last one of a body that is to be stored, so
    /// that who has all of it finds it stored.
    pub fn append_last(&self, piece: &[u8]) {
        self.state().append(piece);
    }

    /// Waits until a body that only passes through may grow further.
    pub async fn room(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.keep
                || state.readers.iter().all(Option::is_none)
                || state.length < state.slowest() + RUN_AHEAD
            {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until no reader is left.
    pub async fn abandoned(&self) {
        self.readers_are(false).await;
    }

    /// Waits until a reader is there.
    pub async fn read_again(&self) {
        self.readers_are(true).await;
    }

    async fn readers_are(&self, wanted: bool) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.readers.iter().any(Option::is_some) == wanted {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Bytes that came so far.
    pub fn length(&self) -> u64 {
        self.state().length
    }

    /// From here on the body only passes through: it will not be stored.
    pub fn pass_through(&self) {
        let mut state = self.state();
        state.keep = false;
        state.let_go();
    }

    /// All chunks, the last one sealed, if the body was kept.
    pub fn chunks(&self) -> Option<Vec<Chunk>> {
        let mut state = self.state();
        if !state.open.is_empty() {
            state.seal();
        }
        (state.keep && state.gone == 0).then(|| state.sealed.iter().cloned().collect())
    }

    /// The protocol's own end came: what readers have is all there is.
    pub fn complete(&self) {
        let mut state = self.state();
        state.shown = state.length;
        state.end = End::Complete;
        state.wake_readers();
    }

    /// The body cannot be had whole: readers get an unclean end.
    pub fn cut(&self, cut: Cut) {
        let mut state = self.state();
        if state.end == End::Open {
            state.end = End::Cut(cut);
        }
        state.wake_readers();
    }

    /// A reader from the first byte on, or `None` if the first bytes were let go.
    pub fn reader(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.state();
        (state.gone == 0).then(|| self.seat(&mut state))
    }

    /// An empty body with its first reader.
    pub fn with_reader() -> (Arc<Growing>, Reader) {
        let body = Growing::new();
        let reader = body.seat(&mut body.state());
        (body, reader)
    }

    fn seat(self: &Arc<Self>, state: &mut State) -> Reader {
        let place = Some(Place { at: 0, waker: None });
        let free = state.readers.iter().position(Option::is_none);
        let index = free.unwrap_or(state.readers.len());
        match free {
            Some(free) => state.readers[free] = place,
            None => state.readers.push(place),
        }
        state.wake_writer();
        Reader { body: self.clone(), place: index, at: 0, end: None }
    }
}

impl State {
    fn append(&mut self, mut piece: &[u8]) {
        self.length += piece.len() as u64;
        while !piece.is_empty() {
            let room = CHUNK - self.open.len();
            let (now, later) = piece.split_at(room.min(piece.len()));
            self.open.extend_from_slice(now);
            piece = later;
            if self.open.len() == CHUNK {
                self.seal();
                if !piece.is_empty() {
                    self.open.reserve(CHUNK);
                }
            }
        }
    }

    /// Seals the open chunk. One that has much more room than bytes is copied: the memory tier counts its bytes.
    fn seal(&mut self) {
        let open = std::mem::take(&mut self.open);
        let fits = open.capacity() - open.len() <= open.len() / 8;
        let bytes = if fits { open.freeze() } else { Bytes::copy_from_slice(&open) };
        self.sealed.push_back(Chunk::seal(bytes));
    }

    fn slowest(&self) -> u64 {
        self.readers.iter().flatten().map(|place| place.at).min().unwrap_or(self.length)
    }

    fn let_go(&mut self) {
        if self.keep {
            return;
        }
        let needed = (self.slowest() / CHUNK as u64) as usize;
        while self.gone < needed && self.sealed.pop_front().is_some() {
            self.gone += 1;
        }
    }

    fn wake_readers(&mut self) {
        for waker in self.readers.iter_mut().flatten().filter_map(|place| place.waker.take()) {
            waker.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    /// The bytes at `at` that a reader may have: to the end of their chunk.
    fn piece(&self, at: u64) -> Option<Bytes> {
        if at >= self.shown {
            return None;
        }
        let (chunk, offset) = ((at / CHUNK as u64) as usize, (at % CHUNK as u64) as usize);
        let end = (self.shown - (at - offset as u64)).min(CHUNK as u64) as usize;
        match self.sealed.get(chunk.checked_sub(self.gone)?) {
            Some(sealed) => Some(sealed.bytes.slice(offset..end)),
            None => Some(Bytes::copy_from_slice(self.open.get(offset..end)?)),
        }
    }
}

impl Reader {
    /// Narrows the reader to the bytes from `first` to `last` (or the end). Only before the first read.
    pub fn narrow(&mut self, first: u64, last: Option<u64>) {
        self.at = first;
        self.end = last.map(|last| last.saturating_add(1));
        let mut state = self.body.state();
        if let Some(place) = &mut state.readers[self.place] {
            place.at = first;
        }
        state.wake_writer();
    }

    /// The next piece; `None` at the end, `Err` where the body was cut.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if self.end.is_some_and(|end| self.at >= end) {
            return Poll::Ready(None);
        }
        let mut state = self.body.state();
        let Some(mut piece) = state.piece(self.at) else {
            return match state.end {
                End::Complete => Poll::Ready(None),
                End::Cut(cut) => Poll::Ready(Some(Err(cut))),
                End::Open => {
                    if let Some(place) = &mut state.readers[self.place] {
                        place.waker = Some(cx.waker().clone());
                    }
                    Poll::Pending
                }
            };
        };
        if let Some(end) = self.end {
            piece.truncate(usize::try_from(end - self.at).unwrap_or(usize::MAX));
        }
        self.at += piece.len() as u64;
        if let Some(place) = &mut state.readers[self.place] {
            place.at = self.at;
        }
        if !state.keep {
            state.let_go();
            state.wake_writer();
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.body.state();
        state.readers[self.place] = None;
        state.let_go();
        state.wake_writer();
    }
}

#[cfg(test)]
mod tests {
    use super::{Cut, Growing, RUN_AHEAD, Reader};
    use crate::{cache::CHUNK, telemetry::Fault};
    use std::{
        future::poll_fn,
        sync::Arc,
        task::{Context, Poll, Waker},
    };

    async fn rest(mut reader: Reader) -> Result<Vec<u8>, Cut> {
        let mut all = Vec::new();
        while let Some(piece) = poll_fn(|cx| reader.poll_next(cx)).await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    fn bytes(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i % 251) as u8).collect()
    }

    #[tokio::test]
    async fn readers_see_every_byte_whenever_they_come() {
        let all = bytes(3 * CHUNK + 17);
        let (body, early) = Growing::with_reader();
        let early = tokio::spawn(rest(early));
        let mut range = body.reader().unwrap();
        range.narrow(CHUNK as u64 - 3, Some(CHUNK as u64 + 4));
        let range = tokio::spawn(rest(range));
        let mut middle = None;
        for (i, piece) in all.chunks(10_007).enumerate() {
            body.append(piece);
            if i == 40 {
                middle = Some(tokio::spawn(rest(body.reader().unwrap())));
            }
            tokio::task::yield_now().await;
        }
        let chunks = body.chunks().unwrap();
        body.complete();
        assert_eq!(chunks.iter().map(|c| c.bytes.len()).collect::<Vec<_>>(), [CHUNK, CHUNK, CHUNK, 17]);
        assert_eq!(early.await.unwrap().unwrap(), all);
        assert_eq!(middle.unwrap().await.unwrap().unwrap(), all);
        assert_eq!(range.await.unwrap().unwrap(), all[CHUNK - 3..CHUNK + 5]);
        assert_eq!(rest(body.reader().unwrap()).await.unwrap(), all, "and after the end");
    }

    #[tokio::test]
    async fn a_cut_body_never_ends_cleanly() {
        let cut = Cut { fault: Fault::Origin, word: "origin-closed" };
        let (body, reader) = Growing::with_reader();
        let reader = tokio::spawn(rest(reader));
        body.append(&bytes(40));
        tokio::task::yield_now().await;
        body.cut(cut);
        assert_eq!(reader.await.unwrap(), Err(cut));
        assert_eq!(rest(body.reader().unwrap()).await, Err(cut), "nor for who comes later");
    }

    #[test]
    fn a_body_that_passes_through_waits_for_its_reader_and_lets_go_behind_it() {
        let (body, mut reader) = Growing::with_reader();
        body.pass_through();
        let mut cx = Context::from_waker(Waker::noop());
        let ready = |body: &Arc<Growing>, cx: &mut Context<'_>| {
            let mut room = Box::pin(body.room());
            room.as_mut().poll(cx).is_ready()
        };
        let mut sent = 0;
        while ready(&body, &mut cx) {
            body.append(&bytes(CHUNK));
            sent += CHUNK as u64;
            assert!(sent <= RUN_AHEAD + CHUNK as u64, "the writer waits");
        }
        let Poll::Ready(Some(Ok(first))) = reader.poll_next(&mut cx) else { panic!("bytes are there") };
        assert_eq!(first.len(), CHUNK);
        assert!(ready(&body, &mut cx), "and goes on when the reader has read");
        assert!(body.reader().is_none(), "what was read is let go");
        assert!(body.chunks().is_none(), "and there is nothing to store");
    }

    #[tokio::test]
    async fn the_last_piece_is_had_with_the_end() {
        let all = bytes(2 * CHUNK + 9);
        for split in [1, CHUNK - 1, CHUNK, 2 * CHUNK] {
            let (body, mut reader) = Growing::with_reader();
            body.append(&all[..split]);
            body.append_last(&all[split..]);
            let (mut got, mut cx) = (0, Context::from_waker(Waker::noop()));
            while let Poll::Ready(Some(Ok(piece))) = reader.poll_next(&mut cx) {
                got += piece.len();
            }
            assert_eq!(got, split);
            assert_eq!(body.chunks().unwrap().len(), 3);
            assert!(reader.poll_next(&mut cx).is_pending());
            body.complete();
            assert_eq!(rest(reader).await.unwrap(), all[split..]);
            assert_eq!(rest(body.reader().unwrap()).await.unwrap(), all);
        }
    }

    #[test]
    fn a_chunk_takes_no_more_memory_than_is_counted_for_it() {
        for (length, expected) in [(100, None), (100, Some(100)), (CHUNK + 10, Some(CHUNK as u64 + 10))] {
            let (body, reader) = Growing::with_reader();
            body.expect(expected);
            body.append(&bytes(length));
            drop(reader);
            let chunks = body.chunks().unwrap();
            drop(body);
            for chunk in chunks {
                let held = chunk.bytes.len();
                let taken = chunk.bytes.try_into_mut().unwrap().capacity();
                assert!(taken <= held + held / 8, "{taken} bytes for {held} of {length}");
            }
        }
    }
}
