//! From changes to one batch: what stood before goes with all that belonged to it, and the counts go along.

use super::{COUNTS, Changes, Database, SegmentRecord, State, page_key, page_number, place};
use crate::cache::{
    Body, ChunkId, Key, Slot,
    disk::{
        DiskError, Place,
        codec::{self, BodyRecord, Outline, PAGE},
        error::guarded,
    },
};
use fjall::{OwnedWriteBatch, UserKey, UserValue};
use std::collections::HashMap;

/// Bodies of which is remembered what was written.
const REMEMBERED: usize = 1024;

/// A batch in the making.
pub(super) struct Draft<'a> {
    database: &'a Database,
    batch: OwnedWriteBatch,
    state: State,
    written: &'a mut HashMap<u128, Vec<u16>>,
    /// What this batch has changed already: reads do not see it.
    heads: HashMap<[u8; 32], Option<Outline>>,
    places: HashMap<ChunkId, Option<Place>>,
}

impl<'a> Draft<'a> {
    /// A batch that follows `state`.
    pub(super) fn new(
        database: &'a Database,
        state: State,
        written: &'a mut HashMap<u128, Vec<u16>>,
    ) -> Draft<'a> {
        if written.len() > REMEMBERED {
            written.clear();
        }
        let (batch, heads, places) = (database.batch(), HashMap::new(), HashMap::new());
        Draft { database, batch, state, written, heads, places }
    }

    /// Writes `changes`; gives the state after them.
    pub(super) fn commit(mut self, changes: &Changes) -> Result<State, DiskError> {
        for (id, place) in &changes.places {
            self.put_place(id, *place)?;
        }
        for (id, place) in &changes.dropped {
            self.drop_place(id, place)?;
        }
        for digest in &changes.forgotten {
            self.forget(digest)?;
        }
        for (order, digest) in &changes.evicted {
            self.evict(*order, digest)?;
        }
        for (order, digest) in &changes.renewed {
            self.renew(*order, digest)?;
        }
        for (key, slot) in &changes.slots {
            match slot.as_ref().filter(|slot| !slot.responses().is_empty()) {
                Some(slot) => self.put_slot(key, slot)?,
                None => self.forget(&key.digest())?,
            }
        }
        let about = &self.database.about;
        for segment in &changes.segments {
            self.batch.insert(about, SegmentRecord::key(segment.number), segment.to_bytes());
        }
        for number in &changes.gone {
            self.batch.remove(about, SegmentRecord::key(*number));
        }
        self.state.batch += 1;
        self.batch.insert(about, COUNTS, self.state.to_bytes());
        guarded(|| self.batch.commit())?;
        Ok(self.state)
    }

    fn put_place(&mut self, id: &ChunkId, new: Place) -> Result<(), DiskError> {
        let old = self.place(id)?;
        let counts = &mut self.state.counts;
        match old {
            Some(old) => counts.chunk_bytes = counts.chunk_bytes.saturating_sub(old.length.into()),
            None => counts.chunks += 1,
        }
        counts.chunk_bytes += u64::from(new.length);
        self.batch.insert(&self.database.places, id.as_bytes(), new.to_bytes());
        self.places.insert(*id, Some(new));
        Ok(())
    }

    fn drop_place(&mut self, id: &ChunkId, gone: &Place) -> Result<(), DiskError> {
        if self.place(id)?.as_ref() != Some(gone) {
            return Ok(());
        }
        let counts = &mut self.state.counts;
        counts.chunks = counts.chunks.saturating_sub(1);
        counts.chunk_bytes = counts.chunk_bytes.saturating_sub(gone.length.into());
        self.batch.remove(&self.database.places, id.as_bytes());
        self.places.insert(*id, None);
        Ok(())
    }

    fn place(&self, id: &ChunkId) -> Result<Option<Place>, DiskError> {
        self.places.get(id).map_or_else(|| place(self.database, id), |changed| Ok(*changed))
    }

    fn put_slot(&mut self, key: &Key, slot: &Slot) -> Result<(), DiskError> {
        let digest = key.digest();
        let old = self.outline(&digest)?;
        let order = self.state.next;
        self.state.next += 1;
        self.batch.insert(&self.database.heads, digest, codec::encode_slot(key, order, slot));
        self.batch.insert(&self.database.order, order.to_be_bytes(), digest);
        self.state.counts.responses += slot.responses().len() as u64;
        let mut bodies: Vec<BodyRecord> = Vec::with_capacity(slot.responses().len());
        for stored in slot.responses() {
            let record = BodyRecord { identity: stored.body.identity(), length: stored.length };
            if !bodies.contains(&record) {
                let new = old.as_ref().is_none_or(|old| !old.bodies.contains(&record));
                self.put_pages(record, &stored.body, new)?;
            }
            bodies.push(record);
        }
        if let Some(old) = old {
            self.remove_rest(&old, &bodies)?;
        }
        self.heads.insert(digest, Some(Outline { order, bodies }));
        Ok(())
    }

    fn forget(&mut self, digest: &[u8; 32]) -> Result<(), DiskError> {
        if let Some(old) = self.outline(digest)? {
            self.remove_rest(&old, &[])?;
        }
        // also one that cannot be read
        self.batch.remove(&self.database.heads, digest);
        self.heads.insert(*digest, None);
        Ok(())
    }

    fn evict(&mut self, order: u64, digest: &[u8; 32]) -> Result<(), DiskError> {
        if self.outline(digest)?.is_none_or(|found| found.order == order) {
            self.forget(digest)?;
        }
        self.batch.remove(&self.database.order, order.to_be_bytes());
        Ok(())
    }

    fn renew(&mut self, order: u64, digest: &[u8; 32]) -> Result<(), DiskError> {
        let Some(old) = self.outline(digest)?.filter(|found| found.order == order) else {
            return self.evict(order, digest);
        };
        let Some(value) = guarded(|| self.database.heads.get(digest))? else { return Ok(()) };
        self.batch.remove(&self.database.order, order.to_be_bytes());
        let new = self.state.next;
        self.state.next += 1;
        self.batch.insert(&self.database.heads, digest, codec::renumber(&value, new)?);
        self.batch.insert(&self.database.order, new.to_be_bytes(), digest);
        self.heads.insert(*digest, Some(Outline { order: new, ..old }));
        Ok(())
    }

    /// What stands under a digest. What cannot be read counts as nothing: only its pages stay behind.
    fn outline(&self, digest: &[u8; 32]) -> Result<Option<Outline>, DiskError> {
        if let Some(changed) = self.heads.get(digest) {
            return Ok(changed.clone());
        }
        let value = guarded(|| self.database.heads.get(digest))?;
        Ok(value.and_then(|value| codec::outline(&value).ok()))
    }

    /// Takes away what belonged to `old`, but the bodies that are in use again.
    fn remove_rest(&mut self, old: &Outline, again: &[BodyRecord]) -> Result<(), DiskError> {
        self.batch.remove(&self.database.order, old.order.to_be_bytes());
        let counts = &mut self.state.counts;
        counts.responses = counts.responses.saturating_sub(old.bodies.len() as u64);
        for body in old.bodies.iter().filter(|body| body.pages() > 0 && !again.contains(body)) {
            let written = self.written.remove(&body.identity).map_or(0, |pages| pages.len() as u32);
            for page in 0..written {
                self.batch.remove(&self.database.lists, page_key(body.identity, page));
            }
            for (key, _) in self.pages(body.identity)? {
                self.batch.remove(&self.database.lists, key);
            }
        }
        Ok(())
    }

    /// Writes the pages of a body that have more names than those on the medium. Names are never taken away.
    fn put_pages(&mut self, record: BodyRecord, body: &Body, new: bool) -> Result<(), DiskError> {
        if record.pages() == 0 {
            return Ok(());
        }
        let mut written = match self.written.remove(&record.identity) {
            Some(written) => written,
            None if new => Vec::new(),
            None => self.written_pages(record)?,
        };
        let changed = body.with_names(|names| {
            let names = &names[..names.len().min(Body::count(record.length))];
            let mut changed = Vec::new();
            written.resize(written.len().max(names.len().div_ceil(PAGE)), 0);
            for ((page, names), written) in (0..).zip(names.chunks(PAGE)).zip(&mut written) {
                let known = names.iter().flatten().count() as u16;
                if known != *written {
                    *written = known;
                    changed.push((page, codec::encode_page(record.identity, page, names)));
                }
            }
            changed
        });
        for (page, value) in changed {
            self.batch.insert(&self.database.lists, page_key(record.identity, page), value);
        }
        self.written.insert(record.identity, written);
        Ok(())
    }

    /// Names in each page on the medium.
    fn written_pages(&self, record: BodyRecord) -> Result<Vec<u16>, DiskError> {
        let mut written = Vec::new();
        for (key, value) in self.pages(record.identity)? {
            let page = page_number(&key)?;
            // One that cannot be read is written again.
            let names = codec::decode_page(record.identity, page, &value).unwrap_or_default();
            if page < record.pages() {
                written.resize(page as usize, 0);
                written.push(names.iter().flatten().count() as u16);
            }
        }
        Ok(written)
    }

    fn pages(&self, identity: u128) -> Result<Vec<(UserKey, UserValue)>, DiskError> {
        let pages = || self.database.lists.prefix(identity.to_be_bytes());
        guarded(|| pages().map(fjall::Guard::into_inner).collect())
    }
}
