//! Which digests may be in a folder: keys of stored responses, and chunks. No is certain, and answered without a read.
//!
//! A Bloom filter of ten bits for each digest: of a hundred that are absent less than one seems to be there. What is in it
//! is a digest already, so its bits are taken from it as they are, and the form on disk hangs on no library's hash.
//! Nothing is ever taken out: when more was added than it was made for, a new one is filled beside it
//! ([`Filter::renew`]). While nothing is known, everything may be there.

use super::DiskError;
use arc_swap::ArcSwap;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Bits each digest sets.
const PROBES: u64 = 7;
/// Bits there are for each digest.
const BITS: u64 = 10;
/// Digests the smallest is made for.
const FEWEST: u64 = 1 << 16;

const MAGIC: &[u8; 16] = b"lectern-filter 1";
/// Magic, number of the last batch, digests it was made for, digests added.
const HEADER: usize = 16 + 8 + 8 + 8;
/// BLAKE3 of all that stands before.
const CHECK: usize = 32;

/// Which digests may be in a folder.
#[derive(Debug)]
pub struct Filter {
    states: ArcSwap<State>,
    /// Held by who fills a new one.
    renewing: Mutex<()>,
}

/// `next` is being filled: what is added meanwhile goes into both.
#[derive(Debug, Default)]
struct State {
    now: Option<Arc<Bits>>,
    next: Option<Arc<Bits>>,
}

#[derive(Debug)]
struct Bits {
    words: Box<[AtomicU64]>,
    made_for: u64,
    added: AtomicU64,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter { states: ArcSwap::default(), renewing: Mutex::new(()) }
    }
}

impl Filter {
    /// Whether `digest` may be there; no is certain.
    pub fn may_have(&self, digest: &[u8; 32]) -> bool {
        self.states.load().now.as_ref().is_none_or(|bits| bits.may_have(digest))
    }

    /// From now on `digest` may be there. To be called before it is.
    pub fn add(&self, digest: &[u8; 32]) {
        let state = self.states.load();
        for bits in state.now.iter().chain(&state.next) {
            bits.add(digest);
        }
    }

    /// Whether it should be filled anew: nothing is known, or more was added than it was made for.
    pub fn is_spent(&self) -> bool {
        self.states.load().now.as_ref().is_none_or(|bits| bits.is_spent())
    }

    /// Fills a new one for `expected` digests and twice as many again. `fill` is called once what is added goes into the
    /// new one too, and gives all that is there already; if it fails, things stay as they are.
    pub(super) fn renew(
        &self,
        expected: u64,
        fill: impl FnOnce(&mut dyn FnMut(&[u8; 32])) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let _only = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(Bits::new(expected.saturating_mul(2)));
        let now = self.states.load().now.clone();
        self.states.store(Arc::new(State { now, next: Some(next.clone()) }));
        let filled = fill(&mut |digest| next.add(digest));
        let state = self.states.load();
        // Otherwise another beginning was made meanwhile.
        if state.next.as_ref().is_some_and(|still| Arc::ptr_eq(still, &next)) {
            let now = if filled.is_ok() { Some(next) } else { state.now.clone() };
            self.states.store(Arc::new(State { now, next: None }));
        }
        filled
    }

    /// As it stands in a file, to be believed as long as `batch` is the last that was committed. Nothing if nothing is
    /// known.
    pub(super) fn to_bytes(&self, batch: u64) -> Option<Vec<u8>> {
        let bits = self.states.load().now.clone()?;
        let mut bytes = Vec::with_capacity(HEADER + bits.words.len() * 8 + CHECK);
        bytes.extend_from_slice(MAGIC);
        for number in [batch, bits.made_for, bits.added.load(Ordering::Relaxed)] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for word in &bits.words {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        Some(bytes)
    }

    /// Takes over what stands in a file. Tells whether it is whole and of `batch`; if not, nothing is known.
    pub(super) fn take(&self, bytes: &[u8], batch: u64) -> bool {
        let now = Bits::from_bytes(bytes, batch).map(Arc::new);
        let taken = now.is_some();
        self.states.store(Arc::new(State { now, next: None }));
        taken
    }
}

impl Bits {
    fn new(made_for: u64) -> Bits {
        let made_for = made_for.max(FEWEST);
        let words = (made_for * BITS).div_ceil(64);
        Bits { words: (0..words).map(|_| AtomicU64::new(0)).collect(), made_for, added: AtomicU64::new(0) }
    }

