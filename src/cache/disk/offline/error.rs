//! Why an operator's command could not do something with a folder, in words that say what to do.

use crate::cache::{DiskError, disk::opening::FORMAT_NUMBER};
use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

/// Why a command could not do something with a folder.
#[derive(Debug)]
pub enum OfflineError {
    /// There is no store in it.
    Nothing(PathBuf),
    /// A node or another command uses it.
    Held(PathBuf),
    /// A later version of this program wrote it.
    Newer(PathBuf, u32),
    /// Its format is none that this program knows.
    Unknown(PathBuf, String),
    /// Its files are another user's.
    Foreign(PathBuf, u32),
    /// It cannot be moved there, and why.
    Destination(PathBuf, &'static str),
    /// The file system said no.
    Io(PathBuf, io::Error),
    /// The store in it cannot be read or written.
    Disk(PathBuf, DiskError),
}

impl OfflineError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> OfflineError {
        move |error| OfflineError::Io(path.into(), error)
    }
}

impl fmt::Display for OfflineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OfflineError::Nothing(folder) => write!(f, "there is no disk tier in {}", folder.display()),
            OfflineError::Held(folder) => {
                write!(f, "{} is in use by a node or another command; stop that first", folder.display())
            }
            OfflineError::Newer(folder, format) => write!(
                f,
                "{} is of format {format}, this program knows {FORMAT_NUMBER}: use the version that wrote it, or empty it with \
                 `lectern store clear`",
                folder.display()
            ),
            OfflineError::Unknown(folder, format) => write!(
                f,
                "{} is of a format that this program does not know (\"{}\"): empty it with `lectern store clear`",
                folder.display(),
                format.escape_debug()
            ),
            OfflineError::Foreign(folder, owner) => write!(
                f,
                "{} belongs to the user with the number {owner}: run this as that user, as files of another would be in \
                 the node's way",
                folder.display()
            ),
            OfflineError::Destination(to, why) => write!(f, "{} {why}", to.display()),
            OfflineError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            OfflineError::Disk(folder, error) => write!(f, "{}: {error}", folder.display()),
        }
    }
}

impl Error for OfflineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            OfflineError::Io(_, error) => Some(error),
            OfflineError::Disk(_, error) => Some(error),
            _ => None,
        }
    }
}
