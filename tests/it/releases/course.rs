//! A module behind two fronts that are updated one after the other, and the edge before them.

use std::fmt::Write as _;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    answer::Answer,
    edge::Edge,
    message::Reply,
    origin::{Origin, Seen},
};

pub(crate) const IMMUTABLE: &str = "public, max-age=7776000, immutable";

/// Two fronts, each with a version of all files, whatever the version in the URL.
pub(crate) struct Course {
    pub(crate) fronts: [Origin; 2],
    versions: [Arc<AtomicUsize>; 2],
    /// Every so many files change with the version.
    pub(crate) changes: usize,
}

/// What a front answers for a file of its version, beside the body.
pub(crate) type Shape = fn(answer: Answer, version: usize) -> Answer;

/// As most do: nothing in the head says which bytes follow.
pub(crate) fn plain(answer: Answer, version: usize) -> Answer {
    answer.field("ETag", format!("\"front-{version}\""))
}

/// The bytes of a file in a version. Only each `changes`-th changes.
pub(crate) fn body(name: &str, version: usize, changes: usize) -> Vec<u8> {
    let number: usize = name.trim_start_matches('f').split('.').next().unwrap().parse().unwrap_or(0);
    let version = if number.is_multiple_of(changes) { version } else { 0 };
    format!("{name} in version {version}\n").repeat(20).into_bytes()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

impl Course {
    pub(crate) async fn start(changes: usize, shape: Shape) -> Course {
        let versions: [Arc<AtomicUsize>; 2] = [Arc::new(AtomicUsize::new(1)), Arc::new(AtomicUsize::new(1))];
        let fronts = [Origin::start().await, Origin::start().await];
        for (front, version) in fronts.iter().zip(&versions) {
            let version = version.clone();
            front.on_call("/m/*", move |seen: &Seen, _| {
                let version = version.load(SeqCst);
                let name = seen.path().rsplit('/').next().unwrap().to_owned();
                let answer = Answer::ok(body(&name, version, changes)).field("Cache-Control", IMMUTABLE);
                shape(answer.field("Content-Type", "text/javascript"), version)
            });
        }
        Course { fronts, versions, changes }
    }

    /// A front has this version from here on.
    pub(crate) fn update(&self, front: usize, version: usize) {
        self.versions[front].store(version, SeqCst);
    }

    pub(crate) fn requests(&self) -> usize {
        self.fronts.iter().map(|front| front.requests().len()).sum()
    }

    /// The configuration of an edge before both; `rule` says more of the module's rule.
    pub(crate) fn config(&self, rule: &str) -> String {
        let servers = self.fronts.iter().map(|front| format!("\"{}\"", front.addr())).collect::<Vec<_>>();
        format!(
            "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             [disk]\nflush_interval = \"50ms\"\n[[disk.folder]]\npath = \"disk\"\nlimit = \"64MiB\"\n\
             [[origin]]\nname = \"lms\"\nservers = [{}]\n\
             [[site]]\nname = \"lms\"\nhosts = [\"lms-a.example\"]\norigin = \"lms\"\n\
             [[site.rule]]\nname = \"modules\"\npath = \"/m/{{module}}/{{v}}/**\"\nverdict = \"cache\"\n\
             module = \"{{module}}\"\n{rule}\n",
            servers.join(", ")
        )
    }

    pub(crate) async fn edge(&self) -> Edge {
        Edge::with(&self.config("version = { path = \"v\" }")).await
    }

    /// What `sha256sum` prints of a version of so many files.
    pub(crate) fn list(&self, files: usize, version: usize) -> String {
        let line = |name: String| format!("{}  {name}\n", sha256(&body(&name, version, self.changes)));
        (0..files).map(|number| line(format!("f{number}.js"))).collect()
    }

    /// Which version's bytes an answer has; 0: those that are the same in both.
    pub(crate) fn version_of(&self, number: usize, reply: &Reply) -> usize {
        let name = format!("f{number}.js");
        let version = (0..10).find(|version| reply.body == body(&name, *version, self.changes));
        match version {
            Some(version) if number.is_multiple_of(self.changes) => version,
            Some(_) => 0,
            None => panic!("{} is of no version: {:?}", name, reply.text()),
        }
    }
}

/// A step of the module `physics`; its status and answer.
pub(crate) async fn step(edge: &Edge, step: &str, more: Value) -> (u16, Value) {
    let mut body = json!({"site": "lms"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = edge.control("POST", &format!("/v1/modules/physics/{step}"), &body.to_string()).await;
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
}

pub(crate) async fn stage(edge: &Edge, release: &str, list: &str) -> Value {
    let base = format!("http://lms-a.example/m/physics/{release}/");
    let (status, told) = step(edge, "stage", json!({"release": release, "base": base, "list": list})).await;
    assert_eq!(status, 200, "{told}");
    told
}

/// Warms a release; how many of its files were `fresh`, `warmed` and so on.
pub(crate) async fn warm(edge: &Edge, release: &str) -> Value {
    warm_at_once(edge, release, 8).await
}

/// The same, so many at once.
pub(crate) async fn warm_at_once(edge: &Edge, release: &str, at_once: usize) -> Value {
    let body = json!({"site": "lms", "release": release, "per_second": 10_000, "at_once": at_once});
    let reply = edge.control("POST", "/v1/modules/physics/warm", &body.to_string()).await.expect(200);
    let last = reply.text().lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap());
    last.unwrap()["done"].take()
}

pub(crate) async fn activate(edge: &Edge, release: &str) {
    let (status, told) = step(edge, "activate", json!({ "release": release })).await;
    assert_eq!(status, 200, "{told}");
}

/// Active, staged and previous release.
pub(crate) async fn releases(edge: &Edge) -> [String; 3] {
    let reply = edge.control("GET", "/v1/modules/physics?site=lms", "").await.expect(200);
    let told: Value = serde_json::from_slice(&reply.body).unwrap();
    ["active", "staged", "previous"].map(|word| told[word]["release"].as_str().unwrap_or_default().to_owned())
}
