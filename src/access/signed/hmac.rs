//! A signature of a path prefix: `KEY.UNTIL.LENGTH.SIGNATURE`, with an `a` behind the length where it is for one client address.
//!
//! The signature is HMAC with SHA-256, in base64url without padding, over five lines, each ended by a line feed: `lectern-1`,
//! the host as the client asks for it (lower case, a port only if it is not the scheme's), the first LENGTH bytes of
//! the path, UNTIL (seconds since 1970), and the client's address or nothing. Path and address need not be told: the request has
//! them, and others make another signature. No line can hold a line feed: no host, path or address does.

use super::{Asked, Refusal, is_for_hmac, is_over, lies_under};
use crate::rules::{Signed, SigningKey};
use jsonwebtoken::{EncodingKey, crypto};
use std::{net::IpAddr, time::SystemTime};

/// What a signature says beside itself.
struct Token<'a> {
    key: &'a str,
    until: u64,
    /// Bytes of the path prefix.
    length: usize,
    /// It is for one client address.
    for_client: bool,
    signature: &'a str,
}

impl Token<'_> {
    fn read(text: &str) -> Option<Token<'_>> {
        let mut words = text.split('.');
        let (key, until, length, signature) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (digits, for_client) = length.strip_suffix('a').map_or((length, false), |digits| (digits, true));
        let token =
            Token { key, until: number(until)?, length: number(digits)? as usize, for_client, signature };
        words.next().is_none().then_some(token)
    }
}

/// Digits and nothing else: a number is written in one way.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether a signature opens what is asked for.
pub(super) fn judge(signed: &Signed, shown: &str, asked: &Asked<'_>, now: SystemTime) -> Result<(), Refusal> {
    let token = Token::read(shown).ok_or(Refusal::Malformed)?;
    let key = signed.keys.iter().find(|key| key.name == token.key && is_for_hmac(key));
    let key = key.ok_or(Refusal::Key)?;
    // A prefix that is longer than the path, or ends within a segment of it, was made for another one.
    let prefix = asked.path.get(..token.length).ok_or(Refusal::Forged)?;
    let client = token.for_client.then(|| asked.client.to_canonical());
    let message = message(asked.host, prefix, token.until, client);
    let genuine = crypto::verify(token.signature, &message, &key.key, key.algorithm).unwrap_or(false);
    if !genuine || !lies_under(asked.path, prefix) {
        return Err(Refusal::Forged);
    }
    if is_over(token.until, signed.tolerance, now) { Err(Refusal::Expired) } else { Ok(()) }
}

/// Makes a signature; `None` if the key is no secret for HMAC with SHA-256.
pub(super) fn make(
    key: &SigningKey,
    host: &str,
    prefix: &str,
    until: u64,
    client: Option<IpAddr>,
) -> Option<String> {
    let secret = key.secret.as_ref().filter(|_| is_for_hmac(key))?;
    let secret = EncodingKey::from_secret(secret).ok()?;
    let client = client.map(|client| client.to_canonical());
    let signature = crypto::sign(&message(host, prefix, until, client), &secret, key.algorithm).ok()?;
    let a = if client.is_some() { "a" } else { "" };
    Some(format!("{}.{until}.{}{a}.{signature}", key.name, prefix.len()))
}

fn message(host: &str, prefix: &str, until: u64, client: Option<IpAddr>) -> Vec<u8> {
    let client = client.map(|client| client.to_string()).unwrap_or_default();
    format!("lectern-1\n{host}\n{prefix}\n{until}\n{client}\n").into_bytes()
}
