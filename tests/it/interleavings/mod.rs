//! Random interleavings of requests, heads, bodies, purges, unsafe methods, failures and restarts, held to a model; every
//! second one with a disk tier, which restarts leave as it was.
//!
//! The origin holds each answer until a step lets it go: its head, and half of its body. What the edge does between two
//! steps is its own affair; the [`model`] says what may come of it. A failing run prints its seed and all that happened;
//! `LECTERN_SEED=n` runs that seed alone, `LECTERN_SOAK` many of them at length.

mod model;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::support::{
    deadline::{eventually, eventually_is},
    dial::Dial,
    edge::Edge,
    message::End,
    origin::{Origin, Seen},
    playing::Connection,
};
use model::{Counts, Model, Purge, Resource, Says, Sent, Told, Wish};

/// What is asked for: two of one scope by either of its hosts.
const HOSTS: [(&str, &str); 3] = [("a", "a.example"), ("theme", "t1.example"), ("theme", "t2.example")];
const PATHS: [&str; 5] = ["/o/page", "/o/long", "/o/film", "/c/page", "/w/page"];
const QUERIES: [Option<&str>; 2] = [None, Some("q=1")];
/// Clients that wait at most, and steps that the origin holds an answer at most.
const CLIENTS: usize = 24;
const HELD: usize = 50;

/// What the steps and the tasks share.
struct World {
    model: Mutex<Model>,
    held: Mutex<Held>,
}

/// Answers that the origin holds.
#[derive(Default)]
struct Held {
    /// Before the head, with the step in which it came.
    heads: BTreeMap<usize, (usize, oneshot::Sender<(Told, Sent)>)>,
    /// In the body; the word is whether it is cut.
    bodies: BTreeMap<usize, (usize, oneshot::Sender<bool>)>,
    step: usize,
    /// Nothing is held any more.
    open: bool,
}

impl World {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The origin plays one exchange.
    async fn play(self: Arc<World>, mut connection: Connection, seen: Seen) {
        let (number, head) = self.arrives(&seen);
        let told = tokio::select! {
            told = head => told.ok(),
            () = connection.gone() => None,
        };
        let Some((told, Sent { head, body, chunked })) = told else {
            self.held().heads.remove(&number);
            return self.model().abandoned(number);
        };
        if told.says == Says::HangUp {
            return;
        }
        let halves = told.halves && !body.is_empty();
        let (first, second) = body.split_at(if halves { body.len() / 2 } else { body.len() });
        let rest = halves.then(|| self.holds_body(number));
        let mut sent = connection.send(&head).await;
        sent = sent.and(piece(&mut connection, first, chunked).await);
        if let Some(rest) = rest {
            let cut = tokio::select! {
                cut = rest => cut.ok(),
                () = connection.gone() => None,
            };
            let Some(cut) = cut else {
                self.held().bodies.remove(&number);
                return self.model().abandoned(number);
            };
            if cut {
                return;
            }
            sent = sent.and(piece(&mut connection, second, chunked).await);
        }
        if chunked && sent.is_ok() {
            sent = connection.send(b"0\r\n\r\n").await;
        }
        if !halves {
            self.model().body_ends(number, false);
        }
        if sent.is_ok() {
            connection.close().await;
            self.model().taken(number);
        }
    }

    fn arrives(&self, seen: &Seen) -> (usize, oneshot::Receiver<(Told, Sent)>) {
        let mut held = self.held();
        let mut model = self.model();
        let number = model.arrives(seen);
        let (sender, receiver) = oneshot::channel();
        if held.open {
            let says = if seen.method == "POST" { Says::Conflict } else { Says::Public };
            let told = Told {
                says,
                vary: 0,
                chunked: false,
                halves: false,
                ignores_range: false,
                ignores_if_range: false,
            };
            drop(sender.send((told, model.tells(number, told))));
        } else {
            let step = held.step;
            held.heads.insert(number, (step, sender));
        }
        (number, receiver)
    }

