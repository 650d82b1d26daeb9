//! What it costs to find site and rule of a request. The criterion: 94 and 10,000 sites, 1 and 500 rules within 1.2x, and
//! no allocation. The same 94 requests are asked of each, so that what differs is the size of the configuration, not of
//! the traffic. Run once as a test it checks that every request finds its rule without allocating.

use criterion::Criterion;
use http::{HeaderMap, Method};
use lectern::{
    rules::{Access, Facts, Match, Rule, RuleSet, Verdict, normalise},
    site::Hosts,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Counts allocations.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "an allocator that counts cannot be written without; it only hands on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests that are asked of each configuration.
const REQUESTS: usize = 94;

/// One rule, or as many of all kinds before and after the one that speaks for the requests.
fn rules(count: usize) -> Vec<Arc<Rule>> {
    let rule = |at: usize| {
        let when = match (at == count / 2, at % 4) {
            (true, _) => Match { path: Some("/content/{module}/{version}/**".into()), ..Match::default() },
            (_, 0) => Match { path: Some(format!("/course-{at}/{{module}}/**")), ..Match::default() },
            (_, 1) => Match { prefix: Some(format!("/static/part-{at}/")), ..Match::default() },
            (_, 2) => Match { extensions: vec![format!("x{at}")], ..Match::default() },
            _ => Match {
                path: Some(format!("/content/module-{at}/{{version}}/**")),
                methods: vec![Method::POST],
                ..Match::default()
            },
        };
        Arc::new(Rule {
            name: format!("r{at}"),
            when,
            verdict: Verdict::Pass,
            body_limit: None,
            hide_path: false,
            access: Access::Open,
            mount: None,
            class: None,
        })
    };
    (0..count).map(rule).collect()
}

/// As many sites, all with the same rules, as from a shared rule set.
fn sites(count: usize, rules: Vec<Arc<Rule>>) -> Hosts<Arc<RuleSet>> {
    let rules = match RuleSet::compile(rules) {
        Ok(rules) => Arc::new(rules),
        Err(errors) => panic!("{errors:?}"),
    };
    let mut sites = Hosts::new(None);
    for at in 0..count {
        sites.set(&format!("tenant-{at}.lms.example"), Arc::clone(&rules));
    }
    sites
}

/// Host and path of each request, spread over the sites.
fn requests(sites: usize) -> Vec<(String, String)> {
    let request = |at: usize| {
        let site = at * sites / REQUESTS;
        (format!("tenant-{site}.lms.example"), format!("/content/module-{at}/v{at}/scos/page-{at}.html"))
    };
    (0..REQUESTS).map(request).collect()
}

/// Normalises host and path, finds the site and its rule: what a hit does first.
fn ask(sites: &Hosts<Arc<RuleSet>>, requests: &[(String, String)], headers: &HeaderMap) -> usize {
    let mut found = 0;
    for (host, path) in requests {
        let (Ok(host), Ok(path)) = (normalise::host(host, true), normalise::target(path)) else { continue };
        let facts = Facts { method: &Method::GET, path: &path, query: None, headers };
        let rule = sites.find(&host).and_then(|rules| black_box(rules.find(&facts)));
        found += usize::from(rule.is_some());
    }
    found
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let headers = HeaderMap::new();
    let mut group = criterion.benchmark_group("matching, 94 requests");
    for (site_count, rule_count) in [(94, 1), (94, 500), (10_000, 1), (10_000, 500)] {
        let sites = sites(site_count, rules(rule_count));
        let requests = requests(site_count);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(ask(&sites, &requests, &headers), REQUESTS);
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "matching allocates");
        group.bench_function(format!("{site_count} sites, {rule_count} rules"), |bencher| {
            bencher.iter(|| ask(&sites, &requests, &headers));
        });
    }
    group.finish();
    criterion.final_summary();
}
