//! `/healthz`, `/readyz`, `/metrics`: read by probes without a token.

use super::Control;
use crate::ledger::LedgerError;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether learners should be sent here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// True: send learners.
    pub ready: bool,
    /// Why not; empty if ready.
    pub reasons: Vec<String>,
    /// What else operations should know, though learners are served: folders of the disk tier that are off. Absent: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "node",
    responses((status = 200, description = "The process answers", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether learners should be sent to this node.
#[utoipa::path(get, path = "/readyz", tag = "node",
    responses(
        (status = 200, description = "Ready", body = Readiness),
        (status = 503, description = "Not ready: it drains, or the ledger takes no records", body = Readiness),
    ))]
pub(super) async fn readyz(State(control): State<Control>) -> Response {
    let mut reasons = (control.not_ready)();
    // While the ledger is handed over learners are served, by this process or the next.
    let refusal = control.ledger.refusal().filter(|why| !matches!(**why, LedgerError::HandedOver));
    if let Some(why) = refusal {
        reasons.push(format!("ledger: {why}"));
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons, notes: (control.notes)() })).into_response()
}

/// The metrics in Prometheus' text form.
#[utoipa::path(get, path = "/metrics", tag = "node",
    responses((status = 200, description = "Metrics, text form 0.0.4", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(control): State<Control>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], control.metrics.render()).into_response()
}
