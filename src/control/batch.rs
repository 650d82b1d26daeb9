//! Several purges in one call. Each is looked at before the first is written, so a batch with a mistake in it purges nothing; and what
//! becomes of each is told, whatever the status of the answer: 200 stands for "all are in force" and for nothing else.

use super::{
    Control, Problem, UPGRADING,
    purge::{Call, PurgeAnswer, PurgeRequest, written},
    tokens::{Caller, ToPurge},
};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::num::NonZeroU32;
use utoipa::ToSchema;

/// So many share one sync of the ledger.
const MOST: usize = 256;

/// One purge or several.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what is read in two steps")]
pub(super) enum Asked {
    One(PurgeRequest),
    Several(Vec<PurgeRequest>),
}

/// What became of one purge or several.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what is written as one or the other")]
pub(super) enum Told {
    One(PurgeAnswer),
    Several(BatchAnswer),
}

/// Why one purge was not done, or not all of several.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what is written as one or the other")]
pub(super) enum ProblemTold {
    One(Problem),
    Several(BatchProblem),
}

/// A batch that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// False if one is a dry run: what is not applied is an error.
    pub applied: bool,
    /// What became of each, in the order of the call.
    pub results: Vec<ItemResult>,
}

/// A batch that is not, or not all of it: a problem document (RFC 9457) that tells what became of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchProblem {
    /// What went wrong with the whole.
    #[serde(flatten)]
    pub problem: Problem,
    /// What became of each, in the order of the call.
    #[serde(default)]
    pub results: Vec<ItemResult>,
}

/// What became of one purge of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemResult {
    /// The status that it would have been answered by itself; 424: it is right, and was not done as another is wrong.
    #[schema(example = 200)]
    pub status: u16,
    /// It is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge: Option<PurgeAnswer>,
    /// It is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

impl From<Result<PurgeAnswer, Problem>> for ItemResult {
    fn from(became: Result<PurgeAnswer, Problem>) -> ItemResult {
        match became {
            Ok(purge) => ItemResult { status: 200, purge: Some(purge), problem: None },
            Err(problem) => ItemResult { status: problem.status, purge: None, problem: Some(problem) },
        }
    }
}

/// Whether a body is a batch.
pub(super) fn is_one(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

pub(super) async fn purge(
    control: &Control,
    caller: &Caller<ToPurge>,
    call: Call<'_>,
    body: &[u8],
) -> Result<Response, Problem> {
    let items: Vec<Value> = serde_json::from_slice(body).map_err(|error| Problem::body(&error))?;
    let requests =
        items.into_iter().map(|item| serde_json::from_value(item).map_err(|error| Problem::body(&error)));
    Ok(answer(purge_all(control, caller, call, requests.collect()).await?))
}

/// Does all or, where one is wrong, none. An error concerns the call: nobody was let in to it.
pub(super) async fn purge_all(
    control: &Control,
    caller: &Caller<ToPurge>,
    call: Call<'_>,
    requests: Vec<Result<PurgeRequest, Problem>>,
) -> Result<Vec<ItemResult>, Problem> {
    if requests.len() > MOST {
        return Err(Problem::too_many_purges(MOST));
    }
    // The call itself is counted already.
    let more = u32::try_from(requests.len()).ok().and_then(|all| NonZeroU32::new(all.saturating_sub(1)));
    more.map_or(Ok(()), |more| caller.count(more))?;
    requests.iter().flatten().try_for_each(|request| caller.may(request.what.roles()))?;
    let records: Vec<_> =
        (0..).zip(requests).map(|(at, request)| call.item(at).record(control, request?)).collect();
    if records.iter().any(Result::is_err) {
        let undone =
            |record: Result<_, _>| ItemResult::from(Err(record.err().unwrap_or_else(Problem::not_done)));
        return Ok(records.into_iter().map(undone).collect());
    }
    // All wait together, so that they share a sync.
    let became = join_all(records.into_iter().flatten().map(|record| written(control, record))).await;
    Ok(became.into_iter().map(ItemResult::from).collect())
}

impl Call<'_> {
    /// One of several. Its key is made of theirs by a space, which no key has that came with a call.
    fn item(&self, at: usize) -> Call<'_> {
        Call { key: self.key.as_ref().map(|key| format!("{key} {at}")), ..self.clone() }
    }
}

/// What is wrong with the whole; none: nothing is.
pub(super) fn wrong(results: &[ItemResult]) -> Option<Problem> {
    let problems = || results.iter().filter_map(|result| result.problem.as_ref());
    let failed = problems().count();
    let applied = results.len() - failed;
    if let Some(upgrading) = problems().find(|problem| problem.kind == UPGRADING) {
        return Some(upgrading.clone());
    }
    // What passes by itself is not wrong.
    match problems().find(|problem| problem.status < 500 && !matches!(problem.status, 424 | 429)) {
        Some(first) => Some(Problem::wrong_items(applied, first)),
        None if results.len() == 1 => problems().next().cloned(),
        None => problems().next().map(|first| Problem::not_all_applied(applied, failed, first)),
    }
}

fn answer(results: Vec<ItemResult>) -> Response {
    let Some(problem) = wrong(&results) else {
        let applied = results.iter().filter_map(|result| result.purge.as_ref()).all(|purge| purge.applied);
        return Json(BatchAnswer { applied, results }).into_response();
    };
    let mut fields = HeaderMap::new();
    problem.fields(&mut fields);
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    let status = problem.status();
    let mut response = (status, Json(BatchProblem { problem, results })).into_response();
    response.headers_mut().extend(fields);
    response
}
