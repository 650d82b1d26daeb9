//! Learners at work while the process is replaced: not one of them sees an error (G52).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::future::{join, join_all};

use super::{node, open_socket};
use crate::support::{
    answer::Answer,
    client::Client,
    deadline::eventually,
    dial::Dial,
    edge::Edge,
    h2::H2,
    message::{End, Reply, Request},
    origin::Origin,
};

/// Clients of each protocol.
const CLIENTS: usize = 100;
/// Requests that each makes before the upgrade begins, and again after the new process serves.
const EACH: usize = 4;
/// Between two requests of a client, at least.
const PACE: Duration = Duration::from_millis(50);

const PIECE: usize = 256 << 10;

/// Bytes of the download: a gibibyte with `make soak`, else as much as no buffer on the way holds.
fn film_length() -> u64 {
    if std::env::var_os("LECTERN_SOAK").is_some() { 1 << 30 } else { 192 << 20 }
}

/// Piece `n` of the film: no two are alike.
fn piece(n: u64) -> Vec<u8> {
    let mut piece = vec![n as u8; PIECE];
    piece[..8].copy_from_slice(&n.to_be_bytes());
    piece
}

/// What the clients do, and how far they are.
#[derive(Default)]
struct Work {
    handed_over: AtomicBool,
    /// Clients that have made their requests before the upgrade.
    warm: AtomicUsize,
    answered: AtomicUsize,
    posts: AtomicUsize,
    /// Connections that were told to end.
    told: AtomicUsize,
}

impl Work {
    /// Requests of one client, until it has made enough of them after the hand-over.
    async fn requests(&self, mut ask: impl AsyncFnMut(&Request) -> Reply) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut count, mut after) = (0, 0);
        while after < EACH {
            pace.tick().await;
            after += usize::from(self.handed_over.load(SeqCst));
            let (request, body) = match count % 4 {
                0 | 1 => (Request::get("/shared"), "shared"),
                2 => (Request::get(&format!("/page?{count}")), "page"),
                _ => (Request::new("POST", "/track").body("score=1"), "tracked"),
            };
            ask(&request).await.expect_body(200, body);
            count += 1;
            self.answered.fetch_add(1, SeqCst);
            self.posts.fetch_add(usize::from(body == "tracked"), SeqCst);
            self.warm.fetch_add(usize::from(count == EACH), SeqCst);
        }
    }

    /// A client of HTTP/1.1 that keeps its connection as long as it may; each fourth comes anew with each request.
    async fn http1(&self, web: SocketAddr, n: usize) {
        let mut kept: Option<Client> = None;
        self.requests(async |request| {
            let mut client = match kept.take() {
                Some(client) => client,
                None => Dial::to(web).try_client().await.unwrap(),
            };
            let reply = client.ask(request).await;
            match reply.field("connection") {
                Some("close") => {
                    self.told.fetch_add(1, SeqCst);
                    client.closed().await;
                }
                _ => kept = (!n.is_multiple_of(4)).then_some(client),
            }
            reply
        })
        .await;
    }

    /// A client of HTTP/2. After a GOAWAY it opens a new connection; what the server has refused by it was not processed
    /// (RFC 9113 §6.8), which the origin's count of posts proves.
    async fn http2(&self, web: SocketAddr) {
        let mut kept: Option<H2> = None;
        self.requests(async |request| {
            loop {
                let h2 = match kept.take().filter(|h2| h2.goaway().is_none()) {
                    Some(h2) => h2,
                    None => Dial::to(web).try_h2().await.unwrap(),
                };
                let reply = h2.ask(request).await;
                if reply.status == 0 && h2.goaway() == Some(h2::Reason::NO_ERROR) {
                    self.told.fetch_add(1, SeqCst);
                    continue;
                }
                kept = Some(h2);
                return reply;
            }
        })
        .await;
    }
}

