//! What two processes of a node tell each other while the old one finishes what it has under way.
//!
//! The old one tells keys of what unsafe methods that end there make outdated (RFC 9111 §4.4); the new one, whom the LMS let in and
//! who is forgotten: answers under way in the old one break off. Each is told one at a time, and the answer that depends on it
//! waits until the other has heard.
//!
//! A message is a letter, a number, the length of what follows (four bytes each, the least first), and that. What was heard is
//! answered by [`HEARD`] with its number.

use crate::{
    access::{Checks, Forget},
    cache::Key,
    edge::{Edge, Outdated},
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    os::unix::net::UnixStream as StdStream,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, SetOnce, mpsc},
    time::timeout,
};

const KEY: u8 = b'k';
const FORGET: u8 = b'f';
const HEARD: u8 = b'.';
/// How long who is told may take: it must not hold up an answer because it hangs.
const HEARS: Duration = Duration::from_secs(5);

/// Whom to forget, on its way.
#[derive(Serialize, Deserialize)]
struct Told {
    site: String,
    content: Option<String>,
    learner: Option<String>,
}

/// One side of the link: what it tells.
struct Telling {
    writes: Mutex<OwnedWriteHalf>,
    /// Numbers of what was heard.
    heard: Mutex<mpsc::Receiver<u32>>,
    number: AtomicU32,
}

/// The same side: what it hears.
struct Hearing {
    telling: Arc<Telling>,
    reads: OwnedReadHalf,
    heard: mpsc::Sender<u32>,
}

/// What one side tells the other.
struct Message {
    letter: u8,
    number: u32,
    what: Vec<u8>,
}

fn linked(stream: UnixStream) -> (Arc<Telling>, Hearing) {
    let (reads, writes) = stream.into_split();
    let (heard, hears) = mpsc::channel(1);
    let (writes, number) = (Mutex::new(writes), AtomicU32::new(0));
    let telling = Arc::new(Telling { writes, heard: Mutex::new(hears), number });
    (telling.clone(), Hearing { telling, reads, heard })
}

impl Telling {
    /// Tells something, and returns when it was heard. One at a time.
    async fn tell(&self, letter: u8, what: Vec<u8>) -> io::Result<()> {
        let mut heard = self.heard.lock().await;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.say(Message { letter, number, what }).await?;
        loop {
            match heard.recv().await {
                Some(other) if other != number => {} // of one whose teller waits no more
                Some(_) => return Ok(()),
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    async fn say(&self, Message { letter, number, what }: Message) -> io::Result<()> {
        let length = u32::try_from(what.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let bytes = [&[letter], &number.to_le_bytes()[..], &length.to_le_bytes(), &what].concat();
        // Whole even if the teller waits no more.
        let mut writes = self.writes.lock().await;
        writes.write_all(&bytes).await
    }
}

impl Hearing {
    /// The next that the other side tells.
    async fn next(&mut self) -> io::Result<Message> {
        loop {
            let letter = self.reads.read_u8().await?;
            let (number, length) = (self.reads.read_u32_le().await?, self.reads.read_u32_le().await?);
            let mut what = Vec::new();
            (&mut self.reads).take(length.into()).read_to_end(&mut what).await?;
            if letter != HEARD {
                return Ok(Message { letter, number, what });
            }
            _ = self.heard.send(number).await;
        }
    }

    /// What was told with this number is in force.
    async fn heard(&self, number: u32) -> io::Result<()> {
        self.telling.say(Message { letter: HEARD, number, what: Vec::new() }).await
    }
}

/// Whom the LMS let in and who is forgotten: here, and in a process before this one that has something under way.
pub(in crate::node) struct Forgets {
    checks: Arc<Checks>,
    /// Set when it is known whether there is one.
    elder: SetOnce<Option<Elder>>,
}

impl Forgets {
    pub(in crate::node) fn new(checks: Arc<Checks>) -> Forgets {
        Forgets { checks, elder: SetOnce::new() }
    }

    /// Who takes part beside this process: nobody, or the one whose place it took.
    pub(in crate::node) fn beside(&self, elder: Option<Elder>) {
        if self.elder.set(elder).is_err() {
            tracing::error!("a process takes the place of one");
        }
    }

    /// In force when this returns; gives the number of it here.
    pub(in crate::node) async fn forget(&self, forget: Forget) -> u64 {
        let number = self.checks.forget(forget.clone());
        if let Some(elder) = self.elder.wait().await {
            elder.forget(&forget).await;
        }
        number
    }
}

/// The old process, as the new one tells it something.
pub(in crate::node) struct Elder(Arc<Telling>);

impl Elder {
    /// Links with it over the stream by which it handed over. What it makes outdated is outdated in `edge`.
    pub(super) fn of(stream: StdStream, edge: Edge) -> anyhow::Result<Elder> {
        stream.set_nonblocking(true)?;
        let (telling, hearing) = linked(UnixStream::from_std(stream)?);
        tokio::spawn(async move {
            // Its end is the end of the upgrade.
            if let Err(error) = hear_keys(hearing, &edge).await {
                tracing::debug!(%error, "the process before this one has ended");
            }
        });
        Ok(Elder(telling))
    }

    /// Who is forgotten here is forgotten there too, when this returns.
    async fn forget(&self, forget: &Forget) {
        let Forget { site, content, learner } = forget.clone();
        let told = Told { site, content, learner: learner.map(|digest| digest.to_string()) };
        let (telling, told) = (self.0.clone(), serde_json::json!(told).to_string().into_bytes());
        // A task: it goes on, and its message is whole, if nobody waits for it any more.
        let told = tokio::spawn(async move { telling.tell(FORGET, told).await });
        // An error is the end of that process, and of all that was under way there.
        if timeout(HEARS, told).await.is_err() {
            tracing::warn!(
                "the process before this one was not told in time whom the LMS is to be asked about again"
            );
        }
    }
}

async fn hear_keys(mut hearing: Hearing, edge: &Edge) -> io::Result<()> {
    loop {
        let Message { letter: KEY, number, what } = hearing.next().await? else { return Err(unknown()) };
        edge.outdate(&Key::from(what)).await;
        hearing.heard(number).await?;
    }
}

/// Tells the new process, over the stream by which it took over, what requests that end here make outdated; and forgets here who is
/// forgotten there.
pub(super) async fn younger(
    stream: UnixStream,
    mut outdated: mpsc::Receiver<Outdated>,
    forgets: Arc<Forgets>,
) {
    let (telling, hearing) = linked(stream);
    let tells = async {
        while let Some(Outdated { key, heard }) = outdated.recv().await {
            telling.tell(KEY, key.as_bytes().to_vec()).await?;
            _ = heard.send(());
        }
        Ok(())
    };
    if let Err(error) = tokio::try_join!(tells, hear_forgets(hearing, &forgets)) {
        tracing::warn!(%error, "the new process hears nothing any more");
    }
}

async fn hear_forgets(mut hearing: Hearing, forgets: &Forgets) -> io::Result<()> {
    loop {
        let Message { letter: FORGET, number, what } = hearing.next().await? else { return Err(unknown()) };
        let Told { site, content, learner } = serde_json::from_slice(&what)?;
        let learner = learner.map(|digits| digits.parse()).transpose().map_err(io::Error::other)?;
        forgets.forget(Forget { site, content, learner }).await;
        hearing.heard(number).await?;
    }
}

fn unknown() -> io::Error {
    io::Error::other("the other process says something unknown")
}
