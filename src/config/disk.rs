//! What an operator sets of the disk tier: `[disk]` and its folders, `[[disk.folder]]`.

use super::reader::{Place, Placed, Section};
use crate::cache::{DiskSettings, FolderSettings};
use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

/// The most a folder may be limited to, a petabyte: a longer number is a slip.
const MOST: u64 = 1 << 50;

/// Reads the disk tier. `ledger`: the ledger's folder, which holds nothing else.
pub(super) fn disk(section: Section<'_>, ledger: &Path) -> DiskSettings {
    let default = DiskSettings::default();
    let interval = Duration::from_millis(10)..=Duration::from_secs(60);
    let deadline = Duration::from_millis(100)..=Duration::from_secs(60);
    let mut taken = vec![(plain(ledger), "the ledger's folder".to_owned())];
    let folders = section.tables("folder").into_iter();
    let settings = DiskSettings {
        folders: folders.filter_map(|section| folder(section, &mut taken)).collect(),
        readers: section.count("readers", 1..=256).unwrap_or(default.readers),
        read_queue: section.count("read_queue", 1..=1_000_000).unwrap_or(default.read_queue),
        read_deadline: section.span("read_deadline", deadline).unwrap_or(default.read_deadline),
        write_queue: section.size("write_queue", 1 << 20..=1 << 34).unwrap_or(default.write_queue),
        flush_interval: section.span("flush_interval", interval).unwrap_or(default.flush_interval),
    };
    section.finish();
    settings
}

fn folder(section: Section<'_>, taken: &mut Vec<(PathBuf, String)>) -> Option<FolderSettings> {
    let reader = section.reader;
    for (key, right) in
        [("path", "where it is, as in \"disk\""), ("limit", "how many bytes it may take, as in \"100GiB\"")]
    {
        if section.value(key).is_none() {
            section.missing(key, right);
        }
    }
    let (path, limit) = (section.path("path"), section.size("limit", FolderSettings::LEAST..=MOST));
    let responses = section.count("responses", 1_000..=1_000_000_000);
    let at = section.value("protected_limit").map(|value| value.place);
    let protected = section.size("protected_limit", 0..=MOST);
    section.finish();
    if let (Some(limit), Some(protected), Some(at)) = (limit, protected, &at)
        && protected > limit
    {
        reader.error(at, "it is above `limit`", "leave room for what is not protected");
    }
    let path = path?;
    if let Some(wrong) = in_the_way(&path, taken) {
        reader.error(&path.place, wrong, "give each its own folder, none inside another");
    }
    let Place { line, .. } = path.place;
    taken.push((plain(&path.value), format!("the folder of line {line}")));
    let default = FolderSettings::new(path.value, limit?);
    Some(FolderSettings {
        responses: responses.unwrap_or(default.responses),
        protected_limit: protected.unwrap_or(default.protected_limit),
        ..default
    })
}

/// What else is there, inside or around it.
fn in_the_way(path: &Placed<PathBuf>, taken: &[(PathBuf, String)]) -> Option<String> {
    let own = plain(&path.value);
    let (other, whose) = taken.iter().find(|(other, _)| own.starts_with(other) || other.starts_with(&own))?;
    Some(match (own == *other, own.starts_with(other)) {
        (true, _) => format!("it is {whose} too"),
        (_, true) => format!("it is inside {whose}"),
        _ => format!("{whose} is inside of it"),
    })
}

/// A path without the detours it is written with. Links are not followed: what they hide the folders' locks find out.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in std::path::absolute(path).as_deref().unwrap_or(path).components() {
        match part {
            Component::ParentDir => _ = plain.pop(),
            part => plain.push(part),
        }
    }
    plain
}
