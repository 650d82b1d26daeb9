//! What a run comes to: plain numbers from the generator's records and the LMS's counters, by phase and over time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use loadtest::content::package::Module;
use loadtest::{Kind, Load};
use serde::Serialize;

use super::plan::Part;
use super::play::{Fault, Record};
use super::run::{LARGEST, SAMPLES, Seen};
use super::scenario::Scenario;
use super::series::{Series, series};
use super::server::Which;

/// One server's run, as `summary.json` tells it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// By name; in the file they stand beside the fields below.
    #[serde(flatten)]
    pub(crate) phases: BTreeMap<String, Figure>,
    #[serde(flatten)]
    pub(crate) whole: Whole,
}

/// Of the run as a whole.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Whole {
    /// Commits that were put on a connection.
    pub(crate) commits_sent: u64,
    /// Those of them that the LMS counted.
    pub(crate) commits_counted: u64,
    /// Those answered with success.
    pub(crate) commits_answered: u64,
    /// Answered with success, and not counted.
    pub(crate) commits_lost: u64,
    /// Counted more than once.
    pub(crate) commits_doubled: u64,
    /// Learners' own pages that came twice, or to somebody else.
    pub(crate) private_stored: u64,
    /// Files of a package that somebody got who is not enrolled.
    pub(crate) let_in_wrongly: u64,
    /// Files older than a release that had been acknowledged before they were asked for.
    pub(crate) outdated: u64,
    /// Checks of one learner and course that came within the time for which a yes is kept.
    pub(crate) checks_early: u64,
    pub(crate) origin_in_flight_max: u64,
    /// Lectern's settings together: requests and checks.
    pub(crate) origin_in_flight_cap: Option<u64>,
    /// Of the bytes of packages and film that learners got, what the LMS did not send.
    pub(crate) offload_bytes: f64,
    /// Hits by Lectern's own count, and by the generator's.
    pub(crate) hits_by_metrics: Option<u64>,
    pub(crate) hits_by_answers: u64,
    /// All outcomes by Lectern's own count.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) outcomes: BTreeMap<String, u64>,
}

/// Of a phase.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figure {
    pub(crate) requests_per_s: f64,
    pub(crate) origin_fills_per_s: f64,
    pub(crate) origin_checks_per_s: f64,
    pub(crate) origin_revalidations_per_s: f64,
    pub(crate) origin_pages_per_s: f64,
    pub(crate) origin_commits_per_s: f64,
    /// Of what can be had without asking the LMS anything.
    pub(crate) hit_ratio: f64,
    /// Hits; of `none` all that could be hits.
    pub(crate) hit_p50_ms: f64,
    pub(crate) hit_p99_ms: f64,
    pub(crate) errors: u64,
    /// Of those: no connection was free, no end in time, broken connection, wrong status.
    pub(crate) unsent: u64,
    pub(crate) late: u64,
    pub(crate) broken: u64,
    pub(crate) wrong_status: u64,
    pub(crate) parts: BTreeMap<Part, OfPart>,
    /// How late the generator was, and how busy its core was with it.
    pub(crate) lag_p99_ms: f64,
    pub(crate) generator_busy: f64,
}

/// Of a phase and a kind of thing. Errors count with the time until they were known.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct OfPart {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// All that a report shows.
pub(crate) struct Found {
    pub(crate) which: Which,
    pub(crate) figures: Figures,
    pub(crate) series: Series,
}

pub(crate) fn figures(scenario: &Scenario, seen: &Seen) -> Found {
    let groups = grouped(scenario, seen, 1);
    let names = scenario.phases.iter().map(|phase| phase.name.clone());
    let figures = groups.iter().enumerate().map(|(n, records)| figure(scenario, seen, n, records));
    let phases = names.zip(figures).collect();
    let whole = whole(scenario, seen);
    Found { which: seen.which, figures: Figures { phases, whole }, series: series(scenario, seen) }
}

/// Records by planned start, `parts` groups for each phase.
pub(super) fn grouped<'a>(scenario: &Scenario, seen: &'a Seen, parts: u32) -> Vec<Vec<&'a Record>> {
    let count = scenario.phases.len() * parts as usize;
    let mut groups = vec![Vec::new(); count];
    let part = scenario.phase_seconds / f64::from(parts);
    for record in &seen.records {
        let n = (seen.plan[record.ask].at.as_secs_f64() / part) as usize;
        groups[n.min(count - 1)].push(record);
    }
    groups
}

