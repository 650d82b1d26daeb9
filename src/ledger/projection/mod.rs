//! What the records add up to: per site what is purged as a whole, per url, prefix, tag and module the highest numbers. Bounded:
//! the oldest entries fold into their site.
//!
//! This is the one place that decides whether a record covers a stored response. What is not used costs nothing: a site knows the
//! highest record of each kind, and how deep its prefixes go.
//!
//! One writer, any number of readers. The writer's order for a record: entries, then the site's numbers, then
//! (in `log.rs`) the ledger's number. A reader goes the other way. Folding raises the site's *purged* before the
//! entry goes, and a reader looks for the entry before it loads *purged*: it finds one of the two.

mod state;
#[cfg(test)]
mod tests;

pub(super) use state::{EntryState, ModuleState, Restoring, SiteState};

use super::{
    modules::Modules,
    record::{About, Fact, Purge, Record},
    step::{Release, Step, Told},
};
use crate::{
    clock::{self, unix_millis},
    http_caching::Tags,
};
use hashbrown::{DefaultHashBuilder, Equivalent, HashMap};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hash},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What is known of a stored response by which a record may cover it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Normalised path.
    pub path: &'a str,
    /// Query as sent to the origin.
    pub query: Option<&'a str>,
    /// What the origin named it by, as far as it is known.
    pub tags: &'a Tags,
    /// When it came; of what has not come yet, when it was asked for.
    pub came: SystemTime,
}

/// What the ledger makes of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No record covers it.
    Current,
    /// A purge was shortly before it: it serves until then, and may be old.
    Settling {
        /// When it is outdated.
        until: SystemTime,
    },
    /// A soft purge made it stale at this time.
    Stale {
        /// When: its freshness ended then at the latest.
        since: SystemTime,
    },
    /// It never serves.
    Outdated,
}

impl Standing {
    /// Whether a record covers it, be it a soft one.
    pub fn is_covered(self) -> bool {
        matches!(self, Standing::Stale { .. } | Standing::Outdated)
    }
}

/// The kind of a record that covers a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covering {
    /// A purge of its URL with every query.
    Url,
    /// A purge of its URL with its query alone.
    ExactUrl,
    /// A purge of a path above it, or of its own with all that is below.
    Prefix,
    /// A purge of one of its tags or cache groups.
    Tag,
    /// A purge of its module.
    Module,
    /// A purge of its site, its scope or of everything, or an older one that was folded into its site.
    Site,
}

/// The highest records of an entry, above which nothing is outdated by it. 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "[u64; 5]", from = "[u64; 5]")]
pub(super) struct Numbers {
    hard: u64,
    soft: u64,
    /// When the soft one was asked, milliseconds since the Unix epoch.
    since: u64,
    /// Until when the origin may lag behind a hard one, and a soft one: what came until then goes then.
    settled: u64,
    settled_soft: u64,
}

impl Numbers {
    fn of(number: u64, about: &About) -> Numbers {
        let &About { soft, when, settle, .. } = about;
        let settled = if settle == 0 { 0 } else { when.saturating_add(u64::from(settle) * 1000) };
        if soft {
            Numbers { soft: number, since: when, settled_soft: settled, ..Numbers::default() }
        } else {
            Numbers { hard: number, settled, ..Numbers::default() }
        }
    }

    /// Both, where `later` came later.
    fn and(self, later: Numbers) -> Numbers {
        let soft = if later.soft > self.soft { later } else { self };
        Numbers {
            hard: self.hard.max(later.hard),
            soft: soft.soft,
            since: soft.since,
            settled: self.settled.max(later.settled),
            settled_soft: self.settled_soft.max(later.settled_soft),
        }
    }

    fn highest(self) -> u64 {
        self.hard.max(self.soft)
    }

    /// When what came then has settled after all of them.
    fn settles(self) -> u64 {
        self.settled.max(self.settled_soft)
    }

