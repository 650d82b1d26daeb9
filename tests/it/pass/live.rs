//! Connections that live on: upgrades (G46) and event streams.

use loadtest::{Lms, Options};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

use super::edge;
use crate::support::{
    answer::Answer,
    client::{Client, Ended},
    deadline::{eventually, within},
    dial::Dial,
    edge::Edge,
    message::{End, Reply, Request},
    origin::Origin,
    wire::Wire,
};

fn upgrading(target: &str, connection: &str, protocol: &str) -> Request {
    let request = Request::get(target).field("Connection", connection).field("Upgrade", protocol);
    request.field("Sec-WebSocket-Version", "13").field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

async fn upgraded(client: &mut Client, request: &Request) -> Reply {
    client.send(&request.bytes()).await;
    let reply = client.head("GET").await;
    assert_eq!(reply.status, 101, "{reply}");
    let protocol = &request.fields.iter().find(|(name, _)| name == "Upgrade").unwrap().1;
    assert_eq!(reply.field("upgrade"), Some(&**protocol), "{reply}");
    let connection = reply.field("connection").unwrap_or_default().to_ascii_lowercase();
    assert!(connection.contains("upgrade"), "{reply}");
    reply
}

#[tokio::test]
async fn g46_an_upgrade_becomes_a_tunnel_also_where_the_url_is_stored() {
    let origin = Origin::start().await;
    origin.on_call("/ws", |seen, _| match seen.field("upgrade") {
        Some(protocol) => Answer::echo(protocol),
        None => Answer::storable("page"),
    });
    let edge = Edge::before(&origin, "").await;
    for _ in 0..2 {
        edge.get("/ws").await.expect_body(200, "page");
    }
    assert_eq!(origin.hits("/ws"), 1);
    let rows = [("Upgrade", "websocket"), ("keep-alive, Upgrade", "websocket"), ("upgrade", "lms-talk/2")];
    for (n, (connection, protocol)) in rows.into_iter().enumerate() {
        let mut client = edge.client().await;
        upgraded(&mut client, &upgrading("/ws", connection, protocol)).await;
        let seen = origin.last("/ws");
        assert_eq!((seen.field("upgrade"), seen.field("connection")), (Some(protocol), Some("Upgrade")));
        assert_eq!(seen.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(origin.hits("/ws"), 2 + n);
        client.send(b"hello").await;
        assert_eq!(client.raw(5).await, b"hello");
        client.half_close().await;
        assert_eq!(client.closed().await, Ended::Fin);
        eventually("the end of the origin's side", async || origin.last("/ws").answered).await;
    }
    edge.outcomes("pass", 3).await;
    edge.get("/ws").await.expect_body(200, "page");
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn g46_a_mebibyte_flows_both_ways_at_once() {
    let origin = Origin::start().await;
    origin.on("/ws", Answer::echo("websocket"));
    let edge = Edge::before(&origin, "").await;
    let Wire::Plain(mut stream) = Dial::to(edge.address("web").await).wire(&[]).await.unwrap() else {
        panic!()
    };
    let sent: Vec<u8> = (0..1 << 18).flat_map(u32::to_be_bytes).collect();
    let request = upgrading("/ws", "keep-alive, Upgrade", "websocket");
    // The first bytes come along with the head, as the protocol allows only after 101 but clients do.
    let (mut reading, mut writing) = stream.split();
    let write = async {
        use tokio::io::AsyncWriteExt;
        writing.write_all(&request.bytes()).await.unwrap();
        for piece in sent.chunks(10_000) {
            writing.write_all(piece).await.unwrap();
        }
    };
    let read = async {
        use tokio::io::AsyncReadExt;
        let mut heard = Vec::new();
        loop {
            reading.read_buf(&mut heard).await.unwrap();
            let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            if heard.len() - end - 4 >= sent.len() {
                break heard.split_off(end + 4);
            }
        }
    };
    let ((), echoed) = within("an echo of it all", async { tokio::join!(write, read) }).await;
    assert!(echoed == sent);
    edge.outcomes("pass", 1).await;
}

#[tokio::test]
async fn g46_other_answers_to_an_upgrade_are_normal_responses() {
    let origin = Origin::start().await;
    origin.on_call("/page", |seen, _| {
        Answer::ok(seen.field("upgrade").unwrap_or("no upgrade")).field("Cache-Control", "no-store")
    });
    origin.on("/refuses", Answer::new(403, "not you"));
    origin.on("/rude", Answer::echo("websocket"));
    let edge = Edge::before(&origin, "").await;
    let mut client = edge.client().await;
    let h2c = Request::get("/page").field("Connection", "Upgrade, HTTP2-Settings").field("Upgrade", "h2c");
    client.ask(&h2c.field("HTTP2-Settings", "AAMAAABkAAQAAP__")).await.expect_body(200, "no upgrade");
    // Not named in Connection: it asks for nothing.
    client.ask(&Request::get("/page").field("Upgrade", "websocket")).await.expect_body(200, "no upgrade");
    client.ask(&upgrading("/page", "Upgrade", "websocket")).await.expect_body(200, "websocket");
    client.ask(&upgrading("/refuses", "Upgrade", "websocket")).await.expect_body(403, "not you");
    // 101 that nobody asked for is no answer.
    client.get("/rude").await.expect(502);
    client.get("/page").await.expect_body(200, "no upgrade");
    edge.outcomes("failed", 1).await;
    assert_eq!(edge.metric("lectern_requests_failed_total", &["origin"]).await, 1.0);
}

#[tokio::test]
async fn an_upgrade_to_an_http_2_origin_goes_by_http_1() {
    // The sample LMS speaks both on one port.
    let lms = Lms::start(([127, 0, 0, 1], 0).into(), Options::default()).await.unwrap();
    let edge = edge(lms.addr(), "", "http = \"2\"", "").await;
    let mut client = edge.client().await;
    upgraded(&mut client, &upgrading("/ws", "Upgrade", "websocket")).await;
    // A masked text frame with "hi", and its echo (RFC 6455 §5.2).
    client.send(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await;
    assert_eq!(client.raw(4).await, [0x81, 2, b'h', b'i']);
    assert_eq!(lms.counters().open_streams, 1);
    drop(client);
    eventually("the end of the tunnel at the LMS", async || lms.counters().open_streams == 0).await;
    edge.outcomes("pass", 1).await;
    lms.stop().await;
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    let origin = Origin::start().await;
    let (events, streams) = (Arc::new(Mutex::new(Vec::<mpsc::Receiver<String>>::new())), 6);
    let mut senders = Vec::new();
    for _ in 0..streams {
        let (send, receive) = mpsc::channel(1);
        senders.push(send);
        events.lock().unwrap().insert(0, receive);
    }
    origin.on_raw("/events", move |mut connection, _| {
        let receive = events.lock().unwrap().pop();
        async move {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            drop(connection.send(head.as_bytes()).await);
            let mut receive = receive.unwrap();
            while let Some(event) = receive.recv().await {
                drop(connection.chunk(event.as_bytes()).await);
            }
            drop(connection.send(b"0\r\n\r\n").await);
            connection.gone().await;
        }
    });
    let pass = "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"pass\"\n";
    let mut senders = senders.into_iter();
    // As browsers ask, by whatever way: nothing stored, relayed, said to be an unsafe method.
    for (rest, method) in [("", "GET"), (pass, "GET"), ("", "POST")] {
        let edge = Edge::before(&origin, rest).await;
        let request = Request::new(method, "/events").field("Accept", "text/event-stream");
        let events: Vec<String> = (0..20).map(|n| format!("data: {n}\n\n")).collect();

        let (mut client, send) = (edge.client().await, senders.next().unwrap());
        client.send(&request.bytes()).await;
        let mut reply = client.head(method).await;
        for event in &events {
            let had = reply.body.len();
            send.send(event.clone()).await.unwrap();
            client.at_least(&mut reply, had + event.len()).await;
        }
        drop(send);
        client.rest(&mut reply).await;
        reply.expect_body(200, events.concat());

        let (h2, send) = (edge.h2().await, senders.next().unwrap());
        let mut stream = h2.open(&request).await.unwrap();
        let mut reply = stream.head().await;
        for event in &events {
            let had = reply.body.len();
            send.send(event.clone()).await.unwrap();
            while reply.end == End::Open && reply.body.len() < had + event.len() {
                stream.piece(&mut reply).await;
            }
        }
        drop(send);
        while reply.end == End::Open {
            stream.piece(&mut reply).await;
        }
        reply.expect_body(200, events.concat());
        edge.outcomes("pass", 2).await;
    }
    assert_eq!(origin.hits("/events"), streams);
}

#[tokio::test]
async fn an_event_stream_ends_at_the_origin_when_its_client_leaves() {
    let lms = Lms::start(([127, 0, 0, 1], 0).into(), Options::default()).await.unwrap();
    for version in ["1.1", "2"] {
        let edge = edge(lms.addr(), "", &format!("http = \"{version}\""), "").await;
        let mut client = edge.client().await;
        client.send(&Request::get("/events").bytes()).await;
        let mut reply = client.head("GET").await;
        client.at_least(&mut reply, 1).await;
        assert!(reply.text().starts_with("event: hello"), "{reply}");
        for text in ["one", "two"] {
            let had = reply.body.len();
            lms.send_event(text);
            client.at_least(&mut reply, had + 1).await;
            assert!(reply.text().ends_with(&format!("data: {text}\n\n")), "{reply}");
        }
        assert_eq!(lms.counters().open_streams, 1);
        drop(client);
        eventually("the end of the stream at the LMS", async || lms.counters().open_streams == 0).await;
        edge.outcomes("failed", 1).await;
        assert_eq!(edge.log(1).await[0]["detail"], "client-left");
    }
    lms.stop().await;
}
