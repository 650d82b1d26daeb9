//! What became of one request, told once: when its answer has ended, however it ended.

use crate::{
    access::Digest,
    clock,
    http_caching::Coding,
    ledger::Release,
    site::Site,
    telemetry::{AccessLog, Fault, Line, Metrics, Outcome, Room, RuleMetrics, Trace},
};
use http::{HeaderValue, Method, StatusCode, Uri, Version};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// Where requests are accounted for. One for the node.
pub struct Accounts {
    /// The access log.
    pub log: Arc<AccessLog>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Counters of requests that belong to no site.
    pub stray: RuleMetrics,
}

impl Accounts {
    /// Accounts not told so far, if whoever asks holds the only other handle: each holds one until its line is written.
    pub fn open(self: &Arc<Accounts>) -> usize {
        Arc::strong_count(self) - 1
    }
}

/// The account of one request. Dropping it writes the line and moves the counters.
pub struct Account {
    accounts: Arc<Accounts>,
    begun: Instant,
    first: Option<Duration>,
    listener: Arc<str>,
    client: SocketAddr,
    https: bool,
    method: Method,
    uri: Uri,
    version: Version,
    /// When the head of the request was complete.
    pub time: SystemTime,
    /// Host asked for.
    pub host: Option<HeaderValue>,
    /// Site and the rule that matched.
    pub matched: Option<(Arc<Site>, Option<usize>)>,
    /// The path holds a secret.
    pub hide_path: bool,
    /// Path and query as they may be written down, where what showed permission stands in them.
    pub masked: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Whose doing a failure is.
    pub fault: Option<Fault>,
    /// Why, in a fixed word.
    pub detail: Option<&'static str>,
    /// What let the learner in, or that nothing did, where the rule asks the LMS.
    pub access: Option<&'static str>,
    /// Digest of her credentials.
    pub learner: Option<Digest>,
    /// The release that it was answered from.
    pub release: Option<Arc<Release>>,
    /// Server of the origin that answered.
    pub origin: Option<SocketAddr>,
    /// Age of the response served, seconds.
    pub age: Option<u64>,
    /// The coding that the edge gave it, if it has another than the origin gave it.
    pub coding: Option<Coding>,
    /// Trace context.
    pub trace: Trace,
    /// A place in the log that was waited for: this line is not dropped.
    pub room: Option<Room>,
    status: StatusCode,
    bytes: u64,
    complete: bool,
    untold: bool,
}

/// What is known of a request before it is looked at.
pub struct Arrival<'a> {
    /// Listener it came through.
    pub listener: &'a Arc<str>,
    /// The client's address.
    pub client: SocketAddr,
    /// It came by TLS, or a trusted proxy says so.
    pub https: bool,
}

impl Account {
    /// Opens the account of a request.
    pub fn open<B>(accounts: &Arc<Accounts>, arrival: &Arrival<'_>, request: &http::Request<B>) -> Account {
        Account {
            accounts: accounts.clone(),
            begun: clock::instant(),
            first: None,
            listener: arrival.listener.clone(),
            client: arrival.client,
            https: arrival.https,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            time: clock::now(),
            host: None,
            matched: None,
            hide_path: false,
            masked: None,
            outcome: Outcome::Failed,
            fault: None,
            detail: None,
            access: None,
            learner: None,
            release: None,
            origin: None,
            age: None,
            coding: None,
            trace: Trace::from(request.headers()),
            room: None,
            status: StatusCode::OK,
            bytes: 0,
            complete: false,
            untold: false,
        }
    }

    /// The account of a request that did not come and is only talked about: it leaves no line and moves no counter.
    pub fn untold<B>(accounts: &Arc<Accounts>, arrival: &Arrival<'_>, request: &http::Request<B>) -> Account {
        let mut account = Account::open(accounts, arrival, request);
        account.untold = true;
        account
    }

    /// It comes all the same: it leaves a line, and is counted.
    pub fn tell(&mut self) {
        self.untold = false;
    }

    /// The request is a HEAD: no body belongs to its answer.
    pub fn is_of_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.client.ip()
    }

    /// The head of the answer is made.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = status;
        self.first = Some(clock::instant() - self.begun);
    }

    /// So many more body bytes were handed to the client's connection.
    pub fn handed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The answer was handed over whole.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// The answer broke off.
    pub fn broke_off(&mut self, fault: Fault, word: &'static str) {
        (self.outcome, self.fault, self.detail) = (Outcome::Failed, Some(fault), Some(word));
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.untold {
            return;
        }
        let total = clock::instant() - self.begun;
        // No head was made: the client left while it was waited for.
        let answered = self.first.is_some();
        if !answered || (!self.complete && self.fault.is_none()) {
            self.broke_off(Fault::Client, "client-left");
        }
        let accounts = &self.accounts;
        let (site, rule) = match &self.matched {
            Some((site, rule)) => {
                site.metrics(*rule).ended(self.outcome, self.bytes);
                (
                    &*site.name,
                    rule.and_then(|rule| site.rules.rules().get(rule)).map_or("", |rule| &rule.name),
                )
            }
            None => {
                accounts.stray.ended(self.outcome, self.bytes);
                ("", "")
            }
        };
        accounts.metrics.request_seconds.observe(total.as_secs_f64());
        match (self.outcome, self.fault, self.detail) {
            (Outcome::Refused, _, Some(word)) => accounts.metrics.refused(word),
            (Outcome::Failed, Some(fault), Some(word)) => accounts.metrics.failed(fault, word),
            _ => {}
        }
        let sent = self.uri.path_and_query().map_or("", |target| target.as_str());
        let path = self.masked.as_deref().unwrap_or(sent);
        let line = Line {
            time: clock::unix_millis(self.time),
            listener: &self.listener,
            client: self.client,
            protocol: protocol(self.version),
            method: self.method.as_str(),
            scheme: if self.https { "https" } else { "http" },
            host: self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(""),
            target: (!self.hide_path).then_some(path),
            site,
            rule,
            outcome: self.outcome,
            fault: self.fault,
            detail: self.detail,
            access: self.access,
            learner: self.learner.as_ref().map(|learner| learner as &dyn std::fmt::Display),
            module: self.release.as_ref().map(|release| &*release.module),
            release: self.release.as_ref().map(|release| &*release.name),
            status: if answered { self.status.as_u16() } else { 0 },
            bytes: self.bytes,
            complete: self.complete,
            first: self.first.unwrap_or(total),
            total,
            origin: self.origin,
            age: self.age,
            coding: self.coding.map(Coding::as_str),
            trace: self.trace.id(),
        };
        match self.room.take() {
            Some(room) => accounts.log.write_in(room, &line),
            None => accounts.log.write(&line),
        }
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
