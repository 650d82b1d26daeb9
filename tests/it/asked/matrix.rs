//! Who gets not one byte: each row over HTTP/1.1 and HTTP/2, before a full memory and before a disk alone.
//!
//! The bytes that are guarded are none of ASCII, and whatever the LMS says to who may not have them is: a single byte tells.

use std::future::Future;

use crate::{
    asked::{of, school_with},
    support::{
        answer::Answer,
        edge::Edge,
        gate::Gate,
        message::{Reply, Request},
        moodle::{Moodle, tag},
    },
};

const SECRET: &str = "/pluginfile.php/14/mod_scorm/content/1/secret.bin";
const LENGTH: u32 = 600_000;

fn secret(version: u32) -> Vec<u8> {
    (0..LENGTH).map(|n| 0x80 | (n.wrapping_mul(2_654_435_761).wrapping_add(version) >> 24) as u8).collect()
}

/// A school with the secret in it, and the edge before it.
struct Ground {
    moodle: Moodle,
    edge: Edge,
    h2: bool,
    disk: bool,
    /// Who may have it.
    student: String,
}

impl Ground {
    async fn new(h2: bool, disk: bool, asked: &str) -> Ground {
        let folder =
            "[disk]\nflush_interval = \"50ms\"\n[[disk.folder]]\npath = \"store\"\nlimit = \"64MiB\"\n";
        let (moodle, edge) = school_with(asked, if disk { folder } else { "" }).await;
        moodle.publishes(SECRET, "application/octet-stream", secret(0));
        let student = moodle.signs_in("student");
        Ground { moodle, edge, h2, disk, student }
    }

    async fn ask(&self, request: &Request) -> Reply {
        match self.h2 {
            true => self.edge.h2().await.ask(request).await,
            false => self.edge.ask(request).await,
        }
    }

    /// Has it stored. Before a disk, memory is empty then.
    async fn stored(&mut self) {
        self.ask(&of(&self.student, SECRET)).await.expect_body(200, secret(0));
        self.edge.settled().await;
        if self.disk {
            self.edge.stop().await;
            self.edge.start_again().await;
        }
    }

    /// In no way that there is to ask does who shows this get a byte of it, or is told what it is.
    async fn keeps_from(&self, cookie: Option<&str>) {
        self.keeps_from_with(cookie, &[303, 404, 407, 502, 503]).await;
    }

    /// The same, answered with one of these, or 504 where only what is stored would do.
    async fn keeps_from_with(&self, cookie: Option<&str>, statuses: &[u16]) {
        for (n, request) in ways(cookie).into_iter().enumerate() {
            let reply = self.ask(&request).await;
            let row = format!("way {n}, h2 {}, disk {}: {reply}", self.h2, self.disk);
            assert!(reply.clean() && reply.body.iter().all(u8::is_ascii), "{row}");
            assert!(statuses.contains(&reply.status) || reply.status == 504, "{row}");
            assert_ne!(reply.field("etag"), Some(tag(secret(0)).as_str()), "{row}");
            assert_eq!(reply.field("content-range"), None, "{row}");
        }
    }

    /// Who may have it has it.
    async fn gives_to(&self, cookie: &str) {
        self.ask(&of(cookie, SECRET)).await.expect_body(200, secret(0));
    }
}

/// The ways to ask for it.
fn ways(cookie: Option<&str>) -> Vec<Request> {
    let plain = || match cookie {
        Some(cookie) => of(cookie, SECRET),
        None => Request::get(SECRET),
    };
    let tag = tag(secret(0));
    vec![
        plain(),
        plain().field("Range", "bytes=0-"),
        plain().field("Range", "bytes=524288-524299"),
        plain().field("Range", "bytes=-5"),
        plain().field("Range", "bytes=0-1,10-11"),
        plain().field("Range", "bytes=0-9").field("If-Range", &tag),
        plain().field("If-None-Match", &tag),
        plain().field("If-None-Match", "*"),
        plain().field("If-Match", "\"x\""),
        plain().field("Cache-Control", "no-cache"),
        plain().field("Cache-Control", "only-if-cached"),
        plain().field("Cache-Control", "max-stale"),
        Request { method: "HEAD".to_owned(), ..plain() },
        Request { method: "HEAD".to_owned(), ..plain() }.field("If-None-Match", &tag),
    ]
}

