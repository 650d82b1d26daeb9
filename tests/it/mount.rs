//! A package storage under the LMS's own host: the same origin to a browser, and the storage learns nothing of the LMS (G39).

use crate::support::{
    answer::Answer,
    edge::Edge,
    film::Film,
    message::Request,
    origin::{Origin, Seen},
    parts::parts,
};

/// Two tenants before an LMS, with a storage mounted at `/content/` in both of them.
async fn mounted(lms: &Origin, storage: &Origin, verdict: &str) -> Edge {
    Edge::with(&format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[origin]]\nname = \"storage\"\nservers = [\"{}\"]\n\
         [[rule_set]]\nname = \"set\"\n[[rule_set.rule]]\nname = \"packages\"\nprefix = \"/content/\"\n{verdict}\n\
         mount = {{ origin = \"storage\", host = \"bucket.example\", path = \"/p/\" }}\n\
         [[site]]\nname = \"a\"\nhosts = [\"lms-a.example\"]\norigin = \"lms\"\nuse = \"set\"\n\
         [[site]]\nname = \"b\"\nhosts = [\"lms-b.example\"]\norigin = \"lms\"\nuse = \"set\"\n",
        lms.addr(),
        storage.addr()
    ))
    .await
}

const CACHE: &str = "verdict = \"cache\"\nnegative_lifetime = \"0s\"";

/// A request as a learner's browser sends it.
fn learner(method: &str, target: &str) -> Request {
    Request::new(method, target)
        .field("Cookie", "MoodleSession=student")
        .field("Authorization", "Bearer lms")
        .field("Referer", "http://lms-a.example/mod/scorm/player.php?sesskey=1")
}

#[track_caller]
fn knows_nothing(seen: &Seen) {
    assert_eq!(seen.field("host"), Some("bucket.example"), "{seen:#?}");
    for name in ["cookie", "authorization", "referer"] {
        assert!(seen.field(name).is_none(), "{name}: {seen:#?}");
    }
}

#[tokio::test]
async fn a_mounted_storage_is_cached_per_tenant_and_told_nothing() {
    let (lms, storage) = (Origin::start().await, Origin::start().await);
    storage.on_call("/p/*", |seen, _| {
        Answer::storable(format!("file {}", seen.target)).field("Content-Type", "text/html")
    });
    lms.on_call("/*", |seen, _| Answer::ok(format!("lms {}", seen.field("cookie").unwrap_or_default())));
    let edge = mounted(&lms, &storage, CACHE).await;
    for (n, host) in ["lms-a.example", "lms-b.example"].into_iter().enumerate() {
        for _ in 0..2 {
            let reply = edge.ask(&learner("GET", "/content/m/a.html?v=1").host(host)).await;
            let reply = reply.expect_body(200, "file /p/m/a.html?v=1");
            assert!(reply.field("x-frame-options").is_none(), "{reply}");
        }
        assert_eq!(storage.hits("/p/m/a.html"), n + 1, "a key of its own for each tenant");
    }
    edge.outcomes("hit", 2).await;
    let seen = storage.requests();
    seen.iter().for_each(knows_nothing);
    assert_eq!(storage.last("/p/m/a.html").field("x-forwarded-host"), Some("lms-b.example"));
    // What is not mounted is the LMS's, with its cookies.
    for target in ["/my/", "/content", "/content/../my/", "/content/m/../../my/"] {
        edge.ask(&learner("GET", target)).await.expect_body(200, "lms MoodleSession=student");
    }
    assert_eq!(storage.requests().len(), seen.len());
    // Purged by what the learner's browser calls it.
    edge.purge("http://lms-a.example/content/m/a.html").await;
    edge.ask(&learner("GET", "/content/m/a.html?v=1")).await.expect_body(200, "file /p/m/a.html?v=1");
    assert_eq!(storage.hits("/p/m/a.html"), 3);
}

