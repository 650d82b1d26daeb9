//! A segment: a file that chunks are appended to until it is full, and that goes as a whole (`docs/disk-format.md`).
//!
//! One thread appends; any number read. What was appended is never written over: a chunk's place holds its bytes as long
//! as the file is open. Every read is verified against the chunk's name.

use super::{
    DiskError,
    index::SegmentRecord,
    marks::{FRAMES, Marks},
    place::Place,
};
use crate::cache::{Buffers, CHUNK, Chunk, ChunkId};
use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    io::{Errno, ReadWriteFlags, pread, preadv2},
};
use std::{
    fs::File,
    io::{self, ErrorKind, IoSlice, IoSliceMut, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// Folder of the segments in a disk folder.
pub(super) const SEGMENTS: &str = "segments";
/// Bytes of the header of a file, and of each frame.
pub(super) const HEADER: u32 = 32;
pub(super) const FRAME: u32 = 48;
/// Smallest and largest segment: what is reclaimed at once, and what four bytes can tell.
const SIZES: (u64, u64) = (1 << 20, (4 << 30) - (1 << 20));
const MAGIC: [u8; 8] = *b"lectseg1";
const FRAME_MAGIC: [u8; 4] = *b"lfrm";

/// Bytes of a segment in a folder that may take `limit` bytes.
pub(super) fn size(limit: u64) -> u32 {
    (limit / 32).clamp(SIZES.0, SIZES.1) as u32
}

/// An open segment.
pub(super) struct Segment {
    number: u32,
    path: PathBuf,
    file: File,
    /// Bytes and frames so far; only the writer moves them.
    end: AtomicU32,
    frames: AtomicU32,
    /// Reclaim has decided of every frame that begins before this byte.
    passed: AtomicU32,
    pub(super) marks: Marks,
    /// Frames that were found to be bad.
    spoiled: Marks,
}

/// Why the bytes of a chunk cannot be had.
#[derive(Debug)]
pub(super) enum Unread {
    /// What stands there are not its bytes, or not all of them.
    Bad,
    /// The file system said no.
    Io(io::Error),
}

/// A frame, as its header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) id: ChunkId,
    pub(super) place: Place,
}

impl Frame {
    /// The first byte after it.
    pub(super) fn end(&self) -> u32 {
        self.place.offset + self.place.length
    }
}

impl Segment {
    /// The file of a segment.
    pub(super) fn path(folder: &Path, number: u32) -> PathBuf {
        folder.join(SEGMENTS).join(format!("{number:08x}.seg"))
    }

    /// The number in the name of a file, if it is one of a segment.
    pub(super) fn number_of(name: &Path) -> Option<u32> {
        let (stem, extension) = (name.file_stem()?.to_str()?, name.extension()?);
        let is_number = stem.len() == 8 && stem.bytes().all(|digit| digit.is_ascii_hexdigit());
        if is_number && extension == "seg" { u32::from_str_radix(stem, 16).ok() } else { None }
    }

    /// Makes an empty one. Its name is not on the medium before the folder of the segments was synced.
    pub(super) fn create(folder: &Path, number: u32) -> Result<Segment, DiskError> {
        let path = Segment::path(folder, number);
        let made = File::options().read(true).write(true).create_new(true).open(&path).and_then(|file| {
            file.write_all_at(&header(number), 0)?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Segment::new(number, path, file, HEADER, 0, Marks::none())),
            Err(error) => {
                _ = std::fs::remove_file(&path);
                Err(DiskError::Io(path, error))
            }
        }
    }

    /// Opens one of which so many bytes and frames are committed. What the file lacks of them is missing, and found out
    /// when it is read.
    pub(super) fn open(folder: &Path, record: &SegmentRecord) -> Result<Segment, DiskError> {
        let number = record.number;
        let path = Segment::path(folder, number);
        let opened = File::options().read(true).write(true).open(&path).and_then(|file| {
            let mut found = [0; HEADER as usize];
            file.read_exact_at(&mut found, 0)?;
            if found == header(number) {
                Ok(file)
            } else {
                Err(io::Error::new(ErrorKind::InvalidData, "this is no segment of that number"))
            }
        });
        let file = opened.map_err(DiskError::io(&path))?;
        let end = u32::try_from(record.bytes).map_err(|_| DiskError::Damaged("the length of a segment"))?;
        let marks = Marks::saved(record.marks.as_deref().unwrap_or_default());
        Ok(Segment::new(number, path, file, end, record.frames, marks))
    }

    fn new(number: u32, path: PathBuf, file: File, end: u32, frames: u32, marks: Marks) -> Segment {
        let (end, frames) = (AtomicU32::new(end), AtomicU32::new(frames));
        let (passed, spoiled) = (AtomicU32::new(0), Marks::none());
        Segment { number, path, file, end, frames, passed, marks, spoiled }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Bytes so far.
    pub(super) fn end(&self) -> u32 {
        self.end.load(Ordering::Acquire)
    }

    /// Frames so far.
    pub(super) fn frames(&self) -> u32 {
        self.frames.load(Ordering::Acquire)
    }

    /// Makes ready to be appended to: whatever stands behind the committed bytes goes. Tells whether it can be: a file
    /// that lacks some of them must not get others in their place.
    pub(super) fn resume(&self) -> Result<bool, DiskError> {
        let resumed = self.file.metadata().and_then(|meta| {
            let whole = meta.len() >= u64::from(self.end());
            if whole && meta.len() > u64::from(self.end()) {
                self.file.set_len(self.end().into())?;
            }
            Ok(whole)
        });
        resumed.map_err(DiskError::io(&self.path))
    }

    /// Takes back what was appended since it had so many bytes and frames.
    pub(super) fn shrink(&self, bytes: u32, frames: u32) {
        self.end.store(bytes, Ordering::Release);
        self.frames.store(frames, Ordering::Release);
        // Only to give the space back: nothing is appended to it any more.
        _ = self.file.set_len(bytes.into());
    }

    /// As it stands in the index; the marks count as saved.
    pub(super) fn record(&self) -> SegmentRecord {
        let marks = Some(self.marks.save()).filter(|marks| !marks.is_empty());
        SegmentRecord { number: self.number, bytes: self.end().into(), frames: self.frames(), marks }
    }

    /// Whether a chunk of `length` bytes has room in a segment of `size`.
    pub(super) fn has_room(&self, length: usize, size: u32) -> bool {
        let end = u64::from(self.end()) + u64::from(FRAME) + length as u64;
        end <= size.into() && self.frames() < FRAMES
    }

    /// Appends chunks, for whom there must be room, and tells their places. After an error none of them is there.
    pub(super) fn append(&self, chunks: &[&Chunk]) -> Result<Vec<Place>, DiskError> {
        let start = self.end();
        let (mut end, mut ordinal) = (start, self.frames());
        let (mut headers, mut places) = (Vec::with_capacity(chunks.len()), Vec::with_capacity(chunks.len()));
        for chunk in chunks {
            let length = chunk.bytes.len() as u32;
            headers.push(frame_header(self.number, end, length, &chunk.id));
            places.push(Place { segment: self.number, offset: end + FRAME, length, ordinal });
            (end, ordinal) = (end + FRAME + length, ordinal + 1);
        }
        let slices = headers.iter().zip(chunks);
        let mut slices: Vec<IoSlice<'_>> =
            slices.flat_map(|(header, chunk)| [IoSlice::new(header), IoSlice::new(&chunk.bytes)]).collect();
        let written = fault(&self.path, "append").and_then(|()| write_all(&self.file, start, &mut slices));
        written.map_err(DiskError::io(&self.path))?;
        self.frames.store(ordinal, Ordering::Release);
        self.end.store(end, Ordering::Release);
        Ok(places)
    }

    /// Brings what was appended to the medium.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        fault(&self.path, "sync").and_then(|()| self.file.sync_data()).map_err(DiskError::io(&self.path))
    }

    /// The bytes of a chunk, verified.
    pub(super) fn read(&self, place: &Place, id: &ChunkId, buffers: &Buffers) -> Result<Bytes, Unread> {
        // A place from a damaged index must not have gigabytes read.
        if place.length as usize > CHUNK {
            return Err(Unread::Bad);
        }
        let length = place.length as usize;
        let mut bytes = buffers.take(length);
        while bytes.len() < length {
            let at = u64::from(place.offset) + bytes.len() as u64;
            // Into room that nobody has filled with zeros before: that costs as much as the digest does.
            match pread(&self.file, spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(Unread::Bad),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Unread::Io(error.into())),
            }
        }
        bytes.truncate(length);
        if ChunkId::of(&bytes) == *id { Ok(buffers.freeze(bytes)) } else { Err(Unread::Bad) }
    }

    /// The same, if the kernel holds all of it in memory: never waits for the medium. Nothing if it does not, or if something is
    /// wrong, which [`Segment::read`] tells.
    pub(super) fn read_at_once(&self, place: &Place, id: &ChunkId, buffers: &Buffers) -> Option<Bytes> {
        let mut bytes = buffers.take_filled(place.length as usize);
        if self.fill_at_once(&mut bytes, place.offset.into()) && ChunkId::of(&bytes) == *id {
            return Some(buffers.freeze(bytes));
        }
        buffers.give_back(bytes);
        None
    }

    fn fill_at_once(&self, mut bytes: &mut [u8], mut at: u64) -> bool {
        while !bytes.is_empty() {
            match preadv2(&self.file, &mut [IoSliceMut::new(bytes)], at, ReadWriteFlags::NOWAIT) {
                Ok(0) | Err(_) => return false,
                Ok(read) => (bytes, at) = (&mut bytes[read..], at + read as u64),
            }
        }
        true
    }

    /// The frame that begins at byte `at`, number `ordinal`; `None` at the end, or where no frame of this segment is.
    pub(super) fn frame(&self, at: u32, ordinal: u32) -> Result<Option<Frame>, DiskError> {
        if u64::from(at) + u64::from(FRAME) > self.end().into() {
            return Ok(None);
        }
        let mut header = [0; FRAME as usize];
        match self.file.read_exact_at(&mut header, at.into()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(DiskError::Io(self.path.clone(), error)),
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&header[8..40]);
        let id = ChunkId::from_bytes(digest);
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        if header != frame_header(self.number, at, length, &id) {
            return Ok(None);
        }
        let place = Place { segment: self.number, offset: at + FRAME, length, ordinal };
        Ok(Some(Frame { id, place }))
    }

    /// Reclaim is about to decide of the frames before byte `end`.
    pub(super) fn pass(&self, end: u32) {
        self.passed.store(end, Ordering::SeqCst);
    }

    /// Whether reclaim has decided of the frame of `place`, so that it may go soon. Who marks a frame first and asks then
    /// knows: if it is not passed, reclaim sees the mark.
    pub(super) fn is_passed(&self, place: &Place) -> bool {
        place.offset < self.passed.load(Ordering::SeqCst)
    }

    /// Whether the bytes of `place` were appended here, and nobody found them bad.
    pub(super) fn has(&self, place: &Place) -> bool {
        let appended = u64::from(place.offset) + u64::from(place.length) <= self.end().into();
        appended && !self.spoiled.is_set(place.ordinal)
    }

    /// What stands at `place` is bad: from here on it is not there, though the index names it until the next commit.
    pub(super) fn spoil(&self, place: &Place) {
        self.spoiled.set(place.ordinal);
    }

    /// Takes the file away. Who has it open can still read it.
    pub(super) fn remove(&self) -> Result<(), DiskError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(DiskError::Io(self.path.clone(), error)),
            _ => Ok(()),
        }
    }
}

