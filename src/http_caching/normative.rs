//! RFC 9111 sentence by sentence: what it demands of a shared cache, and where that is shown. What plain values decide is shown
//! here; what the edge does is shown by a test of the whole, which is named and must be there.
//!
//! Left out is what it demands of senders, of private caches and of those who register directives.

use super::{
    Directives, EntityTag, Exchange, Fields, Freshness, Lifetime, NotStorable, RequestDirectives, Source,
    Vary,
    freshen::{self, HeadSays},
    freshness, invalidation, may_store, partial,
    range::{self, Requested},
    validate::{self, Condition},
    vary,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use std::{
    path::Path,
    time::{Duration, SystemTime},
};

/// Where a sentence is shown to hold.
enum Shown {
    Here(fn() -> bool),
    /// By tests of the whole edge, or of its way to the origin.
    By(&'static [&'static str]),
}
use Shown::{By, Here};

type Given<'a> = &'a [(&'static str, &'a str)];

fn fields(fields: Given<'_>) -> HeaderMap {
    fields.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
}

/// `now` as a date.
const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const HOUR_AGO: &str = "Sun, 06 Nov 1994 07:49:37 GMT";
const IN_AN_HOUR: &str = "Sun, 06 Nov 1994 09:49:37 GMT";

fn says(line: &str) -> Directives {
    Directives::response(&fields(&[("cache-control", line)]))
}

fn asks(line: &str) -> RequestDirectives {
    Directives::request(&fields(&[("cache-control", line)]))
}

/// Whether an answer to this may be stored.
fn stored(method: &Method, status: u16, request: Given<'_>, response: Given<'_>) -> Result<(), NotStorable> {
    let (request, headers) = (fields(request), fields(response));
    may_store(&Exchange {
        method,
        request_authorization: request.contains_key("authorization"),
        request_cookie_sent: request.contains_key("cookie"),
        request_no_store: Directives::request(&request).no_store,
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
        received: now(),
    })
}

fn get(status: u16, response: Given<'_>) -> Result<(), NotStorable> {
    stored(&Method::GET, status, &[], response)
}

/// The lifetime of a 200 with these fields that came now.
fn lifetime(response: Given<'_>) -> Lifetime {
    let headers = fields(response);
    let date = freshness::date(&headers, now());
    freshness::lifetime(StatusCode::OK, &headers, &Directives::response(&headers), date)
}

/// A response with these directives that came now.
fn fresh(line: &str) -> Freshness {
    let directives = says(line);
    let secs = freshness::explicit_lifetime(&HeaderMap::new(), &directives, now()).unwrap_or(0);
    Freshness::new(Lifetime { secs, source: Source::Explicit }, &directives, 0, now())
}

/// May it serve so many seconds later: fresh, while a new one is fetched, or as the origin fails?
fn serves(line: &str, after: u64, request: &RequestDirectives) -> (bool, bool, bool) {
    let (held, at) = (fresh(line), now() + Duration::from_secs(after));
    (held.is_fresh(request, at), held.while_revalidate(request, at), held.if_error(at))
}

fn age(response: Given<'_>, took: u64) -> u64 {
    freshness::initial_age(&fields(response), now() - Duration::from_secs(took), now())
}

fn condition(request: Given<'_>, etag: &str, modified: Option<SystemTime>) -> Condition {
    validate::evaluate(&fields(request), &Method::GET, Some(&etag.parse().unwrap()), modified)
}

fn same_request(vary: &str, first: Given<'_>, second: Given<'_>) -> bool {
    let Vary::Fields(names) = vary::parse(&fields(&[("vary", vary)])) else { return false };
    let first = fields(first);
    let values: Vec<_> = names.iter().map(|name| vary::selecting_value(name, &first)).collect();
    vary::same(&names, &values, &fields(second))
}

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const ETAG: (&str, &str) = ("etag", "\"a\"");

