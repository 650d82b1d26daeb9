//! What a class that starts costs the LMS: everybody opens one package and its film at the same time.
//!
//! Run with `make soak T=asked::class` for the figures of a thousand learners; they are printed beside those of relaying everything.

use futures_util::{StreamExt, stream};

use crate::{
    asked::{of, rules},
    support::{edge::Edge, film::Film, h2::H2, moodle::Moodle},
};

const FILES: usize = 44;
/// Requests that a browser has under way at once.
const AT_ONCE: usize = 6;
const LECTURE: &str = crate::support::moodle::LECTURE;

/// Learners who open it at the same moment: as many as the clients and the LMS of this test keep up with on two cores.
const LEARNERS_AT_ONCE: usize = 50;

struct Class {
    learners: usize,
    film: u64,
}

impl Class {
    fn new() -> Class {
        match std::env::var_os("LECTERN_SOAK").is_some() {
            true => Class { learners: 1_000, film: 12_034_887 },
            false => Class { learners: 12, film: 400_001 },
        }
    }
}

/// What it came to.
struct Figures {
    origin_requests: usize,
    origin_body_bytes: u64,
    checks: u64,
    edge_cpu_seconds: f64,
}

impl Figures {
    fn tell(&self, how: &str, class: &Class) {
        let Figures { origin_requests, origin_body_bytes, checks, edge_cpu_seconds } = self;
        let each = *checks as f64 / class.learners as f64;
        eprintln!(
            "{how}: {origin_requests} requests and {origin_body_bytes} body bytes at the origin, {checks} checks, {each:.2} a \
             learner, {edge_cpu_seconds:.2} s of CPU"
        );
    }
}

fn file(n: usize) -> String {
    format!("/pluginfile.php/14/mod_scorm/content/1/page/{n}.js")
}

fn bytes(n: usize) -> Vec<u8> {
    vec![b'a' + (n % 26) as u8; 2_000 + 1_500 * n]
}

/// Plays it under these rules.
async fn play(class: &Class, rules: &str) -> Figures {
    let moodle = Moodle::start().await;
    for n in 0..FILES {
        moodle.publishes(&file(n), "application/x-javascript", bytes(n));
    }
    let film = Film::new(3, class.film);
    moodle.publishes_film(LECTURE, &film);
    let edge = Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\nqueue = 100_000\nqueue_wait = \"10m\"\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n{rules}",
        moodle.origin.addr()
    ))
    .await;
    let cookies: Vec<_> = (0..class.learners)
        .map(|n| {
            let user = format!("learner{n}");
            moodle.enrols(&user, 2);
            moodle.signs_in(&user)
        })
        .collect();
    let before = edge.metric("process_cpu_seconds_total", &[]).await;
    let (edge, film) = (&edge, &film);
    let class = stream::iter(cookies.iter().map(|cookie| async move {
        opens(&edge.h2().await, cookie, film).await;
    }));
    class.buffer_unordered(LEARNERS_AT_ONCE).collect::<Vec<()>>().await;
    edge.settled().await;
    let seen = moodle.origin.requests();
    Figures {
        origin_requests: seen.len(),
        origin_body_bytes: seen.iter().map(|seen| seen.sent as u64).sum(),
        checks: edge.metric("lectern_access_checks_total", &[]).await as u64,
        edge_cpu_seconds: edge.metric("process_cpu_seconds_total", &[]).await - before,
    }
}

/// One learner opens the package, then the film from its beginning.
async fn opens(client: &H2, cookie: &str, film: &Film) {
    let files = stream::iter((0..FILES).map(|n| async move {
        client.ask(&of(cookie, &file(n))).await.expect_body(200, bytes(n));
    }));
    files.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    let whole = of(cookie, LECTURE).field("Range", "bytes=0-");
    let reply = client.ask(&whole).await.expect(206);
    assert!(reply.body.len() as u64 == film.length && film.is_at(0, &reply.body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_start_costs_each_body_once_and_two_checks_a_learner() {
    let class = Class::new();
    eprintln!("{} learners, {FILES} files and a film of {} bytes", class.learners, class.film);
    let asked = play(&class, &rules("")).await;
    asked.tell("asked", &class);
    let once = (0..FILES).map(|n| bytes(n).len() as u64).sum::<u64>() + class.film;
    assert_eq!(asked.origin_body_bytes, once, "each body once");
    assert!(asked.checks <= 2 * class.learners as u64, "one for the package, one for the film");
    let pass = "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"pass\"\n";
    let relayed = play(&class, pass).await;
    relayed.tell("relayed", &class);
    assert_eq!(relayed.origin_body_bytes, once * class.learners as u64);
    assert_eq!(relayed.origin_requests, (FILES + 1) * class.learners);
}
