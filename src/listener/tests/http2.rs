//! HTTP/2: the preface on cleartext, resets, an answer that fails, a reader that stalls, GOAWAY.

use super::support::{Edge, settings, soon, until};
use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::Request;
use std::{sync::atomic::Ordering::SeqCst, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

type Driver = JoinHandle<Result<(), h2::Error>>;

async fn connect(edge: &Edge) -> (SendRequest<Bytes>, Driver) {
    let tcp = TcpStream::connect(edge.address).await.unwrap();
    let (send, connection) = soon(h2::client::handshake(tcp)).await.unwrap();
    (send, tokio::spawn(connection))
}

fn get(path: &str) -> Request<()> {
    Request::builder().uri(format!("http://a{path}")).body(()).unwrap()
}

#[tokio::test]
async fn many_streams_are_answered_each_whole() {
    let edge = Edge::start(settings()).await;
    let (send, _driver) = connect(&edge).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let send = send.clone();
        clients.spawn(async move {
            let (answer, _) = soon(send.ready()).await.unwrap().send_request(get("/"), true).unwrap();
            let mut body = soon(answer).await.unwrap().into_body();
            let mut all = Vec::new();
            while let Some(data) = soon(body.data()).await {
                all.extend(data.unwrap());
            }
            all
        });
    }
    for body in soon(clients.join_all()).await {
        assert_eq!(body, b"xxxxx");
    }
    assert_eq!(edge.served(), 200);
}

#[tokio::test]
async fn an_answer_that_fails_is_a_reset_of_its_stream_alone() {
    let edge = Edge::start(settings()).await;
    let (mut send, _driver) = connect(&edge).await;
    let (answer, _) = send.send_request(get("/fail"), true).unwrap();
    // h2 lets go of what was queued before the reset, the head among it if it was still here.
    let mut end = None;
    match soon(answer).await {
        Err(e) => end = Some(e),
        Ok(answer) => {
            let mut body = answer.into_body();
            while let Some(data) = soon(body.data()).await {
                end = data.err();
            }
        }
    }
    assert!(end.unwrap().is_reset());
    let (answer, _) = send.send_request(get("/"), true).unwrap();
    assert_eq!(soon(answer).await.unwrap().status(), 200);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// Whether a GOAWAY comes before the end.
async fn goaway(mut read: impl AsyncReadExt + Unpin) -> bool {
    let (mut head, mut said) = ([0; 9], false);
    while read.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        if read.read_exact(&mut payload).await.is_err() {
            break;
        }
        said |= head[3] == 7;
    }
    said
}

#[tokio::test]
async fn rapid_resets_get_a_goaway_and_start_little_work() {
    // All at once, and each only after its request has reached the service.
    for paced in [false, true] {
        let edge = Edge::start(settings()).await;
        let (read, mut write) = edge.connect().await.into_split();
        let heard = tokio::spawn(goaway(read));
        write.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let flood = async {
            for n in 0..20_000 {
                let (stream, before) = (2 * n + 1, edge.served());
                let mut bytes = frame(1, 5, stream, b"\x82\x86\x04\x06/await\x01\x01a");
                if paced {
                    if write.write_all(&bytes).await.is_err() {
                        return;
                    }
                    bytes.clear();
                    let arrived = until(|| edge.served() > before);
                    let _ = tokio::time::timeout(Duration::from_millis(50), arrived).await;
                }
                bytes.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        soon(flood).await;
        until(|| edge.ended("resets") > 0).await;
        assert!(soon(heard).await.unwrap(), "{paced}");
        until(|| edge.connections.open() == 0).await;
        assert!(edge.served() < 500, "{paced}: {}", edge.served());
        assert!(!paced || edge.served() > 50);
        until(|| edge.told.cancelled.load(SeqCst) == edge.served()).await;
    }
}

#[tokio::test]
async fn a_page_of_two_hundred_streams_with_thirty_cancels_is_not_punished() {
    let edge = Edge::start(settings()).await;
    let (send, _driver) = connect(&edge).await;
    let mut answers = Vec::new();
    for n in 0..200 {
        let path = if n < 30 { "/await" } else { "/" };
        let (answer, mut stream) =
            soon(send.clone().ready()).await.unwrap().send_request(get(path), true).unwrap();
        if n < 30 {
            stream.send_reset(Reason::CANCEL);
        } else {
            answers.push(answer);
        }
    }
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().status(), 200);
    }
    assert_eq!(edge.ended("resets"), 0);
}

