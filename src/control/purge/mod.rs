//! `POST /v1/purges`: one record; the answer comes when it is on the medium and in force.

mod message;

pub use message::{Counts, How, PurgeAnswer, PurgeRequest, What};
pub(super) use message::{Wait, Waits};

use super::{
    Control, Peer, Problem,
    batch::{self, Asked, ProblemTold, Told},
    tokens::{Caller, ToPurge},
};
use crate::{
    clock,
    ledger::{About, Fact, Purge, Receipt, Record},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{
        Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Uri};

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

/// Purge.
///
/// The answer comes when the record is on the medium and in force: no request whose head arrives after it is answered
/// with what was stored before. Purging the same thing twice is harmless.
///
/// A list of purges is a batch of up to 256. 200: all are in force. If one is wrong none is written; every error tells what became of
/// each.
#[utoipa::path(post, path = "/v1/purges", tag = "purge", security(("token" = ["purge"]), ("token" = ["release"])),
    request_body = Asked,
    params(
        Waits,
        ("idempotency-key" = Option<String>, Header,
            description = "A text of up to 255 visible characters that is made for this purge alone. Asked again with it, by the same \
                token, the answer is that of the first time, and no record is written",
            example = "release-2026-11-30-1"),
    ),
    responses(
        (status = 200, description = "In force; of a batch, all of it", body = Told),
        (status = 400, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No site has this host or name, no scope this name, or no rule names modules", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body or the batch is too long", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields are missing or wrong; in a batch those of one of its purges", body = ProblemTold, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often, or the same was purged as a whole just now", body = ProblemTold, content_type = "application/problem+json"),
        (status = 503, description = "The ledger takes no records; not acknowledged. Of a batch, some may be in force", body = ProblemTold, content_type = "application/problem+json"),
    ))]
pub(super) async fn purge(
    State(control): State<Control>,
    caller: Caller<ToPurge>,
    peer: Option<Extension<Peer>>,
    waits: Result<Query<Waits>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Query(Waits { wait: Some(Wait::Applied) | None }) =
        waits.map_err(|error| Problem::wrong_wait(&error.body_text()))?;
    let body = body.map_err(|error| Problem::unread(error.status(), error.body_text()))?;
    let call = Call { who: &caller.name, from: from(peer), key: key(&headers)? };
    if batch::is_one(&body) {
        return batch::purge(&control, &caller, call, &body).await;
    }
    let request: PurgeRequest = serde_json::from_slice(&body).map_err(|error| Problem::body(&error))?;
    Ok(Json(call.purge(&control, &caller, request).await?).into_response())
}

/// Where a call comes from, as a record says it.
pub(super) fn from(peer: Option<Extension<Peer>>) -> String {
    peer.map_or_else(String::new, |Extension(Peer(peer))| peer.to_string())
}

/// Who asks for a purge, from where, and by which key it is known again.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) who: &'a str,
    pub(super) from: String,
    pub(super) key: Option<String>,
}

impl Call<'_> {
    /// Has one thing purged, if the caller may; in force when this returns.
    pub(super) async fn purge(
        self,
        control: &Control,
        caller: &Caller<ToPurge>,
        request: PurgeRequest,
    ) -> Result<PurgeAnswer, Problem> {
        caller.may(request.what.roles())?;
        written(control, self.record(control, request)?).await
    }

    /// What is written of a purge, by the configuration of this moment.
    pub(super) fn record(self, control: &Control, request: PurgeRequest) -> Result<Wanted, Problem> {
        let PurgeRequest { what, how } = request;
        let (sites, purge) = meant(control, what)?;
        let about = About {
            sites,
            soft: how.soft,
            settle: how.settle,
            who: self.who.to_owned(),
            why: how.reason,
            when: clock::unix_millis(clock::now()),
            from: self.from,
            key: self.key,
        };
        Ok(Wanted { record: Record::purge(purge, about), dry_run: how.dry_run })
    }
}

/// A purge that is to be written; or only counted.
pub(super) struct Wanted {
    record: Record,
    dry_run: bool,
}

