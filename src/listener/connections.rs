//! How many client connections there are: what a stop waits for, and what the caps of a listener count.

use crate::listener::watch::{Phase, Watch};
use prometheus::IntGauge;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};
use tokio::sync::{Notify, watch};

/// The open connections of a node, over all its listeners.
#[derive(Debug)]
pub struct Connections {
    open: AtomicUsize,
    tunnels: AtomicUsize,
    emptied: Notify,
    close: watch::Sender<bool>,
    patient: AtomicBool,
}

/// A counted, capped number of things.
#[derive(Debug, Default)]
pub(super) struct Seats(AtomicUsize);

/// One of them, given back on drop.
#[derive(Debug)]
pub(super) struct Seat(Arc<Seats>);

/// One connection, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    gauge: IntGauge,
    watch: Arc<Watch>,
    _seat: Seat,
}

impl Connections {
    /// None yet.
    pub fn new() -> Arc<Connections> {
        Arc::new(Connections {
            open: AtomicUsize::new(0),
            tunnels: AtomicUsize::new(0),
            emptied: Notify::new(),
            close: watch::Sender::new(false),
            patient: AtomicBool::new(false),
        })
    }

    /// Open now, tunnels among them.
    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// Upgraded connections open now.
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(SeqCst)
    }

    /// Returns once no connection is open.
    pub async fn drained(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Whether a connection without a request may stay when accepting ends. At a stop it is ended at once. At a hand-over it
    /// stays until its next request was answered, or its idle deadline: a client that sends just now must not find it closed.
    pub fn be_patient(&self, patient: bool) {
        self.patient.store(patient, SeqCst);
    }

    pub(super) fn patient(&self) -> bool {
        self.patient.load(SeqCst)
    }

    /// Ends every connection now, whatever is under way: the deadline of a stop. Tunnels are closed as well.
    pub fn close_all(&self) {
        self.close.send_replace(true);
    }

    pub(super) fn close(&self) -> watch::Receiver<bool> {
        self.close.subscribe()
    }

    pub(super) fn upgraded(&self) {
        self.tunnels.fetch_add(1, SeqCst);
    }
}

impl Seats {
    /// A seat, unless `cap` are taken.
    pub(super) fn take(self: &Arc<Self>, cap: usize) -> Option<Seat> {
        self.0.fetch_update(SeqCst, SeqCst, |n| (n < cap).then_some(n + 1)).ok()?;
        Some(Seat(self.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}

impl Place {
    pub(super) fn new(
        connections: &Arc<Connections>,
        gauge: &IntGauge,
        watch: Arc<Watch>,
        seat: Seat,
    ) -> Place {
        connections.open.fetch_add(1, SeqCst);
        gauge.inc();
        Place { connections: connections.clone(), gauge: gauge.clone(), watch, _seat: seat }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.dec();
        if self.watch.phase() == Phase::Tunnel {
            self.connections.tunnels.fetch_sub(1, SeqCst);
        }
        if self.connections.open.fetch_sub(1, SeqCst) == 1 {
            self.connections.emptied.notify_waiters();
        }
    }
}
