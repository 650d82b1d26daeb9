//! Trouble on request: slow answers, errors instead of answers, bodies that end too early.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

/// A trouble for all paths that begin in one way.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// Paths that begin so; empty: all.
    #[serde(default)]
    pub prefix: String,
    /// Only on this front.
    pub front: Option<usize>,
    /// Milliseconds before the head is sent.
    pub delay_ms: Option<u64>,
    /// This status instead of an answer.
    pub status: Option<u16>,
    /// The connection ends (HTTP/2: the stream is reset) after about so many bytes of the body, if it has more.
    pub cut_after: Option<u64>,
    /// Only so many times; without it until healed.
    pub times: Option<u64>,
}

impl Trouble {
    /// On which paths; what happens there is added.
    pub fn on(prefix: &str) -> Trouble {
        Trouble { prefix: prefix.to_owned(), ..Trouble::default() }
    }

    /// Only on one front.
    pub fn front(self, number: usize) -> Trouble {
        Trouble { front: Some(number), ..self }
    }

    /// The head comes so much later.
    pub fn delay(self, time: Duration) -> Trouble {
        Trouble { delay_ms: Some(time.as_millis() as u64), ..self }
    }

    /// An error instead of the answer.
    pub fn status(self, status: u16) -> Trouble {
        Trouble { status: Some(status), ..self }
    }

    /// The body ends too early.
    pub fn cut_after(self, bytes: u64) -> Trouble {
        Trouble { cut_after: Some(bytes), ..self }
    }

    /// Not for ever.
    pub fn times(self, times: u64) -> Trouble {
        Trouble { times: Some(times), ..self }
    }

    /// Is this request hit? If so, one of the times is used up.
    pub(crate) fn strikes(&mut self, front: usize, path: &str) -> bool {
        if !path.starts_with(&self.prefix) || self.front.is_some_and(|only| only != front) {
            return false;
        }
        match &mut self.times {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }
}

/// The answer that stands in for the real one. It has no Cache-Control, as such pages use not to.
pub(crate) fn failure(status: u16) -> Response {
    let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    (status, format!("The sample LMS was told to answer {status}.\n")).into_response()
}

/// The same response with a body that breaks off after `bytes`.
pub(crate) fn cut(response: Response, bytes: u64) -> Response {
    let (head, body) = response.into_parts();
    let start = (body.into_data_stream(), bytes);
    let pieces = stream::unfold(Some(start), |state| async move {
        let (body, left) = state?;
        piece(body, left).await
    });
    Response::from_parts(head, Body::from_stream(pieces))
}

type Step = (Result<Bytes, axum::Error>, Option<(BodyDataStream, u64)>);

async fn piece(mut body: BodyDataStream, left: u64) -> Option<Step> {
    let mut data = match body.next().await? {
        Ok(data) => data,
        Err(error) => return Some((Err(error), None)),
    };
    if left == 0 {
        // What was written so far leaves before the error ends the connection.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        return Some((Err(axum::Error::new(std::io::Error::other("cut"))), None));
    }
    data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
    let left = left - data.len() as u64;
    Some((Ok(data), Some((body, left))))
}