    fn holds_body(&self, number: usize) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        let mut held = self.held();
        if held.open {
            self.model().body_ends(number, false);
            _ = sender.send(false);
        } else {
            let step = held.step;
            held.bodies.insert(number, (step, sender));
        }
        receiver
    }

    /// A client asks and reads to the end, unless it is told to leave.
    async fn visit(
        self: Arc<World>,
        to: SocketAddr,
        number: usize,
        wish: Wish,
        leave: oneshot::Receiver<()>,
    ) {
        let Ok(mut client) = Dial::to(to).try_client().await else { return self.model().lost(number) };
        let read = async {
            client.send(&wish.request(number).bytes()).await;
            let mut reply = client.head(wish.method).await;
            if reply.end == End::Open {
                self.model().head(number, &reply);
                client.rest(&mut reply).await;
            }
            reply
        };
        let reply = tokio::select! {
            reply = read => Some(reply),
            Ok(()) = leave => None,
        };
        match reply {
            Some(reply) => self.model().ends(number, &reply),
            None => {
                self.model().leaves(number);
                client.abort();
            }
        }
    }
}

async fn piece(connection: &mut Connection, bytes: &[u8], chunked: bool) -> std::io::Result<()> {
    match (bytes.is_empty(), chunked) {
        (true, _) => Ok(()),
        (false, true) => connection.chunk(bytes).await,
        (false, false) => connection.send(bytes).await,
    }
}

/// SplitMix64. Each step draws from its own, so that what a race changes in one step does not shift the others.
struct Dice(u64);

impl Dice {
    fn of(seed: u64, step: usize) -> Dice {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(step as u64));
        dice.draw();
        dice
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.draw() % n as u64) as usize
    }

    /// So many times in a hundred.
    fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }

    fn of_all<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// One of these by its weight.
    fn weighed<T: Copy>(&mut self, all: &[(usize, T)]) -> T {
        let mut at = self.below(all.iter().map(|(weight, _)| weight).sum());
        let chosen = all.iter().find(|(weight, _)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        chosen.unwrap().1
    }
}

/// One run: the edge, its origin, and who is there.
struct Run {
    seed: u64,
    world: Arc<World>,
    origin: Origin,
    edge: Edge,
    address: SocketAddr,
    visits: JoinSet<()>,
    leaving: BTreeMap<usize, oneshot::Sender<()>>,
    reloads: usize,
}

#[derive(Clone, Copy)]
enum Step {
    Ask,
    Tell,
    GoOn,
    Purge,
    PurgeAndTell,
    Publish,
    Leave,
    Reload,
    Restart,
    Settle,
}

impl Run {
    async fn new(seed: u64) -> Run {
        let places = Dice::of(seed, 0).of_all(&[64, 64, 64, 3]);
        let disk = seed % 2 == 1;
        let world = Arc::new(World { model: Mutex::new(Model::new(places, disk)), held: Mutex::default() });
        let origin = Origin::start().await;
        let playing = world.clone();
        origin.on_raw("/*", move |connection, seen| playing.clone().play(connection, seen));
        let edge = Edge::with(&config(&origin, places, disk, 0)).await;
        let address = edge.address("web").await;
        let (visits, leaving) = (JoinSet::new(), BTreeMap::new());
        Run { seed, world, origin, edge, address, visits, leaving, reloads: 0 }
    }

    async fn steps(&mut self, steps: usize) {
        for step in 1..=steps {
            self.world.held().step = step;
            let mut dice = Dice::of(self.seed, step);
            self.step(&mut dice).await;
            self.look().await;
        }
        self.settle().await;
        self.everything_is_new().await;
    }

