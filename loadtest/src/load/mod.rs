//! The load test: one plan, played in turn against Lectern, nginx and no cache, each before an LMS just started.
//!
//! ```text
//! scenario ── plan ── play ──────► server ──► sample LMS
//!                      │     run: samples, purges, a front dies
//!                      └─ records ── figures ── judge ── report, summary.json
//! ```

mod client;
mod figures;
mod judge;
mod lms;
mod plan;
mod play;
mod plot;
mod process;
mod report;
mod run;
mod scenario;
mod series;
mod server;
pub(crate) mod units;
mod wait;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use figures::Found;
use judge::Verdict;
use run::Seen;
use scenario::Scenario;
use server::Which;

/// What can be said on the command line.
#[derive(clap::Args)]
pub(crate) struct Load {
    /// What happens.
    #[arg(long, default_value = "loadtest/scenario.toml")]
    scenario: PathBuf,
    /// The program that is measured.
    #[arg(long)]
    lectern: PathBuf,
    /// Length of a phase.
    #[arg(long)]
    seconds: Option<f64>,
    /// The scenario's small case, judged by what must hold alone.
    #[arg(long)]
    smoke: bool,
    /// Which of lectern, nginx, none; all if nothing is said.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the results go.
    #[arg(long, default_value = "target/load")]
    out: PathBuf,
}

impl Load {
    /// Runs all; the answer is whether everything holds that must.
    pub(crate) fn run(self) -> Result<bool, String> {
        process::stay_on_own_core().map_err(|error| format!("core: {error}"))?;
        let scenario = self.read()?;
        let which = self.which()?;
        std::fs::create_dir_all(&self.out).map_err(|error| format!("{}: {error}", self.out.display()))?;
        // One thread: what is measured has the other core, and threads would only wait for each other here.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let seen = runtime.block_on(async {
            tokio::select! {
                seen = self.all(&scenario, &which) => seen,
                // What was started ends as it is dropped.
                end = tokio::signal::ctrl_c() => Err(end.map_or_else(|error| error.to_string(), |()| "interrupted".to_owned())),
            }
        })?;
        self.tell(&scenario, &seen)
    }

    fn read(&self) -> Result<Scenario, String> {
        let name = self.scenario.display();
        let text = std::fs::read_to_string(&self.scenario).map_err(|error| format!("{name}: {error}"))?;
        let mut scenario = Scenario::read(&text).map_err(|error| format!("{name}: {error}"))?;
        if self.smoke {
            scenario = scenario.small()?;
        }
        match self.seconds {
            Some(seconds) => scenario.lasting(seconds),
            None => Ok(scenario),
        }
    }

    fn which(&self) -> Result<Vec<Which>, String> {
        let named = |name: &String| {
            let which = Which::ALL.into_iter().find(|which| which.name() == name);
            which.ok_or(format!("--only: '{name}' is none of lectern, nginx, none"))
        };
        if self.only.is_empty() { Ok(Which::ALL.to_vec()) } else { self.only.iter().map(named).collect() }
    }

    async fn all(&self, scenario: &Scenario, which: &[Which]) -> Result<Vec<Seen>, String> {
        let lectern = self.lectern.canonicalize();
        let lectern = lectern.map_err(|error| format!("{}: {error}", self.lectern.display()))?;
        let plan = Arc::new(plan::plan(scenario));
        let mut all = Vec::new();
        for which in which {
            let line = format!(
                "{}: {} requests in {:.0} s, after a warm-up\n",
                which.name(),
                plan.len(),
                scenario.length().as_secs_f64()
            );
            say(&line)?;
            all.push(run::run(*which, &lectern, scenario, &plan, self.out.join(which.name())).await?);
        }
        Ok(all)
    }

    fn tell(&self, scenario: &Scenario, seen: &[Seen]) -> Result<bool, String> {
        let results: Vec<_> = seen.iter().map(|seen| figures::figures(scenario, seen)).collect();
        let purged = seen.iter().find(|seen| seen.which == Which::Lectern).map(|seen| &seen.purged);
        let lectern = results.iter().find(|result| result.which == Which::Lectern);
        let verdicts = lectern
            .zip(purged)
            .map(|(lectern, purged)| judge::invariants(scenario, &lectern.figures, purged));
        let verdicts = verdicts.unwrap_or_default();
        let targets = if self.smoke { Vec::new() } else { judge::targets(scenario, &results) };
        write(
            &self.out,
            "summary.json",
            &format!("{:#}\n", summary(scenario, &results, &verdicts, &targets)),
        )?;
        write(&self.out, "report.html", &report::page(scenario, &results, &verdicts, &targets)?)?;
        say(&report::table(scenario, &results))?;
        say(&report::sentences(&verdicts, "holds", "BROKEN"))?;
        say(&report::sentences(&targets, "met", "missed"))?;
        say(&format!("{0}/summary.json  {0}/report.html\n", self.out.display()))?;
        Ok(verdicts.iter().all(|verdict| verdict.holds))
    }
}

