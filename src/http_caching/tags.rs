//! The names by which an origin lets what it sent be purged: surrogate keys, cache tags, cache groups, and the module that a rule
//! names. They are between the origin and its caches: a client is told none of them.

use super::groups;
use http::{HeaderMap, HeaderName};
use std::{array, sync::Arc};

/// Fields that name tags: cache groups (RFC 9875), and those that part them by spaces or by commas as their inventors write them. A
/// tag of those has neither.
const FIELDS: [HeaderName; 5] = [
    groups::CACHE_GROUPS,
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("cache-tag"),
    HeaderName::from_static("edge-cache-tag"),
    HeaderName::from_static("xkey"),
];

/// Lists of names that a response has: former groups, one of each of [`FIELDS`], former tags.
pub const LISTS: usize = 7;
const FORMER_GROUPS: usize = 0;
const GROUPS: usize = 1;
const FORMER_TAGS: usize = LISTS - 1;

/// The names that one field says.
type Names = Vec<Box<str>>;

/// All that a stored response can be purged by beside its URL. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<Named>>);

#[derive(Debug, PartialEq, Eq)]
struct Named {
    /// List after list.
    names: Names,
    /// Where each list ends.
    ends: [usize; LISTS],
    module: Option<Box<str>>,
}

impl Tags {
    /// None.
    pub const NONE: &'static Tags = &Tags(None);

    /// These lists and this module.
    pub fn new(lists: [Names; LISTS], module: Option<Box<str>>) -> Tags {
        let mut names = Names::with_capacity(lists.iter().map(Vec::len).sum());
        let ends = lists.map(|list| {
            names.extend(list);
            names.len()
        });
        if names.is_empty() && module.is_none() {
            return Tags(None);
        }
        Tags(Some(Arc::new(Named { names, ends, module })))
    }

    /// Takes them out of the fields of an answer.
    pub fn taken(headers: &mut HeaderMap, module: Option<String>) -> Tags {
        Tags::NONE.updated(headers, module)
    }

    /// Those of a response that an answer without a body says is the same still, taken out of the fields of that answer: each
    /// field that it has takes the place of what that field said before (RFC 9111 §3.2).
    ///
    /// What a field does not say any more counts until the next update all the same: a purge of it may have come while the origin
    /// was asked, and must find what is put in the place of what it covers.
    pub fn updated(&self, headers: &mut HeaderMap, module: Option<String>) -> Tags {
        let module = module.map(String::into_boxed_str);
        if !FIELDS.iter().any(|field| headers.contains_key(field)) && module.as_deref() == self.module() {
            return self.clone();
        }
        let mut lists: [Names; LISTS] = array::from_fn(|list| match list {
            FORMER_GROUPS | FORMER_TAGS => Names::new(),
            _ => said(&FIELDS[list - GROUPS], headers).unwrap_or_else(|| self.list(list).to_vec()),
        });
        strip(headers);
        let gone = |had: &[Box<str>], has: &[Names]| -> Names {
            had.iter().filter(|name| !has.iter().flatten().any(|now| now == *name)).cloned().collect()
        };
        lists[FORMER_GROUPS] = gone(self.list(GROUPS), &lists[GROUPS..=GROUPS]);
        lists[FORMER_TAGS] = gone(self.tags(), &lists[GROUPS + 1..FORMER_TAGS]);
        Tags::new(lists, module)
    }

    /// One list: see [`LISTS`].
    pub fn list(&self, list: usize) -> &[Box<str>] {
        self.lists(list, list)
    }

    fn lists(&self, first: usize, last: usize) -> &[Box<str>] {
        let Some(named) = &self.0 else { return &[] };
        let start = first.checked_sub(1).map_or(0, |before| named.ends[before]);
        &named.names[start..named.ends[last]]
    }

    /// All that a purge of a tag may name: tags and cache groups.
    pub fn names(&self) -> &[Box<str>] {
        self.lists(0, LISTS - 1)
    }

    /// The cache groups.
    pub fn groups(&self) -> &[Box<str>] {
        self.lists(FORMER_GROUPS, GROUPS)
    }

    /// The tags that are no cache groups, as the origin says them at present.
    fn tags(&self) -> &[Box<str>] {
        self.lists(GROUPS + 1, FORMER_TAGS - 1)
    }

    /// The module.
    pub fn module(&self) -> Option<&str> {
        self.0.as_ref()?.module.as_deref()
    }

