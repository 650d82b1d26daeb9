//! One connection to a server, usable from both of its directions at once.
//!
//! Pingora's HTTP/1 session wants the connection for itself while it reads; a body that is still being sent
//! while the answer already arrives (413 before the upload's end) needs its other direction at the same
//! time. So the session gets one handle of the connection, and the upload another. The lock is held for one
//! poll only, and both handles are polled by the same task: a wake-up registered by either reaches both.

use crate::clock;
use async_trait::async_trait;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A handle of the connection.
#[derive(Clone)]
pub(super) struct Line(Arc<Shared>);

struct Shared {
    stream: Mutex<Stream>,
    /// When it went to rest in the pool.
    rested: Mutex<Instant>,
}

impl Line {
    pub(super) fn new(stream: Stream) -> Line {
        Line(Arc::new(Shared { stream: Mutex::new(stream), rested: Mutex::new(clock::instant()) }))
    }

    /// The line that was given to the pool as `stream`, or a new one around it.
    pub(super) fn from_pool(stream: Stream) -> Line {
        match (*stream).as_any().downcast_ref::<Line>() {
            Some(line) => line.clone(),
            None => Line::new(stream),
        }
    }

    /// It goes to rest now.
    pub(super) fn rest(&self) {
        *self.0.rested.lock().unwrap_or_else(PoisonError::into_inner) = clock::instant();
    }

    /// For how long it has been resting.
    pub(super) fn rested(&self) -> Duration {
        let since = *self.0.rested.lock().unwrap_or_else(PoisonError::into_inner);
        clock::instant().saturating_duration_since(since)
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream().is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_shutdown(cx)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Line").field(&self.id()).finish()
    }
}

#[async_trait]
impl Shutdown for Line {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Line {
    fn id(&self) -> UniqueIDType {
        self.stream().id()
    }
}

impl Ssl for Line {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream().get_ssl_digest()
    }
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream().selected_alpn_proto()
    }
}

impl GetTimingDigest for Line {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream().get_timing_digest()
    }
}

impl GetProxyDigest for Line {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream().get_proxy_digest()
    }
}

impl GetSocketDigest for Line {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream().get_socket_digest()
    }
}

impl Peek for Line {}
