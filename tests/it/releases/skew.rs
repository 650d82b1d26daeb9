//! The skew guard: fronts that disagree, in each of the three ways in which an answer may be proven.

use serde_json::json;

use super::course::{Course, activate, body, plain, sha256, stage, step, warm, warm_at_once};
use crate::support::{
    answer::Answer,
    edge::Edge,
    message::{End, Request},
};

const FILES: usize = 12;

fn target(number: usize) -> String {
    format!("/m/physics/2/f{number}.js")
}

/// A front says its version.
fn saying(answer: Answer, version: usize) -> Answer {
    answer.field("ETag", format!("\"front-{version}\"")).field("X-Version", version)
}

#[tokio::test]
async fn of_two_fronts_that_disagree_the_one_with_the_release_is_asked_in_the_end() {
    for (shape, rule) in [
        (plain as fn(Answer, usize) -> Answer, "version = { path = \"v\" }"),
        (saying, "version = { path = \"v\", field = \"X-Version\" }"),
    ] {
        let course = Course::start(1, shape).await;
        let edge = Edge::with(&course.config(rule)).await;
        course.update(1, 2);
        stage(&edge, "2", &course.list(FILES, 2)).await;
        // One after the other: the fronts take turns, so that the second try is the other one's.
        let warmed = warm_at_once(&edge, "2", 1).await;
        assert_eq!(warmed["warmed"], FILES, "{warmed}");
        activate(&edge, "2").await;
        for number in 0..FILES {
            let reply = edge.get(&target(number)).await.expect(200);
            assert_eq!(course.version_of(number, &reply), 2);
            assert_eq!(reply.field("cache-control"), Some(super::course::IMMUTABLE));
        }
        let front = format!("front=\"{}\"", course.fronts[0].addr());
        let mismatches = edge.metric("lectern_release_mismatches_total", &[&front]).await;
        assert!(mismatches > 0.0 && mismatches == course.fronts[0].requests().len() as f64, "{mismatches}");
        let other = format!("front=\"{}\"", course.fronts[1].addr());
        assert_eq!(edge.metric("lectern_release_mismatches_total", &[&other]).await, 0.0);
        edge.says("a front sends files of another release").await;
    }
}

#[tokio::test]
async fn what_no_front_has_is_an_error_and_never_another_release() {
    let course = Course::start(1, plain).await;
    let edge = course.edge().await;
    stage(&edge, "2", &course.list(2, 2)).await;
    let warmed = warm(&edge, "2").await;
    assert_eq!(warmed["failed"], 2, "{warmed}");
    step(&edge, "activate", json!({"release": "2", "cold": true})).await;
    for _ in 0..2 {
        let reply = edge.get(&target(0)).await;
        assert_eq!((reply.status, reply.text().contains("other-release")), (503, true));
        assert_eq!(reply.field("cache-control"), Some("no-store"));
    }
    let range = Request::get(&target(0)).field("Range", "bytes=1-3");
    assert_eq!(edge.ask(&range).await.status, 503);
    let own = Request::get(&target(0)).field("Cache-Control", "no-store");
    assert_eq!(edge.ask(&own).await.status, 503, "what is not stored is proven all the same");
    let head = Request::new("HEAD", &target(0));
    assert_eq!(edge.ask(&head).await.status, 503);
    (0..2).for_each(|front| course.update(front, 2));
    let reply = edge.get(&target(0)).await.expect(200);
    assert_eq!(course.version_of(0, &reply), 2);
}

#[tokio::test]
async fn an_error_of_the_origin_goes_through_and_is_not_stored() {
    let course = Course::start(1, plain).await;
    let edge = course.edge().await;
    let gone = Answer::new(404, "gone").field("Cache-Control", "public, max-age=600");
    let gone = gone.field("Content-Type", "text/javascript");
    course.fronts.iter().for_each(|front| front.on("/m/physics/2/f0.js", gone.clone()));
    stage(&edge, "2", &course.list(1, 2)).await;
    step(&edge, "activate", json!({"release": "2", "cold": true})).await;
    for _ in 0..2 {
        edge.get(&target(0)).await.expect_body(404, "gone");
    }
    let before = course.requests();
    edge.get(&target(0)).await.expect(404);
    assert!(course.requests() > before, "the file may come");
}

#[tokio::test]
async fn a_long_file_is_shown_to_nobody_for_keeps_and_ends_uncleanly_if_it_is_another() {
    let course = Course::start(1, plain).await;
    let edge = course.edge().await;
    let film = |byte: u8| vec![byte; 9 << 20];
    let list = format!("{}  film.mp4\n", sha256(&film(2)));
    let sends = |byte: u8| {
        let answer = Answer::ok(film(byte))
            .field("Content-Type", "video/mp4")
            .field("Cache-Control", "public, max-age=600, immutable");
        course
            .fronts
            .iter()
            .for_each(|front| front.on("/m/physics/2/film.mp4", answer.clone().field("ETag", "\"f\"")));
    };
    stage(&edge, "2", &list).await;
    step(&edge, "activate", json!({"release": "2", "cold": true})).await;
    sends(1);
    for _ in 0..2 {
        let reply = edge.get("/m/physics/2/film.mp4").await;
        assert_eq!((reply.status, reply.field("cache-control")), (200, Some("no-store")));
        assert!(matches!(reply.end, End::Unclean(_)), "{:?}", reply.end);
    }
    edge.settled().await;
    assert!(edge.metric("lectern_release_mismatches_total", &[]).await >= 2.0);
    sends(2);
    let reply = edge.get("/m/physics/2/film.mp4").await;
    assert_eq!((reply.status, reply.clean(), reply.field("cache-control")), (200, true, Some("no-store")));
    edge.settled().await;
    let before = course.requests();
    let reply = edge.get("/m/physics/2/film.mp4").await.expect(200);
    assert_eq!(reply.field("cache-control"), Some("public, max-age=600, immutable"), "it is proven by now");
    assert!(reply.clean() && reply.body == film(2));
    assert_eq!(course.requests(), before);
}

#[tokio::test]
async fn a_coded_answer_proves_nothing_and_a_file_is_asked_for_as_it_is() {
    let course = Course::start(1, plain).await;
    let edge = course.edge().await;
    stage(&edge, "1", &course.list(1, 1)).await;
    warm(&edge, "1").await;
    let asked = course.fronts.iter().flat_map(|front| front.requests()).next().unwrap();
    assert_eq!(asked.field("accept-encoding"), Some("identity"));
    let coded = Answer::ok(body("f0.js", 2, 1)).field("Content-Encoding", "gzip").field("ETag", "\"z\"");
    course.fronts.iter().for_each(|front| front.on("/m/physics/2/f0.js", coded.clone()));
    activate(&edge, "1").await;
    stage(&edge, "2", &course.list(1, 2)).await;
    assert_eq!(warm(&edge, "2").await["failed"], 1);
}
