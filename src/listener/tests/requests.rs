//! Requests that are refused, and what ends an answer. G42, G43.

use super::support::{Edge, GET, ask, read_to, rest, settings, soon, until};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What may become of an ambiguous request.
enum Then {
    /// 400 and closed; the service never saw it.
    Refused,
    /// The service read this body; closed afterwards or not.
    Body(&'static [u8]),
    /// The service saw the request, and its body fail.
    Broken,
}

#[tokio::test]
async fn an_ambiguous_request_is_refused_or_has_exactly_one_reading() {
    use Then::{Body, Broken, Refused};
    const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";
    let table: [(&str, &str, Then); 20] = [
        ("Content-Length: 13\r\nTransfer-Encoding: chunked\r\n", CHUNKS, Body(b"hello")),
        ("Transfer-Encoding: chunked\r\nContent-Length: 13\r\n", CHUNKS, Body(b"hello")),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello", Refused),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello", Body(b"hello")),
        ("Content-Length: +5\r\n", "hello", Refused),
        ("Content-Length: 5, 5\r\n", "hello", Refused),
        ("Content-Length: -5\r\n", "hello", Refused),
        ("Content-Length: 0x5\r\n", "hello", Refused),
        ("Transfer-Encoding: xchunked\r\n", CHUNKS, Refused),
        ("Transfer-Encoding: chunked, identity\r\n", CHUNKS, Refused),
        ("Transfer-Encoding: gzip, chunked\r\n", CHUNKS, Refused),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKS, Refused),
        ("Transfer-Encoding : chunked\r\n", CHUNKS, Refused),
        ("Transfer-Encoding:\tchunked\r\n", CHUNKS, Body(b"hello")),
        ("Transfer-Encoding: chunked\n", CHUNKS, Body(b"hello")),
        ("X: y\r\n folded\r\n", "", Refused),
        ("Host: b\r\n", "", Refused),
        ("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n", Broken),
        ("Transfer-Encoding: chunked\r\n", "5;ext=1\r\nhello\r\n0\r\n\r\n", Body(b"hello")),
        ("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n", Broken),
    ];
    for (fields, body, then) in table {
        let edge = Edge::start(settings()).await;
        let request = format!("POST /upload HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
        let mut client = edge.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let bodies = || edge.told.bodies.lock().unwrap().clone();
        match then {
            Refused => {
                let answer = rest(&mut client).await;
                assert!(answer.starts_with("HTTP/1.1 400 "), "{fields:?}: {answer}");
                assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
                assert_eq!(edge.served(), 0, "{fields:?}");
                let refused = edge.told.refused.lock().unwrap().clone();
                assert_eq!((refused.len(), refused[0].0), (1, 400), "{fields:?}");
                assert_eq!(edge.ended(refused[0].1), 1);
            }
            Body(expected) => {
                read_to(&mut client, "xxxxx\r\n0\r\n\r\n").await;
                assert_eq!(bodies(), [Ok(expected.to_vec())], "{fields:?}");
            }
            Broken => {
                let answer = rest(&mut client).await;
                assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
                assert!(bodies().len() == 1 && bodies()[0].is_err(), "{body:?}: {:?}", bodies());
            }
        }
    }
}

#[tokio::test]
async fn length_and_coding_together_close_the_connection() {
    let edge = Edge::start(settings()).await;
    let request = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = edge.until_closed(format!("{request}{GET}").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert_eq!(edge.served(), 1);
}

#[tokio::test]
async fn transfer_coding_in_http_1_0_and_a_missing_host_are_refused() {
    for head in [
        "POST /upload HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost a\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n\r\n",
    ] {
        let edge = Edge::start(settings()).await;
        let answer = edge.until_closed(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
        assert_eq!(edge.served(), 0);
    }
}

#[tokio::test]
async fn what_is_over_long_has_its_own_answer() {
    let edge = Edge::start(settings()).await;
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9 << 10));
    let field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(40 << 10));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
    for (request, status) in [(target, 414), (field, 431), (many, 431)] {
        let answer = edge.until_closed(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
    assert_eq!(edge.served(), 0);
    assert_eq!(edge.told.refused.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_refused_client_reads_the_answer_though_it_sent_much_more() {
    let edge = Edge::start(settings()).await;
    let head = b"POST /upload HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 900000\r\n\r\n";
    let mut client = edge.connect().await;
    client.write_all(&[&head[..], &[b'z'; 450_000]].concat()).await.unwrap();
    let mut answer = String::new();
    soon(client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad-host"), "{answer}");
    // A reset at this point could, on its way, take the answer away before it is read.
    soon(client.write_all(&[b'z'; 450_000])).await.unwrap();
    drop(client);
    until(|| edge.connections.open() == 0).await;
}

#[tokio::test]
async fn a_body_nobody_read_is_never_the_next_request() {
    let edge = Edge::start(settings()).await;
    let evil = "GET /upload HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{evil}", evil.len());
    let mut client = edge.connect().await;
    ask(&mut client, &request).await;
    let _ = client.write_all(GET.as_bytes()).await;
    let rest = rest_or(&mut client).await;
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 200"), "{rest}");
    assert!(edge.told.bodies.lock().unwrap().is_empty());
}

/// One more answer, or the end.
async fn rest_or(client: &mut tokio::net::TcpStream) -> String {
    let mut all = vec![0; 4096];
    let n = soon(client.read(&mut all)).await.unwrap_or(0);
    String::from_utf8_lossy(&all[..n]).into_owned()
}

#[tokio::test]
async fn an_answer_that_fails_has_no_last_chunk_and_is_reset() {
    for version in ["1.1", "1.0"] {
        let edge = Edge::start(settings()).await;
        let mut client = edge.connect().await;
        let request = format!("GET /fail HTTP/{version}\r\nHost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let end = soon(client.read_to_end(&mut all)).await;
        assert_eq!(end.map_err(|e| e.kind()), Err(ErrorKind::ConnectionReset), "{version}");
        assert!(!String::from_utf8_lossy(&all).contains("\r\n0\r\n"));
        until(|| edge.connections.open() == 0).await;
    }
}

#[tokio::test]
async fn over_the_cap_a_connection_is_closed_at_once_and_a_place_comes_free_again() {
    let mut settings = settings();
    settings.limits.connections = 2;
    let edge = Edge::start(settings).await;
    let (mut one, mut two) = (edge.connect().await, edge.connect().await);
    ask(&mut one, GET).await;
    ask(&mut two, GET).await;
    assert_eq!(edge.until_closed(b"").await, "");
    assert_eq!(edge.ended("connections"), 1);
    drop(one);
    until(|| edge.connections.open() == 1).await;
    ask(&mut edge.connect().await, GET).await;
}

#[tokio::test]
async fn a_proxy_header_is_required_of_those_who_send_one_and_believed() {
    let mut told = settings();
    told.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    told.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    let edge = Edge::start(told).await;
    let mut client = edge.connect().await;
    ask(&mut client, &format!("PROXY TCP4 192.0.2.7 198.51.100.1 5 80\r\n{GET}")).await;
    assert_eq!(*edge.told.peers.lock().unwrap(), [("192.0.2.7:5".parse().unwrap(), true)]);
    assert_eq!(edge.until_closed(GET.as_bytes()).await, "");
    assert_eq!((edge.ended("proxy-protocol"), edge.served()), (1, 1));

    let edge = Edge::start(settings()).await;
    let answer =
        edge.until_closed(format!("PROXY TCP4 192.0.2.7 198.51.100.1 5 80\r\n{GET}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
