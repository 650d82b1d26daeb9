//! The cache key: what makes two requests the same to the origin.
//!
//! Built from what the origin is asked (scope, scheme, host, normalised path and query), never from a client's other
//! fields. Parts are length-prefixed, so no part can be written so that it reads as another; the whole key is compared,
//! not only its hash (G25).

use crate::{cache::Effort, http_caching::Coding, ledger::Release};
use bytes::Bytes;
use std::{borrow::Borrow, fmt};

/// A cache key. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(Bytes);

/// The parts of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyParts<'a> {
    /// Scope: the name of the site, or of the group of sites that share stored responses.
    pub scope: &'a str,
    /// Whether the client came by `https`.
    pub https: bool,
    /// The rule asks each client for permission: what is stored so is never found without.
    pub guarded: bool,
    /// The `Host` the origin is asked with; empty where it is the same for all of the scope.
    pub host: &'a str,
    /// Normalised path.
    pub path: &'a str,
    /// Query as sent to the origin; an empty one differs from none.
    pub query: Option<&'a str>,
}

const HTTPS: u8 = 1;
const QUERY: u8 = 2;
const GUARDED: u8 = 4;
/// It names a cache group, not a URL.
const GROUP: u8 = 8;
/// It names a coded variant of what is stored for a URL.
const CODED: u8 = 16;
/// Module and manifest stand behind the other parts.
const RELEASED: u8 = 32;

impl KeyParts<'_> {
    /// The key of these parts.
    pub fn key(&self) -> Key {
        let flag = |set, flag| if set { flag } else { 0 };
        let flags = flag(self.https, HTTPS) | flag(self.query.is_some(), QUERY) | flag(self.guarded, GUARDED);
        Key::of(flags, [self.scope, self.host, self.path, self.query.unwrap_or("")])
    }
}

impl Key {
    fn of(flags: u8, parts: [&str; 4]) -> Key {
        let mut key = Vec::with_capacity(17 + parts.iter().map(|part| part.len()).sum::<usize>());
        key.push(flags);
        for part in parts {
            // A request head is bounded far below 4 GiB.
            key.extend_from_slice(&(part.len() as u32).to_le_bytes());
            key.extend_from_slice(part.as_bytes());
        }
        Key(Bytes::from(key))
    }

    /// The key of a cache group (RFC 9875) of the same scope, scheme and host. Nothing is stored under it.
    pub fn group(&self, name: &str) -> Key {
        let parts = self.parts();
        let (scope, host, https) =
            parts.map_or(("", "", false), |parts| (parts.scope, parts.host, parts.https));
        Key::of(GROUP | if https { HTTPS } else { 0 }, [scope, host, name, ""])
    }

    /// Whether it names a cache group.
    pub fn is_group(&self) -> bool {
        self.0.first().is_some_and(|flags| flags & GROUP != 0)
    }

    /// The key under which a coded variant of a body is, that is stored under this key. It names the body, for a variant belongs
    /// to that and not to the URL.
    pub fn coded(&self, source: u128, coding: Coding, effort: Effort) -> Key {
        let flags = CODED | self.0.first().map_or(0, |flags| flags & (HTTPS | GUARDED));
        let parts = self.parts();
        let (scope, host, path) = parts.map_or(("", "", ""), |parts| (parts.scope, parts.host, parts.path));
        Key::of(flags, [scope, host, path, &format!("{source:032x} {} {}", coding.as_str(), effort.as_str())])
    }

    /// The key of the same in a release of its module.
    #[must_use]
    pub fn of_release(&self, release: &Release) -> Key {
        let flags = self.0.first().map_or(0, |flags| flags | RELEASED);
        let (module, id) = (release.module.as_bytes(), &release.manifest.0);
        let mut key = Vec::with_capacity(self.0.len() + 8 + module.len() + id.len());
        key.push(flags);
        key.extend_from_slice(self.0.get(1..).unwrap_or_default());
        for part in [module, id] {
            key.extend_from_slice(&(part.len() as u32).to_le_bytes());
            key.extend_from_slice(part);
        }
        Key(Bytes::from(key))
    }

