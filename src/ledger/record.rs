//! What a record says, and its form on the medium (`docs/ledger-format.md`).
//!
//! JSON, one object a record: an auditor can read it without this program. A kind or field that this version does
//! not know is an error, never skipped: a newer record must not be half obeyed.

use serde::{Deserialize, Serialize};

/// One fact of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Record {
    /// What is stored under a path of these sites is outdated.
    PurgeUrl {
        /// All sites of the scope that the URL belongs to, and the name of the scope.
        sites: Vec<String>,
        /// The path, normalised: rule changes cannot bring a purged response back.
        path: String,
        /// Only this query (empty: none); absent: every query, every variant.
        query: Option<String>,
        /// Name of the token it was asked with.
        who: String,
        /// The reason given, or empty.
        why: String,
        /// When it was asked, milliseconds since the Unix epoch.
        when: u64,
        /// Address it was asked from, or empty.
        from: String,
    },
    /// Everything stored for these sites is outdated.
    PurgeSite {
        /// All sites of the scope, and its name.
        sites: Vec<String>,
        /// Name of the token it was asked with.
        who: String,
        /// The reason given, or empty.
        why: String,
        /// When it was asked, milliseconds since the Unix epoch.
        when: u64,
        /// Address it was asked from, or empty.
        from: String,
    },
}

impl Record {
    /// The sites it concerns.
    pub fn sites(&self) -> &[String] {
        match self {
            Record::PurgeUrl { sites, .. } | Record::PurgeSite { sites, .. } => sites,
        }
    }

    /// The word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Record::PurgeUrl { .. } => "purge-url",
            Record::PurgeSite { .. } => "purge-site",
        }
    }

    /// Its bytes on the medium.
    #[expect(clippy::expect_used, reason = "strings, numbers and lists of strings always have a JSON form")]
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has a JSON form")
    }

    /// Reads what [`Record::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Record, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Record;

    #[test]
    fn the_form_on_the_medium_stays_as_documented() {
        let record = Record::PurgeUrl {
            sites: vec!["lms".into()],
            path: "/a".into(),
            query: None,
            who: "release".into(),
            why: "new \"version\"".into(),
            when: 1_700_000_000_000,
            from: "192.0.2.1:5".into(),
        };
        let text = r#"{"kind":"purge-url","sites":["lms"],"path":"/a","query":null,"who":"release","why":"new \"version\"","when":1700000000000,"from":"192.0.2.1:5"}"#;
        assert_eq!(String::from_utf8(record.encode()).unwrap(), text);
        assert_eq!(Record::decode(text.as_bytes()).unwrap(), record);
    }

    #[test]
    fn a_record_of_a_newer_version_is_never_half_obeyed() {
        let rest = r#""sites":["lms"],"who":"","why":"","when":0,"from":"""#;
        assert!(Record::decode(format!(r#"{{"kind":"purge-site",{rest}}}"#).as_bytes()).is_ok());
        assert!(Record::decode(format!(r#"{{"kind":"purge-site","soft":true,{rest}}}"#).as_bytes()).is_err());
        assert!(Record::decode(format!(r#"{{"kind":"purge-tag",{rest}}}"#).as_bytes()).is_err());
    }
}
