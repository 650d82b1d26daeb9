//! Before Kolibri 0.19.5 as it was measured: its answers verbatim, its faults (one-byte ranges, `If-Range`, dates, ETags).

use crate::support::{
    answer::Answer,
    edge::Edge,
    film::Film,
    gate::Gate,
    message::{Framing, Request},
    origin::{Origin, Seen},
    parts::{self, parts},
};

const CHUNK: u64 = 256 << 10;
const STORED: &str = "/content/storage/3/8/386257056262d43d25aa9cc0557d1df9.mp4";
const TAG: &str = "\"6b06f5de-b7a347\"";
const MODIFIED: &str = "Wed, 25 Nov 2026 14:51:10 GMT";
const STATIC: &str = "/static/kolibri.plugins.learn.app/kolibri.plugins.learn.app-0.19.5.js";
const STATIC_TAG: &str = "\"6b06f485-0\"";
/// Older than any lifetime it gives.
const OLD: &str = "315360001";

/// A file of `/content/storage/`.
fn file(film: &Film, tag: &str) -> Answer {
    film.bare()
        .field("Content-Type", "video/mp4")
        .field("Cache-Control", "max-age=315360000, public, immutable")
        .field("Access-Control-Allow-Origin", "*")
        .field("Accept-Ranges", "bytes")
        .field("Last-Modified", MODIFIED)
        .field("ETag", tag)
        .field("Server", "Cheroot/10.0.1")
}

/// What it says to a request for a file: `start >= end` is a 416, several ranges are the whole, `If-Range` is not read, and an
/// ETag is compared as text.
fn storage(answer: Answer, tag: &str, seen: &Seen) -> Answer {
    if seen.field("if-none-match").is_some_and(|asked| asked == tag) {
        let answer = Answer { fields: Vec::new(), framing: Framing::Nothing, ..answer.without_body(304) };
        return answer
            .field("Cache-Control", "max-age=315360000, public, immutable")
            .field("ETag", tag)
            .field("Server", "Cheroot/10.0.1");
    }
    ranged(answer, seen)
}

fn ranged(answer: Answer, seen: &Seen) -> Answer {
    let length = answer.length();
    let Some(range) = seen.field("range").filter(|range| !range.contains(',')) else { return answer };
    match answer.cut_to(range) {
        part if part.status == 206 && part.length() > 1 => part,
        _ => Answer::new(416, "").chunked().field("Content-Range", format!("bytes */{length}")),
    }
}

fn ask(range: &str) -> Request {
    Request::get(STORED).field("Range", range)
}

/// No range that it answers wrongly was asked of it, and none that does not begin at a chunk.
#[track_caller]
fn asked_well(origin: &Origin, path: &str) {
    for range in origin.ranges(path).into_iter().flatten() {
        let (first, last) = parts::range(&range);
        assert!(first % CHUNK == 0 || last.is_none(), "{range}");
        assert!(last.is_none_or(|last| last > first), "a range of one byte: {range}");
    }
}

#[tokio::test]
async fn one_byte_is_never_asked_of_it_and_always_answered() {
    // The last chunk of the second and the third is one byte.
    for length in [12_034_887, 48 * CHUNK + 1, CHUNK + 1, 2] {
        let film = Film::new(length, length);
        for (n, (range, first)) in
            [("bytes=0-0", 0), ("bytes=-1", length - 1), (&*format!("bytes={0}-{0}", length - 1), length - 1)]
                .into_iter()
                .enumerate()
        {
            let (origin, told) = (Origin::start().await, file(&film, TAG));
            origin.on_call(STORED, move |seen, _| storage(told.clone(), TAG, seen));
            let edge = Edge::before(&origin, "").await;
            for _ in 0..2 {
                let reply = edge.ask(&ask(range)).await.expect(206);
                let part = parts(&reply).pop().unwrap();
                assert_eq!((part.first, part.last, part.length), (first, first, Some(length)), "{reply}");
                assert!(film.is_at(first, &reply.body), "{reply}");
            }
            asked_well(&origin, STORED);
            edge.get(STORED).await.expect_body(200, film.bytes(0, length));
            asked_well(&origin, STORED);
            assert!(origin.hits(STORED) <= 3, "{length} {n}: {:?}", origin.ranges(STORED));
            assert_eq!(edge.metric("lectern_fills_failed_total", &[]).await, 0.0);
            assert_eq!(edge.outcome("failed").await + edge.outcome("pass").await, 0);
        }
    }
}

