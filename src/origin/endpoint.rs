//! One address of a server: how it is connected to, whom it must prove to be, which pool is its own.

use super::{OriginConfigError, OriginError, OriginHttp, OriginSettings, Phase};
use crate::clock;
use pingora::{
    Error as PingoraError,
    connectors::{ConnectorOptions, http::v2::Connector},
    protocols::{ALPN, TcpKeepalive, tls::CaType},
    upstreams::peer::{HttpPeer, Peer},
    utils::tls::{WrappedX509, parse_x509},
};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Idle connections kept by this process, all origins together.
const POOL: usize = 4096;
/// Streams on one HTTP/2 connection, and the bytes each may have under way unread. The connection's window
/// holds all of them, so that a slow reader never stops the others.
const STREAMS: (usize, u32) = (32, 256 * 1024);
/// Trusts the system's authorities. Read once, at the first origin with TLS that names none of its own.
/// Pingora panics on a store it cannot read; so it is read once before.
static SYSTEM: LazyLock<Result<Connector, String>> = LazyLock::new(|| {
    let mut found = rustls::RootCertStore::empty();
    pingora::tls::load_platform_certs_incl_env_into_store(&mut found).map_err(|error| error.to_string())?;
    if found.is_empty() {
        tracing::warn!("this system trusts no authority: install ca-certificates, or name the origins' own");
    }
    Ok(connector(None))
});
/// Trusts nobody: for cleartext, and for origins whose peers carry their own authorities.
static BARE: LazyLock<Connector> = LazyLock::new(|| connector(Some("/dev/null".to_owned())));
/// Numbers groups of pooled connections, so that two origins, or an address that came back, share none.
static GROUP: AtomicU64 = AtomicU64::new(1);

fn connector(ca_file: Option<String>) -> Connector {
    // Pingora installs ring if there is no provider yet. `main` was first; this is for everything else.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut options = ConnectorOptions::new(POOL);
    options.ca_file = ca_file;
    Connector::new(Some(options))
}

/// One address of a server.
pub(super) struct Endpoint {
    connector: &'static Connector,
    address: SocketAddr,
    peer: HttpPeer,
    /// For upgrades, which only HTTP/1.1 has.
    http1: HttpPeer,
    failed: Mutex<Option<Instant>>,
    removed: AtomicBool,
}

impl Endpoint {
    /// What all addresses of the server `host` have in common; the address itself is a placeholder.
    pub(super) fn template(
        settings: &OriginSettings,
        host: &str,
        port: u16,
    ) -> Result<Endpoint, OriginConfigError> {
        let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let mut sni = String::new();
        let mut authorities = None;
        if let Some(tls) = &settings.tls {
            host.clone_into(&mut sni);
            if let Some(name) = &tls.sni {
                name.clone_into(&mut sni);
            }
            if !matches!(ServerName::try_from(sni.as_str()), Ok(ServerName::DnsName(_))) {
                return Err(OriginConfigError::NoServerName(format!("{host}:{port}")));
            }
            authorities = tls.ca.as_deref().map(read_authorities).transpose()?;
        }
        let mut connector = &*BARE;
        if settings.tls.is_some() && authorities.is_none() {
            let unreadable = |why: &String| OriginConfigError::SystemAuthorities(why.clone());
            connector = SYSTEM.as_ref().map_err(unreadable)?;
        }
        let mut peer = HttpPeer::new(address, settings.tls.is_some(), sni);
        let times = &settings.timeouts;
        peer.options.ca = authorities;
        peer.options.connection_timeout = Some(times.connect);
        peer.options.total_connection_timeout = Some(times.handshake.max(times.connect));
        peer.options.read_timeout = Some(times.body);
        peer.options.write_timeout = Some(times.write);
        peer.options.idle_timeout = Some(times.idle);
        peer.options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(15),
            count: 4,
            #[cfg(target_os = "linux")]
            user_timeout: Duration::ZERO,
        });
        peer.options.max_h2_streams = STREAMS.0;
        peer.options.h2_stream_window_size = Some(STREAMS.1);
        peer.options.h2_connection_window_size = Some(STREAMS.0 as u32 * STREAMS.1);
        peer.options.alpn = ALPN::H1;
        let http1 = peer.clone();
        peer.options.alpn = match (settings.http, &settings.tls) {
            (OriginHttp::H1, _) => ALPN::H1,
            (OriginHttp::H2, Some(_)) => ALPN::H2H1,
            (OriginHttp::H2, None) => ALPN::H2,
        };
        let (failed, removed) = (Mutex::new(None), AtomicBool::new(false));
        Ok(Endpoint { connector, address, peer, http1, failed, removed })
    }

    /// This template at `address`, with a pool of its own.
    pub(super) fn at(&self, address: SocketAddr) -> Endpoint {
        let group = GROUP.fetch_add(1, Ordering::Relaxed);
        let placed = |peer: &HttpPeer| {
            let mut peer = peer.clone();
            peer._address = address.into();
            peer.group_key = group;
            peer
        };
        Endpoint {
            connector: self.connector,
            address,
            peer: placed(&self.peer),
            http1: placed(&self.http1),
            failed: Mutex::new(None),
            removed: AtomicBool::new(false),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn failed_now(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::instant());
    }

    pub(super) fn failed_within(&self, span: Duration, now: Instant) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| now.saturating_duration_since(at) < span)
    }

    /// The address is gone: its idle connections are closed, busy ones are not kept when they end.
    pub(super) async fn forget(&self) {
        self.removed.store(true, Ordering::Relaxed);
        while self.connector.transport().reused_stream(&self.peer).await.is_some() {}
        let group = self.group();
        while self.connector.idle_pool().get(&group).is_some() {}
        while self.connector.in_use_pool().get(group).is_some() {}
    }

    pub(super) fn connector(&self) -> &'static Connector {
        self.connector
    }

    /// The peer as Pingora wants it; `upgrade`: over HTTP/1.1.
    pub(super) fn peer(&self, upgrade: bool) -> &HttpPeer {
        if upgrade { &self.http1 } else { &self.peer }
    }

    /// The key of its pool.
    pub(super) fn group(&self) -> u64 {
        self.peer.reuse_hash()
    }

    /// Was it let go?
    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Is HTTP/2 spoken, or offered?
    pub(super) fn wants_h2(&self) -> bool {
        !matches!(self.peer.options.alpn, ALPN::H1)
    }

    /// What Pingora's `error` means; its own words go to the log.
    pub(super) fn told(&self, error: &PingoraError, phase: Phase) -> OriginError {
        let meaning = OriginError::from_pingora(error, phase);
        tracing::debug!(server = %self.address, %error, word = meaning.word(), "an exchange failed");
        meaning
    }
}

/// A file of authorities, read and checked before Pingora, which would panic on a bad one.
fn read_authorities(path: &Path) -> Result<Arc<CaType>, OriginConfigError> {
    let bad = |why: String| OriginConfigError::Authorities(path.to_owned(), why);
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        let trusted = rustls::RootCertStore::empty().add(certificate.clone());
        trusted.map_err(|error| bad(error.to_string()))?;
        let parsed = x509_parser::parse_x509_certificate(&certificate);
        parsed.map_err(|error| bad(error.to_string()))?;
        found.push(WrappedX509::new(certificate.to_vec(), parse_x509));
    }
    if found.is_empty() {
        return Err(bad("it holds no certificate".to_owned()));
    }
    Ok(found.into())
}
