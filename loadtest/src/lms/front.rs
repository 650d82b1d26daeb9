//! A front: one listening address with its own published versions, and what all fronts share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Router, http::StatusCode};
use tokio::sync::{broadcast, watch};

use super::counters::{Counters, locked};
use super::trouble::{self, Trouble};
use super::{Options, account, content, control, live, media, pages, tracking};
use crate::content::Built;

/// What all fronts of a process share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) ignore_version: AtomicBool,
    pub(crate) events: broadcast::Sender<String>,
    /// Turns true when the LMS ends; event streams and WebSockets watch it.
    pub(crate) stopped: watch::Receiver<bool>,
    /// Files made so far, by name and version.
    pub(crate) built: Mutex<HashMap<(String, u32), Built>>,
    troubles: Mutex<Vec<Trouble>>,
    fronts: Vec<Mutex<HashMap<String, u32>>>,
    counters: Vec<Mutex<Counters>>,
}

impl Shared {
    pub(crate) fn new(options: Options, fronts: usize, stopped: watch::Receiver<bool>) -> Shared {
        Shared {
            ignore_version: AtomicBool::new(options.ignore_version),
            options,
            events: broadcast::channel(1024).0,
            stopped,
            built: Mutex::default(),
            troubles: Mutex::default(),
            fronts: (0..fronts).map(|_| Mutex::default()).collect(),
            counters: (0..fronts).map(|_| Mutex::default()).collect(),
        }
    }

    pub(crate) fn publish(&self, front: Option<usize>, module: &str, version: u32) {
        for (number, published) in self.fronts.iter().enumerate() {
            if front.is_none_or(|only| only == number) {
                locked(published).insert(module.to_owned(), version);
            }
        }
    }

    pub(crate) fn published(&self, front: usize) -> HashMap<String, u32> {
        self.fronts.get(front).map(|published| locked(published).clone()).unwrap_or_default()
    }

    pub(crate) fn fronts(&self) -> usize {
        self.fronts.len()
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        locked(&self.troubles).push(trouble);
    }

    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        locked(&self.troubles).clone()
    }

    pub(crate) fn heal(&self) {
        locked(&self.troubles).clear();
    }

    pub(crate) fn counters(&self, front: Option<usize>) -> Counters {
        let mut sum = Counters::default();
        for (number, counters) in self.counters.iter().enumerate() {
            if front.is_none_or(|only| only == number) {
                sum.add(&locked(counters));
            }
        }
        sum
    }

    /// Counts from nothing again; what is open stays counted.
    pub(crate) fn reset_counters(&self) {
        for counters in &self.counters {
            let mut counters = locked(counters);
            *counters = Counters { open_streams: counters.open_streams, ..Counters::default() };
        }
    }

    pub(crate) fn send_event(&self, text: &str) {
        // Without a stream nobody listens, which is no fault.
        drop(self.events.send(text.to_owned()));
    }

    fn strike(&self, front: usize, path: &str) -> Option<Trouble> {
        locked(&self.troubles)
            .iter_mut()
            .find_map(|trouble| trouble.strikes(front, path).then(|| trouble.clone()))
    }
}

/// One front, as the answering functions know it.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) shared: Arc<Shared>,
    pub(crate) number: usize,
}

impl Front {
    pub(crate) fn new(shared: Arc<Shared>, number: usize) -> Front {
        Front { shared, number }
    }

    /// The version of a module that this front serves; 1 before anything was published.
    pub(crate) fn version(&self, module: &str) -> u32 {
        locked(&self.shared.fronts[self.number]).get(module).copied().unwrap_or(1)
    }

    pub(crate) fn ignores_version(&self) -> bool {
        self.shared.ignore_version.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut locked(&self.shared.counters[self.number]));
    }
}

/// Everything a front answers.
pub(crate) fn router(front: Front) -> Router {
    let lms = Router::new()
        .route("/", get(pages::home))
        .route("/theme/{file}", get(pages::theme))
        .route("/launch/{module}", get(pages::launch))
        .route("/login", get(account::form).post(account::login))
        .route("/logout", post(account::logout))
        .route("/my/", any(account::mine))
        .route("/my/{*rest}", any(account::mine))
        .route("/api/me", get(account::me))
        .route("/content/{module}/{version}/{*path}", get(content::file))
        .route("/media/film.mp4", get(media::film))
        .route("/media/handbook.pdf", get(media::handbook))
        .route("/media/hls/{file}", get(media::hls))
        .route("/track", post(tracking::commit))
        .route("/track/beacon", post(tracking::beacon))
        .route("/upload", post(tracking::upload).put(tracking::upload))
        .route("/events", get(live::events))
        .route("/ws", any(live::websocket))
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is nothing here.\n") })
        .layer(from_fn_with_state(front.clone(), observe));
    Router::new().merge(lms).nest("/_control", control::router()).with_state(front)
}

/// Counts a request, sees that its tenant exists, and makes trouble where told.
async fn observe(State(front): State<Front>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    front.count(|counters| counters.request(request.method().as_str(), &path));
    let strike = front.shared.strike(front.number, &path);
    let strike = strike.unwrap_or_default();
    if let Some(delay) = strike.delay_ms {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let mut response = match strike.status {
        Some(status) => trouble::failure(status),
        None if pages::tenant_of(&front, &request).is_none() => pages::no_tenant(),
        None => next.run(request).await,
    };
    if let Some(bytes) = strike.cut_after {
        response = trouble::cut(response, bytes);
    }
    front.count(|counters| *counters.by_status.entry(response.status().as_u16()).or_default() += 1);
    response
}
