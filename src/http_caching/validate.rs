//! Conditional requests answered from what is stored (RFC 9110 §13, RFC 9111 §4.3.2).

use super::{
    coded_tag,
    freshness::{parse_http_date, single_date},
    list::{self, Quotes},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::time::{Duration, SystemTime};

/// An entity tag (RFC 9110 §8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    weak: bool,
    /// With the quotes.
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads one; `None` if it is not well formed: an unquoted one, a `w/`, a second quote.
    pub fn parse(text: &'a [u8]) -> Option<EntityTag<'a>> {
        let (weak, opaque) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let [b'"', inner @ .., b'"'] = opaque else {
            return None;
        };
        let allowed = |&b: &u8| b == 0x21 || (0x23..=0x7e).contains(&b) || b >= 0x80;
        inner.iter().all(allowed).then_some(EntityTag { weak, opaque })
    }

    /// Does it say "equal in meaning" only, not "equal byte for byte"?
    pub fn is_weak(self) -> bool {
        self.weak
    }

    /// The tag without `W/`, with its quotes.
    pub fn opaque(self) -> &'a [u8] {
        self.opaque
    }

    /// Strong comparison (§8.8.3.2): both strong, same tag.
    pub fn strong_eq(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison (§8.8.3.2): same tag.
    pub fn weak_eq(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// Weak comparison of what both are variants of: whoever has a coded variant has its source's content.
    pub fn same_source(self, other: EntityTag<'_>) -> bool {
        coded_tag::root(self.opaque) == coded_tag::root(other.opaque)
    }

    /// Strong comparison of what both are variants of.
    fn same_strong_source(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.same_source(other)
    }
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Answer as if there were none.
    Pass,
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
}

/// Evaluates the conditions in the order of RFC 9110 §13.2.2. Only for a stored response that would answer 2xx
/// (§13.2.1). Of coded variants the tags of their sources are compared ([`coded_tag`]). `last_modified` is its `Last-Modified`, else its `Date` (RFC 9111 §4.3.2).
pub fn evaluate(
    headers: &HeaderMap,
    method: &Method,
    etag: Option<&HeaderValue>,
    last_modified: Option<SystemTime>,
) -> Condition {
    let tag = || etag.and_then(|value| EntityTag::parse(value.as_bytes()));
    let safe = *method == Method::GET || *method == Method::HEAD;

    if headers.contains_key(header::IF_MATCH) {
        if !names(headers, &header::IF_MATCH, tag(), |a, b| a.same_strong_source(b)) {
            return Condition::PreconditionFailed;
        }
    } else if let (Some(since), Some(modified)) = (date(headers, &header::IF_UNMODIFIED_SINCE), last_modified)
        && whole_seconds(modified) > since
    {
        return Condition::PreconditionFailed;
    }

    if headers.contains_key(header::IF_NONE_MATCH) {
        if names(headers, &header::IF_NONE_MATCH, tag(), |a, b| a.same_source(b)) {
            return if safe { Condition::NotModified } else { Condition::PreconditionFailed };
        }
    } else if safe
        && let (Some(since), Some(modified)) = (date(headers, &header::IF_MODIFIED_SINCE), last_modified)
        && whole_seconds(modified) <= since
    {
        return Condition::NotModified;
    }
    Condition::Pass
}

/// May the `Range` of this request be answered in part (RFC 9110 §13.1.5)? True without `If-Range`. `last_modified`
/// and `date` are what the stored response's fields say: a time is a strong validator only if the response was made
/// at least a second later (§8.8.2.2).
pub fn if_range_holds(
    headers: &HeaderMap,
    etag: Option<&HeaderValue>,
    last_modified: Option<SystemTime>,
    date: Option<SystemTime>,
) -> bool {
    let mut lines = headers.get_all(header::IF_RANGE).iter();
    let Some(asked) = lines.next() else {
        return true;
    };
    if lines.next().is_some() {
        return false;
    }
    if let Some(asked) = EntityTag::parse(list::trim(asked.as_bytes())) {
        let held = etag.and_then(|value| EntityTag::parse(value.as_bytes()));
        return held.is_some_and(|held| held.strong_eq(asked));
    }
    let (Some(asked), Some(modified), Some(date)) = (parse_http_date(asked), last_modified, date) else {
        return false;
    };
    asked == modified && date.duration_since(modified).is_ok_and(|lead| lead >= Duration::from_secs(1))
}

/// Does a list of entity tags name this one? `*` names whatever there is; a member that is no tag names nothing.
fn names(
    headers: &HeaderMap,
    field: &HeaderName,
    tag: Option<EntityTag<'_>>,
    same: impl Fn(EntityTag<'_>, EntityTag<'_>) -> bool,
) -> bool {
    list::members(headers, field, Quotes::Plain).any(|member| {
        member == b"*"
            || tag.is_some_and(|tag| EntityTag::parse(member).is_some_and(|asked| same(tag, asked)))
    })
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    if headers.contains_key(name) { single_date(headers, name) } else { None }
}

/// HTTP dates have no fraction; a stored time that has one must not look newer than itself.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{Condition, EntityTag, evaluate, if_range_holds};
    use http::{HeaderMap, HeaderName, HeaderValue, Method};
    use std::time::{Duration, SystemTime};

    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn at(text: &str) -> SystemTime {
        httpdate::parse_http_date(text).unwrap()
    }

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn an_entity_tag_is_quoted() {
        for (section, text, weak) in [
            ("§8.8.3", &b"\"abc\""[..], Some(false)),
            ("§8.8.3 empty", b"\"\"", Some(false)),
            ("§8.8.3 weak", b"W/\"abc\"", Some(true)),
            ("§8.8.3 obs-text", b"\"\xfc\"", Some(false)),
            ("§8.8.3 a backslash is an octet like others", b"\"a\\\"", Some(false)),
            ("§8.8.3 W is case-sensitive", b"w/\"abc\"", None),
            ("§8.8.3 W without /", b"W\"abc\"", None),
            ("§8.8.3 unquoted", b"abc", None),
            ("§8.8.3 a quote inside", b"\"a\"b\"", None),
            ("§8.8.3 a space inside", b"\"a b\"", None),
            ("§8.8.3 one quote", b"\"", None),
            ("§8.8.3 nothing", b"", None),
        ] {
            assert_eq!(EntityTag::parse(text).map(EntityTag::is_weak), weak, "{section}");
        }
    }

    #[test]
    fn tags_are_compared_as_in_the_table_of_8_8_3_2() {
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "W/\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
            ("\"1\"", "\"2\"", false, false),
        ] {
            let (a, b) =
                (EntityTag::parse(one.as_bytes()).unwrap(), EntityTag::parse(other.as_bytes()).unwrap());
            assert_eq!((a.strong_eq(b), a.weak_eq(b)), (strong, weak), "{one} {other}");
        }
    }

    #[test]
    fn conditions_are_evaluated_in_the_order_of_13_2_2() {
        use Condition::{NotModified, Pass, PreconditionFailed};
        let (im, inm) = ("if-match", "if-none-match");
        let (ims, ius) = ("if-modified-since", "if-unmodified-since");
        let strong = Some("\"a\"");
        let weak = Some("W/\"a\"");
        type Row<'a> = (&'a str, Option<&'a str>, &'a [(&'static str, &'a str)], Condition);
        // stored: this ETag, Last-Modified MODIFIED; asked with GET
        let table: &[Row<'_>] = &[
            ("§13.2.1 none", strong, &[], Pass),
            ("§13.1.1 *", None, &[(im, "*")], Pass),
            ("§13.1.1 in the list", strong, &[(im, "\"x\", \"a\"")], Pass),
            ("§13.1.1 not in the list", strong, &[(im, "\"x\"")], PreconditionFailed),
            ("§13.1.1 strong comparison", weak, &[(im, "W/\"a\"")], PreconditionFailed),
            ("§13.1.1 no tag held", None, &[(im, "\"a\"")], PreconditionFailed),
            ("§13.1.4 not modified since", strong, &[(ius, MODIFIED)], Pass),
            ("§13.1.4 modified since", strong, &[(ius, EARLIER)], PreconditionFailed),
            ("§13.1.4 not a date", strong, &[(ius, "x")], Pass),
            ("§13.1.4 ignored beside If-Match", strong, &[(im, "\"a\""), (ius, EARLIER)], Pass),
            ("§13.1.2 *", None, &[(inm, "*")], NotModified),
            ("§13.1.2 the tag", strong, &[(inm, "\"a\"")], NotModified),
            ("§13.1.2 weak comparison", weak, &[(inm, "\"a\"")], NotModified),
            ("§13.1.2 weak comparison", strong, &[(inm, "W/\"a\"")], NotModified),
            ("§13.1.2 first of a list", strong, &[(inm, "\"a\", \"x\"")], NotModified),
            ("§13.1.2 last of a list", strong, &[(inm, "\"x\" ,W/\"y\",\"a\"")], NotModified),
            ("§13.1.2 on another line", strong, &[(inm, "\"x\""), (inm, "\"a\"")], NotModified),
            ("§13.1.2 a comma inside a tag", strong, &[(inm, "\"x,\"a\"")], Pass),
            ("§13.1.2 another tag", strong, &[(inm, "\"x\"")], Pass),
            ("§8.8.3 an unquoted tag is none", strong, &[(inm, "a")], Pass),
            ("§8.8.3 an unquoted tag is none", Some("a"), &[(inm, "a")], Pass),
            ("§13.1.2 no tag held", None, &[(inm, "\"a\"")], Pass),
            ("§13.1.3 not modified since", strong, &[(ims, MODIFIED)], NotModified),
            ("§13.1.3 not modified since", strong, &[(ims, LATER)], NotModified),
            ("§13.1.3 modified since", strong, &[(ims, EARLIER)], Pass),
            ("§13.1.3 not a date", strong, &[(ims, "x")], Pass),
            ("§13.1.3 more than one member", strong, &[(ims, LATER), (ims, LATER)], Pass),
            ("§13.1.3 ignored beside If-None-Match", strong, &[(inm, "\"x\""), (ims, LATER)], Pass),
            ("§13.2.2 If-None-Match decides", strong, &[(inm, "\"a\""), (ims, EARLIER)], NotModified),
            ("§13.2.2 If-Match, then If-None-Match", strong, &[(im, "\"a\""), (inm, "\"a\"")], NotModified),
            ("§13.2.2 If-Match first", strong, &[(im, "\"x\""), (inm, "\"a\"")], PreconditionFailed),
            ("§13.2.2 If-Unmodified-Since, then", strong, &[(ius, LATER), (ims, MODIFIED)], NotModified),
        ];
        for (section, etag, asked, want) in table {
            let etag = etag.map(|text| HeaderValue::from_str(text).unwrap());
            let got = evaluate(&fields(asked), &Method::GET, etag.as_ref(), Some(at(MODIFIED)));
            assert_eq!(got, *want, "{section}: {asked:?}");
        }
    }

    #[test]
    fn other_methods_and_times() {
        let etag = HeaderValue::from_static("\"a\"");
        let none_match = fields(&[("if-none-match", "\"a\"")]);
        let since = fields(&[("if-modified-since", MODIFIED)]);
        let on = |headers: &HeaderMap, method: Method, modified: Option<SystemTime>| {
            evaluate(headers, &method, Some(&etag), modified)
        };
        assert_eq!(on(&none_match, Method::HEAD, None), Condition::NotModified, "§13.1.2 HEAD");
        assert_eq!(on(&none_match, Method::PUT, None), Condition::PreconditionFailed, "§13.1.2 others");
        assert_eq!(on(&since, Method::PUT, Some(at(MODIFIED))), Condition::Pass, "§13.1.3 GET and HEAD only");
        assert_eq!(on(&since, Method::GET, None), Condition::Pass, "§13.1.3 no date held");
        let fraction = at(MODIFIED) + Duration::from_millis(900);
        assert_eq!(on(&since, Method::GET, Some(fraction)), Condition::NotModified, "§5.6.7 whole seconds");
    }

    #[test]
    fn a_range_stands_only_on_a_strong_match() {
        let strong = Some("\"a\"");
        type Row<'a> = (&'a str, Option<&'a str>, &'a [&'a str], Option<&'a str>, bool);
        // stored: this ETag, Last-Modified MODIFIED, this Date
        let table: &[Row<'_>] = &[
            ("§13.1.5 absent", None, &[], None, true),
            ("§13.1.5 the tag", strong, &["\"a\""], None, true),
            ("§13.1.5 another tag", strong, &["\"x\""], None, false),
            ("§13.1.5 a weak tag never", strong, &["W/\"a\""], None, false),
            ("§13.1.5 a weak tag never", Some("W/\"a\""), &["W/\"a\""], None, false),
            ("§13.1.5 no tag held", None, &["\"a\""], None, false),
            ("§13.1.5 one tag, not a list", strong, &["\"a\", \"b\""], None, false),
            ("§13.1.5 one line", strong, &["\"a\"", "\"a\""], None, false),
            ("§13.1.5 not *", strong, &["*"], None, false),
            ("§13.1.5 the date", None, &[MODIFIED], Some(LATER), true),
            ("§13.1.5 an exact match", None, &[LATER], Some(LATER), false),
            ("§13.1.5 an exact match", None, &[EARLIER], Some(LATER), false),
            ("§8.8.2.2 not strong: made in the same second", None, &[MODIFIED], Some(MODIFIED), false),
            ("§8.8.2.2 not strong: no Date", None, &[MODIFIED], None, false),
        ];
        for (section, etag, asked, date, want) in table {
            let etag = etag.map(|text| HeaderValue::from_str(text).unwrap());
            let asked: Vec<_> = asked.iter().map(|line| ("if-range", *line)).collect();
            let got = if_range_holds(&fields(&asked), etag.as_ref(), Some(at(MODIFIED)), date.map(at));
            assert_eq!(got, *want, "{section}: {asked:?}");
        }
        assert!(!if_range_holds(&fields(&[("if-range", MODIFIED)]), None, None, Some(at(LATER))));
    }
}
