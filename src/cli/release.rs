//! `lectern release` and `lectern module`: exit code 0 means that the step is in force.

use super::{
    Exit, Streams,
    call::Node,
    warm::{Outcome, follow},
};
use crate::control::{ModuleTold, ReleaseTold, StageRequest, StepAnswer, StepRequest, WarmReleaseRequest};
use clap::{Args, Subcommand};
use std::{fs, io, num::NonZeroU32, path::PathBuf};

#[derive(Args)]
pub(super) struct Release {
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    /// Write down what belongs to a release. Learners notice nothing.
    #[command(after_help = super::call::EXIT_CODES)]
    Stage(Stage),
    /// Fetch and prove what of it is not stored; ends when all of it is.
    #[command(after_help = super::call::EXIT_CODES)]
    Warm(Warm),
    /// Give it to learners; ends when every request that arrives gets it.
    #[command(after_help = super::call::EXIT_CODES)]
    Activate(Activate),
    /// Give learners the release that was active before; nothing is asked of the origin for it.
    #[command(after_help = super::call::EXIT_CODES)]
    Rollback(One),
    /// Give up what is staged.
    #[command(after_help = super::call::EXIT_CODES)]
    Abort(One),
    /// Show which release learners get, who activated it, and how much of each is stored.
    #[command(after_help = super::call::EXIT_CODES)]
    Show(Show),
}

/// Which module, of which site.
#[derive(Args)]
struct Of {
    /// The module, as the rule makes it of the path.
    module: String,
    /// The site, with those that share with it.
    #[arg(long, value_name = "NAME")]
    site: String,
    #[command(flatten)]
    node: Node,
}

impl Of {
    fn path(&self, step: &str) -> String {
        let module: String = self.module.bytes().map(segment).collect();
        format!("/v1/modules/{module}{step}")
    }
}

#[derive(Args)]
struct Stage {
    #[command(flatten)]
    of: Of,
    /// The release, as URLs name its version.
    release: String,
    /// Whole URL that the paths of the list are relative to.
    #[arg(long, value_name = "URL")]
    base: String,
    /// The list of its files: JSON, one path a line, or what sha256sum or sha1sum print; `-` is the standard input.
    #[arg(long, value_name = "FILE")]
    list: PathBuf,
    /// What is not listed may belong to the module all the same: it stays outside the release.
    #[arg(long)]
    open: bool,
    /// Why; kept in the ledger.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Args)]
struct Warm {
    #[command(flatten)]
    of: Of,
    /// The release.
    release: String,
    /// Requests at once.
    #[arg(long, value_name = "NUMBER", default_value = "4")]
    at_once: NonZeroU32,
    /// Requests begun in a second.
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    per_second: NonZeroU32,
    /// The lines of the control API as they are (JSON).
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Activate {
    #[command(flatten)]
    one: One,
    /// Though not all of it is stored.
    #[arg(long)]
    cold: bool,
}

#[derive(Args)]
struct One {
    #[command(flatten)]
    of: Of,
    /// The release.
    release: String,
    /// Why; kept in the ledger.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// `lectern module`, and `lectern release show`.
#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    of: Of,
    /// The answer of the control API as it is (JSON).
    #[arg(long)]
    json: bool,
}

impl Release {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        match self.step {
            Step::Stage(stage) => stage.run(streams),
            Step::Warm(warm) => warm.run(streams),
            Step::Activate(Activate { one, cold }) => one.run("/activate", cold, streams),
            Step::Rollback(one) => one.run("/roll-back", false, streams),
            Step::Abort(one) => one.run("/abort", false, streams),
            Step::Show(show) => show.run(streams),
        }
    }
}

impl Stage {
    fn run(self, streams: &mut Streams<'_>) -> Exit {
        let list = match self.list.to_str() {
            Some("-") => io::read_to_string(io::stdin()),
            _ => fs::read_to_string(&self.list),
        };
        let list = match list {
            Ok(list) => list,
            Err(error) => {
                return streams.fail(Exit::NoInput, format_args!("{}: {error}", self.list.display()));
            }
        };
        let Stage { of, release, base, open, reason, .. } = self;
        let request = StageRequest { site: of.site.clone(), release, base, list, open, reason };
        told(of.node.post(&of.path("/stage"), &request, streams), streams)
    }
}

impl Warm {
    fn run(self, streams: &mut Streams<'_>) -> Exit {
        let Warm { of, release, at_once, per_second, json } = self;
        let files = match of.node.get::<ModuleTold>(&of.path(""), &[("site", &of.site)], &[], streams) {
            Ok(module) => files_of(&module, &release),
            Err(exit) => return exit,
        };
        let request = WarmReleaseRequest { site: of.site.clone(), release, at_once, per_second };
        let mut outcome = Outcome::new(files, json);
        match follow(&of.node, &of.path("/warm"), &request, &mut outcome, streams) {
            Ok(()) => outcome.summary(streams),
            Err(exit) => exit,
        }
    }
}

/// Files of a release; 0: the node will say that it has none of this name.
fn files_of(module: &ModuleTold, release: &str) -> usize {
    let all = [&module.staged, &module.active, &module.previous];
    all.into_iter().flatten().find(|told| told.release == release).map_or(0, |told| told.files)
}

impl One {
    fn run(self, step: &str, cold: bool, streams: &mut Streams<'_>) -> Exit {
        let One { of, release, reason } = self;
        let request = StepRequest { site: of.site.clone(), release, cold, reason };
        told(of.node.post(&of.path(step), &request, streams), streams)
    }
}

/// Says what is in force.
fn told(answer: Result<StepAnswer, Exit>, streams: &mut Streams<'_>) -> Exit {
    let StepAnswer { ledger, number, repeated, release } = match answer {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    let before = if repeated { ", done before" } else { "" };
    streams.say(format_args!("applied: number {number}, ledger {ledger}{before}"));
    if let Some(ReleaseTold { release, files, stored, .. }) = release {
        streams.say(format_args!("{release}: {stored} of {files} files are stored"));
    }
    Exit::Done
}

impl Show {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        let Show { of, json } = self;
        let module = match of.node.get::<ModuleTold>(&of.path(""), &[("site", &of.site)], &[], streams) {
            Ok(module) => module,
            Err(exit) => return exit,
        };
        if json {
            streams.say(format_args!("{}", serde_json::json!(module)));
            return Exit::Done;
        }
        for (word, release) in
            [("active", &module.active), ("staged", &module.staged), ("previous", &module.previous)]
        {
            let Some(told) = release else { continue };
            let ReleaseTold { release, files, stored, number, who, .. } = told;
            let text = format!(
                "{word}: {release} ({stored} of {files} files stored; staged by {who}, number {number})"
            );
            streams.say(format_args!("{text}"));
            if let Some(by) = module.activated.as_ref().filter(|_| word == "active") {
                let why = if by.why.is_empty() { String::new() } else { format!(": {}", by.why) };
                streams.say(format_args!("        activated by {}, number {}{why}", by.who, by.number));
            }
        }
        Exit::Done
    }
}

/// A byte of a segment of a path.
fn segment(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}
