//! Answers with a known body as RFC 9110 says: conditions, one range, `If-Range`, `HEAD`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use crate::content::media::Film;

/// Bytes of a streamed body that are made at a time.
const PIECE: u64 = 64 << 10;

/// Where the bytes come from.
pub(crate) enum Source {
    Whole(Bytes),
    Film(Film),
}

impl Source {
    fn length(&self) -> u64 {
        match self {
            Source::Whole(bytes) => bytes.len() as u64,
            Source::Film(film) => film.length,
        }
    }

    /// The bytes from `first` up to, but not with, `end`.
    fn body(self, first: u64, end: u64) -> Body {
        match self {
            Source::Whole(bytes) => Body::from(bytes.slice(first as usize..end as usize)),
            Source::Film(film) => Body::from_stream(stream::unfold(first, move |offset| {
                let mut piece = vec![0; PIECE.min(end.saturating_sub(offset)) as usize];
                film.fill(offset, &mut piece);
                let next = offset + piece.len() as u64;
                async move { (!piece.is_empty()).then(|| (Ok::<_, std::io::Error>(Bytes::from(piece)), next)) }
            })),
        }
    }
}

/// A body with what is said about it.
pub(crate) struct Asset {
    pub(crate) source: Source,
    pub(crate) media_type: &'static str,
    /// Without one the client is told nothing about storing.
    pub(crate) cache_control: Option<&'static str>,
    pub(crate) etag: Option<String>,
    pub(crate) version: u32,
}

/// When a version was last modified: the first one on 1 January 2024, each later one a day after the one before.
pub(crate) fn modified(version: u32) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_704_067_200 + 86_400 * u64::from(version.saturating_sub(1)))
}

/// The answer to GET or HEAD; axum takes the body away for HEAD.
pub(crate) fn answer(request: &HeaderMap, asset: Asset) -> Response {
    let text = |name| request.get(name).and_then(|value| value.to_str().ok());
    let changed = httpdate::fmt_http_date(modified(asset.version));
    let length = asset.source.length();
    let mut head = Response::builder()
        .header(header::CONTENT_TYPE, asset.media_type)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::LAST_MODIFIED, &changed)
        .header("X-Content-Version", asset.version);
    if let Some(etag) = &asset.etag {
        head = head.header(header::ETAG, etag);
    }
    if let Some(value) = asset.cache_control {
        head = head.header(header::CACHE_CONTROL, value);
    }
    let etag = asset.etag.as_deref();
    let known = match (text(header::IF_NONE_MATCH), text(header::IF_MODIFIED_SINCE)) {
        (Some(list), _) => matches(list, etag),
        (None, Some(date)) => {
            httpdate::parse_http_date(date).is_ok_and(|date| date >= modified(asset.version))
        }
        (None, None) => false,
    };
    let usable = text(header::IF_RANGE).is_none_or(|value| Some(value) == etag || value == changed);
    let range = text(header::RANGE).filter(|_| usable).and_then(|range| single(range, length));
    let response = match range {
        _ if known => head.status(StatusCode::NOT_MODIFIED).body(Body::empty()),
        Some(Range::Unsatisfiable) => head
            .status(StatusCode::RANGE_NOT_SATISFIABLE)
            .header(header::CONTENT_RANGE, format!("bytes */{length}"))
            .body(Body::empty()),
        Some(Range::Bytes(first, end)) => head
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {first}-{}/{length}", end - 1))
            .header(header::CONTENT_LENGTH, end - first)
            .body(asset.source.body(first, end)),
        None => head.header(header::CONTENT_LENGTH, length).body(asset.source.body(0, length)),
    };
    // Every value above is made of plain characters.
    response.unwrap_or_default()
}

/// Weak comparison of `If-None-Match`.
fn matches(list: &str, etag: Option<&str>) -> bool {
    let mut tags = list.split(',').map(str::trim);
    etag.is_some_and(|etag| tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag))
}

#[derive(Debug, PartialEq)]
enum Range {
    /// From, and up to but not with.
    Bytes(u64, u64),
    Unsatisfiable,
}

/// The one range asked for. Several ranges, another unit or nonsense: `None`, which means the whole body.
fn single(range: &str, length: u64) -> Option<Range> {
    let (first, last) = range.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    Some(match (first, last) {
        ("", last) => match number(last)?.min(length) {
            0 => Range::Unsatisfiable,
            suffix => Range::Bytes(length - suffix, length),
        },
        (first, "") if number(first)? >= length => Range::Unsatisfiable,
        (first, "") => Range::Bytes(number(first)?, length),
        (first, last) if number(first)? > number(last)? => return None,
        (first, _) if number(first)? >= length => Range::Unsatisfiable,
        (first, last) => Range::Bytes(number(first)?, number(last)?.saturating_add(1).min(length)),
    })
}

#[cfg(test)]
mod tests {
    use super::{Range, single};

    #[test]
    fn ranges() {
        let table = [
            ("bytes=0-", Some(Range::Bytes(0, 10))),
            ("bytes=0-0", Some(Range::Bytes(0, 1))),
            ("bytes=9-", Some(Range::Bytes(9, 10))),
            ("bytes=5-99", Some(Range::Bytes(5, 10))),
            ("bytes=-3", Some(Range::Bytes(7, 10))),
            ("bytes=-99", Some(Range::Bytes(0, 10))),
            ("bytes=-0", Some(Range::Unsatisfiable)),
            ("bytes=10-", Some(Range::Unsatisfiable)),
            ("bytes=10-11", Some(Range::Unsatisfiable)),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("bytes=+1-2", None),
            ("lines=0-1", None),
        ];
        for (text, expected) in table {
            assert_eq!(single(text, 10), expected, "{text}");
        }
        assert_eq!(single("bytes=-5", 0), Some(Range::Unsatisfiable));
    }
}
