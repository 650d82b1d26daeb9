//! Watches what an HTTP/2 server sends for GOAWAY, which the client library does not always tell.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The code of the last GOAWAY seen.
pub(crate) type Code = Arc<Mutex<Option<u32>>>;

/// A stream whose reading is watched. Its writing never fails: a peer that is gone shows itself at reading, once all
/// that it sent before was read.
pub(crate) struct Watched<S> {
    stream: S,
    frames: Frames,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, code: &Code) -> Watched<S> {
        Watched {
            stream,
            frames: Frames { code: Arc::clone(code), head: Vec::new(), payload: Vec::new(), left: 0 },
        }
    }
}

struct Frames {
    code: Code,
    head: Vec<u8>,
    /// The first eight bytes.
    payload: Vec<u8>,
    /// Bytes of the payload still to come.
    left: usize,
}

impl Frames {
    /// RFC 9113 §4.1: 24 bits of length, 8 of type (GOAWAY is 7), 8 of flags, 32 of stream.
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.head.len() < 9 {
                let n = bytes.len().min(9 - self.head.len());
                self.head.extend_from_slice(&bytes[..n]);
                bytes = &bytes[n..];
                if let [a, b, c, _, _, _, _, _, _] = self.head[..] {
                    self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                }
            }
            let n = bytes.len().min(self.left);
            let keep = n.min(8 - self.payload.len());
            self.payload.extend_from_slice(&bytes[..keep]);
            bytes = &bytes[n..];
            self.left -= n;
            if self.head.len() == 9 && self.left == 0 {
                if let (7, [_, _, _, _, a, b, c, d]) = (self.head[3], &self.payload[..]) {
                    *self.code.lock().unwrap() = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                }
                self.head.clear();
                self.payload.clear();
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.frames.see(&buffer.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream)
            .poll_write(context, bytes)
            .map(|written| Ok(written.unwrap_or(bytes.len())))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context).map(|_| Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context).map(|_| Ok(()))
    }
}
