//! Who takes too long, too much or too many is ended, and the others are served (G49, G50, G54, and G48's bounds).

use std::time::Duration;

use crate::support::{
    answer::Answer,
    client::{Client, Ended},
    deadline::{eventually, within},
    dial::Dial,
    edge::Edge,
    gate::Gate,
    message::{End, Reply, Request},
    origin::Origin,
    tls::{Certificate, Tls},
};

/// Between two bytes of one who trickles.
const TRICKLE: Duration = Duration::from_millis(100);

/// Short deadlines, of which none but the one at stake should be over.
fn deadlines(short: &str) -> String {
    format!("[listener.deadlines]\n{short} = \"1s\"\n")
}

async fn ended(edge: &Edge, reason: &str, n: usize) {
    let label = format!("reason=\"{reason}\"");
    let count = async || edge.metric("lectern_connections_ended_total", &[&label]).await as usize;
    eventually(format!("{n} connections ended for {reason}"), async || count().await >= n).await;
    assert_eq!(count().await, n, "connections ended for {reason}");
}

/// Sends the bytes one by one until the peer has ended the connection.
async fn trickle(mut client: Client, bytes: Vec<u8>) -> usize {
    let mut pace = tokio::time::interval(TRICKLE);
    for (n, byte) in bytes.iter().enumerate() {
        tokio::select! {
            _ = client.closed() => return n,
            _ = pace.tick() => {}
        }
        client.send(&[*byte]).await;
    }
    client.closed().await;
    bytes.len()
}

#[tokio::test]
async fn g49_a_head_that_trickles_ends_at_its_deadline_and_good_clients_are_served() {
    const SLOW: usize = 200;
    let origin = Origin::start().await;
    origin.on("/good", Answer::storable("good"));
    let edge = Edge::before(&origin, &deadlines("head")).await;
    let mut slow = tokio::task::JoinSet::new();
    let starts: [&[u8]; 3] =
        [b"GET / HTTP/1.1\r\nHost: lms-a.example\r\nX: ", b"", b"PRI * HTTP/2.0\r\n\r\nSM"];
    for n in 0..SLOW {
        let mut client = edge.client().await;
        // Some send the most of a head at once, as clients of slow networks do.
        client.send(starts[n % 2 * 2]).await;
        let rest = if n % 2 == 1 { vec![b'\r'] } else { vec![b'a'; 300] };
        slow.spawn(trickle(client, rest));
    }
    let mut good = edge.client().await;
    let mut served = 0;
    while !slow.is_empty() {
        good.get("/good").await.expect_body(200, "good");
        served += 1;
        while let Some(sent) = slow.try_join_next() {
            assert!(sent.unwrap() < 300, "the trickle went to its end");
        }
    }
    good.get("/good").await.expect_body(200, "good");
    assert_eq!(origin.hits("/good"), 1);
    ended(&edge, "head-timeout", SLOW).await;
    edge.outcomes("hit", served).await;
    assert_eq!(edge.metric("lectern_connections", &["web"]).await, 1.0);
}

#[tokio::test]
async fn g49_a_connection_idle_after_a_request_or_before_any_is_closed_in_order() {
    let origin = Origin::start().await;
    origin.on("/x", Answer::storable("x"));
    let edge = Edge::before(&origin, &deadlines("idle")).await;
    let silent = edge.client().await;
    let mut after = edge.client().await;
    let h2 = edge.h2().await;
    after.get("/x").await.expect_body(200, "x");
    h2.get("/x").await.expect_body(200, "x");
    for mut client in [silent, after] {
        assert_eq!(client.closed().await, Ended::Fin);
        assert_eq!(client.leftover(), b"");
    }
    h2.closed().await;
    ended(&edge, "idle", 3).await;
    edge.get("/x").await.expect_body(200, "x");
    assert_eq!(origin.hits("/x"), 1);
}

