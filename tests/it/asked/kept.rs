//! How long a yes holds, for whom, and that it is forgotten at once.

use crate::{
    asked::{checks, film, of, school, school_with},
    support::{
        answer::Answer,
        edge::Edge,
        film::Film,
        gate::Gate,
        message::End,
        moodle::{ENTRY, LECTURE, Moodle, NOTES, SCRIPT},
    },
};

async fn forget(edge: &Edge, rest: &str) {
    edge.control("POST", "/v1/access/forget", &format!("{{\"site\":\"lms\"{rest}}}")).await.expect(200);
}

/// Both files stored, and a second learner who is let in to both contents.
async fn let_in(moodle: &Moodle, edge: &Edge) -> String {
    moodle.enrols("second", 2);
    let (first, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
    for target in [ENTRY, SCRIPT, LECTURE] {
        edge.ask(&of(&first, target)).await.expect(200);
    }
    for target in [ENTRY, LECTURE] {
        edge.ask(&of(&second, target)).await.expect(200);
    }
    second
}

#[tokio::test]
async fn a_yes_holds_for_the_content_and_not_for_another() {
    let (moodle, edge) = school().await;
    let second = let_in(&moodle, &edge).await;
    assert_eq!(checks(&edge, "yes").await, 2, "one for the package, one for the film");
    for target in [ENTRY, SCRIPT, LECTURE, SCRIPT] {
        edge.ask(&of(&second, target)).await.expect(200);
    }
    assert_eq!(checks(&edge, "yes").await, 2);
    let other = moodle.signs_in("second");
    edge.ask(&of(&other, SCRIPT)).await.expect(200);
    assert_eq!(checks(&edge, "yes").await, 3, "another session is asked about for itself");
}

#[tokio::test]
async fn many_requests_of_a_learner_are_one_check() {
    let (moodle, edge) = school().await;
    let gate = Gate::new();
    moodle.enrols("second", 2);
    let (first, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
    for target in [ENTRY, SCRIPT] {
        edge.ask(&of(&first, target)).await.expect(200);
    }
    let held = gate.clone();
    moodle.bends(move |_, answer| Answer { before_head: Some(held.clone()), ..answer });
    let edge = &edge;
    let page = |target| {
        let request = of(&second, target);
        async move { edge.ask(&request).await.expect(200) }
    };
    let all = futures_util::future::join_all([ENTRY, SCRIPT, ENTRY, SCRIPT, ENTRY, SCRIPT].map(page));
    let opens = async {
        gate.arrived(1).await;
        gate.open();
    };
    futures_util::join!(all, opens);
    assert_eq!((checks(edge, "yes").await, gate.count()), (1, 1));
}

#[tokio::test]
async fn a_no_ends_what_was_kept() {
    let (moodle, edge) = school().await;
    let second = let_in(&moodle, &edge).await;
    moodle.unenrols("second", 2);
    edge.ask(&of(&second, SCRIPT)).await.expect(200);
    // What nothing is stored of is her own question.
    edge.ask(&of(&second, &SCRIPT.replace("scormfunctions", "other"))).await.expect(303);
    edge.ask(&of(&second, SCRIPT)).await.expect(303);
    edge.ask(&of(&second, ENTRY)).await.expect(303);
    edge.ask(&of(&second, LECTURE)).await.expect_body(200, film());
}

#[tokio::test]
async fn with_a_keep_of_nothing_each_request_is_asked_about() {
    let (moodle, edge) = school_with("keep = \"0s\"", "").await;
    let second = let_in(&moodle, &edge).await;
    moodle.unenrols("second", 2);
    edge.ask(&of(&second, ENTRY)).await.expect(303);
    edge.ask(&of(&second, LECTURE)).await.expect(303);
    moodle.enrols("second", 2);
    edge.ask(&of(&second, ENTRY)).await.expect(200);
}

#[tokio::test]
async fn a_yes_is_over_after_its_time() {
    let (moodle, edge) = school_with("keep = \"200ms\"", "").await;
    let second = let_in(&moodle, &edge).await;
    moodle.unenrols("second", 2);
    crate::support::deadline::eventually("end of a yes", async || {
        edge.ask(&of(&second, ENTRY)).await.status == 303
    })
    .await;
}

#[tokio::test]
async fn what_is_forgotten_is_asked_again_at_once() {
    let (moodle, edge) = school().await;
    let second = let_in(&moodle, &edge).await;
    edge.ask(&of(&second, ENTRY)).await.expect(200);
    let log = edge.log(6).await;
    let kept = log.iter().find(|line| line["access"] == "kept" && line["outcome"] == "hit");
    let learner = kept.unwrap_or_else(|| panic!("{log:#?}"))["learner"].as_str().unwrap().to_owned();
    moodle.unenrols("second", 2);
    for (rest, package, film) in [
        (r#","content":"99""#.to_owned(), 200, 200),
        (format!(",\"learner\":\"{}\"", "0".repeat(32)), 200, 200),
        (r#","content":"14""#.to_owned(), 303, 200),
        (format!(",\"learner\":\"{learner}\",\"content\":\"16\""), 303, 303),
    ] {
        forget(&edge, &rest).await;
        edge.ask(&of(&second, ENTRY)).await.expect(package);
        edge.ask(&of(&second, LECTURE)).await.expect(film);
    }
    moodle.enrols("second", 2);
    edge.ask(&of(&second, LECTURE)).await.expect(200);
    moodle.unenrols("second", 2);
    edge.ask(&of(&second, LECTURE)).await.expect(200);
    let told = edge.command(&["forget", "--site", "lms"]);
    assert_eq!((told.status.code(), told.stdout.as_slice()), (Some(0), &b"applied\n"[..]));
    edge.ask(&of(&second, LECTURE)).await.expect(303);
}

#[tokio::test]
async fn what_cannot_be_forgotten_is_told() {
    let (_moodle, edge) = school().await;
    for (body, status) in [
        (r#"{"site":"other"}"#, 404),
        (r#"{"site":"lms","learner":"x"}"#, 422),
        (r#"{"site":"lms","user":"x"}"#, 422),
        ("{}", 422),
        ("site", 400),
    ] {
        let reply = edge.control("POST", "/v1/access/forget", body).await.expect(status);
        assert_eq!(reply.field("content-type"), Some("application/problem+json"), "{body}");
    }
}

#[tokio::test]
async fn a_check_that_was_under_way_when_it_was_forgotten_is_kept_for_nobody() {
    let (moodle, edge) = school().await;
    let gate = Gate::new();
    moodle.enrols("second", 2);
    let (first, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
    edge.ask(&of(&first, ENTRY)).await.expect(200);
    let held = gate.clone();
    moodle.bends(move |_, answer| Answer { before_head: Some(held.clone()), ..answer });
    let mut client = edge.client().await;
    client.send(&of(&second, ENTRY).bytes()).await;
    gate.arrived(1).await;
    moodle.unenrols("second", 2);
    forget(&edge, "").await;
    gate.open();
    drop(client.reply("GET").await);
    edge.ask(&of(&second, ENTRY)).await.expect(303);
}

#[tokio::test]
async fn who_is_forgotten_reads_no_further() {
    let long = Film::new(7, 24 << 20);
    let (moodle, edge) = school().await;
    moodle.publishes_film(LECTURE, &long);
    let student = moodle.signs_in("student");
    edge.ask(&of(&student, LECTURE)).await.expect_body(200, long.bytes(0, long.length));
    let mut client = edge.client().await;
    client.send(&of(&student, LECTURE).bytes()).await;
    let mut reply = client.head("GET").await;
    forget(&edge, "").await;
    client.rest(&mut reply).await;
    assert!(matches!(reply.end, End::Unclean(_)) && (reply.body.len() as u64) < long.length, "{reply}");
    edge.ask(&of(&student, LECTURE)).await.expect_body(200, long.bytes(0, long.length));
}

#[tokio::test]
async fn who_is_forgotten_while_a_new_process_takes_over_reads_no_further_in_an_old_one() {
    let long = Film::new(7, 24 << 20);
    let (moodle, mut oldest) = school_with("", "[node]\nthreads = 2\nupgrade_deadline = \"5m\"\n").await;
    moodle.publishes_film(LECTURE, &long);
    let (student, outsider) = (moodle.signs_in("student"), moodle.signs_in("outsider"));
    oldest.ask(&of(&student, LECTURE)).await.expect_body(200, long.bytes(0, long.length));
    let begin = async |edge: &Edge| {
        let mut client = edge.client().await;
        client.send(&of(&student, LECTURE).bytes()).await;
        let reply = client.head("GET").await;
        (client, reply)
    };
    let (mut first, mut first_reply) = begin(&oldest).await;
    let mut older = oldest.upgrade().await;
    older.ask(&of(&student, LECTURE)).await.expect(200);
    let (mut second, mut second_reply) = begin(&older).await;
    let edge = older.upgrade().await;
    forget(&edge, r#","content":"99""#).await;
    forget(&edge, "").await;
    for (client, reply) in [(&mut first, &mut first_reply), (&mut second, &mut second_reply)] {
        client.rest(reply).await;
        assert!(matches!(reply.end, End::Unclean(_)) && (reply.body.len() as u64) < long.length, "{reply}");
    }
    // Both had nothing else under way.
    assert_eq!((oldest.ended().await.code(), older.ended().await.code()), (Some(0), Some(0)));
    forget(&edge, "").await;
    edge.ask(&of(&outsider, LECTURE)).await.expect(303);
    edge.ask(&of(&student, LECTURE)).await.expect_body(200, long.bytes(0, long.length));
}

#[tokio::test]
async fn an_lms_that_cannot_be_asked_lets_in_nobody_or_by_the_last_yes() {
    for (asked, status) in [("keep = \"0s\"", 502), ("keep = \"0s\"\nunreachable = \"1h\"", 200)] {
        let (moodle, edge) = school_with(asked, "").await;
        let second = let_in(&moodle, &edge).await;
        let outsider = moodle.signs_in("outsider");
        edge.ask(&of(&outsider, ENTRY)).await.expect(303);
        moodle.origin.down().await;
        edge.ask(&of(&second, ENTRY)).await.expect(status);
        edge.ask(&of(&second, LECTURE)).await.expect(status);
        edge.ask(&of(&outsider, ENTRY)).await.expect(502);
        edge.ask(&of(&second, NOTES)).await.expect(502);
        forget(&edge, "").await;
        edge.ask(&of(&second, ENTRY)).await.expect(502);
        moodle.origin.up();
        edge.ask(&of(&second, ENTRY)).await.expect(200);
        moodle.bends(|_, _| Answer::new(503, "busy"));
        edge.ask(&of(&second, ENTRY)).await.expect(if status == 200 { 200 } else { 503 });
        edge.ask(&of(&outsider, ENTRY)).await.expect_body(503, "busy");
        moodle.straightens();
        moodle.unenrols("second", 2);
        edge.ask(&of(&second, ENTRY)).await.expect(303);
        moodle.origin.down().await;
        edge.ask(&of(&second, ENTRY)).await.expect(502);
    }
}

#[tokio::test]
async fn an_lms_that_is_slow_is_waited_for_as_long_as_the_rule_says() {
    let (moodle, edge) = school_with("keep = \"0s\"\nunreachable = \"1h\"\ntimeout = \"150ms\"", "").await;
    let second = let_in(&moodle, &edge).await;
    let third = moodle.signs_in("student");
    let gate = Gate::new();
    let held = gate.clone();
    moodle.bends(move |_, answer| Answer { before_head: Some(held.clone()), ..answer });
    edge.ask(&of(&second, ENTRY)).await.expect(200);
    edge.ask(&of(&third, ENTRY)).await.expect(504);
    assert_eq!(checks(&edge, "failed").await, 2);
    assert_eq!(edge.metric("lectern_access_last_yes_total", &[]).await, 1.0);
    gate.open();
}
