//! A row per sentence: RFC 9111 §3 and §3.5, "What is never stored" of the design, G23, G24, G28.

use super::{Exchange, NotStorable, may_store};
use crate::http_caching::directives::Directives;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use std::time::{Duration, SystemTime};

type Fields<'a> = &'a [(&'static str, &'a str)];
type Row<'a> = (&'a str, u16, Fields<'a>, Result<(), NotStorable>);

const CC: &str = "cache-control";
const FRESH: (&str, &str) = (CC, "max-age=600");
const PUBLIC: (&str, &str) = (CC, "public, max-age=600");
const ETAG: (&str, &str) = ("etag", "\"a\"");
const PAST: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
const COOKIE: (&str, &str) = ("set-cookie", "sid=AAA");

/// Decides for a plain GET, changed by `change`.
fn decide(
    status: u16,
    fields: Fields<'_>,
    change: impl FnOnce(&mut Exchange<'_>),
) -> Result<(), NotStorable> {
    let headers: HeaderMap =
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect();
    let mut facts = Exchange {
        method: &Method::GET,
        request_authorization: false,
        request_cookie_sent: false,
        request_no_store: false,
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
        directives: &Directives::response(&headers),
        path_extension: None,
        lifetime_by_rule: false,
        shared_by_rule: false,
        private_by_rule: false,
        asked_by_rule: false,
        storable_status_by_rule: false,
        stale_by_rule: false,
        proven_by_rule: false,
        received: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    };
    change(&mut facts);
    may_store(&facts)
}

fn check(table: &[Row<'_>], change: impl Fn(&mut Exchange<'_>)) {
    for (section, status, fields, want) in table {
        assert_eq!(decide(*status, fields, &change), *want, "{section}: {status} {fields:?}");
    }
}

fn rule_lifetime(facts: &mut Exchange<'_>) {
    facts.lifetime_by_rule = true;
    facts.storable_status_by_rule = true;
}

#[test]
fn where_the_lms_is_asked_what_speaks_of_one_learner_is_lifted_and_nothing_else() {
    use NotStorable::{NoStore, Partial, Private, SetCookie, Vary};
    let hers = |facts: &mut Exchange<'_>| {
        facts.asked_by_rule = true;
        facts.private_by_rule = true;
        facts.request_cookie_sent = true;
        facts.request_authorization = true;
    };
    let table: &[Row<'_>] = &[
        ("private", 200, &[(CC, "private, max-age=600")], Ok(())),
        ("private, with a validator alone", 200, &[(CC, "private"), ETAG], Ok(())),
        ("cookie and credentials", 200, &[FRESH], Ok(())),
        ("Set-Cookie", 200, &[(CC, "private, max-age=600"), COOKIE], Err(SetCookie)),
        ("no-store", 200, &[(CC, "private, no-store"), ETAG], Err(NoStore)),
        ("a part", 206, &[FRESH, ETAG], Err(Partial)),
        ("Vary: Cookie", 200, &[FRESH, ("vary", "Cookie")], Err(Vary)),
        ("private fields, which are not stored", 200, &[(CC, "private=\"x-name\", max-age=600")], Ok(())),
    ];
    check(table, hers);
    let private: &[Row<'_>] = &[("private, not lifted", 200, &[(CC, "private, max-age=600")], Err(Private))];
    check(private, |facts| facts.asked_by_rule = true);
}

fn everything_by_rule(facts: &mut Exchange<'_>) {
    rule_lifetime(facts);
    facts.shared_by_rule = true;
    facts.stale_by_rule = true;
}

#[test]
fn a_response_is_stored_if_it_says_how_long_or_can_be_validated() {
    use NotStorable::{NoLifetime, NoStore, Private, SetCookie, Status, Vary};
    let table: &[Row<'_>] = &[
        ("§3 max-age", 200, &[FRESH], Ok(())),
        ("§3 s-maxage", 200, &[(CC, "s-maxage=1")], Ok(())),
        ("§3 Expires", 200, &[("expires", "Sat, 06 Nov 2060 08:49:37 GMT")], Ok(())),
        ("§3 cacheable by default, with a validator", 200, &[ETAG], Ok(())),
        ("§3 cacheable by default, heuristic", 200, &[PAST], Ok(())),
        ("§3 neither lifetime nor validator", 200, &[], Err(NoLifetime)),
        ("§3 public is no lifetime", 200, &[(CC, "public")], Err(NoLifetime)),
        ("§4.2 stale at once, no validator", 200, &[(CC, "max-age=0")], Err(NoLifetime)),
        ("§5.3 stale at once, no validator", 200, &[("expires", "0")], Err(NoLifetime)),
        ("§4.2 stale at once, with a validator", 200, &[(CC, "max-age=0"), ETAG], Ok(())),
        ("RFC 5861 stale at once, but usable so", 200, &[(CC, "max-age=0, stale-if-error=9")], Ok(())),
        (
            "§4.2.4 and stale forbidden",
            200,
            &[(CC, "max-age=0, stale-if-error=9, must-revalidate")],
            Err(NoLifetime),
        ),
        ("§5.2.2.4 no-cache, no validator", 200, &[(CC, "no-cache, max-age=9")], Err(NoLifetime)),
        ("§5.2.2.4 no-cache may be stored", 200, &[(CC, "no-cache, max-age=9"), ETAG], Ok(())),
        ("§5.2.2.4 named fields may be left out", 200, &[(CC, "no-cache=\"x\", max-age=9")], Ok(())),
        ("§5.2.2.5 no-store", 200, &[(CC, "no-store, max-age=9"), ETAG], Err(NoStore)),
        ("§5.2.2.7 private", 200, &[(CC, "private, max-age=9"), ETAG], Err(Private)),
        ("§5.2.2.7 private with names is of those fields", 200, &[(CC, "private=\"x\", max-age=9")], Ok(())),
        ("§5.2.2.7 one name that is none", 200, &[(CC, "private=\"x y\", max-age=9")], Err(Private)),
        ("§5.2.2.7 private beats public", 200, &[(CC, "public, private, max-age=9")], Err(Private)),
        ("§7.3 Set-Cookie", 200, &[PUBLIC, COOKIE], Err(SetCookie)),
        ("§4.1 Vary: *", 200, &[FRESH, ("vary", "*")], Err(Vary)),
        ("§4.1 a field", 200, &[FRESH, ("vary", "Origin")], Ok(())),
        ("one learner's", 200, &[FRESH, ("vary", "Accept, Cookie")], Err(Vary)),
        ("one learner's", 200, &[FRESH, ("vary", "authorization")], Err(Vary)),
        ("§3 by default", 404, &[PAST], Ok(())),
        ("§3 not by default", 403, &[PAST], Err(Status)),
        ("§3 not by default, but said", 403, &[FRESH], Ok(())),
        ("§3 any final status", 299, &[FRESH], Ok(())),
        ("§3 any final status", 499, &[FRESH], Ok(())),
        ("RFC 9110 §15.6.2 the one 5xx that may be by default", 501, &[PAST], Ok(())),
        ("G34 other 5xx never by default", 500, &[PAST], Err(Status)),
        ("G34 other 5xx never by default", 503, &[PAST, ETAG], Err(Status)),
        ("§4.2.2 public allows", 503, &[(CC, "public"), PAST], Ok(())),
        ("G34 5xx if said", 503, &[FRESH], Ok(())),
        ("G24 302 without a lifetime", 302, &[], Err(Status)),
        ("G24 303 without a lifetime", 303, &[(CC, "public"), PAST], Err(Status)),
        ("G24 307 without a lifetime", 307, &[PAST], Err(Status)),
        ("G24 302 with a lifetime", 302, &[FRESH], Ok(())),
        ("G24 private redirect", 303, &[(CC, "private, max-age=3600, no-transform")], Err(Private)),
    ];
    check(table, |_| {});
}

#[test]
fn some_statuses_are_never_stored() {
    use NotStorable::{Partial, Status};
    let never: &[Row<'_>] = &[
        ("§3 not final", 100, &[PUBLIC, ETAG], Err(Status)),
        ("§3 not final", 103, &[PUBLIC, ETAG], Err(Status)),
        ("§3.4 a part", 206, &[PUBLIC, ETAG], Err(Partial)),
        ("§4.3.4 304 is not itself stored", 304, &[PUBLIC, ETAG], Err(Status)),
        ("of one request: credentials", 401, &[PUBLIC], Err(Status)),
        ("of one request: Moodle's answer to a range", 407, &[PUBLIC], Err(Status)),
        ("of one request: conditions", 412, &[PUBLIC], Err(Status)),
        ("of one request: ranges", 416, &[PUBLIC], Err(Status)),
        ("RFC 6585 §3", 428, &[PUBLIC], Err(Status)),
        ("RFC 6585 §4", 429, &[PUBLIC], Err(Status)),
        ("RFC 6585 §5", 431, &[PUBLIC], Err(Status)),
        ("RFC 6585 §6", 511, &[PUBLIC], Err(Status)),
    ];
    check(never, |_| {});
    check(never, everything_by_rule);
}

#[test]
fn must_understand_replaces_no_store_where_the_status_is_understood() {
    use NotStorable::{MustUnderstand, NoStore, Private};
    let table: &[Row<'_>] = &[
        ("§5.2.2.3 understood", 200, &[(CC, "must-understand, no-store, max-age=9")], Ok(())),
        (
            "§5.2.2.3 not understood",
            299,
            &[(CC, "must-understand, no-store, max-age=9")],
            Err(MustUnderstand),
        ),
        ("§5.2.2.3 not understood", 599, &[(CC, "must-understand, max-age=9")], Err(MustUnderstand)),
        ("§5.2.2.3 lifts nothing else", 200, &[(CC, "must-understand, private, max-age=9")], Err(Private)),
        ("§5.2.2.5", 200, &[(CC, "no-store, max-age=9")], Err(NoStore)),
    ];
    check(table, |_| {});
}

#[test]
fn only_a_get_stores() {
    static OTHERS: [Method; 5] = [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS, Method::DELETE];
    for method in &OTHERS {
        let got = decide(200, &[PUBLIC, ETAG], |facts| {
            everything_by_rule(facts);
            facts.method = method;
        });
        assert_eq!(got, Err(NotStorable::Method), "{method}");
    }
}

#[test]
fn a_request_with_authorization_needs_permission() {
    use NotStorable::Authorization;
    let table: &[Row<'_>] = &[
        ("§3.5 not by itself", 200, &[FRESH], Err(Authorization)),
        ("§3.5 public", 200, &[PUBLIC], Ok(())),
        ("§3.5 s-maxage", 200, &[(CC, "s-maxage=9")], Ok(())),
        ("§3.5 must-revalidate", 200, &[(CC, "max-age=9, must-revalidate")], Ok(())),
        (
            "§3.5 proxy-revalidate is not named",
            200,
            &[(CC, "max-age=9, proxy-revalidate")],
            Err(Authorization),
        ),
    ];
    check(table, |facts| facts.request_authorization = true);
    check(&table[..1], |facts| {
        everything_by_rule(facts);
        facts.request_authorization = true;
    });
}

#[test]
fn a_cookie_that_went_to_the_origin_needs_permission() {
    use NotStorable::Cookie;
    let refused: &[Row<'_>] = &[
        ("neither said nor by rule", 200, &[FRESH], Err(Cookie)),
        ("neither said nor by rule", 200, &[ETAG], Err(Cookie)),
        ("must-revalidate says nothing of cookies", 200, &[(CC, "max-age=9, must-revalidate")], Err(Cookie)),
        ("never with heuristic freshness", 200, &[(CC, "public"), PAST], Err(Cookie)),
    ];
    check(refused, |facts| facts.request_cookie_sent = true);
    let said: &[Row<'_>] =
        &[("public", 200, &[PUBLIC], Ok(())), ("s-maxage", 200, &[(CC, "s-maxage=9")], Ok(()))];
    check(said, |facts| facts.request_cookie_sent = true);
    let shared: &[Row<'_>] = &[
        ("a shared path", 200, &[FRESH], Ok(())),
        ("a shared path, never with heuristic freshness", 200, &[PAST], Err(Cookie)),
    ];
    check(shared, |facts| {
        facts.request_cookie_sent = true;
        facts.shared_by_rule = true;
    });
    check(&[("a lifetime by rule shares nothing", 200, &[PAST], Err(Cookie))], |facts| {
        facts.request_cookie_sent = true;
        rule_lifetime(facts);
    });
    check(&[("both by rule", 200, &[], Ok(()))], |facts| {
        facts.request_cookie_sent = true;
        facts.shared_by_rule = true;
        rule_lifetime(facts);
    });
}

#[test]
fn a_rule_gives_a_lifetime_and_lifts_nothing() {
    use NotStorable::{Disguised, NoStore, Private, SetCookie, Vary};
    let table: &[Row<'_>] = &[
        ("no lifetime said", 200, &[], Ok(())),
        ("5xx", 503, &[], Ok(())),
        ("redirect", 302, &[], Ok(())),
        ("G23 a", 200, &[PUBLIC, COOKIE], Err(SetCookie)),
        ("G23 b", 200, &[(CC, "private")], Err(Private)),
        ("G23 c", 200, &[(CC, "no-store")], Err(NoStore)),
        ("G23 d", 200, &[(CC, "no-cache=\"Set-Cookie\""), COOKIE], Err(SetCookie)),
        ("Vary: *", 200, &[("vary", "*")], Err(Vary)),
        ("Vary: Cookie", 200, &[("vary", "cookie")], Err(Vary)),
    ];
    check(table, everything_by_rule);
    check(&[("disguised", 200, &[FRESH, ("content-type", "text/html")], Err(Disguised))], |facts| {
        everything_by_rule(facts);
        facts.path_extension = Some("css");
    });
    check(&[("of another status", 503, &[], Err(NotStorable::Status))], |facts| {
        facts.lifetime_by_rule = true
    });
    check(&[("a window to serve stale in", 200, &[(CC, "max-age=0")], Ok(()))], |facts| {
        facts.stale_by_rule = true
    });
}

#[test]
fn the_request_may_forbid() {
    check(&[("§5.2.1.5", 200, &[PUBLIC], Err(NotStorable::NoStore))], |facts| facts.request_no_store = true);
}

#[test]
fn a_page_dressed_as_a_file_is_not_stored() {
    let html = Some("text/html; charset=utf-8");
    for (section, extension, status, content_type, stored) in [
        ("G28", Some("css"), 200, html, false),
        ("G28 in capitals", Some("CSS"), 200, Some("TEXT/HTML"), false),
        ("G28 XHTML", Some("js"), 200, Some("application/xhtml+xml"), false),
        ("G28 without a type", Some("png"), 200, None, false),
        ("G28 an empty type", Some("png"), 200, Some(""), false),
        ("G28 no type at all", Some("png"), 200, Some("html"), false),
        ("G28 two types in one", Some("png"), 200, Some("text/html, image/png"), false),
        ("G28 two types in one", Some("png"), 200, Some("image/png, text/html"), false),
        ("G28 an error page", Some("js"), 404, html, false),
        ("a file", Some("css"), 200, Some("text/css"), true),
        ("a file", Some("woff2"), 200, Some("font/woff2"), true),
        ("no content, no type", Some("js"), 204, None, true),
        ("a page by its name", Some("html"), 200, html, true),
        ("a page", None, 200, html, true),
        ("not a static file", Some("php"), 200, html, true),
    ] {
        let mut fields = vec![PUBLIC];
        fields.extend(content_type.map(|value| ("content-type", value)));
        let got = decide(status, &fields, |facts| facts.path_extension = extension);
        assert_eq!(got, if stored { Ok(()) } else { Err(NotStorable::Disguised) }, "{section} {extension:?}");
    }
    let two = [PUBLIC, ("content-type", "image/png"), ("content-type", "text/html")];
    for (fields, stored) in [(&[FRESH][..], true), (&[FRESH, ("content-type", "text/html")][..], false)] {
        let got = decide(200, fields, |facts| {
            (facts.path_extension, facts.proven_by_rule) = (Some("js"), true);
        });
        assert_eq!(
            got.is_ok(),
            stored,
            "what is proven needs no type, and a page is none all the same: {fields:?}"
        );
    }
    let got = decide(200, &two, |facts| facts.path_extension = Some("png"));
    assert_eq!(got, Err(NotStorable::Disguised), "two lines");
}

#[test]
fn each_reason_has_its_word() {
    let words: std::collections::HashSet<_> = NotStorable::ALL.iter().map(|reason| reason.word()).collect();
    assert_eq!(words.len(), NotStorable::ALL.len());
    for (place, reason) in NotStorable::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, place);
    }
}
