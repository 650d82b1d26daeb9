//! The sample LMS as a program: `loadtest lms --listen 127.0.0.1:8080 --listen 127.0.0.1:8081`.

use std::io::{self, Write};
use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use loadtest::{Lms, Options};

/// What Lectern is run, tested and loaded with.
#[derive(Parser)]
#[command(name = "loadtest")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the sample LMS until Ctrl-C or SIGTERM.
    Lms {
        /// Where to listen; several times for several fronts. Port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: Vec<SocketAddr>,
        /// A host that has a tenant here; several times. Without any, every host is a tenant of its own.
        #[arg(long)]
        tenant: Vec<String>,
        /// Length of the film, for example 64MiB.
        #[arg(long, default_value = "64MiB", value_parser = size)]
        film: u64,
        /// Serve what is published now under any version in the path, as a real Moodle does.
        #[arg(long)]
        ignore_version: bool,
    },
}

/// Bytes, with KiB, MiB or GiB behind the number if wanted.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1u64 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("'{other}' is no unit; say KiB, MiB or GiB")),
    };
    let number: u64 = text[..digits].parse().map_err(|_| "a size begins with a number".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let Command::Lms { listen, tenant, film, ignore_version } = Arguments::parse().command;
    let options = Options { tenants: tenant, film, ignore_version, ..Options::default() };
    let lms = Lms::start_fronts(&listen, options).await?;
    for (number, address) in lms.addrs().iter().enumerate() {
        writeln!(
            io::stdout(),
            "sample LMS, front {number}: http://{address}/  control: http://{address}/_control/"
        )?;
    }
    io::stdout().flush()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        end = tokio::signal::ctrl_c() => end?,
        _ = terminate.recv() => {}
    }
    lms.stop().await;
    Ok(())
}
