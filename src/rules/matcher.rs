//! Which rule speaks for a request: the first whose conditions all hold.
//!
//! [`RuleSet::compile`] files each rule under the most telling of its conditions: path pattern, else prefix, else
//! extension, else none. [`RuleSet::find`] asks only the rules filed for the request's path, lowest first. It allocates
//! nothing and knows no regular expressions.

use super::{
    Match, Rule,
    index::{Index, Numbers},
    normalise,
    pattern::{Pattern, PatternError, spelling},
};
use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, Method, header};
use std::{fmt, sync::Arc};

/// Longest extension a rule may name.
pub const LONGEST_EXTENSION: usize = 16;

/// What of a request rules may look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Method.
    pub method: &'a Method,
    /// Normalised path, see [`normalise::target`].
    pub path: &'a str,
    /// Query as sent; `None` where there is no `?`.
    pub query: Option<&'a str>,
    /// Fields as sent.
    pub headers: &'a HeaderMap,
}

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Its place in the list, from 0.
    pub rule: usize,
    /// What is wrong.
    pub problem: RuleProblem,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleProblem {
    /// Its path pattern.
    Path(PatternError),
    /// Its prefix.
    Prefix(PatternError),
    /// One of its extensions: not lower case letters and digits, or too long.
    Extension(String),
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleProblem::Path(why) | RuleProblem::Prefix(why) => why.fmt(f),
            RuleProblem::Extension(text) => {
                write!(
                    f,
                    "`{text}` is no extension: letters and digits in lower case, without the dot, at most 16"
                )
            }
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.rule + 1, self.problem)
    }
}

impl std::error::Error for RuleError {}

/// What a rule asks beyond the place it is filed under.
#[derive(Clone, Copy, Debug, Default)]
struct Asks {
    prefix: bool,
    extension: bool,
    /// Method, query, fields or cookies.
    more: bool,
}

/// The rules of a site, ready to be asked.
#[derive(Clone, Debug)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    asks: Vec<Asks>,
    paths: Index,
    extensions: HashMap<Extension, Numbers>,
    anywhere: Numbers,
}

impl RuleSet {
    /// Builds the index.
    ///
    /// # Errors
    /// Every rule that cannot be used, not only the first.
    pub fn compile(rules: Vec<Arc<Rule>>) -> Result<RuleSet, Vec<RuleError>> {
        let mut set = RuleSet {
            rules: Vec::new(),
            asks: Vec::new(),
            paths: Index::new(),
            extensions: HashMap::new(),
            anywhere: Vec::new(),
        };
        let mut errors = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            match set.file(at as u32, &rule.when) {
                Ok(asks) => set.asks.push(asks),
                Err(problem) => errors.push(RuleError { rule: at, problem }),
            }
        }
        set.rules = rules;
        if errors.is_empty() { Ok(set) } else { Err(errors) }
    }

    fn file(&mut self, rule: u32, when: &Match) -> Result<Asks, RuleProblem> {
        let pattern = when.path.as_deref().map(Pattern::parse).transpose().map_err(RuleProblem::Path)?;
        if let Some(prefix) = &when.prefix {
            spelling(prefix).map_err(RuleProblem::Prefix)?;
        }
        if let Some(wrong) = when.extensions.iter().find(|text| !is_extension(text)) {
            return Err(RuleProblem::Extension(wrong.clone()));
        }
        let mut asks = Asks {
            prefix: when.prefix.is_some(),
            extension: !when.extensions.is_empty(),
            more: !(when.methods.is_empty()
                && when.query.is_empty()
                && when.fields.is_empty()
                && when.cookies.is_empty()),
        };
        match (&pattern, &when.prefix) {
            (Some(pattern), _) => self.paths.pattern(rule, pattern),
            (None, Some(prefix)) => {
                self.paths.prefix(rule, prefix);
                asks.prefix = false;
            }
            (None, None) if asks.extension => {
                for extension in &when.extensions {
                    let rules = self.extensions.entry(number(extension)).or_default();
                    if rules.last() != Some(&rule) {
                        rules.push(rule);
                    }
                }
                asks.extension = false;
            }
            (None, None) => self.anywhere.push(rule),
        }
        Ok(asks)
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The first rule whose conditions all hold, with its place.
    pub fn find(&self, request: &Facts<'_>) -> Option<(usize, &Arc<Rule>)> {
        let extension = extension(request.path);
        // The lowest rule that holds so far; `u32::MAX` while there is none.
        let mut best = u32::MAX;
        let mut ask = |rules: &[u32]| {
            for &rule in rules.iter().take_while(|rule| **rule < best) {
                if self.holds(rule as usize, request, extension) {
                    best = rule;
                    break;
                }
            }
            best
        };
        let mut below = ask(&self.anywhere);
        if let Some(rules) = extension.and_then(|extension| self.extensions.get(&extension)) {
            below = ask(rules);
        }
        self.paths.each(request.path, below, &mut ask);
        self.rules.get(best as usize).map(|rule| (best as usize, rule))
    }

    fn holds(&self, rule: usize, request: &Facts<'_>, extension: Option<Extension>) -> bool {
        let (asks, when) = (self.asks[rule], &self.rules[rule].when);
        (!asks.prefix || when.prefix.as_deref().is_some_and(|prefix| request.path.starts_with(prefix)))
            && (!asks.extension || extension_holds(when, extension))
            && (!asks.more || more_holds(when, request))
    }
}

