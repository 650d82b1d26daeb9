//! What learners send: tracking commits, of which none may be lost or doubled, and uploads of any size.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::counters::locked;
use super::front::Front;
use crate::content::hex;

/// The longest commit.
const COMMIT: usize = 1 << 20;
/// The longest name of a commit, and how many names are kept.
const NAME: usize = 64;
const NAMED: usize = 1_000_000;

/// A commit counts once its body came whole, whether or not the client still waits for the answer.
pub(crate) async fn commit(State(front): State<Front>, body: Body) -> Response {
    keep(front, body, false).await
}

/// The same from a page that is being left.
pub(crate) async fn beacon(State(front): State<Front>, body: Body) -> Response {
    keep(front, body, true).await
}

/// How often a commit that names itself (`id=ID` or `id=ID&…`) came: the proof that none was lost or doubled.
#[derive(Default)]
pub(crate) struct Commits(Mutex<HashMap<String, u32>>);

impl Commits {
    fn came(&self, body: &[u8]) {
        let Some(named) = body.strip_prefix(b"id=") else { return };
        let id = named.split(|byte| *byte == b'&').next().unwrap_or_default();
        let mut commits = locked(&self.0);
        if id.len() <= NAME && commits.len() < NAMED {
            *commits.entry(String::from_utf8_lossy(id).into_owned()).or_default() += 1;
        }
    }

    /// Each with how often it came.
    pub(crate) fn all(&self) -> HashMap<String, u32> {
        locked(&self.0).clone()
    }
}

async fn keep(front: Front, body: Body, beacon: bool) -> Response {
    let Ok(body) = to_bytes(body, COMMIT).await else {
        return (StatusCode::BAD_REQUEST, "The commit did not come whole.\n").into_response();
    };
    front.shared.commits.came(&body);
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
