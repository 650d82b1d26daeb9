//! What is made, for whom, and what is left alone.

use sha2::{Digest, Sha256};

use super::{ALL, BROTLI, GZIP, asks, css, idle, made, text, until_coded};
use crate::support::{
    answer::Answer,
    coded::{coding, decoded, gzipped},
    deadline::eventually,
    edge::Edge,
    message::Request,
    origin::Origin,
};

#[tokio::test]
async fn each_client_gets_the_shortest_coding_that_it_takes_and_the_origin_is_asked_once() {
    let (origin, body) = (Origin::start().await, text(1, 40_000));
    origin.on("/a", css(&body));
    let edge = Edge::before(&origin, "").await;
    let first = edge.ask(&asks("/a", ALL)).await.expect_body(200, &body);
    assert_eq!((coding(&first), first.field("vary")), ("identity", Some("Accept-Encoding")), "{first}");
    let mut lengths = vec![body.len()];
    for (accepts, coding) in [(ALL, "br"), (GZIP, "gzip"), ("zstd;q=0.1, identity", "zstd")] {
        let reply = until_coded(&edge, &asks("/a", accepts), coding, &body).await;
        assert_eq!(reply.field("content-length"), Some(reply.body.len().to_string().as_str()), "{reply}");
        assert_eq!(reply.all("vary"), ["Accept-Encoding"], "{reply}");
        assert!(reply.field("cache-status").unwrap().starts_with("lectern; hit"), "{reply}");
        lengths.push(reply.body.len());
    }
    assert!(lengths[1..].iter().all(|length| *length < body.len() / 2), "{lengths:?}");
    for (accepts, coded) in [("br, *;q=0", "br"), ("*", "br"), ("gzip;q=0, *", "br"), ("x-gzip", "gzip")] {
        let reply = edge.ask(&asks("/a", accepts)).await.expect(200);
        assert_eq!((coding(&reply), decoded(&reply) == body), (coded, true), "{accepts}: {reply}");
    }
    for accepts in ["identity", "*;q=0, identity", "gzip;q=0", "deflate", ""] {
        let reply = edge.ask(&asks("/a", accepts)).await.expect_body(200, &body);
        assert_eq!((coding(&reply), reply.field("vary")), ("identity", Some("Accept-Encoding")), "{reply}");
    }
    edge.get("/a").await.expect_body(200, &body);
    assert_eq!(origin.hits("/a"), 1);
    assert!(edge.metric("lectern_coding_saved_bytes_total", &[]).await > 60_000.0);
    let lines = edge.log(12).await;
    assert!(lines.iter().any(|line| line["coding"] == "br") && lines[0].get("coding").is_none());
}

#[tokio::test]
async fn a_variant_is_made_once_however_many_ask_and_at_the_highest_level_where_they_are_many() {
    let (origin, body) = (Origin::start().await, text(1, 40_000));
    origin.on("/a", css(&body));
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect(200);
    let fast = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await;
    idle(&edge).await;
    assert_eq!(made(&edge).await, 1);
    let mut client = edge.client().await;
    let mut best = None;
    eventually("the highest level", async || {
        let reply = client.ask(&asks("/a", BROTLI)).await.expect(200);
        assert!(decoded(&reply) == body, "{reply}");
        let shorter = reply.body.len() < fast.body.len();
        best = Some(reply).filter(|_| shorter);
        shorter
    })
    .await;
    let best = best.unwrap();
    assert_ne!(best.field("etag"), fast.field("etag"), "other bytes under one strong tag");
    for _ in 0..40 {
        client.ask(&asks("/a", BROTLI)).await.expect_body(200, &best.body);
    }
    idle(&edge).await;
    assert_eq!(edge.metric("lectern_coding_variants_total", &["effort=\"fast\""]).await, 1.0);
    assert_eq!(edge.metric("lectern_coding_variants_total", &["effort=\"best\""]).await, 1.0);
    assert_eq!(edge.metric("lectern_coding_source_bytes_total", &[]).await, 80_000.0);
    assert_eq!(origin.hits("/a"), 1);
}

