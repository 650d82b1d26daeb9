//! `lectern warm`: exit code 0 means that all of it is stored, whole and fresh.

use super::{Exit, Streams, call::Node, progress::Progress};
use crate::{
    control::{LONGEST_LIST, WarmCounts, WarmLine, WarmRequest},
    response::{WarmResult, Warmed},
};
use clap::Args;
use serde::Serialize;
use std::{fs, io, num::NonZeroU32, path::PathBuf};

#[derive(Args)]
pub(super) struct Warm {
    /// Whole URLs as a learner's browser has them.
    #[arg(required_unless_present = "list")]
    urls: Vec<String>,
    /// File with more of them, one a line; `-` is the standard input.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Requests at once.
    #[arg(long, value_name = "NUMBER", default_value = "4")]
    at_once: NonZeroU32,
    /// Requests begun in a second.
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    per_second: NonZeroU32,
    /// The lines of the control API as they are (JSON).
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: Node,
}

impl Warm {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        let mut urls = self.urls;
        if let Some(file) = &self.list {
            match listed(file) {
                Ok(more) => urls.extend(more),
                Err(error) => {
                    return streams.fail(Exit::NoInput, format_args!("{}: {error}", file.display()));
                }
            }
        }
        let mut outcome = Outcome::new(urls.len(), self.json);
        for urls in urls.chunks(LONGEST_LIST) {
            let request =
                WarmRequest { urls: urls.to_vec(), at_once: self.at_once, per_second: self.per_second };
            if let Err(exit) = follow(&self.node, "/v1/warm", &request, &mut outcome, streams) {
                return exit;
            }
        }
        outcome.summary(streams)
    }
}

/// What became of a warm-up so far.
pub(super) struct Outcome {
    all: WarmCounts,
    bar: Progress,
    json: bool,
}

impl Outcome {
    /// Nothing of so many.
    pub(super) fn new(many: usize, json: bool) -> Outcome {
        Outcome { all: WarmCounts::default(), bar: Progress::of_many("warm-up", many), json }
    }

    /// Tells what became of all.
    pub(super) fn summary(self, streams: &mut Streams<'_>) -> Exit {
        let Outcome { all, bar, json } = self;
        drop(bar);
        summary(&all, json, streams)
    }
}

/// Has what a request names warmed, and follows how each of it ends.
pub(super) fn follow(
    node: &Node,
    path: &str,
    request: &impl Serialize,
    outcome: &mut Outcome,
    streams: &mut Streams<'_>,
) -> Result<(), Exit> {
    let mut ended = false;
    node.post_for_lines(path, request, streams, |line, streams| {
        if outcome.json {
            streams.say(format_args!("{line}"));
        }
        match serde_json::from_str(line) {
            Ok(WarmLine::Url { url, warmed }) => {
                outcome.all.count(&warmed);
                outcome.bar.one_more();
                if !outcome.json && !is_stored(warmed.result) {
                    streams.say(format_args!("{}", told(&url, &warmed)));
                }
                Ok(())
            }
            Ok(WarmLine::Done { .. }) => {
                ended = true;
                Ok(())
            }
            Err(error) => {
                let text = format_args!("a line of the answer cannot be read ({error})");
                Err(streams.fail(Exit::Unavailable, text))
            }
        }
    })?;
    match ended {
        true => Ok(()),
        false => {
            let text = "the node broke off before the end; ask again: what is stored is not fetched twice";
            Err(streams.fail(Exit::Temporary, format_args!("{text}")))
        }
    }
}

fn listed(file: &PathBuf) -> io::Result<Vec<String>> {
    let text =
        if file.as_os_str() == "-" { io::read_to_string(io::stdin())? } else { fs::read_to_string(file)? };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

fn is_stored(result: WarmResult) -> bool {
    matches!(result, WarmResult::Fresh | WarmResult::Warmed)
}

/// Why a URL is not stored, on one line.
fn told(url: &str, warmed: &Warmed) -> String {
    let word = match warmed.result {
        WarmResult::Fresh | WarmResult::Warmed => "stored",
        WarmResult::NotStored => "not stored",
        WarmResult::Refused => "refused",
        WarmResult::Failed => "failed",
    };
    let status = warmed.status.map(|status| format!("status {status}"));
    let why: Vec<_> = status.into_iter().chain(warmed.why.clone()).collect();
    format!("{word}: {url} ({})", why.join(", "))
}

fn summary(all: &WarmCounts, json: bool, streams: &mut Streams<'_>) -> Exit {
    let WarmCounts { fresh, warmed, not_stored, refused, failed, settling } = *all;
    if !json {
        streams.say(format_args!("stored: {} ({fresh} were fresh already)", fresh + warmed));
    }
    if settling > 0 {
        streams.warn(format_args!(
            "{settling} of them only until a purge before it has settled: warm up again then, or purge with --settle 0s"
        ));
    }
    match (failed, not_stored + refused) {
        (0, 0) => Exit::Done,
        (0, left) => {
            streams.fail(Exit::Data, format_args!("{left} cannot be stored: asking again will not help"))
        }
        (failed, left) => streams.fail(
            Exit::Temporary,
            format_args!("{failed} could not be fetched, {left} cannot be stored; ask again"),
        ),
    }
}
