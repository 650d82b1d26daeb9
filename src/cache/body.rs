//! A body is a list of chunks named by their digest.
//!
//! Chunk *i* holds the bytes from *i* · [`CHUNK`]; only the last is shorter. The same bytes under another URL, tenant or
//! version are the same chunk and are held once.

use bytes::Bytes;

/// Bytes of a chunk.
pub const CHUNK: usize = 256 << 10;

/// The name of a chunk: the BLAKE3 digest of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkId([u8; 32]);

impl ChunkId {
    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> ChunkId {
        ChunkId(*blake3::hash(bytes).as_bytes())
    }
}

/// A sealed chunk: its name and its bytes.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Name.
    pub id: ChunkId,
    /// Bytes, at most [`CHUNK`] of them.
    pub bytes: Bytes,
}

impl Chunk {
    /// Seals these bytes.
    pub fn seal(bytes: Bytes) -> Chunk {
        debug_assert!(!bytes.is_empty() && bytes.len() <= CHUNK);
        Chunk { id: ChunkId::of(&bytes), bytes }
    }
}

/// The chunks that hold the bytes `first..=last` of a body, as indices.
pub(super) fn chunks_of(first: u64, last: u64) -> std::ops::RangeInclusive<usize> {
    (first / CHUNK as u64) as usize..=(last / CHUNK as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, chunks_of};

    #[test]
    fn a_range_needs_exactly_the_chunks_that_hold_its_bytes() {
        let c = CHUNK as u64;
        for (first, last, chunks) in
            [(0, 0, 0..=0), (0, c - 1, 0..=0), (0, c, 0..=1), (c, c, 1..=1), (c - 1, 2 * c, 0..=2)]
        {
            assert_eq!(chunks_of(first, last), chunks, "{first}-{last}");
        }
    }
}
