//! Host → site, and all that is set for it.

mod hosts;
mod mounted;
mod page;
mod switch;
mod switches;

pub use hosts::Hosts;
pub use mounted::Mounted;
pub use page::FailurePage;
pub use switch::{Mode, Switch};
pub use switches::{SwitchError, Switched, Switches};

use crate::{
    ledger::SiteMarks,
    origin::Origin,
    rules::{Facts, Rule, RuleError, RuleSet, Verdict},
    telemetry::{AccessMetrics, Metrics, RuleMetrics},
};
use hashbrown::HashMap;
use hosts::name_length;
use http::HeaderName;
use ipnet::IpNet;
use std::{fmt, io, path::PathBuf, sync::Arc};

/// The rule's name in metrics where no rule speaks for a request; no rule may be called so.
pub const NO_RULE: &str = "none";

/// A site as configured. Everything here is taken by a reload; a scope that changes begins empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteSettings {
    /// Name in log, metrics, ledger and purges.
    pub name: String,
    /// Hosts it answers for: exact (`lms.example`) or wildcard (`*.lms.example`, one or more labels deep). With a port
    /// (`lms.example:8091`) it answers there only, before the site of the bare host.
    pub hosts: Vec<String>,
    /// Name of its origin.
    pub origin: String,
    /// Scope: sites of one scope share stored responses; absent: the site alone.
    pub scope: Option<String>,
    /// Its rules in order: its own, and those of the rule sets it names where it names them. First match wins.
    pub rules: Vec<Arc<Rule>>,
    /// Longest request body let through, bytes; a rule's own limit comes first.
    pub body_limit: Option<u64>,
    /// Wait for the log's writer rather than drop a line.
    pub log_must: bool,
    /// Fields of its origin that are heeded in place of `Cache-Control` (RFC 9213), in this order.
    pub targeted_fields: Vec<HeaderName>,
    /// Show the path and query of the cache key in `Cache-Status` (RFC 9211 §2.7).
    pub cache_status_key: bool,
    /// File with the credential by which a warm-up asks an LMS that decides who may have it; read at each warm-up.
    pub service_credential: Option<PathBuf>,
    /// Clients whose `PURGE` is done.
    pub purge_from: Vec<IpNet>,
    /// File of the page for what the origin could not answer.
    pub failure_page: Option<PathBuf>,
}

/// A site, ready to serve. Belongs to one snapshot of the configuration.
pub struct Site {
    /// Name in log, metrics, ledger and purges.
    pub name: Arc<str>,
    /// First part of the cache key: the shared scope's name, or the site's own.
    pub scope: Arc<str>,
    /// Where it is fetched from.
    pub origin: Arc<Origin>,
    /// Its rules.
    pub rules: Arc<RuleSet>,
    /// What the ledger holds against the stored responses of its scope.
    pub marks: Arc<SiteMarks>,
    /// Longest request body let through, bytes; a rule's own limit comes first.
    pub body_limit: Option<u64>,
    /// Wait for the log's writer rather than drop a line.
    pub log_must: bool,
    /// Fields of its origin that are heeded in place of `Cache-Control` (RFC 9213), in this order.
    pub targeted_fields: Vec<HeaderName>,
    /// Show the path and query of the cache key in `Cache-Status` (RFC 9211 §2.7).
    pub cache_status_key: bool,
    /// File with the credential by which a warm-up asks an LMS that decides who may have it; read at each warm-up.
    pub service_credential: Option<PathBuf>,
    /// Clients whose `PURGE` is done; whoever else sends it is refused.
    pub purge_from: Vec<IpNet>,
    /// The page for what the origin could not answer.
    pub failure_page: Option<FailurePage>,
    /// Whether it relays everything, or spares its origin.
    pub switch: Arc<Switch>,
    /// The scope was set: the operator says that its hosts hold the same.
    shared: bool,
    /// By the place of their rules.
    mounts: Vec<Option<Arc<Mounted>>>,
    metrics: Vec<RuleMetrics>,
    /// Of the rules that ask the LMS.
    access: Vec<Option<Arc<AccessMetrics>>>,
    no_rule: RuleMetrics,
}

