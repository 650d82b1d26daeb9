//! How long a response stays fresh and how old it is (RFC 9111 §4.2). What is said badly counts as said short.

use super::{
    directives::{Directives, MAX_DELTA, RequestDirectives},
    list::{self, Quotes},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::time::{Duration, SystemTime};

/// Longest heuristic lifetime, seconds: a day, as RFC 9111 §4.2.2 suggests not to exceed without a warning.
pub const HEURISTIC_LIMIT: u64 = 24 * 60 * 60;

/// Longest heuristic lifetime of an error, seconds: during a release a file may be missing for a moment only.
pub const HEURISTIC_ERROR_LIMIT: u64 = 10;

/// Where a lifetime comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Said by the origin.
    Explicit,
    /// Guessed from `Last-Modified` (§4.2.2).
    Heuristic,
    /// Nothing to go by: stale at once.
    None,
}

/// A freshness lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Seconds.
    pub secs: u64,
    /// Where it comes from.
    pub source: Source,
}

/// What a stored response must remember to know its freshness at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Freshness lifetime, seconds.
    pub lifetime: u64,
    /// Age when it was received, seconds (§4.2.3 `corrected_initial_age`).
    pub initial_age: u64,
    /// When it was received (§4.2.3 `response_time`).
    pub received: SystemTime,
    /// `no-cache`: fresh or not, each reuse is validated first.
    pub validate_always: bool,
    /// Never to be served stale, whatever the windows below say (§4.2.4).
    pub forbid_stale: bool,
    /// Window after the lifetime in which it may serve while a fill brings a new one, seconds.
    pub stale_while_revalidate: u64,
    /// Window after the lifetime in which it may serve when the origin fails, seconds.
    pub stale_if_error: u64,
}

impl Freshness {
    /// The same, with its freshness at an end at this time, if it was not before.
    pub fn ended(self, at: SystemTime) -> Freshness {
        Freshness { lifetime: self.lifetime.min(self.age(at)), ..self }
    }

    /// As the origin says it; a rule may then replace the lifetime and the windows.
    pub fn new(
        lifetime: Lifetime,
        directives: &Directives,
        initial_age: u64,
        received: SystemTime,
    ) -> Freshness {
        Freshness {
            lifetime: lifetime.secs,
            initial_age,
            received,
            validate_always: directives.validate_always(),
            forbid_stale: directives.forbid_stale(),
            stale_while_revalidate: directives.stale_while_revalidate.unwrap_or(0),
            stale_if_error: directives.stale_if_error.unwrap_or(0),
        }
    }

    /// Age at `now`, seconds: the value of `Age`.
    pub fn age(&self, now: SystemTime) -> u64 {
        current_age(self.initial_age, self.received, now)
    }

    /// Seconds of freshness left; negative when stale.
    pub fn ttl(&self, now: SystemTime) -> i64 {
        // Both are at most a few times 2^31.
        self.lifetime as i64 - self.age(now) as i64
    }

    /// May it be served at `now` without asking the origin?
    pub fn is_fresh(&self, request: &RequestDirectives, now: SystemTime) -> bool {
        is_fresh(self.lifetime, self.age(now), self.validate_always, request)
    }

    /// Stale, but may serve while a fill brings a new one (RFC 5861 §3)?
    pub fn while_revalidate(&self, request: &RequestDirectives, now: SystemTime) -> bool {
        !request.no_cache
            && request.max_age.is_none()
            && request.min_fresh.is_none()
            && self.within(self.stale_while_revalidate, now)
    }

    /// Stale, but may serve as the origin failed (RFC 5861 §4)?
    pub fn if_error(&self, now: SystemTime) -> bool {
        self.within(self.stale_if_error, now)
    }

    /// Stale, but the request takes that (§5.2.1.2)?
    pub fn max_stale(&self, request: &RequestDirectives, now: SystemTime) -> bool {
        !request.no_cache && request.max_stale.is_some_and(|window| self.within(window, now))
    }

    /// Does the origin leave it to the cache how long it serves stale (§4.2.4)?
    pub fn may_be_stale(&self) -> bool {
        !self.forbid_stale && !self.validate_always
    }

    fn within(&self, window: u64, now: SystemTime) -> bool {
        self.may_be_stale() && window > 0 && self.age(now) < self.lifetime.saturating_add(window)
    }
}

