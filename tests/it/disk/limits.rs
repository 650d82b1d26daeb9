//! Bytes, responses and memory stay within what is set under a flood, and what came last is there (G10–G12).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use tokio::task::JoinSet;

use super::{End, again, committed, count, store, taken};
use crate::support::{
    answer::Answer, client::Client, deadline::eventually, edge::Edge, film::Film, origin::Origin,
};

const MIB: u64 = 1 << 20;
/// Bodies that find room in the queue to the disk while nothing is written.
const FEW: usize = 5;

fn soak() -> bool {
    std::env::var_os("LECTERN_SOAK").is_some()
}

/// A folder may be over its limit by a tenth for a moment: one segment and what the index has not folded yet.
fn most(limit: u64) -> u64 {
    limit + limit / 10
}

/// The body of each path below `/d/`, from its number.
fn body(n: u64) -> Film {
    Film::new(n, MIB)
}

/// A folder of this limit as it is if nothing else is said: what comes too fast for it is not kept.
fn usual(memory: &str, limit: u64) -> String {
    store(memory, &limit.to_string()).replace("write_queue = \"1GiB\"\n", "")
}

fn flood_origin(origin: &Origin) {
    origin.on_call("/d/*", |seen, _| body(seen.path()[3..].parse().unwrap()).answer());
}

/// Watches what a folder takes and what the process holds, on a thread of its own, until it is dropped.
struct Watch {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    resident: Arc<AtomicU64>,
}

impl Watch {
    fn over(edge: &Edge) -> Watch {
        let watch = Watch { stop: Arc::default(), taken: Arc::default(), resident: Arc::default() };
        let (folder, pid): (PathBuf, u32) = (edge.path("store"), edge.pid());
        let (stop, most_taken, most_resident) =
            (watch.stop.clone(), watch.taken.clone(), watch.resident.clone());
        tokio::task::spawn_blocking(move || {
            while !stop.load(SeqCst) {
                most_taken.fetch_max(taken(&folder), SeqCst);
                most_resident.fetch_max(resident(pid), SeqCst);
                std::thread::yield_now();
            }
        });
        watch
    }

    fn taken(&self) -> u64 {
        self.taken.load(SeqCst)
    }