    /// What they make of what has this `born` and came at this time, milliseconds since the Unix epoch.
    fn standing(self, born: u64, came: u64, now: &impl Fn() -> u64) -> Made {
        let past = |until: u64| came < until && until <= now();
        let mut made = Made { outdated: self.hard > born || past(self.settled), ..Made::default() };
        if self.soft > born {
            made.since = Some(self.since);
        } else if past(self.settled_soft) {
            made.since = Some(self.settled_soft);
        }
        let coming =
            [self.settled, self.settled_soft].into_iter().filter(|until| came < *until && now() < *until);
        made.until = coming.min();
        made
    }
}

/// What records make of a response; times in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Default)]
struct Made {
    outdated: bool,
    /// Stale since then.
    since: Option<u64>,
    /// Of use until then.
    until: Option<u64>,
}

impl Made {
    fn and(self, other: Made) -> Made {
        let first = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Made {
            outdated: self.outdated || other.outdated,
            since: first(self.since, other.since),
            until: first(self.until, other.until),
        }
    }
}

impl From<Made> for Standing {
    fn from(made: Made) -> Standing {
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        match made {
            Made { outdated: true, .. } => Standing::Outdated,
            Made { since: Some(since), .. } => Standing::Stale { since: at(since) },
            Made { until: Some(until), .. } => Standing::Settling { until: at(until) },
            _ => Standing::Current,
        }
    }
}

/// The same for a whole site, changed beside its readers.
#[derive(Debug, Default)]
struct Whole {
    hard: AtomicU64,
    soft: AtomicU64,
    since: AtomicU64,
    settled: AtomicU64,
    settled_soft: AtomicU64,
}

impl Whole {
    fn raise(&self, by: Numbers) {
        self.settled.fetch_max(by.settled, Ordering::AcqRel);
        self.settled_soft.fetch_max(by.settled_soft, Ordering::AcqRel);
        self.hard.fetch_max(by.hard, Ordering::AcqRel);
        if by.soft > self.soft.load(Ordering::Acquire) {
            self.since.store(by.since, Ordering::Release);
            self.soft.store(by.soft, Ordering::Release);
        }
    }

    /// Of two soft purges at once the later time may be read with the earlier number; both cover what that one does.
    fn numbers(&self) -> Numbers {
        let (hard, soft) = (self.hard.load(Ordering::Acquire), self.soft.load(Ordering::Acquire));
        Numbers {
            hard,
            soft,
            since: self.since.load(Ordering::Acquire),
            settled: self.settled.load(Ordering::Acquire),
            settled_soft: self.settled_soft.load(Ordering::Acquire),
        }
    }
}

/// What is purged apart from the rest of its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Url,
    Exact,
    Prefix,
    Tag,
    Module,
}

const KINDS: usize = 5;

/// What the ledger says of a site as a whole.
#[derive(Debug, Default)]
pub struct SiteMarks {
    index: u32,
    touched: AtomicU64,
    /// When all that was purged has settled, milliseconds since the Unix epoch.
    settles: AtomicU64,
    /// The highest record of each [`Kind`].
    kinds: [AtomicU64; KINDS],
    /// Slashes in the deepest prefix that was purged.
    deepest: AtomicU32,
    purged: Whole,
    modules: Modules,
}

impl SiteMarks {
    /// Its modules that have releases.
    pub fn modules(&self) -> &Modules {
        &self.modules
    }

    /// The highest record that concerns the site. A response found not outdated stays so until this moves.
    pub fn touched(&self) -> u64 {
        self.touched.load(Ordering::Acquire)
    }

    /// Whether what came at this time may still settle, or has not come again since it should have. No is certain.
    pub fn settles(&self, came: SystemTime) -> bool {
        unix_millis(came) < self.settles.load(Ordering::Acquire)
    }

    /// The highest record that covers by a name that only the origin's answer tells.
    pub fn named(&self) -> u64 {
        self.highest(Kind::Tag).max(self.highest(Kind::Module))
    }

    fn highest(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize].load(Ordering::Acquire)
    }

    fn has_above(&self, kind: Kind, born: u64) -> bool {
        self.highest(kind) > born
    }
}

/// One entry: something of a site, by its name; of an exact URL also its query.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Entry {
    site: u32,
    kind: Kind,
    name: Arc<str>,
    query: Option<Arc<str>>,
}

