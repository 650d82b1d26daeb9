//! The LMS is down: what is stored and allowed is served, the rest is told at once, and it comes back without a stampede.

use crate::support::{
    answer::Answer, deadline::eventually, edge::Edge, gate::Gate, message::Request, origin::Origin,
};

/// Left out after two failures; what was stored under `/kept/` may be stale for an hour if the LMS fails.
async fn before(origin: &Origin, places: usize) -> Edge {
    Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\nfailures = 2\nin_flight = {places}\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n\
         [[site.rule]]\nname = \"kept\"\nprefix = \"/kept/\"\nverdict = \"cache\"\nstale_if_error = \"1h\"\n",
        origin.addr()
    ))
    .await
}

async fn up(edge: &Edge) -> bool {
    edge.metric("lectern_origin_front_up", &[]).await == 1.0
}

/// Until the edge knows.
async fn known_to_be_down(edge: &Edge) {
    eventually("an origin that is down", async || {
        edge.get("/unknown").await;
        !up(edge).await
    })
    .await;
}

#[tokio::test]
async fn what_is_stored_and_allowed_is_served_and_the_rest_is_told_when_to_come_back() {
    let origin = Origin::start().await;
    let old =
        || Answer::ok("kept").field("ETag", "\"1\"").field("Cache-Control", "max-age=10").field("Age", "20");
    origin.on("/kept/old", old());
    origin.on("/kept/gone", old().instead("Cache-Control", "max-age=10, must-revalidate"));
    origin.on("/fresh", Answer::storable("fresh"));
    origin.on("/unknown", Answer::ok("known"));
    let edge = before(&origin, 8).await;
    for path in ["/kept/old", "/kept/gone", "/fresh"] {
        edge.get(path).await.expect(200);
    }
    assert!(up(&edge).await);
    origin.down().await;
    known_to_be_down(&edge).await;
    let connections = origin.connections();
    for (method, path) in
        [("GET", "/unknown"), ("POST", "/commit"), ("GET", "/kept/gone"), ("HEAD", "/unknown")]
    {
        // One that comes when a trial is due fails by itself.
        let told = loop {
            let told = edge.ask(&Request::new(method, path)).await;
            if told.status != 502 {
                break told.expect(503);
            }
        };
        let wait: u64 = told.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=30).contains(&wait), "{told}");
        assert_eq!(told.field("cache-status"), Some("lectern; detail=origin-down"));
        assert_eq!(told.field("cache-control"), Some("no-store"));
    }
    edge.get("/kept/old").await.expect_body(200, "kept");
    edge.get("/fresh").await.expect_body(200, "fresh");
    assert_eq!(edge.outcome("stale").await, 1);
    assert_eq!(origin.connections(), connections);
    assert!(edge.said().iter().any(|line| line.contains("a front of the origin gets no requests")));
    origin.up();
    eventually("an origin that is back", async || edge.get("/unknown").await.status == 200).await;
    assert!(up(&edge).await);
    edge.says("a front of the origin answers again").await;
    let labels = ["fault=\"origin\"", "reason=\"origin-down\""];
    assert!(edge.metric("lectern_requests_failed_total", &labels).await >= 1.0);
}

#[tokio::test]
async fn an_origin_that_comes_back_is_asked_for_no_more_than_it_has_places() {
    let (origin, trial, rest) = (Origin::start().await, Gate::new(), Gate::new());
    let edge = before(&origin, 4).await;
    origin.down().await;
    known_to_be_down(&edge).await;
    origin.on("/try", Answer::ok("there").behind(&trial));
    let others = rest.clone();
    origin.on_call("/page*", move |_, _| Answer::storable("page").behind(&others));
    origin.up();
    // Who comes first to a front that may be tried again; others are told to come back.
    let mut first = loop {
        let mut client = edge.client().await;
        client.send(&Request::new("GET", "/try").bytes()).await;
        tokio::select! {
            told = client.reply("GET") => assert!([502, 503].contains(&told.status), "{told}"),
            () = trial.arrived(1) => break client,
        }
    };
    trial.open();
    first.reply("GET").await.expect_body(200, "there");
    assert!(up(&edge).await);
    let mut learners = Vec::new();
    for n in 0..40 {
        let mut client = edge.client().await;
        client.send(&Request::new("GET", &format!("/page{n}")).bytes()).await;
        learners.push(client);
    }
    rest.arrived(4).await;
    let queued = async || edge.metric("lectern_origin_requests_queued", &[]).await == 36.0;
    eventually("all in the queue", queued).await;
    assert_eq!(rest.count(), 4, "no more than there are places");
    assert_eq!(edge.metric("lectern_origin_requests_in_flight", &[]).await, 4.0);
    rest.open();
    for mut learner in learners {
        learner.reply("GET").await.expect_body(200, "page");
    }
}
