//! Any method, with and without a body, from and to either HTTP version.

use bytes::Bytes;
use http::Response;
use loadtest::{Lms, Options};
use sha2::{Digest, Sha256};

use super::edge;
use crate::support::{
    answer::Answer,
    edge::Edge,
    h2_origin::{H2Origin, read},
    message::Request,
    origin::Origin,
};

const METHODS: [&str; 7] = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "LEARN"];

#[tokio::test]
async fn any_method_and_body_reach_the_origin_as_they_were_sent() {
    let origin = Origin::start().await;
    origin.on_call("/a/*", |seen, _| Answer::new(207, format!("{} heard", seen.method)).field("X-Lms", "1"));
    let edge = Edge::before(&origin, "").await;
    let body: Vec<u8> = (0..200_000u32).flat_map(u32::to_be_bytes).collect();
    let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let mut asked = 0;
    for method in METHODS {
        let request = |kind: &str| Request::new(method, &format!("/a/{method}/{kind}?b=//c;d"));
        let length = body.len().to_string();
        let rows = [
            (false, request("none"), "", None),
            (false, request("length"), &*length, Some(body.clone())),
            (false, request("chunked").field("Transfer-Encoding", "chunked"), "", Some(chunked.clone())),
            (true, request("h2-none"), "", None),
            (true, request("h2-length").field("Content-Length", &length), &*length, Some(body.clone())),
            (true, request("h2-open"), "", Some(body.clone())),
        ];
        for (http2, request, length, sent) in rows {
            let request = Request { body: sent, ..request };
            let reply = if http2 { edge.h2().await.ask(&request).await } else { edge.ask(&request).await };
            let reply = reply.expect_body(207, format!("{method} heard"));
            assert_eq!(reply.field("x-lms"), Some("1"));
            asked += 1;
            let seen = origin.last(&request.target);
            assert_eq!((&*seen.method, &*seen.target), (method, &*request.target));
            let (coding, announced) = (seen.all("transfer-encoding"), seen.all("content-length"));
            match (&request.body, length) {
                (None, _) if method == "OPTIONS" => assert_eq!(announced, [""; 0], "{}", request.target),
                (None, _) => assert_eq!(announced, ["0"], "{}", request.target),
                (Some(_), "") => assert_eq!((coding, announced), (vec!["chunked"], vec![])),
                (Some(_), length) => assert_eq!((coding, announced), (vec![], vec![length])),
            }
            if request.body.is_some() {
                assert_eq!(seen.body_length, body.len() as u64, "{}", request.target);
                assert!(seen.body == body, "{}", request.target);
            }
            assert!(seen.body_sha256.is_some(), "{}: the body came to its end", request.target);
        }
    }
    assert_eq!(origin.requests().len(), asked);
    edge.outcomes("pass", asked as u64).await;
    assert_eq!(edge.metric("lectern_origin_requests_total", &["2xx"]).await, asked as f64);
}

#[tokio::test]
async fn options_asterisk_asks_the_origin_itself() {
    let origin = Origin::start().await;
    origin.on("*", Answer::new(204, "").field("Allow", "GET, PUT"));
    let edge = Edge::before(&origin, "").await;
    let mut client = edge.client().await;
    for _ in 0..2 {
        let reply = client.ask(&Request::new("OPTIONS", "*")).await.expect_body(204, "");
        assert_eq!(reply.field("allow"), Some("GET, PUT"));
    }
    assert_eq!(origin.requests().iter().map(|seen| &*seen.target).collect::<Vec<_>>(), ["*", "*"]);
    edge.outcomes("pass", 2).await;
}

#[tokio::test]
async fn a_body_on_a_get_is_relayed_with_it() {
    let origin = Origin::start().await;
    origin.on("/search", Answer::ok("found"));
    let edge =
        Edge::before(&origin, "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"pass\"\n").await;
    let mut client = edge.client().await;
    for _ in 0..2 {
        client.ask(&Request::get("/search").body("query")).await.expect_body(200, "found");
    }
    for seen in origin.seen("/search") {
        assert_eq!((seen.body.clone(), seen.all("content-length")), (b"query".to_vec(), vec!["5"]));
    }
    edge.outcomes("pass", 2).await;
}

#[tokio::test]
async fn http_2_is_spoken_to_an_origin_that_is_configured_so() {
    let origin = H2Origin::start(|mut request, mut respond| async move {
        let body = read(request.body_mut()).await.unwrap();
        let head = format!("{} {} {}", request.method(), request.uri().path(), body.len());
        let response = Response::builder().status(200).header("cache-control", "no-store").body(()).unwrap();
        let mut sending = respond.send_response(response, false).unwrap();
        sending.send_data(Bytes::from(head), true).unwrap();
    })
    .await;
    let edge = edge(origin.addr(), "", "http = \"2\"", "").await;
    let body = vec![b'x'; 300_000];
    for method in METHODS {
        for body in [None, Some(body.clone())] {
            let length = body.as_ref().map_or(0, Vec::len);
            let request = Request { body, ..Request::new(method, "/a") };
            let expected = format!("{method} /a {length}");
            edge.ask(&request).await.expect_body(200, &expected);
            edge.h2().await.ask(&request).await.expect_body(200, &expected);
        }
    }
    edge.get("/a").await.expect_body(200, "GET /a 0");
    assert_eq!(origin.streams(), 4 * METHODS.len() + 1);
    edge.outcomes("pass", origin.streams() as u64).await;
}

#[tokio::test]
async fn the_sample_lms_is_relayed_over_either_version() {
    let film = 3 << 20;
    for version in ["1.1", "2"] {
        let options = Options { film, ..Options::default() };
        let lms = Lms::start(([127, 0, 0, 1], 0).into(), options).await.unwrap();
        let edge = edge(lms.addr(), "", &format!("http = \"{version}\""), "").await;
        let body: Vec<u8> = (0..700_000u32).flat_map(u32::to_be_bytes).collect();
        let hash: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
        let upload = Request::new("PUT", "/upload").body(body.clone());
        for reply in [edge.ask(&upload).await, edge.h2().await.ask(&upload).await] {
            let text = reply.expect(200).text();
            assert!(text.contains(&hash) && text.contains(&body.len().to_string()), "{text}");
        }
        for n in 0..5 {
            edge.ask(&Request::new("POST", "/track").body(format!("score={n}"))).await.expect(200);
        }
        let counters = lms.counters();
        assert_eq!((counters.uploads, counters.commits), (2, 5));
        assert_eq!(counters.commit_bodies, (0..5).map(|n| format!("score={n}")).collect::<Vec<_>>());
        let direct = crate::support::client::Client::connect(lms.addr()).await.get("/media/film.mp4").await;
        edge.get("/media/film.mp4").await.expect_body(200, direct.expect(200).body);
        edge.outcomes("pass", 7).await;
        lms.stop().await;
    }
}
