//! Committing: what was appended is synced, then named by the index, and only then do files go that it named before.

use super::{
    DiskError,
    index::Changes,
    opening,
    pending::{Batch, Change},
    segment::Segment,
    store::Store,
};
use std::sync::Arc;

/// Commits made one after the other because there are too many responses. If it takes more, other work comes between.
const EVICTIONS: usize = 4;

impl Store {
    /// Brings what was appended to the medium. After an error it is unknown what is there, and trying again would tell
    /// nothing (the system forgets what it could not write): all that is not committed is lost.
    pub(super) fn sync(&mut self) -> Result<(), DiskError> {
        let mut synced = Ok(());
        if self.changes.unsynced > 0 || self.changes.new_files {
            let mut segments = self.changes.dirty.values();
            synced = segments.try_for_each(|(segment, ..)| segment.sync());
            if synced.is_ok() && self.changes.new_files {
                synced = opening::sync_segments(&self.folder.settings.path);
            }
        }
        match synced {
            Ok(()) => (self.changes.unsynced, self.changes.new_files) = (0, false),
            Err(_) => self.lose(),
        }
        synced
    }

    /// Goes back to what is committed.
    fn lose(&mut self) {
        let lost = std::mem::take(&mut self.changes);
        self.folder.fresh_mut().clear();
        self.active = None;
        self.reclaim = None;
        // Carried chunks are lost with the rest: what they were carried from stays.
        let doomed: Vec<u32> = lost.doomed.iter().map(|segment| segment.number()).collect();
        self.changes.gone = lost.gone.into_iter().filter(|number| !doomed.contains(number)).collect();
        for (number, (segment, bytes, frames)) in lost.dirty {
            self.protected.remove(&number);
            if bytes > 0 {
                segment.shrink(bytes, frames);
            } else {
                self.folder.segments_mut().remove(&number);
                _ = segment.remove();
            }
        }
        let segments = self.folder.segments();
        segments.values().for_each(|segment| segment.pass(0));
        self.segment_total = segments.values().map(|segment| u64::from(segment.end())).sum();
    }

    /// Commits all changes, and with a change of a slot what was offered before it: its body is not committed later than its
    /// head. Where more responses came than had room, the oldest of all go at once.
    pub(super) fn flush(&mut self) -> Result<(), DiskError> {
        let batch = self.folder.pending().begin();
        let offers = self.folder.queue.take_offers();
        self.write(offers)?;
        self.commit(batch)?;
        self.flush_at = None;
        for _ in 0..EVICTIONS {
            if !self.has_to_evict() {
                break;
            }
            self.commit(None)?;
        }
        Ok(())
    }

    /// Syncs, then commits what was done to the files, with these changes of slots.
    pub(super) fn commit(&mut self, batch: Option<Arc<Batch>>) -> Result<(), DiskError> {
        self.lock.stands()?;
        self.witness()?;
        if !self.changes.gone.is_empty() && self.active.is_none() {
            // The highest number stays in the index, so that none is used again.
            self.begin_segment()?;
        }
        self.sync()?;
        let changes = self.changes_with(batch.as_deref())?;
        let committed = match &batch {
            Some(batch) if batch.all_gone() => self.index.clear_heads(),
            _ => Ok(()),
        };
        if let Err(error) = committed.and_then(|()| self.index.commit(&changes)) {
            self.suspect = true;
            return Err(error);
        }
        if batch.is_some() {
            self.folder.pending().done();
        }
        self.folder.metrics.evicted_responses.inc_by(changes.evicted.len() as u64);
        self.is_committed();
        Ok(())
    }

    fn changes_with(&mut self, batch: Option<&Batch>) -> Result<Changes, DiskError> {
        let mut changes = Changes {
            places: self.changes.places.iter().map(|(id, place)| (*id, *place)).collect(),
            dropped: self.changes.dropped.iter().map(|(id, place)| (*id, *place)).collect(),
            gone: self.changes.gone.clone(),
            ..Changes::default()
        };
        for (digest, change) in batch.into_iter().flat_map(|batch| batch.in_order()) {
            match change {
                Change::Stands(key, slot) => changes.slots.push((key.clone(), Some(slot.clone()))),
                Change::Gone => changes.forgotten.push(*digest),
            }
        }
        for segment in self.folder.segments().values() {
            let dirty = self.changes.dirty.contains_key(&segment.number());
            let gone = self.changes.gone.contains(&segment.number());
            // Marks are written down rarely, or with what is written anyway.
            if !gone && (dirty || (self.save_marks && segment.marks.have_changed())) {
                changes.segments.push(segment.record());
            }
        }
        (changes.evicted, changes.renewed) = self.evictions(batch)?;
        Ok(changes)
    }

    /// The changes are committed: what was only known here goes.
    fn is_committed(&mut self) {
        let committed = std::mem::take(&mut self.changes);
        let mut fresh = self.folder.fresh_mut();
        for (id, place) in &committed.places {
            if fresh.get(id) == Some(place) {
                fresh.remove(id);
            }
        }
        drop(fresh);
        for segment in committed.doomed {
            self.remove(&segment);
        }
        self.save_marks = false;
        self.index_total = self.index.bytes();
        // More than may be are fewer in a moment.
        if !self.has_to_evict() {
            self.tell();
        }
    }

    /// Takes a segment away, file and all.
    pub(super) fn remove(&mut self, segment: &Segment) {
        if self.folder.segments_mut().remove(&segment.number()).is_some() {
            self.segment_total -= u64::from(segment.end());
        }
        self.protected.remove(&segment.number());
        // Whoever holds the file open holds its room.
        self.changes.dirty.remove(&segment.number());
        self.folder.metrics.reclaimed_segments.inc();
        if let Err(error) = segment.remove() {
            // It is not named any more: the next start removes it.
            tracing::warn!(folder = self.folder.name, "a reclaimed segment cannot be removed: {error}");
        }
    }
}
