//! Who is to be asked about again: a list with numbers, so that a yes that was asked for before does not come back after.

use super::{Digest, kept::Grant};
use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

/// Entries of the list; beyond that every yes is forgotten that was asked for before.
const LONGEST: usize = 4096;

/// Whose yes is to be forgotten. Who leaves all but the site out forgets all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forget {
    /// Name of the site.
    pub site: String,
    /// Content id, as the rule's template makes it of the path; the URL's path and query where the rule captures none.
    pub content: Option<String>,
    /// Digest of the credentials.
    pub learner: Option<Digest>,
}

impl Forget {
    fn names(&self, grant: &Grant) -> bool {
        *self.site == *grant.site
            && self.content.as_deref().is_none_or(|content| *content == *grant.content)
            && self.learner.is_none_or(|learner| learner == grant.digest)
    }
}

/// All forgets so far.
#[derive(Default)]
pub(super) struct Forgets {
    /// How many there were. Raised after the list has the newest.
    latest: AtomicU64,
    list: RwLock<List>,
}

#[derive(Default)]
struct List {
    /// What was asked for before this one is forgotten.
    floor: u64,
    after: Vec<(u64, Forget)>,
}

impl Forgets {
    pub(super) fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    pub(super) fn add(&self, forget: Forget) -> u64 {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let number = self.latest.load(Ordering::Acquire) + 1;
        if list.after.len() == LONGEST {
            *list = List { floor: number, after: Vec::new() };
        } else {
            list.after.push((number, forget));
        }
        self.latest.store(number, Ordering::Release);
        number
    }

    /// Whether a yes is forgotten. As long as nothing new is forgotten this is one comparison.
    pub(super) fn cover(&self, grant: &Grant) -> bool {
        let latest = self.latest();
        if grant.checked.load(Ordering::Acquire) == latest {
            return false;
        }
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let newer = list.after.iter().rev().take_while(|(number, _)| *number > grant.forgets);
        let covered = list.floor > grant.forgets || newer.into_iter().any(|(_, forget)| forget.names(grant));
        if !covered {
            grant.checked.store(latest, Ordering::Release);
        }
        covered
    }
}

#[cfg(test)]
mod tests {
    use super::{Forget, Forgets, LONGEST};
    use crate::access::asked::{Checks, kept::Grant, learner::test_learner};

    fn all(site: &str) -> Forget {
        Forget { site: site.into(), content: None, learner: None }
    }

    #[test]
    fn a_yes_asked_for_before_is_forgotten_and_one_asked_for_after_is_not() {
        let forgets = Forgets::default();
        let learner = test_learner();
        let asked = |forgets: &Forgets| {
            Grant::of(&super::super::Asking { forgets: forgets.latest(), ..Checks::new().asking(&learner) })
        };
        let before = asked(&forgets);
        assert!(!forgets.cover(&before));
        forgets.add(all("other"));
        assert!(!forgets.cover(&before), "another site");
        for named in [
            Forget { content: Some("8".into()), ..all("lms") },
            Forget { learner: Some("0".repeat(32).parse().unwrap()), ..all("lms") },
        ] {
            forgets.add(named.clone());
            assert!(!forgets.cover(&before), "{named:?}");
        }
        for named in [
            all("lms"),
            Forget { content: Some("7".into()), ..all("lms") },
            Forget { learner: Some(learner.digest()), ..all("lms") },
        ] {
            let before = asked(&forgets);
            forgets.add(named.clone());
            assert!(forgets.cover(&before), "{named:?}");
            assert!(!forgets.cover(&asked(&forgets)), "asked for after {named:?}");
        }
    }

    #[test]
    fn a_full_list_forgets_too_much_and_never_too_little() {
        let (forgets, learner) = (Forgets::default(), test_learner());
        let early = Grant::of(&Checks::new().asking(&learner));
        for _ in 0..=LONGEST {
            forgets.add(all("other"));
        }
        assert!(forgets.cover(&early));
        let late =
            Grant::of(&super::super::Asking { forgets: forgets.latest(), ..Checks::new().asking(&learner) });
        assert!(!forgets.cover(&late));
        forgets.add(all("lms"));
        assert!(forgets.cover(&late));
    }
}
