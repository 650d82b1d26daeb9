//! Where chunks were read lately: who wants one again need not ask the index, which may have to wait for the medium.
//!
//! A table of fixed size in which what comes takes the place of what came long ago. Nobody tells it what was moved or let go: bytes
//! that are read where it says are the chunk's by their digest, or are not taken.

use super::place::Place;
use crate::cache::ChunkId;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Chunks that share a bucket, by their digest.
const WAYS: usize = 4;
/// With so many buckets 65,536 chunks are known, in 2 MiB.
const BUCKETS: usize = 1 << 14;

pub(super) struct Recent(Box<[Mutex<Bucket>]>);

#[derive(Clone, Default)]
struct Bucket {
    /// The newest first. Part of a digest names a chunk well enough: see above.
    known: [Option<(u64, Place)>; WAYS],
}

impl Recent {
    pub(super) fn nothing() -> Recent {
        Recent((0..BUCKETS).map(|_| Mutex::default()).collect())
    }

    /// The chunk was read from `place`.
    pub(super) fn note(&self, id: &ChunkId, place: Place) {
        let (mut bucket, name) = self.bucket(id);
        let same = bucket.known.iter().position(|known| known.is_some_and(|(other, _)| other == name));
        // The others move on by one, up to where it stood or the oldest.
        bucket.known[..=same.unwrap_or(WAYS - 1)].rotate_right(1);
        bucket.known[0] = Some((name, place));
    }

    /// Where the chunk was when it was read last, if that is known.
    pub(super) fn place(&self, id: &ChunkId) -> Option<Place> {
        let (bucket, name) = self.bucket(id);
        bucket.known.iter().flatten().find(|(other, _)| *other == name).map(|(_, place)| *place)
    }

    fn bucket(&self, id: &ChunkId) -> (MutexGuard<'_, Bucket>, u64) {
        let [a, b, c, d, e, f, g, h, i, j, ..] = *id.as_bytes();
        let bucket = &self.0[usize::from(u16::from_le_bytes([i, j])) % BUCKETS];
        (bucket.lock().unwrap_or_else(PoisonError::into_inner), u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }
}

#[cfg(test)]
mod tests {
    use super::{Recent, WAYS};
    use crate::{cache::ChunkId, cache::disk::place::Place};

    /// All of one bucket.
    fn id(number: u8) -> ChunkId {
        let mut digest = [7; 32];
        digest[0] = number;
        ChunkId::from_bytes(digest)
    }

    fn place(offset: u32) -> Place {
        Place { segment: 1, offset, length: 10, ordinal: 0 }
    }

    #[test]
    fn the_last_places_are_known_and_each_chunk_has_one() {
        let recent = Recent::nothing();
        assert_eq!(recent.place(&id(1)), None);
        for (number, offset) in [(1, 10), (2, 20), (1, 11), (3, 30)] {
            recent.note(&id(number), place(offset));
        }
        assert_eq!([1, 2, 3].map(|number| recent.place(&id(number))), [11, 20, 30].map(|at| Some(place(at))));
        for number in 4..4 + WAYS as u8 - 1 {
            recent.note(&id(number), place(0));
        }
        assert_eq!(recent.place(&id(3)), Some(place(30)), "only older ones went");
        assert_eq!([1, 2].map(|number| recent.place(&id(number))), [None, None]);
    }
}
