//! Releases of modules: what belongs to one, and what proves an answer to be of it.
//!
//! Which release a learner gets is a fact of the ledger ([`crate::ledger::Module`]). Here is what belongs to a release (its manifest, a
//! file named by its digest), and the *skew guard*: while the fronts of an origin are updated one after the other, what one of
//! them sends is of the release it was asked for only if that is proven.

mod digest;
mod files;
mod list;
mod manifest;
mod proof;

pub use digest::Digests;
pub use files::Manifests;
pub use list::{Entry, ListError, read};
pub use manifest::{FILES, Manifest, Place, Unfit};
pub use proof::{ByHead, Hashing, Proof};

use crate::ledger::Release;
use std::sync::Arc;

/// A file of a release, as a request asks for it.
#[derive(Clone, Debug)]
pub struct Part {
    /// The release.
    pub release: Arc<Release>,
    /// What proves an answer to be this file of it.
    pub proof: Arc<Proof>,
    /// The URL of the request names this release as its version.
    pub named: bool,
}
