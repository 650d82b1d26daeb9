//! Bodies that somebody reads or brings: so that who reads a stored body shares the runs of whoever else does.

use crate::{
    cache::{Body, ChunkId, Tiers},
    fill::growing::{Growing, Window},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Growing bodies by the body they grow.
#[derive(Default)]
pub struct Bodies(Mutex<HashMap<usize, Weak<Growing>>>);

impl Bodies {
    /// The growing body of `body`: the one that others use, or a new one.
    pub fn grow(self: &Arc<Bodies>, body: &Arc<Body>, tiers: &Tiers, window: Window) -> Arc<Growing> {
        let mut bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = bodies.entry(address(body)).or_default();
        known.upgrade().unwrap_or_else(|| {
            let grown = Arc::new(Growing::new(body.clone(), tiers.clone(), window, self.clone()));
            *known = Arc::downgrade(&grown);
            grown
        })
    }

    /// The names of all chunks of these bodies, as far as they are known.
    pub(super) fn names(&self) -> Vec<ChunkId> {
        let bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alive: Vec<_> = bodies.values().filter_map(Weak::upgrade).collect();
        // Not dropped under the lock, which the last owner of one takes.
        drop(bodies);
        alive.iter().flat_map(|growing| growing.body().names()).collect()
    }

    /// Nobody uses `growing` any more. Another may have come for its body meanwhile.
    pub(super) fn forget(&self, growing: &Growing) {
        let mut bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = address(growing.body());
        if bodies.get(&address).is_some_and(|known| std::ptr::eq(known.as_ptr(), growing)) {
            bodies.remove(&address);
        }
    }
}

/// What tells one body from another as long as it is held.
fn address(body: &Arc<Body>) -> usize {
    Arc::as_ptr(body).addr()
}
