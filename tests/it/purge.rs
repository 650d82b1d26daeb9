//! Purges: what is acknowledged is in force, whatever is under way (G18, G19, G20; the third promise).

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use futures_util::future::{LocalBoxFuture, join_all};
use lectern::clock;
use serde_json::{Value, json};

use crate::support::{
    answer::Answer,
    client::Client,
    deadline::eventually,
    edge::Edge,
    gate::Gate,
    message::{Reply, Request},
    origin::Origin,
};

/// Sites `a` and `b` by themselves, `t1` and `t2` of one scope.
fn four_sites(origin: &Origin) -> String {
    let site = |name: &str, rest: &str| {
        format!("[[site]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\norigin = \"lms\"\n{rest}")
    };
    format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n{}{}{}{}",
        origin.addr(),
        site("a", ""),
        site("b", ""),
        site("t1", "scope = \"theme\"\n"),
        site("t2", "scope = \"theme\"\n"),
    )
}

/// An origin whose bodies begin with the version that is current when the request comes.
fn versioned(origin: &Origin, path: &str) -> Arc<AtomicU64> {
    let version = Arc::new(AtomicU64::new(1));
    let current = version.clone();
    origin.on_call(path, move |seen, _| {
        let language = seen.field("accept-language").unwrap_or("-").to_owned();
        Answer::storable(format!("{} {language} {}", current.load(SeqCst), seen.target))
            .field("Vary", "Accept-Language")
    });
    version
}

fn version_of(reply: &Reply) -> u64 {
    reply.text().split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("no version: {reply}"))
}

async fn ledger_number(edge: &Edge) -> f64 {
    edge.metric("lectern_ledger_number", &[]).await
}

#[tokio::test]
async fn g18_a_purged_url_is_gone_in_every_variant_scheme_and_query() {
    let origin = Origin::start().await;
    let version = versioned(&origin, "/page");
    let edge = Edge::with(&four_sites(&origin)).await;
    let mut requests = Vec::new();
    for scheme in ["http", "https"] {
        for language in ["de", "en"] {
            for query in ["", "?a=1", "?a=2"] {
                let request = Request::get(&format!("/page{query}")).host("a.example");
                let request = request.field("X-Forwarded-Proto", scheme).field("Accept-Language", language);
                requests.push((query, request));
            }
        }
    }
    let ask_all = async || {
        let mut versions = Vec::new();
        for (query, request) in &requests {
            versions.push((*query, version_of(&edge.ask(request).await.expect(200))));
        }
        versions
    };
    for _ in 0..2 {
        assert!(ask_all().await.iter().all(|(_, version)| *version == 1));
    }
    assert_eq!(origin.hits("/page"), 12);
    edge.outcomes("hit", 12).await;
    version.store(2, SeqCst);
    // Another spelling of the same URL.
    edge.purge("HTTPS://A.example:443/%70age?a=2").await;
    assert!(ask_all().await.iter().all(|(_, version)| *version == 2));
    assert_eq!(origin.hits("/page"), 24);
    version.store(3, SeqCst);
    let exact = json!({"kind": "url", "url": "http://a.example/page?a=1", "exact": true, "reason": "test"});
    let answer = edge.control("POST", "/v1/purges", &exact.to_string()).await.expect(200);
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (&answer["applied"], &answer["number"], &answer["query"]),
        (&json!(true), &json!(2), &json!("a=1"))
    );
    for (query, version) in ask_all().await {
        assert_eq!(version, if query == "?a=1" { 3 } else { 2 }, "{query}");
    }
    assert_eq!(origin.hits("/page"), 28);
    assert_eq!(ledger_number(&edge).await, 2.0);
}

