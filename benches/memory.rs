//! What a look-up in the memory tier costs, and how that grows with what is stored: from the key to the pieces of the body.
//! Every stored response is asked for in turn, far from the one before, as clients do; what lies in the processor's own
//! caches is therefore little, as it is in the field.

use bytes::Bytes;
use criterion::Criterion;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use lectern::{
    cache::{Body, Chunk, Key, KeyParts, Memory, Selecting, StoredParts, StoredResponse, Tiers},
    http_caching::{Freshness, RequestDirectives, Tags},
    ledger::{Identity, Number},
    telemetry::Metrics,
};
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// More than is stored: nothing is evicted.
/// The edge's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROOM: u64 = 1 << 40;
const RECEIVED: SystemTime = SystemTime::UNIX_EPOCH;

fn key(at: usize) -> Key {
    let (host, path) = ("tenant-17.lms.example", &*format!("/content/unit-{at}/v3/index.html"));
    KeyParts { scope: "tenant-17", https: true, guarded: false, host, path, query: None }.key()
}

fn fields() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=600")),
        (header::ETAG, HeaderValue::from_static("\"5f3a-61\"")),
        (header::VARY, HeaderValue::from_static("Accept-Encoding")),
    ])
}

/// A body of its own for each, short, so that a million take two gigabytes.
fn store(tiers: &Tiers, at: usize, request: &HeaderMap) {
    let chunk = Chunk::seal(Bytes::from(format!("this is page {at}")));
    tiers.keep(&key(at), &chunk);
    let length = chunk.bytes.len() as u64;
    let stored = StoredParts {
        status: StatusCode::OK,
        headers: fields(),
        selecting: Selecting::new(vec![header::ACCEPT_ENCODING], request),
        etag: None,
        last_modified: None,
        length,
        body: Arc::new(Body::of(length, vec![chunk.id])),
        freshness: Freshness {
            lifetime: 600,
            initial_age: 0,
            received: RECEIVED,
            validate_always: false,
            forbid_stale: false,
            stale_while_revalidate: 0,
            stale_if_error: 0,
        },
        born: Number { identity: Identity([0; 16]), n: 0 },
        tags: Tags::default(),
    };
    // Without a disk tier nothing is waited for.
    let stored = tiers.store(&key(at), &Arc::new(StoredResponse::new(stored)), || true).now_or_never();
    assert_eq!(stored, Some(()));
}

/// Slot, stored response for these fields, freshness, body: what is left of a hit is putting the answer together.
fn look_up(tiers: &Tiers, key: &Key, request: &HeaderMap) -> usize {
    let Some(slot) = tiers.slot(key) else { return 0 };
    let Some(stored) = slot.select(request) else { return 0 };
    black_box(stored.usable(&RequestDirectives::default(), RECEIVED + Duration::from_secs(60)));
    tiers.pieces(&stored.body, 0, stored.length - 1).map_or(0, |pieces| pieces.len())
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let request = HeaderMap::from_iter([(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("gzip, deflate, br, zstd"),
    )]);
    // As a test it only shows that everything stored is found.
    let sizes: &[usize] =
        if std::env::args().any(|argument| argument == "--bench") { &[10_000, 1_000_000] } else { &[100] };
    let mut group = criterion.benchmark_group("look-up");
    for &size in sizes {
        let tiers = Tiers::new(Memory::new(ROOM, Metrics::new()), None);
        (0..size).for_each(|at| store(&tiers, at, &request));
        tiers.settle();
        let keys: Vec<Key> = (0..size).map(key).collect();
        assert!(keys.iter().all(|key| look_up(&tiers, key, &request) == 1), "what is stored is not found");
        let mut asked = 0;
        group.bench_function(format!("hit of {size}"), |bencher| {
            bencher.iter(|| {
                // A prime stride: each once, no neighbours in turn.
                asked = (asked + 7_368_787) % size;
                look_up(&tiers, &keys[asked], &request)
            });
        });
        let absent = key(size);
        group.bench_function(format!("miss of {size}"), |bencher| {
            bencher.iter(|| tiers.slot(black_box(&absent)).is_some());
        });
    }
    group.finish();
    criterion.final_summary();
}
