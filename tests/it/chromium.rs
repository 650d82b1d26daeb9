//! Chromium's habit: `bytes=0-`, abort, a bounded range with `If-Range`. As recorded of Chromium 156 at a 12 MB film.

use h2::Reason;

use crate::support::{
    answer::Answer,
    edge::Edge,
    film::Film,
    gate::Gate,
    message::{End, Reply, Request},
    origin::Origin,
};

const LENGTH: u64 = 12_034_887;
const TAG: &str = "\"e12034887\"";
const CHUNK: u64 = 256 << 10;

/// What a media element sends besides its range, in its order.
const FIELDS: [(&str, &str); 11] = [
    ("Connection", "keep-alive"),
    ("sec-ch-ua-platform", "\"Linux\""),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 \
         Safari/537.36",
    ),
    ("sec-ch-ua", "\"Not:A-Brand\";v=\"8\", \"Chromium\";v=\"156\""),
    ("sec-ch-ua-mobile", "?0"),
    ("Accept", "*/*"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "no-cors"),
    ("Sec-Fetch-Dest", "video"),
    ("Accept-Encoding", "identity"),
    ("Accept-Language", "en-US,en;q=0.9"),
];
/// The two it asked for after it had aborted `bytes=0-`: a seek, and `preload=metadata` going on.
const SEEK: (u64, u64) = (10_027_008, 12_034_886);
const METADATA: (u64, u64) = (524_288, 12_034_886);

/// A request of the media element. On HTTP/2 it has no `Connection`, and a `Priority`.
fn media(path: &str, range: &str, if_range: Option<&str>, http2: bool) -> Request {
    let mut request = Request::get(path);
    for (name, value) in FIELDS {
        match http2 {
            true if name == "Connection" => {}
            true => request = request.field(&name.to_lowercase(), value),
            false => request = request.field(name, value),
        }
    }
    if http2 {
        request = request.field("priority", "i");
    }
    request = request.field("Range", range);
    if let Some(tag) = if_range {
        request = request.field("If-Range", tag);
    }
    request
}

fn lecture(film: &Film) -> Answer {
    film.answer().instead("ETag", TAG)
}

/// Opens the film, takes so many bytes and aborts: a reset connection, or a reset stream.
async fn open_and_abort(edge: &Edge, film: &Film, path: &str, bytes: usize, http2: bool) {
    let request = media(path, "bytes=0-", None, http2);
    let reply = if http2 {
        let h2 = edge.h2().await;
        let mut stream = h2.open(&request).await.unwrap();
        let mut reply = stream.head().await;
        while reply.end == End::Open && reply.body.len() < bytes {
            stream.piece(&mut reply).await;
        }
        stream.reset(Reason::CANCEL);
        // The reset is on its way once the connection answers something else.
        h2.get("/ping").await.expect(200);
        reply
    } else {
        let mut client = edge.client().await;
        client.send(&request.bytes()).await;
        let mut reply = client.head("GET").await;
        client.at_least(&mut reply, bytes).await;
        client.abort();
        reply
    };
    part(&reply, film, (0, LENGTH - 1), false);
}

/// Asks for a bounded range with `If-Range`, as after an abort.
async fn seek(edge: &Edge, path: &str, (first, last): (u64, u64), http2: bool) -> Reply {
    let request = media(path, &format!("bytes={first}-{last}"), Some(TAG), http2);
    if http2 { edge.h2().await.ask(&request).await } else { edge.ask(&request).await }
}

/// A 206 of this range of the film, whole or as far as it was read.
#[track_caller]
fn part(reply: &Reply, film: &Film, (first, last): (u64, u64), whole: bool) {
    assert_eq!(reply.status, 206, "{reply}");
    assert_eq!(reply.field("content-range"), Some(&*format!("bytes {first}-{last}/{LENGTH}")), "{reply}");
    assert_eq!(reply.field("content-length"), Some(&*(last + 1 - first).to_string()), "{reply}");
    assert_eq!(reply.field("etag"), Some(TAG), "{reply}");
    assert!(film.is_at(first, &reply.body), "{reply}");
    if whole {
        assert!(reply.clean() && reply.body.len() as u64 == last + 1 - first, "{reply}");
    }
}

/// The ranges that went to the origin keep to whole chunks and to the version that the browser knows.
#[track_caller]
fn asked_well(origin: &Origin, path: &str) {
    for seen in origin.seen(path) {
        let Some(range) = seen.field("range") else { continue };
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let first: u64 = first.parse().unwrap();
        assert_eq!(first % CHUNK, 0, "{range}");
        if let Ok(last) = last.parse::<u64>() {
            assert!(last + 1 == LENGTH || (last + 1).is_multiple_of(CHUNK), "{range}");
            assert!(last > first, "a range of one byte: {range}");
        }
        if first > 0 {
            assert_eq!(seen.field("if-range"), Some(TAG), "{range}");
        }
    }
}

