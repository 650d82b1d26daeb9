//! Coded variants: made once beside the requests, each with a tag of its own, and never of what is outdated.
//!
//! - `conditions`: tags, conditions and ranges of variants, towards clients and towards the origin.
//! - `kept`: what is made survives restarts, and its loss costs nothing but its making.
//! - `made`: what is made, for whom, and what is left alone.
//! - `unasked`: what an origin sends coded though nobody asked.
//! - `versions`: purges, fills and unsafe methods while a coder works.

mod conditions;
mod kept;
mod made;
mod unasked;
mod versions;

use crate::support::{
    answer::Answer,
    coded::{coding, decoded},
    deadline::eventually,
    edge::Edge,
    message::{Reply, Request},
};

/// Chromium's and Firefox's, Safari's, and an old client's.
const ALL: &str = "gzip, deflate, br, zstd";
const BROTLI: &str = "gzip, deflate, br";
const GZIP: &str = "gzip";

/// Text that has something to find, told apart by `seed`.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let words = ["learner", "module", "answer", "release", "course", "page", "question", "the", "of", "and"];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = format!("/* {seed} */\n").into_bytes();
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(words[(state >> 33) as usize % words.len()].as_bytes());
        text.push(if state >> 60 == 0 { b'\n' } else { b' ' });
    }
    text.truncate(length);
    text
}

/// A style sheet that may be stored.
fn css(body: impl AsRef<[u8]>) -> Answer {
    Answer::storable(body).field("Content-Type", "text/css; charset=utf-8")
}

fn asks(path: &str, accepts: &str) -> Request {
    Request::get(path).field("Accept-Encoding", accepts)
}

/// Variants made so far.
async fn made(edge: &Edge) -> u64 {
    edge.metric("lectern_coding_variants_total", &[]).await as u64
}

/// Asks until the answer is in this coding, each answer having this content. Seldom: what is asked for often is coded again.
async fn until_coded(edge: &Edge, request: &Request, wanted: &str, content: &[u8]) -> Reply {
    for _ in 0..3 {
        let reply = edge.ask(request).await.expect(200);
        assert!(decoded(&reply) == content, "{reply}");
        if coding(&reply) == wanted {
            return reply;
        }
        idle(edge).await;
    }
    panic!("no answer in {wanted}")
}

/// Waits until no coder has anything to do.
async fn idle(edge: &Edge) {
    eventually("idle coders", async || edge.metric("lectern_coding_queue", &[]).await == 0.0).await;
}
