//! The access log: lines are gathered in memory and written by a plain thread.
//!
//! A request appends to the buffer of its own thread, under a lock that only the writer shares and holds for a swap. It
//! never waits for the disk: a full buffer drops the line and counts it. Only where a site says `log.must` a request waits,
//! before it is served, for [`AccessLog::room`].

use crate::telemetry::{
    Line, Metrics, Seldom,
    log_file::{LogFile, line_begin},
};
use prometheus::IntCounter;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::sync::Notify;

/// A buffer that holds this many bytes takes no further line. Per thread; twice that may be held while the disk is slow.
const BOUND: usize = 4 << 20;
/// A buffer that passes this many bytes wakes the writer: one wake for some 200 lines.
const WAKE: usize = 64 << 10;
/// The writer comes by itself this often, so that the log is never far behind.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the writer looks whether the file still bears its name.
const LOOK: Duration = Duration::from_secs(1);

/// Where the access log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// The file, reopened when it was renamed and on SIGUSR1; absent: no access log.
    pub access: Option<PathBuf>,
}

/// The access log could not be opened.
#[derive(Debug)]
pub struct LogOpenError {
    /// The file that was to be opened.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for LogOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot open the access log {}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for LogOpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The access log. Its thread ends, after a last round of writing, when this is dropped.
#[derive(Debug)]
pub struct AccessLog(Option<Open>);

/// Says that [`AccessLog::room`] was awaited: the line it is spent for is not dropped.
#[derive(Debug)]
pub struct Room(());

#[derive(Debug)]
struct Open {
    shared: Arc<Shared>,
    writer: thread::Thread,
}

#[derive(Debug)]
struct Shared {
    /// A power of two of them.
    shards: Box<[Shard]>,
    bound: usize,
    dropped: IntCounter,
    errors: IntCounter,
    /// Told after each swap of a buffer.
    freed: Notify,
    reopen: AtomicBool,
    stop: AtomicBool,
    /// Flushes asked for, and the highest of them that is done.
    asked: AtomicU64,
    done: Mutex<u64>,
    flushed: Condvar,
}

/// The lines of some threads; apart from its neighbours, so that cores do not take each other's cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Vec<u8>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AccessLog {
    /// Opens the file and starts the writer; without a file in `settings` a log that takes lines and forgets them.
    ///
    /// # Errors
    /// If the file cannot be opened for appending, or the thread cannot be started.
    pub fn open(settings: &LogSettings, metrics: &Metrics) -> Result<Arc<AccessLog>, LogOpenError> {
        match &settings.access {
            Some(path) => AccessLog::start(path, metrics, BOUND, LOOK),
            None => Ok(AccessLog::none()),
        }
    }

    fn start(
        path: &Path,
        metrics: &Metrics,
        bound: usize,
        look: Duration,
    ) -> Result<Arc<AccessLog>, LogOpenError> {
        let failed = |source| LogOpenError { path: path.to_owned(), source };
        let file = LogFile::open(path, look).map_err(failed)?;
        let threads = thread::available_parallelism().map_or(1, |n| n.get()).next_power_of_two();
        let shared = Arc::new(Shared {
            shards: (0..threads).map(|_| Shard(Mutex::new(Vec::with_capacity(2 * WAKE)))).collect(),
            bound,
            dropped: metrics.log_dropped.clone(),
            errors: metrics.log_errors.clone(),
            freed: Notify::new(),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            done: Mutex::new(0),
            flushed: Condvar::new(),
        });
        let of_writer = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                Writer { shared: of_writer, file, spare: Vec::with_capacity(2 * WAKE), sent: 0 }.run()
            })
            .map_err(failed)?;
        Ok(Arc::new(AccessLog(Some(Open { shared, writer: writer.thread().clone() }))))
    }

    /// A log that forgets what it is told.
    pub fn none() -> Arc<AccessLog> {
        Arc::new(AccessLog(None))
    }

    /// Takes a line; drops and counts it where the writer is too far behind.
    pub fn write(&self, line: &Line<'_>) {
        if let Some(open) = &self.0 {
            open.take(line, open.shared.bound);
        }
    }

    /// Takes a line that must not be lost. What is held beyond the bound is one line for each request that got its room
    /// before the buffer was full, so it is bounded as requests in flight are.
    pub fn write_in(&self, _room: Room, line: &Line<'_>) {
        if let Some(open) = &self.0 {
            open.take(line, usize::MAX);
        }
    }

    /// Waits until the writer has kept up. For sites that rather wait than lose a line: awaited before a request is served.
    /// While the disk fails this waits for the disk.
    pub async fn room(&self) -> Room {
        if let Some(Open { shared, .. }) = &self.0 {
            loop {
                let freed = shared.freed.notified(); // hears of what happens from here on, even before it is polled
                if locked(&shared.shard().0).len() < shared.bound {
                    break;
                }
                freed.await;
            }
        }
        Room(())
    }

    /// Opens the file anew, by its name: for the signal that tells so after the file was moved away.
    pub fn reopen(&self) {
        if let Some(open) = &self.0 {
            open.shared.reopen.store(true, Ordering::Release);
            open.writer.unpark();
        }
    }

    /// Blocks until every line taken before this call is written, at most `within`; says whether it is.
    pub fn flush(&self, within: Duration) -> bool {
        let Some(Open { shared, writer }) = &self.0 else { return true };
        let ticket = shared.asked.fetch_add(1, Ordering::AcqRel) + 1;
        writer.unpark();
        let done = locked(&shared.done);
        let waited = shared.flushed.wait_timeout_while(done, within, |done| *done < ticket);
        *waited.unwrap_or_else(PoisonError::into_inner).0 >= ticket
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            open.shared.stop.store(true, Ordering::Release);
            open.writer.unpark();
        }
    }
}

