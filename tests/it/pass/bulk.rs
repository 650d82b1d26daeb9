//! Bodies of any size flow through at constant memory, and nothing limits the whole of a transfer (G40).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lectern::clock;

use super::edge;
use crate::support::{
    deadline::eventually,
    edge::Edge,
    h2_origin::H2Origin,
    message::{End, Framing, Reply, Request},
    origin::Origin,
    playing::Connection,
};

/// What may come on top of what the edge held before.
const GROWTH: u64 = 64 << 20;
/// Bytes that are sent at a time.
const PIECE: usize = 256 << 10;
const PASS: &str = "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"pass\"\n";

/// The upload of a package with films in it.
const PACKAGE: u64 = 2 << 30;

/// Bytes of other long transfers: much more than may be held, as much as that package with `make soak`.
fn long() -> u64 {
    if std::env::var_os("LECTERN_SOAK").is_some() { PACKAGE } else { 256 << 20 }
}

/// Piece `n`: no two are alike.
fn piece(n: u64) -> Vec<u8> {
    let mut piece = vec![n as u8; PIECE];
    piece[..8].copy_from_slice(&n.to_be_bytes());
    piece
}

fn digest(bytes: u64) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    for n in 0..bytes / PIECE as u64 {
        hash.update(&piece(n));
    }
    hash.finalize()
}

/// What an origin made of an upload.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<(u64, blake3::Hasher)>>);

impl Received {
    fn take(&self, bytes: &[u8]) {
        let mut received = self.0.lock().unwrap();
        received.0 += bytes.len() as u64;
        received.1.update(bytes);
    }

    fn bytes(&self) -> u64 {
        self.0.lock().unwrap().0
    }

    fn digest(&self) -> blake3::Hash {
        self.0.lock().unwrap().1.finalize()
    }
}

/// Takes exactly so many bytes out of what comes.
async fn exactly(connection: &mut Connection, mut left: u64, mut take: impl FnMut(&[u8])) -> Option<()> {
    while left > 0 {
        if connection.buffer.is_empty() {
            connection.more().await.ok()?;
        }
        let n = connection.buffer.len().min(left.try_into().unwrap_or(usize::MAX));
        take(&connection.buffer[..n]);
        connection.buffer.drain(..n);
        left -= n as u64;
    }
    Some(())
}

async fn chunk_size(connection: &mut Connection) -> Option<u64> {
    let end = loop {
        match connection.buffer.windows(2).position(|two| two == b"\r\n") {
            Some(end) => break end,
            None => connection.more().await.ok()?,
        }
    };
    let line: Vec<u8> = connection.buffer.drain(..end + 2).take(end).collect();
    u64::from_str_radix(std::str::from_utf8(&line).ok()?, 16).ok()
}

/// An origin that reads uploads as they come, keeping nothing.
async fn reader() -> (Origin, Received) {
    let (origin, received) = (Origin::start().await, Received::default());
    let shared = received.clone();
    origin.on_raw("/upload", move |mut connection, seen| {
        let received = shared.clone();
        async move {
            let read = async {
                if let Some(length) = seen.field("content-length") {
                    return exactly(&mut connection, length.parse().ok()?, |bytes| received.take(bytes))
                        .await;
                }
                loop {
                    let size = chunk_size(&mut connection).await?;
                    exactly(&mut connection, size, |bytes| received.take(bytes)).await?;
                    exactly(&mut connection, 2, |_| {}).await?;
                    if size == 0 {
                        return Some(());
                    }
                }
            };
            let answer = match read.await {
                Some(()) => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nread",
                None => return,
            };
            // A peer that is gone fails the test by what it did not hear.
            drop(connection.send(answer.as_bytes()).await);
            connection.gone().await;
        }
    });
    (origin, received)
}

/// Runs a transfer and tells by how much the edge's memory grew meanwhile, at most.
async fn growth(edge: &Edge, transfer: impl AsyncFnOnce(&mut dyn FnMut())) -> u64 {
    let before = edge.rss();
    let mut most = before;
    transfer(&mut || most = most.max(edge.rss())).await;
    most.max(edge.rss()) - before
}

