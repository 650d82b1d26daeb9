//! Which front comes next: in turn, the one with the fewest requests in flight, or the one that a key names.
//!
//! Pingora's load balancer holds the fronts and their health and asks one of these selections for an order; the first that takes the
//! request gets it. Its round robin and its consistent hashing are used as they are; least in flight it has not.

use super::{OriginError, endpoint::Endpoint, front::Fit, servers::Server};
use crate::clock;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::FutureExt;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddress;
use pingora_load_balancing::{
    Backend, Backends, Extensions, LoadBalancer,
    discovery::ServiceDiscovery,
    health_check::HealthCheck,
    selection::{BackendIter, BackendSelection, Consistent, RoundRobin},
};
use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The order in which the fronts of an origin are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each in its turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastInFlight,
    /// The same for the same URL, as long as it takes requests: for fronts that cache by themselves.
    Consistent,
}

/// The fronts of one origin.
pub(super) struct Fronts {
    balancer: LoadBalancer<Selection>,
    known: Known,
    /// Pingora wants one update at a time.
    updating: Mutex<()>,
}

/// What the names of the servers came to, without the addresses that are being replaced.
#[derive(Clone)]
struct Known {
    servers: Arc<[Arc<Server>]>,
    replaced: Arc<ArcSwap<Vec<SocketAddr>>>,
}

/// How a request wants its front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    /// What it is chosen by, where the same is to get the same.
    pub(super) key: &'a str,
    /// Another than this one.
    pub(super) avoid: Option<SocketAddr>,
    /// It may be repeated, and so try out a front that failed.
    pub(super) may_try: bool,
}

impl Known {
    /// One address is one front, whichever names lead to it.
    fn backends(&self) -> BTreeSet<Backend> {
        let mut backends = BTreeSet::new();
        let replaced = self.replaced.load();
        let all = self.servers.iter().flat_map(|server| server.known());
        for endpoint in all.filter(|endpoint| !replaced.contains(&endpoint.address())) {
            let mut ext = Extensions::new();
            let addr = PingoraAddress::Inet(endpoint.address());
            ext.insert(endpoint);
            backends.insert(Backend { addr, weight: 1, ext });
        }
        backends
    }
}

#[async_trait]
impl ServiceDiscovery for Known {
    async fn discover(&self) -> pingora::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        Ok((self.backends(), HashMap::new()))
    }
}

/// The endpoint that a backend stands for.
pub(super) fn endpoint_of(backend: &Backend) -> Option<&Arc<Endpoint>> {
    backend.ext.get()
}

impl Fronts {
    pub(super) fn new(
        servers: Arc<[Arc<Server>]>,
        balance: Balance,
        check: Option<Box<dyn HealthCheck + Send + Sync>>,
    ) -> Fronts {
        let known = Known { servers, replaced: Arc::default() };
        let mut backends = Backends::new(Box::new(known.clone()));
        if let Some(check) = check {
            backends.set_health_check(check);
        }
        let balancer = LoadBalancer::from_backends_with_config(backends, Some(balance));
        let fronts = Fronts { balancer, known, updating: Mutex::default() };
        fronts.update();
        fronts
    }

