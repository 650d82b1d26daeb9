//! The scripted origin and the strict clients against each other: what a test sees is what happened.

use loadtest::{Lms, Options, Trouble};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::support::answer::Answer;
use crate::support::client::{Client, Ended};
use crate::support::deadline::{eventually_is, within};
use crate::support::dial::Dial;
use crate::support::film::{Film, Watched};
use crate::support::gate::Gate;
use crate::support::h2::H2;
use crate::support::message::{End, Framing, Reply, Request};
use crate::support::origin::Origin;
use crate::support::tls::{Certificate, Tls};

/// Fields of the request, and status, body and Content-Range of the reply.
type Row<'a> = (&'a [(&'a str, &'a str)], u16, &'a str, Option<&'a str>);

fn unclean(reply: &Reply) -> &str {
    match &reply.end {
        End::Unclean(why) => why,
        _ => panic!("an unclean end was expected: {reply}"),
    }
}

#[tokio::test]
async fn each_framing_is_read_to_its_own_end_on_one_connection() {
    let origin = Origin::start().await;
    let body = vec![b'x'; 100_000];
    origin.on("/length", Answer::storable(&body).interim(103, &[("Link", "</a.css>; rel=preload")]));
    origin.on("/chunked", Answer::ok(&body).chunked());
    origin.on("/none", Answer::new(204, ""));
    origin.on("/static/*", Answer::ok("prefix"));
    origin.on("/static/one?v=2", Answer::ok("exact"));
    origin.on("/close", Answer::ok(&body).until_close());
    let mut client = Client::connect(origin.addr()).await;
    // Pipelined: all requests first.
    for target in ["/length", "/chunked", "/none", "/static/one?v=2", "/static/one", "/close"] {
        client.send(&Request::get(target).bytes()).await;
    }
    let first = client.reply("GET").await.expect_body(200, &body);
    assert_eq!(
        (first.framing, first.interim[0].0, first.field("etag")),
        (Framing::Length, 103, Some("\"v1\""))
    );
    assert_eq!(first.interim[0].1, [("Link".to_owned(), "</a.css>; rel=preload".to_owned())]);
    assert_eq!(client.reply("GET").await.expect_body(200, &body).framing, Framing::Chunked);
    assert_eq!(client.reply("GET").await.expect_body(204, "").all("content-length"), Vec::<&str>::new());
    client.reply("GET").await.expect_body(200, "exact");
    client.reply("GET").await.expect_body(200, "prefix");
    assert_eq!(client.reply("GET").await.expect_body(200, &body).framing, Framing::Close);
    assert_eq!(client.closed().await, Ended::Fin);
    assert_eq!((origin.requests().len(), origin.connections(), origin.hits("/static/one")), (6, 1, 2));
    assert_eq!((origin.last("/close").connection, origin.last("/close").on_connection), (0, 5));

    drop(client);
    let mut client = Client::connect(origin.addr()).await;
    client.ask(&Request::new("HEAD", "/length")).await.expect_body(200, "");
    client.get("/none").await.expect(204);
    assert_eq!(client.leftover(), b"");
    eventually_is("number of open connections", 1, || origin.open_connections()).await;
}