/// Why a site cannot be built. `lectern check` finds the same with file and line.
#[derive(Debug)]
pub enum SiteError {
    /// It names an origin that does not exist.
    Origin {
        /// The site.
        site: String,
        /// What it names.
        origin: String,
    },
    /// Some of its rules cannot be used.
    Rules {
        /// The site.
        site: String,
        /// Which, and why.
        errors: Vec<RuleError>,
    },
    /// Two sites answer for one host.
    Host {
        /// The second site.
        site: String,
        /// The host.
        host: String,
    },
    /// Its page for failures cannot be used.
    Page {
        /// The site.
        site: String,
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The default site does not exist.
    Default(String),
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SiteError::Origin { site, origin } => write!(f, "site {site}: there is no origin {origin}"),
            SiteError::Rules { site, errors } => {
                write!(f, "site {site}")?;
                errors.iter().try_for_each(|error| write!(f, ": {error}"))
            }
            SiteError::Host { site, host } => write!(f, "site {site}: another site answers for {host}"),
            SiteError::Page { site, path, why } => {
                write!(f, "site {site}: {} cannot be its failure_page: {why}", path.display())
            }
            SiteError::Default(site) => write!(f, "the default site {site} does not exist"),
        }
    }
}

impl std::error::Error for SiteError {}

/// What the rules say of one request.
pub struct Ruling<'a> {
    /// The rule that speaks for it, if one does.
    pub rule: Option<&'a Rule>,
    /// What it says.
    pub verdict: &'a Verdict,
    /// Where the request is counted.
    pub metrics: &'a RuleMetrics,
}

static NOTHING_SAID: Verdict = Verdict::Obey;

impl Site {
    /// What the rules say of `request`.
    pub fn ruling(&self, request: &Facts<'_>) -> Ruling<'_> {
        match self.rules.find(request) {
            Some((at, rule)) => {
                Ruling { rule: Some(rule), verdict: &rule.verdict, metrics: self.metrics(Some(at)) }
            }
            None => Ruling { rule: None, verdict: &NOTHING_SAID, metrics: self.metrics(None) },
        }
    }

    /// The counters of the rule at `rule` (as [`RuleSet::find`] gives it), or of requests that no rule speaks for.
    pub fn metrics(&self, rule: Option<usize>) -> &RuleMetrics {
        rule.and_then(|rule| self.metrics.get(rule)).unwrap_or(&self.no_rule)
    }

    /// The storage that is mounted where the rule at `rule` speaks.
    pub fn mount(&self, rule: Option<usize>) -> Option<&Arc<Mounted>> {
        self.mounts.get(rule?)?.as_ref()
    }

    /// The counters of the checks of a rule, if it asks the LMS.
    pub fn access_metrics(&self, rule: usize) -> Option<&Arc<AccessMetrics>> {
        self.access.get(rule)?.as_ref()
    }

    /// What of the host belongs into the cache key beside the scope: all of it, for a site with several hosts may be
    /// several tenants, and the origin sees which one was asked. Where the operator set a scope the hosts are said to
    /// hold the same; a port that no host names is kept all the same, lest a redirect to it is stored for everybody.
    pub fn keyed_host<'a>(&self, host: &'a str) -> &'a str {
        if self.shared { &host[name_length(host)..] } else { host }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("name", &self.name).field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// All sites of one snapshot, by host.
#[derive(Debug)]
pub struct Sites {
    sites: Vec<Arc<Site>>,
    hosts: Hosts<Arc<Site>>,
}

impl Sites {
    /// Builds what was checked. `origins` is asked once per site by name, `marks` by the name of its scope, `switches` by its own. Sites with the same rules share their index.
    ///
    /// # Errors
    /// Every [`SiteError`], not only the first.
    pub fn build(
        settings: &[SiteSettings],
        default: Option<&str>,
        metrics: &Metrics,
        origins: impl Fn(&str) -> Option<Arc<Origin>>,
        marks: impl Fn(&str) -> Arc<SiteMarks>,
        switches: impl Fn(&str) -> Arc<Switch>,
    ) -> Result<Sites, Vec<SiteError>> {
        let mut built = Sites { sites: Vec::new(), hosts: Hosts::new(None) };
        let mut compiled: HashMap<Vec<*const Rule>, Arc<RuleSet>> = HashMap::new();
        let mut errors = Vec::new();
        for site in settings {
            let same = site.rules.iter().map(Arc::as_ptr).collect::<Vec<_>>();
            let rules = match compiled.get(&same) {
                Some(rules) => Arc::clone(rules),
                None => match RuleSet::compile(site.rules.clone()) {
                    Ok(rules) => Arc::clone(compiled.entry(same).or_insert(Arc::new(rules))),
                    Err(wrong) => {
                        errors.push(SiteError::Rules { site: site.name.clone(), errors: wrong });
                        continue;
                    }
                },
            };
            let no_origin =
                |name: &str| SiteError::Origin { site: site.name.clone(), origin: name.to_owned() };
            let Some(origin) = origins(&site.origin) else {
                errors.push(no_origin(&site.origin));
                continue;
            };
            let mut mounts = Vec::with_capacity(site.rules.len());
            for mount in site.rules.iter().map(|rule| rule.mount.as_ref()) {
                let mounted = mount.map(|mount| Mounted::new(mount, origins(&mount.origin)?));
                if let (Some(mount), Some(None)) = (mount, &mounted) {
                    errors.push(no_origin(&mount.origin));
                }
                mounts.push(mounted.flatten());
            }
            let page = site.failure_page.as_deref().map(FailurePage::read).transpose();
            let failure_page = page.unwrap_or_else(|why| {
                let path = site.failure_page.clone().unwrap_or_default();
                errors.push(SiteError::Page { site: site.name.clone(), path, why });
                None
            });
            let ready = Arc::new(Site {
                name: site.name.as_str().into(),
                scope: site.scope.as_deref().unwrap_or(&site.name).into(),
                origin,
                metrics: site.rules.iter().map(|rule| metrics.rule(&site.name, &rule.name)).collect(),
                access: site.rules.iter().map(|rule| access_metrics(&site.name, rule, metrics)).collect(),
                no_rule: metrics.rule(&site.name, NO_RULE),
                rules,
                mounts,
                marks: marks(site.scope.as_deref().unwrap_or(&site.name)),
                body_limit: site.body_limit,
                log_must: site.log_must,
                targeted_fields: site.targeted_fields.clone(),
                cache_status_key: site.cache_status_key,
                service_credential: site.service_credential.clone(),
                purge_from: site.purge_from.clone(),
                failure_page,
                switch: switches(&site.name),
                shared: site.scope.is_some(),
            });
            for host in &site.hosts {
                if built.hosts.set(host, Arc::clone(&ready)).is_some() {
                    errors.push(SiteError::Host { site: site.name.clone(), host: host.clone() });
                }
            }
            built.sites.push(ready);
        }
        if let Some(name) = default {
            built.hosts.set_default(built.named(name).cloned());
            if !settings.iter().any(|site| site.name == name) {
                errors.push(SiteError::Default(name.to_owned()));
            }
        }
        if errors.is_empty() { Ok(built) } else { Err(errors) }
    }

