//! Requests relayed with their bodies: who may leave when, and what the origin then sees.

use super::*;
use crate::origin::{Relayed, RelayedBody, Upload};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, ready},
};
use tokio::sync::mpsc;

/// A client's body: what the test sends; cut if the test drops its end before `None`.
struct Pieces {
    pieces: mpsc::Receiver<Option<Bytes>>,
    length: Option<u64>,
    polled: Arc<AtomicUsize>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.polled.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(match ready!(self.pieces.poll_recv(cx)) {
            Some(Some(piece)) => Some(Ok(Frame::data(piece))),
            Some(None) => None,
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
    fn size_hint(&self) -> http_body::SizeHint {
        self.length.map_or_else(Default::default, http_body::SizeHint::with_exact)
    }
}

fn pieces(length: Option<u64>) -> (mpsc::Sender<Option<Bytes>>, Pieces, Arc<AtomicUsize>) {
    let (sender, pieces) = mpsc::channel(1);
    let polled = Arc::new(AtomicUsize::new(0));
    (sender, Pieces { pieces, length, polled: polled.clone() }, polled)
}

const UNSAFE: Upload = Upload { expects_continue: false, finish_when_whole: true, limit: None };
const SAFE: Upload = Upload { expects_continue: false, finish_when_whole: false, limit: None };

async fn relay<B>(
    origin: &Arc<Origin>,
    method: Method,
    body: B,
    upload: Upload,
) -> Result<Relayed, OriginError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display + Send,
{
    let request = request(method, "/up");
    let permit = origin.admit(&request).await.unwrap();
    within(origin.relay(permit, request, body, upload)).await
}

fn relaying<B>(
    origin: &Arc<Origin>,
    method: Method,
    body: B,
    upload: Upload,
) -> tokio::task::JoinHandle<Result<Relayed, OriginError>>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display + Send,
{
    let origin = origin.clone();
    tokio::spawn(async move { relay(&origin, method, body, upload).await })
}

async fn text(body: RelayedBody) -> Result<String, OriginError> {
    within(body.collect()).await.map(|all| String::from_utf8(all.to_bytes().into()).unwrap())
}

async fn read_exactly(stream: &mut TcpStream, text: &str) {
    let mut read = vec![0; text.len()];
    within(stream.read_exact(&mut read)).await.unwrap();
    assert_eq!(String::from_utf8(read).unwrap(), text);
}

#[tokio::test]
async fn a_body_flows_piece_by_piece_in_its_own_framing() {
    for (length, head, first, second, end) in [
        (Some(8), "content-length: 8\r\n", "abc", "defgh", ""),
        (None, "transfer-encoding: chunked\r\n", "3\r\nabc\r\n", "5\r\ndefgh\r\n", "0\r\n\r\n"),
    ] {
        let (listener, address) = listen().await;
        let origin = origin(address);
        let (client, body, _) = pieces(length);
        let answer = relaying(&origin, Method::POST, body, UNSAFE);
        let mut stream = accept(&listener).await;
        assert!(read_head(&mut stream).await.to_ascii_lowercase().contains(head));
        for (piece, framed) in [("abc", first), ("defgh", second)] {
            client.send(Some(Bytes::from_static(piece.as_bytes()))).await.unwrap();
            read_exactly(&mut stream, framed).await;
        }
        client.send(None).await.unwrap();
        read_exactly(&mut stream, end).await;
        send(&mut stream, "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok").await;
        let relayed = answer.await.unwrap().unwrap();
        assert_eq!(relayed.head.status, 201);
        assert_eq!(text(relayed.body).await.unwrap(), "ok");
        // The connection serves the next.
        let next = relaying(&origin, Method::POST, Full::new(Bytes::new()), UNSAFE);
        assert!(read_head(&mut stream).await.to_ascii_lowercase().contains("content-length: 0\r\n"));
        send(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(next.await.unwrap().unwrap().head.status, 204);
    }
}

#[tokio::test]
async fn an_early_answer_is_heard_while_the_upload_is_stuck() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    let (client, body, _) = pieces(Some(1 << 40));
    let feeding = tokio::spawn(async move {
        let piece = Bytes::from(vec![0; 64 * 1024]);
        let mut fed = 0_usize;
        while client.send(Some(piece.clone())).await.is_ok() {
            fed += piece.len();
        }
        fed
    });
    let answer = relaying(&origin, Method::POST, body, UNSAFE);
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    send(&mut stream, "HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nno!").await;
    let relayed = answer.await.unwrap().unwrap();
    assert_eq!(relayed.head.status, 413);
    assert_eq!(text(relayed.body).await.unwrap(), "no!");
    // With the answer at its end nothing more is taken from the client, and the connection is closed.
    let fed = within(feeding).await.unwrap();
    assert!(fed < 64 << 20, "{fed}");
    read_to_end(&mut stream).await;
}

#[tokio::test]
async fn an_answer_given_just_before_the_connection_breaks_is_heard() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    let (client, body, _) = pieces(None);
    tokio::spawn(async move { while client.send(Some(Bytes::from(vec![0; 65536]))).await.is_ok() {} });
    let answer = relaying(&origin, Method::POST, body, UNSAFE);
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    send(&mut stream, "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").await;
    drop(stream);
    let relayed = answer.await.unwrap().unwrap();
    assert_eq!(relayed.head.status, 401);
    assert_eq!(text(relayed.body).await.unwrap(), "no");
}

#[tokio::test]
async fn request_and_answer_flow_at_the_same_time() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    let (client, body, _) = pieces(None);
    let answer = relaying(&origin, Method::POST, body, UNSAFE);
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    send(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut relayed = answer.await.unwrap().unwrap();
    for _ in 0..3 {
        client.send(Some(Bytes::from_static(b"ping"))).await.unwrap();
        read_exactly(&mut stream, "4\r\nping\r\n").await;
        send(&mut stream, "4\r\npong\r\n").await;
        let frame = within(relayed.body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "pong");
    }
    client.send(None).await.unwrap();
    read_exactly(&mut stream, "0\r\n\r\n").await;
    send(&mut stream, "0\r\n\r\n").await;
    assert!(within(relayed.body.frame()).await.is_none());
}

#[tokio::test]
async fn a_body_that_is_expected_waits_for_the_origins_100() {
    let upload = Upload { expects_continue: true, ..UNSAFE };
    let (listener, address) = listen().await;
    let origin = origin(address);
    let (client, body, polled) = pieces(Some(3));
    let answer = relaying(&origin, Method::POST, body, upload);
    let mut stream = accept(&listener).await;
    assert!(read_head(&mut stream).await.to_ascii_lowercase().contains("expect: 100-continue\r\n"));
    assert_eq!(polled.load(Ordering::SeqCst), 0);
    send(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send(Some(Bytes::from_static(b"abc"))).await.unwrap();
    client.send(None).await.unwrap();
    read_exactly(&mut stream, "abc").await;
    send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(answer.await.unwrap().unwrap().head.status, 200);
}

#[tokio::test]
async fn a_body_that_is_expected_is_never_asked_for_if_the_answer_came_first() {
    let upload = Upload { expects_continue: true, ..UNSAFE };
    let (listener, address) = listen().await;
    let origin = origin(address);
    let (_client, body, polled) = pieces(Some(10 << 20));
    let answer = relaying(&origin, Method::POST, body, upload);
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    send(&mut stream, "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nn").await;
    let mut relayed = answer.await.unwrap().unwrap();
    assert_eq!(relayed.head.status, 413);
    // Not even while the answer is on its way.
    assert_eq!(within(relayed.body.frame()).await.unwrap().unwrap().into_data().unwrap(), "n");
    send(&mut stream, "o").await;
    assert_eq!(text(relayed.body).await.unwrap(), "o");
    assert_eq!(polled.load(Ordering::SeqCst), 0);
    assert!(read_to_end(&mut stream).await.is_empty(), "the connection must not be used again");
}

#[tokio::test]
async fn a_body_that_is_expected_is_sent_to_an_origin_that_says_nothing() {
    let upload = Upload { expects_continue: true, ..UNSAFE };
    let (listener, address) = listen().await;
    let origin = origin(address);
    let answer = relaying(&origin, Method::PUT, Full::new(Bytes::from_static(b"abc")), upload);
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    read_exactly(&mut stream, "abc").await;
    send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(answer.await.unwrap().unwrap().head.status, 200);
}

#[tokio::test]
async fn a_beacon_arrives_though_its_client_left() {
    let (listener, address) = listen().await;
    let (origin, metrics) = origin_of(settings(&[address]));
    let (client, body, _) = pieces(Some(6));
    let permit = origin.admit(&request(Method::POST, "/")).await.unwrap();
    let mut relay = Box::pin(origin.relay(permit, request(Method::POST, "/beacon"), body, UNSAFE));
    assert!(futures_util::poll!(&mut relay).is_pending());
    drop(relay);
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    client.send(Some(Bytes::from_static(b"commit"))).await.unwrap();
    client.send(None).await.unwrap();
    read_exactly(&mut stream, "commit").await;
    send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await;
    send(&mut stream, &"x".repeat(100_000)).await;
    // The answer is read to its end: the same connection is used again.
    idle(&metrics).await;
    let next = relaying(&origin, Method::POST, Full::new(Bytes::from_static(b"2")), UNSAFE);
    read_head(&mut stream).await;
    send(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
    next.await.unwrap().unwrap();
    assert_eq!(metrics.origin_requests.with_label_values(&["lms", "2xx"]).get(), 2);
}

#[tokio::test]
async fn a_part_of_a_body_is_never_ended() {
    for (length, framed) in [(Some(8), "abc"), (None, "3\r\nabc\r\n")] {
        let (listener, address) = listen().await;
        let (origin, metrics) = origin_of(settings(&[address]));
        let (client, body, _) = pieces(length);
        let answer = relaying(&origin, Method::POST, body, UNSAFE);
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        client.send(Some(Bytes::from_static(b"abc"))).await.unwrap();
        read_exactly(&mut stream, framed).await;
        drop(client);
        assert_eq!(read_to_end(&mut stream).await, b"");
        assert_eq!(answer.await.unwrap().err(), Some(OriginError::ClientBody));
        idle(&metrics).await;
        assert_eq!(metrics.origin_requests.with_label_values(&["lms", "error"]).get(), 0);
    }
    // If the answer has begun already, it is cut as well.
    let (listener, address) = listen().await;
    let (client, body, _) = pieces(None);
    let answer = relaying(&origin(address), Method::POST, body, UNSAFE);
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    send(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let relayed = answer.await.unwrap().unwrap();
    drop(client);
    assert_eq!(text(relayed.body).await, Err(OriginError::Closed));
    assert!(read_to_end(&mut stream).await.is_empty());
    // Announced is not sent: an end that comes too early is a cut, whatever the body says.
    let (listener, address) = listen().await;
    let (client, body, _) = pieces(Some(8));
    let answer = relaying(&origin(address), Method::POST, body, UNSAFE);
    client.send(Some(Bytes::from_static(b"abc"))).await.unwrap();
    client.send(None).await.unwrap();
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    assert_eq!(read_to_end(&mut stream).await, b"abc");
    assert_eq!(answer.await.unwrap().err(), Some(OriginError::ClientBody));
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    let upload = Upload { limit: Some(4), ..UNSAFE };
    let announced = relay(&origin, Method::POST, Full::new(Bytes::from_static(b"12345")), upload).await;
    assert_eq!(announced.err(), Some(OriginError::BodyLimit));
    assert!(futures_util::poll!(Box::pin(listener.accept())).is_pending(), "the origin was not asked");
    let (client, body, _) = pieces(None);
    let answer = relaying(&origin, Method::POST, body, upload);
    for _ in 0..2 {
        client.send(Some(Bytes::from_static(b"123"))).await.unwrap();
    }
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    assert_eq!(read_to_end(&mut stream).await, b"3\r\n123\r\n");
    assert_eq!(answer.await.unwrap().err(), Some(OriginError::BodyLimit));
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    for body in ["", "id=2"] {
        let (listener, address) = listen().await;
        let origin = origin(address);
        let server = tokio::spawn(async move {
            let mut stream = accept(&listener).await;
            read_head(&mut stream).await;
            send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            read_head(&mut stream).await;
            drop(stream);
            listener
        });
        let first = relay(&origin, Method::POST, Full::new(Bytes::new()), UNSAFE).await;
        drop(first.unwrap());
        let second =
            relay(&origin, Method::POST, Full::new(Bytes::from_static(body.as_bytes())), UNSAFE).await;
        assert_eq!(second.err(), Some(OriginError::Closed));
        let listener = within(server).await.unwrap();
        assert!(futures_util::poll!(Box::pin(listener.accept())).is_pending());
    }
}

#[tokio::test]
async fn events_arrive_one_by_one_and_end_with_their_client() {
    let (listener, address) = listen().await;
    let (origin, metrics) = origin_of(settings(&[address]));
    let answer = relaying(&origin, Method::GET, Full::new(Bytes::new()), SAFE);
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
    let mut relayed = answer.await.unwrap().unwrap();
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        send(&mut stream, event).await;
        assert_eq!(within(relayed.body.frame()).await.unwrap().unwrap().into_data().unwrap(), event);
    }
    drop(relayed);
    read_to_end(&mut stream).await;
    idle(&metrics).await;
}

#[tokio::test]
async fn a_get_whose_client_left_before_the_answer_ends() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    let answer = relaying(&origin, Method::GET, Full::new(Bytes::new()), SAFE);
    let mut stream = accept(&listener).await;
    read_head(&mut stream).await;
    answer.abort();
    assert!(read_to_end(&mut stream).await.is_empty());
}

#[tokio::test]
async fn a_cut_answer_has_no_clean_end() {
    for cut in ["content-length: 9\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let (listener, address) = listen().await;
        let origin = origin(address);
        tokio::spawn(async move {
            let mut stream = accept(&listener).await;
            read_head(&mut stream).await;
            send(&mut stream, &format!("HTTP/1.1 200 OK\r\n{cut}")).await;
        });
        let relayed = relay(&origin, Method::GET, Full::new(Bytes::new()), SAFE).await.unwrap();
        assert_eq!(text(relayed.body).await, Err(OriginError::Closed));
    }
}

#[tokio::test]
async fn a_slow_client_slows_the_origin_and_nothing_piles_up() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await;
        let piece = vec![0; 65536];
        let mut sent = 0_usize;
        // Until nothing was taken for a while: the buffers between here and the reader are full.
        while let Ok(Ok(())) =
            tokio::time::timeout(Duration::from_millis(300), stream.write_all(&piece)).await
        {
            sent += piece.len();
        }
        sent
    });
    let relayed = relay(&origin, Method::GET, Full::new(Bytes::new()), SAFE).await.unwrap();
    let sent = within(server).await.unwrap();
    assert!(sent < 32 << 20, "{sent}");
    drop(relayed);
}

