//! Tags, conditions and ranges of variants, towards clients and towards the origin.

use super::{ALL, BROTLI, GZIP, asks, css, text, until_coded};
use crate::support::{
    answer::Answer,
    coded::{coding, decoded},
    edge::Edge,
    message::Request,
    origin::Origin,
};

const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

#[tokio::test]
async fn whoever_has_a_variant_has_the_content_and_is_told_so_by_its_own_tag() {
    let (origin, body) = (Origin::start().await, text(1, 40_000));
    origin.on("/a", css(&body).field("Last-Modified", MODIFIED));
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect(200);
    let br = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await.field("etag").unwrap().to_owned();
    let gzip = until_coded(&edge, &asks("/a", GZIP), "gzip", &body).await.field("etag").unwrap().to_owned();
    assert!(br.starts_with("\"v1-lectern-br-") && gzip.starts_with("\"v1-lectern-gzip-"), "{br} {gzip}");
    for (accepts, tag) in [(BROTLI, &*br), (BROTLI, "\"v1\""), (GZIP, &*gzip), (GZIP, &*br), ("", &*gzip)] {
        let reply = edge.ask(&asks("/a", accepts).field("If-None-Match", tag)).await.expect_body(304, "");
        assert_eq!(
            (reply.field("etag"), reply.field("vary")),
            (Some(tag), Some("Accept-Encoding")),
            "{reply}"
        );
        assert_eq!(reply.field("content-length"), None, "{reply}");
        let named = reply.field("content-encoding").is_none_or(|coding| tag.contains(coding));
        assert!(named, "a client would take its bytes for others: {reply}");
    }
    for tag in ["\"v2\"", "\"v2-lectern-br-00000000\"", "\"v1-lectern-lzw\""] {
        let reply = edge.ask(&asks("/a", BROTLI).field("If-None-Match", tag)).await.expect(200);
        assert_eq!(reply.field("etag"), Some(&*br), "{tag}: {reply}");
    }
    for (tag, status) in [(&*br, 200), ("\"v1\"", 200), ("\"v2\"", 412)] {
        edge.ask(&asks("/a", BROTLI).field("If-Match", tag)).await.expect(status);
    }
    // The variants are gone, the client has one still.
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect(200);
    let reply = edge.ask(&asks("/a", BROTLI).field("If-None-Match", &br)).await.expect_body(304, "");
    assert_eq!(reply.field("etag"), Some(&*br), "{reply}");
}

#[tokio::test]
async fn a_weak_tag_says_no_more_of_a_variant_than_of_its_source() {
    let (origin, body) = (Origin::start().await, text(1, 40_000));
    origin.on("/a", css(&body).instead("ETag", "W/\"v1\""));
    origin.on("/none", css(&body).instead("ETag", "v1"));
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect(200);
    let reply = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await;
    assert_eq!(reply.field("etag"), Some("W/\"v1\""));
    edge.ask(&asks("/a", BROTLI).field("If-None-Match", "\"v1\"")).await.expect_body(304, "");
    edge.get("/none").await.expect(200);
    let reply = until_coded(&edge, &asks("/none", BROTLI), "br", &body).await;
    assert_eq!(reply.field("etag"), None, "what is no tag names no variant: {reply}");
}

