//! Whether a stored response still stands: for who made something of it meanwhile.

use crate::{
    cache::{Key, StoredResponse},
    fill::Fills,
    ledger::{SiteMarks, Subject},
};

impl Fills {
    /// Whether `stored`, or what it was freshened to, still stands under `key`, its site's marks, path and query, and neither a
    /// record nor a cache group outdates it. Where only the disk could tell that it was replaced, it is taken to stand.
    pub fn stands(
        &self,
        key: &Key,
        marks: &SiteMarks,
        (path, query): (&str, Option<&str>),
        stored: &StoredResponse,
    ) -> bool {
        let slot = self.tiers.slot(key);
        let present = match &slot {
            Some(slot) => slot.responses().iter().find(|present| present.same_body(stored)),
            None => None,
        };
        let present = match present {
            Some(present) => present,
            None if slot.is_none() && self.tiers.may_be_below(key) => stored,
            None => return false,
        };
        let subject = Subject { path, query, tags: &present.tags, came: present.freshness.received };
        !self.ledger.outdated(marks, &subject, present.born) && !self.groups.covers(key, present)
    }
}
