//! The API as a caller sees it; every answer is checked together with what the ledger says.

use super::{
    Api, Control, NewToken, PurgeAnswer, PurgeTarget, ReloadRefused, ReloadSummary, Tokens, UnknownTarget,
    UrlToPurge, openapi_json,
};
use crate::{
    access::Checks,
    http_caching::Tags,
    ledger::{About, Ledger, LedgerSettings, Purge, Record, Subject},
    response::{Explanation, Warmed},
    telemetry::Metrics,
};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

fn subject<'a>(path: &'a str, query: Option<&'a str>) -> Subject<'a> {
    Subject { path, query, tags: Tags::NONE, came: std::time::UNIX_EPOCH }
}

struct Node {
    api: Api,
    ledger: Arc<Ledger>,
    token: String,
    /// What the node's reload answers.
    reload: Arc<Mutex<Result<ReloadSummary, ReloadRefused>>>,
    reasons: Arc<Mutex<Vec<String>>>,
    dir: tempfile::TempDir,
}

fn node() -> Node {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let settings =
        LedgerSettings { folder: dir.path().join("ledger"), url_entries: 10, ..LedgerSettings::default() };
    let ledger = Ledger::open(&settings, &metrics).unwrap();
    let made = NewToken::new("pipeline").unwrap();
    let file = dir.path().join("tokens");
    std::fs::write(&file, made.line).unwrap();
    let reload = Arc::new(Mutex::new(Ok(ReloadSummary { sites: 2, rules: 3, restart_needed: vec![] })));
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let control = Control {
        ledger: ledger.clone(),
        forget: {
            let checks = Checks::new();
            Arc::new(move |forget| {
                let number = checks.forget(forget);
                Box::pin(async move { number })
            })
        },
        metrics,
        tokens: Arc::new(Tokens::load(Some(&file)).unwrap()),
        resolve_url: Arc::new(|url: &UrlToPurge<'_>| match url.host {
            _ if url.path.contains("%00") => Err(UnknownTarget::Url("NUL in the path".into())),
            "lms.example" | "LMS.example:8443" => Ok(PurgeTarget {
                sites: vec!["lms".into(), "sister".into()],
                path: url.path.replace("/./", "/"),
                query: url.query.map(String::from),
            }),
            _ => Err(UnknownTarget::Host),
        }),
        count: Arc::new(|_| Box::pin(async { crate::control::Counts { at_least: 1, at_most: 2 } })),
        resolve_scope: Arc::new(|scope: &str| {
            (scope == "themes").then(|| vec!["lms".into(), "sister".into()])
        }),
        names_modules: Arc::new(|site: &str| site == "lms"),
        resolve_site: Arc::new(|site: &str| (site == "lms").then(|| vec!["lms".into(), "sister".into()])),
        reload: {
            let reload = reload.clone();
            Arc::new(move || {
                let answer = reload.lock().unwrap().clone();
                Box::pin(async move { answer })
            })
        },
        explain: Arc::new(|request, https, client| {
            let told = Explanation {
                method: request.method().to_string(),
                url: format!("{https} {client} {:?}", request.headers()),
                ..Explanation::default()
            };
            Box::pin(async move { told })
        }),
        warm: Arc::new(|_, _, _| Box::pin(async { Warmed::fresh() })),
        not_ready: {
            let reasons = reasons.clone();
            Arc::new(move || reasons.lock().unwrap().clone())
        },
        notes: Arc::new(Vec::new),
    };
    Node { api: Api::new(control), ledger, token: made.token, reload, reasons, dir }
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    /// The problem's type without its prefix, checked for the form of RFC 9457.
    fn problem(&self) -> String {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem["type"].as_str().unwrap().strip_prefix("urn:lectern:").unwrap().to_string()
    }
}

impl Node {
    async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: impl Into<String>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::new(bytes::Bytes::from(body.into()))).unwrap();
        // a task of its own, as the listener's connections are: the answer must be able to move between threads
        let api = self.api.clone();
        let peer = "192.0.2.7:4711".parse().unwrap();
        let response = tokio::spawn(async move { api.answer(request, peer).await }).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, text }
    }

    async fn purge(&self, body: impl Into<String>) -> Answer {
        self.ask("POST", "/v1/purges", Some(&format!("Bearer {}", self.token)), body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None, "").await
    }
}

