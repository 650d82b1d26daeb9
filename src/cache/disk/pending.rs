//! Changes of slots that are not committed yet: the newest state of each, asked before the index is.
//!
//! A change is never lost while the process lives, however long the disk takes no writes, for an older state must not come
//! back. So what does not fit is remembered as *gone*: what stands in the index under that key counts no more. Where even
//! that is too much to remember, all that stands there is gone.

use crate::cache::{Key, Slot};
use std::{collections::HashMap, sync::Arc};

/// Bytes a change takes beside its slot and key. An estimate that errs high.
const OVERHEAD: u64 = 160;

/// The newest state of a slot.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Stands(Key, Arc<Slot>),
    Gone,
}

/// What is pending for a key.
#[derive(Debug)]
pub(super) enum Found {
    Slot(Arc<Slot>),
    /// Nothing stands there, whatever the index says.
    Nothing,
    /// Ask the index.
    Unchanged,
}

/// How much may be pending at once; as much again while that is being committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Keys that stand, and as many that are gone.
    pub(super) keys: usize,
    /// Bytes of those that stand.
    pub(super) bytes: u64,
}

/// Changes that are committed together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// With the number of each in the order in which they came.
    changes: HashMap<[u8; 32], (u64, Change)>,
    next: u64,
    bytes: u64,
    gone: usize,
    /// Nothing stands in the index but for these changes.
    all_gone: bool,
}

impl Batch {
    /// All of them, in the order in which they came: what is put last is forgotten last.
    pub(super) fn in_order(&self) -> Vec<(&[u8; 32], &Change)> {
        let mut all: Vec<_> =
            self.changes.iter().map(|(digest, (number, change))| (number, digest, change)).collect();
        all.sort_unstable_by_key(|(number, ..)| *number);
        all.into_iter().map(|(_, digest, change)| (digest, change)).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.changes.len() as u64
    }

    pub(super) fn has(&self, digest: &[u8; 32]) -> bool {
        self.changes.contains_key(digest)
    }

    pub(super) fn all_gone(&self) -> bool {
        self.all_gone
    }

    fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.all_gone
    }

    fn find(&self, digest: &[u8; 32]) -> Found {
        match self.changes.get(digest).map(|(_, change)| change) {
            Some(Change::Stands(_, slot)) => Found::Slot(slot.clone()),
            Some(Change::Gone) => Found::Nothing,
            None if self.all_gone => Found::Nothing,
            None => Found::Unchanged,
        }
    }

    fn take(&mut self, digest: &[u8; 32]) {
        match self.changes.remove(digest) {
            Some((_, Change::Stands(key, slot))) => self.bytes -= weight(&key, &slot),
            Some((_, Change::Gone)) => self.gone -= 1,
            None => {}
        }
    }

    fn stands(&mut self, digest: [u8; 32], key: &Key, slot: Arc<Slot>, bounds: &Bounds) -> bool {
        let bytes = self.bytes + weight(key, &slot);
        let fits = bytes <= bounds.bytes && self.changes.len() - self.gone < bounds.keys;
        if fits {
            self.bytes = bytes;
            self.insert(digest, Change::Stands(key.clone(), slot));
        }
        fits
    }

    fn goes(&mut self, digest: [u8; 32], bounds: &Bounds) {
        if self.all_gone {
            return;
        }
        if self.gone < bounds.keys {
            self.gone += 1;
            self.insert(digest, Change::Gone);
        } else {
            self.all_gone = true;
            self.gone = 0;
            self.changes.retain(|_, (_, change)| matches!(change, Change::Stands(..)));
        }
    }

    fn insert(&mut self, digest: [u8; 32], change: Change) {
        self.changes.insert(digest, (self.next, change));
        self.next += 1;
    }
}

/// All changes that are not committed yet.
pub(super) struct Pending {
    bounds: Bounds,
    newer: Batch,
    /// Older ones, which the writer is about to commit.
    committing: Option<Arc<Batch>>,
}

impl Pending {
    pub(super) fn new(bounds: Bounds) -> Pending {
        Pending { bounds, newer: Batch::default(), committing: None }
    }

    /// `slot` is what stands under `key` from now on. `may_be_there`: something older may stand there by what the index says.
    /// Tells whether it is kept as it is; if not, nothing stands there.
    pub(super) fn put(
        &mut self,
        key: &Key,
        digest: [u8; 32],
        slot: Option<Arc<Slot>>,
        may_be_there: bool,
    ) -> bool {
        // The index may be about to get it.
        let may_be_there = may_be_there || self.committing.as_ref().is_some_and(|batch| batch.has(&digest));
        self.newer.take(&digest);
        let nothing = slot.is_none();
        let stands = slot.is_some_and(|slot| self.newer.stands(digest, key, slot, &self.bounds));
        if !stands && may_be_there {
            self.newer.goes(digest, &self.bounds);
        }
        stands || nothing
    }

    /// What is pending under a key.
    pub(super) fn find(&self, digest: &[u8; 32]) -> Found {
        match (self.newer.find(digest), &self.committing) {
            (Found::Unchanged, Some(committing)) => committing.find(digest),
            (found, _) => found,
        }
    }

    /// What is to be committed next: all there is, or what could not be committed the last time.
    pub(super) fn begin(&mut self) -> Option<Arc<Batch>> {
        if self.committing.is_none() && !self.newer.is_empty() {
            self.committing = Some(Arc::new(std::mem::take(&mut self.newer)));
        }
        self.committing.clone()
    }

    /// What [`Pending::begin`] gave is committed.
    pub(super) fn done(&mut self) {
        self.committing = None;
    }

