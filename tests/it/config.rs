//! Checking a configuration, and taking a changed one while requests are under way (G52).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::Value;

use crate::support::{
    answer::Answer, client::Client, deadline::eventually, dial::Dial, edge::Edge, gate::Gate,
    message::Request, origin::Origin,
};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn lectern(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lectern")).args(arguments).arg("--config").arg(file).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One listener, one origin, and the sites `lms` and `rest`.
fn with_sites(origin: &Origin, rest: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms-a.example\"]\norigin = \"lms\"\n{rest}\n",
        origin.addr()
    )
}

async fn reloads(edge: &Edge, result: &str) -> f64 {
    edge.metric("lectern_config_reloads_total", &[&format!("result=\"{result}\"")]).await
}

#[tokio::test]
async fn g52_ten_reloads_touch_no_transfer_no_tunnel_and_no_newcomer() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let body: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    origin.on("/film", Answer::storable(&body).pause(4_000_000, &gate));
    origin.on("/report", Answer::ok(&body).field("Cache-Control", "no-store").pause(4_000_000, &gate));
    origin.on("/socket", Answer::echo("websocket"));
    origin.on("/a", Answer::storable("a"));
    let edge = Edge::with(&with_sites(&origin, "")).await;
    let web = edge.address("web").await;
    // Ten share a fill, ten are relays of their own; each reads a little more with every round.
    let mut downloads = Vec::new();
    for n in 0..20 {
        let mut client = Dial::to(web).receive_buffer(16 << 10).client().await;
        let target = if n % 2 == 0 { "/film".to_owned() } else { format!("/report?{n}") };
        client.send(&Request::get(&target).bytes()).await;
        let reply = client.head("GET").await;
        assert_eq!(reply.status, 200, "{reply}");
        downloads.push((client, reply));
    }
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket = edge.client().await;
        let upgrade = Request::get("/socket").field("Connection", "Upgrade").field("Upgrade", "websocket");
        socket.send(&upgrade.bytes()).await;
        assert_eq!(socket.head("GET").await.status, 101);
        sockets.push(socket);
    }
    // Newcomers all the time, each by a connection of its own.
    let stop = Arc::new(AtomicBool::new(false));
    let newcomers = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut served = 0;
            while !stop.load(SeqCst) {
                Client::connect(web).await.get("/a").await.expect_body(200, "a");
                served += 1;
            }
            served
        }
    });
    let mut rest = String::new();
    for round in 1..=10 {
        let host = format!("new-{round}.example");
        let ask = Request::get("/a").host(&host);
        edge.ask(&ask).await.expect(421);
        rest = format!(
            "[[site.rule]]\nname = \"all\"\nprefix = \"/\"\nverdict = \"cache\"\nlifetime = \"{round}m\"\n{}\
             [[site]]\nname = \"new-{round}\"\nhosts = [\"{host}\"]\norigin = \"lms\"\n",
            rest.split_once("[[site]]").map_or(String::new(), |(_, before)| format!("[[site]]{before}"))
        );
        edge.configure(&with_sites(&origin, &rest));
        if round % 2 == 0 {
            edge.signal("HUP");
            eventually("a reload", async || reloads(&edge, "applied").await == f64::from(round)).await;
        } else {
            let summary = edge.control("POST", "/v1/reload", "").await.expect(200);
            let summary: Value = serde_json::from_slice(&summary.body).unwrap();
            assert_eq!((&summary["sites"], &summary["rules"]), (&(round + 1).into(), &1.into()), "{summary}");
            assert_eq!(summary["restart_needed"], serde_json::json!([]));
        }
        edge.ask(&ask).await.expect_body(200, "a");
        for (client, reply) in &mut downloads {
            client.at_least(reply, round as usize * 50_000).await;
        }
        for socket in &mut sockets {
            socket.send(format!("round {round:02}").as_bytes()).await;
            assert_eq!(text(&socket.raw(8).await), format!("round {round:02}"));
        }
    }
    stop.store(true, SeqCst);
    assert!(newcomers.await.unwrap() > 10);
    gate.open();
    for (client, reply) in &mut downloads {
        client.rest(reply).await;
        reply.clone().expect_body(200, &body);
    }
    assert_eq!((origin.hits("/film"), origin.hits("/report"), origin.hits("/socket")), (1, 10, 5));
    assert_eq!((reloads(&edge, "applied").await, reloads(&edge, "refused").await), (10.0, 0.0));
    assert_eq!(edge.outcome("failed").await, 0);
    edge.outcomes("refused", 10).await;
}

