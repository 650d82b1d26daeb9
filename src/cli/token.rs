//! `lectern token`: makes a token, shows it once, keeps nothing.

use super::{Exit, Streams};
use crate::control::{NewToken, Roles};
use clap::Args;

#[derive(Args)]
pub(super) struct Token {
    /// Who will use it; stands in the ledger as `who`.
    name: String,
    /// What it may do, parted by commas: read (ledger, explain), purge (everything), release (purge modules), operate (reload, forget).
    #[arg(long, value_parser = roles)]
    roles: Roles,
}

fn roles(names: &str) -> Result<Roles, &'static str> {
    Roles::named(names).ok_or("name one or several of read,purge,release,operate, parted by commas")
}

impl Token {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        match NewToken::new(&self.name, self.roles) {
            Ok(NewToken { token, line }) => {
                streams.say(format_args!("token, shown once: {token}"));
                streams.say(format_args!("append to the token file, then reload: {line}"));
                Exit::Done
            }
            Err(error) => streams.fail(Exit::Usage, format_args!("{error}")),
        }
    }
}
