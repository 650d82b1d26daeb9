//! Variants of one URL: chosen by the request's fields, bounded, never mixed (RFC 9111 §4.1; G21, G29, G30).

use crate::support::{answer::Answer, edge::Edge, gate::Gate, message::Request, origin::Origin};

fn rule(keys: &str) -> String {
    format!("[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"cache\"\n{keys}\n")
}

#[tokio::test]
async fn g29_nobody_gets_a_coding_that_was_not_accepted() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen, _| {
        let accepted = seen.all("accept-encoding").join(",");
        let coding = ["br", "gzip"].into_iter().find(|coding| accepted.contains(coding));
        let answer = Answer::storable(coding.unwrap_or("identity")).field("Vary", "Accept-Encoding");
        coding.map_or(answer.clone(), |coding| answer.field("Content-Encoding", coding))
    });
    let edge = Edge::before(&origin, "").await;
    let clients: [(&[&str], &str); 6] = [
        (&["gzip", "br"], "br"),
        (&["gzip"], "gzip"),
        (&[], "identity"),
        (&["gzip;q=0, identity"], "identity"),
        (&["GZIP"], "gzip"),
        (&["*;q=0, identity"], "identity"),
    ];
    for round in 0..2 {
        for (lines, coding) in clients {
            let request = lines.iter().fold(Request::get("/a"), |r, line| r.field("Accept-Encoding", line));
            let reply = edge.ask(&request).await.expect_body(200, coding);
            let told = reply.field("content-encoding").unwrap_or("identity");
            assert_eq!(told, coding, "round {round}, {lines:?}: {reply}");
        }
    }
    assert_eq!(origin.hits("/a"), 3, "three classes");
    edge.outcomes("hit", 9).await;
}

#[tokio::test]
async fn a_coded_body_is_for_those_who_accept_it_though_the_origin_does_not_say_so() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen, _| match seen.field("accept-encoding") {
        Some("gzip") => Answer::storable("coded").field("Content-Encoding", "gzip"),
        _ => Answer::storable("plain"),
    });
    let edge = Edge::before(&origin, "").await;
    edge.ask(&Request::get("/a").field("Accept-Encoding", "gzip")).await.expect_body(200, "coded");
    edge.ask(&Request::get("/a").field("Accept-Encoding", "gzip")).await.expect_body(200, "coded");
    for _ in 0..2 {
        edge.get("/a").await.expect_body(200, "plain");
        // Nothing says that the plain one is not for everybody.
        edge.ask(&Request::get("/a").field("Accept-Encoding", "gzip")).await.expect(200);
    }
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("hit", 4).await;
}

#[tokio::test]
async fn a_joiner_with_other_values_leaves_for_a_variant_of_its_own() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let waiting = gate.clone();
    origin.on_call("/a", move |seen, n| {
        let answer =
            Answer::storable(seen.field("accept-language").unwrap_or("")).field("Vary", "Accept-Language");
        if n == 0 { answer.behind(&waiting) } else { answer }
    });
    let edge = Edge::before(&origin, "").await;
    let mut clients = tokio::task::JoinSet::new();
    for language in ["de", "de", "en", "en", "fr", "fr"] {
        let mut client = edge.client().await;
        let request = Request::get("/a").field("Accept-Language", language);
        clients.spawn(async move { client.ask(&request).await.expect_body(200, language) });
    }
    gate.arrived(1).await;
    gate.open();
    while let Some(reply) = clients.join_next().await {
        reply.unwrap();
    }
    assert_eq!(origin.hits("/a"), 3);
    edge.outcomes("miss", 3).await;
    assert_eq!(edge.outcome("joined").await + edge.outcome("hit").await, 3);
}

#[tokio::test]
async fn who_caused_a_fill_leaves_it_too_if_it_did_not_say_what_the_answer_was_chosen_by() {
    let origin = Origin::start().await;
    for (path, says) in [("/nobody", "private"), ("/at-once-stale", "max-age=0"), ("/all", "max-age=600")] {
        origin.on_call(path, move |seen, _| {
            let language = seen.field("accept-language").unwrap_or("none").to_owned();
            Answer::ok(&language)
                .field("Cache-Control", says)
                .field("ETag", format!("\"{language}\""))
                .field("Vary", "Accept-Language")
        });
        let edge = Edge::before(&origin, &rule("")).await;
        let german = Request::get(path).field("Accept-Language", "de");
        edge.ask(&german).await.expect_body(200, "de");
        assert_eq!(origin.hits(path), 2, "{path}: a fill that knew no better, and one for the values");
        edge.get(path).await.expect_body(200, "none");
        assert_eq!(edge.metric("lectern_requests_total", &[]).await, 2.0);
    }
    // A failure is one in every language.
    origin.on("/busy", Answer::new(503, "busy").field("Vary", "Accept-Language"));
    let edge = Edge::before(&origin, &rule("")).await;
    edge.ask(&Request::get("/busy").field("Accept-Language", "de")).await.expect_body(503, "busy");
    assert_eq!(origin.hits("/busy"), 1);
    edge.outcomes("pass", 1).await;
}

