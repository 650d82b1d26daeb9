//! The index of a folder: where chunks are, and what stands under a key (`docs/disk-format.md`).
//!
//! Reads come from any thread. Writes come from the folder's writer and from nobody else, in batches that stand whole or
//! not at all. A key is found by its digest; the whole key stands in the value and is compared.

mod commit;
mod database;
#[cfg(test)]
mod tests;

use self::{commit::Draft, database::Database};
use super::{
    Alive, DiskError, Filter, Place,
    codec::{self, BodyRecord},
    error::guarded,
};
use crate::cache::{Body, ChunkId, Key, Slot};
use fjall::{Keyspace, Readable, Snapshot, UserKey, UserValue};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{ErrorKind, Write},
    ops::Bound,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

const FILTER: &str = "filter";
const FILTER_UNFINISHED: &str = "filter.new";
const SEGMENT: &[u8] = b"segment ";
const COUNTS: &[u8] = b"counts";
/// There while heads are being cleared.
const CLEARING: &[u8] = b"clearing";

/// Keys read at once by who reads all.
const STEP: usize = 4096;
/// Share of a folder that the journals may take before everything is written into tables …
const JOURNAL_SHARE: u64 = 16;
/// … but not for fewer bytes than these, as look-ups wait meanwhile …
const JOURNAL_LEAST: u64 = 4 << 20;
/// … nor only for more than these: after a crash they are read before anything else.
const JOURNAL_MOST: u64 = 16 << 20;

/// What a folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stored responses.
    pub responses: u64,
    /// Chunks.
    pub chunks: u64,
    /// Their bytes.
    pub chunk_bytes: u64,
}

/// A segment file, as far as it is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Its number.
    pub number: u32,
    /// Bytes of it that are committed.
    pub bytes: u64,
    /// Frames in those.
    pub frames: u32,
    /// Which frames were read, a bit each, if that was written down.
    pub marks: Option<Vec<u8>>,
}

/// What is to change, all or nothing.
#[derive(Debug, Default)]
pub struct Changes {
    /// Chunks that are at these places from now on.
    pub places: Vec<(ChunkId, Place)>,
    /// Chunks that are no longer at these places; one that is elsewhere by now stays.
    pub dropped: Vec<(ChunkId, Place)>,
    /// Newest states of slots; nothing, or a slot without a response, takes away what stands there.
    pub slots: Vec<(Key, Option<Arc<Slot>>)>,
    /// Digests of keys under which nothing stands any more.
    pub forgotten: Vec<[u8; 32]>,
    /// Of what [`Index::oldest`] gave: what goes, unless it was written anew since.
    pub evicted: Vec<(u64, [u8; 32])>,
    /// Of what [`Index::oldest`] gave: what becomes the youngest, unless it was written anew since.
    pub renewed: Vec<(u64, [u8; 32])>,
    /// Segments as they are from now on.
    pub segments: Vec<SegmentRecord>,
    /// Numbers of segments that are no more.
    pub gone: Vec<u32>,
}

/// The index of a folder.
pub struct Index {
    folder: PathBuf,
    limit: u64,
    /// Nothing while it is closed, or could not be opened again.
    database: RwLock<Option<Database>>,
    /// The right to write. Its owner may take the lock above too, and nobody takes them in the other order.
    writer: Mutex<Writer>,
    counts: Mutex<Counts>,
    /// Numbers of the order below this one are gone: a search from the first would step over all that were ever there.
    oldest: AtomicU64,
    filter: Filter,
}

/// What is known of the end of what was committed.
#[derive(Debug, Default)]
struct Writer {
    state: State,
    /// Names in each page of bodies that were written lately: the pages with more by now are written anew.
    written: HashMap<u128, Vec<u16>>,
    /// A filter stands in a file, and will not be right after the next batch.
    saved: bool,
    /// Another process may have written since.
    given_up: bool,
}

/// What each batch writes down of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// Batches so far.
    batch: u64,
    /// Number that the next slot has in the order of writing.
    next: u64,
    counts: Counts,
}

