//! Fills under way by key, and pass marks: who may join whom.
//!
//! Sharded; a lock is held for one look-up or insertion. A fill leaves the table on every exit path by its own drop.

use crate::{
    cache::Key,
    clock,
    fill::{Reader, Span, task::Fill},
};
use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const SHARDS: usize = 64;
/// Pass marks one shard holds at most; beyond that the shard forgets all of them, which only makes requests wait once.
const MARKS: usize = 4096;

#[derive(Default)]
struct Shard {
    fills: HashMap<Key, Vec<Arc<Fill>>>,
    marks: HashMap<Key, Instant>,
}

/// Fills under way and pass marks.
pub(super) struct Table {
    shards: Vec<Mutex<Shard>>,
    hasher: hashbrown::DefaultHashBuilder,
}

impl Table {
    pub(super) fn new() -> Table {
        Table { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: Default::default() }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader, for `span` or the whole, of a fill under `key` that `joins` accepts, or of the one `begin` makes, in one
    /// step. Tells whether it was made. What `begin` finds instead is the error.
    pub(super) fn join_or_begin<E>(
        &self,
        key: &Key,
        span: Option<Span>,
        joins: impl Fn(&Fill) -> bool,
        begin: impl FnOnce() -> Result<Arc<Fill>, E>,
    ) -> Result<(Arc<Fill>, Reader, bool), E> {
        let mut shard = self.shard(key);
        // The youngest first: it is the least likely to be covered.
        if let Some(fill) = shard.fills.get(key).into_iter().flatten().rev().find(|fill| joins(fill)) {
            return Ok((fill.clone(), fill.reader(span), false));
        }
        let fill = begin()?;
        shard.fills.entry(key.clone()).or_default().push(fill.clone());
        let reader = fill.reader(span);
        Ok((fill, reader, true))
    }

    /// The fill is over.
    pub(super) fn remove(&self, key: &Key, fill: &Fill) {
        let mut shard = self.shard(key);
        if let Some(fills) = shard.fills.get_mut(key) {
            fills.retain(|f| !std::ptr::eq(Arc::as_ptr(f), fill));
            if fills.is_empty() {
                shard.fills.remove(key);
            }
        }
    }

    /// Covers every fill under way for `key`: none of them stores, none is joined any more.
    pub(super) fn cover(&self, key: &Key) {
        for fill in self.shard(key).fills.get(key).into_iter().flatten() {
            fill.cover();
        }
    }

    /// Is a fill of `key` under way?
    pub(super) fn under_way(&self, key: &Key) -> bool {
        self.shard(key).fills.contains_key(key)
    }

    /// Is there a mark that forbids waiting for a fill of `key`?
    pub(super) fn passes(&self, key: &Key) -> bool {
        let mut shard = self.shard(key);
        match shard.marks.get(key) {
            Some(until) if clock::instant() < *until => true,
            Some(_) => {
                shard.marks.remove(key);
                false
            }
            None => false,
        }
    }

    /// What came for `key` could not be stored: for this long nobody waits for a fill of it.
    pub(super) fn mark(&self, key: &Key, lasts: Duration) {
        let mut shard = self.shard(key);
        if shard.marks.len() >= MARKS {
            shard.marks.clear();
        }
        shard.marks.insert(key.clone(), clock::instant() + lasts);
    }

    /// A storable answer came: waiting is worth while again.
    pub(super) fn unmark(&self, key: &Key) {
        self.shard(key).marks.remove(key);
    }
}
