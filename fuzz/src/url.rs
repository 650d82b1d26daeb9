//! Claims about the normaliser: what is let through is normal, and still the same request.

use http::uri::Authority;
use lectern::rules::{
    QueryRule,
    normalise::{self, target},
};
use std::borrow::Cow;

/// Any bytes as a path: refused, or normal and then stable, without a dot segment for whoever decodes it.
pub fn normalise(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    let Ok(normal) = target(path) else { return };
    assert_eq!(target(&normal), Ok(Cow::Borrowed(&*normal)), "not normal: {normal}");
    assert!(matches!(target(&normal), Ok(Cow::Borrowed(_))), "a normal path is not borrowed: {normal}");
    assert!(normal.starts_with('/'));
    let forbidden = |byte: u8| byte <= b' ' || byte == 0x7F || b"?#\\".contains(&byte);
    assert!(!normal.bytes().any(forbidden), "{normal:?}");
    assert!(!has_dot_segment(&decoded(&normal)), "dots for who decodes: {normal}");
    if !has_dot_segment(&decoded(path)) && !path.is_empty() {
        assert_eq!(decoded(path), decoded(&normal), "another path");
    }
}

/// All of it percent-decoded, as an origin may.
fn decoded(path: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (path.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(|digits| std::str::from_utf8(digits).ok()).filter(|_| bytes[at] == b'%') {
            Some(digits) => {
                out.extend(u8::from_str_radix(digits, 16));
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// Whether a segment is `.` or `..` for an origin that takes `\` for `/` or cuts parameters.
fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|segment| matches!(segment.split(|byte| *byte == b';').next(), Some(b"." | b"..")))
}

/// Any bytes as a host: refused, or an authority in its normal spelling.
pub fn host(bytes: &[u8]) {
    let Ok(authority) = std::str::from_utf8(bytes) else { return };
    for (https, default) in [(false, 80), (true, 443)] {
        let Ok(normal) = normalise::host(authority, https) else { continue };
        let again = normalise::host(&normal, https);
        assert_eq!(again.as_deref(), Ok(&*normal), "not normal: {normal}");
        assert!(normal.starts_with('[') || matches!(again, Ok(Cow::Borrowed(_))), "not borrowed: {normal}");
        assert_eq!(normal.to_ascii_lowercase(), normal);
        let parsed: Authority = normal.parse().unwrap_or_else(|why| panic!("{normal}: {why}"));
        assert_eq!(parsed, *normal);
        assert!(parsed.port().is_none() == (parsed.host() == normal), "{normal}");
        assert_ne!(parsed.port_u16(), Some(default), "the scheme's own port stands: {normal}");
        assert!(!parsed.host().ends_with('.'), "{normal}");
    }
}

/// A line of parameter names, separated by commas, and then a query: what a rule keeps of it and what the opposite rule keeps
/// are together all of it.
pub fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (names, query) = text.split_once('\n').unwrap_or(("a,b", text));
    let names: Vec<String> = names.split(',').map(str::to_owned).collect();
    let kept = |rule: &QueryRule| {
        let kept = normalise::query(rule, Some(query));
        let again = normalise::query(rule, kept.as_deref());
        assert_eq!(again, kept, "{rule:?} keeps less the second time");
        let pieces: Vec<String> = kept.iter().flat_map(|kept| kept.split('&')).map(str::to_owned).collect();
        let mut all = query.split('&');
        assert!(pieces.iter().all(|piece| all.any(|sent| sent == piece)), "{rule:?} changed {query:?}");
        pieces.len()
    };
    let all = query.split('&').count();
    assert_eq!(kept(&QueryRule::Keep), all);
    assert_eq!(kept(&QueryRule::Drop), 0);
    let (only, without) = (kept(&QueryRule::Only(names.clone())), kept(&QueryRule::Without(names)));
    assert!(query.is_empty() || only + without == all, "{only} and {without} of {all}");
}
