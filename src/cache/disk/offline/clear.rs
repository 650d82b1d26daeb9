//! Emptying a folder: also the way out of one that this program cannot read.

use super::{OfflineError, OfflineFolder};
use crate::cache::disk::{
    DiskError,
    opening::{FORMAT, INDEX, LOCK},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the index goes before it is removed.
const GONE: &str = "index.gone";
/// Not ours where the folder is a file system of its own.
pub(super) const FOUND: &str = "lost+found";

/// What the file system did not do, and where.
pub(in crate::cache::disk) struct Stuck(PathBuf, io::Error);

impl Stuck {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Stuck {
        move |error| Stuck(path.into(), error)
    }
}

impl From<Stuck> for OfflineError {
    fn from(Stuck(path, error): Stuck) -> OfflineError {
        OfflineError::Io(path, error)
    }
}

impl From<Stuck> for DiskError {
    fn from(Stuck(path, error): Stuck) -> DiskError {
        DiskError::Io(path, error)
    }
}

impl OfflineFolder {
    /// Removes everything that is in the folder, of whatever format. The folder and its lock stay.
    ///
    /// # Errors
    /// Something cannot be removed; clearing again goes on where this ended.
    pub fn clear(&self) -> Result<(), OfflineError> {
        Ok(empty(&self.path)?)
    }
}

/// Removes what is in a folder: first the index, which goes as a whole, and the format last. Whenever this is
/// interrupted, what is left is a store that names nothing, and can be cleared again.
pub(in crate::cache::disk) fn empty(folder: &Path) -> Result<(), Stuck> {
    let (index, gone) = (folder.join(INDEX), folder.join(GONE));
    remove(&gone)?;
    match fs::rename(&index, &gone) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Stuck(index, error)),
        _ => remove(&gone)?,
    }
    for path in contents(folder)? {
        if ![LOCK, FORMAT, FOUND].iter().any(|name| path.ends_with(name)) {
            remove(&path)?;
        }
    }
    remove(&folder.join(FORMAT))?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(Stuck::at(folder))
}

/// What is in a folder, by its whole path.
pub(super) fn contents(folder: &Path) -> Result<Vec<PathBuf>, Stuck> {
    let listed = fs::read_dir(folder).and_then(|all| all.map(|found| Ok(found?.path())).collect());
    listed.map_err(Stuck::at(folder))
}

/// Removes a file, or a folder with all that is in it; nothing there is as well.
pub(super) fn remove(path: &Path) -> Result<(), Stuck> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(Stuck::at(path))
}
