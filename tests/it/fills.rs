//! How long a fill lives, what it may hold, and that nothing short or wrong ever comes of it (G06, G12, G16).

use crate::support::{
    answer::Answer, client::Client, deadline::eventually, dial::Dial, edge::Edge, gate::Gate,
    message::Request, origin::Origin,
};
use std::hash::{BuildHasher, RandomState};

fn bytes(n: usize, of: usize) -> Vec<u8> {
    (0..n).map(|i| ((i + of) % 251) as u8).collect()
}

async fn settled(edge: &Edge) {
    eventually("end of all fills", async || edge.metric("lectern_fills_in_flight", &[]).await == 0.0).await;
}

/// A client that has read so many bytes of a reply.
async fn reader(edge: &Edge, path: &str, n: usize) -> (Client, crate::support::message::Reply) {
    let mut client = edge.client().await;
    client.send(&Request::get(path).bytes()).await;
    let mut reply = client.head("GET").await;
    client.at_least(&mut reply, n).await;
    (client, reply)
}

#[tokio::test]
async fn g16_a_big_fill_that_nobody_reads_stops_and_one_that_is_nearly_done_ends() {
    let (origin, early, late) = (Origin::start().await, Gate::new(), Gate::new());
    let body = bytes(40 << 20, 0);
    origin.on("/early", Answer::storable(&body).pause(1 << 20, &early));
    origin.on("/late", Answer::storable(&body).pause(38 << 20, &late));
    let edge = Edge::before(&origin, "").await;
    let (first, _) = reader(&edge, "/early", 100_000).await;
    let (second, _) = reader(&edge, "/late", 37 << 20).await;
    first.abort();
    second.abort();
    edge.outcomes("failed", 2).await;
    origin.until("/early", "a peer that left", |seen| seen.gone).await;
    late.open();
    settled(&edge).await;
    early.open();
    edge.get("/late").await.expect_body(200, &body);
    assert_eq!(origin.hits("/late"), 1);
    edge.get("/early").await.expect_body(200, &body);
    assert_eq!(origin.hits("/early"), 2, "what was stored of it is not the whole");
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn g16_a_fill_stops_though_the_origin_never_pauses() {
    // Endless: the edge is never left waiting for a byte.
    let origin = Origin::start().await;
    origin.on_raw("/endless", |mut connection, _| async move {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: private\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut sent = connection.send(head.as_bytes()).await;
        let piece = vec![b'x'; 64 << 10];
        while sent.is_ok() {
            sent = connection.chunk(&piece).await;
        }
    });
    let edge = Edge::before(&origin, "").await;
    let (client, _) = reader(&edge, "/endless", 1 << 20).await;
    client.abort();
    settled(&edge).await;
    eventually("end of the origin's connection", async || origin.open_connections() == 0).await;
    edge.outcomes("failed", 1).await;
}

#[tokio::test]
async fn g16_who_reads_on_keeps_the_fill_alive() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let body = bytes(40 << 20, 0);
    origin.on("/film", Answer::storable(&body).pause(4 << 20, &gate));
    let edge = Edge::before(&origin, "").await;
    let (first, _) = reader(&edge, "/film", 3 << 20).await;
    let (mut second, mut reply) = reader(&edge, "/film", 1).await;
    first.abort();
    edge.outcomes("failed", 1).await;
    gate.open();
    second.rest(&mut reply).await;
    reply.expect_body(200, &body);
    settled(&edge).await;
    edge.get("/film").await.expect_body(200, &body);
    assert_eq!(origin.hits("/film"), 1);
    edge.outcomes("hit", 1).await;
}

const SMALL: &str = "[cache]\nmemory = \"4MiB\"\nbody_limit = \"1MiB\"\n";

