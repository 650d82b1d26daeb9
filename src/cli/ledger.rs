//! `lectern ledger`: what was purged, by whom and why. The chain is computed here, from what node or folder hand out, so that neither
//! has to be trusted.

use super::{Exit, Streams, call::Node};
use crate::{
    config,
    control::LedgerPage,
    ledger::{AT_ONCE, Entry, Fact, Identity, LedgerError, Purge, Record, Verifier, read_offline},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

/// What a script decides by; stands at the end of the help.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done, and of verify: each record is the one that was acknowledged; 64 wrong \
    command line; 65 a record was altered, is missing or unknown; 66 there is no ledger, no configuration or no token file there; \
    69 nobody answers; 74 the file system failed; 75 not now: a node uses the folder, or the answer was lost; 77 the token is \
    missing or not accepted; 78 the configuration has errors.";

#[derive(Args)]
pub(super) struct Ledger {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Tell the records, the last of them first.
    #[command(after_help = EXIT_CODES)]
    Log {
        #[command(flatten)]
        source: Source,
        /// So many at most.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compute the chain from the first record to the last.
    #[command(after_help = EXIT_CODES)]
    Verify {
        #[command(flatten)]
        source: Source,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tell all records in their order, as CSV.
    #[command(after_help = EXIT_CODES)]
    Export {
        #[command(flatten)]
        source: Source,
        /// As JSON, an object a line.
        #[arg(long)]
        json: bool,
    },
}

/// Where the records are.
#[derive(Args)]
struct Source {
    /// Read the ledger in this folder, which no node uses.
    #[arg(long, value_name = "PATH")]
    folder: Option<PathBuf>,
    /// Read the ledger that this configuration names, which no node uses.
    #[arg(long, value_name = "FILE", conflicts_with = "folder")]
    config: Option<PathBuf>,
    #[command(flatten)]
    node: Node,
}

/// A record with what the chain says of it.
struct Told {
    number: u64,
    digest: String,
    record: Record,
}

/// What was read and verified.
struct Verified {
    ledger: Identity,
    last: Option<String>,
    records: u64,
}

impl Ledger {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        match self.action {
            Action::Log { source, limit, json } => log(&source, limit, json, streams),
            Action::Verify { source, json } => verify(&source, json, streams),
            Action::Export { source, json } => export(&source, json, streams),
        }
    }
}

fn log(source: &Source, limit: usize, json: bool, streams: &mut Streams<'_>) -> Exit {
    let mut last = std::collections::VecDeque::new();
    let read = source.read(streams, &mut |told, _| {
        last.push_back(told);
        if last.len() > limit {
            last.pop_front();
        }
    });
    if let Err(exit) = read {
        return exit;
    }
    if json {
        let records: Vec<Value> = last.iter().rev().map(as_json).collect();
        streams.say(format_args!("{:#}", json!({ "records": records })));
        return Exit::Done;
    }
    let head = ["number", "when", "what", "how", "sites", "who", "why"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(last.iter().rev().map(row)).collect();
    for row in &rows {
        let widths =
            (0..row.len()).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        streams.say(format_args!("{}", cells.join("  ").trim_end()));
    }
    Exit::Done
}

fn verify(source: &Source, json: bool, streams: &mut Streams<'_>) -> Exit {
    let Verified { ledger, last, records } = match source.read(streams, &mut |_, _| {}) {
        Ok(verified) => verified,
        Err(exit) => return exit,
    };
    if json {
        let told =
            json!({ "ledger": ledger.to_string(), "records": records, "digest": last, "verified": true });
        streams.say(format_args!("{told:#}"));
    } else {
        let last = last.map(|digest| format!(", the last with digest {digest}")).unwrap_or_default();
        streams.say(format_args!("fine: ledger {ledger}, {records} records{last}"));
    }
    Exit::Done
}

fn export(source: &Source, json: bool, streams: &mut Streams<'_>) -> Exit {
    if !json {
        streams.say(format_args!("number,kind,what,sites,how,who,why,when,from,digest"));
    }
    let read = source.read(streams, &mut |told, streams| match json {
        true => streams.say(format_args!("{}", as_json(&told))),
        false => {
            let Told { number, digest, record } = &told;
            let about = &record.about;
            let (number, sites, when) = (number.to_string(), about.sites.join(" "), time(about.when));
            let fields = [
                &number,
                record.kind(),
                &what(record),
                &sites,
                how(record),
                &about.who,
                &about.why,
                &when,
                &about.from,
                digest,
            ];
            streams.say(format_args!("{}", fields.map(quoted).join(",")));
        }
    });
    read.err().unwrap_or(Exit::Done)
}

impl Source {
    /// Hands on all records in their order, each followed in the chain.
    fn read(
        &self,
        streams: &mut Streams<'_>,
        each: &mut dyn FnMut(Told, &mut Streams<'_>),
    ) -> Result<Verified, Exit> {
        let folder = match (&self.folder, &self.config) {
            (Some(folder), _) => Some(folder.clone()),
            (None, Some(config)) => Some(configured(config, streams)?),
            (None, None) => None,
        };
        match folder {
            Some(folder) => offline(&folder, streams, each),
            None => self.of_node(streams, each),
        }
    }

    fn of_node(
        &self,
        streams: &mut Streams<'_>,
        each: &mut dyn FnMut(Told, &mut Streams<'_>),
    ) -> Result<Verified, Exit> {
        let (mut chain, mut wanted): (Option<Chain>, u64) = (None, 0);
        loop {
            let from = chain.as_ref().map_or(1, |chain| chain.verifier.number() + 1);
            let (from, limit) = (from.to_string(), AT_ONCE.to_string());
            let query = [("from", from.as_str()), ("limit", limit.as_str())];
            let page: LedgerPage = self.node.get("/v1/ledger", &query, &[], streams)?;
            let identity: Identity = page.ledger.parse().map_err(|_| {
                streams.fail(
                    Exit::Data,
                    format_args!("the node names its ledger {:?}: no identity", page.ledger),
                )
            })?;
            let chain = chain.get_or_insert_with(|| Chain::new(identity));
            // What is acknowledged while it is read is read too, or left for the next time; what was there must come.
            wanted = wanted.max(if wanted == 0 { page.last } else { 0 });
            let end = page.records.is_empty();
            for told in page.records {
                let digest = Entry::digest_of(&told.digest).unwrap_or_default();
                let entry = Entry { number: told.number, digest, text: told.record };
                let told = chain.follow(identity, entry).map_err(|why| broken(&why, streams))?;
                each(told, streams);
            }
            if end || chain.verifier.number() >= wanted {
                if chain.verifier.number() < wanted {
                    let (found, expected) = (chain.verifier.number(), wanted);
                    return Err(broken(&LedgerError::Short { found, expected }, streams));
                }
                return Ok(chain.end());
            }
        }
    }
}

/// The ledger's folder by a configuration.
fn configured(path: &std::path::Path, streams: &mut Streams<'_>) -> Result<PathBuf, Exit> {
    let config = config::load(path).map_err(|report| {
        let exit = if report.unreadable { Exit::NoInput } else { Exit::Config };
        streams.fail(exit, format_args!("{report}"))
    })?;
    Ok(config.ledger.folder)
}

fn offline(
    folder: &std::path::Path,
    streams: &mut Streams<'_>,
    each: &mut dyn FnMut(Told, &mut Streams<'_>),
) -> Result<Verified, Exit> {
    if !folder.join("records").is_dir() {
        return Err(streams.fail(Exit::NoInput, format_args!("{} is no ledger's folder", folder.display())));
    }
    let mut chain: Option<Chain> = None;
    let identity = read_offline(folder, |identity, entry| {
        let chain = chain.get_or_insert_with(|| Chain::new(identity));
        each(chain.follow(identity, entry)?, streams);
        Ok(())
    });
    let identity = identity.map_err(|why| broken(&why, streams))?;
    Ok(chain.unwrap_or_else(|| Chain::new(identity)).end())
}

/// The chain as far as it was followed.
struct Chain {
    identity: Identity,
    verifier: Verifier,
    last: Option<String>,
}

impl Chain {
    fn new(identity: Identity) -> Chain {
        Chain { identity, verifier: Verifier::new(identity), last: None }
    }

    fn follow(&mut self, identity: Identity, entry: Entry) -> Result<Told, LedgerError> {
        if identity != self.identity {
            return Err(LedgerError::Broken(entry.number, crate::ledger::Flaw::Altered));
        }
        let broken = |(number, flaw)| LedgerError::Broken(number, flaw);
        let record = self.verifier.follow(&entry).map_err(broken)?;
        let digest = entry.digest_text();
        self.last = Some(digest.clone());
        Ok(Told { number: entry.number, digest, record })
    }

    fn end(&self) -> Verified {
        Verified { ledger: self.identity, last: self.last.clone(), records: self.verifier.number() }
    }
}

fn broken(why: &LedgerError, streams: &mut Streams<'_>) -> Exit {
    let exit = match why {
        LedgerError::Held(_) => Exit::Temporary,
        LedgerError::Io(..) | LedgerError::Store(_) => Exit::Output,
        LedgerError::Replaced(_) => Exit::NoInput,
        _ => Exit::Data,
    };
    streams.fail(exit, format_args!("{why}"))
}

/// What a record names, in one text.
fn what(record: &Record) -> String {
    match &record.fact {
        Fact::Purge(Purge::Url { path, query: None }) => path.clone(),
        Fact::Purge(Purge::Url { path, query: Some(query) }) => format!("{path}?{query}"),
        Fact::Purge(Purge::Prefix { path }) => format!("{path}/"),
        Fact::Purge(Purge::Tag { tag }) => tag.clone(),
        Fact::Purge(Purge::Module { module }) => module.clone(),
        Fact::Purge(Purge::Site {} | Purge::Scope {} | Purge::All {}) => String::new(),
        Fact::Release(step) => {
            let (module, release) = step.of();
            format!("{module} {release}")
        }
    }
}

fn how(record: &Record) -> &'static str {
    match &record.fact {
        Fact::Release(_) => "",
        Fact::Purge(_) if record.about.soft => "soft",
        Fact::Purge(_) => "hard",
    }
}

fn time(millis: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    time.map_or_else(|| millis.to_string(), httpdate::fmt_http_date)
}

fn row(told: &Told) -> [String; 7] {
    let Record { about, .. } = &told.record;
    let kind = told.record.kind().trim_start_matches("purge-");
    [
        told.number.to_string(),
        time(about.when),
        one_line(&format!("{kind} {}", what(&told.record))),
        how(&told.record).to_owned(),
        one_line(&about.sites.join(" ")),
        one_line(&about.who),
        one_line(&about.why),
    ]
}

/// What somebody else wrote must not draw lines of its own on a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn as_json(told: &Told) -> Value {
    json!({ "number": told.number, "digest": told.digest, "record": told.record })
}

/// A field of CSV (RFC 4180). What a spreadsheet would take for a formula is told as a text.
fn quoted(field: &str) -> String {
    let formula = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{formula}{}\"", field.replace('"', "\"\"")),
        false => format!("{formula}{field}"),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_field_of_csv_stays_one_field_and_no_formula() {
        for (field, told) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("@a,b", "\"'@a,b\""),
        ] {
            assert_eq!(quoted(field), told);
        }
    }
}
