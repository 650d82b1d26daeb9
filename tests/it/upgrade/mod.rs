//! A new process takes the place of the running one: nothing is lost, nothing old is served, and if it fails nobody notices.

mod failing;
mod folders;
mod purging;
mod supervised;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::support::{
    answer::Answer, client::Client, dial::Dial, edge::Edge, message::Request, origin::Origin,
};

/// The edge's table of the process, behind a site.
fn node(settings: &str) -> String {
    format!("[node]\nthreads = 2\n{settings}\n")
}

#[tokio::test]
async fn sockets_control_port_and_ledger_change_hands_as_often_as_one_likes() {
    let origin = Origin::start().await;
    let answer = |n: usize| Answer::storable(format!("version {n}"));
    origin.on_call("/a", move |_, before| answer(before));
    let mut edge = Edge::before(&origin, "").await;
    let (web, control) = (edge.address("web").await, edge.address("control").await);
    for round in 0..3 {
        let now = format!("version {round}");
        edge.get("/a").await.expect_body(200, &now);
        edge.get("/a").await.expect_body(200, &now);
        edge.purge("http://lms.example/a").await;
        assert_eq!(edge.metric("lectern_ledger_number", &[]).await, f64::from(round + 1));
        let new = edge.upgrade().await;
        let mut old = std::mem::replace(&mut edge, new);
        assert_eq!((edge.address("web").await, edge.address("control").await), (web, control));
        assert_eq!(old.ended().await.code(), Some(0));
        old.says("everything under way was finished").await;
        assert_eq!(edge.metric("lectern_ledger_number", &[]).await, f64::from(round + 1));
    }
    edge.get("/a").await.expect_body(200, "version 3");
    assert_eq!(origin.hits("/a"), 4);
    let log = edge.log(7).await;
    assert_eq!(log.len(), 7, "{log:#?}");
    assert!(log.iter().all(|line| line["complete"] == true), "{log:#?}");
    // Of this machine's limit alone, if of anything.
    let complains = |line: &&String| {
        [" WARN ", " ERROR "].iter().any(|level| line.contains(level)) && !line.contains("LimitNOFILE")
    };
    assert_eq!(edge.said().iter().find(complains), None);
}

#[tokio::test]
async fn a_socket_that_no_listener_names_any_more_is_named_in_the_log_and_closed() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    let config = |listeners: &[&str]| {
        let listener = |name: &&str| format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n");
        format!(
            "default_site = \"lms\"\n{}[[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
             [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
            listeners.iter().map(listener).collect::<String>(),
            origin.addr()
        )
    };
    let mut old = Edge::with(&config(&["web", "second door"])).await;
    let (web, second) = (old.address("web").await, old.address("second door").await);
    Client::connect(second).await.get("/a").await.expect_body(200, "a");
    old.configure(&config(&["web", "third"]));
    let new = old.upgrade().await;
    new.says("closed a socket that was handed over and that no listener names").await;
    let named = new.said().iter().any(|line| line.contains("127.0.0.1:0#second%20door"));
    assert!(named, "{:#?}", new.said());
    assert_eq!(old.ended().await.code(), Some(0));
    assert!(Dial::to(second).try_client().await.is_err(), "nobody listens there any more");
    assert_eq!(new.address("web").await, web);
    for door in [web, new.address("third").await] {
        Client::connect(door).await.get("/a").await.expect_body(200, "a");
    }
}

#[tokio::test]
async fn g52_the_old_process_is_gone_after_its_deadline_and_a_signal_makes_a_stop_of_it() {
    let origin = Origin::start().await;
    origin.on("/socket", Answer::echo("websocket"));
    let settings = "upgrade_deadline = \"500ms\"\nstop_deadline = \"300ms\"";
    let mut old = Edge::before(&origin, &node(settings)).await;
    let mut socket = open_socket(&old).await;
    let new = old.upgrade().await;
    old.says("another process serves").await;
    socket.send(b"still here").await;
    assert_eq!(socket.raw(10).await, b"still here");
    assert_eq!(old.ended().await.code(), Some(0));
    old.says("the deadline is over").await;
    socket.closed().await;
    assert!(old.log(1).await.iter().all(|line| line["outcome"] == "pass"));
    new.get("/none").await.expect(404);
}

#[tokio::test]
async fn a_signal_makes_a_stop_of_an_old_process_that_still_has_something_under_way() {
    let origin = Origin::start().await;
    origin.on("/socket", Answer::echo("websocket"));
    origin.on("/a", Answer::storable("a"));
    let mut old = Edge::before(&origin, &node("upgrade_deadline = \"1h\"\nstop_deadline = \"300ms\"")).await;
    let (mut socket, mut idle) = (open_socket(&old).await, old.client().await);
    idle.get("/a").await.expect_body(200, "a");
    let new = old.upgrade().await;
    old.says("another process serves").await;
    let begun = lectern::clock::instant();
    old.signal("TERM");
    assert_eq!(old.ended().await.code(), Some(0));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    old.says("the deadline is over").await;
    socket.closed().await;
    idle.closed().await;
    new.get("/a").await.expect_body(200, "a");
}

/// An origin whose bodies are the version that is current when the request comes.
fn versioned(origin: &Origin, path: &str) -> Arc<AtomicU64> {
    let version = Arc::new(AtomicU64::new(1));
    let current = version.clone();
    origin.on_call(path, move |_, _| Answer::storable(current.load(SeqCst).to_string()));
    version
}

/// A tunnel through the edge, proved to be one.
async fn open_socket(edge: &Edge) -> Client {
    let mut socket = edge.client().await;
    let upgrade = Request::get("/socket").field("Connection", "Upgrade").field("Upgrade", "websocket");
    socket.send(&upgrade.bytes()).await;
    assert_eq!(socket.head("GET").await.status, 101);
    socket.send(b"ping").await;
    assert_eq!(socket.raw(4).await, b"ping");
    socket
}
