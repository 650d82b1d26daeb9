//! The disk tier as a whole: what it keeps, through restarts, crashes and faults.

mod faults;
mod offline;
mod reclaim;
mod several;
mod witness;

use super::{Disk, DiskError, DiskSettings, FolderSettings, Hooks, Kept, segment::Segment};
use crate::{
    cache::{
        Body, Buffers, CHUNK, Chunk, ChunkId, Key, KeyParts, Selecting, Slot, StoredParts, StoredResponse,
    },
    clock,
    http_caching::{Freshness, Tags},
    ledger::{Identity, Number},
    telemetry::Metrics,
};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, StatusCode};
use std::{
    fs,
    future::Future,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(3600);
const AT_ONCE: Duration = Duration::ZERO;
const PATIENCE: Duration = Duration::from_secs(20);

fn key(path: &str) -> Key {
    KeyParts { scope: "s", https: true, guarded: false, host: "h", path, query: None }.key()
}

/// A chunk of its own for each number.
fn chunk(number: u32, length: usize) -> Chunk {
    let mut bytes = vec![0xa5; length];
    for (byte, of) in bytes.iter_mut().zip(number.to_le_bytes()) {
        *byte = of;
    }
    Chunk::seal(Bytes::from(bytes))
}

fn slot_of(chunks: &[Chunk], status: StatusCode) -> Arc<Slot> {
    slot_born(chunks, status, 1)
}

fn slot_born(chunks: &[Chunk], status: StatusCode, n: u64) -> Arc<Slot> {
    let length = chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum();
    let stored = StoredResponse::new(StoredParts {
        status,
        headers: HeaderMap::new(),
        selecting: Selecting::default(),
        etag: None,
        last_modified: None,
        length,
        body: Arc::new(Body::of(length, chunks.iter().map(|chunk| chunk.id).collect())),
        freshness: Freshness {
            lifetime: 60,
            initial_age: 0,
            received: clock::now(),
            validate_always: false,
            forbid_stale: false,
            stale_while_revalidate: 0,
            stale_if_error: 0,
        },
        born: ledger(n),
        tags: Tags::default(),
    });
    Arc::new(Slot::default().with(Arc::new(stored)))
}

fn slot(chunk: &Chunk) -> Arc<Slot> {
    slot_of(std::slice::from_ref(chunk), StatusCode::OK)
}

fn settings(folders: &[&Path], limit: u64, flush_interval: Duration) -> DiskSettings {
    let folders = folders.iter().map(|path| FolderSettings::new(*path, limit)).collect();
    DiskSettings { folders, readers: 2, flush_interval, ..DiskSettings::default() }
}

fn ledger(n: u64) -> Number {
    Number { identity: Identity([0; 16]), n }
}

fn cold() -> Hooks {
    Hooks {
        buffers: Buffers::default(),
        hot: Box::new(|_| false),
        hot_slot: Box::new(|_| false),
        protected: Box::new(|_| false),
        held: Box::new(|_| None),
        raised: Box::new(|_| ()),
        ledger: Box::new(|| ledger(0)),
    }
}

fn try_open(settings: &DiskSettings) -> Result<(Disk, Arc<Metrics>), DiskError> {
    let metrics = Metrics::new();
    Ok((Disk::open(settings, &metrics, cold(), false)?, metrics))
}

fn open(settings: &DiskSettings) -> (Disk, Arc<Metrics>) {
    try_open(settings).unwrap()
}

/// Waits for something, looking again and again.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = clock::instant() + PATIENCE;
    while !is() {
        assert!(clock::instant() < end, "{what}");
        std::thread::park_timeout(Duration::from_micros(200));
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await }).unwrap()
}

/// What stands under a key by what the folder itself says.
fn below(disk: &Disk, key: &Key) -> Option<Arc<Slot>> {
    disk.0.folders.all[0].folder.slot(key, &key.digest(), &disk.0.folders.alive)
}

fn keep(disk: &Disk, chunk: &Chunk) -> Kept {
    let kept = disk.keep(&key("/"), chunk);
    until("a decision", || kept.is_decided());
    kept
}

