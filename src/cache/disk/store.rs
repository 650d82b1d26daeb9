//! What the writer does with an open folder, and when: append what is new, commit, reclaim, look after the rest.
//!
//! The order is what makes it safe: a chunk is appended, then findable (`fresh`), then on the medium, then named by the
//! index, then no longer `fresh`. So the index names only bytes that are on the medium, and nobody who looks finds
//! a gap. A segment's file goes only after the index has stopped naming it.

use super::{
    DiskError, Hooks,
    folder::{Folder, Needed},
    index::Index,
    offline,
    opening::{self, Lock},
    place::Place,
    queue::Offer,
    reclaim::Reclaim,
    segment::{self, Segment},
    shelf::Shelf,
    witness::Witness,
};
use crate::{cache::ChunkId, clock, ledger::Number};
use std::{
    collections::{BTreeMap, HashMap},
    io::ErrorKind,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Bytes, and chunks, that are appended before they are committed, however short ago the last commit was.
const COMMIT_BYTES: u64 = 64 << 20;
const COMMIT_CHUNKS: usize = 16 << 10;
/// So many times as long as a step of reclaim took, with what was done beside it, the next one waits: who is served needs the
/// processor more. What has no room meanwhile does not wait for it.
const RESTS: u32 = 7;
/// How long something that was taken away waits to be committed: for more of its kind.
const SOON: Duration = Duration::from_millis(50);
/// How often marks of what was read are written down, and whether the filter is spent is looked at.
const RARELY: Duration = Duration::from_secs(60);
/// Keys and chunks that the filter is filled with before the folder counts as open: a few milliseconds.
const FEW: u64 = 10_000;
/// Times that all changes are committed at the end: some come in meanwhile.
const LAST_FLUSHES: usize = 4;

/// An open folder, in its writer's hands.
pub(super) struct Store {
    pub(super) folder: Arc<Folder>,
    pub(super) index: Arc<Index>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) segment_bytes: u32,
    /// All folders: a chunk that another one has is not written again.
    pub(super) all: Arc<[Shelf]>,
    pub(super) lock: Lock,
    witness: Witness,
    flush_interval: Duration,
    /// The one that is appended to.
    pub(super) active: Option<Arc<Segment>>,
    pub(super) next: u32,
    /// Bytes of all segments, and of the index at the last commit.
    pub(super) segment_total: u64,
    pub(super) index_total: u64,
    pub(super) changes: Uncommitted,
    pub(super) reclaim: Option<Reclaim>,
    /// Bytes carried on as protected, by the segment they are in.
    pub(super) protected: HashMap<u32, u64>,
    /// A commit failed: what stands is unknown until the index was opened anew.
    pub(super) suspect: bool,
    /// Marks are to be written down with the next commit.
    pub(super) save_marks: bool,
    /// There were too many responses and none to forget: not asked again for a while.
    pub(super) nothing_to_evict: bool,
    /// Segments gone through one after the other of which almost all was carried on.
    pub(super) in_vain: usize,
    /// Segments given up since the medium was full.
    pub(super) sacrificed: usize,
    /// Bytes the folder took when the medium was full, if that was lately.
    pub(super) full_at: u64,
    pub(super) flush_at: Option<Instant>,
    reclaim_at: Instant,
    rarely_at: Instant,
    renewal: Option<Renewal>,
}

/// What was done to the files and is not committed yet.
#[derive(Default)]
pub(super) struct Uncommitted {
    pub(super) places: HashMap<ChunkId, Place>,
    pub(super) dropped: HashMap<ChunkId, Place>,
    /// Segments appended to, with bytes and frames that are committed.
    pub(super) dirty: BTreeMap<u32, (Arc<Segment>, u32, u32)>,
    /// Numbers of segments that are no more.
    pub(super) gone: Vec<u32>,
    /// Those of them whose files go after the commit.
    pub(super) doomed: Vec<Arc<Segment>>,
    pub(super) bytes: u64,
    pub(super) unsynced: u64,
    pub(super) new_files: bool,
}

