//! A fill that is cut is continued if its bytes have a name, and what nobody reads to its end is not lost (G06, G16).

use bytes::Bytes;
use http::Response;

use crate::support::{
    answer::{After, Answer},
    edge::Edge,
    film::Film,
    gate::Gate,
    h2_origin::{H2Origin, begin},
    message::{End, Reply, Request},
    origin::{Origin, Seen},
    parts,
};

const CHUNK: u64 = 256 << 10;
/// Where it is cut: in the third chunk.
const CUT: usize = 600_000;
const SEALED: u64 = 2 * CHUNK;

fn film() -> Film {
    Film::new(1, 2_000_000)
}

async fn ask(edge: &Edge, request: &Request, http2: bool) -> Reply {
    if http2 { edge.h2().await.ask(request).await } else { edge.ask(request).await }
}

#[track_caller]
fn unclean(reply: &Reply) {
    assert!(matches!(reply.end, End::Unclean(_)), "an unclean end was expected: {reply}");
}

/// Continues from a chunk's first byte, at most where it broke off, bound to the film's tag.
#[track_caller]
fn continues(seen: &Seen, film: &Film, at_most: u64) {
    let range = seen.field("range").unwrap_or_else(|| panic!("not continued: {seen:?}"));
    let (first, last) = parts::range(range);
    assert!(first.is_multiple_of(CHUNK) && first <= at_most, "{range}");
    assert!(last.is_none_or(|last| last + 1 == film.length), "{range}");
    assert_eq!(seen.field("if-range"), Some(&*film.tag()), "{seen:?}");
    assert_eq!(seen.field("if-none-match"), None, "{seen:?}");
}

#[tokio::test]
async fn a_cut_fill_goes_on_from_its_last_whole_chunk_and_nobody_notices() {
    let film = film();
    let (edge_of, whole) = (Origin::start().await, film.bytes(0, film.length));
    let edge = Edge::before(&edge_of, "").await;
    let answer = || film.answer();
    let cuts = [
        ("fin", answer().closes_after(CUT)),
        ("rst", answer().resets_after(CUT)),
        ("chunked-fin", answer().chunked().closes_after(CUT)),
        ("chunked-rst", answer().chunked().resets_after(CUT)),
        ("garbage", answer().chunked().closes_after(CUT)),
    ];
    let mut asked = 0;
    for (kind, cut) in cuts {
        for http2 in [false, true] {
            let path = format!("/{kind}/{http2}");
            edge_of.on_each(&path, vec![cut.clone(), answer()]);
            let reply = ask(&edge, &Request::get(&path), http2).await.expect_body(200, &whole);
            assert_eq!(reply.field("etag"), Some(&*film.tag()));
            let seen = edge_of.seen(&path);
            assert_eq!(seen.len(), 2, "{path}: {:?}", edge_of.ranges(&path));
            continues(&seen[1], &film, SEALED);
            if kind.ends_with("fin") {
                assert_eq!(parts::range(seen[1].field("range").unwrap()).0, SEALED, "{path}");
            }
            // It is stored as if nothing had happened.
            let hit = edge.get(&path).await.expect_body(200, &whole);
            assert_eq!(hit.field("content-length"), Some("2000000"));
            assert_eq!(edge_of.hits(&path), 2, "{path}");
            asked += 1;
        }
    }
    edge.outcomes("miss", asked).await;
    edge.outcomes("hit", asked).await;
    assert_eq!(edge.outcome("failed").await, 0);
}

#[tokio::test]
async fn a_cut_before_the_first_whole_chunk_and_one_at_the_end_are_continued_or_failed_but_never_short() {
    let film = film();
    let whole = film.bytes(0, film.length);
    let last = usize::try_from(film.length).unwrap() - 1;
    for at in [0, 1, 262_143, 262_144, 262_145, 1_835_008, last] {
        for chunked in [false, true] {
            let origin = Origin::start().await;
            let answer = film.answer().closes_after(at);
            let cut = if chunked { answer.chunked() } else { answer };
            origin.on_each("/film", vec![cut, film.answer()]);
            let edge = Edge::before(&origin, "").await;
            let reply = edge.get("/film").await;
            assert!(film.is_at(0, &reply.body), "{at}: {reply}");
            assert!(reply.body == whole || !reply.clean() || reply.status == 502, "{at}: {reply}");
            edge.get("/film").await.expect_body(200, &whole);
            for seen in &origin.seen("/film")[1..] {
                if let Some(range) = seen.field("range") {
                    continues(seen, &film, at as u64);
                    assert_ne!(parts::range(range).0 + 1, film.length, "never one byte");
                }
            }
            assert!(origin.hits("/film") <= 3, "{at}: {:?}", origin.ranges("/film"));
        }
    }
}

