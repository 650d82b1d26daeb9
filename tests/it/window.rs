//! What a fill holds for readers that are behind, and what becomes of them: they fetch it again, or they are cut.

use std::time::Duration;

use crate::support::{
    answer::Answer,
    client::Client,
    deadline::{eventually, within},
    dial::Dial,
    edge::Edge,
    film::{Film, Watched},
    gate::Gate,
    h2::Stream,
    message::{End, Reply, Request},
    origin::Origin,
};

/// Much more than the window and every buffer on the way.
const LENGTH: u64 = 24 << 20;

/// A window of a mebibyte, and so long for who is behind.
fn window(memory: &str, body_limit: &str, lag_limit: &str) -> String {
    format!(
        "[cache]\nmemory = \"{memory}\"\nbody_limit = \"{body_limit}\"\nfill_window = \"1MiB\"\n\
         lag_limit = \"{lag_limit}\"\n"
    )
}

/// One reader at its own pace, of either protocol.
enum Reading {
    One(Box<Client>),
    Two(Stream),
}

impl Reading {
    /// Asks, and reads the head only. A reader that is to stall has small buffers.
    async fn begin(edge: &Edge, request: &Request, http2: bool, stalls: bool) -> (Reading, Reply) {
        let dial = Dial::to(edge.address("web").await);
        if http2 {
            let dial = if stalls { dial.receive_buffer(4096).window(65_535) } else { dial };
            let h2 = dial.h2().await;
            let mut stream = h2.open(request).await.unwrap();
            let reply = stream.head().await;
            (Reading::Two(stream), reply)
        } else {
            let dial = if stalls { dial.receive_buffer(4096) } else { dial };
            let mut client = dial.client().await;
            client.send(&request.bytes()).await;
            let reply = client.head("GET").await;
            (Reading::One(Box::new(client)), reply)
        }
    }

    async fn piece(&mut self, reply: &mut Reply) {
        match self {
            Reading::One(client) => client.piece(reply).await,
            Reading::Two(stream) => stream.piece(reply).await,
        }
    }

    /// Reads to the end, comparing. Tells how far it came.
    async fn rest(&mut self, reply: &mut Reply, watched: &mut Watched) -> u64 {
        watched.take(reply);
        while reply.end == End::Open {
            self.piece(reply).await;
            watched.take(reply);
        }
        watched.at
    }
}

/// The film's answer held shortly after its head, until both readers are there.
fn held(origin: &Origin, answer: &Answer) -> Gate {
    let gate = Gate::new();
    let (answer, both) = (answer.clone(), gate.clone());
    origin.on_call("/film", move |seen, _| match seen.field("range") {
        None => answer.clone().pause(50_000, &both),
        Some(_) => answer.clone(),
    });
    gate
}

/// Both readers of a film, the stalled one with its head read and nothing more.
async fn two(edge: &Edge, both: &Gate, http2: bool) -> ((Reading, Reply), (Reading, Reply)) {
    let request = Request::get("/film");
    let stalled = Reading::begin(edge, &request, http2, true).await;
    assert_eq!(stalled.1.status, 200, "{}", stalled.1);
    let fast = Reading::begin(edge, &request, http2, false).await;
    both.open();
    (stalled, fast)
}

/// Others come until the film is not whole in memory any more behind its first ten mebibytes.
async fn push_out(edge: &Edge) {
    let mut n = 0;
    eventually("a film that is not in memory any more", async || {
        n += 1;
        edge.get(&format!("/other/{}", n % 3)).await.expect(200);
        // Another chunk each time: what is looked at stays.
        let first = (40 + n % 15) * (256 << 10);
        let probe = Request::get("/film").field("Range", &format!("bytes={first}-{}", first + 9));
        edge.ask(&probe.field("Cache-Control", "only-if-cached")).await.status == 504
    })
    .await;
}

/// What pushes it out.
fn others(origin: &Origin, bytes: u64) {
    origin.on_call("/other/*", move |seen, _| {
        let n: u64 = seen.path().rsplit('/').next().unwrap().parse().unwrap();
        Film::new(100 + n, bytes).answer()
    });
}

async fn lagged(edge: &Edge) -> f64 {
    edge.metric("lectern_lagged_readers_total", &[]).await
}

