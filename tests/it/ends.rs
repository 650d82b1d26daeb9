//! How answers end (G06), what stands between them (G09, G42), and origins that are down, slow or mad.

use std::time::Duration;

use http::Response;
use loadtest::{Lms, Options, Trouble};

use crate::support::{
    answer::Answer,
    client::Client,
    deadline::{eventually, within},
    edge::Edge,
    gate::Gate,
    h2_origin::{H2Origin, begin},
    message::{End, Framing, Reply, Request},
    origin::Origin,
};

const PASS: &str = "[[site.rule]]\nname = \"pass\"\nprefix = \"/pass/\"\nverdict = \"pass\"\n";

#[track_caller]
fn unclean(reply: &Reply) {
    assert!(matches!(reply.end, End::Unclean(_)), "an unclean end was expected: {reply}");
}

/// An edge in front of an origin that speaks HTTP/2.
async fn before_h2(origin: std::net::SocketAddr, rest: &str) -> Edge {
    Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{origin}\"]\nhttp = \"2\"\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n{rest}\n"
    ))
    .await
}

#[tokio::test]
async fn g06_a_body_that_is_cut_ends_uncleanly_and_is_fetched_anew() {
    let origin = Origin::start().await;
    let whole: Vec<u8> = (0..250_000u32).flat_map(u32::to_be_bytes).collect();
    // Nothing says that what would continue it is of the same bytes.
    let answer = || Answer::storable(&whole).instead("ETag", "W/\"1\"");
    let cuts = [
        ("fin", answer().closes_after(400_000)),
        ("rst", answer().resets_after(400_000)),
        ("chunked-fin", answer().chunked().closes_after(400_000)),
        ("chunked-rst", answer().chunked().resets_after(400_000)),
        ("nothing", answer().closes_after(0)),
        ("one-byte-short", answer().claims(1_000_001)),
    ];
    let edge = Edge::before(&origin, PASS).await;
    let (mut failed, mut lines) = (0, 0);
    for (kind, cut) in cuts {
        for (way, http2) in [("fill", false), ("fill", true), ("pass", false), ("pass", true)] {
            let path = format!("/{way}/{kind}/{http2}");
            origin.on_each(&path, vec![cut.clone(), answer()]);
            let request = Request::get(&path);
            let reply = if http2 { edge.h2().await.ask(&request).await } else { edge.ask(&request).await };
            unclean(&reply);
            assert!(whole.starts_with(&reply.body) || kind == "one-byte-short", "{path}: {reply}");
            failed += 1;
            edge.outcomes("failed", failed).await;
            let second = edge.get(&path).await.expect_body(200, &whole);
            assert!(second.field("content-length").is_some(), "{path}");
            edge.get(&path).await.expect_body(200, &whole);
            let expected = if way == "fill" { 2 } else { 3 };
            assert_eq!(origin.hits(&path), expected, "{path}");
            lines += 3;
        }
    }
    let log = edge.log(lines).await;
    let cut = log.iter().filter(|line| line["outcome"] == "failed");
    assert!(cut.clone().all(|line| {
        line["fault"] == "origin" && line["complete"] == false && line["detail"] == "origin-closed"
    }));
    assert_eq!(cut.count() as u64, failed);
    assert_eq!(edge.metric("lectern_requests_failed_total", &["origin"]).await, failed as f64);
}

#[tokio::test]
async fn g06_a_stream_that_an_http_2_origin_resets_ends_uncleanly() {
    let origin = H2Origin::start(|request, mut respond| async move {
        let response =
            Response::builder().header("cache-control", "public, max-age=600").header("etag", "W/\"1\"");
        let response = match request.uri().path() {
            "/length" | "/pass/length" => response.header("content-length", "1000000"),
            _ => response,
        };
        let mut sending = begin(&mut respond, response.body(()).unwrap(), vec![b'x'; 400_000]).await;
        match request.uri().path() {
            // The protocol's end, too early.
            "/length" | "/pass/length" => sending.send_data(bytes::Bytes::new(), true).unwrap(),
            "/no-error" => sending.send_reset(h2::Reason::NO_ERROR),
            _ => sending.send_reset(h2::Reason::INTERNAL_ERROR),
        }
    })
    .await;
    let edge = before_h2(origin.addr(), PASS).await;
    let mut failed = 0;
    for path in ["/reset", "/pass/reset", "/length", "/pass/length", "/no-error"] {
        for http2 in [false, true] {
            let request = Request::get(path);
            let reply = if http2 { edge.h2().await.ask(&request).await } else { edge.ask(&request).await };
            assert_eq!(reply.status, 200, "{path}");
            unclean(&reply);
            failed += 1;
        }
    }
    assert_eq!(origin.streams(), failed, "nothing of it was stored");
    edge.outcomes("failed", failed as u64).await;
}

