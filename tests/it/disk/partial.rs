//! Partial bodies on disk: what is missing or bad is had again by itself, and bytes of two versions never meet (G03–G05).

use super::{CHUNK, End, again, committed, count, damage, ranged, segments, store};
use crate::support::{answer::Answer, edge::Edge, film::Film, message::Reply, origin::Origin, parts};

/// Whole chunks only: each is found in one place.
fn film() -> Film {
    Film::new(1, 17 * CHUNK)
}

/// The bytes of a chunk.
fn chunk(film: &Film, n: u64) -> Vec<u8> {
    film.bytes(n * CHUNK, (n + 1) * CHUNK)
}

/// An edge that has the film on disk only, with these chunks damaged there.
async fn damaged(origin: &Origin, film: &Film, chunks: &[u64]) -> Edge {
    origin.on("/film", film.answer());
    let mut edge = Edge::before(origin, &store("32MiB", "64MiB")).await;
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    edge.stop().await;
    for n in chunks {
        assert_eq!(damage(&edge.path("store"), &chunk(film, *n)), 1, "chunk {n}");
    }
    edge.start_again().await;
    edge
}

#[tokio::test]
async fn a_damaged_chunk_in_the_middle_is_fetched_alone_and_kept_again() {
    let film = film();
    for bad in [vec![7], vec![0], vec![16], vec![3, 9, 10]] {
        let origin = Origin::start().await;
        let mut edge = damaged(&origin, &film, &bad).await;
        edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
        let asked = origin.seen("/film").split_off(1);
        let mut fetched = Vec::new();
        for seen in &asked {
            let (first, last) = parts::range(seen.field("range").unwrap_or_else(|| panic!("{seen:?}")));
            let end = last.map_or(film.length, |last| last + 1);
            assert_eq!(seen.field("if-range"), Some(&*film.tag()), "{seen:?}");
            fetched.extend(first / CHUNK..end.div_ceil(CHUNK));
        }
        assert_eq!(fetched, bad, "these, and nothing else: {:?}", origin.ranges("/film"));
        assert!(asked.len() <= bad.len(), "{:?}", origin.ranges("/film"));
        assert_eq!(count(&edge, "lectern_disk_verify_failures_total").await, bad.len() as u64);
        edge.outcomes("failed", 0).await;
        // It is healed: from memory, and from disk.
        let total = origin.hits("/film");
        edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
        again(&mut edge, End::Stopped).await;
        edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
        edge.outcomes("hit", 1).await;
        assert_eq!(origin.hits("/film"), total);
        assert_eq!(count(&edge, "lectern_disk_verify_failures_total").await, 0);
    }
}

#[tokio::test]
async fn a_range_that_needs_no_damaged_chunk_asks_for_nothing() {
    let film = film();
    let origin = Origin::start().await;
    let edge = damaged(&origin, &film, &[7]).await;
    for (first, end) in [(0, 7 * CHUNK), (8 * CHUNK, film.length)] {
        let reply = edge.ask(&ranged("/film", &format!("bytes={first}-{}", end - 1))).await;
        reply.expect_body(206, film.bytes(first, end));
    }
    assert_eq!(origin.hits("/film"), 1);
    let reply = edge.ask(&ranged("/film", &format!("bytes={}-{}", 7 * CHUNK + 5, 7 * CHUNK + 9))).await;
    reply.expect_body(206, film.bytes(7 * CHUNK + 5, 7 * CHUNK + 10));
    let expected = format!("bytes={}-{}", 7 * CHUNK, 8 * CHUNK - 1);
    assert_eq!(origin.ranges("/film"), [None, Some(expected)]);
}

#[tokio::test]
async fn without_a_validator_a_damaged_chunk_makes_a_miss_and_nothing_wrong_comes() {
    let film = film();
    let origin = Origin::start().await;
    let bare = |film: &Film| film.bare().field("Cache-Control", "public, max-age=600");
    for (path, bad) in [("/first", 0), ("/middle", 7)] {
        let whole = film.bytes(0, film.length);
        origin.on(path, bare(&film));
        let mut edge = Edge::before(&origin, &store("32MiB", "64MiB")).await;
        edge.get(path).await.expect_body(200, &whole);
        edge.stop().await;
        assert_eq!(damage(&edge.path("store"), &chunk(&film, bad)), 1);
        edge.start_again().await;
        let reply = edge.get(path).await;
        // What was begun may break off where the damage shows late; nothing else than these bytes is sent.
        assert!(film.is_at(0, &reply.body), "{path}: {reply}");
        assert!(reply.body == whole || !reply.clean(), "{path}: {reply}");
        edge.get(path).await.expect_body(200, &whole);
        assert_eq!(origin.hits(path), 2, "{path}");
        again(&mut edge, End::Stopped).await;
        edge.get(path).await.expect_body(200, &whole);
        assert_eq!(origin.hits(path), 2, "{path}");
    }
}

