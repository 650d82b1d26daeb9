//! One question at a time for a learner and a content: who comes meanwhile waits for its answer.

use super::Checks;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Whose turn it is.
pub enum Turn {
    /// This request's; the others wait until the ticket is given back.
    Mine(Option<Ticket>),
    /// Another's, which has to be waited for.
    Others(Waits),
}

/// The end of another request's turn.
pub struct Waits(watch::Receiver<()>);

impl Waits {
    /// Waits for it.
    pub async fn over(mut self) {
        // An error: the ticket was given back.
        while self.0.changed().await.is_ok() {}
    }
}

/// A turn. Given back by its drop.
pub struct Ticket {
    checks: Arc<Checks>,
    key: [u8; 32],
}

#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<[u8; 32], watch::Sender<()>>>);

impl Turns {
    fn map(&self) -> MutexGuard<'_, HashMap<[u8; 32], watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self, checks: &Arc<Checks>, key: &[u8; 32]) -> Turn {
        let mut map = self.map();
        if let Some(taken) = map.get(key) {
            return Turn::Others(Waits(taken.subscribe()));
        }
        map.insert(*key, watch::Sender::new(()));
        Turn::Mine(Some(Ticket { checks: checks.clone(), key: *key }))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.checks.turns.map().remove(&self.key);
    }
}
