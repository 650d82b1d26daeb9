//! The ledger's folder: lock, database, head file (`docs/ledger-format.md`). Blocks; only the writer's thread and
//! the opening of the node call it.
//!
//! The database is made beside its place and renamed into it, so that a folder is a whole ledger or none. The head
//! file repeats the last acknowledged number and digest outside the database: fjall cuts a torn journal at its end
//! without a word, and an acknowledged record must not vanish so.

use super::{
    LedgerError,
    chain::{Chain, Digest, Flaw, Identity},
    entry::Entry,
    folders::{make_folder, sync_folders},
    record::Record,
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::{FileExt, MetadataExt},
    panic::catch_unwind,
    path::{Path, PathBuf},
};

const LOCK: &str = "lock";
const RECORDS: &str = "records";
const UNFINISHED: &str = "records.new";
const HEAD: &str = "head";

/// Version of the form of records and of the folder.
const FORMAT: u8 = 1;
/// Number, digest, and the first bytes of a BLAKE3 over both.
const HEAD_BYTES: usize = 8 + 32 + 8;
/// Records are read once, at the start: there is nothing to cache.
const CACHE_BYTES: u64 = 1 << 20;

/// An open ledger folder. Dropping it gives up the lock.
pub(super) struct Medium {
    folder: PathBuf,
    database: Database,
    records: Keyspace,
    head: File,
    identity: Identity,
    /// Device and inode of the lock and of the database's folder: what is written elsewhere is not in the ledger.
    places: [(u64, u64); 2],
    _lock: File,
}

/// A record with the chain that ends in it.
pub(super) struct Sealed {
    pub(super) chain: Chain,
    pub(super) bytes: Vec<u8>,
}

impl Medium {
    /// Opens the folder; `make` says whether a ledger may be made where none is.
    pub(super) fn open(folder: &Path, make: bool) -> Result<Medium, LedgerError> {
        if make {
            make_folder(folder).map_err(LedgerError::io(folder))?;
        } else if !folder.join(RECORDS).is_dir() {
            return Err(LedgerError::Replaced(folder.into()));
        }
        let lock = hold(folder)?;
        let records = folder.join(RECORDS);
        let acknowledged = read_head(folder)?.map_or(0, |(number, _)| number);
        if !records.try_exists().map_err(LedgerError::io(&records))? {
            if acknowledged > 0 {
                return Err(LedgerError::Short { found: 0, expected: acknowledged });
            }
            create(folder)?;
        }
        let (database, identity) = open_database(&records).map_err(|error| match error {
            LedgerError::Store(source) if acknowledged > 0 && !matches!(*source, fjall::Error::Io(_)) => {
                LedgerError::Damaged(acknowledged, source)
            }
            other => other,
        })?;
        let identity = identity.ok_or(LedgerError::Broken(0, Flaw::Unknown))?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        let head = folder.join(HEAD);
        let head = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&head)
            .map_err(LedgerError::io(head))?;
        let places = places(folder).map_err(LedgerError::io(folder))?;
        Ok(Medium { folder: folder.into(), database, records, head, identity, places, _lock: lock })
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Verifies every record after the end of this chain and hands it on; gives the end of them all.
    pub(super) fn replay(
        &self,
        from: Chain,
        each: impl FnMut(&Chain, &Record),
    ) -> Result<Chain, LedgerError> {
        let head = read_head(&self.folder)?;
        let end = self.walk(from, usize::MAX, each)?;
        match head {
            Some((expected, _)) if expected > end.number => {
                Err(LedgerError::Short { found: end.number, expected })
            }
            Some((number, digest)) if !self.holds(number, &digest)? => {
                Err(LedgerError::Broken(number, Flaw::Altered))
            }
            _ => Ok(end),
        }
    }

    /// The same for so many records at most, as far as their chain tells.
    pub(super) fn walk(
        &self,
        from: Chain,
        limit: usize,
        mut each: impl FnMut(&Chain, &Record),
    ) -> Result<Chain, LedgerError> {
        let mut chain = from;
        for pair in self.records.range((from.number + 1).to_be_bytes()..).take(limit) {
            let (key, value) = pair.into_inner()?;
            let expected = chain.number + 1;
            let broken = |flaw| LedgerError::Broken(expected, flaw);
            let number = u64::from_be_bytes((*key).try_into().map_err(|_| broken(Flaw::Torn))?);
            let (digest, bytes) = parts(&value).map_err(broken)?;
            chain = chain
                .follow(number, digest, bytes)
                .map_err(|(number, flaw)| LedgerError::Broken(number, flaw))?;
            let record = Record::decode(bytes).map_err(|_| broken(Flaw::Unknown))?;
            each(&chain, &record);
        }
        Ok(chain)
    }

    /// Whether the record with this number stands here, as the end of a chain with this digest.
    pub(super) fn holds(&self, number: u64, digest: &Digest) -> Result<bool, LedgerError> {
        let value = self.records.get(number.to_be_bytes())?;
        Ok(value.is_some_and(|value| parts(&value).is_ok_and(|(found, _)| found == digest)))
    }

