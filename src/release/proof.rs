//! The skew guard's question: is this answer the file of the release that was asked for?

use super::digest::{Digests, Hasher};
use crate::rules::{Said, VersionRule};
use http::{HeaderMap, HeaderName, StatusCode, header};
use sfv::{ListEntry, Parser};

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// What proves an answer to be one file of one release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// What its bytes hash to.
    pub digests: Digests,
    /// Where an answer says of which version it is.
    pub version: Option<VersionRule>,
    /// The release, as that field has it.
    pub release: Box<str>,
}

/// What the head of an answer proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHead {
    /// It is the file.
    Fits,
    /// It is of another release.
    Other,
    /// Nothing.
    Nothing,
}

impl Proof {
    /// What the head of an answer proves. An answer without the file is none of the release; a coded one hashes to something else.
    pub fn by_head(&self, status: StatusCode, headers: &HeaderMap) -> ByHead {
        let said = self.version.as_ref().map(|version| version.said(headers, Some(&self.release)));
        if said == Some(Said::Other) || status != StatusCode::OK {
            return ByHead::Other;
        }
        if self.digests.is_none() {
            return if said == Some(Said::Same) { ByHead::Fits } else { ByHead::Nothing };
        }
        if headers.contains_key(header::CONTENT_ENCODING) {
            return ByHead::Other;
        }
        let told = |name| headers.get(name).map(|value: &http::HeaderValue| value.as_bytes());
        let tag = told(header::ETAG).map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag).trim_ascii());
        let tag = tag.and_then(|tag| tag.strip_prefix(b"\"")?.strip_suffix(b"\""));
        if said == Some(Said::Same)
            || tag.is_some_and(|tag| self.digests.are_told(tag))
            || told(REPR_DIGEST).is_some_and(|field| self.is_repr_digest(field))
        {
            return ByHead::Fits;
        }
        ByHead::Nothing
    }

    /// Whether `Repr-Digest` (RFC 9530) names the SHA-256.
    fn is_repr_digest(&self, field: &[u8]) -> bool {
        let Some(wanted) = &self.digests.sha256 else { return false };
        let parsed =
            Parser::parse_dictionary(field).ok().and_then(|digests| match digests.get("sha-256")? {
                ListEntry::Item(digest) => digest.bare_item.as_byte_seq().cloned(),
                ListEntry::InnerList(_) => None,
            });
        parsed.is_some_and(|digest| digest == *wanted)
    }

    /// Whether what stands stored under a key of the release is proven: by its digest nothing else is stored there, else by the field.
    pub fn proves(&self, headers: &HeaderMap) -> bool {
        let said = self.version.as_ref().map(|version| version.said(headers, Some(&self.release)));
        !self.digests.is_none() || said == Some(Said::Same)
    }

    /// Hashes the bytes that are to prove it, if there is something to go by.
    pub fn hashing(&self) -> Option<Hashing> {
        (!self.digests.is_none()).then(|| Hashing(Hasher::new(self.digests)))
    }
}

/// Bytes on their way, which are to be those of a file.
pub struct Hashing(Hasher);

impl Hashing {
    /// The next of them.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Whether they were the file's.
    pub fn fits(self) -> bool {
        self.0.fits()
    }
}

#[cfg(test)]
mod tests {
    use super::{ByHead, Digests, Proof};
    use crate::{release::digest::from_hex, rules::VersionRule};
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn proof(digest: bool, field: bool) -> Proof {
        let version = VersionRule { url: None, field: Some(HeaderName::from_static("x-version")) };
        Proof {
            digests: Digests { sha256: from_hex(SHA256).filter(|_| digest), sha1: None },
            version: field.then_some(version),
            release: "2".into(),
        }
    }

    #[test]
    fn the_head_proves_by_version_tag_or_digest() {
        let tag = format!("\"{SHA256}\"");
        let (digest, both, field) = (proof(true, false), proof(true, true), proof(false, true));
        for (proof, status, name, value, proves) in [
            (&digest, 200, "etag", tag.as_str(), ByHead::Fits),
            (&digest, 200, "etag", "\"1\"", ByHead::Nothing),
            (&digest, 404, "etag", &tag, ByHead::Other),
            (
                &digest,
                200,
                "repr-digest",
                "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:",
                ByHead::Fits,
            ),
            (&digest, 200, "repr-digest", "sha-256=:AAAA:", ByHead::Nothing),
            (&digest, 200, "content-encoding", "gzip", ByHead::Other),
            (&both, 200, "x-version", "2", ByHead::Fits),
            (&both, 200, "x-version", "1", ByHead::Other),
            (&field, 200, "x-version", "2", ByHead::Fits),
            (&field, 200, "x-version", "1", ByHead::Other),
            (&field, 200, "etag", &tag, ByHead::Nothing),
            (&Proof::default(), 200, "etag", &tag, ByHead::Nothing),
        ] {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )]);
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(proof.by_head(status, &headers), proves, "{name}: {value} {proof:?}");
        }
    }
}