#[tokio::test]
async fn an_explanation_is_of_the_request_that_was_asked_about_and_needs_a_token() {
    let node = node();
    let bearer = format!("Bearer {}", node.token);
    let path = "/v1/explain?url=https%3A%2F%2Flms.example%2Fa&method=HEAD";
    let answer = node.ask("GET", path, Some(&bearer), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let told = answer.json();
    assert_eq!(
        (&told["method"], &told["url"]),
        (&json!("HEAD"), &json!("true 192.0.2.7 {\"host\": \"lms.example\"}"))
    );
    assert_eq!(node.get(path).await.problem(), "no-token");
    for path in ["/v1/explain", "/v1/explain?url=%2Fa", "/v1/explain?url=http%3A%2F%2Fa%2F&x=1"] {
        let answer = node.ask("GET", path, Some(&bearer), "").await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "wrong-question"), "{path}");
    }
    assert_eq!(node.ledger.last().n, 0);
}

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
    let again = Record {
        purge: Purge::Site {},
        about: About {
            sites: vec!["lms".into(), "sister".into()],
            who: "pipeline".into(),
            key: Some("k".into()),
            settle: 30,
            ..About::default()
        },
    };
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

#[tokio::test]
async fn a_ledger_that_refuses_is_said_and_readiness_goes_off() {
    let node = node();
    assert_eq!(node.get("/readyz").await.json(), json!({"ready": true, "reasons": []}));
    node.reasons.lock().unwrap().push("draining".into());
    let answer = node.get("/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.json()["reasons"][0].as_str()), (503, Some("draining")));
    node.reasons.lock().unwrap().clear();

    std::fs::remove_dir_all(node.dir.path().join("ledger")).unwrap();
    let answer = node.purge(r#"{"kind":"site","site":"lms"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "ledger-refuses"));
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    let answer = node.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.json()["reasons"][0].as_str().unwrap().starts_with("ledger: "), "{}", answer.text);
    assert_eq!(node.get("/healthz").await.status, 200);
    assert!(node.get("/metrics").await.text.contains("\nlectern_ledger_ready 0\n"));
}

#[tokio::test]
async fn a_reload_answers_with_what_runs_or_with_the_whole_report() {
    let node = node();
    let token = format!("Bearer {}", node.token);
    assert_eq!(node.ask("POST", "/v1/reload", None, "").await.problem(), "no-token");
    let answer = node.ask("POST", "/v1/reload", Some(&token), "").await;
    assert_eq!(answer.json(), json!({"sites": 2, "rules": 3, "restart_needed": []}));
    *node.reload.lock().unwrap() =
        Err(ReloadRefused::Wrong("lectern.toml:7: sites.hosts: is missing".into()));
    let answer = node.ask("POST", "/v1/reload", Some(&token), "").await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "reload-refused"));
    assert!(answer.text.contains("lectern.toml:7"));
    *node.reload.lock().unwrap() = Err(ReloadRefused::Upgrading);
    let answer = node.ask("POST", "/v1/reload", Some(&token), "").await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "upgrading"));
}

#[tokio::test]
async fn while_the_ledger_is_handed_over_a_purge_is_to_be_asked_again_and_the_node_stays_ready() {
    let node = node();
    let token = format!("Bearer {}", node.token);
    node.ledger.give_up().await.unwrap();
    let purge = r#"{"kind":"site","site":"lms"}"#;
    let answer = node.ask("POST", "/v1/purges", Some(&token), purge).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "upgrading"));
    assert_eq!(node.get("/readyz").await.status, 200);
    node.ledger.close();
    assert_eq!(node.get("/readyz").await.status, 503);
}

/// `lectern openapi > docs/openapi.json` writes it anew.
#[tokio::test]
async fn the_committed_description_is_the_one_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == openapi_json(),
        "docs/openapi.json is outdated: lectern openapi > docs/openapi.json"
    );
    let served = node().get("/v1/openapi.json").await.json();
    assert_eq!(served, serde_json::from_str::<Value>(&committed).unwrap());
    assert!(served["paths"]["/v1/purges"]["post"]["security"].is_array());
}
