//! What an origin sends coded though nobody asked, as a real Kolibri does with its static files.

use super::{ALL, GZIP, asks, css, idle, text, until_coded};
use crate::support::{
    answer::Answer,
    coded::{coding, decoded, gzipped},
    edge::Edge,
    gate::Gate,
    message::Request,
    origin::Origin,
};

/// A static file of Kolibri 0.19.5: one tag whatever the coding.
fn kolibri(body: &[u8]) -> Answer {
    Answer::ok(gzipped(body))
        .field("Content-Type", "text/css; charset=\"utf-8\"")
        .field("Cache-Control", "max-age=315360000, public, immutable")
        .field("Accept-Ranges", "bytes")
        .field("ETag", "\"6b06f483-0\"")
        .field("Vary", "Accept-Encoding")
        .field("Content-Encoding", "gzip")
}

#[tokio::test]
async fn it_is_stored_as_it_came_and_decoded_for_who_does_not_take_it() {
    let (origin, body) = (Origin::start().await, text(1, 700_000));
    let (gate, coded) = (Gate::new(), kolibri(&body));
    let half = coded.length() / 2;
    origin.on("/a", coded.clone().pause(half, &gate));
    let edge = Edge::before(&origin, "").await;
    let (mut client, mut other) = (edge.client().await, edge.client().await);
    // It is decoded while it comes, for who caused the fill and who joined it.
    let joined = tokio::spawn(async move { other.ask(&Request::get("/a")).await });
    gate.arrived(1).await;
    let caused = tokio::spawn(async move { client.ask(&Request::get("/a")).await });
    gate.open();
    for reply in [caused.await.unwrap(), joined.await.unwrap()] {
        let reply = reply.expect_body(200, &body);
        assert_eq!((coding(&reply), reply.field("content-length")), ("identity", None), "{reply}");
        assert_eq!(reply.field("etag"), Some("W/\"6b06f483-0-lectern-identity\""), "{reply}");
        assert_eq!(
            (reply.field("accept-ranges"), reply.all("vary")),
            (Some("none"), vec!["Accept-Encoding"])
        );
    }
    // Then it is made once, and has a length and ranges.
    let mut reply = edge.get("/a").await.expect_body(200, &body);
    idle(&edge).await;
    while reply.field("content-length").is_none() {
        reply = edge.get("/a").await.expect_body(200, &body);
    }
    let tag = reply.field("etag").unwrap();
    assert!(tag.starts_with("\"6b06f483-0-lectern-identity-"), "{reply}");
    let range = Request::get("/a").field("Range", "bytes=300000-300099");
    edge.ask(&range).await.expect_body(206, &body[300_000..300_100]);
    edge.ask(&range.clone().field("If-Range", tag)).await.expect_body(206, &body[300_000..300_100]);
    assert_eq!(origin.hits("/a"), 1, "nobody asked the origin again");
    // Who takes gzip is another variant to the origin, and gets what it sent.
    edge.ask(&asks("/a", GZIP)).await.expect_body(200, &coded.body);
    let reply = edge.ask(&asks("/a", GZIP)).await.expect_body(200, &coded.body);
    assert_eq!((coding(&reply), reply.field("etag")), ("gzip", Some("\"6b06f483-0\"")), "{reply}");
    until_coded(&edge, &asks("/a", ALL), "br", &body).await;
    assert!(edge.metric("lectern_coding_on_the_way_total", &["coding=\"identity\""]).await >= 1.0);
    edge.outcomes("failed", 0).await;
}

#[tokio::test]
async fn conditions_and_heads_of_what_is_decoded() {
    let (origin, body) = (Origin::start().await, text(1, 500));
    origin.on("/a", kolibri(&body));
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect_body(200, &body);
    for tag in ["W/\"6b06f483-0-lectern-identity\"", "\"6b06f483-0\""] {
        let reply = edge.ask(&Request::get("/a").field("If-None-Match", tag)).await.expect_body(304, "");
        assert_eq!(reply.field("etag"), Some(tag), "{reply}");
    }
    let head = edge.ask(&Request::new("HEAD", "/a")).await.expect_body(200, "");
    assert_eq!((coding(&head), head.field("content-length")), ("identity", None), "{head}");
    for range in ["bytes=0-9", "bytes=0-0,5-6", "bytes=9999-"] {
        edge.ask(&Request::get("/a").field("Range", range)).await.expect_body(200, &body);
    }
    let h2 = edge.h2().await;
    h2.ask(&Request::get("/a")).await.expect_body(200, &body);
}