#[tokio::test]
async fn with_a_tag_and_ranges_a_reader_left_behind_fetches_what_it_lacks() {
    let film = Film::new(1, 14 << 20);
    for http2 in [false, true] {
        let origin = Origin::start().await;
        let both = held(&origin, &film.answer());
        others(&origin, 7 << 20);
        let edge = Edge::before(&origin, &window("16MiB", "16MiB", "300ms")).await;
        let ((mut stalled, mut late), (mut fast, mut reply)) = two(&edge, &both, http2).await;
        let mut watched = Watched::from(&film, 0);
        assert_eq!(fast.rest(&mut reply, &mut watched).await, film.length);
        assert!(reply.clean(), "the fast one was held up or cut: {reply}");
        edge.settled().await;
        assert_eq!(origin.ranges("/film"), [None]);
        // Others push it out of memory: what the stalled one has not read yet is nowhere.
        push_out(&edge).await;
        let mut watched = Watched::from(&film, 0);
        assert_eq!(stalled.rest(&mut late, &mut watched).await, film.length);
        assert!(late.clean(), "{late}");
        let fetched: Vec<_> = origin.seen("/film").into_iter().skip(1).collect();
        assert!(!fetched.is_empty());
        for seen in &fetched {
            assert!(seen.field("range").is_some_and(|range| range != "bytes=0-"), "{seen:?}");
            assert_eq!(seen.field("if-range"), Some(&*film.tag()), "{seen:?}");
        }
        let again: u64 = fetched.iter().map(|seen| seen.sent as u64).sum();
        assert!(again <= film.length, "{again} bytes fetched again: {:?}", origin.ranges("/film"));
        assert_eq!(lagged(&edge).await, 0.0);
        assert_eq!(edge.metric("lectern_requests_failed_total", &[]).await, 0.0);
    }
}

#[tokio::test]
async fn a_reader_left_behind_by_a_film_that_was_replaced_is_cut_and_gets_no_mixture() {
    let (film, other) = (Film::new(1, 14 << 20), Film::new(2, 14 << 20));
    for obeys in [true, false] {
        let origin = Origin::start().await;
        let both = held(&origin, &film.answer());
        others(&origin, 7 << 20);
        let edge = Edge::before(&origin, &window("16MiB", "16MiB", "300ms")).await;
        let ((mut stalled, mut late), (mut fast, mut reply)) = two(&edge, &both, false).await;
        fast.rest(&mut reply, &mut Watched::from(&film, 0)).await;
        let then = other.clone();
        origin.on_call("/film", move |seen, _| match seen.field("range") {
            Some(range) if !obeys => then.answer().cut_to(range),
            _ => then.answer(),
        });
        push_out(&edge).await;
        let mut watched = Watched::from(&film, 0);
        let came = stalled.rest(&mut late, &mut watched).await;
        assert!(!late.clean() && came < film.length, "{came} bytes: {late}");
        let log = edge.log(2).await;
        let failed: Vec<_> = log.iter().filter(|line| line["outcome"] == "failed").collect();
        assert!(failed.iter().all(|line| line["fault"] == "origin"), "{log:#?}");
        // Once it is known, all that is served is the new one.
        edge.get("/film").await.expect_body(200, other.bytes(0, other.length));
        assert_eq!(lagged(&edge).await, 0.0);
    }
}

#[tokio::test]
async fn a_chunk_that_memory_let_go_comes_with_the_whole_from_an_origin_that_gives_no_parts() {
    let film = Film::new(1, 14 << 20);
    type Told = fn(&Film, &str) -> Answer;
    let rows: [(&str, Told); 4] = [
        ("whole", |film, _| film.answer().no_ranges()),
        ("416", |film, _| film.answer().without_body(416)),
        ("403", |_, _| Answer::new(403, "no parts")),
        ("another place", |film, _| film.answer().part(0, 1000)),
    ];
    for (name, told) in rows {
        let origin = Origin::start().await;
        let of = film.clone();
        origin.on_call("/film", move |seen, _| match seen.field("range") {
            Some(range) => Answer { ranges: false, ..told(&of, range) },
            None => of.answer(),
        });
        others(&origin, 7 << 20);
        let edge = Edge::before(&origin, &window("16MiB", "16MiB", "10s")).await;
        edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
        push_out(&edge).await;
        let before = origin.hits("/film");
        edge.get("/film").await.expect_body(200, film.bytes(0, film.length));
        let asked = origin.seen("/film").split_off(before);
        let whole = asked.iter().filter(|seen| seen.sent as u64 == film.length).count();
        assert_eq!(whole, 1, "{name}: {asked:?}");
        assert!(asked.len() <= 2, "{name}: {asked:?}");
        edge.outcomes("failed", 0).await;
    }
}

