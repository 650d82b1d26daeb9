//! The index's database: keyspaces, their options, its journals.
//!
//! fjall 3.1 goes on in the same journal until it is 64 MB long, whatever the keyspaces have written into their tables
//! by then, and reads all of it when it is opened. A small folder has no room for that, and a start no time: beyond a
//! ceiling everything is written into tables, the database is closed, and an empty journal is put in place of the old ones
//! ([`Database::close_flushed`]).

use crate::{
    cache::disk::{DiskError, error::guarded},
    ledger::sync_folders,
};
use fjall::{
    AbstractTree, CompressionType, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    compaction::Leveled,
    config::{BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry},
};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

const INDEX: &str = "index";
const UNFINISHED: &str = "index.new";
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"format";

/// Blocks read lately.
const CACHE_BYTES: u64 = 8 << 20;
/// Tables that are open at a time.
const OPEN_TABLES: usize = 128;
/// Size of a table; also how much is merged at a time.
const TABLE_BYTES: u64 = 8 << 20;
/// A keyspace that holds so many times what it should in memory makes the writer wait.
const BEHIND: u64 = 2;
/// How long a wait for the database's own thread is before it is looked at again.
const TICK: Duration = Duration::from_millis(5);
/// Looks until who has let go of the database must have: a second.
const LOOKS: usize = 200;

/// An open database.
pub(super) struct Database {
    folder: PathBuf,
    inner: fjall::Database,
    /// Digest of a key → slot.
    pub(super) heads: Keyspace,
    /// Identity of a body and number of a page → names.
    pub(super) lists: Keyspace,
    /// Digest of a chunk → its place.
    pub(super) places: Keyspace,
    /// Number of a slot in the order of writing → digest of its key.
    pub(super) order: Keyspace,
    /// Segments, counts, format.
    pub(super) about: Keyspace,
}

impl Database {
    /// Opens the index of a folder; makes an empty one if there is none.
    pub(super) fn open(folder: &Path) -> Result<Database, DiskError> {
        let index = folder.join(INDEX);
        if !index.try_exists().map_err(DiskError::io(&index))? {
            create(folder)?;
        }
        let database = open_at(&index)?;
        let format = guarded(|| database.about.get(FORMAT_KEY))?;
        match format.and_then(|bytes| bytes.as_ref().try_into().ok()).map(u32::from_le_bytes) {
            Some(FORMAT) => Ok(database),
            Some(found) if found > FORMAT => Err(DiskError::Newer { folder: folder.into(), found }),
            Some(found) => Err(DiskError::Older { folder: folder.into(), found }),
            None => Err(DiskError::Damaged("the index does not say its format")),
        }
    }

    pub(super) fn batch(&self) -> OwnedWriteBatch {
        self.inner.batch().durability(Some(PersistMode::SyncData))
    }

    /// What all keyspaces held at one moment.
    pub(super) fn snapshot(&self) -> fjall::Snapshot {
        self.inner.snapshot()
    }

    fn keyspaces(&self) -> [&Keyspace; 5] {
        [&self.heads, &self.lists, &self.places, &self.order, &self.about]
    }

    /// Waits until not much more is held in memory than should be.
    pub(super) fn catch_up(&self) -> Result<(), DiskError> {
        for keyspace in self.keyspaces() {
            let ceiling = BEHIND * memtable_bytes(keyspace.name());
            self.wait_while(|| keyspace.tree.active_memtable().size() > ceiling)?;
        }
        Ok(())
    }

    /// Empties a keyspace, to be synced by the next batch.
    pub(super) fn clear(&self, keyspace: &Keyspace) -> Result<(), DiskError> {
        guarded(|| keyspace.clear())
    }

    /// Bytes on the medium.
    pub(super) fn bytes(&self) -> u64 {
        self.keyspaces().iter().map(|keyspace| keyspace.disk_space()).sum::<u64>() + self.journal_bytes()
    }

    /// Bytes of the journals on the medium; of one in use a good part is only promised.
    pub(super) fn journal_bytes(&self) -> u64 {
        let bytes = |path: &PathBuf| fs::metadata(path).map_or(0, |meta| meta.blocks() * 512);
        journals(&self.folder).unwrap_or_default().iter().map(|(_, path)| bytes(path)).sum()
    }

    /// Has all that is only in journals and memory written into tables, by the database's own thread.
    pub(super) fn begin_flush(&self) -> Result<(), DiskError> {
        for keyspace in self.keyspaces() {
            guarded(|| keyspace.rotate_memtable())?;
        }
        Ok(())
    }

