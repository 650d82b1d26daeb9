//! Whose credentials a fill, its rest and its missing chunks are asked by.

use futures_util::future::join_all;

use crate::{
    asked::{checks, film, of, school, school_with},
    support::{
        answer::Answer,
        deadline::eventually,
        edge::Edge,
        film::Film,
        gate::Gate,
        message::Request,
        moodle::{ENTRY, LECTURE, Moodle, SCRIPT},
        origin::Seen,
    },
};

/// So many enrolled learners, signed in.
fn class(moodle: &Moodle, n: usize) -> Vec<String> {
    let enrolled = |n| {
        let user = format!("learner{n}");
        moodle.enrols(&user, 2);
        moodle.signs_in(&user)
    };
    (0..n).map(enrolled).collect()
}

/// Holds every answer to a request of `cookie`, or of everybody, before its head.
fn holds(moodle: &Moodle, cookie: Option<&str>) -> Gate {
    let (gate, cookie) = (Gate::new(), cookie.map(str::to_owned));
    let held = gate.clone();
    moodle.bends(move |seen, answer| match &cookie {
        Some(cookie) if seen.field("cookie") != Some(cookie) => answer,
        _ => Answer { before_head: Some(held.clone()), ..answer },
    });
    gate
}

fn bodies(seen: &[Seen], at_least: usize) -> usize {
    seen.iter().filter(|seen| seen.sent >= at_least).count()
}

#[tokio::test]
async fn a_class_that_comes_at_once_is_one_body_and_a_check_each() {
    let (moodle, edge) = school().await;
    let learners = class(&moodle, 20);
    let gate = holds(&moodle, None);
    let edge = &edge;
    let all = join_all(learners.iter().map(|cookie| {
        let request = of(cookie, LECTURE);
        async move { edge.ask(&request).await.expect_body(200, film()) }
    }));
    let opens = async {
        gate.arrived(1).await;
        gate.open();
    };
    futures_util::join!(all, opens);
    let seen = moodle.origin.seen(LECTURE);
    assert_eq!((seen.len(), bodies(&seen, 1)), (20, 1));
    assert_eq!(checks(edge, "yes").await, 19);
    assert!(seen[1..].iter().all(|seen| seen.field("if-none-match").is_some()));
}

#[tokio::test]
async fn who_joins_a_fill_is_asked_about_by_what_its_head_names() {
    let (moodle, edge) = school().await;
    let (student, outsider) = (moodle.signs_in("student"), moodle.signs_in("outsider"));
    let second = class(&moodle, 1).remove(0);
    let gate = Gate::new();
    let held = gate.clone();
    moodle.bends(move |_, answer| {
        if answer.status == 200 && answer.film.is_some() { answer.pause(400_000, &held) } else { answer }
    });
    let mut first = edge.client().await;
    first.send(&of(&student, LECTURE).bytes()).await;
    gate.arrived(1).await;
    // The body is under way and will not end before the gate opens.
    edge.ask(&of(&outsider, LECTURE)).await.expect(303);
    edge.ask(&of("MoodleSession=forged", LECTURE).field("Range", "bytes=0-99")).await.expect(407);
    let mut joined = edge.client().await;
    joined.send(&of(&second, LECTURE).bytes()).await;
    let mut head = joined.head("GET").await;
    joined.at_least(&mut head, 300_000).await;
    assert_eq!(gate.count(), 1, "she reads what the first one's fill brings");
    gate.open();
    joined.rest(&mut head).await;
    head.expect_body(200, film());
    first.reply("GET").await.expect_body(200, film());
    assert_eq!(bodies(&moodle.origin.seen(LECTURE), 900_000), 1);
    assert_eq!((checks(&edge, "yes").await, checks(&edge, "no").await), (1, 2));
}

#[tokio::test]
async fn where_the_first_may_not_the_next_one_brings_it_for_all() {
    let (moodle, edge) = school().await;
    let outsider = moodle.signs_in("outsider");
    let learners = class(&moodle, 5);
    let gate = holds(&moodle, Some(&outsider));
    let mut refused = edge.client().await;
    refused.send(&of(&outsider, LECTURE).bytes()).await;
    gate.arrived(1).await;
    let edge = &edge;
    let all = join_all(learners.iter().map(|cookie| {
        let request = of(cookie, LECTURE);
        async move { edge.ask(&request).await.expect_body(200, film()) }
    }));
    let opens = async {
        // They wait for the head of the first one's fill.
        eventually("requests that wait", async || {
            edge.metric("lectern_connections", &["listener=\"web\""]).await >= 6.0
        })
        .await;
        gate.open();
    };
    futures_util::join!(all, opens);
    refused.reply("GET").await.expect(303);
    let seen = moodle.origin.seen(LECTURE);
    assert_eq!((bodies(&seen, 900_000), seen.len()), (1, 6), "one body; one no; a check for each other");
}

