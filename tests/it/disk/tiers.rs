//! Memory and disk as one: what is stored survives, is larger than memory, and is as outdated as anything else.

use super::CHUNK;
use crate::support::{
    answer::Answer,
    client::Client,
    deadline::eventually,
    dial::Dial,
    edge::Edge,
    film::{Film, Watched},
    gate::Gate,
    message::{End, Reply, Request},
    origin::Origin,
};

/// Much more than the window and every buffer on the way.
const LENGTH: u64 = 24 << 20;

/// A disk tier of one folder, and so much memory. Its queue takes all that a test stores: what is not kept as the machine is
/// busy would be missed later.
fn disk(memory: &str, cache: &str) -> String {
    format!(
        "[cache]\nmemory = \"{memory}\"\n{cache}\n[disk]\nflush_interval = \"50ms\"\nwrite_queue = \"64MiB\"\n\
         [[disk.folder]]\npath = \"disk\"\nlimit = \"128MiB\"\n"
    )
}

/// Stops it in order, and starts it again.
async fn restart(edge: &mut Edge) {
    edge.settled().await;
    edge.signal("TERM");
    assert_eq!(edge.ended().await.code(), Some(0));
    edge.start_again().await;
}

/// Waits until so many bytes were written.
async fn written(edge: &Edge, bytes: u64) {
    edge.settled().await;
    let written = async || edge.metric("lectern_disk_written_bytes_total", &[]).await;
    eventually(format!("{bytes} bytes on disk"), async || written().await >= bytes as f64).await;
}

#[track_caller]
fn hit(reply: &Reply) {
    let status = reply.field("cache-status").unwrap_or_default();
    assert!(status.contains("; hit"), "no hit: {reply}");
}

/// Reads on to the end of a film, comparing.
async fn rest(client: &mut Client, mut reply: Reply, mut watched: Watched) {
    watched.take(&mut reply);
    while reply.end == End::Open {
        client.piece(&mut reply).await;
        watched.take(&mut reply);
    }
    assert!(reply.clean() && watched.at == LENGTH, "{} bytes: {reply}", watched.at);
}

/// What the origin names no strong validator for: what is missing of it cannot be had again.
fn weak(film: &Film) -> Answer {
    film.answer().no_ranges().instead("ETag", "W/\"1\"")
}

