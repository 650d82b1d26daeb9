//! `POST /v1/reload`: the same as SIGHUP, with the answer in hand.

use super::{
    Control, Problem,
    tokens::{Caller, ToOperate},
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What runs after a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadSummary {
    /// Sites now served.
    pub sites: usize,
    /// Rules now in force, over all sites.
    pub rules: usize,
    /// Settings that were changed in the file and need a restart to be obeyed.
    #[serde(default)]
    pub restart_needed: Vec<String>,
}

/// Why what ran before goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadRefused {
    /// A new process is taking over, which has read its configuration already.
    Upgrading,
    /// The whole report, as `lectern check` prints it.
    Wrong(String),
}

/// Load, check and swap the configuration.
///
/// With an error in it nothing changes and the answer lists all errors.
#[utoipa::path(post, path = "/v1/reload", tag = "node", security(("token" = ["operate"])),
    responses(
        (status = 200, description = "The new configuration is in force", body = ReloadSummary),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often; nothing was done", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The node is being upgraded; nothing was done", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The configuration has errors; what ran before goes on", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn reload(
    State(control): State<Control>,
    Caller { name: who, .. }: Caller<ToOperate>,
) -> Result<Json<ReloadSummary>, Problem> {
    tracing::info!(%who, "reload asked by the control API");
    (control.reload)().await.map(Json).map_err(|refused| match refused {
        ReloadRefused::Upgrading => Problem::upgrading(),
        ReloadRefused::Wrong(report) => Problem::reload_refused(report),
    })
}