/// An origin's film, sent as fast as it is taken.
fn film(origin: &Origin, length: u64) {
    origin.on_raw("/film", move |mut connection, _| async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        let mut sent = connection.send(head.as_bytes()).await;
        for n in 0..length / PIECE as u64 {
            if sent.is_ok() {
                sent = connection.send(&piece(n)).await;
            }
        }
        connection.gone().await;
    });
}

/// A download that is compared as it comes.
struct Download {
    client: Client,
    reply: Reply,
    bytes: u64,
    hash: blake3::Hasher,
}

impl Download {
    async fn begin(edge: &Edge) -> Download {
        let mut client = edge.client().await;
        client.send(&Request::get("/film").bytes()).await;
        let reply = client.head("GET").await;
        Download { client, reply, bytes: 0, hash: blake3::Hasher::new() }
    }

    async fn read_to(&mut self, bytes: u64) {
        while self.reply.end == End::Open && self.bytes < bytes {
            self.client.piece(&mut self.reply).await;
            self.bytes += self.reply.body.len() as u64;
            self.hash.update(&self.reply.body);
            self.reply.body.clear();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g52_two_hundred_clients_a_socket_and_a_long_download_under_way_notice_nothing() {
    let origin = Origin::start().await;
    origin.on("/shared", Answer::storable("shared"));
    origin.on("/page", Answer::ok("page").field("Cache-Control", "no-store"));
    origin.on("/track", Answer::ok("tracked"));
    origin.on("/socket", Answer::echo("websocket"));
    let length = film_length();
    film(&origin, length);
    let rest = format!("log_must = true\n{}", node("upgrade_deadline = \"5m\""));
    let mut old = Edge::before(&origin, &rest).await;
    let (web, work) = (old.address("web").await, Work::default());

    let mut socket = open_socket(&old).await;
    let mut download = Download::begin(&old).await;
    let clients = join(
        join_all((0..CLIENTS).map(|n| work.http1(web, n))),
        join_all((0..CLIENTS).map(|_| work.http2(web))),
    );
    let upgrade = async {
        let warm = async || work.warm.load(SeqCst) == 2 * CLIENTS;
        join(download.read_to(length / 4), eventually("all clients at work", warm)).await;
        let (new, ()) = join(old.upgrade(), download.read_to(length / 2)).await;
        old.says("another process serves").await;
        work.handed_over.store(true, SeqCst);
        socket.send(b"across").await;
        assert_eq!(socket.raw(6).await, b"across");
        download.read_to(u64::MAX).await;
        new
    };
    let (_, new) = join(clients, upgrade).await;

    let mut whole = blake3::Hasher::new();
    for n in 0..length / PIECE as u64 {
        whole.update(&piece(n));
    }
    assert!(download.reply.clean() && download.bytes == length, "{} of {length} bytes", download.bytes);
    assert_eq!(download.hash.finalize(), whole.finalize());
    drop(download);
    assert_eq!(origin.hits("/film"), 1);

    // Nothing went to the origin twice, and what can be shared was asked for once by each process.
    let (posts, answered) = (work.posts.load(SeqCst), work.answered.load(SeqCst));
    assert_eq!(origin.hits("/track"), posts);
    assert!(work.told.load(SeqCst) > 0, "the old process told nobody to go");
    socket.send(b"to the end").await;
    assert_eq!(socket.raw(10).await, b"to the end");
    drop(socket);
    assert_eq!(old.ended().await.code(), Some(0));
    old.says("everything under way was finished").await;

    let log = new.log(answered + 2).await;
    assert_eq!(log.len(), answered + 2, "a line for each request");
    let of = |word: &str, text: &str| log.iter().filter(|line| line[word] == text).count();
    assert_eq!(of("outcome", "failed") + of("outcome", "refused"), 0);
    let relayed = of("detail", "handed-over");
    assert!(origin.hits("/shared") <= 2 + relayed, "{} hits, {relayed} relays", origin.hits("/shared"));
}
