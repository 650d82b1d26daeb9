//! What is asked at once, shared, refused and given up on.

use super::{Readers, Source, Waiting};
use crate::{
    cache::{ChunkId, Key, KeyParts, Slot},
    clock,
};
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
    fn holds(&self, ids: &[ChunkId]) -> Vec<bool> {
        vec![self.finds(Asked::Chunks(ids.len())); ids.len()]
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
        Disk::with_deadline(threads, queue, PATIENCE)
    }

    fn with_deadline(threads: usize, queue: usize, deadline: Duration) -> Disk {
        let ((asks, asked), (does, told)) = (unbounded(), unbounded());
        let refused = IntCounter::new("refused", "refused").unwrap();
        let source = Arc::new(Scripted { asked: asks, does: told });
        let readers = Readers::new(source, threads, queue, deadline, refused.clone()).unwrap();
        Disk { readers, asked, does, refused }
    }

    /// Has a chunk read that the queue has room for.
    fn read(&self, id: ChunkId) -> Waiting<Option<Bytes>> {
        Waiting::for_answer(self.readers.read(&id).unwrap().answer)
    }

    /// Has a slot looked up that the queue has room for.
    fn slot(&self, key: &Key) -> Waiting<Option<Arc<Slot>>> {
        Waiting::for_answer(self.readers.slot(key).unwrap().answer)
    }

    /// What is asked of it finds the queue full, or closed.
    fn takes_nothing(&self) -> bool {
        let chunk = id("no room for it");
        self.readers.read(&chunk).is_none()
            && self.readers.slot(&key("/")).is_none()
            && self.readers.holds(&[chunk]).is_none()
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
    KeyParts { scope: "s", https: true, guarded: false, host: "h", path, query: None }.key()
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
fn poll(read: &mut Waiting<Option<Bytes>>, waker: &Arc<Counted>) -> Option<Option<Bytes>> {
    match read.poll_unpin(&mut Context::from_waker(&Waker::from(waker.clone()))) {
        std::task::Poll::Ready(bytes) => Some(bytes),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn a_thousand_readers_of_one_chunk_cause_one_read() {
    let disk = Disk::new(2, 8);
    let mut early: Vec<_> = (0..500).map(|_| disk.read(id("a"))).collect();
    let waker = Arc::new(Counted);
    assert!(early.iter_mut().all(|read| poll(read, &waker).is_none()));
    assert_eq!(disk.asked(), Asked::Chunk(id("a")));
    let late: Vec<_> = (0..500).map(|_| disk.read(id("a"))).collect();
    disk.does.send(Does::Finds).unwrap();
    assert!(wait(join_all(early.into_iter().chain(late))).into_iter().all(found));
    assert!(disk.asked.is_empty() && disk.refused.get() == 0);
    assert_eq!(Arc::strong_count(&waker), 1);
}

#[test]
fn two_chunks_are_read_at_the_same_time() {
    let disk = Disk::new(2, 8);
    let reads = [disk.read(id("a")), disk.read(id("b"))];
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
    let mut reads = [(); 3].map(|()| disk.read(id("a")));
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
    let joins = disk.read(id("a"));
    disk.does.send(Does::Finds).unwrap();
    assert!(found(wait(joins)) && disk.asked.is_empty());
    // It has ended: the next one is a read of its own.
    disk.does.send(Does::Misses).unwrap();
    assert_eq!(wait(disk.read(id("a"))), None);
}

#[test]
fn a_full_queue_is_an_answer_and_nobody_joins_what_it_refused() {
    let disk = Disk::new(1, 1);
    let begun = disk.read(id("a"));
    disk.asked();
    let waits = disk.read(id("b"));
    assert_eq!(disk.readers.waiting(), 1);
    for _ in 0..2 {
        assert!(disk.takes_nothing());
    }
    assert_eq!(disk.refused.get(), 6);
    let joins = disk.read(id("b"));
    disk.does.send(Does::Finds).unwrap();
    disk.does.send(Does::Finds).unwrap();
    assert!(wait(join_all([begun, waits, joins])).into_iter().all(found));
    assert_eq!((disk.asked(), disk.asked.is_empty()), (Asked::Chunk(id("b")), true));
    assert_eq!(disk.refused.get(), 6);
    disk.does.send(Does::Finds).unwrap();
    assert!(found(wait(disk.read(id("c")))), "there is room again");
}

#[test]
fn a_panic_counts_as_missing_and_the_thread_lives_on() {
    let disk = Disk::new(1, 8);
    for does in [Does::Panics, Does::Panics, Does::Panics, Does::Finds, Does::Finds, Does::Finds] {
        disk.does.send(does).unwrap();
    }
    let ask = || async {
        let (chunk, key) = (id("a"), key("/"));
        let found = found(disk.read(chunk).await);
        let holds = disk.readers.holds(&[chunk]).unwrap().answer().await;
        (found, disk.slot(&key).await.is_some(), holds == Some(vec![true]))
    };
    assert_eq!(wait(ask()), (false, false, false));
    assert_eq!(wait(ask()), (true, true, true));
}

#[test]
fn a_stop_has_done_what_waits_and_takes_no_more() {
    let disk = Disk::new(1, 8);
    let waits = [disk.read(id("a")), disk.read(id("b"))];
    assert!(!disk.readers.stop(Duration::ZERO), "the disk has not answered");
    assert!(disk.takes_nothing());
    disk.does.send(Does::Finds).unwrap();
    disk.does.send(Does::Finds).unwrap();
    assert!(disk.readers.stop(PATIENCE));
    assert!(wait(join_all(waits)).into_iter().all(found));
    assert_eq!(disk.refused.get(), 0);
}

#[test]
fn threads_end_with_the_readers() {
    let disk = Disk::new(3, 8);
    disk.does.send(Does::Misses).unwrap();
    assert!(wait(disk.slot(&key("/"))).is_none());
    let Disk { readers, asked, .. } = disk;
    drop(readers);
    assert_eq!(asked.recv_timeout(PATIENCE), Ok(Asked::Slot(key("/"))));
    // The threads own the source, and with it the other end.
    assert_eq!(asked.recv_timeout(PATIENCE), Err(crossbeam_channel::RecvTimeoutError::Disconnected));
}

#[test]
fn a_look_up_is_shared_until_it_begins() {
    let disk = Disk::new(2, 8);
    let busy = [disk.read(id("a")), disk.read(id("b"))];
    disk.asked();
    disk.asked();
    let key = key("/");
    let lookup = || disk.slot(&key);
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

#[test]
fn nobody_waits_beyond_the_deadline_and_who_comes_after_it_not_at_all() {
    let deadline = Duration::from_millis(30);
    let disk = Disk::with_deadline(2, 8, deadline);
    let chunk = id("a");
    let begun = clock::instant();
    let early = [disk.readers.read(&chunk).unwrap(), disk.readers.read(&chunk).unwrap()];
    disk.asked();
    assert!(!disk.readers.hang());
    for asked in early {
        assert!(wait(asked.answer()).is_none());
    }
    assert!(clock::instant() - begun >= deadline);
    let late = disk.readers.read(&chunk).unwrap();
    assert!(late.until <= clock::instant());
    assert!(wait(late.answer()).is_none());
    assert!(!disk.readers.hang(), "one thread is free");
    let (slot, holds) = (disk.readers.slot(&key("/")).unwrap(), disk.readers.holds(&[chunk]).unwrap());
    disk.asked();
    assert!(wait(slot.answer()).is_none() && holds.clone().wait(Duration::ZERO).is_none());
    assert!(holds.wait(PATIENCE).is_none(), "it waits behind them");
    // All threads are at something that nobody waits for, as soon as the one that began last is at it for as long.
    let end = clock::instant() + PATIENCE;
    while !disk.readers.hang() {
        assert!(clock::instant() < end, "a thread is free");
        std::thread::park_timeout(deadline / 10);
    }
    for _ in 0..3 {
        disk.does.send(Does::Finds).unwrap();
    }
    disk.asked();
    disk.does.send(Does::Finds).unwrap();
    assert!(found(wait(disk.read(chunk))), "they are back");
    assert!(!disk.readers.hang());
}

#[test]
fn a_thread_that_waits_is_told_as_soon_as_there_is_an_answer() {
    let disk = Disk::new(1, 8);
    let holds = disk.readers.holds(&[id("a"), id("b")]).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| holds.wait(PATIENCE));
        assert_eq!(disk.asked(), Asked::Chunks(2));
        disk.does.send(Does::Finds).unwrap();
        assert_eq!(waits.join().unwrap(), Some(vec![true, true]));
    });
}
