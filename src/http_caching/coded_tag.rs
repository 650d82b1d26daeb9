//! Entity tags of coded variants (RFC 9110 §8.8.3.3).
//!
//! A variant's strong tag is its source's with a suffix: `"abc"` becomes `"abc-lectern-br-1a2b3c4d"`, the digits being those of
//! its bytes, as two levels or versions of a coder make other bytes of the same. Wherever a condition is compared or sent onward,
//! the suffix is off: whoever has a variant has the source's content. A range alone is of the bytes of one variant. Weak tags
//! say no more than that the content is the same; they stay as they are.

use super::{
    coding::{Bytes, Coding},
    list::{self, Quotes},
    validate::EntityTag,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What stands between the source's tag and the coding.
const BETWEEN: &[u8] = b"-lectern-";
/// Hexadecimal digits of the mark.
const DIGITS: usize = 8;

/// The tag of a response as it is in another coding; `None` if its own is none.
pub(super) fn of(tag: &HeaderValue, to: Coding, bytes: Bytes) -> Option<HeaderValue> {
    let source = EntityTag::parse(tag.as_bytes())?;
    if source.is_weak() {
        return Some(tag.clone());
    }
    let mut text = Vec::with_capacity(tag.len() + 32);
    if bytes == Bytes::Coming {
        text.extend_from_slice(b"W/");
    }
    text.extend_from_slice(source.opaque().strip_suffix(b"\"")?);
    text.extend_from_slice(BETWEEN);
    text.extend_from_slice(to.as_str().as_bytes());
    if let Bytes::There { mark, .. } = bytes {
        text.push(b'-');
        text.extend_from_slice(format!("{:08x}", u32::from_be_bytes(mark)).as_bytes());
    }
    text.push(b'"');
    HeaderValue::from_bytes(&text).ok()
}

/// What stands between the quotes of a tag, without the suffixes of variants: of several, where there is an edge behind this one.
pub(super) fn root(opaque: &[u8]) -> &[u8] {
    let mut inner = inner(opaque);
    loop {
        let before = inner.len();
        inner = source(inner);
        if inner.len() == before {
            return inner;
        }
    }
}

fn inner(opaque: &[u8]) -> &[u8] {
    opaque.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\"")).unwrap_or(opaque)
}

/// The inner part of a tag without the suffix of a variant.
fn source(inner: &[u8]) -> &[u8] {
    let Some(at) = inner.windows(BETWEEN.len()).rposition(|window| window == BETWEEN) else { return inner };
    let suffix = &inner[at + BETWEEN.len()..];
    let (coding, mark) = match suffix.iter().position(|b| *b == b'-') {
        Some(end) => (&suffix[..end], Some(&suffix[end + 1..])),
        None => (suffix, None),
    };
    let is_mark = |mark: &[u8]| mark.len() == DIGITS && mark.iter().all(u8::is_ascii_hexdigit);
    let ours = Coding::ALL.iter().any(|known| known.as_str().as_bytes() == coding);
    if ours && mark.is_none_or(is_mark) { &inner[..at] } else { inner }
}

/// Whether a tag has the suffix of a variant.
fn is_coded(tag: EntityTag<'_>) -> bool {
    source(inner(tag.opaque())).len() != inner(tag.opaque()).len()
}

/// The tag by which a client knows what it is told that it has (a 304), where that is not `held`: that of a variant.
pub fn known_as(asked: &HeaderMap, held: &HeaderValue) -> Option<HeaderValue> {
    let held = EntityTag::parse(held.as_bytes())?;
    let named = || list::members(asked, &header::IF_NONE_MATCH, Quotes::Plain);
    let tags = || named().filter_map(EntityTag::parse);
    if tags().any(|tag| tag.weak_eq(held)) {
        return None;
    }
    let same = |member: &&[u8]| EntityTag::parse(member).is_some_and(|tag| tag.same_source(held));
    HeaderValue::from_bytes(named().find(same)?).ok()
}

/// Whether a range of this request is bound to other bytes than those of `held`, by a tag in `If-Match`. What `If-Range` binds it
/// to is compared by itself.
pub fn binds_to_others(asked: &HeaderMap, held: Option<&HeaderValue>) -> bool {
    let mut tags = list::members(asked, &header::IF_MATCH, Quotes::Plain).filter_map(EntityTag::parse);
    let held = held.and_then(|tag| EntityTag::parse(tag.as_bytes()));
    let Some(first) = tags.next() else { return false };
    !std::iter::once(first).chain(tags).any(|tag| held.is_some_and(|held| tag.strong_eq(held)))
}

