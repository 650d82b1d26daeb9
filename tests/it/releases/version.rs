//! The version in a URL is a hint: what comes under it may be of another (G37).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use crate::support::{
    answer::Answer,
    edge::Edge,
    message::{Reply, Request},
    origin::Origin,
};

const YEAR: &str = "public, max-age=31536000, immutable";

/// An answer of a version, which it says in a field.
fn of(version: usize) -> Answer {
    let answer = Answer::ok(format!("code of {version}")).field("Cache-Control", YEAR);
    let answer = answer.field("Content-Type", "text/javascript");
    answer.field("ETag", format!("\"{version}\"")).field("X-Version", version)
}

fn control(reply: &Reply) -> &str {
    reply.field("cache-control").unwrap_or_default()
}

#[tokio::test]
async fn an_answer_of_another_version_is_not_stored_under_the_url_of_one() {
    let origin = Origin::start().await;
    let front = Arc::new(AtomicUsize::new(1));
    let says = front.clone();
    origin.on_call("/app/a.js", move |_, _| of(says.load(SeqCst)));
    let rule = "[[site.rule]]\nname = \"app\"\nprefix = \"/app/\"\nverdict = \"cache\"\n\
                version = { query = \"v\", field = \"X-Version\" }\n";
    let edge = Edge::before(&origin, rule).await;
    let get = async |version: usize| edge.get(&format!("/app/a.js?v={version}")).await.expect(200);
    let hits = |version: usize| origin.hits(&format!("/app/a.js?v={version}"));

    for _ in 0..2 {
        let reply = get(1).await;
        assert_eq!((reply.text().as_str(), control(&reply)), ("code of 1", YEAR));
        let reply = get(2).await;
        assert_eq!(reply.text(), "code of 1", "the origin's answer goes through");
        assert_eq!(control(&reply), "no-cache", "a browser keeps it for nobody either");
    }
    assert_eq!((hits(1), hits(2)), (1, 2), "what fits is stored, and nothing else is");
    // Nor is it where a client's own fields make the request a relay.
    let own = Request::get("/app/a.js?v=2").host("lms.example").field("Range", "bytes=0-3");
    assert_eq!(control(&edge.ask(&own).await), "no-cache");

    front.store(2, SeqCst);
    for _ in 0..2 {
        let reply = get(2).await;
        assert_eq!((reply.text().as_str(), control(&reply)), ("code of 2", YEAR));
        assert_eq!(get(1).await.text(), "code of 1", "what is stored of the former stays");
    }
    assert_eq!(hits(1), 1);
    assert_eq!(edge.metric("lectern_responses_not_stored_total", &["reason=\"other-version\""]).await, 3.0);
}

#[tokio::test]
async fn a_refresh_that_says_another_version_is_withdrawn_not_served_under_the_former() {
    let origin = Origin::start().await;
    let stale = of(1).instead("Cache-Control", "max-age=60").field("Age", 70);
    let says = of(2).instead("ETag", "\"1\"").without_body(304);
    origin.on_each("/app/a.js", vec![stale, says, of(2)]);
    let rule = "[[site.rule]]\nname = \"app\"\nprefix = \"/app/\"\nverdict = \"cache\"\n\
                version = { query = \"v\", field = \"X-Version\" }\n";
    let edge = Edge::before(&origin, rule).await;
    assert_eq!(edge.get("/app/a.js?v=1").await.text(), "code of 1");
    let reply = edge.get("/app/a.js?v=1").await;
    assert_eq!((reply.text().as_str(), control(&reply)), ("code of 2", "no-cache"));
    edge.get("/app/a.js?v=1").await;
    assert_eq!(origin.hits("/app/a.js?v=1"), 4, "none of it was stored");
}

#[tokio::test]
async fn browsers_ask_again_about_what_nothing_proves_to_be_of_its_version() {
    let origin = Origin::start().await;
    origin.on(
        "/m/*",
        Answer::ok("x").field("Cache-Control", YEAR).field("ETag", "\"1\"").field("Content-Type", "text/css"),
    );
    let rule = |name: &str, more: &str| {
        format!(
            "[[site.rule]]\nname = \"{name}\"\npath = \"/m/{name}/{{v}}/**\"\nverdict = \"cache\"\n{more}\n"
        )
    };
    let rules = rule("plain", "version = { path = \"v\" }")
        + &rule("said", "version = { path = \"v\" }\nbrowser_lifetime = \"1h\"")
        + &rule("without", "");
    let edge = Edge::before(&origin, &rules).await;
    for turn in 0..2 {
        let reply = edge.get("/m/plain/7/a.js").await;
        assert_eq!(control(&reply), "no-cache", "turn {turn}");
        assert_eq!(reply.field("etag"), Some("\"1\""), "and can ask by it");
        assert_eq!(control(&edge.get("/m/said/7/a.js").await), "max-age=3600", "the rule says for how long");
        assert_eq!(
            control(&edge.get("/m/without/7/a.js").await),
            YEAR,
            "of no version nothing is to be proven"
        );
    }
    assert_eq!(origin.requests().len(), 3);
}
