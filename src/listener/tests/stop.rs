//! The end of a node, seen from its clients.

use super::support::{Edge, GET, ask, read_to, rest, settings, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn at_a_stop_idle_connections_end_at_once_and_a_transfer_is_finished() {
    let edge = Edge::start(settings()).await;
    let (mut idle, mut transfer, mut fresh) =
        (edge.connect().await, edge.connect().await, edge.connect().await);
    ask(&mut idle, GET).await;
    transfer.write_all(b"GET /transfer HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_to(&mut transfer, "x\r\n").await;
    edge.stop.send_replace(true);
    assert_eq!(rest(&mut idle).await, "");
    // Whoever was accepted but not heard yet gets its answer still.
    let last = ask(&mut fresh, GET).await;
    assert!(last.starts_with("HTTP/1.1 200"), "{last}");
    assert_eq!(rest(&mut fresh).await, "");
    assert_eq!(edge.connections.open(), 1);
    assert!(TcpStream::connect(edge.address).await.is_err());
    edge.gate.send_replace(true);
    assert_eq!(rest(&mut transfer).await, "0\r\n\r\n");
    soon(edge.connections.drained()).await;
}

#[tokio::test]
async fn an_idle_stop_is_over_within_a_second() {
    let edge = Edge::start(settings()).await;
    let mut idle = Vec::new();
    for n in 0..20 {
        idle.push(edge.connect().await);
        if n % 2 == 0 {
            ask(&mut idle[n], GET).await;
        }
    }
    super::support::until(|| edge.connections.open() == 20).await;
    let start = crate::clock::instant();
    edge.stop.send_replace(true);
    soon(edge.connections.drained()).await;
    assert!(start.elapsed().as_secs() < 1, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_cut_answer_that_only_the_end_delimits_does_not_look_whole() {
    let edge = Edge::start(settings()).await;
    let mut client = edge.connect().await;
    client.write_all(b"GET /transfer HTTP/1.0\r\nHost: a\r\n\r\n").await.unwrap();
    read_to(&mut client, "xxx").await;
    edge.connections.close_all();
    let end = soon(client.read_to_end(&mut Vec::new())).await;
    assert_eq!(end.map_err(|e| e.kind()), Err(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn the_deadline_of_a_stop_closes_transfers_and_tunnels() {
    let edge = Edge::start(settings()).await;
    let (mut transfer, mut tunnel) = (edge.connect().await, edge.connect().await);
    transfer.write_all(b"GET /transfer HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_to(&mut transfer, "x\r\n").await;
    let upgrade = b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    tunnel.write_all(upgrade).await.unwrap();
    read_to(&mut tunnel, "\r\n\r\n").await;
    edge.stop.send_replace(true);
    tunnel.write_all(b"still here").await.unwrap();
    read_to(&mut tunnel, "still here").await;
    assert_eq!((edge.connections.open(), edge.connections.tunnels()), (2, 1));
    edge.connections.close_all();
    soon(edge.connections.drained()).await;
    assert_eq!(edge.connections.tunnels(), 0);
    assert!(!rest(&mut transfer).await.ends_with("0\r\n\r\n"));
    rest(&mut tunnel).await;
}
