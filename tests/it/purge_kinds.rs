//! What each kind of purge covers and what it leaves, in memory and on disk, before and after a restart (G18, G19, G20, G34).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

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

/// Fields by which the origin names what it sends; no client sees one of them.
const NAMING: [&str; 5] = ["surrogate-key", "cache-tag", "edge-cache-tag", "xkey", "cache-groups"];

/// What is stored, for each host, and by which field and tags it is named.
const STORED: [(&str, &str, &str); 6] = [
    ("/v2/app", "Surrogate-Key", "course-7 all"),
    ("/v2/deep/er/film", "Cache-Tag", "course-8, all"),
    ("/v20/app", "Edge-Cache-Tag", "course-7,course-70"),
    ("/m/physics/1/film", "xkey", "m1"),
    ("/m/history/1/film", "xkey", "m2"),
    ("/plain?v=1", "X-None", "course-7"),
];

const HOSTS: [&str; 3] = ["a.example", "t1.example", "t2.example"];

/// Site `a` by itself, `t1` and `t2` of one scope; the module stands in the path.
fn sites(origin: &Origin, tiers: &str) -> String {
    let site = |name: &str, scope: &str| {
        format!(
            "[[site]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\norigin = \"lms\"\n{scope}\
             [[site.rule]]\nname = \"modules\"\npath = \"/m/{{module}}/**\"\nverdict = \"cache\"\n\
             module = \"{{module}}\"\n"
        )
    };
    format!(
        "{tiers}[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n{}{}{}",
        origin.addr(),
        site("a", ""),
        site("t1", "scope = \"theme\"\n"),
        site("t2", "scope = \"theme\"\n"),
    )
}

const ON_DISK: &str = "[disk]\nflush_interval = \"50ms\"\n\
                       [[disk.folder]]\npath = \"disk\"\nlimit = \"64MiB\"\n";

/// Answers with the version that is current when the request comes.
fn versioned(origin: &Origin) -> Arc<AtomicU64> {
    let version = Arc::new(AtomicU64::new(1));
    for (target, field, tags) in STORED {
        let current = version.clone();
        origin.on_call(target.split('?').next().unwrap(), move |_, _| {
            Answer::storable(current.load(SeqCst).to_string()).field(field, tags)
        });
    }
    version
}

async fn ask(edge: &Edge, host: &str, target: &str) -> Reply {
    let reply = edge.ask(&Request::get(target).host(host)).await.expect(200);
    for name in NAMING {
        assert_eq!(reply.field(name), None, "{host}{target}");
    }
    reply
}

async fn purge(edge: &Edge, what: &Value) -> Value {
    let reply = edge.control("POST", "/v1/purges", &what.to_string()).await.expect(200);
    serde_json::from_slice(&reply.body).unwrap()
}

/// The scope that a host's stored responses belong to.
fn scope(host: &str) -> &str {
    if host.starts_with('t') { "theme" } else { "a" }
}