#[rustfmt::skip] // A sentence, and what shows it.
const TABLE: &[(&str, &str, Shown)] = &[
    ("§1.2.2", "a value greater than can be represented MUST be considered to be 2^31 or the greatest integer that can be",
        Here(|| says("max-age=99999999999999999999").max_age == Some(1 << 31) && age(&[("age", "99999999999999999999")], 9) == 1 << 31)),

    ("§3", "MUST NOT store unless the request method is understood",
        Here(|| stored(&Method::POST, 200, &[], &[FRESH]) == Err(NotStorable::Method) && get(200, &[FRESH]).is_ok())),
    ("§3", "MUST NOT store unless the status is final",
        Here(|| get(103, &[FRESH]) == Err(NotStorable::Status))),
    ("§3", "if the status is 206 or 304, or must-understand is there, unless the status is understood",
        Here(|| get(206, &[FRESH]) == Err(NotStorable::Partial) && get(304, &[FRESH]) == Err(NotStorable::Status)
            && get(299, &[("cache-control", "max-age=60, must-understand")]) == Err(NotStorable::MustUnderstand))),
    ("§3", "unless no-store is absent",
        Here(|| get(200, &[("cache-control", "no-store, max-age=60")]) == Err(NotStorable::NoStore))),
    ("§3", "unless private is absent or allows a shared cache to store",
        Here(|| get(200, &[("cache-control", "private, max-age=60")]) == Err(NotStorable::Private)
            && get(200, &[("cache-control", "private=\"x\", max-age=60")]).is_ok())),
    ("§3", "unless Authorization is absent or a directive explicitly allows it",
        Here(|| stored(&Method::GET, 200, &[("authorization", "x")], &[FRESH]) == Err(NotStorable::Authorization))),
    ("§3", "unless there is public, Expires, max-age, s-maxage, or the status is heuristically cacheable",
        Here(|| get(403, &[ETAG]) == Err(NotStorable::Status) && get(403, &[ETAG, ("cache-control", "public")]).is_ok()
            && get(403, &[ETAG, ("expires", IN_AN_HOUR)]).is_ok() && get(403, &[FRESH]).is_ok()
            && get(403, &[("cache-control", "s-maxage=60")]).is_ok() && get(404, &[ETAG]).is_ok())),
    ("§3", "a history of interim responses is never part of what is stored",
        By(&["interim_answers_are_dropped"])),

    ("§3.1", "MUST include all received fields, also unrecognised ones",
        By(&["fields_that_are_for_one_client_only_go_to_who_caused_the_fill_and_to_nobody_else"])),
    ("§3.1", "but for Connection and the fields that it names, which are removed before",
        By(&["fields_of_one_hop_stay_there"])),
    ("§3.1", "MUST NOT store the fields that no-cache or private name",
        By(&["fields_that_are_for_one_client_only_go_to_who_caused_the_fill_and_to_nobody_else"])),

    ("§3.2", "MUST add each field of the update, replacing those of the same name",
        Here(|| freshen::updated(&fields(&[("x", "1"), ("y", "1")]), &fields(&[("x", "2"), ("z", "3")])) == fields(&[("x", "2"), ("y", "1"), ("z", "3")]))),
    ("§3.2", "except Content-Length, and MAY leave out what its processing depends upon",
        Here(|| freshen::updated(&fields(&[("content-length", "9"), ETAG]), &fields(&[("content-length", "0"), ("etag", "W/\"a\""), ("vary", "*")]))
            == fields(&[("content-length", "9"), ETAG]))),

    ("§3.3", "MAY store an incomplete response to GET if it is recorded as incomplete",
        By(&["what_is_stored_survives_a_restart_whole_in_part_and_as_a_head"])),
    ("§3.3", "MUST NOT store incomplete responses without support of Range and Content-Range, nor for units not understood",
        Here(|| range::parse(&fields(&[("range", "lines=0-1")])) == Requested::None
            && range::parse_content_range(&fields(&[("content-range", "lines 0-1/2")])).is_none())),
    ("§3.3", "MUST NOT use an incomplete response unless it was made complete, or the request is for a range wholly within",
        By(&["a_range_that_is_there_is_served_while_the_origin_is_down_and_the_rest_is_no_answer", "a_second_range_asks_only_for_what_the_first_did_not_bring"])),
    ("§3.3", "MUST NOT send a partial response without marking it as 206",
        By(&["nothing_that_is_not_whole_is_served_as_whole"])),
    ("§3.4", "MAY combine parts if they all share the same strong validator",
        Here(|| partial::same_bytes(&fields(&[ETAG]), &"\"a\"".parse().unwrap(), None) == Some(true)
            && partial::same_bytes(&fields(&[("last-modified", NOW)]), &"\"a\"".parse().unwrap(), None).is_none())),
    ("§3.4", "and only parts of the same bytes are put together",
        By(&["a_file_that_is_replaced_between_two_ranges_is_never_glued_to_the_new_one", "what_has_a_date_only_is_never_put_together_from_ranges"])),
    ("§3.4", "MUST use the fields of the new response but for Content-Range when parts are combined",
        By(&["a_second_range_asks_only_for_what_the_first_did_not_bring"])),

    ("§3.5", "MUST NOT use a response to a request with Authorization unless must-revalidate, public or s-maxage allow it",
        Here(|| ["must-revalidate, max-age=60", "public, max-age=60", "s-maxage=60"].iter().all(|line|
            stored(&Method::GET, 200, &[("authorization", "x")], &[("cache-control", line)]).is_ok()))),

    ("§4", "MUST NOT reuse unless the target URI matches",
        By(&["what_the_origin_is_asked_is_exactly_what_is_keyed", "two_slashes_and_a_list_of_files_in_the_query_stay_as_they_are"])),
    ("§4", "unless the method of the stored response allows it for this request",
        By(&["a_head_or_a_range_of_what_is_stale_serves_it_and_refreshes_it_whole"])),
    ("§4", "unless the selecting fields match", Here(|| !same_request("x", &[("x", "1")], &[("x", "2")]))),
    ("§4", "unless it has no no-cache, or was validated", Here(|| !serves("no-cache, max-age=60", 0, &asks("")).0)),
    ("§4", "unless it is fresh, may be served stale, or was validated", Here(|| serves("max-age=60", 59, &asks("")).0 && serves("max-age=60", 60, &asks("")) == (false, false, false))),
    ("§4", "MUST generate Age when it is used without validation, replacing any",
        By(&["a_storable_answer_is_asked_for_once_and_served_with_its_age"])),
    ("§4", "MUST write through requests with unsafe methods", By(&["any_method_and_body_reach_the_origin_as_they_were_sent"])),
    ("§4", "can use the response to one request for others that came meanwhile", By(&["a_thousand_clients_one_fill"])),

    ("§4.1", "MUST NOT use it unless all selecting fields match those of the request it was chosen by",
        Here(|| same_request("x, y", &[("x", "1")], &[("x", "1")]) && !same_request("x, y", &[("x", "1")], &[("x", "1"), ("y", "2")]))),
    ("§4.1", "values match if they can be transformed by white space where that is allowed",
        Here(|| same_request("x", &[("x", "a, b")], &[("x", "a ,b")]))),
    ("§4.1", "or by combining lines of the same field", Here(|| same_request("x", &[("x", "a, b")], &[("x", "a"), ("x", "b")]))),
    ("§4.1", "or by normalising in ways that are known to mean the same",
        Here(|| same_request("accept-encoding", &[("accept-encoding", "gzip")], &[("accept-encoding", "GZIP;q=0.5, deflate")])
            && same_request("accept-language", &[("accept-language", "en-GB")], &[("accept-language", "EN-gb")]))),
    ("§4.1", "a field that is absent only matches one that is absent", Here(|| !same_request("x", &[], &[("x", "")]) && same_request("x", &[], &[]))),
    ("§4.1", "a Vary with * always fails to match", Here(|| vary::parse(&fields(&[("vary", "x, *")])) == Vary::Any && get(200, &[FRESH, ("vary", "*")]) == Err(NotStorable::Vary))),
    ("§4.1", "if several match, the most recent is used", By(&["of_several_that_match_the_youngest_serves"])),
    ("§4.1", "MAY forward a request for another variant with the tags that are stored; here it goes as it is",
        By(&["a_variant_not_known_beforehand_costs_one_more_fill"])),

    ("§4.2", "SHOULD match the names of days, months and zones in any case",
        Here(|| lifetime(&[("date", NOW), ("expires", "sUN, 06 nOV 1994 09:49:37 gmt")]).secs == 3600)),
    ("§4.2", "a zone other than GMT SHOULD be invalid", Here(|| lifetime(&[("date", NOW), ("expires", "Sun, 06 Nov 1994 09:49:37 UTC")]).secs == 0)),
    ("§4.2.1", "s-maxage, then max-age, then Expires minus Date, then a heuristic",
        Here(|| lifetime(&[("cache-control", "max-age=1, s-maxage=9")]).secs == 9
            && lifetime(&[("cache-control", "max-age=1"), ("expires", IN_AN_HOUR)]).secs == 1
            && lifetime(&[("date", HOUR_AGO), ("expires", IN_AN_HOUR)]).secs == 7200
            && lifetime(&[("date", NOW), ("last-modified", HOUR_AGO)]).source == Source::Heuristic)),
    ("§4.2.1", "of several values either the first is used or it is stale: here the shortest",
        Here(|| lifetime(&[("cache-control", "max-age=60, max-age=5")]).secs == 5)),
    ("§4.2.1", "SHOULD consider invalid freshness information to be stale", Here(|| lifetime(&[("cache-control", "max-age=x")]).secs == 0)),
    ("§4.2.2", "MUST NOT use heuristics where an explicit time is present",
        Here(|| lifetime(&[("expires", "0"), ("last-modified", HOUR_AGO)]) == Lifetime { secs: 0, source: Source::Explicit })),
    ("§4.2.2", "MUST NOT use heuristics for a status that is not heuristically cacheable, unless public",
        Here(|| get(302, &[("last-modified", HOUR_AGO)]) == Err(NotStorable::Status))),
    ("§4.2.2", "a typical heuristic is a tenth of the time since Last-Modified", Here(|| lifetime(&[("date", NOW), ("last-modified", HOUR_AGO)]).secs == 360)),
    ("§4.2.3", "Date MUST be used if it is there, else the time of receipt", Here(|| age(&[("date", HOUR_AGO)], 0) == 3600 && age(&[], 0) == 0)),
    ("§4.2.3", "the age value is interpreted relative to when the request was begun", Here(|| age(&[("age", "10")], 4) == 14)),
    ("§4.2.3", "the larger of apparent age and corrected age value", Here(|| age(&[("age", "10"), ("date", HOUR_AGO)], 4) == 3600)),
    ("§4.2.3", "an apparent age below zero is zero: clocks differ in both directions", Here(|| age(&[("date", IN_AN_HOUR)], 4) == 4)),
    ("§4.2.3", "current age adds the time it was here", Here(|| freshness::current_age(5, now(), now() + Duration::from_secs(60)) == 65)),
    ("§4.2.4", "MUST NOT serve stale if that is prohibited",
        Here(|| ["must-revalidate", "proxy-revalidate", "s-maxage=1", "no-cache"].iter().all(|forbids|
            serves(&format!("max-age=1, stale-while-revalidate=60, stale-if-error=60, {forbids}"), 2, &asks("")) == (false, false, false)))),
    ("§4.2.4", "MUST NOT serve stale unless disconnected or allowed: here only where origin or rule allow it",
        Here(|| serves("max-age=1", 2, &asks("")) == (false, false, false) && serves("max-age=1, stale-if-error=60", 2, &asks("")) == (false, false, true))),

    ("§4.3.1", "MUST send the ETag in If-None-Match if there is one",
        By(&["what_is_stale_is_validated_by_what_the_rule_trusts"])),
    ("§4.3.1", "SHOULD send Last-Modified in If-Modified-Since if there is no ETag", By(&["what_is_stale_is_validated_by_what_the_rule_trusts"])),
    ("§4.3.1", "a cache's own condition is sent with the selecting fields", By(&["selecting_fields_are_learnt_and_then_go_along"])),
    ("§4.3.2", "a condition is evaluated on what is selected, be it stored or just being brought",
        By(&["a_clients_condition_is_answered_alike_from_hit_miss_and_join_on_both_protocols"])),
    ("§4.3.2", "If-None-Match with * or a listed tag SHOULD be answered 304",
        Here(|| condition(&[("if-none-match", "*")], "\"a\"", None) == Condition::NotModified
            && condition(&[("if-none-match", "\"b\", W/\"a\"")], "\"a\"", None) == Condition::NotModified
            && condition(&[("if-none-match", "\"b\"")], "\"a\"", None) == Condition::Pass)),
    ("§4.3.2", "If-Modified-Since is not evaluated beside If-None-Match",
        Here(|| condition(&[("if-none-match", "\"b\""), ("if-modified-since", NOW)], "\"a\"", Some(now())) == Condition::Pass)),
    ("§4.3.2", "If-Modified-Since SHOULD be answered 304 if Last-Modified, else Date, else receipt is not later",
        Here(|| condition(&[("if-modified-since", NOW)], "\"a\"", Some(now())) == Condition::NotModified
            && condition(&[("if-modified-since", HOUR_AGO)], "\"a\"", Some(now())) == Condition::Pass)),
    ("§4.3.2", "If-Range is evaluated by strong comparison",
        Here(|| {
            let (weak, strong) = ("W/\"a\"".parse().unwrap(), "\"a\"".parse().unwrap());
            let asked = fields(&[("range", "bytes=0-1"), ("if-range", "\"a\"")]);
            validate::if_range_holds(&asked, Some(&strong), None, None) && !validate::if_range_holds(&asked, Some(&weak), None, None)
        })),
    ("§4.3.3", "304 updates what is stored", By(&["what_is_of_age_is_asked_about_and_stays_freshened"])),
    ("§4.3.3", "a full response MUST be used, and MAY replace what is stored", By(&["a_refresh_that_fails_leaves_what_is_stale_in_its_window", "what_is_stale_serves_while_a_fill_brings_a_new_one"])),
    ("§4.3.3", "a 5xx is forwarded, or what is stored is served where §4.2.4 allows it",
        By(&["what_is_stale_serves_when_the_origin_fails_and_only_within_its_window"])),
    ("§4.3.4", "a strong validator in the 304 names what is updated; if nothing stored has it nothing is",
        Here(|| freshen::is_about(&fields(&[ETAG]), &fields(&[ETAG])) && !freshen::is_about(&fields(&[ETAG]), &fields(&[("etag", "\"b\"")])))),
    ("§4.3.4", "a weak validator in the 304 names what is updated",
        Here(|| freshen::is_about(&fields(&[("last-modified", NOW)]), &fields(&[("last-modified", NOW)]))
            && !freshen::is_about(&fields(&[("last-modified", NOW)]), &fields(&[("last-modified", HOUR_AGO)])))),
    ("§4.3.4", "without a validator the one that was asked about is updated", Here(|| freshen::is_about(&fields(&[ETAG]), &HeaderMap::new()))),
    ("§4.3.5", "the answer 200 to a HEAD SHOULD update, if validators and length are the same",
        Here(|| freshen::by_head(&fields(&[ETAG]), 9, StatusCode::OK, &fields(&[ETAG, ("content-length", "9")])) == HeadSays::Same)),
    ("§4.3.5", "or else make stale what is stored",
        Here(|| freshen::by_head(&fields(&[ETAG]), 9, StatusCode::OK, &fields(&[ETAG, ("content-length", "8")])) == HeadSays::Another)),

    ("§4.4", "MUST invalidate the target URI on a non-error response to an unsafe method, or one whose safety is unknown",
        By(&["an_unsafe_method_outdates_what_is_stored_under_its_url", "an_unsafe_method_covers_a_fill_under_way_even_if_its_client_left"])),
    ("§4.4", "a non-error response is one with a 2xx or 3xx status",
        Here(|| [200, 303].iter().all(|status| invalidation::is_non_error(StatusCode::from_u16(*status).unwrap()))
            && [404, 500].iter().all(|status| !invalidation::is_non_error(StatusCode::from_u16(*status).unwrap())))),
    ("§4.4", "MAY invalidate what Location and Content-Location name; MUST NOT if that is of another origin",
        By(&["what_an_answer_to_a_post_names_of_its_own_origin_is_outdated_and_nothing_else"])),

    ("§5.1", "of several members of Age the first SHOULD be used", Here(|| age(&[("age", "7, 0")], 0) == 7)),
    ("§5.1", "an Age that is invalid SHOULD be ignored", Here(|| ["x", "-7", "7.0", "7;a=b"].iter().all(|text| age(&[("age", text)], 0) == 0))),
    ("§5.2", "directives are compared in any case", Here(|| says("No-STORE").no_store)),
    ("§5.2", "tokens and quoted strings MUST both be accepted", Here(|| says("max-age=\"60\"").max_age == Some(60))),
    ("§5.2", "all Cache-Control lines are one list",
        Here(|| Directives::response(&fields(&[("cache-control", "max-age=60"), ("cache-control", "no-store")])) == Directives { no_store: true, ..says("max-age=60") })),
    ("§5.2", "a proxy MUST pass directives through", By(&["a_targeted_field_is_heeded_in_place_of_cache_control_and_falls_back_where_it_says_nothing"])),
    ("§5.2.1", "request directives are advice, heeded where a rule says so", By(&["a_wish_reaches_the_origin_only_where_a_rule_heeds_it"])),
    ("§5.2.1.1", "max-age: a response of a greater age is not wanted", Here(|| serves("max-age=60", 10, &asks("max-age=10")).0 && !serves("max-age=60", 11, &asks("max-age=10")).0)),
    ("§5.2.1.2", "max-stale: a stale response is wanted, up to so many seconds",
        Here(|| fresh("max-age=1").max_stale(&asks("max-stale=9"), now() + Duration::from_secs(9)) && !fresh("max-age=1").max_stale(&asks("max-stale=9"), now() + Duration::from_secs(10)))),
    ("§5.2.1.3", "min-fresh: one that stays fresh for so long is wanted", Here(|| serves("max-age=60", 10, &asks("min-fresh=50")).0 && !serves("max-age=60", 11, &asks("min-fresh=50")).0)),
    ("§5.2.1.4", "no-cache: what is stored is not wanted without validation", Here(|| !serves("max-age=60", 0, &asks("no-cache")).0)),
    ("§5.2.1.5", "no-store: MUST NOT store any part of request or response",
        Here(|| stored(&Method::GET, 200, &[("cache-control", "no-store")], &[FRESH]) == Err(NotStorable::NoStore))),
    ("§5.2.1.7", "only-if-cached: SHOULD be answered from what is stored, or 504", By(&["only_if_cached_never_reaches_the_origin"])),
    ("§5.2.2.2", "must-revalidate: MUST NOT be reused stale without validation; MUST be an error if disconnected",
        Here(|| serves("max-age=1, must-revalidate, stale-if-error=60", 2, &asks("")) == (false, false, false))),
    ("§5.2.2.3", "must-understand: SHOULD ignore no-store beside it if the status is understood",
        Here(|| get(200, &[("cache-control", "no-store, must-understand, max-age=60")]).is_ok())),
    ("§5.2.2.4", "no-cache: MUST NOT be used without validation", By(&["what_must_be_validated_each_time_is_validated_for_each_and_its_body_asked_for_once"])),
    ("§5.2.2.4", "no-cache with names: MUST exclude those fields or validate",
        Here(|| says("no-cache=\"x\"").no_cache == Some(Fields::Named(vec![HeaderName::from_static("x")])) && serves("no-cache=\"x\", max-age=60", 0, &asks("")).0)),
    ("§5.2.2.5", "no-store: MUST NOT store, nor use for another request", Here(|| get(200, &[("cache-control", "no-store"), ETAG]) == Err(NotStorable::NoStore))),
    ("§5.2.2.7", "private: MUST NOT be stored by a shared cache; with names, those fields MUST NOT",
        Here(|| says("private=\"x, y\"").unstored_fields().eq([&HeaderName::from_static("x"), &HeaderName::from_static("y")]))),
    ("§5.2.2.8", "proxy-revalidate: as must-revalidate, for shared caches", Here(|| serves("max-age=1, proxy-revalidate, stale-if-error=60", 2, &asks("")) == (false, false, false))),
    ("§5.2.2.9", "public: MAY be stored even if it would be prohibited, within §3", Here(|| get(403, &[("cache-control", "public"), ETAG]).is_ok() && get(200, &[("cache-control", "public, no-store")]).is_err())),
    ("§5.2.2.10", "s-maxage: overrides max-age and Expires, and includes proxy-revalidate", Here(|| says("s-maxage=1").forbid_stale())),
    ("§5.2.3", "MUST ignore unrecognised directives", Here(|| says("x, y=1, max-age=60") == says("max-age=60"))),
    ("§5.3", "an invalid date in Expires, 0 too, MUST be a time in the past", Here(|| lifetime(&[("expires", "0")]).secs == 0)),
    ("§5.3", "Expires MUST be ignored beside max-age or s-maxage", Here(|| lifetime(&[("expires", IN_AN_HOUR), ("cache-control", "max-age=0")]).secs == 0)),
    ("§5.4", "Pragma: no-cache in a request is as no-cache where there is no Cache-Control", Here(|| Directives::request(&fields(&[("pragma", "no-cache")])).no_cache)),
    ("RFC 5861 §3", "MAY serve stale while validating, for so many seconds", Here(|| serves("max-age=1, stale-while-revalidate=9", 9, &asks("")).1 && !serves("max-age=1, stale-while-revalidate=9", 10, &asks("")).1)),
    ("RFC 5861 §4", "MAY serve stale on an error, for so many seconds", Here(|| serves("max-age=1, stale-if-error=9", 9, &asks("")).2 && !serves("max-age=1, stale-if-error=9", 10, &asks("")).2)),
    ("RFC 5861 §4", "an error is 500, 502, 503, 504, or a connection that breaks", By(&["a_connection_that_breaks_before_a_whole_head_is_an_error_and_so_is_a_5xx_of_the_standard"])),
    ("RFC 8246 §2", "immutable speaks to who would reload, not to a cache that asks by age", Here(|| says("immutable, max-age=60").immutable && !serves("max-age=60, immutable", 60, &asks("")).0)),
    ("RFC 9110 §8.8.3.2", "strong and weak comparison",
        Here(|| {
            let tag = |text| EntityTag::parse(text).unwrap();
            tag(b"\"a\"").strong_eq(tag(b"\"a\"")) && !tag(b"W/\"a\"").strong_eq(tag(b"\"a\"")) && tag(b"W/\"a\"").weak_eq(tag(b"\"a\""))
        })),
    ("RFC 9110 §13.1.1", "If-Match is compared strongly", Here(|| condition(&[("if-match", "W/\"a\"")], "W/\"a\"", None) == Condition::PreconditionFailed)),
    ("RFC 9110 §13.1.4", "If-Unmodified-Since fails if it was modified later",
        Here(|| condition(&[("if-unmodified-since", HOUR_AGO)], "\"a\"", Some(now())) == Condition::PreconditionFailed
            && condition(&[("if-unmodified-since", NOW)], "\"a\"", Some(now())) == Condition::Pass)),
];

#[test]
fn every_sentence_holds() {
    for (section, sentence, shown) in TABLE {
        if let Here(holds) = shown {
            assert!(holds(), "{section}: {sentence}");
        }
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let mut source = String::new();
    for folder in ["tests/it", "src/origin"] {
        read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut source);
    }
    for (section, sentence, shown) in TABLE {
        if let By(tests) = shown {
            for test in *tests {
                assert!(source.contains(&format!("fn {test}()")), "{section}: {sentence}: no test {test}");
            }
        }
    }
}

fn read_all(folder: &Path, source: &mut String) {
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            read_all(&path, source);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            source.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}
