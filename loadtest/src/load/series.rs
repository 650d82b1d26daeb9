//! A run over time, for the plots.

use std::collections::BTreeMap;

use loadtest::Load;

use super::figures::{by_part, commits, grouped, hit_ratio, pages, per_second, percentile};
use super::plan::Part;
use super::play::{Fault, Record};
use super::run::{SAMPLES, Seen};
use super::scenario::Scenario;

/// Over time: one value for each part of a phase.
#[derive(Default)]
pub(crate) struct Series {
    /// Seconds at the end of each part.
    pub(crate) at: Vec<f64>,
    pub(crate) requests: Vec<f64>,
    pub(crate) errors: Vec<f64>,
    pub(crate) hit_ratio: Vec<f64>,
    pub(crate) fills: Vec<f64>,
    pub(crate) checks: Vec<f64>,
    pub(crate) pages: Vec<f64>,
    pub(crate) commits: Vec<f64>,
    pub(crate) commits_sent_so_far: Vec<f64>,
    pub(crate) commits_counted_so_far: Vec<f64>,
    pub(crate) p50: BTreeMap<Part, Vec<f64>>,
    pub(crate) p99: BTreeMap<Part, Vec<f64>>,
}

pub(super) fn series(scenario: &Scenario, seen: &Seen) -> Series {
    let seconds = scenario.phase_seconds / f64::from(SAMPLES);
    let mut series = Series::default();
    let mut sent = 0;
    for (n, records) in grouped(scenario, seen, SAMPLES).iter().enumerate() {
        let (before, after) = (&seen.samples[n].load, &seen.samples[n + 1].load);
        let rate = |of: fn(&Load) -> u64| per_second(before, after, seconds, of);
        let is_error = |record: &&&Record| record.is_error(&seen.plan[record.ask]);
        let is_sent =
            |record: &&&Record| seen.plan[record.ask].commit.is_some() && record.result != Err(Fault::Unsent);
        sent += records.iter().filter(is_sent).count();
        series.at.push((n + 1) as f64 * seconds);
        series.requests.push(records.len() as f64 / seconds);
        series.errors.push(records.iter().filter(is_error).count() as f64 / seconds);
        series.hit_ratio.push(hit_ratio(seen, records));
        series.fills.push(rate(Load::fills));
        series.checks.push(rate(Load::checks));
        series.pages.push(rate(pages));
        series.commits.push(rate(commits));
        series.commits_sent_so_far.push(sent as f64);
        series.commits_counted_so_far.push(commits(after) as f64);
        let parts = by_part(seen, records);
        for part in Part::ALL {
            let took = || parts.get(&part).into_iter().flatten().map(|record| record.took);
            series.p50.entry(part).or_default().push(percentile(took(), 0.5));
            series.p99.entry(part).or_default().push(percentile(took(), 0.99));
        }
    }
    series
}
