//! The commands against a listening control API: what is printed, and the exit code a pipeline sees.

use super::{Exit, Streams, run_with};
use crate::{
    access::Checks,
    control::{
        Control, NewToken, PurgeTarget, Rate, ReloadRefused, ReloadSummary, Role, Roles, Tokens,
        UnknownTarget, UrlToPurge, router,
    },
    http_caching::Tags,
    ledger::{Ledger, LedgerSettings, Subject},
    response::{
        AnswerTold, Explanation, FieldTold, KeyTold, NumberTold, OriginTold, Otherwise, PassedOver, RuleTold,
        SiteTold, StoredTold, Warmed,
    },
    site::Switches,
    telemetry::Metrics,
};
use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Runs a command; gives exit code, answer, complaint.
fn lectern(args: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once("lectern").chain(args.iter().copied()).map(Into::into);
    let exit = run_with(args, &mut Streams { out: &mut out, err: &mut err });
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn subject<'a>(path: &'a str, query: Option<&'a str>) -> Subject<'a> {
    Subject { path, query, tags: Tags::NONE, came: std::time::UNIX_EPOCH }
}

struct Node {
    url: String,
    token_file: PathBuf,
    ledger: Arc<Ledger>,
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

fn node(reload: Result<ReloadSummary, ReloadRefused>) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let settings =
        LedgerSettings { folder: dir.path().join("ledger"), url_entries: 10, ..LedgerSettings::default() };
    let ledger = Ledger::open(&settings, &metrics).unwrap();
    let made = NewToken::new("pipeline", Roles::of(&Role::ALL)).unwrap();
    let (tokens, token_file) = (dir.path().join("tokens"), dir.path().join("token"));
    std::fs::write(&tokens, made.line).unwrap();
    std::fs::write(&token_file, format!("{}\n", made.token)).unwrap();
    let control = Control {
        ledger: ledger.clone(),
        forget: {
            let checks = Checks::new();
            Arc::new(move |forget| {
                let number = checks.forget(forget);
                Box::pin(async move { number })
            })
        },
        switches: Arc::new(Switches::open(&dir.path().join("ledger"), &metrics).unwrap()),
        metrics,
        tokens: Arc::new(Tokens::load(Some(&tokens), Rate::default()).unwrap()),
        wholes: Arc::new(crate::control::Wholes::new(std::time::Duration::ZERO)),
        shapes: Vec::new(),
        resolve_url: Arc::new(|url: &UrlToPurge<'_>| {
            (url.host == "lms.example").then_some(()).ok_or(UnknownTarget::Host)?;
            Ok(PurgeTarget {
                sites: vec!["lms".into()],
                path: url.path.into(),
                query: url.query.map(Into::into),
            })
        }),
        count: Arc::new(|_| Box::pin(async { crate::control::Counts { at_least: 1, at_most: 2 } })),
        resolve_scope: Arc::new(|scope: &str| (scope == "themes").then(|| vec!["lms".into()])),
        names_modules: Arc::new(|site: &str| site == "lms"),
        resolve_site: Arc::new(|site: &str| (site == "lms").then(|| vec!["lms".into()])),
        reload: Arc::new(move || {
            let answer = reload.clone();
            Box::pin(async move { answer })
        }),
        explain: Arc::new(|request, https, client| {
            let told = explained(request, https, client);
            Box::pin(async move { told })
        }),
        warm: Arc::new(|_, _, _, _| Box::pin(async { Warmed::fresh(false) })),
        manifests: Arc::new(crate::release::Manifests::beside(dir.path())),
        list: Arc::new(|_| Err(crate::control::Unlisted::Host)),
        has_of: Arc::new(|_, _, _| Box::pin(async { true })),
        steps: Arc::default(),
        not_ready: Arc::new(Vec::new),
        notes: Arc::new(Vec::new),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, router(control)).await });
    Node { url, token_file, ledger, dir, runtime }
}

