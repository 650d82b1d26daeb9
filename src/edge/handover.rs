//! At an upgrade: what this process owes to the one that serves in its place.
//!
//! The other may acknowledge purges that are not known here, so nothing stored is served any more. And what an unsafe method
//! makes outdated here (RFC 9111 §4.4) may be stored there: its answer waits until the other was told.

use crate::cache::Key;
use arc_swap::ArcSwapOption;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Keys that wait to be told.
const QUEUE: usize = 64;
/// How long an answer waits for the other process to be told; it must not be lost because that one hangs.
const TOLD: Duration = Duration::from_secs(5);

/// Whether another process serves in the place of this one.
#[derive(Default)]
pub struct Handover {
    begun: AtomicBool,
    tell: ArcSwapOption<mpsc::Sender<Outdated>>,
}

/// What is stored under a key is outdated, in the other process too.
pub struct Outdated {
    /// The key.
    pub key: Key,
    /// To be sent when the other process has heard of it.
    pub heard: oneshot::Sender<()>,
}

impl Handover {
    /// From now on everything that the rules do not refuse is relayed; what was begun before goes on. Gives what the other
    /// process must be told.
    pub fn begin(&self) -> mpsc::Receiver<Outdated> {
        let (tell, told) = mpsc::channel(QUEUE);
        self.tell.store(Some(Arc::new(tell)));
        self.begun.store(true, Ordering::SeqCst);
        told
    }

    /// The other process is gone: what is stored may serve again.
    pub fn take_back(&self) {
        self.tell.store(None);
        self.begun.store(false, Ordering::SeqCst);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Tells the other process, if there is one, and returns when it has heard.
    pub(super) async fn outdated(&self, key: &Key) {
        let Some(tell) = self.tell.load_full() else { return };
        let (heard, hears) = oneshot::channel();
        let told = async {
            if tell.send(Outdated { key: key.clone(), heard }).await.is_ok() {
                // An error: it is gone, and nothing is stored there.
                _ = hears.await;
            }
        };
        if tokio::time::timeout(TOLD, told).await.is_err() {
            tracing::warn!(
                "the process that serves in this one's place was not told in time what a request made outdated"
            );
        }
    }
}
