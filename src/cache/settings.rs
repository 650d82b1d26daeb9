//! What an operator sets of the tiers and of fills.

use std::time::Duration;

/// The memory tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Bytes the memory tier may hold, overhead included.
    pub memory: u64,
    /// Longest body that is stored, bytes. Longer ones are streamed through.
    pub body_limit: u64,
    /// Bytes a fill may hold for readers that are behind.
    pub fill_window: u64,
    /// Bytes a fill may bring ahead of the first of its readers.
    pub read_ahead: u64,
    /// How long a reader that holds up others may make no progress.
    pub lag_limit: Duration,
    /// How long a request does not wait for a fill of what could not be stored last time.
    pub pass_mark: Duration,
}

impl Default for CacheSettings {
    fn default() -> CacheSettings {
        CacheSettings {
            memory: 256 << 20,
            body_limit: 16 << 30,
            fill_window: 16 << 20,
            read_ahead: 16 << 20,
            lag_limit: Duration::from_secs(10),
            pass_mark: Duration::from_secs(10),
        }
    }
}

impl CacheSettings {
    /// Longest body that is stored, bytes. One whose missing chunks cannot be had again must fit beside others into the memory
    /// tier, or into the disk tier's largest folder if it has one, of so many bytes.
    pub fn limit(&self, chunks_can_be_had_again: bool, largest_folder: Option<u64>) -> u64 {
        match chunks_can_be_had_again {
            true => self.body_limit,
            false => self.body_limit.min(self.memory.max(largest_folder.unwrap_or(0)) / 2),
        }
    }
}
