//! What the disk tier tells of itself, by folder.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// The metrics of all folders.
pub struct DiskMetrics {
    bytes: IntGaugeVec,
    index_bytes: IntGaugeVec,
    segments: IntGaugeVec,
    chunks: IntGaugeVec,
    responses: IntGaugeVec,
    up: IntGaugeVec,
    written_bytes: IntCounterVec,
    deduplicated_bytes: IntCounterVec,
    read_bytes: IntCounterVec,
    reads: IntCounterVec,
    not_kept: IntCounterVec,
    verify_failures: IntCounterVec,
    reclaimed_segments: IntCounterVec,
    carried_bytes: IntCounterVec,
    evicted_responses: IntCounterVec,
    write_queue_bytes: IntGaugeVec,
    /// Look-ups and reads that wait for a reading thread.
    pub read_queue: IntGauge,
    /// Look-ups and reads that were not made because the queue was full.
    pub read_queue_full: IntCounter,
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskRead {
    /// The bytes are those of the chunk.
    Ok,
    /// It is not there.
    Missing,
    /// What is there are not its bytes.
    Bad,
    /// The disk failed.
    Error,
    /// The disk did not answer in time, or a look-up did not come so far.
    Slow,
}

/// Why something was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// Too much waits to be written.
    QueueFull,
    /// The folder takes no writes.
    Off,
    /// Nothing could be reclaimed for it.
    NoRoom,
    /// The disk failed while it was written.
    Error,
    /// Too many changes of stored responses wait to be committed.
    PendingFull,
}

impl DiskRead {
    const ALL: [(DiskRead, &str); 5] = [
        (DiskRead::Ok, "ok"),
        (DiskRead::Missing, "missing"),
        (DiskRead::Bad, "bad"),
        (DiskRead::Error, "error"),
        (DiskRead::Slow, "slow"),
    ];
}

impl NotKept {
    const ALL: [(NotKept, &str); 5] = [
        (NotKept::QueueFull, "queue_full"),
        (NotKept::Off, "off"),
        (NotKept::NoRoom, "no_room"),
        (NotKept::Error, "error"),
        (NotKept::PendingFull, "pending_full"),
    ];
}

/// The metrics of one folder: handles, resolved once.
pub struct FolderMetrics {
    /// Bytes of its segments and its index.
    pub bytes: IntGauge,
    /// Bytes of its index.
    pub index_bytes: IntGauge,
    /// Segment files.
    pub segments: IntGauge,
    /// Chunks the index names.
    pub chunks: IntGauge,
    /// Stored responses the index names.
    pub responses: IntGauge,
    /// 1 while it is read from.
    pub reads_up: IntGauge,
    /// 1 while it is written to.
    pub writes_up: IntGauge,
    /// Bytes of chunks written.
    pub written_bytes: IntCounter,
    /// Bytes of chunks that were there already.
    pub deduplicated_bytes: IntCounter,
    /// Bytes of chunks read.
    pub read_bytes: IntCounter,
    /// Chunks that did not have the digest they are named by, when read for whatever reason.
    pub verify_failures: IntCounter,
    /// Segments taken away.
    pub reclaimed_segments: IntCounter,
    /// Bytes of chunks carried on from them.
    pub carried_bytes: IntCounter,
    /// Responses forgotten for the limit of responses.
    pub evicted_responses: IntCounter,
    /// Bytes of chunks that wait to be written.
    pub write_queue_bytes: IntGauge,
    reads: [IntCounter; DiskRead::ALL.len()],
    not_kept: [IntCounter; NotKept::ALL.len()],
}

impl FolderMetrics {
    /// A read ended so.
    pub fn read(&self, result: DiskRead) {
        self.reads[result as usize].inc();
    }

    /// A chunk, or a change of stored responses, was not kept.
    pub fn not_kept(&self, why: NotKept) {
        self.not_kept[why as usize].inc();
    }
}

