//! What a stored response learns from an answer that carries no body: a 304 to its own condition (RFC 9111 §4.3.4) or the
//! answer to a HEAD (§4.3.5).

use super::{freshness::parse_http_date, validate::EntityTag};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Fields that such an answer may not change: they describe a body that it does not carry, and this cache works with them
/// (§3.2, G31).
const OF_THE_BODY: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ETAG,
    header::VARY,
];

/// What an answer to HEAD says of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSays {
    /// It is the same still: its fields are brought up to date.
    Same,
    /// It is another by now.
    Another,
    /// Nothing.
    Nothing,
}

/// Whether a 304 is about this stored response: it names the same validator, or none (§4.3.4).
///
/// A tag is compared weakly: a server that codes on the fly weakens the tag of one of the two. A time counts only where there
/// was no tag to ask by.
pub fn is_about(stored: &HeaderMap, received: &HeaderMap) -> bool {
    match (stored.get(header::ETAG), received.get(header::ETAG)) {
        (Some(known), Some(named)) => same_tag(known, named),
        (Some(_), None) => true,
        (None, _) => same_time(stored, received) != Some(false),
    }
}

/// What the answer to a HEAD says of what is stored, `length` bytes of it (§4.3.5).
///
/// Only an answer with a validator speaks: a page that a stranger is shown has none, and must not change a learner's file.
pub fn by_head(stored: &HeaderMap, length: u64, status: StatusCode, received: &HeaderMap) -> HeadSays {
    if status != StatusCode::OK {
        return HeadSays::Nothing;
    }
    let tags = match (stored.get(header::ETAG), received.get(header::ETAG)) {
        (Some(known), Some(named)) => Some(same_tag(known, named)),
        _ => None,
    };
    let said: Vec<bool> = tags.into_iter().chain(same_time(stored, received)).collect();
    if said.is_empty() {
        return HeadSays::Nothing;
    }
    let named = received.get(header::CONTENT_LENGTH);
    let lengths = named.is_none_or(|named| named.to_str().ok().and_then(|n| n.parse().ok()) == Some(length));
    if lengths && said.iter().all(|same| *same) { HeadSays::Same } else { HeadSays::Another }
}

/// The fields of a stored response, brought up to date (§3.2): what the answer says is replaced, all else stays.
pub fn updated(stored: &HeaderMap, received: &HeaderMap) -> HeaderMap {
    let mut fields = stored.clone();
    for name in received.keys().filter(|name| !OF_THE_BODY.contains(name)) {
        fields.remove(name);
        for value in received.get_all(name) {
            fields.append(name, value.clone());
        }
    }
    // How old the stored one was when it came says nothing any more.
    if !received.contains_key(header::AGE) {
        fields.remove(header::AGE);
    }
    fields
}

fn same_tag(known: &HeaderValue, named: &HeaderValue) -> bool {
    match (EntityTag::parse(known.as_bytes()), EntityTag::parse(named.as_bytes())) {
        (Some(known), Some(named)) => known.weak_eq(named),
        (None, None) => known == named,
        _ => false,
    }
}

/// Whether both say the same time of change; `None` if one says none.
fn same_time(stored: &HeaderMap, received: &HeaderMap) -> Option<bool> {
    let time = |fields: &HeaderMap| fields.get(header::LAST_MODIFIED).and_then(parse_http_date);
    Some(time(stored)? == time(received)?)
}

#[cfg(test)]
mod tests {
    use super::{HeadSays, by_head, is_about, updated};
    use http::{HeaderMap, HeaderName, StatusCode};

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
    type Given<'a> = &'a [(&'static str, &'a str)];

    fn fields(fields: Given<'_>) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_304_is_about_what_it_names() {
        let (etag, modified) = ("etag", "last-modified");
        let table: &[(&str, Given<'_>, Given<'_>, bool)] = &[
            ("§4.3.4 the same strong validator", &[(etag, "\"a\"")], &[(etag, "\"a\"")], true),
            ("§4.3.4 another strong validator", &[(etag, "\"a\"")], &[(etag, "\"b\"")], false),
            ("§4.3.4 the same weak validator", &[(etag, "W/\"a\"")], &[(etag, "W/\"a\"")], true),
            ("a tag weakened on the way", &[(etag, "\"a\"")], &[(etag, "W/\"a\"")], true),
            ("§4.3.4 a tag that is none", &[(etag, "\"a\"")], &[(etag, "a")], false),
            ("§4.3.4 no validator", &[(etag, "\"a\"")], &[], true),
            (
                "§4.3.4 the tag asked by, another time",
                &[(etag, "\"a\""), (modified, OLD)],
                &[(modified, NEW)],
                true,
            ),
            ("§4.3.4 the same time", &[(modified, OLD)], &[(modified, OLD)], true),
            ("§4.3.4 another time", &[(modified, OLD)], &[(modified, NEW)], false),
            ("§4.3.4 a tag where none was known", &[(modified, OLD)], &[(etag, "\"a\"")], true),
        ];
        for (section, stored, received, want) in table {
            assert_eq!(is_about(&fields(stored), &fields(received)), *want, "{section}");
        }
    }

    #[test]
    fn the_answer_to_a_head_says_whether_what_is_stored_is_the_same() {
        use HeadSays::{Another, Nothing, Same};
        let (etag, modified, length) = ("etag", "last-modified", "content-length");
        let table: &[(&str, u16, Given<'_>, HeadSays)] = &[
            ("§4.3.5 tag and length", 200, &[(etag, "\"a\""), (length, "9")], Same),
            ("§4.3.5 no length", 200, &[(etag, "\"a\"")], Same),
            ("§4.3.5 time alone", 200, &[(modified, OLD)], Same),
            ("§4.3.5 another tag", 200, &[(etag, "\"b\""), (length, "9")], Another),
            ("§4.3.5 another time", 200, &[(etag, "\"a\""), (modified, NEW)], Another),
            ("§4.3.5 another length", 200, &[(etag, "\"a\""), (length, "8")], Another),
            ("§4.3.5 200 only", 404, &[(etag, "\"b\"")], Nothing),
            ("§4.3.5 200 only", 304, &[(etag, "\"a\"")], Nothing),
            ("no validator", 200, &[(length, "9")], Nothing),
        ];
        let stored = fields(&[(etag, "\"a\""), (modified, OLD)]);
        for (section, status, received, want) in table {
            let got = by_head(&stored, 9, StatusCode::from_u16(*status).unwrap(), &fields(received));
            assert_eq!(got, *want, "{section}: {received:?}");
        }
    }

    #[test]
    fn fields_that_came_replace_those_that_are_stored_but_for_the_bodys_own() {
        let stored = fields(&[
            ("etag", "\"a\""),
            ("content-length", "9"),
            ("content-type", "text/css"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-kept", "1"),
            ("age", "60"),
            ("expires", OLD),
        ]);
        let received = fields(&[
            ("etag", "W/\"a\""),
            ("content-length", "0"),
            ("content-encoding", "gzip"),
            ("content-type", "text/html"),
            ("vary", "*"),
            ("x-a", "3"),
            ("x-new", "1"),
            ("expires", NEW),
        ]);
        let want = fields(&[
            ("etag", "\"a\""),
            ("content-length", "9"),
            ("content-type", "text/css"),
            ("x-a", "3"),
            ("x-kept", "1"),
            ("x-new", "1"),
            ("expires", NEW),
        ]);
        assert_eq!(updated(&stored, &received), want);
        assert_eq!(updated(&stored, &fields(&[("age", "5")]))["age"], "5");
    }
}
