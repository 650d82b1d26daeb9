//! The API as a caller sees it; every answer is checked together with what the ledger says.

mod shapes;

use super::{
    Api, Control, NewToken, PurgeAnswer, PurgeTarget, Rate, ReloadRefused, ReloadSummary, Role, Roles, Shape,
    Tokens, UnknownTarget, UrlToPurge, Wholes, openapi_json,
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
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

fn subject<'a>(path: &'a str, query: Option<&'a str>) -> Subject<'a> {
    Subject { path, query, tags: Tags::NONE, came: std::time::UNIX_EPOCH }
}

struct Node {
    api: Api,
    ledger: Arc<Ledger>,
    /// May do everything.
    token: String,
    /// Tokens that may do one thing each.
    tokens: Vec<(Role, String)>,
    /// What the node's reload answers.
    reload: Arc<Mutex<Result<ReloadSummary, ReloadRefused>>>,
    reasons: Arc<Mutex<Vec<String>>>,
    dir: tempfile::TempDir,
}

fn node() -> Node {
    node_of(Rate::default(), vec![Shape::Fastly, Shape::Cloudflare])
}

fn node_of(rate: Rate, shapes: Vec<Shape>) -> Node {
    node_pausing(rate, shapes, Duration::ZERO)
}

fn node_pausing(rate: Rate, shapes: Vec<Shape>, pause: Duration) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let settings =
        LedgerSettings { folder: dir.path().join("ledger"), url_entries: 10, ..LedgerSettings::default() };
    let ledger = Ledger::open(&settings, &metrics).unwrap();
    let made = NewToken::new("pipeline", Roles::of(&Role::ALL)).unwrap();
    let file = dir.path().join("tokens");
    let single = Role::ALL.map(|role| (role, NewToken::new(role.as_str(), Roles::of(&[role])).unwrap()));
    let lines: String = single.iter().map(|(_, made)| format!("{}\n", made.line)).collect();
    std::fs::write(&file, made.line + "\n" + &lines).unwrap();
    let tokens = single.map(|(role, made)| (role, made.token)).to_vec();
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
        tokens: Arc::new(Tokens::load(Some(&file), rate).unwrap()),
        wholes: Arc::new(Wholes::new(pause)),
        shapes,
        resolve_url: Arc::new(|url: &UrlToPurge<'_>| match url.host {
            _ if url.path.contains("%00") => Err(UnknownTarget::Url("NUL in the path".into())),
            "lms.example" | "LMS.example:8443" => Ok(PurgeTarget {
                sites: vec!["lms".into(), "sister".into()],
                path: url.path.replace("/./", "/"),
                query: url.query.map(String::from),
            }),
            "other.example" => {
                Ok(PurgeTarget { sites: vec!["other".into()], path: url.path.into(), query: None })
            }
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
        warm: Arc::new(|_, _, _| Box::pin(async { Warmed::fresh(false) })),
        not_ready: {
            let reasons = reasons.clone();
            Arc::new(move || reasons.lock().unwrap().clone())
        },
        notes: Arc::new(Vec::new),
    };
    Node { api: Api::new(control), ledger, token: made.token, tokens, reload, reasons, dir }
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
    /// The answer to a call, which the description knows.
    async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: impl Into<String>) -> Answer {
        let field = token.map(|token| (header::AUTHORIZATION.as_str(), token.to_owned()));
        let answer = self.send(method, path, field, body).await;
        described(method, path, &answer);
        answer
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        fields: impl IntoIterator<Item = (&str, String)>,
        body: impl Into<String>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(name, value);
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

/// Whether the description names the status of an answer, with the type of its body. What is no path or method of it names none.
fn described(method: &str, target: &str, answer: &Answer) {
    let description: Value = serde_json::from_str(&openapi_json()).unwrap();
    let path = target.split('?').next().unwrap();
    let fits = |template: &str| {
        let (asked, known): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
        asked.len() == known.len()
            && asked.iter().zip(known).all(|(part, known)| *part == known || known.starts_with('{'))
    };
    let paths = description["paths"].as_object().unwrap();
    let Some((template, methods)) = paths.iter().find(|(template, _)| fits(template)) else { return };
    let Some(operation) = methods.get(method.to_lowercase()) else { return };
    let told = &operation["responses"][answer.status.as_str()];
    assert!(told.is_object(), "{method} {template}: {} is not described", answer.status);
    let kind = answer.headers[header::CONTENT_TYPE].to_str().unwrap().split(';').next().unwrap();
    assert!(told["content"].get(kind).is_some(), "{method} {template}: {} {kind}: {told}", answer.status);
}

/// A call of each operation of the description that anybody with one of its roles may make, by method and path.
fn a_call(method: &str, path: &str) -> (String, &'static str) {
    match (method, path) {
        ("post", "/v1/purges") => (path.into(), r#"{"kind":"module","module":"physics","site":"lms"}"#),
        ("post", "/client/v4/zones/{site}/purge_cache") => {
            ("/client/v4/zones/lms/purge_cache".into(), r#"{"tags":["t"]}"#)
        }
        ("post", "/service/{site}/purge") => ("/service/lms/purge".into(), r#"{"surrogate_keys":["t"]}"#),
        ("post", path) if path.starts_with("/service/") => {
            (path.replace("{site}", "lms").replace("{key}", "course-7"), "")
        }
        ("post", "/v1/access/forget") => (path.into(), r#"{"site":"lms"}"#),
        ("post", "/v1/warm") => (path.into(), r#"{"urls":["https://lms.example/a"]}"#),
        ("get", "/v1/explain") => (format!("{path}?url=http%3A%2F%2Flms.example%2F"), ""),
        _ => (path.into(), ""),
    }
}

#[tokio::test]
async fn each_call_takes_a_token_with_a_role_that_its_description_names() {
    let node = node();
    let description: Value = serde_json::from_str(&openapi_json()).unwrap();
    let (mut guarded, mut open) = (0, Vec::new());
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let (target, body) = a_call(method, path);
            let Some(security) = operation["security"].as_array() else {
                assert_eq!(node.get(&target).await.status, 200, "{path}");
                open.push(path.as_str());
                continue;
            };
            guarded += 1;
            let scheme = security[0].as_object().unwrap().keys().next().unwrap();
            let ask = async |token: Option<&str>| {
                let field = token.map(|token| match scheme.as_str() {
                    "fastly_key" => ("fastly-key", token.to_owned()),
                    _ => ("authorization", format!("Bearer {token}")),
                });
                let answer = node.send(&method.to_uppercase(), &target, field, body).await;
                described(&method.to_uppercase(), &target, &answer);
                answer
            };
            let before = node.ledger.last().n;
            // A shape tells it in its own form.
            let problem = |answer: &Answer| path.starts_with("/v1/").then(|| answer.problem());
            let answer = ask(None).await;
            assert_eq!(answer.status, 401, "{path}");
            assert!(problem(&answer).is_none_or(|problem| problem == "no-token"));
            let answer = ask(Some("lectern_00")).await;
            assert_eq!(answer.status, 403, "{path}");
            assert!(problem(&answer).is_none_or(|problem| problem == "wrong-token"));
            let named = |role: &Role| security.iter().any(|all| all[scheme][0] == role.as_str());
            assert!(Role::ALL.iter().any(named) && !Role::ALL.iter().all(named), "{path}: {security:?}");
            for (role, token) in node.tokens.iter().filter(|(role, _)| !named(role)) {
                let answer = ask(Some(token)).await;
                assert_eq!(answer.status, 403, "{path}");
                assert!(problem(&answer).is_none_or(|problem| problem == "lacks-role"));
                assert!(
                    answer.text.contains(&format!("has the roles {};", role.as_str())),
                    "{}",
                    answer.text
                );
                let would_do = Role::ALL.iter().filter(|role| named(role));
                assert!(would_do.into_iter().any(|role| answer.text.contains(role.as_str())));
            }
            assert_eq!(node.ledger.last().n, before, "{path}: nothing was written");
            for (_, token) in node.tokens.iter().filter(|(role, _)| named(role)) {
                let answer = ask(Some(token)).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            }
        }
    }
    assert_eq!((guarded, open), (10, vec!["/healthz", "/metrics", "/readyz", "/v1/openapi.json"]));
}

#[tokio::test]
async fn a_token_for_releases_purges_modules_and_nothing_else_and_the_record_has_its_name() {
    let node = node();
    let token = |wanted| node.tokens.iter().find(|(role, _)| *role == wanted).unwrap().1.as_str();
    let release = format!("Bearer {}", token(Role::Release));
    for what in [
        r#"{"kind":"url","url":"https://lms.example/a"}"#,
        r#"{"kind":"tag","tag":"physics","site":"lms"}"#,
        r#"{"kind":"site","site":"lms"}"#,
        r#"{"kind":"all"}"#,
        r#"[{"kind":"module","module":"physics","site":"lms"},{"kind":"all"}]"#,
    ] {
        let answer = node.ask("POST", "/v1/purges", Some(&release), what).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (403, "lacks-role"), "{what}");
    }
    assert_eq!(node.ledger.last().n, 0);
    let module = r#"{"kind":"module","module":"physics","site":"lms"}"#;
    assert_eq!(node.ask("POST", "/v1/purges", Some(&release), module).await.status, 200);
    let record = node.ledger.entries(1, 1).await.unwrap().remove(0);
    assert!(record.text.contains(r#""who":"release""#), "{}", record.text);
}

#[tokio::test]
async fn a_token_that_calls_too_often_is_told_when_to_ask_again_and_others_are_served() {
    let calls = |n| std::num::NonZeroU32::new(n).unwrap();
    let node = node_of(Rate { per_second: calls(1), at_once: calls(3) }, Vec::new());
    let site = r#"{"kind":"site","site":"lms"}"#;
    assert_eq!(node.purge(format!("[{site},{site}]")).await.status, 200);
    let answer = node.purge(format!("[{site},{site}]")).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (429, "too-many-calls"));
    assert!(
        matches!(answer.headers[header::RETRY_AFTER].to_str().unwrap(), "1" | "2"),
        "{:?}",
        answer.headers
    );
    assert_eq!(node.ledger.last().n, 2);
    let answer = node.purge(format!("[{site},{site},{site},{site},{site}]")).await;
    assert!(matches!(answer.status.as_u16(), 413 | 429), "{}", answer.text);
    let other = format!("Bearer {}", node.tokens.iter().find(|(role, _)| *role == Role::Purge).unwrap().1);
    assert_eq!(node.ask("POST", "/v1/purges", Some(&other), site).await.status, 200);
    assert_eq!(node.ledger.last().n, 3);
}

#[tokio::test]
async fn everything_is_purged_once_within_the_pause_and_the_second_is_told_and_not_taken_for_done() {
    let node = node_pausing(Rate::default(), vec![Shape::Fastly], Duration::from_secs(600));
    let site = r#"{"kind":"site","site":"lms"}"#;
    assert_eq!(node.purge(site).await.status, 200);
    for again in [site.to_owned(), format!("[{site}]")] {
        let answer = node.purge(again).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (429, "too-soon"));
        assert!(answer.headers.contains_key(header::RETRY_AFTER));
    }
    let fastly = node.send("POST", "/service/lms/purge_all", [("fastly-key", node.token.clone())], "").await;
    assert_eq!(fastly.status, 429);
    assert_eq!(node.ledger.last().n, 1);
    // In a batch that is done, it is told of its own.
    let answer = node.purge(format!(r#"[{{"kind":"all"}},{site}]"#)).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "not-all-applied"));
    let told = answer.json();
    assert_eq!((&told["results"][0]["status"], &told["results"][1]["status"]), (&json!(200), &json!(429)));
    for other in
        [r#"{"kind":"site","site":"lms","soft":true}"#, r#"{"kind":"url","url":"http://lms.example/a"}"#]
    {
        assert_eq!(node.purge(other).await.status, 200, "{other}");
    }
    assert_eq!(node.ledger.last().n, 4);
}

#[tokio::test]
async fn a_batch_is_all_in_force_or_says_of_each_what_became_of_it() {
    let node = node();
    let born = node.ledger.last();
    let answer = node.purge(r#" [{"kind":"url","url":"http://lms.example/a","reason":"new"},{"kind":"tag","tag":"t","site":"lms","soft":true}]"#).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["applied"]), (200, &json!(true)), "{}", answer.text);
    let results = answer.json()["results"].clone();
    for (at, kind) in ["purge-url", "purge-tag"].iter().enumerate() {
        let told = &results[at];
        assert_eq!((&told["status"], &told["purge"]["kind"]), (&json!(200), &json!(kind)), "{told}");
        assert_eq!((&told["purge"]["number"], &told["purge"]["applied"]), (&json!(at + 1), &json!(true)));
    }
    assert_eq!((&results[0]["purge"]["path"], &results[1]["purge"]["soft"]), (&json!("/a"), &json!(true)));
    assert!(node.ledger.outdated(&node.ledger.marks("lms"), &subject("/a", None), born));
    assert_eq!(node.purge("[]").await.json(), json!({"applied": true, "results": []}));

    let wrong =
        r#"[{"kind":"all"},{"kind":"moon"},{"kind":"site","site":"nobody"},{"kind":"url","url":"/a"}]"#;
    let answer = node.purge(wrong).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "wrong-items"));
    let told = answer.json();
    let of = |at: usize, name: &str| told["results"][at]["problem"][name].clone();
    let became: Vec<_> = (0..4).map(|at| (of(at, "status"), of(at, "type"))).collect();
    let kinds = [(424, "not-done"), (422, "wrong-fields"), (404, "unknown-site"), (422, "bad-url")];
    assert_eq!(became, kinds.map(|(status, kind)| (json!(status), json!(format!("urn:lectern:{kind}")))));
    assert!(told["detail"].as_str().unwrap().starts_with("nothing was purged"), "{told}");
    let many = format!("[{}]", vec![r#"{"kind":"all"}"#; 257].join(","));
    assert_eq!(node.purge(many).await.problem(), "too-many-purges");
    for (body, kind) in [("[", "not-json"), ("[1]", "wrong-items"), ("[[]]", "wrong-items")] {
        assert_eq!(node.purge(body).await.problem(), kind, "{body}");
    }
    assert_eq!(node.ledger.last().n, 2, "nothing more was written");
}

#[tokio::test]
async fn a_batch_that_the_ledger_does_not_take_is_no_success_and_asked_again_by_its_key_it_is_done_once() {
    let node = node();
    let bearer = format!("Bearer {}", node.token);
    let batch = r#"[{"kind":"site","site":"lms"},{"kind":"all"}]"#;
    let ask = async |key: &str, body: &'static str| {
        let request =
            Request::post("/v1/purges").header(header::AUTHORIZATION, &bearer).header("Idempotency-Key", key);
        let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
        let (head, body) = node.api.answer(request, "192.0.2.7:4711".parse().unwrap()).await.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        (head.status.as_u16(), body)
    };
    let (status, told) = ask("k", batch).await;
    assert_eq!((status, &told["results"][0]["purge"]["repeated"]), (200, &json!(false)));
    let (status, told) = ask("k", batch).await;
    let numbers = [&told["results"][0]["purge"]["number"], &told["results"][1]["purge"]["number"]];
    assert_eq!(
        (status, numbers, &told["results"][1]["purge"]["repeated"]),
        (200, [&json!(1), &json!(2)], &json!(true))
    );
    // The second is another purge by now, the first is in force as before.
    let (status, told) =
        ask("k", r#"[{"kind":"site","site":"lms"},{"kind":"scope","scope":"themes"}]"#).await;
    assert_eq!((status, &told["type"]), (422, &json!("urn:lectern:wrong-items")), "{told}");
    let detail = told["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("1 of it are in force") && told["results"][0]["purge"]["applied"] == true,
        "{told}"
    );
    assert_eq!(told["results"][1]["problem"]["type"], "urn:lectern:key-taken");
    assert_eq!(ask("k 0", r#"{"kind":"all"}"#).await.1["type"], "urn:lectern:wrong-key");
    assert_eq!(node.ledger.last().n, 2);

    node.ledger.give_up().await.unwrap();
    let (status, told) = ask("l", batch).await;
    assert_eq!((status, &told["type"]), (503, &json!("urn:lectern:upgrading")));
    assert_eq!(told["results"][1]["status"], 503);
    node.ledger.close();
    let answer = node.purge(batch).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "not-all-applied"));
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(answer.json()["results"][0]["problem"]["type"], "urn:lectern:ledger-refuses");
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
