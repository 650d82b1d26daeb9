//! One fill per thing, whatever the number of clients and who gives up (G07, G13, G14, G15).

use crate::support::{
    answer::Answer,
    client::Client,
    deadline::{eventually, within},
    edge::Edge,
    gate::Gate,
    h2::H2,
    message::{End, Request},
    origin::Origin,
};

#[tokio::test]
async fn a_thousand_clients_one_fill() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let body = vec![b'x'; 300_000];
    origin.on("/film", Answer::storable(&body).behind(&gate));
    let edge = Edge::before(&origin, "").await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let mut client = edge.client().await;
        clients.spawn(async move { client.get("/film").await });
    }
    gate.arrived(1).await;
    within("every client waits", async {
        while edge.metric("lectern_connections", &["web"]).await < 1000.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    while let Some(reply) = clients.join_next().await {
        reply.unwrap().expect_body(200, &body);
    }
    assert_eq!(origin.hits("/film"), 1);
    edge.outcomes("miss", 1).await;
    assert_eq!(edge.outcome("joined").await + edge.outcome("hit").await, 999);
    assert_eq!(edge.metric("lectern_fills_total", &[]).await, 1.0);
}

#[tokio::test]
async fn g07_readers_of_a_cut_fill_never_see_a_clean_end() {
    let origin = Origin::start().await;
    for (path, http2) in [("/h1", false), ("/h2", true)] {
        let pause = Gate::new();
        let cut = Answer::storable(vec![b'x'; 1 << 20]).instead("ETag", "W/\"1\"");
        let cut = cut.chunked().pause(600_000, &pause).resets_after(700_000);
        origin.on_each(path, vec![cut, Answer::storable(vec![b'y'; 1 << 20])]);
        let edge = Edge::before(&origin, "").await;
        let mut readers = tokio::task::JoinSet::new();
        let all = Gate::new();
        for _ in 0..3 {
            let (all, web) = (all.clone(), edge.address("web").await);
            readers.spawn(async move {
                if http2 {
                    let client = H2::connect(web).await;
                    let mut stream = client.open(&Request::get(path)).await.unwrap();
                    let mut reply = stream.head().await;
                    all.pass().await;
                    while matches!(reply.end, End::Open) {
                        stream.piece(&mut reply).await;
                    }
                    reply
                } else {
                    let mut client = Client::connect(web).await;
                    client.send(&Request::get(path).bytes()).await;
                    let mut reply = client.head("GET").await;
                    all.pass().await;
                    client.rest(&mut reply).await;
                    reply
                }
            });
        }
        // All three have the head of one fill before it is cut.
        all.arrived(3).await;
        pause.open();
        all.open();
        while let Some(reply) = readers.join_next().await {
            let reply = reply.unwrap();
            assert!(matches!(reply.end, End::Unclean(_)), "{path}: {reply}");
        }
        assert_eq!(origin.hits(path), 1);
        edge.outcomes("failed", 3).await;
        edge.get(path).await.expect_body(200, vec![b'y'; 1 << 20]);
        assert_eq!(origin.hits(path), 2, "nothing of it was stored");
    }
}

#[tokio::test]
async fn g13_who_caused_a_fill_can_leave_and_the_others_get_all_of_it() {
    let (origin, head, middle) = (Origin::start().await, Gate::new(), Gate::new());
    let body = vec![b'x'; 2 << 20];
    origin.on("/head", Answer::storable(&body).behind(&head));
    origin.on("/body", Answer::storable(&body).pause(100_000, &middle));
    let edge = Edge::before(&origin, "").await;
    for (path, gate) in [("/head", &head), ("/body", &middle)] {
        let mut first = edge.client().await;
        first.send(&Request::get(path).bytes()).await;
        gate.arrived(1).await;
        let mut second = edge.client().await;
        let second = tokio::spawn(async move { second.get(path).await });
        first.abort();
        edge.outcomes("failed", if path == "/head" { 1 } else { 2 }).await;
        gate.open();
        second.await.unwrap().expect_body(200, &body);
        edge.get(path).await.expect_body(200, &body);
        assert_eq!(origin.hits(path), 1);
    }
    assert_eq!(edge.metric("lectern_fills_in_flight", &[]).await, 0.0);
}

#[tokio::test]
async fn g14_those_who_come_later_read_the_growing_body_from_its_first_byte() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let body: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    origin.on("/film", Answer::storable(&body).pause(1_500_000, &gate));
    let edge = Edge::before(&origin, "").await;
    let mut first = edge.client().await;
    first.send(&Request::get("/film").bytes()).await;
    gate.arrived(1).await;
    let mut later = Vec::new();
    for _ in 0..50 {
        let mut client = edge.client().await;
        client.send(&Request::get("/film").bytes()).await;
        let mut reply = client.head("GET").await;
        client.at_least(&mut reply, 1_000_000).await;
        later.push((client, reply));
    }
    gate.open();
    for (mut client, mut reply) in later {
        client.rest(&mut reply).await;
        reply.expect_body(200, &body);
    }
    first.reply("GET").await.expect_body(200, &body);
    assert_eq!(origin.hits("/film"), 1);
    edge.outcomes("joined", 50).await;
}