/// What the node finds out; only what it was asked is from the call.
fn explained(request: http::Request<()>, https: bool, _: std::net::IpAddr) -> Explanation {
    let field = |name: &str, value: &str| FieldTold { name: name.into(), value: value.into() };
    let number = |number| NumberTold { ledger: "9f2c".into(), number };
    let accept = request.headers().get("accept").map_or("", |value| value.to_str().unwrap());
    Explanation {
        method: request.method().to_string(),
        url: format!("{}://lms.example{}", if https { "https" } else { "http" }, request.uri()),
        site: Some(SiteTold { name: "lms".into(), scope: "lms".into(), rules: 3 }),
        rule: Some(RuleTold { name: "theme".into(), place: 2, sets: vec!["lifetime = 60s".into()] }),
        passed_over: vec![PassedOver {
            name: "scripts".into(),
            place: 1,
            condition: "extension".into(),
            why: "the extension is not js".into(),
        }],
        verdict: Some("cache".into()),
        key: Some(KeyTold {
            scope: "lms".into(),
            scheme: "https".into(),
            host: "lms.example".into(),
            path: "/a".into(),
            query: None,
        }),
        ledger: number(17),
        stored: vec![StoredTold {
            selected: true,
            status: 200,
            length: 4,
            whole: true,
            tier: "memory".into(),
            selecting: vec![field("accept", accept)],
            fields: vec![field("content-type", "text/css")],
            age: 70,
            lifetime: 60,
            ttl: -10,
            freshness: "stale".into(),
            validator: Some(field("etag", "\"v1\"")),
            born: number(16),
            outdated: true,
            outdated_by: vec!["url 17".into()],
            ..StoredTold::default()
        }],
        answer: AnswerTold {
            outcome: "miss".into(),
            why: "what is stored is outdated, or its body is not there".into(),
            fwd: Some("stale".into()),
            otherwise: vec![Otherwise { outcome: "pass".into(), when: "if it may not be stored".into() }],
            ..AnswerTold::default()
        },
        origin: Some(OriginTold {
            name: "lms".into(),
            servers: vec!["10.0.0.5:80".into()],
            by: "fill".into(),
            method: "GET".into(),
            target: "/a".into(),
            fields: vec![field("host", "lms.example")],
            conditional: false,
        }),
    }
}

const REPORT: &str = "\
HEAD https://lms.example/a

outcome  miss: what is stored is outdated, or its body is not there
         or pass if it may not be stored
site     lms
rule     2 of 3, theme: cache
         lifetime = 60s
         not 1, scripts: the extension is not js
key      scope lms, https, lms.example, /a, no query
ledger   number 17 of 9f2c
stored   one response
       - selected: 200, 4 bytes, in memory
         stale: age 70 s, lifetime 60 s, over by 10 s
         validator etag: \"v1\"
         born at number 16: outdated by url 17
         selected by accept: text/css,*/*
         | content-type: text/css
origin   lms (10.0.0.5:80) is sent by a fill, for all who want it
         > GET /a
         > host: lms.example
";

#[test]
fn an_explanation_is_a_report_or_the_answer_as_it_is() {
    let node = node(Ok(ReloadSummary::default()));
    let file = node.token_file.to_str().unwrap();
    let explain = |args: &[&str]| {
        lectern(&[&["explain", "--control", &node.url, "--token-file", file][..], args].concat())
    };
    let asked = ["https://lms.example/a", "-X", "HEAD", "-H", "Accept: text/css,*/*"];
    assert_eq!(explain(&asked), (Exit::Done, REPORT.to_owned(), String::new()));
    let (exit, out, _) = explain(&[&asked[..], &["--json"]].concat());
    let told: Explanation = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, told.method.as_str(), told.stored[0].selected), (Exit::Done, "HEAD", true));
    for (args, exit, says) in [
        (&["/a"][..], Exit::Data, "whole"),
        (&["http://a/", "-H", "no colon"], Exit::Data, "Name: value"),
        (&["http://a/", "-H", "a: b\r\nc: d"], Exit::Usage, "field"),
        (&[], Exit::Usage, "<URL>"),
    ] {
        let (found, out, err) = explain(args);
        assert!(found == exit && out.is_empty() && err.contains(says), "{args:?}: {found:?} {out} {err}");
    }
}

