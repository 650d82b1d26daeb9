//! How many requests an origin has in flight, who waits for a place, whose turn it is, and who is turned away.
//!
//! A place that comes back goes to the site with the fewest requests in flight among those that have somebody waiting, and
//! there to the class that a learner waits for most; warm-up goes when nobody else waits. So a flood of one site takes what the others leave,
//! and no more: a request of another site waits for the next place at most. Requests with unsafe methods
//! (uploads, tracking commits) have places that no other takes, and others have as many that those do not take.
//!
//! Where the queue is full a newcomer takes the place of the last of the site that has most waiting, if that is not its own.
//! What does not fit is told when to come back: the time the queue needs at the rate at which places were given back lately.

use super::Turn;
use crate::{
    clock,
    rules::Class,
    telemetry::{QueueMetrics, Seldom},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Shortest and longest time a client is told to wait.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// The origin has no place for this request: a value, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// When it is worth asking again: whole seconds, for `Retry-After`.
    pub retry_after: Duration,
}

/// How many places there are, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    /// All of them.
    pub(super) all: usize,
    /// Those that only requests with unsafe methods take, and as many that those do not take.
    pub(super) reserved: usize,
    /// What one site may have of either kind.
    pub(super) per_site: usize,
    /// Requests that may wait.
    pub(super) longest: usize,
    /// How long.
    pub(super) wait: Duration,
}

/// A place in flight at an origin. Gives itself back on drop.
#[derive(Debug)]
pub struct Permit {
    queue: Arc<Queue>,
    site: Arc<str>,
    kind: Kind,
}

/// The places of one origin.
#[derive(Debug)]
pub(super) struct Queue {
    origin: String,
    places: Places,
    state: Mutex<State>,
    metrics: QueueMetrics,
    seldom: Seldom,
}

/// Does its method change anything?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Safe,
    Unsafe,
}

/// The lines of a site: unsafe methods, then one for each class.
const LINES: usize = 1 + Class::ALL.len();

#[derive(Debug)]
struct State {
    /// By kind.
    in_flight: [usize; 2],
    waiting: usize,
    sites: HashMap<Arc<str>, Site>,
    /// Numbers who comes.
    next: u64,
    drain: Drain,
}

/// Who of one site is in flight, and who waits.
#[derive(Debug, Default)]
struct Site {
    in_flight: [usize; 2],
    lines: [VecDeque<Waiter>; LINES],
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    place: oneshot::Sender<Permit>,
}

/// How fast places come back while somebody waits.
#[derive(Debug)]
struct Drain {
    last: Instant,
    gap: Duration,
}

impl Kind {
    fn line(self, class: Class) -> usize {
        match self {
            Kind::Unsafe => 0,
            Kind::Safe => 1 + class as usize,
        }
    }

    fn of_line(line: usize) -> Kind {
        if line == 0 { Kind::Unsafe } else { Kind::Safe }
    }
}

