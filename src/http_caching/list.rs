//! Splits field values into list members (RFC 9110 §5.6.1). All lines of a field are one list; a comma inside a
//! quoted string does not separate; empty members are skipped.

use http::{HeaderMap, HeaderName};

/// How a quoted part of a member is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// A quoted string: a backslash escapes the next octet (RFC 9110 §5.6.4).
    Escaped,
    /// An entity tag: a backslash is an octet like others (RFC 9110 §8.8.3).
    Plain,
}

/// The members of all lines of `name`, in order, without surrounding white space.
pub(super) fn members<'a>(
    headers: &'a HeaderMap,
    name: &'a HeaderName,
    quotes: Quotes,
) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(move |line| Members { rest: line.as_bytes(), quotes })
}

/// The members of one line.
pub(super) struct Members<'a> {
    pub(super) rest: &'a [u8],
    pub(super) quotes: Quotes,
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = member_end(self.rest, self.quotes);
            let member = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

/// Where the first member ends. A quote that is never closed quotes nothing: what stands behind it is seen, so that a
/// stray quote cannot hide a `no-store`.
fn member_end(text: &[u8], quotes: Quotes) -> usize {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b',' => return at,
            b'"' => at = closing_quote(text, at + 1, quotes).map_or(at + 1, |close| close + 1),
            _ => at += 1,
        }
    }
    text.len()
}

fn closing_quote(text: &[u8], mut at: usize, quotes: Quotes) -> Option<usize> {
    while at < text.len() {
        match text[at] {
            b'"' => return Some(at),
            b'\\' if quotes == Quotes::Escaped => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Without spaces and tabs at both ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// A non-negative whole number; more than `max` is `max`. `None` for anything but digits.
pub(super) fn number(text: &[u8], max: u64) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |n: u64, d: &u8| n.saturating_mul(10).saturating_add(u64::from(d - b'0'));
    Some(text.iter().fold(0, digit).min(max))
}

#[cfg(test)]
mod tests {
    use super::{Members, Quotes, number};

    #[test]
    fn a_comma_inside_quotes_does_not_separate() {
        let table: &[(&str, Quotes, &[&str])] = &[
            ("", Quotes::Escaped, &[]),
            (" , ,", Quotes::Escaped, &[]), // §5.6.1.2 empty members are ignored
            ("a ,\tb,c", Quotes::Escaped, &["a", "b", "c"]), // §5.6.1 OWS around members
            (r#"a="x,y", b"#, Quotes::Escaped, &[r#"a="x,y""#, "b"]), // §5.6.4
            (r#"a="x\",y", b"#, Quotes::Escaped, &[r#"a="x\",y""#, "b"]), // §5.6.4 quoted pair
            (r#""x\", "y""#, Quotes::Plain, &[r#""x\""#, r#""y""#]), // §8.8.3 no quoted pairs in entity tags
            (r#"a="x, no-store"#, Quotes::Escaped, &[r#"a="x"#, "no-store"]),
        ];
        for (text, quotes, want) in table {
            let got: Vec<_> = Members { rest: text.as_bytes(), quotes: *quotes }.collect();
            assert_eq!(got, want.iter().map(|m| m.as_bytes()).collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn numbers_saturate_and_nothing_else_is_a_number() {
        for (text, want) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("99999999999999999999999", Some(100)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            ("1 ", None),
        ] {
            assert_eq!(number(text.as_bytes(), 100), want, "{text:?}");
        }
    }
}