#[tokio::test]
async fn a_purge_of_a_site_covers_all_that_share_with_it_and_nobody_else() {
    let origin = Origin::start().await;
    let version = versioned(&origin, "/page");
    let edge = Edge::with(&four_sites(&origin)).await;
    let hosts = ["a.example", "b.example", "t1.example", "t2.example"];
    let versions = async || {
        let mut versions = Vec::new();
        for host in hosts {
            let reply = edge.ask(&Request::get("/page").host(host)).await.expect(200);
            versions.push(version_of(&reply));
        }
        versions
    };
    assert_eq!(versions().await, [1, 1, 1, 1]);
    assert_eq!(origin.hits("/page"), 3, "one scope, one response");
    version.store(2, SeqCst);
    edge.purge_site("t1").await;
    assert_eq!(versions().await, [1, 1, 2, 2]);
    version.store(3, SeqCst);
    edge.purge("http://t2.example/page").await;
    assert_eq!(versions().await, [1, 1, 3, 3]);
    version.store(4, SeqCst);
    edge.purge_site("a").await;
    assert_eq!(versions().await, [4, 1, 3, 3]);
    assert_eq!(ledger_number(&edge).await, 3.0);
}

#[tokio::test]
async fn a_site_that_comes_into_a_scope_later_brings_nothing_back() {
    let origin = Origin::start().await;
    let version = versioned(&origin, "/page");
    let edge = Edge::with(&four_sites(&origin)).await;
    edge.ask(&Request::get("/page").host("t1.example")).await.expect(200);
    version.store(2, SeqCst);
    edge.purge_site("t1").await;
    let late = "[[site]]\nname = \"t3\"\nhosts = [\"t3.example\"]\norigin = \"lms\"\nscope = \"theme\"\n";
    edge.configure(&(four_sites(&origin) + late));
    edge.control("POST", "/v1/reload", "").await.expect(200);
    let reply = edge.ask(&Request::get("/page").host("t3.example")).await.expect(200);
    assert_eq!(version_of(&reply), 2);
    assert_eq!(origin.hits("/page"), 2);
}

#[tokio::test]
async fn g20_a_fill_under_way_answers_its_own_and_is_neither_stored_nor_joined() {
    let origin = Origin::start().await;
    let (head, middle) = (Gate::new(), Gate::new());
    let (old, new) = (vec![b'1'; 400_000], vec![b'2'; 400_000]);
    origin.on_each("/head", vec![Answer::storable(&old).behind(&head), Answer::storable(&new)]);
    origin.on_each("/body", vec![Answer::storable(&old).pause(200_000, &middle), Answer::storable(&new)]);
    let edge = Edge::before(&origin, "").await;
    for (path, gate) in [("/head", &head), ("/body", &middle)] {
        let mut first = edge.client().await;
        first.send(&Request::get(path).bytes()).await;
        gate.arrived(1).await;
        // A joiner that came before the purge, where that can be seen.
        let mut joiner = edge.client().await;
        let mut joined = None;
        if path == "/body" {
            joiner.send(&Request::get(path).bytes()).await;
            let mut reply = joiner.head("GET").await;
            joiner.at_least(&mut reply, 1).await;
            joined = Some(reply);
        }
        edge.purge(&format!("http://lms-a.example{path}")).await;
        edge.get(path).await.expect_body(200, &new);
        gate.open();
        first.reply("GET").await.expect_body(200, &old);
        if let Some(mut reply) = joined {
            joiner.rest(&mut reply).await;
            reply.expect_body(200, &old);
        }
        for _ in 0..3 {
            edge.get(path).await.expect_body(200, &new);
        }
        assert_eq!(origin.hits(path), 2, "{path}");
    }
    edge.outcomes("miss", 4).await;
    edge.outcomes("joined", 1).await;
    edge.outcomes("hit", 6).await;
}

#[tokio::test]
async fn g20_what_a_purged_fill_brings_keeps_nobody_from_waiting_for_the_next() {
    let (origin, head, next) = (Origin::start().await, Gate::new(), Gate::new());
    let private = Answer::storable("old").instead("Cache-Control", "no-store").behind(&head);
    origin.on_each("/a", vec![private, Answer::storable("new").behind(&next)]);
    let edge = Edge::before(&origin, "").await;
    let mut first = edge.client().await;
    first.send(&Request::get("/a").bytes()).await;
    head.arrived(1).await;
    edge.purge("http://lms-a.example/a").await;
    head.open();
    first.reply("GET").await.expect_body(200, "old");
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = edge.client().await;
        client.send(&Request::get("/a").bytes()).await;
        clients.push(client);
    }
    next.arrived(1).await;
    next.open();
    for mut client in clients {
        client.reply("GET").await.expect_body(200, "new");
    }
    assert_eq!(origin.hits("/a"), 2, "one for all that came after the purge");
    edge.outcomes("pass", 1).await;
    edge.outcomes("miss", 1).await;
}

