//! The one thread that writes to a folder: open, work, and after a failure try again with a growing pause.
//!
//! Whatever fails, nobody waits: what was offered is not kept, changes of slots stay pending, reads go on as long as the index
//! can be read. A panic below here counts as a failure too.

use super::{
    DiskError, Hooks,
    folder::Folder,
    queue::{Offer, Order},
    shelf::Shelf,
    store::{Store, is_full},
};
use crate::{
    clock,
    telemetry::{NotKept, Seldom},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::SyncSender},
    time::{Duration, Instant},
};

/// First and longest pause before a folder that failed is tried again.
#[cfg(not(test))]
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
#[cfg(test)]
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(20));
/// Pause before the lock is tried again that another process is about to give up.
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// So long it must have worked before a failure counts as the first.
const STEADY: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    folder: Arc<Folder>,
    all: Arc<[Shelf]>,
    hooks: Arc<Hooks>,
    flush_interval: Duration,
    state: State,
    /// The next pause, and since when it works.
    pause: Duration,
    works_since: Instant,
    said: Seldom,
}

enum State {
    On(Box<Store>),
    /// Takes no writes until it was probed.
    Off(Box<Store>, Instant),
    /// Not open; tried again at that time. A lock that another process holds may be `awaited`.
    Shut {
        again: Instant,
        awaited: bool,
    },
    /// Another process has it.
    GivenUp,
}

impl Writer {
    pub(super) fn new(
        folder: Arc<Folder>,
        all: Arc<[Shelf]>,
        hooks: Arc<Hooks>,
        flush_interval: Duration,
        awaited: bool,
    ) -> Writer {
        let now = clock::instant();
        let state = State::Shut { again: now, awaited };
        Writer {
            folder,
            all,
            hooks,
            flush_interval,
            state,
            pause: PAUSE.0,
            works_since: now,
            said: Seldom::new(),
        }
    }

    /// Opens the folder, tells how that went, and works until it is told to close.
    pub(super) fn run(mut self, opened: SyncSender<Result<(), DiskError>>) {
        // Nobody may be listening any more: opening took too long.
        _ = opened.send(self.open(true));
        drop(opened);
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    // Nothing that was in memory only is to be trusted.
                    self.state = State::GivenUp;
                    self.shut(&DiskError::Panicked, false, false);
                }
            }
        }
    }

    /// Does what came, or is due. Tells whether there will be more.
    fn turn(&mut self) -> bool {
        let work = self.folder.queue.take(self.due());
        self.write(work.offers);
        let now = clock::instant();
        match &mut self.state {
            State::Off(store, again) if now >= *again => match store.probe().and_then(|()| store.witness()) {
                Ok(()) => self.works(),
                Err(error) => self.fails(&error),
            },
            State::Shut { again, .. } if now >= *again => _ = self.open(false),
            _ => {}
        }
        work.orders.into_iter().all(|order| self.obey(order))
    }

    /// When to look again if nothing comes.
    fn due(&self) -> Instant {
        match &self.state {
            State::On(store) => store.due(),
            State::Off(_, again) | State::Shut { again, .. } => *again,
            State::GivenUp => clock::instant() + PAUSE.1,
        }
    }

    fn write(&mut self, offers: Vec<Offer>) {
        let State::On(store) = &mut self.state else {
            offers.iter().for_each(|_| self.folder.metrics.not_kept(NotKept::Off));
            return;
        };
        if let Err(error) = store.work(offers) {
            self.fails(&error);
        } else if !self.folder.status.reads() {
            // So those found who read, and have said why.
            let why = self.folder.status.why().unwrap_or_default();
            self.off(false);
            self.say(&why, "the disk folder cannot be read and is not used until it works again");
        }
    }

    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::GiveUp(needed, done) => {
                if let State::On(store) | State::Off(store, _) = &self.state {
                    self.folder.needed.store(Some(Arc::new(store.find(&needed))));
                }
                self.close();
                self.folder.status.off("it is given up to another process");
                _ = done.send(());
            }
            Order::TakeBack => {
                self.folder.needed.store(None);
                if matches!(self.state, State::GivenUp) {
                    self.state = State::Shut { again: clock::instant(), awaited: true };
                    _ = self.open(false);
                }
            }
            Order::Witness => {
                if let State::On(store) = &mut self.state
                    && let Err(error) = store.witness()
                {
                    self.fails(&error);
                }
            }
            Order::Close => {
                self.close();
                return false;
            }
        }
        true
    }

    fn close(&mut self) {
        match std::mem::replace(&mut self.state, State::GivenUp) {
            State::On(store) | State::Off(store, _) => store.close(),
            State::Shut { .. } | State::GivenUp => {}
        }
    }

    /// Opens the folder, which is shut. `first`: at the start of the node, which says itself why it does not start.
    fn open(&mut self, first: bool) -> Result<(), DiskError> {
        let awaited = matches!(self.state, State::Shut { awaited: true, .. });
        match Store::open(&self.folder, &self.all, &self.hooks, self.flush_interval) {
            Ok(store) => {
                self.state = State::On(Box::new(store));
                self.works();
                Ok(())
            }
            Err(error) => {
                self.shut(&error, awaited, first);
                Err(error)
            }
        }
    }

    fn works(&mut self) {
        self.works_since = clock::instant();
        self.state = match std::mem::replace(&mut self.state, State::GivenUp) {
            State::Off(store, _) => {
                tracing::info!(folder = self.folder.name, "the disk folder works again");
                State::On(store)
            }
            state => state,
        };
    }

    /// A folder that is open takes no writes until it was probed.
    fn fails(&mut self, error: &DiskError) {
        self.folder.status.writes_off(self.told(error));
        self.off(is_full(error));
        self.say(&self.told(error), "the disk folder failed and takes no writes until it works again");
    }

    fn off(&mut self, full: bool) {
        if matches!(self.state, State::On(_))
            && clock::instant().saturating_duration_since(self.works_since) >= STEADY
        {
            self.pause = PAUSE.0;
        }
        self.state = match std::mem::replace(&mut self.state, State::GivenUp) {
            State::On(mut store) | State::Off(mut store, _) => {
                if full {
                    // Without room nothing can be committed either.
                    store.sacrifice();
                }
                State::Off(store, clock::instant() + self.next_pause())
            }
            state => state,
        };
    }

    fn shut(&mut self, error: &DiskError, awaited: bool, first: bool) {
        self.folder.status.off(self.told(error));
        let held = matches!(error, DiskError::Held(_));
        let waits = awaited && held;
        let pause = if waits { LOCK_PAUSE } else { self.next_pause() };
        self.state = State::Shut { again: clock::instant() + pause, awaited };
        if !(waits || (first && error.refuses_start())) {
            self.say(&self.told(error), "the disk folder cannot be opened; it is tried again");
        }
    }

    /// An error, with what helps where trying again does not.
    fn told(&self, error: &DiskError) -> String {
        if !error.is_damage() {
            return error.to_string();
        }
        let path = &self.folder.settings.path;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        format!(
            "{error}; if this stays so, stop the node and empty the folder: lectern store clear --folder {} --yes",
            path.display()
        )
    }

    fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = PAUSE.1.min(pause * 2);
        pause
    }

    fn say(&self, why: &dyn std::fmt::Display, what: &str) {
        if let Some(suppressed) = self.said.due() {
            tracing::error!(folder = self.folder.name, suppressed, "{what}: {why}");
        }
    }
}
