//! What changes something at the origin: it arrives once its body is whole, never twice, and outdates what is stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::support::{
    answer::Answer, client::Client, deadline::eventually, edge::Edge, gate::Gate, message::Request,
    origin::Origin,
};

fn beacon(target: &str) -> Request {
    Request::new("POST", target).body("seconds=42")
}

/// Asks and leaves after the last byte.
async fn send_and_leave(edge: &Edge, request: &Request, http2: bool, abort: bool) {
    if http2 {
        let client = edge.h2().await;
        let stream = client.open(request).await.unwrap();
        // A ping's answer would do as well: what was sent before is on its way.
        client.get("/there").await.expect(200);
        drop(stream);
        client.abort();
    } else {
        let mut client = edge.client().await;
        client.send(&request.bytes()).await;
        if abort { client.abort() } else { drop(client) }
    }
}

#[tokio::test]
async fn a_beacon_arrives_once_though_its_client_left() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/there", Answer::ok("there"));
    origin.on("/at-once", Answer::new(204, ""));
    origin.on("/behind", Answer::new(204, "").behind(&gate));
    let edge = Edge::before(&origin, "").await;
    for http2 in [false, true] {
        for path in ["/at-once", "/behind"] {
            send_and_leave(&edge, &beacon(path), http2, false).await;
        }
    }
    gate.arrived(2).await;
    // The edge knows that the clients are gone, and still waits for the origin's answer.
    eventually("accounts of those who left", async || edge.outcome("failed").await >= 2).await;
    assert_eq!(edge.metric("lectern_relays_in_flight", &[]).await, 2.0);
    gate.open();
    eventually("the end of all relays", async || edge.metric("lectern_relays_in_flight", &[]).await == 0.0)
        .await;
    for path in ["/at-once", "/behind"] {
        let seen = origin.seen(path);
        assert_eq!(seen.len(), 2, "{path}");
        for seen in seen {
            assert_eq!((&*seen.body, seen.answered, seen.gone), (&b"seconds=42"[..], true, false), "{path}");
        }
    }
    assert_eq!(edge.metric("lectern_origin_requests_total", &["2xx"]).await, 6.0);
}

#[tokio::test]
async fn a_beacon_arrives_though_its_clients_end_comes_with_it() {
    let origin = Origin::start().await;
    origin.on("/track", Answer::new(204, ""));
    let edge = Edge::before(&origin, "").await;
    let web = edge.address("web").await;
    // Often the edge sees the end before it has begun to answer.
    for _ in 0..200 {
        Client::connect(web).await.send(&beacon("/track").bytes()).await;
    }
    origin.reached("/track", 200).await;
    eventually("every body whole", async || {
        origin.seen("/track").iter().all(|seen| seen.body == b"seconds=42" && seen.answered)
    })
    .await;
    eventually("an answer to each", async || {
        edge.metric("lectern_origin_requests_total", &["2xx"]).await == 200.0
    })
    .await;
    eventually("an account of each", async || {
        edge.outcome("failed").await + edge.outcome("pass").await == 200
    })
    .await;
}

#[tokio::test]
async fn a_beacon_that_waits_for_its_turn_arrives_too() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/slow", Answer::ok("x").field("Cache-Control", "no-store").behind(&gate));
    origin.on("/there", Answer::ok("there"));
    origin.on("/track", Answer::new(204, ""));
    let edge = super::edge(origin.addr(), "", "in_flight = 1", "").await;
    let mut slow = edge.client().await;
    slow.send(&Request::get("/slow").bytes()).await;
    gate.arrived(1).await;
    send_and_leave(&edge, &beacon("/track"), false, false).await;
    eventually("one in the queue", async || edge.metric("lectern_origin_requests_queued", &[]).await == 1.0)
        .await;
    edge.outcomes("failed", 1).await;
    gate.open();
    slow.reply("GET").await.expect_body(200, "x");
    origin.until("/track", "its answer", |seen| seen.answered).await;
    assert_eq!((origin.hits("/track"), &*origin.last("/track").body), (1, &b"seconds=42"[..]));
}

