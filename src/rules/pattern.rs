//! Path patterns: what may be written, and what one covers. No regular expressions.
//!
//! `/content/{module}/{version}/**`: literal segments, `{name}` for one or more characters of a segment, `*` for any number of
//! them, and at the end `**` for any rest. A wildcard never reaches over a `/`, and a segment with one is never empty;
//! the rest may be: `/a/**` covers `/a/` and `/a/b/c`, not `/a`.

use super::normalise;
use std::{fmt, ops::Range};

/// A path pattern, ready to be put into the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub(super) segments: Vec<Segment>,
    /// Ends in `**`.
    pub(super) rest: bool,
    names: Vec<Name>,
}

/// Where a `{name}` stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    text: Box<str>,
    segment: usize,
    /// Which of the segment's wildcards it is.
    wildcard: usize,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// This text.
    Literal(Box<str>),
    /// Any text but the empty one: `{name}` or `*` alone.
    Any,
    /// Text with wildcards in it.
    Glob(Glob),
}

/// `first`, then wildcards each followed by a text; the last text ends the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    first: Box<str>,
    /// Least number of bytes of the wildcard, and the text after it.
    then: Vec<(usize, Box<str>)>,
}

/// Why a text is no pattern. Says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It does not begin with `/`.
    NotAbsolute,
    /// `**` elsewhere than in place of the last segment.
    RestInside,
    /// `{` without `}`, or the other way round.
    Brace,
    /// A name that is empty or holds other characters than a to z, 0 to 9 and `_`.
    Name(String),
    /// A name that stands twice.
    NameTwice(String),
    /// Two wildcards without a text between them.
    Adjacent,
    /// Paths are matched in their normal spelling, and this is another one.
    Spelling(String),
    /// No path is spelt so.
    Unreachable(normalise::BadTarget),
    /// A character that paths hold percent-encoded only.
    Encode(char),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::NotAbsolute => f.write_str("a path begins with `/`"),
            PatternError::RestInside => f.write_str("`**` may only be the last segment, as in `/static/**`"),
            PatternError::Brace => {
                f.write_str("`{` and `}` stand around a name, as in `/content/{module}/**`")
            }
            PatternError::Name(name) => {
                write!(f, "`{{{name}}}` is no name: use a to z, 0 to 9 and `_`, as in `{{module}}`")
            }
            PatternError::NameTwice(name) => write!(f, "`{{{name}}}` stands twice: give each its own name"),
            PatternError::Adjacent => {
                f.write_str("two wildcards need a text between them, as in `{rev}_{sub}`")
            }
            PatternError::Spelling(normal) => {
                write!(f, "paths are matched in their normal spelling: write `{normal}`")
            }
            PatternError::Unreachable(why) => write!(f, "no request gets so far: {why}"),
            PatternError::Encode(c) => {
                let mut bytes = [0; 4];
                write!(f, "`{c}` is sent percent-encoded: write `")?;
                c.encode_utf8(&mut bytes).bytes().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
                f.write_str("`")
            }
        }
    }
}

impl std::error::Error for PatternError {}

