//! What an operator sets of the tiers and of fills.

use std::time::Duration;

/// The memory tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Bytes the memory tier may hold, overhead included.
    pub memory: u64,
    /// Longest body that is stored, bytes. Longer ones are streamed through.
    pub body_limit: u64,
    /// How long a request does not wait for a fill of what could not be stored last time.
    pub pass_mark: Duration,
}

impl Default for CacheSettings {
    fn default() -> CacheSettings {
        CacheSettings { memory: 256 << 20, body_limit: 128 << 20, pass_mark: Duration::from_secs(10) }
    }
}
