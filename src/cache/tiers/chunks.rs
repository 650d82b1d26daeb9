//! The chunks of both tiers: where they are, and how they come up from disk.

use super::Tiers;
use crate::cache::{Body, CHUNK, Chunk, ChunkId, Kept, Key, Pieces, Read, body::chunks_of};
use bytes::Bytes;
use std::{
    collections::HashSet,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

/// Chunks that all readers together may have read before they are wanted.
const AHEAD: usize = 64;

/// What of a body is where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// All of it in memory.
    Memory,
    /// All of it is there, some of it only on disk.
    Disk,
    /// Some of it is nowhere.
    None,
}

impl Tier {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Memory => "memory",
            Tier::Disk => "disk",
            Tier::None => "none",
        }
    }
}

/// A chunk that is being read from disk; memory has been offered it when it is there.
pub struct Raised {
    id: ChunkId,
    read: Read,
    _ahead: Option<Ahead>,
}

impl Raised {
    /// Its name.
    pub fn id(&self) -> ChunkId {
        self.id
    }
}

impl Future for Raised {
    type Output = Option<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Pin::new(&mut self.read).poll(cx)
    }
}

/// The right to hold one chunk that is not wanted yet.
struct Ahead(Arc<AtomicUsize>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tiers {
    /// The bytes `first..=last` of a stored body, or `None` if a chunk is not in memory.
    ///
    /// All chunks are taken at once: what a reader has begun it can end, whatever is evicted meanwhile.
    pub fn pieces(&self, body: &Body, first: u64, last: u64) -> Option<Pieces> {
        self.0.memory.pieces(body, first, last)
    }

    /// The bytes of a chunk, if it is in memory.
    pub fn chunk(&self, id: &ChunkId) -> Option<Bytes> {
        self.0.memory.chunk(id)
    }

    /// Is this chunk in memory, or may it be on disk? No is certain.
    pub fn may_have_chunk(&self, id: &ChunkId) -> bool {
        self.0.memory.has_chunk(id) || self.disk().is_some_and(|disk| disk.may_have_chunk(id))
    }

    /// Is the chunk that holds the byte at `at` in memory just now?
    pub fn has_in_memory(&self, body: &Body, at: u64) -> bool {
        body.id((at / CHUNK as u64) as usize).is_some_and(|id| self.0.memory.has_chunk(&id))
    }

    /// Are all chunks of a body in memory just now?
    pub fn has_all_in_memory(&self, body: &Body) -> bool {
        body.whole().is_some_and(|names| names.iter().all(|id| self.0.memory.has_chunk(id)))
    }

    /// May all chunks of a body be there, in memory or on disk? No is certain.
    pub fn may_have(&self, body: &Body) -> bool {
        body.whole().is_some_and(|names| names.iter().all(|id| self.may_have_chunk(id)))
    }

    /// May the bytes `first..=last` of a body be there, in memory or on disk? No is certain.
    pub fn may_have_bytes(&self, body: &Body, first: u64, last: u64) -> bool {
        chunks_of(first, last).all(|i| body.id(i).is_some_and(|id| self.may_have_chunk(&id)))
    }

    /// Are all chunks of a body there, in memory or on disk? What is on disk counts as used.
    pub async fn has(&self, body: &Body) -> bool {
        match body.whole() {
            Some(names) => self.has_chunks(names.iter().copied()).await != Tier::None,
            None => false,
        }
    }

    /// Is this chunk there, in memory or on disk? There it counts as used.
    pub async fn has_chunk(&self, id: &ChunkId) -> bool {
        self.has_chunks(std::iter::once(*id)).await != Tier::None
    }

    /// Where the chunks are that hold the bytes `first..=last` of a body. What is on disk counts as used.
    pub async fn tier(&self, body: &Body, first: u64, last: u64) -> Tier {
        let ids: Option<Vec<_>> = chunks_of(first, last).map(|i| body.id(i)).collect();
        match ids {
            Some(ids) => self.has_chunks(ids.into_iter()).await,
            None => Tier::None,
        }
    }

    async fn has_chunks(&self, ids: impl Iterator<Item = ChunkId>) -> Tier {
        let below: HashSet<_> = ids.filter(|id| !self.0.memory.has_chunk(id)).collect();
        let Some(disk) = self.disk().filter(|_| !below.is_empty()) else {
            return if below.is_empty() { Tier::Memory } else { Tier::None };
        };
        let below: Vec<_> = below.into_iter().collect();
        let all = below.iter().all(|id| disk.may_have_chunk(id)) && disk.holds(&below).await;
        if all { Tier::Disk } else { Tier::None }
    }

    /// Reads a chunk that may be on disk.
    pub fn read(&self, id: &ChunkId) -> Option<Raised> {
        let read = self.disk().filter(|disk| disk.may_have_chunk(id))?.read(id);
        Some(Raised { id: *id, read, _ahead: None })
    }

    /// Reads a chunk that is not in memory and will be wanted next, if all readers together have not read too many such.
    pub fn read_ahead(&self, id: &ChunkId) -> Option<Raised> {
        if self.0.memory.has_chunk(id) {
            return None;
        }
        let before = self.0.ahead.fetch_add(1, Ordering::Relaxed);
        // From here on it is given back on every path.
        let ahead = Ahead(self.0.ahead.clone());
        let raised = self.read(id).filter(|_| before < AHEAD)?;
        Some(Raised { _ahead: Some(ahead), ..raised })
    }

    /// Keeps a sealed chunk of what will stand under `key`. Tells how to learn whether the disk has it by now.
    pub fn keep(&self, key: &Key, chunk: &Chunk) -> Option<Kept> {
        self.0.memory.keep_chunk(chunk);
        self.disk().map(|disk| disk.keep(key, chunk))
    }
}
