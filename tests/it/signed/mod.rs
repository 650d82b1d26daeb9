//! Signed access from outside: who shows a signature is let in, and nobody else gets a byte.
//!
//! Signatures are made here by what `docs/access.md` says, not by the edge's own code.
//!
//! - `coded`: a coded variant is for those who are let in.
//! - `ends`: what showed permission ends at the edge: key, log and origin do not see it.
//! - `keys`: keys that change, and the command that signs.
//! - `matrix`: every way to ask, on HTTP/1.1 and HTTP/2, from memory and from disk.

mod coded;
mod ends;
mod keys;
mod matrix;

use std::fs;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{
    edge::Edge,
    message::{Reply, Request},
    origin::Origin,
};

const FILM: &str = "/content/14/film.mp4";
/// Signs for the tests; the edge has it as `new`.
const SECRET: [u8; 32] = [7; 32];
const OTHER: [u8; 32] = [8; 32];

/// What a request shows, and how long it is valid from now on.
#[derive(Clone, Copy)]
struct Shows {
    jwt: bool,
    key: (&'static str, [u8; 32]),
    host: &'static str,
    prefix: &'static str,
    seconds: i64,
    client: Option<&'static str>,
}

impl Shows {
    /// What lets in to the film of `lms-a.example` for an hour.
    fn good(jwt: bool) -> Shows {
        let (host, prefix) = ("lms-a.example", "/content/14/");
        Shows { jwt, key: ("new", SECRET), host, prefix, seconds: 3600, client: None }
    }

    fn token(&self) -> String {
        let now = lectern::clock::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let until = now.saturating_add_signed(self.seconds);
        let Shows { key: (name, secret), host, prefix, client, .. } = *self;
        if self.jwt {
            let ip = client.map_or(String::new(), |ip| format!(",\"ip\":\"{ip}\""));
            let header = base64(format!("{{\"alg\":\"HS256\",\"kid\":\"{name}\"}}").as_bytes());
            let claims = format!("{{\"exp\":{until},\"aud\":\"{host}\",\"path\":\"{prefix}\"{ip}}}");
            let signed = format!("{header}.{}", base64(claims.as_bytes()));
            return format!("{signed}.{}", base64(&hmac(&secret, signed.as_bytes())));
        }
        let (length, a) = (prefix.len(), if client.is_some() { "a" } else { "" });
        let lines = format!("lectern-1\n{host}\n{prefix}\n{until}\n{}\n", client.unwrap_or_default());
        format!("{name}.{until}.{length}{a}.{}", base64(&hmac(&secret, lines.as_bytes())))
    }
}

/// RFC 2104.
fn hmac(secret: &[u8; 32], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| -> Vec<u8> { (0..64).map(|at| secret.get(at).unwrap_or(&0) ^ pad).collect() };
    let inner = Sha256::digest([&padded(0x36), message].concat());
    Sha256::digest([&padded(0x5c), &inner[..]].concat()).to_vec()
}

/// For URLs and without padding (RFC 4648 §5).
fn base64(bytes: &[u8]) -> String {
    let letters: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).collect();
    let of = |three: &[u8]| {
        let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(*three.get(at).unwrap_or(&0)));
        let letters: Vec<char> = (0..=three.len()).map(|at| letters[bits >> (18 - 6 * at) & 63]).collect();
        letters.into_iter().collect::<String>()
    };
    bytes.chunks(3).map(of).collect()
}

/// A JWK Set of secrets.
fn jwks(keys: &[(&str, [u8; 32])]) -> String {
    let key = |(name, secret): &(&str, [u8; 32])| {
        format!("{{\"kty\": \"oct\", \"kid\": \"{name}\", \"k\": \"{}\"}}", base64(secret))
    };
    format!("{{\"keys\": [{}]}}", keys.iter().map(key).collect::<Vec<_>>().join(", "))
}

/// A folder with a file of keys in it.
struct Keys(TempDir);

impl Keys {
    fn new(keys: &[(&str, [u8; 32])]) -> Keys {
        let made = Keys(tempfile::tempdir().unwrap());
        made.change(&jwks(keys));
        made
    }

    fn change(&self, text: &str) {
        fs::write(self.0.path().join("keys.json"), text).unwrap();
    }

    /// The keys of a rule that asks for a signature in the parameter or the cookie `sig`.
    fn asks(&self, jwt: bool) -> String {
        let (kind, keys) = (if jwt { "jwt" } else { "hmac" }, self.0.path().join("keys.json"));
        let keys = keys.display();
        format!(
            "access = \"signed\"\n\
             signed = {{ kind = \"{kind}\", keys = \"{keys}\", query = \"sig\", cookie = \"sig\" }}\n"
        )
    }
}

/// Two tenants, `a` and `b`, under the same rules.
fn tenants(origin: &Origin, rules: &str, rest: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[rule_set]]\nname = \"set\"\n{rules}\n\
         [[site]]\nname = \"a\"\nhosts = [\"lms-a.example\"]\norigin = \"lms\"\nuse = \"set\"\n\
         [[site]]\nname = \"b\"\nhosts = [\"lms-b.example\"]\norigin = \"lms\"\nuse = \"set\"\n{rest}\n",
        origin.addr()
    )
}

/// A rule for packages, with these keys.
fn packages(keys: &str) -> String {
    format!("[[rule_set.rule]]\nname = \"packages\"\nprefix = \"/content/\"\nverdict = \"cache\"\n{keys}")
}

/// A request for the film that shows this in its query.
fn film(shows: &Shows) -> Request {
    Request::get(&format!("{FILM}?sig={}", shows.token()))
}

/// Panics unless the edge refused with this word, and sent nothing but it.
#[track_caller]
fn refused(reply: Reply, status: u16, word: &str, head: bool) {
    let reason = if status == 401 { "Unauthorized" } else { "Forbidden" };
    let text = format!("{status} {reason} ({word})\n");
    let reply = reply.expect_body(status, if head { "" } else { &text });
    assert_eq!(reply.field("content-length"), Some(text.len().to_string().as_str()), "{reply}");
    assert_eq!(reply.field("cache-control"), Some("no-store"), "{reply}");
    assert_eq!(reply.field("www-authenticate").is_some(), status == 401, "{reply}");
    for name in ["etag", "content-range", "last-modified", "age"] {
        assert!(reply.field(name).is_none(), "{name}: {reply}");
    }
}

/// The reload of the configuration that stands in the edge's folder.
async fn reload(edge: &Edge) -> Reply {
    edge.control("POST", "/v1/reload", "").await
}
