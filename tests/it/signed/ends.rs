//! What showed permission ends at the edge, and what was stored under a check is found by nobody without it.

use super::{FILM, Keys, SECRET, Shows, film, packages, refused, reload, tenants};
use crate::support::{
    answer::Answer,
    edge::Edge,
    message::Request,
    origin::{Origin, Seen},
};

fn private(body: &str) -> Answer {
    Answer::ok(body)
        .field("Content-Type", "video/mp4")
        .field("Cache-Control", "private, max-age=600")
        .field("ETag", "\"v1\"")
}

#[tokio::test]
async fn key_origin_and_log_do_not_see_what_was_shown() {
    let keys = Keys::new(&[("new", SECRET)]);
    let origin = Origin::start().await;
    origin.on_call("/content/*", |seen: &Seen, _| private(&seen.target));
    origin.on_call("/pass/*", |seen: &Seen, _| Answer::ok(&seen.target));
    let passed = format!(
        "[[rule_set.rule]]\nname = \"passed\"\nprefix = \"/pass/\"\nverdict = \"pass\"\n{}",
        keys.asks(false)
    );
    let kept =
        packages(&format!("lift_private = true\nkeep_query = {{ only = [\"v\"] }}\n{}", keys.asks(false)));
    let edge = Edge::with(&tenants(&origin, &format!("{kept}{passed}"), "")).await;
    let good = Shows::good(false);
    let (one, two) = (good.token(), Shows { seconds: 7200, ..good }.token());
    let cookies = format!("a=1; sig={one}; b=2");
    let ask = |target: &str, cookie: bool| {
        let request = Request::get(target);
        if cookie { request.field("Cookie", &cookies) } else { request }
    };
    let target = format!("{FILM}?v=1");
    for (asked, cookie) in [
        (format!("{FILM}?v=1&sig={one}"), false),
        (format!("{FILM}?sig={two}&v=1&utm=x"), false),
        (format!("{FILM}?utm=y&v=1"), true),
        (format!("{FILM}?v=1&s%69g={two}"), true),
    ] {
        edge.ask(&ask(&asked, cookie)).await.expect_body(200, &target);
    }
    assert_eq!(origin.hits(&target), 1, "all of them are the same request");
    assert_eq!(origin.requests().len(), 1);
    edge.outcomes("hit", 3).await;

    // Relayed: the learner's other cookies go on, what let her in does not.
    let pass = Shows { prefix: "/pass/", ..good };
    let cookies = format!("a=1; sig={}; b=2", pass.token());
    for method in ["GET", "POST"] {
        let request = Request::new(method, &format!("/pass/x?sig={}&w=1", pass.token()));
        edge.ask(&request.field("Cookie", &cookies)).await.expect_body(200, "/pass/x?w=1");
        assert_eq!(origin.last("/pass/x").field("cookie"), Some("a=1; b=2"));
    }
    let bare = Request::get("/pass/x").field("Cookie", &format!("sig={}", pass.token()));
    edge.ask(&bare).await.expect_body(200, "/pass/x");
    assert_eq!(origin.last("/pass/x").field("cookie"), None);

    // Refused: it may be valid elsewhere.
    let elsewhere = Request::get(&format!("/content/15/x?sig={one}")).field("Referer", &target);
    refused(edge.ask(&elsewhere).await, 403, "signature-forged", false);
    let log = edge.log(8).await;
    let said = edge.said();
    for line in log.iter().map(ToString::to_string).chain(said) {
        assert!(!line.contains(&one) && !line.contains(&two) && !line.contains(&pass.token()), "{line}");
    }
    let targets: Vec<_> = log.iter().map(|line| line["target"].as_str().unwrap()).collect();
    assert!(targets.contains(&"/content/14/film.mp4?v=1&s%69g=-"), "{targets:#?}");
    assert!(targets.contains(&"/content/15/x?sig=-"), "{targets:#?}");
    assert_eq!(log.iter().filter(|line| line["detail"] == "signature-forged").count(), 1);
    assert!(!edge.metrics().await.contains(&one));
}