#[tokio::test]
async fn g40_an_upload_of_any_size_takes_no_memory_and_arrives_as_it_was_sent() {
    let size = PACKAGE;
    let (origin, received) = reader().await;
    let edge = Edge::before(&origin, "").await;
    let mut client = edge.client().await;
    let grown = growth(&edge, async |look| {
        let request = Request::new("POST", "/upload").field("Content-Length", &size.to_string());
        client.send(&request.bytes()).await;
        client.send(&piece(0)).await;
        eventually("the first bytes at the origin before the last are sent", async || received.bytes() > 0)
            .await;
        for n in 1..size / PIECE as u64 {
            client.try_send(&piece(n)).await.unwrap();
            if n % 16 == 0 {
                look();
            }
        }
        client.reply("POST").await.expect_body(200, "read");
    })
    .await;
    assert_eq!((received.bytes(), received.digest()), (size, digest(size)));
    assert!(grown < GROWTH, "{grown}");
    edge.outcomes("pass", 1).await;
    assert_eq!(edge.metric("lectern_origin_requests_in_flight", &[]).await, 0.0);
}

#[tokio::test]
async fn g40_an_upload_without_a_length_takes_no_memory_either() {
    let size = long() / 4;
    for http2 in [false, true] {
        let (origin, received) = reader().await;
        let edge = Edge::before(&origin, "").await;
        let grown = growth(&edge, async |look| {
            if http2 {
                let client = edge.h2().await;
                let mut stream = client.begin(&Request::new("PUT", "/upload"), false).await.unwrap();
                for n in 0..size / PIECE as u64 {
                    stream.send(&piece(n), (n + 1) * PIECE as u64 == size).await.unwrap();
                    look();
                }
                stream.reply().await.expect_body(200, "read");
            } else {
                let mut client = edge.client().await;
                let request = Request::new("PUT", "/upload").field("Transfer-Encoding", "chunked");
                client.send(&request.bytes()).await;
                for n in 0..size / PIECE as u64 {
                    let framed = [format!("{PIECE:x}\r\n").as_bytes(), &piece(n), b"\r\n"].concat();
                    client.try_send(&framed).await.unwrap();
                    look();
                }
                client.send(b"0\r\n\r\n").await;
                client.reply("PUT").await.expect_body(200, "read");
            }
        })
        .await;
        assert_eq!((received.bytes(), received.digest()), (size, digest(size)));
        assert!(grown < GROWTH, "{grown}");
        edge.outcomes("pass", 1).await;
    }
}

#[tokio::test]
async fn g40_a_download_of_any_size_takes_no_memory_whoever_reads_it_slowly() {
    let size = long();
    let origin = Origin::start().await;
    origin.on_raw("/film", move |mut connection, _| async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n");
        let mut sent = connection.send(head.as_bytes()).await;
        for n in 0..size / PIECE as u64 {
            if sent.is_ok() {
                sent = connection.send(&piece(n)).await;
            }
        }
        connection.gone().await;
    });
    for (rest, outcome) in [(PASS, "pass"), ("", "pass")] {
        let edge = Edge::before(&origin, rest).await;
        let (mut client, mut hash) = (edge.client().await, blake3::Hasher::new());
        let grown = growth(&edge, async |look| {
            client.send(&Request::get("/film").bytes()).await;
            let mut reply = client.head("GET").await;
            assert_eq!((reply.status, reply.framing), (200, Framing::Length), "{reply}");
            let (mut read, mut looked) = (0, 0);
            while reply.end == End::Open {
                client.piece(&mut reply).await;
                hash.update(&reply.body);
                read += reply.body.len();
                reply.body.clear();
                if read > looked + (4 << 20) {
                    looked = read;
                    look();
                }
            }
            assert_eq!((read as u64, &reply.end), (size, &End::Clean));
        })
        .await;
        assert_eq!(hash.finalize(), digest(size));
        assert!(grown < GROWTH, "{grown} {rest}");
        edge.outcomes(outcome, 1).await;
        let bytes = edge.metric("lectern_response_body_bytes_total", &[]).await;
        assert_eq!(bytes, size as f64);
    }
}

