//! Decides whether a response may be stored at all (RFC 9111 §3, and "What is never stored" of the design). It comes
//! after all rules: a rule lifts only what stands in [`Exchange`] as `_by_rule`. Must never be bypassed.

use super::{
    directives::{Directives, Fields},
    freshness::{self, heuristically_cacheable},
    list::{self, Quotes},
    vary::{self, Vary},
};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use std::time::SystemTime;

/// All that the decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Method of the request.
    pub method: &'a Method,
    /// The client's request had `Authorization`.
    pub request_authorization: bool,
    /// A `Cookie` went to the origin.
    pub request_cookie_sent: bool,
    /// The request said `no-store`, and requests are obeyed here.
    pub request_no_store: bool,
    /// Status of the response.
    pub status: StatusCode,
    /// Fields of the response as the origin sent them.
    pub headers: &'a HeaderMap,
    /// [`Directives::response`] of `headers`.
    pub directives: &'a Directives,
    /// Extension of the last path segment, without the dot, in any case.
    pub path_extension: Option<&'a str>,
    /// A rule says what proves it to be the file that was asked for, and that does: it needs no type.
    pub proven_by_rule: bool,
    /// A rule gives a lifetime.
    pub lifetime_by_rule: bool,
    /// A rule says that the path is the same for everybody: lifts [`NotStorable::Cookie`] only.
    pub shared_by_rule: bool,
    /// A rule asks each client for permission, and says that what is `private` may be stored: lifts an unqualified
    /// [`NotStorable::Private`] only.
    pub private_by_rule: bool,
    /// The LMS is asked in the learner's own name, and asked again about each other learner: lifts [`NotStorable::Cookie`] and
    /// [`NotStorable::Authorization`].
    pub asked_by_rule: bool,
    /// The rule that gives the lifetime speaks for this status.
    pub storable_status_by_rule: bool,
    /// A rule gives a window to serve stale in.
    pub stale_by_rule: bool,
    /// When the response was received.
    pub received: SystemTime,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStorable {
    /// Not a GET.
    Method,
    /// A status that is never stored, or not without an explicit lifetime.
    Status,
    /// A 206: a part is not the whole.
    Partial,
    /// `must-understand`, and the status is not understood (RFC 9111 §5.2.2.3).
    MustUnderstand,
    /// It sets a cookie.
    SetCookie,
    /// `no-store`.
    NoStore,
    /// `private` without field names.
    Private,
    /// The request had `Authorization`, and nothing in the response allows sharing (RFC 9111 §3.5).
    Authorization,
    /// A cookie went to the origin, and neither the response nor a rule says that it is the same for everybody.
    Cookie,
    /// It varies on everything, on cookies or on credentials.
    Vary,
    /// A static file's name, but HTML or no type: a page dressed as a file.
    Disguised,
    /// Never fresh, no validator, no window to serve stale in: it could never be reused.
    NoLifetime,
}

impl NotStorable {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [NotStorable; 12] = [
        NotStorable::Method,
        NotStorable::Status,
        NotStorable::Partial,
        NotStorable::MustUnderstand,
        NotStorable::SetCookie,
        NotStorable::NoStore,
        NotStorable::Private,
        NotStorable::Authorization,
        NotStorable::Cookie,
        NotStorable::Vary,
        NotStorable::Disguised,
        NotStorable::NoLifetime,
    ];

    /// The word in metric, log and `Cache-Status`.
    pub const fn word(self) -> &'static str {
        match self {
            NotStorable::Method => "method",
            NotStorable::Status => "status",
            NotStorable::Partial => "partial",
            NotStorable::MustUnderstand => "must-understand",
            NotStorable::SetCookie => "set-cookie",
            NotStorable::NoStore => "no-store",
            NotStorable::Private => "private",
            NotStorable::Authorization => "authorization",
            NotStorable::Cookie => "cookie",
            NotStorable::Vary => "vary",
            NotStorable::Disguised => "disguised",
            NotStorable::NoLifetime => "no-lifetime",
        }
    }
}

/// May this response be stored? The first reason against it, if there is one.
pub fn may_store(facts: &Exchange<'_>) -> Result<(), NotStorable> {
    if *facts.method != Method::GET {
        return Err(NotStorable::Method);
    }
    let date = freshness::date(facts.headers, facts.received);
    let said = freshness::explicit_lifetime(facts.headers, facts.directives, date);
    let by_rule = facts.lifetime_by_rule && facts.storable_status_by_rule;
    let explicit = said.is_some() || by_rule;
    status(facts, explicit)?;
    privacy(facts, explicit)?;
    match vary::parse(facts.headers) {
        Vary::Any => return Err(NotStorable::Vary),
        Vary::Fields(names) if names.iter().any(is_personal) => return Err(NotStorable::Vary),
        _ => {}
    }
    if disguised(facts) {
        return Err(NotStorable::Disguised);
    }
    if by_rule || reusable(facts, said) { Ok(()) } else { Err(NotStorable::NoLifetime) }
}

