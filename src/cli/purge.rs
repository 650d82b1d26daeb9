//! `lectern purge`: exit code 0 means that the purge is in force, and nothing else does.

use super::{Exit, Streams, call::Node};
use crate::control::{PurgeAnswer, PurgeRequest};
use clap::Args;

#[derive(Args)]
pub(super) struct Purge {
    /// Purge what is stored under this URL: every variant, and every query unless --exact.
    #[arg(required_unless_present = "site", conflicts_with = "site")]
    url: Option<String>,
    /// Only the URL's own query, or none if it has none.
    #[arg(long, requires = "url")]
    exact: bool,
    /// Purge everything stored for this site and the sites that share with it.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Why; kept in the ledger.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    node: Node,
}

impl Purge {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        let Purge { url, exact, site, reason, node } = self;
        let request = match (url, site) {
            (Some(url), _) => PurgeRequest::Url { url, exact, reason },
            (None, Some(site)) => PurgeRequest::Site { site, reason },
            (None, None) => return streams.fail(Exit::Usage, format_args!("name a URL or a --site")),
        };
        match node.post::<PurgeAnswer>("/v1/purges", &request, streams) {
            Ok(answer) if answer.applied => {
                streams.say(format_args!("applied: number {}, ledger {}", answer.number, answer.ledger));
                Exit::Done
            }
            Ok(answer) => streams.fail(
                Exit::Temporary,
                format_args!("number {} is written and not yet in force; ask again", answer.number),
            ),
            Err(exit) => exit,
        }
    }
}
