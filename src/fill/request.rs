//! What a fill may send: the URL, `Host`, and only those fields that the answer may be shared under.
//!
//! A fill is nobody's request. Under a rule it takes along the selecting fields of its slot and what the rule lists. Where
//! no rule speaks, a short list of standard fields goes along; a request that says more than a browser's standard fields
//! is no fill at all but relayed, so that no field outside the key can shape what others get (G26).

use crate::{
    access::Learner, cache::StoredResponse, fill::Wanted, http_caching::Accepted, origin::OriginRequest,
    rules::Policy, site::Mounted,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::borrow::Cow;

/// Tells a check endpoint what is asked for: path and query.
const ORIGINAL: HeaderName = HeaderName::from_static("x-original-uri");

/// Fields that go along where no rule speaks for the path.
const STANDARD: [HeaderName; 7] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::USER_AGENT,
    header::REFERER,
    header::ORIGIN,
    header::COOKIE,
    header::AUTHORIZATION,
];

/// Standard fields of a request that a fill does without, and that say nothing about which bytes are meant. Forwarding
/// fields of the client are among them: the edge sets its own.
const WITHOUT: [&str; 40] = [
    "accept-charset",
    "accept-encoding",
    "available-dictionary",
    "cache-control",
    "content-length",
    "device-memory",
    "dictionary-id",
    "dnt",
    "downlink",
    "dpr",
    "ect",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "priority",
    "purpose",
    "range",
    "rtt",
    "save-data",
    "service-worker",
    "service-worker-navigation-preload",
    "traceparent",
    "tracestate",
    "upgrade-insecure-requests",
    "via",
    "viewport-width",
    "width",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-purpose",
    "x-real-ip",
];

/// Fields an answer may vary by without having variants: the key says them, the edge sets them, or no fill has them.
const SELECT_NOTHING: [&str; 16] = [
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "via",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// Whether a field of `Vary` is the same in all fills of a key.
pub(super) fn selects_nothing(name: &HeaderName) -> bool {
    SELECT_NOTHING.binary_search(&name.as_str()).is_ok()
}

/// Whether a request says more than a fill may carry where no rule speaks: it is relayed.
pub fn says_more(headers: &HeaderMap) -> bool {
    own_fields(headers).next().is_some()
}

/// The fields of a request that a fill may not carry where no rule speaks.
pub fn own_fields(headers: &HeaderMap) -> impl Iterator<Item = &HeaderName> {
    headers.keys().filter(|name| {
        !STANDARD.contains(name)
            && !name.as_str().starts_with("sec-")
            && WITHOUT.binary_search(&name.as_str()).is_err()
    })
}

/// The request that brings what is wanted, without conditions.
pub(super) fn get(wanted: &Wanted<'_>) -> OriginRequest {
    let mut headers = fields(wanted.client, wanted.policy.map(|policy| &**policy), &wanted.selecting);
    for name in wanted.added.keys() {
        headers.remove(name);
    }
    for (name, value) in &wanted.added {
        headers.append(name, value.clone());
    }
    let mut path = Cow::Borrowed(wanted.path);
    if let Some(mount) = wanted.mount {
        path = Cow::Owned(mount.there(wanted.path));
        Mounted::withhold(&mut headers);
    }
    let target = match wanted.query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    let (host, turn) = (wanted.origin_host.clone(), wanted.turn());
    OriginRequest { method: Method::GET, target, host, headers, upgrade: None, turn }
}

/// The request that asks a check endpoint, in the name of `learner`.
pub(super) fn check(wanted: &Wanted<'_>, learner: &Learner, target: String) -> OriginRequest {
    let mut request = get(wanted);
    if let Ok(original) = HeaderValue::try_from(&request.target) {
        request.headers.insert(ORIGINAL, original);
    }
    learner.show(&mut request.headers);
    OriginRequest { target, ..request }
}

/// The fields of a fill.
///
/// `selecting` are the names the slot is known to select by. `Accept-Encoding` always goes along, as one of eight
/// classes: nearly every answer that can vary varies by it, and this saves learning so by a second fill.
fn fields(client: &HeaderMap, policy: Option<&Policy>, selecting: &[HeaderName]) -> HeaderMap {
    let listed = policy.map_or(&STANDARD[..], |policy| &policy.forward);
    let mut sent = HeaderMap::with_capacity(listed.len() + selecting.len() + 8);
    for name in listed.iter().chain(selecting) {
        if !sent.contains_key(name) {
            for value in client.get_all(name) {
                sent.append(name, value.clone());
            }
        }
    }
    sent.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(Accepted::by(client).class()));
    sent
}

/// Makes a fill conditional on what is stored: by its `ETag`, else by its `Last-Modified`, as far as the rule trusts them.
/// Tells whether there was one to go by.
pub(super) fn conditions(headers: &mut HeaderMap, stored: &StoredResponse) -> bool {
    if let Some(tag) = &stored.etag {
        headers.insert(header::IF_NONE_MATCH, tag.clone());
    }
    if let Some(time) = &stored.last_modified {
        headers.insert(header::IF_MODIFIED_SINCE, time.clone());
    }
    stored.etag.is_some() || stored.last_modified.is_some()
}

#[cfg(test)]
mod tests {
    use super::{SELECT_NOTHING, WITHOUT, fields, says_more};
    use crate::rules::Policy;
    use http::{HeaderMap, HeaderName, HeaderValue, header};

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn the_lists_are_sorted_for_their_search() {
        assert!(WITHOUT.is_sorted() && SELECT_NOTHING.is_sorted());
    }

    #[test]
    fn a_browsers_request_can_be_a_fill_and_one_that_says_more_cannot() {
        let browser = headers(&[
            ("host", "lms.example"),
            ("accept", "*/*"),
            ("accept-encoding", "gzip, br"),
            ("cookie", "s=1"),
            ("range", "bytes=0-"),
            ("sec-fetch-dest", "video"),
            ("user-agent", "x"),
            ("priority", "i"),
            ("x-forwarded-host", "evil.example"),
        ]);
        assert!(!says_more(&browser));
        for name in ["x-original-url", "x-http-method-override", "x-csrftoken", "x-requested-with"] {
            assert!(says_more(&headers(&[(name, "1")])), "{name}");
        }
    }

    #[test]
    fn under_a_rule_nothing_goes_along_that_it_does_not_list() {
        let client = headers(&[
            ("cookie", "s=1"),
            ("authorization", "b"),
            ("accept", "a"),
            ("x-a", "1"),
            ("x-b", "2"),
        ]);
        let policy = Policy { forward: vec![HeaderName::from_static("x-a")], ..Policy::default() };
        let sent = fields(&client, Some(&policy), &[header::ACCEPT]);
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "accept-encoding", "x-a"]);
    }

    #[test]
    fn where_no_rule_speaks_the_cookie_goes_along_and_forwarding_fields_never() {
        let client = headers(&[("cookie", "s=1"), ("x-forwarded-host", "evil.example"), ("x-b", "2")]);
        let sent = fields(&client, None, &[]);
        assert!(
            sent.contains_key("cookie")
                && !sent.contains_key("x-forwarded-host")
                && !sent.contains_key("x-b")
        );
    }
}
