//! Puts answers together: head, part, fields, body, account.

use crate::{
    cache::{Pieces, StoredResponse},
    clock,
    edge::{Known, There, Visit, route},
    fill::{FillHead, Reader},
    http_caching::{coded_tag, coding, range, status_field},
    listener::{Connection, Refused},
    response::{
        Account, Accounts, Arrival, Body, Multipart, Part, Plain, Ranges, Source,
        coding::{Recode, Recoded},
        fields, part,
    },
    telemetry::{Fault, Outcome},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use std::{sync::Arc, time::SystemTime};

/// Where the body of an answer comes from.
pub(super) enum From {
    /// Pieces in memory, already cut to the part.
    Pieces(Pieces),
    /// A body that is read piece by piece.
    Reader(Reader),
}

/// The head an answer is made from.
struct Head {
    status: StatusCode,
    headers: HeaderMap,
    length: Option<u64>,
    age: u64,
}

/// What of a response this request gets.
pub(super) fn part_of(visit: &Visit, status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> Part {
    let part = part(&visit.parts.method, &visit.parts.headers, status, headers, length);
    if visit.recode.is_some() { part.without_ranges() } else { part }
}

/// The answer from a stored response.
pub(super) fn stored(
    mut visit: Box<Visit>,
    stored: &StoredResponse,
    there: There,
    outcome: Outcome,
    cache_status: HeaderValue,
    now: SystemTime,
) -> Response<Body> {
    if let Some((coding, _)) = there.variant {
        visit.account.coding = Some(coding);
    }
    let stored = there.shown(stored);
    let age = stored.freshness.age(now);
    visit.account.age = Some(age);
    visit.account.outcome = outcome;
    let head =
        Head { status: stored.status, headers: stored.headers.clone(), length: Some(stored.length), age };
    let There { part, from, .. } = there;
    answer(visit, head, part, from, cache_status)
}

/// The answer from a fill under way.
pub(super) fn filling(
    mut visit: Box<Visit>,
    head: &FillHead,
    (part, body): (Part, Reader),
    outcome: Outcome,
    cache_status: HeaderValue,
) -> Response<Body> {
    visit.account.outcome = outcome;
    let FillHead { status, length, .. } = *head;
    let headers = if outcome == Outcome::Joined { head.headers_for_others() } else { head.headers.clone() };
    let age = head.freshness.age(clock::now());
    visit.account.age = Some(age).filter(|_| outcome == Outcome::Joined);
    visit.unproven = head.unproven;
    let head = Head { status, headers, length, age };
    answer(visit, head, part, From::Reader(body), cache_status)
}

fn answer(
    mut visit: Box<Visit>,
    head: Head,
    part: Part,
    from: From,
    cache_status: HeaderValue,
) -> Response<Body> {
    let browser_lifetime = visit.policy().and_then(|policy| policy.browser_lifetime);
    let Head { mut status, mut headers, mut length, age } = head;
    if let Some(&Recode { to, .. }) = visit.recode.as_ref() {
        headers = coding::recoded(&headers, to, coding::Bytes::Coming);
        length = None;
        visit.account.coding = Some(to);
    }
    headers.insert(header::AGE, HeaderValue::from(age));
    let cache_status = match visit.route.site.cache_status_key {
        true => status_field::with_key(&cache_status, visit.path(), visit.query()),
        false => cache_status,
    };
    status_field::tell(&mut headers, cache_status);
    if let Some(lifetime) = browser_lifetime.filter(|_| status == StatusCode::OK) {
        fields::tell_browser(&mut headers, lifetime);
    }
    if visit.settles || visit.may_be_another_version(&headers) {
        fields::tell_to_ask(&mut headers);
    }
    if visit.unproven {
        fields::tell_not_to_keep(&mut headers);
    }
    if visit.route.mount.is_some() {
        // It would come back to nobody: a storage is sent no cookie. And it must not set one of the LMS's.
        headers.remove(header::SET_COOKIE);
    }
    if !visit.route.access.is_open() {
        fields::for_one(&mut headers);
    }
    let mut multipart = None;
    let sent = match &part {
        Part::Whole => length,
        Part::Range { first, last, length } => {
            status = StatusCode::PARTIAL_CONTENT;
            headers.insert(header::CONTENT_RANGE, range::content_range(*first, *last, *length));
            Some(last - first + 1)
        }
        Part::Ranges { ranges, boundary, length } => {
            status = StatusCode::PARTIAL_CONTENT;
            let parts = Multipart::new(*boundary, ranges, *length, headers.get(header::CONTENT_TYPE));
            headers.insert(header::CONTENT_TYPE, parts.content_type.clone());
            Some(multipart.insert(parts).content_length)
        }
        Part::Unsatisfiable { length } => {
            status = StatusCode::RANGE_NOT_SATISFIABLE;
            headers.insert(header::CONTENT_RANGE, range::unsatisfied_range(*length));
            Some(0)
        }
        Part::NotModified => {
            status = StatusCode::NOT_MODIFIED;
            told_as_known(&visit.parts.headers, &mut headers);
            None
        }
        Part::Failed => {
            status = StatusCode::PRECONDITION_FAILED;
            Some(0)
        }
    };
    match sent {
        // As it is stored.
        Some(_) if part == Part::Whole && headers.contains_key(header::CONTENT_LENGTH) => {}
        Some(length) if !status.is_informational() && status != StatusCode::NO_CONTENT => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        _ => {
            headers.remove(header::CONTENT_LENGTH);
        }
    }
    if matches!(part, Part::Unsatisfiable { .. } | Part::Failed) {
        headers.remove(header::CONTENT_TYPE);
        headers.remove(header::CONTENT_ENCODING);
    }
    visit.account.answered(status);
    let bodiless = visit.parts.method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || !matches!(part, Part::Whole | Part::Range { .. } | Part::Ranges { .. });
    let body = match from {
        _ if bodiless => Body::new(Source::Empty, None, visit.account),
        from if let Some(recode) = visit.recode.take() => {
            let source = match from {
                From::Pieces(pieces) => Source::Pieces(pieces.into_iter()),
                From::Reader(mut reader) => {
                    reader.turn_to(0, None);
                    Source::Reader(reader)
                }
            };
            Body::new(Source::Recoded(Box::new(Recoded::new(source, recode))), None, visit.account)
        }
        From::Pieces(pieces) => Body::from_pieces(pieces, visit.account),
        From::Reader(_) if sent == Some(0) => Body::new(Source::Empty, None, visit.account),
        From::Reader(mut reader) => {
            let source = match (part, multipart) {
                (_, Some(multipart)) => Source::Ranges(Ranges::new(reader, multipart)),
                (Part::Range { first, last, .. }, None) => {
                    reader.turn_to(first, Some(last));
                    Source::Reader(reader)
                }
                _ => {
                    reader.turn_to(0, None);
                    Source::Reader(reader)
                }
            };
            Body::new(source, sent, visit.account)
        }
    };
    respond(status, headers, body)
}

/// Of a response that the client has, the tag by which it has it. Of that tag's bytes the coding may be another.
pub(super) fn told_as_known(asked: &HeaderMap, headers: &mut HeaderMap) {
    if let Some(known) = headers.get(header::ETAG).and_then(|held| coded_tag::known_as(asked, held)) {
        headers.insert(header::ETAG, known);
        headers.remove(header::CONTENT_ENCODING);
    }
}

/// An answer of the edge's own in place of the origin's, as the client would have it.
pub(super) fn failed(
    visit: Box<Visit>,
    outcome: Outcome,
    fault: Option<Fault>,
    plain: Plain,
) -> Response<Body> {
    let told = plain.told_to(&visit.parts.headers, visit.route.site.failure_page.as_ref());
    own(visit.account, outcome, fault, plain, told)
}

/// An answer of the edge's own.
pub(super) fn plain(
    account: Box<Account>,
    outcome: Outcome,
    fault: Option<Fault>,
    plain: Plain,
) -> Response<Body> {
    own(account, outcome, fault, plain, plain.told_to(&HeaderMap::new(), None))
}

fn own(
    mut account: Box<Account>,
    outcome: Outcome,
    fault: Option<Fault>,
    plain: Plain,
    (content_type, text): (HeaderValue, String),
) -> Response<Body> {
    account.outcome = outcome;
    account.fault = fault;
    account.detail = Some(plain.word);
    account.answered(plain.status);
    let mut headers = plain.headers();
    headers.insert(status_field::CACHE_STATUS, status_field::own(plain.word));
    headers.insert(header::CONTENT_TYPE, content_type);
    let text = Bytes::from(text);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    let length = text.len() as u64;
    // HTTP/2 sends what it is given, and a body after HEAD is the client's protocol error.
    let text = if account.is_of_head() { Source::Empty } else { Source::Full(text) };
    respond(plain.status, headers, Body::new(text, Some(length), account))
}

/// The answer to a purge that is in force.
pub(super) fn purged(mut account: Box<Account>, told: &serde_json::Value) -> Response<Body> {
    account.outcome = Outcome::Pass;
    account.detail = Some("purged");
    account.answered(StatusCode::OK);
    let text = Bytes::from(format!("{told}\n"));
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(status_field::CACHE_STATUS, status_field::own("purged"));
    let length = text.len() as u64;
    respond(StatusCode::OK, headers, Body::new(Source::Full(text), Some(length), account))
}

/// The line and the counters of a request that the listener refused before it was a request. Its target is left out where a
/// rule hides it, or where it cannot be told which rules it falls under.
pub(super) fn account_refused(
    accounts: &Arc<Accounts>,
    known: &Known<'_>,
    connection: &Connection,
    refused: &Refused<'_>,
) {
    let arrival = Arrival { listener: &connection.listener, client: connection.peer, https: connection.tls };
    let mut request = http::Request::new(());
    if let Some(head) = refused.head {
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers.clone();
    }
    let mut account = Account::open(accounts, &arrival, &request);
    // Of two hosts nobody knows which one is meant.
    let routed =
        refused.reason != "bad-host" && route::route(known, &request, connection.tls, &mut account).is_ok();
    account.hide_path |= !routed;
    account.outcome = Outcome::Refused;
    account.fault = Some(Fault::Client);
    account.detail = Some(refused.reason);
    account.answered(refused.status);
    account.complete();
}

/// A response from its parts.
pub(super) fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
