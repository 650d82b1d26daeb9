//! The chain: each record's digest is over the one before it, so no record can be altered, left out or put in.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

/// Who a ledger is: 128 random bits, made with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(pub [u8; 16]);

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Its digest does not follow from the record before it.
    Altered,
    /// Another number stands in its place.
    Missing,
    /// Shorter than a record can be.
    Torn,
    /// Written in a form, or of a kind, that this version does not know.
    Unknown,
}

/// Digest of a record: BLAKE3, 32 bytes.
pub(super) type Digest = [u8; 32];

/// Keeps these digests apart from every other use of BLAKE3.
const CONTEXT: &str = "lectern 2026 ledger chain 1";

/// The end of the chain so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) identity: Identity,
    pub(super) number: u64,
    pub(super) digest: Digest,
}

impl Chain {
    /// Before the first record.
    pub(super) const fn new(identity: Identity) -> Chain {
        Chain { identity, number: 0, digest: [0; 32] }
    }

    /// The chain with one more record.
    pub(super) fn with(&self, record: &[u8]) -> Chain {
        let number = self.number + 1;
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&self.digest);
        hasher.update(&number.to_le_bytes());
        hasher.update(&self.identity.0);
        hasher.update(record);
        Chain { identity: self.identity, number, digest: *hasher.finalize().as_bytes() }
    }

    /// Its digest in hexadecimal digits.
    pub(super) fn digest_text(&self) -> String {
        digest_text(&self.digest)
    }

    /// The chain with the next record as read from the medium, if it is the one that was written there.
    ///
    /// # Errors
    /// The flaw, with the number of the record that should stand there.
    pub(super) fn follow(&self, number: u64, digest: &Digest, record: &[u8]) -> Result<Chain, (u64, Flaw)> {
        let next = self.with(record);
        if number != next.number {
            return Err((next.number, Flaw::Missing));
        }
        if *digest != next.digest {
            return Err((number, Flaw::Altered));
        }
        Ok(next)
    }
}

/// A digest in hexadecimal digits.
pub(super) fn digest_text(digest: &Digest) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoIdentity;

impl FromStr for Identity {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Identity, NoIdentity> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoIdentity);
        }
        let bits = u128::from_str_radix(text, 16).map_err(|_| NoIdentity)?;
        Ok(Identity(bits.to_be_bytes()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::Altered => "was altered: its digest does not follow from the record before it",
            Flaw::Missing => "is missing: another number stands in its place",
            Flaw::Torn => "is torn: it is shorter than a record can be",
            Flaw::Unknown => "is of a form or kind that this version of Lectern does not know",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Chain, Flaw, Identity};

    #[test]
    fn a_digest_depends_on_all_that_came_before() {
        let start = Chain::new(Identity([7; 16]));
        let (a, b) = (start.with(b"a"), start.with(b"b"));
        assert_ne!(a.digest, b.digest, "the record");
        assert_ne!(a.with(b"c").digest, b.with(b"c").digest, "the record before");
        assert_ne!(a.digest, Chain::new(Identity([8; 16])).with(b"a").digest, "the identity");
        assert_ne!(a.digest, Chain { number: 1, ..start }.with(b"a").digest, "the number");
    }

    #[test]
    fn only_the_record_that_was_written_follows() {
        let start = Chain::new(Identity([7; 16]));
        let first = start.with(b"a");
        assert_eq!(start.follow(1, &first.digest, b"a"), Ok(first));
        assert_eq!(start.follow(1, &first.digest, b"A"), Err((1, Flaw::Altered)));
        assert_eq!(start.follow(2, &first.digest, b"a"), Err((1, Flaw::Missing)));
    }
}