#[tokio::test]
async fn a_body_longer_than_the_limit_is_shared_by_who_comes_in_time_and_not_stored() {
    let body = bytes(3 << 20, 0);
    for chunked in [false, true] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let answer = Answer::storable(&body).pause(200_000, &gate);
        origin.on("/film", if chunked { answer.chunked() } else { answer });
        let edge = Edge::before(&origin, SMALL).await;
        let mut readers = Vec::new();
        for _ in 0..5 {
            readers.push(reader(&edge, "/film", 1).await);
        }
        gate.open();
        let (mut readers, rest) = {
            let rest = readers.split_off(1);
            (readers, rest)
        };
        let mut tasks = tokio::task::JoinSet::new();
        for (mut client, mut reply) in rest {
            tasks.spawn(async move {
                client.rest(&mut reply).await;
                reply
            });
        }
        let (mut client, mut reply) = readers.pop().unwrap();
        client.rest(&mut reply).await;
        reply.expect_body(200, &body);
        while let Some(reply) = tasks.join_next().await {
            reply.unwrap().expect_body(200, &body);
        }
        assert_eq!(origin.hits("/film"), 1);
        settled(&edge).await;
        edge.get("/film").await.expect_body(200, &body);
        assert_eq!(origin.hits("/film"), 2);
        edge.outcomes("joined", 4).await;
        assert_eq!(edge.metric("lectern_responses_not_stored_total", &["too-long"]).await, 2.0);
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_stored_once_its_end_came() {
    let (origin, body) = (Origin::start().await, bytes(700_000, 0));
    origin.on("/a", Answer::storable(&body).chunked());
    origin.on("/none", Answer::storable("").chunked());
    let edge = Edge::before(&origin, "").await;
    for (path, body) in [("/a", &body[..]), ("/none", b"")] {
        let miss = edge.get(path).await.expect_body(200, body);
        assert_eq!(miss.field("content-length"), None);
        let hit = edge.get(path).await.expect_body(200, body);
        assert_eq!(hit.field("content-length"), Some(&*body.len().to_string()));
        assert_eq!(origin.hits(path), 1);
    }
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn a_stalled_reader_holds_its_fill_at_constant_memory_and_frees_it_by_leaving() {
    let origin = Origin::start().await;
    let body = bytes(64 << 20, 0);
    origin.on("/film", Answer::storable(&body));
    let edge = Edge::before(&origin, SMALL).await;
    edge.get("/warm-up").await;
    let before = edge.rss();
    let mut stalled = Dial::to(edge.address("web").await).receive_buffer(4096).client().await;
    stalled.send(&Request::get("/film").bytes()).await;
    stalled.head("GET").await.field("etag").unwrap();
    // The origin's sending stops short of the end, and by then the edge has taken what it takes.
    let (mut sent, mut looks) = (0, 0);
    eventually("halt of the origin", async || {
        let now = origin.last("/film").sent;
        looks = if now > 0 && now == sent { looks + 1 } else { 0 };
        sent = now;
        looks == 50
    })
    .await;
    assert!(sent < body.len(), "all of it was taken");
    assert!(edge.rss() < before + (24 << 20), "{} bytes more", edge.rss() - before);
    stalled.abort();
    origin.until("/film", "a peer that left", |seen| seen.gone).await;
    settled(&edge).await;
    edge.outcomes("failed", 1).await;
}

#[tokio::test]
async fn a_joiner_is_told_the_age_the_response_has_by_then() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/film", Answer::storable(bytes(100_000, 0)).field("Age", "100").pause(50_000, &gate));
    let edge = Edge::before(&origin, "").await;
    let (_first, reply) = reader(&edge, "/film", 1).await;
    assert_eq!(reply.field("age"), Some("100"));
    eventually("a joiner that is told a higher age", async || {
        let (_joined, reply) = reader(&edge, "/film", 1).await;
        reply.field("age").unwrap().parse::<u64>().unwrap() > 100
    })
    .await;
    assert_eq!(origin.hits("/film"), 1);
    gate.open();
}

#[tokio::test]
async fn a_get_with_a_body_is_no_fill() {
    let origin = Origin::start().await;
    origin.on_call("/search", |_, n| Answer::storable(format!("{n}")));
    let edge = Edge::before(&origin, "").await;
    edge.ask(&Request::get("/search").body("query")).await.expect_body(200, "0");
    assert_eq!(origin.last("/search").body, b"query");
    edge.get("/search").await.expect_body(200, "1");
    edge.get("/search").await.expect_body(200, "1");
    edge.outcomes("pass", 1).await;
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn a_small_memory_tier_never_gives_a_wrong_or_a_short_body() {
    let seed = RandomState::new().hash_one(0);
    println!("seed {seed}");
    let origin = Origin::start().await;
    origin.on_call("/b/*", |seen, _| {
        let n: usize = seen.path().rsplit('/').next().unwrap().parse().unwrap();
        let answer = Answer::storable(bytes(length(n), n));
        let answer = if n.is_multiple_of(3) { answer.chunked() } else { answer };
        // Some are validated at each use.
        match n % 7 {
            0 => answer.instead("Cache-Control", "max-age=0").conditional(),
            _ => answer,
        }
    });
    let edge = Edge::before(&origin, SMALL).await;
    let mut clients = tokio::task::JoinSet::new();
    for task in 0..4u64 {
        let mut client = edge.client().await;
        clients.spawn(async move {
            let mut random = Random(seed.wrapping_add(task));
            for _ in 0..60 {
                let n = random.below(30).min(random.below(30));
                let (path, body) = (format!("/b/{n}"), bytes(length(n), n));
                if random.below(2) == 0 {
                    client.get(&path).await.expect_body(200, &body);
                } else {
                    let last = random.below(body.len());
                    let first = random.below(last + 1);
                    let range = format!("bytes={first}-{last}");
                    let reply = client.ask(&Request::get(&path).field("Range", &range)).await;
                    match reply.status {
                        200 => reply.expect_body(200, &body),
                        _ => reply.expect_body(206, &body[first..=last]),
                    };
                }
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    settled(&edge).await;
    eventually("bound of the memory tier", async || {
        edge.metric("lectern_memory_bytes", &[]).await <= f64::from(4 << 20)
    })
    .await;
    let asked = origin.requests().len() as u64;
    assert!(asked >= 30 && edge.outcome("hit").await > 0, "{asked} requests at the origin");
    assert_eq!(edge.outcome("failed").await, 0);
}

/// From a byte to nearly a mebibyte, chunk borders among them.
fn length(n: usize) -> usize {
    match n % 5 {
        0 => 1 + n,
        1 => 256 << 10,
        2 => (256 << 10) + 1,
        3 => 500_000 + n,
        _ => 1_000_000 + n,
    }
}

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}
