//! Heads to and from an origin: which fields belong to one connection only, and what a length means.
//!
//! RFC 9110 §7.6.1 (fields of one hop), RFC 9112 §6.3 (length), RFC 9110 §8.6 (several lengths).

use super::{HostField, OriginError, OriginRequest, body::Announced};
use crate::http_caching::targeted::is_targeted;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};

/// A longer head of an answer is refused.
const HEAD_LIMIT: usize = 256 * 1024;

/// Fields that speak to one connection.
const HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
];

/// Fields that a `Connection` must not take away (RFC 9110 §7.6.1: they are for all recipients). Without
/// this list `Connection: cache-control` would make a private page storable.
/// Targeted fields are known by their names ([`is_targeted`]).
const FOR_ALL: [HeaderName; 15] = [
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::SET_COOKIE,
    header::VARY,
    header::AGE,
    header::DATE,
    header::EXPIRES,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::LOCATION,
    header::WWW_AUTHENTICATE,
];

/// How the body of a request is delimited on HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, and the method does not say that there could be one.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunked.
    Chunked,
}

/// An answer's head without what belongs to the connection.
pub(super) struct Cleaned {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Announced,
}

/// The head that is sent for `request`.
pub(super) fn of_request(
    request: &OriginRequest,
    host: &HostField,
    framing: Framing,
    expect: bool,
) -> Result<Box<RequestHeader>, OriginError> {
    let unsendable = |_| OriginError::Unsendable;
    let mut head = RequestHeader::build(
        request.method.clone(),
        request.target.as_bytes(),
        Some(request.headers.len().saturating_add(4)),
    )
    .map_err(unsendable)?;
    let mut put = |name: HeaderName, value: HeaderValue| head.append_header(name, value).map_err(unsendable);
    put(header::HOST, if let HostField::Set(host) = host { host.clone() } else { request.host.clone() })?;
    for (name, value) in &request.headers {
        let ours = [header::HOST, header::CONTENT_LENGTH, header::EXPECT];
        if !HOP.contains(name) && !ours.contains(name) {
            put(name.clone(), value.clone())?;
        }
    }
    match framing {
        Framing::None => {}
        Framing::Length(length) => _ = put(header::CONTENT_LENGTH, length.into())?,
        Framing::Chunked => _ = put(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?,
    }
    if expect {
        put(header::EXPECT, HeaderValue::from_static("100-continue"))?;
    }
    if let Some(protocol) = &request.upgrade {
        put(header::CONNECTION, HeaderValue::from_static("Upgrade"))?;
        put(header::UPGRADE, protocol.clone())?;
    }
    Ok(Box::new(head))
}

/// What of `response` goes on, or [`OriginError::Protocol`] if it contradicts itself.
pub(super) fn of_response(
    response: &ResponseHeader,
    method: &Method,
    http2: bool,
) -> Result<Cleaned, OriginError> {
    let fields = &response.headers;
    let size: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > HEAD_LIMIT {
        return Err(OriginError::Protocol);
    }
    let status = response.status;
    let bodiless = *method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || status.is_informational();
    let chunked = transfer_chunked(fields)?;
    let mut length = length(fields)?;
    if status == StatusCode::NO_CONTENT || status.is_informational() || chunked {
        length = None;
    }
    let mut headers: HeaderMap = fields.clone();
    for named in named_in_connection(fields) {
        headers.remove(named);
    }
    for hop in &HOP {
        headers.remove(hop);
    }
    headers.remove(header::CONTENT_LENGTH);
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let delimited = bodiless || chunked || http2 || length.is_some();
    Ok(Cleaned { status, headers, body: Announced { length, delimited, none: bodiless } })
}

/// The fields that `Connection` takes away.
fn named_in_connection(fields: &HeaderMap) -> Vec<HeaderName> {
    let values = fields.get_all(header::CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.filter(|name| !FOR_ALL.contains(name) && !is_targeted(name)).collect()
}

/// Any coding but a lone `chunked` is not understood: its bytes would be passed on as if they were the body.
fn transfer_chunked(fields: &HeaderMap) -> Result<bool, OriginError> {
    let mut values = fields.get_all(header::TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(OriginError::Protocol),
    }
}

/// The one length that all `Content-Length` fields agree on.
fn length(fields: &HeaderMap) -> Result<Option<u64>, OriginError> {
    let values = fields.get_all(header::CONTENT_LENGTH).iter();
    let mut found = None;
    for text in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let text = text.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let length: Option<u64> =
            std::str::from_utf8(text).ok().filter(|_| digits).and_then(|t| t.parse().ok());
        match (length, found) {
            (None, _) => return Err(OriginError::Protocol),
            (Some(length), Some(before)) if length != before => return Err(OriginError::Protocol),
            (Some(_), _) => found = length,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn lengths_agree_or_the_answer_is_refused() {
        for (fields, expected) in [
            (&[("content-length", "5")][..], Ok(Some(5))),
            (&[("content-length", "5"), ("content-length", "5")], Ok(Some(5))),
            (&[("content-length", "5, 5")], Ok(Some(5))),
            (&[("content-length", "5"), ("content-length", "6")], Err(OriginError::Protocol)),
            (&[("content-length", "5, 6")], Err(OriginError::Protocol)),
            (&[("content-length", "+5")], Err(OriginError::Protocol)),
            (&[("content-length", "")], Err(OriginError::Protocol)),
            (&[("content-length", "99999999999999999999")], Err(OriginError::Protocol)),
            (&[("transfer-encoding", "gzip, chunked")], Err(OriginError::Protocol)),
            (
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                Err(OriginError::Protocol),
            ),
            (&[], Ok(None)),
        ] {
            let cleaned = of_response(&response(200, fields), &Method::GET, false);
            assert_eq!(cleaned.map(|c| c.body.length), expected, "{fields:?}");
        }
    }

    #[test]
    fn fields_of_one_hop_stay_there() {
        let head = response(
            200,
            &[
                ("connection", "close, X-Secret"),
                ("connection", "cache-control,set-cookie"),
                ("x-secret", "1"),
                ("keep-alive", "timeout=5"),
                ("cache-control", "private"),
                ("set-cookie", "a=1"),
                ("upgrade", "h2c"),
                ("transfer-encoding", "chunked"),
                ("x-kept", "1"),
            ],
        );
        let headers = of_response(&head, &Method::GET, false).map(|c| c.headers).unwrap();
        let mut names: Vec<_> = headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "set-cookie", "x-kept"]);
    }

    #[test]
    fn a_body_without_an_end_of_its_own_is_known() {
        for (status, fields, method, delimited) in [
            (200, &[][..], Method::GET, false),
            (200, &[("content-length", "0")], Method::GET, true),
            (200, &[("transfer-encoding", "Chunked")], Method::GET, true),
            (200, &[], Method::HEAD, true),
            (204, &[], Method::GET, true),
            (304, &[], Method::GET, true),
        ] {
            let cleaned = of_response(&response(status, fields), &method, false);
            assert_eq!(cleaned.map(|c| c.body.delimited), Ok(delimited), "{status} {fields:?}");
        }
        assert_eq!(of_response(&response(200, &[]), &Method::GET, true).map(|c| c.body.delimited), Ok(true));
        let long = "x".repeat(HEAD_LIMIT);
        let head = response(200, &[("x-long", &long)]);
        assert_eq!(
            of_response(&head, &Method::GET, false).map(|c| c.body.length),
            Err(OriginError::Protocol)
        );
    }
}
