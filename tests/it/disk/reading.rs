//! A memory much smaller than the set: what is read from disk is whole and right, read once for all who wait, and what is
//! asked for often stays in memory whatever else goes by.

use tokio::task::JoinSet;

use super::{End, again, committed, count, ranged, store};
use crate::support::{
    client::Client,
    deadline::eventually,
    dial::Dial,
    edge::Edge,
    film::{Film, Watched},
    message::{self, Request},
    origin::Origin,
    parts::parts,
};

/// Bodies from one chunk to many, each at a path of its own.
fn films(origin: &Origin) -> Vec<(String, Film)> {
    let lengths = [(8, 32 << 10), (4, 256 << 10), (4, (1 << 20) + 1), (2, 8 << 20)];
    let films = lengths.into_iter().flat_map(|(n, length)| (0..n).map(move |i| (i, length)));
    let films: Vec<_> = films
        .enumerate()
        .map(|(n, (i, length))| (format!("/{length}/{i}"), Film::new(n as u64, length)))
        .collect();
    for (path, film) in &films {
        origin.on(path, film.answer());
    }
    films
}

async fn read_bytes(edge: &Edge) -> u64 {
    count(edge, "lectern_disk_read_bytes_total").await
}

#[tokio::test]
async fn what_memory_let_go_comes_from_disk_whole_and_in_parts() {
    let origin = Origin::start().await;
    let films = films(&origin);
    let mut edge = Edge::before(&origin, &store("4MiB", "128MiB")).await;
    for (path, film) in &films {
        edge.get(path).await.expect_body(200, film.bytes(0, film.length));
    }
    let asked = origin.requests().len();
    assert_eq!(asked, films.len());
    // What waits to be written is read from where it waits.
    committed(&edge, films.len() as u64).await;
    origin.down().await;
    for round in 0..2 {
        let (mut client, h2) = (edge.client().await, edge.h2().await);
        for (n, (path, film)) in films.iter().enumerate() {
            let reply = if n % 2 == round { client.get(path).await } else { h2.get(path).await };
            reply.expect_body(200, film.bytes(0, film.length));
        }
        // Both sides of a chunk's end, the end of all, and much in between.
        for (path, film) in films.iter().filter(|(_, film)| film.length > 1 << 20) {
            let end = film.length;
            for (first, last) in [(262_143, 262_144), (700_000, 700_000), (end - 9, end - 1), (1, end - 2)] {
                let reply = client.ask(&ranged(path, &format!("bytes={first}-{last}"))).await;
                reply.expect_body(206, film.bytes(first, last + 1));
            }
            let several = ranged(path, "bytes=0-9,300000-800000,-5").field("If-Range", &film.tag());
            let several = h2.ask(&several).await;
            assert_eq!(parts(&several).len(), 3, "{several}");
            assert!(parts(&several).iter().all(|part| film.is_at(part.first, &part.bytes)));
        }
        let hits = films.len() + 5 * films.iter().filter(|(_, film)| film.length > 1 << 20).count();
        edge.outcomes("hit", hits as u64).await;
        assert!(read_bytes(&edge).await > 16 << 20, "memory cannot hold that");
        assert!(count(&edge, "lectern_memory_bytes").await <= 4 << 20);
        if round == 0 {
            again(&mut edge, End::Stopped).await;
        }
    }
    assert_eq!(origin.requests().len(), asked);
    assert_eq!(count(&edge, "lectern_disk_verify_failures_total").await, 0);
}

