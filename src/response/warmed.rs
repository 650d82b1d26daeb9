//! What a warm-up came to.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What became of one URL of a warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WarmResult {
    /// It was stored, whole and fresh: nothing was fetched.
    Fresh,
    /// It was fetched, and is stored.
    Warmed,
    /// The origin answered with what is not stored: `status` and `why` say what that was.
    NotStored,
    /// Nothing was fetched: by its rules it is not stored, or not without a credential.
    Refused,
    /// The origin could not be asked, or broke off.
    Failed,
}

/// What one request of a warm-up came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warmed {
    /// In a word.
    pub result: WarmResult,
    /// Status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 200)]
    pub status: Option<u16>,
    /// Body bytes read.
    pub bytes: u64,
    /// Why it is not stored, in a fixed word where the edge knows one. Of what is stored `settling`: only until the end of the time
    /// in which a purge before it settles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "set-cookie")]
    pub why: Option<String>,
}

impl Warmed {
    /// It was there; `settles`: only until a purge has settled.
    pub fn fresh(settles: bool) -> Warmed {
        Warmed { result: WarmResult::Fresh, status: None, bytes: 0, why: only(settles) }
    }

    /// Nothing was fetched, and why.
    pub fn refused(why: &'static str) -> Warmed {
        Warmed { result: WarmResult::Refused, status: None, bytes: 0, why: Some(why.to_owned()) }
    }

    /// It is stored after all; `settles`: only until a purge has settled.
    #[must_use]
    pub fn stored(self, settles: bool) -> Warmed {
        Warmed { result: WarmResult::Warmed, why: only(settles), ..self }
    }

    /// Whether it is stored only until a purge has settled.
    pub fn settles(&self) -> bool {
        matches!(self.result, WarmResult::Fresh | WarmResult::Warmed) && self.why.is_some()
    }
}

fn only(settles: bool) -> Option<String> {
    settles.then(|| "settling".to_owned())
}
