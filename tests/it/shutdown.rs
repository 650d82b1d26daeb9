//! Stopping in order: quick when idle, nothing cut before the deadline; and starting again.

use std::time::Duration;

use crate::support::{
    answer::Answer,
    client::Client,
    deadline::{eventually, within},
    dial::Dial,
    edge::Edge,
    gate::Gate,
    message::{End, Request},
    origin::Origin,
};

/// The edge's table of the process, behind a site.
fn node(settings: &str) -> String {
    format!("[node]\nthreads = 2\n{settings}\n")
}

/// Waits for the end, and tells after how long and with which code.
async fn end(edge: &mut Edge, signal: &str) -> (Duration, Option<i32>) {
    let begun = lectern::clock::instant();
    edge.signal(signal);
    let status = edge.ended().await;
    (begun.elapsed(), status.code())
}

#[tokio::test]
async fn an_idle_node_stops_within_a_second_with_idle_connections_open() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    for signal in ["TERM", "INT"] {
        let mut edge = Edge::before(&origin, "").await;
        let (mut h1, h2, mut unused) = (edge.client().await, edge.h2().await, edge.client().await);
        h1.get("/a").await.expect_body(200, "a");
        h2.get("/a").await.expect_body(200, "a");
        let (took, code) = end(&mut edge, signal).await;
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(1), "{signal}: {took:?}");
        h1.closed().await;
        unused.closed().await;
        assert_eq!(h2.closed().await, Some(h2::Reason::NO_ERROR));
        let log = edge.log(2).await;
        assert!(log.iter().all(|line| line["complete"] == true), "{log:#?}");
    }
    assert_eq!(origin.hits("/a"), 2);
}

#[tokio::test]
async fn a_transfer_under_way_is_not_cut_and_nobody_new_comes_in() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let body: Vec<u8> = (0..6_000_000u32).map(|n| (n % 251) as u8).collect();
    origin.on("/film", Answer::storable(&body).pause(1_000_000, &gate));
    origin.on("/long", Answer::storable(&body));
    let mut edge = Edge::before(&origin, "").await;
    let web = edge.address("web").await;
    // One whose origin pauses, one that reads slowly, one over HTTP/2.
    let mut paused = edge.client().await;
    paused.send(&Request::get("/film").bytes()).await;
    let mut film = paused.head("GET").await;
    let mut slow = Dial::to(web).receive_buffer(4096).client().await;
    slow.send(&Request::get("/long").bytes()).await;
    let mut long = slow.head("GET").await;
    let h2 = Dial::to(web).window(65_535).h2().await;
    let mut stream = h2.open(&Request::get("/long")).await.unwrap();
    let mut by_h2 = stream.head().await;

    edge.signal("TERM");
    edge.says("accepting has ended").await;
    eventually("the end of listening", async || Dial::to(web).try_client().await.is_err()).await;
    // Until it has come a new stream is served, and would wait for the window that the first one has used up.
    eventually("the GOAWAY", async || h2.goaway().is_some()).await;
    assert!(h2.get("/long").await.status == 0, "a new stream after GOAWAY");
    gate.open();
    paused.rest(&mut film).await;
    film.expect_body(200, &body);
    slow.rest(&mut long).await;
    long.expect_body(200, &body);
    while by_h2.end == End::Open {
        stream.piece(&mut by_h2).await;
    }
    by_h2.expect_body(200, &body);
    drop((stream, h2));
    assert_eq!(edge.ended().await.code(), Some(0));
    edge.says("everything under way was finished").await;
    assert_eq!((origin.hits("/film"), origin.hits("/long")), (1, 1));
    // The last lines are there once the process has ended.
    let log = edge.log(3).await;
    assert_eq!(log.len(), 3, "{log:#?}");
    assert!(log.iter().all(|line| line["complete"] == true && line["bytes"] == 6_000_000), "{log:#?}");
}