fn purge(control: &str, token_file: &Path, args: &[&str]) -> (Exit, String, String) {
    let common = ["purge", "--control", control, "--token-file", token_file.to_str().unwrap()];
    lectern(&[&common[..], args].concat())
}

/// Answers one connection with these bytes, then closes it.
fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"}") {
            let read = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    });
    url
}

#[test]
fn exit_code_0_means_in_force() {
    let node = node(Ok(ReloadSummary::default()));
    let born = node.ledger.last();
    let (exit, out, err) =
        purge(&node.url, &node.token_file, &["https://lms.example/a", "--reason", "new version"]);
    assert_eq!((exit, out), (Exit::Done, format!("applied: number 1, ledger {}\n", born.identity)), "{err}");
    assert!(node.ledger.outdated(&node.ledger.marks("lms"), &subject("/a", Some("q")), born));
    let (exit, out, _) = purge(&node.url, &node.token_file, &["https://lms.example/b?x", "--exact"]);
    assert!(exit == Exit::Done && out.starts_with("applied: number 2, "), "{out}");
    let (exit, out, _) = purge(&node.url, &node.token_file, &["--site", "lms"]);
    assert!(exit == Exit::Done && out.starts_with("applied: number 3, "), "{out}");
    let kinds: [(&[&str], &str); 7] = [
        (&["--prefix", "https://lms.example/v2/"], "purge-prefix"),
        (&["--tag", "course-7", "--site", "lms"], "purge-tag"),
        (&["--module", "physics", "--site", "lms", "--soft"], "purge-module"),
        (&["--scope", "themes"], "purge-scope"),
        (&["--all", "--reason", "a \"new\" term"], "purge-all"),
        (&["--site", "lms", "--soft"], "purge-site"),
        (&["https://lms.example/a"], "purge-url"),
    ];
    for (number, (args, kind)) in (4..).zip(kinds) {
        let (exit, out, err) = purge(&node.url, &node.token_file, args);
        assert_eq!(exit, Exit::Done, "{args:?}: {err}");
        assert!(out.starts_with(&format!("applied: number {number}, ")), "{out}");
        let entries = node.runtime.block_on(node.ledger.entries(number, 1)).unwrap();
        let record: serde_json::Value = serde_json::from_str(&entries[0].text).unwrap();
        assert_eq!((&record["kind"], &record["who"]), (&kind.into(), &"pipeline".into()), "{args:?}");
        assert_eq!(record.get("soft").is_some(), args.contains(&"--soft"), "{args:?}");
        assert_eq!(record["settle"], 30, "{args:?}");
    }
    for (number, (settle, kept)) in (11..).zip([("2m", Some(120)), ("0s", None)]) {
        let (exit, _, err) = purge(&node.url, &node.token_file, &["--all", "--settle", settle]);
        assert_eq!(exit, Exit::Done, "{err}");
        let entries = node.runtime.block_on(node.ledger.entries(number, 1)).unwrap();
        let record: serde_json::Value = serde_json::from_str(&entries[0].text).unwrap();
        assert_eq!(record.get("settle").and_then(serde_json::Value::as_u64), kept);
    }
    assert_eq!(node.ledger.last().n, 12);
}

