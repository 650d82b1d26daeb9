//! The only reader of the clock: everything else is handed a time, or asks here.
//!
//! [`SystemTime`] for HTTP and whatever is stored, [`Instant`] for spans.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The monotonic clock, for spans and deadlines.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Whole milliseconds since the Unix epoch; 0 for a time before it.
pub fn unix_millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
