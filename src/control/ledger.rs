//! `GET /v1/ledger`: the records as they stand on the medium, so that whoever asks can compute the chain.

use super::{
    Control, Problem,
    tokens::{Caller, ToRead},
};
use crate::ledger::{AT_ONCE, Entry};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which records.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Pages {
    /// Number of the first; absent: 1.
    #[param(example = 1)]
    from: Option<u64>,
    /// How many at most, up to 1000.
    #[param(example = 100)]
    limit: Option<usize>,
}

/// Part of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerPage {
    /// Identity of the ledger, 32 hex digits.
    #[schema(example = "9f2c44d1a0b8e6375510c3f7a9e2b4d6")]
    pub ledger: String,
    /// Its last number.
    #[schema(example = 17)]
    pub last: u64,
    /// The records, by number. None: there are no more.
    pub records: Vec<RecordTold>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordTold {
    /// Its number.
    #[schema(example = 17)]
    pub number: u64,
    /// Digest of the chain with it, 64 hex digits (`docs/ledger-format.md`).
    pub digest: String,
    /// The record, JSON in a text: byte by byte what the digest is over.
    #[schema(
        example = "{\"kind\":\"purge-all\",\"sites\":[],\"who\":\"release\",\"why\":\"\",\"when\":1700000000000,\"from\":\"\"}"
    )]
    pub record: String,
}

/// Read the ledger.
#[utoipa::path(get, path = "/v1/ledger", tag = "purge", security(("token" = ["read"])),
    params(Pages),
    responses(
        (status = 200, description = "Records from that number on", body = LedgerPage),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A number is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often; nothing was done", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The ledger cannot be read now", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn ledger(
    State(control): State<Control>,
    _: Caller<ToRead>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Result<Json<LedgerPage>, Problem> {
    let Query(Pages { from, limit }) = pages.map_err(|error| Problem::wrong_pages(error.body_text()))?;
    let limit = limit.unwrap_or(AT_ONCE).min(AT_ONCE);
    let last = control.ledger.last();
    let entries = control.ledger.entries(from.unwrap_or(1), limit).await;
    let entries = entries.map_err(|error| Problem::unread_ledger(&error))?;
    let told =
        |entry: Entry| RecordTold { number: entry.number, digest: entry.digest_text(), record: entry.text };
    let records = entries.into_iter().map(told).collect();
    Ok(Json(LedgerPage { ledger: last.identity.to_string(), last: last.n, records }))
}