    /// The site that answers for `host`, see [`Hosts::find`]; the default site, if one is set. `None`: 421.
    pub fn find(&self, host: &str) -> Option<&Arc<Site>> {
        self.hosts.find(host)
    }

    /// The site of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Site>> {
        self.sites.iter().find(|site| &*site.name == name)
    }

    /// The sites that share stored responses with `site`, itself among them: a purge names them all.
    pub fn sharing<'a>(&'a self, site: &'a Site) -> impl Iterator<Item = &'a Arc<Site>> {
        self.sites.iter().filter(|other| other.scope == site.scope)
    }

    /// Names of the sites that share with `site`, and of their scope, as a record of a purge names them: a site that comes into it later
    /// brings nothing back, nor does one that leaves it.
    pub fn purged_with(&self, site: &Site) -> Vec<String> {
        let mut names: Vec<_> = self.sharing(site).map(|site| site.name.to_string()).collect();
        if names.iter().all(|name| **name != *site.scope) {
            names.push(site.scope.to_string());
        }
        names
    }

    /// All sites in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.sites.iter()
    }
}

fn access_metrics(site: &str, rule: &Rule, metrics: &Metrics) -> Option<Arc<AccessMetrics>> {
    rule.access.asked().map(|_| metrics.access(site, &rule.name))
}

#[cfg(test)]
mod tests {
    use super::{SiteError, SiteSettings, Sites};
    use crate::{
        origin::{Origin, OriginSettings},
        rules::{Access, Match, Rule, Verdict},
        telemetry::{Metrics, Outcome},
    };
    use std::sync::Arc;

    fn site(name: &str, hosts: &[&str]) -> SiteSettings {
        SiteSettings {
            name: name.into(),
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            origin: "lms".into(),
            scope: None,
            rules: Vec::new(),
            body_limit: None,
            log_must: false,
            targeted_fields: Vec::new(),
            cache_status_key: false,
            service_credential: None,
            purge_from: Vec::new(),
            failure_page: None,
        }
    }

    fn rule(name: &str, prefix: &str) -> Arc<Rule> {
        Arc::new(Rule {
            name: name.into(),
            when: Match { prefix: Some(prefix.into()), ..Match::default() },
            verdict: Verdict::Pass,
            body_limit: None,
            hide_path: false,
            access: Access::Open,
            mount: None,
            class: None,
        })
    }

    fn origin() -> Arc<Origin> {
        let settings = OriginSettings::new("lms", vec![("127.0.0.1".into(), 80)]);
        Origin::new(settings, &Metrics::new()).unwrap()
    }