#[tokio::test]
async fn cuts_and_lies_are_unclean_ends() {
    let origin = Origin::start().await;
    let body = vec![b'x'; 50_000];
    origin.on("/fin", Answer::ok(&body).closes_after(40_000));
    origin.on("/rst", Answer::ok(&body).resets_after(40_000));
    origin.on("/chunked", Answer::ok(&body).chunked().closes_after(40_000));
    origin.on("/until-close", Answer::ok(&body).until_close().resets_after(40_000));
    origin.on("/longer", Answer::ok("abc").claims(5));
    for (path, why) in [("/fin", "Fin"), ("/rst", "Reset"), ("/chunked", "Fin"), ("/until-close", "Reset")] {
        let reply = Client::connect(origin.addr()).await.get(path).await;
        assert_eq!((reply.status, reply.body.len()), (200, 40_000), "{path}");
        assert!(unclean(&reply).starts_with(why), "{path}: {reply}");
    }
    assert_eq!(
        unclean(&Client::connect(origin.addr()).await.get("/longer").await),
        "Fin with 2 bytes missing"
    );

    // Shorter: what is too much stands before the next reply.
    origin.on("/shorter", Answer::ok("abcdefgh").claims(3));
    let mut client = Client::connect(origin.addr()).await;
    client.get("/shorter").await.expect_body(200, "abc");
    assert!(unclean(&client.get("/shorter").await).starts_with("not a status line: defgh"));

    origin.on("/garbage", Answer::garbage("\0\x01 nonsense\r\n\r\n"));
    origin.on("/nothing", Answer::hang_up());
    origin.on("/both", Answer::ok("abc").field("Transfer-Encoding", "chunked"));
    origin.on("/bare", Answer::garbage("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"));
    let cases = [
        ("/garbage", "not a status line: \\x00\\x01"),
        ("/nothing", "Fin before a status line"),
        ("/both", "both Transfer-Encoding"),
        ("/bare", "a bare CR, LF"),
    ];
    for (path, why) in cases {
        let reply = Client::connect(origin.addr()).await.get(path).await;
        assert!(reply.status == 0 && unclean(&reply).starts_with(why), "{path}: {reply}");
    }
}

#[tokio::test]
async fn a_gate_holds_the_body_and_a_leaving_client_is_noticed() {
    let (origin, head, middle) = (Origin::start().await, Gate::new(), Gate::new());
    origin.on("/film", Answer::ok(vec![b'x'; 30_000]).chunked().behind(&head).pause(20_000, &middle));
    let mut client = Client::connect(origin.addr()).await;
    client.send(&Request::get("/film").bytes()).await;
    head.arrived(1).await;
    assert_eq!(origin.last("/film").sent, 0);
    head.open();
    let mut reply = client.head("GET").await;
    client.at_least(&mut reply, 20_000).await;
    middle.arrived(1).await;
    assert_eq!((reply.body.len(), origin.last("/film").sent, middle.count()), (20_000, 20_000, 1));
    middle.open();
    client.rest(&mut reply).await;
    reply.expect_body(200, vec![b'x'; 30_000]);
    origin.until("/film", "its whole answer", |seen| seen.answered).await;

    middle.shut();
    client.send(&Request::get("/film").bytes()).await;
    middle.arrived(2).await;
    client.abort();
    origin.until("/film", "its client gone", |seen| seen.gone).await;
}

#[tokio::test]
async fn request_bodies_are_seen_as_they_come() {
    let origin = Origin::start().await;
    origin.on_call("/upload", |seen, earlier| Answer::ok(format!("{earlier} {}", seen.method)));
    let mut client = Client::connect(origin.addr()).await;
    let post = Request::new("POST", "/upload").field("Content-Length", "6");
    client.send(&post.bytes()).await;
    client.send(b"abc").await;
    origin.until("/upload", "half its body", |seen| seen.body == b"abc").await;
    assert_eq!(origin.last("/upload").body_sha256, None);
    client.send(b"def").await;
    client.reply("POST").await.expect_body(200, "0 POST");
    let digest = "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721";
    assert_eq!(origin.last("/upload").body_sha256.as_deref(), Some(digest));
    let chunked = Request::new("PUT", "/upload")
        .field("Transfer-Encoding", "chunked")
        .body("3\r\nabc\r\n3;x=1\r\ndef\r\n0\r\nT: 1\r\n\r\n");
    client.ask(&chunked).await.expect_body(200, "1 PUT");
    let seen = origin.last("/upload");
    assert_eq!(
        (seen.body_sha256.as_deref(), seen.body_length, &seen.body[..]),
        (Some(digest), 6, &b"abcdef"[..])
    );
    assert_eq!(seen.all("host"), ["lms-a.example"]);
}

