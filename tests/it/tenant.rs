//! Whose page it is: hosts, schemes and spellings that must not meet in one entry (G25, G26, G27, G28).

use loadtest::{Lms, Options};
use tempfile::TempDir;

use crate::support::{
    answer::Answer,
    client::Client,
    dial::Dial,
    edge::Edge,
    gate::Gate,
    message::{Reply, Request},
    origin::{Origin, Seen},
    tls::{Certificate, Tls},
};

const CACHE_ALL: &str = "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"cache\"\nshared = true\n";

/// Two sites on one origin, a cleartext listener and one with TLS. `rest` stands in the second site's table.
async fn two_sites(origin: &Origin, rest: &str) -> (Edge, TempDir) {
    let certificates = tempfile::tempdir().unwrap();
    let pair = Certificate::new(&["lms-a.example", "lms-b.example"]);
    std::fs::write(certificates.path().join("lms.crt"), &pair.pem).unwrap();
    std::fs::write(certificates.path().join("lms.key"), &pair.key_pem).unwrap();
    let edge = Edge::with(&format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificates = \"{}\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"a\"\nhosts = [\"lms-a.example\"]\norigin = \"lms\"\n\
         [[site]]\nname = \"b\"\nhosts = [\"lms-b.example\", \"*.lms-b.example\"]\norigin = \"lms\"\n{rest}\n",
        certificates.path().display(),
        origin.addr()
    ))
    .await;
    (edge, certificates)
}

/// What the origin was asked, as the body of a storable answer.
fn echo(seen: &Seen) -> Answer {
    Answer::storable(asked(seen))
}

fn asked(seen: &Seen) -> String {
    let fields = ["x-forwarded-proto", "host"].map(|name| seen.all(name).join("+"));
    format!("{}://{}{}", fields[0], fields[1], seen.target)
}

async fn https(edge: &Edge, request: &Request) -> Reply {
    let host = request.host.split(':').next().unwrap();
    let dial = Dial::to(edge.address("tls").await).tls(Tls::named(host));
    dial.client().await.ask(request).await
}

fn detail(reply: &Reply) -> Option<&str> {
    reply.field("cache-status")?.strip_prefix("lectern; detail=")
}

#[tokio::test]
async fn g25_hosts_ports_and_schemes_with_one_path_are_entries_of_their_own() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| echo(seen));
    let (edge, _certificates) = two_sites(&origin, "").await;
    let rows = [
        (false, "lms-a.example", "/theme/logo", "http://lms-a.example/theme/logo"),
        (false, "lms-b.example", "/theme/logo", "http://lms-b.example/theme/logo"),
        (true, "lms-a.example", "/theme/logo", "https://lms-a.example/theme/logo"),
        (true, "lms-b.example", "/theme/logo", "https://lms-b.example/theme/logo"),
        (false, "lms-a.example:8080", "/theme/logo", "http://lms-a.example:8080/theme/logo"),
        (false, "lms-a.example:443", "/theme/logo", "http://lms-a.example:443/theme/logo"),
        (true, "lms-a.example:80", "/theme/logo", "https://lms-a.example:80/theme/logo"),
        // One component's end is not another's beginning.
        (false, "a.lms-b.example", "/b/x", "http://a.lms-b.example/b/x"),
        (false, "a.b.lms-b.example", "/x", "http://a.b.lms-b.example/x"),
        (false, "lms-a.example", "/lms-b.example/x", "http://lms-a.example/lms-b.example/x"),
        (false, "lms-a.example", "/x?a=/b", "http://lms-a.example/x?a=/b"),
        (false, "lms-a.example", "/x%3Fa=/b", "http://lms-a.example/x%3Fa=/b"),
        (false, "lms-a.example", "/x", "http://lms-a.example/x"),
        (false, "lms-a.example", "/x?", "http://lms-a.example/x?"),
    ];
    for round in ["miss", "hit"] {
        for (tls, host, target, expected) in rows {
            let request = Request::get(target).host(host);
            let reply = if tls { https(&edge, &request).await } else { edge.ask(&request).await };
            reply.expect_body(200, expected);
        }
        edge.outcomes(round, rows.len() as u64).await;
        assert_eq!(origin.requests().len(), rows.len(), "{round}");
    }
    // Other spellings of the same host are the same.
    for host in ["LMS-A.example", "lms-a.example.", "lms-a.example:80", "lms-a.example:"] {
        edge.ask(&Request::get("/x").host(host)).await.expect_body(200, "http://lms-a.example/x");
    }
    let absolute = Request::get("http://lms-a.example/x");
    edge.ask(&absolute).await.expect_body(200, "http://lms-a.example/x");
    assert_eq!(origin.requests().len(), rows.len());
    edge.outcomes("hit", rows.len() as u64 + 5).await;
}

