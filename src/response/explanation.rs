//! What would become of a request, told before it comes: the form in which `explain` answers.
//!
//! Plain data, made by the edge, sent by the control API, printed by the command line. Nothing secret stands in it: values of
//! fields that carry credentials are replaced by how long they are, and so is the path where a rule hides it from the log.

use http::HeaderName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What would become of a request that came now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Method asked about.
    #[schema(example = "GET")]
    pub method: String,
    /// The URL as the origin would be asked for it; as it was given where it cannot be normalised.
    #[schema(example = "https://lms.example/theme/site.css")]
    pub url: String,
    /// Site that answers for the host; absent: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteTold>,
    /// Rule that speaks for the request; absent: none does, and the origin is obeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleTold>,
    /// The rules before it (all, if none speaks), in order, and why each of them does not.
    pub passed_over: Vec<PassedOver>,
    /// What the rules say: `refuse`, `pass`, `cache`; `obey` if none speaks. Absent: they were not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "cache")]
    pub verdict: Option<String>,
    /// What requests must have in common to share a stored response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyTold>,
    /// The ledger at this moment.
    pub ledger: NumberTold,
    /// What is stored under the key, youngest first.
    pub stored: Vec<StoredTold>,
    /// How the request would be answered.
    pub answer: AnswerTold,
    /// What the origin would be sent; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginTold>,
}

/// A site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteTold {
    /// Its name.
    #[schema(example = "lms")]
    pub name: String,
    /// Sites of one scope share stored responses.
    #[schema(example = "lms")]
    pub scope: String,
    /// How many rules it has.
    pub rules: usize,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleTold {
    /// Its name.
    #[schema(example = "theme")]
    pub name: String,
    /// Its place among the rules of the site, from 1.
    #[schema(example = 2)]
    pub place: usize,
    /// What it sets, each as in the configuration; what it does not set is the origin's word or the default.
    pub sets: Vec<String>,
}

/// A rule that does not speak for the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PassedOver {
    /// Its name.
    #[schema(example = "scripts")]
    pub name: String,
    /// Its place among the rules of the site, from 1.
    #[schema(example = 1)]
    pub place: usize,
    /// The first condition that does not hold: `path`, `prefix`, `extension`, `method`, `query`, `field` or `cookie`.
    #[schema(example = "extension")]
    pub condition: String,
    /// The same as a sentence.
    #[schema(example = "the extension is not js")]
    pub why: String,
}

/// The cache key, part by part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyTold {
    /// The site, or the group of sites that share.
    #[schema(example = "lms")]
    pub scope: String,
    /// `http` or `https`.
    #[schema(example = "https")]
    pub scheme: String,
    /// Host; empty where all hosts of the scope hold the same.
    #[schema(example = "lms.example")]
    pub host: String,
    /// Normalised path.
    #[schema(example = "/theme/site.css")]
    pub path: String,
    /// What the rule keeps of the query; absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// A number of a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NumberTold {
    /// Identity of the ledger, 32 hex digits. Numbers of two ledgers do not compare.
    #[schema(example = "9f2c44d1a0b8e6375510c3f7a9e2b4d6")]
    pub ledger: String,
    /// The number.
    #[schema(example = 17)]
    pub number: u64,
}

/// A stored response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredTold {
    /// The request selects this one. It may serve only if it is not outdated, fresh enough, and its body is there.
    pub selected: bool,
    /// Status.
    #[schema(example = 200)]
    pub status: u16,
    /// Bytes of the body.
    pub length: u64,
    /// All of the body is there at this moment.
    pub whole: bool,
    /// Its variants in other codings that were made since this process has it; what an earlier one made is found when it is
    /// asked for.
    pub coded: Vec<CodedTold>,
    /// Where the body is: `memory`, `disk` (some of it only there), `none` (some of it is nowhere).
    #[schema(example = "memory")]
    pub tier: String,
    /// Request fields it was chosen by, with the values they had; for a field that was absent, "absent".
    pub selecting: Vec<FieldTold>,
    /// Fields of the response that its use depends on, as they are stored.
    pub fields: Vec<FieldTold>,
    /// Seconds since the origin made or validated it.
    pub age: u64,
    /// Freshness lifetime, seconds, by rule or by origin.
    pub lifetime: u64,
    /// Seconds of freshness left; negative: stale for so long.
    pub ttl: i64,
    /// `fresh`; `stale`; `validate`: it may not serve without being validated, though it be young.
    #[schema(example = "fresh")]
    pub freshness: String,
    /// Window after the lifetime in which it serves while a fill brings a new one, seconds.
    pub stale_while_revalidate: u64,
    /// Window after the lifetime in which it serves if the origin fails, seconds.
    pub stale_if_error: u64,
    /// What a condition would name, as the rule trusts it; absent: nothing, it is fetched anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<FieldTold>,
    /// The ledger's number noted before the request for it left.
    pub born: NumberTold,
    /// A record of the ledger covers it, or a cache group of it was made outdated: it never serves.
    pub outdated: bool,
    /// What outdates it, or makes it stale: `url N` or `url-exact N` (a purge of its URL with every query or its own), `prefix N`,
    /// `tag N`, `module N`, `site N` (a purge of its site, its scope or of everything, or one of something else that is so old that
    /// the ledger keeps it by site), each with ` soft` behind it if that only made it stale; `other-ledger`, `above-last`,
    /// `group` (an answer to an unsafe method made one of its cache groups outdated, or the process began since).
    pub outdated_by: Vec<String>,
}

