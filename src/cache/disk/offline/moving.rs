//! Moving a folder. Within a file system it is renamed; to another it is copied beside its new place, synced, and only
//! then renamed into it: at every instant there is one whole store, under the old name or the new one. What an
//! interrupted copy leaves is removed by the next try.

use super::{
    OfflineError, OfflineFolder, Progress,
    clear::{FOUND, contents, empty, remove},
    lock,
};
use crate::cache::disk::opening::{LOCK, Lock};
use std::{
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, fchown},
    path::{Path, PathBuf},
};

/// Bytes copied between two reports of progress.
const STEP: u64 = 8 << 20;

/// Something in a folder.
struct Part {
    /// Its place in there.
    place: PathBuf,
    about: Metadata,
}

impl OfflineFolder {
    /// Moves the folder to `to`, which does not exist or is an empty folder.
    ///
    /// # Errors
    /// `to` cannot be taken, or the file system fails. Then the store is where it was; unless all that is left to be done is
    /// to remove the old one, which the error names.
    pub fn move_to(self, to: &Path, progress: Progress<'_>) -> Result<PathBuf, OfflineError> {
        self.is_known()?;
        let to = destination(&self.path, to)?;
        match fs::rename(&self.path, &to) {
            Ok(()) => {
                sync_parent(&self.path)?;
                sync_parent(&to)?;
            }
            // Another file system, or this one's root.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::CrossesDevices | io::ErrorKind::ResourceBusy) =>
            {
                self.copy_to(&to, progress)?;
            }
            Err(error) => return Err(OfflineError::Io(to, error)),
        }
        Ok(to)
    }

    /// Moves it by copying. Nobody can open the new one before the old one is gone: its lock is held as well.
    pub(in crate::cache::disk) fn copy_to(
        &self,
        to: &Path,
        progress: Progress<'_>,
    ) -> Result<(), OfflineError> {
        let partial = beside(to);
        let _lock = begin(&partial, to)?;
        let about = fs::metadata(self.path.join(LOCK)).map_err(OfflineError::io(&self.path))?;
        File::open(partial.join(LOCK))
            .and_then(|lock| be_like(&lock, &about))
            .map_err(OfflineError::io(&partial))?;
        let parts = parts(&self.path)?;
        let (folders, files): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.about.is_dir());
        let total = files.iter().map(|part| part.about.len()).sum();
        let mut done = 0;
        progress(done, total);
        for part in &folders {
            fs::create_dir(partial.join(&part.place)).map_err(OfflineError::io(&partial))?;
        }
        for part in files {
            let (from, copy) = (self.path.join(&part.place), partial.join(&part.place));
            let copied = copy_file(&from, &copy, &part.about, &mut |bytes| {
                done += bytes;
                progress(done, total);
            });
            copied.map_err(OfflineError::io(&copy))?;
        }
        // After their contents, which could not be written into a folder that is closed.
        for part in folders {
            let copy = partial.join(&part.place);
            File::open(&copy)
                .and_then(|folder| be_like(&folder, &part.about))
                .map_err(OfflineError::io(&copy))?;
        }
        let about = fs::metadata(&self.path).map_err(OfflineError::io(&self.path))?;
        File::open(&partial)
            .and_then(|folder| be_like(&folder, &about))
            .map_err(OfflineError::io(&partial))?;
        fs::rename(&partial, to).map_err(OfflineError::io(to))?;
        sync_parent(to)?;
        self.leave()
    }

    /// Removes what was moved; the folder itself too, unless it is the root of a file system.
    fn leave(&self) -> Result<(), OfflineError> {
        empty(&self.path)?;
        remove(&self.path.join(LOCK))?;
        match fs::remove_dir(&self.path) {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(OfflineError::Io(self.path.clone(), error))
            }
            _ => Ok(()),
        }
    }
}

/// The new place without symbolic links, if it may be taken.
fn destination(from: &Path, to: &Path) -> Result<PathBuf, OfflineError> {
    let refuse = |why| OfflineError::Destination(to.into(), why);
    let whole = std::path::absolute(to).map_err(OfflineError::io(to))?;
    let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(refuse("is no place for a folder"));
    };
    let parent = fs::canonicalize(parent).map_err(OfflineError::io(parent))?;
    if parent.starts_with(from) {
        return Err(refuse("lies within the folder itself"));
    }
    let to = parent.join(name);
    let about = match fs::symlink_metadata(&to) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(to),
        Err(error) => return Err(OfflineError::Io(to, error)),
    };
    if !about.is_dir() || !contents(&to)?.is_empty() {
        return Err(refuse("exists and is no empty folder; name one that does not exist"));
    }
    if about.dev() != fs::metadata(&parent).map_err(OfflineError::io(&parent))?.dev() {
        return Err(refuse("is the root of a file system; name a folder in it"));
    }
    Ok(to)
}

/// Where the copy grows.
fn beside(to: &Path) -> PathBuf {
    let mut name = OsString::from(to);
    name.push(".partial");
    name.into()
}

/// Makes the folder of the copy, in place of what an interrupted one left, and takes its lock.
fn begin(partial: &Path, to: &Path) -> Result<Lock, OfflineError> {
    if partial.is_dir() {
        // A copy begins with its lock, so a folder without one is somebody else's.
        if !partial.join(LOCK).is_file() && !contents(partial)?.is_empty() {
            let why = "has a folder beside it, with .partial to its name, that is no copy of a disk tier; move it away";
            return Err(OfflineError::Destination(to.into(), why));
        }
        let _lock = lock(partial)?;
        remove(partial)?;
    }
    fs::create_dir(partial).map_err(OfflineError::io(partial))?;
    lock(partial)
}

/// All that is in a folder but its lock, folders before what is in them.
fn parts(folder: &Path) -> Result<Vec<Part>, OfflineError> {
    let mut found: Vec<Part> = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(place) = open.pop() {
        for path in contents(&folder.join(&place))? {
            let name = path.file_name().unwrap_or_default();
            if place.as_os_str().is_empty() && (name == LOCK || name == FOUND) {
                continue;
            }
            let place = place.join(name);
            let about = fs::symlink_metadata(&path).map_err(OfflineError::io(&path))?;
            if about.is_dir() {
                open.push(place.clone());
            } else if !about.is_file() {
                let strange = io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a folder");
                return Err(OfflineError::Io(path, strange));
            }
            found.push(Part { place, about });
        }
    }
    Ok(found)
}

fn copy_file(from: &Path, to: &Path, about: &Metadata, copied: &mut dyn FnMut(u64)) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = File::options().write(true).create_new(true).open(to)?;
    loop {
        let bytes = io::copy(&mut (&mut source).take(STEP), &mut copy)?;
        if bytes == 0 {
            break;
        }
        copied(bytes);
    }
    be_like(&copy, about)?;
    if copy.metadata()?.len() == about.len() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "the copy is not as long as the file"))
    }
}

/// Gives a copy the rights and the owner of what it is a copy of, and syncs it.
fn be_like(copy: &File, about: &Metadata) -> io::Result<()> {
    let copied = copy.metadata()?;
    if (copied.uid(), copied.gid()) != (about.uid(), about.gid()) {
        fchown(copy, Some(about.uid()), Some(about.gid()))?;
    }
    copy.set_permissions(about.permissions())?;
    copy.sync_all()
}

fn sync_parent(path: &Path) -> Result<(), OfflineError> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(OfflineError::io(parent))
}