impl Open {
    fn take(&self, line: &Line<'_>, bound: usize) {
        let mut lines = locked(&self.shared.shard().0);
        let before = lines.len();
        if before >= bound {
            drop(lines);
            self.shared.dropped.inc();
            return;
        }
        line.append_to(&mut lines);
        let wake = before < WAKE && lines.len() >= WAKE;
        drop(lines);
        if wake {
            self.writer.unpark();
        }
    }
}

impl Shared {
    /// The buffer of this thread: its own, as long as there are no more threads than cores that write lines.
    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed));
        &self.shards[MINE.with(|mine| *mine) & (self.shards.len() - 1)]
    }
}

/// What the thread holds.
struct Writer {
    shared: Arc<Shared>,
    file: LogFile,
    /// The other buffer: empty, or lines being written, the first `sent` bytes of which the file has.
    spare: Vec<u8>,
    sent: usize,
}

impl Writer {
    fn run(mut self) {
        loop {
            let stop = self.shared.stop.load(Ordering::Acquire);
            let ticket = self.shared.asked.load(Ordering::Acquire);
            let told = self.shared.reopen.swap(false, Ordering::AcqRel);
            if let Err(error) = self.renew(told) {
                self.failed(&error);
            }
            match self.round() {
                Ok(()) => {
                    *locked(&self.shared.done) = ticket;
                    self.shared.flushed.notify_all();
                }
                Err(error) => self.failed(&error),
            }
            if stop {
                return;
            }
            thread::park_timeout(PAUSE);
        }
    }

    fn failed(&self, error: &io::Error) {
        static FAILING: Seldom = Seldom::new();
        self.shared.errors.inc();
        if let Some(suppressed) = FAILING.due() {
            let path = self.file.path.display();
            tracing::error!(%path, %error, suppressed, "the access log cannot be written");
        }
    }

    /// Opens the file anew if told so, or if its name no longer leads to it. If that fails the old one is written on.
    fn renew(&mut self, told: bool) -> io::Result<()> {
        if !told && !self.file.lost() {
            return Ok(());
        }
        self.file = LogFile::open(&self.file.path, self.file.look)?;
        // A line of which the old file has only the beginning goes whole into the new one.
        self.sent = line_begin(&self.spare[..self.sent]);
        Ok(())
    }

    /// Writes what was left over, then what each buffer holds.
    fn round(&mut self) -> io::Result<()> {
        self.put()?;
        for shard in 0..self.shared.shards.len() {
            std::mem::swap(&mut *locked(&self.shared.shards[shard].0), &mut self.spare);
            self.shared.freed.notify_waiters();
            self.put()?;
        }
        Ok(())
    }