#[tokio::test]
async fn an_error_keeps_what_runs_and_the_whole_report_is_told() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    let edge = Edge::with(&with_sites(&origin, "")).await;
    edge.get("/a").await.expect_body(200, "a");
    let wrong = "lifetime = \"60s\"\n[[site]]\nname = \"new\"\nhosts = [\"new.example\"]\norigin = \"lsm\"\n";
    edge.configure(&with_sites(&origin, wrong));
    let refused = edge.control("POST", "/v1/reload", "").await.expect(422);
    assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_slice(&refused.body).unwrap();
    let detail = problem["detail"].as_str().unwrap();
    let lines: Vec<_> = detail.lines().collect();
    assert_eq!(lines.len(), 2, "{detail}");
    assert!(lines[0].contains("lectern.toml:12: site.lifetime: "), "{detail}");
    assert!(lines[1].contains("lectern.toml:16: site.origin: ") && lines[1].contains("`lms`"), "{detail}");
    edge.signal("HUP");
    eventually("a second refusal", async || reloads(&edge, "refused").await == 2.0).await;
    edge.says("site.origin").await;
    let done = edge.command(&["reload"]);
    assert_eq!(done.status.code(), Some(78));
    assert!(text(&done.stderr).contains("site.lifetime"), "{done:?}");
    edge.ask(&Request::get("/a").host("new.example")).await.expect(421);
    edge.get("/a").await.expect_body(200, "a");
    assert_eq!((origin.hits("/a"), reloads(&edge, "applied").await), (1, 0.0));
    // A folder without it is refused in the same way; mended it is taken.
    std::fs::rename(edge.path("lectern.toml"), edge.path("away")).unwrap();
    assert!(edge.control("POST", "/v1/reload", "").await.expect(422).text().contains("cannot be read"));
    edge.configure(&with_sites(&origin, ""));
    let done = edge.command(&["reload"]);
    assert_eq!((done.status.code(), &*text(&done.stdout)), (Some(0), "applied: 1 sites, 0 rules\n"));
    assert_eq!((reloads(&edge, "refused").await, reloads(&edge, "applied").await), (4.0, 1.0));
    // Without a token nobody reloads.
    let control = edge.address("control").await;
    Client::connect(control).await.ask(&Request::new("POST", "/v1/reload")).await.expect(401);
    assert_eq!(reloads(&edge, "applied").await, 1.0);
}

#[tokio::test]
async fn a_reload_keeps_what_is_stored_and_the_connections_to_the_origin() {
    let origin = Origin::start().await;
    origin.on("/*", Answer::storable("x"));
    let edge = Edge::with(&with_sites(&origin, "")).await;
    edge.get("/a").await.expect(200);
    for round in 0..3 {
        // A client has its answer before the connection is back with those that are kept.
        eventually("end of all fills", async || edge.metric("lectern_fills_in_flight", &[]).await == 0.0)
            .await;
        edge.configure(&with_sites(&origin, &format!("body_limit = {}", 1000 + round)));
        edge.control("POST", "/v1/reload", "").await.expect(200);
        let hit = edge.get("/a").await.expect(200);
        assert!(hit.field("cache-status").unwrap().starts_with("lectern; hit"), "{hit}");
        edge.get(&format!("/b{round}")).await.expect(200);
        let large = Request::new("POST", "/up").body(vec![b'x'; 1001 + round]);
        assert_eq!(edge.ask(&large).await.status, 413, "what is changed is in force");
    }
    assert_eq!((origin.hits("/a"), origin.requests().len()), (1, 4));
    assert_eq!(origin.connections(), 1, "one connection for all");
    edge.outcomes("hit", 3).await;
}

#[tokio::test]
async fn what_only_a_restart_takes_is_named_until_it_is_taken() {
    let origin = Origin::start().await;
    let began = with_sites(&origin, "");
    let mut edge = Edge::with(&began).await;
    let more = "[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\n[cache]\npass_mark = \"5s\"\n\
                [ledger]\nurl_entries = 5\n[node]\nthreads = 1\nstop_deadline = \"7s\"\n";
    edge.configure(&format!("{began}{more}"));
    for _ in 0..2 {
        let summary = edge.control("POST", "/v1/reload", "").await.expect(200);
        let summary: Value = serde_json::from_slice(&summary.body).unwrap();
        let expected = serde_json::json!(["listener more", "cache", "ledger", "node.threads"]);
        assert_eq!(summary["restart_needed"], expected);
    }
    let told = edge.command(&["reload"]);
    assert!(text(&told.stdout).contains("needs a restart: listener more\n"), "{told:?}");
    assert!(edge.said().iter().all(|line| !line.contains("listener=\"more\"")));
    // What needs none is in force already.
    edge.signal("TERM");
    assert_eq!(edge.ended().await.code(), Some(0));
    edge.says("deadline=7s").await;
    edge.start_again().await;
    edge.address("more").await;
    let summary = edge.control("POST", "/v1/reload", "").await.expect(200);
    assert!(summary.text().contains("\"restart_needed\":[]"), "{summary}");
}