    async fn step(&mut self, dice: &mut Dice) {
        let waiting = self.world.model().waiting();
        let step = dice.weighed(&[
            (if waiting < CLIENTS { 45 } else { 0 }, Step::Ask),
            (25, Step::Tell),
            (15, Step::GoOn),
            (6, Step::Purge),
            (4, Step::PurgeAndTell),
            (6, Step::Publish),
            (3, Step::Leave),
            (2, Step::Reload),
            (if self.world.model().disk { 3 } else { 1 }, Step::Restart),
            (2, Step::Settle),
        ]);
        match step {
            Step::Ask => self.ask(dice).await,
            Step::Tell => self.tell(dice, false).await,
            Step::GoOn => self.go_on(dice, false),
            Step::Purge => self.purge(dice).await,
            Step::PurgeAndTell => {
                // Both at once: either may be first.
                let mut other = Dice(dice.draw());
                let this = &*self;
                tokio::join!(this.purge(dice), this.tell(&mut other, false));
            }
            Step::Publish => {
                let resource = self.resource(dice).1;
                self.world.model().publishes(resource);
            }
            Step::Leave => self.leave(dice),
            Step::Reload => {
                self.reloads += 1;
                let disk = self.world.model().disk;
                self.edge.configure(&config(&self.origin, self.places(), disk, self.reloads));
                self.world.model().note("reload");
                self.edge.control("POST", "/v1/reload", "").await.expect(200);
            }
            Step::Restart => self.restart(dice).await,
            Step::Settle => self.settle().await,
        }
        // Nobody waits for ever.
        self.tell(dice, true).await;
        self.go_on(dice, true);
    }

    fn places(&self) -> usize {
        self.world.model().places
    }

    /// What is wrong so far ends the run.
    async fn look(&mut self) {
        while let Some(visit) = self.visits.try_join_next() {
            visit.unwrap();
        }
        let places = self.places();
        eventually(format!("place for what the origin is asked beyond {places}"), async || {
            self.world.model().at_once() <= places
        })
        .await;
        let wrong = std::mem::take(&mut self.world.model().wrong);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(self.origin.malformed(), Vec::<Vec<u8>>::new());
    }

    /// Mostly what the origin is asked for just now, or one of the three that this seed prefers, so that they meet.
    fn resource(&self, dice: &mut Dice) -> (&'static str, Resource) {
        let held: Vec<usize> = self.world.held().heads.keys().copied().collect();
        if dice.percent(30) && !held.is_empty() {
            let resource = self.world.model().exchanges[dice.of_all(&held)].resource;
            let host = HOSTS.iter().find(|(scope, _)| *scope == resource.scope).map(|(_, host)| *host);
            return (host.unwrap(), resource);
        }
        let mut dice = match dice.percent(80) {
            true => Dice::of(self.seed, 1_000_000 + dice.below(3)),
            false => Dice(dice.draw()),
        };
        let (scope, host) = dice.of_all(&HOSTS);
        let (path, query) = (dice.of_all(&PATHS), dice.of_all(&QUERIES));
        (host, Resource { scope, path, query })
    }

    async fn ask(&mut self, dice: &mut Dice) {
        let (host, resource) = self.resource(dice);
        let host = if resource.scope == "theme" { dice.of_all(&["t1.example", "t2.example"]) } else { host };
        let method = dice.weighed(&[(88, "GET"), (5, "HEAD"), (7, "POST")]);
        let values = [
            dice.weighed(&[(60, ""), (20, "de"), (20, "en")]),
            dice.weighed(&[(60, ""), (20, "?0"), (20, "?1")]),
        ];
        let range = (method == "GET" && dice.percent(15)).then(|| {
            // Near the beginning, or anywhere: what is far is asked for by itself.
            let near = dice.percent(50);
            let first = dice.below(if near { 800 } else { resource.length() });
            (first, first + dice.below(2_000_000))
        });
        let own = method == "GET" && dice.percent(4);
        let wish = Wish { method, host, resource, values, cookie: dice.percent(25), own, range };
        // A client by itself, or several that want the same at once.
        for _ in 0..dice.weighed(&[(80, 1), (20, 3)]) {
            self.asks(wish).await;
        }
    }

    async fn asks(&mut self, wish: Wish) -> usize {
        let number = self.world.model().asks(wish);
        let (leave, left) = oneshot::channel();
        self.leaving.insert(number, leave);
        self.visits.spawn(self.world.clone().visit(self.address, number, wish, left));
        if self.world.model().never_waits(number) {
            self.world.model().note(format!("r{number} has nothing to wait for"));
            eventually(format!("sign of r{number}, which has nothing to wait for"), async || {
                self.world.model().settled(number)
            })
            .await;
        }
        for _ in 0..3 {
            if self.world.model().settled(number) {
                break;
            }
            // Time for the edge: it may wait for another's fill, which nobody sees.
            self.edge.metrics().await;
        }
        number
    }

