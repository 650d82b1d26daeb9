//! When a snapshot is taken: each time that so many records have come, by a thread of its own, beside whoever writes and reads.

use super::{
    chain::Chain,
    keys::Keys,
    projection::Projection,
    snapshot::{self, Snapshot},
};
use crate::clock;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

pub(super) struct Snapshots {
    folder: PathBuf,
    every: u64,
    /// End of the last one.
    last: u64,
    thread: Option<JoinHandle<()>>,
}

impl Snapshots {
    /// Of a folder, one for each so many records, where the last one ends at this record.
    pub(super) fn new(folder: &Path, every: u64, last: u64) -> Snapshots {
        Snapshots { folder: folder.into(), every, last, thread: None }
    }

    /// Begins one if it is time for it, of what has taken in everything up to the end of this chain.
    pub(super) fn take_if_due(&mut self, chain: Chain, projection: &Arc<Projection>, keys: &Keys) {
        let under_way = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        if chain.number - self.last < self.every || under_way {
            return;
        }
        let (folder, projection, keys) = (self.folder.clone(), projection.clone(), keys.clone());
        let take = move || take(&folder, &chain, &projection, &keys);
        match thread::Builder::new().name("ledger-snapshot".into()).spawn(take) {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => tracing::warn!("no thread can be had for a snapshot of the ledger: {error}"),
        }
        // One that fails is not tried again at once: a start reads some more records.
        self.last = chain.number;
    }

    /// Waits for the one under way: the folder is given up next.
    pub(super) fn finish(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the ledger's snapshot had panicked");
        }
    }
}

fn take(folder: &Path, chain: &Chain, projection: &Projection, keys: &Keys) {
    let (began, number) = (clock::instant(), chain.number);
    match snapshot::write(folder, chain, projection, keys) {
        Ok(bytes) => {
            let took = clock::instant() - began;
            tracing::info!(number, bytes, ?took, "a snapshot of the ledger's projection was taken");
        }
        Err(error) => tracing::warn!(
            number,
            "no snapshot of the ledger's projection can be taken, so the next start reads more records: {error}"
        ),
    }
}

/// The snapshot of a folder, if it can be used: what cannot is told, and costs a start the reading of all records.
pub(super) fn usable(folder: &Path, url_entries: usize, stands: impl Fn(&Chain) -> bool) -> Option<Snapshot> {
    match snapshot::read(folder, url_entries) {
        Ok(Some(snapshot)) if stands(&snapshot.chain) => return Some(snapshot),
        Ok(Some(Snapshot { chain, .. })) => tracing::warn!(
            number = chain.number,
            "the snapshot of the ledger's projection ends at a record that does not stand in this ledger: all records are read"
        ),
        Ok(None) => {}
        Err(error) => tracing::warn!(
            "the snapshot of the ledger's projection cannot be used, so all records are read: {error}"
        ),
    }
    None
}
