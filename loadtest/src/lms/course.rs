//! Courses: a page for each learner alone, and packages that the LMS gives to those alone who are enrolled. Enrolled is who is logged in,
//! but for learners whose name begins with `outsider`.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::account::{learner, own};
use super::asset::{self, Asset, Source};
use super::content::built;
use super::front::Front;
use super::pages::{Tenant, escape};
use crate::content::package::Module;
use crate::content::{Built, media_type};

/// Names of learners who are in no course begin so.
const OUTSIDE: &str = "outsider";

/// The course's page, with the learner's name and how far she is.
pub(crate) async fn page(
    State(front): State<Front>,
    Tenant(tenant): Tenant,
    Path(course): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(name) = learner(&tenant, &headers) else {
        return Redirect::to("/login").into_response();
    };
    let course = escape(&course);
    let list: String = Module::ALL
        .map(|module| {
            let (name, title) = (module.name(), module.title());
            format!("<li><a href=\"/course/{course}/package/{name}/index.html\">{title}</a></li>\n")
        })
        .concat();
    let content = format!("<p>Hello, {}. This is where you stand.</p>\n<ul>\n{list}</ul>\n", escape(&name));
    own(&front, &format!("Course {course}"), &content)
}

/// May this learner have the course's content? 200 or 403, without a body.
pub(crate) async fn access(
    State(front): State<Front>,
    Tenant(tenant): Tenant,
    Path(course): Path<String>,
    headers: HeaderMap,
) -> Response {
    let name = learner(&tenant, &headers);
    let status = match name.filter(|name| enrolled(name)) {
        Some(name) => {
            front.shared.checked(front.number, (tenant, name, course));
            StatusCode::OK
        }
        None => StatusCode::FORBIDDEN,
    };
    (status, [(header::CACHE_CONTROL, "private")]).into_response()
}

/// A file of a package, in the version that is published now at this tenant.
pub(crate) async fn package(
    State(front): State<Front>,
    Tenant(tenant): Tenant,
    Path((course, module, path)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(name) = learner(&tenant, &headers) else {
        return Redirect::to("/login").into_response();
    };
    if !enrolled(&name) {
        return (StatusCode::FORBIDDEN, "You are not in this course.\n").into_response();
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        front.shared.checked(front.number, (tenant.clone(), name, course));
    }
    let version = front.version_at(&tenant, &module);
    let found = Module::named(&module).and_then(|module| {
        built(&front.shared, &format!("{}/{path}", module.name()), version, || module.build(&path, version))
    });
    let Some(Built { body, etag }) = found else {
        return (StatusCode::NOT_FOUND, "No such file in this package.\n").into_response();
    };
    asset::answer(
        &headers,
        Asset {
            source: Source::Whole(body),
            media_type: media_type(&path),
            cache_control: Some("private, max-age=3600"),
            etag: Some(etag),
            version,
        },
    )
}

fn enrolled(name: &str) -> bool {
    !name.starts_with(OUTSIDE)
}
