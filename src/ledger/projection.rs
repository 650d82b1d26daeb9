//! What the records add up to: per site two numbers, per url the highest number. Bounded: the oldest urls fold.
//!
//! One writer, any number of readers. The writer's order for a record: url entries, then the site's numbers, then
//! (in `log.rs`) the ledger's number. A reader goes the other way. Folding raises the site's *purged* before the url
//! entry goes, and a reader looks for the entry before it loads *purged*: it finds one of the two.

use super::record::Record;
use hashbrown::{DefaultHashBuilder, Equivalent, HashMap};
use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hash},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// What the ledger says of a site as a whole.
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
pub struct SiteMarks {
    index: u32,
    touched: AtomicU64,
    purged: AtomicU64,
}

impl SiteMarks {
    /// The highest record that concerns the site. A response found not outdated stays so until this moves.
    pub fn touched(&self) -> u64 {
        self.touched.load(Ordering::Acquire)
    }
}

/// The kind of a record that covers a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covering {
    /// A purge of its URL with every query.
    Url,
    /// A purge of its URL with its query alone.
    ExactUrl,
    /// A purge of its site, or one of another URL that is so old that it was folded into its site.
    Site,
}

/// One entry: a path of a site, with one query or (absent) with all of them.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Url {
    site: u32,
    path: Arc<str>,
    query: Option<Arc<str>>,
}

/// The same, borrowed, so that a look-up does not allocate. Hashes as [`Url`] does.
#[derive(Hash)]
struct UrlRef<'a> {
    site: u32,
    path: &'a str,
    query: Option<&'a str>,
}

impl Equivalent<Url> for UrlRef<'_> {
    fn equivalent(&self, url: &Url) -> bool {
        self.site == url.site && self.path == &*url.path && self.query == url.query.as_deref()
    }
}

/// A purge must not wait long for a reader, nor a reader for a purge of another url.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<Url, u64>>;

/// The maps that readers see.
pub(super) struct Projection {
    sites: RwLock<HashMap<Box<str>, Arc<SiteMarks>>>,
    hasher: DefaultHashBuilder,
    urls: [Shard; SHARDS],
}

impl Projection {
    pub(super) fn new() -> Projection {
        Projection {
            sites: RwLock::default(),
            hasher: DefaultHashBuilder::default(),
            urls: std::array::from_fn(|_| Shard::default()),
        }
    }

    /// See [`super::Ledger::marks`].
    pub(super) fn marks(&self, site: &str) -> Arc<SiteMarks> {
        // a panic while one of these locks is held leaves nothing half done: each holds one map operation
        if let Some(marks) = self.sites.read().unwrap_or_else(PoisonError::into_inner).get(site) {
            return marks.clone();
        }
        let mut sites = self.sites.write().unwrap_or_else(PoisonError::into_inner);
        let index = sites.len() as u32;
        sites
            .entry(site.into())
            .or_insert_with(|| {
                Arc::new(SiteMarks { index, touched: AtomicU64::new(0), purged: AtomicU64::new(0) })
            })
            .clone()
    }

    /// Whether a record above `born` covers this path and query.
    pub(super) fn covered(&self, marks: &SiteMarks, path: &str, query: Option<&str>, born: u64) -> bool {
        if born >= marks.touched() {
            return false;
        }
        let exact = Some(query.unwrap_or_default());
        self.highest(UrlRef { site: marks.index, path, query: None }) > born
            || self.highest(UrlRef { site: marks.index, path, query: exact }) > born
            || marks.purged.load(Ordering::Acquire) > born
    }

    /// Which records above `born` cover this path and query, told apart: the highest of each kind. Where
    /// [`covered`](Self::covered) says no there is none, but for records that come between the two questions.
    pub(super) fn covering(
        &self,
        marks: &SiteMarks,
        path: &str,
        query: Option<&str>,
        born: u64,
    ) -> Vec<(Covering, u64)> {
        let exact = Some(query.unwrap_or_default());
        let records = [
            (Covering::Url, self.highest(UrlRef { site: marks.index, path, query: None })),
            (Covering::ExactUrl, self.highest(UrlRef { site: marks.index, path, query: exact })),
            (Covering::Site, marks.purged.load(Ordering::Acquire)),
        ];
        records.into_iter().filter(|(_, number)| *number > born).collect()
    }