#[tokio::test]
async fn g25_two_hosts_in_one_request_are_refused_and_nobody_is_asked() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| echo(seen));
    let (edge, _certificates) = two_sites(&origin, "").await;
    let heads = [
        "GET http://lms-b.example/x HTTP/1.1\r\nHost: lms-a.example\r\n",
        "GET /x HTTP/1.1\r\nHost: lms-a.example\r\nHost: lms-b.example\r\n",
        "GET /x HTTP/1.1\r\nHost: lms-a.example\r\nHost: lms-a.example\r\n",
        "GET /x HTTP/1.1\r\nHost: lms-a.example, lms-b.example\r\n",
        "GET /x HTTP/1.1\r\nHost: lms-a.example/b\r\n",
        "GET /x HTTP/1.1\r\nHost: lms-b.example@lms-a.example\r\n",
        "GET /x HTTP/1.1\r\nHost: lms-a.example:80:80\r\n",
        "GET /x HTTP/1.1\r\nHost:\r\n",
        "GET /x HTTP/1.1\r\n",
    ];
    for (n, head) in heads.into_iter().enumerate() {
        let mut client = edge.client().await;
        client.send(format!("{head}\r\n").as_bytes()).await;
        let reply = client.reply("GET").await;
        assert_eq!((reply.status, detail(&reply)), (400, Some("bad-host")), "{head:?}: {reply}");
        edge.outcomes("refused", n as u64 + 1).await;
    }
    assert_eq!(origin.requests().len(), 0);
    let refused = edge.metric("lectern_requests_refused_total", &["reason=\"bad-host\""]).await;
    assert_eq!(refused as usize, heads.len());
    let log = edge.log(heads.len()).await;
    assert!(log.iter().all(|line| line["outcome"] == "refused" && line["detail"] == "bad-host"), "{log:#?}");
    for host in ["lms-a.example", "lms-b.example"] {
        edge.ask(&Request::get("/x").host(host)).await.expect_body(200, format!("http://{host}/x"));
    }
}

#[tokio::test]
async fn g26_no_field_of_a_client_gets_its_word_into_what_others_are_given() {
    const FIELDS: [&str; 20] = [
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Scheme",
        "X-Forwarded-Server",
        "X-Forwarded-Prefix",
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "Proxy",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Host",
        "X-Original-Host",
        // The same for an origin that speaks CGI.
        "X_Forwarded_Host",
        "X-Forwarded_For",
        "X_Original_URL",
    ];
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| {
        let fields: Vec<_> = FIELDS.iter().map(|name| seen.all(name).join("+")).collect();
        Answer::storable(format!("{} {fields:?}", asked(seen)))
    });
    for rest in ["", CACHE_ALL] {
        let edge = Edge::before(&origin, rest).await;
        for (n, name) in FIELDS.into_iter().enumerate() {
            let target = format!("/x?{n}{}", rest.len());
            let evil = Request::get(&target).field(name, "evil.example").field(name, "/evil");
            edge.ask(&evil).await.expect(200);
            for outcome in ["first", "second"] {
                let body = edge.get(&target).await.expect(200).text();
                assert!(!body.contains("evil"), "{outcome} after {name} {rest:?}: {body}");
                let own = format!("http://lms-a.example{target} [\"lms-a.example\", \"http\", \"80\"");
                assert!(body.starts_with(&own), "{name}: {body}");
            }
            for seen in origin.seen(&target) {
                // What tells of another request than the one keyed goes along in no relay either.
                assert!(seen.all(name).iter().all(|value| !value.contains("evil")), "{seen:?}");
            }
            // A fill needs at most one request; a relay of the evil one comes on top.
            assert!((1..=2).contains(&origin.hits(&target)), "{name} {rest:?}");
        }
        assert!(edge.outcome("hit").await >= FIELDS.len() as u64);
    }
}

