//! Where the paths of a rule lie in truth: in a storage of another name, under another path.
//!
//! Packages must come from the LMS's own host, or they cannot find its API (same origin); so the storage is mounted there. A
//! mount maps paths there, and references back. Pure; nothing of the LMS is the storage's business, and nothing of the storage
//! stands in what a client sees.

use super::normalise;
use http::HeaderValue;

/// A mount, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name of the origin.
    pub origin: String,
    /// The host the storage goes by, in its normal spelling: sent, unless the origin has one of its own, and known again in
    /// its redirects.
    pub host: String,
    /// The beginning of the paths of the rule; ends in `/`.
    pub prefix: String,
    /// What stands in its place at the storage; ends in `/`.
    pub path: String,
}

impl Mount {
    /// The path at the storage.
    pub fn there(&self, path: &str) -> String {
        // A path that does not begin so is of another rule.
        let rest = path.strip_prefix(&self.prefix).unwrap_or_default();
        format!("{}{rest}", self.path)
    }

    /// What a URI reference of the storage is for a client; `None`: it means the same there. What the storage has outside of
    /// what is mounted stays the storage's.
    pub fn back(&self, reference: &HeaderValue) -> Option<HeaderValue> {
        let reference = reference.to_str().ok()?;
        let (target, named) = match self.after_host(reference) {
            Some(target) => (target, true),
            None if reference.starts_with('/') && !reference.starts_with("//") => (reference, false),
            None => return None,
        };
        let end = target.find(['?', '#']).unwrap_or(target.len());
        let (path, rest) = target.split_at(end);
        let path = normalise::target(if path.is_empty() { "/" } else { path }).ok();
        let mounted = path.as_deref().and_then(|path| path.strip_prefix(&self.path));
        match mounted {
            Some(inside) => HeaderValue::try_from(format!("{}{inside}{rest}", self.prefix)).ok(),
            None if named => None,
            None => HeaderValue::try_from(format!("//{}{reference}", self.host)).ok(),
        }
    }

    /// What follows the storage's name in a reference that names it.
    fn after_host<'a>(&self, reference: &'a str) -> Option<&'a str> {
        let scheme = |scheme: &str| {
            let (start, rest) = reference.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        let (https, rest) = None
            .or_else(|| scheme("https://").map(|rest| (true, rest)))
            .or_else(|| scheme("http://").map(|rest| (false, rest)))
            .or_else(|| scheme("//").map(|rest| (true, rest)))?;
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        (normalise::host(authority, https).ok()? == self.host).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::Mount;
    use http::HeaderValue;

    fn mount() -> Mount {
        Mount {
            origin: "storage".to_owned(),
            host: "bucket.example".to_owned(),
            prefix: "/content/".to_owned(),
            path: "/p/".to_owned(),
        }
    }

    #[test]
    fn a_path_lies_at_the_storage_under_its_own() {
        for (path, there) in
            [("/content/a/b.html", "/p/a/b.html"), ("/content/", "/p/"), ("/content//x%2Fy", "/p//x%2Fy")]
        {
            assert_eq!(mount().there(path), there);
        }
    }

    #[test]
    fn a_reference_of_the_storage_is_turned_back_where_it_is_mounted() {
        for (reference, back) in [
            ("https://bucket.example/p/x", Some("/content/x")),
            ("HTTPS://Bucket.Example:443/p/x?v=1#f", Some("/content/x?v=1#f")),
            ("http://bucket.example:80/p/", Some("/content/")),
            ("//bucket.example/p/x", Some("/content/x")),
            ("/p/x", Some("/content/x")),
            ("/p/a/../x", Some("/content/x")),
            // What is not mounted stays the storage's.
            ("/other/x", Some("//bucket.example/other/x")),
            ("/p/../other/x", Some("//bucket.example/p/../other/x")),
            ("/p", Some("//bucket.example/p")),
            ("https://bucket.example/other", None),
            ("https://bucket.example", None),
            ("https://bucket.example:8443/p/x", None),
            ("https://elsewhere.example/p/x", None),
            ("https://bucket.example.evil.example/p/x", None),
            ("//elsewhere.example/p/x", None),
            // Means the same to a client.
            ("x", None),
            ("../x", None),
            ("?v=1", None),
            ("", None),
            ("mailto:a@bucket.example", None),
        ] {
            let told = mount().back(&HeaderValue::from_static(reference));
            assert_eq!(told.as_ref().map(|told| told.to_str().unwrap()), back, "{reference}");
        }
    }
}
