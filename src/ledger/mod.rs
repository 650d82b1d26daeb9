//! Numbered, hash-chained records of what is outdated: a purge is a fact here, not a walk over the cache.
//!
//! A record is on the medium before it is acknowledged; then the maps are updated, then its number is published. A
//! reader loads the number first and the maps after it, so whoever sees a number sees everything up to it. Every
//! fill notes [`Ledger::last`] as `born` *before* its request leaves; a stored response is outdated if a record that
//! covers it is above its `born`. So a purge beats every fill in flight, with no lock between them.

mod audit;
mod chain;
mod entry;
mod error;
mod folders;
mod keys;
mod log;
mod medium;
mod modules;
mod projection;
mod record;
mod settings;
mod snapshot;
mod snapshots;
mod step;
#[cfg(test)]
mod tests;

pub use chain::{Flaw, Identity, NoIdentity};
pub use entry::{Entry, Verifier};
pub use error::LedgerError;
pub(crate) use folders::{make_folder, sync_folders};
pub use modules::Modules;
pub use projection::{Covering, Projection, Projector, SiteMarks, Standing, Subject};
pub use record::{About, Fact, Purge, Record, SETTLE};
pub use settings::LedgerSettings;
pub use step::{ManifestId, Module, Release, Step, Told};

use crate::{http_caching::Tags, telemetry::Metrics};
use std::{path::Path, sync::Arc};

/// Records that are read at once.
pub const AT_ONCE: usize = 1000;

/// A place in a ledger. Two numbers of different ledgers never compare: that is why the identity rides along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Number {
    /// Whose number it is.
    pub identity: Identity,
    /// Records up to and with this one; 0 before the first.
    pub n: u64,
}

/// What `append` gives back: the record is on the medium, and no reader decides without it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The record's own number.
    pub number: Number,
    /// It was written before: its key was known.
    pub repeated: bool,
}

/// The ledger of this node.
pub struct Ledger {
    shared: Arc<log::Shared>,
    writer: log::Writer,
}

impl Ledger {
    /// Opens the ledger in its folder, or makes one if the folder is absent or empty; verifies the chain from the last snapshot
    /// on, or from the first record where there is none, and replays it. What is before a snapshot is verified beside all else:
    /// where it is flawed, no more records are taken.
    ///
    /// # Errors
    /// [`LedgerError::Held`] if another process has it; [`LedgerError::Broken`] or [`LedgerError::Short`] if a
    /// record was altered, torn or lost: the node must not start then, for a purge would be undone.
    pub fn open(settings: &LedgerSettings, metrics: &Metrics) -> Result<Arc<Ledger>, LedgerError> {
        let (shared, writer) = log::open(settings, metrics)?;
        Ok(Arc::new(Ledger { shared, writer }))
    }

    /// The last published number: one atomic load. `born` and `seen` are taken from it.
    pub fn last(&self) -> Number {
        self.shared.last()
    }

    /// The marks of a site, made on demand and kept for ever: resolve them when the configuration is built.
    pub fn marks(&self, site: &str) -> Arc<SiteMarks> {
        self.shared.projection.marks(site)
    }

    /// All releases that are active, staged, or can be gone back to.
    pub fn releases(&self) -> Vec<Arc<Release>> {
        self.shared.projection.releases()
    }

    /// What the records make of a response of this site with this `born`.
    ///
    /// Outdated if a record that covers it is above `born`, or stale if all of those are soft; outdated if `born` is of another
    /// ledger or above the last number (a lost or restored ledger must not bring back what was purged). To remember that it is
    /// current, load [`SiteMarks::touched`] *before* this call and compare it next time.
    pub fn standing(&self, marks: &SiteMarks, subject: &Subject<'_>, born: Number) -> Standing {
        let last = self.last();
        if born.identity != last.identity || born.n > last.n {
            return Standing::Outdated;
        }
        self.shared.projection.standing(marks, subject, born.n)
    }

    /// Does any record cover it, be it a soft one? What is so is not asked about by its validator, and nobody joins it.
    pub fn outdated(&self, marks: &SiteMarks, subject: &Subject<'_>, born: Number) -> bool {
        self.standing(marks, subject, born).is_covered()
    }