#[tokio::test]
async fn all_readers_of_a_cut_fill_go_on_by_one_request() {
    let film = film();
    let (origin, gate, second) = (Origin::start().await, Gate::new(), Gate::new());
    let (told, held, later) = (film.clone(), gate.clone(), second.clone());
    origin.on_call("/film", move |_, n| match n {
        0 => told.answer().closes_after(CUT).pause(CUT, &held),
        _ => told.answer().behind(&later),
    });
    let edge = Edge::before(&origin, "").await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        let mut client = edge.client().await;
        client.send(&Request::get("/film").bytes()).await;
        let reply = client.head("GET").await;
        readers.push((client, reply));
    }
    gate.open();
    second.arrived(1).await;
    // Who comes while it is asked again reads along.
    let mut late = edge.client().await;
    late.send(&Request::get("/film").bytes()).await;
    let mut reply = late.head("GET").await;
    late.at_least(&mut reply, SEALED as usize).await;
    readers.push((late, reply));
    let range = edge.ask(&Request::get("/film").field("Range", "bytes=100-199")).await;
    range.expect_body(206, film.bytes(100, 200));
    second.open();
    for (mut client, mut reply) in readers {
        client.rest(&mut reply).await;
        reply.expect_body(200, film.bytes(0, film.length));
    }
    assert_eq!(origin.hits("/film"), 2, "{:?}", origin.ranges("/film"));
    edge.outcomes("joined", 6).await;
    assert_eq!(edge.outcome("failed").await, 0);
}

