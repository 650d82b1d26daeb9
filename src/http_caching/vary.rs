//! Selecting fields (RFC 9111 §4.1): which request fields a response varies on, and whether a request's are the same
//! as those a response was stored for.

use super::{
    coding::Accepted,
    list::{self, Quotes},
};
use http::{HeaderMap, HeaderName, header};

/// What `Vary` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// Nothing.
    None,
    /// `*`, or a name that is none: no request is known to be the same.
    Any,
    /// These fields, sorted, each once.
    Fields(Vec<HeaderName>),
}

/// A request's normalised value of a selecting field. An absent field is only the same as an absent one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SelectingValue(Option<Box<[u8]>>);

impl SelectingValue {
    /// The value that was written down as this text.
    pub fn written(text: Option<&[u8]>) -> SelectingValue {
        SelectingValue(text.map(Box::from))
    }

    /// The normalised text; `None` for a field that is absent.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }
}

/// Reads all `Vary` lines.
pub fn parse(headers: &HeaderMap) -> Vary {
    let mut names = Vec::new();
    for member in list::members(headers, &header::VARY, Quotes::Escaped) {
        match HeaderName::from_bytes(member) {
            Ok(name) if member != b"*" => names.push(name),
            _ => return Vary::Any,
        }
    }
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    if names.is_empty() { Vary::None } else { Vary::Fields(names) }
}

