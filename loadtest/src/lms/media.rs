//! The film, the handbook, and the lecture as an HLS list with segments.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::asset::{self, Asset, Source};
use super::content::built;
use super::front::Front;
use crate::content::media::{Film, SEGMENTS, list, segment};
use crate::content::{document, media_type, noise};

const DAY: Option<&str> = Some("public, max-age=86400");

/// Long, with ranges, made as it is sent.
pub(crate) async fn film(State(front): State<Front>, headers: HeaderMap) -> Response {
    let version = front.version("film");
    let film = Film::new(version, front.shared.options.film);
    let etag = Some(film.etag());
    let source = Source::Film(film);
    asset::answer(&headers, Asset { source, media_type: "video/mp4", cache_control: DAY, etag, version })
}

/// A PDF of a good megabyte.
pub(crate) async fn handbook(State(front): State<Front>, headers: HeaderMap) -> Response {
    let version = front.version("handbook");
    let make = || {
        let seed = noise::seed(&["handbook", &version.to_string()]);
        document::pdf(seed, "Handbook for learners", 1_200_000)
    };
    small(&front, &headers, "handbook.pdf", version, DAY, || Some(make()))
}

/// `lecture.m3u8` and `seg-000.ts` and so on; the segments' names do not change with the version.
pub(crate) async fn hls(
    State(front): State<Front>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let version = front.version("lecture");
    let number = file.strip_prefix("seg-").and_then(|rest| rest.strip_suffix(".ts"));
    let number = number.filter(|digits| digits.len() == 3).and_then(|digits| digits.parse().ok());
    match number {
        _ if file == "lecture.m3u8" => {
            let lifetime = Some("public, max-age=4");
            small(&front, &headers, &file, version, lifetime, || Some(list(version).into_bytes()))
        }
        Some(n) if n < SEGMENTS => small(&front, &headers, &file, version, DAY, || Some(segment(version, n))),
        _ => small(&front, &headers, &file, version, None, || None),
    }
}

fn small(
    front: &Front,
    headers: &HeaderMap,
    name: &str,
    version: u32,
    cache_control: Option<&'static str>,
    make: impl FnOnce() -> Option<Vec<u8>>,
) -> Response {
    let Some(built) = built(&front.shared, name, version, make) else {
        return (StatusCode::NOT_FOUND, "No such file.\n").into_response();
    };
    let (source, etag) = (Source::Whole(built.body), Some(built.etag));
    asset::answer(headers, Asset { source, media_type: media_type(name), cache_control, etag, version })
}