impl Index {
    /// Opens the index of a folder that may take `limit` bytes in all; makes an empty one if there is none. Reads neither
    /// heads nor places. [`Index::filter`] may know nothing afterwards; see [`Index::renew_filter`].
    ///
    /// # Errors
    /// [`DiskError::Newer`], [`DiskError::Older`]: it has another format. [`DiskError::Panicked`], [`DiskError::Store`]: it is
    /// damaged, unless [`DiskError::kind`] says what else.
    pub fn open(folder: &Path, limit: u64) -> Result<Index, DiskError> {
        let index = Index {
            folder: folder.into(),
            limit,
            database: RwLock::new(None),
            writer: Mutex::new(Writer { given_up: true, ..Writer::default() }),
            counts: Mutex::default(),
            oldest: AtomicU64::new(0),
            filter: Filter::default(),
        };
        index.reopen()?;
        Ok(index)
    }

    /// Opens it anew, after [`DiskError::Poisoned`], [`Index::close`], or if that could not be done before. Reads wait for it.
    ///
    /// # Errors
    /// As for [`Index::open`]; it is closed then.
    pub fn reopen(&self) -> Result<(), DiskError> {
        let mut writer = lock(&self.writer);
        self.replace(|database| {
            database.close();
            Ok(())
        })?;
        let state = self.with(|database| {
            if guarded(|| database.about.contains_key(CLEARING))? { clear(database) } else { state(database) }
        })?;
        if writer.given_up {
            let file = fs::read(self.folder.join(FILTER));
            *writer = Writer { saved: file.is_ok(), ..Writer::default() };
            self.filter.take(&file.unwrap_or_default(), state.batch);
            self.oldest.store(0, Ordering::Relaxed);
        }
        writer.written.clear();
        writer.state = state;
        *lock(&self.counts) = state.counts;
        Ok(())
    }

    /// Closes it so that it opens fast, with the filter in a file. What is asked of it then ends in [`DiskError::Closed`].
    ///
    /// # Errors
    /// Not all of that could be written; it is closed nevertheless, and nothing that was committed is lost.
    pub fn close(&self) -> Result<(), DiskError> {
        let mut writer = lock(&self.writer);
        let flushed = self.with(Database::flush);
        let saved = flushed.and_then(|()| self.save_filter(writer.state.batch));
        writer.given_up = true;
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        match place.take() {
            Some(database) if saved.is_ok() => database.close_flushed(),
            Some(database) => {
                database.close();
                saved
            }
            None => Ok(()),
        }
    }

    /// The place of a chunk.
    pub fn place(&self, id: &ChunkId) -> Result<Option<Place>, DiskError> {
        self.with(|database| place(database, id))
    }

    /// What stands under `key`. A body that is alive is that one.
    ///
    /// # Errors
    /// [`DiskError::Damaged`]: what stands there cannot be read; others can.
    pub fn slot(&self, key: &Key, alive: &Alive) -> Result<Option<Slot>, DiskError> {
        self.with(|database| {
            let now = database.snapshot();
            let Some(value) = guarded(|| now.get(&database.heads, key.digest()))? else { return Ok(None) };
            let (found, slot) = decoded(database, &now, &value, alive)?;
            Ok((found == *key).then_some(slot))
        })
    }

    /// The key with this digest, if something stands under it that can be read.
    pub(in crate::cache::disk) fn key_of(&self, digest: &[u8; 32]) -> Result<Option<Key>, DiskError> {
        let value = self.with(|database| guarded(|| database.heads.get(digest)))?;
        Ok(value.and_then(|value| codec::key(&value).ok()))
    }

    /// The segments, by number.
    pub fn segments(&self) -> Result<Vec<SegmentRecord>, DiskError> {
        self.with(|database| {
            let read = || database.about.prefix(SEGMENT).map(fjall::Guard::into_inner).collect();
            let pairs: Vec<(UserKey, UserValue)> = guarded(read)?;
            pairs.iter().map(|(key, value)| SegmentRecord::from_bytes(key, value)).collect()
        })
    }

    /// What the folder holds, as of the last batch.
    pub fn counts(&self) -> Counts {
        *lock(&self.counts)
    }

    /// Which digests, of keys and of chunks, may be there.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Bytes of the index on the medium. The folder's, if it is closed, are not known.
    pub fn bytes(&self) -> u64 {
        self.with(|database| Ok(database.bytes())).unwrap_or(0)
    }

