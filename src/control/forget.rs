//! `POST /v1/access/forget`: whom the LMS let in is asked about anew.

use super::{
    Control, Problem,
    tokens::{Caller, ToOperate},
};
use crate::access::{Digest, Forget};
use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whose yes is to be forgotten. What is left out names all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest {
    /// The site's name in the configuration.
    #[schema(example = "lms")]
    pub site: String,
    /// Content id, as the rule's `content` makes it of the path; path and query where the rule has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "14")]
    pub content: Option<String>,
    /// Digest of the learner's credentials, as the access log calls it `learner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "5ab4e2c1f0d39786a1b2c3d4e5f60718")]
    pub learner: Option<String>,
}

/// A forget that is in force: no request whose head arrives from now on is let in by a yes from before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForgetAnswer {
    /// How many there were since the node began; this one is the last of them.
    #[schema(example = 3)]
    pub number: u64,
    /// Always true: what is not applied is an error.
    pub applied: bool,
}

/// Forget whom the LMS let in.
///
/// No request whose head arrives after the answer is let in by a yes that was asked for before, and answers under way on such a
/// yes break off. What is stored stays, and the LMS is asked again.
#[utoipa::path(post, path = "/v1/access/forget", tag = "access", security(("token" = ["operate"])),
    request_body = ForgetRequest,
    responses(
        (status = 200, description = "In force", body = ForgetAnswer),
        (status = 400, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No site has this name", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too long", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields are missing or wrong", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often; nothing was done", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn forget(
    State(control): State<Control>,
    Caller { name: who, .. }: Caller<ToOperate>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ForgetAnswer>, Problem> {
    let body = body.map_err(|error| Problem::unread(error.status(), error.body_text()))?;
    let request = serde_json::from_slice(&body).map_err(|error| Problem::body(&error))?;
    let ForgetRequest { site, content, learner } = request;
    let learner: Option<Digest> =
        learner.map(|text| text.parse()).transpose().map_err(Problem::wrong_learner)?;
    if (control.resolve_site)(&site).is_none() {
        return Err(Problem::unknown_site(&site));
    }
    let number = (control.forget)(Forget { site: site.clone(), content: content.clone(), learner }).await;
    tracing::info!(number, %who, site, content, ?learner, "forgot whom the LMS let in");
    Ok(Json(ForgetAnswer { number, applied: true }))
}
