//! A folder with the threads that read from it.
//!
//! They are its own: a disk that does not answer costs those who ask it the deadline, and other folders nothing. What came
//! too late counts as not there. When all of a folder's threads hang, it is off until they are back, and costs nobody
//! anything.

use super::{
    DiskSettings, Hooks,
    alive::Alive,
    folder::Folder,
    reader::{Asked, Readers, Source},
};
use crate::{
    cache::{Chunk, ChunkId, Key, Slot},
    telemetry::DiskRead,
};
use bytes::Bytes;
use prometheus::IntCounter;
use std::{collections::HashSet, io, ops::Deref, sync::Arc, time::Duration};

pub(super) struct Shelf {
    pub(super) folder: Arc<Folder>,
    readers: Readers,
}

impl Deref for Shelf {
    type Target = Folder;
    fn deref(&self) -> &Folder {
        &self.folder
    }
}

impl Shelf {
    pub(super) fn new(
        folder: Arc<Folder>,
        settings: &DiskSettings,
        hooks: &Arc<Hooks>,
        alive: &Arc<Alive>,
        refused: &IntCounter,
    ) -> io::Result<Shelf> {
        let source = Looks { folder: folder.clone(), hooks: hooks.clone(), alive: alive.clone() };
        let DiskSettings { readers, read_queue, read_deadline, .. } = *settings;
        let readers = Readers::new(Arc::new(source), readers, read_queue, read_deadline, refused.clone())?;
        Ok(Shelf { folder, readers })
    }

    /// The bytes of a chunk, if they can be had without waiting for the disk.
    pub(super) fn read_at_once(&self, id: &ChunkId, hooks: &Hooks) -> Option<Bytes> {
        let place = self.recent.place(id)?;
        if let Some(bytes) = (hooks.held)(id) {
            return Some(bytes);
        }
        let bytes = self.folder.read_at_once(id, place, &hooks.buffers)?;
        (hooks.raised)(&Chunk { id: *id, bytes: bytes.clone() });
        Some(bytes)
    }

    /// Begins to read a chunk.
    pub(super) fn begin_read(&self, id: &ChunkId) -> Option<Asked<Option<Bytes>>> {
        self.readers.read(id)
    }

    /// What [`Shelf::begin_read`] began.
    pub(super) async fn end_read(&self, asked: Option<Asked<Option<Bytes>>>) -> Option<Bytes> {
        self.told(asked?.answer().await)?
    }

    /// What stands under `key`.
    pub(super) async fn slot(&self, key: &Key) -> Option<Arc<Slot>> {
        self.told(self.readers.slot(key)?.answer().await)?
    }

    /// Those of these chunks that are there.
    pub(super) async fn those_it_holds(&self, ids: &[ChunkId]) -> HashSet<ChunkId> {
        let answer = match self.readers.holds(ids) {
            Some(asked) => self.told(asked.answer().await),
            None => None,
        };
        those(ids, answer)
    }

    /// The same for a thread, which waits at most so long.
    pub(super) fn those_it_holds_within(&self, ids: &[ChunkId], patience: Duration) -> HashSet<ChunkId> {
        let asked = self.readers.holds(ids);
        those(ids, asked.and_then(|asked| self.told(asked.wait(patience))))
    }

    /// Whether none of its threads comes back from the disk.
    pub(super) fn hangs(&self) -> bool {
        self.readers.hang()
    }

    /// Look-ups and reads that wait for a thread.
    pub(super) fn waiting(&self) -> usize {
        self.readers.waiting()
    }

    /// Takes no more, and waits at most so long for what waits.
    pub(super) fn stop(&self, patience: Duration) {
        self.readers.stop(patience);
    }

    /// Nothing: it did not come in time.
    fn told<T>(&self, answer: Option<T>) -> Option<T> {
        if answer.is_none() {
            self.metrics.read(DiskRead::Slow);
            if self.hangs() {
                self.folder.does_not_answer();
            }
        }
        answer
    }
}

fn those(ids: &[ChunkId], answer: Option<Vec<bool>>) -> HashSet<ChunkId> {
    let answer = answer.unwrap_or_default();
    ids.iter().zip(answer).filter_map(|(id, is_there)| is_there.then_some(*id)).collect()
}

/// The folder as its threads look into it.
struct Looks {
    folder: Arc<Folder>,
    hooks: Arc<Hooks>,
    alive: Arc<Alive>,
}

impl Source for Looks {
    fn read(&self, id: &ChunkId) -> Option<Bytes> {
        if let Some(bytes) = (self.hooks.held)(id) {
            return Some(bytes);
        }
        let (bytes, place) = self.folder.read(id, &self.hooks.buffers)?;
        (self.hooks.raised)(&Chunk { id: *id, bytes: bytes.clone() });
        // After that: who knows the place finds the chunk in the other tier first.
        self.folder.recent.note(id, place);
        Some(bytes)
    }

    fn slot(&self, key: &Key) -> Option<Arc<Slot>> {
        self.folder.slot(key, &key.digest(), &self.alive)
    }

    fn holds(&self, ids: &[ChunkId]) -> Vec<bool> {
        ids.iter().map(|id| self.folder.may_have_chunk(id) && self.folder.holds(id)).collect()
    }
}
