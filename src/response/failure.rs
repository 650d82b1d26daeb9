//! Refusals and failures as answers: the one place where they become a status.

use crate::{
    fill::Failure,
    http_caching::accept::{self, Form},
    origin::OriginError,
    site::FailurePage,
    telemetry::Fault,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use std::time::Duration;

const TEXT: &str = "text/plain; charset=utf-8";
/// When to ask again for what no front has of the active release.
const AGAIN: Duration = Duration::from_secs(5);

/// Why the edge answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Status.
    pub status: StatusCode,
    /// Why, in a fixed word, the same in the log.
    pub word: &'static str,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// The client's connection is not to be used further.
    pub close: bool,
}

impl Plain {
    /// An answer of the edge's own.
    pub const fn new(status: StatusCode, word: &'static str) -> Plain {
        Plain { status, word, retry_after: None, close: false }
    }

    /// The answer to a request whose fill failed.
    pub fn failed(failure: &Failure) -> Plain {
        match failure {
            Failure::Busy { retry_after } => Plain::busy(*retry_after),
            Failure::Origin(error) => Plain::origin(error),
            Failure::OtherRelease => Plain::not_of_the_release(failure.word()),
            other => Plain::new(StatusCode::BAD_GATEWAY, other.word()),
        }
    }

    /// The origin could not be asked, or what it or the client sent cannot be used.
    pub fn origin(error: &OriginError) -> Plain {
        if let OriginError::Down(seconds) = error {
            let retry_after = Some(Duration::from_secs(u64::from(*seconds)));
            return Plain { retry_after, ..Plain::new(StatusCode::SERVICE_UNAVAILABLE, error.word()) };
        }
        let status = match error {
            OriginError::BodyLimit => StatusCode::PAYLOAD_TOO_LARGE,
            OriginError::ClientBody | OriginError::Unsendable => StatusCode::BAD_REQUEST,
            OriginError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        // What is left of a request's body cannot be told from a next request.
        Plain { close: error.fault() == Fault::Client, ..Plain::new(status, error.word()) }
    }

    /// The origin has not, or not yet everywhere, the release that is active.
    pub const fn not_of_the_release(word: &'static str) -> Plain {
        Plain { retry_after: Some(AGAIN), ..Plain::new(StatusCode::SERVICE_UNAVAILABLE, word) }
    }

    /// The origin has no place for the request.
    pub const fn busy(retry_after: Duration) -> Plain {
        Plain { retry_after: Some(retry_after), ..Plain::new(StatusCode::SERVICE_UNAVAILABLE, "origin-busy") }
    }

    /// Its fields.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1 wants a challenge; nothing that a browser could ask its user for would help.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Signature"));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        headers
    }

    /// What it says to a client that asked with these fields, and its type; `page`: the site's own.
    pub fn told_to(&self, asked: &HeaderMap, page: Option<&FailurePage>) -> (HeaderValue, String) {
        let (status, retry_after) =
            (self.status.as_u16(), self.retry_after.map(|after| after.as_secs().max(1)));
        match (accept::form(asked), page) {
            (Form::Html, Some(page)) if self.status.is_server_error() => {
                let html = HeaderValue::from_static("text/html; charset=utf-8");
                (html, page.filled(status, self.word, retry_after))
            }
            (Form::Json, _) if self.status.is_server_error() => {
                let told = json!({ "status": status, "reason": self.word, "retry_after": retry_after });
                (HeaderValue::from_static("application/json"), told.to_string())
            }
            _ => (HeaderValue::from_static(TEXT), self.text()),
        }
    }

    /// Its text: the status and the word, for whoever reads it at three in the morning.
    pub fn text(&self) -> String {
        format!("{} ({})\n", self.status, self.word)
    }
}
