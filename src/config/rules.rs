//! `[[site.rule]]` and `[[rule_set.rule]]`: one rule, and whether it makes sense.

use super::{
    access, asked, mount,
    reader::{Place, Placed, Section},
    version,
};
use crate::{
    response::fields,
    rules::{
        Class, Match, Pattern, Policy, QueryRule, Rule, Template, ValidatorRule, Verdict, is_extension,
        spelling,
    },
    site::NO_RULE,
};
use http::{HeaderName, Method, StatusCode, header};
use std::{ops::RangeInclusive, sync::Arc, time::Duration};
use toml::de::DeValue;

/// Bounds of lifetimes: RFC 9111 §1.2.2 has no use for more than 2^31 seconds, an operator none for more than ten years.
const LIFETIME: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10 * 365 * 86_400);
/// Bounds of a request body's length.
pub(super) const BODY: RangeInclusive<u64> = 0..=1 << 44;

/// Keys that only a rule with `verdict = "cache"` has.
const POLICY_KEYS: [&str; 14] = [
    "lifetime",
    "browser_lifetime",
    "negative_lifetime",
    "keep_query",
    "statuses",
    "stale_while_revalidate",
    "stale_if_error",
    "forward",
    "shared",
    "lift_private",
    "validator",
    "request_directives",
    "module",
    "version",
];

#[derive(Clone, Copy, PartialEq)]
enum Says {
    Cache,
    Pass,
    Refuse,
    Obey,
}

/// Reads a rule; in a rule set its name is `SET/NAME`. `origins` are the names of those there are.
pub(super) fn rule(section: Section<'_>, set: Option<&str>, origins: &[String]) -> Option<Arc<Rule>> {
    let name = name(&section);
    let when = conditions(&section);
    let words =
        [("cache", Says::Cache), ("pass", Says::Pass), ("refuse", Says::Refuse), ("obey", Says::Obey)];
    let says = section.choice("verdict", &words);
    if says.is_none() && section.value("verdict").is_none() {
        section.missing("verdict", "\"cache\", \"pass\", \"refuse\" or \"obey\"");
    }
    let policy = policy(&section, &when);
    if says.is_some_and(|says| says != Says::Cache) {
        for Placed { place, .. } in POLICY_KEYS.iter().filter_map(|key| section.value(key)) {
            section.reader.error(
                &place,
                "only rules that cache have it",
                "drop it, or set verdict = \"cache\"",
            );
        }
    }
    let refuse = refuse_status(&section, says);
    if says == Some(Says::Cache) {
        makes_sense(&section, &when, &policy);
    }
    let access = access::access(&section, &when);
    access::makes_sense(&section, &when, &access, &policy);
    if says == Some(Says::Refuse) && !access.is_open() {
        let place = section.value("access").map_or_else(|| section.place.clone(), |value| value.place);
        section.reader.error(&place, "the rule lets nobody in", "drop it");
    }
    let mount = mount::mount(&section, &when, (&policy, &access), origins);
    if let Some(asked) = access.asked() {
        let place = |key| section.value(key).map_or_else(|| section.place.clone(), |value| value.place);
        if says.is_some_and(|says| says != Says::Cache) {
            section.reader.error(
                &place("access"),
                "only rules that cache ask the LMS",
                "drop it, or set verdict = \"cache\"",
            );
        }
        if mount.is_some() {
            let wrong = "the LMS is asked by its own answer for the path, and a storage answers here";
            section.reader.error(&place("mount"), wrong, "set access = \"signed\", or drop the mount");
        }
        asked::makes_sense(&section, &when, asked, &policy);
    }
    let rule = Rule {
        name: match (set, &name) {
            (Some(set), Some(name)) => format!("{set}/{name}"),
            (_, name) => name.clone().unwrap_or_default(),
        },
        when,
        verdict: match says? {
            Says::Cache => Verdict::Cache(Arc::new(policy)),
            Says::Pass => Verdict::Pass,
            Says::Refuse => Verdict::Refuse(refuse),
            Says::Obey => Verdict::Obey,
        },
        body_limit: section.size("body_limit", BODY),
        hide_path: section.flag("hide_path").unwrap_or(false),
        access,
        mount,
        class: section.choice("class", &Class::ALL.map(|class| (class.as_str(), class))),
    };
    section.finish();
    name.map(|_| Arc::new(rule))
}

fn name(section: &Section<'_>) -> Option<String> {
    let name = section.required("name", "a name for log and metrics")?;
    if name.value == NO_RULE || name.value.is_empty() || name.value.contains('/') {
        let wrong = format!("`{}` cannot be a rule's name", name.value);
        section.reader.error(&name.place, wrong, "write a name without `/`; `none` is taken");
        return None;
    }
    Some(name.value.to_owned())
}