    /// The same, and waits for it.
    pub(super) fn flush(&self) -> Result<(), DiskError> {
        self.begin_flush()?;
        for keyspace in self.keyspaces() {
            self.wait_while(|| keyspace.sealed_memtable_count() > 0)?;
        }
        Ok(())
    }

    /// Closes a database that [`Database::flush`] was called for and nothing written to since, and puts an empty journal in
    /// place of those it had: all that they hold is in tables, which are synced before they count.
    pub(super) fn close_flushed(self) -> Result<(), DiskError> {
        let empty = self.keyspaces().iter().all(|keyspace| keyspace.tree.active_memtable().is_empty());
        let folder = self.folder.clone();
        self.close();
        if !empty {
            return Ok(());
        }
        let replaced = || -> io::Result<()> {
            let old = journals(&folder)?;
            let next = old.last().map_or(0, |(number, _)| number + 1);
            File::create_new(folder.join(format!("{next}.jnl")))?.sync_all()?;
            sync(&folder)?;
            for (_, path) in &old {
                fs::remove_file(path)?;
            }
            sync(&folder)
        };
        replaced().map_err(DiskError::io(&folder))
    }

    /// Closes it, and waits until its own thread has let go of it: what that still held would be written behind the back
    /// of who opens it next.
    pub(super) fn close(self) {
        let held = self.inner.config.cache.clone();
        drop(self);
        for _ in 0..LOOKS {
            if Arc::strong_count(&held) == 1 {
                break;
            }
            thread::park_timeout(TICK);
        }
    }

    /// Waits for the database's own thread, which ends only by poisoning the database.
    fn wait_while(&self, waiting: impl Fn() -> bool) -> Result<(), DiskError> {
        while waiting() {
            guarded(|| self.inner.persist(PersistMode::Buffer))?;
            thread::park_timeout(TICK);
        }
        Ok(())
    }
}

pub(super) fn open_at(index: &Path) -> Result<Database, DiskError> {
    guarded(|| {
        let inner = fjall::Database::builder(index)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .max_cached_files(Some(OPEN_TABLES))
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .open()?;
        let keyspace = |name| inner.keyspace(name, || options(name));
        Ok(Database {
            folder: index.into(),
            heads: keyspace("heads")?,
            lists: keyspace("lists")?,
            places: keyspace("places")?,
            order: keyspace("order")?,
            about: keyspace("about")?,
            inner,
        })
    })
    .map_err(|error| match error {
        DiskError::Store(fjall::Error::Locked) => DiskError::Held(index.into()),
        DiskError::Store(fjall::Error::Io(error)) => DiskError::Io(index.into(), error),
        other => other,
    })
}

/// Makes an empty index; a crash leaves no half of one.
fn create(folder: &Path) -> Result<(), DiskError> {
    let (unfinished, index) = (folder.join(UNFINISHED), folder.join(INDEX));
    if unfinished.try_exists().map_err(DiskError::io(&unfinished))? {
        fs::remove_dir_all(&unfinished).map_err(DiskError::io(&unfinished))?;
    }
    let database = open_at(&unfinished)?;
    let mut batch = database.batch();
    batch.insert(&database.about, FORMAT_KEY, FORMAT.to_le_bytes());
    guarded(|| batch.commit())?;
    database.flush()?;
    database.close_flushed()?;
    sync_folders(&unfinished).map_err(DiskError::io(&unfinished))?;
    fs::rename(&unfinished, &index).map_err(DiskError::io(&index))?;
    sync(folder).map_err(DiskError::io(folder))
}

/// Options a keyspace is made with; they stay with it.
fn options(name: &str) -> KeyspaceCreateOptions {
    // Heads are alike, digests are not.
    let (block, compression) = match name {
        "heads" => (8 << 10, CompressionType::Lz4),
        _ => (4 << 10, CompressionType::None),
    };
    let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0));
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable_bytes(name))
        .manual_journal_persist(true)
        .data_block_size_policy(BlockSizePolicy::all(block))
        .data_block_compression_policy(CompressionPolicy::all(compression))
        .filter_policy(FilterPolicy::all(filter))
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
}

/// Bytes a keyspace holds in memory before it writes a table.
fn memtable_bytes(name: &str) -> u64 {
    match name {
        "heads" => 2 << 20,
        "lists" | "places" => 1 << 20,
        "order" => 512 << 10,
        _ => 256 << 10,
    }
}

/// The journals by number.
fn journals(index: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(index)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|end| end == "jnl")) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
