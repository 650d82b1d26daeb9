//! A running sample LMS: one process, one or several fronts, each with its own idea of what is published.

mod account;
mod asset;
pub(crate) mod capacity;
mod content;
mod control;
pub(crate) mod counters;
mod course;
mod flight;
mod front;
pub(crate) mod kind;
mod live;
mod media;
mod pages;
mod serve;
mod tracking;
pub(crate) mod trouble;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use capacity::Capacity;
use counters::Counters;
use front::{Front, Shared};
use trouble::Trouble;

/// What can be chosen at the start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hosts that have a tenant here. Empty: every host is a tenant of its own.
    pub tenants: Vec<String>,
    /// Length of the film in bytes.
    pub film: u64,
    /// As a real Moodle does: the version in a path is ignored, and what is published now is served under any number.
    /// Otherwise a version above the published one is a 404.
    pub ignore_version: bool,
    /// What each front can do at once. Without it everything is answered at once.
    pub capacity: Option<Capacity>,
    /// How long whoever asks about a learner's access may take a yes for granted: checks that come sooner are counted.
    pub kept: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            tenants: Vec::new(),
            film: 64 << 20,
            ignore_version: false,
            capacity: None,
            kept: Duration::ZERO,
        }
    }
}

/// A running sample LMS. Dropping it ends accepting; [`Lms::stop`] also waits for what is under way.
pub struct Lms {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    serving: JoinSet<io::Result<()>>,
}

impl Lms {
    /// Starts with one front. Port 0 takes a free one, see [`Lms::addr`].
    pub async fn start(address: SocketAddr, options: Options) -> io::Result<Lms> {
        Lms::start_fronts(&[address], options).await
    }

    /// Starts with several fronts, numbered from 0 in this order.
    pub async fn start_fronts(addresses: &[SocketAddr], options: Options) -> io::Result<Lms> {
        let mut listeners = Vec::new();
        for address in addresses {
            listeners.push(TcpListener::bind(address).await?);
        }
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::new(options, addresses.len(), stopped.clone()));
        let mut serving = JoinSet::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            let app = front::router(Front::new(Arc::clone(&shared), number));
            let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
            serving.spawn(
                async move { serve::serve(listener, app, &shared.fronts[number].life, stopped).await },
            );
        }
        Ok(Lms { addresses, shared, stop, serving })
    }

    /// The address of the first front.
    pub fn addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The addresses of all fronts.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The `Cookie` of a learner who is logged in at a tenant, without going through the login form.
    pub fn cookie(tenant: &str, learner: &str) -> String {
        account::cookie(tenant, learner)
    }

    /// Publishes a version of a module (`fire-safety`, `solar-system`, `film`, `lecture`, `handbook`) on all fronts. `TENANT/MODULE` is that
    /// tenant's own version of a package in a course.
    pub fn publish(&self, module: &str, version: u32) {
        self.shared.publish(None, module, version);
    }

    /// Publishes it on one front, as in the middle of a rolling update.
    pub fn publish_on(&self, front: usize, module: &str, version: u32) {
        self.shared.publish(Some(front), module, version);
    }

    /// Ends a front at once with all its connections, or brings it back at the same address. It is so when this comes back.
    pub async fn set_front(&self, front: usize, up: bool) {
        self.shared.fronts[front].life.set(up).await;
    }

    /// Makes trouble from now on; earlier troubles stay and come first.
    pub fn trouble(&self, trouble: Trouble) {
        self.shared.trouble(trouble);
    }

    /// Ends all troubles.
    pub fn heal(&self) {
        self.shared.heal();
    }

    /// What came in, over all fronts.
    pub fn counters(&self) -> Counters {
        self.shared.counters(None)
    }

    /// What came in at one front.
    pub fn counters_of(&self, front: usize) -> Counters {
        self.shared.counters(Some(front))
    }

    /// Sends a text to every open `/events` stream.
    pub fn send_event(&self, text: &str) {
        self.shared.send_event(text);
    }

    /// Stops accepting, closes idle connections, event streams and WebSockets, and waits two seconds for the rest.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.serving.join_next().await.is_some() {} };
        // Whatever is left then belongs to clients that neither read nor go.
        drop(tokio::time::timeout(Duration::from_secs(2), all).await);
    }
}
