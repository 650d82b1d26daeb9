//! Clients that take too long, and those that only seem to.

use super::support::{Edge, GET, ask, read_to, rest, settings, soon, until};
use crate::listener::{Deadlines, ListenerSettings};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SHORT: Duration = Duration::from_millis(100);

fn with(change: impl FnOnce(&mut Deadlines)) -> ListenerSettings {
    let mut settings = settings();
    change(&mut settings.deadlines);
    settings
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_however_steadily_it_comes() {
    let edge = Edge::start(with(|d| d.head = SHORT)).await;
    let mut client = edge.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    let (mut read, mut write) = client.split();
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let trickle = async {
        while write.write_all(b"x: y\r\n").await.is_ok() {
            pace.tick().await;
        }
    };
    soon(async { tokio::join!(trickle, rest(&mut read)) }).await;
    assert_eq!((edge.ended("head-timeout"), edge.served()), (1, 0));
    until(|| edge.connections.open() == 0).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_before_and_between_requests() {
    let edge = Edge::start(with(|d| d.idle = SHORT)).await;
    assert_eq!(edge.until_closed(b"").await, "");
    let mut client = edge.connect().await;
    ask(&mut client, GET).await;
    ask(&mut client, GET).await;
    assert_eq!(rest(&mut client).await, "");
    assert_eq!((edge.ended("idle"), edge.served()), (2, 2));
}

#[tokio::test]
async fn no_deadline_runs_while_an_answer_is_awaited_or_a_transfer_pauses() {
    let edge = Edge::start(with(|d| {
        (d.head, d.idle, d.write, d.request_body, d.handshake) = (SHORT, SHORT, SHORT, SHORT, SHORT);
    }))
    .await;
    let (mut awaiting, mut transfer) = (edge.connect().await, edge.connect().await);
    awaiting.write_all(b"GET /await HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    transfer.write_all(b"GET /transfer HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(|| edge.served() == 2).await;
    // The sweep that ends this one comes after several that left the others alone.
    for n in 1..4 {
        edge.until_closed(b"").await;
        assert_eq!(edge.ended("idle"), n);
    }
    edge.gate.send_replace(true);
    read_to(&mut awaiting, "xxxxx\r\n0\r\n\r\n").await;
    read_to(&mut transfer, "\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_request_body_that_stalls_is_cut_and_its_reader_learns_it() {
    let edge = Edge::start(with(|d| d.request_body = SHORT)).await;
    let head = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf";
    assert_eq!(edge.until_closed(head).await, "");
    assert_eq!(edge.ended("request-body-timeout"), 1);
    // The service's future is dropped with the connection, as when a client goes.
    assert_eq!(edge.served(), 1);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut() {
    let edge = Edge::start(with(|d| d.write = SHORT)).await;
    let mut client = edge.connect().await;
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(|| edge.ended("write-timeout") == 1).await;
    until(|| edge.connections.open() == 0).await;
}

#[tokio::test]
async fn a_tunnel_works_and_has_its_own_idle_limit() {
    let edge = Edge::start(with(|d| (d.idle, d.tunnel) = (SHORT, SHORT * 3))).await;
    let mut client = edge.connect().await;
    let request = b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    client.write_all(request).await.unwrap();
    read_to(&mut client, "\r\n\r\n").await;
    let mut pace = tokio::time::interval(SHORT / 10);
    for _ in 0..20 {
        client.write_all(b"ping").await.unwrap();
        soon(client.read_exact(&mut [0; 4])).await.unwrap();
        pace.tick().await;
    }
    assert_eq!((edge.connections.open(), edge.connections.tunnels()), (1, 1));
    assert_eq!(rest(&mut client).await, "");
    assert_eq!((edge.ended("tunnel-idle"), edge.ended("idle")), (1, 0));
    until(|| edge.connections.open() == 0 && edge.connections.tunnels() == 0).await;
}
