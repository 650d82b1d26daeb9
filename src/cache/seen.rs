//! Which digests were read since they were last looked at: what was gets a second chance.
//!
//! One bit for several digests, in memory only: a wrong one keeps something a little longer.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits at least and at most: 2 MiB.
const BITS: (u64, u64) = (1 << 12, 1 << 24);

pub(super) struct Seen(Box<[AtomicU64]>);

impl Seen {
    /// For so many digests.
    pub(super) fn new(digests: u64) -> Seen {
        let bits = digests.saturating_mul(2).clamp(BITS.0, BITS.1);
        Seen((0..bits.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// What has this digest was read.
    pub(super) fn set(&self, digest: &[u8; 32]) {
        let (word, bit) = self.place(digest);
        // Most are set already: a read does not take the line from other cores.
        if self.0[word].load(Ordering::Relaxed) & bit == 0 {
            self.0[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether it was read since the last time it was taken.
    pub(super) fn has(&self, digest: &[u8; 32]) -> bool {
        let (word, bit) = self.place(digest);
        self.0[word].load(Ordering::Relaxed) & bit != 0
    }

    /// As [`Seen::has`]; from here on it was not.
    pub(super) fn take(&self, digest: &[u8; 32]) -> bool {
        let (word, bit) = self.place(digest);
        self.0[word].fetch_and(!bit, Ordering::Relaxed) & bit != 0
    }

    fn place(&self, digest: &[u8; 32]) -> (usize, u64) {
        let [a, b, c, d, e, f, g, h, ..] = *digest;
        let at = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        ((at / 64 % self.0.len() as u64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn what_was_read_gets_one_more_chance() {
        let digest = |n: u64| *blake3::hash(&n.to_le_bytes()).as_bytes();
        let seen = Seen::new(100);
        seen.set(&digest(1));
        assert!(seen.has(&digest(1)) && seen.take(&digest(1)));
        assert!(!seen.has(&digest(1)) && !seen.take(&digest(1)));
        let wrong = (100..600).filter(|n| {
            seen.set(&digest(1));
            seen.take(&digest(*n))
        });
        assert!(wrong.count() < 5);
    }
}
