//! Before Moodle 4.5 as it was measured: its answers verbatim, its faults (304 to anything, 407, empty fields, two lines).
//!
//! - `preset`: the example for Moodle, as it stands.
//! - `recorded`: the scripted Moodle says what the recorded one said.

mod preset;
mod recorded;

use crate::support::{
    answer::Answer,
    deadline::eventually,
    edge::Edge,
    film::Film,
    gate::Gate,
    message::{Framing, Request},
    moodle::{FILM, LECTURE, Moodle, SCRIPT, STYLES},
    origin::{Origin, Seen},
    parts::parts,
};

const OLD_TAG: &str = "\"60d9020bf475b98ddfe7478a1e66a7b99c457c4c\"";
const NEW_TAG: &str = "\"f2e7650b4f50cde20911308282c98e9def094a6f\"";
/// Older than its longest lifetime.
const OLD: &str = "7776001";

/// A theme's file: coded and chunked, no ranges.
fn styles(body: &str, tag: &str) -> Answer {
    Answer::ok(body)
        .chunked()
        .field("Server", "nginx/1.22.1")
        .field("Content-Type", "text/css; charset=utf-8")
        .field("Etag", tag)
        .field("Content-Disposition", "inline; filename=\"styles.php\"")
        .field("Last-Modified", "Wed, 25 Nov 2026 14:50:04 GMT")
        .field("Pragma", "")
        .field("Cache-Control", "public, max-age=7776000, immutable")
        .field("Accept-Ranges", "none")
        .field("Vary", "Accept-Encoding")
}

/// To any `If-None-Match`: 304, which names the tag of today.
fn not_modified(tag: &str) -> Answer {
    Answer { framing: Framing::Nothing, ..Answer::new(304, "") }
        .field("Server", "nginx/1.22.1")
        .field("Cache-Control", "public, max-age=7776000")
        .field("Etag", tag)
        .field("Last-Modified", "Wed, 25 Nov 2026 15:07:29 GMT")
}

/// The theme as it is when `tag` is its tag; what is sent is as old as is told.
fn theme(seen: &Seen, body: &str, tag: &str, age: &str) -> Answer {
    match seen.field("if-none-match") {
        Some(_) => not_modified(tag),
        None => styles(body, tag).field("Age", age),
    }
}

#[tokio::test]
async fn a_theme_that_changed_is_seen_by_the_tag_of_a_304_that_means_nothing() {
    let origin = Origin::start().await;
    origin.on_call(STYLES, |seen, _| theme(seen, "old", OLD_TAG, OLD));
    let edge = Edge::before(&origin, "").await;
    edge.get(STYLES).await.expect_body(200, "old");
    // Of age: the condition is right, and so is the answer.
    edge.get(STYLES).await.expect_body(200, "old");
    assert_eq!(origin.last(STYLES).field("if-none-match"), Some(OLD_TAG));
    edge.outcomes("revalidated", 1).await;
    edge.purge(&format!("http://lms-a.example{STYLES}")).await;
    edge.get(STYLES).await.expect_body(200, "old");
    assert_eq!(origin.last(STYLES).field("if-none-match"), None);
    // It changes without a word, and answers 304 all the same.
    origin.on_call(STYLES, |seen, _| theme(seen, "new", NEW_TAG, "0"));
    edge.get(STYLES).await.expect_body(200, "new");
    let asked = origin.seen(STYLES);
    let conditions: Vec<_> = asked.iter().map(|seen| seen.field("if-none-match")).collect();
    assert_eq!(conditions, [None, Some(OLD_TAG), None, Some(OLD_TAG), None]);
    edge.get(STYLES).await.expect_body(200, "new");
    assert_eq!(origin.hits(STYLES), 5);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn a_304_on_its_way_while_the_theme_is_purged_freshens_nothing() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let held = gate.clone();
    origin.on_call(STYLES, move |seen, _| match seen.field("if-none-match") {
        // It names the old tag: it was made before the purge.
        Some(_) => not_modified(OLD_TAG).behind(&held),
        None => styles("old", OLD_TAG).field("Age", OLD),
    });
    let edge = Edge::before(&origin, "").await;
    edge.get(STYLES).await.expect_body(200, "old");
    let mut early = edge.client().await;
    early.send(&Request::get(STYLES).bytes()).await;
    gate.arrived(1).await;
    edge.purge(&format!("http://lms-a.example{STYLES}")).await;
    let new = |seen: &Seen, _: usize| theme(seen, "new", NEW_TAG, "0");
    origin.on_call(STYLES, new);
    let late = edge.get(STYLES).await.expect_body(200, "new");
    assert_eq!(late.field("etag"), Some(NEW_TAG));
    gate.open();
    // Who came before the purge may have either; nobody after it has the old one.
    let early = early.reply("GET").await.expect(200);
    assert!(early.body == b"old" || early.body == b"new", "{early}");
    edge.get(STYLES).await.expect_body(200, "new");
    let conditions: Vec<_> =
        origin.seen(STYLES).iter().map(|seen| seen.field("if-none-match").is_some()).collect();
    assert_eq!(conditions, [false, true, false], "a purge is never asked about");
    assert_eq!(edge.outcome("revalidated").await + edge.outcome("failed").await, 0);
}

