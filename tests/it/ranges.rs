//! Several ranges, ranges of bodies that grow, and cold ranges: what is asked of the origin, and that it fits (G02–G05).

use crate::support::{
    answer::Answer,
    edge::Edge,
    film::Film,
    gate::Gate,
    message::{End, Reply, Request},
    origin::{Origin, Seen},
    parts::{self, parts},
};

const CHUNK: u64 = 256 << 10;
/// Longer than what is fetched whole in any case.
const LONG: u64 = (64 << 20) + 4321;
/// What comes of a whole that is held, and some.
const HELD: u64 = 1 << 20;

fn ranged(path: &str, range: &str) -> Request {
    Request::get(path).field("Range", range)
}

/// 206 with right bytes: what is asked is there, nothing twice, and less than the whole.
#[track_caller]
fn right(reply: &Reply, film: &Film, asked: &[(u64, u64)]) {
    let parts = parts(reply);
    for part in &parts {
        assert_eq!(part.length, Some(film.length), "{reply}");
        assert!(film.is_at(part.first, &part.bytes), "bytes of {}: {reply}", part.first);
        let kind = part.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        assert_eq!(kind.unwrap().1, "video/mp4", "{reply}");
    }
    for (first, last) in asked {
        let there = parts.iter().any(|part| part.first <= *first && *last <= part.last);
        assert!(there, "{first}-{last} is missing: {reply}");
    }
    let mut places: Vec<_> = parts.iter().map(|part| (part.first, part.last)).collect();
    places.sort_unstable();
    assert!(places.windows(2).all(|two| two[0].1 < two[1].0), "{places:?} overlap");
    assert!(parts.len() <= asked.len() && reply.body.len() as u64 <= film.length, "{places:?}");
}

/// The origin was asked for whole chunks, by the tag of what is stored, and never for one byte.
#[track_caller]
fn asked_well(seen: &[Seen], film: &Film) {
    let tag = film.tag();
    for seen in seen {
        let Some(range) = seen.field("range") else { continue };
        let (first, last) = parts::range(range);
        assert!(first.is_multiple_of(CHUNK), "{range}");
        let last = last.unwrap_or(film.length - 1);
        assert!(last + 1 == film.length || (last + 1).is_multiple_of(CHUNK), "{range}");
        assert!(last > first, "a range of one byte: {range}");
        assert!(seen.field("if-range").is_none_or(|asked| asked == tag), "{seen:?}");
    }
    // Only the first one may have known nothing.
    let bound = seen.iter().filter(|seen| seen.field("range").is_some()).skip(1);
    assert!(bound.clone().all(|seen| seen.field("if-range").is_some()), "{seen:#?}");
}

/// An origin that sends ranges at once, and of the whole no more than its beginning until the gate opens.
fn seekable(origin: &Origin, path: &str, film: &Film) -> Gate {
    let (gate, answer) = (Gate::new(), film.answer());
    let held = gate.clone();
    origin.on_call(path, move |seen, _| match seen.field("range") {
        None | Some("bytes=0-") => answer.clone().pause(HELD as usize, &held),
        Some(_) => answer.clone(),
    });
    gate
}