    /// Tells a head that the origin holds: the oldest, or any. `due`: only one that is held for long.
    async fn tell(&self, dice: &mut Dice, due: bool) {
        let Some(cause) = self.tells(dice, due) else { return };
        for _ in 0..3 {
            if self.world.model().has_head(cause) {
                break;
            }
            self.edge.metrics().await;
        }
    }

    /// The same; the client that caused the exchange.
    fn tells(&self, dice: &mut Dice, due: bool) -> Option<usize> {
        let mut held = self.world.held();
        let numbers: Vec<usize> = held.heads.keys().copied().collect();
        let number =
            *numbers.get(if due || dice.percent(60) { 0 } else { dice.below(numbers.len().max(1)) })?;
        if due && held.step < held.heads[&number].0 + HELD {
            return None;
        }
        let (_, sender) = held.heads.remove(&number).unwrap();
        let mut model = self.world.model();
        let told = head(dice, &model, number);
        let sent = model.tells(number, told);
        let cause = model.exchanges[number].cause;
        drop(sender.send((told, sent)));
        Some(cause)
    }

    fn go_on(&self, dice: &mut Dice, due: bool) {
        let mut held = self.world.held();
        let numbers: Vec<usize> = held.bodies.keys().copied().collect();
        let at = if due || dice.percent(60) { 0 } else { dice.below(numbers.len().max(1)) };
        let Some(&number) = numbers.get(at) else { return };
        if due && held.step < held.bodies[&number].0 + HELD {
            return;
        }
        let (_, sender) = held.bodies.remove(&number).unwrap();
        let cut = dice.percent(25);
        self.world.model().body_ends(number, cut);
        _ = sender.send(cut);
    }

    async fn purge(&self, dice: &mut Dice) {
        let (host, resource) = self.resource(dice);
        let purge = dice.weighed(&[
            (35, Purge::Url),
            (15, Purge::ExactUrl),
            (10, Purge::Prefix),
            (15, Purge::Tag),
            (10, Purge::Module),
            (10, Purge::Site),
            (5, Purge::All),
        ]);
        let (soft, settle) = (dice.percent(25), u16::from(dice.percent(15)));
        let record = self.world.model().purges(resource, purge, soft, settle > 0);
        let (site, url) =
            (host.strip_suffix(".example").unwrap(), format!("http://{host}{}", resource.target()));
        let what = match purge {
            Purge::Url => json!({"kind": "url", "url": url}),
            Purge::ExactUrl => json!({"kind": "url", "url": url, "exact": true}),
            Purge::Tag => json!({"kind": "tag", "tag": resource.tag(), "site": site}),
            Purge::Module if resource.module().is_some() => {
                json!({"kind": "module", "module": resource.module(), "site": site})
            }
            Purge::Prefix | Purge::Module => {
                json!({"kind": "prefix", "url": format!("http://{host}{}", resource.prefix())})
            }
            Purge::Site => json!({"kind": "site", "site": site}),
            Purge::All => json!({"kind": "all"}),
        };
        let mut body = what;
        (body["soft"], body["settle"]) = (json!(soft), json!(settle));
        self.edge.control("POST", "/v1/purges", &body.to_string()).await.expect(200);
        self.world.model().purged(record);
    }

    fn leave(&mut self, dice: &mut Dice) {
        self.leaving.retain(|_, leave| !leave.is_closed());
        let numbers: Vec<usize> = self.leaving.keys().copied().collect();
        if !numbers.is_empty()
            && let Some(leave) = self.leaving.remove(&dice.of_all(&numbers))
        {
            _ = leave.send(());
        }
    }

    async fn restart(&mut self, dice: &mut Dice) {
        if dice.percent(50) {
            self.settle().await;
        }
        if dice.percent(50) {
            self.world.model().edge_ends(true);
            self.edge.signal("TERM");
            self.edge.ended().await;
        } else {
            self.world.model().edge_ends(false);
            self.edge.kill().await;
        }
        self.everybody_has_an_answer().await;
        eventually_is("number of exchanges of an edge that is gone", 0, || self.world.model().at_once())
            .await;
        self.edge.start_again().await;
        self.address = self.edge.address("web").await;
        self.world.model().edge_begins();
    }

