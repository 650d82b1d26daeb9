//! What must hold of Lectern's run, and what is aimed at. The first is not a matter of speed: where it does not hold, the run has failed.

use serde::Serialize;

use super::figures::{Figures, Found};
use super::plan::module_files;
use super::run::{LARGEST, Purged};
use super::scenario::Scenario;
use super::server::Which;

/// More fills than there are things to fetch, as a share: fetches that a dying front cut.
const MORE: f64 = 1.05;

/// A sentence with whether it holds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) what: &'static str,
    pub(crate) found: String,
    pub(crate) holds: bool,
}

/// What must hold.
pub(crate) fn invariants(scenario: &Scenario, lectern: &Figures, purged: &[Purged]) -> Vec<Verdict> {
    let whole = &lectern.whole;
    let none = |what, count: u64| Verdict { what, found: count.to_string(), holds: count == 0 };
    let cap = whole.origin_in_flight_cap.unwrap_or(0);
    // A file that nobody asked for in the phase of its purge is fetched in a later one.
    let (mut fills, mut things, mut so_far) = (0.0, 0, Vec::new());
    for (n, phase) in scenario.phases.iter().enumerate() {
        let of_phase = purged.iter().filter(|purged| scenario.phase_at(purged.at) == n);
        things += of_phase.map(|purged| module_files(LARGEST, purged.module).len()).sum::<usize>();
        let figure = lectern.phases.get(&phase.name);
        fills += figure.map_or(0.0, |figure| figure.origin_fills_per_s * scenario.phase_seconds);
        so_far.push((fills, things as f64));
    }
    let mut invariants = vec![
        none("commits answered with success that the LMS did not count", whole.commits_lost),
        none("commits that the LMS counted twice", whole.commits_doubled),
        none("private pages that were stored", whole.private_stored),
        none("files given to learners who are not enrolled", whole.let_in_wrongly),
        none("files older than an acknowledged release", whole.outdated),
        none("access checks within the time for which a yes is kept", whole.checks_early),
        Verdict {
            what: "requests in flight at the LMS at most as many as are allowed",
            found: format!("{} of {cap}", whole.origin_in_flight_max),
            holds: whole.origin_in_flight_max <= cap,
        },
        Verdict {
            what: "fills so far, at the end of each phase, at most one for each file that was purged so far, and 5 %",
            found: so_far
                .iter()
                .map(|(fills, things)| format!("{fills:.0} of {things}"))
                .collect::<Vec<_>>()
                .join(", "),
            holds: so_far.iter().all(|(fills, things)| *fills <= (things * MORE).ceil()),
        },
    ];
    let errors: u64 = lectern.phases.values().map(|figure| figure.errors).sum();
    if let Some(by_metrics) = whole.hits_by_metrics {
        invariants.push(Verdict {
            what: "hits by Lectern's metrics and by its answers differ by no more than there were errors",
            found: format!("{by_metrics} and {}", whole.hits_by_answers),
            holds: by_metrics.abs_diff(whole.hits_by_answers) <= errors,
        });
    }
    invariants
}

