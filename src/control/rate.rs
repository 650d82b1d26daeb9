//! How often one token may call: so many a second, and so many at once before that counts.
//!
//! A pipeline that runs wild cannot fill the ledger for everybody else. A batch counts as many calls as it holds purges.

use crate::clock;
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// What an operator sets of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls a second, in the long run.
    pub per_second: NonZeroU32,
    /// Calls at once, after a rest.
    pub at_once: NonZeroU32,
}

impl Default for Rate {
    fn default() -> Rate {
        let calls = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Rate { per_second: calls(1_000), at_once: calls(10_000) }
    }
}

/// Why a call is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// Ask again after this time.
    Wait(Duration),
    /// It counts more calls than are let through at once: ever.
    Never(NonZeroU32),
}

/// The clock of the node, as the limiter reads it: the time since the limiter was made.
#[derive(Clone, Debug)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Duration;

    fn now(&self) -> Duration {
        clock::instant().saturating_duration_since(self.0)
    }
}

/// The calls of one token.
#[derive(Debug)]
pub(super) struct Calls {
    rate: Rate,
    clock: Since,
    limiter: RateLimiter<NotKeyed, InMemoryState, Since, NoOpMiddleware<Duration>>,
}

impl Calls {
    pub(super) fn new(rate: Rate) -> Calls {
        let clock = Since(clock::instant());
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.at_once);
        Calls { rate, limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock }
    }

    /// Counts so many calls, or says why not; then none is counted.
    pub(super) fn count(&self, calls: NonZeroU32) -> Result<(), Exceeded> {
        match self.limiter.check_n(calls) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(Exceeded::Wait(not_until.wait_time_from(self.clock.now()))),
            Err(_) => Err(Exceeded::Never(self.rate.at_once)),
        }
    }

    /// Whether they are counted by this rate.
    pub(super) fn is_of(&self, rate: Rate) -> bool {
        self.rate == rate
    }
}

#[cfg(test)]
mod tests {
    use super::{Calls, Exceeded, Rate};
    use std::{num::NonZeroU32, time::Duration};

    #[test]
    fn so_many_at_once_are_let_through_and_the_rest_is_told_when() {
        let calls = |n| NonZeroU32::new(n).unwrap();
        let one = Calls::new(Rate { per_second: calls(1), at_once: calls(5) });
        assert_eq!(one.count(calls(6)), Err(Exceeded::Never(calls(5))), "counts nothing");
        assert_eq!(one.count(calls(3)), Ok(()));
        assert!(matches!(one.count(calls(3)), Err(Exceeded::Wait(_))), "two are left");
        assert_eq!(one.count(calls(2)), Ok(()));
        let Err(Exceeded::Wait(wait)) = one.count(calls(1)) else { panic!("the sixth") };
        assert!(wait > Duration::from_millis(1) && wait <= Duration::from_secs(1), "{wait:?}");
    }
}
