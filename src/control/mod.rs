//! The control API: purges with a number, forgetting of access, switches, reload, explain, metrics, health. Whoever changes something, or looks into what is
//! stored, shows a token that has the role for it, and does not do so too often.
//!
//! Every error is a problem document (RFC 9457). A call that is not allowed or not understood changes nothing and
//! says what is missing. What lies left of this part in the order of imports (reload, explain, names of sites, draining) is
//! handed in by the node as [`Control`]'s closures.

mod batch;
mod explain;
mod forget;
mod health;
mod ledger;
mod openapi;
mod problem;
mod purge;
mod rate;
mod release;
mod reload;
mod roles;
mod settings;
mod shapes;
mod switches;
#[cfg(test)]
mod tests;
mod tokens;
mod warm;
mod whole;

pub use batch::{BatchAnswer, BatchProblem, ItemResult};
pub use explain::{Explain, FIELD};
pub use forget::{ForgetAnswer, ForgetRequest};
pub use health::Readiness;
pub use ledger::{LedgerPage, RecordTold};
pub use openapi::openapi_json;
pub use problem::{Problem, UPGRADING};
pub use purge::{Counts, How, PurgeAnswer, PurgeRequest, PurgeTarget, UnknownTarget, UrlToPurge, What};
pub use rate::Rate;
pub use release::{
    ActivatedTold, HasOf, List, Listing, ModuleTold, ReleaseTold, StageRequest, StepAnswer, StepRequest,
    Unlisted, WarmReleaseRequest,
};
pub use reload::{ReloadRefused, ReloadSummary};
pub use roles::{Role, Roles};
pub use settings::ControlSettings;
pub use shapes::Shape;
pub use switches::{SwitchAnswer, SwitchRequest, SwitchesTold};
pub use tokens::{NewToken, TokenError, Tokens};
pub use warm::{LONGEST_LIST, Warm, WarmCounts, WarmLine, WarmRequest};
pub use whole::Wholes;

use crate::{
    access::Forget,
    ledger::{Ledger, Record},
    release::Manifests,
    site::Switches,
    telemetry::Metrics,
};
use axum::{Router, body::Body, extract::DefaultBodyLimit};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::MapErr};
use std::{net::SocketAddr, sync::Arc};
use tower::ServiceExt;

/// No call of this API is longer than a long batch of purges.
const BODY_BYTES: usize = 64 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the API acts on; the node fills it in.
#[derive(Clone)]
pub struct Control {
    /// Where purges are written.
    pub ledger: Arc<Ledger>,
    /// Forgets whom the LMS let in, in force when it returns; gives the number of it.
    pub forget: ForgetAccess,
    /// What is switched.
    pub switches: Arc<Switches>,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Who may change something; read anew by the node's reload.
    pub tokens: Arc<Tokens>,
    /// When everything was purged last.
    pub wholes: Arc<Wholes>,
    /// Whose calls are taken beside the node's own.
    pub shapes: Vec<Shape>,
    /// Finds the sites of a URL's scope and its normalised path and query, by the configuration of this moment.
    pub resolve_url: ResolveUrl,
    /// Names of all sites of the scope of a site, and of the scope; none if there is no site of that name.
    pub resolve_site: ResolveSite,
    /// The same of a scope.
    pub resolve_scope: ResolveSite,
    /// Whether a rule of a site, or of one that shares with it, names modules.
    pub names_modules: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// How many stored responses a record would cover.
    pub count: Count,
    /// Loads, checks, builds, swaps. At an error nothing was changed.
    pub reload: Reload,
    /// What would become of a request; changes nothing.
    pub explain: Explain,
    /// Fetches what a request would be answered with, and stores it.
    pub warm: Warm,
    /// What belongs to the releases that the ledger names.
    pub manifests: Arc<Manifests>,
    /// Makes a manifest, by the configuration of this moment.
    pub list: List,
    /// Whether a file of a release is stored.
    pub has_of: HasOf,
    /// Held for the whole of a step: one is decided after the other.
    pub steps: Arc<tokio::sync::Mutex<()>>,
    /// Why the node is not ready, apart from the ledger; empty: it is.
    pub not_ready: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// What is not as it should be though the node is ready.
    pub notes: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// See [`Control::resolve_url`].
pub type ResolveUrl = Arc<dyn Fn(&UrlToPurge<'_>) -> Result<PurgeTarget, UnknownTarget> + Send + Sync>;
/// See [`Control::resolve_site`].
pub type ResolveSite = Arc<dyn Fn(&str) -> Option<Vec<String>> + Send + Sync>;
/// See [`Control::forget`].
pub type ForgetAccess = Arc<dyn Fn(Forget) -> BoxFuture<'static, u64> + Send + Sync>;
/// See [`Control::count`].
pub type Count = Arc<dyn Fn(Record) -> BoxFuture<'static, Counts> + Send + Sync>;
/// See [`Control::reload`].
pub type Reload = Arc<dyn Fn() -> BoxFuture<'static, Result<ReloadSummary, ReloadRefused>> + Send + Sync>;

/// The peer's address, put into a request's extensions by the node: a record says where it was asked from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The API as an axum router.
pub fn router(control: Control) -> Router {
    let (router, _) = openapi::documented().split_for_parts();
    router
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(control)
}

/// The API as a service of requests with any body; the node puts it behind the listener.
#[derive(Clone)]
pub struct Api(Router);

/// Body of an answer of [`Api`].
pub type ApiBody = MapErr<Body, fn(axum::Error) -> BoxError>;

impl Api {
    /// The API over these handles.
    pub fn new(control: Control) -> Api {
        Api(router(control))
    }

    /// Answers one request. `peer` is where it came from.
    pub async fn answer<B>(&self, mut request: Request<B>, peer: SocketAddr) -> Response<ApiBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        request.extensions_mut().insert(Peer(peer));
        let Ok(response) = self.0.clone().oneshot(request).await;
        response.map(|body| body.map_err(BoxError::from as fn(axum::Error) -> BoxError))
    }
}
