//! The memory tier: heads by key and chunks by digest, in one bound.
//!
//! moka decides what stays (TinyLFU). It may refuse a newcomer and it forgets single chunks, so a head never proves
//! that its body is there: [`Memory::pieces`] tells.

use crate::{
    cache::{Body, CHUNK, Chunk, ChunkId, Hooks, Key, Slot, body::chunks_of},
    telemetry::Metrics,
};
use bytes::Bytes;
use moka::{ops::compute::Op, sync::Cache};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

type Hasher = hashbrown::DefaultHashBuilder;

/// Bytes moka itself takes for one entry: its map, its two queues. An estimate that errs high.
const OVERHEAD: u64 = 256;
/// What moka puts off is applied each time so many bytes came up from disk.
const SETTLE: u64 = 4 << 20;

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
    /// Bytes that came up from disk so far.
    raised: Arc<AtomicU64>,
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
        Memory { held, metrics, raised: Arc::default() }
    }

    /// What the disk tier asks and tells this one. Nothing is protected yet.
    pub fn hooks(&self) -> Hooks {
        let (hot, held, raised) = (self.clone(), self.clone(), self.clone());
        Hooks {
            hot: Box::new(move |id| hot.has_chunk(id)),
            protected: Box::new(|_| false),
            held: Box::new(move |id| held.chunk(id)),
            raised: Box::new(move |chunk| raised.raise(chunk)),
        }
    }

    /// The slot of `key`.
    pub fn slot(&self, key: &Key) -> Option<Arc<Slot>> {
        match self.held.get(&Name::Slot(key.clone())) {
            Some(Held::Slot(slot)) => Some(slot),
            _ => None,
        }
    }

    /// The bytes `first..=last` of a stored body, or `None` if a chunk is missing.
    ///
    /// All chunks are taken at once: what a reader has begun it can end, whatever is evicted meanwhile.
    pub fn pieces(&self, body: &Body, first: u64, last: u64) -> Option<Pieces> {
        let range = chunks_of(first, last);
        let mut pieces = Pieces::with_capacity(range.clone().count());
        let (start, end) = (*range.start(), *range.end());
        for i in range {
            let bytes = body.id(i).and_then(|id| self.chunk(&id))?;
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

    /// Keeps a sealed chunk.
    pub fn keep_chunk(&self, chunk: &Chunk) {
        self.held.insert(Name::Chunk(chunk.id), Held::Chunk(chunk.bytes.clone()));
    }

    /// Keeps a chunk that came up from disk.
    fn raise(&self, chunk: &Chunk) {
        if self.has_chunk(&chunk.id) {
            return;
        }
        self.keep_chunk(chunk);
        let length = chunk.bytes.len() as u64;
        let before = self.raised.fetch_add(length, Ordering::Relaxed);
        if before / SETTLE != (before + length) / SETTLE {
            self.settle();
        }
    }

    /// Is something under `key` just now? It does not count as used.
    pub(super) fn has_slot(&self, key: &Key) -> bool {
        self.held.contains_key(&Name::Slot(key.clone()))
    }

    /// Changes what stands under `key` as `decide` says, which is given what stands there now. Of changes to one key none is
    /// decided before the one before it has come about.
    pub(super) fn change(&self, key: &Key, decide: impl FnOnce(Option<Arc<Slot>>) -> Change) {
        self.held.entry(Name::Slot(key.clone())).and_compute_with(|entry| {
            let slot = match entry.map(|entry| entry.into_value()) {
                Some(Held::Slot(slot)) => Some(slot),
                _ => None,
            };
            match decide(slot) {
                Change::Stays => Op::Nop,
                Change::Becomes(slot) => Op::Put(Held::Slot(slot)),
                Change::Goes => Op::Remove,
            }
        });
    }

    /// Applies what moka has put off, and tells the gauges. Called after each fill and once a second.
    pub fn settle(&self) {
        self.held.run_pending_tasks();
        self.metrics.memory_bytes.set(self.held.weighted_size() as i64);
        self.metrics.stored_entries.set(self.held.entry_count() as i64);
    }
}

/// What becomes of a slot.
pub(super) enum Change {
    /// Nothing.
    Stays,
    /// This.
    Becomes(Arc<Slot>),
    /// It goes.
    Goes,
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
