//! What an operator sets of the tiers and of fills.

use std::time::Duration;

/// The memory tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Bytes the memory tier may hold, overhead included.
    pub memory: u64,
    /// Longest body that is stored, bytes. Longer ones are streamed through.
    pub body_limit: u64,
    /// Bytes a fill may hold for readers that are behind, and bring ahead of the first of them.
    pub fill_window: u64,
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
            lag_limit: Duration::from_secs(10),
            pass_mark: Duration::from_secs(10),
        }
    }
}

impl CacheSettings {
    /// Longest body that is stored, bytes. One whose missing chunks cannot be had again must fit into the memory tier
    /// beside others.
    pub fn limit(&self, chunks_can_be_had_again: bool) -> u64 {
        if chunks_can_be_had_again { self.body_limit } else { self.body_limit.min(self.memory / 2) }
    }
}
