//! The member this cache adds to `Cache-Status` (RFC 9211).

use http::{HeaderMap, HeaderName, HeaderValue};

/// The field.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Stands in a stored response where this cache's member will be told.
pub const PLACE: HeaderValue = HeaderValue::from_static("lectern");

/// Why a request went on to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fwd {
    /// The cache does not handle this request.
    Bypass,
    /// The method must go to the origin.
    Method,
    /// Nothing is stored for the URL.
    UriMiss,
    /// Something is stored, but for other selecting fields.
    VaryMiss,
    /// Nothing usable is stored, and which of the two above is not known.
    Miss,
    /// A fresh response is stored, but the request wants another.
    Request,
    /// What is stored is stale.
    Stale,
    /// What is stored does not hold all that is asked for.
    Partial,
}

impl Fwd {
    /// The word of RFC 9211.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fwd::Bypass => "bypass",
            Fwd::Method => "method",
            Fwd::UriMiss => "uri-miss",
            Fwd::VaryMiss => "vary-miss",
            Fwd::Miss => "miss",
            Fwd::Request => "request",
            Fwd::Stale => "stale",
            Fwd::Partial => "partial",
        }
    }
}

/// Answered from the cache; `ttl` is the freshness left, negative when stale (§2.4).
pub fn hit(ttl: i64) -> HeaderValue {
    hit_with(ttl, None)
}

/// As [`hit`], with a detail (§2.8).
pub fn hit_with(ttl: i64, detail: Option<&'static str>) -> HeaderValue {
    let mut text = Text::new("lectern; hit");
    text.ttl(ttl);
    text.detail(detail);
    text.finish()
}

/// Answered by the edge itself, neither from the cache nor by the origin: why, in a fixed word (§2.8).
pub fn own(detail: &'static str) -> HeaderValue {
    let mut text = Text::new("lectern");
    text.detail(Some(detail));
    text.finish()
}

/// Went on to the origin: why (§2.2), what status came back (§2.3), whether the response was stored (§2.5), whether the
/// request shared another's fill (§2.6), freshness left, a detail.
pub fn fwd(
    reason: Fwd,
    status: Option<u16>,
    stored: bool,
    collapsed: bool,
    ttl: Option<i64>,
    detail: Option<&'static str>,
) -> HeaderValue {
    let mut text = Text::new("lectern; fwd=");
    text.push(reason.as_str());
    if let Some(status) = status {
        text.push("; fwd-status=");
        text.push(itoa::Buffer::new().format(status));
    }
    if let Some(ttl) = ttl {
        text.ttl(ttl);
    }
    if stored {
        text.push("; stored");
    }
    if collapsed {
        text.push("; collapsed");
    }
    text.detail(detail);
    text.finish()
}

/// A member with the path and query of the cache key (§2.7), which is a string: quotes and backslashes are escaped.
pub fn with_key(member: &HeaderValue, path: &str, query: Option<&str>) -> HeaderValue {
    let mut text = member.as_bytes().to_vec();
    text.extend_from_slice(b"; key=\"");
    let mark = query.map(|_| "?");
    for byte in [Some(path), mark, query].into_iter().flatten().flat_map(str::bytes) {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'"');
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| member.clone())
}

/// Sets this cache's member behind those of the caches that are nearer to the origin (§2). Where there are none it costs no more
/// than the member's place.
pub fn tell(headers: &mut HeaderMap, member: HeaderValue) {
    let Some(before) = headers.insert(CACHE_STATUS, member).filter(|before| *before != PLACE) else { return };
    if let Some(told) = headers.get_mut(CACHE_STATUS)
        && let Ok(both) = HeaderValue::from_bytes(&[before.as_bytes(), told.as_bytes()].join(&b", "[..]))
    {
        *told = both;
    }
}

/// Makes one line of what caches nearer to the origin said, for [`tell`].
pub fn as_one_line(headers: &mut HeaderMap) {
    let lines = headers.get_all(CACHE_STATUS);
    if lines.iter().nth(1).is_some() {
        let joined = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(CACHE_STATUS, joined);
        }
    }
}

/// The value while it grows: on the stack, long enough for every parameter at its longest and a detail of 64.
struct Text {
    bytes: [u8; 192],
    len: usize,
}

impl Text {
    fn new(start: &str) -> Text {
        let mut text = Text { bytes: [0; 192], len: 0 };
        text.push(start);
        text
    }

