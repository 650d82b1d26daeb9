//! Errors of the API as problem documents (RFC 9457): what went wrong, and what would be right.

use super::roles::Roles;
use crate::{ledger::LedgerError, site::SwitchError};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};
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
    /// Seconds until it is worth asking again; the field `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

/// The kind of the problem that passes by itself, as soon as the new process serves.
pub const UPGRADING: &str = "urn:lectern:upgrading";

impl Problem {
    const fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: String) -> Problem {
        let (kind, title) = (Cow::Borrowed(kind), Cow::Borrowed(title));
        let retry_after = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some(5),
            _ => None,
        };
        Problem { kind, title, status: status.as_u16(), detail, retry_after }
    }

    pub(super) fn no_token() -> Problem {
        let detail =
            "send the header \"Authorization: Bearer TOKEN\"; `lectern token NAME --roles ROLES` makes a token".into();
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

    /// The token is accepted, and not for this.
    pub(super) fn lacks_role(who: &str, roles: &Roles, any: &Roles) -> Problem {
        let any = any.to_string().replace(',', " or ");
        let detail = format!(
            "the token {who:?} has the roles {roles}; this takes {any}: write it into the node's token file, and reload"
        );
        let title = "The token has not the role for this";
        Problem::new(StatusCode::FORBIDDEN, "urn:lectern:lacks-role", title, detail)
    }

    /// The token called too often.
    pub(super) fn too_many_calls(who: &str, wait: Duration) -> Problem {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!(
            "the token {who:?} calls more often than [control] allows (calls_per_second, calls_at_once); nothing was done: ask \
             again in {seconds} s"
        );
        let title = "Too many calls";
        let problem =
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "urn:lectern:too-many-calls", title, detail);
        Problem { retry_after: Some(seconds.max(1)), ..problem }
    }

    /// The same was purged as a whole just now.
    pub(super) fn too_soon(wait: Duration) -> Problem {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!(
            "the same was purged as a whole just now ([control] whole_purge_pause); nothing was purged: purge what changed, or ask \
             again in {seconds} s"
        );
        let problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "urn:lectern:too-soon",
            "Purged as a whole just now",
            detail,
        );
        Problem { retry_after: Some(seconds.max(1)), ..problem }
    }

    /// A release, or its list, is not as it is to be.
    pub(super) fn wrong_release(detail: String) -> Problem {
        let title = "The release cannot be staged so";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:wrong-release", title, detail)
    }

    /// It is not said of which site a module is.
    pub(super) fn wrong_site(detail: String) -> Problem {
        let title = "The site is to be named";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:wrong-site", title, detail)
    }

    /// Nothing of a module was ever staged.
    pub(super) fn unknown_module(module: &str) -> Problem {
        let detail = format!("nothing of {module:?} was ever staged");
        Problem::new(
            StatusCode::NOT_FOUND,
            "urn:lectern:unknown-module",
            "The module has no releases",
            detail,
        )
    }

    /// The name is that of a release with other files.
    pub(super) fn release_taken(release: &str) -> Problem {
        let detail = format!(
            "{release:?} is known with other files: give what is new another name, or abort what is staged"
        );
        Problem::new(StatusCode::CONFLICT, "urn:lectern:release-taken", "The release is another", detail)
    }

    /// Another release is staged.
    pub(super) fn other_staged(release: &str) -> Problem {
        let detail = format!("{release:?} is staged: activate or abort it first");
        Problem::new(StatusCode::CONFLICT, "urn:lectern:other-staged", "Another release is staged", detail)
    }

    /// A release that is to be staged is not.
    pub(super) fn not_staged(release: &str) -> Problem {
        let detail = format!("{release:?} is not staged: `lectern release show` tells what is");
        Problem::new(StatusCode::CONFLICT, "urn:lectern:not-staged", "The release is not staged", detail)
    }

    /// Not all of a release is stored.
    pub(super) fn not_warm(stored: usize, files: usize) -> Problem {
        let detail = format!("{stored} of {files} files are stored: warm the release, or say `cold`");
        Problem::new(StatusCode::CONFLICT, "urn:lectern:not-warm", "The release is not warm", detail)
    }

    /// A release that is to be gone back to was not active before.
    pub(super) fn not_previous(release: &str) -> Problem {
        let detail = format!(
            "{release:?} was not active before the one that is: `lectern release show` tells what was"
        );
        Problem::new(
            StatusCode::CONFLICT,
            "urn:lectern:not-previous",
            "The release was not active before",
            detail,
        )
    }

    /// Not all is stored of a release that is to be gone back to.
    pub(super) fn not_whole(stored: usize, files: usize) -> Problem {
        let detail = format!(
            "{stored} of {files} files are stored, and the origin has others by now; stage and warm the release anew where the origin has it"
        );
        Problem::new(StatusCode::CONFLICT, "urn:lectern:not-whole", "The release is not whole", detail)
    }

    /// The medium takes a manifest not, or gives it not.
    pub(super) fn manifest_unkept(error: &str) -> Problem {
        let detail = format!("{error}; nothing was written down");
        let title = "The manifest cannot be kept";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "urn:lectern:manifest-unkept", title, detail)
    }

    /// More at once than is ever let through.
    pub(super) fn too_many_purges(most: usize) -> Problem {
        let detail = format!("a batch holds up to {most} purges; nothing was purged: send several");
        let title = "The batch is too long";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "urn:lectern:too-many-purges", title, detail)
    }

    /// Of a batch: another purge of it is wrong.
    pub(super) fn not_done() -> Problem {
        let detail = "another purge of the batch is wrong".into();
        Problem::new(StatusCode::FAILED_DEPENDENCY, "urn:lectern:not-done", "Not done", detail)
    }

    /// A batch with something in it that cannot be purged.
    pub(super) fn wrong_items(applied: usize, first: &Problem) -> Problem {
        let done = match applied {
            0 => "nothing was purged".to_owned(),
            done => format!("{done} of it are in force"),
        };
        let detail = format!("{done}; results tells which, the first is {}: {}", first.title, first.detail);
        let title = "A purge of the batch is wrong";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:wrong-items", title, detail)
    }

    /// A batch that did not come to be in force as a whole.
    pub(super) fn not_all_applied(applied: usize, failed: usize, first: &Problem) -> Problem {
        let detail =
            format!("{applied} are in force, {failed} are not, of which the first: {}", first.detail);
        let title = "Not all of the batch is in force";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "urn:lectern:not-all-applied", title, detail)
    }

    /// Calls of this product are not taken.
    pub(super) fn shape_off(shape: &str) -> Problem {
        let detail = format!("write shapes = [{shape:?}] into [control], and restart");
        let title = "Calls of this form are not taken";
        Problem::new(StatusCode::NOT_FOUND, "urn:lectern:shape-off", title, detail)
    }

    /// What is named is another zone's.
    pub(super) fn not_of_zone(url: &str, site: &str) -> Problem {
        let detail = format!("{url:?} is not of the site {site:?}, nor of one that shares with it");
        let title = "The URL is not of this zone";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:not-of-zone", title, detail)
    }

    pub(super) fn wrong_purge_cache() -> Problem {
        let detail =
            "name files, tags, hosts or prefixes, or purge_everything = true alone; nothing was purged"
                .into();
        let title = "Nothing is named, or too much";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:wrong-purge-cache", title, detail)
    }

    pub(super) fn wrong_path(detail: String) -> Problem {
        let title = "The path cannot be read";
        Problem::new(StatusCode::BAD_REQUEST, "urn:lectern:wrong-path", title, detail)
    }

    pub(super) fn wrong_soft() -> Problem {
        let detail = "Fastly-Soft-Purge is 1, or is not there; nothing was purged".into();
        let title = "Soft or hard is not to be told";
        Problem::new(StatusCode::BAD_REQUEST, "urn:lectern:wrong-soft", title, detail)
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
        let detail = "a new process is taking over; nothing was done: ask again in a second".into();
        let title = "The node is being upgraded";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, UPGRADING, title, detail);
        Problem { retry_after: Some(1), ..problem }
    }

    /// Nothing was switched.
    pub(super) fn switch(error: &SwitchError) -> Problem {
        match error {
            SwitchError::HandedOver => Problem::upgrading(),
            SwitchError::Unwritten(_) => {
                let title = "Nothing was switched";
                Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "urn:lectern:switch-unwritten",
                    title,
                    error.to_string(),
                )
            }
        }
    }

    /// A switch says why.
    pub(super) fn no_reason() -> Problem {
        let detail =
            "`reason` is empty: write why, for those who find it switched; nothing was switched".into();
        let title = "A reason is missing";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:lectern:no-reason", title, detail)
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

impl Problem {
    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The fields of an answer that tells it, whatever the form of its body.
    pub(super) fn fields(&self, headers: &mut HeaderMap) {
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut fields = HeaderMap::new();
        self.fields(&mut fields);
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut response = (self.status(), axum::Json(self)).into_response();
        response.headers_mut().extend(fields);
        response
    }
}
