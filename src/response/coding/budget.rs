//! How much all coders together may take on: so many bytes a second.

use crate::clock;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Bytes a second.
pub(super) struct Budget {
    bytes: u64,
    /// When all that was taken on so far is paid.
    paid: Mutex<Instant>,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Budget {
        Budget { bytes: bytes.max(1), paid: Mutex::new(clock::instant()) }
    }

    /// Takes so many bytes on, at `now`. Tells how long to wait with them.
    pub(super) fn take(&self, bytes: u64, now: Instant) -> Duration {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = (*paid).max(now);
        *paid = begins + Duration::from_secs_f64(bytes as f64 / self.bytes as f64);
        begins - now
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use crate::clock;
    use std::time::Duration;

    #[test]
    fn what_is_taken_on_is_paid_before_the_next() {
        let (budget, second) = (Budget::new(1000), Duration::from_secs(1));
        let now = clock::instant() + second;
        assert_eq!(budget.take(2000, now), Duration::ZERO);
        assert_eq!(budget.take(500, now), 2 * second);
        assert_eq!(budget.take(1, now + second), second + second / 2);
        assert_eq!(budget.take(1, now + 60 * second), Duration::ZERO, "nothing is saved up");
        assert!(budget.take(1, now + 60 * second) <= second / 1000);
    }
}
