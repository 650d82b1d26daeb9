//! `lectern store` on a folder that a running edge has filled: what is told is so, and the edge goes on from what is left.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Output;

use serde_json::Value;

use crate::support::{answer::Answer, edge::Edge, film::Film, origin::Origin};

const LENGTH: u64 = 700_000;

/// An edge before `origin` that keeps what it has in this folder.
fn with_disk(origin: &Origin, folder: &str) -> String {
    format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n\
         [[disk.folder]]\npath = \"{folder}\"\nlimit = \"64MiB\"\n",
        origin.addr()
    )
}

/// A film and a page, asked for once and kept.
async fn filled(origin: &Origin, film: &Film) -> Edge {
    origin.on("/film", film.answer());
    origin.on("/page", Answer::storable("page"));
    let edge = Edge::with(&with_disk(origin, "disk")).await;
    edge.get("/film").await.expect_body(200, film.bytes(0, LENGTH));
    edge.get("/page").await.expect_body(200, "page");
    edge
}

async fn stop(edge: &mut Edge) {
    edge.settled().await;
    edge.signal("TERM");
    assert_eq!(edge.ended().await.code(), Some(0));
}

/// A store command for the configured folder: exit code, and the only line or the JSON it gives.
async fn store(edge: &Edge, arguments: &[&str]) -> (i32, String) {
    let all = [&["store"], arguments, &["--config", "lectern.toml"]].concat();
    let Output { status, stdout, stderr } = edge.run(&all).await;
    let told = String::from_utf8([stdout, stderr].concat()).unwrap();
    (status.code().unwrap(), told.trim_end().to_owned())
}

async fn told(edge: &Edge, arguments: &[&str], exit: i32) -> Value {
    let (code, told) = store(edge, &[arguments, &["--json"]].concat()).await;
    assert_eq!(code, exit, "{told}");
    serde_json::from_str::<Value>(&told).unwrap()["folders"][0].take()
}

#[tokio::test]
async fn what_is_on_disk_is_told_and_what_is_bad_in_it_is_found_forgotten_and_asked_for_again() {
    let (origin, film) = (Origin::start().await, Film::new(1, LENGTH));
    let mut edge = filled(&origin, &film).await;
    for command in ["stat", "verify"] {
        let (code, told) = store(&edge, &[command]).await;
        assert!(code == 75 && told.lines().count() == 1 && told.contains("in use by a node"), "{told}");
    }
    stop(&mut edge).await;

    let stat = told(&edge, &["stat"], 0).await;
    for (name, number) in [("segments", 1), ("chunks", 4), ("responses", 2)] {
        assert_eq!(stat[name], number, "{stat:#}");
    }
    assert_eq!((&stat["chunk_bytes"], &stat["named_bytes"]), (&(LENGTH + 4).into(), &(LENGTH + 4).into()));
    let (code, text) = store(&edge, &["stat"]).await;
    assert!(code == 0 && text.contains("responses  2, naming 683.60 KiB: 1.00 times"), "{text}");
    let (code, text) = store(&edge, &["verify"]).await;
    assert!(code == 0 && text.ends_with("disk: fine: 4 chunks, 683.60 KiB, 2 responses"), "{text}");

    let segment = edge.path("disk/segments/00000000.seg");
    let file = File::options().read(true).write(true).open(segment).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[!byte[0]], 1000).unwrap();
    let found = told(&edge, &["verify"], 65).await;
    assert_eq!((&found["bad_chunks"], &found["chunks"]), (&1.into(), &3.into()), "{found:#}");
    let repaired = told(&edge, &["verify", "--repair"], 0).await;
    assert_eq!(repaired["repaired"], 1, "{repaired:#}");
    let after = told(&edge, &["verify"], 0).await;
    assert_eq!((&after["bad_chunks"], &after["missing_chunks"]), (&0.into(), &1.into()), "{after:#}");

    edge.start_again().await;
    edge.get("/film").await.expect_body(200, film.bytes(0, LENGTH));
    edge.get("/page").await.expect_body(200, "page");
    assert_eq!((origin.hits("/film"), origin.hits("/page")), (2, 1));
    let again = origin.requests().into_iter().filter(|request| request.target == "/film").nth(1).unwrap();
    assert_eq!(again.field("range"), Some("bytes=0-262143"), "only what is missing");
    assert_eq!(edge.metric("lectern_disk_verify_failures_total", &[]).await, 0.0, "it was found beforehand");
}

#[tokio::test]
async fn a_moved_folder_serves_on_and_a_cleared_one_begins_anew() {
    let (origin, film) = (Origin::start().await, Film::new(1, LENGTH));
    let mut edge = filled(&origin, &film).await;
    let (code, told) = store(&edge, &["move", "moved"]).await;
    assert!(code == 75 && told.contains("in use by a node"), "{told}");
    stop(&mut edge).await;
    fs::create_dir_all(edge.path("full/of")).unwrap();
    let (code, told) = store(&edge, &["move", "full"]).await;
    assert!(code == 73 && told.contains("no empty folder"), "{told}");
    let (code, told) = store(&edge, &["move", "moved"]).await;
    assert!(code == 0 && told.contains("moved\"` into its [[disk.folder]]"), "{told}");
    assert!(!edge.path("disk").exists());

    edge.configure(&with_disk(&origin, "moved"));
    edge.start_again().await;
    edge.get("/film").await.expect_body(200, film.bytes(0, LENGTH));
    edge.get("/page").await.expect_body(200, "page");
    edge.outcomes("hit", 2).await;
    assert_eq!(origin.requests().len(), 2);

    stop(&mut edge).await;
    let (code, told) = store(&edge, &["clear"]).await;
    assert!(code == 64 && told.contains("say --yes"), "{told}");
    let (code, told) = store(&edge, &["clear", "--yes"]).await;
    assert!(code == 0 && told.ends_with("moved is empty"), "{told}");
    edge.start_again().await;
    edge.get("/page").await.expect_body(200, "page");
    edge.outcomes("miss", 1).await;
    assert_eq!(origin.hits("/page"), 2);
}
