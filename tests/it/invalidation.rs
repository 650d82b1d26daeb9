//! What an unsafe method makes outdated beside its target (RFC 9111 §4.4, RFC 9875), and what a HEAD tells of what is stored
//! (RFC 9111 §4.3.5).

use crate::support::{
    answer::Answer, deadline::eventually, edge::Edge, gate::Gate, message::Request, origin::Origin,
};

fn post(target: &str) -> Request {
    Request::new("POST", target).body("x")
}

/// Answers a GET with how many requests came before.
fn counting(origin: &Origin, path: &str, fields: &'static [(&'static str, &'static str)]) {
    origin.on_call(path, move |_, n| {
        fields
            .iter()
            .fold(Answer::storable(format!("{n}")), |answer, (name, value)| answer.field(name, value))
    });
}

#[tokio::test]
async fn what_an_answer_to_a_post_names_of_its_own_origin_is_outdated_and_nothing_else() {
    let origin = Origin::start().await;
    let edge = Edge::before(&origin, "").await;
    let here = format!("http://lms.example:{}", edge.address("web").await.port());
    let table = [
        ("Location", "/named?v=1".to_owned(), 201, true),
        ("Content-Location", "/named?v=1".to_owned(), 200, true),
        ("Location", "named?v=1".to_owned(), 303, true),
        ("Location", "/other/../named?v=1#part".to_owned(), 201, true),
        ("Location", format!("{here}/named?v=1"), 201, true),
        ("Location", "http://elsewhere.example/named?v=1".to_owned(), 201, false),
        ("Location", "/named".to_owned(), 201, false),
        ("Location", "/named?v=1".to_owned(), 404, false),
        ("Location", "/named?v=1".to_owned(), 500, false),
    ];
    counting(&origin, "/named", &[]);
    let host = here.trim_start_matches("http://").to_owned();
    let named = Request::get("/named?v=1").host(&host);
    let mut stands = edge.ask(&named).await.expect(200).text();
    for (field, value, status, outdates) in table {
        origin.on("/write", Answer::new(status, "").field(field, &value));
        edge.ask(&post("/write").host(&host)).await.expect(status);
        let now = edge.ask(&named).await.expect(200).text();
        assert_eq!(now != stands, outdates, "{field}: {value} with {status}");
        stands = now;
    }
    assert_eq!(origin.hits("/named"), 6, "asked again only where it was outdated");
    edge.outcomes("hit", 4).await;
    edge.outcomes("miss", 6).await;
}

#[tokio::test]
async fn a_group_is_outdated_as_a_whole_on_its_origin_and_survives_no_restart() {
    const GROUPED: &[(&str, &str)] = &[("Cache-Groups", "\"course-7\", \"all\"")];
    let origin = Origin::start().await;
    for path in ["/a", "/b", "/s"] {
        counting(&origin, path, GROUPED);
    }
    counting(&origin, "/other", &[("Cache-Groups", "\"course-8\"")]);
    counting(&origin, "/none", &[]);
    origin.on_call("/write", |seen, _| {
        let groups = seen.target.split_once('?').map_or("", |(_, groups)| groups);
        Answer::new(if groups == "failed" { 500 } else { 204 }, "").field(
            "Cache-Group-Invalidation",
            format!("\"{}\"", if groups == "failed" { "course-7" } else { groups }),
        )
    });
    let folder = "[[disk.folder]]\npath = \"disk\"\nlimit = \"64MiB\"\n";
    let mut edge = Edge::before(&origin, folder).await;
    let all = ["/a", "/b", "/other", "/none"];
    let ask = async |edge: &Edge, bodies: [&str; 4]| {
        for (path, body) in all.iter().zip(bodies) {
            edge.get(path).await.expect_body(200, body);
        }
    };
    ask(&edge, ["0", "0", "0", "0"]).await;
    edge.ask(&post("/write?failed")).await.expect(500);
    edge.ask(&Request::get("/write?course-7")).await.expect(204);
    ask(&edge, ["0", "0", "0", "0"]).await;
    edge.ask(&post("/write?course-7")).await.expect(204);
    ask(&edge, ["1", "1", "0", "0"]).await;
    ask(&edge, ["1", "1", "0", "0"]).await;
    edge.settled().await;
    edge.stop().await;
    edge.start_again().await;
    // Whether a group was made outdated before is not known any more.
    ask(&edge, ["2", "2", "1", "0"]).await;
    ask(&edge, ["2", "2", "1", "0"]).await;
    edge.outcomes("hit", 5).await;
}

