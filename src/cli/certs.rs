//! `lectern certs DIR NAME…`: certificates for a machine of one's own.

use super::{Exit, Streams};
use crate::listener::write_development_pair;
use std::path::PathBuf;

/// What is asked of `lectern certs`.
#[derive(clap::Args, Debug)]
pub(super) struct Certs {
    /// Directory to write to (the `certificates` of a listener).
    pub dir: PathBuf,
    /// Hosts, wildcards or addresses the certificate is for.
    #[arg(required = true)]
    pub names: Vec<String>,
}

impl Certs {
    /// Writes the pair and says what to trust.
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> Exit {
        match write_development_pair(&self.dir, &self.names) {
            Ok(pair) => {
                let (certificate, key) = (pair.certificate.display(), pair.key.display());
                streams.say(format_args!("certificate {certificate}, key {key}"));
                streams.say(format_args!("let the browser trust {}", pair.authority.display()));
                Exit::Done
            }
            Err(error) => {
                let dir = self.dir.display();
                streams.fail(Exit::CantCreate, format_args!("no certificates were written to {dir}: {error}"))
            }
        }
    }
}