/// The thread that fills the filter anew. Without its store it ends by itself.
struct Renewal {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Store {
    /// Opens the folder for its writer and for all who read.
    pub(super) fn open(
        folder: &Arc<Folder>,
        all: &Arc<[Shelf]>,
        hooks: &Arc<Hooks>,
        flush_interval: Duration,
    ) -> Result<Store, DiskError> {
        let path = &folder.settings.path;
        let lock = Lock::take(path)?;
        let mut witness = Witness::read(path)?;
        if folder.index.load().is_none() {
            give_up_what_the_ledger_forgot(path, &mut witness, (hooks.ledger)())?;
        }
        // What it missed while it was not open. A full medium keeps nobody from reading: the next commit notes it, or fails.
        if let Err(error) = witness.note((hooks.ledger)()) {
            tracing::warn!(folder = folder.name, "it cannot be noted how far the ledger has come: {error}");
        }
        opening::check_format(path)?;
        let index = match folder.index.load_full() {
            Some(index) => {
                index.reopen()?;
                index
            }
            None => Arc::new(Index::open(path, folder.settings.limit)?),
        };
        let segments = opening::open_segments(path, &index).inspect_err(|_| {
            // Not open without the lock.
            _ = index.close();
        })?;
        let now = clock::instant();
        let mut store = Store {
            folder: folder.clone(),
            all: all.clone(),
            hooks: hooks.clone(),
            segment_bytes: segment::size(folder.settings.limit),
            lock,
            witness,
            flush_interval,
            active: segments.active,
            next: segments.next,
            segment_total: segments.there.values().map(|segment| u64::from(segment.end())).sum(),
            index_total: index.bytes(),
            changes: Uncommitted { gone: segments.missing, ..Uncommitted::default() },
            reclaim: None,
            protected: HashMap::new(),
            suspect: false,
            save_marks: false,
            nothing_to_evict: false,
            in_vain: 0,
            sacrificed: 0,
            full_at: u64::MAX,
            flush_at: None,
            reclaim_at: now,
            rarely_at: now,
            renewal: None,
            index,
        };
        folder.fresh_mut().clear();
        *folder.segments_mut() = segments.there;
        folder.index.store(Some(store.index.clone()));
        // After it is there for all who put: what was put before is not in its filter.
        folder.pending().digests().for_each(|digest| folder.will_name(digest));
        let counts = store.index.counts();
        if store.index.filter().is_spent() && counts.responses + counts.chunks < FEW {
            store.index.renew_filter(|| true)?;
        }
        folder.status.on();
        store.rarely(now);
        store.tell();
        Ok(store)
    }

    /// Writes down how far the ledger has come: before a commit, as what is committed was born at that number at the latest.
    pub(super) fn witness(&mut self) -> Result<(), DiskError> {
        self.witness.note((self.hooks.ledger)())
    }

    /// When there is something to do at the latest.
    pub(super) fn due(&self) -> Instant {
        if self.has_to_evict() {
            return clock::instant();
        }
        let at = self.flush_at.map_or(self.rarely_at, |at| at.min(self.rarely_at));
        if self.has_to_reclaim() { at.min(self.reclaim_at) } else { at }
    }

    /// Takes in what was offered and does what is due.
    pub(super) fn work(&mut self, offers: Vec<Offer>) -> Result<(), DiskError> {
        for (id, place) in self.folder.take_wrong() {
            self.forget(id, place);
        }
        let now = clock::instant();
        self.write(offers)?;
        if now >= self.rarely_at {
            self.rarely(now);
        }
        self.schedule();
        let due = self.flush_at.is_some_and(|at| now >= at);
        if due || self.uncommitted().1 || self.has_to_evict() {
            self.flush()?;
        }
        if self.has_to_reclaim() && now >= self.reclaim_at {
            self.reclaim_some()?;
            let done = clock::instant();
            self.reclaim_at = done + (done - now) * RESTS;
        }
        self.schedule();
        Ok(())
    }

    /// Sets the time of the next commit. Something that was written is committed before it is as old as the interval: syncing
    /// takes its time too. What was taken away does not wait as long: a crash would bring it back.
    fn schedule(&mut self) {
        if !self.uncommitted().0 {
            self.flush_at = None;
            return;
        }
        let at = clock::instant()
            + if self.folder.pending().takes_away() { SOON } else { self.flush_interval * 3 / 4 };
        self.flush_at = Some(self.flush_at.map_or(at, |before| before.min(at)));
    }

    /// Whether something waits to be committed, and whether it is much.
    fn uncommitted(&self) -> (bool, bool) {
        let changes = &self.changes;
        let (pending, many_pending) = {
            let pending = self.folder.pending();
            (!pending.is_empty(), pending.is_half_full())
        };
        let chunks = changes.places.len() + changes.dropped.len();
        let something = pending || chunks > 0 || !changes.gone.is_empty() || self.save_marks;
        (something, many_pending || chunks >= COMMIT_CHUNKS || changes.bytes >= COMMIT_BYTES)
    }

    /// What stands at `place` is not the chunk: the index must not name it, and it is written again when it is offered.
    fn forget(&mut self, id: ChunkId, place: Place) {
        self.uncommit(&id, &place);
        if !self.changes.places.contains_key(&id) {
            self.changes.dropped.insert(id, place);
        }
    }

    /// Whether the chunk was written to `place` and that is not committed.
    pub(super) fn is_uncommitted(&self, id: &ChunkId, place: &Place) -> bool {
        self.changes.places.get(id) == Some(place)
    }