#[tokio::test]
async fn what_could_not_be_shared_keeps_nobody_of_another_variant_from_waiting() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let waiting = gate.clone();
    origin.on_call("/a", move |seen, _| {
        let answer = Answer::storable("body").field("Vary", "Accept-Language");
        match seen.field("accept-language") {
            Some("de") => answer.instead("Cache-Control", "no-store"),
            _ => answer.behind(&waiting),
        }
    });
    let edge = Edge::before(&origin, "").await;
    let asks = |language: &str| Request::get("/a").field("Accept-Language", language);
    edge.ask(&asks("de")).await.expect(200);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (mut client, request) = (edge.client().await, asks("en"));
        clients.spawn(async move { client.ask(&request).await });
    }
    gate.arrived(1).await;
    // The mark stands for those it is for: they go by at once.
    edge.ask(&asks("de")).await.expect(200);
    gate.open();
    while let Some(reply) = clients.join_next().await {
        reply.unwrap().expect_body(200, "body");
    }
    assert_eq!(origin.hits("/a"), 3, "two in German, one for all in English");
    edge.outcomes("pass", 2).await;
    edge.outcomes("miss", 1).await;
}

#[tokio::test]
async fn what_varies_by_cookie_is_asked_for_once_by_each_and_by_no_fill_with_one() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("body").field("Vary", "Cookie, Accept-Language"));
    let edge = Edge::before(&origin, &rule("")).await;
    for asked in 1..=3 {
        let request = Request::get("/a").field("Cookie", "session=1");
        edge.ask(&request).await.expect_body(200, "body");
        assert_eq!(origin.hits("/a"), asked);
    }
    let with_cookie = origin.seen("/a").iter().filter(|seen| seen.field("cookie").is_some()).count();
    assert_eq!(with_cookie, 2, "a fill without it, then each by itself");
    edge.outcomes("pass", 3).await;
}

#[tokio::test]
async fn those_who_leave_a_long_fill_share_one_of_their_own() {
    let (origin, body, head) = (Origin::start().await, Gate::new(), Gate::new());
    let (long, waiting) = (body.clone(), head.clone());
    origin.on_call("/a", move |seen, _| {
        let answer = Answer::storable(vec![b'x'; 2000]).field("Vary", "Accept-Language");
        match seen.field("accept-language") {
            Some("de") => answer.pause(1000, &long),
            _ => answer.behind(&waiting),
        }
    });
    let edge = Edge::before(&origin, "").await;
    let mut first = edge.client().await;
    first.send(&Request::get("/a").field("Accept-Language", "de").bytes()).await;
    first.head("GET").await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut client = edge.client().await;
        let request = Request::get("/a").field("Accept-Language", "en");
        clients.spawn(async move { client.ask(&request).await });
    }
    head.arrived(1).await;
    head.open();
    while let Some(reply) = clients.join_next().await {
        reply.unwrap().expect(200);
    }
    body.open();
    assert_eq!(origin.hits("/a"), 2);
    assert_eq!(edge.outcome("joined").await + edge.outcome("hit").await, 19);
}

#[tokio::test]
async fn g30_nobody_gets_the_cors_field_of_another_origin() {
    for (path, says) in [("/says", true), ("/silent", false)] {
        let origin = Origin::start().await;
        origin.on_call(path, move |seen, _| {
            let mut answer = Answer::storable("font");
            if let Some(asked) = seen.field("origin") {
                answer = answer.field("Access-Control-Allow-Origin", asked);
            }
            if says { answer.field("Vary", "Origin") } else { answer }
        });
        let (a, b) = (Some("https://lms-a.example"), Some("https://lms-b.example"));
        for order in [[None, a, b], [a, b, None]] {
            let edge = Edge::before(&origin, "").await;
            let before = origin.hits(path);
            for from in order.into_iter().chain(order) {
                let request = Request::get(path);
                let request = from.map_or(request.clone(), |from| request.field("Origin", from));
                let reply = edge.ask(&request).await.expect_body(200, "font");
                let allowed = reply.field("access-control-allow-origin");
                // Without the origin's word a font without the field may be shared, never one with another's value.
                assert!(allowed == from || (!says && allowed.is_none()), "{path} {from:?}: {reply}");
            }
            if says {
                assert_eq!(origin.hits(path) - before, 3);
                edge.outcomes("hit", 3).await;
            }
        }
    }
}

