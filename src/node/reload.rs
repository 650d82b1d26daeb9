//! Reload: load, check, build, swap. An error keeps what runs; a swap touches no transfer.

use super::Node;
use crate::{
    config::{self, Config},
    control::{ReloadRefused, ReloadSummary},
    ledger::Ledger,
    listener::{Certificates, PairProblem, Problem},
    origin::Origin,
    site::{Sites, Switches},
    telemetry::Metrics,
};
use anyhow::Context;
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, atomic::Ordering},
};

/// The origins a configuration names. One whose settings did not change is kept, and its connections with it.
pub(super) fn origins(
    config: &Config,
    old: &HashMap<String, Arc<Origin>>,
    metrics: &Metrics,
) -> anyhow::Result<HashMap<String, Arc<Origin>>> {
    let mut origins = HashMap::with_capacity(config.origins.len());
    for settings in &config.origins {
        let name = &settings.name;
        let origin = match old.get(name).filter(|old| old.settings() == settings) {
            Some(same) => same.clone(),
            None => Origin::new(settings.clone(), metrics)
                .with_context(|| format!("origin {name} cannot be set up"))?,
        };
        origins.insert(name.clone(), origin);
    }
    Ok(origins)
}

/// The sites a configuration names.
pub(super) fn sites(
    config: &Config,
    origins: &HashMap<String, Arc<Origin>>,
    ledger: &Ledger,
    switches: &Switches,
    metrics: &Metrics,
) -> anyhow::Result<Sites> {
    let (default, origin, marks, switch) = (
        config.default_site.as_deref(),
        |name: &str| origins.get(name).cloned(),
        |site: &str| ledger.marks(site),
        |site: &str| switches.of(site),
    );
    Sites::build(&config.sites, default, metrics, origin, marks, switch).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        anyhow::Error::msg(lines.join("; "))
    })
}

/// Logs what is wrong with a listener's certificates, and counts them.
pub(super) fn tell(listener: &str, store: &Certificates, problems: &[PairProblem], metrics: &Metrics) {
    for problem in problems {
        tracing::error!(listener, "{problem}");
    }
    let expired = problems.iter().filter(|problem| problem.problem == Problem::Expired).count();
    for (state, count) in
        [("serving", store.serving()), ("broken", problems.len() - expired), ("expired", expired)]
    {
        metrics.certificates.with_label_values(&[listener, state]).set(count as i64);
    }
}

impl Node {
    /// Reloads the configuration.
    ///
    /// # Errors
    /// The whole report, as `lectern check` prints it, or that a new process takes over; nothing was changed then.
    pub(super) async fn reload(self: Arc<Self>) -> Result<ReloadSummary, ReloadRefused> {
        if self.handing_over.load(Ordering::SeqCst) {
            tracing::warn!("not reloaded: a new process is taking over; reload again when it serves");
            return Err(ReloadRefused::Upgrading);
        }
        let node = self.clone();
        let done = tokio::task::spawn_blocking(move || node.load_and_swap()).await;
        let result = done.unwrap_or_else(|_| Err("the reload broke off".to_owned()));
        let word = if result.is_ok() { "applied" } else { "refused" };
        self.metrics.reloads.with_label_values(&[word]).inc();
        match &result {
            Ok(ReloadSummary { sites, rules, restart_needed }) => {
                tracing::info!(sites, rules, ?restart_needed, "the configuration was reloaded");
            }
            Err(report) => tracing::error!("the configuration was not reloaded, what runs goes on: {report}"),
        }
        result.map_err(ReloadRefused::Wrong)
    }

    fn load_and_swap(&self) -> Result<ReloadSummary, String> {
        let mut running = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let config = config::load(&self.file).map_err(|report| report.to_string())?;
        let parts = self.edge.parts();
        let text = |error: anyhow::Error| format!("{error:#}");
        let origins = origins(&config, &self.origins.load(), &self.metrics).map_err(text)?;
        let sites = sites(&config, &origins, &parts.ledger, &self.switches, &self.metrics).map_err(text)?;
        let control = &config.control;
        self.tokens.reload(control.tokens.as_deref(), control.rate).map_err(|error| error.to_string())?;
        for (listener, store) in &self.certificates {
            // A broken pair keeps its old content; it is told and stops nothing else.
            match store.reload() {
                Ok(problems) => tell(listener, store, &problems, &self.metrics),
                Err(error) => tracing::error!(listener, "certificates were not reloaded: {error}"),
            }
        }
        parts.accounts.log.reopen();
        parts.sites.store(Arc::new(sites));
        self.origins.store(Arc::new(origins));
        let summary = ReloadSummary {
            sites: config.sites.len(),
            rules: config.sites.iter().map(|site| site.rules.len()).sum(),
            restart_needed: restart_needed(&self.began, &config),
        };
        *running = config;
        Ok(summary)
    }
}

/// What only a restart takes and `new` has otherwise than the node began with.
fn restart_needed(began: &Config, new: &Config) -> Vec<String> {
    let changed = [
        ("control.address", began.control.address != new.control.address),
        ("control.whole_purge_pause", began.control.whole_purge_pause != new.control.whole_purge_pause),
        ("control.shapes", began.control.shapes != new.control.shapes),
        ("control.tls", began.control_tls != new.control_tls),
        ("cache", began.cache != new.cache),
        ("disk", began.disk != new.disk),
        ("ledger", began.ledger != new.ledger),
        ("log", began.log != new.log),
        ("node.threads", began.node.threads != new.node.threads),
        ("node.error_log", began.node.error_log != new.node.error_log),
        ("node.error_log_format", began.node.error_log_format != new.node.error_log_format),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name.to_owned());
    let without = |of: &Config, other: &Config| -> Vec<_> {
        of.listeners.iter().filter(|l| !other.listeners.contains(l)).cloned().collect()
    };
    let names = without(new, began).into_iter().chain(without(began, new)).map(|listener| listener.name);
    let names = names.collect::<std::collections::BTreeSet<_>>();
    names.into_iter().map(|name| format!("listener {name}")).chain(changed).collect()
}
