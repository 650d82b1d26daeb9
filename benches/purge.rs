//! What a purge costs, and a hit beside purges, and how both grow. The criterion: 10^3 and 10^6 stored responses, and no record or
//! 10^6 of them, within 1.2x; the record's way to the medium is not counted.
//!
//! Nothing here holds stored responses but the hits: a purge looks at none of them. Run once as a test it shows that what is
//! purged is covered and nothing else is.

use criterion::Criterion;
use lectern::{
    http_caching::{LISTS, Tags},
    ledger::{About, Projection, Projector, Purge, Record, SiteMarks, Standing, Subject},
};
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};

/// The edge's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many as are kept apart by default.
const BOUND: usize = 1_000_000;

fn path(at: u64) -> String {
    format!("/content/unit-{at}/v3/index.html")
}

/// A purge of each kind in turn, each of something else.
fn record(at: u64) -> Record {
    let purge = match at % 4 {
        0 => Purge::Url { path: path(at), query: None },
        1 => Purge::Url { path: path(at), query: Some(String::new()) },
        2 => Purge::Prefix { path: format!("/content/unit-{at}/v3") },
        _ => Purge::Tag { tag: format!("unit-{at}") },
    };
    Record::purge(purge, About { sites: vec!["lms".into()], ..About::default() })
}

fn filled(records: u64) -> (Arc<Projection>, Projector) {
    let projection = Arc::new(Projection::new());
    let mut projector = Projector::new(projection.clone(), BOUND);
    (1..=records).for_each(|number| projector.apply(number, &record(number)));
    (projection, projector)
}

/// A stored response as far as purges go: its path, its tags, its memo of the last check.
struct Stored {
    path: String,
    tags: Tags,
    checked: AtomicU64,
}

fn stored(at: u64) -> Stored {
    let tags = ["all", "course-7"].map(Box::from).into_iter().chain([format!("unit-{at}").into()]);
    let mut lists: [_; LISTS] = Default::default();
    lists[LISTS - 2] = tags.collect();
    Stored { path: path(at), tags: Tags::new(lists, None), checked: AtomicU64::new(0) }
}

/// As a hit asks: the memo first.
fn hit(projection: &Projection, marks: &SiteMarks, stored: &Stored, born: u64) -> bool {
    let touched = marks.touched();
    if stored.checked.load(Ordering::Relaxed) == touched + 1 {
        return true;
    }
    let current = first(projection, marks, stored, born);
    if current {
        stored.checked.store(touched + 1, Ordering::Relaxed);
    }
    current
}

fn first(projection: &Projection, marks: &SiteMarks, stored: &Stored, born: u64) -> bool {
    let subject = Subject { path: &stored.path, query: None, tags: &stored.tags, came: UNIX_EPOCH };
    projection.standing(marks, &subject, born) == Standing::Current
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let measures = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[u64] = if measures { &[1_000, 1_000_000] } else { &[100] };
    let mut group = criterion.benchmark_group("purge");
    for &records in sizes {
        let (projection, mut projector) = filled(records);
        let marks = projection.marks("lms");
        for at in 1..=100 {
            assert!(!first(&projection, &marks, &stored(at), 0), "record {at} covers nothing");
            assert!(
                first(&projection, &marks, &stored(at), records),
                "record {at} covers what came after it"
            );
        }
        assert!(first(&projection, &marks, &stored(records + 1), 0), "what no record names is covered");
        let mut number = records;
        group.bench_function(format!("record after {records}"), |bencher| {
            bencher.iter(|| {
                number += 1;
                projector.apply(number, &record(number));
            });
        });
        // What was stored before all records, and what none of them names: each kind is looked up.
        let other = stored(u64::MAX);
        group.bench_function(format!("first hit after the last of {records} records"), |bencher| {
            bencher.iter(|| first(&projection, &marks, black_box(&other), 0));
        });
    }
    for &size in sizes {
        for &records in &[0, sizes[sizes.len() - 1]] {
            let (projection, _) = filled(records);
            let marks = projection.marks("lms");
            let all: Vec<Stored> = (0..size).map(stored).collect();
            assert!(all.iter().all(|stored| hit(&projection, &marks, stored, records)));
            let mut asked = 0;
            group.bench_function(format!("hit of {size} beside {records} records"), |bencher| {
                bencher.iter(|| {
                    // A prime stride: each once, no neighbours in turn.
                    asked = (asked + 7_368_787) % size;
                    hit(&projection, &marks, &all[asked as usize], records)
                });
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
