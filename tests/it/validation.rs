//! Conditions, of clients and of the edge's own (RFC 9110 §13, RFC 9111 §4.3; G31, G32).

use crate::support::{
    answer::Answer,
    coded::{coding, decoded, gzipped},
    edge::Edge,
    gate::Gate,
    message::{Request, field},
    origin::Origin,
};

const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
const EARLIER: &str = "Sun, 31 Dec 2023 23:59:59 GMT";
const LATER: &str = "Mon, 01 Jan 2024 00:00:01 GMT";

/// A rule for all paths with these keys.
fn rule(keys: &str) -> String {
    format!("[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"cache\"\n{keys}\n")
}

/// Stale when it comes, and so stored to be validated.
fn stale(body: impl AsRef<[u8]>, tag: &str) -> Answer {
    Answer::ok(body).field("ETag", tag).field("Cache-Control", "max-age=10").field("Age", "20")
}

/// A 304 for this tag that is fresh for a minute.
fn unchanged(tag: &str) -> Answer {
    Answer::new(304, "").field("ETag", tag).field("Cache-Control", "max-age=60")
}

#[tokio::test]
async fn a_clients_condition_is_answered_alike_from_hit_miss_and_join_on_both_protocols() {
    let table: [(&[(&str, &str)], u16); 16] = [
        (&[("If-None-Match", "\"v1\"")], 304),
        (&[("If-None-Match", "W/\"v1\"")], 304),
        (&[("If-None-Match", "\"x\", \"v1\"")], 304),
        (&[("If-None-Match", "\"x\""), ("If-None-Match", "\"v1\"")], 304),
        (&[("If-None-Match", "*")], 304),
        (&[("If-None-Match", "\"x\"")], 200),
        (&[("If-None-Match", "\"x\""), ("If-Modified-Since", MODIFIED)], 200),
        (&[("If-Modified-Since", MODIFIED)], 304),
        (&[("If-Modified-Since", LATER)], 304),
        (&[("If-Modified-Since", EARLIER)], 200),
        (&[("If-Match", "\"x\", \"v1\"")], 200),
        (&[("If-Match", "*")], 200),
        (&[("If-Match", "\"x\"")], 412),
        (&[("If-Match", "W/\"v1\"")], 412),
        (&[("If-Unmodified-Since", MODIFIED)], 200),
        (&[("If-Unmodified-Since", EARLIER)], 412),
    ];
    let (origin, body) = (Origin::start().await, vec![b'x'; 5000]);
    let edge = Edge::before(&origin, "").await;
    let answer = Answer::storable(&body).field("Last-Modified", MODIFIED);
    let (mut client, h2) = (edge.client().await, edge.h2().await);
    for (row, (fields, status)) in table.iter().enumerate() {
        for from in ["hit", "miss", "join"] {
            for http2 in [false, true] {
                let path = format!("/{from}/{http2}/{row}");
                let gate = Gate::new();
                origin.on(&path, answer.clone().pause(1000, &gate));
                let mut first = edge.client().await;
                match from {
                    "hit" => {
                        gate.open();
                        first.get(&path).await.expect_body(200, &body);
                    }
                    "join" => {
                        first.send(&Request::get(&path).bytes()).await;
                        gate.arrived(1).await;
                    }
                    _ => {}
                }
                let request =
                    fields.iter().fold(Request::get(&path), |r, (name, value)| r.field(name, value));
                let reply = if http2 {
                    let mut stream = h2.open(&request).await.unwrap();
                    let mut reply = stream.head().await;
                    gate.open();
                    while reply.end == crate::support::message::End::Open {
                        stream.piece(&mut reply).await;
                    }
                    reply
                } else {
                    client.send(&request.bytes()).await;
                    let mut reply = client.head("GET").await;
                    gate.open();
                    client.rest(&mut reply).await;
                    reply
                };
                let sent: &[u8] = if *status == 200 { &body } else { b"" };
                let reply = reply.expect_body(*status, sent);
                assert_eq!(reply.field("etag"), Some("\"v1\""), "{path} {fields:?}");
                let length = match status {
                    200 => Some("5000"),
                    412 => Some("0"),
                    _ => None,
                };
                assert_eq!(reply.field("content-length"), length, "{path} {fields:?} {reply}");
                if from == "join" {
                    first.reply("GET").await.expect_body(200, &body);
                }
                client.get(&path).await.expect_body(200, &body);
                assert_eq!(origin.hits(&path), 1, "{path} {fields:?}");
                let sent = origin.last(&path);
                for (name, _) in *fields {
                    assert_eq!(sent.field(name), None, "a fill is nobody's request");
                }
            }
        }
    }
    let each = table.len() as u64 * 2;
    edge.outcomes("miss", 3 * each).await;
    assert_eq!(edge.outcome("hit").await + edge.outcome("joined").await, 5 * each);
    assert!(edge.outcome("joined").await >= each);
}

