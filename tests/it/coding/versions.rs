//! Purges, new fills and unsafe methods while a coder works: never two versions.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use super::{BROTLI, asks, css, idle, made, text, until_coded};
use crate::support::{
    coded::{coding, decoded},
    deadline::eventually,
    edge::Edge,
    message::Request,
    origin::Origin,
};

const URL: &str = "http://lms-a.example/a";
/// Long enough that a coder works on it, at its highest level, for as long as a test needs to do something meanwhile.
const LONG: usize = 300 << 10;

/// Asks so often that the highest level is wanted, and waits until a coder has begun with it.
async fn begin_coding(edge: &Edge, body: &[u8]) {
    let mut client = edge.client().await;
    client.ask(&Request::get("/a")).await.expect_body(200, body);
    until_coded(edge, &asks("/a", BROTLI), "br", body).await;
    idle(edge).await;
    let before = edge.metric("lectern_coding_source_bytes_total", &[]).await;
    eventually("a coder at work", async || {
        client.ask(&asks("/a", BROTLI)).await.expect(200);
        edge.metric("lectern_coding_source_bytes_total", &[]).await > before
    })
    .await;
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    Purged,
    /// In another way, and no fill tells the coder of it.
    PurgedAs(&'static str),
    Posted,
    Replaced,
}

/// Purges that cover the style sheet at `/a`, which has the tag `t` and the module `a`.
const PURGES: [&str; 5] = [
    r#"{"kind": "site", "site": "lms"}"#,
    r#"{"kind": "prefix", "url": "http://lms-a.example"}"#,
    r#"{"kind": "tag", "tag": "t", "site": "lms"}"#,
    r#"{"kind": "module", "module": "a", "site": "lms"}"#,
    r#"{"kind": "tag", "tag": "t", "site": "lms", "soft": true}"#,
];

#[tokio::test]
async fn what_was_outdated_while_it_was_coded_is_neither_kept_nor_served() {
    let [.., softly] = PURGES.map(Ends::PurgedAs);
    for ends in [Ends::Purged, softly, Ends::Posted, Ends::Replaced] {
        let (origin, old, new) = (Origin::start().await, text(1, LONG), text(2, LONG));
        let css = |body: &[u8]| css(body).field("Surrogate-Key", "t");
        origin.on("/a", css(&old));
        let rule = "[[site.rule]]\nname = \"all\"\npath = \"/{module}\"\nmodule = \"{module}\"\nmethod = [\"GET\"]\nverdict = \"cache\"\n\
                    request_directives = true\n[cache.coding]\nbudget = \"1GiB\"\n";
        let edge = Edge::before(&origin, rule).await;
        begin_coding(&edge, &old).await;
        let before = made(&edge).await;
        origin.on("/a", css(&new).instead("ETag", "\"v2\""));
        let mut asked = asks("/a", BROTLI);
        match ends {
            Ends::Purged => edge.purge(URL).await,
            Ends::PurgedAs(what) => _ = edge.control("POST", "/v1/purges", what).await.expect(200),
            Ends::Posted => _ = edge.ask(&Request::new("POST", "/a").body("x")).await.expect(200),
            Ends::Replaced => asked = asked.field("Cache-Control", "no-cache"),
        }
        // A new fill lands while the coder is still at the old one; or none, and the record alone tells it.
        if !matches!(ends, Ends::PurgedAs(_)) {
            let reply = edge.ask(&asked).await.expect(200);
            assert!(decoded(&reply) == new, "{ends:?}: {reply}");
        }
        assert_eq!(edge.metric("lectern_coding_queue", &[]).await, 1.0, "{ends:?}: it was not meanwhile");
        idle(&edge).await;
        assert_eq!(
            edge.metric("lectern_coding_not_made_total", &["reason=\"outdated\""]).await,
            1.0,
            "{ends:?}"
        );
        assert_eq!(made(&edge).await, before, "{ends:?}");
        let reply = edge.ask(&asks("/a", BROTLI)).await.expect(200);
        assert!(decoded(&reply) == new, "{ends:?}: {reply}");
        let reply = until_coded(&edge, &asks("/a", BROTLI), "br", &new).await;
        assert!(reply.field("etag").unwrap().starts_with("\"v2-lectern-br-"), "{ends:?}: {reply}");
    }
}

#[tokio::test]
async fn a_purge_of_any_kind_covers_the_variants_and_a_soft_one_lets_them_serve_stale() {
    let (origin, version) = (Origin::start().await, Arc::new(AtomicU64::new(0)));
    let now = version.clone();
    origin.on_call("/a", move |_, _| {
        let n = now.load(SeqCst);
        let says = "public, max-age=600, stale-while-revalidate=600";
        css(text(n, 20_000))
            .instead("ETag", format!("\"v{n}\""))
            .instead("Cache-Control", says)
            .field("xkey", "t")
    });
    let store = "[cache.coding]\nbudget = \"1GiB\"\n[disk]\nflush_interval = \"50ms\"\n\
                 [[disk.folder]]\npath = \"store\"\nlimit = \"64MiB\"\n";
    let rule =
        "[[site.rule]]\nname = \"all\"\npath = \"/{module}\"\nmodule = \"{module}\"\nverdict = \"cache\"\n";
    let mut edge = Edge::before(&origin, &format!("{rule}{store}")).await;
    let asked = asks("/a", BROTLI);
    for (n, what) in (0..).zip(PURGES) {
        let old = until_coded(&edge, &asked, "br", &text(n, 20_000)).await;
        version.store(n + 1, SeqCst);
        edge.control("POST", "/v1/purges", what).await.expect(200);
        if what.contains("soft") {
            edge.ask(&asked).await.expect_body(200, &old.body);
            edge.outcomes("stale", 1).await;
            edge.settled().await;
        } else if n % 2 == 1 {
            edge.stop().await;
            edge.start_again().await;
        }
        for _ in 0..2 {
            let reply = edge.ask(&asked).await.expect(200);
            assert!(decoded(&reply) == text(n + 1, 20_000), "{what}: {reply}");
        }
    }
    assert_eq!(origin.hits("/a"), 1 + PURGES.len());
}

#[tokio::test]
async fn no_answer_after_a_purge_is_of_a_version_before_it_in_any_coding() {
    let (origin, versions) = (Origin::start().await, 12);
    let answer = |n: u64| css(text(n, 20_000)).instead("ETag", format!("\"v{n}\""));
    origin.on("/a", answer(0));
    let edge = Edge::before(&origin, "[cache.coding]\nbudget = \"1GiB\"\nthreads = 2\n").await;
    let mut clients = Vec::new();
    for accepts in [BROTLI, "gzip", "zstd", "identity", "br, gzip, identity;q=0"] {
        clients.push((edge.client().await, asks("/a", accepts)));
    }
    let mut coded = 0;
    for n in 0..versions {
        let body = text(n, 20_000);
        // Odd versions are long enough in place for all variants, even ones are purged while these are made.
        for _ in 0..if n % 2 == 0 { 3 } else { 20 } {
            for (client, request) in &mut clients {
                let reply = client.ask(request).await.expect(200);
                assert!(decoded(&reply) == body, "version {n}: {reply}");
                let tag = reply.field("etag").unwrap().trim_start_matches("W/");
                assert!(
                    tag.strip_prefix(&format!("\"v{n}")).is_some_and(|r| r.starts_with(['"', '-'])),
                    "{reply}"
                );
                coded += u32::from(coding(&reply) != "identity");
            }
        }
        origin.on("/a", answer(n + 1));
        edge.purge(URL).await;
    }
    assert!(coded > 50, "{coded} answers were coded");
    assert_eq!(origin.hits("/a"), versions as usize);
    assert_eq!(edge.outcome("failed").await, 0);
}