/// Plays a row over both protocols and before both tiers.
async fn everywhere<F: Future<Output = ()>>(asked: &str, row: impl Fn(Ground) -> F) {
    for (h2, disk) in [(false, false), (true, false), (false, true), (true, true)] {
        row(Ground::new(h2, disk, asked).await).await;
    }
}

#[tokio::test]
async fn anonymous() {
    everywhere("", |mut ground| async move {
        ground.stored().await;
        ground.keeps_from(None).await;
        ground.gives_to(&ground.student).await;
    })
    .await;
}

#[tokio::test]
async fn logged_out_or_expired() {
    everywhere("keep = \"0s\"", |mut ground| async move {
        ground.stored().await;
        ground.moodle.signs_out(&ground.student);
        ground.keeps_from(Some(&ground.student)).await;
    })
    .await;
}

#[tokio::test]
async fn not_enrolled_and_the_cookie_of_another_user() {
    everywhere("", |mut ground| async move {
        ground.stored().await;
        let outsider = ground.moodle.signs_in("outsider");
        ground.keeps_from(Some(&outsider)).await;
        ground.gives_to(&ground.student).await;
        ground.keeps_from(Some(&outsider)).await;
        ground.keeps_from(Some("MoodleSession=made-up")).await;
        // Of two cookies of one name the LMS says which counts.
        ground.keeps_from(Some(&format!("{outsider}; {}", ground.student))).await;
    })
    .await;
}

#[tokio::test]
async fn unenrolled_between_two_requests() {
    everywhere("keep = \"0s\"", |mut ground| async move {
        ground.stored().await;
        ground.gives_to(&ground.student).await;
        ground.moodle.unenrols("student", 2);
        ground.keeps_from(Some(&ground.student)).await;
        ground.moodle.enrols("student", 2);
        ground.gives_to(&ground.student).await;
    })
    .await;
}

#[tokio::test]
async fn role_changed() {
    everywhere("keep = \"0s\"", |mut ground| async move {
        ground.stored().await;
        ground.moodle.takes_role("student", 14);
        ground.keeps_from(Some(&ground.student)).await;
    })
    .await;
}

#[tokio::test]
async fn other_tenant() {
    everywhere("", |mut ground| async move {
        ground.moodle.bends(|seen, answer| match seen.field("host") {
            Some("lms-b.example") => Answer::new(303, "").field("Location", "/login/index.php"),
            _ => answer,
        });
        ground.stored().await;
        ground.gives_to(&ground.student).await;
        for request in ways(Some(&ground.student)) {
            let reply = ground.ask(&request.host("lms-b.example")).await;
            assert!(reply.body.iter().all(u8::is_ascii) && [303, 504].contains(&reply.status), "{reply}");
        }
    })
    .await;
}

#[tokio::test]
async fn joiner_of_a_running_fill() {
    everywhere("", |ground| async move {
        let gate = Gate::new();
        let held = gate.clone();
        ground.moodle.bends(move |_, answer| {
            if answer.length() == LENGTH as usize { answer.pause(400_000, &held) } else { answer }
        });
        let outsider = ground.moodle.signs_in("outsider");
        let first = async { ground.gives_to(&ground.student).await };
        let others = async {
            gate.arrived(1).await;
            ground.keeps_from(Some(&outsider)).await;
            ground.keeps_from(None).await;
            assert_eq!(gate.count(), 1, "no second body");
            gate.open();
        };
        futures_util::join!(first, others);
    })
    .await;
}

#[tokio::test]
async fn background_refresh_with_and_without_a_sponsor() {
    everywhere("", |mut ground| async move {
        let stale = "private, max-age=60, stale-while-revalidate=3600, stale-if-error=3600";
        ground.moodle.bends(move |_, answer| match answer.status {
            200 | 304 => answer.instead("Cache-Control", stale).field("Age", "100"),
            _ => answer,
        });
        let outsider = ground.moodle.signs_in("outsider");
        ground.stored().await;
        ground.keeps_from(Some(&outsider)).await;
        ground.keeps_from(None).await;
        // Who is served it lets it be refreshed in her name, and nobody else is let in by that.
        ground.gives_to(&ground.student).await;
        ground.gives_to(&ground.student).await;
        ground.keeps_from(Some(&outsider)).await;
        ground.edge.settled().await;
        ground.moodle.unenrols("student", 2);
        drop(ground.ask(&of(&ground.student, SECRET)).await);
        ground.edge.settled().await;
        ground.keeps_from(Some(&ground.student)).await;
    })
    .await;
}

