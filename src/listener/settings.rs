//! What an operator sets of a listener.

use ipnet::IpNet;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// One listening address.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSettings {
    /// Name in log and metrics.
    pub name: String,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS, or cleartext if absent.
    pub tls: Option<TlsSettings>,
    /// Peers that send a PROXY v1 or v2 header; from them it is required, from others it is not looked for.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Peers whose `X-Forwarded-*` and `Forwarded` fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How much a client may take.
    pub limits: Limits,
    /// How long a client may take.
    pub deadlines: Deadlines,
}

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Directory of pairs `NAME.crt` (chain) and `NAME.key`, PEM. Names come from the certificates.
    pub certificates: PathBuf,
    /// `NAME` of the pair for clients that send no name or an unknown one; absent: they are refused.
    pub default: Option<String>,
    /// Lowest version spoken.
    pub min_version: TlsVersion,
    /// Whether clients must or may show a certificate.
    pub client_auth: ClientAuth,
    /// PEM file of the authorities that client certificates must come from.
    pub client_ca: Option<PathBuf>,
}

/// A TLS version an operator may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 and above.
    #[default]
    V1_2,
    /// TLS 1.3 only.
    V1_3,
}

/// Client certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not asked for.
    #[default]
    None,
    /// Asked for; verified if shown.
    Optional,
    /// A handshake without a valid one fails.
    Required,
}

/// Bounds on what one listener holds for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// TLS handshakes under way.
    pub handshakes: usize,
    /// Header fields of one request.
    pub head_fields: usize,
    /// Bytes of one request head: request line and fields.
    pub head_bytes: usize,
    /// Concurrent streams of one HTTP/2 connection.
    pub h2_streams: u32,
    /// Streams a client may reset, beyond those that ended, before its HTTP/2 connection is closed (G50).
    pub h2_resets: usize,
    /// Receive window of one HTTP/2 stream, bytes.
    pub h2_stream_window: u32,
    /// Receive window of one HTTP/2 connection, bytes.
    pub h2_connection_window: u32,
}

/// Bounds on time. None of them is on the whole of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// TLS handshake and PROXY header, from accept.
    pub handshake: Duration,
    /// Request head (and HTTP/2 preface), from its first byte.
    pub head: Duration,
    /// Between requests; on HTTP/2 with no open stream.
    pub idle: Duration,
    /// Without write progress while bytes wait to be written.
    pub write: Duration,
    /// Without progress of a request body that is being read.
    pub request_body: Duration,
    /// Without a byte in either direction of a tunnel.
    pub tunnel: Duration,
}

impl ListenerSettings {
    /// A cleartext listener with every default.
    pub fn new(name: &str, address: SocketAddr) -> ListenerSettings {
        ListenerSettings {
            name: name.to_owned(),
            address,
            tls: None,
            proxy_protocol_from: Vec::new(),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            deadlines: Deadlines::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 20_000,
            handshakes: 1_000,
            head_fields: 100,
            head_bytes: 32 << 10,
            h2_streams: 256,
            h2_resets: 100,
            h2_stream_window: 256 << 10,
            h2_connection_window: 1 << 20,
        }
    }
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(60),
            request_body: Duration::from_secs(60),
            tunnel: Duration::from_secs(600),
        }
    }
}
