//! The API as a caller sees it; every answer is checked together with what the ledger says.

mod batches;
mod callers;
mod purges;
mod shapes;

use super::{
    Api, Control, NewToken, PurgeTarget, Rate, ReloadRefused, ReloadSummary, Role, Roles, Shape, Tokens,
    UnknownTarget, UrlToPurge, Wholes, openapi_json,
};
use crate::{
    access::Checks,
    http_caching::Tags,
    ledger::{Ledger, LedgerSettings, Subject},
    response::{Explanation, Warmed},
    site::Switches,
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
        switches: Arc::new(Switches::open(&dir.path().join("ledger"), &metrics).unwrap()),
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
        warm: Arc::new(|_, _, _, _| Box::pin(async { Warmed::fresh(false) })),
        manifests: Arc::new(crate::release::Manifests::beside(dir.path())),
        list: Arc::new(|_| Err(crate::control::Unlisted::Host)),
        has_of: Arc::new(|_, _, _| Box::pin(async { true })),
        steps: Arc::default(),
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
