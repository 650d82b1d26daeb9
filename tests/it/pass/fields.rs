//! Fields on their way to the origin: what ends at the edge (G44), what it says of the client, trace contexts.

use super::edge;
use crate::support::{
    answer::Answer,
    dial::Dial,
    edge::Edge,
    message::Request,
    origin::{Origin, Seen},
};

#[tokio::test]
async fn g44_what_a_connection_names_ends_here_and_the_origins_connections_live_on() {
    let origin = Origin::start().await;
    origin.on("/*", Answer::ok("x").field("Cache-Control", "no-store"));
    let edge = Edge::before(&origin, "").await;
    for n in 0..100 {
        let request = match n % 4 {
            0 => Request::get(&format!("/{n}")),
            1 => Request::get(&format!("/{n}")).field("Cache-Control", "no-store"),
            2 => Request::new("POST", &format!("/{n}")).body("x"),
            _ => Request::new("DELETE", &format!("/{n}")),
        };
        let request = request.field("Connection", "close, X-Secret").field("X-Secret", "1");
        let request = request.field("Keep-Alive", "timeout=1").field("Proxy-Connection", "close");
        let request = request.field("TE", "trailers, gzip").field("Trailer", "X-End");
        edge.ask(&request).await.expect_body(200, "x");
        let seen = origin.last(&request.target);
        for name in ["connection", "x-secret", "keep-alive", "proxy-connection", "te", "trailer"] {
            assert_eq!(seen.all(name), [""; 0], "{name} of {} {}", seen.method, seen.target);
        }
    }
    assert_eq!(origin.requests().len(), 100);
    // One at a time: at most the one before is not back in the pool yet.
    assert!(origin.connections() <= 10, "{} connections", origin.connections());
    edge.outcomes("pass", 100).await;
}

#[tokio::test]
async fn g44_connection_takes_nothing_away_that_the_edge_itself_goes_by() {
    let origin = Origin::start().await;
    origin.on("/page", Answer::storable("page"));
    origin.on("/posted", Answer::ok("read"));
    origin.on(
        "/private",
        Answer::ok("me").field("Cache-Control", "private, max-age=600").field("Connection", "cache-control"),
    );
    let edge = Edge::before(&origin, "").await;
    let named = |name: &str| Request::get("/page").field("Connection", name);
    let no_store = named("Cache-Control").field("Cache-Control", "no-store");
    for _ in 0..2 {
        edge.ask(&no_store).await.expect_body(200, "page");
    }
    assert_eq!(origin.hits("/page"), 2, "no-store was heard");
    edge.ask(&named("Host")).await.expect_body(200, "page");
    assert_eq!(origin.last("/page").all("host"), ["lms-a.example"]);
    let post = Request::new("POST", "/posted").field("Connection", "Content-Length, X-Forwarded-For, Via");
    edge.ask(&post.body("body")).await.expect_body(200, "read");
    let seen = origin.last("/posted");
    assert_eq!(
        (seen.body_length, seen.all("x-forwarded-for"), seen.all("via")),
        (4, vec!["127.0.0.1"], vec!["1.1 lectern"])
    );
    for _ in 0..2 {
        let reply = edge.get("/private").await.expect_body(200, "me");
        assert_eq!(reply.field("cache-control"), Some("private, max-age=600"));
    }
    assert_eq!(origin.hits("/private"), 2, "an origin cannot name it away either");
}

/// What the origin was told of the hops before.
fn told(seen: &Seen) -> [String; 5] {
    let names = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "forwarded"];
    names.map(|name| seen.all(name).join(" | "))
}