/// What to purge, and which paths of which scope that covers; no path: all, no scope: all.
fn kinds() -> Vec<(Value, Option<&'static str>, &'static [&'static str])> {
    vec![
        (json!({"kind": "url", "url": "https://t2.example/v2/app"}), Some("theme"), &["/v2/app"]),
        (
            json!({"kind": "url", "url": "http://a.example/plain?v=1", "exact": true}),
            Some("a"),
            &["/plain?v=1"],
        ),
        (json!({"kind": "url", "url": "http://a.example/plain?v=2", "exact": true}), Some("none"), &[]),
        (
            json!({"kind": "prefix", "url": "http://t1.example/%76%32/"}),
            Some("theme"),
            &["/v2/app", "/v2/deep/er/film"],
        ),
        (
            json!({"kind": "prefix", "url": "http://t1.example/v2/deep/er"}),
            Some("theme"),
            &["/v2/deep/er/film"],
        ),
        (json!({"kind": "prefix", "url": "http://a.example/v2/ap"}), Some("none"), &[]),
        (json!({"kind": "tag", "tag": "course-7", "site": "t1"}), Some("theme"), &["/v2/app", "/v20/app"]),
        (json!({"kind": "tag", "tag": "all", "site": "a"}), Some("a"), &["/v2/app", "/v2/deep/er/film"]),
        (json!({"kind": "tag", "tag": "m1", "site": "a"}), Some("a"), &["/m/physics/1/film"]),
        (json!({"kind": "module", "module": "history", "site": "t2"}), Some("theme"), &["/m/history/1/film"]),
        (json!({"kind": "site", "site": "a"}), Some("a"), &[]),
        (json!({"kind": "scope", "scope": "theme"}), Some("theme"), &[]),
        (json!({"kind": "all"}), None, &[]),
    ]
}

/// Plays all kinds against one edge; `between` comes after each time that everything was asked for.
async fn plays(tiers: &str, between: impl AsyncFn(&mut Edge)) {
    let origin = Origin::start().await;
    let version = versioned(&origin);
    let mut edge = Edge::with(&sites(&origin, tiers)).await;
    let all: Vec<_> = HOSTS.iter().flat_map(|host| STORED.map(|(path, ..)| (*host, path))).collect();
    let mut stands: HashMap<(&str, &str), u64> = HashMap::new();
    for (host, path) in &all {
        ask(&edge, host, path).await.expect_body(200, "1");
        stands.insert((scope(host), path), 1);
    }
    let targets: Vec<_> = origin.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets.len(), 2 * STORED.len(), "one scope is filled once: {targets:?}");
    between(&mut edge).await;
    for (now, (what, of, paths)) in (2..).zip(kinds()) {
        version.store(now, SeqCst);
        let (asked, hits) = (origin.requests().len(), edge.outcome("hit").await);
        let answer = purge(&edge, &what).await;
        assert_eq!((&answer["applied"], &answer["number"]), (&json!(true), &json!(now - 1)), "{what}");
        let mut covered = 0;
        for ((scope, path), stands) in &mut stands {
            let whole = paths.is_empty() && of != Some("none");
            if of.is_none_or(|of| of == *scope) && (whole || paths.contains(path)) {
                (*stands, covered) = (now, covered + 1);
            }
        }
        for (host, path) in &all {
            let reply = ask(&edge, host, path).await;
            assert_eq!(reply.text(), stands[&(scope(host), *path)].to_string(), "{what} {host}{path}");
        }
        assert_eq!(origin.requests().len() - asked, covered, "{what}");
        edge.outcomes("hit", hits + (all.len() - covered) as u64).await;
        between(&mut edge).await;
    }
}

#[tokio::test]
async fn each_kind_covers_what_it_names_in_memory_and_nothing_else() {
    plays("", async |_| {}).await;
}

#[tokio::test]
async fn g19_each_kind_covers_what_it_names_on_disk_and_what_was_refilled_after_any_restart() {
    plays(ON_DISK, async |edge| {
        edge.stop().await;
        edge.start_again().await;
    })
    .await;
}

#[tokio::test]
async fn a_tag_purge_covers_groups_and_lasts_over_a_restart() {
    let origin = Origin::start().await;
    origin.on_call("/a", |_, n| Answer::storable(n.to_string()).field("Cache-Groups", "\"g 1\", \"h\""));
    let mut edge = Edge::before(&origin, ON_DISK).await;
    for body in ["0", "0"] {
        edge.get("/a").await.expect_body(200, body);
    }
    purge(&edge, &json!({"kind": "tag", "tag": "g 1", "site": "lms"})).await;
    for body in ["1", "1"] {
        edge.get("/a").await.expect_body(200, body);
    }
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("hit", 2).await;
    purge(&edge, &json!({"kind": "tag", "tag": "h", "site": "lms"})).await;
    edge.stop().await;
    edge.start_again().await;
    edge.get("/a").await.expect_body(200, "2");
    edge.outcomes("miss", 1).await;
}

/// A rule that makes `a` the module of `/c/a`.
const MODULES: &str = "[[site.rule]]\nname = \"modules\"\npath = \"/c/{module}\"\nverdict = \"cache\"\n\
                       module = \"{module}\"\n";