#[tokio::test]
async fn an_upload_under_way_reaches_the_origin_whole() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/upload", Answer::ok("taken").behind(&gate));
    let mut edge = Edge::before(&origin, "").await;
    let mut client = edge.client().await;
    let body = vec![b'u'; 300_000];
    let request = Request::new("POST", "/upload").body(body.clone()).bytes();
    let (first, rest) = request.split_at(100_000);
    client.send(first).await;
    origin.until("/upload", "bytes of its body", |seen| seen.body_length > 0).await;
    edge.signal("TERM");
    edge.says("accepting has ended").await;
    client.send(rest).await;
    gate.arrived(1).await;
    gate.open();
    client.reply("POST").await.expect_body(200, "taken");
    assert_eq!(edge.ended().await.code(), Some(0));
    assert_eq!((origin.hits("/upload"), origin.last("/upload").body_length), (1, 300_000));
    assert_eq!(edge.log(1).await[0]["outcome"], "pass");
}

#[tokio::test]
async fn what_lasts_longer_is_cut_at_the_deadline_and_not_taken_for_whole() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/film", Answer::storable(vec![b'x'; 400_000]).chunked().pause(100_000, &gate));
    origin.on("/socket", Answer::echo("websocket"));
    let mut edge = Edge::before(&origin, &node("stop_deadline = \"500ms\"")).await;
    let mut socket = edge.client().await;
    let upgrade = Request::get("/socket").field("Connection", "Upgrade").field("Upgrade", "websocket");
    socket.send(&upgrade.bytes()).await;
    assert_eq!(socket.head("GET").await.status, 101);
    socket.send(b"ping").await;
    assert_eq!(socket.raw(4).await, b"ping");
    let mut client = edge.client().await;
    client.send(&Request::get("/film").bytes()).await;
    let mut reply = client.head("GET").await;
    let (took, code) = end(&mut edge, "TERM").await;
    assert_eq!(code, Some(0));
    assert!(took >= Duration::from_millis(500), "{took:?}");
    client.rest(&mut reply).await;
    assert!(matches!(reply.end, End::Unclean(_)), "{reply}");
    socket.closed().await;
    edge.says("the deadline is over").await;
    assert_eq!((origin.hits("/film"), origin.hits("/socket")), (1, 1));
    let log = edge.log(2).await;
    let film = log.iter().find(|line| line["target"] == "/film").unwrap();
    assert_eq!((&film["outcome"], &film["complete"]), (&"failed".into(), &false.into()), "{film}");
    let socket = log.iter().find(|line| line["target"] == "/socket").unwrap();
    assert_eq!((&socket["outcome"], &socket["status"]), (&"pass".into(), &101.into()), "{socket}");
}

#[tokio::test]
async fn a_tunnel_lives_until_the_deadline_and_its_end_is_the_end_of_the_stop() {
    let origin = Origin::start().await;
    origin.on("/socket", Answer::echo("websocket"));
    let mut edge = Edge::before(&origin, "").await;
    let mut socket = edge.client().await;
    let upgrade = Request::get("/socket").field("Connection", "Upgrade").field("Upgrade", "websocket");
    socket.send(&upgrade.bytes()).await;
    assert_eq!(socket.head("GET").await.status, 101);
    edge.signal("TERM");
    edge.says("accepting has ended").await;
    socket.send(b"still here").await;
    assert_eq!(socket.raw(10).await, b"still here");
    socket.abort();
    assert_eq!(edge.ended().await.code(), Some(0));
    edge.says("everything under way was finished").await;
}

#[tokio::test]
async fn a_fill_whose_client_left_is_finished_first() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let body = vec![b'x'; 2_000_000];
    origin.on("/film", Answer::storable(&body).pause(500_000, &gate));
    let mut edge = Edge::before(&origin, "").await;
    let mut client = edge.client().await;
    client.send(&Request::get("/film").bytes()).await;
    gate.arrived(1).await;
    client.abort();
    edge.outcomes("failed", 1).await;
    assert_eq!(edge.metric("lectern_fills_in_flight", &[]).await, 1.0);
    edge.signal("TERM");
    edge.says("accepting has ended").await;
    gate.open();
    assert_eq!(edge.ended().await.code(), Some(0));
    edge.says("everything under way was finished").await;
    let seen = origin.last("/film");
    assert!(seen.answered && !seen.gone && seen.sent == body.len(), "{seen:?}");
}