    /// What does not fit is left out whole.
    fn push(&mut self, part: &str) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + part.len()) {
            room.copy_from_slice(part.as_bytes());
            self.len += part.len();
        }
    }

    fn ttl(&mut self, ttl: i64) {
        // An integer of a structured field has 15 digits (RFC 9651 §3.3.1).
        const LIMIT: i64 = 999_999_999_999_999;
        self.push("; ttl=");
        self.push(itoa::Buffer::new().format(ttl.clamp(-LIMIT, LIMIT)));
    }

    /// Our words are tokens; anything else is left out rather than sent malformed.
    fn detail(&mut self, detail: Option<&'static str>) {
        if let Some(detail) = detail.filter(|detail| is_token(detail)) {
            self.push("; detail=");
            self.push(detail);
        }
    }

    fn finish(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.bytes[..self.len]).unwrap_or(HeaderValue::from_static("lectern"))
    }
}

/// A token of a structured field (RFC 9651 §3.3.4).
fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b);
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*')
        && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::{CACHE_STATUS, Fwd, PLACE, as_one_line, fwd, hit, hit_with, own, tell, with_key};
    use http::HeaderMap;

    #[test]
    fn the_member_follows_rfc_9211() {
        for (section, value, want) in [
            ("§2.1 hit", hit(376), "lectern; hit; ttl=376"),
            ("§2.4 negative when stale", hit_with(-5, Some("stale")), "lectern; hit; ttl=-5; detail=stale"),
            ("§2.4 an integer", hit(i64::MIN), "lectern; hit; ttl=-999999999999999"),
            ("§2.8 our own answer", own("unknown-host"), "lectern; detail=unknown-host"),
            ("§2.2 fwd", fwd(Fwd::UriMiss, None, false, false, None, None), "lectern; fwd=uri-miss"),
            (
                "§2.3 to §2.6",
                fwd(Fwd::Stale, Some(304), true, true, Some(60), None),
                "lectern; fwd=stale; fwd-status=304; ttl=60; stored; collapsed",
            ),
            (
                "§2.8 detail",
                fwd(Fwd::UriMiss, Some(200), false, false, None, Some("set-cookie")),
                "lectern; fwd=uri-miss; fwd-status=200; detail=set-cookie",
            ),
            (
                "RFC 9651 §3.3.4 only a token",
                fwd(Fwd::Miss, None, false, false, None, Some("a b")),
                "lectern; fwd=miss",
            ),
        ] {
            assert_eq!(value, want, "{section}");
        }
    }

    #[test]
    fn a_key_is_a_string() {
        for (path, query, want) in [
            ("/a", None, r#"lectern; hit; ttl=1; key="/a""#),
            ("/a", Some(""), r#"lectern; hit; ttl=1; key="/a?""#),
            ("/a", Some(r#"x="\"#), r#"lectern; hit; ttl=1; key="/a?x=\"\\""#),
            ("/a\n", None, "lectern; hit; ttl=1"),
        ] {
            assert_eq!(with_key(&hit(1), path, query), want, "§2.7");
        }
    }

    #[test]
    fn a_member_stands_behind_those_of_caches_nearer_to_the_origin() {
        let mut headers = HeaderMap::new();
        tell(&mut headers, hit(1));
        assert_eq!(headers[CACHE_STATUS], "lectern; hit; ttl=1");
        headers.insert(CACHE_STATUS, PLACE);
        tell(&mut headers, hit(1));
        assert_eq!(headers[CACHE_STATUS], "lectern; hit; ttl=1");
        let mut headers = HeaderMap::new();
        for line in ["inner; hit", "shield; fwd=stale, x"] {
            headers.append(CACHE_STATUS, line.parse().unwrap());
        }
        as_one_line(&mut headers);
        tell(&mut headers, hit(1));
        let told: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(told, ["inner; hit, shield; fwd=stale, x, lectern; hit; ttl=1"], "§2");
    }

    #[test]
    fn the_longest_value_fits() {
        const DETAIL: &str = "a234567890123456789012345678901234567890123456789012345678901234";
        let value = fwd(Fwd::VaryMiss, Some(u16::MAX), true, true, Some(i64::MIN), Some(DETAIL));
        assert!(value.to_str().unwrap().ends_with(DETAIL));
    }
}
