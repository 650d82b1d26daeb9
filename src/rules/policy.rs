//! What a rule can say and set, as plain types. Decides nothing.

use super::{Access, Class, Mount, Template, VersionRule, normalise};
use http::{HeaderName, Method, StatusCode};
use std::{borrow::Cow, sync::Arc, time::Duration};

/// What the rules say of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer with this status and send nothing to the origin.
    Refuse(StatusCode),
    /// Relay: store nothing, join nothing.
    Pass,
    /// Store and serve under this policy.
    Cache(Arc<Policy>),
    /// No rule speaks for this request: the origin is obeyed, safely by itself.
    Obey,
}

/// How responses under a rule are stored and served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Freshness lifetime at the edge, in place of what the origin says; `None`: the origin's.
    pub lifetime: Option<Duration>,
    /// Freshness lifetime told to browsers, in place of the origin's `Cache-Control`.
    pub browser_lifetime: Option<Duration>,
    /// What of the query is part of the request.
    pub query: QueryRule,
    /// Statuses `lifetime` speaks for; empty: 200 only.
    pub statuses: Vec<StatusCode>,
    /// Longest freshness lifetime of a 4xx or 5xx answer at the edge, whatever `lifetime` and the origin say (a real
    /// Kolibri lets its 404 live for a year). None: what the origin says, but ten seconds for a 5xx.
    pub negative_lifetime: Option<Duration>,
    /// How long a stale response may serve while a fill brings a new one.
    pub stale_while_revalidate: Option<Duration>,
    /// How long a stale response may serve when the origin fails.
    pub stale_if_error: Option<Duration>,
    /// Client fields a fill takes along, beyond the selecting fields. `Cookie` and `Authorization` only if named here.
    pub forward: Vec<HeaderName>,
    /// The path is the same for everybody: a response to a request with a cookie may be stored without further sign
    /// from the origin. Lifts nothing else.
    pub shared: bool,
    /// What the origin marks `private` is stored all the same: the rule asks each client for permission. Lifts nothing else.
    pub lift_private: bool,
    /// Which validators the origin's answers may be trusted with.
    pub validator: ValidatorRule,
    /// Heed what a request's `Cache-Control` and `Pragma` ask of a cache (RFC 9111 §5.2.1). They are advice, and a class that
    /// reloads must not reach the origin, so a rule has to say it.
    pub request_directives: bool,
    /// The module that the path is of, by which it can be purged.
    pub module: Option<Template>,
    /// Where URL and answer name the version of the module.
    pub version: Option<VersionRule>,
}

impl Policy {
    /// The version that a URL names.
    pub fn version_of<'u>(&'u self, path: &'u str, query: Option<&'u str>) -> Option<&'u str> {
        self.version.as_ref()?.named(path, query)
    }
}

/// What of the query a rule keeps. What it drops is neither in the key nor sent to the origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryRule {
    /// The query as it came.
    #[default]
    Keep,
    /// No query.
    Drop,
    /// These parameters only, in the order they came.
    Only(Vec<String>),
    /// All but these parameters.
    Without(Vec<String>),
}

/// Which validators a rule trusts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValidatorRule {
    /// A strong `ETag` names the content, a lone `Last-Modified` is a time.
    #[default]
    Auto,
    /// The `ETag` names the content, weak or strong.
    Content,
    /// `Last-Modified` only.
    Time,
    /// Neither: nothing is validated, only fetched anew.
    None,
}

/// When a rule applies: every condition that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Path pattern: literal segments, `{name}` for one segment, `*` inside a segment, `**` for any rest; see
    /// [`Pattern`](super::Pattern).
    pub path: Option<String>,
    /// Path prefix, compared byte by byte.
    pub prefix: Option<String>,
    /// Extensions of the last segment, without the dot, lower case.
    pub extensions: Vec<String>,
    /// Methods; empty: any.
    pub methods: Vec<Method>,
    /// Query parameters that must be there, optionally with a value.
    pub query: Vec<(String, Option<String>)>,
    /// Request fields that must be there, optionally with a value.
    pub fields: Vec<(HeaderName, Option<String>)>,
    /// Cookies that must be there, by name.
    pub cookies: Vec<String>,
}

/// One rule as configured: where it applies and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name in log, metrics and `explain`.
    pub name: String,
    /// When it applies.
    pub when: Match,
    /// What it says.
    pub verdict: Verdict,
    /// Longest request body let through, bytes; more is refused with 413.
    pub body_limit: Option<u64>,
    /// Keep the path out of the access log: it holds a secret (Moodle's `tokenpluginfile.php/TOKEN/`).
    pub hide_path: bool,
    /// Who may have it.
    pub access: Access,
    /// Where it lies, if not at the site's origin.
    pub mount: Option<Mount>,
    /// Whose turn it is at the origin; `None`: what its path tells.
    pub class: Option<Class>,
}

impl Rule {
    /// What of a query is part of the request under this rule: neither what shows permission, nor what its policy drops.
    pub fn query<'a>(&self, query: Option<&'a str>) -> Option<Cow<'a, str>> {
        let query = match self.access.parameter() {
            Some(name) => normalise::without(query?, name)?,
            None => Cow::Borrowed(query?),
        };
        let Verdict::Cache(policy) = &self.verdict else { return Some(query) };
        match query {
            Cow::Borrowed(query) => normalise::query(&policy.query, Some(query)),
            Cow::Owned(query) => {
                normalise::query(&policy.query, Some(&query)).map(|kept| Cow::Owned(kept.into_owned()))
            }
        }
    }
}