#[tokio::test]
async fn g02_several_ranges_are_parts_merged_and_in_bounds() {
    let film = Film::new(1, (1 << 20) + 77);
    let origin = Origin::start().await;
    origin.on("/film", film.answer());
    let edge = Edge::before(&origin, "").await;
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    let (end, n) = (film.length - 1, film.length);
    let sixteen: Vec<(u64, u64)> = (0..16).map(|i| (i * 60_000, i * 60_000 + 99)).collect();
    let table: Vec<(String, Vec<(u64, u64)>)> = vec![
        ("bytes=0-50, 50-100".into(), vec![(0, 50), (50, 100)]),
        ("bytes=0-50,51-100".into(), vec![(0, 50), (51, 100)]),
        ("bytes=0-1,500-600,-2".into(), vec![(0, 1), (500, 600), (end - 1, end)]),
        ("bytes=900000-900009,100-109".into(), vec![(900_000, 900_009), (100, 109)]),
        ("bytes=0-0,999999999-".into(), vec![(0, 0)]),
        ("bytes=262143-262144,524287-524288".into(), vec![(262_143, 262_144), (524_287, 524_288)]),
        (format!("bytes=10-19,10-19,{end}-"), vec![(10, 19), (end, end), (10, 19)]),
        (format!("bytes=0-9,1000-1009,{}-{}", n - 5, n + 5), vec![(0, 9), (1000, 1009), (n - 5, end)]),
        (
            format!(
                "bytes={}",
                sixteen.iter().map(|(a, b)| format!("{a}-{b}")).collect::<Vec<_>>().join(", ")
            ),
            sixteen,
        ),
    ];
    let (mut client, h2) = (edge.client().await, edge.h2().await);
    for (range, asked) in &table {
        right(&client.ask(&ranged("/film", range)).await, &film, asked);
        right(&h2.ask(&ranged("/film", range)).await, &film, asked);
        let reply = client.ask(&ranged("/film", range).field("If-Range", &film.tag())).await;
        right(&reply, &film, asked);
        let other = ranged("/film", range).field("If-Range", "\"other\"");
        client.ask(&other).await.expect_body(200, film.bytes(0, n));
        let head = client.ask(&Request { method: "HEAD".into(), ..ranged("/film", range) }).await;
        let length = head.expect_body(200, "").field("content-length").map(str::to_owned);
        assert_eq!(length, Some(n.to_string()));
        let known = ranged("/film", range).field("If-None-Match", &film.tag());
        client.ask(&known).await.expect_body(304, "");
    }
    assert_eq!(client.leftover(), b"");
    assert_eq!(origin.hits("/film"), 1);
    edge.outcomes("hit", 6 * table.len() as u64).await;
    // The two that overlap are one.
    let merged = edge.ask(&ranged("/film", "bytes=0-50, 50-100")).await;
    assert_eq!(parts(&merged).len(), 1, "{merged}");
}

#[tokio::test]
async fn g02_ranges_that_are_too_many_or_none_or_all_are_no_ranges() {
    let film = Film::new(1, (1 << 20) + 77);
    let origin = Origin::start().await;
    origin.on("/film", film.answer());
    origin.on("/ten", Answer::storable("0123456789"));
    let edge = Edge::before(&origin, "").await;
    let whole = film.bytes(0, film.length);
    edge.get("/film").await.expect_body(200, &whole);
    edge.get("/ten").await.expect(200);
    let many = |n: usize| format!("bytes={}", vec!["0-"; n].join(","));
    let seventeen: Vec<String> = (0..17).map(|i| format!("{}-{}", i * 1000, i * 1000 + 9)).collect();
    let seventeen = format!("bytes={}", seventeen.join(","));
    let table: [(&str, u16); 8] = [
        (&seventeen, 200),
        (&many(500), 200),
        ("bytes=0-9,5-4", 200),
        ("bytes=0-9,x", 200),
        ("items=0-9,20-29", 200),
        ("bytes=99999999-,100000000-100000009", 416),
        ("bytes=-0,99999999-", 416),
        ("bytes=5-9,-0,99999999-", 206),
    ];
    let (mut client, h2) = (edge.client().await, edge.h2().await);
    for (range, status) in table {
        for reply in [client.ask(&ranged("/film", range)).await, h2.ask(&ranged("/film", range)).await] {
            match status {
                200 => {
                    reply.expect_body(200, &whole);
                }
                416 => {
                    let reply = reply.expect_body(416, "");
                    assert_eq!(reply.field("content-range"), Some(&*format!("bytes */{}", film.length)));
                }
                _ => right(&reply, &film, &[(5, 9)]),
            }
        }
    }
    // All of it in two, or more than it: it is sent once.
    for range in ["bytes=0-524287,524288-", "bytes=0-,0-,0-", "bytes=1-,0-9"] {
        let reply = client.ask(&ranged("/film", range)).await;
        match reply.status {
            206 => right(&reply, &film, &[(0, film.length - 1); 3]),
            _ => drop(reply.expect_body(200, &whole)),
        }
    }
    for range in ["bytes=0-1,5-6", "bytes=0-1,5-6,-2", "bytes=0-0,2-2,4-4,6-6,8-8"] {
        let reply = client.ask(&ranged("/ten", range)).await;
        assert!(matches!(reply.status, 200 | 206) && reply.clean() && reply.body.len() <= 1000, "{reply}");
    }
    assert_eq!(client.leftover(), b"");
    assert_eq!((origin.hits("/film"), origin.hits("/ten")), (1, 1));
    edge.outcomes("hit", 2 * 8 + 6).await;
}

