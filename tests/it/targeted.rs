//! What an origin says to this kind of cache alone (RFC 9213), and about single fields (RFC 9111 §5.2.2.4, §5.2.2.7).

use crate::support::{answer::Answer, edge::Edge, message::Request, origin::Origin};

fn says(fields: &[(&str, &str)]) -> Answer {
    fields
        .iter()
        .fold(Answer::ok("x").field("ETag", "\"a\""), |answer, (name, value)| answer.field(name, value))
}

const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");
const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");

#[tokio::test]
async fn a_targeted_field_is_heeded_in_place_of_cache_control_and_falls_back_where_it_says_nothing() {
    let (cdn, own) = ("CDN-Cache-Control", "Lectern-Cache-Control");
    let table: &[(&[(&str, &str)], u64)] = &[
        (&[NO_STORE, (cdn, "max-age=60")], 1),
        (&[NO_STORE, (own, "max-age=60"), (cdn, "no-store")], 1),
        (&[NO_STORE, (own, "max-age=60, =")], 2),
        (&[NO_STORE, (own, ""), (cdn, "max-age=60")], 1),
        (&[NO_STORE, (cdn, "max-age=\"60\"")], 2),
        (&[NO_STORE, ("Other-Cache-Control", "max-age=60")], 2),
        (&[FRESH, (cdn, "no-store")], 2),
        (&[FRESH, (cdn, "private")], 2),
        (&[FRESH, (cdn, "no-cache")], 2),
        (&[FRESH, (cdn, "max-age=0")], 2),
        (&[FRESH, ("Connection", cdn), (cdn, "no-store")], 2),
        (&[("Expires", "Sun, 06 Nov 2094 08:49:37 GMT"), (cdn, "max-age=0")], 2),
    ];
    let origin = Origin::start().await;
    let edge = Edge::before(&origin, "").await;
    for (row, (fields, asked)) in table.iter().enumerate() {
        let path = format!("/{row}");
        origin.on(&path, says(fields));
        for _ in 0..2 {
            let reply = edge.get(&path).await.expect_body(200, "x");
            let passed_on =
                fields.iter().all(|(name, value)| *name == "Connection" || reply.all(name).contains(value));
            assert!(passed_on, "what is for others too goes on: {reply}");
        }
        assert_eq!(origin.hits(&path), *asked as usize, "{fields:?}");
    }
    edge.outcomes("hit", 3).await;
}

#[tokio::test]
async fn a_site_has_its_own_list_of_targeted_fields() {
    let origin = Origin::start().await;
    origin.on("/a", says(&[NO_STORE, ("Theme-Cache-Control", "max-age=60")]));
    origin.on("/b", says(&[NO_STORE, ("CDN-Cache-Control", "max-age=60")]));
    let edge = Edge::before(&origin, "targeted_fields = [\"Theme-Cache-Control\"]\n").await;
    for path in ["/a", "/b", "/a", "/b"] {
        edge.get(path).await.expect_body(200, "x");
    }
    assert_eq!((origin.hits("/a"), origin.hits("/b")), (1, 2));
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn fields_that_are_for_one_client_only_go_to_who_caused_the_fill_and_to_nobody_else() {
    for directive in ["private=\"X-Learner, X-Group\"", "no-cache=\"X-Learner, X-Group\""] {
        let origin = Origin::start().await;
        let fields = [
            ("Cache-Control", &*format!("max-age=60, {directive}")),
            ("X-Learner", "7"),
            ("X-Group", "3"),
            ("X-All", "1"),
        ];
        origin.on("/a", says(&fields));
        let edge = Edge::before(&origin, "").await;
        let first = edge.get("/a").await.expect(200);
        assert_eq!((first.field("x-learner"), first.field("x-group")), (Some("7"), Some("3")), "{directive}");
        let second = edge.get("/a").await.expect_body(200, "x");
        assert_eq!((second.field("x-learner"), second.field("x-group")), (None, None), "{directive}");
        assert_eq!(second.field("x-all"), Some("1"));
        assert_eq!(origin.hits("/a"), 1);
        edge.outcomes("hit", 1).await;
    }
}

#[tokio::test]
async fn cache_status_stands_behind_the_caches_before_and_tells_the_key_only_if_told_to() {
    let origin = Origin::start().await;
    origin.on("/a", says(&[FRESH, ("Cache-Status", "inner; hit"), ("Cache-Status", "shield; fwd=stale")]));
    for (rest, key) in [("", ""), ("cache_status_key = true\n", "; key=\"/a?x\"")] {
        let edge = Edge::before(&origin, rest).await;
        for member in ["lectern; fwd=uri-miss; fwd-status=200; ttl=60; stored", "lectern; hit; ttl=60"] {
            let reply = edge.get("/a?x").await.expect(200);
            let told = reply.field("cache-status").unwrap().replace("ttl=59", "ttl=60");
            assert_eq!(told, format!("inner; hit, shield; fwd=stale, {member}{key}"));
        }
        let relayed = edge.ask(&Request::new("POST", "/a?x").body("")).await.expect(200);
        let members = ["inner; hit", "shield; fwd=stale", "lectern; fwd=method; fwd-status=200"];
        assert_eq!(relayed.all("cache-status"), members);
        edge.outcomes("hit", 1).await;
    }
    assert_eq!(origin.hits("/a"), 4);
}
