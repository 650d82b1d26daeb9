//! Window case (a): what the disk has is let go, so that nobody waits for the slowest reader and nobody is cut.

use super::{End, again, count, store};
use crate::support::{
    answer::Answer,
    client::Client,
    deadline::eventually,
    dial::Dial,
    edge::Edge,
    film::{Film, Watched},
    gate::Gate,
    message::{self, Reply, Request},
    origin::Origin,
};

/// Much more than the memory, the window and every buffer on the way.
const LENGTH: u64 = 32 << 20;

/// A memory that cannot hold it, and a short patience with who holds up others.
fn config(more: &str) -> String {
    let tiers = store("8MiB", "256MiB");
    tiers.replace("fill_window", &format!("lag_limit = \"300ms\"\n{more}fill_window"))
}

/// No bytes of it can be asked for again.
fn without_validator(film: &Film) -> Answer {
    film.bare().field("Cache-Control", "public, max-age=600")
}

/// A reader that has its head and reads no more.
async fn begin(edge: &Edge, stalls: bool) -> (Client, Reply) {
    let dial = Dial::to(edge.address("web").await);
    let mut client = if stalls { dial.receive_buffer(4096) } else { dial }.client().await;
    client.send(&Request::get("/film").bytes()).await;
    let reply = client.head("GET").await;
    assert_eq!(reply.status, 200, "{reply}");
    (client, reply)
}

/// Reads up to a place, or the end, comparing.
async fn read(client: &mut Client, reply: &mut Reply, watched: &mut Watched, to: u64) {
    watched.take(reply);
    while reply.end == message::End::Open && watched.at < to {
        client.piece(reply).await;
        watched.take(reply);
    }
}

#[tokio::test]
async fn without_a_validator_the_slow_and_the_fast_and_the_late_get_it_whole_by_one_request() {
    let film = Film::new(1, LENGTH);
    type Told = fn(Answer) -> Answer;
    let rows: [(&str, Told); 3] =
        [("length", |answer| answer), ("chunked", Answer::chunked), ("weak", |a| a.field("ETag", "W/\"w\""))];
    for (name, told) in rows {
        let (origin, both) = (Origin::start().await, Gate::new());
        origin.on("/film", told(without_validator(&film)).pause(50_000, &both));
        let mut edge = Edge::before(&origin, &config("")).await;
        let (mut stalled, mut behind) = begin(&edge, true).await;
        let (mut fast, mut reply) = begin(&edge, false).await;
        both.open();
        let mut watched = Watched::from(&film, 0);
        read(&mut fast, &mut reply, &mut watched, 20 << 20).await;
        // Who comes now begins at the first byte, which the window has let go long ago.
        let (mut late, mut third) = begin(&edge, false).await;
        let mut from_start = Watched::from(&film, 0);
        tokio::join!(
            read(&mut fast, &mut reply, &mut watched, u64::MAX),
            read(&mut late, &mut third, &mut from_start, u64::MAX)
        );
        assert!(reply.clean() && watched.at == LENGTH, "{name}: {} bytes: {reply}", watched.at);
        assert!(third.clean() && from_start.at == LENGTH, "{name}: {} bytes: {third}", from_start.at);
        let mut watched = Watched::from(&film, 0);
        read(&mut stalled, &mut behind, &mut watched, u64::MAX).await;
        assert!(behind.clean() && watched.at == LENGTH, "{name}: {} bytes: {behind}", watched.at);
        edge.outcomes("miss", 1).await;
        edge.outcomes("joined", 2).await;
        assert_eq!(count(&edge, "lectern_lagged_readers_total").await, 0, "{name}");
        assert_eq!(edge.metric("lectern_requests_failed_total", &[]).await, 0.0);
        // It is stored, though no memory could hold it.
        for how in [None, Some(End::Stopped)] {
            if let Some(how) = how {
                again(&mut edge, how).await;
            }
            let (mut client, mut reply) = begin(&edge, false).await;
            let mut watched = Watched::from(&film, 0);
            read(&mut client, &mut reply, &mut watched, u64::MAX).await;
            assert!(reply.clean() && watched.at == LENGTH, "{name}: {reply}");
        }
        assert_eq!(origin.hits("/film"), 1, "{name}");
    }
}

#[tokio::test]
async fn with_a_validator_a_reader_left_behind_reads_from_disk_and_asks_for_nothing() {
    let film = Film::new(1, LENGTH);
    let (origin, both) = (Origin::start().await, Gate::new());
    let (answer, held) = (film.answer(), both.clone());
    origin.on_call("/film", move |seen, _| match seen.field("range") {
        None => answer.clone().pause(50_000, &held),
        Some(_) => answer.clone(),
    });
    let edge = Edge::before(&origin, &config("")).await;
    let (mut stalled, mut behind) = begin(&edge, true).await;
    let (mut fast, mut reply) = begin(&edge, false).await;
    both.open();
    read(&mut fast, &mut reply, &mut Watched::from(&film, 0), u64::MAX).await;
    assert!(reply.clean(), "{reply}");
    let mut watched = Watched::from(&film, 0);
    read(&mut stalled, &mut behind, &mut watched, u64::MAX).await;
    assert!(behind.clean() && watched.at == LENGTH, "{} bytes: {behind}", watched.at);
    assert_eq!(origin.ranges("/film"), [None]);
    assert_eq!(count(&edge, "lectern_lagged_readers_total").await, 0);
}

/// What the kernels' buffers between two processes take at most.
const BUFFERS: u64 = 12 << 20;

#[tokio::test]
async fn a_fill_reads_ahead_of_its_only_reader_as_far_as_is_set_and_no_further() {
    let film = Film::new(1, 96 << 20);
    let mut ahead = Vec::new();
    for setting in ["", "read_ahead = \"32MiB\"\n"] {
        let origin = Origin::start().await;
        origin.on("/film", film.answer());
        origin.on("/other/*", Answer::storable("other"));
        let mut edge = Edge::before(&origin, &config(setting)).await;
        let (mut stalled, mut reply) = begin(&edge, true).await;
        let most = if setting.is_empty() { 1 << 20 } else { 32 << 20 };
        eventually("a fill that is ahead", async || origin.sent("/film") >= most).await;
        // Much else happens meanwhile, and a second passes.
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
        for n in 0..10 {
            ticks.tick().await;
            edge.get(&format!("/other/{n}")).await.expect(200);
        }
        let sent = origin.sent("/film");
        assert!(sent <= most + (2 << 20) + BUFFERS, "{sent} bytes for a reader that stands still");
        ahead.push(sent);
        let mut watched = Watched::from(&film, 0);
        read(&mut stalled, &mut reply, &mut watched, u64::MAX).await;
        assert!(reply.clean() && watched.at == film.length, "{} bytes: {reply}", watched.at);
        assert_eq!(origin.hits("/film"), 1);
        edge.kill().await;
    }
    assert!(ahead[0] + (16 << 20) < ahead[1], "the setting changes nothing: {ahead:?}");
}
