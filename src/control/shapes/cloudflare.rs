//! Cloudflare's: files, tags, hosts, prefixes or everything of a zone. A zone is a site; what is named must be its own.

use super::{Shape, takes};
use crate::control::{
    Control, Peer, Problem,
    batch::{self, ItemResult},
    purge::{Call, How, PurgeRequest, What, from, sites_of_url},
    tokens::{Caller, ToPurge, bearer},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{
        FromRequestParts, Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    response::{IntoResponse, Response},
};
use http::{HeaderMap, request::Parts};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What to purge, as Cloudflare takes it; several lists may stand together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct PurgeCache {
    /// True: everything of the zone; nothing else may stand beside it.
    purge_everything: Option<bool>,
    /// URLs, each with its own query or none; all variants of each.
    #[serde(default)]
    files: Vec<File>,
    /// What the origin gave one of these tags.
    #[serde(default)]
    #[schema(example = json!(["course-7"]))]
    tags: Vec<String>,
    /// Hosts: everything of the site that answers for one.
    #[serde(default)]
    hosts: Vec<String>,
    /// Host and path, without the scheme.
    #[serde(default)]
    #[schema(example = json!(["lms.example/static/v2"]))]
    prefixes: Vec<String>,
}

/// A URL, perhaps with fields of the request; they choose a variant there, and here all are purged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::control) enum File {
    /// The URL.
    Url(String),
    /// The URL with fields.
    Variant {
        /// The URL.
        url: String,
        /// Not looked at.
        #[serde(default)]
        #[expect(dead_code, reason = "all variants are purged")]
        headers: serde_json::Map<String, serde_json::Value>,
    },
}

/// What became of it, as Cloudflare says it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::control) struct CloudflareAnswer {
    /// All is in force.
    success: bool,
    /// What is not.
    errors: Vec<CloudflareError>,
    /// Empty.
    messages: Vec<String>,
    /// What is in force.
    result: Option<CloudflareResult>,
}

/// What is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::control) struct CloudflareResult {
    /// Identity of the ledger.
    #[schema(example = "9f2c44d1a0b8e6375510c3f7a9e2b4d6")]
    id: String,
    /// Numbers of the records.
    #[schema(example = json!([17]))]
    numbers: Vec<u64>,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::control) struct CloudflareError {
    /// Cloudflare's number for it, where it has one; else the status.
    #[schema(example = 10000)]
    code: u32,
    /// What, and what would be right.
    message: String,
}

impl From<&Problem> for CloudflareError {
    fn from(problem: &Problem) -> CloudflareError {
        let code = match (problem.status, &*problem.kind) {
            (401 | 403, _) => 10_000,
            (404, "urn:lectern:unknown-site" | "urn:lectern:shape-off") => 7_003,
            (429, _) => 971,
            (422 | 400, _) => 1_012,
            (status, _) => status.into(),
        };
        CloudflareError { code, message: format!("{}: {}", problem.title, problem.detail) }
    }
}

/// Problems in Cloudflare's form, those of single purges among them.
pub(in crate::control) struct Refusal(Problem, Vec<ItemResult>);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal(problem, Vec::new())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal(problem, results) = self;
        let mut fields = HeaderMap::new();
        problem.fields(&mut fields);
        let single = results.iter().filter_map(|result| result.problem.as_ref());
        let errors = std::iter::once(&problem).chain(single.filter(|single| single.status != 424));
        let errors = errors.map(CloudflareError::from).collect();
        let told = CloudflareAnswer { success: false, errors, messages: Vec::new(), result: None };
        let mut response = (problem.status(), Json(told)).into_response();
        response.headers_mut().extend(fields);
        response
    }
}

/// Whoever shows a token, where the shape is on.
pub(in crate::control) struct Bearer(Caller<ToPurge>);

impl FromRequestParts<Control> for Bearer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Bearer, Refusal> {
        takes(&control.shapes, Shape::Cloudflare)?;
        Ok(Bearer(control.tokens.admit(bearer(&parts.headers))?))
    }
}