    /// Bytes they take in memory, about.
    pub fn weight(&self) -> usize {
        self.names().iter().map(|name| name.len() + 32).sum::<usize>() + self.module().map_or(0, str::len)
    }
}

/// What a field says, each name once; nothing if it is not there.
fn said(field: &HeaderName, headers: &HeaderMap) -> Option<Names> {
    if !headers.contains_key(field) {
        return None;
    }
    if *field == groups::CACHE_GROUPS {
        return Some(groups::named(field, headers));
    }
    let mut tags = Names::new();
    for value in headers.get_all(field) {
        // A tag that is no text is kept so that others of the line are not lost with it.
        let line = String::from_utf8_lossy(value.as_bytes());
        tags.extend(line.split([' ', '\t', ',']).filter(|tag| !tag.is_empty()).map(Box::from));
    }
    tags.sort_unstable();
    tags.dedup();
    Some(tags)
}

/// Takes the fields that name tags out of an answer to a client.
pub fn strip(headers: &mut HeaderMap) {
    for name in &FIELDS {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::{LISTS, Tags};
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn headers(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn texts(names: &[Box<str>]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    #[test]
    fn tags_come_of_all_the_fields_and_none_of_them_stays() {
        type Row<'a> = (&'a [(&'static str, &'a [u8])], &'a [&'a str]);
        let table: &[Row<'_>] = &[
            (&[("surrogate-key", b"course-7  all")], &["all", "course-7"]),
            (&[("cache-tag", b"course-7, all,")], &["all", "course-7"]),
            (
                &[("edge-cache-tag", b"course-7,all"), ("edge-cache-tag", b"more")],
                &["all", "course-7", "more"],
            ),
            (&[("xkey", b"a b,c"), ("surrogate-key", b"a")], &["a", "a", "b", "c"]),
            (&[("cache-groups", br#""g 1", "h""#), ("xkey", b"a")], &["g 1", "h", "a"]),
            (&[("xkey", b"fine \xe9")], &["fine", "\u{fffd}"]),
            (&[("x-other", b"a")], &[]),
        ];
        for (fields, names) in table {
            let mut headers = headers(fields);
            let tags = Tags::taken(&mut headers, None);
            assert_eq!(texts(tags.names()), *names, "{fields:?}");
            assert_eq!(headers.len(), usize::from(fields[0].0 == "x-other"), "{fields:?}");
        }
    }

    #[test]
    fn each_field_that_an_answer_without_a_body_has_takes_the_place_of_its_own() {
        let said: [(&str, &[u8]); 3] = [("xkey", b"a b"), ("cache-tag", b"c"), ("cache-groups", b"\"g\"")];
        let had = Tags::taken(&mut headers(&said), Some("m".into()));
        // Groups, then as the fields come, then what went: former groups stand before all.
        type Row<'a> = (&'a [(&'static str, &'a [u8])], &'a [&'a str], &'a [&'a str]);
        let table: &[Row<'_>] = &[
            (&[], &["g", "c", "a", "b"], &["g"]),
            (&[("xkey", b"b d")], &["g", "c", "b", "d", "a"], &["g"]),
            (&[("xkey", b"c")], &["g", "c", "c", "a", "b"], &["g"]),
            (&[("xkey", b"")], &["g", "c", "a", "b"], &["g"]),
            (&[("surrogate-key", b"s")], &["g", "s", "c", "a", "b"], &["g"]),
            (&[("cache-groups", b"\"h\"")], &["g", "h", "c", "a", "b"], &["g", "h"]),
        ];
        for (fields, names, groups) in table {
            let mut headers = headers(fields);
            let updated = had.updated(&mut headers, Some("m".into()));
            assert_eq!(
                (texts(updated.names()), texts(updated.groups())),
                (names.to_vec(), groups.to_vec()),
                "{fields:?}"
            );
            assert!(headers.is_empty() && updated.module() == Some("m"), "{fields:?}");
        }
        // What went at one update is forgotten at the next: it was not purged by then.
        let mut tags = had;
        for name in ["1", "2", "3"] {
            tags = tags.updated(&mut headers(&[("xkey", name.as_bytes())]), None);
        }
        assert_eq!(texts(tags.names()), ["g", "c", "3", "2"]);
        assert_eq!(texts(tags.list(LISTS - 1)), ["2"]);
    }
}
