//! `lectern explain`: what would become of a request, for whoever wonders at three in the morning.

use super::{Exit, Streams, call::Node};
use crate::{
    control::FIELD,
    response::{AnswerTold, CodedTold, Explanation, FieldTold, OriginTold, RangeTold, StoredTold},
};
use clap::Args;
use http::HeaderValue;
use std::fmt::{self, Display, Formatter};

#[derive(Args)]
pub(super) struct Explain {
    /// The whole URL as a learner's browser has it.
    url: String,
    /// A field of the request; once for each. `Host` takes the place of the URL's host.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    fields: Vec<String>,
    /// Method of the request.
    #[arg(short = 'X', long = "request", value_name = "METHOD", default_value = "GET")]
    method: String,
    /// The answer of the control API as it is (JSON).
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: Node,
}

impl Explain {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        let Explain { url, fields, method, json, node } = self;
        if let Some(field) = fields.iter().find(|field| HeaderValue::from_str(field).is_err()) {
            return streams.fail(Exit::Usage, format_args!("{field:?} is no field on one line"));
        }
        let fields: Vec<_> = fields.into_iter().map(|field| (FIELD.as_str(), field)).collect();
        let query = [("url", url.as_str()), ("method", method.as_str())];
        match node.get::<Explanation>("/v1/explain", &query, &fields, streams) {
            Ok(told) if json => {
                streams.say(format_args!("{:#}", serde_json::json!(told)));
                Exit::Done
            }
            Ok(told) => {
                streams.say(format_args!("{}", Report(&told)));
                Exit::Done
            }
            Err(exit) => exit,
        }
    }
}

/// An explanation to be read from top to bottom: what happens, by which rule, from what, and what the origin sees of it.
struct Report<'a>(&'a Explanation);

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let told = self.0;
        writeln!(f, "{} {}\n", told.method, told.url)?;
        answer(f, &told.answer)?;
        rules(f, told)?;
        if let Some(key) = &told.key {
            let query = key.query.as_ref().map_or("no query".to_owned(), |query| format!("query {query}"));
            let host = if key.host.is_empty() { "any host of the scope" } else { &key.host };
            writeln!(f, "key      scope {}, {}, {host}, {}, {query}", key.scope, key.scheme, key.path)?;
        }
        writeln!(f, "ledger   number {} of {}", told.ledger.number, told.ledger.ledger)?;
        if told.key.is_some() {
            match told.stored.len() {
                0 => writeln!(f, "stored   nothing under this key")?,
                1 => writeln!(f, "stored   one response")?,
                n => writeln!(f, "stored   {n} responses, youngest first")?,
            }
            told.stored.iter().try_for_each(|stored| self::stored(f, stored, &told.ledger.ledger))?;
        }
        match &told.origin {
            Some(sent) => origin(f, sent),
            None => write!(f, "origin   is sent nothing"),
        }
    }
}

fn answer(f: &mut Formatter<'_>, told: &AnswerTold) -> fmt::Result {
    write!(f, "outcome  {}", told.outcome)?;
    if let Some(status) = told.status {
        write!(f, ", status {status}")?;
    }
    if let Some(coding) = &told.coding {
        write!(f, ", coded {coding} by the edge")?;
    }
    for RangeTold { first, last } in &told.ranges {
        write!(f, ", bytes {first} to {last}")?;
    }
    writeln!(f, ": {}", told.why)?;
    for other in &told.otherwise {
        writeln!(f, "         or {} {}", other.outcome, other.when)?;
    }
    if told.pass_mark {
        writeln!(f, "         a pass mark stands: what came for this key last could not be shared")?;
    }
    Ok(())
}

