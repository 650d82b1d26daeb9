//! Explain: what it says of a request is what becomes of it then, and nothing comes of saying it.

use serde_json::{Value, json};

use crate::support::{
    answer::Answer,
    deadline::eventually,
    edge::Edge,
    gate::Gate,
    message::{Reply, Request},
    moodle::{Moodle, SCRIPT},
    origin::{Origin, Seen},
};

const RULES: &str = r#"
[[site.rule]]
name = "refused"
prefix = "/refused/"
verdict = "refuse"
status = 403

[[site.rule]]
name = "scripts"
extension = ["js"]
method = ["POST"]
verdict = "pass"

[[site.rule]]
name = "passed"
path = "/passed/**"
verdict = "pass"
body_limit = 4

[[site.rule]]
name = "content"
path = "/content/**"
verdict = "cache"
keep_query = { without = ["utm"] }
forward = ["Accept-Language"]
"#;

/// Ten seconds over its lifetime when it comes.
fn stale(body: &str, says: &str) -> Answer {
    let answer = Answer::ok(body).field("ETag", "\"v1\"").field("Age", "20").conditional();
    answer.field("Cache-Control", format!("public, max-age=10{says}"))
}

fn private(body: &str) -> Answer {
    Answer::ok(body).field("Cache-Control", "private")
}

