//! The threads that read from a folder, so that no task ever waits for a disk.
//!
//! What is asked of them waits in one bounded queue; when it is full the answer is "not there", at once: the origin is
//! asked instead, and nobody stands in line behind a slow disk. Nor does anybody wait longer than a deadline, which
//! counts from when it was asked first. All who want the same chunk share one read of it, and it ends even if none of
//! them waits any longer: the next one will be glad of the page cache. A look-up of a slot is shared only as long as it
//! has not begun, so that whoever asks after a change is told of it.

use super::answer::{Answer, Waiting};
use crate::{
    cache::{ChunkId, Key, Slot},
    clock,
    telemetry::Seldom,
};
use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use prometheus::IntCounter;
use std::{
    collections::HashMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What the threads read from. Blocks.
pub(super) trait Source: Send + Sync + 'static {
    /// The bytes of a chunk, verified.
    fn read(&self, id: &ChunkId) -> Option<Bytes>;
    /// What is stored under a key.
    fn slot(&self, key: &Key) -> Option<Arc<Slot>>;
    /// Of each of these chunks whether it is there.
    fn holds(&self, ids: &[ChunkId]) -> Vec<bool>;
}

/// The reading threads. Dropping it ends them, after what waits.
pub(super) struct Readers {
    shared: Arc<Shared>,
    /// Each thread holds the other end: it is cut off when the last one has ended.
    ended: Receiver<()>,
}

struct Shared {
    state: Mutex<State>,
    deadline: Duration,
    /// Counts what was not asked because the queue was full.
    refused: IntCounter,
}

struct State {
    /// None: no more is taken.
    queue: Option<Sender<Job>>,
    /// Chunks that wait to be read or are being read.
    reads: HashMap<ChunkId, Asked<Option<Bytes>>>,
    /// Look-ups that wait and have not begun.
    lookups: HashMap<Key, Asked<Option<Arc<Slot>>>>,
    /// Of each thread when it began what it is at.
    began: Vec<Option<Instant>>,
}

enum Job {
    Read(ChunkId, Arc<Answer<Option<Bytes>>>),
    Slot(Key, Arc<Answer<Option<Arc<Slot>>>>),
    Holds(Box<[ChunkId]>, Arc<Answer<Vec<bool>>>),
}

/// What was asked, and until when the answer is of use.
#[derive(Clone)]
pub(super) struct Asked<T: Clone> {
    answer: Arc<Answer<T>>,
    until: Instant,
}

impl<T: Clone> Asked<T> {
    /// The answer, or nothing if it does not come in time.
    pub(super) async fn answer(self) -> Option<T> {
        tokio::time::timeout_at(self.until.into(), Waiting::for_answer(self.answer)).await.ok()
    }

    /// The same for a thread that may wait so long.
    pub(super) fn wait(self, patience: Duration) -> Option<T> {
        Waiting::for_answer(self.answer).wait(self.until.min(clock::instant() + patience))
    }
}

impl Readers {
    /// Starts `threads` threads that read from `source`; up to `queue` jobs wait for them, and each at most until `deadline`.
    pub(super) fn new(
        source: Arc<dyn Source>,
        threads: usize,
        queue: usize,
        deadline: Duration,
        refused: IntCounter,
    ) -> io::Result<Readers> {
        let (jobs, waiting) = crossbeam_channel::bounded(queue);
        let (running, ended) = crossbeam_channel::bounded(0);
        let (reads, lookups) = (HashMap::new(), HashMap::new());
        let state = State { queue: Some(jobs), reads, lookups, began: vec![None; threads] };
        let shared = Arc::new(Shared { state: Mutex::new(state), deadline, refused });
        let readers = Readers { shared: shared.clone(), ended };
        for number in 0..threads {
            let (source, shared) = (source.clone(), shared.clone());
            let (waiting, running) = (waiting.clone(), running.clone());
            thread::Builder::new().name(format!("disk-read-{number}")).spawn(move || {
                for job in waiting {
                    shared.state().began[number] = Some(clock::instant());
                    shared.work(&*source, job);
                    shared.state().began[number] = None;
                }
                drop(running);
            })?;
        }
        Ok(readers)
    }

