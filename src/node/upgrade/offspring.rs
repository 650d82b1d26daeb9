//! SIGUSR2: the running process itself starts the one that takes its place, so that a supervisor counts it as the same service.

use crate::node::Node;
use std::{
    io,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering::SeqCst,
};

impl Node {
    /// Starts the program that now stands where this one was started from, with the same configuration file. How it ends is
    /// logged, should it end before this one.
    pub(in crate::node) fn start_successor(&self) {
        if self.handing_over.load(SeqCst) {
            return tracing::warn!("an upgrade is under way already; the signal is not heeded");
        }
        match self.spawn() {
            Ok(child) => {
                tracing::info!(pid = child, program = %self.program.display(), "a new process was started")
            }
            Err(error) => {
                tracing::error!(%error, program = %self.program.display(), "no new process could be started, this one goes on");
            }
        }
    }

    fn spawn(&self) -> io::Result<u32> {
        let mut child = Command::new(&self.program)
            .args(["serve", "--upgrade", "--config"])
            .arg(&self.file)
            .stdin(Stdio::null())
            .spawn()?;
        let pid = child.id();
        std::thread::Builder::new().name("successor".into()).spawn(move || await_end(&mut child))?;
        Ok(pid)
    }
}

fn await_end(child: &mut Child) {
    match child.wait() {
        Ok(status) => tracing::error!(%status, "the new process has ended, this one goes on"),
        Err(error) => tracing::error!(%error, "the new process cannot be watched"),
    }
}
