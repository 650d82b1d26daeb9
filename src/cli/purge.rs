//! `lectern purge`: exit code 0 means that all that was named is purged and in force, and nothing else does.

use super::{Exit, Streams, call::Node};
use crate::{
    control::{BatchAnswer, Counts, How, ItemResult, PurgeAnswer, PurgeRequest, What},
    units::{Span, UnitError},
};
use clap::Args;
use std::{io::Read, path::PathBuf, time::Duration};

/// It says what always holds: the answer comes when all is in force.
const PURGES: &str = "/v1/purges?wait=applied";

#[derive(Args)]
pub(super) struct Purge {
    /// Purge what is stored under these URLs: every variant, and every query unless --exact.
    #[arg(value_name = "URL")]
    urls: Vec<String>,
    /// Purge the URLs of a file too, one a line; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only the URLs' own queries, or none if one has none.
    #[arg(long)]
    exact: bool,
    /// Purge what is stored under this URL's path and all paths below it. May be given several times.
    #[arg(long, value_name = "URL")]
    prefix: Vec<String>,
    /// Purge what the origin gave this tag, for the site of --site. May be given several times.
    #[arg(long, value_name = "TAG", requires = "site")]
    tag: Vec<String>,
    /// Purge what a rule says to be of this module, for the site of --site. May be given several times.
    #[arg(long, value_name = "NAME", requires = "site")]
    module: Vec<String>,
    /// The site of tags and modules; without one of these, everything stored for this site and the sites that share with it.
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
    /// Time after it in which the origin may still send what is old: what comes in it is kept until its end only.
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = settle)]
    settle: u16,
    /// Purge nothing, and tell how many stored responses it would be.
    #[arg(long)]
    dry_run: bool,
    /// Why; kept in the ledger.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// A text made for this call alone: asked again with it, no second record is written.
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    node: Node,
}

/// A whole number of seconds, as the ledger keeps them.
fn settle(text: &str) -> Result<u16, String> {
    let Span(span) = text.parse().map_err(|error: UnitError| error.to_string())?;
    let seconds = u16::try_from(span.as_secs()).ok();
    let whole = seconds.filter(|seconds| Duration::from_secs((*seconds).into()) == span);
    whole.ok_or_else(|| format!("it is a whole number of seconds, and {} of them at most", u16::MAX))
}

impl Purge {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        match self.wanted(streams).and_then(|wanted| self.ask(wanted, streams)) {
            Ok(answers) => told(&answers, streams),
            Err(exit) => exit,
        }
    }

    /// All that is to be purged.
    fn wanted(&self, streams: &mut Streams<'_>) -> Result<Vec<What>, Exit> {
        let urls = self.urls(streams)?;
        if urls.is_empty() && (self.exact || self.file.is_some()) {
            let text = if self.exact { "--exact is said of URLs" } else { "the file names no URL" };
            return Err(streams.fail(Exit::Usage, format_args!("{text}")));
        }
        self.what(urls).ok_or_else(|| {
            let text = "name URLs, --prefix, --tag, --module, or one of --site, --scope, --all";
            streams.fail(Exit::Usage, format_args!("{text}"))
        })
    }

    /// Those of the command line, then those of the file.
    fn urls(&self, streams: &mut Streams<'_>) -> Result<Vec<String>, Exit> {
        let mut urls = self.urls.clone();
        if let Some(file) = &self.file {
            let mut text = String::new();
            let read = match file.to_str() {
                Some("-") => std::io::stdin().read_to_string(&mut text).map(|_| text),
                _ => std::fs::read_to_string(file),
            };
            let text = read
                .map_err(|error| streams.fail(Exit::NoInput, format_args!("{}: {error}", file.display())))?;
            urls.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        Ok(urls)
    }

    /// What is to be purged; none if the command line says not, or says what cannot go together.
    fn what(&self, urls: Vec<String>) -> Option<Vec<What>> {
        let Purge { exact, prefix, tag, module, site, scope, all, .. } = self;
        let mut what: Vec<_> = urls.into_iter().map(|url| What::Url { url, exact: *exact }).collect();
        what.extend(prefix.iter().map(|url| What::Prefix { url: url.clone() }));
        if let Some(site) = site {
            what.extend(tag.iter().map(|tag| What::Tag { tag: tag.clone(), site: site.clone() }));
            what.extend(
                module.iter().map(|module| What::Module { module: module.clone(), site: site.clone() }),
            );
        }
        let of_site = !(tag.is_empty() && module.is_empty());
        match (site, scope, all) {
            (None, None, false) if !what.is_empty() => Some(what),
            (Some(_), None, false) if of_site => Some(what),
            (Some(site), None, false) if what.is_empty() => Some(vec![What::Site { site: site.clone() }]),
            (None, Some(scope), false) if what.is_empty() => Some(vec![What::Scope { scope: scope.clone() }]),
            (None, None, true) if what.is_empty() => Some(vec![What::All {}]),
            _ => None,
        }
    }

    /// Has it purged, in one call.
    fn ask(&self, wanted: Vec<What>, streams: &mut Streams<'_>) -> Result<Vec<PurgeAnswer>, Exit> {
        let Purge { soft, settle, dry_run, .. } = *self;
        let how = How { soft, settle, dry_run, reason: self.reason.clone() };
        let fields: Vec<_> =
            self.idempotency_key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
        let mut requests: Vec<_> =
            wanted.into_iter().map(|what| PurgeRequest { what, how: how.clone() }).collect();
        if requests.len() == 1
            && let Some(one) = requests.pop()
        {
            let answer = self.node.post_with::<PurgeAnswer>(PURGES, &one, &fields, streams)?;
            return Ok(vec![answer]);
        }
        let BatchAnswer { results, .. } = self.node.post_with(PURGES, &requests, &fields, streams)?;
        let asked = requests.len();
        let answers: Vec<_> = results.into_iter().filter_map(|ItemResult { purge, .. }| purge).collect();
        match answers.len() == asked {
            true => Ok(answers),
            false => {
                let text =
                    format_args!("{asked} purges were asked for, {} were answered; ask again", answers.len());
                Err(streams.fail(Exit::Temporary, text))
            }
        }
    }
}

/// Says what is in force; whether that is all.
fn told(answers: &[PurgeAnswer], streams: &mut Streams<'_>) -> Exit {
    let mut exit = Exit::Done;
    for PurgeAnswer { number, ledger, applied, repeated, dry_run, .. } in answers {
        if let Some(Counts { at_least, at_most }) = dry_run {
            streams.say(format_args!("not purged: at least {at_least} stored responses, at most {at_most}"));
            continue;
        }
        match (applied, repeated) {
            (true, true) => {
                streams.say(format_args!("applied: number {number}, ledger {ledger}, asked before"))
            }
            (true, false) => streams.say(format_args!("applied: number {number}, ledger {ledger}")),
            (false, _) => {
                let text = format_args!("number {number} is written and not yet in force; ask again");
                exit = streams.fail(Exit::Temporary, text);
            }
        }
    }
    exit
}
