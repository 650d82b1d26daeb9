//! What the head of a fill's answer means: may it be stored, may it be shared, how long is it fresh.
//!
//! Pure: plain values in, plain values out.

use crate::{
    cache::{Body, Selecting, StoredParts, StoredResponse},
    fill::{
        request::selects_nothing,
        task::{Ask, FillHead},
    },
    http_caching::{
        Directives, EntityTag, Freshness, Vary, freshness,
        storable::{self, is_personal, may_store},
        vary,
    },
    ledger::Number,
    origin::Head,
    rules::{Policy, ValidatorRule},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use std::{sync::Arc, time::Duration};

/// What is made of an answer.
pub(super) struct Decision {
    pub head: FillHead,
    /// Whether the body is to be kept and stored; else why not.
    pub storable: Result<(), &'static str>,
}

/// The name this node goes by in `Via` (RFC 9110 §7.6.3).
pub const VIA: HeaderValue = HeaderValue::from_static("1.1 lectern");

/// Notes on an answer that it came through here, and when, if it does not say (RFC 9110 §6.6.1).
pub(super) fn arrived(head: &mut Head) {
    head.headers.append(header::VIA, VIA);
    if !head.headers.contains_key(header::DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(head.received))
    {
        head.headers.insert(header::DATE, date);
    }
}

/// Makes of the head of a part the one that the whole would have.
pub(super) fn as_whole(head: &mut Head, length: u64) {
    head.status = StatusCode::OK;
    head.headers.remove(header::CONTENT_RANGE);
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
}

/// Says an answer of this status that the origin could not do its work just now? Then it says nothing of what is stored.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// Decides on an answer that is not a 304. `limit`: the longest body that is stored, if its chunks can be had again and if not.
pub(super) fn decide(
    head: Head,
    ask: &Ask,
    born: Number,
    length: Option<u64>,
    delimited_by_close: bool,
    limit: impl Fn(bool) -> u64,
) -> Decision {
    let directives = Directives::response(&head.headers);
    let policy = ask.policy.as_deref();
    let freshness = freshness_of(&head, head.status, &head.headers, policy, &directives);
    let selecting = selecting(&head.headers, &ask.request.headers);
    let storable = may_keep(&head, ask, &directives).and(if delimited_by_close {
        Err("close-delimited")
    } else if length.is_some_and(|length| length > limit(content_tag(&head.headers, policy).is_some())) {
        Err("too-long")
    } else {
        Ok(())
    });
    let shared = match storable {
        Err(word) if word != "too-long" => Err(word),
        // Storable, but to be validated at each use: it answers the request that asked, nobody else.
        _ if freshness.lifetime <= freshness.initial_age || freshness.validate_always => Err("no-lifetime"),
        _ => Ok(()),
    };
    let Head { status, headers, server, .. } = head;
    let kept = storable.is_ok();
    let head = FillHead { status, headers, length, selecting, freshness, born, shared, kept, server };
    Decision { head, storable }
}

fn may_keep(head: &Head, ask: &Ask, directives: &Directives) -> Result<(), &'static str> {
    let policy = ask.policy.as_deref();
    may_store(&storable::Exchange {
        method: &Method::GET,
        request_authorization: ask.request.headers.contains_key(header::AUTHORIZATION),
        request_cookie_sent: ask.request.headers.contains_key(header::COOKIE),
        request_no_store: false,
        status: head.status,
        headers: &head.headers,
        directives,
        path_extension: extension(&ask.path),
        lifetime_by_rule: policy
            .is_some_and(|policy| policy.lifetime.is_some_and(|lifetime| !lifetime.is_zero())),
        shared_by_rule: policy.is_some_and(|policy| policy.shared),
        private_by_rule: policy.is_some_and(|policy| policy.lift_private),
        storable_status_by_rule: policy.is_some_and(|policy| speaks_for(policy, head.status)),
        stale_by_rule: policy.is_some_and(|p| p.stale_while_revalidate.or(p.stale_if_error).is_some()),
        received: head.received,
    })
    .map_err(|why| why.word())
}

