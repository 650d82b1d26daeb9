//! The edge: the built binary as a process of its own, with its own folder, ports and control token.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::client::Client;
use super::deadline::{eventually, within};
use super::h2::H2;
use super::medium::Medium;
use super::message::{Reply, Request};
use super::origin::Origin;

const BINARY: &str = env!("CARGO_BIN_EXE_lectern");

/// A running edge. Killed when dropped.
pub(crate) struct Edge {
    folder: Arc<TempDir>,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    token: String,
    control: SocketAddr,
}

impl Edge {
    /// An edge with one site `lms` that answers for every host, in front of `origin`. `rest` is what follows in the
    /// configuration, inside the table of that site: keys of the site, its rules, then further tables.
    pub(crate) async fn before(origin: &Origin, rest: &str) -> Edge {
        Edge::with(&format!(
            "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
             [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n{rest}\n",
            origin.addr()
        ))
        .await
    }

    /// An edge with this configuration. `[control]`, `[log]` and the ledger's place are added.
    pub(crate) async fn with(config: &str) -> Edge {
        Edge::in_folder(Arc::new(tempfile::tempdir().unwrap()), config).await
    }

    /// The same, with its folder [`FOLDER`](super::medium::FOLDER) on a medium that fails when told to.
    pub(crate) async fn on_medium(config: &str) -> (Edge, Medium) {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let medium = Medium::below(folder.path());
        (Edge::in_folder(folder, config).await, medium)
    }

    async fn in_folder(folder: Arc<TempDir>, config: &str) -> Edge {
        let (token, line) = new_token();
        fs::write(folder.path().join("tokens"), line).unwrap();
        write_config(folder.path(), config);
        let (child, said) = spawn(folder.path(), &[]);
        let mut edge = Edge { folder, child, said, token, control: SocketAddr::from(([127, 0, 0, 1], 0)) };
        edge.control = edge.address("control").await;
        edge
    }

    /// Starts it anew in its folder, with the configuration it has there.
    pub(crate) async fn start_again(&mut self) {
        (self.child, self.said) = spawn(self.folder.path(), &[]);
        self.control = self.address("control").await;
    }

    /// Starts a process beside it in the same folder that takes its place, as `lectern serve --upgrade`.
    pub(crate) fn begin_upgrade(&self) -> Edge {
        let (child, said) = spawn(self.folder.path(), &["--upgrade"]);
        let (folder, token) = (self.folder.clone(), self.token.clone());
        Edge { folder, child, said, token, control: self.control }
    }

    /// The same, and waits until it serves.
    pub(crate) async fn upgrade(&self) -> Edge {
        let mut edge = self.begin_upgrade();
        edge.control = edge.address("control").await;
        edge
    }

    /// Writes another configuration, as [`Edge::with`] takes it. Nothing is told of it.
    pub(crate) fn configure(&self, config: &str) {
        write_config(self.folder.path(), config);
    }

    /// A token that may do everything.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// The address of a listener, from what the edge says when it listens.
    pub(crate) async fn address(&self, listener: &str) -> SocketAddr {
        let name = format!("listening listener=\"{listener}\" address=");
        let found = || self.said().iter().find_map(|line| line.split_once(&name)?.1.trim().parse().ok());
        eventually(format!("the listener {listener}"), async || {
            assert!(!self.said().iter().any(|line| line.starts_with("lectern:")), "{:#?}", self.said());
            found().is_some()
        })
        .await;
        found().unwrap()
    }

    /// Lines of its error log so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Waits for a line of the error log that holds `text`.
    pub(crate) async fn says(&self, text: &str) {
        eventually(format!("a line with {text:?}"), async || self.said().iter().any(|l| l.contains(text)))
            .await;
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address("web").await).await
    }

    pub(crate) async fn h2(&self) -> H2 {
        H2::connect(self.address("web").await).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &Request) -> Reply {
        self.client().await.ask(request).await
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.ask(&Request::get(target)).await
    }

    /// A call of the control API with the token.
    pub(crate) async fn control(&self, method: &str, path: &str, body: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let request = Request::new(method, path).field("Authorization", &bearer);
        let request = request.field("Content-Type", "application/json").body(body);
        Client::connect(self.control).await.ask(&request).await
    }