/// All of one of them, or an unclean end of bytes of one of them.
#[track_caller]
fn never_mixed(reply: &Reply, films: &[&Film]) {
    let of = |film: &&Film| {
        film.is_at(0, &reply.body) && (!reply.clean() || reply.body.len() as u64 == film.length)
    };
    let wrong = reply.status != 200 && reply.status < 500;
    assert!(!wrong && (reply.status >= 500 || films.iter().any(of)), "{reply}");
}

#[tokio::test]
async fn g03_what_lies_on_disk_and_what_the_origin_has_by_now_never_meet() {
    let old = film();
    // The length of the new one; whether the origin obeys `If-Range`; what is damaged.
    let rows: [(u64, bool, &[u64]); 6] = [
        (old.length, true, &[7]),
        (old.length, false, &[0]),
        (old.length, false, &[2, 16]),
        (old.length - CHUNK, false, &[7]),
        (old.length + 1, true, &[2, 16]),
        (old.length + 1, false, &[7]),
    ];
    for (length, obeys, bad) in rows {
        let new = Film::new(2, length);
        let origin = Origin::start().await;
        let mut edge = damaged(&origin, &old, bad).await;
        let then = new.clone();
        origin.on_call("/film", move |seen, _| match seen.field("range") {
            Some(range) if !obeys => then.answer().cut_to(range),
            _ => then.answer(),
        });
        let reply = edge.get("/film").await;
        never_mixed(&reply, &[&old, &new]);
        assert!(!(reply.clean() && old.is_at(0, &reply.body)), "a chunk of it is nowhere: {reply}");
        let whole = new.bytes(0, new.length);
        edge.get("/film").await.expect_body(200, &whole);
        again(&mut edge, End::Stopped).await;
        let asked = origin.hits("/film");
        edge.get("/film").await.expect_body(200, &whole);
        assert_eq!(origin.hits("/film"), asked, "{length} {obeys} {bad:?}");
    }
}

#[tokio::test]
async fn g03_a_beginning_on_disk_is_continued_by_the_same_version_only() {
    let (old, new) = (Film::new(1, 80 << 20), Film::new(2, 80 << 20));
    for obeys in [true, false] {
        let (origin, answer) = (Origin::start().await, old.answer());
        origin.on_call("/film", move |seen, _| match seen.field("range") {
            None => answer.clone().closes_after(1_500_000),
            Some("bytes=41943040-42991615") => answer.clone(),
            Some(_) => Answer::new(503, "no more"),
        });
        let mut edge = Edge::before(&origin, &store("32MiB", "256MiB")).await;
        // Only its beginning comes, and a part far behind.
        edge.ask(&ranged("/film", "bytes=0-1048575")).await.expect_body(206, old.bytes(0, 1 << 20));
        let far = ranged("/film", "bytes=41943040-42991615");
        edge.ask(&far).await.expect_body(206, old.bytes(40 << 20, 41 << 20));
        edge.settled().await;
        committed(&edge, 1).await;
        again(&mut edge, End::Stopped).await;
        let asked = origin.hits("/film");
        edge.ask(&far).await.expect_body(206, old.bytes(40 << 20, 41 << 20));
        assert_eq!(origin.hits("/film"), asked, "a part that lies on disk is a hit");
        let then = new.clone();
        origin.on_call("/film", move |seen, _| match seen.field("range") {
            Some(range) if !obeys => then.answer().cut_to(range),
            _ => then.answer(),
        });
        let reply = edge.get("/film").await;
        never_mixed(&reply, &[&old, &new]);
        assert!(!(reply.clean() && old.is_at(0, &reply.body)), "most of it is nowhere: {reply}");
        edge.get("/film").await.expect_body(200, new.bytes(0, new.length));
        let far = edge.ask(&far).await;
        far.expect_body(206, new.bytes(40 << 20, 41 << 20));
    }
}

