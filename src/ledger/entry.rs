//! Records as they stand on the medium, for whoever audits: the chain can be computed from them without trusting who hands them out.

use super::{
    Flaw, Identity, Record,
    chain::{Chain, Digest, digest_text},
};

/// A record as it stands on the medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// Digest of the chain with this record in it.
    pub digest: Digest,
    /// The record, JSON, byte by byte what the digest is over.
    pub text: String,
}

impl Entry {
    /// The digest in hexadecimal digits.
    pub fn digest_text(&self) -> String {
        digest_text(&self.digest)
    }

    /// Reads [`Entry::digest_text`].
    pub fn digest_of(text: &str) -> Option<Digest> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(digest)
    }
}

/// Follows a chain from its first record.
pub struct Verifier(Chain);

impl Verifier {
    /// Before the first record of this ledger.
    pub fn new(identity: Identity) -> Verifier {
        Verifier(Chain::new(identity))
    }

    /// Records that were right so far.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Takes in the next record, and reads it.
    ///
    /// # Errors
    /// The flaw, with the number of the record that should stand there.
    pub fn follow(&mut self, entry: &Entry) -> Result<Record, (u64, Flaw)> {
        self.0 = self.0.follow(entry.number, &entry.digest, entry.text.as_bytes())?;
        Record::decode(entry.text.as_bytes()).map_err(|_| (entry.number, Flaw::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::Entry;

    #[test]
    fn a_digest_comes_back_from_its_text() {
        let mut digest = [0; 32];
        digest.iter_mut().zip(7..).for_each(|(byte, value)| *byte = value);
        let entry = Entry { number: 1, digest, text: String::new() };
        assert!(entry.digest_text().starts_with("0708090a"));
        assert_eq!(Entry::digest_of(&entry.digest_text()), Some(digest));
        for wrong in ["", "07", &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(Entry::digest_of(wrong), None, "{wrong}");
        }
    }
}
