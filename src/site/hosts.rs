//! Which of the things that are set per host a request is for: exact before wildcard, the longest wildcard first.

use crate::rules::Names;

/// What is set for hosts. A look-up costs one hash per label at most and allocates nothing.
#[derive(Clone, Debug)]
pub struct Hosts<T> {
    exact: Names<T>,
    /// By what follows `*.`.
    wildcard: Names<T>,
    default: Option<T>,
}

impl<T> Hosts<T> {
    /// No hosts. `default` is for those that nothing is set for.
    pub fn new(default: Option<T>) -> Hosts<T> {
        Hosts { exact: Names::default(), wildcard: Names::default(), default }
    }

    /// Sets `value` for a host, exact or `*.` and the rest; gives back what was set before.
    pub fn set(&mut self, host: &str, value: T) -> Option<T> {
        match host.strip_prefix("*.") {
            Some(suffix) => self.wildcard.put(suffix, value),
            None => self.exact.put(host, value),
        }
    }

    /// Sets what is for hosts that nothing is set for.
    pub fn set_default(&mut self, value: Option<T>) {
        self.default = value;
    }

    /// What is set for `host`, as [`host`](crate::rules::normalise::host) spells it: with its port, then without; exact,
    /// then the longest wildcard; else the default.
    pub fn find(&self, host: &str) -> Option<&T> {
        let bare = &host[..name_length(host)];
        let with_port = if bare.len() == host.len() { None } else { self.by_name(host) };
        with_port.or_else(|| self.by_name(bare)).or(self.default.as_ref())
    }

    fn by_name(&self, host: &str) -> Option<&T> {
        if let Some(value) = self.exact.named(host) {
            return Some(value);
        }
        let mut rest = if self.wildcard.is_empty() { None } else { host.split_once('.') };
        while let Some((_, suffix)) = rest {
            if let Some(value) = self.wildcard.named(suffix) {
                return Some(value);
            }
            rest = suffix.split_once('.');
        }
        None
    }
}

/// Length of a normal host without its port: digits at the end after a `:`.
pub(super) fn name_length(host: &str) -> usize {
    let before_digits = host.trim_end_matches(|c: char| c.is_ascii_digit());
    before_digits.strip_suffix(':').map_or(host.len(), str::len)
}
