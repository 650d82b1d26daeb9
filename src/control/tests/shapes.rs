//! Calls as other products take them: what is written, and what the caller reads.

use super::{Answer, Node, described, node, node_of};
use crate::control::{Rate, Role, Shape};
use serde_json::{Value, json};

impl Node {
    /// A call with this token, and fields.
    async fn calls(&self, path: &str, token: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let shown = match path.starts_with("/service/") {
            true => ("fastly-key", token.to_owned()),
            false => ("authorization", format!("Bearer {token}")),
        };
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let answer = self.send("POST", path, fields.chain([shown]), body).await;
        described("POST", path, &answer);
        answer
    }

    /// The records from this number on, without what differs from time to time.
    async fn records(&self, from: u64) -> Vec<Value> {
        let entries = self.ledger.entries(from, 100).await.unwrap();
        let record = |text: &str| {
            let mut record: Value = serde_json::from_str(text).unwrap();
            for name in ["sites", "when", "why"] {
                record.as_object_mut().unwrap().remove(name);
            }
            record
        };
        entries.iter().map(|entry| record(&entry.text)).collect()
    }
}

/// What stands in each record beside this.
fn record(kind: &str, more: &Value) -> Value {
    let mut record = json!({"kind": kind, "settle": 30, "who": "pipeline", "from": "192.0.2.7:4711"});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

#[tokio::test]
async fn fastly_purges_keys_and_all_and_answers_with_ids() {
    let node = node();
    let ledger = node.ledger.last().identity.to_string();
    let token = node.token.clone();
    let answer = node.calls("/service/lms/purge/course%2F7", &token, &[], "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (200, json!({"status": "ok", "id": format!("{ledger}-1")}))
    );
    let soft = [("fastly-soft-purge", "1")];
    assert_eq!(node.calls("/service/lms/purge/course-7", &token, &soft, "").await.status, 200);
    let keys = [("surrogate-key", "b  a"), ("fastly-soft-purge", "1")];
    let answer = node.calls("/service/lms/purge", &token, &keys, "").await;
    assert_eq!(answer.json(), json!({"a": format!("{ledger}-3"), "b": format!("{ledger}-4")}));
    let answer = node.calls("/service/lms/purge", &token, &[], r#"{"surrogate_keys":["c"]}"#).await;
    assert_eq!(answer.json(), json!({"c": format!("{ledger}-5")}));
    // Soft is not said of all: more is outdated, never less.
    let answer = node.calls("/service/lms/purge_all", &token, &soft, "").await;
    assert_eq!(answer.json()["id"], format!("{ledger}-6"));
    let tag = |tag: &str, soft: bool| match soft {
        true => record("purge-tag", &json!({"tag": tag, "soft": true})),
        false => record("purge-tag", &json!({"tag": tag})),
    };
    let written =
        [tag("course/7", false), tag("course-7", true), tag("a", true), tag("b", true), tag("c", false)];
    assert_eq!(node.records(1).await, [&written[..], &[record("purge-site", &json!({}))]].concat());
}

#[tokio::test]
async fn cloudflare_purges_files_tags_hosts_prefixes_and_everything_of_its_own_zone() {
    let node = node();
    let ledger = node.ledger.last().identity.to_string();
    let token = node.token.clone();
    let zone = "/client/v4/zones/lms/purge_cache";
    let answer = node
        .calls(
            zone,
            &token,
            &[],
            r#"{"files":["https://lms.example/a?x=1",{"url":"http://lms.example/b","headers":{"Accept-Language":"de"}}],
                "tags":["t"],"hosts":["lms.example"],"prefixes":["lms.example/v2/"]}"#,
        )
        .await;
    let told = json!({"success": true, "errors": [], "messages": [], "result": {"id": ledger, "numbers": [1, 2, 3, 4, 5]}});
    assert_eq!((answer.status.as_u16(), answer.json()), (200, told));
    let answer = node.calls(zone, &token, &[], r#"{"purge_everything":true}"#).await;
    assert_eq!(answer.json()["result"]["numbers"], json!([6]));
    assert_eq!(
        node.records(1).await,
        [
            record("purge-url", &json!({"path": "/a", "query": "x=1"})),
            record("purge-url", &json!({"path": "/b", "query": ""})),
            record("purge-tag", &json!({"tag": "t"})),
            record("purge-site", &json!({})),
            record("purge-prefix", &json!({"path": "/v2"})),
            record("purge-site", &json!({})),
        ]
    );
}

/// Path, token, fields, body; status, and what the answer says.
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test]
async fn a_shape_that_is_off_or_called_wrongly_changes_nothing_and_says_so_in_its_own_form() {
    let off = node_of(Rate::default(), Vec::new());
    let only = node_of(Rate::default(), vec![Shape::Cloudflare]);
    for (node, path, status) in [
        (&off, "/service/lms/purge_all", 404),
        (&off, "/client/v4/zones/lms/purge_cache", 404),
        (&only, "/service/lms/purge/a", 404),
        (&only, "/client/v4/zones/lms/purge_cache", 200),
    ] {
        let answer = node.calls(path, &node.token, &[], r#"{"tags":["a"]}"#).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.text.contains("shapes = ["), status == 404, "{}", answer.text);
        assert_eq!(node.ledger.last().n, u64::from(status == 200));
    }
    let node = node();
    let release = node.tokens.iter().find(|(role, _)| *role == Role::Release).unwrap().1.clone();
    let long = format!(r#"{{"tags":[{}"t"]}}"#, r#""t","#.repeat(256));
    let table: [Row<'_>; 24] = [
        ("/service/%ff/purge/a", &node.token, &[], "", 400, "UTF-8"),
        ("/service/%ff/purge", &node.token, &[], "", 400, "UTF-8"),
        ("/service/%ff/purge_all", &node.token, &[], "", 400, "UTF-8"),
        ("/client/v4/zones/%ff/purge_cache", &node.token, &[], "", 400, "UTF-8"),
        ("/service/nobody/purge/a", &node.token, &[], "", 404, "nobody"),
        ("/service/nobody/purge_all", &node.token, &[], "", 404, "nobody"),
        ("/service/nobody/purge", &node.token, &[("surrogate-key", "k")], "", 422, "nobody"),
        ("/service/lms/purge/a", &node.token, &[("fastly-soft-purge", "yes")], "", 400, "Fastly-Soft-Purge"),
        ("/service/lms/purge", &node.token, &[], "", 422, "surrogate keys"),
        ("/service/lms/purge", &node.token, &[], "{", 400, "EOF"),
        ("/service/lms/purge", &node.token, &[], r#"{"keys":["a"]}"#, 422, "surrogate_keys"),
        ("/service/lms/purge", &node.token, &[], r#"{"surrogate_keys":["a",""]}"#, 422, "empty"),
        ("/service/lms/purge/a", &release, &[], "", 403, "purge"),
        ("/service/lms/purge/a", "", &[], "", 401, "missing"),
        ("/client/v4/zones/nobody/purge_cache", &node.token, &[], r#"{"tags":["a"]}"#, 404, "7003"),
        ("/client/v4/zones/lms/purge_cache", &node.token, &[], "{}", 422, "purge_everything"),
        ("/client/v4/zones/lms/purge_cache", &node.token, &[], r#"{"purge_everything":false}"#, 422, "1012"),
        (
            "/client/v4/zones/lms/purge_cache",
            &node.token,
            &[],
            r#"{"purge_everything":true,"tags":["a"]}"#,
            422,
            "alone",
        ),
        (
            "/client/v4/zones/lms/purge_cache",
            &node.token,
            &[],
            r#"{"everything":true}"#,
            422,
            "unknown field",
        ),
        ("/client/v4/zones/lms/purge_cache", &node.token, &[], "purge", 400, "JSON"),
        ("/client/v4/zones/lms/purge_cache", &node.token, &[], &long, 413, "256"),
        (
            "/client/v4/zones/lms/purge_cache",
            &node.token,
            &[],
            r#"{"tags":["a"],"files":["https://lms.example/a","https://other.example/"]}"#,
            422,
            "is not of the site",
        ),
        (
            "/client/v4/zones/lms/purge_cache",
            &node.token,
            &[],
            r#"{"hosts":["nobody.example"]}"#,
            422,
            "nobody.example",
        ),
        ("/client/v4/zones/lms/purge_cache", &release, &[], r#"{"tags":["a"]}"#, 403, "10000"),
    ];
    for (path, token, fields, body, status, says) in table {
        let answer = node.calls(path, token, fields, body).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
        let told = answer.json();
        let its_own = match path.starts_with("/service/") {
            true => told["msg"].is_string() && told["detail"].is_string(),
            false => {
                told["success"] == false && told["errors"][0]["code"].is_u64() && told["result"].is_null()
            }
        };
        assert!(its_own && answer.text.contains(says), "{path} {body}: {}", answer.text);
    }
    assert_eq!(node.ledger.last().n, 0);
    node.ledger.close();
    for (path, body) in [
        ("/service/lms/purge_all", ""),
        ("/service/lms/purge", r#"{"surrogate_keys":["a","b"]}"#),
        ("/client/v4/zones/lms/purge_cache", r#"{"purge_everything":true}"#),
    ] {
        let answer = node.calls(path, &node.token, &[], body).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text);
        assert!(answer.headers.contains_key("retry-after"), "{path}");
    }
}
