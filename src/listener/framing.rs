//! Which requests are refused before anyone looks at what they ask for: those two servers could read differently
//! (RFC 9112 §3.2, §6, RFC 9113 §8.3), and those that are too large.
//!
//! hyper itself answers 400 to a `Content-Length` that is not digits or differs between lines, to `Transfer-Encoding` whose last
//! coding is not `chunked` or in HTTP/1.0, to a space before the colon and to folded lines; 431 to a head over the limit of bytes
//! or fields. Of `Content-Length` beside `Transfer-Encoding` it keeps the latter alone and closes the connection after
//! the answer (RFC 9112 §6.3): one framing, so that the origin sees one request. What it lets through beyond that is refused here.

use crate::listener::settings::Limits;
use http::{
    HeaderMap, Method, StatusCode, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    request::Parts,
};

/// Longest path and query, bytes. Beyond the head's limit of bytes hyper answers 431 without having read the line.
const TARGET: usize = 8 << 10;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `Transfer-Encoding` other than `chunked` alone.
    TransferCoding,
    /// Two lengths that differ, or a length beside `Transfer-Encoding`.
    TwoLengths,
    /// No host where there must be one, two, or another than the target's.
    Host,
    /// A target in the form of CONNECT.
    Target,
    /// A target over 8 KiB.
    TargetTooLong,
    /// An HTTP/2 head over the limit of bytes.
    HeadTooLarge,
    /// Over the limit of fields.
    TooManyFields,
    /// CONNECT: this is no forward proxy.
    Connect,
}

/// What is wrong with the head, if anything.
pub fn refusal(head: &Parts, limits: &Limits) -> Option<Refusal> {
    if head.method == Method::CONNECT {
        return Some(Refusal::Connect);
    }
    // `GET host:port` is the form of CONNECT alone (RFC 9112 §3.2.3); others might read a path in it.
    if head.uri.scheme().is_none() && head.uri.authority().is_some() {
        return Some(Refusal::Target);
    }
    if head.uri.path_and_query().is_some_and(|target| target.as_str().len() > TARGET) {
        return Some(Refusal::TargetTooLong);
    }
    if head.version == Version::HTTP_2 && length(head) > limits.head_bytes {
        return Some(Refusal::HeadTooLarge);
    }
    if head.headers.len() > limits.head_fields {
        return Some(Refusal::TooManyFields);
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        if !only_chunked(&head.headers) {
            return Some(Refusal::TransferCoding);
        }
        if head.headers.contains_key(CONTENT_LENGTH) {
            return Some(Refusal::TwoLengths);
        }
    }
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(first), Some(_)) = (lengths.next(), lengths.next())
        && head.headers.get_all(CONTENT_LENGTH).iter().any(|other| other != first)
    {
        return Some(Refusal::TwoLengths);
    }
    (!one_host(head)).then_some(Refusal::Host)
}

/// Bytes of an HTTP/2 head, as RFC 9113 §6.5.2 counts them but for the 32 of each field.
fn length(head: &Parts) -> usize {
    let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    fields + head.uri.path_and_query().map_or(0, |target| target.as_str().len())
}

/// Exactly one coding: a second one would have to be undone, and each server undoes another.
fn only_chunked(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = lines.next().is_some_and(|v| v.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    chunked && lines.next().is_none()
}

/// At most one `Host`, none missing where it must be, and not another than the target's own.
fn one_host(head: &Parts) -> bool {
    let mut lines = head.headers.get_all(HOST).iter();
    let (host, second) = (lines.next(), lines.next());
    if second.is_some() {
        return false;
    }
    match (host, head.uri.authority()) {
        (Some(host), Some(authority)) => host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()),
        (Some(_), None) => true,
        (None, Some(_)) => head.version == Version::HTTP_2,
        (None, None) => head.version < Version::HTTP_11,
    }
}

impl Refusal {
    /// The status it is answered with.
    pub const fn status(self) -> StatusCode {
        match self {
            Refusal::TransferCoding | Refusal::TwoLengths | Refusal::Host | Refusal::Target => {
                StatusCode::BAD_REQUEST
            }
            Refusal::TargetTooLong => StatusCode::URI_TOO_LONG,
            Refusal::HeadTooLarge | Refusal::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::Connect => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// The word in answer, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::TransferCoding => "transfer-coding",
            Refusal::TwoLengths => "two-lengths",
            Refusal::Host => "bad-host",
            Refusal::Target => "bad-target",
            Refusal::TargetTooLong => "target-too-long",
            Refusal::HeadTooLarge => "head-too-large",
            Refusal::TooManyFields => "too-many-fields",
            Refusal::Connect => "connect",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, TARGET, refusal};
    use crate::listener::settings::Limits;
    use http::{Method, Request, Version};

    #[test]
    fn a_row_per_way_to_be_read_twice() {
        let long = format!("/{}", "a".repeat(TARGET));
        let v = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2];
        type Row<'a> = (Version, &'a str, &'a [(&'a str, &'a str)], Option<Refusal>);
        let large = "a".repeat(Limits::default().head_bytes);
        let table: [Row<'_>; 19] = [
            (v[1], "/", &[("host", "a")], None),
            (v[0], "/", &[], None),
            (v[1], "/", &[], Some(Refusal::Host)),
            (v[1], "/", &[("host", "a"), ("host", "a")], Some(Refusal::Host)),
            (v[1], "http://a/", &[("host", "A")], None),
            (v[1], "http://a/", &[("host", "b")], Some(Refusal::Host)),
            (v[1], "http://a/", &[], Some(Refusal::Host)),
            (v[1], "a:80", &[("host", "a:80")], Some(Refusal::Target)),
            (v[2], "https://a/", &[], None),
            (v[2], "https://a/", &[("host", "b")], Some(Refusal::Host)),
            (v[1], "/", &[("host", "a"), ("transfer-encoding", "Chunked")], None),
            (
                v[1],
                "/",
                &[("host", "a"), ("transfer-encoding", "gzip, chunked")],
                Some(Refusal::TransferCoding),
            ),
            (
                v[1],
                "/",
                &[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                Some(Refusal::TransferCoding),
            ),
            (
                v[1],
                "/",
                &[("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "5")],
                Some(Refusal::TwoLengths),
            ),
            (
                v[2],
                "https://a/",
                &[("content-length", "5"), ("content-length", "6")],
                Some(Refusal::TwoLengths),
            ),
            (v[2], "https://a/", &[("content-length", "5"), ("content-length", "5")], None),
            (v[1], &long, &[("host", "a")], Some(Refusal::TargetTooLong)),
            (v[1], "/", &[("host", "a"); 101], Some(Refusal::TooManyFields)),
            (v[2], "https://a/", &[("x", &large)], Some(Refusal::HeadTooLarge)),
        ];
        for (version, target, fields, expected) in table {
            let mut request = Request::builder().version(version).uri(target);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(refusal(&head, &Limits::default()), expected, "{version:?} {target:.20} {fields:?}");
        }
        let connect = Request::builder().method(Method::CONNECT).uri("a:443").body(()).unwrap();
        assert_eq!(refusal(&connect.into_parts().0, &Limits::default()), Some(Refusal::Connect));
    }
}
