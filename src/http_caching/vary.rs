//! Selecting fields (RFC 9111 §4.1): which request fields a response varies on, and whether a request's are the same
//! as those a response was stored for.

use super::list::{self, Members, Quotes};
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

/// The value to keep of a selecting field: all lines as one list, members without white space around them. Of
/// `Accept-Encoding` the class is kept ([`accept_encoding_class`]). Tags of `Accept-Language` are the same in any case
/// (RFC 4647 §2); their order stays, for many an origin takes the first that it has.
pub fn selecting_value(name: &HeaderName, headers: &HeaderMap) -> SelectingValue {
    if name == header::ACCEPT_ENCODING {
        return SelectingValue(Some(accept_encoding_class(headers).as_bytes().into()));
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
        return stored == accept_encoding_class(headers).as_bytes();
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

const BROTLI: usize = 1;
const GZIP: usize = 2;
const ZSTD: usize = 4;
/// `*`: whatever is not named.
const ANY_OTHER: usize = 8;

/// By the sum of the bits above.
const CLASSES: [&str; 8] =
    ["identity", "br", "gzip", "br, gzip", "zstd", "br, zstd", "gzip, zstd", "br, gzip, zstd"];

/// The content codings among br, gzip and zstd that the client accepts (RFC 9110 §12.5.3), as a list that can be sent
/// to the origin; `identity` if none. A request without `Accept-Encoding` is taken to accept none: such clients seldom
/// can decode. What cannot be read is not accepted; of a coding named twice the refusal counts.
pub fn accept_encoding_class(headers: &HeaderMap) -> &'static str {
    let mut lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let Some(line) = lines.next() else {
        return CLASSES[0];
    };
    let second = lines.next();
    // What browsers send, without reading it member by member.
    match (line.as_bytes(), second) {
        (b"gzip, deflate, br, zstd", None) => return CLASSES[BROTLI | GZIP | ZSTD],
        (b"gzip, deflate, br", None) => return CLASSES[BROTLI | GZIP],
        (b"gzip, deflate" | b"gzip", None) => return CLASSES[GZIP],
        _ => {}
    }
    let mut codings = Codings::default();
    codings.read(line.as_bytes());
    second.into_iter().chain(lines).for_each(|line| codings.read(line.as_bytes()));
    let taken = codings.accepted & !codings.refused;
    let rest = if taken & ANY_OTHER == 0 { 0 } else { !codings.refused };
    CLASSES[(taken | rest) & 7]
}

#[derive(Default)]
struct Codings {
    accepted: usize,
    refused: usize,
}

impl Codings {
    fn read(&mut self, line: &[u8]) {
        for member in (Members { rest: line, quotes: Quotes::Escaped }) {
            let mut parts = member.split(|&b| b == b';');
            let coding = list::trim(parts.next().unwrap_or_default());
            let accepted = parts.all(|part| weight_above_zero(list::trim(part)));
            let bit = match coding {
                c if c.eq_ignore_ascii_case(b"gzip") || c.eq_ignore_ascii_case(b"x-gzip") => GZIP,
                c if c.eq_ignore_ascii_case(b"br") => BROTLI,
                c if c.eq_ignore_ascii_case(b"zstd") => ZSTD,
                b"*" => ANY_OTHER,
                _ => continue,
            };
            *(if accepted { &mut self.accepted } else { &mut self.refused }) |= bit;
        }
    }
}

/// Is this `q=` with a weight above 0 (RFC 9110 §12.4.2)? Not for anything else.
fn weight_above_zero(parameter: &[u8]) -> bool {
    let [b'q' | b'Q', b'=', whole, fraction @ ..] = parameter else {
        return false;
    };
    let digits = match fraction {
        [] => fraction,
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return false,
    };
    let fraction_is_zero = digits.iter().all(|&d| d == b'0');
    match whole {
        b'1' => fraction_is_zero,
        b'0' => !fraction_is_zero,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Vary, accept_encoding_class, parse, same, selecting_value};
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

    #[test]
    fn the_class_names_only_codings_that_the_client_accepts() {
        let table: &[(&str, &[&str], &str)] = &[
            ("absent", &[], "identity"),
            ("empty", &[""], "identity"),
            ("Chromium", &["gzip, deflate, br, zstd"], "br, gzip, zstd"),
            ("Safari", &["gzip, deflate, br"], "br, gzip"),
            ("G29 two lines", &["gzip", "br"], "br, gzip"),
            ("G29 one", &["gzip"], "gzip"),
            ("older browsers", &["gzip, deflate"], "gzip"),
            ("G29 q=0", &["gzip;q=0, identity"], "identity"),
            ("G29 case", &["GZIP"], "gzip"),
            ("G29 * with q=0", &["*;q=0, identity"], "identity"),
            ("RFC 9110 §8.4.1.3 x-gzip", &["x-gzip"], "gzip"),
            ("RFC 9110 §12.5.3 *", &["*"], "br, gzip, zstd"),
            ("RFC 9110 §12.5.3 * but not those named", &["gzip;q=0, *"], "br, zstd"),
            ("RFC 9110 §12.5.3 * refuses those not named", &["zstd, *;q=0"], "zstd"),
            ("RFC 9110 §12.4.2 weights", &["br;q=1.000, gzip; Q=0.001 ,zstd ; q=0.000"], "br, gzip"),
            ("RFC 9110 §12.4.2 unreadable weights", &["br;q=2, gzip;q=, zstd;q=0.0001"], "identity"),
            ("RFC 9110 §12.4.2 unreadable weights", &["br;q=1.5, gzip;x=1, zstd;q=.5"], "identity"),
            ("named twice", &["gzip, gzip;q=0, br"], "br"),
            ("named twice", &["gzip;q=0", "x-gzip"], "identity"),
            ("* named twice", &["*, *;q=0, br"], "br"),
            ("others", &["br, compress, dcb"], "br"),
            ("pairs", &["zstd, br"], "br, zstd"),
            ("pairs", &["zstd, gzip"], "gzip, zstd"),
        ];
        for (section, fields, want) in table {
            assert_eq!(
                accept_encoding_class(&lines("accept-encoding", fields)),
                *want,
                "{section}: {fields:?}"
            );
        }
    }
}
