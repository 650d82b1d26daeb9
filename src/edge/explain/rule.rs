//! What an explanation says of the rules: which one speaks, what it sets, and why those before it do not speak.

use crate::{
    response::{Account, Explanation, PassedOver, RuleTold, SiteTold, is_secret},
    rules::{
        Access, Asked, Facts, Policy, QueryRule, Rule, ValidatorRule, Verdict, WhyNot, normalise, why_not,
    },
};
use http::{HeaderName, Request, StatusCode};
use std::time::Duration;

/// Site, rule, and why the rules before it do not speak; as far as the request got.
pub(super) fn tell(told: &mut Explanation, request: &Request<()>, account: &Account) {
    let Some((site, matched)) = &account.matched else { return };
    let rules = site.rules.rules();
    told.site =
        Some(SiteTold { name: site.name.to_string(), scope: site.scope.to_string(), rules: rules.len() });
    // A path that is refused is shown to no rule.
    let Ok(path) = normalise::target(request.uri().path()) else { return };
    let facts = Facts {
        method: request.method(),
        path: &path,
        query: request.uri().query(),
        headers: request.headers(),
    };
    let rule = matched.and_then(|at| Some((at, rules.get(at)?)));
    told.verdict = Some(verdict(rule.map_or(&Verdict::Obey, |(_, rule)| &rule.verdict)).to_owned());
    told.rule = rule.map(|(at, rule)| RuleTold { name: rule.name.clone(), place: at + 1, sets: sets(rule) });
    let before = rules.iter().enumerate().take(matched.unwrap_or(rules.len()));
    told.passed_over = before
        .filter_map(|(at, rule)| {
            let why = why_not(rule, &facts)?;
            let (name, condition) = (rule.name.clone(), why.condition().to_owned());
            Some(PassedOver { name, place: at + 1, condition, why: reason(&why) })
        })
        .collect();
}

/// Why a rule does not speak, without a value that lets somebody in.
fn reason(why: &WhyNot) -> String {
    match why {
        WhyNot::Field(name, Some(_)) if name.parse().is_ok_and(|name| is_secret(&name)) => {
            format!("no field {name} has the value that the rule asks for")
        }
        why => why.to_string(),
    }
}

fn verdict(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Refuse(_) => "refuse",
        Verdict::Pass => "pass",
        Verdict::Cache(_) => "cache",
        Verdict::Obey => "obey",
    }
}

/// What a rule sets, in the words of the configuration.
fn sets(rule: &Rule) -> Vec<String> {
    let mut sets = Vec::new();
    let mut set = |name: &str, value: String| sets.push(format!("{name} = {value}"));
    match &rule.verdict {
        Verdict::Refuse(status) => set("status", status.as_str().to_owned()),
        Verdict::Cache(policy) => of_policy(policy, &mut set),
        Verdict::Pass | Verdict::Obey => {}
    }
    if let Some(limit) = rule.body_limit {
        set("body_limit", limit.to_string());
    }
    if rule.hide_path {
        set("hide_path", "true".to_owned());
    }
    if let Some(class) = rule.class {
        set("class", class.as_str().to_owned());
    }
    if let Some(mount) = &rule.mount {
        set("mount", format!("{} of {} (origin {})", mount.path, mount.host, mount.origin));
    }
    match &rule.access {
        Access::Open => {}
        Access::Signed(signed) => set("access", format!("signed, {}", signed.words())),
        Access::Asked(asked) => of_asked(asked, &mut set),
    }
    sets
}

fn of_policy(policy: &Policy, set: &mut impl FnMut(&str, String)) {
    let Policy {
        lifetime,
        browser_lifetime,
        query,
        statuses,
        negative_lifetime,
        stale_while_revalidate,
        stale_if_error,
        forward,
        shared,
        lift_private,
        validator,
        request_directives,
        module,
        version,
    } = policy;
    let spans: [(&str, &Option<Duration>); 5] = [
        ("lifetime", lifetime),
        ("browser_lifetime", browser_lifetime),
        ("negative_lifetime", negative_lifetime),
        ("stale_while_revalidate", stale_while_revalidate),
        ("stale_if_error", stale_if_error),
    ];
    for (name, span) in spans {
        if let Some(span) = span {
            set(name, format!("{}s", span.as_secs()));
        }
    }
    if !statuses.is_empty() {
        set("statuses", statuses.iter().map(StatusCode::as_str).collect::<Vec<_>>().join(", "));
    }
    match query {
        QueryRule::Keep => {}
        QueryRule::Drop => set("keep_query", "false".to_owned()),
        QueryRule::Only(names) => set("keep_query", format!("only {}", names.join(", "))),
        QueryRule::Without(names) => set("keep_query", format!("without {}", names.join(", "))),
    }
    if !forward.is_empty() {
        set("forward", forward.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", "));
    }
    if *shared {
        set("shared", "true".to_owned());
    }
    if *lift_private {
        set("lift_private", "true".to_owned());
    }
    if *request_directives {
        set("request_directives", "true".to_owned());
    }
    if let Some(module) = module {
        set("module", module.to_string());
    }
    if let Some(version) = version {
        set("version", version.to_string());
    }
    if *validator != ValidatorRule::default() {
        set("validator", format!("{validator:?}").to_lowercase());
    }
}

fn of_asked(asked: &Asked, set: &mut impl FnMut(&str, String)) {
    let Asked { cookies, authorization, content, keep, unreachable, timeout, check } = asked;
    set("access", "asked".to_owned());
    let mut told = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            set(&format!("asked.{name}"), value);
        }
    };
    told("cookies", (!cookies.is_empty()).then(|| cookies.join(", ")));
    told("authorization", authorization.then(|| "true".to_owned()));
    told("content", content.as_ref().map(ToString::to_string));
    told("keep", Some(format!("{}s", keep.as_secs())));
    told("unreachable", unreachable.map(|span| format!("{}s", span.as_secs())));
    told("timeout", Some(format!("{}s", timeout.as_secs())));
    told("check", check.as_ref().map(ToString::to_string));
}