    /// Lets everything go. Then everybody has an answer, and the counts are those of the model.
    async fn settle(&mut self) {
        self.world.model().note("everything is let go");
        self.open();
        self.everybody_has_an_answer().await;
        let Counts { all, left, fills, rests } = {
            eventually_is("number of exchanges", 0, || self.world.model().at_once()).await;
            eventually("end of all fills", async || {
                self.edge.metric("lectern_fills_in_flight", &[]).await == 0.0
                    && self.edge.metric("lectern_origin_requests_in_flight", &[]).await == 0.0
            })
            .await;
            self.world.model().counts()
        };
        let (outcomes, left_early) = self.world.model().outcomes();
        let known: u64 = outcomes.values().sum();
        eventually(format!("{known} requests in the metrics"), async || {
            self.edge.metric("lectern_requests_total", &[]).await as u64 >= known
        })
        .await;
        let total = self.edge.metric("lectern_requests_total", &[]).await as u64;
        assert!(
            total <= known + left_early,
            "{total} requests in the metrics, {known} to {} seen",
            known + left_early
        );
        for outcome in ["hit", "stale", "revalidated", "miss", "joined", "pass", "refused", "failed"] {
            let (seen, counted) =
                (outcomes.get(outcome).copied().unwrap_or(0), self.edge.outcome(outcome).await);
            assert!((seen..=seen + left_early).contains(&counted), "{counted} are {outcome}, {seen} seen");
        }
        let counted = self.edge.metric("lectern_fills_total", &[]).await as u64;
        assert!(
            (fills - rests..=fills).contains(&counted),
            "{counted} fills, {fills} seen, {rests} of them of a rest"
        );
        let counted = self.edge.metric("lectern_origin_requests_total", &[]).await as u64;
        assert!(
            (all - left..=all).contains(&counted),
            "{counted} exchanges, {all} seen, {left} of them left"
        );
        let purges = self.world.model().purges;
        assert_eq!(self.edge.metric("lectern_ledger_number", &[]).await as u64, purges, "records");
        self.world.held().open = false;
    }

    fn open(&self) {
        let mut held = self.world.held();
        held.open = true;
        let mut model = self.world.model();
        for (number, (_, sender)) in std::mem::take(&mut held.heads) {
            let says = if model.is_post(number) { Says::Done } else { Says::Public };
            let told = Told {
                says,
                vary: 0,
                chunked: false,
                halves: false,
                ignores_range: false,
                ignores_if_range: false,
            };
            drop(sender.send((told, model.tells(number, told))));
        }
        for (number, (_, sender)) in std::mem::take(&mut held.bodies) {
            model.body_ends(number, false);
            _ = sender.send(false);
        }
    }

    async fn everybody_has_an_answer(&mut self) {
        while let Some(visit) = self.visits.join_next().await {
            visit.unwrap();
        }
        assert_eq!(self.world.model().waiting(), 0, "clients that wait");
    }

    /// After a purge of all, each thing is as it is now, and kept.
    async fn everything_is_new(&mut self) {
        for (scope, host) in [HOSTS[0], HOSTS[1]] {
            let everything =
                PATHS.iter().flat_map(|path| QUERIES.map(|query| Resource { scope, path, query }));
            let everything: Vec<Resource> = everything.collect();
            let record = {
                let mut model = self.world.model();
                everything.iter().for_each(|resource| model.publishes(*resource));
                model.purges(everything[0], Purge::Site, false, false)
            };
            let site = host.strip_suffix(".example").unwrap();
            let what = json!({"kind": "site", "site": site, "settle": 0});
            self.edge.control("POST", "/v1/purges", &what.to_string()).await.expect(200);
            self.world.model().purged(record);
            self.world.held().open = true;
            for resource in everything {
                let values = ["", ""];
                let wish =
                    Wish { method: "GET", host, resource, values, cookie: false, own: false, range: None };
                self.asks(wish).await;
            }
        }
        self.everybody_has_an_answer().await;
        self.look().await;
    }
}

