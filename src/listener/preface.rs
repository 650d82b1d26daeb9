//! Which HTTP a client speaks on a stream that did not say it by ALPN: the preface of HTTP/2 (RFC 9113 §3.4) or anything else.
//!
//! The first bytes are looked at and given back in front; the sweep holds the deadline of a head over it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A usual request head fits, so that sniffing costs no second read.
const FIRST: usize = 2048;

/// A stream whose first bytes were read already.
pub(super) struct Sniffed<T> {
    io: T,
    front: Vec<u8>,
    given: usize,
}

impl<T> Sniffed<T> {
    /// A stream that need not be sniffed at.
    pub(super) fn not(io: T) -> Sniffed<T> {
        Sniffed { io, front: Vec::new(), given: 0 }
    }
}

/// Reads until it is clear whether the client speaks HTTP/2.
///
/// # Errors
/// The stream fails. That it ended is no error: hyper meets the end again.
pub(super) async fn sniff<T: AsyncRead + Unpin>(mut io: T) -> io::Result<(Sniffed<T>, bool)> {
    let mut front = Vec::with_capacity(FIRST);
    loop {
        let ended = io.read_buf(&mut front).await? == 0;
        let common = front.len().min(PREFACE.len());
        let alike = front[..common] == PREFACE[..common];
        if ended || !alike || common == PREFACE.len() {
            return Ok((Sniffed { io, front, given: 0 }, alike && common == PREFACE.len()));
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Sniffed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.front.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = buf.remaining().min(self.front.len() - self.given);
        buf.put_slice(&self.front[self.given..self.given + n]);
        self.given += n;
        if self.given == self.front.len() {
            self.front = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Sniffed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFACE, sniff};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn the_preface_is_known_in_any_pieces_and_every_byte_is_given_back() {
        let table: [(&[u8], bool); 5] = [
            (PREFACE, true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04", true),
            (b"PRI * HTTP/2.0\r\n", false),
            (b"PUT / HTTP/1.1\r\n\r\n", false),
            (b"", false),
        ];
        for (bytes, http2) in table {
            for piece in [1, 5, 64] {
                let (mut client, server) = tokio::io::duplex(piece);
                let send = async {
                    client.write_all(bytes).await.unwrap();
                    client.shutdown().await.unwrap();
                };
                let receive = async {
                    let (mut io, said) = sniff(server).await.unwrap();
                    let mut all = Vec::new();
                    io.read_to_end(&mut all).await.unwrap();
                    (said, all)
                };
                let ((), got) = tokio::join!(send, receive);
                assert_eq!(got, (http2, bytes.to_vec()), "{bytes:?} by {piece}");
            }
        }
    }
}
