//! The file of keys: a JWK Set (RFC 7517). All keys in it check; the first one that can signs.
//!
//! Rotation: put the new key first, reload, and take the old one out once nothing that it signed is valid any more.

use crate::rules::SigningKey;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use std::fmt;

/// Fewest bytes of a secret: as many as the digest has (RFC 7518 §3.2).
const fn shortest(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        _ => 32,
    }
}

/// What is wrong with a file of keys. Never tells a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It is no JWK Set; where reading it ended.
    NoSet {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// There is no key in it.
    Empty,
    /// A key has no name, or one with other characters than letters, digits, `-` and `_`; by its place, from 1.
    Name(usize),
    /// Two keys of one name.
    Twice(String),
    /// A key of a type or an algorithm that is not checked here.
    Unsupported(String),
    /// A secret is shorter than the digest; the bytes it needs.
    Short(String, usize),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::NoSet { line, column } => {
                write!(f, "it is no JWK Set (RFC 7517): see line {line}, column {column}")
            }
            KeyError::Empty => f.write_str("there is no key in it"),
            KeyError::Name(place) => {
                write!(f, "key {place} has no `kid` of letters, digits, `-` and `_`")
            }
            KeyError::Twice(name) => write!(f, "key `{name}` stands there twice"),
            KeyError::Unsupported(name) => {
                write!(f, "key `{name}` is broken, or its type and `alg` do not fit each other")
            }
            KeyError::Short(name, bytes) => {
                write!(f, "the secret of key `{name}` is shorter than {bytes} bytes")
            }
        }
    }
}

impl std::error::Error for KeyError {}

/// Reads a file of keys.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn keys(text: &str) -> Result<Vec<SigningKey>, KeyError> {
    let set: JwkSet = serde_json::from_str(text)
        .map_err(|error| KeyError::NoSet { line: error.line(), column: error.column() })?;
    let mut keys: Vec<SigningKey> = Vec::with_capacity(set.keys.len());
    for (place, jwk) in (1..).zip(&set.keys) {
        let key = key(jwk, place)?;
        if keys.iter().any(|other| other.name == key.name) {
            return Err(KeyError::Twice(key.name));
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(KeyError::Empty) } else { Ok(keys) }
}

fn key(jwk: &Jwk, place: usize) -> Result<SigningKey, KeyError> {
    let name = jwk.common.key_id.clone().filter(|name| is_name(name)).ok_or(KeyError::Name(place))?;
    let unsupported = || KeyError::Unsupported(name.clone());
    let algorithm = algorithm(jwk).ok_or_else(unsupported)?;
    let key = DecodingKey::from_jwk(jwk).map_err(|_| unsupported())?;
    if key.family() != algorithm.family() {
        return Err(unsupported());
    }
    let secret = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => key.try_get_as_bytes().ok().map(Into::into),
        _ => None,
    };
    let short = |secret: &std::sync::Arc<[u8]>| secret.len() < shortest(algorithm);
    if secret.as_ref().is_some_and(short) {
        return Err(KeyError::Short(name, shortest(algorithm)));
    }
    let written = serde_json::to_vec(jwk).map_err(|_| unsupported())?;
    Ok(SigningKey { name, algorithm, key, secret, digest: *blake3::hash(&written).as_bytes() })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// What a key signs with: what it says, else what its type is for.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if let Some(said) = jwk.common.key_algorithm {
        return said.try_into().ok();
    }
    match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => Some(Algorithm::HS256),
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(Algorithm::ES256),
            EllipticCurve::P384 => Some(Algorithm::ES384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(_) => Some(Algorithm::EdDSA),
        _ => None,
    }
}
