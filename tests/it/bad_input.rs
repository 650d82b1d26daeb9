//! Malformed, ambiguous and over-long input: a clear answer, an account, and nothing lost for others (G43, G47).

use std::hash::{BuildHasher, Hasher};

use crate::support::{
    answer::Answer,
    client::{Client, Ended},
    deadline::{eventually, within},
    edge::Edge,
    message::{End, Request},
    origin::Origin,
};

/// An edge with an origin that echoes the target it was asked for, and a client whose connection must survive all of it.
struct Stage {
    origin: Origin,
    edge: Edge,
    good: Client,
    refused: u64,
    served: usize,
}

impl Stage {
    async fn set(rest: &str) -> Stage {
        let origin = Origin::start().await;
        origin.on_call("/*", |seen, _| Answer::storable(&seen.target));
        let edge = Edge::before(&origin, rest).await;
        let good = edge.client().await;
        Stage { origin, edge, good, refused: 0, served: 0 }
    }

    /// Sends it on a connection of its own: refused, with this status and for this reason, and not asked of the origin.
    async fn refuses(&mut self, bytes: &[u8], status: u16, reason: &str) {
        let what = bytes[..bytes.len().min(120)].escape_ascii().to_string();
        let (before, asked) = (self.counted(reason).await, self.origin.requests().len());
        let mut client = self.edge.client().await;
        client.send(bytes).await;
        let reply = client.reply("GET").await;
        assert_eq!((reply.status, reply.clean()), (status, true), "{what}: {reply}");
        if let Some(said) = reply.field("cache-status") {
            assert_eq!(said, format!("lectern; detail={reason}"), "{what}");
        } else {
            // hyper's own answer to what is no request.
            assert!(matches!(reason, "malformed" | "head-too-large"), "{what}: {reply}");
            assert_eq!(client.closed().await, Ended::Fin, "{what}");
        }
        self.refused += 1;
        self.edge.outcomes("refused", self.refused).await;
        assert_eq!(self.counted(reason).await, before + 1.0, "{what}");
        assert_eq!(self.origin.requests().len(), asked, "{what}: the origin was asked");
        self.serves("/good").await;
        let log = self.edge.log(self.served + self.refused as usize).await;
        let accounted = |line: &&serde_json::Value| line["outcome"] == "refused" && line["detail"] == reason;
        assert_eq!(log.iter().filter(accounted).count() as f64, before + 1.0, "{what}");
    }

    /// The others are served, on the connection they have.
    async fn serves(&mut self, target: &str) {
        self.good.get(target).await.expect_body(200, target);
        self.served += 1;
    }

    async fn counted(&self, reason: &str) -> f64 {
        self.edge.metric("lectern_requests_refused_total", &[&format!("reason=\"{reason}\"")]).await
    }
}

fn get(target: &str) -> Vec<u8> {
    Request::get(target).bytes()
}