fn conditions(section: &Section<'_>) -> Match {
    let path = section.text("path").map(|text| {
        if let Err(why) = Pattern::parse(text.value) {
            section.reader.error(&text.place, format!("`{}` is no path pattern", text.value), why);
        }
        text.value.to_owned()
    });
    let prefix = section.text("prefix").map(|text| {
        if let Err(why) = spelling(text.value) {
            section.reader.error(&text.place, format!("`{}` is no prefix", text.value), why);
        } else if text.value.contains(['*', '{', '}']) {
            let right = format!("write path = \"{}\"", text.value);
            section.reader.error(&text.place, "a prefix has no wildcards", right);
        }
        text.value.to_owned()
    });
    let pair = |text: &Placed<&str>, by: char| match text.value.split_once(by) {
        Some((name, value)) => (name.trim().to_owned(), Some(value.trim().to_owned())),
        None => (text.value.trim().to_owned(), None),
    };
    let each = |key| section.texts(key).into_iter();
    Match {
        path,
        prefix,
        extensions: each("extension")
            .filter_map(|text| {
                let right =
                    "write letters and digits in lower case, without the dot, as in [\"css\", \"js\"]";
                checked(section, &text, is_extension(text.value), "extension", right)
                    .then(|| text.value.to_owned())
            })
            .collect(),
        methods: each("method")
            .filter_map(|text| {
                let method = Method::from_bytes(text.value.as_bytes()).ok();
                let upper = !text.value.contains(|c: char| c.is_ascii_lowercase());
                checked(
                    section,
                    &text,
                    method.is_some() && upper,
                    "method",
                    "write it in upper case, as in \"POST\"",
                );
                method
            })
            .collect(),
        query: each("query").map(|text| pair(&text, '=')).collect(),
        fields: each("field")
            .filter_map(|text| {
                let (name, value) = pair(&text, ':');
                let name = HeaderName::try_from(&name).ok();
                checked(section, &text, name.is_some(), "field", "write \"NAME\" or \"NAME: VALUE\"");
                name.map(|name| (name, value))
            })
            .collect(),
        cookies: each("cookie")
            .filter_map(|text| {
                let fine = !text.value.is_empty() && !text.value.contains([';', '=', ' ']);
                checked(section, &text, fine, "cookie", "write its name only").then(|| text.value.to_owned())
            })
            .collect(),
    }
}

fn checked(section: &Section<'_>, text: &Placed<&str>, fine: bool, what: &str, right: &str) -> bool {
    if !fine {
        section.reader.error(&text.place, format!("`{}` is no {what}", text.value), right);
    }
    fine
}

fn policy(section: &Section<'_>, when: &Match) -> Policy {
    let query = keep_query(section);
    let version = version::version(section, when, &query);
    Policy {
        lifetime: section.span("lifetime", LIFETIME),
        browser_lifetime: section.span("browser_lifetime", LIFETIME),
        negative_lifetime: section.span("negative_lifetime", LIFETIME),
        query,
        statuses: statuses(section),
        stale_while_revalidate: section.span("stale_while_revalidate", LIFETIME),
        stale_if_error: section.span("stale_if_error", LIFETIME),
        forward: section
            .texts("forward")
            .into_iter()
            .filter_map(|text| {
                let name = HeaderName::try_from(text.value).ok();
                let right = "write the name of a field that the client sends, as in \"X-Course-Language\"";
                let fine = name.as_ref().is_some_and(|name| !is_ours(name));
                checked(section, &text, fine, "field that can be forwarded", right);
                name
            })
            .collect(),
        shared: section.flag("shared").unwrap_or(false),
        lift_private: section.flag("lift_private").unwrap_or(false),
        validator: section
            .choice(
                "validator",
                &[
                    ("auto", ValidatorRule::Auto),
                    ("content", ValidatorRule::Content),
                    ("time", ValidatorRule::Time),
                    ("none", ValidatorRule::None),
                ],
            )
            .unwrap_or_default(),
        request_directives: section.flag("request_directives").unwrap_or(false),
        module: section.text("module").and_then(|text| module(section, &text, when)),
        version,
    }
}

/// What names the module of a path: made of what the rule's path captures.
fn module(section: &Section<'_>, text: &Placed<&str>, when: &Match) -> Option<Template> {
    let Some(pattern) = when.path.as_deref().and_then(|path| Pattern::parse(path).ok()) else {
        if when.path.is_none() {
            let right = "write path = \"…\" with `{name}` in it, in place of prefix or extension";
            section.reader.error(&text.place, "the rule has no path to capture from", right);
        }
        return None;
    };
    Template::parse(text.value, &pattern)
        .inspect_err(|why| {
            section.reader.error(&text.place, format!("`{}` cannot be filled in", text.value), why)
        })
        .ok()
}

