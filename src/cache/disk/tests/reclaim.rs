//! What a folder does when it is full.

use super::{
    CHUNK, Disk, chunk, cold, committed, folder, keep, key, open, settings, slot, slot_of, status, taken,
    value, wait,
};
use crate::{
    cache::{ChunkId, disk::Hooks},
    telemetry::Metrics,
};
use http::StatusCode;
use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const LIMIT: u64 = 16 << 20;
/// Several chunks are committed together.
const SOON: Duration = Duration::from_millis(20);

/// Keeps chunks of these numbers, the later ones as they are allowed for.
fn fill(disk: &Disk, numbers: std::ops::Range<u32>) {
    for number in numbers {
        assert!(keep(disk, &chunk(number, CHUNK)).is_kept(), "{number}");
    }
    committed(disk);
}

fn has(disk: &Disk, number: u32) -> bool {
    super::has(disk, &chunk(number, CHUNK))
}

fn open_with(folder: &Path, hooks: Hooks, protected: u64) -> (Disk, Arc<Metrics>) {
    let metrics = Metrics::new();
    let mut settings = settings(&[folder], LIMIT, SOON);
    settings.folders[0].protected_limit = protected;
    (Disk::open(&settings, &metrics, hooks, false).unwrap(), metrics)
}

#[test]
fn the_limit_holds_and_the_oldest_goes() {
    let folder = folder();
    let (disk, metrics) = open_with(folder.path(), cold(), LIMIT / 2);
    for round in 0..5 {
        fill(&disk, round * 40..round * 40 + 40);
        let bytes = taken(folder.path());
        assert!(bytes <= LIMIT, "{bytes}");
        assert!(bytes > LIMIT / 2, "{bytes}: most of the folder is used");
    }
    assert!(has(&disk, 199) && has(&disk, 180) && !has(&disk, 0) && !has(&disk, 100));
    assert_eq!(value(&metrics, "lectern_disk_not_kept_total"), 0);
    assert_eq!(value(&metrics, "lectern_disk_carried_bytes_total"), 0, "nothing was read");
    // Reclaim may still be at it.
    let there = || (0..200).filter(|number| has(&disk, *number)).count() as u64;
    super::until("an index that names what is there", || value(&metrics, "lectern_disk_chunks") == there());
    drop(disk);
    let mut half = settings(&[folder.path()], LIMIT, SOON);
    half.folders[0].limit = LIMIT / 2;
    let (disk, _) = open(&half);
    super::until("a lower limit holds", || taken(folder.path()) <= LIMIT / 2);
    assert!(has(&disk, 199));
}

#[test]
fn what_was_read_is_carried_but_at_most_half_of_a_segment() {
    let folder = folder();
    let (disk, metrics) = open_with(folder.path(), cold(), LIMIT / 2);
    fill(&disk, 0..8);
    let one = chunk(1, CHUNK).id;
    for number in 8..200 {
        assert!(keep(&disk, &chunk(number, CHUNK)).is_kept());
        assert!(wait(disk.holds(&[one])), "{number}");
        if number % 3 == 0 {
            committed(&disk);
        }
    }
    assert!(has(&disk, 1) && !has(&disk, 2));
    assert!(value(&metrics, "lectern_disk_carried_bytes_total") >= 2 * CHUNK as u64);
    drop(disk);
    // After a restart it is still known what was read.
    let (disk, metrics) = open_with(folder.path(), cold(), LIMIT / 2);
    (0..200).for_each(|number| _ = has(&disk, number));
    drop(disk);
    let (disk, again) = open_with(folder.path(), cold(), LIMIT / 2);
    fill(&disk, 200..215);
    let carried = value(&again, "lectern_disk_carried_bytes_total");
    let reclaimed = value(&again, "lectern_disk_reclaimed_segments_total");
    assert!(carried > 0 && carried <= reclaimed * (1 << 19), "{carried} of {reclaimed} segments");
    assert!(has(&disk, 214));
    drop(metrics);
}

#[test]
fn what_another_tier_holds_is_carried() {
    let folder = folder();
    let hot: HashSet<ChunkId> = [chunk(0, CHUNK).id, chunk(5, CHUNK).id].into();
    let hooks = Hooks { hot: Box::new(move |id| hot.contains(id)), ..cold() };
    let (disk, _) = open_with(folder.path(), hooks, LIMIT / 2);
    fill(&disk, 0..150);
    assert!(has(&disk, 0) && has(&disk, 5) && !has(&disk, 1));
}

