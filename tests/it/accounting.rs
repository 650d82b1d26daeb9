//! What is told of a request: its line in the access log, its counters, its trace.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::support::{
    answer::Answer,
    client::Client,
    deadline::eventually,
    dial::Dial,
    edge::Edge,
    gate::Gate,
    message::{End, Request},
    origin::Origin,
};

/// The rows of the first table of a document of ours, cell by cell, without backquotes.
fn table(document: &str) -> Vec<Vec<String>> {
    let path = format!("{}/docs/{document}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

/// The last line that tells of this target.
fn of<'a>(log: &'a [Value], target: &str) -> &'a Value {
    log.iter().rfind(|line| line["target"] == target).unwrap_or_else(|| panic!("{target}: {log:#?}"))
}

#[tokio::test]
async fn every_outcome_has_its_line_with_the_fields_that_are_documented() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Answer::storable("0123456789"));
    origin.on("/film", Answer::storable(vec![b'x'; 400_000]).pause(200_000, &gate));
    origin.on("/post", Answer::ok("posted"));
    origin.on("/down", Answer::hang_up());
    origin.on("/coded", Answer::storable("").field("Content-Encoding", "gzip"));
    let short = |more: &str| format!("public, max-age=1{more}");
    origin.on("/old", Answer::storable("old").instead("Cache-Control", short("")).conditional());
    let swr = short(", stale-while-revalidate=600");
    origin.on("/stale", Answer::storable("stale").instead("Cache-Control", swr));
    origin.on("/own/a", Answer::storable("hers").instead("Cache-Control", "private, max-age=600"));
    let rest = "[[site.rule]]\nname = \"never\"\nprefix = \"/never/\"\nverdict = \"refuse\"\nstatus = 403\n\
                [[site.rule]]\nname = \"own\"\nprefix = \"/own/\"\nverdict = \"cache\"\nlift_private = true\n\
                access = \"asked\"\n\
                asked = { cookies = \"S\" }\n\
                [[site.rule]]\nname = \"modules\"\npath = \"/m/{module}/**\"\nverdict = \"cache\"\nmodule = \"{module}\"\n";
    origin.on("/m/physics/a", Answer::storable("released"));
    let edge = Edge::before(&origin, rest).await;

    let mut client = edge.client().await;
    client.get("/a?x=1").await.expect_body(200, "0123456789");
    client.get("/a?x=1").await.expect_body(200, "0123456789");
    client.ask(&Request::get("/own/a").field("Cookie", "S=1")).await.expect_body(200, "hers");
    let list = r#"{"site":"lms","release":"7","base":"http://lms.example/m/physics/","list":"a"}"#;
    edge.control("POST", "/v1/modules/physics/stage", list).await.expect(200);
    let activate = r#"{"site":"lms","release":"7","cold":true}"#;
    edge.control("POST", "/v1/modules/physics/activate", activate).await.expect(200);
    client.get("/m/physics/a").await.expect_body(200, "released");
    edge.h2().await.get("/a?x=2").await.expect_body(200, "0123456789");
    client.ask(&Request::new("POST", "/post").body("x")).await.expect_body(200, "posted");
    client.get("/never/a").await.expect(403);
    client.get("/down").await.expect(502);
    client.get("/coded").await.expect_body(200, "");
    let mut first = edge.client().await;
    first.send(&Request::get("/film").bytes()).await;
    gate.arrived(1).await;
    let mut second = edge.client().await;
    second.send(&Request::get("/film").bytes()).await;
    second.head("GET").await;
    gate.open();
    edge.outcomes("joined", 1).await;
    for (path, word) in [("/old", "revalidated"), ("/stale", "stale")] {
        eventually(word, async || {
            client.get(path).await.expect(200);
            edge.outcome(word).await > 0
        })
        .await;
    }
    let total = edge.metric("lectern_requests_total", &[]).await as usize;
    let log = edge.log(total).await;
    assert_eq!(log.len(), total, "one line is one request");

    let line = |outcome: &str| {
        log.iter().find(|line| line["outcome"] == outcome).unwrap_or_else(|| panic!("{outcome}: {log:#?}"))
    };
    let miss = line("miss");
    let expected = [
        ("listener", "web".into()),
        ("client", "127.0.0.1".into()),
        ("client_port", client.local_addr().port().into()),
        ("protocol", "HTTP/1.1".into()),
        ("method", "GET".into()),
        ("scheme", "http".into()),
        ("host", "lms-a.example".into()),
        ("target", "/a?x=1".into()),
        ("site", "lms".into()),
        ("status", 200.into()),
        ("bytes", 10.into()),
        ("complete", true.into()),
        ("origin", origin.addr().to_string().into()),
        ("rule", Value::Null),
        ("age", 0.into()),
        ("fault", Value::Null),
        ("detail", Value::Null),
    ];
    for (field, value) in expected {
        // Of a miss no stored response was served.
        let value = if field == "age" { Value::Null } else { value };
        assert_eq!(miss[field], value, "{field} of {miss}");
    }
    assert!(miss["first_us"].as_u64() <= miss["total_us"].as_u64(), "{miss}");
    assert!(miss["time"].as_u64().unwrap() > 1_700_000_000_000, "{miss}");
    let hit = line("hit");
    assert_eq!(
        (&hit["origin"], hit["age"].is_u64(), &hit["bytes"]),
        (&Value::Null, true, &10.into()),
        "{hit}"
    );
    assert_eq!(of(&log, "/a?x=2")["protocol"], "HTTP/2");
    assert_eq!(of(&log, "/coded")["coding"], "identity");
    let released = of(&log, "/m/physics/a");
    assert_eq!((&released["module"], &released["release"]), (&"physics".into(), &"7".into()));
    let joined = line("joined");
    assert_eq!((&joined["bytes"], &joined["complete"]), (&400_000.into(), &true.into()), "{joined}");
    assert_eq!(joined["origin"], origin.addr().to_string(), "{joined}");
    let pass = line("pass");
    assert_eq!((&pass["method"], &pass["origin"]), (&"POST".into(), &miss["origin"]), "{pass}");
    let refused = line("refused");
    assert_eq!((&refused["rule"], &refused["detail"]), (&"never".into(), &"rule".into()), "{refused}");
    assert_eq!((&refused["status"], &refused["complete"]), (&403.into(), &true.into()), "{refused}");
    let failed = line("failed");
    assert_eq!((&failed["fault"], &failed["status"]), (&"origin".into(), &502.into()), "{failed}");
    assert!(failed["detail"].as_str().unwrap().starts_with("origin-"), "{failed}");
    let revalidated = line("revalidated");
    assert_eq!(
        (&revalidated["origin"], &revalidated["bytes"]),
        (&miss["origin"], &3.into()),
        "{revalidated}"
    );
    assert!(line("stale")["age"].as_u64().unwrap() >= 1);

    // Every field is documented, and they stand in the documented order.
    let documented: Vec<String> = table("access-log.md").into_iter().map(|row| row[0].clone()).collect();
    let text = fs::read_to_string(edge.path("access.log")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for (line, raw) in log.iter().zip(text.lines()) {
        let mut keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        keys.sort_by_key(|key| raw.find(&format!("\"{key}\":")));
        let places: Vec<_> = keys
            .iter()
            .map(|key| documented.iter().position(|field| field == *key).unwrap_or_else(|| panic!("{key}")))
            .collect();
        assert!(places.is_sorted(), "{raw}");
        seen.extend(keys.into_iter().cloned());
    }
    assert_eq!(seen.len(), documented.len(), "of {documented:?} only {seen:?} were seen");
}

