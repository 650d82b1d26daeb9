//! `Expect: 100-continue` (G47), uploads that break off, and uploads that are too long.

use crate::support::{
    answer::Answer, client::Ended, edge::Edge, gate::Gate, message::Request, origin::Origin,
};
use h2::Reason;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const BODY: usize = 10 << 20;

fn expecting(target: &str) -> Request {
    let request = Request::new("POST", target).field("Expect", "100-continue");
    request.field("Content-Length", &BODY.to_string())
}

#[tokio::test]
async fn g47_a_client_that_waits_for_100_gets_it_whatever_the_origin_makes_of_expect() {
    let origin = Origin::start().await;
    origin.on("/obeys", Answer::ok("read"));
    origin.on("/ignores", Answer::ok("read").without_continue());
    let edge = Edge::before(&origin, "").await;
    let mut client = edge.client().await;
    for path in ["/obeys", "/ignores"] {
        client.send(&expecting(path).bytes()).await;
        assert_eq!(client.raw(CONTINUE.len()).await, CONTINUE, "{path}");
        assert_eq!(origin.last(path).body_length, 0, "{path}: nothing was sent so far");
        client.send(&vec![b'x'; BODY]).await;
        let reply = client.reply("POST").await.expect_body(200, "read");
        assert_eq!(reply.interim, [], "{path}: one 100 is enough");
        let seen = origin.last(path);
        assert_eq!((seen.body_length, seen.field("expect")), (BODY as u64, Some("100-continue")));
        assert_eq!(origin.hits(path), 1);
    }
    edge.outcomes("pass", 2).await;
}

#[tokio::test]
async fn g47_an_origin_that_refuses_at_once_is_heard_and_no_100_is_sent() {
    let origin = Origin::start().await;
    origin.on("/413", Answer::new(413, "too long").unread());
    origin.on("/401", Answer::new(401, "who are you").field("WWW-Authenticate", "Basic").unread());
    let edge = Edge::before(&origin, "").await;
    for (path, status, text) in [("/413", 413, "too long"), ("/401", 401, "who are you")] {
        let mut client = edge.client().await;
        client.send(&expecting(path).bytes()).await;
        let reply = client.reply("POST").await.expect_body(status, text);
        assert_eq!(reply.interim, [], "{path}");
        assert_eq!(client.closed().await, Ended::Fin, "{path}: what would follow is no request");
        assert_eq!((origin.hits(path), origin.last(path).body_length), (1, 0));
    }
    edge.outcomes("pass", 2).await;
    edge.get("/next").await.expect(404);
}

#[tokio::test]
async fn an_origin_that_refuses_in_the_middle_is_heard_by_a_client_that_still_sends() {
    let (origin, refused) = (Origin::start().await, Gate::new());
    let gate = refused.clone();
    origin.on_raw("/upload", move |mut connection, _| {
        let gate = gate.clone();
        async move {
            drop(connection.more().await);
            gate.pass().await;
            let answer = b"HTTP/1.1 413 Too Long\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo long";
            drop(connection.send(answer).await);
            connection.gone().await;
        }
    });
    let edge = Edge::before(&origin, "").await;
    let mut client = edge.client().await;
    client.send(&Request::new("POST", "/upload").field("Content-Length", &BODY.to_string()).bytes()).await;
    client.send(&vec![b'x'; 100_000]).await;
    refused.arrived(1).await;
    refused.open();
    client.reply("POST").await.expect_body(413, "too long");
    let h2 = edge.h2().await;
    let mut stream = h2.begin(&Request::new("POST", "/upload"), false).await.unwrap();
    stream.send(&vec![b'x'; 100_000], false).await.unwrap();
    let reply = stream.head().await;
    assert_eq!(reply.status, 413, "{reply}");
    drop(stream);
    assert_eq!(h2.get("/next").await.status, 404, "the connection goes on");
    assert_eq!(origin.hits("/upload"), 2);
}