/// A 304 to our own condition: the stored response with its fields and terms brought up to date (RFC 9111 §4.3.4), or
/// `None` if the answer names another validator, or says that the response may not be stored (any more).
pub(super) fn freshened(
    old: &StoredResponse,
    head: &Head,
    ask: &Ask,
    born: Number,
) -> Option<StoredResponse> {
    let tag = |headers: &HeaderMap| headers.get(header::ETAG).cloned();
    if let (Some(named), Some(known)) = (tag(&head.headers), tag(&old.headers)) {
        let parse = |tag: &HeaderValue| EntityTag::parse(tag.as_bytes()).map(|tag| tag.opaque().to_owned());
        if parse(&named) != parse(&known) {
            return None;
        }
    }
    let mut headers = old.headers.clone();
    for name in head.headers.keys().filter(|name| !describes_the_body(name)) {
        headers.remove(name);
        for value in head.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    if !head.headers.contains_key(header::AGE) {
        headers.remove(header::AGE);
    }
    let merged = Head {
        status: old.status,
        headers,
        server: head.server,
        requested: head.requested,
        received: head.received,
    };
    let directives = Directives::response(&merged.headers);
    may_keep(&merged, ask, &directives).ok()?;
    let freshness = freshness_of(head, old.status, &merged.headers, ask.policy.as_deref(), &directives);
    let (etag, last_modified) = validators(&merged.headers, ask.policy.as_deref());
    Some(StoredResponse::new(StoredParts {
        status: old.status,
        headers: stored_fields(&merged.headers, old.length),
        selecting: old.selecting.clone(),
        etag,
        last_modified,
        length: old.length,
        body: old.body.clone(),
        freshness,
        born,
    }))
}

/// The stored response for an answer whose body came, or a part of it.
pub(super) fn stored(head: &FillHead, ask: &Ask, length: u64, body: Arc<Body>) -> StoredResponse {
    let (etag, last_modified) = validators(&head.headers, ask.policy.as_deref());
    StoredResponse::new(StoredParts {
        status: head.status,
        headers: stored_fields(&head.headers, length),
        selecting: head.selecting.clone(),
        etag,
        last_modified,
        length,
        body,
        freshness: head.freshness,
        born: head.born,
    })
}

/// The fields that may be stored: all but those that `no-cache` names. Those that are told anew at each use have their place
/// already, so that a hit copies the fields and moves none.
fn stored_fields(headers: &HeaderMap, length: u64) -> HeaderMap {
    let mut stored = shared_fields(headers);
    stored.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    stored.insert(header::AGE, HeaderValue::from_static("0"));
    stored.insert("cache-status", HeaderValue::from_static("lectern"));
    stored
}

/// The fields that others may get than the request that caused the fill.
pub(super) fn shared_fields(headers: &HeaderMap) -> HeaderMap {
    let mut stored = headers.clone();
    for name in Directives::response(headers).unstored_fields() {
        stored.remove(name);
    }
    stored
}

/// Fields that a 304 may not change: they describe a body that it does not carry (RFC 9111 §3.2, G31).
fn describes_the_body(name: &HeaderName) -> bool {
    [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::ETAG,
        header::VARY,
    ]
    .contains(name)
}

/// Whether what a rule says of lifetimes holds for this status.
fn speaks_for(policy: &Policy, status: StatusCode) -> bool {
    if policy.statuses.is_empty() { status == StatusCode::OK } else { policy.statuses.contains(&status) }
}

/// Freshness as the origin says it, with the lifetime and the windows of the rule in their place. What forbids to serve
/// stale forbids it whatever a rule says.
fn freshness_of(
    head: &Head,
    status: StatusCode,
    headers: &HeaderMap,
    policy: Option<&Policy>,
    directives: &Directives,
) -> Freshness {
    let date = freshness::date(headers, head.received);
    let lifetime = freshness::lifetime(status, headers, directives, date);
    let initial_age = freshness::initial_age(&head.headers, head.requested, head.received);
    let mut freshness = Freshness::new(lifetime, directives, initial_age, head.received);
    let Some(policy) = policy else { return freshness };
    if let Some(lifetime) = policy.lifetime.filter(|_| speaks_for(policy, status)) {
        freshness.lifetime = lifetime.as_secs().saturating_add(initial_age);
        freshness.validate_always = false;
    }
    if status.as_u16() >= 400
        && let Some(limit) = policy.negative_lifetime
    {
        freshness.lifetime = freshness.lifetime.min(limit.as_secs().saturating_add(initial_age));
    }
    let set = |window: &mut u64, by_rule: Option<Duration>| {
        if let Some(by_rule) = by_rule {
            *window = by_rule.as_secs();
        }
    };
    set(&mut freshness.stale_while_revalidate, policy.stale_while_revalidate);
    set(&mut freshness.stale_if_error, policy.stale_if_error);
    freshness
}

/// The validators a later condition may use, as the rule trusts them.
fn validators(headers: &HeaderMap, policy: Option<&Policy>) -> (Option<HeaderValue>, Option<HeaderValue>) {
    let tag = headers.get(header::ETAG).filter(|tag| EntityTag::parse(tag.as_bytes()).is_some()).cloned();
    let time =
        headers.get(header::LAST_MODIFIED).filter(|time| freshness::parse_http_date(time).is_some()).cloned();
    match policy.map_or(ValidatorRule::Auto, |policy| policy.validator) {
        ValidatorRule::Auto if tag.is_some() => (tag, None),
        ValidatorRule::Auto | ValidatorRule::Time => (None, time),
        ValidatorRule::Content => (tag, None),
        ValidatorRule::None => (None, None),
    }
}

/// The validator that names the bytes of an answer and no others, as the rule trusts it.
pub(super) fn content_tag(headers: &HeaderMap, policy: Option<&Policy>) -> Option<HeaderValue> {
    let strong = |tag: &HeaderValue| EntityTag::parse(tag.as_bytes()).is_some_and(|tag| !tag.is_weak());
    validators(headers, policy).0.filter(strong)
}

/// The selecting fields an answer was chosen by, with the values the request sent.
///
/// Beyond `Vary`: a coded body is chosen by `Accept-Encoding` and an `Access-Control-Allow-Origin` that names one origin by
/// `Origin`, whether the origin says so or not (G29, G30). What is chosen by a person is stored for nobody: that is no variant.
fn selecting(answer: &HeaderMap, sent: &HeaderMap) -> Selecting {
    let mut names = match vary::parse(answer) {
        Vary::Fields(names) => names,
        Vary::None | Vary::Any => Vec::new(),
    };
    let mut also = |name: HeaderName| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    if answer.contains_key(header::CONTENT_ENCODING) {
        also(header::ACCEPT_ENCODING);
    }
    let reflected = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|origin| origin != "*");
    if reflected && sent.contains_key(header::ORIGIN) {
        also(header::ORIGIN);
    }
    names.retain(|name| !selects_nothing(name) && !is_personal(name));
    Selecting::new(names, sent)
}

/// The extension of the last segment, without the dot.
fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map(|(_, extension)| extension).filter(|extension| !extension.is_empty())
}
