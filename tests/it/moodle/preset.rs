//! The preset for Moodle, `config/examples/moodle.toml`, before the scripted one.

use std::fs;
use std::path::Path;

use crate::support::{
    edge::Edge,
    message::Request,
    moodle::{LAUNCH, LECTURE, Moodle, NOTES, POST, REVISION, SCRIPT, STYLES},
};

/// An edge with the example as it stands, but for addresses and the log.
async fn preset(moodle: &Moodle) -> Edge {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/moodle.toml");
    let mut text = fs::read_to_string(file).unwrap();
    let server = format!("[\"{}\"]", moodle.origin.addr());
    for (theirs, ours) in [
        ("name = \"https\"", "name = \"web\""),
        ("address = \"0.0.0.0:8443\"", "address = \"127.0.0.1:0\""),
        ("tls = { certificates = \"../../certs/dev\" }\n", ""),
        ("[log]\naccess = \"access.log\"\n", ""),
        ("[\"10.0.0.5:80\", \"10.0.0.6:80\"]", &server),
    ] {
        assert!(text.contains(theirs), "{theirs}");
        text = text.replace(theirs, ours);
    }
    Edge::with(&text).await
}

fn of(target: &str, cookie: &str) -> Request {
    Request::get(target).host("moodle.example").field("Cookie", cookie)
}

#[tokio::test]
async fn what_is_everybodys_is_asked_for_once_and_pages_each_time() {
    let moodle = Moodle::start().await;
    let learners = [moodle.signs_in("student"), moodle.signs_in("outsider"), "none=1".to_owned()];
    let edge = preset(&moodle).await;
    let script = format!("/lib/javascript.php/{REVISION}/mod/scorm/request.js");
    let texts = format!("/lib/ajax/service-nologin.php?info=1&cachekey={REVISION}&args=%5B%5D");
    let rollup = "/theme/yui_combo.php?rollup/3.18.1/yui-moodlesimple-min.js";
    let public = [STYLES, &script, &texts, rollup, "/h5p/h5plib/v127/joubel/core/js/h5p.js?ver=1"];
    for learner in &learners {
        for target in public {
            edge.ask(&of(target, learner)).await.expect(200);
        }
        for target in [LAUNCH, "/mod/scorm/view.php?id=2", "/h5p/embed.php?url=x", "/my/", "/"] {
            edge.ask(&of(target, learner)).await;
        }
        for target in [
            "/mod/scorm/player.php",
            "/mod/scorm/datamodel.php?api=beacon",
            "/lib/ajax/service.php?sesskey=1",
        ] {
            let request = Request::new("POST", target).host("moodle.example").field("Cookie", learner);
            edge.ask(&request.body("a=1")).await;
        }
    }
    let hits = |target: &str| moodle.origin.hits(target);
    assert_eq!(public.map(hits), [1; 5]);
    let own = [LAUNCH, "/mod/scorm/view.php", "/h5p/embed.php", "/my/", "/", "/mod/scorm/player.php"];
    assert_eq!(own.map(hits), [3; 6]);
    assert_eq!(["/mod/scorm/datamodel.php", "/lib/ajax/service.php"].map(hits), [3; 2]);
    // Any condition is met by a 304 there: none is ever sent.
    edge.purge(&format!("https://moodle.example{STYLES}")).await;
    edge.ask(&of(STYLES, &learners[0])).await.expect(200);
    assert!(moodle.origin.seen(STYLES).iter().all(|seen| seen.field("if-none-match").is_none()));
    edge.outcomes("hit", 10).await;
}

#[tokio::test]
async fn a_learners_file_is_moodles_word_and_the_edges_bytes() {
    let moodle = Moodle::start().await;
    moodle.enrols("second", 2);
    let (first, second) = (moodle.signs_in("student"), moodle.signs_in("second"));
    let outsider = moodle.signs_in("outsider");
    let edge = preset(&moodle).await;
    for (target, length) in [(SCRIPT, 26), (LECTURE, 1_000_003), (NOTES, 14)] {
        for learner in [&first, &second, &first] {
            let reply = edge.ask(&of(target, learner)).await.expect(200);
            assert_eq!(reply.body.len(), length, "{target}");
            assert!(reply.field("cache-control").unwrap().starts_with("private"), "{reply}");
        }
        assert_eq!(moodle.origin.sent(target), length as u64, "one body for both: {target}");
        for refused in [of(target, &outsider), of(target, "MoodleSession=none"), of(target, "a=1")] {
            let reply = edge.ask(&refused).await.expect(303);
            assert!(reply.text().starts_with("<html>"), "{reply}");
            let reply = edge.ask(&refused.field("Range", "bytes=0-9")).await;
            assert!(matches!(reply.status, 303 | 407) && reply.text().starts_with("<html>"), "{reply}");
        }
    }
}

#[tokio::test]
async fn a_post_is_asked_about_each_time_and_other_files_are_moodles_alone() {
    let moodle = Moodle::start().await;
    let student = moodle.signs_in("student");
    let edge = preset(&moodle).await;
    for n in 1..=3 {
        edge.ask(&of(POST, &student)).await.expect_body(200, "a photo of the post");
        assert_eq!(moodle.origin.hits(POST), n);
    }
    moodle.shows_to(POST, &[]);
    edge.ask(&of(POST, &student)).await.expect_body(404, "");
    let h5p = "/pluginfile.php/1/core_h5p//cachedassets/7a737f932fc17cdac6915f0ec5680af83e39b38a.js";
    for n in 1..=2 {
        edge.ask(&of(h5p, &student)).await.expect_body(200, "H5P");
        assert_eq!(moodle.origin.hits(h5p), n);
    }
}

#[tokio::test]
async fn the_key_of_a_user_is_in_no_log_however_it_is_shown() {
    let moodle = Moodle::start().await;
    let edge = preset(&moodle).await;
    let token = moodle.token("student");
    let file = LECTURE.trim_start_matches("/pluginfile.php");
    let own = format!("/tokenpluginfile.php/{token}{file}");
    for n in 1..=2 {
        edge.ask(&of(&own, "a=1").field("Range", "bytes=0-9")).await.expect(206);
        assert_eq!(moodle.origin.hits(&own), n, "never stored");
    }
    let shown = [
        format!("/tokenpluginfile.php/{token}"),
        format!("/tokenpluginfile.php?token={token}&file={file}"),
        format!("/%74okenpluginfile.php/{token}{file}"),
        format!("/x/../tokenpluginfile.php/{token}{file}"),
    ];
    for target in &shown {
        edge.ask(&of(target, "a=1")).await;
        edge.ask(&Request::new("POST", target).host("moodle.example").field("Expect", "nothing")).await;
    }
    // Nor where Moodle cannot be asked.
    moodle.origin.down().await;
    edge.ask(&of(&own, "a=1")).await;
    let log = edge.log(2 * shown.len() + 3).await;
    assert!(log.iter().all(|line| !line.to_string().contains(&token)), "{log:#?}");
    assert!(edge.said().iter().all(|line| !line.contains(&token)), "{:#?}", edge.said());
}