impl Queue {
    pub(super) fn new(origin: &str, places: Places, metrics: QueueMetrics) -> Arc<Queue> {
        let drain = Drain { last: clock::instant(), gap: Duration::ZERO };
        let state = State { in_flight: [0; 2], waiting: 0, sites: HashMap::new(), next: 0, drain };
        let (origin, state, seldom) = (origin.to_owned(), Mutex::new(state), Seldom::new());
        Arc::new(Queue { origin, places, state, metrics, seldom })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place that is free, if there is one.
    pub(super) fn try_admit(self: &Arc<Self>, turn: &Turn, safe: bool) -> Option<Permit> {
        let kind = if safe { Kind::Safe } else { Kind::Unsafe };
        let mut state = self.state();
        let taken = state.take_if_free(&self.places, &turn.site, kind);
        taken.then(|| self.permit(turn.site.clone(), kind))
    }

    /// A place, at once or after at most the configured wait. Dropping the future leaves the queue.
    pub(super) async fn admit(self: &Arc<Self>, turn: &Turn, safe: bool) -> Result<Permit, Busy> {
        // Whoever waits could not go, so who can need not wait behind them.
        if let Some(permit) = self.try_admit(turn, safe) {
            return Ok(permit);
        }
        let kind = if safe { Kind::Safe } else { Kind::Unsafe };
        let Some((waiting, place)) = self.wait(turn, kind.line(turn.class)) else {
            return Err(self.busy(turn));
        };
        let place = tokio::time::timeout(self.places.wait, place).await;
        drop(waiting);
        // Late, or somebody of a site that asks for less took the place in the queue.
        place.ok().and_then(Result::ok).ok_or_else(|| self.busy(turn))
    }

    /// A place in the queue, if there is one or somebody has to leave it.
    fn wait(self: &Arc<Self>, turn: &Turn, line: usize) -> Option<(Waiting, oneshot::Receiver<Permit>)> {
        let (place, granted) = oneshot::channel();
        let mut state = self.state();
        let displaced =
            if state.waiting < self.places.longest { None } else { Some(state.displace(&turn.site, line)?) };
        let number = state.next;
        state.next += 1;
        state.waiting += 1;
        let site = state.sites.entry(turn.site.clone()).or_default();
        site.lines[line].push_back(Waiter { number, place });
        drop(state);
        if displaced.is_none() {
            self.metrics.queued.inc();
        }
        Some((Waiting { queue: self.clone(), site: turn.site.clone(), line, number }, granted))
    }

    fn permit(self: &Arc<Self>, site: Arc<str>, kind: Kind) -> Permit {
        self.metrics.in_flight.inc();
        Permit { queue: self.clone(), site, kind }
    }

    fn busy(&self, turn: &Turn) -> Busy {
        self.metrics.turned_away(&turn.site, turn.class.as_str());
        let state = self.state();
        let gap = state.drain.gap.max(clock::instant().saturating_duration_since(state.drain.last));
        let (waiting, in_flight) = (state.waiting, state.in_flight.iter().sum::<usize>());
        drop(state);
        let ahead = waiting.saturating_add(1).min(1 << 16) as u32;
        let whole = gap.saturating_mul(ahead).as_millis().div_ceil(1000).min(u128::from(RETRY.1.as_secs()));
        let retry_after = Duration::from_secs(whole as u64).clamp(RETRY.0, RETRY.1);
        if let Some(suppressed) = self.seldom.due() {
            let (origin, site, class) = (&self.origin, &*turn.site, turn.class.as_str());
            tracing::warn!(
                origin,
                site,
                class,
                in_flight,
                waiting,
                ?retry_after,
                suppressed,
                "the origin is asked for more than it may be: requests are turned away"
            );
        }
        Busy { retry_after }
    }

    /// A place came back: it goes to whoever is next.
    fn given_back(self: &Arc<Self>, site: &Arc<str>, kind: Kind) {
        let mut state = self.state();
        state.give_back(site, kind);
        let somebody_waits = state.waiting > 0;
        state.drain.given_back(somebody_waits);
        let mut granted = Vec::new();
        while let Some((site, kind, place)) = state.next(&self.places) {
            self.metrics.queued.dec();
            granted.push((place, self.permit(site, kind)));
        }
        drop(state);
        for (place, permit) in granted {
            // Who left meanwhile leaves the place to the next.
            drop(place.send(permit));
        }
    }
}

impl State {
    fn free(&self, places: &Places, site: Option<&Site>, kind: Kind) -> bool {
        let all = self.in_flight.iter().sum::<usize>();
        let of_kind = self.in_flight[kind as usize] < places.all.saturating_sub(places.reserved);
        let of_site = site.is_none_or(|site| site.in_flight[kind as usize] < places.per_site);
        all < places.all && of_kind && of_site
    }

    fn take_if_free(&mut self, places: &Places, name: &Arc<str>, kind: Kind) -> bool {
        let free = self.free(places, self.sites.get(name), kind);
        if free {
            self.take(name, kind);
        }
        free
    }

    fn take(&mut self, name: &Arc<str>, kind: Kind) {
        self.in_flight[kind as usize] += 1;
        self.sites.entry(name.clone()).or_default().in_flight[kind as usize] += 1;
    }

