//! The streams of an HTTP/2 connection, and any request's body, as the deadline sweep sees and ends them.
//!
//! A stream takes a few uncontended locks as it begins and ends, none while it goes. Places are used again, so that a busy
//! connection allocates none.

use crate::listener::watch::Watch;
use futures_util::task::AtomicWaker;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::Context,
};
use tokio::task::AbortHandle;

/// A request body as it is read.
#[derive(Debug, Default)]
pub(super) struct Upload {
    waiting: AtomicBool,
    frames: AtomicU32,
    expired: AtomicBool,
    reader: AtomicWaker,
}

/// The streams of one HTTP/2 connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    places: Mutex<Places>,
    begun: AtomicU64,
    open: AtomicU32,
    /// Streams whose answer was given whole, and those the client gave up before.
    finished: AtomicU64,
    abandoned: AtomicU64,
    /// The client gave up too many: no more of it is served.
    abusive: AtomicBool,
}

/// Places, used again and again.
#[derive(Debug, Default)]
struct Places {
    all: Vec<Arc<StreamWatch>>,
    free: Vec<usize>,
    /// The place taken last, until its task is known.
    fresh: Option<usize>,
}

/// One stream's place.
#[derive(Debug, Default)]
pub(super) struct StreamWatch {
    /// Odd while a stream is in this place.
    generation: AtomicU64,
    /// Frames of the answer handed to hyper.
    given: AtomicU32,
    /// The last poll of the answer gave a frame, and hyper did not come back for the next.
    owed: AtomicBool,
    pub(super) upload: Upload,
    task: Mutex<Option<AbortHandle>>,
}

/// A stream under way; its place is given back on drop.
#[derive(Debug)]
pub(super) struct StreamPlace {
    connection: Arc<Watch>,
    index: usize,
    finished: AtomicBool,
    pub(super) watch: Arc<StreamWatch>,
}

/// What one look at a request body says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenUpload {
    pub(super) waiting: bool,
    pub(super) frames: u32,
}

/// What one look at a stream says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SeenStream {
    pub(super) generation: u64,
    pub(super) given: u32,
    pub(super) owed: bool,
    pub(super) upload: SeenUpload,
}

impl Streams {
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    pub(super) fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// The task of the stream that began last: hyper spawns it right after it called the service.
    pub(super) fn task(&self, task: AbortHandle) {
        let fresh = {
            let mut places = lock(&self.places);
            places.fresh.take().map(|index| places.all[index].clone())
        };
        if let Some(stream) = fresh {
            *lock(&stream.task) = Some(task);
        }
    }

    /// Every place, by index.
    pub(super) fn all(&self) -> Vec<Arc<StreamWatch>> {
        lock(&self.places).all.clone()
    }

    /// Whether the client gave up more than `allowed` beyond those it let finish; once so, for ever.
    pub(super) fn abuse(&self, allowed: usize) -> bool {
        if self.abandoned.load(Relaxed) > self.finished.load(Relaxed) + allowed as u64 {
            self.abusive.store(true, Relaxed);
        }
        self.abusive()
    }

    pub(super) fn abusive(&self) -> bool {
        self.abusive.load(Relaxed)
    }

    /// Forgets so many of the streams given up.
    pub(super) fn forgive(&self, n: usize) {
        let _ = self.abandoned.fetch_update(Relaxed, Relaxed, |given_up| {
            (given_up > 0).then(|| given_up.saturating_sub(n as u64))
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upload {
    /// The body was polled.
    pub(super) fn polled(&self, pending: bool) {
        if pending {
            self.waiting.store(true, Relaxed);
        } else {
            self.frames.store(self.frames.load(Relaxed).wrapping_add(1), Relaxed);
            self.waiting.store(false, Relaxed);
        }
    }

    /// Nobody reads the body any more.
    pub(super) fn left(&self) {
        self.waiting.store(false, Relaxed);
    }

    pub(super) fn expired(&self) -> bool {
        self.expired.load(Relaxed)
    }

    pub(super) fn wake_at_expiry(&self, cx: &Context<'_>) {
        self.reader.register(cx.waker());
    }

    pub(super) fn look(&self) -> SeenUpload {
        SeenUpload { waiting: self.waiting.load(Relaxed), frames: self.frames.load(Relaxed) }
    }
}

impl StreamWatch {
    /// The answer's body was polled and gave a frame, or not.
    pub(super) fn gave(&self, frame: bool) {
        if frame {
            self.given.store(self.given.load(Relaxed).wrapping_add(1), Relaxed);
        }
        self.owed.store(frame, Relaxed);
    }

    pub(super) fn look(&self) -> SeenStream {
        SeenStream {
            generation: self.generation.load(Relaxed),
            given: self.given.load(Relaxed),
            owed: self.owed.load(Relaxed),
            upload: self.upload.look(),
        }
    }

    /// Resets the stream; whoever still reads its request body sees an error.
    pub(super) fn end(&self) {
        self.upload.expired.store(true, Relaxed);
        self.upload.reader.wake();
        if let Some(task) = &*lock(&self.task) {
            task.abort();
        }
    }
}

impl StreamPlace {
    pub(super) fn take(connection: Arc<Watch>) -> StreamPlace {
        let streams = &connection.streams;
        let (index, watch) = {
            let mut places = lock(&streams.places);
            let index = places.free.pop().unwrap_or_else(|| {
                places.all.push(Arc::default());
                places.all.len() - 1
            });
            places.fresh = Some(index);
            (index, places.all[index].clone())
        };
        watch.generation.fetch_add(1, Relaxed);
        watch.owed.store(false, Relaxed);
        watch.upload.expired.store(false, Relaxed);
        streams.begun.fetch_add(1, Relaxed);
        streams.open.fetch_add(1, Relaxed);
        StreamPlace { connection, index, finished: AtomicBool::new(false), watch }
    }

    /// The answer was handed over whole, or failed by no fault of the client.
    pub(super) fn finish(&self) {
        self.finished.store(true, Relaxed);
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let streams = &self.connection.streams;
        let ends = if self.finished.load(Relaxed) { &streams.finished } else { &streams.abandoned };
        ends.fetch_add(1, Relaxed);
        *lock(&self.watch.task) = None;
        self.watch.generation.fetch_add(1, Relaxed);
        streams.open.fetch_sub(1, Relaxed);
        let mut places = lock(&streams.places);
        places.free.push(self.index);
        if places.fresh == Some(self.index) {
            places.fresh = None;
        }
    }
}
