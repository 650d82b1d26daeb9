//! What is never stored, and what a fill may send (RFC 9111 §3; "What is never stored" of the design; G24, G28, G33).

use crate::support::{
    answer::Answer,
    deadline::eventually,
    edge::Edge,
    message::Request,
    origin::{Origin, Seen},
};

/// Asks twice and tells how often the origin was asked.
async fn hits_of_two(edge: &Edge, origin: &Origin, request: &Request) -> usize {
    let before = origin.requests().len();
    for _ in 0..2 {
        edge.ask(request).await;
    }
    origin.requests().len() - before
}

#[tokio::test]
async fn a_storable_answer_is_asked_for_once_and_served_with_its_age() {
    let origin = Origin::start().await;
    origin.on("/a.css", Answer::storable("body").field("Content-Type", "text/css").field("Age", "40"));
    let edge = Edge::before(&origin, "").await;
    let miss = edge.get("/a.css").await.expect_body(200, "body");
    let told = miss.field("cache-status").unwrap();
    assert!(
        told.starts_with("lectern; fwd=uri-miss; fwd-status=200; ttl=") && told.ends_with("; stored"),
        "{told}"
    );
    let hit = edge.get("/a.css").await.expect_body(200, "body");
    assert!(hit.field("cache-status").unwrap().starts_with("lectern; hit; ttl="), "{hit}");
    assert!(hit.field("age").unwrap().parse::<u64>().unwrap() >= 40, "{hit}");
    assert_eq!(hit.field("date"), miss.field("date"), "Date is the origin's");
    assert_eq!(hit.all("via"), ["1.1 lectern"]);
    assert_eq!(origin.hits("/a.css"), 1);
    edge.outcomes("hit", 1).await;
    edge.outcomes("miss", 1).await;
}

