//! Why a rule does not speak for a request: the first of its conditions that does not hold, for people who wonder.
//!
//! The conditions are asked by the functions that [`RuleSet::find`](super::RuleSet::find) asks them by, one rule after the
//! other and without the index: this is not on the way of a request.

use super::{
    Facts, Match, Pattern, Rule,
    index::Index,
    matcher::{cookie_holds, field_holds, method_holds, parameter_holds, path_has_extension},
};
use std::fmt;

/// The condition of a rule that does not hold for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// The path is not of this pattern.
    Path(String),
    /// The path does not begin so.
    Prefix(String),
    /// The last segment has none of these extensions.
    Extension(Vec<String>),
    /// The method is none of these.
    Method(Vec<String>),
    /// There is no such parameter in the query, or it has another value.
    Query(String, Option<String>),
    /// There is no such field, or it has another value.
    Field(String, Option<String>),
    /// There is no such cookie.
    Cookie(String),
}

impl WhyNot {
    /// The kind of condition, in the word that stands for it in the configuration.
    pub const fn condition(&self) -> &'static str {
        match self {
            WhyNot::Path(_) => "path",
            WhyNot::Prefix(_) => "prefix",
            WhyNot::Extension(_) => "extension",
            WhyNot::Method(_) => "method",
            WhyNot::Query(..) => "query",
            WhyNot::Field(..) => "field",
            WhyNot::Cookie(_) => "cookie",
        }
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lacking = |f: &mut fmt::Formatter<'_>, what, name: &str, value: &Option<String>| match value {
            Some(value) => write!(f, "no {what} {name} has the value {value}"),
            None => write!(f, "there is no {what} {name}"),
        };
        match self {
            WhyNot::Path(pattern) => write!(f, "the path is not of the pattern {pattern}"),
            WhyNot::Prefix(prefix) => write!(f, "the path does not begin with {prefix}"),
            WhyNot::Extension(list) => write!(f, "the extension is not {}", list.join(" or ")),
            WhyNot::Method(list) => write!(f, "the method is not {}", list.join(" or ")),
            WhyNot::Query(name, value) => lacking(f, "query parameter", name, value),
            WhyNot::Field(name, value) => lacking(f, "field", name, value),
            WhyNot::Cookie(name) => write!(f, "there is no cookie {name}"),
        }
    }
}

/// The first condition of `rule` that does not hold for `request`; `None`: all of them hold.
pub fn why_not(rule: &Rule, request: &Facts<'_>) -> Option<WhyNot> {
    let when = &rule.when;
    if let Some(pattern) = when.path.as_ref().filter(|pattern| !is_of_pattern(pattern, request.path)) {
        return Some(WhyNot::Path(pattern.clone()));
    }
    if let Some(prefix) = when.prefix.as_ref().filter(|prefix| !request.path.starts_with(prefix.as_str())) {
        return Some(WhyNot::Prefix(prefix.clone()));
    }
    if !when.extensions.is_empty() && !path_has_extension(when, request.path) {
        return Some(WhyNot::Extension(when.extensions.clone()));
    }
    if !method_holds(when, request) {
        return Some(WhyNot::Method(when.methods.iter().map(ToString::to_string).collect()));
    }
    lacking(when, request)
}

/// The first parameter, field or cookie that is not there.
fn lacking(when: &Match, request: &Facts<'_>) -> Option<WhyNot> {
    let parameter = when.query.iter().find(|(name, value)| !parameter_holds(name, value.as_deref(), request));
    if let Some((name, value)) = parameter {
        return Some(WhyNot::Query(name.clone(), value.clone()));
    }
    let field = when.fields.iter().find(|(name, value)| !field_holds(name, value.as_deref(), request));
    if let Some((name, value)) = field {
        return Some(WhyNot::Field(name.to_string(), value.clone()));
    }
    let cookie = when.cookies.iter().find(|name| !cookie_holds(name, request))?;
    Some(WhyNot::Cookie(cookie.clone()))
}

/// Asked of an index with this one pattern, so that a pattern has one meaning.
fn is_of_pattern(pattern: &str, path: &str) -> bool {
    let Ok(pattern) = Pattern::parse(pattern) else { return false };
    let mut index = Index::new();
    index.pattern(0, &pattern);
    let mut found = false;
    index.each(path, 1, &mut |_| {
        found = true;
        0
    });
    found
}

