//! What it costs to hand a body through a fill: appended piece by piece as the origin sends it, sealed, kept, and read as it
//! grows. With one reader that is what a cold fill pays on top of the origin's bytes; what the other nine add is what each
//! client more pays. A body that is whole is read from the memory tier.

use criterion::{Criterion, Throughput};
use lectern::{
    cache::{Body, CacheSettings, Chunk, Key, KeyParts, Memory, Tiers},
    fill::{Bodies, Reader, Window},
    telemetry::Metrics,
};
use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// The edge's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What an origin's connection brings in one read.
static PIECE: [u8; 32 << 10] = [7; 32 << 10];

/// Where a body grows.
struct Place {
    bodies: Arc<Bodies>,
    tiers: Tiers,
    window: Window,
    key: Key,
}

impl Place {
    fn new() -> Place {
        let settings = CacheSettings::default();
        let tiers = Tiers::new(Memory::new(settings.memory, Metrics::new()), None);
        let key =
            KeyParts { scope: "a", https: false, guarded: false, host: "", path: "/", query: None }.key();
        Place { bodies: Arc::default(), tiers, window: Window::of(&settings), key }
    }

    fn keep(&self, sealed: impl IntoIterator<Item = Chunk>) {
        for chunk in sealed {
            self.tiers.keep(&self.key, &chunk);
        }
    }

    /// Brings a body of `length` bytes, which `readers` read as it comes; tells how much they read.
    fn fill(&self, length: usize, readers: usize) -> (Arc<Body>, usize) {
        let body = Arc::new(Body::new(Some(length as u64)));
        let growing = self.bodies.grow(&body, &self.tiers, self.window);
        let mut readers: Vec<Reader> = (0..readers).map(|_| Reader::new(&growing, 0)).collect();
        let mut read = || readers.iter_mut().map(read).sum::<usize>();
        let mut bytes = 0;
        let run = growing.begin(0, Some(length as u64));
        growing.expect(run, Some(length as u64));
        for _ in 0..length / PIECE.len() {
            self.keep(growing.append(run, &PIECE).into_iter().flatten());
            bytes += read();
        }
        self.keep(growing.seal(run).into_iter().flatten());
        growing.end(run);
        (body, bytes + read())
    }

    /// Reads a body that is whole.
    fn read(&self, body: &Arc<Body>) -> usize {
        read(&mut Reader::new(&self.bodies.grow(body, &self.tiers, self.window), 0))
    }
}

/// Reads all that is there; tells how much.
fn read(reader: &mut Reader) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    let mut bytes = 0;
    while let Poll::Ready(Some(Ok(piece))) = reader.poll_next(&mut context) {
        bytes += piece.len();
    }
    bytes
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let place = Place::new();
    for (name, length) in [("32 KiB", 32 << 10), ("1 MiB", 1 << 20), ("16 MiB", 16 << 20)] {
        let mut group = criterion.benchmark_group(format!("growing body, {name}"));
        group.throughput(Throughput::Bytes(length as u64));
        for readers in [1, 10] {
            group.bench_function(format!("filled and read by {readers}"), |bencher| {
                bencher.iter(|| assert_eq!(place.fill(length, readers).1, readers * length));
            });
        }
        let (body, _) = place.fill(length, 0);
        group.bench_function("read when it is whole", |bencher| {
            bencher.iter(|| assert_eq!(place.read(&body), length));
        });
        group.finish();
    }
    criterion.final_summary();
}