/// What a head says: mostly what can be stored, now and then what cannot, and what fails.
fn head(dice: &mut Dice, model: &Model, number: usize) -> Told {
    let vary = dice.weighed(&[(60, 0), (20, 1), (10, 2), (10, 3)]);
    let mut told = Told {
        says: Says::Public,
        vary,
        chunked: dice.percent(30),
        halves: dice.percent(50),
        ignores_range: dice.percent(20),
        ignores_if_range: dice.percent(40),
    };
    let confirms = model.may_confirm(number).filter(|_| dice.percent(70));
    if let Some(vary) = model.may_go_on(number).filter(|_| dice.percent(70)) {
        return Told { vary, ..told };
    }
    told.says = match confirms {
        _ if model.is_post(number) => {
            dice.weighed(&[(70, Says::Done), (20, Says::Conflict), (10, Says::HangUp)])
        }
        Some(vary) => {
            told.vary = vary;
            dice.weighed(&[(80, Says::NotModified), (20, Says::NotModifiedStale)])
        }
        None => dice.weighed(&[
            (40, Says::Public),
            (14, Says::Plain),
            (14, Says::Stale),
            (5, Says::NoStore),
            (5, Says::Private),
            (4, Says::SetCookie),
            (3, Says::VaryCookie),
            (6, Says::Busy),
            (9, Says::HangUp),
        ]),
    };
    told
}

/// With a folder the memory holds little of what is asked for.
fn config(origin: &Origin, places: usize, disk: bool, reloads: usize) -> String {
    let (memory, folder) = match disk {
        true => (
            "1MiB",
            "[disk]\nflush_interval = \"50ms\"\n[[disk.folder]]\npath = \"store\"\nlimit = \"64MiB\"\n",
        ),
        false => ("256MiB", ""),
    };
    let site = |name: &str, scope: &str| {
        format!(
            "[[site]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\norigin = \"lms\"\n{scope}use = [\"all\"]\n"
        )
    };
    format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\nin_flight = {places}\nqueue_wait = \"10m\"\n\
         [cache]\nmemory = \"{memory}\"\npass_mark = \"10m\"\n[node]\nthreads = 2\nstop_deadline = \"100ms\"\n{folder}\
         [[rule_set]]\nname = \"all\"\n\
         [[rule_set.rule]]\nname = \"n{reloads}\"\nprefix = \"/n/{reloads}/\"\nverdict = \"refuse\"\nstatus = 404\n\
         [[rule_set.rule]]\nname = \"c\"\npath = \"/c/{{name}}\"\nmodule = \"{{name}}\"\nverdict = \"cache\"\n\
         [[rule_set.rule]]\nname = \"w\"\npath = \"/w/{{name}}\"\nmodule = \"{{name}}\"\nverdict = \"cache\"\n\
         stale_while_revalidate = \"1h\"\nstale_if_error = \"1h\"\n{}{}{}",
        origin.addr(),
        site("a", ""),
        site("t1", "scope = \"theme\"\n"),
        site("t2", "scope = \"theme\"\n"),
    )
}

/// Runs a seed; a failure tells it, and all that happened.
async fn run(seed: u64, steps: usize) {
    let mut run = Run::new(seed).await;
    if let Err(panic) = AssertUnwindSafe(run.steps(steps)).catch_unwind().await {
        let (log, said) = (run.world.model().log.join("\n"), run.edge.said().join("\n"));
        eprintln!("{log}\n{said}\nLECTERN_SEED={seed}");
        std::panic::resume_unwind(panic);
    }
}

#[tokio::test]
async fn whatever_meets_whatever_nobody_gets_what_is_outdated_torn_or_anothers() {
    let soak = std::env::var_os("LECTERN_SOAK").is_some();
    let steps = if soak { 3000 } else { 200 };
    if let Ok(seed) = std::env::var("LECTERN_SEED") {
        return run(seed.parse().unwrap(), steps).await;
    }
    let first = RandomState::new().hash_one(0) % 1_000_000_000;
    for round in 0..if soak { 100 } else { 1 } {
        join_all((0..4).map(|n| run(first + 4 * round + n, steps))).await;
    }
}
