//! What the disk tier's parts cost: the index asked for what is there and what is not, and a batch of a thousand heads,
//! synced. The folder lies where temporary files do.

use criterion::{BatchSize, Criterion};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lectern::{
    cache::{
        Alive, Body, Changes, ChunkId, Index, Key, KeyParts, Place, Selecting, Slot, StoredParts,
        StoredResponse,
    },
    http_caching::Freshness,
    ledger::{Identity, Number},
};
use std::{hint::black_box, sync::Arc, time::SystemTime};

/// The edge's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A folder that is large enough for anything here.
const LIMIT: u64 = 1 << 40;
const LENGTH: u64 = 40_000;
/// Heads in a batch.
const BATCH: usize = 1000;

fn key(at: usize) -> Key {
    let (host, path) = ("tenant-17.lms.example", &*format!("/content/unit-{at}/v3/index.html"));
    KeyParts { scope: "tenant-17", https: true, guarded: false, host, path, query: None }.key()
}

fn chunk(at: usize) -> ChunkId {
    ChunkId::of(&at.to_le_bytes())
}

/// A page as an LMS sends it.
fn fields(at: usize) -> HeaderMap {
    let fields = [
        ("date", "Mon, 30 Nov 2026 08:00:00 GMT".to_owned()),
        ("server", "Apache/2.4.62 (Debian)".to_owned()),
        ("content-type", "text/html; charset=utf-8".to_owned()),
        ("cache-control", "public, max-age=600".to_owned()),
        ("etag", format!("\"{at:x}-61\"")),
        ("last-modified", "Sun, 29 Nov 2026 11:30:00 GMT".to_owned()),
        ("vary", "Accept-Encoding".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
    ];
    let field = |(name, value): (&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
    };
    fields.into_iter().filter_map(field).collect()
}

fn slot(at: usize) -> Arc<Slot> {
    let stored = StoredParts {
        status: StatusCode::OK,
        headers: fields(at),
        selecting: Selecting::new(vec![http::header::ACCEPT_ENCODING], &HeaderMap::new()),
        etag: HeaderValue::try_from(format!("\"{at:x}-61\"")).ok(),
        last_modified: None,
        length: LENGTH,
        body: Arc::new(Body::of(LENGTH, vec![chunk(at)])),
        freshness: Freshness {
            lifetime: 600,
            initial_age: 0,
            received: SystemTime::UNIX_EPOCH,
            validate_always: false,
            forbid_stale: false,
            stale_while_revalidate: 0,
            stale_if_error: 0,
        },
        born: Number { identity: Identity([0; 16]), n: 0 },
    };
    Arc::new(Slot::default().with(Arc::new(StoredResponse::new(stored))))
}

/// Heads and places of a thousand pages.
fn batch(from: usize) -> Changes {
    let place = |at: usize| {
        let ordinal = at as u32;
        Place { segment: 1, offset: ordinal.wrapping_mul(LENGTH as u32), length: LENGTH as u32, ordinal }
    };
    Changes {
        places: (from..from + BATCH).map(|at| (chunk(at), place(at))).collect(),
        slots: (from..from + BATCH).map(|at| (key(at), Some(slot(at)))).collect(),
        ..Changes::default()
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    // As a test it only shows that everything committed is found.
    let size = if std::env::args().any(|argument| argument == "--bench") { 200_000 } else { BATCH };
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let index = Index::open(folder.path(), LIMIT).expect("an index");
    for from in (0..size).step_by(BATCH) {
        index.commit(&batch(from)).expect("a commit");
    }
    index.renew_filter(|| true).expect("a filter");
    let alive = Alive::default();
    let there = |at: usize| index.slot(&key(at), &alive).is_ok_and(|slot| slot.is_some());
    assert!((0..size).step_by(size / BATCH).all(there), "what was committed is not found");
    assert_eq!(index.counts().responses, size as u64);

    let mut group = criterion.benchmark_group("index");
    let mut at = 0;
    // A prime stride: each once, no neighbours in turn.
    let mut next = || {
        at = (at + 7_368_787) % size;
        at
    };
    group.bench_function(format!("slot, present among {size}"), |bencher| {
        bencher.iter_batched(|| key(next()), |key| index.slot(&key, &alive), BatchSize::SmallInput);
    });
    group.bench_function(format!("place, present among {size}"), |bencher| {
        bencher.iter_batched(|| chunk(next()), |id| index.place(&id), BatchSize::SmallInput);
    });
    group.bench_function("slot, absent", |bencher| {
        bencher.iter_batched(|| key(size + next()), |key| index.slot(&key, &alive), BatchSize::SmallInput);
    });
    group.bench_function("filter, absent", |bencher| {
        let absent = key(size).digest();
        bencher.iter(|| index.filter().may_have(black_box(&absent)));
    });
    let mut end = size;
    group.sample_size(10);
    group.bench_function(format!("commit of {BATCH} heads and places"), |bencher| {
        let more = || {
            end += BATCH;
            batch(end)
        };
        bencher.iter_batched(more, |changes| index.commit(&changes), BatchSize::PerIteration);
    });
    group.finish();
    criterion.final_summary();
}
