//! What an operator sets of an origin.

use super::{Balance, queue::Places};
use http::HeaderValue;
use std::{path::PathBuf, time::Duration};

/// One origin: the servers of one LMS or one storage.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginSettings {
    /// Name in log, metrics and sites.
    pub name: String,
    /// Its servers ("fronts"), `host` (name or address) and port.
    pub servers: Vec<(String, u16)>,
    /// TLS towards the servers; absent: cleartext.
    pub tls: Option<OriginTls>,
    /// The `Host` that is sent.
    pub host: HostField,
    /// HTTP version spoken.
    pub http: OriginHttp,
    /// How long the origin may take.
    pub timeouts: OriginTimeouts,
    /// Shortest time a name's address is used before it is asked again.
    pub dns_floor: Duration,
    /// Longest time a name's address is used before it is asked again.
    pub dns_ceiling: Duration,
    /// Name servers (`address:port`) to ask; empty: the system's.
    pub dns_servers: Vec<std::net::SocketAddr>,
    /// Which front comes next.
    pub balance: Balance,
    /// What each front is asked now and then, to see whether it does well.
    pub check: Option<CheckSettings>,
    /// Failures one after the other, over a second at least, after which a front gets no more requests; 0: it always does.
    pub failures: u32,
    /// Longest time such a front is left alone before one request is let through to it as a trial.
    pub open_max: Duration,
    /// How long a front that is back gets less than its turns.
    pub slow_start: Duration,
    /// How many of a hundred requests may be sent to a second front.
    pub retry_percent: u8,
    /// Requests in flight at most.
    pub in_flight: usize,
    /// Of those, the ones that only requests with unsafe methods may take, and as many that only the others may; absent: an eighth.
    pub reserved: Option<usize>,
    /// Of those, what one site may have, of requests with unsafe methods and of the others; absent: all.
    pub in_flight_per_site: Option<usize>,
    /// Access checks in flight at most, beside those.
    pub checks: usize,
    /// Requests that may wait for a place, and checks.
    pub queue: usize,
    /// How long a request may wait for a place.
    pub queue_wait: Duration,
}

/// TLS towards an origin. Certificates are always verified; the name sent (SNI) is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginTls {
    /// Name sent and verified; absent: the server's host name.
    pub sni: Option<String>,
    /// PEM file of the authorities to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// What the edge shows if it is asked who it is.
    pub certificate: Option<OriginCertificate>,
}

/// A certificate of the edge's own, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginCertificate {
    /// File of the certificate, and those between it and its authority.
    pub chain: PathBuf,
    /// File of its key.
    pub key: PathBuf,
}

/// An active check: `GET` of a page, whose status says how the front does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    /// Path and query.
    pub path: String,
    /// The `Host` sent; absent: the origin's own, else the server's name.
    pub host: Option<HeaderValue>,
    /// The status of a front that does well.
    pub status: u16,
    /// From the begin of a round to that of the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Checks passed one after the other until a front that failed gets requests again.
    pub rise: usize,
    /// Checks failed one after the other until a front gets no more requests.
    pub fall: usize,
}

impl CheckSettings {
    /// A check of `path` with every default.
    pub fn new(path: &str) -> CheckSettings {
        CheckSettings {
            path: path.to_owned(),
            host: None,
            status: 200,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            rise: 2,
            fall: 3,
        }
    }
}

/// Which `Host` an origin is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostField {
    /// The one the client asked for.
    #[default]
    Pass,
    /// This one.
    Set(HeaderValue),
}

impl HostField {
    /// The one that is always sent, if there is one.
    pub(super) fn set(&self) -> Option<&HeaderValue> {
        match self {
            HostField::Pass => None,
            HostField::Set(host) => Some(host),
        }
    }
}

/// HTTP version towards an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginHttp {
    /// HTTP/1.1.
    #[default]
    H1,
    /// HTTP/2; without TLS by prior knowledge.
    H2,
}

/// Bounds on time towards an origin. None of them is on the whole of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginTimeouts {
    /// TCP connect, and the TLS handshake after it, each.
    pub connect: Duration,
    /// TCP connect and TLS handshake together; also the wait for a free HTTP/2 stream.
    pub handshake: Duration,
    /// From the request's last byte to the answer's head.
    pub head: Duration,
    /// Between two pieces of the answer's body.
    pub body: Duration,
    /// Without progress while sending the request.
    pub write: Duration,
    /// How long an idle connection is kept.
    pub idle: Duration,
}

impl OriginSettings {
    /// Settings for `servers` with every default.
    pub fn new(name: &str, servers: Vec<(String, u16)>) -> OriginSettings {
        OriginSettings {
            name: name.to_owned(),
            servers,
            tls: None,
            host: HostField::Pass,
            http: OriginHttp::H1,
            timeouts: OriginTimeouts::default(),
            dns_floor: Duration::from_secs(1),
            dns_ceiling: Duration::from_secs(60),
            dns_servers: Vec::new(),
            balance: Balance::default(),
            check: None,
            failures: 5,
            open_max: Duration::from_secs(30),
            slow_start: Duration::from_secs(10),
            retry_percent: 20,
            in_flight: 256,
            reserved: None,
            in_flight_per_site: None,
            checks: 64,
            queue: 1024,
            queue_wait: Duration::from_secs(10),
        }
    }

    pub(super) fn places(&self) -> Places {
        Places {
            all: self.in_flight,
            reserved: self.reserved.unwrap_or(self.in_flight / 8),
            per_site: self.in_flight_per_site.unwrap_or(self.in_flight),
            longest: self.queue,
            wait: self.queue_wait,
        }
    }
}

impl Default for OriginTimeouts {
    fn default() -> OriginTimeouts {
        OriginTimeouts {
            connect: Duration::from_secs(3),
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(60),
            body: Duration::from_secs(60),
            write: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        }
    }
}