#[tokio::test]
async fn the_end_of_a_file_that_it_has_no_range_for_is_fetched_with_the_chunk_before() {
    // All but the last byte is there; what is missing is one byte.
    let film = Film::new(1, 48 * CHUNK + 1);
    let (origin, told) = (Origin::start().await, file(&film, TAG));
    origin.on_call(STORED, move |seen, n| {
        let answer = storage(told.clone(), TAG, seen);
        if n == 0 { answer.closes_after(48 << 18) } else { answer }
    });
    let edge = Edge::before(&origin, "").await;
    let first = edge.get(STORED).await;
    assert!(film.is_at(0, &first.body), "{first}");
    edge.get(STORED).await.expect_body(200, film.bytes(0, film.length));
    edge.get(STORED).await.expect_body(200, film.bytes(0, film.length));
    asked_well(&origin, STORED);
    assert!(
        origin.seen(STORED).iter().all(|seen| seen.field("range").is_none_or(|r| r != "bytes=12582912-"))
    );
}

#[tokio::test]
async fn two_ranges_that_it_answers_whole_are_cut_by_the_edge() {
    let film = Film::new(1, 12_034_887);
    let (origin, told) = (Origin::start().await, file(&film, TAG));
    origin.on_call(STORED, move |seen, _| storage(told.clone(), TAG, seen));
    let edge = Edge::before(&origin, "").await;
    for warm in [false, true] {
        let reply = edge.ask(&ask("bytes=0-9,2000000-2000009")).await;
        if reply.status == 200 {
            assert!(!warm, "{reply}");
            reply.expect_body(200, film.bytes(0, film.length));
        } else {
            let parts = parts(&reply);
            let places: Vec<_> = parts.iter().map(|part| (part.first, part.last, part.length)).collect();
            assert_eq!(places, [(0, 9, Some(12_034_887)), (2_000_000, 2_000_009, Some(12_034_887))]);
            assert!(parts.iter().all(|part| film.is_at(part.first, &part.bytes)), "{reply}");
        }
        edge.settled().await;
    }
    assert!(origin.ranges(STORED).iter().flatten().all(|range| !range.contains(',')));
    assert_eq!(edge.outcome("failed").await, 0);
}

#[tokio::test]
async fn a_range_behind_the_end_is_a_416_of_the_edge_and_nothing_is_forgotten() {
    let film = Film::new(1, 12_034_887);
    let (origin, told) = (Origin::start().await, file(&film, TAG));
    origin.on_call(STORED, move |seen, _| storage(told.clone(), TAG, seen));
    let edge = Edge::before(&origin, "").await;
    for _ in 0..2 {
        let reply = edge.ask(&ask("bytes=99999999-")).await.expect_body(416, "");
        assert_eq!(reply.field("content-range"), Some("bytes */12034887"), "{reply}");
    }
    edge.get(STORED).await.expect_body(200, film.bytes(0, film.length));
    edge.ask(&ask("bytes=99999999-")).await.expect_body(416, "");
    edge.get(STORED).await.expect_body(200, film.bytes(0, film.length));
    edge.outcomes("failed", 0).await;
}

