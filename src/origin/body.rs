//! The body of an origin's answer, and when it may be believed to be whole.
//!
//! Whole is only what the protocol itself ended, with as many bytes as were announced (RFC 9112 §8): a cut
//! `Content-Length` or chunked body and a reset stream are errors.

use super::{OriginError, Permit, Tunnel, client::Session};
use bytes::Bytes;
use http::header;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A body that is still arriving. Holds the request's place at the origin.
///
/// Dropped after its end, the connection goes back to the pool; dropped before, it is closed.
pub struct OriginBody {
    session: Option<Session>,
    announced: Announced,
    received: u64,
    end: Option<Result<(), OriginError>>,
    /// The request's own body was sent whole.
    sent: Arc<AtomicBool>,
    /// No body came, and none will.
    empty: bool,
    permit: Option<Permit>,
}

/// A piece of a body: lent from the connection's buffer, or owned.
#[derive(Debug)]
pub enum Data<'a> {
    /// In the connection's read buffer, which the next piece overwrites.
    Lent(&'a [u8]),
    /// A buffer of its own.
    Owned(Bytes),
}

impl Data<'_> {
    /// The bytes as a buffer of their own; copies only what was lent.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Data::Lent(bytes) => Bytes::copy_from_slice(bytes),
            Data::Owned(bytes) => bytes,
        }
    }
}

impl std::ops::Deref for Data<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Data::Lent(bytes) => bytes,
            Data::Owned(bytes) => bytes,
        }
    }
}

/// What a head says about the body that follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    /// `Content-Length`.
    pub(super) length: Option<u64>,
    /// Its end can be told from a cut.
    pub(super) delimited: bool,
    /// None belongs to this answer, whatever its length says (HEAD, 204, 304).
    pub(super) none: bool,
}

impl OriginBody {
    pub(super) fn new(
        mut session: Session,
        permit: Permit,
        announced: Announced,
        sent: Arc<AtomicBool>,
    ) -> OriginBody {
        // An HTTP/2 stream also looks finished when it was reset: there, only reading tells.
        let empty = !session.is_h2() && session.is_at_end();
        let end = empty.then_some(Ok(()));
        session.limit_body();
        let (session, permit) = (Some(session), Some(permit));
        let mut body = OriginBody { session, announced, received: 0, end, sent, empty, permit };
        if empty {
            body.settle();
        }
        body
    }

    /// The next piece, which may be empty. `Ok(None)` only at the protocol's own end with matching length;
    /// after an error the same error again. Cancel-safe.
    ///
    /// # Errors
    /// The origin cut, stalled, or broke the protocol.
    pub async fn next(&mut self) -> Result<Option<Data<'_>>, OriginError> {
        if let Some(end) = self.end {
            self.settle();
            return end.map(|()| None);
        }
        let expected = if self.announced.none { Some(0) } else { self.announced.length };
        let OriginBody { session, received, end, .. } = self;
        let Some(session) = session else { return Err(OriginError::Closed) };
        let failed = match session.read_body().await {
            Ok(Some(piece)) => {
                *received += piece.len() as u64;
                if expected.is_none_or(|length| *received <= length) {
                    return Ok(Some(piece));
                }
                OriginError::Protocol
            }
            Ok(None) if expected.is_none_or(|length| *received == length) => {
                *end = Some(Ok(()));
                return Ok(None);
            }
            Ok(None) => OriginError::Closed,
            // All announced bytes are here: what comes after them (a reset that says "stop uploading") takes
            // nothing from the answer.
            Err(_) if expected == Some(*received) && *received > 0 => {
                *end = Some(Ok(()));
                return Ok(None);
            }
            Err(error) => error,
        };
        *end = Some(Err(failed));
        Err(failed)
    }

    /// `Content-Length`, if the answer has one. For HEAD and 304 no body of that length follows.
    pub fn length(&self) -> Option<u64> {
        self.announced.length
    }

    /// Nothing but the connection's end says where this body ends: it is relayed, never stored.
    pub fn delimited_by_close(&self) -> bool {
        !self.announced.delimited
    }

    /// No body came, and none will.
    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }

    /// How many bytes will come, if that is known.
    pub(super) fn expected(&self) -> Option<u64> {
        if self.announced.none || self.empty { Some(0) } else { self.announced.length }
    }

    /// After 101: the connection, no longer a place in flight.
    pub(super) fn into_tunnel(mut self) -> Option<Tunnel> {
        let session = self.session.take()?;
        let protocol = session.head()?.headers.get(header::UPGRADE)?.clone();
        let (line, ahead) = session.into_tunnel()?;
        Some(Tunnel::new(protocol, ahead, line))
    }

    /// It counts by this place from here on, if it still counts.
    pub(super) fn takes(&mut self, place: Permit) {
        if self.permit.is_some() {
            self.permit = Some(place);
        }
    }

    /// Gives back connection and place once the end was reached.
    fn settle(&mut self) {
        let whole = self.end == Some(Ok(())) && self.sent.load(Ordering::Acquire);
        if let Some(session) = self.session.take()
            && whole
        {
            session.release();
        }
        self.permit = None;
    }
}

impl Drop for OriginBody {
    fn drop(&mut self) {
        self.settle();
    }
}

impl fmt::Debug for OriginBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OriginBody");
        shown
            .field("announced", &self.announced)
            .field("received", &self.received)
            .field("end", &self.end)
            .finish()
    }
}
