//! In which form a client would have what the edge itself has to say: `Accept` (RFC 9110 §12.5.1), as far as two types go.

use super::list::{Quotes, members};
use http::{HeaderMap, header};

/// A form of the edge's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A page, for a browser that shows it.
    Html,
    /// For a script.
    Json,
    /// For whoever names neither.
    Text,
}

/// The form that is wanted: of HTML and JSON the one with the greater weight, the first of two that are even. Ranges such as `*/*` name
/// neither.
pub fn form(headers: &HeaderMap) -> Form {
    let mut best = (0, Form::Text);
    for member in members(headers, &header::ACCEPT, Quotes::Escaped) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let form = match parts.next().map(<[u8]>::to_ascii_lowercase).as_deref() {
            Some(b"text/html" | b"application/xhtml+xml") => Form::Html,
            Some(b"application/json") => Form::Json,
            Some(kind) if kind.ends_with(b"+json") => Form::Json,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix(b"q=").or(part.strip_prefix(b"Q=")));
        let weight = weight.map_or(1000, thousandths);
        if weight > best.0 {
            best = (weight, form);
        }
    }
    best.1
}

/// A weight (RFC 9110 §12.4.2) in thousandths; what is none counts for nothing.
fn thousandths(weight: &[u8]) -> u16 {
    let number = std::str::from_utf8(weight).ok().and_then(|text| text.parse::<f32>().ok());
    number.filter(|number| (0.0..=1.0).contains(number)).map_or(0, |number| (number * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::{Form, form};
    use http::{HeaderMap, HeaderValue, header};

    #[test]
    fn the_form_is_the_one_with_the_greater_weight() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, expected) in [
            (browser, Form::Html),
            ("application/json, text/plain, */*", Form::Json),
            ("application/problem+json", Form::Json),
            ("text/html;q=0.5, application/json;q=0.9", Form::Json),
            ("TEXT/HTML ; Q=0.9 , application/json;q=0.9", Form::Html),
            ("text/html;q=0", Form::Text),
            ("text/html;q=2", Form::Text),
            ("text/html;q=", Form::Text),
            ("*/*", Form::Text),
            ("", Form::Text),
            (";;,,\"", Form::Text),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(form(&headers), expected, "{accept}");
        }
        assert_eq!(form(&HeaderMap::new()), Form::Text);
    }
}