#[tokio::test]
async fn purge_in_between() {
    everywhere("keep = \"0s\"", |mut ground| async move {
        ground.stored().await;
        let gate = Gate::new();
        let held = gate.clone();
        // Decided when the question comes, said when the gate opens.
        ground.moodle.bends(move |_, answer| answer.behind(&held));
        let early = async { ground.ask(&of(&ground.student, SECRET)).await };
        let purge = async {
            gate.arrived(1).await;
            ground.edge.purge(&format!("http://lms-a.example{SECRET}")).await;
            ground.moodle.publishes(SECRET, "application/octet-stream", secret(1 << 24));
            gate.open();
        };
        let (early, ()) = futures_util::join!(early, purge);
        assert!(early.body == secret(0) || early.body == secret(1 << 24), "who came before may have either");
        for _ in 0..2 {
            ground.ask(&of(&ground.student, SECRET)).await.expect_body(200, secret(1 << 24));
        }
        let asked = ground.moodle.origin.seen(SECRET);
        let old = tag(secret(0));
        assert!(asked[2..].iter().all(|seen| seen.field("if-none-match") != Some(&old)), "{asked:#?}");
    })
    .await;
}

#[tokio::test]
async fn lms_down() {
    everywhere("unreachable = \"1h\"", |mut ground| async move {
        ground.stored().await;
        let (outsider, second) = (ground.moodle.signs_in("outsider"), ground.moodle.signs_in("student"));
        ground.gives_to(&ground.student).await;
        ground.moodle.origin.down().await;
        ground.keeps_from(Some(&outsider)).await;
        ground.keeps_from(Some(&second)).await;
        ground.keeps_from(None).await;
        ground.gives_to(&ground.student).await;
    })
    .await;
}

#[tokio::test]
async fn lms_says_that_it_cannot() {
    everywhere("keep = \"0s\"", |mut ground| async move {
        let windows = "private, max-age=60, stale-while-revalidate=3600, stale-if-error=3600";
        ground.moodle.bends(move |_, answer| answer.instead("Cache-Control", windows));
        ground.stored().await;
        ground.gives_to(&ground.student).await;
        for status in [500, 502, 503, 504, 429] {
            ground.moodle.straightens();
            ground.moodle.bends(move |_, _| Answer::new(status, "not now"));
            ground.keeps_from_with(Some(&ground.student), &[status]).await;
            ground.keeps_from_with(None, &[status]).await;
        }
        ground.moodle.straightens();
        ground.gives_to(&ground.student).await;
    })
    .await;
}

/// What a cache before the LMS's users is told (RFC 9213) says that it may be stored, not who may have it.
#[tokio::test]
async fn said_to_be_for_everybody_in_a_targeted_field() {
    everywhere("", |mut ground| async move {
        ground.moodle.bends(|_, answer| match answer.status {
            200 | 304 => answer.field("CDN-Cache-Control", "public, max-age=600"),
            _ => answer,
        });
        ground.stored().await;
        let outsider = ground.moodle.signs_in("outsider");
        ground.keeps_from(Some(&outsider)).await;
        ground.keeps_from(None).await;
        ground.gives_to(&ground.student).await;
    })
    .await;
}

#[tokio::test]
async fn lms_slow() {
    everywhere("timeout = \"20ms\"", |mut ground| async move {
        ground.stored().await;
        let outsider = ground.moodle.signs_in("outsider");
        let gate = Gate::new();
        let held = gate.clone();
        ground.moodle.bends(move |seen, answer| match seen.method.as_str() {
            "GET" if seen.field("if-none-match").is_some() => answer.behind(&held),
            _ => answer,
        });
        ground.keeps_from(Some(&outsider)).await;
        gate.open();
    })
    .await;
}

#[tokio::test]
async fn another_rule_finds_nothing_of_what_is_guarded() {
    everywhere("", |mut ground| async move {
        ground.stored().await;
        let open = "[[site.rule]]\nname = \"open\"\nprefix = \"/pluginfile.php/\"\nverdict = \"cache\"\nshared = true\n";
        ground.edge.configure(&format!(
            "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
             [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n{open}",
            ground.moodle.origin.addr()
        ));
        ground.edge.control("POST", "/v1/reload", "").await.expect(200);
        ground.keeps_from(None).await;
    })
    .await;
}
