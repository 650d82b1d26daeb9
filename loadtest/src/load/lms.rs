//! The sample LMS as a process of its own, and what the run does to it and asks of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use loadtest::Load;
use serde_json::json;

use super::client::Client;
use super::process::{MEASURING, Process};
use super::scenario::Scenario;
use super::wait::until;

/// How long it may take to start, and at the end to be done with what it was asked.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct SampleLms {
    process: Process,
    pub(crate) fronts: Vec<SocketAddr>,
    control: Client,
}

impl SampleLms {
    pub(crate) async fn start(scenario: &Scenario, folder: &Path) -> Result<SampleLms, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let lms = &scenario.lms;
        let ms = |time: Duration| format!("{}ms", time.as_millis());
        let (workers, film) = (lms.workers.to_string(), scenario.film.length.to_string());
        let (page, file, check, commit) = (ms(lms.page), ms(lms.file), ms(lms.check), ms(lms.commit));
        // A check a second early is one that came from the far end of a kept time and was faster.
        let kept = ms(scenario.edge.kept.saturating_sub(Duration::from_secs(1)));
        let mut arguments = vec!["lms", "--film", &film, "--workers", &workers, "--kept", &kept];
        arguments.extend(["--page", &page, "--file", &file, "--check", &check, "--commit", &commit]);
        for _ in 0..lms.fronts {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let says = folder.join("lms.log");
        let mut process = Process::start(&program, &arguments, MEASURING, &says).await?;
        let fronts = until("the sample LMS", PATIENCE, || {
            let text = std::fs::read_to_string(&says).unwrap_or_default();
            let fronts: Vec<_> = text.lines().filter_map(address).collect();
            match fronts.len() == lms.fronts {
                true => Ok(Some(fronts)),
                false if process.runs() => Ok(None),
                false => Err(format!("the sample LMS ended: {text}")),
            }
        })
        .await?;
        let control = Client::new(fronts[0], 4);
        Ok(SampleLms { process, fronts, control })
    }

    /// What it counted since it was told to forget.
    pub(crate) async fn load(&self) -> Result<Load, String> {
        self.read("/_control/load").await
    }

    /// How often each commit came.
    pub(crate) async fn commits(&self) -> Result<HashMap<String, u32>, String> {
        self.read("/_control/commits").await
    }

    /// Writes down all that it counted, by path too: where a figure is odd, this tells why.
    pub(crate) async fn keep_counters(&self, path: &Path) -> Result<(), String> {
        let all = self.control.call(Method::GET, "/_control/counters", None, String::new()).await?;
        std::fs::write(path, all).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub(crate) async fn forget(&self) -> Result<(), String> {
        self.control.call(Method::DELETE, "/_control/counters", None, String::new()).await.map(drop)
    }

    pub(crate) async fn publish(&self, module: &str, version: u32) -> Result<(), String> {
        let body = json!({ "module": module, "version": version }).to_string();
        self.control.call(Method::POST, "/_control/publish", None, body).await.map(drop)
    }

    /// Kills the last front, or brings it back.
    pub(crate) async fn set_last_front(&self, up: bool) -> Result<(), String> {
        let body = json!({ "front": self.fronts.len() - 1, "up": up }).to_string();
        self.control.call(Method::POST, "/_control/front", None, body).await.map(drop)
    }

    /// Waits until nothing is under way any more.
    pub(crate) async fn quiet(&self) -> Result<Load, String> {
        let mut load = self.load().await?;
        for _ in 0..PATIENCE.as_millis() / 50 {
            if load.in_flight == 0 {
                return Ok(load);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            load = self.load().await?;
        }
        Err(format!("{} requests are still under way at the LMS", load.in_flight))
    }

    pub(crate) async fn stop(self) {
        self.process.stop().await;
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let body = self.control.call(Method::GET, path, None, String::new()).await?;
        serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}"))
    }
}

/// Of a line as the program writes it for each front.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(": http://")?;
    rest.split_once('/')?.0.parse().ok()
}
