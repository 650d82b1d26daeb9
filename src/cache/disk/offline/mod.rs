//! A folder of the disk tier in the hands of an operator: what is in it, whether it is whole, somewhere else, or empty.
//!
//! No node may use it meanwhile: its lock is the same as a node's, and is held as long as [`OfflineFolder`] lives.

mod clear;
mod error;
mod moving;
mod stat;
mod verify;

pub(super) use clear::empty;
pub use error::OfflineError;
pub use stat::FolderStat;
pub use verify::Verified;

use crate::cache::{
    DiskError, Index,
    disk::{
        opening::{FORMAT, FORMAT_NUMBER, FORMAT_WORD, INDEX, Lock},
        segment::SEGMENTS,
    },
};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Longest `format` that is looked at.
const FORMAT_BYTES: u64 = 64;

/// What is told while it lasts: bytes done, and bytes in all.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// A folder that no node uses: its lock is held until this is dropped.
pub struct OfflineFolder {
    path: PathBuf,
    /// What `format` says.
    format: String,
    _lock: Lock,
}

impl OfflineFolder {
    /// Takes the lock of a folder, of whatever format. Makes nothing where no store is.
    ///
    /// # Errors
    /// There is no store, or it is in use.
    pub fn hold(path: &Path) -> Result<OfflineFolder, OfflineError> {
        let missing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OfflineError::Nothing(path.into()),
            _ => OfflineError::Io(path.into(), error),
        };
        let path = fs::canonicalize(path).map_err(missing)?;
        let format = match read_format(&path) {
            Ok(format) => format,
            // A store that lost it. Any other folder without one is somebody else's and not to be touched.
            Err(_) if path.join(INDEX).is_dir() && path.join(SEGMENTS).is_dir() => String::new(),
            Err(error) => return Err(missing(error)),
        };
        let lock = lock(&path)?;
        Ok(OfflineFolder { path, format, _lock: lock })
    }

    /// Where it is, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this program may open the store: its format is known, and its files are this user's. Opening writes, and a
    /// file of another user would be in the node's way.
    fn may_open(&self, user: u32) -> Result<(), OfflineError> {
        self.is_known()?;
        let owner = fs::metadata(self.path.join(FORMAT)).map_err(OfflineError::io(&self.path))?.uid();
        if owner == user { Ok(()) } else { Err(OfflineError::Foreign(self.path.clone(), owner)) }
    }

    /// The index of the store.
    fn index(&self) -> Result<Index, OfflineError> {
        self.may_open(user()?)?;
        // No share of a limit: nothing much is written.
        Index::open(&self.path, u64::MAX).map_err(self.failed())
    }

    fn failed(&self) -> impl FnOnce(DiskError) -> OfflineError {
        move |error| OfflineError::Disk(self.path.clone(), error)
    }

    fn is_known(&self) -> Result<(), OfflineError> {
        match self.format.strip_prefix(FORMAT_WORD).and_then(|number| number.parse::<u32>().ok()) {
            Some(FORMAT_NUMBER) => Ok(()),
            Some(newer) if newer > FORMAT_NUMBER => Err(OfflineError::Newer(self.path.clone(), newer)),
            _ => Err(OfflineError::Unknown(self.path.clone(), self.format.clone())),
        }
    }
}

/// What `format` says, as far as it may matter.
fn read_format(folder: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(folder.join(FORMAT))?.take(FORMAT_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if !text.starts_with(FORMAT_WORD) && !folder.join(SEGMENTS).is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(text.trim_end().to_owned())
}

/// The user that this process acts for.
fn user() -> Result<u32, OfflineError> {
    let process = "/proc/self";
    fs::metadata(process).map(|about| about.uid()).map_err(OfflineError::io(Path::new(process)))
}

fn lock(folder: &Path) -> Result<Lock, OfflineError> {
    Lock::take(folder).map_err(|error| match error {
        DiskError::Held(folder) => OfflineError::Held(folder),
        DiskError::Io(path, error) => OfflineError::Io(path, error),
        other => OfflineError::Disk(folder.into(), other),
    })
}

#[cfg(test)]
mod tests;
