//! Ranges of a body, from what is stored or growing (RFC 9110 §14; G01, G02, G04).

use crate::support::{
    answer::Answer,
    client::Client,
    edge::Edge,
    gate::Gate,
    message::{End, Reply, Request},
    origin::Origin,
};

const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
const CHUNK: usize = 256 << 10;

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

fn ranged(path: &str, range: &str) -> Request {
    Request::get(path).field("Range", range)
}

/// A reply to a request for a range: a right 206, a right 416, or the whole.
#[track_caller]
fn right(reply: &Reply, body: &[u8]) {
    assert!(reply.clean(), "{reply}");
    let length = body.len();
    match reply.status {
        206 => {
            let told = reply.field("content-range").unwrap().strip_prefix("bytes ").unwrap();
            let (range, whole) = told.split_once('/').unwrap();
            let (first, last) = range.split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            assert!(first <= last && last < length && whole.parse() == Ok(length), "{reply}");
            assert_eq!(reply.field("content-length"), Some(&*(last - first + 1).to_string()), "{reply}");
            assert!(reply.body == body[first..=last], "{reply}");
        }
        416 => assert_eq!(reply.field("content-range"), Some(&*format!("bytes */{length}")), "{reply}"),
        200 => assert!(reply.body == body && reply.field("content-range").is_none(), "{reply}"),
        _ => panic!("{reply}"),
    }
}

#[tokio::test]
async fn g01_a_range_lies_within_the_body_or_is_none() {
    let origin = Origin::start().await;
    origin.on("/empty", Answer::storable(""));
    origin.on("/ten", Answer::storable("0123456789"));
    let edge = Edge::before(&origin, "").await;
    let (mut client, h2) = (edge.client().await, edge.h2().await);
    edge.get("/empty").await.expect_body(200, "");
    edge.get("/ten").await.expect_body(200, "0123456789");
    let table = [
        ("bytes=-5", 206, "56789"),
        ("bytes=-0", 416, ""),
        ("bytes=-2,-5", 206, "56789"),
        ("bytes=0-0", 206, "0"),
        ("bytes=10-", 416, ""),
        ("bytes=9-", 206, "9"),
        ("bytes=-999", 206, "0123456789"),
        ("bytes=3-99", 206, "3456789"),
        ("bytes=5-4", 200, "0123456789"),
        ("items=0-1", 200, "0123456789"),
    ];
    for (range, status, body) in table {
        for reply in [client.ask(&ranged("/ten", range)).await, h2.ask(&ranged("/ten", range)).await] {
            right(&reply.expect_body(status, body), b"0123456789");
        }
        for reply in [client.ask(&ranged("/empty", range)).await, h2.ask(&ranged("/empty", range)).await] {
            assert!(matches!(reply.status, 200 | 416), "{range} {reply}");
            right(
                &reply.expect_body(
                    if range.starts_with("items") || range == "bytes=5-4" { 200 } else { 416 },
                    "",
                ),
                b"",
            );
        }
    }
    assert_eq!((origin.hits("/ten"), origin.hits("/empty")), (1, 1));
    edge.outcomes("hit", 4 * table.len() as u64).await;
}

#[tokio::test]
async fn if_range_lets_a_range_stand_on_a_strong_match_only() {
    let origin = Origin::start().await;
    // Kolibri ignores If-Range: the edge does not.
    let answer =
        |tag: &str| Answer::storable("0123456789").instead("ETag", tag).field("Last-Modified", MODIFIED);
    origin.on("/strong", answer("\"v1\""));
    origin.on("/weak", answer("W/\"v1\""));
    let edge = Edge::before(&origin, "").await;
    let later = "Mon, 01 Jan 2024 00:00:01 GMT";
    for warm in [false, true] {
        for (path, if_range, status) in [
            ("/strong", "\"v1\"", 206),
            ("/strong", "\"v2\"", 200),
            ("/strong", "W/\"v1\"", 200),
            ("/strong", MODIFIED, 206),
            ("/strong", later, 200),
            ("/weak", "W/\"v1\"", 200),
        ] {
            if !warm {
                edge.purge(&format!("http://lms-a.example{path}")).await;
            }
            let reply = edge.ask(&ranged(path, "bytes=2-4").field("If-Range", if_range)).await;
            let body = if status == 206 { "234" } else { "0123456789" };
            right(&reply.expect_body(status, body), b"0123456789");
        }
    }
    assert_eq!(origin.hits("/strong") + origin.hits("/weak"), 6);
    edge.outcomes("hit", 6).await;
}

