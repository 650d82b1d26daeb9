//! Assembly: from a checked configuration to a running node. The only part that names every other.
//!
//! Pingora runs the process: each listener has one service per thread, each with a runtime of its own. A service named
//! `node` does what belongs to nobody's request: signals, upkeep, the end.

mod control;
mod reload;
mod stop;

use crate::{
    cache::Memory,
    config::Config,
    control::{Api, Control, Tokens},
    edge::{Edge, Parts},
    fill::Fills,
    ledger::Ledger,
    listener::{Accepting, Certificates, Connections, Listener, ListenerSettings, raise_descriptor_limit},
    origin::Origin,
    response::Accounts,
    telemetry::{AccessLog, Metrics},
};
use anyhow::Context;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::{
    server::{
        ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
        configuration::ServerConf,
    },
    services::Service,
};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Descriptors beside those of clients and origins: files, the runtime's own.
const SPARE_DESCRIPTORS: u64 = 1024;
/// Exit code where what the node needs cannot be had, as in `sysexits.h`.
const UNAVAILABLE: i32 = 69;
/// How often the memory tier applies what it put off and the gauges are told.
const UPKEEP: Duration = Duration::from_secs(1);

/// Everything that lives as long as the process.
struct Node {
    /// Where the configuration is read from again.
    file: PathBuf,
    /// What the node began with: what only a restart takes is still so.
    began: Config,
    /// What was taken last. Held for the whole of a reload: one at a time.
    config: Mutex<Config>,
    origins: ArcSwap<HashMap<String, Arc<Origin>>>,
    edge: Edge,
    metrics: Arc<Metrics>,
    tokens: Arc<Tokens>,
    /// With the names of their listeners.
    certificates: Vec<(String, Arc<Certificates>)>,
    connections: Arc<Connections>,
    /// It is going to stop: `/readyz` says no.
    stopping: AtomicBool,
    /// Turns true when accepting ends.
    stop: watch::Sender<bool>,
}

/// Runs a node until it is told to stop; then ends the process.
///
/// # Errors
/// What the configuration names cannot be had: the ledger, a file, a certificate.
pub fn run(file: PathBuf, config: Config) -> anyhow::Result<()> {
    let clients = config.listeners.iter().map(|listener| listener.limits.connections as u64).sum::<u64>();
    let origins = config.origins.iter().map(|origin| 2 * origin.in_flight as u64).sum::<u64>();
    if let Err(line) = raise_descriptor_limit(clients + origins + SPARE_DESCRIPTORS) {
        tracing::warn!("{line}");
    }
    let metrics = Metrics::new();
    let ledger = Ledger::open(&config.ledger, &metrics).context("the ledger cannot be opened")?;
    let memory = Memory::new(config.cache.memory, metrics.clone());
    let fills = Fills::new(memory.clone(), ledger.clone(), metrics.clone(), config.cache.clone());
    let log = AccessLog::open(&config.log, &metrics)?;
    let origins = reload::origins(&config, &HashMap::new(), &metrics)?;
    let sites = ArcSwap::from_pointee(reload::sites(&config, &origins, &ledger, &metrics)?);
    let stray = metrics.rule("", "");
    let accounts = Arc::new(Accounts { log, metrics: metrics.clone(), stray });
    let edge = Edge::new(Parts { sites, memory, fills, ledger, accounts });
    let connections = Connections::new();
    let (listeners, certificates) = listeners(&config.listeners, &connections, &metrics)?;
    let node = Arc::new(Node {
        file,
        origins: ArcSwap::from_pointee(origins),
        edge,
        tokens: Arc::new(Tokens::load(config.control.tokens.as_deref())?),
        certificates,
        connections: connections.clone(),
        stopping: AtomicBool::new(false),
        stop: watch::Sender::new(false),
        metrics,
        began: config.clone(),
        config: Mutex::new(config.clone()),
    });
    node.serve(&config, listeners)
}

