//! A connection after 101: bytes both ways, until either side ends it. How long it may idle, the caller says.

use super::line::Line;
use bytes::{Buf, Bytes};
use http::HeaderValue;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The origin's side of an upgraded connection. First come the bytes that were read along with the head.
///
/// Holds no place in flight: a page open for hours is no load that the queue could spread.
#[derive(Debug)]
pub struct Tunnel {
    protocol: HeaderValue,
    ahead: Bytes,
    line: Line,
}

impl Tunnel {
    pub(super) fn new(protocol: HeaderValue, ahead: Bytes, line: Line) -> Tunnel {
        Tunnel { protocol, ahead, line }
    }

    /// The value of the origin's `Upgrade`, to be sent on with `Connection: Upgrade`.
    pub fn protocol(&self) -> &HeaderValue {
        &self.protocol
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.line).poll_read(cx, buf);
        }
        let now = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..now]);
        self.ahead.advance(now);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.line).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_shutdown(cx)
    }
}
