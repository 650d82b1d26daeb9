//! How one front of an origin does: whether it takes requests, and when one that failed is tried again.
//!
//! A circuit breaker. A front that gave so many failures one after the other, over a second at least, takes no more requests.
//! When its time is over a single one is let through as a trial: an answer brings the front back, at first with a share of its
//! turns that grows (slow start); another failure leaves it alone for twice as long. What its active checks say
//! (`checks.rs`) counts beside that. A failure is what stands between us and the head of an answer: no connection, a time-out, an
//! end; but not the end of a pooled connection, which all servers close after a while. An answer is a success, whatever its status. One that is
//! not HTTP is neither: that is a matter of its URL.

use super::{OriginError, OriginSettings};
use crate::{clock, telemetry::FrontMetrics};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a front that refused a connection is passed over while another is left.
const PENALTY: Duration = Duration::from_secs(1);
/// Failures that all came within this are one: a moment's trouble that many requests met.
const MOMENT: Duration = Duration::from_secs(1);
/// How long a front is left alone before its first trial.
const FIRST: Duration = Duration::from_secs(1);
/// The share of its turns that a front gets when it is back.
const SMALLEST_SHARE: f64 = 0.1;

/// The state of one front.
pub(super) struct Front {
    address: SocketAddr,
    settings: Arc<OriginSettings>,
    state: Mutex<State>,
    metrics: Arc<FrontMetrics>,
}

/// What a front is good for, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// A request, this one too: it is its turn, or a trial is due.
    Takes,
    /// It is just back, and this turn is not its own.
    Warming,
    /// It refused a connection a moment ago.
    Resting,
    /// It fails its checks.
    Doubtful,
    /// A trial is due, but not with a request that cannot be repeated.
    Due,
    /// Nothing, for so long.
    Out(Duration),
}

#[derive(Default)]
struct State {
    /// One after the other, and when the first of them came.
    failures: u32,
    failing_since: Option<Instant>,
    refused: Option<Instant>,
    open: Option<Open>,
    fails_checks: bool,
    back: Option<Instant>,
    /// What it has of its next turn, while it is just back.
    turn: f64,
}

/// The circuit is open.
#[derive(Clone, Copy)]
struct Open {
    since: Instant,
    until: Instant,
    /// How long it is left alone before the next trial.
    span: Duration,
    on_trial: bool,
}

