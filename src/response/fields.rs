//! Fields on their way: what ends at this hop, what the edge adds towards the origin and towards the client.

use crate::{
    fill::VIA,
    http_caching::{Directives, targeted::is_targeted},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::{net::IpAddr, time::Duration};

/// Fields that speak of one connection only (RFC 9110 §7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that `Connection` cannot take away: the edge itself needs them to answer rightly (G44).
const KEPT: [HeaderName; 4] = [header::HOST, header::CACHE_CONTROL, header::CONTENT_LENGTH, header::RANGE];

/// Fields by which a client could make the origin see another request than the one that is keyed and logged (G26), or
/// send the origin's own requests elsewhere (`Proxy`, which CGI takes for the setting `HTTP_PROXY`).
const OVERRIDES: [&str; 17] = [
    "forwarded",
    "proxy",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Removes what ends here from a request: hop-by-hop fields and those that `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .filter(|name| !KEPT.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Makes one `Cookie` field of several: an HTTP/2 client may split it, but towards HTTP/1.1, and for who reads it here,
/// there is one (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::COOKIE);
    if lines.iter().nth(1).is_none() {
        return;
    }
    let joined = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Takes a cookie out of a request; of the field nothing is left that has no cookie.
pub fn drop_cookie(headers: &mut HeaderMap, name: &str) {
    let is_other =
        |pair: &&[u8]| pair.split(|b| *b == b'=').next().map(<[u8]>::trim_ascii) != Some(name.as_bytes());
    let lines = headers.get_all(header::COOKIE);
    let kept: Vec<HeaderValue> = lines
        .iter()
        .filter_map(|line| {
            let others: Vec<_> =
                line.as_bytes().split(|b| *b == b';').filter(is_other).map(<[u8]>::trim_ascii).collect();
            HeaderValue::from_bytes(&others.join(&b"; "[..])).ok().filter(|line| !line.is_empty())
        })
        .collect();
    headers.remove(header::COOKIE);
    for line in kept {
        headers.append(header::COOKIE, line);
    }
}

/// Says that an answer is for nobody but the client that gets it: it showed that it may have it, and a cache on its way
/// asks nobody.
pub fn for_one(headers: &mut HeaderMap) {
    if let Some(told) = Directives::made_private(headers) {
        headers.insert(header::CACHE_CONTROL, told);
    }
    drop_targeted(headers);
}

fn drop_targeted(headers: &mut HeaderMap) {
    while let Some(targeted) = headers.keys().find(|name| is_targeted(name)).cloned() {
        headers.remove(targeted);
    }
}

/// Who asks, through what.
pub struct Asker<'a> {
    /// The address it is connected from: this hop's, whomever a trusted proxy speaks for.
    pub peer: IpAddr,
    /// Its fields about earlier hops are believed.
    pub trusted: bool,
    /// The host it asked for.
    pub host: &'a str,
    /// By `https`.
    pub https: bool,
}

/// Sets the forwarding fields of a relayed request. What the client itself said of them stands only if it is trusted.
pub fn forward(headers: &mut HeaderMap, asker: &Asker<'_>) {
    // A proxy that is trusted writes them with `-`; what it passes on with `_` is its client's.
    let untrusted = |name: &&HeaderName| overrides(name) && (!asker.trusted || name.as_str().contains('_'));
    let named: Vec<HeaderName> = headers.keys().filter(untrusted).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    let peer = asker.peer;
    append(headers, "x-forwarded-for", &peer.to_string());
    let node = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
    let scheme = scheme(asker.https);
    append(headers, "forwarded", &format!("for={node};host=\"{}\";proto={scheme}", asker.host));
    shared_forward(headers, asker);
}

/// Adds a hop to a list, which becomes one line: of several, an origin might read the first alone.
fn append(headers: &mut HeaderMap, name: &'static str, hop: &str) {
    let earlier = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = earlier.chain([hop]).collect();
    set(headers, name, hops.join(", "));
}

/// Whether a field of this name could tell an origin of another request than the one keyed. An origin that speaks CGI or WSGI
/// cannot tell `X_Forwarded_Host` from `X-Forwarded-Host`: both are `HTTP_X_FORWARDED_HOST` there.
pub fn overrides(name: &HeaderName) -> bool {
    let name = name.as_str();
    OVERRIDES.contains(&name) || (name.contains('_') && OVERRIDES.contains(&name.replace('_', "-").as_str()))
}

/// Sets the forwarding fields of a fill: those that hold for everybody under the key.
pub fn shared_forward(headers: &mut HeaderMap, asker: &Asker<'_>) {
    set(headers, "x-forwarded-host", asker.host.to_owned());
    headers.insert("x-forwarded-proto", HeaderValue::from_static(scheme(asker.https)));
    let port = match asker.host.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() => port.to_owned(),
        _ => String::from(if asker.https { "443" } else { "80" }),
    };
    set(headers, "x-forwarded-port", port);
    headers.append(header::VIA, VIA);
}

fn scheme(https: bool) -> &'static str {
    if https { "https" } else { "http" }
}

fn set(headers: &mut HeaderMap, name: &'static str, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// Tells the client's browser how long it may keep an answer, in place of what the origin said.
pub fn tell_browser(headers: &mut HeaderMap, lifetime: Duration) {
    let told =
        if lifetime.is_zero() { "no-cache".to_owned() } else { format!("max-age={}", lifetime.as_secs()) };
    set(headers, "cache-control", told);
    headers.remove(header::EXPIRES);
    headers.remove(header::PRAGMA);
}

/// Tells the client, and caches on its way, to ask again before they use an answer that they keep.
pub fn tell_to_ask(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, Directives::made_unsure(headers));
    headers.remove(header::EXPIRES);
    headers.remove(header::PRAGMA);
    drop_targeted(headers);
}

/// Tells everybody on the way to keep nothing of an answer.
pub fn tell_not_to_keep(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.remove(header::EXPIRES);
    headers.remove(header::PRAGMA);
    drop_targeted(headers);
}

#[cfg(test)]
mod tests {
    use super::{Asker, drop_cookie, for_one, forward, join_cookies, strip_hop_by_hop};
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn what_connection_names_ends_here_but_not_what_the_edge_needs() {
        let mut fields = headers(&[
            ("connection", "close, X-Secret, Host, Cache-Control"),
            ("x-secret", "1"),
            ("host", "a"),
            ("cache-control", "no-cache"),
            ("te", "trailers"),
            ("keep-alive", "5"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut fields);
        let mut names: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "cache-control", "host"]);
    }

    #[test]
    fn cookies_that_http2_split_go_on_as_one() {
        for (came, goes) in [
            (&[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2; c=3")][..], Some("a=1; b=2; c=3")),
            (&[("cookie", "a=1")], Some("a=1")),
            (&[("accept", "*/*")], None),
        ] {
            let mut fields: HeaderMap = HeaderMap::new();
            for (name, value) in came {
                fields.append(*name, HeaderValue::from_static(value));
            }
            join_cookies(&mut fields);
            let lines: Vec<_> = fields.get_all("cookie").iter().collect();
            assert_eq!(lines, goes.into_iter().collect::<Vec<_>>(), "{came:?}");
        }
    }

    #[test]
    fn the_cookie_that_showed_permission_ends_here_and_the_others_go_on() {
        for (came, goes) in [
            (&["a=1; sig=x; b=2"][..], &["a=1; b=2"][..]),
            (&["sig=x", "a=1"], &["a=1"]),
            (&["sig=x; sig=y"], &[]),
            (&["sigh=1;  sig = x;c"], &["sigh=1; c"]),
            (&["a=sig=1"], &["a=sig=1"]),
            (&[], &[]),
        ] {
            let mut fields = HeaderMap::new();
            for line in came {
                fields.append("cookie", HeaderValue::from_static(line));
            }
            drop_cookie(&mut fields, "sig");
            assert_eq!(fields.get_all("cookie").iter().collect::<Vec<_>>(), goes, "{came:?}");
        }
    }

    #[test]
    fn what_was_shown_to_one_is_for_no_cache_on_its_way() {
        for (said, told) in [
            (&["public, max-age=600"][..], "private, max-age=600"),
            (
                &["max-age=600, s-maxage=\"9\", immutable", "no-transform"],
                "private, max-age=600, immutable, no-transform",
            ),
            (&["Public", "S-MaxAge=1"], "private"),
            (&["private=\"x, y\", max-age=1"], "private, max-age=1"),
            (&["private, max-age=1"], "private, max-age=1"),
            (&["no-store"], "no-store"),
            (&[], "private"),
        ] {
            let mut fields = HeaderMap::new();
            for line in said {
                fields.append("cache-control", HeaderValue::from_static(line));
            }
            for_one(&mut fields);
            assert_eq!(fields.get_all("cache-control").iter().collect::<Vec<_>>(), [told], "{said:?}");
        }
    }

    #[test]
    fn a_clients_own_forwarding_fields_stand_only_if_it_is_trusted() {
        let said = [
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-host", "evil.example"),
            ("x-original-url", "/admin"),
            ("x_forwarded_host", "evil.example"),
            ("x_own", "stays"),
        ];
        let asker =
            |trusted| Asker { peer: [10, 0, 0, 1].into(), trusted, host: "lms.example:8443", https: true };
        let mut fields = headers(&said);
        forward(&mut fields, &asker(false));
        assert_eq!(fields["x-forwarded-for"], "10.0.0.1");
        assert_eq!(fields["x-forwarded-host"], "lms.example:8443");
        assert_eq!(fields["x-forwarded-port"], "8443");
        assert_eq!(fields["forwarded"], "for=10.0.0.1;host=\"lms.example:8443\";proto=https");
        assert!(!fields.contains_key("x-original-url") && !fields.contains_key("x_forwarded_host"));
        assert_eq!(fields["x_own"], "stays");
        let mut fields = headers(&said);
        forward(&mut fields, &asker(true));
        assert_eq!(fields["x-forwarded-for"], "9.9.9.9, 10.0.0.1");
    }
}