#[tokio::test]
async fn g26_from_a_trusted_proxy_its_own_fields_count_and_the_spellings_of_cgi_do_not() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| {
        let names = ["x-forwarded-for", "x_forwarded_for", "x-forwarded-proto", "x-forwarded-host"];
        Answer::ok(format!("{:?}", names.map(|name| seen.all(name).join("+"))))
    });
    let edge = Edge::with(&format!(
        "default_site = \"a\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         trusted_proxies = [\"127.0.0.1/32\"]\n[[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"a\"\nhosts = [\"a.example\"]\norigin = \"lms\"\n",
        origin.addr()
    ))
    .await;
    let request = Request::new("POST", "/x")
        .field("X-Forwarded-For", "6.6.6.6, 203.0.113.7")
        .field("X_Forwarded_For", "7.7.7.7")
        .field("X-Forwarded-Proto", "https")
        .body("x");
    let told = "[\"6.6.6.6, 203.0.113.7, 127.0.0.1\", \"\", \"https\", \"lms-a.example\"]";
    let reply = edge.ask(&request).await.expect(200).text();
    assert_eq!(reply, told);
    let other = Dial::to(edge.address("web").await).from([127, 0, 0, 2].into());
    let told = "[\"127.0.0.2\", \"\", \"http\", \"lms-a.example\"]";
    other.client().await.ask(&request).await.expect_body(200, told);
    let log = edge.log(2).await;
    let clients: Vec<_> = log.iter().map(|line| line["client"].as_str().unwrap()).collect();
    assert_eq!(clients, ["203.0.113.7", "127.0.0.2"]);
}

#[tokio::test]
async fn g26_a_methods_override_deletes_nothing() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| Answer::ok(seen.all("x-http-method-override").join("+")));
    let edge = Edge::before(&origin, "").await;
    for method in ["GET", "POST", "PUT"] {
        let request = Request::new(method, "/x").field("X-HTTP-Method-Override", "DELETE");
        edge.ask(&request).await.expect_body(200, "");
        assert_eq!(origin.last("/x").method, method);
    }
    edge.outcomes("pass", 3).await;
}

#[tokio::test]
async fn g27_a_redirect_to_https_is_not_served_to_https_and_a_purge_covers_both() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| match seen.field("x-forwarded-proto") {
        Some("https") => Answer::storable(asked(seen)),
        _ => Answer::new(301, "")
            .field("Location", format!("https://lms-a.example{}", seen.target))
            .field("Cache-Control", "public, max-age=600"),
    });
    let (edge, _certificates) = two_sites(&origin, "").await;
    let request = Request::get("/x");
    for purged in ["https", "http"] {
        for _ in 0..2 {
            let moved = edge.ask(&request).await.expect(301);
            assert_eq!(moved.field("location"), Some("https://lms-a.example/x"));
            https(&edge, &request).await.expect_body(200, "https://lms-a.example/x");
        }
        edge.purge(&format!("{purged}://lms-a.example/x")).await;
    }
    assert_eq!(origin.hits("/x"), 4, "one each, and one each after the purge");
    edge.ask(&request).await.expect(301);
    https(&edge, &request).await.expect(200);
    assert_eq!(origin.hits("/x"), 6);
    edge.outcomes("miss", 6).await;
    edge.outcomes("hit", 4).await;
}