#[tokio::test]
async fn g02_several_ranges_are_answered_in_parts_and_never_with_more() {
    let (origin, body) = (Origin::start().await, bytes(1 << 20));
    for path in ["/cold0", "/cold1", "/cold2", "/cold3", "/warm"] {
        origin.on(path, Answer::storable(&body).field("Content-Type", "application/pdf"));
    }
    let edge = Edge::before(&origin, "").await;
    edge.get("/warm").await.expect_body(200, &body);
    let many = format!("bytes={}", vec!["0-"; 500].join(","));
    let last = body.len() - 1;
    let sets: [(&str, &[(usize, usize)]); 4] = [
        ("bytes=0-50, 50-100", &[(0, 100)]),
        ("bytes=0-1,600000-600006,-2", &[(0, 1), (600_000, 600_006), (last - 1, last)]),
        ("bytes=0-0,999999999-", &[(0, 0)]),
        (&many, &[]),
    ];
    for (i, (range, parts)) in sets.into_iter().enumerate() {
        for path in [&format!("/cold{i}"), "/warm"] {
            let reply = edge.ask(&ranged(path, range)).await;
            match parts {
                [] => drop(reply.expect_body(200, &body)),
                [_] => right(&reply.expect(206), &body),
                _ => has_parts(&reply.expect(206), parts, &body),
            }
        }
        assert_eq!(origin.hits(&format!("/cold{i}")), 1);
    }
    assert_eq!(origin.hits("/warm"), 1);
    edge.outcomes("hit", 4).await;
}

