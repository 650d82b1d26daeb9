//! `[[listener]]` and `[control]`: where the node listens.

use super::reader::{Place, Section};
use crate::{
    control::{ControlSettings, Rate, Shape},
    listener::{ClientAuth, Deadlines, Limits, ListenerSettings, TlsSettings, TlsVersion},
};
use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

const ADDRESS: &str = "an address with port, as in \"0.0.0.0:443\" or \"[::]:443\"";
pub(super) const NETWORK: &str = "a network, as in \"10.0.0.0/8\" or \"192.0.2.7/32\"";
/// Bounds of every deadline towards clients.
const PATIENCE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
/// Longest window that HTTP/2 knows (RFC 9113 §6.9.1).
const LONGEST_WINDOW: u64 = (1 << 31) - 1;

/// Addresses that are taken, to find two on one.
#[derive(Default)]
pub(super) struct Addresses(Vec<(SocketAddr, Place)>);

impl Addresses {
    /// Notes an address. Port 0 is free each time; the unspecified address takes the port of all of its family.
    fn take(&mut self, section: &Section<'_>, address: SocketAddr, place: Place) {
        let clash = |other: &SocketAddr| {
            other.port() == address.port()
                && address.port() != 0
                && other.is_ipv4() == address.is_ipv4()
                && (other.ip() == address.ip()
                    || other.ip().is_unspecified()
                    || address.ip().is_unspecified())
        };
        if let Some((other, taken)) = self.0.iter().find(|(other, _)| clash(other)) {
            let wrong = format!("{address} is taken by {} ({other}, line {})", taken.key, taken.line);
            section.reader.error(&place, wrong, "give each its own address or port");
        }
        self.0.push((address, place));
    }
}

pub(super) fn listener(section: Section<'_>, addresses: &mut Addresses) -> Option<ListenerSettings> {
    let name = section.required("name", "a name for log and metrics").map(|name| name.value.to_owned());
    let address = address(&section, addresses);
    if address.is_none() && section.value("address").is_none() {
        section.missing("address", ADDRESS);
    }
    let settings = ListenerSettings {
        name: name.clone().unwrap_or_default(),
        address: address.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))),
        tls: section.table("tls").and_then(tls),
        proxy_protocol_from: section.all_parsed("proxy_protocol_from", NETWORK),
        trusted_proxies: section.all_parsed("trusted_proxies", NETWORK),
        limits: section.table("limits").map(limits).unwrap_or_default(),
        deadlines: section.table("deadlines").map(deadlines).unwrap_or_default(),
    };
    section.finish();
    (name.is_some() && address.is_some()).then_some(settings)
}

fn address(section: &Section<'_>, addresses: &mut Addresses) -> Option<SocketAddr> {
    let address: SocketAddr = section.parsed("address", ADDRESS)?;
    let place = section.value("address")?.place;
    addresses.take(section, address, place);
    Some(address)
}

fn tls(section: Section<'_>) -> Option<TlsSettings> {
    let certificates = section.existing_path("certificates");
    if certificates.is_none() && section.value("certificates").is_none() {
        section.missing("certificates", "the folder with NAME.crt and NAME.key");
    }
    let client_auth = section
        .choice(
            "client_auth",
            &[
                ("none", ClientAuth::None),
                ("optional", ClientAuth::Optional),
                ("required", ClientAuth::Required),
            ],
        )
        .unwrap_or_default();
    let client_ca = section.existing_path("client_ca");
    match (client_auth, section.value("client_ca")) {
        (ClientAuth::None, Some(given)) => section.reader.error(
            &given.place,
            "nobody would be asked for a certificate",
            "set client_auth = \"required\" or \"optional\", or leave client_ca out",
        ),
        (ClientAuth::Optional | ClientAuth::Required, None) => {
            section
                .missing("client_ca", "the PEM file of the authorities that client certificates come from");
        }
        _ => {}
    }
    let settings = TlsSettings {
        certificates: certificates.clone().unwrap_or_default(),
        default: section.text("default").map(|name| name.value.to_owned()),
        min_version: section
            .choice("min_version", &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)])
            .unwrap_or_default(),
        client_auth,
        client_ca,
    };
    section.finish();
    certificates.is_some().then_some(settings)
}

fn limits(section: Section<'_>) -> Limits {
    let default = Limits::default();
    let window = |key, default: u32| {
        section
            .size(key, 16 << 10..=LONGEST_WINDOW)
            .and_then(|size| u32::try_from(size).ok())
            .unwrap_or(default)
    };
    let limits = Limits {
        connections: section.count("connections", 1..=10_000_000).unwrap_or(default.connections),
        handshakes: section.count("handshakes", 1..=1_000_000).unwrap_or(default.handshakes),
        head_fields: section.count("head_fields", 10..=10_000).unwrap_or(default.head_fields),
        head_bytes: section
            .size("head_bytes", 8 << 10..=1 << 20)
            .map_or(default.head_bytes, |size| usize::try_from(size).unwrap_or(usize::MAX)),
        h2_streams: section.count("h2_streams", 1..=100_000).unwrap_or(default.h2_streams),
        h2_resets: section.count("h2_resets", 1..=1_000_000).unwrap_or(default.h2_resets),
        h2_stream_window: window("h2_stream_window", default.h2_stream_window),
        h2_connection_window: window("h2_connection_window", default.h2_connection_window),
    };
    section.finish();
    limits
}

fn deadlines(section: Section<'_>) -> Deadlines {
    let default = Deadlines::default();
    let span = |key, default| section.span(key, PATIENCE).unwrap_or(default);
    let deadlines = Deadlines {
        handshake: span("handshake", default.handshake),
        head: span("head", default.head),
        idle: span("idle", default.idle),
        write: span("write", default.write),
        request_body: span("request_body", default.request_body),
        tunnel: span("tunnel", default.tunnel),
    };
    section.finish();
    deadlines
}

fn shapes(section: &Section<'_>) -> Vec<Shape> {
    let known = [Shape::Fastly, Shape::Cloudflare];
    let texts = section.texts("shapes");
    let named = texts.iter().filter_map(|text| {
        let shape = known.into_iter().find(|shape| shape.as_str() == text.value);
        if shape.is_none() {
            let wrong = format!("`{}` is no shape", text.value);
            section.reader.error(&text.place, wrong, "there are: fastly, cloudflare");
        }
        shape
    });
    named.collect()
}

/// The API's settings, and TLS of its listener.
pub(super) fn control(
    section: Section<'_>,
    addresses: &mut Addresses,
) -> (ControlSettings, Option<TlsSettings>) {
    let default = ControlSettings::default();
    let calls = |key, default: NonZeroU32| {
        section.count(key, 1..=1_000_000_000).and_then(NonZeroU32::new).unwrap_or(default)
    };
    let settings = ControlSettings {
        address: address(&section, addresses).unwrap_or(default.address),
        tokens: section.existing_path("tokens"),
        rate: Rate {
            per_second: calls("calls_per_second", default.rate.per_second),
            at_once: calls("calls_at_once", default.rate.at_once),
        },
        whole_purge_pause: section
            .span("whole_purge_pause", Duration::ZERO..=Duration::from_secs(86_400))
            .unwrap_or(default.whole_purge_pause),
        shapes: shapes(&section),
    };
    let tls = section.table("tls").and_then(tls);
    section.finish();
    (settings, tls)
}
