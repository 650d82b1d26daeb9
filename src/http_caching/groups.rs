//! Cache groups (RFC 9875): names that stored responses of one origin share, so that an answer to an unsafe method can make
//! all of a group outdated.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, ListEntry, Parser};

/// Names the groups of a response (§2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// Names the groups that an answer to an unsafe method makes outdated (§3).
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// More groups of one field are not looked at (§4 wants 32 of 32 characters at least).
const MOST: usize = 128;

/// The groups that a field names: a list of strings. One that is not well formed names none.
pub fn named(field: &HeaderName, headers: &HeaderMap) -> Vec<Box<str>> {
    if !headers.contains_key(field) {
        return Vec::new();
    }
    let lines: Vec<&[u8]> = headers.get_all(field).iter().map(|line| line.as_bytes()).collect();
    let Ok(members) = Parser::parse_list(&lines.join(&b", "[..])) else { return Vec::new() };
    let name = |member: ListEntry| match member {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::String(name) => Some(name.into_boxed_str()),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    };
    let named: Option<Vec<_>> = members.into_iter().take(MOST).map(name).collect();
    named.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{CACHE_GROUPS, MOST, named};
    use http::HeaderMap;

    #[test]
    fn groups_are_a_list_of_strings() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("absent", &[], &[]),
            ("§2", &[r#""eurovision-results", "fruit""#], &["eurovision-results", "fruit"]),
            ("RFC 9651 §3.1 lines are one list", &[r#""a""#, r#""b""#], &["a", "b"]),
            ("§2 parameters are ignored", &[r#""a";x=1"#], &["a"]),
            ("§2 compared character by character", &[r#""A", "a""#], &["A", "a"]),
            ("§2 a token is no string", &[r#""a", b"#], &[]),
            ("§2 an inner list is no string", &[r#"("a")"#], &[]),
            ("RFC 9651 §4.2 one member that is malformed", &[r#""a", "b"#], &[]),
        ];
        for (section, lines, want) in table {
            let headers: HeaderMap = lines.iter().map(|line| (CACHE_GROUPS, line.parse().unwrap())).collect();
            let got = named(&CACHE_GROUPS, &headers);
            assert_eq!(got.iter().map(|name| &**name).collect::<Vec<_>>(), *want, "{section}");
        }
        let many = (0..2 * MOST).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",");
        let headers = HeaderMap::from_iter([(CACHE_GROUPS, many.parse().unwrap())]);
        assert_eq!(named(&CACHE_GROUPS, &headers).len(), MOST);
    }
}
