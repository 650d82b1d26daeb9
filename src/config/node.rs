//! What an operator sets of the process, and the small tables beside it: `[node]`, `[cache]`, `[ledger]`, `[log]`.

use super::{coding, reader::Section};
use crate::{
    cache::CacheSettings,
    ledger::LedgerSettings,
    telemetry::{LogFormat, LogLevel, LogSettings},
};
use std::{ops::RangeInclusive, time::Duration};

/// The process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// Runtimes that serve, one thread each; absent: one per core. A change needs a restart.
    pub threads: Option<usize>,
    /// At a stop, how long transfers under way may go on before they are cut.
    pub stop_deadline: Duration,
    /// At an upgrade, how long what the old process has under way may go on before it is cut.
    pub upgrade_deadline: Duration,
    /// At a stop, how long `/readyz` says no before accepting ends: DNS or a balancer sends the learners elsewhere
    /// meanwhile. Counts before `stop_deadline`.
    pub unready_before_stop: Duration,
    /// Least level of what goes to the error log (standard error).
    pub error_log: LogLevel,
    /// How its lines are written.
    pub error_log_format: LogFormat,
}

impl Default for NodeSettings {
    fn default() -> NodeSettings {
        NodeSettings {
            threads: None,
            stop_deadline: Duration::from_secs(30),
            upgrade_deadline: Duration::from_secs(600),
            unready_before_stop: Duration::ZERO,
            error_log: LogLevel::Info,
            error_log_format: LogFormat::Text,
        }
    }
}

pub(super) fn node(section: Section<'_>) -> NodeSettings {
    let default = NodeSettings::default();
    let span =
        |key, default| section.span(key, Duration::ZERO..=Duration::from_secs(86_400)).unwrap_or(default);
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
    ];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let settings = NodeSettings {
        threads: section.count("threads", 1..=1024),
        stop_deadline: span("stop_deadline", default.stop_deadline),
        upgrade_deadline: span("upgrade_deadline", default.upgrade_deadline),
        unready_before_stop: span("unready_before_stop", default.unready_before_stop),
        error_log: section.choice("error_log", &levels).unwrap_or(default.error_log),
        error_log_format: section.choice("error_log_format", &formats).unwrap_or(default.error_log_format),
    };
    section.finish();
    settings
}

pub(super) fn cache(section: Section<'_>) -> CacheSettings {
    let default = CacheSettings::default();
    let span =
        |key, default| section.span(key, Duration::ZERO..=Duration::from_secs(86_400)).unwrap_or(default);
    let fill_window = section.size("fill_window", 1 << 20..=1 << 30).unwrap_or(default.fill_window);
    let settings = CacheSettings {
        memory: section.size("memory", 1 << 20..=1 << 44).unwrap_or(default.memory),
        body_limit: section.size("body_limit", 0..=1 << 44).unwrap_or(default.body_limit),
        fill_window,
        read_ahead: section.size("read_ahead", 1 << 20..=1 << 40).unwrap_or(fill_window),
        lag_limit: span("lag_limit", default.lag_limit),
        pass_mark: span("pass_mark", default.pass_mark),
        coding: section.table("coding").map(coding::coding).unwrap_or_default(),
    };
    section.finish();
    settings
}

/// Once a day at least.
const TELL_HEAD: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(86_400);

pub(super) fn ledger(section: Section<'_>) -> LedgerSettings {
    let default = LedgerSettings::default();
    let folder = section.path("folder").map(|folder| folder.value);
    let settings = LedgerSettings {
        folder: folder.unwrap_or_else(|| section.reader.in_folder(&default.folder)),
        url_entries: section.count("url_entries", 1..=1_000_000_000).unwrap_or(default.url_entries),
        snapshot_records: section
            .count("snapshot_records", 1..=1_000_000_000)
            .map_or(default.snapshot_records, |count| count as u64),
        tell_head: section.span("tell_head", TELL_HEAD).unwrap_or(default.tell_head),
    };
    section.finish();
    settings
}

pub(super) fn log(section: Section<'_>) -> LogSettings {
    let settings = LogSettings { access: section.path("access").map(|path| path.value) };
    section.finish();
    settings
}
