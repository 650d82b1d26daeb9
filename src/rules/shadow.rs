//! Rules that never speak, because an earlier one catches all that they would.

use super::{Match, Pattern, Rule};
use std::sync::Arc;

/// A rule's conditions with its pattern read.
struct Conditions<'a> {
    when: &'a Match,
    pattern: Option<Pattern>,
}

/// Pairs of places: a rule that never speaks, and the earlier one that catches all of its requests. Not every such rule is
/// found, but none is named that may speak.
pub fn shadowed(rules: &[Arc<Rule>]) -> Vec<(usize, usize)> {
    let read = |rule: &Arc<Rule>| rule.when.path.as_deref().and_then(|text| Pattern::parse(text).ok());
    let patterns: Vec<_> = rules.iter().map(read).collect();
    let all: Vec<_> =
        rules.iter().zip(patterns).map(|(rule, pattern)| Conditions { when: &rule.when, pattern }).collect();
    (0..all.len())
        .filter_map(|later| {
            let earlier = (0..later).find(|earlier| catches_all(&all[*earlier], &all[later]))?;
            Some((later, earlier))
        })
        .collect()
}

/// Whether each condition of `early` follows from those of `late`.
fn catches_all(early: &Conditions<'_>, late: &Conditions<'_>) -> bool {
    let path = match (&early.pattern, &late.pattern, &late.when.prefix) {
        (None, _, _) => early.when.path.is_none(),
        (Some(ours), Some(theirs), _) => ours.covers(theirs),
        (Some(ours), None, Some(prefix)) if prefix.ends_with('/') => {
            Pattern::parse(&format!("{prefix}**")).is_ok_and(|theirs| ours.covers(&theirs))
        }
        _ => false,
    };
    let prefix = early.when.prefix.as_ref().is_none_or(|ours| {
        let by_prefix = late.when.prefix.as_ref().is_some_and(|theirs| theirs.starts_with(ours));
        by_prefix || late.pattern.as_ref().is_some_and(|theirs| theirs.begins_with().starts_with(ours))
    });
    path && prefix
        && one_of(&early.when.extensions, &late.when.extensions)
        && one_of(&early.when.methods, &late.when.methods)
        && all_of(&early.when.query, &late.when.query)
        && all_of(&early.when.fields, &late.when.fields)
        && all_of(&early.when.cookies, &late.when.cookies)
}

/// A list of which one must hold: no narrower than the other.
fn one_of<T: PartialEq>(early: &[T], late: &[T]) -> bool {
    early.is_empty() || (!late.is_empty() && late.iter().all(|item| early.contains(item)))
}

/// A list of which all must hold: the other asks as much.
fn all_of<T: PartialEq>(early: &[T], late: &[T]) -> bool {
    early.iter().all(|item| late.contains(item))
}

#[cfg(test)]
mod tests {
    use super::shadowed;
    use crate::rules::{Access, Match, Rule, Verdict};
    use http::Method;
    use std::sync::Arc;

    #[test]
    fn only_a_rule_that_can_never_speak_is_named() {
        let path = |text: &str| Match { path: Some(text.into()), ..Match::default() };
        let prefix = |text: &str| Match { prefix: Some(text.into()), ..Match::default() };
        let get = |when: Match| Match { methods: vec![Method::GET], ..when };
        let js = |when: Match| Match { extensions: vec!["js".into()], ..when };
        let cookie = |when: Match| Match { cookies: vec!["a".into()], ..when };
        for (early, late, named) in [
            (Match::default(), path("/a"), true),
            (path("/a/**"), path("/a/{x}/b"), true),
            (path("/a/**"), prefix("/a/b/"), true),
            (path("/a/**"), prefix("/a/b"), false),
            (prefix("/a/"), path("/a/b/**"), true),
            (prefix("/a/"), path("/{x}/b"), false),
            (prefix("/a"), prefix("/ab"), true),
            (prefix("/ab"), prefix("/a"), false),
            (js(Match::default()), js(prefix("/a")), true),
            (js(Match::default()), prefix("/a"), false),
            (js(prefix("/a")), prefix("/a"), false),
            (get(prefix("/a")), prefix("/a"), false),
            (prefix("/a"), get(prefix("/a")), true),
            (cookie(Match::default()), cookie(path("/a")), true),
            (cookie(Match::default()), path("/a"), false),
        ] {
            let rules: Vec<_> = [&early, &late]
                .map(|when| {
                    Arc::new(Rule {
                        name: String::new(),
                        when: when.clone(),
                        verdict: Verdict::Pass,
                        body_limit: None,
                        hide_path: false,
                        access: Access::Open,
                        mount: None,
                        class: None,
                    })
                })
                .to_vec();
            let expected = if named { vec![(1, 0)] } else { vec![] };
            assert_eq!(shadowed(&rules), expected, "{early:?} before {late:?}");
        }
    }
}
