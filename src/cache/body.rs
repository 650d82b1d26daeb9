//! A body is a list of chunks named by their digest, any of which may be missing.
//!
//! Chunk *i* holds the bytes from *i* · [`CHUNK`]; only the last is shorter. The same bytes under another URL, tenant or
//! version are the same chunk and are held once.

use crate::cache::coded::Variants;
use bytes::Bytes;
use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

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

    /// The name that was written down as these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> ChunkId {
        ChunkId(bytes)
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
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

/// The length of a body, once it is known, and the names of its chunks, as far as they are known.
///
/// It names bytes and holds none: a chunk that is named may be in no tier.
#[derive(Debug)]
pub struct Body {
    identity: u128,
    length: OnceLock<u64>,
    named: Mutex<Vec<Option<ChunkId>>>,
    /// All names in order, once none is missing.
    whole: OnceLock<Box<[ChunkId]>>,
    /// It in other codings.
    pub(super) variants: OnceLock<Box<Variants>>,
}

impl Body {
    /// A body of this length, if it is known, of which no chunk is known.
    pub fn new(length: Option<u64>) -> Body {
        let body = Body::with(new_identity(), Vec::new());
        if let Some(length) = length {
            body.has_length(length);
        }
        body
    }

    /// A body all of whose chunks are known.
    pub fn of(length: u64, names: Vec<ChunkId>) -> Body {
        Body::known(new_identity(), length, names.into_iter().map(Some).collect())
    }

    /// The body that was written down with this identity: its length, and the names that were known.
    pub fn known(identity: u128, length: u64, names: Vec<Option<ChunkId>>) -> Body {
        let body = Body::with(identity, names);
        body.has_length(length);
        body
    }

    fn with(identity: u128, names: Vec<Option<ChunkId>>) -> Body {
        Body {
            identity,
            length: OnceLock::new(),
            named: Mutex::new(names),
            whole: OnceLock::new(),
            variants: OnceLock::new(),
        }
    }

    /// What tells it from every other body, of other processes and earlier runs too.
    pub fn identity(&self) -> u128 {
        self.identity
    }

    /// Bytes of the whole, if that is known.
    pub fn length(&self) -> Option<u64> {
        self.length.get().copied()
    }

    /// It is now known how long the body is. Tells whether that fits what was known.
    pub fn has_length(&self, length: u64) -> bool {
        let fits = *self.length.get_or_init(|| length) == length;
        self.close(&self.named());
        fits
    }

    /// Chunk `index` has this name. Tells whether that fits what was known: bytes that do not are of another body.
    pub fn name(&self, index: usize, id: ChunkId) -> bool {
        let mut named = self.named();
        if named.len() <= index {
            named.resize(index + 1, None);
        }
        let fits = *named[index].get_or_insert(id) == id;
        self.close(&named);
        fits
    }

    /// The name of chunk `index`, if it is known.
    pub fn id(&self, index: usize) -> Option<ChunkId> {
        match self.whole() {
            Some(names) => names.get(index).copied(),
            None => self.named().get(index).copied().flatten(),
        }
    }

    /// What `ask` says of the names in order, of which the last may not be known yet. They are locked meanwhile.
    pub(super) fn with_names<T>(&self, ask: impl FnOnce(&[Option<ChunkId>]) -> T) -> T {
        ask(&self.named())
    }

    /// The names of all chunks, if none is missing. Takes no lock.
    pub fn whole(&self) -> Option<&[ChunkId]> {
        self.whole.get().map(|names| &**names)
    }

    /// Whether the names of all chunks that hold the bytes `first..=last` are known.
    pub fn knows(&self, first: u64, last: u64) -> bool {
        self.whole().is_some() || {
            let named = self.named();
            chunks_of(first, last).all(|index| matches!(named.get(index), Some(Some(_))))
        }
    }

    /// The names that are known, in order.
    pub fn names(&self) -> Vec<ChunkId> {
        self.named().iter().copied().flatten().collect()
    }

    /// Whether no chunk is known.
    pub fn is_unknown(&self) -> bool {
        self.whole().is_none() && self.named().iter().all(Option::is_none)
    }

    /// How many chunks a body of this length has.
    pub fn count(length: u64) -> usize {
        length.div_ceil(CHUNK as u64) as usize
    }

    fn named(&self) -> MutexGuard<'_, Vec<Option<ChunkId>>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, named: &[Option<ChunkId>]) {
        let Some(length) = self.length() else { return };
        if named.len() == Body::count(length)
            && self.whole.get().is_none()
            && let Some(all) = named.iter().copied().collect::<Option<Vec<_>>>()
        {
            // Another thread can only have found the same names.
            _ = self.whole.set(all.into());
        }
    }
}

impl Default for Body {
    /// A body of which nothing is known.
    fn default() -> Body {
        Body::new(None)
    }
}

/// 64 random bits of this process, and a number: bodies are loaded again by other processes.
fn new_identity() -> u128 {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    u128::from(*PROCESS) << 64 | u128::from(NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The chunks that hold the bytes `first..=last` of a body, as indices.
pub(super) fn chunks_of(first: u64, last: u64) -> std::ops::RangeInclusive<usize> {
    (first / CHUNK as u64) as usize..=(last / CHUNK as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::{Body, CHUNK, ChunkId, chunks_of};

    #[test]
    fn a_body_is_whole_when_every_chunk_of_its_length_is_named() {
        let (a, b, c) = (ChunkId::of(b"a"), ChunkId::of(b"b"), ChunkId::of(b"c"));
        let body = Body::new(None);
        assert!(body.is_unknown() && body.whole().is_none());
        assert!(body.name(2, c) && body.name(0, a));
        assert_eq!((body.id(0), body.id(1), body.id(2), body.id(3)), (Some(a), None, Some(c), None));
        assert!(body.has_length(2 * CHUNK as u64 + 1) && body.whole().is_none());
        assert!(
            body.knows(0, 9)
                && !body.knows(0, CHUNK as u64)
                && body.knows(2 * CHUNK as u64, 2 * CHUNK as u64)
        );
        assert!(body.name(1, b));
        assert_eq!(body.whole(), Some(&[a, b, c][..]));
        assert!(body.knows(0, 2 * CHUNK as u64), "all of it");
        assert!(body.name(1, b) && !body.name(1, c), "a chunk has one name");
        assert!(!body.has_length(1), "and the body one length");
        assert_eq!(Body::new(Some(0)).whole(), Some(&[][..]));
    }

    #[test]
    fn a_body_written_down_keeps_its_identity() {
        let (a, b) = (ChunkId::of(b"a"), ChunkId::of(b"b"));
        let (first, second) = (Body::new(None), Body::of(1, vec![a]));
        assert_ne!(first.identity(), second.identity());
        assert_eq!(first.identity() >> 64, second.identity() >> 64, "one process");
        let again = Body::known(second.identity(), CHUNK as u64 + 1, vec![None, Some(b)]);
        assert_eq!((again.identity(), again.length()), (second.identity(), Some(CHUNK as u64 + 1)));
        assert_eq!((again.id(0), again.whole()), (None, None));
        assert!(again.name(0, a));
        assert_eq!(again.whole(), Some(&[a, b][..]));
    }

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