    /// What is known of the servers has changed.
    pub(super) fn update(&self) {
        let _one_at_a_time = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        // To Pingora an address that came back is the front that it was, so that goes first.
        let new = self.known.backends();
        let old = self.balancer.backends().get_backend();
        let same = |one: &Backend, other: &Backend| match (endpoint_of(one), endpoint_of(other)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let replaced = old.iter().filter(|old| new.get(old).is_some_and(|new| !same(old, new)));
        let replaced: Vec<_> = replaced.filter_map(|old| Some(endpoint_of(old)?.address())).collect();
        for leaving in [replaced, Vec::new()] {
            self.known.replaced.store(Arc::new(leaving));
            // What is known is at hand: nothing is waited for.
            let updated = self.balancer.update().now_or_never();
            if !matches!(updated, Some(Ok(()))) {
                tracing::error!(?updated, "the fronts of an origin stay as they were");
            }
        }
    }

    /// Is there any but `front`?
    pub(super) fn any_but(&self, front: SocketAddr) -> bool {
        let all = self.balancer.backends().get_backend();
        all.iter().filter_map(endpoint_of).any(|endpoint| endpoint.address() != front)
    }

    /// The next that takes the request; else the best of those that are left, such as one that fails its checks: a check that asks
    /// for the wrong page must not take the whole origin away. `None`: there is none.
    ///
    /// # Errors
    /// [`OriginError::Down`]: all failed, and no trial is due.
    pub(super) fn choose(&self, choice: Choice<'_>) -> Option<Result<Arc<Endpoint>, OriginError>> {
        let now = clock::instant();
        let best = RefCell::new(None::<(Fit, Arc<Endpoint>)>);
        let count = self.balancer.backends().get_backend().len();
        if count == 0 {
            return None;
        }
        // A selection may name a front more than once before it has named all.
        self.balancer.select_with(choice.key.as_bytes(), 16 * count, |backend, healthy| {
            let fits = |endpoint: &&Arc<Endpoint>| Some(endpoint.address()) != choice.avoid;
            let Some(endpoint) = endpoint_of(backend).filter(fits) else { return false };
            let fit = endpoint.front().fit(healthy, choice.may_try, now);
            let mut best = best.borrow_mut();
            if best.as_ref().is_none_or(|(before, _)| fit < *before) {
                *best = Some((fit, endpoint.clone()));
            }
            fit == Fit::Takes
        });
        let (fit, endpoint) = best.into_inner()?;
        let may = match fit {
            Fit::Out(left) => Err(left),
            Fit::Due => endpoint.front().begin_trial(now),
            Fit::Takes | Fit::Warming | Fit::Resting | Fit::Doubtful => Ok(()),
        };
        Some(may.map(|()| endpoint).map_err(|left| OriginError::Down(whole_seconds(left))))
    }

    /// Asks each front what its checks ask.
    pub(super) async fn check(&self) {
        self.balancer.backends().run_health_check(true).await;
    }
}

fn whole_seconds(span: Duration) -> u16 {
    u16::try_from(span.as_millis().div_ceil(1000)).unwrap_or(u16::MAX).max(1)
}

/// One of the orders.
enum Selection {
    RoundRobin(Arc<RoundRobin>),
    LeastInFlight(Arc<LeastInFlight>),
    Consistent(Arc<Consistent>),
}

/// The fronts in the order of a selection.
enum Order {
    RoundRobin(<RoundRobin as BackendSelection>::Iter),
    LeastInFlight(InOrder),
    Consistent(<Consistent as BackendSelection>::Iter),
}

impl BackendSelection for Selection {
    type Iter = Order;
    type Config = Balance;

    fn build_with_config(backends: &BTreeSet<Backend>, balance: &Balance) -> Selection {
        match balance {
            Balance::RoundRobin => Selection::RoundRobin(Arc::new(RoundRobin::build(backends))),
            Balance::LeastInFlight => Selection::LeastInFlight(Arc::new(LeastInFlight::build(backends))),
            Balance::Consistent => Selection::Consistent(Arc::new(Consistent::build(backends))),
        }
    }

    fn build(backends: &BTreeSet<Backend>) -> Selection {
        Selection::build_with_config(backends, &Balance::default())
    }

    fn iter(self: &Arc<Selection>, key: &[u8]) -> Order {
        match &**self {
            Selection::RoundRobin(all) => Order::RoundRobin(all.iter(key)),
            Selection::LeastInFlight(all) => Order::LeastInFlight(all.iter(key)),
            Selection::Consistent(all) => Order::Consistent(all.iter(key)),
        }
    }
}

impl BackendIter for Order {
    fn next(&mut self) -> Option<&Backend> {
        match self {
            Order::RoundRobin(order) => order.next(),
            Order::LeastInFlight(order) => order.next(),
            Order::Consistent(order) => order.next(),
        }
    }
}

/// The front with the fewest requests in flight first; those that are even, each in its turn.
struct LeastInFlight {
    all: Vec<Backend>,
    turn: AtomicUsize,
}

/// An order that is settled: places among all.
struct InOrder {
    all: Arc<LeastInFlight>,
    order: std::vec::IntoIter<usize>,
}

impl BackendSelection for LeastInFlight {
    type Iter = InOrder;
    type Config = ();

    fn build(backends: &BTreeSet<Backend>) -> LeastInFlight {
        LeastInFlight { all: backends.iter().cloned().collect(), turn: AtomicUsize::new(0) }
    }

    fn iter(self: &Arc<LeastInFlight>, _key: &[u8]) -> InOrder {
        let mut order: Vec<_> = (0..self.all.len()).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % order.len().max(1);
        order.rotate_left(turn);
        order.sort_by_cached_key(|at| {
            endpoint_of(&self.all[*at]).map(|endpoint| endpoint.front().in_flight())
        });
        InOrder { all: self.clone(), order: order.into_iter() }
    }
}

impl BackendIter for InOrder {
    fn next(&mut self) -> Option<&Backend> {
        self.all.all.get(self.order.next()?)
    }
}
