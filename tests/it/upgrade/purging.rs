//! Whatever is purged while the process is replaced is gone once it is acknowledged, also where the old process still answers.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use futures_util::future::join;

use super::{node, versioned};
use crate::support::{
    answer::Answer,
    client::Client,
    deadline::within,
    edge::Edge,
    gate::Gate,
    message::{Reply, Request},
    origin::Origin,
};

fn version_of(reply: Reply) -> u64 {
    reply.expect(200).text().parse().unwrap()
}

/// A raw client of HTTP/2 that never answers a PING and heeds no GOAWAY: its connection stays as long as it may.
struct Stubborn {
    client: Client,
    stream: u32,
    goaway: bool,
}

/// An HTTP/2 frame: type, flags, stream, payload (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

impl Stubborn {
    async fn connect(edge: &Edge) -> Stubborn {
        let mut client = edge.client().await;
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send(&frame(4, 0, 0, &[])).await;
        Stubborn { client, stream: 1, goaway: false }
    }

    /// GET; the body of the answer.
    async fn get(&mut self, path: &str) -> String {
        let stream = self.stream;
        self.stream += 2;
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":authority", "lms-a.example"), (":path", path)];
        // Literals without indexing (RFC 7541 §6.2.2).
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let head: Vec<u8> =
            fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
        self.client.send(&frame(1, 5, stream, &head)).await;
        let mut body = Vec::new();
        loop {
            let (kind, flags, of, payload) = self.frame().await;
            match kind {
                0 if of == stream => body.extend_from_slice(&payload),
                3 if of == stream => panic!("the stream was reset"),
                7 => self.goaway = true,
                _ => {}
            }
            if matches!(kind, 0 | 1) && of == stream && flags & 1 == 1 {
                return String::from_utf8(body).unwrap();
            }
        }
    }

    async fn until_goaway(&mut self) {
        while !self.goaway {
            self.goaway = self.frame().await.0 == 7;
        }
    }

    async fn frame(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let head = self.client.raw(9).await;
        let [a, b, c, kind, flags, s1, s2, s3, s4] = head[..] else { panic!("the connection ended") };
        let payload = self.client.raw(u32::from_be_bytes([0, a, b, c]) as usize).await;
        (kind, flags, u32::from_be_bytes([s1, s2, s3, s4]), payload)
    }
}

#[tokio::test]
async fn what_the_new_process_has_purged_the_old_one_does_not_answer_on_any_connection_it_has_left() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let version = versioned(&origin, "/v");
    origin.on("/film", Answer::storable(vec![b'x'; 400_000]).pause(100_000, &gate));
    let mut old = Edge::before(&origin, &node("upgrade_deadline = \"5m\"")).await;
    let mut stubborn = Stubborn::connect(&old).await;
    let (mut kept, mut reading) = (old.client().await, old.client().await);
    assert_eq!(stubborn.get("/v").await, "1");
    assert_eq!(version_of(kept.get("/v").await), 1);
    // A fill under way in the old process is finished for its reader.
    reading.send(&Request::get("/film").bytes()).await;
    let mut film = reading.head("GET").await;
    assert_eq!(origin.hits("/v"), 1);

    let new = old.upgrade().await;
    old.says("another process serves").await;
    version.store(2, SeqCst);
    new.purge("http://lms.example/v").await;
    // The connection ends at the end of its last stream, and was told so.
    stubborn.until_goaway().await;
    assert_eq!(stubborn.get("/v").await, "2");
    assert_eq!(stubborn.get("/v").await, "2");
    let reply = kept.get("/v").await;
    assert_eq!(reply.field("connection"), Some("close"));
    assert!(reply.field("cache-status").unwrap().contains("handed-over"), "{reply}");
    assert_eq!(version_of(reply), 2);
    kept.closed().await;
    gate.open();
    reading.rest(&mut film).await;
    film.expect_body(200, vec![b'x'; 400_000]);
    assert_eq!((origin.hits("/v"), origin.hits("/film")), (4, 1));
    assert_eq!(version_of(new.get("/v").await), 2);
    assert_eq!(version_of(new.get("/v").await), 2);
    assert_eq!(origin.hits("/v"), 5);
    drop((stubborn, reading));
    assert_eq!(old.ended().await.code(), Some(0));
    let log = new.log(8).await;
    let handed_over = log.iter().filter(|line| line["detail"] == "handed-over");
    assert_eq!(handed_over.clone().count(), 3, "{log:#?}");
    assert!(handed_over.clone().all(|line| line["outcome"] == "pass"), "{log:#?}");
}