#[tokio::test]
async fn g20_a_fill_that_ends_after_the_purge_is_not_stored_even_if_nobody_came_meanwhile() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on_each("/a", vec![Answer::storable("old").behind(&gate), Answer::storable("new")]);
    let edge = Edge::before(&origin, "").await;
    let mut first = edge.client().await;
    first.send(&Request::get("/a").bytes()).await;
    gate.arrived(1).await;
    edge.purge_site("lms").await;
    gate.open();
    first.reply("GET").await.expect_body(200, "old");
    edge.get("/a").await.expect_body(200, "new");
    edge.get("/a").await.expect_body(200, "new");
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("hit", 1).await;
}

/// Warms `path` with an answer that is fresh for a second, and asks for it until it is validated; gives that reply.
async fn until_validated(edge: &Edge, path: &'static str) -> tokio::task::JoinHandle<Reply> {
    let mut client = edge.client().await;
    client.get(path).await.expect(200);
    tokio::spawn(async move {
        loop {
            let reply = client.get(path).await;
            let hit = reply.field("cache-status").is_some_and(|status| status.starts_with("lectern; hit"));
            // What came meanwhile may answer a request that waited.
            if !hit || reply.text() == "new" {
                return reply;
            }
        }
    })
}

#[tokio::test]
async fn g20_a_304_to_a_question_asked_before_the_purge_does_not_bring_the_body_back() {
    for meanwhile in [false, true] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let waits = gate.clone();
        origin.on_call("/a", move |seen, n| match (seen.field("if-none-match"), n) {
            (_, 0) => Answer::storable("old").instead("Cache-Control", "public, max-age=1"),
            (Some(_), _) => Answer::new(304, "").field("ETag", "\"v1\"").behind(&waits),
            (None, _) => Answer::storable("new").instead("ETag", "\"v2\""),
        });
        let edge = Edge::before(&origin, "").await;
        let first = until_validated(&edge, "/a").await;
        gate.arrived(1).await;
        edge.purge("http://lms-a.example/a").await;
        if meanwhile {
            edge.get("/a").await.expect_body(200, "new");
        }
        gate.open();
        let first = first.await.unwrap().expect(200);
        assert!(["old", "new"].contains(&&*first.text()), "{first}");
        edge.get("/a").await.expect_body(200, "new");
        edge.get("/a").await.expect_body(200, "new");
        let asked = origin.seen("/a");
        let conditional = asked.iter().filter(|seen| seen.field("if-none-match").is_some()).count();
        assert_eq!(conditional, 1, "{asked:#?}");
        assert!(asked.len() <= 4, "{asked:#?}");
    }
}

#[tokio::test]
async fn g20_a_waiter_that_asks_anew_after_the_purge_does_not_validate_what_was_purged() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let (waits, conditional) = (gate.clone(), AtomicUsize::new(0));
    // As a real Moodle theme: 304 to any condition. The first question breaks off, on the pooled connection and on a new one.
    origin.on_call("/a", move |seen, n| match (seen.field("if-none-match"), n) {
        (_, 0) => Answer::storable("old").instead("Cache-Control", "public, max-age=1"),
        (Some(_), _) if conditional.fetch_add(1, SeqCst) < 2 => Answer::hang_up().behind(&waits),
        (Some(tag), _) => Answer::new(304, "").field("ETag", tag).field("Cache-Control", "max-age=600"),
        (None, _) => Answer::storable("new").instead("ETag", "\"v2\""),
    });
    origin.on("/ping", Answer::storable("ping"));
    let edge = Edge::before(&origin, "").await;
    edge.get("/ping").await.expect(200);
    let first = until_validated(&edge, "/a").await;
    gate.arrived(1).await;
    // Streams of one connection begin in order: the answer to the second tells that the first one waits.
    let h2 = edge.h2().await;
    let waiter = h2.open(&Request::get("/a")).await.unwrap();
    h2.get("/ping").await.expect_body(200, "ping");
    edge.purge("http://lms-a.example/a").await;
    gate.open();
    first.await.unwrap().expect(502);
    waiter.reply().await.expect_body(200, "new");
    edge.get("/a").await.expect_body(200, "new");
    let last = origin.last("/a");
    assert_eq!(last.field("if-none-match"), None);
    edge.outcomes("failed", 1).await;
}