fn upgrading() -> OriginRequest {
    let mut asked = request(Method::GET, "/ws");
    asked.upgrade = Some(HeaderValue::from_static("websocket"));
    asked.headers.insert("sec-websocket-key", HeaderValue::from_static("k"));
    asked
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_with_the_bytes_already_sent() {
    let (listener, address) = listen().await;
    let (origin, metrics) = origin_of(settings(&[address]));
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        send(&mut stream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nsec-websocket-accept: a\r\n\r\nearly").await;
        let mut bytes = vec![0; 1 << 16];
        loop {
            match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return head,
                Ok(read) => stream.write_all(&bytes[..read]).await.unwrap(),
            }
        }
    });
    let permit = origin.admit(&upgrading()).await.unwrap();
    let relayed = within(origin.relay(permit, upgrading(), Full::new(Bytes::new()), SAFE)).await.unwrap();
    assert_eq!(relayed.head.status, 101);
    assert_eq!(relayed.head.headers["sec-websocket-accept"], "a");
    assert!(text(relayed.body).await.unwrap().is_empty());
    let tunnel = relayed.tunnel.unwrap();
    assert_eq!(tunnel.protocol(), "websocket");
    idle(&metrics).await;
    let (mut from, mut to) = tokio::io::split(tunnel);
    let mut early = [0; 5];
    within(from.read_exact(&mut early)).await.unwrap();
    assert_eq!(&early, b"early");
    let sent: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.flush().await.unwrap();
        to
    });
    let mut echoed = vec![0; expected.len()];
    within(from.read_exact(&mut echoed)).await.unwrap();
    assert!(echoed == expected);
    let to = within(writer).await.unwrap();
    drop(from.unsplit(to));
    let head = within(server).await.unwrap();
    assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(head.contains("sec-websocket-key: k\r\n"));
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_a_normal_answer() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    play(listener, vec!["HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"]);
    let permit = origin.admit(&upgrading()).await.unwrap();
    let relayed = within(origin.relay(permit, upgrading(), Full::new(Bytes::new()), SAFE)).await.unwrap();
    assert_eq!((relayed.head.status.as_u16(), relayed.tunnel.is_none()), (403, true));
    assert_eq!(text(relayed.body).await.unwrap(), "no");
}
