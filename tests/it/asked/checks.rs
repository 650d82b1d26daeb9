//! What counts as yes, as new, as no; what is asked, and what is not.

use crate::{
    asked::{checks, film, of, school, school_with},
    support::{
        answer::Answer,
        message::Request,
        moodle::{ENTRY, LECTURE, NOTES, POST, SCRIPT, tag},
    },
};

#[tokio::test]
async fn the_second_learner_costs_a_check_and_no_body() {
    let (moodle, edge) = school().await;
    moodle.enrols("second", 2);
    let (first, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
    let reply = edge.ask(&of(&first, LECTURE)).await.expect_body(200, film());
    assert_eq!(reply.field("cache-control"), Some("private, max-age=21600, no-transform"));
    let sent = moodle.origin.sent(LECTURE);
    let reply = edge.ask(&of(&second, LECTURE)).await.expect_body(200, film());
    assert_eq!(reply.field("cache-status"), Some("lectern; fwd=request; fwd-status=304; stored"));
    assert_eq!(moodle.origin.sent(LECTURE), sent, "not one byte more");
    let check = moodle.origin.last(LECTURE);
    assert_eq!(check.field("cookie"), Some(second.as_str()), "what the rule names, and nothing else");
    assert_eq!(check.field("if-none-match"), Some(tag(film()).as_str()));
    assert!(check.field("range").is_none() && check.field("if-modified-since").is_none());
    assert!(check.field("x-forwarded-for").is_some(), "it is her own request");
    // The first one's yes came with her own request, and is kept.
    edge.ask(&of(&first, LECTURE)).await.expect_body(200, film());
    assert_eq!(moodle.origin.hits(LECTURE), 2);
    assert_eq!((checks(&edge, "yes").await, checks(&edge, "no").await), (1, 0));
    assert_eq!(edge.metric("lectern_access_kept_total", &[]).await, 1.0);
    let log = edge.log(3).await;
    let learner = |outcome: &str, access: &str| {
        let line = log.iter().find(|line| line["outcome"] == outcome && line["access"] == access);
        line.unwrap_or_else(|| panic!("{log:#?}"))["learner"].clone()
    };
    assert_eq!(learner("miss", "yes"), learner("hit", "kept"));
    assert_ne!(learner("miss", "yes"), learner("revalidated", "yes"));
}

#[tokio::test]
async fn a_no_is_what_the_lms_said_and_leaves_what_is_stored_alone() {
    let (moodle, edge) = school().await;
    let (student, outsider) = (moodle.signs_in("student"), moodle.signs_in("outsider"));
    edge.ask(&of(&student, SCRIPT)).await.expect(200);
    for n in 1..=3 {
        let reply = edge.ask(&of(&outsider, SCRIPT)).await.expect(303);
        assert_eq!(reply.body.len(), 1506, "{reply}");
        assert_eq!(reply.field("location"), Some("http://lms-a.example/enrol/index.php?id=2"));
        assert_eq!(checks(&edge, "no").await, n);
    }
    let reply = edge.ask(&of("MoodleSession=ended", SCRIPT)).await.expect(303);
    assert!(reply.field("set-cookie").is_some(), "{reply}");
    // A range is asked about without it; her own request then has the LMS's own words.
    let ranged = of(&outsider, SCRIPT).field("Range", "bytes=0-3");
    edge.ask(&ranged).await.expect(407);
    edge.ask(&of(&student, SCRIPT)).await.expect_body(200, "function ScormProcess() {}");
    moodle.enrols("outsider", 2);
    edge.ask(&of(&outsider, SCRIPT)).await.expect_body(200, "function ScormProcess() {}");
    let files = moodle.origin.seen(SCRIPT).iter().filter(|seen| seen.sent == 26).count();
    assert_eq!(files, 1, "the file was sent once");
}

#[tokio::test]
async fn who_shows_no_credentials_is_relayed() {
    let (moodle, edge) = school().await;
    let student = moodle.signs_in("student");
    edge.ask(&of(&student, SCRIPT)).await.expect(200);
    edge.get(SCRIPT).await.expect(303);
    edge.ask(&Request::get(SCRIPT).field("Cookie", "MOODLEID1_=x; moodlesession=y")).await.expect(303);
    edge.ask(&Request::get(SCRIPT).field("Range", "bytes=0-3")).await.expect(407);
    edge.outcomes("pass", 3).await;
    assert_eq!(moodle.origin.hits(SCRIPT), 4);
    assert_eq!(edge.log(4).await.iter().filter(|line| line["access"] == "none").count(), 3);
}

#[tokio::test]
async fn what_is_new_comes_with_the_check_and_takes_the_place_of_the_old() {
    let (moodle, edge) = school().await;
    moodle.enrols("second", 2);
    let (first, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
    edge.ask(&of(&first, SCRIPT)).await.expect(200);
    let new = moodle.publishes(SCRIPT, "application/x-javascript", "function New() {}");
    let reply = edge.ask(&of(&second, SCRIPT)).await.expect_body(200, "function New() {}");
    assert_eq!(reply.field("etag"), Some(new.as_str()));
    assert_eq!(moodle.origin.hits(SCRIPT), 2, "one request for the answer and the bytes");
    edge.settled().await;
    edge.ask(&of(&first, SCRIPT)).await.expect_body(200, "function New() {}");
    assert_eq!(moodle.origin.hits(SCRIPT), 2);
    assert_eq!(checks(&edge, "new").await, 1);
}

#[tokio::test]
async fn a_200_that_is_no_file_is_a_no() {
    let (moodle, edge) = school().await;
    moodle.enrols("second", 2);
    let (first, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
    edge.ask(&of(&first, NOTES)).await.expect_body(200, "%PDF the notes");
    let texts = [
        Answer::ok("an error").field("Content-Type", "text/html"),
        Answer::ok("an error").field("Content-Type", "application/pdf"),
        Answer::ok("an error").field("Content-Type", "text/html").field("ETag", "\"e\""),
        Answer::ok("an error").field("ETag", tag("%PDF the notes")).field("Content-Type", "text/html"),
        Answer::ok("an error").field("Content-Type", "application/pdf").field("ETag", "W/\"e\""),
    ];
    for (n, text) in texts.into_iter().enumerate() {
        moodle.bends(move |_, _| text.clone().field("Cache-Control", "public, max-age=600"));
        edge.ask(&of(&second, NOTES)).await.expect_body(200, "an error");
        moodle.straightens();
        assert_eq!(checks(&edge, "no").await, n as u64 + 1);
        edge.ask(&of(&first, NOTES)).await.expect_body(200, "%PDF the notes");
    }
    assert_eq!(moodle.origin.hits(NOTES), 6, "the first learner's yes stands, and nothing else was stored");
}

#[tokio::test]
async fn nothing_known_her_own_request_is_the_fill_and_its_no_is_stored_for_nobody() {
    let (moodle, edge) = school().await;
    let (student, outsider) = (moodle.signs_in("student"), moodle.signs_in("outsider"));
    edge.ask(&of(&outsider, ENTRY)).await.expect(303);
    assert!(moodle.origin.last(ENTRY).field("if-none-match").is_none());
    edge.ask(&of(&student, ENTRY)).await.expect_body(200, "<html>the first page</html>");
    edge.ask(&of(&outsider, ENTRY)).await.expect(303);
    assert_eq!(moodle.origin.hits(ENTRY), 3);
    edge.ask(&of(&student, "/pluginfile.php/14/mod_scorm/content/1/none.js")).await.expect(404);
    assert_eq!(edge.metric("lectern_fills_in_flight", &[]).await, 0.0);
}

#[tokio::test]
async fn ranges_conditions_and_heads_are_answered_from_what_is_stored_after_the_check() {
    let (moodle, edge) = school_with("keep = \"0s\"", "").await;
    let student = moodle.signs_in("student");
    edge.ask(&of(&student, LECTURE)).await.expect_body(200, film());
    let sent = moodle.origin.sent(LECTURE);
    let reply = edge.ask(&of(&student, LECTURE).field("Range", "bytes=500000-500099")).await;
    reply.expect_body(206, &film()[500_000..500_100]);
    edge.ask(&of(&student, LECTURE).field("If-None-Match", &tag(film()))).await.expect_body(304, "");
    let head = Request { method: "HEAD".to_owned(), ..of(&student, LECTURE) };
    let reply = edge.ask(&head).await.expect_body(200, "");
    assert_eq!(reply.field("content-length"), Some("1000003"));
    edge.ask(&of(&student, LECTURE).field("Range", "bytes=9999999-")).await.expect_body(416, "");
    assert_eq!(moodle.origin.sent(LECTURE), sent);
    assert_eq!(moodle.origin.hits(LECTURE), 5);
    assert!(
        moodle.origin.seen(LECTURE)[1..]
            .iter()
            .all(|seen| seen.method == "GET" && seen.field("range").is_none())
    );
    // Where each URL is its own question it is the same.
    for _ in 0..3 {
        edge.ask(&of(&student, POST)).await.expect_body(200, "a photo of the post");
    }
    assert_eq!(moodle.origin.hits(POST), 3);
}