/// Spellings of G28 and what the origin is asked; `None` where the edge refuses.
const SPELLINGS: [(&str, Option<&str>); 22] = [
    ("/my/x.css", Some("/my/x.css")),
    ("/my;x.css", Some("/my;x.css")),
    ("/my%3Bx.css", Some("/my%3Bx.css")),
    ("/my%2Fx.css", Some("/my%2Fx.css")),
    ("/my%252Fx.css", Some("/my%252Fx.css")),
    ("/my%3Fx.css", Some("/my%3Fx.css")),
    ("/my%23x.css", Some("/my%23x.css")),
    ("/my?x.css", Some("/my?x.css")),
    ("/my%00.css", None),
    ("/my%0A.js", None),
    ("/static/..%2Fmy", None),
    ("/static/..%5Cmy", None),
    ("/static/..;/my", None),
    ("/static/../my", Some("/my")),
    ("/static/%2E%2e/my/y.js", Some("/my/y.js")),
    ("//my/x.js", Some("//my/x.js")),
    ("/my/.js", Some("/my/.js")),
    ("/my//x.css", Some("/my//x.css")),
    ("/static/my/x.css", Some("/static/my/x.css")),
    ("/static//my/x.css", Some("/static//my/x.css")),
    ("/STATIC/my/x.css", Some("/STATIC/my/x.css")),
    ("/static/%6Dy/z.css", Some("/static/my/z.css")),
];

/// No rule, and rules that an operator could write for static paths.
const RULES: [&str; 3] = [
    "",
    "[[site.rule]]\nname = \"static\"\nprefix = \"/static/\"\nverdict = \"cache\"\nlifetime = \"600s\"\nshared = true\n",
    "[[site.rule]]\nname = \"types\"\nextension = [\"css\", \"js\"]\nverdict = \"cache\"\nlifetime = \"600s\"\n\
     shared = true\n",
];

#[tokio::test]
async fn g28_a_page_dressed_as_a_static_file_is_never_shown_to_others() {
    // What the page says about storing: nothing, or what a careless framework adds.
    let said = [
        None,
        Some(("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")),
        Some(("Cache-Control", "max-age=600")),
        Some(("ETag", "\"v1\"")),
    ];
    for (said, rest) in said.into_iter().flat_map(|said| RULES.map(|rest| (said, rest))) {
        let origin = Origin::start().await;
        origin.on_call("/*", move |seen, _| {
            let who = seen.field("cookie").unwrap_or("nobody");
            let page = Answer::ok(format!("<html>{who}")).field("Content-Type", "text/html; charset=utf-8");
            said.into_iter().fold(page, |page, (name, value)| page.field(name, value))
        });
        let edge = Edge::before(&origin, rest).await;
        let mut client = edge.client().await;
        for (spelling, asked) in SPELLINGS {
            for (n, who) in ["session=victim", "session=b", "nobody", "session=b"].into_iter().enumerate() {
                let request = Request::get(spelling);
                let request = if who == "nobody" { request } else { request.field("Cookie", who) };
                let before = origin.requests().len();
                let reply = client.ask(&request).await;
                let Some(asked) = asked else {
                    assert_eq!((reply.status, reply.clean()), (400, true), "{spelling}: {reply}");
                    assert!(detail(&reply).unwrap().starts_with("path-"), "{reply}");
                    continue;
                };
                let what = format!("{spelling} asked as {asked} {said:?} {rest:?}");
                let text = reply.expect(200).text();
                // What nobody in particular was given may be stored; what a learner was given may not.
                assert!(text.ends_with(who) || text.ends_with("nobody"), "{what}: {text} for {who}");
                let fresh = origin.requests().len() > before;
                let silent = said.is_none() || said.is_some_and(|(name, _)| name == "ETag");
                assert!(fresh || (n == 3 && !silent), "{what}: {who} was answered from what is stored");
            }
        }
        let refused = SPELLINGS.iter().filter(|(_, asked)| asked.is_none()).count() as u64 * 4;
        edge.outcomes("refused", refused).await;
    }
}

