//! What a purge is asked with, and what it is answered with.

use crate::{
    control::{Role, Roles},
    ledger::SETTLE,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// What to purge, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PurgeRequest {
    /// What to purge.
    #[serde(flatten)]
    pub what: What,
    /// How.
    #[serde(flatten)]
    pub how: How,
}

/// What to purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum What {
    /// What is stored under a URL: every variant, and every query unless `exact`.
    Url {
        /// The whole URL as a learner's browser has it. Its scheme does not matter.
        #[schema(example = "https://lms.example/course/1")]
        url: String,
        /// Only the URL's own query, or none if it has none.
        #[serde(default)]
        exact: bool,
    },
    /// What is stored under a path and all paths below it. It ends where a segment does: `/v2` is not above `/v20`.
    Prefix {
        /// The whole URL of the path, without a query.
        #[schema(example = "https://lms.example/static/v2/")]
        url: String,
    },
    /// What the origin gave this tag (`Surrogate-Key`, `Cache-Tag`, `Edge-Cache-Tag`, `xkey`, `Cache-Groups`).
    Tag {
        /// The tag, compared byte by byte.
        #[schema(example = "course-7")]
        tag: String,
        /// Of this site and the sites that share with it.
        #[schema(example = "lms")]
        site: String,
    },
    /// What a rule's `module` says to be of this module.
    Module {
        /// Its name, as the rule makes it of the path.
        #[schema(example = "physics")]
        module: String,
        /// Of this site and the sites that share with it.
        #[schema(example = "lms")]
        site: String,
    },
    /// Everything stored for a site and the sites that share with it.
    Site {
        /// The site's name in the configuration.
        #[schema(example = "lms")]
        site: String,
    },
    /// Everything stored for the sites of a scope.
    Scope {
        /// The scope's name in the configuration.
        #[schema(example = "themes")]
        scope: String,
    },
    /// Everything there is.
    All {},
}

impl What {
    /// What a token must have one of to purge it.
    pub(in crate::control) const fn roles(&self) -> Roles {
        match self {
            What::Module { .. } => Roles::of(&[Role::Purge, Role::Release]),
            _ => Roles::of(&[Role::Purge]),
        }
    }
}

/// What the answer waits for.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::control) enum Wait {
    /// The record is on the medium and in force, for memory and disk, fills and coders alike.
    Applied,
}

/// What the answer waits for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::control) struct Waits {
    /// Until the purge is in force. The answer never comes before.
    #[param(inline, example = "applied")]
    pub(in crate::control) wait: Option<Wait>,
}

/// How it is purged, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct How {
    /// What is covered becomes stale, not gone: it may serve while a new one is fetched, or while the origin fails, for as long
    /// as rule or origin allow that of what is stale.
    #[serde(default)]
    pub soft: bool,
    /// Seconds after the purge in which the origin may still send what is old. What comes in them is kept until their end only,
    /// and browsers are told to ask again.
    #[serde(default = "settle")]
    pub settle: u16,
    /// Nothing is purged: it is told how many stored responses would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Why; kept in the ledger.
    #[serde(default)]
    pub reason: String,
}

const fn settle() -> u16 {
    SETTLE
}

impl Default for How {
    fn default() -> How {
        How { soft: false, settle: SETTLE, dry_run: false, reason: String::new() }
    }
}

/// Names of the fields of [`How`].
const HOW: [&str; 4] = ["soft", "settle", "dry_run", "reason"];

impl<'de> Deserialize<'de> for PurgeRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PurgeRequest, D::Error> {
        let mut what: Map<String, Value> = Map::deserialize(deserializer)?;
        let how = HOW.iter().filter_map(|name| what.remove_entry(*name)).collect();
        Ok(PurgeRequest {
            what: serde_json::from_value(Value::Object(what)).map_err(D::Error::custom)?,
            how: serde_json::from_value(Value::Object(how)).map_err(D::Error::custom)?,
        })
    }
}

/// A purge that is in force: no request whose head arrives from now on is answered with what was stored before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeAnswer {
    /// Identity of the ledger, 32 hex digits. Numbers of two ledgers do not compare.
    #[schema(example = "9f2c44d1a0b8e6375510c3f7a9e2b4d6")]
    pub ledger: String,
    /// Number of the record.
    #[schema(example = 17)]
    pub number: u64,
    /// The kind of the record, as `purge-url`.
    #[schema(example = "purge-url")]
    pub kind: String,
    /// Names of the sites concerned: all that share stored responses, and of their scope. None: all there are.
    pub sites: Vec<String>,
    /// The normalised path, for a URL or a prefix; a prefix has no `/` at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The query, for an exact URL; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// What is covered is stale, not gone.
    #[serde(default)]
    pub soft: bool,
    /// It was asked before with the same `Idempotency-Key`, and is in force since then.
    #[serde(default)]
    pub repeated: bool,
    /// Seconds in which what comes is kept until their end only.
    #[serde(default)]
    pub settle: u16,
    /// Only of a dry run: how many stored responses would be purged. The number is that of the last record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<Counts>,
    /// False of a dry run only: what is not applied is an error.
    pub applied: bool,
}

/// How many stored responses a purge would outdate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// So many in memory.
    #[schema(example = 12)]
    pub at_least: u64,
    /// Those, and all that are on disk, which is not searched.
    #[schema(example = 4012)]
    pub at_most: u64,
}
