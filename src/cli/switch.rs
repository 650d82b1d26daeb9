//! `lectern switch`: a site, or the whole node, relays everything or spares its origin; exit code 0 means that it is in force.

use super::{Exit, Streams, call::Node};
use crate::{
    control::{SwitchAnswer, SwitchRequest},
    site::Mode,
};
use clap::{Args, ValueEnum};

#[derive(Args)]
pub(super) struct Switch {
    /// How requests are to go on.
    mode: To,
    /// Only this site; else all that have no switch of their own.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Why; it is recorded.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    node: Node,
}

#[derive(Clone, Copy, ValueEnum)]
enum To {
    /// As the rules say.
    Normal,
    /// To the origin, each of them; nothing is stored.
    Relay,
    /// Answered from what is stored, however stale; only what is absent is asked for.
    Spare,
}

impl From<To> for Mode {
    fn from(to: To) -> Mode {
        match to {
            To::Normal => Mode::Normal,
            To::Relay => Mode::Relay,
            To::Spare => Mode::Spare,
        }
    }
}

impl Switch {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        let Switch { mode, site, reason, node } = self;
        let of_node = site.is_none();
        let request = SwitchRequest { site, mode: mode.into(), reason };
        match node.post::<SwitchAnswer>("/v1/switches", &request, streams) {
            Ok(SwitchAnswer { switches, .. }) => {
                streams.say(format_args!("applied"));
                let own = switches.iter().filter(|switched| of_node && switched.site.is_some());
                for switched in own {
                    let site = switched.site.as_deref().unwrap_or_default();
                    streams.warn(format_args!("site {site} has a switch of its own: {}", switched.mode));
                }
                Exit::Done
            }
            Err(exit) => exit,
        }
    }
}
