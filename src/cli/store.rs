//! `lectern store`: the disk tier's folders in an operator's hands, while no node uses them.
//!
//! Each folder is handled by itself: what is wrong with one is told, and the others have their turn.

use super::{Exit, Streams, progress::Progress};
use crate::{
    cache::{FolderStat, OfflineError, OfflineFolder, Verified},
    config,
};
use clap::{Args, Subcommand};
use indicatif::BinaryBytes;
use serde_json::{Value, json};
use std::{
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What a script decides by; stands at the end of the help.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done, and nothing wrong was found; 64 wrong command line; 65 the store \
    has faults, or a format that this program does not know; 66 there is no store, or no configuration, there; 73 it cannot \
    be moved there; 74 the file system failed; 75 a node or another command uses it: stop that, and ask again; 77 the \
    files are another user's; 78 the configuration has errors.";

#[derive(Args)]
pub(super) struct Store {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Tell what is in it.
    #[command(after_help = EXIT_CODES)]
    Stat {
        #[command(flatten)]
        folders: Folders,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read everything and check it against its digests. A chunk that is missing is no fault: it is asked for again.
    #[command(after_help = EXIT_CODES)]
    Verify {
        #[command(flatten)]
        folders: Folders,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Forget what is not what it should be: it is asked for again.
        #[arg(long)]
        repair: bool,
    },
    /// Move a folder, to another file system too. If it is interrupted nothing is lost: begin again.
    #[command(after_help = EXIT_CODES)]
    Move {
        #[command(flatten)]
        folders: Folders,
        /// Where to; does not exist, or is an empty folder.
        to: PathBuf,
    },
    /// Remove everything that is in it, of whatever format.
    #[command(after_help = EXIT_CODES)]
    Clear {
        #[command(flatten)]
        folders: Folders,
        /// Really.
        #[arg(long)]
        yes: bool,
    },
}

/// Which folders are meant.
#[derive(Args)]
struct Folders {
    /// The configuration: all folders of its disk tier.
    #[arg(long, default_value = "/etc/lectern/lectern.toml")]
    config: PathBuf,
    /// This folder, whatever is configured; once for each.
    #[arg(long = "folder", value_name = "PATH", conflicts_with = "config")]
    folders: Vec<PathBuf>,
}

impl Folders {
    /// Their paths, at least one.
    fn paths(self, streams: &mut Streams<'_>) -> Result<Vec<PathBuf>, Exit> {
        if !self.folders.is_empty() {
            return Ok(self.folders);
        }
        let config = config::load(&self.config).map_err(|report| {
            let exit = if report.unreadable { Exit::NoInput } else { Exit::Config };
            streams.fail(exit, format_args!("{report}"))
        })?;
        let paths: Vec<_> = config.disk.folders.into_iter().map(|folder| folder.path).collect();
        if paths.is_empty() {
            let config = self.config.display();
            return Err(streams.fail(Exit::NoInput, format_args!("{config} has no [[disk.folder]]")));
        }
        Ok(paths)
    }
}

impl Store {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        match self.action {
            Action::Stat { folders, json } => told(folders, json, streams, |folder| {
                let stat = folder.stat()?;
                Ok(Told { json: stat_json(&stat), text: StatTold(&stat).to_string(), exit: Exit::Done })
            }),
            Action::Verify { folders, json, repair } => told(folders, json, streams, |folder| {
                let bar = Progress::of(format!("verifying {}", folder.path().display()));
                let verified = folder.verify(repair, &mut |done, of| bar.at(done, of))?;
                let exit = if verified.faults() == verified.repaired { Exit::Done } else { Exit::Data };
                Ok(Told { json: verified_json(&verified), text: VerifiedTold(&verified).to_string(), exit })
            }),
            Action::Move { folders, to } => move_to(folders, &to, streams),
            Action::Clear { folders, yes } => clear(folders, yes, streams),
        }
    }
}

/// What was found out of one folder.
struct Told {
    json: Value,
    text: String,
    exit: Exit,
}

/// Asks each folder and tells what was found. The exit code is the first that is not 0.
fn told(
    folders: Folders,
    json: bool,
    streams: &mut Streams<'_>,
    ask: impl Fn(&OfflineFolder) -> Result<Told, OfflineError>,
) -> Exit {
    let paths = match folders.paths(streams) {
        Ok(paths) => paths,
        Err(exit) => return exit,
    };
    let (mut all, mut exit) = (Vec::new(), Exit::Done);
    for path in &paths {
        let told = OfflineFolder::hold(path).and_then(|folder| ask(&folder)).unwrap_or_else(|error| Told {
            json: json!({ "folder": path, "error": error.to_string() }),
            text: String::new(),
            exit: streams.fail(exit_of(&error), format_args!("{error}")),
        });
        if exit == Exit::Done {
            exit = told.exit;
        }
        if json {
            all.push(told.json);
        } else if !told.text.is_empty() {
            streams.say(format_args!("{}", told.text));
        }
    }
    if json {
        streams.say(format_args!("{:#}", json!({ "folders": all })));
    }
    exit
}

fn move_to(folders: Folders, to: &Path, streams: &mut Streams<'_>) -> Exit {
    let paths = match folders.paths(streams) {
        Ok(paths) => paths,
        Err(exit) => return exit,
    };
    let [path] = paths.as_slice() else {
        return streams.fail(Exit::Usage, format_args!("name one --folder of the {} there are", paths.len()));
    };
    let bar = Progress::of(format!("moving {}", path.display()));
    let moved =
        OfflineFolder::hold(path).and_then(|folder| folder.move_to(to, &mut |done, of| bar.at(done, of)));
    drop(bar);
    match moved {
        Ok(to) => {
            let (path, to) = (path.display(), to.display());
            streams.say(format_args!("{path} is now {to}; write `path = \"{to}\"` into its [[disk.folder]]"));
            Exit::Done
        }
        Err(error) => streams.fail(exit_of(&error), format_args!("{error}")),
    }
}

fn clear(folders: Folders, yes: bool, streams: &mut Streams<'_>) -> Exit {
    let paths = match folders.paths(streams) {
        Ok(paths) => paths,
        Err(exit) => return exit,
    };
    if !yes {
        let named: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        let named = named.join(", ");
        return streams.fail(Exit::Usage, format_args!("this removes all that is in {named}; say --yes"));
    }
    let mut exit = Exit::Done;
    for path in &paths {
        match OfflineFolder::hold(path).and_then(|folder| folder.clear()) {
            Ok(()) => streams.say(format_args!("{} is empty", path.display())),
            Err(error) => {
                let failed = streams.fail(exit_of(&error), format_args!("{error}"));
                exit = if exit == Exit::Done { failed } else { exit };
            }
        }
    }
    exit
}

fn exit_of(error: &OfflineError) -> Exit {
    match error {
        OfflineError::Nothing(_) => Exit::NoInput,
        OfflineError::Held(_) => Exit::Temporary,
        OfflineError::Newer(..) | OfflineError::Unknown(..) => Exit::Data,
        OfflineError::Foreign(..) => Exit::Permission,
        OfflineError::Destination(..) => Exit::CantCreate,
        OfflineError::Io(..) => Exit::Output,
        OfflineError::Disk(_, error) if error.kind().is_some() => Exit::Output,
        OfflineError::Disk(..) => Exit::Data,
    }
}

fn seconds(time: Option<SystemTime>) -> Option<u64> {
    time.map(|time| time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
}

fn stat_json(stat: &FolderStat) -> Value {
    json!({
        "folder": stat.folder,
        "segment_bytes": stat.segment_bytes,
        "index_bytes": stat.index_bytes,
        "segments": stat.segments,
        "chunks": stat.chunks,
        "chunk_bytes": stat.chunk_bytes,
        "responses": stat.responses,
        "named_bytes": stat.named_bytes,
        "oldest": seconds(stat.oldest),
        "newest": seconds(stat.newest),
    })
}

fn verified_json(verified: &Verified) -> Value {
    json!({
        "folder": verified.folder,
        "segments": verified.segments,
        "chunks": verified.chunks,
        "bytes": verified.bytes,
        "responses": verified.responses,
        "missing_chunks": verified.missing,
        "bad_chunks": verified.bad,
        "wrong_places": verified.misplaced,
        "bad_heads": verified.bad_heads,
        "repaired": verified.repaired,
        "faults": verified.samples,
    })
}

/// What is in a folder, to be read from top to bottom.
struct StatTold<'a>(&'a FolderStat);

impl Display for StatTold<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let stat = self.0;
        writeln!(f, "{}", stat.folder.display())?;
        let (segments, index) = (BinaryBytes(stat.segment_bytes), BinaryBytes(stat.index_bytes));
        writeln!(f, "  bytes      {segments} in {} segments, index {index}", stat.segments)?;
        writeln!(f, "  chunks     {}, {}", stat.chunks, BinaryBytes(stat.chunk_bytes))?;
        write!(f, "  responses  {}, naming {}", stat.responses, BinaryBytes(stat.named_bytes))?;
        if stat.chunk_bytes > 0 {
            let times = stat.named_bytes as f64 / stat.chunk_bytes as f64;
            write!(f, ": {times:.2} times what is stored")?;
        }
        if let (Some(oldest), Some(newest)) = (stat.oldest, stat.newest) {
            write!(f, "\n  oldest     {}", httpdate::fmt_http_date(oldest))?;
            write!(f, "\n  newest     {}", httpdate::fmt_http_date(newest))?;
        }
        Ok(())
    }
}

/// What was found in a folder.
struct VerifiedTold<'a>(&'a Verified);

impl Display for VerifiedTold<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let found = self.0;
        let (folder, bytes) = (found.folder.display(), BinaryBytes(found.bytes));
        match found.faults() {
            0 => write!(f, "{folder}: fine")?,
            1 => write!(f, "{folder}: 1 fault")?,
            n => write!(f, "{folder}: {n} faults")?,
        }
        if found.repaired > 0 {
            write!(f, ", {} repaired", found.repaired)?;
        }
        write!(f, ": {} chunks, {bytes}, {} responses", found.chunks, found.responses)?;
        if found.missing > 0 {
            write!(f, "\n  {} chunks that responses name are missing, and will be asked for", found.missing)?;
        }
        found.samples.iter().try_for_each(|fault| write!(f, "\n  {fault}"))?;
        let more = found.faults() - found.samples.len() as u64;
        if more > 0 { write!(f, "\n  and {more} more") } else { Ok(()) }
    }
}
