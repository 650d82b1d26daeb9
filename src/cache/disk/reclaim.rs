//! What goes when a folder is full: the oldest segment, and the responses that were written longest ago.
//!
//! What is in use is carried on from a segment: up to half of it where the chunk was read since it was written, or another
//! tier holds it; beyond that where it is protected, as long as all that is protected stays below a ceiling of its own. It goes in
//! steps between the writer's other work. A segment that was gone through is named no more with the next commit, and its file
//! goes after that.

use super::{
    DiskError,
    pending::Batch,
    place::Place,
    segment::{Frame, HEADER, Segment, Unread},
    store::{Store, is_full},
};
use crate::cache::{Chunk, ChunkId};
use std::sync::Arc;

/// Bytes of a segment, or frames of it, that are gone through in one step.
const STEP_BYTES: u32 = 4 << 20;
const STEP_FRAMES: u32 = 256;
/// Share of a folder that is kept free, so that most chunks find room at once; a segment at least.
const FREE_SHARE: u64 = 32;
/// Responses forgotten with one commit at most, if no more come with it.
const EVICTIONS: u64 = 4096;
/// Share of the responses that a folder may hold that is kept free, so that what comes with a commit finds room.
const FREE_RESPONSES: u64 = 16;

/// A number in the order of writing, and the digest of the key that was written then.
type Written = (u64, [u8; 32]);

/// A chunk that is carried on, from where, and why.
type Carried = (Chunk, Frame, Because);

/// A segment that is being gone through.
pub(super) struct Reclaim {
    segment: Arc<Segment>,
    at: u32,
    ordinal: u32,
    /// Bytes that were carried on for being in use.
    carried: u64,
    /// Bytes that were carried on in all.
    kept: u64,
}

/// Why a chunk is carried on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Because {
    InUse,
    Protected,
}

/// Segments that a folder may take again, however little it took when the medium was full.
const FULL_LEAST: u64 = 8;

impl Store {
    /// Bytes the folder takes until the next commit, and from then on.
    fn total(&self) -> u64 {
        self.segment_total + self.index_total
    }

    fn total_then(&self) -> u64 {
        let doomed: u64 = self.changes.doomed.iter().map(|segment| u64::from(segment.end())).sum();
        self.total() - doomed
    }

    /// What it may take: what is carried on from a segment stands twice until that is gone. Less where the medium was full
    /// lately.
    fn ceiling(&self) -> u64 {
        self.full_at.min(self.folder.settings.limit).saturating_sub(self.segment_bytes.into())
    }

    /// Whether a segment is to be gone through now.
    pub(super) fn has_to_reclaim(&self) -> bool {
        let free = u64::from(self.segment_bytes).max(self.folder.settings.limit / FREE_SHARE);
        self.reclaim.is_some()
            || (self.total_then() + free > self.ceiling() && self.oldest().is_some() && !self.is_in_vain())
    }

    /// Whether all segments were gone through and almost all that is in them was carried on: going on would only wear the disk.
    fn is_in_vain(&self) -> bool {
        self.in_vain > self.folder.segments().len()
    }

