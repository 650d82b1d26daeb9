//! Which ledgers a folder has seen, and how far each had come: the file `ledgers`.
//!
//! A ledger that is taken back from an old backup has forgotten its last purges, and nothing in it says so. What lies here
//! does: it is then emptied before anything of it is served, for what was purged and what was not cannot be told apart. The
//! file is on the medium before a commit that came after what it says, and within a second of a purge that nothing followed.

use super::DiskError;
use crate::ledger::Number;
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

const FILE: &str = "ledgers";
const UNFINISHED: &str = "ledgers.new";
/// Ledgers that are remembered: each was the node's for a time.
const MOST: usize = 16;

pub(super) struct Witness {
    folder: PathBuf,
    /// The highest number of each, the one seen last at the end.
    seen: Vec<Number>,
}

impl Witness {
    /// What stands in a folder; nothing if nothing does.
    pub(super) fn read(folder: &Path) -> Result<Witness, DiskError> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(DiskError::io(path)(error)),
        };
        let seen: Option<Vec<Number>> = text.lines().map(number).collect();
        let seen = seen.ok_or(DiskError::Damaged("it cannot be read which ledgers it has seen"))?;
        Ok(Witness { folder: folder.into(), seen })
    }

    /// How far it has seen a ledger come that ends at this number, if that is further.
    pub(super) fn beyond(&self, ledger: Number) -> Option<u64> {
        self.of(ledger).map(|seen| seen.n).filter(|seen| *seen > ledger.n)
    }

    /// A ledger has come this far. What it says is on the medium when this returns.
    pub(super) fn note(&mut self, ledger: Number) -> Result<(), DiskError> {
        if self.of(ledger).is_some_and(|seen| seen.n >= ledger.n) {
            return Ok(());
        }
        let mut seen = self.seen.clone();
        seen.retain(|other| other.identity != ledger.identity);
        seen.push(ledger);
        seen.drain(..seen.len().saturating_sub(MOST));
        write(&self.folder, &seen).map_err(DiskError::io(self.folder.join(FILE)))?;
        self.seen = seen;
        Ok(())
    }

    fn of(&self, ledger: Number) -> Option<&Number> {
        self.seen.iter().find(|seen| seen.identity == ledger.identity)
    }
}

fn write(folder: &Path, seen: &[Number]) -> std::io::Result<()> {
    let unfinished = folder.join(UNFINISHED);
    let mut file = File::create(&unfinished)?;
    for Number { identity, n } in seen {
        writeln!(file, "{identity} {n}")?;
    }
    file.sync_all()?;
    fs::rename(unfinished, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

fn number(line: &str) -> Option<Number> {
    let (identity, n) = line.split_once(' ')?;
    Some(Number { identity: identity.parse().ok()?, n: n.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::{FILE, MOST, Witness};
    use crate::ledger::{Identity, Number};
    use std::fs;

    fn number(ledger: u8, n: u64) -> Number {
        Number { identity: Identity([ledger; 16]), n }
    }

    #[test]
    fn it_remembers_how_far_each_ledger_had_come() {
        let folder = tempfile::tempdir().unwrap();
        let mut witness = Witness::read(folder.path()).unwrap();
        for (ledger, n) in [(1, 5), (2, 3), (1, 7), (1, 6)] {
            witness.note(number(ledger, n)).unwrap();
        }
        let read = Witness::read(folder.path()).unwrap();
        for witness in [witness, read] {
            assert_eq!(witness.beyond(number(1, 6)), Some(7));
            assert_eq!(witness.beyond(number(1, 7)), None);
            assert_eq!(witness.beyond(number(2, 0)), Some(3), "a ledger that was another's before");
            assert_eq!(witness.beyond(number(3, 0)), None, "a ledger it never saw");
        }
    }

    #[test]
    fn the_ledgers_seen_longest_ago_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut witness = Witness::read(folder.path()).unwrap();
        for ledger in 0..=MOST as u8 {
            witness.note(number(ledger, 1)).unwrap();
        }
        assert_eq!(witness.beyond(number(0, 0)), None);
        assert_eq!(witness.beyond(number(1, 0)), Some(1));
    }

    #[test]
    fn what_is_no_number_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["x", "00 1", "01010101010101010101010101010101 ", "\n"] {
            fs::write(folder.path().join(FILE), text).unwrap();
            assert!(Witness::read(folder.path()).is_err_and(|error| error.is_damage()), "{text:?}");
        }
    }
}