/// Purges that cover `/c/a`, with its tag `t` and under [`MODULES`].
fn covering_a() -> Vec<Value> {
    vec![
        json!({"kind": "url", "url": "http://lms.example/c/a", "soft": true}),
        json!({"kind": "prefix", "url": "http://lms.example/c"}),
        json!({"kind": "tag", "tag": "t", "site": "lms"}),
        json!({"kind": "module", "module": "a", "site": "lms"}),
        json!({"kind": "all"}),
        json!({"kind": "tag", "tag": "t", "site": "lms", "soft": true}),
        json!({"kind": "module", "module": "a", "site": "lms", "soft": true}),
    ]
}

#[tokio::test]
async fn g20_who_comes_after_the_purge_takes_nothing_of_a_fill_from_before() {
    for what in covering_a() {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let tagged = |body: &str| Answer::storable(body).field("xkey", "t");
        origin.on_each("/c/a", vec![tagged("old").behind(&gate), tagged("new")]);
        origin.on("/ping", Answer::storable("ping"));
        let edge = Edge::before(&origin, MODULES).await;
        let mut first = edge.client().await;
        first.send(&Request::get("/c/a").bytes()).await;
        gate.arrived(1).await;
        purge(&edge, &what).await;
        // Streams of one connection begin in order: the answer to the second tells that the first one is on its way.
        let h2 = edge.h2().await;
        let later = h2.open(&Request::get("/c/a")).await.unwrap();
        h2.get("/ping").await.expect_body(200, "ping");
        gate.open();
        first.reply("GET").await.expect_body(200, "old");
        later.reply().await.expect_body(200, "new");
        edge.get("/c/a").await.expect_body(200, "new");
        assert_eq!(origin.hits("/c/a"), 2, "{what}");
        edge.outcomes("hit", 1).await;
    }
}

#[tokio::test]
async fn g20_a_304_from_before_the_purge_brings_nothing_back() {
    for what in covering_a() {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let waits = gate.clone();
        origin.on_call("/c/a", move |seen, n| match (seen.field("if-none-match"), n) {
            (_, 0) => {
                Answer::storable("old").instead("Cache-Control", "public, max-age=1").field("xkey", "t")
            }
            // What it was purged as it is called no more: that saves it from nothing.
            (Some(_), _) => Answer::new(304, "").field("ETag", "\"v1\"").field("xkey", "u").behind(&waits),
            (None, _) => Answer::storable("new").instead("ETag", "\"v2\""),
        });
        let edge = Edge::before(&origin, MODULES).await;
        let web = edge.address("web").await;
        edge.get("/c/a").await.expect_body(200, "old");
        let first = tokio::spawn(async move {
            let mut client = Client::connect(web).await;
            loop {
                let reply = client.get("/c/a").await.expect(200);
                let hit = reply.field("cache-status").is_some_and(|told| told.starts_with("lectern; hit"));
                if !hit || reply.text() == "new" {
                    return reply;
                }
            }
        });
        gate.arrived(1).await;
        purge(&edge, &what).await;
        gate.open();
        first.await.unwrap();
        for _ in 0..2 {
            edge.get("/c/a").await.expect_body(200, "new");
        }
        let asked = origin.seen("/c/a");
        let conditional = asked.iter().filter(|seen| seen.field("if-none-match").is_some()).count();
        assert_eq!(conditional, 1, "{what}: {asked:#?}");
        eventually("hits", async || edge.outcome("hit").await >= 1).await;
    }
}