#[tokio::test]
async fn purges_during_a_thousand_joins_leave_nobody_with_what_was_purged_before_they_asked() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let (version, floor) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
    let (current, waits) = (version.clone(), gate.clone());
    origin.on_call("/film", move |_, _| {
        let body = format!("{} {}", current.load(SeqCst), "x".repeat(100_000));
        Answer::storable(body).pause(50_000, &waits)
    });
    let edge = Edge::before(&origin, "").await;
    let web = edge.address("web").await;
    let mut clients = tokio::task::JoinSet::new();
    for wave in 1..=5 {
        for _ in 0..200 {
            let floor = floor.clone();
            clients.spawn(async move {
                let mut client = Client::connect(web).await;
                let least = floor.load(SeqCst);
                let reply = client.get("/film").await.expect(200);
                assert_eq!(reply.body.len(), 100_002);
                (least, version_of(&reply))
            });
        }
        gate.arrived(wave).await;
        let next = version.fetch_add(1, SeqCst) + 1;
        edge.purge("http://lms-a.example/film").await;
        floor.store(next, SeqCst);
    }
    gate.open();
    let mut seen = 0;
    while let Some(done) = clients.join_next().await {
        let (least, got) = done.unwrap();
        assert!(got >= least, "version {got} after the purge of all below {least}");
        seen += 1;
    }
    assert_eq!(seen, 1000);
    assert!(origin.hits("/film") <= 6, "{} requests for five purges", origin.hits("/film"));
    assert_eq!(version_of(&edge.get("/film").await), 6);
    assert_eq!(ledger_number(&edge).await, 5.0);
    let outcomes = edge.outcome("joined").await + edge.outcome("hit").await + edge.outcome("miss").await;
    assert_eq!(outcomes, 1001);
}

#[tokio::test]
async fn the_end_of_the_chain_is_told_in_the_log_as_the_ledger_has_it() {
    let origin = Origin::start().await;
    let edge = Edge::before(&origin, "[ledger]\ntell_head = \"50ms\"\n").await;
    edge.says("the end of the ledger's chain").await;
    edge.purge("http://lms-a.example/a").await;
    edge.says("number=1 digest=").await;
    let told = edge.said().into_iter().find(|line| line.contains("number=1 digest=")).unwrap();
    let digest =
        told.split("digest=").nth(1).unwrap().split_whitespace().next().unwrap().trim_matches('"').to_owned();
    let export = edge.command(&["ledger", "export", "--json"]);
    assert!(String::from_utf8_lossy(&export.stdout).contains(&digest), "{told} {export:?}");
}

/// A script that runs wild does not empty the cache again and again: what is refused is never taken for done.
#[tokio::test]
async fn g22_everything_is_purged_once_in_ten_seconds_and_whoever_asks_again_is_told_so() {
    let origin = Origin::start().await;
    let version = versioned(&origin, "/page");
    let edge = Edge::with(&(four_sites(&origin) + "[control]\nwhole_purge_pause = \"10s\"\n")).await;
    let ask = Request::get("/page").host("a.example");
    edge.ask(&ask).await.expect(200);
    version.store(2, SeqCst);
    edge.purge_site("a").await;
    assert_eq!(version_of(&edge.ask(&ask).await), 2);
    version.store(3, SeqCst);
    let whole = json!({"kind": "site", "site": "a", "settle": 0});
    let refused = edge.control("POST", "/v1/purges", &whole.to_string()).await.expect(429);
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{refused}");
    assert!(refused.text().contains("too-soon"), "{refused}");
    assert_eq!((version_of(&edge.ask(&ask).await), origin.hits("/page")), (2, 2), "nothing was purged");
    assert_eq!(ledger_number(&edge).await, 1.0);
    // What is not everything of the same is not concerned.
    let others = [
        json!({"kind": "site", "site": "b"}),
        json!({"kind": "site", "site": "a", "soft": true}),
        json!({"kind": "url", "url": "http://a.example/page"}),
    ];
    for other in others {
        edge.control("POST", "/v1/purges", &other.to_string()).await.expect(200);
    }
    assert_eq!(version_of(&edge.ask(&ask).await), 3);
    assert_eq!(ledger_number(&edge).await, 4.0);
}

