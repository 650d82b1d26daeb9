//! The one thread that writes: batch, sync, project, publish, acknowledge, in this order and no other.
//!
//! A failed sync leaves the medium unknown. Records are then refused, the medium is dropped and opened anew with a
//! growing pause, and what is found on it beyond the last number is taken in: it may have been written after all.

use super::{
    LedgerError, LedgerSettings, Number, Receipt,
    audit::Audit,
    chain::{Chain, Identity},
    entry::Entry,
    keys::{self, Keys, Known},
    medium::{Medium, Sealed},
    projection::{Projection, Projector},
    record::Record,
    snapshot::Snapshot,
    snapshots::{self, Snapshots},
};
use crate::{clock, telemetry::Metrics};
use arc_swap::ArcSwapOption;
use prometheus::IntGauge;
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Records that may wait; a pipeline that sends more at once is told to try again.
const QUEUE: usize = 1024;
/// Records that share one sync.
const BATCH: usize = 256;
/// First and longest pause before the medium is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// What readers see.
pub(super) struct Shared {
    identity: Identity,
    number: AtomicU64,
    pub(super) projection: Arc<Projection>,
    refusing: ArcSwapOption<LedgerError>,
}

impl Shared {
    pub(super) fn last(&self) -> Number {
        Number { identity: self.identity, n: self.number.load(Ordering::Acquire) }
    }

    pub(super) fn refusal(&self) -> Option<Arc<LedgerError>> {
        self.refusing.load_full()
    }
}

enum Order {
    Write(Write),
    /// Close the medium and give up its lock; what was ordered before is written first.
    GiveUp(oneshot::Sender<()>),
    /// Open the medium again.
    TakeBack,
    /// Records from this number on, so many at most.
    Read(u64, usize, oneshot::Sender<Result<Vec<Entry>, LedgerError>>),
}

struct Write {
    record: Record,
    done: oneshot::Sender<Result<Receipt, LedgerError>>,
}

/// The way to the writing thread; dropping it ends the thread and waits for it.
pub(super) struct Writer(Mutex<Option<(SyncSender<Order>, JoinHandle<()>)>>);

impl Writer {
    pub(super) async fn append(&self, record: Record) -> Result<Receipt, LedgerError> {
        let (done, answer) = oneshot::channel();
        self.order(Order::Write(Write { record, done }))?;
        answer.await.map_err(|_| LedgerError::Closed)?
    }

    pub(super) async fn entries(&self, from: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let (done, read) = oneshot::channel();
        self.order(Order::Read(from, limit, done))?;
        read.await.map_err(|_| LedgerError::Closed)?
    }

    pub(super) async fn give_up(&self) -> Result<(), LedgerError> {
        let (done, given_up) = oneshot::channel();
        self.order(Order::GiveUp(done))?;
        given_up.await.map_err(|_| LedgerError::Closed)
    }

    pub(super) fn take_back(&self) -> Result<(), LedgerError> {
        self.order(Order::TakeBack)
    }