#[tokio::test]
async fn what_is_stored_survives_a_restart_whole_in_part_and_as_a_head() {
    let (film, bare) = (Film::new(1, 3 << 20), Film::new(2, 3 << 20));
    let origin = Origin::start().await;
    origin.on("/small", Answer::storable("small"));
    origin.on("/empty", Answer::storable(""));
    origin.on("/film", film.answer());
    origin.on("/weak", weak(&bare));
    let mut edge = Edge::before(&origin, &disk("16MiB", "")).await;
    for path in ["/small", "/empty", "/film", "/weak"] {
        edge.get(path).await.expect(200);
    }
    for round in 1..3 {
        restart(&mut edge).await;
        hit(&edge.get("/small").await.expect_body(200, "small"));
        hit(&edge.get("/empty").await.expect_body(200, ""));
        hit(&edge.ask(&Request::new("HEAD", "/film")).await.expect(200));
        let mine = Request::get("/film").field("If-None-Match", &film.tag());
        hit(&edge.ask(&mine).await.expect(304));
        for (path, film) in [("/film", &film), ("/weak", &bare)] {
            let part = Request::get(path).field("Range", "bytes=1000000-1000009");
            hit(&edge.ask(&part).await.expect_body(206, film.bytes(1_000_000, 1_000_010)));
            hit(&edge.get(path).await.expect_body(200, film.bytes(0, film.length)));
        }
        let only = Request::get("/weak").field("Cache-Control", "only-if-cached");
        hit(&edge.ask(&only).await.expect_body(200, bare.bytes(0, bare.length)));
        edge.outcomes("hit", 9).await;
        let asked = ["/small", "/empty", "/film", "/weak"].map(|path| origin.hits(path));
        assert_eq!(asked, [1; 4], "in round {round} the origin was asked");
    }
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_served_from_disk() {
    let origin = Origin::start().await;
    let films: Vec<_> = (0..24).map(|n| Film::new(n, 300_000 + 40_000 * n)).collect();
    for (n, film) in films.iter().enumerate() {
        origin.on(&format!("/{n}"), if n % 2 == 0 { film.answer() } else { weak(film) });
    }
    let edge = Edge::before(&origin, &disk("2MiB", "")).await;
    for round in 0..3 {
        for (n, film) in films.iter().enumerate() {
            edge.get(&format!("/{n}")).await.expect_body(200, film.bytes(0, film.length));
        }
        if round == 0 {
            written(&edge, films.iter().map(|film| film.length).sum()).await;
        }
    }
    assert_eq!(origin.requests().len(), films.len());
    edge.outcomes("hit", 2 * films.len() as u64).await;
    assert!(edge.metric("lectern_memory_bytes", &[]).await <= f64::from(2 << 20));
    assert!(edge.metric("lectern_disk_read_bytes_total", &[]).await > f64::from(8 << 20));
}

#[tokio::test]
async fn what_the_disk_has_is_let_go_and_read_again_by_a_reader_left_behind() {
    let film = Film::new(1, LENGTH);
    let origin = Origin::start().await;
    let both = Gate::new();
    origin.on("/film", weak(&film).pause(50_000, &both));
    let cache = "fill_window = \"1MiB\"\nlag_limit = \"300ms\"";
    let edge = Edge::before(&origin, &disk("4MiB", cache)).await;
    let dial = Dial::to(edge.address("web").await);
    let mut stalled = dial.receive_buffer(4096).client().await;
    stalled.send(&Request::get("/film").bytes()).await;
    let late = stalled.head("GET").await;
    let mut fast = edge.client().await;
    fast.send(&Request::get("/film").bytes()).await;
    let mut reply = fast.head("GET").await;
    both.open();
    let mut watched = Watched::from(&film, 0);
    while watched.at < LENGTH / 2 {
        fast.piece(&mut reply).await;
        watched.take(&mut reply);
    }
    // Who joins behind the window is given what was let go, too.
    let mut joins = edge.client().await;
    joins.send(&Request::get("/film").bytes()).await;
    rest(&mut fast, reply, watched).await;
    let reply = joins.head("GET").await;
    rest(&mut joins, reply, Watched::from(&film, 0)).await;
    rest(&mut stalled, late, Watched::from(&film, 0)).await;
    assert_eq!(origin.hits("/film"), 1);
    assert_eq!(edge.metric("lectern_lagged_readers_total", &[]).await, 0.0);
    edge.outcomes("miss", 1).await;
    edge.outcomes("joined", 2).await;
}

#[tokio::test]
async fn an_unsafe_method_outdates_what_is_only_on_disk() {
    let origin = Origin::start().await;
    origin.on_each("/page", vec![Answer::storable("old"), Answer::ok("done"), Answer::storable("new")]);
    let mut edge = Edge::before(&origin, &disk("16MiB", "")).await;
    edge.get("/page").await.expect_body(200, "old");
    restart(&mut edge).await;
    edge.ask(&Request::new("POST", "/page").body("x")).await.expect_body(200, "done");
    edge.get("/page").await.expect_body(200, "new");
    restart(&mut edge).await;
    hit(&edge.get("/page").await.expect_body(200, "new"));
    assert_eq!(origin.hits("/page"), 3);
}

#[tokio::test]
async fn a_purge_outdates_what_is_only_on_disk_and_stays_in_force() {
    let origin = Origin::start().await;
    origin.on_each("/page", vec![Answer::storable("old"), Answer::storable("new")]);
    let mut edge = Edge::before(&origin, &disk("16MiB", "")).await;
    edge.get("/page").await.expect_body(200, "old");
    restart(&mut edge).await;
    edge.purge("http://lms-a.example/page").await;
    restart(&mut edge).await;
    edge.get("/page").await.expect_body(200, "new");
    restart(&mut edge).await;
    hit(&edge.get("/page").await.expect_body(200, "new"));
    assert_eq!(origin.hits("/page"), 2);
}

#[tokio::test]
async fn variants_that_are_only_on_disk_are_not_lost_to_one_that_comes() {
    let origin = Origin::start().await;
    origin.on_call("/page", |seen, _| {
        let language = seen.field("accept-language").unwrap_or_default().to_owned();
        Answer::storable(&language)
            .instead("ETag", format!("\"{language}\""))
            .field("Vary", "Accept-Language")
    });
    let mut edge = Edge::before(&origin, &disk("16MiB", "")).await;
    let page = |language: &str| Request::get("/page").field("Accept-Language", language);
    for language in ["de", "en"] {
        edge.ask(&page(language)).await.expect_body(200, language);
        restart(&mut edge).await;
    }
    edge.ask(&page("fr")).await.expect_body(200, "fr");
    for _ in 0..2 {
        for language in ["de", "en", "fr"] {
            hit(&edge.ask(&page(language)).await.expect_body(200, language));
        }
        restart(&mut edge).await;
    }
    assert_eq!(origin.hits("/page"), 3);
}

#[tokio::test]
async fn what_is_missing_in_the_middle_of_a_body_on_disk_is_fetched_alone() {
    let film = Film::new(1, 20 * CHUNK + 17);
    let origin = Origin::start().await;
    origin.on("/film", film.answer());
    let mut edge = Edge::before(&origin, &disk("16MiB", "")).await;
    // Two parts, far from the first byte and from each other.
    for (first, last) in [(6 * CHUNK, 7 * CHUNK + 5), (12 * CHUNK, 12 * CHUNK + 9)] {
        let part = Request::get("/film").field("Range", &format!("bytes={first}-{last}"));
        edge.ask(&part).await.expect_body(206, film.bytes(first, last + 1));
        edge.settled().await;
    }
    restart(&mut edge).await;
    let part = Request::get("/film").field("Range", &format!("bytes={}-{}", 7 * CHUNK, 7 * CHUNK + 9));
    hit(&edge.ask(&part).await.expect_body(206, film.bytes(7 * CHUNK, 7 * CHUNK + 10)));
    assert_eq!(origin.hits("/film"), 2);
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    assert_eq!(origin.sent("/film"), film.length, "{:?}", origin.ranges("/film"));
    // What was fetched for it is on disk as well.
    restart(&mut edge).await;
    hit(&edge.get("/film").await.expect_body(200, film.bytes(0, film.length)));
    assert_eq!(origin.sent("/film"), film.length, "{:?}", origin.ranges("/film"));
}

#[tokio::test]
async fn a_stale_response_on_disk_is_validated_and_stands_in_for_an_origin_that_fails() {
    let origin = Origin::start().await;
    let stale = || {
        let says = "public, max-age=60, stale-if-error=600";
        Answer::ok("page").field("Cache-Control", says).field("Age", "61").field("ETag", "W/\"1\"")
    };
    origin.on_each("/page", vec![stale().conditional(), stale().conditional(), Answer::new(503, "busy")]);
    let mut edge = Edge::before(&origin, &disk("16MiB", "")).await;
    edge.get("/page").await.expect_body(200, "page");
    restart(&mut edge).await;
    edge.get("/page").await.expect_body(200, "page");
    edge.outcomes("revalidated", 1).await;
    assert_eq!(origin.last("/page").field("if-none-match"), Some("W/\"1\""));
    restart(&mut edge).await;
    edge.get("/page").await.expect_body(200, "page");
    edge.outcomes("stale", 1).await;
    assert_eq!(origin.hits("/page"), 3);
}

#[tokio::test]
async fn explain_tells_of_the_disk_and_moves_nothing() {
    let origin = Origin::start().await;
    origin.on("/page", Answer::storable("page"));
    let mut edge = Edge::before(&origin, &disk("16MiB", "")).await;
    edge.get("/page").await.expect(200);
    let told = async |edge: &Edge| {
        let path = "/v1/explain?url=http%3A%2F%2Flms-a.example%2Fpage";
        let told = edge.control("GET", path, "").await.expect(200);
        let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
        let stored = &told["stored"][0];
        assert_eq!((&told["answer"]["outcome"], &stored["whole"]), (&"hit".into(), &true.into()), "{told:#}");
        stored["tier"].clone()
    };
    assert_eq!(told(&edge).await, "memory");
    restart(&mut edge).await;
    for _ in 0..2 {
        assert_eq!(told(&edge).await, "disk");
    }
    hit(&edge.get("/page").await.expect_body(200, "page"));
    assert_eq!(told(&edge).await, "memory");
    assert_eq!(origin.hits("/page"), 1);
}

#[tokio::test]
async fn an_upgrade_hands_the_disk_over() {
    let film = Film::new(1, LENGTH);
    let origin = Origin::start().await;
    origin.on("/page", Answer::storable("page"));
    origin.on("/film", weak(&film));
    let mut old = Edge::before(&origin, &disk("2MiB", "")).await;
    old.get("/page").await.expect(200);
    old.get("/film").await.expect(200);
    written(&old, LENGTH).await;
    // A download from disk goes on in the old process.
    let mut client = Dial::to(old.address("web").await).receive_buffer(4096).client().await;
    client.send(&Request::get("/film").bytes()).await;
    let reply = client.head("GET").await;
    hit(&reply);
    let new = old.upgrade().await;
    old.says("another process serves").await;
    eventually("the disk in the new process", async || {
        new.metric("lectern_disk_up", &["reads"]).await == 1.0
    })
    .await;
    hit(&new.get("/page").await.expect_body(200, "page"));
    hit(&new.get("/film").await.expect_body(200, film.bytes(0, film.length)));
    rest(&mut client, reply, Watched::from(&film, 0)).await;
    drop(client);
    assert_eq!(old.ended().await.code(), Some(0));
    assert_eq!((origin.hits("/page"), origin.hits("/film")), (1, 1));
}

#[tokio::test]
async fn an_upgrade_that_fails_leaves_the_old_process_its_disk() {
    let origin = Origin::start().await;
    origin.on("/page", Answer::storable("page"));
    origin.on("/other", Answer::storable("other"));
    let mut edge = Edge::before(&origin, &disk("16MiB", "")).await;
    edge.get("/page").await.expect(200);
    written(&edge, 4).await;
    let mut new = edge.begin_upgrade();
    edge.says("an upgrade begins").await;
    new.kill().await;
    edge.says("the upgrade failed").await;
    edge.get("/other").await.expect(200);
    restart(&mut edge).await;
    hit(&edge.get("/page").await.expect_body(200, "page"));
    hit(&edge.get("/other").await.expect_body(200, "other"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_opened_is_named_though_the_node_is_ready() {
    let origin = Origin::start().await;
    origin.on("/page", Answer::storable("page"));
    // A file is no folder.
    let edge = Edge::before(&origin, &disk("16MiB", "").replace("\"disk\"", "\"tokens\"")).await;
    let ready = edge.control("GET", "/readyz", "").await.expect(200);
    let ready: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
    assert_eq!(ready["ready"], true);
    assert!(ready["notes"][0].as_str().unwrap().contains("tokens"), "{ready}");
    edge.get("/page").await.expect_body(200, "page");
    hit(&edge.get("/page").await.expect_body(200, "page"));
    assert_eq!(origin.hits("/page"), 1);
}

#[tokio::test]
async fn a_limit_on_the_size_of_files_turns_the_disk_off_and_ends_nothing() {
    let origin = Origin::start().await;
    let films: Vec<_> = (0..4).map(|n| Film::new(n, 1 << 20)).collect();
    for (n, film) in films.iter().enumerate() {
        origin.on(&format!("/{n}"), film.answer());
    }
    let edge = Edge::before(&origin, &disk("16MiB", "")).await;
    let pid = format!("--pid={}", edge.pid());
    let limited = std::process::Command::new("prlimit").args([&pid, "--fsize=1000000"]).status().unwrap();
    assert!(limited.success());
    for (n, film) in films.iter().enumerate() {
        edge.get(&format!("/{n}")).await.expect_body(200, film.bytes(0, film.length));
    }
    eventually("a note on the folder", async || {
        edge.control("GET", "/readyz", "").await.expect(200).text().contains("notes")
    })
    .await;
    for (n, film) in films.iter().enumerate() {
        hit(&edge.get(&format!("/{n}")).await.expect_body(200, film.bytes(0, film.length)));
    }
    assert!(edge.metric("lectern_disk_not_kept_total", &[]).await > 0.0);
    edge.outcomes("failed", 0).await;
}

#[tokio::test]
async fn a_fill_runs_ahead_of_its_only_reader_as_far_as_is_set() {
    let film = Film::new(1, LENGTH);
    for (ahead, whole) in [("1MiB", false), ("32MiB", true)] {
        let origin = Origin::start().await;
        origin.on("/film", weak(&film));
        let cache = format!("fill_window = \"2MiB\"\nread_ahead = \"{ahead}\"");
        let edge = Edge::before(&origin, &disk("4MiB", &cache)).await;
        let mut stalled = Dial::to(edge.address("web").await).receive_buffer(4096).client().await;
        stalled.send(&Request::get("/film").bytes()).await;
        let reply = stalled.head("GET").await;
        if whole {
            edge.settled().await;
            assert_eq!(origin.sent("/film"), LENGTH, "what the window does not hold is on disk");
        } else {
            // Time enough for all of it, beyond what the kernel holds between.
            for _ in 0..20 {
                edge.metrics().await;
            }
            assert!(origin.sent("/film") < LENGTH / 2, "{} bytes", origin.sent("/film"));
        }
        rest(&mut stalled, reply, Watched::from(&film, 0)).await;
        assert_eq!(origin.hits("/film"), 1);
        edge.outcomes("failed", 0).await;
    }
}
