//! What is told of each front of an origin. A name may get other addresses with time: the series of a front that is gone goes with it.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How one front stands: handles, resolved once.
#[derive(Debug)]
pub struct FrontMetrics {
    /// 1 while it gets requests.
    pub up: IntGauge,
    /// Requests in flight to it.
    pub in_flight: IntGauge,
    labels: [String; 2],
    family: Arc<FrontFamily>,
}

/// The fronts of one origin.
#[derive(Clone, Debug)]
pub struct FrontSeries {
    pub(super) family: Arc<FrontFamily>,
    pub(super) origin: String,
}

impl FrontSeries {
    /// The front at `address`.
    pub fn of(&self, address: SocketAddr) -> Arc<FrontMetrics> {
        Arc::new(FrontMetrics::new(&self.family, &self.origin, address))
    }
}

/// The metrics of all fronts.
#[derive(Debug)]
pub(super) struct FrontFamily {
    pub(super) up: IntGaugeVec,
    pub(super) in_flight: IntGaugeVec,
    pub(super) went_out: IntCounterVec,
    /// How many hold the series: two, while a reload replaces an origin.
    pub(super) held: Mutex<HashMap<[String; 2], usize>>,
}

/// What is told of an origin's second tries.
#[derive(Clone, Debug)]
pub struct RetryMetrics {
    /// Made.
    pub made: IntCounter,
    /// Not made, as too many were of late.
    pub over_budget: IntCounter,
}

impl RetryMetrics {
    pub(super) fn new(origin: &str, retries: &IntCounterVec) -> RetryMetrics {
        let result = |result| retries.with_label_values(&[origin, result]);
        RetryMetrics { made: result("made"), over_budget: result("over_budget") }
    }
}

impl FrontFamily {
    fn held(&self) -> MutexGuard<'_, HashMap<[String; 2], usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FrontMetrics {
    fn new(family: &Arc<FrontFamily>, origin: &str, address: SocketAddr) -> FrontMetrics {
        let labels = [origin.to_owned(), address.to_string()];
        let mut held = family.held();
        *held.entry(labels.clone()).or_default() += 1;
        let up = family.up.with_label_values(&labels);
        let in_flight = family.in_flight.with_label_values(&labels);
        drop(held);
        FrontMetrics { up, in_flight, labels, family: family.clone() }
    }

    /// It gets no more requests, for a reason that is one of our own words.
    pub fn went_out(&self, reason: &'static str) {
        self.family.went_out.with_label_values(&[self.labels[0].as_str(), reason]).inc();
    }
}

impl Drop for FrontMetrics {
    fn drop(&mut self) {
        let mut held = self.family.held();
        let left = held.get_mut(&self.labels).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            held.remove(&self.labels);
            // Gone already only if nobody ever held it.
            _ = self.family.up.remove_label_values(&self.labels);
            _ = self.family.in_flight.remove_label_values(&self.labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Metrics;

    #[test]
    fn the_series_of_a_front_goes_with_the_last_who_holds_it() {
        let metrics = Metrics::new();
        let address = "192.0.2.1:80".parse().unwrap();
        let front = metrics.fronts("lms").of(address);
        let again = metrics.fronts("lms").of(address);
        front.up.set(1);
        again.went_out("check");
        let series = "lectern_origin_front_up{front=\"192.0.2.1:80\",origin=\"lms\"} 1";
        drop(front);
        assert!(metrics.render().contains(series));
        drop(again);
        assert!(!metrics.render().contains("192.0.2.1"), "{}", metrics.render());
        assert!(metrics.render().contains("lectern_origin_fronts_out_total"));
    }
}
