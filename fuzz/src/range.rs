//! Claims about ranges: they lie in the body, no byte comes twice, and none that was asked for is left out.

use http::{HeaderMap, HeaderValue, header};
use lectern::{
    http_caching::{
        Requested, Resolved, Spec,
        range::{MOST_RANGES, content_range, parse, parse_content_range, resolve_all},
    },
    response::{Boundary, Multipart},
};

/// A line with the length of a body, and then a value of `Range`, which is read as one of `Content-Range` too.
pub fn range(bytes: &[u8]) {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let length = std::str::from_utf8(&bytes[..line]).ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let Ok(value) = HeaderValue::from_bytes(bytes.get(line + 1..).unwrap_or_default()) else { return };
    content_range_of(&value);
    let Requested::Ranges(specs) = parse(&HeaderMap::from_iter([(header::RANGE, value)])) else { return };
    assert!((1..=MOST_RANGES).contains(&specs.len()));
    let ranges = match resolve_all(&specs, length) {
        Resolved::Satisfiable(ranges) => ranges,
        Resolved::Unsatisfiable => Vec::new(),
    };
    in_order_or_as_asked(&ranges, &specs, length);
    the_bytes_asked_for(&ranges, &specs, length);
    sent(&ranges, length);
}

/// First and last position of what there is of one range.
fn there_is(spec: &Spec, length: u64) -> Option<(u64, u64)> {
    let (first, last) = match *spec {
        Spec::From { first, last } => (first, last.unwrap_or(u64::MAX).min(length.saturating_sub(1))),
        Spec::Suffix(n) => (length - n.min(length), length.saturating_sub(1)),
    };
    (first < length && first <= last).then_some((first, last))
}

fn in_order_or_as_asked(ranges: &[(u64, u64)], specs: &[Spec], length: u64) {
    assert!(ranges.iter().all(|(first, last)| first <= last && *last < length), "{ranges:?} of {length}");
    let sum: u128 = ranges.iter().map(|(first, last)| u128::from(last - first) + 1).sum();
    assert!(sum <= u128::from(length), "more than the body: {ranges:?} of {length}");
    let ascending = ranges.windows(2).all(|pair| pair[0].1 < pair[1].0 && pair[1].0 - pair[0].1 > 1);
    let asked: Vec<_> = specs.iter().filter_map(|spec| there_is(spec, length)).collect();
    assert!(ascending || ranges == asked, "neither merged nor as asked: {ranges:?} for {asked:?}");
}

fn the_bytes_asked_for(ranges: &[(u64, u64)], specs: &[Spec], length: u64) {
    if length > 4096 {
        return;
    }
    let within = |ranges: &[(u64, u64)], at: u64| ranges.iter().filter(|r| (r.0..=r.1).contains(&at)).count();
    let asked: Vec<_> = specs.iter().filter_map(|spec| there_is(spec, length)).collect();
    for at in 0..length {
        assert_eq!(within(ranges, at), within(&asked, at).min(1), "byte {at}: {ranges:?} for {asked:?}");
    }
}

/// What is written of a range reads as the same range, and of several the length is told right.
fn sent(ranges: &[(u64, u64)], length: u64) {
    for (first, last) in ranges {
        // More than any body has; it is not read as a length.
        if length == u64::MAX {
            break;
        }
        let fields = [(header::CONTENT_RANGE, content_range(*first, *last, Some(length)))];
        let read = parse_content_range(&fields.into_iter().collect());
        assert_eq!(
            read.map(|read| (read.positions, read.length)),
            Some((Some((*first, *last)), Some(length)))
        );
    }
    let Some(boundary) = Boundary::random() else { return };
    let answer = Multipart::new(boundary, ranges, length, Some(&HeaderValue::from_static("video/mp4")));
    let heads: usize = answer.parts.iter().map(|part| part.head.len()).sum();
    let bodies: u128 = answer.parts.iter().map(|part| u128::from(part.last - part.first) + 1).sum();
    let all = bodies + (heads + answer.end.len()) as u128;
    assert_eq!(u128::from(answer.content_length), all.min(u64::MAX.into()));
    assert_eq!(answer.parts.iter().map(|part| (part.first, part.last)).collect::<Vec<_>>(), ranges);
}

fn content_range_of(value: &HeaderValue) {
    let read =
        |value: HeaderValue| parse_content_range(&[(header::CONTENT_RANGE, value)].into_iter().collect());
    let Some(told) = read(value.clone()) else { return };
    let Some((first, last)) = told.positions else {
        assert!(told.length.is_some());
        return;
    };
    assert!(first <= last && told.length.is_none_or(|length| last < length), "{told:?}");
    assert_eq!(read(content_range(first, last, told.length)), Some(told));
}