    /// Reads a chunk; joins a read of it that waits or is under way. Nothing, if too much waits already: so below.
    pub(super) fn read(&self, id: &ChunkId) -> Option<Asked<Option<Bytes>>> {
        let mut state = self.shared.state();
        if let Some(asked) = state.reads.get(id) {
            return Some(asked.clone());
        }
        // Under the lock: nobody joins a read that the queue has no room for.
        let asked = self.shared.ask(&state, |answer| Job::Read(*id, answer))?;
        state.reads.insert(*id, asked.clone());
        Some(asked)
    }

    /// What is stored under `key`.
    pub(super) fn slot(&self, key: &Key) -> Option<Asked<Option<Arc<Slot>>>> {
        let mut state = self.shared.state();
        if let Some(asked) = state.lookups.get(key) {
            return Some(asked.clone());
        }
        let asked = self.shared.ask(&state, |answer| Job::Slot(key.clone(), answer))?;
        state.lookups.insert(key.clone(), asked.clone());
        Some(asked)
    }

    /// Of each of these chunks whether it is there.
    pub(super) fn holds(&self, ids: &[ChunkId]) -> Option<Asked<Vec<bool>>> {
        self.shared.ask(&self.shared.state(), |answer| Job::Holds(ids.into(), answer))
    }

    /// Whether all threads are at something for longer than anybody waits.
    pub(super) fn hang(&self) -> bool {
        let now = clock::instant();
        let hangs = |began: &Option<Instant>| began.is_some_and(|began| began + self.shared.deadline <= now);
        self.shared.state().began.iter().all(hangs)
    }

    /// Jobs that wait for a thread.
    pub(super) fn waiting(&self) -> usize {
        self.shared.state().queue.as_ref().map_or(0, Sender::len)
    }

    /// Takes no more, has what waits done, and waits at most `patience` for it. Tells whether the threads have ended: one
    /// may hang in a disk that does not answer.
    pub(super) fn stop(&self, patience: Duration) -> bool {
        self.shared.state().queue = None;
        self.ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.state().queue = None;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job into the queue, if there is room. Never waits.
    fn ask<T: Clone>(&self, state: &State, job: impl FnOnce(Arc<Answer<T>>) -> Job) -> Option<Asked<T>> {
        let queue = state.queue.as_ref()?;
        let asked = Asked { answer: Answer::open(), until: clock::instant() + self.deadline };
        if queue.try_send(job(asked.answer.clone())).is_err() {
            self.refused.inc();
            return None;
        }
        Some(asked)
    }

    fn work(&self, source: &dyn Source, job: Job) {
        match job {
            Job::Read(id, answer) => {
                let bytes = caught(|| source.read(&id)).flatten();
                self.state().reads.remove(&id);
                answer.give(bytes);
            }
            Job::Slot(key, answer) => {
                self.state().lookups.remove(&key);
                answer.give(caught(|| source.slot(&key)).flatten());
            }
            Job::Holds(ids, answer) => {
                answer.give(caught(|| source.holds(&ids)).unwrap_or_else(|| vec![false; ids.len()]));
            }
        }
    }
}

/// What `read` gives, or nothing if it panics: whoever waits must be answered, and the thread must live on.
fn caught<T>(read: impl FnOnce() -> T) -> Option<T> {
    static PANICKED: Seldom = Seldom::new();
    let found = catch_unwind(AssertUnwindSafe(read)).ok();
    if found.is_none()
        && let Some(suppressed) = PANICKED.due()
    {
        tracing::error!(
            suppressed,
            "a read from disk panicked and counts as missing: a bug, or a damaged index"
        );
    }
    found
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