#[tokio::test]
async fn a_seek_does_not_wait_for_what_lies_before_it_and_the_abort_does_not_lose_it() {
    let film = Film::new(1, LENGTH);
    for http2 in [false, true] {
        for (name, range) in [("seek", SEEK), ("metadata", METADATA)] {
            let (origin, gate) = (Origin::start().await, Gate::new());
            let (path, told, held) = (format!("/{name}/lecture.mp4"), lecture(&film), gate.clone());
            origin.on("/ping", Answer::storable("pong"));
            // From its beginning the film comes no further than 700,000 bytes; what is asked for by range comes at once.
            origin.on_call(&path, move |seen, _| match seen.field("range") {
                None | Some("bytes=0-") => told.clone().pause(700_000, &held),
                Some(_) => told.clone(),
            });
            let edge = Edge::before(&origin, "").await;
            open_and_abort(&edge, &film, &path, 400_000, http2).await;
            if name == "metadata" {
                // It goes on where the transfer from the beginning is by now.
                gate.open();
            }
            part(&seek(&edge, &path, range, http2).await, &film, range, true);
            assert_eq!(gate.count(), 1, "{name}: one transfer from the beginning");
            asked_well(&origin, &path);
            // The aborted transfer went on by itself: what it brings is there for the next.
            gate.open();
            edge.settled().await;
            let requests = origin.hits(&path);
            assert!(requests <= 3, "{:?}", origin.ranges(&path));
            let range_bytes = range.1 + 1 - range.0 / CHUNK * CHUNK;
            assert!(origin.sent(&path) <= LENGTH + range_bytes, "{} bytes", origin.sent(&path));
            part(&seek(&edge, &path, range, http2).await, &film, range, true);
            edge.get(&path).await.expect_body(200, film.bytes(0, LENGTH));
            part(&seek(&edge, &path, SEEK, http2).await, &film, SEEK, true);
            assert_eq!(origin.hits(&path), requests, "all of it was there: {:?}", origin.ranges(&path));
            edge.outcomes("failed", 1).await;
            let log = edge.log(5).await;
            // The first seek too, where the transfer from the beginning had come to its end by then.
            let (hits, joins) = (edge.outcome("hit").await, name == "metadata");
            assert!(hits == 3 || (joins && hits == 4), "{name}: {hits} hits");
            let aborted: Vec<_> = log.iter().filter(|line| line["complete"] == false).collect();
            assert_eq!(aborted.len(), 1, "{log:#?}");
            assert_eq!((&aborted[0]["outcome"], &aborted[0]["fault"]), (&"failed".into(), &"client".into()));
        }
    }
}

#[tokio::test]
async fn a_learner_who_jumps_about_in_a_stored_film_asks_the_origin_for_nothing() {
    let film = Film::new(2, LENGTH);
    let origin = Origin::start().await;
    origin.on("/lecture.mp4", lecture(&film));
    origin.on("/ping", Answer::storable("pong"));
    let edge = Edge::before(&origin, "").await;
    edge.get("/lecture.mp4").await.expect_body(200, film.bytes(0, LENGTH));
    for http2 in [false, true] {
        open_and_abort(&edge, &film, "/lecture.mp4", 400_000, http2).await;
        for range in [SEEK, METADATA, (0, 0), (LENGTH - 1, LENGTH - 1)] {
            part(&seek(&edge, "/lecture.mp4", range, http2).await, &film, range, true);
        }
    }
    assert_eq!(origin.hits("/lecture.mp4"), 1);
    edge.outcomes("hit", 8).await;
    edge.outcomes("failed", 2).await;
}

#[tokio::test]
async fn a_seek_into_a_film_that_was_replaced_gets_the_new_one_whole_and_no_mixture() {
    let (old, new) = (Film::new(3, LENGTH), Film::new(4, LENGTH - 5));
    let origin = Origin::start().await;
    let second = Answer { film: new.answer().film, ..lecture(&old) }.instead("ETag", "\"e2\"");
    origin.on("/lecture.mp4", lecture(&old));
    origin.on("/ping", Answer::storable("pong"));
    let edge = Edge::before(&origin, "").await;
    open_and_abort(&edge, &old, "/lecture.mp4", 400_000, false).await;
    origin.on("/lecture.mp4", second);
    edge.purge("http://lms-a.example/lecture.mp4").await;
    for http2 in [false, true] {
        let reply = seek(&edge, "/lecture.mp4", SEEK, http2).await;
        assert_eq!(reply.field("etag"), Some("\"e2\""), "{reply}");
        reply.expect_body(200, new.bytes(0, LENGTH));
    }
    // The range may have been asked for once before the tag was seen to be another.
    assert!(origin.hits("/lecture.mp4") <= 3, "{:?}", origin.ranges("/lecture.mp4"));
    edge.outcomes("hit", 1).await;
}