/// A variant of a stored response in another coding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CodedTold {
    /// `br`, `zstd`, `gzip`, or `identity` of what the origin sent coded.
    #[schema(example = "br")]
    pub coding: String,
    /// `fast`; `best`: the highest level, as it was asked for often.
    #[schema(example = "best")]
    pub effort: String,
    /// Bytes.
    pub length: u64,
}

/// How a request would be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnswerTold {
    /// Outcome, in the word of log and metrics; where the origin is asked, the one if it answers as is to be expected.
    #[schema(example = "hit")]
    pub outcome: String,
    /// Why so.
    #[schema(example = "a stored response is fresh for 3112 more seconds")]
    pub why: String,
    /// Status, where it does not depend on the origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 200)]
    pub status: Option<u16>,
    /// Content coding that the edge would give it; absent: as it is stored, or it depends on the origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "br")]
    pub coding: Option<String>,
    /// The parts of the body that the answer has, if it has not all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<RangeTold>,
    /// Word of `Cache-Status` for why the request goes on to the origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "uri-miss")]
    pub fwd: Option<String>,
    /// A fill of this key is under way.
    pub fill_under_way: bool,
    /// What came for this key last could not be shared: for some seconds nobody waits for a fill of it.
    pub pass_mark: bool,
    /// What else it can become, by what the origin answers.
    pub otherwise: Vec<Otherwise>,
}

/// A part of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RangeTold {
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
}

/// An outcome that depends on the origin's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Otherwise {
    /// Outcome.
    #[schema(example = "pass")]
    pub outcome: String,
    /// When.
    #[schema(example = "if what the origin sends may not be stored")]
    pub when: String,
}

/// What the origin would be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OriginTold {
    /// Name of the origin.
    #[schema(example = "lms")]
    pub name: String,
    /// Its servers, as configured.
    pub servers: Vec<String>,
    /// `fill`: for all who want it; `joined`: a fill under way has sent it; `refresh`: a fill that nobody waits for; `part`:
    /// for bytes of a stored body that are missing; `check`: whether this learner may have it; `relay`: for this client
    /// alone.
    #[schema(example = "fill")]
    pub by: String,
    /// Method.
    #[schema(example = "GET")]
    pub method: String,
    /// Path and query.
    #[schema(example = "/theme/site.css")]
    pub target: String,
    /// Fields, `Host` among them.
    pub fields: Vec<FieldTold>,
    /// It asks whether what is stored still holds: the origin may answer 304.
    pub conditional: bool,
}

/// A field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldTold {
    /// Name, in lower case.
    #[schema(example = "accept-encoding")]
    pub name: String,
    /// Value; of one that may hold credentials only that and how long it is: `(sent, 34 bytes)`.
    #[schema(example = "gzip, br")]
    pub value: String,
}

impl FieldTold {
    /// A field with its value, if that may be told.
    pub fn new(name: &HeaderName, value: &[u8]) -> FieldTold {
        let value = match is_secret(name) {
            true => format!("(sent, {} bytes)", value.len()),
            false => String::from_utf8_lossy(value).into_owned(),
        };
        FieldTold { name: name.to_string(), value }
    }
}

/// Whether a field of this name may hold what lets somebody in. Errs to yes: it is about a report that goes into tickets.
pub fn is_secret(name: &HeaderName) -> bool {
    const NAMES: [&str; 4] = ["cookie", "set-cookie", "authorization", "proxy-authorization"];
    const SIGNS: [&str; 7] = ["token", "secret", "password", "session", "signature", "api-key", "csrf"];
    let name = name.as_str();
    NAMES.contains(&name) || SIGNS.iter().any(|sign| name.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::FieldTold;
    use http::HeaderName;

    #[test]
    fn what_lets_somebody_in_is_told_by_its_length_only() {
        for (name, value, told) in [
            ("cookie", "MoodleSession=abc", "(sent, 17 bytes)"),
            ("authorization", "Bearer x", "(sent, 8 bytes)"),
            ("x-csrftoken", "", "(sent, 0 bytes)"),
            ("x-api-key", "k", "(sent, 1 bytes)"),
            ("accept", "text/html", "text/html"),
        ] {
            let field = FieldTold::new(&HeaderName::from_static(name), value.as_bytes());
            assert_eq!((field.name.as_str(), field.value.as_str()), (name, told));
        }
    }
}