#[tokio::test]
async fn g32_a_304_ends_its_stream_cleanly() {
    let origin = Origin::start().await;
    origin.on("/fresh", Answer::storable("body"));
    origin.on_each("/same", vec![stale("body", "\"v1\""), unchanged("\"v1\"")]);
    origin.on_each("/new", vec![stale("body", "\"v1\""), Answer::storable("new").instead("ETag", "\"v2\"")]);
    let edge = Edge::before(&origin, "").await;
    let h2 = edge.h2().await;
    for (path, then) in [("/fresh", 304), ("/same", 304), ("/new", 200)] {
        h2.get(path).await.expect_body(200, "body");
        let conditional = Request::get(path).field("If-None-Match", "\"v1\"");
        h2.ask(&conditional).await.expect_body(then, if then == 200 { "new" } else { "" });
        let head = Request { method: "HEAD".into(), ..conditional };
        h2.ask(&head).await.expect_body(then, "");
        for _ in 0..10 {
            h2.get(path).await.expect_body(200, if then == 200 { "new" } else { "body" });
        }
    }
    assert!(!h2.is_closed());
    assert_eq!((origin.hits("/fresh"), origin.hits("/same"), origin.hits("/new")), (1, 2, 2));
    edge.outcomes("revalidated", 1).await;
}

#[tokio::test]
async fn what_is_stale_is_validated_by_what_the_rule_trusts() {
    let table = [
        ("auto", Some("\"v1\""), true, Some("\"v1\""), None),
        ("auto", None, true, None, Some(MODIFIED)),
        ("content", Some("W/\"v1\""), true, Some("W/\"v1\""), None),
        ("time", Some("\"v1\""), true, None, Some(MODIFIED)),
        ("none", Some("\"v1\""), true, None, None),
        ("content", None, true, None, None),
    ];
    for (validator, tag, time, if_none_match, if_modified_since) in table {
        let origin = Origin::start().await;
        let mut answer = Answer::ok("body").field("Cache-Control", "max-age=10").field("Age", "20");
        if let Some(tag) = tag {
            answer = answer.field("ETag", tag);
        }
        if time {
            answer = answer.field("Last-Modified", MODIFIED);
        }
        let same = Answer::new(304, "").field("Cache-Control", "max-age=60");
        let validates = if_none_match.is_some() || if_modified_since.is_some();
        let then = if validates { same } else { Answer::storable("anew") };
        origin.on_each("/a", vec![answer, then]);
        let edge = Edge::before(&origin, &rule(&format!("validator = \"{validator}\""))).await;
        edge.get("/a").await.expect_body(200, "body");
        let again = edge.get("/a").await.expect_body(200, if validates { "body" } else { "anew" });
        let sent = origin.last("/a");
        assert_eq!(
            (sent.field("if-none-match"), sent.field("if-modified-since")),
            (if_none_match, if_modified_since),
            "{validator} {tag:?}"
        );
        let forwarded = if validates { "fwd=stale; fwd-status=304" } else { "fwd=stale; fwd-status=200" };
        assert!(again.field("cache-status").unwrap().contains(forwarded), "{again}");
        edge.get("/a").await.expect(200);
        assert_eq!(origin.hits("/a"), 2, "{validator} {tag:?}");
        edge.outcomes(if validates { "revalidated" } else { "miss" }, if validates { 1 } else { 2 }).await;
    }
}