#[tokio::test]
async fn a_body_is_asked_for_refused_or_awaited_in_silence() {
    let origin = Origin::start().await;
    origin.on("/asked", Answer::ok("done"));
    origin.on("/refused", Answer::new(413, "too large").unread());
    origin.on("/silent", Answer::ok("done").without_continue());
    let expecting =
        |path| Request::new("POST", path).field("Expect", "100-continue").field("Content-Length", "3");
    let mut client = Client::connect(origin.addr()).await;
    client.send(&expecting("/asked").bytes()).await;
    assert_eq!(client.raw(25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"abc").await;
    assert_eq!(client.reply("POST").await.expect_body(200, "done").interim, []);
    client.send(&[&expecting("/silent").bytes()[..], b"abc"].concat()).await;
    assert_eq!(client.reply("POST").await.expect_body(200, "done").interim, []);
    let refused = client.ask(&expecting("/refused")).await.expect_body(413, "too large");
    assert_eq!((refused.interim.len(), client.closed().await), (0, Ended::Fin));
    assert_eq!(origin.last("/refused").body_length, 0);
}

#[tokio::test]
async fn conditions_and_ranges_are_honoured_where_told() {
    let origin = Origin::start().await;
    origin.on("/x", Answer::storable("0123456789").conditional().ranges());
    origin.on("/plain", Answer::storable("0123456789").instead("ETag", "\"v2\""));
    let mut client = Client::connect(origin.addr()).await;
    let rows: [Row; 9] = [
        (&[("If-None-Match", "\"v0\", W/\"v1\"")], 304, "", None),
        (&[("If-None-Match", "\"v2\"")], 200, "0123456789", None),
        (&[("Range", "bytes=2-4")], 206, "234", Some("bytes 2-4/10")),
        (&[("Range", "bytes=-3")], 206, "789", Some("bytes 7-9/10")),
        (&[("Range", "bytes=8-")], 206, "89", Some("bytes 8-9/10")),
        (&[("Range", "bytes=10-")], 416, "", Some("bytes */10")),
        (&[("Range", "bytes=0-0,2-2")], 200, "0123456789", None),
        (&[("Range", "bytes=2-4"), ("If-Range", "\"v1\"")], 206, "234", Some("bytes 2-4/10")),
        (&[("Range", "bytes=2-4"), ("If-Range", "\"v0\"")], 200, "0123456789", None),
    ];
    for (fields, status, body, range) in rows {
        let request =
            fields.iter().fold(Request::get("/x"), |request, (name, value)| request.field(name, value));
        let reply = client.ask(&request).await.expect_body(status, body);
        assert_eq!(reply.field("content-range"), range, "{fields:?}");
    }
    let both = Request::get("/plain").field("If-None-Match", "\"v2\"").field("Range", "bytes=0-1");
    assert_eq!(client.ask(&both).await.expect_body(200, "0123456789").all("etag"), ["\"v2\""]);
}

#[tokio::test]
async fn an_origin_that_was_down_comes_up_on_its_port() {
    let origin = Origin::start().await;
    origin.on_each(
        "/x",
        vec![Answer::ok("first").then_close(), Answer::ok("second"), Answer::new(500, "").then_reset()],
    );
    let mut client = Client::connect(origin.addr()).await;
    client.get("/x").await.expect_body(200, "first");
    assert_eq!(client.closed().await, Ended::Fin);
    let mut client = Client::connect(origin.addr()).await;
    client.get("/x").await.expect_body(200, "second");
    origin.down().await;
    client.closed().await;
    assert!(Dial::to(origin.addr()).try_client().await.is_err(), "nobody listens");
    origin.up();
    let mut client = Client::connect(origin.addr()).await;
    client.get("/x").await.expect(500);
    assert_eq!((client.closed().await, origin.connections()), (Ended::Reset, 3));
    client.get("/elsewhere").await;
    assert_eq!(origin.hits("/elsewhere"), 0);
}

#[tokio::test]
async fn an_upgraded_connection_echoes_until_the_half_close() {
    let origin = Origin::start().await;
    origin.on("/ws", Answer::echo("test"));
    origin.on_raw("/raw/*", |mut connection, seen| async move {
        connection.chunk(seen.target.as_bytes()).await.unwrap();
        match seen.path() {
            "/raw/rst" => connection.reset(),
            _ => connection.gone().await,
        }
    });
    let mut client = Client::connect(origin.addr()).await;
    let upgrade = Request::get("/ws").field("Connection", "keep-alive, Upgrade").field("Upgrade", "test");
    client.send(&[&upgrade.bytes()[..], b"early"].concat()).await;
    let reply = client.reply("GET").await.expect(101);
    assert_eq!(reply.field("upgrade"), Some("test"));
    assert_eq!(client.raw(5).await, b"early");
    client.send(b"later").await;
    assert_eq!(client.raw(5).await, b"later");
    client.half_close().await;
    assert_eq!(client.closed().await, Ended::Fin);
    let mut client = Client::connect(origin.addr()).await;
    client.send(&Request::get("/raw/fin").bytes()).await;
    origin.reached("/raw/fin", 1).await;
    client.half_close().await;
    assert_eq!((client.closed().await, client.leftover()), (Ended::Fin, &b"8\r\n/raw/fin\r\n"[..]));
    let mut client = Client::connect(origin.addr()).await;
    client.send(&Request::get("/raw/rst").bytes()).await;
    assert_eq!(client.raw(13).await, b"8\r\n/raw/rst\r\n");
    assert_eq!(client.closed().await, Ended::Reset);
    client.try_send(b"x").await.expect_err("nobody takes it");
    let mut client = Client::connect(origin.addr()).await;
    client.send(b"GET  / HTTP/1.1\r\n\r\n").await;
    client.reply("GET").await.expect(400);
    assert_eq!(origin.malformed(), [b"GET  / HTTP/1.1\r\n\r\n".to_vec()]);
}

#[tokio::test]
async fn tls_shows_the_certificate_and_knows_an_orderly_end() {
    let certificate = Certificate::new(&["lms-a.example"]);
    assert!(certificate.pem.contains("BEGIN CERTIFICATE") && certificate.key_pem.contains("PRIVATE KEY"));
    let origin = Origin::start_tls(certificate.server(&["http/1.1"])).await;
    origin.on("/close", Answer::ok("abc").until_close());
    origin.on("/reset", Answer::ok("abc").until_close().resets_after(3));
    let tls = Dial::to(origin.addr()).tls(Tls::named("lms-a.example"));
    let mut client = tls.clone().client().await;
    assert_eq!(client.server_certificate(), Some(certificate.der.clone()));
    client.get("/close").await.expect_body(200, "abc");
    let mut client =
        Dial::to(origin.addr()).tls(Tls::nameless().only(&rustls::version::TLS12)).client().await;
    assert!(unclean(&client.get("/reset").await).starts_with("Reset"));
    assert!(tls.try_h2().await.is_err(), "the origin offers no h2");
}

#[tokio::test]
async fn http2_streams_end_cleanly_or_with_a_reset() {
    let lms = Lms::start(([127, 0, 0, 1], 0).into(), Options { film: 1 << 20, ..Options::default() })
        .await
        .unwrap();
    let client = H2::connect(lms.addr()).await;
    let (film, page) = tokio::join!(client.get("/media/film.mp4"), client.get("/"));
    assert_eq!((film.expect(200).body.len(), page.expect(200).framing), (1 << 20, Framing::Stream));
    let upload = Request::new("POST", "/upload").body(vec![1; 300_000]);
    assert!(client.ask(&upload).await.expect(200).text().contains("\"length\":300000"));
    lms.trouble(Trouble::on("/media/").cut_after(100_000));
    let cut = client.get("/media/film.mp4").await;
    assert_eq!((cut.status, cut.body.len()), (200, 100_000));
    assert!(unclean(&cut).contains("stream error"), "{cut}");

    // A window that is never given back stops the sender, and a reset frees the stream.
    lms.heal();
    let narrow = Dial::to(lms.addr()).window(30_000).h2().await;
    let mut stream = narrow.open(&Request::get("/media/film.mp4")).await.unwrap();
    let mut reply = stream.head().await;
    stream.piece(&mut reply).await;
    assert!(!reply.body.is_empty() && reply.end == End::Open, "{reply}");
    stream.reset(h2::Reason::CANCEL);
    narrow.get("/").await.expect(200);
    assert_eq!((narrow.is_closed(), narrow.goaway()), (false, None));
    lms.stop().await;
    assert_eq!(narrow.closed().await, Some(h2::Reason::NO_ERROR), "a graceful end");
}

#[tokio::test]
async fn http2_over_tls_needs_alpn_and_tells_a_goaway() {
    let own = std::sync::Arc::new(Certificate::new(&["client.example"]));
    let certificate = Certificate::new(&["127.0.0.1"]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let acceptor = TlsAcceptor::from(certificate.server(&["h2"]));
    let dial = Dial::to(listener.local_addr().unwrap()).from([127, 0, 0, 2].into()).receive_buffer(8_192);
    let (tell, received) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let (mut stream, peer) = listener.accept().await.unwrap();
        let mut first = [0; 7];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!((&first, peer.ip().to_string().as_str()), (b"PROXY\r\n", "127.0.0.2"));
        let mut connection = h2::server::handshake(acceptor.accept(stream).await.unwrap()).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        assert_eq!(request.uri().to_string(), "https://lms-b.example/x?y=1");
        respond.send_response(http::Response::new(()), true).unwrap();
        // Polled, the connection sends the response.
        tokio::select! {
            told = received => told.unwrap(),
            _ = connection.accept() => panic!("a second request"),
        }
        connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
        assert!(connection.accept().await.is_none());
    });
    let client = dial.first(b"PROXY\r\n").tls(Tls::named("127.0.0.1").own(&own)).h2().await;
    assert_eq!(client.server_certificate(), Some(&certificate.der[..]));
    client.ask(&Request::get("/x?y=1").host("lms-b.example")).await.expect_body(200, "");
    tell.send(()).unwrap();
    assert_eq!(client.closed().await, Some(h2::Reason::ENHANCE_YOUR_CALM));
    within("end of the server", server).await.unwrap();
}

