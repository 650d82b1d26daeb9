//! The yeses that are kept, so many at most. What is let go is asked for again.

use super::{Asking, Digest, Learner, forgets::Forgets};
use moka::{ops::compute::Op, policy::EvictionPolicy, sync::Cache};
use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

/// Yeses (and noes that came after them) that are kept; of more, who was longest not seen is asked about again.
const ENTRIES: u64 = 1 << 18;

/// A yes, and for what.
pub(crate) struct Grant {
    pub(super) site: Arc<str>,
    pub(super) content: Box<str>,
    pub(super) digest: Digest,
    /// When the LMS was asked.
    pub(super) put: Instant,
    /// Forgets that had come by then, and up to which this one was found not to be covered.
    pub(super) forgets: u64,
    pub(super) checked: AtomicU64,
}

impl Grant {
    pub(super) fn of(asking: &Asking) -> Grant {
        let Asking { learner, put, forgets } = asking;
        Grant {
            site: learner.site.clone(),
            content: learner.content.clone(),
            digest: learner.digest,
            put: *put,
            forgets: *forgets,
            checked: AtomicU64::new(*forgets),
        }
    }
}

/// A learner with a yes, as long as it is not forgotten.
pub(crate) struct Permit {
    pub(super) grant: Arc<Grant>,
    pub(super) forgets: Arc<Forgets>,
    pub(crate) learner: Arc<Learner>,
}

impl Permit {
    pub(crate) fn stands(&self) -> bool {
        !self.forgets.cover(&self.grant)
    }
}

#[derive(Clone)]
enum Said {
    Yes(Arc<Grant>),
    /// Asked at this time; a yes that was asked for before it does not come back.
    No(Instant),
}

pub(super) struct Kept(Cache<[u8; 32], Said, hashbrown::DefaultHashBuilder>);

impl Default for Kept {
    fn default() -> Kept {
        let builder = Cache::builder().max_capacity(ENTRIES).eviction_policy(EvictionPolicy::lru());
        Kept(builder.build_with_hasher(Default::default()))
    }
}

impl Kept {
    pub(super) fn grant(&self, key: &[u8; 32]) -> Option<Arc<Grant>> {
        match self.0.get(key)? {
            Said::Yes(grant) => Some(grant),
            Said::No(_) => None,
        }
    }

    /// Keeps a yes, unless the LMS was asked again since and said no. It is given all the same: it was said to this request.
    pub(super) fn keep(&self, asking: &Asking) -> Arc<Grant> {
        let grant = Arc::new(Grant::of(asking));
        let learner = &asking.learner;
        if learner.keep().max(learner.unreachable()).is_zero() {
            return grant;
        }
        self.0.entry(*learner.key()).and_compute_with(|there| match there.map(moka::Entry::into_value) {
            Some(Said::No(put)) if put >= asking.put => Op::Nop,
            Some(Said::Yes(other)) if other.put > asking.put => Op::Nop,
            _ => Op::Put(Said::Yes(grant.clone())),
        });
        grant
    }

    pub(super) fn deny(&self, asking: &Asking) {
        let put = asking.put;
        self.0.entry(*asking.learner.key()).and_compute_with(|there| {
            match there.map(moka::Entry::into_value) {
                Some(Said::Yes(later)) if later.put > put => Op::Nop,
                Some(Said::No(later)) if later > put => Op::Nop,
                _ => Op::Put(Said::No(put)),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;
    use crate::access::asked::{Asking, Checks, learner::test_learner};
    use std::time::Duration;

    #[test]
    fn of_two_answers_the_one_that_was_asked_for_later_stands() {
        let learner = test_learner();
        let early = Checks::new().asking(&learner);
        let late = Asking { put: early.put + Duration::from_millis(1), ..early.clone() };
        let granted = |kept: &Kept| kept.grant(learner.key()).map(|grant| grant.put);
        let kept = Kept::default();
        kept.deny(&late);
        kept.keep(&early);
        assert_eq!(granted(&kept), None, "a yes does not come back after a no");
        kept.keep(&late.clone());
        assert_eq!(granted(&kept), None, "asked for at the same time, the no counts");
        let kept = Kept::default();
        kept.keep(&late);
        kept.deny(&early);
        kept.keep(&early);
        assert_eq!(granted(&kept), Some(late.put));
        kept.deny(&late);
        assert_eq!(granted(&kept), None);
    }
}
