//! One run: the plan against one server and an LMS just started, what happens to them meanwhile, and what the LMS counts.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use loadtest::content::package::Module;
use loadtest::{Load, clock};
use tokio::time::sleep_until;

use super::client::Client;
use super::lms::SampleLms;
use super::plan::{Ask, everything, host};
use super::play::{Record, play, warm};
use super::process::own_cpu;
use super::scenario::{Event, Scenario, What};
use super::server::{Server, Which};

/// The tenant that things happen to: the largest.
pub(crate) const LARGEST: u32 = 0;
/// How many times in a phase the LMS is asked what it counted.
pub(crate) const SAMPLES: u32 = 30;

/// What the LMS had counted at an instant of the run, and what the generator's process had cost.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) load: Load,
    pub(crate) cpu: Duration,
}

/// A module was taken away: whoever asks from `at` on gets this version or a newer one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purged {
    pub(crate) at: Duration,
    pub(crate) module: Module,
    pub(crate) version: u32,
}

/// All that was seen.
pub(crate) struct Seen {
    pub(crate) which: Which,
    pub(crate) plan: Arc<Vec<Ask>>,
    pub(crate) records: Vec<Record>,
    /// At the run's begin, and after each part of a phase.
    pub(crate) samples: Vec<Sample>,
    /// After the last request had ended.
    pub(crate) last: Load,
    pub(crate) purged: Vec<Purged>,
    pub(crate) commits: HashMap<String, u32>,
    /// Lectern's own counts of this run, by outcome.
    pub(crate) outcomes: BTreeMap<String, u64>,
}

/// Runs one. `folder` is made, and holds what the programs say and store.
pub(crate) async fn run(
    which: Which,
    lectern: &Path,
    scenario: &Scenario,
    plan: &Arc<Vec<Ask>>,
    folder: PathBuf,
) -> Result<Seen, String> {
    // What a former run left behind is not to be found by this one.
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let folder = folder.canonicalize().map_err(|error| error.to_string())?;
    let lms = SampleLms::start(scenario, &folder).await?;
    let mut server = Server::start(which, lectern, scenario, &lms, &folder).await?;
    if which.caches() {
        warm(everything(scenario), &Client::new(server.address, 8)).await?;
    }
    lms.quiet().await?;
    lms.forget().await?;
    let seen = measured(which, scenario, plan, &lms, &server).await?;
    lms.keep_counters(&folder.join("lms-counters.json")).await?;
    let runs = server.runs();
    server.stop().await;
    lms.stop().await;
    if runs { Ok(seen) } else { Err(format!("{} ended during the run", which.name())) }
}

async fn measured(
    which: Which,
    scenario: &Scenario,
    plan: &Arc<Vec<Ask>>,
    lms: &SampleLms,
    server: &Server,
) -> Result<Seen, String> {
    let before = server.outcomes().await?;
    let client = Client::new(server.address, scenario.bounds.connections);
    // A moment, so that the first request is not late.
    let begin = clock::now() + Duration::from_millis(200);
    let (records, samples, purged) = tokio::join!(
        play(Arc::clone(plan), begin, client, scenario.bounds),
        sampled(scenario, lms, begin),
        happens(scenario, lms, server, begin),
    );
    let (samples, purged) = (samples?, purged?);
    let last = lms.quiet().await?;
    let mut outcomes = server.outcomes().await?;
    outcomes.iter_mut().for_each(|(word, count)| *count -= before.get(word).copied().unwrap_or(0));
    let commits = lms.commits().await?;
    Ok(Seen { which, plan: Arc::clone(plan), records, samples, last, purged, commits, outcomes })
}

async fn sampled(scenario: &Scenario, lms: &SampleLms, begin: Instant) -> Result<Vec<Sample>, String> {
    let step = scenario.begin_of(1) / SAMPLES;
    let mut samples = Vec::new();
    for n in 0..=SAMPLES * scenario.phases.len() as u32 {
        sleep_until((begin + step * n).into()).await;
        samples.push(Sample { load: lms.load().await?, cpu: own_cpu() });
    }
    Ok(samples)
}

/// What the scenario has happen, one after the other.
async fn happens(
    scenario: &Scenario,
    lms: &SampleLms,
    server: &Server,
    begin: Instant,
) -> Result<Vec<Purged>, String> {
    let of = |event| scenario.times_of(event).map(move |at| (at, event));
    let mut events: Vec<(Duration, &Event)> = scenario.events.iter().flat_map(of).collect();
    events.sort_by_key(|(at, _)| *at);
    let (mut purged, mut versions) = (Vec::new(), HashMap::new());
    for (at, event) in events {
        sleep_until((begin + at).into()).await;
        let module = event.module.as_deref().and_then(Module::named);
        match (event.what, module) {
            (What::FrontDies, _) => lms.set_last_front(false).await?,
            (What::FrontIsBack, _) => lms.set_last_front(true).await?,
            (what, Some(module)) => {
                let version = versions.entry(module).or_insert(1);
                if what == What::Release {
                    *version += 1;
                    lms.publish(&format!("{}/{}", host(LARGEST), module.name()), *version).await?;
                }
                server.purge(LARGEST, module).await?;
                purged.push(Purged { at: clock::now() - begin, module, version: *version });
            }
            (_, None) => {}
        }
    }
    Ok(purged)
}