/// Is a response of this age reusable without validation (§4.2, and §5.2.1 for what the request wants)?
/// `max-age=0` in a request always asks for validation.
pub fn is_fresh(lifetime: u64, age: u64, validate_always: bool, request: &RequestDirectives) -> bool {
    lifetime > age
        && !validate_always
        && !request.no_cache
        && request.max_age.is_none_or(|limit| limit > 0 && age <= limit)
        && request.min_fresh.is_none_or(|wanted| lifetime - age >= wanted)
}

/// Freshness lifetime for a shared cache (§4.2.1): `s-maxage`, `max-age`, `Expires` minus `date`, heuristic.
/// `date` is the value of [`date`].
pub fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &Directives,
    date: SystemTime,
) -> Lifetime {
    if let Some(secs) = explicit_lifetime(headers, directives, date) {
        return Lifetime { secs, source: Source::Explicit };
    }
    let guess = (heuristically_cacheable(status) || directives.public)
        .then(|| single_date(headers, &header::LAST_MODIFIED))
        .flatten()
        .map(|modified| seconds_between(modified, date) / 10);
    let limit = if status.as_u16() < 400 { HEURISTIC_LIMIT } else { HEURISTIC_ERROR_LIMIT };
    match guess {
        Some(secs) => Lifetime { secs: secs.min(limit), source: Source::Heuristic },
        None => Lifetime { secs: 0, source: Source::None },
    }
}

/// What the origin itself says (§4.2.1), seconds; `None` if it says nothing. An unreadable time is a time said: 0. Of
/// several `Expires` the earliest counts; beside a targeted field none does (RFC 9213 §2.2).
pub fn explicit_lifetime(headers: &HeaderMap, directives: &Directives, date: SystemTime) -> Option<u64> {
    directives.s_maxage.or(directives.max_age).or_else(|| {
        if directives.targeted {
            return None;
        }
        let line = |value| parse_http_date(value).map_or(0, |expires| seconds_between(date, expires));
        headers.get_all(header::EXPIRES).iter().map(line).min().map(|secs| secs.min(MAX_DELTA))
    })
}

/// Statuses that may be stored without an explicit lifetime (RFC 9110 §15.1), 206 apart.
pub fn heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// `Date` of a response, or when it was received (RFC 9110 §6.6.1).
pub fn date(headers: &HeaderMap, received: SystemTime) -> SystemTime {
    single_date(headers, &header::DATE).unwrap_or(received)
}

/// Age on arrival (§4.2.3), seconds: the larger of what `Date` and what `Age` plus the time on the way say. A clock
/// that runs ahead or behind never makes it negative.
pub fn initial_age(headers: &HeaderMap, requested: SystemTime, received: SystemTime) -> u64 {
    let apparent = seconds_between(date(headers, received), received);
    let delay = seconds_between(requested, received);
    let corrected = age_value(headers).saturating_add(delay);
    apparent.max(corrected).min(MAX_DELTA)
}

/// Age at `now` (§4.2.3 `current_age`), seconds.
pub fn current_age(initial: u64, received: SystemTime, now: SystemTime) -> u64 {
    initial.saturating_add(seconds_between(received, now)).min(MAX_DELTA)
}

/// The first readable member of `Age` (§5.1); 0 if there is none.
fn age_value(headers: &HeaderMap) -> u64 {
    if !headers.contains_key(header::AGE) {
        return 0;
    }
    list::members(headers, &header::AGE, Quotes::Escaped)
        .find_map(|member| list::number(member, MAX_DELTA))
        .unwrap_or(0)
}

/// A date in any of the three formats (RFC 9110 §5.6.7), white space around it allowed, in any case (§4.2). `None` for any
/// other text, for another zone than GMT and for years before 1970.
pub fn parse_http_date(value: &HeaderValue) -> Option<SystemTime> {
    let text = value.to_str().ok()?.trim_ascii();
    httpdate::parse_http_date(text).ok().or_else(|| misspelt_date(text))
}

/// The same of a date that is in another case, or whose day of the week is another one's: the date says all there is to say.
fn misspelt_date(text: &str) -> Option<SystemTime> {
    const SHORT: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const LONG: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let (day, rest) = text.split_at_checked(text.find([',', ' '])?)?;
    let days =
        [SHORT, LONG].into_iter().find(|days| days.iter().any(|known| known.eq_ignore_ascii_case(day)))?;
    let rest = with_capitals(rest);
    days.iter().find_map(|day| httpdate::parse_http_date(&format!("{day}{rest}")).ok())
}