    /// Whether it names a coded variant.
    pub fn is_coded(&self) -> bool {
        self.0.first().is_some_and(|flags| flags & CODED != 0)
    }

    /// Bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its BLAKE3 digest: what it is found by on disk.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }

    /// The parts it was made from. `None` cannot be: a key is only made from parts.
    pub fn parts(&self) -> Option<KeyParts<'_>> {
        let (&flags, mut rest) = self.0.split_first()?;
        let mut next = || {
            let (length, after) = rest.split_first_chunk()?;
            let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            std::str::from_utf8(part).ok()
        };
        let (scope, host, path, query) = (next()?, next()?, next()?, next()?);
        Some(KeyParts {
            scope,
            https: flags & HTTPS != 0,
            guarded: flags & GUARDED != 0,
            host,
            path,
            query: (flags & QUERY != 0).then_some(query),
        })
    }
}

/// The key that another process of this node, or the disk, has given by its bytes.
impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Key {
        Key(Bytes::from(bytes))
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::KeyParts;
    use crate::{cache::Effort, http_caching::Coding};

    #[test]
    fn no_part_can_be_written_as_another() {
        let base =
            KeyParts { scope: "a", https: true, guarded: false, host: "h", path: "/b/x", query: Some("q") };
        let others = [
            KeyParts { scope: "a/b", path: "/x", ..base },
            KeyParts { host: "h/b", path: "/x", ..base },
            KeyParts { https: false, ..base },
            KeyParts { guarded: true, ..base },
            KeyParts { path: "/b/x?q", query: None, ..base },
            KeyParts { path: "/b/xq", query: Some(""), ..base },
            KeyParts { scope: "", host: "ah", ..base },
        ];
        for (i, a) in others.iter().enumerate() {
            assert_ne!(a.key(), base.key(), "{a:?}");
            assert_eq!(a.key().parts(), Some(*a), "a key says what it was made from");
            for b in &others[i + 1..] {
                assert_ne!(a.key(), b.key(), "{a:?} {b:?}");
            }
        }
        assert_ne!(
            KeyParts { query: None, ..base }.key(),
            KeyParts { query: Some(""), ..base }.key(),
            "an empty query is not none"
        );
    }

    #[test]
    fn a_variant_is_of_one_body_coding_and_effort() {
        let base =
            KeyParts { scope: "a", https: true, guarded: true, host: "h", path: "/b", query: Some("q") };
        let key = base.key();
        let keys = [
            key.clone(),
            key.coded(1, Coding::Brotli, Effort::Fast),
            key.coded(2, Coding::Brotli, Effort::Fast),
            key.coded(1, Coding::Gzip, Effort::Fast),
            key.coded(1, Coding::Brotli, Effort::Best),
            KeyParts { scope: "b", ..base }.key().coded(1, Coding::Brotli, Effort::Fast),
            KeyParts { guarded: false, ..base }.key().coded(1, Coding::Brotli, Effort::Fast),
            KeyParts { query: Some("00000000000000000000000000000001 br fast"), ..base }.key(),
        ];
        for (i, one) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|other| other != one), "{one:?}");
        }
        let parts = keys[1].parts().map(|parts| (parts.scope, parts.https, parts.guarded, parts.path));
        assert_eq!(parts, Some(("a", true, true, "/b")), "it counts for its site");
    }

    #[test]
    fn a_group_is_of_one_origin_and_no_url() {
        let base =
            KeyParts { scope: "a", https: true, guarded: false, host: "h", path: "/b", query: Some("q") };
        let group = base.key().group("/b");
        assert!(group.is_group() && !base.key().is_group());
        assert_eq!(KeyParts { path: "/other", query: None, ..base }.key().group("/b"), group);
        for other in [
            KeyParts { scope: "b", ..base },
            KeyParts { host: "i", ..base },
            KeyParts { https: false, ..base },
        ] {
            assert_ne!(other.key().group("/b"), group, "{other:?}");
        }
        assert_ne!(KeyParts { query: None, ..base }.key(), group);
        assert_eq!(
            KeyParts { guarded: true, ..base }.key().group("/b"),
            group,
            "it is of the origin, whoever may see it"
        );
    }
}
