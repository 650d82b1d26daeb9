//! Reads again, a few at a time, the records that a start took on the word of a snapshot, and computes their chain.
//!
//! What they say is in force already; a flaw found here means that the records on the medium are not those that were
//! acknowledged, and no more are taken until they are.

use super::{AT_ONCE, Flaw, LedgerError, chain::Chain, medium::Medium};
use crate::clock;
use std::time::Instant;

/// So many times as long as a step took the next one waits: who is served needs the processor more.
const RESTS: u32 = 7;

pub(super) struct Audit {
    /// What was read so far.
    chain: Chain,
    /// What the snapshot ended with.
    until: Chain,
    due: Instant,
}

impl Audit {
    /// Of all records up to the end of this chain; nothing if there are none.
    pub(super) fn of(until: Chain) -> Option<Audit> {
        let chain = Chain::new(until.identity);
        (until.number > 0).then(|| Audit { chain, until, due: clock::instant() })
    }

    /// When the next step is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Reads some more. Tells whether it was the last.
    pub(super) fn step(&mut self, medium: &Medium) -> Result<bool, LedgerError> {
        let began = clock::instant();
        let left = usize::try_from(self.until.number - self.chain.number).unwrap_or(usize::MAX);
        let before = self.chain.number;
        self.chain = medium.walk(self.chain, left.min(AT_ONCE), |_, _| ())?;
        if self.chain.number == before {
            return Err(LedgerError::Broken(before + 1, Flaw::Missing));
        }
        if self.chain.number < self.until.number {
            let now = clock::instant();
            self.due = now + (now - began) * RESTS;
            return Ok(false);
        }
        if self.chain != self.until {
            return Err(LedgerError::Broken(self.until.number, Flaw::Altered));
        }
        Ok(true)
    }
}