fn rules(f: &mut Formatter<'_>, told: &Explanation) -> fmt::Result {
    let Some(site) = &told.site else { return writeln!(f, "site     none") };
    match site.scope == site.name {
        true => writeln!(f, "site     {}", site.name)?,
        false => writeln!(f, "site     {}, shares stored responses as scope {}", site.name, site.scope)?,
    }
    match (&told.rule, told.verdict.as_deref()) {
        (_, None) => writeln!(f, "rule     none was asked")?,
        (Some(rule), Some(verdict)) => {
            writeln!(f, "rule     {} of {}, {}: {verdict}", rule.place, site.rules, rule.name)?;
            rule.sets.iter().try_for_each(|set| writeln!(f, "         {set}"))?;
        }
        (None, Some(_)) if site.rules == 0 => {
            writeln!(f, "rule     the site has none: the origin is obeyed")?
        }
        (None, Some(_)) => writeln!(f, "rule     none of {} speaks: the origin is obeyed", site.rules)?,
    }
    let passed = &told.passed_over;
    passed.iter().try_for_each(|rule| writeln!(f, "         not {}, {}: {}", rule.place, rule.name, rule.why))
}

fn stored(f: &mut Formatter<'_>, told: &StoredTold, ledger: &str) -> fmt::Result {
    let selected = if told.selected { "selected: " } else { "" };
    let whole = match (told.whole, told.tier.as_str()) {
        (false, _) => ", not all of them here",
        (true, "disk") => ", on disk",
        (true, _) => ", in memory",
    };
    writeln!(f, "       - {selected}{}, {} bytes{whole}", told.status, told.length)?;
    let ttl = match told.ttl {
        0.. => format!("{} s left", told.ttl),
        _ => format!("over by {} s", -told.ttl),
    };
    let word = match told.freshness.as_str() {
        "validate" => "to be validated at each use",
        word => word,
    };
    write!(f, "         {word}: age {} s, lifetime {} s, {ttl}", told.age, told.lifetime)?;
    for (name, window) in
        [("stale-while-revalidate", told.stale_while_revalidate), ("stale-if-error", told.stale_if_error)]
    {
        if window > 0 {
            write!(f, ", {name} {window} s")?;
        }
    }
    writeln!(f)?;
    match &told.validator {
        Some(FieldTold { name, value }) => writeln!(f, "         validator {name}: {value}")?,
        None => writeln!(f, "         no validator: it is fetched anew")?,
    }
    let other = if told.born.ledger == ledger { "" } else { " of another ledger" };
    write!(f, "         born at number {}{other}: ", told.born.number)?;
    match told.outdated {
        true => writeln!(f, "outdated by {}", told.outdated_by.join(", "))?,
        false if told.outdated_by.is_empty() => writeln!(f, "not outdated")?,
        false => writeln!(f, "made stale by {}", told.outdated_by.join(", "))?,
    }
    for CodedTold { coding, effort, length } in &told.coded {
        writeln!(f, "         coded {coding} ({effort}): {length} bytes")?;
    }
    for FieldTold { name, value } in &told.selecting {
        writeln!(f, "         selected by {name}: {value}")?;
    }
    told.fields.iter().try_for_each(|field| writeln!(f, "         | {}: {}", field.name, field.value))
}

fn origin(f: &mut Formatter<'_>, told: &OriginTold) -> fmt::Result {
    let by = match told.by.as_str() {
        "joined" => "was sent by the fill under way (what another client said is left out)",
        "refresh" => "is sent by a fill that nobody waits for",
        "part" => "is asked for the bytes that are missing",
        "check" => "is asked whether this learner may have it",
        "relay" => "is sent by a relay, for this client alone",
        _ => "is sent by a fill, for all who want it",
    };
    writeln!(f, "origin   {} ({}) {by}", told.name, told.servers.join(", "))?;
    if told.conditional {
        writeln!(f, "         on the condition that what is stored has changed, else 304")?;
    }
    write!(f, "         > {} {}", told.method, told.target)?;
    told.fields.iter().try_for_each(|field| write!(f, "\n         > {}: {}", field.name, field.value))
}