#[tokio::test]
async fn readers_of_one_cold_chunk_cause_one_read() {
    let origin = Origin::start().await;
    let film = Film::new(1, 200_000);
    origin.on("/a", film.answer());
    let mut edge = Edge::before(&origin, &store("4MiB", "64MiB")).await;
    edge.get("/a").await.expect(200);
    again(&mut edge, End::Stopped).await;
    let mut readers = JoinSet::new();
    let web = edge.address("web").await;
    for n in 0..40 {
        let request = if n % 4 == 0 { ranged("/a", "bytes=100-199") } else { Request::get("/a") };
        let mut client = Client::connect(web).await;
        readers.spawn(async move { client.ask(&request).await });
    }
    while let Some(reply) = readers.join_next().await {
        let reply = reply.unwrap();
        let (first, end) = if reply.status == 206 { (100, 200) } else { (0, film.length) };
        let status = reply.status;
        reply.expect_body(status, film.bytes(first, end));
    }
    edge.outcomes("hit", 40).await;
    assert_eq!(edge.metric("lectern_disk_reads_total", &["result=\"ok\""]).await, 1.0);
    assert_eq!(read_bytes(&edge).await, film.length);
    assert_eq!(origin.hits("/a"), 1);
}

#[tokio::test]
async fn a_slow_reader_of_what_lies_on_disk_holds_little_and_gets_it_whole() {
    let origin = Origin::start().await;
    let film = Film::new(1, 24 << 20);
    origin.on("/film", film.answer());
    let mut edge = Edge::before(&origin, &store("4MiB", "128MiB")).await;
    edge.get("/film").await.expect(200);
    again(&mut edge, End::Stopped).await;
    for http2 in [false, true] {
        let before = read_bytes(&edge).await;
        let dial = Dial::to(edge.address("web").await).receive_buffer(4096);
        let request = Request::get("/film");
        let mut watched = Watched::from(&film, 0);
        let handed = async || count(&edge, "lectern_body_bytes_handed").await;
        if http2 {
            let h2 = dial.window(65_535).h2().await;
            let mut stream = h2.open(&request).await.unwrap();
            let mut reply = stream.head().await;
            eventually("bytes in its hands", async || handed().await > 0).await;
            assert!(handed().await <= 512 << 10);
            assert!(read_bytes(&edge).await - before <= 4 << 20, "no more is read than it takes");
            while reply.end == message::End::Open {
                stream.piece(&mut reply).await;
                watched.take(&mut reply);
            }
            assert!(reply.clean(), "{reply}");
        } else {
            let mut client = dial.client().await;
            client.send(&request.bytes()).await;
            let mut reply = client.head("GET").await;
            eventually("bytes in its hands", async || handed().await > 0).await;
            assert!(handed().await <= 512 << 10);
            assert!(read_bytes(&edge).await - before <= 8 << 20, "no more is read than it takes");
            while reply.end == message::End::Open {
                client.piece(&mut reply).await;
                watched.take(&mut reply);
            }
            assert!(reply.clean(), "{reply}");
        }
        assert_eq!(watched.at, film.length);
    }
    edge.outcomes("hit", 2).await;
    assert_eq!(origin.hits("/film"), 1);
}

#[tokio::test]
async fn the_parts_of_a_film_that_many_watch_stay_in_memory() {
    let origin = Origin::start().await;
    let film = Film::new(1, 48 << 20);
    origin.on("/film", film.answer());
    let mut edge = Edge::before(&origin, &store("8MiB", "128MiB")).await;
    edge.get("/film").await.expect(200);
    again(&mut edge, End::Stopped).await;
    let mut client = edge.client().await;
    let part = async |client: &mut Client, first: u64, length: u64| {
        let request = ranged("/film", &format!("bytes={first}-{}", first + length - 1));
        client.ask(&request).await.expect_body(206, film.bytes(first, first + length));
    };
    let hot = [(0, 1 << 20), (20 << 20, 1 << 20)];
    for _ in 0..8 {
        for (first, length) in hot {
            part(&mut client, first, length).await;
        }
    }
    // Everything else goes by once, while they are asked for now and then.
    for megabyte in (1..48).filter(|n| *n != 20) {
        part(&mut client, megabyte << 20, 1 << 20).await;
        if megabyte % 8 == 0 {
            part(&mut client, hot[0].0, hot[0].1).await;
            part(&mut client, hot[1].0, hot[1].1).await;
        }
    }
    let before = read_bytes(&edge).await;
    for (first, length) in hot {
        part(&mut client, first, length).await;
    }
    let read = read_bytes(&edge).await - before;
    assert!(read <= 256 << 10, "{read} bytes of 2 MiB had to be read again");
    assert!(before >= 46 << 20, "what went by came from disk");
    assert_eq!(origin.hits("/film"), 1);
}