#[tokio::test]
async fn several_ranges_of_a_body_that_grows_come_as_their_bytes_do() {
    let film = Film::new(1, 2 << 20);
    let (origin, gate) = (Origin::start().await, Gate::new());
    // By a weak tag nothing can be asked for by range.
    origin.on("/film", film.answer().instead("ETag", "W/\"1\"").pause(1_000_000, &gate));
    let edge = Edge::before(&origin, "").await;
    let mut first = edge.client().await;
    first.send(&Request::get("/film").bytes()).await;
    gate.arrived(1).await;
    let reply = edge.ask(&ranged("/film", "bytes=0-9,600000-600009")).await;
    right(&reply, &film, &[(0, 9), (600_000, 600_009)]);
    let mut behind = edge.client().await;
    behind.send(&ranged("/film", "bytes=0-9,-10").bytes()).await;
    let mut late = behind.head("GET").await;
    assert_eq!((late.status, &late.end), (206, &End::Open));
    gate.open();
    behind.rest(&mut late).await;
    right(&late, &film, &[(0, 9), (film.length - 10, film.length - 1)]);
    first.reply("GET").await.expect_body(200, film.bytes(0, film.length));
    assert_eq!(origin.hits("/film"), 1);
    edge.outcomes("joined", 2).await;
}

#[tokio::test]
async fn while_the_length_is_unknown_only_a_range_with_both_ends_is_cut() {
    let film = Film::new(1, 2_000_000);
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/film", film.answer().no_ranges().chunked().pause(1_000_000, &gate));
    let edge = Edge::before(&origin, "").await;
    let mut first = edge.client().await;
    first.send(&Request::get("/film").bytes()).await;
    gate.arrived(1).await;
    let h2 = edge.h2().await;
    for range in [(0, 0), (100, 199), (262_143, 262_144), (500_000, 899_999)] {
        let request = ranged("/film", &format!("bytes={}-{}", range.0, range.1));
        for reply in [edge.ask(&request).await, h2.ask(&request).await] {
            let reply = reply.expect_body(206, film.bytes(range.0, range.1 + 1));
            let told = format!("bytes {}-{}/*", range.0, range.1);
            assert_eq!(reply.field("content-range"), Some(&*told), "{reply}");
        }
    }
    // Where it would end nobody knows; or the version is another.
    let mut waiting = Vec::new();
    for request in [
        ranged("/film", "bytes=-100"),
        ranged("/film", "bytes=100-"),
        ranged("/film", "bytes=0-9,20-29"),
        ranged("/film", "bytes=0-9").field("If-Range", "\"other\""),
    ] {
        let mut client = edge.client().await;
        client.send(&request.bytes()).await;
        let reply = client.head("GET").await;
        assert_eq!((reply.status, reply.field("content-range")), (200, None), "{reply}");
        waiting.push((client, reply));
    }
    // Beyond what there will be: whatever is said of it must hold in the end.
    let mut beyond = edge.client().await;
    beyond.send(&ranged("/film", "bytes=1500000-2999999").bytes()).await;
    let mut outside = edge.client().await;
    outside.send(&ranged("/film", "bytes=5000000-5000009").bytes()).await;
    gate.open();
    for (mut client, mut reply) in waiting {
        client.rest(&mut reply).await;
        reply.expect_body(200, film.bytes(0, film.length));
    }
    for (mut client, first) in [(beyond, 1_500_000), (outside, 5_000_000)] {
        let reply = client.reply("GET").await;
        match (reply.status, reply.clean()) {
            (200, true) => drop(reply.expect_body(200, film.bytes(0, film.length))),
            (206, true) => {
                let part = parts(&reply).pop().unwrap();
                assert_eq!((part.first, part.last), (first, film.length - 1), "{reply}");
                assert!(film.is_at(first, &part.bytes), "{reply}");
            }
            (416, true) => assert!(first >= film.length, "{reply}"),
            _ => assert!(matches!(reply.status, 200 | 206), "{reply}"),
        }
    }
    first.reply("GET").await.expect_body(200, film.bytes(0, film.length));
    edge.settled().await;
    let reply = edge.ask(&ranged("/film", "bytes=-100")).await;
    right(&reply, &film, &[(film.length - 100, film.length - 1)]);
    assert!(reply.field("cache-status").unwrap().contains("hit"), "{reply}");
    assert_eq!(origin.hits("/film"), 1);
}

