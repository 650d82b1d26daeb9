//! What a projection held at some record, in parts that can be written down and read again.
//!
//! It may be taken beside the writer: what it holds of later records is what those say, and taking them in once more changes
//! nothing. Entries are handed out before the sites that they may fold into meanwhile.

use super::{Entry, Kind, Numbers, Projection, Projector, SiteMarks};
use crate::ledger::step::{Module, Release, Told};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Arc, PoisonError, atomic::Ordering},
};

/// An entry: number of its site, kind, name, query of an exact URL, records.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::ledger) struct EntryState<'a>(
    u32,
    Kind,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Option<Cow<'a, str>>,
    Numbers,
);

/// A site; its number is how many stand before it.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::ledger) struct SiteState<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    touched: u64,
    settles: u64,
    kinds: [u64; super::KINDS],
    deepest: u32,
    purged: Numbers,
}

/// A module of a site, with its releases.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::ledger) struct ModuleState {
    site: String,
    module: String,
    active: Option<(Release, Told)>,
    staged: Option<Release>,
    previous: Option<Release>,
    last: u64,
}

impl From<Numbers> for [u64; 5] {
    fn from(numbers: Numbers) -> [u64; 5] {
        let Numbers { hard, soft, since, settled, settled_soft } = numbers;
        [hard, soft, since, settled, settled_soft]
    }
}

impl From<[u64; 5]> for Numbers {
    fn from([hard, soft, since, settled, settled_soft]: [u64; 5]) -> Numbers {
        Numbers { hard, soft, since, settled, settled_soft }
    }
}

impl Projection {
    /// Hands out every entry. Nobody waits for who takes them.
    pub(in crate::ledger) fn entries<E>(
        &self,
        mut each: impl FnMut(EntryState<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for shard in &self.entries {
            let held: Vec<(Entry, Numbers)> = {
                let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
                shard.iter().map(|(entry, numbers)| (entry.clone(), *numbers)).collect()
            };
            for (Entry { site, kind, name, query }, numbers) in &held {
                let query = query.as_deref().map(Cow::Borrowed);
                each(EntryState(*site, *kind, Cow::Borrowed(name), query, *numbers))?;
            }
        }
        Ok(())
    }

    /// Hands out every site, and then what is purged of sites to come. After the entries.
    pub(in crate::ledger) fn sites<E>(
        &self,
        each: impl FnMut(SiteState<'_>) -> Result<(), E>,
    ) -> Result<Numbers, E> {
        let sites = self.sites.read().unwrap_or_else(PoisonError::into_inner);
        let mut marked: Vec<(&str, &SiteMarks)> =
            sites.iter().map(|(name, marks)| (&**name, &**marks)).collect();
        marked.sort_unstable_by_key(|(_, marks)| marks.index);
        marked.into_iter().map(|(name, marks)| marks.state(name)).try_for_each(each)?;
        Ok(self.all.numbers())
    }

    /// Hands out every module that has releases.
    pub(in crate::ledger) fn modules<E>(
        &self,
        mut each: impl FnMut(ModuleState) -> Result<(), E>,
    ) -> Result<(), E> {
        let sites = self.sites.read().unwrap_or_else(PoisonError::into_inner);
        let of = |release: &Arc<Release>| Release::clone(release);
        for (site, marks) in sites.iter() {
            for (name, module) in marks.modules.all() {
                each(ModuleState {
                    site: site.to_string(),
                    module: name.to_string(),
                    active: module.active.as_ref().map(|(release, told)| (of(release), told.clone())),
                    staged: module.staged.as_ref().map(of),
                    previous: module.previous.as_ref().map(of),
                    last: module.last,
                })?;
            }
        }
        Ok(())
    }
}

impl SiteMarks {
    fn state<'a>(&self, name: &'a str) -> SiteState<'a> {
        SiteState {
            name: Cow::Borrowed(name),
            touched: self.touched(),
            settles: self.settles.load(Ordering::Acquire),
            kinds: std::array::from_fn(|kind| self.kinds[kind].load(Ordering::Acquire)),
            deepest: self.deepest.load(Ordering::Acquire),
            purged: self.purged.numbers(),
        }
    }
}

/// A projection that is being put together of its parts.
pub(in crate::ledger) struct Restoring {
    projection: Projection,
    entries: Vec<(Entry, Numbers)>,
    sites: Vec<Arc<SiteMarks>>,
}

impl Restoring {
    pub(in crate::ledger) fn new() -> Restoring {
        Restoring { projection: Projection::new(), entries: Vec::new(), sites: Vec::new() }
    }

    pub(in crate::ledger) fn entry(&mut self, entry: EntryState<'_>) {
        let EntryState(site, kind, name, query, numbers) = entry;
        let entry = Entry { site, kind, name: name.into(), query: query.map(Arc::from) };
        self.entries.push((entry, numbers));
    }

    pub(in crate::ledger) fn site(&mut self, state: &SiteState<'_>) {
        let marks = self.projection.marks(&state.name);
        for (kind, number) in marks.kinds.iter().zip(state.kinds) {
            kind.store(number, Ordering::Release);
        }
        marks.deepest.store(state.deepest, Ordering::Release);
        marks.purged.raise(state.purged);
        marks.settles.store(state.settles, Ordering::Release);
        marks.touched.store(state.touched, Ordering::Release);
        self.sites.push(marks);
    }

    pub(in crate::ledger) fn module(&mut self, state: ModuleState) {
        let ModuleState { site, module: name, active, staged, previous, last } = state;
        let active = active.map(|(release, told)| (Arc::new(release), told));
        let module = Module { active, staged: staged.map(Arc::new), previous: previous.map(Arc::new), last };
        self.projection.marks(&site).modules.restore(&name, module);
    }

    pub(in crate::ledger) fn all(&mut self, purged: Numbers) {
        self.projection.all.raise(purged);
    }

    /// The whole, to go on with, with at most so many entries kept apart. Nothing, if parts are missing.
    pub(in crate::ledger) fn done(self, bound: usize) -> Option<Projector> {
        let Restoring { projection, mut entries, sites } = self;
        entries.sort_unstable_by_key(|(_, numbers)| numbers.highest());
        let mut order = VecDeque::with_capacity(entries.len());
        for (entry, numbers) in entries {
            let marks = sites.get(entry.site as usize).filter(|marks| marks.index == entry.site)?;
            order.push_back((numbers.highest(), marks.clone(), entry.clone()));
            projection.shard(&entry).write().unwrap_or_else(PoisonError::into_inner).insert(entry, numbers);
        }
        let kept = order.len();
        let mut projector = Projector { projection: Arc::new(projection), order, kept, bound };
        projector.fold();
        Some(projector)
    }
}