#[tokio::test]
async fn it_is_unready_for_a_while_before_accepting_ends_and_a_second_signal_cuts_that_short() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    let mut edge = Edge::before(&origin, &node("unready_before_stop = \"5m\"")).await;
    edge.control("GET", "/readyz", "").await.expect(200);
    edge.signal("TERM");
    edge.says("not ready any more").await;
    let ready = edge.control("GET", "/readyz", "").await.expect(503);
    assert!(ready.text().contains("stopping"), "{ready}");
    edge.control("GET", "/healthz", "").await.expect(200);
    for _ in 0..3 {
        edge.get("/a").await.expect_body(200, "a");
    }
    assert_eq!(origin.hits("/a"), 1);
    edge.outcomes("hit", 2).await;
    // Nor is a purge refused as long as what it is about is served.
    edge.purge_site("lms").await;
    let (took, code) = end(&mut edge, "TERM").await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(edge.log(3).await.len(), 3);
}

#[tokio::test]
async fn a_second_signal_cuts_what_is_under_way() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/film", Answer::storable(vec![b'x'; 400_000]).pause(100_000, &gate));
    let mut edge = Edge::before(&origin, &node("stop_deadline = \"5m\"")).await;
    let mut client = edge.client().await;
    client.send(&Request::get("/film").bytes()).await;
    let mut reply = client.head("GET").await;
    edge.signal("TERM");
    edge.says("accepting has ended").await;
    let (took, code) = end(&mut edge, "INT").await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(3), "{took:?}");
    client.rest(&mut reply).await;
    assert!(matches!(reply.end, End::Unclean(_)), "{reply}");
    let log = edge.log(1).await;
    assert_eq!((&log[0]["complete"], &log[0]["outcome"]), (&false.into(), &"failed".into()), "{log:?}");
    assert_eq!(origin.hits("/film"), 1);
}

#[tokio::test]
async fn after_kill_9_it_starts_on_its_port_with_its_ledger_and_nothing_old() {
    let origin = Origin::start().await;
    origin.on_each("/a", vec![Answer::storable("old"), Answer::storable("new")]);
    let mut edge = Edge::before(&origin, "").await;
    let web = edge.address("web").await;
    // From here on the port is a fixed one, as in real life.
    let config = |port| {
        format!(
            "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:{port}\"\n\
             [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
             [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
            origin.addr()
        )
    };
    edge.configure(&config(web.port()));
    edge.get("/a").await.expect_body(200, "old");
    let purged = async |edge: &Edge| {
        let body = r#"{"kind":"url","url":"http://lms.example/a","reason":"test"}"#;
        let answer = edge.control("POST", "/v1/purges", body).await.expect(200);
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        (answer["ledger"].as_str().unwrap().to_owned(), answer["number"].as_u64().unwrap())
    };
    let (ledger, number) = purged(&edge).await;
    assert_eq!(number, 1);
    for round in 2..4 {
        let mut open = Client::connect(web).await;
        open.get("/a").await.expect_body(200, "new");
        edge.kill().await;
        open.closed().await;
        within("a start", edge.start_again()).await;
        assert_eq!(edge.address("web").await, web, "the port is free again at once");
        assert_eq!(edge.metric("lectern_ledger_number", &[]).await, (round - 1) as f64);
        edge.get("/a").await.expect_body(200, "new");
        assert_eq!(purged(&edge).await, (ledger.clone(), round));
    }
    // So after a stop in order.
    assert_eq!(end(&mut edge, "TERM").await.1, Some(0));
    edge.start_again().await;
    assert_eq!(edge.address("web").await, web);
    assert_eq!(purged(&edge).await, (ledger, 4));
    edge.get("/a").await.expect_body(200, "new");
}
