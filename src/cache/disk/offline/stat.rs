//! What is in a folder.

use super::{OfflineError, OfflineFolder, clear::contents};
use crate::cache::{
    Body, CHUNK, ChunkId, StoredResponse,
    disk::{DiskError, segment::SEGMENTS},
};
use std::{fs, path::PathBuf, time::SystemTime};

/// What is in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderStat {
    /// Where it is.
    pub folder: PathBuf,
    /// Bytes of segment files.
    pub segment_bytes: u64,
    /// Bytes of the index's files.
    pub index_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of them.
    pub chunk_bytes: u64,
    /// Stored responses.
    pub responses: u64,
    /// Bytes of the chunks that responses name, counted each time that one is named.
    pub named_bytes: u64,
    /// When the response that has been there longest was received.
    pub oldest: Option<SystemTime>,
    /// When the youngest was.
    pub newest: Option<SystemTime>,
}

impl OfflineFolder {
    /// Counts what is in the folder. Reads all heads, and no chunk.
    ///
    /// # Errors
    /// It is of another format or user, or its index cannot be read.
    pub fn stat(&self) -> Result<FolderStat, OfflineError> {
        let index = self.index()?;
        let files = contents(&self.path.join(SEGMENTS))?;
        let counts = index.counts();
        let mut stat = FolderStat {
            folder: self.path.clone(),
            segment_bytes: 0,
            index_bytes: index.bytes(),
            segments: files.len() as u64,
            chunks: counts.chunks,
            chunk_bytes: counts.chunk_bytes,
            responses: 0,
            named_bytes: 0,
            oldest: None,
            newest: None,
        };
        for file in files {
            stat.segment_bytes += fs::metadata(&file).map_err(OfflineError::io(&file))?.len();
        }
        let mut failed = Ok(());
        let counted = index.each_slot(|_, slot| {
            match slot {
                Ok(slot) => slot.responses().iter().for_each(|response| stat.add(response)),
                // For `verify` to find.
                Err(DiskError::Damaged(_)) => {}
                Err(other) => failed = Err(other),
            }
            failed.is_ok()
        });
        counted.and(failed).and_then(|()| index.close()).map_err(self.failed())?;
        Ok(stat)
    }
}

impl FolderStat {
    fn add(&mut self, response: &StoredResponse) {
        let received = response.freshness.received;
        self.responses += 1;
        self.named_bytes += named(response).map(|(_, bytes)| bytes).sum::<u64>();
        self.oldest = Some(self.oldest.map_or(received, |oldest| oldest.min(received)));
        self.newest = self.newest.max(Some(received));
    }
}

/// The chunks of a response that have a name, with their lengths.
pub(super) fn named(response: &StoredResponse) -> impl Iterator<Item = (ChunkId, u64)> {
    let chunk = CHUNK as u64;
    (0..Body::count(response.length)).filter_map(move |index| {
        Some((response.body.id(index)?, chunk.min(response.length - index as u64 * chunk)))
    })
}
