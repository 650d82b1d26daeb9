//! A gate: whoever comes is held until the test opens it, and the test can wait for those who came.

use std::sync::Arc;

use tokio::sync::watch;

use super::deadline::within;

/// Closed at first; clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate {
    open: Arc<watch::Sender<bool>>,
    arrived: Arc<watch::Sender<usize>>,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate { open: Arc::new(watch::Sender::new(false)), arrived: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets everybody through who is here or comes.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Holds again who comes from now on.
    pub(crate) fn shut(&self) {
        self.open.send_replace(false);
    }

    /// How many came so far, held or not.
    pub(crate) fn count(&self) -> usize {
        *self.arrived.borrow()
    }

    /// Waits until so many came.
    #[track_caller]
    pub(crate) fn arrived(&self, n: usize) -> impl Future<Output = ()> {
        let mut arrived = self.arrived.subscribe();
        within(format!("{n} arrivals at a gate"), async move {
            arrived.wait_for(|count| *count >= n).await.unwrap();
        })
    }

    /// Comes to the gate and goes through once it is open. The wait ends with its task, not with a deadline.
    pub(crate) async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}
