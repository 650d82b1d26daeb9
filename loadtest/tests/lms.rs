//! The sample LMS, seen through a plain socket.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use loadtest::content::media::Film;
use loadtest::content::package::Module;
use loadtest::content::{Built, hex};
use loadtest::{Capacity, Kind, Lms, Options, Trouble};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const FILM: u64 = 3 << 20;

async fn lms() -> Lms {
    let options = Options { film: FILM, ..Options::default() };
    Lms::start_fronts(&[([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into()], options).await.unwrap()
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// As long as its Content-Length says.
    whole: bool,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// One exchange on its own connection. `fields` are whole lines without their ends.
async fn ask(lms: &Lms, front: usize, line: &str, fields: &[&str], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(lms.addrs()[front]).await.unwrap();
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: lms-a.example\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut all = Vec::new();
    // A connection that is reset ends the answer like one that is closed.
    drop(
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut all))
            .await
            .expect("an answer in time"),
    );
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let mut answer =
        Answer { status: head[9..12].parse().unwrap(), head, body: all[end + 4..].to_vec(), whole: true };
    let length = answer.field("content-length").and_then(|length| length.parse().ok());
    answer.whole = length.is_none_or(|length: usize| line.starts_with("HEAD") || length == answer.body.len());
    answer
}

#[tokio::test]
async fn a_film_is_served_whole_and_in_ranges() {
    let lms = lms().await;
    let whole = ask(&lms, 0, "GET /media/film.mp4", &[], b"").await;
    let mut film = vec![0; FILM as usize];
    Film::new(1, FILM).fill(0, &mut film);
    assert_eq!((whole.status, whole.whole), (200, true));
    assert!(whole.body == film, "the film's bytes are those that the library computes");
    let etag = whole.field("etag").unwrap().to_owned();

    let part = ask(&lms, 0, "GET /media/film.mp4", &["Range: bytes=1000001-1000999"], b"").await;
    assert_eq!((part.status, part.field("content-range")), (206, Some("bytes 1000001-1000999/3145728")));
    assert!(part.body == film[1_000_001..1_001_000]);

    let condition = format!("If-Range: {etag}x");
    let outdated = ask(&lms, 0, "HEAD /media/film.mp4", &["Range: bytes=0-9", &condition], b"").await;
    assert_eq!((outdated.status, outdated.field("content-length")), (200, Some("3145728")));
    let beyond = ask(&lms, 0, "GET /media/film.mp4", &["Range: bytes=3145728-"], b"").await;
    assert_eq!((beyond.status, beyond.field("content-range")), (416, Some("bytes */3145728")));
    let known = ask(&lms, 0, "GET /media/film.mp4", &[&format!("If-None-Match: {etag}")], b"").await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(lms.counters().of("/media/film.mp4"), 5);
    lms.stop().await;
}

#[tokio::test]
async fn a_rolling_update_is_on_one_front_first() {
    let lms = lms().await;
    lms.publish_on(1, "fire-safety", 2);
    let path = "GET /content/fire-safety/2/index.html";
    assert_eq!(ask(&lms, 0, path, &[], b"").await.status, 404);
    let second = ask(&lms, 1, path, &[], b"").await;
    let expected = Built::new(Module::FireSafety.build("index.html", 2).unwrap());
    assert_eq!((second.status, second.field("etag")), (200, Some(expected.etag.as_str())));
    assert!(second.body == expected.body);
    assert_eq!(
        ask(&lms, 1, "GET /launch/fire-safety", &[], b"").await.field("location"),
        Some("/content/fire-safety/2/index.html")
    );
    // The same through the control page, for all fronts.
    let json = br#"{"module":"fire-safety","version":2}"#;
    let done = ask(&lms, 1, "POST /_control/publish", &["Content-Type: application/json"], json).await;
    assert_eq!(done.status, 204);
    assert_eq!(ask(&lms, 0, path, &[], b"").await.status, 200);
}

#[tokio::test]
async fn a_learner_sees_her_name_and_only_with_her_cookie_of_this_tenant() {
    let lms = lms().await;
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let login = ask(&lms, 0, "POST /login", &form, b"username=Ada&password=x").await;
    assert_eq!((login.status, login.field("location")), (303, Some("/my/")));
    let cookie = login.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(cookie, Lms::cookie("lms-a.example", "Ada"));
    let cookie = format!("Cookie: other=1; {cookie}");
    let mine = ask(&lms, 1, "GET /my/", &[&cookie], b"").await;
    assert!(String::from_utf8_lossy(&mine.body).contains("Ada"), "{}", mine.head);
    assert!(mine.field("set-cookie").is_some() && mine.field("cache-control").is_none(), "{}", mine.head);
    let dressed = ask(&lms, 0, "GET /my/x.css", &[&cookie], b"").await;
    assert!(dressed.field("set-cookie").is_none() && dressed.field("content-type").unwrap().contains("html"));
    assert_eq!(ask(&lms, 0, "GET /my/", &[], b"").await.status, 303);
    let elsewhere = ask(&lms, 0, "GET http://lms-b.example/my/", &[&cookie], b"").await;
    assert_eq!(elsewhere.status, 303, "a cookie of another tenant");
}

#[tokio::test]
async fn commits_and_uploads_are_counted_once_and_only_when_whole() {
    let lms = lms().await;
    assert_eq!(ask(&lms, 0, "POST /track", &[], b"status=passed").await.body, br#"{"commits":1}"#);
    assert_eq!(ask(&lms, 0, "POST /track/beacon", &[], b"status=left").await.status, 200);
    let mut torn = TcpStream::connect(lms.addr()).await.unwrap();
    torn.write_all(b"POST /track HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
    torn.shutdown().await.unwrap();
    drop(torn.read_to_end(&mut Vec::new()).await);
    let body = vec![7u8; 1_000_000];
    let upload = ask(&lms, 0, "PUT /upload", &[], &body).await;
    let upload: serde_json::Value = serde_json::from_slice(&upload.body).unwrap();
    assert_eq!(upload, serde_json::json!({ "length": 1_000_000, "sha256": hex(&Sha256::digest(&body)) }));
    let counters = lms.counters();
    assert_eq!((counters.commits, counters.beacons, counters.uploads), (2, 1, 1));
    assert_eq!(counters.commit_bodies, ["status=passed", "status=left"]);
    assert_eq!(counters.by_method["POST"], 3);
}

#[tokio::test]
async fn trouble_strikes_where_and_as_often_as_told() {
    let lms = lms().await;
    lms.trouble(Trouble::on("/media/").front(0).status(503).times(1));
    lms.trouble(Trouble::on("/media/film.mp4").cut_after(100_000));
    assert_eq!(ask(&lms, 1, "GET /media/handbook.pdf", &[], b"").await.status, 200);
    assert_eq!(ask(&lms, 0, "GET /media/handbook.pdf", &[], b"").await.status, 503);
    assert_eq!(ask(&lms, 0, "GET /media/handbook.pdf", &[], b"").await.status, 200);
    let cut = ask(&lms, 0, "GET /media/film.mp4", &[], b"").await;
    assert_eq!((cut.status, cut.body.len(), cut.whole), (200, 100_000, false));
    lms.heal();
    assert!(ask(&lms, 0, "GET /media/film.mp4", &[], b"").await.whole);
}

#[tokio::test]
async fn live_connections_end_with_the_lms() {
    tokio::time::timeout(Duration::from_secs(20), live_connections()).await.expect("an end in time");
}

async fn live_connections() {
    let lms = lms().await;
    let mut events = BufReader::new(TcpStream::connect(lms.addr()).await.unwrap());
    events.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut line = String::new();
    while !line.starts_with("event: hello") {
        line.clear();
        assert_ne!(events.read_line(&mut line).await.unwrap(), 0);
    }
    lms.send_event("news");
    while !line.starts_with("data: news") {
        line.clear();
        assert_ne!(events.read_line(&mut line).await.unwrap(), 0);
    }
    let mut socket = TcpStream::connect(lms.addr()).await.unwrap();
    let ask = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
               Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(ask.as_bytes()).await.unwrap();
    // "hi", masked with zeros; it comes back without a mask.
    socket.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(&[0x81, 2, b'h', b'i']) {
        assert_ne!(socket.read_buf(&mut got).await.unwrap(), 0);
    }
    let head = String::from_utf8_lossy(&got).to_lowercase();
    assert!(head.contains("101 switching") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert_eq!(lms.counters().open_streams, 2);
    lms.stop().await;
    got.clear();
    socket.read_to_end(&mut got).await.unwrap();
    assert_eq!(&got[..4], [0x88, 2 + 12, 0x03, 0xe9], "a close frame with 1001");
    events.read_to_end(&mut Vec::new()).await.expect("a clean end of the events");
}

#[tokio::test]
async fn a_course_has_a_page_for_each_learner_and_packages_for_those_enrolled() {
    let lms = lms().await;
    let cookie = |name| format!("Cookie: {}", Lms::cookie("lms-a.example", name));
    let (ada, outsider) = (cookie("Ada"), cookie("outsider-1"));
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let page = ask(&lms, 0, "GET /course/7", &[&ada], b"").await;
        assert!(String::from_utf8_lossy(&page.body).contains("Hello, Ada."), "{}", page.head);
        assert!(page.field("cache-control").is_none(), "{}", page.head);
        numbers.push(page.field("x-answer").unwrap().to_owned());
    }
    assert_ne!(numbers[0], numbers[1], "a page that comes again tells");
    let path = "GET /course/7/package/fire-safety/index.html";
    let file = ask(&lms, 1, path, &[&ada], b"").await;
    assert_eq!((file.status, file.field("cache-control")), (200, Some("private, max-age=3600")));
    assert!(file.body == Module::FireSafety.build("index.html", 1).unwrap());
    let condition = format!("If-None-Match: {}", file.field("etag").unwrap());
    assert_eq!(ask(&lms, 0, path, &[&ada, &condition], b"").await.status, 304);
    assert_eq!(ask(&lms, 0, path, &[&outsider, &condition], b"").await.status, 403);
    assert_eq!(ask(&lms, 0, path, &[&condition], b"").await.status, 303);
    assert_eq!(ask(&lms, 0, "GET /access/7", &[&ada], b"").await.status, 200);
    assert_eq!(ask(&lms, 0, "GET /access/7", &[&outsider], b"").await.status, 403);

    assert_eq!(lms.counters().load.checks_early, 0, "nobody takes a yes for granted");

    // A version for one tenant alone.
    lms.publish("lms-a.example/fire-safety", 2);
    assert_eq!(ask(&lms, 0, path, &[&ada], b"").await.field("x-content-version"), Some("2"));
    let other = path.replace("GET ", "GET http://lms-b.example");
    let bob = format!("Cookie: {}", Lms::cookie("lms-b.example", "Bob"));
    assert_eq!(ask(&lms, 0, &other, &[&bob], b"").await.field("x-content-version"), Some("1"));
}

#[tokio::test]
async fn what_is_asked_for_is_counted_by_kind() {
    let options = Options { film: FILM, kept: Duration::from_secs(600), ..Options::default() };
    let lms = Lms::start(([127, 0, 0, 1], 0).into(), options).await.unwrap();
    let cookie = |name| format!("Cookie: {}", Lms::cookie("lms-a.example", name));
    let (ada, bob) = (cookie("Ada"), cookie("Bob"));
    let path = "GET /course/7/package/fire-safety/index.html";
    let file = ask(&lms, 0, path, &[&ada], b"").await;
    let condition = format!("If-None-Match: {}", file.field("etag").unwrap());
    for who in [&ada, &bob, &ada] {
        ask(&lms, 0, path, &[who, &condition], b"").await;
    }
    ask(&lms, 0, "GET /access/8", &[&ada], b"").await;
    ask(&lms, 0, path, &[], b"").await;
    ask(&lms, 0, "GET /media/film.mp4", &["Range: bytes=0-99999"], b"").await;
    ask(&lms, 0, "HEAD /media/film.mp4", &[], b"").await;
    ask(&lms, 0, "GET /course/7", &[&ada], b"").await;
    ask(&lms, 0, "POST /track", &[], b"id=1").await;
    let load = lms.counters().load;
    assert_eq!((load.fills(), load.checks(), load.revalidations()), (3, 5, 0));
    assert_eq!(load.of(Kind::Package).bytes, file.body.len() as u64);
    assert_eq!(load.of(Kind::Film).bytes, 100_000);
    assert_eq!((load.of(Kind::Page).requests, load.of(Kind::Commit).requests), (1, 1));
    assert_eq!(load.checks_early, 1, "Ada's second for course 7, not Bob's, not that for course 8");
    assert_eq!((load.in_flight, load.in_flight_max), (0, 1));
    let told = ask(&lms, 0, "GET /_control/load", &[], b"").await;
    assert_eq!(serde_json::from_slice::<loadtest::Load>(&told.body).unwrap(), load);
}

#[tokio::test]
async fn a_front_does_as_much_at_once_as_it_has_workers_and_all_in_flight_are_counted() {
    // Nobody is done before the time is over, and nobody waits so long.
    let capacity = Capacity {
        workers: 1,
        page: Duration::from_millis(500),
        file: Duration::ZERO,
        check: Duration::ZERO,
        commit: Duration::ZERO,
    };
    let options = Options { capacity: Some(capacity), film: FILM, ..Options::default() };
    let fronts = [([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into()];
    let lms = Lms::start_fronts(&fronts, options).await.unwrap();
    let begun = loadtest::clock::now();
    let one = |front| ask(&lms, front, "GET /my/", &[], b"");
    let answers = tokio::join!(one(0), one(0), one(1));
    assert_eq!([answers.0.status, answers.1.status, answers.2.status], [303; 3]);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    let load = lms.counters().load;
    assert_eq!((load.in_flight, load.in_flight_max), (0, 3));
    assert_eq!(lms.counters_of(0).load.in_flight_max, 2);
}

#[tokio::test]
async fn commits_that_name_themselves_are_counted_by_name() {
    let lms = lms().await;
    for body in ["id=a&score=1", "id=b", "id=a", "score=2"] {
        ask(&lms, 1, "POST /track", &[], body.as_bytes()).await;
    }
    let told = ask(&lms, 0, "GET /_control/commits", &[], b"").await;
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told, serde_json::json!({ "a": 2, "b": 1 }));
}

#[tokio::test]
async fn a_front_that_dies_takes_its_connections_with_it_and_comes_back_where_it_was() {
    let lms = lms().await;
    lms.trouble(Trouble::on("/my/").delay(Duration::from_secs(600)));
    let address = lms.addrs()[1];
    let mut waiting = TcpStream::connect(address).await.unwrap();
    waiting.write_all(b"GET /my/ HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    while lms.counters_of(1).load.in_flight == 0 {
        tokio::task::yield_now().await;
    }
    let json = br#"{"front":1,"up":false}"#;
    let by_control = ["Content-Type: application/json"];
    assert_eq!(ask(&lms, 0, "POST /_control/front", &by_control, json).await.status, 204);
    let mut rest = Vec::new();
    drop(
        tokio::time::timeout(Duration::from_secs(10), waiting.read_to_end(&mut rest)).await.expect("an end"),
    );
    assert!(rest.is_empty() && TcpStream::connect(address).await.is_err());
    assert_eq!(lms.counters_of(1).load.in_flight, 0);
    assert_eq!(ask(&lms, 0, "GET /theme/site.css", &[], b"").await.status, 200);
    lms.set_front(1, true).await;
    assert_eq!(ask(&lms, 1, "GET /theme/site.css", &[], b"").await.status, 200);
    assert_eq!(ask(&lms, 1, "POST /_control/front", &by_control, json).await.status, 409, "itself");
    lms.heal();
    lms.stop().await;
}
