//! Sending a request's body on, piece by piece, as it comes from the client.
//!
//! A body that does not come whole is never ended: no last chunk, no END_STREAM.

use super::{OriginError, Phase, line::Line};
use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// What of a client's wish matters to the upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upload {
    /// The client sent `Expect: 100-continue`: the body is not asked for (hyper then says 100 to the client)
    /// before the origin's 100 came or a second passed, and never if the answer came first.
    pub expects_continue: bool,
    /// The method is unsafe: once the body is whole, go on to the answer though the client is gone.
    pub finish_when_whole: bool,
    /// Bytes that the body may have at most.
    pub limit: Option<u64>,
}

/// How an upload ended that was nobody's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uploaded {
    /// To its last byte.
    Whole,
    /// The origin takes no more; its answer may say why.
    Unwanted,
}

/// The length that `body` announces.
pub(super) fn announced<B: Body>(body: &B) -> Option<u64> {
    body.size_hint().exact()
}

/// Sends `body` piece by piece to `put`, and `None` after the last.
///
/// # Errors
/// [`OriginError::ClientBody`] and [`OriginError::BodyLimit`]: the origin has got only a part.
pub(super) async fn send<B, F>(mut body: B, mut put: F, limit: Option<u64>) -> Result<Uploaded, OriginError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
    F: AsyncFnMut(Option<Bytes>) -> Result<(), OriginError>,
{
    let announced = announced(&body);
    let mut sent = 0;
    // With the last byte, not with the word that there are no more: the answer may come before that.
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, sent, "a client's body broke off");
            OriginError::ClientBody
        })?;
        let Ok(piece) = frame.into_data() else { continue };
        sent += piece.len() as u64;
        if limit.is_some_and(|limit| sent > limit) {
            return Err(OriginError::BodyLimit);
        }
        if announced.is_some_and(|announced| sent > announced) {
            return Err(OriginError::ClientBody);
        }
        if !piece.is_empty() && put(Some(piece)).await.is_err() {
            return Ok(Uploaded::Unwanted);
        }
    }
    if announced.is_some_and(|announced| sent < announced) {
        return Err(OriginError::ClientBody);
    }
    Ok(if put(None).await.is_ok() { Uploaded::Whole } else { Uploaded::Unwanted })
}

/// The sending direction of an HTTP/1.1 connection.
pub(super) struct H1Sink {
    line: Line,
    chunked: bool,
    /// Without progress for longer, the origin is taken to want no more.
    patience: Duration,
}

impl H1Sink {
    pub(super) fn new(line: Line, chunked: bool, patience: Duration) -> H1Sink {
        H1Sink { line, chunked, patience }
    }

    async fn write(&mut self, mut bytes: impl Buf + Send) -> Result<(), OriginError> {
        while bytes.has_remaining() {
            let written = tokio::time::timeout(self.patience, self.line.write_buf(&mut bytes)).await;
            match written {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) | Ok(Err(_)) => return Err(OriginError::Closed),
                Err(_) => return Err(OriginError::Timeout(Phase::Send)),
            }
        }
        match tokio::time::timeout(self.patience, self.line.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(OriginError::Closed),
            Err(_) => Err(OriginError::Timeout(Phase::Send)),
        }
    }
}

impl H1Sink {
    /// Sends a piece, or the end, in the framing that the head told.
    pub(super) async fn put(&mut self, piece: Option<Bytes>) -> Result<(), OriginError> {
        match (piece, self.chunked) {
            (Some(piece), false) => self.write(piece).await,
            (Some(piece), true) => {
                let size = Bytes::from(format!("{:x}\r\n", piece.len()));
                self.write(size.chain(piece).chain(&b"\r\n"[..])).await
            }
            (None, false) => Ok(()),
            (None, true) => self.write(&b"0\r\n\r\n"[..]).await,
        }
    }
}
