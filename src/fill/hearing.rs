//! What the answer to a relayed HEAD changes of a stored response (RFC 9111 §4.3.5).

use crate::{
    cache::{Key, StoredResponse},
    fill::{
        Fills,
        decide::{self, Sent},
    },
    http_caching::freshen::{self, HeadSays},
    ledger::Number,
    origin::Head,
    rules::Policy,
    site::Site,
};
use http::{HeaderMap, header};
use std::sync::Arc;

/// A HEAD that was relayed.
pub struct Heard<'a> {
    /// Its key.
    pub key: &'a Key,
    /// Its site.
    pub site: &'a Site,
    /// Policy of the rule, if one says cache.
    pub policy: Option<&'a Policy>,
    /// Normalised path.
    pub path: &'a str,
    /// Query as sent to the origin.
    pub query: Option<&'a str>,
    /// The fields that were sent.
    pub sent: &'a HeaderMap,
    /// The ledger's number noted before it left.
    pub born: Number,
}

impl Fills {
    /// Brings what is stored up to date by the answer to a HEAD, or withdraws it where that tells of another. An answer to who
    /// showed credentials withdraws nothing, and updates only what may be stored under them: what one learner is answered says
    /// little of what others are.
    pub async fn hear_of(&self, stored: &StoredResponse, heard: &Heard<'_>, answer: &Head) {
        let credentials =
            heard.sent.contains_key(header::COOKIE) || heard.sent.contains_key(header::AUTHORIZATION);
        match freshen::by_head(&stored.headers, stored.length, answer.status, &answer.headers) {
            HeadSays::Nothing => {}
            HeadSays::Another if credentials => {}
            HeadSays::Another => self.tiers.withdraw(heard.key, &stored.body).await,
            HeadSays::Same => self.freshen_by_head(stored, heard, answer).await,
        }
    }

    async fn freshen_by_head(&self, stored: &StoredResponse, heard: &Heard<'_>, answer: &Head) {
        let sent = Sent {
            headers: heard.sent,
            path: heard.path,
            version: heard.policy.and_then(|policy| policy.version_of(heard.path, heard.query)),
            policy: heard.policy,
            targets: &heard.site.targeted_fields,
            asked: false,
            proof: None,
        };
        let Some(new) = decide::freshened(stored, answer, sent, heard.born).map(Arc::new) else { return };
        // If something else stands there by now, that is the younger one.
        self.freshen(heard.key, &new, answer.requested).await;
    }
}