#[tokio::test]
async fn an_unknown_host_and_what_is_no_request_are_counted_without_a_site() {
    let origin = Origin::start().await;
    let config = format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
        origin.addr()
    );
    let edge = Edge::with(&config).await;
    edge.ask(&Request::get("/a").host("other.example")).await.expect(421);
    let mut client = edge.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: lms.example\r\nHost: lms.example\r\n\r\n").await;
    client.reply("GET").await.expect(400);
    let mut log = edge.log(2).await;
    log.sort_by_key(|line| line["status"] == 400);
    for (line, word, status) in [(&log[0], "unknown-host", 421), (&log[1], "bad-host", 400)] {
        assert_eq!((&line["outcome"], &line["detail"]), (&"refused".into(), &word.into()), "{line}");
        assert_eq!((&line["status"], &line["fault"]), (&status.into(), &"client".into()), "{line}");
    }
    assert_eq!((&log[0]["site"], &log[0]["host"]), (&Value::Null, &"other.example".into()));
    assert!(origin.requests().is_empty());
    edge.outcomes("refused", 2).await;
    assert_eq!(edge.metric("lectern_requests_refused_total", &["reason=\"unknown-host\""]).await, 1.0);
}

#[tokio::test]
async fn an_aborted_client_is_told_as_such_with_the_bytes_it_got() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/film", Answer::storable(vec![b'x'; 10_000_000]).pause(300_000, &gate));
    origin.on("/never", Answer::ok("").behind(&gate));
    let edge = Edge::before(&origin, "").await;
    let web = edge.address("web").await;
    let mut h1 = edge.client().await;
    h1.send(&Request::get("/film").bytes()).await;
    let mut reply = h1.head("GET").await;
    h1.at_least(&mut reply, 300_000).await;
    h1.abort();
    edge.outcomes("failed", 1).await;
    let h2 = Dial::to(web).h2().await;
    let mut stream = h2.open(&Request::get("/film?2")).await.unwrap();
    let mut reply = stream.head().await;
    while reply.body.len() < 300_000 && reply.end == End::Open {
        stream.piece(&mut reply).await;
    }
    stream.reset(h2::Reason::CANCEL);
    edge.outcomes("failed", 2).await;
    // One that left before a head came.
    let mut early = edge.client().await;
    early.send(&Request::get("/never").bytes()).await;
    origin.reached("/never", 1).await;
    early.abort();
    edge.outcomes("failed", 3).await;
    let log = edge.log(3).await;
    let log = ["/film", "/film?2", "/never"].map(|target| of(&log, target));
    for (line, status, bytes) in [(log[0], 200, 300_000), (log[1], 200, 300_000), (log[2], 0, 0)] {
        assert_eq!((&line["outcome"], &line["fault"]), (&"failed".into(), &"client".into()), "{line}");
        assert_eq!((&line["complete"], &line["status"]), (&false.into(), &status.into()), "{line}");
        assert_eq!((&line["bytes"], &line["detail"]), (&bytes.into(), &"client-left".into()), "{line}");
    }
    assert_eq!(edge.metric("lectern_response_body_bytes_total", &[]).await, 600_000.0);
    let failed = edge.metric("lectern_requests_failed_total", &["fault=\"client\"", "client-left"]).await;
    assert_eq!(failed, 3.0);
    gate.open();
}