    fn order(&self, order: Order) -> Result<(), LedgerError> {
        let writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (orders, _) = writer.as_ref().ok_or(LedgerError::Closed)?;
        orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => LedgerError::Busy,
            TrySendError::Disconnected(_) => LedgerError::Closed,
        })
    }

    pub(super) fn close(&self) {
        let writer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((orders, thread)) = writer {
            drop(orders);
            if thread.join().is_err() {
                tracing::error!("the ledger's thread had panicked");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens, verifies, replays, and starts the thread.
pub(super) fn open(
    settings: &LedgerSettings,
    metrics: &Metrics,
) -> Result<(Arc<Shared>, Writer), LedgerError> {
    let medium = Medium::open(&settings.folder, true)?;
    let Snapshot { chain: known, mut projector, mut keys } = known(&medium, settings);
    let chain = medium.replay(known, |chain, record| {
        projector.apply(chain.number, record);
        keys.learn(chain.number, record);
    })?;
    let shared = Arc::new(Shared {
        identity: medium.identity(),
        number: AtomicU64::new(chain.number),
        projection: projector.projection().clone(),
        refusing: ArcSwapOption::empty(),
    });
    let (orders, receiver) = sync_channel(QUEUE);
    let mut log = Log {
        folder: settings.folder.clone(),
        orders: receiver,
        shared: shared.clone(),
        projector,
        keys,
        chain,
        state: State::Open(medium),
        snapshots: Snapshots::new(&settings.folder, settings.snapshot_records, known.number),
        audit: Audit::of(known),
        tell_head: settings.tell_head,
        tell_at: clock::instant() + settings.tell_head,
        number: metrics.ledger_number.clone(),
        ready: metrics.ledger_ready.clone(),
    };
    log.number.set(chain.number as i64);
    log.ready.set(1);
    log.snapshots.take_if_due(chain, &shared.projection, &log.keys);
    let thread = std::thread::Builder::new()
        .name("ledger".into())
        .spawn(move || log.run())
        .map_err(LedgerError::io(&settings.folder))?;
    Ok((shared, Writer(Mutex::new(Some((orders, thread))))))
}

/// What a snapshot knows of the records on the medium, or nothing of none.
fn known(medium: &Medium, settings: &LedgerSettings) -> Snapshot {
    let identity = medium.identity();
    let stands = |chain: &Chain| {
        chain.identity == identity && medium.holds(chain.number, &chain.digest).unwrap_or_default()
    };
    snapshots::usable(&settings.folder, settings.url_entries, stands).unwrap_or_else(|| Snapshot {
        chain: Chain::new(identity),
        projector: Projector::new(Arc::new(Projection::new()), settings.url_entries),
        keys: Keys::default(),
    })
}

enum State {
    Open(Medium),
    Refusing {
        again: Instant,
        pause: Duration,
    },
    /// For another process to take.
    GivenUp,
}

struct Log {
    folder: PathBuf,
    orders: Receiver<Order>,
    shared: Arc<Shared>,
    projector: Projector,
    keys: Keys,
    /// End of what is acknowledged.
    chain: Chain,
    state: State,
    snapshots: Snapshots,
    /// Of what this process took on the word of a snapshot.
    audit: Option<Audit>,
    /// How often, and when next, the end of the chain is told.
    tell_head: Duration,
    tell_at: Instant,
    number: IntGauge,
    ready: IntGauge,
}

/// However the thread ends, by [`Writer::close`] or by a panic below it, nobody must think that records are taken.
impl Drop for Log {
    fn drop(&mut self) {
        self.shared.refusing.store(Some(Arc::new(LedgerError::Closed)));
        self.ready.set(0);
    }
}

impl Log {
    /// Until the way to it is dropped.
    fn run(&mut self) {
        loop {
            let order = match self.orders.recv_timeout(self.due().saturating_duration_since(clock::instant()))
            {
                Ok(order) => order,
                Err(RecvTimeoutError::Disconnected) => return self.snapshots.finish(),
                Err(RecvTimeoutError::Timeout) => {
                    self.see_to_what_is_due(clock::instant());
                    continue;
                }
            };
            let mut next = Some(order);
            while let Some(order) = next {
                next = self.obey(order);
            }
        }
    }

    /// When there is something to do that nobody orders.
    fn due(&self) -> Instant {
        let at = match (&self.state, &self.audit) {
            (State::Open(_), Some(audit)) => audit.due(),
            (State::Refusing { again, .. }, _) => *again,
            (State::Open(_), None) | (State::GivenUp, _) => self.tell_at,
        };
        at.min(self.tell_at)
    }

    fn see_to_what_is_due(&mut self, now: Instant) {
        if now >= self.tell_at {
            let Chain { identity, number, .. } = self.chain;
            tracing::info!(%identity, number, digest = self.chain.digest_text(), "the end of the ledger's chain");
            self.tell_at = now + self.tell_head;
        }
        match &self.state {
            State::Refusing { again, pause } if now >= *again => self.reopen(*pause),
            State::Open(_) => self.audit_some(now),
            State::Refusing { .. } | State::GivenUp => {}
        }
    }

    fn audit_some(&mut self, now: Instant) {
        let (State::Open(medium), Some(audit)) = (&self.state, &mut self.audit) else { return };
        if now < audit.due() {
            return;
        }
        match audit.step(medium) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("the ledger's records before its snapshot are those that were acknowledged");
                self.audit = None;
            }
            Err(error) => self.refuse(error, PAUSE.0),
        }
    }

    /// Does what is ordered; gives an order that was found behind it and is of another kind.
    fn obey(&mut self, order: Order) -> Option<Order> {
        match order {
            Order::Write(first) => return self.write(first),
            Order::GiveUp(done) => {
                self.shared.refusing.store(Some(Arc::new(LedgerError::HandedOver)));
                self.ready.set(0);
                self.snapshots.finish();
                self.state = State::GivenUp;
                // whoever asked may have given up himself: then it is taken back
                let _ = done.send(());
            }
            Order::TakeBack if matches!(self.state, State::GivenUp) => self.reopen(PAUSE.0),
            Order::TakeBack => {}
            Order::Read(from, limit, done) => {
                let read = match &self.state {
                    State::Open(medium) => medium.entries(from, limit),
                    State::Refusing { .. } | State::GivenUp => Err(self.why_not()),
                };
                // whoever asked may be gone
                let _ = done.send(read);
            }
        }
        None
    }

    /// Writes `first` and whatever records wait behind it, with one sync. Two with one key are not written together: the second is
    /// answered by the first.
    fn write(&mut self, first: Write) -> Option<Order> {
        let (mut writes, mut next) = (Vec::new(), Some(Order::Write(first)));
        while let Some(Order::Write(write)) = next.take_if(|order| matches!(order, Order::Write(_))) {
            if writes.iter().any(|other: &Write| keys::shared(&other.record, &write.record)) {
                next = Some(Order::Write(write));
                break;
            }
            writes.extend(self.unknown(write));
            if writes.len() == BATCH {
                break;
            }
            next = self.orders.try_recv().ok();
        }
        if !writes.is_empty() {
            self.write_all(writes);
        }
        next
    }

    /// The record, unless its key is known: whoever asked is answered then.
    fn unknown(&self, write: Write) -> Option<Write> {
        let identity = self.chain.identity;
        let Some(known) = self.keys.of(&write.record) else { return Some(write) };
        let answer = match known {
            Known::Same(n) => Ok(Receipt { number: Number { identity, n }, repeated: true }),
            Known::Other(n) => Err(LedgerError::KeyTaken(n)),
        };
        // whoever asked may be gone
        let _ = write.done.send(answer);
        None
    }

    fn write_all(&mut self, writes: Vec<Write>) {
        let mut chain = self.chain;
        let sealed: Vec<Sealed> = writes
            .iter()
            .map(|write| {
                let bytes = write.record.encode();
                chain = chain.with(&bytes);
                Sealed { chain, bytes }
            })
            .collect();
        let State::Open(medium) = &self.state else { return self.turn_away(writes) };
        if let Err(error) = medium.append(&sealed) {
            self.refuse(error, PAUSE.0);
            return self.turn_away(writes);
        }
        for (write, sealed) in writes.iter().zip(&sealed) {
            self.projector.apply(sealed.chain.number, &write.record);
            self.keys.learn(sealed.chain.number, &write.record);
        }
        self.publish(chain);
        self.snapshots.take_if_due(chain, &self.shared.projection, &self.keys);
        for (write, sealed) in writes.into_iter().zip(&sealed) {
            let number = Number { identity: sealed.chain.identity, n: sealed.chain.number };
            // whoever asked may be gone: the record stands all the same
            let _ = write.done.send(Ok(Receipt { number, repeated: false }));
        }
    }

    fn publish(&mut self, chain: Chain) {
        self.chain = chain;
        self.shared.number.store(chain.number, Ordering::Release);
        self.number.set(chain.number as i64);
    }

    /// Why the medium is not there.
    fn why_not(&self) -> LedgerError {
        let why = self.shared.refusal().unwrap_or_else(|| Arc::new(LedgerError::Closed));
        match *why {
            LedgerError::HandedOver => LedgerError::HandedOver,
            _ => LedgerError::Refusing(why),
        }
    }

    fn turn_away(&self, writes: Vec<Write>) {
        let error = self.why_not();
        for write in writes {
            let _ = write.done.send(Err(error.clone()));
        }
    }

    /// Drops the medium, and with it the lock: it is opened anew after the pause.
    fn refuse(&mut self, error: LedgerError, pause: Duration) {
        tracing::error!(%error, retry_in = ?pause, "the ledger takes no records");
        self.shared.refusing.store(Some(Arc::new(error)));
        self.ready.set(0);
        self.state = State::Refusing { again: clock::instant() + pause, pause };
    }

    fn reopen(&mut self, pause: Duration) {
        match self.try_open() {
            Ok((medium, chain)) => {
                tracing::info!(number = chain.number, "the ledger takes records again");
                self.publish(chain);
                self.state = State::Open(medium);
                // all records were read
                self.audit = None;
                self.shared.refusing.store(None);
                self.ready.set(1);
            }
            Err(error) => self.refuse(error, (pause * 2).min(PAUSE.1)),
        }
    }

    /// The same ledger, with all that was acknowledged, and perhaps more.
    fn try_open(&mut self) -> Result<(Medium, Chain), LedgerError> {
        let medium = Medium::open(&self.folder, false)?;
        if medium.identity() != self.chain.identity {
            return Err(LedgerError::Replaced(self.folder.clone()));
        }
        let known = self.chain;
        let mut same = known.number == 0;
        let mut more = Vec::new();
        let chain = medium.replay(Chain::new(known.identity), |chain, record| {
            same |= *chain == known;
            if chain.number > known.number {
                more.push((chain.number, record.clone()));
            }
        })?;
        if chain.number < known.number {
            return Err(LedgerError::Short { found: chain.number, expected: known.number });
        }
        if !same {
            return Err(LedgerError::Replaced(self.folder.clone()));
        }
        for (number, record) in &more {
            self.projector.apply(*number, record);
            self.keys.learn(*number, record);
        }
        Ok((medium, chain))
    }
}