#[tokio::test]
async fn an_upload_that_does_not_come_whole_has_no_end_at_the_origin() {
    let origin = Origin::start().await;
    origin.on("/*", Answer::ok("taken"));
    let edge = Edge::before(&origin, "").await;
    let half = vec![b'x'; 50_000];
    let chunk = [b"c350\r\n", &half[..], b"\r\n"].concat();
    let half_of = |kind: &str| {
        let request = Request::new("POST", &format!("/{kind}"));
        match kind {
            "length-fin" | "length-rst" => (request.field("Content-Length", "100000"), half.clone()),
            _ => (request.field("Transfer-Encoding", "chunked"), chunk.clone()),
        }
    };
    for kind in ["length-fin", "length-rst", "chunked-fin", "chunked-rst"] {
        let (request, body) = half_of(kind);
        let mut client = edge.client().await;
        client.send(&request.bytes()).await;
        client.send(&body).await;
        origin.until(&request.target, "half of its body", |seen| seen.body_length == 50_000).await;
        if kind.ends_with("rst") {
            client.abort();
        } else {
            drop(client);
        }
        // The origin's script ends only if its reading failed.
        origin.until(&request.target, "no end of its body", |seen| seen.gone).await;
    }
    let client = edge.h2().await;
    let mut stream = client.begin(&Request::new("POST", "/h2"), false).await.unwrap();
    stream.send(&half, false).await.unwrap();
    origin.until("/h2", "half of its body", |seen| seen.body_length == 50_000).await;
    stream.reset(Reason::CANCEL);
    origin.until("/h2", "no end of its body", |seen| seen.gone).await;
    assert!(origin.requests().iter().all(|seen| seen.body_sha256.is_none() && !seen.answered));
    edge.outcomes("failed", 5).await;
    assert_eq!(edge.metric("lectern_requests_failed_total", &["client"]).await, 5.0);
    edge.ask(&Request::new("POST", "/next").body("whole")).await.expect_body(200, "taken");
    assert_eq!(origin.open_connections(), 1, "the others were closed");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_by_site_and_by_rule() {
    let origin = Origin::start().await;
    origin.on("/*", Answer::ok("taken"));
    let rule = "body_limit = \"1KiB\"\n\
                [[site.rule]]\nname = \"packages\"\nprefix = \"/packages/\"\nverdict = \"pass\"\nbody_limit = \"4KiB\"\n";
    let edge = Edge::before(&origin, rule).await;
    let mut refused = 0;
    for (path, limit) in [("/other", 1024), ("/packages/a", 4096)] {
        for http2 in [false, true] {
            for announced in [true, false] {
                for length in [limit, limit + 1] {
                    let body = vec![b'x'; length];
                    let target = format!("{path}?{http2}{announced}{length}");
                    let request = Request::new("POST", &target);
                    let request = match (http2, announced) {
                        (_, true) => request.field("Content-Length", &length.to_string()).body(body),
                        (true, false) => request.body(body),
                        (false, false) => request
                            .field("Transfer-Encoding", "chunked")
                            .body([format!("{length:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat()),
                    };
                    let reply =
                        if http2 { edge.h2().await.ask(&request).await } else { edge.ask(&request).await };
                    if length == limit {
                        reply.expect_body(200, "taken");
                        assert_eq!(origin.last(&target).body_length, length as u64);
                        continue;
                    }
                    let reply = reply.expect(413);
                    assert!(reply.text().contains("body-limit"), "{reply}");
                    refused += 1;
                    if announced {
                        assert_eq!(origin.hits(&target), 0, "{target} is refused before the origin is asked");
                    } else {
                        origin.until(&target, "no end of its body", |seen| seen.gone).await;
                        assert_eq!(origin.last(&target).body_sha256, None);
                    }
                }
            }
        }
    }
    edge.outcomes("refused", refused).await;
    edge.outcomes("pass", 8).await;
    let refusals = edge.log(16).await.into_iter().filter(|line| line["status"] == 413);
    assert!(refusals.clone().all(|line| line["detail"] == "body-limit" && line["fault"] == "client"));
    assert_eq!(refusals.count() as u64, refused);
}