#[tokio::test]
async fn an_answer_that_takes_long_is_not_idle() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/slow", Answer::storable("x").behind(&gate));
    let edge = Edge::before(
        &origin,
        "[listener.deadlines]\nidle = \"1s\"\nhead = \"1s\"\nwrite = \"1s\"\nrequest_body = \"1s\"\n",
    )
    .await;
    let (mut client, h2) = (edge.client().await, edge.h2().await);
    client.send(&Request::get("/slow").bytes()).await;
    let stream = h2.open(&Request::get("/slow")).await.unwrap();
    gate.arrived(1).await;
    // Others come and are closed meanwhile: the deadlines do pass.
    for n in 1..=3 {
        edge.client().await.closed().await;
        ended(&edge, "idle", n).await;
    }
    gate.open();
    client.reply("GET").await.expect_body(200, "x");
    stream.reply().await.expect_body(200, "x");
}

/// An edge with one listener `tls`, and the beginnings of these tables in its configuration.
async fn behind_tls(origin: &Origin, listener: &str) -> (Edge, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let pair = Certificate::new(&["lms-a.example"]);
    std::fs::write(folder.path().join("lms.crt"), &pair.pem).unwrap();
    std::fs::write(folder.path().join("lms.key"), &pair.key_pem).unwrap();
    let edge = Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n{listener}\
         [listener.tls]\ncertificates = \"{}\"\n[[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms-a.example\"]\norigin = \"lms\"\n",
        folder.path().display(),
        origin.addr()
    ))
    .await;
    (edge, folder)
}

/// The beginning of a TLS hello.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[tokio::test]
async fn g49_a_half_open_hello_is_closed() {
    let origin = Origin::start().await;
    origin.on("/x", Answer::storable("x"));
    let (edge, _certificates) = behind_tls(&origin, &deadlines("handshake")).await;
    let address = edge.address("tls").await;
    let mut open = Dial::to(address).tls(Tls::named("lms-a.example")).client().await;
    open.get("/x").await.expect_body(200, "x");
    let mut half = Vec::new();
    for n in 0..5 {
        let mut client = Client::connect(address).await;
        client.send(&HELLO[..n * 2]).await;
        half.push(client);
    }
    for mut client in half {
        client.closed().await;
    }
    ended(&edge, "handshake-timeout", 5).await;
    assert!(trickle(Client::connect(address).await, [HELLO, &[0; 300]].concat()).await < 300);
    ended(&edge, "handshake-timeout", 6).await;
    open.get("/x").await.expect_body(200, "x");
    Dial::to(address).tls(Tls::named("lms-a.example")).client().await.get("/x").await.expect_body(200, "x");
    assert_eq!(origin.hits("/x"), 1);
}

#[tokio::test]
async fn the_handshake_cap_turns_away_one_too_many_and_a_place_is_given_back() {
    let origin = Origin::start().await;
    origin.on("/x", Answer::storable("x"));
    let (edge, _certificates) = behind_tls(&origin, "[listener.limits]\nhandshakes = 5\n").await;
    let address = edge.address("tls").await;
    let mut open = Dial::to(address).tls(Tls::named("lms-a.example")).client().await;
    open.get("/x").await.expect_body(200, "x");
    let mut half = Vec::new();
    for _ in 0..6 {
        let mut client = Client::connect(address).await;
        client.send(HELLO).await;
        half.push(client);
    }
    ended(&edge, "handshakes", 1).await;
    open.get("/x").await.expect_body(200, "x");
    half.into_iter().for_each(Client::abort);
    eventually("places", async || edge.metric("lectern_connections", &["tls"]).await == 1.0).await;
    Dial::to(address).tls(Tls::named("lms-a.example")).client().await.get("/x").await.expect_body(200, "x");
}

/// HEADERS of a GET without a body, and RST_STREAM with CANCEL.
fn given_up(stream: u32, path: &str) -> [Vec<u8>; 2] {
    let host = b"lms-a.example";
    let mut block = b"\x82\x86\x04".to_vec();
    block.push(path.len() as u8);
    block.extend(path.as_bytes());
    block.extend([1, host.len() as u8]);
    block.extend(host);
    let head = |kind: u8, flags: u8, length: usize| {
        [&(length as u32).to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes()].concat()
    };
    [[head(1, 5, block.len()), block].concat(), [head(3, 0, 4), vec![0, 0, 0, 8]].concat()]
}

/// Reads frames until the end; was one of them a GOAWAY?
async fn goaway(client: &mut Client) -> bool {
    let mut said = false;
    loop {
        let head = client.raw(9).await;
        let [a, b, c, kind, ..] = head[..] else { return said };
        client.raw(u32::from_be_bytes([0, a, b, c]) as usize).await;
        said |= kind == 7;
    }
}