#[tokio::test]
async fn what_says_that_it_is_personal_is_never_stored_however_the_rule_reads() {
    let origin = Origin::start().await;
    let personal: [(&str, Answer); 7] = [
        ("/set-cookie", Answer::storable("x").field("Set-Cookie", "s=1")),
        ("/private", Answer::ok("x").field("Cache-Control", "private, max-age=600")),
        ("/no-store", Answer::ok("x").field("Cache-Control", "no-store, public")),
        ("/vary", Answer::storable("x").field("Vary", "Cookie")),
        ("/signed", Answer::new(302, "").field("Location", "https://store.example/x?sig=AAA")),
        ("/my/x.css", Answer::ok("<html>me").field("Content-Type", "text/html").field("ETag", "\"1\"")),
        ("/untyped.js", Answer::storable("x")),
    ];
    for (path, answer) in &personal {
        origin.on(path, answer.clone());
    }
    let rule = "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"cache\"\nlifetime = \"60s\"\n\
                statuses = [200, 302]\nshared = true\n";
    for rest in ["", rule] {
        let edge = Edge::before(&origin, rest).await;
        for (path, _) in &personal {
            // A redirect may be stored where a rule says so.
            let expected = if *path == "/signed" && rest == rule { 1 } else { 2 };
            assert_eq!(hits_of_two(&edge, &origin, &Request::get(path)).await, expected, "{path} {rest:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_to_a_cookie_that_went_along_is_shared_only_if_it_says_so() {
    let origin = Origin::start().await;
    let page = |field: &str| {
        Answer::ok("x").field("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT").field("X", field)
    };
    origin.on("/silent", page(""));
    origin.on("/max-age", Answer::ok("x").field("Cache-Control", "max-age=600"));
    origin.on("/public", Answer::ok("x").field("Cache-Control", "public, max-age=600"));
    origin.on("/s-maxage", Answer::ok("x").field("Cache-Control", "s-maxage=600"));
    let edge = Edge::before(&origin, "").await;
    for (path, expected) in [("/silent", 2), ("/max-age", 2), ("/public", 1), ("/s-maxage", 1)] {
        let request = Request::get(path).field("Cookie", "session=1");
        assert_eq!(hits_of_two(&edge, &origin, &request).await, expected, "{path}");
        assert_eq!(origin.last(path).field("cookie"), Some("session=1"), "{path}");
    }
    let request = Request::get("/silent").field("Authorization", "Basic x");
    assert_eq!(hits_of_two(&edge, &origin, &request).await, 2, "RFC 9111 §3.5");
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn under_a_rule_no_cookie_goes_along_and_a_personal_answer_is_asked_for_with_it() {
    let origin = Origin::start().await;
    origin.on("/content/a", Answer::ok("x").field("Cache-Control", "max-age=600"));
    origin.on_call("/content/me", |seen, _| match seen.field("cookie") {
        Some(cookie) => Answer::ok(cookie).field("Cache-Control", "private"),
        None => Answer::new(303, "").field("Location", "/login"),
    });
    let rule = "[[site.rule]]\nname = \"content\"\npath = \"/content/**\"\nverdict = \"cache\"\n";
    let edge = Edge::before(&origin, rule).await;
    let ask = |path, cookie| Request::get(path).field("Cookie", cookie).field("X-Evil", "1");
    edge.ask(&ask("/content/a", "s=1")).await.expect_body(200, "x");
    edge.ask(&ask("/content/a", "s=2")).await.expect_body(200, "x");
    assert_eq!(origin.hits("/content/a"), 1);
    let sent = origin.last("/content/a");
    assert_eq!((sent.field("cookie"), sent.field("x-evil"), sent.field("user-agent")), (None, None, None));
    for learner in ["s=1", "s=2", "s=1"] {
        edge.ask(&ask("/content/me", learner)).await.expect_body(200, learner);
    }
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn a_field_that_a_fill_may_not_carry_shapes_nothing_that_others_get() {
    let origin = Origin::start().await;
    let said = |seen: &Seen| seen.field("x-requested-with").unwrap_or("page").to_owned();
    origin.on_call("/shared", move |seen, _| Answer::storable(said(seen)));
    origin.on_call("/own", move |seen, _| Answer::ok(said(seen)).field("Cache-Control", "private"));
    let edge = Edge::before(&origin, "").await;
    let script = |path| Request::get(path).field("X-Requested-With", "XMLHttpRequest");
    // The script gets what its fields ask for; what others share is filled without them.
    edge.ask(&script("/shared")).await.expect_body(200, "XMLHttpRequest");
    origin.reached("/shared", 2).await;
    edge.get("/shared").await.expect_body(200, "page");
    edge.ask(&script("/shared")).await.expect_body(200, "page");
    assert_eq!(origin.hits("/shared"), 2);
    // What is for one request only is asked for once.
    edge.ask(&script("/own")).await.expect_body(200, "XMLHttpRequest");
    assert_eq!(origin.hits("/own"), 1);
    edge.get("/own").await.expect_body(200, "page");
    edge.outcomes("pass", 3).await;
}

#[tokio::test]
async fn a_page_that_is_for_everybody_only_with_a_scripts_field_is_not_filled_again_and_again() {
    let origin = Origin::start().await;
    origin.on_call("/odd", |seen, _| match seen.field("x-requested-with") {
        Some(_) => Answer::storable("script"),
        None => Answer::ok("page").field("Cache-Control", "private"),
    });
    let edge = Edge::before(&origin, "").await;
    let script = Request::get("/odd").field("X-Requested-With", "XMLHttpRequest");
    edge.ask(&script).await.expect_body(200, "script");
    origin.reached("/odd", 2).await;
    eventually("the fill is over", async || edge.metric("lectern_fills_in_flight", &[]).await == 0.0).await;
    for _ in 0..3 {
        edge.ask(&script).await.expect_body(200, "script");
    }
    edge.outcomes("pass", 4).await;
    assert_eq!(edge.metric("lectern_fills_total", &[]).await, 1.0);
    assert_eq!(origin.hits("/odd"), 5);
}

#[tokio::test]
async fn g33_a_head_fills_nothing_and_is_answered_from_what_is_stored() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable(vec![b'x'; 5000]));
    let edge = Edge::before(&origin, "").await;
    let head = Request::new("HEAD", "/a");
    let cold = edge.ask(&head).await.expect_body(200, "");
    assert_eq!(cold.field("content-length"), Some("5000"));
    assert_eq!(origin.last("/a").method, "HEAD");
    edge.get("/a").await.expect_body(200, vec![b'x'; 5000]);
    let mut client = edge.client().await;
    let warm = client.ask(&head).await.expect_body(200, "");
    assert_eq!(warm.field("content-length"), Some("5000"));
    client.get("/a").await.expect_body(200, vec![b'x'; 5000]);
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("hit", 2).await;
}
