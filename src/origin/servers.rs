//! Which server of an origin a request goes to.
//!
//! Each in turn; one that just refused a connection is passed over for a second while another is left.
//! Names are asked again when their time is over, while requests go on to the last good addresses; a failed
//! connection makes the name due at once (not before the floor). A removed address takes its pooled
//! connections with it. What is asked is asked for traffic only: an idle origin costs no DNS.

use super::{OriginConfigError, OriginError, OriginSettings, endpoint::Endpoint, resolve};
use crate::clock;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long a server that refused a connection is passed over.
const PENALTY: Duration = Duration::from_secs(1);

/// The servers of one origin.
pub(super) struct Servers {
    servers: Vec<Arc<Server>>,
    next: AtomicUsize,
    /// How long a request waits for a first address.
    patience: Duration,
}

/// One server as configured: a literal address, or a name with the addresses it has now.
struct Server {
    host: String,
    port: u16,
    literal: bool,
    settings: Arc<OriginSettings>,
    template: Endpoint,
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
    pub(super) fn new(settings: &Arc<OriginSettings>) -> Result<Servers, OriginConfigError> {
        let servers = settings.servers.iter().map(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let address = host.parse::<IpAddr>().ok();
            let template = Endpoint::template(settings, &host, *port)?;
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
        let servers = servers.collect::<Result<Vec<_>, OriginConfigError>>()?;
        if servers.is_empty() {
            return Err(OriginConfigError::NoServers);
        }
        Ok(Servers { servers, next: AtomicUsize::new(0), patience: settings.timeouts.connect })
    }

    /// The next server in turn, another than `avoid`. Waits only if there is none and a name is being asked.
    pub(super) async fn choose(&self, avoid: Option<SocketAddr>) -> Result<Arc<Endpoint>, OriginError> {
        for server in &self.servers {
            server.ask_if_due();
        }
        if let Some(endpoint) = self.turn(avoid) {
            return Ok(endpoint);
        }
        // Subscribed first, then looked: an answer that comes in between is seen by the next turn.
        let asking = self.servers.iter().map(|server| (server.asked.subscribe(), server));
        let asking = asking.filter(|(_, server)| server.state().asking);
        let answers = asking.map(|(mut asked, _)| async move { asked.changed().await.is_ok() });
        // All of them: the first to end may be the one without an answer.
        let answers = futures_util::future::join_all(answers.collect::<Vec<_>>());
        let _ = tokio::time::timeout(self.patience, answers).await;
        let nothing = if avoid.is_some() { OriginError::Connect } else { OriginError::Unresolved };
        self.turn(avoid).ok_or(nothing)
    }

    fn turn(&self, avoid: Option<SocketAddr>) -> Option<Arc<Endpoint>> {
        let all: Vec<_> = self.servers.iter().flat_map(|server| server.state().known.clone()).collect();
        let from = self.next.fetch_add(1, Ordering::Relaxed) % all.len().max(1);
        let (passed, ahead) = all.split_at(from);
        let fits = |endpoint: &&Arc<Endpoint>| Some(endpoint.address()) != avoid;
        let mut in_turn = ahead.iter().chain(passed).filter(fits);
        let now = clock::instant();
        in_turn
            .clone()
            .find(|endpoint| !endpoint.failed_within(PENALTY, now))
            .or_else(|| in_turn.next())
            .cloned()
    }

    /// No connection could be made to `endpoint`.
    pub(super) fn failed(&self, endpoint: &Endpoint) {
        endpoint.failed_now();
        for server in self.servers.iter().filter(|server| !server.literal) {
            let mut state = server.state();
            if state.known.iter().any(|known| known.address() == endpoint.address()) {
                state.due = state.last.map(|last| last + server.settings.dns_floor);
            }
        }
    }
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_if_due(self: &Arc<Self>) {
        if self.literal {
            return;
        }
        let mut state = self.state();
        if state.asking || state.due.is_some_and(|due| due > clock::instant()) {
            return;
        }
        state.asking = true;
        drop(state);
        let asking = Asking(self.clone());
        tokio::spawn(async move {
            let server = &asking.0;
            let answer = resolve::ask(&server.host, &server.settings.dns_servers).await;
            let removed = server.learn(answer);
            drop(asking);
            for endpoint in removed {
                endpoint.forget().await;
            }
        });
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