    /// Purges a URL; applied when this returns.
    pub(crate) async fn purge(&self, url: &str) {
        self.purges(&format!(r#"{{"kind":"url","url":"{url}","reason":"test"}}"#)).await;
    }

    pub(crate) async fn purge_site(&self, site: &str) {
        self.purges(&format!(r#"{{"kind":"site","site":"{site}","reason":"test"}}"#)).await;
    }

    /// Asked again, as `lectern purge` does, where a process that is being replaced took the call.
    async fn purges(&self, body: &str) {
        eventually(format!("the purge {body}"), async || {
            let reply = self.control("POST", "/v1/purges", body).await;
            let again = reply.status == 503 && reply.text().contains("urn:lectern:upgrading");
            !again && reply.expect(200).status == 200
        })
        .await;
    }

    pub(crate) async fn metrics(&self) -> String {
        self.control("GET", "/metrics", "").await.expect(200).text()
    }

    /// The sum of all series of a metric whose labels hold each of `labels` (`outcome="hit"`).
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics().await;
        let of = |line: &&str| {
            line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|l| line.contains(l))
        };
        text.lines().filter(of).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Requests that ended as `outcome`, once there are at least that many; an answer ends a moment after its last byte.
    pub(crate) async fn outcome(&self, outcome: &str) -> u64 {
        self.metric("lectern_requests_total", &[&format!("outcome=\"{outcome}\"")]).await as u64
    }

    /// Waits until so many requests ended as `outcome`.
    pub(crate) async fn outcomes(&self, outcome: &str, n: u64) {
        eventually(format!("{n} requests that are {outcome}"), async || self.outcome(outcome).await >= n)
            .await;
        assert_eq!(self.outcome(outcome).await, n, "requests that are {outcome}");
    }

    /// Waits until no fill is under way.
    pub(crate) async fn settled(&self) {
        eventually("end of all fills", async || self.metric("lectern_fills_in_flight", &[]).await == 0.0)
            .await;
    }

    /// Lines of the access log, once there are at least `n`.
    pub(crate) async fn log(&self, n: usize) -> Vec<serde_json::Value> {
        let lines = || {
            let text = fs::read_to_string(self.path("access.log")).unwrap_or_default();
            // The last one may not be written to its end yet.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
        };
        eventually(format!("{n} lines of the access log"), async || lines().len() >= n).await;
        lines()
    }

    /// Resident memory, bytes.
    pub(crate) fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Resident memory that is mapped from no file, bytes.
    pub(crate) fn anonymous(&self) -> u64 {
        self.memory("RssAnon:")
    }

    fn memory(&self, kind: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let done =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(done.success(), "kill -{name}");
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        within("the edge ends", self.child.wait()).await.unwrap()
    }

    /// Stops it in order.
    pub(crate) async fn stop(&mut self) {
        self.signal("TERM");
        assert_eq!(self.ended().await.code(), Some(0), "{:#?}", self.said());
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Runs the binary with other arguments, in the edge's folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(BINARY)
            .args(arguments)
            .env("LECTERN_TOKEN", &self.token)
            .env("LECTERN_CONTROL", format!("http://{}", self.control))
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// The same; others go on meanwhile.
    pub(crate) async fn run(&self, arguments: &[&str]) -> std::process::Output {
        tokio::process::Command::new(BINARY)
            .args(arguments)
            .env("LECTERN_TOKEN", &self.token)
            .env("LECTERN_CONTROL", format!("http://{}", self.control))
            .current_dir(self.folder.path())
            .output()
            .await
            .unwrap()
    }
}

fn new_token() -> (String, String) {
    let made = Command::new(BINARY)
        .args(["token", "test", "--roles", "read,purge,release,operate"])
        .output()
        .unwrap();
    let told = String::from_utf8(made.stdout).unwrap() + &String::from_utf8(made.stderr).unwrap();
    let line = told.lines().find(|line| line.contains("blake3:")).unwrap_or_else(|| panic!("{told}"));
    let line = &line[line.find("test ").unwrap()..];
    let token = told.split_whitespace().find(|word| word.len() >= 40 && !word.contains("blake3")).unwrap();
    (token.to_owned(), format!("{}\n", line.trim()))
}

fn write_config(folder: &Path, config: &str) {
    let mut own = "address = \"127.0.0.1:0\"\ntokens = \"tokens\"\n".to_owned();
    if !config.contains("whole_purge_pause") {
        // Tests purge the same site again at once.
        own += "whole_purge_pause = \"0s\"\n";
    }
    // A test that sets more of it names the table.
    let config = match config.split_once("[control]\n") {
        Some((before, after)) => format!("{before}[control]\n{own}{after}"),
        None => format!("{config}\n[control]\n{own}"),
    };
    let own = "[log]\naccess = \"access.log\"\n";
    let node = if config.contains("[node]") { "" } else { "[node]\nthreads = 2\n" };
    // A test that plays an origin which fails again and again would find it left out after a second: where that is what it is
    // about it says so. (What `lectern check` says of this file has its lines one further down for each origin.)
    let config = match config.contains("failures = ") {
        true => config.to_owned(),
        false => config.replace("[[origin]]\n", "[[origin]]\nfailures = 0\n"),
    };
    fs::write(folder.join("lectern.toml"), format!("{config}\n{own}{node}")).unwrap();
}

fn spawn(folder: &Path, more: &[&str]) -> (Child, Arc<Mutex<Vec<String>>>) {
    let mut command = tokio::process::Command::new(BINARY);
    // A test that plays the supervisor has bound its socket there.
    if folder.join("notify").exists() {
        command.env("NOTIFY_SOCKET", folder.join("notify"));
    }
    let mut child = command
        .args(["serve", "--config", "lectern.toml"])
        .args(more)
        .envs(Medium::environment(folder))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()), said.clone());
    tokio::spawn(async move {
        let mut lines = lines.lines();
        while let Ok(Some(line)) = lines.next_line().await {
            kept.lock().unwrap().push(line);
        }
    });
    (child, said)
}
