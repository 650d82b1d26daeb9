//! The memory tier: heads by key and chunks by digest, in one bound.
//!
//! moka decides what stays (TinyLFU). It may refuse a newcomer and it forgets single chunks, so a head never proves
//! that its body is there: [`Memory::pieces`] tells, and what it does not find is a miss.

use crate::{
    cache::{Body, CHUNK, Chunk, ChunkId, Key, Slot, StoredResponse, body::chunks_of},
    telemetry::Metrics,
};
use bytes::Bytes;
use moka::{ops::compute::Op, sync::Cache};
use std::sync::Arc;

type Hasher = hashbrown::DefaultHashBuilder;

/// Bytes moka itself takes for one entry: its map, its two queues. An estimate that errs high.
const OVERHEAD: u64 = 256;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Name {
    Slot(Key),
    Chunk(ChunkId),
}

#[derive(Clone)]
enum Held {
    Slot(Arc<Slot>),
    Chunk(Bytes),
}

/// The memory tier. Cheap to clone.
#[derive(Clone)]
pub struct Memory {
    held: Cache<Name, Held, Hasher>,
    metrics: Arc<Metrics>,
}

impl Memory {
    /// A tier that holds at most `capacity` bytes, overhead included.
    pub fn new(capacity: u64, metrics: Arc<Metrics>) -> Memory {
        let evicted = metrics.evicted.clone();
        let held = Cache::builder()
            .max_capacity(capacity)
            .weigher(|name, held| u32::try_from(weight(name, held)).unwrap_or(u32::MAX))
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    evicted.inc();
                }
            })
            .build_with_hasher(Hasher::default());
        Memory { held, metrics }
    }

    /// The slot of `key`.
    pub fn slot(&self, key: &Key) -> Option<Arc<Slot>> {
        match self.held.get(&Name::Slot(key.clone())) {
            Some(Held::Slot(slot)) => Some(slot),
            _ => None,
        }
    }

    /// The slot of `key`, for people who wonder: as [`Memory::slot`], but one that is not there is not asked for. What is
    /// looked at counts as used once (moka has no other way).
    pub fn look_at(&self, key: &Key) -> Option<Arc<Slot>> {
        let there = self.held.contains_key(&Name::Slot(key.clone()));
        there.then(|| self.slot(key)).flatten()
    }

    /// The bytes `first..=last` of a stored body, or `None` if a chunk is missing.
    ///
    /// All chunks are taken at once: what a reader has begun it can end, whatever is evicted meanwhile.
    pub fn pieces(&self, body: &Body, first: u64, last: u64) -> Option<Pieces> {
        let range = chunks_of(first, last);
        let mut pieces = Pieces::with_capacity(range.clone().count());
        let (start, end) = (*range.start(), *range.end());
        for i in range {
            let Some(bytes) = body.id(i).and_then(|id| self.chunk(&id)) else {
                self.metrics.incomplete.inc();
                return None;
            };
            let from = if i == start { (first % CHUNK as u64) as usize } else { 0 };
            let to = if i == end { (last % CHUNK as u64) as usize + 1 } else { bytes.len() };
            pieces.push(bytes.get(from..to).map(|_| bytes.slice(from..to))?);
        }
        Some(pieces)
    }

    /// The bytes of a chunk.
    pub fn chunk(&self, id: &ChunkId) -> Option<Bytes> {
        match self.held.get(&Name::Chunk(*id)) {
            Some(Held::Chunk(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Is this chunk there just now?
    pub fn has_chunk(&self, id: &ChunkId) -> bool {
        self.held.contains_key(&Name::Chunk(*id))
    }

    /// Is the chunk that holds the byte at `at` there just now?
    pub fn holds_at(&self, body: &Body, at: u64) -> bool {
        body.id((at / CHUNK as u64) as usize).is_some_and(|id| self.has_chunk(&id))
    }

    /// Are all chunks of a body there just now?
    pub fn holds(&self, body: &Body) -> bool {
        body.whole().is_some_and(|names| names.iter().all(|id| self.has_chunk(id)))
    }

    /// Are the chunks with the bytes `first..=last` of a body there just now?
    pub fn holds_bytes(&self, body: &Body, first: u64, last: u64) -> bool {
        chunks_of(first, last).all(|i| body.id(i).is_some_and(|id| self.has_chunk(&id)))
    }

    /// Keeps a sealed chunk.
    pub fn keep_chunk(&self, chunk: &Chunk) {
        self.held.insert(Name::Chunk(chunk.id), Held::Chunk(chunk.bytes.clone()));
    }

    /// Stores `stored` under `key` unless `admit`, asked with the slot in hand, says no.
    pub fn store(&self, key: &Key, stored: &Arc<StoredResponse>, admit: impl FnOnce() -> bool) {
        self.held.entry(Name::Slot(key.clone())).and_compute_with(|entry| {
            if !admit() {
                return Op::Nop;
            }
            let with = match entry.map(|e| e.into_value()) {
                Some(Held::Slot(slot)) => slot.with(stored.clone()),
                _ => Slot::default().with(stored.clone()),
            };
            Op::Put(Held::Slot(Arc::new(with)))
        });
    }

    /// Puts `new`, a freshened response, in place of the one it was made from or of another made from that, if one still
    /// stands under `key`. Tells whether one did.
    pub fn freshen(&self, key: &Key, new: &Arc<StoredResponse>) -> bool {
        let mut stood = false;
        self.held.entry(Name::Slot(key.clone())).and_compute_with(|entry| {
            let Some(Held::Slot(slot)) = entry.map(|e| e.into_value()) else { return Op::Nop };
            let Some(old) = slot.responses().iter().find(|old| old.same_body(new)) else { return Op::Nop };
            stood = true;
            // Of several validations at once the one that left last knows most.
            if old.born.identity == new.born.identity && old.born.n > new.born.n {
                return Op::Nop;
            }
            Op::Put(Held::Slot(Arc::new(slot.with(new.clone()))))
        });
        stood
    }

    /// Takes away what has this body: the origin has something else now, which is not stored.
    pub fn withdraw(&self, key: &Key, body: &Arc<Body>) {
        self.held.entry(Name::Slot(key.clone())).and_compute_with(|entry| {
            let Some(Held::Slot(slot)) = entry.map(|e| e.into_value()) else { return Op::Nop };
            let left = slot.without(body);
            if left.responses().is_empty() { Op::Remove } else { Op::Put(Held::Slot(Arc::new(left))) }
        });
    }

    /// Forgets what stands under `key`. Tells whether something did.
    pub fn forget(&self, key: &Key) -> bool {
        self.held.remove(&Name::Slot(key.clone())).is_some()
    }

    /// Applies what moka has put off, and tells the gauges. Called after each fill and once a second.
    pub fn settle(&self) {
        self.held.run_pending_tasks();
        self.metrics.memory_bytes.set(self.held.weighted_size() as i64);
        self.metrics.stored_entries.set(self.held.entry_count() as i64);
    }
}

/// The bytes of a body or of a part of it, in order.
pub type Pieces = Vec<Bytes>;

fn weight(name: &Name, held: &Held) -> u64 {
    let name = match name {
        Name::Slot(key) => key.as_bytes().len() as u64,
        Name::Chunk(_) => size_of::<ChunkId>() as u64,
    };
    let held = match held {
        Held::Slot(slot) => slot.weight(),
        Held::Chunk(bytes) => bytes.len() as u64,
    };
    OVERHEAD + name + held
}
