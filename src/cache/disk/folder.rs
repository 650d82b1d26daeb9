//! One folder of the disk tier, as those see it who ask it and offer to it. What it holds is its writer's to change.
//!
//! A look-up asks, in this order: what is pending, then the index. A read asks where a chunk was written last, then the
//! index, then takes the segment; if that is gone by then, the chunk was carried elsewhere or is missing, so it asks once
//! more. None of it waits for the writer.

use super::{
    DiskError, FolderSettings,
    alive::Alive,
    index::Index,
    pending::{Bounds, Found, Pending},
    place::Place,
    queue::{Kept, Offer, Queue},
    recent::Recent,
    segment::{Segment, Unread},
    status::Status,
};
use crate::{
    cache::{Buffers, ChunkId, Key, Slot, seen::Seen},
    telemetry::{DiskRead, FolderMetrics, NotKept, Seldom},
};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Changes of slots that may wait to be committed, and as many again while those are being committed.
const PENDING: Bounds = Bounds { keys: 32_768, bytes: 8 << 20 };
/// Places found wrong that wait for the writer; a wrong one that does not fit is found again.
const WRONG: usize = 1024;

type Segments = BTreeMap<u32, Arc<Segment>>;

/// Chunks that stay readable after the folder was given up.
pub(super) type Needed = HashMap<ChunkId, (Arc<Segment>, Place)>;

pub(super) struct Folder {
    /// Its path as configured: what it is called in the log and the metrics.
    pub(super) name: String,
    pub(super) settings: FolderSettings,
    pub(super) status: Status,
    pub(super) metrics: FolderMetrics,
    pub(super) queue: Queue,
    /// `None` until the folder was opened once; closed while it is given up.
    pub(super) index: ArcSwapOption<Index>,
    pub(super) needed: ArcSwapOption<Needed>,
    pub(super) seen: Seen,
    pub(super) recent: Recent,
    /// Its own number in the choice of a folder for a key.
    salt: u64,
    pending: Mutex<Pending>,
    segments: RwLock<Segments>,
    /// Chunks that were written and are not committed yet.
    fresh: RwLock<HashMap<ChunkId, Place>>,
    /// Places that do not hold their chunk.
    wrong: Mutex<Vec<(ChunkId, Place)>>,
}

impl Folder {
    pub(super) fn new(settings: FolderSettings, write_queue: u64, metrics: FolderMetrics) -> Folder {
        let name = settings.path.display().to_string();
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(name.as_bytes()).as_bytes();
        Folder {
            salt: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            seen: Seen::new(settings.most_responses()),
            queue: Queue::new(write_queue),
            status: Status::new(),
            index: ArcSwapOption::empty(),
            needed: ArcSwapOption::empty(),
            recent: Recent::nothing(),
            pending: Mutex::new(Pending::new(PENDING)),
            segments: RwLock::default(),
            fresh: RwLock::default(),
            wrong: Mutex::default(),
            name,
            settings,
            metrics,
        }
    }

    /// How much this folder is the one for a key, by its digest: the highest of all is. A folder gets keys in proportion to
    /// its limit, and if the folders or limits change, only as many keys move as must (weighted rendezvous hashing).
    pub(super) fn claim(&self, digest: &[u8; 32]) -> f64 {
        let [a, b, c, d, e, f, g, h, ..] = *digest;
        let mut bits = u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ self.salt;
        // The end of SplitMix64: every bit depends on every other.
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let between_0_and_1 = ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -(self.settings.limit as f64) / between_0_and_1.ln()
    }

    /// Whether something may stand under a key with this digest.
    pub(super) fn may_have(&self, digest: &[u8; 32]) -> bool {
        if self.status.reads() {
            return self.may_name(digest);
        }
        matches!(self.pending_slot(digest), Found::Slot(_))
    }

    /// Whether the index may name this digest, whether or not it can be asked now.
    fn may_name(&self, digest: &[u8; 32]) -> bool {
        self.index.load().as_ref().is_none_or(|index| index.filter().may_have(digest))
    }

    /// As [`Folder::may_name`], but one that was never open is known to have nothing.
    pub(super) fn is_known_to_have(&self, digest: &[u8; 32]) -> bool {
        self.index.load().as_ref().is_some_and(|index| index.filter().may_have(digest))
    }