impl Front {
    pub(super) fn new(
        address: SocketAddr,
        settings: &Arc<OriginSettings>,
        metrics: Arc<FrontMetrics>,
    ) -> Front {
        metrics.up.set(1);
        Front { address, settings: settings.clone(), state: Mutex::default(), metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is good for. `healthy`: it passes its checks, if there are any. A trial that is due goes with a request that `may_try`;
    /// whoever is told [`Fit::Takes`] must send it.
    pub(super) fn fit(&self, healthy: bool, may_try: bool, now: Instant) -> Fit {
        let mut state = self.state();
        if let Some(open) = &mut state.open {
            return match open.until.checked_duration_since(now) {
                Some(left) if !left.is_zero() => Fit::Out(left),
                _ if healthy && may_try => {
                    open.begin_trial(now);
                    Fit::Takes
                }
                _ => Fit::Due,
            };
        }
        if !healthy {
            return Fit::Doubtful;
        }
        if state.refused.is_some_and(|at| now.saturating_duration_since(at) < PENALTY) {
            return Fit::Resting;
        }
        if state.takes_turn(self.settings.slow_start, now) { Fit::Takes } else { Fit::Warming }
    }

    /// A trial goes to it, as nothing else is left.
    ///
    /// # Errors
    /// Another was faster; the next may be due after so long.
    pub(super) fn begin_trial(&self, now: Instant) -> Result<(), Duration> {
        if let Some(open) = &mut self.state().open {
            if open.until > now {
                return Err(open.until - now);
            }
            open.begin_trial(now);
        }
        Ok(())
    }

    /// It answered.
    pub(super) fn succeeded(&self) {
        let now = clock::instant();
        let mut state = self.state();
        (state.failures, state.failing_since, state.refused) = (0, None, None);
        if let Some(open) = state.open.take() {
            state.back = Some(now);
            self.tell(&state);
            let (origin, out_for) = (&self.settings.name, now.saturating_duration_since(open.since));
            tracing::info!(origin, front = %self.address, ?out_for, "a front of the origin answers again");
        }
    }

    /// A request to it failed.
    pub(super) fn failed(&self, error: OriginError) {
        if !error.speaks_of_its_front() {
            return;
        }
        let now = clock::instant();
        let mut state = self.state();
        if error.nothing_sent() {
            state.refused = Some(now);
        }
        if self.settings.failures == 0 {
            return;
        }
        state.failures = state.failures.saturating_add(1);
        let since = *state.failing_since.get_or_insert(now);
        if let Some(open) = &mut state.open {
            if open.on_trial {
                open.fail_trial(self.settings.open_max, now);
            }
            return;
        }
        if state.failures < self.settings.failures || now.saturating_duration_since(since) < MOMENT {
            return;
        }
        let span = FIRST.min(self.settings.open_max);
        state.open = Some(Open { since: now, until: now + span, span, on_trial: false });
        self.metrics.went_out(error.word());
        self.tell(&state);
        let (origin, failures, word) = (&self.settings.name, state.failures, error.word());
        tracing::warn!(
            origin, front = %self.address, failures, word,
            "a front of the origin gets no requests: they all failed; from time to time one is let through to see"
        );
    }

    /// Its checks say otherwise than before.
    pub(super) fn checked(&self, healthy: bool, why: &str) {
        let mut state = self.state();
        state.fails_checks = !healthy;
        let origin = &self.settings.name;
        if healthy {
            *state = State { back: Some(clock::instant()), ..State::default() };
            tracing::info!(origin, front = %self.address, "a front of the origin passes its checks again");
        } else {
            self.metrics.went_out("check");
            tracing::warn!(
                origin, front = %self.address, why,
                "a front of the origin fails its checks; the others get its requests"
            );
        }
        self.tell(&state);
    }

    /// A request that is in flight to it from here on.
    pub(super) fn load(&self) -> Load {
        self.metrics.in_flight.inc();
        Load(self.metrics.clone())
    }

    /// Requests in flight to it.
    pub(super) fn in_flight(&self) -> i64 {
        self.metrics.in_flight.get()
    }

    /// Failures one after the other until now.
    #[cfg(test)]
    pub(super) fn failures(&self) -> u32 {
        self.state().failures
    }

    fn tell(&self, state: &State) {
        self.metrics.up.set(i64::from(state.open.is_none() && !state.fails_checks));
    }
}

/// One request in flight to a front, until it is dropped.
pub(super) struct Load(Arc<FrontMetrics>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

impl Open {
    fn begin_trial(&mut self, now: Instant) {
        (self.until, self.on_trial) = (now + self.span, true);
    }

    fn fail_trial(&mut self, longest: Duration, now: Instant) {
        self.span = (self.span * 2).min(longest);
        (self.until, self.on_trial) = (now + self.span, false);
    }
}

impl State {
    /// Whether this turn is its own: while it is just back, a growing share of them is.
    fn takes_turn(&mut self, slow_start: Duration, now: Instant) -> bool {
        let Some(back) = self.back else { return true };
        let share = now.saturating_duration_since(back).as_secs_f64() / slow_start.as_secs_f64();
        // Not a number where there is no slow start and no time has passed.
        if share.is_nan() || share >= 1.0 {
            (self.back, self.turn) = (None, 0.0);
            return true;
        }
        self.turn += share.max(SMALLEST_SHARE);
        let takes = self.turn >= 1.0;
        if takes {
            self.turn -= 1.0;
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{origin::Phase, telemetry::Metrics};

    const REFUSED: OriginError = OriginError::Connect;
    const LATE: OriginError = OriginError::Timeout(Phase::Head);

    fn front(failures: u32, slow_start: u64) -> (Front, Instant) {
        let mut settings = OriginSettings::new("lms", Vec::new());
        (settings.failures, settings.slow_start) = (failures, Duration::from_secs(slow_start));
        settings.open_max = Duration::from_secs(3);
        let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let metrics = Metrics::new().fronts("lms").of(address);
        (Front::new(address, &Arc::new(settings), metrics), clock::instant())
    }

    /// Failures enough, the first of them a while ago.
    fn open(front: &Front, error: OriginError) {
        front.failed(error);
        front.state().failing_since = clock::instant().checked_sub(MOMENT);
        for _ in 1..front.settings.failures {
            front.failed(error);
        }
    }

    #[test]
    fn failures_one_after_the_other_open_the_circuit_and_an_answer_closes_it() {
        let (front, _) = front(3, 0);
        open(&front, LATE);
        let now = clock::instant();
        assert!(matches!(front.fit(true, true, now), Fit::Out(left) if left <= FIRST));
        assert_eq!((front.metrics.up.get(), front.fit(true, false, now + FIRST)), (0, Fit::Due));
        front.succeeded();
        assert_eq!((front.metrics.up.get(), front.fit(true, true, now)), (1, Fit::Takes));
    }

    #[test]
    fn what_does_not_speak_of_the_front_opens_nothing() {
        for error in [OriginError::Protocol, OriginError::ClientBody, OriginError::Unsendable] {
            let (front, now) = front(1, 0);
            open(&front, error);
            open(&front, error);
            assert_eq!(front.fit(true, true, now), Fit::Takes, "{error}");
        }
        let (front, now) = front(2, 0);
        for _ in 0..10 {
            open(&front, LATE);
            front.succeeded();
            front.failed(LATE);
            front.succeeded();
        }
        assert_eq!(front.fit(true, true, now), Fit::Takes, "an answer in between");
    }

    #[test]
    fn a_moments_trouble_opens_nothing() {
        let (front, _) = front(3, 0);
        (0..100).for_each(|_| front.failed(LATE));
        assert_eq!(front.fit(true, true, clock::instant()), Fit::Takes);
    }

    #[test]
    fn one_trial_at_a_time_and_each_failure_doubles_the_wait() {
        let (front, _) = front(1, 0);
        open(&front, REFUSED);
        front.failed(REFUSED);
        let mut at = clock::instant() + FIRST;
        for wait in [2, 3, 3] {
            assert_eq!(front.fit(true, true, at), Fit::Takes);
            assert!(matches!(front.fit(true, true, at), Fit::Out(_)), "the trial is under way");
            let failed = clock::instant();
            front.failed(REFUSED);
            front.failed(REFUSED);
            let Fit::Out(left) = front.fit(true, true, failed) else { panic!("it is out") };
            assert!(left >= Duration::from_secs(wait) && left < Duration::from_secs(wait + 1), "{left:?}");
            at = failed + left;
        }
    }

    #[test]
    fn a_refusal_lets_others_go_first_for_a_second() {
        let (front, _) = front(5, 0);
        front.failed(REFUSED);
        let now = clock::instant();
        assert_eq!(front.fit(true, true, now), Fit::Resting);
        assert_eq!(front.fit(true, true, now + PENALTY), Fit::Takes);
        front.failed(LATE);
        front.succeeded();
        assert_eq!(front.fit(true, true, now), Fit::Takes);
    }

    #[test]
    fn a_front_that_is_never_left_out_rests_after_a_refusal_all_the_same() {
        let (front, _) = front(0, 0);
        (0..3).for_each(|_| open(&front, REFUSED));
        let now = clock::instant();
        assert_eq!(
            (front.fit(true, true, now), front.fit(true, true, now + PENALTY)),
            (Fit::Resting, Fit::Takes)
        );
    }

    #[test]
    fn of_two_who_would_try_it_out_one_does() {
        let (front, _) = front(1, 0);
        open(&front, REFUSED);
        front.failed(REFUSED);
        let due = clock::instant() + FIRST;
        assert_eq!([front.fit(true, false, due), front.fit(true, false, due)], [Fit::Due; 2]);
        assert_eq!([front.begin_trial(due), front.begin_trial(due)], [Ok(()), Err(FIRST)]);
    }

    #[test]
    fn a_front_that_passes_its_checks_again_begins_anew() {
        let (front, _) = front(2, 0);
        front.failed(LATE);
        front.state().failing_since = clock::instant().checked_sub(MOMENT);
        front.checked(false, "status 500");
        front.checked(true, "");
        front.failed(LATE);
        assert_eq!(front.fit(true, true, clock::instant()), Fit::Takes);
    }

    #[test]
    fn a_front_that_is_back_takes_a_growing_share() {
        let (front, _) = front(1, 10);
        front.checked(false, "status 500");
        assert_eq!((front.fit(false, true, clock::instant()), front.metrics.up.get()), (Fit::Doubtful, 0));
        front.checked(true, "");
        let back = clock::instant();
        let taken = |second: u64| {
            let fits = (0..100).map(|_| front.fit(true, true, back + Duration::from_secs(second)));
            fits.filter(|fit| *fit == Fit::Takes).count()
        };
        for (second, share) in [(0, 10), (5, 50), (9, 90), (10, 100)] {
            let taken = taken(second);
            assert!(taken.abs_diff(share) <= 1, "{taken} of 100 after {second} s");
        }
        assert_eq!(front.metrics.up.get(), 1);
    }
}
