//! The scripted Moodle says what the recorded one said: a row per kind of answer.

use crate::support::{
    answer::Answer,
    client::Client,
    film::Film,
    message::{Reply, Request},
    moodle::{ENTRY, FILM, LAUNCH, LECTURE, Moodle, NOTES, POST, REVISION, SCRIPT, STYLES, tag},
};

/// Asks it itself, with no edge between.
async fn ask(moodle: &Moodle, request: &Request) -> Reply {
    Client::connect(moodle.origin.addr()).await.ask(request).await
}

fn shows(url: &str, cookie: &str) -> Request {
    Request::get(url).field("Cookie", cookie)
}

#[tokio::test]
async fn who_may_not_have_a_file_is_told_so_in_odd_shapes() {
    let moodle = Moodle::start().await;
    let (student, outsider) = (moodle.signs_in("student"), moodle.signs_in("outsider"));
    let bytes = "bytes=0-99";
    let whole = [
        (Request::get(SCRIPT), 303, 1501, "http://lms-a.example/login/index.php", true),
        (shows(SCRIPT, "MoodleSession=none"), 303, 1501, "http://lms-a.example/login/index.php", true),
        (shows(SCRIPT, &outsider), 303, 1506, "http://lms-a.example/enrol/index.php?id=2", false),
        (Request::get(LECTURE).field("Range", bytes), 407, 26_252, "", true),
        (shows(LECTURE, &outsider).field("Range", bytes), 407, 127_820, "", false),
        (shows(&SCRIPT.replace("scormf", "f"), &student), 404, 0, "", false),
        (
            shows(&SCRIPT.replace("scormf", "f"), &outsider),
            303,
            1506,
            "http://lms-a.example/enrol/index.php?id=2",
            false,
        ),
        (Request::get(LAUNCH), 200, 61, "", true),
    ];
    for (n, (request, status, length, location, sets_cookie)) in whole.iter().enumerate() {
        let reply = ask(&moodle, request).await.expect(*status);
        assert_eq!(reply.body.len(), *length, "row {n}: {reply}");
        assert_eq!(reply.field("location").unwrap_or_default(), *location, "row {n}");
        assert_eq!(reply.field("set-cookie").is_some(), *sets_cookie, "row {n}: {reply}");
        assert!(reply.field("etag").is_none(), "row {n}: {reply}");
    }
}

#[tokio::test]
async fn an_enrolled_learner_has_it_in_every_shape() {
    let moodle = Moodle::start().await;
    let student = moodle.signs_in("student");
    let film = Film::new(1, FILM);
    let of = |name: &str, value: &str| shows(LECTURE, &student).field(name, value);
    let (whole, end) = (film.bytes(0, FILM), FILM as usize);
    let known = tag(&whole);
    let rows: [(Request, u16, &[u8]); 6] = [
        (of("Range", "bytes=100000-100099"), 206, &whole[100_000..100_100]),
        (of("Range", "bytes=0-0").field("If-Range", "\"x\""), 206, &whole[..1]),
        (of("Range", "bytes=-100"), 206, &whole[end - 100..]),
        (of("Range", "bytes=99999999-"), 200, &whole),
        (of("If-Modified-Since", "Wed, 01 Jan 2020 00:00:00 GMT"), 200, &whole),
        (of("If-None-Match", &known).field("Range", "bytes=0-0"), 304, b""),
    ];
    for (n, (request, status, body)) in rows.iter().enumerate() {
        let reply = ask(&moodle, request).await.expect_body(*status, body);
        assert_eq!(reply.field("etag"), Some(known.as_str()), "row {n}");
        assert_eq!(reply.field("cache-control"), Some("private, max-age=21600, no-transform"), "row {n}");
        assert!(reply.field("set-cookie").is_none() && reply.field("vary").is_none(), "row {n}");
    }
    let two = ask(&moodle, &of("Range", "bytes=0-9,20-29")).await.expect(206);
    assert_eq!(two.field("content-type"), Some("multipart/byteranges; boundary=s1k2o3d4a5k6s7"));
    assert_eq!(two.body.len(), 208 - 2 * "12034887".len() + 2 * "1000003".len());
    let page = ask(&moodle, &shows(ENTRY, &student)).await.expect(200);
    assert_eq!(page.field("cache-control"), Some("private, max-age=7776000, no-transform, immutable"));
    let launch = ask(&moodle, &shows(LAUNCH, &student)).await.expect(200);
    assert!(launch.text().contains(ENTRY), "{launch}");
}

