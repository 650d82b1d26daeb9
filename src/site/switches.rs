//! All switches of the node, and the file that holds what was switched, by whom, why and when.
//!
//! The file stands beside the ledger and belongs to whoever holds its lock. It is no part of it: a switch outdates nothing that is
//! stored and so needs no number, and a kind of record that an older version does not know would keep that version from
//! starting. Each change is a line of JSON at its end, on the medium before it is in force, and the last line of a
//! site is what holds; what a crash left of a line that was never acknowledged is cut off.

use super::switch::{Mode, Switch};
use crate::{clock, telemetry::Metrics};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use utoipa::ToSchema;

const FILE: &str = "switches";

/// One change of a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Switched {
    /// The site; absent: the node, for every site without a switch of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "lms")]
    pub site: Option<String>,
    /// How its requests go on.
    pub mode: Mode,
    /// Name of the token.
    #[schema(example = "operations")]
    pub who: String,
    /// The reason given.
    #[schema(example = "the LMS restores its database")]
    pub why: String,
    /// When, milliseconds since 1970.
    #[schema(example = 1_700_000_000_000_u64)]
    pub when: u64,
    /// Address that the call came from.
    #[schema(example = "192.0.2.7")]
    pub from: String,
}

/// Why something was not switched; nothing has changed then.
#[derive(Debug)]
pub enum SwitchError {
    /// A new process is taking over.
    HandedOver,
    /// It cannot be recorded.
    Unwritten(io::Error),
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SwitchError::HandedOver => f.write_str("a new process is taking over"),
            SwitchError::Unwritten(error) => write!(f, "it cannot be recorded: {error}"),
        }
    }
}

impl std::error::Error for SwitchError {}

impl From<io::Error> for SwitchError {
    fn from(error: io::Error) -> SwitchError {
        SwitchError::Unwritten(error)
    }
}

/// The switches of the node and of its sites.
pub struct Switches {
    path: PathBuf,
    metrics: Arc<Metrics>,
    /// Held while the medium is waited for.
    state: Mutex<State>,
    /// What is switched, for who asks meanwhile.
    told: ArcSwap<Vec<Switched>>,
}

#[derive(Default)]
struct State {
    /// With the length of its whole lines. None: another process may write to it.
    file: Option<(File, u64)>,
    /// What is not as the rules say; the node under no name.
    switched: BTreeMap<Option<String>, Switched>,
    switches: HashMap<String, Arc<Switch>>,
}

impl Switches {
    /// The switches as the file in the ledger's folder has them. To be called by who holds the ledger.
    ///
    /// # Errors
    /// The file cannot be read or written, or a line of it is wrong: to go on as if nothing had been switched would be wrong too.
    pub fn open(folder: &Path, metrics: &Arc<Metrics>) -> io::Result<Switches> {
        let (path, metrics) = (folder.join(FILE), metrics.clone());
        let switches = Switches { path, metrics, state: Mutex::default(), told: ArcSwap::default() };
        switches.read(&mut switches.state())?;
        Ok(switches)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, state: &mut State) -> io::Result<()> {
        let there = self.path.exists();
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        if !there && let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        let mut switched = BTreeMap::new();
        for (number, line) in
            (1..).zip(bytes.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.is_empty())
        {
            let change: Switched = serde_json::from_slice(line)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("line {number}: {error}")))?;
            switched.insert(change.site.clone(), change);
        }
        switched.retain(|_, change| change.mode != Mode::Normal);
        for change in switched.values() {
            let Switched { site, mode, who, why, .. } = change;
            tracing::warn!(site, %mode, who, why, "switched since before this start");
        }
        (state.switched, state.file) = (switched, Some((file, bytes.len() as u64)));
        self.apply(state);
        Ok(())
    }

    /// Tells each site its mode: its own, or else the node's.
    fn apply(&self, state: &State) {
        self.told.store(Arc::new(state.switched.values().cloned().collect()));
        for (site, switch) in &state.switches {
            let mode = state.mode_of(site);
            switch.set(mode);
            self.metrics.switched(site, mode.as_str());
        }
        self.metrics.switched("", state.switched.get(&None).map_or(Mode::Normal, |node| node.mode).as_str());
    }

    /// The switch of a site, the same for as long as the process lives.
    pub fn of(&self, site: &str) -> Arc<Switch> {
        let mut state = self.state();
        if let Some(switch) = state.switches.get(site) {
            return switch.clone();
        }
        let (switch, mode) = (Arc::new(Switch::default()), state.mode_of(site));
        switch.set(mode);
        self.metrics.switched(site, mode.as_str());
        state.switches.insert(site.to_owned(), switch.clone());
        switch
    }

    /// What is switched at this moment, the node first.
    pub fn switched(&self) -> Vec<Switched> {
        self.told.load().to_vec()
    }

    /// Records a change, and brings it into force: for every request whose head comes after this returns. Waits for the medium.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn switch(&self, change: Switched) -> Result<(), SwitchError> {
        let mut state = self.state();
        let (file, length) = state.file.as_mut().ok_or(SwitchError::HandedOver)?;
        *length = append(file, *length, &change)?;
        let Switched { site, mode, who, why, from, .. } = &change;
        tracing::warn!(site, %mode, who, why, from, "switched");
        if *mode == Mode::Normal {
            state.switched.remove(site);
        } else {
            state.switched.insert(site.clone(), change);
        }
        self.apply(&state);
        Ok(())
    }

    /// From here on another process may write to the file; a change under way is done when this returns.
    pub fn give_up(&self) {
        self.state().file = None;
    }

    /// That process is gone; what it may have switched holds.
    ///
    /// # Errors
    /// The file cannot be read: nothing can be switched until the next start.
    pub fn take_back(&self) -> io::Result<()> {
        self.read(&mut self.state())
    }
}

