//! What a request asks of a cache (RFC 9111 §5.2.1): heeded where a rule says so, and else not, for a class that reloads must
//! not reach the origin.

use crate::support::{answer::Answer, edge::Edge, message::Request, origin::Origin};

const HEEDS: &str =
    "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"cache\"\nrequest_directives = true\n";

#[tokio::test]
async fn a_wish_reaches_the_origin_only_where_a_rule_heeds_it() {
    // What is stored is 20 s old.
    let (fresh, stale, bound) = ("max-age=60", "max-age=10", "max-age=10, must-revalidate");
    let table = [
        ("Cache-Control", "no-cache", fresh, true, "fwd=request"),
        ("Pragma", "no-cache", fresh, true, "fwd=request"),
        ("Cache-Control", "max-age=0", fresh, true, "fwd=request"),
        ("Cache-Control", "max-age=10", fresh, true, "fwd=request"),
        ("Cache-Control", "max-age=30", fresh, false, "hit"),
        ("Cache-Control", "min-fresh=50", fresh, true, "fwd=request"),
        ("Cache-Control", "min-fresh=10", fresh, false, "hit"),
        ("Cache-Control", "max-stale", stale, false, "hit; ttl=-"),
        ("Cache-Control", "max-stale=30", stale, false, "hit; ttl=-"),
        ("Cache-Control", "max-stale=5", stale, true, "fwd=stale"),
        ("Cache-Control", "max-stale", bound, true, "fwd=stale"),
        ("Cache-Control", "x", stale, true, "fwd=stale"),
        ("Cache-Control", "x", fresh, false, "hit"),
    ];
    for (rest, heeds) in [(HEEDS, true), ("", false)] {
        let origin = Origin::start().await;
        let edge = Edge::before(&origin, rest).await;
        let (mut hits, mut taken_stale) = (0, 0);
        for (row, (name, value, says, asks, told)) in table.iter().enumerate() {
            let path = format!("/{row}");
            let answer =
                Answer::ok("x").field("ETag", "\"a\"").field("Cache-Control", says).field("Age", "20");
            origin.on(&path, answer.conditional());
            edge.get(&path).await.expect_body(200, "x");
            let reply = edge.ask(&Request::get(&path).field(name, value)).await.expect_body(200, "x");
            let (asks, told) = match (heeds, *says == fresh) {
                (true, _) => (*asks, *told),
                (false, true) => (false, "hit"),
                (false, false) => (true, "fwd=stale"),
            };
            let what = format!("{heeds} {name}: {value}: {reply}");
            assert!(reply.field("cache-status").unwrap().contains(told), "{what}");
            assert_eq!(origin.hits(&path), 1 + usize::from(asks), "{what}");
            if asks {
                assert_eq!(origin.last(&path).field("if-none-match"), Some("\"a\""), "asked by condition");
            }
            hits += u64::from(told == "hit");
            taken_stale += u64::from(told.starts_with("hit; ttl=-"));
        }
        edge.outcomes("hit", hits).await;
        edge.outcomes("stale", taken_stale).await;
    }
}
