//! What an operator sets of the tiers, of fills and of coded variants.

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
    /// What is given other codings.
    pub coding: CodingSettings,
}

/// Coded variants of what is stored, and the threads that make them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodingSettings {
    /// Bytes of stored bodies that all threads together take on a second; 0: nothing is coded.
    pub budget: u64,
    /// Threads.
    pub threads: usize,
    /// Shortest body that is coded, bytes: what fits into a packet is there no sooner for being shorter.
    pub smallest: u64,
    /// Longest body that is coded, bytes, before and after.
    pub largest: u64,
}

impl Default for CodingSettings {
    fn default() -> CodingSettings {
        CodingSettings { budget: 4 << 20, threads: 1, smallest: 1400, largest: 8 << 20 }
    }
}

impl CodingSettings {
    /// Whether anything is coded.
    pub fn codes(&self) -> bool {
        self.budget > 0
    }

    /// Whether a body of this length may be sent coded; one of which the length is not known may.
    pub fn may_code(&self, length: Option<u64>) -> bool {
        self.codes() && length.is_none_or(|length| length >= self.smallest)
    }

    /// Whether variants of a body of this length are made.
    pub fn fits(&self, length: u64) -> bool {
        self.codes() && (self.smallest..=self.largest).contains(&length)
    }
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
            coding: CodingSettings::default(),
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
