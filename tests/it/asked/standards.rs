//! What makes outdated, freshens or stands in for what is stored says nothing of who may have it.

use serde_json::{Value, json};

use crate::{
    asked::{film, of, rules, school},
    support::{
        answer::Answer,
        edge::Edge,
        gate::Gate,
        message::{Reply, Request},
        moodle::{ENTRY, LECTURE, Moodle, SCRIPT, tag},
    },
};

const TEXT: &str = "function ScormProcess() {}";

fn head(request: Request) -> Request {
    Request { method: "HEAD".to_owned(), ..request }
}

/// Conditions by which it was asked for, of those requests that had any.
fn conditions(moodle: &Moodle, target: &str) -> Vec<String> {
    let seen = moodle.origin.seen(target);
    seen.iter().filter_map(|seen| seen.field("if-none-match").map(str::to_owned)).collect()
}

/// What is told of the cache, and of the answer, to who has no yes.
fn told(reply: &Reply) -> (u16, Option<String>, Vec<u8>) {
    (reply.status, reply.field("cache-status").map(str::to_owned), reply.body.clone())
}

#[tokio::test]
async fn who_has_no_yes_is_told_the_same_whether_it_is_stored_or_not() {
    let (moodle, edge) = school().await;
    let (student, outsider) = (moodle.signs_in("student"), moodle.signs_in("outsider"));
    let tag = tag(TEXT);
    let asked = |cookie: &str| {
        let plain = || of(cookie, SCRIPT);
        [
            plain(),
            plain().field("If-None-Match", &tag),
            plain().field("If-Match", "\"x\""),
            plain().field("Cache-Control", "no-cache"),
            plain().field("Cache-Control", "only-if-cached"),
            head(plain()),
        ]
    };
    for cookie in [outsider.as_str(), "MoodleSession=made-up", "a=b"] {
        edge.purge_site("lms").await;
        let mut cold = Vec::new();
        for request in asked(cookie) {
            cold.push(told(&edge.ask(&request).await));
        }
        edge.ask(&of(&student, SCRIPT)).await.expect_body(200, TEXT);
        edge.settled().await;
        for (request, cold) in asked(cookie).iter().zip(cold) {
            assert_eq!(
                told(&edge.ask(request).await),
                cold,
                "{cookie} {}",
                String::from_utf8_lossy(&request.bytes())
            );
        }
    }
}

