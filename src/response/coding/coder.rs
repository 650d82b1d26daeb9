//! The coders: threads of low priority that make the variants that were asked for, one after the other, each once.
//!
//! What they make hangs on the body it was made of, and is of no use to anything else. So whatever happens meanwhile to the
//! response that it was (a purge, a new fill), nothing has to be told to a coder; it looks before it begins and before
//! it writes something down, and saves itself the rest.

use super::{
    Recode,
    budget::Budget,
    machine::{Feed, machine_at_leisure},
    stream::Rooms,
};
use crate::{
    cache::{
        Body, CHUNK, Chunk, CodingSettings, Effort, Key, Made, Selecting, StoredParts, StoredResponse, Tiers,
    },
    clock,
    fill::Fills,
    http_caching::{Coding, Recodable},
    site::Site,
    telemetry::{CodingMetrics, NotCoded},
};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use http::{HeaderMap, HeaderValue, header};
use std::{io, io::Read, sync::Arc, thread};
use tokio::runtime::{Builder, Runtime};

/// Variants that may wait to be made; whoever asks for more asks again.
const QUEUE: usize = 256;
/// What a thread yields to all others, the highest there is.
const NICE: i32 = 19;

/// A variant that is to be made.
pub struct Task {
    /// The key of its source.
    pub key: Key,
    /// The site that the ledger is asked about.
    pub site: Arc<Site>,
    /// Normalised path, and the query: what the ledger is asked about too.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// Its source.
    pub stored: Arc<StoredResponse>,
    /// Its coding.
    pub coding: Coding,
    /// At which level.
    pub effort: Effort,
}

/// The coders of the node.
pub struct Coder {
    settings: CodingSettings,
    queue: Sender<Task>,
    rooms: Rooms,
    metrics: CodingMetrics,
}

/// What each of their threads has.
struct Bench {
    settings: CodingSettings,
    budget: Budget,
    fills: Arc<Fills>,
    tiers: Tiers,
    metrics: CodingMetrics,
}

impl Coder {
    /// Starts the threads; none if nothing is to be coded.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        settings: &CodingSettings,
        fills: &Arc<Fills>,
        tiers: &Tiers,
        metrics: &CodingMetrics,
    ) -> io::Result<Coder> {
        let (queue, tasks) = bounded(QUEUE);
        let bench = Arc::new(Bench {
            settings: settings.clone(),
            budget: Budget::new(settings.budget),
            fills: fills.clone(),
            tiers: tiers.clone(),
            metrics: metrics.clone(),
        });
        let threads = if settings.codes() { settings.threads } else { 0 };
        for thread in 0..threads {
            let (bench, tasks) = (bench.clone(), tasks.clone());
            let runtime = Builder::new_current_thread().enable_time().build()?;
            thread::Builder::new()
                .name(format!("coder-{thread}"))
                .spawn(move || bench.work(&runtime, &tasks))?;
        }
        Ok(Coder { settings: settings.clone(), queue, rooms: Rooms::new(), metrics: metrics.clone() })
    }

    /// What is set of them.
    pub fn settings(&self) -> &CodingSettings {
        &self.settings
    }

    /// What they tell of themselves.
    pub fn metrics(&self) -> &CodingMetrics {
        &self.metrics
    }

    /// Takes room for what is to be coded while it is sent. Nothing: too many are, and the response goes as it is.
    pub fn makes_room(&self, recode: Recode) -> Option<Recode> {
        let roomy = self.rooms.take(recode);
        if roomy.is_none() {
            self.metrics.not_made(NotCoded::NoRoom);
        }
        roomy
    }

    /// Has a variant made.
    pub fn tell(&self, task: Task) {
        self.metrics.queue.inc();
        let Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) = self.queue.try_send(task)
        else {
            return;
        };
        self.metrics.queue.dec();
        self.metrics.not_made(NotCoded::QueueFull);
        task.stored.body.is_untold(task.coding, task.effort);
    }
}