/// The same, borrowed, so that a look-up does not allocate. Hashes as [`Entry`] does.
#[derive(Hash)]
struct EntryRef<'a> {
    site: u32,
    kind: Kind,
    name: &'a str,
    query: Option<&'a str>,
}

impl Equivalent<Entry> for EntryRef<'_> {
    fn equivalent(&self, entry: &Entry) -> bool {
        self.site == entry.site
            && self.kind == entry.kind
            && self.name == &*entry.name
            && self.query == entry.query.as_deref()
    }
}

/// A purge must not wait long for a reader, nor a reader for a purge of another entry.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<Entry, Numbers>>;

/// The maps that readers see.
pub struct Projection {
    sites: RwLock<HashMap<Box<str>, Arc<SiteMarks>>>,
    /// What is purged of sites that nobody asked for yet.
    all: Whole,
    hasher: DefaultHashBuilder,
    entries: [Shard; SHARDS],
}

impl Projection {
    /// Of no record.
    #[expect(clippy::new_without_default, reason = "there is one, and it is made on purpose")]
    pub fn new() -> Projection {
        Projection {
            sites: RwLock::default(),
            all: Whole::default(),
            hasher: DefaultHashBuilder::default(),
            entries: std::array::from_fn(|_| Shard::default()),
        }
    }

    /// See [`super::Ledger::marks`].
    pub fn marks(&self, site: &str) -> Arc<SiteMarks> {
        // a panic while one of these locks is held leaves nothing half done: each holds one map operation
        if let Some(marks) = self.sites.read().unwrap_or_else(PoisonError::into_inner).get(site) {
            return marks.clone();
        }
        let mut sites = self.sites.write().unwrap_or_else(PoisonError::into_inner);
        let index = sites.len() as u32;
        let made = || {
            let marks = SiteMarks { index, ..SiteMarks::default() };
            marks.purged.raise(self.all.numbers());
            marks.settles.store(self.all.numbers().settles(), Ordering::Release);
            marks.touched.store(self.all.numbers().highest(), Ordering::Release);
            Arc::new(marks)
        };
        sites.entry(site.into()).or_insert_with(made).clone()
    }

    /// All releases that are active, staged, or can be gone back to.
    pub fn releases(&self) -> Vec<Arc<Release>> {
        let sites = self.sites.read().unwrap_or_else(PoisonError::into_inner);
        let modules = sites.values().flat_map(|marks| marks.modules.all());
        modules.flat_map(|(_, module)| module.releases().cloned().collect::<Vec<_>>()).collect()
    }

    /// What the records above `born` make of a stored response.
    pub fn standing(&self, marks: &SiteMarks, subject: &Subject<'_>, born: u64) -> Standing {
        let (came, now) = (unix_millis(subject.came), || unix_millis(clock::now()));
        let mut made = Made::default();
        self.each(marks, subject, born, |_, numbers| made = made.and(numbers.standing(born, came, &now)));
        made.into()
    }

    /// Which records above `born` cover a stored response, told apart: the highest of each kind, and whether it is a soft one.
    /// Where [`standing`](Self::standing) says that it is current there is none, but for records that come between the two
    /// questions.
    pub fn covering(
        &self,
        marks: &SiteMarks,
        subject: &Subject<'_>,
        born: u64,
    ) -> Vec<(Covering, u64, bool)> {
        let (came, now) = (unix_millis(subject.came), || unix_millis(clock::now()));
        let mut found: Vec<(Covering, u64, bool)> = Vec::new();
        self.each(marks, subject, born, |covering, numbers| {
            let made = numbers.standing(born, came, &now);
            if !Standing::from(made).is_covered() {
                return;
            }
            let soft = !made.outdated;
            let number = if soft { numbers.soft } else { numbers.hard };
            match found.iter_mut().find(|(kind, _, other)| *kind == covering && *other == soft) {
                Some((_, highest, _)) => *highest = number.max(*highest),
                None => found.push((covering, number, soft)),
            }
        });
        found
    }

