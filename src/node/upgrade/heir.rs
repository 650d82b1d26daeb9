//! The new process: asks the running one for its sockets and its ledger. Blocks; nothing is served here yet.

use super::{
    Elder, HELLO, LEDGER, LINE_BYTES, LISTENING, NO, OPEN, SERVING, SOCKETS, YOURS, meeting_place,
    transfer_place,
};
use crate::edge::Edge;
use anyhow::{Context, bail};
use pingora::server::ListenFds;
use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long the running process may take to one step.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running process whose place is taken. Dropped before [`Predecessor::serving`], it goes on as before.
pub(in crate::node) struct Predecessor {
    stream: BufReader<UnixStream>,
    ledger: PathBuf,
}

impl Predecessor {
    /// Finds the process that holds the ledger in this folder.
    ///
    /// # Errors
    /// No process runs there, or it does not hand over: why.
    pub(in crate::node) fn find(ledger: &Path) -> anyhow::Result<Predecessor> {
        let place = meeting_place(ledger);
        let stream = UnixStream::connect(&place).with_context(|| {
            format!(
                "no running node to upgrade was found at {}; without one, start without --upgrade",
                place.display()
            )
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut found = Predecessor { stream: BufReader::new(stream), ledger: ledger.to_owned() };
        found.say(HELLO)?;
        found.hear(SOCKETS)?;
        Ok(found)
    }

    /// Receives the listening sockets into `fds`, by Pingora's transfer.
    ///
    /// # Errors
    /// They did not come.
    pub(in crate::node) fn sockets(&mut self, fds: &ListenFds) -> anyhow::Result<()> {
        let place = transfer_place(&self.ledger);
        let path = place.to_str().context("the ledger's folder has a name that is no text")?;
        fds.lock().get_from_sock(path).context("the listening sockets did not come")
    }

    /// Every listener of the new configuration has its socket: asks for the ledger. When this returns its lock is free.
    ///
    /// # Errors
    /// The running process keeps it.
    pub(in crate::node) fn listening(&mut self) -> anyhow::Result<()> {
        self.say(LISTENING)?;
        self.hear(LEDGER)
    }

    /// The ledger is open here. When this returns the running process answers nothing from what it has stored any more.
    ///
    /// # Errors
    /// The running process takes it back.
    pub(in crate::node) fn open(&mut self) -> anyhow::Result<()> {
        self.say(OPEN)?;
        self.hear(YOURS)
    }

    /// Learners are served here: the process before this one may finish what it has under way. What its last requests make
    /// outdated is outdated here too; what it is told, it is told by what this gives, if it is not gone.
    pub(in crate::node) fn serving(mut self, edge: Edge) -> Option<Elder> {
        // If it is gone by now, its connections have ended without our doing.
        let linked = self.say(SERVING).and_then(|()| Elder::of(self.stream.into_inner(), edge));
        linked
            .inspect_err(|error| {
                tracing::warn!("the process before this one was gone before it was told to end: {error:#}");
            })
            .ok()
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).context("the running node is gone")
    }

    fn hear(&mut self, expected: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        (&mut self.stream)
            .take(LINE_BYTES)
            .read_line(&mut line)
            .with_context(|| format!("the running node did not say {expected:?} in time"))?;
        match line.trim_end() {
            said if said == expected => Ok(()),
            "" => bail!("the running node broke off the upgrade and goes on; its error log says why"),
            said => match said.strip_prefix(NO) {
                Some(why) => bail!("the running node does not hand over: {why}"),
                None => bail!("the running node said {said:?} instead of {expected:?}"),
            },
        }
    }
}

/// Closes the sockets in the table that no listener has taken, and names them.
pub(in crate::node) fn close_unclaimed(fds: &ListenFds, keys: impl Iterator<Item = String>) {
    for key in fds.lock().close_unclaimed(&keys.collect::<HashSet<_>>()) {
        tracing::warn!(socket = key, "closed a socket that was handed over and that no listener names");
    }
}