#[tokio::test]
async fn g45_a_closed_pooled_connection_is_never_a_502_for_a_get() {
    let origin = Origin::start().await;
    let fresh = |path: &str, answer: Answer| origin.on(path, answer.field("Cache-Control", "no-store"));
    fresh("/fin", Answer::ok("x").then_close());
    fresh("/rst", Answer::ok("x").then_reset());
    // The server closes just as the next request comes.
    origin.on_call("/race", |seen, _| match seen.on_connection {
        0 => Answer::ok("x").field("Cache-Control", "no-store"),
        _ => Answer::hang_up(),
    });
    let edge = Edge::before(&origin, "").await;
    let mut client = edge.client().await;
    for path in ["/fin", "/rst", "/race"] {
        for n in 0..60 {
            // Fills, and relays.
            let request = Request::get(path);
            let request = if n % 2 == 0 { request } else { request.field("X-Own", "1") };
            client.ask(&request).await.expect_body(200, "x");
        }
    }
    edge.outcomes("pass", 180).await;
    edge.outcomes("failed", 0).await;
    assert_eq!(edge.metric("lectern_origin_requests_total", &["error"]).await, 0.0);
}

#[tokio::test]
async fn g45_a_post_is_never_sent_twice() {
    let origin = Origin::start().await;
    origin.on("/fin", Answer::ok("x").then_close());
    origin.on("/rst", Answer::ok("x").then_reset());
    origin.on_call("/race", |seen, _| match seen.on_connection {
        0 => Answer::ok("x"),
        _ => Answer::hang_up(),
    });
    let edge = Edge::before(&origin, "").await;
    let (mut taken, mut failed, mut asked) = (0, 0, 0);
    for path in ["/fin", "/rst", "/race"] {
        for method in ["POST", "DELETE", "LEARN"] {
            for n in 0..20 {
                let request = Request::new(method, &format!("{path}?{method}{n}"));
                let request = if method == "DELETE" { request } else { request.body("x") };
                asked += 1;
                match edge.ask(&request).await {
                    reply if reply.status == 200 => taken += 1,
                    reply => {
                        let reply = reply.expect(502);
                        assert!(reply.text().contains("origin-closed"), "{reply}");
                        failed += 1;
                    }
                }
            }
        }
    }
    let mut ids = BTreeMap::<String, usize>::new();
    for seen in origin.requests() {
        *ids.entry(seen.target).or_default() += 1;
    }
    assert!(ids.values().all(|times| *times == 1), "{ids:?}");
    assert_eq!(taken + failed, asked);
    edge.outcomes("pass", taken).await;
    edge.outcomes("failed", failed).await;
    assert_eq!(edge.metric("lectern_origin_requests_total", &["error"]).await, failed as f64);
}

#[tokio::test]
async fn an_unsafe_method_outdates_what_is_stored_under_its_url() {
    let origin = Origin::start().await;
    origin.on_call("/page*", |seen, n| match &*seen.method {
        "GET" => Answer::storable(format!("{n}")).field("Vary", "Accept-Language"),
        _ => Answer::new(if seen.path() == "/page/moved" { 303 } else { 204 }, ""),
    });
    let edge = Edge::before(&origin, "").await;
    let mut client = edge.client().await;
    let read = |target: &str, language: &str| Request::get(target).field("Accept-Language", language);
    for (method, target) in [
        ("POST", "/page/a"),
        ("PUT", "/page/b"),
        ("PATCH", "/page/c?x=1"),
        ("DELETE", "/page/d"),
        ("LEARN", "/page/e"),
        ("POST", "/page/moved"),
    ] {
        let mut old = Vec::new();
        for language in ["en", "de", "en", "de"] {
            old.push(client.ask(&read(target, language)).await.expect(200).body);
        }
        assert_eq!(old[..2], old[2..], "{target} is stored");
        client.ask(&Request::new(method, target)).await;
        for (language, old) in ["en", "de"].into_iter().zip(&old) {
            let new = client.ask(&read(target, language)).await.expect(200);
            assert_ne!(&new.body, old, "{method} {target} {language}");
        }
        assert_eq!(origin.hits(target), 5, "{target}");
    }
    // A safe method, and another query, change nothing.
    client.ask(&Request::new("OPTIONS", "/page/a")).await;
    client.ask(&Request::new("POST", "/page/a?x=1")).await;
    client.ask(&read("/page/a", "en")).await.expect(200);
    edge.outcomes("hit", 6 * 2 + 1).await;
    edge.outcomes("miss", 6 * 4).await;
}

#[tokio::test]
async fn an_error_answer_outdates_nothing() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| match (&*seen.method, seen.path()) {
        ("GET", _) => Answer::storable("page"),
        (_, "/403") => Answer::new(403, ""),
        (_, "/404") => Answer::new(404, ""),
        (_, "/500") => Answer::new(500, ""),
        _ => Answer::hang_up(),
    });
    let edge = Edge::before(&origin, "").await;
    for (path, status) in [("/403", 403), ("/404", 404), ("/500", 500), ("/broken", 502)] {
        edge.get(path).await.expect_body(200, "page");
        edge.ask(&Request::new("POST", path).body("x")).await.expect(status);
        edge.get(path).await.expect_body(200, "page");
        assert_eq!(origin.seen(path).iter().filter(|seen| seen.method == "GET").count(), 1, "{path}");
    }
    edge.outcomes("hit", 4).await;
}