#[tokio::test]
async fn g50_rapid_resets_get_a_goaway_and_cost_the_origin_little() {
    const STREAMS: u32 = 2_000;
    for paced in [false, true] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let held = gate.clone();
        origin.on_call("/r*", move |_, _| Answer::ok("x").behind(&held));
        origin.on("/good", Answer::storable("good"));
        let edge = Edge::before(&origin, "").await;
        let mut good = edge.client().await;
        let mut client = edge.client().await;
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let mut open = true;
        for n in 0..STREAMS {
            let [headers, reset] = given_up(2 * n + 1, &format!("/r{n}"));
            // Paced: each reset only once the origin has the request, as long as it still gets them.
            open = client.try_send(&headers).await.is_ok();
            if paced && open && n < 50 {
                origin.reached(&format!("/r{n}"), 1).await;
            }
            open = open && client.try_send(&reset).await.is_ok();
            if !open {
                break;
            }
        }
        let said = goaway(&mut client).await;
        // A reset that follows at once may take the GOAWAY with it from one who still writes.
        assert!(said || !open || !paced, "{paced}: no GOAWAY");
        ended(&edge, "resets", 1).await;
        let asked = origin.requests().len();
        assert!(asked < 500, "{paced}: the origin was asked {asked} times");
        good.get("/good").await.expect_body(200, "good");
        gate.open();
        eventually("no work left", async || {
            edge.metric("lectern_origin_requests_in_flight", &[]).await == 0.0
                && edge.metric("lectern_fills_in_flight", &[]).await == 0.0
                && edge.metric("lectern_connections", &["web"]).await == 1.0
        })
        .await;
        let log = edge.log(asked).await;
        assert!(log.len() < 600, "{paced}: {} lines", log.len());
    }
}

#[tokio::test]
async fn g50_a_page_of_two_hundred_streams_with_thirty_cancels_is_not_punished() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let held = gate.clone();
    origin.on_call("/p*", move |seen, _| Answer::storable(&seen.target).behind(&held));
    let edge = Edge::before(&origin, "").await;
    let h2 = edge.h2().await;
    let mut streams = Vec::new();
    for n in 0..200 {
        streams.push((n, h2.open(&Request::get(&format!("/p{n}"))).await.unwrap()));
    }
    gate.arrived(200).await;
    let kept: Vec<_> = streams
        .into_iter()
        .filter_map(|(n, stream)| match n % 7 {
            0 => {
                stream.reset(h2::Reason::CANCEL);
                None
            }
            _ => Some((n, stream)),
        })
        .collect();
    assert_eq!(kept.len(), 171);
    gate.open();
    for (n, stream) in kept {
        stream.reply().await.expect_body(200, format!("/p{n}"));
    }
    h2.get("/p1").await.expect_body(200, "/p1");
    assert_eq!((h2.is_closed(), h2.goaway()), (false, None));
    edge.outcomes("miss", 171).await;
    edge.outcomes("failed", 29).await;
    assert_eq!(edge.metric("lectern_connections_ended_total", &[]).await, 0.0);
    assert_eq!(origin.requests().len(), 200);
}

#[tokio::test]
async fn the_connection_cap_turns_away_who_comes_too_late_and_a_place_is_given_back() {
    let origin = Origin::start().await;
    origin.on("/x", Answer::storable("x"));
    let edge = Edge::before(&origin, "[listener.limits]\nconnections = 10\n").await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = edge.client().await;
        client.get("/x").await.expect_body(200, "x");
        clients.push(client);
    }
    for n in 1..=3 {
        let mut late = edge.client().await;
        late.closed().await;
        ended(&edge, "connections", n).await;
    }
    clients.pop().unwrap().abort();
    eventually("a place", async || edge.metric("lectern_connections", &["web"]).await == 9.0).await;
    let mut next = edge.client().await;
    next.get("/x").await.expect_body(200, "x");
    for client in &mut clients {
        client.get("/x").await.expect_body(200, "x");
    }
    assert_eq!(origin.hits("/x"), 1);
}

