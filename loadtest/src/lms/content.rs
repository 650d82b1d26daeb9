//! Files of the modules, under `/content/{module}/{version}/`: public, immutable, and checked by nobody.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::asset::{self, Asset, Source};
use super::counters::locked;
use super::front::{Front, Shared};
use crate::content::package::Module;
use crate::content::{Built, media_type};

/// A file of a module. A version that this front does not have yet is a 404 without Cache-Control, as asset servers
/// give it in the middle of a rolling update.
pub(crate) async fn file(
    State(front): State<Front>,
    Path((module, version, path)): Path<(String, u32, String)>,
    headers: HeaderMap,
) -> Response {
    let published = front.version(&module);
    let version = if front.ignores_version() { published } else { version };
    let found = Module::named(&module).filter(|_| (1..=published).contains(&version)).and_then(|module| {
        built(&front.shared, &format!("{}/{path}", module.name()), version, || module.build(&path, version))
    });
    let Some(Built { body, etag }) = found else {
        return (StatusCode::NOT_FOUND, "No such file in this version.\n").into_response();
    };
    let cache_control = if path.ends_with("imsmanifest.xml") {
        "public, max-age=0, must-revalidate"
    } else {
        "public, max-age=31536000, immutable"
    };
    asset::answer(
        &headers,
        Asset {
            source: Source::Whole(body),
            media_type: media_type(&path),
            cache_control: Some(cache_control),
            etag: Some(etag),
            version,
        },
    )
}

/// A body made at its first use and kept.
pub(crate) fn built(
    shared: &Shared,
    name: &str,
    version: u32,
    make: impl FnOnce() -> Option<Vec<u8>>,
) -> Option<Built> {
    let key = (name.to_owned(), version);
    if let Some(built) = locked(&shared.built).get(&key) {
        return Some(built.clone());
    }
    let built = Built::new(make()?);
    locked(&shared.built).insert(key, built.clone());
    Some(built)
}