#[tokio::test]
async fn what_is_no_request_is_answered_400_and_closed() {
    let mut stage = Stage::set("").await;
    let lines: [&[u8]; 27] = [
        b"GET  / HTTP/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: lms-a.example\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: lms-a.example\r\n\r\n",
        b"GET / http/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"G(T / HTTP/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"GET /a\0b HTTP/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"GET /a\tb HTTP/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"GET /\xe4 HTTP/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"GET /<a> HTTP/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"GET /a\x7fb HTTP/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"/ GET HTTP/1.1\r\nHost: lms-a.example\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: lms-a.example\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: lms-a.example\r\n: nameless\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: lms-a.example\r\nA b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: lms-a.example\r\nA : c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: lms-a.example\r\nA\xe4: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: lms-a.example\r\nA: c\0d\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: lms-a.example\r\nA: c\rd\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: lms-a.example\r\nA: c\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: x\r\nHost: lms-a.example\r\n\r\n",
        // HTTP/0.9, and a TLS hello to a cleartext port.
        b"GET /\r\n\r\n",
        b"GET /good\r\nHost: lms-a.example\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03random\x00\x00\x02\x13\x01\x01\x00\r\n\r\n",
        b"\x00\x01\x02\x03\xff\xfe\r\n\r\n",
    ];
    for bytes in lines {
        stage.refuses(bytes, 400, "malformed").await;
    }
    assert_eq!(stage.origin.malformed(), Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn what_is_too_long_has_its_own_answer() {
    let rule = "body_limit = \"1KiB\"\n[[site.rule]]\nname = \"upload\"\npath = \"/upload\"\nverdict = \"pass\"\n\
                body_limit = \"8KiB\"\n";
    let mut stage = Stage::set(rule).await;
    let field = |name: &str, n: usize| Request::get("/good").field(name, &"a".repeat(n)).bytes();
    let fields = |n| (0..n).fold(Request::get("/good"), |r, i| r.field(&format!("X-{i}"), "y")).bytes();
    stage.refuses(&get(&format!("/{}", "a".repeat(9 << 10))), 414, "target-too-long").await;
    stage.refuses(&get(&format!("/?{}", "a".repeat(20 << 10))), 414, "target-too-long").await;
    stage.refuses(&get(&format!("/{}", "a".repeat(200 << 10))), 431, "head-too-large").await;
    stage.refuses(&field("X", 40 << 10), 431, "head-too-large").await;
    stage.refuses(&field("Cookie", 300 << 10), 431, "head-too-large").await;
    stage.refuses(&field(&"n".repeat(40 << 10), 1), 431, "head-too-large").await;
    stage.refuses(&fields(100), 431, "head-too-large").await;
    stage.refuses(&fields(5000), 431, "head-too-large").await;
    let post = |target, n: usize| Request::new("POST", target).body(vec![b'x'; n]).bytes();
    stage.refuses(&post("/x", 1025), 413, "body-limit").await;
    stage.refuses(&post("/upload", 8193), 413, "body-limit").await;
    // What fits is served.
    stage.serves(&format!("/{}", "a".repeat(8000))).await;
    stage.edge.client().await.ask(&Request::get("/good").field("X", &"a".repeat(30 << 10))).await.expect(200);
    for (target, n) in [("/x", 1024), ("/upload", 8192)] {
        stage.edge.ask(&Request::new("POST", target).body(vec![b'x'; n])).await.expect_body(200, target);
        assert_eq!(stage.origin.last(target).body_length, n as u64);
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_at_the_limit_and_the_origin_never_takes_it_for_whole() {
    let mut stage = Stage::set("body_limit = \"64KiB\"\n").await;
    for http2 in [false, true] {
        let body = vec![b'x'; 100 << 10];
        let reply = if http2 {
            let mut stream = stage.edge.h2().await.begin(&Request::new("POST", "/x"), false).await.unwrap();
            // The answer may come, and the stream end, before all is sent.
            drop(stream.send(&body, true).await);
            stream.reply().await
        } else {
            let mut client = stage.edge.client().await;
            let chunked = Request::new("POST", "/x").field("Transfer-Encoding", "chunked");
            client.send(&chunked.bytes()).await;
            client.send(format!("{:x}\r\n", body.len()).as_bytes()).await;
            client.send(&body).await;
            client.reply("POST").await
        };
        assert_eq!(reply.status, 413, "{http2}: {reply}");
        stage.refused += 1;
        stage.edge.outcomes("refused", stage.refused).await;
        stage.origin.until("/x", "its peer gone", |seen| seen.gone).await;
        assert!(stage.origin.seen("/x").iter().all(|seen| seen.body_sha256.is_none()));
        stage.serves("/good").await;
    }
    assert_eq!(stage.counted("body-limit").await, 2.0);
}

#[tokio::test]
async fn what_the_origin_is_asked_is_exactly_what_is_keyed() {
    let stage = Stage::set("").await;
    // Spelling, and what the origin is asked; `Err` is the reason of the refusal.
    let table: [(&str, Result<&str, &str>); 50] = [
        ("/a%2fb", Ok("/a%2Fb")),
        ("/a;b=1", Ok("/a;b=1")),
        ("/a;b", Ok("/a;b")),
        ("/a//b", Ok("/a//b")),
        ("//a", Ok("//a")),
        ("/a/", Ok("/a/")),
        ("/a", Ok("/a")),
        ("/A", Ok("/A")),
        ("/%61", Ok("/a")),
        ("/a/./c", Ok("/a/c")),
        ("/a/../c", Ok("/c")),
        ("/../../c", Ok("/c")),
        ("/x/%2e%2E/c", Ok("/c")),
        ("/a/..", Ok("/")),
        ("/a/.", Ok("/a/")),
        ("/a%7Eb", Ok("/a~b")),
        ("/a%20b", Ok("/a%20b")),
        ("/a%5Cb", Ok("/a%5Cb")),
        ("/a%5cb", Ok("/a%5Cb")),
        ("/a%253Fb", Ok("/a%253Fb")),
        ("/%E4", Ok("/%E4")),
        ("/%C3%A4", Ok("/%C3%A4")),
        ("/\"{}|^'", Ok("/\"{}|^'")),
        ("/a...b/.../c", Ok("/a...b/.../c")),
        ("/.well-known/x", Ok("/.well-known/x")),
        ("/q?", Ok("/q?")),
        ("/q?a=%2f&b=//..", Ok("/q?a=%2f&b=//..")),
        ("/q?a=%2F&b=//..", Ok("/q?a=%2F&b=//..")),
        ("/q?b=//..&a=%2F", Ok("/q?b=//..&a=%2F")),
        ("/q?%00%C0%AF%zz", Ok("/q?%00%C0%AF%zz")),
        ("/q??", Ok("/q??")),
        ("/q?a#b", Ok("/q?a")),
        ("/q#b?c", Ok("/q")),
        ("/a%00", Err("path-character")),
        ("/a%0d%0aX:1", Err("path-character")),
        ("/a%1F", Err("path-character")),
        ("/a%7F", Err("path-character")),
        ("/%C0%AF", Err("path-overlong-utf8")),
        ("/%c1%81", Err("path-overlong-utf8")),
        ("/%E0%80%AF", Err("path-overlong-utf8")),
        ("/%F0%80%80%AF", Err("path-overlong-utf8")),
        ("/%", Err("path-percent")),
        ("/%4", Err("path-percent")),
        ("/%zz", Err("path-percent")),
        ("/%u002f", Err("path-percent")),
        ("/a\\b", Err("path-backslash")),
        ("/..%2Fa", Err("path-hidden-dots")),
        ("/a/..;x/b", Err("path-hidden-dots")),
        ("/a%2F%2e%2e", Err("path-hidden-dots")),
        ("/a%5C..", Err("path-hidden-dots")),
    ];
    let mut asked = std::collections::BTreeSet::new();
    for http2 in [false, true] {
        let h2 = stage.edge.h2().await;
        for (spelling, wanted) in table {
            let request = Request::get(spelling);
            let reply = if http2 { h2.ask(&request).await } else { stage.edge.ask(&request).await };
            match wanted {
                Ok(target) => {
                    reply.expect_body(200, target);
                    asked.insert(target);
                    assert_eq!(stage.origin.last(target).target, target);
                }
                Err(reason) => {
                    let reply = reply.expect(400);
                    let said = reply.field("cache-status").unwrap_or_default();
                    assert_eq!(said, format!("lectern; detail={reason}"), "{spelling}");
                }
            }
            assert_eq!(stage.origin.requests().len(), asked.len(), "one entry per target: {spelling}");
        }
    }
    stage.edge.outcomes("miss", asked.len() as u64).await;
    let refused = table.iter().filter(|row| row.1.is_err()).count() as u64 * 2;
    stage.edge.outcomes("refused", refused).await;
    // Raw UTF-8 goes on as it is, over both.
    let raw: String = "/ä".bytes().map(char::from).collect();
    let mut client = stage.edge.client().await;
    client.send("GET /ä HTTP/1.1\r\nHost: lms-a.example\r\n\r\n".as_bytes()).await;
    client.reply("GET").await.expect(200);
    assert_eq!(stage.origin.hits(&raw), 1);
    let mut client = stage.edge.client().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(&frame(4, 0, 0, &[])).await;
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "lms-a.example"), (":path", "/ä")];
    client.send(&frame(1, 5, 1, &literal(&fields))).await;
    assert_eq!(answered(&mut client, 1).await, 1);
    assert_eq!((stage.origin.hits(&raw), stage.origin.requests().len()), (1, asked.len() + 1));
    assert_eq!(stage.origin.malformed(), Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn targets_that_are_no_path_are_refused() {
    let mut stage = Stage::set("").await;
    stage
        .refuses(b"CONNECT lms-a.example:443 HTTP/1.1\r\nHost: lms-a.example:443\r\n\r\n", 501, "connect")
        .await;
    stage.refuses(b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", 501, "connect").await;
    stage
        .refuses(b"GET lms-a.example:80 HTTP/1.1\r\nHost: lms-a.example:80\r\n\r\n", 400, "bad-target")
        .await;
    stage.refuses(b"GET * HTTP/1.1\r\nHost: lms-a.example\r\n\r\n", 400, "path-not-absolute").await;
    stage.refuses(b"GET / HTTP/1.0\r\n\r\n", 400, "no-host").await;
    stage.refuses(b"GET a/b HTTP/1.1\r\nHost: lms-a.example\r\n\r\n", 400, "malformed").await;
    // The server as a whole may be asked for its options.
    stage.origin.on("*", Answer::ok("options"));
    stage.edge.ask(&Request::new("OPTIONS", "*")).await.expect_body(200, "options");
}

/// What may become of a request whose length can be read in two ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// 400 and closed, and the origin sees nothing.
    Refused,
    /// The origin sees one request with one framing field and the body `hello`.
    Hello,
    /// It had begun when the fault showed: 400 and closed, and the origin sees no whole body.
    Broken,
}

#[tokio::test]
async fn g43_a_request_with_two_lengths_has_one_reading_or_none() {
    let mut broken = 0;
    use Then::{Broken, Hello, Refused};
    const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";
    const TE: &str = "Transfer-Encoding: chunked\r\n";
    let table: [(&str, &str, &str, Then); 38] = [
        ("1.1", "Content-Length: 13\r\nTransfer-Encoding: chunked\r\n", CHUNKS, Hello),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 13\r\n", CHUNKS, Hello),
        ("1.1", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", CHUNKS, Hello),
        ("1.1", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", CHUNKS, Hello),
        ("1.1", "Content-Length: 5\r\n", "hello", Hello),
        ("1.1", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello", Refused),
        ("1.1", "Content-Length: 6\r\nContent-Length: 5\r\n", "hello", Refused),
        ("1.1", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello", Hello),
        ("1.1", "Content-Length: +5\r\n", "hello", Refused),
        ("1.1", "Content-Length: -5\r\n", "hello", Refused),
        ("1.1", "Content-Length: 5, 5\r\n", "hello", Refused),
        ("1.1", "Content-Length: 0x5\r\n", "hello", Refused),
        ("1.1", "Content-Length: 5 5\r\n", "hello", Refused),
        ("1.1", "Content-Length: \r\n", "hello", Refused),
        ("1.1", "Content-Length: 99999999999999999999\r\n", "hello", Refused),
        ("1.1", "Content-Length : 5\r\n", "hello", Refused),
        ("1.1", "Transfer-Encoding: xchunked\r\n", CHUNKS, Refused),
        ("1.1", "Transfer-Encoding: chunked, identity\r\n", CHUNKS, Refused),
        ("1.1", "Transfer-Encoding: identity\r\n", CHUNKS, Refused),
        ("1.1", "Transfer-Encoding: gzip, chunked\r\n", CHUNKS, Refused),
        ("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CHUNKS, Refused),
        ("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKS, Refused),
        ("1.1", "Transfer-Encoding : chunked\r\n", CHUNKS, Refused),
        ("1.1", "Transfer-Encoding:\tchunked\r\n", CHUNKS, Hello),
        ("1.1", "Transfer-Encoding: Chunked\r\n", CHUNKS, Hello),
        ("1.1", "Transfer-Encoding: \"chunked\"\r\n", CHUNKS, Refused),
        ("1.1", "Transfer-Encoding:\x0bchunked\r\n", CHUNKS, Refused),
        ("1.0", TE, CHUNKS, Refused),
        ("1.0", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "hello", Refused),
        ("1.1", "Transfer-Encoding: chunked\n", CHUNKS, Hello),
        ("1.1", TE, "0x5\r\nhello\r\n0\r\n\r\n", Broken),
        ("1.1", TE, "5;ext\r\nhello\r\n0\r\n\r\n", Hello),
        ("1.1", TE, "+5\r\nhello\r\n0\r\n\r\n", Broken),
        ("1.1", TE, "-5\r\nhello\r\n0\r\n\r\n", Broken),
        ("1.1", TE, "fffffffffffffffff\r\nhello\r\n0\r\n\r\n", Broken),
        ("1.1", TE, "5\r\nhelloXX\r\n0\r\n\r\n", Broken),
        ("1.1", TE, "5\nhello\n0\n\n", Broken),
        ("1.1", TE, "g\r\nhello\r\n0\r\n\r\n", Broken),
    ];
    let mut stage = Stage::set("").await;
    for (n, (version, fields, body, then)) in table.into_iter().enumerate() {
        let (path, next) = (format!("/first/{n}"), format!("/second/{n}"));
        let what = format!("HTTP/{version} {fields:?} {body:?}");
        let host = "Host: lms-a.example\r\n";
        let bytes = format!(
            "POST {path} HTTP/{version}\r\n{host}{fields}\r\n{body}GET {next} HTTP/1.1\r\n{host}\r\n"
        );
        let mut client = stage.edge.client().await;
        client.send(bytes.as_bytes()).await;
        let reply = client.reply("POST").await;
        let seen = stage.origin.seen(&path);
        match then {
            Hello => {
                let (reply, [seen]) = (reply.expect_body(200, &path), &seen[..]) else {
                    panic!("{what}: {seen:?}")
                };
                let framing = [seen.all("content-length"), seen.all("transfer-encoding")].concat();
                assert!(framing == ["5"] || framing == ["chunked"], "{what}: {seen:?}");
                assert_eq!((&seen.body[..], seen.body_sha256.is_some()), (&b"hello"[..], true), "{what}");
                // What follows is the next request, or not looked at.
                let closing = reply.field("connection") == Some("close");
                if !closing {
                    client.reply("GET").await.expect_body(200, &next);
                }
                assert_eq!(stage.origin.hits(&next), usize::from(!closing), "{what}");
            }
            Refused | Broken => {
                assert_eq!((reply.status, reply.clean()), (400, true), "{what}: {reply}");
                assert_eq!((client.closed().await, client.leftover()), (Ended::Fin, &b""[..]), "{what}");
                assert!(seen.len() <= usize::from(then == Broken), "{what}: {seen:?}");
                assert!(stage.origin.seen(&path).iter().all(|seen| seen.body_sha256.is_none()), "{what}");
                assert_eq!(stage.origin.hits(&next), 0, "{what}");
                if then == Broken {
                    // Its head was a request; it failed when its body broke.
                    broken += 1;
                    stage.edge.outcomes("failed", broken).await;
                } else {
                    stage.refused += 1;
                    stage.edge.outcomes("refused", stage.refused).await;
                }
            }
        }
        stage.serves("/good").await;
    }
    assert_eq!(stage.origin.malformed(), Vec::<Vec<u8>>::new());
    let sum = stage.edge.metric("lectern_requests_refused_total", &[]).await;
    assert_eq!(sum as u64, stage.refused);
}

#[tokio::test]
async fn g43_a_head_with_bare_line_feeds_reaches_the_origin_well_formed_or_not_at_all() {
    let stage = Stage::set("").await;
    let mut client = stage.edge.client().await;
    client.send(b"POST /x HTTP/1.1\nHost: lms-a.example\nContent-Length: 5\n\nhello").await;
    let reply = client.reply("POST").await;
    assert!(matches!(reply.status, 200 | 400), "{reply}");
    let seen = stage.origin.seen("/x");
    assert_eq!(seen.len(), usize::from(reply.status == 200));
    assert!(seen.iter().all(|seen| seen.body == b"hello" && seen.all("content-length") == ["5"]), "{seen:?}");
    assert_eq!(stage.origin.malformed(), Vec::<Vec<u8>>::new());
}

/// An HTTP/2 frame: type, flags, stream, payload (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without indexing (RFC 7541 §6.2.2).
fn literal(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// Reads frames until one is a HEADERS or RST_STREAM of this stream, a GOAWAY, or the end (type 255).
async fn answered(client: &mut Client, stream: u32) -> u8 {
    loop {
        let head = client.raw(9).await;
        let [a, b, c, kind, _, s1, s2, s3, s4] = head[..] else { return 255 };
        client.raw(u32::from_be_bytes([0, a, b, c]) as usize).await;
        let of = u32::from_be_bytes([s1, s2, s3, s4]);
        if kind == 7 || (matches!(kind, 1 | 3) && of == stream) {
            return kind;
        }
    }
}

#[tokio::test]
async fn http2_with_bad_pseudo_headers_loses_that_stream_alone() {
    let stage = Stage::set("").await;
    let (method, scheme) = ((":method", "GET"), (":scheme", "http"));
    let (host, path) = ((":authority", "lms-a.example"), (":path", "/bad"));
    let cases: [&[(&str, &str)]; 18] = [
        &[(":method", "CONNECT"), (":authority", "lms-a.example:443")],
        &[(":method", "CONNECT"), (":protocol", "websocket"), scheme, host, path],
        &[scheme, host, path],
        &[method, host, path],
        &[method, scheme, host],
        &[method, scheme, path],
        &[method, method, scheme, host, path],
        &[method, scheme, host, path, (":path", "/other")],
        &[method, scheme, host, host, path],
        &[method, scheme, host, path, ("a", "b"), (":path", "/other")],
        &[method, scheme, host, path, (":unknown", "x")],
        &[method, scheme, host, path, (":status", "200")],
        &[method, scheme, host, (":path", "")],
        &[method, scheme, host, (":path", "bad")],
        &[method, scheme, host, path, ("Upper", "x")],
        &[method, scheme, host, path, ("transfer-encoding", "chunked")],
        &[method, scheme, host, path, ("connection", "close")],
        &[method, scheme, (":authority", "a@lms-a.example"), path],
    ];
    let mut good = stage.edge.client().await;
    for case in cases {
        let mut client = stage.edge.client().await;
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send(&frame(4, 0, 0, &[])).await;
        client.send(&frame(1, 5, 1, &literal(case))).await;
        let kind = answered(&mut client, 1).await;
        assert!(matches!(kind, 1 | 3 | 7), "{case:?}: frame {kind}");
        if kind != 7 {
            let right = literal(&[method, scheme, host, (":path", "/good")]);
            client.send(&frame(1, 5, 3, &right)).await;
            assert_eq!(answered(&mut client, 3).await, 1, "{case:?}");
        }
        assert!(stage.origin.requests().iter().all(|seen| seen.target == "/good"), "{case:?}");
        good.get("/good").await.expect_body(200, "/good");
    }
    // Frames that are none.
    for bytes in [frame(1, 5, 2, b"x"), frame(0, 0, 1, b"x"), frame(9, 4, 1, b""), vec![0xff; 300]] {
        let mut client = stage.edge.client().await;
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send(&frame(4, 0, 0, &[])).await;
        client.send(&bytes).await;
        client.closed().await;
        good.get("/good").await.expect_body(200, "/good");
    }
    assert!(stage.edge.metric("lectern_connections_ended_total", &["reason=\"protocol\""]).await >= 4.0);
}

#[tokio::test]
async fn http2_heads_that_are_too_long_are_431_and_accounted() {
    let mut stage = Stage::set("").await;
    let h2 = stage.edge.h2().await;
    let many = (0..101).fold(Request::get("/x"), |r, i| r.field(&format!("x-{i}"), "y"));
    let long = Request::get("/x").field("cookie", &"a".repeat(40 << 10));
    // The library answers this one by itself.
    let longest = Request::get("/x").field("cookie", &"a".repeat(70 << 10));
    let target = Request::get(&format!("/{}", "a".repeat(9 << 10)));
    for (request, status) in [(many, 431), (long, 431), (target, 414), (longest, 431)] {
        let reply = h2.ask(&request).await;
        assert_eq!(reply.status, status, "{reply}");
        h2.get("/good").await.expect(200);
        stage.serves("/good").await;
    }
    assert_eq!(stage.origin.hits("/x"), 0);
    stage.edge.outcomes("refused", 3).await;
    for reason in ["too-many-fields", "head-too-large", "target-too-long"] {
        assert_eq!(stage.counted(reason).await, 1.0, "{reason}");
    }
}

/// A fixed sequence for a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

#[tokio::test]
async fn random_bytes_never_end_the_process_nor_reach_the_origin_malformed() {
    let mut stage = Stage::set("").await;
    let pid = stage.edge.pid();
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish() | 1);
    eprintln!("SEED={seed}");
    let mut dice = Dice(seed);
    let starts: [&[u8]; 5] = [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"POST /x HTTP/1.1\r\nHost: lms-a.example\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ];
    for n in 0..300 {
        let length = 1 + dice.below(3000);
        let bytes = if n % 3 == 0 {
            // A good request with some bytes exchanged.
            let mut bytes = Request::new("POST", "/x?a=b").field("Cookie", "a=b").body("hello").bytes();
            for _ in 0..=dice.below(4) {
                let at = dice.below(bytes.len());
                bytes[at] = dice.next() as u8;
            }
            bytes
        } else {
            [starts[dice.below(starts.len())], &dice.bytes(length)].concat()
        };
        let mut client = stage.edge.client().await;
        client.send(&bytes).await;
        client.half_close().await;
        client.closed().await;
        if n % 50 == 0 {
            stage.serves("/good").await;
        }
    }
    stage.serves("/good").await;
    assert_eq!(stage.edge.pid(), pid, "SEED={seed}");
    let malformed = stage.origin.malformed();
    assert!(
        malformed.is_empty(),
        "SEED={seed} {:?}",
        malformed.iter().map(|b| b.escape_ascii().to_string()).collect::<Vec<_>>()
    );
    let said = stage.edge.said();
    assert!(!said.iter().any(|line| line.contains("panic")), "SEED={seed} {said:#?}");
    eventually("the connections gone", async || {
        stage.edge.metric("lectern_connections", &["web"]).await <= 1.0
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_answers_nonsense_is_502_or_504_and_hurts_nobody_else() {
    let mut stage = Stage::set("[origin.timeouts]\nhead = \"700ms\"\nbody = \"700ms\"\n").await;
    let origin = &stage.origin;
    let many: String = (0..1000).map(|i| format!("X-{i}: y\r\n")).collect();
    let head =
        |fields: &str| Answer::garbage(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n"));
    origin.on("/long", head(&format!("X: {}\r\n", "a".repeat(2 << 20))));
    origin.on("/many", head(&many));
    origin.on("/garbage", Answer::garbage("\x01\x02 nonsense\r\n\r\n"));
    origin.on("/nothing", Answer::hang_up());
    origin.on("/lengths", head("Content-Length: 5\r\n"));
    origin.on("/nul", head("X: a\0b\r\n"));
    origin.on("/status", Answer::garbage("HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"));
    origin.on("/switch", Answer::new(101, "").field("Upgrade", "x").field("Connection", "Upgrade"));
    origin.on_raw("/flood", |mut connection, _| async move {
        while connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").await.is_ok() {}
    });
    origin.on_raw("/trickle", |mut connection, _| async move {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
        while connection.send(b"H").await.is_ok() {
            pace.tick().await;
        }
    });
    origin.on_raw("/trickled-fields", |mut connection, _| async move {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
        let bytes = b"HTTP/1.1 200 OK\r\nX: ".iter().chain(std::iter::repeat(&b'a'));
        for byte in bytes {
            if connection.send(&[*byte]).await.is_err() {
                break;
            }
            pace.tick().await;
        }
    });
    let paths = [
        "/long",
        "/many",
        "/garbage",
        "/nothing",
        "/lengths",
        "/nul",
        "/status",
        "/switch",
        "/flood",
        "/trickle",
        "/trickled-fields",
    ];
    let mut failed = 0;
    for path in paths {
        for method in ["GET", "POST"] {
            let request = Request::new(method, path);
            let request = if method == "POST" { request.body("x") } else { request };
            let reply = within(format!("an answer to {method} {path}"), stage.edge.ask(&request)).await;
            assert!(matches!(reply.status, 502 | 504) && reply.clean(), "{method} {path}: {reply}");
            let said = reply.field("cache-status").unwrap();
            assert!(said.starts_with("lectern; detail=origin-"), "{method} {path}: {said}");
            assert!(reply.field("x").is_none() && reply.field("x-1").is_none(), "{path}: {reply}");
            failed += 1;
            stage.edge.outcomes("failed", failed).await;
        }
        stage.serves("/good").await;
    }
    let labels = ["fault=\"origin\"", "reason=\"origin-"];
    assert_eq!(stage.edge.metric("lectern_requests_failed_total", &labels).await as u64, failed);
    let log = stage.edge.log(stage.served + failed as usize).await;
    assert_eq!(
        log.iter().filter(|line| line["outcome"] == "failed" && line["fault"] == "origin").count() as u64,
        failed
    );
    eventually("the origin's connections given up", async || stage.origin.open_connections() <= 2).await;
    assert!(stage.edge.rss() < 400 << 20);
    assert_eq!(stage.edge.metric("lectern_origin_requests_in_flight", &[]).await, 0.0);
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_is_accounted_and_the_origin_never_takes_it_for_whole() {
    let mut stage = Stage::set("").await;
    let mut client = stage.edge.client().await;
    client.send(&Request::new("POST", "/x").field("Content-Length", "100").body("half").bytes()).await;
    stage.origin.until("/x", "half a body", |seen| seen.body == b"half").await;
    client.abort();
    stage.origin.until("/x", "its peer gone", |seen| seen.gone).await;
    assert_eq!(stage.origin.last("/x").body_sha256, None);
    eventually("an account", async || {
        stage.edge.outcome("failed").await + stage.edge.outcome("refused").await == 1
    })
    .await;
    let log = stage.edge.log(1).await;
    assert_eq!(log[0]["fault"], "client", "{log:#?}");
    stage.serves("/good").await;
    let end = stage.edge.get("/good").await.end;
    assert_eq!(end, End::Clean);
}
