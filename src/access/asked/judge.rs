//! What an answer of the LMS to a learner's question means. Pure.
//!
//! A yes is 304 to the validator that was asked about, or 200 with a validator that names its content, of the same type as what is
//! known. Everything else is a no: a redirection to a login, 403, 404, 407, and 200 with the text of an error.

use super::{Asking, Learner};
use crate::http_caching::EntityTag;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// What was asked about.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Its validator.
    pub tag: &'a HeaderValue,
    /// Its fields.
    pub headers: &'a HeaderMap,
}

/// What the LMS said.
pub struct Evidence<'a> {
    /// Status.
    pub status: StatusCode,
    /// Fields.
    pub headers: &'a HeaderMap,
    /// The validator that names the content of this answer and no other, as far as the rule trusts it.
    pub tag: Option<&'a HeaderValue>,
    /// A check endpoint says who may have it: the answer itself need not name its content.
    pub vouched: bool,
}

/// The LMS said yes to this learner. Only [`judge`] makes one.
#[derive(Clone)]
pub struct Yes(Asking);

impl Yes {
    /// Whether it was said to this learner.
    pub fn is_of(&self, learner: &Learner) -> bool {
        self.0.learner.key() == learner.key()
    }

    pub(super) fn asking(&self) -> &Asking {
        &self.0
    }
}

/// What an answer means for the learner who asked.
pub enum Answer {
    /// She may have it, and what is known is current.
    Current(Yes),
    /// She may have it, and this is what it is.
    Brings(Yes),
    /// 304 for a validator that was not asked about: it says nothing of what is known.
    Other,
    /// The LMS could not do its work just now.
    Failed,
    /// She may not.
    No,
}

/// Judges an answer. `known`: what its `If-None-Match` named.
pub fn judge(asking: &Asking, said: &Evidence<'_>, known: Option<Known<'_>>) -> Answer {
    let yes = || Yes(asking.clone());
    match said.status {
        StatusCode::NOT_MODIFIED => match known {
            Some(known) if said.headers.get(header::ETAG).is_none_or(|tag| same_tag(tag, known.tag)) => {
                Answer::Current(yes())
            }
            _ => Answer::Other,
        },
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
            let named = said.tag.is_some() || said.vouched;
            let same_type = known.is_none_or(|known| essence(known.headers) == essence(said.headers));
            match (known, said.tag) {
                _ if !named || !same_type => Answer::No,
                (Some(known), Some(tag)) if same_tag(tag, known.tag) => Answer::Current(yes()),
                _ => Answer::Brings(yes()),
            }
        }
        status if matches!(status.as_u16(), 500 | 502 | 503 | 504) => Answer::Failed,
        _ => Answer::No,
    }
}

impl Answer {
    /// What a check endpoint says: 2xx is a yes.
    pub fn of_endpoint(asking: &Asking, status: StatusCode) -> Answer {
        match status.as_u16() {
            200..=299 => Answer::Brings(Yes(asking.clone())),
            500 | 502 | 503 | 504 => Answer::Failed,
            _ => Answer::No,
        }
    }
}

/// Weak comparison: a server that codes on the way makes a tag weak, and still means the same file.
fn same_tag(one: &HeaderValue, other: &HeaderValue) -> bool {
    let parse = |tag| EntityTag::parse(HeaderValue::as_bytes(tag));
    matches!((parse(one), parse(other)), (Some(one), Some(other)) if one.weak_eq(other))
}

/// The media type of an answer, without its parameters.
pub fn essence(headers: &HeaderMap) -> Vec<u8> {
    let value = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{Answer, Evidence, Known, judge};
    use crate::access::asked::{Checks, learner::test_learner};
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_yes_is_a_304_to_what_was_asked_or_a_200_that_names_its_content_in_the_same_type() {
        let asking = Checks::new().asking(&test_learner());
        let film = [("content-type", "video/mp4"), ("etag", "\"a\"")];
        let (held, tag) = (fields(&film), HeaderValue::from_static("\"a\""));
        let known = Known { tag: &tag, headers: &held };
        type Row<'a> = (u16, &'a [(&'static str, &'static str)], Option<Known<'a>>, &'a str);
        let table: &[Row<'_>] = &[
            (304, &[], Some(known), "current"),
            (304, &[("etag", "\"a\"")], Some(known), "current"),
            (304, &[("etag", "W/\"a\"")], Some(known), "current"),
            (304, &[("etag", "\"b\"")], Some(known), "other"),
            (304, &[("etag", "\"a\"")], None, "other"),
            (200, &[("content-type", "video/mp4"), ("etag", "\"a\"")], Some(known), "current"),
            (200, &[("content-type", "Video/MP4 ; x=y"), ("etag", "\"b\"")], Some(known), "brings"),
            (200, &[("content-type", "video/mp4"), ("etag", "\"b\"")], None, "brings"),
            (206, &[("content-type", "video/mp4"), ("etag", "\"b\"")], None, "brings"),
            (200, &[("content-type", "text/html"), ("etag", "\"b\"")], Some(known), "no"),
            (200, &[("content-type", "text/html"), ("etag", "\"a\"")], Some(known), "no"),
            (200, &[("content-type", "video/mp4")], Some(known), "no"),
            (200, &[("content-type", "video/mp4"), ("etag", "W/\"b\"")], None, "no"),
            (200, &[("content-type", "video/mp4")], None, "no"),
            (204, &[("etag", "\"a\"")], Some(known), "no"),
            (303, &[("etag", "\"a\"")], Some(known), "no"),
            (401, &[], Some(known), "no"),
            (403, &[], Some(known), "no"),
            (404, &[], Some(known), "no"),
            (407, &[], Some(known), "no"),
            (412, &[], Some(known), "no"),
            (429, &[], Some(known), "no"),
            (500, &[], Some(known), "failed"),
            (503, &[], None, "failed"),
        ];
        for (status, said, known, means) in table {
            let headers = fields(said);
            let strong = headers.get("etag").filter(|tag| !tag.as_bytes().starts_with(b"W/"));
            let status = StatusCode::from_u16(*status).unwrap();
            let said = Evidence { status, headers: &headers, tag: strong, vouched: false };
            let answer = match judge(&asking, &said, *known) {
                Answer::Current(_) => "current",
                Answer::Brings(_) => "brings",
                Answer::Other => "other",
                Answer::Failed => "failed",
                Answer::No => "no",
            };
            assert_eq!(answer, *means, "{status} {headers:?} known: {}", known.is_some());
        }
    }
}