#[tokio::test]
async fn a_stream_whose_reader_stalls_is_reset_and_the_others_go_on() {
    let mut settings = settings();
    settings.deadlines.write = Duration::from_millis(100);
    let edge = Edge::start(settings).await;
    let (mut send, _driver) = connect(&edge).await;
    let (answer, _) = send.send_request(get("/endless"), true).unwrap();
    let mut stalled = soon(answer).await.unwrap().into_body();
    until(|| edge.ended("write-timeout") == 1).await;
    let (answer, _) = send.send_request(get("/"), true).unwrap();
    assert_eq!(soon(answer).await.unwrap().status(), 200);
    let mut end = None;
    while let Some(data) = soon(stalled.data()).await {
        match data {
            Ok(data) => stalled.flow_control().release_capacity(data.len()).unwrap_or(()),
            Err(e) => end = Some(e),
        }
        if end.is_some() {
            break;
        }
    }
    assert!(end.unwrap().is_reset());
}

#[tokio::test]
async fn a_request_body_that_stalls_ends_its_stream_alone() {
    let mut settings = settings();
    settings.deadlines.request_body = Duration::from_millis(100);
    let edge = Edge::start(settings).await;
    let (mut send, _driver) = connect(&edge).await;
    let post = Request::post("http://a/upload").body(()).unwrap();
    let (answer, mut stream) = send.send_request(post, false).unwrap();
    stream.send_data(Bytes::from_static(b"half"), false).unwrap();
    assert!(soon(answer).await.unwrap_err().is_reset());
    let (answer, _) = send.send_request(get("/"), true).unwrap();
    assert_eq!(soon(answer).await.unwrap().status(), 200);
    assert_eq!(edge.ended("request-body-timeout"), 1);
}

#[tokio::test]
async fn a_stop_sends_goaway_and_lets_streams_finish() {
    let edge = Edge::start(settings()).await;
    let (mut send, driver) = connect(&edge).await;
    let (mut idle, idle_driver) = connect(&edge).await;
    let (answer, _) = idle.send_request(get("/"), true).unwrap();
    soon(answer).await.unwrap();
    let (answer, _) = send.send_request(get("/transfer"), true).unwrap();
    let mut body = soon(answer).await.unwrap().into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap().len(), 1000);
    edge.stop.send_replace(true);
    soon(idle_driver).await.unwrap().unwrap();
    until(|| edge.connections.open() == 1).await;
    edge.gate.send_replace(true);
    while let Some(data) = soon(body.data()).await {
        data.unwrap();
    }
    drop((send, body));
    soon(driver).await.unwrap().unwrap();
    soon(edge.connections.drained()).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let mut settings = settings();
    settings.deadlines.idle = Duration::from_millis(100);
    let edge = Edge::start(settings).await;
    let (mut send, driver) = connect(&edge).await;
    let (answer, _) = send.send_request(get("/await"), true).unwrap();
    until(|| edge.served() == 1).await;
    let (_other, other) = connect(&edge).await;
    let _ = soon(other).await;
    assert_eq!(edge.ended("idle"), 1);
    edge.gate.send_replace(true);
    assert_eq!(soon(answer).await.unwrap().status(), 200);
    let _ = soon(driver).await;
    assert_eq!(edge.ended("idle"), 2);
}
