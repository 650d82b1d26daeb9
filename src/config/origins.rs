//! `[[origin]]`: where sites are fetched from.

use super::reader::{Placed, Section};
use crate::{
    origin::{HostField, OriginHttp, OriginSettings, OriginTimeouts, OriginTls},
    rules::normalise,
};
use http::HeaderValue;
use std::{net::IpAddr, time::Duration};
use toml::de::DeValue;

const SERVER: &str =
    "write host and port, as in \"10.0.0.5:80\", \"lms.internal:8080\" or \"[2001:db8::5]:80\"";
/// Bounds of every time-out towards an origin.
const PATIENCE: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(86_400);
/// Bounds of the time a name's address is used.
const ADDRESS_AGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);

pub(super) fn origin(section: Section<'_>) -> Option<OriginSettings> {
    let name = section.required("name", "a name that sites can use")?.value;
    let given = section.texts("servers");
    let servers: Vec<_> = given.iter().filter_map(|text| server(&section, text)).collect();
    if given.is_empty() && section.value("servers").is_none_or(|v| matches!(v.value, DeValue::Array(_))) {
        section.missing("servers", "at least one server, as in [\"10.0.0.5:80\"]");
    }
    let tls = match section.value("tls") {
        Some(Placed { value: DeValue::Boolean(wanted), .. }) => {
            wanted.then_some(OriginTls { sni: None, ca: None })
        }
        _ => section.table("tls").map(tls),
    };
    if tls.as_ref().is_some_and(|tls| tls.sni.is_none()) {
        for (text, _) in given.iter().zip(&servers).filter(|(_, (host, _))| host.parse::<IpAddr>().is_ok()) {
            let right = "set tls = { sni = \"NAME\" } to the name in the server's certificate";
            section.reader.error(&text.place, "a server given by address has no name to verify", right);
        }
    }
    let default = OriginSettings::new(name, servers);
    let floor = section.span("dns_floor", ADDRESS_AGE).unwrap_or(default.dns_floor);
    let ceiling = section.span("dns_ceiling", ADDRESS_AGE).unwrap_or(default.dns_ceiling);
    if floor > ceiling {
        let place = section.value("dns_floor").or(section.value("dns_ceiling")).map(|v| v.place);
        let place = place.as_ref().unwrap_or(&section.place);
        section.reader.error(place, "dns_floor is above dns_ceiling", "write a floor below the ceiling");
    }
    let settings = OriginSettings {
        name: default.name,
        servers: default.servers,
        tls,
        host: section.text("host").and_then(|text| host(&section, &text)).unwrap_or_default(),
        http: section.choice("http", &[("1.1", OriginHttp::H1), ("2", OriginHttp::H2)]).unwrap_or_default(),
        timeouts: section.table("timeouts").map(timeouts).unwrap_or_default(),
        dns_floor: floor,
        dns_ceiling: ceiling,
        dns_servers: section.all_parsed("dns_servers", "address and port, as in \"10.0.0.53:53\""),
        in_flight: section.count("in_flight", 1..=1_000_000).unwrap_or(default.in_flight),
        checks: section.count("checks", 1..=1_000_000).unwrap_or(default.checks),
        queue: section.count("queue", 0..=10_000_000).unwrap_or(default.queue),
        queue_wait: section.span("queue_wait", PATIENCE).unwrap_or(default.queue_wait),
    };
    section.finish();
    Some(settings)
}

/// `host:port`; the host without brackets.
fn server(section: &Section<'_>, text: &Placed<&str>) -> Option<(String, u16)> {
    let read = text.value.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = normalise::host(host, false).ok()?.into_owned();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        (!bare.contains(':') || host.starts_with('[')).then(|| (bare.to_owned(), port))
    });
    if read.is_none() {
        section.reader.error(&text.place, format!("`{}` is no server", text.value), SERVER);
    }
    read
}

fn host(section: &Section<'_>, text: &Placed<&str>) -> Option<HostField> {
    let read = normalise::host(text.value, false)
        .map_err(|why| why.to_string())
        .and_then(|_| HeaderValue::from_str(text.value).map_err(|why| why.to_string()));
    read.map(HostField::Set)
        .inspect_err(|why| {
            let right = "write the name to send, or leave the key out to send the client's";
            section.reader.error(&text.place, format!("`{}`: {why}", text.value), right);
        })
        .ok()
}

fn tls(section: Section<'_>) -> OriginTls {
    let sni = section.text("sni").and_then(|text| {
        let name = normalise::host(text.value, true).ok().filter(|name| !name.contains([':', '[']));
        if name.is_none() || text.value.parse::<IpAddr>().is_ok() {
            let right = "write the name in the server's certificate, or leave the key out";
            section.reader.error(&text.place, format!("`{}` is no host name", text.value), right);
        }
        name.map(|name| name.into_owned())
    });
    let tls = OriginTls { sni, ca: section.existing_path("ca") };
    section.finish();
    tls
}

fn timeouts(section: Section<'_>) -> OriginTimeouts {
    let default = OriginTimeouts::default();
    let span = |key, default| section.span(key, PATIENCE).unwrap_or(default);
    let timeouts = OriginTimeouts {
        connect: span("connect", default.connect),
        handshake: span("handshake", default.handshake),
        head: span("head", default.head),
        body: span("body", default.body),
        write: span("write", default.write),
        idle: span("idle", default.idle),
    };
    section.finish();
    timeouts
}
