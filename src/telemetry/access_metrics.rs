//! What the access checks of a rule tell of themselves.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// The counters of one rule that asks the LMS, resolved when the configuration is built.
pub struct AccessMetrics {
    /// Checks to which the LMS said that the learner may have what is known.
    pub yes: IntCounter,
    /// Checks to which it said so with something new.
    pub new: IntCounter,
    /// Checks to which it said anything else.
    pub no: IntCounter,
    /// Checks to which it said nothing.
    pub failed: IntCounter,
    /// Requests that a kept yes let through.
    pub kept: IntCounter,
    /// Requests that a former yes let through because the LMS could not be asked.
    pub last: IntCounter,
}

impl AccessMetrics {
    pub(super) fn new(
        (site, rule): (&str, &str),
        checks: &IntCounterVec,
        kept: &IntCounterVec,
        last: &IntCounterVec,
    ) -> AccessMetrics {
        let result = |result| checks.with_label_values(&[site, rule, result]);
        AccessMetrics {
            yes: result("yes"),
            new: result("new"),
            no: result("no"),
            failed: result("failed"),
            kept: kept.with_label_values(&[site, rule]),
            last: last.with_label_values(&[site, rule]),
        }
    }
}

/// How a queue at an origin stands: handles, resolved once.
#[derive(Clone, Debug)]
pub struct QueueMetrics {
    /// Requests in flight.
    pub in_flight: IntGauge,
    /// Requests that wait for a place.
    pub queued: IntGauge,
    origin: String,
    turned_away: IntCounterVec,
}

impl QueueMetrics {
    pub(super) fn new(
        origin: &str,
        in_flight: &IntGaugeVec,
        queued: &IntGaugeVec,
        turned_away: &IntCounterVec,
    ) -> QueueMetrics {
        QueueMetrics {
            in_flight: in_flight.with_label_values(&[origin]),
            queued: queued.with_label_values(&[origin]),
            origin: origin.to_owned(),
            turned_away: turned_away.clone(),
        }
    }

    /// A request of `site` was turned away; `class` is one of our own words.
    pub fn turned_away(&self, site: &str, class: &'static str) {
        self.turned_away.with_label_values(&[self.origin.as_str(), site, class]).inc();
    }
}