#[tokio::test]
async fn g20_a_refresh_in_the_background_from_before_the_purge_brings_nothing_back() {
    for what in covering_a() {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let tagged = |body: &str| Answer::storable(body).field("xkey", "t");
        let stale = |body: &str| {
            let says = "max-age=10, stale-while-revalidate=600";
            tagged(body).instead("Cache-Control", says).field("Age", "20")
        };
        let new = tagged("new").instead("ETag", "\"v3\"");
        let between = tagged("between").instead("ETag", "\"v2\"").behind(&gate);
        origin.on_each("/c/a", vec![stale("old"), between, new]);
        let edge = Edge::before(&origin, MODULES).await;
        for _ in 0..2 {
            edge.get("/c/a").await.expect_body(200, "old");
        }
        gate.arrived(1).await;
        purge(&edge, &what).await;
        let (soft, asked) = (what["soft"] == json!(true), origin.last("/c/a"));
        assert_eq!(asked.field("if-none-match"), Some("\"v1\""), "{what}: it is a refresh");
        if soft {
            // Stale it may serve still; and a fill that began after the purge is what refreshes it.
            edge.get("/c/a").await.expect_body(200, "old");
        } else {
            edge.get("/c/a").await.expect_body(200, "new");
        }
        origin
            .until("/c/a", "an answer", |seen| seen.answered && seen.field("if-none-match").is_none())
            .await;
        origin.reached("/c/a", 3).await;
        gate.open();
        edge.settled().await;
        for _ in 0..2 {
            edge.get("/c/a").await.expect_body(200, "new");
        }
        assert!(
            origin.last("/c/a").field("if-none-match").is_none(),
            "{what}: a purge is asked about by no validator"
        );
        assert_eq!(origin.hits("/c/a"), 3, "{what}");
        edge.outcomes("stale", 1 + u64::from(soft)).await;
    }
}

#[tokio::test]
async fn a_304_names_tags_anew_field_by_field_and_what_it_is_silent_of_stays() {
    let origin = Origin::start().await;
    // Named `a` by xkey, then by a field of two 304s `b` and `c`; what that field said before the last one counts still.
    let table = [
        ("", "a", true),
        ("cache-tag", "a", true),
        ("cache-tag", "b", true),
        ("cache-tag", "c", true),
        ("xkey", "a", false),
        ("xkey", "b", true),
        ("xkey", "c", true),
        ("xkey", "d", false),
    ];
    let edge = Edge::before(&origin, "").await;
    for (row, (field, tag, covered)) in table.into_iter().enumerate() {
        let path = format!("/{row}");
        origin.on_call(&path, move |seen, n| {
            let answer = match seen.field("if-none-match") {
                Some(_) if field.is_empty() => Answer::new(304, ""),
                Some(_) => Answer::new(304, "").field(field, ["a", "b", "c"][n]),
                None => Answer::new(200, n.to_string()).field("xkey", "a"),
            };
            let age = if n < 2 { "1000" } else { "0" };
            answer.field("ETag", "\"v\"").field("Cache-Control", "public, max-age=600").field("Age", age)
        });
        for _ in 0..4 {
            edge.get(&path).await.expect_body(200, "0");
        }
        assert_eq!(origin.hits(&path), 3, "{path}: freshened twice");
        purge(&edge, &json!({"kind": "tag", "tag": tag, "site": "lms"})).await;
        let body = if covered { "3" } else { "0" };
        edge.get(&path).await.expect_body(200, body);
        assert_eq!(origin.hits(&path), if covered { 4 } else { 3 }, "{field} {tag}");
    }
    edge.outcomes("hit", 8 + 2).await;
}

#[tokio::test]
async fn g21_however_many_tags_are_purged_who_waits_leaves_for_one_younger_fill() {
    let (origin, first, second) = (Origin::start().await, Gate::new(), Gate::new());
    let tagged = |body: &str, gate: &Gate| Answer::storable(body).field("xkey", "t").behind(gate);
    origin.on_each("/a", vec![tagged("0", &first), tagged("1", &second), tagged("2", &second)]);
    origin.on("/ping", Answer::storable("ping"));
    let edge = Edge::before(&origin, "").await;
    let h2 = edge.h2().await;
    // Streams of one connection begin in order: the answer to the last tells that the others are on their way.
    let come = async || {
        let mut waiting = Vec::new();
        for _ in 0..20 {
            waiting.push(h2.open(&Request::get("/a")).await.unwrap());
        }
        h2.get("/ping").await.expect_body(200, "ping");
        waiting
    };
    let storm = async || {
        for n in 0..10 {
            for tag in ["t", "other", &format!("other-{n}")] {
                purge(&edge, &json!({"kind": "tag", "tag": tag, "site": "lms"})).await;
            }
        }
    };
    let before = come().await;
    storm().await;
    let after = come().await;
    storm().await;
    first.open();
    second.arrived(1).await;
    storm().await;
    second.open();
    for stream in before {
        stream.reply().await.expect_body(200, "0");
    }
    for stream in after {
        stream.reply().await.expect_body(200, "1");
    }
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("joined", 19 + 19).await;
}

