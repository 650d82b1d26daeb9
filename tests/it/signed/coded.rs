//! A coded variant is reached only as its source is.

use super::{FILM, Keys, SECRET, Shows, film, packages, refused, tenants};
use crate::support::{answer::Answer, deadline::eventually, edge::Edge, message::Request, origin::Origin};

#[tokio::test]
async fn a_variant_is_for_those_who_are_let_in() {
    let origin = Origin::start().await;
    let text = "a line of the film\n".repeat(500);
    let subtitles = || Answer::storable(&text).field("Content-Type", "text/vtt");
    origin.on(FILM, subtitles().instead("Cache-Control", "private, max-age=600"));
    let keys = Keys::new(&[("new", SECRET)]);
    let rules = packages(&format!("lift_private = true\n{}", keys.asks(false)));
    let edge = Edge::with(&tenants(&origin, &rules, "")).await;
    let asks = |request: Request| request.field("Accept-Encoding", "br");
    let good = || asks(film(&Shows::good(false)));
    edge.ask(&good()).await.expect_body(200, &text);
    edge.ask(&good()).await.expect_body(200, &text);
    eventually("a variant", async || edge.metric("lectern_coding_variants_total", &[]).await == 1.0).await;
    let coded = edge.ask(&good()).await.expect(200);
    assert_eq!(coded.field("content-encoding"), Some("br"), "{coded}");
    assert_eq!(coded.field("cache-control"), Some("private, max-age=600"), "{coded}");
    let tag = coded.field("etag").unwrap();
    refused(edge.ask(&asks(Request::get(FILM))).await, 401, "signature-missing", false);
    let knows_the_tag = asks(Request::get(FILM)).field("If-None-Match", tag);
    refused(edge.ask(&knows_the_tag).await, 401, "signature-missing", false);
    let expired = asks(film(&Shows { seconds: -3600, ..Shows::good(false) })).field("If-Range", tag);
    refused(edge.ask(&expired.field("Range", "bytes=0-9")).await, 401, "signature-expired", false);
    // The other tenant's is another response, of which nothing was made.
    let shows = Shows { host: "lms-b.example", ..Shows::good(false) };
    edge.ask(&asks(film(&shows)).host("lms-b.example")).await.expect_body(200, &text);
    assert_eq!(origin.hits(FILM), 2);
}
