//! Keys that change while the edge runs, and the command that signs.

use super::{FILM, Keys, OTHER, SECRET, Shows, film, jwks, packages, refused, reload, tenants};
use crate::support::{answer::Answer, edge::Edge, message::Request, origin::Origin};

#[tokio::test]
async fn a_key_is_rotated_by_reloads_and_a_broken_file_changes_nothing() {
    for jwt in [false, true] {
        let keys = Keys::new(&[("old", OTHER)]);
        let origin = Origin::start().await;
        origin.on(FILM, Answer::storable("film").field("Content-Type", "video/mp4"));
        let edge = Edge::with(&tenants(&origin, &packages(&keys.asks(jwt)), "")).await;
        let old = Shows { key: ("old", OTHER), ..Shows::good(jwt) };
        let new = Shows::good(jwt);
        edge.ask(&film(&old)).await.expect_body(200, "film");
        refused(edge.ask(&film(&new)).await, 403, "signature-key", false);

        keys.change(&jwks(&[("new", SECRET), ("old", OTHER)]));
        refused(edge.ask(&film(&new)).await, 403, "signature-key", false);
        reload(&edge).await.expect(200);
        edge.ask(&film(&old)).await.expect_body(200, "film");
        edge.ask(&film(&new)).await.expect_body(200, "film");

        keys.change("{\"keys\": [{\"kty\": \"oct\", \"kid\": \"new\", \"k\": \"AAEC\"}]}");
        let told = reload(&edge).await;
        assert!(told.status >= 400 && told.text().contains("shorter than 32 bytes"), "{told}");
        assert!(!told.text().contains("AAEC"), "{told}");
        edge.ask(&film(&old)).await.expect_body(200, "film");

        keys.change(&jwks(&[("new", SECRET)]));
        reload(&edge).await.expect(200);
        edge.ask(&film(&new)).await.expect_body(200, "film");
        refused(edge.ask(&film(&old)).await, 403, "signature-key", false);
        assert_eq!(origin.hits(FILM), 1);
    }
}

#[tokio::test]
async fn what_the_command_signs_is_let_in() {
    for jwt in [false, true] {
        let keys = Keys::new(&[("new", SECRET), ("old", OTHER)]);
        let origin = Origin::start().await;
        origin.on("/content/*", Answer::storable("film"));
        let edge = Edge::with(&tenants(&origin, &packages(&keys.asks(jwt)), "")).await;
        let sign = |more: &[&str]| {
            let url = format!("http://lms-a.example{FILM}?v=1");
            let ran = edge.command(&[&["sign", "--config", "lectern.toml", &url], more].concat());
            let told = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
            (ran.status.code(), told(ran.stdout), told(ran.stderr))
        };
        let (code, url, _) = sign(&[]);
        assert_eq!(code, Some(0));
        let target = url.strip_prefix("http://lms-a.example").unwrap();
        assert!(target.starts_with("/content/14/film.mp4?v=1&sig="), "{target}");
        edge.get(target).await.expect_body(200, "film");
        let word = if jwt { "signature-path" } else { "signature-forged" };
        refused(edge.get(&target.replace("/14/", "/15/")).await, 403, word, false);

        let (_, url, _) =
            sign(&["--under", "/content/", "--client", "127.0.0.1", "--for", "5m", "--key", "old"]);
        let (_, token) = url.split_once("&sig=").unwrap();
        edge.get(&format!("/content/15/other?sig={token}")).await.expect_body(200, "film");
        let (_, cookie, _) = sign(&["--cookie", "--under", "/content/14/"]);
        edge.ask(&Request::get(FILM).field("Cookie", &cookie)).await.expect_body(200, "film");

        let (_, url, _) = sign(&["--client", "192.0.2.1"]);
        let word = if jwt { "signature-client" } else { "signature-forged" };
        refused(edge.get(url.strip_prefix("http://lms-a.example").unwrap()).await, 403, word, false);
        for (more, words) in [
            (["--under", "/other/"], "is no beginning of its path"),
            (["--under", "/content/1"], "is no beginning of its path"),
            (["--key", "gone"], "has no key `gone`"),
        ] {
            let (code, out, told) = sign(&more);
            assert!(code == Some(65) && out.is_empty() && told.contains(words), "{told}");
        }
        let elsewhere = ["sign", "--config", "lectern.toml", "http://lms-a.example/x"];
        let told = edge.command(&elsewhere);
        assert_eq!(told.status.code(), Some(65));
        assert!(String::from_utf8(told.stderr).unwrap().contains("no rule speaks for it"));
    }
}

#[tokio::test]
async fn explain_says_why_a_request_is_not_let_in_and_by_what_it_would_be() {
    let keys = Keys::new(&[("new", SECRET)]);
    let origin = Origin::start().await;
    let edge = Edge::with(&tenants(&origin, &packages(&keys.asks(false)), "")).await;
    let explain = async |query: &str| {
        let ran = edge.run(&["explain", &format!("http://lms-a.example{FILM}{query}")]).await;
        String::from_utf8(ran.stdout).unwrap()
    };
    let told = explain("").await;
    assert!(told.contains("status 401: the rule asks for a signature, and it shows none"), "{told}");
    assert!(told.contains("access = signed, a signature in query parameter sig or cookie sig"), "{told}");
    let token = Shows::good(false).token();
    let told = explain(&format!("?v=1&sig={token}")).await;
    assert!(told.contains(&format!("> GET {FILM}?v=1\n")), "{told}");
    assert!(!told.contains(&token), "{told}");
    assert_eq!(origin.requests().len(), 0);
}