async fn in_flight(edge: &Edge) -> (f64, f64) {
    (
        edge.metric("lectern_origin_requests_in_flight", &[]).await,
        edge.metric("lectern_origin_requests_queued", &[]).await,
    )
}

#[tokio::test]
async fn what_an_origin_has_no_place_for_waits_or_gets_503_and_the_queue_drains() {
    for method in ["GET", "POST", "DELETE", "HEAD"] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let held = gate.clone();
        origin.on_call("/r*", move |_, _| Answer::storable("x").behind(&held));
        let edge = Edge::with(&format!(
            "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\nin_flight = 2\nqueue = 3\nqueue_wait = \"60s\"\n\
             [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
            origin.addr()
        ))
        .await;
        let mut waiting = Vec::new();
        for n in 0..5 {
            let mut client = edge.client().await;
            client.send(&Request::new(method, &format!("/r{n}")).bytes()).await;
            let expected = (f64::from(n + 1).min(2.0), f64::from((n - 1).max(0)));
            eventually("its place", async || in_flight(&edge).await == expected).await;
            waiting.push(client);
        }
        for n in 5..10 {
            let busy = edge.ask(&Request::new(method, &format!("/r{n}"))).await.expect(503);
            assert!(busy.field("retry-after").unwrap().parse::<u64>().unwrap() >= 1, "{busy}");
            assert_eq!(busy.field("cache-status"), Some("lectern; detail=origin-busy"));
        }
        gate.arrived(2).await;
        assert_eq!((gate.count(), in_flight(&edge).await), (2, (2.0, 3.0)), "{method}");
        // Who leaves the queue gives up the place in it.
        waiting.pop().unwrap().abort();
        if method == "HEAD" {
            eventually("a place in the queue", async || in_flight(&edge).await == (2.0, 2.0)).await;
        }
        gate.open();
        for mut client in waiting {
            assert_eq!(client.reply(method).await.status, 200, "{method}");
        }
        eventually("an empty queue", async || in_flight(&edge).await == (0.0, 0.0)).await;
        assert_eq!(edge.metric("lectern_origin_requests_turned_away_total", &[]).await, 5.0);
        let labels = ["fault=\"origin\"", "reason=\"origin-busy\""];
        assert_eq!(edge.metric("lectern_requests_failed_total", &labels).await, 5.0, "{method}");
        let log = edge.log(10).await;
        let busy = log.iter().filter(|l| l["detail"] == "origin-busy" && l["status"] == 503);
        assert_eq!(busy.count(), 5, "{method} {log:#?}");
        edge.ask(&Request::new(method, "/r99")).await.expect(200);
    }
}

#[tokio::test]
async fn what_has_no_place_is_answered_stale_or_by_the_sites_own_page() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let stale =
        Answer::ok("kept").field("ETag", "\"1\"").field("Cache-Control", "max-age=10").field("Age", "20");
    origin.on("/kept", stale);
    origin.on("/held", Answer::storable("x").behind(&gate));
    let page = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(page.path(), "<h1>Busy {status} {reason}</h1>{retry_after}").unwrap();
    let edge = Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\nin_flight = 1\nqueue = 0\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\nfailure_page = \"{}\"\n\
         [[site.rule]]\nname = \"kept\"\nprefix = \"/kept\"\nverdict = \"cache\"\nstale_if_error = \"1h\"\n",
        origin.addr(),
        page.path().display(),
    ))
    .await;
    edge.get("/kept").await.expect_body(200, "kept");
    let mut client = edge.client().await;
    client.send(&Request::new("GET", "/held").bytes()).await;
    gate.arrived(1).await;
    edge.get("/kept").await.expect_body(200, "kept");
    assert_eq!(edge.outcome("stale").await, 1);
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    for (method, accept, kind, body) in [
        ("GET", browser, "text/html; charset=utf-8", "<h1>Busy 503 origin-busy</h1>"),
        ("POST", browser, "text/html; charset=utf-8", "<h1>Busy 503 origin-busy</h1>"),
        ("GET", "application/json", "application/json", "\"reason\":\"origin-busy\""),
        ("HEAD", browser, "text/html; charset=utf-8", ""),
        ("GET", "*/*", "text/plain; charset=utf-8", "503 Service Unavailable (origin-busy)\n"),
    ] {
        for http2 in [false, true] {
            let request = Request::new(method, "/other").field("Accept", accept);
            let busy = if http2 { edge.h2().await.ask(&request).await } else { edge.ask(&request).await };
            let busy = busy.expect(503);
            assert_eq!(busy.field("content-type"), Some(kind), "{busy}");
            let told = String::from_utf8_lossy(&busy.body).into_owned();
            assert!(told.contains(body) && told.is_empty() == (method == "HEAD"), "{busy}");
            let wait: u64 = busy.field("retry-after").unwrap().parse().unwrap();
            let says = told.is_empty() || kind.starts_with("text/plain") || told.contains(&wait.to_string());
            assert!(says, "{busy}");
        }
    }
    let labels = ["site=\"lms\"", "class=\"page\""];
    assert_eq!(edge.metric("lectern_origin_requests_turned_away_total", &labels).await, 11.0);
    assert!(edge.said().iter().any(|line| line.contains("requests are turned away")));
    gate.open();
    client.reply("GET").await.expect(200);
}