/// Writes it; in force when this returns. Of a dry run it tells how much it would cover.
pub(super) async fn written(
    control: &Control,
    Wanted { record, dry_run }: Wanted,
) -> Result<PurgeAnswer, Problem> {
    if dry_run {
        let counts = (control.count)(record.clone()).await;
        let receipt = Receipt { number: control.ledger.last(), repeated: false };
        return Ok(PurgeAnswer { applied: false, dry_run: Some(counts), ..answer(receipt, record) });
    }
    control.wholes.begin(&record).map_err(Problem::too_soon)?;
    let receipt = control.ledger.append(record.clone()).await.map_err(|error| {
        control.wholes.undo(&record);
        Problem::ledger(&error)
    })?;
    if !receipt.repeated {
        tracing::info!(number = receipt.number.n, kind = record.kind(), sites = ?record.sites(), "purged");
    }
    Ok(answer(receipt, record))
}

/// The key of the call, if it has one. It may stand in quotation marks.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut lines = headers.get_all("idempotency-key").iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let text = line.to_str().unwrap_or_default().trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    match fits && lines.next().is_none() {
        true => Ok(Some(text.to_owned())),
        false => Err(Problem::wrong_key()),
    }
}

/// The sites and what of them is purged, by the configuration of this moment.
fn meant(control: &Control, what: What) -> Result<(Vec<String>, Purge), Problem> {
    let of_site = |site: &str| (control.resolve_site)(site).ok_or_else(|| Problem::unknown_site(site));
    Ok(match what {
        What::Url { url, exact } => {
            let PurgeTarget { sites, path, query } = resolve(control, &url)?;
            let query = exact.then(|| query.unwrap_or_default());
            (sites, Purge::Url { path, query })
        }
        What::Prefix { url } => {
            if url.contains('?') {
                return Err(Problem::bad_url(&url, "a prefix has no query"));
            }
            let PurgeTarget { sites, mut path, .. } = resolve(control, &url)?;
            if path.ends_with('/') {
                path.pop();
            }
            (sites, Purge::Prefix { path })
        }
        What::Tag { tag, site } => {
            if tag.is_empty() {
                return Err(Problem::wrong_name("tag"));
            }
            (of_site(&site)?, Purge::Tag { tag })
        }
        What::Module { module, site } => {
            if module.is_empty() {
                return Err(Problem::wrong_name("module"));
            }
            let sites = of_site(&site)?;
            if !(control.names_modules)(&site) {
                return Err(Problem::no_modules(&site));
            }
            (sites, Purge::Module { module })
        }
        What::Site { site } => (of_site(&site)?, Purge::Site {}),
        What::Scope { scope } => {
            let sites = (control.resolve_scope)(&scope).ok_or_else(|| Problem::unknown_scope(&scope))?;
            (sites, Purge::Scope {})
        }
        What::All {} => (Vec::new(), Purge::All {}),
    })
}

fn answer(receipt: Receipt, record: Record) -> PurgeAnswer {
    let answer = PurgeAnswer {
        ledger: receipt.number.identity.to_string(),
        number: receipt.number.n,
        kind: record.kind().to_owned(),
        sites: record.about.sites,
        path: None,
        query: None,
        tag: None,
        module: None,
        soft: record.about.soft,
        repeated: receipt.repeated,
        settle: record.about.settle,
        dry_run: None,
        applied: true,
    };
    match record.fact {
        Fact::Purge(Purge::Url { path, query }) => PurgeAnswer { path: Some(path), query, ..answer },
        Fact::Purge(Purge::Prefix { path }) => PurgeAnswer { path: Some(path), ..answer },
        Fact::Purge(Purge::Tag { tag }) => PurgeAnswer { tag: Some(tag), ..answer },
        Fact::Purge(Purge::Module { module }) => PurgeAnswer { module: Some(module), ..answer },
        Fact::Purge(Purge::Site {} | Purge::Scope {} | Purge::All {}) | Fact::Release(_) => answer,
    }
}

/// The sites that a URL concerns.
pub(super) fn sites_of_url(control: &Control, url: &str) -> Result<Vec<String>, Problem> {
    resolve(control, url).map(|target| target.sites)
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
