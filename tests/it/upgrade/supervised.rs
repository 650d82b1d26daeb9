//! Under a supervisor: a signal begins the upgrade, and the supervisor is told which process is the node's.

use std::process::Command;

use tokio::net::UnixDatagram;

use crate::support::{
    answer::Answer,
    deadline::{eventually, within},
    edge::Edge,
    origin::Origin,
};

/// A process that is no child of this one. Killed when dropped.
struct Stranger(u32);

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-KILL", &self.0.to_string()]).status());
    }
}

/// The next thing a supervisor is told.
async fn told(supervisor: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = within("word to the supervisor", supervisor.recv(&mut buffer)).await.unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// The process that the edge says it has started.
fn started(edge: &Edge) -> Option<u32> {
    let said = edge.said();
    let line = said.iter().find(|line| line.contains("a new process was started"))?;
    line.split_once(" pid=")?.1.split(' ').next()?.parse().ok()
}

#[tokio::test]
async fn a_signal_starts_the_new_process_and_the_supervisor_learns_which_it_is() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    let mut edge = Edge::before(&origin, "").await;
    edge.kill().await;
    let supervisor = UnixDatagram::bind(edge.path("notify")).unwrap();
    edge.start_again().await;
    let web = edge.address("web").await;
    assert_eq!(told(&supervisor).await, format!("READY=1\nMAINPID={}\n", edge.pid()));

    edge.signal("USR2");
    eventually("a new process", async || started(&edge).is_some()).await;
    let new = Stranger(started(&edge).unwrap());
    // Before the old one ends: its end is not the node's.
    assert_eq!(told(&supervisor).await, format!("READY=1\nMAINPID={}\n", new.0));
    assert_eq!(edge.ended().await.code(), Some(0));
    assert_eq!(edge.address("web").await, web);
    edge.get("/a").await.expect_body(200, "a");
    edge.purge("http://lms.example/a").await;
    assert!(Command::new("kill").args(["-TERM", &new.0.to_string()]).status().unwrap().success());
    assert_eq!(told(&supervisor).await, "STOPPING=1\n");
    drop(new);
}

#[tokio::test]
async fn a_new_process_that_the_signal_started_and_that_fails_is_told_of_in_the_log() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    let edge = Edge::before(&origin, "").await;
    let mut kept = edge.client().await;
    kept.get("/a").await.expect_body(200, "a");
    edge.configure("nonsense = 1");
    edge.signal("USR2");
    edge.says("there is no such setting").await;
    edge.says("the new process has ended, this one goes on").await;
    kept.get("/a").await.expect_body(200, "a");
    assert_eq!(origin.hits("/a"), 1);
    edge.outcomes("hit", 1).await;
}