    /// From now on the digest may be there.
    pub(super) fn will_name(&self, digest: &[u8; 32]) {
        if let Some(index) = &*self.index.load() {
            index.filter().add(digest);
        }
    }

    /// Whether this chunk may be there and can be read.
    pub(super) fn may_have_chunk(&self, id: &ChunkId) -> bool {
        (self.status.reads() && self.may_name(id.as_bytes()))
            || self.needed.load().as_ref().is_some_and(|needed| needed.contains_key(id))
    }

    /// What is pending for a key. Reads nothing.
    pub(super) fn pending_slot(&self, digest: &[u8; 32]) -> Found {
        self.pending().find(digest)
    }

    /// What stands under `key`.
    pub(super) fn slot(&self, key: &Key, digest: &[u8; 32], alive: &Alive) -> Option<Arc<Slot>> {
        match self.pending_slot(digest) {
            Found::Slot(slot) => return Some(slot),
            Found::Nothing => return None,
            Found::Unchanged => {}
        }
        if !self.status.reads() || !self.may_name(digest) {
            return None;
        }
        let found = match self.index.load_full()?.slot(key, alive) {
            Err(error @ DiskError::Damaged(_)) => return self.is_damaged(key, digest, &error),
            found => found,
        };
        let slot = self.worked(found)??;
        self.seen.set(digest);
        // What came meanwhile is newer.
        match self.pending_slot(digest) {
            Found::Slot(slot) => Some(slot),
            Found::Nothing => None,
            Found::Unchanged => Some(Arc::new(slot)),
        }
    }

    /// What stands under `key` cannot be read: it goes, unless something else stands there by now.
    fn is_damaged(&self, key: &Key, digest: &[u8; 32], error: &DiskError) -> Option<Arc<Slot>> {
        static SAID: Seldom = Seldom::new();
        if let Some(suppressed) = SAID.due() {
            tracing::warn!(folder = self.name, suppressed, "a stored response on disk is lost: {error}");
        }
        let mut pending = self.pending();
        if matches!(pending.find(digest), Found::Unchanged) {
            pending.put(key, *digest, None, true);
        }
        drop(pending);
        self.queue.stir();
        None
    }

    /// `slot` is what stands under `key` from now on.
    pub(super) fn put(&self, key: &Key, digest: [u8; 32], slot: Option<Arc<Slot>>) {
        let mut pending = self.pending();
        let stands = slot.is_some();
        let first = pending.is_empty();
        let kept = pending.put(key, digest, slot, self.may_name(&digest));
        if kept && stands {
            // Before anybody can find it: the lock is still held.
            self.will_name(&digest);
        }
        let goes = !stands && pending.takes_away();
        let stir = !pending.is_empty() && (first || goes || pending.is_half_full());
        drop(pending);
        if !kept {
            self.metrics.not_kept(NotKept::PendingFull);
        }
        if stir {
            self.queue.stir();
        }
    }

    /// Takes a chunk to be written.
    pub(super) fn keep(&self, offer: Offer) -> Kept {
        let kept = offer.kept();
        if !self.status.writes() {
            self.metrics.not_kept(NotKept::Off);
        } else if !self.queue.offer(offer) {
            self.metrics.not_kept(NotKept::QueueFull);
        }
        kept
    }

    /// Whether the chunk was written since the last commit, or is being carried on; it counts as read then.
    pub(super) fn is_fresh(&self, id: &ChunkId) -> bool {
        let Some(place) = self.fresh().get(id).copied() else { return false };
        let segment = self.segments().get(&place.segment).cloned();
        segment.inspect(|segment| segment.marks.set(place.ordinal)).is_some()
    }

    /// The bytes of a chunk, verified, and where they stand.
    pub(super) fn read(&self, id: &ChunkId, buffers: &Buffers) -> Option<(Bytes, Place)> {
        let Some((segment, place)) = self.find(id) else {
            self.metrics.read(DiskRead::Missing);
            return None;
        };
        let read = segment.read(&place, id, buffers);
        let result = match &read {
            Ok(bytes) => {
                self.was_read(&segment, &place, bytes);
                DiskRead::Ok
            }
            Err(Unread::Bad) => {
                segment.spoil(&place);
                self.is_bad(id, place);
                DiskRead::Bad
            }
            Err(Unread::Io(error)) => {
                let error = std::io::Error::new(error.kind(), error.to_string());
                self.failed(&DiskError::Io(self.settings.path.clone(), error));
                DiskRead::Error
            }
        };
        self.metrics.read(result);
        Some((read.ok()?, place))
    }