#[tokio::test]
async fn if_range_which_it_does_not_read_is_decided_by_the_edge() {
    let film = Film::new(1, 12_034_887);
    let range = || ask("bytes=10027008-10027107");
    let whole = film.bytes(0, film.length);
    for warm in [false, true] {
        for (if_range, status) in
            [(TAG, 206), ("\"other\"", 200), ("W/\"6b06f5de-b7a347\"", 200), ("not a tag", 200)]
        {
            let (origin, told) = (Origin::start().await, file(&film, TAG));
            origin.on_call(STORED, move |seen, _| storage(told.clone(), TAG, seen));
            let edge = Edge::before(&origin, "").await;
            if warm {
                edge.get(STORED).await.expect(200);
            }
            let reply = edge.ask(&range().field("If-Range", if_range)).await;
            match status {
                206 => {
                    reply.expect_body(206, film.bytes(10_027_008, 10_027_108));
                }
                _ => {
                    reply.expect_body(200, &whole);
                }
            }
            assert!(
                origin.seen(STORED).iter().all(|seen| seen.field("if-range").is_none_or(|tag| tag == TAG)),
                "the edge asks for what it knows of"
            );
            asked_well(&origin, STORED);
        }
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_between_two_ranges_is_never_glued_to_the_new_one() {
    let (old, new) = (Film::new(1, 12_034_887), Film::new(2, 12_034_887));
    let (origin, never) = (Origin::start().await, Gate::new());
    let (before, after) = (file(&old, TAG), file(&new, "\"6b06f7ff-b7a347\""));
    origin.on_call(STORED, move |seen, _| {
        let answer = storage(before.clone(), TAG, seen);
        // It never comes whole.
        if answer.length() > 6_000_000 { answer.pause(500_000, &never) } else { answer }
    });
    let edge = Edge::before(&origin, "").await;
    let reply = edge.ask(&ask("bytes=10027008-10027107")).await.expect(206);
    assert!(old.is_at(10_027_008, &reply.body), "{reply}");
    // The server goes down, and with it whatever was on its way.
    origin.down().await;
    origin.on_call(STORED, move |seen, _| storage(after.clone(), "\"6b06f7ff-b7a347\"", seen));
    origin.up();
    // What was fetched before is fresh for years and may serve; what is fetched from now on is of the new file.
    for range in [(0, 11_999_999), (3_000_000, 3_999_999), (10_000_000, 12_034_886)] {
        for _ in 0..2 {
            let reply = edge.ask(&ask(&format!("bytes={}-{}", range.0, range.1))).await;
            let from = if reply.status == 206 { range.0 } else { 0 };
            let (is_old, is_new) = (old.is_at(from, &reply.body), new.is_at(from, &reply.body));
            assert!(is_old || is_new, "a mixture: {reply}");
            let tag = if is_new { "\"6b06f7ff-b7a347\"" } else { TAG };
            // Cut before its first byte it is of neither.
            assert!(reply.body.is_empty() || reply.field("etag") == Some(tag), "{reply}");
            assert!(
                is_new || !reply.clean() || reply.body.len() < 3_000_000,
                "old bytes from nowhere: {reply}"
            );
        }
    }
    let reply = edge.get(STORED).await.expect_body(200, new.bytes(0, new.length));
    assert_eq!(reply.field("etag"), Some("\"6b06f7ff-b7a347\""));
}

#[tokio::test]
async fn its_etag_goes_back_as_it_came_and_its_304_without_a_date_takes_nothing_away() {
    let film = Film::new(1, 500_000);
    let (origin, told) = (Origin::start().await, file(&film, TAG).field("Age", OLD));
    origin.on_call(STORED, move |seen, _| storage(told.clone(), TAG, seen));
    let edge = Edge::before(&origin, "").await;
    let whole = film.bytes(0, film.length);
    edge.get(STORED).await.expect_body(200, &whole);
    let reply = edge.get(STORED).await.expect_body(200, &whole);
    assert_eq!(
        (reply.field("last-modified"), reply.field("content-type")),
        (Some(MODIFIED), Some("video/mp4"))
    );
    assert_eq!(origin.last(STORED).field("if-none-match"), Some(TAG));
    assert_eq!(origin.last(STORED).field("if-modified-since"), None);
    // A weakened one it would not know again; the edge does, and asks nobody.
    edge.ask(&Request::get(STORED).field("If-None-Match", "W/\"6b06f5de-b7a347\""))
        .await
        .expect_body(304, "");
    assert_eq!(origin.hits(STORED), 2);
    edge.outcomes("revalidated", 1).await;
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn one_etag_and_one_length_for_two_codings_are_two_bodies_in_every_range() {
    // Its static files: gzip, asked for or not, unless `identity` is named; one ETag for both. Here of one length too.
    let (plain, zipped) = (Film::new(1, 12_034_887), Film::new(2, 12_034_887));
    let (origin, identity, gzip) =
        (Origin::start().await, file(&plain, STATIC_TAG), file(&zipped, STATIC_TAG));
    origin.on_call(STATIC, move |seen, _| {
        let answer = match seen.field("accept-encoding") {
            Some("identity") => identity.clone(),
            _ => gzip.clone().field("Content-Encoding", "gzip"),
        };
        let answer = answer.instead("Content-Type", "text/javascript; charset=\"utf-8\"");
        storage(answer.field("Vary", "Accept-Encoding"), STATIC_TAG, seen)
    });
    let edge = Edge::before(&origin, "").await;
    let ranges = [(10_027_008, 10_299_999), (0, 99), (5_000_000, 8_000_000), (10_000_000, 12_034_886)];
    for (first, last) in ranges {
        for (accepts, film) in [("identity", &plain), ("gzip", &zipped), ("gzip;q=0, identity", &plain)] {
            let range = format!("bytes={first}-{last}");
            let request = Request::get(STATIC).field("Accept-Encoding", accepts).field("Range", &range);
            let reply = edge.ask(&request).await.expect_body(206, film.bytes(first, last + 1));
            let coding = (accepts == "gzip").then_some("gzip");
            assert_eq!(reply.field("content-encoding"), coding, "{accepts} {reply}");
        }
    }
    for (accepts, film) in [("identity", &plain), ("gzip", &zipped)] {
        let request = Request::get(STATIC).field("Accept-Encoding", accepts);
        edge.ask(&request).await.expect_body(200, film.bytes(0, film.length));
    }
    edge.outcomes("failed", 0).await;
}

#[tokio::test]
async fn gzip_that_nobody_asked_for_is_not_handed_to_who_wants_none() {
    let origin = Origin::start().await;
    origin.on_call(STATIC, |seen, _| {
        let answer = match seen.field("accept-encoding") {
            Some("identity") => Answer::ok("plain"),
            _ => Answer::ok("zipped").field("Content-Encoding", "gzip"),
        };
        answer
            .field("Content-Type", "text/javascript")
            .field("Cache-Control", "max-age=315360000, public, immutable")
            .field("Vary", "Accept-Encoding")
            .field("ETag", STATIC_TAG)
    });
    let edge = Edge::before(&origin, "").await;
    let js = |accepts: &str| Request::get(STATIC).field("Accept-Encoding", accepts);
    for _ in 0..2 {
        edge.ask(&js("gzip")).await.expect_body(200, "zipped");
        edge.ask(&js("identity")).await.expect_body(200, "plain");
        // The edge says `identity` for those who accept no coding; said as it stands Kolibri would send gzip.
        edge.ask(&js("gzip;q=0, identity")).await.expect_body(200, "plain");
        edge.get(STATIC).await.expect(200);
    }
    assert_eq!(origin.hits(STATIC), 2, "{:#?}", origin.seen(STATIC));
    edge.outcomes("hit", 6).await;
}

/// A member of a package: no ETag, a new date in each answer, 304 to any date, HEAD refused, beyond the end the whole.
fn member(film: &Film, seen: &Seen, n: usize) -> Answer {
    if seen.field("if-modified-since").is_some() {
        return Answer { framing: Framing::Nothing, ..Answer::new(304, "") };
    }
    if seen.method == "HEAD" {
        return Answer::new(405, "").chunked().field("Allow", "GET, OPTIONS").then_close();
    }
    let answer = film
        .bare()
        .field("Content-Type", "video/webm")
        .field("Accept-Ranges", "bytes")
        .field("Last-Modified", format!("Wed, 25 Nov 2026 14:52:{:02} GMT", n % 60))
        .field("Cache-Control", "max-age=31536000")
        .field("Access-Control-Allow-Origin", "*");
    match seen.field("range").map(|range| answer.clone().cut_to(range)) {
        Some(part) if part.status == 206 => part,
        _ => answer,
    }
}

const MEMBER: &str = "/content/zipcontent/9a0a9b5b3e82231cac7e1822abc4ef98.zip/media/clip.webm";

#[tokio::test]
async fn what_has_a_date_only_is_never_put_together_from_ranges() {
    let film = Film::new(1, 12_034_887);
    for rule in ["", "validator = \"none\"", "validator = \"time\"", "validator = \"content\""] {
        let (origin, told) = (Origin::start().await, film.clone());
        origin.on_call(MEMBER, move |seen, n| member(&told, seen, n));
        let config = match rule {
            "" => String::new(),
            _ => format!("[[site.rule]]\nname = \"zip\"\nprefix = \"/\"\nverdict = \"cache\"\n{rule}\n"),
        };
        let edge = Edge::before(&origin, &config).await;
        for range in [(10_027_008, 10_027_107), (0, 0), (3_000_000, 3_000_099)] {
            let request = Request::get(MEMBER).field("Range", &format!("bytes={}-{}", range.0, range.1));
            edge.ask(&request).await.expect_body(206, film.bytes(range.0, range.1 + 1));
        }
        edge.settled().await;
        edge.get(MEMBER).await.expect_body(200, film.bytes(0, film.length));
        let asked = origin.seen(MEMBER);
        assert!(asked.iter().all(|seen| seen.field("if-range").is_none()), "{rule}: {asked:#?}");
        let whole = asked.iter().filter(|seen| seen.sent as u64 == film.length).count();
        assert_eq!(whole, 1, "{rule}: one whole fill: {:?}", origin.ranges(MEMBER));
        assert!(asked.len() <= 2, "{rule}: {:?}", origin.ranges(MEMBER));
        edge.outcomes("failed", 0).await;
    }
}

#[tokio::test]
async fn head_that_it_refuses_says_nothing_of_what_is_stored() {
    let film = Film::new(1, 1_279_163);
    let (origin, told) = (Origin::start().await, film.clone());
    origin.on_call(MEMBER, move |seen, n| member(&told, seen, n));
    let edge = Edge::before(&origin, "").await;
    edge.ask(&Request::new("HEAD", MEMBER)).await.expect_body(405, "");
    edge.get(MEMBER).await.expect_body(200, film.bytes(0, film.length));
    let head = edge.ask(&Request::new("HEAD", MEMBER)).await.expect_body(200, "");
    assert_eq!(head.field("content-length"), Some("1279163"), "{head}");
    edge.get(MEMBER).await.expect_body(200, film.bytes(0, film.length));
    // Beyond the end Kolibri sends the whole; the edge knows better.
    edge.ask(&Request::get(MEMBER).field("Range", "bytes=99999999-")).await.expect_body(416, "");
    assert_eq!(origin.hits(MEMBER), 2);
    edge.outcomes("hit", 3).await;
}

#[tokio::test]
async fn one_etag_for_the_whole_site_and_two_forms_of_a_list_are_never_mixed() {
    // The API: no lifetime, one ETag for all that is in the database, chosen by Accept.
    const LIST: &str = "/api/content/channel/";
    let origin = Origin::start().await;
    let api = |tag: &'static str| {
        move |seen: &Seen, _: usize| {
            let accept = seen.field("accept").unwrap_or_default().to_owned();
            if seen.field("if-none-match") == Some(tag) {
                return Answer { framing: Framing::Nothing, ..Answer::new(304, "") }
                    .field("ETag", tag)
                    .field("Content-Length", "0")
                    .field("Expires", "Wed, 25 Nov 2026 14:53:36 GMT")
                    .field("Cache-Control", "max-age=0");
            }
            Answer::ok(format!("{} as {accept} at {tag}", seen.path()))
                .field("Content-Type", "application/json")
                .field("Vary", "Accept")
                .field("Allow", "GET, HEAD, OPTIONS")
                .field("ETag", tag)
        }
    };
    origin.on_call("/api/content/*", api("\"1795618270.323913\""));
    let edge = Edge::before(&origin, "").await;
    let (json, html) = ("application/json", "text/html");
    for tag in ["\"1795618270.323913\"", "\"1795619281.100000\""] {
        origin.on_call(
            "/api/content/*",
            if tag.contains("270") { api("\"1795618270.323913\"") } else { api("\"1795619281.100000\"") },
        );
        for _ in 0..2 {
            for path in [LIST, "/api/content/contentnode/"] {
                for accept in [json, html] {
                    let request = Request::get(path).field("Accept", accept);
                    edge.ask(&request).await.expect_body(200, format!("{path} as {accept} at {tag}"));
                }
            }
        }
    }
    assert_eq!(origin.hits(LIST) + origin.hits("/api/content/contentnode/"), 16, "each asks for itself");
    assert_eq!(edge.outcome("hit").await + edge.outcome("failed").await, 0);
    edge.outcomes("revalidated", 8).await;
}
