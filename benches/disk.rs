//! What the disk tier's parts cost: the index asked for what is there and what is not, a batch of a thousand heads, synced, and
//! chunks that are written into a folder with room, and into a full one of which as much goes. The folders lie where temporary
//! files do.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lectern::{
    cache::{
        Alive, Body, CHUNK, Changes, Chunk, ChunkId, Disk, DiskSettings, FolderSettings, Hooks, Index, Kept,
        Key, KeyParts, Memory, Place, Selecting, Slot, StoredParts, StoredResponse,
    },
    clock,
    http_caching::{Freshness, Tags},
    ledger::{Identity, Number},
    telemetry::Metrics,
};
use std::{
    hint::black_box,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

/// The edge's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of the ledger that all here is born by.
fn born() -> Number {
    Number { identity: Identity([0; 16]), n: 0 }
}

/// A folder that is large enough for anything here.
const LIMIT: u64 = 1 << 40;
const LENGTH: u64 = 40_000;
/// Heads in a batch.
const BATCH: usize = 1000;
/// Bytes that are written at a time.
const WRITTEN: u64 = 16 << 20;
/// A folder that is full soon.
const FULL: u64 = 512 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

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
        born: born(),
        tags: Tags::default(),
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

/// A folder's tier, and chunks of which each is new to it.
struct Writing {
    disk: Disk,
    key: Key,
    written: u64,
    _folder: tempfile::TempDir,
}

impl Writing {
    /// A folder of this limit.
    fn into_folder_of(limit: u64, hot: bool) -> Writing {
        let (folder, metrics) = (tempfile::tempdir().expect("a folder for temporary files"), Metrics::new());
        let settings = DiskSettings {
            folders: vec![FolderSettings::new(folder.path(), limit)],
            write_queue: 2 * WRITTEN,
            ..DiskSettings::default()
        };
        let hooks = Hooks { hot: Box::new(move |_| hot), ..Memory::new(0, metrics.clone()).hooks(born) };
        let disk = Disk::open(&settings, &metrics, hooks, false).expect("an empty folder");
        Writing { disk, key: key(0), written: 0, _folder: folder }
    }

    /// The next chunks: [`WRITTEN`] bytes.
    fn next(&mut self) -> Vec<Chunk> {
        let from = self.written;
        self.written += WRITTEN / CHUNK as u64;
        (from..self.written).map(|n| Chunk::seal(Bytes::from(n.to_le_bytes().repeat(CHUNK / 8)))).collect()
    }

    /// Has chunks written, and waits for it.
    fn write(&self, chunks: &[Chunk]) {
        let kept: Vec<Kept> = chunks.iter().map(|chunk| self.disk.keep(&self.key, chunk)).collect();
        let until = clock::instant() + PATIENCE;
        while !kept.iter().all(Kept::is_decided) {
            assert!(clock::instant() < until, "the tier does not write what it is given");
            thread::park_timeout(Duration::from_micros(50));
        }
        assert!(kept.iter().all(Kept::is_kept), "a chunk was not kept");
    }
}

/// Chunks appended: with room, and where as many bytes go first, once without and once with half of them carried on.
fn appends(criterion: &mut Criterion, rounds: u64) {
    let mut group = criterion.benchmark_group("16 MiB in chunks");
    // As short as criterion lets it be: it writes gigabytes.
    let (warm_up, measured) = (Duration::from_secs(1), Duration::from_secs(3));
    group
        .throughput(Throughput::Bytes(WRITTEN))
        .sample_size(10)
        .warm_up_time(warm_up)
        .measurement_time(measured);
    for (name, limit, hot) in [
        ("append with room", LIMIT, false),
        ("append and reclaim", FULL, false),
        ("append and reclaim, carrying what is in use", FULL, true),
    ] {
        let mut writing = Writing::into_folder_of(limit, hot);
        // Full before it is measured.
        let before = if limit == FULL { rounds } else { 1 };
        for _ in 0..before {
            let chunks = writing.next();
            writing.write(&chunks);
        }
        group.bench_function(name, |bencher| {
            let writing = std::cell::RefCell::new(&mut writing);
            bencher.iter_batched(
                || writing.borrow_mut().next(),
                |chunks| writing.borrow().write(&chunks),
                BatchSize::PerIteration,
            );
        });
        writing.disk.close(PATIENCE);
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    // As a test it only shows that everything committed is found, and everything written kept.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let size = if is_bench { 200_000 } else { BATCH };
    appends(&mut criterion, if is_bench { FULL / WRITTEN + 4 } else { 1 });
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
