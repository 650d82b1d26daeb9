//! Appending: what is new goes to the end of the active segment, and is findable then.

use super::{
    DiskError,
    place::Place,
    queue::Offer,
    segment::{FRAME, HEADER, Segment},
    store::{Store, is_full},
};
use crate::{
    cache::{CHUNK, Chunk, ChunkId},
    telemetry::NotKept,
};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// Chunks that are appended by one call: few enough for the system, enough for small ones.
const TOGETHER: usize = 256;
/// Bytes that are appended before they are synced: a longer sync would let the queue run full.
const SYNC_BYTES: u64 = 8 << 20;
/// Segments given up at most for one append, where the medium is full below the limit.
const SACRIFICES: usize = 4;

/// How long another folder is waited for that may have what is to be written: less than fills a queue.
const OTHERS_PATIENCE: Duration = Duration::from_millis(100);

/// A segment holds at least one chunk of any length.
const _: () = assert!(CHUNK + FRAME as usize + HEADER as usize <= 1 << 20);

impl Store {
    /// Writes what no folder has.
    pub(super) fn write(&mut self, offers: Vec<Offer>) -> Result<(), DiskError> {
        let mut new = Vec::new();
        for offer in offers {
            match self.has(&offer.chunk.id)? {
                true => self.is_there(offer),
                false => new.push(offer),
            }
        }
        let elsewhere = self.those_others_have(&new);
        let (there, new): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|offer| elsewhere.contains(&offer.chunk.id));
        there.into_iter().for_each(|offer| self.is_there(offer));
        let mut rest = new.into_iter().peekable();
        while rest.peek().is_some() {
            let mut bytes = 0;
            let mut together = Vec::new();
            while let Some(offer) = rest.next_if(|_| together.len() < TOGETHER && bytes < SYNC_BYTES) {
                bytes += offer.chunk.bytes.len() as u64;
                together.push(offer);
            }
            if !self.make_room(bytes + u64::from(FRAME) * together.len() as u64)? {
                together.iter().for_each(|_| self.folder.metrics.not_kept(NotKept::NoRoom));
                continue;
            }
            let chunks: Vec<&Chunk> = together.iter().map(|offer| &offer.chunk).collect();
            if let Err(error) = self.append(&chunks) {
                together.iter().for_each(|_| self.folder.metrics.not_kept(NotKept::Error));
                return Err(error);
            }
            together.into_iter().for_each(Offer::written);
        }
        Ok(())
    }

    fn is_there(&self, offer: Offer) {
        self.folder.metrics.deduplicated_bytes.inc_by(offer.chunk.bytes.len() as u64);
        offer.written();
    }

    /// Whether a chunk need not be written, as it is here and stays for now. It counts as read then.
    fn has(&self, id: &ChunkId) -> Result<bool, DiskError> {
        if let Some(place) = self.place(id)?
            && let Some(segment) = self.folder.segments().get(&place.segment)
        {
            segment.marks.set(place.ordinal);
            return Ok(segment.has(&place) && !segment.is_passed(&place));
        }
        Ok(false)
    }

    /// Chunks that need not be written, as another folder has them. One that does not answer soon is not waited for: they are
    /// written once more then.
    fn those_others_have(&self, offers: &[Offer]) -> HashSet<ChunkId> {
        let mut found = HashSet::new();
        for other in self.all.iter().filter(|other| !Arc::ptr_eq(&other.folder, &self.folder)) {
            let ids = offers.iter().map(|offer| offer.chunk.id);
            let ids: Vec<_> = ids.filter(|id| !found.contains(id) && other.may_have_chunk(id)).collect();
            if !ids.is_empty() {
                found.extend(other.those_it_holds_within(&ids, OTHERS_PATIENCE));
            }
        }
        found
    }

    /// Where a chunk will be after the next commit.
    pub(super) fn place(&self, id: &ChunkId) -> Result<Option<Place>, DiskError> {
        if let Some(place) = self.changes.places.get(id) {
            return Ok(Some(*place));
        }
        if !self.index.filter().may_have(id.as_bytes()) {
            return Ok(None);
        }
        let place = self.index.place(id)?;
        Ok(place.filter(|place| self.changes.dropped.get(id) != Some(place)))
    }

    /// Appends chunks, in as many segments as it takes, and makes them findable. Some may be there after an error.
    pub(super) fn append_plain(&mut self, chunks: &[&Chunk]) -> Result<(), DiskError> {
        let mut rest = chunks;
        while !rest.is_empty() {
            rest = self.append_some(rest)?;
        }
        Ok(())
    }

    /// As [`Store::append_plain`]; where the medium is full, the oldest goes before the new is refused.
    fn append(&mut self, chunks: &[&Chunk]) -> Result<(), DiskError> {
        let mut rest = chunks;
        while !rest.is_empty() {
            rest = match self.append_some(rest) {
                Err(error) if is_full(&error) => {
                    let mut result = Err(error);
                    for _ in 0..SACRIFICES {
                        if !self.sacrifice() {
                            break;
                        }
                        result = self.append_some(rest);
                        if result.is_ok() {
                            break;
                        }
                    }
                    result?
                }
                result => result?,
            };
        }
        Ok(())
    }

    /// Appends what goes into the active segment, at least one; gives the rest.
    fn append_some<'a, 'b>(&mut self, chunks: &'b [&'a Chunk]) -> Result<&'b [&'a Chunk], DiskError> {
        let segment = self.roomy(chunks[0].bytes.len())?;
        let (bytes, frames) = (segment.end(), segment.frames());
        let room = u64::from(self.segment_bytes.saturating_sub(bytes));
        let mut taken = 0;
        let fits = chunks.iter().take(TOGETHER).take_while(|chunk| {
            taken += u64::from(FRAME) + chunk.bytes.len() as u64;
            taken <= room
        });
        let (now, rest) = chunks.split_at(fits.count().max(1));
        let places = segment.append(now)?;
        self.changes.dirty.entry(segment.number()).or_insert((segment.clone(), bytes, frames));
        for (chunk, place) in now.iter().zip(places) {
            self.folder.will_name(chunk.id.as_bytes());
            self.folder.fresh_mut().insert(chunk.id, place);
            self.changes.places.insert(chunk.id, place);
            self.folder.metrics.written_bytes.inc_by(chunk.bytes.len() as u64);
        }
        let grown = u64::from(segment.end() - bytes);
        self.segment_total += grown;
        self.changes.bytes += grown;
        self.changes.unsynced += grown;
        if self.changes.unsynced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(rest)
    }

    /// A segment with room for so many bytes.
    fn roomy(&mut self, bytes: usize) -> Result<Arc<Segment>, DiskError> {
        if let Some(active) = &self.active
            && active.has_room(bytes, self.segment_bytes)
        {
            return Ok(active.clone());
        }
        self.begin_segment()
    }

    pub(super) fn begin_segment(&mut self) -> Result<Arc<Segment>, DiskError> {
        let segment = Arc::new(Segment::create(&self.folder.settings.path, self.next)?);
        self.next += 1;
        self.changes.new_files = true;
        self.changes.dirty.insert(segment.number(), (segment.clone(), 0, 0));
        self.segment_total += u64::from(HEADER);
        self.folder.segments_mut().insert(segment.number(), segment.clone());
        self.active = Some(segment.clone());
        Ok(segment)
    }
}