#[tokio::test]
async fn g05_what_a_cold_range_costs_does_not_grow_with_its_offset() {
    let film = Film::new(1, LONG);
    let (end, middle) = (LONG - 1, 30_000_000);
    let mut costs = Vec::new();
    for (name, range, (first, last)) in [
        ("begin", "bytes=0-65535".to_owned(), (0, 65_535)),
        ("middle", format!("bytes={middle}-{}", middle + 65_535), (middle, middle + 65_535)),
        ("end", format!("bytes={}-{end}", end - 65_535), (end - 65_535, end)),
        ("suffix", "bytes=-65536".to_owned(), (end - 65_535, end)),
        ("last", format!("bytes={end}-"), (end, end)),
    ] {
        let origin = Origin::start().await;
        let (path, gate) = (format!("/{name}"), Gate::new());
        // What is not a range of less than the whole stops after its first mebibyte.
        let (answer, held) = (film.answer(), gate.clone());
        origin.on_call(&path, move |seen, _| match seen.field("range") {
            None | Some("bytes=0-") => answer.clone().pause(HELD as usize, &held),
            Some(_) => answer.clone(),
        });
        let edge = Edge::before(&origin, "").await;
        let cold = edge.ask(&ranged(&path, &range)).await;
        right(&cold, &film, &[(first, last)]);
        let needed = (last / CHUNK + 1).min(LONG.div_ceil(CHUNK)) * CHUNK - first / CHUNK * CHUNK;
        costs.push(origin.sent(&path));
        assert!(origin.sent(&path) <= needed + CHUNK + HELD, "{name}: {} bytes", origin.sent(&path));
        // A seek that comes back is a hit.
        let asked = origin.hits(&path);
        right(&edge.ask(&ranged(&path, &range)).await, &film, &[(first, last)]);
        assert_eq!(origin.hits(&path), asked, "{:?}", origin.ranges(&path));
        asked_well(&origin.seen(&path), &film);
        edge.outcomes("failed", 0).await;
        gate.open();
    }
    assert!(costs.iter().all(|cost| *cost <= 3 * CHUNK + HELD), "{costs:?}");
}

#[tokio::test]
async fn a_second_range_asks_only_for_what_the_first_did_not_bring() {
    let film = Film::new(1, LONG);
    let origin = Origin::start().await;
    let gate = seekable(&origin, "/film", &film);
    let edge = Edge::before(&origin, "").await;
    let ask = async |first: u64, last: u64| {
        let before: Vec<_> = origin.seen("/film");
        let reply = edge.ask(&ranged("/film", &format!("bytes={first}-{last}"))).await;
        right(&reply, &film, &[(first, last)]);
        let asked = origin.seen("/film").split_off(before.len());
        asked.iter().filter_map(|seen| seen.field("range").map(parts::range)).collect::<Vec<_>>()
    };
    let at = |chunk: u64| chunk * CHUNK;
    let first = ask(at(100) + 5, at(103) + 5).await;
    assert_eq!(first, [(at(100), Some(at(104) - 1))]);
    assert_eq!(ask(at(101), at(103)).await, []);
    assert_eq!(ask(at(102), at(106) - 1).await, [(at(104), Some(at(106) - 1))]);
    // A hole between what is there; and something on both sides of what is there.
    assert_eq!(ask(at(110), at(111) - 1).await, [(at(110), Some(at(111) - 1))]);
    assert_eq!(ask(at(105), at(111) - 1).await, [(at(106), Some(at(110) - 1))]);
    assert_eq!(ask(at(99), at(112) - 1).await, [(at(99), Some(at(100) - 1)), (at(111), Some(at(112) - 1))]);
    asked_well(&origin.seen("/film"), &film);
    gate.open();
    edge.get("/film").await.expect_body(200, film.bytes(0, LONG));
    edge.settled().await;
    let requests = origin.hits("/film");
    right(&edge.ask(&ranged("/film", "bytes=0-0")).await, &film, &[(0, 0)]);
    edge.get("/film").await.expect_body(200, film.bytes(0, LONG));
    assert_eq!(origin.hits("/film"), requests);
    edge.outcomes("failed", 0).await;
}

