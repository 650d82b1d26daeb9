//! Memory and disk as one: what look-ups, fills and readers use.
//!
//! What is asked in line is answered from memory and from filters, without I/O. What stands only on disk is *raised*: read by
//! the disk tier's threads, and offered to memory.
//!
//! A slot that is in memory is never older than the one on disk: each change is decided with the newest slot in hand, and told
//! to the disk before the next change of the same key is decided. A slot that was read from disk counts only if no change
//! came meanwhile.

mod chunks;
#[cfg(test)]
mod tests;

pub use chunks::{Raised, Tier};

use crate::cache::{Body, Buffers, Disk, Key, Memory, Slot, StoredResponse, memory::Change};
use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Counters of changes; keys that share one only make a look-up read twice.
const COUNTERS: usize = 1024;

/// The tiers. Cheap to clone.
#[derive(Clone)]
pub struct Tiers(Arc<Inner>);

struct Inner {
    memory: Memory,
    disk: Option<Disk>,
    /// Changes of slots so far, by the hash of their key.
    changes: Box<[AtomicU64]>,
    hasher: hashbrown::DefaultHashBuilder,
    /// Chunks read before they are wanted, and not yet taken.
    ahead: Arc<AtomicUsize>,
}

impl Tiers {
    /// These tiers as one.
    pub fn new(memory: Memory, disk: Option<Disk>) -> Tiers {
        Tiers(Arc::new(Inner {
            memory,
            disk,
            changes: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            hasher: Default::default(),
            ahead: Arc::default(),
        }))
    }

    /// The disk tier, if there is one.
    pub fn disk(&self) -> Option<&Disk> {
        self.0.disk.as_ref()
    }

    /// What chunks are put together in.
    pub fn buffers(&self) -> &Buffers {
        self.0.memory.buffers()
    }

    /// The slot of `key`, if it is in memory.
    pub fn slot(&self, key: &Key) -> Option<Arc<Slot>> {
        self.0.memory.slot(key)
    }

    /// How many stored responses in memory are as `counts` says; coded variants are not looked at.
    pub fn count(&self, counts: impl Fn(&Key, &StoredResponse) -> bool) -> u64 {
        self.0.memory.count(|key, stored| !key.is_coded() && counts(key, stored))
    }

    /// Whether a slot of `key` may be on disk; no is certain.
    pub fn may_be_below(&self, key: &Key) -> bool {
        self.disk().is_some_and(|disk| disk.may_have(key))
    }

    /// The slot of `key`, wherever it is. One from disk is offered to memory, unless another change came first; it is given
    /// even if memory does not take it.
    pub async fn raise(&self, key: &Key) -> Option<Arc<Slot>> {
        loop {
            let seen = self.changes(key);
            if let Some(slot) = self.slot(key) {
                return Some(slot);
            }
            let below = self.below(key).await?;
            let mut newest = None;
            self.0.memory.change(key, |there| match there {
                Some(_) => {
                    newest = there;
                    Change::Stays
                }
                None if self.changes(key) == seen => {
                    newest = Some(below.clone());
                    Change::Becomes(below)
                }
                // Changed and already let go by memory: the disk has the newest.
                None => Change::Stays,
            });
            if newest.is_some() {
                return newest;
            }
        }
    }

    /// The slot of `key`, for people who wonder: as [`Tiers::raise`], but nothing is moved. What is looked at counts as used
    /// once.
    pub async fn look_at(&self, key: &Key) -> Option<Arc<Slot>> {
        match self.0.memory.has_slot(key).then(|| self.slot(key)).flatten() {
            Some(slot) => Some(slot),
            None => self.below(key).await,
        }
    }

    async fn below(&self, key: &Key) -> Option<Arc<Slot>> {
        let disk = self.disk().filter(|disk| disk.may_have(key))?;
        disk.slot(key).await
    }

    /// Stores `stored` under `key` unless `admit`, asked with the slot in hand, says no.
    pub async fn store(
        &self,
        key: &Key,
        stored: &Arc<StoredResponse>,
        mut admit: impl FnMut() -> bool + Send,
    ) {
        self.change(key, |slot| {
            if !admit() {
                return Change::Stays;
            }
            let with = match slot {
                Some(slot) => slot.with(stored.clone()),
                None => Slot::default().with(stored.clone()),
            };
            Change::Becomes(Arc::new(with))
        })
        .await;
    }