#[test]
fn several_are_purged_in_one_call_and_each_is_told() {
    let node = node(Ok(ReloadSummary::default()));
    let list = node.dir.path().join("changed");
    fs::write(&list, "https://lms.example/c\n\n  https://lms.example/d?x  \n").unwrap();
    let asked = [
        "https://lms.example/a",
        "https://lms.example/b",
        "--file",
        list.to_str().unwrap(),
        "--reason",
        "new",
    ];
    let more =
        ["--prefix", "https://lms.example/v2/", "--tag", "t", "--tag", "u", "--module", "m", "--site", "lms"];
    let (exit, out, err) =
        purge(&node.url, &node.token_file, &[&asked[..], &more, &["--idempotency-key", "k"]].concat());
    assert_eq!(exit, Exit::Done, "{err}");
    let numbers: Vec<_> = out.lines().map(|line| line.split(['r', ',']).nth(1).unwrap().trim()).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7", "8"], "{out}");
    let entries = node.runtime.block_on(node.ledger.entries(1, 10)).unwrap();
    let records: Vec<serde_json::Value> =
        entries.iter().map(|entry| serde_json::from_str(&entry.text).unwrap()).collect();
    let what = |record: &serde_json::Value| {
        ["path", "tag", "module"].iter().find_map(|name| record[name].as_str().map(str::to_owned)).unwrap()
    };
    assert_eq!(records.iter().map(what).collect::<Vec<_>>(), ["/a", "/b", "/c", "/d", "/v2", "t", "u", "m"]);
    assert!(records.iter().all(|record| record["why"] == "new" && record["who"] == "pipeline"));

    let (exit, out, err) =
        purge(&node.url, &node.token_file, &["https://lms.example/a", "/b", "https://nobody.example/"]);
    assert_eq!((exit, out.as_str()), (Exit::Data, ""), "{err}");
    let lines: Vec<_> = err.lines().collect();
    assert!(lines[0].contains("1. Not done") && lines[1].contains("2. The URL cannot be purged"), "{err}");
    assert!(lines[2].contains("nobody.example") && lines[3].contains("nothing was purged"), "{err}");
    assert_eq!(node.ledger.last().n, 8);
    std::fs::remove_dir_all(node.dir.path().join("ledger")).unwrap();
    let (exit, out, err) =
        purge(&node.url, &node.token_file, &["https://lms.example/a", "https://lms.example/b"]);
    assert_eq!((exit, out.as_str()), (Exit::Temporary, ""), "{err}");
    assert!(err.contains("0 are in force, 2 are not"), "{err}");
}

