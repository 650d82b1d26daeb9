//! What comes shortly after a purge may be old still: it is kept until the end of that time only. And purges that only count.

use serde_json::{Value, json};

use crate::support::{
    answer::Answer,
    client::Client,
    deadline::{eventually, within},
    edge::Edge,
    message::{Reply, Request},
    origin::Origin,
};

async fn purge(edge: &Edge, what: Value) -> Value {
    let reply = edge.control("POST", "/v1/purges", &what.to_string()).await.expect(200);
    serde_json::from_slice(&reply.body).unwrap()
}

fn keeps(reply: &Reply) -> Option<&str> {
    reply.field("cache-control")
}

/// Answers with how often it was asked; more fields of it say that it may be kept.
fn counting(origin: &Origin, path: &str) {
    origin.on_call(path, |_, n| {
        let answer = Answer::storable(n.to_string()).field("Expires", "Thu, 01 Jan 2099 00:00:00 GMT");
        answer.field("xkey", "t").field("CDN-Cache-Control", "max-age=600").field("Vary", "Accept-Language")
    });
}

#[tokio::test]
async fn what_comes_while_a_purge_settles_is_shared_and_browsers_ask_again() {
    let origin = Origin::start().await;
    for path in ["/a", "/b"] {
        counting(&origin, path);
    }
    let mut edge = Edge::before(
        &origin,
        "[disk]\nflush_interval = \"50ms\"\n[[disk.folder]]\npath = \"store\"\nlimit = \"64MiB\"\n",
    )
    .await;
    let kept = edge.get("/a").await.expect_body(200, "0");
    assert_eq!(keeps(&kept), Some("public, max-age=600"));
    edge.get("/b").await.expect_body(200, "0");
    // Half a minute, unless it says otherwise.
    let told = purge(&edge, json!({"kind": "tag", "tag": "t", "site": "lms"})).await;
    assert_eq!(told["settle"], json!(30));
    for round in ["miss", "hit", "after a restart"] {
        if round == "after a restart" {
            edge.stop().await;
            edge.start_again().await;
        }
        let reply = edge.get("/a").await.expect_body(200, "1");
        assert_eq!(keeps(&reply), Some("no-cache"), "{round}: {reply}");
        assert!(reply.field("expires").or(reply.field("cdn-cache-control")).is_none(), "{round}: {reply}");
        if let Some(ttl) = reply.field("cache-status").unwrap().strip_prefix("lectern; hit; ttl=") {
            assert!(ttl.parse::<u64>().unwrap() <= 30, "{round}: {reply}");
        }
        let mut again = edge.client().await;
        again.ask(&Request::get("/a").field("If-None-Match", "\"v1\"")).await.expect_body(304, "");
    }
    assert_eq!(origin.hits("/a"), 2);
    // At once: what comes after it is as new as can be.
    purge(&edge, json!({"kind": "url", "url": "http://lms.example/c", "settle": 0})).await;
    origin.on("/c", Answer::storable("c"));
    assert_eq!(keeps(&edge.get("/c").await), Some("public, max-age=600"));
    // What was not purged is not concerned.
    assert_eq!(keeps(&edge.get("/b").await.expect_body(200, "1")), Some("no-cache"));
}

#[tokio::test]
async fn what_came_while_a_purge_settled_is_asked_for_anew_at_its_end() {
    let origin = Origin::start().await;
    for path in ["/hard", "/soft"] {
        origin.on_call(path, |seen, n| {
            let says = "public, max-age=600, stale-while-revalidate=600";
            assert_eq!(seen.field("if-none-match"), None, "a purge is asked about by no validator");
            Answer::storable(n.to_string()).instead("Cache-Control", says)
        });
    }
    let edge = Edge::before(&origin, "").await;
    let web = edge.address("web").await;
    for (path, soft) in [("/hard", false), ("/soft", true)] {
        edge.get(path).await.expect_body(200, "0");
        let url = format!("http://lms.example{path}");
        purge(&edge, json!({"kind": "url", "url": url, "settle": 1, "soft": soft})).await;
        let mut client = Client::connect(web).await;
        let mut last = None;
        within("what came at first goes", async {
            while last.as_deref() != Some("2") {
                let reply = client.get(path).await.expect(200);
                assert!(Some(reply.text()) >= last, "{path}: {reply}");
                last = Some(reply.text());
                // Without a break, but others have their turn.
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(keeps(&client.get(path).await), Some("public, max-age=600, stale-while-revalidate=600"));
        assert_eq!((origin.hits(path), edge.outcome("stale").await > 0), (3, soft), "{path}");
    }
    eventually("hits", async || edge.outcome("hit").await >= 2).await;
}

#[tokio::test]
async fn a_dry_run_tells_how_much_and_changes_nothing() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| {
        let tag = if seen.path().starts_with("/m/") { "m" } else { "n" };
        Answer::storable(&seen.target).field("xkey", tag).field("Vary", "Accept-Language")
    });
    let disk = "[disk]\nflush_interval = \"50ms\"\n[[disk.folder]]\npath = \"store\"\nlimit = \"64MiB\"\n";
    for (rest, on_disk) in [("", 0), (disk, 10)] {
        let edge = Edge::before(&origin, rest).await;
        for target in ["/m/1", "/m/2", "/m/2?q", "/n/1", "/n/2"] {
            for language in ["de", "en"] {
                let asked = Request::get(target).field("Accept-Language", language);
                edge.ask(&asked).await.expect_body(200, target);
            }
        }
        edge.settled().await;
        if on_disk > 0 {
            eventually("all on disk", async || {
                edge.metric("lectern_disk_responses", &[]).await == f64::from(on_disk)
            })
            .await;
        }
        let asked = origin.requests().len();
        for (what, at_least) in [
            (json!({"kind": "url", "url": "http://lms.example/m/2"}), 4),
            (json!({"kind": "url", "url": "http://lms.example/m/2", "exact": true}), 2),
            (json!({"kind": "prefix", "url": "http://lms.example/m"}), 6),
            (json!({"kind": "tag", "tag": "n", "site": "lms"}), 4),
            (json!({"kind": "tag", "tag": "none", "site": "lms"}), 0),
            (json!({"kind": "site", "site": "lms", "soft": true}), 10),
            (json!({"kind": "all"}), 10),
        ] {
            let mut dry = what.clone();
            dry["dry_run"] = json!(true);
            let told = purge(&edge, dry).await;
            let counts = json!({"at_least": at_least, "at_most": at_least + on_disk});
            assert_eq!((&told["dry_run"], &told["applied"]), (&counts, &json!(false)), "{what}");
        }
        let told = edge.command(&["purge", "--prefix", "http://lms.example/m", "--dry-run"]);
        assert_eq!(told.status.code(), Some(0));
        assert!(
            String::from_utf8_lossy(&told.stdout).contains("not purged: at least 6 stored responses"),
            "{told:?}"
        );
        assert_eq!(edge.metric("lectern_ledger_number", &[]).await, 0.0);
        purge(&edge, json!({"kind": "prefix", "url": "http://lms.example/m"})).await;
        let told = purge(&edge, json!({"kind": "all", "dry_run": true})).await;
        assert_eq!(told["dry_run"]["at_least"], json!(4), "what is purged is not counted twice");
        edge.get("/n/1").await.expect_body(200, "/n/1");
        assert_eq!(origin.requests().len(), asked + 1, "without a language it was not stored before");
    }
}