/// Fields that the edge itself sets or drops in a fill.
fn is_ours(name: &HeaderName) -> bool {
    const OURS: [&str; 20] = [
        "host",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "expect",
        "range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "if-range",
        "via",
        "forwarded",
        "cache-control",
        "pragma",
        "traceparent",
    ];
    let text = name.as_str();
    OURS.contains(&text)
        || text.starts_with("proxy-")
        || text.starts_with("x-forwarded-")
        || fields::overrides(name)
}

fn keep_query(section: &Section<'_>) -> QueryRule {
    let Some(Placed { value, place }) = section.value("keep_query") else { return QueryRule::Keep };
    let right = "write true, false, { only = [\"v\"] } or { without = [\"utm_source\"] }";
    match value {
        DeValue::Boolean(true) => QueryRule::Keep,
        DeValue::Boolean(false) => QueryRule::Drop,
        DeValue::Table(_) => {
            let Some(table) = section.table("keep_query") else { return QueryRule::Keep };
            let names = |key| -> Option<Vec<String>> {
                table.value(key).map(|_| table.texts(key).iter().map(|text| text.value.to_owned()).collect())
            };
            let rule = match (names("only"), names("without")) {
                (Some(names), None) => QueryRule::Only(names),
                (None, Some(names)) => QueryRule::Without(names),
                _ => {
                    section.reader.error(&place, "this says not which parameters are kept", right);
                    QueryRule::Keep
                }
            };
            table.finish();
            rule
        }
        _ => {
            section.reader.error(&place, "this says not which parameters are kept", right);
            QueryRule::Keep
        }
    }
}

fn statuses(section: &Section<'_>) -> Vec<StatusCode> {
    let Some(Placed { value, place }) = section.value("statuses") else { return Vec::new() };
    let right =
        "write a list of final statuses, as in [200, 404]; 206 and 304 are never stored by themselves";
    let DeValue::Array(list) = value else {
        section.reader.error(&place, "this is no list", right);
        return Vec::new();
    };
    let mut statuses = Vec::new();
    for value in list.iter() {
        let status = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        match status.filter(|status| (200..=599).contains(status) && ![206, 304].contains(status)) {
            Some(status) => statuses.extend(StatusCode::from_u16(status).ok()),
            None => {
                let place = section.reader.place(value.span().start, &place.key);
                section.reader.error(&place, "this is no status that can be stored", right);
            }
        }
    }
    statuses
}

fn refuse_status(section: &Section<'_>, says: Option<Says>) -> StatusCode {
    let default = StatusCode::FORBIDDEN;
    let Some(place) = section.value("status").map(|value| value.place) else { return default };
    if says.is_some_and(|says| says != Says::Refuse) {
        let right = "drop it; statuses of a rule that caches stand in `statuses`";
        section.reader.error(&place, "only rules that refuse have it", right);
    }
    section
        .count("status", 400..=599u16)
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(default)
}

/// What is allowed key by key, but cannot be meant.
fn makes_sense(section: &Section<'_>, when: &Match, policy: &Policy) {
    let place =
        |key| -> Place { section.value(key).map_or_else(|| section.place.clone(), |value| value.place) };
    if when.methods.iter().any(|method| *method != Method::GET && *method != Method::HEAD) {
        let right = "drop the method, or write a rule of its own with verdict = \"pass\" before this one";
        section.reader.error(&place("method"), "only answers to GET and HEAD are ever stored", right);
    }
    let credentials = [header::COOKIE, header::AUTHORIZATION];
    let forwarded = policy.forward.iter().find(|name| credentials.contains(name));
    if let Some(name) = forwarded {
        if policy.shared {
            let wrong = format!("what one learner's {name} brings would be given to everybody");
            section.reader.error(&place("forward"), wrong, "drop it from forward, or drop shared = true");
        } else {
            let wrong = format!(
                "answers to requests with {name} are stored only where the origin says `public` or `s-maxage`"
            );
            section.reader.warning(
                &place("forward"),
                wrong,
                "without it in forward the origin is asked as nobody",
            );
        }
    }
    let asked = when.fields.iter().any(|(name, _)| credentials.contains(name));
    if policy.shared && (asked || !when.cookies.is_empty()) {
        let key = if asked { "field" } else { "cookie" };
        let wrong = "the rule speaks for logged-in learners only, and shares what they get with everybody";
        section.reader.error(&place(key), wrong, "drop the condition, or drop shared = true");
    }
    let anywhere = when.path.as_deref().is_none_or(|path| path == "/**")
        && when.prefix.as_deref().is_none_or(|prefix| prefix == "/")
        && when.extensions.is_empty();
    if policy.shared && anywhere {
        let wrong = "every page of the site is shared with everybody, also those of one learner";
        section.reader.warning(
            &place("shared"),
            wrong,
            "say by path, prefix or extension what is the same for all",
        );
    }
    if !policy.statuses.is_empty() && policy.lifetime.is_none() {
        let wrong = "statuses say what `lifetime` speaks for, and there is none";
        section.reader.error(&place("statuses"), wrong, "set lifetime, or drop statuses");
    }
}