#[tokio::test]
async fn what_forbids_it_or_cannot_be_read_goes_out_as_it_came() {
    let (origin, body) = (Origin::start().await, text(1, 5_000));
    let coded = gzipped(&body);
    let unasked = |control: &str, coding: &str, body: &[u8]| {
        css(body).instead("Cache-Control", control).field("Content-Encoding", coding)
    };
    origin.on("/forbidden", unasked("max-age=600, no-transform", "gzip", &coded));
    origin.on("/unknown", unasked("max-age=600", "lzw", &coded));
    origin.on("/twice", unasked("max-age=600", "gzip, gzip", &gzipped(&coded)));
    origin.on("/private", unasked("private, max-age=600", "gzip", &coded));
    let edge = Edge::before(&origin, "").await;
    for path in ["/forbidden", "/unknown", "/twice", "/private"] {
        for _ in 0..2 {
            let reply = edge.get(path).await.expect(200);
            assert_eq!(
                (reply.field("etag"), reply.body == origin_body(&coded, path)),
                (Some("\"v1\""), true),
                "{path}"
            );
        }
    }
    edge.ask(&Request::get("/forbidden").field("Cache-Control", "no-transform"))
        .await
        .expect_body(200, &coded);
}

fn origin_body(coded: &[u8], path: &str) -> Vec<u8> {
    if path == "/twice" { gzipped(coded) } else { coded.to_vec() }
}

#[tokio::test]
async fn a_body_that_is_not_what_its_head_says_is_never_served_as_whole() {
    let (origin, body) = (Origin::start().await, text(1, 5_000));
    let coded = gzipped(&body);
    origin.on("/plain", css(&body).field("Content-Encoding", "gzip"));
    origin.on("/short", css(&coded[..coded.len() - 9]).field("Content-Encoding", "gzip"));
    origin.on("/empty", css("").field("Content-Encoding", "gzip"));
    let edge = Edge::before(&origin, "").await;
    for path in ["/plain", "/short"] {
        for _ in 0..2 {
            let reply = edge.get(path).await;
            assert!(!reply.clean(), "{path}: {reply}");
            assert!(body.starts_with(&reply.body) && reply.body != body || path == "/short", "{path}");
        }
        // Who takes it as it is may make of it what it can.
        for _ in 0..3 {
            edge.ask(&asks(path, ALL)).await.expect(200);
            idle(&edge).await;
        }
    }
    assert!(edge.metric("lectern_requests_failed_total", &["reason=\"bad-coding\""]).await >= 4.0);
    assert!(edge.metric("lectern_coding_not_made_total", &["reason=\"bad_coding\""]).await >= 1.0);
    let reply = edge.get("/empty").await.expect_body(200, "");
    assert!(decoded(&reply).is_empty());
}

#[tokio::test]
async fn a_few_bytes_that_decode_to_very_many_take_no_room() {
    let origin = Origin::start().await;
    let zeros = vec![0; 64 << 20];
    let bomb = zstd::encode_all(&zeros[..], 3).unwrap();
    assert!(bomb.len() < 16 << 10);
    origin.on("/a", css(&bomb).field("Content-Encoding", "zstd"));
    let edge = Edge::before(&origin, "").await;
    edge.ask(&asks("/a", "zstd")).await.expect_body(200, &bomb);
    let before = edge.rss();
    let mut client = edge.client().await;
    // It takes ever more time than this reads: what is not read is not made.
    client.send(&Request::get("/a").bytes()).await;
    edge.ask(&asks("/a", "zstd, br")).await.expect(200);
    idle(&edge).await;
    assert!(edge.rss() < before + (32 << 20), "{} after {before}", edge.rss());
    assert_eq!(edge.metric("lectern_coding_variants_total", &["coding=\"identity\""]).await, 0.0);
}
