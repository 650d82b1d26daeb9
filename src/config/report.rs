//! What is wrong with a configuration: everything at once, each with its place and what would be right.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The key, dotted (`site.rule.lifetime`); empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

/// All that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file that was read.
    pub file: PathBuf,
    /// The file could not be read at all.
    pub unreadable: bool,
    /// What keeps the configuration from being used, by line.
    pub errors: Vec<Problem>,
    /// What may be meant, but likely is not, by line.
    pub warnings: Vec<Problem>,
}

impl Report {
    pub(super) fn new(file: &Path) -> Report {
        Report { file: file.to_owned(), unreadable: false, errors: Vec::new(), warnings: Vec::new() }
    }

    /// Whether the configuration may be used.
    pub fn is_fine(&self) -> bool {
        self.errors.is_empty()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.wrong)?;
        if self.right.is_empty() { Ok(()) } else { write!(f, "; {}", self.right) }
    }
}

/// A line per problem: `file:line: key: what is wrong; what would be right`, warnings with `warning:` after the line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.errors.iter().map(|problem| (problem, ""));
        let warnings = self.warnings.iter().map(|problem| (problem, "warning: "));
        for (at, (problem, kind)) in errors.chain(warnings).enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if problem.line > 0 {
                write!(f, "{}:", problem.line)?;
            }
            write!(f, " {kind}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}