impl State {
    fn mode_of(&self, site: &str) -> Mode {
        let own = self.switched.get(&Some(site.to_owned()));
        own.or_else(|| self.switched.get(&None)).map_or(Mode::Normal, |switched| switched.mode)
    }
}

/// Brings a line to the medium, behind so many bytes; what stood there of one that failed goes.
fn append(file: &mut File, length: u64, change: &Switched) -> io::Result<u64> {
    let mut line = serde_json::to_vec(change)?;
    line.push(b'\n');
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    let written = file.write_all(&line).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Not acknowledged, so it must not be found by the next start.
        file.set_len(length)?;
        return Err(error);
    }
    Ok(length + line.len() as u64)
}

impl Switched {
    /// A change at this moment.
    pub fn now(site: Option<String>, mode: Mode, who: &str, why: String, from: String) -> Switched {
        Switched { site, mode, who: who.to_owned(), why, when: clock::unix_millis(clock::now()), from }
    }
}

#[cfg(test)]
mod tests {
    use super::{FILE, Mode, SwitchError, Switched, Switches};
    use crate::telemetry::Metrics;
    use std::{fs, path::Path};

    fn open(folder: &Path) -> Switches {
        Switches::open(folder, &Metrics::new()).unwrap()
    }

    fn change(site: Option<&str>, mode: Mode) -> Switched {
        Switched::now(site.map(str::to_owned), mode, "operations", "a drill".into(), "192.0.2.7".into())
    }

    #[test]
    fn a_sites_own_switch_goes_before_the_nodes() {
        let folder = tempfile::tempdir().unwrap();
        let switches = open(folder.path());
        let (a, b) = (switches.of("a"), switches.of("b"));
        for (site, mode, of_a, of_b) in [
            (None, Mode::Spare, Mode::Spare, Mode::Spare),
            (Some("a"), Mode::Relay, Mode::Relay, Mode::Spare),
            (None, Mode::Normal, Mode::Relay, Mode::Normal),
            (None, Mode::Relay, Mode::Relay, Mode::Relay),
            (Some("a"), Mode::Normal, Mode::Relay, Mode::Relay),
        ] {
            switches.switch(change(site, mode)).unwrap();
            assert_eq!((a.mode(), b.mode()), (of_a, of_b), "{site:?} {mode}");
        }
        assert_eq!(switches.of("c").mode(), Mode::Relay, "a site that comes later");
    }

    #[test]
    fn what_was_switched_holds_after_a_start_and_what_was_torn_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let changes = [change(Some("a"), Mode::Relay), change(None, Mode::Spare)];
        let switches = open(folder.path());
        changes.iter().for_each(|change| switches.switch(change.clone()).unwrap());
        switches.switch(change(Some("b"), Mode::Spare)).unwrap();
        switches.switch(change(Some("b"), Mode::Normal)).unwrap();
        drop(switches);
        let whole = fs::read(folder.path().join(FILE)).unwrap();
        assert_eq!(whole.iter().filter(|byte| **byte == b'\n').count(), 4, "every change is recorded");
        let torn = serde_json::to_vec(&change(None, Mode::Relay)).unwrap();
        fs::write(folder.path().join(FILE), [&whole[..], &torn].concat()).unwrap();

        let switches = open(folder.path());
        assert_eq!(switches.switched(), [changes[1].clone(), changes[0].clone()]);
        assert_eq!((switches.of("a").mode(), switches.of("b").mode()), (Mode::Relay, Mode::Spare));
        switches.switch(change(None, Mode::Normal)).unwrap();
        assert_eq!(open(folder.path()).switched(), [changes[0].clone()]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{\"mode\":\"off\"}\n").unwrap();
        let error = Switches::open(folder.path(), &Metrics::new()).err().unwrap().to_string();
        assert!(error.starts_with("line 1: "), "{error}");
    }

    #[test]
    fn nothing_is_switched_while_another_process_may_and_what_that_switched_holds() {
        let folder = tempfile::tempdir().unwrap();
        let old = open(folder.path());
        let switch = old.of("a");
        old.give_up();
        let refused = old.switch(change(None, Mode::Relay));
        assert!(matches!(refused, Err(SwitchError::HandedOver)) && switch.mode() == Mode::Normal);
        open(folder.path()).switch(change(None, Mode::Spare)).unwrap();
        old.take_back().unwrap();
        assert_eq!(switch.mode(), Mode::Spare);
        old.switch(change(None, Mode::Normal)).unwrap();
        assert_eq!(switch.mode(), Mode::Normal);
    }
}