/// Words as a date has them: `Aug`, `GMT`.
fn with_capitals(text: &str) -> String {
    let mut inside = false;
    let spelt: String = text
        .chars()
        .map(|c| {
            let begins = !std::mem::replace(&mut inside, c.is_ascii_alphabetic());
            if begins { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
        })
        .collect();
    spelt.replace("Gmt", "GMT")
}

/// The date a field says, if it says exactly one: several lines are not a date.
pub(super) fn single_date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    if lines.next().is_some() { None } else { parse_http_date(first) }
}

fn seconds_between(earlier: SystemTime, later: SystemTime) -> u64 {
    later.duration_since(earlier).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::{
        Freshness, HEURISTIC_ERROR_LIMIT, HEURISTIC_LIMIT, Lifetime, Source, current_age, date, initial_age,
        is_fresh, lifetime, parse_http_date,
    };
    use crate::http_caching::directives::{Directives, MAX_DELTA, RequestDirectives};
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
    use std::time::{Duration, SystemTime};

    const NOW: u64 = 1_800_000_000;

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    /// `@+60` stands for the date 60 seconds after `NOW`.
    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| match text.strip_prefix('@') {
            Some(offset) => httpdate::fmt_http_date(at(NOW.saturating_add_signed(offset.parse().unwrap()))),
            None => text.to_owned(),
        };
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), value(v).parse().unwrap())).collect()
    }

    #[test]
    fn the_lifetime_is_what_the_origin_says_or_else_a_tenth_of_the_age() {
        use Source::{Explicit, Heuristic, None};
        let cc = "cache-control";
        let modified = "last-modified";
        type Row<'a> = (&'a str, u16, &'a [(&'static str, &'a str)], u64, Source);
        let table: &[Row<'_>] = &[
            ("§4.2.1 s-maxage first", 200, &[(cc, "max-age=1, s-maxage=9")], 9, Explicit),
            ("§4.2.1 s-maxage, though shorter", 200, &[(cc, "s-maxage=1, max-age=9")], 1, Explicit),
            ("§4.2.1 max-age before Expires", 200, &[(cc, "max-age=9"), ("expires", "@-99")], 9, Explicit),
            ("§5.3 max-age=0 before Expires", 200, &[(cc, "max-age=0"), ("expires", "@99")], 0, Explicit),
            ("§4.2.1 Expires minus Date", 200, &[("date", "@-10"), ("expires", "@50")], 60, Explicit),
            ("§4.2.1 Expires without Date: from receipt", 200, &[("expires", "@50")], 50, Explicit),
            ("§4.2.1 both clocks ahead", 200, &[("date", "@500"), ("expires", "@560")], 60, Explicit),
            ("§5.3 Expires in the past", 200, &[("date", "@0"), ("expires", "@-1")], 0, Explicit),
            ("§5.3 Expires equal to Date", 200, &[("date", "@0"), ("expires", "@0")], 0, Explicit),
            (
                "§5.3 invalid Expires is in the past",
                200,
                &[("expires", "0"), (modified, "@-9999")],
                0,
                Explicit,
            ),
            ("§4.2.1 two Expires", 200, &[("expires", "@90"), ("expires", "@30")], 30, Explicit),
            ("§4.2.1 two Expires, one invalid", 200, &[("expires", "@90"), ("expires", "x")], 0, Explicit),
            (
                "§5.2.2.1 invalid max-age hides Expires",
                200,
                &[(cc, "max-age=x"), ("expires", "@9")],
                0,
                Explicit,
            ),
            ("§4.2.2 a tenth", 200, &[("date", "@0"), (modified, "@-1000")], 100, Heuristic),
            ("§4.2.2 a tenth, from Date", 200, &[("date", "@-500"), (modified, "@-1000")], 50, Heuristic),
            ("§4.2.2 modified in the future", 200, &[(modified, "@1000")], 0, Heuristic),
            ("§4.2.2 at most a day", 200, &[(modified, "@-99999999")], HEURISTIC_LIMIT, Heuristic),
            (
                "§4.2.2 missing for a moment only",
                404,
                &[(modified, "@-9999")],
                HEURISTIC_ERROR_LIMIT,
                Heuristic,
            ),
            ("§4.2.2 not for every status", 302, &[(modified, "@-1000")], 0, None),
            ("§4.2.2 not for every status", 403, &[(modified, "@-1000")], 0, None),
            ("§4.2.2 public allows", 302, &[(cc, "public"), (modified, "@-1000")], 100, Heuristic),
            ("§4.2.2 no Last-Modified", 200, &[], 0, None),
            ("§4.2.2 unreadable Last-Modified", 200, &[(modified, "yesterday")], 0, None),
            (
                "RFC 9110 §8.8.2 two Last-Modified",
                200,
                &[(modified, "@-1000"), (modified, "@-9000")],
                0,
                None,
            ),
        ];
        for (section, status, given, secs, source) in table {
            let headers = fields(given);
            let directives = Directives::response(&headers);
            let status = StatusCode::from_u16(*status).unwrap();
            let got = lifetime(status, &headers, &directives, date(&headers, at(NOW)));
            assert_eq!(got, Lifetime { secs: *secs, source: *source }, "{section}: {given:?}");
        }
    }

    #[test]
    fn heuristics_are_for_the_statuses_of_rfc_9110_15_1() {
        let headers = fields(&[("last-modified", "@-100")]);
        let guessed: Vec<u16> = (200..600)
            .filter(|&code| {
                let status = StatusCode::from_u16(code).unwrap();
                lifetime(status, &headers, &Directives::default(), at(NOW)).source == Source::Heuristic
            })
            .collect();
        assert_eq!(guessed, [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501]);
    }

    #[test]
    fn the_age_on_arrival_is_never_too_young() {
        type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], u64, u64);
        // received at NOW; the third column is how long the exchange took
        let table: &[Row<'_>] = &[
            ("§4.2.3 nothing said", &[], 0, 0),
            ("§4.2.3 response delay counts", &[("date", "@0")], 4, 4),
            ("§4.2.3 apparent age", &[("date", "@-30")], 4, 30),
            ("§4.2.3 Date in the future is age 0", &[("date", "@300")], 0, 0),
            ("§4.2.3 Date in the future, Age counts", &[("date", "@300"), ("age", "7")], 1, 8),
            ("§4.2.3 Age plus delay", &[("date", "@-3"), ("age", "10")], 5, 15),
            ("§4.2.3 the larger of both", &[("date", "@-100"), ("age", "10")], 5, 100),
            ("§5.1 first of a list", &[("age", "7200, 0")], 0, 7200),
            ("§5.1 first of two lines", &[("age", "0"), ("age", "7200")], 0, 0),
            ("§5.1 invalid is ignored", &[("age", "abc")], 0, 0),
            ("§5.1 negative is invalid", &[("age", "-7200")], 0, 0),
            ("§5.1 a fraction is invalid", &[("age", "7200.0")], 0, 0),
            ("§5.1 first readable one", &[("age", "x, 12")], 0, 12),
            ("§1.2.2 overflow is 2^31", &[("age", "99999999999999999999999")], 5, MAX_DELTA),
            ("RFC 9110 §6.6.1 unreadable Date: receipt", &[("date", "now")], 2, 2),
        ];
        for (section, given, delay, want) in table {
            assert_eq!(initial_age(&fields(given), at(NOW - delay), at(NOW)), *want, "{section}");
        }
        assert_eq!(
            initial_age(&HeaderMap::new(), at(NOW + 9), at(NOW)),
            0,
            "clock set back during the exchange"
        );
        assert_eq!(current_age(5, at(NOW), at(NOW + 60)), 65, "§4.2.3 resident time");
        assert_eq!(current_age(5, at(NOW), at(NOW - 60)), 5, "clock set back since");
        assert_eq!(current_age(u64::MAX, at(NOW), at(NOW + 60)), MAX_DELTA, "§1.2.2");
    }

    #[test]
    fn fresh_is_what_is_younger_than_its_lifetime_and_what_the_request_wants() {
        let any = RequestDirectives::default;
        let max_age = |secs| RequestDirectives { max_age: Some(secs), ..any() };
        let min_fresh = |secs| RequestDirectives { min_fresh: Some(secs), ..any() };
        for (section, lifetime, age, validate_always, request, want) in [
            ("§4.2 younger", 60, 59, false, any(), true),
            ("§4.2 as old as its lifetime", 60, 60, false, any(), false),
            ("§4.2 no lifetime", 0, 0, false, any(), false),
            ("§5.2.2.4 no-cache", 60, 0, true, any(), false),
            ("§5.2.1.4 request no-cache", 60, 0, false, RequestDirectives { no_cache: true, ..any() }, false),
            ("§5.2.1.1 not older than", 60, 10, false, max_age(10), true),
            ("§5.2.1.1 older than", 60, 11, false, max_age(10), false),
            ("§5.2.1.1 max-age=0", 60, 0, false, max_age(0), false),
            ("§5.2.1.3 fresh for long enough", 60, 10, false, min_fresh(50), true),
            ("§5.2.1.3 not for long enough", 60, 11, false, min_fresh(50), false),
            (
                "§5.2.1.2 stale is not fresh",
                60,
                61,
                false,
                RequestDirectives { max_stale: Some(9), ..any() },
                false,
            ),
        ] {
            assert_eq!(is_fresh(lifetime, age, validate_always, &request), want, "{section}");
        }
    }

    #[test]
    fn stale_serves_within_its_window_and_never_where_forbidden() {
        let any = RequestDirectives::default;
        let no_cache = RequestDirectives { no_cache: true, ..any() };
        let wants_young = RequestDirectives { max_age: Some(3), ..any() };
        // lifetime 10, windows 5 (while revalidate) and 20 (if error); asked with max-stale=7
        for (section, line, request, age, want) in [
            ("RFC 5861 §3 within", "", any(), 14, (true, true, true)),
            ("RFC 5861 §3 beyond, §5.2.1.2 within", "", any(), 15, (false, true, true)),
            ("§5.2.1.2 beyond", "", any(), 17, (false, true, false)),
            ("RFC 5861 §4 beyond", "", any(), 30, (false, false, false)),
            ("§4.2.4 must-revalidate", ", must-revalidate", any(), 12, (false, false, false)),
            ("§4.2.4 proxy-revalidate", ", proxy-revalidate", any(), 12, (false, false, false)),
            ("§4.2.4 s-maxage", ", s-maxage=10", any(), 12, (false, false, false)),
            ("§4.2.4 no-cache", ", no-cache", any(), 12, (false, false, false)),
            ("§5.2.1.4 the request forbids", "", no_cache, 12, (false, true, false)),
            ("§5.2.1.1 the request wants younger", "", wants_young, 12, (false, true, true)),
        ] {
            let line = format!("max-age=10, stale-while-revalidate=5, stale-if-error=20{line}");
            let headers = fields(&[("cache-control", &line)]);
            let directives = Directives::response(&headers);
            let lifetime = lifetime(StatusCode::OK, &headers, &directives, at(NOW));
            let stored = Freshness::new(lifetime, &directives, 0, at(NOW));
            let request = RequestDirectives { max_stale: Some(7), ..request };
            let now = at(NOW + age);
            let got = (
                stored.while_revalidate(&request, now),
                stored.if_error(now),
                stored.max_stale(&request, now),
            );
            assert_eq!(got, want, "{section}");
            assert!(!stored.is_fresh(&any(), now), "{section}");
            assert_eq!(stored.ttl(now), 10 - age as i64, "{section}");
        }
    }

    #[test]
    fn dates_are_read_in_three_formats() {
        let date = Some(at(784_111_777));
        for (text, want) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", date),
            ("Sunday, 06-Nov-94 08:49:37 GMT", date),
            ("Sun Nov  6 08:49:37 1994", date),
            (" Sun, 06 Nov 1994 08:49:37 GMT ", date),
            ("0", None),
            ("", None),
            ("-1", None),
            ("SUN, 06 Nov 1994 08:49:37 GMT", date), // §4.2 in any case
            ("sun, 06 nov 1994 08:49:37 gmt", date),
            ("SUNDAY, 06-NOV-94 08:49:37 Gmt", date),
            ("SUN NOV  6 08:49:37 1994", date),
            ("Thu, 06 Nov 1994 08:49:37 GMT", date), // the day of the week is not what is told
            ("Sun, 06 Nov 1994 08:49:37 UTC", None), // §4.2 another zone is invalid
            ("Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("Xyz, 06 Nov 1994 08:49:37 GMT", None),
            ("06 Nov 1994 08:49:37 GMT", None),
            ("Sun 06 Nov 1994 08:49:37 GMT", None),
            ("Sun,  06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06-Nov-1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08.49.37 GMT", None),
            ("Sun, 06 Nov 1994 8:49:37 GMT", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
            ("Sun, 06 Nov 94 08:49:37 GMT", None),
        ] {
            assert_eq!(parse_http_date(&HeaderValue::from_str(text).unwrap()), want, "{text:?}");
        }
    }
}
