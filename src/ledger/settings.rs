//! What an operator sets of the ledger.

use std::{path::PathBuf, time::Duration};

/// Where the ledger lies and how much of it stays in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSettings {
    /// Its folder, made if absent; one process at a time holds it.
    pub folder: PathBuf,
    /// Url entries kept apart; more are folded into their site's purged number (too much is outdated, never too little).
    pub url_entries: usize,
    /// Records after which what all of them add up to is written down: a start reads that, and the records since.
    pub snapshot_records: u64,
    /// How often the end of the chain is told in the log, where it stays if the ledger is altered.
    pub tell_head: Duration,
}

impl Default for LedgerSettings {
    fn default() -> LedgerSettings {
        LedgerSettings {
            folder: PathBuf::from("ledger"),
            url_entries: 1_000_000,
            snapshot_records: 100_000,
            tell_head: Duration::from_hours(1),
        }
    }
}