#[tokio::test]
async fn a_range_is_of_the_source_unless_it_names_a_variant_and_never_of_two() {
    let (origin, body) = (Origin::start().await, text(1, 40_000));
    origin.on("/a", css(&body).field("Last-Modified", MODIFIED));
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect(200);
    let whole = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await;
    let tag = whole.field("etag").unwrap();
    let range = |fields: &[(&str, &str)]| {
        fields.iter().fold(asks("/a", BROTLI).field("Range", "bytes=100-199"), |r, (n, v)| r.field(n, v))
    };
    for fields in [&[][..], &[("If-Range", "\"v1\"")], &[("If-Match", "\"v1\"")]] {
        let reply = edge.ask(&range(fields)).await.expect_body(206, &body[100..200]);
        assert_eq!((coding(&reply), reply.field("etag")), ("identity", Some("\"v1\"")), "{reply}");
        assert_eq!(reply.field("content-range"), Some("bytes 100-199/40000"), "{reply}");
    }
    let reply = edge.ask(&range(&[("If-Range", tag)])).await.expect_body(206, &whole.body[100..200]);
    assert_eq!((coding(&reply), reply.field("etag")), ("br", Some(tag)), "{reply}");
    let total = format!("bytes 100-199/{}", whole.body.len());
    assert_eq!(reply.field("content-range"), Some(&*total), "{reply}");
    // A tag of bytes that are not there, and a time, which does not tell which bytes the client has.
    for fields in [
        &[("If-Range", "\"v1-lectern-br-00000000\"")][..],
        &[("If-Range", "W/\"v1\"")],
        &[("If-Range", MODIFIED)],
        &[("If-Match", tag)],
    ] {
        let reply = edge.ask(&range(fields)).await.expect(200);
        assert!(decoded(&reply) == body, "{fields:?}: {reply}");
    }
    // Who does not take the coding gets none of its bytes, whatever it names.
    let stranger = Request::get("/a").field("Range", "bytes=100-199").field("If-Range", tag);
    edge.ask(&stranger).await.expect_body(200, &body);
    assert_eq!(origin.hits("/a"), 1);
}

#[tokio::test]
async fn a_variant_follows_its_source_when_that_is_validated() {
    let (origin, body) = (Origin::start().await, text(1, 40_000));
    origin.on("/a", css(&body).conditional());
    let rule =
        "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"cache\"\nrequest_directives = true\n";
    let edge = Edge::before(&origin, rule).await;
    edge.get("/a").await.expect(200);
    let coded = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await;
    origin.on("/a", css(&body).field("X-Newer", "1").conditional());
    let reply = edge.ask(&asks("/a", BROTLI).field("Cache-Control", "no-cache")).await.expect(200);
    assert_eq!(origin.hits("/a"), 2);
    assert_eq!(origin.last("/a").field("if-none-match"), Some("\"v1\""), "the source's tag");
    assert_eq!((coding(&reply), reply.field("etag")), ("br", coded.field("etag")), "{reply}");
    assert!(reply.field("x-newer") == Some("1") && reply.body == coded.body, "{reply}");
    edge.outcomes("revalidated", 1).await;
}

#[tokio::test]
async fn what_is_validated_at_each_use_is_coded_too() {
    let (origin, body) = (Origin::start().await, text(1, 40_000));
    origin.on("/a", css(&body).instead("Cache-Control", "no-cache").conditional());
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect(200);
    let reply = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await;
    assert!(reply.field("cache-status").unwrap().contains("fwd-status=304"), "{reply}");
}

#[tokio::test]
async fn the_origin_is_told_its_own_tags_and_a_relayed_304_names_the_clients() {
    let origin = Origin::start().await;
    let answer = Answer::ok("private").field("Cache-Control", "private, max-age=0").field("ETag", "\"v1\"");
    origin.on("/a", answer.conditional().ranges());
    let edge =
        Edge::before(&origin, "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"pass\"\n").await;
    let tag = "\"v1-lectern-br-0a1b2c3d\"";
    let reply = edge.ask(&asks("/a", ALL).field("If-None-Match", &format!("\"x\", {tag}"))).await;
    let reply = reply.expect_body(304, "");
    assert_eq!(origin.last("/a").field("if-none-match"), Some("\"x\", \"v1\""));
    assert_eq!(reply.field("etag"), Some(tag), "{reply}");
    let reply = edge.ask(&asks("/a", ALL).field("If-None-Match", "\"v1\"")).await.expect_body(304, "");
    assert_eq!(reply.field("etag"), Some("\"v1\""), "{reply}");
    let range = asks("/a", ALL).field("Range", "bytes=1-2").field("If-Range", tag);
    edge.ask(&range).await.expect_body(200, "private");
    assert!(origin.last("/a").field("range").is_none(), "a range of bytes that the origin never had");
    let write = Request::new("PUT", "/a").field("If-Match", tag).body("x");
    edge.ask(&write).await.expect(200);
    assert_eq!(origin.last("/a").field("if-match"), Some("\"v1\""));
}
