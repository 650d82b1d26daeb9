//! The sample LMS and the load test as one program: `loadtest lms --listen 127.0.0.1:8080 --listen 127.0.0.1:8081`,
//! `loadtest load --lectern target/fast/lectern`.

mod load;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use load::units::{size, time};
use loadtest::{Capacity, Lms, Options};

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
    Lms(Serve),
    /// Plays learners against Lectern, nginx and no cache, before a sample LMS that can bear so much.
    Load(load::Load),
}

#[derive(clap::Args)]
struct Serve {
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
    /// Workers of each front; without it everything is answered at once.
    #[arg(long)]
    workers: Option<usize>,
    /// How long a page keeps a worker.
    #[arg(long, default_value = "0ms", value_parser = time)]
    page: Duration,
    /// How long a file keeps a worker.
    #[arg(long, default_value = "0ms", value_parser = time)]
    file: Duration,
    /// How long an answer without a body keeps a worker.
    #[arg(long, default_value = "0ms", value_parser = time)]
    check: Duration,
    /// How long a tracking commit keeps a worker.
    #[arg(long, default_value = "0ms", value_parser = time)]
    commit: Duration,
    /// Checks of a learner's access that come sooner after the one before are counted.
    #[arg(long, default_value = "0ms", value_parser = time)]
    kept: Duration,
}

impl Serve {
    async fn run(self) -> io::Result<()> {
        let Serve { listen, tenant, film, ignore_version, workers, page, file, check, commit, kept } = self;
        let capacity = workers.map(|workers| Capacity { workers, page, file, check, commit });
        let options = Options { tenants: tenant, film, ignore_version, capacity, kept };
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
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Lms(serve) => {
            let runtime = tokio::runtime::Runtime::new().and_then(|runtime| runtime.block_on(serve.run()));
            runtime.map(|()| true).map_err(|error| error.to_string())
        }
        Command::Load(load) => load.run(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // There is nobody else to tell.
            drop(writeln!(io::stderr(), "loadtest: {error}"));
            ExitCode::from(70)
        }
    }
}
