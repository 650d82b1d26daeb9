//! `lectern reload`: the same as SIGHUP, with the answer in hand.

use super::{Exit, Streams, call::Node};
use crate::control::ReloadSummary;
use clap::Args;

#[derive(Args)]
pub(super) struct Reload {
    #[command(flatten)]
    node: Node,
}

impl Reload {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        match self.node.post::<ReloadSummary>("/v1/reload", &serde_json::json!({}), streams) {
            Ok(summary) => {
                streams.say(format_args!("applied: {} sites, {} rules", summary.sites, summary.rules));
                for setting in &summary.restart_needed {
                    streams.say(format_args!("needs a restart: {setting}"));
                }
                Exit::Done
            }
            Err(exit) => exit,
        }
    }
}
