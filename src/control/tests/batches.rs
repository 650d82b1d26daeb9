//! Several purges in one call.

use super::{node, subject};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

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
    let dry =
        node.purge(r#"[{"kind":"all","dry_run":true},{"kind":"site","site":"lms","dry_run":true}]"#).await;
    let told = dry.json();
    assert_eq!((dry.status.as_u16(), &told["applied"]), (200, &json!(false)), "{told}");
    assert!(told["results"].as_array().unwrap().iter().all(|one| one["purge"]["applied"] == json!(false)));
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