/// Whether `Vary` names this field.
pub fn names(headers: &HeaderMap, name: &HeaderName) -> bool {
    list::members(headers, &header::VARY, Quotes::Escaped)
        .any(|member| member.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// The value to keep of a selecting field: all lines as one list, members without white space around them. Of
/// `Accept-Encoding` the class is kept ([`Accepted::class`]). Tags of `Accept-Language` are the same in any case
/// (RFC 4647 §2); their order stays, for many an origin takes the first that it has.
pub fn selecting_value(name: &HeaderName, headers: &HeaderMap) -> SelectingValue {
    if name == header::ACCEPT_ENCODING {
        return SelectingValue(Some(Accepted::by(headers).class().as_bytes().into()));
    }
    if !headers.contains_key(name) {
        return SelectingValue(None);
    }
    let mut joined = Vec::new();
    for member in list::members(headers, name, Quotes::Escaped) {
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(member);
    }
    if in_any_case(name) {
        joined.make_ascii_lowercase();
    }
    SelectingValue(Some(joined.into()))
}

/// Are the request's selecting fields the same as the stored ones? `names` and `stored` run in parallel. Allocates
/// nothing.
pub fn same(names: &[HeaderName], stored: &[SelectingValue], headers: &HeaderMap) -> bool {
    names.len() == stored.len()
        && names.iter().zip(stored).all(|(name, value)| same_value(name, value, headers))
}

fn same_value(name: &HeaderName, stored: &SelectingValue, headers: &HeaderMap) -> bool {
    let Some(stored) = stored.as_bytes() else {
        return !headers.contains_key(name);
    };
    if name == header::ACCEPT_ENCODING {
        return stored == Accepted::by(headers).class().as_bytes();
    }
    if !headers.contains_key(name) {
        return false;
    }
    let any_case = in_any_case(name);
    let mut rest = stored;
    let mut first = true;
    for member in list::members(headers, name, Quotes::Escaped) {
        if !first {
            match rest.strip_prefix(b",") {
                Some(after) => rest = after,
                None => return false,
            }
        }
        first = false;
        match rest.split_at_checked(member.len()) {
            Some((same, after)) if same == member || (any_case && same.eq_ignore_ascii_case(member)) => {
                rest = after;
            }
            _ => return false,
        }
    }
    rest.is_empty()
}

fn in_any_case(name: &HeaderName) -> bool {
    *name == header::ACCEPT_LANGUAGE
}

#[cfg(test)]
mod tests {
    use super::{Vary, parse, same, selecting_value};
    use http::{HeaderMap, HeaderName, header};

    fn lines(name: &'static str, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (HeaderName::from_static(name), line.parse().unwrap())).collect()
    }

    #[test]
    fn vary_is_nothing_anything_or_names() {
        let fields = |names: &[&'static str]| {
            Vary::Fields(names.iter().map(|name| HeaderName::from_static(name)).collect())
        };
        let table: &[(&str, &[&str], Vary)] = &[
            ("absent", &[], Vary::None),
            ("empty", &[""], Vary::None),
            ("RFC 9110 §12.5.5 names are case-insensitive", &["Foo, BAR"], fields(&["bar", "foo"])),
            ("RFC 9110 §5.3 lines are one list", &["foo", "bar,foo"], fields(&["bar", "foo"])),
            ("§4.1 *", &["*"], Vary::Any),
            ("§4.1 * with others", &["foo, *"], Vary::Any),
            ("§4.1 * with others", &["*, foo"], Vary::Any),
            ("§4.1 * after an empty member", &[", *"], Vary::Any),
            ("§4.1 * on another line", &["", "*"], Vary::Any),
            ("a name that is none", &["foo bar"], Vary::Any),
        ];
        for (section, vary, want) in table {
            assert_eq!(parse(&lines("vary", vary)), *want, "{section}");
        }
    }

    #[test]
    fn values_are_the_same_by_their_members() {
        let table: &[(&str, &[&str], &[&str], bool)] = &[
            ("§4.1 equal", &["en, de"], &["en, de"], true),
            ("§4.1 white space", &["en,de"], &[" en ,\tde"], true),
            ("§4.1 lines combined", &["en, de"], &["en", "de"], true),
            ("§4.1 another order is another value", &["en, de"], &["de, en"], false),
            ("§4.1 more", &["en"], &["en, de"], false),
            ("§4.1 less", &["en, de"], &["en"], false),
            ("§4.1 a longer member", &["en"], &["en-GB"], false),
            ("§4.1 a shorter member", &["en-GB"], &["en"], false),
            ("RFC 4647 §2 tags in any case", &["en-GB, DE"], &["EN-gb", "de"], true),
            ("§4.1 absent is the same as absent", &[], &[], true),
            ("§4.1 absent is not empty", &[], &[""], false),
            ("§4.1 empty is not absent", &[""], &[], false),
            ("§4.1 empty is empty", &[""], &[","], true),
            ("RFC 9110 §5.6.4 a quoted comma", &["\"a,b\""], &["\"a, b\""], false),
        ];
        for (section, stored, asked, want) in table {
            let name = [HeaderName::from_static("accept-language")];
            let value = [selecting_value(&name[0], &lines("accept-language", stored))];
            let asked = lines("accept-language", asked);
            assert_eq!(same(&name, &value, &asked), *want, "{section}");
            assert_eq!(selecting_value(&name[0], &asked) == value[0], *want, "{section}: values");
        }
    }

    #[test]
    fn values_of_other_fields_are_told_apart_by_case() {
        let name = [HeaderName::from_static("x-course")];
        let value = [selecting_value(&name[0], &lines("x-course", &["A1"]))];
        assert!(same(&name, &value, &lines("x-course", &["A1"])));
        assert!(!same(&name, &value, &lines("x-course", &["a1"])));
    }

    #[test]
    fn all_selecting_fields_must_be_the_same() {
        let names = [header::ACCEPT_ENCODING, HeaderName::from_static("origin")];
        let mut headers = lines("origin", &["https://lms-a.example"]);
        headers.insert(header::ACCEPT_ENCODING, "gzip".parse().unwrap());
        let stored = names.each_ref().map(|name| selecting_value(name, &headers));
        headers.insert(header::ACCEPT_ENCODING, "GZIP;q=0.5, deflate".parse().unwrap());
        assert!(same(&names, &stored, &headers));
        headers.insert("origin", "https://lms-b.example".parse().unwrap());
        assert!(!same(&names, &stored, &headers));
        assert!(!same(&names, &stored[..1], &headers), "a value short");
        assert!(same(&[], &[], &headers));
    }
}