/// What `lectern explain` prints of a request.
fn printed(edge: &Edge, request: &Request, json: bool) -> String {
    let url = format!("http://{}{}", request.host, request.target);
    let mut fields: Vec<_> = request.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    fields.extend(request.body.as_ref().map(|body| format!("Content-Length: {}", body.len())));
    let mut arguments = vec!["explain", &url, "-X", &request.method];
    arguments.extend(fields.iter().flat_map(|field| ["-H", field]));
    arguments.extend(json.then_some("--json"));
    let done = edge.command(&arguments);
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn explained(edge: &Edge, request: &Request) -> Value {
    serde_json::from_str(&printed(edge, request, true)).unwrap()
}

/// Waits until no fill is under way: what was answered is stored a moment later.
async fn settled(edge: &Edge) {
    eventually("end of all fills", async || edge.metric("lectern_fills_in_flight", &[]).await == 0.0).await;
}

/// Whether the origin saw the request that was foretold, field by field.
fn is_as_told(seen: &Seen, told: &Value) -> bool {
    let told_fields = told["fields"].as_array().unwrap();
    let fits = |(name, value): &(String, String)| {
        told_fields.iter().any(|field| {
            let (told_name, told_value) = (field["name"].as_str().unwrap(), field["value"].as_str().unwrap());
            let hidden = told_value == format!("(sent, {} bytes)", value.len());
            let same = told_value == value || hidden || told_value == "(new for each request)";
            name.eq_ignore_ascii_case(told_name) && same
        })
    };
    let line = (seen.method.as_str(), seen.target.as_str());
    line == (told["method"].as_str().unwrap(), told["target"].as_str().unwrap())
        && seen.fields.len() == told_fields.len()
        && seen.fields.iter().all(fits)
}

/// Explains a request, sends it, and compares: outcome, site and rule in the access log, status, age, what the origin saw.
/// Gives what was told.
async fn as_foretold(edge: &Edge, origin: &Origin, request: &Request, outcome: &str) -> Value {
    settled(edge).await;
    let (lines, seen) = (edge.log(0).await.len(), origin.requests().len());
    let told = explained(edge, request);
    let what = format!("{} {}: {told:#}", request.method, request.target);
    assert_eq!((edge.log(0).await.len(), origin.requests().len()), (lines, seen), "{what}");
    let reply: Reply = edge.ask(request).await;
    let line = edge.log(lines + 1).await.swap_remove(lines);
    assert_eq!(line["outcome"], outcome, "{line}");
    let answer = &told["answer"];
    let others = answer["otherwise"].as_array().unwrap();
    assert!(answer["outcome"] == outcome || others.iter().any(|other| other["outcome"] == outcome), "{what}");
    assert_eq!(line["site"], told["site"]["name"], "{what}");
    assert_eq!(line["rule"].as_str().unwrap_or(""), told["rule"]["name"].as_str().unwrap_or(""), "{what}");
    if let Some(status) = answer["status"].as_u64() {
        assert_eq!(u64::from(reply.status), status, "{what}");
    }
    if let Some(fwd) = answer["fwd"].as_str().filter(|_| outcome != "stale") {
        let said = reply.field("cache-status").unwrap().to_owned();
        assert!(said.contains(&format!("fwd={fwd}")), "{said}: {what}");
    }
    let selected = told["stored"].as_array().unwrap().iter().find(|stored| stored["selected"] == true);
    if let (Some(stored), "hit" | "stale") = (selected, outcome) {
        let age = reply.field("age").unwrap().parse::<u64>().unwrap();
        assert!(age.abs_diff(stored["age"].as_u64().unwrap()) <= 60, "{age}: {what}");
        assert_eq!(stored["outdated"], false, "{what}");
    }
    match told["origin"]["by"].as_str() {
        None => assert_eq!(origin.requests().len(), seen, "{what}"),
        Some(_) => {
            let target = told["origin"]["target"].as_str().unwrap();
            origin.until(target, "all that was foretold", |seen| is_as_told(seen, &told["origin"])).await;
            let came = origin.requests().split_off(seen);
            assert!(is_as_told(&came[0], &told["origin"]), "{:#?}: {what}", came[0]);
        }
    }
    told
}

#[tokio::test]
async fn what_is_said_of_a_request_is_what_becomes_of_it_then() {
    let origin = Origin::start().await;
    origin.on("/content/a", Answer::storable("abcdef"));
    origin.on("/content/cold", Answer::storable("cold"));
    origin.on("/content/me", private("me"));
    origin.on("/content/old", stale("old", ""));
    origin.on("/content/swr", stale("swr", ", stale-while-revalidate=600"));
    origin.on("/content/sie", stale("sie", ", stale-if-error=600"));
    origin.on("/content/vary", Answer::storable("v").field("Vary", "Accept-Language"));
    for path in ["/passed/a", "/page", "/own", "/a.js"] {
        origin.on(path, private("page"));
    }
    let edge = Edge::before(&origin, RULES).await;
    let check = async |request: Request, outcome| as_foretold(&edge, &origin, &request, outcome).await;
    let get = Request::get;

    let told = check(get("/content/./a?utm=1").field("Cookie", "s=1").field("X-A", "1"), "miss").await;
    assert_eq!((&told["answer"]["outcome"], &told["answer"]["fwd"]), (&json!("miss"), &json!("uri-miss")));
    assert_eq!((&told["url"], &told["verdict"]), (&json!("http://lms-a.example/content/a"), &json!("cache")));
    let conditions: Vec<_> =
        told["passed_over"].as_array().unwrap().iter().map(|r| &r["condition"]).collect();
    assert_eq!(conditions, ["prefix", "extension", "path"], "{told:#}");
    let told = check(get("/content/a"), "hit").await;
    assert_eq!(told["key"]["query"], Value::Null);
    assert_eq!(told["stored"][0]["validator"], json!({"name": "etag", "value": "\"v1\""}));
    check(Request::new("HEAD", "/content/a"), "hit").await;
    let told = check(get("/content/a").field("Range", "bytes=1-2"), "hit").await;
    assert_eq!(
        (&told["answer"]["status"], &told["answer"]["ranges"]),
        (&json!(206), &json!([{"first": 1, "last": 2}]))
    );
    let told = check(get("/content/a").field("If-None-Match", "\"v1\""), "hit").await;
    assert_eq!(told["answer"]["status"], 304);
    check(get("/content/a?v=1&utm=2"), "miss").await;
    check(Request::new("HEAD", "/content/cold"), "pass").await;
    check(get("/content/cold").field("Cache-Control", "only-if-cached"), "refused").await;
    check(get("/content/cold").field("Cache-Control", "no-store"), "pass").await;
    check(get("/content/cold").body("x"), "pass").await;

    let told = check(Request::new("POST", "/content/a").body("xy"), "pass").await;
    assert_eq!((&told["answer"]["fwd"], &told["origin"]["by"]), (&json!("method"), &json!("relay")));
    let told = check(get("/content/a"), "miss").await;
    assert_eq!(told["stored"], json!([]), "a POST forgets what is stored");

    check(get("/refused/a"), "refused").await;
    check(get("/content/a%zz"), "refused").await;
    check(get("/passed/a").field("Cookie", "s=1"), "pass").await;
    check(Request::new("PUT", "/passed/a").body("12345"), "refused").await;
    check(Request::new("POST", "/a.js").body(""), "pass").await;

    let told = check(get("/content/me").field("Cookie", "s=1"), "pass").await;
    assert_eq!(told["answer"]["pass_mark"], false);
    let told = check(get("/content/me").field("Cookie", "s=1"), "pass").await;
    assert_eq!((&told["answer"]["pass_mark"], &told["origin"]["by"]), (&json!(true), &json!("relay")));
    check(get("/page").field("Cookie", "s=1").field("If-None-Match", "\"x\""), "pass").await;
    let told = check(get("/own").field("X-Requested-With", "XMLHttpRequest"), "pass").await;
    assert_eq!((&told["rule"], &told["verdict"]), (&Value::Null, &json!("obey")));
    assert!(told["answer"]["why"].as_str().unwrap().contains("x-requested-with"), "{told:#}");

    check(get("/content/old"), "miss").await;
    let told = check(get("/content/old"), "revalidated").await;
    assert_eq!(
        (&told["answer"]["outcome"], &told["origin"]["conditional"]),
        (&json!("revalidated"), &json!(true))
    );
    check(get("/content/swr"), "miss").await;
    let told = check(get("/content/swr"), "stale").await;
    assert_eq!((&told["answer"]["outcome"], &told["origin"]["by"]), (&json!("stale"), &json!("refresh")));
    check(get("/content/sie"), "miss").await;
    origin.on("/content/sie", Answer::new(500, ""));
    check(get("/content/sie"), "stale").await;

    let vary = |language| get("/content/vary").field("Accept-Language", language);
    check(vary("de"), "miss").await;
    let told = check(vary("en"), "miss").await;
    assert_eq!(told["answer"]["fwd"], "vary-miss");
    let told = check(vary("de"), "hit").await;
    let of = |told: &Value| {
        told["stored"].as_array().unwrap().iter().map(|s| s["selected"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(&told), [false, true]);
    assert_eq!(told["stored"][1]["selecting"], json!([{"name": "accept-language", "value": "de"}]));
}

#[tokio::test]
async fn what_is_outdated_is_named_with_the_record_that_outdates_it() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    let edge = Edge::before(&origin, "").await;
    let request = Request::get("/a?q=1");
    let exact = json!({"kind": "url", "url": "http://lms-a.example/a?q=1", "exact": true, "reason": "test"});
    let site = json!({"kind": "site", "site": "lms", "reason": "test"});
    let url = json!({"kind": "url", "url": "http://lms-a.example/a", "reason": "test"});
    for (n, (purge, kind)) in [(&exact, "url-exact 1"), (&site, "site 2"), (&url, "url 3")].iter().enumerate()
    {
        edge.ask(&request).await.expect(200);
        edge.log(2 * n + 1).await;
        settled(&edge).await;
        assert_eq!(explained(&edge, &request)["stored"][0]["outdated"], false);
        edge.control("POST", "/v1/purges", &purge.to_string()).await.expect(200);
        let told = as_foretold(&edge, &origin, &request, "miss").await;
        assert_eq!(told["stored"][0]["outdated_by"], json!([kind]), "{told:#}");
        assert_eq!(told["answer"]["fwd"], "stale");
        let (born, last) = (&told["stored"][0]["born"], &told["ledger"]);
        assert_eq!(born["ledger"], last["ledger"]);
        assert_eq!(born["number"].as_u64().unwrap() + 1, last["number"].as_u64().unwrap());
    }
    assert_eq!(origin.hits("/a"), 4);
}

#[tokio::test]
async fn a_fill_under_way_is_told_and_what_its_client_said_is_not() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Answer::storable("a").behind(&gate));
    let edge = Edge::before(&origin, "").await;
    let first = Request::get("/a").field("User-Agent", "another client");
    let (reply, ()) = tokio::join!(edge.ask(&first), async {
        gate.arrived(1).await;
        let told = explained(&edge, &Request::get("/a"));
        assert_eq!((&told["answer"]["outcome"], &told["origin"]["by"]), (&json!("joined"), &json!("joined")));
        assert_eq!(
            (&told["answer"]["fill_under_way"], &told["origin"]["target"]),
            (&json!(true), &json!("/a"))
        );
        assert!(!told.to_string().contains("another client"), "{told:#}");
        gate.open();
    });
    reply.expect_body(200, "a");
    assert_eq!(origin.hits("/a"), 1);
    edge.outcomes("miss", 1).await;
}

