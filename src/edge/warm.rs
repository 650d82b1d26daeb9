//! Warm-up: what learners will ask for is fetched beforehand, in nobody's name but the site's own.
//!
//! The request goes the way of every request, so that what it stores is what a learner finds. It needs no signature, and where
//! the LMS decides, it is asked with the site's service credential. Nobody waits for the answer: it is read to its end and
//! dropped.

use crate::{
    access, clock,
    edge::{
        Course, Edge, Found, Known, Peer, Serving, Visit,
        route::{self, Sender},
    },
    http_caching::status_field::CACHE_STATUS,
    ledger::{Release, Standing},
    response::{Account, Arrival, Body, WarmResult, Warmed},
    rules::Class,
};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use std::{net::SocketAddr, sync::Arc};

/// What browsers take: what is stored for them is warmed.
const CODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, br, zstd");
/// Where a warm-up comes from, in place of a listener's name.
const LISTENER: &str = "warm-up";

/// Why nothing was fetched, in a fixed word.
type Refused = &'static str;

/// For whom something is warmed, and of which release.
struct Warms<'a> {
    sender: Sender,
    as_if: Option<&'a Arc<Release>>,
}

impl Edge {
    /// Fetches and stores what `request` (its target a path, its host a field) would be answered with, unless that is stored and
    /// fresh. `client` is who asks for the warm-up, for the log.
    ///
    /// With `as_if` it is a file of this release, active or not: what is stored of another and has the same bytes is taken over, and
    /// nothing is fetched then.
    pub async fn warm(
        &self,
        mut request: Request<()>,
        https: bool,
        client: SocketAddr,
        as_if: Option<&Arc<Release>>,
    ) -> Warmed {
        request.headers_mut().insert(header::ACCEPT_ENCODING, CODINGS);
        let from = Warms { sender: Sender { client, https }, as_if };
        let mut looks = match self.warms_by(&mut request, &from).await {
            Ok(visit) => visit,
            Err(why) => return Warmed::refused(why),
        };
        if as_if.is_some() && looks.part().is_none() {
            return Warmed::refused("not-listed");
        }
        if let Some(settles) = self.has(&mut looks).await {
            return Warmed::fresh(settles);
        }
        let mut goes = match self.warm_visit(&request, &from) {
            Ok(visit) => visit,
            Err(why) => return Warmed::refused(why),
        };
        goes.account.tell();
        let read = read(self.respond(goes).await).await;
        looks.account.time = clock::now();
        if read.result == WarmResult::Failed {
            return read;
        }
        // What came is one thing, what the next learner finds another.
        match self.would_serve(&mut looks).await {
            Some(settles) => read.stored(settles),
            None => read,
        }
    }

    /// The way of a request that may be answered from what is stored. Where the LMS decides, `request` gets the site's credential.
    async fn warms_by(&self, request: &mut Request<()>, from: &Warms<'_>) -> Result<Box<Visit>, Refused> {
        let mut visit = self.warm_visit(request, from)?;
        if visit.route.access.asked().is_some() {
            request.headers_mut().extend(credential(&visit).await?);
            visit = self.warm_visit(request, from)?;
        }
        if self.0.handover.has_begun() {
            return Err("handed-over");
        }
        match visit.course() {
            Course::LooksUp => Ok(visit),
            Course::Relays(_) if visit.route.access.asked().is_some() => Err("wrong-credential"),
            Course::Relays(_) => Err("pass"),
            Course::Switched => Err("switch-relay"),
            Course::Refuses(_) => Err("rule"),
        }
    }

    fn warm_visit(&self, request: &Request<()>, from: &Warms<'_>) -> Result<Box<Visit>, Refused> {
        let Warms { sender: Sender { client, https }, as_if } = *from;
        let arrival = Arrival { listener: &Arc::from(LISTENER), client, https };
        let mut account = Box::new(Account::untold(&self.0.accounts, &arrival, request));
        let sites = self.0.sites.load();
        let known = Known { as_if, ..self.known(&sites) };
        let mut route = route::find(&known, request, https, &mut account).map_err(|plain| plain.word)?;
        // Learners go first.
        route.class = Some(Class::WarmUp);
        let (parts, ()) = request.clone().into_parts();
        let peer = Peer { address: client.ip(), trusted: false };
        Ok(Box::new(Visit::new(parts, None, route, account, peer)))
    }

    /// Whether a file of a release is stored, whole. What is stored of another release and has its bytes is taken over first.
    pub async fn has_of(
        &self,
        request: &Request<()>,
        https: bool,
        client: SocketAddr,
        release: &Arc<Release>,
    ) -> bool {
        let from = Warms { sender: Sender { client, https }, as_if: Some(release) };
        match self.warm_visit(request, &from) {
            Ok(mut visit) if visit.part().is_some() => self.has(&mut visit).await.is_some(),
            _ => false,
        }
    }

    /// As [`Edge::would_serve`], after what is stored elsewhere and is the same was taken over.
    async fn has(&self, visit: &mut Visit) -> Option<bool> {
        match self.would_serve(visit).await {
            None if self.takes_over(visit).await => self.would_serve(visit).await,
            found => found,
        }
    }

    /// If the next learner who may have it is answered from what is stored, whole: whether only until a purge has settled.
    async fn would_serve(&self, visit: &mut Visit) -> Option<bool> {
        match self.look_anywhere(visit).await {
            Found::Serves { stored, how, .. }
                if how != Serving::Refreshing && self.0.tiers.has(&stored.body).await =>
            {
                Some(matches!(self.recorded(visit, &stored), Standing::Settling { .. }))
            }
            _ => None,
        }
    }
}

/// The site's service credential, as it stands in its file at this moment.
async fn credential(visit: &Visit) -> Result<HeaderMap, Refused> {
    let site = &visit.route.site;
    let path = site.service_credential.as_ref().ok_or("no-credential")?;
    let reads = path.clone();
    let read = tokio::task::spawn_blocking(move || access::small_file(&reads));
    let text = read.await.unwrap_or_else(|error| Err(error.to_string()));
    text.and_then(|text| access::credential(&text)).map_err(|error| {
        tracing::warn!(site = &*site.name, path = %path.display(), error, "the service credential cannot be used");
        "unusable-credential"
    })
}

/// Reads an answer to its end.
async fn read(response: Response<Body>) -> Warmed {
    let status = response.status();
    let result = if status.is_server_error() { WarmResult::Failed } else { WarmResult::NotStored };
    let mut read =
        Warmed { result, status: Some(status.as_u16()), bytes: 0, why: detail(response.headers()) };
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => read.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(error) => return Warmed { result: WarmResult::Failed, why: Some(error.to_string()), ..read },
        }
    }
    read
}

/// Why the answer is as it is, in the edge's own word.
fn detail(headers: &HeaderMap) -> Option<String> {
    let own = headers.get_all(CACHE_STATUS).iter().next_back()?.to_str().ok()?;
    let member = own.rsplit(',').next()?;
    let detail = member.split(';').find_map(|parameter| parameter.trim().strip_prefix("detail="))?;
    Some(detail.to_owned())
}
