//! A run: contiguous chunks that are coming, copied in piece by piece, sealed, and held for readers that are behind.

use super::{Cut, OTHER_BYTES, RunId};
use crate::cache::{Body, Buffers, CHUNK, Chunk, ChunkId, Kept};
use bytes::Bytes;
use std::{collections::VecDeque, task::Waker};

/// Contiguous chunks that are coming.
pub(super) struct Run {
    pub(super) id: RunId,
    /// First byte; a chunk begins there.
    pub(super) start: u64,
    /// Chunks sealed and still held; the first of them begins at `held`.
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) held: u64,
    /// The end of the last chunk that was let go and is not on disk; `start`: there is none.
    lost: u64,
    /// Ends of chunks that were let go before it was known whether the disk has them.
    undecided: Vec<(u64, Kept)>,
    pub(super) open: Vec<u8>,
    buffers: Buffers,
    /// Where the next byte that comes belongs.
    pub(super) came: u64,
    /// Readers may have what is before.
    pub(super) shown: u64,
    /// Where it ends, as far as is known.
    pub(super) end: Option<u64>,
    pub(super) writer: Option<Waker>,
}

/// A chunk that a run holds.
pub(super) struct Sealed {
    pub(super) bytes: Bytes,
    /// Its name, if its body is kept.
    id: Option<ChunkId>,
    /// Whether it is on disk by now, if it was offered.
    pub(super) kept: Option<Kept>,
}

impl Sealed {
    /// Whether it has this name, and was not offered yet.
    pub(super) fn awaits(&self, id: &ChunkId) -> bool {
        self.kept.is_none() && self.id == Some(*id)
    }

    pub(super) fn is_kept(&self) -> bool {
        self.kept.as_ref().is_some_and(Kept::is_kept)
    }

    /// The disk may have it before long.
    pub(super) fn is_undecided(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.is_decided())
    }
}

pub(super) fn index(at: u64) -> usize {
    (at / CHUNK as u64) as usize
}

impl Run {
    /// A run from `start`, of which nothing came.
    pub(super) fn new(id: RunId, start: u64, end: Option<u64>, buffers: Buffers) -> Run {
        Run {
            id,
            start,
            sealed: VecDeque::new(),
            held: start,
            lost: start,
            undecided: Vec::new(),
            open: Vec::new(),
            buffers,
            came: start,
            shown: start,
            end,
            writer: None,
        }
    }

    /// Nothing came so far, and it begins with the body.
    pub(super) fn begin_again(&mut self) {
        (self.start, self.held, self.lost, self.came, self.shown) = (0, 0, 0, 0, 0);
    }

    /// Whether what it holds fills a window of so many bytes.
    pub(super) fn is_full(&self, window: u64) -> bool {
        self.sealed.len() as u64 * CHUNK as u64 >= window
    }

    /// Lets its oldest chunk go.
    pub(super) fn let_go(&mut self) {
        let Some(Sealed { bytes, kept, .. }) = self.sealed.pop_front() else { return };
        self.held += bytes.len() as u64;
        match kept {
            Some(kept) => self.undecided.push((self.held, kept)),
            None => self.lost = self.held,
        }
        // So that it holds no more than the disk's queue does.
        self.lost();
    }

    /// The end of what was let go and, as far as is known, is not on disk.
    pub(super) fn lost(&mut self) -> u64 {
        let lost = &mut self.lost;
        self.undecided.retain(|(end, kept)| {
            if kept.is_decided() && !kept.is_kept() {
                *lost = (*lost).max(*end);
            }
            !kept.is_decided()
        });
        self.undecided.last().map_or(self.lost, |(end, _)| self.lost.max(*end))
    }

    /// Appends a piece, and seals what it completes. What comes a second time, after the run went back, is compared.
    pub(super) fn append(&mut self, mut piece: &[u8], body: Option<&Body>) -> Result<Vec<Chunk>, Cut> {
        let mut sealed = Vec::new();
        while !piece.is_empty() {
            let at = (self.came % CHUNK as u64) as usize;
            let known = self.open.get(at..).filter(|known| !known.is_empty());
            let (now, later) = piece.split_at(known.map_or(CHUNK - at, <[u8]>::len).min(piece.len()));
            match known {
                Some(known) if !known.starts_with(now) => return Err(OTHER_BYTES),
                Some(_) => {}
                None => {
                    self.buffers.make_room(&mut self.open, now.len());
                    self.open.extend_from_slice(now);
                }
            }
            self.came += now.len() as u64;
            piece = later;
            if self.open.len() == CHUNK && self.came.is_multiple_of(CHUNK as u64) {
                sealed.extend(self.seal(body)?);
                if !piece.is_empty() {
                    self.expect();
                }
            }
        }
        Ok(sealed)
    }

    /// Makes room for what is to come of the open chunk, as far as that is known.
    pub(super) fn expect(&mut self) {
        let left = self.end.map_or(CHUNK as u64, |end| end - self.came).min(CHUNK as u64) as usize;
        if self.open.is_empty() {
            self.open = self.buffers.take(left);
        }
    }

    /// Seals the open chunk, and names it if its body is kept.
    pub(super) fn seal(&mut self, body: Option<&Body>) -> Result<Option<Chunk>, Cut> {
        let bytes = self.buffers.freeze(std::mem::take(&mut self.open));
        let chunk = body.map(|_| Chunk::seal(bytes.clone()));
        let id = chunk.as_ref().map(|chunk| chunk.id);
        self.sealed.push_back(Sealed { bytes, id, kept: None });
        let (Some(body), Some(chunk)) = (body, chunk) else { return Ok(None) };
        let first = self.came - chunk.bytes.len() as u64;
        if body.name(index(first), chunk.id) { Ok(Some(chunk)) } else { Err(OTHER_BYTES) }
    }

    /// Nothing more comes.
    pub(super) fn is_over(&self) -> bool {
        self.came == self.shown && self.end == Some(self.came)
    }

    /// The bytes at `at` that a reader may have: to the end of their chunk.
    pub(super) fn piece(&self, at: u64) -> Option<Bytes> {
        if at < self.held || at >= self.shown {
            return None;
        }
        let offset = (at % CHUNK as u64) as usize;
        let end = (self.shown - (at - offset as u64)).min(CHUNK as u64) as usize;
        match self.sealed.get(index(at) - index(self.held)) {
            Some(sealed) => Some(sealed.bytes.slice(offset..end)),
            None => Some(Bytes::copy_from_slice(self.open.get(offset..end)?)),
        }
    }
}
