//! What it costs to decide how long a response is fresh (once, when its head comes) and whether it is (at every use).

use criterion::Criterion;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use lectern::http_caching::{Directives, Freshness, RequestDirectives, freshness};
use std::{
    hint::black_box,
    time::{Duration, SystemTime},
};

const NOW: Duration = Duration::from_secs(1_800_000_000);

/// A head as each of the origins in the field sends it.
fn heads() -> [(&'static str, HeaderMap); 3] {
    let head = |fields: [(HeaderName, &'static str); 3]| {
        fields.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
    };
    let date = || (header::DATE, "Fri, 15 Jan 2027 08:00:00 GMT");
    let modified = || (header::LAST_MODIFIED, "Mon, 01 Jan 2024 00:00:00 GMT");
    let etag = (header::ETAG, "\"5f3a-61\"");
    let long = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");
    let expires = (header::EXPIRES, "Fri, 15 Jan 2027 14:00:00 GMT");
    [
        ("max-age", head([date(), long, modified()])),
        ("Expires", head([date(), expires, modified()])),
        ("heuristic", head([date(), etag, modified()])),
    ]
}

/// What a fill does with a head.
fn decide(head: &HeaderMap, received: SystemTime) -> Freshness {
    let said = Directives::response(head);
    let lifetime = freshness::lifetime(StatusCode::OK, head, &said, freshness::date(head, received));
    Freshness::new(lifetime, &said, freshness::initial_age(head, received, received), received)
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let received = SystemTime::UNIX_EPOCH + NOW;

    let mut group = criterion.benchmark_group("freshness of a head");
    for (name, head) in heads() {
        group.bench_function(name, |bencher| bencher.iter(|| decide(black_box(&head), received)));
    }
    group.finish();

    let mut group = criterion.benchmark_group("is it fresh");
    let wishes = RequestDirectives::default();
    for (name, head) in heads() {
        let (stored, now) = (decide(&head, received), received + Duration::from_secs(60));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(&stored).is_fresh(&wishes, black_box(now)));
        });
    }
    group.finish();
    criterion.final_summary();
}
