//! `POST /v1/purges`: one record; the answer comes when it is on the medium and in force.

use super::{Control, Peer, Problem, tokens::Caller};
use crate::{clock, ledger::Record};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
};
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What to purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum PurgeRequest {
    /// What is stored under a URL: every variant, and every query unless `exact`.
    Url {
        /// The whole URL as a learner's browser has it. Its scheme does not matter.
        #[schema(example = "https://lms.example/course/1")]
        url: String,
        /// Only the URL's own query, or none if it has none.
        #[serde(default)]
        exact: bool,
        /// Why; kept in the ledger.
        #[serde(default)]
        reason: String,
    },
    /// Everything stored for a site and the sites that share with it.
    Site {
        /// The site's name in the configuration.
        #[schema(example = "lms")]
        site: String,
        /// Why; kept in the ledger.
        #[serde(default)]
        reason: String,
    },
}

/// A purge that is in force: no request whose head arrives from now on is answered with what was stored before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeAnswer {
    /// Identity of the ledger, 32 hex digits. Numbers of two ledgers do not compare.
    #[schema(example = "9f2c44d1a0b8e6375510c3f7a9e2b4d6")]
    pub ledger: String,
    /// Number of the record.
    #[schema(example = 17)]
    pub number: u64,
    /// `purge-url` or `purge-site`.
    #[schema(example = "purge-url")]
    pub kind: String,
    /// Names of the sites concerned: all that share stored responses, and of their scope.
    pub sites: Vec<String>,
    /// The normalised path, for a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The query, for an exact URL; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Always true: what is not applied is an error.
    pub applied: bool,
}

/// A URL as asked to be purged, taken apart and not yet normalised.
#[derive(Clone, Copy, Debug)]
pub struct UrlToPurge<'a> {
    /// Host as written, with its port if it has one.
    pub host: &'a str,
    /// By `https`.
    pub https: bool,
    /// Path as written, at least `/`.
    pub path: &'a str,
    /// Query as written.
    pub query: Option<&'a str>,
}

/// What a URL means by the configuration of this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeTarget {
    /// All sites of the scope the host belongs to, and the scope.
    pub sites: Vec<String>,
    /// The path as the cache key has it.
    pub path: String,
    /// The query as the cache key has it.
    pub query: Option<String>,
}

/// Why a URL means nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownTarget {
    /// No site answers for the host.
    Host,
    /// The path or query is one that the edge refuses: why.
    Url(String),
}

/// Purge a URL or a site.
///
/// The answer comes when the record is on the medium and in force: no request whose head arrives after it is answered
/// with what was stored before. Purging the same thing twice is harmless.
#[utoipa::path(post, path = "/v1/purges", tag = "purge", security(("token" = [])),
    request_body = PurgeRequest,
    responses(
        (status = 200, description = "In force", body = PurgeAnswer),
        (status = 400, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No site has this host or name", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too long", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields are missing or wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The ledger takes no records; not acknowledged", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn purge(
    State(control): State<Control>,
    Caller(who): Caller,
    peer: Option<Extension<Peer>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<PurgeAnswer>, Problem> {
    let body = body.map_err(|error| Problem::unread(error.status(), error.body_text()))?;
    let request = serde_json::from_slice(&body).map_err(|error| Problem::body(&error))?;
    let when = clock::unix_millis(clock::now());
    let (who, from) =
        (who.to_string(), peer.map_or_else(String::new, |Extension(Peer(peer))| peer.to_string()));
    let record = match request {
        PurgeRequest::Url { url, exact, reason: why } => {
            let PurgeTarget { sites, path, query } = resolve(&control, &url)?;
            let query = exact.then(|| query.unwrap_or_default());
            Record::PurgeUrl { sites, path, query, who, why, when, from }
        }
        PurgeRequest::Site { site, reason: why } => {
            let sites = (control.resolve_site)(&site).ok_or_else(|| Problem::unknown_site(&site))?;
            Record::PurgeSite { sites, who, why, when, from }
        }
    };
    let receipt = control.ledger.append(record.clone()).await.map_err(|error| Problem::ledger(&error))?;
    tracing::info!(number = receipt.number.n, kind = record.kind(), sites = ?record.sites(), "purged");
    let (ledger, number, kind) =
        (receipt.number.identity.to_string(), receipt.number.n, record.kind().to_string());
    let (sites, path, query) = match record {
        Record::PurgeUrl { sites, path, query, .. } => (sites, Some(path), query),
        Record::PurgeSite { sites, .. } => (sites, None, None),
    };
    Ok(Json(PurgeAnswer { ledger, number, kind, sites, path, query, applied: true }))
}

fn resolve(control: &Control, url: &str) -> Result<PurgeTarget, Problem> {
    let uri: Uri =
        url.parse().map_err(|error: http::uri::InvalidUri| Problem::bad_url(url, &error.to_string()))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Problem::bad_url(url, "it does not begin with http:// or https://"));
    }
    let authority = uri.authority().ok_or_else(|| Problem::bad_url(url, "it has no host"))?;
    if authority.as_str().contains('@') {
        return Err(Problem::bad_url(url, "it has a user name"));
    }
    let (host, https) = (authority.as_str(), uri.scheme_str() == Some("https"));
    (control.resolve_url)(&UrlToPurge { host, https, path: uri.path(), query: uri.query() }).map_err(
        |unknown| match unknown {
            UnknownTarget::Host => Problem::unknown_host(host),
            UnknownTarget::Url(why) => Problem::bad_url(url, &why),
        },
    )
}
