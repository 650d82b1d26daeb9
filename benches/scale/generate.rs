//! Fills a folder of the disk tier with many small stored responses of 94 sites, as fills would have, for `make scale`.
//!
//! What stands under which URL follows from its number alone; `content.py` says the same. The tier makes nobody wait and leaves
//! out what it has no time to write: so a batch is offered only when the one before the last is stored.

use bytes::Bytes;
use clap::Parser;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use lectern::{
    cache::{
        Body, Chunk, Disk, DiskSettings, FolderSettings, Kept, Key, KeyParts, Memory, Selecting, Slot,
        StoredParts, StoredResponse,
    },
    clock,
    http_caching::{Freshness, Tags},
    ledger::{Ledger, LedgerSettings, Number},
    telemetry::Metrics,
};
use std::{error::Error, path::PathBuf, sync::Arc, thread, time::Duration};

/// The edge's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tenants of the founding case.
const SITES: u64 = 94;
/// Responses that are offered together: twice as many are fewer than may wait to be committed.
const BATCH: usize = 1024;
/// A batch that is not stored by then will not be.
const PATIENCE: Duration = Duration::from_secs(60);
const LIFETIME: Duration = Duration::from_secs(36_000);

/// Stores the responses with the numbers `from..to`.
#[derive(Parser)]
struct Told {
    /// Folder of the disk tier.
    #[arg(long)]
    folder: PathBuf,
    /// Bytes it may take.
    #[arg(long)]
    limit: u64,
    /// Folder of the ledger that they are born by.
    #[arg(long)]
    ledger: PathBuf,
    #[arg(long)]
    from: u64,
    #[arg(long)]
    to: u64,
}

/// A stored response to be, by its number.
struct Page(u64);

impl Page {
    fn key(&self) -> Key {
        let site = format!("tenant-{}", self.0 % SITES);
        let host = format!("{site}.lms.example");
        let path = format!("/content/unit-{}/v3/page-{}.html", self.0 / SITES % 1000, self.0);
        KeyParts { scope: &site, https: false, host: &host, path: &path, query: None, guarded: false }.key()
    }

    /// Most are fragments of pages; one in twelve is a picture.
    fn length(&self) -> usize {
        match self.0 % 100 {
            0..60 => 200 + (self.0 / 100 % 300) as usize,
            60..80 => 2 << 10,
            80..92 => 8 << 10,
            _ => 32 << 10,
        }
    }

    fn chunk(&self) -> Chunk {
        let mut bytes = format!("{:016}", self.0).repeat(self.length() / 16 + 1).into_bytes();
        bytes.truncate(self.length());
        Chunk::seal(Bytes::from(bytes))
    }

    /// What a fill makes of an answer with these fields and an `ETag`.
    fn stored(&self, fields: &HeaderMap, chunk: &Chunk, born: Number) -> StoredResponse {
        let etag = HeaderValue::try_from(format!("\"{:x}-{:x}\"", self.0, self.length())).ok();
        let mut headers = fields.clone();
        headers.extend(etag.clone().map(|etag| (header::ETAG, etag)));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.length()));
        let length = self.length() as u64;
        StoredResponse::new(StoredParts {
            status: StatusCode::OK,
            headers,
            selecting: Selecting::default(),
            etag,
            last_modified: None,
            length,
            body: Arc::new(Body::of(length, vec![chunk.id])),
            freshness: Freshness {
                lifetime: LIFETIME.as_secs(),
                initial_age: 0,
                received: clock::now(),
                validate_always: false,
                forbid_stale: false,
                stale_while_revalidate: 0,
                stale_if_error: 0,
            },
            born,
            tags: Tags::default(),
        })
    }
}

/// What all have: with length and `ETag` eight fields of an origin, and what the edge adds.
fn fields() -> HeaderMap {
    let date = HeaderValue::try_from(httpdate::fmt_http_date(clock::now()));
    let fixed = |name, value| (name, HeaderValue::from_static(value));
    let mut fields = HeaderMap::from_iter([
        fixed(header::SERVER, "nginx"),
        fixed(header::CONTENT_TYPE, "text/html; charset=utf-8"),
        fixed(header::LAST_MODIFIED, "Mon, 01 Jan 2024 00:00:00 GMT"),
        fixed(header::CACHE_CONTROL, "public, max-age=36000"),
        fixed(header::ACCEPT_RANGES, "bytes"),
        fixed(header::VIA, "1.1 lectern"),
        fixed(header::AGE, "0"),
        fixed(HeaderName::from_static("cache-status"), "lectern"),
    ]);
    fields.extend(date.ok().map(|date| (header::DATE, date)));
    fields
}

/// Waits until the tier has done something; it tells nobody.
#[expect(clippy::disallowed_methods, reason = "there is no event to wait for, and this is no test")]
fn wait_until(done: impl Fn() -> bool) -> Result<(), &'static str> {
    let until = clock::instant() + PATIENCE;
    while !done() {
        if clock::instant() > until {
            return Err("the tier does not store what it is given");
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Offers a response with its chunk.
fn store(disk: &Disk, page: &Page, fields: &HeaderMap, born: Number) -> Kept {
    let (key, chunk) = (page.key(), page.chunk());
    let slot = Slot::default().with(Arc::new(page.stored(fields, &chunk, born)));
    disk.put(&key, Some(Arc::new(slot)));
    disk.keep(&key, &chunk)
}

fn main() -> Result<(), Box<dyn Error>> {
    let told = Told::parse();
    let metrics = Metrics::new();
    let ledger = LedgerSettings { folder: told.ledger, ..LedgerSettings::default() };
    let born = Ledger::open(&ledger, &metrics)?.last();
    let committed = metrics.disk.folder(&told.folder.display().to_string()).responses;
    let settings = DiskSettings {
        folders: vec![FolderSettings {
            path: told.folder,
            limit: told.limit,
            responses: 2 * told.to,
            protected_limit: 0,
        }],
        write_queue: 64 << 20,
        flush_interval: Duration::from_millis(10),
        ..DiskSettings::default()
    };
    let hooks = Memory::new(0, metrics.clone()).hooks(move || born);
    let disk = Disk::open(&settings, &metrics, hooks, false)?;
    let fields = fields();
    let is_stored = |until: u64, kept: &[Kept]| {
        wait_until(|| kept.iter().all(Kept::is_kept) && committed.get() >= until as i64)
    };
    let (mut last, mut from): (Vec<Kept>, u64) = (Vec::new(), told.from);
    while from < told.to {
        let to = told.to.min(from + BATCH as u64);
        let offered = (from..to).map(|number| store(&disk, &Page(number), &fields, born)).collect();
        is_stored(from, &std::mem::replace(&mut last, offered))?;
        from = to;
    }
    is_stored(told.to, &last)?;
    disk.close(Duration::from_secs(600));
    Ok(())
}