#[tokio::test]
async fn g06_a_film_cut_by_the_sample_lms_is_continued_and_whole() {
    let film = 3 << 20;
    let lms = Lms::start(([127, 0, 0, 1], 0).into(), Options { film, ..Options::default() }).await.unwrap();
    let whole = Client::connect(lms.addr()).await.get("/media/film.mp4").await.expect(200).body;
    let edge = before_h2(lms.addr(), "").await;
    lms.trouble(Trouble::on("/media/").cut_after(1 << 20).times(1));
    edge.h2().await.get("/media/film.mp4").await.expect_body(200, &whole);
    for _ in 0..2 {
        edge.get("/media/film.mp4").await.expect_body(200, &whole);
    }
    assert_eq!(lms.counters().of("/media/film.mp4"), 3, "the direct one, the cut one, the rest");
    edge.outcomes("hit", 2).await;
    edge.outcomes("miss", 1).await;
    lms.stop().await;
}

#[tokio::test]
async fn g06_bytes_behind_the_announced_length_never_reach_the_next_answer() {
    let origin = Origin::start().await;
    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: public, max-age=600\r\n\r\nevil";
    for path in ["/fill", "/pass/a", "/posted"] {
        origin.on(path, Answer::storable(format!("good{extra}")).claims(4));
    }
    origin.on("/next*", Answer::storable("next"));
    let edge = Edge::before(&origin, PASS).await;
    let mut client = edge.client().await;
    for (n, path) in ["/fill", "/pass/a", "/posted", "/fill"].into_iter().enumerate() {
        let method = if path == "/posted" { "POST" } else { "GET" };
        let reply = client.ask(&Request::new(method, path)).await;
        // What came whole may be served, what is more than announced may also be called broken.
        match reply.clean() {
            true => drop(reply.expect_body(200, "good")),
            false => client = edge.client().await,
        }
        client.get(&format!("/next{n}")).await.expect_body(200, "next");
        client.get("/next").await.expect_body(200, "next");
    }
    assert_eq!(client.leftover(), b"");
    assert!(origin.malformed().is_empty());
}

