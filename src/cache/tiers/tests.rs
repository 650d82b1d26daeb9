//! Slots where memory keeps nothing: all that is not lost is on disk.

use super::Tiers;
use crate::{
    cache::{
        Body, Disk, DiskSettings, FolderSettings, Key, KeyParts, Memory, Selecting, Slot, StoredParts,
        StoredResponse,
    },
    clock,
    http_caching::{Freshness, Tags},
    ledger::{Identity, Number},
    telemetry::Metrics,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tempfile::TempDir;

fn tiers() -> (Tiers, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let folder = FolderSettings::new(dir.path().join("disk"), 64 << 20);
    let flush_interval = Duration::from_millis(10);
    let settings = DiskSettings { folders: vec![folder], flush_interval, ..DiskSettings::default() };
    let metrics = Metrics::new();
    let memory = Memory::new(0, metrics.clone());
    let disk =
        Disk::open(&settings, &metrics, memory.hooks(|| Number { identity: Identity([0; 16]), n: 0 }), false)
            .unwrap();
    (Tiers::new(memory, Some(disk)), dir)
}

fn key(path: &str) -> Key {
    KeyParts { scope: "a", https: false, guarded: false, host: "", path, query: None }.key()
}

fn response(language: &'static str, body: &Arc<Body>, born: u64) -> Arc<StoredResponse> {
    let request = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language))]);
    Arc::new(StoredResponse::new(StoredParts {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        selecting: Selecting::new(vec![header::ACCEPT_LANGUAGE], &request),
        etag: None,
        last_modified: None,
        length: 0,
        body: body.clone(),
        freshness: Freshness {
            lifetime: 60,
            initial_age: 0,
            received: clock::now(),
            validate_always: false,
            forbid_stale: false,
            stale_while_revalidate: 0,
            stale_if_error: 0,
        },
        born: Number { identity: Identity([0; 16]), n: born },
        tags: Tags::default(),
    }))
}

fn body() -> Arc<Body> {
    Arc::new(Body::of(0, Vec::new()))
}

/// When the responses of a slot were born, youngest first.
fn born(slot: Option<Arc<Slot>>) -> Vec<u64> {
    slot.iter().flat_map(|slot| slot.responses()).map(|stored| stored.born.n).collect()
}

/// What stands under a key, memory having let it go.
async fn below(tiers: &Tiers, key: &Key) -> Vec<u64> {
    tiers.settle();
    assert!(tiers.slot(key).is_none(), "memory keeps it");
    let born = born(tiers.raise(key).await);
    tiers.settle();
    born
}

#[tokio::test]
async fn what_is_only_on_disk_is_changed_as_if_it_were_in_memory() {
    let (tiers, _dir) = tiers();
    let (a, other, de, en) = (key("/a"), key("/b"), body(), body());
    assert!(!tiers.may_be_below(&a) && below(&tiers, &a).await.is_empty());
    tiers.store(&a, &response("de", &de, 1), || true).await;
    assert_eq!(below(&tiers, &a).await, [1]);
    tiers.store(&a, &response("en", &en, 2), || true).await;
    assert_eq!(below(&tiers, &a).await, [2, 1], "the other variant is not lost");
    tiers.store(&a, &response("fr", &body(), 3), || false).await;
    assert!(tiers.freshen(&a, &response("de", &de, 4)).await);
    assert_eq!(below(&tiers, &a).await, [4, 2]);
    assert!(tiers.freshen(&a, &response("de", &de, 3)).await, "it stands");
    assert!(!tiers.freshen(&a, &response("de", &body(), 5)).await, "another body does not");
    tiers.renew(&a, &en).await;
    tiers.withdraw(&a, &body()).await;
    assert_eq!(below(&tiers, &a).await, [4, 2], "nothing was to be changed");
    tiers.store(&other, &response("de", &body(), 6), || true).await;
    tiers.withdraw(&a, &de).await;
    assert_eq!(below(&tiers, &a).await, [2]);
    tiers.forget(&a);
    assert!(below(&tiers, &a).await.is_empty());
    tiers.withdraw(&other, &body()).await;
    assert_eq!(below(&tiers, &other).await, [6]);
}

/// One changes a slot again and again, some look: nobody finds what stood there before a change that was over when it
/// began to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nobody_finds_what_was_before_a_change_that_is_over() {
    const CHANGES: u64 = 2_000;
    let (tiers, _dir) = tiers();
    let (begun, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    // Each fifth change is that nothing stands there.
    let goes = |n: u64| n.is_multiple_of(5);
    let looks = |tiers: Tiers, begun: Arc<AtomicU64>, over: Arc<AtomicU64>| async move {
        loop {
            let before = over.load(SeqCst);
            let found = born(tiers.raise(&key("/a")).await);
            let possible = before..=begun.load(SeqCst);
            match found[..] {
                [] => assert!(possible.clone().any(goes), "nothing, though {possible:?} stand there"),
                [n] => assert!(possible.contains(&n), "{n} of {possible:?}"),
                _ => panic!("{found:?}"),
            }
            if before == CHANGES {
                return;
            }
            tiers.settle();
            tokio::task::yield_now().await;
        }
    };
    let looking: Vec<_> =
        (0..2).map(|_| tokio::spawn(looks(tiers.clone(), begun.clone(), over.clone()))).collect();
    for n in 1..=CHANGES {
        begun.store(n, SeqCst);
        match goes(n) {
            true => tiers.forget(&key("/a")),
            false => tiers.store(&key("/a"), &response("de", &body(), n), || true).await,
        }
        over.store(n, SeqCst);
        tokio::task::yield_now().await;
    }
    for look in looking {
        look.await.unwrap();
    }
}
