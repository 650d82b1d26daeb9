//! Claims about fields that are read: what forbids is never overlooked, and no number wraps.

use super::field_lines;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use lectern::{
    http_caching::{
        Accepted, Coding, Condition, Directives, EntityTag, Exchange, Fields, Freshness, RequestDirectives,
        Source, Vary, coded_tag, coding, directives::MAX_DELTA, freshen, freshness, groups, invalidation,
        may_store, parse_http_date, status_field, targeted::CDN_CACHE_CONTROL, validate, vary,
    },
    telemetry::Trace,
};
use std::time::{Duration, SystemTime};

/// Field lines, taken as those of a request and as those of its response.
pub fn fields(bytes: &[u8]) {
    let fields = field_lines(bytes);
    let (said, asked) = (Directives::response(&fields), Directives::request(&fields));
    directives(&fields, &said);
    lifetimes(&fields, &said, &asked);
    selecting(&fields);
    validators(&fields);
    variants(&fields);
    storing(&fields, &said);
    targeted(&fields, &said);
    updates(&fields);
    references(&fields);
    trace(&fields);
}

/// A targeted field that says nothing changes nothing, and one that speaks is heard alone.
fn targeted(fields: &HeaderMap, said: &Directives) {
    assert_eq!(Directives::said_to(&[], fields), *said);
    let heard = Directives::said_to(&[CDN_CACHE_CONTROL], fields);
    assert!(heard.targeted || heard == *said);
    assert!([heard.max_age, heard.s_maxage].iter().flatten().all(|secs| *secs <= MAX_DELTA));
    let mut alone = fields.clone();
    alone.remove(header::CACHE_CONTROL);
    assert!(!heard.targeted || Directives::said_to(&[CDN_CACHE_CONTROL], &alone) == heard);
}

/// What is stored, updated by itself, is itself; but for its age.
fn updates(fields: &HeaderMap) {
    assert_eq!(freshen::updated(fields, fields), *fields);
    let mut without = fields.clone();
    without.remove(header::AGE);
    assert_eq!(freshen::updated(fields, &HeaderMap::new()), without);
    let tagged = fields.get(header::ETAG).is_none_or(|tag| EntityTag::parse(tag.as_bytes()).is_some());
    assert!(!tagged || freshen::is_about(fields, fields), "not about itself: {fields:?}");
    let mut told = fields.clone();
    status_field::as_one_line(&mut told);
    status_field::tell(&mut told, status_field::hit(1));
    let member = told.get(status_field::CACHE_STATUS).map(HeaderValue::as_bytes);
    assert!(member.is_some_and(|member| member.ends_with(b"lectern; hit; ttl=1")), "{told:?}");
}

/// What is outdated beside a target is a path of its own origin.
fn references(fields: &HeaderMap) {
    let target = invalidation::Target { https: true, host: "lms.example", path: "/course/1" };
    for path in invalidation::also_outdated(target, fields) {
        assert!(path.starts_with('/') && !path.contains('#'), "{path}");
    }
    for field in [groups::CACHE_GROUPS, groups::CACHE_GROUP_INVALIDATION] {
        assert!(groups::named(&field, fields).len() <= 128);
    }
}

fn directives(fields: &HeaderMap, said: &Directives) {
    let times = [said.max_age, said.s_maxage, said.stale_while_revalidate, said.stale_if_error];
    assert!(times.iter().flatten().all(|secs| *secs <= MAX_DELTA));
    // Without quotes there are no two ways to read it.
    let lines = || fields.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let stands = |word: &str| {
        lines().any(|line| {
            !line.contains('"') && line.split([',', ';', ' ', '\t']).any(|d| d.eq_ignore_ascii_case(word))
        })
    };
    assert!(said.no_store || !stands("no-store"), "no-store is overlooked: {fields:?}");
    assert!(said.private.is_some() || !stands("private"), "private is overlooked: {fields:?}");
    assert!(said.validate_always() || !stands("no-cache"), "no-cache is overlooked: {fields:?}");
    assert!(said.forbid_stale() || !stands("must-revalidate"), "must-revalidate is overlooked: {fields:?}");
    // Said twice it is not said otherwise.
    let mut twice = fields.clone();
    for line in fields.get_all(header::CACHE_CONTROL) {
        twice.append(header::CACHE_CONTROL, line.clone());
    }
    let again = Directives::response(&twice);
    assert_eq!((again.no_store, again.max_age, again.s_maxage), (said.no_store, said.max_age, said.s_maxage));
    assert_eq!((again.public, again.forbid_stale()), (said.public, said.forbid_stale()));
}

fn lifetimes(fields: &HeaderMap, said: &Directives, asked: &RequestDirectives) {
    let received = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let date = freshness::date(fields, received);
    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::FOUND] {
        let lifetime = freshness::lifetime(status, fields, said, date);
        assert!(lifetime.secs <= MAX_DELTA);
        assert!(lifetime.source != Source::Heuristic || lifetime.secs <= freshness::HEURISTIC_LIMIT);
        let initial_age = freshness::initial_age(fields, received - Duration::from_secs(1), received);
        let fresh = Freshness::new(lifetime, said, initial_age, received);
        let mut before = initial_age;
        for later in [0, 1, 60, 86_400, MAX_DELTA, 1 << 40] {
            let now = received + Duration::from_secs(later);
            let age = fresh.age(now);
            assert!(age >= before, "it grew younger: {fields:?}");
            assert_eq!(i128::from(fresh.ttl(now)), i128::from(lifetime.secs) - i128::from(age));
            assert!(!fresh.is_fresh(asked, now) || (age < lifetime.secs && !said.validate_always()));
            let stale =
                fresh.while_revalidate(asked, now) || fresh.if_error(now) || fresh.max_stale(asked, now);
            assert!(!stale || !said.forbid_stale(), "stale in spite of what it says: {fields:?}");
            before = age;
        }
        // A clock that was set back.
        assert!(fresh.age(SystemTime::UNIX_EPOCH) >= initial_age);
    }
}

