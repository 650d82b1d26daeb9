//! What it costs to say what a request asks for: the normal spelling of host, path and query, and the cache key of them.
//! On a hit that is done once; a path that is normal already costs one scan and no copy.

use criterion::Criterion;
use lectern::{
    cache::KeyParts,
    rules::{QueryRule, normalise},
};
use std::hint::black_box;

/// The edge's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PATH: &str = "/content/unit-17/v3/scos/a/index.html";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();

    let mut group = criterion.benchmark_group("path");
    for (name, path) in [
        ("normal", PATH),
        ("normal, 200 bytes", &format!("/pluginfile.php/{}", "a1b2c3d4/".repeat(20))),
        ("normal, encoded letters", "/content/%C3%BCbung-1/v3/Kapitel%20zwei.html"),
        ("to be decoded", "/content/%75nit-17/v3/scos/a/index%2ehtml"),
        ("with dot segments", "/content/unit-17/v3/scos/../scos/./a/index.html"),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| normalise::target(black_box(path)).is_ok()));
    }
    group.finish();

    let mut group = criterion.benchmark_group("host");
    for (name, host) in [("normal", "tenant-17.lms.example"), ("upper case", "Tenant-17.LMS.example:443")] {
        group.bench_function(name, |bencher| bencher.iter(|| normalise::host(black_box(host), true).is_ok()));
    }
    group.finish();

    let mut group = criterion.benchmark_group("query");
    let without = QueryRule::Without(vec!["utm_source".into(), "utm_medium".into(), "fbclid".into()]);
    for (name, query) in [("nothing to drop", "forcedownload=1&rev=17"), ("one of three", "a=1&fbclid=x&b=2")]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| normalise::query(&without, Some(black_box(query))).is_some());
        });
    }
    group.finish();

    let parts = KeyParts {
        scope: "tenant-17",
        https: true,
        guarded: false,
        host: "tenant-17.lms.example",
        path: PATH,
        query: None,
    };
    criterion.bench_function("key", |bencher| bencher.iter(|| black_box(&parts).key()));
    criterion.final_summary();
}
