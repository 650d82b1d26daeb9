//! What is asked of a release and told of it, in JSON.

use crate::control::warm;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use utoipa::{IntoParams, ToSchema};

/// Stage a release: what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StageRequest {
    /// The site, and the sites that share with it.
    #[schema(example = "lms")]
    pub site: String,
    /// Name of the release, as URLs name its version: letters, digits and `._~-`.
    #[schema(example = "2")]
    pub release: String,
    /// Whole URL that the paths of the list are relative to.
    #[schema(example = "https://lms.example/content/physics/2/")]
    pub base: String,
    /// The list itself: JSON (`{"files": ["a.html", {"path": "b.js", "sha256": "…"}]}`), or one path a line, or lines of `sha256sum`
    /// or `sha1sum`.
    pub list: String,
    /// What is not listed may belong to the module all the same: it stays outside the release.
    #[serde(default)]
    pub open: bool,
    /// Why; kept in the ledger.
    #[serde(default)]
    pub reason: String,
}

/// A step with the release that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepRequest {
    /// The site, and the sites that share with it.
    #[schema(example = "lms")]
    pub site: String,
    /// The release: to activate, to go back to, or to give up.
    #[schema(example = "2")]
    pub release: String,
    /// Of an activation: though not all of it is stored.
    #[serde(default)]
    pub cold: bool,
    /// Why; kept in the ledger.
    #[serde(default)]
    pub reason: String,
}

/// What is to be fetched of a release, and how fast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WarmReleaseRequest {
    /// The site.
    #[schema(example = "lms")]
    pub site: String,
    /// The release: staged, active, or the one before.
    #[schema(example = "2")]
    pub release: String,
    /// Requests at once, 64 at most.
    #[serde(default = "warm::four")]
    #[schema(value_type = u32, minimum = 1, maximum = 64, default = 4)]
    pub at_once: NonZeroU32,
    /// Requests begun in a second.
    #[serde(default = "warm::fifty")]
    #[schema(value_type = u32, minimum = 1, default = 50)]
    pub per_second: NonZeroU32,
}

/// A step that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepAnswer {
    /// Identity of the ledger, 32 hex digits.
    #[schema(example = "9f2c44d1a0b8e6375510c3f7a9e2b4d6")]
    pub ledger: String,
    /// Number of the record.
    #[schema(example = 17)]
    pub number: u64,
    /// It was done before, by this record.
    #[serde(default)]
    pub repeated: bool,
    /// The release, as it stands now; none: it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseTold>,
}

/// A release, and how much of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseTold {
    /// Its name.
    #[schema(example = "2")]
    pub release: String,
    /// Digest of its manifest, 64 hex digits.
    pub manifest: String,
    /// Files that it lists.
    #[schema(example = 400)]
    pub files: usize,
    /// Those that are stored, whole, and proven where the list says by what.
    #[schema(example = 398)]
    pub stored: usize,
    /// What is not listed may belong to the module.
    pub open: bool,
    /// Who staged it.
    #[schema(example = "release-pipeline")]
    pub who: String,
    /// Why.
    pub why: String,
    /// When, milliseconds since 1970, UTC.
    pub when: u64,
    /// By which record.
    pub number: u64,
}

/// A module and its releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModuleTold {
    /// Its name.
    #[schema(example = "physics")]
    pub module: String,
    /// What learners get; none: the module is not released.
    pub active: Option<ReleaseTold>,
    /// Who activated it, or went back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<ActivatedTold>,
    /// What is made ready.
    pub staged: Option<ReleaseTold>,
    /// What was active before, and can be gone back to.
    pub previous: Option<ReleaseTold>,
}

/// Who activated a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActivatedTold {
    /// Name of the token.
    pub who: String,
    /// Why.
    pub why: String,
    /// When, milliseconds since 1970, UTC.
    pub when: u64,
    /// By which record.
    pub number: u64,
}

/// Of which site.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::control) struct OfSite {
    /// The site's name.
    #[param(example = "lms")]
    pub(super) site: String,
}
