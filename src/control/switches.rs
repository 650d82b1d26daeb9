//! `/v1/switches`: a site, or all of the node, relays everything or spares its origin; in force with the answer.

use super::{
    Control, Peer, Problem,
    tokens::{Caller, ToOperate, ToRead},
};
use crate::site::{Mode, Switched};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to be switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchRequest {
    /// The site's name in the configuration; absent: the node, for every site without a switch of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "lms")]
    pub site: Option<String>,
    /// How its requests are to go on; `normal` takes the switch away.
    pub mode: Mode,
    /// Why, for those who find it switched.
    #[schema(example = "the LMS restores its database")]
    pub reason: String,
}

/// A switch that is in force: for every request whose head arrives from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SwitchAnswer {
    /// Always true: what is not applied is an error.
    pub applied: bool,
    /// All that is switched now.
    pub switches: Vec<Switched>,
}

/// What is switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SwitchesTold {
    /// The node first, then sites by name; a site's own switch goes before the node's. None: all goes on as the rules say.
    pub switches: Vec<Switched>,
}

/// Switch a site or the node.
///
/// `relay`: every request goes to the origin and nothing is stored; what is stored stays. `spare`: whatever is stored and not purged
/// answers, however stale, and only what is absent is asked for; what the origin says must not be served stale is asked about
/// as ever, and so is who may have it. It is recorded and survives a restart.
#[utoipa::path(post, path = "/v1/switches", tag = "node", security(("token" = ["operate"])),
    request_body = SwitchRequest,
    responses(
        (status = 200, description = "In force", body = SwitchAnswer),
        (status = 400, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No site has this name", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too long", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields are missing or wrong", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often; nothing was done", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "It cannot be recorded, or the node is being upgraded; nothing was switched", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn switch(
    State(control): State<Control>,
    Caller { name: who, .. }: Caller<ToOperate>,
    peer: Option<Extension<Peer>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<SwitchAnswer>, Problem> {
    let body = body.map_err(|error| Problem::unread(error.status(), error.body_text()))?;
    let request = serde_json::from_slice(&body).map_err(|error| Problem::body(&error))?;
    let SwitchRequest { site, mode, reason } = request;
    if reason.trim().is_empty() {
        return Err(Problem::no_reason());
    }
    let switches = control.switches.clone();
    if let Some(site) = &site
        && (control.resolve_site)(site).is_none()
        // The switch of a site that is gone can be taken away.
        && !(mode == Mode::Normal && switches.switched().iter().any(|switched| switched.site.as_ref() == Some(site)))
    {
        return Err(Problem::unknown_site(site));
    }
    let from = peer.map_or_else(String::new, |Extension(Peer(peer))| peer.ip().to_string());
    let change = Switched::now(site, mode, &who, reason, from);
    let switched = tokio::task::spawn_blocking(move || {
        switches.switch(change)?;
        Ok(switches.switched())
    });
    match switched.await {
        Ok(Ok(switches)) => Ok(Json(SwitchAnswer { applied: true, switches })),
        Ok(Err(error)) => Err(Problem::switch(&error)),
        Err(broken) => Err(Problem::switch(&std::io::Error::other(broken).into())),
    }
}

/// Tell what is switched.
#[utoipa::path(get, path = "/v1/switches", tag = "node", security(("token" = ["read"])),
    responses(
        (status = 200, description = "What is not as the rules say", body = SwitchesTold),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often; nothing was done", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn switches(State(control): State<Control>, _: Caller<ToRead>) -> Json<SwitchesTold> {
    Json(SwitchesTold { switches: control.switches.switched() })
}
