//! The site's service credential: what the LMS knows an account by that is nobody's.

use http::{HeaderMap, HeaderValue, header};

/// Reads the text of a credential's file: lines `Cookie: NAME=VALUE; …` and `Authorization: VALUE`, as a browser sends them.
/// Empty lines, and those that begin with `#`, say nothing.
///
/// # Errors
/// What is wrong with which line, without what it says; or that there is none.
pub fn credential(text: &str) -> Result<HeaderMap, String> {
    let mut fields = HeaderMap::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let name = [header::COOKIE, header::AUTHORIZATION].into_iter().find(|known| *known == *name.trim());
        let value = HeaderValue::from_str(value.trim()).ok().filter(|value| !value.is_empty());
        match name.zip(value) {
            Some((name, mut value)) => {
                value.set_sensitive(true);
                fields.append(name, value);
            }
            None => {
                return Err(format!(
                    "line {number} is no \"Cookie: NAME=VALUE\" nor \"Authorization: VALUE\""
                ));
            }
        }
    }
    if fields.is_empty() {
        Err("it has no line \"Cookie: …\" or \"Authorization: …\"".into())
    } else {
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::credential;

    #[test]
    fn lines_are_fields() {
        let fields =
            credential("# the warm-up's\n\ncookie: MoodleSession=abc\nAuthorization: Bearer x\n").unwrap();
        assert_eq!(fields["cookie"], "MoodleSession=abc");
        assert_eq!(fields["authorization"], "Bearer x");
        assert_eq!(format!("{:?}", fields["cookie"]), "Sensitive");
    }

    #[test]
    fn what_is_no_credential_is_told_without_repeating_it() {
        for text in ["", "# secret\n", "\nHost: secret\n", "secret", "Cookie:", "Cookie: a\u{7f}secret"] {
            let told = credential(text).unwrap_err();
            assert!(!told.contains("secret") && told.contains("Cookie"), "{text}: {told}");
        }
    }
}
