//! A new process takes the place of a running one: sockets and ledger change hands while learners are served.
//!
//! The old process listens on a socket in the ledger's folder, for whoever takes its place takes its ledger. The two speak in
//! lines, each said when what it says has happened:
//!
//! ```text
//! new                        old
//! lectern-upgrade 2     ->
//!                       <-   sockets    (sent through Pingora's transfer, by a socket of its own)
//! listening             ->              (what is not handed over is bound; nothing is accepted yet)
//!                       <-   ledger     (written to the end, closed, lock given up; purges get 503)
//! open                  ->              (replayed; the new process could acknowledge a purge now, if it accepted)
//!                       <-   yours      (from here on the old process only relays, and gives up the disk tier)
//! serving               ->              (the old process accepts no more, and finishes what is under way)
//! ```
//!
//! From then on both tell each other what concerns them both, until the old process ends ([`link`]).
//!
//! So no answer of the old process is older than a purge that the new one acknowledged. If the new process ends before its
//! last line the old one takes the ledger back, with what may have been written to it meanwhile, and then goes on as before.

mod heir;
mod link;
mod offspring;
mod testator;

pub(super) use heir::{Predecessor, close_unclaimed};
use link::Elder;
pub(super) use link::Forgets;
pub(super) use testator::Door;

use std::path::{Path, PathBuf};

/// First line of the new process; the number changes with the meaning of the lines.
const HELLO: &str = "lectern-upgrade 2";
const SOCKETS: &str = "sockets";
const LISTENING: &str = "listening";
const LEDGER: &str = "ledger";
const OPEN: &str = "open";
const YOURS: &str = "yours";
const SERVING: &str = "serving";
/// Before a reason: the old process does not hand over.
const NO: &str = "no ";
/// No line is longer.
const LINE_BYTES: u64 = 1024;

/// The folder of both sockets. Only the node's own user may enter it: who can connect can take the node's place.
fn folder(ledger: &Path) -> PathBuf {
    ledger.join("upgrade")
}

/// Where the old process listens for a new one.
fn meeting_place(ledger: &Path) -> PathBuf {
    folder(ledger).join("node.sock")
}

/// Where the new process receives the listening sockets.
fn transfer_place(ledger: &Path) -> PathBuf {
    folder(ledger).join("fds.sock")
}