#[tokio::test]
async fn purges_before_during_and_after_the_upgrade_are_in_force_when_they_are_acknowledged() {
    let origin = Origin::start().await;
    let version = versioned(&origin, "/v");
    let mut old = Edge::before(&origin, &node("upgrade_deadline = \"5m\"")).await;
    let (web, control) = (old.address("web").await, format!("http://{}", old.address("control").await));
    let handed_over = AtomicBool::new(false);
    let mut stubborn = Stubborn::connect(&old).await;
    let mut kept = Client::connect(web).await;
    let (mut acknowledged, mut after) = (0, 0);
    let purge = async || {
        // As a pipeline does, which waits for exit code 0 and for nothing else.
        let arguments = ["purge", "http://lms.example/v", "--control", &control];
        let asked = old.run(&arguments);
        let done = within("purge", asked).await;
        assert!(done.status.success(), "{done:?}");
    };
    let purging = async {
        while after < 5 {
            after += u64::from(handed_over.load(SeqCst));
            let now = version.fetch_add(1, SeqCst) + 1;
            purge().await;
            acknowledged += 1;
            assert_eq!(stubborn.get("/v").await, now.to_string());
            let reply = kept.get("/v").await;
            if reply.field("connection") == Some("close") {
                kept = Client::connect(web).await;
            }
            assert_eq!(version_of(reply), now);
            assert_eq!(version_of(Client::connect(web).await.get("/v").await), now);
        }
    };
    let upgrading = async {
        let new = old.upgrade().await;
        old.says("another process serves").await;
        handed_over.store(true, SeqCst);
        new
    };
    let (_, new) = join(purging, upgrading).await;
    assert_eq!(new.metric("lectern_ledger_number", &[]).await, acknowledged as f64);
    drop((stubborn, kept));
    assert_eq!(old.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_an_unsafe_method_that_ends_in_the_old_process_makes_outdated_is_outdated_in_the_new_one() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let version = versioned(&origin, "/v");
    let current = version.clone();
    let passed = gate.clone();
    origin.on_call("/v", move |seen, _| match seen.method.as_str() {
        "POST" => Answer::ok("posted").behind(&passed),
        _ => Answer::storable(current.load(SeqCst).to_string()),
    });
    let mut old = Edge::before(&origin, "").await;
    let (mut under_way, mut kept) = (old.client().await, old.client().await);
    let post = Request::new("POST", "/v").body("score=1");
    under_way.send(&post.bytes()).await;
    gate.arrived(1).await;
    assert_eq!(version_of(kept.get("/v").await), 1);
    let new = old.upgrade().await;
    old.says("another process serves").await;
    assert_eq!(version_of(new.get("/v").await), 1);
    assert_eq!(version_of(new.get("/v").await), 1);
    let hits = origin.hits("/v");
    // What was under way at the old process, and what comes to it still.
    version.store(2, SeqCst);
    gate.open();
    under_way.reply("POST").await.expect_body(200, "posted");
    assert_eq!(version_of(new.get("/v").await), 2);
    assert_eq!(version_of(new.get("/v").await), 2);
    version.store(3, SeqCst);
    kept.ask(&post).await.expect_body(200, "posted");
    assert_eq!(version_of(new.get("/v").await), 3);
    assert_eq!(version_of(new.get("/v").await), 3);
    assert_eq!(origin.hits("/v"), hits + 3);
    drop((under_way, kept));
    assert_eq!(old.ended().await.code(), Some(0));
}