/// Each server's figures under its name; what the issue promises of Lectern stands beside them too.
fn summary(scenario: &Scenario, results: &[Found], verdicts: &[Verdict], targets: &[Verdict]) -> Value {
    let mut summary = json!({
        "seconds": scenario.phase_seconds,
        "seed": scenario.seed,
        "tenants": scenario.tenants,
        "must_hold": verdicts,
        "aimed_at": targets,
    });
    for result in results {
        summary[result.which.name()] = json!(result.figures);
    }
    let promised = [
        "commits_sent",
        "commits_counted",
        "private_stored",
        "origin_in_flight_max",
        "origin_in_flight_cap",
        "offload_bytes",
    ];
    for name in promised {
        if let Some(value) = summary["lectern"].get(name).cloned() {
            summary[name] = value;
        }
    }
    summary
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn say(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::figures::{Figure, Figures, Found, Whole};
    use super::scenario::Scenario;
    use super::series::Series;
    use super::server::Which;
    use super::{report, summary};

    fn results() -> Vec<Found> {
        let phases = || ["normal", "x3", "x10"].map(|name| (name.to_owned(), Figure::default()));
        let result = |which| {
            let origin_in_flight_cap = (which == Which::Lectern).then_some(48);
            let whole =
                Whole { commits_sent: 3, commits_counted: 3, origin_in_flight_cap, ..Whole::default() };
            let series = Series { at: vec![1.0, 2.0], requests: vec![5.0, 7.0], ..Series::default() };
            Found { which, figures: Figures { phases: phases().into(), whole }, series }
        };
        Which::ALL.map(result).into()
    }

    fn scenario() -> Scenario {
        Scenario::read(include_str!("../../scenario.toml")).unwrap()
    }

    #[test]
    fn the_summary_has_the_fields_that_others_read() {
        let summary = summary(&scenario(), &results(), &[], &[]);
        for which in ["lectern", "nginx", "none"] {
            for phase in ["normal", "x3", "x10"] {
                for field in ["origin_fills_per_s", "origin_checks_per_s", "hit_p99_ms", "errors"] {
                    assert!(summary[which][phase][field].is_number(), "{which} {phase} {field}");
                }
            }
        }
        for of in [&summary, &summary["lectern"]] {
            assert_eq!((&of["commits_sent"], &of["commits_counted"]), (&3.into(), &3.into()));
            assert_eq!(of["origin_in_flight_cap"], 48);
            for field in ["private_stored", "origin_in_flight_max", "offload_bytes"] {
                assert!(of[field].is_number(), "{field}");
            }
        }
    }

    #[test]
    fn the_report_needs_nothing_from_elsewhere() {
        let page = report::page(&scenario(), &results(), &[], &[]).unwrap();
        assert_eq!(page.matches("<svg").count(), 5 + 3 * 4);
        for outside in ["src=", "href=", "<script", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