fn figure(scenario: &Scenario, seen: &Seen, phase: usize, records: &[&Record]) -> Figure {
    let steps = SAMPLES as usize;
    let (before, after) = (&seen.samples[phase * steps], &seen.samples[(phase + 1) * steps]);
    let seconds = scenario.phase_seconds;
    let rate = |of: fn(&Load) -> u64| per_second(&before.load, &after.load, seconds, of);
    let mut figure = Figure {
        requests_per_s: records.len() as f64 / seconds,
        origin_fills_per_s: rate(Load::fills),
        origin_checks_per_s: rate(Load::checks),
        origin_revalidations_per_s: rate(Load::revalidations),
        origin_pages_per_s: rate(pages),
        origin_commits_per_s: rate(commits),
        hit_ratio: hit_ratio(seen, records),
        lag_p99_ms: percentile(records.iter().map(|record| record.lag), 0.99),
        generator_busy: (after.cpu.saturating_sub(before.cpu)).as_secs_f64() / seconds,
        ..Figure::default()
    };
    let hits = || {
        let counts = |record: &&&Record| {
            let could = seen.plan[record.ask].part.can_hit();
            could && (record.is_hit() || !seen.which.caches())
        };
        records.iter().filter(counts).map(|record| record.took)
    };
    figure.hit_p50_ms = percentile(hits(), 0.5);
    figure.hit_p99_ms = percentile(hits(), 0.99);
    for record in records.iter().filter(|record| record.is_error(&seen.plan[record.ask])) {
        figure.errors += 1;
        *match record.result {
            Err(Fault::Unsent) => &mut figure.unsent,
            Err(Fault::Late) => &mut figure.late,
            Err(Fault::Broken) => &mut figure.broken,
            Ok(_) => &mut figure.wrong_status,
        } += 1;
    }
    for (part, records) in by_part(seen, records) {
        let errors = records.iter().filter(|record| record.is_error(&seen.plan[record.ask])).count();
        let took = || records.iter().map(|record| record.took);
        let (p50_ms, p99_ms) = (percentile(took(), 0.5), percentile(took(), 0.99));
        let of_part = OfPart { requests: records.len() as u64, errors: errors as u64, p50_ms, p99_ms };
        figure.parts.insert(part, of_part);
    }
    figure
}

pub(super) fn by_part<'a>(seen: &Seen, records: &[&'a Record]) -> BTreeMap<Part, Vec<&'a Record>> {
    let mut parts: BTreeMap<Part, Vec<&Record>> = BTreeMap::new();
    for record in records {
        parts.entry(seen.plan[record.ask].part).or_default().push(record);
    }
    parts
}

pub(super) fn hit_ratio(seen: &Seen, records: &[&Record]) -> f64 {
    let could: Vec<_> = records.iter().filter(|record| seen.plan[record.ask].part.can_hit()).collect();
    share(could.iter().filter(|record| record.is_hit()).count() as u64, could.len() as u64)
}

pub(super) fn pages(load: &Load) -> u64 {
    load.of(Kind::Page).requests
}

pub(super) fn commits(load: &Load) -> u64 {
    load.of(Kind::Commit).requests
}