#[tokio::test]
async fn g28_an_attacker_who_waits_for_the_victims_fill_does_not_get_it() {
    let origin = Origin::start().await;
    for (n, rest) in RULES.into_iter().enumerate() {
        let (path, gate) = (format!("/my/{n}.css"), Gate::new());
        let held = gate.clone();
        origin.on_call(&path, move |seen, _| {
            let who = seen.field("cookie").unwrap_or("nobody");
            let page = Answer::ok(format!("<html>{who}")).field("Content-Type", "text/html");
            page.field("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT").behind(&held)
        });
        let edge = Edge::before(&origin, rest).await;
        let mut clients = tokio::task::JoinSet::new();
        let victim = Request::get(&path).field("Cookie", "session=victim");
        for request in [victim, Request::get(&path), Request::get(&path).field("Cookie", "session=b")] {
            let mut client = edge.client().await;
            clients.spawn(async move {
                let marker = request.fields.first().map_or("nobody", |(_, cookie)| cookie).to_owned();
                (client.ask(&request).await.expect(200).text(), marker)
            });
        }
        gate.arrived(1).await;
        gate.open();
        while let Some(answered) = clients.join_next().await {
            let (text, marker) = answered.unwrap();
            let nobodys = n == 2 && text.ends_with("nobody");
            assert!(text.ends_with(&marker) || nobodys, "{rest:?}: {text} instead of {marker}");
        }
        assert_eq!(edge.outcome("hit").await + edge.outcome("joined").await, 0, "{rest:?}");
    }
}

#[tokio::test]
async fn g28_two_spellings_never_share_an_entry_unless_the_origin_is_asked_the_same() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| {
        let kind = if seen.path().ends_with(".js") { "text/javascript" } else { "text/css" };
        Answer::storable(&seen.target).field("Content-Type", kind)
    });
    for rest in RULES {
        let edge = Edge::before(&origin, rest).await;
        let before = origin.requests().len();
        for _ in 0..2 {
            for (spelling, asked) in SPELLINGS {
                let reply = edge.get(spelling).await;
                match asked {
                    Some(asked) => drop(reply.expect_body(200, asked)),
                    None => drop(reply.expect(400)),
                }
            }
        }
        let asked: std::collections::BTreeSet<_> = SPELLINGS.iter().filter_map(|row| row.1).collect();
        assert_eq!(origin.requests().len() - before, asked.len(), "each is stored once, by itself: {rest:?}");
        edge.outcomes("miss", asked.len() as u64).await;
    }
}

#[tokio::test]
async fn sites_of_a_shared_scope_share_and_others_never_do() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| echo(seen));
    let site = |name: &str, hosts: &str, rest: &str| {
        format!("[[site]]\nname = \"{name}\"\nhosts = [{hosts}]\norigin = \"lms\"\n{rest}\n")
    };
    let edge = Edge::with(&format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n{}{}{}{}",
        origin.addr(),
        site("a", "\"a.example\"", "scope = \"theme\""),
        site("b", "\"b.example\", \"*.b.example\"", "scope = \"theme\""),
        site("alone", "\"*.c.example\"", ""),
        site("other", "\"d.example\"", ""),
    ))
    .await;
    let get = async |host: &str| edge.ask(&Request::get("/x").host(host)).await.expect(200).text();
    for host in ["a.example", "b.example", "deep.in.b.example"] {
        assert_eq!(get(host).await, "http://a.example/x", "{host}");
    }
    for host in ["one.c.example", "two.c.example", "one.one.c.example", "d.example"] {
        for _ in 0..2 {
            assert_eq!(get(host).await, format!("http://{host}/x"));
        }
    }
    assert_eq!(origin.hits("/x"), 5);
    for (site, outcome, n) in [
        ("a", "miss", 1.0),
        ("b", "hit", 2.0),
        ("b", "miss", 0.0),
        ("alone", "miss", 3.0),
        ("alone", "hit", 3.0),
        ("other", "miss", 1.0),
    ] {
        let labels = [format!("site=\"{site}\""), format!("outcome=\"{outcome}\"")];
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        assert_eq!(edge.metric("lectern_requests_total", &labels).await, n, "{site} {outcome}");
    }
}

