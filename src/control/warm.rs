//! `POST /v1/warm`: what learners will ask for is fetched beforehand, and what came of each URL is told as it ends.

use super::{
    Control, Peer, Problem, explain,
    tokens::{Caller, ToWarm},
};
use crate::{
    ledger::Release,
    response::{WarmResult, Warmed},
};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{State, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, future::BoxFuture, stream};
use http::{Request, header};
use serde::{Deserialize, Serialize};
use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;

/// Most URLs of one call.
pub const LONGEST_LIST: usize = 10_000;
/// Longest call: so many URLs fit.
pub(super) const BODY_BYTES: usize = 8 << 20;
/// Most requests at once.
const MOST_AT_ONCE: u32 = 64;

/// Warms what a request with a path as its target and its host as a field, over TLS or not, would be answered with; the address
/// is whose wish that is; with a release, as if that was active. The node hands it in: what fetches belongs to the edge.
pub type Warm = Arc<
    dyn Fn(Request<()>, bool, SocketAddr, Option<Arc<Release>>) -> BoxFuture<'static, Warmed> + Send + Sync,
>;

/// What is to be fetched, and how fast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WarmRequest {
    /// Whole URLs as a learner's browser has them, 10,000 at most.
    #[schema(example = json!(["https://lms.example/pluginfile.php/14/mod_scorm/content/1/index.html"]))]
    pub urls: Vec<String>,
    /// Requests at once, 64 at most.
    #[serde(default = "four")]
    #[schema(value_type = u32, minimum = 1, maximum = 64, default = 4)]
    pub at_once: NonZeroU32,
    /// Requests begun in a second.
    #[serde(default = "fifty")]
    #[schema(value_type = u32, minimum = 1, default = 50)]
    pub per_second: NonZeroU32,
}

pub(super) const fn four() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(3)
}

pub(super) const fn fifty() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(49)
}

/// A line of the answer: what became of a URL; the last one counts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum WarmLine {
    /// One URL is done.
    Url {
        /// As it was given.
        #[schema(example = "https://lms.example/pluginfile.php/14/mod_scorm/content/1/index.html")]
        url: String,
        /// What became of it.
        #[serde(flatten)]
        warmed: Warmed,
    },
    /// All are done; without this line they are not.
    Done {
        /// How many came to what.
        done: WarmCounts,
    },
}

/// How many URLs came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct WarmCounts {
    /// Were stored already.
    pub fresh: usize,
    /// Were fetched and stored.
    pub warmed: usize,
    /// Were fetched and not stored.
    pub not_stored: usize,
    /// Were not fetched.
    pub refused: usize,
    /// Could not be fetched.
    pub failed: usize,
    /// Of those that are stored: only until a purge has settled.
    #[serde(default)]
    pub settling: usize,
}

impl WarmCounts {
    /// Counts one more.
    pub fn count(&mut self, warmed: &Warmed) {
        self.settling += usize::from(warmed.settles());
        *match warmed.result {
            WarmResult::Fresh => &mut self.fresh,
            WarmResult::Warmed => &mut self.warmed,
            WarmResult::NotStored => &mut self.not_stored,
            WarmResult::Refused => &mut self.refused,
            WarmResult::Failed => &mut self.failed,
        } += 1;
    }
}

/// Fetch and store what learners will ask for.
///
/// What is stored and fresh is not fetched, so a warm-up that was broken off is done again at little cost. Where the LMS decides who
/// may have it, it is asked with the site's `service_credential`; a signature is not needed. The answer has a line for each URL as
/// it ends, in no order, and one that counts them. Whoever stops reading ends the warm-up.
#[utoipa::path(post, path = "/v1/warm", tag = "warm-up", security(("token" = ["release"]), ("token" = ["operate"])),
    request_body = WarmRequest,
    responses(
        (status = 200, description = "Lines of JSON, one for each URL and one at the end", body = WarmLine, content_type = "application/x-ndjson"),
        (status = 400, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often; nothing was done", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too long", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields are missing or wrong; nothing was fetched", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn warm(
    State(control): State<Control>,
    Caller { name: who, .. }: Caller<ToWarm>,
    peer: Option<Extension<Peer>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|error| Problem::unread(error.status(), error.body_text()))?;
    let WarmRequest { urls, at_once, per_second } =
        serde_json::from_slice(&body).map_err(|error| Problem::body(&error))?;
    if urls.is_empty() || urls.len() > LONGEST_LIST {
        return Err(Problem::wrong_list(format!("there are {} URLs: write 1 to {LONGEST_LIST}", urls.len())));
    }
    let requests = urls.into_iter().map(|url| match explain::get(&url) {
        Ok((request, https)) => Ok((url, request, https)),
        Err(why) => Err(Problem::wrong_list(format!("{url:?}: {why}"))),
    });
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    paced(control, (who, peer), requests, (at_once, per_second), None)
}

/// Fetches and stores what these requests would be answered with, as if `release` was active if there is one. The answer has a line for
/// each as it ends, and one that counts them.
pub(super) fn paced(
    control: Control,
    (who, peer): (Arc<str>, Option<Extension<Peer>>),
    requests: Vec<(String, Request<()>, bool)>,
    (at_once, per_second): (NonZeroU32, NonZeroU32),
    release: Option<Arc<Release>>,
) -> Result<Response, Problem> {
    if at_once.get() > MOST_AT_ONCE {
        return Err(Problem::wrong_list(format!("`at_once` is {at_once}: write {MOST_AT_ONCE} at most")));
    }
    let client = peer.map_or((Ipv4Addr::LOCALHOST, 0).into(), |Extension(Peer(peer))| peer);
    let mut pace = interval(Duration::from_secs(1) / per_second.get());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let paced = stream::unfold((requests.into_iter(), pace), async |(mut requests, mut pace)| {
        let next = requests.next()?;
        pace.tick().await;
        Some((next, (requests, pace)))
    });
    let warmed = paced.map(move |(url, request, https)| {
        let warm = (control.warm)(request, https, client, release.clone());
        async move { (url, warm.await) }
    });
    let warmed = warmed.buffer_unordered(at_once.get() as usize).map(Some);
    // One more, for the line that counts.
    let lines = warmed.chain(stream::once(async { None })).scan(WarmCounts::default(), move |done, next| {
        let line = match next {
            Some((url, warmed)) => {
                done.count(&warmed);
                WarmLine::Url { url, warmed }
            }
            None => {
                tracing::info!(%who, ?done, "warmed up");
                WarmLine::Done { done: *done }
            }
        };
        let mut text = serde_json::json!(line).to_string();
        text.push('\n');
        std::future::ready(Some(Ok::<_, Infallible>(text)))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}