/// Whether a chunk can be read, and has its bytes.
fn has(disk: &Disk, chunk: &Chunk) -> bool {
    wait(disk.read(&chunk.id)).is_some_and(|bytes| bytes == chunk.bytes)
}

/// Status of what stands under a path.
fn status(disk: &Disk, path: &str) -> Option<u16> {
    let slot = wait(disk.slot(&key(path)))?;
    Some(slot.responses()[0].status.as_u16())
}

fn value(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.render();
    let of = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok());
    text.lines().filter(|line| line.starts_with(name)).filter_map(of).sum()
}

/// Until nothing waits to be committed, and the gauges tell what is.
fn committed(disk: &Disk) {
    for folder in disk.0.folders.all.iter() {
        until("all is committed", || folder.fresh().is_empty() && folder.pending().is_empty());
        let Some(index) = folder.index.load_full() else { continue };
        until("gauges that tell of it", || {
            let (counts, told) = (index.counts(), &folder.metrics);
            (told.chunks.get() as u64, told.responses.get() as u64) == (counts.chunks, counts.responses)
        });
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Bytes a folder takes on the medium.
fn taken(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => taken(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        // It went meanwhile.
        Err(_) => 0,
    };
    entries.map_while(Result::ok).map(bytes).sum()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

const LIMIT: u64 = 64 << 20;

#[test]
fn what_waits_to_be_written_is_read_from_where_it_waits() {
    let folder = folder();
    let (disk, metrics) = open(&settings(&[folder.path()], LIMIT, AT_ONCE));
    let (first, second, never) = (chunk(1, 1000), chunk(2, CHUNK), chunk(3, 10));
    // As long as somebody looks at the segments, the writer cannot begin one.
    let segments = disk.0.folders.all[0].segments();
    let kept = [&first, &second].map(|chunk| disk.keep(&key("/"), chunk));
    assert!(has(&disk, &first) && has(&disk, &second) && !has(&disk, &never));
    assert!(disk.may_have_chunk(&first.id) && !disk.may_have_chunk(&never.id));
    assert!(wait(disk.holds(&[first.id, second.id])) && !wait(disk.holds(&[first.id, never.id])));
    assert!(kept.iter().all(|kept| !kept.is_decided()));
    assert_eq!(value(&metrics, "lectern_disk_written_bytes_total"), 0);
    drop(segments);
    // Nobody finds a gap between queue and folder.
    until("a decision", || {
        assert!(has(&disk, &first) && has(&disk, &second));
        kept.iter().all(|kept| kept.is_kept())
    });
    assert!(has(&disk, &first) && wait(disk.holds(&[first.id, second.id])));
    assert!(value(&metrics, "lectern_disk_read_bytes_total") >= 1000, "from the folder");
}

#[test]
fn what_was_kept_is_there_before_and_after_a_restart() {
    let folder = folder();
    let settings = settings(&[folder.path()], LIMIT, NEVER);
    let (disk, metrics) = open(&settings);
    let chunks = [chunk(1, CHUNK), chunk(2, 1)];
    let body = slot_of(&chunks, StatusCode::OK);
    assert!(!disk.may_have(&key("/a")) && !disk.may_have_chunk(&chunks[0].id));
    assert!(status(&disk, "/a").is_none() && !has(&disk, &chunks[0]));
    for chunk in &chunks {
        assert!(keep(&disk, chunk).is_kept());
    }
    disk.put(&key("/a"), Some(body.clone()));
    assert!(disk.may_have(&key("/a")) && disk.may_have_chunk(&chunks[1].id));
    let check = |disk: &Disk| {
        let found = wait(disk.slot(&key("/a"))).unwrap();
        assert_eq!(found.responses()[0].body.whole(), Some(&[chunks[0].id, chunks[1].id][..]));
        for chunk in &chunks {
            assert!(has(disk, chunk));
        }
        assert!(wait(disk.holds(&[chunks[0].id, chunks[1].id])));
        assert!(!wait(disk.holds(&[chunks[0].id, ChunkId::of(b"other")])));
        assert_eq!(status(disk, "/b"), None);
        assert_eq!(disk.ready(), Vec::<String>::new());
    };
    check(&disk);
    assert_eq!(value(&metrics, "lectern_disk_chunks"), 0, "nothing is committed yet");
    disk.close(PATIENCE);
    assert_eq!(value(&metrics, "lectern_disk_chunks"), 2);
    assert_eq!(value(&metrics, "lectern_disk_responses"), 1);
    drop(disk);
    let (disk, metrics) = open(&settings);
    assert!(!disk.may_have(&key("/b")), "what is there is known at once");
    check(&disk);
    assert_eq!(value(&metrics, r#"lectern_disk_reads_total{folder"#), 2);
    assert_eq!(value(&metrics, "lectern_disk_read_bytes_total"), CHUNK as u64 + 1);
    let found = wait(disk.slot(&key("/a"))).unwrap();
    let again = wait(disk.slot(&key("/a"))).unwrap();
    assert!(Arc::ptr_eq(&found.responses()[0].body, &again.responses()[0].body), "one body in a process");
}

#[test]
fn what_was_read_lately_is_had_at_once_while_the_kernel_holds_it_and_nothing_else() {
    let folder = folder();
    let (disk, metrics) = open(&settings(&[folder.path()], LIMIT, AT_ONCE));
    let chunks = [chunk(1, CHUNK), chunk(2, 1000)];
    for chunk in &chunks {
        assert!(keep(&disk, chunk).is_kept() && has(&disk, chunk));
    }
    for chunk in chunks.iter().cycle().take(100) {
        assert_eq!(disk.read(&chunk.id).now_or_never().flatten().as_ref(), Some(&chunk.bytes));
    }
    assert_eq!(value(&metrics, r#"lectern_disk_reads_total{folder"#), 102);
    assert_eq!(value(&metrics, "lectern_disk_read_bytes_total"), 51 * (CHUNK as u64 + 1000));
    committed(&disk);
    // Other bytes stand there: they are nobody's.
    let segment = fs::read_dir(folder.path().join("segments")).unwrap().next().unwrap().unwrap().path();
    let length = segment.metadata().unwrap().len();
    fs::write(&segment, vec![7; length as usize]).unwrap();
    assert!(!has(&disk, &chunks[0]) && !has(&disk, &chunks[1]));
    assert_eq!(value(&metrics, "lectern_disk_verify_failures_total"), 2);
}

#[test]
fn what_was_taken_away_does_not_wait_for_the_flush_interval() {
    let folder = folder();
    let stands = chunk(1, 10);
    let often = settings(&[folder.path()], LIMIT, AT_ONCE);
    let (disk, _) = open(&often);
    disk.put(&key("/a"), Some(slot(&stands)));
    keep(&disk, &stands);
    disk.close(PATIENCE);
    drop(disk);
    let (disk, metrics) = open(&settings(&[folder.path()], LIMIT, NEVER));
    assert_eq!(value(&metrics, "lectern_disk_responses"), 1);
    disk.put(&key("/b"), Some(slot(&stands)));
    disk.put(&key("/never-there"), None);
    disk.put(&key("/a"), None);
    committed(&disk);
    assert_eq!(status(&disk, "/a"), None);
    assert_eq!(value(&metrics, "lectern_disk_responses"), 1, "the one that came is committed with it");
}

#[test]
fn the_newest_state_of_a_slot_is_found_whatever_is_committed() {
    let folder = folder();
    for interval in [NEVER, AT_ONCE] {
        let settings = settings(&[folder.path()], LIMIT, interval);
        let (disk, _) = open(&settings);
        for n in 0..200 {
            let code = StatusCode::from_u16(200 + n % 90).unwrap();
            disk.put(&key("/a"), Some(slot_of(&[chunk(1, 10)], code)));
            assert_eq!(status(&disk, "/a"), Some(code.as_u16()));
            assert_eq!(below(&disk, &key("/a")).map(|s| s.responses()[0].status), Some(code));
            if n % 7 == 0 {
                disk.put(&key("/a"), None);
                assert_eq!(status(&disk, "/a"), None);
                assert!(below(&disk, &key("/a")).is_none());
            }
        }
        disk.put(&key("/a"), Some(slot_of(&[chunk(1, 10)], StatusCode::IM_A_TEAPOT)));
        disk.put(&key("/b"), Some(slot(&chunk(1, 10))));
        disk.put(&key("/b"), None);
        drop(disk);
        let (disk, _) = open(&settings);
        assert_eq!((status(&disk, "/a"), status(&disk, "/b")), (Some(418), None));
    }
}

#[test]
fn no_look_up_finds_an_older_state_than_one_put_before_it_began() {
    let folder = folder();
    let (disk, _) = open(&settings(&[folder.path()], LIMIT, AT_ONCE));
    let (last, key) = (AtomicU64::new(0), key("/a"));
    let put = |n| {
        disk.put(&key, Some(slot_born(&[], StatusCode::OK, n)));
        last.store(n, Ordering::SeqCst);
    };
    put(1);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while last.load(Ordering::SeqCst) < 400 {
                    let before = last.load(Ordering::SeqCst);
                    assert!(disk.may_have(&key));
                    let found = wait(disk.slot(&key)).unwrap().responses()[0].born.n;
                    assert!(found >= before, "{found} after {before}");
                    let found = below(&disk, &key).unwrap().responses()[0].born.n;
                    assert!(found >= before, "{found} after {before}");
                }
            });
        }
        (2..=400).for_each(|n| {
            put(n);
            if n % 20 == 0 {
                committed(&disk);
            }
        });
    });
}

#[test]
fn a_digest_is_written_once() {
    let folder = folder();
    let settings = settings(&[folder.path()], LIMIT, AT_ONCE);
    let (disk, metrics) = open(&settings);
    let same = chunk(1, 1000);
    let first = disk.keep(&key("/tenant-a"), &same);
    let second = disk.keep(&key("/tenant-b"), &same);
    until("both are decided", || first.is_decided() && second.is_decided());
    assert!(first.is_kept() && second.is_kept());
    committed(&disk);
    assert!(disk.keep(&key("/tenant-c"), &same).is_kept() || keep(&disk, &same).is_kept());
    assert_eq!(value(&metrics, "lectern_disk_written_bytes_total"), 1000);
    drop(disk);
    let (disk, metrics) = open(&settings);
    assert!(keep(&disk, &same).is_kept());
    assert_eq!(value(&metrics, "lectern_disk_written_bytes_total"), 0);
    assert_eq!(value(&metrics, "lectern_disk_deduplicated_bytes_total"), 1000);
}

#[test]
fn what_is_committed_survives_a_crash_and_what_is_torn_is_cut_off() {
    let (folder, crashed) = (folder(), folder());
    let (disk, _) = open(&settings(&[folder.path()], LIMIT, AT_ONCE));
    let chunks: Vec<Chunk> = (0..20).map(|n| chunk(n, 50_000)).collect();
    for (n, chunk) in chunks.iter().enumerate() {
        assert!(keep(&disk, chunk).is_kept());
        disk.put(&key(&format!("/{n}")), Some(slot(chunk)));
    }
    committed(&disk);
    copy(folder.path(), crashed.path());
    drop(disk);
    // Bytes that were on their way, and a file that was.
    let segment = Segment::path(crashed.path(), 0);
    let end = fs::metadata(&segment).unwrap().len();
    let mut torn = fs::read(&segment).unwrap();
    torn.extend_from_within(32..60_000);
    fs::write(&segment, torn).unwrap();
    fs::write(Segment::path(crashed.path(), 9), b"half a head").unwrap();
    let (disk, _) = open(&settings(&[crashed.path()], LIMIT, AT_ONCE));
    for (n, chunk) in chunks.iter().enumerate() {
        assert_eq!(status(&disk, &format!("/{n}")), Some(200));
        assert!(has(&disk, chunk));
    }
    assert_eq!(fs::metadata(&segment).unwrap().len(), end);
    assert!(!Segment::path(crashed.path(), 9).exists());
    assert!(keep(&disk, &chunk(100, 10)).is_kept());
    until("the filter knows what is there", || !disk.may_have(&key("/none")));
    assert!(disk.may_have(&key("/19")) && disk.may_have_chunk(&chunks[19].id));
}

#[test]
fn a_chunk_that_does_not_fit_the_queue_is_not_kept() {
    let folder = folder();
    let mut settings = settings(&[folder.path()], LIMIT, NEVER);
    settings.write_queue = 1000;
    let (disk, metrics) = open(&settings);
    assert!(!keep(&disk, &chunk(1, 1000)).is_kept());
    assert_eq!(value(&metrics, r#"lectern_disk_not_kept_total{folder"#), 1);
    assert!(keep(&disk, &chunk(1, 100)).is_kept());
    assert!(!has(&disk, &chunk(1, 1000)));
}

#[test]
fn a_folder_is_used_by_one_process() {
    let folder = folder();
    let settings = settings(&[folder.path()], LIMIT, NEVER);
    let (disk, _) = open(&settings);
    assert!(matches!(try_open(&settings), Err(DiskError::Held(_))));
    let metrics = Metrics::new();
    let waiting = Disk::open(&settings, &metrics, cold(), true).unwrap();
    assert_eq!(waiting.ready().len(), 1);
    assert!(!keep(&waiting, &chunk(1, 10)).is_kept());
    waiting.put(&key("/early"), Some(slot(&chunk(1, 10))));
    assert_eq!(status(&waiting, "/early"), Some(200));
    drop(disk);
    until("the lock is free", || waiting.ready().is_empty());
    assert!(keep(&waiting, &chunk(1, 10)).is_kept());
    assert!(waiting.may_have(&key("/early")));
    assert_eq!(status(&waiting, "/early"), Some(200));
    drop(waiting);
}

#[test]
fn a_folder_of_another_format_is_named_with_what_it_is() {
    let (folder, other) = (folder(), folder());
    let settings = settings(&[folder.path(), other.path()], LIMIT, NEVER);
    drop(open(&settings));
    let format = other.path().join("format");
    let named = other.path().display().to_string();
    for (text, newer) in [("lectern-disk 2\n", true), ("lectern-disk 0\n", false)] {
        fs::write(&format, text).unwrap();
        let error = try_open(&settings).map(|_| ()).unwrap_err();
        let (found, told) = (matches!(error, DiskError::Newer { .. }), error.to_string());
        assert_eq!(found, newer, "{told}");
        assert!(told.starts_with(&named) && told.contains("lectern store clear"), "{told}");
        assert!(!told.contains("damaged"), "{told}");
    }
    // What no version of ours has written keeps only that folder off.
    for text in [&b"lectern-disk 2b\n"[..], b"", b"\xff\xfe"] {
        fs::write(&format, text).unwrap();
        let (disk, _) = open(&settings);
        let [told] = &*disk.ready() else { panic!("{:?}", disk.ready()) };
        assert!(told.contains(&named) && told.contains("does not know"), "{told}");
        assert!(told.contains("lectern store clear") && !told.contains("damaged"), "{told}");
    }
    fs::write(&format, "lectern-disk 1\n").unwrap();
    assert!(open(&settings).0.ready().is_empty());
}

#[test]
fn what_was_given_up_can_be_read_where_it_is_needed_and_taken_back() {
    let folder = folder();
    let settings = settings(&[folder.path()], LIMIT, NEVER);
    let (old, _) = open(&settings);
    let (needed, other) = (chunk(1, 1000), chunk(2, 1000));
    for chunk in [&needed, &other] {
        keep(&old, chunk);
    }
    old.put(&key("/a"), Some(slot(&needed)));
    wait(old.give_up(vec![needed.id, ChunkId::of(b"none")]));
    assert!(has(&old, &needed));
    assert!(!has(&old, &other));
    assert!(!keep(&old, &chunk(3, 10)).is_kept());
    assert_eq!(status(&old, "/a"), None);
    old.put(&key("/a"), None);
    old.put(&key("/later"), Some(slot(&needed)));
    let (new, _) = open(&settings);
    assert_eq!(status(&new, "/a"), Some(200), "all was committed");
    assert!(has(&new, &other));
    let third = chunk(4, 1000);
    keep(&new, &third);
    old.take_back();
    drop(new);
    until("it is taken back", || old.ready().is_empty());
    assert_eq!((status(&old, "/a"), status(&old, "/later")), (None, Some(200)));
    assert!(has(&old, &third), "what the other wrote");
    assert!(keep(&old, &chunk(5, 10)).is_kept());
}
