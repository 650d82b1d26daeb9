//! `lectern purge`: exit code 0 means that the purge is in force, and nothing else does.

use super::{Exit, Streams, call::Node};
use crate::control::{Counts, How, PurgeAnswer, PurgeRequest, SETTLE, What};
use clap::Args;

#[derive(Args)]
pub(super) struct Purge {
    /// Purge what is stored under this URL: every variant, and every query unless --exact.
    url: Option<String>,
    /// Only the URL's own query, or none if it has none.
    #[arg(long, requires = "url")]
    exact: bool,
    /// Purge what is stored under this URL's path and all paths below it.
    #[arg(long, value_name = "URL")]
    prefix: Option<String>,
    /// Purge what the origin gave this tag, for the site of --site.
    #[arg(long, value_name = "TAG", requires = "site")]
    tag: Option<String>,
    /// Purge what a rule says to be of this module, for the site of --site.
    #[arg(long, value_name = "NAME", requires = "site")]
    module: Option<String>,
    /// The site of a tag or module; without one of these, everything stored for this site and the sites that share with it.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Purge everything stored for the sites of this scope.
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Purge everything there is.
    #[arg(long)]
    all: bool,
    /// Make stale what is covered, not absent: it may serve while a new one is fetched, or while the origin fails.
    #[arg(long)]
    soft: bool,
    /// Seconds after it in which the origin may still send what is old: what comes in them is kept until their end only.
    #[arg(long, value_name = "SECONDS", default_value_t = SETTLE)]
    settle: u16,
    /// Purge nothing, and tell how many stored responses it would be.
    #[arg(long)]
    dry_run: bool,
    /// Why; kept in the ledger.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// A text made for this purge alone: asked again with it, no second record is written.
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    node: Node,
}

impl Purge {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        let Purge { soft, settle, dry_run, .. } = self;
        let how = How { soft, settle, dry_run, reason: self.reason.clone() };
        let Some(what) = self.what() else {
            let text = "name one of: a URL, --prefix, --tag, --module, --site, --scope, --all";
            return streams.fail(Exit::Usage, format_args!("{text}"));
        };
        let request = PurgeRequest { what, how };
        let fields: Vec<_> =
            self.idempotency_key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
        match self.node.post_with::<PurgeAnswer>("/v1/purges", &request, &fields, streams) {
            Ok(PurgeAnswer { dry_run: Some(counts), .. }) if dry_run => {
                let Counts { at_least, at_most } = counts;
                streams
                    .say(format_args!("not purged: at least {at_least} stored responses, at most {at_most}"));
                Exit::Done
            }
            Ok(answer) if answer.applied && answer.repeated => {
                let PurgeAnswer { number, ledger, .. } = answer;
                streams.say(format_args!("applied: number {number}, ledger {ledger}, asked before"));
                Exit::Done
            }
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

    /// What is to be purged; none if the command line says not, or says two things.
    fn what(&self) -> Option<What> {
        let Purge { url, exact, prefix, tag, module, site, scope, all, .. } = self;
        Some(match (url, prefix, tag, module, site, scope, all) {
            (Some(url), None, None, None, None, None, false) => What::Url { url: url.clone(), exact: *exact },
            (None, Some(url), None, None, None, None, false) => What::Prefix { url: url.clone() },
            (None, None, Some(tag), None, Some(site), None, false) => {
                What::Tag { tag: tag.clone(), site: site.clone() }
            }
            (None, None, None, Some(module), Some(site), None, false) => {
                What::Module { module: module.clone(), site: site.clone() }
            }
            (None, None, None, None, Some(site), None, false) => What::Site { site: site.clone() },
            (None, None, None, None, None, Some(scope), false) => What::Scope { scope: scope.clone() },
            (None, None, None, None, None, None, true) => What::All {},
            _ => return None,
        })
    }
}