    /// Sees to it that so many bytes more stay below the limit. Tells whether they do.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<bool, DiskError> {
        // What is protected or in use may be carried from one end to the other before room is found.
        let segments = self.folder.segments().len();
        for _ in 0..2 * segments + 2 {
            if self.total() + bytes <= self.ceiling() {
                return Ok(true);
            }
            if self.total_then() + bytes > self.ceiling() && !self.is_in_vain() && self.begin_reclaim() {
                while self.reclaim.is_some() {
                    self.reclaim_some()?;
                }
            } else if self.changes.doomed.is_empty() {
                break;
            } else {
                self.commit(None)?;
            }
        }
        Ok(false)
    }

    /// One step.
    pub(super) fn reclaim_some(&mut self) -> Result<(), DiskError> {
        if !self.begin_reclaim() {
            return Ok(());
        }
        let Some(mut reclaim) = self.reclaim.take() else { return Ok(()) };
        let (carried, done) = self.go_through(&mut reclaim, true)?;
        if let Err(error) = self.carry(&carried) {
            carried.iter().for_each(|(_, frame, _)| self.not_carried(frame));
            if !is_full(&error) {
                // From the beginning, another time: what was carried on by then is no longer here.
                reclaim.segment.pass(0);
                return Err(error);
            }
            for (chunk, frame, _) in carried {
                if self.place(&chunk.id)? == Some(frame.place) {
                    self.drop_place(chunk.id, frame.place);
                }
            }
        }
        if done {
            let little = reclaim.kept > u64::from(reclaim.segment.end() / 8 * 7);
            self.in_vain = if little { self.in_vain + 1 } else { 0 };
            self.changes.gone.push(reclaim.segment.number());
            self.changes.doomed.push(reclaim.segment);
        } else {
            self.reclaim = Some(reclaim);
        }
        Ok(())
    }

    /// Gives the oldest segment up at once, and all that is in it: the medium is full. Tells whether it did: if half of all
    /// was given up and it is still full, others have taken the room, and the rest is better kept.
    pub(super) fn sacrifice(&mut self) -> bool {
        if self.sacrificed > self.folder.segments().len() {
            return false;
        }
        self.sacrificed += 1;
        // Where that was little, others took the room: it may be free again as soon as writes succeed.
        let took = self.total().max(FULL_LEAST * u64::from(self.segment_bytes));
        self.full_at = self.full_at.min(took);
        // First what only waits for a commit that may not come.
        if let Some(segment) = self.changes.doomed.pop() {
            self.remove(&segment);
            return true;
        }
        if !self.begin_reclaim() {
            return false;
        }
        let Some(mut reclaim) = self.reclaim.take() else { return false };
        while let Ok((_, false)) = self.go_through(&mut reclaim, false) {}
        reclaim.segment.pass(u32::MAX);
        self.changes.gone.push(reclaim.segment.number());
        self.remove(&reclaim.segment);
        true
    }

    /// Begins with the oldest segment, if none is begun with. Tells whether one is.
    fn begin_reclaim(&mut self) -> bool {
        if self.reclaim.is_none()
            && let Some(segment) = self.oldest()
        {
            // What is protected in it is counted where it is carried to.
            self.protected.remove(&segment.number());
            self.reclaim = Some(Reclaim { segment, at: HEADER, ordinal: 0, carried: 0, kept: 0 });
        }
        self.reclaim.is_some()
    }

    /// The oldest segment that is neither appended to nor as good as gone.
    fn oldest(&self) -> Option<Arc<Segment>> {
        let active = self.active.as_ref().map(|segment| segment.number());
        let segments = self.folder.segments();
        let mut may_go = segments.values().filter(|segment| {
            active != Some(segment.number()) && !self.changes.gone.contains(&segment.number())
        });
        may_go.next().cloned()
    }

    /// Goes through the next frames: gives what is to be carried on, and whether that was all. All else is dropped.
    fn go_through(&mut self, reclaim: &mut Reclaim, carry: bool) -> Result<(Vec<Carried>, bool), DiskError> {
        let (first, from) = (reclaim.ordinal, reclaim.at);
        let mut carried = Vec::new();
        while reclaim.at - from < STEP_BYTES && reclaim.ordinal - first < STEP_FRAMES {
            let frame = match reclaim.segment.frame(reclaim.at, reclaim.ordinal) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok((carried, true)),
                Err(error) => {
                    // What cannot be read cannot be carried on; the places in it are found wrong when they are asked for.
                    tracing::warn!(
                        folder = self.folder.name,
                        "the rest of a segment cannot be read: {error}"
                    );
                    return Ok((carried, true));
                }
            };
            (reclaim.at, reclaim.ordinal) = (frame.end(), reclaim.ordinal + 1);
            if self.place(&frame.id)? != Some(frame.place) {
                reclaim.segment.pass(frame.end());
                continue;
            }
            let because = if carry { self.decide(reclaim, &frame) } else { None };
            reclaim.segment.pass(frame.end());
            match because
                .map(|because| (because, reclaim.segment.read(&frame.place, &frame.id, &self.hooks.buffers)))
            {
                Some((because, Ok(bytes))) => {
                    reclaim.kept += bytes.len() as u64;
                    if because == Because::InUse {
                        reclaim.carried += bytes.len() as u64;
                    }
                    carried.push((Chunk { id: frame.id, bytes }, frame, because));
                }
                Some((_, Err(unread))) => {
                    if matches!(unread, Unread::Bad) {
                        self.folder.is_bad(&frame.id, frame.place);
                    }
                    self.drop_place(frame.id, frame.place);
                }
                None => self.drop_place(frame.id, frame.place),
            }
        }
        Ok((carried, false))
    }

    /// A chunk was to be carried on, and was not.
    fn not_carried(&self, frame: &Frame) {
        let mut fresh = self.folder.fresh_mut();
        if fresh.get(&frame.id) == Some(&frame.place) && !self.is_uncommitted(&frame.id, &frame.place) {
            fresh.remove(&frame.id);
        }
    }

    fn drop_place(&mut self, id: ChunkId, place: Place) {
        // A place that was never committed is dropped all the same: it must not be committed now.
        self.uncommit(&id, &place);
        self.changes.dropped.insert(id, place);
    }

    /// Decides of a chunk that is there: why it is carried on, if it is. Who reads it meanwhile finds it findable, and who
    /// marks it before it is passed has it carried on.
    fn decide(&mut self, reclaim: &Reclaim, frame: &Frame) -> Option<Because> {
        let because = self.is_needed(reclaim, frame).or_else(|| {
            reclaim.segment.pass(frame.end());
            self.is_needed(reclaim, frame)
        });
        if because.is_some() {
            self.folder.fresh_mut().insert(frame.id, frame.place);
        }
        because
    }

    /// Whether a chunk is to be carried on.
    fn is_needed(&self, reclaim: &Reclaim, frame: &Frame) -> Option<Because> {
        let length = u64::from(frame.place.length);
        let protected: u64 = self.protected.values().sum();
        if protected + length <= self.folder.settings.protected_limit && (self.hooks.protected)(&frame.id) {
            return Some(Because::Protected);
        }
        let half = u64::from(reclaim.segment.end() / 2);
        let in_use = reclaim.segment.marks.is_set(frame.place.ordinal) || (self.hooks.hot)(&frame.id);
        (in_use && reclaim.carried + length <= half).then_some(Because::InUse)
    }

    /// Writes chunks again. Where there is no room for them, nothing else goes for them.
    fn carry(&mut self, carried: &[Carried]) -> Result<(), DiskError> {
        let chunks: Vec<&Chunk> = carried.iter().map(|(chunk, ..)| chunk).collect();
        self.append_plain(&chunks)?;
        for (chunk, _, because) in carried {
            let length = chunk.bytes.len() as u64;
            self.folder.metrics.carried_bytes.inc_by(length);
            if *because == Because::Protected
                && let Some(place) = self.place(&chunk.id)?
            {
                *self.protected.entry(place.segment).or_default() += length;
            }
        }
        Ok(())
    }

    /// Whether there are too many responses.
    pub(super) fn has_to_evict(&self) -> bool {
        !self.nothing_to_evict && self.index.counts().responses > self.folder.settings.most_responses()
    }

    /// Responses that go with the next commit, and those that get a second chance for being in use. A share of the limit is kept
    /// free for what comes with the same commit.
    pub(super) fn evictions(
        &mut self,
        batch: Option<&Batch>,
    ) -> Result<(Vec<Written>, Vec<Written>), DiskError> {
        let (mut evicted, mut renewed) = (Vec::new(), Vec::new());
        let most = self.folder.settings.most_responses();
        let at_once = EVICTIONS.max(batch.map_or(0, Batch::len));
        let over = self.index.counts().responses.saturating_sub(most - most / FREE_RESPONSES).min(at_once);
        if over == 0 {
            return Ok((evicted, renewed));
        }
        for (order, digest) in self.index.oldest(over as usize * 2)? {
            if batch.is_some_and(|batch| batch.has(&digest)) {
                // It is written anew with this commit.
                continue;
            }
            if self.is_in_use(&digest)? {
                renewed.push((order, digest));
            } else {
                evicted.push((order, digest));
            }
            if evicted.len() as u64 == over {
                break;
            }
        }
        self.nothing_to_evict = evicted.is_empty() && renewed.is_empty();
        Ok((evicted, renewed))
    }

    /// Whether what stands under a key with this digest was read, here since the last time it was passed over, or in another
    /// tier that holds it.
    fn is_in_use(&self, digest: &[u8; 32]) -> Result<bool, DiskError> {
        Ok(self.folder.seen.take(digest)
            || self.index.key_of(digest)?.is_some_and(|key| (self.hooks.hot_slot)(&key)))
    }
}
