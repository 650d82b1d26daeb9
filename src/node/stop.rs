//! The end of a node: out of DNS, no new connections, what is under way is finished, then the process ends.
//!
//! Pingora would sleep its whole grace period and end without destructors; so the node ends the process itself.

use super::{Node, supervisor};
use crate::config::NodeSettings;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the end looks whether fills and relays are over.
const LOOK: Duration = Duration::from_millis(20);
/// How long connections that are cut may take to their end.
const CUT: Duration = Duration::from_secs(1);
/// How long the access log may take to its last line.
const FLUSH: Duration = Duration::from_secs(5);
/// How long the disk tier may take to write what waits for it.
const WRITTEN: Duration = Duration::from_secs(10);

/// SIGTERM and SIGINT. From the moment it is made none of them ends the process by itself, and none is missed.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Begins to listen.
    pub(super) fn new() -> std::io::Result<Signals> {
        Ok(Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

impl Node {
    /// Stops in order. A further signal cuts it short.
    pub(super) async fn wind_down(&self, mut signals: Signals) {
        let NodeSettings { unready_before_stop: unready, stop_deadline: deadline, .. } = self.settings();
        self.stopping.store(true, Ordering::Relaxed);
        supervisor::stopping();
        tracing::info!(connections = self.connections.open(), "stopping: not ready any more");
        tokio::select! {
            () = tokio::time::sleep(unready) => {}
            () = signals.next() => tracing::info!("signalled again: accepting ends at once"),
        }
        self.stop.send_replace(true);
        tracing::info!(?deadline, "stopping: accepting has ended, transfers go on");
        self.drain(deadline, signals).await;
    }

    /// Another process serves in the place of this one: finishes what is under way here. A signal makes a stop of it.
    pub(super) async fn retire(&self, mut signals: Signals) {
        let NodeSettings { stop_deadline, upgrade_deadline, .. } = self.settings();
        self.connections.be_patient(true);
        self.stop.send_replace(true);
        tracing::info!(
            deadline = ?upgrade_deadline,
            connections = self.connections.open(),
            "handed over: another process serves, what is under way is finished here"
        );
        tokio::select! {
            () = self.finished() => {}
            () = tokio::time::sleep(upgrade_deadline) => {}
            () = signals.next() => {
                self.connections.be_patient(false);
                tracing::info!(deadline = ?stop_deadline, "stopping: transfers go on");
                return self.drain(stop_deadline, signals).await;
            }
        }
        self.drain(Duration::ZERO, signals).await;
    }

    /// Waits for what is under way, then ends the process.
    async fn drain(&self, deadline: Duration, mut signals: Signals) {
        let how = tokio::select! {
            biased;
            () = self.finished() => "everything under way was finished",
            () = tokio::time::sleep(deadline) => "the deadline is over, what is left is cut",
            () = signals.next() => "signalled again, what is left is cut",
        };
        tracing::info!(
            connections = self.connections.open(),
            tunnels = self.connections.tunnels(),
            "stopping: {how}"
        );
        self.connections.close_all();
        _ = tokio::time::timeout(CUT, self.over()).await;
        self.end(0);
    }

    fn settings(&self) -> NodeSettings {
        self.config.lock().unwrap_or_else(std::sync::PoisonError::into_inner).node.clone()
    }

    /// No connection, fill or relay is left, and every request is told.
    async fn finished(&self) {
        self.over().await;
        let mut look = tokio::time::interval(LOOK);
        while self.metrics.fills_in_flight.get() + self.metrics.relays_in_flight.get() > 0 {
            look.tick().await;
        }
        self.over().await;
    }

    /// No connection is left, and none of the requests that came by them is without its line: a connection's end does not
    /// wait for what it drops.
    async fn over(&self) {
        self.connections.drained().await;
        let mut look = tokio::time::interval(LOOK);
        while self.edge.parts().accounts.open() > 0 {
            look.tick().await;
        }
    }

    /// Ends the process: last log lines written, the disk tier and the ledger closed.
    pub(super) fn end(&self, code: i32) {
        let parts = self.edge.parts();
        if !parts.accounts.log.flush(FLUSH) {
            tracing::warn!("the last lines of the access log could not be written in time");
        }
        parts.tiers.close(WRITTEN);
        parts.ledger.close();
        std::process::exit(code);
    }
}
