//! What is learned from an answer that was relayed: what an unsafe method made outdated (RFC 9111 §4.4, RFC 9875 §3), and
//! what the answer to a HEAD says of a stored response (RFC 9111 §4.3.5).

use crate::{
    cache::{Key, StoredResponse},
    edge::{Edge, Visit, route},
    fill::Heard,
    http_caching::{
        groups,
        invalidation::{self, Target},
    },
    ledger::Number,
    origin::Head,
    rules::Verdict,
    site::{Mode, Site},
};
use http::{HeaderMap, HeaderValue, Method};
use std::sync::Arc;

/// What an unsafe request was for, as far as its answer may make something outdated. It outlives the request.
pub(super) struct Unsafe {
    site: Arc<Site>,
    https: bool,
    host: HeaderValue,
    path: String,
    headers: HeaderMap,
    key: Key,
}

impl Unsafe {
    pub(super) fn of(visit: &Visit) -> Unsafe {
        let route = &visit.route;
        Unsafe {
            site: route.site.clone(),
            https: route.https,
            host: route.host.clone(),
            path: visit.path().to_owned(),
            headers: visit.parts.headers.clone(),
            key: route.key.clone(),
        }
    }

    /// The keys of what this answer makes outdated: its target, what it names of the same origin, its groups.
    fn outdates(self, answer: &Head) -> Vec<Key> {
        if !invalidation::is_non_error(answer.status) {
            return Vec::new();
        }
        let host = self.host.to_str().unwrap_or_default();
        let target = Target { https: self.https, host, path: &self.path };
        let named = invalidation::also_outdated(target, &answer.headers);
        let named = named
            .iter()
            .filter_map(|target| route::key_of_get(&self.site, self.https, host, target, &self.headers));
        let groups = groups::named(&groups::CACHE_GROUP_INVALIDATION, &answer.headers);
        let mut keys: Vec<Key> = named.chain(groups.iter().map(|group| self.key.group(group))).collect();
        keys.push(self.key);
        keys
    }
}

impl Edge {
    /// After the answer to an unsafe method: what it makes outdated is so when this returns.
    pub(super) async fn after_unsafe(&self, asked: Unsafe, answer: &Head) {
        for key in asked.outdates(answer) {
            self.outdate(&key).await;
        }
    }

    /// What a HEAD may tell of, if it goes to the origin. Looked at before it does, with the ledger's number of that moment. Where
    /// the LMS decides who may have it, nothing: what one is told says nothing of what others may have.
    pub(super) fn before_head(&self, visit: &Visit) -> Option<(Arc<StoredResponse>, Number)> {
        let looks_up = matches!(visit.route.verdict, Verdict::Cache(_) | Verdict::Obey);
        let asked = visit.route.access.asked().is_some();
        let stores = visit.mode != Mode::Relay && !self.0.handover.has_begun();
        if visit.parts.method != Method::HEAD || !looks_up || asked || !stores {
            return None;
        }
        let born = self.0.ledger.last();
        let slot = self.0.tiers.slot(&visit.route.key).or_else(|| visit.raised.clone())?;
        let stored = slot.select(&visit.parts.headers)?;
        (!self.outdated(visit, stored)).then(|| (stored.clone(), born))
    }

    /// After the answer to a HEAD: what is stored is brought up to date, or taken away if the origin has another by now.
    pub(super) async fn after_head(
        &self,
        visit: &Visit,
        about: (Arc<StoredResponse>, Number),
        answer: &Head,
    ) {
        let (stored, born) = about;
        let heard = Heard {
            key: &visit.route.key,
            site: &visit.route.site,
            policy: visit.policy().map(|policy| &**policy),
            path: visit.path(),
            query: visit.query(),
            sent: &visit.parts.headers,
            born,
        };
        self.0.fills.hear_of(&stored, &heard, answer).await;
    }
}