pub(super) fn per_second(before: &Load, after: &Load, seconds: f64, of: fn(&Load) -> u64) -> f64 {
    of(after).saturating_sub(of(before)) as f64 / seconds
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The nearest rank, in milliseconds; 0 of nothing.
pub(super) fn percentile(times: impl Iterator<Item = Duration>, share: f64) -> f64 {
    let mut times: Vec<_> = times.collect();
    if times.is_empty() {
        return 0.0;
    }
    let rank = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1;
    let (_, time, _) = times.select_nth_unstable(rank);
    time.as_secs_f64() * 1e3
}

fn whole(scenario: &Scenario, seen: &Seen) -> Whole {
    let mut whole = Whole {
        private_stored: private_stored(seen),
        outdated: outdated(seen),
        checks_early: seen.last.checks_early,
        origin_in_flight_max: seen.last.in_flight_max,
        origin_in_flight_cap: (seen.which == Which::Lectern)
            .then_some(scenario.edge.in_flight + scenario.edge.checks),
        offload_bytes: offload(seen),
        hits_by_metrics: hits_by_metrics(seen),
        outcomes: seen.outcomes.clone(),
        ..Whole::default()
    };
    for record in &seen.records {
        let ask = &seen.plan[record.ask];
        let success = record.result.is_ok_and(|answer| (200..300).contains(&answer.status));
        whole.hits_by_answers += u64::from(record.is_hit());
        whole.let_in_wrongly += u64::from(ask.part == Part::Outsider && success);
        if let Some(id) = ask.commit.as_deref() {
            let counted = seen.commits.get(id).copied().unwrap_or(0);
            whole.commits_sent += u64::from(record.result != Err(Fault::Unsent));
            whole.commits_counted += u64::from(counted > 0);
            whole.commits_answered += u64::from(success);
            whole.commits_lost += u64::from(success && counted == 0);
            whole.commits_doubled += u64::from(counted > 1);
        }
    }
    whole
}

fn hits_by_metrics(seen: &Seen) -> Option<u64> {
    let of = |word| seen.outcomes.get(word).copied().unwrap_or(0);
    (seen.which == Which::Lectern).then(|| of("hit") + of("stale"))
}

fn private_stored(seen: &Seen) -> u64 {
    let mut numbers = HashSet::new();
    let answers = seen.records.iter().filter_map(|record| record.result.ok());
    let wrong = answers.filter(|answer| {
        let again = answer.number.is_some_and(|number| !numbers.insert(number));
        again || answer.of_another
    });
    wrong.count() as u64
}

/// Of what the largest tenant's learners were sent of a module after it had been purged, what is older.
fn outdated(seen: &Seen) -> u64 {
    let mut since: HashMap<Module, Vec<(Duration, u32)>> = HashMap::new();
    for purged in &seen.purged {
        since.entry(purged.module).or_default().push((purged.at, purged.version));
    }
    let is_outdated = |record: &&Record| {
        let ask = &seen.plan[record.ask];
        let module = ask.path.split('/').nth(4).and_then(Module::named).filter(|_| ask.tenant == LARGEST);
        let version = record.result.ok().and_then(|answer| answer.version);
        module.zip(version).is_some_and(|(module, version)| {
            let purges = since.get(&module).into_iter().flatten();
            purges.filter(|(at, _)| *at <= record.sent).any(|(_, least)| version < *least)
        })
    };
    seen.records.iter().filter(is_outdated).count() as u64
}

fn offload(seen: &Seen) -> f64 {
    let heavy = seen.records.iter().filter(|record| seen.plan[record.ask].part.is_heavy());
    let got: u64 = heavy.filter_map(|record| Some(record.result.ok()?.bytes)).sum();
    let sent = seen.last.of(Kind::Package).bytes + seen.last.of(Kind::Film).bytes;
    if got == 0 { 0.0 } else { 1.0 - sent as f64 / got as f64 }
}

#[cfg(test)]
mod tests {
    use super::{figures, percentile};
    use crate::load::client::Answer;
    use crate::load::plan::{Ask, Part};
    use crate::load::play::{Fault, Record};
    use crate::load::run::{Purged, SAMPLES, Sample, Seen};
    use crate::load::scenario::Scenario;
    use crate::load::server::Which;
    use loadtest::content::package::Module;
    use loadtest::{Kind, Load, Share};
    use std::collections::{BTreeMap, HashMap};
    use std::sync::Arc;
    use std::time::Duration;

    const OK: Answer =
        Answer { status: 200, hit: false, bytes: 100, number: None, version: None, of_another: false };

    fn scenario() -> Scenario {
        Scenario::read(include_str!("../../scenario.toml")).unwrap()
    }

    fn ask(at: f64, part: Part, path: &str, commit: Option<&str>) -> Ask {
        let (at, commit) = (Duration::from_secs_f64(at), commit.map(Into::into));
        Ask { at, part, tenant: 0, learner: "learner-1".into(), path: path.into(), range: None, commit }
    }

    fn seen(which: Which, all: Vec<(Ask, Result<Answer, Fault>)>) -> Seen {
        let (plan, results): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let record = |(ask, (planned, result)): (usize, (&Ask, &Result<Answer, Fault>))| Record {
            ask,
            lag: Duration::ZERO,
            sent: planned.at,
            took: Duration::from_millis(10),
            result: *result,
        };
        let records = plan.iter().zip(&results).enumerate().map(record).collect();
        let sample = Sample { load: Load::default(), cpu: Duration::ZERO };
        Seen {
            which,
            plan: Arc::new(plan),
            records,
            samples: vec![sample; 3 * SAMPLES as usize + 1],
            last: Load::default(),
            purged: Vec::new(),
            commits: HashMap::new(),
            outcomes: BTreeMap::new(),
        }
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times = || (1..=100).map(Duration::from_millis);
        assert_eq!((percentile(times(), 0.5), percentile(times(), 0.99)), (50.0, 99.0));
        assert_eq!(percentile(times().take(1), 0.99), 1.0);
        assert_eq!(percentile([].into_iter(), 0.99), 0.0);
    }

    #[test]
    fn a_commit_is_lost_if_it_was_answered_and_not_counted_and_doubled_if_it_came_twice() {
        let commit = |id| ask(1.0, Part::Commit, "/track", Some(id));
        let mut seen = seen(
            Which::Lectern,
            vec![
                (commit("right"), Ok(OK)),
                (commit("lost"), Ok(OK)),
                (commit("doubled"), Ok(OK)),
                (commit("counted-without-answer"), Err(Fault::Late)),
                (commit("refused"), Ok(Answer { status: 503, ..OK })),
                (commit("unsent"), Err(Fault::Unsent)),
            ],
        );
        let counted = [("right", 1), ("doubled", 2), ("counted-without-answer", 1)];
        seen.commits = counted.map(|(id, count)| (id.to_owned(), count)).into();
        let whole = figures(&scenario(), &seen).figures.whole;
        assert_eq!((whole.commits_sent, whole.commits_counted, whole.commits_answered), (5, 3, 3));
        assert_eq!((whole.commits_lost, whole.commits_doubled), (1, 1));
    }

    #[test]
    fn a_page_that_comes_again_or_to_another_was_stored() {
        let page = |number, of_another| {
            let answer = Answer { number: Some(number), of_another, ..OK };
            (ask(1.0, Part::Page, "/course/1", None), Ok(answer))
        };
        let seen = seen(Which::Lectern, vec![page(1, false), page(2, false), page(1, false), page(3, true)]);
        assert_eq!(figures(&scenario(), &seen).figures.whole.private_stored, 2);
    }

    #[test]
    fn old_is_what_was_asked_for_after_the_purge_and_is_of_the_version_before() {
        let at = |seconds, version, path| {
            let path = format!("/course/1/package/{path}/index.html");
            (ask(seconds, Part::Launch, &path, None), Ok(Answer { version: Some(version), ..OK }))
        };
        let mut seen = seen(
            Which::Lectern,
            vec![
                at(9.0, 1, "fire-safety"),
                at(11.0, 1, "fire-safety"),
                at(12.0, 2, "fire-safety"),
                at(13.0, 1, "solar-system"),
            ],
        );
        let purged_at = Duration::from_secs(10);
        seen.purged = vec![Purged { at: purged_at, module: Module::FireSafety, version: 2 }];
        assert_eq!(figures(&scenario(), &seen).figures.whole.outdated, 1);
    }

    #[test]
    fn what_the_lms_counts_is_told_by_phase_and_bytes_by_what_it_did_not_send() {
        let hit = Answer { hit: true, bytes: 900, ..OK };
        let film = |at, answer| (ask(at, Part::Film, "/media/film.mp4", None), answer);
        let mut seen = seen(
            Which::Lectern,
            vec![film(1.0, Ok(hit)), film(61.0, Ok(OK)), film(62.0, Ok(hit)), film(63.0, Err(Fault::Broken))],
        );
        let film = Share { requests: 60, bytes: 190, ..Share::default() };
        let load = Load { by_kind: [(Kind::Film, film)].into(), in_flight_max: 7, ..Load::default() };
        seen.samples[2 * SAMPLES as usize..].iter_mut().for_each(|sample| sample.load = load.clone());
        seen.last = load;
        let found = figures(&scenario(), &seen);
        let phase = |name: &str| &found.figures.phases[name];
        let fills = ["normal", "x3", "x10"].map(|name| phase(name).origin_fills_per_s);
        assert_eq!(fills, [0.0, 1.0, 0.0]);
        assert_eq!(phase("normal").hit_ratio, 1.0);
        assert_eq!((phase("x3").errors, phase("x3").broken), (1, 1));
        assert!((phase("x3").hit_ratio - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!((phase("x3").hit_p99_ms, phase("x10").hit_p99_ms), (10.0, 0.0));
        let whole = &found.figures.whole;
        assert_eq!((whole.origin_in_flight_max, whole.origin_in_flight_cap), (7, Some(48)));
        assert!((whole.offload_bytes - 0.9).abs() < 1e-9, "{}", whole.offload_bytes);
        assert_eq!(found.series.fills.iter().sum::<f64>() * 60.0 / f64::from(SAMPLES), 60.0);
    }
}