#[tokio::test]
async fn many_who_seek_to_one_place_are_one_request() {
    let film = Film::new(1, LONG);
    let (origin, gate) = (Origin::start().await, Gate::new());
    let (answer, held) = (film.answer(), gate.clone());
    origin.on_call("/film", move |seen, _| match seen.field("range") {
        None | Some("bytes=0-") => answer.clone().pause(HELD as usize, &held),
        Some(_) => answer.clone().pause(100_000, &held),
    });
    let edge = Edge::before(&origin, "").await;
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..30u64 {
        let address = edge.address("web").await;
        let film = film.clone();
        clients.spawn(async move {
            let (first, last) = (40_000_000 + n * 1000, 40_000_000 + n * 1000 + 500_000);
            let request = ranged("/film", &format!("bytes={first}-{last}"));
            let reply = match n % 2 {
                0 => crate::support::client::Client::connect(address).await.ask(&request).await,
                _ => crate::support::h2::H2::connect(address).await.ask(&request).await,
            };
            right(&reply, &film, &[(first, last)]);
        });
    }
    gate.arrived(1).await;
    crate::support::deadline::eventually("all of them before the edge", async || {
        edge.metric("lectern_connections", &["web"]).await >= 30.0
    })
    .await;
    gate.open();
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    // From the chunk of the first to that of the last: no byte of a range came twice.
    let needed = (40_529_000 / CHUNK + 1 - 40_000_000 / CHUNK) * CHUNK;
    let ranges: Vec<_> =
        origin.seen("/film").into_iter().filter(|seen| seen.field("range").is_some()).collect();
    let brought: u64 = ranges.iter().map(|seen| seen.sent as u64).sum();
    assert!(brought <= needed, "{brought} bytes of {needed}: {:?}", origin.ranges("/film"));
    asked_well(&origin.seen("/film"), &film);
    edge.outcomes("failed", 0).await;
}

#[tokio::test]
async fn without_ranges_or_a_tag_that_names_the_bytes_a_cold_range_is_one_whole_fill() {
    let film = Film::new(1, 30 << 20);
    type Told = fn(&Film, &Seen) -> Answer;
    let rows: [(&str, Told); 9] = [
        ("says none", |film, _| film.answer().no_ranges().field("Accept-Ranges", "none")),
        ("ignores", |film, _| film.answer().no_ranges()),
        ("says bytes and ignores", |film, _| film.answer().no_ranges().field("Accept-Ranges", "bytes")),
        ("416 to any", |film, seen| match seen.field("range") {
            Some(_) => {
                Answer::new(416, "").chunked().field("Content-Range", format!("bytes */{}", film.length))
            }
            None => film.answer().no_ranges(),
        }),
        ("weak tag", |film, _| film.answer().instead("ETag", "W/\"1\"")),
        ("date", |film, _| {
            let mut answer = film.answer().field("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT");
            answer.fields.retain(|(name, _)| name != "ETag");
            answer
        }),
        ("nothing", |film, _| {
            let mut answer = film.answer();
            answer.fields.retain(|(name, _)| name != "ETag");
            answer
        }),
        ("wrong place", |film, seen| match seen.field("range") {
            Some(range) if range != "bytes=0-" => {
                film.answer().part(0, 1000).instead("Content-Range", "bytes 0-999/31457280")
            }
            _ => film.answer(),
        }),
        ("no place", |film, seen| match seen.field("range") {
            Some(range) if range != "bytes=0-" => {
                let mut answer = film.answer().part(0, 1000);
                answer.fields.retain(|(name, _)| name != "Content-Range");
                answer
            }
            _ => film.answer(),
        }),
    ];
    for (name, told) in rows {
        let origin = Origin::start().await;
        let of = film.clone();
        origin.on_call("/film", move |seen, _| told(&of, seen));
        let edge = Edge::before(&origin, "").await;
        // Short enough to be fetched to its end though nobody reads it. Two seeks and a third that has all of it: the origin's lies are found out and cost no answer.
        for range in [(20_000_000, 20_000_099), (5, 5), (31_457_000, 31_457_279)] {
            let request = ranged("/film", &format!("bytes={}-{}", range.0, range.1));
            let reply = edge.ask(&request).await;
            assert!(reply.clean(), "{name}: {:?}: {reply}", origin.ranges("/film"));
            let reply = reply.expect_body(206, film.bytes(range.0, range.1 + 1));
            let place = format!("bytes {}-{}/31457280", range.0, range.1);
            assert_eq!(reply.field("content-range"), Some(&*place), "{name}");
            edge.settled().await;
        }
        edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
        let asked = origin.seen("/film");
        let whole = asked.iter().filter(|seen| seen.sent as u64 == film.length).count();
        assert_eq!(whole, 1, "{name}: {:?}", origin.ranges("/film"));
        let told: Vec<_> = asked.iter().map(|seen| (seen.field("range"), seen.sent, seen.gone)).collect();
        assert!(asked.len() <= 4, "{name}: {told:?}");
        edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
        assert_eq!(origin.hits("/film"), asked.len(), "{name}");
        edge.outcomes("failed", 0).await;
    }
}

