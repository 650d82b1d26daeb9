//! What of a response a request gets: all of it, a range, or the word that it has it already.

use crate::http_caching::{
    parse_http_date,
    range::{self, Requested, Resolved},
    validate::{self, Condition},
};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};

/// What a request gets of a response whose head is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Status and body as they are.
    Whole,
    /// 206 with the bytes `first..=last` of `length`.
    Range {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
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

/// Decides it (RFC 9110 §13.2, §14.2). While the length is unknown a range is answered whole.
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
    let (Requested::Ranges(specs), Some(length)) = (range::parse(asked), length) else { return Part::Whole };
    if specs.len() > 1 || method != Method::GET || !validate::if_range_holds(asked, etag, modified, date) {
        return Part::Whole;
    }
    match range::resolve_all(&specs, length) {
        Resolved::Satisfiable(ranges) => Part::Range { first: ranges[0].0, last: ranges[0].1, length },
        Resolved::Unsatisfiable => Part::Unsatisfiable { length },
    }
}