/// Number, and the first bytes of a BLAKE3 over all before them.
fn header(number: u32) -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&number.to_le_bytes());
    let check = blake3::hash(&header[..24]);
    header[24..].copy_from_slice(&check.as_bytes()[..8]);
    header
}

/// The check is over the frame's place too: bytes that stand elsewhere are no frame.
fn frame_header(segment: u32, at: u32, length: u32, id: &ChunkId) -> [u8; FRAME as usize] {
    let mut header = [0; FRAME as usize];
    header[..4].copy_from_slice(&FRAME_MAGIC);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..40].copy_from_slice(id.as_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&segment.to_le_bytes()).update(&at.to_le_bytes()).update(&header[..40]);
    header[40..].copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    header
}

/// For tests: fails as a file `name` beside the segment at `path` says.
#[cfg(test)]
pub(super) fn fault(path: &Path, name: &str) -> io::Result<()> {
    match std::fs::read_to_string(path.with_file_name(name)).as_deref() {
        Ok("full") => Err(ErrorKind::StorageFull.into()),
        Ok(_) => Err(ErrorKind::Other.into()),
        Err(_) => Ok(()),
    }
}

#[cfg(not(test))]
pub(super) fn fault(_: &Path, _: &str) -> io::Result<()> {
    Ok(())
}

fn write_all(mut file: &File, at: u32, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    // The file's own position is the writer's alone: readers name theirs.
    file.seek(SeekFrom::Start(at.into()))?;
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