#[tokio::test]
async fn what_the_storage_calls_its_own_is_called_by_the_lmss_name_stored_or_relayed() {
    let (lms, storage) = (Origin::start().await, Origin::start().await);
    let moved = |to: &str| {
        Answer::new(302, "").field("Location", to).field("Set-Cookie", "MoodleSession=evil; Path=/")
    };
    storage.on("/p/relayed", moved("https://bucket.example/p/x?v=1"));
    storage.on("/p/outside", moved("/other/x"));
    storage.on("/p/elsewhere", moved("https://elsewhere.example/p/x"));
    let lasting = Answer::new(301, "").field("Cache-Control", "public, max-age=600");
    storage.on(
        "/p/stored",
        lasting.field("Location", "/p/x").field("Content-Location", "http://bucket.example/p/y"),
    );
    let edge = mounted(&lms, &storage, CACHE).await;
    for (path, location) in [
        ("relayed", "/content/x?v=1"),
        ("outside", "//bucket.example/other/x"),
        ("elsewhere", "https://elsewhere.example/p/x"),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let reply = edge.ask(&learner(method, &format!("/content/{path}"))).await.expect(302);
            assert_eq!(reply.field("location"), Some(location), "{method} {path}");
            assert!(reply.field("set-cookie").is_none(), "it would be a cookie of the LMS: {reply}");
        }
    }
    for _ in 0..2 {
        let reply = edge.ask(&learner("GET", "/content/stored")).await.expect(301);
        assert_eq!(reply.field("location"), Some("/content/x"));
        assert_eq!(reply.field("content-location"), Some("/content/y"));
    }
    assert_eq!(storage.hits("/p/stored"), 1);
    storage.requests().iter().for_each(knows_nothing);
    assert_eq!(lms.requests().len(), 0);
}

#[tokio::test]
async fn uploads_errors_and_parts_are_the_storages_too() {
    let (lms, storage) = (Origin::start().await, Origin::start().await);
    let film = Film::new(1, 3_000_001);
    storage.on("/p/film.mp4", film.answer());
    storage.on("/p/denied", Answer::new(403, "AccessDenied").field("Content-Type", "application/xml"));
    storage.on("/p/new", Answer::new(201, ""));
    let edge = mounted(&lms, &storage, CACHE).await;
    // Far into a body of which nothing is known: by a request of its own, and the whole from there.
    let far = learner("GET", "/content/film.mp4").field("Range", "bytes=2000000-2000099");
    let reply = edge.ask(&far).await.expect_body(206, film.bytes(2_000_000, 2_000_100));
    assert_eq!(parts(&reply)[0].length, Some(film.length));
    edge.ask(&learner("GET", "/content/film.mp4")).await.expect_body(200, film.bytes(0, film.length));
    assert!(
        storage.ranges("/p/film.mp4").iter().flatten().count() >= 1,
        "{:?}",
        storage.ranges("/p/film.mp4")
    );
    for n in 1..=2 {
        edge.ask(&learner("GET", "/content/denied")).await.expect_body(403, "AccessDenied");
        assert_eq!(storage.hits("/p/denied"), n, "an error is not kept");
    }
    edge.ask(&learner("PUT", "/content/new").body("zip")).await.expect(201);
    assert_eq!(storage.last("/p/new").body, b"zip");
    storage.requests().iter().for_each(knows_nothing);
    let told = edge.run(&["explain", "http://lms-a.example/content/other"]).await;
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("> GET /p/other") && told.contains("origin   storage"), "{told}");
    assert!(told.contains("mount = /p/ of bucket.example (origin storage)"), "{told}");
    assert_eq!(lms.requests().len(), 0);
}

#[tokio::test]
async fn a_rule_that_obeys_or_passes_mounts_as_well() {
    let (lms, storage) = (Origin::start().await, Origin::start().await);
    storage.on("/p/public", Answer::storable("public"));
    let edge = mounted(&lms, &storage, "verdict = \"obey\"").await;
    for request in [learner("GET", "/content/public"), Request::get("/content/public")] {
        edge.ask(&request).await.expect_body(200, "public");
    }
    assert_eq!(storage.hits("/p/public"), 1);
    storage.on_call("/p/*", |_, n| Answer::storable(format!("{n}")).field("Set-Cookie", "s=1"));
    let edge = mounted(&lms, &storage, "verdict = \"pass\"").await;
    for n in 0..2 {
        let reply = edge.ask(&learner("GET", "/content/x")).await.expect_body(200, format!("{n}"));
        assert!(reply.field("set-cookie").is_none(), "{reply}");
    }
    storage.requests().iter().for_each(knows_nothing);
    edge.outcomes("pass", 2).await;
}
