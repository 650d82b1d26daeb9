//! The disk tier: bodies and heads that survive a restart, kept once, in one or several folders.
//!
//! Each folder is a store of its own and fails for itself. A slot lies in one folder, chosen by its key; a chunk in that of the
//! response it came with first. Nobody who asks or offers ever waits for a disk: what cannot be had at once is a future, and what
//! cannot be kept is not kept. The one promise that holds whatever happens to a disk: as long as the process lives, a look-up
//! never finds an older state of a slot than one that was put before it began.

mod alive;
mod answer;
mod appending;
mod codec;
mod committing;
mod error;
mod filter;
mod folder;
mod index;
mod marks;
mod offline;
mod opening;
mod pending;
mod place;
mod queue;
mod reader;
mod recent;
mod reclaim;
mod segment;
mod settings;
mod shelf;
mod status;
mod store;
mod witness;
mod writer;

pub use alive::Alive;
pub use codec::{BodyRecord, decode_slot, encode_slot, seal};
pub use error::DiskError;
pub use filter::Filter;
pub use index::{Changes, Counts, Index, SegmentRecord};
pub use offline::{FolderStat, OfflineError, OfflineFolder, Verified};
pub use place::Place;
pub use queue::Kept;
pub use settings::{DiskSettings, FolderSettings};

use self::{
    folder::Folder,
    pending::Found,
    queue::{Order, UnderWay},
    shelf::Shelf,
    writer::Writer,
};
use crate::{
    cache::{Buffers, Chunk, ChunkId, Key, Slot},
    clock,
    ledger::Number,
    telemetry::Metrics,
};
use bytes::Bytes;
use futures_util::future;
use std::{
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel},
    },
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// How long the node's start waits for a folder to be opened; one that takes longer joins later.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How long dropping the tier waits for its threads.
const DROP_PATIENCE: Duration = Duration::from_secs(5);
/// How long giving the folders up waits for a disk that does not answer. Its lock is given up when it does.
const GIVE_UP_PATIENCE: Duration = Duration::from_secs(10);

/// Gives the bytes of a chunk, if another tier holds them.
type Held = Box<dyn Fn(&ChunkId) -> Option<Bytes> + Send + Sync>;

/// What the disk tier asks about a chunk, or what stands under a key, before it lets it go.
pub struct Hooks {
    /// Another tier holds the chunk, and it was read there: it is in use.
    pub hot: Box<dyn Fn(&ChunkId) -> bool + Send + Sync>,
    /// Another tier holds what stands under this key, and it was read there.
    pub hot_slot: Box<dyn Fn(&Key) -> bool + Send + Sync>,
    /// It is held against reclaim, as its release is staged, active or pinned.
    pub protected: Box<dyn Fn(&ChunkId) -> bool + Send + Sync>,
    /// What chunks are read into.
    pub buffers: Buffers,
    /// Its bytes, if another tier holds them: who looked there just before they came need not have them read again.
    pub held: Held,
    /// It was read, and those who wait for it are told next: who comes then finds it in another tier, and nobody reads it
    /// twice.
    pub raised: Box<dyn Fn(&Chunk) + Send + Sync>,
    /// The end of the ledger that says what is outdated.
    pub ledger: Box<dyn Fn() -> Number + Send + Sync>,
}

/// The disk tier. Cheap to clone.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

struct Inner {
    folders: Folders,
    under_way: Arc<UnderWay>,
    metrics: Arc<Metrics>,
    /// The number of the ledger that the folders were told last.
    witnessed: AtomicU64,
    /// Each writing thread holds the other end: it is cut off when the last one has ended.
    ended: Mutex<Receiver<()>>,
}

struct Folders {
    all: Arc<[Shelf]>,
    alive: Arc<Alive>,
    hooks: Arc<Hooks>,
}

/// A chunk that is being read: its bytes, or nothing if it cannot be had now.
pub type Read = Pin<Box<dyn Future<Output = Option<Bytes>> + Send + Sync>>;

impl Disk {
    /// Stored responses, coded variants among them.
    pub fn responses(&self) -> u64 {
        let of_folder = |shelf: &Shelf| u64::try_from(shelf.metrics.responses.get()).unwrap_or_default();
        self.0.folders.all.iter().map(of_folder).sum()
    }

