//! What can be wrong with the ledger, in words an operator can act on.

use super::chain::Flaw;
use std::{fmt, io, path::PathBuf, sync::Arc};

/// Why the ledger cannot be opened, or takes no record.
#[derive(Clone, Debug)]
pub enum LedgerError {
    /// Another process holds the ledger.
    Held(PathBuf),
    /// A file of the ledger's folder cannot be read or written.
    Io(PathBuf, Arc<io::Error>),
    /// The database cannot be opened, read or synced.
    Store(Arc<fjall::Error>),
    /// The database found damage and does not say where: it is in one of this many acknowledged records.
    Damaged(u64, Arc<fjall::Error>),
    /// The record with this number is not the one that was acknowledged.
    Broken(u64, Flaw),
    /// Acknowledged records are gone: `expected` were there, `found` are left.
    Short {
        /// Records that are left.
        found: u64,
        /// Records that were acknowledged.
        expected: u64,
    },
    /// The folder was moved, deleted or holds another ledger while the node ran.
    Replaced(PathBuf),
    /// Records are refused because of an earlier failure that still stands.
    Refusing(Arc<LedgerError>),
    /// The key is of the record with this number, which says something else.
    KeyTaken(u64),
    /// More records wait than are taken at once.
    Busy,
    /// The ledger was given up to a new process of this node, which will take records.
    HandedOver,
    /// The ledger was closed.
    Closed,
}

impl LedgerError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> LedgerError {
        let path = path.into();
        move |source| LedgerError::Io(path, Arc::new(source))
    }
}

impl From<fjall::Error> for LedgerError {
    fn from(source: fjall::Error) -> LedgerError {
        LedgerError::Store(Arc::new(source))
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerError::Held(folder) => {
                write!(f, "the ledger in {} is held by another process", folder.display())
            }
            LedgerError::Io(path, source) => write!(f, "{}: {source}", path.display()),
            LedgerError::Store(source) => write!(f, "the ledger's database failed: {source}"),
            LedgerError::Damaged(records, source) => write!(
                f,
                "one of the records 1 to {records} of the ledger is damaged ({source}); restore the folder from a \
                 backup, or move it away to begin a new ledger (everything stored counts as outdated then)"
            ),
            LedgerError::Broken(number, flaw) => write!(
                f,
                "record {number} of the ledger {flaw}; restore the folder from a backup, or move it away to begin a \
                 new ledger (everything stored counts as outdated then)"
            ),
            LedgerError::Short { found, expected } => write!(
                f,
                "record {} of the ledger is missing: {expected} were acknowledged, {found} are left; restore the \
                 folder from a backup, or move it away to begin a new ledger (everything stored counts as outdated \
                 then)",
                found + 1
            ),
            LedgerError::Replaced(folder) => write!(
                f,
                "the ledger's folder {} was moved, deleted or replaced while in use; put it back, or restart the node",
                folder.display()
            ),
            LedgerError::Refusing(why) => write!(f, "the ledger takes no records: {why}"),
            LedgerError::KeyTaken(number) => {
                write!(f, "the key is that of record {number}, which purged something else")
            }
            LedgerError::Busy => f.write_str("too many records wait to be written; try again"),
            LedgerError::HandedOver => {
                f.write_str("the ledger is being handed over to a new process of this node")
            }
            LedgerError::Closed => {
                f.write_str("the ledger is closed; unless the node is stopping, restart it")
            }
        }
    }
}

impl std::error::Error for LedgerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LedgerError::Io(_, source) => Some(source),
            LedgerError::Store(source) | LedgerError::Damaged(_, source) => Some(source),
            LedgerError::Refusing(why) => Some(why),
            _ => None,
        }
    }
}
