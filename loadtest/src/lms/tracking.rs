//! What learners send: tracking commits, of which none may be lost or doubled, and uploads of any size.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::front::Front;
use crate::content::hex;

/// The longest commit.
const COMMIT: usize = 1 << 20;

/// A commit counts once its body came whole, whether or not the client still waits for the answer.
pub(crate) async fn commit(State(front): State<Front>, body: Body) -> Response {
    keep(front, body, false).await
}

/// The same from a page that is being left.
pub(crate) async fn beacon(State(front): State<Front>, body: Body) -> Response {
    keep(front, body, true).await
}

async fn keep(front: Front, body: Body, beacon: bool) -> Response {
    let Ok(body) = to_bytes(body, COMMIT).await else {
        return (StatusCode::BAD_REQUEST, "The commit did not come whole.\n").into_response();
    };
    let mut commits = 0;
    front.count(|counters| {
        counters.commit(&body, beacon);
        commits = counters.commits;
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(serde_json::json!({ "commits": commits }))).into_response()
}

/// Reads an upload as it comes, keeps nothing of it, and answers with its length and SHA-256.
pub(crate) async fn upload(State(front): State<Front>, body: Body) -> Response {
    let mut pieces = body.into_data_stream();
    let (mut hash, mut length) = (Sha256::new(), 0u64);
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            return (StatusCode::BAD_REQUEST, "The upload did not come whole.\n").into_response();
        };
        hash.update(&piece);
        length += piece.len() as u64;
        front.count(|counters| counters.upload_bytes += piece.len() as u64);
    }
    front.count(|counters| counters.uploads += 1);
    let answer = serde_json::json!({ "length": length, "sha256": hex(&hash.finalize()) });
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}
