//! A front: one listening address with its own published versions, and what all fronts share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Router, http::StatusCode};
use tokio::sync::{broadcast, watch};

use super::capacity::Workers;
use super::counters::{Counters, locked};
use super::flight::Flight;
use super::kind::{Kind, Load};
use super::serve::Life;
use super::tracking::Commits;
use super::trouble::{self, Trouble};
use super::{Options, account, content, control, course, live, media, pages, tracking};
use crate::clock;
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
    /// Numbers that learners' own pages got so far.
    pub(crate) answers: AtomicU64,
    pub(crate) commits: Commits,
    pub(crate) fronts: Vec<Own>,
    troubles: Mutex<Vec<Trouble>>,
    /// What is in flight at all fronts together.
    together: Mutex<Load>,
    /// When a learner was last checked for a course.
    checks: Mutex<HashMap<Checked, Instant>>,
}

/// Tenant, learner, course.
type Checked = (String, String, String);

/// Of who was checked so many are remembered.
const CHECKED: usize = 1_000_000;

/// What a front has for itself.
pub(crate) struct Own {
    pub(crate) life: Life,
    published: Mutex<HashMap<String, u32>>,
    counters: Mutex<Counters>,
    workers: Option<Workers>,
}

impl Shared {
    pub(crate) fn new(options: Options, fronts: usize, stopped: watch::Receiver<bool>) -> Shared {
        let workers = || options.capacity.map(Workers::new);
        let own = |_| Own {
            life: Life::default(),
            published: Mutex::default(),
            counters: Mutex::default(),
            workers: workers(),
        };
        let fronts = (0..fronts).map(own).collect();
        Shared {
            ignore_version: AtomicBool::new(options.ignore_version),
            options,
            events: broadcast::channel(1024).0,
            stopped,
            built: Mutex::default(),
            answers: AtomicU64::new(1),
            commits: Commits::default(),
            fronts,
            troubles: Mutex::default(),
            together: Mutex::default(),
            checks: Mutex::default(),
        }
    }

    pub(crate) fn publish(&self, front: Option<usize>, module: &str, version: u32) {
        for (number, own) in self.fronts.iter().enumerate() {
            if front.is_none_or(|only| only == number) {
                locked(&own.published).insert(module.to_owned(), version);
            }
        }
    }

    pub(crate) fn published(&self, front: usize) -> HashMap<String, u32> {
        self.fronts.get(front).map(|own| locked(&own.published).clone()).unwrap_or_default()
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
        for (number, own) in self.fronts.iter().enumerate() {
            if front.is_none_or(|only| only == number) {
                sum.add(&locked(&own.counters));
            }
        }
        if front.is_none() {
            sum.load.in_flight_max = locked(&self.together).in_flight_max;
        }
        sum
    }

    /// Counts from nothing again; what is open stays counted.
    pub(crate) fn reset_counters(&self) {
        for own in &self.fronts {
            let mut counters = locked(&own.counters);
            *counters = Counters {
                open_streams: counters.open_streams,
                load: counters.load.again(),
                ..Counters::default()
            };
        }
        self.together(|load| *load = load.again());
    }

    pub(crate) fn together(&self, change: impl FnOnce(&mut Load)) {
        change(&mut locked(&self.together));
    }

    /// A learner was checked for a course, at this front.
    pub(crate) fn checked(&self, front: usize, who: Checked) {
        let now = clock::now();
        let mut checks = locked(&self.checks);
        let known = checks.len() < CHECKED || checks.contains_key(&who);
        let before = if known { checks.insert(who, now) } else { None };
        drop(checks);
        if before.is_some_and(|before| now - before < self.options.kept) {
            locked(&self.fronts[front].counters).load.checks_early += 1;
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
        locked(&self.shared.fronts[self.number].published).get(module).copied().unwrap_or(1)
    }

    /// The same of a tenant that has a version of its own.
    pub(crate) fn version_at(&self, tenant: &str, module: &str) -> u32 {
        let own =
            locked(&self.shared.fronts[self.number].published).get(&format!("{tenant}/{module}")).copied();
        own.unwrap_or_else(|| self.version(module))
    }

    pub(crate) fn ignores_version(&self) -> bool {
        self.shared.ignore_version.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut locked(&self.shared.fronts[self.number].counters));
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
        .route("/course/{course}", get(course::page))
        .route("/course/{course}/package/{module}/{*path}", get(course::package))
        .route("/access/{course}", get(course::access))
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

/// Counts a request, has a worker busy with it, sees that its tenant exists, and makes trouble where told.
async fn observe(State(front): State<Front>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let kind = Kind::of(&path);
    let conditional = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
    let conditional = conditional.iter().any(|name| request.headers().contains_key(name));
    front.count(|counters| counters.request(request.method().as_str(), &path));
    let flight = Flight::begin(front.clone(), kind, conditional);
    if let Some(workers) = &front.shared.fronts[front.number].workers {
        workers.work(kind, conditional).await;
    }
    let response = answer(&front, request, &path, next).await;
    let status = response.status();
    front.count(|counters| {
        *counters.by_status.entry(status.as_u16()).or_default() += 1;
        if !conditional
            && kind == Kind::Package
            && [StatusCode::FORBIDDEN, StatusCode::SEE_OTHER].contains(&status)
        {
            counters.load.refused(kind);
        }
    });
    flight.with(kind, response)
}

async fn answer(front: &Front, request: Request, path: &str, next: Next) -> Response {
    let strike = front.shared.strike(front.number, path).unwrap_or_default();
    if let Some(delay) = strike.delay_ms {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let response = match strike.status {
        Some(status) => trouble::failure(status),
        None if pages::tenant_of(front, &request).is_none() => pages::no_tenant(),
        None => next.run(request).await,
    };
    match strike.cut_after {
        Some(bytes) => trouble::cut(response, bytes),
        None => response,
    }
}