#[tokio::test]
async fn g15_what_cannot_be_shared_is_asked_for_by_all_at_once_and_not_for_ever() {
    let origin = Origin::start().await;
    let unshared = [
        ("no-store", "Cache-Control", "private, no-store"),
        ("max-age=0", "Cache-Control", "max-age=0"),
        ("cookie", "Set-Cookie", "a=b"),
        ("vary", "Vary", "*"),
    ];
    for (path, name, value) in unshared {
        let (path, gate) = (format!("/{path}"), Gate::new());
        let waiting = gate.clone();
        let (name, value) = (name.to_owned(), value.to_owned());
        origin.on_call(&path, move |_, n| {
            let answer = if n < 20 {
                Answer::storable(format!("{n}")).instead(&name, &value)
            } else {
                Answer::storable("shared")
            };
            answer.behind(&waiting)
        });
        let edge = Edge::before(&origin, "").await;
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (mut client, path) = (edge.client().await, path.clone());
            clients.spawn(async move { client.get(&path).await.expect(200).text() });
        }
        gate.arrived(1).await;
        gate.open();
        let mut bodies = std::collections::BTreeSet::new();
        while let Some(body) = clients.join_next().await {
            assert!(bodies.insert(body.unwrap()), "{path}: two clients got one body");
        }
        assert_eq!(origin.hits(&path), 20, "{path}");
        edge.get(&path).await.expect_body(200, "shared");
        edge.get(&path).await.expect_body(200, "shared");
        assert_eq!(origin.hits(&path), 21, "{path}: a storable answer ends the mark");
        edge.outcomes("hit", 1).await;
    }
}

#[tokio::test]
async fn after_a_purge_of_all_each_thing_is_asked_for_once_and_never_more_than_there_are_places() {
    const THINGS: usize = 12;
    let (origin, gate) = (Origin::start().await, Gate::new());
    gate.open();
    let held = gate.clone();
    origin.on_call("/thing*", move |_, n| Answer::storable(format!("{n}")).behind(&held));
    let config = format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\nin_flight = 3\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
        origin.addr()
    );
    let edge = Edge::with(&config).await;
    // The first round begins cold, the second after the purge.
    for round in 0..2 {
        let before = gate.count();
        gate.shut();
        let mut clients = tokio::task::JoinSet::new();
        for n in 0..THINGS * 8 {
            let (mut client, path) = (edge.client().await, format!("/thing{}", n % THINGS));
            clients.spawn(async move { client.get(&path).await.expect(200).text() });
        }
        eventually("the others in the queue", async || {
            edge.metric("lectern_origin_requests_queued", &[]).await == (THINGS - 3) as f64
        })
        .await;
        gate.arrived(before + 3).await;
        assert_eq!(gate.count(), before + 3, "no more than there are places");
        gate.open();
        while let Some(body) = clients.join_next().await {
            assert_eq!(body.unwrap(), round.to_string());
        }
        for n in 0..THINGS {
            assert_eq!(origin.hits(&format!("/thing{n}")), round + 1, "one fill each");
        }
        edge.purge_site("lms").await;
    }
}

#[tokio::test]
async fn a_negative_answer_is_shared_by_rule_and_never_past_a_purge() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let held = gate.clone();
    origin.on_call("/new/activity", move |_, n| match n {
        0 => Answer::new(404, "not yet").behind(&held),
        _ => Answer::storable("here"),
    });
    let rule = "[[site.rule]]\nname = \"new\"\nprefix = \"/new/\"\nverdict = \"cache\"\nlifetime = \"1h\"\n\
                statuses = [200, 404]\nnegative_lifetime = \"10s\"\n";
    let edge = Edge::before(&origin, rule).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let mut client = edge.client().await;
        clients.spawn(async move { client.get("/new/activity").await });
    }
    gate.arrived(1).await;
    gate.open();
    while let Some(reply) = clients.join_next().await {
        reply.unwrap().expect_body(404, "not yet");
    }
    let again = edge.get("/new/activity").await.expect_body(404, "not yet");
    let ttl: i64 = again.field("cache-status").unwrap().rsplit_once("ttl=").unwrap().1.parse().unwrap();
    assert!((0..=10).contains(&ttl), "{again}");
    assert_eq!(origin.hits("/new/activity"), 1);
    edge.purge("http://lms.example/new/activity").await;
    edge.get("/new/activity").await.expect_body(200, "here");
    assert_eq!(origin.hits("/new/activity"), 2);
}