#[test]
fn what_is_protected_is_carried_up_to_its_own_limit() {
    let folder = folder();
    let all: HashSet<ChunkId> = (0..40).map(|number| chunk(number, CHUNK).id).collect();
    let hooks = Hooks { protected: Box::new(move |id| all.contains(id)), ..cold() };
    let most = 4 << 20;
    let (disk, _) = open_with(folder.path(), hooks, most);
    fill(&disk, 0..300);
    let there = (0..40).filter(|number| has(&disk, *number)).count();
    assert_eq!(there, most as usize / CHUNK, "as many as the limit allows");
    assert!(has(&disk, 299));
    let bytes = taken(folder.path());
    assert!(bytes <= LIMIT, "{bytes}");
}

#[test]
fn the_responses_written_longest_ago_are_forgotten_unless_they_are_in_use() {
    let folder = folder();
    let mut settings = settings(&[folder.path()], 64 << 20, SOON);
    settings.folders[0].responses = 100;
    let metrics = Metrics::new();
    let hooks = Hooks { hot_slot: Box::new(|other| *other == key("/4")), ..cold() };
    let disk = Disk::open(&settings, &metrics, hooks, false).unwrap();
    let put = |number: u32| disk.put(&key(&format!("/{number}")), Some(slot(&chunk(number, 10))));
    (0..100).for_each(put);
    committed(&disk);
    let responses = || value(&metrics, "lectern_disk_responses");
    super::until("all are told of", || responses() == 100);
    assert_eq!(value(&metrics, "lectern_disk_evicted_responses_total"), 0);
    assert_eq!(status(&disk, "/3"), Some(200));
    for number in 100..150 {
        put(number);
        committed(&disk);
        let responses = responses();
        assert!((90..=100).contains(&responses), "{responses}");
    }
    assert_eq!(status(&disk, "/3"), Some(200), "it was read");
    assert_eq!(status(&disk, "/4"), Some(200), "it is read elsewhere");
    assert_eq!(status(&disk, "/149"), Some(200));
    let first = (0..100).filter(|number| status(&disk, &format!("/{number}")).is_some()).count();
    assert!((40..=60).contains(&first), "{first}");
    // More at once than there may be: for a moment, until the next commit, all of them are there.
    (1000..3000).for_each(put);
    super::until("a flood is worked off", || {
        committed(&disk);
        responses() <= 100
    });
    assert_eq!((status(&disk, "/148"), status(&disk, "/2999")), (None, Some(200)));
    (3000..3050).for_each(|number| {
        put(number);
        committed(&disk);
        assert!(responses() <= 100, "{}", responses());
    });
}

#[test]
fn a_flood_stays_within_the_limit_and_what_comes_after_it_is_kept() {
    let folder = folder();
    let bodies = 120;
    let settings = settings(&[folder.path()], 2 * LIMIT, SOON);
    let (disk, metrics) = open(&settings);
    let most = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (disk, most, folder) = (&disk, &most, folder.path());
            scope.spawn(move || {
                for body in (thread..bodies).step_by(8) {
                    let chunks: Vec<_> = (0..4).map(|n| chunk(body * 4 + n, CHUNK)).collect();
                    let key = key(&format!("/{body}"));
                    let kept: Vec<_> = chunks.iter().map(|chunk| disk.keep(&key, chunk)).collect();
                    disk.put(&key, Some(slot_of(&chunks, StatusCode::OK)));
                    assert!(disk.may_have(&key) && wait(disk.slot(&key)).is_some());
                    super::until("decisions", || kept.iter().all(|kept| kept.is_decided()));
                    most.fetch_max(taken(folder), Ordering::Relaxed);
                }
            });
        }
    });
    let most = most.into_inner();
    assert!(most <= 2 * LIMIT, "{most}");
    assert!(disk.ready().is_empty(), "{:?}", disk.ready());
    let check = |disk: &Disk| assert!(has(disk, 9000) && status(disk, "/last") == Some(200));
    fill(&disk, 9000..9001);
    disk.put(&key("/last"), Some(slot(&chunk(9000, CHUNK))));
    check(&disk);
    assert!(value(&metrics, "lectern_disk_written_bytes_total") > LIMIT);
    drop(disk);
    assert!(taken(folder.path()) <= 2 * LIMIT);
    let (disk, _) = open(&settings);
    assert!(taken(folder.path()) <= 2 * LIMIT);
    check(&disk);
}