#[tokio::test]
async fn a_head_teaches_nothing_of_what_the_lms_decides() {
    let (moodle, edge) = school().await;
    let student = moodle.signs_in("student");
    let stored = edge.ask(&of(&student, SCRIPT)).await.expect_body(200, TEXT);
    // An LMS that shows strangers another file of the name, and says so in full.
    for (name, value) in [("Etag", "\"0000\""), ("Etag", tag(TEXT).as_str())] {
        let value = value.to_owned();
        moodle.bends(move |seen, answer| match (seen.method.as_str(), seen.field("cookie")) {
            ("HEAD", None) => {
                Answer::ok("another").field(name, &value).field("Cache-Control", "public, max-age=9")
            }
            _ => answer,
        });
        edge.ask(&head(Request::get(SCRIPT))).await.expect(200);
        let reply = edge.ask(&of(&student, SCRIPT)).await.expect_body(200, TEXT);
        assert_eq!(reply.field("cache-control"), stored.field("cache-control"));
        moodle.straightens();
    }
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn who_only_writes_makes_it_outdated_and_gets_nothing() {
    let (moodle, edge) = school().await;
    let (student, outsider) = (moodle.signs_in("student"), moodle.signs_in("outsider"));
    moodle.bends(|seen, answer| if seen.method == "POST" { Answer::new(204, "") } else { answer });
    for writer in [Some(&outsider), None] {
        edge.ask(&of(&student, SCRIPT)).await.expect_body(200, TEXT);
        edge.settled().await;
        let post = match writer {
            Some(cookie) => of(cookie, SCRIPT),
            None => Request::get(SCRIPT),
        };
        let post = Request { method: "POST".to_owned(), ..post }.body("x");
        edge.ask(&post).await.expect_body(204, "");
        // Her yes is kept; what was stored is not, and lends its validator to no check.
        edge.ask(&of(&student, SCRIPT)).await.expect_body(200, TEXT);
        edge.purge_site("lms").await;
    }
    assert!(conditions(&moodle, SCRIPT).is_empty());
}

/// What the LMS decided before somebody wrote is told after: neither a 304 nor a 200 stores what was before.
#[tokio::test]
async fn a_check_that_a_write_overtakes_stores_nothing() {
    for (what, changed) in [("304", false), ("200", true)] {
        let (moodle, edge) = school().await;
        moodle.enrols("second", 2);
        let (student, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
        edge.ask(&of(&student, SCRIPT)).await.expect_body(200, TEXT);
        edge.settled().await;
        let gate = Gate::new();
        let held = gate.clone();
        let before = if changed { "between" } else { TEXT };
        moodle.publishes(SCRIPT, "application/x-javascript", before);
        moodle.bends(move |seen, answer| match seen.method.as_str() {
            "POST" => Answer::new(204, ""),
            _ if seen.field("if-none-match").is_some() => answer.behind(&held),
            _ => answer,
        });
        let check = async { edge.ask(&of(&second, SCRIPT)).await };
        let write = async {
            gate.arrived(1).await;
            let post = Request { method: "POST".to_owned(), ..of(&student, SCRIPT) }.body("x");
            edge.ask(&post).await.expect(204);
            moodle.publishes(SCRIPT, "application/x-javascript", "after");
            gate.open();
        };
        let (overtaken, ()) = futures_util::join!(check, write);
        assert!(overtaken.body == before.as_bytes() || overtaken.body == b"after", "{what}: {overtaken}");
        edge.settled().await;
        for cookie in [&student, &second] {
            edge.ask(&of(cookie, SCRIPT)).await.expect_body(200, "after");
        }
    }
}

#[tokio::test]
async fn a_group_that_is_outdated_lends_no_validator_and_no_overtaken_check_brings_it_back() {
    let (moodle, edge) = school().await;
    let student = moodle.signs_in("student");
    moodle.bends(|seen, answer| match seen.method.as_str() {
        "POST" => Answer::new(204, "").field("Cache-Group-Invalidation", "\"course-2\""),
        _ => answer.field("Cache-Groups", "\"course-2\""),
    });
    edge.ask(&of(&student, SCRIPT)).await.expect_body(200, TEXT);
    edge.settled().await;
    // Written where everybody may be answered: a group is of the host, whoever may see what is in it.
    edge.ask(&Request::new("POST", "/mod/scorm/edit.php").body("x")).await.expect(204);
    edge.ask(&of(&student, SCRIPT)).await.expect_body(200, TEXT);
    assert!(conditions(&moodle, SCRIPT).is_empty());
    edge.settled().await;
    moodle.enrols("second", 2);
    let second = moodle.signs_in("second");
    let gate = Gate::new();
    let held = gate.clone();
    moodle.bends(move |seen, answer| match seen.field("if-none-match") {
        Some(_) => answer.behind(&held),
        None => answer,
    });
    let check = async { edge.ask(&of(&second, SCRIPT)).await };
    let write = async {
        gate.arrived(1).await;
        edge.ask(&Request::new("POST", "/mod/scorm/edit.php").body("x")).await.expect(204);
        moodle.publishes(SCRIPT, "application/x-javascript", "after");
        gate.open();
    };
    futures_util::join!(check, write);
    for cookie in [&student, &second] {
        edge.ask(&of(cookie, SCRIPT)).await.expect_body(200, "after");
    }
}

/// Purges that cover [`SCRIPT`], which has the tag `t` and the module `14`.
fn covering() -> [Value; 6] {
    let url = format!("http://lms.example{SCRIPT}");
    [
        json!({"kind": "url", "url": url}),
        json!({"kind": "prefix", "url": "http://lms.example/pluginfile.php"}),
        json!({"kind": "tag", "tag": "t", "site": "lms"}),
        json!({"kind": "module", "module": "14", "site": "lms"}),
        json!({"kind": "all"}),
        json!({"kind": "tag", "tag": "t", "site": "lms", "soft": true}),
    ]
}

#[tokio::test]
async fn a_purge_of_any_kind_lends_no_validator_and_no_overtaken_check_brings_anything_back() {
    for what in covering() {
        let moodle = Moodle::start().await;
        let modules = rules("").replace("access = \"asked\"", "access = \"asked\"\nmodule = \"{context}\"");
        let edge = Edge::before(&moodle.origin, &modules).await;
        moodle.enrols("second", 2);
        let (student, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
        moodle.bends(|_, answer| answer.field("Surrogate-Key", "t"));
        let purge = async || edge.control("POST", "/v1/purges", &what.to_string()).await.expect(200);
        edge.ask(&of(&student, SCRIPT)).await.expect_body(200, TEXT);
        edge.settled().await;
        purge().await;
        edge.ask(&of(&student, SCRIPT)).await.expect_body(200, TEXT);
        assert!(conditions(&moodle, SCRIPT).is_empty(), "{what}");
        edge.settled().await;
        let gate = Gate::new();
        let held = gate.clone();
        moodle.bends(move |seen, answer| match seen.field("if-none-match") {
            Some(_) => answer.field("Surrogate-Key", "t").behind(&held),
            None => answer.field("Surrogate-Key", "t"),
        });
        let check = async { edge.ask(&of(&second, SCRIPT)).await };
        let overtakes = async {
            gate.arrived(1).await;
            purge().await;
            moodle.publishes(SCRIPT, "application/x-javascript", "after");
            gate.open();
        };
        futures_util::join!(check, overtakes);
        for cookie in [&student, &second] {
            edge.ask(&of(cookie, SCRIPT)).await.expect_body(200, "after");
        }
    }
}

#[tokio::test]
async fn what_a_client_asks_of_caches_opens_nothing() {
    let moodle = Moodle::start().await;
    let heeds = rules("").replace("lift_private = true", "lift_private = true\nrequest_directives = true");
    let edge = Edge::before(&moodle.origin, &heeds).await;
    moodle.bends(|_, answer| match answer.status {
        200 | 304 => answer.instead("Cache-Control", "private, max-age=60").field("Age", "100"),
        _ => answer,
    });
    let (student, outsider) = (moodle.signs_in("student"), moodle.signs_in("outsider"));
    edge.ask(&of(&student, LECTURE)).await.expect_body(200, film());
    edge.settled().await;
    for wish in ["max-stale", "only-if-cached", "max-stale, only-if-cached", "no-cache", "max-age=0"] {
        for cookie in [outsider.as_str(), "a=b"] {
            let reply = edge.ask(&of(cookie, LECTURE).field("Cache-Control", wish)).await;
            assert!(
                matches!(reply.status, 303 | 504) && reply.body.iter().all(u8::is_ascii),
                "{wish}: {reply}"
            );
        }
    }
    let hits = moodle.origin.hits(LECTURE);
    edge.ask(&of(&student, LECTURE).field("Cache-Control", "max-stale")).await.expect_body(200, film());
    assert_eq!(moodle.origin.hits(LECTURE), hits, "who has a yes is answered as she wishes");
}

#[tokio::test]
async fn fields_that_are_for_one_learner_reach_no_other() {
    let (moodle, edge) = school().await;
    moodle.enrols("second", 2);
    let (student, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
    moodle.bends(|seen, answer| {
        let name = seen.field("cookie").unwrap_or("nobody").to_owned();
        answer.instead("Cache-Control", "private=\"x-learner\", max-age=600").field("X-Learner", name)
    });
    for (cookie, other) in [(&student, &second), (&second, &student)] {
        // The package's second file is had by the yes to the first: from what is stored, with no word of the LMS.
        for target in [ENTRY, SCRIPT] {
            let reply = edge.ask(&of(cookie, target)).await.expect(200);
            let shown = reply.field("x-learner").unwrap_or_default();
            assert!(!shown.contains(other.as_str()), "{target}: {reply}");
        }
    }
    edge.outcomes("hit", 1).await;
}
