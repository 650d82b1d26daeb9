//! What an operator has switched: a site, or the whole node, relays everything or spares its origin.
//!
//! Read once for each request, when its head is there: a relaxed load. What was switched before an answer of the control API is
//! in force for every request that comes after it.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::atomic::{AtomicU8, Ordering},
};
use utoipa::ToSchema;

/// How requests go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Mode {
    /// As the rules say.
    #[default]
    Normal,
    /// To the origin, each of them; nothing is stored.
    Relay,
    /// Answered from what is stored, however stale; only what is absent is asked for.
    Spare,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 3] = [Mode::Normal, Mode::Relay, Mode::Spare];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Normal => "normal",
            Mode::Relay => "relay",
            Mode::Spare => "spare",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The mode of one site, as its requests read it.
#[derive(Debug, Default)]
pub struct Switch(AtomicU8);

impl Switch {
    /// The mode of this moment.
    pub fn mode(&self) -> Mode {
        match self.0.load(Ordering::Relaxed) {
            1 => Mode::Relay,
            2 => Mode::Spare,
            _ => Mode::Normal,
        }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.0.store(mode as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Mode, Switch};

    #[test]
    fn a_switch_shows_the_mode_it_was_set_to() {
        let switch = Switch::default();
        assert_eq!(switch.mode(), Mode::Normal);
        for mode in Mode::ALL {
            switch.set(mode);
            assert_eq!(switch.mode(), mode);
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
    }
}
