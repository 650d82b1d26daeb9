//! When each cache group was last made outdated (RFC 9875). In memory only: what came before this process serves is taken for
//! outdated if it has a group, so that a restart forgets no invalidation.

use crate::{
    cache::{Key, StoredResponse},
    http_caching::Tags,
};
use hashbrown::HashMap;
use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

/// Groups that are remembered apart; beyond that all that came so far and has a group is outdated.
const GROUPS: usize = 1 << 16;

/// What is remembered of a stored response that is in a group.
#[derive(Debug)]
pub(super) struct Grouped {
    /// How often groups had been made outdated when this response was last found not to be; 0: never looked.
    checked: AtomicU64,
}

impl Grouped {
    /// In the groups among these, if there is one.
    pub(super) fn of(tags: &Tags) -> Option<Box<Grouped>> {
        (!tags.groups().is_empty()).then(|| Box::new(Grouped { checked: AtomicU64::new(0) }))
    }
}

/// All groups of the node.
#[derive(Debug)]
pub struct Groups {
    /// How often something was made outdated, from 1.
    changes: AtomicU64,
    outdated: RwLock<Outdated>,
}

#[derive(Debug)]
struct Outdated {
    /// What has a group and came until then is outdated.
    until: SystemTime,
    /// By the group's key: which change it was, and when.
    groups: HashMap<Key, (u64, SystemTime)>,
}

impl Groups {
    /// All that came until `now` and has a group is outdated.
    pub fn from(now: SystemTime) -> Groups {
        let outdated = RwLock::new(Outdated { until: now, groups: HashMap::new() });
        Groups { changes: AtomicU64::new(1), outdated }
    }

    /// What came until `now` is outdated if it has a group: another process served until now.
    pub fn begin_anew(&self, now: SystemTime) {
        self.change(|outdated, _| outdated.until = now);
    }

    /// What is in the group of this key is outdated.
    pub fn outdate(&self, group: &Key, now: SystemTime) {
        self.change(|outdated, change| {
            if outdated.groups.len() >= GROUPS && !outdated.groups.contains_key(group) {
                outdated.groups.clear();
                outdated.until = now;
            }
            outdated.groups.insert(group.clone(), (change, now));
        });
    }

    /// Whether a stored response is outdated by one of its groups. Costs a comparison for one without groups, and for one that
    /// was found not to be, until something changes.
    pub fn covers(&self, key: &Key, stored: &StoredResponse) -> bool {
        let Some(grouped) = stored.grouped() else { return false };
        let changes = self.changes.load(Ordering::Acquire);
        let checked = grouped.checked.load(Ordering::Relaxed);
        if checked == changes {
            return false;
        }
        let covers =
            self.any(key, stored.tags.groups(), stored.freshness.received, |change| change > checked);
        if !covers {
            grouped.checked.store(changes, Ordering::Relaxed);
        }
        covers
    }

    /// Whether what was asked for at `requested` and is in these groups is outdated by now.
    pub fn cover(&self, key: &Key, names: &[Box<str>], requested: SystemTime) -> bool {
        !names.is_empty() && self.any(key, names, requested, |_| true)
    }

    fn any(&self, key: &Key, names: &[Box<str>], from: SystemTime, counts: impl Fn(u64) -> bool) -> bool {
        let outdated = self.outdated.read().unwrap_or_else(PoisonError::into_inner);
        from <= outdated.until
            || names
                .iter()
                .filter_map(|name| outdated.groups.get(&key.group(name)))
                .any(|(change, when)| counts(*change) && from <= *when)
    }

    fn change(&self, act: impl FnOnce(&mut Outdated, u64)) {
        let mut outdated = self.outdated.write().unwrap_or_else(PoisonError::into_inner);
        let change = self.changes.load(Ordering::Acquire) + 1;
        act(&mut outdated, change);
        self.changes.store(change, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{GROUPS, Groups};
    use crate::cache::{Key, KeyParts};
    use std::time::{Duration, SystemTime};

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn key(host: &str, https: bool) -> Key {
        KeyParts { scope: "lms", https, guarded: false, host, path: "/a", query: None }.key()
    }

    #[test]
    fn a_group_is_outdated_for_what_was_asked_for_before() {
        let groups = Groups::from(at(10));
        let (own, name) = (key("a", true), |name: &str| [Box::from(name)]);
        assert!(groups.cover(&own, &name("g"), at(10)), "from before this process");
        assert!(!groups.cover(&own, &[], at(10)), "without a group");
        assert!(!groups.cover(&own, &name("g"), at(11)));
        groups.outdate(&own.group("g"), at(20));
        for (what, key, group, asked, covered) in [
            ("asked for before", &own, "g", 20, true),
            ("asked for since", &own, "g", 21, false),
            ("another group", &own, "h", 15, false),
            ("names are told apart by case", &own, "G", 15, false),
            ("another host", &key("b", true), "g", 15, false),
            ("another scheme", &key("a", false), "g", 15, false),
        ] {
            assert_eq!(groups.cover(key, &name(group), at(asked)), covered, "{what}");
        }
        groups.begin_anew(at(30));
        assert!(groups.cover(&own, &name("h"), at(30)));
    }

    #[test]
    fn of_too_many_groups_all_are_outdated() {
        let (groups, own) = (Groups::from(at(0)), key("a", true));
        for n in 0..=GROUPS {
            groups.outdate(&own.group(&n.to_string()), at(5));
        }
        assert!(groups.cover(&own, &[Box::from("never named")], at(5)));
        assert!(!groups.cover(&own, &[Box::from("never named")], at(6)));
    }
}