#[tokio::test]
async fn joiners_that_are_released_go_through_the_queue_too() {
    let (origin, first, rest) = (Origin::start().await, Gate::new(), Gate::new());
    let (one, others) = (first.clone(), rest.clone());
    origin.on_call("/x", move |_, n| {
        let answer = Answer::ok(format!("{n}")).field("Cache-Control", "no-store");
        if n == 0 { answer.behind(&one) } else { answer.behind(&others) }
    });
    origin.on("/ping", Answer::storable("ping"));
    let edge = Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\nin_flight = 2\nqueue = 4\nqueue_wait = \"60s\"\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
        origin.addr()
    ))
    .await;
    let h2 = edge.h2().await;
    let mut streams = Vec::new();
    for _ in 0..9 {
        streams.push(h2.open(&Request::get("/x")).await.unwrap());
        first.arrived(1).await;
    }
    // Streams of one connection begin in order: the answer to the last tells that the others wait.
    h2.get("/ping").await.expect(200);
    first.open();
    // Eight were released: two have places, four wait, two are told to come again; three, and one wait fewer, where the first
    // still had its place.
    rest.arrived(2).await;
    let all = async || {
        let (in_flight, waiting) = in_flight(&edge).await;
        in_flight == 2.0 && 2 + waiting as u64 + edge.outcome("failed").await == 8
    };
    eventually("a full queue", all).await;
    let told = edge.outcome("failed").await;
    assert!((2..=3).contains(&told), "{told}");
    assert_eq!(rest.count(), 2);
    rest.open();
    let mut statuses = std::collections::BTreeMap::new();
    let mut bodies = std::collections::BTreeSet::new();
    for stream in streams {
        let reply = stream.reply().await;
        *statuses.entry(reply.status).or_insert(0_u64) += 1;
        if reply.status == 200 {
            assert!(bodies.insert(reply.text()), "two clients got one body");
        } else {
            assert!(reply.field("retry-after").is_some(), "{reply}");
        }
    }
    assert_eq!(statuses, [(200, 9 - told), (503, told)].into());
    assert_eq!(origin.hits("/x") as u64, 9 - told);
    eventually("an empty queue", async || in_flight(&edge).await == (0.0, 0.0)).await;
    edge.outcomes("pass", 9 - told).await;
}

