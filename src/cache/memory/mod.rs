//! The memory tier: heads by key and chunks by digest, in one bound.
//!
//! moka decides what stays (TinyLFU) of what was read since it was stored; what was not goes first, the oldest of it
//! ([`unread`]). Newcomers may be refused and single chunks are forgotten, so a head never proves that its body is there:
//! [`Memory::pieces`] tells.

#[cfg(test)]
mod tests;
mod unread;

use self::unread::Unread;
use crate::{
    cache::{Body, Buffers, CHUNK, Chunk, ChunkId, Hooks, Key, Slot, StoredResponse, body::chunks_of},
    ledger::Number,
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
/// Room that is made for a head before it comes: most take less.
const HEAD: u64 = 2 << 10;

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
    capacity: u64,
    unread: Arc<Unread>,
    metrics: Arc<Metrics>,
    /// Bytes that came up from disk so far.
    raised: Arc<AtomicU64>,
    buffers: Buffers,
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
        let unread = Arc::new(Unread::new(capacity));
        Memory { held, capacity, unread, metrics, raised: Arc::default(), buffers: Buffers::default() }
    }

    /// What the chunks it holds are put together in.
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// What the disk tier asks and tells this one, and of the ledger that ends at `ledger`. Nothing is protected yet.
    pub fn hooks(&self, ledger: impl Fn() -> Number + Send + Sync + 'static) -> Hooks {
        let (hot, hot_slot, held, raised) = (self.clone(), self.clone(), self.clone(), self.clone());
        Hooks {
            hot: Box::new(move |id| hot.unread.was_read(id) && hot.has_chunk(id)),
            hot_slot: Box::new(move |key| hot_slot.has_read(key)),
            protected: Box::new(|_| false),
            buffers: self.buffers.clone(),
            held: Box::new(move |id| held.chunk(id)),
            raised: Box::new(move |chunk| raised.raise(chunk)),
            ledger: Box::new(ledger),
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
            Some(Held::Chunk(bytes)) => {
                self.unread.is_read(id);
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Is this chunk there just now?
    pub fn has_chunk(&self, id: &ChunkId) -> bool {
        self.held.contains_key(&Name::Chunk(*id))
    }

    /// Keeps a chunk that was sealed just now. One that is there already and comes again counts as read.
    pub fn keep_chunk(&self, chunk: &Chunk) {
        let (name, held) = (Name::Chunk(chunk.id), Held::Chunk(chunk.bytes.clone()));
        if self.has_chunk(&chunk.id) {
            self.unread.is_read(&chunk.id);
        } else {
            self.make_way(weight(&name, &held));
            self.unread.comes(name.clone());
        }
        self.held.insert(name, held);
    }

    /// Makes room for so many bytes by what was not read since it was stored, as far as there is such.
    fn make_way(&self, bytes: u64) {
        let over = (self.held.weighted_size() + bytes).saturating_sub(self.capacity).min(bytes);
        let mut freed = 0;
        while freed < over {
            let Some(oldest) = self.unread.oldest() else { return };
            freed += self.let_go_unless_read(oldest);
        }
    }

    /// Tells how many bytes that freed.
    fn let_go_unless_read(&self, name: Name) -> u64 {
        let mut freed = 0;
        let entry = self.held.entry(name.clone());
        entry.and_compute_with(|entry| match entry.map(|entry| entry.into_value()) {
            Some(held) if !self.was_read(&name, &held) => {
                freed = weight(&name, &held);
                Op::Remove
            }
            _ => Op::Nop,
        });
        if freed > 0 {
            self.metrics.evicted.inc();
        }
        freed
    }

    /// Is something under `key` that was read? It does not count as used for that.
    fn has_read(&self, key: &Key) -> bool {
        let (name, mut read) = (Name::Slot(key.clone()), false);
        self.held.entry(name.clone()).and_compute_with(|entry| {
            read = entry.is_some_and(|entry| self.was_read(&name, entry.value()));
            Op::Nop
        });
        read
    }

    fn was_read(&self, name: &Name, held: &Held) -> bool {
        match (name, held) {
            (Name::Chunk(id), _) => self.unread.was_read(id),
            (_, Held::Slot(slot)) => slot.responses().iter().any(|stored| stored.was_checked()),
            _ => false,
        }
    }

    /// Keeps a chunk that came up from disk, as somebody reads it.
    fn raise(&self, chunk: &Chunk) {
        if self.has_chunk(&chunk.id) {
            return;
        }
        self.unread.is_read(&chunk.id);
        self.held.insert(Name::Chunk(chunk.id), Held::Chunk(chunk.bytes.clone()));
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
        let name = Name::Slot(key.clone());
        if !self.held.contains_key(&name) {
            self.make_way(HEAD);
        }
        let mut comes = false;
        self.held.entry(name.clone()).and_compute_with(|entry| {
            let slot = match entry.map(|entry| entry.into_value()) {
                Some(Held::Slot(slot)) => Some(slot),
                _ => None,
            };
            let is_there = slot.is_some();
            match decide(slot) {
                Change::Stays => Op::Nop,
                Change::Becomes(slot) => {
                    comes = !is_there;
                    Op::Put(Held::Slot(slot))
                }
                Change::Goes => Op::Remove,
            }
        });
        if comes {
            self.unread.comes(name);
        }
    }

    /// How many stored responses in memory are as `counts` says. Looks at all; none of them counts as used.
    pub(super) fn count(&self, counts: impl Fn(&Key, &StoredResponse) -> bool) -> u64 {
        let of_slot = |(name, held): (Arc<Name>, Held)| match (&*name, held) {
            (Name::Slot(key), Held::Slot(slot)) => {
                slot.responses().iter().filter(|stored| counts(key, stored)).count() as u64
            }
            _ => 0,
        };
        self.held.iter().map(of_slot).sum()
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
