//! Digests of files, as manifests name them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use sha1::Digest as _;
use std::fmt::Write;

/// What a file's bytes hash to, as far as its manifest says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digests {
    /// SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub sha256: Option<[u8; 32]>,
    /// SHA-1: names files, and keeps nobody out.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub sha1: Option<[u8; 20]>,
}

impl Digests {
    /// Whether nothing is known.
    pub fn is_none(&self) -> bool {
        self.sha256.is_none() && self.sha1.is_none()
    }

    /// Whether `text` is one of them, in hexadecimal digits.
    pub(super) fn are_told(&self, text: &[u8]) -> bool {
        let is = |bytes: &[u8]| from_hex_to(text).is_some_and(|told| told == bytes);
        self.sha256.is_some_and(|digest| is(&digest)) || self.sha1.is_some_and(|digest| is(&digest))
    }
}

/// Hashes bytes that are to have certain digests.
pub(super) struct Hasher {
    wanted: Digests,
    sha256: sha2::Sha256,
    sha1: sha1::Sha1,
}

impl Hasher {
    pub(super) fn new(wanted: Digests) -> Hasher {
        Hasher { wanted, sha256: Default::default(), sha1: Default::default() }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        if self.wanted.sha256.is_some() {
            sha2::Digest::update(&mut self.sha256, bytes);
        }
        if self.wanted.sha1.is_some() {
            self.sha1.update(bytes);
        }
    }

    /// Whether they have them.
    pub(super) fn fits(self) -> bool {
        let sha256: [u8; 32] = sha2::Digest::finalize(self.sha256).into();
        let sha1: [u8; 20] = self.sha1.finalize().into();
        self.wanted.sha256.is_none_or(|wanted| wanted == sha256)
            && self.wanted.sha1.is_none_or(|wanted| wanted == sha1)
    }
}

/// Bytes from hexadecimal digits; `None` if it is something else.
pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    from_hex_to(text.as_bytes())?.try_into().ok()
}

fn from_hex_to(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.chunks(2).map(|pair| match pair {
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    });
    pairs.collect()
}

mod hex {
    use super::{Deserialize, Deserializer, Error, Serializer, Write, from_hex};

    pub(super) fn serialize<S: Serializer, const N: usize>(
        digest: &Option<[u8; N]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(2 * N);
        for byte in digest.iter().flatten() {
            // a text takes all
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<Option<[u8; N]>, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format_args!("`{text}` is not {} hexadecimal digits", 2 * N)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Digests, Hasher, from_hex};

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const ABC1: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

    #[test]
    fn all_digests_that_are_named_must_fit() {
        let (sha256, sha1) = (from_hex(ABC), from_hex(ABC1));
        for (wanted, fits) in [
            (Digests { sha256, sha1 }, true),
            (Digests { sha256, sha1: None }, true),
            (Digests { sha256: None, sha1 }, true),
            (Digests { sha256: Some([0; 32]), sha1 }, false),
            (Digests { sha256, sha1: Some([0; 20]) }, false),
        ] {
            let mut hasher = Hasher::new(wanted);
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.fits(), fits, "{wanted:?}");
        }
        let both = Digests { sha256, sha1 };
        assert!(both.are_told(ABC.as_bytes()) && both.are_told(ABC1.to_uppercase().as_bytes()));
        assert!(!both.are_told(b"") && !both.are_told(&ABC.as_bytes()[..40]));
    }

    #[test]
    fn digests_are_written_as_hexadecimal_digits() {
        let digests = Digests { sha256: from_hex(ABC), sha1: None };
        let text = serde_json::to_string(&digests).unwrap();
        assert_eq!(text, format!("{{\"sha256\":\"{ABC}\"}}"));
        assert_eq!(serde_json::from_str::<Digests>(&text).unwrap(), digests);
        for wrong in [&ABC[1..], &ABC.replace('b', "g"), "é"] {
            assert!(
                serde_json::from_str::<Digests>(&format!("{{\"sha256\":\"{wrong}\"}}")).is_err(),
                "{wrong}"
            );
        }
    }
}