#[tokio::test]
async fn a_kept_yes_that_is_over_costs_its_learner_the_fill_and_nobody_else() {
    let (moodle, edge) = school().await;
    let learners = class(&moodle, 2);
    for cookie in &learners {
        edge.ask(&of(cookie, ENTRY)).await.expect(200);
    }
    moodle.unenrols("learner0", 2);
    let gate = holds(&moodle, Some(&learners[0]));
    let mut refused = edge.client().await;
    refused.send(&of(&learners[0], SCRIPT).bytes()).await;
    gate.arrived(1).await;
    let mut joined = edge.client().await;
    joined.send(&of(&learners[1], SCRIPT).bytes()).await;
    eventually("a request that waits", async || {
        edge.metric("lectern_connections", &["listener=\"web\""]).await >= 2.0
    })
    .await;
    gate.open();
    refused.reply("GET").await.expect(303);
    joined.reply("GET").await.expect_body(200, "function ScormProcess() {}");
    edge.ask(&of(&learners[0], ENTRY)).await.expect(303);
}

#[tokio::test]
async fn what_is_new_to_a_whole_class_is_one_body() {
    let (moodle, edge) = school().await;
    let learners = class(&moodle, 10);
    edge.ask(&of(&moodle.signs_in("student"), LECTURE)).await.expect(200);
    let new = Film::new(9, 700_001);
    moodle.publishes_film(LECTURE, &new);
    let gate = holds(&moodle, None);
    let (edge, new) = (&edge, &new);
    let all = join_all(learners.iter().map(|cookie| {
        let request = of(cookie, LECTURE);
        async move { edge.ask(&request).await.expect_body(200, new.bytes(0, new.length)) }
    }));
    let opens = async {
        gate.arrived(10).await;
        gate.open();
    };
    futures_util::join!(all, opens);
    edge.settled().await;
    edge.ask(&of(&learners[0], LECTURE)).await.expect_body(200, new.bytes(0, new.length));
    assert_eq!(checks(edge, "new").await, 10, "each was answered with the new body; one of them was read");
    assert_eq!(moodle.origin.hits(LECTURE), 11);
}

#[tokio::test]
async fn a_fill_that_is_cut_goes_on_in_the_name_of_who_reads() {
    let (moodle, edge) = school().await;
    let student = moodle.signs_in("student");
    moodle.bends(|seen, answer| match seen.field("range") {
        None if answer.status == 200 => answer.closes_after(600_000),
        _ => answer,
    });
    edge.ask(&of(&student, LECTURE)).await.expect_body(200, film());
    let seen = moodle.origin.seen(LECTURE);
    assert_eq!(seen[1].field("range"), Some("bytes=524288-1000002"));
    assert_eq!(seen[1].field("cookie"), Some(student.as_str()));
    edge.ask(&of(&student, LECTURE)).await.expect_body(200, film());
    assert_eq!(moodle.origin.hits(LECTURE), 2);
}

#[tokio::test]
async fn the_rest_of_a_cut_fill_is_had_by_another_reader_if_the_first_may_no_more() {
    let (moodle, edge) = school().await;
    let learners = class(&moodle, 2);
    let gate = Gate::new();
    let held = gate.clone();
    moodle.bends(move |seen, answer| match seen.field("range") {
        None if answer.status == 200 => answer.pause(600_000, &held).resets_after(600_000),
        _ => answer,
    });
    let (mut first, mut second) = (edge.client().await, edge.client().await);
    first.send(&of(&learners[0], LECTURE).bytes()).await;
    gate.arrived(1).await;
    second.send(&of(&learners[1], LECTURE).bytes()).await;
    let mut reply = second.head("GET").await;
    second.at_least(&mut reply, 500_000).await;
    moodle.unenrols("learner0", 2);
    gate.open();
    second.rest(&mut reply).await;
    reply.expect_body(200, film());
    drop(first.reply("GET").await);
    let ranges: Vec<_> =
        moodle.origin.seen(LECTURE).into_iter().filter(|seen| seen.field("range").is_some()).collect();
    let asked: Vec<_> = ranges.iter().map(|seen| seen.field("cookie").unwrap()).collect();
    assert!(asked.len() <= 2 && asked.last() == Some(&learners[1].as_str()), "{asked:?}");
    // Her yes is over.
    edge.ask(&of(&learners[0], LECTURE)).await.expect(303);
}

