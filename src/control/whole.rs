//! A pause between purges of everything: a script that runs wild must not keep the cache empty, and the LMS under the load of all.
//!
//! Within the pause a purge of the same site, scope or all is refused, and never taken for done. A soft one is let through: what is
//! stale may go on serving where the rules allow it.

use crate::{
    clock,
    ledger::{Fact, Purge, Record},
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// When each was purged last, and by which key. As many as there are sites and scopes.
type Last = HashMap<(&'static str, Vec<String>), (Instant, Option<String>)>;

/// The purges of everything so far.
#[derive(Debug)]
pub struct Wholes {
    pause: Duration,
    last: Mutex<Last>,
}

impl Wholes {
    /// None so far, and so long between two; zero: no pause.
    pub fn new(pause: Duration) -> Wholes {
        Wholes { pause, last: Mutex::default() }
    }

    /// Notes a purge that is about to be written, or says how long to wait. Asked again with its key it is the same one.
    pub(super) fn begin(&self, record: &Record) -> Result<(), Duration> {
        let Some(name) = self.name(record) else { return Ok(()) };
        let (now, key) = (clock::instant(), &record.about.key);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.get(&name) {
            Some((_, known)) if key.is_some() && known == key => Ok(()),
            Some((then, _)) if now.saturating_duration_since(*then) < self.pause => {
                Err(self.pause.saturating_sub(now.saturating_duration_since(*then)))
            }
            _ => {
                last.insert(name, (now, key.clone()));
                Ok(())
            }
        }
    }

    /// It was not written after all.
    pub(super) fn undo(&self, record: &Record) {
        if let Some(name) = self.name(record) {
            self.last.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        }
    }

    /// What is purged as a whole, if a pause is kept after it.
    fn name(&self, record: &Record) -> Option<(&'static str, Vec<String>)> {
        let whole = matches!(record.fact, Fact::Purge(Purge::Site {} | Purge::Scope {} | Purge::All {}));
        let pauses = whole && !record.about.soft && !self.pause.is_zero();
        pauses.then(|| (record.kind(), record.sites().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::Wholes;
    use crate::ledger::{About, Purge, Record};
    use std::time::Duration;

    #[test]
    fn the_second_of_two_waits_unless_it_is_the_same_or_soft_or_the_first_was_not_written() {
        let wholes = Wholes::new(Duration::from_secs(3600));
        let record = |purge, site: &str, soft, key: Option<&str>| {
            let about =
                About { sites: vec![site.into()], soft, key: key.map(Into::into), ..About::default() };
            Record::purge(purge, about)
        };
        let site = |key| record(Purge::Site {}, "a", false, key);
        assert_eq!(wholes.begin(&site(Some("k"))), Ok(()));
        assert_eq!(wholes.begin(&site(Some("k"))), Ok(()));
        let wait = wholes.begin(&site(Some("l"))).unwrap_err();
        assert!(wait > Duration::from_secs(3000), "{wait:?}");
        assert!(wholes.begin(&site(None)).is_err());
        for other in [
            record(Purge::Site {}, "b", false, None),
            record(Purge::Site {}, "a", true, None),
            record(Purge::Scope {}, "a", false, None),
            record(Purge::All {}, "a", false, None),
            record(Purge::Prefix { path: String::new() }, "a", false, None),
            record(Purge::Prefix { path: String::new() }, "a", false, None),
        ] {
            assert_eq!(wholes.begin(&other), Ok(()), "{other:?}");
        }
        wholes.undo(&site(None));
        assert_eq!(wholes.begin(&site(None)), Ok(()));
        assert!(wholes.begin(&site(None)).is_err());
        let none = Wholes::new(Duration::ZERO);
        assert_eq!((none.begin(&site(None)), none.begin(&site(None))), (Ok(()), Ok(())));
    }
}