#[cfg(test)]
mod tests {
    use super::why_not;
    use crate::rules::{Access, Facts, Match, Rule, RuleSet, Verdict};
    use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
    use std::sync::Arc;

    fn rules() -> Vec<Arc<Rule>> {
        let path = |text: &str| Match { path: Some(text.into()), ..Match::default() };
        let prefix = |text: &str| Match { prefix: Some(text.into()), ..Match::default() };
        let ext = |list: &[&str]| list.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>();
        let list = vec![
            path("/content/{module}/{version}/**"),
            Match { extensions: ext(&["css", "js"]), ..prefix("/theme/") },
            Match { methods: vec![Method::POST, Method::PUT], ..prefix("/theme/") },
            Match { query: vec![("v".into(), None), ("w".into(), Some("1 2".into()))], ..Match::default() },
            Match { fields: vec![(header::RANGE, None)], ..path("/*.mp4") },
            Match { fields: vec![(HeaderName::from_static("x-a"), Some("1".into()))], ..Match::default() },
            Match { cookies: vec!["session".into()], ..Match::default() },
        ];
        let rule = |(at, when)| {
            Arc::new(Rule {
                name: format!("rule-{at}"),
                when,
                verdict: Verdict::Pass,
                body_limit: None,
                hide_path: false,
                access: Access::Open,
                mount: None,
                class: None,
            })
        };
        list.into_iter().enumerate().map(rule).collect()
    }

    #[test]
    fn a_rule_has_no_reason_exactly_where_it_is_found() {
        let rules = rules();
        let queries = [None, Some(""), Some("v"), Some("v=1&w=1+2"), Some("w=1%202&v"), Some("w=1")];
        let fields: [&[(HeaderName, &'static str)]; 5] = [
            &[],
            &[(header::RANGE, "bytes=0-")],
            &[(HeaderName::from_static("x-a"), "2"), (HeaderName::from_static("x-a"), "1")],
            &[(header::COOKIE, "a=b; session=1")],
            &[(header::COOKIE, "xsession=1")],
        ];
        let paths = ["/", "/content/a/1/", "/content/a/1", "/theme/a.CSS", "/theme/a", "/a.mp4", "*"];
        let mut matched = 0;
        for (path, query) in paths.iter().flat_map(|path| queries.map(|query| (*path, query))) {
            for (method, fields) in [Method::GET, Method::PUT].iter().flat_map(|m| fields.map(|f| (m, f))) {
                let mut headers = HeaderMap::new();
                for (name, value) in fields {
                    headers.append(name, HeaderValue::from_static(value));
                }
                let facts = Facts { method, path, query, headers: &headers };
                let reasons: Vec<_> = rules.iter().map(|rule| why_not(rule, &facts)).collect();
                for (rule, reason) in rules.iter().zip(&reasons) {
                    let alone = RuleSet::compile(vec![rule.clone()]).unwrap();
                    assert_eq!(alone.find(&facts).is_some(), reason.is_none(), "{facts:?} {reason:?}");
                }
                let all = RuleSet::compile(rules.clone()).unwrap();
                let first = reasons.iter().position(Option::is_none);
                assert_eq!(all.find(&facts).map(|(at, _)| at), first, "{facts:?}");
                matched += usize::from(first.is_some());
            }
        }
        assert!(matched > 100, "{matched}");
    }

    #[test]
    fn the_reason_is_the_first_condition_that_does_not_hold() {
        let rules = rules();
        let headers = HeaderMap::new();
        let facts = Facts { method: &Method::GET, path: "/theme/a.png", query: Some("v"), headers: &headers };
        let said: Vec<_> = rules
            .iter()
            .map(|rule| why_not(rule, &facts).map(|why| format!("{}: {why}", why.condition())).unwrap())
            .collect();
        assert_eq!(
            said,
            [
                "path: the path is not of the pattern /content/{module}/{version}/**",
                "extension: the extension is not css or js",
                "method: the method is not POST or PUT",
                "query: no query parameter w has the value 1 2",
                "path: the path is not of the pattern /*.mp4",
                "field: no field x-a has the value 1",
                "cookie: there is no cookie session",
            ]
        );
    }
}
