//! A body that is coded or decoded while it is sent: for who cannot take it as it is.

use super::machine::{Feed, machine};
use crate::{http_caching::Coding, response::Source, telemetry::Fault};
use bytes::Bytes;
use std::{
    io::{ErrorKind, Read},
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that are made at a time: what a client takes slowly is not made faster.
const PIECE: usize = 32 << 10;
/// The body is not in the coding that its head says, or broken.
const BAD_CODING: (Fault, &str) = (Fault::Origin, "bad-coding");

/// Answers that are coded while they are sent, at once. Each holds a coder's window and tables, a few MiB, for as long as its client
/// takes; decoding holds far less.
const ROOMS: usize = 32;

/// From which coding to which.
#[derive(Clone, Debug)]
pub struct Recode {
    /// As it is stored.
    pub from: Coding,
    /// As it is sent.
    pub to: Coding,
    room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Recode {
    pub(super) fn new(from: Coding, to: Coding) -> Recode {
        Recode { from, to, room: None }
    }
}

/// Room for what is coded while it is sent.
pub(super) struct Rooms(Arc<Semaphore>);

impl Rooms {
    pub(super) fn new() -> Rooms {
        Rooms(Arc::new(Semaphore::new(ROOMS)))
    }

    /// Takes room for it, if it needs any and there is some.
    pub(super) fn take(&self, recode: Recode) -> Option<Recode> {
        if recode.to == Coding::Identity {
            return Some(recode);
        }
        let room = self.0.clone().try_acquire_owned().ok()?;
        Some(Recode { room: Some(Arc::new(room)), ..recode })
    }
}

/// A body on its way from one coding to another.
pub struct Recoded {
    source: Source,
    feed: Feed,
    /// None: it could not be set up.
    machine: Option<Box<dyn Read + Send>>,
    piece: Box<[u8]>,
    /// Something was fed: an empty body has no coding at all.
    fed: bool,
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Recoded {
    /// The bytes of `source` in another coding.
    pub fn new(source: Source, Recode { from, to, room }: Recode) -> Recoded {
        let feed = Feed::default();
        let machine = machine(feed.clone(), (from, to)).ok();
        Recoded { source, feed, machine, piece: vec![0; PIECE].into(), fed: false, _room: room }
    }

    pub(in crate::response) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, (Fault, &'static str)>>> {
        loop {
            let Some(machine) = &mut self.machine else { return Poll::Ready(Some(Err(BAD_CODING))) };
            match machine.read(&mut self.piece) {
                Ok(0) => return Poll::Ready(None),
                Ok(made) => return Poll::Ready(Some(Ok(Bytes::copy_from_slice(&self.piece[..made])))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Some(Err(BAD_CODING))),
            }
            match ready!(self.source.poll_next(cx)) {
                Some(Ok(piece)) => {
                    self.fed = true;
                    self.feed.put(piece);
                }
                None if !self.fed => return Poll::Ready(None),
                None => self.feed.end(),
                Some(Err(why)) => return Poll::Ready(Some(Err(why))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ROOMS, Recode, Recoded, Rooms};
    use crate::{http_caching::Coding, response::Source};

    #[test]
    fn so_many_are_coded_at_once_and_any_number_decoded() {
        let rooms = Rooms::new();
        let take = |from, to| rooms.take(Recode::new(from, to));
        let mut sent: Vec<_> = (0..ROOMS)
            .map(|_| Recoded::new(Source::Empty, take(Coding::Identity, Coding::Brotli).unwrap()))
            .collect();
        assert!(take(Coding::Identity, Coding::Zstd).is_none(), "no room");
        assert!(take(Coding::Gzip, Coding::Identity).is_some());
        sent.pop();
        assert!(take(Coding::Identity, Coding::Zstd).is_some(), "one was sent");
    }
}
