//! Every way to ask for a private film, of which nobody gets a byte without a signature that is valid now.

use super::{FILM, Keys, OTHER, SECRET, Shows, film, packages, refused, tenants};
use crate::support::{
    edge::Edge,
    film::Film,
    message::{Reply, Request},
    origin::Origin,
};

/// How the row is played.
#[derive(Clone, Copy)]
struct Plays {
    jwt: bool,
    h2: bool,
    disk: bool,
}

impl Plays {
    async fn ask(self, edge: &Edge, request: &Request) -> Reply {
        if self.h2 { edge.h2().await.ask(request).await } else { edge.ask(request).await }
    }

    /// What is refused, whatever is stored: what is shown, status, word.
    fn refusals(self) -> Vec<(Request, u16, &'static str)> {
        let good = Shows::good(self.jwt);
        let or = |jwt: &'static str| if self.jwt { jwt } else { "signature-forged" };
        let of = |shows: Shows| film(&shows);
        let token = good.token();
        let (start, end) = token.split_at(token.len() - 20);
        let forged = format!("{start}{}{}", if end.starts_with('A') { 'B' } else { 'A' }, &end[1..]);
        vec![
            (Request::get(FILM), 401, "signature-missing"),
            (Request::get(&format!("{FILM}?sig=")), 401, "signature-missing"),
            (Request::get(FILM).field("Cookie", "MoodleSession=student"), 401, "signature-missing"),
            (of(Shows { seconds: -60, ..good }), 401, "signature-expired"),
            (Request::get(&format!("{FILM}?sig={forged}")), 403, "signature-forged"),
            (Request::get(&format!("{FILM}?sig=x")), 403, "signature-malformed"),
            (of(Shows { key: ("new", OTHER), ..good }), 403, "signature-forged"),
            (of(Shows { key: ("gone", SECRET), ..good }), 403, "signature-key"),
            // Another tenant's, here; and this one's, there.
            (of(Shows { host: "lms-b.example", ..good }), 403, or("signature-audience")),
            (of(good).host("lms-b.example"), 403, or("signature-audience")),
            (of(Shows { prefix: "/content/15/", ..good }), 403, or("signature-path")),
            (of(Shows { prefix: "/content/1", ..good }), 403, or("signature-path")),
            (of(Shows { client: Some("192.0.2.1"), ..good }), 403, or("signature-client")),
            (Request::get(FILM).field("Cookie", &format!("a=1; sig={forged}")), 403, "signature-forged"),
        ]
    }

    /// Asks for all that is refused, in every shape; each is refused, and the origin is asked for nothing.
    async fn nobody_else(self, edge: &Edge, origin: &Origin, tag: &str) {
        let before = origin.requests().len();
        for (request, status, word) in self.refusals() {
            let shapes = [
                request.clone(),
                request.clone().field("Range", "bytes=0-99"),
                request.clone().field("If-None-Match", tag),
                request.clone().field("If-None-Match", "*"),
                Request { method: "HEAD".to_owned(), ..request.clone() },
                Request { method: "POST".to_owned(), ..request }.body("x"),
            ];
            for request in shapes {
                let head = request.method == "HEAD";
                refused(self.ask(edge, &request).await, status, word, head);
            }
        }
        assert_eq!(origin.requests().len(), before, "the origin was asked");
    }