/// Everything that may come between two responses on a connection, asked for pipelined and one by one.
#[tokio::test]
async fn g09_nothing_stands_between_two_responses() {
    let origin = Origin::start().await;
    let body = vec![b'x'; 100_000];
    let modified = "Mon, 01 Jan 2024 00:00:00 GMT";
    origin.on("/chunked", Answer::storable(&body).chunked().field("Last-Modified", modified));
    origin.on("/length", Answer::storable(&body));
    origin.on("/other", Answer::storable("other").chunked());
    origin.on("/none", Answer::new(204, ""));
    origin.on("/empty", Answer::storable("").chunked());
    origin
        .on("/304", Answer::ok("x").field("ETag", "\"v1\"").field("Cache-Control", "no-store").conditional());
    origin.on("/error", Answer::new(500, "broken").chunked());
    origin.on("/pass/chunked", Answer::ok(&body).chunked());
    let edge = Edge::before(&origin, PASS).await;
    for path in ["/chunked", "/length", "/other", "/empty"] {
        edge.get(path).await.expect(200);
    }
    let range = |range: &str| Request::get("/chunked").field("Range", range);
    let known = |path: &str| Request::get(path).field("If-None-Match", "\"v1\"");
    let rows: Vec<(Request, u16, &[u8])> = vec![
        (Request::get("/cold"), 404, b"the origin has no script for /cold\n"),
        (Request::get("/chunked"), 200, &body),
        (Request::get("/other"), 200, b"other"),
        (Request::get("/length"), 200, &body),
        (known("/chunked"), 304, b""),
        (Request::new("HEAD", "/chunked"), 200, b""),
        (Request::new("HEAD", "/pass/chunked"), 200, b""),
        (range("bytes=0-9"), 206, &body[..10]),
        (range("bytes=-5"), 206, &body[..5]),
        (range("bytes=200000-"), 416, b""),
        (range("bytes=5-").field("If-None-Match", "\"v1\""), 304, b""),
        (Request::get("/none"), 204, b""),
        (Request::new("HEAD", "/none"), 204, b""),
        (Request::new("POST", "/none").body("x"), 204, b""),
        (Request::get("/empty"), 200, b""),
        (known("/304"), 304, b""),
        (Request::get("/304"), 200, b"x"),
        (Request::new("HEAD", "/cold"), 404, b""),
        (Request::get("/pass/chunked"), 200, &body),
        (Request::get("/error"), 500, b"broken"),
        (Request::get("/chunked"), 200, &body),
    ];
    let mut client = edge.client().await;
    for (request, status, body) in &rows {
        client.ask(request).await.expect_body(*status, body);
        assert_eq!(client.leftover(), b"", "{} {}", request.method, request.target);
    }
    for (request, ..) in &rows {
        client.send(&request.bytes()).await;
    }
    for (request, status, body) in &rows {
        client.reply(&request.method).await.expect_body(*status, body);
    }
    assert_eq!(client.leftover(), b"");
    assert_eq!(edge.outcome("failed").await, 0, "{:#?}", edge.log(46).await);
    assert_eq!(edge.outcome("hit").await, 2 * 11);
}

#[tokio::test]
async fn g42_a_body_that_nobody_asked_for_is_never_the_next_request() {
    let origin = Origin::start().await;
    origin.on("/x", Answer::storable("0123456789").conditional().ranges());
    origin.on("/y", Answer::storable("y"));
    origin.on("/evil", Answer::storable("evil"));
    let rule =
        "[[site.rule]]\nname = \"closed\"\nprefix = \"/closed/\"\nverdict = \"refuse\"\nstatus = 403\n";
    let edge = Edge::before(&origin, rule).await;
    edge.get("/x").await.expect(200);
    let evil = Request::get("/evil").bytes();
    let chunked = [format!("{:x}\r\n", evil.len()).as_bytes(), &evil, b"\r\n0\r\n\r\n"].concat();
    let x = || Request::get("/x");
    // What is stored answers, and so does the edge itself: nobody asks for the body.
    let rows = [
        (x(), 200),
        (x().field("If-None-Match", "\"v1\""), 304),
        (x().field("Range", "bytes=0-3"), 206),
        (x().field("Range", "bytes=99-"), 416),
        (Request::new("HEAD", "/x"), 200),
        (Request::get("/closed/a"), 403),
        (x().host("[bad"), 400),
        (Request::get("/cold/%00"), 400),
    ];
    let mut answered = 0;
    for (n, (request, status)) in rows.into_iter().enumerate() {
        for framing in ["plain", "chunked"] {
            // With the head, so that it stands in the edge's buffer, and later.
            for late in [false, true] {
                let request = match framing {
                    "plain" => request.clone().field("Content-Length", &evil.len().to_string()),
                    _ => request.clone().field("Transfer-Encoding", "chunked"),
                };
                let body = if framing == "plain" { &evil } else { &chunked };
                let (mut client, before) = (edge.client().await, origin.hits("/x"));
                if late {
                    client.send(&request.bytes()).await;
                } else {
                    client.send(&[&request.bytes()[..], body].concat()).await;
                }
                let first = client.reply(&request.method).await;
                assert_eq!(
                    (first.status, first.clean()),
                    (status, true),
                    "row {n} {framing} {late}: {first}"
                );
                assert_eq!(origin.hits("/x"), before);
                if late {
                    client.send(body).await;
                }
                client.send(&Request::get("/y").bytes()).await;
                let mut second = client.head("GET").await;
                if second.status != 0 {
                    client.rest(&mut second).await;
                    second.expect_body(200, "y");
                    answered += 1;
                }
                assert_eq!(client.leftover(), b"", "row {n} {framing} {late}");
            }
        }
    }
    assert_eq!(origin.hits("/evil"), 0);
    assert_eq!(edge.log(33 + answered).await.iter().filter(|line| line["target"] == "/evil").count(), 0);
    assert!(origin.malformed().is_empty());
}

