//! The threads that read from disk, so that no task ever waits for a disk.
//!
//! What is asked of them waits in one bounded queue; when it is full the answer is "not there", at once: the origin is
//! asked instead, and nobody stands in line behind a slow disk. All who want the same chunk share one read of it, and it
//! ends even if none of them waits any longer: the next one will be glad of the page cache. A look-up of a slot is
//! shared only as long as it has not begun, so that whoever asks after a change is told of it.

use super::answer::{Answer, Waiting};
use crate::{
    cache::{ChunkId, Key, Slot},
    telemetry::Seldom,
};
use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use prometheus::IntCounter;
use std::{
    collections::HashMap,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    thread,
    time::Duration,
};

/// What the threads read from. Blocks.
pub(super) trait Source: Send + Sync + 'static {
    /// The bytes of a chunk, verified.
    fn read(&self, id: &ChunkId) -> Option<Bytes>;
    /// What is stored under a key.
    fn slot(&self, key: &Key) -> Option<Arc<Slot>>;
    /// Whether all these chunks are there.
    fn holds(&self, ids: &[ChunkId]) -> bool;
}

/// The reading threads. Dropping it ends them, after what waits.
pub(super) struct Readers {
    shared: Arc<Shared>,
    /// Each thread holds the other end: it is cut off when the last one has ended.
    ended: Receiver<()>,
}

struct Shared {
    state: Mutex<State>,
    /// Counts what was not asked because the queue was full.
    refused: IntCounter,
}

struct State {
    /// None: no more is taken.
    queue: Option<Sender<Job>>,
    /// Chunks that wait to be read or are being read.
    reads: HashMap<ChunkId, Arc<Answer<Option<Bytes>>>>,
    /// Look-ups that wait and have not begun.
    lookups: HashMap<Key, Arc<Answer<Option<Arc<Slot>>>>>,
}

enum Job {
    Read(ChunkId, Arc<Answer<Option<Bytes>>>),
    Slot(Key, Arc<Answer<Option<Arc<Slot>>>>),
    Holds(Box<[ChunkId]>, Arc<Answer<bool>>),
}

