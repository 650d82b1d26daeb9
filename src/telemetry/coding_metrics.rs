//! What the coders tell of themselves.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

/// The metrics of coded variants. Cheap to clone.
#[derive(Clone)]
pub struct CodingMetrics {
    made: IntCounterVec,
    not_made: IntCounterVec,
    on_the_way: IntCounterVec,
    /// Variants that wait to be made, and those that are.
    pub queue: IntGauge,
    /// Bytes of stored bodies that were taken on.
    pub source_bytes: IntCounter,
    /// Bytes that were not sent, as a variant was shorter.
    pub saved_bytes: IntCounter,
}

/// Why a variant was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCoded {
    /// Too many wait already.
    QueueFull,
    /// What it was to be made of was purged or replaced meanwhile.
    Outdated,
    /// Not all bytes of that are there.
    SourceMissing,
    /// It is not in the coding that its head says.
    BadCoding,
    /// It would not be shorter.
    NotShorter,
    /// Decoded it is too long.
    TooLong,
    /// Too many answers are coded while they are sent.
    NoRoom,
}

impl NotCoded {
    const fn as_str(self) -> &'static str {
        match self {
            NotCoded::QueueFull => "queue_full",
            NotCoded::Outdated => "outdated",
            NotCoded::SourceMissing => "source_missing",
            NotCoded::BadCoding => "bad_coding",
            NotCoded::NotShorter => "not_shorter",
            NotCoded::TooLong => "too_long",
            NotCoded::NoRoom => "no_room",
        }
    }
}

impl CodingMetrics {
    /// Makes them, by the functions that make and register metrics of a name, a help text and labels.
    pub(super) fn new(
        counter: impl Fn(&str, &str) -> IntCounter,
        gauge: impl Fn(&str, &str) -> IntGauge,
        counters: impl Fn(&str, &str, &[&str]) -> IntCounterVec,
    ) -> CodingMetrics {
        CodingMetrics {
            made: counters(
                "lectern_coding_variants_total",
                "Coded variants made, by coding and effort: fast when first asked for, best for what is asked for often.",
                &["coding", "effort"],
            ),
            not_made: counters(
                "lectern_coding_not_made_total",
                "Coded variants not made, by reason. queue_full: the budget is too small; bad_coding: an origin lies; no_room: too many are coded while they are sent.",
                &["reason"],
            ),
            on_the_way: counters(
                "lectern_coding_on_the_way_total",
                "Answers coded or decoded while they were sent, by the coding sent: the client took no other.",
                &["coding"],
            ),
            queue: gauge(
                "lectern_coding_queue",
                "Coded variants that wait to be made or are being made. Always at 256, the budget is too small.",
            ),
            source_bytes: counter(
                "lectern_coding_source_bytes_total",
                "Bytes of stored bodies that coders took on. At coding.budget a second the others wait.",
            ),
            saved_bytes: counter(
                "lectern_coding_saved_bytes_total",
                "Bytes that need not be sent, as a variant that the edge made is shorter than what is stored.",
            ),
        }
    }

    /// A variant was made.
    pub fn made(&self, coding: &str, effort: &str) {
        self.made.with_label_values(&[coding, effort]).inc();
    }

    /// A variant was not made.
    pub fn not_made(&self, why: NotCoded) {
        self.not_made.with_label_values(&[why.as_str()]).inc();
    }

    /// An answer is coded or decoded while it is sent.
    pub fn on_the_way(&self, coding: &str) {
        self.on_the_way.with_label_values(&[coding]).inc();
    }
}
