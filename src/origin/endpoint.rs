//! One address of a server: how it is connected to, whom it must prove to be, which pool is its own.

use super::{
    OriginConfigError, OriginError, OriginHttp, OriginSettings, OriginTls, Phase, front::Front, identity,
};
use crate::telemetry::FrontSeries;
use pingora::{
    Error as PingoraError,
    connectors::{ConnectorOptions, http::v2::Connector},
    protocols::{ALPN, TcpKeepalive},
    upstreams::peer::{HttpPeer, Peer},
};
use rustls::pki_types::ServerName;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
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

/// What all addresses of one server have in common.
pub(super) struct Template {
    connector: &'static Connector,
    /// Its name and port, as configured.
    name: String,
    peer: HttpPeer,
    http1: HttpPeer,
    settings: Arc<OriginSettings>,
    series: FrontSeries,
}

/// One address of a server: a front.
pub(super) struct Endpoint {
    connector: &'static Connector,
    address: SocketAddr,
    name: String,
    peer: HttpPeer,
    /// For upgrades, which only HTTP/1.1 has.
    http1: HttpPeer,
    front: Front,
    /// Why its last check failed.
    noted: Mutex<String>,
    removed: AtomicBool,
}

impl Template {
    /// The server `host`.
    pub(super) fn new(
        settings: &Arc<OriginSettings>,
        series: &FrontSeries,
        host: &str,
        port: u16,
    ) -> Result<Template, OriginConfigError> {
        // A placeholder.
        let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let name = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut sni = String::new();
        let (mut authorities, mut certificate) = (None, None);
        if let Some(OriginTls { sni: name, ca, certificate: shown }) = &settings.tls {
            name.as_deref().unwrap_or(host).clone_into(&mut sni);
            if !matches!(ServerName::try_from(sni.as_str()), Ok(ServerName::DnsName(_))) {
                return Err(OriginConfigError::NoServerName(format!("{host}:{port}")));
            }
            authorities = ca.as_deref().map(identity::authorities).transpose()?;
            certificate = shown.as_ref().map(identity::certificate).transpose()?;
        }
        let mut connector = &*BARE;
        if settings.tls.is_some() && authorities.is_none() {
            let unreadable = |why: &String| OriginConfigError::SystemAuthorities(why.clone());
            connector = SYSTEM.as_ref().map_err(unreadable)?;
        }
        let mut peer = HttpPeer::new(address, settings.tls.is_some(), sni);
        let times = &settings.timeouts;
        peer.options.ca = authorities;
        peer.client_cert_key = certificate;
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
        let (settings, series) = (settings.clone(), series.clone());
        Ok(Template { connector, name, peer, http1, settings, series })
    }

    /// The front at `address`, with a pool of its own.
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
            name: self.name.clone(),
            peer: placed(&self.peer),
            http1: placed(&self.http1),
            front: Front::new(address, &self.settings, self.series.of(address)),
            noted: Mutex::default(),
            removed: AtomicBool::new(false),
        }
    }
}

impl Endpoint {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's name and port, as configured.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How it does.
    pub(super) fn front(&self) -> &Front {
        &self.front
    }

    /// Its check failed.
    pub(super) fn note(&self, why: &str) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        why.clone_into(&mut noted);
    }

    /// Why its last check failed.
    pub(super) fn noted(&self) -> String {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
