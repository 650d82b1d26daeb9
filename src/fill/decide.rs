//! What the head of a fill's answer means: may it be stored, may it be shared, how long is it fresh.
//!
//! Pure: plain values in, plain values out.

use crate::{
    access::{self, Answer, Asking, Evidence, Known},
    cache::{Body, CodingSettings, Selecting, StoredParts, StoredResponse},
    fill::{
        request::selects_nothing,
        task::{Ask, FillHead},
    },
    http_caching::{
        Directives, EntityTag, Freshness, Tags, Vary,
        coding::{recodable, told_in_vary},
        freshen, freshness, status_field,
        storable::{self, is_personal, may_store},
        vary,
    },
    ledger::Number,
    origin::Head,
    release::Proof,
    rules::{Policy, Said, ValidatorRule},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use std::{sync::Arc, time::Duration};

/// So long a failure that says how long it may be stored is fresh, unless a rule says it (G22): an origin that recovers is asked.
const FAILURE: Duration = Duration::from_secs(10);

/// What is made of an answer.
pub(super) struct Decision {
    pub head: FillHead,
    /// Whether the body is to be kept and stored; else why not.
    pub storable: Result<(), &'static str>,
}

/// What was asked, as far as it bears on what the answer means.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    /// Fields that were sent.
    pub headers: &'a HeaderMap,
    /// Normalised path.
    pub path: &'a str,
    /// The version that was asked for.
    pub version: Option<&'a str>,
    pub policy: Option<&'a Policy>,
    /// Fields that are heeded in place of `Cache-Control`.
    pub targets: &'a [HeaderName],
    /// It was asked in a learner's name: the LMS decides who may have it.
    pub asked: bool,
    /// What proves it to be of the release that was asked for.
    pub proof: Option<&'a Proof>,
}

impl Sent<'_> {
    /// The module that the rule makes of the path.
    fn module(&self) -> Option<String> {
        self.policy?.module.as_ref()?.fill(self.path)
    }

    /// What an answer says of the version that was asked for.
    fn said(&self, headers: &HeaderMap) -> Said {
        let rule = self.policy.and_then(|policy| policy.version.as_ref());
        rule.map_or(Said::Nothing, |rule| rule.said(headers, self.version))
    }

    /// An answer of another version is not stored under the URL of the one that was asked for.
    fn version_fits(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        if self.said(headers) == Said::Other { Err("other-version") } else { Ok(()) }
    }

    /// Whether it is proven to be what was asked for.
    fn is_proven(&self, headers: &HeaderMap) -> bool {
        self.said(headers) == Said::Same || self.proof.is_some_and(|proof| proof.proves(headers))
    }
}

impl<'a> From<&'a Ask> for Sent<'a> {
    fn from(ask: &'a Ask) -> Sent<'a> {
        let policy = ask.policy.as_deref();
        Sent {
            headers: &ask.request.headers,
            path: &ask.path,
            version: policy.and_then(|policy| policy.version_of(&ask.path, ask.query.as_deref())),
            policy,
            targets: &ask.site.targeted_fields,
            asked: ask.asking.is_some(),
            proof: ask.part.as_ref().map(|part| &*part.proof),
        }
    }
}

/// The name this node goes by in `Via` (RFC 9110 §7.6.3).
pub const VIA: HeaderValue = HeaderValue::from_static("1.1 lectern");

