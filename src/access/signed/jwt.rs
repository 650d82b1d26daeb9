//! A JSON Web Token (RFC 7519) that says which paths it opens.
//!
//! `exp` and `path` must be there: a path prefix or a list of them. `aud` must name the host that is asked, or what the rule says;
//! `nbf`, `iss` and `ip` (the client's address) are heeded where they are. The algorithm is the key's, never the token's choice:
//! a token that names another is refused (RFC 8725 §3.1).

use super::{Asked, Refusal, is_over, is_to_come, lies_under};
use crate::rules::{Signed, SigningKey};
use jsonwebtoken::{EncodingKey, Header, Validation, decode, decode_header, encode, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, net::IpAddr, time::SystemTime};

/// What a token claims.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Claims {
    exp: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<Texts>,
    path: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519 §2), which is left out.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Time {
    Seconds(u64),
    Fraction(f64),
}

impl Time {
    fn seconds(&self) -> u64 {
        match self {
            Time::Seconds(seconds) => *seconds,
            // What is negative is 0, what is too large the largest.
            Time::Fraction(seconds) => *seconds as u64,
        }
    }
}

/// One text or a list of them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn any(&self, fits: impl Fn(&str) -> bool) -> bool {
        match self {
            Texts::One(text) => fits(text),
            Texts::Many(texts) => texts.iter().any(|text| fits(text)),
        }
    }
}

/// Whether a token opens what is asked for.
pub(super) fn judge(signed: &Signed, shown: &str, asked: &Asked<'_>, now: SystemTime) -> Result<(), Refusal> {
    let claims = genuine(signed, shown)?;
    if is_over(claims.exp.seconds(), signed.tolerance, now) {
        return Err(Refusal::Expired);
    }
    if claims.nbf.is_some_and(|nbf| is_to_come(nbf.seconds(), signed.tolerance, now)) {
        return Err(Refusal::Early);
    }
    if signed.issuer.is_some() && claims.iss != signed.issuer {
        return Err(Refusal::Issuer);
    }
    let audience = signed.audience.as_deref().unwrap_or(asked.host);
    if !claims.aud.is_some_and(|aud| aud.any(|aud| aud == audience)) {
        return Err(Refusal::Audience);
    }
    if !claims.path.any(|prefix| lies_under(asked.path, prefix)) {
        return Err(Refusal::Path);
    }
    if claims.ip.is_some_and(|ip| ip.to_canonical() != asked.client.to_canonical()) {
        return Err(Refusal::Client);
    }
    Ok(())
}

/// The claims of a token that a key of the rule made.
fn genuine(signed: &Signed, shown: &str) -> Result<Claims, Refusal> {
    let header = decode_header(shown).map_err(|_| Refusal::Malformed)?;
    let named = |key: &&SigningKey| {
        key.algorithm == header.alg && header.kid.as_ref().is_none_or(|name| *name == key.name)
    };
    let mut refusal = Refusal::Key;
    for key in signed.keys.iter().filter(named) {
        match decode::<Claims>(shown, &key.key, &signature_only(key)) {
            Ok(token) => return Ok(token.claims),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => refusal = Refusal::Forged,
            // The signature is looked at first: this key made it.
            Err(_) => return Err(Refusal::Malformed),
        }
    }
    Err(refusal)
}

/// The library looks at the signature; the claims are judged here, by this node's clock.
fn signature_only(key: &SigningKey) -> Validation {
    let mut validation = Validation::new(key.algorithm);
    validation.required_spec_claims = HashSet::new();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

/// Makes a token; `None` if the key is none that signs.
pub(super) fn make(
    key: &SigningKey,
    issuer: Option<&str>,
    audience: &str,
    prefix: &str,
    until: u64,
    client: Option<IpAddr>,
) -> Option<String> {
    let secret = EncodingKey::from_secret(key.secret.as_ref()?).ok()?;
    let claims = Claims {
        exp: Time::Seconds(until),
        nbf: None,
        iss: issuer.map(str::to_owned),
        aud: Some(Texts::One(audience.to_owned())),
        path: Texts::One(prefix.to_owned()),
        ip: client,
    };
    let header = Header { kid: Some(key.name.clone()), ..Header::new(key.algorithm) };
    encode(&header, &claims, &secret).ok()
}
