//! What a record says, and its form on the medium (`docs/ledger-format.md`).
//!
//! JSON, one object a record: an auditor can read it without this program. A kind or field that this version does
//! not know is an error, never skipped: a newer record must not be half obeyed.

use super::step::Step;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One fact of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// What it says.
    #[serde(flatten)]
    pub fact: Fact,
    /// How, and on whose word.
    #[serde(flatten)]
    pub about: About,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// Something is outdated.
    Purge(Purge),
    /// A step of a release.
    Release(Step),
}

/// What is outdated by a record: of the sites it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Purge {
    /// What is stored under a path.
    #[serde(rename = "purge-url")]
    Url {
        /// The path, normalised: rule changes cannot bring a purged response back.
        path: String,
        /// Only this query (empty: none); absent: every query, every variant.
        query: Option<String>,
    },
    /// What is stored under a path and all paths below it.
    #[serde(rename = "purge-prefix")]
    Prefix {
        /// The path, normalised, without the `/` at its end: it ends where a segment does.
        path: String,
    },
    /// What the origin gave this tag.
    #[serde(rename = "purge-tag")]
    Tag {
        /// The tag, compared byte by byte.
        tag: String,
    },
    /// What a rule says to be of this module.
    #[serde(rename = "purge-module")]
    Module {
        /// Its name, as the rule makes it of the path.
        module: String,
    },
    /// Everything of the sites.
    #[serde(rename = "purge-site")]
    Site {},
    /// Everything of a scope, asked for by its name.
    #[serde(rename = "purge-scope")]
    Scope {},
    /// Everything there is, of sites that come later too. Names no sites.
    #[serde(rename = "purge-all")]
    All {},
}

/// How something is purged, and who wanted it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// All sites of the scope that is concerned, and the name of the scope.
    pub sites: Vec<String>,
    /// What it covers is stale by it, not gone: it may serve within the windows that stale responses have.
    #[serde(default, skip_serializing_if = "is_false")]
    pub soft: bool,
    /// Seconds in which the origin may still send what is old: what comes in them is kept until their end only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub settle: u16,
    /// Name of the token it was asked with.
    pub who: String,
    /// The reason given, or empty.
    pub why: String,
    /// When it was asked, milliseconds since the Unix epoch.
    pub when: u64,
    /// Address it was asked from, or empty.
    pub from: String,
    /// By which it is known again when it is asked for a second time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// As long as fronts of an origin may differ after a change, in seconds: what a purge says if nothing else is asked for.
pub const SETTLE: u16 = 30;

/// Names of the fields of [`About`].
const ABOUT: [&str; 8] = ["sites", "soft", "settle", "who", "why", "when", "from", "key"];

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(seconds: &u16) -> bool {
    *seconds == 0
}

impl Record {
    /// A purge.
    pub const fn purge(purge: Purge, about: About) -> Record {
        Record { fact: Fact::Purge(purge), about }
    }

    /// The sites it concerns; none: all.
    pub fn sites(&self) -> &[String] {
        &self.about.sites
    }

