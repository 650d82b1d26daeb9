//! `lectern token`: makes a token, shows it once, keeps nothing.

use super::{Exit, Streams};
use crate::control::NewToken;
use clap::Args;

#[derive(Args)]
pub(super) struct Token {
    /// Who will use it; stands in the ledger as `who`.
    name: String,
}

impl Token {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        match NewToken::new(&self.name) {
            Ok(NewToken { token, line }) => {
                streams.say(format_args!("token, shown once: {token}"));
                streams.say(format_args!("append to the token file, then reload: {line}"));
                Exit::Done
            }
            Err(error) => streams.fail(Exit::Usage, format_args!("{error}")),
        }
    }
}
