//! Signatures are made here too, so that whoever tries a rule out needs no code of their own.

use super::{hmac, jwt};
use crate::rules::{Signed, SignedKind, SigningKey};
use std::{fmt, net::IpAddr};

/// What is let in.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// Host, in its normal spelling.
    pub host: &'a str,
    /// Path, or a prefix of it that ends in `/`; in its normal spelling.
    pub prefix: &'a str,
    /// Until when, seconds since 1970.
    pub until: u64,
    /// Only from this address.
    pub client: Option<IpAddr>,
}

/// Why nothing can be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CannotSign {
    /// There is no key of this name.
    NoKey(String),
    /// None of the keys signs, or not the one that was named: public keys only check.
    NoSecret,
}

impl fmt::Display for CannotSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CannotSign::NoKey(name) => write!(f, "the rule has no key `{name}`"),
            CannotSign::NoSecret => {
                f.write_str("the rule has no secret to sign with: public keys only check")
            }
        }
    }
}

impl std::error::Error for CannotSign {}

/// Signs by the first key that can, or by the one of this name.
///
/// # Errors
/// If no such key signs.
pub fn make(signed: &Signed, grant: &Grant<'_>, key: Option<&str>) -> Result<String, CannotSign> {
    let Grant { host, prefix, until, client } = *grant;
    let with = |key: &SigningKey| match signed.kind {
        SignedKind::Hmac => hmac::make(key, host, prefix, until, client),
        SignedKind::Jwt => {
            let audience = signed.audience.as_deref().unwrap_or(host);
            jwt::make(key, signed.issuer.as_deref(), audience, prefix, until, client)
        }
    };
    let mut keys: Vec<&SigningKey> = signed.keys.iter().collect();
    if let Some(name) = key {
        keys.retain(|key| key.name == name);
        if keys.is_empty() {
            return Err(CannotSign::NoKey(name.to_owned()));
        }
    }
    keys.into_iter().find_map(with).ok_or(CannotSign::NoSecret)
}
