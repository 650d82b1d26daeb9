//! Where a module is released: which release a request is for, and what of it.
//!
//! The release is part of the key. So a request is answered from the release that was active when its head was complete, whatever
//! is activated meanwhile, and nothing that was brought for one release is ever found under another.

use crate::{
    ledger::Release,
    release::{Manifests, Part, Proof},
    rules::{Policy, Rule, Verdict},
    site::{Site, Sites},
};
use std::sync::Arc;

/// What the way of a request is found by.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) sites: &'a Sites,
    pub(super) manifests: &'a Manifests,
    /// Its module is looked at as if this release of it was active.
    pub(super) as_if: Option<&'a Arc<Release>>,
}

/// A file of a release.
pub(super) struct Listed {
    pub(super) part: Part,
    /// Path and query that its key has: those of all versions.
    pub(super) cut: (String, Option<String>),
    /// Path and query that the origin is asked for, and that purges name: those of the release.
    pub(super) put: (String, Option<String>),
}

/// Whether a request is for what belongs to a release.
pub(super) enum Belongs {
    /// Its module is not released; or the release is open and does not list it.
    Nowhere,
    /// The active release of its module does not list it, and lists all.
    Unlisted,
    Listed(Box<Listed>),
}

/// Finds out what a rule's path and query are of, at this moment. A site of which no module is released costs one load.
pub(super) fn belongs(
    known: &Known<'_>,
    site: &Site,
    rule: Option<&Rule>,
    path: &str,
    query: Option<&str>,
) -> Belongs {
    if !site.marks.modules().any() {
        return Belongs::Nowhere;
    }
    let Some(policy) = rule.and_then(released_by) else { return Belongs::Nowhere };
    let Some(module) = policy.module.as_ref().and_then(|module| module.fill(path)) else {
        return Belongs::Nowhere;
    };
    let release = match known.as_if.filter(|release| *release.module == *module) {
        Some(release) => Some(release.clone()),
        None => site.marks.modules().get(&module).and_then(|module| module.active().cloned()),
    };
    let Some(release) = release else { return Belongs::Nowhere };
    let Some(manifest) = known.manifests.get(release.manifest) else { return Belongs::Unlisted };
    let (cut, put) = match &policy.version {
        Some(version) => (version.cut(path, query), version.put(&release.name, path, query)),
        None => ((path.into(), query.map(Into::into)), (path.into(), query.map(Into::into))),
    };
    let Some(digests) = manifest.listed(&cut.0, cut.1.as_deref()) else {
        return if manifest.open { Belongs::Nowhere } else { Belongs::Unlisted };
    };
    let named = policy.version_of(path, query) == Some(&*release.name);
    let version = policy.version.clone();
    let proof = Arc::new(Proof { digests: *digests, version, release: release.name.clone() });
    let owned = |(path, query): (std::borrow::Cow<'_, str>, Option<std::borrow::Cow<'_, str>>)| {
        (path.into_owned(), query.map(std::borrow::Cow::into_owned))
    };
    let part = Part { release, proof, named };
    Belongs::Listed(Box::new(Listed { part, cut: owned(cut), put: owned(put) }))
}

/// The policy of a rule whose modules can be released. Where the LMS is asked, its own answer decides which bytes are current.
fn released_by(rule: &Rule) -> Option<&Policy> {
    match &rule.verdict {
        Verdict::Cache(policy) if rule.access.asked().is_none() => Some(policy),
        _ => None,
    }
}
