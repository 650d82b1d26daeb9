//! Queries: what a rule keeps of one. What is dropped is neither in the key nor sent to the origin.
//!
//! A query is opaque but for its parameters: pieces between `&`, each named by what stands before its first `=`. Names
//! are compared decoded (`%61` is `a`, `+` a space); order, spelling and repetition are kept. `/a?` is not `/a`.

use super::hex;
use crate::rules::QueryRule;
use std::borrow::Cow;

/// What `rule` keeps of a query. `None`: there is no query, or the rule left nothing of it.
pub fn query<'a>(rule: &QueryRule, query: Option<&'a str>) -> Option<Cow<'a, str>> {
    let query = query?;
    match rule {
        QueryRule::Keep => Some(Cow::Borrowed(query)),
        QueryRule::Drop => None,
        QueryRule::Only(names) => keep(query, |name| names.iter().any(|n| spells(name, n))),
        QueryRule::Without(names) => keep(query, |name| !names.iter().any(|n| spells(name, n))),
    }
}

/// A query without a parameter. `None`: nothing is left of it.
pub fn without<'a>(query: &'a str, parameter: &str) -> Option<Cow<'a, str>> {
    keep(query, |name| !spells(name, parameter))
}

/// The values of a parameter as they were sent, in their order.
pub fn values<'a>(query: &'a str, parameter: &'a str) -> impl Iterator<Item = &'a str> {
    parameters(query).filter(move |(name, _)| spells(name, parameter)).filter_map(|(_, value)| value)
}

/// A query with `-` in place of the values of a parameter: as it may be written down.
pub fn masked(query: &str, parameter: &str) -> String {
    let pieces = query.split('&').map(|piece| match named(piece) {
        (name, Some(_)) if spells(name, parameter) => format!("{name}=-"),
        _ => piece.to_owned(),
    });
    pieces.collect::<Vec<_>>().join("&")
}

/// Borrowed as long as what is kept lies side by side.
fn keep(query: &str, wanted: impl Fn(&str) -> bool) -> Option<Cow<'_, str>> {
    if query.is_empty() {
        return Some(Cow::Borrowed(query));
    }
    let mut run: Option<(usize, usize)> = None;
    let mut apart: Option<String> = None;
    let mut end = 0;
    for piece in query.split('&') {
        let start = end;
        let stop = start + piece.len();
        end = stop + 1;
        if !wanted(named(piece).0) {
            continue;
        }
        match (&mut apart, run) {
            (Some(kept), _) => kept.extend(["&", piece]),
            (None, None) => run = Some((start, stop)),
            (None, Some((first, last))) if last + 1 == start => run = Some((first, stop)),
            (None, Some((first, last))) => apart = Some([&query[first..last], "&", piece].concat()),
        }
    }
    match (apart, run) {
        (Some(kept), _) => Some(Cow::Owned(kept)),
        (None, run) => run.map(|(first, last)| Cow::Borrowed(&query[first..last])),
    }
}

/// The parameters of a query as they were sent: name, and value if there is a `=`.
pub(in crate::rules) fn parameters(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    query.split('&').map(named)
}

fn named(piece: &str) -> (&str, Option<&str>) {
    match piece.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (piece, None),
    }
}

/// Whether `sent`, decoded, is `plain`.
pub(in crate::rules) fn spells(sent: &str, plain: &str) -> bool {
    let (sent, plain) = (sent.as_bytes(), plain.as_bytes());
    let mut at = 0;
    for &wanted in plain {
        let byte = match sent.get(at..) {
            Some(&[b'%', high, low, ..]) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    at += 2;
                    high << 4 | low
                }
                _ => b'%',
            },
            Some(&[b'+', ..]) => b' ',
            Some(&[byte, ..]) => byte,
            _ => return false,
        };
        at += 1;
        if byte != wanted {
            return false;
        }
    }
    at == sent.len()
}

#[cfg(test)]
mod tests {
    use super::{query, spells};
    use crate::rules::QueryRule;
    use std::borrow::Cow;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn a_rule_keeps_order_and_spelling_of_what_it_keeps() {
        let only = QueryRule::Only(names(&["v", "w"]));
        let without = QueryRule::Without(names(&["utm"]));
        for (rule, sent, kept) in [
            (&QueryRule::Keep, Some("b=2&a=1"), Some("b=2&a=1")),
            (&QueryRule::Drop, Some("a=1"), None),
            (&only, Some("w=%41&v=1&w"), Some("w=%41&v=1&w")),
            (&only, Some("x=1&v=1&y&w=2"), Some("v=1&w=2")),
            (&only, Some("v=1&w=2&x"), Some("v=1&w=2")),
            (&only, Some("x=1"), None),
            (&without, Some("utm=1"), None),
            (&without, Some("a&utm=1&&b=x=y"), Some("a&&b=x=y")),
            (&without, Some("%75tm=1&a"), Some("a")),
        ] {
            assert_eq!(query(rule, sent).as_deref(), kept, "{rule:?} {sent:?}");
        }
    }

    #[test]
    fn no_query_and_an_empty_query_differ() {
        for rule in [QueryRule::Keep, QueryRule::Only(names(&["a"])), QueryRule::Without(names(&["a"]))] {
            assert_eq!(query(&rule, None), None);
            assert_eq!(query(&rule, Some("")).as_deref(), Some(""));
        }
    }

    #[test]
    fn what_lies_side_by_side_is_borrowed() {
        let rule = QueryRule::Without(names(&["utm"]));
        for sent in ["a=1&b=2", "utm=1&a=1&b=2", "a=1&b=2&utm=1&utm=2"] {
            assert!(matches!(query(&rule, Some(sent)), Some(Cow::Borrowed("a=1&b=2"))), "{sent}");
        }
    }

    #[test]
    fn names_are_compared_decoded() {
        for (sent, plain, same) in [
            ("a", "a", true),
            ("%61b", "ab", true),
            ("a+b", "a b", true),
            ("%C3%A4", "ä", true),
            ("a", "ab", false),
            ("ab", "a", false),
            ("%6", "%6", true),
            ("", "", true),
        ] {
            assert_eq!(spells(sent, plain), same, "{sent} {plain}");
        }
    }
}