/// Takes the suffixes of variants off the conditions of a request that goes on to the origin. A range of a variant's bytes is
/// asked of nobody who does not have them: the whole is.
pub fn sent_onward(request: &mut HeaderMap) {
    let coded = |headers: &HeaderMap, name: &HeaderName| {
        list::members(headers, name, Quotes::Plain).filter_map(EntityTag::parse).any(is_coded)
    };
    if coded(request, &header::IF_RANGE) || coded(request, &header::IF_MATCH) {
        request.remove(header::RANGE);
        request.remove(header::IF_RANGE);
    }
    for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
        if !coded(request, &name) {
            continue;
        }
        let members = list::members(request, &name, Quotes::Plain).map(|member| {
            match EntityTag::parse(member).filter(|tag| is_coded(*tag)) {
                // A variant that was made on its way has a weak tag of a strong one; the source's is that.
                Some(tag) => [b"\"", source(inner(tag.opaque())), b"\""].concat(),
                None => member.to_vec(),
            }
        });
        let joined = members.collect::<Vec<_>>().join(&b", "[..]);
        if let Ok(list) = HeaderValue::from_bytes(&joined) {
            request.insert(name, list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{binds_to_others, inner, known_as, of, root, sent_onward, source};
    use crate::http_caching::coding::{Bytes, Coding};
    use http::{HeaderMap, HeaderName, HeaderValue};

    const THERE: Bytes = Bytes::There { length: 1, mark: [0, 0, 0, 7] };

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn each_coding_has_a_tag_of_its_own_that_tells_its_source() {
        let table = [
            ("\"a\"", Coding::Brotli, THERE, Some("\"a-lectern-br-00000007\"")),
            ("\"\"", Coding::Zstd, THERE, Some("\"-lectern-zstd-00000007\"")),
            ("\"a\"", Coding::Gzip, Bytes::Coming, Some("W/\"a-lectern-gzip\"")),
            ("W/\"a\"", Coding::Gzip, THERE, Some("W/\"a\"")),
            (
                "\"a-lectern-br-00000001\"",
                Coding::Identity,
                THERE,
                Some("\"a-lectern-br-00000001-lectern-identity-00000007\""),
            ),
            ("a", Coding::Gzip, THERE, None),
        ];
        for (tag, to, bytes, want) in table {
            let coded = of(&HeaderValue::from_static(tag), to, bytes);
            assert_eq!(coded.as_ref().map(|tag| tag.to_str().unwrap()), want, "{tag} {to:?}");
            if let Some(coded) = coded {
                let opaque = coded.as_bytes().strip_prefix(b"W/").unwrap_or(coded.as_bytes());
                let own = tag.strip_prefix("W/").unwrap_or(tag);
                assert_eq!([b"\"", source(inner(opaque)), b"\""].concat(), own.as_bytes(), "{tag} {to:?}");
            }
        }
        for other in
            ["\"a-lectern-\"", "\"a-lectern-lzw\"", "\"a-lectern-br-7\"", "\"a-lectern-br-0000000g\""]
        {
            assert_eq!(root(other.as_bytes()).len(), other.len() - 2, "{other} is nobody's variant");
        }
    }

    #[test]
    fn a_304_names_the_tag_that_the_client_named() {
        for (asked, held, known) in [
            (&["\"a-lectern-br-00000007\""][..], "\"a\"", Some("\"a-lectern-br-00000007\"")),
            (&["\"a\""], "\"a-lectern-br-00000007\"", Some("\"a\"")),
            (&["\"a\", \"a-lectern-br-00000007\""], "\"a\"", None),
            (&["\"x\"", "W/\"a-lectern-gzip\""], "\"a\"", Some("W/\"a-lectern-gzip\"")),
            (
                &["\"a-lectern-br-00000007-lectern-identity-00000008\""],
                "\"a-lectern-br-00000007\"",
                Some("\"a-lectern-br-00000007-lectern-identity-00000008\""),
            ),
            (&["*"], "\"a\"", None),
            (&["\"x\""], "\"a\"", None),
        ] {
            let asked: Vec<_> = asked.iter().map(|line| ("if-none-match", *line)).collect();
            let told = known_as(&fields(&asked), &HeaderValue::from_static(held));
            assert_eq!(told.as_ref().map(|tag| tag.to_str().unwrap()), known, "{asked:?} {held}");
        }
    }

    #[test]
    fn a_range_is_of_the_bytes_that_were_named() {
        let held = HeaderValue::from_static("\"a-lectern-br-00000007\"");
        for (asked, others) in [
            (&[][..], false),
            (&["*"], false),
            (&["\"a-lectern-br-00000007\""], false),
            (&["\"x\", \"a-lectern-br-00000007\""], false),
            (&["\"a\""], true),
            (&["\"a-lectern-br-00000008\""], true),
        ] {
            let asked: Vec<_> = asked.iter().map(|line| ("if-match", *line)).collect();
            assert_eq!(binds_to_others(&fields(&asked), Some(&held)), others, "{asked:?}");
        }
        assert!(binds_to_others(&fields(&[("if-match", "\"a\"")]), None));
    }

    #[test]
    fn no_suffix_goes_on_to_the_origin() {
        let (im, inm, ir, range) = ("if-match", "if-none-match", "if-range", "range");
        type Fields<'a> = &'a [(&'static str, &'a str)];
        let table: [(Fields<'_>, Fields<'_>); 6] = [
            (&[(inm, "\"x\", \"a-lectern-br-00000007\"")], &[(inm, "\"x\", \"a\"")]),
            (&[(inm, "W/\"a-lectern-identity\"")], &[(inm, "\"a\"")]),
            (&[(im, "\"a-lectern-br-00000007\""), (range, "bytes=0-")], &[(im, "\"a\"")]),
            (&[(ir, "\"a-lectern-br-00000007\""), (range, "bytes=0-")], &[]),
            (&[(ir, "\"a\""), (range, "bytes=0-")], &[(ir, "\"a\""), (range, "bytes=0-")]),
            (&[(inm, "W/\"x\",*")], &[(inm, "W/\"x\",*")]),
        ];
        for (came, goes) in table {
            let mut request = fields(came);
            sent_onward(&mut request);
            assert_eq!(request, fields(goes), "{came:?}");
        }
    }
}