    fn resident(&self) -> u64 {
        self.resident.load(SeqCst)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

/// A process's memory that is mapped from no file, bytes; 0 if it has ended.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Asks for all these numbers by so many clients at once; each answer has to be right.
async fn flood(edge: &Edge, numbers: std::ops::Range<u64>, clients: u64) {
    let (web, next) = (edge.address("web").await, Arc::new(AtomicU64::new(numbers.start)));
    let mut all = JoinSet::new();
    for _ in 0..clients {
        let next = next.clone();
        all.spawn(async move {
            let mut client = Client::connect(web).await;
            loop {
                let n = next.fetch_add(1, SeqCst);
                if n >= numbers.end {
                    return;
                }
                let reply = client.get(&format!("/d/{n}")).await.expect(200);
                assert!(reply.body.len() as u64 == MIB && body(n).is_at(0, &reply.body), "{n}: {reply}");
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_flood_into_a_small_folder_is_served_whole_within_all_limits() {
    let (bodies, clients, limit) = if soak() { (2_000, 200, 48 * MIB) } else { (150, 40, 48 * MIB) };
    let memory = 16 * MIB;
    let origin = Origin::start().await;
    flood_origin(&origin);
    origin.on("/after", Answer::storable("after"));
    let mut edge = Edge::before(&origin, &usual("16MiB", limit)).await;
    let watch = Watch::over(&edge);
    flood(&edge, 0..bodies, clients).await;
    edge.settled().await;
    assert!(watch.taken() <= most(limit), "{} MiB on disk", watch.taken() / MIB);
    // Each fill has its window, of a mebibyte here.
    let allowed = memory + clients * MIB + 64 * MIB;
    assert!(watch.resident() <= allowed, "{} MiB resident", watch.resident() / MIB);
    println!("{} MiB on disk, {} MiB resident", watch.taken() / MIB, watch.resident() / MIB);
    assert_eq!(edge.metric("lectern_requests_failed_total", &[]).await, 0.0);
    assert_eq!(origin.requests().len() as u64, bodies, "one request for each");
    // It keeps on keeping.
    eventually("nothing that waits", async || count(&edge, "lectern_disk_write_queue_bytes").await == 0)
        .await;
    edge.get("/after").await.expect_body(200, "after");
    flood(&edge, bodies..bodies + 1, 1).await;
    again(&mut edge, End::Stopped).await;
    edge.get("/after").await.expect_body(200, "after");
    flood(&edge, bodies..bodies + 1, 1).await;
    edge.outcomes("hit", 2).await;
    assert!(taken(&edge.path("store")) <= most(limit));
    assert_eq!(edge.metric("lectern_disk_up", &[]).await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g11_many_small_responses_are_bounded_by_their_number_and_the_last_ones_are_there() {
    let (urls, most) = if soak() { (20_000, 5_000) } else { (1_300, 1_000) };
    let origin = Origin::start().await;
    origin.on_call("/scorm/*", |seen, _| Answer::storable(format!("{:200}", seen.target)));
    let config = store("2MiB", "200MiB") + &format!("responses = {most}\n");
    let mut edge = Edge::before(&origin, &config).await;
    let url = |n: u64| format!("/scorm/{}/{n}", n / 100);
    let mut client = edge.client().await;
    for n in 0..urls {
        client.get(&url(n)).await.expect_body(200, format!("{:200}", url(n)));
        if n % 100 == 0 {
            let held = count(&edge, "lectern_disk_responses").await;
            assert!(held <= most, "{held} responses");
        }
    }
    assert_eq!(origin.requests().len() as u64, urls);
    drop(client);
    for how in [None, Some(End::Stopped)] {
        if let Some(how) = how {
            again(&mut edge, how).await;
        }
        let mut client = edge.client().await;
        for n in urls - 100..urls {
            client.get(&url(n)).await.expect_body(200, format!("{:200}", url(n)));
        }
        edge.outcomes("hit", 100).await;
        let held = count(&edge, "lectern_disk_responses").await;
        assert!((most / 2..=most).contains(&held), "{held} responses");
    }
    assert_eq!(origin.requests().len() as u64, urls);
    let files = super::files(&edge.path("store")).len();
    assert!(files < 200, "{files} files");
    edge.get(&url(0)).await.expect(200);
    assert_eq!(origin.requests().len() as u64, urls + 1, "the first one is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g12_after_many_times_its_limit_the_last_is_there_and_what_came_first_is_not() {
    let (bodies, limit) = if soak() { (500, 50 * MIB) } else { (90, 24 * MIB) };
    let origin = Origin::start().await;
    flood_origin(&origin);
    let mut edge = Edge::before(&origin, &usual("10MiB", limit)).await;
    let watch = Watch::over(&edge);
    // Each is kept if the disk can take it, however slow that is.
    let waits = async || count(&edge, "lectern_disk_write_queue_bytes").await;
    for few in (0..bodies).step_by(FEW) {
        flood(&edge, few..bodies.min(few + FEW as u64), 2).await;
        eventually("nothing that waits", async || waits().await == 0).await;
    }
    edge.settled().await;
    assert!(watch.taken() <= most(limit), "{} MiB on disk", watch.taken() / MIB);
    assert!(watch.resident() <= 10 * MIB + 2 * MIB + 64 * MIB, "{} MiB", watch.resident() / MIB);
    drop(watch);
    flood(&edge, 0..1, 1).await;
    assert_eq!(origin.hits("/d/0"), 2, "neither memory nor disk holds it");
    let kept = count(&edge, "lectern_disk_bytes").await;
    assert!(kept >= limit / 2, "{kept} bytes: the folder is used");
    again(&mut edge, End::Stopped).await;
    assert!(taken(&edge.path("store")) <= most(limit), "at once");
    flood(&edge, bodies - 1..bodies, 1).await;
    edge.outcomes("hit", 1).await;
    assert_eq!(origin.requests().len() as u64, bodies + 1);
    flood(&edge, 0..30, 1).await;
    let again = (0..30).filter(|n| origin.hits(&format!("/d/{n}")) > 1).count();
    assert_eq!(again, 30, "nobody asked for them again: none was carried on");
}

#[tokio::test]
async fn what_is_asked_for_again_and_again_outlives_what_is_not() {
    let origin = Origin::start().await;
    flood_origin(&origin);
    let page = |n: u64| Film::new(100_000 + n, 200_000);
    origin.on_call("/page/*", move |seen, _| page(seen.path()[6..].parse().unwrap()).answer());
    let mut edge = Edge::before(&origin, &store("1MiB", "24MiB")).await;
    let mut client = edge.client().await;
    // Some pages among films, so that they are seldom most of a segment.
    let pages = 0..8;
    for n in 0..90 {
        client.get(&format!("/d/{n}")).await.expect(200);
        for n in pages.clone().take_while(|page| *page <= n) {
            client.get(&format!("/page/{n}")).await.expect_body(200, page(n).bytes(0, 200_000));
        }
        let waits = async || count(&edge, "lectern_disk_write_queue_bytes").await;
        eventually("nothing that waits", async || waits().await == 0).await;
    }
    assert!(count(&edge, "lectern_disk_reclaimed_segments_total").await > 30);
    assert!(count(&edge, "lectern_disk_carried_bytes_total").await > 0);
    drop(client);
    again(&mut edge, End::Stopped).await;
    let before = origin.requests().len();
    for n in pages {
        edge.get(&format!("/page/{n}")).await.expect_body(200, page(n).bytes(0, 200_000));
    }
    // Of a segment at most half is carried: by chance one may be lost. Films of that time are all gone.
    let lost = origin.requests().len() - before;
    assert!(lost <= 2, "{lost} of 8");
    for n in 0..8 {
        let part = super::ranged(&format!("/d/{n}"), "bytes=0-9").field("Cache-Control", "only-if-cached");
        edge.ask(&part).await.expect(504);
    }
}

#[tokio::test]
async fn a_smaller_limit_is_kept_after_the_next_start() {
    let origin = Origin::start().await;
    flood_origin(&origin);
    let config = |limit: &str| {
        format!(
            "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
             [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n{}",
            origin.addr(),
            store("2MiB", limit)
        )
    };
    let mut edge = Edge::with(&config("96MiB")).await;
    flood(&edge, 0..40, 2).await;
    committed(&edge, 40).await;
    edge.stop().await;
    edge.configure(&config("24MiB"));
    edge.start_again().await;
    eventually("a folder within its limit", async || taken(&edge.path("store")) <= most(24 * MIB)).await;
    flood(&edge, 39..40, 1).await;
    edge.outcomes("hit", 1).await;
    flood(&edge, 100..101, 1).await;
    assert_eq!(origin.requests().len(), 41);
}