#[tokio::test]
async fn a_seek_that_the_origin_answers_whole_while_the_whole_comes_is_no_second_whole() {
    let film = Film::new(1, LONG);
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/film", film.answer().no_ranges().pause(HELD as usize, &gate));
    let edge = Edge::before(&origin, "").await;
    let mut first = edge.client().await;
    first.send(&Request::get("/film").bytes()).await;
    gate.arrived(1).await;
    let mut seeks = Vec::new();
    for range in [(60_000_000, 60_000_099), (LONG - 1, LONG - 1), (40_000_000, 40_999_999)] {
        let mut client = edge.client().await;
        client.send(&ranged("/film", &format!("bytes={}-{}", range.0, range.1)).bytes()).await;
        let reply = client.head("GET").await;
        seeks.push((client, reply, range));
    }
    gate.open();
    for (mut client, mut reply, range) in seeks {
        client.rest(&mut reply).await;
        right(&reply, &film, &[range]);
    }
    first.reply("GET").await.expect_body(200, film.bytes(0, LONG));
    edge.settled().await;
    let whole = origin.seen("/film").iter().filter(|seen| seen.sent as u64 == LONG).count();
    assert_eq!(whole, 1, "{:?}", origin.ranges("/film"));
    assert!(origin.hits("/film") <= 4, "each seek tries once at most: {:?}", origin.ranges("/film"));
    edge.get("/film").await.expect_body(200, film.bytes(0, LONG));
    edge.outcomes("failed", 0).await;
}

#[tokio::test]
async fn g03_ranges_of_two_versions_are_never_one_body() {
    let old = Film::new(1, 40 << 20);
    for (new, obeys) in [
        (Film::new(2, 40 << 20), true),
        (Film::new(2, 40 << 20), false),
        (Film::new(2, (40 << 20) - 99), true),
        (Film::new(2, (40 << 20) - 99), false),
    ] {
        let origin = Origin::start().await;
        let _gate = seekable(&origin, "/film", &old);
        let edge = Edge::before(&origin, "").await;
        right(&edge.ask(&ranged("/film", "bytes=0-1048575")).await, &old, &[(0, 1_048_575)]);
        right(
            &edge.ask(&ranged("/film", "bytes=20000000-20999999")).await,
            &old,
            &[(20_000_000, 20_999_999)],
        );
        origin.down().await;
        let then = new.clone();
        origin.on_call("/film", move |seen, _| match seen.field("range") {
            Some(range) if !obeys => then.answer().cut_to(range),
            _ => then.answer(),
        });
        origin.up();
        for http2 in [false, true] {
            let request = Request::get("/film");
            let reply = if http2 { edge.h2().await.ask(&request).await } else { edge.ask(&request).await };
            let (is_old, is_new) = (old.is_at(0, &reply.body), new.is_at(0, &reply.body));
            assert!(is_old || is_new, "a mixture: {reply}");
            assert!(!reply.clean() || is_new, "the old one was not there: {reply}");
            let tag = if is_new { new.tag() } else { old.tag() };
            assert!(reply.body.is_empty() || reply.field("etag") == Some(&tag), "{reply}");
        }
        let reply = edge.get("/film").await.expect_body(200, new.bytes(0, new.length));
        assert_eq!(reply.field("etag"), Some(&*new.tag()));
        right(
            &edge.ask(&ranged("/film", "bytes=20000000-20999999")).await,
            &new,
            &[(20_000_000, 20_999_999)],
        );
        assert!(edge.outcome("failed").await <= 1, "what was seen to be old once is gone");
    }
}