#[test]
fn the_ledger_is_told_verified_and_exported_of_a_node_and_of_its_folder() {
    let node = node(Ok(ReloadSummary::default()));
    for args in [
        &["https://lms.example/a?x", "--exact", "--reason", "a, \"b\"\nc"][..],
        &["--tag", "=t", "--site", "lms", "--soft"],
        &["--all"],
    ] {
        assert_eq!(purge(&node.url, &node.token_file, args).0, Exit::Done);
    }
    let folder = node.dir.path().join("ledger");
    let of_node = ["--control", &node.url, "--token-file", node.token_file.to_str().unwrap()];
    let of_folder = ["--folder", folder.to_str().unwrap()];
    let ask =
        |action: &str, source: &[&str], more: &[&str]| lectern(&[&["ledger", action], source, more].concat());
    let (exit, _, err) = ask("verify", &of_folder, &[]);
    assert!(exit == Exit::Temporary && err.contains("held by another process"), "{err}");
    let told = |source: &[&str]| {
        let asked = [
            ask("verify", source, &[]),
            ask("verify", source, &["--json"]),
            ask("log", source, &["--limit", "2"]),
            ask("log", source, &["--json"]),
            ask("export", source, &[]),
            ask("export", source, &["--json"]),
        ];
        asked.map(|(exit, out, err)| {
            assert_eq!(exit, Exit::Done, "{err}");
            out
        })
    };
    let by_node = told(&of_node);
    let [verified, _, log, log_json, csv, lines] = &by_node;
    assert!(verified.starts_with(&format!("fine: ledger {}, 3 records, ", node.ledger.last().identity)));
    let rows: Vec<_> = log.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(rows, ["number", "3", "2"], "{log}");
    let records: serde_json::Value = serde_json::from_str(log_json).unwrap();
    assert_eq!(records["records"][1]["record"]["tag"], "=t", "{log_json}");
    assert!(
        csv.starts_with("number,kind,what,sites,how,who,why,when,from,digest\n1,purge-url,/a?x,lms,hard,")
    );
    assert!(
        csv.contains(",\"a, \"\"b\"\"\nc\",") && csv.contains("\n2,purge-tag,'=t,lms,soft,pipeline,"),
        "{csv}"
    );
    assert_eq!(lines.lines().count(), 3);
    node.ledger.close();
    assert_eq!(told(&of_folder), by_node);
    let (exit, _, err) = ask("verify", &["--folder", node.dir.path().to_str().unwrap()], &[]);
    assert_eq!(exit, Exit::NoInput, "{err}");
    // Somebody takes a purge back.
    {
        let database = fjall::Database::builder(folder.join("records")).open().unwrap();
        let records = database.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
        let mut value = records.get(2u64.to_be_bytes()).unwrap().unwrap().to_vec();
        let at = value.windows(2).position(|bytes| bytes == b"=t").unwrap();
        value[at] = b'-';
        records.insert(2u64.to_be_bytes(), value).unwrap();
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    for action in ["verify", "log", "export"] {
        let (exit, _, err) = ask(action, &of_folder, &[]);
        assert!(exit == Exit::Data && err.contains("record 2 of the ledger was altered"), "{action}: {err}");
    }
}

#[test]
fn every_failure_has_its_exit_code_and_says_why() {
    let node = node(Ok(ReloadSummary::default()));
    let (url, token) = (node.url.as_str(), node.token_file.as_path());
    let wrong = node.dir.path().join("wrong");
    std::fs::write(&wrong, "wrong").unwrap();
    // bound and not listening: nobody else can get the port meanwhile
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = format!("http://{}", socket.local_addr().unwrap());
    let two_lines = node.dir.path().join("two-lines");
    std::fs::write(&two_lines, "one\ntwo").unwrap();
    let html = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let other = answering(b"HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n");
    let cut = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"applied\":true");
    let silent = answering(b"");
    let good = "https://lms.example/a";
    // a label that is too long is a name that no server need be asked about
    let unresolved = format!("http://{}.example:9180", "a".repeat(64));
    let table: [(&str, &Path, &[&str], Exit, &str); 24] = [
        (url, token, &[], Exit::Usage, "--prefix"),
        (url, token, &[good, "--site", "lms"], Exit::Usage, "one of --site"),
        (url, token, &["--all", "--scope", "themes"], Exit::Usage, "one of --site"),
        (url, token, &["--site", "lms", "--exact"], Exit::Usage, "said of URLs"),
        (url, token, &["--file", "/dev/null"], Exit::Usage, "names no URL"),
        (url, token, &["--file", "/absent"], Exit::NoInput, "/absent"),
        (url, token, &[good, "https://nobody.example/"], Exit::Data, "2. No site has this host"),
        (url, token, &[good, "--timeout", "5"], Exit::Usage, "as in \"10s\""),
        ("ftp://x", token, &[good], Exit::Usage, "ftp://x"),
        ("https://127.0.0.1:1", token, &[good], Exit::Usage, "--ca FILE"),
        (url, &wrong, &[good], Exit::Permission, "token file"),
        (url, &two_lines, &[good], Exit::Permission, "on one line"),
        (url, Path::new("/absent"), &[good], Exit::NoInput, "/absent"),
        (url, token, &["https://nobody.example/"], Exit::Data, "nobody.example"),
        (url, token, &["/a"], Exit::Data, "https://"),
        (&nobody, token, &[good], Exit::Unavailable, "nothing was done"),
        (&unresolved, token, &[good], Exit::Unavailable, "nothing was done"),
        (url, token, &[good, "--settle", "30"], Exit::Usage, "as in \"10s\""),
        (url, token, &[good, "--settle", "1500ms"], Exit::Usage, "whole number of seconds"),
        (url, token, &[good, "--settle", "19h"], Exit::Usage, "65535"),
        (&html, token, &[good], Exit::Unavailable, "--control"),
        (&other, token, &[good], Exit::Unavailable, "302"),
        (&cut, token, &[good], Exit::Temporary, "ask again"),
        (&silent, token, &[good], Exit::Temporary, "ask again"),
    ];
    for (url, token, args, exit, says) in table {
        let (found, out, err) = purge(url, token, args);
        assert_eq!((found, out.as_str()), (exit, ""), "{url} {args:?}: {err}");
        assert!(err.contains(says), "{url} {args:?}: {err}");
    }
    assert_eq!(node.ledger.last().n, 0);
    std::fs::remove_dir_all(node.dir.path().join("ledger")).unwrap();
    let (exit, _, err) = purge(url, token, &[good]);
    assert_eq!(exit, Exit::Temporary);
    assert!(err.contains("The ledger takes no records"), "{err}");
}

