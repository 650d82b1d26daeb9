//! Paths: which spellings are one request (RFC 3986 §6.2.2), and which are refused.
//!
//! | spelling | becomes |
//! |---|---|
//! | `%7E`, `%61` (an unreserved character, encoded) | `~`, `a` (§6.2.2.2) |
//! | `%2f` (hex digits in lower case) | `%2F` (§6.2.2.1) |
//! | `/a/../b`, `/a/./b`, `/%2e%2e/b` | `/b`, `/a/b`, `/b` (§5.2.4); what climbs above the root stays at the root |
//! | nothing | `/` (§6.2.3) |
//! | `//`, `;`, `%2F`, letter case, `%E4` (Latin-1), raw UTF-8 | kept |
//! | NUL and other control characters, raw or encoded; a space; `?`, `#` | refused |
//! | `%`, `%4`, `%zz` | refused |
//! | `%C0%AF`, `%E0%80%AF` (overlong UTF-8) | refused: some origins decode them to `/` |
//! | `\` | refused: no URL holds it raw (§2), and some origins read it as `/`. `%5C` is kept |
//! | `/..%2Fmy`, `/..;/my`, `/..%3B/my`, `/.%5C` | refused: a dot segment for an origin that decodes once more or cuts parameters |
//!
//! The last line keeps promise four: with a rule for `/static/`, `/static/..;/my` would bring a learner's page under
//! a shared key at such an origin. No page links to such a path.

use super::hex;
use std::{borrow::Cow, fmt};

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// It does not begin with `/`.
    NotAbsolute,
    /// A control character or a space, raw or (control only) encoded, or a `?` or `#`.
    Character(u8),
    /// `%` without two hex digits after it.
    Percent,
    /// UTF-8 in more bytes than it needs.
    Overlong,
    /// A raw `\`.
    Backslash,
    /// A dot segment behind an encoded separator or before a `;`.
    HiddenDots,
}

impl BadTarget {
    /// The fixed word for log and answer.
    pub const fn word(self) -> &'static str {
        match self {
            BadTarget::NotAbsolute => "path-not-absolute",
            BadTarget::Character(_) => "path-character",
            BadTarget::Percent => "path-percent",
            BadTarget::Overlong => "path-overlong-utf8",
            BadTarget::Backslash => "path-backslash",
            BadTarget::HiddenDots => "path-hidden-dots",
        }
    }
}

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadTarget::NotAbsolute => f.write_str("the path does not begin with `/`"),
            BadTarget::Character(byte) => write!(f, "the path holds the character 0x{byte:02X}"),
            BadTarget::Percent => f.write_str("the path holds a `%` without two hex digits after it"),
            BadTarget::Overlong => f.write_str("the path holds overlong UTF-8"),
            BadTarget::Backslash => f.write_str("the path holds a `\\`; write `%5C`"),
            BadTarget::HiddenDots => {
                f.write_str("the path hides a dot segment behind `%2F`, `%5C` or before `;`")
            }
        }
    }
}

impl std::error::Error for BadTarget {}

/// What one scan over a path found.
struct Scan {
    /// The normal spelling is another one.
    rewrite: bool,
    /// A segment, or a part of one behind `%2F` or `%5C`, begins with a dot.
    dots: bool,
}

/// What a byte asks of the scan.
const PLAIN: u8 = 0;
const DOT: u8 = 1;
const ENCODED: u8 = 2;
const REFUSED: u8 = 3;

static CLASS: [u8; 256] = {
    let mut class = [PLAIN; 256];
    let mut byte = 0;
    while byte <= b' ' {
        class[byte as usize] = REFUSED;
        byte += 1;
    }
    class[0x7F] = REFUSED;
    class[b'?' as usize] = REFUSED;
    class[b'#' as usize] = REFUSED;
    class[b'\\' as usize] = REFUSED;
    class[b'.' as usize] = DOT;
    class[b'%' as usize] = ENCODED;
    class
};

