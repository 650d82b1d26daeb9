//! What it costs to hand a body through a fill: appended piece by piece as the origin sends it, read as it grows. The
//! first is what a cold fill pays on top of the origin's bytes, the others what each client more pays.

use criterion::{Criterion, Throughput};
use lectern::fill::{Growing, Reader};
use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// The edge's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What an origin's connection brings in one read.
static PIECE: [u8; 32 << 10] = [7; 32 << 10];

/// Reads all that is there; tells how much.
fn read(reader: &mut Reader) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    let mut bytes = 0;
    while let Poll::Ready(Some(Ok(piece))) = reader.poll_next(&mut context) {
        bytes += piece.len();
    }
    bytes
}

/// A whole body of `length` bytes.
fn grown(length: usize) -> Arc<Growing> {
    let (body, _first) = Growing::with_reader();
    body.expect(Some(length as u64));
    (0..length / PIECE.len()).for_each(|_| body.append(&PIECE));
    body.complete();
    body
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, length) in [("32 KiB", 32 << 10), ("1 MiB", 1 << 20), ("16 MiB", 16 << 20)] {
        let mut group = criterion.benchmark_group(format!("growing body, {name}"));
        group.throughput(Throughput::Bytes(length as u64));
        for readers in [1, 10] {
            group.bench_function(format!("filled and read by {readers}"), |bencher| {
                bencher.iter(|| {
                    let (body, first) = Growing::with_reader();
                    let mut all = vec![first];
                    all.extend((1..readers).filter_map(|_| body.reader()));
                    body.expect(Some(length as u64));
                    let mut bytes = 0;
                    for _ in 0..length / PIECE.len() {
                        body.append(&PIECE);
                        bytes += all.iter_mut().map(read).sum::<usize>();
                    }
                    body.complete();
                    assert_eq!(bytes, readers * length);
                });
            });
        }
        let body = grown(length);
        group.bench_function("read when it is whole", |bencher| {
            bencher.iter(|| assert_eq!(body.reader().map(|mut reader| read(&mut reader)), Some(length)));
        });
        group.finish();
    }
    criterion.final_summary();
}