/// What a ledger's folder is worth that was taken back from a backup, or lost: nothing purged comes back, and a purge is none less.
#[tokio::test]
async fn after_a_lost_or_restored_ledger_nothing_purged_comes_back_and_purges_are_in_force() {
    for restored in [true, false] {
        let origin = Origin::start().await;
        for path in ["/a", "/b", "/c"] {
            origin.on_call(path, |_, n| Answer::storable(n.to_string()));
        }
        let disk =
            "[disk]\nflush_interval = \"50ms\"\n[[disk.folder]]\npath = \"store\"\nlimit = \"64MiB\"\n";
        let mut edge = Edge::before(&origin, disk).await;
        let get = async |edge: &Edge, path: &str, body: &str| {
            edge.get(path).await.expect_body(200, body);
        };
        for path in ["/a", "/b"] {
            get(&edge, path, "0").await;
        }
        edge.purge("http://lms-a.example/other").await;
        edge.stop().await;
        let (ledger, backup) = (edge.path("ledger"), edge.path("backup"));
        copy(&ledger, &backup);
        edge.start_again().await;
        // After the backup: a purge and what it brought anew, something that nobody purged, and a purge that nothing followed.
        edge.purge("http://lms-a.example/a").await;
        get(&edge, "/a", "1").await;
        get(&edge, "/c", "0").await;
        edge.purge("http://lms-a.example/b").await;
        edge.stop().await;
        fs::remove_dir_all(&ledger).unwrap();
        if restored {
            fs::rename(&backup, &ledger).unwrap();
        }
        edge.start_again().await;
        let emptied = edge.said().iter().any(|line| line.contains("the folder is emptied"));
        assert_eq!(emptied, restored, "{:?}", edge.said());
        // What was purged since the backup cannot be told from what was not.
        get(&edge, "/a", "2").await;
        get(&edge, "/b", "1").await;
        // The numbers come again; what was stored before and under them is no more of use then.
        edge.purge("http://lms-a.example/other").await;
        edge.purge("http://lms-a.example/b").await;
        edge.purge("http://lms-a.example/other").await;
        get(&edge, "/c", "1").await;
        get(&edge, "/b", "2").await;
        get(&edge, "/a", "2").await;
        edge.stop().await;
        edge.start_again().await;
        get(&edge, "/b", "2").await;
        edge.outcomes("hit", 1).await;
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        let to = to.join(path.file_name().unwrap());
        if kind.is_dir() { copy(&path, &to) } else { _ = fs::copy(&path, to) }
    }
}

/// Small random numbers, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A purge of a site, or of a path, its tag or its last segment, hard or soft; which paths it outdates.
fn any_purge(dice: &mut Dice, site: &str, which: usize) -> (Value, bool) {
    let (url, soft) = (format!("https://{site}.example/p/{which}"), dice.below(5) == 0);
    let what = match dice.below(6) {
        0 => json!({"kind": "site", "site": site}),
        1 => json!({"kind": "tag", "tag": "all", "site": site}),
        2 => json!({"kind": "prefix", "url": format!("https://{site}.example/p")}),
        3 => json!({"kind": "prefix", "url": url}),
        4 => json!({"kind": "tag", "tag": format!("p{which}"), "site": site}),
        _ => json!({"kind": "url", "url": url}),
    };
    let mut how = what;
    (how["soft"], how["settle"]) = (json!(soft), json!(dice.below(2)));
    let whole = how["kind"] == "site"
        || how["tag"] == "all"
        || how["url"].as_str().is_some_and(|u| u.ends_with("/p"));
    (how, whole)
}