#[tokio::test]
async fn a_client_can_leave_in_each_way() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let mut client = Client::connect(to).await;
    let (mut stream, peer) = listener.accept().await.unwrap();
    assert_eq!(client.local_addr(), peer);
    client.send(b"abc").await;
    client.half_close().await;
    let mut got = Vec::new();
    within("FIN", stream.read_to_end(&mut got)).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    client.reply("GET").await.expect_body(200, "");
    client.abort();
    let end = within("RST", stream.read_to_end(&mut got)).await;
    assert_eq!((&got[..], end.is_err() || stream.write_all(b"x").await.is_err()), (&b"abc"[..], true));
    let h2 = H2::connect(to).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    h2.abort();
    within("end of an aborted HTTP/2 connection", stream.read_to_end(&mut got)).await.unwrap();
}

#[tokio::test]
async fn a_film_is_the_same_bytes_wherever_it_is_read() {
    let (film, other) = (Film::new(1, 3_000_000), Film::new(2, 3_000_000));
    let whole = film.bytes(0, film.length);
    assert_eq!(whole.len(), 3_000_000);
    for (first, end) in [(0, 1), (65_520, 65_522), (262_143, 600_001), (2_999_999, 3_000_000)] {
        let bytes = &whole[first as usize..end as usize];
        assert_eq!(film.bytes(first, end), bytes);
        assert!(film.is_at(first, bytes) && !other.is_at(first, bytes), "{first}");
        assert!(end - first < 100 || !film.is_at(first + (256 << 10), bytes), "a chunk further on: {first}");
    }
    let origin = Origin::start().await;
    origin.on("/film", film.answer().pause(1_000_000, &Gate::new()));
    let mut client = Client::connect(origin.addr()).await;
    let range = |text: &str| Request::get("/film").field("Range", text);
    let part = client.ask(&range("bytes=70000-70009").field("If-Range", &film.tag())).await;
    assert_eq!(
        part.expect_body(206, &whole[70_000..70_010]).field("content-range"),
        Some("bytes 70000-70009/3000000")
    );
    client.ask(&range("bytes=3000000-")).await.expect_body(416, "");
    client.send(&range("bytes=0-9").field("If-Range", "\"other\"").bytes()).await;
    let mut reply = client.head("GET").await;
    let mut watched = Watched::from(&film, 0);
    while watched.at < 1_000_000 {
        client.piece(&mut reply).await;
        watched.take(&mut reply);
    }
    assert_eq!((reply.status, watched.at, reply.body.len()), (200, 1_000_000, 0));
    assert_eq!(origin.ranges("/film").len(), 3);
    assert_eq!(origin.sent("/film"), 10 + 1_000_000);
}