    fn from_bytes(bytes: &[u8], batch: u64) -> Option<Bits> {
        let (rest, check) = bytes.split_last_chunk::<CHECK>()?;
        let (header, words) = rest.split_first_chunk::<HEADER>()?;
        let (magic, numbers) = header.split_first_chunk::<16>()?;
        let (numbers, _) = numbers.as_chunks();
        let [of, made_for, added] = [0, 1, 2].map(|i| u64::from_le_bytes(numbers[i]));
        let (words, torn) = words.as_chunks();
        let sound = magic == MAGIC && of == batch && torn.is_empty() && !words.is_empty();
        if !sound || check != blake3::hash(rest).as_bytes() {
            return None;
        }
        let words = words.iter().map(|word| AtomicU64::new(u64::from_le_bytes(*word))).collect();
        Some(Bits { words, made_for, added: AtomicU64::new(added) })
    }

    fn is_spent(&self) -> bool {
        self.added.load(Ordering::Relaxed) > self.made_for
    }

    fn may_have(&self, digest: &[u8; 32]) -> bool {
        self.places(digest).all(|(word, bit)| self.words[word].load(Ordering::Acquire) & bit != 0)
    }

    fn add(&self, digest: &[u8; 32]) {
        let mut new = false;
        for (word, bit) in self.places(digest) {
            new |= self.words[word].fetch_or(bit, Ordering::AcqRel) & bit == 0;
        }
        if new {
            self.added.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Word and bit of each probe: two numbers out of the digest, the second added to the first again and again.
    fn places(&self, digest: &[u8; 32]) -> impl Iterator<Item = (usize, u64)> {
        let (numbers, _) = digest.as_chunks();
        let (start, step) = (u64::from_le_bytes(numbers[0]), u64::from_le_bytes(numbers[1]) | 1);
        let bits = self.words.len() as u128 * 64;
        (0..PROBES).map(move |i| {
            let probe = u128::from(start.wrapping_add(step.wrapping_mul(i)));
            let at = ((probe * bits) >> 64) as u64;
            ((at / 64) as usize, 1_u64 << (at % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{FEWEST, Filter};
    use crate::cache::disk::DiskError;

    fn digest(of: u64) -> [u8; 32] {
        *blake3::hash(&of.to_le_bytes()).as_bytes()
    }

    fn filled(with: std::ops::Range<u64>) -> Filter {
        let filter = Filter::default();
        let renewed = filter.renew(FEWEST, |add| {
            with.for_each(|i| add(&digest(i)));
            Ok(())
        });
        renewed.unwrap();
        filter
    }

    #[test]
    fn what_was_added_may_be_there_and_of_a_hundred_others_less_than_one() {
        let filter = filled(0..2 * FEWEST);
        assert!((0..2 * FEWEST).all(|i| filter.may_have(&digest(i))));
        let wrong = (1 << 40..(1 << 40) + 20_000).filter(|i| filter.may_have(&digest(*i))).count();
        assert!(wrong < 200, "{wrong} of 20000");
        assert!(!filter.is_spent());
        (0..2 * FEWEST).for_each(|i| filter.add(&digest(i)));
        assert!(!filter.is_spent(), "adding again fills nothing");
        (3 * FEWEST..4 * FEWEST).for_each(|i| filter.add(&digest(i)));
        assert!(filter.is_spent());
    }

    #[test]
    fn as_long_as_nothing_is_known_everything_may_be_there() {
        let filter = Filter::default();
        assert!(filter.may_have(&digest(1)) && filter.is_spent());
        let failed = filter.renew(1, |_| Err(DiskError::Closed));
        assert!(failed.is_err() && filter.may_have(&digest(1)), "half a filter is none");
        let renewed = filter.renew(1, |add| {
            filter.add(&digest(1));
            add(&digest(2));
            assert!(filter.may_have(&digest(3)));
            Ok(())
        });
        renewed.unwrap();
        assert!(filter.may_have(&digest(1)), "added while it was filled");
        assert!(filter.may_have(&digest(2)) && !filter.may_have(&digest(3)));
        let renewed = filter.renew(1, |_| {
            filter.take(b"", 0);
            Ok(())
        });
        renewed.unwrap();
        assert!(filter.may_have(&digest(3)), "what was filled is of another time");
    }

    #[test]
    fn a_file_is_believed_only_whole_and_of_the_last_batch() {
        let bytes = filled(0..100).to_bytes(7).unwrap();
        let filter = Filter::default();
        assert!(filter.take(&bytes, 7) && filter.may_have(&digest(99)) && !filter.may_have(&digest(100)));
        assert!(!filter.take(&bytes, 8) && filter.may_have(&digest(100)));
        for length in [0, 15, 40, 72, bytes.len() - 1] {
            assert!(!filter.take(&bytes[..length], 7), "{length}");
        }
        for at in (0..bytes.len()).step_by(997).chain([0, 16, 24, 32, bytes.len() - 1]) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(!filter.take(&bytes, 7), "{at}");
        }
        assert!(Filter::default().to_bytes(0).is_none());
    }
}