#[tokio::test]
async fn a_soft_purge_serves_stale_where_that_is_allowed_and_asks_without_a_condition() {
    let origin = Origin::start().await;
    let windows = [
        ("/while", ", stale-while-revalidate=600"),
        ("/error", ", stale-if-error=600"),
        ("/none", ""),
        ("/forbids", ", stale-while-revalidate=600, must-revalidate"),
    ];
    for (path, more) in windows {
        origin.on_call(path, move |_, n| match (path, n) {
            ("/error", 1) => Answer::new(500, "broken"),
            _ => {
                Answer::storable(n.to_string()).instead("Cache-Control", format!("public, max-age=600{more}"))
            }
        });
    }
    let edge = Edge::before(&origin, "").await;
    for (path, _) in windows {
        edge.get(path).await.expect_body(200, "0");
    }
    purge(&edge, &json!({"kind": "all", "soft": true})).await;
    edge.get("/while").await.expect_body(200, "0");
    edge.outcomes("stale", 1).await;
    origin.reached("/while", 2).await;
    edge.settled().await;
    edge.get("/while").await.expect_body(200, "1");
    edge.get("/error").await.expect_body(200, "0");
    edge.outcomes("stale", 2).await;
    edge.get("/error").await.expect_body(200, "2");
    for path in ["/none", "/forbids"] {
        edge.get(path).await.expect_body(200, "1");
    }
    assert!(origin.requests().iter().all(|seen| seen.field("if-none-match").is_none()));
    // A hard one in its place: nothing stale, whatever is allowed.
    purge(&edge, &json!({"kind": "prefix", "url": "http://lms.example/while"})).await;
    edge.get("/while").await.expect_body(200, "2");
    edge.outcomes("stale", 2).await;
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn tags_are_told_no_client_of_a_relayed_or_refused_answer_either() {
    let origin = Origin::start().await;
    for (path, control) in [("/private", "private"), ("/none", "no-store")] {
        let named = NAMING.iter().fold(Answer::storable("x"), |answer, name| answer.field(name, "\"t\""));
        origin.on(path, named.instead("Cache-Control", control));
    }
    let edge = Edge::before(&origin, "").await;
    for (method, path) in [("GET", "/private"), ("GET", "/none"), ("POST", "/none"), ("HEAD", "/none")] {
        let reply = edge.ask(&Request::new(method, path)).await.expect(200);
        assert!(NAMING.iter().all(|name| reply.field(name).is_none()), "{method} {path}: {reply}");
    }
    assert_eq!(origin.requests().len(), 4);
    edge.outcomes("pass", 4).await;
}

#[tokio::test]
async fn what_cannot_be_purged_is_said_and_nothing_is_written() {
    let origin = Origin::start().await;
    let edge = Edge::before(&origin, "").await;
    for (body, status, kind) in [
        (json!({"kind": "tag", "tag": "", "site": "lms"}), 422, "wrong-name"),
        (json!({"kind": "tag", "tag": "t"}), 422, "wrong-fields"),
        (json!({"kind": "tag", "tag": "t", "site": "nobody"}), 404, "unknown-site"),
        (json!({"kind": "module", "module": "m", "site": "lms"}), 404, "no-modules"),
        (json!({"kind": "scope", "scope": "nothing"}), 404, "unknown-scope"),
        (json!({"kind": "prefix", "url": "http://lms.example/a?b"}), 422, "bad-url"),
        (json!({"kind": "all", "site": "lms"}), 422, "wrong-fields"),
        (json!({"kind": "all", "soft": "yes"}), 422, "wrong-fields"),
        (json!({"kind": "everything"}), 422, "wrong-fields"),
    ] {
        let reply = edge.control("POST", "/v1/purges", &body.to_string()).await.expect(status);
        let problem: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(problem["type"], format!("urn:lectern:{kind}"), "{body}: {problem}");
    }
    assert_eq!(edge.metric("lectern_ledger_number", &[]).await, 0.0);
    assert_eq!(origin.requests().len(), 0);
}
