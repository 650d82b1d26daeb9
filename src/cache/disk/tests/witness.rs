//! A ledger that was taken back from a backup: nothing that a folder keeps is served by it.

use super::{
    LIMIT, NEVER, chunk, cold, committed, folder, has, keep, key, ledger, settings, slot, status, until,
};
use crate::{
    cache::disk::{Disk, DiskSettings, Hooks},
    telemetry::Metrics,
};
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A disk tier beside a ledger that ends at this number.
fn open(settings: &DiskSettings, end: &Arc<AtomicU64>) -> Disk {
    let end = end.clone();
    let hooks = Hooks { ledger: Box::new(move || ledger(end.load(Ordering::SeqCst))), ..cold() };
    Disk::open(settings, &Metrics::new(), hooks, false).unwrap()
}

/// How far a folder says that it has seen the ledger come.
fn seen(folder: &Path) -> Option<u64> {
    let noted = fs::read_to_string(folder.join("ledgers")).ok()?;
    noted.trim_end().rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_folder_that_has_seen_more_of_the_ledger_is_emptied_and_used() {
    let folder = folder();
    let settings = settings(&[folder.path()], LIMIT, NEVER);
    let (end, one, other) = (Arc::new(AtomicU64::new(5)), chunk(1, 1000), chunk(2, 1000));
    let disk = open(&settings, &end);
    assert!(keep(&disk, &one).is_kept());
    disk.put(&key("/a"), Some(slot(&one)));
    drop(disk);
    // It goes on: all is there.
    let disk = open(&settings, &end);
    assert!(status(&disk, "/a").is_some() && has(&disk, &one));
    // A purge that nothing is stored after.
    end.store(6, Ordering::SeqCst);
    disk.tend();
    until("a note of it", || seen(folder.path()) == Some(6));
    drop(disk);
    end.store(5, Ordering::SeqCst);
    let disk = open(&settings, &end);
    assert!(status(&disk, "/a").is_none() && !has(&disk, &one));
    assert!(keep(&disk, &other).is_kept());
    disk.put(&key("/b"), Some(slot(&other)));
    drop(disk);
    let disk = open(&settings, &end);
    assert!(status(&disk, "/b").is_some() && has(&disk, &other), "what came since is kept");
    committed(&disk);
}

#[test]
fn a_folder_notes_when_it_is_opened_what_it_missed() {
    let folder = folder();
    let settings = settings(&[folder.path()], LIMIT, NEVER);
    let end = Arc::new(AtomicU64::new(0));
    drop(open(&settings, &end));
    assert_eq!(seen(folder.path()), Some(0), "of a ledger without records too");
}

#[test]
fn a_commit_is_never_ahead_of_what_is_noted() {
    let folder = folder();
    let settings = settings(&[folder.path()], LIMIT, NEVER);
    let (end, one) = (Arc::new(AtomicU64::new(1)), chunk(1, 1000));
    let disk = open(&settings, &end);
    until("a note of the start", || seen(folder.path()) == Some(1));
    end.store(2, Ordering::SeqCst);
    assert!(keep(&disk, &one).is_kept());
    disk.put(&key("/a"), Some(slot(&one)));
    // Closing commits; nobody told it of the ledger meanwhile.
    drop(disk);
    end.store(1, Ordering::SeqCst);
    assert!(status(&open(&settings, &end), "/a").is_none());
}
