//! What stands after a stop or a kill: everything that was committed, as old as it is, and nothing that was withdrawn.

use super::{End, again, committed, count, ranged, store};
use crate::support::{
    answer::Answer, deadline::eventually, edge::Edge, film::Film, message::Request, origin::Origin,
    parts::parts,
};

const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

/// Requests with the status and body that each brings, before and after.
struct Set(Vec<(Request, u16, Vec<u8>)>);

impl Set {
    /// Everything that can be stored, one of each kind.
    fn on(origin: &Origin) -> Set {
        let mut set = Set(Vec::new());
        for (path, length) in [("/1k", 1 << 10), ("/1m", 1 << 20), ("/20m", 20 << 20)] {
            let film = Film::new(length, length);
            origin.on(path, film.answer().field("Age", "100"));
            set.add(Request::get(path), 200, film.bytes(0, length));
        }
        origin.on("/empty", Answer::storable(""));
        set.add(Request::get("/empty"), 200, Vec::new());
        origin.on_call("/vary", |seen, _| {
            let language = seen.field("accept-language").unwrap_or("none").to_owned();
            Answer::storable(&language)
                .field("Vary", "Accept-Language")
                .instead("ETag", format!("\"{language}\""))
        });
        for language in ["de", "en", "fr"] {
            let request = Request::get("/vary").field("Accept-Language", language);
            set.add(request, 200, language.into());
        }
        origin.on_call("/coded", |seen, _| match seen.field("accept-encoding") {
            Some(list) if list.contains("gzip") => {
                Answer::storable("coded").field("Content-Encoding", "gzip").field("Vary", "Accept-Encoding")
            }
            _ => Answer::storable("plain").field("Vary", "Accept-Encoding"),
        });
        set.add(Request::get("/coded").field("Accept-Encoding", "gzip"), 200, b"coded".into());
        set.add(Request::get("/coded"), 200, b"plain".into());
        for (path, status) in [("/none", 404), ("/gone", 410), ("/moved", 301)] {
            let answer = Answer::new(status, path).field("Cache-Control", "public, max-age=600");
            origin.on(path, answer.field("Location", "/elsewhere"));
            set.add(Request::get(path), status, path.into());
        }
        // Length by the last chunk, a weak tag, a date alone, no validator at all.
        let body = Film::new(7, 700_000);
        origin.on("/chunked", body.answer().chunked());
        origin.on("/weak", body.answer().no_ranges().instead("ETag", "W/\"w\""));
        let bare = || body.bare().field("Cache-Control", "public, max-age=600");
        origin.on("/dated", bare().field("Last-Modified", MODIFIED));
        origin.on("/bare", bare());
        for path in ["/chunked", "/weak", "/dated", "/bare"] {
            set.add(Request::get(path), 200, body.bytes(0, body.length));
        }
        origin.on_call("/query", |seen, _| Answer::storable(&seen.target));
        for target in ["/query", "/query?", "/query?a=1", "/query?a=2&b"] {
            set.add(Request::get(target), 200, target.into());
        }
        set
    }