impl Readers {
    /// Starts `threads` threads that read from `source`; up to `queue` jobs wait for them.
    pub(super) fn new(
        source: Arc<dyn Source>,
        threads: usize,
        queue: usize,
        refused: IntCounter,
    ) -> io::Result<Readers> {
        let (jobs, waiting) = crossbeam_channel::bounded(queue);
        let (running, ended) = crossbeam_channel::bounded(0);
        let state = State { queue: Some(jobs), reads: HashMap::new(), lookups: HashMap::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), refused });
        let readers = Readers { shared: shared.clone(), ended };
        for number in 0..threads {
            let (source, shared) = (source.clone(), shared.clone());
            let (waiting, running) = (waiting.clone(), running.clone());
            thread::Builder::new().name(format!("disk-read-{number}")).spawn(move || {
                waiting.iter().for_each(|job| shared.work(&*source, job));
                drop(running);
            })?;
        }
        Ok(readers)
    }

    /// Reads a chunk; joins a read of it that waits or is under way.
    pub(super) fn read(&self, id: &ChunkId) -> Read {
        let mut state = self.shared.state();
        if let Some(answer) = state.reads.get(id) {
            return Read(Some(Waiting::for_answer(answer.clone())));
        }
        let answer = Answer::open();
        // Under the lock: nobody joins a read that the queue has no room for.
        if !self.shared.ask(&state, Job::Read(*id, answer.clone())) {
            return Read(None);
        }
        state.reads.insert(*id, answer.clone());
        Read(Some(Waiting::for_answer(answer)))
    }

    /// What is stored under `key`.
    pub(super) async fn slot(&self, key: &Key) -> Option<Arc<Slot>> {
        let answer = self.lookup(key)?;
        Waiting::for_answer(answer).await
    }

    fn lookup(&self, key: &Key) -> Option<Arc<Answer<Option<Arc<Slot>>>>> {
        let mut state = self.shared.state();
        if let Some(answer) = state.lookups.get(key) {
            return Some(answer.clone());
        }
        let answer = Answer::open();
        if !self.shared.ask(&state, Job::Slot(key.clone(), answer.clone())) {
            return None;
        }
        state.lookups.insert(key.clone(), answer.clone());
        Some(answer)
    }

    /// Whether all these chunks are there; no is also the answer of a full queue.
    pub(super) async fn holds(&self, ids: &[ChunkId]) -> bool {
        let answer = Answer::open();
        let asked = self.shared.ask(&self.shared.state(), Job::Holds(ids.into(), answer.clone()));
        asked && Waiting::for_answer(answer).await
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
    fn ask(&self, state: &State, job: Job) -> bool {
        let Some(queue) = &state.queue else { return false };
        let asked = queue.try_send(job).is_ok();
        if !asked {
            self.refused.inc();
        }
        asked
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
            Job::Holds(ids, answer) => answer.give(caught(|| source.holds(&ids)).unwrap_or(false)),
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

/// A chunk that is being read: its bytes, or nothing if it cannot be had now.
pub struct Read(Option<Waiting<Option<Bytes>>>);

impl Read {
    /// A chunk that is known not to be there.
    pub(super) fn nothing() -> Read {
        Read(None)
    }

    /// A chunk that need not be read.
    pub(super) fn at_once(bytes: Bytes) -> Read {
        Read(Some(Waiting::for_answer(Answer::given(Some(bytes)))))
    }
}

impl Future for Read {
    type Output = Option<Bytes>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(waiting) = &mut self.0 else { return Poll::Ready(None) };
        let bytes = std::task::ready!(Pin::new(waiting).poll(context));
        self.0 = None;
        Poll::Ready(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{Read, Readers, Source};
    use crate::cache::{ChunkId, Key, KeyParts, Slot};
    use bytes::Bytes;
    use crossbeam_channel::{Receiver, Sender, unbounded};
    use futures_util::{FutureExt, future::join_all};
    use prometheus::IntCounter;
    use std::{
        future::Future,
        sync::Arc,
        task::{Context, Wake, Waker},
        time::Duration,
    };

    const PATIENCE: Duration = Duration::from_secs(10);

    /// What the disk was asked for.
    #[derive(Debug, PartialEq, Eq)]
    enum Asked {
        Chunk(ChunkId),
        Slot(Key),
        Chunks(usize),
    }

    /// What it does with it.
    enum Does {
        Finds,
        Misses,
        Panics,
    }

    /// A disk that tells what it was asked, and does nothing before it is told what.
    struct Scripted {
        asked: Sender<Asked>,
        does: Receiver<Does>,
    }

    impl Scripted {
        fn finds(&self, asked: Asked) -> bool {
            self.asked.send(asked).unwrap();
            match self.does.recv_timeout(PATIENCE).unwrap() {
                Does::Finds => true,
                Does::Misses => false,
                Does::Panics => panic!("as it was told to"),
            }
        }
    }

    impl Source for Scripted {
        fn read(&self, id: &ChunkId) -> Option<Bytes> {
            self.finds(Asked::Chunk(*id)).then(|| Bytes::from_static(b"found"))
        }
        fn slot(&self, key: &Key) -> Option<Arc<Slot>> {
            self.finds(Asked::Slot(key.clone())).then(Arc::default)
        }
        fn holds(&self, ids: &[ChunkId]) -> bool {
            self.finds(Asked::Chunks(ids.len()))
        }
    }

    struct Disk {
        readers: Readers,
        asked: Receiver<Asked>,
        does: Sender<Does>,
        refused: IntCounter,
    }

    impl Disk {
        fn new(threads: usize, queue: usize) -> Disk {
            let ((asks, asked), (does, told)) = (unbounded(), unbounded());
            let refused = IntCounter::new("refused", "refused").unwrap();
            let source = Arc::new(Scripted { asked: asks, does: told });
            let readers = Readers::new(source, threads, queue, refused.clone()).unwrap();
            Disk { readers, asked, does, refused }
        }

        /// Waits until the disk is asked for something.
        fn asked(&self) -> Asked {
            self.asked.recv_timeout(PATIENCE).unwrap()
        }
    }

    fn id(name: &str) -> ChunkId {
        ChunkId::of(name.as_bytes())
    }

    fn key(path: &str) -> Key {
        KeyParts { scope: "s", https: true, host: "h", path, query: None }.key()
    }

    fn found(bytes: Option<Bytes>) -> bool {
        bytes.as_deref() == Some(b"found")
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await }).unwrap()
    }

    struct Counted;

    impl Wake for Counted {
        fn wake(self: Arc<Counted>) {}
    }

    /// Polls once, with this waker.
    fn poll(read: &mut Read, waker: &Arc<Counted>) -> Option<Option<Bytes>> {
        match read.poll_unpin(&mut Context::from_waker(&Waker::from(waker.clone()))) {
            std::task::Poll::Ready(bytes) => Some(bytes),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_thousand_readers_of_one_chunk_cause_one_read() {
        let disk = Disk::new(2, 8);
        let mut early: Vec<Read> = (0..500).map(|_| disk.readers.read(&id("a"))).collect();
        let waker = Arc::new(Counted);
        assert!(early.iter_mut().all(|read| poll(read, &waker).is_none()));
        assert_eq!(disk.asked(), Asked::Chunk(id("a")));
        let late: Vec<Read> = (0..500).map(|_| disk.readers.read(&id("a"))).collect();
        disk.does.send(Does::Finds).unwrap();
        assert!(wait(join_all(early.into_iter().chain(late))).into_iter().all(found));
        assert!(disk.asked.is_empty() && disk.refused.get() == 0);
        assert_eq!(Arc::strong_count(&waker), 1);
    }

    #[test]
    fn two_chunks_are_read_at_the_same_time() {
        let disk = Disk::new(2, 8);
        let reads = [disk.readers.read(&id("a")), disk.readers.read(&id("b"))];
        let (first, second) = (disk.asked(), disk.asked());
        assert!(first != second, "{first:?}");
        disk.does.send(Does::Finds).unwrap();
        disk.does.send(Does::Finds).unwrap();
        assert!(wait(join_all(reads)).into_iter().all(found));
    }

    #[test]
    fn who_leaves_takes_its_waker_along_and_the_read_goes_on() {
        let disk = Disk::new(1, 8);
        let wakers = [(); 3].map(|()| Arc::new(Counted));
        let mut reads = [(); 3].map(|()| disk.readers.read(&id("a")));
        for (read, waker) in reads.iter_mut().zip(&wakers) {
            assert!(poll(read, waker).is_none() && poll(read, waker).is_none());
            assert_eq!(Arc::strong_count(waker), 2, "however often it is polled");
        }
        let [first, second, third] = reads;
        disk.asked();
        drop(second);
        assert_eq!(wakers.each_ref().map(Arc::strong_count), [2, 1, 2]);
        drop((first, third));
        assert_eq!(wakers.each_ref().map(Arc::strong_count), [1, 1, 1]);
        let joins = disk.readers.read(&id("a"));
        disk.does.send(Does::Finds).unwrap();
        assert!(found(wait(joins)) && disk.asked.is_empty());
        // It has ended: the next one is a read of its own.
        disk.does.send(Does::Misses).unwrap();
        assert_eq!(wait(disk.readers.read(&id("a"))), None);
    }

    #[test]
    fn a_full_queue_is_an_answer_and_nobody_joins_what_it_refused() {
        let disk = Disk::new(1, 1);
        let begun = disk.readers.read(&id("a"));
        disk.asked();
        let waits = disk.readers.read(&id("b"));
        assert_eq!(disk.readers.waiting(), 1);
        for _ in 0..2 {
            assert_eq!(disk.readers.read(&id("c")).now_or_never(), Some(None));
            assert!(disk.readers.slot(&key("/")).now_or_never().is_some_and(|slot| slot.is_none()));
            assert_eq!(disk.readers.holds(&[id("a")]).now_or_never(), Some(false));
        }
        assert_eq!(disk.refused.get(), 6);
        let joins = disk.readers.read(&id("b"));
        disk.does.send(Does::Finds).unwrap();
        disk.does.send(Does::Finds).unwrap();
        assert!(wait(join_all([begun, waits, joins])).into_iter().all(found));
        assert_eq!((disk.asked(), disk.asked.is_empty()), (Asked::Chunk(id("b")), true));
        assert_eq!(disk.refused.get(), 6);
        disk.does.send(Does::Finds).unwrap();
        assert!(found(wait(disk.readers.read(&id("c")))), "there is room again");
    }

    #[test]
    fn a_panic_counts_as_missing_and_the_thread_lives_on() {
        let disk = Disk::new(1, 8);
        for does in [Does::Panics, Does::Panics, Does::Panics, Does::Finds, Does::Finds, Does::Finds] {
            disk.does.send(does).unwrap();
        }
        let ask = || async {
            let (chunk, key) = (id("a"), key("/"));
            let found = found(disk.readers.read(&chunk).await);
            (found, disk.readers.slot(&key).await.is_some(), disk.readers.holds(&[chunk]).await)
        };
        assert_eq!(wait(ask()), (false, false, false));
        assert_eq!(wait(ask()), (true, true, true));
    }

    #[test]
    fn a_stop_has_done_what_waits_and_takes_no_more() {
        let disk = Disk::new(1, 8);
        let waits = [disk.readers.read(&id("a")), disk.readers.read(&id("b"))];
        assert!(!disk.readers.stop(Duration::ZERO), "the disk has not answered");
        assert_eq!(disk.readers.read(&id("c")).now_or_never(), Some(None));
        assert_eq!(disk.readers.holds(&[]).now_or_never(), Some(false));
        assert!(disk.readers.slot(&key("/")).now_or_never().is_some_and(|slot| slot.is_none()));
        disk.does.send(Does::Finds).unwrap();
        disk.does.send(Does::Finds).unwrap();
        assert!(disk.readers.stop(PATIENCE));
        assert!(wait(join_all(waits)).into_iter().all(found));
        assert_eq!(disk.refused.get(), 0);
    }

    #[test]
    fn threads_end_with_the_readers() {
        let Disk { readers, asked, does, .. } = Disk::new(3, 8);
        does.send(Does::Misses).unwrap();
        assert!(wait(readers.slot(&key("/"))).is_none());
        drop(readers);
        assert_eq!(asked.recv_timeout(PATIENCE), Ok(Asked::Slot(key("/"))));
        // The threads own the source, and with it the other end.
        assert_eq!(asked.recv_timeout(PATIENCE), Err(crossbeam_channel::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_look_up_is_shared_until_it_begins() {
        let disk = Disk::new(2, 8);
        let busy = [disk.readers.read(&id("a")), disk.readers.read(&id("b"))];
        disk.asked();
        disk.asked();
        let key = key("/");
        let lookup = || Box::pin(disk.readers.slot(&key));
        let mut before = [lookup(), lookup(), lookup()];
        assert!(before.iter_mut().all(|slot| slot.now_or_never().is_none()));
        assert_eq!(disk.readers.waiting(), 1);
        disk.does.send(Does::Misses).unwrap();
        assert_eq!(disk.asked(), Asked::Slot(key.clone()));
        // It has begun: what is put from now on, only another one is sure to see.
        let mut after = lookup();
        assert!((&mut after).now_or_never().is_none());
        disk.does.send(Does::Misses).unwrap();
        assert_eq!(disk.asked(), Asked::Slot(key.clone()));
        disk.does.send(Does::Misses).unwrap();
        disk.does.send(Does::Misses).unwrap();
        assert!(wait(join_all(before)).into_iter().all(|slot| slot.is_none()));
        assert!(wait(after).is_none() && disk.asked.is_empty());
        assert_eq!(wait(join_all(busy)), [None, None]);
    }
}