    /// Whether a record above `born` covers what has these tags, by one of them, or with all of its site: what nobody could know
    /// who joined a fill before its head.
    pub fn outdated_by_name(&self, marks: &SiteMarks, tags: &Tags, born: u64) -> bool {
        let above = |kind, name| {
            let entry = EntryRef { site: marks.index, kind, name, query: None };
            marks.has_above(kind, born) && self.numbers(&entry).highest() > born
        };
        tags.names().iter().any(|tag| above(Kind::Tag, tag))
            || tags.module().is_some_and(|module| above(Kind::Module, module))
            // Looked at last: an old entry may have become part of it meanwhile.
            || (tags != Tags::NONE && marks.purged.numbers().highest() > born)
    }

    /// Hands on all entries that name the subject and have a record above `born`, or one that it came too shortly after; the site's
    /// own numbers last.
    fn each(
        &self,
        marks: &SiteMarks,
        subject: &Subject<'_>,
        born: u64,
        mut found: impl FnMut(Covering, Numbers),
    ) {
        let settles = marks.settles(subject.came);
        if born >= marks.touched() && !settles {
            return;
        }
        let Subject { path, query, tags, came } = *subject;
        let came = unix_millis(came);
        let mut look = |covering, numbers: Numbers| {
            if numbers.highest() > born || numbers.settles() > came {
                found(covering, numbers);
            }
        };
        let may_cover = |kind| settles || marks.has_above(kind, born);
        let numbers = |kind, name, query| self.numbers(&EntryRef { site: marks.index, kind, name, query });
        if may_cover(Kind::Url) {
            look(Covering::Url, numbers(Kind::Url, path, None));
        }
        if may_cover(Kind::Exact) {
            look(Covering::ExactUrl, numbers(Kind::Exact, path, Some(query.unwrap_or_default())));
        }
        if may_cover(Kind::Prefix) {
            let deepest = marks.deepest.load(Ordering::Acquire) as usize;
            for prefix in prefixes(path).take(deepest + 1) {
                look(Covering::Prefix, numbers(Kind::Prefix, prefix, None));
            }
        }
        if may_cover(Kind::Tag) {
            for tag in tags.names() {
                look(Covering::Tag, numbers(Kind::Tag, tag, None));
            }
        }
        if let Some(module) = tags.module().filter(|_| may_cover(Kind::Module)) {
            look(Covering::Module, numbers(Kind::Module, module, None));
        }
        look(Covering::Site, marks.purged.numbers());
    }

    /// What there is of one entry.
    fn numbers(&self, entry: &EntryRef<'_>) -> Numbers {
        let shard = self.shard(entry).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(entry).copied().unwrap_or_default()
    }

    fn shard(&self, entry: &impl Hash) -> &Shard {
        &self.entries[(self.hasher.hash_one(entry) >> 32) as usize % SHARDS]
    }
}

/// The prefixes of a path that end where a segment does, without the `/` there, shortest first: the one at place *n* has *n*
/// slashes.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let above = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| &path[..at]);
    above.chain([path])
}

/// The one writer of a [`Projection`].
pub struct Projector {
    projection: Arc<Projection>,
    /// Entries in the order of their records, superseded ones among them.
    order: VecDeque<(u64, Arc<SiteMarks>, Entry)>,
    /// Entries in the maps.
    kept: usize,
    bound: usize,
}

impl Projector {
    /// Of a projection that keeps so many entries apart.
    pub fn new(projection: Arc<Projection>, bound: usize) -> Projector {
        Projector { projection, order: VecDeque::new(), kept: 0, bound }
    }

    /// What it writes, for readers.
    pub fn projection(&self) -> &Arc<Projection> {
        &self.projection
    }