    fn add(&mut self, request: Request, status: u16, body: Vec<u8>) {
        self.0.push((request, status, body));
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// All as they should be, each with its head.
    async fn ask(&self, edge: &Edge) {
        let mut client = edge.client().await;
        for (request, status, body) in &self.0 {
            client.ask(request).await.expect_body(*status, body);
        }
    }
}

#[tokio::test]
async fn after_a_stop_and_after_a_kill_everything_is_a_hit_and_the_origin_hears_nothing() {
    let origin = Origin::start().await;
    let set = Set::on(&origin);
    let mut edge = Edge::before(&origin, &store("64MiB", "256MiB")).await;
    set.ask(&edge).await;
    edge.outcomes("miss", set.len()).await;
    let asked = origin.requests().len();
    origin.down().await;
    for how in [End::Killed(set.len()), End::Stopped, End::Stopped] {
        again(&mut edge, how).await;
        set.ask(&edge).await;
        edge.outcomes("hit", set.len()).await;
        assert_eq!(edge.metric("lectern_requests_failed_total", &[]).await, 0.0);
        assert_eq!(edge.metric("lectern_disk_up", &[]).await, 2.0, "reads and writes");
    }
    assert_eq!(origin.requests().len(), asked);
}

#[tokio::test]
async fn what_lies_on_disk_only_is_answered_in_each_way_that_a_stored_response_is() {
    let film = Film::new(1, (1 << 20) + 77);
    let origin = Origin::start().await;
    origin.on("/film", film.answer().field("Last-Modified", MODIFIED).field("Age", "100"));
    let mut edge = Edge::before(&origin, &store("64MiB", "64MiB")).await;
    let whole = film.bytes(0, film.length);
    edge.get("/film").await.expect_body(200, &whole);
    let (end, tag) = (film.length - 1, film.tag());
    let head = || Request::new("HEAD", "/film");
    let get = |name: &str, value: &str| Request::get("/film").field(name, value);
    let table: [(Request, u16, Vec<u8>); 12] = [
        (head(), 200, vec![]),
        (head().field("If-None-Match", &tag), 304, vec![]),
        (get("If-None-Match", &tag), 304, vec![]),
        (get("If-None-Match", "\"other\""), 200, whole.clone()),
        (get("If-Modified-Since", MODIFIED), 304, vec![]),
        (get("Range", "bytes=0-0"), 206, film.bytes(0, 1)),
        (get("Range", "bytes=262143-262144"), 206, film.bytes(262_143, 262_145)),
        (get("Range", "bytes=-10"), 206, film.bytes(end - 9, end + 1)),
        (get("Range", "bytes=99999999-"), 416, vec![]),
        (get("Range", "bytes=5-9").field("If-Range", &tag), 206, film.bytes(5, 10)),
        (get("Range", "bytes=5-9").field("If-Range", "\"other\""), 200, whole.clone()),
        (get("Cache-Control", "only-if-cached"), 200, whole.clone()),
    ];
    let n = table.len();
    for (i, (request, status, body)) in table.into_iter().enumerate() {
        // Each is the first that is asked of a process: nothing is in memory.
        again(&mut edge, End::Stopped).await;
        let http2 = i % 2 == 1;
        let reply = if http2 { edge.h2().await.ask(&request).await } else { edge.ask(&request).await };
        let reply = reply.expect_body(status, &body);
        let age: u64 = reply.field("age").unwrap_or_else(|| panic!("{i}: {reply}")).parse().unwrap();
        assert!((100..160).contains(&age), "{i}: {reply}");
        if status != 416 {
            assert_eq!(reply.field("etag"), Some(&*tag), "{i}: {reply}");
        }
        assert!(reply.field("cache-status").unwrap().starts_with("lectern; hit; ttl="), "{i}: {reply}");
        edge.outcomes("hit", 1).await;
    }
    again(&mut edge, End::Stopped).await;
    let several = edge.ask(&ranged("/film", "bytes=0-9,600000-600009,-2")).await;
    let places: Vec<_> = parts(&several).iter().map(|part| (part.first, part.last)).collect();
    assert_eq!(places, [(0, 9), (600_000, 600_009), (end - 1, end)]);
    assert!(parts(&several).iter().all(|part| film.is_at(part.first, &part.bytes)), "{several}");
    assert_eq!(origin.hits("/film"), 1);
    assert_eq!(edge.log(n + 2).await.iter().filter(|line| line["outcome"] == "hit").count(), n + 1);
}

#[tokio::test]
async fn what_is_of_age_is_asked_about_and_stays_freshened() {
    let origin = Origin::start().await;
    let old =
        Answer::ok("old").field("ETag", "\"v1\"").field("Cache-Control", "max-age=10").field("Age", "20");
    origin.on("/a", old.conditional());
    let mut edge = Edge::before(&origin, &store("64MiB", "64MiB")).await;
    edge.get("/a").await.expect_body(200, "old");
    again(&mut edge, End::Stopped).await;
    origin.on("/a", Answer::storable("old").conditional());
    edge.get("/a").await.expect_body(200, "old");
    assert_eq!(origin.last("/a").field("if-none-match"), Some("\"v1\""));
    edge.outcomes("revalidated", 1).await;
    for how in [End::Stopped, End::Killed(1)] {
        again(&mut edge, how).await;
        edge.get("/a").await.expect_body(200, "old");
        edge.outcomes("hit", 1).await;
    }
    assert_eq!(origin.hits("/a"), 2);
}

/// Paths whose bodies are the version that is current when the origin is asked.
fn versions(origin: &Origin, version: u32) {
    origin.on_call("/v/*", move |seen, _| Answer::storable(format!("{version} {}", seen.target)));
}

async fn version(edge: &Edge, path: &str) -> String {
    let text = edge.get(path).await.expect(200).text();
    assert!(text.ends_with(path), "{path}: {text}");
    text.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn purges_hold_over_restarts_whatever_lies_on_disk() {
    let origin = Origin::start().await;
    versions(&origin, 1);
    let mut edge = Edge::before(&origin, &store("64MiB", "64MiB")).await;
    let paths = ["/v/kept", "/v/before", "/v/after", "/v/renewed"];
    for path in paths {
        assert_eq!(version(&edge, path).await, "1");
    }
    committed(&edge, 4).await;
    versions(&origin, 2);
    edge.purge("http://lms-a.example/v/before").await;
    edge.purge("http://lms-a.example/v/renewed").await;
    assert_eq!(version(&edge, "/v/renewed").await, "2");
    again(&mut edge, End::Stopped).await;
    // None of these has been looked up by this process.
    edge.purge("http://lms-a.example/v/after").await;
    let expected = [("/v/kept", "1"), ("/v/before", "2"), ("/v/after", "2"), ("/v/renewed", "2")];
    for (path, now) in expected {
        assert_eq!(version(&edge, path).await, now, "{path}");
    }
    edge.outcomes("hit", 2).await;
    // What comes last is committed last.
    assert_eq!(version(&edge, "/v/last").await, "2");
    let asked = origin.requests().len();
    again(&mut edge, End::Killed(5)).await;
    for (path, now) in expected {
        assert_eq!(version(&edge, path).await, now, "{path}");
    }
    assert_eq!(origin.requests().len(), asked);
    again(&mut edge, End::Stopped).await;
    versions(&origin, 3);
    edge.purge_site("lms").await;
    again(&mut edge, End::Stopped).await;
    for path in paths {
        assert_eq!(version(&edge, path).await, "3", "{path}");
    }
    assert_eq!(edge.outcome("hit").await, 0);
}

#[tokio::test]
async fn a_kill_right_behind_a_purge_brings_nothing_back() {
    let origin = Origin::start().await;
    versions(&origin, 1);
    let mut edge = Edge::before(&origin, &store("64MiB", "64MiB")).await;
    assert_eq!(version(&edge, "/v/a").await, "1");
    for round in 2..6 {
        committed(&edge, 1).await;
        versions(&origin, round);
        edge.purge("http://lms-a.example/v/a").await;
        edge.kill().await;
        edge.start_again().await;
        assert_eq!(version(&edge, "/v/a").await, round.to_string());
    }
    assert_eq!(origin.hits("/v/a"), 5);
}

#[tokio::test]
async fn what_an_unsafe_method_made_outdated_on_disk_stays_so() {
    let origin = Origin::start().await;
    versions(&origin, 1);
    let mut edge = Edge::before(&origin, &store("64MiB", "64MiB")).await;
    assert_eq!(version(&edge, "/v/a").await, "1");
    again(&mut edge, End::Stopped).await;
    // The process that hears of it has never looked at what lies there.
    versions(&origin, 2);
    edge.ask(&Request::new("POST", "/v/a").body("x")).await.expect(200);
    again(&mut edge, End::Stopped).await;
    assert_eq!(version(&edge, "/v/a").await, "2");
    edge.outcomes("miss", 1).await;
    again(&mut edge, End::Stopped).await;
    assert_eq!(version(&edge, "/v/a").await, "2");
    edge.outcomes("hit", 1).await;
    assert_eq!(origin.hits("/v/a"), 3);
}

#[tokio::test]
async fn a_lost_ledger_makes_all_that_lies_on_disk_outdated() {
    let origin = Origin::start().await;
    versions(&origin, 1);
    let mut edge = Edge::before(&origin, &store("64MiB", "64MiB")).await;
    assert_eq!(version(&edge, "/v/a").await, "1");
    edge.stop().await;
    std::fs::rename(edge.path("ledger"), edge.path("lost")).unwrap();
    versions(&origin, 2);
    edge.start_again().await;
    assert_eq!(version(&edge, "/v/a").await, "2", "it may have been purged by what is lost");
    assert_eq!(origin.hits("/v/a"), 2);
}

#[tokio::test]
async fn without_a_folder_nothing_is_written_and_nothing_survives() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    let mut edge = Edge::before(&origin, &super::tiers("64MiB")).await;
    for n in 1..=2 {
        edge.get("/a").await.expect_body(200, "a");
        edge.get("/a").await.expect_body(200, "a");
        assert_eq!(origin.hits("/a"), n);
        assert!(!edge.metrics().await.contains("lectern_disk_written_bytes_total{"));
        again(&mut edge, End::Stopped).await;
    }
    assert!(!edge.path("store").exists());
}

#[tokio::test]
async fn an_upgrade_hands_the_folders_over_and_serves_from_them() {
    let origin = Origin::start().await;
    let set = Set::on(&origin);
    let mut edge = Edge::before(&origin, &store("64MiB", "256MiB")).await;
    set.ask(&edge).await;
    let asked = origin.requests().len();
    for _ in 0..2 {
        let new = edge.upgrade().await;
        let mut old = std::mem::replace(&mut edge, new);
        assert_eq!(old.ended().await.code(), Some(0));
        eventually("the folder", async || edge.metric("lectern_disk_up", &[]).await == 2.0).await;
        set.ask(&edge).await;
        edge.outcomes("hit", set.len()).await;
        assert_eq!(count(&edge, "lectern_disk_responses").await, set.len());
    }
    assert_eq!(origin.requests().len(), asked);
}