    /// The `most` slots that were written longest ago: number in the order of writing, and digest of the key.
    pub fn oldest(&self, most: usize) -> Result<Vec<(u64, [u8; 32])>, DiskError> {
        let from = self.oldest.load(Ordering::Relaxed).to_be_bytes();
        let read = |database: &Database| {
            guarded(|| database.order.range(from..).take(most).map(fjall::Guard::into_inner).collect())
        };
        let pairs: Vec<(UserKey, UserValue)> = self.with(read)?;
        let oldest: Vec<_> =
            pairs.iter().map(|(key, value)| order_record(key, value)).collect::<Result<_, _>>()?;
        if let Some((first, _)) = oldest.first() {
            self.oldest.fetch_max(*first, Ordering::Relaxed);
        }
        Ok(oldest)
    }

    /// Every chunk and its place, until `each` says no. What changes meanwhile may be missed.
    pub fn each_place(&self, mut each: impl FnMut(ChunkId, Place) -> bool) -> Result<(), DiskError> {
        self.scan(
            |database| &database.places,
            |key, value| Ok(each(ChunkId::from_bytes(digest(key)?), place_record(value)?)),
        )
    }

    /// Every slot, by the digest of its key, until `each` says no. One that cannot be read is told as such, and the others
    /// follow. What changes meanwhile may be missed.
    pub fn each_slot(
        &self,
        mut each: impl FnMut([u8; 32], Result<Slot, DiskError>) -> bool,
    ) -> Result<(), DiskError> {
        let alive = Alive::default();
        self.scan(
            |database| &database.heads,
            |key, value| {
                let read = |database: &Database| decoded(database, &database.snapshot(), value, &alive);
                Ok(each(digest(key)?, self.with(read).map(|(_, slot)| slot)))
            },
        )
    }

    /// The digest of every key and every chunk, until `each` says no. What is written meanwhile may be missed.
    pub fn each_digest(&self, mut each: impl FnMut([u8; 32]) -> bool) -> Result<(), DiskError> {
        let mut more = true;
        self.scan(
            |database| &database.order,
            |key, value| {
                more = each(order_record(key, value)?.1);
                Ok(more)
            },
        )?;
        if more { self.scan(|database| &database.places, |key, _| Ok(each(digest(key)?))) } else { Ok(()) }
    }

    /// Fills the filter anew with what is there, as long as `go_on` says so. Takes a while (a few seconds for a million);
    /// everything else goes on.
    ///
    /// # Errors
    /// [`DiskError::Closed`] if it was stopped; the filter is what it was then.
    pub fn renew_filter(&self, go_on: impl Fn() -> bool) -> Result<(), DiskError> {
        let counts = self.counts();
        self.filter.renew(counts.responses + counts.chunks, |add| {
            // A batch that began before may have told only the old one: it ends first, and is read then.
            drop(lock(&self.writer));
            let mut whole = true;
            self.each_digest(|digest| {
                add(&digest);
                whole = go_on();
                whole
            })?;
            if whole { Ok(()) } else { Err(DiskError::Closed) }
        })
    }

    /// Commits `changes` in one batch, which is on the medium when this returns. Waits for the database where that is behind.
    ///
    /// # Errors
    /// Whatever the error, the changes may stand or not; committing them again does no harm. [`DiskError::Poisoned`],
    /// [`DiskError::Closed`]: [`Index::reopen`] comes first.
    pub fn commit(&self, changes: &Changes) -> Result<(), DiskError> {
        let mut writer = lock(&self.writer);
        let committed = self.with(|database| {
            for (id, _) in &changes.places {
                self.filter.add(id.as_bytes());
            }
            for (key, _) in changes.slots.iter().filter(|(_, slot)| slot.is_some()) {
                self.filter.add(&key.digest());
            }
            if writer.saved {
                remove_if_there(&self.folder.join(FILTER))?;
                writer.saved = false;
            }
            let Writer { state, written, .. } = &mut *writer;
            let state = Draft::new(database, *state, written).commit(changes)?;
            writer.state = state;
            *lock(&self.counts) = state.counts;
            database.catch_up()
        });
        if committed.is_err() {
            // it may hold what was not written
            writer.written.clear();
        }
        committed?;
        self.trim()
    }

