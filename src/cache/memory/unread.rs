//! What was not read since it was stored: it goes before anything else does, the oldest first.
//!
//! moka lets a newcomer in if it was asked for more often than what would go for it. Left to that alone, what came first
//! and is never read again stays for good, and all that comes later is refused in its favour. So what nobody reads
//! passes through memory in the order in which it comes. What was read is moka's, and no flood of newcomers washes it out.

use super::Name;
use crate::cache::{ChunkId, seen::Seen};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Bytes of memory for each chunk whose reads are told from those of others: fewer than most chunks have.
const BYTES_PER_CHUNK: u64 = 1 << 10;

pub(super) struct Unread {
    /// What came, the oldest first, and was not passed over yet. Of what is in here some was read, or went already.
    came: Mutex<VecDeque<Name>>,
    /// Chunks that were read since they came.
    read: Seen,
}

impl Unread {
    /// For a memory of so many bytes.
    pub(super) fn new(capacity: u64) -> Unread {
        Unread { came: Mutex::default(), read: Seen::new(capacity / BYTES_PER_CHUNK) }
    }

    /// It comes, and nobody has read it yet.
    pub(super) fn comes(&self, name: Name) {
        if let Name::Chunk(id) = &name {
            self.read.take(id.as_bytes());
        }
        self.came.lock().unwrap_or_else(PoisonError::into_inner).push_back(name);
    }

    /// The chunk was read.
    pub(super) fn is_read(&self, id: &ChunkId) {
        self.read.set(id.as_bytes());
    }

    /// Whether the chunk was read since it came.
    pub(super) fn was_read(&self, id: &ChunkId) -> bool {
        self.read.has(id.as_bytes())
    }

    /// What came first: it is passed over, and goes unless it was read.
    pub(super) fn oldest(&self) -> Option<Name> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
