//! What is stale serves within its windows only, and never what was withdrawn (RFC 9111 §4.2.4, RFC 5861; G17).

use crate::support::{
    answer::Answer,
    edge::Edge,
    gate::Gate,
    message::Request,
    origin::{Origin, Seen},
};

fn rule(keys: &str) -> String {
    format!("[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"cache\"\n{keys}\n")
}

/// Ten seconds over its lifetime of ten seconds when it comes.
fn stale(body: &str, says: &str) -> Answer {
    Answer::ok(body)
        .field("ETag", "\"v1\"")
        .field("Cache-Control", format!("max-age=10{says}"))
        .field("Age", "20")
}

fn new(body: &str) -> Answer {
    Answer::storable(body).instead("ETag", "\"v2\"")
}

/// Waits until no fill is under way.
async fn settled(edge: &Edge) {
    crate::support::deadline::eventually("end of all fills", async || {
        edge.metric("lectern_fills_in_flight", &[]).await == 0.0
    })
    .await;
}

const WINDOW: &str = "stale_while_revalidate = \"1h\"\nstale_if_error = \"1h\"";

#[tokio::test]
async fn what_is_stale_serves_while_a_fill_brings_a_new_one() {
    for (says, rest) in
        [(", stale-while-revalidate=600", String::new()), ("", rule("stale_while_revalidate = \"1h\""))]
    {
        let (origin, gate) = (Origin::start().await, Gate::new());
        origin.on_each("/a", vec![stale("old", says), new("new").behind(&gate)]);
        let edge = Edge::before(&origin, &rest).await;
        edge.get("/a").await.expect_body(200, "old");
        for _ in 0..3 {
            let reply = edge.get("/a").await.expect_body(200, "old");
            assert!(reply.field("cache-status").unwrap().starts_with("lectern; hit; ttl=-"), "{reply}");
            assert!(reply.field("age").unwrap().parse::<u64>().unwrap() >= 20, "{reply}");
        }
        gate.arrived(1).await;
        assert_eq!(origin.last("/a").field("if-none-match"), Some("\"v1\""));
        gate.open();
        settled(&edge).await;
        edge.get("/a").await.expect_body(200, "new");
        assert_eq!(origin.hits("/a"), 2, "one fill, however many were served meanwhile");
        edge.outcomes("stale", 3).await;
        edge.outcomes("hit", 1).await;
    }
}

#[tokio::test]
async fn what_is_stale_serves_when_the_origin_fails_and_only_within_its_window() {
    for (says, rest, serves) in [
        (", stale-if-error=600", "", true),
        ("", "stale_if_error = \"1h\"", true),
        (", stale-if-error=5", "", false),
        ("", "stale_if_error = \"5s\"", false),
        ("", "", false),
    ] {
        let origin = Origin::start().await;
        origin.on_each("/a", vec![stale("old", says), Answer::new(503, "busy")]);
        let edge = Edge::before(&origin, &rule(rest)).await;
        let learner = Request::get("/a").field("Cookie", "session=1");
        edge.get("/a").await.expect_body(200, "old");
        for request in
            [Request::get("/a"), learner.clone(), learner.clone().field("Range", "bytes=0-"), learner.clone()]
        {
            let reply = edge.ask(&request).await;
            if serves {
                assert!(matches!(reply.status, 200 | 206) && reply.body == b"old", "{says} {rest}: {reply}");
                assert!(reply.field("cache-status").unwrap().contains("hit; ttl=-"), "{reply}");
            } else {
                reply.expect_body(503, "busy");
            }
        }
        origin.down().await;
        for request in [Request::get("/a"), learner] {
            let reply = edge.ask(&request).await;
            if serves {
                reply.expect_body(200, "old")
            } else {
                reply.expect(502)
            };
        }
        edge.outcomes("stale", if serves { 6 } else { 0 }).await;
        origin.up();
        origin.on("/a", new("new"));
        edge.get("/a").await.expect_body(200, "new");
    }
}

#[tokio::test]
async fn everybody_who_waits_for_a_fill_that_fails_gets_the_stale_one() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let waiting = gate.clone();
    origin.on_call("/a", move |_, n| match n {
        0 => stale("old", ", stale-if-error=600"),
        _ => Answer::new(503, "busy").behind(&waiting),
    });
    let edge = Edge::before(&origin, "[cache]\npass_mark = \"0s\"\n").await;
    edge.get("/a").await.expect_body(200, "old");
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut client = edge.client().await;
        clients.spawn(async move { client.get("/a").await });
    }
    gate.arrived(1).await;
    gate.open();
    while let Some(reply) = clients.join_next().await {
        reply.unwrap().expect_body(200, "old");
    }
    edge.outcomes("stale", 10).await;
}

