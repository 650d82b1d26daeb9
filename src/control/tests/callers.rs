//! Who may call what, and how often.

use super::{Answer, described, node, node_of, node_pausing};
use crate::control::{Rate, Role, Shape, openapi_json};
use http::header;
use serde_json::{Value, json};
use std::time::Duration;

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
        ("post", "/v1/switches") => (path.into(), r#"{"mode":"spare","reason":"a drill"}"#),
        ("post", "/v1/warm") => (path.into(), r#"{"urls":["https://lms.example/a"]}"#),
        ("get", "/v1/modules/{module}") => ("/v1/modules/m?site=lms".into(), ""),
        ("post", "/v1/modules/{module}/stage") => (
            "/v1/modules/m/stage".into(),
            r#"{"site":"lms","release":"1","base":"https://lms.example/m/","list":"a"}"#,
        ),
        ("post", path) if path.starts_with("/v1/modules/") => {
            (path.replace("{module}", "m"), r#"{"site":"lms","release":"1"}"#)
        }
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
                // Whoever may take a step is told that there is nothing to take it with.
                let let_in = path.starts_with("/v1/modules/") && matches!(answer.status.as_u16(), 404 | 409);
                assert!(answer.status == 200 || let_in, "{path}: {}", answer.text);
            }
        }
    }
    assert_eq!((guarded, open), (18, vec!["/healthz", "/metrics", "/readyz", "/v1/openapi.json"]));
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