    /// Takes away all heads. Chunks stay.
    ///
    /// # Errors
    /// As for [`Index::commit`]; once some are gone, all are when it is opened again.
    pub fn clear_heads(&self) -> Result<(), DiskError> {
        let mut writer = lock(&self.writer);
        writer.written.clear();
        let state = self.with(clear)?;
        writer.state = state;
        *lock(&self.counts) = state.counts;
        Ok(())
    }

    /// Keeps the journals small: for a small folder, and as they are read at the next start.
    fn trim(&self) -> Result<(), DiskError> {
        let ceiling = (self.limit / JOURNAL_SHARE).clamp(JOURNAL_LEAST, JOURNAL_MOST);
        if self.with(|database| Ok(database.journal_bytes()))? <= ceiling {
            return Ok(());
        }
        self.with(Database::flush)?;
        self.replace(Database::close_flushed)
    }

    fn save_filter(&self, batch: u64) -> Result<(), DiskError> {
        let Some(bytes) = self.filter.to_bytes(batch) else { return Ok(()) };
        let (unfinished, file) = (self.folder.join(FILTER_UNFINISHED), self.folder.join(FILTER));
        let written = File::create(&unfinished)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&unfinished, &file));
        written.map_err(DiskError::io(file))
    }

    /// Closes the database by `close`, if it is open, and opens it again.
    fn replace(&self, close: impl FnOnce(Database) -> Result<(), DiskError>) -> Result<(), DiskError> {
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        place.take().map(close).transpose()?;
        *place = Some(Database::open(&self.folder)?);
        Ok(())
    }

    fn with<T>(&self, ask: impl FnOnce(&Database) -> Result<T, DiskError>) -> Result<T, DiskError> {
        let place = self.database.read().unwrap_or_else(PoisonError::into_inner);
        ask(place.as_ref().ok_or(DiskError::Closed)?)
    }

    /// Everything in a keyspace, in steps: a database is not held open, nor are old versions kept, for as long as all takes.
    fn scan(
        &self,
        keyspace: impl Fn(&Database) -> &Keyspace,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, DiskError>,
    ) -> Result<(), DiskError> {
        let mut last: Option<UserKey> = None;
        loop {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let read = |database: &Database| {
                let range = (from, Bound::<&[u8]>::Unbounded);
                guarded(|| {
                    keyspace(database)
                        .range::<&[u8], _>(range)
                        .take(STEP)
                        .map(fjall::Guard::into_inner)
                        .collect()
                })
            };
            let pairs: Vec<(UserKey, UserValue)> = self.with(read)?;
            for (key, value) in &pairs {
                if !each(key, value)? {
                    return Ok(());
                }
            }
            match pairs.into_iter().next_back() {
                Some((key, _)) => last = Some(key),
                None => return Ok(()),
            }
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        if let Some(database) = self.database.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            database.close();
        }
    }
}

impl SegmentRecord {
    fn key(number: u32) -> Vec<u8> {
        [SEGMENT, &number.to_be_bytes()].concat()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(13 + self.marks.as_ref().map_or(0, Vec::len));
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        bytes.extend_from_slice(&self.frames.to_le_bytes());
        bytes.push(u8::from(self.marks.is_some()));
        bytes.extend_from_slice(self.marks.as_deref().unwrap_or_default());
        bytes
    }

    fn from_bytes(key: &[u8], value: &[u8]) -> Result<SegmentRecord, DiskError> {
        let torn = DiskError::Damaged("a segment's record");
        let read = || {
            let number = u32::from_be_bytes(key.strip_prefix(SEGMENT)?.try_into().ok()?);
            let (bytes, rest) = value.split_first_chunk()?;
            let (frames, rest) = rest.split_first_chunk()?;
            let (marked, marks) = rest.split_first()?;
            Some(SegmentRecord {
                number,
                bytes: u64::from_le_bytes(*bytes),
                frames: u32::from_le_bytes(*frames),
                marks: (*marked != 0).then(|| marks.to_vec()),
            })
        };
        read().ok_or(torn)
    }
}

impl State {
    fn to_bytes(self) -> Vec<u8> {
        let Counts { responses, chunks, chunk_bytes } = self.counts;
        [self.batch, self.next, responses, chunks, chunk_bytes].iter().flat_map(|n| n.to_le_bytes()).collect()
    }
}

