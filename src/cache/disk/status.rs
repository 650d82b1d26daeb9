//! Whether a folder is read from and written to, and why not.

use super::DiskError;
use crate::telemetry::Seldom;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// Reads that fail one after the other until a folder is not read from.
const READ_ERRORS: u32 = 16;

pub(super) struct Status {
    reads: AtomicBool,
    writes: AtomicBool,
    read_errors: AtomicU32,
    why: Mutex<Option<String>>,
    said: Seldom,
}

impl Status {
    /// Not yet open.
    pub(super) fn new() -> Status {
        Status {
            reads: AtomicBool::new(false),
            writes: AtomicBool::new(false),
            read_errors: AtomicU32::new(0),
            why: Mutex::new(Some("it is being opened".to_owned())),
            said: Seldom::new(),
        }
    }

    pub(super) fn reads(&self) -> bool {
        self.reads.load(Ordering::Acquire)
    }

    pub(super) fn writes(&self) -> bool {
        self.writes.load(Ordering::Acquire)
    }

    /// Why it is not fully there, if it is not.
    pub(super) fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All works.
    pub(super) fn on(&self) {
        self.read_errors.store(0, Ordering::Relaxed);
        self.set(true, true, None);
    }

    /// It takes no writes; whether it is read from is not changed.
    pub(super) fn writes_off(&self, why: impl ToString) {
        self.set(self.reads(), false, Some(why.to_string()));
    }

    /// It is neither read from nor written to.
    pub(super) fn off(&self, why: impl ToString) {
        self.set(false, false, Some(why.to_string()));
    }

    fn set(&self, reads: bool, writes: bool, why: Option<String>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.reads.store(reads, Ordering::Release);
        self.writes.store(writes, Ordering::Release);
    }

    /// A read worked.
    pub(super) fn read_works(&self) {
        // Only a line that others do not write is read on the usual path.
        if self.read_errors.load(Ordering::Relaxed) != 0 {
            self.read_errors.store(0, Ordering::Relaxed);
        }
    }

    /// Reads do not come back: it is not read from any more. Tells whether it was until now.
    pub(super) fn hangs(&self, folder: &str) -> bool {
        let was_read = self.reads.swap(false, Ordering::AcqRel);
        if was_read {
            self.off("it does not answer");
            tracing::error!(folder, "the disk folder does not answer and is not used until it does");
        }
        was_read
    }

    /// A read failed. Tells whether it was one too many: it is not read from any more.
    pub(super) fn read_fails(&self, folder: &str, error: &DiskError) -> bool {
        if let Some(suppressed) = self.said.due() {
            tracing::warn!(folder, suppressed, "a read from disk failed and counts as missing: {error}");
        }
        let too_many = self.read_errors.fetch_add(1, Ordering::Relaxed) + 1 >= READ_ERRORS;
        if too_many && self.reads() {
            self.off(format!("reads fail: {error}"));
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{READ_ERRORS, Status};
    use crate::cache::disk::DiskError;

    #[test]
    fn reads_that_fail_in_a_row_end_reading() {
        let status = Status::new();
        assert!(!status.reads() && !status.writes() && status.why().is_some());
        status.on();
        for _ in 0..3 {
            (1..READ_ERRORS).for_each(|_| assert!(!status.read_fails("f", &DiskError::Closed)));
            status.read_works();
        }
        assert!(status.reads() && status.why().is_none());
        (1..READ_ERRORS).for_each(|_| assert!(!status.read_fails("f", &DiskError::Closed)));
        assert!(status.read_fails("f", &DiskError::Closed), "one too many");
        assert!(!status.read_fails("f", &DiskError::Closed), "told once");
        assert!(!status.reads() && !status.writes());
        status.on();
        status.writes_off("full");
        assert!(status.reads() && !status.writes());
        assert_eq!(status.why().as_deref(), Some("full"));
    }
}
