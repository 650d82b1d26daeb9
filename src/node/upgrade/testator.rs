//! The old process: hands its sockets and its ledger to a new one, and goes on as before if that one fails.

use super::{
    HELLO, LEDGER, LINE_BYTES, LISTENING, NO, OPEN, SERVING, SOCKETS, YOURS, folder, link, meeting_place,
    transfer_place,
};
use crate::{ledger::LedgerError, node::Node};
use anyhow::{Context, bail, ensure};
use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
    sync::atomic::Ordering::SeqCst,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt as _, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

/// How long the new process may take to say who it is, and to listen.
const STEP: Duration = Duration::from_secs(30);
/// How long it may take to open the ledger: every record is verified.
const REPLAY: Duration = Duration::from_secs(300);
/// How often to look for what another process or thread does.
const LOOK: Duration = Duration::from_millis(10);
/// What one transfer of Pingora's carries: sockets, and bytes of their names.
const TRANSFER: (usize, usize) = (32, 2048);

impl Node {
    /// Returns once a new process, met by `door`, serves in the place of this one.
    pub(in crate::node) async fn succeeded(&self, mut door: anyhow::Result<Door>) {
        loop {
            let met = match &door {
                Ok(door) => door.meet().await,
                Err(error) => Err(anyhow::anyhow!("{error:#}")),
            };
            let heir = match met {
                Ok(heir) => heir,
                Err(error) => {
                    tracing::warn!("an upgrade of this process will not be possible: {error:#}");
                    return std::future::pending().await;
                }
            };
            self.handing_over.store(true, SeqCst);
            match self.hand_over(heir).await {
                Ok(()) => return,
                Err(why) => tracing::error!("the upgrade failed, this process goes on: {why:#}"),
            }
            self.take_back().await;
            // The new process may have put its own in the place of ours.
            door = Door::open(&self.began.ledger.folder);
            self.handing_over.store(false, SeqCst);
        }
    }

    async fn hand_over(&self, mut heir: Heir) -> anyhow::Result<()> {
        heir.hear(HELLO, STEP).await?;
        let pid = heir.stream.get_ref().peer_cred().ok().and_then(|peer| peer.pid());
        tracing::info!(pid, "an upgrade begins: a new process asks to take over");
        if let Err(why) = self.send_sockets(&mut heir).await {
            heir.say(&format!("{NO}{why:#}")).await?;
            return Err(why);
        }
        heir.hear(LISTENING, STEP).await?;
        self.switches.give_up();
        self.edge.parts().ledger.give_up().await?;
        heir.say(LEDGER).await?;
        heir.hear(OPEN, REPLAY).await?;
        let outdated = self.edge.parts().handover.begin();
        let serves = async {
            heir.say(YOURS).await?;
            // However long it takes: it may acknowledge purges by now, and only its end says that it does not.
            heir.hear(SERVING, Duration::MAX).await
        };
        let ((), serves) = tokio::join!(self.give_disk_up(), serves);
        serves?;
        tokio::spawn(link::younger(heir.stream.into_inner(), outdated, self.forgets.clone()));
        Ok(())
    }

    /// Gives the folders of the disk tier up. What is being read here goes on, from files that are open.
    async fn give_disk_up(&self) {
        let parts = self.edge.parts();
        if let Some(disk) = parts.tiers.disk() {
            disk.give_up(parts.fills.in_use()).await;
        }
    }

    async fn send_sockets(&self, heir: &mut Heir) -> anyhow::Result<()> {
        let (keys, _) = self.fds.lock().serialize();
        let (sockets, bytes) = (keys.len(), keys.join(" ").len());
        ensure!(
            sockets <= TRANSFER.0 && bytes <= TRANSFER.1,
            "{sockets} listening sockets with names of {bytes} bytes are more than can be handed over ({} and {}); stop \
             and start instead",
            TRANSFER.0,
            TRANSFER.1
        );
        let place = transfer_place(&self.began.ledger.folder);
        let path = place.to_str().context("the ledger's folder has a name that is no text")?.to_owned();
        remove(&place)?;
        heir.say(SOCKETS).await?;
        // Else Pingora would look for it once a second.
        let appears = async {
            let mut look = tokio::time::interval(LOOK);
            while !place.exists() {
                look.tick().await;
            }
        };
        tokio::select! {
            () = appears => {}
            _ = heir.stream.fill_buf() => bail!("the new process ended before it waited for sockets"),
            () = tokio::time::sleep(STEP) => bail!("the new process does not wait for sockets"),
        }
        let fds = self.fds.clone();
        tokio::task::spawn_blocking(move || fds.lock().send_to_sock(path.as_str())).await??;
        Ok(())
    }

    /// The ledger first, with what the new process may have written to it; only then what is stored may serve again.
    async fn take_back(&self) {
        let ledger = &self.edge.parts().ledger;
        if ledger.refusal().is_some_and(|why| matches!(*why, LedgerError::HandedOver)) {
            if let Err(error) = ledger.take_back() {
                tracing::error!(%error, "the ledger cannot be taken back");
            }
            let mut look = tokio::time::interval(LOOK);
            while !ledger.ready() {
                look.tick().await;
            }
        }
        if let Err(error) = self.switches.take_back() {
            tracing::error!(%error, "nothing can be switched: the file of switches cannot be used");
        }
        if let Some(disk) = self.edge.parts().tiers.disk() {
            disk.take_back();
        }
        self.edge.parts().handover.take_back();
    }
}

/// The new process, as the old one hears it.
struct Heir {
    stream: BufReader<UnixStream>,
}

impl Heir {
    async fn hear(&mut self, expected: &str, patience: Duration) -> anyhow::Result<()> {
        let mut line = String::new();
        let mut limited = (&mut self.stream).take(LINE_BYTES);
        tokio::time::timeout(patience, limited.read_line(&mut line))
            .await
            .with_context(|| format!("the new process did not say {expected:?} in time"))??;
        match line.trim_end() {
            said if said == expected => Ok(()),
            "" => bail!("the new process ended before it said {expected:?}; its own last line says why"),
            said => bail!("the new process said {said:?} instead of {expected:?}"),
        }
    }

    async fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let said = self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).await;
        said.context("the new process is gone")
    }
}

/// Where new processes come in. Who holds the ledger owns the place.
pub(in crate::node) struct Door {
    listener: UnixListener,
    /// The node's user.
    own: u32,
}

impl Door {
    /// Opens it, in the place of one that a process before this one has left.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(in crate::node) fn open(ledger: &Path) -> anyhow::Result<Door> {
        let place = meeting_place(ledger);
        let made = listen(&folder(ledger), &place);
        let made = made.and_then(|listener| Ok(Door { listener, own: fs::metadata(&place)?.uid() }));
        made.with_context(|| place.display().to_string())
    }

    /// Waits for a new process of the same user.
    async fn meet(&self) -> anyhow::Result<Heir> {
        loop {
            let (mut stream, _) = self.listener.accept().await?;
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == self.own => return Ok(Heir { stream: BufReader::new(stream) }),
                _ => {
                    let why = "a process of another user may not take over; run it as the node's user";
                    tracing::error!("{why}");
                    _ = stream.write_all(format!("{NO}{why}\n").as_bytes()).await;
                }
            }
        }
    }
}

fn listen(folder: &Path, place: &Path) -> io::Result<UnixListener> {
    if !folder.exists() {
        DirBuilder::new().mode(0o700).create(folder)?;
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    remove(place)?;
    UnixListener::bind(place)
}

fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
