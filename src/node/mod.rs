//! Assembly: from a checked configuration to a running node. The only part that names every other.
//!
//! Pingora runs the process: each listener has one service per thread, each with a runtime of its own. A service named
//! `node` does what belongs to nobody's request: signals, upkeep, the end.

mod control;
mod reload;
mod stop;
mod supervisor;
mod upgrade;

use crate::{
    access::Checks,
    cache::{Disk, DiskSettings, Memory, Tiers},
    clock,
    config::Config,
    control::{Api, Control, Tokens, Wholes},
    edge::{Edge, Handover, Parts},
    fill::Fills,
    ledger::Ledger,
    listener::{
        Accepting, Certificates, Connections, Listener, ListenerSettings, bytes_handed,
        raise_descriptor_limit,
    },
    origin::Origin,
    release::Manifests,
    response::{Accounts, coding::Coder},
    site::Switches,
    telemetry::{AccessLog, Metrics},
};
use anyhow::Context;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::{
    server::{
        Fds, ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
        configuration::ServerConf,
    },
    services::Service,
};
use std::{
    collections::HashMap,
    path::PathBuf,
    pin::pin,
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
use upgrade::{Door, Forgets, Predecessor};

/// Descriptors beside those of clients and origins: files, the runtime's own.
const SPARE_DESCRIPTORS: u64 = 1024;
/// Exit code where what the node needs cannot be had, as in `sysexits.h`.
const UNAVAILABLE: i32 = 69;
/// What a write gets beyond the limit on the size of files.
const SIGXFSZ: i32 = 25;
/// How often the memory tier applies what it put off and the gauges are told.
const UPKEEP: Duration = Duration::from_secs(1);

/// Everything that lives as long as the process.
struct Node {
    /// Where this program was started from.
    program: PathBuf,
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
    /// The listening sockets, for the process after this one.
    fds: ListenFds,
    forgets: Arc<Forgets>,
    switches: Arc<Switches>,
    /// A new process is taking over.
    handing_over: AtomicBool,
    /// It is going to stop: `/readyz` says no.
    stopping: AtomicBool,
    /// Turns true when accepting ends.
    stop: watch::Sender<bool>,
}

/// Runs a node until it is told to stop, or another has taken its place; then ends the process. With `upgrade` it first takes
/// the place of the node that runs with the same ledger.
///
/// # Errors
/// What the configuration names cannot be had: an address, the ledger, a file, a certificate. Or the running node does not
/// hand over; then it goes on as before.
pub fn run(file: PathBuf, config: Config, upgrade: bool) -> anyhow::Result<()> {
    let clients = config.listeners.iter().map(|listener| listener.limits.connections as u64).sum::<u64>();
    let origins = config.origins.iter().map(|origin| 2 * origin.in_flight as u64).sum::<u64>();
    if let Err(line) = raise_descriptor_limit(clients + origins + SPARE_DESCRIPTORS) {
        tracing::warn!("{line}");
    }
    let metrics = Metrics::new();
    let log = AccessLog::open(&config.log, &metrics)?;
    let origins = reload::origins(&config, &HashMap::new(), &metrics)?;
    let tokens = Arc::new(Tokens::load(config.control.tokens.as_deref(), config.control.rate)?);
    let connections = Connections::new();
    let (listeners, mut certificates) = listeners(&config.listeners, &connections, &metrics)?;
    let control = ListenerSettings {
        tls: config.control_tls.clone(),
        ..ListenerSettings::new("control", config.control.address)
    };
    let (control, of_control) = listener(&control, &connections, &metrics)?;
    certificates.extend(of_control);

    // From here on a process before this one is concerned, and each error leaves it as it was.
    let folder = &config.ledger.folder;
    let mut predecessor = if upgrade { Some(Predecessor::find(folder)?) } else { None };
    let fds: ListenFds = Arc::new(Fds::new().into());
    if let Some(running) = &mut predecessor {
        running.sockets(&fds)?;
    }
    let all = || listeners.iter().chain([&control]);
    all().try_for_each(|listener| {
        let bound = listener.listen(&fds).map(|_| ());
        bound.with_context(|| format!("listener {} has no socket", listener.settings().name))
    })?;
    upgrade::close_unclaimed(&fds, all().map(|listener| listener.key()));
    if let Some(running) = &mut predecessor {
        running.listening()?;
    }
    let ledger = Ledger::open(&config.ledger, &metrics).context("the ledger cannot be opened")?;
    let switches =
        Switches::open(folder, &metrics).context("the file of switches beside the ledger cannot be used")?;
    let switches = Arc::new(switches);

    let manifests = Arc::new(Manifests::beside(folder));
    for release in ledger.releases() {
        // What is lost is told, and the node serves all the same.
        _ = manifests.get(release.manifest);
    }

    let memory = Memory::new(config.cache.memory, metrics.clone());
    let disk = disk(&config.disk, &memory, &ledger, &metrics, predecessor.is_some())?;
    let tiers = Tiers::new(memory, disk);
    let largest_folder = config.disk.folders.iter().map(|folder| folder.limit).max();
    let cache = config.cache.clone();
    let checks = Checks::new();
    let forgets = Arc::new(Forgets::new(checks.clone()));
    let fills = Fills::new(tiers.clone(), ledger.clone(), checks, metrics.clone(), cache, largest_folder);
    let coder = Coder::start(&config.cache.coding, &fills, &tiers, &metrics.coding)
        .context("no thread can be had for coding")?;
    let sites = ArcSwap::from_pointee(reload::sites(&config, &origins, &ledger, &switches, &metrics)?);
    let stray = metrics.rule("", "");
    let accounts = Arc::new(Accounts { log, metrics: metrics.clone(), stray });
    let handover = Handover::default();
    let edge = Edge::new(Parts { sites, tiers, fills, ledger, manifests, accounts, coder, handover });
    let node = Arc::new(Node {
        program: std::env::current_exe().context("this program does not know where it lies")?,
        file,
        origins: ArcSwap::from_pointee(origins),
        edge,
        tokens,
        certificates,
        connections,
        fds,
        forgets,
        switches,
        handing_over: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        stop: watch::Sender::new(false),
        metrics,
        began: config.clone(),
        config: Mutex::new(config),
    });
    node.serve(listeners, control, predecessor)
}

impl Node {
    /// What is done once a second: the tiers apply what they put off, the fronts of origins are looked after, and the gauges that
    /// nobody else moves are told.
    fn tend(&self) {
        let parts = self.edge.parts();
        parts.tiers.tend();
        self.origins.load().values().for_each(|origin| origin.tend());
        parts.accounts.metrics.bytes_handed.set(bytes_handed() as i64);
    }

    fn serve(
        self: Arc<Self>,
        listeners: Vec<Arc<Listener>>,
        control: Arc<Listener>,
        mut predecessor: Option<Predecessor>,
    ) -> anyhow::Result<()> {
        let threads =
            self.began.node.threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
        let conf = ServerConf { threads: 1, work_stealing: false, ..ServerConf::default() };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        for listener in &listeners {
            for thread in 0..threads {
                let stop = Some(self.stop.subscribe());
                server.add_service(Accepting::new(listener.clone(), thread, self.edge.clone(), stop));
            }
        }
        let api = control::ControlApi(Api::new(self.clone().handles()));
        server.add_service(Accepting::new(control.clone(), 0, api, Some(self.stop.subscribe())));
        if let Some(running) = &mut predecessor {
            running.open()?;
            // What it makes outdated from here on, it tells.
            self.edge.parts().fills.groups().begin_anew(clock::now());
        }
        let listeners = listeners.into_iter().chain([control]).collect();
        server.add_service(Upkeep { node: self, listeners, predecessor });
        server.run(RunArgs { shutdown_signal: Box::new(Unheard) });
        Ok(())
    }

    fn handles(self: Arc<Self>) -> Control {
        let parts = self.edge.parts();
        Control {
            ledger: parts.ledger.clone(),
            forget: {
                let forgets = self.forgets.clone();
                Arc::new(move |forget| {
                    let forgets = forgets.clone();
                    Box::pin(async move { forgets.forget(forget).await })
                })
            },
            switches: self.switches.clone(),
            metrics: self.metrics.clone(),
            tokens: self.tokens.clone(),
            wholes: Arc::new(Wholes::new(self.began.control.whole_purge_pause)),
            shapes: self.began.control.shapes.clone(),
            resolve_url: control::resolve_url(&self.edge),
            resolve_site: control::resolve_site(&self.edge),
            resolve_scope: control::resolve_scope(&self.edge),
            count: control::count(&self.edge),
            names_modules: control::names_modules(&self.edge),
            reload: {
                let node = self.clone();
                Arc::new(move || Box::pin(node.clone().reload()))
            },
            explain: control::explain(&self.edge),
            warm: {
                let node = self.clone();
                control::warm(&self.edge, move || node.stopping.load(Ordering::Relaxed))
            },
            manifests: parts.manifests.clone(),
            list: control::list(&self.edge),
            has_of: control::has_of(&self.edge),
            steps: Arc::default(),
            notes: {
                let tiers = parts.tiers.clone();
                Arc::new(move || tiers.disk().map_or_else(Vec::new, Disk::ready))
            },
            not_ready: Arc::new(move || {
                let stopping = self.stopping.load(Ordering::Relaxed);
                stopping.then(|| "the node is stopping".to_owned()).into_iter().collect()
            }),
        }
    }
}

/// The disk tier, if there is to be one. Another process may be about to give its folders up.
fn disk(
    settings: &DiskSettings,
    memory: &Memory,
    ledger: &Arc<Ledger>,
    metrics: &Arc<Metrics>,
    wait_for_lock: bool,
) -> anyhow::Result<Option<Disk>> {
    if settings.folders.is_empty() {
        return Ok(None);
    }
    let ledger = ledger.clone();
    let hooks = memory.hooks(move || ledger.last());
    let disk = Disk::open(settings, metrics, hooks, wait_for_lock);
    Ok(Some(disk.context("the disk tier cannot be opened")?))
}

/// The certificates of a listener, with its name.
type Named = (String, Arc<Certificates>);

fn listeners(
    settings: &[ListenerSettings],
    connections: &Arc<Connections>,
    metrics: &Metrics,
) -> anyhow::Result<(Vec<Arc<Listener>>, Vec<Named>)> {
    let (mut listeners, mut stores) = (Vec::new(), Vec::new());
    for settings in settings {
        let (made, store) = listener(settings, connections, metrics)?;
        listeners.push(made);
        stores.extend(store);
    }
    Ok((listeners, stores))
}

fn listener(
    settings: &ListenerSettings,
    connections: &Arc<Connections>,
    metrics: &Metrics,
) -> anyhow::Result<(Arc<Listener>, Option<Named>)> {
    let name = &settings.name;
    let store = match &settings.tls {
        Some(tls) => {
            let loaded = Certificates::load(tls);
            let (store, problems) = loaded.with_context(|| format!("listener {name} has no certificates"))?;
            reload::tell(name, &store, &problems, metrics);
            Some(store)
        }
        None => None,
    };
    let listener = Listener::new(settings.clone(), store.clone(), connections.clone(), metrics);
    let listener = listener.with_context(|| format!("listener {name} cannot be set up"))?;
    Ok((listener, store.map(|store| (name.clone(), store))))
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
    /// Until it is told that it may end.
    predecessor: Option<Predecessor>,
}

#[async_trait]
impl Service for Upkeep {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        // A limit on the size of files is an error of the write then, and not the end of the process.
        let too_long = signal(SignalKind::from_raw(SIGXFSZ));
        let (Ok(_), Ok(mut stop), Ok(mut reload), Ok(mut reopen), Ok(mut upgrade)) = (
            too_long,
            stop::Signals::new(),
            signal(SignalKind::hangup()),
            signal(SignalKind::user_defined1()),
            signal(SignalKind::user_defined2()),
        ) else {
            tracing::error!("signals cannot be heard, the node ends");
            return self.node.end(UNAVAILABLE);
        };
        let door = Door::open(&self.node.began.ledger.folder);
        for listener in &self.listeners {
            match listener.address().await {
                Ok(address) => tracing::info!(listener = listener.settings().name, %address, "listening"),
                Err(error) => {
                    tracing::error!(listener = listener.settings().name, %error, "cannot listen, the node ends");
                    self.node.end(UNAVAILABLE);
                }
            }
        }
        // Before the process before this one may end: its end must not be taken for the node's.
        supervisor::serving();
        if let Some(predecessor) = self.predecessor.take() {
            self.node.forgets.beside(predecessor.serving(self.node.edge.clone()));
        } else {
            self.node.forgets.beside(None);
        }
        let mut upkeep = tokio::time::interval(UPKEEP);
        let mut succeeded = pin!(self.node.succeeded(door));
        let succeeded = loop {
            tokio::select! {
                _ = upkeep.tick() => self.node.tend(),
                _ = upgrade.recv() => self.node.start_successor(),
                _ = reopen.recv() => self.node.edge.parts().accounts.log.reopen(),
                _ = reload.recv() => {
                    // The result is logged and counted; who sent the signal cannot be told.
                    _ = self.node.clone().reload().await;
                }
                () = &mut succeeded => break true,
                () = stop.next() => break false,
            }
        };
        if succeeded { self.node.retire(stop).await } else { self.node.wind_down(stop).await }
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
