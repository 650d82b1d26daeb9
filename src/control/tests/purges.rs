//! A purge by itself: what is answered is in force, and what cannot be done changes nothing.

use super::{Node, node, subject};
use crate::{
    control::PurgeAnswer,
    ledger::{About, Ledger, LedgerSettings, Purge, Record},
    telemetry::Metrics,
};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

#[tokio::test]
async fn a_purge_that_was_answered_is_in_force_for_every_site_of_the_scope() {
    let node = node();
    let born = node.ledger.last();
    let answer =
        node.purge(r#"{"kind":"url","url":"https://LMS.example:8443/./a?x=1","reason":"new"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        answer.json(),
        json!({"ledger": born.identity.to_string(), "number": 1, "kind": "purge-url", "sites": ["lms", "sister"],
            "path": "/a", "soft": false, "settle": 30, "repeated": false, "applied": true})
    );
    for site in ["lms", "sister"] {
        let marks = node.ledger.marks(site);
        assert!(node.ledger.outdated(&marks, &subject("/a", Some("any")), born), "{site}");
        assert!(!node.ledger.outdated(&marks, &subject("/b", None), born), "{site}");
    }
    let answer = node.purge(r#"{"kind":"site","site":"lms"}"#).await;
    let answer: PurgeAnswer = serde_json::from_value(answer.json()).unwrap();
    assert_eq!((answer.number, answer.kind.as_str(), answer.path), (2, "purge-site", None));
    assert!(node.ledger.outdated(&node.ledger.marks("sister"), &subject("/b", None), born));
}

#[tokio::test]
async fn asked_again_with_its_key_a_purge_is_the_same_record_also_after_a_restart() {
    let mut node = node();
    let bearer = format!("Bearer {}", node.token);
    let ask = async |node: &Node, key: &str, body: &str| {
        let request = Request::post("/v1/purges?wait=applied").header(header::AUTHORIZATION, &bearer);
        let request = request.header("Idempotency-Key", key);
        let request = request.body(Full::new(bytes::Bytes::from(body.to_owned()))).unwrap();
        let response = node.api.answer(request, "192.0.2.7:4711".parse().unwrap()).await;
        let (head, body) = response.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        (head.status.as_u16(), body)
    };
    let (a, b) = (r#"{"kind":"site","site":"lms","reason":"one"}"#, r#"{"kind":"all"}"#);
    let (first, second) = tokio::join!(ask(&node, "k", a), ask(&node, "\"k\"", a));
    assert_eq!((first.0, second.0), (200, 200));
    assert_eq!((&first.1["number"], &second.1["number"]), (&json!(1), &json!(1)));
    assert_ne!(first.1["repeated"], second.1["repeated"]);
    assert_eq!(ask(&node, "k", b).await.1["type"], "urn:lectern:key-taken");
    assert_eq!(ask(&node, "other", b).await.1["number"], 2);
    for wrong in ["", "two words", &"x".repeat(256)] {
        assert_eq!(ask(&node, wrong, b).await.1["type"], "urn:lectern:wrong-key", "{wrong:?}");
    }
    assert_eq!(node.ledger.last().n, 2);
    node.ledger.give_up().await.unwrap();
    let settings = LedgerSettings {
        folder: node.dir.path().join("ledger"),
        url_entries: 10,
        ..LedgerSettings::default()
    };
    let ledger = Ledger::open(&settings, &Metrics::new()).unwrap();
    let record = ledger.entries(1, 1).await.unwrap().remove(0);
    assert!(record.text.contains(r#""key":"k""#), "{}", record.text);
    node.ledger = ledger;
    let about = About {
        sites: vec!["lms".into(), "sister".into()],
        who: "pipeline".into(),
        key: Some("k".into()),
        settle: 30,
        ..About::default()
    };
    let again = Record::purge(Purge::Site {}, about);
    let receipt = node.ledger.append(again).await.unwrap();
    assert_eq!((receipt.number.n, receipt.repeated), (1, true));
    let answer = node.ask("POST", "/v1/purges?wait=later", Some(&bearer), a).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "wrong-wait"));
}

#[tokio::test]
async fn an_exact_purge_covers_its_query_only() {
    let node = node();
    let born = node.ledger.last();
    let marks = node.ledger.marks("lms");
    let answer = node.purge(r#"{"kind":"url","url":"http://lms.example/a?x=1","exact":true}"#).await;
    assert_eq!(answer.json()["query"], "x=1");
    assert!(node.ledger.outdated(&marks, &subject("/a", Some("x=1")), born));
    assert!(!node.ledger.outdated(&marks, &subject("/a", None), born));
    let answer = node.purge(r#"{"kind":"url","url":"http://lms.example/a","exact":true}"#).await;
    assert_eq!(answer.json()["query"], "");
    assert!(node.ledger.outdated(&marks, &subject("/a", None), born));
    assert!(!node.ledger.outdated(&marks, &subject("/a", Some("x=2")), born));
}

#[tokio::test]
async fn a_call_that_is_not_allowed_or_not_understood_changes_nothing_and_says_what_is_missing() {
    let node = node();
    let good = r#"{"kind":"site","site":"lms"}"#;
    let token = format!("Bearer {}", node.token);
    let long = format!(r#"{{"kind":"site","site":"{}"}}"#, "x".repeat(70_000));
    let table: [(Option<&str>, &str, u16, &str, &str); 17] = [
        (None, good, 401, "no-token", "Authorization: Bearer"),
        (Some("Basic abc"), good, 401, "no-token", "Authorization: Bearer"),
        (Some("Bearer "), good, 401, "no-token", "Authorization: Bearer"),
        (Some("Bearer wrong"), good, 403, "wrong-token", "token file"),
        (None, "not json", 401, "no-token", ""),
        (Some(&token), "", 400, "not-json", "EOF"),
        (Some(&token), "{", 400, "not-json", "EOF"),
        (Some(&token), "{}", 422, "wrong-fields", "kind"),
        (Some(&token), r#"{"kind":"moon"}"#, 422, "wrong-fields", "`url`, `prefix`"),
        (Some(&token), r#"{"kind":"url"}"#, 422, "wrong-fields", "missing field `url`"),
        (
            Some(&token),
            r#"{"kind":"site","site":"lms","gently":true}"#,
            422,
            "wrong-fields",
            "unknown field `gently`",
        ),
        (Some(&token), r#"{"kind":"url","url":"/a"}"#, 422, "bad-url", "https://"),
        (Some(&token), r#"{"kind":"url","url":"ftp://lms.example/"}"#, 422, "bad-url", "ftp://lms.example/"),
        (Some(&token), r#"{"kind":"url","url":"https://lms.example/%00"}"#, 422, "bad-url", "NUL"),
        (
            Some(&token),
            r#"{"kind":"url","url":"https://nobody.example/"}"#,
            404,
            "unknown-host",
            "nobody.example",
        ),
        (Some(&token), r#"{"kind":"site","site":"nobody"}"#, 404, "unknown-site", "\"nobody\""),
        (Some(&token), &long, 413, "unread-body", ""),
    ];
    for (token, body, status, kind, says) in table {
        let answer = node.ask("POST", "/v1/purges", token, body).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (status, kind), "{}", answer.text);
        assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{says}: {}", answer.text);
        assert_eq!(status == 401, answer.headers.contains_key(header::WWW_AUTHENTICATE));
    }
    let answer = node.ask("GET", "/v1/purges", Some(&token), "").await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (405, "wrong-method"));
    assert_eq!(answer.headers[header::ALLOW], "POST");
    let answer = node.get("/v2").await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "unknown-path"));
    assert_eq!(node.ledger.last().n, 0);
}
