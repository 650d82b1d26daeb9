//! Fastly's: purge by surrogate key, one or several, and of all. A service is a site.

use super::{Shape, takes};
use crate::control::{
    Control, Peer, Problem,
    batch::{self, ItemResult},
    purge::{Call, How, PurgeAnswer, PurgeRequest, What, from},
    tokens::{Caller, ToPurge},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{
        FromRequestParts, Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, request::Parts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

const KEY: HeaderName = HeaderName::from_static("fastly-key");

/// What went wrong, as Fastly says it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::control) struct FastlyProblem {
    /// What.
    #[schema(example = "A token is missing")]
    msg: String,
    /// What was wrong this time, and what would be right.
    detail: String,
}

/// A purge that is in force, as Fastly says it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::control) struct FastlyAnswer {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
    /// Identity of the ledger and number of the record.
    #[schema(example = "9f2c44d1a0b8e6375510c3f7a9e2b4d6-17")]
    id: String,
}

/// Several keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct SurrogateKeys {
    /// The keys.
    #[schema(example = json!(["course-7", "course-8"]))]
    surrogate_keys: Vec<String>,
}

/// A [`Problem`] in Fastly's form.
pub(in crate::control) struct Refusal(Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal(problem) = self;
        let mut fields = HeaderMap::new();
        problem.fields(&mut fields);
        let status = problem.status();
        let told = FastlyProblem { msg: problem.title.into_owned(), detail: problem.detail };
        let mut response = (status, Json(told)).into_response();
        response.headers_mut().extend(fields);
        response
    }
}

/// Whoever shows `Fastly-Key`, where the shape is on.
pub(in crate::control) struct KeyHolder(Caller<ToPurge>);

impl FromRequestParts<Control> for KeyHolder {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<KeyHolder, Refusal> {
        takes(&control.shapes, Shape::Fastly)?;
        let key = parts.headers.get(KEY).and_then(|key| key.to_str().ok());
        Ok(KeyHolder(control.tokens.admit(key)?))
    }
}

/// Purge one surrogate key of a service.
#[utoipa::path(post, path = "/service/{site}/purge/{key}", tag = "shapes", security(("fastly_key" = ["purge"])),
    params(
        ("site" = String, Path, description = "The site's name in the configuration", example = "lms"),
        ("key" = String, Path, description = "The tag", example = "course-7"),
        ("fastly-soft-purge" = Option<String>, Header, description = "1: stale, not gone", example = "1"),
    ),
    responses(
        (status = 200, description = "In force", body = FastlyAnswer),
        (status = 400, description = "Fastly-Soft-Purge is not 1, or the path is no text", body = FastlyProblem),
        (status = 401, description = "No token", body = FastlyProblem),
        (status = 403, description = "The token is not accepted, or has not the role", body = FastlyProblem),
        (status = 404, description = "No site has this name, or the shape is off", body = FastlyProblem),
        (status = 422, description = "The key is none", body = FastlyProblem),
        (status = 429, description = "The token calls too often, or all was purged just now; nothing was done", body = FastlyProblem),
        (status = 503, description = "The ledger takes no records; not acknowledged", body = FastlyProblem),
    ))]
pub(in crate::control) async fn purge_key(
    State(control): State<Control>,
    KeyHolder(caller): KeyHolder,
    peer: Option<Extension<Peer>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<FastlyAnswer>, Refusal> {
    let Path((site, key)) = path.map_err(|error| Problem::wrong_path(error.body_text()))?;
    let what = What::Tag { tag: key, site };
    one(&control, &caller, from(peer), what, soft(&headers)?).await
}

/// Purge everything of a service; hard, whatever `Fastly-Soft-Purge` says.
#[utoipa::path(post, path = "/service/{site}/purge_all", tag = "shapes", security(("fastly_key" = ["purge"])),
    params(("site" = String, Path, description = "The site's name in the configuration", example = "lms")),
    responses(
        (status = 200, description = "In force", body = FastlyAnswer),
        (status = 400, description = "The path is no text", body = FastlyProblem),
        (status = 401, description = "No token", body = FastlyProblem),
        (status = 403, description = "The token is not accepted, or has not the role", body = FastlyProblem),
        (status = 404, description = "No site has this name, or the shape is off", body = FastlyProblem),
        (status = 429, description = "The token calls too often, or all was purged just now; nothing was done", body = FastlyProblem),
        (status = 503, description = "The ledger takes no records; not acknowledged", body = FastlyProblem),
    ))]