    /// Whether a record above `born` covers what has these tags by one of them: asked with the head of a fill, for who joined it
    /// when its tags were not known. What came for its path alone does not disturb who had joined by then.
    pub fn outdated_by_name(&self, marks: &SiteMarks, tags: &Tags, born: Number) -> bool {
        let last = self.last();
        born.identity != last.identity || self.shared.projection.outdated_by_name(marks, tags, born.n)
    }

    /// What makes a response outdated or stale, for people who wonder: records above `born` that cover it, by kind and number, and
    /// whether they are soft. Nothing if none does, or if `born` is no number of this ledger so far (see [`Ledger::standing`]).
    pub fn covering(
        &self,
        marks: &SiteMarks,
        subject: &Subject<'_>,
        born: Number,
    ) -> Vec<(Covering, u64, bool)> {
        let last = self.last();
        if born.identity != last.identity || born.n > last.n {
            return Vec::new();
        }
        self.shared.projection.covering(marks, subject, born.n)
    }

    /// What a record would cover that no record covers yet, of the site or scope of this name; nothing is written. Asked of each
    /// stored response.
    pub fn would_cover(&self, record: &Record) -> impl Fn(&str, &Subject<'_>, Number) -> bool {
        let projection = Arc::new(Projection::new());
        Projector::new(projection.clone(), 1 + record.sites().len()).apply(1, record);
        move |name, subject, born| {
            !self.outdated(&self.marks(name), subject, born)
                && projection.standing(&projection.marks(name), subject, 0).is_covered()
        }
    }

    /// Writes a record, unless one with its key was written before: that is then the answer. When this returns the record is synced, chained, in the maps, and its number is published.
    /// Dropping the future does not take the record back.
    ///
    /// # Errors
    /// [`LedgerError::KeyTaken`] if its key is of a record that says something else;
    /// [`LedgerError::Busy`] if too many wait already; [`LedgerError::Refusing`] while the medium fails: the record
    /// is then not acknowledged, though it may have reached the medium and count after a later reopening (too much
    /// is outdated then, never too little).
    pub async fn append(&self, record: Record) -> Result<Receipt, LedgerError> {
        self.writer.append(record).await
    }

    /// Up to `limit` records from this number on, as they stand on the medium.
    ///
    /// # Errors
    /// The medium cannot be read, or is not here now; too much waits for it.
    pub async fn entries(&self, from: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        self.writer.entries(from, limit).await
    }

    /// Whether records are taken. While not, serving goes on and the medium is tried again with a growing pause.
    pub fn ready(&self) -> bool {
        self.refusal().is_none()
    }

    /// Why records are refused at the moment.
    pub fn refusal(&self) -> Option<Arc<LedgerError>> {
        self.shared.refusal()
    }

    /// Closes the medium and gives up the lock, for another process to take; what was asked before is written first.
    /// From then on records are refused with [`LedgerError::HandedOver`], and everything else goes on with what is known.
    ///
    /// # Errors
    /// The writer is gone, or too much waits for it; nothing was given up then.
    pub async fn give_up(&self) -> Result<(), LedgerError> {
        self.writer.give_up().await
    }

    /// Takes up again what was given up, with all that another process may have written meanwhile. It has happened once
    /// [`Ledger::ready`] says so; until then it is tried again with a growing pause.
    ///
    /// # Errors
    /// The writer is gone, or too much waits for it.
    pub fn take_back(&self) -> Result<(), LedgerError> {
        self.writer.take_back()
    }

    /// Ends the writer and gives up the lock; what was asked before is written first. Blocks for that long.
    pub fn close(&self) {
        self.writer.close();
    }
}

/// Reads the ledger in a folder that no node uses: hands on all records in their order, with the ledger's identity. What is told of
/// the chain is for the asker to compute.
///
/// # Errors
/// There is none, a process has it, or it cannot be read.
pub fn read_offline(
    folder: &Path,
    mut each: impl FnMut(Identity, Entry) -> Result<(), LedgerError>,
) -> Result<Identity, LedgerError> {
    let medium = medium::Medium::open(folder, false)?;
    let (identity, mut from) = (medium.identity(), 0);
    loop {
        let entries = medium.entries(from, AT_ONCE)?;
        let Some(last) = entries.last() else { return Ok(identity) };
        from = last.number + 1;
        entries.into_iter().try_for_each(|entry| each(identity, entry))?;
    }
}
