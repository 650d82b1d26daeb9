//! What an operator sets of the disk tier.

use std::{path::PathBuf, time::Duration};

/// Bytes of a folder's limit there must be for each stored response: names and fields must not crowd out the bodies.
const BYTES_PER_RESPONSE: u64 = 2 << 10;

/// The disk tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    /// Where it lies; none: there is no disk tier.
    pub folders: Vec<FolderSettings>,
    /// Threads that read, per folder.
    pub readers: usize,
    /// Look-ups and reads that may wait for them, per folder.
    pub read_queue: usize,
    /// How long a look-up or read may take before it counts as not there.
    pub read_deadline: Duration,
    /// Bytes that may wait to be written, per folder.
    pub write_queue: u64,
    /// How long something that was written may not be committed.
    pub flush_interval: Duration,
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderSettings {
    /// Where.
    pub path: PathBuf,
    /// Bytes it may take, index included.
    pub limit: u64,
    /// URLs whose stored responses it may hold.
    pub responses: u64,
    /// Bytes of protected releases that are held against reclaim.
    pub protected_limit: u64,
}

impl Default for DiskSettings {
    fn default() -> DiskSettings {
        DiskSettings {
            folders: Vec::new(),
            readers: 4,
            read_queue: 1024,
            read_deadline: Duration::from_secs(5),
            write_queue: 16 << 20,
            flush_interval: Duration::from_secs(1),
        }
    }
}

impl FolderSettings {
    /// Least that a folder may be limited to: with less there are too few segments to reclaim by age.
    pub const LEAST: u64 = 16 << 20;

    /// A folder that may take `limit` bytes, the rest as by default.
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> FolderSettings {
        FolderSettings { path: path.into(), limit, responses: 1_000_000, protected_limit: limit / 2 }
    }

    /// URLs whose stored responses it holds at most.
    pub(super) fn most_responses(&self) -> u64 {
        self.responses.min(self.limit / BYTES_PER_RESPONSE)
    }
}
