//! Purges as pipelines of other products ask for them: `PURGE` on a site's own listener, and calls of the control API.

use serde_json::{Value, json};

use crate::support::{
    answer::Answer,
    client::Client,
    edge::Edge,
    message::{Reply, Request},
    origin::Origin,
};

const FROM_HERE: &str = "purge_from = [\"127.0.0.0/8\"]";

/// Answers with how often it was asked, tagged `t` below `/tagged`.
fn counted(origin: &Origin, path: &str) {
    let tag = if path.starts_with("/tagged") { "t u" } else { "none" };
    origin.on_call(path, move |_, n| Answer::storable(n.to_string()).field("Surrogate-Key", tag));
}

async fn ask(edge: &Edge, request: &Request) -> (u16, Value) {
    let reply = edge.ask(request).await;
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
}

fn purge(target: &str) -> Request {
    Request::new("PURGE", target)
}

async fn records(edge: &Edge) -> Vec<Value> {
    let reply = edge.control("GET", "/v1/ledger", "").await.expect(200);
    let page: Value = serde_json::from_slice(&reply.body).unwrap();
    let text = |entry: &Value| serde_json::from_str(entry["record"].as_str().unwrap()).unwrap();
    page["records"].as_array().unwrap().iter().map(text).collect()
}

#[tokio::test]
async fn a_purge_of_an_allowed_client_is_in_force_when_it_is_answered_and_never_reaches_the_origin() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen, n| {
        let query = seen.target.split_once('?').map_or("", |(_, query)| query);
        Answer::storable(format!("{query}{n}")).field("Vary", "Accept-Language")
    });
    for path in ["/tagged/a", "/tagged/b"] {
        counted(&origin, path);
    }
    let edge = Edge::before(&origin, FROM_HERE).await;
    let get = async |target: &str| edge.get(target).await.expect(200).text();
    for (target, body) in [("/a", "0"), ("/a?x", "x1"), ("/tagged/a", "0"), ("/tagged/b", "0")] {
        assert_eq!(get(target).await, body);
    }
    edge.ask(&Request::get("/a").field("Accept-Language", "de")).await.expect_body(200, "2");
    let ledger = records(&edge).await.len();
    assert_eq!(ledger, 0);

    // The URL with its own query, all variants, however it is spelt.
    let (status, told) = ask(&edge, &purge("/%61").field("Accept-Language", "fr")).await;
    assert_eq!((status, &told["status"]), (200, &json!("ok")));
    assert!(told["id"].as_str().unwrap().ends_with("-1"), "{told}");
    assert_eq!(get("/a").await, "3");
    edge.ask(&Request::get("/a").field("Accept-Language", "de")).await.expect_body(200, "4");
    assert_eq!(get("/a?x").await, "x1");
    assert_eq!(ask(&edge, &purge("/a?x")).await.0, 200);
    assert_eq!((get("/a?x").await, get("/a").await), ("x5".into(), "3".into()));

    let (status, told) = ask(&edge, &purge("/").field("Surrogate-Key", "t  unknown")).await;
    let ids =
        [&told["t"], &told["unknown"]].map(|id| id.as_str().unwrap().rsplit('-').next().unwrap().to_owned());
    assert_eq!((status, ids), (200, ["3".to_owned(), "4".to_owned()]));
    assert_eq!((get("/tagged/a").await, get("/tagged/b").await), ("1".into(), "1".into()));
    let told = records(&edge).await;
    assert_eq!(told.len(), 4);
    for record in &told {
        assert_eq!(
            (&record["who"], &record["sites"]),
            (&json!("PURGE by address"), &json!(["lms"])),
            "{record}"
        );
        assert!(record["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
    }
    assert!(origin.requests().iter().all(|seen| seen.method == "GET"));
    let lines = edge.log(15).await;
    let purges: Vec<_> = lines.iter().filter(|line| line["method"] == "PURGE").collect();
    assert_eq!(purges.len(), 3);
    assert!(purges.iter().all(|line| line["outcome"] == "pass" && line["detail"] == "purged"), "{purges:?}");
}

#[tokio::test]
async fn a_soft_purge_by_method_serves_stale_once() {
    let origin = Origin::start().await;
    origin.on_call("/a", |_, n| {
        Answer::storable(n.to_string())
            .instead("Cache-Control", "public, max-age=600, stale-while-revalidate=600")
    });
    let edge = Edge::before(&origin, FROM_HERE).await;
    edge.get("/a").await.expect_body(200, "0");
    assert_eq!(ask(&edge, &purge("/a").field("Fastly-Soft-Purge", "1")).await.0, 200);
    edge.get("/a").await.expect_body(200, "0");
    edge.outcomes("stale", 1).await;
    origin.reached("/a", 2).await;
    edge.settled().await;
    edge.get("/a").await.expect_body(200, "1");
    assert_eq!(records(&edge).await[0]["soft"], true);
}

/// A request with a body, as a client sends it that takes PURGE for POST.
fn with_body() -> Request {
    purge("/a").body("key=value")
}

#[tokio::test]
async fn a_purge_of_anybody_else_or_a_malformed_one_is_refused_and_changes_nothing() {
    let origin = Origin::start().await;
    counted(&origin, "/a");
    for (rest, request, status, word) in [
        ("", purge("/a"), 403, "purge-not-allowed"),
        ("", with_body(), 403, "purge-not-allowed"),
        ("purge_from = [\"192.0.2.0/24\"]", purge("/a"), 403, "purge-not-allowed"),
        // Nobody is believed whom the listener does not trust.
        (
            "purge_from = [\"192.0.2.0/24\"]",
            purge("/a").field("X-Forwarded-For", "192.0.2.1"),
            403,
            "purge-not-allowed",
        ),
        (FROM_HERE, purge("/a").field("Fastly-Soft-Purge", "yes"), 400, "bad-soft-purge"),
        (FROM_HERE, purge("/a").field("Surrogate-Key", " "), 400, "bad-surrogate-key"),
        (FROM_HERE, purge("/%zz"), 400, ""),
    ] {
        let edge = Edge::before(&origin, rest).await;
        let before = origin.requests().len();
        edge.get("/a").await.expect_body(200, before.to_string());
        let asked = origin.requests().len();
        let reply: Reply = edge.ask(&request).await.expect(status);
        assert!(reply.text().contains(word), "{rest} {reply}");
        edge.get("/a").await.expect_body(200, before.to_string());
        assert_eq!(origin.requests().len(), asked, "{rest}");
        assert!(asked > before && records(&edge).await.is_empty(), "{rest}");
        edge.outcomes("refused", 1).await;
        assert!(origin.requests().iter().all(|seen| seen.method == "GET"));
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_who_purges() {
    let origin = Origin::start().await;
    counted(&origin, "/a");
    let config = format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n[[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\n\
         origin = \"lms\"\npurge_from = [\"192.0.2.1/32\"]\n",
        origin.addr()
    );
    let edge = Edge::with(&config).await;
    for (client, status) in [("192.0.2.2", 403), ("192.0.2.1", 200), ("192.0.2.1, 192.0.2.2", 403)] {
        edge.ask(&purge("/a").field("X-Forwarded-For", client)).await.expect(status);
    }
    assert_eq!(records(&edge).await.len(), 1);
    assert_eq!(origin.requests().len(), 0);
    edge.outcomes("refused", 2).await;
}

#[tokio::test]
async fn what_explain_says_of_a_purge_is_what_becomes_of_it_then() {
    let origin = Origin::start().await;
    for (rest, outcome, status) in [(FROM_HERE, "pass", 200), ("", "refused", 403)] {
        let edge = Edge::before(&origin, rest).await;
        let told = edge
            .control("GET", "/v1/explain?url=http%3A%2F%2Flms.example%2Fa&method=PURGE", "")
            .await
            .expect(200);
        let told: Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(
            (&told["answer"]["outcome"], &told["answer"]["status"]),
            (&json!(outcome), &json!(status)),
            "{told}"
        );
        assert!(told["origin"].is_null() && records(&edge).await.is_empty(), "{told}");
        edge.ask(&purge("/a")).await.expect(status);
        edge.outcomes(outcome, 1).await;
    }
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn calls_of_other_products_are_in_force_when_they_are_answered() {
    let origin = Origin::start().await;
    for path in ["/a", "/v2/a", "/tagged/a"] {
        counted(&origin, path);
    }
    let edge = Edge::before(&origin, "[control]\nshapes = [\"fastly\", \"cloudflare\"]\n").await;
    let paths = ["/a", "/v2/a", "/tagged/a"];
    let mut n = [0; 3];
    let calls = [
        ("/service/lms/purge/t", "", [false, false, true]),
        ("/service/lms/purge", r#"{"surrogate_keys":["u","none"]}"#, [true, true, true]),
        ("/service/lms/purge_all", "", [true, true, true]),
        ("/client/v4/zones/lms/purge_cache", r#"{"files":["http://lms.example/a"]}"#, [true, false, false]),
        ("/client/v4/zones/lms/purge_cache", r#"{"prefixes":["lms.example/v2"]}"#, [false, true, false]),
        ("/client/v4/zones/lms/purge_cache", r#"{"purge_everything":true}"#, [true, true, true]),
    ];
    let all = async |n: &[u64; 3]| {
        for (path, n) in paths.iter().zip(n) {
            edge.get(path).await.expect_body(200, n.to_string());
        }
    };
    all(&n).await;
    for (path, body, covers) in calls {
        let token =
            [("Fastly-Key", edge.token().to_owned()), ("Authorization", format!("Bearer {}", edge.token()))];
        let request = token
            .iter()
            .fold(Request::new("POST", path), |request, (name, value)| request.field(name, value));
        Client::connect(edge.address("control").await).await.ask(&request.body(body)).await.expect(200);
        for (n, covers) in n.iter_mut().zip(covers) {
            *n += u64::from(covers);
        }
        all(&n).await;
        all(&n).await;
    }
    let asked: u64 = n.iter().map(|n| n + 1).sum();
    assert_eq!(origin.requests().len() as u64, asked);
    edge.outcomes("miss", asked).await;
}
