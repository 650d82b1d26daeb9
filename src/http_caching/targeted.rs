//! Targeted cache control (RFC 9213): fields such as `CDN-Cache-Control` that speak to one kind of cache, in place of
//! `Cache-Control` and `Expires`.
//!
//! They are structured fields (RFC 9651), so they are read strictly: what is not well formed says nothing at all.

use super::directives::{Directives, MAX_DELTA};
use http::{HeaderMap, HeaderName};
use sfv::{BareItem, ListEntry, Parser};

/// The field that speaks to every cache which an origin's owner has put before it (RFC 9213 §3).
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The field that speaks to this cache alone.
pub const LECTERN_CACHE_CONTROL: HeaderName = HeaderName::from_static("lectern-cache-control");

/// Whether a field of this name can be a targeted one: such names end as that of `Cache-Control` (§2.1), or it is the one that
/// was before there was a standard.
pub fn is_targeted(name: &HeaderName) -> bool {
    name.as_str().ends_with("-cache-control") || name == "surrogate-control"
}

impl Directives {
    /// What a response says to a cache that heeds these targeted fields. The first of them, in this order, that is valid and
    /// not empty speaks alone (§2.2); where none is, `Cache-Control` does.
    pub fn said_to(targets: &[HeaderName], headers: &HeaderMap) -> Directives {
        let targeted = targets.iter().find_map(|name| read(name, headers));
        targeted.unwrap_or_else(|| Directives::response(headers))
    }
}

/// What one targeted field says; `None` if it is absent, empty or not valid (§2.1).
fn read(name: &HeaderName, headers: &HeaderMap) -> Option<Directives> {
    if !headers.contains_key(name) {
        return None;
    }
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
    let members = Parser::parse_dictionary(&lines.join(&b", "[..])).ok()?;
    if members.is_empty() {
        return None;
    }
    let mut found = Directives { targeted: true, ..Directives::default() };
    for (directive, value) in &members {
        let ListEntry::Item(value) = value else {
            if WITH_TYPE.iter().any(|(known, _)| known == directive) {
                return None;
            }
            continue;
        };
        add(&mut found, directive, &value.bare_item)?;
    }
    Some(found)
}

/// The type that a directive's value has (§2.1).
#[derive(Clone, Copy, PartialEq)]
enum Type {
    Seconds,
    Flag,
    /// A flag, or names of fields.
    Names,
}

/// Directives that are understood here; all others are ignored, whatever their value (§2.2).
const WITH_TYPE: [(&str, Type); 13] = [
    ("no-store", Type::Flag),
    ("no-cache", Type::Names),
    ("private", Type::Names),
    ("public", Type::Flag),
    ("max-age", Type::Seconds),
    ("s-maxage", Type::Seconds),
    ("must-revalidate", Type::Flag),
    ("proxy-revalidate", Type::Flag),
    ("must-understand", Type::Flag),
    ("no-transform", Type::Flag),
    ("immutable", Type::Flag),
    ("stale-while-revalidate", Type::Seconds),
    ("stale-if-error", Type::Seconds),
];

