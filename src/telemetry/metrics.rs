//! Every metric of the node, each with a help text written for the operator: what moves it, what to do.
//!
//! Labels come from configuration or from a fixed list of words, never from a request (G54). `docs/metrics.md` is the list
//! that operators read; a test holds it to this file.

use crate::telemetry::{
    AccessMetrics, Fault, Outcome, QueueMetrics,
    coding_metrics::CodingMetrics,
    disk_metrics::DiskMetrics,
    front_metrics::{FrontFamily, FrontSeries, RetryMetrics},
    process::Process,
};
use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::MetricType,
};
use std::{
    cell::RefCell,
    sync::{Arc, Mutex},
};

/// All metrics of the node. Handles are cheap to clone; a request only touches handles.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    process: Process,
    requests: IntCounterVec,
    response_bytes: IntCounterVec,
    requests_refused: IntCounterVec,
    requests_failed: IntCounterVec,
    /// Time from head of the request to end of its answer, seconds.
    pub request_seconds: Histogram,
    /// Open client connections, by listener.
    pub connections: IntGaugeVec,
    /// Connections accepted, by listener.
    pub connections_accepted: IntCounterVec,
    /// Connections ended or refused by the listener, by listener and reason (a fixed word).
    pub connections_ended: IntCounterVec,
    /// Certificates by listener and state (`serving`, `broken`).
    pub certificates: IntGaugeVec,
    /// Fills begun.
    pub fills: IntCounter,
    /// Fills under way.
    pub fills_in_flight: IntGauge,
    /// Relays of unsafe methods under way.
    pub relays_in_flight: IntGauge,
    /// Fills that did not end well, by fault.
    pub fills_failed: IntCounterVec,
    /// Responses not stored, by reason (a fixed word).
    pub not_stored: IntCounterVec,
    /// Answers of another release than was asked for, by site and front.
    pub release_mismatches: IntCounterVec,
    /// Requests sent to origins, by origin and status class (`2xx` … `5xx`, `error`).
    pub origin_requests: IntCounterVec,
    /// From sending a request to an origin to the head of its answer, seconds, by origin.
    pub origin_seconds: HistogramVec,
    /// Requests in flight, by origin.
    pub origin_in_flight: IntGaugeVec,
    /// Requests waiting for a place, by origin.
    pub origin_queued: IntGaugeVec,
    /// Requests turned away because the origin's queue was full or too slow, by origin.
    pub origin_turned_away: IntCounterVec,
    fronts: Arc<FrontFamily>,
    retries: IntCounterVec,
    switched: IntGaugeVec,
    access_checks: IntCounterVec,
    access_kept: IntCounterVec,
    access_last: IntCounterVec,
    checks_in_flight: IntGaugeVec,
    checks_queued: IntGaugeVec,
    checks_turned_away: IntCounterVec,
    /// Slots and chunks in memory.
    pub stored_entries: IntGauge,
    /// Bytes the memory tier holds, overhead included.
    pub memory_bytes: IntGauge,
    /// Stored responses or chunks the memory tier let go.
    pub evicted: IntCounter,
    /// Look-ups that found a head but not all of its chunks.
    pub incomplete: IntCounter,
    /// Readers cut because they held up others and made no progress.
    pub lagged: IntCounter,
    /// Bytes of bodies handed to connections and not all written.
    pub bytes_handed: IntGauge,
    /// The ledger's last number.
    pub ledger_number: IntGauge,
    /// 1 while the ledger takes records, 0 when it refuses them.
    pub ledger_ready: IntGauge,
    /// Access log lines dropped because the writer could not follow.
    pub log_dropped: IntCounter,
    /// Failed attempts to write or reopen the access log.
    pub log_errors: IntCounter,
    /// Reloads of the configuration, by result (`applied`, `refused`).
    pub reloads: IntCounterVec,
    /// Coded variants.
    pub coding: CodingMetrics,
    /// The disk tier.
    pub disk: DiskMetrics,
}

/// What a metric is, for the document that lists them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// Its help text.
    pub help: String,
}

/// The counters of one rule of one site, resolved when the configuration is built.
#[derive(Clone)]
pub struct RuleMetrics {
    requests: [IntCounter; Outcome::ALL.len()],
    bytes: IntCounter,
}

impl RuleMetrics {
    /// One request ended as `outcome` and `bytes` of body were handed to the client.
    pub fn ended(&self, outcome: Outcome, bytes: u64) {
        self.requests[outcome as usize].inc();
        self.bytes.inc_by(bytes);
    }
}

