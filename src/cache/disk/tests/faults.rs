//! What a disk does to us.

use super::{
    AT_ONCE, CHUNK, Disk, LIMIT, NEVER, chunk, committed, folder, has, keep, key, open, settings, slot,
    slot_of, status, until, value,
};
use crate::cache::disk::segment::{SEGMENTS, Segment};
use http::StatusCode;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

fn fault(folder: &Path, what: &str, how: Option<&str>) {
    let file = folder.join(SEGMENTS).join(what);
    match how {
        Some(how) => fs::write(file, how).unwrap(),
        None => fs::remove_file(file).unwrap(),
    }
}

fn is_off(disk: &Disk) -> bool {
    !disk.ready().is_empty()
}

#[test]
fn a_flipped_bit_is_a_missing_chunk_that_is_written_again() {
    let folder = folder();
    let (disk, metrics) = open(&settings(&[folder.path()], LIMIT, AT_ONCE));
    let (bad, good) = (chunk(1, 1000), chunk(2, 1000));
    keep(&disk, &bad);
    keep(&disk, &good);
    committed(&disk);
    let file = File::options().write(true).open(Segment::path(folder.path(), 0)).unwrap();
    file.write_all_at(&[0xaa; 1], 32 + 48 + 500).unwrap();
    assert!(!has(&disk, &bad));
    assert_eq!(value(&metrics, "lectern_disk_verify_failures_total"), 1);
    assert!(has(&disk, &good));
    assert!(keep(&disk, &bad).is_kept());
    assert!(has(&disk, &bad));
    assert_eq!(value(&metrics, "lectern_disk_written_bytes_total"), 3000);
    committed(&disk);
    assert!(has(&disk, &bad));
    assert_eq!(value(&metrics, "lectern_disk_chunks"), 2);
    assert!(!is_off(&disk));
}

#[test]
fn a_segment_that_was_deleted_is_missing_and_its_number_is_not_used_again() {
    let folder = folder();
    let settings = settings(&[folder.path()], 16 << 20, AT_ONCE);
    let (disk, _) = open(&settings);
    let chunks: Vec<_> = (0..5).map(|n| chunk(n, CHUNK)).collect();
    chunks.iter().for_each(|chunk| assert!(keep(&disk, chunk).is_kept()));
    committed(&disk);
    let file = |number| Segment::path(folder.path(), number);
    fs::remove_file(file(1)).unwrap();
    assert!(has(&disk, &chunks[4]), "the file is still open");
    drop(disk);
    let (disk, metrics) = open(&settings);
    assert!(has(&disk, &chunks[0]) && !has(&disk, &chunks[4]));
    until("what was asked for in vain is forgotten", || value(&metrics, "lectern_disk_chunks") == 4);
    drop(disk);
    let (disk, _) = open(&settings);
    assert!(keep(&disk, &chunks[4]).is_kept() && has(&disk, &chunks[4]));
    assert!(!file(1).exists() && file(2).exists());
    assert!(!is_off(&disk));
}

#[test]
fn a_folder_that_fails_serves_what_it_has_and_loses_no_change() {
    let folder = folder();
    let (disk, metrics) = open(&settings(&[folder.path()], LIMIT, AT_ONCE));
    let (before, during, after) = (chunk(1, 1000), chunk(2, 1000), chunk(3, 1000));
    keep(&disk, &before);
    disk.put(&key("/a"), Some(slot(&before)));
    disk.put(&key("/b"), Some(slot(&before)));
    committed(&disk);
    fault(folder.path(), "append", Some("broken"));
    assert!(!keep(&disk, &during).is_kept());
    until("it is off", || is_off(&disk));
    assert!(has(&disk, &before));
    disk.put(&key("/a"), Some(slot_of(std::slice::from_ref(&during), StatusCode::IM_A_TEAPOT)));
    disk.put(&key("/b"), None);
    assert_eq!((status(&disk, "/a"), status(&disk, "/b")), (Some(418), None));
    fault(folder.path(), "append", None);
    until("it works again", || !is_off(&disk));
    assert!(keep(&disk, &after).is_kept());
    committed(&disk);
    assert_eq!((status(&disk, "/a"), status(&disk, "/b")), (Some(418), None));
    assert!(has(&disk, &after) && !has(&disk, &during));
    assert!(value(&metrics, "lectern_disk_not_kept_total") >= 1);
}

#[test]
fn what_could_not_be_synced_is_lost_and_nothing_else() {
    let folder = folder();
    let settings = settings(&[folder.path()], LIMIT, AT_ONCE);
    let (disk, _) = open(&settings);
    let (before, lost, after) = (chunk(1, 1000), chunk(2, 1000), chunk(3, 1000));
    keep(&disk, &before);
    committed(&disk);
    let end = fs::metadata(Segment::path(folder.path(), 0)).unwrap().len();
    fault(folder.path(), "sync", Some("broken"));
    keep(&disk, &lost);
    disk.put(&key("/a"), Some(slot(&before)));
    until("it is off", || is_off(&disk));
    assert!(!has(&disk, &lost));
    fault(folder.path(), "sync", None);
    until("it works again", || !is_off(&disk));
    assert!(keep(&disk, &after).is_kept());
    committed(&disk);
    assert_eq!(fs::metadata(Segment::path(folder.path(), 0)).unwrap().len(), end, "not gone on with");
    drop(disk);
    let (disk, _) = open(&settings);
    assert!(has(&disk, &before));
    assert!(has(&disk, &after) && !has(&disk, &lost));
    assert_eq!(status(&disk, "/a"), Some(200));
}