fn state(database: &Database) -> Result<State, DiskError> {
    let Some(value) = guarded(|| database.about.get(COUNTS))? else { return Ok(State::default()) };
    let (numbers, torn) = value.as_chunks();
    let [batch, next, responses, chunks, chunk_bytes] = *numbers else {
        return Err(DiskError::Damaged("the counts"));
    };
    if !torn.is_empty() {
        return Err(DiskError::Damaged("the counts"));
    }
    let number = u64::from_le_bytes;
    let counts =
        Counts { responses: number(responses), chunks: number(chunks), chunk_bytes: number(chunk_bytes) };
    Ok(State { batch: number(batch), next: number(next), counts })
}

/// Takes away all heads, in steps of which the first is written down.
fn clear(database: &Database) -> Result<State, DiskError> {
    let mut state = state(database)?;
    state.batch += 1;
    state.counts.responses = 0;
    let mut begin = database.batch();
    begin.insert(&database.about, CLEARING, b"");
    begin.insert(&database.about, COUNTS, state.to_bytes());
    guarded(|| begin.commit())?;
    for keyspace in [&database.heads, &database.lists, &database.order] {
        database.clear(keyspace)?;
    }
    let mut end = database.batch();
    end.remove(&database.about, CLEARING);
    guarded(|| end.commit())?;
    Ok(state)
}

fn place(database: &Database, id: &ChunkId) -> Result<Option<Place>, DiskError> {
    guarded(|| database.places.get(id.as_bytes()))?.map(|value| place_record(&value)).transpose()
}

fn place_record(value: &[u8]) -> Result<Place, DiskError> {
    value.try_into().map(Place::from_bytes).map_err(|_| DiskError::Damaged("the place of a chunk"))
}

fn order_record(key: &[u8], value: &[u8]) -> Result<(u64, [u8; 32]), DiskError> {
    let number = key.try_into().map_err(|_| DiskError::Damaged("the order"))?;
    Ok((u64::from_be_bytes(number), digest(value)?))
}

fn digest(bytes: &[u8]) -> Result<[u8; 32], DiskError> {
    bytes.try_into().map_err(|_| DiskError::Damaged("a digest"))
}

/// Under what a page of names stands.
fn page_key(identity: u128, page: u32) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&identity.to_be_bytes());
    key[16..].copy_from_slice(&page.to_be_bytes());
    key
}

/// Number of the page that stands under `key`.
fn page_number(key: &[u8]) -> Result<u32, DiskError> {
    let number = key.last_chunk().ok_or(DiskError::Damaged("a page's number"))?;
    Ok(u32::from_be_bytes(*number))
}

/// A slot as it stands under its key, with the key. A body that is alive is that one.
fn decoded(
    database: &Database,
    now: &Snapshot,
    value: &[u8],
    alive: &Alive,
) -> Result<(Key, Slot), DiskError> {
    codec::decode_slot(value, |record, names| {
        if let Some(body) = alive.get(record.identity) {
            return Ok(body);
        }
        let names = if record.pages() == 0 { names } else { names_of(database, now, record)? };
        Ok(alive.note(&Arc::new(Body::known(record.identity, record.length, names))))
    })
}

/// The names of a body that stand in pages. Those of a page that is not there are not known.
fn names_of(
    database: &Database,
    now: &Snapshot,
    record: BodyRecord,
) -> Result<Vec<Option<ChunkId>>, DiskError> {
    let read =
        || now.prefix(&database.lists, record.identity.to_be_bytes()).map(fjall::Guard::into_inner).collect();
    let pages: Vec<(UserKey, UserValue)> = guarded(read)?;
    let mut names = Vec::new();
    for (key, value) in &pages {
        let page = page_number(key)?;
        if page >= record.pages() {
            return Err(DiskError::Damaged("a page beyond the end of its body"));
        }
        names.resize(page as usize * codec::PAGE, None);
        names.extend(codec::decode_page(record.identity, page, value)?);
    }
    names.truncate(Body::count(record.length));
    Ok(names)
}

fn remove_if_there(file: &Path) -> Result<(), DiskError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(DiskError::io(file)(error)),
        _ => Ok(()),
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