#[tokio::test]
async fn an_unknown_host_is_421_and_costs_the_connection_nothing() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| echo(seen));
    let (edge, _certificates) = two_sites(&origin, "").await;
    let mut client = edge.client().await;
    for host in ["unknown.example", "xlms-a.example", "x.lms-a.example", "127.0.0.1", "[::1]:80"] {
        let reply = client.ask(&Request::get("/x").host(host)).await.expect(421);
        assert_eq!(detail(&reply), Some("unknown-host"), "{host}");
    }
    client.ask(&Request::get("/x").host("deep.in.lms-b.example")).await.expect(200);
    assert_eq!(origin.requests().len(), 1);
    edge.outcomes("refused", 5).await;
    let labels = ["site=\"\"", "outcome=\"refused\""];
    assert_eq!(edge.metric("lectern_requests_total", &labels).await, 5.0);
    assert_eq!(edge.metric("lectern_requests_refused_total", &["reason=\"unknown-host\""]).await, 5.0);
    let log = edge.log(6).await;
    let unknown: Vec<_> = log.iter().filter(|line| line["detail"] == "unknown-host").collect();
    assert!(unknown.len() == 5 && unknown[0]["host"] == "unknown.example", "{log:#?}");
    let h2 = edge.h2().await;
    h2.ask(&Request::get("/x").host("unknown.example")).await.expect(421);
    h2.ask(&Request::get("/x").host("deep.in.lms-b.example")).await.expect(200);
}

#[tokio::test]
async fn a_default_site_answers_for_unknown_hosts_each_by_itself() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| echo(seen));
    let edge = Edge::before(&origin, "").await;
    for host in ["one.example", "two.example", "one.example"] {
        edge.ask(&Request::get("/x").host(host)).await.expect_body(200, format!("http://{host}/x"));
    }
    assert_eq!(origin.hits("/x"), 2);
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn a_host_that_is_set_for_the_origin_does_not_mix_tenants() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| {
        Answer::storable(format!("{:?} {:?}", seen.all("host"), seen.all("x-forwarded-host")))
    });
    let edge = Edge::with(&format!(
        "default_site = \"a\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\nhost = \"lms.internal\"\n\
         [[site]]\nname = \"a\"\nhosts = [\"a.example\"]\norigin = \"lms\"\n",
        origin.addr()
    ))
    .await;
    for outcome in ["miss", "hit"] {
        for host in ["a.example", "b.example:8080"] {
            let reply = edge.ask(&Request::get("/x").host(host)).await;
            reply.expect_body(200, format!("[\"lms.internal\"] [{host:?}]"));
        }
        edge.outcomes(outcome, 2).await;
    }
    let post = Request::new("POST", "/y").host("b.example").body("x");
    edge.ask(&post).await.expect_body(200, "[\"lms.internal\"] [\"b.example\"]");
    assert_eq!(origin.hits("/x"), 2);
}

