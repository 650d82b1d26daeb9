//! What stands between learners and the LMS: Lectern, nginx with its cache, or nginx without one. `loadtest/peers/` says how each is set.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;
use loadtest::content::package::Module;
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;

use super::client::Client;
use super::lms::SampleLms;
use super::plan::{host, module_files, site};
use super::process::{MEASURED, Process};
use super::scenario::Scenario;
use super::wait::until;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Which {
    Lectern,
    Nginx,
    None,
}

impl Which {
    pub(crate) const ALL: [Which; 3] = [Which::Lectern, Which::Nginx, Which::None];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Which::Lectern => "lectern",
            Which::Nginx => "nginx",
            Which::None => "none",
        }
    }

    pub(crate) fn caches(self) -> bool {
        self != Which::None
    }
}

pub(crate) struct Server {
    which: Which,
    process: Process,
    pub(crate) address: SocketAddr,
    control: Option<Control>,
}

/// Lectern's.
struct Control {
    client: Client,
    token: String,
}

impl Server {
    pub(crate) async fn start(
        which: Which,
        lectern: &Path,
        scenario: &Scenario,
        lms: &SampleLms,
        folder: &Path,
    ) -> Result<Server, String> {
        match which {
            Which::Lectern => start_lectern(lectern, scenario, lms, folder).await,
            Which::Nginx => {
                start_nginx(which, include_str!("../../peers/nginx.conf"), scenario, lms, folder).await
            }
            Which::None => {
                start_nginx(which, include_str!("../../peers/none.conf"), scenario, lms, folder).await
            }
        }
    }