    async fn play(self) {
        let keys = Keys::new(&[("new", SECRET)]);
        let (origin, old) = (Origin::start().await, Film::new(1, 700_001));
        let private = |film: &Film| film.answer().instead("Cache-Control", "private, max-age=600");
        origin.on(FILM, private(&old));
        let rules = packages(&format!("lift_private = true\n{}", keys.asks(self.jwt)));
        let disk =
            "[disk]\nflush_interval = \"50ms\"\n[[disk.folder]]\npath = \"store\"\nlimit = \"64MiB\"\n";
        let config = tenants(&origin, &rules, if self.disk { disk } else { "" });
        let mut edge = Edge::with(&config).await;
        let good = Shows::good(self.jwt);
        self.nobody_else(&edge, &origin, &old.tag()).await;
        let mine = Shows { client: Some("127.0.0.1"), prefix: FILM, ..good };
        let bytes = old.bytes(0, old.length);
        let reply = self.ask(&edge, &film(&mine)).await.expect_body(200, &bytes);
        assert!(reply.field("cache-status").unwrap().ends_with("stored"), "{reply}");
        assert_eq!(reply.field("cache-control"), Some("private, max-age=600"), "{reply}");
        edge.settled().await;
        if self.disk {
            // What is served from here on is read from disk.
            edge.stop().await;
            edge.start_again().await;
        }

        self.nobody_else(&edge, &origin, &old.tag()).await;
        let whole = bytes.len();
        let (tag, last) = (old.tag(), format!("bytes {}-{}/{whole}", whole - 100, whole - 1));
        let rows: [(Request, u16, &[u8], Option<&str>); 5] = [
            (film(&good), 200, &bytes, None),
            (film(&good).field("Range", "bytes=300000-300099"), 206, &bytes[300_000..300_100], None),
            (film(&good).field("Range", "bytes=-100"), 206, &bytes[whole - 100..], Some(&last)),
            (film(&good).field("If-None-Match", &tag), 304, b"", None),
            (Request { method: "HEAD".to_owned(), ..film(&good) }, 200, b"", None),
        ];
        for (n, (request, status, body, range)) in rows.iter().enumerate() {
            let reply = self.ask(&edge, request).await.expect_body(*status, body);
            assert!(reply.field("cache-status").unwrap().starts_with("lectern; hit"), "row {n}: {reply}");
            assert!(range.is_none() || reply.field("content-range") == *range, "row {n}: {reply}");
        }
        let by_cookie = Request::get(FILM).field("Cookie", &format!("sig={}", good.token()));
        self.ask(&edge, &by_cookie).await.expect_body(200, &bytes);
        assert_eq!(origin.hits(FILM), 1, "one fill for all of them");

        let new = Film::new(2, 700_001);
        origin.on(FILM, private(&new));
        edge.purge(&format!("http://lms-a.example{FILM}")).await;
        self.nobody_else(&edge, &origin, &old.tag()).await;
        // No 304 brings the purged bytes back.
        let again = film(&good).field("If-None-Match", &old.tag());
        self.ask(&edge, &again).await.expect_body(200, new.bytes(0, new.length));
        self.nobody_else(&edge, &origin, &new.tag()).await;
        let seen = origin.requests();
        assert!(seen.iter().all(|seen| seen.target == FILM && seen.field("cookie").is_none()), "{seen:#?}");
        assert_eq!(seen.len(), 2);
        assert_eq!(edge.metric("lectern_requests_refused_total", &["reason=\"rule\""]).await, 0.0);
        let rounds = if self.disk { 3 } else { 4 };
        edge.outcomes("refused", rounds * 6 * self.refusals().len() as u64).await;
    }
}

macro_rules! rows {
    ($($name:ident: $jwt:expr, $h2:expr, $disk:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            Plays { jwt: $jwt, h2: $h2, disk: $disk }.play().await;
        }
    )*};
}

rows! {
    a_signature_by_http1_from_memory: false, false, false;
    a_signature_by_http1_from_disk: false, false, true;
    a_signature_by_http2_from_memory: false, true, false;
    a_signature_by_http2_from_disk: false, true, true;
    a_jwt_by_http1_from_memory: true, false, false;
    a_jwt_by_http1_from_disk: true, false, true;
    a_jwt_by_http2_from_memory: true, true, false;
    a_jwt_by_http2_from_disk: true, true, true;
}

#[tokio::test]
async fn a_joiner_of_a_running_fill_shows_a_signature_too() {
    let keys = Keys::new(&[("new", SECRET)]);
    let (origin, gate, film_) =
        (Origin::start().await, crate::support::gate::Gate::new(), Film::new(1, 700_001));
    let answer = film_.answer().instead("Cache-Control", "private, max-age=600").pause(1_000, &gate);
    origin.on(FILM, answer);
    let rules = packages(&format!("lift_private = true\n{}", keys.asks(false)));
    let edge = Edge::with(&tenants(&origin, &rules, "")).await;
    let good = Shows::good(false);
    let mut first = edge.client().await;
    first.send(&film(&good).bytes()).await;
    gate.arrived(1).await;
    let plays = Plays { jwt: false, h2: false, disk: false };
    plays.nobody_else(&edge, &origin, &film_.tag()).await;
    let mut joiner = edge.client().await;
    joiner.send(&film(&good).bytes()).await;
    gate.open();
    for client in [&mut first, &mut joiner] {
        client.reply("GET").await.expect_body(200, film_.bytes(0, film_.length));
    }
    assert_eq!(origin.hits(FILM), 1);
}