#[tokio::test]
async fn two_learners_of_the_sample_lms_each_see_only_their_own_page() {
    let lms = Lms::start(([127, 0, 0, 1], 0).into(), Options::default()).await.unwrap();
    let edge = Edge::with(&format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms-a.example\"]\norigin = \"lms\"\n",
        lms.addr()
    ))
    .await;
    let paths = ["/my/", "/my/courses", "/my/x.css", "/my/deep/y.js", "/my/;z.png"];
    for path in paths {
        let before = lms.counters().requests;
        for (n, learner) in ["Ada", "Grace", "Ada", "Grace"].into_iter().enumerate() {
            let request = Request::get(path).field("Cookie", &Lms::cookie("lms-a.example", learner));
            let reply = edge.ask(&request).await.expect(200);
            assert!(reply.text().contains(&format!("Hello, {learner}.")), "{path}: {reply}");
            assert_eq!(
                lms.counters().requests - before,
                n as u64 + 1,
                "{path}: every request goes to the LMS"
            );
        }
        let nobody = edge.get(path).await;
        assert_eq!((nobody.status, nobody.field("location")), (303, Some("/login")), "{path}");
    }
    assert_eq!(edge.outcome("hit").await + edge.outcome("stale").await + edge.outcome("joined").await, 0);
    // What is everybody's is stored all the same, for both learners.
    let before = lms.counters().requests;
    for learner in ["Ada", "Grace"] {
        let request = Request::get("/theme/site.css").field("Cookie", &Lms::cookie("lms-a.example", learner));
        edge.ask(&request).await.expect(200);
    }
    assert_eq!(lms.counters().requests - before, 1);
    lms.stop().await;
}

#[tokio::test]
async fn ninety_four_sites_run_from_one_configuration_each_by_itself() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| echo(seen));
    let mut config = format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[rule_set]]\nname = \"all\"\n[[rule_set.rule]]\nname = \"theme\"\nprefix = \"/theme/\"\nverdict = \"cache\"\n",
        origin.addr()
    );
    for n in 1..=94 {
        config += &format!(
            "[[site]]\nname = \"tenant-{n}\"\nhosts = [\"t{n}.example\", \"*.t{n}.example\"]\norigin = \"lms\"\n\
             use = [\"all\"]\n"
        );
    }
    let edge = Edge::with(&config).await;
    let mut client = Client::connect(edge.address("web").await).await;
    for _ in 0..2 {
        for n in 1..=94 {
            let host = format!("t{n}.example");
            let reply = client.ask(&Request::get("/theme/logo").host(&host)).await;
            reply.expect_body(200, format!("http://{host}/theme/logo"));
        }
    }
    client.ask(&Request::get("/theme/logo").host("t95.example")).await.expect(421);
    edge.purge("http://t7.example/theme/logo").await;
    for n in [7, 8] {
        client.ask(&Request::get("/theme/logo").host(&format!("t{n}.example"))).await.expect(200);
    }
    assert_eq!(origin.hits("/theme/logo"), 95, "one each, and one more for the purged one");
    edge.outcomes("miss", 95).await;
    edge.outcomes("hit", 95).await;
    let labels = ["site=\"tenant-94\"", "rule=\"all/theme\"", "outcome=\"hit\""];
    assert_eq!(edge.metric("lectern_requests_total", &labels).await, 1.0);
}

#[tokio::test]
async fn g25_http2_names_its_host_once_too() {
    let origin = Origin::start().await;
    origin.on_call("/*", |seen, _| echo(seen));
    let (edge, _certificates) = two_sites(&origin, "").await;
    let h2 = edge.h2().await;
    let other = Request::get("/x").field("Host", "lms-b.example");
    let reply = h2.ask(&other).await.expect(400);
    assert_eq!(detail(&reply), Some("bad-host"));
    for (host, expected) in
        [("lms-a.example", "http://lms-a.example/x"), ("lms-b.example:8080", "http://lms-b.example:8080/x")]
    {
        h2.ask(&Request::get("/x").host(host)).await.expect_body(200, expected);
        edge.ask(&Request::get("/x").host(host)).await.expect_body(200, expected);
    }
    assert_eq!(origin.hits("/x"), 2);
    edge.outcomes("hit", 2).await;
    edge.outcomes("refused", 1).await;
}
