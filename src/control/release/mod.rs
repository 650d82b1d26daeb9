//! `/v1/modules/{module}`: the steps of a release. Each is one record; the answer comes when it is on the medium and in force.
//!
//! A step that is done already is answered with its record and writes none, so that asking again is harmless.

mod told;

use super::{
    Control, Peer, Problem,
    purge::{from, key},
    tokens::{Caller, ToRelease, ToSeeReleases},
    warm::{self, WarmLine},
};
use crate::{
    clock,
    ledger::{About, Fact, Module, Record, Release, Step},
    release::{self, Entry, Manifest, Unfit},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    response::Response,
};
use futures_util::{StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use told::OfSite;

pub use told::{
    ActivatedTold, ModuleTold, ReleaseTold, StageRequest, StepAnswer, StepRequest, WarmReleaseRequest,
};

/// Longest list of files, with what stands around it in JSON.
pub(super) const BODY_BYTES: usize = 40 << 20;
/// Files that are looked for at once.
const LOOKS: usize = 16;

/// Whether a file of a release is stored.
pub type HasOf = Arc<dyn Fn(Request<()>, bool, Arc<Release>) -> BoxFuture<'static, bool> + Send + Sync>;
/// Makes a manifest, and the bytes of its file.
pub type List = Arc<dyn Fn(&Listing<'_>) -> Result<(Manifest, Vec<u8>), Unlisted> + Send + Sync>;

/// What is to become a manifest.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    /// Name of the site.
    pub site: &'a str,
    /// Module and release.
    pub release: (&'a str, &'a str),
    /// Where its files lie.
    pub base: super::UrlToPurge<'a>,
    /// Its files.
    pub entries: &'a [Entry],
    /// What is not listed may belong to the module.
    pub open: bool,
}

/// Why a list becomes no manifest.
#[derive(Debug)]
pub enum Unlisted {
    /// There is no site of this name.
    Site,
    /// The host of the base is not one of the site's.
    Host,
    /// The base is no URL of the site: why.
    Base(String),
    /// Files cannot be of the release.
    Files(Unfit),
}

/// A module.
///
/// Its releases: what learners get, who activated it, how much of each is stored.
#[utoipa::path(get, path = "/v1/modules/{module}", tag = "release", security(("token" = ["read"]), ("token" = ["release"])),
    params(("module" = String, Path, description = "Name of the module, `/` as `%2F`", example = "physics"), OfSite),
    responses(
        (status = 200, description = "Its releases", body = ModuleTold),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such site, or nothing of the module was ever staged", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The site is missing", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn module(
    State(control): State<Control>,
    _: Caller<ToSeeReleases>,
    Path(name): Path<String>,
    site: Result<Query<OfSite>, QueryRejection>,
) -> Result<Json<ModuleTold>, Problem> {
    let Query(OfSite { site }) = site.map_err(|error| Problem::wrong_site(error.body_text()))?;
    let of = Of::find(&control, &site, &name)?;
    let module = of.module().ok_or_else(|| Problem::unknown_module(&name))?;
    let mut told =
        ModuleTold { module: name.clone(), active: None, activated: None, staged: None, previous: None };
    if let Some((active, by)) = &module.active {
        told.active = Some(of.told(active).await);
        let (who, why) = (by.who.to_string(), by.why.to_string());
        told.activated = Some(ActivatedTold { who, why, when: by.when, number: by.number });
    }
    if let Some(staged) = &module.staged {
        told.staged = Some(of.told(staged).await);
    }
    if let Some(previous) = &module.previous {
        told.previous = Some(of.told(previous).await);
    }
    Ok(Json(told))
}

/// Stage.
///
/// What belongs to a release is written down. What is stored already and has the bytes that the list names belongs to it from here
/// on, without a request. Learners notice nothing.
#[utoipa::path(post, path = "/v1/modules/{module}/stage", tag = "release", security(("token" = ["release"])),
    request_body = StageRequest,
    params(
        ("module" = String, Path, description = "Name of the module, `/` as `%2F`", example = "physics"),
        ("idempotency-key" = Option<String>, Header, description = "As of `POST /v1/purges`"),
    ),
    responses(
        (status = 200, description = "Staged", body = StepAnswer),
        (status = 400, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such site", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another release is staged, or the name is another release's", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too long", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The list cannot be read, or names what is not of the module", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The ledger takes no records, or the medium no manifest", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn stage(
    State(control): State<Control>,
    caller: Caller<ToRelease>,
    peer: Option<Extension<Peer>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<StepAnswer>, Problem> {
    let StageRequest { site, release, base, list, open, reason } = read(body)?;
    let of = Of::find(&control, &site, &name)?;
    if !is_name(&release) {
        return Err(Problem::wrong_release(
            "a release is named by 1 to 64 letters, digits and `._~-`".to_owned(),
        ));
    }
    let entries =
        release::read(&list).map_err(|error| Problem::wrong_release(format!("the list: {error}")))?;
    let (manifest, bytes) = listed(&control, (&site, &name, &release), &base, &entries, open)?;
    let _turn = control.steps.lock().await;
    let module = of.module().unwrap_or_default();
    if let Some(known) = module.releases().find(|known| *known.name == *release) {
        return match known.manifest == manifest.id {
            true => of.done_before(known, known.staged.number).await,
            false => Err(Problem::release_taken(&release)),
        };
    }
    if let Some(staged) = &module.staged {
        return Err(Problem::other_staged(&staged.name));
    }
    let (id, manifests) = (manifest.id, control.manifests.clone());
    let kept = tokio::task::spawn_blocking(move || manifests.keep(manifest, &bytes).map(|_| ())).await;
    kept.map_err(|error| error.to_string())
        .and_then(|kept| kept.map_err(|error| error.to_string()))
        .map_err(|error| Problem::manifest_unkept(&error))?;
    let step = Step::Stage { module: name.clone(), release, manifest: id };
    let by = By { who: &caller.name, from: from(peer), key: key(&headers)?, reason };
    let answer = of.write(step, by).await;
    let named: Vec<_> = control.ledger.releases().iter().map(|release| release.manifest).collect();
    control.manifests.retain(|id| named.contains(id));
    answer
}

/// Activate.
///
/// Every request whose head arrives after the answer gets this release. Refused while not all of it is stored, unless `cold`.
#[utoipa::path(post, path = "/v1/modules/{module}/activate", tag = "release", security(("token" = ["release"])),
    request_body = StepRequest,
    params(
        ("module" = String, Path, description = "Name of the module, `/` as `%2F`", example = "physics"),
        ("idempotency-key" = Option<String>, Header, description = "As of `POST /v1/purges`"),
    ),
    responses(
        (status = 200, description = "In force", body = StepAnswer),
        (status = 400, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such site", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not staged, or not all of it is stored", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields are missing or wrong", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The ledger takes no records", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn activate(
    State(control): State<Control>,
    caller: Caller<ToRelease>,
    peer: Option<Extension<Peer>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<StepAnswer>, Problem> {
    let StepRequest { site, release, cold, reason } = read(body)?;
    let of = Of::find(&control, &site, &name)?;
    let _turn = control.steps.lock().await;
    let module = of.module().unwrap_or_default();
    if let Some((active, by)) = module.active.as_ref().filter(|(active, _)| *active.name == *release) {
        return of.done_before(active, by.number).await;
    }
    let staged = module.staged.as_ref().filter(|staged| *staged.name == *release);
    let staged = staged.ok_or_else(|| Problem::not_staged(&release))?;
    let told = of.told(staged).await;
    if told.stored < told.files && !cold {
        return Err(Problem::not_warm(told.stored, told.files));
    }
    let cold = told.stored < told.files;
    let by = By { who: &caller.name, from: from(peer), key: key(&headers)?, reason };
    of.write(Step::Activate { module: name.clone(), release, cold }, by).await
}

/// Roll back.
///
/// Every request whose head arrives after the answer gets the release that was active before. Nothing is asked of the origin for it,
/// so it is refused where not all of that is stored. What was left is staged again.
#[utoipa::path(post, path = "/v1/modules/{module}/roll-back", tag = "release", security(("token" = ["release"])),
    request_body = StepRequest,
    params(
        ("module" = String, Path, description = "Name of the module, `/` as `%2F`", example = "physics"),
        ("idempotency-key" = Option<String>, Header, description = "As of `POST /v1/purges`"),
    ),
    responses(
        (status = 200, description = "In force", body = StepAnswer),
        (status = 400, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such site", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was not active before, or not all of it is stored", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields are missing or wrong", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The ledger takes no records", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn roll_back(
    State(control): State<Control>,
    caller: Caller<ToRelease>,
    peer: Option<Extension<Peer>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<StepAnswer>, Problem> {
    let StepRequest { site, release, reason, .. } = read(body)?;
    let of = Of::find(&control, &site, &name)?;
    let _turn = control.steps.lock().await;
    let module = of.module().unwrap_or_default();
    if let Some((active, by)) = module.active.as_ref().filter(|(active, _)| *active.name == *release) {
        return of.done_before(active, by.number).await;
    }
    let previous = module.previous.as_ref().filter(|previous| *previous.name == *release);
    let previous = previous.ok_or_else(|| Problem::not_previous(&release))?;
    let told = of.told(previous).await;
    if told.stored < told.files {
        return Err(Problem::not_whole(told.stored, told.files));
    }
    let by = By { who: &caller.name, from: from(peer), key: key(&headers)?, reason };
    of.write(Step::RollBack { module: name.clone(), release }, by).await
}

/// Abort.
///
/// What is staged is given up. What learners get stays as it is.
#[utoipa::path(post, path = "/v1/modules/{module}/abort", tag = "release", security(("token" = ["release"])),
    request_body = StepRequest,
    params(
        ("module" = String, Path, description = "Name of the module, `/` as `%2F`", example = "physics"),
        ("idempotency-key" = Option<String>, Header, description = "As of `POST /v1/purges`"),
    ),
    responses(
        (status = 200, description = "In force", body = StepAnswer),
        (status = 400, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such site", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not staged", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields are missing or wrong", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The ledger takes no records", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn abort(
    State(control): State<Control>,
    caller: Caller<ToRelease>,
    peer: Option<Extension<Peer>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<StepAnswer>, Problem> {
    let StepRequest { site, release, reason, .. } = read(body)?;
    let of = Of::find(&control, &site, &name)?;
    let _turn = control.steps.lock().await;
    let module = of.module().unwrap_or_default();
    if module.staged.as_ref().is_none_or(|staged| *staged.name != *release) {
        return Err(Problem::not_staged(&release));
    }
    let by = By { who: &caller.name, from: from(peer), key: key(&headers)?, reason };
    of.write(Step::Abort { module: name.clone(), release }, by).await
}

/// Warm a release.
///
/// What of it is not stored is fetched and proven, as by `POST /v1/warm`; learners notice nothing. Broken off, it is asked for again
/// at little cost.
#[utoipa::path(post, path = "/v1/modules/{module}/warm", tag = "release", security(("token" = ["release"])),
    request_body = WarmReleaseRequest,
    params(("module" = String, Path, description = "Name of the module, `/` as `%2F`", example = "physics")),
    responses(
        (status = 200, description = "Lines of JSON, one for each file and one at the end", body = WarmLine, content_type = "application/x-ndjson"),
        (status = 400, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such site", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There is no such release of the module", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields are missing or wrong", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn warm_release(
    State(control): State<Control>,
    caller: Caller<ToRelease>,
    peer: Option<Extension<Peer>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let WarmReleaseRequest { site, release, at_once, per_second } = read(body)?;
    let of = Of::find(&control, &site, &name)?;
    let module = of.module().unwrap_or_default();
    let known = module.releases().find(|known| *known.name == *release);
    let known = known.ok_or_else(|| Problem::not_staged(&release))?.clone();
    let requests = of.requests(&known)?;
    warm::paced(control, (caller.name, peer), requests, (at_once, per_second), Some(known))
}

/// Who takes a step, and why.
struct By<'a> {
    who: &'a str,
    from: String,
    key: Option<String>,
    reason: String,
}

/// A module of a site.
struct Of<'a> {
    control: &'a Control,
    /// All sites of the scope, and the scope.
    sites: Vec<String>,
    name: &'a str,
}

impl<'a> Of<'a> {
    fn find(control: &'a Control, site: &str, name: &'a str) -> Result<Of<'a>, Problem> {
        let sites = (control.resolve_site)(site).ok_or_else(|| Problem::unknown_site(site))?;
        Ok(Of { control, sites, name })
    }

    /// What its records add up to: the same for each of the sites.
    fn module(&self) -> Option<Module> {
        let known =
            self.sites.iter().find_map(|site| self.control.ledger.marks(site).modules().get(self.name));
        known.map(|module| Module::clone(&module))
    }

    /// A request for each file of a release, as a learner would send it.
    fn requests(&self, release: &Release) -> Result<Vec<(String, Request<()>, bool)>, Problem> {
        let lost =
            || Problem::manifest_unkept("the manifest is lost: stage the release anew, under another name");
        let manifest = self.control.manifests.get(release.manifest).ok_or_else(lost)?;
        let scheme = if manifest.https { "https" } else { "http" };
        let requests = manifest.paths().into_iter().filter_map(|path| {
            let target = path.replacen("{}", &release.name, 1);
            let mut request = Request::new(());
            *request.uri_mut() = Uri::try_from(&target).ok()?;
            request.headers_mut().insert(header::HOST, HeaderValue::from_str(&manifest.host).ok()?);
            Some((format!("{scheme}://{}{target}", manifest.host), request, manifest.https))
        });
        Ok(requests.collect())
    }

    /// A release, and how much of it is stored.
    async fn told(&self, release: &Arc<Release>) -> ReleaseTold {
        let requests = self.requests(release).unwrap_or_default();
        let manifest = self.control.manifests.get(release.manifest);
        let looks = stream::iter(requests)
            .map(|(_, request, https)| (self.control.has_of)(request, https, release.clone()))
            .buffer_unordered(LOOKS);
        let stored = looks.filter(|has| std::future::ready(*has)).count().await;
        let Release { name, manifest: id, staged, .. } = &**release;
        ReleaseTold {
            release: name.to_string(),
            manifest: id.to_string(),
            files: manifest.as_ref().map_or(1, |manifest| manifest.files()),
            stored,
            open: manifest.is_some_and(|manifest| manifest.open),
            who: staged.who.to_string(),
            why: staged.why.to_string(),
            when: staged.when,
            number: staged.number,
        }
    }

    async fn done_before(&self, release: &Arc<Release>, number: u64) -> Result<Json<StepAnswer>, Problem> {
        let ledger = self.control.ledger.last().identity.to_string();
        Ok(Json(StepAnswer { ledger, number, repeated: true, release: Some(self.told(release).await) }))
    }

    /// Writes a step; in force when this returns.
    async fn write(&self, step: Step, by: By<'_>) -> Result<Json<StepAnswer>, Problem> {
        let By { who, from, key, reason } = by;
        let about = About {
            sites: self.sites.clone(),
            who: who.to_owned(),
            why: reason,
            when: clock::unix_millis(clock::now()),
            from,
            key,
            ..About::default()
        };
        let (kind, of) = (step.kind(), step.of().1.to_owned());
        let record = Record { fact: Fact::Release(step), about };
        let receipt = self.control.ledger.append(record).await.map_err(|error| Problem::ledger(&error))?;
        let number = receipt.number;
        tracing::info!(number = number.n, kind, module = self.name, release = of, "released");
        let module = self.module().unwrap_or_default();
        let release = match module.releases().find(|release| *release.name == *of) {
            Some(release) => Some(self.told(release).await),
            None => None,
        };
        let ledger = number.identity.to_string();
        Ok(Json(StepAnswer { ledger, number: number.n, repeated: receipt.repeated, release }))
    }
}

fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|error| Problem::unread(error.status(), error.body_text()))?;
    serde_json::from_slice(&body).map_err(|error| Problem::body(&error))
}

/// A name can stand as a segment of a path and as a parameter's value.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(fits) && !name.bytes().all(|byte| byte == b'.')
}

fn listed(
    control: &Control,
    (site, module, release): (&str, &str, &str),
    base: &str,
    entries: &[Entry],
    open: bool,
) -> Result<(Manifest, Vec<u8>), Problem> {
    let uri: Uri =
        base.parse().map_err(|error: http::uri::InvalidUri| Problem::bad_url(base, &error.to_string()))?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Problem::bad_url(base, "it is to be whole, as in \"https://lms.example/content/2/\""));
    };
    let url = super::UrlToPurge {
        host: authority.as_str(),
        https: scheme == "https",
        path: uri.path(),
        query: None,
    };
    let listing = Listing { site, release: (module, release), base: url, entries, open };
    (control.list)(&listing).map_err(|why| match why {
        Unlisted::Site => Problem::unknown_site(site),
        Unlisted::Host => Problem::unknown_host(authority.as_str()),
        Unlisted::Base(why) => Problem::bad_url(base, &why),
        Unlisted::Files(unfit) => Problem::wrong_release(format!("the list: {unfit}")),
    })
}
