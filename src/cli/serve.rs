//! `lectern serve`: the node in the foreground.

use super::{Exit, Streams};
use crate::{config, node, telemetry};
use std::path::PathBuf;

/// What is asked of `lectern serve`.
#[derive(clap::Args, Debug)]
pub(super) struct Serve {
    /// The configuration.
    #[arg(long, default_value = "/etc/lectern/lectern.toml")]
    pub config: PathBuf,
    /// Take the place of the node that runs with the same ledger, which loses no request and ends when it has finished what
    /// it has under way. If it cannot be done the running node goes on.
    #[arg(long)]
    pub upgrade: bool,
}

impl Serve {
    /// Runs the node. Comes back only if it could not start; a stop ends the process.
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        let config = match config::load(&self.config) {
            Ok(config) => config,
            Err(report) => {
                let exit = if report.unreadable { Exit::NoInput } else { Exit::Config };
                return streams.fail(exit, format_args!("{report}"));
            }
        };
        telemetry::init_log(config.node.error_log, config.node.error_log_format);
        match node::run(self.config, config, self.upgrade) {
            Ok(()) => Exit::Done,
            Err(error) => streams.fail(Exit::Unavailable, format_args!("the node cannot start: {error:#}")),
        }
    }
}