#[tokio::test]
async fn after_a_purge_no_part_of_the_old_body_serves_and_its_tag_is_not_asked_about() {
    let (old, new) = (Film::new(1, LONG), Film::new(2, LONG));
    let origin = Origin::start().await;
    let gate = seekable(&origin, "/film", &old);
    let edge = Edge::before(&origin, "").await;
    right(&edge.ask(&ranged("/film", "bytes=30000000-30999999")).await, &old, &[(30_000_000, 30_999_999)]);
    edge.purge("http://lms-a.example/film").await;
    let before = origin.hits("/film");
    let held = seekable(&origin, "/film", &new);
    for _ in 0..2 {
        let reply = edge.ask(&ranged("/film", "bytes=30000000-30999999")).await;
        right(&reply, &new, &[(30_000_000, 30_999_999)]);
        assert_eq!(reply.field("etag"), Some(&*new.tag()));
    }
    let asked = origin.seen("/film").split_off(before);
    let names_old = |seen: &Seen| seen.fields.iter().any(|(_, value)| *value == old.tag());
    assert!(!asked.is_empty() && !asked.iter().any(names_old), "{asked:#?}");
    gate.open();
    held.open();
    edge.get("/film").await.expect_body(200, new.bytes(0, LONG));
}

#[tokio::test]
async fn a_purge_while_a_range_is_on_its_way_covers_it() {
    let (old, new) = (Film::new(1, LONG), Film::new(2, LONG));
    let (origin, gate, held) = (Origin::start().await, Gate::new(), Gate::new());
    let (answer, ranges, whole) = (old.answer(), gate.clone(), held.clone());
    origin.on_call("/film", move |seen, _| match seen.field("range") {
        None | Some("bytes=0-") => answer.clone().pause(HELD as usize, &whole),
        Some(_) => answer.clone().pause(100_000, &ranges),
    });
    let edge = Edge::before(&origin, "").await;
    let mut early = edge.client().await;
    early.send(&ranged("/film", "bytes=30000000-30999999").bytes()).await;
    gate.arrived(1).await;
    edge.purge("http://lms-a.example/film").await;
    origin.on("/film", new.answer());
    gate.open();
    held.open();
    // Who came before may have the old bytes, all of them, or a cut.
    let early = early.reply("GET").await;
    let bytes = &early.body;
    assert!(old.is_at(30_000_000, bytes) || new.is_at(30_000_000, bytes), "{early}");
    edge.settled().await;
    for range in [(30_000_000, 30_999_999), (0, 99), (60_000_000, 60_000_099)] {
        let reply = edge.ask(&ranged("/film", &format!("bytes={}-{}", range.0, range.1))).await;
        right(&reply, &new, &[range]);
    }
    edge.get("/film").await.expect_body(200, new.bytes(0, LONG));
}

#[tokio::test]
async fn a_range_that_is_there_is_served_while_the_origin_is_down_and_the_rest_is_no_answer() {
    let film = Film::new(1, LONG);
    let origin = Origin::start().await;
    let _gate = seekable(&origin, "/film", &film);
    let edge = Edge::before(&origin, "").await;
    right(&edge.ask(&ranged("/film", "bytes=30000000-30999999")).await, &film, &[(30_000_000, 30_999_999)]);
    origin.down().await;
    edge.settled().await;
    for http2 in [false, true] {
        let h2 = edge.h2().await;
        let ask = async |request: &Request| {
            if http2 { h2.ask(request).await } else { edge.ask(request).await }
        };
        let there = ask(&ranged("/film", "bytes=30000000-30000099")).await;
        right(&there, &film, &[(30_000_000, 30_000_099)]);
        for range in ["bytes=50000000-50000099", "bytes=30000000-50000099", "bytes=-1"] {
            let reply = ask(&ranged("/film", range)).await;
            assert!(reply.status == 502 || !reply.clean(), "{range}: {reply}");
        }
        let whole = ask(&Request::get("/film")).await;
        assert!(whole.status == 502 || !whole.clean(), "{whole}");
    }
    origin.up();
    edge.get("/film").await;
    edge.outcomes("hit", 2).await;
}

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Asks for something of a film, reads it or leaves; panics if a byte of it is wrong, and returns what did not come whole.
async fn anything(to: std::net::SocketAddr, path: &str, film: &Film, random: &mut Random) -> Option<Reply> {
    let n = film.length;
    let (first, length) = (random.below(n), 1 + random.below(n / 2));
    let range = match random.below(6) {
        0 => None,
        1 => Some(format!("bytes={first}-")),
        2 => Some(format!("bytes=-{length}")),
        3 => Some(format!("bytes={first}-{first},{}-{}", random.below(n), n)),
        _ => Some(format!("bytes={first}-{}", first + length)),
    };
    let mut request = Request::get(path);
    if let Some(range) = &range {
        request = request.field("Range", range);
    }
    let reply = if random.below(2) == 0 {
        let mut client = crate::support::client::Client::connect(to).await;
        client.send(&request.bytes()).await;
        let mut reply = client.head("GET").await;
        if random.below(4) == 0 {
            client.at_least(&mut reply, usize::try_from(length / 2).unwrap()).await;
            client.abort();
            return None;
        }
        client.rest(&mut reply).await;
        reply
    } else {
        crate::support::h2::H2::connect(to).await.ask(&request).await
    };
    match (reply.status, reply.clean()) {
        (200, true) => {
            assert!(reply.body.len() as u64 == n && film.is_at(0, &reply.body), "{range:?} {reply}")
        }
        (200, false) => assert!(film.is_at(0, &reply.body), "{range:?} {reply}"),
        (206, true) => {
            let parts = parts(&reply);
            assert!(parts.iter().all(|part| film.is_at(part.first, &part.bytes)), "{range:?} {reply}");
            assert!(
                parts.iter().all(|part| part.length.is_none_or(|length| length == n)),
                "{range:?} {reply}"
            );
        }
        (206 | 502 | 0, false) | (502, true) => {}
        _ => panic!("{range:?} {reply}"),
    }
    Some(reply).filter(|reply| !reply.clean() || reply.status == 502)
}

