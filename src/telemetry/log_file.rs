//! The access log's file: opened by a name, and whether that name still leads to it.

use crate::clock;
use std::{
    fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The open file and the name it was opened by.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) file: fs::File,
    /// How long an answer of [`LogFile::lost`] holds, and since when.
    pub(super) look: Duration,
    looked: Instant,
}

impl LogFile {
    /// Opens the file for appending, or makes it. Who may read it is for its group to say: learners' addresses stand in it.
    pub(super) fn open(path: &Path, look: Duration) -> io::Result<LogFile> {
        let file = fs::OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        Ok(LogFile { path: path.to_owned(), file, look, looked: clock::instant() })
    }

    /// Does the name lead elsewhere, or nowhere? Looked up seldom, as it asks the disk; in between the answer is no.
    pub(super) fn lost(&mut self) -> bool {
        let now = clock::instant();
        if now.duration_since(self.looked) < self.look {
            return false;
        }
        self.looked = now;
        let place = |m: fs::Metadata| (m.dev(), m.ino());
        match (fs::metadata(&self.path).map(place), self.file.metadata().map(place)) {
            (Ok(named), Ok(open)) => named != open,
            (Err(e), _) => e.kind() == io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => true,
        }
    }
}

/// Where the last line of these bytes begins, which may have been written only in part.
pub(super) fn line_begin(written: &[u8]) -> usize {
    written.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::line_begin;

    #[test]
    fn a_line_cut_by_a_failing_disk_begins_after_the_last_whole_one() {
        for (written, begin) in [("", 0), ("{", 0), ("{}\n", 3), ("{}\n{", 3), ("{}\n{}\n{\"a", 6)] {
            assert_eq!(line_begin(written.as_bytes()), begin, "{written:?}");
        }
    }
}