    /// Opens all folders. One that cannot be opened, or not soon, is off and is tried again. Reads nothing of what is in
    /// them. With `wait_for_lock` another process is about to give the folders up: each joins as soon as it has.
    ///
    /// # Errors
    /// A folder is held by another process, or is of another format; or there can be no threads.
    pub fn open(
        settings: &DiskSettings,
        metrics: &Arc<Metrics>,
        hooks: Hooks,
        wait_for_lock: bool,
    ) -> Result<Disk, DiskError> {
        let (hooks, alive) = (Arc::new(hooks), Arc::default());
        let full = &metrics.disk.read_queue_full;
        let shelf = |folder: &FolderSettings| {
            let name = folder.path.display().to_string();
            let folder = Folder::new(folder.clone(), settings.write_queue, metrics.disk.folder(&name));
            Shelf::new(Arc::new(folder), settings, &hooks, &alive, full).map_err(no_thread)
        };
        let all: Arc<[Shelf]> = settings.folders.iter().map(shelf).collect::<Result<_, _>>()?;
        let (running, ended) = channel();
        let disk = Disk(Arc::new(Inner {
            folders: Folders { all: all.clone(), alive, hooks: hooks.clone() },
            under_way: Arc::default(),
            metrics: metrics.clone(),
            witnessed: AtomicU64::default(),
            ended: Mutex::new(ended),
        }));
        let writers = all.iter().map(|shelf| {
            let (folder, all, hooks) = (shelf.folder.clone(), all.clone(), hooks.clone());
            Writer::new(folder, all, hooks, settings.flush_interval, wait_for_lock)
        });
        let opened = start(writers, running)?;
        let until = clock::instant() + OPEN_PATIENCE;
        for opened in opened {
            match opened.recv_timeout(until.saturating_duration_since(clock::instant())) {
                Ok(Err(DiskError::Held(_))) if wait_for_lock => {}
                Ok(Err(error)) if error.refuses_start() => return Err(error),
                _ => {}
            }
        }
        disk.tend();
        Ok(disk)
    }

    /// Whether something may stand under `key`; no is certain. Reads nothing.
    pub fn may_have(&self, key: &Key) -> bool {
        let digest = key.digest();
        self.0.folders.all.iter().any(|folder| folder.may_have(&digest))
    }

    /// Whether this chunk may be there; no is certain. Reads nothing.
    pub fn may_have_chunk(&self, id: &ChunkId) -> bool {
        // The second look is for what was written between the first and the look at what waits.
        let folder_may = || self.0.folders.all.iter().any(|folder| folder.may_have_chunk(id));
        folder_may() || self.0.under_way.bytes(id).is_some() || folder_may()
    }

    /// What stands under `key`: never an older state than one put before this was called. Nothing, if too many wait to
    /// read already, or the disk does not answer in time.
    pub async fn slot(&self, key: &Key) -> Option<Arc<Slot>> {
        let digest = key.digest();
        let home = self.0.folders.home(&digest)?;
        // A look-up that began earlier may be joined below: what was put since is seen here.
        match home.pending_slot(&digest) {
            Found::Slot(slot) => return Some(slot),
            Found::Nothing => return None,
            Found::Unchanged => {}
        }
        // What stands elsewhere is from before its home was this one: the first that is put takes it away there.
        for shelf in std::iter::once(home).chain(self.0.folders.others(home)) {
            if shelf.may_have(&digest)
                && let Some(slot) = shelf.slot(key).await
            {
                return Some(slot);
            }
        }
        None
    }

    /// `slot` is what stands under `key` from now on, or nothing does. Waits for nothing and is never lost as long as the process
    /// lives; it survives a crash once it was committed.
    pub fn put(&self, key: &Key, slot: Option<Arc<Slot>>) {
        let digest = key.digest();
        let Some(home) = self.0.folders.home(&digest) else { return };
        for stored in slot.iter().flat_map(|slot| slot.responses()) {
            self.0.folders.alive.note(&stored.body);
        }
        for other in self.0.folders.others(home) {
            // Where it was while the folders or their limits were others.
            if other.is_known_to_have(&digest) {
                other.put(key, digest, None);
            }
        }
        home.put(key, digest, slot);
    }

    /// Offers a chunk of the response under `key`. Waits for nothing; what does not fit the queue is not kept.
    pub fn keep(&self, key: &Key, chunk: &Chunk) -> Kept {
        let Some(home) = self.0.folders.home(&key.digest()) else { return Kept::not() };
        if let Some(has) = self.0.folders.all.iter().find(|folder| folder.is_fresh(&chunk.id)) {
            has.metrics.deduplicated_bytes.inc_by(chunk.bytes.len() as u64);
            return Kept::already();
        }
        match self.0.under_way.begin(chunk) {
            Ok(offer) => home.keep(offer),
            Err(waits) => {
                home.metrics.deduplicated_bytes.inc_by(chunk.bytes.len() as u64);
                waits
            }
        }
    }

    /// Reads a chunk: at once, if the kernel holds it in memory and its place is known, else by a thread. All who wait for the same
    /// one share one read; what waits to be written is had from there. Nothing, if too much waits to be read already, or the disk
    /// does not answer in time.
    pub fn read(&self, id: &ChunkId) -> Read {
        if let Some(bytes) = self.0.under_way.bytes(id) {
            (self.0.folders.hooks.raised)(&Chunk { id: *id, bytes: bytes.clone() });
            return Box::pin(future::ready(Some(bytes)));
        }
        let (all, id) = (self.0.folders.all.clone(), *id);
        let Some(first) = all.iter().position(|shelf| shelf.may_have_chunk(&id)) else {
            return Box::pin(future::ready(None));
        };
        if let Some(bytes) = all[first].read_at_once(&id, &self.0.folders.hooks) {
            return Box::pin(future::ready(Some(bytes)));
        }
        // It is under way from here on, whenever somebody waits for it.
        let begun = all[first].begin_read(&id);
        Box::pin(async move {
            let mut bytes = all[first].end_read(begun).await;
            for shelf in &all[first + 1..] {
                if bytes.is_none() && shelf.may_have_chunk(&id) {
                    bytes = shelf.end_read(shelf.begin_read(&id)).await;
                }
            }
            bytes
        })
    }

