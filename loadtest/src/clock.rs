//! The load test's own time: the one place that reads the clock and that waits for an instant.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "the edge's clock is not this program's")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits, with the precision of the system's timer (tokio's is a millisecond). Not for tasks: it holds the thread.
#[expect(clippy::disallowed_methods, reason = "a planned start is an instant, not an event")]
pub fn wait_until(instant: Instant) {
    std::thread::sleep(instant.saturating_duration_since(now()));
}
