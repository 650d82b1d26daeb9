//! Several folders as one tier.

use super::{
    AT_ONCE, LIMIT, NEVER, chunk, committed, folder, has, keep, key, open, settings, slot, slot_of, status,
    until, value,
};
use http::StatusCode;
use std::{fs, time::Duration};

#[test]
fn keys_are_spread_by_limit_and_few_move_when_a_folder_joins() {
    let (a, b, c) = (folder(), folder(), folder());
    let mut two = settings(&[a.path(), b.path()], LIMIT, NEVER);
    two.folders[1].limit = 3 * LIMIT;
    let mut three = two.clone();
    three.folders.push(settings(&[c.path()], 4 * LIMIT, NEVER).folders.remove(0));
    let home = |settings| {
        let (disk, _) = open(settings);
        let of = |n: u32| {
            let digest = key(&format!("/{n}")).digest();
            disk.0.folders.home(&digest).unwrap().name.clone()
        };
        (0..4000).map(of).collect::<Vec<_>>()
    };
    let (before, after) = (home(&two), home(&three));
    let count = |homes: &[String], path: &std::path::Path| {
        homes.iter().filter(|name| **name == path.display().to_string()).count()
    };
    let near = |count: usize, of: usize| count.abs_diff(of) < 200;
    assert!(near(count(&before, a.path()), 1000) && near(count(&before, b.path()), 3000));
    assert!(near(count(&after, c.path()), 2000));
    let new = c.path().display().to_string();
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == new));
}

#[test]
fn a_chunk_that_another_folder_has_is_not_written_again() {
    let (a, b) = (folder(), folder());
    let settings = settings(&[a.path(), b.path()], LIMIT, AT_ONCE);
    let (disk, metrics) = open(&settings);
    let same = chunk(1, 1000);
    for n in 0..20 {
        let kept = disk.keep(&key(&format!("/{n}")), &same);
        until("a decision", || kept.is_decided());
        assert!(kept.is_kept());
        committed(&disk);
    }
    assert_eq!(value(&metrics, "lectern_disk_written_bytes_total"), 1000);
    assert_eq!(value(&metrics, "lectern_disk_deduplicated_bytes_total"), 19_000);
    assert!(has(&disk, &same));
}

#[test]
fn a_folder_that_is_off_takes_only_what_is_its_own_with_it() {
    let (a, outer) = (folder(), folder());
    let broken = outer.path().join("broken");
    fs::write(&broken, "a file").unwrap();
    let (disk, metrics) = open(&settings(&[a.path(), &broken], LIMIT, AT_ONCE));
    assert_eq!(disk.ready().len(), 1);
    disk.tend();
    assert_eq!(value(&metrics, "lectern_disk_up"), 2);
    let mut kept = 0;
    for n in 0..40 {
        let (path, chunk) = (format!("/{n}"), chunk(n, 100));
        disk.put(&key(&path), Some(slot(&chunk)));
        let is_kept = disk.keep(&key(&path), &chunk);
        until("a decision", || is_kept.is_decided());
        kept += u32::from(is_kept.is_kept());
        assert_eq!(has(&disk, &chunk), is_kept.is_kept());
        assert_eq!(status(&disk, &path), Some(200), "changes are pending");
    }
    assert!((5..35).contains(&kept), "{kept}");
    fs::remove_file(&broken).unwrap();
    until("it works", || disk.ready().is_empty());
    (0..40).for_each(|n| assert!(keep(&disk, &chunk(n, 100)).is_kept()));
    (0..40).for_each(|n| assert_eq!(status(&disk, &format!("/{n}")), Some(200)));
}

#[test]
fn what_stands_in_a_former_home_is_found_and_never_comes_back() {
    let (a, b) = (folder(), folder());
    let one = settings(&[a.path()], LIMIT, NEVER);
    let two = settings(&[a.path(), b.path()], LIMIT, NEVER);
    let (disk, _) = open(&one);
    let paths: Vec<String> = (0..40).map(|n| format!("/{n}")).collect();
    for path in &paths {
        disk.put(&key(path), Some(slot(&chunk(1, 10))));
    }
    drop(disk);
    let (disk, _) = open(&two);
    for path in &paths {
        assert_eq!(status(&disk, path), Some(200));
    }
    for (n, path) in paths.iter().enumerate() {
        let new = (n % 2 == 0).then(|| slot_of(&[chunk(1, 10)], StatusCode::IM_A_TEAPOT));
        disk.put(&key(path), new);
    }
    drop(disk);
    let (disk, _) = open(&one);
    for (n, path) in paths.iter().enumerate() {
        let found = status(&disk, path);
        assert!(found != Some(200), "{path}: an older state");
        assert!(found.is_none() || n % 2 == 0);
    }
    drop(disk);
    let (disk, _) = open(&two);
    for (n, path) in paths.iter().enumerate() {
        assert_eq!(status(&disk, path), (n % 2 == 0).then_some(418));
    }
}

#[test]
fn a_folder_that_does_not_answer_keeps_no_other_from_writing() {
    let (a, b) = (folder(), folder());
    let mut settings = settings(&[a.path(), b.path()], LIMIT, AT_ONCE);
    settings.read_deadline = Duration::from_millis(200);
    let (disk, metrics) = open(&settings);
    let [first, other] = &*disk.0.folders.all else { unreachable!() };
    let paths = (0..).map(|n| format!("/{n}"));
    let of_first = |path: &String| std::ptr::eq(disk.0.folders.home(&key(path).digest()).unwrap(), first);
    let (of_first, of_other): (Vec<_>, Vec<_>) = paths.take(40).partition(of_first);
    let (same, alone) = (chunk(1, 1000), chunk(2, 1000));
    let keep = |path: &str, chunk| {
        let kept = disk.keep(&key(path), chunk);
        until("a decision", || kept.is_decided());
        assert!(kept.is_kept());
    };
    keep(&of_other[0], &same);
    keep(&of_other[1], &alone);
    committed(&disk);
    // As long as they are held, who looks for a chunk there waits.
    let hold = other.segments_mut();
    keep(&of_first[0], &same);
    assert_eq!(value(&metrics, "lectern_disk_written_bytes_total"), 3000, "rather twice than never");
    assert!(value(&metrics, "lectern_disk_reads_total") > 0, "it was asked");
    assert!(has(&disk, &same), "the first has it too");
    until("all of its threads wait", || !has(&disk, &alone) && !other.status.reads());
    assert!(has(&disk, &same));
    drop(hold);
    until("it is used again", || disk.ready().is_empty());
    assert!(has(&disk, &alone));
}
