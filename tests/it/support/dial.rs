//! How a client connects: from where, with which buffers, with TLS or not, with something said first.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio_rustls::{TlsConnector, TlsStream};

use super::client::Client;
use super::deadline::within;
use super::h2::H2;
use super::tls::Tls;
use super::wire::Wire;

/// A connection to be made.
#[derive(Clone)]
pub(crate) struct Dial {
    to: SocketAddr,
    from: Option<IpAddr>,
    tls: Option<Tls>,
    first: Vec<u8>,
    receive_buffer: Option<u32>,
    pub(crate) window: Option<u32>,
}

impl Dial {
    pub(crate) fn to(to: SocketAddr) -> Dial {
        Dial { to, from: None, tls: None, first: Vec::new(), receive_buffer: None, window: None }
    }

    /// From this address, for example 127.0.0.2.
    pub(crate) fn from(self, from: IpAddr) -> Dial {
        Dial { from: Some(from), ..self }
    }

    pub(crate) fn tls(self, tls: Tls) -> Dial {
        Dial { tls: Some(tls), ..self }
    }

    /// Bytes before everything else, before TLS too: a PROXY header.
    pub(crate) fn first(self, bytes: &[u8]) -> Dial {
        Dial { first: bytes.to_vec(), ..self }
    }

    /// The kernel's receive buffer, small for a client that takes little at a time.
    pub(crate) fn receive_buffer(self, bytes: u32) -> Dial {
        Dial { receive_buffer: Some(bytes), ..self }
    }

    /// HTTP/2's initial window of streams and the connection's, in bytes.
    pub(crate) fn window(self, bytes: u32) -> Dial {
        Dial { window: Some(bytes), ..self }
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// An HTTP/1.1 client.
    pub(crate) async fn client(self) -> Client {
        let to = self.to;
        self.try_client().await.unwrap_or_else(|error| panic!("no connection to {to}: {error}"))
    }

    /// The same, where the connection or the handshake may be refused.
    pub(crate) async fn try_client(self) -> io::Result<Client> {
        Ok(Client::new(self.wire(&["http/1.1"]).await?))
    }

    /// An HTTP/2 client: by prior knowledge, or with TLS by ALPN.
    pub(crate) async fn h2(self) -> H2 {
        let to = self.to;
        self.try_h2().await.unwrap_or_else(|error| panic!("no HTTP/2 connection to {to}: {error}"))
    }

    /// The same, where the connection or the handshake may be refused.
    pub(crate) async fn try_h2(self) -> io::Result<H2> {
        let wire = self.wire(&["h2"]).await?;
        H2::new(wire, &self).await
    }

    /// The connection, the handshake done.
    pub(crate) async fn wire(&self, alpn: &[&str]) -> io::Result<Wire> {
        within(format!("connection to {}", self.to), self.connect(alpn)).await
    }

    async fn connect(&self, alpn: &[&str]) -> io::Result<Wire> {
        let socket = if self.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let mut stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&self.first).await?;
        let Some(tls) = &self.tls else {
            return Ok(Wire::Plain(stream));
        };
        let name = tls.name.clone().unwrap_or_else(|| "nameless.example".to_owned());
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.config(alpn)).connect(name, stream).await?;
        if alpn == ["h2"] && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the server did not choose h2 by ALPN"));
        }
        Ok(Wire::Tls(Box::new(TlsStream::Client(stream))))
    }
}