    /// Up to `limit` records from this number on, as they stand there; what is told of a chain is for the asker to compute.
    pub(super) fn entries(&self, from: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let mut entries = Vec::new();
        for pair in self.records.range(from.to_be_bytes()..).take(limit) {
            let (key, value) = pair.into_inner()?;
            let at = from + entries.len() as u64;
            let torn = || LedgerError::Broken(at, Flaw::Torn);
            let number = u64::from_be_bytes((*key).try_into().map_err(|_| torn())?);
            let (digest, text) = parts(&value).map_err(|flaw| LedgerError::Broken(at, flaw))?;
            let text =
                String::from_utf8(text.to_vec()).map_err(|_| LedgerError::Broken(at, Flaw::Unknown))?;
            entries.push(Entry { number, digest: *digest, text });
        }
        Ok(entries)
    }

    /// Writes records in one batch and syncs. Whatever the error, the medium must be opened anew after it: what
    /// stands on it is unknown.
    pub(super) fn append(&self, sealed: &[Sealed]) -> Result<(), LedgerError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for Sealed { chain, bytes } in sealed {
            let mut value = Vec::with_capacity(1 + chain.digest.len() + bytes.len());
            value.push(FORMAT);
            value.extend_from_slice(&chain.digest);
            value.extend_from_slice(bytes);
            batch.insert(&self.records, chain.number.to_be_bytes(), value);
        }
        batch.commit()?;
        // a deleted or moved folder takes writes without an error
        if !places(&self.folder).is_ok_and(|places| places == self.places) {
            return Err(LedgerError::Replaced(self.folder.clone()));
        }
        if let Some(Sealed { chain, .. }) = sealed.last() {
            self.head.write_all_at(&head_bytes(chain), 0).map_err(LedgerError::io(self.folder.join(HEAD)))?;
        }
        Ok(())
    }
}

/// Digest and record of a value.
fn parts(value: &[u8]) -> Result<(&Digest, &[u8]), Flaw> {
    let (&format, rest) = value.split_first().ok_or(Flaw::Torn)?;
    if format != FORMAT {
        return Err(Flaw::Unknown);
    }
    rest.split_first_chunk().ok_or(Flaw::Torn)
}

/// Takes the lock, or says who may not.
fn hold(folder: &Path) -> Result<File, LedgerError> {
    let path = folder.join(LOCK);
    let lock = File::options().write(true).create(true).truncate(false).open(&path);
    let lock = lock.map_err(LedgerError::io(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Held(folder.into())),
        Err(TryLockError::Error(error)) => Err(LedgerError::io(path)(error)),
    }
}

fn open_database(path: &Path) -> Result<(Database, Option<Identity>), LedgerError> {
    // fjall 3.1 asserts what it reads from a damaged journal; a node that serves must not end by that
    let opened = catch_unwind(|| Database::builder(path).cache_size(CACHE_BYTES).worker_threads(1).open());
    let database = opened.unwrap_or(Err(fjall::Error::Unrecoverable))?;
    let about = database.keyspace("about", KeyspaceCreateOptions::default)?;
    let identity = about.get("identity")?.and_then(|bytes| bytes.as_ref().try_into().ok()).map(Identity);
    Ok((database, identity))
}

/// Makes an empty ledger with a new identity; a crash leaves no half of one.
fn create(folder: &Path) -> Result<(), LedgerError> {
    let (unfinished, records) = (folder.join(UNFINISHED), folder.join(RECORDS));
    if unfinished.try_exists().map_err(LedgerError::io(&unfinished))? {
        fs::remove_dir_all(&unfinished).map_err(LedgerError::io(&unfinished))?;
    }
    let mut identity = [0; 16];
    getrandom::fill(&mut identity).map_err(|error| LedgerError::io(folder)(error.into()))?;
    let (database, _) = open_database(&unfinished)?;
    database.keyspace("records", KeyspaceCreateOptions::default)?;
    let about = database.keyspace("about", KeyspaceCreateOptions::default)?;
    about.insert("identity", identity)?;
    database.persist(PersistMode::SyncAll)?;
    drop((about, database));
    sync_folders(&unfinished).map_err(LedgerError::io(&unfinished))?;
    fs::rename(&unfinished, &records).map_err(LedgerError::io(&records))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(LedgerError::io(folder))
}

fn places(folder: &Path) -> std::io::Result<[(u64, u64); 2]> {
    let place = |name| fs::metadata(folder.join(name)).map(|meta| (meta.dev(), meta.ino()));
    Ok([place(LOCK)?, place(RECORDS)?])
}

/// Last acknowledged number and digest. None if there is none, or it was torn by a power cut: it is written after the
/// sync of what it names and not synced itself, so it may lag but never lead.
fn read_head(folder: &Path) -> Result<Option<(u64, Digest)>, LedgerError> {
    let path = folder.join(HEAD);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LedgerError::io(path)(error)),
    };
    let Some((number, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let Some((digest, check)) = rest.split_first_chunk() else { return Ok(None) };
    let whole = *check == blake3::hash(&bytes[..HEAD_BYTES - 8]).as_bytes()[..8];
    Ok(whole.then_some((u64::from_le_bytes(*number), *digest)))
}

fn head_bytes(chain: &Chain) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[..8].copy_from_slice(&chain.number.to_le_bytes());
    bytes[8..40].copy_from_slice(&chain.digest);
    let check = blake3::hash(&bytes[..40]);
    bytes[40..].copy_from_slice(&check.as_bytes()[..8]);
    bytes
}
