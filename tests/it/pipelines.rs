//! The scripts of `docs/pipelines.md`, as they stand there, against the sample LMS behind an edge: what is published is served once it
//! is purged, and each step fails where it should.

use std::collections::HashMap;
use std::fs;
use std::process::Output;

use loadtest::{Lms, Options};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{edge::Edge, message::Request};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pipelines.md");
/// A page that was edited in each version; this LMS heeds no version in a path.
const PROBE: &str = "/content/fire-safety/1/index.html";

/// A script of the page: where it stands, and its text.
#[derive(Debug)]
struct Script {
    /// Name of the job (GitLab) or step (GitHub) before it.
    of: String,
    text: String,
}

/// The fenced blocks of this language.
fn blocks(language: &str) -> Vec<String> {
    let page = fs::read_to_string(PAGE).unwrap();
    let mut parts = page.split("\n```");
    parts.next();
    let fenced = parts.step_by(2).filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    fenced.map(str::to_owned).collect()
}

/// The scripts of a pipeline, in their order: what is further indented than a line that ends with `|`.
fn scripts(yaml: &str) -> Vec<Script> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let (mut scripts, mut of) = (Vec::new(), String::new());
    let mut lines = yaml.lines().peekable();
    while let Some(line) = lines.next() {
        let named = line
            .trim()
            .strip_prefix("- name: ")
            .or_else(|| line.strip_suffix(':').filter(|_| indent(line) == 0));
        if let Some(name) = named {
            of = name.to_owned();
        }
        if !line.ends_with(" |") {
            continue;
        }
        let mut text = String::new();
        let own = lines.peek().map_or(0, |first| indent(first));
        while let Some(next) = lines.next_if(|next| next.trim().is_empty() || indent(next) >= own) {
            text += next.get(own..).unwrap_or_default();
            text.push('\n');
        }
        scripts.push(Script { of: of.clone(), text });
    }
    scripts
}

/// An edge before the sample LMS, with a token for releases alone, and the variables that the page names.
struct Pipeline {
    edge: Edge,
    lms: Lms,
    folder: tempfile::TempDir,
    variables: HashMap<&'static str, String>,
}

impl Pipeline {
    async fn new() -> Pipeline {
        let lms =
            Lms::start(([127, 0, 0, 1], 0).into(), Options { ignore_version: true, ..Options::default() });
        let lms = lms.await.unwrap();
        let edge = Edge::with(&format!(
            "default_site = \"sample\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
             [[site]]\nname = \"sample\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n\
             [[site.rule]]\nname = \"modules\"\npath = \"/content/{{module}}/{{version}}/**\"\nverdict = \"cache\"\n\
             shared = true\nmodule = \"{{module}}\"\n",
            lms.addr()
        ))
        .await;
        let made = edge.command(&["token", "ci", "--roles", "release"]);
        let told = String::from_utf8(made.stdout).unwrap();
        let after = |what: &str| told.lines().find_map(|line| line.split_once(what)).unwrap().1.to_owned();
        let tokens = fs::read_to_string(edge.path("tokens")).unwrap();
        fs::write(edge.path("tokens"), format!("{tokens}{}\n", after("then reload: "))).unwrap();
        edge.control("POST", "/v1/reload", "").await.expect(200);
        // In the place of the registry's file, which is as large as a program is.
        let program = format!("#!/bin/sh\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_lectern"));
        fs::write(edge.path("lectern"), &program).unwrap();
        let digest = Sha256::digest(&program).iter().map(|byte| format!("{byte:02x}")).collect();
        let variables = HashMap::from([
            ("LECTERN_CONTROL", format!("http://{}", edge.address("control").await)),
            ("LECTERN_TOKEN", after("shown once: ")),
            ("LECTERN_URL", format!("file://{}", edge.path("lectern").display())),
            ("LECTERN_SHA256", digest),
            ("LECTERN_SITE", "sample".to_owned()),
            ("MODULE", "fire-safety".to_owned()),
            ("VERSION", "2".to_owned()),
            ("SITE", format!("http://{}", edge.address("web").await)),
            ("LMS", format!("http://{}", lms.addr())),
            ("PROBE", PROBE.to_owned()),
            ("CI_JOB_URL", "https://gitlab.example/-/jobs/1".to_owned()),
            ("CI_PIPELINE_ID", "4711".to_owned()),
            ("GITHUB_RUN_ID", "4712".to_owned()),
        ]);
        Pipeline { edge, lms, folder: tempfile::tempdir().unwrap(), variables }
    }

    /// Runs a script as both do: by bash, which ends at the first command that fails.
    async fn run(&self, script: &str) -> Output {
        tokio::process::Command::new("bash")
            .args(["--noprofile", "--norc", "-euo", "pipefail", "-c", script])
            .envs(&self.variables)
            .current_dir(self.folder.path())
            .output()
            .await
            .unwrap()
    }

    async fn passes(&self, script: &str) -> String {
        let done = self.run(script).await;
        assert!(done.status.success(), "{script}\n{done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Ends with this exit code.
    async fn fails(&self, script: &str, code: i32) {
        let done = self.run(script).await;
        assert_eq!(done.status.code(), Some(code), "{script}\n{done:?}");
    }

    async fn records(&self) -> Vec<Value> {
        let reply = self.edge.control("GET", "/v1/ledger", "").await.expect(200);
        let page: Value = serde_json::from_slice(&reply.body).unwrap();
        let text = |entry: &Value| serde_json::from_str(entry["record"].as_str().unwrap()).unwrap();
        page["records"].as_array().unwrap().iter().map(text).collect()
    }
}

/// Installs, publishes, purges and verifies; each is one script.
struct Steps<'a> {
    install: &'a str,
    publish: &'a str,
    purge: &'a str,
    verify: &'a str,
}

