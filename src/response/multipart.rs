//! Several ranges in one answer: `multipart/byteranges` (RFC 9110 §14.6). The text between the ranges is made at once, so
//! that the length of the whole is known before the first byte.
//!
//! The answer's own head carries no `Content-Range` (§15.3.7.2), and a single range is never answered in this form.

use crate::http_caching::range;
use bytes::Bytes;
use http::HeaderValue;
use std::fmt;

/// What separates the parts. It must not stand in the body; who writes a body must not know it beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary(u128);

/// An answer of several ranges: each is sent behind its text, and [`end`](Multipart::end) behind the last.
#[derive(Clone, Debug)]
pub struct Multipart {
    /// `Content-Type` of the answer.
    pub content_type: HeaderValue,
    /// `Content-Length` of the answer: ranges and texts.
    pub content_length: u64,
    /// The parts, in the order they are sent.
    pub parts: Vec<BodyPart>,
    /// The text behind the last part.
    pub end: Bytes,
}

/// One range and the text in front of it.
#[derive(Clone, Debug)]
pub struct BodyPart {
    /// Delimiter and fields, up to the first byte of the range.
    pub head: Bytes,
    /// First position.
    pub first: u64,
    /// Last position, itself included.
    pub last: u64,
}

impl Boundary {
    /// 128 random bits. `None` if the system has none to give: then the answer is the whole.
    pub fn random() -> Option<Boundary> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).ok()?;
        Some(Boundary(u128::from_ne_bytes(bits)))
    }
}

/// As it stands in a delimiter: 32 of the characters that need no quotes (RFC 2046 §5.1.1).
impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Multipart {
    /// The `ranges` (first and last position) of a body of `length` bytes, whose `Content-Type` each part repeats.
    pub fn new(
        boundary: Boundary,
        ranges: &[(u64, u64)],
        length: u64,
        content_type: Option<&HeaderValue>,
    ) -> Multipart {
        let delimiter = format!("\r\n--{boundary}");
        let part = |(at, &(first, last)): (usize, &(u64, u64))| {
            // The line break in front belongs to the delimiter (RFC 2046 §5.1.1); the first has nothing to end.
            let delimiter = if at == 0 { delimiter.trim_start() } else { &delimiter };
            let content_range = range::content_range(first, last, Some(length));
            BodyPart { head: head(delimiter, content_type, &content_range), first, last }
        };
        let parts: Vec<BodyPart> = ranges.iter().enumerate().map(part).collect();
        let end = Bytes::from(format!("{delimiter}--\r\n"));
        let lengths = parts.iter().flat_map(|part| [part.head.len() as u64, part.last - part.first + 1]);
        Multipart {
            content_type: HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"))
                .unwrap_or_else(|_| HeaderValue::from_static("multipart/byteranges")),
            content_length: lengths.fold(end.len() as u64, u64::saturating_add),
            parts,
            end,
        }
    }
}

fn head(delimiter: &str, content_type: Option<&HeaderValue>, content_range: &HeaderValue) -> Bytes {
    let mut text = Vec::with_capacity(160);
    text.extend_from_slice(delimiter.as_bytes());
    text.extend_from_slice(b"\r\n");
    let fields = [("Content-Type: ", content_type), ("Content-Range: ", Some(content_range))];
    for (name, value) in fields {
        let Some(value) = value else { continue };
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::{Boundary, Multipart};
    use crate::http_caching::range::MOST_RANGES;
    use http::HeaderValue;

    const BODY: &[u8] = b"0123456789abcdef";
    const BOUNDARY: Boundary = Boundary(0xa5);

    /// What is sent for `ranges` of [`BODY`], in the order of the fields of [`Multipart`].
    fn sent(ranges: &[(u64, u64)], content_type: Option<&'static str>) -> (Multipart, String) {
        let content_type = content_type.map(HeaderValue::from_static);
        let answer = Multipart::new(BOUNDARY, ranges, BODY.len() as u64, content_type.as_ref());
        let mut bytes = Vec::new();
        for part in &answer.parts {
            bytes.extend_from_slice(&part.head);
            bytes.extend_from_slice(&BODY[part.first as usize..=part.last as usize]);
        }
        bytes.extend_from_slice(&answer.end);
        (answer, String::from_utf8(bytes).unwrap())
    }

    /// As in the example of §14.6, with one line break less in front, which stands free there.
    #[test]
    fn several_ranges_are_one_body() {
        let (answer, bytes) = sent(&[(0, 1), (9, 15)], Some("application/pdf"));
        assert_eq!(
            bytes,
            "--000000000000000000000000000000a5\r\n\
             Content-Type: application/pdf\r\n\
             Content-Range: bytes 0-1/16\r\n\
             \r\n\
             01\r\n\
             --000000000000000000000000000000a5\r\n\
             Content-Type: application/pdf\r\n\
             Content-Range: bytes 9-15/16\r\n\
             \r\n\
             9abcdef\r\n\
             --000000000000000000000000000000a5--\r\n"
        );
        assert_eq!(answer.content_type, "multipart/byteranges; boundary=000000000000000000000000000000a5");
        assert_eq!(answer.content_length, bytes.len() as u64);
    }

    #[test]
    fn each_part_says_where_it_stands_and_what_it_is() {
        let sixteen: Vec<_> = (0..MOST_RANGES as u64).map(|at| (at, at)).collect();
        for (section, ranges, content_type) in [
            ("§14.6 two", vec![(0, 3), (5, 9)], Some("text/html; charset=utf-8")),
            ("§15.3.7.2 in the order given", vec![(9, 9), (0, 3)], Some("video/mp4")),
            ("§15.3.7.2 no Content-Type where the whole has none", vec![(0, 3), (5, 9)], None),
            ("as many as are honoured", sixteen, Some("a/b")),
        ] {
            let (answer, bytes) = sent(&ranges, content_type);
            assert_eq!(answer.content_length, bytes.len() as u64, "{section}");
            let delimiter = format!("\r\n--{BOUNDARY}");
            let whole = format!("\r\n{bytes}");
            let mut pieces = whole.split(&delimiter);
            assert_eq!(pieces.next(), Some(""), "{section}");
            for (first, last) in &ranges {
                let (head, body) = pieces.next().unwrap().split_once("\r\n\r\n").unwrap();
                let fields: Vec<&str> = head.split("\r\n").skip(1).collect();
                let mut want: Vec<String> =
                    content_type.iter().map(|t| format!("Content-Type: {t}")).collect();
                want.push(format!("Content-Range: bytes {first}-{last}/16"));
                assert_eq!(fields, want, "{section}");
                assert_eq!(body.as_bytes(), &BODY[*first as usize..=*last as usize], "{section}");
            }
            assert_eq!((pieces.next(), pieces.next()), (Some("--\r\n"), None), "{section}");
        }
    }

    #[test]
    fn no_two_boundaries_are_alike() {
        let drawn: std::collections::HashSet<String> =
            (0..1000).map(|_| Boundary::random().unwrap().to_string()).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().all(|b| b.len() == 32 && b.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    /// A length that an origin made up.
    #[test]
    fn lengths_at_the_end_of_numbers_do_not_wrap() {
        let answer = Multipart::new(BOUNDARY, &[(0, 1), (3, u64::MAX - 1)], u64::MAX, None);
        assert_eq!(answer.content_length, u64::MAX);
    }
}