#[test]
fn a_purge_that_meets_an_upgrade_is_asked_again_until_it_is_in_force() {
    let node = node(Ok(ReloadSummary::default()));
    let (url, token) = (node.url.clone(), node.token_file.clone());
    node.runtime.block_on(node.ledger.give_up()).unwrap();
    let (exit, _, err) = purge(&url, &token, &["--site", "lms", "--timeout", "500ms"]);
    assert_eq!(exit, Exit::Temporary);
    assert!(err.contains("being upgraded") && err.contains("ask again"), "{err}");
    let asking = std::thread::spawn(move || purge(&url, &token, &["--site", "lms"]));
    // Whether it has asked once or not at all by now: it ends as it should.
    node.ledger.take_back().unwrap();
    let (exit, out, err) = asking.join().unwrap();
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.starts_with("applied: number 1, "), "{out}");
}

#[test]
fn a_reload_says_what_runs_or_all_that_is_wrong() {
    let summary = ReloadSummary { sites: 94, rules: 500, restart_needed: vec!["control.address".into()] };
    let good = node(Ok(summary));
    let file = good.token_file.to_str().unwrap();
    let (exit, out, err) = lectern(&["reload", "--control", &good.url, "--token-file", file]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert_eq!(out, "applied: 94 sites, 500 rules\nneeds a restart: control.address\n");
    let bad = node(Err(ReloadRefused::Wrong("a.toml:1: x\na.toml:2: y".into())));
    let file = bad.token_file.to_str().unwrap();
    let (exit, out, err) = lectern(&["reload", "--control", &bad.url, "--token-file", file]);
    assert_eq!((exit, out.as_str()), (Exit::Config, ""));
    assert!(err.contains("a.toml:1: x\na.toml:2: y"), "{err}");
}

#[test]
fn a_token_and_the_line_that_accepts_it_are_printed_and_a_bad_name_is_not_taken() {
    let (exit, out, _) = lectern(&["token", "release", "--roles", "purge,read"]);
    assert_eq!(exit, Exit::Done);
    let (token, line) = out.split_once('\n').unwrap();
    assert!(token.contains(": lectern_") && line.contains(": release blake3:"), "{out}");
    assert!(line.ends_with(" read,purge\n"), "{out}");
    for wrong in [&["token", "release"][..], &["token", "release", "--roles", "all"]] {
        let (exit, out, err) = lectern(wrong);
        assert!(exit == Exit::Usage && out.is_empty() && err.contains("--roles"), "{err}");
    }
    assert_eq!(lectern(&["token", "two words", "--roles", "read"]).0, Exit::Usage);
    assert_eq!(lectern(&["--version"]).0, Exit::Done);
    assert_eq!(lectern(&["nonsense"]).0, Exit::Usage);
}

/// A folder that looks like one of the disk tier, of this format.
fn store(at: &Path, format: &str) {
    fs::create_dir_all(at.join("segments")).unwrap();
    fs::write(at.join("segments/00000001.seg"), "bytes").unwrap();
    fs::write(at.join("format"), format).unwrap();
}

#[test]
fn a_store_command_that_cannot_be_says_why_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (newer, unknown, held, full) = (at("newer"), at("unknown"), at("held"), at("full"));
    store(newer.as_ref(), "lectern-disk 2\n");
    store(unknown.as_ref(), "lectern-disk one\n");
    store(held.as_ref(), "lectern-disk 1\n");
    store(full.as_ref(), "lectern-disk 1\n");
    let lock = fs::File::create(Path::new(&held).join("lock")).unwrap();
    lock.try_lock().unwrap();
    let wrong = at("wrong.toml");
    fs::write(&wrong, "[nod]\n").unwrap();
    let (nothing, absent) = (at("nothing"), at("absent.toml"));
    let table: [(&[&str], Exit, &str); 16] = [
        (&["stat", "--folder", &nothing], Exit::NoInput, "there is no disk tier in"),
        (&["stat", "--folder", &newer], Exit::Data, "use the version that wrote it"),
        (&["stat", "--folder", &unknown], Exit::Data, "empty it with `lectern store clear`"),
        (&["stat", "--folder", &held], Exit::Temporary, "in use by a node"),
        (&["verify", "--folder", &unknown], Exit::Data, "`lectern store clear`"),
        (&["verify", "--repair", "--folder", &held], Exit::Temporary, "in use by a node"),
        (&["move", "--folder", &newer, &nothing], Exit::Data, "use the version that wrote it"),
        (&["move", "--folder", &held, &nothing], Exit::Temporary, "in use by a node"),
        (&["move", "--folder", &full, &newer], Exit::CantCreate, "no empty folder"),
        (&["move", "--folder", &full, "--folder", &newer, &nothing], Exit::Usage, "one --folder of the 2"),
        (&["clear", "--folder", &full], Exit::Usage, "say --yes"),
        (&["clear", "--folder", &held, "--yes"], Exit::Temporary, "in use by a node"),
        (&["clear", "--folder", &nothing, "--yes"], Exit::NoInput, "there is no disk tier in"),
        (&["stat", "--folder", &full, "--config", &wrong], Exit::Usage, "cannot be used with"),
        (&["stat", "--config", &absent], Exit::NoInput, "absent.toml"),
        (&["stat", "--config", &wrong], Exit::Config, "did you mean `node`?"),
    ];
    for (args, exit, says) in table {
        let (found, out, err) = lectern(&[&["store"], args].concat());
        assert_eq!((found, out.as_str()), (exit, ""), "{args:?}: {err}");
        assert!(err.contains(says), "{args:?}: {err}");
    }
    for folder in [&newer, &unknown, &held, &full] {
        assert_eq!(fs::read(Path::new(folder).join("segments/00000001.seg")).unwrap(), b"bytes", "{folder}");
    }
    assert!(!Path::new(&nothing).exists());
}