/// Purge files, tags, hosts, prefixes or everything of a zone: all or, where one is wrong, none.
#[utoipa::path(post, path = "/client/v4/zones/{site}/purge_cache", tag = "shapes", security(("token" = ["purge"])),
    request_body = PurgeCache,
    params(("site" = String, Path, description = "The site's name in the configuration", example = "lms")),
    responses(
        (status = 200, description = "All in force", body = CloudflareAnswer),
        (status = 400, description = "The body is not JSON, or the path no text", body = CloudflareAnswer),
        (status = 401, description = "No token", body = CloudflareAnswer),
        (status = 403, description = "The token is not accepted, or has not the role", body = CloudflareAnswer),
        (status = 404, description = "No site has this name, or the shape is off", body = CloudflareAnswer),
        (status = 413, description = "The body is too long, or names more than 256", body = CloudflareAnswer),
        (status = 422, description = "Fields are missing or wrong, or what is named is not of the zone", body = CloudflareAnswer),
        (status = 429, description = "The token calls too often, or all was purged just now; nothing was done", body = CloudflareAnswer),
        (status = 503, description = "The ledger takes no records; not all is acknowledged", body = CloudflareAnswer),
    ))]
pub(in crate::control) async fn purge_cache(
    State(control): State<Control>,
    Bearer(caller): Bearer,
    peer: Option<Extension<Peer>>,
    path: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<CloudflareAnswer>, Refusal> {
    let Path(site) = path.map_err(|error| Problem::wrong_path(error.body_text()))?;
    let body = body.map_err(|error| Problem::unread(error.status(), error.body_text()))?;
    let asked: PurgeCache = serde_json::from_slice(&body).map_err(|error| Problem::body(&error))?;
    let sites = (control.resolve_site)(&site).ok_or_else(|| Problem::unknown_site(&site))?;
    let request = |what: Result<What, Problem>| what.map(|what| PurgeRequest { what, how: How::default() });
    let requests = asked.wanted(&control, &Zone { site, sites })?.into_iter().map(request).collect();
    let call = Call { who: &caller.name, from: from(peer), key: None };
    let results = batch::purge_all(&control, &caller, call, requests).await?;
    if let Some(problem) = batch::wrong(&results) {
        return Err(Refusal(problem, results));
    }
    let id = control.ledger.last().identity.to_string();
    let numbers = results.into_iter().filter_map(|result| result.purge.map(|purge| purge.number)).collect();
    let result = Some(CloudflareResult { id, numbers });
    Ok(Json(CloudflareAnswer { success: true, errors: Vec::new(), messages: Vec::new(), result }))
}

/// A site, and those that share with it.
struct Zone {
    site: String,
    sites: Vec<String>,
}

impl Zone {
    /// Refuses a URL of somebody else.
    fn holds(&self, control: &Control, url: &str) -> Result<(), Problem> {
        match sites_of_url(control, url)? == self.sites {
            true => Ok(()),
            false => Err(Problem::not_of_zone(url, &self.site)),
        }
    }
}

impl PurgeCache {
    /// What is named, each with what is wrong with it.
    fn wanted(self, control: &Control, zone: &Zone) -> Result<Vec<Result<What, Problem>>, Problem> {
        let PurgeCache { purge_everything, files, tags, hosts, prefixes } = self;
        let mut wanted = Vec::new();
        wanted.extend(files.into_iter().map(|file| {
            let (File::Url(url) | File::Variant { url, .. }) = file;
            zone.holds(control, &url).map(|()| What::Url { url, exact: true })
        }));
        wanted.extend(tags.into_iter().map(|tag| Ok(What::Tag { tag, site: zone.site.clone() })));
        wanted.extend(hosts.into_iter().map(|host| {
            zone.holds(control, &format!("https://{host}/")).map(|()| What::Site { site: zone.site.clone() })
        }));
        wanted.extend(prefixes.into_iter().map(|prefix| {
            let url = if prefix.contains("://") { prefix } else { format!("https://{prefix}") };
            zone.holds(control, &url).map(|()| What::Prefix { url })
        }));
        match (purge_everything, wanted.is_empty()) {
            (Some(true), true) => Ok(vec![Ok(What::Site { site: zone.site.clone() })]),
            (None | Some(false), false) => Ok(wanted),
            _ => Err(Problem::wrong_purge_cache()),
        }
    }
}