/// What is measured: bytes of memory, bodies and their length, requests of each half, and the length of what goes by.
struct Load {
    memory: u64,
    bodies: u64,
    length: u64,
    requests: u64,
    scan: u64,
}

fn load() -> Load {
    if std::env::var_os("LECTERN_SOAK").is_some() {
        Load { memory: 64 << 20, bodies: 8_000, length: 32 << 10, requests: 40_000, scan: 400 << 20 }
    } else {
        Load { memory: 4 << 20, bodies: 400, length: 32 << 10, requests: 1_500, scan: 25 << 20 }
    }
}

/// Numbers below `n`, the *k*-th as often as one in *k* (Zipf's law), the same ones in each run.
struct Zipf {
    below: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new(n: u64) -> Zipf {
        let mut sum = 0.0;
        let below = (1..=n).map(|k| {
            sum += 1.0 / k as f64;
            sum
        });
        Zipf { below: below.collect(), state: 1 }
    }

    fn next(&mut self) -> usize {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (self.state >> 11) as f64 / (1u64 << 53) as f64 * self.below[self.below.len() - 1];
        self.below.partition_point(|sum| *sum < at).min(self.below.len() - 1)
    }
}

/// The share of requests for small bodies that memory answers.
async fn share(edge: &Edge, load: &Load, zipf: &mut Zipf, films: &[Film]) -> f64 {
    let (mut client, before) = (edge.client().await, read_bytes(edge).await);
    for _ in 0..load.requests {
        let i = zipf.next();
        client.get(&format!("/small/{i}")).await.expect_body(200, films[i].bytes(0, load.length));
    }
    let read = read_bytes(edge).await - before;
    1.0 - read as f64 / (load.length * load.requests) as f64
}

#[tokio::test]
async fn a_film_that_goes_by_does_not_wash_out_what_is_asked_for_often() {
    let load = load();
    let origin = Origin::start().await;
    let films: Vec<_> = (0..load.bodies).map(|n| Film::new(n + 10, load.length)).collect();
    for (n, film) in films.iter().enumerate() {
        origin.on(&format!("/small/{n}"), film.answer());
    }
    let film = Film::new(1, load.scan);
    origin.on("/film", film.answer());
    let limit = load.scan + 2 * load.bodies * load.length + (64 << 20);
    let edge = Edge::before(&origin, &store(&format!("{}MiB", load.memory >> 20), &limit.to_string())).await;
    let (mut first, mut zipf) = (edge.client().await, Zipf::new(load.bodies));
    for n in 0..load.bodies {
        first.get(&format!("/small/{n}")).await.expect(200);
    }
    share(&edge, &load, &mut zipf, &films).await;
    let without = share(&edge, &load, &mut zipf, &films).await;
    // Once from the origin, and once from disk.
    for _ in 0..2 {
        let mut client = edge.client().await;
        client.send(&Request::get("/film").bytes()).await;
        let (mut reply, mut watched) = (client.head("GET").await, Watched::from(&film, 0));
        while reply.end == message::End::Open {
            client.piece(&mut reply).await;
            watched.take(&mut reply);
        }
        assert!(reply.clean() && watched.at == film.length, "{reply}");
        // What waits to be written can be read from nowhere.
        let waits = async || count(&edge, "lectern_disk_write_queue_bytes").await;
        eventually("nothing that waits", async || waits().await == 0).await;
    }
    let with = share(&edge, &load, &mut zipf, &films).await;
    println!("memory answers {:.1} % without, {:.1} % with the film", 100.0 * without, 100.0 * with);
    assert!(without > 0.4, "{without}: too few hits to tell");
    assert!(with > without - 0.05, "{with} instead of {without}");
    assert_eq!(origin.requests().len() as u64, load.bodies + 1);
}