#[tokio::test]
async fn g42_an_answer_of_the_control_api_does_not_leave_a_body_behind_either() {
    let origin = Origin::start().await;
    let edge = Edge::before(&origin, "").await;
    let evil = Request::get("/metrics").bytes();
    for (method, path, status) in [("GET", "/healthz", 200), ("POST", "/v1/purges", 401)] {
        let mut client = Client::connect(edge.address("control").await).await;
        let request = Request::new(method, path).field("Content-Length", &evil.len().to_string());
        client.send(&[&request.bytes()[..], &evil].concat()).await;
        client.reply(method).await.expect(status);
        client.send(&Request::get("/readyz").bytes()).await;
        let second = client.reply("GET").await;
        assert!(second.status == 0 || !second.text().contains("lectern_"), "{second}");
    }
}

#[tokio::test]
async fn what_the_edge_says_itself_to_a_head_has_no_body() {
    let origin = Origin::start().await;
    let refuse =
        "[[site.rule]]\nname = \"closed\"\nprefix = \"/closed\"\nverdict = \"refuse\"\nstatus = 403\n";
    let edge = Edge::before(&origin, refuse).await;
    origin.down().await;
    let long = format!("/{}", "a".repeat(9000));
    let (mut client, h2) = (edge.client().await, edge.h2().await);
    for (target, status) in [("/closed", 403), ("/down", 502), (&*long, 414)] {
        let head = Request::new("HEAD", target);
        h2.ask(&head).await.expect_body(status, "");
        client.ask(&head).await.expect_body(status, "");
    }
    edge.outcomes("refused", 4).await;
    edge.outcomes("failed", 2).await;
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_relayed_and_never_stored() {
    let origin = Origin::start().await;
    let body = vec![b'x'; 300_000];
    for path in ["/fill", "/pass/a"] {
        origin.on(path, Answer::storable(&body).until_close());
    }
    let edge = Edge::before(&origin, PASS).await;
    for path in ["/fill", "/pass/a"] {
        for n in 1..=3 {
            let reply = if n == 2 { edge.h2().await.get(path).await } else { edge.get(path).await };
            reply.expect_body(200, &body);
            assert_eq!(origin.hits(path), n, "{path}");
        }
    }
    // Reset instead of closed it is cut.
    origin.on(
        "/fill",
        Answer { after: crate::support::answer::After::Reset, ..Answer::storable(&body).until_close() },
    );
    edge.outcomes("pass", 6).await;
    edge.outcomes("hit", 0).await;
    let old = Client::connect(edge.address("web").await);
    let mut old = old.await;
    old.send(b"GET /fill HTTP/1.0\r\nHost: lms-a.example\r\n\r\n").await;
    unclean(&old.reply("GET").await);
    edge.outcomes("failed", 1).await;
}

#[tokio::test]
async fn an_origin_that_talks_garbage_is_a_502_and_others_are_served() {
    let origin = Origin::start().await;
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 1\r\n\r\nx", "y".repeat(400_000));
    let garbage: [(&str, &[u8]); 12] = [
        ("/noise", b"\x00\x01\x02\x03 what is this?\r\n\r\n"),
        ("/smtp", b"220 mail.example ESMTP\r\n\r\n"),
        ("/nothing", b""),
        ("/half", b"HTTP/1.1 200 OK\r\nContent-Le"),
        ("/status", b"HTTP/1.1 2x0 OK\r\nContent-Length: 1\r\n\r\nx"),
        ("/lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        ("/length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx"),
        ("/huge", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx"),
        ("/coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
        ("/switch", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
        ("/name", b"HTTP/1.1 200 OK\r\nB\x01d: 1\r\nContent-Length: 1\r\n\r\nx"),
        ("/long", long.as_bytes()),
    ];
    for (path, bytes) in garbage {
        origin.on(path, Answer::garbage(bytes));
        origin.on(&format!("/pass{path}"), Answer::garbage(bytes));
    }
    origin.on("/good", Answer::storable("good"));
    let edge = Edge::before(&origin, PASS).await;
    let mut client = edge.client().await;
    let mut failed = 0;
    for (path, bytes) in garbage {
        let word = if matches!(path, "/nothing" | "/half") { "origin-closed" } else { "origin-protocol" };
        for (way, method) in [("", "GET"), ("/pass", "GET"), ("", "POST")] {
            let request = Request::new(method, &format!("{way}{path}"));
            let request = if method == "POST" { request.body("x") } else { request };
            let reply = client.ask(&request).await.expect(502);
            assert!(reply.text().contains(word), "{path} {way} {bytes:.40?}: {reply}");
            let status = reply.field("cache-status").unwrap();
            assert!(status.contains(&format!("detail={word}")), "{status}");
            assert_eq!(reply.field("cache-control"), Some("no-store"));
            failed += 1;
        }
        client.get("/good").await.expect_body(200, "good");
    }
    edge.outcomes("failed", failed).await;
    assert_eq!(edge.metric("lectern_requests_failed_total", &["origin"]).await, failed as f64);
    edge.outcomes("hit", 11).await;
}

#[tokio::test]
async fn garbage_within_a_body_is_a_cut() {
    let origin = Origin::start().await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bodies = [
        ("/size", "5\r\nhello\r\nzz\r\nworld\r\n0\r\n\r\n"),
        ("/minus", "5\r\nhello\r\n-5\r\nworld\r\n0\r\n\r\n"),
        ("/end", "5\r\nhelloXX5\r\nworld\r\n0\r\n\r\n"),
        ("/overflow", "5\r\nhello\r\nfffffffffffffffff1\r\nworld\r\n0\r\n\r\n"),
        ("/no-last", "5\r\nhello\r\n5\r\nworld\r\n0\r\n"),
    ];
    let edge = Edge::before(&origin, PASS).await;
    let mut failed = 0;
    for (path, body) in bodies {
        for way in ["", "/pass"] {
            let path = format!("{way}{path}");
            origin.on(&path, Answer::garbage(format!("{head}{body}")));
            for n in 1..=2 {
                let reply = edge.get(&path).await;
                assert!(!reply.clean() || reply.status == 502, "{path}: {reply}");
                assert_eq!(origin.hits(&path), n, "{path}");
                failed += 1;
            }
        }
    }
    edge.outcomes("failed", failed).await;
    assert_eq!(edge.metric("lectern_requests_failed_total", &["origin"]).await, failed as f64);
}

#[tokio::test]
async fn an_origin_that_is_down_is_a_502_and_what_is_stored_is_served_on() {
    let origin = Origin::start().await;
    origin.on("/stored", Answer::storable("stored"));
    origin.on("/film", Answer::storable("film"));
    let edge = Edge::before(&origin, PASS).await;
    edge.get("/stored").await.expect_body(200, "stored");
    origin.down().await;
    for (method, path) in [("GET", "/film"), ("GET", "/pass/film"), ("POST", "/film"), ("HEAD", "/film")] {
        for http2 in [false, true] {
            let request = Request::new(method, path);
            let reply = if http2 { edge.h2().await.ask(&request).await } else { edge.ask(&request).await };
            let reply = reply.expect(502);
            assert!(reply.field("cache-status").unwrap().contains("detail=origin-connect"), "{reply}");
        }
    }
    edge.get("/stored").await.expect_body(200, "stored");
    let log = edge.log(10).await;
    let failed: Vec<_> = log.iter().filter(|line| line["status"] == 502).collect();
    assert_eq!(failed.len(), 8);
    for line in failed {
        assert_eq!(
            (&line["outcome"], &line["fault"], &line["detail"]),
            (&"failed".into(), &"origin".into(), &"origin-connect".into())
        );
    }
    origin.up();
    edge.get("/film").await.expect_body(200, "film");
    edge.outcomes("failed", 8).await;
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn an_origin_that_stands_still_is_a_504_before_its_head_and_a_cut_after_it() {
    let (origin, never) = (Origin::start().await, Gate::new());
    let times = "[origin.timeouts]\nhead = \"300ms\"\nbody = \"300ms\"\nwrite = \"300ms\"\n";
    let edge = Edge::before(&origin, &format!("{PASS}{times}")).await;
    for way in ["", "/pass"] {
        origin.on(&format!("{way}/head"), Answer::storable("x").behind(&never));
        let stops = Answer::storable(vec![b'x'; 100_000]).pause(50_000, &never);
        origin.on(&format!("{way}/body"), stops.clone());
        origin.on(&format!("{way}/chunks"), stops.chunked());
        origin.on_raw(&format!("{way}/trickle"), |mut connection, _| async move {
            let mut sent = connection.send(b"HTTP/1.1 200 OK\r\n").await;
            // A field every now and then is no progress towards a head.
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            while sent.is_ok() {
                ticks.tick().await;
                sent = connection.send(b"X-More: 1\r\n").await;
            }
        });
    }
    origin.on("/good", Answer::storable("good"));
    let mut failed = 0;
    for way in ["", "/pass"] {
        for (path, method) in [("/head", "GET"), ("/head", "POST"), ("/trickle", "GET"), ("/trickle", "POST")]
        {
            let request = Request::new(method, &format!("{way}{path}"));
            let request = if method == "POST" { request.body("x") } else { request };
            let reply = edge.ask(&request).await.expect(504);
            assert!(reply.text().contains("origin-timeout"), "{way}{path}: {reply}");
            failed += 1;
            edge.get("/good").await.expect_body(200, "good");
        }
        for path in ["/body", "/chunks"] {
            for http2 in [false, true] {
                let request = Request::get(&format!("{way}{path}"));
                let reply =
                    if http2 { edge.h2().await.ask(&request).await } else { edge.ask(&request).await };
                assert_eq!((reply.status, reply.body.len()), (200, 50_000), "{way}{path}: {reply}");
                unclean(&reply);
                failed += 1;
            }
        }
    }
    edge.outcomes("failed", failed).await;
    assert_eq!(edge.metric("lectern_requests_failed_total", &["origin"]).await, failed as f64);
    let log = edge.log(failed as usize + 8).await;
    let failures = log.iter().filter(|line| line["outcome"] == "failed");
    assert!(failures.clone().all(|line| line["detail"] == "origin-timeout"), "{log:#?}");
    // Every connection that stood still was closed.
    eventually("the end of the origin's connections", async || origin.open_connections() <= 1).await;
    assert_eq!(edge.metric("lectern_origin_requests_in_flight", &[]).await, 0.0);
}

#[tokio::test]
async fn an_upload_that_the_origin_does_not_take_ends_with_a_504() {
    let (origin, never) = (Origin::start().await, Gate::new());
    let held = never.clone();
    origin.on_raw("/upload", move |connection, _| {
        let held = held.clone();
        async move {
            // It reads nothing more and keeps the connection.
            held.pass().await;
            drop(connection);
        }
    });
    let times = "[origin.timeouts]\nhead = \"300ms\"\nwrite = \"300ms\"\n";
    let edge = Edge::before(&origin, times).await;
    let mut client = edge.client().await;
    let request = Request::new("POST", "/upload").field("Content-Length", &(1u64 << 30).to_string());
    client.send(&request.bytes()).await;
    let piece = vec![b'x'; 1 << 20];
    let sending = async {
        // Until nobody takes it any more.
        while client.try_send(&piece).await.is_ok() {}
    };
    let answered = edge.outcomes("failed", 1);
    tokio::select! { () = within("an answer", sending) => {}, () = answered => {} }
    let log = edge.log(1).await;
    assert_eq!((&log[0]["status"], &log[0]["detail"]), (&504.into(), &"origin-timeout".into()), "{log:#?}");
    assert_eq!(origin.hits("/upload"), 1);
}

#[tokio::test]
async fn a_reader_of_http_1_0_gets_a_body_without_chunks() {
    let origin = Origin::start().await;
    let body = vec![b'x'; 100_000];
    origin.on("/chunked", Answer::storable(&body).chunked());
    let edge = Edge::before(&origin, "").await;
    for _ in 0..2 {
        let mut client = edge.client().await;
        client.send(b"GET /chunked HTTP/1.0\r\nHost: lms-a.example\r\n\r\n").await;
        let reply = client.reply("GET").await.expect_body(200, &body);
        assert_ne!(reply.framing, Framing::Chunked);
    }
    assert_eq!(origin.hits("/chunked"), 1);
}
