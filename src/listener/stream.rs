//! The client's TCP stream under the eyes of the deadline sweep. It lies under TLS, so that progress is what the client really
//! took. No buffer of its own: Pingora's would take 64 KiB per connection; what is above it (rustls, hyper) has one.

use crate::listener::{
    connections::Place,
    watch::{Phase, Watch},
};
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// So few bytes are sent as one slice: their copy costs less than what the system spends on a list of slices.
const SHORT: usize = 2 << 10;

/// A client's stream; dropping it ends the connection, for the counters too.
#[derive(Debug)]
pub(super) struct Watched {
    tcp: TcpStream,
    watch: Arc<Watch>,
    _place: Place,
}

impl Watched {
    pub(super) fn new(tcp: TcpStream, watch: Arc<Watch>, place: Place) -> Watched {
        Watched { tcp, watch, _place: place }
    }

    /// The address the client connected to.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// A tunnel's task is none of ours: the sweep reaches it here.
    fn poll_closed(&self, cx: &Context<'_>) -> io::Result<()> {
        if self.watch.phase() == Phase::Tunnel {
            self.watch.wake_at_close(cx);
            if self.watch.closing() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }

    fn written(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(n)) => {
                self.watch.was_written(*n);
                self.watch.blocked(false);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.watch.blocked(true),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_closed(cx)?;
        let before = buf.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(cx, buf);
        let n = buf.filled().len() - before;
        if n > 0 {
            self.watch.was_read(n);
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_closed(cx)?;
        if self.watch.corked() {
            return Poll::Pending;
        }
        let result = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_closed(cx)?;
        if self.watch.corked() {
            return Poll::Pending;
        }
        if slices.iter().map(|slice| slice.len()).sum::<usize>() <= SHORT {
            let (mut short, mut n) = ([0; SHORT], 0);
            for slice in slices {
                short[n..n + slice.len()].copy_from_slice(slice);
                n += slice.len();
            }
            let result = Pin::new(&mut self.tcp).poll_write(cx, &short[..n]);
            self.written(&result);
            return result;
        }
        let result = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        self.written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // the kernel has it
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.answer_failed() {
            return Poll::Ready(Ok(())); // no clean end: the drop resets
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.watch.answer_failed() {
            let _ = self.tcp.set_zero_linger();
        }
        self.watch.end();
    }
}