async fn plays(steps: Steps<'_>, key: &str) {
    let Steps { install, publish, purge, verify } = steps;
    let mut pipeline = Pipeline::new().await;
    // Learners have the first version, for a year.
    let host = pipeline.edge.address("web").await.to_string();
    for outcome in ["miss", "hit"] {
        pipeline.edge.ask(&Request::get(PROBE).host(&host)).await.expect(200);
        pipeline.edge.outcomes(outcome, 1).await;
    }
    pipeline.passes(install).await;
    pipeline.passes(publish).await;
    pipeline.fails(verify, 1).await;
    let good = pipeline.variables.clone();
    for (name, value, code) in [
        ("LECTERN_TOKEN", "lectern_00", 77),
        ("LECTERN_SITE", "nobody", 65),
        ("LECTERN_CONTROL", "ftp://nowhere", 64),
    ] {
        pipeline.variables.insert(name, value.to_owned());
        pipeline.fails(purge, code).await;
        pipeline.variables.clone_from(&good);
    }
    assert!(pipeline.records().await.is_empty());
    let told = pipeline.passes(purge).await;
    assert!(told.starts_with("applied: number 1, "), "{told}");
    pipeline.passes(verify).await;
    // Asked again, as after a lost answer.
    assert!(pipeline.passes(purge).await.contains("asked before"));
    let records = pipeline.records().await;
    let said = ["kind", "module", "who", "key"].map(|name| records[0][name].as_str().unwrap());
    assert_eq!((records.len(), said), (1, ["purge-module", "fire-safety", "ci", key]));
    pipeline.edge.outcomes("miss", 2).await;
    assert_eq!(
        pipeline.edge.outcome("hit").await,
        2,
        "the learners' one, and what the verification found before the purge"
    );
    pipeline.variables.insert("LECTERN_SHA256", "0".repeat(64));
    pipeline.fails(install, 1).await;
    assert!(pipeline.lms.counters().commits == 0);
}

#[tokio::test]
async fn the_jobs_for_gitlab_publish_purge_and_verify_and_fail_where_they_should() {
    let yaml = blocks("yaml").remove(0);
    let scripts = scripts(&yaml);
    let jobs: Vec<_> = scripts.iter().map(|script| script.of.as_str()).collect();
    assert_eq!(jobs, ["publish", "purge", "purge", "verify"], "{scripts:#?}");
    let text = |at: usize| scripts[at].text.as_str();
    plays(
        Steps { publish: text(0), install: text(1), purge: text(2), verify: text(3) },
        "4711-fire-safety-2",
    )
    .await;
}

#[tokio::test]
async fn the_steps_for_github_publish_purge_and_verify_and_fail_where_they_should() {
    let yaml = blocks("yaml").remove(1);
    let scripts = scripts(&yaml);
    let steps: Vec<_> = scripts.iter().map(|script| script.of.as_str()).collect();
    assert_eq!(steps, ["Install lectern", "Publish", "Purge", "Verify"], "{scripts:#?}");
    let text = |at: usize| scripts[at].text.as_str();
    plays(
        Steps { install: text(0), publish: text(1), purge: text(2), verify: text(3) },
        "4712-fire-safety-2",
    )
    .await;
}

#[tokio::test]
async fn the_call_without_the_program_is_in_force_or_fails() {
    let [script] = &blocks("bash")[..] else { panic!("one call") };
    let mut pipeline = Pipeline::new().await;
    let told: Value = serde_json::from_str(&pipeline.passes(script).await).unwrap();
    assert_eq!((&told["applied"], &told["results"][0]["status"]), (&true.into(), &200.into()));
    for (name, value) in [("LECTERN_TOKEN", "lectern_00"), ("LECTERN_SITE", "nobody")] {
        let good = pipeline.variables.insert(name, value.to_owned()).unwrap();
        pipeline.fails(script, 22).await;
        pipeline.variables.insert(name, good);
    }
    assert_eq!(pipeline.records().await.len(), 1);
}

#[test]
fn every_block_of_the_page_is_played() {
    let page = fs::read_to_string(PAGE).unwrap();
    let played = blocks("yaml").len() + blocks("bash").len();
    assert_eq!((played, blocks("yaml").len()), (page.matches("\n```").count() / 2, 2));
    let written = blocks("yaml").iter().map(|yaml| scripts(yaml).len()).sum::<usize>();
    let marked = page.lines().filter(|line| line.ends_with("- |") || line.ends_with("run: |")).count();
    assert_eq!(written, marked);
    let known = |variable: &str| {
        page.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{variable}`")))
    };
    let own = ["CI_JOB_URL", "CI_PIPELINE_ID", "GITHUB_RUN_ID"];
    let texts =
        blocks("yaml").iter().flat_map(|yaml| scripts(yaml)).map(|script| script.text).collect::<String>();
    for variable in texts.split("\"$").skip(1).map(|rest| {
        rest.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_').next().unwrap()
    }) {
        assert!(
            variable.is_empty() || own.contains(&variable) || known(variable),
            "${variable} is told in no row"
        );
    }
}
