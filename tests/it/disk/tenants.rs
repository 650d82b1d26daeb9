//! The same bytes under several tenants and versions are kept once, and each tenant's first request is its own all the same.

use std::collections::BTreeSet;

use loadtest::{Lms, Options, content::package::Module};

use super::{CHUNK, End, again, committed, count, segments, store, taken};
use crate::support::{
    answer::Answer,
    edge::Edge,
    message::{Reply, Request},
    origin::Origin,
};

const TENANTS: [&str; 2] = ["lms-a.example", "lms-b.example"];

/// Chunks that some bodies are made of, each once.
fn chunks<'a>(bodies: impl IntoIterator<Item = &'a Vec<u8>>) -> BTreeSet<&'a [u8]> {
    bodies.into_iter().flat_map(|body| body.chunks(CHUNK as usize)).collect()
}

/// A site for each host, before one origin.
async fn before(origin: std::net::SocketAddr, hosts: &[&str], rest: &str) -> Edge {
    let mut config = format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{origin}\"]\n"
    );
    for host in hosts {
        config += &format!("[[site]]\nname = \"{host}\"\nhosts = [\"{host}\"]\norigin = \"lms\"\n");
    }
    Edge::with(&(config + rest)).await
}

#[tokio::test]
async fn two_tenants_and_two_versions_of_a_package_cost_its_bytes_once() {
    let lms = Lms::start(([127, 0, 0, 1], 0).into(), Options::default()).await.unwrap();
    lms.publish("fire-safety", 2);
    let mut edge = before(lms.addr(), &TENANTS, &store("2MiB", "256MiB")).await;
    let module = Module::FireSafety;
    let paths: Vec<_> = [1, 2]
        .into_iter()
        .flat_map(|version| module.files().into_iter().map(move |file| (version, file.path)))
        .map(|(version, path)| {
            (format!("/content/fire-safety/{version}/{path}"), module.build(&path, version).unwrap())
        })
        .collect();
    let mut client = edge.client().await;
    for (n, host) in TENANTS.into_iter().enumerate() {
        for (path, body) in &paths {
            client.ask(&Request::get(path).host(host)).await.expect_body(200, body);
            assert_eq!(lms.counters().of(path), n as u64 + 1, "{host}{path}: a request of its own");
        }
    }
    let asked = paths.len() as u64 * 2;
    assert_eq!(lms.counters().by_status.get(&200), Some(&asked), "each answered whole");
    committed(&edge, asked).await;

    let once = chunks(paths.iter().map(|(_, body)| body));
    let bytes: usize = once.iter().map(|chunk| chunk.len()).sum();
    let all: usize = paths.iter().map(|(_, body)| 2 * body.len()).sum();
    assert!(bytes * 10 < all * 3, "{bytes} of {all}: the versions should be nearly equal");
    assert_eq!(count(&edge, "lectern_disk_chunks").await, once.len() as u64);
    let written: u64 = segments(&edge.path("store")).iter().map(|path| path.metadata().unwrap().len()).sum();
    let bytes = bytes as u64;
    assert!((bytes..bytes + bytes / 50 + 4096).contains(&written), "{written} for {bytes}");
    assert!(taken(&edge.path("store")) < bytes + (24 << 20), "the index is small beside them");
    assert_eq!(count(&edge, "lectern_disk_deduplicated_bytes_total").await, all as u64 - bytes);

    drop(client);
    again(&mut edge, End::Stopped).await;
    let mut client = edge.client().await;
    for host in TENANTS {
        for (path, body) in paths.iter().filter(|(path, _)| !path.ends_with("imsmanifest.xml")) {
            client.ask(&Request::get(path).host(host)).await.expect_body(200, body);
        }
    }
    assert_eq!(lms.counters().requests, asked);
    edge.outcomes("hit", asked - 4).await;
    assert_eq!(count(&edge, "lectern_disk_chunks").await, once.len() as u64);
    lms.stop().await;
}

#[tokio::test]
async fn ninety_four_tenants_keep_one_copy() {
    let origin = Origin::start().await;
    let body: Vec<u8> = (0..60_000u32).map(|n| (n % 251) as u8).collect();
    origin.on("/logo", Answer::storable(&body));
    let hosts: Vec<String> = (1..=94).map(|n| format!("t{n}.example")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let edge = before(origin.addr(), &hosts, &store("2MiB", "64MiB")).await;
    let mut client = edge.client().await;
    for host in &hosts {
        client.ask(&Request::get("/logo").host(host)).await.expect_body(200, &body);
    }
    committed(&edge, 94).await;
    assert_eq!(origin.hits("/logo"), 94);
    edge.outcomes("miss", 94).await;
    assert_eq!(count(&edge, "lectern_disk_chunks").await, 1);
    assert_eq!(count(&edge, "lectern_disk_deduplicated_bytes_total").await, 93 * 60_000);
}

/// All that a client sees but the time.
fn told(reply: &Reply) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let mut fields = reply.fields.clone();
    fields.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
    (reply.status, fields, reply.body.clone())
}

/// A line of the log without what differs between any two requests of different hosts.
fn logged(line: &serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    let own = ["time", "client_port", "host", "site", "first_us", "total_us", "trace"];
    let fields = line.as_object().unwrap().iter().filter(|(name, _)| !own.contains(&name.as_str()));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[tokio::test]
async fn nothing_tells_a_tenant_that_another_has_the_body_and_the_origin_decides_for_each() {
    let origin = Origin::start().await;
    let body: Vec<u8> = (0..600_000u32).map(|n| (n % 253) as u8).collect();
    let mut edge = before(origin.addr(), &TENANTS, &store("2MiB", "64MiB")).await;
    let ask = |path: &str, host: &str| Request::get(path).host(host);
    // The other tenant's is in memory, and on disk alone.
    for (path, cold) in [("/memory", false), ("/disk", true)] {
        origin.on(path, Answer::storable(&body));
        let first = edge.ask(&ask(path, TENANTS[0])).await.expect_body(200, &body);
        if cold {
            again(&mut edge, End::Stopped).await;
        }
        // What is the origin's word for this tenant counts, whatever lies here.
        origin.on(path, Answer::new(403, "not for you").field("Cache-Control", "no-store"));
        let asks = ask(path, TENANTS[1]);
        let refused = edge.ask(&asks).await.expect_body(403, "not for you");
        assert!(refused.field("etag").is_none(), "{refused}");
        for (name, value) in [("If-None-Match", "\"v1\""), ("If-Range", "\"v1\"")] {
            let asks = asks.clone().field(name, value).field("Range", "bytes=300000-300009");
            edge.ask(&asks).await.expect_body(403, "not for you");
        }
        edge.ask(&asks.clone().field("Cache-Control", "only-if-cached")).await.expect(504);
        let asked = origin.hits(path);
        origin.on(path, Answer::storable(&body));
        let second = edge.ask(&asks).await;
        assert_eq!(told(&second), told(&first), "{path}");
        let seen = origin.last(path);
        assert_eq!(origin.hits(path), asked + 1);
        for name in ["if-none-match", "if-modified-since", "if-range", "range"] {
            assert_eq!(seen.field(name), None, "what is asked does not tell either");
        }
        assert_eq!(seen.sent, body.len(), "it comes whole");
    }
    let log = edge.log(12).await;
    let of = |host: &str| {
        let whole = log.iter().filter(move |line| line["host"] == host && line["status"] == 200);
        whole.map(logged).collect::<Vec<_>>()
    };
    assert_eq!(of(TENANTS[1]), of(TENANTS[0]));
}
