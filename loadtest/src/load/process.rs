//! A program that the run starts, and ends by its number, whatever becomes of the run.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::fs::File;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The core of what is measured, and that of generator and LMS, where the machine has two.
pub(crate) const MEASURED: usize = 0;
pub(crate) const MEASURING: usize = 1;

/// How long a program may take to end by itself.
const END: Duration = Duration::from_secs(15);

pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// What it says goes into the file, both streams. It ends with this program, also if that is killed.
    pub(crate) async fn start(
        program: &Path,
        arguments: &[&str],
        core: usize,
        says: &Path,
    ) -> Result<Process, String> {
        let file = File::create(says).await.map_err(|error| format!("{}: {error}", says.display()))?;
        let file = file.into_std().await;
        let copy = file.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]);
        if two_cores() {
            command.args(["taskset", "-c", &core.to_string()]);
        }
        command.arg(program).args(arguments).stdin(Stdio::null()).stdout(file).stderr(copy);
        // A signal to this program's group (Ctrl-C) is this program's to pass on.
        command.process_group(0);
        let child = command.spawn().map_err(|error| format!("setpriv: {error}"))?;
        Ok(Process { child })
    }

    /// Is it still there?
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it: politely, then by force.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        if timeout(END, self.child.wait()).await.is_err() {
            drop(self.child.kill().await);
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        if let Some(pid) = pid {
            // Gone already, it needs none.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
    }
}

fn two_cores() -> bool {
    std::fs::read_to_string("/proc/cpuinfo")
        .is_ok_and(|text| text.lines().filter(|line| line.starts_with("processor")).count() > 1)
}

/// Keeps this program, with all threads that it starts from here on, on the generator's core.
pub(crate) fn stay_on_own_core() -> io::Result<()> {
    if !two_cores() {
        return Ok(());
    }
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(MEASURING);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// Processor time that this program took so far.
pub(crate) fn own_cpu() -> Duration {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return Duration::ZERO };
    // Behind the name, which ends with the last bracket: user and system time in hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}