    /// Digests of the keys that something stands under.
    pub(super) fn digests(&self) -> impl Iterator<Item = &[u8; 32]> {
        let batches = [Some(&self.newer), self.committing.as_deref()];
        batches.into_iter().flatten().flat_map(|batch| batch.changes.keys())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.newer.is_empty() && self.committing.is_none()
    }

    /// Whether something is to go that the index may name.
    pub(super) fn takes_away(&self) -> bool {
        self.newer.gone > 0 || self.newer.all_gone
    }

    /// Whether it is time to commit, however short ago the last time was.
    pub(super) fn is_half_full(&self) -> bool {
        self.newer.bytes * 2 > self.bounds.bytes || self.newer.changes.len() * 2 > self.bounds.keys
    }
}

fn weight(key: &Key, slot: &Slot) -> u64 {
    OVERHEAD + key.as_bytes().len() as u64 + slot.weight()
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Change, Found, Pending};
    use crate::cache::{Key, KeyParts, Slot};
    use std::sync::Arc;

    fn key(path: &str) -> Key {
        KeyParts { scope: "s", https: true, guarded: false, host: "h", path, query: None }.key()
    }

    fn pending(keys: usize) -> Pending {
        Pending::new(Bounds { keys, bytes: 1 << 20 })
    }

    fn put(pending: &mut Pending, path: &str, slot: Option<&Arc<Slot>>, there: bool) -> bool {
        let key = key(path);
        pending.put(&key, key.digest(), slot.cloned(), there)
    }

    /// `+` a slot, `-` nothing, `?` ask the index.
    fn find(pending: &Pending, path: &str) -> char {
        match pending.find(&key(path).digest()) {
            Found::Slot(_) => '+',
            Found::Nothing => '-',
            Found::Unchanged => '?',
        }
    }

    #[test]
    fn the_newest_state_is_found_also_while_it_is_committed() {
        let (mut p, slot) = (pending(10), Arc::new(Slot::default()));
        assert!(p.begin().is_none() && p.is_empty());
        assert!(put(&mut p, "/a", Some(&slot), false) && put(&mut p, "/b", None, true));
        assert!(put(&mut p, "/c", None, false));
        let batch = p.begin().unwrap();
        assert_eq!(batch.in_order().len(), 2, "nothing stood under /c");
        assert_eq!([find(&p, "/a"), find(&p, "/b"), find(&p, "/c")], ['+', '-', '?']);
        assert!(put(&mut p, "/a", None, true) && put(&mut p, "/b", Some(&slot), true));
        assert_eq!([find(&p, "/a"), find(&p, "/b")], ['-', '+'], "newer than what is being committed");
        assert!(Arc::ptr_eq(&p.begin().unwrap(), &batch), "not before that is committed");
        p.done();
        assert_eq!([find(&p, "/a"), find(&p, "/b")], ['-', '+']);
        let batch = p.begin().unwrap();
        let order: Vec<_> =
            batch.in_order().into_iter().map(|(_, change)| matches!(change, Change::Gone)).collect();
        assert_eq!(order, [true, false], "as they came");
        assert!(batch.has(&key("/a").digest()) && !batch.has(&key("/c").digest()));
        p.done();
        assert_eq!(find(&p, "/a"), '?');
        assert!(p.is_empty());
    }

    #[test]
    fn what_is_being_committed_may_be_there() {
        let (mut p, slot) = (pending(10), Arc::new(Slot::default()));
        put(&mut p, "/a", Some(&slot), false);
        p.begin().unwrap();
        put(&mut p, "/a", None, false);
        p.done();
        assert_eq!(find(&p, "/a"), '-');
    }

    #[test]
    fn what_does_not_fit_is_gone_and_never_old() {
        let (mut p, slot) = (pending(2), Arc::new(Slot::default()));
        assert!(put(&mut p, "/a", Some(&slot), false) && put(&mut p, "/b", Some(&slot), false));
        assert!(p.is_half_full());
        assert!(put(&mut p, "/b", Some(&slot), true), "again in its own room");
        assert!(!put(&mut p, "/new", Some(&slot), false));
        assert_eq!(find(&p, "/new"), '?', "nothing old stands there");
        assert!(!put(&mut p, "/old", Some(&slot), true));
        assert_eq!(find(&p, "/old"), '-');
        assert!(put(&mut p, "/old2", None, true));
        assert!(!p.begin().unwrap().all_gone());
    }

    #[test]
    fn too_many_that_are_gone_mean_that_all_is() {
        let (mut p, slot) = (pending(2), Arc::new(Slot::default()));
        assert!(put(&mut p, "/before", Some(&slot), false));
        p.begin().unwrap();
        assert!(put(&mut p, "/a", Some(&slot), false));
        for path in ["/1", "/2", "/3", "/4"] {
            assert!(put(&mut p, path, None, true));
        }
        assert_eq!(
            [find(&p, "/a"), find(&p, "/4"), find(&p, "/before"), find(&p, "/x")],
            ['+', '-', '-', '-']
        );
        p.done();
        let batch = p.begin().unwrap();
        assert!(batch.all_gone());
        assert_eq!(batch.in_order().len(), 1);
        assert_eq!(find(&p, "/x"), '-', "until it is committed");
        p.done();
        assert_eq!(find(&p, "/x"), '?');
    }

    #[test]
    fn bytes_are_bounded_too() {
        let slot = Arc::new(Slot::default());
        let mut p = Pending::new(Bounds { keys: 1000, bytes: 1000 });
        let kept = (0..10).filter(|n| put(&mut p, &format!("/{n}"), Some(&slot), false)).count();
        assert!((1..5).contains(&kept), "{kept}");
        for n in 0..10 {
            put(&mut p, &format!("/{n}"), None, true);
        }
        assert!(put(&mut p, "/again", Some(&slot), false), "what is gone takes no bytes");
    }
}