#[tokio::test]
async fn g31_a_304_freshens_fields_and_age_and_never_the_length() {
    let (origin, body) = (Origin::start().await, vec![b'x'; 5000]);
    let first =
        stale(&body, "\"a\"").field("X-New", "0").field("X-Old", "1").field("Content-Type", "video/mp4");
    let same = unchanged("\"a\"")
        .field("X-New", "1")
        .field("Content-Encoding", "gzip")
        .field("Content-Type", "text/html");
    // The origin's 304 says Content-Length: 0.
    origin.on_each("/a", vec![first, same]);
    let edge = Edge::before(&origin, "").await;
    assert_eq!(edge.get("/a").await.expect_body(200, &body).field("age"), Some("20"));
    for _ in 0..2 {
        let reply = edge.get("/a").await.expect_body(200, &body);
        assert_eq!(reply.field("content-length"), Some("5000"));
        assert_eq!((reply.all("x-new"), reply.all("x-old")), (vec!["1"], vec!["1"]));
        assert_eq!((reply.field("content-type"), reply.field("content-encoding")), (Some("video/mp4"), None));
        assert!(reply.field("age").unwrap().parse::<u64>().unwrap() < 20, "{reply}");
        assert!(reply.field("date").is_some(), "{reply}");
    }
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("revalidated", 1).await;
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn g31_a_304_for_another_tag_is_asked_again_without_a_condition() {
    let origin = Origin::start().await;
    origin.on_each("/a", vec![stale("old", "\"a\""), unchanged("\"b\""), Answer::storable("new")]);
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect_body(200, "old");
    edge.get("/a").await.expect_body(200, "new");
    edge.get("/a").await.expect_body(200, "new");
    assert_eq!(origin.hits("/a"), 3);
    assert_eq!(origin.last("/a").field("if-none-match"), None);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn a_200_to_a_condition_replaces_what_was_stale() {
    let origin = Origin::start().await;
    origin.on_each("/a", vec![stale("old", "\"a\""), Answer::storable("new").instead("ETag", "\"b\"")]);
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect_body(200, "old");
    let new = edge.get("/a").await.expect_body(200, "new");
    assert!(
        new.field("cache-status").unwrap().starts_with("lectern; fwd=stale; fwd-status=200; ttl="),
        "{new}"
    );
    edge.get("/a").await.expect_body(200, "new");
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_an_error_and_not_a_loop() {
    let origin = Origin::start().await;
    origin.on("/cold", unchanged("\"a\""));
    origin.on_each("/stale", vec![stale("old", "\"a\""), unchanged("\"b\"")]);
    origin.on_each("/none", vec![stale("old", "\"a\""), unchanged("\"a\"")]);
    let edge = Edge::before(&origin, "").await;
    edge.get("/cold").await.expect(502);
    assert_eq!(origin.hits("/cold"), 1);
    edge.get("/stale").await.expect_body(200, "old");
    edge.get("/stale").await.expect(502);
    assert_eq!(origin.hits("/stale"), 3, "one with the condition, one without");
    edge.outcomes("failed", 2).await;
    let edge = Edge::before(&origin, &rule("validator = \"none\"")).await;
    edge.get("/none").await.expect_body(200, "old");
    edge.get("/none").await.expect(502);
    assert_eq!(origin.hits("/none"), 2, "nothing was asked that it could confirm");
}

#[tokio::test]
async fn after_a_purge_or_an_unsafe_method_the_next_fill_has_no_condition() {
    let origin = Origin::start().await;
    for path in ["/fresh", "/stale"] {
        // Moodle: 304 to any tag, whatever it names.
        origin.on_call(path, move |seen, n| match (seen.method.as_str(), seen.field("if-none-match")) {
            ("POST", _) => Answer::ok("done"),
            (_, Some(_)) => unchanged("\"a\""),
            _ if path == "/stale" => stale(format!("{n}"), "\"a\""),
            _ => Answer::storable(format!("{n}")).instead("ETag", "\"a\""),
        });
    }
    let edge = Edge::before(&origin, "").await;
    for path in ["/fresh", "/stale"] {
        edge.get(path).await.expect_body(200, "0");
        edge.purge(&format!("http://lms-a.example{path}")).await;
        edge.get(path).await.expect_body(200, "1");
        assert_eq!(origin.last(path).field("if-none-match"), None, "{path} after a purge");
        edge.ask(&Request::new("POST", path).body("x")).await.expect_body(200, "done");
        edge.get(path).await.expect_body(200, "3");
        assert_eq!(origin.last(path).field("if-none-match"), None, "{path} after a POST");
        assert_eq!(origin.hits(path), 4);
    }
    edge.outcomes("miss", 6).await;
}

#[tokio::test]
async fn what_must_be_validated_each_time_is_validated_for_each_and_its_body_asked_for_once() {
    // With a mark none waits for another; without one all wait for the first, and then each asks for itself.
    for (mark, at_once) in [("10s", 20), ("0s", 1)] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let waiting = gate.clone();
        origin.on_call("/a", move |seen, n| match seen.field("if-none-match") {
            Some("\"v1\"") => Answer::new(304, "")
                .field("ETag", "\"v1\"")
                .field("Cache-Control", "max-age=0")
                .behind(&waiting),
            _ => Answer::ok(format!("body {n}")).field("ETag", "\"v1\"").field("Cache-Control", "max-age=0"),
        });
        let edge = Edge::before(&origin, &format!("[cache]\npass_mark = \"{mark}\"\n")).await;
        edge.get("/a").await.expect_body(200, "body 0");
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let mut client = edge.client().await;
            clients.spawn(async move { client.get("/a").await });
        }
        gate.arrived(at_once).await;
        gate.open();
        while let Some(reply) = clients.join_next().await {
            reply.unwrap().expect_body(200, "body 0");
        }
        assert_eq!(origin.hits("/a"), 21, "each its own question, none a second time");
        edge.outcomes("revalidated", 20).await;
    }
}

#[tokio::test]
async fn a_304_that_is_for_one_learner_makes_what_was_stored_nobodys() {
    let origin = Origin::start().await;
    for (path, name, value) in [
        ("/cookie", "Set-Cookie", "session=1"),
        ("/private", "Cache-Control", "private, max-age=60"),
        ("/no-store", "Cache-Control", "no-store"),
    ] {
        let personal = Answer::ok("mine").instead(name, value).field("ETag", "\"a\"");
        let answers = vec![stale("all", "\"a\""), unchanged("\"a\"").instead(name, value), personal];
        origin.on_each(path, answers);
        let edge = Edge::before(&origin, "").await;
        edge.get(path).await.expect_body(200, "all");
        edge.get(path).await.expect_body(200, "mine");
        assert_eq!(origin.last(path).field("if-none-match"), None);
        edge.get(path).await.expect_body(200, "mine");
        assert_eq!(origin.hits(path), 4, "{path}: nothing is stored any more");
        edge.outcomes("hit", 0).await;
    }
}

#[tokio::test]
async fn fields_that_no_cache_names_are_for_who_caused_the_fill_only() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let answer = Answer::ok(vec![b'x'; 2000])
        .field("Cache-Control", "max-age=600, no-cache=\"X-Learner, X-Group\"")
        .field("X-Learner", "1")
        .field("X-Course", "2");
    origin.on("/a", answer.pause(1000, &gate));
    let edge = Edge::before(&origin, "").await;
    let mut first = edge.client().await;
    first.send(&Request::get("/a").bytes()).await;
    gate.arrived(1).await;
    let mut second = edge.client().await;
    second.send(&Request::get("/a").bytes()).await;
    let joined = second.head("GET").await;
    gate.open();
    assert_eq!(first.reply("GET").await.expect(200).field("x-learner"), Some("1"));
    let hit = edge.get("/a").await.expect(200);
    for other in [joined, hit] {
        assert_eq!((other.field("x-learner"), other.field("x-course")), (None, Some("2")), "{other}");
    }
    assert_eq!(origin.hits("/a"), 1);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn kolibri_a_date_it_does_not_compare_is_never_asked_about() {
    // Any If-Modified-Since is answered 304, for a member that does not exist too; its 404 may live for a year.
    let origin = Origin::start().await;
    origin.on_call("/content/zipcontent/*", |seen, n| {
        if field(&seen.fields, "if-modified-since").is_some() {
            return Answer::new(304, "");
        }
        let year = ("Cache-Control", "max-age=31536000");
        match (seen.path(), n) {
            ("/content/zipcontent/a.zip/missing", 0) => {
                Answer::new(404, "none").field(year.0, year.1).field("Last-Modified", MODIFIED)
            }
            _ => Answer::ok(format!("{n}"))
                .field("Age", "31536001")
                .field(year.0, year.1)
                .field("Last-Modified", LATER),
        }
    });
    let edge = Edge::before(&origin, &rule("validator = \"none\"\nnegative_lifetime = \"0s\"")).await;
    for path in ["/content/zipcontent/a.zip/index", "/content/zipcontent/a.zip/missing"] {
        edge.get(path).await.expect(if path.ends_with("missing") { 404 } else { 200 });
        edge.get(path).await.expect_body(200, "1");
        assert_eq!(origin.hits(path), 2);
        let asked = origin.seen(path);
        assert!(asked.iter().all(|seen| seen.field("if-modified-since").is_none()), "{asked:#?}");
    }
    // What a browser asks is answered by the edge, which compares.
    let path = "/content/zipcontent/a.zip/kept";
    origin.on(path, Answer::storable("kept").field("Last-Modified", MODIFIED));
    edge.get(path).await.expect(200);
    edge.ask(&Request::get(path).field("If-Modified-Since", EARLIER)).await.expect_body(200, "kept");
    edge.ask(&Request::get(path).field("If-Modified-Since", MODIFIED)).await.expect(304);
    assert_eq!(origin.hits(path), 1);
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn kolibri_one_etag_for_many_files_and_codings_never_mixes_them() {
    // Static files: gzip whatever the client accepts, and an ETag that all files of one second share.
    let origin = Origin::start().await;
    for name in ["app.js", "app.css"] {
        let kind = if name.ends_with("js") { "text/javascript" } else { "text/css" };
        origin.on_call(&format!("/static/{name}"), move |seen, _| {
            if seen.field("if-none-match") == Some("\"6b06f485-0\"") {
                return unchanged("\"6b06f485-0\"").field("Vary", "Accept-Encoding");
            }
            let body = format!("{name} for {}", seen.field("accept-encoding").unwrap_or("nothing"));
            stale(gzipped(body.as_bytes()), "\"6b06f485-0\"")
                .field("Content-Type", kind)
                .field("Content-Encoding", "gzip")
                .field("Vary", "Accept-Encoding")
        });
    }
    let edge = Edge::before(&origin, "").await;
    for round in 0..3 {
        for name in ["app.js", "app.css"] {
            for (accepts, class) in [("gzip", "gzip"), ("identity", "identity"), ("gzip, br", "br, gzip")] {
                let request = Request::get(&format!("/static/{name}")).field("Accept-Encoding", accepts);
                let reply = edge.ask(&request).await.expect(200);
                assert_eq!(
                    decoded(&reply),
                    format!("{name} for {class}").as_bytes(),
                    "round {round}: {reply}"
                );
                // Who takes no coding gets none, whatever the origin sends.
                let wanted = if accepts == "identity" { "identity" } else { "gzip" };
                assert_eq!(coding(&reply), wanted, "round {round}: {reply}");
            }
        }
    }
    assert_eq!((origin.hits("/static/app.js"), origin.hits("/static/app.css")), (6, 6));
    edge.outcomes("revalidated", 6).await;
    edge.outcomes("hit", 6).await;
}