/// Whether a path or prefix is written in the spelling in which paths are matched.
///
/// # Errors
/// [`PatternError`] with the spelling that would be right.
pub fn spelling(text: &str) -> Result<(), PatternError> {
    if !text.starts_with('/') {
        return Err(PatternError::NotAbsolute);
    }
    // The wildcards' signs are no characters of a path; a letter is one.
    if let Some(c) =
        text.chars().find(|c| !c.is_ascii() || matches!(c, ' ' | '"' | '<' | '>' | '^' | '`' | '|'))
    {
        return Err(PatternError::Encode(c));
    }
    match normalise::target(text) {
        Ok(normal) if normal == text => Ok(()),
        Ok(normal) => Err(PatternError::Spelling(normal.into_owned())),
        Err(why) => Err(PatternError::Unreachable(why)),
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`], which says what would be right.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        spelling(text)?;
        let mut pattern = Pattern { segments: Vec::new(), rest: false, names: Vec::new() };
        let mut pieces = text[1..].split('/').peekable();
        while let Some(piece) = pieces.next() {
            if piece == "**" && pieces.peek().is_none() {
                pattern.rest = true;
            } else if piece.contains("**") {
                return Err(PatternError::RestInside);
            } else {
                let at = pattern.segments.len();
                pattern.segments.push(segment(piece, at, &mut pattern.names)?);
            }
        }
        Ok(pattern)
    }

    /// Whether every path that `other` covers is covered by this one; `false` if in doubt.
    pub fn covers(&self, other: &Pattern) -> bool {
        let enough = if self.rest {
            // `/a/**` wants one more segment than `/a`; an own rest brings it.
            other.segments.len() + usize::from(other.rest) > self.segments.len()
        } else {
            !other.rest && other.segments.len() == self.segments.len()
        };
        enough
            && self.segments.iter().zip(&other.segments).all(|(ours, theirs)| match (ours, theirs) {
                (Segment::Any, Segment::Literal(text)) => !text.is_empty(),
                (Segment::Any, _) => true,
                (Segment::Glob(glob), Segment::Literal(text)) => glob.covers(text),
                (ours, theirs) => ours == theirs,
            })
    }

    /// Whether it has a `{name}` of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| *known.text == *name)
    }

    /// What `{name}` stands for in a path that it covers.
    pub fn capture<'p>(&self, name: &str, path: &'p str) -> Option<&'p str> {
        let Name { segment, wildcard, .. } = self.names.iter().find(|known| *known.text == *name)?;
        let text = path.strip_prefix('/')?.split('/').nth(*segment)?;
        match self.segments.get(*segment)? {
            Segment::Literal(_) => None,
            Segment::Any => Some(text),
            Segment::Glob(glob) => glob.capture(*wildcard, text),
        }
    }

    /// Where that stands.
    pub fn place(&self, name: &str, path: &str) -> Option<Range<usize>> {
        let text = self.capture(name, path)?;
        let start = text.as_ptr() as usize - path.as_ptr() as usize;
        Some(start..start + text.len())
    }

    /// The literal text that every path it covers begins with.
    pub(super) fn begins_with(&self) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            text.push('/');
            match segment {
                Segment::Literal(literal) => text.push_str(literal),
                Segment::Any => return text,
                Segment::Glob(glob) => {
                    text.push_str(&glob.first);
                    return text;
                }
            }
        }
        if self.rest {
            text.push('/');
        }
        text
    }
}

fn segment(piece: &str, at: usize, names: &mut Vec<Name>) -> Result<Segment, PatternError> {
    let mut texts = vec![(0, String::new())];
    let mut rest = piece;
    while let Some(c) = rest.chars().next() {
        let least = match c {
            '*' => {
                rest = &rest[1..];
                0
            }
            '{' => {
                let (name, after) = rest[1..].split_once('}').ok_or(PatternError::Brace)?;
                if name.is_empty() || !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
                    return Err(PatternError::Name(name.to_owned()));
                }
                if names.iter().any(|known| *known.text == *name) {
                    return Err(PatternError::NameTwice(name.to_owned()));
                }
                names.push(Name { text: name.into(), segment: at, wildcard: texts.len() - 1 });
                rest = after;
                1
            }
            '}' => return Err(PatternError::Brace),
            c => {
                rest = &rest[c.len_utf8()..];
                if let Some((_, text)) = texts.last_mut() {
                    text.push(c);
                }
                continue;
            }
        };
        if texts.len() > 1 && texts.last().is_some_and(|(_, text)| text.is_empty()) {
            return Err(PatternError::Adjacent);
        }
        texts.push((least, String::new()));
    }
    if texts.len() == 2 && texts.iter().all(|(_, text)| text.is_empty()) {
        return Ok(Segment::Any);
    }
    let mut texts = texts.into_iter().map(|(least, text)| (least, text.into_boxed_str()));
    let first = texts.next().map(|(_, text)| text).unwrap_or_default();
    let then: Vec<_> = texts.collect();
    Ok(if then.is_empty() { Segment::Literal(first) } else { Segment::Glob(Glob { first, then }) })
}

impl Glob {
    /// Whether it covers `segment`. Linear in the segment: the leftmost place of each text leaves most for what follows.
    pub(super) fn covers(&self, segment: &str) -> bool {
        let Some(mut rest) = segment.as_bytes().strip_prefix(self.first.as_bytes()) else { return false };
        if segment.is_empty() {
            return false;
        }
        let Some(((least, last), inner)) = self.then.split_last() else { return rest.is_empty() };
        for (least, text) in inner {
            let Some(from) = rest.get(*least..) else { return false };
            let Some(place) = from.windows(text.len()).position(|w| w == text.as_bytes()) else {
                return false;
            };
            rest = &from[place + text.len()..];
        }
        rest.len() >= least + last.len() && rest.ends_with(last.as_bytes())
    }

    /// What the wildcard of this number stands for in a segment that it covers, found as [`Glob::covers`] finds it.
    fn capture<'s>(&self, wildcard: usize, segment: &'s str) -> Option<&'s str> {
        let mut rest = segment.strip_prefix(&*self.first)?;
        for (at, (least, text)) in self.then.iter().enumerate() {
            let end = match at + 1 == self.then.len() {
                true => rest.len().checked_sub(text.len())?,
                false => least + rest.get(*least..)?.find(&**text)?,
            };
            if at == wildcard {
                return rest.get(..end);
            }
            rest = rest.get(end + text.len()..)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, PatternError, Segment};
    use crate::rules::normalise::BadTarget;

    #[test]
    fn a_name_captures_what_stands_in_its_place() {
        for (pattern, path, name, captured) in [
            (
                "/pluginfile.php/{context}/mod_scorm/**",
                "/pluginfile.php/14/mod_scorm/a/b",
                "context",
                Some("14"),
            ),
            ("/{site}/{course}", "/a/b", "course", Some("b")),
            ("/c/rev_{rev}_{sub}.js", "/c/rev_1_2_3.js", "rev", Some("1")),
            ("/c/rev_{rev}_{sub}.js", "/c/rev_1_2_3.js", "sub", Some("2_3")),
            ("/c/*-{id}", "/c/-x-7", "id", Some("x-7")),
            ("/{a}/**", "/x//y", "a", Some("x")),
            ("/{a}/**", "/x/y", "b", None),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.capture(name, path), captured, "{pattern} {path} {name}");
            assert_eq!(parsed.has(name), captured.is_some(), "{pattern} {name}");
        }
    }

    #[test]
    fn a_bad_pattern_says_what_would_be_right() {
        for (text, why) in [
            ("", PatternError::NotAbsolute),
            ("static/**", PatternError::NotAbsolute),
            ("/a/**/b", PatternError::RestInside),
            ("/a**", PatternError::RestInside),
            ("/{a", PatternError::Brace),
            ("/a}", PatternError::Brace),
            ("/{}", PatternError::Name(String::new())),
            ("/{A}", PatternError::Name("A".into())),
            ("/{a}/{a}", PatternError::NameTwice("a".into())),
            ("/{a}{b}", PatternError::Adjacent),
            ("/{a}*", PatternError::Adjacent),
            ("/%7Ea/**", PatternError::Spelling("/~a/**".into())),
            ("/a%2fb", PatternError::Spelling("/a%2Fb".into())),
            ("/a/../b", PatternError::Spelling("/b".into())),
            ("/a%00", PatternError::Unreachable(BadTarget::Character(0))),
            ("/kurs ä", PatternError::Encode(' ')),
            ("/ä", PatternError::Encode('ä')),
        ] {
            assert_eq!(Pattern::parse(text), Err(why), "{text}");
        }
        assert_eq!(PatternError::Encode('ä').to_string(), "`ä` is sent percent-encoded: write `%C3%A4`");
    }

    #[test]
    fn a_wildcard_stays_in_its_segment() {
        for (glob, yes, no) in [
            ("*.zip", &["a.zip", ".zip", "a.zip.zip"][..], &["", "a.zi", "zip"][..]),
            ("{md5}.zip", &["a.zip"], &[".zip", "a.zip.x"]),
            ("{rev}_{sub}", &["1_2", "1_2_3"], &["_2", "1_", "1"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc"], &["ab", "abcd", "acb"]),
            ("aa*aa", &["aaaa", "aaaaa"], &["aaa"]),
        ] {
            let Ok(Pattern { segments, .. }) = Pattern::parse(&format!("/{glob}")) else { panic!("{glob}") };
            let [Segment::Glob(glob)] = &segments[..] else { panic!("{segments:?}") };
            for text in yes {
                assert!(glob.covers(text), "{glob:?} {text}");
            }
            for text in no {
                assert!(!glob.covers(text), "{glob:?} {text}");
            }
        }
    }

    #[test]
    fn a_pattern_covers_what_it_says_and_no_more() {
        for (ours, theirs, covered) in [
            ("/**", "/a/b", true),
            ("/**", "/**", true),
            ("/a/**", "/a", false),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/{x}/c", true),
            ("/a/**", "/{x}/b", false),
            ("/{x}/b", "/a/b", true),
            ("/{x}/b", "/{y}/b", true),
            ("/{x}/b", "/{y}/**", false),
            ("/{x}", "/", false),
            ("/*.css", "/a.css", true),
            ("/*.css", "/{x}.css", false),
            ("/a/b/**", "/a/**", false),
        ] {
            let (ours_parsed, theirs_parsed) =
                (Pattern::parse(ours).unwrap(), Pattern::parse(theirs).unwrap());
            assert_eq!(ours_parsed.covers(&theirs_parsed), covered, "{ours} {theirs}");
        }
    }

    #[test]
    fn the_literal_beginning_ends_at_the_first_wildcard() {
        for (pattern, text) in
            [("/a/b", "/a/b"), ("/a/{x}/b", "/a/"), ("/a/b*c", "/a/b"), ("/a/**", "/a/"), ("/**", "/")]
        {
            assert_eq!(Pattern::parse(pattern).unwrap().begins_with(), text, "{pattern}");
        }
    }
}
