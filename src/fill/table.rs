//! Fills under way by key, and pass marks by key and variant: who may join whom.
//!
//! Sharded; a lock is held for one look-up or insertion. A fill leaves the table on every exit path by its own drop.

use crate::{
    cache::{Key, Selecting},
    clock,
    fill::{Reader, Wanted, task::Fill},
};
use http::HeaderMap;
use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const SHARDS: usize = 64;
/// Keys with pass marks one shard holds at most; beyond that the shard forgets all of them, which only makes requests wait
/// once.
const MARKED_KEYS: usize = 4096;
/// Pass marks one key has at most; the oldest goes.
const MARKS: usize = 16;

/// For so long nobody waits for a fill of this variant.
struct Mark {
    variant: Selecting,
    until: Instant,
}

#[derive(Default)]
struct Shard {
    fills: HashMap<Key, Vec<Arc<Fill>>>,
    marks: HashMap<Key, Vec<Mark>>,
    /// How often fills of one of its keys were covered.
    covers: u64,
}

impl Shard {
    fn insert(&mut self, wanted: &Wanted<'_>, fill: Fill) -> (Arc<Fill>, Reader) {
        let fill = Arc::new(fill);
        self.fills.entry(wanted.key.clone()).or_default().push(fill.clone());
        let reader = fill.reader(wanted);
        (fill, reader)
    }
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

    /// A reader, for the span of `wanted` or the whole, of a fill under its key that `joins` accepts, or of the one `begin` makes, in one
    /// step. Tells whether it was made. What `begin` finds instead is the error.
    pub(super) fn join_or_begin<E>(
        &self,
        wanted: &Wanted<'_>,
        joins: impl Fn(&Fill) -> bool,
        begin: impl FnOnce() -> Result<Fill, E>,
    ) -> Result<(Arc<Fill>, Reader, bool), E> {
        let key = wanted.key;
        let mut shard = self.shard(key);
        // The youngest first: it is the least likely to be covered.
        let mut others = shard.fills.get(key).into_iter().flatten().rev().filter(|fill| joins(fill));
        // Not found out first and joined then: what nobody reads is let go in between.
        if let Some(joined) = others.find_map(|fill| Some((fill.clone(), fill.join(wanted)?, false))) {
            return Ok(joined);
        }
        let (fill, reader) = shard.insert(wanted, begin()?);
        Ok((fill, reader, true))
    }

    /// A fill and its first reader, unless one that `other` accepts is under way, which `instead` makes something of. What
    /// `begin`, which is told [`Table::covers`], finds instead is the error too.
    pub(super) fn begin_unless<E>(
        &self,
        wanted: &Wanted<'_>,
        other: impl Fn(&Fill) -> bool,
        begin: impl FnOnce(u64) -> Result<Fill, E>,
        instead: impl FnOnce(Arc<Fill>) -> E,
    ) -> Result<(Arc<Fill>, Reader), E> {
        let mut shard = self.shard(wanted.key);
        if let Some(fill) = shard.fills.get(wanted.key).into_iter().flatten().rev().find(|fill| other(fill)) {
            return Err(instead(fill.clone()));
        }
        let fill = begin(shard.covers)?;
        Ok(shard.insert(wanted, fill))
    }

    /// A fill and its first reader.
    pub(super) fn begin(&self, wanted: &Wanted<'_>, fill: Fill) -> (Arc<Fill>, Reader) {
        self.shard(wanted.key).insert(wanted, fill)
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
        let mut shard = self.shard(key);
        shard.covers += 1;
        for fill in shard.fills.get(key).into_iter().flatten() {
            fill.cover();
        }
    }

    /// How often fills of this key were covered, or of another: what was asked before and becomes a fill only now is covered if
    /// there were more since.
    pub(super) fn covers(&self, key: &Key) -> u64 {
        self.shard(key).covers
    }

    /// The youngest fill under way for `key` that `fits` accepts.
    pub(super) fn find(&self, key: &Key, fits: impl Fn(&Fill) -> bool) -> Option<Arc<Fill>> {
        self.shard(key).fills.get(key)?.iter().rev().find(|fill| fits(fill)).cloned()
    }

    /// Is a fill of `key` under way?
    pub(super) fn under_way(&self, key: &Key) -> bool {
        self.shard(key).fills.contains_key(key)
    }

    /// Is there a mark that forbids a request with these fields to wait for a fill of `key`?
    pub(super) fn passes(&self, key: &Key, headers: &HeaderMap) -> bool {
        let mut shard = self.shard(key);
        let Some(marks) = shard.marks.get_mut(key) else { return false };
        let now = clock::instant();
        marks.retain(|mark| now < mark.until);
        let passes = marks.iter().any(|mark| mark.variant.matches(headers));
        if marks.is_empty() {
            shard.marks.remove(key);
        }
        passes
    }

    /// What came for this variant of `key` could not be shared: for so long nobody waits for a fill of it.
    pub(super) fn mark(&self, key: &Key, variant: &Selecting, lasts: Duration) {
        let mut shard = self.shard(key);
        if shard.marks.len() >= MARKED_KEYS {
            shard.marks.clear();
        }
        let marks = shard.marks.entry(key.clone()).or_default();
        marks.retain(|mark| mark.variant != *variant);
        if marks.len() == MARKS {
            marks.remove(0);
        }
        marks.push(Mark { variant: variant.clone(), until: clock::instant() + lasts });
    }

    /// An answer that can be shared came to a request with these fields: waiting is worth while for such again.
    pub(super) fn unmark(&self, key: &Key, headers: &HeaderMap) {
        let mut shard = self.shard(key);
        if let Some(marks) = shard.marks.get_mut(key) {
            marks.retain(|mark| !mark.variant.matches(headers));
            if marks.is_empty() {
                shard.marks.remove(key);
            }
        }
    }
}
