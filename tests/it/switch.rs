//! The switch: a site or the node relays everything, or spares its origin, without a reload.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{answer::Answer, edge::Edge, message::Request, origin::Origin};

/// Two sites, of which `lms` answers for every host but that of `other`.
async fn before(origin: &Origin) -> Edge {
    let site = |name: &str| {
        format!("[[site]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\norigin = \"lms\"\n{RULES}")
    };
    Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n{}{}",
        origin.addr(),
        site("lms"),
        site("other"),
    ))
    .await
}

const RULES: &str = "[[site.rule]]\nname = \"closed\"\nprefix = \"/closed/\"\nverdict = \"refuse\"\n\
                     [[site.rule]]\nname = \"wished\"\nprefix = \"/wished/\"\nverdict = \"cache\"\nrequest_directives = true\n";

/// Stale since ten seconds.
fn stale(body: &str) -> Answer {
    Answer::ok(body).field("ETag", "\"1\"").field("Cache-Control", "max-age=10").field("Age", "20")
}

fn other(target: &str) -> Request {
    Request::get(target).host("other.example")
}

/// Exit code, answer and what was said beside it.
async fn switch(edge: &Edge, arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [&["switch"], arguments, &["--reason", "a drill"]].concat();
    let Output { status, stdout, stderr } = edge.run(&arguments).await;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

async fn switches(edge: &Edge, arguments: &[&str]) {
    let (code, out, said) = switch(edge, arguments).await;
    assert_eq!((code, &*out), (Some(0), "applied\n"), "{said}");
}

/// What the node says is switched: site, mode, who, why.
async fn switched(edge: &Edge) -> Vec<[Value; 4]> {
    let told = edge.control("GET", "/v1/switches", "").await.expect(200).text();
    let mut told: Value = serde_json::from_str(&told).unwrap();
    let list = told["switches"].as_array_mut().unwrap();
    assert!(list.iter().all(|each| each["when"].is_u64() && each["from"] == "127.0.0.1"), "{list:?}");
    list.iter_mut().map(|each| ["site", "mode", "who", "why"].map(|key| each[key].take())).collect()
}

async fn explained(edge: &Edge, target: &str) -> String {
    let told = edge.run(&["explain", &format!("http://lms-a.example{target}")]).await;
    String::from_utf8(told.stdout).unwrap()
}

async fn gauge(edge: &Edge, site: &str, mode: &str) -> f64 {
    let labels = [format!("site=\"{site}\""), format!("mode=\"{mode}\"")];
    edge.metric("lectern_switched", &labels.each_ref().map(String::as_str)).await
}

#[tokio::test]
async fn a_site_that_relays_asks_for_everything_stores_nothing_and_keeps_what_it_has() {
    let origin = Origin::start().await;
    for name in ["stored", "posted", "new"] {
        origin.on_call(&format!("/{name}"), move |_, before| Answer::storable(format!("{name} {before}")));
    }
    let edge = before(&origin).await;
    for target in ["/stored", "/posted"] {
        edge.get(target).await.expect(200);
    }
    edge.ask(&other("/stored")).await.expect_body(200, "stored 1");

    switches(&edge, &["relay", "--site", "lms"]).await;
    assert_eq!(switched(&edge).await, [["lms", "relay", "test", "a drill"].map(|word| json!(word))]);
    let relayed = edge.get("/stored").await.expect_body(200, "stored 2");
    let told = "lectern; fwd=bypass; fwd-status=200; detail=switch-relay";
    assert_eq!(relayed.field("cache-status"), Some(told));
    edge.get("/new").await.expect_body(200, "new 0");
    edge.get("/new").await.expect_body(200, "new 1");
    edge.get("/closed/a").await.expect(403);
    edge.ask(&Request::new("HEAD", "/stored")).await.expect(200);
    edge.ask(&Request::new("POST", "/posted").body("x")).await.expect(200);
    edge.ask(&other("/stored")).await.expect_body(200, "stored 1");
    assert!(explained(&edge, "/stored").await.contains("(switch-relay)"));
    assert_eq!((gauge(&edge, "lms", "relay").await, gauge(&edge, "other", "relay").await), (1.0, 0.0));

    switches(&edge, &["normal", "--site", "lms"]).await;
    edge.get("/stored").await.expect_body(200, "stored 0");
    edge.get("/new").await.expect_body(200, "new 2");
    // What an unsafe method outdates it outdates all the same.
    edge.get("/posted").await.expect_body(200, "posted 2");
    assert_eq!((switched(&edge).await.len(), gauge(&edge, "lms", "relay").await), (0, 0.0));
    // Of what may be stored; a POST goes by its method.
    assert_eq!(edge.outcome("pass").await, 5);
    let lines = edge.log(13).await;
    let detailed: Vec<_> = lines.iter().filter(|line| line["detail"] == "switch-relay").collect();
    assert!(detailed.len() == 4 && detailed.iter().all(|line| line["outcome"] == "pass"), "{lines:#?}");
    edge.says("switched site=\"lms\" mode=relay who=\"test\" why=\"a drill\" from=\"127.0.0.1\"").await;
}

#[tokio::test]
async fn a_node_that_spares_its_origin_asks_only_for_what_is_absent_purged_or_never_to_be_stale() {
    let origin = Origin::start().await;
    let asked = ["/old", "/soft", "/hard", "/wished/old", "/must", "/private"];
    for target in asked {
        origin.on(target, stale("first"));
    }
    origin.on("/must", stale("first").instead("Cache-Control", "max-age=10, must-revalidate"));
    origin.on("/private", stale("hers").instead("Cache-Control", "private, max-age=10"));
    origin.on("/absent", Answer::storable("absent"));
    let edge = before(&origin).await;
    for target in asked {
        edge.get(target).await.expect(200);
    }
    edge.settled().await;
    let soft = json!({"kind": "url", "url": "http://lms.example/soft", "soft": true, "settle": 0});
    edge.control("POST", "/v1/purges", &soft.to_string()).await.expect(200);
    edge.purge("http://lms.example/hard").await;
    let hits = asked.map(|target| origin.hits(target));

    switches(&edge, &["spare"]).await;
    let reload = |target| Request::get(target).field("Cache-Control", "no-cache");
    for request in [Request::get("/old"), Request::get("/soft"), reload("/wished/old")] {
        let spared = edge.ask(&request).await.expect_body(200, "first");
        let status = spared.field("cache-status").unwrap();
        assert!(status.starts_with("lectern; hit; ttl="), "{status}");
        assert!(status.ends_with("; detail=switch-spare"), "{status}");
    }
    for target in ["/hard", "/must", "/private", "/absent", "/absent"] {
        edge.get(target).await.expect(200);
    }
    let more: Vec<_> = asked.iter().zip(hits).map(|(target, before)| origin.hits(target) - before).collect();
    assert_eq!((more, origin.hits("/absent")), (vec![0, 0, 1, 0, 1, 1], 1));
    let told = explained(&edge, "/old").await;
    assert!(told.contains("(switch-spare)"), "{told}");
    assert_eq!((gauge(&edge, "", "spare").await, gauge(&edge, "other", "spare").await), (1.0, 1.0));
    edge.outcomes("stale", 3).await;

    switches(&edge, &["normal"]).await;
    edge.get("/old").await.expect(200);
    assert_eq!(origin.hits("/old"), hits[0] + 1);
    let spared = |line: &&Value| line["detail"] == "switch-spare" && line["outcome"] == "stale";
    assert_eq!(edge.log(15).await.iter().filter(spared).count(), 3);
}

#[tokio::test]
async fn what_is_switched_stays_so_over_a_restart_and_an_upgrade() {
    let origin = Origin::start().await;
    origin.on_call("/a", |_, before| Answer::storable(format!("version {before}")));
    let mut edge = before(&origin).await;
    edge.get("/a").await.expect(200);
    switches(&edge, &["relay", "--site", "lms"]).await;
    edge.kill().await;
    edge.start_again().await;
    edge.get("/a").await.expect_body(200, "version 1");
    edge.get("/a").await.expect_body(200, "version 2");
    edge.says("switched since before this start site=\"lms\" mode=relay").await;

    let new = edge.upgrade().await;
    new.get("/a").await.expect_body(200, "version 3");
    new.get("/a").await.expect_body(200, "version 4");
    let (code, _, said) = switch(&new, &["spare"]).await;
    assert_eq!((code, said.contains("site lms has a switch of its own: relay")), (Some(0), true), "{said}");
    switches(&new, &["normal", "--site", "lms"]).await;
    assert_eq!(switched(&new).await, [[json!(null), json!("spare"), json!("test"), json!("a drill")]]);
    new.get("/a").await.expect_body(200, "version 5");
    new.get("/a").await.expect_body(200, "version 5");
    assert_eq!(edge.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_switch_that_cannot_be_says_why_and_changes_nothing() {
    let origin = Origin::start().await;
    let edge = before(&origin).await;
    for (body, status, kind) in [
        (json!({"mode": "relay", "reason": " "}), 422, "no-reason"),
        (json!({"mode": "relay"}), 422, "wrong-fields"),
        (json!({"mode": "off", "reason": "x"}), 422, "wrong-fields"),
        (json!({"mode": "relay", "site": "gone", "reason": "x"}), 404, "unknown-site"),
        (json!({"mode": "normal", "site": "gone", "reason": "x"}), 404, "unknown-site"),
    ] {
        let told = edge.control("POST", "/v1/switches", &body.to_string()).await.expect(status).text();
        assert!(told.contains(&format!("\"urn:lectern:{kind}\"")), "{told}");
    }
    assert_eq!(switch(&edge, &["relay", "--site", "gone"]).await.0, Some(65));
    assert!(switched(&edge).await.is_empty());
}