#[tokio::test]
async fn an_unsafe_method_covers_a_fill_under_way_even_if_its_client_left() {
    for leaves in [false, true] {
        let (origin, body, answer) = (Origin::start().await, Gate::new(), Gate::new());
        let (in_body, before_answer) = (body.clone(), answer.clone());
        origin.on_call("/page", move |seen, n| match (&*seen.method, n) {
            ("POST", _) => Answer::new(204, "").behind(&before_answer),
            (_, 0) => Answer::storable(vec![b'o'; 100_000]).pause(50_000, &in_body),
            _ => Answer::storable("new"),
        });
        let edge = Edge::before(&origin, "").await;
        let mut reader = edge.client().await;
        reader.send(&Request::get("/page").bytes()).await;
        body.arrived(1).await;
        let mut writer = edge.client().await;
        writer.send(&Request::new("POST", "/page").body("x").bytes()).await;
        answer.arrived(1).await;
        if leaves {
            drop(writer);
            edge.outcomes("failed", 1).await;
            answer.open();
            eventually("the end of the relay", async || {
                edge.metric("lectern_relays_in_flight", &[]).await == 0.0
            })
            .await;
        } else {
            answer.open();
            writer.reply("POST").await.expect(204);
        }
        // Who asks now is not joined to the old fill, which is read to its end by who has it.
        edge.get("/page").await.expect_body(200, "new");
        body.open();
        reader.reply("GET").await.expect_body(200, vec![b'o'; 100_000]);
        eventually("the end of the old fill", async || {
            edge.metric("lectern_fills_in_flight", &[]).await == 0.0
        })
        .await;
        edge.get("/page").await.expect_body(200, "new");
        assert_eq!(origin.hits("/page"), 3, "the old one took no place");
        edge.outcomes("hit", 1).await;
    }
}

#[tokio::test]
async fn a_write_outdates_what_a_rule_stores_under_another_spelling_of_its_query() {
    let origin = Origin::start().await;
    origin.on_call("/page", |seen, n| match &*seen.method {
        "GET" => Answer::storable(format!("{n}")),
        _ => Answer::new(204, ""),
    });
    // The rule speaks of GET only: the POST itself matches none.
    let rule = "[[site.rule]]\nname = \"pages\"\nprefix = \"/page\"\nmethod = [\"GET\", \"HEAD\"]\n\
                verdict = \"cache\"\nkeep_query = { only = [\"v\"] }\n";
    let edge = Edge::before(&origin, rule).await;
    edge.get("/page?v=1&utm=a").await.expect_body(200, "0");
    edge.get("/page?v=1&utm=b").await.expect_body(200, "0");
    edge.ask(&Request::new("POST", "/page?v=1&utm=c").body("x")).await.expect(204);
    assert_eq!(origin.last("/page").target, "/page?v=1&utm=c", "the origin is asked as the client asked");
    edge.get("/page?v=1&utm=a").await.expect_body(200, "2");
    edge.outcomes("miss", 2).await;
}

/// Names, lengths and times of change of all files below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let (path, about) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        if about.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path, (about.len(), about.modified().unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn a_thousand_posts_write_nothing_to_the_ledger() {
    let origin = Origin::start().await;
    origin.on_call("/page", |seen, n| match seen.method.as_str() {
        "POST" => Answer::new(204, ""),
        _ => Answer::storable(n.to_string()),
    });
    origin.on("/track", Answer::new(204, ""));
    let edge = Edge::before(&origin, "").await;
    // A record before, so that its writer has done what it does at first.
    edge.purge("http://lms.example/other").await;
    let before = files(&edge.path("ledger"));
    let mut client = edge.client().await;
    for _ in 0..100 {
        let page = client.get("/page").await.expect(200);
        client.get("/page").await.expect_body(200, page.body);
        for path in ["/track"; 9].into_iter().chain(["/page"]) {
            client.ask(&beacon(path)).await.expect(204);
        }
    }
    assert_eq!(files(&edge.path("ledger")), before);
    assert_eq!(edge.metric("lectern_ledger_number", &[]).await, 1.0);
    let fills = origin.seen("/page").iter().filter(|seen| seen.method == "GET").count();
    assert_eq!((fills, origin.hits("/track")), (100, 900), "each POST made the page outdated");
    let conditional = origin.requests().iter().filter(|seen| seen.field("if-none-match").is_some()).count();
    assert_eq!(conditional, 0);
    edge.outcomes("hit", 100).await;
}