#[tokio::test]
async fn what_is_compressed_small_forbidden_or_no_shorter_is_left_alone() {
    let (origin, body) = (Origin::start().await, text(1, 4_000));
    let noise: Vec<u8> = (0_u8..200).flat_map(|n| Sha256::digest([n])).collect();
    let plain = |body: &[u8], kind: &str| Answer::storable(body).field("Content-Type", kind);
    origin.on("/film", plain(&body, "video/mp4"));
    origin.on("/font", plain(&body, "font/woff2"));
    origin.on("/untyped", Answer::storable(&body));
    origin.on("/small", css(&body[..1399]));
    origin.on("/noise", css(&noise));
    origin.on("/forbidden", css(&body).instead("Cache-Control", "max-age=600, no-transform"));
    origin.on("/deflated", css(&body).field("Content-Encoding", "deflate"));
    origin.on("/gone", Answer { status: 404, ..css(&body) });
    let edge = Edge::before(&origin, "").await;
    for path in ["/film", "/font", "/untyped", "/small", "/noise", "/forbidden", "/deflated", "/gone"] {
        let first = edge.ask(&asks(path, ALL)).await;
        for _ in 0..3 {
            let reply = edge.ask(&asks(path, ALL)).await;
            assert_eq!((&reply.body, coding(&reply)), (&first.body, coding(&first)), "{path}: {reply}");
            assert_eq!(reply.field("etag"), Some("\"v1\""), "{path}: {reply}");
            idle(&edge).await;
        }
        assert_eq!(origin.hits(path), 1, "{path}");
    }
    assert_eq!(made(&edge).await, 0);
    assert_eq!(edge.metric("lectern_coding_not_made_total", &["reason=\"not_shorter\""]).await, 1.0);
    assert_eq!(edge.metric("lectern_coding_not_made_total", &[]).await, 1.0, "tried once");
}

#[tokio::test]
async fn nothing_is_coded_where_that_is_set_or_the_request_forbids_it() {
    let (origin, body) = (Origin::start().await, text(1, 4_000));
    origin.on("/a", css(&body));
    let edge = Edge::before(&origin, "[cache.coding]\nbudget = 0\n").await;
    for _ in 0..3 {
        let reply = edge.ask(&asks("/a", ALL)).await.expect_body(200, &body);
        assert_eq!(reply.field("vary"), None, "{reply}");
    }
    assert_eq!(edge.metric("lectern_coding_queue", &[]).await, 0.0);
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect(200);
    until_coded(&edge, &asks("/a", ALL), "br", &body).await;
    edge.ask(&asks("/a", ALL).field("Cache-Control", "no-transform")).await.expect_body(200, &body);
}

#[tokio::test]
async fn who_refuses_identity_gets_a_coding_from_the_first_answer_on() {
    let (origin, body) = (Origin::start().await, text(1, 300_000));
    origin.on("/a", css(&body));
    origin.on("/chunked", css(&body).chunked());
    origin.on("/film", Answer::storable("film").field("Content-Type", "video/mp4"));
    let edge = Edge::before(&origin, "").await;
    for path in ["/a", "/chunked"] {
        for (accepts, coded) in
            [("br, identity;q=0", "br"), ("gzip, *;q=0", "gzip"), ("zstd, br, *;q=0", "zstd")]
        {
            let reply = edge.ask(&asks(path, accepts)).await.expect(200);
            assert_eq!((coding(&reply), decoded(&reply) == body), (coded, true), "{path} {accepts}: {reply}");
            edge.purge(&format!("http://lms-a.example{path}")).await;
        }
    }
    // What is not worth a coding is sent as it is: there is nothing else.
    edge.ask(&asks("/film", "br, identity;q=0")).await.expect_body(200, "film");
    edge.ask(&asks("/a", "identity;q=0")).await.expect_body(200, &body);
    edge.ask(&asks("/a", "*;q=0")).await.expect_body(200, &body);
}

#[tokio::test]
async fn what_the_origin_coded_is_made_shorter_from_its_content_and_never_coded_twice() {
    let (origin, body) = (Origin::start().await, text(1, 40_000));
    let coded = gzipped(&body);
    origin.on("/a", css(&coded).field("Content-Encoding", "gzip").field("Vary", "Accept-Encoding"));
    let edge = Edge::before(&origin, "").await;
    edge.ask(&asks("/a", ALL)).await.expect_body(200, &coded);
    let reply = until_coded(&edge, &asks("/a", ALL), "br", &body).await;
    assert!(reply.body.len() < coded.len() && reply.all("content-encoding") == ["br"], "{reply}");
    // The origin knows nothing of it: who takes gzip alone gets what it sent.
    edge.ask(&asks("/a", GZIP)).await.expect_body(200, &coded);
    let reply = edge.ask(&asks("/a", GZIP)).await.expect_body(200, &coded);
    assert_eq!(reply.field("etag"), Some("\"v1\""));
}

#[tokio::test]
async fn a_head_has_the_fields_of_the_variant_and_explain_names_it() {
    let (origin, body) = (Origin::start().await, text(1, 40_000));
    origin.on("/a", css(&body));
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect(200);
    let reply = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await;
    let head = edge.ask(&Request::new("HEAD", "/a").field("Accept-Encoding", BROTLI)).await.expect(200);
    for name in ["content-length", "content-encoding", "etag", "vary"] {
        assert_eq!(head.field(name), reply.field(name), "{name}: {head}");
    }
    let ask = "/v1/explain?url=http://lms-a.example/a";
    let told = edge.control("GET", ask, "").await.expect(200).text();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(told["answer"].get("coding").is_none(), "who takes nothing: {told}");
    assert_eq!(told["stored"][0]["coded"][0]["coding"], "br", "{told}");
    assert_eq!(told["stored"][0]["coded"][0]["length"], reply.body.len(), "{told}");
}