#[tokio::test]
async fn g17_what_forbids_to_serve_stale_forbids_it_whatever_a_rule_says() {
    let windows = ", stale-while-revalidate=600, stale-if-error=600";
    for says in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=10"] {
        for rest in [String::new(), rule(WINDOW)] {
            let origin = Origin::start().await;
            origin.on_each("/a", vec![stale("old", &format!("{windows}, {says}")), new("new")]);
            let edge = Edge::before(&origin, &rest).await;
            edge.get("/a").await.expect_body(200, "old");
            origin.down().await;
            edge.get("/a").await.expect(502);
            origin.up();
            edge.get("/a").await.expect_body(200, "new");
            edge.outcomes("stale", 0).await;
        }
    }
}

#[tokio::test]
async fn g17_a_purge_ends_the_right_to_serve_stale() {
    let origin = Origin::start().await;
    origin.on_each("/a", vec![stale("old", ", stale-while-revalidate=600, stale-if-error=600"), new("new")]);
    for site in [false, true] {
        let edge = Edge::before(&origin, &rule(WINDOW)).await;
        origin.on_each("/a", vec![stale("old", ""), new("new")]);
        edge.get("/a").await.expect_body(200, "old");
        match site {
            true => edge.purge_site("lms").await,
            false => edge.purge("http://lms-a.example/a").await,
        }
        origin.down().await;
        edge.get("/a").await.expect(502);
        origin.up();
        edge.get("/a").await.expect_body(200, "new");
        assert_eq!(origin.last("/a").field("if-none-match"), None);
        edge.outcomes("stale", 0).await;
    }
}

#[tokio::test]
async fn g17_what_is_purged_while_the_origin_is_asked_does_not_serve_when_it_fails() {
    for site in [false, true] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let waiting = gate.clone();
        origin.on_call("/a", move |_, n| match n {
            0 => stale("old", ""),
            _ => Answer::new(503, "busy").behind(&waiting),
        });
        let edge = Edge::before(&origin, &rule("stale_if_error = \"1h\"")).await;
        edge.get("/a").await.expect_body(200, "old");
        let mut waits = edge.client().await;
        waits.send(&Request::get("/a").bytes()).await;
        gate.arrived(1).await;
        match site {
            true => edge.purge_site("lms").await,
            false => edge.purge("http://lms-a.example/a").await,
        }
        gate.open();
        waits.reply("GET").await.expect_body(503, "busy");
        assert_eq!(origin.hits("/a"), 2);
        edge.outcomes("stale", 0).await;
    }
}

#[tokio::test]
async fn what_is_purged_or_posted_to_during_its_refresh_serves_nobody_any_more() {
    for unsafe_method in [false, true] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let waiting = gate.clone();
        origin.on_call("/a", move |seen, _| match (&*seen.method, seen.field("if-none-match")) {
            ("POST", _) => Answer::new(204, ""),
            // The refresh says that nothing has changed, and it is wrong by now.
            (_, Some(_)) => Answer::new(304, "").field("ETag", "\"v1\"").behind(&waiting),
            _ => stale("old", ""),
        });
        let edge = Edge::before(&origin, &rule(WINDOW)).await;
        edge.get("/a").await.expect_body(200, "old");
        edge.get("/a").await.expect_body(200, "old");
        gate.arrived(1).await;
        if unsafe_method {
            edge.ask(&Request::new("POST", "/a").body("x")).await.expect(204);
        } else {
            edge.purge("http://lms-a.example/a").await;
        }
        origin.on("/a", new("new"));
        for _ in 0..2 {
            edge.get("/a").await.expect_body(200, "new");
        }
        gate.open();
        settled(&edge).await;
        edge.get("/a").await.expect_body(200, "new");
        assert_eq!(origin.last("/a").field("if-none-match"), None);
        edge.outcomes("stale", 1).await;
        edge.outcomes("hit", 2).await;
    }
}

