//! A new process takes the place of the running one: nothing is lost, nothing old is served, and if it fails nobody notices.

use crate::support::{answer::Answer, edge::Edge, origin::Origin};

#[tokio::test]
async fn sockets_control_port_and_ledger_change_hands_and_the_old_process_ends() {
    let origin = Origin::start().await;
    origin.on_each("/a", vec![Answer::storable("old"), Answer::storable("new")]);
    let mut old = Edge::before(&origin, "").await;
    let (web, control) = (old.address("web").await, old.address("control").await);
    old.get("/a").await.expect_body(200, "old");
    old.get("/a").await.expect_body(200, "old");
    old.purge("http://lms.example/a").await;
    let new = old.upgrade().await;
    assert_eq!((new.address("web").await, new.address("control").await), (web, control));
    assert_eq!(old.ended().await.code(), Some(0));
    old.says("everything under way was finished").await;
    new.get("/a").await.expect_body(200, "new");
    new.get("/a").await.expect_body(200, "new");
    assert_eq!(origin.hits("/a"), 2);
    // The numbers go on, and the new process holds the ledger.
    assert_eq!(new.metric("lectern_ledger_number", &[]).await, 1.0);
    new.purge("http://lms.example/a").await;
    assert_eq!(new.metric("lectern_ledger_number", &[]).await, 2.0);
    assert_eq!(new.log(4).await.len(), 4);
}