impl Metrics {
    /// A registry with every metric of the node in it.
    ///
    /// # Panics
    /// If two metrics share a name: a mistake in this file, seen by every test.
    #[expect(clippy::unwrap_used, reason = "names are constants of this file; a clash fails every test")]
    pub fn new() -> Arc<Metrics> {
        let registry = Registry::new();
        let described = RefCell::new(Vec::new());
        fn keep<C: Collector + Clone + 'static>(
            registry: &Registry,
            described: &RefCell<Vec<Described>>,
            c: C,
        ) -> C {
            let kind = c.collect().first().map_or("untyped", |family| match family.get_field_type() {
                MetricType::COUNTER => "counter",
                MetricType::GAUGE => "gauge",
                MetricType::HISTOGRAM => "histogram",
                MetricType::SUMMARY | MetricType::UNTYPED => "untyped",
            });
            described.borrow_mut().extend(c.desc().into_iter().map(|desc| Described::new(kind, desc)));
            registry.register(Box::new(c.clone())).unwrap();
            c
        }
        let counter =
            |name: &str, help: &str| keep(&registry, &described, IntCounter::new(name, help).unwrap());
        let gauge = |name: &str, help: &str| keep(&registry, &described, IntGauge::new(name, help).unwrap());
        let counters = |name: &str, help: &str, labels: &[&str]| {
            keep(&registry, &described, IntCounterVec::new(Opts::new(name, help), labels).unwrap())
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            keep(&registry, &described, IntGaugeVec::new(Opts::new(name, help), labels).unwrap())
        };
        // 0.5 ms to 131 s.
        let seconds = |name: &str, help: &str| {
            HistogramOpts::new(name, help).buckets(prometheus::exponential_buckets(0.0005, 4.0, 10).unwrap())
        };
        let build =
            gauges("lectern_build_info", "Always 1; the label tells the version that runs.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Arc::new(Metrics {
            requests: counters(
                "lectern_requests_total",
                "Requests by site, rule and outcome; no site means an unknown host. A falling share of hit means more load \
                 on the origin.",
                &["site", "rule", "outcome"],
            ),
            response_bytes: counters(
                "lectern_response_body_bytes_total",
                "Body bytes handed to clients by site and rule. Compare with the network's limit.",
                &["site", "rule"],
            ),
            requests_refused: counters(
                "lectern_requests_refused_total",
                "Requests that the edge refused, by reason, the word that the access log calls detail. A rise of one reason \
                 is a misconfigured client or an attack.",
                &["reason"],
            ),
            requests_failed: counters(
                "lectern_requests_failed_total",
                "Requests without a whole answer, by whose fault it was and the word that the access log calls detail. Alert \
                 on origin and edge; client means that learners left.",
                &["fault", "reason"],
            ),
            request_seconds: keep(
                &registry,
                &described,
                Histogram::with_opts(seconds(
                    "lectern_request_duration_seconds",
                    "From the head of a request to the end of its answer. Slow clients and long films count too.",
                ))
                .unwrap(),
            ),
            connections: gauges(
                "lectern_connections",
                "Open client connections by listener. At the listener's limit new ones are refused.",
                &["listener"],
            ),
            connections_accepted: counters(
                "lectern_connections_accepted_total",
                "Client connections accepted by listener. Rising faster than requests, clients do not keep their connections.",
                &["listener"],
            ),
            connections_ended: counters(
                "lectern_connections_ended_total",
                "Connections that the listener refused or ended by itself, by reason: limits, deadlines, failed handshakes.",
                &["listener", "reason"],
            ),
            certificates: gauges(
                "lectern_certificates",
                "Certificates by listener and state. Above 0 for broken, look into the error log: it names the file.",
                &["listener", "state"],
            ),
            fills: counter("lectern_fills_total", "Fills begun: requests to an origin whose answer may be stored."),
            fills_in_flight: gauge(
                "lectern_fills_in_flight",
                "Fills under way. Growing without an end means that an origin answers too slowly.",
            ),
            relays_in_flight: gauge(
                "lectern_relays_in_flight",
                "Relays of unsafe methods (posts, uploads) under way. A stop waits for them.",
            ),
            fills_failed: counters(
                "lectern_fills_failed_total",
                "Fills that did not end well, by whose fault it was. Look at the origin first.",
                &["fault"],
            ),
            not_stored: counters(
                "lectern_responses_not_stored_total",
                "Responses that were not stored, by reason. A rule that says cache and still stores nothing shows here.",
                &["reason"],
            ),
            release_mismatches: counters(
                "lectern_release_mismatches_total",
                "Files of another release than the active one, by the front that sent them. Growing while no release is being rolled out means \
                 that a front was forgotten.",
                &["site", "front"],
            ),
            origin_requests: counters(
                "lectern_origin_requests_total",
                "Requests sent to an origin by status class; error means that no answer came.",
                &["origin", "status"],
            ),
            origin_seconds: keep(
                &registry,
                &described,
                HistogramVec::new(
                    seconds(
                        "lectern_origin_head_duration_seconds",
                        "From sending a request to an origin to the head of its answer. What learners wait for on a miss.",
                    ),
                    &["origin"],
                )
                .unwrap(),
            ),
            origin_in_flight: gauges(
                "lectern_origin_requests_in_flight",
                "Requests in flight by origin. At the origin's limit the next ones wait.",
                &["origin"],
            ),
            origin_queued: gauges(
                "lectern_origin_requests_queued",
                "Requests waiting for a place at the origin. Growing means the origin is slower than its load.",
                &["origin"],
            ),
            origin_turned_away: counters(
                "lectern_origin_requests_turned_away_total",
                "Requests turned away because the origin's queue was full or the wait too long, by site and class: answered stale, or 503. \
                 One site far above the others has a flood.",
                &["origin", "site", "class"],
            ),
            fronts: Arc::new(FrontFamily {
                up: gauges(
                    "lectern_origin_front_up",
                    "1 while a front gets requests; 0 after failures one after the other or failed checks: the error log tells why.",
                    &["origin", "front"],
                ),
                in_flight: gauges(
                    "lectern_origin_front_requests_in_flight",
                    "Requests in flight by front. One far above the others answers slowly.",
                    &["origin", "front"],
                ),
                went_out: counters(
                    "lectern_origin_fronts_out_total",
                    "How often fronts of an origin were left out, by why: check, or how their requests failed.",
                    &["origin", "reason"],
                ),
                held: Mutex::default(),
            }),
            retries: counters(
                "lectern_origin_retries_total",
                "Requests that failed at one front, by whether they were sent to another (made), or not, as too many were already \
                 (over_budget).",
                &["origin", "result"],
            ),
            switched: gauges(
                "lectern_switched",
                "1 while a site relays everything (relay) or answers from what is stored, however stale (spare); no site: the node's own switch. \
                 Left at 1 by mistake it costs what the cache is for, or keeps learners from what is new: GET /v1/switches tells who and why.",
                &["site", "mode"],
            ),
            access_checks: counters(
                "lectern_access_checks_total",
                "Checks put to the LMS by site, rule and result: yes, new (with another body), no, failed (no answer). Beside \
                 lectern_access_kept_total: what keeping the yes saves.",
                &["site", "rule", "result"],
            ),
            access_kept: counters(
                "lectern_access_kept_total",
                "Requests that a kept yes let through without a check, by site and rule.",
                &["site", "rule"],
            ),
            access_last: counters(
                "lectern_access_last_yes_total",
                "Requests let through by a former yes because the LMS could not be asked, by site and rule. Rising: it is down.",
                &["site", "rule"],
            ),
            checks_in_flight: gauges(
                "lectern_access_checks_in_flight",
                "Checks in flight by origin, apart from its other requests. At the origin's limit the next ones wait.",
                &["origin"],
            ),
            checks_queued: gauges(
                "lectern_access_checks_queued",
                "Checks waiting for a place at the origin. Growing means that learners wait to be let in.",
                &["origin"],
            ),
            checks_turned_away: counters(
                "lectern_access_checks_turned_away_total",
                "Checks not made because too many waited at the origin; their requests were answered 503.",
                &["origin", "site", "class"],
            ),
            stored_entries: gauge(
                "lectern_memory_entries",
                "Entries of the memory tier: slots (the stored responses of one URL) and chunks of bodies.",
            ),
            memory_bytes: gauge(
                "lectern_memory_bytes",
                "Bytes the memory tier holds, overhead included. At its limit it lets go what is asked for least.",
            ),
            evicted: counter(
                "lectern_memory_evictions_total",
                "Responses or chunks the memory tier let go to stay in its bound. A high rate means it is too small.",
            ),
            lagged: counter(
                "lectern_lagged_readers_total",
                "Readers cut because the fill window was full, others waited for them and they made no progress.",
            ),
            bytes_handed: gauge(
                "lectern_body_bytes_handed",
                "Bytes of bodies handed to connections and not all written, in runs of 64 KiB and more: what slow clients keep in memory.",
            ),
            incomplete: counter(
                "lectern_lookups_incomplete_total",
                "Look-ups that found a head but not all of its chunks: the origin is asked for them, or for the whole.",
            ),
            ledger_number: gauge(
                "lectern_ledger_number",
                "The ledger's last number. It never falls; each purge raises it by one.",
            ),
            ledger_ready: gauge(
                "lectern_ledger_ready",
                "1 while the ledger takes records, 0 when it refuses them. At 0 no purge is acknowledged: look at its disk.",
            ),
            log_dropped: counter(
                "lectern_log_lines_dropped_total",
                "Access log lines dropped because the writer could not follow: look at the log's disk.",
            ),
            log_errors: counter(
                "lectern_log_write_errors_total",
                "Failed attempts to write or reopen the access log; it is tried again at once. The error log tells why.",
            ),
            reloads: counters(
                "lectern_config_reloads_total",
                "Reloads of the configuration by result. After a refused one the former configuration still runs.",
                &["result"],
            ),
            coding: CodingMetrics::new(counter, gauge, counters),
            disk: DiskMetrics::new(counter, gauge, counters, gauges),
            process: Process {
                start_time: keep(
                    &registry,
                    &described,
                    Gauge::new("process_start_time_seconds", "When the process began, seconds since the Unix epoch.")
                        .unwrap(),
                ),
                cpu: keep(
                    &registry,
                    &described,
                    Counter::new("process_cpu_seconds_total", "User and system CPU time the process took, in seconds.")
                        .unwrap(),
                ),
                resident: gauge("process_resident_memory_bytes", "Memory of the process that is in RAM, in bytes."),
                open_fds: gauge("process_open_fds", "Open file descriptors, one per connection and file."),
                max_fds: gauge("process_max_fds", "File descriptors the process may open; raised at the start."),
            },
            described: described.take(),
            registry,
        })
    }

    /// The counters of `rule` of `site`: both are names from configuration, or empty for an unknown host or no rule.
    pub fn rule(&self, site: &str, rule: &str) -> RuleMetrics {
        RuleMetrics {
            requests: Outcome::ALL.map(|o| self.requests.with_label_values(&[site, rule, o.as_str()])),
            bytes: self.response_bytes.with_label_values(&[site, rule]),
        }
    }

    /// The counters of the checks of `rule` of `site`, which asks the LMS.
    pub fn access(&self, site: &str, rule: &str) -> Arc<AccessMetrics> {
        let Metrics { access_checks, access_kept, access_last, .. } = self;
        Arc::new(AccessMetrics::new((site, rule), access_checks, access_kept, access_last))
    }

    /// How the requests to `origin` stand that are no checks.
    pub fn requests_of(&self, origin: &str) -> QueueMetrics {
        QueueMetrics::new(origin, &self.origin_in_flight, &self.origin_queued, &self.origin_turned_away)
    }

    /// How the fronts of `origin` stand.
    pub fn fronts(&self, origin: &str) -> FrontSeries {
        FrontSeries { family: self.fronts.clone(), origin: origin.to_owned() }
    }

    /// Second tries at `origin`.
    pub fn retries(&self, origin: &str) -> RetryMetrics {
        RetryMetrics::new(origin, &self.retries)
    }

    /// A site, or the node under no name, is switched to this mode.
    pub fn switched(&self, site: &str, mode: &str) {
        for each in ["relay", "spare"] {
            self.switched.with_label_values(&[site, each]).set(i64::from(each == mode));
        }
    }

    /// How the checks at `origin` stand.
    pub fn checks_of(&self, origin: &str) -> QueueMetrics {
        QueueMetrics::new(origin, &self.checks_in_flight, &self.checks_queued, &self.checks_turned_away)
    }

    /// A request was refused, for a reason that is one of our own words.
    pub fn refused(&self, reason: &'static str) {
        self.requests_refused.with_label_values(&[reason]).inc();
    }

    /// A request failed, by whose fault and for which reason, one of our own words.
    pub fn failed(&self, fault: Fault, reason: &'static str) {
        self.requests_failed.with_label_values(&[fault.as_str(), reason]).inc();
    }

    /// Every metric there is, those that no request has touched yet too.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// The text form that Prometheus scrapes.
    pub fn render(&self) -> String {
        self.process.read();
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Described {
    fn new(kind: &'static str, desc: &Desc) -> Described {
        Described {
            name: desc.fq_name.clone(),
            kind,
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;
    use crate::telemetry::{AccessLog, Fault, Line, Outcome, line::tests::hit};
    use std::collections::HashSet;

    #[test]
    fn fifty_thousand_random_requests_add_no_time_series() {
        let metrics = Metrics::new();
        let unknown = metrics.rule("", "");
        let known = metrics.rule("lms", "content");
        let log = AccessLog::none();
        let account = |host: &str, path: &str, method: &str, outcome: Outcome| {
            let line = Line { host, target: Some(path), method, outcome, ..hit() };
            let rule = if outcome == Outcome::Refused { &unknown } else { &known };
            rule.ended(outcome, path.len() as u64);
            match outcome {
                Outcome::Refused => metrics.refused("unknown-host"),
                Outcome::Failed => metrics.failed(Fault::Origin, "origin-timeout"),
                _ => {}
            }
            metrics.request_seconds.observe(line.total.as_secs_f64());
            log.write(&line);
        };
        for outcome in Outcome::ALL {
            account("lms.example.org", "/", "GET", outcome);
        }
        let series = |text: &str| text.lines().count();
        let before = metrics.render();
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for n in 0..50_000_usize {
            bits = bits.rotate_left(25).wrapping_mul(0xd129_42b4_9b5f_1c35).wrapping_add(n as u64);
            let host = format!("{bits:x}.example.net");
            account(
                &host,
                &format!("/{bits:o}"),
                &format!("M{bits:X}"),
                Outcome::ALL[n % Outcome::ALL.len()],
            );
        }
        let after = metrics.render();
        assert_eq!(series(&before), series(&after), "{after}");
        assert!(
            after.contains(r#"lectern_requests_total{outcome="hit",rule="content",site="lms"} 6251"#),
            "{after}"
        );
        assert!(!after.contains("example"), "{after}");
    }

    #[test]
    fn every_metric_has_a_conventional_name_and_a_help_text_of_a_sentence() {
        let metrics = Metrics::new();
        let mut names = HashSet::new();
        for d in metrics.described() {
            let (name, help) = (&d.name, &d.help);
            assert!(names.insert(name), "{name} twice");
            assert!(name.starts_with("lectern_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(d.kind == "counter", name.ends_with("_total"), "{name} is a {}", d.kind);
            assert_eq!(d.kind == "histogram", name.ends_with("_duration_seconds"), "{name} is a {}", d.kind);
            assert!(help.split(' ').count() >= 6 && help.ends_with('.'), "{name}: {help}");
            assert!(
                help.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()),
                "{name}: {help}"
            );
            assert!(!help.contains("  ") && !help.contains('\n'), "{name}: {help}");
            let reserved = ["le", "quantile", "job", "instance"];
            assert!(d.labels.iter().all(|l| !reserved.contains(&l.as_str())), "{name}: {:?}", d.labels);
        }
    }

    #[test]
    fn the_document_lists_every_metric() {
        let listed: Vec<&str> =
            include_str!("../../docs/metrics.md").lines().filter(|row| row.starts_with("| `")).collect();
        let metrics = Metrics::new();
        let coded: Vec<String> = metrics
            .described()
            .iter()
            .map(|d| format!("| `{}` | {} | {} | {} |", d.name, d.kind, d.labels.join(", "), d.help))
            .collect();
        assert_eq!(listed, coded, "the rows should be:\n{}", coded.join("\n"));
    }

    #[test]
    fn the_process_tells_its_start_memory_and_descriptors() {
        let text = Metrics::new().render();
        let value = |name: &str| {
            let row = text.lines().find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
            row.and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        };
        let now = crate::clock::unix_millis(crate::clock::now()) as f64 / 1000.0;
        let started = value("process_start_time_seconds").unwrap();
        assert!(started > now - 86_400.0 && started <= now + 2.0, "{started} at {now}");
        assert!(value("process_resident_memory_bytes").unwrap() > 1e6);
        assert!(value("process_open_fds").unwrap() >= 3.0);
        assert!(value("process_max_fds").unwrap() >= value("process_open_fds").unwrap());
        assert!(value("process_cpu_seconds_total").unwrap() >= 0.0);
        let version = concat!("lectern_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1");
        assert!(text.lines().any(|l| l == version), "{text}");
    }
}
