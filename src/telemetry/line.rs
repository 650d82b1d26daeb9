//! What one line of the access log says, and how it is written as JSON.
//!
//! Written by hand into the writer's own buffer, without an allocation: a line is part of what a hit costs. The list in
//! `docs/access-log.md` and [`Line::append_to`] name the same fields in the same order; a test holds them together.

use crate::telemetry::{Fault, Outcome};
use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// A line is seldom longer.
const USUAL: usize = 512;

/// What one line says, in the order of the path of a request. Absent facts are left out of the line.
pub struct Line<'a> {
    /// When the head of the request was complete, milliseconds since the Unix epoch.
    pub time: u64,
    /// Listener it came through.
    pub listener: &'a str,
    /// The client's address: the peer's, or the one a PROXY header or trusted proxy told.
    pub client: SocketAddr,
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'static str,
    /// Method as sent.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host asked for.
    pub host: &'a str,
    /// Path and query as sent; `None` where the rule hides it.
    pub target: Option<&'a str>,
    /// Site, empty for an unknown host.
    pub site: &'a str,
    /// Rule that matched, empty if none.
    pub rule: &'a str,
    /// What became of it.
    pub outcome: Outcome,
    /// Whose doing a failure is.
    pub fault: Option<Fault>,
    /// Why, in a fixed word (`unknown-host`, `origin-timeout` ...).
    pub detail: Option<&'static str>,
    /// Status sent; 0 if the client left before.
    pub status: u16,
    /// What let the learner in, or that nothing did, where the rule asks the LMS.
    pub access: Option<&'static str>,
    /// Digest of her credentials.
    pub learner: Option<&'a dyn std::fmt::Display>,
    /// The module, where it is released, and the release that was answered from.
    pub module: Option<&'a str>,
    /// That release.
    pub release: Option<&'a str>,
    /// Body bytes handed to the client.
    pub bytes: u64,
    /// Whether the client got the answer whole.
    pub complete: bool,
    /// From head of the request to head of the answer.
    pub first: Duration,
    /// From head of the request to the end of the answer.
    pub total: Duration,
    /// Origin server that answered, if one was asked.
    pub origin: Option<SocketAddr>,
    /// Age of the response served, seconds.
    pub age: Option<u64>,
    /// The content coding that the edge gave it.
    pub coding: Option<&'static str>,
    /// Trace id, 32 hex digits.
    pub trace: &'a str,
}

impl Line<'_> {
    /// Appends the line with its line feed to `out`. Whatever the texts hold, it stays one line of valid JSON.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        out.reserve(USUAL);
        // Taken apart whole: a field that is added to the line and not written here does not compile.
        let Line { time, listener, client, protocol, method, scheme, host, target, site, rule, .. } = *self;
        let Line {
            outcome,
            fault,
            detail,
            access,
            learner,
            module,
            release,
            status,
            bytes,
            complete,
            first,
            total,
            origin,
            age,
            coding,
            trace,
            ..
        } = *self;
        number(out, "{\"time\":", time);
        text(out, ",\"listener\":\"", listener);
        address(out, client.ip());
        if client.port() != 0 {
            number(out, ",\"client_port\":", client.port().into());
        }
        word(out, ",\"protocol\":\"", protocol);
        text(out, ",\"method\":\"", method);
        word(out, ",\"scheme\":\"", scheme);
        text(out, ",\"host\":\"", host);
        if let Some(target) = target {
            text(out, ",\"target\":\"", target);
        }
        if !site.is_empty() {
            text(out, ",\"site\":\"", site);
        }
        if !rule.is_empty() {
            text(out, ",\"rule\":\"", rule);
        }
        word(out, ",\"outcome\":\"", outcome.as_str());
        if let Some(fault) = fault {
            word(out, ",\"fault\":\"", fault.as_str());
        }
        if let Some(detail) = detail {
            word(out, ",\"detail\":\"", detail);
        }
        if let Some(access) = access {
            word(out, ",\"access\":\"", access);
        }
        if let Some(learner) = learner {
            out.extend_from_slice(b",\"learner\":\"");
            // A Vec takes every write; a digest needs no escaping.
            let _ = write!(out, "{learner}\"");
        }
        if let Some(module) = module {
            text(out, ",\"module\":\"", module);
        }
        if let Some(release) = release {
            text(out, ",\"release\":\"", release);
        }
        number(out, ",\"status\":", status.into());
        number(out, ",\"bytes\":", bytes);
        out.extend_from_slice(if complete { b",\"complete\":true" } else { b",\"complete\":false" });
        number(out, ",\"first_us\":", micros(first));
        number(out, ",\"total_us\":", micros(total));
        if let Some(origin) = origin {
            out.extend_from_slice(b",\"origin\":\"");
            // A Vec takes every write.
            let _ = write!(out, "{origin}\"");
        }
        if let Some(age) = age {
            number(out, ",\"age\":", age);
        }
        if let Some(coding) = coding {
            word(out, ",\"coding\":\"", coding);
        }
        text(out, ",\"trace\":\"", trace);
        out.extend_from_slice(b"}\n");
    }
}