#[tokio::test]
async fn a_hidden_path_stands_in_no_log_whatever_becomes_of_the_request() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/secret/*", Answer::storable("x"));
    origin.on("/secret/down", Answer::hang_up());
    origin.on("/secret/slow", Answer::ok("x").behind(&gate));
    origin.on("/secret/lies", Answer::storable("x").claims(100));
    origin.on("/secret/garbage", Answer::garbage("no http\r\n\r\n"));
    origin.on("/open", Answer::storable("x"));
    let rest = "[[site.rule]]\nname = \"secret\"\nprefix = \"/secret/\"\nverdict = \"cache\"\nhide_path = true\n\
                body_limit = 10\n[node]\nthreads = 2\nerror_log = \"debug\"\n";
    let edge = Edge::before(&origin, rest).await;
    let secret = |path: &str| Request::get(&format!("/secret/{path}?token=geheim"));
    for path in ["a", "a", "down", "lies", "garbage"] {
        edge.ask(&secret(path)).await;
    }
    edge.h2().await.ask(&secret("a")).await.expect(200);
    edge.ask(&Request::new("POST", "/secret/a?token=geheim").body("x")).await;
    edge.ask(&Request::new("POST", "/secret/a?token=geheim").body(vec![b'x'; 11])).await.expect(413);
    let mut client = edge.client().await;
    client.send(&secret("slow").bytes()).await;
    gate.arrived(1).await;
    client.abort();
    edge.outcomes("failed", 4).await;
    gate.open();
    // What the listener refuses was not looked at by any rule yet.
    for fields in ["Transfer-Encoding: gzip\r\n", "Host: b\r\n"] {
        let mut client = edge.client().await;
        let head = format!("GET /secret/a?token=geheim HTTP/1.1\r\nHost: lms-a.example\r\n{fields}\r\n");
        client.send(head.as_bytes()).await;
        client.reply("GET").await.expect(400);
    }
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let mut client = edge.client().await;
    let head = format!("GET /secret/a?token=geheim HTTP/1.1\r\nHost: lms-a.example\r\n{many}\r\n");
    client.send(head.as_bytes()).await;
    client.reply("GET").await.expect(431);
    edge.get("/open?token=offen").await.expect(200);
    origin.down().await;
    edge.ask(&secret("b")).await.expect(502);
    let log = edge.log(14).await;
    assert_eq!(log.len(), 14, "{log:#?}");
    let text = fs::read_to_string(edge.path("access.log")).unwrap() + &edge.said().join("\n");
    assert!(text.contains("token=offen"));
    for word in ["geheim", "secret/", "token=g"] {
        let lines: Vec<_> = text.lines().filter(|line| line.contains(word)).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
    let metrics = edge.metrics().await;
    assert!(!metrics.contains("geheim") && !metrics.contains("/secret"));
}

#[tokio::test]
async fn the_log_is_written_anew_after_a_rename_and_after_the_signal() {
    let origin = Origin::start().await;
    origin.on("/*", Answer::storable("x"));
    let edge = Edge::before(&origin, "").await;
    let read = |name: &str| fs::read_to_string(edge.path(name)).unwrap_or_default();
    edge.get("/1").await.expect(200);
    edge.log(1).await;
    fs::rename(edge.path("access.log"), edge.path("log.1")).unwrap();
    // Unasked within about a second.
    eventually("a new file", async || edge.path("access.log").exists()).await;
    edge.get("/2").await.expect(200);
    edge.log(1).await;
    fs::rename(edge.path("access.log"), edge.path("log.2")).unwrap();
    edge.signal("USR1");
    eventually("a new file", async || edge.path("access.log").exists()).await;
    edge.get("/3").await.expect(200);
    edge.log(1).await;
    fs::remove_file(edge.path("access.log")).unwrap();
    edge.control("POST", "/v1/reload", "").await.expect(200);
    eventually("a new file", async || edge.path("access.log").exists()).await;
    edge.get("/4").await.expect(200);
    assert_eq!(edge.log(1).await[0]["target"], "/4");
    for (file, target) in [("log.1", "/1"), ("log.2", "/2")] {
        let text = read(file);
        assert!(text.lines().count() == 1 && text.contains(&format!("\"{target}\"")), "{file}: {text}");
    }
    assert_eq!(edge.metric("lectern_log_lines_dropped_total", &[]).await, 0.0);
    assert_eq!(edge.metric("lectern_log_write_errors_total", &[]).await, 0.0);
}

#[tokio::test]
async fn the_trace_in_the_log_is_the_one_that_the_origin_saw() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    origin.on("/post", Answer::ok("posted"));
    let edge = Edge::before(&origin, "").await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let sent = format!("00-{id}-00f067aa0ba902b7-01");
    let cases = [
        Some(&*sent),
        None,
        Some("00-zz-1"),
        Some("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
    ];
    let mut ids = Vec::new();
    for (n, value) in cases.iter().enumerate() {
        for request in
            [Request::get(&format!("/a?{n}")), Request::new("POST", &format!("/post?{n}")).body("x")]
        {
            let request = match value {
                Some(value) => request.field("traceparent", value).field("tracestate", "a=1"),
                None => request,
            };
            edge.ask(&request).await.expect(200);
            let seen = origin.last(&request.target);
            let [traceparent] = seen.all("traceparent")[..] else { panic!("{seen:#?}") };
            let parts: Vec<_> = traceparent.split('-').collect();
            assert_eq!((parts.len(), parts[0], parts[1].len()), (4, "00", 32), "{traceparent}");
            assert_eq!(parts[1] == id, n == 0, "passed if well-formed, else made: {traceparent}");
            assert!(seen.field("tracestate").is_none() || n == 0, "a state without its parent");
            ids.push((request.target, parts[1].to_owned()));
        }
    }
    // A hit has a trace of its own.
    let own = "0af7651916cd43dd8448eb211c80319c";
    let hit = Request::get("/a?0").field("traceparent", &format!("00-{own}-00f067aa0ba902b7-01"));
    edge.ask(&hit).await.expect(200);
    let log = edge.log(9).await;
    let hits: Vec<_> = log.iter().filter(|line| line["outcome"] == "hit").collect();
    assert!(hits.len() == 1 && hits[0]["trace"] == own, "{hits:?}");
    for (target, id) in &ids {
        let asked = |line: &&Value| line["target"] == **target && line["outcome"] != "hit";
        let line = log.iter().find(asked).unwrap();
        assert_eq!(line["trace"], **id, "{line}");
    }
    let distinct: std::collections::BTreeSet<_> = ids.iter().map(|(_, id)| id).collect();
    assert_eq!(distinct.len(), 7, "those made are all different");
    assert_eq!(origin.requests().len(), 8);
}

#[tokio::test]
async fn health_and_readiness_need_no_token_and_every_metric_is_as_documented() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    origin.on("/down", Answer::hang_up());
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect(200);
    edge.get("/a").await.expect(200);
    edge.get("/down").await.expect(502);
    edge.ask(&Request::new("POST", "/a").body("x")).await.expect(200);
    edge.purge_site("lms").await;
    edge.control("POST", "/v1/reload", "").await.expect(200);
    let control = edge.address("control").await;
    let bare = async |path: &str| Client::connect(control).await.get(path).await;
    assert_eq!(bare("/healthz").await.expect(200).text(), "ok\n");
    let ready: Value = serde_json::from_slice(&bare("/readyz").await.expect(200).body).unwrap();
    assert_eq!(ready, serde_json::json!({"ready": true, "reasons": []}));
    let metrics = bare("/metrics").await.expect(200);
    assert_eq!(metrics.field("content-type"), Some("text/plain; version=0.0.4"));

    let rows = table("metrics.md");
    let documented: BTreeMap<&str, (&str, Vec<&str>)> = rows
        .iter()
        .map(|row| {
            let labels = row[2].split(", ").filter(|label| !label.is_empty()).collect();
            (row[0].as_str(), (row[1].as_str(), labels))
        })
        .collect();
    let (mut types, mut helped) = (BTreeMap::new(), 0);
    let text = metrics.text();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let (expected, _) = documented.get(name).unwrap_or_else(|| panic!("{name} is not documented"));
            assert_eq!(kind, *expected, "{name}");
            types.insert(name, kind);
            continue;
        }
        if line.starts_with("# HELP ") {
            helped += 1;
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
        let (name, labels) =
            series.split_once('{').map_or((series, ""), |(n, l)| (n, l.trim_end_matches('}')));
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|base| types.get(base) == Some(&"histogram")));
        let (_, expected) = &documented[base.unwrap_or(name)];
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            let (label, _) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(label == "le" || expected.contains(&label), "{line}: {label} is not documented");
        }
    }
    assert_eq!(helped, types.len(), "each has its help");
    for always in
        ["lectern_build_info", "lectern_requests_total", "lectern_ledger_number", "lectern_memory_bytes"]
    {
        assert!(types.contains_key(always), "{always}");
    }
    assert!(edge.metric("lectern_connections_accepted_total", &["listener=\"web\""]).await == 4.0);
    let heads = edge.metric("lectern_origin_head_duration_seconds_count", &["origin=\"lms\""]).await;
    assert_eq!(heads, 2.0, "/down brought none");
    assert_eq!(edge.metric("lectern_ledger_number", &[]).await, 1.0);
    assert_eq!(edge.metric("lectern_config_reloads_total", &["result=\"applied\""]).await, 1.0);
    assert_eq!(edge.metric("lectern_origin_requests_total", &["status=\"2xx\""]).await, 2.0);
}