#[tokio::test]
async fn a_fill_is_continued_twice_and_then_fails_and_the_next_client_goes_on_where_it_stopped() {
    let film = film();
    let origin = Origin::start().await;
    // Each answer brings about 600,000 bytes more, the fourth the rest.
    let told = film.clone();
    origin.on_call("/film", move |_, n| match n {
        0..=2 => told.answer().closes_after(CUT),
        _ => told.answer(),
    });
    let edge = Edge::before(&origin, "").await;
    let reply = edge.get("/film").await;
    unclean(&reply);
    // The reset may overtake bytes that were sent before it.
    assert!(film.is_at(0, &reply.body), "{reply}");
    let seen = origin.seen("/film");
    assert_eq!(seen.len(), 3, "{:?}", origin.ranges("/film"));
    assert_eq!(parts::range(seen[1].field("range").unwrap()).0, SEALED);
    assert_eq!(parts::range(seen[2].field("range").unwrap()).0, 2 * SEALED);
    edge.outcomes("failed", 1).await;
    let log = edge.log(1).await;
    assert_eq!((&log[0]["fault"], &log[0]["complete"]), (&"origin".into(), &false.into()), "{log:#?}");
    assert!(log[0]["bytes"].as_u64().unwrap() >= 3 * SEALED, "{log:#?}");
    edge.settled().await;
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    assert_eq!(origin.hits("/film"), 4);
    continues(&origin.last("/film"), &film, 3 * SEALED);
    assert_eq!(parts::range(origin.last("/film").field("range").unwrap()).0, 3 * SEALED);
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    assert_eq!(origin.hits("/film"), 4);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn without_a_tag_that_names_the_bytes_a_cut_is_a_cut() {
    let film = film();
    let modified = "Mon, 01 Jan 2024 00:00:00 GMT";
    let bare = |mut answer: Answer| {
        answer.fields.retain(|(name, _)| name != "ETag");
        answer
    };
    let rule = |validator: &str| {
        format!(
            "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"cache\"\nvalidator = \"{validator}\"\n"
        )
    };
    let pass = "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"pass\"\n".to_owned();
    let rows = [
        ("weak", film.answer().instead("ETag", "W/\"1\""), String::new()),
        ("date", bare(film.answer()).field("Last-Modified", modified), String::new()),
        ("nothing", bare(film.answer()), String::new()),
        ("time by rule", film.answer().field("Last-Modified", modified), rule("time")),
        ("none by rule", film.answer(), rule("none")),
        ("not stored", film.answer().instead("Cache-Control", "no-store"), String::new()),
        ("private", film.answer().instead("Cache-Control", "private"), String::new()),
        ("passed", film.answer(), pass),
    ];
    for (name, answer, config) in rows {
        for http2 in [false, true] {
            let origin = Origin::start().await;
            origin.on_each("/film", vec![answer.clone().closes_after(CUT), answer.clone()]);
            let edge = Edge::before(&origin, &config).await;
            let reply = ask(&edge, &Request::get("/film"), http2).await;
            unclean(&reply);
            assert!(reply.body.len() <= CUT && film.is_at(0, &reply.body), "{name}: {reply}");
            edge.settled().await;
            assert_eq!(origin.hits("/film"), 1, "{name}");
            edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
            assert_eq!(origin.ranges("/film"), [None, None], "{name}: nothing was kept");
            edge.outcomes("failed", 1).await;
        }
    }
}

#[tokio::test]
async fn what_an_origin_sends_that_does_not_continue_is_not_glued_on() {
    let (film, other) = (film(), Film::new(2, 2_000_000));
    let sealed = SEALED as usize;
    let tag = film.tag();
    let without = |mut answer: Answer, gone: &str| {
        answer.fields.retain(|(name, _)| name != gone);
        answer
    };
    let part = |film: &Film| film.answer().part(sealed, 2_000_000);
    let rows: Vec<(&str, Answer)> = vec![
        ("another version", part(&other)),
        ("another version without a tag", without(part(&other), "ETag")),
        ("other bytes under the tag", part(&other).instead("ETag", &tag)),
        ("the whole", film.answer().no_ranges()),
        ("another whole", other.answer().no_ranges()),
        ("an earlier place", film.answer().part(0, 2_000_000)),
        ("a later place", film.answer().part(sealed + 1, 2_000_000)),
        ("a place it does not say", without(part(&film), "Content-Range")),
        ("no place", part(&film).instead("Content-Range", "bytes */2000000")),
        ("another length", part(&film).instead("Content-Range", "bytes 524288-1999999/2000001")),
        ("a shorter part", film.answer().part(sealed, 1_999_990)),
        ("a weak tag", part(&film).instead("ETag", format!("W/{tag}"))),
        ("coded", part(&film).field("Content-Encoding", "gzip")),
        ("416", Answer::new(416, "").field("Content-Range", "bytes */2000000")),
        ("304", film.answer().no_ranges().without_body(304)),
        ("404", Answer::new(404, "gone")),
        ("503", Answer::new(503, "busy")),
        ("hang up", Answer::hang_up()),
    ];
    for (name, lie) in rows {
        for chunked in [false, true] {
            let origin = Origin::start().await;
            let cut = film.answer().closes_after(CUT);
            let cut = if chunked { cut.chunked() } else { cut };
            // To whatever it is asked again first: the lie, twice; then the truth.
            origin.on_each("/film", vec![cut, lie.clone(), lie.clone(), film.answer()]);
            let edge = Edge::before(&origin, "").await;
            let reply = edge.get("/film").await;
            assert!(film.is_at(0, &reply.body), "{name}: {reply}");
            assert!(!reply.clean() || reply.body.len() == 2_000_000, "{name}: short: {reply}");
            edge.settled().await;
            assert!(origin.hits("/film") <= 3, "{name}: {:?}", origin.ranges("/film"));
            origin.on("/film", film.answer());
            let next = edge.get("/film").await;
            // The other version may have been learned; then it is whole, and the truth comes by a purge.
            if !next.clean() || !film.is_at(0, &next.body) {
                assert!(!next.clean() || other.is_at(0, &next.body), "{name}: {next}");
                edge.purge("http://lms-a.example/film").await;
            }
            for _ in 0..2 {
                edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_an_http_2_origin_resets_is_continued() {
    let film = film();
    let told = film.clone();
    let origin = H2Origin::start(move |request, mut respond| {
        let film = told.clone();
        async move {
            let asked =
                |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            let head = Response::builder()
                .header("cache-control", "public, max-age=600")
                .header("etag", film.tag())
                .header("accept-ranges", "bytes");
            match asked("range") {
                None => {
                    let head = head.header("content-length", "2000000").body(()).unwrap();
                    let mut sending = begin(&mut respond, head, film.bytes(0, CUT as u64)).await;
                    sending.send_reset(h2::Reason::INTERNAL_ERROR);
                }
                Some(range) => {
                    assert_eq!(asked("if-range"), Some(film.tag()));
                    let (first, _) = parts::range(&range);
                    let place = format!("bytes {first}-1999999/2000000");
                    let head = head.status(206).header("content-range", place).body(()).unwrap();
                    let mut sending = begin(&mut respond, head, film.bytes(first, 2_000_000)).await;
                    sending.send_data(Bytes::new(), true).unwrap();
                }
            }
        }
    })
    .await;
    let edge = Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\nhttp = \"2\"\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
        origin.addr()
    ))
    .await;
    for (n, http2) in [(1, false), (2, true)] {
        let path = format!("/{n}");
        ask(&edge, &Request::get(&path), http2).await.expect_body(200, film.bytes(0, film.length));
        assert_eq!(origin.streams(), 2 * n);
    }
    edge.get("/1").await.expect_body(200, film.bytes(0, film.length));
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_not_continued_and_leaves_nothing() {
    let film = film();
    let origin = Origin::start().await;
    // By its tag it could be; but where it ends nobody can tell, so nothing of it is kept.
    origin.on("/film", Answer { after: After::Reset, ..film.answer().until_close().resets_after(CUT) });
    let edge = Edge::before(&origin, "").await;
    let reply = edge.get("/film").await;
    unclean(&reply);
    edge.settled().await;
    assert_eq!(origin.hits("/film"), 1);
    origin.on("/film", film.answer());
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    assert_eq!(origin.ranges("/film"), [None, None]);
    edge.outcomes("failed", 1).await;
}

#[tokio::test]
async fn what_a_purge_covered_is_not_gone_on_with_for_who_comes_later() {
    let (old, new) = (film(), Film::new(2, 2_000_000));
    let (origin, gate) = (Origin::start().await, Gate::new());
    let (told, held) = (old.clone(), gate.clone());
    origin.on_call("/film", move |_, n| match n {
        0 => told.answer().closes_after(CUT).pause(CUT, &held),
        _ => told.answer(),
    });
    let edge = Edge::before(&origin, "").await;
    let mut early = edge.client().await;
    early.send(&Request::get("/film").bytes()).await;
    gate.arrived(1).await;
    edge.purge("http://lms-a.example/film").await;
    gate.open();
    // Who came before it may have the rest of the old one.
    let early = early.reply("GET").await;
    assert!(old.is_at(0, &early.body), "{early}");
    edge.settled().await;
    origin.on("/film", new.answer());
    let before = origin.hits("/film");
    for _ in 0..2 {
        edge.get("/film").await.expect_body(200, new.bytes(0, new.length));
    }
    let asked = origin.seen("/film").split_off(before);
    assert_eq!(asked.len(), 1);
    assert!(asked[0].field("range").is_none() && asked[0].field("if-range").is_none(), "{asked:#?}");
}

/// A client that takes so many bytes and leaves.
async fn leaves(edge: &Edge, path: &str, bytes: usize, http2: bool) {
    if http2 {
        let h2 = edge.h2().await;
        let mut stream = h2.open(&Request::get(path)).await.unwrap();
        let mut reply = stream.head().await;
        while reply.end == End::Open && reply.body.len() < bytes {
            stream.piece(&mut reply).await;
        }
        stream.reset(h2::Reason::CANCEL);
        h2.get("/ping").await.expect(200);
    } else {
        let mut client = edge.client().await;
        client.send(&Request::get(path).bytes()).await;
        let mut reply = client.head("GET").await;
        client.at_least(&mut reply, bytes).await;
        client.abort();
    }
}

#[tokio::test]
async fn g16_what_nobody_reads_any_more_stops_and_the_next_client_gets_the_rest_only() {
    let film = Film::new(1, 64 << 20);
    for http2 in [false, true] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        origin.on("/ping", Answer::storable("pong"));
        let (told, held) = (film.clone(), gate.clone());
        origin.on_call("/film", move |_, n| match n {
            0 => told.answer().pause(3 << 20, &held),
            _ => told.answer(),
        });
        let edge = Edge::before(&origin, "").await;
        leaves(&edge, "/film", 2 << 20, http2).await;
        origin.until("/film", "a peer that left", |seen| seen.gone).await;
        edge.settled().await;
        edge.outcomes("failed", 1).await;
        let first = origin.last("/film").sent as u64;
        // What came is there, and answers for itself.
        let reply = edge.ask(&Request::get("/film").field("Range", "bytes=100-199")).await;
        reply.expect_body(206, film.bytes(100, 200));
        assert_eq!(origin.hits("/film"), 1);
        // Nothing says that it is all: the length is that of the whole.
        let head = edge.ask(&Request::new("HEAD", "/film")).await.expect_body(200, "");
        assert!(
            head.field("content-length").is_none_or(|length| length == film.length.to_string()),
            "{head}"
        );
        let asked = origin.hits("/film");
        edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
        assert_eq!(origin.hits("/film"), asked + 1, "{:?}", origin.ranges("/film"));
        let rest = origin.last("/film");
        continues(&rest, &film, first);
        let (from, _) = parts::range(rest.field("range").unwrap());
        // What its reader had, the edge has.
        assert!((2 << 20..=first).contains(&from), "from {from} though {first} came");
        edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
        assert_eq!(origin.hits("/film"), asked + 1);
        gate.open();
    }
}

#[tokio::test]
async fn g16_without_a_name_for_its_bytes_what_nobody_reads_is_dropped() {
    let film = Film::new(1, 64 << 20);
    let (origin, gate) = (Origin::start().await, Gate::new());
    let (told, held) = (film.clone(), gate.clone());
    origin.on_call("/film", move |_, n| {
        let answer = told.answer().instead("ETag", "W/\"1\"");
        if n == 0 { answer.pause(3 << 20, &held) } else { answer }
    });
    let edge = Edge::before(&origin, "").await;
    leaves(&edge, "/film", 2 << 20, false).await;
    origin.until("/film", "a peer that left", |seen| seen.gone).await;
    edge.settled().await;
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    assert_eq!(origin.ranges("/film"), [None, None]);
    edge.outcomes("failed", 1).await;
    gate.open();
}

#[tokio::test]
async fn g16_a_film_of_thirty_mebibytes_comes_whole_though_nobody_reads_it() {
    for chunked in [false, true] {
        let film = Film::new(1, 30 << 20);
        let (origin, gate) = (Origin::start().await, Gate::new());
        let answer = film.answer().pause(1 << 20, &gate);
        origin.on("/film", if chunked { answer.chunked() } else { answer });
        let edge = Edge::before(&origin, "").await;
        leaves(&edge, "/film", 500_000, false).await;
        edge.outcomes("failed", 1).await;
        gate.open();
        edge.settled().await;
        edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
        assert_eq!(origin.hits("/film"), 1);
        edge.outcomes("hit", 1).await;
    }
}

#[tokio::test]
async fn g16_of_a_longer_film_the_last_quarter_comes_though_nobody_reads_it() {
    let film = Film::new(1, 64 << 20);
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/film", film.answer().pause(50 << 20, &gate));
    let edge = Edge::before(&origin, "").await;
    leaves(&edge, "/film", 49 << 20, false).await;
    edge.outcomes("failed", 1).await;
    gate.open();
    edge.settled().await;
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
    assert_eq!(origin.hits("/film"), 1);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn nothing_that_is_not_whole_is_served_as_whole() {
    let film = Film::new(1, 64 << 20);
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/film", film.answer().pause(3 << 20, &gate));
    let edge = Edge::before(&origin, "").await;
    leaves(&edge, "/film", 2 << 20, false).await;
    origin.until("/film", "a peer that left", |seen| seen.gone).await;
    edge.settled().await;
    origin.down().await;
    for http2 in [false, true] {
        let reply = ask(&edge, &Request::get("/film"), http2).await;
        assert!(reply.status == 502 || !reply.clean(), "{reply}");
        assert!(reply.status == 502 || film.is_at(0, &reply.body), "{reply}");
        let head = ask(&edge, &Request::new("HEAD", "/film"), http2).await;
        let length = film.length.to_string();
        assert!(head.status == 502 || head.field("content-length") == Some(&length), "{head}");
        let reply = ask(&edge, &Request::get("/film").field("Range", "bytes=0-4999999"), http2).await;
        assert!(reply.status == 502 || !reply.clean(), "{reply}");
        let reply = ask(&edge, &Request::get("/film").field("Range", "bytes=0-99"), http2).await;
        reply.expect_body(206, film.bytes(0, 100));
    }
    // HTTP/1.0 has no unclean end but too few bytes.
    let mut old = edge.client().await;
    old.send(b"GET /film HTTP/1.0\r\nHost: lms-a.example\r\n\r\n").await;
    let reply = old.reply("GET").await;
    assert!(reply.status == 502 || !reply.clean(), "{reply}");
    origin.up();
    gate.open();
    edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
}
