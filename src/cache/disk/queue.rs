//! What waits for the writer of a folder: chunks, bounded in bytes, and orders.
//!
//! A chunk that waits in any folder is not taken a second time, whoever offers it: both get the same answer. As long as it
//! waits it is read from here: memory may have let it go.

use crate::{
    cache::{Chunk, ChunkId},
    clock,
};
use bytes::Bytes;
use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::sync::oneshot;

/// Bytes a chunk takes in the queue beside its own. An estimate that errs high.
const OVERHEAD: u64 = 256;

const OPEN: u8 = 0;
const KEPT: u8 = 1;
const NOT_KEPT: u8 = 2;

/// Whether a chunk that was offered is on disk by now.
#[derive(Clone, Debug)]
pub struct Kept(Arc<AtomicU8>);

impl Kept {
    pub(super) fn already() -> Kept {
        Kept(Arc::new(AtomicU8::new(KEPT)))
    }

    pub(super) fn not() -> Kept {
        Kept(Arc::new(AtomicU8::new(NOT_KEPT)))
    }

    /// It is written, and readable from there. It survives a crash once it is committed too.
    pub fn is_kept(&self) -> bool {
        self.0.load(Ordering::Acquire) == KEPT
    }

    /// It is written, or it will not be.
    pub fn is_decided(&self) -> bool {
        self.0.load(Ordering::Acquire) != OPEN
    }
}

/// Chunks that wait to be written, in all folders.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashMap<ChunkId, Waits>>);

/// A chunk that waits to be written.
struct Waits {
    bytes: Bytes,
    kept: Kept,
}

impl UnderWay {
    /// Begins to offer a chunk; if it waits already, what comes of that.
    pub(super) fn begin(self: &Arc<UnderWay>, chunk: &Chunk) -> Result<Offer, Kept> {
        let kept = Kept(Arc::new(AtomicU8::new(OPEN)));
        match self.chunks().entry(chunk.id) {
            Entry::Occupied(waits) => return Err(waits.get().kept.clone()),
            Entry::Vacant(free) => free.insert(Waits { bytes: chunk.bytes.clone(), kept: kept.clone() }),
        };
        Ok(Offer { chunk: chunk.clone(), kept, under_way: self.clone(), room: None })
    }

    /// The bytes of a chunk, if it waits. Once it does not, a folder has it, or nobody does.
    pub(super) fn bytes(&self, id: &ChunkId) -> Option<Bytes> {
        self.chunks().get(id).map(|waits| waits.bytes.clone())
    }

    fn chunks(&self) -> MutexGuard<'_, HashMap<ChunkId, Waits>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A chunk that waits to be written. Dropped without a decision, it is not kept.
pub(super) struct Offer {
    pub(super) chunk: Chunk,
    kept: Kept,
    under_way: Arc<UnderWay>,
    /// What it takes room in, once it waits in a queue.
    room: Option<Arc<AtomicU64>>,
}

impl Offer {
    pub(super) fn kept(&self) -> Kept {
        self.kept.clone()
    }

    /// It is written and readable.
    pub(super) fn written(self) {
        self.kept.0.store(KEPT, Ordering::Release);
    }