#[tokio::test]
async fn check_tells_fine_wrong_and_absent_apart_and_serve_does_not_start_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("l.toml");
    let good = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
                [[origin]]\nname = \"lms\"\nservers = [\"127.0.0.1:1\"]\n\
                [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n";
    std::fs::write(&file, good).unwrap();
    let fine = lectern(&["check"], &file);
    assert_eq!(fine.status.code(), Some(0), "{fine:?}");
    let last = format!("{}: fine: 1 listener, 1 origin, 1 site, 0 rules\n", file.display());
    assert!(text(&fine.stdout).ends_with(&last), "{fine:?}");
    assert!(text(&fine.stdout).starts_with("site lms, from origin lms:\n"), "{fine:?}");

    let wrong = good.replace("1:0\"", "1\"").replace("origin = \"lms\"", "orign = \"lms\"");
    std::fs::write(&file, wrong + "[[site.rule]]\nname = \"r\"\nverdict = \"cash\"\nlifetime = \"1 year\"\n")
        .unwrap();
    let expected =
        ["3: listener.address: ", "7: site.origin: ", "10: site.orign: ", "13: site.rule.verdict: "];
    for command in ["check", "serve"] {
        let done = lectern(&[command], &file);
        assert_eq!(done.status.code(), Some(78), "{command}: {done:?}");
        let told = text(&done.stdout) + &text(&done.stderr);
        for place in expected {
            let place = format!("{}:{place}", file.display());
            assert!(told.contains(&place), "{command}: no {place} in\n{told}");
        }
        assert!(
            told.contains("did you mean `origin`?") && told.contains("write \"cache\", \"pass\""),
            "{told}"
        );
    }
    std::fs::remove_file(&file).unwrap();
    for command in ["check", "serve"] {
        let done = lectern(&[command], &file);
        assert_eq!(done.status.code(), Some(66), "{command}: {done:?}");
        let told = text(&done.stdout) + &text(&done.stderr);
        assert!(told.contains(&file.display().to_string()) && told.lines().count() == 1, "{command}: {told}");
    }
}

#[tokio::test]
async fn a_node_that_cannot_have_its_port_or_its_ledger_says_so_and_ends() {
    let origin = Origin::start().await;
    let edge = Edge::with(&with_sites(&origin, "")).await;
    let taken = edge.address("web").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("l.toml");
    let config = with_sites(&origin, "[control]\naddress = \"127.0.0.1:0\"\n");
    std::fs::write(&file, config.replace("127.0.0.1:0\"\n[[o", &format!("{taken}\"\n[[o"))).unwrap();
    let done = lectern(&["serve"], &file);
    assert_eq!(done.status.code(), Some(69), "{done:?}");
    assert!(text(&done.stderr).contains(&taken.to_string()), "{done:?}");

    let ledger = format!("[ledger]\nfolder = \"{}\"\n", edge.path("ledger").display());
    std::fs::write(&file, config + &ledger).unwrap();
    let done = lectern(&["serve"], &file);
    assert_eq!(done.status.code(), Some(69), "{done:?}");
    assert!(text(&done.stderr).contains("held by another process"), "{done:?}");
}

#[tokio::test]
async fn the_reference_and_every_example_are_fine() {
    let mut files = vec![repository("config/lectern.toml"), repository("config/dev.toml")];
    for file in std::fs::read_dir(repository("config/examples")).unwrap() {
        files.push(file.unwrap().path());
    }
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let done = lectern(&["check"], &file);
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stdout));
        assert!(text(&done.stdout).contains(": fine: "), "{}", text(&done.stdout));
    }
}

#[tokio::test]
async fn an_unknown_key_is_an_error_wherever_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("l.toml");
    let whole = std::fs::read_to_string(repository("config/lectern.toml")).unwrap();
    let tables: Vec<_> = whole
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with('['))
        .map(|(at, line)| (at, line.trim_matches(['[', ']']).to_owned()))
        .collect();
    assert!(tables.len() > 12, "{tables:?}");
    for (at, table) in tables {
        let mut lines: Vec<_> = whole.lines().collect();
        lines.insert(at + 1, "no_such_key = 1");
        std::fs::write(&file, lines.join("\n")).unwrap();
        let done = lectern(&["check"], &file);
        assert_eq!(done.status.code(), Some(78), "{table}");
        let expected = format!("l.toml:{}: {table}.no_such_key: there is no such setting", at + 2);
        assert!(text(&done.stdout).contains(&expected), "{expected}\n{}", text(&done.stdout));
    }
}