impl Bench {
    fn work(&self, runtime: &Runtime, tasks: &Receiver<Task>) {
        // Of the calling thread alone, as Linux has it. Refused, the coder is as every other thread.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::warn!(%error, "a coder runs with the priority of all other threads");
        }
        while let Ok(task) = tasks.recv() {
            if let Err(why) = runtime.block_on(self.see_to(&task)) {
                self.metrics.not_made(why);
                if matches!(why, NotCoded::NotShorter | NotCoded::TooLong | NotCoded::BadCoding) {
                    task.stored.body.is_not_worth(task.coding);
                }
            }
            self.metrics.queue.dec();
        }
    }

    /// Makes a variant, or finds the one that an earlier process made.
    async fn see_to(&self, task: &Task) -> Result<(), NotCoded> {
        for effort in [Effort::Best, task.effort] {
            if let Some(made) = self.made_before(task, effort).await {
                task.stored.body.is_made(task.coding, made);
                return Ok(());
            }
        }
        self.stands(task)?;
        let wait = self.budget.take(task.stored.length, clock::instant());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
            self.stands(task)?;
        }
        let source = self.bytes(task).await.ok_or(NotCoded::SourceMissing)?;
        self.metrics.source_bytes.inc_by(task.stored.length);
        let coded = self.code(task, source)?;
        self.keep(task, coded).await
    }

    /// Whether the source still stands for what it was asked for.
    fn stands(&self, task: &Task) -> Result<(), NotCoded> {
        let Task { key, site, path, query, stored, .. } = task;
        let stands = self.fills.stands(key, &site.marks, (path, query.as_deref()), stored);
        stands.then_some(()).ok_or(NotCoded::Outdated)
    }

    /// What an earlier process made and wrote down, if all of it is there.
    async fn made_before(&self, task: &Task, effort: Effort) -> Option<Made> {
        let key = task.key.coded(task.stored.body.identity(), task.coding, effort);
        let slot = match self.tiers.slot(&key) {
            Some(slot) => slot,
            None if self.tiers.may_be_below(&key) => self.tiers.raise(&key).await?,
            None => return None,
        };
        let written = slot.responses().first()?;
        let there = self.tiers.has(&written.body).await;
        there.then(|| Made::new(written.body.clone(), written.length, effort))
    }

    /// All bytes of the source.
    async fn bytes(&self, task: &Task) -> Option<Vec<Bytes>> {
        let names = task.stored.body.whole()?;
        let mut pieces = Vec::with_capacity(names.len());
        for name in names {
            pieces.push(match self.tiers.chunk(name) {
                Some(bytes) => bytes,
                None => self.tiers.read(name)?.await?,
            });
        }
        Some(pieces)
    }

    fn code(&self, task: &Task, source: Vec<Bytes>) -> Result<Vec<u8>, NotCoded> {
        let Task { stored, coding, effort, .. } = task;
        let Recodable { from, .. } = stored.recodable().ok_or(NotCoded::BadCoding)?;
        let lengths = (stored.length, self.settings.largest);
        // Decoded it is longer; else it is worth nothing unless it is shorter than what there is.
        let there = stored.body.made(*coding).map_or(stored.length, |made| made.length.min(stored.length));
        let shorter = if *coding == Coding::Identity { u64::MAX } else { there };
        let machine = machine_at_leisure(Feed::of(source), (from, *coding), *effort, lengths);
        let mut coded = Vec::new();
        let read = machine.and_then(|machine| machine.take(shorter).read_to_end(&mut coded));
        match read {
            Ok(_) if (coded.len() as u64) < shorter => Ok(coded),
            Ok(_) => Err(NotCoded::NotShorter),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(NotCoded::TooLong),
            Err(_) => Err(NotCoded::BadCoding),
        }
    }

    /// Gives what was made to the tiers, and hangs it on its source.
    async fn keep(&self, task: &Task, coded: Vec<u8>) -> Result<(), NotCoded> {
        let Task { stored, coding, effort, .. } = task;
        self.stands(task)?;
        let key = task.key.coded(stored.body.identity(), *coding, *effort);
        let length = coded.len() as u64;
        let chunks: Vec<_> =
            coded.chunks(CHUNK).map(|bytes| Chunk::seal(Bytes::copy_from_slice(bytes))).collect();
        for chunk in &chunks {
            self.tiers.keep(&key, chunk);
        }
        let body = Arc::new(Body::of(length, chunks.iter().map(|chunk| chunk.id).collect()));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
        let written = Arc::new(StoredResponse::new(StoredParts {
            status: stored.status,
            headers,
            selecting: Selecting::default(),
            etag: None,
            last_modified: None,
            length,
            body: body.clone(),
            freshness: stored.freshness,
            born: stored.born,
            tags: stored.tags.clone(),
        }));
        self.tiers.store(&key, &written, || self.stands(task).is_ok()).await;
        self.tiers.settle();
        self.stands(task)?;
        stored.body.is_made(*coding, Made::new(body, length, *effort));
        self.metrics.made(coding.as_str(), effort.as_str());
        Ok(())
    }
}