    fn weight(&self) -> u64 {
        OVERHEAD + self.chunk.bytes.len() as u64
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        _ = self.kept.0.compare_exchange(OPEN, NOT_KEPT, Ordering::AcqRel, Ordering::Relaxed);
        self.under_way.chunks().remove(&self.chunk.id);
        if let Some(room) = &self.room {
            room.fetch_sub(self.weight(), Ordering::Relaxed);
        }
    }
}

/// What the writer is told to do.
pub(super) enum Order {
    /// Commit all there is, close the folder and give up its lock; these chunks must stay readable.
    GiveUp(Arc<[ChunkId]>, oneshot::Sender<()>),
    /// Open it again.
    TakeBack,
    /// The ledger has come further.
    Witness,
    /// Commit all there is, close the folder, and end.
    Close,
}

/// What the writer has to do now.
#[derive(Default)]
pub(super) struct Work {
    pub(super) offers: Vec<Offer>,
    pub(super) orders: Vec<Order>,
    /// Slots have changed, or reading fails.
    pub(super) stirred: bool,
}

/// The queue of one folder.
pub(super) struct Queue {
    limit: u64,
    /// Bytes of chunks that are not decided, those in the writer's hands too.
    bytes: Arc<AtomicU64>,
    work: Mutex<Work>,
    came: Condvar,
}

impl Queue {
    pub(super) fn new(limit: u64) -> Queue {
        Queue { limit, bytes: Arc::default(), work: Mutex::default(), came: Condvar::new() }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lets a chunk wait, if there is room. Tells whether there was.
    pub(super) fn offer(&self, mut offer: Offer) -> bool {
        let weight = offer.weight();
        let add = |bytes: u64| Some(bytes + weight).filter(|bytes| *bytes <= self.limit);
        if self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            return false;
        }
        offer.room = Some(self.bytes.clone());
        self.work().offers.push(offer);
        self.came.notify_one();
        true
    }

    /// Takes what was offered so far, at once.
    pub(super) fn take_offers(&self) -> Vec<Offer> {
        mem::take(&mut self.work().offers)
    }

    pub(super) fn order(&self, order: Order) {
        self.work().orders.push(order);
        self.came.notify_one();
    }

    /// There is something for the writer to see elsewhere.
    pub(super) fn stir(&self) {
        self.work().stirred = true;
        self.came.notify_one();
    }

    /// Waits for work until `until` at the longest, and takes all there is.
    pub(super) fn take(&self, until: Instant) -> Work {
        let mut work = self.work();
        while work.offers.is_empty() && work.orders.is_empty() && !work.stirred {
            let left = until.saturating_duration_since(clock::instant());
            if left.is_zero() {
                break;
            }
            (work, _) = self.came.wait_timeout(work, left).unwrap_or_else(PoisonError::into_inner);
        }
        mem::take(&mut *work)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{OVERHEAD, Offer, Queue, UnderWay};
    use crate::{cache::Chunk, clock};
    use std::sync::Arc;

    fn offer(under_way: &Arc<UnderWay>, bytes: &'static [u8]) -> Offer {
        under_way.begin(&Chunk::seal(bytes.into())).ok().unwrap()
    }

    #[test]
    fn a_chunk_waits_once_and_all_who_offered_it_learn_what_comes_of_it() {
        let (queue, under_way) = (Queue::new(1 << 20), Arc::new(UnderWay::default()));
        let first = offer(&under_way, b"a");
        let kept = first.kept();
        assert!(queue.offer(first));
        let again = under_way.begin(&Chunk::seal(b"a"[..].into())).err().unwrap();
        assert!(!kept.is_decided() && !again.is_decided());
        queue.take(clock::instant()).offers.into_iter().for_each(Offer::written);
        assert!(kept.is_kept() && again.is_kept());
        assert!(under_way.begin(&Chunk::seal(b"a"[..].into())).is_ok(), "it waits no more");
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_until_they_are_decided() {
        let (queue, under_way) = (Queue::new(2 * OVERHEAD + 2), Arc::new(UnderWay::default()));
        assert!(queue.offer(offer(&under_way, b"a")) && queue.offer(offer(&under_way, b"b")));
        let third = offer(&under_way, b"c");
        let kept = third.kept();
        assert!(!queue.offer(third));
        assert!(kept.is_decided() && !kept.is_kept());
        let work = queue.take(clock::instant());
        assert!(!queue.offer(offer(&under_way, b"c")), "the writer holds them");
        let others: Vec<_> = work.offers.iter().map(Offer::kept).collect();
        drop(work);
        assert!(others.iter().all(|kept| kept.is_decided() && !kept.is_kept()));
        assert_eq!(queue.bytes(), 0);
        assert!(queue.offer(offer(&under_way, b"c")));
    }
}