#[tokio::test]
async fn g21_a_url_has_at_most_64_variants_and_the_oldest_goes() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen, _| {
        Answer::storable(seen.field("accept-language").unwrap_or("")).field("Vary", "Accept-Language")
    });
    let edge = Edge::before(&origin, "").await;
    let mut client = edge.client().await;
    let ask = |n: usize| Request::get("/a").field("Accept-Language", &format!("x-{n}"));
    for n in 0..66 {
        client.ask(&ask(n)).await.expect_body(200, format!("x-{n}"));
    }
    for n in 2..66 {
        client.ask(&ask(n)).await.expect_body(200, format!("x-{n}"));
    }
    assert_eq!(origin.hits("/a"), 66);
    client.ask(&ask(0)).await.expect_body(200, "x-0");
    assert_eq!(origin.hits("/a"), 67);
    edge.outcomes("hit", 64).await;
}

#[tokio::test]
async fn selecting_fields_are_learnt_and_then_go_along() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen, _| {
        Answer::storable(seen.field("x-theme").unwrap_or("none")).field("Vary", "X-Theme")
    });
    let edge = Edge::before(&origin, &rule("")).await;
    edge.get("/a").await.expect_body(200, "none");
    for theme in ["dark", "light", "dark", "light"] {
        edge.ask(&Request::get("/a").field("X-Theme", theme)).await.expect_body(200, theme);
    }
    edge.get("/a").await.expect_body(200, "none");
    assert_eq!(origin.hits("/a"), 3, "one each");
    edge.outcomes("hit", 3).await;
}

#[tokio::test]
async fn a_variant_not_known_beforehand_costs_one_more_fill() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen, _| {
        Answer::storable(seen.field("x-theme").unwrap_or("none")).field("Vary", "X-Theme")
    });
    let edge = Edge::before(&origin, &rule("")).await;
    for _ in 0..2 {
        edge.ask(&Request::get("/a").field("X-Theme", "dark")).await.expect_body(200, "dark");
    }
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn what_the_key_or_the_edge_sets_selects_nothing() {
    let origin = Origin::start().await;
    let names =
        ["X-Forwarded-Proto", "X-Forwarded-Host", "Host", "Via", "Range", "If-None-Match, If-Modified-Since"];
    for (i, name) in names.iter().enumerate() {
        origin
            .on(&format!("/{i}"), Answer::storable("0123456789").field("Vary", name).ranges().conditional());
    }
    for rest in [String::new(), rule("")] {
        let edge = Edge::before(&origin, &rest).await;
        for (i, name) in names.iter().enumerate() {
            let (path, before) = (format!("/{i}"), origin.requests().len());
            let request = Request::get(&path)
                .field("Range", "bytes=0-1")
                .field("Via", "1.1 school")
                .field("X-Forwarded-Proto", "https")
                .field("X-Forwarded-Host", "evil.example");
            for _ in 0..2 {
                edge.ask(&request).await.expect_body(206, "01");
                edge.get(&path).await.expect_body(200, "0123456789");
            }
            let asked = origin.requests().split_off(before);
            assert_eq!(asked.len(), 1, "{name}: {asked:#?}");
            assert_eq!(asked[0].field("range"), None);
            assert_eq!(asked[0].all("host"), ["lms-a.example"]);
            assert_eq!(asked[0].all("x-forwarded-host"), ["lms-a.example"]);
        }
        edge.outcomes("miss", names.len() as u64).await;
    }
}

#[tokio::test]
async fn what_varies_by_the_clients_address_is_not_stored() {
    let origin = Origin::start().await;
    origin.on_call("/a", |_, n| Answer::storable(format!("{n}")).field("Vary", "X-Forwarded-For"));
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect_body(200, "0");
    edge.get("/a").await.expect_body(200, "1");
    edge.outcomes("pass", 2).await;
}

#[tokio::test]
async fn of_several_that_match_the_youngest_serves() {
    let origin = Origin::start().await;
    // One that is chosen by the language, and then one that is for all.
    origin.on_call("/a", |_, n| match n {
        0 => Answer::storable("old").field("Vary", "Accept-Language"),
        _ => Answer::storable("young"),
    });
    let edge = Edge::before(&origin, "").await;
    let (german, english) = (
        Request::get("/a").field("Accept-Language", "de"),
        Request::get("/a").field("Accept-Language", "en"),
    );
    edge.ask(&german).await.expect_body(200, "old");
    edge.ask(&english).await.expect_body(200, "young");
    edge.ask(&german).await.expect_body(200, "young");
    edge.ask(&english).await.expect_body(200, "young");
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("hit", 2).await;
}