/// Could it ever answer a second request?
fn reusable(facts: &Exchange<'_>, said: Option<u64>) -> bool {
    let directives = facts.directives;
    let window = |secs: Option<u64>| secs.is_some_and(|secs| secs > 0);
    let validator =
        facts.headers.contains_key(header::ETAG) || facts.headers.contains_key(header::LAST_MODIFIED);
    let stale =
        facts.stale_by_rule || window(directives.stale_while_revalidate) || window(directives.stale_if_error);
    validator
        || (window(said) && !directives.validate_always())
        || (said.is_some() && stale && !directives.forbid_stale())
}

fn status(facts: &Exchange<'_>, explicit: bool) -> Result<(), NotStorable> {
    let code = facts.status.as_u16();
    match code {
        206 => return Err(NotStorable::Partial),
        // Not final; 304 changes what is stored, but is not itself a response to store.
        ..200 | 304 => return Err(NotStorable::Status),
        // Speak of credentials, conditions or ranges of one request.
        401 | 407 | 408 | 412 | 416 | 417 => return Err(NotStorable::Status),
        // RFC 6585 §3 to §6: must not be stored.
        428 | 429 | 431 | 511 => return Err(NotStorable::Status),
        _ => {}
    }
    if facts.directives.must_understand && !understood(facts.status) {
        return Err(NotStorable::MustUnderstand);
    }
    let by_default = heuristically_cacheable(facts.status) || facts.directives.public;
    // A redirect may hold a signed URL: `public` alone says nothing of how long that lives.
    let redirect = matches!(code, 302 | 303 | 307);
    if explicit || (by_default && !redirect) { Ok(()) } else { Err(NotStorable::Status) }
}

/// Statuses whose caching this cache knows (RFC 9110 §15).
fn understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 302 | 303 | 307 | 308 | 400 | 403 | 404 | 405 | 410 | 414 | 451 | 500
            ..=504
    )
}

fn privacy(facts: &Exchange<'_>, explicit: bool) -> Result<(), NotStorable> {
    let said = facts.directives;
    if facts.headers.contains_key(header::SET_COOKIE) || facts.headers.contains_key("set-cookie2") {
        return Err(NotStorable::SetCookie);
    }
    // RFC 9111 §5.2.2.3: no-store stands beside must-understand for caches that do not know the latter. The status
    // was found to be understood.
    if facts.request_no_store || (said.no_store && !said.must_understand) {
        return Err(NotStorable::NoStore);
    }
    if said.private == Some(Fields::All) && !facts.private_by_rule {
        return Err(NotStorable::Private);
    }
    if facts.asked_by_rule {
        return Ok(());
    }
    let shareable = said.public || said.s_maxage.is_some();
    if facts.request_authorization && !shareable && !said.must_revalidate {
        return Err(NotStorable::Authorization);
    }
    // A targeted field speaks to shared caches and to nobody else.
    if facts.request_cookie_sent && !(explicit && (shareable || said.targeted || facts.shared_by_rule)) {
        return Err(NotStorable::Cookie);
    }
    Ok(())
}

/// Selecting fields that name one person, or the address of one: what is chosen by them is for nobody else.
pub fn is_personal(name: &HeaderName) -> bool {
    *name == header::COOKIE
        || *name == header::AUTHORIZATION
        || *name == header::FORWARDED
        || matches!(name.as_str(), "x-forwarded-for" | "x-real-ip")
}

/// Extensions that no page of a learner has.
const STATIC: &[&str] = &[
    "css",
    "js",
    "mjs",
    "map",
    "json",
    "wasm",
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "avif",
    "ico",
    "bmp",
    "woff",
    "woff2",
    "ttf",
    "otf",
    "eot",
    "mp4",
    "m4v",
    "m4s",
    "m4a",
    "webm",
    "ts",
    "mp3",
    "ogg",
    "oga",
    "ogv",
    "wav",
    "mov",
    "m3u8",
    "mpd",
    "vtt",
    "srt",
    "pdf",
    "xml",
    "txt",
    "csv",
    "zip",
    "gz",
    "swf",
    "webmanifest",
    "doc",
    "docx",
    "xls",
    "xlsx",
    "ppt",
    "pptx",
    "odt",
    "epub",
];

/// Is a static file's name answered with a page, or with something that does not say what it is?
fn disguised(facts: &Exchange<'_>) -> bool {
    let Some(extension) = facts.path_extension else {
        return false;
    };
    if !STATIC.iter().any(|known| extension.eq_ignore_ascii_case(known)) {
        return false;
    }
    // No content, no type.
    if facts.status == StatusCode::NO_CONTENT {
        return false;
    }
    let mut types = list::members(facts.headers, &header::CONTENT_TYPE, Quotes::Escaped).peekable();
    types.peek().is_none() && !facts.proven_by_rule || types.any(is_page_or_nothing)
}

fn is_page_or_nothing(value: &[u8]) -> bool {
    let essence = list::trim(value.split(|&b| b == b';').next().unwrap_or_default());
    !essence.contains(&b'/')
        || essence.eq_ignore_ascii_case(b"text/html")
        || essence.eq_ignore_ascii_case(b"application/xhtml+xml")
}

#[cfg(test)]
#[path = "storable_tests.rs"]
mod tests;