#[tokio::test]
async fn without_them_the_fill_waits_for_the_slowest_and_then_cuts_it_as_lagged() {
    let film = Film::new(1, LENGTH);
    type Told = fn(Answer) -> Answer;
    let rows: [(&str, Told); 4] = [
        ("weak", |answer| answer.instead("ETag", "W/\"1\"")),
        ("nothing", |mut answer| {
            answer.fields.retain(|(name, _)| name != "ETag");
            answer
        }),
        ("chunked", |answer| answer.instead("ETag", "W/\"1\"").chunked()),
        ("not stored", |answer| answer.instead("ETag", "W/\"1\"")),
    ];
    for (name, told) in rows {
        for http2 in [false, true] {
            let origin = Origin::start().await;
            let both = held(&origin, &told(film.answer().no_ranges()));
            // The last one is longer than what may be stored: it only passes through.
            let limit = if name == "not stored" { "8MiB" } else { "32MiB" };
            let edge = Edge::before(&origin, &window("32MiB", limit, "500ms")).await;
            let ((mut stalled, mut late), (mut fast, mut reply)) = two(&edge, &both, http2).await;
            let mut watched = Watched::from(&film, 0);
            assert_eq!(fast.rest(&mut reply, &mut watched).await, LENGTH);
            assert!(reply.clean(), "{name}: {reply}");
            eventually("a reader that lagged", async || lagged(&edge).await == 1.0).await;
            let came = stalled.rest(&mut late, &mut Watched::from(&film, 0)).await;
            assert!(matches!(late.end, End::Unclean(_)), "{name}: {late}");
            assert!(came < LENGTH, "{name}: {came} bytes");
            assert_eq!(origin.hits("/film"), 1, "{name}");
            edge.outcomes("failed", 1).await;
            let log = edge.log(2).await;
            let line = log.iter().find(|line| line["outcome"] == "failed").unwrap();
            assert_eq!(
                (&line["detail"], &line["fault"]),
                (&"lagged".into(), &"client".into()),
                "{name}: {line}"
            );
            assert_eq!(line["complete"], false, "{line}");
            assert_eq!(edge.metric("lectern_requests_failed_total", &["client", "lagged"]).await, 1.0);
            assert_eq!(lagged(&edge).await, 1.0);
            if name != "not stored" {
                edge.get("/film").await.expect_body(200, film.bytes(0, LENGTH));
            }
        }
    }
}

#[tokio::test]
async fn a_slow_reader_that_gets_on_is_waited_for_whatever_it_takes() {
    let film = Film::new(1, LENGTH);
    for http2 in [false, true] {
        let origin = Origin::start().await;
        let both = held(&origin, &film.answer().no_ranges().instead("ETag", "W/\"1\""));
        let edge = Edge::before(&origin, &window("32MiB", "8MiB", "3s")).await;
        let ((mut slow, mut late), (mut fast, mut reply)) = two(&edge, &both, http2).await;
        // Half a mebibyte each tenth of a second: five seconds in all.
        let reads_slowly = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            let mut watched = Watched::from(&film, 0);
            let mut next = 0;
            while late.end == End::Open {
                if watched.at >= next {
                    ticks.tick().await;
                    next += 512 << 10;
                }
                slow.piece(&mut late).await;
                watched.take(&mut late);
            }
            assert_eq!(watched.at, LENGTH, "{late}");
            assert!(late.clean(), "{late}");
        };
        let mut watched = Watched::from(&film, 0);
        let reads_fast = fast.rest(&mut reply, &mut watched);
        let ((), came) = tokio::join!(reads_slowly, reads_fast);
        assert!(reply.clean() && came == LENGTH, "{reply}");
        assert_eq!(origin.hits("/film"), 1);
        assert_eq!(lagged(&edge).await, 0.0);
        assert_eq!(edge.outcome("failed").await, 0);
    }
}

#[tokio::test]
async fn a_stalled_reader_that_holds_up_nobody_is_not_cut_for_it() {
    let film = Film::new(1, LENGTH);
    for tag in ["W/\"1\"", "\"film-1\""] {
        for http2 in [false, true] {
            let origin = Origin::start().await;
            origin.on("/film", film.answer().no_ranges().instead("ETag", tag));
            let edge = Edge::before(&origin, &window("32MiB", "32MiB", "100ms")).await;
            let (mut alone, mut reply) = Reading::begin(&edge, &Request::get("/film"), http2, true).await;
            // Ten times the limit passes.
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            for _ in 0..11 {
                ticks.tick().await;
            }
            let came = alone.rest(&mut reply, &mut Watched::from(&film, 0)).await;
            assert!(reply.clean() && came == LENGTH, "{tag}: {came} bytes: {reply}");
            assert_eq!(lagged(&edge).await, 0.0);
            assert_eq!(origin.hits("/film"), 1);
        }
    }
}

