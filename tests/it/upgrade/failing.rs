//! The new process cannot start, or dies at any step: the running one goes on as if nothing had been.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use lectern::ledger::{About, Ledger, LedgerSettings, Purge, Record};
use lectern::telemetry::Metrics;
use pingora::server::Fds;

use super::{open_socket, versioned};
use crate::support::{
    answer::Answer,
    deadline::{eventually, within},
    edge::Edge,
    origin::Origin,
};

/// A new process as far as the running one can tell: it goes so many steps, and then it is gone. Before it opens the ledger
/// it does `with_ledger`, having the lock.
fn begin_and_die(folder: &Path, steps: usize, with_ledger: impl FnOnce()) {
    let mut stream = BufReader::new(UnixStream::connect(folder.join("upgrade/node.sock")).unwrap());
    let mut line = String::new();
    let mut with_ledger = Some(with_ledger);
    for (step, said) in ["lectern-upgrade 2", "listening", "open"].into_iter().enumerate() {
        if steps == 2 * step {
            return;
        }
        stream.get_mut().write_all(format!("{said}\n").as_bytes()).unwrap();
        if steps == 2 * step + 1 {
            return;
        }
        line.clear();
        stream.read_line(&mut line).unwrap();
        match line.trim_end() {
            "sockets" => Fds::new().get_from_sock(folder.join("upgrade/fds.sock").to_str().unwrap()).unwrap(),
            "ledger" => (with_ledger.take().unwrap())(),
            answer => assert_eq!(answer, "yours"),
        }
    }
}

/// Runs a new process that dies after so many steps, and waits until the old one has said so for the `n`th time.
pub(super) async fn failed_upgrade(
    edge: &Edge,
    n: usize,
    steps: usize,
    with_ledger: impl FnOnce() + Send + 'static,
) {
    let folder = edge.path("ledger");
    let dying = tokio::task::spawn_blocking(move || begin_and_die(&folder, steps, with_ledger));
    within("a new process", dying).await.unwrap();
    let failed = async || edge.said().iter().filter(|line| line.contains("the upgrade failed")).count() == n;
    eventually("the end of the upgrade", failed).await;
}

