//! `[site.rule.asked]`: how the LMS is asked who may have what is stored, and whether that makes sense.

use super::reader::{Place, Placed, Section};
use crate::rules::{Asked, Match, Pattern, Policy, Template, ValidatorRule};
use http::header;
use std::{ops::RangeInclusive, time::Duration};

/// A yes that is kept for longer is no answer of the LMS any more.
const KEEP: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const UNREACHABLE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);

/// Reads the table of what the LMS is asked.
pub(super) fn asked(table: Section<'_>, when: &Match) -> Asked {
    let cookies: Vec<_> = table
        .texts("cookies")
        .into_iter()
        .filter_map(|text| {
            let fine = !text.value.is_empty() && !text.value.contains([';', '=', ' ']);
            if !fine {
                table.reader.error(
                    &text.place,
                    format!("`{}` is no cookie", text.value),
                    "write its name only",
                );
            }
            fine.then(|| text.value.to_owned())
        })
        .collect();
    let authorization = table.flag("authorization").unwrap_or(false);
    if cookies.is_empty() && !authorization {
        table.missing("cookies", "the cookies that say who a learner is, as in [\"MoodleSession\"]");
    }
    let pattern = when.path.as_deref().and_then(|path| Pattern::parse(path).ok());
    let template = |text: Placed<&str>| {
        let Some(pattern) = &pattern else {
            let right = "write path = \"…\" with `{name}` in it, in place of prefix or extension";
            table.reader.error(&text.place, "the rule has no path to capture from", right);
            return None;
        };
        Template::parse(text.value, pattern)
            .inspect_err(|why| {
                table.reader.error(&text.place, format!("`{}` cannot be filled in", text.value), why)
            })
            .ok()
    };
    let asked = Asked {
        content: table.text("content").and_then(|text| {
            let content = template(text.clone())?;
            if content.is_fixed() {
                let wrong = "one yes would do for all paths of the rule";
                table.reader.error(
                    &text.place,
                    wrong,
                    "capture what a learner is admitted to, as in \"{course}\"",
                );
            }
            Some(content)
        }),
        check: table.text("check").and_then(|text| {
            if !text.value.starts_with('/') || text.value.contains(|c: char| !c.is_ascii_graphic()) {
                let right =
                    "write the path the LMS answers with 2xx or not, as in \"/may-have?course={course}\"";
                table.reader.error(&text.place, format!("`{}` is no path", text.value), right);
            }
            template(text)
        }),
        keep: table.span("keep", KEEP).unwrap_or(Duration::from_secs(60)),
        unreachable: table.span("unreachable", UNREACHABLE).filter(|span| !span.is_zero()),
        timeout: table.span("timeout", TIMEOUT).unwrap_or(Duration::from_secs(10)),
        cookies,
        authorization,
    };
    if let Some(window) = asked.unreachable.filter(|window| *window < asked.keep) {
        let place = table.value("unreachable").map_or_else(|| table.place.clone(), |value| value.place);
        let wrong = format!("a yes is kept for longer than {}s anyhow", window.as_secs());
        table.reader.error(&place, wrong, "write a time longer than keep, or drop it");
    }
    table.finish();
    asked
}

/// What is allowed key by key, and would give what the LMS guards to others, or to nobody.
pub(super) fn makes_sense(section: &Section<'_>, when: &Match, asked: &Asked, policy: &Policy) {
    let place =
        |key| -> Place { section.value(key).map_or_else(|| section.place.clone(), |value| value.place) };
    let anywhere = when.path.as_deref().is_none_or(|path| path == "/**")
        && when.prefix.as_deref().is_none_or(|prefix| prefix == "/");
    if anywhere {
        let wrong = "the LMS would be asked about every path of the site";
        section.reader.error(&place("access"), wrong, "say by path or prefix what the LMS is asked about");
    }
    if policy.shared {
        let wrong = "what the LMS is asked about is not the same for everybody";
        section.reader.error(&place("shared"), wrong, "drop it, or drop access = \"asked\"");
    }
    if let Some(name) =
        policy.forward.iter().find(|name| **name == header::COOKIE || **name == header::AUTHORIZATION)
    {
        let wrong = format!("{name} goes along as far as [asked] names it");
        section.reader.error(&place("forward"), wrong, "drop it from forward");
    }
    let names_content = matches!(policy.validator, ValidatorRule::Auto | ValidatorRule::Content);
    if !names_content && asked.check.is_none() {
        let wrong = "the LMS is asked by the validator of the content, and the rule trusts none";
        section.reader.error(&place("validator"), wrong, "drop it, or set check in [asked]");
    }
}