/// Six clients at once ask for anything in any way.
async fn hammer(seed: u64, window: &str, ways: &[&'static str]) {
    let origin = Origin::start().await;
    let film = |n: usize| Film::new(n as u64, (3 << 20) + n as u64 * 100_003 + 1);
    for (n, way) in ways.iter().copied().enumerate() {
        let (film, chance) = (film(n), std::sync::Mutex::new(Random(seed ^ n as u64)));
        origin.on_call(&format!("/{way}"), move |_, _| match way {
            "ignores" => film.answer().no_ranges(),
            "weak" => film.answer().instead("ETag", "W/\"1\""),
            "chunked" => film.answer().chunked(),
            "cuts" if chance.lock().unwrap().below(3) == 0 => film.answer().closes_after(1_000_000),
            _ => film.answer(),
        });
    }
    let settings = format!("[cache]\nmemory = \"8MiB\"\nbody_limit = \"8MiB\"\nfill_window = \"{window}\"\n");
    let edge = Edge::before(&origin, &settings).await;
    let (address, mut clients) = (edge.address("web").await, tokio::task::JoinSet::new());
    for client in 0..6 {
        let ways = ways.to_vec();
        clients.spawn(async move {
            let mut random = Random(seed.wrapping_add(client));
            for _ in 0..40 {
                let n = random.below(ways.len() as u64) as usize;
                let lost = anything(address, &format!("/{}", ways[n]), &film(n), &mut random).await;
                if let Some(reply) = lost.filter(|_| ways[n] != "cuts") {
                    return Some(format!("{}: an origin that did nothing wrong: {reply}", ways[n]));
                }
            }
            None
        });
    }
    if let Some(lost) = clients.join_all().await.into_iter().flatten().next() {
        let mut log = edge.log(1).await;
        log.retain(|line| line["fault"] == "edge" || line["fault"] == "origin");
        panic!("{lost}\n{log:#?}");
    }
    edge.settled().await;
    let failed = edge.metric("lectern_requests_failed_total", &["fault=\"edge\""]).await;
    assert_eq!(failed, 0.0, "by the edge's fault");
    for (n, way) in ways.iter().enumerate() {
        origin.on(&format!("/{way}"), film(n).answer());
        edge.get(&format!("/{way}")).await.expect_body(200, film(n).bytes(0, film(n).length));
    }
}

#[tokio::test]
async fn whatever_is_asked_at_once_of_a_small_memory_no_byte_is_wrong() {
    let told = std::env::var("LECTERN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = told.unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
    println!("LECTERN_SEED={seed}");
    // What cannot be had again is held as far as the window goes.
    hammer(seed, "4MiB", &["obeys", "ignores", "weak", "chunked", "cuts"]).await;
    hammer(seed, "1MiB", &["obeys", "ignores", "chunked", "cuts"]).await;
}