#[tokio::test]
async fn what_is_stale_serves_whoever_asks_when_the_origin_fails() {
    let origin = Origin::start().await;
    origin.on_each("/a", vec![stale("old body", ", stale-if-error=600"), Answer::new(503, "busy")]);
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect_body(200, "old body");
    for down in [false, true] {
        if down {
            origin.down().await;
        }
        let head = edge.ask(&Request::new("HEAD", "/a")).await.expect_body(200, "");
        assert_eq!(head.field("content-length"), Some("8"));
        let script = Request::get("/a").field("X-Requested-With", "XMLHttpRequest");
        edge.ask(&script).await.expect_body(200, "old body");
        let part = Request::get("/a").field("Range", "bytes=4-");
        edge.ask(&part).await.expect_body(206, "body");
        let part = Request::get("/a").field("Range", "bytes=4-").field("If-Range", "\"v1\"");
        edge.ask(&part).await.expect_body(206, "body");
    }
    assert!(origin.seen("/a").iter().all(|seen| seen.method == "GET" && seen.field("range").is_none()));
    edge.outcomes("stale", 8).await;
}

#[tokio::test]
async fn a_connection_that_breaks_before_a_whole_head_is_an_error_and_so_is_a_5xx_of_the_standard() {
    let errors = [
        ("500", Answer::new(500, "x"), true),
        ("502", Answer::new(502, "x"), true),
        ("503", Answer::new(503, "x"), true),
        ("504", Answer::new(504, "x"), true),
        ("no byte", Answer::hang_up(), true),
        ("no HTTP", Answer::garbage("no HTTP\r\n\r\n"), true),
        ("half a head", Answer::garbage("HTTP/1.1 200 OK\r\nContent-"), true),
        ("501", Answer::new(501, "x"), false),
        ("404", Answer::new(404, "x"), false),
    ];
    let origin = Origin::start().await;
    let edge = Edge::before(&origin, "").await;
    for (row, (what, error, is_one)) in errors.iter().enumerate() {
        let path = format!("/{row}");
        let stored = stale("old", ", stale-if-error=600");
        let (first, then) = (stored.clone(), error.clone());
        origin.on_call(&path, move |_, n| if n == 0 { first.clone() } else { then.clone() });
        edge.get(&path).await.expect_body(200, "old");
        let reply = edge.get(&path).await;
        assert_eq!(reply.body == b"old" && reply.status == 200, *is_one, "{what}: {reply}");
        // Never where the origin forbids it.
        let path = format!("/{row}/bound");
        let stored = stale("old", ", stale-if-error=600, must-revalidate");
        let (first, then) = (stored.clone(), error.clone());
        origin.on_call(&path, move |_, n| if n == 0 { first.clone() } else { then.clone() });
        edge.get(&path).await.expect_body(200, "old");
        assert_ne!(edge.get(&path).await.status, 200, "{what}");
    }
    edge.outcomes("stale", 7).await;
}

#[tokio::test]
async fn a_head_or_a_range_of_what_is_stale_serves_it_and_refreshes_it_whole() {
    for request in [Request::new("HEAD", "/a"), Request::get("/a").field("Range", "bytes=0-2")] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        origin.on_each("/a", vec![stale("old", ""), new("new").behind(&gate)]);
        let edge = Edge::before(&origin, &rule(WINDOW)).await;
        edge.get("/a").await.expect_body(200, "old");
        let reply = edge.ask(&request).await;
        assert!(reply.field("cache-status").unwrap().starts_with("lectern; hit; ttl=-"), "{reply}");
        gate.arrived(1).await;
        gate.open();
        settled(&edge).await;
        let refresh = origin.last("/a");
        assert_eq!((&*refresh.method, refresh.field("range")), ("GET", None));
        edge.get("/a").await.expect_body(200, "new");
        assert_eq!(origin.hits("/a"), 2);
        edge.outcomes("stale", 1).await;
        edge.outcomes("hit", 1).await;
    }
}

#[tokio::test]
async fn g17_what_was_withdrawn_is_shown_once_at_most() {
    // The 404 may not be stored; the refresh takes the old one away all the same.
    let gone = [
        Answer::new(404, "gone"),
        Answer::new(404, "gone").field("Cache-Control", "no-store"),
        Answer::new(410, "gone").field("Cache-Control", "private"),
        Answer::new(403, "gone"),
        Answer::new(302, "").field("Location", "/login").field("Set-Cookie", "a=b"),
    ];
    for answer in gone {
        let (origin, status) = (Origin::start().await, answer.status);
        origin.on_each("/a", vec![stale("old", ""), answer]);
        let edge = Edge::before(&origin, &rule(WINDOW)).await;
        edge.get("/a").await.expect_body(200, "old");
        edge.get("/a").await.expect_body(200, "old");
        origin.reached("/a", 2).await;
        settled(&edge).await;
        edge.get("/a").await.expect(status);
        origin.down().await;
        let reply = edge.get("/a").await;
        assert_ne!(reply.status, 200, "nor when the origin fails: {reply}");
        edge.outcomes("stale", 1).await;
    }
}