#[tokio::test]
async fn g40_limits_are_on_standing_still_not_on_the_whole() {
    let limit = Duration::from_secs(1);
    let (origin, received) = reader().await;
    let times = "[origin.timeouts]\nhead = \"1s\"\nbody = \"1s\"\nwrite = \"1s\"\n";
    let deadlines = "[listener.deadlines]\nwrite = \"1s\"\nrequest_body = \"1s\"\n";
    let edge = edge(origin.addr(), deadlines, times, "").await;
    let mut client = edge.client().await;
    client.send(&Request::new("POST", "/upload").field("Transfer-Encoding", "chunked").bytes()).await;
    let (begun, mut sent) = (clock::instant(), 0);
    while begun.elapsed() < 2 * limit {
        client.send(b"1\r\nx\r\n").await;
        sent += 1;
        eventually("the byte at the origin", async || received.bytes() == sent).await;
    }
    client.send(b"0\r\n\r\n").await;
    client.reply("POST").await.expect_body(200, "read");
    edge.outcomes("pass", 1).await;

    // The answer likewise: a byte, and the next one once the client has it.
    let (go, gone) = (Arc::new(tokio::sync::Semaphore::new(1)), Arc::new(tokio::sync::Semaphore::new(0)));
    let (bytes, end) = (go.clone(), gone.clone());
    origin.on_raw("/slow", move |mut connection, _| {
        let (bytes, end) = (bytes.clone(), end.clone());
        async move {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
            drop(connection.send(head.as_bytes()).await);
            while !end.is_closed() {
                bytes.acquire().await.unwrap().forget();
                if connection.chunk(b"x").await.is_err() {
                    return;
                }
            }
            drop(connection.send(b"0\r\n\r\n").await);
            connection.gone().await;
        }
    });
    let begun = clock::instant();
    client.send(&Request::get("/slow").bytes()).await;
    let mut reply: Reply = client.head("GET").await;
    while begun.elapsed() < 2 * limit {
        let had = reply.body.len();
        client.at_least(&mut reply, had + 1).await;
        go.add_permits(1);
    }
    gone.close();
    go.add_permits(1);
    client.rest(&mut reply).await;
    reply.expect(200);
    edge.outcomes("miss", 0).await;
    edge.outcomes("pass", 2).await;
}

#[tokio::test]
async fn a_slow_http_2_origin_holds_the_upload_back() {
    let (seen, shared) = (Received::default(), Received::default());
    let held = shared.clone();
    // Reads nothing: the window it gave is all that may come.
    let origin = H2Origin::start(move |request, _respond| {
        let held = held.clone();
        async move {
            held.take(b"stream");
            std::future::pending::<()>().await;
            drop(request);
        }
    })
    .await;
    let edge = edge(origin.addr(), "", "http = \"2\"", "").await;
    let client = edge.h2().await;
    let mut stream = client.begin(&Request::new("POST", "/upload"), false).await.unwrap();
    let grown = growth(&edge, async |look| {
        let sending = async {
            for n in 0.. {
                if stream.send(&piece(n), false).await.is_err() {
                    return;
                }
                seen.take(&piece(n));
                look();
            }
        };
        // It comes to rest when all windows are full.
        let rest = async {
            let mut last = (0, clock::instant());
            eventually("an upload at rest", async || {
                if shared.bytes() == 0 || seen.bytes() != last.0 {
                    last = (seen.bytes(), clock::instant());
                }
                last.0 > 0 && last.1.elapsed() > Duration::from_millis(500)
            })
            .await;
        };
        tokio::select! { () = sending => {}, () = rest => {} }
    })
    .await;
    assert!(seen.bytes() < 16 << 20, "{} bytes were taken", seen.bytes());
    assert!(grown < GROWTH / 4, "{grown}");
}
