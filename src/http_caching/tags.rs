//! The names by which an origin lets what it sent be purged: surrogate keys, cache tags, cache groups, and the module that a rule
//! names. They are between the origin and its caches: a client is told none of them.

use super::groups;
use http::{HeaderMap, HeaderName};
use std::sync::Arc;

/// Fields that name tags, by spaces or by commas as their inventors write them. A tag has neither.
const FIELDS: [HeaderName; 4] = [
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("cache-tag"),
    HeaderName::from_static("edge-cache-tag"),
    HeaderName::from_static("xkey"),
];

/// All that a stored response can be purged by beside its URL. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<Named>>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    /// Cache groups (RFC 9875), then tags.
    names: Vec<Box<str>>,
    groups: usize,
    module: Option<Box<str>>,
}

impl Tags {
    /// None.
    pub const NONE: &'static Tags = &Tags(None);

    /// These cache groups, tags and module.
    pub fn new(mut groups: Vec<Box<str>>, tags: Vec<Box<str>>, module: Option<Box<str>>) -> Tags {
        let count = groups.len();
        groups.extend(tags);
        if groups.is_empty() && module.is_none() {
            return Tags(None);
        }
        Tags(Some(Arc::new(Named { names: groups, groups: count, module })))
    }

    /// Takes them out of the fields of an answer.
    pub fn taken(headers: &mut HeaderMap, module: Option<String>) -> Tags {
        let groups = groups::named(&groups::CACHE_GROUPS, headers);
        let mut tags: Vec<Box<str>> = Vec::new();
        for value in FIELDS.iter().flat_map(|name| headers.get_all(name)) {
            // A tag that is no text is kept so that others of the line are not lost with it.
            let line = String::from_utf8_lossy(value.as_bytes());
            tags.extend(line.split([' ', '\t', ',']).filter(|tag| !tag.is_empty()).map(Box::from));
        }
        tags.sort_unstable();
        tags.dedup();
        strip(headers);
        Tags::new(groups, tags, module.map(String::into_boxed_str))
    }

    /// What a freshened response has: what the answer without a body names takes the place of what was named by fields of the
    /// same kind; what it is silent of stays.
    pub fn updated(&self, said: Tags) -> Tags {
        if said == *self {
            return said;
        }
        let or =
            |said: &[Box<str>], had: &[Box<str>]| if said.is_empty() { had.to_vec() } else { said.to_vec() };
        Tags::new(
            or(said.groups(), self.groups()),
            or(said.tags(), self.tags()),
            said.module().map(Box::from),
        )
    }

    /// All that a purge of a tag may name: tags and cache groups.
    pub fn names(&self) -> &[Box<str>] {
        self.0.as_ref().map_or(&[], |named| &named.names)
    }

    /// The cache groups.
    pub fn groups(&self) -> &[Box<str>] {
        self.0.as_ref().map_or(&[], |named| &named.names[..named.groups])
    }

    /// The tags that are no cache groups.
    pub fn tags(&self) -> &[Box<str>] {
        self.0.as_ref().map_or(&[], |named| &named.names[named.groups..])
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

/// Takes the fields that name tags out of an answer to a client.
pub fn strip(headers: &mut HeaderMap) {
    for name in FIELDS.iter().chain([&groups::CACHE_GROUPS]) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::Tags;
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn taken(fields: &[(&'static str, &[u8])]) -> (Tags, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        (Tags::taken(&mut headers, None), headers)
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
            (&[("xkey", b"a b,c"), ("surrogate-key", b"a")], &["a", "b", "c"]),
            (&[("cache-groups", br#""g 1", "h""#), ("xkey", b"a")], &["g 1", "h", "a"]),
            (&[("xkey", b"fine \xe9")], &["fine", "\u{fffd}"]),
            (&[("x-other", b"a")], &[]),
        ];
        for (fields, names) in table {
            let (tags, left) = taken(fields);
            assert_eq!(texts(tags.names()), *names, "{fields:?}");
            assert_eq!(left.len(), usize::from(fields[0].0 == "x-other"), "{fields:?}");
        }
    }

    #[test]
    fn an_answer_without_a_body_replaces_what_it_names_and_leaves_the_rest() {
        let had = taken(&[("xkey", b"a b"), ("cache-groups", b"\"g\"")]).0;
        let by = |fields: &[(&'static str, &[u8])]| had.updated(taken(fields).0);
        assert_eq!(texts(by(&[]).names()), ["g", "a", "b"]);
        assert_eq!(texts(by(&[("xkey", b"c")]).names()), ["g", "c"]);
        assert_eq!(texts(by(&[("cache-groups", b"\"h\"")]).names()), ["h", "a", "b"]);
        assert_eq!(by(&[("cache-groups", b"\"h\"")]).groups().len(), 1);
    }
}