/// Notes on an answer that it came through here, and when, if it does not say (RFC 9110 §6.6.1).
pub(super) fn arrived(head: &mut Head) {
    head.headers.append(header::VIA, VIA);
    status_field::as_one_line(&mut head.headers);
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
    coding: &CodingSettings,
) -> Decision {
    let sent = Sent::from(ask);
    let directives = Directives::said_to(sent.targets, &head.headers);
    let policy = sent.policy;
    let freshness = freshness_of(&head, head.status, &head.headers, sent, &directives);
    // A file with a digest has no variants.
    let selecting = match sent.proof.is_some_and(|proof| !proof.digests.is_none()) {
        true => Selecting::default(),
        false => selecting(&head.headers, sent.headers),
    };
    let (yes, allowed) = match ask.asking.as_ref().map(|asking| judged(asking, &head, ask)) {
        None => (None, Ok(())),
        Some(Answer::Current(yes) | Answer::Brings(yes)) => (Some(yes), Ok(())),
        Some(Answer::Failed) => (None, Err("failed")),
        Some(Answer::Other | Answer::No) => (None, Err("not-allowed")),
    };
    let fits = may_keep(&head, sent, &directives).and(sent.version_fits(&head.headers));
    let storable = allowed.and(fits).and(if delimited_by_close {
        Err("close-delimited")
    } else if length.is_some_and(|length| length > limit(content_tag(&head.headers, policy).is_some())) {
        Err("too-long")
    } else {
        Ok(())
    });
    let shared = match storable {
        Err(word) if word != "too-long" => Err(word),
        // Storable, but to be validated at each use: it answers the request that asked, nobody else.
        _ if sent.proof.is_none_or(|proof| !proof.proves(&head.headers))
            && (freshness.lifetime <= freshness.initial_age || freshness.validate_always) =>
        {
            Err("no-lifetime")
        }
        _ => Ok(()),
    };
    let Head { status, mut headers, server, requested, .. } = head;
    let tags = Tags::taken(&mut headers, sent.module());
    let (kept, tag) = (storable.is_ok(), content_tag(&headers, policy));
    if kept && is_chosen_by_coding(status, &headers, coding.may_code(length)) {
        told_in_vary(&mut headers);
    }
    let own_fields = directives.unstored_fields().cloned().collect();
    let head = FillHead {
        status,
        headers,
        own_fields,
        length,
        selecting,
        freshness,
        born,
        shared,
        kept,
        unproven: false,
        tag,
        yes,
        tags,
        server,
        requested,
    };
    Decision { head, storable }
}

/// What an answer means for the learner in whose name it was asked.
pub(super) fn judged(asking: &Asking, head: &Head, ask: &Ask) -> Answer {
    let policy = ask.policy.as_deref();
    let tag = content_tag(&head.headers, policy);
    let vouched = asking.learner().is_vouched();
    let said = Evidence { status: head.status, headers: &head.headers, tag: tag.as_ref(), vouched };
    let stored =
        ask.replaces.as_ref().and_then(|old| Some(Known { tag: old.content_tag()?, headers: &old.headers }));
    let coming =
        ask.coming.as_ref().and_then(|head| Some(Known { tag: head.tag.as_ref()?, headers: &head.headers }));
    let known = stored.or(coming);
    access::judge(asking, &said, known)
}

/// Whether what is stored goes out in several codings, or is not for who does not take the one it has. `codes`: one of its length is
/// coded.
fn is_chosen_by_coding(status: StatusCode, headers: &HeaderMap, codes: bool) -> bool {
    let becomes = || recodable(status, headers).is_some_and(|recodable| recodable.compressible);
    headers.contains_key(header::CONTENT_ENCODING) || (codes && becomes())
}

