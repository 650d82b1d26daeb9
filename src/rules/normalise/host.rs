//! Hosts: lower case, no default port, no trailing dot; refused if it is no host (RFC 9110 §7.2, RFC 3986 §3.2.2).

use std::{borrow::Cow, fmt, net::Ipv6Addr};

/// Why a host is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHost {
    /// There is none.
    Empty,
    /// A character that no host name holds, an empty label, or more than 253 bytes.
    Name,
    /// A port that is no number from 1 to 65535.
    Port,
    /// Brackets without an IPv6 address in them.
    Address,
}

impl fmt::Display for BadHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadHost::Empty => "the host is empty",
            BadHost::Name => "the host is no name of letters, digits, `-`, `_` and `.`",
            BadHost::Port => "the port is no number from 1 to 65535",
            BadHost::Address => "the host is no IPv6 address in brackets",
        })
    }
}

impl std::error::Error for BadHost {}

/// The normal spelling of a `Host` field or `:authority`: name or address in lower case, without a trailing dot, with its
/// port only where that is not the scheme's (80, or 443 for `https`). An empty port is no port.
///
/// # Errors
/// [`BadHost`]; a client gets a 400. Internationalised names come as their ASCII form (`xn--`).
pub fn host(authority: &str, https: bool) -> Result<Cow<'_, str>, BadHost> {
    if authority.is_empty() {
        return Err(BadHost::Empty);
    }
    let split = if authority.starts_with('[') {
        authority.find(']').map(|end| authority.split_at(end + 1)).ok_or(BadHost::Address)?
    } else {
        authority.split_at(authority.bytes().position(|byte| byte == b':').unwrap_or(authority.len()))
    };
    let (name, port) = (split.0, port(split.1)?.filter(|port| *port != if https { 443 } else { 80 }));
    let name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address_text(name, address)?,
        None => name_text(name)?,
    };
    match (name, port) {
        (name, None) => Ok(name),
        (Cow::Borrowed(name), Some(_)) if canonical_port(split.1) && name.len() == split.0.len() => {
            Ok(Cow::Borrowed(authority))
        }
        (name, Some(port)) => Ok(Cow::Owned(format!("{name}:{port}"))),
    }
}

/// What follows the name: nothing, `:` or `:` and a number.
fn port(text: &str) -> Result<Option<u16>, BadHost> {
    match text.strip_prefix(':') {
        None if text.is_empty() => Ok(None),
        Some("") => Ok(None),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).map(Some).ok_or(BadHost::Port)
        }
        _ => Err(BadHost::Port),
    }
}

fn canonical_port(text: &str) -> bool {
    !text.starts_with(":0")
}

fn name_text(name: &str) -> Result<Cow<'_, str>, BadHost> {
    if name.is_empty() {
        return Err(BadHost::Empty);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let (mut upper, mut label) = (false, 0);
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'A'..=b'Z' => {
                upper = true;
                label += 1;
            }
            b'.' if (1..=63).contains(&label) => label = 0,
            _ => return Err(BadHost::Name),
        }
    }
    if name.len() > 253 || !(1..=63).contains(&label) {
        return Err(BadHost::Name);
    }
    Ok(if upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) })
}

fn address_text<'a>(bracketed: &'a str, address: &str) -> Result<Cow<'a, str>, BadHost> {
    let parsed: Ipv6Addr = address.parse().map_err(|_| BadHost::Address)?;
    let normal = format!("[{parsed}]");
    Ok(if normal == bracketed { Cow::Borrowed(bracketed) } else { Cow::Owned(normal) })
}

#[cfg(test)]
mod tests {
    use super::{BadHost, host};
    use std::borrow::Cow;

    #[test]
    fn spellings_of_one_host_become_one() {
        for (authority, https, normal) in [
            ("lms.example", true, "lms.example"),
            ("LMS.Example.", true, "lms.example"),
            ("lms.example:443", true, "lms.example"),
            ("lms.example:80", false, "lms.example"),
            ("lms.example:80", true, "lms.example:80"),
            ("lms.example:", false, "lms.example"),
            ("lms.example.:08443", true, "lms.example:8443"),
            ("127.0.0.1:9090", false, "127.0.0.1:9090"),
            ("[::1]:443", true, "[::1]"),
            ("[0:0::ABCD]:8443", true, "[::abcd]:8443"),
            ("a_b.example", true, "a_b.example"),
        ] {
            assert_eq!(host(authority, https).as_deref(), Ok(normal), "{authority}");
        }
    }

    #[test]
    fn a_normal_host_is_borrowed() {
        for authority in ["lms.example", "lms.example:8443", "127.0.0.1"] {
            assert!(matches!(host(authority, true), Ok(Cow::Borrowed(_))), "{authority}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(64) + ".example";
        for (authority, why) in [
            ("", BadHost::Empty),
            (":80", BadHost::Empty),
            (".", BadHost::Name),
            ("a..b", BadHost::Name),
            (".a", BadHost::Name),
            ("user@lms.example", BadHost::Name),
            ("lms.example/x", BadHost::Name),
            ("lms%2Eexample", BadHost::Name),
            ("kurs-ä.example", BadHost::Name),
            ("*.example", BadHost::Name),
            (&long, BadHost::Name),
            ("lms.example:0", BadHost::Port),
            ("lms.example:65536", BadHost::Port),
            ("lms.example:80:80", BadHost::Port),
            ("lms.example:+80", BadHost::Port),
            ("[::1]80", BadHost::Port),
            ("[::1", BadHost::Address),
            ("[lms.example]", BadHost::Address),
            ("::1", BadHost::Port),
        ] {
            assert_eq!(host(authority, true), Err(why), "{authority}");
        }
    }
}