/// The normal spelling of a path (without its query): borrowed, after one scan, where it is normal already.
///
/// # Errors
/// [`BadTarget`] for what must not be looked up nor sent; a client gets a 400.
pub fn target(path: &str) -> Result<Cow<'_, str>, BadTarget> {
    if path.is_empty() {
        return Ok(Cow::Borrowed("/"));
    }
    let scan = scan(path.as_bytes())?;
    if !scan.rewrite {
        if scan.dots {
            no_hidden_dots(path)?;
        }
        return Ok(Cow::Borrowed(path));
    }
    let normal = without_dot_segments(&decoded(path));
    no_hidden_dots(&normal)?;
    Ok(Cow::Owned(normal))
}

fn scan(path: &[u8]) -> Result<Scan, BadTarget> {
    if path.first() != Some(&b'/') {
        return Err(BadTarget::NotAbsolute);
    }
    let mut found = Scan { rewrite: false, dots: false };
    // The byte before, if it was percent-encoded: overlong UTF-8 shows in its first two bytes.
    let mut lead = None;
    let mut at = 0;
    while at < path.len() {
        let byte = path[at];
        match CLASS[byte as usize] {
            PLAIN => at += 1,
            DOT => {
                if path[at - 1] == b'/' {
                    found.dots = true;
                    found.rewrite |= is_dot_segment(&path[at..]);
                }
                at += 1;
            }
            ENCODED => {
                let (high, low) = match path.get(at + 1..at + 3) {
                    Some(&[high, low]) => (high, low),
                    _ => return Err(BadTarget::Percent),
                };
                let value = match (hex(high), hex(low)) {
                    (Some(high), Some(low)) => high << 4 | low,
                    _ => return Err(BadTarget::Percent),
                };
                if value < b' ' || value == 0x7F {
                    return Err(BadTarget::Character(value));
                }
                if lead.is_some_and(|lead| overlong(lead, value)) {
                    return Err(BadTarget::Overlong);
                }
                found.rewrite |= unreserved(value) || high.is_ascii_lowercase() || low.is_ascii_lowercase();
                found.dots |= matches!(value, b'/' | b'\\') && path.get(at + 3) == Some(&b'.');
                lead = Some(value);
                at += 3;
                continue;
            }
            _ if byte == b'\\' => return Err(BadTarget::Backslash),
            _ => return Err(BadTarget::Character(byte)),
        }
        lead = None;
    }
    Ok(found)
}

/// Whether `rest` begins with a whole segment `.` or `..`.
fn is_dot_segment(rest: &[u8]) -> bool {
    let after = if rest.get(1) == Some(&b'.') { 2 } else { 1 };
    matches!(rest.get(after), None | Some(b'/'))
}

/// RFC 3986 §2.3.
const fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether these two bytes begin UTF-8 that is longer than it needs to be (the old five and six byte forms too).
const fn overlong(lead: u8, next: u8) -> bool {
    match lead {
        0xC0 | 0xC1 => matches!(next, 0x80..=0xBF),
        0xE0 => matches!(next, 0x80..=0x9F),
        0xF0 => matches!(next, 0x80..=0x8F),
        0xF8 => matches!(next, 0x80..=0x87),
        0xFC => matches!(next, 0x80..=0x83),
        _ => false,
    }
}

/// Unreserved characters decoded, other hex digits in upper case. The path has passed [`scan`].
fn decoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut pieces = path.split('%');
    out.extend(pieces.next());
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if unreserved(byte) => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
            }
        }
        out.push_str(rest);
    }
    out
}

/// RFC 3986 §5.2.4 for an absolute path.
fn without_dot_segments(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            segment => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    out
}

