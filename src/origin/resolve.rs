//! What address a server's name has, and for how long that is believed.
//!
//! The hosts file first, then the name servers. IPv6 is asked only if there is no IPv4 address. A name that
//! cannot be resolved now has no answer; the caller keeps its last good one.

use crate::clock;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The whole question, all name servers and tries together.
const QUESTION: Duration = Duration::from_secs(5);

/// The addresses of a name, and how long they may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
}

/// Asks for `host`; `None` if no address came, for whatever reason.
///
/// The system's configuration and hosts file are read for each question, so that a changed one needs no
/// restart; a question is asked once per TTL at most.
pub(super) async fn ask(host: &str, name_servers: &[SocketAddr]) -> Option<Answer> {
    let question = async { resolver(name_servers)?.lookup_ip(host).await };
    let found = match tokio::time::timeout(QUESTION, question).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::warn!(host, %error, "no address for an origin's server");
            return None;
        }
        Err(_) => {
            tracing::warn!(host, "the name servers do not answer for an origin's server");
            return None;
        }
    };
    let ttl = found.valid_until().saturating_duration_since(clock::instant());
    let mut addresses: Vec<IpAddr> = found.iter().collect();
    addresses.sort_unstable();
    addresses.dedup();
    (!addresses.is_empty()).then_some(Answer { addresses, ttl })
}

fn resolver(name_servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if name_servers.is_empty() {
        // Without name servers there may still be a hosts file.
        let none = || ResolverConfig::from_name_servers(Vec::new());
        TokioResolver::builder_tokio()
            .unwrap_or_else(|_| TokioResolver::builder_with_config(none(), TokioRuntimeProvider::default()))
    } else {
        let servers = name_servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.cache_size = 0;
    options.timeout = Duration::from_secs(2);
    builder.build()
}
