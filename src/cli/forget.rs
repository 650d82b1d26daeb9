//! `lectern forget`: whom the LMS let in is asked about anew; exit code 0 means that it is in force.

use super::{Exit, Streams, call::Node};
use crate::control::{ForgetAnswer, ForgetRequest};
use clap::Args;

#[derive(Args)]
pub(super) struct Forget {
    /// The site.
    #[arg(long, value_name = "NAME")]
    site: String,
    /// Only for this content id, as the rule makes it of the path.
    #[arg(long, value_name = "ID")]
    content: Option<String>,
    /// Only for the credentials with this digest, as the access log tells it.
    #[arg(long, value_name = "DIGEST")]
    learner: Option<String>,
    #[command(flatten)]
    node: Node,
}

impl Forget {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        let Forget { site, content, learner, node } = self;
        let request = ForgetRequest { site, content, learner };
        match node.post::<ForgetAnswer>("/v1/access/forget", &request, streams) {
            Ok(_) => {
                streams.say(format_args!("applied"));
                Exit::Done
            }
            Err(exit) => exit,
        }
    }
}
