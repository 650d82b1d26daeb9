//! `[[origin]]`: where sites are fetched from.

use super::reader::{Placed, Section};
use crate::{
    origin::{
        Balance, CheckSettings, HostField, OriginCertificate, OriginHttp, OriginSettings, OriginTimeouts,
        OriginTls,
    },
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

/// Bounds of the time between two rounds of checks.
const CHECK: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const OPEN_LONGEST: Duration = Duration::from_secs(3600);
/// Bounds of the time that a front which failed is left alone.
const OPEN: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=OPEN_LONGEST;
const BALANCES: &[(&str, Balance)] = &[
    ("round-robin", Balance::RoundRobin),
    ("least-in-flight", Balance::LeastInFlight),
    ("consistent", Balance::Consistent),
];

pub(super) fn origin(section: Section<'_>) -> Option<OriginSettings> {
    let name = section.required("name", "a name that sites can use")?.value;
    let given = section.texts("servers");
    let servers: Vec<_> = given.iter().filter_map(|text| server(&section, text)).collect();
    if given.is_empty() && section.value("servers").is_none_or(|v| matches!(v.value, DeValue::Array(_))) {
        section.missing("servers", "at least one server, as in [\"10.0.0.5:80\"]");
    }
    let tls = match section.value("tls") {
        Some(Placed { value: DeValue::Boolean(wanted), .. }) => {
            wanted.then_some(OriginTls { sni: None, ca: None, certificate: None })
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
        host: section
            .text("host")
            .and_then(|text| host(&section, &text))
            .map_or(HostField::Pass, HostField::Set),
        http: section.choice("http", &[("1.1", OriginHttp::H1), ("2", OriginHttp::H2)]).unwrap_or_default(),
        timeouts: section.table("timeouts").map(timeouts).unwrap_or_default(),
        dns_floor: floor,
        dns_ceiling: ceiling,
        dns_servers: section.all_parsed("dns_servers", "address and port, as in \"10.0.0.53:53\""),
        balance: section.choice("balance", BALANCES).unwrap_or(default.balance),
        check: section.table("check").and_then(check),
        failures: section.count("failures", 0..=1_000_000).unwrap_or(default.failures),
        open_max: section.span("open_max", OPEN).unwrap_or(default.open_max),
        slow_start: section.span("slow_start", Duration::ZERO..=OPEN_LONGEST).unwrap_or(default.slow_start),
        retry_percent: section.count("retry_percent", 0..=100).unwrap_or(default.retry_percent),
        in_flight: section.count("in_flight", 1..=1_000_000).unwrap_or(default.in_flight),
        reserved: section.count("reserved", 0..=1_000_000),
        in_flight_per_site: section.count("in_flight_per_site", 1..=1_000_000),
        checks: section.count("checks", 1..=1_000_000).unwrap_or(default.checks),
        queue: section.count("queue", 0..=10_000_000).unwrap_or(default.queue),
        queue_wait: section.span("queue_wait", PATIENCE).unwrap_or(default.queue_wait),
    };
    if let Some(value) = section.value("reserved")
        && settings.reserved.is_some_and(|reserved| reserved >= settings.in_flight)
    {
        let wrong = "nothing of in_flight is left to other requests";
        section.reader.error(&value.place, wrong, "write less than in_flight");
    }
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

fn host(section: &Section<'_>, text: &Placed<&str>) -> Option<HeaderValue> {
    let read = normalise::host(text.value, false)
        .map_err(|why| why.to_string())
        .and_then(|_| HeaderValue::from_str(text.value).map_err(|why| why.to_string()));
    read.inspect_err(|why| {
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
    let (chain, key) = (section.existing_path("certificate"), section.existing_path("key"));
    if let [Some(alone), None] | [None, Some(alone)] =
        [("certificate", &chain), ("key", &key)].map(|(name, path)| path.as_ref().map(|_| name))
        && let Some(value) = section.value(alone)
    {
        let right = "set both `certificate` and `key`, or neither";
        section.reader.error(&value.place, format!("`{alone}` stands alone"), right);
    }
    let certificate = chain.zip(key).map(|(chain, key)| OriginCertificate { chain, key });
    let tls = OriginTls { sni, ca: section.existing_path("ca"), certificate };
    section.finish();
    tls
}

fn check(section: Section<'_>) -> Option<CheckSettings> {
    let path = section.required("path", "a path that each front answers, as in \"/login\"");
    let valid = |text: &&Placed<&str>| {
        text.value.starts_with('/') && text.value.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if let Some(text) = path.as_ref().filter(|text| !valid(text)) {
        let right = "write path and query as they are sent, as in \"/login\"";
        section.reader.error(&text.place, format!("`{}` is no path", text.value), right);
    }
    let default = CheckSettings::new(path.as_ref().map_or("/", |text| text.value));
    let check = CheckSettings {
        host: section.text("host").and_then(|text| host(&section, &text)),
        status: section.count("status", 200..=599).unwrap_or(default.status),
        interval: section.span("interval", CHECK).unwrap_or(default.interval),
        timeout: section.span("timeout", PATIENCE).unwrap_or(default.timeout),
        rise: section.count("rise", 1..=1000).unwrap_or(default.rise),
        fall: section.count("fall", 1..=1000).unwrap_or(default.fall),
        path: default.path,
    };
    section.finish();
    path.is_some().then_some(check)
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