    /// Puts `new`, a freshened response, in place of the one it was made from or of another made from that, if one still
    /// stands under `key`. Tells whether one did.
    pub async fn freshen(&self, key: &Key, new: &Arc<StoredResponse>) -> bool {
        let mut stood = false;
        self.change(key, |slot| {
            let old = slot.and_then(|slot| slot.responses().iter().find(|old| old.same_body(new)));
            let (Some(slot), Some(old)) = (slot, old) else { return Change::Stays };
            stood = true;
            // Of several validations at once the one that left last knows most.
            if old.born.identity == new.born.identity && old.born.n > new.born.n {
                return Change::Stays;
            }
            Change::Becomes(Arc::new(slot.with(new.clone())))
        })
        .await;
        stood
    }

    /// Takes away what has this body: the origin has something else now, which is not stored.
    pub async fn withdraw(&self, key: &Key, body: &Arc<Body>) {
        self.change(key, |slot| match slot {
            Some(slot) => match slot.without(body) {
                left if left.responses().len() == slot.responses().len() => Change::Stays,
                left if left.responses().is_empty() => Change::Goes,
                left => Change::Becomes(Arc::new(left)),
            },
            // What is on disk cannot be read just now: rather too much is withdrawn than too little.
            None if self.may_be_below(key) => Change::Goes,
            None => Change::Stays,
        })
        .await;
    }

    /// More chunks of a stored body have a name by now: tells the disk, if the body still stands under `key`.
    pub async fn renew(&self, key: &Key, body: &Arc<Body>) {
        if self.disk().is_none() {
            return;
        }
        self.change(key, |slot| {
            let has = |slot: &&Arc<Slot>| slot.responses().iter().any(|s| Arc::ptr_eq(&s.body, body));
            slot.filter(has).map_or(Change::Stays, |slot| Change::Becomes(slot.clone()))
        })
        .await;
    }

    /// Forgets what stands under `key`.
    pub fn forget(&self, key: &Key) {
        self.0.memory.change(key, |_| self.told(key, Change::Goes));
    }

    /// Changes what stands under `key` as `decide` says, asked with the newest slot in hand; again if that was changed
    /// meanwhile.
    async fn change(&self, key: &Key, mut decide: impl FnMut(Option<&Arc<Slot>>) -> Change + Send) {
        loop {
            let seen = self.changes(key);
            // Not looked for below what is in memory.
            let below = match self.0.memory.has_slot(key) {
                true => None,
                false => Some(self.below(key).await),
            };
            let mut decided = false;
            self.0.memory.change(key, |there| {
                let slot = match (there, below) {
                    (Some(slot), _) => Some(slot),
                    (None, Some(below)) if self.changes(key) == seen => below,
                    (None, _) => return Change::Stays,
                };
                decided = true;
                self.told(key, decide(slot.as_ref()))
            });
            if decided {
                return;
            }
        }
    }

    /// A change, told to the disk, and then counted: who has counted before finds it on disk.
    fn told(&self, key: &Key, change: Change) -> Change {
        if let Some(disk) = self.disk() {
            match &change {
                Change::Stays => return change,
                Change::Becomes(slot) => disk.put(key, Some(slot.clone())),
                Change::Goes => disk.put(key, None),
            }
            self.counter(key).fetch_add(1, Ordering::AcqRel);
        }
        change
    }

    fn counter(&self, key: &Key) -> &AtomicU64 {
        &self.0.changes[self.0.hasher.hash_one(key) as usize % COUNTERS]
    }

    fn changes(&self, key: &Key) -> u64 {
        self.counter(key).load(Ordering::Acquire)
    }
}

/// Upkeep.
impl Tiers {
    /// Memory applies what it put off, and tells the gauges. Called after each fill and once a second.
    pub fn settle(&self) {
        self.0.memory.settle();
    }

    /// What is done once a second.
    pub fn tend(&self) {
        self.settle();
        if let Some(disk) = self.disk() {
            disk.tend();
        }
    }

    /// Writes what waits for the disk, for so long at most, and closes it.
    pub fn close(&self, patience: Duration) {
        if let Some(disk) = self.disk() {
            disk.close(patience);
        }
    }
}