#[tokio::test]
async fn what_is_public_is_for_no_cache_on_its_way_once_a_rule_asks() {
    let keys = Keys::new(&[("new", SECRET)]);
    let origin = Origin::start().await;
    origin.on(FILM, private("film").instead("Cache-Control", "public, max-age=600, s-maxage=60"));
    let edge = Edge::with(&tenants(&origin, &packages(&keys.asks(false)), "")).await;
    for _ in 0..2 {
        let reply = edge.ask(&film(&Shows::good(false))).await.expect_body(200, "film");
        assert_eq!(reply.field("cache-control"), Some("private, max-age=600"), "{reply}");
    }
    refused(edge.get(FILM).await, 401, "signature-missing", false);
    assert_eq!(origin.hits(FILM), 1);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn without_the_rules_word_private_stays_private() {
    let keys = Keys::new(&[("new", SECRET)]);
    let origin = Origin::start().await;
    origin.on(FILM, private("film"));
    let named = private("x").instead("Cache-Control", "private=\"X-Learner\", max-age=600");
    origin.on("/content/named", named.field("X-Learner", "7"));
    origin.on("/content/cookie", private("x").field("Set-Cookie", "s=1"));
    let (asks, good) = (keys.asks(false), Shows { prefix: "/content/", ..Shows::good(false) });
    let edge = Edge::with(&tenants(&origin, &packages(&asks), "")).await;
    for n in 1..=2 {
        edge.ask(&film(&good)).await.expect_body(200, "film");
        assert_eq!(origin.hits(FILM), n, "not stored");
    }
    edge.configure(&tenants(&origin, &packages(&format!("lift_private = true\n{asks}")), ""));
    reload(&edge).await.expect(200);
    let asked = |path| Request::get(&format!("{path}?sig={}", good.token()));
    for n in 1..=2 {
        edge.ask(&asked("/content/cookie")).await.expect(200);
        assert_eq!(origin.hits("/content/cookie"), n, "of that nothing is lifted");
    }
    // A field that is named is kept for nobody, lifted or not; the rest is.
    for learner in [Some("7"), None] {
        assert_eq!(edge.ask(&asked("/content/named")).await.expect(200).field("x-learner"), learner);
    }
    assert_eq!(origin.hits("/content/named"), 1);
}

#[tokio::test]
async fn what_was_stored_under_a_check_is_found_by_nobody_without_it() {
    let keys = Keys::new(&[("new", SECRET)]);
    let origin = Origin::start().await;
    origin.on_call(FILM, |_, n| private(&format!("film {n}")));
    let guarded = format!("lift_private = true\n{}", keys.asks(false));
    // A rule for learners with a cookie only: the others fall to the rule behind it.
    let rules = |keys: &str| {
        packages(&format!("cookie = \"role\"\n{keys}"))
            + "[[rule_set.rule]]\nname = \"open\"\nprefix = \"/content/\"\nverdict = \"cache\"\nlifetime = \"1h\"\n"
    };
    let edge = Edge::with(&tenants(&origin, &rules(&guarded), "")).await;
    let good = film(&Shows::good(false)).field("Cookie", "role=1");
    edge.ask(&good).await.expect_body(200, "film 0");
    edge.ask(&good).await.expect_body(200, "film 0");
    for n in 1..=2 {
        edge.get(FILM).await.expect_body(200, format!("film {n}"));
    }
    // The rule asks nobody any more.
    edge.configure(&tenants(&origin, &packages("lifetime = \"1h\"\n"), ""));
    reload(&edge).await.expect(200);
    for n in 3..=4 {
        edge.get(FILM).await.expect_body(200, format!("film {n}"));
    }
    edge.configure(&tenants(&origin, &packages(&guarded), ""));
    reload(&edge).await.expect(200);
    edge.ask(&good).await.expect_body(200, "film 0");
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn a_warm_up_needs_no_signature_and_gives_nobody_one() {
    let origin = Origin::start().await;
    origin.on(FILM, Answer::storable("the film").field("Content-Type", "video/mp4"));
    let keys = Keys::new(&[("new", SECRET)]);
    let edge = Edge::with(&tenants(&origin, &packages(&keys.asks(false)), "")).await;
    let body = format!("{{\"urls\":[\"http://lms-a.example{FILM}\"]}}");
    let text = edge.control("POST", "/v1/warm", &body).await.expect(200).text();
    assert!(text.contains("\"result\":\"warmed\""), "{text}");
    let bare = edge.ask(&Request::get(FILM).host("lms-a.example")).await;
    refused(bare, 401, "signature-missing", false);
    edge.ask(&film(&Shows::good(false)).host("lms-a.example")).await.expect_body(200, "the film");
    edge.outcomes("hit", 1).await;
    assert_eq!(origin.hits(FILM), 1);
}
