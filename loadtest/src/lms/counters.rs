//! What the LMS counts: the third thing that a test asserts beside what the client and the origin's log say.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::kind::Load;

/// Distinct paths that are counted apart; more are counted as `(others)`.
const PATHS: usize = 100_000;
/// Bodies of commits that are kept.
const KEPT: usize = 10_000;

/// What one front, or all of them, saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Requests whose head came, those under `/_control/` left out.
    pub requests: u64,
    /// The same by path, without the query.
    pub by_path: BTreeMap<String, u64>,
    /// The same by method.
    pub by_method: BTreeMap<String, u64>,
    /// Answers by status; a delayed or broken off request has none yet.
    pub by_status: BTreeMap<u16, u64>,
    /// Tracking commits whose body came whole, beacons included.
    pub commits: u64,
    /// Those that came to `/track/beacon`.
    pub beacons: u64,
    /// Bodies of the first commits, in order of arrival.
    pub commit_bodies: Vec<String>,
    /// Uploads that came whole.
    pub uploads: u64,
    /// Bytes of uploads so far, of unfinished ones too.
    pub upload_bytes: u64,
    /// Event streams and WebSockets that are open now.
    pub open_streams: u64,
    /// The same by what was asked for, and how much was under way at once.
    pub load: Load,
}

impl Counters {
    /// Requests for a path.
    pub fn of(&self, path: &str) -> u64 {
        self.by_path.get(path).copied().unwrap_or(0)
    }

    /// Requests for all paths that begin so.
    pub fn under(&self, prefix: &str) -> u64 {
        self.by_path.iter().filter(|(path, _)| path.starts_with(prefix)).map(|(_, n)| n).sum()
    }

    pub(crate) fn request(&mut self, method: &str, path: &str) {
        self.requests += 1;
        let known = self.by_path.len() < PATHS || self.by_path.contains_key(path);
        count(&mut self.by_path, if known { path } else { "(others)" });
        count(&mut self.by_method, method);
    }

    pub(crate) fn commit(&mut self, body: &[u8], beacon: bool) {
        self.commits += 1;
        self.beacons += u64::from(beacon);
        if self.commit_bodies.len() < KEPT {
            self.commit_bodies.push(String::from_utf8_lossy(body).into_owned());
        }
    }

    pub(crate) fn add(&mut self, other: &Counters) {
        self.requests += other.requests;
        self.commits += other.commits;
        self.beacons += other.beacons;
        self.uploads += other.uploads;
        self.upload_bytes += other.upload_bytes;
        self.open_streams += other.open_streams;
        self.commit_bodies.extend_from_slice(&other.commit_bodies);
        self.load.add(&other.load);
        other.by_path.iter().for_each(|(path, n)| *self.by_path.entry(path.clone()).or_default() += n);
        other
            .by_method
            .iter()
            .for_each(|(method, n)| *self.by_method.entry(method.clone()).or_default() += n);
        other.by_status.iter().for_each(|(status, n)| *self.by_status.entry(*status).or_default() += n);
    }
}

fn count(map: &mut BTreeMap<String, u64>, key: &str) {
    match map.get_mut(key) {
        Some(n) => *n += 1,
        None => drop(map.insert(key.to_owned(), 1)),
    }
}

/// The value behind a lock; a thread that panicked while holding it left plain numbers and lists, all of them usable.
pub(crate) fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