/// A dot segment for an origin that takes `%2F` or `%5C` for `/`, or cuts what follows a `;` or `%3B`.
fn no_hidden_dots(path: &str) -> Result<(), BadTarget> {
    let hidden = path.split('/').any(|segment| {
        let mut rest = segment;
        loop {
            let end = rest.find("%2F").into_iter().chain(rest.find("%5C")).min();
            let part = &rest[..end.unwrap_or(rest.len())];
            let parameters = part.find(';').into_iter().chain(part.find("%3B")).min();
            if matches!(&part[..parameters.unwrap_or(part.len())], "." | "..") {
                break true;
            }
            match end {
                Some(end) => rest = &rest[end + 3..],
                None => break false,
            }
        }
    });
    if hidden { Err(BadTarget::HiddenDots) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{BadTarget, target};
    use std::borrow::Cow;

    #[test]
    fn what_is_normal_already_is_borrowed() {
        for path in [
            "/",
            "/content/unit-1/v2/index.html",
            "/pluginfile.php/1/core_h5p//cachedassets/a.js",
            "/a;v=1/b;c",
            "/a%2Fb",
            "/a%5Cb",
            "/Kurs%20%C3%A4",
            "/%E4%F6%FC",
            "/ä",
            "/.well-known/x",
            "/...",
            "/a..b/.b./c.",
            "/%252e%252e/x",
            "/@:!$&'()*+,=",
            "/%C0",
            "/%C0/%AF",
        ] {
            let normal = target(path);
            assert!(matches!(normal, Ok(Cow::Borrowed(same)) if same == path), "{path}: {normal:?}");
        }
    }

    #[test]
    fn equivalent_spellings_become_one() {
        for (path, normal) in [
            ("", "/"),
            ("/%7Euser/%61bc", "/~user/abc"),
            ("/a%2fb%c3%a4", "/a%2Fb%C3%A4"),
            ("/static/../my", "/my"),
            ("/static/%2e%2E/my", "/my"),
            ("/static/.%2e/my", "/my"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../", "/a/"),
            ("/..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a//../b", "/a/b"),
            ("/a/..//b", "//b"),
            ("/./", "/"),
            ("/%2e", "/"),
        ] {
            assert_eq!(target(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn what_only_pretends_to_be_a_path_is_refused() {
        for (path, why) in [
            ("*", BadTarget::NotAbsolute),
            ("a/b", BadTarget::NotAbsolute),
            ("/a%00", BadTarget::Character(0)),
            ("/a%0d%0aX:1", BadTarget::Character(13)),
            ("/%7f", BadTarget::Character(0x7F)),
            ("/a\u{0}", BadTarget::Character(0)),
            ("/a b", BadTarget::Character(b' ')),
            ("/a?b", BadTarget::Character(b'?')),
            ("/a#b", BadTarget::Character(b'#')),
            ("/%", BadTarget::Percent),
            ("/%4", BadTarget::Percent),
            ("/%zz", BadTarget::Percent),
            ("/%+1", BadTarget::Percent),
            ("/%ä", BadTarget::Percent),
            ("/a%C0%AFb", BadTarget::Overlong),
            ("/a%c0%aeb", BadTarget::Overlong),
            ("/%E0%80%AF", BadTarget::Overlong),
            ("/%F0%80%80%AF", BadTarget::Overlong),
            ("/%F8%80%80%80%AF", BadTarget::Overlong),
            ("/%FC%80%80%80%80%AF", BadTarget::Overlong),
            ("/static\\..\\my", BadTarget::Backslash),
            ("/static/..%2fmy", BadTarget::HiddenDots),
            ("/static/%2e%2e%2fmy", BadTarget::HiddenDots),
            ("/static/a%2f..%2fmy", BadTarget::HiddenDots),
            ("/static/..%5Cmy", BadTarget::HiddenDots),
            ("/static/..;/my", BadTarget::HiddenDots),
            ("/static/..;a=b", BadTarget::HiddenDots),
            ("/static/..%3B/my", BadTarget::HiddenDots),
            ("/static/..%3ba;b/my", BadTarget::HiddenDots),
            ("/a%2F.", BadTarget::HiddenDots),
        ] {
            assert_eq!(target(path), Err(why), "{path}");
        }
    }
}