fn selecting(fields: &HeaderMap) {
    let accepted = Accepted::by(fields);
    assert!(accepted.preferred().next().is_some(), "nothing could be sent: {fields:?}");
    let sent = [(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted.class()))];
    assert_eq!(Accepted::by(&sent.into_iter().collect()).class(), accepted.class());
    let Vary::Fields(names) = vary::parse(fields) else { return };
    assert!(names.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
    let values: Vec<_> = names.iter().map(|name| vary::selecting_value(name, fields)).collect();
    assert!(vary::same(&names, &values, fields), "a request is not like itself: {fields:?}");
    // As it is kept it can be sent, and selects the same.
    let sent = names.iter().zip(&values).filter_map(|(name, value)| {
        let value = HeaderValue::from_bytes(value.as_bytes()?).unwrap_or_else(|_| panic!("{value:?}"));
        Some((name.clone(), value))
    });
    assert!(vary::same(&names, &values, &sent.collect()), "kept as something else: {fields:?}");
}

/// Whoever has a variant has its source, whatever that is tagged by.
fn variants(fields: &HeaderMap) {
    let Some(recodable) = coding::recodable(StatusCode::OK, fields) else { return };
    for to in Coding::ALL.into_iter().filter(|to| recodable.may_become(*to)) {
        let head = coding::recoded(fields, to, coding::Bytes::There { length: 7, mark: [1, 2, 3, 4] });
        assert!(coding::recodable(StatusCode::OK, &head).is_none_or(|again| again.from == to), "{head:?}");
        let Some((own, coded)) = fields.get(header::ETAG).zip(head.get(header::ETAG)) else { continue };
        let mut asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, coded.clone())]);
        for _ in 0..2 {
            let said = validate::evaluate(&asked, &Method::GET, Some(own), None);
            assert_eq!(said, Condition::NotModified, "{own:?}: {asked:?}");
            coded_tag::sent_onward(&mut asked);
        }
    }
}

fn validators(fields: &HeaderMap) {
    let etag = fields.get(header::ETAG);
    let modified = fields.get(header::LAST_MODIFIED).and_then(parse_http_date);
    let date = fields.get(header::DATE).and_then(parse_http_date);
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        let condition = validate::evaluate(fields, &method, etag, modified);
        assert!(condition != Condition::NotModified || method != Method::PUT);
    }
    validate::if_range_holds(fields, etag, modified, date);
    for value in fields.values() {
        let Some(time) = parse_http_date(value) else { continue };
        let text = httpdate::fmt_http_date(time);
        assert_eq!(
            HeaderValue::try_from(&text).ok().as_ref().and_then(parse_http_date),
            Some(time),
            "{text}"
        );
    }
    let Some((value, tag)) = etag.and_then(|value| Some((value, EntityTag::parse(value.as_bytes())?))) else {
        return;
    };
    assert!(EntityTag::parse(tag.opaque()).is_some_and(|strong| !strong.is_weak() && strong.weak_eq(tag)));
    let with = |name| [(name, value.clone())].into_iter().collect::<HeaderMap>();
    let asked = with(header::IF_NONE_MATCH);
    assert_eq!(validate::evaluate(&asked, &Method::GET, etag, None), Condition::NotModified, "{value:?}");
    assert_eq!(
        validate::if_range_holds(&with(header::IF_RANGE), etag, None, None),
        !tag.is_weak(),
        "{value:?}"
    );
}

fn storing(fields: &HeaderMap, said: &Directives) {
    for status in [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::NOT_FOUND] {
        for (by_rule, path_extension) in [(false, None), (true, Some("css"))] {
            let stored = may_store(&Exchange {
                method: &Method::GET,
                request_authorization: fields.contains_key(header::AUTHORIZATION),
                request_cookie_sent: fields.contains_key(header::COOKIE),
                request_no_store: false,
                status,
                headers: fields,
                directives: said,
                path_extension,
                lifetime_by_rule: by_rule,
                shared_by_rule: by_rule,
                private_by_rule: by_rule,
                asked_by_rule: false,
                storable_status_by_rule: by_rule,
                stale_by_rule: by_rule,
                proven_by_rule: by_rule,
                received: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            });
            let never = status == StatusCode::PARTIAL_CONTENT
                || fields.contains_key(header::SET_COOKIE)
                || said.private == Some(Fields::All)
                || vary::parse(fields) == Vary::Any;
            assert!(!never || stored.is_err(), "{status} {fields:?}");
        }
    }
}

fn trace(fields: &HeaderMap) {
    let trace = Trace::from(fields);
    assert!(trace.id().len() == 32 && trace.id().bytes().all(|b| b.is_ascii_hexdigit()));
    let mut sent = fields.clone();
    trace.apply(&mut sent);
    assert_eq!(Trace::from(&sent).header(), trace.header());
}