impl Node {
    fn serve(self: Arc<Self>, config: &Config, listeners: Vec<Arc<Listener>>) -> anyhow::Result<()> {
        let threads = config.node.threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
        let conf = ServerConf { threads: 1, work_stealing: false, ..ServerConf::default() };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        for listener in &listeners {
            for thread in 0..threads {
                let stop = Some(self.stop.subscribe());
                server.add_service(Accepting::new(listener.clone(), thread, self.edge.clone(), stop));
            }
        }
        let control = self.control(config)?;
        let api = control::ControlApi(Api::new(self.clone().handles()));
        server.add_service(Accepting::new(control.clone(), 0, api, Some(self.stop.subscribe())));
        let listeners = listeners.into_iter().chain([control]).collect();
        server.add_service(Upkeep { node: self, listeners });
        server.run(RunArgs { shutdown_signal: Box::new(Unheard) });
        Ok(())
    }

    fn control(&self, config: &Config) -> anyhow::Result<Arc<Listener>> {
        let settings = ListenerSettings::new("control", config.control.address);
        Ok(Listener::new(settings, None, self.connections.clone(), &self.metrics)?)
    }

    fn handles(self: Arc<Self>) -> Control {
        let parts = self.edge.parts();
        Control {
            ledger: parts.ledger.clone(),
            metrics: self.metrics.clone(),
            tokens: self.tokens.clone(),
            resolve_url: control::resolve_url(&self.edge),
            resolve_site: control::resolve_site(&self.edge),
            reload: {
                let node = self.clone();
                Arc::new(move || Box::pin(node.clone().reload()))
            },
            explain: control::explain(&self.edge),
            not_ready: Arc::new(move || {
                let stopping = self.stopping.load(Ordering::Relaxed);
                stopping.then(|| "the node is stopping".to_owned()).into_iter().collect()
            }),
        }
    }
}

type Listening = (Vec<Arc<Listener>>, Vec<(String, Arc<Certificates>)>);

fn listeners(
    settings: &[ListenerSettings],
    connections: &Arc<Connections>,
    metrics: &Metrics,
) -> anyhow::Result<Listening> {
    let (mut listeners, mut stores) = (Vec::new(), Vec::new());
    for settings in settings {
        let name = &settings.name;
        let store = match &settings.tls {
            Some(tls) => {
                let loaded = Certificates::load(tls);
                let (store, problems) =
                    loaded.with_context(|| format!("listener {name} has no certificates"))?;
                reload::tell(name, &store, &problems, metrics);
                stores.push((name.clone(), store.clone()));
                Some(store)
            }
            None => None,
        };
        let listener = Listener::new(settings.clone(), store, connections.clone(), metrics);
        listeners.push(listener.with_context(|| format!("listener {name} cannot be set up"))?);
    }
    Ok((listeners, stores))
}

/// The node hears the signals itself, before it says that it listens; Pingora never learns of a stop.
struct Unheard;

#[async_trait]
impl ShutdownSignalWatch for Unheard {
    async fn recv(&self) -> ShutdownSignal {
        std::future::pending().await
    }
}

/// What belongs to nobody's request.
struct Upkeep {
    node: Arc<Node>,
    listeners: Vec<Arc<Listener>>,
}

#[async_trait]
impl Service for Upkeep {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        let (Ok(mut stop), Ok(mut reload), Ok(mut reopen)) =
            (stop::Signals::new(), signal(SignalKind::hangup()), signal(SignalKind::user_defined1()))
        else {
            tracing::error!("signals cannot be heard, the node ends");
            return self.node.end(UNAVAILABLE);
        };
        for listener in &self.listeners {
            match listener.address().await {
                Ok(address) => tracing::info!(listener = listener.settings().name, %address, "listening"),
                Err(error) => {
                    tracing::error!(listener = listener.settings().name, %error, "cannot listen, the node ends");
                    self.node.end(UNAVAILABLE);
                }
            }
        }
        let mut upkeep = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                _ = upkeep.tick() => self.node.edge.parts().memory.settle(),
                _ = reopen.recv() => self.node.edge.parts().accounts.log.reopen(),
                _ = reload.recv() => {
                    // The result is logged and counted; who sent the signal cannot be told.
                    _ = self.node.clone().reload().await;
                }
                () = stop.next() => break,
            }
        }
        self.node.wind_down(stop).await;
    }

    fn name(&self) -> &str {
        "node"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}
