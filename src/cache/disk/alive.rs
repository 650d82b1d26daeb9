//! Bodies alive in this process, by their identity.
//!
//! A body that is loaded while somebody still holds it must be that one: who fills it and who reads it tell each other
//! by it, and two would know different chunks.

use crate::cache::Body;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// So many dead ones are not worth a look.
const FEW: usize = 1024;

/// Bodies that somebody holds.
#[derive(Debug, Default)]
pub struct Alive(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    bodies: HashMap<u128, Weak<Body>>,
    /// At this size the dead ones go.
    sweep_at: usize,
}

impl Alive {
    /// From now on the body is found by its identity. Gives the one that is: `body`, or another that somebody holds.
    pub fn note(&self, body: &Arc<Body>) -> Arc<Body> {
        let mut known = self.lock();
        if let Some(held) = known.bodies.get(&body.identity()).and_then(Weak::upgrade) {
            return held;
        }
        if known.bodies.len() >= known.sweep_at {
            known.bodies.retain(|_, body| body.strong_count() > 0);
            known.sweep_at = FEW.max(2 * known.bodies.len());
        }
        known.bodies.insert(body.identity(), Arc::downgrade(body));
        body.clone()
    }

    /// The body with this identity, if somebody holds it.
    pub fn get(&self, identity: u128) -> Option<Arc<Body>> {
        self.lock().bodies.get(&identity)?.upgrade()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Alive, FEW};
    use crate::cache::Body;
    use std::sync::Arc;

    #[test]
    fn a_body_that_is_held_is_found_and_no_other() {
        let (alive, body) = (Alive::default(), Arc::new(Body::new(None)));
        alive.note(&body);
        assert!(alive.get(body.identity()).is_some_and(|found| Arc::ptr_eq(&found, &body)));
        assert!(alive.get(body.identity() + 1).is_none());
        let again = alive.note(&Arc::new(Body::known(body.identity(), 1, Vec::new())));
        assert!(Arc::ptr_eq(&again, &body), "the one that is held");
        let identity = body.identity();
        drop((body, again));
        assert!(alive.get(identity).is_none());
    }

    #[test]
    fn what_nobody_holds_takes_no_room() {
        let (alive, held) = (Alive::default(), Arc::new(Body::new(None)));
        alive.note(&held);
        for _ in 0..10 * FEW {
            alive.note(&Arc::new(Body::new(None)));
        }
        assert!(alive.lock().bodies.len() <= FEW);
        assert!(alive.get(held.identity()).is_some());
    }
}