pub(in crate::control) async fn purge_all(
    State(control): State<Control>,
    KeyHolder(caller): KeyHolder,
    peer: Option<Extension<Peer>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<FastlyAnswer>, Refusal> {
    let Path(site) = path.map_err(|error| Problem::wrong_path(error.body_text()))?;
    one(&control, &caller, from(peer), What::Site { site }, false).await
}

/// Purge several surrogate keys of a service, of the body or of `Surrogate-Key`: all or, where one is wrong, none.
#[utoipa::path(post, path = "/service/{site}/purge", tag = "shapes", security(("fastly_key" = ["purge"])),
    request_body = Option<SurrogateKeys>,
    params(
        ("site" = String, Path, description = "The site's name in the configuration", example = "lms"),
        ("surrogate-key" = Option<String>, Header, description = "The tags, parted by spaces", example = "course-7 course-8"),
        ("fastly-soft-purge" = Option<String>, Header, description = "1: stale, not gone", example = "1"),
    ),
    responses(
        (status = 200, description = "All in force: for each key its id", body = BTreeMap<String, String>),
        (status = 400, description = "Fastly-Soft-Purge is not 1, or the body is not JSON", body = FastlyProblem),
        (status = 401, description = "No token", body = FastlyProblem),
        (status = 403, description = "The token is not accepted, or has not the role", body = FastlyProblem),
        (status = 404, description = "The shape is off", body = FastlyProblem),
        (status = 413, description = "More than 256 keys", body = FastlyProblem),
        (status = 422, description = "There is no key, one is none, or no site has this name", body = FastlyProblem),
        (status = 429, description = "The token calls too often, or all was purged just now; nothing was done", body = FastlyProblem),
        (status = 503, description = "The ledger takes no records; not all is acknowledged", body = FastlyProblem),
    ))]
pub(in crate::control) async fn purge_keys(
    State(control): State<Control>,
    KeyHolder(caller): KeyHolder,
    peer: Option<Extension<Peer>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<BTreeMap<String, String>>, Refusal> {
    let Path(site) = path.map_err(|error| Problem::wrong_path(error.body_text()))?;
    let how = How { soft: soft(&headers)?, ..How::default() };
    let body = body.map_err(|error| Problem::unread(error.status(), error.body_text()))?;
    let tags = keys(&headers, &body)?;
    let asked = |tag: &String| {
        Ok(PurgeRequest { what: What::Tag { tag: tag.clone(), site: site.clone() }, how: how.clone() })
    };
    let requests = tags.iter().map(asked).collect();
    let call = Call { who: &caller.name, from: from(peer), key: None };
    let results = batch::purge_all(&control, &caller, call, requests).await?;
    if let Some(problem) = batch::wrong(&results) {
        return Err(problem.into());
    }
    let ids = results.into_iter().filter_map(|ItemResult { purge, .. }| purge.as_ref().map(id));
    Ok(Json(tags.into_iter().zip(ids).collect()))
}

async fn one(
    control: &Control,
    caller: &Caller<ToPurge>,
    from: String,
    what: What,
    soft: bool,
) -> Result<Json<FastlyAnswer>, Refusal> {
    let request = PurgeRequest { what, how: How { soft, ..How::default() } };
    let call = Call { who: &caller.name, from, key: None };
    let answer = call.purge(control, caller, request).await?;
    Ok(Json(FastlyAnswer { status: "ok", id: id(&answer) }))
}

fn id(answer: &PurgeAnswer) -> String {
    format!("{}-{}", answer.ledger, answer.number)
}

/// The keys of the body, and of the field.
fn keys(headers: &HeaderMap, body: &[u8]) -> Result<Vec<String>, Problem> {
    let mut keys = match body {
        [] => Vec::new(),
        body => {
            let read: Result<SurrogateKeys, _> = serde_json::from_slice(body);
            read.map_err(|error| Problem::body(&error))?.surrogate_keys
        }
    };
    for line in headers.get_all("surrogate-key") {
        let line = line.to_str().map_err(|_| Problem::wrong_name("surrogate key"))?;
        keys.extend(line.split([' ', '\t']).filter(|key| !key.is_empty()).map(str::to_owned));
    }
    if keys.is_empty() {
        return Err(Problem::wrong_name("list of surrogate keys"));
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

fn soft(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get("fastly-soft-purge").map(|value| value.as_bytes()) {
        None => Ok(false),
        Some(b"1") => Ok(true),
        Some(_) => Err(Problem::wrong_soft()),
    }
}