    /// The word for its kind.
    pub const fn kind(&self) -> &'static str {
        match &self.fact {
            Fact::Release(step) => step.kind(),
            Fact::Purge(Purge::Url { .. }) => "purge-url",
            Fact::Purge(Purge::Prefix { .. }) => "purge-prefix",
            Fact::Purge(Purge::Tag { .. }) => "purge-tag",
            Fact::Purge(Purge::Module { .. }) => "purge-module",
            Fact::Purge(Purge::Site {}) => "purge-site",
            Fact::Purge(Purge::Scope {}) => "purge-scope",
            Fact::Purge(Purge::All {}) => "purge-all",
        }
    }

    /// Its bytes on the medium.
    #[expect(clippy::expect_used, reason = "strings, numbers and lists of strings always have a JSON form")]
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has a JSON form")
    }

    /// Reads what [`Record::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Record, serde_json::Error> {
        let mut fact: Map<String, Value> = serde_json::from_slice(bytes)?;
        let about = ABOUT.iter().filter_map(|name| fact.remove_entry(*name)).collect();
        let released =
            fact.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("release-"));
        let fact = Value::Object(fact);
        Ok(Record {
            fact: if released {
                Fact::Release(serde_json::from_value(fact)?)
            } else {
                Fact::Purge(serde_json::from_value(fact)?)
            },
            about: serde_json::from_value(Value::Object(about))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{About, Purge, Record};

    fn record(purge: Purge) -> Record {
        let about = About {
            sites: vec!["lms".into()],
            who: "release".into(),
            why: "new \"version\"".into(),
            when: 1_700_000_000_000,
            from: "192.0.2.1:5".into(),
            ..About::default()
        };
        Record::purge(purge, about)
    }

    #[test]
    fn the_form_on_the_medium_stays_as_documented() {
        let rest = r#""who":"release","why":"new \"version\"","when":1700000000000,"from":"192.0.2.1:5"}"#;
        let path = || "/a".to_owned();
        for (purge, text) in [
            (Purge::Url { path: path(), query: None }, r#"{"kind":"purge-url","path":"/a","query":null"#),
            (
                Purge::Url { path: path(), query: Some("q".into()) },
                r#"{"kind":"purge-url","path":"/a","query":"q""#,
            ),
            (Purge::Prefix { path: path() }, r#"{"kind":"purge-prefix","path":"/a""#),
            (Purge::Tag { tag: "course-7".into() }, r#"{"kind":"purge-tag","tag":"course-7""#),
            (Purge::Module { module: "physics".into() }, r#"{"kind":"purge-module","module":"physics""#),
            (Purge::Site {}, r#"{"kind":"purge-site""#),
            (Purge::Scope {}, r#"{"kind":"purge-scope""#),
            (Purge::All {}, r#"{"kind":"purge-all""#),
        ] {
            let mut record = record(purge);
            for (soft, settle, told) in [
                (false, 0, ""),
                (true, 0, r#""soft":true,"#),
                (true, 30, r#""soft":true,"settle":30,"#),
                (false, 1, r#""settle":1,"#),
            ] {
                (record.about.soft, record.about.settle) = (soft, settle);
                let text = format!(r#"{text},"sites":["lms"],{told}{rest}"#);
                assert_eq!(String::from_utf8(record.encode()).unwrap(), text);
                assert_eq!(Record::decode(text.as_bytes()).unwrap(), record);
                assert!(text.starts_with(&format!(r#"{{"kind":"{}""#, record.kind())));
            }
        }
    }

    #[test]
    fn the_order_of_the_fields_does_not_matter() {
        let text = r#"{"kind":"purge-url","sites":["lms"],"path":"/a","query":null,"who":"release","why":"new \"version\"","when":1700000000000,"from":"192.0.2.1:5"}"#;
        let url = Purge::Url { path: "/a".into(), query: None };
        assert_eq!(Record::decode(text.as_bytes()).unwrap(), record(url));
    }

    #[test]
    fn a_record_of_a_newer_version_is_never_half_obeyed() {
        let rest = r#""sites":["lms"],"who":"","why":"","when":0,"from":"""#;
        let reads = |text: String| Record::decode(text.as_bytes()).is_ok();
        assert!(reads(format!(r#"{{"kind":"purge-site",{rest}}}"#)));
        assert!(!reads(format!(r#"{{"kind":"purge-site","gently":true,{rest}}}"#)));
        assert!(!reads(format!(r#"{{"kind":"purge-site","path":"/a",{rest}}}"#)));
        assert!(!reads(format!(r#"{{"kind":"purge-all","tag":"a",{rest}}}"#)));
        assert!(!reads(format!(r#"{{"kind":"purge-tag",{rest}}}"#)));
        assert!(!reads(format!(r#"{{"kind":"purge-moon",{rest}}}"#)));
    }
}
