//! What the sample LMS serves, byte for byte: the same on every machine, so that a test can compute what must arrive.

pub mod document;
pub mod media;
pub mod noise;
pub mod package;
pub mod picture;
mod prose;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A file's bytes with their name, made once and kept.
#[derive(Clone, Debug)]
pub struct Built {
    /// The whole body.
    pub body: Bytes,
    /// Its strong entity tag, quotes included: a hash of the body and of nothing else.
    pub etag: String,
}

impl Built {
    /// Names a body.
    pub fn new(body: impl Into<Bytes>) -> Built {
        let body = body.into();
        let etag = format!("\"{}\"", &hex(&Sha256::digest(&body))[..40]);
        Built { body, etag }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
        out
    })
}

/// The media type that the sample LMS gives a file, by its extension.
pub fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "xml" | "xsd" => "application/xml",
        "png" => "image/png",
        "jpg" => "image/jpeg",
        "woff2" => "font/woff2",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "m3u8" => "application/vnd.apple.mpegurl",
        "ts" => "video/mp2t",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}
