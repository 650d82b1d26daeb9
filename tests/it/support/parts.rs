//! Reads `multipart/byteranges` strictly (RFC 9110 §14.6), and what a `Content-Range` says.

use super::message::{Fields, Reply, field, head};

/// A part: its place in the whole, the whole's length, its fields and bytes.
pub(crate) struct Part {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// `None` for `*`.
    pub(crate) length: Option<u64>,
    pub(crate) fields: Fields,
    pub(crate) bytes: Vec<u8>,
}

/// The parts of a clean 206, one or several. Panics at whatever is not as it must be.
#[track_caller]
pub(crate) fn parts(reply: &Reply) -> Vec<Part> {
    assert!(reply.status == 206 && reply.clean(), "not a clean 206: {reply}");
    if let Some(length) = reply.field("content-length") {
        assert_eq!(length, reply.body.len().to_string(), "{reply}");
    }
    let kind = reply.field("content-type").unwrap_or_default();
    let Some(boundary) = kind.strip_prefix("multipart/byteranges") else {
        return vec![part(reply.fields.clone(), reply.body.clone())];
    };
    assert_eq!(reply.field("content-range"), None, "of several parts none is the answer's own: {reply}");
    let boundary = boundary.trim_start_matches([';', ' ']).strip_prefix("boundary=").unwrap();
    let boundary = format!("--{}", boundary.trim_matches('"'));
    let mut rest = &reply.body[..];
    // The first delimiter may have an empty line before it.
    rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    let mut parts = Vec::new();
    loop {
        rest = rest.strip_prefix(boundary.as_bytes()).unwrap_or_else(|| panic!("no boundary: {reply}"));
        if let Some(end) = rest.strip_prefix(b"--") {
            assert!(matches!(end, b"" | b"\r\n"), "behind the last boundary: {}", end.escape_ascii());
            return parts;
        }
        rest = rest.strip_prefix(b"\r\n").unwrap();
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let (_, fields) = head(&[b"part\r\n", &rest[..end]].concat()).unwrap();
        rest = &rest[end..];
        // What a part holds may look like a boundary: its length is what its field says.
        let (first, last, _) = content_range(field(&fields, "content-range").unwrap());
        let n = usize::try_from(last + 1 - first).unwrap();
        assert!(rest.len() >= n, "a part is cut: {reply}");
        parts.push(part(fields, rest[..n].to_vec()));
        rest = rest[n..].strip_prefix(b"\r\n").unwrap_or_else(|| panic!("a part is too long: {reply}"));
    }
}

#[track_caller]
fn part(fields: Fields, bytes: Vec<u8>) -> Part {
    let (first, last, length) = content_range(field(&fields, "content-range").unwrap());
    assert_eq!(bytes.len() as u64, last + 1 - first, "{fields:?}");
    assert!(length.is_none_or(|length| last < length), "{fields:?}");
    Part { first, last, length, fields, bytes }
}

/// `bytes first-last/length`, the length `None` for `*`.
#[track_caller]
pub(crate) fn content_range(text: &str) -> (u64, u64, Option<u64>) {
    let (range, length) = text.strip_prefix("bytes ").unwrap().split_once('/').unwrap();
    let (first, last) = range.split_once('-').unwrap_or_else(|| panic!("{text}"));
    let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
    assert!(first <= last, "{text}");
    (first, last, (length != "*").then(|| length.parse().unwrap()))
}

/// The first and the last byte of a `Range` of one range; the last `None` where it is open.
#[track_caller]
pub(crate) fn range(text: &str) -> (u64, Option<u64>) {
    let (first, last) = text.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let first = first.parse().unwrap_or_else(|_| panic!("not one range from a place on: {text}"));
    (first, (!last.is_empty()).then(|| last.parse().unwrap()))
}
