//! Whether a folder is whole: each chunk that the index names is where it says, and is what its name says.
//!
//! Segments are read from front to back, as many at a time as the list of their chunks takes little memory. What is in
//! a segment and not in the index is nothing: it was written anew elsewhere, or never committed.

use super::{OfflineError, OfflineFolder, Progress, stat::named};
use crate::cache::{
    Buffers, ChunkId, DiskError, Slot,
    disk::{
        index::{Changes, Index, SegmentRecord},
        place::Place,
        segment::{FRAME, Segment, Unread},
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::RangeInclusive,
    path::PathBuf,
};

/// Chunks whose places are held at a time: some 60 MiB.
const CHUNKS: u64 = 1 << 20;
/// Faults that are told one by one.
const SAMPLES: usize = 20;

/// What was found in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Where it is.
    pub folder: PathBuf,
    /// Segments.
    pub segments: u64,
    /// Chunks that are what their names say.
    pub chunks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Stored responses.
    pub responses: u64,
    /// Chunks that responses name and the folder does not have, counted each time that one is named. No fault.
    pub missing: u64,
    /// Chunks whose bytes are others.
    pub bad: u64,
    /// Places at which there is no such chunk.
    pub misplaced: u64,
    /// Heads, of one URL each, that cannot be read.
    pub bad_heads: u64,
    /// Of all these, those that were taken out of the index.
    pub repaired: u64,
    /// The first of them, in words.
    pub samples: Vec<String>,
}

impl Verified {
    /// Chunks and heads that are not what they should be.
    pub fn faults(&self) -> u64 {
        self.bad + self.misplaced + self.bad_heads
    }

    fn note_chunk(&mut self, fault: &Fault, id: &ChunkId, place: &Place) {
        *if matches!(fault, Fault::Misplaced(_)) { &mut self.misplaced } else { &mut self.bad } += 1;
        let Place { segment, offset, length, .. } = place;
        let name = blake3::Hash::from_bytes(*id.as_bytes());
        self.sample(format!("segment {segment:08x}, {length} bytes at {offset}: {fault} (chunk {name})"));
    }

    fn sample(&mut self, fault: String) {
        if self.samples.len() < SAMPLES {
            self.samples.push(fault);
        }
    }
}

