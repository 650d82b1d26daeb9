//! Warm-up: what learners will ask for is fetched beforehand, and nobody is let in by it.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::asked::{checks, film, of, rules};
use crate::support::{
    answer::Answer,
    edge::Edge,
    gate::Gate,
    message::Request,
    moodle::{ENTRY, LECTURE, Moodle, SCRIPT},
    origin::Origin,
};

/// A school whose site has a service credential in the file `service`, which shows this cookie.
async fn school_served_by(cookie: impl FnOnce(&Moodle) -> String) -> (Moodle, Edge, tempfile::TempDir) {
    let (moodle, folder) = (Moodle::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("service");
    fs::write(&file, format!("# the warm-up's account\nCookie: {}\n", cookie(&moodle))).unwrap();
    let own = format!("service_credential = \"{}\"\n{}", file.display(), rules(""));
    let edge = Edge::before(&moodle.origin, &own).await;
    (moodle, edge, folder)
}

/// Signs the account of the warm-up in, which is enrolled as a learner is.
fn service(moodle: &Moodle) -> String {
    moodle.enrols("service", 2);
    moodle.signs_in("service")
}

fn url(target: &str) -> String {
    format!("http://lms-a.example{target}")
}

/// The lines of a warm-up of these targets, by target, and its last.
async fn warm(edge: &Edge, targets: &[&str]) -> (Vec<(String, Value)>, Value) {
    let body = json!({ "urls": targets.iter().map(|target| url(target)).collect::<Vec<_>>() });
    let reply = edge.control("POST", "/v1/warm", &body.to_string()).await.expect(200);
    assert_eq!(reply.field("content-type"), Some("application/x-ndjson"));
    let mut lines: Vec<Value> =
        reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done = lines.pop().unwrap()["done"].take();
    assert!(done.is_object(), "the last line counts");
    let mut lines: Vec<_> = lines
        .into_iter()
        .map(|line| {
            (line["url"].as_str().unwrap().trim_start_matches("http://lms-a.example").to_owned(), line)
        })
        .collect();
    lines.sort_by_key(|(target, _)| targets.iter().position(|known| known == target));
    (lines, done)
}

/// What became of the only target of a warm-up: its word, status and reason.
async fn warm_one(edge: &Edge, target: &str) -> (String, Option<u64>, Option<String>) {
    let (lines, _) = warm(edge, &[target]).await;
    let [(_, line)] = &lines[..] else { panic!("{lines:?}") };
    let text = |key: &str| line[key].as_str().map(str::to_owned);
    (text("result").unwrap(), line["status"].as_u64(), text("why"))
}

fn exit(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_class_finds_warm_what_the_service_account_was_let_in_to() {
    let (moodle, edge, _folder) = school_served_by(service).await;
    let targets = [ENTRY, SCRIPT, LECTURE];
    let (lines, done) = warm(&edge, &targets).await;
    for (target, line) in &lines {
        assert_eq!(
            (line["result"].as_str(), line["status"].as_u64()),
            (Some("warmed"), Some(200)),
            "{target}"
        );
        assert!(moodle.origin.last(target).field("cookie").unwrap().starts_with("MoodleSession=services"));
    }
    assert_eq!(
        done,
        json!({"fresh": 0, "warmed": 3, "not-stored": 0, "refused": 0, "failed": 0, "settling": 0})
    );
    let sent: Vec<_> = targets.iter().map(|target| moodle.origin.sent(target)).collect();

    let student = moodle.signs_in("student");
    edge.ask(&of(&student, LECTURE)).await.expect_body(200, film());
    edge.ask(&of(&student, ENTRY)).await.expect(200);
    edge.ask(&of(&student, SCRIPT)).await.expect(200);
    assert_eq!(checks(&edge, "yes").await, 2, "one for the package, one for the film");
    assert_eq!(targets.map(|target| moodle.origin.sent(target)).to_vec(), sent, "no body was fetched again");

    // Nobody is let in by what the account was told.
    edge.ask(&of("MoodleSession=forged", LECTURE)).await.expect(303);
    edge.get(ENTRY).await.expect(303);
    edge.ask(&of(&moodle.signs_in("outsider"), SCRIPT)).await.expect(303);
}

#[tokio::test]
async fn what_is_stored_is_not_fetched_again_and_what_was_purged_is() {
    let (moodle, edge, _folder) = school_served_by(service).await;
    assert_eq!(warm_one(&edge, SCRIPT).await.0, "warmed");
    assert_eq!(warm_one(&edge, SCRIPT).await, ("fresh".into(), None, None));
    assert_eq!(moodle.origin.hits(SCRIPT), 1);
    edge.purge(&url(SCRIPT)).await;
    let settling = Some("settling".to_owned());
    assert_eq!(warm_one(&edge, SCRIPT).await, ("warmed".into(), Some(200), settling.clone()));
    assert_eq!(warm_one(&edge, SCRIPT).await, ("fresh".into(), None, settling));
    let (code, told, warned) = exit(&edge.run(&["warm", &url(SCRIPT)]).await);
    assert_eq!((code, &*told), (Some(0), "stored: 1 (1 were fresh already)\n"));
    assert!(warned.contains("1 of them only until a purge before it has settled"), "{warned}");
    let seen = moodle.origin.last(SCRIPT);
    assert!(moodle.origin.hits(SCRIPT) == 2 && seen.field("if-none-match").is_none());
    edge.outcomes("miss", 2).await;
    let lines = edge.log(2).await;
    assert!(lines.iter().all(|line| line["listener"] == "warm-up" && line["learner"].is_string()));
}

#[tokio::test]
async fn a_session_that_is_over_warms_nothing_until_its_file_has_another() {
    let (moodle, edge, folder) = school_served_by(service).await;
    let of_before = fs::read_to_string(folder.path().join("service")).unwrap();
    moodle.signs_out(&of_before);
    assert_eq!(warm_one(&edge, ENTRY).await, ("not-stored".into(), Some(303), None));
    moodle.unenrols("service", 2);
    fs::write(folder.path().join("service"), format!("Cookie: {}", moodle.signs_in("service"))).unwrap();
    assert_eq!(warm_one(&edge, ENTRY).await.0, "not-stored", "not enrolled");
    moodle.enrols("service", 2);
    assert_eq!(warm_one(&edge, ENTRY).await.0, "warmed");
    // Known as current, and then withdrawn from the account: nothing is relayed to nobody.
    edge.control("POST", "/v1/access/forget", "{\"site\":\"lms\"}").await.expect(200);
    moodle.unenrols("service", 2);
    assert_eq!(warm_one(&edge, ENTRY).await.0, "fresh", "it is there for who may have it");
}

#[tokio::test]
async fn without_a_credential_of_use_the_lms_is_not_asked() {
    let moodle = Moodle::start().await;
    let edge = Edge::before(&moodle.origin, &rules("")).await;
    assert_eq!(warm_one(&edge, ENTRY).await, ("refused".into(), None, Some("no-credential".into())));
    assert!(moodle.origin.requests().is_empty());

    let (moodle, edge, folder) = school_served_by(|_| "lang=de".into()).await;
    assert_eq!(warm_one(&edge, ENTRY).await.2.as_deref(), Some("wrong-credential"));
    fs::write(folder.path().join("service"), "MoodleSession=abc").unwrap();
    assert_eq!(warm_one(&edge, ENTRY).await.2.as_deref(), Some("unusable-credential"));
    edge.says("the service credential cannot be used").await;
    assert!(edge.said().iter().all(|line| !line.contains("abc")));
    fs::remove_file(folder.path().join("service")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("service")).unwrap();
    assert_eq!(warm_one(&edge, ENTRY).await.2.as_deref(), Some("unusable-credential"), "it has no end");
    fs::remove_file(folder.path().join("service")).unwrap();
    assert_eq!(warm_one(&edge, ENTRY).await.2.as_deref(), Some("unusable-credential"));
    assert!(moodle.origin.requests().is_empty());
    assert_eq!(edge.metric("lectern_requests_total", &[]).await, 0.0, "nothing came of it");
}

#[tokio::test]
async fn each_url_is_told_what_it_came_to() {
    let origin = Origin::start().await;
    origin.on("/stored", Answer::storable("a"));
    origin.on("/private", Answer::ok("b").field("Cache-Control", "private"));
    origin.on("/busy", Answer::new(503, ""));
    origin.on("/cut", Answer::storable("abcdef").closes_after(3));
    origin.on("/passed/a", Answer::storable("c"));
    let rules = "[[site.rule]]\nname = \"no\"\nprefix = \"/no/\"\nverdict = \"refuse\"\n\
                 [[site.rule]]\nname = \"passed\"\nprefix = \"/passed/\"\nverdict = \"pass\"\n";
    let edge = Edge::before(&origin, rules).await;
    let targets = ["/stored", "/private", "/busy", "/cut", "/passed/a", "/no/a"];
    let (lines, done) = warm(&edge, &targets).await;
    let told: Vec<_> =
        lines.iter().map(|(_, line)| (line["result"].as_str().unwrap(), line["why"].as_str())).collect();
    assert_eq!(told[0], ("warmed", None));
    assert_eq!(told[1], ("not-stored", Some("private")));
    assert_eq!((told[2].0, lines[2].1["status"].as_u64()), ("failed", Some(503)));
    assert_eq!(told[3].0, "failed");
    assert_eq!(told[4..], [("refused", Some("pass")), ("refused", Some("rule"))]);
    assert_eq!(
        done,
        json!({"fresh": 0, "warmed": 1, "not-stored": 1, "refused": 2, "failed": 2, "settling": 0})
    );
    assert_eq!((origin.hits("/passed/a"), origin.hits("/no/a")), (0, 0));
    edge.get("/stored").await.expect_body(200, "a");
    edge.outcomes("hit", 1).await;
    assert_eq!(origin.hits("/stored"), 1);

    let urls: Vec<_> = targets.iter().map(|target| url(target)).collect();
    let args: Vec<_> = std::iter::once("warm").chain(urls.iter().map(String::as_str)).collect();
    let (code, out, err) = exit(&edge.run(&args).await);
    assert_eq!(code, Some(75), "{err}");
    assert!(out.contains("not stored: http://lms-a.example/private (status 200, private)"), "{out}");
    assert!(out.contains("stored: 1 (1 were fresh already)"), "{out}");
    let (code, out, err) = exit(&edge.run(&["warm", &urls[0]]).await);
    assert_eq!((code, &*out, &*err), (Some(0), "stored: 1 (1 were fresh already)\n", ""));
    let (code, ..) = exit(&edge.run(&["warm", &urls[0], &urls[1]]).await);
    assert_eq!(code, Some(65), "asking again does not help");
}

#[tokio::test]
async fn a_list_of_a_file_is_warmed_and_no_more_at_once_than_was_said() {
    let origin = Origin::start().await;
    let held = Gate::new();
    let holds = held.clone();
    origin
        .on_call("/held/*", move |_, _| Answer { before_head: Some(holds.clone()), ..Answer::storable("a") });
    let edge = Edge::before(&origin, "").await;
    let list: Vec<_> = (0..5).map(|n| url(&format!("/held/{n}"))).collect();
    fs::write(edge.path("list"), format!("# the course\n\n{}\n", list.join("\n"))).unwrap();
    let arguments = ["warm", "--list", "list", "--at-once", "2", "--per-second", "1000"];
    let warming = edge.run(&arguments);
    let looks = async {
        held.arrived(2).await;
        assert_eq!(origin.requests().len(), 2, "the others wait");
        held.open();
    };
    let (output, ()) = futures_util::join!(warming, looks);
    assert_eq!(exit(&output), (Some(0), "stored: 5 (0 were fresh already)\n".into(), String::new()));
    assert_eq!(origin.requests().len(), 5);
    edge.outcomes("miss", 5).await;
}

#[tokio::test]
async fn who_stops_reading_ends_the_warm_up() {
    let (origin, held) = (Origin::start().await, Gate::new());
    let holds = held.clone();
    origin
        .on_call("/held/*", move |_, _| Answer { before_head: Some(holds.clone()), ..Answer::storable("a") });
    let edge = Edge::before(&origin, "").await;
    let urls: Vec<_> = (0..20).map(|n| url(&format!("/held/{n}"))).collect();
    let body = json!({ "urls": urls, "at_once": 1 }).to_string();
    let warming = edge.control("POST", "/v1/warm", &body);
    tokio::select! {
        _ = warming => panic!("it is held"),
        () = held.arrived(1) => {}
    }
    held.open();
    edge.settled().await;
    // A fill under way is nobody's; no other begins.
    assert_eq!(warm_one(&edge, "/held/0").await.0, "fresh");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_call_that_cannot_be_met_fetches_nothing() {
    let (moodle, edge, _folder) = school_served_by(service).await;
    for (body, says) in [
        ("{\"urls\":[]}", "1 to 10000"),
        ("{\"urls\":[\"http://lms-a.example/a\",\"/b\"]}", "whole"),
        ("{\"urls\":[\"http://lms-a.example/a\"],\"at_once\":0}", "nonzero"),
        ("{\"urls\":[\"http://lms-a.example/a\"],\"at_once\":65}", "64 at most"),
        ("{\"urls\":[\"http://lms-a.example/a\"],\"threads\":1}", "threads"),
    ] {
        let reply = edge.control("POST", "/v1/warm", body).await.expect(422);
        assert!(reply.text().contains(says), "{says}: {reply}");
    }
    let (code, _, err) = exit(&edge.run(&["warm", "--list", "absent"]).await);
    assert!(code == Some(66) && err.contains("absent"), "{err}");
    assert!(moodle.origin.requests().is_empty());
    // Another's host is no site's here.
    let body = "{\"urls\":[\"http://lms-a.example/pluginfile.php/14/%2e%2e/x%00\"]}";
    let text = edge.control("POST", "/v1/warm", body).await.expect(200).text();
    assert!(text.contains("\"result\":\"refused\""), "{text}");
    assert!(moodle.origin.requests().is_empty());
}

#[tokio::test]
async fn learners_go_first_where_the_origin_has_no_place_for_all() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/held", Answer::storable("held").behind(&gate));
    origin.on("/film.mp4", Answer::storable("film").field("Content-Type", "video/mp4"));
    let edge = Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\nin_flight = 1\nqueue = 0\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
        origin.addr()
    ))
    .await;
    let mut learner = edge.client().await;
    learner.send(&Request::new("GET", "/held").bytes()).await;
    gate.arrived(1).await;
    assert_eq!(warm_one(&edge, "/film.mp4").await.0, "failed");
    let turned_away = edge.metric("lectern_origin_requests_turned_away_total", &["class=\"warm-up\""]).await;
    assert_eq!(turned_away, 1.0);
    gate.open();
    learner.reply("GET").await.expect_body(200, "held");
    assert_eq!(warm_one(&edge, "/film.mp4").await.0, "warmed");
}