#[tokio::test]
async fn an_old_revision_has_the_new_bytes_and_what_did_not_change_keeps_its_name() {
    let moodle = Moodle::start().await;
    let student = moodle.signs_in("student");
    let old = ask(&moodle, &shows(SCRIPT, &student)).await.expect(200);
    let new = moodle.publishes(SCRIPT, "application/x-javascript", "function Changed() {}");
    moodle.revises();
    assert_ne!(old.field("etag"), Some(new.as_str()));
    for revision in ["/content/1/", "/content/2/", "/content/999/"] {
        let reply = ask(&moodle, &shows(&SCRIPT.replace("/content/1/", revision), &student)).await;
        let reply = reply.expect_body(200, "function Changed() {}");
        assert_eq!(reply.field("etag"), Some(new.as_str()), "{revision}");
    }
    let page = ask(&moodle, &shows(ENTRY, &student)).await.expect(200);
    let under_2 = shows(&ENTRY.replace("/content/1/", "/content/2/"), &student);
    ask(&moodle, &under_2.field("If-None-Match", page.field("etag").unwrap())).await.expect_body(304, "");
    let launch = ask(&moodle, &shows(LAUNCH, &student)).await.expect(200);
    assert!(launch.text().contains("/mod_scorm/content/2/"), "{launch}");
    moodle.deletes(SCRIPT);
    ask(&moodle, &shows(SCRIPT, &student)).await.expect_body(404, "");
}

#[tokio::test]
async fn what_is_taken_from_a_learner_is_gone_at_once() {
    let moodle = Moodle::start().await;
    let student = moodle.signs_in("student");
    let known = ask(&moodle, &shows(NOTES, &student)).await.expect(200);
    let again = shows(NOTES, &student).field("If-None-Match", known.field("etag").unwrap());
    ask(&moodle, &again).await.expect_body(304, "");
    moodle.unenrols("student", 2);
    ask(&moodle, &again).await.expect(303);
    moodle.enrols("student", 2);
    ask(&moodle, &again).await.expect_body(304, "");
    moodle.takes_role("student", 17);
    ask(&moodle, &again).await.expect_body(404, "");
    ask(&moodle, &shows(LECTURE, &student)).await.expect(200);
    moodle.signs_out(&student);
    let reply = ask(&moodle, &shows(LECTURE, &student)).await.expect(303);
    assert_eq!(reply.field("location"), Some("http://lms-a.example/login/index.php"));
}

#[tokio::test]
async fn a_post_is_shown_to_some_and_a_token_in_the_path_is_enough() {
    let moodle = Moodle::start().await;
    moodle.enrols("other", 2);
    let (student, other) = (moodle.signs_in("student"), moodle.signs_in("other"));
    ask(&moodle, &shows(POST, &student)).await.expect_body(200, "a photo of the post");
    ask(&moodle, &shows(POST, &other)).await.expect_body(404, "");
    ask(&moodle, &shows(NOTES, &other)).await.expect(200);
    let seen = moodle.origin.last(POST);
    assert!(!moodle.allows(&seen, POST) && moodle.allows(&seen, NOTES));
    let (token, rest) = (moodle.token("student"), LECTURE.trim_start_matches("/pluginfile.php"));
    let own = Request::get(&format!("/tokenpluginfile.php/{token}{rest}")).field("Range", "bytes=0-9");
    let reply = ask(&moodle, &own).await.expect_body(206, Film::new(1, FILM).bytes(0, 10));
    assert_eq!(reply.field("access-control-allow-origin"), Some("*"));
    let wrong = Request::get(&format!("/tokenpluginfile.php/{}{rest}", "0".repeat(32)));
    ask(&moodle, &wrong.field("Range", "bytes=0-9")).await.expect(407);
}

#[tokio::test]
async fn the_theme_is_everybodys_and_any_condition_is_met() {
    let moodle = Moodle::start().await;
    let reply = ask(&moodle, &Request::get(STYLES).field("Accept-Encoding", "gzip")).await.expect(200);
    assert_eq!(reply.field("content-encoding"), Some("gzip"));
    assert_eq!(reply.field("cache-control"), Some("public, max-age=7776000, immutable"));
    ask(&moodle, &Request::get(STYLES).field("If-None-Match", "\"zzz\"")).await.expect_body(304, "");
    let unknown = ask(&moodle, &Request::get("/theme/styles.php/boost/1000000000_1/all")).await.expect(200);
    assert!(unknown.field("cache-control").is_none() && unknown.field("expires").is_some(), "{unknown}");
    let path = "/lib/ajax/service-nologin.php";
    let texts = ask(&moodle, &Request::get(&format!("{path}?cachekey={REVISION}"))).await.expect(200);
    assert!(texts.field("etag").is_none(), "{texts}");
    ask(
        &moodle,
        &Request::get("/h5p/h5plib/v127/core.js?ver=1").field("If-None-Match", "\"675b94b8-15c81\""),
    )
    .await
    .expect(304);
}

#[tokio::test]
async fn it_can_be_bent_and_is_straight_again() {
    let moodle = Moodle::start().await;
    moodle.bends(|_, answer| Answer { status: 503, ..answer });
    ask(&moodle, &Request::get("/")).await.expect(503);
    moodle.straightens();
    ask(&moodle, &Request::get("/")).await.expect(303);
    ask(&moodle, &shows("/my/", &moodle.signs_in("student")))
        .await
        .expect_body(200, "<html>a page of student</html>");
    let tracking = Request::new("POST", "/mod/scorm/datamodel.php?api=beacon").body("status=passed");
    ask(&moodle, &tracking).await.expect_body(200, "true\n0");
    ask(&moodle, &Request::get("/login/index.php")).await.expect_body(200, "<html>sign in</html>");
    ask(&moodle, &Request::new("POST", "/lib/ajax/service.php").body("[]")).await.expect(200);
}
