//! An operator's commands on a folder that a node has filled.

use super::{CHUNK, LIMIT, NEVER, PATIENCE, chunk, folder, has, keep, key, open, settings, slot_of, status};
use crate::{
    cache::{
        Chunk, OfflineError, OfflineFolder, Verified,
        disk::segment::{FRAME, HEADER, Segment},
    },
    clock,
};
use http::StatusCode;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

const LAST: u64 = 100;

/// Fills a folder: three chunks, three responses, of which one names a chunk that is not there.
fn fill(at: &Path) -> [Chunk; 3] {
    let (disk, _) = open(&settings(&[at], LIMIT, NEVER));
    let chunks = [chunk(1, CHUNK), chunk(2, CHUNK), chunk(3, LAST as usize)];
    for chunk in &chunks {
        assert!(keep(&disk, chunk).is_kept());
    }
    let [first, second, last] = chunks.clone();
    for (path, named) in [
        ("/a", vec![first.clone(), second, last.clone()]),
        ("/b", vec![first.clone(), last]),
        ("/c", vec![first, chunk(4, 50)]),
    ] {
        disk.put(&key(path), Some(slot_of(&named, StatusCode::OK)));
    }
    assert!(matches!(OfflineFolder::hold(at), Err(OfflineError::Held(_))), "the node uses it");
    disk.close(PATIENCE);
    chunks
}

fn verify(at: &Path, repair: bool) -> Verified {
    let (mut told, mut last) = (0, (0, 0));
    let verified = OfflineFolder::hold(at).unwrap().verify(repair, &mut |done, of| {
        (told, last) = (told + 1, (done, of));
    });
    let verified = verified.unwrap();
    assert_eq!((told, last.0), (verified.chunks + verified.bad + verified.misplaced + 1, last.1));
    verified
}

/// Turns a bit of the only segment.
fn turn(at: &Path, byte: u64) {
    let file = File::options().read(true).write(true).open(Segment::path(at, 0)).unwrap();
    let mut found = [0];
    file.read_exact_at(&mut found, byte).unwrap();
    file.write_all_at(&[found[0] ^ 1], byte).unwrap();
}

#[test]
fn stat_counts_what_a_node_has_kept_and_changes_nothing() {
    let folder = folder();
    let begun = clock::now();
    let chunks = fill(folder.path());
    let stat = OfflineFolder::hold(folder.path()).unwrap().stat().unwrap();
    let size = CHUNK as u64;
    assert_eq!((stat.segments, stat.chunks, stat.chunk_bytes), (1, 3, 2 * size + LAST));
    let named = (2 * size + LAST) + (size + LAST) + (size + 50);
    assert_eq!((stat.responses, stat.named_bytes), (3, named));
    assert_eq!(stat.segment_bytes, u64::from(HEADER) + 3 * u64::from(FRAME) + 2 * size + LAST);
    assert!(stat.index_bytes > 0 && begun <= stat.oldest.unwrap() && stat.oldest <= stat.newest);
    let again = OfflineFolder::hold(folder.path()).unwrap().stat().unwrap();
    assert_eq!((again.chunks, again.responses, again.oldest), (3, 3, stat.oldest));
    let (disk, _) = open(&settings(&[folder.path()], LIMIT, NEVER));
    assert_eq!(status(&disk, "/c"), Some(200));
    assert!(has(&disk, &chunks[1]));
}

#[test]
fn verify_finds_each_chunk_that_is_not_what_it_should_be_and_repair_forgets_it() {
    let size = CHUNK as u64;
    let (header, frame) = (u64::from(HEADER), u64::from(FRAME));
    let second = header + frame + size;
    let folder = folder();
    let at = folder.path();
    let chunks = fill(at);
    // what is turned, what is found: bad bytes, wrong places, how it is told
    for (byte, bad, misplaced, told) in
        [(second + frame, 1, 0, "the bytes are others"), (second + 20, 0, 1, "no frame begins there")]
    {
        turn(at, byte);
        let found = verify(at, false);
        assert_eq!((found.bad, found.misplaced, found.chunks), (bad, misplaced, 2), "{byte}: {found:?}");
        assert_eq!((found.responses, found.missing, found.repaired), (3, 1, 0), "{byte}: {found:?}");
        assert!(found.samples.len() == 1 && found.samples[0].contains(told), "{byte}: {found:?}");
        turn(at, byte);
        let found = verify(at, false);
        assert_eq!((found.faults(), found.chunks, found.bytes), (0, 3, 2 * size + LAST), "{byte}: {found:?}");
    }
    turn(at, second + frame + size - 1);
    assert_eq!(verify(at, true).repaired, 1);
    let after = verify(at, false);
    assert_eq!((after.faults(), after.chunks, after.missing), (0, 2, 2), "{after:?}");
    let (disk, _) = open(&settings(&[at], LIMIT, NEVER));
    assert!(!has(&disk, &chunks[1]));
    assert!(has(&disk, &chunks[2]));
}

#[test]
fn a_segment_that_is_short_or_gone_is_found_too() {
    let folder = folder();
    let at = folder.path();
    fill(at);
    let path = Segment::path(at, 0);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(fs::metadata(&path).unwrap().len() - 1).unwrap();
    let found = verify(at, false);
    assert_eq!((found.bad, found.misplaced, found.chunks), (1, 0, 2), "{found:?}");
    turn(at, 8);
    let found = verify(at, false);
    assert_eq!((found.misplaced, found.chunks), (3, 0), "{found:?}");
    fs::remove_file(&path).unwrap();
    let found = verify(at, true);
    assert_eq!((found.misplaced, found.repaired, found.missing), (3, 3, 7), "{found:?}");
    assert!(found.samples.iter().all(|fault| fault.contains("file is not there")), "{found:?}");
    assert_eq!(verify(at, false).faults(), 0);
}

#[test]
fn a_moved_folder_is_gone_on_with_and_a_cleared_one_is_begun_anew() {
    let folder = folder();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let chunks = fill(&from);
    OfflineFolder::hold(&from).unwrap().copy_to(&to, &mut |_, _| {}).unwrap();
    let (disk, _) = open(&settings(&[&to], LIMIT, NEVER));
    assert!(status(&disk, "/a") == Some(200) && has(&disk, &chunks[0]));
    disk.close(PATIENCE);
    assert_eq!(verify(&to, false).faults(), 0);
    OfflineFolder::hold(&to).unwrap().clear().unwrap();
    let (disk, _) = open(&settings(&[&to], LIMIT, NEVER));
    assert!(status(&disk, "/a").is_none() && !has(&disk, &chunks[0]));
    assert!(keep(&disk, &chunks[0]).is_kept() && disk.ready().is_empty());
}