    /// The chunk is not findable at `place` any more by what is not committed.
    pub(super) fn uncommit(&mut self, id: &ChunkId, place: &Place) {
        if self.is_uncommitted(id, place) {
            self.changes.places.remove(id);
        }
        let mut fresh = self.folder.fresh_mut();
        if fresh.get(id) == Some(place) {
            fresh.remove(id);
        }
    }

    /// Tells the gauges.
    pub(super) fn tell(&self) {
        let (metrics, counts) = (&self.folder.metrics, self.index.counts());
        metrics.bytes.set((self.segment_total + self.index_total) as i64);
        metrics.index_bytes.set(self.index_total as i64);
        metrics.segments.set(self.folder.segments().len() as i64);
        metrics.chunks.set(counts.chunks as i64);
        metrics.responses.set(counts.responses as i64);
    }

    /// What is done once a minute: marks are written down with the next commit, and a filter that lets too much through, or
    /// knows nothing, is filled anew beside all else.
    fn rarely(&mut self, now: Instant) {
        self.rarely_at = now + RARELY;
        (self.nothing_to_evict, self.in_vain, self.full_at) = (false, 0, u64::MAX);
        self.save_marks = self.folder.segments().values().any(|segment| segment.marks.have_changed());
        if !self.index.filter().is_spent() || self.renewal.as_ref().is_some_and(|r| !r.thread.is_finished()) {
            return;
        }
        let (index, stop) = (self.index.clone(), Arc::new(AtomicBool::new(false)));
        let (stopped, name) = (stop.clone(), self.folder.name.clone());
        let thread = std::thread::Builder::new().name("disk-filter".into()).spawn(move || {
            if let Err(error) = index.renew_filter(|| !stopped.load(Ordering::Relaxed))
                && !matches!(error, DiskError::Closed)
            {
                tracing::warn!(folder = name, "which keys are on disk could not be listed: {error}");
            }
        });
        self.renewal = thread.ok().map(|thread| Renewal { thread, stop });
    }

    /// After a failure: whether the folder takes writes again. What could not be committed is committed.
    pub(super) fn probe(&mut self) -> Result<(), DiskError> {
        let is_own = |shelf: &&Shelf| Arc::ptr_eq(&shelf.folder, &self.folder);
        if self.all.iter().find(is_own).is_some_and(Shelf::hangs) {
            return Err(DiskError::Hangs);
        }
        self.lock.stands()?;
        opening::probe(&self.folder.settings.path)?;
        if self.suspect {
            self.index.reopen()?;
            self.folder.pending().digests().for_each(|digest| self.folder.will_name(digest));
            self.suspect = false;
        }
        self.flush()?;
        self.sacrificed = 0;
        self.folder.status.on();
        Ok(())
    }

    /// Where these chunks are.
    pub(super) fn find(&self, ids: &[ChunkId]) -> Needed {
        ids.iter().filter_map(|id| Some((*id, self.folder.find(id)?))).collect()
    }

    /// Commits all there is, and closes the index. The lock is given up with what is dropped.
    pub(super) fn close(mut self) {
        let mut flushed = Ok(());
        if !self.suspect {
            for _ in 0..LAST_FLUSHES {
                self.save_marks = true;
                flushed = self.flush();
                if flushed.is_err() || !self.uncommitted().0 {
                    break;
                }
            }
        }
        if let Some(renewal) = self.renewal.take() {
            renewal.stop.store(true, Ordering::Relaxed);
            _ = renewal.thread.join();
        }
        self.folder.status.off("it is closed");
        if let Err(error) = flushed.and_then(|()| self.index.close()) {
            tracing::warn!(folder = self.folder.name, "a disk folder was not closed well: {error}");
        }
        self.folder.fresh_mut().clear();
        self.folder.segments_mut().clear();
    }
}

/// Whether the medium, or what the process may write of it, is full.
pub(super) fn is_full(error: &DiskError) -> bool {
    use ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), Some(StorageFull | QuotaExceeded))
}

/// Empties a folder that has seen the ledger come further than it is: it was taken back from a backup, and what was purged
/// since that was made would serve again.
fn give_up_what_the_ledger_forgot(
    folder: &Path,
    witness: &mut Witness,
    ledger: Number,
) -> Result<(), DiskError> {
    let Some(seen) = witness.beyond(ledger) else { return Ok(()) };
    tracing::warn!(
        folder = %folder.display(),
        ledger = ledger.n,
        seen,
        "the ledger ends before what this disk folder has seen of it, as one does that was taken back from a backup; \
         which of what is stored was purged since is not known, so the folder is emptied"
    );
    offline::empty(folder)?;
    *witness = Witness::read(folder)?;
    Ok(())
}
