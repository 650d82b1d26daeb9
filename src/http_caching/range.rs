//! Byte ranges (RFC 9110 §14): what a request asks for, what of it there is, and how it is named in the answer. A
//! field that cannot be read is no range at all: the answer is the whole (§14.2).

use super::list::{self, Members, Quotes};
use http::{HeaderMap, HeaderValue, header};

/// More ranges in one request than this are taken as none: hundreds of overlapping ones must not multiply the output.
pub const MOST_RANGES: usize = 16;

/// One range as asked for, before the length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// `first-last`, or `first-` to the end.
    From {
        /// First position.
        first: u64,
        /// Last position, itself included.
        last: Option<u64>,
    },
    /// `-n`: the last n bytes.
    Suffix(u64),
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// The whole.
    None,
    /// One to [`MOST_RANGES`] ranges, in the order asked.
    Ranges(Vec<Spec>),
}

/// What there is of the ranges asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// At least one range, each as its first and last position, both included: within the body, and no byte in two of
    /// them, so that they never come to more than the body. Of one a 206 is made, of several a multipart 206.
    Satisfiable(Vec<(u64, u64)>),
    /// Nothing of any: 416.
    Unsatisfiable,
}

/// What a `Content-Range` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First and last position; `None` in a 416.
    pub positions: Option<(u64, u64)>,
    /// Complete length, if known.
    pub length: Option<u64>,
}

/// Reads `Range`. Has a meaning for GET only; whether `If-Range` lets it stand is asked of
/// [`if_range_holds`](super::validate::if_range_holds).
pub fn parse(headers: &HeaderMap) -> Requested {
    let mut lines = headers.get_all(header::RANGE).iter();
    let Some(line) = lines.next() else {
        return Requested::None;
    };
    if lines.next().is_some() {
        return Requested::None;
    }
    parse_line(line.as_bytes()).unwrap_or(Requested::None)
}

fn parse_line(line: &[u8]) -> Option<Requested> {
    let line = list::trim(line);
    let (unit, set) = line.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut specs = Vec::new();
    for member in (Members { rest: set, quotes: Quotes::Plain }) {
        if specs.len() == MOST_RANGES {
            return None;
        }
        specs.push(spec(member)?);
    }
    (!specs.is_empty()).then_some(Requested::Ranges(specs))
}

fn spec(text: &[u8]) -> Option<Spec> {
    let dash = text.iter().position(|&b| b == b'-')?;
    let (first, last) = (&text[..dash], &text[dash + 1..]);
    if first.is_empty() {
        return list::number(last, u64::MAX).map(Spec::Suffix);
    }
    let first = list::number(first, u64::MAX)?;
    if last.is_empty() {
        return Some(Spec::From { first, last: None });
    }
    let last = list::number(last, u64::MAX)?;
    (first <= last).then_some(Spec::From { first, last: Some(last) })
}

/// What of `specs` there is in a body of `length` bytes. What cannot be satisfied is left out (§14.1.2). Ranges that
/// overlap or touch become one, and then all are in ascending order (§15.3.7.2); else the order asked is kept.
pub fn resolve_all(specs: &[Spec], length: u64) -> Resolved {
    let asked: Vec<(u64, u64)> = specs.iter().filter_map(|spec| resolve(*spec, length)).collect();
    if asked.is_empty() {
        return Resolved::Unsatisfiable;
    }
    let merged = merge(asked.clone());
    Resolved::Satisfiable(if merged.len() == asked.len() { asked } else { merged })
}

/// The same bytes in ranges that neither overlap nor touch, in ascending order.
fn merge(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    ranges.dedup_by(|(first, last), (_, end)| {
        let one = *first <= end.saturating_add(1);
        if one {
            *end = (*last).max(*end);
        }
        one
    });
    ranges
}

/// First and last position of what there is of `spec` (§14.1.2). Of an empty body nothing can be named as a range.
fn resolve(spec: Spec, length: u64) -> Option<(u64, u64)> {
    let end = length.checked_sub(1)?;
    match spec {
        Spec::Suffix(0) => None,
        Spec::Suffix(n) => Some((length.saturating_sub(n), end)),
        Spec::From { first, .. } if first > end => None,
        Spec::From { first, last } => Some((first, last.map_or(end, |last| last.min(end)))),
    }
}

/// `Content-Range` of a 206 (§14.4); without a length it is said to be unknown.
pub fn content_range(first: u64, last: u64, length: Option<u64>) -> HeaderValue {
    debug_assert!(first <= last && length.is_none_or(|length| last < length));
    let mut text = String::with_capacity(6 + 3 * 20 + 2);
    let mut digits = itoa::Buffer::new();
    text.push_str("bytes ");
    text.push_str(digits.format(first));
    text.push('-');
    text.push_str(digits.format(last));
    text.push('/');
    text.push_str(length.map_or("*", |length| digits.format(length)));
    visible(text)
}

