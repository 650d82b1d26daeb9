//! A module switches version in one step.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use serde_json::json;

use super::course::{Course, IMMUTABLE, activate, plain, releases, stage, step, warm};
use crate::support::{
    answer::Answer, client::Client, deadline::eventually, edge::Edge, gate::Gate, h2::H2, message::Request,
};

const FILES: usize = 24;

fn target(version: usize, number: usize) -> String {
    format!("/m/physics/{version}/f{number}.js")
}

#[tokio::test]
async fn readers_get_one_version_before_while_and_after_the_fronts_are_updated() {
    let course = Arc::new(Course::start(2, plain).await);
    let edge = course.edge().await;
    stage(&edge, "1", &course.list(FILES, 1)).await;
    assert_eq!(warm(&edge, "1").await["warmed"], FILES);
    activate(&edge, "1").await;

    // What is active by now, and what may be: who asks before the acknowledgement may get either.
    let (acknowledged, asked_for) = (Arc::new(AtomicUsize::new(1)), Arc::new(AtomicUsize::new(1)));
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (mut readers, address) = (Vec::new(), edge.address("web").await);
    for reader in 0..6 {
        let course = course.clone();
        let (acknowledged, asked_for) = (acknowledged.clone(), asked_for.clone());
        let (stop, answers) = (stop.clone(), answers.clone());
        readers.push(tokio::spawn(async move {
            let (mut h1, h2) = (Client::connect(address).await, H2::connect(address).await);
            let mut turn = reader;
            while !stop.load(SeqCst) {
                turn += 1;
                let (number, url) = (turn % FILES, 1 + turn % 2);
                let least = acknowledged.load(SeqCst);
                let reply = match reader % 2 {
                    0 => h1.get(&target(url, number)).await,
                    _ => h2.get(&target(url, number)).await,
                };
                // The former is asked for again while a request is under way.
                let (least, most) = (least.min(acknowledged.load(SeqCst)), asked_for.load(SeqCst));
                let (reply, version) = (reply.clone().expect(200), course.version_of(number, &reply));
                assert!(version == 0 || (least..=most).contains(&version), "{version} of {least} to {most}");
                let kept = reply.field("cache-control") == Some(IMMUTABLE);
                assert!(!kept || version == 0 || version == url, "{version} stands under {url} in browsers");
                answers.fetch_add(1, SeqCst);
            }
        }));
    }
    let read = async |more: usize| {
        let until = answers.load(SeqCst) + more;
        eventually(format!("{more} answers"), async || answers.load(SeqCst) >= until).await;
    };
    read(60).await;
    course.update(0, 2);
    read(60).await;
    edge.purge("http://lms-a.example/m/other/1/f0.js").await;
    course.update(1, 2);
    read(60).await;
    stage(&edge, "2", &course.list(FILES, 2)).await;
    let warmed = warm(&edge, "2").await;
    assert_eq!(
        (&warmed["fresh"], &warmed["warmed"]),
        (&json!(FILES / 2), &json!(FILES / 2)),
        "equal files are not fetched"
    );
    read(60).await;
    asked_for.store(2, SeqCst);
    activate(&edge, "2").await;
    acknowledged.store(2, SeqCst);
    read(120).await;
    let before = course.requests();
    // Who asks from here on may get the former.
    acknowledged.store(1, SeqCst);
    let (status, told) = step(&edge, "roll-back", json!({"release": "1"})).await;
    assert_eq!(status, 200, "{told}");
    stop.store(true, SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
    for number in 0..FILES {
        let reply = edge.get(&target(2, number)).await.expect(200);
        assert_ne!(course.version_of(number, &reply), 2);
    }
    assert_eq!(course.requests(), before, "going back asks the origin for nothing");
    assert_eq!(course.requests(), FILES + FILES / 2, "each file was fetched once");
    eventually("a line of the access log with module and release", async || {
        let line = edge.log(1).await.pop().unwrap();
        (&line["module"], &line["release"]) == (&json!("physics"), &json!("1"))
    })
    .await;
}

#[tokio::test]
async fn a_purge_of_any_url_of_a_file_covers_it_for_who_asks_for_that() {
    let course = Course::start(2, plain).await;
    let edge = course.edge().await;
    stage(&edge, "1", &course.list(2, 1)).await;
    warm(&edge, "1").await;
    activate(&edge, "1").await;
    let fetched = async |version: usize| {
        let before = course.requests();
        edge.get(&target(version, 0)).await.expect(200);
        course.requests() - before
    };
    assert_eq!((fetched(1).await, fetched(7).await), (0, 0));
    edge.purge("http://lms-a.example/m/physics/7/f0.js").await;
    assert_eq!((fetched(7).await, fetched(1).await, fetched(7).await), (1, 0, 0));
    let purge = r#"{"kind":"prefix","url":"http://lms-a.example/m/physics/7/","settle":0}"#;
    edge.control("POST", "/v1/purges", purge).await.expect(200);
    assert_eq!((fetched(7).await, fetched(1).await), (1, 0));
    edge.purge("http://lms-a.example/m/physics/1/f0.js").await;
    assert_eq!((fetched(7).await, fetched(1).await), (1, 0), "whoever comes first has it fetched for all");
}

#[tokio::test]
async fn a_fill_of_one_release_ends_under_the_next_and_is_never_found_there() {
    let course = Course::start(1, plain).await;
    let gate = Gate::new();
    let edge = course.edge().await;
    for (number, front) in course.fronts.iter().enumerate() {
        let held = Answer::ok(super::course::body("f0.js", 1, 1)).field("Cache-Control", IMMUTABLE);
        let held = held.field("ETag", "\"front-1\"").field("Content-Type", "text/javascript");
        front.on("/m/physics/1/f0.js", held.pause(10, &gate));
        course.update(number, 2);
    }
    stage(&edge, "1", &course.list(1, 1)).await;
    step(&edge, "activate", json!({"release": "1", "cold": true})).await;
    let mut early = edge.client().await;
    early.send(&Request::get(&target(1, 0)).bytes()).await;
    gate.arrived(1).await;
    stage(&edge, "2", &course.list(1, 2)).await;
    step(&edge, "activate", json!({"release": "2", "cold": true})).await;
    // The same URL, which now means the other release: it does not wait for the fill under way.
    assert_eq!(course.version_of(0, &edge.get(&target(1, 0)).await.expect(200)), 2);
    gate.open();
    let reply = early.reply("GET").await.expect(200);
    assert_eq!(course.version_of(0, &reply), 1, "who came before the activation gets what it began with");
    edge.settled().await;
    for version in [1, 2] {
        assert_eq!(course.version_of(0, &edge.get(&target(version, 0)).await.expect(200)), 2);
    }
}

#[tokio::test]
async fn the_first_stage_takes_over_what_is_stored() {
    let course = Course::start(2, plain).await;
    let edge = course.edge().await;
    for number in 0..FILES {
        edge.get(&target(1, number)).await.expect(200);
    }
    let before = course.requests();
    let told = stage(&edge, "1", &course.list(FILES, 1)).await;
    assert_eq!((&told["release"]["stored"], &told["release"]["files"]), (&json!(FILES), &json!(FILES)));
    activate(&edge, "1").await;
    for number in 0..FILES {
        let reply = edge.get(&target(1, number)).await.expect(200);
        assert_eq!(reply.field("cache-control"), Some(IMMUTABLE), "proven, and under its own URL");
    }
    assert_eq!(course.requests(), before, "no module goes cold by being released");
}

#[tokio::test]
async fn after_a_kill_between_any_two_steps_the_module_is_as_the_last_one_says() {
    let course = Course::start(2, plain).await;
    let mut edge = course.edge().await;
    let serves = async |edge: &Edge, version: usize| {
        for number in 0..4 {
            let reply = edge.get(&target(2, number)).await.expect(200);
            let got = course.version_of(number, &reply);
            assert!(got == 0 || got == version, "{got} for {version}");
        }
    };
    macro_rules! killed {
        ($told:expr) => {
            edge.kill().await;
            edge.start_again().await;
            assert_eq!(releases(&edge).await, $told);
        };
    }
    stage(&edge, "1", &course.list(4, 1)).await;
    killed!(["", "1", ""]);
    warm(&edge, "1").await;
    killed!(["", "1", ""]);
    warm(&edge, "1").await;
    activate(&edge, "1").await;
    killed!(["1", "", ""]);
    serves(&edge, 1).await;
    (0..2).for_each(|front| course.update(front, 2));
    stage(&edge, "2", &course.list(4, 2)).await;
    killed!(["1", "2", ""]);
    warm(&edge, "2").await;
    activate(&edge, "2").await;
    killed!(["2", "", "1"]);
    serves(&edge, 2).await;
    step(
        &edge,
        "stage",
        json!({"release": "3", "base": "http://lms-a.example/m/physics/3/", "list": "f0.js"}),
    )
    .await;
    killed!(["2", "3", "1"]);
    assert_eq!(step(&edge, "abort", json!({"release": "3"})).await.0, 200);
    killed!(["2", "", "1"]);
    serves(&edge, 2).await;
}

#[tokio::test]
async fn what_would_break_a_promise_is_refused_and_says_why() {
    let course = Course::start(2, plain).await;
    let edge = course.edge().await;
    let kind =
        |told: &serde_json::Value| told["type"].as_str().unwrap_or_default().replace("urn:lectern:", "");
    let base = "http://lms-a.example/m/physics/1/";
    let refused = async |name: &str, body: serde_json::Value| {
        let (status, told) = step(&edge, name, body).await;
        (status, kind(&told), told["detail"].as_str().unwrap_or_default().to_owned())
    };
    for (name, body, status, word, detail) in [
        ("activate", json!({"release": "1"}), 409, "not-staged", "\"1\" is not staged"),
        ("roll-back", json!({"release": "1"}), 409, "not-previous", "\"1\" was not active"),
        ("abort", json!({"release": "1"}), 409, "not-staged", "\"1\" is not staged"),
        ("stage", json!({"release": "a/b", "base": base, "list": "x"}), 422, "wrong-release", "letters"),
        ("stage", json!({"release": "..", "base": base, "list": "x"}), 422, "wrong-release", "letters"),
        ("stage", json!({"release": "1", "base": base, "list": ""}), 422, "wrong-release", "0 files"),
        ("stage", json!({"release": "1", "base": base, "list": "a b"}), 422, "wrong-release", "line 1"),
        (
            "stage",
            json!({"release": "1", "base": base, "list": "../../math/1/a"}),
            422,
            "wrong-release",
            "physics",
        ),
        ("stage", json!({"release": "1", "base": base, "list": "/other"}), 422, "wrong-release", "no rule"),
        ("stage", json!({"release": "1", "base": "/m/", "list": "a"}), 422, "bad-url", "whole"),
        (
            "stage",
            json!({"release": "1", "base": "http://x.example/", "list": "a"}),
            404,
            "unknown-host",
            "x.example",
        ),
        ("warm", json!({"release": "1"}), 409, "not-staged", "\"1\""),
    ] {
        let told = refused(name, body.clone()).await;
        assert!(told.0 == status && told.1 == word && told.2.contains(detail), "{name} {body}: {told:?}");
    }
    assert_eq!(edge.control("GET", "/v1/modules/physics?site=lms", "").await.status, 404);
    assert_eq!(edge.control("GET", "/v1/modules/physics?site=none", "").await.status, 404);

    stage(&edge, "1", &course.list(4, 1)).await;
    let repeated = stage(&edge, "1", &course.list(4, 1)).await;
    assert_eq!(repeated["repeated"], json!(true), "the same is staged once");
    let told = refused("stage", json!({"release": "1", "base": base, "list": "f0.js"})).await;
    assert_eq!((told.0, told.1.as_str()), (409, "release-taken"));
    let told = refused("stage", json!({"release": "2", "base": base, "list": "f0.js"})).await;
    assert_eq!((told.0, told.1.as_str()), (409, "other-staged"));
    edge.get("/m/physics/1/f1.js").await;
    let told = refused("activate", json!({"release": "1"})).await;
    assert_eq!((told.0, told.1.as_str()), (409, "not-warm"));
    assert!(told.2.starts_with("1 of 4 files are stored"), "{told:?}");
    assert_eq!(step(&edge, "activate", json!({"release": "1", "cold": true})).await.0, 200);
    let (status, told) = step(&edge, "activate", json!({"release": "1"})).await;
    assert_eq!((status, &told["repeated"]), (200, &json!(true)));

    (0..2).for_each(|front| course.update(front, 2));
    stage(&edge, "2", &course.list(4, 2)).await;
    warm(&edge, "2").await;
    activate(&edge, "2").await;
    let told = refused("roll-back", json!({"release": "1"})).await;
    assert_eq!((told.0, told.1.as_str()), (409, "not-whole"), "the origin has other files by now");
    assert_eq!(releases(&edge).await, ["2", "", "1"]);
    let ledger = edge.control("GET", "/v1/ledger", "").await.expect(200).text();
    assert!(ledger.contains("release-activate") && ledger.contains("cold"), "{ledger}");
    assert!(!ledger.contains("release-roll-back"), "what was refused is no record");
}

#[tokio::test]
async fn what_a_closed_release_does_not_list_is_relayed_and_what_an_open_one_does_not_is_as_before() {
    let course = Course::start(2, plain).await;
    let edge = course.edge().await;
    for (release, open) in [("1", false), ("2", true)] {
        let base = format!("http://lms-a.example/m/physics/{release}/");
        let list = course.list(1, 1);
        let body = json!({"release": release, "base": base, "list": list, "open": open});
        assert_eq!(step(&edge, "stage", body).await.0, 200);
        warm(&edge, release).await;
        activate(&edge, release).await;
        let before = course.requests();
        for _ in 0..2 {
            let reply = edge.get("/m/physics/1/f7.js").await.expect(200);
            assert_eq!(reply.field("cache-control"), Some("no-cache"), "nobody knows of which version it is");
        }
        assert_eq!(course.requests() - before, if open { 1 } else { 2 }, "open: {open}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_takes_all_steps() {
    let course = Course::start(2, plain).await;
    let edge = course.edge().await;
    std::fs::write(edge.path("list"), course.list(3, 1)).unwrap();
    let run = |arguments: &[&str]| {
        let output = edge.command(arguments);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let base =
        ["--site", "lms", "--base", "http://lms-a.example/m/physics/1/", "--list", "list", "--reason", "new"];
    let staged = run(&[&["release", "stage", "physics", "1"][..], &base].concat());
    assert!(staged.0 == 0 && staged.1.contains("1: 0 of 3 files are stored"), "{staged:?}");
    let cold = run(&["release", "activate", "physics", "1", "--site", "lms"]);
    assert!(cold.0 == 65 && cold.2.contains("0 of 3 files are stored"), "{cold:?}");
    let warmed = run(&["release", "warm", "physics", "1", "--site", "lms"]);
    assert!(warmed.0 == 0 && warmed.1.contains("stored: 3 (0 were fresh already)"), "{warmed:?}");
    let active = run(&["release", "activate", "physics", "1", "--site", "lms", "--reason", "term begins"]);
    assert!(active.0 == 0 && active.1.starts_with("applied: number 2"), "{active:?}");
    let shown = run(&["module", "physics", "--site", "lms"]);
    assert!(shown.1.contains("active: 1 (3 of 3 files stored; staged by test, number 1)"), "{shown:?}");
    assert!(shown.1.contains("activated by test, number 2: term begins"), "{shown:?}");
    assert_eq!(run(&["release", "rollback", "physics", "0", "--site", "lms"]).0, 65);
    assert_eq!(run(&["release", "abort", "physics", "0", "--site", "lms"]).0, 65);
    let log = run(&["ledger", "log"]);
    assert!(log.1.contains("release-activate physics 1"), "{log:?}");
}
