//! The control page: what a test, or a person with a browser, does to the LMS while it runs.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use axum::extract::{Query, State};
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::front::Front;
use super::kind::Load;
use super::trouble::Trouble;

/// Everything under `/_control`, neither counted nor disturbed.
pub(crate) fn router() -> Router<Front> {
    Router::new()
        .route("/", get(async || Html(include_str!("control.html"))))
        .route("/state", get(state))
        .route("/counters", get(counters).delete(reset))
        .route("/load", get(load))
        .route("/commits", get(commits))
        .route("/front", post(set_front))
        .route("/publish", post(publish))
        .route("/trouble", post(trouble).delete(heal))
        .route("/event", post(event))
        .route("/ignore-version", post(ignore_version))
}

/// What is published where, and which troubles are on.
async fn state(State(front): State<Front>) -> Json<Value> {
    let shared = &front.shared;
    let fronts: Vec<_> = (0..shared.fronts()).map(|number| shared.published(number)).collect();
    Json(json!({
        "this_front": front.number,
        "published": fronts,
        "troubles": shared.troubles(),
        "ignore_version": shared.ignore_version.load(Ordering::Relaxed),
    }))
}

#[derive(Deserialize)]
struct Which {
    front: Option<usize>,
}

/// The counts of all fronts, or of one with `?front=`.
async fn counters(State(front): State<Front>, Query(which): Query<Which>) -> Json<Value> {
    Json(json!(front.shared.counters(which.front)))
}

/// What a load test reads often, over all fronts.
async fn load(State(front): State<Front>) -> Json<Load> {
    Json(front.shared.counters(None).load)
}

/// Each commit that named itself, with how often it came.
async fn commits(State(front): State<Front>) -> Json<HashMap<String, u32>> {
    Json(front.shared.commits.all())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFront {
    front: usize,
    up: bool,
}

/// Ends a front, or brings it back. Ask another front for it.
async fn set_front(State(asked): State<Front>, Json(set): Json<SetFront>) -> StatusCode {
    match asked.shared.fronts.get(set.front) {
        Some(own) if set.front != asked.number => {
            own.life.set(set.up).await;
            StatusCode::NO_CONTENT
        }
        _ => StatusCode::CONFLICT,
    }
}

async fn reset(State(front): State<Front>) -> StatusCode {
    front.shared.reset_counters();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    module: String,
    version: u32,
    /// Only on this front.
    front: Option<usize>,
}

async fn publish(State(front): State<Front>, Json(publish): Json<Publish>) -> StatusCode {
    front.shared.publish(publish.front, &publish.module, publish.version);
    StatusCode::NO_CONTENT
}

async fn trouble(State(front): State<Front>, Json(trouble): Json<Trouble>) -> StatusCode {
    front.shared.trouble(trouble);
    StatusCode::NO_CONTENT
}

async fn heal(State(front): State<Front>) -> StatusCode {
    front.shared.heal();
    StatusCode::NO_CONTENT
}

/// The body is sent as it is to every open event stream.
async fn event(State(front): State<Front>, text: String) -> StatusCode {
    front.shared.send_event(&text.replace(['\r', '\n'], " "));
    StatusCode::NO_CONTENT
}

async fn ignore_version(State(front): State<Front>, Json(ignore): Json<bool>) -> StatusCode {
    front.shared.ignore_version.store(ignore, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}
