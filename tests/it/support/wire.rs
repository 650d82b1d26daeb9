//! A TCP connection, with or without TLS, that can be ended in each way there is.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Either end of a connection.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// The next bytes behind those in the buffer; 0 at the peer's orderly end. Cancel-safe.
    pub(crate) async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        buffer.reserve(64 << 10);
        match self {
            Wire::Plain(stream) => stream.read_buf(buffer).await,
            Wire::Tls(stream) => stream.read_buf(buffer).await,
        }
    }

    /// All of it, down to the kernel.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.write_all(bytes).await,
            Wire::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Says that nothing more comes (FIN; with TLS close_notify first) and can still read.
    pub(crate) async fn half_close(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.shutdown().await,
            Wire::Tls(stream) => stream.shutdown().await,
        }
    }

    /// Ends with RST. What the kernel has not sent yet is lost.
    pub(crate) fn reset(self) {
        // A socket that refuses the option is closed all the same, which the test then sees.
        drop(self.socket().set_zero_linger());
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The certificate that the peer showed, in DER.
    pub(crate) fn peer_certificate(&self) -> Option<Vec<u8>> {
        match self {
            Wire::Plain(_) => None,
            Wire::Tls(stream) => stream.get_ref().1.peer_certificates()?.first().map(|der| der.to_vec()),
        }
    }
}
