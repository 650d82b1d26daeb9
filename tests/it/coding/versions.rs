//! Purges, new fills and unsafe methods while a coder works: never two versions.

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
    SitePurged,
    Posted,
    Replaced,
}

#[tokio::test]
async fn what_was_outdated_while_it_was_coded_is_neither_kept_nor_served() {
    for ends in [Ends::Purged, Ends::SitePurged, Ends::Posted, Ends::Replaced] {
        let (origin, old, new) = (Origin::start().await, text(1, LONG), text(2, LONG));
        origin.on("/a", css(&old));
        let rule = "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nmethod = [\"GET\"]\nverdict = \"cache\"\n\
                    request_directives = true\n[cache.coding]\nbudget = \"1GiB\"\n";
        let edge = Edge::before(&origin, rule).await;
        begin_coding(&edge, &old).await;
        let before = made(&edge).await;
        origin.on("/a", css(&new).instead("ETag", "\"v2\""));
        let mut asked = asks("/a", BROTLI);
        match ends {
            Ends::Purged => edge.purge(URL).await,
            Ends::SitePurged => edge.purge_site("lms").await,
            Ends::Posted => _ = edge.ask(&Request::new("POST", "/a").body("x")).await.expect(200),
            Ends::Replaced => asked = asked.field("Cache-Control", "no-cache"),
        }
        // A new fill lands while the coder is still at the old one.
        let reply = edge.ask(&asked).await.expect(200);
        assert!(decoded(&reply) == new, "{ends:?}: {reply}");
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
