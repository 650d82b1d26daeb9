//! `version` of a rule: where URL and answer name the version of a module.

use super::reader::{Placed, Section};
use crate::rules::{Match, Pattern, QueryRule, UrlVersion, VersionRule, normalise};
use http::HeaderName;

/// Reads it.
pub(super) fn version(section: &Section<'_>, when: &Match, kept: &QueryRule) -> Option<VersionRule> {
    let table = section.table("version")?;
    let place = table.place.clone();
    let path = table.text("path").and_then(|text| captured(&table, &text, when));
    let query = table.text("query").and_then(|text| parameter(&table, &text, kept));
    let field = table.text("field").and_then(|text| {
        let field = HeaderName::try_from(text.value).ok();
        if field.is_none() {
            let right = "write the name of a field of the origin's answers, as in \"X-Version\"";
            table.reader.error(&text.place, format!("`{}` is no field", text.value), right);
        }
        field
    });
    let says = ["path", "query", "field"].iter().any(|key| table.value(key).is_some());
    if !says {
        let right = "write path = \"NAME\" or query = \"NAME\", field = \"NAME\", or both";
        table.reader.error(&place, "this says not where a version is named", right);
    }
    if table.value("path").is_some() && table.value("query").is_some() {
        table.reader.error(&place, "a URL names its version at one place", "drop path or query");
    }
    table.finish();
    let url = path.map(|(pattern, name)| UrlVersion::Path { pattern, name }).or(query.map(UrlVersion::Query));
    Some(VersionRule { url, field })
}

fn captured(table: &Section<'_>, text: &Placed<&str>, when: &Match) -> Option<(Pattern, Box<str>)> {
    let pattern = when.path.as_deref().and_then(|path| Pattern::parse(path).ok());
    match pattern {
        Some(pattern) if pattern.has(text.value) => Some((pattern, text.value.into())),
        _ => {
            let wrong = format!("the rule's path has no `{{{}}}`", text.value);
            table.reader.error(&text.place, wrong, "write it there in place of a `*`, and its name here");
            None
        }
    }
}

fn parameter(table: &Section<'_>, text: &Placed<&str>, kept: &QueryRule) -> Option<Box<str>> {
    let is_name = !text.value.is_empty() && !text.value.contains(['&', '=', '#']);
    if !is_name {
        let wrong = format!("`{}` is no name of a parameter", text.value);
        table.reader.error(&text.place, wrong, "write the name alone, as in \"v\"");
    }
    if is_name && normalise::query(kept, Some(&format!("{}=1", text.value))).is_none() {
        let right = "keep the parameter in keep_query";
        table.reader.error(&text.place, format!("keep_query drops `{}`", text.value), right);
    }
    is_name.then(|| text.value.into())
}