#[tokio::test]
async fn a_coded_theme_without_ranges_is_one_body_per_coding() {
    let (plain, zipped) = (Film::new(1, 878_605), Film::new(2, 878_605));
    let (origin, gate) = (Origin::start().await, Gate::new());
    let (bodies, held) = ((plain.clone(), zipped.clone()), gate.clone());
    origin.on_call(STYLES, move |seen, _| {
        let gzip = seen.field("accept-encoding").is_some_and(|accepts| accepts.contains("gzip"));
        let film = if gzip { &bodies.1 } else { &bodies.0 };
        let answer = Answer { film: film.bare().film, ..styles("", OLD_TAG) };
        let answer = answer.pause(400_000, &held);
        if gzip { answer.field("Content-Encoding", "gzip") } else { answer }
    });
    let edge = Edge::before(&origin, "").await;
    let request = |accepts: &str| Request::get(STYLES).field("Accept-Encoding", accepts);
    let mut first = edge.client().await;
    first.send(&request("gzip").bytes()).await;
    gate.arrived(1).await;
    // The length is not known yet: what is named by both its ends can be sent, its end comes from the end.
    let reply = edge.ask(&request("gzip").field("Range", "bytes=300000-300099")).await.expect(206);
    let part = parts(&reply).pop().unwrap();
    assert_eq!((part.first, part.last, part.length), (300_000, 300_099, None), "{reply}");
    assert!(zipped.is_at(300_000, &reply.body) && reply.field("content-encoding") == Some("gzip"), "{reply}");
    gate.open();
    first.reply("GET").await.expect_body(200, zipped.bytes(0, zipped.length));
    for (accepts, film) in [("identity", &plain), ("gzip", &zipped)] {
        edge.ask(&request(accepts)).await.expect_body(200, film.bytes(0, film.length));
        let reply = edge.ask(&request(accepts).field("Range", "bytes=-100")).await;
        let reply = reply.expect_body(206, film.bytes(film.length - 100, film.length));
        assert_eq!(reply.field("content-range"), Some("bytes 878505-878604/878605"), "{reply}");
    }
    assert_eq!(origin.ranges(STYLES), [None, None]);
    edge.outcomes("failed", 0).await;
}

fn of(target: &str, cookie: &str) -> Request {
    Request::get(target).field("Cookie", cookie)
}

#[tokio::test]
async fn a_course_file_is_each_learners_own_question_in_every_shape() {
    let moodle = Moodle::start().await;
    let film = Film::new(1, 12_034_887);
    let tag = moodle.publishes_film(LECTURE, &film);
    let (student, outsider) = (moodle.signs_in("student"), moodle.signs_in("outsider"));
    let edge = Edge::before(&moodle.origin, "").await;
    let (mine, whole) = (|| of(LECTURE, &student), film.bytes(0, film.length));
    let rows: [(Request, u16, Option<&[u8]>); 9] = [
        (mine(), 200, Some(&whole)),
        (mine().field("Range", "bytes=1000000-1000099"), 206, Some(&whole[1_000_000..1_000_100])),
        (mine().field("Range", "bytes=0-0").field("If-Range", "\"x\""), 206, Some(&whole[..1])),
        (mine().field("Range", "bytes=99999999-"), 200, Some(&whole)),
        (mine().field("If-None-Match", &tag), 304, Some(b"")),
        (of(LECTURE, &outsider), 303, None),
        (of(LECTURE, &outsider).field("If-None-Match", &tag), 303, None),
        (Request::get(LECTURE).field("Range", "bytes=0-99"), 407, None),
        (Request::get(LECTURE), 303, None),
    ];
    for round in 0..2 {
        for (n, (request, status, body)) in rows.iter().enumerate() {
            let reply = edge.ask(request).await.expect(*status);
            assert!(body.is_none_or(|body| reply.body == body), "round {round}, row {n}: {reply}");
            let told = reply.field("cache-status").unwrap();
            assert!(!told.contains("hit") && !told.contains("stored"), "round {round}, row {n}: {reply}");
            let last = moodle.origin.last(LECTURE);
            for name in ["range", "if-range", "if-none-match", "cookie"] {
                let sent = request.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
                let sent = sent.map(|(_, value)| value.as_str());
                assert_eq!(last.field(name), sent, "round {round}, row {n}: {name}");
            }
        }
    }
    edge.outcomes("pass", 18).await;
    assert_eq!(edge.metric("lectern_memory_entries", &[]).await, 0.0, "nothing of it is kept");
}

