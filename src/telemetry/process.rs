//! What the system knows of this process, read when it is asked for: the usual `process_*` metrics.
//!
//! Read from `/proc/self`; where that is absent or says something unexpected, the gauge keeps its last value.

use prometheus::{Counter, Gauge, IntGauge};
use std::fs;

/// Clock ticks a second in `/proc/self/stat`: fixed by Linux for every program that reads it.
const TICKS: f64 = 100.0;

/// The gauges of the process. Handles, registered by [`super::Metrics`].
pub(super) struct Process {
    pub(super) start_time: Gauge,
    pub(super) cpu: Counter,
    pub(super) resident: IntGauge,
    pub(super) open_fds: IntGauge,
    pub(super) max_fds: IntGauge,
}

impl Process {
    /// Reads them anew. Costs a walk over the descriptors: for a scrape, not for a request.
    pub(super) fn read(&self) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        if let Some((ticks, started)) = times(&stat) {
            self.cpu.inc_by((ticks / TICKS - self.cpu.get()).max(0.0));
            if let Some(boot) = number_after(&boot, "btime") {
                self.start_time.set(boot as f64 + started / TICKS);
            }
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kib) = number_after(&status, "VmRSS:") {
            self.resident.set(kib.saturating_mul(1024));
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(files) = number_after(&limits, "Max open files") {
            self.max_fds.set(files);
        }
        if let Ok(fds) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder being read.
            self.open_fds.set(fds.count() as i64 - 1);
        }
    }
}

/// User and system time, and the start after boot, in ticks: fields 14, 15 and 22 of proc(5). The name in field 2 may hold
/// anything, so counting begins after its last parenthesis.
fn times(stat: &str) -> Option<(f64, f64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some((field(14)? + field(15)?, field(22)?))
}

/// The number that follows `name` at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<i64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::{number_after, times};

    #[test]
    fn a_program_name_cannot_shift_the_fields() {
        let stat = "1 (lec) tern (2) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 17 18 900 20";
        assert_eq!(times(stat), Some((200.0, 900.0)));
        assert_eq!(times("1 (lectern) S 1"), None);
        assert_eq!(times(""), None);
    }

    #[test]
    fn numbers_are_found_by_the_beginning_of_their_line() {
        assert_eq!(number_after("VmHWM:\t 9 kB\nVmRSS:\t 1234 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(number_after("Max open files            unlimited  x files", "Max open files"), None);
    }
}