/// What is aimed at: of phases of a minute, within which what was purged is asked for again also at normal load, and on a quiet machine.
pub(crate) fn targets(scenario: &Scenario, results: &[Found]) -> Vec<Verdict> {
    let of = |which| results.iter().find(|result| result.which == which).map(|result| &result.figures);
    let Some(lectern) = of(Which::Lectern) else { return Vec::new() };
    let (Some(first), Some(last)) = (scenario.phases.first(), scenario.phases.last()) else {
        return Vec::new();
    };
    let (Some(normal), Some(spike)) = (lectern.phases.get(&first.name), lectern.phases.get(&last.name))
    else {
        return Vec::new();
    };
    let at_most = |what, found: f64, bound: f64| Verdict {
        what,
        found: format!("{found:.2}, at most {bound:.2}"),
        holds: found <= bound,
    };
    let offload = lectern.whole.offload_bytes;
    let mut targets = vec![
        at_most(
            "fills a second in the spike at most 5 % above normal load",
            spike.origin_fills_per_s,
            normal.origin_fills_per_s * 1.05,
        ),
        Verdict {
            what: "bytes of packages and film that the LMS did not send above 98 %",
            found: format!("{:.2} %", offload * 100.0),
            holds: offload > 0.98,
        },
    ];
    if let Some(nginx) = of(Which::Nginx).and_then(|nginx| nginx.phases.get(&last.name)) {
        targets.push(at_most(
            "99th percentile of hits in the spike at most half of nginx's, ms",
            spike.hit_p99_ms,
            nginx.hit_p99_ms / 2.0,
        ));
        targets.push(at_most(
            "errors in the spike at most half of nginx's",
            spike.errors as f64,
            nginx.errors as f64 / 2.0,
        ));
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::{invariants, targets};
    use crate::load::figures::{Figure, Figures, Found, Whole};
    use crate::load::run::Purged;
    use crate::load::scenario::Scenario;
    use crate::load::series::Series;
    use crate::load::server::Which;
    use loadtest::content::package::Module;
    use std::time::Duration;

    fn scenario() -> Scenario {
        Scenario::read(include_str!("../../scenario.toml")).unwrap()
    }

    fn figures(fills: [f64; 3]) -> Figures {
        let names = ["normal", "x3", "x10"].map(str::to_owned);
        let figure = |fills| Figure { origin_fills_per_s: fills, ..Figure::default() };
        let whole = Whole { origin_in_flight_cap: Some(48), offload_bytes: 0.99, ..Whole::default() };
        Figures { phases: names.into_iter().zip(fills.map(figure)).collect(), whole }
    }

    fn purged() -> Vec<Purged> {
        let of = |minute: u64| Purged {
            at: Duration::from_secs(60 * minute + 20),
            module: Module::FireSafety,
            version: 2,
        };
        (0..3).map(of).collect()
    }

    #[test]
    fn each_invariant_can_be_broken() {
        let files = Module::FireSafety.files().len() as f64;
        let broken = |change: fn(&mut Whole)| {
            let mut figures = figures([files / 60.0; 3]);
            change(&mut figures.whole);
            let verdicts = invariants(&scenario(), &figures, &purged());
            verdicts.iter().filter(|verdict| !verdict.holds).count()
        };
        assert_eq!(broken(|_| ()), 0);
        let changes: [fn(&mut Whole); 8] = [
            |whole| whole.commits_lost = 1,
            |whole| whole.commits_doubled = 1,
            |whole| whole.private_stored = 1,
            |whole| whole.let_in_wrongly = 1,
            |whole| whole.outdated = 1,
            |whole| whole.checks_early = 1,
            |whole| whole.origin_in_flight_max = 49,
            |whole| whole.hits_by_metrics = Some(1),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            assert_eq!(broken(change), 1, "change {n}");
        }
        let late = figures([0.0, 0.0, 3.0 * files / 60.0]);
        assert!(invariants(&scenario(), &late, &purged()).iter().all(|verdict| verdict.holds));
        let more = figures([0.0, files * 2.2 / 60.0, 0.0]);
        let verdicts = invariants(&scenario(), &more, &purged());
        assert_eq!(verdicts.iter().filter(|verdict| !verdict.holds).count(), 1, "{verdicts:?}");
    }

    #[test]
    fn targets_compare_the_spike_with_normal_load_and_with_nginx() {
        let result = |which, fills, p99, errors| {
            let mut figures = figures(fills);
            if let Some(figure) = figures.phases.get_mut("x10") {
                (figure.hit_p99_ms, figure.errors) = (p99, errors);
            }
            Found { which, figures, series: Series::default() }
        };
        let missed = |lectern, nginx| {
            let verdicts = targets(&scenario(), &[lectern, nginx]);
            verdicts.iter().filter(|verdict| !verdict.holds).count()
        };
        let nginx = || result(Which::Nginx, [9.0; 3], 10.0, 8);
        assert_eq!(missed(result(Which::Lectern, [1.0, 1.0, 1.04], 5.0, 4), nginx()), 0);
        assert_eq!(missed(result(Which::Lectern, [1.0, 1.0, 1.06], 5.1, 5), nginx()), 3);
    }
}
