//! Coded variants of what the LMS is asked about: for those who are let in, by the same question.

use crate::{
    asked::{checks, of, school_with},
    support::{deadline::eventually, moodle::ENTRY},
};

#[tokio::test]
async fn a_variant_is_for_those_whom_the_lms_lets_in() {
    let (moodle, edge) = school_with("keep = \"0s\"", "").await;
    moodle.publishes(ENTRY, "text/html", "a sentence of the course\n".repeat(400));
    // As it is, Moodle says no-transform of every course file.
    moodle.bends(|_, answer| match answer.status {
        200 | 304 => answer.instead("Cache-Control", "private, max-age=600"),
        _ => answer,
    });
    moodle.enrols("second", 2);
    let (first, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
    let asks = |cookie: &str| of(cookie, ENTRY).field("Accept-Encoding", "gzip, deflate, br");
    let plain = edge.ask(&asks(&first)).await.expect(200);
    edge.ask(&asks(&first)).await.expect_body(200, &plain.body);
    eventually("a variant", async || edge.metric("lectern_coding_variants_total", &[]).await == 1.0).await;
    let before = checks(&edge, "yes").await;
    let coded = edge.ask(&asks(&second)).await.expect(200);
    assert_eq!(coded.field("content-encoding"), Some("br"), "{coded}");
    assert_eq!(checks(&edge, "yes").await, before + 1, "she was asked about");
    let tag = coded.field("etag").unwrap();
    assert!(tag.contains("-lectern-br-"), "{coded}");
    // The LMS knows its own tag alone, and the learner hers.
    let again = edge.ask(&asks(&second).field("If-None-Match", tag)).await.expect_body(304, "");
    assert_eq!(again.field("etag"), Some(tag), "{again}");
    let asked = moodle.origin.last(ENTRY);
    assert!(asked.field("if-none-match").is_some_and(|tag| !tag.contains("lectern")), "{asked:?}");
    // Whoever is not let in gets none of it, though she names its tag.
    let stranger = moodle.signs_in("stranger");
    for request in [asks(&stranger), asks(&stranger).field("If-None-Match", tag)] {
        let reply = edge.ask(&request).await;
        assert!(reply.status != 304 && reply.body != coded.body && reply.body != plain.body, "{reply}");
    }
}
