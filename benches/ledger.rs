//! What a start costs with many records: with the snapshot of what they add up to, and with all of them read and their chain computed.
//! Each purges something else. The ledger lies where temporary files do.

use criterion::{BatchSize, Criterion};
use futures_util::future::try_join_all;
use lectern::{
    ledger::{About, Ledger, LedgerError, LedgerSettings, Purge, Record},
    telemetry::Metrics,
};
use std::{path::Path, sync::Arc};

/// The edge's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records that are asked for at once.
const AT_ONCE: u64 = 500;

/// A purge of each kind in turn.
fn record(at: u64) -> Record {
    let path = || format!("/content/unit-{at}/v3/index.html");
    let purge = match at % 4 {
        0 => Purge::Url { path: path(), query: None },
        1 => Purge::Url { path: path(), query: Some(String::new()) },
        2 => Purge::Prefix { path: format!("/content/unit-{at}/v3") },
        _ => Purge::Tag { tag: format!("unit-{at}") },
    };
    let about = About { sites: vec!["lms".into()], who: "release".into(), ..About::default() };
    Record::purge(purge, about)
}

fn open(folder: &Path, snapshot_records: u64) -> Arc<Ledger> {
    let settings = LedgerSettings { folder: folder.into(), snapshot_records, ..LedgerSettings::default() };
    Ledger::open(&settings, &Metrics::new()).expect("a ledger")
}

/// Writes so many records, and takes a snapshot of them all.
fn fill(folder: &Path, records: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let ledger = open(folder, u64::MAX);
    let written: Result<(), LedgerError> = runtime.block_on(async {
        for from in (1..=records).step_by(AT_ONCE as usize) {
            let those = from..=records.min(from + AT_ONCE - 1);
            try_join_all(those.map(|at| ledger.append(record(at)))).await?;
        }
        Ok(())
    });
    written.expect("a medium that takes records");
    ledger.close();
    open(folder, records).close();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let measures = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[u64] = if measures { &[1_000, 1_000_000] } else { &[100] };
    let mut group = criterion.benchmark_group("ledger");
    group.sample_size(10);
    for &records in sizes {
        let folder = tempfile::tempdir().expect("a folder");
        fill(folder.path(), records);
        let snapshot = folder.path().join("projection");
        for with in [true, false] {
            if !with {
                std::fs::remove_file(&snapshot).expect("a snapshot was taken");
            }
            let name = format!("start {} snapshot, {records} records", if with { "with" } else { "without" });
            // The ledger is closed outside of what is measured.
            group.bench_function(name, |bencher| {
                bencher.iter_batched(|| (), |()| open(folder.path(), u64::MAX), BatchSize::PerIteration);
            });
            let ledger = open(folder.path(), u64::MAX);
            assert_eq!(ledger.last().n, records);
            assert_eq!(ledger.marks("lms").touched(), records);
        }
    }
    group.finish();
    criterion.final_summary();
}