    fn put(&mut self) -> io::Result<()> {
        while self.sent < self.spare.len() {
            match io::Write::write(&mut self.file.file, &self.spare[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.spare.clear();
        self.spare.shrink_to(2 * WAKE); // what a burst took is given back
        self.sent = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{AccessLog, BOUND, LOOK, LogSettings};
    use crate::{
        clock,
        telemetry::{Line, Metrics, line::tests::hit},
    };
    use std::{
        fs,
        future::Future,
        io::Read,
        path::Path,
        pin::pin,
        sync::Arc,
        task::{Context, Poll, Waker},
        time::Duration,
    };

    const DEADLINE: Duration = Duration::from_secs(20);

    fn line(host: &str) -> Line<'_> {
        Line { host, ..hit() }
    }

    fn hosts(file: impl AsRef<Path>) -> Vec<String> {
        let text = fs::read_to_string(file).unwrap_or_default();
        let read =
            |l: &str| serde_json::from_str::<serde_json::Value>(l).unwrap_or_else(|e| panic!("{e}: {l}"));
        text.lines().map(|l| read(l)["host"].as_str().unwrap().to_owned()).collect()
    }

    /// Goes round by round until it is so.
    fn until(log: &AccessLog, what: &str, so: impl Fn() -> bool) {
        let start = clock::instant();
        while !so() {
            assert!(clock::instant() - start < DEADLINE, "{what}");
            log.flush(Duration::from_millis(5));
        }
    }

    #[test]
    fn flush_returns_when_every_line_of_every_thread_is_written() {
        let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&LogSettings { access: Some(path.clone()) }, &metrics).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let log = &log;
                scope.spawn(move || (0..1_000).for_each(|n| log.write(&line(&format!("{thread}-{n}")))));
            }
        });
        assert!(log.flush(DEADLINE));
        let hosts = hosts(&path);
        assert_eq!(hosts.len(), 6_000);
        for thread in 0..6 {
            let prefix = format!("{thread}-");
            let of_thread: Vec<usize> =
                hosts.iter().filter_map(|h| h.strip_prefix(&prefix)?.parse().ok()).collect();
            assert!(of_thread.into_iter().eq(0..1_000), "lines of one thread stay in order");
        }
        assert_eq!((metrics.log_dropped.get(), metrics.log_errors.get()), (0, 0));
    }

    #[test]
    fn a_renamed_or_removed_file_is_made_anew_unasked() {
        let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = AccessLog::start(&path, &metrics, BOUND, Duration::ZERO).unwrap();
        log.write(&line("one"));
        assert!(log.flush(DEADLINE));
        fs::rename(&path, &old).unwrap();
        until(&log, "made anew after the rename", || path.exists());
        log.write(&line("two"));
        assert!(log.flush(DEADLINE));
        assert_eq!((hosts(&old), hosts(&path)), (vec!["one".to_owned()], vec!["two".to_owned()]));
        fs::remove_file(&path).unwrap();
        until(&log, "made anew after the removal", || path.exists());
        // What `create` of logrotate does: another file stands under the name at once.
        fs::rename(&path, &old).unwrap();
        fs::write(&path, "").unwrap();
        until(&log, "the file under the name is taken", || {
            log.write(&line("three"));
            !hosts(&path).is_empty()
        });
    }

    #[test]
    fn reopen_does_not_wait_for_the_next_look() {
        let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = AccessLog::start(&path, &metrics, BOUND, Duration::from_secs(86_400)).unwrap();
        log.write(&line("one"));
        assert!(log.flush(DEADLINE));
        fs::rename(&path, &old).unwrap();
        log.write(&line("still the old file"));
        assert!(log.flush(DEADLINE));
        log.reopen();
        log.write(&line("two"));
        assert!(log.flush(DEADLINE));
        assert_eq!((hosts(&old).len(), hosts(&path)), (2, vec!["two".to_owned()]));
    }

    #[test]
    fn a_failing_disk_is_counted_and_stops_no_one() {
        let metrics = Metrics::new();
        let log = AccessLog::start(Path::new("/dev/full"), &metrics, 64 << 10, LOOK).unwrap();
        log.write(&line("a"));
        until(&log, "an error is counted", || metrics.log_errors.get() > 0);
        assert!(!log.flush(Duration::from_millis(50)), "nothing was written");
        for _ in 0..10_000 {
            log.write(&line("b"));
        }
        assert!(metrics.log_dropped.get() > 9_000, "{}", metrics.log_dropped.get());
        assert!(pin!(log.room()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    #[test]
    fn what_a_failing_disk_did_not_take_is_written_when_it_works_again() {
        let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
        let path = folder.path().join("access.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let log = AccessLog::start(&path, &metrics, BOUND, Duration::ZERO).unwrap();
        for n in 0..100 {
            log.write(&line(&n.to_string()));
        }
        until(&log, "an error is counted", || metrics.log_errors.get() > 0);
        fs::remove_file(&path).unwrap();
        assert!(log.flush(DEADLINE));
        assert!(hosts(&path).into_iter().eq((0..100).map(|n| n.to_string())));
    }

    /// A pipe that no one reads is a disk that hangs: the writer stands in its write.
    #[test]
    fn a_hanging_disk_drops_lines_except_where_room_was_awaited() {
        let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Both ends, or opening would wait for the other one.
        let mut reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let log = AccessLog::start(&path, &metrics, 256 << 10, LOOK).unwrap();
        let noop = &mut Context::from_waker(Waker::noop());
        let Poll::Ready(early) = pin!(log.room()).poll(noop) else { panic!("an empty log has room") };
        let mut taken = 0;
        while metrics.log_dropped.get() == 0 {
            log.write(&line("ordinary"));
            taken += 1;
            assert!(taken < 1_000_000, "the bound holds");
        }
        let dropped = metrics.log_dropped.get();
        log.write_in(early, &line("promised"));
        assert_eq!(metrics.log_dropped.get(), dropped, "who was given room is not dropped");
        let mut room = pin!(log.room());
        assert!(room.as_mut().poll(noop).is_pending());
        let reading = std::thread::spawn(move || {
            let (mut text, mut piece) = (Vec::new(), [0; 4096]);
            while !text.ends_with(b"\"}\n")
                || !String::from_utf8_lossy(&text[text.len() - 600..]).contains("certain")
            {
                let n = reader.read(&mut piece).unwrap();
                text.extend_from_slice(&piece[..n]);
            }
            text.split_inclusive(|b| *b == b'\n').count() as u64
        });
        let start = clock::instant();
        let room = loop {
            match room.as_mut().poll(noop) {
                Poll::Ready(room) => break room,
                Poll::Pending => assert!(clock::instant() - start < DEADLINE, "room is made"),
            }
            std::thread::yield_now();
        };
        log.write_in(room, &line("certain"));
        assert!(log.flush(DEADLINE));
        assert_eq!(reading.join().unwrap(), taken - dropped + 2);
    }

    #[test]
    fn where_no_new_file_can_be_made_the_old_one_is_written_on() {
        let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = AccessLog::start(&path, &metrics, BOUND, Duration::ZERO).unwrap();
        // In one step the name leads to a folder, and the file has another name.
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(folder.path(), &elsewhere).unwrap();
        fs::hard_link(&path, &old).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        until(&log, "an error is counted", || metrics.log_errors.get() > 0);
        log.write(&line("one"));
        assert!(log.flush(DEADLINE));
        assert_eq!(hosts(&old), ["one"]);
    }

    #[test]
    fn the_thread_ends_with_the_log_and_writes_before_it_goes() {
        let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&LogSettings { access: Some(path.clone()) }, &metrics).unwrap();
        let thread = Arc::downgrade(&log.0.as_ref().unwrap().shared);
        log.write(&line("last"));
        drop(log);
        let start = clock::instant();
        while thread.strong_count() > 0 {
            assert!(clock::instant() - start < DEADLINE, "the thread ends");
            std::thread::yield_now();
        }
        assert_eq!(hosts(&path), ["last"]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let settings = LogSettings { access: Some("/nowhere/access.log".into()) };
        let error = AccessLog::open(&settings, &Metrics::new()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/access.log"), "{error}");
    }

    #[test]
    fn no_log_takes_everything_and_has_always_room() {
        let log = AccessLog::open(&LogSettings::default(), &Metrics::new()).unwrap();
        log.write(&line("a"));
        log.reopen();
        assert!(log.flush(Duration::ZERO));
        assert!(pin!(log.room()).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}
