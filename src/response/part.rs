//! What of a response a request gets: all of it, a range, or the word that it has it already.

use crate::{
    http_caching::{
        coded_tag, parse_http_date,
        range::{self, Requested, Resolved, Spec},
        validate::{self, Condition},
        vary,
    },
    response::Boundary,
};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};

/// What a request gets of a response whose head is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Status and body as they are.
    Whole,
    /// 206 with the bytes `first..=last` of `length`.
    Range {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
        /// Length of the whole, if it is known.
        length: Option<u64>,
    },
    /// 206 with several ranges of `length` bytes, as `multipart/byteranges`.
    Ranges {
        /// First and last byte of each, none twice.
        ranges: Vec<(u64, u64)>,
        /// What stands between them.
        boundary: Boundary,
        /// Length of the whole.
        length: u64,
    },
    /// 416: no byte asked for is there.
    Unsatisfiable {
        /// Length of the whole.
        length: u64,
    },
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Fields of a request that can make its answer another than the whole.
const CONDITIONS: [HeaderName; 5] = [
    header::RANGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
];

impl Part {
    /// The same of a body of which there are no ranges, as it is made while it is sent.
    pub fn without_ranges(self) -> Part {
        match self {
            Part::Range { .. } | Part::Ranges { .. } | Part::Unsatisfiable { .. } => Part::Whole,
            other => other,
        }
    }

    /// The first and the last byte of a body of `length` bytes that it needs; none, if it has no body.
    pub fn bytes(&self, length: u64) -> Option<(u64, u64)> {
        match self {
            Part::Whole => Some((0, length.checked_sub(1)?)),
            Part::Range { first, last, .. } => Some((*first, *last)),
            Part::Ranges { ranges, .. } => ranges.first().copied(),
            Part::Unsatisfiable { .. } | Part::NotModified | Part::Failed => None,
        }
    }
}

/// Decides it (RFC 9110 §13.2, §14.2). While the length is unknown only `first-last` is answered as a range.
///
/// Of what is sent in several codings a time does not tell which bytes a client has: no range is bound by one.
pub fn part(
    method: &Method,
    asked: &HeaderMap,
    status: StatusCode,
    headers: &HeaderMap,
    length: Option<u64>,
) -> Part {
    if status != StatusCode::OK || !CONDITIONS.iter().any(|name| asked.contains_key(name)) {
        return Part::Whole;
    }
    let etag = headers.get(header::ETAG);
    let time = |name| headers.get(name).and_then(parse_http_date);
    let (date, modified) = (time(header::DATE), time(header::LAST_MODIFIED));
    match validate::evaluate(asked, method, etag, modified.or(date)) {
        Condition::NotModified => return Part::NotModified,
        Condition::PreconditionFailed => return Part::Failed,
        Condition::Pass => {}
    }
    let Requested::Ranges(specs) = range::parse(asked) else { return Part::Whole };
    let of_one_coding = !vary::names(headers, &header::ACCEPT_ENCODING);
    let bound = validate::if_range_holds(asked, etag, modified.filter(|_| of_one_coding), date)
        && !coded_tag::binds_to_others(asked, etag);
    if method != Method::GET || !bound {
        return Part::Whole;
    }
    let Some(length) = length else {
        return match specs[..] {
            [Spec::From { first, last: Some(last) }] => Part::Range { first, last, length: None },
            _ => Part::Whole,
        };
    };
    match range::resolve_all(&specs, length) {
        Resolved::Satisfiable(ranges) => match ranges[..] {
            [(first, last)] => Part::Range { first, last, length: Some(length) },
            // The coding is of the body, not of a multipart made of it.
            _ if headers.contains_key(header::CONTENT_ENCODING) => Part::Whole,
            _ => Boundary::random().map_or(Part::Whole, |boundary| Part::Ranges { ranges, boundary, length }),
        },
        Resolved::Unsatisfiable => Part::Unsatisfiable { length },
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, part};
    use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

    fn of(range: &'static str, fields: &[(&'static str, &'static str)], length: Option<u64>) -> Part {
        let one = |(name, value): (&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let asked = HeaderMap::from_iter([one(("range", range))]);
        let headers = fields.iter().copied().map(one).collect();
        part(&Method::GET, &asked, StatusCode::OK, &headers, length)
    }

    #[test]
    fn several_ranges_are_a_multipart_unless_the_body_is_coded() {
        let several = "bytes=0-1,5-6";
        let Part::Ranges { ranges, length: 10, .. } = of(several, &[], Some(10)) else {
            panic!("two ranges")
        };
        assert_eq!(ranges, [(0, 1), (5, 6)]);
        assert_eq!(of(several, &[("content-encoding", "br")], Some(10)), Part::Whole);
        let one = Part::Range { first: 0, last: 6, length: Some(10) };
        assert_eq!(of("bytes=0-4,5-6", &[("content-encoding", "br")], Some(10)), one, "they touch");
    }

    #[test]
    fn while_the_length_is_unknown_only_a_bounded_range_is_one() {
        assert_eq!(of("bytes=2-4", &[], None), Part::Range { first: 2, last: 4, length: None });
        for whole in ["bytes=2-", "bytes=-2", "bytes=0-1,5-6"] {
            assert_eq!(of(whole, &[], None), Part::Whole, "{whole}");
        }
    }
}