/// A 206 of exactly these ranges, byte for byte (§14.6).
#[track_caller]
fn has_parts(reply: &Reply, parts: &[(usize, usize)], body: &[u8]) {
    let boundary =
        reply.field("content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for (i, (first, last)) in parts.iter().enumerate() {
        let line = if i == 0 { "" } else { "\r\n" };
        let told = format!(
            "{line}--{boundary}\r\nContent-Type: application/pdf\r\nContent-Range: bytes {first}-{last}/{}\r\n\r\n",
            body.len()
        );
        expected.extend_from_slice(told.as_bytes());
        expected.extend_from_slice(&body[*first..=*last]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(reply.clean() && reply.body == expected, "{reply}");
    assert_eq!(reply.field("content-length"), Some(&*expected.len().to_string()));
    assert_eq!(reply.field("content-range"), None);
}

#[tokio::test]
async fn ranges_across_chunk_borders_are_right_to_the_byte() {
    let (origin, body) = (Origin::start().await, bytes(1 << 20));
    origin.on("/a", Answer::storable(&body).chunked());
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect_body(200, &body);
    let (mut client, mut asked) = (edge.client().await, 0);
    for border in [CHUNK, 2 * CHUNK, 3 * CHUNK, 4 * CHUNK] {
        for first in border - 2..=border + 1 {
            for last in [first, first + 1, first + CHUNK - 1, first + CHUNK, first + 2 * CHUNK] {
                let reply = client.ask(&ranged("/a", &format!("bytes={first}-{last}"))).await;
                right(&reply, &body);
                assert_eq!(reply.status, if first < body.len() { 206 } else { 416 }, "{first}-{last}");
                asked += 1;
            }
        }
    }
    for range in ["bytes=0-0", "bytes=0-", "bytes=-1", "bytes=-262145", "bytes=1-1048574"] {
        right(&client.ask(&ranged("/a", range)).await, &body);
    }
    assert_eq!(origin.hits("/a"), 1);
    edge.outcomes("hit", asked + 5).await;
}

#[tokio::test]
async fn a_range_of_a_body_that_grows_is_served_as_soon_as_its_bytes_are_there() {
    let (origin, gate, body) = (Origin::start().await, Gate::new(), bytes(1 << 20));
    origin.on("/film", Answer::storable(&body).pause(600_000, &gate));
    let edge = Edge::before(&origin, "").await;
    let mut first = edge.client().await;
    first.send(&ranged("/film", "bytes=0-").bytes()).await;
    gate.arrived(1).await;
    for (range, status) in [("bytes=100-199", 206), ("bytes=262143-262144", 206), ("bytes=1048576-", 416)] {
        let reply = edge.ask(&ranged("/film", range)).await.expect(status);
        right(&reply, &body);
    }
    let mut last = edge.client().await;
    last.send(&ranged("/film", "bytes=-100").bytes()).await;
    let mut tail = last.head("GET").await;
    assert_eq!((tail.status, &tail.end), (206, &End::Open));
    gate.open();
    last.rest(&mut tail).await;
    right(&tail, &body);
    right(&first.reply("GET").await.expect(206), &body);
    assert_eq!(origin.hits("/film"), 1);
    assert_eq!(origin.last("/film").field("range"), None);
    edge.outcomes("joined", 4).await;
    edge.outcomes("miss", 1).await;
}

#[tokio::test]
async fn while_the_length_is_unknown_a_bounded_range_is_one_and_any_other_is_the_whole() {
    let (origin, body) = (Origin::start().await, bytes(700_000));
    let edge = Edge::before(&origin, "").await;
    for (i, (range, first)) in
        [("bytes=300000-300009", 300_000), ("bytes=-5", 0), ("bytes=5-", 0), ("bytes=0-1,5-6", 0)]
            .into_iter()
            .enumerate()
    {
        let (path, gate) = (format!("/{i}"), Gate::new());
        origin.on(&path, Answer::storable(&body).chunked().pause(600_000, &gate));
        let mut client = edge.client().await;
        client.send(&ranged(&path, range).bytes()).await;
        gate.arrived(1).await;
        let mut reply = client.head("GET").await;
        gate.open();
        client.rest(&mut reply).await;
        if first > 0 {
            let reply = reply.expect_body(206, &body[first..first + 10]);
            assert_eq!(reply.field("content-range"), Some("bytes 300000-300009/*"), "{reply}");
        } else {
            reply.expect_body(200, &body);
        }
        edge.get(&path).await.expect_body(200, &body);
        assert_eq!(origin.hits(&path), 1);
    }
    origin.on("/short", Answer::storable(&body).chunked());
    right(&edge.ask(&ranged("/short", "bytes=700000-700009")).await.expect(416), &body);
    assert_eq!(origin.hits("/short"), 1);
    edge.outcomes("miss", 5).await;
}

#[tokio::test]
async fn of_a_body_that_breaks_off_before_its_length_is_known_no_part_is_promised() {
    let (origin, body) = (Origin::start().await, bytes(700_000));
    let edge = Edge::before(&origin, "").await;
    // Nothing says that what would continue it is of the same bytes.
    let cut = Answer::storable(&body).instead("ETag", "W/\"1\"").chunked().closes_after(400_000);
    origin.on("/cut", cut);
    let reply = edge.ask(&ranged("/cut", "bytes=500000-900000")).await;
    assert_eq!((reply.status, reply.field("content-range")), (200, None), "{reply}");
    assert!(!reply.clean() && body.starts_with(&reply.body), "{reply}");
    assert_eq!(origin.hits("/cut"), 1);
    edge.outcomes("failed", 1).await;
}

#[tokio::test]
async fn head_has_no_ranges() {
    let origin = Origin::start().await;
    origin.on("/ten", Answer::storable("0123456789").ranges());
    let edge = Edge::before(&origin, "").await;
    edge.get("/ten").await.expect(200);
    let mut client = edge.client().await;
    let head = Request::new("HEAD", "/ten").field("Range", "bytes=0-1");
    let reply = client.ask(&head).await.expect_body(200, "");
    assert_eq!((reply.field("content-length"), reply.field("content-range")), (Some("10"), None));
    client.get("/ten").await.expect_body(200, "0123456789");
    assert_eq!(origin.hits("/ten"), 1);
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn a_range_of_what_is_not_stored_is_the_origins_to_answer() {
    let (origin, body) = (Origin::start().await, bytes(20_000));
    for (path, private) in [("/private", "private"), ("/no-store", "no-store")] {
        origin.on(path, Answer::ok(&body).field("Cache-Control", private).field("ETag", "\"a\"").ranges());
    }
    let edge = Edge::before(&origin, "").await;
    for path in ["/private", "/no-store"] {
        for _ in 0..2 {
            let reply = edge.ask(&ranged(path, "bytes=100-199").field("If-Range", "\"a\"")).await.expect(206);
            right(&reply, &body);
            let sent = origin.last(path);
            assert_eq!((sent.field("range"), sent.field("if-range")), (Some("bytes=100-199"), Some("\"a\"")));
        }
        assert_eq!(origin.hits(path), 3, "the first found out, from then on it is known");
        edge.get(path).await.expect_body(200, &body);
    }
    edge.outcomes("pass", 6).await;
}

#[tokio::test]
async fn g04_a_part_is_never_taken_for_the_whole() {
    let body = bytes(12_345);
    for honours in [true, false] {
        let origin = Origin::start().await;
        let answer = Answer::storable(&body);
        origin.on("/a", if honours { answer.ranges() } else { answer });
        let edge = Edge::before(&origin, "").await;
        right(&edge.ask(&ranged("/a", "bytes=0-499")).await.expect(206), &body);
        edge.get("/a").await.expect_body(200, &body);
        right(&edge.ask(&ranged("/a", "bytes=600-699")).await.expect(206), &body);
        assert_eq!(origin.hits("/a"), 1);
        edge.outcomes("hit", 2).await;
    }
}

#[tokio::test]
async fn g04_a_206_that_nobody_asked_for_is_not_stored() {
    let origin = Origin::start().await;
    let part = Answer::storable("01234").field("Content-Range", "bytes 0-4/10");
    origin.on_each("/a", vec![Answer { status: 206, ..part }, Answer::storable("0123456789")]);
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await;
    edge.get("/a").await.expect_body(200, "0123456789");
    edge.get("/a").await.expect_body(200, "0123456789");
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn kolibri_one_byte_ranges_that_it_answers_416_are_the_edges_to_answer() {
    let (origin, body) = (Origin::start().await, bytes(1000));
    let all = body.clone();
    origin.on_call("/content/storage/a/b/abc.mp4", move |seen, _| match seen.field("range") {
        Some("bytes=0-0" | "bytes=999-999") => {
            Answer::new(416, "").field("Content-Range", "bytes */1000").chunked()
        }
        _ => Answer::storable(&all).field("Content-Type", "video/mp4"),
    });
    let edge = Edge::before(&origin, "").await;
    for range in ["bytes=0-0", "bytes=999-999", "bytes=-1"] {
        let reply = edge.ask(&ranged("/content/storage/a/b/abc.mp4", range)).await.expect(206);
        right(&reply, &body);
        assert_eq!(reply.body.len(), 1);
    }
    assert_eq!(origin.hits("/content/storage/a/b/abc.mp4"), 1);
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn who_asks_for_a_part_gets_a_failure_whole() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::new(503, "busy"));
    let edge = Edge::before(&origin, "").await;
    for range in ["bytes=2-", "bytes=482-999", "bytes=3000000-"] {
        for _ in 0..20 {
            edge.ask(&ranged("/a", range)).await.expect_body(503, "busy");
        }
    }
    assert_eq!(origin.hits("/a"), 60);
    edge.outcomes("pass", 60).await;
}

#[tokio::test]
async fn nothing_stands_between_the_answers_of_one_connection() {
    let origin = Origin::start().await;
    origin.on("/ten", Answer::storable("0123456789"));
    let edge = Edge::before(&origin, "").await;
    let mut client: Client = edge.client().await;
    let requests = [
        (Request::get("/ten"), 200),
        (ranged("/ten", "bytes=1-2"), 206),
        (ranged("/ten", "bytes=10-"), 416),
        (Request::get("/ten").field("If-None-Match", "\"v1\""), 304),
        (Request::get("/ten").field("If-Match", "\"x\""), 412),
        (Request::new("HEAD", "/ten"), 200),
        (Request::get("/ten"), 200),
    ];
    client.get("/ten").await.expect(200);
    let all: Vec<u8> = requests.iter().flat_map(|(request, _)| request.bytes()).collect();
    client.send(&all).await;
    for (request, status) in &requests {
        client.reply(&request.method).await.expect(*status);
    }
    assert_eq!(client.leftover(), b"");
    assert_eq!(origin.hits("/ten"), 1);
    edge.outcomes("hit", requests.len() as u64).await;
}