#[test]
fn a_full_medium_costs_the_oldest_segments() {
    let folder = folder();
    let (disk, metrics) = open(&settings(&[folder.path()], 32 << 20, AT_ONCE));
    let chunks: Vec<_> = (0..40).map(|n| chunk(n, CHUNK)).collect();
    chunks.iter().for_each(|chunk| assert!(keep(&disk, chunk).is_kept()));
    committed(&disk);
    fault(folder.path(), "append", Some("full"));
    assert!(!keep(&disk, &chunk(100, CHUNK)).is_kept());
    until("it is off", || is_off(&disk));
    fault(folder.path(), "append", None);
    until("it works again", || !is_off(&disk));
    assert!(keep(&disk, &chunk(100, CHUNK)).is_kept());
    committed(&disk);
    assert!(!has(&disk, &chunks[0]), "the oldest went");
    assert!(has(&disk, &chunks[39]), "half of all is kept");
    assert!(value(&metrics, "lectern_disk_reclaimed_segments_total") >= 3);
    assert_eq!(value(&metrics, "lectern_disk_verify_failures_total"), 0);
}

#[test]
fn a_folder_that_was_moved_away_takes_no_writes_until_it_is_back() {
    let outer = folder();
    let (here, away) = (outer.path().join("here"), outer.path().join("away"));
    let (disk, _) = open(&settings(&[&here], LIMIT, AT_ONCE));
    let (a, b) = (chunk(1, 1000), chunk(2, 1000));
    keep(&disk, &a);
    committed(&disk);
    fs::rename(&here, &away).unwrap();
    disk.put(&key("/a"), Some(slot(&a)));
    until("it is off", || is_off(&disk));
    assert_eq!(status(&disk, "/a"), Some(200));
    assert!(!keep(&disk, &b).is_kept());
    fs::rename(&away, &here).unwrap();
    until("it works again", || !is_off(&disk));
    assert!(keep(&disk, &b).is_kept());
    committed(&disk);
    assert_eq!(status(&disk, "/a"), Some(200));
}

#[test]
fn a_folder_that_cannot_be_opened_is_tried_again() {
    let outer = folder();
    let path = outer.path().join("disk");
    fs::write(&path, "a file").unwrap();
    let (disk, metrics) = open(&settings(&[&path], LIMIT, NEVER));
    assert!(is_off(&disk));
    assert!(!keep(&disk, &chunk(1, 10)).is_kept() && !has(&disk, &chunk(1, 10)));
    disk.put(&key("/a"), Some(slot(&chunk(1, 10))));
    assert_eq!((status(&disk, "/a"), status(&disk, "/b")), (Some(200), None));
    disk.tend();
    assert_eq!(value(&metrics, "lectern_disk_up"), 0);
    fs::remove_file(&path).unwrap();
    until("it is open", || !is_off(&disk));
    assert!(keep(&disk, &chunk(1, 10)).is_kept());
    assert_eq!((status(&disk, "/a"), status(&disk, "/b")), (Some(200), None));
    disk.tend();
    assert_eq!(value(&metrics, "lectern_disk_up"), 2);
}

/// Flips a bit in each copy of `bytes` below a folder, and tells how many there were.
fn spoil(folder: &Path, bytes: &[u8]) -> usize {
    let mut copies = 0;
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            copies += spoil(&entry.path(), bytes);
            continue;
        }
        let mut content = fs::read(entry.path()).unwrap();
        let found: Vec<_> = content.windows(bytes.len()).enumerate().filter(|(_, w)| *w == bytes).collect();
        let at: Vec<usize> = found.into_iter().map(|(at, _)| at).collect();
        at.iter().for_each(|at| content[*at] ^= 1);
        fs::write(entry.path(), content).unwrap();
        copies += at.len();
    }
    copies
}

#[test]
fn a_damaged_block_of_the_index_is_told_with_what_helps_and_the_folder_goes_on_reading() {
    let folder = folder();
    let settings = settings(&[folder.path()], LIMIT, AT_ONCE);
    let (disk, _) = open(&settings);
    let there = chunk(1, 1000);
    keep(&disk, &there);
    let mut paths: Vec<_> = (0..9).map(|n| format!("/{n}")).collect();
    paths.iter().for_each(|path| disk.put(&key(path), Some(slot(&there))));
    committed(&disk);
    drop(disk);
    // The first and the last stand in the table's head too, which is read when the index is opened.
    paths.sort_unstable_by_key(|path| key(path).digest());
    let path = &paths[4];
    assert!(spoil(&folder.path().join("index"), &key(path).digest()) > 0);
    let (disk, _) = open(&settings);
    assert_eq!(status(&disk, path), None, "it cannot be read");
    disk.put(&key(path), Some(slot(&there)));
    until("a commit that reads the block", || is_off(&disk));
    let [told] = &*disk.ready() else { panic!("{:?}", disk.ready()) };
    let command = format!("lectern store clear --folder {} --yes", folder.path().display());
    assert!(told.ends_with(&command), "{told}");
    assert_eq!(status(&disk, path), Some(200), "the change is not lost");
    assert!(has(&disk, &there), "it is read on");
}