#[tokio::test]
async fn an_explanation_counts_asks_and_stores_nothing() {
    let origin = Origin::start().await;
    origin.on("/content/a", Answer::storable("a"));
    origin.on("/content/swr", stale("swr", ", stale-while-revalidate=600"));
    let edge = Edge::before(&origin, RULES).await;
    for path in ["/content/a", "/content/swr"] {
        edge.get(path).await.expect(200);
    }
    edge.outcomes("miss", 2).await;
    settled(&edge).await;
    // Without what tells of the process and of the calls of the control API themselves.
    let counted = async || {
        let text = edge.metrics().await;
        let of_requests = |line: &&str| {
            [
                "lectern_request",
                "lectern_response",
                "lectern_fill",
                "lectern_origin",
                "lectern_ledger",
                "lectern_not",
            ]
            .iter()
            .any(|name| line.starts_with(name))
        };
        text.lines().filter(of_requests).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = counted().await;
    assert!(before.len() > 10, "{before:#?}");
    for target in ["/content/a", "/content/swr", "/content/cold", "/passed/a", "/refused/a", "/page"] {
        for method in ["GET", "HEAD", "POST"] {
            explained(&edge, &Request::new(method, target));
        }
    }
    assert_eq!(counted().await, before);
    assert_eq!((origin.requests().len(), edge.log(2).await.len()), (2, 2));
    assert_eq!(
        edge.get("/content/a").await.expect(200).text(),
        "a",
        "a POST that is explained forgets nothing"
    );
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn nothing_that_lets_somebody_in_is_repeated() {
    let origin = Origin::start().await;
    origin.on("/file/*", Answer::storable("file"));
    let rule = "[[site.rule]]\nname = \"keyed\"\nfield = [\"X-Secret-Key: in-the-rule\"]\nverdict = \"pass\"\n\
                [[site.rule]]\nname = \"file\"\npath = \"/file/{token}/**\"\nverdict = \"cache\"\nhide_path = true\n\
                forward = [\"Cookie\", \"Authorization\"]\n";
    let edge = Edge::before(&origin, rule).await;
    let request = Request::get("/file/s3cret/a?key=s3cret")
        .field("Cookie", "session=s3cret")
        .field("Authorization", "Bearer s3cret")
        .field("Referer", "http://lms-a.example/file/s3cret/");
    // What a fill would send, and what is stored.
    for sent in ["> cookie: (sent, 14 bytes)", "selected: 200, 4 bytes"] {
        let (told, report) = (printed(&edge, &request, true), printed(&edge, &request, false));
        for text in [&told, &report] {
            assert!(!text.contains("s3cret") && !text.contains("in-the-rule"), "{text}");
            assert!(text.contains("(hidden, ") && text.contains("lms-a.example"), "{text}");
        }
        assert!(report.contains(sent) && report.contains("hide_path = true"), "{report}");
        edge.ask(&request).await.expect_body(200, "file");
        settled(&edge).await;
    }
    assert_eq!(origin.hits("/file/s3cret/a"), 1);
    edge.outcomes("hit", 1).await;
    let anonymous = edge.command(&["explain", "http://lms-a.example/", "--token-file", "/dev/null"]);
    assert_eq!(anonymous.status.code(), Some(77));
}

#[tokio::test]
async fn of_a_learner_about_whom_the_lms_is_asked_the_check_is_told() {
    let moodle = Moodle::start().await;
    let rule = "[[site.rule]]\nname = \"scorm\"\npath = \"/pluginfile.php/{context}/mod_scorm/content/**\"\n\
                verdict = \"cache\"\nlift_private = true\naccess = \"asked\"\n\
                asked = { cookies = [\"MoodleSession\"], content = \"{context}\" }\n";
    let edge = Edge::before(&moodle.origin, rule).await;
    let [first, second, outsider] = ["student", "student", "outsider"].map(|user| moodle.signs_in(user));
    let of = |cookie: &str| Request::get(SCRIPT).field("Cookie", cookie);
    for (request, outcome, by, conditional) in [
        (of(&first), "miss", Some("check"), false),
        (of(&first), "hit", None, false),
        (of(&second), "revalidated", Some("check"), true),
        (of(&outsider), "pass", Some("check"), true),
        (Request { method: "HEAD".to_owned(), ..of(&outsider) }, "pass", Some("check"), true),
        (Request::get(SCRIPT), "pass", Some("relay"), false),
        (of(&outsider).field("Cache-Control", "only-if-cached"), "refused", None, false),
    ] {
        let told = as_foretold(&edge, &moodle.origin, &request, outcome).await;
        assert_eq!(told["origin"]["by"].as_str(), by, "{told:#}");
        assert_eq!(told["origin"]["conditional"].as_bool().unwrap_or_default(), conditional, "{told:#}");
        assert!(!told.to_string().contains(&first) && !told.to_string().contains(&outsider), "{told:#}");
    }
}