#[test]
fn one_folder_that_cannot_be_read_does_not_keep_the_others_from_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (newer, nothing, old) = (at("newer"), at("nothing"), at("old"));
    store(newer.as_ref(), "lectern-disk 2\n");
    store(old.as_ref(), "lectern-disk 0\n");
    let three = ["--folder", &newer, "--folder", &nothing, "--folder", &old];
    let (exit, out, err) = lectern(&[&["store", "stat", "--json"][..], &three].concat());
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, err.lines().count()), (Exit::Data, 3), "{err}");
    for (n, folder, says) in [(0, &newer, "format 2"), (1, &nothing, "no disk tier"), (2, &old, "clear")] {
        assert_eq!(told["folders"][n]["folder"], **folder);
        assert!(told["folders"][n]["error"].as_str().unwrap().contains(says), "{out}");
    }
    let (exit, out, err) = lectern(&[&["store", "clear", "--yes"][..], &three].concat());
    assert_eq!((exit, err.lines().count()), (Exit::NoInput, 1), "{err}");
    assert_eq!(out, format!("{newer} is empty\n{old} is empty\n"));
    let left: Vec<_> = fs::read_dir(&old).unwrap().map(|found| found.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[test]
fn a_moved_folder_is_where_it_was_to_go_and_the_setting_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = fs::canonicalize(dir.path()).unwrap();
    let (from, to) = (at.join("from"), at.join("to"));
    store(&from, "lectern-disk 1\n");
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let (exit, out, err) = lectern(&["store", "move", "--folder", from, to]);
    assert_eq!((exit, err.as_str()), (Exit::Done, ""), "nothing is drawn where no terminal is");
    assert_eq!(out, format!("{from} is now {to}; write `path = \"{to}\"` into its [[disk.folder]]\n"));
    assert!(!Path::new(from).exists() && Path::new(to).join("segments/00000001.seg").is_file());
}
