//! The disk tier from outside: what it keeps, for how long, in what room, and that its failure is nobody's outage.
//!
//! - `failing`: files, folders and media that go bad, before the start and while it runs.
//! - `limits`: bytes, responses and memory under a flood.
//! - `partial`: chunks that are missing in the middle are had again, and never of another version.
//! - `reading`: a memory much smaller than the set.
//! - `restart`: what stands after a stop or a kill, and what must not come back.
//! - `tenants`: bytes are kept once, and nobody can tell.
//! - `tiers`: memory and disk as one.
//! - `window`: a fill lets go what the disk has.

mod failing;
mod limits;
mod partial;
mod reading;
mod restart;
mod tenants;
mod tiers;
mod window;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use futures_util::FutureExt;

use crate::support::{deadline::eventually, edge::Edge, message::Request};

/// Bytes of a chunk.
const CHUNK: u64 = 256 << 10;

/// A folder `store` of this limit behind a memory of this size, in the place of [`Edge::before`]'s rest. What was written is
/// committed soon, so that no test waits long for it.
fn store(memory: &str, limit: &str) -> String {
    format!("{}{}", tiers(memory), folder("store", limit))
}

/// The tiers without a folder. What is offered to the disk waits there however slow that is.
fn tiers(memory: &str) -> String {
    format!(
        "[cache]\nmemory = \"{memory}\"\nfill_window = \"1MiB\"\n\
         [disk]\nflush_interval = \"50ms\"\nwrite_queue = \"1GiB\"\n"
    )
}

/// One folder more.
fn folder(name: &str, limit: &str) -> String {
    format!("[[disk.folder]]\npath = \"{name}\"\nlimit = \"{limit}\"\n")
}

fn ranged(path: &str, range: &str) -> Request {
    Request::get(path).field("Range", range)
}

async fn count(edge: &Edge, name: &str) -> u64 {
    edge.metric(name, &[]).await as u64
}

/// Waits until nothing waits to be written and so many stored responses stand in the index, which names only what is on the
/// medium.
async fn committed(edge: &Edge, responses: u64) {
    let mut last = (0, 0);
    let waited = AssertUnwindSafe(eventually(format!("{responses} responses on disk"), async || {
        let waits = count(edge, "lectern_disk_write_queue_bytes").await;
        last = (waits, count(edge, "lectern_disk_responses").await);
        last == (0, responses)
    }));
    if let Err(panic) = waited.catch_unwind().await {
        eprintln!("{} bytes wait, {} responses are on disk: {:#?}", last.0, last.1, edge.said());
        std::panic::resume_unwind(panic);
    }
}

/// How the process ends before it starts again.
#[derive(Clone, Copy, Debug)]
enum End {
    Stopped,
    /// `kill -9`, this many responses being committed.
    Killed(u64),
}

/// Ends it so, and starts it again on its folders. Its memory is empty then.
async fn again(edge: &mut Edge, how: End) {
    match how {
        End::Stopped => edge.stop().await,
        End::Killed(responses) => {
            committed(edge, responses).await;
            edge.kill().await;
        }
    }
    edge.start_again().await;
}

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    // What is gone meanwhile is not there.
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(_) => found.push(entry.path()),
            Err(_) => {}
        }
    }
    found
}

/// Bytes that the files below a folder take of the medium.
fn taken(folder: &Path) -> u64 {
    files(folder).iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.blocks() * 512).sum()
}

/// The segment files of a folder.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found = files(&folder.join("segments"));
    found.retain(|file| file.extension().is_some_and(|extension| extension == "seg"));
    found
}

/// Flips a bit in the middle of each copy of `bytes` in the segments of a folder, and tells how many there were.
fn damage(folder: &Path, bytes: &[u8]) -> usize {
    let mut copies = 0;
    for path in segments(folder) {
        let mut content = fs::read(&path).unwrap();
        let mut at = 0;
        while let Some(found) = find(&content[at..], bytes) {
            content[at + found + bytes.len() / 2] ^= 1;
            (copies, at) = (copies + 1, at + found + 1);
        }
        fs::write(&path, content).unwrap();
    }
    copies
}

fn find(content: &[u8], bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // The first byte is looked for by itself: a debug build compares slowly.
    while let Some(next) = content[at..].iter().position(|byte| *byte == bytes[0]) {
        at += next;
        if content[at..].starts_with(bytes) {
            return Some(at);
        }
        at += 1;
    }
    None
}
