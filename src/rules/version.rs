//! How a URL names the version of its module, and how an answer does.
//!
//! The version in a URL is a hint: an origin may send the files of another under it (a real Moodle does). What an answer says of
//! itself by a field is the origin's word.

use super::{Pattern, normalise};
use http::{HeaderMap, HeaderName};
use std::{borrow::Cow, fmt};

/// Where versions are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRule {
    /// Where the URL names one; none: all versions have one URL.
    pub url: Option<UrlVersion>,
    /// The response field that names it.
    pub field: Option<HeaderName>,
}

/// Where a URL names a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlVersion {
    /// What the rule's path captures by this name.
    Path {
        /// The rule's path.
        pattern: Pattern,
        /// The name in it.
        name: Box<str>,
    },
    /// The first value of this parameter of the query.
    Query(Box<str>),
}

/// What an answer says of its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is the one that was asked for.
    Same,
    /// It is another.
    Other,
    /// Nothing, or nothing was asked for.
    Nothing,
}

impl fmt::Display for VersionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_ref().map(|url| match url {
            UrlVersion::Path { name, .. } => format!("path {name}"),
            UrlVersion::Query(name) => format!("query {name}"),
        });
        let field = self.field.as_ref().map(|field| format!("field {field}"));
        f.write_str(&url.into_iter().chain(field).collect::<Vec<_>>().join(", "))
    }
}

impl VersionRule {
    /// The version that a URL names.
    pub fn named<'u>(&'u self, path: &'u str, query: Option<&'u str>) -> Option<&'u str> {
        let version = match self.url.as_ref()? {
            UrlVersion::Path { pattern, name } => pattern.capture(name, path)?,
            UrlVersion::Query(name) => normalise::values(query?, name).next()?,
        };
        Some(version).filter(|version| !version.is_empty())
    }

    /// Path and query without their version: all versions of a file have one key. `{}`, which no path holds, stands in its place.
    pub fn cut<'u>(&self, path: &'u str, query: Option<&'u str>) -> (Cow<'u, str>, Option<Cow<'u, str>>) {
        self.put("{}", path, query)
    }

    /// Path and query as they name `version`, whatever they name. A parameter for it stands at the end.
    pub fn put<'u>(
        &self,
        version: &str,
        path: &'u str,
        query: Option<&'u str>,
    ) -> (Cow<'u, str>, Option<Cow<'u, str>>) {
        let borrowed = query.map(Cow::Borrowed);
        match &self.url {
            Some(UrlVersion::Path { pattern, name }) => match pattern.place(name, path) {
                Some(place) => {
                    let (before, after) = (&path[..place.start], &path[place.end..]);
                    (Cow::Owned([before, version, after].concat()), borrowed)
                }
                None => (Cow::Borrowed(path), borrowed),
            },
            Some(UrlVersion::Query(name)) => {
                let rest =
                    query.and_then(|query| normalise::without(query, name)).filter(|rest| !rest.is_empty());
                let rest = rest.map(|rest| format!("{rest}&")).unwrap_or_default();
                (Cow::Borrowed(path), Some(Cow::Owned(format!("{rest}{name}={version}"))))
            }
            None => (Cow::Borrowed(path), borrowed),
        }
    }

    /// What an answer with these fields says to who asked for `version`.
    pub fn said(&self, headers: &HeaderMap, version: Option<&str>) -> Said {
        let field = self.field.as_ref().and_then(|field| headers.get(field));
        match (field, version) {
            (Some(field), Some(version)) if field.as_bytes().trim_ascii() == version.as_bytes() => Said::Same,
            (Some(_), Some(_)) => Said::Other,
            _ => Said::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, UrlVersion, VersionRule};
    use crate::rules::Pattern;
    use http::{HeaderMap, HeaderName, HeaderValue};

    #[test]
    fn a_url_names_its_version_in_the_path_or_in_the_query() {
        let pattern = Pattern::parse("/content/{module}/{v}/**").unwrap();
        let path = VersionRule { url: Some(UrlVersion::Path { pattern, name: "v".into() }), field: None };
        assert_eq!(path.named("/content/m/7/a/b.js", Some("v=8")), Some("7"));
        assert_eq!(path.named("/content/m//b.js", None), None, "an empty segment names none");
        let query = VersionRule { url: Some(UrlVersion::Query("v".into())), field: None };
        for (asked, named) in [
            (Some("a=1&v=8"), Some("8")),
            (Some("%76=8&v=9"), Some("8")),
            (Some("v="), None),
            (Some("v"), None),
            (None, None),
        ] {
            assert_eq!(query.named("/a", asked), named, "{asked:?}");
        }
        assert_eq!(VersionRule { url: None, field: None }.named("/a", Some("v=8")), None);
    }

    #[test]
    fn all_versions_of_a_file_have_one_key_and_each_has_its_url() {
        let pattern = Pattern::parse("/content/{module}/{v}/**").unwrap();
        let path = VersionRule { url: Some(UrlVersion::Path { pattern, name: "v".into() }), field: None };
        let query = VersionRule { url: Some(UrlVersion::Query("v".into())), field: None };
        let none = VersionRule { url: None, field: None };
        let told = |(path, query): (std::borrow::Cow<'_, str>, Option<std::borrow::Cow<'_, str>>)| {
            query.map_or_else(|| path.to_string(), |query| format!("{path}?{query}"))
        };
        for (rule, asked, with, cut, put) in [
            (&path, "/content/m/7/a.js", Some("x"), "/content/m/{}/a.js?x", "/content/m/8/a.js?x"),
            (&query, "/a.js", Some("v=7"), "/a.js?v={}", "/a.js?v=8"),
            (&query, "/a.js", Some("v=7&x=1&v=9"), "/a.js?x=1&v={}", "/a.js?x=1&v=8"),
            (&query, "/a.js", None, "/a.js?v={}", "/a.js?v=8"),
            (&none, "/a.js", Some("x"), "/a.js?x", "/a.js?x"),
        ] {
            assert_eq!(told(rule.cut(asked, with)), cut, "{asked}");
            assert_eq!(told(rule.put("8", asked, with)), put, "{asked}");
        }
    }

    #[test]
    fn an_answer_says_that_it_is_the_same_or_another_version_or_nothing() {
        let rule = VersionRule { url: None, field: Some(HeaderName::from_static("x-version")) };
        let of = |value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static("x-version"), HeaderValue::from_static(value))])
        };
        for (headers, asked, said) in [
            (of("8"), Some("8"), Said::Same),
            (of(" 8 "), Some("8"), Said::Same),
            (of("9"), Some("8"), Said::Other),
            (of(""), Some("8"), Said::Other),
            (of("8"), None, Said::Nothing),
            (HeaderMap::new(), Some("8"), Said::Nothing),
        ] {
            assert_eq!(rule.said(&headers, asked), said, "{headers:?} {asked:?}");
        }
        assert_eq!(VersionRule { url: None, field: None }.said(&of("9"), Some("8")), Said::Nothing);
    }
}
