//! What an operator sets of the control listener.

use super::{Rate, Shape};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// The control listener: API, metrics, health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// Where to listen; keep it off the public network.
    pub address: SocketAddr,
    /// File of accepted bearer tokens, one `NAME blake3:HEX ROLES` a line (`lectern token` makes a line); absent: every call that
    /// changes something is refused.
    pub tokens: Option<PathBuf>,
    /// How often each of them may call.
    pub rate: Rate,
    /// How long after a hard purge of a site, scope or all the same is refused; zero: not at all. A change needs a restart.
    pub whole_purge_pause: Duration,
    /// Whose calls are taken beside the node's own. A change needs a restart.
    pub shapes: Vec<Shape>,
}

impl Default for ControlSettings {
    fn default() -> ControlSettings {
        ControlSettings {
            address: SocketAddr::from(([127, 0, 0, 1], 9180)),
            tokens: None,
            rate: Rate::default(),
            whole_purge_pause: Duration::from_secs(10),
            shapes: Vec::new(),
        }
    }
}