#[tokio::test]
async fn g17_beyond_the_window_nobody_sees_the_old_one() {
    let origin = Origin::start().await;
    origin.on_each("/a", vec![stale("old", ", stale-while-revalidate=5"), new("new")]);
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect_body(200, "old");
    edge.get("/a").await.expect_body(200, "new");
    edge.outcomes("stale", 0).await;
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_what_is_stale_in_its_window() {
    let origin = Origin::start().await;
    origin.on_each(
        "/a",
        vec![stale("old", ""), Answer::new(500, "broken"), Answer::garbage("no HTTP\r\n\r\n"), new("new")],
    );
    let edge = Edge::before(&origin, &rule(WINDOW)).await;
    edge.get("/a").await.expect_body(200, "old");
    for asked in 2..5 {
        edge.get("/a").await.expect_body(200, "old");
        origin.reached("/a", asked).await;
        settled(&edge).await;
    }
    edge.get("/a").await.expect_body(200, "new");
    edge.outcomes("stale", 3).await;
}

#[tokio::test]
async fn only_if_cached_never_reaches_the_origin() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("body"));
    let edge = Edge::before(&origin, "").await;
    let request = Request::get("/a").field("Cache-Control", "only-if-cached");
    edge.ask(&request).await.expect(504);
    assert_eq!(origin.hits("/a"), 0);
    edge.get("/a").await.expect(200);
    edge.ask(&request).await.expect_body(200, "body");
    assert_eq!(origin.hits("/a"), 1);
    edge.outcomes("refused", 1).await;
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn g22_a_failure_that_may_be_stored_replaces_nothing_good_and_is_asked_about_again_soon() {
    let origin = Origin::start().await;
    let broken = || Answer::new(500, "broken").field("Cache-Control", "public, max-age=3600");
    let again = |seen: &Seen| match seen.field("if-none-match") {
        Some(_) => Answer::new(304, "").field("ETag", "\"v1\"").field("Cache-Control", "max-age=600"),
        None => new("new"),
    };
    for (path, window) in [("/stale", ""), ("/soft", ", stale-while-revalidate=600"), ("/hard", "")] {
        origin.on_call(path, move |seen, n| match n {
            0 if path == "/stale" => stale("old", window),
            0 => Answer::storable("old").instead("Cache-Control", format!("max-age=600{window}")),
            1 => broken(),
            _ => again(seen),
        });
    }
    origin.on_call("/cold", move |seen, n| if n == 0 { broken().field("Age", "3000") } else { again(seen) });
    let edge = Edge::before(&origin, "").await;
    for path in ["/stale", "/soft", "/hard"] {
        edge.get(path).await.expect_body(200, "old");
    }
    edge.get("/stale").await.expect_body(500, "broken");
    edge.get("/stale").await.expect_body(200, "old");
    assert_eq!(origin.last("/stale").field("if-none-match"), Some("\"v1\""), "it still stood");
    for (path, soft) in [("/soft", true), ("/hard", false)] {
        let what = format!(r#"{{"kind":"url","url":"http://lms.example{path}","soft":{soft}}}"#);
        edge.control("POST", "/v1/purges", &what).await.expect(200);
    }
    for hits in [2, 3] {
        edge.get("/soft").await.expect_body(200, "old");
        origin.reached("/soft", hits).await;
        edge.settled().await;
    }
    edge.get("/soft").await.expect_body(200, "new");
    // Where nothing good stands it is stored, and not for long.
    for path in ["/hard", "/cold"] {
        edge.get(path).await.expect_body(500, "broken");
        let reply = edge.get(path).await.expect_body(500, "broken");
        let told = reply.field("cache-status").unwrap();
        let ttl = told.strip_prefix("lectern; hit; ttl=").and_then(|ttl| ttl.parse::<i64>().ok());
        assert!(ttl.is_some_and(|ttl| ttl <= 10), "{reply}");
    }
    edge.outcomes("stale", 2).await;
    edge.outcomes("hit", 3).await;
}
