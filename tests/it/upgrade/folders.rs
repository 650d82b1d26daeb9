//! The disk tier's folders change hands: what they hold serves before, meanwhile and after, and what was withdrawn never again.

use std::sync::atomic::Ordering::SeqCst;

use super::{failing::failed_upgrade, versioned};
use crate::support::{
    answer::Answer,
    client::Client,
    deadline::eventually,
    dial::Dial,
    edge::Edge,
    film::{Film, Watched},
    message::{End, Request},
    origin::Origin,
};

/// A memory that holds little, one folder.
const STORE: &str = "[cache]\nmemory = \"2MiB\"\n[disk]\nflush_interval = \"50ms\"\nwrite_queue = \"1GiB\"\n\
    [[disk.folder]]\npath = \"store\"\nlimit = \"256MiB\"\n";

/// Bodies of several chunks; more than the memory holds.
fn film(n: u64) -> Film {
    Film::new(n, 700_000 + n)
}

async fn all(edge: &Edge) {
    let mut client = edge.client().await;
    for n in 1..=12 {
        client.get(&format!("/film/{n}")).await.expect_body(200, film(n).bytes(0, film(n).length));
    }
}

async fn before() -> (Origin, Edge) {
    let origin = Origin::start().await;
    for n in 1..=12 {
        origin.on(&format!("/film/{n}"), film(n).answer());
    }
    let edge = Edge::before(&origin, STORE).await;
    all(&edge).await;
    (origin, edge)
}

/// All come, and at last without a request: while neither process has the folder the origin is asked.
async fn all_are_stored(edge: &Edge, origin: &Origin) {
    eventually("a folder that has all", async || {
        let asked = origin.requests().len();
        all(edge).await;
        origin.requests().len() == asked
    })
    .await;
}

/// Both reads and writes of its folder are on.
async fn on(edge: &Edge) {
    eventually("the folder", async || edge.metric("lectern_disk_up", &[]).await == 2.0).await;
}

#[tokio::test]
async fn a_download_from_disk_that_is_under_way_ends_whole_in_the_old_process() {
    let (origin, mut old) = before().await;
    let long = Film::new(99, 48 << 20);
    origin.on("/long", long.answer());
    old.get("/long").await.expect(200);
    let waits = async || old.metric("lectern_disk_write_queue_bytes", &[]).await;
    eventually("an empty queue of the disk", async || waits().await == 0.0).await;
    // Only its first chunks have been read when the folder is given up.
    let mut client = Dial::to(old.address("web").await).receive_buffer(4096).client().await;
    client.send(&Request::get("/long").bytes()).await;
    let (mut reply, mut watched) = (client.head("GET").await, Watched::from(&long, 0));
    client.piece(&mut reply).await;
    let new = old.upgrade().await;
    on(&new).await;
    while reply.end == End::Open {
        watched.take(&mut reply);
        client.piece(&mut reply).await;
    }
    watched.take(&mut reply);
    assert!(reply.clean() && watched.at == long.length, "{} bytes: {reply}", watched.at);
    drop(client);
    assert_eq!(old.ended().await.code(), Some(0));
    all_are_stored(&new, &origin).await;
    new.get("/long").await.expect_body(200, long.bytes(0, long.length));
    assert_eq!(origin.hits("/long"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_dies_leaves_the_old_one_its_folders() {
    let (origin, mut edge) = before().await;
    origin.on_call("/new/*", |seen, _| Answer::storable(&seen.target));
    for steps in 0..=6 {
        failed_upgrade(&edge, steps + 1, steps, || {}).await;
        on(&edge).await;
        let serves = async || !edge.get("/film/1").await.field("cache-status").unwrap().contains("fwd");
        eventually("hits", serves).await;
        all_are_stored(&edge, &origin).await;
        // It keeps what comes, too.
        edge.get(&format!("/new/{steps}")).await.expect(200);
    }
    edge.stop().await;
    edge.start_again().await;
    let asked = origin.requests().len();
    all(&edge).await;
    for steps in 0..=6 {
        edge.get(&format!("/new/{steps}")).await.expect_body(200, format!("/new/{steps}"));
    }
    assert_eq!(origin.requests().len(), asked);
}

#[tokio::test]
async fn what_the_old_process_withdrew_at_its_end_is_not_there_in_the_new_one() {
    let origin = Origin::start().await;
    let version = versioned(&origin, "/v");
    let mut edge = Edge::before(&origin, STORE).await;
    for round in 1..=4 {
        let now = round.to_string();
        edge.get("/v").await.expect_body(200, &now);
        edge.get("/v").await.expect_body(200, &now);
        version.fetch_add(1, SeqCst);
        // A purge, or an unsafe method, right before the folder is given up.
        if round % 2 == 0 {
            edge.purge("http://lms-a.example/v").await;
        } else {
            edge.ask(&Request::new("POST", "/v").body("x")).await.expect(200);
        }
        let new = edge.upgrade().await;
        let mut old = std::mem::replace(&mut edge, new);
        edge.get("/v").await.expect_body(200, (round + 1).to_string());
        on(&edge).await;
        edge.get("/v").await.expect_body(200, (round + 1).to_string());
        assert_eq!(old.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn learners_are_served_all_the_while_from_what_was_stored() {
    let (origin, mut edge) = before().await;
    let web = edge.address("web").await;
    for _ in 0..3 {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let asks = tokio::spawn({
            let stop = stop.clone();
            async move {
                let mut asked = 0u64;
                while !stop.load(SeqCst) {
                    let n = 1 + asked % 12;
                    let reply = Client::connect(web).await.get(&format!("/film/{n}")).await;
                    reply.expect_body(200, film(n).bytes(0, film(n).length));
                    asked += 1;
                }
                asked
            }
        });
        let new = edge.upgrade().await;
        let mut old = std::mem::replace(&mut edge, new);
        on(&edge).await;
        assert_eq!(old.ended().await.code(), Some(0));
        stop.store(true, SeqCst);
        assert!(asks.await.unwrap() > 0);
    }
    all_are_stored(&edge, &origin).await;
}