#[tokio::test]
async fn who_joins_behind_the_window_gets_the_film_from_its_beginning() {
    let film = Film::new(1, LENGTH);
    for tag in [film.tag(), "W/\"1\"".to_owned()] {
        let origin = Origin::start().await;
        let answer = film.answer().instead("ETag", &tag);
        origin.on("/film", if tag.starts_with('W') { answer.no_ranges() } else { answer });
        let edge = Edge::before(&origin, &window("32MiB", "32MiB", "10s")).await;
        let (mut first, mut reply) = Reading::begin(&edge, &Request::get("/film"), false, false).await;
        let mut watched = Watched::from(&film, 0);
        while watched.at < 20 << 20 {
            first.piece(&mut reply).await;
            watched.take(&mut reply);
        }
        let (mut second, mut late) = Reading::begin(&edge, &Request::get("/film"), true, false).await;
        let mut behind = Watched::from(&film, 0);
        let (first_came, second_came) =
            tokio::join!(first.rest(&mut reply, &mut watched), second.rest(&mut late, &mut behind));
        assert!(reply.clean() && first_came == LENGTH, "{tag}: {reply}");
        assert!(late.clean() && second_came == LENGTH, "{tag}: {late}");
        assert_eq!(lagged(&edge).await, 0.0);
    }
}

/// Bytes of the film and of the memory tier, by what the machine is asked for.
fn sizes() -> (u64, u64) {
    if std::env::var_os("LECTERN_SOAK").is_some() { (4 << 30, 256 << 20) } else { (1 << 30, 64 << 20) }
}

/// Resident memory in bytes. A debug build's own pages, mapped from its file, are many and left out.
fn resident(edge: &Edge) -> u64 {
    if cfg!(debug_assertions) { edge.anonymous() } else { edge.rss() }
}

#[tokio::test]
async fn a_film_longer_than_the_memory_goes_through_it_past_a_stalled_reader() {
    let (length, memory) = sizes();
    let windows = 16 << 20;
    let film = Film::new(1, length);
    for (tag, http2) in [(film.tag(), false), ("W/\"1\"".to_owned(), true)] {
        let origin = Origin::start().await;
        let answer = film.answer().instead("ETag", &tag);
        let both = held(&origin, &if tag.starts_with('W') { answer.no_ranges() } else { answer });
        others(&origin, 8 << 20);
        let config = format!("[cache]\nmemory = {memory}\nfill_window = {windows}\nlag_limit = \"2s\"\n");
        let edge = Edge::before(&origin, &config).await;
        // The tier is full before it begins.
        for n in 0..memory / (8 << 20) + 2 {
            edge.get(&format!("/other/{n}")).await.expect(200);
        }
        let most = memory + windows + (64 << 20);
        let ((mut stalled, mut late), (mut fast, mut reply)) = two(&edge, &both, http2).await;
        let mut watched = Watched::from(&film, 0);
        let (mut peak, mut next) = (resident(&edge), 0);
        while reply.end == End::Open {
            fast.piece(&mut reply).await;
            watched.take(&mut reply);
            if watched.at >= next {
                next += 4 << 20;
                peak = peak.max(resident(&edge));
                assert!(peak <= most, "{} MiB resident after {} MiB", peak >> 20, watched.at >> 20);
            }
        }
        assert!(reply.clean() && watched.at == length, "{} of {length} bytes: {reply}", watched.at);
        // The stalled one goes on, or was cut; it never gets anything else.
        let mut behind = Watched::from(&film, 0);
        let mut next = 0;
        behind.take(&mut late);
        while late.end == End::Open && behind.at < 256 << 20 {
            stalled.piece(&mut late).await;
            behind.take(&mut late);
            if behind.at >= next {
                next += 4 << 20;
                peak = peak.max(resident(&edge));
                assert!(peak <= most, "{} MiB resident while it catches up", peak >> 20);
            }
        }
        if tag.starts_with('W') {
            assert!(!late.clean() && behind.at < length, "{late}");
            assert_eq!(lagged(&edge).await, 1.0);
        }
        drop((stalled, late));
        within("end of the fill", edge.settled()).await;
        println!("{tag}: {} MiB at most, of {} MiB", peak >> 20, most >> 20);
    }
}

#[tokio::test]
async fn what_a_stalled_client_was_handed_is_little_and_counted() {
    for http2 in [false, true] {
        let film = Film::new(1, LENGTH);
        let origin = Origin::start().await;
        origin.on("/film", film.answer());
        let edge = Edge::before(&origin, "").await;
        edge.get("/film").await.expect(200);
        let handed = async || edge.metric("lectern_body_bytes_handed", &[]).await;
        let (stalled, reply) = Reading::begin(&edge, &Request::get("/film"), http2, true).await;
        assert_eq!(reply.status, 200);
        eventually("bytes handed to who does not read", async || handed().await > 0.0).await;
        assert!(handed().await <= f64::from(512 << 10), "two chunks at most");
        drop((stalled, reply));
        eventually("nothing in anybody's hands", async || handed().await == 0.0).await;
        assert_eq!(origin.hits("/film"), 1);
    }
}