/// The time within which all but one in a hundred took place.
fn p99(mut took: Vec<std::time::Duration>) -> std::time::Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// `LECTERN_SEED=n` plays a failed game again (its interleaving is up to the machine). At full length it is ten thousand purges.
#[tokio::test]
async fn no_answer_is_older_than_the_last_purge_acknowledged_before_it_was_asked_for() {
    const PATHS: [&str; 3] = ["/p/0", "/p/1", "/p/2"];
    let told = std::env::var("LECTERN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = told.unwrap_or_else(|| RandomState::new().hash_one(0)) | 1;
    let origin = Origin::start().await;
    let version = Arc::new(AtomicU64::new(1));
    for path in PATHS {
        let (version, dice) = (version.clone(), std::sync::Mutex::new(Dice(seed)));
        origin.on_call(path, move |seen, _| {
            let (now, roll) = (version.load(SeqCst), dice.lock().unwrap().below(8));
            // 304 to any condition: what is outdated must not be asked about.
            if let Some(tag) = seen.field("if-none-match") {
                return Answer::new(304, "").field("ETag", tag).field("Cache-Control", "public, max-age=1");
            }
            let answer = Answer::storable(format!("{now} {}", "x".repeat(1 << (2 * roll))));
            let answer = answer.instead("ETag", format!("\"{now}\"")).field("Vary", "Accept-Language");
            let answer = answer.field("Surrogate-Key", format!("p{} all", &seen.path()[3..]));
            match roll {
                0 => answer.instead("Cache-Control", "no-store"),
                1..=4 => answer.instead("Cache-Control", "public, max-age=1, stale-while-revalidate=60"),
                5 => answer.chunked(),
                6 => answer.resets_after(20_000),
                _ => answer,
            }
        });
    }
    let edge = Arc::new(Edge::with(&four_sites(&origin)).await);
    let floors: Arc<[AtomicU64; 3]> = Arc::new([const { AtomicU64::new(1) }; 3]);
    let (answers, purgers) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(2)));
    let mut tasks: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
    for task in 0..6_u64 {
        let (edge, floors, answers, purgers) =
            (edge.clone(), floors.clone(), answers.clone(), purgers.clone());
        tasks.push(Box::pin(async move {
            let mut dice = Dice(seed.wrapping_mul(2 * task + 3) | 1);
            while purgers.load(SeqCst) > 0 {
                let which = dice.below(3) as usize;
                let host = ["t1.example", "t2.example"][dice.below(2) as usize];
                let request = Request::get(PATHS[which]).host(host);
                let request = request.field("Accept-Language", ["de", "en"][dice.below(2) as usize]);
                let least = floors[which].load(SeqCst);
                let reply = edge.ask(&request).await;
                if reply.status == 200 && !reply.body.is_empty() {
                    let got = version_of(&reply);
                    assert!(got >= least, "seed {seed}: {got} of {} below {least}: {reply}", PATHS[which]);
                    answers.fetch_add(1, SeqCst);
                }
            }
        }));
    }
    let purges = if std::env::var_os("LECTERN_SOAK").is_some() { 5000 } else { 100 };
    let took = std::rc::Rc::new(std::sync::Mutex::new(Vec::new()));
    for task in 0..2_u64 {
        let (edge, floors, answers, took) = (edge.clone(), floors.clone(), answers.clone(), took.clone());
        let (version, purgers) = (version.clone(), purgers.clone());
        tasks.push(Box::pin(async move {
            let mut dice = Dice(seed.wrapping_mul(2 * task + 101) | 1);
            for _ in 0..purges {
                let which = dice.below(3) as usize;
                let next = version.fetch_add(1, SeqCst) + 1;
                let site = ["t1", "t2"][dice.below(2) as usize];
                let (what, whole) = any_purge(&mut dice, site, which);
                let asked = clock::instant();
                edge.control("POST", "/v1/purges", &what.to_string()).await.expect(200);
                took.lock().unwrap().push(asked.elapsed());
                for (at, floor) in floors.iter().enumerate() {
                    if what["soft"] == json!(false) && (whole || at == which) {
                        floor.fetch_max(next, SeqCst);
                    }
                }
                // Between purges the readers come to their turn, now and then until something is stale.
                let enough = answers.load(SeqCst) + dice.below(30);
                eventually(format!("{enough} answers"), async || answers.load(SeqCst) >= enough).await;
            }
            // The readers stop with the last purger: one that still waits for answers gets them.
            purgers.fetch_sub(1, SeqCst);
        }));
    }
    join_all(tasks).await;
    let took = std::mem::take(&mut *took.lock().unwrap());
    println!(
        "{} purges, {} answers, acknowledged within {:?} (p99)",
        took.len(),
        answers.load(SeqCst),
        p99(took.clone())
    );
    assert_eq!(ledger_number(&edge).await, 2.0 * f64::from(purges), "seed {seed}");
    assert!(edge.outcome("hit").await > 0, "seed {seed}: nothing was ever stored");
}