    /// The highest record of one entry, or 0.
    fn highest(&self, url: UrlRef<'_>) -> u64 {
        let shard = self.shard(&url).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&url).copied().unwrap_or(0)
    }

    fn shard(&self, url: &impl Hash) -> &Shard {
        &self.urls[(self.hasher.hash_one(url) >> 32) as usize % SHARDS]
    }
}

/// The one writer of a [`Projection`].
pub(super) struct Projector {
    projection: Arc<Projection>,
    /// Url entries in the order of their records, superseded ones among them.
    order: VecDeque<(u64, Arc<SiteMarks>, Url)>,
    /// Entries in the maps.
    kept: usize,
    bound: usize,
}

impl Projector {
    pub(super) fn new(projection: Arc<Projection>, bound: usize) -> Projector {
        Projector { projection, order: VecDeque::new(), kept: 0, bound }
    }

    /// Takes in the record with this number. Numbers only grow.
    pub(super) fn apply(&mut self, number: u64, record: &Record) {
        let sites: Vec<_> = record.sites().iter().map(|site| self.projection.marks(site)).collect();
        for marks in &sites {
            match record {
                Record::PurgeUrl { path, query, .. } => {
                    let (path, query) = (Arc::from(path.as_str()), query.as_deref().map(Arc::from));
                    self.set(number, marks.clone(), Url { site: marks.index, path, query });
                }
                Record::PurgeSite { .. } => {
                    marks.purged.fetch_max(number, Ordering::AcqRel);
                }
            }
        }
        for marks in &sites {
            marks.touched.fetch_max(number, Ordering::AcqRel);
        }
    }

    fn set(&mut self, number: u64, marks: Arc<SiteMarks>, url: Url) {
        let before = {
            let mut shard = self.projection.shard(&url).write().unwrap_or_else(PoisonError::into_inner);
            shard.insert(url.clone(), number)
        };
        self.order.push_back((number, marks, url));
        self.kept += usize::from(before.is_none());
        while self.kept > self.bound {
            self.fold_oldest();
        }
        // one url purged again and again must not grow the order
        if self.order.len() > 2 * self.bound + SHARDS {
            let projection = &self.projection;
            self.order.retain(|(number, _, url)| {
                let shard = projection.shard(url).read().unwrap_or_else(PoisonError::into_inner);
                shard.get(url) == Some(number)
            });
        }
    }

    /// The oldest entry becomes part of its site's *purged* number: too much is outdated, never too little.
    fn fold_oldest(&mut self) {
        let Some((number, marks, url)) = self.order.pop_front() else {
            debug_assert!(false, "entries are kept that the order does not know");
            self.kept = 0;
            return;
        };
        let shard = self.projection.shard(&url);
        if shard.read().unwrap_or_else(PoisonError::into_inner).get(&url) != Some(&number) {
            return; // superseded: a younger place in the order stands for it
        }
        marks.purged.fetch_max(number, Ordering::AcqRel);
        shard.write().unwrap_or_else(PoisonError::into_inner).remove(&url);
        self.kept -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Projection, Projector};
    use crate::ledger::Record;
    use std::sync::Arc;

    fn url(site: &str, path: &str, query: Option<&str>) -> Record {
        Record::PurgeUrl {
            sites: vec![site.into()],
            path: path.into(),
            query: query.map(String::from),
            who: String::new(),
            why: String::new(),
            when: 0,
            from: String::new(),
        }
    }

    #[test]
    fn what_is_covered_is_covered_by_a_record_that_can_be_named() {
        use super::Covering::{ExactUrl, Site, Url};
        let (projection, mut projector) = projector(10);
        projector.apply(1, &url("a", "/x", None));
        projector.apply(2, &url("a", "/x", Some("q")));
        projector.apply(
            3,
            &Record::PurgeSite {
                sites: vec!["b".into()],
                who: String::new(),
                why: String::new(),
                when: 0,
                from: String::new(),
            },
        );
        projector.apply(4, &url("b", "/x", Some("")));
        for (site, path, query, born, records) in [
            ("a", "/x", Some("q"), 0, &[(Url, 1), (ExactUrl, 2)][..]),
            ("a", "/x", Some("q"), 1, &[(ExactUrl, 2)]),
            ("a", "/x", None, 0, &[(Url, 1)]),
            ("a", "/x", None, 1, &[]),
            ("a", "/y", None, 0, &[]),
            ("b", "/y", None, 2, &[(Site, 3)]),
            ("b", "/x", None, 2, &[(ExactUrl, 4), (Site, 3)]),
            ("b", "/x", None, 4, &[]),
        ] {
            let marks = projection.marks(site);
            let found = projection.covering(&marks, path, query, born);
            assert_eq!(found, records, "{site} {path} {query:?} {born}");
            assert_eq!(projection.covered(&marks, path, query, born), !records.is_empty());
        }
    }

