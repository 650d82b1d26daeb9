//! What a configuration stores, for whom, and decided by what: a line for each rule, in the order in which they are asked.

use crate::{
    config::Config,
    rules::{Access, Asked, Match, Policy, Rule, Signed, Verdict},
    site::SiteSettings,
};
use http::Method;
use std::{fmt, sync::Arc, time::Duration};

/// The table, and before it a line for each rule that lifts `private`.
pub(super) struct Table<'a>(pub(super) &'a Config);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (names, site) in alike(&self.0.sites) {
            let lifting = site.rules.iter().filter(|rule| lifts(rule));
            for rule in lifting {
                writeln!(
                    f,
                    "PRIVATE: site {names}: rule {} stores what the origin marks private, {}, for {}",
                    rule.name,
                    paths(&rule.when),
                    for_whom(rule)
                )?;
            }
        }
        for (names, site) in alike(&self.0.sites) {
            let head = ["paths", "stored", "for whom", "decided by"].map(str::to_owned);
            let rules = site.rules.iter().map(|rule| row(rule));
            let rows: Vec<_> = std::iter::once(head).chain(rules).chain([all_else(&site.rules)]).collect();
            writeln!(f, "site {names}, from origin {}:", site.origin)?;
            write_rows(f, &rows)?;
        }
        Ok(())
    }
}

/// Sites with the same rules and origin stand together.
fn alike(sites: &[SiteSettings]) -> Vec<(String, &SiteSettings)> {
    let mut groups: Vec<(Vec<&str>, &SiteSettings)> = Vec::new();
    for site in sites {
        let same = |other: &SiteSettings| {
            other.origin == site.origin
                && other.rules.len() == site.rules.len()
                && other.rules.iter().zip(&site.rules).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        match groups.iter_mut().find(|(_, other)| same(other)) {
            Some((names, _)) => names.push(&site.name),
            None => groups.push((vec![&site.name], site)),
        }
    }
    groups.into_iter().map(|(names, site)| (names.join(", "), site)).collect()
}

fn lifts(rule: &Rule) -> bool {
    matches!(&rule.verdict, Verdict::Cache(policy) if policy.lift_private)
}

fn row(rule: &Rule) -> [String; 4] {
    let by = match &rule.access {
        Access::Open => String::new(),
        Access::Signed(signed) => format!("; {}", keys(signed)),
        Access::Asked(asked) => format!("; the LMS, {}", asked_words(asked)),
    };
    [paths(&rule.when), stored(rule), for_whom(rule), format!("rule {}{by}", rule.name)]
}

fn all_else(rules: &[Arc<Rule>]) -> [String; 4] {
    let paths = if rules.is_empty() { "all" } else { "all else" };
    [paths, "what says it is for everybody", "everybody", "the origin"].map(str::to_owned)
}

/// The paths of a rule, with what else it wants of a request. GET and HEAD are what is stored anyhow.
fn paths(when: &Match) -> String {
    let mut said = Vec::new();
    said.extend(when.path.clone());
    said.extend(when.prefix.as_ref().map(|prefix| format!("{prefix}…")));
    if !when.extensions.is_empty() {
        said.push(when.extensions.iter().map(|one| format!("*.{one}")).collect::<Vec<_>>().join(" "));
    }
    if said.is_empty() {
        said.push("all".to_owned());
    }
    let others: Vec<_> = when.methods.iter().filter(|m| **m != Method::GET && **m != Method::HEAD).collect();
    if !others.is_empty() {
        said.push(when.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(" "));
    }
    let with = |what: &str, name: &str, value: &Option<String>| match value {
        Some(value) => format!("with {what} {name}={value}"),
        None => format!("with {what} {name}"),
    };
    said.extend(when.query.iter().map(|(name, value)| with("parameter", name, value)));
    // A field's value may let somebody in.
    said.extend(when.fields.iter().map(|(name, _)| with("field", name.as_str(), &None)));
    said.extend(when.cookies.iter().map(|name| with("cookie", name, &None)));
    said.join(" ")
}

fn stored(rule: &Rule) -> String {
    match &rule.verdict {
        Verdict::Refuse(status) => format!("nothing: refused with {}", status.as_u16()),
        Verdict::Pass => "nothing: always the origin's".to_owned(),
        Verdict::Obey => "what says it is for everybody".to_owned(),
        Verdict::Cache(policy) => policy_words(policy),
    }
}

fn policy_words(policy: &Policy) -> String {
    let mut said = vec!["yes".to_owned()];
    if policy.lift_private {
        said.push("PRIVATE TOO".to_owned());
    }
    if policy.shared {
        said.push("whoever asks for it".to_owned());
    }
    let seconds = |span: Duration| format!("for {}s", span.as_secs());
    said.push(policy.lifetime.map_or("as long as the origin says".to_owned(), seconds));
    said.join(", ")
}

fn for_whom(rule: &Rule) -> String {
    match (&rule.access, &rule.verdict) {
        (_, Verdict::Refuse(_)) => "nobody".to_owned(),
        (Access::Open, Verdict::Pass) => "whom the origin lets in".to_owned(),
        (Access::Open, _) => "everybody".to_owned(),
        (Access::Signed(signed), _) => format!("who shows {}", signed.words()),
        (Access::Asked(_), _) => "those the LMS lets in".to_owned(),
    }
}

/// What the LMS is asked by, and how long its yes is kept.
fn asked_words(asked: &Asked) -> String {
    let Asked { cookies, authorization, content, keep, check, .. } = asked;
    let mut by: Vec<_> = cookies.iter().map(|name| format!("cookie {name}")).collect();
    if *authorization {
        by.push("Authorization".to_owned());
    }
    let at = check.as_ref().map_or_else(String::new, |check| format!(" at {check}"));
    let kept = match content {
        _ if keep.is_zero() => "at each request".to_owned(),
        Some(content) => format!("a yes kept {}s for {content}", keep.as_secs()),
        None => format!("a yes kept {}s for the URL", keep.as_secs()),
    };
    format!("asked by {}{at}, {kept}", by.join(" and "))
}

fn keys(signed: &Signed) -> String {
    let names: Vec<_> = signed.keys.iter().map(|key| key.name.as_str()).collect();
    format!("key {}", names.join(" or "))
}

/// Columns as wide as their widest cell, two spaces between; the last one ends where it ends.
fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[[String; 4]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for row in rows {
        let [paths, stored, whom, by] = row;
        let [first, second, third] = widths;
        writeln!(f, "  {paths:first$}  {stored:second$}  {whom:third$}  {by}")?;
    }
    Ok(())
}