fn micros(span: Duration) -> u64 {
    span.as_secs() * 1_000_000 + u64::from(span.subsec_micros())
}

#[inline]
fn number(out: &mut Vec<u8>, key: &'static str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// One of our own words, which need no escaping.
#[inline]
fn word(out: &mut Vec<u8>, key: &'static str, value: &'static str) {
    debug_assert!(value.bytes().all(|b| PLAIN[usize::from(b)]), "{value:?}");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

/// A text that others chose.
#[inline]
fn text(out: &mut Vec<u8>, key: &'static str, value: &str) {
    out.extend_from_slice(key.as_bytes());
    if value.bytes().all(|b| PLAIN[usize::from(b)]) {
        out.extend_from_slice(value.as_bytes());
    } else {
        escaped(out, value);
    }
    out.push(b'"');
}

/// Which bytes may stand in a JSON text as they are. Not so: control characters, quote, backslash, and all that is not ASCII
/// (where controls of its own hide). A table: most texts are shorter than what vector code begins to pay for.
static PLAIN: [bool; 256] = {
    let (mut plain, mut b) = ([false; 256], b' ');
    while b < 0x7f {
        plain[b as usize] = b != b'"' && b != b'\\';
        b += 1;
    }
    plain
};

/// Controls go as `\u00XX`, DEL and U+0080 to U+009F too: a terminal that shows the log obeys them. So do the two line
/// separators that some readers split at. Other characters stand as they are.
#[cold]
fn escaped(out: &mut Vec<u8>, value: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(if c == '\u{2028}' { b"\\u2028" } else { b"\\u2029" });
            }
            _ if c.is_control() => {
                let code = c as usize; // no control lies above U+009F
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[code >> 4 & 15], HEX[code & 15]]);
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The client's address; an IPv4 one that came through an IPv6 socket is written as IPv4.
#[inline]
fn address(out: &mut Vec<u8>, ip: IpAddr) {
    out.extend_from_slice(b",\"client\":\"");
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            for (part, end) in [(a, b'.'), (b, b'.'), (c, b'.'), (d, b'"')] {
                out.extend_from_slice(itoa::Buffer::new().format(part).as_bytes());
                out.push(end);
            }
        }
        IpAddr::V6(ip) => {
            // A Vec takes every write.
            let _ = write!(out, "{ip}\"");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::Line;
    use crate::telemetry::{Fault, Outcome};
    use std::time::Duration;

    /// An everyday line: a hit.
    pub(in crate::telemetry) fn hit() -> Line<'static> {
        Line {
            time: 1_760_000_000_123,
            listener: "edge",
            client: "192.0.2.17:50123".parse().unwrap(),
            protocol: "HTTP/2",
            method: "GET",
            scheme: "https",
            host: "lms.example.org",
            target: Some("/content/algebra/v7/img/figure-3.png?lang=de"),
            site: "lms",
            rule: "content",
            outcome: Outcome::Hit,
            fault: None,
            detail: None,
            access: None,
            learner: None,
            module: None,
            release: None,
            status: 200,
            bytes: 1024,
            complete: true,
            first: Duration::from_micros(37),
            total: Duration::from_micros(41),
            origin: None,
            age: Some(12),
            coding: None,
            trace: "4bf92f3577b34da6a3ce929d0e0e4736",
        }
    }

    fn full() -> Line<'static> {
        Line {
            outcome: Outcome::Failed,
            fault: Some(Fault::Origin),
            detail: Some("origin-timeout"),
            access: Some("kept"),
            learner: Some(&"5ab4e2c1f0d39786a1b2c3d4e5f60718"),
            module: Some("physics"),
            release: Some("2026-11"),
            origin: Some("[2001:db8::7]:8080".parse().unwrap()),
            coding: Some("br"),
            ..hit()
        }
    }

    fn written(line: &Line<'_>) -> String {
        let mut out = Vec::new();
        line.append_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// The fields of a JSON object in the order in which they stand.
    struct Fields(Vec<(String, serde_json::Value)>);

    impl<'de> serde::Deserialize<'de> for Fields {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Fields, D::Error> {
            struct Order;
            impl<'de> serde::de::Visitor<'de> for Order {
                type Value = Fields;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                    let mut fields = Vec::new();
                    while let Some(field) = map.next_entry()? {
                        fields.push(field);
                    }
                    Ok(Fields(fields))
                }
            }
            d.deserialize_map(Order)
        }
    }

    fn fields(line: &Line<'_>) -> Vec<(String, serde_json::Value)> {
        let text = written(line);
        assert_eq!(text.find('\n'), Some(text.len() - 1), "one line: {text:?}");
        serde_json::from_str::<Fields>(&text).unwrap_or_else(|e| panic!("{e}: {text}")).0
    }

    #[test]
    fn the_document_and_the_code_list_the_same_fields() {
        let document = include_str!("../../docs/access-log.md");
        let listed: Vec<(String, String)> = document
            .lines()
            .filter_map(|row| row.strip_prefix("| `")?.split_once("` | "))
            .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap_or_default().to_owned()))
            .collect();
        let coded: Vec<(String, String)> = fields(&full())
            .into_iter()
            .map(|(name, value)| {
                let kind = match value {
                    serde_json::Value::String(_) => "string",
                    serde_json::Value::Number(_) => "number",
                    serde_json::Value::Bool(_) => "boolean",
                    other => panic!("{name}: {other}"),
                };
                (name, kind.to_owned())
            })
            .collect();
        assert_eq!(listed, coded);
    }

    #[test]
    fn absent_facts_are_left_out() {
        let line = Line { site: "", rule: "", target: None, age: None, status: 0, ..hit() };
        let names: Vec<_> = fields(&line).into_iter().map(|(name, _)| name).collect();
        for absent in [
            "target", "site", "rule", "fault", "detail", "access", "learner", "module", "release", "origin",
            "age", "coding",
        ] {
            assert!(!names.iter().any(|n| n == absent), "{absent} in {names:?}");
        }
        assert!(written(&line).contains(r#""status":0,"#));
    }

    #[test]
    fn whatever_a_client_sends_stays_one_line_of_valid_json() {
        let mut texts: Vec<String> =
            (0..=0x2100).filter_map(char::from_u32).map(|c| format!("/a{c}b")).collect();
        texts.push((0..=0xff).filter_map(char::from_u32).collect());
        texts.push(String::from_utf8_lossy(&(0..=0xff).collect::<Vec<u8>>()).into_owned());
        texts.push("\",\"outcome\":\"hit\"}\n{\"time\":1".to_owned());
        texts.push("\u{1f600}\u{10ffff}\u{feff}\u{fffd}".to_owned());
        texts.push("x".repeat(70_000));
        texts.push("\\".repeat(70_000));
        for sent in &texts {
            let line =
                Line { target: Some(sent), host: sent, method: sent, listener: sent, rule: sent, ..hit() };
            let read = fields(&line);
            for name in ["target", "host", "method", "listener", "rule"] {
                let value = read.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.as_str());
                assert_eq!(value, Some(sent.as_str()), "{name}");
            }
            let bytes = written(&line);
            assert!(!bytes.trim_end().chars().any(|c| c.is_control() || c == '\u{2028}'), "{bytes:?}");
        }
    }

    #[test]
    fn an_address_is_written_as_people_know_it() {
        for (client, ip) in [
            ("0.0.0.0:0", "0.0.0.0"),
            ("255.255.255.255:65535", "255.255.255.255"),
            ("[::ffff:192.0.2.9]:1", "192.0.2.9"),
            ("[2001:db8::1]:443", "2001:db8::1"),
        ] {
            let line = Line { client: client.parse().unwrap(), ..hit() };
            let read = fields(&line);
            assert_eq!(read.iter().find(|(n, _)| n == "client").and_then(|(_, v)| v.as_str()), Some(ip));
            let port = read.iter().find(|(n, _)| n == "client_port").and_then(|(_, v)| v.as_u64());
            assert_eq!(port, Some(line.client.port().into()).filter(|p| *p != 0));
        }
    }

    #[test]
    fn numbers_keep_their_size() {
        let line =
            Line { bytes: u64::MAX, total: Duration::from_secs(4_000_000), first: Duration::ZERO, ..hit() };
        let read = fields(&line);
        let number = |name: &str| read.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.as_u64());
        assert_eq!(number("bytes"), Some(u64::MAX));
        assert_eq!(number("total_us"), Some(4_000_000_000_000));
        assert_eq!(number("first_us"), Some(0));
    }
}