#[tokio::test]
async fn g04_a_part_on_disk_is_no_whole_and_is_completed_by_what_it_lacks() {
    let film = Film::new(1, 40 << 20);
    let origin = Origin::start().await;
    origin.on("/film", film.answer());
    let mut edge = Edge::before(&origin, &store("32MiB", "256MiB")).await;
    let far = ranged("/film", "bytes=20971520-22020095");
    edge.ask(&far).await.expect_body(206, film.bytes(20 << 20, 21 << 20));
    edge.settled().await;
    again(&mut edge, End::Stopped).await;
    edge.ask(&far).await.expect_body(206, film.bytes(20 << 20, 21 << 20));
    assert_eq!(origin.hits("/film"), 1);
    edge.outcomes("hit", 1).await;
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    edge.settled().await;
    let sent: u64 = origin.seen("/film").iter().map(|seen| seen.sent as u64).sum();
    assert!(
        sent <= film.length + (2 << 20),
        "{sent} bytes for {}: {:?}",
        film.length,
        origin.ranges("/film")
    );
    again(&mut edge, End::Stopped).await;
    let asked = origin.hits("/film");
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    edge.ask(&ranged("/film", "bytes=600-699")).await.expect_body(206, film.bytes(600, 700));
    assert_eq!(origin.hits("/film"), asked);
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn g05_a_seek_into_what_lies_on_disk_needs_nothing_before_it_and_what_is_missing_comes_alone() {
    let film = Film::new(1, 30_000_000);
    let origin = Origin::start().await;
    origin.on("/film", film.answer());
    let mut edge = Edge::before(&origin, &store("32MiB", "64MiB")).await;
    // The end and the middle of it, as a player opens it and seeks; the suffix has no place before the length is known.
    let seeks = [(29_934_464, 30_000_000), (10_000_000, 10_065_536)];
    for (first, end) in seeks {
        let reply = edge.ask(&ranged("/film", &format!("bytes={first}-{}", end - 1))).await;
        reply.expect_body(206, film.bytes(first, end));
    }
    edge.settled().await;
    for how in [End::Stopped, End::Killed(1)] {
        again(&mut edge, how).await;
        let asked = origin.hits("/film");
        for (first, end) in seeks {
            let reply = edge.ask(&ranged("/film", &format!("bytes={first}-{}", end - 1))).await;
            reply.expect_body(206, film.bytes(first, end));
        }
        let suffix = edge.ask(&ranged("/film", "bytes=-65536")).await;
        suffix.expect_body(206, film.bytes(film.length - 65_536, film.length));
        assert_eq!(origin.hits("/film"), asked);
        edge.outcomes("hit", 3).await;
    }
    let reply = edge.ask(&ranged("/film", "bytes=20000000-20000099")).await;
    reply.expect_body(206, film.bytes(20_000_000, 20_000_100));
    let asked = origin.last("/film");
    let (first, last) = parts::range(asked.field("range").unwrap());
    assert_eq!((first, last), (76 * CHUNK, Some(77 * CHUNK - 1)), "one chunk, by itself");
    assert_eq!(asked.field("if-range"), Some(&*film.tag()));
}

#[tokio::test]
async fn segments_that_are_gone_cost_their_bytes_again_and_nothing_else() {
    let film = film();
    let origin = Origin::start().await;
    origin.on("/film", film.answer());
    origin.on("/page", Answer::ok("page").field("Cache-Control", "max-age=600"));
    let mut edge = Edge::before(&origin, &store("32MiB", "64MiB")).await;
    edge.get("/film").await.expect(200);
    edge.get("/page").await.expect_body(200, "page");
    edge.stop().await;
    for segment in segments(&edge.path("store")) {
        std::fs::remove_file(segment).unwrap();
    }
    edge.start_again().await;
    edge.get("/page").await.expect_body(200, "page");
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    assert_eq!(origin.hits("/page"), 2);
    edge.outcomes("failed", 0).await;
    for seen in &origin.seen("/film")[1..] {
        assert!(seen.field("range").is_none() || seen.field("if-range") == Some(&*film.tag()), "{seen:?}");
    }
    let asked = origin.requests().len();
    again(&mut edge, End::Stopped).await;
    edge.get("/page").await.expect_body(200, "page");
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    assert_eq!(origin.requests().len(), asked);
    edge.outcomes("hit", 2).await;
}