fn may_keep(head: &Head, sent: Sent<'_>, directives: &Directives) -> Result<(), &'static str> {
    let policy = sent.policy;
    may_store(&storable::Exchange {
        method: &Method::GET,
        request_authorization: sent.headers.contains_key(header::AUTHORIZATION),
        request_cookie_sent: sent.headers.contains_key(header::COOKIE),
        request_no_store: false,
        status: head.status,
        headers: &head.headers,
        directives,
        path_extension: extension(sent.path),
        lifetime_by_rule: policy
            .is_some_and(|policy| policy.lifetime.is_some_and(|lifetime| !lifetime.is_zero()))
            || sent.proof.is_some_and(|proof| proof.proves(&head.headers)),
        shared_by_rule: policy.is_some_and(|policy| policy.shared),
        private_by_rule: policy.is_some_and(|policy| policy.lift_private),
        asked_by_rule: sent.asked,
        storable_status_by_rule: policy.is_some_and(|policy| speaks_for(policy, head.status)),
        proven_by_rule: sent.is_proven(&head.headers),
        stale_by_rule: policy.is_some_and(|p| p.stale_while_revalidate.or(p.stale_if_error).is_some()),
        received: head.received,
    })
    .map_err(|why| why.word())
}

/// The stored response with its fields and terms brought up to date by an answer that says it is the same still (RFC 9111
/// §3.2); `None` if that says that it may not be stored (any more).
pub(super) fn freshened(
    old: &StoredResponse,
    head: &Head,
    sent: Sent<'_>,
    born: Number,
) -> Option<StoredResponse> {
    let mut merged = Head {
        status: old.status,
        headers: freshen::updated(&old.headers, &head.headers),
        server: head.server,
        requested: head.requested,
        received: head.received,
    };
    // Its own fields have none of them: those stand with it.
    let tags = old.tags.updated(&mut merged.headers, sent.module());
    let directives = Directives::said_to(sent.targets, &merged.headers);
    may_keep(&merged, sent, &directives).and(sent.version_fits(&merged.headers)).ok()?;
    let freshness = freshness_of(head, old.status, &merged.headers, sent, &directives);
    let (etag, last_modified) = validators(&merged.headers, sent.policy);
    Some(StoredResponse::new(StoredParts {
        status: old.status,
        headers: stored_fields(without(merged.headers, directives.unstored_fields()), old.length),
        selecting: old.selecting.clone(),
        etag,
        last_modified,
        length: old.length,
        body: old.body.clone(),
        freshness,
        born,
        tags,
    }))
}

/// The stored response for an answer whose body came, or a part of it.
pub(super) fn stored(head: &FillHead, ask: &Ask, length: u64, body: Arc<Body>) -> StoredResponse {
    let (etag, last_modified) = validators(&head.headers, ask.policy.as_deref());
    StoredResponse::new(StoredParts {
        status: head.status,
        headers: stored_fields(head.headers_for_others(), length),
        selecting: head.selecting.clone(),
        etag,
        last_modified,
        length,
        body,
        freshness: head.freshness,
        born: head.born,
        tags: head.tags.clone(),
    })
}

/// The fields as they are stored. Those that are told anew at each use have their place already, so that a hit copies the
/// fields and moves none.
fn stored_fields(mut stored: HeaderMap, length: u64) -> HeaderMap {
    stored.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    stored.insert(header::AGE, HeaderValue::from_static("0"));
    stored.entry(status_field::CACHE_STATUS).or_insert(status_field::PLACE);
    stored
}

/// The fields but for some.
pub(super) fn without<'a>(mut headers: HeaderMap, names: impl Iterator<Item = &'a HeaderName>) -> HeaderMap {
    for name in names {
        headers.remove(name);
    }
    headers
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
    sent: Sent<'_>,
    directives: &Directives,
) -> Freshness {
    let date = freshness::date(headers, head.received);
    let lifetime = freshness::lifetime(status, headers, directives, date);
    let initial_age = freshness::initial_age(&head.headers, head.requested, head.received);
    let mut freshness = Freshness::new(lifetime, directives, initial_age, head.received);
    if is_failure(status) && sent.policy.is_none_or(|policy| policy.negative_lifetime.is_none()) {
        shorten(&mut freshness, FAILURE);
    }
    let Some(policy) = sent.policy else { return freshness };
    if sent.asked && freshness::explicit_lifetime(headers, directives, date).is_none() {
        // What came with somebody's credentials is never fresh by a guess.
        freshness.lifetime = 0;
    }
    if let Some(lifetime) = policy.lifetime.filter(|_| speaks_for(policy, status)) {
        freshness.lifetime = lifetime.as_secs().saturating_add(initial_age);
        freshness.validate_always = false;
    }
    if status.as_u16() >= 400
        && let Some(limit) = policy.negative_lifetime
    {
        shorten(&mut freshness, limit);
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

/// Ends it so long after it came at the latest.
fn shorten(freshness: &mut Freshness, limit: Duration) {
    freshness.lifetime = freshness.lifetime.min(limit.as_secs().saturating_add(freshness.initial_age));
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