    fn projector(bound: usize) -> (Arc<Projection>, Projector) {
        let projection = Arc::new(Projection::new());
        (projection.clone(), Projector::new(projection, bound))
    }

    #[test]
    fn a_record_covers_what_it_names_and_nothing_else() {
        let (projection, mut projector) = projector(10);
        projector.apply(1, &url("a", "/x", None));
        projector.apply(2, &url("a", "/y", Some("q=1")));
        projector.apply(3, &url("a", "/z", Some("")));
        for (site, path, query, born, covered) in [
            ("a", "/x", None, 0, true),
            ("a", "/x", Some("any"), 0, true),
            ("a", "/x", None, 1, false),
            ("a", "/x/", None, 0, false),
            ("b", "/x", None, 0, false),
            ("a", "/y", Some("q=1"), 1, true),
            ("a", "/y", Some("q=1"), 2, false),
            ("a", "/y", Some("q=2"), 0, false),
            ("a", "/y", None, 0, false),
            ("a", "/z", None, 2, true),
            ("a", "/z", Some("q"), 0, false),
        ] {
            let marks = projection.marks(site);
            assert_eq!(
                projection.covered(&marks, path, query, born),
                covered,
                "{site} {path} {query:?} {born}"
            );
        }
    }

    #[test]
    fn the_oldest_url_folds_into_its_site_and_errs_to_too_much() {
        let (projection, mut projector) = projector(2);
        let (a, b) = (projection.marks("a"), projection.marks("b"));
        projector.apply(1, &url("a", "/1", None));
        projector.apply(2, &url("b", "/2", None));
        assert!(!projection.covered(&a, "/other", None, 0));
        projector.apply(3, &url("a", "/3", None));
        assert!(projection.covered(&a, "/1", None, 0), "what was purged stays so");
        assert!(projection.covered(&a, "/other", None, 0), "the site pays for the fold");
        assert!(!projection.covered(&a, "/1", None, 1), "but only for what is older than the folded record");
        assert!(!projection.covered(&b, "/other", None, 0), "another site does not");
    }

    #[test]
    fn a_url_purged_again_and_again_costs_one_entry() {
        let (projection, mut projector) = projector(2);
        projector.apply(1, &url("a", "/1", None));
        for number in 2..10_000 {
            projector.apply(number, &url("a", "/2", None));
        }
        assert!(projector.order.len() <= 2 * 2 + super::SHARDS + 1, "{}", projector.order.len());
        assert_eq!(projector.kept, 2);
        let marks = projection.marks("a");
        assert!(projection.covered(&marks, "/1", None, 0) && projection.covered(&marks, "/2", None, 9_998));
        assert!(!projection.covered(&marks, "/other", None, 0), "nothing was folded");
    }

    #[test]
    fn a_reader_beside_a_fold_finds_the_entry_or_the_site_number() {
        let (projection, mut projector) = projector(1);
        let marks = projection.marks("a");
        projector.apply(1, &url("a", "/0", None));
        let last = std::sync::atomic::AtomicU64::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 2..20_000 {
                    projector.apply(number, &url("a", &format!("/{number}"), None));
                    last.store(number, std::sync::atomic::Ordering::Release);
                }
            });
            while last.load(std::sync::atomic::Ordering::Acquire) < 19_999 {
                assert!(projection.covered(&marks, "/0", None, 0));
                let seen = last.load(std::sync::atomic::Ordering::Acquire);
                if seen > 1 {
                    assert!(projection.covered(&marks, &format!("/{seen}"), None, seen - 1));
                }
            }
        });
    }
}