fn extension_holds(when: &Match, own: Option<Extension>) -> bool {
    own.is_some_and(|own| when.extensions.iter().any(|extension| number(extension) == own))
}

/// Whether the last segment of a path has one of the extensions that a rule asks for.
pub(super) fn path_has_extension(when: &Match, path: &str) -> bool {
    extension_holds(when, extension(path))
}

/// Lower case letters and digits, of a length that is looked up.
pub fn is_extension(text: &str) -> bool {
    (1..=LONGEST_EXTENSION).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// An extension in lower case, its bytes as one number: compared and hashed at once.
type Extension = u128;

fn number(extension: &str) -> Extension {
    extension.bytes().rev().fold(0, |number, byte| number << 8 | Extension::from(byte))
}

/// The extension of the last segment. A name that only begins with a dot has none.
fn extension(path: &str) -> Option<Extension> {
    let mut found = 0;
    let mut length = 0;
    let mut bytes = path.bytes().rev();
    for byte in bytes.by_ref() {
        match byte {
            b'.' => break,
            byte if byte.is_ascii_alphanumeric() && length < LONGEST_EXTENSION => {
                found = found << 8 | Extension::from(byte.to_ascii_lowercase());
                length += 1;
            }
            _ => return None,
        }
    }
    (length > 0 && !matches!(bytes.next(), None | Some(b'/'))).then_some(found)
}

/// Method, query, fields, cookies.
fn more_holds(when: &Match, request: &Facts<'_>) -> bool {
    method_holds(when, request)
        && when.query.iter().all(|(name, value)| parameter_holds(name, value.as_deref(), request))
        && when.fields.iter().all(|(name, value)| field_holds(name, value.as_deref(), request))
        && when.cookies.iter().all(|name| cookie_holds(name, request))
}

pub(super) fn method_holds(when: &Match, request: &Facts<'_>) -> bool {
    when.methods.is_empty() || when.methods.contains(request.method)
}

pub(super) fn parameter_holds(name: &str, value: Option<&str>, request: &Facts<'_>) -> bool {
    request.query.is_some_and(|query| {
        normalise::parameters(query).any(|(sent, sent_value)| {
            normalise::spells(sent, name)
                && value.is_none_or(|v| normalise::spells(sent_value.unwrap_or(""), v))
        })
    })
}

pub(super) fn field_holds(name: &HeaderName, value: Option<&str>, request: &Facts<'_>) -> bool {
    match value {
        None => request.headers.contains_key(name),
        Some(value) => request.headers.get_all(name).iter().any(|sent| sent.as_bytes() == value.as_bytes()),
    }
}

pub(super) fn cookie_holds(name: &str, request: &Facts<'_>) -> bool {
    request.headers.get_all(header::COOKIE).iter().any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b';')
            .any(|pair| pair.trim_ascii().split(|byte| *byte == b'=').next() == Some(name.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::{Facts, RuleProblem, RuleSet, extension, number};
    use crate::rules::{Access, Match, PatternError, Rule, Verdict};
    use http::{HeaderMap, HeaderName, HeaderValue, Method};
    use std::sync::Arc;

    fn rules(list: Vec<Match>) -> Vec<Arc<Rule>> {
        let rule = |(at, when): (usize, Match)| Rule {
            name: format!("rule-{at}"),
            when,
            verdict: Verdict::Pass,
            body_limit: None,
            hide_path: false,
            access: Access::Open,
            mount: None,
            class: None,
        };
        list.into_iter().enumerate().map(rule).map(Arc::new).collect()
    }

    fn path(text: &str) -> Match {
        Match { path: Some(text.to_owned()), ..Match::default() }
    }

    fn prefix(text: &str) -> Match {
        Match { prefix: Some(text.to_owned()), ..Match::default() }
    }

    fn extensions(list: &[&str]) -> Match {
        Match { extensions: list.iter().map(|e| (*e).to_owned()).collect(), ..Match::default() }
    }

    fn found(set: &RuleSet, path: &str, query: Option<&str>) -> Option<usize> {
        let facts = Facts { method: &Method::GET, path, query, headers: &HeaderMap::new() };
        set.find(&facts).map(|(at, _)| at)
    }

    #[test]
    fn the_first_match_wins_wherever_it_is_filed() {
        let set = RuleSet::compile(rules(vec![
            prefix("/static/private"),
            extensions(&["css", "js"]),
            path("/content/{module}/{version}/**"),
            path("/content/*.zip/**"),
            prefix("/content/"),
            path("/content/a/1/x"),
            path("/{any}"),
            Match { methods: vec![Method::GET], ..Match::default() },
            path("/late"),
        ]))
        .unwrap();
        for (path, rule) in [
            ("/static/private-things/a.css", 0),
            ("/static/private", 0),
            ("/static/privat", 7),
            ("/static/a.CSS", 1),
            ("/content/a/1/x", 2),
            ("/content/a/1/", 2),
            ("/content/a/1", 4),
            ("/content//1/x", 4),
            ("/content/a.zip/", 3),
            ("/content/a.zip/b", 3),
            ("/content/", 4),
            ("/content", 6),
            ("/", 7),
            ("/late", 6),
            ("//", 7),
        ] {
            assert_eq!(found(&set, path, None), Some(rule), "{path}");
        }
    }

    #[test]
    fn without_a_match_no_rule_speaks() {
        let set = RuleSet::compile(rules(vec![path("/a"), extensions(&["css"])])).unwrap();
        for path in ["/", "/A", "/a/", "/a.cs", "/.css", "/css", "/a.css;v=1", "/a.css/"] {
            assert_eq!(found(&set, path, None), None, "{path}");
        }
        assert_eq!(found(&RuleSet::compile(Vec::new()).unwrap(), "/", None), None);
    }

    #[test]
    fn every_condition_that_is_set_must_hold() {
        let set = RuleSet::compile(rules(vec![Match {
            path: Some("/a/**".into()),
            prefix: Some("/a/b".into()),
            extensions: vec!["js".into()],
            methods: vec![Method::GET, Method::HEAD],
            query: vec![("v".into(), Some("1 2".into())), ("w".into(), None)],
            fields: vec![
                (HeaderName::from_static("x-one"), None),
                (HeaderName::from_static("x-two"), Some("2".into())),
            ],
            cookies: vec!["MoodleSession".into()],
        }]))
        .unwrap();
        let right: (Method, &str, Option<&str>, Vec<(&'static str, &'static str)>) = (
            Method::GET,
            "/a/b/c.js",
            Some("w&v=1+2"),
            vec![("x-one", ""), ("x-two", "1"), ("x-two", "2"), ("cookie", "a=b; MoodleSession=x")],
        );
        let holds = |(method, path, query, fields): &(
            Method,
            &str,
            Option<&str>,
            Vec<(&'static str, &'static str)>,
        )| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            set.find(&Facts { method, path, query: *query, headers: &headers }).is_some()
        };
        assert!(holds(&right));
        let mut wrong = vec![];
        for change in 0..9 {
            let mut w = right.clone();
            match change {
                0 => w.0 = Method::POST,
                1 => w.1 = "/a/c/c.js",
                2 => w.1 = "/a/b/c.css",
                3 => w.2 = Some("v=1+2"),
                4 => w.2 = None,
                5 => w.3[0].0 = "x-other",
                6 => w.3[2].1 = "3",
                7 => w.2 = Some("w&v=1+3"),
                _ => w.3[3].1 = "a=b; xMoodleSession=x; MoodleSession2=x",
            }
            wrong.push(w);
        }
        for w in &wrong {
            assert!(!holds(w), "{w:?}");
        }
    }

    #[test]
    fn compile_names_every_rule_that_cannot_be_used() {
        let errors = RuleSet::compile(rules(vec![
            path("a"),
            path("/fine"),
            prefix("/%7e"),
            extensions(&["js", ".css"]),
        ]))
        .unwrap_err();
        let found: Vec<_> = errors.into_iter().map(|e| (e.rule, e.problem)).collect();
        assert_eq!(
            found,
            [
                (0, RuleProblem::Path(PatternError::NotAbsolute)),
                (2, RuleProblem::Prefix(PatternError::Spelling("/~".into()))),
                (3, RuleProblem::Extension(".css".into())),
            ]
        );
    }

    #[test]
    fn an_extension_is_looked_up_in_lower_case() {
        for (path, ext) in [
            ("/a.JS", Some("js")),
            ("/a.min.js", Some("js")),
            ("/.js", None),
            ("/a.", None),
            ("/a.b/c", None),
            ("/a.j_s", None),
            ("/a.abcdefghijklmnop", Some("abcdefghijklmnop")),
            ("/a.abcdefghijklmnopq", None),
        ] {
            assert_eq!(extension(path), ext.map(number), "{path}");
        }
    }

    /// What a pattern says, told once more without an index.
    fn plainly(rule: &Match, path: &str) -> bool {
        fn glob(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|n| glob(rest, &text[n..])),
                Some((b'{', rest)) => {
                    let rest = &rest[rest.iter().position(|b| *b == b'}').unwrap() + 1..];
                    (1..=text.len()).any(|n| glob(rest, &text[n..]))
                }
                Some((byte, rest)) => text.first() == Some(byte) && glob(rest, &text[1..]),
            }
        }
        let by_pattern = rule.path.as_deref().is_none_or(|pattern| {
            let (head, rest) = match pattern.strip_suffix("/**") {
                Some(head) => (head, true),
                None => (pattern, false),
            };
            let want: Vec<_> = head.split('/').collect();
            let have: Vec<_> = path.split('/').collect();
            (if rest { have.len() > want.len() } else { have.len() == want.len() })
                && want
                    .iter()
                    .zip(&have)
                    .all(|(w, h)| glob(w.as_bytes(), h.as_bytes()) && (w == h || !h.is_empty()))
        });
        by_pattern
            && rule.prefix.as_deref().is_none_or(|prefix| path.starts_with(prefix))
            && (rule.extensions.is_empty()
                || rule.extensions.iter().any(|e| {
                    let name = path.rsplit('/').next().unwrap();
                    name.rsplit_once('.').is_some_and(|(stem, ext)| !stem.is_empty() && ext == e)
                }))
    }

    #[test]
    fn the_index_finds_what_asking_each_rule_in_turn_finds() {
        let seed = crate::clock::unix_millis(crate::clock::now()) | 1;
        println!("seed {seed}");
        let mut state = seed;
        let mut roll = |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as usize % n
        };
        let words = ["a", "b", "ab", "a.js", "b.css", "", "{x}", "*", "a*", "*b", "{x}.js", "a*.{x}"];
        let (mut hits, mut misses) = (0, 0);
        for _ in 0..300 {
            let mut list = Vec::new();
            for _ in 0..1 + roll(12) {
                let mut when = Match::default();
                let kind = roll(5);
                if kind <= 1 {
                    let mut text = String::new();
                    for place in 0..1 + roll(3) {
                        text.push('/');
                        text.push_str(&words[roll(words.len())].replace('x', &format!("x{place}")));
                    }
                    if roll(3) == 0 {
                        text.push_str("/**");
                    }
                    when.path = Some(text);
                }
                if kind == 1 || kind == 2 {
                    let mut text: String = (0..roll(3)).map(|_| format!("/{}", words[roll(6)])).collect();
                    if text.is_empty() || roll(2) == 0 {
                        text.push('/');
                    }
                    when.prefix = Some(text);
                }
                if kind >= 3 {
                    when.extensions = vec![["js", "css"][roll(2)].to_owned()];
                }
                list.push(when);
            }
            let set = RuleSet::compile(rules(list.clone())).unwrap();
            for _ in 0..40 {
                let path: String = (0..1 + roll(4)).map(|_| format!("/{}", words[roll(6)])).collect();
                let expected = list.iter().position(|rule| plainly(rule, &path));
                assert_eq!(found(&set, &path, None), expected, "seed {seed}: {path} of {list:#?}");
                *(if expected.is_some() { &mut hits } else { &mut misses }) += 1;
            }
        }
        assert!(hits > 1000 && misses > 500, "{hits} {misses}: the test looks at nothing");
    }
}
