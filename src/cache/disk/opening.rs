//! Opening a folder: its lock, its format, its segments as far as they are committed.
//!
//! The index says which segments there are and how far they reach. What a crash left behind that is removed here: files
//! the index does not name, and bytes behind the committed ones. Nothing is searched.

use super::{
    DiskError,
    index::Index,
    segment::{self, SEGMENTS, Segment},
};
use crate::ledger::make_folder;
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(super) const LOCK: &str = "lock";
pub(super) const FORMAT: &str = "format";
pub(super) const INDEX: &str = "index";
const PROBE: &str = "probe";
/// What stands in the format file before the number, and the number of this version.
pub(super) const FORMAT_WORD: &str = "lectern-disk ";
pub(super) const FORMAT_NUMBER: u32 = 1;
/// So much is told of a format that is not known.
const FORMAT_CHARS: usize = 64;

/// The lock of a folder: who has it may use what is in there.
pub(super) struct Lock {
    path: PathBuf,
    /// Device and inode: a folder that was moved or deleted takes writes without an error.
    place: (u64, u64),
    _file: File,
}

impl Lock {
    /// Takes the lock; the folder is made if it is not there.
    pub(super) fn take(folder: &Path) -> Result<Lock, DiskError> {
        make_folder(folder).map_err(DiskError::io(folder))?;
        let path = folder.join(LOCK);
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(DiskError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DiskError::Held(folder.into())),
            Err(TryLockError::Error(error)) => return Err(DiskError::io(path)(error)),
        }
        let place = place(&path)?;
        Ok(Lock { path, place, _file: file })
    }

    /// Whether the folder still stands where it was locked.
    pub(super) fn stands(&self) -> Result<(), DiskError> {
        if place(&self.path)? == self.place {
            return Ok(());
        }
        let replaced = std::io::Error::new(ErrorKind::NotFound, "the folder was moved or replaced");
        Err(DiskError::io(&self.path)(replaced))
    }
}

fn place(path: &Path) -> Result<(u64, u64), DiskError> {
    fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).map_err(DiskError::io(path))
}

/// Checks the format of a folder whose lock is held; an empty folder gets the format of this version.
pub(super) fn check_format(folder: &Path) -> Result<(), DiskError> {
    let path = folder.join(FORMAT);
    let text = match fs::read(&path) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound && !folder.join(INDEX).exists() => {
            return write_format(folder, &path).map_err(DiskError::io(path));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(DiskError::io(path)(error)),
    };
    match text.strip_prefix(FORMAT_WORD).and_then(|number| number.trim_end().parse::<u32>().ok()) {
        Some(FORMAT_NUMBER) => Ok(()),
        Some(found) if found > FORMAT_NUMBER => Err(DiskError::Newer { folder: folder.into(), found }),
        Some(found) => Err(DiskError::Older { folder: folder.into(), found }),
        None => {
            let found = text.trim_end().chars().take(FORMAT_CHARS).collect();
            Err(DiskError::Unknown { folder: folder.into(), found })
        }
    }
}

fn write_format(folder: &Path, path: &Path) -> std::io::Result<()> {
    let unfinished = folder.join("format.new");
    let mut file = File::create(&unfinished)?;
    file.write_all(format!("{FORMAT_WORD}{FORMAT_NUMBER}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    File::open(folder)?.sync_all()
}

/// The segments of a folder.
pub(super) struct Segments {
    pub(super) there: BTreeMap<u32, Arc<Segment>>,
    /// Those the index names and that are not there.
    pub(super) missing: Vec<u32>,
    /// The one to go on with.
    pub(super) active: Option<Arc<Segment>>,
    /// Number of the next: none that was ever committed is used again.
    pub(super) next: u32,
}

/// Opens the segments that the index names, and removes other files.
pub(super) fn open_segments(folder: &Path, index: &Index) -> Result<Segments, DiskError> {
    let inside = folder.join(SEGMENTS);
    make_folder(&inside).map_err(DiskError::io(&inside))?;
    let mut there = BTreeMap::new();
    let (mut missing, mut next) = (Vec::new(), 0);
    for record in index.segments()? {
        next = next.max(record.number + 1);
        match Segment::open(folder, &record) {
            Ok(segment) => _ = there.insert(record.number, Arc::new(segment)),
            Err(error) if is_gone(&error) => {
                tracing::warn!("a segment is lost, and what was in it is missing: {error}");
                missing.push(record.number);
            }
            Err(error) => return Err(error),
        }
    }
    for entry in fs::read_dir(&inside).map_err(DiskError::io(&inside))? {
        let path = entry.map_err(DiskError::io(&inside))?.path();
        if let Some(number) = Segment::number_of(&path)
            && !there.contains_key(&number)
        {
            fs::remove_file(&path).map_err(DiskError::io(&path))?;
        }
    }
    let active = match there.last_key_value() {
        Some((number, segment)) if number + 1 == next && segment.resume()? => Some(segment.clone()),
        _ => None,
    };
    Ok(Segments { there, missing, active, next })
}

fn is_gone(error: &DiskError) -> bool {
    use ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), Some(InvalidData | NotFound | UnexpectedEof))
}

/// Brings the names of new segments to the medium.
pub(super) fn sync_segments(folder: &Path) -> Result<(), DiskError> {
    let inside = folder.join(SEGMENTS);
    File::open(&inside).and_then(|inside| inside.sync_all()).map_err(DiskError::io(inside))
}

/// Whether the medium takes and gives bytes.
pub(super) fn probe(folder: &Path) -> Result<(), DiskError> {
    let path = folder.join(PROBE);
    let bytes = [0x5a; 4096];
    let probed = File::create(&path).and_then(|mut file| {
        let segments = Segment::path(folder, 0);
        segment::fault(&segments, "append").and_then(|()| file.write_all(&bytes))?;
        segment::fault(&segments, "sync").and_then(|()| file.sync_all())
    });
    let probed = probed.and_then(|()| fs::read(&path));
    _ = fs::remove_file(&path);
    match probed {
        Ok(read) if read == bytes => Ok(()),
        Ok(_) => Err(DiskError::Damaged("a file does not read as it was written")),
        Err(error) => Err(DiskError::io(path)(error)),
    }
}