#[tokio::test]
async fn nobody_who_may_left_ends_the_rest_of_a_cut_fill() {
    let (moodle, edge) = school().await;
    let learner = class(&moodle, 1).remove(0);
    let gate = Gate::new();
    let held = gate.clone();
    moodle.bends(move |seen, answer| match seen.field("range") {
        None if answer.status == 200 => answer.pause(600_000, &held).resets_after(600_000),
        _ => answer,
    });
    let mut client = edge.client().await;
    client.send(&of(&learner, LECTURE).bytes()).await;
    gate.arrived(1).await;
    moodle.unenrols("learner0", 2);
    gate.open();
    let reply = client.reply("GET").await;
    assert!(!reply.clean() && reply.body.len() <= 600_000, "{reply}");
    edge.ask(&of(&learner, LECTURE)).await.expect(303);
    // What came of it is had for who may, and the rest in her name.
    moodle.straightens();
    moodle.enrols("learner0", 2);
    edge.ask(&of(&learner, LECTURE)).await.expect_body(200, film());
}

#[tokio::test]
async fn what_is_stale_is_refreshed_in_the_name_of_who_was_served_it() {
    let (moodle, edge) = school().await;
    let learners = class(&moodle, 2);
    let stale = "private, max-age=60, stale-while-revalidate=3600";
    moodle.bends(move |_, answer| match answer.status {
        200 | 304 => answer.instead("Cache-Control", stale).field("Age", "100"),
        _ => answer,
    });
    edge.ask(&of(&learners[0], ENTRY)).await.expect(200);
    edge.ask(&of(&learners[0], ENTRY)).await.expect(200);
    moodle.origin.reached(ENTRY, 2).await;
    edge.settled().await;
    let refresh = moodle.origin.last(ENTRY);
    assert_eq!(refresh.field("cookie"), Some(learners[0].as_str()));
    assert!(refresh.field("if-none-match").is_some());
    // The refresh finds out that she may no more. What is stored stays for who may.
    moodle.unenrols("learner0", 2);
    edge.ask(&of(&learners[0], ENTRY)).await.expect_body(200, "<html>the first page</html>");
    moodle.origin.reached(ENTRY, 3).await;
    edge.settled().await;
    edge.ask(&of(&learners[0], ENTRY)).await.expect(303);
    edge.ask(&of(&learners[1], ENTRY)).await.expect_body(200, "<html>the first page</html>");
    assert_eq!(moodle.origin.seen(ENTRY).iter().filter(|seen| seen.sent == 27).count(), 1, "one body");
    edge.outcomes("stale", 2).await;
}

#[tokio::test]
async fn a_check_endpoint_lets_in_to_what_names_no_content() {
    let (moodle, _) = school_with("", "").await;
    let path = "/files/7/page.bin";
    let body = Answer::ok("bytes of course 7").field("Content-Type", "application/octet-stream");
    let body = body.field("Cache-Control", "private, max-age=600");
    moodle.origin.on_call(path, move |seen, _| match seen.field("cookie") {
        Some(cookie) if cookie.contains("good") => body.clone(),
        _ => Answer::new(403, "no"),
    });
    moodle.origin.on_call("/may", |seen, _| match seen.field("cookie") {
        Some(cookie) if cookie.contains("good") => Answer::new(204, ""),
        Some(cookie) if cookie.contains("down") => Answer::new(503, ""),
        _ => Answer::new(401, ""),
    });
    let rule = "[[site.rule]]\nname = \"c\"\npath = \"/files/{course}/**\"\nverdict = \"cache\"\nlift_private = true\naccess = \"asked\"\n\
        [site.rule.asked]\ncookies = \"S\"\ncontent = \"{course}\"\ncheck = \"/may?course={course}\"\n";
    let edge = Edge::before(&moodle.origin, rule).await;
    let of = |who: &str| Request::get(path).field("Cookie", &format!("S={who}; lang=de"));
    for who in ["good-1", "good-2", "good-1", "good-2"] {
        edge.ask(&of(who)).await.expect_body(200, "bytes of course 7");
    }
    assert_eq!((moodle.origin.hits(path), moodle.origin.hits("/may?course=7")), (1, 2));
    let asked = moodle.origin.last("/may?course=7");
    assert_eq!((asked.field("x-original-uri"), asked.field("cookie")), (Some(path), Some("S=good-2")));
    for who in ["bad", "down"] {
        edge.ask(&of(who)).await.expect_body(403, "no");
    }
    assert_eq!(moodle.origin.hits(path), 3, "a no is the LMS's own answer to her request");
}