    /// Takes away what is stored of a module of a tenant. From when this comes back on nothing older may be served.
    pub(crate) async fn purge(&self, tenant: u32, module: Module) -> Result<(), String> {
        match &self.control {
            Some(Control { client, token }) => {
                // All fronts have it already, so that nothing need be fetched again a while later.
                let (kind, module, site) = ("module", module.name(), site(tenant));
                let body = json!({ "kind": kind, "module": module, "site": site, "settle": 0 });
                client.call(Method::POST, "/v1/purges", Some(token), body.to_string()).await.map(drop)
            }
            None if self.which.caches() => {
                let client = Client::new(self.address, 1);
                for ask in module_files(tenant, module) {
                    client.refresh(&ask).await?;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What Lectern itself counted, by outcome.
    pub(crate) async fn outcomes(&self) -> Result<BTreeMap<String, u64>, String> {
        let Some(Control { client, .. }) = &self.control else { return Ok(BTreeMap::new()) };
        let text = client.call(Method::GET, "/metrics", None, String::new()).await?;
        Ok(outcomes(&String::from_utf8_lossy(&text)))
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.process.runs()
    }

    pub(crate) async fn stop(self) {
        self.process.stop().await;
    }
}

/// The sum of `lectern_requests_total` for each outcome.
fn outcomes(metrics: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("lectern_requests_total{"));
    for (labels, value) in lines.filter_map(|line| line.rsplit_once("} ")) {
        let outcome = labels.split(',').find_map(|label| label.strip_prefix("outcome=\"")?.strip_suffix('"'));
        if let (Some(outcome), Ok(value)) = (outcome, value.parse::<f64>()) {
            *sums.entry(outcome.to_owned()).or_default() += value as u64;
        }
    }
    sums
}

async fn start_lectern(
    lectern: &Path,
    scenario: &Scenario,
    lms: &SampleLms,
    folder: &Path,
) -> Result<Server, String> {
    let fronts: Vec<_> = lms.fronts.iter().map(|front| format!("\"{front}\"")).collect();
    let mut config = include_str!("../../peers/lectern.toml")
        .replace("@FRONTS@", &fronts.join(", "))
        .replace("@IN_FLIGHT@", &scenario.edge.in_flight.to_string())
        .replace("@CHECKS@", &scenario.edge.checks.to_string())
        .replace("@KEPT@", &format!("{}s", scenario.edge.kept.as_secs()));
    for tenant in 0..scenario.tenants {
        let (name, host) = (site(tenant), host(tenant));
        config += &format!(
            "\n[[site]]\nname = \"{name}\"\nhosts = [\"{host}\"]\norigin = \"lms\"\nuse = [\"course-platform\"]\n"
        );
    }
    let path = write(folder, "lectern.toml", &config)?;
    let token = token(lectern, folder).await?;
    let says = folder.join("lectern.log");
    let mut process =
        Process::start(lectern, &["serve", "--config", &path.to_string_lossy()], MEASURED, &says).await?;
    let listens = |name: &str, text: &str| {
        let line = text.lines().find(|line| line.contains(&format!("listener=\"{name}\"")))?;
        line.split_once("address=")?.1.split_whitespace().next()?.parse().ok()
    };
    let (address, control) = until("lectern", PATIENCE, || {
        let text = std::fs::read_to_string(&says).unwrap_or_default();
        match (listens("plain", &text), listens("control", &text)) {
            (Some(plain), Some(control)) => Ok(Some((plain, control))),
            _ if process.runs() => Ok(None),
            _ => Err(format!("lectern ended: {text}")),
        }
    })
    .await?;
    let control = Some(Control { client: Client::new(control, 2), token });
    Ok(Server { which: Which::Lectern, process, address, control })
}

/// Makes a token that may purge, and the file that names it.
async fn token(lectern: &Path, folder: &Path) -> Result<String, String> {
    let made = Command::new(lectern).args(["token", "load-test", "--roles", "purge"]).output().await;
    let made = made.map_err(|error| format!("{}: {error}", lectern.display()))?;
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    let after = |sign: &str| text.lines().find_map(|line| Some(line.split_once(sign)?.1.to_owned()));
    let (token, line) = after("shown once: ").zip(after("then reload: ")).ok_or("lectern token: no token")?;
    write(folder, "tokens", &(line + "\n"))?;
    Ok(token)
}

async fn start_nginx(
    which: Which,
    template: &str,
    scenario: &Scenario,
    lms: &SampleLms,
    folder: &Path,
) -> Result<Server, String> {
    let address = free_port()?;
    let servers: Vec<_> = lms.fronts.iter().map(|front| format!("    server {front};")).collect();
    // Workers of another user could not write into the folder.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let config = template
        .replace("@FOLDER@", &folder.to_string_lossy())
        .replace("@USER@", user)
        .replace("@SERVERS@", &servers.join("\n"))
        .replace("@PORT@", &address.port().to_string())
        .replace("@KEPT@", &format!("{}s", scenario.edge.kept.as_secs()));
    let path = write(folder, "nginx.conf", &config)?;
    let (says, errors) = (folder.join("nginx.log"), folder.join("error.log"));
    let arguments = ["-e", &errors.to_string_lossy(), "-c", &path.to_string_lossy()];
    let mut process = Process::start(&nginx(), &arguments, MEASURED, &says).await?;
    until("nginx", PATIENCE, || match TcpStream::connect(address) {
        Ok(_) => Ok(Some(())),
        Err(_) if process.runs() => Ok(None),
        Err(_) => Err(format!("nginx ended: {}", std::fs::read_to_string(&says).unwrap_or_default())),
    })
    .await?;
    Ok(Server { which, process, address, control: None })
}

/// Debian puts it where an ordinary user's PATH does not look.
fn nginx() -> PathBuf {
    let here = Path::new("/usr/sbin/nginx");
    if here.exists() { here.into() } else { "nginx".into() }
}

/// nginx does not tell which port it got, so one is looked for beforehand.
fn free_port() -> Result<SocketAddr, String> {
    let socket = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    socket.map_err(|error| error.to_string())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::outcomes;

    #[test]
    fn outcomes_are_summed_over_sites_and_rules() {
        let metrics = "# TYPE lectern_requests_total counter\n\
            lectern_requests_total{outcome=\"hit\",rule=\"a\",site=\"t\"} 3\n\
            lectern_requests_total{outcome=\"hit\",rule=\"b\",site=\"t\"} 4\n\
            lectern_requests_total{outcome=\"pass\",rule=\"b\",site=\"t\"} 1\n\
            lectern_requests_refused_total{reason=\"hit\"} 9\n";
        let found: Vec<_> = outcomes(metrics).into_iter().collect();
        assert_eq!(found, [("hit".to_owned(), 7), ("pass".to_owned(), 1)]);
    }
}