    fn give_back(&mut self, name: &Arc<str>, kind: Kind) {
        self.in_flight[kind as usize] -= 1;
        if let Some(site) = self.sites.get_mut(name) {
            site.in_flight[kind as usize] -= 1;
        }
        self.tidy(name);
    }

    /// Forgets a site that has nobody in flight and nobody waiting.
    fn tidy(&mut self, name: &Arc<str>) {
        if self.sites.get(name).is_some_and(|site| site.in_flight == [0; 2] && site.waiting() == 0) {
            self.sites.remove(name);
        }
    }

    /// Takes a place for whoever is next, if one is free for anybody who waits.
    fn next(&mut self, places: &Places) -> Option<(Arc<str>, Kind, oneshot::Sender<Permit>)> {
        if self.waiting == 0 {
            return None;
        }
        let reserve_left = self.in_flight[Kind::Unsafe as usize] < places.reserved;
        let able = self.sites.iter().filter_map(|(name, site)| {
            let able = |line: &usize| {
                !site.lines[*line].is_empty() && self.free(places, Some(site), Kind::of_line(*line))
            };
            let line = (0..LINES).find(able)?;
            let (reserved, warm_up) = (line == 0 && reserve_left, line == Kind::Safe.line(Class::WarmUp));
            let number = site.lines[line].front()?.number;
            let in_flight = site.in_flight.iter().sum::<usize>();
            Some(((!reserved, warm_up, in_flight, line, number), name, line))
        });
        let (_, name, line) = able.min_by_key(|(order, ..)| *order)?;
        let (name, kind) = (name.clone(), Kind::of_line(line));
        let waiter = self.sites.get_mut(&name)?.lines[line].pop_front()?;
        self.waiting -= 1;
        self.take(&name, kind);
        Some((name, kind, waiter.place))
    }

    /// One leaves the queue, if it is still there.
    fn leave(&mut self, name: &Arc<str>, line: usize, number: u64) -> Option<Waiter> {
        let line = &mut self.sites.get_mut(name)?.lines[line];
        // Numbers rise along a line.
        let at = line.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
        self.waiting -= 1;
        line.remove(at)
    }

    /// Makes room in a full queue for one of `name` in `line`: the last of the site that has most waiting leaves it, if
    /// that is another with more, or the last of the same site if it is in a line behind.
    fn displace(&mut self, name: &Arc<str>, line: usize) -> Option<oneshot::Sender<Permit>> {
        let own = self.sites.get(name).map_or(0, Site::waiting);
        let (longest, site) = self.sites.iter_mut().max_by_key(|(_, site)| site.waiting())?;
        let last = (0..LINES).rev().find(|line| !site.lines[*line].is_empty())?;
        if !(site.waiting() > own + 1 || (longest == name && last > line)) {
            return None;
        }
        let displaced = site.lines[last].pop_back()?;
        self.waiting -= 1;
        Some(displaced.place)
    }
}

impl Site {
    fn waiting(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }
}

impl Drain {
    /// Only gaps between two ends while somebody waits say something about the rate.
    fn given_back(&mut self, somebody_waits: bool) {
        let now = clock::instant();
        if somebody_waits {
            let gap = now.saturating_duration_since(self.last).min(RETRY.1);
            self.gap = if self.gap.is_zero() { gap } else { self.gap.mul_f32(0.8) + gap.mul_f32(0.2) };
        }
        self.last = now;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.queue.metrics.in_flight.dec();
        self.queue.given_back(&self.site, self.kind);
    }
}

/// One who waits. Dropped, it has left the queue, if it was not called or displaced before.
struct Waiting {
    queue: Arc<Queue>,
    site: Arc<str>,
    line: usize,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        let left = state.leave(&self.site, self.line, self.number);
        state.tidy(&self.site);
        drop(state);
        if left.is_some() {
            self.queue.metrics.queued.dec();
        }
    }
}

#[cfg(test)]
mod tests;