/// `Content-Range` of a 416: how long the body is.
pub fn unsatisfied_range(length: u64) -> HeaderValue {
    let mut text = String::from("bytes */");
    text.push_str(itoa::Buffer::new().format(length));
    visible(text)
}

fn visible(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Reads `Content-Range`; `None` if it is absent, doubled, of another unit or not possible.
pub fn parse_content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let mut lines = headers.get_all(header::CONTENT_RANGE).iter();
    let line = list::trim(lines.next()?.as_bytes());
    if lines.next().is_some() {
        return None;
    }
    let (unit, rest) = line.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes ") {
        return None;
    }
    let slash = rest.iter().position(|&b| b == b'/')?;
    let (range, length) = (&rest[..slash], &rest[slash + 1..]);
    let length = if length == b"*" { None } else { Some(exact(length)?) };
    if range == b"*" {
        return length.map(|length| ContentRange { positions: None, length: Some(length) });
    }
    let dash = range.iter().position(|&b| b == b'-')?;
    let (first, last) = (exact(&range[..dash])?, exact(&range[dash + 1..])?);
    let possible = first <= last && length.is_none_or(|length| last < length);
    possible.then_some(ContentRange { positions: Some((first, last)), length })
}

/// A number that fits: a position that had to be bent is not one.
fn exact(text: &[u8]) -> Option<u64> {
    list::number(text, u64::MAX).filter(|&n| n < u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{
        ContentRange, Requested, Resolved, Spec, content_range, parse, parse_content_range, resolve_all,
        unsatisfied_range,
    };
    use http::{HeaderMap, HeaderName};

    fn lines(name: &'static str, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (HeaderName::from_static(name), line.parse().unwrap())).collect()
    }

    fn from(first: u64, last: Option<u64>) -> Spec {
        Spec::From { first, last }
    }

    #[test]
    fn what_cannot_be_read_is_no_range() {
        use Requested::{None, Ranges};
        let table: &[(&str, &[&str], Requested)] = &[
            ("§14.2 absent", &[], None),
            ("§14.1.2 first and last", &["bytes=0-499"], Ranges(vec![from(0, Some(499))])),
            ("§14.1.2 to the end", &["bytes=9500-"], Ranges(vec![from(9500, Option::None)])),
            ("§14.1.2 suffix", &["bytes=-500"], Ranges(vec![Spec::Suffix(500)])),
            ("§14.1.1 one byte", &["bytes=0-0"], Ranges(vec![from(0, Some(0))])),
            ("§14.1 the unit is case-insensitive", &["BYTES=0-1"], Ranges(vec![from(0, Some(1))])),
            ("§14.1.2 several", &["bytes=0-0, -1"], Ranges(vec![from(0, Some(0)), Spec::Suffix(1)])),
            ("§5.6.1 empty members", &["bytes=,0-0 ,, "], Ranges(vec![from(0, Some(0))])),
            ("§14.2 unknown unit", &["items=0-1"], None),
            ("§14.1.1 last before first", &["bytes=5-4"], None),
            ("§14.1.1 one of them is invalid", &["bytes=0-1, 5-4"], None),
            ("§14.1.1 nothing asked", &["bytes="], None),
            ("§14.1.1 nothing asked", &["bytes=-"], None),
            ("§14.1.1 not a number", &["bytes=a-b"], None),
            ("§14.1.1 not a number", &["bytes=--1"], None),
            ("§14.1.1 not a number", &["bytes=0x1-2"], None),
            ("§14.1.1 white space inside", &["bytes=0 - 1"], None),
            ("§14.1.1 white space before =", &["bytes =0-1"], None),
            ("§14.1.1 no unit", &["0-1"], None),
            ("§14.1.1 no set", &["bytes"], None),
            ("§14.2 two lines", &["bytes=0-1", "bytes=3-4"], None),
            ("§14.1.1 beyond 2^64", &["bytes=0-99999999999999999999"], Ranges(vec![from(0, Some(u64::MAX))])),
        ];
        for (section, range, want) in table {
            assert_eq!(parse(&lines("range", range)), *want, "{section}: {range:?}");
        }
    }

    #[test]
    fn more_than_sixteen_ranges_are_none() {
        let many = |n: usize| parse(&lines("range", &[&format!("bytes={}", vec!["0-"; n].join(","))]));
        assert_eq!(many(16), Requested::Ranges(vec![from(0, None); 16]));
        assert_eq!(many(17), Requested::None);
        assert_eq!(many(500), Requested::None);
    }

    /// G01 and G02 among others: never a last before its first, never a wrapped number, never a byte twice.
    #[test]
    fn ranges_lie_within_the_body_and_apart() {
        type Row = (&'static str, &'static str, u64, &'static [(u64, u64)]);
        let table: &[Row] = &[
            ("§14.1.2 within", "2-4", 10, &[(2, 4)]),
            ("§14.1.2 last beyond the end", "8-99", 10, &[(8, 9)]),
            ("G01 one byte", "0-0", 10, &[(0, 0)]),
            ("G01 the last byte", "9-", 10, &[(9, 9)]),
            ("G01 first at the end", "10-", 10, &[]),
            ("§14.1.2 first beyond the end", "10-20", 10, &[]),
            ("§14.1.2 suffix", "-5", 10, &[(5, 9)]),
            ("G01 suffix longer than the body", "-999", 10, &[(0, 9)]),
            ("G01 suffix of nothing", "-0", 10, &[]),
            ("G01 suffix of an empty body", "-5", 0, &[]),
            ("G01 suffix of nothing of an empty body", "-0", 0, &[]),
            ("G01 first byte of an empty body", "0-0", 0, &[]),
            ("G01 all of an empty body", "0-", 0, &[]),
            ("beyond 2^64", "99999999999999999999-", u64::MAX, &[]),
            ("beyond 2^64", "-99999999999999999999", 10, &[(0, 9)]),
            ("§14.1.2 several", "0-0, 2-3, -1", 10, &[(0, 0), (2, 3), (9, 9)]),
            ("§15.3.7.2 in the order asked", "-1, 0-0, 5-6", 10, &[(9, 9), (0, 0), (5, 6)]),
            ("§15.3.7.2 overlapping ones become one", "0-5, 3-8", 10, &[(0, 8)]),
            ("§15.3.7.2 one within the other", "0-8, 3-5", 10, &[(0, 8)]),
            ("§15.3.7.2 the same twice", "3-5, 3-5", 10, &[(3, 5)]),
            ("§15.3.7.2 touching ones become one", "0-4, 5-9", 10, &[(0, 9)]),
            ("§15.3.7.2 a gap of one byte stays", "0-3, 5-9", 10, &[(0, 3), (5, 9)]),
            ("§15.3.7.2 whatever their order", "7-8, 0-1, 1-2", 10, &[(0, 2), (7, 8)]),
            ("§15.3.7.2 one joins two", "6-9, 0-3, 2-7", 10, &[(0, 9)]),
            ("§14.1.2 one satisfiable is enough", "0-0, 999999999-", 10, &[(0, 0)]),
            ("§14.1.2 suffix of nothing among others", "-0, 2-3, 5-6", 10, &[(2, 3), (5, 6)]),
            ("§14.1.2 none of several", "10-, 99-100, -0", 10, &[]),
            ("§14.1.2 several of an empty body", "0-0, -1", 0, &[]),
            ("G01 suffixes", "-2, -5", 10, &[(5, 9)]),
            ("G02 a reader of PDF", "0-50, 50-100", 1 << 20, &[(0, 100)]),
            (
                "G02 the same end sixteen times",
                "0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-",
                10,
                &[(0, 9)],
            ),
            ("at the end of numbers", "0-, 18446744073709551614-", u64::MAX, &[(0, u64::MAX - 1)]),
        ];
        for (section, range, length, want) in table {
            let Requested::Ranges(specs) = parse(&lines("range", &[&format!("bytes={range}")])) else {
                panic!("{range}")
            };
            let got = match resolve_all(&specs, *length) {
                Resolved::Satisfiable(ranges) => ranges,
                Resolved::Unsatisfiable => vec![],
            };
            assert_eq!(got, *want, "{section}: {range} of {length}");
        }
    }

    #[test]
    fn content_range_is_written() {
        assert_eq!(content_range(0, 9, Some(10)), "bytes 0-9/10");
        assert_eq!(content_range(5, 5, None), "bytes 5-5/*");
        assert_eq!(
            content_range(u64::MAX - 2, u64::MAX - 1, Some(u64::MAX)),
            "bytes 18446744073709551613-18446744073709551614/18446744073709551615"
        );
        assert_eq!(unsatisfied_range(0), "bytes */0");
    }

    #[test]
    fn content_range_is_read_only_if_it_is_possible() {
        let part = |first, last, length| Some(ContentRange { positions: Some((first, last)), length });
        let table: &[(&str, &[&str], Option<ContentRange>)] = &[
            ("§14.4", &["bytes 0-9/100"], part(0, 9, Some(100))),
            ("§14.4 length not known", &["bytes 0-9/*"], part(0, 9, None)),
            ("§14.4 of a 416", &["bytes */100"], Some(ContentRange { positions: None, length: Some(100) })),
            ("§14.4 last before first", &["bytes 9-0/100"], None),
            ("§14.4 last beyond the length", &["bytes 0-100/100"], None),
            ("§14.4 nothing said", &["bytes */*"], None),
            ("§14.4 another unit", &["items 0-9/100"], None),
            ("§14.4 as in Range", &["bytes=0-9/100"], None),
            ("§14.4 no length", &["bytes 0-9"], None),
            ("§14.4 no last", &["bytes 0-/100"], None),
            ("§14.4 beyond 2^64", &["bytes 0-9/99999999999999999999"], None),
            ("absent", &[], None),
            ("two lines", &["bytes 0-9/100", "bytes 0-9/100"], None),
        ];
        for (section, given, want) in table {
            assert_eq!(parse_content_range(&lines("content-range", given)), *want, "{section}: {given:?}");
        }
    }
}