    /// The bytes of a chunk, verified, if it stands at `place` and they can be had without waiting for the medium.
    pub(super) fn read_at_once(&self, id: &ChunkId, place: Place, buffers: &Buffers) -> Option<Bytes> {
        if !self.status.reads() {
            return None;
        }
        let segment = self.segments().get(&place.segment).cloned().filter(|segment| segment.has(&place))?;
        let bytes = segment.read_at_once(&place, id, buffers)?;
        self.was_read(&segment, &place, &bytes);
        self.metrics.read(DiskRead::Ok);
        Some(bytes)
    }

    fn was_read(&self, segment: &Segment, place: &Place, bytes: &Bytes) {
        self.status.read_works();
        segment.marks.set(place.ordinal);
        self.metrics.read_bytes.inc_by(bytes.len() as u64);
    }

    /// Whether the chunk is there, and reclaim has not let it go; it counts as read then.
    pub(super) fn holds(&self, id: &ChunkId) -> bool {
        self.find(id).is_some_and(|(segment, place)| {
            segment.marks.set(place.ordinal);
            !segment.is_passed(&place) || self.fresh().contains_key(id)
        })
    }

    /// Where a chunk is.
    pub(super) fn find(&self, id: &ChunkId) -> Option<(Arc<Segment>, Place)> {
        if let Some(found) = self.needed.load().as_ref().and_then(|needed| needed.get(id).cloned()) {
            return Some(found);
        }
        if !self.status.reads() {
            return None;
        }
        let index = self.index.load_full()?;
        let mut dangling = None;
        for _ in 0..2 {
            // A statement of its own: no lock is held while the index is asked.
            let fresh = self.fresh().get(id).copied();
            let place = match fresh {
                Some(place) => place,
                None => self.worked(index.place(id))??,
            };
            let segment = self.segments().get(&place.segment).cloned();
            if let Some(segment) = segment.filter(|segment| segment.has(&place)) {
                return Some((segment, place));
            }
            dangling = Some(place);
        }
        self.is_wrong(id, dangling?);
        None
    }

    /// What stands at `place` are not the bytes of this chunk.
    pub(super) fn is_bad(&self, id: &ChunkId, place: Place) {
        static SAID: Seldom = Seldom::new();
        self.metrics.verify_failures.inc();
        if let Some(suppressed) = SAID.due() {
            tracing::warn!(
                folder = self.name,
                segment = place.segment,
                offset = place.offset,
                suppressed,
                "a chunk on disk does not have the bytes that were written: it counts as missing"
            );
        }
        self.is_wrong(id, place);
    }

    fn is_wrong(&self, id: &ChunkId, place: Place) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() < WRONG && !wrong.contains(&(*id, place)) {
            wrong.push((*id, place));
        }
        drop(wrong);
        self.queue.stir();
    }

    /// Places found wrong since the last time.
    pub(super) fn take_wrong(&self) -> Vec<(ChunkId, Place)> {
        std::mem::take(&mut self.wrong.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn worked<T>(&self, result: Result<T, DiskError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    /// Nobody comes back from its disk: it is off until they do, and its writer has probed it.
    pub(super) fn does_not_answer(&self) {
        if self.status.hangs(&self.name) {
            self.queue.stir();
        }
    }

    fn failed(&self, error: &DiskError) {
        // It was given up meanwhile.
        if matches!(error, DiskError::Closed) {
            return;
        }
        if self.status.read_fails(&self.name, error) {
            self.queue.stir();
        }
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn segments(&self) -> RwLockReadGuard<'_, Segments> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn segments_mut(&self) -> RwLockWriteGuard<'_, Segments> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fresh(&self) -> RwLockReadGuard<'_, HashMap<ChunkId, Place>> {
        self.fresh.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fresh_mut(&self) -> RwLockWriteGuard<'_, HashMap<ChunkId, Place>> {
        self.fresh.write().unwrap_or_else(PoisonError::into_inner)
    }
}