#[tokio::test]
async fn a_group_that_is_outdated_while_a_fill_brings_one_of_it_is_not_stored_by_it() {
    let (origin, body) = (Origin::start().await, Gate::new());
    let in_body = body.clone();
    origin.on_call("/a", move |_, n| {
        let answer = Answer::storable(if n == 0 { vec![b'o'; 100_000] } else { b"new".to_vec() });
        let answer = answer.field("Cache-Groups", "\"g\"");
        if n == 0 { answer.pause(50_000, &in_body) } else { answer }
    });
    origin.on("/write", Answer::new(204, "").field("Cache-Group-Invalidation", "\"g\""));
    let edge = Edge::before(&origin, "").await;
    let mut reader = edge.client().await;
    reader.send(&Request::get("/a").bytes()).await;
    body.arrived(1).await;
    edge.ask(&post("/write")).await.expect(204);
    edge.get("/a").await.expect_body(200, "new");
    body.open();
    reader.reply("GET").await.expect_body(200, vec![b'o'; 100_000]);
    eventually("the end of the old fill", async || edge.metric("lectern_fills_in_flight", &[]).await == 0.0)
        .await;
    edge.get("/a").await.expect_body(200, "new");
    assert_eq!(origin.hits("/a"), 2);
    edge.outcomes("hit", 1).await;
}

const OLD: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

/// Stale when it comes.
fn stale() -> Answer {
    Answer::ok("old")
        .field("ETag", "\"a\"")
        .field("Last-Modified", OLD)
        .field("Cache-Control", "max-age=10")
        .field("Age", "20")
}

#[tokio::test]
async fn a_head_brings_what_is_stored_up_to_date_or_takes_it_away() {
    let fresh = |answer: Answer| answer.field("Cache-Control", "max-age=60").field("X-New", "1");
    let same = || fresh(Answer::ok("old").field("ETag", "\"a\""));
    let table = [
        ("the same", same(), "", None, 1, "hit"),
        ("another tag", fresh(Answer::ok("new").field("ETag", "\"b\"")), "", None, 2, "uri-miss"),
        ("another length", fresh(Answer::ok("longer").field("ETag", "\"a\"")), "", None, 2, "uri-miss"),
        ("no validator", fresh(Answer::ok("old")), "", None, 2, "stale"),
        ("not found", fresh(Answer::new(404, "")), "", None, 2, "stale"),
        ("a learner's", same(), "s=1", None, 2, "stale"),
        (
            "a learner's, for all",
            same().instead("Cache-Control", "public, max-age=60"),
            "s=1",
            None,
            1,
            "hit",
        ),
        ("a learner's, another", fresh(Answer::ok("new").field("ETag", "\"b\"")), "s=1", None, 2, "stale"),
        ("not to be stored any more", same().instead("Cache-Control", "no-store"), "", None, 2, "stale"),
        ("on paths that pass", same(), "", Some("verdict = \"pass\""), 2, "stale"),
    ];
    for (what, head, cookie, rule, gets, then) in table {
        let origin = Origin::start().await;
        origin.on_call("/a", move |seen, _| if seen.method == "HEAD" { head.clone() } else { stale() });
        let heads = rule.map(|rule| {
            format!("[[site.rule]]\nname = \"heads\"\nmethod = [\"HEAD\"]\nprefix = \"/\"\n{rule}\n")
        });
        let edge = Edge::before(&origin, &heads.unwrap_or_default()).await;
        edge.get("/a").await.expect_body(200, "old");
        let mut asked = Request::new("HEAD", "/a");
        if !cookie.is_empty() {
            asked = asked.field("Cookie", cookie);
        }
        edge.ask(&asked).await;
        let reply = edge.get("/a").await.expect(200);
        assert!(reply.field("cache-status").unwrap().contains(then), "{what}: {reply}");
        assert_eq!(reply.field("x-new"), (then == "hit").then_some("1"), "{what}");
        let got = origin.seen("/a").iter().filter(|seen| seen.method == "GET").count();
        assert_eq!(got, gets, "{what}");
        edge.outcomes("pass", 1).await;
    }
}
