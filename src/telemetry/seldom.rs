//! How often a condition that repeats is logged: once a minute, with the number of times it was kept quiet.

use crate::clock;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(60);

/// Lets one of many equal log lines through each minute. Made to be a `static` beside the line it guards:
///
/// ```
/// use lectern::telemetry::Seldom;
/// static FULL: Seldom = Seldom::new();
/// if let Some(suppressed) = FULL.due() {
///     tracing::warn!(suppressed, "the origin's queue is full");
/// }
/// ```
#[derive(Debug)]
pub struct Seldom {
    last: Mutex<Option<Instant>>,
    suppressed: AtomicU64,
}

impl Seldom {
    /// A condition that was never logged.
    pub const fn new() -> Seldom {
        Seldom { last: Mutex::new(None), suppressed: AtomicU64::new(0) }
    }

    /// `Some` if a line is due now, with the number of times since the last one at which none was; never waits.
    pub fn due(&self) -> Option<u64> {
        self.due_at(clock::instant())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        // Another thread is at it: it logs, or has reason not to.
        let due = self.last.try_lock().is_ok_and(|mut last| {
            let due = last.is_none_or(|at| now.saturating_duration_since(at) >= EVERY);
            if due {
                *last = Some(now);
            }
            due
        });
        if due {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl Default for Seldom {
    fn default() -> Seldom {
        Seldom::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Seldom;
    use crate::clock;
    use std::time::Duration;

    #[test]
    fn once_a_minute_with_the_count_of_the_silent_ones() {
        let start = clock::instant();
        let seldom = Seldom::new();
        for (second, due) in
            [(0, Some(0)), (0, None), (1, None), (59, None), (60, Some(3)), (61, None), (200, Some(1))]
        {
            assert_eq!(seldom.due_at(start + Duration::from_secs(second)), due, "second {second}");
        }
    }
}
