//! What an answer to an unsafe method makes outdated beside its target (RFC 9111 §4.4): what its `Location` and
//! `Content-Location` name, if it is of the same origin. Never anything of another.

use http::{HeaderMap, StatusCode, Uri, header};

/// What the unsafe request was for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// By `https`.
    pub https: bool,
    /// Host, with its port where that is not the scheme's own; in lower case.
    pub host: &'a str,
    /// Path.
    pub path: &'a str,
}

/// Whether an answer to an unsafe method makes anything outdated: what is no error does.
pub fn is_non_error(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// Paths with their queries, as they are written, of the same origin as `target`.
pub fn also_outdated(target: Target<'_>, headers: &HeaderMap) -> Vec<String> {
    [header::LOCATION, header::CONTENT_LOCATION]
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| resolve(target, value.to_str().ok()?.trim_ascii()))
        .collect()
}

/// Where a reference leads (RFC 3986 §5.2), if that is of the same origin. Segments `..` are left in it.
fn resolve(target: Target<'_>, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let scheme = if target.https { "https" } else { "http" };
    if let Some(rest) = reference.strip_prefix("//") {
        return absolute(target, &format!("{scheme}://{rest}"));
    }
    if has_scheme(reference) {
        return absolute(target, reference);
    }
    if reference.starts_with('/') {
        return Some(reference.to_owned());
    }
    if reference.is_empty() || reference.starts_with('?') {
        return Some(format!("{}{reference}", target.path));
    }
    let folder = target.path.rfind('/').map_or("/", |end| &target.path[..=end]);
    Some(format!("{folder}{reference}"))
}

fn absolute(target: Target<'_>, reference: &str) -> Option<String> {
    let uri: Uri = reference.parse().ok()?;
    let https = match uri.scheme_str()? {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let own = if https { ":443" } else { ":80" };
    let authority = uri.authority()?.as_str().to_ascii_lowercase();
    let host = authority.strip_suffix(own).unwrap_or(&authority);
    let same = https == target.https && host == target.host;
    same.then(|| uri.path_and_query().map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned()))
}

/// `scheme:` stands before any `/`, `?` (RFC 3986 §4.2).
fn has_scheme(reference: &str) -> bool {
    let end = reference.find([':', '/', '?']);
    end.is_some_and(|end| reference.as_bytes()[end] == b':')
}

#[cfg(test)]
mod tests {
    use super::{Target, also_outdated, is_non_error};
    use http::{HeaderMap, HeaderName, StatusCode};

    #[test]
    fn what_an_answer_names_of_its_own_origin_is_outdated_too() {
        let table: &[(&str, &str, Option<&str>)] = &[
            ("§4.4 absolute, same origin", "http://lms.example:8080/b?x=1", Some("/b?x=1")),
            ("§4.4 in any case", "HTTP://LMS.example:8080/B", Some("/B")),
            ("§4.4 another host", "http://evil.example:8080/b", None),
            ("§4.4 another port", "http://lms.example/b", None),
            ("§4.4 another scheme", "https://lms.example:8080/b", None),
            ("§4.4 no origin at all", "mailto:a@lms.example", None),
            ("RFC 3986 §4.2 scheme from the target", "//lms.example:8080/b", Some("/b")),
            ("RFC 3986 §4.2 and another host", "//evil.example/b", None),
            ("RFC 3986 §5.2 absolute path", "/b?x=1#part", Some("/b?x=1")),
            ("RFC 3986 §5.2 relative path", "b", Some("/course/b")),
            ("RFC 3986 §5.2 a colon behind a slash", "./b:c", Some("/course/./b:c")),
            ("RFC 3986 §5.2 query only", "?y", Some("/course/a?y")),
            ("RFC 3986 §5.2 empty", "", Some("/course/a")),
            ("RFC 3986 §5.2 no path", "http://lms.example:8080", Some("/")),
            ("not a URI", "http://[bad/", None),
        ];
        let target = Target { https: false, host: "lms.example:8080", path: "/course/a" };
        for (section, reference, want) in table {
            for name in ["location", "content-location"] {
                let headers =
                    HeaderMap::from_iter([(HeaderName::from_static(name), reference.parse().unwrap())]);
                let want: Vec<String> = want.iter().map(|path| (*path).to_owned()).collect();
                assert_eq!(also_outdated(target, &headers), want, "{section}: {reference}");
            }
        }
        let target = Target { https: true, host: "lms.example", path: "/" };
        let headers = HeaderMap::from_iter([
            ("location".parse().unwrap(), "https://lms.example:443/a".parse().unwrap()),
            ("content-location".parse().unwrap(), "/b".parse().unwrap()),
        ]);
        assert_eq!(also_outdated(target, &headers), ["/a", "/b"], "both, and the scheme's own port is none");
    }

    #[test]
    fn an_error_makes_nothing_outdated() {
        for (status, outdates) in
            [(200, true), (204, true), (303, true), (304, true), (404, false), (500, false)]
        {
            assert_eq!(is_non_error(StatusCode::from_u16(status).unwrap()), outdates, "§4.4 {status}");
        }
    }
}
