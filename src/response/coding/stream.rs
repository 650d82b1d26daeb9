//! A body that is coded or decoded while it is sent: for who cannot take it as it is.

use super::machine::{Feed, machine};
use crate::{http_caching::Coding, response::Source, telemetry::Fault};
use bytes::Bytes;
use std::{
    io::{ErrorKind, Read},
    task::{Context, Poll, ready},
};

/// Bytes that are made at a time: what a client takes slowly is not made faster.
const PIECE: usize = 32 << 10;
/// The body is not in the coding that its head says, or broken.
const BAD_CODING: (Fault, &str) = (Fault::Origin, "bad-coding");

/// From which coding to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recode {
    /// As it is stored.
    pub from: Coding,
    /// As it is sent.
    pub to: Coding,
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
}

impl Recoded {
    /// The bytes of `source` in another coding.
    pub fn new(source: Source, Recode { from, to }: Recode) -> Recoded {
        let feed = Feed::default();
        let machine = machine(feed.clone(), (from, to)).ok();
        Recoded { source, feed, machine, piece: vec![0; PIECE].into(), fed: false }
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
