//! A run: contiguous chunks that are coming, copied in piece by piece, sealed, and held for readers that are behind.

use super::{Cut, OTHER_BYTES, RunId};
use crate::cache::{Body, CHUNK, Chunk};
use bytes::{Bytes, BytesMut};
use std::{collections::VecDeque, task::Waker};

/// Contiguous chunks that are coming.
pub(super) struct Run {
    pub(super) id: RunId,
    /// First byte; a chunk begins there.
    pub(super) start: u64,
    /// Chunks sealed and still held; the first of them begins at `held`.
    pub(super) sealed: VecDeque<Bytes>,
    pub(super) held: u64,
    pub(super) open: BytesMut,
    /// Where the next byte that comes belongs.
    pub(super) came: u64,
    /// Readers may have what is before.
    pub(super) shown: u64,
    /// Where it ends, as far as is known.
    pub(super) end: Option<u64>,
    pub(super) writer: Option<Waker>,
}

pub(super) fn index(at: u64) -> usize {
    (at / CHUNK as u64) as usize
}

impl Run {
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
    pub(super) fn seal(&mut self, body: Option<&Body>) -> Result<Option<Chunk>, Cut> {
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
            Some(sealed) => Some(sealed.slice(offset..end)),
            None => Some(Bytes::copy_from_slice(self.open.get(offset..end)?)),
        }
    }
}