#[tokio::test]
async fn what_is_not_allowed_or_not_understood_changes_nothing_and_says_what_is_missing() {
    let origin = Origin::start().await;
    versioned(&origin, "/page");
    let edge = Edge::with(&four_sites(&origin)).await;
    let ask = Request::get("/page").host("a.example");
    edge.ask(&ask).await.expect(200);
    let good = r#"{"kind":"url","url":"http://a.example/page"}"#;
    let control = edge.address("control").await;
    let bare = Request::new("POST", "/v1/purges").field("Content-Type", "application/json").body(good);
    let wrong = bare.clone().field("Authorization", "Bearer lectern_0000");
    let basic = bare.clone().field("Authorization", "Basic YTpi");
    let problem = |reply: &Reply| {
        assert_eq!(reply.field("content-type"), Some("application/problem+json"), "{reply}");
        let problem: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(problem["status"], reply.status, "{reply}");
        problem["detail"].as_str().unwrap().to_owned()
    };
    for (request, status, says) in [
        (&bare, 401, "Authorization: Bearer"),
        (&basic, 401, "Authorization: Bearer"),
        (&wrong, 403, "token file"),
    ] {
        let reply = Client::connect(control).await.ask(request).await.expect(status);
        assert!(problem(&reply).contains(says), "{reply}");
    }
    let refused: [(&str, u16, &str); 9] = [
        ("", 400, "EOF"),
        ("{", 400, "EOF"),
        (r#"{"kind":"url"}"#, 422, "url"),
        (r#"{"kind":"every"}"#, 422, "every"),
        (r#"{"kind":"url","url":"http://a.example/page","exakt":true}"#, 422, "exakt"),
        (r#"{"kind":"url","url":"/page"}"#, 422, "http"),
        (r#"{"kind":"url","url":"http://u@a.example/page"}"#, 422, "user"),
        (r#"{"kind":"url","url":"http://c.example/page"}"#, 404, "c.example"),
        (r#"{"kind":"site","site":"c"}"#, 404, "\"c\""),
    ];
    for (body, status, says) in refused {
        let reply = edge.control("POST", "/v1/purges", body).await.expect(status);
        assert!(problem(&reply).contains(says), "{body}: {reply}");
    }
    let long = format!(r#"{{"kind":"site","site":"{}"}}"#, "a".repeat(70_000));
    problem(&edge.control("POST", "/v1/purges", &long).await.expect(413));
    problem(&edge.control("GET", "/v1/purges", "").await.expect(405));
    problem(&edge.control("GET", "/v1/purge", "").await.expect(404));
    edge.ask(&ask).await.expect(200);
    assert_eq!(origin.hits("/page"), 1);
    assert_eq!(ledger_number(&edge).await, 0.0);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn the_command_says_by_its_exit_code_whether_the_purge_is_in_force() {
    let origin = Origin::start().await;
    let version = versioned(&origin, "/page");
    let edge = Edge::with(&four_sites(&origin)).await;
    let ask = async |host: &str| version_of(&edge.ask(&Request::get("/page").host(host)).await.expect(200));
    assert_eq!((ask("a.example").await, ask("t1.example").await), (1, 1));
    version.store(2, SeqCst);
    let nobody = "http://127.0.0.1:1";
    fs::write(edge.path("wrong-token"), "lectern_0000\n").unwrap();
    let url = "http://a.example/page";
    let cases: [(&[&str], i32); 8] = [
        (&["purge", "http://c.example/page", "--reason", "x"], 65),
        (&["purge", "--site", "c"], 65),
        (&["purge", "page"], 65),
        (&["purge"], 64),
        (&["purge", url, "--site", "a"], 64),
        (&["purge", url, "--token-file", "absent"], 66),
        (&["purge", url, "--control", nobody], 69),
        (&["purge", url, "--token-file", "wrong-token"], 77),
    ];
    for (arguments, code) in cases {
        let done = edge.command(arguments);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(done.stdout.is_empty() && !said.is_empty(), "{arguments:?}: {said}");
    }
    assert_eq!((ask("a.example").await, ask("t1.example").await), (1, 1), "nothing was changed");
    assert_eq!(ledger_number(&edge).await, 0.0);
    let done = edge.command(&["purge", url, "--reason", "new version"]);
    assert_eq!(done.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&done.stdout).starts_with("applied: number 1, ledger "), "{done:?}");
    assert_eq!(ask("a.example").await, 2);
    assert_eq!(edge.command(&["purge", "--site", "t2"]).status.code(), Some(0));
    assert_eq!(ask("t1.example").await, 2);
    // The ledger's folder is gone: nobody says that a purge is in force.
    fs::rename(edge.path("ledger"), edge.path("elsewhere")).unwrap();
    assert_eq!(edge.command(&["purge", url]).status.code(), Some(75));
}

#[tokio::test]
async fn without_its_ledger_a_node_takes_no_purge_says_so_and_serves_on() {
    let origin = Origin::start().await;
    let version = versioned(&origin, "/page");
    let edge = Edge::before(&origin, "").await;
    edge.get("/page").await.expect(200);
    edge.control("GET", "/readyz", "").await.expect(200);
    fs::rename(edge.path("ledger"), edge.path("elsewhere")).unwrap();
    version.store(2, SeqCst);
    let site = r#"{"kind":"site","site":"lms"}"#;
    let refused = edge.control("POST", "/v1/purges", site).await.expect(503);
    assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    assert!(refused.field("retry-after").is_some() && refused.text().contains("ledger"), "{refused}");
    let ready = edge.control("GET", "/readyz", "").await.expect(503);
    assert!(ready.text().contains("ledger"), "{ready}");
    assert_eq!(edge.metric("lectern_ledger_ready", &[]).await, 0.0);
    assert_eq!(version_of(&edge.get("/page").await.expect(200)), 1, "what is stored is served");
    origin.on("/other", Answer::storable("other"));
    edge.get("/other").await.expect_body(200, "other");
    // Put back it is taken again, without a restart.
    fs::rename(edge.path("elsewhere"), edge.path("ledger")).unwrap();
    eventually("the ledger is taken again", async || edge.control("GET", "/readyz", "").await.status == 200)
        .await;
    edge.purge_site("lms").await;
    assert_eq!(version_of(&edge.get("/page").await.expect(200)), 2);
    assert_eq!(edge.metric("lectern_ledger_ready", &[]).await, 1.0);
}

#[tokio::test]
async fn the_description_served_is_the_one_in_the_documentation() {
    let origin = Origin::start().await;
    let edge = Edge::before(&origin, "").await;
    let served = edge.control("GET", "/v1/openapi.json", "").await.expect(200);
    let written = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json")).unwrap();
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(read(&served.body), read(&written));
    // And it names every path that is there.
    for path in ["/healthz", "/readyz", "/metrics", "/v1/purges", "/v1/reload"] {
        assert!(read(&written)["paths"][path].is_object(), "{path}");
    }
}