#[tokio::test]
async fn g54_what_clients_choose_makes_no_metrics() {
    const REQUESTS: usize = 10_000;
    const CLIENTS: usize = 10;
    let origin = Origin::start().await;
    origin.on_call("/*", |_, _| Answer::storable("x"));
    origin.on("*", Answer::ok("x"));
    let edge = Edge::with(&format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"lms\"\nhosts = [\"*.lms.example\"]\norigin = \"lms\"\n",
        origin.addr()
    ))
    .await;
    let ask = |n: usize| {
        // A sequence that repeats nothing (an odd factor), one of each kind in turn.
        let r = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let method = match n % 4 {
            0 => "GET".to_owned(),
            1 => format!("M{r:x}"),
            2 => "POST".to_owned(),
            _ => "HEAD".to_owned(),
        };
        let host = if n % 8 < 4 { format!("h{r:x}.lms.example") } else { format!("h{r:x}.example") };
        let target = if n % 100 == 50 { format!("/%zz{r}") } else { format!("/p{r}/x?q{r}={r}") };
        Request::new(&method, &target).host(&host).field(&format!("X-{r:x}"), &format!("{r}"))
    };
    let round = async |from: usize, to: usize| {
        let mut clients = tokio::task::JoinSet::new();
        for part in 0..CLIENTS {
            let requests: Vec<_> = (from..to).skip(part).step_by(CLIENTS).map(ask).collect();
            let mut client = edge.client().await;
            clients.spawn(async move {
                for request in requests {
                    let reply = client.ask(&request).await;
                    assert!(matches!(reply.status, 200 | 400 | 421) && reply.clean(), "{reply}");
                }
            });
        }
        clients.join_all().await;
    };
    round(0, 200).await;
    eventually("accounts", async || edge.metric("lectern_requests_total", &[]).await == 200.0).await;
    let before = edge.metrics().await;
    round(200, REQUESTS).await;
    eventually("accounts", async || edge.metric("lectern_requests_total", &[]).await == REQUESTS as f64)
        .await;
    let scrape = tokio::time::timeout(Duration::from_secs(2), edge.metrics());
    let after = scrape.await.unwrap_or_else(|_| panic!("a scrape took two seconds"));
    assert_eq!(after.lines().count(), before.lines().count(), "series");
    assert!(after.len() <= before.len() + before.len() / 20, "{} {}", before.len(), after.len());
    assert_eq!(edge.log(REQUESTS).await.len(), REQUESTS);
}