impl DiskMetrics {
    /// Makes them, by the functions that make and register metrics of a name, a help text and labels.
    pub(super) fn new(
        counter: impl Fn(&str, &str) -> IntCounter,
        gauge: impl Fn(&str, &str) -> IntGauge,
        counters: impl Fn(&str, &str, &[&str]) -> IntCounterVec,
        gauges: impl Fn(&str, &str, &[&str]) -> IntGaugeVec,
    ) -> DiskMetrics {
        const FOLDER: &[&str] = &["folder"];
        DiskMetrics {
            bytes: gauges(
                "lectern_disk_bytes",
                "Bytes of segments and index by folder. At the folder's limit the oldest segment is reclaimed.",
                FOLDER,
            ),
            index_bytes: gauges(
                "lectern_disk_index_bytes",
                "Bytes of the index by folder, part of lectern_disk_bytes. Above a half, responses are very small.",
                FOLDER,
            ),
            segments: gauges(
                "lectern_disk_segments",
                "Segment files by folder. About 32 once the folder is full.",
                FOLDER,
            ),
            chunks: gauges(
                "lectern_disk_chunks",
                "Chunks that the index knows by folder: each digest once, whichever responses it belongs to.",
                FOLDER,
            ),
            responses: gauges(
                "lectern_disk_responses",
                "URLs with stored responses that the index knows by folder. At the limit the oldest are forgotten.",
                FOLDER,
            ),
            up: gauges(
                "lectern_disk_up",
                "1 while a folder is read from, or written to; at 0 it is probed and the error log tells why.",
                &["folder", "what"],
            ),
            written_bytes: counters(
                "lectern_disk_written_bytes_total",
                "Bytes of chunks written by folder, carried ones too. Compare with what the disk endures.",
                FOLDER,
            ),
            deduplicated_bytes: counters(
                "lectern_disk_deduplicated_bytes_total",
                "Bytes of chunks that were offered and already there, by folder: what one copy for all saves.",
                FOLDER,
            ),
            read_bytes: counters(
                "lectern_disk_read_bytes_total",
                "Bytes of chunks read for requests by folder, whether from the medium or the page cache.",
                FOLDER,
            ),
            reads: counters(
                "lectern_disk_reads_total",
                "Reads of chunks by folder and result: ok, missing, bad (not the bytes that were written), error, slow (look-ups too).",
                &["folder", "result"],
            ),
            not_kept: counters(
                "lectern_disk_not_kept_total",
                "Chunks and changes of responses not written, by folder and reason. A rise of queue_full: the disk is too slow.",
                &["folder", "reason"],
            ),
            verify_failures: counters(
                "lectern_disk_verify_failures_total",
                "Chunks whose bytes did not fit their digest, by folder. More than a few: replace the disk.",
                FOLDER,
            ),
            reclaimed_segments: counters(
                "lectern_disk_reclaimed_segments_total",
                "Segments reclaimed by folder. How fast the folder turns over, with lectern_disk_segments.",
                FOLDER,
            ),
            carried_bytes: counters(
                "lectern_disk_carried_bytes_total",
                "Bytes of chunks in use carried on from reclaimed segments. High beside those written: the folder is too small.",
                FOLDER,
            ),
            evicted_responses: counters(
                "lectern_disk_evicted_responses_total",
                "Responses forgotten to keep the limit of responses, by folder.",
                FOLDER,
            ),
            write_queue_bytes: gauges(
                "lectern_disk_write_queue_bytes",
                "Bytes of chunks that wait to be written by folder. At disk.write_queue the next ones are not kept.",
                FOLDER,
            ),
            read_queue: gauge(
                "lectern_disk_read_queue",
                "Look-ups and reads that wait for a reading thread. Growing means that the disks are too slow.",
            ),
            read_queue_full: counter(
                "lectern_disk_read_queue_full_total",
                "Look-ups and reads not made because disk.read_queue of them waited: the origin was asked instead.",
            ),
        }
    }

    /// The metrics of the folder with this name, one from the configuration.
    pub fn folder(&self, name: &str) -> FolderMetrics {
        let gauge = |of: &IntGaugeVec| of.with_label_values(&[name]);
        let counter = |of: &IntCounterVec| of.with_label_values(&[name]);
        FolderMetrics {
            bytes: gauge(&self.bytes),
            index_bytes: gauge(&self.index_bytes),
            segments: gauge(&self.segments),
            chunks: gauge(&self.chunks),
            responses: gauge(&self.responses),
            reads_up: self.up.with_label_values(&[name, "reads"]),
            writes_up: self.up.with_label_values(&[name, "writes"]),
            written_bytes: counter(&self.written_bytes),
            deduplicated_bytes: counter(&self.deduplicated_bytes),
            read_bytes: counter(&self.read_bytes),
            verify_failures: counter(&self.verify_failures),
            reclaimed_segments: counter(&self.reclaimed_segments),
            carried_bytes: counter(&self.carried_bytes),
            evicted_responses: counter(&self.evicted_responses),
            write_queue_bytes: gauge(&self.write_queue_bytes),
            reads: DiskRead::ALL.map(|(_, word)| self.reads.with_label_values(&[name, word])),
            not_kept: NotKept::ALL.map(|(_, word)| self.not_kept.with_label_values(&[name, word])),
        }
    }
}