    fn build(sites: &[SiteSettings], default: Option<&str>) -> Result<Sites, Vec<SiteError>> {
        let origin = |name: &str| (name == "lms").then(origin);
        Sites::build(sites, default, &Metrics::new(), origin, |_| Arc::default(), |_| Arc::default())
    }

    fn found<'a>(sites: &'a Sites, host: &str) -> Option<&'a str> {
        sites.find(host).map(|site| &*site.name)
    }

    #[test]
    fn exact_before_wildcard_and_the_longest_wildcard_first() {
        let sites = build(
            &[
                site("all", &["*.example"]),
                site("tenants", &["*.lms.example"]),
                site("one", &["one.lms.example", "[::1]"]),
                site("packages", &["one.lms.example:8091", "*.lms.example:8091"]),
            ],
            None,
        )
        .unwrap();
        for (host, name) in [
            ("one.lms.example", Some("one")),
            ("one.lms.example:8443", Some("one")),
            ("one.lms.example:8091", Some("packages")),
            ("two.lms.example:8091", Some("packages")),
            ("two.lms.example", Some("tenants")),
            ("a.two.lms.example:1", Some("tenants")),
            ("lms.example", Some("all")),
            ("example", None),
            ("xexample", None),
            ("other", None),
            ("[::1]:8443", Some("one")),
            ("[::1]", Some("one")),
            ("", None),
        ] {
            assert_eq!(found(&sites, host), name, "{host}");
        }
    }

    #[test]
    fn an_unknown_host_gets_the_default_site_if_there_is_one() {
        let sites = build(&[site("a", &["a.example"]), site("b", &["b.example"])], Some("b")).unwrap();
        assert_eq!(found(&sites, "c.example"), Some("b"));
        assert_eq!(found(&sites, "a.example"), Some("a"));
    }

    #[test]
    fn every_site_that_cannot_be_built_is_named() {
        let mut lost = site("lost", &["l.example"]);
        lost.origin = "gone".into();
        let mut bad = site("bad", &["b.example"]);
        bad.rules = vec![rule("r", "no-slash")];
        let mut paged = site("paged", &["p.example"]);
        paged.failure_page = Some("/nowhere.html".into());
        let sites = [lost, bad, paged, site("a", &["x"]), site("b", &["x"])];
        let errors = build(&sites, Some("nobody")).unwrap_err();
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "site lost: there is no origin gone",
                "site bad: rule 1: a path begins with `/`",
                "site paged: /nowhere.html cannot be its failure_page: No such file or directory (os error 2)",
                "site b: another site answers for x",
                "the default site nobody does not exist",
            ]
        );
    }

    #[test]
    fn two_hosts_share_a_key_only_where_a_scope_says_so() {
        let mut shared = site("shared", &["s.example"]);
        shared.scope = Some("theme".into());
        let mut other = site("other", &["o.example"]);
        other.scope = Some("theme".into());
        let sites = build(&[site("alone", &["*.a.example"]), shared, other], None).unwrap();
        let alone = sites.find("x.a.example").unwrap();
        assert_eq!((&*alone.scope, alone.keyed_host("x.a.example:81")), ("alone", "x.a.example:81"));
        let shared = sites.find("s.example").unwrap();
        assert_eq!((&*shared.scope, shared.keyed_host("s.example")), ("theme", ""));
        assert_eq!(shared.keyed_host("s.example:1337"), ":1337");
        let names: Vec<_> = sites.sharing(shared).map(|s| s.name.to_string()).collect();
        assert_eq!(names, ["shared", "other"]);
        assert_eq!(sites.sharing(alone).count(), 1);
    }

    #[test]
    fn sites_with_the_same_rules_share_their_index_and_count_apart() {
        let rules = vec![rule("static", "/static/")];
        let mut a = site("a", &["a.example"]);
        a.rules = rules.clone();
        let mut b = site("b", &["b.example"]);
        b.rules = rules;
        let metrics = Metrics::new();
        let (marks, switches) = (|_: &str| Arc::default(), |_: &str| Arc::default());
        let sites = Sites::build(&[a, b], None, &metrics, |_| Some(origin()), marks, switches).unwrap();
        let (a, b) = (sites.find("a.example").unwrap(), sites.find("b.example").unwrap());
        assert!(Arc::ptr_eq(&a.rules, &b.rules));
        a.metrics(Some(0)).ended(Outcome::Pass, 7);
        b.metrics(None).ended(Outcome::Miss, 9);
        let text = metrics.render();
        for line in [
            "lectern_requests_total{outcome=\"pass\",rule=\"static\",site=\"a\"} 1",
            "lectern_requests_total{outcome=\"miss\",rule=\"none\",site=\"b\"} 1",
            "lectern_response_body_bytes_total{rule=\"static\",site=\"b\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
