//! Errors of the API as problem documents (RFC 9457): what went wrong, and what would be right.

use crate::ledger::LedgerError;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::ToSchema;

/// A problem document (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Which problem it is; stays the same over versions. `urn:lectern:` and a word.
    #[serde(rename = "type")]
    #[schema(example = "urn:lectern:unknown-site")]
    pub kind: Cow<'static, str>,
    /// What the problem is, the same text each time.
    pub title: Cow<'static, str>,
    /// The status of the answer.
    #[schema(example = 404)]
    pub status: u16,
    /// What was wrong this time, and what would be right.
    pub detail: String,
}

/// The kind of the problem that passes by itself, as soon as the new process serves.
pub const UPGRADING: &str = "urn:lectern:upgrading";

impl Problem {
    const fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: String) -> Problem {
        Problem { kind: Cow::Borrowed(kind), title: Cow::Borrowed(title), status: status.as_u16(), detail }
    }

    pub(super) fn no_token() -> Problem {
        let detail =
            "send the header \"Authorization: Bearer TOKEN\"; `lectern token NAME` makes a token".into();
        Problem::new(StatusCode::UNAUTHORIZED, "urn:lectern:no-token", "A token is missing", detail)
    }

    pub(super) fn wrong_token(detail: &str) -> Problem {
        Problem::new(
            StatusCode::FORBIDDEN,
            "urn:lectern:wrong-token",
            "The token is not accepted",
            detail.into(),
        )
    }

    /// The body is not JSON, or not of this call.
    pub(super) fn body(error: &serde_json::Error) -> Problem {
        use serde_json::error::Category;
        let (status, kind, title) = match error.classify() {
            Category::Data => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:lectern:wrong-fields",
                "Fields are missing, unknown or of the wrong type",
            ),
            _ => (StatusCode::BAD_REQUEST, "urn:lectern:not-json", "The body is not JSON"),
        };
        Problem::new(status, kind, title, error.to_string())
    }

    /// The body could not be read whole.
    pub(super) fn unread(status: StatusCode, detail: String) -> Problem {
        Problem::new(status, "urn:lectern:unread-body", "The body could not be read", detail)
    }

    pub(super) fn bad_url(url: &str, why: &str) -> Problem {
        let detail =
            format!("{url:?}: {why}; a URL to purge is whole, as in \"https://lms.example/course/1?page=2\"");
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "urn:lectern:bad-url",
            "The URL cannot be purged",
            detail,
        )
    }

    pub(super) fn unknown_host(host: &str) -> Problem {
        let detail = format!("no site answers for the host {host:?}; nothing was purged");
        Problem::new(StatusCode::NOT_FOUND, "urn:lectern:unknown-host", "No site has this host", detail)
    }

    pub(super) fn unknown_site(site: &str) -> Problem {
        let detail = format!("no site has the name {site:?}; nothing was done");
        Problem::new(StatusCode::NOT_FOUND, "urn:lectern:unknown-site", "No site has this name", detail)
    }

    pub(super) fn unknown_scope(scope: &str) -> Problem {
        let detail = format!("no site has the scope {scope:?}; nothing was purged");
        Problem::new(StatusCode::NOT_FOUND, "urn:lectern:unknown-scope", "No scope has this name", detail)
    }

    /// A purge by module would cover nothing, whatever its name.
    pub(super) fn no_modules(site: &str) -> Problem {
        let detail = format!("no rule of the site {site:?} has `module`; nothing was purged");
        Problem::new(StatusCode::NOT_FOUND, "urn:lectern:no-modules", "No rule names modules", detail)
    }

    pub(super) fn wrong_name(what: &str) -> Problem {
        let detail = format!("the {what} is empty; nothing was purged");
        let title = "The name cannot be one";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:wrong-name", title, detail)
    }

    /// A new process of this node is taking over: it will do what this one does not any more.
    pub(super) fn upgrading() -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            UPGRADING,
            "The node is being upgraded",
            "a new process is taking over; nothing was done: ask again in a second".into(),
        )
    }

    pub(super) fn ledger(error: &LedgerError) -> Problem {
        if matches!(error, LedgerError::HandedOver) {
            return Problem::upgrading();
        }
        if matches!(error, LedgerError::KeyTaken(_)) {
            let (kind, title) = ("urn:lectern:key-taken", "The key is of another purge");
            let detail = format!("{error}; nothing was purged: make a key of its own for each purge");
            return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, kind, title, detail);
        }
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:lectern:ledger-refuses",
            "The ledger takes no records",
            format!("{error}; the purge is not acknowledged: ask again"),
        )
    }

    pub(super) fn wrong_list(detail: String) -> Problem {
        let (kind, title) = ("urn:lectern:wrong-list", "The list cannot be warmed");
        let detail = format!("{detail}; nothing was fetched");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, kind, title, detail)
    }

    pub(super) fn wrong_wait(detail: &str) -> Problem {
        let detail = format!("{detail}; there is `wait=applied`; nothing was purged");
        let title = "The call has an unknown parameter";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:wrong-wait", title, detail)
    }

    pub(super) fn wrong_key() -> Problem {
        let detail =
            "write one `Idempotency-Key` of 1 to 255 visible ASCII characters; nothing was purged".into();
        let title = "The key cannot be one";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:wrong-key", title, detail)
    }

    pub(super) fn wrong_pages(detail: String) -> Problem {
        let title = "These are no numbers of records";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:wrong-numbers", title, detail)
    }

    pub(super) fn unread_ledger(error: &LedgerError) -> Problem {
        if matches!(error, LedgerError::HandedOver) {
            return Problem::upgrading();
        }
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:lectern:ledger-unread",
            "The ledger cannot be read",
            format!("{error}; ask again"),
        )
    }

    pub(super) fn wrong_learner(why: &str) -> Problem {
        let (kind, title) = ("urn:lectern:wrong-learner", "This is no digest of credentials");
        let detail = format!("{why}; the access log tells them as `learner`");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, kind, title, detail)
    }

    /// The request to explain is none. `detail` repeats nothing that may be secret.
    pub(super) fn wrong_question(detail: String) -> Problem {
        let title = "This is no request that could be explained";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:wrong-question", title, detail)
    }

    pub(super) fn reload_refused(report: String) -> Problem {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "urn:lectern:reload-refused",
            "The configuration has errors; what ran before goes on",
            report,
        )
    }
}

/// For every path that is not of the API.
pub(super) async fn no_such_path(uri: Uri) -> Problem {
    let detail = format!("{} is not of this API; GET /v1/openapi.json describes it", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "urn:lectern:unknown-path", "There is nothing at this path", detail)
}

/// For every method that a path does not have.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}; GET /v1/openapi.json describes the API", uri.path());
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "urn:lectern:wrong-method",
        "The path has no such method",
        detail,
    )
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let upgrading = self.kind == UPGRADING;
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let seconds = if upgrading { "1" } else { "5" };
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
            }
            _ => {}
        }
        response
    }
}