    /// Whether all these chunks are there, or wait to be written. Those that are there count as read, so that reclaim
    /// carries them on.
    pub async fn holds(&self, ids: &[ChunkId]) -> bool {
        let mut left: Vec<ChunkId> = ids.to_vec();
        left.retain(|id| self.0.under_way.bytes(id).is_none());
        if !left.iter().all(|id| self.may_have_chunk(id)) {
            return false;
        }
        for shelf in self.0.folders.all.iter() {
            let here: Vec<_> = left.iter().filter(|id| shelf.may_have_chunk(id)).copied().collect();
            if !here.is_empty() {
                let found = shelf.those_it_holds(&here).await;
                left.retain(|id| !found.contains(id));
            }
        }
        left.is_empty()
    }

    /// Commits all there is and gives the folders up to another process. The chunks `needed` stay readable; nothing else is
    /// there any more. Changes of slots stay pending, for [`Disk::take_back`].
    pub async fn give_up(&self, needed: Vec<ChunkId>) {
        let needed: Arc<[ChunkId]> = needed.into();
        let mut given_up = Vec::new();
        for folder in self.0.folders.all.iter() {
            let (done, is_done) = oneshot::channel();
            folder.queue.order(Order::GiveUp(needed.clone(), done));
            given_up.push(is_done);
        }
        // A writer that has ended holds nothing.
        if tokio::time::timeout(GIVE_UP_PATIENCE, future::join_all(given_up)).await.is_err() {
            tracing::error!("a disk folder does not answer: it is given up when it does");
        }
    }

    /// Opens the folders again, each as soon as its lock is free.
    pub fn take_back(&self) {
        self.0.folders.all.iter().for_each(|folder| folder.queue.order(Order::TakeBack));
    }

    /// Commits all there is and ends the threads. Waits at most `patience` for a disk that does not answer.
    pub fn close(&self, patience: Duration) {
        let until = clock::instant() + patience;
        self.0.folders.all.iter().for_each(|folder| folder.queue.order(Order::Close));
        let left = || until.saturating_duration_since(clock::instant());
        let ended = self.0.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(left()) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("a disk folder could not be closed in time: what was not committed is lost");
        }
        self.0.folders.all.iter().for_each(|shelf| shelf.stop(left()));
    }

    /// Folders that are off, and why. They do not make a node unready.
    pub fn ready(&self) -> Vec<String> {
        let all = self.0.folders.all.iter();
        all.filter_map(|folder| Some(format!("disk folder {}: {}", folder.name, folder.status.why()?)))
            .collect()
    }

    /// Tells the gauges, and the folders how far the ledger has come. Called once a second.
    pub fn tend(&self) {
        let ledger = (self.0.folders.hooks.ledger)().n;
        if self.0.witnessed.swap(ledger, Ordering::Relaxed) != ledger {
            self.0.folders.all.iter().for_each(|folder| folder.queue.order(Order::Witness));
        }
        let waiting: usize = self.0.folders.all.iter().map(Shelf::waiting).sum();
        self.0.metrics.disk.read_queue.set(waiting as i64);
        for folder in self.0.folders.all.iter() {
            folder.metrics.write_queue_bytes.set(folder.queue.bytes() as i64);
            folder.metrics.reads_up.set(folder.status.reads().into());
            folder.metrics.writes_up.set(folder.status.writes().into());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.folders.all.iter().for_each(|folder| folder.queue.order(Order::Close));
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        _ = ended.recv_timeout(DROP_PATIENCE);
    }
}

/// Starts the writing threads, each of which holds `running`; gives what comes of opening their folders.
fn start(
    writers: impl Iterator<Item = Writer>,
    running: Sender<()>,
) -> Result<Vec<Receiver<Result<(), DiskError>>>, DiskError> {
    let start = |writer: Writer| {
        let ((tell, opened), running) = (sync_channel(1), running.clone());
        let thread = thread::Builder::new().name("disk-write".into()).spawn(move || {
            writer.run(tell);
            drop(running);
        });
        thread.map(|_| opened).map_err(no_thread)
    };
    writers.map(start).collect()
}

fn no_thread(error: std::io::Error) -> DiskError {
    DiskError::Io(PathBuf::from("a thread of the disk tier"), error)
}

impl Folders {
    /// The folder of a key: the same one as long as the folders and their limits are the same, on or off.
    fn home(&self, digest: &[u8; 32]) -> Option<&Shelf> {
        match &*self.all {
            [only] => Some(only),
            all => all.iter().max_by(|a, b| a.claim(digest).total_cmp(&b.claim(digest))),
        }
    }

    fn others<'a>(&'a self, home: &'a Shelf) -> impl Iterator<Item = &'a Shelf> {
        self.all.iter().filter(move |shelf| !std::ptr::eq(*shelf, home))
    }
}

#[cfg(test)]
mod tests;