/// Adds one directive; `None` if its value is of another type than it can have, which makes the whole field invalid.
fn add(found: &mut Directives, directive: &str, value: &BareItem) -> Option<()> {
    let Some((_, kind)) = WITH_TYPE.iter().find(|(known, _)| *known == directive) else { return Some(()) };
    let name = directive.as_bytes();
    match (kind, value) {
        // Set to false: as if it were not there.
        (Type::Flag | Type::Names, BareItem::Boolean(false)) => {}
        (Type::Flag | Type::Names, BareItem::Boolean(true)) => found.add(name, None, true),
        (Type::Names, BareItem::String(fields) | BareItem::Token(fields)) => {
            found.add(name, Some(fields.as_bytes()), false);
        }
        (Type::Seconds, BareItem::Integer(secs)) => {
            // A negative time is stale at once (RFC 9111 §4.2.1).
            let secs = u64::try_from(*secs).unwrap_or(0).min(MAX_DELTA);
            found.add(name, Some(itoa::Buffer::new().format(secs).as_bytes()), false);
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{CDN_CACHE_CONTROL, LECTERN_CACHE_CONTROL};
    use crate::http_caching::{
        directives::{Directives, Fields, MAX_DELTA},
        freshness,
    };
    use http::{HeaderMap, HeaderName, header};
    use std::time::SystemTime;

    fn said(fields: &[(&'static str, &str)]) -> Directives {
        let headers = fields.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect();
        Directives::said_to(&[LECTERN_CACHE_CONTROL, CDN_CACHE_CONTROL], &headers)
    }

    #[test]
    fn a_targeted_field_speaks_in_place_of_cache_control() {
        let none = || Directives { targeted: true, ..Directives::default() };
        let age = |secs| Directives { max_age: Some(secs), ..none() };
        let names = |name| Some(Fields::Named(vec![HeaderName::from_static(name)]));
        let (cc, cdn, own) = ("cache-control", "cdn-cache-control", "lectern-cache-control");
        type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], Directives);
        let table: &[Row<'_>] = &[
            ("§2.2 in place of Cache-Control", &[(cc, "no-store"), (cdn, "max-age=60")], age(60)),
            ("§2.2 the first of the list", &[(cdn, "max-age=60"), (own, "max-age=5")], age(5)),
            ("§2.2 the next if the first is empty", &[(own, ""), (cdn, "max-age=60")], age(60)),
            ("§2.2 the next if the first is invalid", &[(own, "max-age=a b"), (cdn, "max-age=60")], age(60)),
            ("§2.2 another's is not heeded", &[("other-cache-control", "max-age=60")], Directives::default()),
            (
                "§2.2 no-store, no-cache, private, must-revalidate",
                &[(cdn, "no-store, no-cache, private, must-revalidate")],
                Directives {
                    no_store: true,
                    no_cache: Some(Fields::All),
                    private: Some(Fields::All),
                    must_revalidate: true,
                    ..none()
                },
            ),
            (
                "§2.2 others that Cache-Control has",
                &[(cdn, "s-maxage=9, stale-if-error=3, public")],
                Directives { s_maxage: Some(9), stale_if_error: Some(3), public: true, ..none() },
            ),
            ("§2.2 unknown ones are ignored", &[(cdn, "foo=(a b), bar=?0, max-age=60, baz;q=1")], age(60)),
            (
                "§2.1 lines are one dictionary",
                &[(cdn, "max-age=60"), (cdn, "no-store")],
                Directives { no_store: true, ..age(60) },
            ),
            ("§2.1 parameters are ignored", &[(cdn, "max-age=60;x=1")], age(60)),
            (
                "§2.1 names of fields",
                &[(cdn, "no-cache=\"x-own\", private=x-one")],
                Directives { no_cache: names("x-own"), private: names("x-one"), ..none() },
            ),
            ("RFC 9651 §3.2 the last of two", &[(cdn, "max-age=60, max-age=5")], age(5)),
            ("RFC 9651 §3.3.6 false is absent", &[(cdn, "no-store=?0, max-age=60")], age(60)),
            ("RFC 9651 §3.2 names are in lower case", &[(cdn, "Max-Age=60")], Directives::default()),
            ("RFC 9111 §4.2.1 negative", &[(cdn, "max-age=-1")], age(0)),
            ("RFC 9111 §1.2.2 more than 2^31", &[(cdn, "max-age=99999999999")], age(MAX_DELTA)),
            ("§2.1 not a dictionary", &[(cdn, "max-age=60, &&&&")], Directives::default()),
            ("§2.1 a number as a string", &[(cdn, "max-age=\"60\"")], Directives::default()),
            ("§2.1 a fraction", &[(cdn, "max-age=6.5")], Directives::default()),
            ("§2.1 a time without a value", &[(cdn, "max-age")], Directives::default()),
            ("§2.1 a flag with a value", &[(cdn, "no-store=1")], Directives::default()),
            ("§2.1 a list of values", &[(cdn, "max-age=(1 2)")], Directives::default()),
            ("§2.1 spaces around =", &[(cdn, "max-age =60")], Directives::default()),
            ("§2.1 one line of two is invalid", &[(cdn, "max-age=60"), (cdn, "=")], Directives::default()),
        ];
        for (section, fields, want) in table {
            assert_eq!(said(fields), *want, "{section}: {fields:?}");
        }
    }

    #[test]
    fn expires_says_nothing_beside_a_targeted_field() {
        let headers = HeaderMap::from_iter([
            (CDN_CACHE_CONTROL, "public".parse().unwrap()),
            (header::EXPIRES, "Sun, 06 Nov 2094 08:49:37 GMT".parse().unwrap()),
        ]);
        let now = SystemTime::UNIX_EPOCH;
        let explicit = |targets: &[HeaderName]| {
            freshness::explicit_lifetime(&headers, &Directives::said_to(targets, &headers), now)
        };
        assert_eq!(explicit(&[CDN_CACHE_CONTROL]), None);
        assert!(explicit(&[]).is_some());
    }
}