#[tokio::test]
async fn the_origin_is_told_who_asked_and_a_clients_own_word_counts_only_behind_a_trusted_proxy() {
    let origin = Origin::start().await;
    origin.on("/*", Answer::ok("x").field("Cache-Control", "no-store"));
    let edge = edge(origin.addr(), "trusted_proxies = [\"127.0.0.2/32\"]", "", "").await;
    let web = edge.address("web").await;
    let proxy = || Dial::to(web).from([127, 0, 0, 2].into()).client();
    let said = |request: Request| {
        request
            .field("X-Forwarded-For", "203.0.113.7")
            .field("X-Forwarded-Proto", "https")
            .field("X-Forwarded-Host", "evil.example")
            .field("X-Forwarded-Port", "1")
            .field("Forwarded", "for=203.0.113.7;proto=https")
            .field("X-Original-URL", "/admin")
            .field("X-Real-IP", "203.0.113.7")
    };
    let post = || Request::new("POST", "/posted").body("x");
    let host = "lms-a.example";

    edge.ask(&post()).await.expect(200);
    let plain = ["127.0.0.1", host, "http", "80", "for=127.0.0.1;host=\"lms-a.example\";proto=http"];
    assert_eq!(told(&origin.last("/posted")), plain);
    edge.ask(&said(post())).await.expect(200);
    assert_eq!(told(&origin.last("/posted")), plain, "the word of anybody counts nothing");
    for name in ["x-original-url", "x-real-ip"] {
        assert_eq!(origin.last("/posted").field(name), None);
    }
    edge.ask(&post().host("lms-a.example:8443")).await.expect(200);
    let told_port = told(&origin.last("/posted"));
    assert_eq!((&*told_port[1], &*told_port[3]), ("lms-a.example:8443", "8443"));

    let trusted =
        post().field("X-Forwarded-For", "198.51.100.1, 203.0.113.7").field("X-Forwarded-Proto", "https");
    proxy().await.ask(&trusted).await.expect(200);
    let [from, of, scheme, port, forwarded] = told(&origin.last("/posted"));
    assert_eq!(from, "198.51.100.1, 203.0.113.7, 127.0.0.2");
    assert_eq!((&*of, &*scheme, &*port), (host, "https", "443"));
    assert!(forwarded.ends_with("for=127.0.0.2;host=\"lms-a.example\";proto=https"), "{forwarded}");
    let lines = post().field("X-Forwarded-For", "198.51.100.1").field("X-Forwarded-For", "203.0.113.7");
    let lines = lines.field("Forwarded", "for=198.51.100.1").field("Forwarded", "for=203.0.113.7");
    proxy().await.ask(&lines).await.expect(200);
    let [from, _, _, _, forwarded] = told(&origin.last("/posted"));
    assert_eq!(from, "198.51.100.1, 203.0.113.7, 127.0.0.2");
    assert_eq!(
        forwarded,
        "for=198.51.100.1, for=203.0.113.7, for=127.0.0.2;host=\"lms-a.example\";proto=http"
    );
    let log = edge.log(5).await;
    let mut clients: Vec<&str> = log.iter().map(|line| line["client"].as_str().unwrap()).collect();
    // Each thread of the edge writes its own lines in order.
    clients.sort_unstable();
    assert_eq!(clients, ["127.0.0.1", "127.0.0.1", "127.0.0.1", "203.0.113.7", "203.0.113.7"]);
}

#[tokio::test]
async fn what_everybody_shares_is_asked_for_without_a_word_about_one_client() {
    let origin = Origin::start().await;
    origin.on("/*", Answer::storable("x"));
    let edge = edge(origin.addr(), "trusted_proxies = [\"127.0.0.2/32\"]", "", "").await;
    let proxy = Dial::to(edge.address("web").await).from([127, 0, 0, 2].into());
    let by_https = Request::get("/page").field("X-Forwarded-Proto", "https");
    proxy.clone().client().await.ask(&by_https).await.expect_body(200, "x");
    edge.get("/page").await.expect_body(200, "x");
    let told: Vec<_> = origin.seen("/page").iter().map(told).collect();
    assert_eq!(
        told,
        [["", "lms-a.example", "https", "443", ""], ["", "lms-a.example", "http", "80", ""],]
            .map(|row| row.map(str::to_owned)),
        "http and https are kept apart"
    );
    edge.get("/page").await.expect_body(200, "x");
    proxy.client().await.ask(&by_https).await.expect_body(200, "x");
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn a_trace_context_is_passed_made_or_replaced() {
    let origin = Origin::start().await;
    origin.on("/*", Answer::ok("x").field("Cache-Control", "no-store"));
    let edge = Edge::before(&origin, "").await;
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let upper = good.to_ascii_uppercase();
    let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
    let rows: [(&[&str], bool); 6] = [
        (&[good], true),
        (&[], false),
        (&["nonsense"], false),
        (&[&upper], false),
        (&[zero], false),
        (&[good, good], false),
    ];
    let mut ids = Vec::new();
    for method in ["GET", "POST"] {
        for (n, (sent, passed)) in rows.iter().enumerate() {
            let target = format!("/{method}/{n}");
            let request =
                Request { body: (method == "POST").then(|| b"x".to_vec()), ..Request::new(method, &target) };
            let request = sent.iter().fold(request, |request, value| request.field("traceparent", value));
            edge.ask(&request.field("tracestate", "lms=1")).await.expect(200);
            let seen = origin.last(&target);
            let traces = seen.all("traceparent");
            let [trace] = traces[..] else { panic!("{target}: {traces:?}") };
            assert_eq!(trace == good, *passed, "{target}: {trace}");
            assert_eq!(seen.field("tracestate").is_some(), *passed, "{target}");
            let parts: Vec<&str> = trace.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{trace}");
            assert!(passed | !ids.contains(&parts[1].to_owned()), "{target}: made twice");
            ids.push(parts[1].to_owned());
        }
    }
    let log = edge.log(ids.len()).await;
    let mut logged: Vec<_> = log.iter().map(|line| line["trace"].as_str().unwrap().to_owned()).collect();
    logged.sort_unstable();
    ids.sort_unstable();
    assert_eq!(logged, ids);
}
