//! Parts of a body that are put together (RFC 9111 §3.3, §3.4): whether a 206 is the part that was asked for, and whether it is
//! of the bytes that are held.
//!
//! Real origins ignore `If-Range`, so nothing is believed but what the answer itself says.

use super::{
    range::{self, ContentRange},
    validate::EntityTag,
};
use http::{HeaderMap, HeaderValue, header};

/// What a 206 is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First byte.
    pub start: u64,
    /// The byte behind its last.
    pub end: u64,
    /// Bytes of the whole.
    pub length: u64,
}

/// What the fields of a 206 say that it brings, if it is what was asked for: the bytes from `start` to before `end`, or to the
/// body's end. `announced`: the bytes its body has, if it says so.
pub fn part(headers: &HeaderMap, announced: Option<u64>, start: u64, end: Option<u64>) -> Option<Part> {
    let ContentRange { positions: Some((first, last)), length: Some(length) } =
        range::parse_content_range(headers)?
    else {
        return None;
    };
    let part = Part { start: first, end: last + 1, length };
    let all = part.end == end.map_or(length, |end| end.min(length));
    let fits = announced.is_none_or(|own| own == part.end - part.start);
    (first == start && all && fits).then_some(part)
}

/// Whether an answer is of the bytes that `tag` names, in the coding that is held; `None` if it does not say. Only a strong
/// validator names bytes.
pub fn same_bytes(headers: &HeaderMap, tag: &HeaderValue, held: Option<&HeaderValue>) -> Option<bool> {
    let named = EntityTag::parse(headers.get(header::ETAG)?.as_bytes())?;
    let known = EntityTag::parse(tag.as_bytes())?;
    Some(named.strong_eq(known) && headers.get(header::CONTENT_ENCODING) == held)
}

#[cfg(test)]
mod tests {
    use super::{Part, part, same_bytes};
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_206_is_what_was_asked_for_or_nothing() {
        let of = |start, end| Some(Part { start, end, length: 100 });
        type Row<'a> = (&'a str, &'a [&'a str], Option<u64>, u64, Option<u64>, Option<Part>);
        let table: &[Row<'_>] = &[
            ("RFC 9110 §15.3.7 as asked", &["bytes 10-19/100"], Some(10), 10, Some(20), of(10, 20)),
            ("RFC 9110 §14.1.2 to the end", &["bytes 90-99/100"], None, 90, None, of(90, 100)),
            (
                "RFC 9110 §14.1.2 the end is nearer",
                &["bytes 90-99/100"],
                Some(10),
                90,
                Some(200),
                of(90, 100),
            ),
            ("another beginning", &["bytes 0-19/100"], Some(20), 10, Some(20), None),
            ("less than asked", &["bytes 10-18/100"], Some(9), 10, Some(20), None),
            ("more than asked", &["bytes 10-29/100"], Some(20), 10, Some(20), None),
            (
                "RFC 9110 §14.4 the body is shorter than it says",
                &["bytes 10-19/100"],
                Some(9),
                10,
                Some(20),
                None,
            ),
            ("RFC 9111 §3.4 an unknown length", &["bytes 10-19/*"], Some(10), 10, Some(20), None),
            ("RFC 9110 §14.4 not possible", &["bytes 10-19/15"], Some(10), 10, Some(20), None),
            ("RFC 9110 §14.4 unsatisfied", &["bytes */100"], None, 10, Some(20), None),
            ("RFC 9111 §3.3 another unit", &["lines 10-19/100"], Some(10), 10, Some(20), None),
            ("no Content-Range", &[], Some(10), 10, Some(20), None),
            ("two", &["bytes 10-19/100", "bytes 10-19/100"], Some(10), 10, Some(20), None),
        ];
        for (section, ranges, announced, start, end, want) in table {
            let ranges: Vec<_> = ranges.iter().map(|range| ("content-range", *range)).collect();
            assert_eq!(part(&fields(&ranges), *announced, *start, *end), *want, "{section}");
        }
    }

    #[test]
    fn parts_are_of_the_same_bytes_by_a_strong_validator_and_coding() {
        let gzip = HeaderValue::from_static("gzip");
        let (etag, coding) = ("etag", "content-encoding");
        type Row<'a> =
            (&'a str, &'a str, &'a [(&'static str, &'a str)], Option<&'a HeaderValue>, Option<bool>);
        let table: &[Row<'_>] = &[
            ("§3.4 the same strong validator", "\"a\"", &[(etag, "\"a\"")], None, Some(true)),
            ("§3.4 another", "\"a\"", &[(etag, "\"b\"")], None, Some(false)),
            ("§3.4 a weak one", "\"a\"", &[(etag, "W/\"a\"")], None, Some(false)),
            ("§3.4 both weak", "W/\"a\"", &[(etag, "W/\"a\"")], None, Some(false)),
            ("§3.4 none", "\"a\"", &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], None, None),
            ("one that is none", "\"a\"", &[(etag, "a")], None, None),
            ("another coding", "\"a\"", &[(etag, "\"a\""), (coding, "gzip")], None, Some(false)),
            ("the same coding", "\"a\"", &[(etag, "\"a\""), (coding, "gzip")], Some(&gzip), Some(true)),
        ];
        for (section, tag, received, held, want) in table {
            assert_eq!(same_bytes(&fields(received), &tag.parse().unwrap(), *held), *want, "{section}");
        }
    }
}