#[tokio::test]
async fn an_unenrolled_learner_is_refused_at_her_next_request() {
    let moodle = Moodle::start().await;
    let student = moodle.signs_in("student");
    let edge = Edge::before(&moodle.origin, "").await;
    let tag = edge.ask(&of(SCRIPT, &student)).await.expect(200).field("etag").unwrap().to_owned();
    let known = || of(SCRIPT, &student).field("If-None-Match", &tag);
    edge.ask(&known()).await.expect_body(304, "");
    edge.ask(&known().field("Range", "bytes=0-3")).await.expect_body(304, "");
    moodle.unenrols("student", 2);
    let reply = edge.ask(&known()).await.expect(303);
    assert_eq!(reply.field("location"), Some("http://lms-a.example/enrol/index.php?id=2"));
    edge.outcomes("pass", 4).await;
}

#[tokio::test]
async fn two_lines_of_cache_control_are_one_and_empty_fields_say_nothing() {
    let origin = Origin::start().await;
    let (hard, soft) = ("no-store, no-cache, must-revalidate", "post-check=0, pre-check=0, no-transform");
    let page = |lines: [&str; 2]| {
        let lines = lines.into_iter().filter(|line| !line.is_empty());
        lines.fold(
            Answer::ok("The requested SCO does not exist. Contact your administrator.")
                .field("Content-Type", "text/html; charset=utf-8")
                .field("Etag", "\"1\"")
                .field("Expires", "Thu, 19 Nov 1981 08:52:00 GMT")
                .field("Pragma", "no-cache"),
            |answer, line| answer.field("Cache-Control", line),
        )
    };
    for (path, lines) in [
        ("/mod/scorm/loadSCO.php", [hard, soft]),
        ("/mod/scorm/player.php", [soft, hard]),
        ("/mod/scorm/view.php", [hard, ""]),
        ("/my/", ["private, pre-check=0, post-check=0, max-age=0, no-transform", "public, max-age=600"]),
    ] {
        origin.on(path, page(lines));
    }
    let public = Answer::ok("api").field("Content-Type", "application/json").field("Pragma", "");
    let public = public.field("Cache-Control", "public, max-age=7776000, immutable").field("Expires", "");
    origin.on("/lib/ajax/service-nologin.php", public);
    let edge = Edge::before(&origin, "").await;
    for path in ["/mod/scorm/loadSCO.php", "/mod/scorm/player.php", "/mod/scorm/view.php", "/my/"] {
        for n in 1..=3 {
            edge.get(&format!("{path}?a=1")).await.expect(200);
            assert_eq!(origin.hits(path), n, "{path}");
        }
    }
    edge.outcomes("pass", 12).await;
    let service =
        |args: &str| format!("/lib/ajax/service-nologin.php?info=core&cachekey=1795618195&args={args}");
    for args in ["%5B1%5D", "%5B2%5D", "%5B1%5D"] {
        edge.get(&service(args)).await.expect_body(200, "api");
    }
    assert_eq!(origin.hits("/lib/ajax/service-nologin.php"), 2, "the query is the question");
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn what_has_no_validator_is_fetched_anew_when_it_is_old() {
    let path = "/lib/ajax/service-nologin.php";
    let origin = Origin::start().await;
    origin.on_call(path, |seen, n| {
        let answer = Answer::ok(format!("{n}")).field("Content-Type", "application/json");
        assert!(seen.field("if-none-match").is_none() && seen.field("if-modified-since").is_none());
        answer.field("Cache-Control", "public, max-age=7776000, immutable").field("Age", OLD)
    });
    let edge = Edge::before(&origin, "").await;
    for n in 0..3 {
        edge.get(path).await.expect_body(200, n.to_string());
    }
    assert_eq!(origin.hits(path), 3);
    edge.outcomes("miss", 3).await;
}

#[tokio::test]
async fn two_slashes_and_a_list_of_files_in_the_query_stay_as_they_are() {
    let origin = Origin::start().await;
    let answer = |what: &str| {
        Answer::ok(what)
            .field("Content-Type", "application/javascript")
            .field("Cache-Control", "public, max-age=31104000")
    };
    let (double, single) = (
        "/pluginfile.php/1/core_h5p//libraries/H5P-1.2/h5p.js",
        "/pluginfile.php/1/core_h5p/libraries/H5P-1.2/h5p.js",
    );
    origin.on(double, answer("double"));
    origin.on(single, answer("single"));
    origin.on_call("/theme/yui_combo.php", move |seen, _| answer(&seen.target));
    let edge = Edge::before(&origin, "").await;
    for _ in 0..2 {
        edge.get(double).await.expect_body(200, "double");
        edge.get(single).await.expect_body(200, "single");
        for list in [
            "rollup/3.18.1/yui-moodlesimple-min.js",
            "m/1795618195/core/a.js&m/1795618195/core/b.js",
            "m/1795618195/core/b.js&m/1795618195/core/a.js",
        ] {
            let target = format!("/theme/yui_combo.php?{list}");
            edge.get(&target).await.expect_body(200, &target);
        }
    }
    assert_eq!(origin.requests().len(), 5);
    edge.outcomes("hit", 5).await;
}

#[tokio::test]
async fn a_token_in_the_path_is_written_nowhere_and_its_file_is_not_stored() {
    let moodle = Moodle::start().await;
    let (token, film) = (moodle.token("student"), Film::new(1, FILM));
    let path = LECTURE.replace("/pluginfile.php", &format!("/tokenpluginfile.php/{token}"));
    let rule = "[[site.rule]]\nname = \"token\"\nprefix = \"/tokenpluginfile.php/\"\nverdict = \"pass\"\nhide_path = true\n";
    let edge = Edge::before(&moodle.origin, rule).await;
    for n in 1..=2 {
        let request = Request::get(&path).field("Range", "bytes=0-99");
        edge.ask(&request).await.expect_body(206, film.bytes(0, 100));
        assert_eq!(moodle.origin.hits(&path), n);
    }
    moodle.origin.down().await;
    edge.get(&path).await.expect(502);
    let log = edge.log(3).await;
    assert!(log.iter().all(|line| !line.to_string().contains(&token)), "{log:#?}");
    assert!(edge.said().iter().all(|line| !line.contains(&token)), "{:#?}", edge.said());
    let metrics = edge.metrics().await;
    assert!(!metrics.contains(&token));
    edge.outcomes("pass", 2).await;
}

#[tokio::test]
async fn what_a_page_leaves_behind_arrives_and_is_not_stored_over() {
    // A beacon on leaving, then the same URL by GET: tracking is nobody's cache.
    let origin = Origin::start().await;
    let path = "/mod/scorm/datamodel.php";
    origin.on(
        path,
        Answer::ok("true\n0").field("Content-Type", "text/plain").field("Cache-Control", "no-store"),
    );
    let edge = Edge::before(&origin, "").await;
    let beacon =
        "--b\r\nContent-Disposition: form-data; name=\"cmi__core__lesson_status\"\r\n\r\npassed\r\n--b--\r\n";
    let mut client = edge.client().await;
    let request = Request::new("POST", &format!("{path}?api=beacon"))
        .field("Content-Type", "multipart/form-data; boundary=b")
        .field("Cookie", "MoodleSession=student")
        .body(beacon);
    client.send(&request.bytes()).await;
    client.abort();
    eventually("the beacon at the origin", async || {
        origin.seen(path).iter().any(|seen| seen.body == beacon.as_bytes() && seen.answered)
    })
    .await;
    assert_eq!(origin.hits(path), 1, "once");
    assert_eq!(origin.last(path).field("cookie"), Some("MoodleSession=student"));
}