/// What is wrong with a chunk.
enum Fault {
    /// There is no such chunk at its place.
    Misplaced(&'static str),
    /// Its bytes are others.
    Bad,
    /// They cannot be read.
    Unreadable(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Misplaced(why) => f.write_str(why),
            Fault::Bad => f.write_str("the bytes are others"),
            Fault::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl OfflineFolder {
    /// Reads every chunk and every head that the index names; with `repair`, what is faulty is taken out of the index.
    ///
    /// # Errors
    /// It is of another format or user, or its index cannot be read.
    pub fn verify(&self, repair: bool, progress: Progress<'_>) -> Result<Verified, OfflineError> {
        let index = self.index()?;
        let mut found = Verified { folder: self.path.clone(), ..Verified::default() };
        let verified = self.verify_chunks(&index, repair, &mut found, progress);
        let verified = verified.and_then(|()| verify_heads(&index, repair, &mut found));
        verified.and_then(|()| index.close()).map_err(self.failed())?;
        Ok(found)
    }

    fn verify_chunks(
        &self,
        index: &Index,
        repair: bool,
        found: &mut Verified,
        progress: Progress<'_>,
    ) -> Result<(), DiskError> {
        let records: BTreeMap<u32, SegmentRecord> =
            index.segments()?.into_iter().map(|record| (record.number, record)).collect();
        found.segments = records.len() as u64;
        let total = index.counts().chunk_bytes;
        let (buffers, mut done) = (Buffers::default(), 0);
        progress(done, total);
        for batch in batches(&records, CHUNKS) {
            let (mut dropped, mut segments) = (Vec::new(), HashMap::new());
            for (place, id) in places(index, &batch)? {
                let number = place.segment;
                let segment = segments.entry(number).or_insert_with(|| self.segment(records.get(&number)));
                match check(segment, &place, &id, &buffers) {
                    Ok(()) => {
                        found.chunks += 1;
                        found.bytes += u64::from(place.length);
                    }
                    Err(fault) => {
                        found.note_chunk(&fault, &id, &place);
                        dropped.push((id, place));
                    }
                }
                done += u64::from(place.length);
                progress(done, total);
            }
            if repair && !dropped.is_empty() {
                found.repaired += dropped.len() as u64;
                index.commit(&Changes { dropped, ..Changes::default() })?;
            }
        }
        Ok(())
    }

    fn segment(&self, record: Option<&SegmentRecord>) -> Result<Segment, &'static str> {
        let record = record.ok_or("the index knows no such segment")?;
        let opened = Segment::open(&self.path, record);
        opened.map_err(|_| "the segment's file is not there, or not that of its number")
    }
}

/// Reads all heads, and counts those chunks they name that the index does not.
fn verify_heads(index: &Index, repair: bool, found: &mut Verified) -> Result<(), DiskError> {
    let (mut forgotten, mut failed) = (Vec::new(), Ok(()));
    index.each_slot(|digest, slot| {
        let counted = match slot {
            Ok(slot) => count(index, &slot, found),
            Err(DiskError::Damaged(why)) => {
                found.bad_heads += 1;
                found.sample(format!("under a key: {why}, which is not as it was written"));
                forgotten.push(digest);
                Ok(())
            }
            Err(other) => Err(other),
        };
        failed = counted;
        failed.is_ok()
    })?;
    failed?;
    if repair && !forgotten.is_empty() {
        found.repaired += forgotten.len() as u64;
        index.commit(&Changes { forgotten, ..Changes::default() })?;
    }
    Ok(())
}

fn count(index: &Index, slot: &Slot, found: &mut Verified) -> Result<(), DiskError> {
    for response in slot.responses() {
        found.responses += 1;
        for (id, _) in named(response) {
            found.missing += u64::from(index.place(&id)?.is_none());
        }
    }
    Ok(())
}

/// Whether the chunk stands at its place, and is what its name says.
fn check(
    segment: &Result<Segment, &'static str>,
    place: &Place,
    id: &ChunkId,
    buffers: &Buffers,
) -> Result<(), Fault> {
    let segment = segment.as_ref().map_err(|why| Fault::Misplaced(why))?;
    if !segment.has(place) || place.ordinal >= segment.frames() {
        return Err(Fault::Misplaced("the segment does not reach so far"));
    }
    let nothing = Fault::Misplaced("no frame begins there");
    let Some(header) = place.offset.checked_sub(FRAME) else { return Err(nothing) };
    match segment.frame(header, place.ordinal) {
        Ok(Some(frame)) if frame.id == *id && frame.place == *place => {}
        Ok(Some(_)) => return Err(Fault::Misplaced("another chunk stands there")),
        Ok(None) => return Err(nothing),
        Err(error) => return Err(Fault::Unreadable(error.to_string())),
    }
    match segment.read(place, id, buffers) {
        Ok(_) => Ok(()),
        Err(Unread::Bad) => Err(Fault::Bad),
        Err(Unread::Io(error)) => Err(Fault::Unreadable(error.to_string())),
    }
}

/// Segments whose chunks are read together, as ranges of numbers that cover all.
fn batches(records: &BTreeMap<u32, SegmentRecord>, most: u64) -> Vec<RangeInclusive<u32>> {
    let (mut batches, mut first, mut chunks) = (Vec::new(), 0, 0);
    for (&number, record) in records {
        let frames = u64::from(record.frames);
        if chunks > 0 && chunks + frames > most {
            batches.push(first..=number - 1);
            (first, chunks) = (number, 0);
        }
        chunks += frames;
    }
    batches.push(first..=u32::MAX);
    batches
}

/// What the index says is in these segments, in the order in which it stands there.
fn places(index: &Index, segments: &RangeInclusive<u32>) -> Result<Vec<(Place, ChunkId)>, DiskError> {
    let mut places = Vec::new();
    index.each_place(|id, place| {
        if segments.contains(&place.segment) {
            places.push((place, id));
        }
        true
    })?;
    places.sort_unstable_by_key(|(place, _)| (place.segment, place.offset));
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::{SegmentRecord, batches};

    #[test]
    fn batches_cover_every_number_and_hold_few_chunks() {
        type Pairs = &'static [(u32, u32)];
        let table: [(Pairs, Pairs); 5] = [
            (&[], &[(0, u32::MAX)]),
            (&[(7, 100)], &[(0, u32::MAX)]),
            (&[(3, 4), (4, 4), (9, 3)], &[(0, 8), (9, u32::MAX)]),
            (&[(0, 99), (1, 1), (2, 99)], &[(0, 0), (1, 1), (2, u32::MAX)]),
            (&[(5, 0), (6, 0), (u32::MAX, 10)], &[(0, u32::MAX)]),
        ];
        for (segments, expected) in table {
            let record =
                |&(number, frames)| (number, SegmentRecord { number, frames, ..SegmentRecord::default() });
            let found = batches(&segments.iter().map(record).collect(), 10);
            let expected: Vec<_> = expected.iter().map(|(first, last)| *first..=*last).collect();
            assert_eq!(found, expected, "{segments:?}");
        }
    }
}
