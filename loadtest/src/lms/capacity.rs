//! What a front can do at once: so many workers, each of which is busy for a while with a request. Nothing is computed meanwhile, so
//! that an LMS that is overloaded does not take the machine from whoever measures.

use std::time::Duration;

use tokio::sync::Semaphore;

use super::kind::Kind;

/// The workers of a front and how long a request keeps one. The time is that of the program that answers; sending a body keeps none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Workers of each front.
    pub workers: usize,
    /// A page, or anything that is not named below.
    pub page: Duration,
    /// A file: finding out who may have it, and where it is.
    pub file: Duration,
    /// A question that is answered without a body.
    pub check: Duration,
    /// A tracking commit.
    pub commit: Duration,
}

impl Capacity {
    fn cost(&self, kind: Kind, conditional: bool) -> Duration {
        match kind {
            Kind::Access => self.check,
            _ if kind.cacheable() && conditional => self.check,
            _ if kind.cacheable() => self.file,
            Kind::Commit => self.commit,
            _ => self.page,
        }
    }
}

/// The workers of one front.
pub(crate) struct Workers {
    free: Semaphore,
    capacity: Capacity,
}

impl Workers {
    pub(crate) fn new(capacity: Capacity) -> Workers {
        Workers { free: Semaphore::new(capacity.workers), capacity }
    }

    /// Waits for a worker, in order of arrival, and for it to be done.
    pub(crate) async fn work(&self, kind: Kind, conditional: bool) {
        // The semaphore is never closed; were it, the front would have no limit.
        let _worker = self.free.acquire().await;
        tokio::time::sleep(self.capacity.cost(kind, conditional)).await;
    }
}
