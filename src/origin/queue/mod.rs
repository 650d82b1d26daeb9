//! How many requests an origin has in flight, who waits for a place, and who is turned away.
//!
//! First come, first served. What does not fit is told when to come back: the time the queue needs at the
//! rate at which places were given back lately.

use crate::{clock, telemetry::QueueMetrics};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shortest and longest time a client is told to wait.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// The origin has no place for this request: a value, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// When it is worth asking again: whole seconds, for `Retry-After`.
    pub retry_after: Duration,
}

/// A place in flight at an origin. Gives itself back on drop.
#[derive(Debug)]
pub struct Permit {
    place: Option<OwnedSemaphorePermit>,
    queue: Arc<Queue>,
}

/// The places of one origin.
#[derive(Debug)]
pub(super) struct Queue {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    longest: usize,
    wait: Duration,
    drain: Mutex<Drain>,
    metrics: QueueMetrics,
}

/// How fast places come back while all are taken.
#[derive(Debug)]
struct Drain {
    last: Instant,
    gap: Duration,
}

/// One waiter, counted until it is served or gives up.
struct Waiting<'a>(&'a Queue);

impl Queue {
    pub(super) fn new(places: usize, longest: usize, wait: Duration, metrics: QueueMetrics) -> Arc<Queue> {
        Arc::new(Queue {
            places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            longest,
            wait,
            drain: Mutex::new(Drain { last: clock::instant(), gap: Duration::ZERO }),
            metrics,
        })
    }

    /// A place that is free, if there is one.
    pub(super) fn try_admit(self: &Arc<Self>) -> Option<Permit> {
        self.places.clone().try_acquire_owned().ok().map(|place| self.permit(place))
    }

    /// A place, at once or after at most the configured wait. Dropping the future leaves the queue.
    pub(super) async fn admit(self: &Arc<Self>) -> Result<Permit, Busy> {
        if let Some(permit) = self.try_admit() {
            return Ok(permit);
        }
        let Some(waiting) = Waiting::enter(self) else {
            return Err(self.busy());
        };
        let place = tokio::time::timeout(self.wait, self.places.clone().acquire_owned()).await;
        drop(waiting);
        match place {
            Ok(Ok(place)) => Ok(self.permit(place)),
            Ok(Err(_)) | Err(_) => Err(self.busy()),
        }
    }

    fn permit(self: &Arc<Self>, place: OwnedSemaphorePermit) -> Permit {
        self.metrics.in_flight.inc();
        Permit { place: Some(place), queue: self.clone() }
    }

    fn busy(&self) -> Busy {
        self.metrics.turned_away.inc();
        let drain = self.drain.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = drain.gap.max(clock::instant().saturating_duration_since(drain.last));
        drop(drain);
        let ahead = self.waiting.load(Ordering::Relaxed).saturating_add(1).min(1 << 16) as u32;
        let whole = gap.saturating_mul(ahead).as_millis().div_ceil(1000).min(u128::from(RETRY.1.as_secs()));
        Busy { retry_after: Duration::from_secs(whole as u64).clamp(RETRY.0, RETRY.1) }
    }

    /// Only gaps between two ends under full load say something about the rate.
    fn given_back(&self) {
        let full = self.places.available_permits() == 0;
        let now = clock::instant();
        let mut drain = self.drain.lock().unwrap_or_else(PoisonError::into_inner);
        if full {
            let gap = now.saturating_duration_since(drain.last).min(RETRY.1);
            drain.gap = if drain.gap.is_zero() { gap } else { drain.gap.mul_f32(0.8) + gap.mul_f32(0.2) };
        }
        drain.last = now;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.queue.given_back();
        self.queue.metrics.in_flight.dec();
        drop(self.place.take());
    }
}

impl<'a> Waiting<'a> {
    fn enter(queue: &'a Queue) -> Option<Waiting<'a>> {
        let more = |waiting| (waiting < queue.longest).then_some(waiting + 1);
        queue.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        queue.metrics.queued.inc();
        Some(Waiting(queue))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.queued.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    fn queue(places: usize, longest: usize, wait: Duration) -> (Arc<Queue>, Arc<Metrics>) {
        let metrics = Metrics::new();
        (Queue::new(places, longest, wait, metrics.requests_of("lms")), metrics)
    }

    #[tokio::test]
    async fn a_place_given_back_goes_to_the_first_who_waits() {
        let (queue, metrics) = queue(1, 2, Duration::from_secs(60));
        let place = queue.admit().await.unwrap();
        assert_eq!(metrics.origin_in_flight.with_label_values(&["lms"]).get(), 1);
        let mut first = Box::pin(queue.admit());
        let mut second = Box::pin(queue.admit());
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(metrics.origin_queued.with_label_values(&["lms"]).get(), 2);
        drop(place);
        assert!(futures_util::poll!(&mut second).is_pending());
        let place = first.await.unwrap();
        drop(second);
        drop(place);
        assert_eq!(metrics.origin_queued.with_label_values(&["lms"]).get(), 0);
        assert_eq!(metrics.origin_in_flight.with_label_values(&["lms"]).get(), 0);
        assert!(queue.admit().await.is_ok(), "a waiter that left took no place with it");
    }

    #[tokio::test]
    async fn a_full_queue_turns_away_and_says_when_to_come_back() {
        let (queue, metrics) = queue(1, 0, Duration::from_secs(60));
        let _place = queue.admit().await.unwrap();
        let busy = queue.admit().await.unwrap_err();
        assert!(busy.retry_after >= RETRY.0 && busy.retry_after <= RETRY.1);
        assert_eq!(metrics.origin_turned_away.with_label_values(&["lms"]).get(), 1);
        queue.drain.lock().unwrap().gap = Duration::from_millis(3100);
        assert_eq!(queue.admit().await.unwrap_err().retry_after, Duration::from_secs(4));
        queue.drain.lock().unwrap().gap = Duration::from_secs(4000);
        assert_eq!(queue.admit().await.unwrap_err().retry_after, RETRY.1);
    }

    #[tokio::test]
    async fn a_wait_too_long_is_busy_and_leaves_nothing_behind() {
        let (queue, metrics) = queue(1, 5, Duration::from_millis(1));
        let place = queue.admit().await.unwrap();
        assert!(queue.admit().await.is_err());
        assert_eq!(metrics.origin_queued.with_label_values(&["lms"]).get(), 0);
        drop(place);
        assert!(queue.admit().await.is_ok());
    }
}
