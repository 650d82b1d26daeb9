//! The servers of an origin, and the fronts that their names come to.
//!
//! Names are asked again when their time is over, while requests go on to the last good addresses; a failed
//! connection makes the name due at once (not before the floor). A removed address takes its pooled
//! connections with it. What is asked is asked for traffic and checks only: an idle origin without checks costs no DNS.

use super::{
    OriginConfigError, OriginError, OriginSettings,
    balance::{Choice, Fronts},
    checks::{Check, Rounds},
    endpoint::{Endpoint, Template},
    resolve,
};
use crate::{clock, telemetry::FrontSeries};
use pingora_load_balancing::health_check::HealthCheck;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The servers of one origin.
pub(super) struct Servers {
    servers: Arc<[Arc<Server>]>,
    fronts: Fronts,
    settings: Arc<OriginSettings>,
    rounds: Rounds,
    /// How long a request waits for a first address.
    patience: Duration,
}

/// One server as configured: a literal address, or a name with the addresses it has now.
pub(super) struct Server {
    host: String,
    port: u16,
    literal: bool,
    settings: Arc<OriginSettings>,
    template: Template,
    state: Mutex<State>,
    /// Counts questions that ended.
    asked: watch::Sender<u64>,
}

struct State {
    known: Vec<Arc<Endpoint>>,
    last: Option<Instant>,
    due: Option<Instant>,
    asking: bool,
}

impl Servers {
    pub(super) fn new(
        settings: &Arc<OriginSettings>,
        series: &FrontSeries,
    ) -> Result<Arc<Servers>, OriginConfigError> {
        let servers = settings.servers.iter().map(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let address = host.parse::<IpAddr>().ok();
            let template = Template::new(settings, series, &host, *port)?;
            let known = address.map(|ip| Arc::new(template.at(SocketAddr::new(ip, *port))));
            Ok(Arc::new(Server {
                host,
                port: *port,
                literal: address.is_some(),
                settings: settings.clone(),
                template,
                state: Mutex::new(State {
                    known: known.into_iter().collect(),
                    last: None,
                    due: None,
                    asking: false,
                }),
                asked: watch::Sender::new(0),
            }))
        });
        let servers = servers.collect::<Result<Arc<[_]>, OriginConfigError>>()?;
        if servers.is_empty() {
            return Err(OriginConfigError::NoServers);
        }
        let check = settings.check.as_ref().map(|check| Check::new(settings, check));
        let check = check.map(|check| Box::new(check) as Box<dyn HealthCheck + Send + Sync>);
        let fronts = Fronts::new(servers.clone(), settings.balance, check);
        let (settings, patience) = (settings.clone(), settings.timeouts.connect);
        Ok(Arc::new(Servers { servers, fronts, settings, rounds: Rounds::default(), patience }))
    }

    /// The front for a request. Waits only if there is none and a name is being asked.
    ///
    /// # Errors
    /// [`OriginError::Down`]: all fronts failed of late. Else there is none, or none but the one to avoid.
    pub(super) async fn choose(self: &Arc<Self>, choice: Choice<'_>) -> Result<Arc<Endpoint>, OriginError> {
        self.ask_if_due();
        if let Some(chosen) = self.fronts.choose(choice) {
            return chosen;
        }
        // Subscribed first, then looked: an answer that comes in between is seen by the next turn.
        let asking = self.servers.iter().map(|server| (server.asked.subscribe(), server));
        let asking = asking.filter(|(_, server)| server.state().asking);
        let answers = asking.map(|(mut asked, _)| async move { asked.changed().await.is_ok() });
        // All of them: the first to end may be the one without an answer.
        let answers = futures_util::future::join_all(answers.collect::<Vec<_>>());
        let _ = tokio::time::timeout(self.patience, answers).await;
        let nothing = if choice.avoid.is_some() { OriginError::Connect } else { OriginError::Unresolved };
        self.fronts.choose(choice).unwrap_or(Err(nothing))
    }

    /// Is there a front beside this one?
    pub(super) fn has_another(&self, front: SocketAddr) -> bool {
        self.fronts.any_but(front)
    }

    /// No connection could be made to `front`: its name may have another address by now.
    pub(super) fn unreachable(&self, front: SocketAddr) {
        for server in self.servers.iter().filter(|server| !server.literal) {
            let mut state = server.state();
            if state.known.iter().any(|known| known.address() == front) {
                state.due = state.last.map(|last| last + server.settings.dns_floor);
            }
        }
    }

    /// Begins a round of checks if one is due.
    pub(super) fn tend(self: &Arc<Self>) {
        let Some(check) = &self.settings.check else { return };
        if !self.rounds.begin(check, clock::instant()) {
            return;
        }
        self.ask_if_due();
        let servers = self.clone();
        tokio::spawn(async move {
            servers.fronts.check().await;
            servers.rounds.ended();
        });
    }

    /// Asks for the addresses of names whose time is over.
    fn ask_if_due(self: &Arc<Self>) {
        for server in self.servers.iter().filter(|server| server.begins_to_ask()) {
            let (servers, asking) = (self.clone(), Asking(server.clone()));
            tokio::spawn(async move {
                let server = &asking.0;
                let answer = resolve::ask(&server.host, &server.settings.dns_servers).await;
                let removed = server.learn(answer);
                servers.fronts.update();
                drop(asking);
                for endpoint in removed {
                    endpoint.forget().await;
                }
            });
        }
    }
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fronts that it has now.
    pub(super) fn known(&self) -> Vec<Arc<Endpoint>> {
        self.state().known.clone()
    }

    /// Whether its name is to be asked for now.
    fn begins_to_ask(&self) -> bool {
        let mut state = self.state();
        let due = state.due.is_none_or(|due| due <= clock::instant());
        let begins = !self.literal && !state.asking && due;
        state.asking |= begins;
        begins
    }

    /// Takes the addresses of `answer`; returns the ones that are gone. Without an answer all stays.
    fn learn(&self, answer: Option<resolve::Answer>) -> Vec<Arc<Endpoint>> {
        let (floor, ceiling) = (self.settings.dns_floor, self.settings.dns_ceiling);
        let now = clock::instant();
        let mut state = self.state();
        state.last = Some(now);
        let Some(answer) = answer else {
            state.due = Some(now + floor);
            return Vec::new();
        };
        state.due = Some(now + answer.ttl.min(ceiling).max(floor));
        let addresses = answer.addresses.into_iter().map(|ip| SocketAddr::new(ip, self.port));
        let mut before = std::mem::take(&mut state.known);
        for address in addresses {
            let kept =
                before.iter().position(|known| known.address() == address).map(|at| before.swap_remove(at));
            state.known.push(kept.unwrap_or_else(|| Arc::new(self.template.at(address))));
        }
        before
    }
}

/// A question under way; however it ends, the next may be asked.
struct Asking(Arc<Server>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.state().asking = false;
        self.0.asked.send_modify(|count| *count += 1);
    }
}
