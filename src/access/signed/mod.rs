//! Signed access: a request shows that somebody with the key lets it have this path, of this host, until some time.
//!
//! What is shown stands in a query parameter or a cookie and is a signature ([`hmac`]) or a JSON Web Token ([`jwt`], RFC 7519).
//! It says for which host and which paths it is, so that no tenant's opens another's; it ends here. A request that shows
//! several is let in by any of them. Nothing is remembered: each request is judged by what it shows.

mod hmac;
mod jwt;
mod keys;
mod make;

pub use keys::{KeyError, keys};
pub use make::{CannotSign, Grant, make};

use crate::rules::{Signed, SignedKind, SigningKey, normalise};
use http::{HeaderMap, StatusCode, header};
use jsonwebtoken::Algorithm;
use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Of one request so many are looked at: a browser may send several cookies of a name, one for each path it was set for.
const LOOKED_AT: usize = 8;

/// What of a request a signature speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Host, in its normal spelling.
    pub host: &'a str,
    /// Path, in its normal spelling.
    pub path: &'a str,
    /// Query as sent.
    pub query: Option<&'a str>,
    /// Fields as sent.
    pub headers: &'a HeaderMap,
    /// The client's address.
    pub client: IpAddr,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It shows nothing.
    Missing,
    /// What it shows was valid until some time ago.
    Expired,
    /// What it shows is valid from some time on.
    Early,
    /// What it shows cannot be read.
    Malformed,
    /// It names a key that is not known (any more), or is of another kind than that key.
    Key,
    /// No key made it; or not for this host, path and client, where the signature says no more than that.
    Forged,
    /// It is for other paths.
    Path,
    /// It is for another client address.
    Client,
    /// It is for another host.
    Audience,
    /// Somebody else issued it.
    Issuer,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 10] = [
        Refusal::Missing,
        Refusal::Expired,
        Refusal::Early,
        Refusal::Malformed,
        Refusal::Key,
        Refusal::Forged,
        Refusal::Path,
        Refusal::Client,
        Refusal::Audience,
        Refusal::Issuer,
    ];

    /// The word in log, metric and answer.
    pub const fn word(self) -> &'static str {
        match self {
            Refusal::Missing => "signature-missing",
            Refusal::Expired => "signature-expired",
            Refusal::Early => "signature-early",
            Refusal::Malformed => "signature-malformed",
            Refusal::Key => "signature-key",
            Refusal::Forged => "signature-forged",
            Refusal::Path => "signature-path",
            Refusal::Client => "signature-client",
            Refusal::Audience => "signature-audience",
            Refusal::Issuer => "signature-issuer",
        }
    }

    /// 401 where another signature would help, else 403.
    pub const fn status(self) -> StatusCode {
        match self {
            Refusal::Missing | Refusal::Expired => StatusCode::UNAUTHORIZED,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

/// Whether a request is let in by what it shows.
///
/// # Errors
/// Why not: what is wrong with the first that it shows.
pub fn admit(signed: &Signed, asked: &Asked<'_>, now: SystemTime) -> Result<(), Refusal> {
    let mut first = None;
    for shown in shown(signed, asked).take(LOOKED_AT) {
        let judged = match signed.kind {
            SignedKind::Hmac => hmac::judge(signed, shown, asked, now),
            SignedKind::Jwt => jwt::judge(signed, shown, asked, now),
        };
        match judged {
            Ok(()) => return Ok(()),
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    Err(first.unwrap_or(Refusal::Missing))
}

/// All that a request shows: in its query first, then in its cookies.
fn shown<'a>(signed: &'a Signed, asked: &Asked<'a>) -> impl Iterator<Item = &'a str> {
    let query = asked.query.zip(signed.query.as_deref());
    let in_query = query.into_iter().flat_map(|(query, name)| normalise::values(query, name));
    let lines = asked.headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let in_cookies = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (signed.cookie.as_deref() == Some(name)).then_some(value)
    });
    in_query.chain(in_cookies).filter(|shown| !shown.is_empty())
}

/// Whether signatures of path prefixes are made and checked with this key.
pub fn is_for_hmac(key: &SigningKey) -> bool {
    key.algorithm == Algorithm::HS256
}

/// Whether a path lies under a prefix: is it, or goes on after the prefix's last `/`. `/a/1` is not the prefix of `/a/10`.
fn lies_under(path: &str, prefix: &str) -> bool {
    path == prefix || (prefix.ends_with('/') && path.starts_with(prefix))
}

/// Whether a time is over, whichever of the two clocks is right; `unix` in seconds.
fn is_over(unix: u64, tolerance: Duration, now: SystemTime) -> bool {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() > unix.saturating_add(tolerance.as_secs())
}

/// Whether a time is still to come, by the same measure.
fn is_to_come(unix: u64, tolerance: Duration, now: SystemTime) -> bool {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().saturating_add(tolerance.as_secs()) < unix
}

#[cfg(test)]
mod tests;
