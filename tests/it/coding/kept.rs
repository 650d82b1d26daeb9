//! What is made survives restarts, and its loss costs nothing but its making.

use super::{BROTLI, GZIP, asks, css, idle, made, text, until_coded};
use crate::support::{coded::decoded, deadline::eventually, edge::Edge, message::Request, origin::Origin};

fn store(memory: &str) -> String {
    format!(
        "[cache]\nmemory = \"{memory}\"\nfill_window = \"1MiB\"\n[disk]\nflush_interval = \"50ms\"\n\
         [[disk.folder]]\npath = \"store\"\nlimit = \"64MiB\"\n"
    )
}

async fn committed(edge: &Edge, responses: f64) {
    eventually(format!("{responses} responses on disk"), async || {
        edge.metric("lectern_disk_write_queue_bytes", &[]).await == 0.0
            && edge.metric("lectern_disk_responses", &[]).await == responses
    })
    .await;
}

#[tokio::test]
async fn a_variant_is_found_again_after_a_restart_and_not_after_a_purge() {
    let (origin, body) = (Origin::start().await, text(1, 600_000));
    origin.on("/a", css(&body));
    let mut edge = Edge::before(&origin, &store("64MiB")).await;
    edge.get("/a").await.expect(200);
    let br = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await;
    until_coded(&edge, &asks("/a", GZIP), "gzip", &body).await;
    committed(&edge, 3.0).await;
    edge.stop().await;
    edge.start_again().await;
    let again = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await;
    assert_eq!((again.body == br.body, again.field("etag")), (true, br.field("etag")), "{again}");
    idle(&edge).await;
    assert_eq!(made(&edge).await, 0, "nothing was coded again");
    assert_eq!(origin.hits("/a"), 1);
    edge.purge("http://lms-a.example/a").await;
    let new = text(2, 600_000);
    origin.on("/a", css(&new));
    assert!(decoded(&edge.ask(&asks("/a", BROTLI)).await) == new);
    edge.stop().await;
    edge.start_again().await;
    until_coded(&edge, &asks("/a", BROTLI), "br", &new).await;
    idle(&edge).await;
    assert!(made(&edge).await >= 1, "of the new one nothing was made before");
}

#[tokio::test]
async fn what_memory_let_go_is_read_from_disk_and_without_one_never_missed() {
    let only_memory = "[cache]\nmemory = \"2MiB\"\nfill_window = \"1MiB\"\n".to_owned();
    for (disk, rest) in [(true, store("2MiB")), (false, only_memory)] {
        let (origin, body) = (Origin::start().await, text(1, 500_000));
        origin.on("/a", css(&body));
        origin.on_call("/flood*", |seen, _| css(format!("{}{}", seen.target, "x".repeat(150_000))));
        let edge = Edge::before(&origin, &rest).await;
        edge.get("/a").await.expect(200);
        let coded = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await;
        if disk {
            committed(&edge, 2.0).await;
        }
        for n in 0..60 {
            for _ in 0..2 {
                edge.get(&format!("/flood{n}")).await.expect(200);
            }
        }
        idle(&edge).await;
        let before = made(&edge).await;
        if disk {
            // Its head came up from disk anew: the first who asks has the variant looked for.
            let again = until_coded(&edge, &asks("/a", BROTLI), "br", &body).await;
            assert_eq!(again.field("etag"), coded.field("etag"), "{again}");
        }
        for _ in 0..5 {
            assert!(decoded(&edge.ask(&asks("/a", BROTLI)).await.expect(200)) == body);
        }
        idle(&edge).await;
        assert!(!disk || made(&edge).await == before, "it was on disk");
        assert_eq!(edge.outcome("failed").await, 0);
    }
}

#[tokio::test]
async fn coders_take_on_no_more_than_their_budget() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| css(text(seen.target.len() as u64, 60_000)));
    let edge = Edge::before(&origin, "[cache.coding]\nbudget = 1000\n").await;
    let mut client = edge.client().await;
    for path in ["/a", "/aa", "/aaa", "/aaaa"] {
        for _ in 0..2 {
            client.ask(&asks(path, BROTLI)).await.expect(200);
        }
    }
    // The first is paid after a minute; until then the others wait, and everybody is answered.
    eventually("the first variant", async || made(&edge).await == 1).await;
    assert_eq!(edge.metric("lectern_coding_queue", &[]).await, 3.0);
    assert_eq!(edge.metric("lectern_coding_source_bytes_total", &[]).await, 60_000.0);
    client.ask(&Request::get("/aaaa")).await.expect(200);
}
