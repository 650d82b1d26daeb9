//! Why the disk tier could not do something.

use std::{
    error::Error,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

/// Why the disk tier could not do something.
#[derive(Debug)]
pub enum DiskError {
    /// The file system said no.
    Io(PathBuf, io::Error),
    /// The index's database said no; it may work the next time.
    Store(fjall::Error),
    /// The index takes no writes until it is opened anew: what an earlier write left on the medium is unknown.
    Poisoned,
    /// Another process holds the folder.
    Held(PathBuf),
    /// Written by a newer version.
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Written by an older version.
    Older {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Of a format that is none this version knows.
    Unknown {
        /// The folder.
        folder: PathBuf,
        /// What says its format.
        found: String,
    },
    /// What was read is not what was written.
    Damaged(&'static str),
    /// The database ended in a panic, as it does on files that it did not write so.
    Panicked,
    /// What was asked of the disk lately does not come back.
    Hangs,
    /// The index is closed, or could not be opened again.
    Closed,
}

impl DiskError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> DiskError {
        let path = path.into();
        move |source| DiskError::Io(path, source)
    }

    /// Whether a node does not start for it: it is the operator's to settle, and nothing is lost by that.
    pub(super) fn refuses_start(&self) -> bool {
        matches!(self, DiskError::Held(_) | DiskError::Newer { .. } | DiskError::Older { .. })
    }

    /// Whether the index cannot be used as it is, and no trying again will mend it.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            DiskError::Damaged(_) | DiskError::Panicked => true,
            DiskError::Store(fjall::Error::Locked | fjall::Error::KeyspaceDeleted) => false,
            DiskError::Store(_) => self.kind().is_none(),
            _ => false,
        }
    }

    /// What the file system said, if it was the one that said no.
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            DiskError::Io(_, error)
            | DiskError::Store(fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))) => {
                Some(error.kind())
            }
            _ => None,
        }
    }
}

/// Does what may panic on files that were written by nobody; a node that serves must not end by that.
pub(super) fn guarded<T>(what: impl FnOnce() -> fjall::Result<T>) -> Result<T, DiskError> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|_| DiskError::Panicked)?.map_err(DiskError::from)
}

impl From<fjall::Error> for DiskError {
    fn from(source: fjall::Error) -> DiskError {
        match source {
            fjall::Error::Poisoned => DiskError::Poisoned,
            other => DiskError::Store(other),
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            DiskError::Store(error) => write!(f, "the index failed: {error}"),
            DiskError::Poisoned => f.write_str("the index takes no writes until it is opened anew"),
            DiskError::Held(folder) => write!(f, "{} is held by another process", folder.display()),
            DiskError::Newer { folder, found } => write!(
                f,
                "{} is of format {found}, written by a newer version of Lectern: use that, or empty it with `lectern store clear`",
                folder.display()
            ),
            DiskError::Older { folder, found } => write!(
                f,
                "{} is of format {found}, written by an older version of Lectern: empty it with `lectern store clear`",
                folder.display()
            ),
            DiskError::Unknown { folder, found } => write!(
                f,
                "{} is of a format that this version of Lectern does not know (\"{}\"): use the version that wrote it, or \
                 empty it with `lectern store clear`",
                folder.display(),
                found.escape_debug()
            ),
            DiskError::Damaged(what) => write!(f, "damaged: {what}"),
            DiskError::Panicked => f.write_str("the index's files are damaged"),
            DiskError::Hangs => f.write_str("the disk does not answer"),
            DiskError::Closed => f.write_str("the index is closed"),
        }
    }
}

impl Error for DiskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            DiskError::Io(_, error) => Some(error),
            DiskError::Store(error) => Some(error),
            _ => None,
        }
    }
}