    /// Takes in the record with this number. Numbers only grow.
    pub fn apply(&mut self, number: u64, record: &Record) {
        let by = Numbers::of(number, &record.about);
        let purge = match &record.fact {
            Fact::Purge(purge) => purge,
            Fact::Release(step) => return self.apply_step(number, step, record),
        };
        let (kind, name, query) = match purge {
            Purge::All {} => return self.apply_to_all(by),
            Purge::Site {} | Purge::Scope {} => {
                for marks in self.concerned(record) {
                    marks.purged.raise(by);
                    marks.settles.fetch_max(by.settles(), Ordering::AcqRel);
                    marks.touched.fetch_max(number, Ordering::AcqRel);
                }
                return;
            }
            Purge::Url { path, query: None } => (Kind::Url, path, None),
            Purge::Url { path, query: Some(query) } => (Kind::Exact, path, Some(Arc::from(query.as_str()))),
            Purge::Prefix { path } => (Kind::Prefix, path, None),
            Purge::Tag { tag } => (Kind::Tag, tag, None),
            Purge::Module { module } => (Kind::Module, module, None),
        };
        let name: Arc<str> = Arc::from(name.as_str());
        for marks in self.concerned(record) {
            if kind == Kind::Prefix {
                let depth = name.bytes().filter(|byte| *byte == b'/').count();
                marks.deepest.fetch_max(u32::try_from(depth).unwrap_or(u32::MAX), Ordering::AcqRel);
            }
            let entry = Entry { site: marks.index, kind, name: name.clone(), query: query.clone() };
            self.set(number, by, marks.clone(), entry);
            marks.kinds[kind as usize].fetch_max(number, Ordering::AcqRel);
            marks.settles.fetch_max(by.settles(), Ordering::AcqRel);
            marks.touched.fetch_max(number, Ordering::AcqRel);
        }
    }

    /// A step of a release outdates nothing: what it leads to has keys of its own.
    fn apply_step(&mut self, number: u64, step: &Step, record: &Record) {
        let About { who, why, when, .. } = &record.about;
        let (who, why) = (who.as_str().into(), why.as_str().into());
        let told = Told { number, who, why, when: *when };
        for marks in self.concerned(record) {
            marks.modules.step(step, &told);
        }
    }

    fn concerned(&self, record: &Record) -> Vec<Arc<SiteMarks>> {
        record.sites().iter().map(|site| self.projection.marks(site)).collect()
    }

    /// A site that is asked for from here on finds it in `all`; one that was asked for before is in the map by now.
    fn apply_to_all(&self, by: Numbers) {
        self.projection.all.raise(by);
        let sites = self.projection.sites.read().unwrap_or_else(PoisonError::into_inner);
        for marks in sites.values() {
            marks.purged.raise(by);
            marks.settles.fetch_max(by.settles(), Ordering::AcqRel);
            marks.touched.fetch_max(by.highest(), Ordering::AcqRel);
        }
    }

    fn set(&mut self, number: u64, by: Numbers, marks: Arc<SiteMarks>, entry: Entry) {
        let before = {
            let mut shard = self.projection.shard(&entry).write().unwrap_or_else(PoisonError::into_inner);
            let before = shard.get(&entry).copied();
            shard.insert(entry.clone(), before.unwrap_or_default().and(by));
            before
        };
        self.order.push_back((number, marks, entry));
        self.kept += usize::from(before.is_none());
        self.fold();
        // one url purged again and again must not grow the order
        if self.order.len() > 2 * self.bound + SHARDS {
            let projection = &self.projection;
            self.order.retain(|(number, _, entry)| {
                let shard = projection.shard(entry).read().unwrap_or_else(PoisonError::into_inner);
                shard.get(entry).is_some_and(|numbers| numbers.highest() == *number)
            });
        }
    }

    fn fold(&mut self) {
        while self.kept > self.bound {
            self.fold_oldest();
        }
    }

    /// The oldest entry becomes part of its site's *purged* number: too much is outdated, never too little.
    fn fold_oldest(&mut self) {
        let Some((number, marks, entry)) = self.order.pop_front() else {
            debug_assert!(false, "entries are kept that the order does not know");
            self.kept = 0;
            return;
        };
        let shard = self.projection.shard(&entry);
        let numbers = shard.read().unwrap_or_else(PoisonError::into_inner).get(&entry).copied();
        let Some(numbers) = numbers.filter(|numbers| numbers.highest() == number) else {
            return; // superseded: a younger place in the order stands for it
        };
        marks.purged.raise(numbers);
        shard.write().unwrap_or_else(PoisonError::into_inner).remove(&entry);
        self.kept -= 1;
    }
}