/// Its ledger takes records.
async fn ready(edge: &Edge) {
    eventually("the ledger", async || edge.metric("lectern_ledger_ready", &[]).await == 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_dies_at_any_step_leaves_the_old_one_as_it_was() {
    let origin = Origin::start().await;
    let version = versioned(&origin, "/a");
    origin.on("/socket", Answer::echo("websocket"));
    let edge = Edge::before(&origin, "").await;
    let (mut kept, mut socket) = (edge.client().await, open_socket(&edge).await);
    for steps in 0..=6 {
        let now = version.load(SeqCst).to_string();
        kept.get("/a").await.expect_body(200, &now);
        failed_upgrade(&edge, steps + 1, steps, || {}).await;
        ready(&edge).await;
        // What is stored serves again, on the connections there were and on new ones.
        eventually("hits", async || !edge.get("/a").await.field("cache-status").unwrap().contains("fwd"))
            .await;
        kept.get("/a").await.expect_body(200, &now);
        edge.control("GET", "/readyz", "").await.expect(200);
        let reload = async || edge.control("POST", "/v1/reload", "").await.status == 200;
        eventually("a reload", reload).await;
        version.fetch_add(1, SeqCst);
        edge.purge("http://lms.example/a").await;
        assert_eq!(edge.metric("lectern_ledger_number", &[]).await, (steps + 1) as f64);
    }
    kept.get("/a").await.expect_body(200, "8");
    assert_eq!(origin.hits("/a"), 8 + relayed(&edge).await);
    socket.send(b"ping").await;
    assert_eq!(socket.raw(4).await, b"ping");
    // And then it can be upgraded.
    let new = edge.upgrade().await;
    assert_eq!(new.metric("lectern_ledger_number", &[]).await, 7.0);
}

/// Requests that were relayed because another process had the ledger.
async fn relayed(edge: &Edge) -> usize {
    let log = edge.log(1).await;
    log.iter().filter(|line| line["detail"] == "handed-over").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_new_process_purged_before_it_died_is_gone_in_the_old_one() {
    let origin = Origin::start().await;
    origin.on_each("/a", vec![Answer::storable("old"), Answer::storable("new")]);
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect_body(200, "old");
    let folder = edge.path("ledger");
    let purges = move || {
        let settings = LedgerSettings { folder, url_entries: 100, ..LedgerSettings::default() };
        let ledger = Ledger::open(&settings, &Metrics::new()).unwrap();
        let purge = Purge::Url { path: "/a".into(), query: None };
        let about = About { sites: vec!["lms".into()], who: "new process".into(), ..About::default() };
        let record = Record::purge(purge, about);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(ledger.append(record)).unwrap();
        ledger.close();
    };
    failed_upgrade(&edge, 1, 6, purges).await;
    edge.get("/a").await.expect_body(200, "new");
    ready(&edge).await;
    assert_eq!(edge.metric("lectern_ledger_number", &[]).await, 1.0);
    edge.get("/a").await.expect_body(200, "new");
}

#[tokio::test]
async fn a_new_process_that_cannot_start_says_why_and_changes_nothing() {
    let origin = Origin::start().await;
    origin.on_call("/a", |_, before| Answer::storable(before.to_string()));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = |more: &str| {
        format!(
            "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{more}\n\
             [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
             [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
            origin.addr()
        )
    };
    let edge = Edge::with(&config("")).await;
    edge.get("/a").await.expect_body(200, "0");
    let port = taken.local_addr().unwrap();
    let cases = [
        ("nonsense = 1".to_owned(), 78, "there is no such setting"),
        (format!("[[listener]]\nname = \"more\"\naddress = \"{port}\""), 69, "listener more has no socket"),
        ("[listener.tls]\ncertificates = \"nowhere\"".to_owned(), 69, "nowhere"),
    ];
    for (more, code, why) in &cases {
        edge.configure(&config(more));
        let mut new = edge.begin_upgrade();
        assert_eq!(new.ended().await.code(), Some(*code), "{:#?}", new.said());
        new.says(why).await;
        edge.get("/a").await.expect_body(200, "0");
        let unready = edge.metric("lectern_ledger_ready", &[]).await;
        assert_eq!(unready, 1.0, "the ledger was not given up for {more}");
    }
    // A ledger that cannot be opened: the old process takes it back.
    edge.configure(&config(""));
    let head = edge.path("ledger/head");
    edge.purge("http://lms.example/b").await;
    let kept = fs::read(&head).unwrap();
    fs::remove_file(&head).unwrap();
    fs::create_dir(&head).unwrap();
    let mut new = edge.begin_upgrade();
    assert_eq!(new.ended().await.code(), Some(69), "{:#?}", new.said());
    new.says("the ledger cannot be opened").await;
    edge.says("the upgrade failed, this process goes on").await;
    edge.get("/a").await.expect_body(200, "0");
    fs::remove_dir(&head).unwrap();
    fs::write(&head, kept).unwrap();
    ready(&edge).await;
    edge.purge("http://lms.example/a").await;
    assert_eq!(edge.metric("lectern_ledger_number", &[]).await, 2.0);
    edge.get("/a").await.expect_body(200, "1");
    assert_eq!(origin.hits("/a"), 2);
}

#[tokio::test]
async fn without_a_running_node_there_is_nothing_to_upgrade() {
    let origin = Origin::start().await;
    let mut edge = Edge::before(&origin, "").await;
    let folder = edge.path("ledger/upgrade");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    edge.kill().await;
    // Its socket is still there, and nobody behind it.
    assert!(folder.join("node.sock").exists());
    let mut new = edge.begin_upgrade();
    assert_eq!(new.ended().await.code(), Some(69));
    new.says("start without --upgrade").await;
    edge.start_again().await;
    edge.get("/none").await.expect(404);
}
