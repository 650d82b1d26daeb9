//! Carry-over: a file that is the same in two releases is not fetched twice.
//!
//! What is stored under another release of the module, or from before it was released, and has the bytes that the manifest names, is
//! stored under the release as well. The body is the same one: nothing is copied.

use crate::{
    cache::{Body, Key, KeyParts, Selecting, StoredParts, StoredResponse},
    edge::{Edge, Visit},
    http_caching::Tags,
    ledger::{Release, Standing, Subject},
    release::Hashing,
};
use http::{StatusCode, header};
use std::sync::Arc;

/// Where the same file may stand, and the path and query that purges name there.
struct Elsewhere {
    key: Key,
    path: String,
    query: Option<String>,
}

impl Edge {
    /// Stores what stands elsewhere under the release that the request is for, if it is proven to be the file. Tells whether it did.
    pub(super) async fn takes_over(&self, visit: &Visit) -> bool {
        for elsewhere in self.elsewhere(visit) {
            let Some(slot) = self.0.tiers.raise(&elsewhere.key).await else { continue };
            for stored in slot.responses() {
                if self.is_the_file(visit, &elsewhere, stored).await {
                    let new = Arc::new(taken_over(stored));
                    self.0.tiers.store(&visit.route.key, &new, || true).await;
                    return true;
                }
            }
        }
        false
    }

    /// Under the other releases of the module, and under none.
    fn elsewhere(&self, visit: &Visit) -> Vec<Elsewhere> {
        let (Some(listed), Some(parts)) = (&visit.route.listed, visit.route.key.parts()) else {
            return Vec::new();
        };
        let release = &listed.part.release;
        let module = visit.route.site.marks.modules().get(&release.module);
        let others = module
            .iter()
            .flat_map(|module| module.releases())
            .filter(|other| other.manifest != release.manifest);
        let version = visit.policy().and_then(|policy| policy.version.as_ref());
        let (path, query) = (listed.put.0.as_str(), listed.put.1.as_deref());
        let mut elsewhere: Vec<_> = others
            .map(|other: &Arc<Release>| {
                let (path, query) = match version {
                    Some(version) => version.put(&other.name, path, query),
                    None => (path.into(), query.map(Into::into)),
                };
                let key = KeyParts { path: &listed.cut.0, query: listed.cut.1.as_deref(), ..parts }.key();
                let query = query.map(std::borrow::Cow::into_owned);
                Elsewhere { key: key.of_release(other), path: path.into_owned(), query }
            })
            .collect();
        let key = KeyParts { path, query, ..parts }.key();
        elsewhere.push(Elsewhere { key, path: path.to_owned(), query: query.map(str::to_owned) });
        elsewhere
    }

    async fn is_the_file(&self, visit: &Visit, elsewhere: &Elsewhere, stored: &StoredResponse) -> bool {
        let Some(hashing) = visit.part().and_then(|part| part.proof.hashing()) else { return false };
        let Elsewhere { path, query, .. } = elsewhere;
        let (tags, came): (&Tags, _) = (&stored.tags, stored.freshness.received);
        let subject = Subject { path, query: query.as_deref(), tags, came };
        let standing = self.0.ledger.standing(&visit.route.site.marks, &subject, stored.born);
        stored.status == StatusCode::OK
            && !stored.headers.contains_key(header::CONTENT_ENCODING)
            && standing == Standing::Current
            && !self.0.fills.groups().covers(&elsewhere.key, stored)
            && self.hashes(&stored.body, hashing).await
    }

    /// Whether all bytes of a body are there, and what they are to be.
    async fn hashes(&self, body: &Body, mut hashing: Hashing) -> bool {
        let Some(names) = body.whole() else { return false };
        for id in names {
            let bytes = match self.0.tiers.chunk(id) {
                Some(bytes) => Some(bytes),
                None => match self.0.tiers.read(id) {
                    Some(read) => read.await,
                    None => None,
                },
            };
            let Some(bytes) = bytes else { return false };
            hashing.update(&bytes);
        }
        hashing.fits()
    }
}

/// The same, as a file of another release. It is as old as it is: what is purged after it came covers it there too.
fn taken_over(stored: &StoredResponse) -> StoredResponse {
    StoredResponse::new(StoredParts {
        status: stored.status,
        headers: stored.headers.clone(),
        selecting: Selecting::default(),
        etag: stored.etag.clone(),
        last_modified: stored.last_modified.clone(),
        length: stored.length,
        body: stored.body.clone(),
        freshness: stored.freshness,
        born: stored.born,
        tags: stored.tags.clone(),
    })
}