/// Asks and reads the head alone.
async fn stalled(dial: Dial, target: &str) -> (Client, Reply) {
    let mut client = dial.receive_buffer(8 << 10).client().await;
    client.send(&Request::get(target).bytes()).await;
    let reply = client.head("GET").await;
    assert_eq!(reply.status, 200);
    (client, reply)
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut_and_the_others_get_all() {
    let body = vec![b'x'; 16 << 20];
    for path in ["/stored", "/relayed"] {
        let origin = Origin::start().await;
        origin.on("/stored", Answer::storable(&body));
        origin.on("/relayed", Answer::ok(&body).field("Cache-Control", "no-store"));
        let edge = Edge::before(&origin, &deadlines("write")).await;
        let web = Dial::to(edge.address("web").await);
        let (mut slow, mut reply) = stalled(web.clone(), path).await;
        let narrow = web.window(100_000).h2().await;
        let mut stream = narrow.open(&Request::get(path)).await.unwrap();
        let mut http2 = stream.head().await;
        assert_eq!(http2.status, 200);
        edge.get(path).await.expect_body(200, &body);
        ended(&edge, "write-timeout", 2).await;
        slow.rest(&mut reply).await;
        assert!(matches!(reply.end, End::Unclean(_)), "{path}: {reply}");
        while http2.end == End::Open {
            stream.piece(&mut http2).await;
        }
        assert!(matches!(http2.end, End::Unclean(_)), "{path}: {http2}");
        // The stream alone is lost.
        edge.outcomes("failed", 2).await;
        edge.get(path).await.expect_body(200, &body);
        let log = edge.log(4).await;
        let cut: Vec<_> = log.iter().filter(|line| line["outcome"] == "failed").collect();
        assert!(cut.iter().all(|line| line["fault"] == "client" && line["complete"] == false), "{log:#?}");
        eventually("the origin's places", async || in_flight(&edge).await == (0.0, 0.0)).await;
        assert_eq!(origin.hits(path), if path == "/stored" { 1 } else { 4 });
    }
}

#[tokio::test]
async fn g48_twenty_stalled_readers_of_eight_mebibytes_cost_little_memory() {
    const READERS: u64 = 20;
    let body = vec![b'x'; 8 << 20];
    let origin = Origin::start().await;
    origin.on("/stored", Answer::storable(&body));
    origin.on("/relayed", Answer::ok(&body).field("Cache-Control", "no-store"));
    let edge = Edge::before(&origin, "").await;
    let web = Dial::to(edge.address("web").await);
    for path in ["/stored", "/relayed"] {
        edge.get(path).await.expect_body(200, &body);
    }
    let before = edge.rss();
    let (mut clients, mut connections, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    for path in ["/stored", "/relayed"] {
        for _ in 0..READERS {
            clients.push(stalled(web.clone(), path).await);
        }
        let h2 = web.clone().window(65_535).h2().await;
        for _ in 0..READERS {
            let mut stream = h2.open(&Request::get(path)).await.unwrap();
            streams.push((stream.head().await, stream));
        }
        connections.push(h2);
    }
    let mut good = edge.client().await;
    for path in ["/stored", "/relayed"] {
        good.get(path).await.expect_body(200, &body);
    }
    let grown = edge.rss().saturating_sub(before);
    // 80 readers with at most 256 KiB each, the good client's way, and the allocator's slack.
    assert!(grown < 48 << 20, "grown by {} KiB", grown >> 10);
    // Who reads on gets all of it.
    let (mut client, mut reply) = clients.swap_remove(0);
    client.rest(&mut reply).await;
    reply.expect_body(200, &body);
    let (mut reply, mut stream) = streams.pop().unwrap();
    drop(streams);
    while reply.end == End::Open {
        stream.piece(&mut reply).await;
    }
    reply.expect_body(200, &body);
}

#[tokio::test]
async fn a_proxy_header_tells_the_client_to_log_and_origin() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| Answer::ok(format!("{:?}", seen.all("x-forwarded-for"))));
    let edge = Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         proxy_protocol_from = [\"127.0.0.1/32\"]\n{}[[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
        deadlines("handshake"),
        origin.addr()
    ))
    .await;
    let web = Dial::to(edge.address("web").await);
    let v2 = |command: u8, family: u8, addresses: &[u8]| {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, family][..], &length, addresses].concat()
    };
    let (source, here) = ("2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap().octets(), [0; 16]);
    let rows: [(Vec<u8>, &str); 7] = [
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::8 2001:db8::1 51000 443\r\n".to_vec(), "2001:db8::8"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(1, 0x11, &[203, 0, 113, 8, 192, 0, 2, 1, 1, 2, 1, 187]), "203.0.113.8"),
        (v2(1, 0x21, &[&source[..], &here, &[1, 2, 1, 187]].concat()), "2001:db8::9"),
        // With a field behind the addresses; and the proxy's own health check.
        (v2(1, 0x11, &[203, 0, 113, 9, 192, 0, 2, 1, 1, 2, 1, 187, 4, 0, 1, 0]), "203.0.113.9"),
        (v2(0, 0, &[]), "127.0.0.1"),
    ];
    for (n, (first, client)) in rows.iter().enumerate() {
        let request = Request::new("POST", "/x").field("X-Forwarded-For", "6.6.6.6").body("x");
        let mut http1 = web.clone().first(first).client().await;
        http1.ask(&request).await.expect_body(200, format!("[{client:?}]"));
        let http2 = web.clone().first(first).h2().await;
        http2.ask(&request).await.expect_body(200, format!("[{client:?}]"));
        let log = edge.log(2 * n + 2).await;
        let told: Vec<_> = log[2 * n..].iter().map(|line| line["client"].as_str().unwrap()).collect();
        assert_eq!(told, [*client; 2]);
    }
    // None, a broken one, one cut short: nothing is served.
    let broken: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: lms.example\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 51000\r\n",
        b"PROXY TCP4 999.0.113.7 192.0.2.1 51000 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ];
    for (n, bytes) in broken[..4].iter().enumerate() {
        let mut client = web.clone().first(bytes).client().await;
        client.closed().await;
        assert_eq!(client.leftover(), b"");
        ended(&edge, "proxy-protocol", n + 1).await;
    }
    let cut: [&[u8]; 3] = [b"PROXY TCP4 203.0.113.7 19", b"\r\n\r\n\0\r\nQUI", b""];
    for bytes in cut {
        web.clone().first(bytes).client().await.closed().await;
    }
    ended(&edge, "handshake-timeout", cut.len()).await;
    // From others a header is not looked for, and not believed.
    let other = web.from([127, 0, 0, 2].into());
    let plain = Request::new("POST", "/x").body("x");
    other.clone().client().await.ask(&plain).await.expect_body(200, "[\"127.0.0.2\"]");
    within("an answer", other.first(&rows[0].0).client().await.get("/x")).await.expect(400);
    assert_eq!(origin.hits("/x"), 15);
}
