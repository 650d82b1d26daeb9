//! A configuration as it is read: the reference, every setting, and what stands where.

mod examples;
mod refused;

use super::{Config, NodeSettings, check, parse, reader::Reader};
use crate::{
    access::signed,
    cache::{CacheSettings, CodingSettings, DiskSettings, FolderSettings},
    control::{ControlSettings, Rate, Shape},
    ledger::LedgerSettings,
    listener::{ClientAuth, Deadlines, Limits, ListenerSettings, TlsSettings, TlsVersion},
    origin::{
        Balance, CheckSettings, HostField, OriginCertificate, OriginHttp, OriginSettings, OriginTimeouts,
        OriginTls,
    },
    rules::{
        Access, Asked, Class, Facts, Match, Mount, Pattern, Policy, QueryRule, Rule, RuleSet, Signed,
        SignedKind, Template, UrlVersion, ValidatorRule, Verdict, VersionRule, normalise,
    },
    site::SiteSettings,
    telemetry::{LogFormat, LogLevel, LogSettings},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn loaded(path: &str) -> Config {
    let (config, report) = check(&repository(path));
    config.unwrap_or_else(|| panic!("{report}"))
}

/// Errors and warnings of a text, a line each.
fn told(text: &str) -> Vec<String> {
    parse(Path::new("l.toml"), text).1.to_string().lines().map(str::to_owned).collect()
}

const SMALL: &str = r#"
[[listener]]
name = "http"
address = "127.0.0.1:0"
[[origin]]
name = "lms"
servers = ["127.0.0.1:80"]
[[site]]
name = "lms"
hosts = ["lms.example"]
origin = "lms"
"#;

#[test]
fn the_reference_shows_the_defaults() {
    let config = loaded("config/lectern.toml");
    let folder = repository("config");
    let [http, https] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
    assert_eq!(http.limits, Limits::default());
    assert_eq!(http.deadlines, Deadlines::default());
    assert_eq!((&http.tls, &http.proxy_protocol_from, &http.trusted_proxies), (&None, &vec![], &vec![]));
    let tls = https.tls.as_ref().unwrap();
    assert_eq!((tls.min_version, tls.client_auth), (TlsVersion::default(), ClientAuth::default()));
    assert_eq!(tls.certificates, folder.join("../certs/dev"));
    assert_eq!((config.control, config.control_tls), (ControlSettings::default(), None));
    assert_eq!(config.origins, [OriginSettings::new("lms", vec![("127.0.0.1".into(), 8090)])]);
    assert_eq!(config.cache, CacheSettings::default());
    assert_eq!(config.disk, DiskSettings::default());
    let ledger = LedgerSettings::default();
    assert_eq!(config.ledger, LedgerSettings { folder: folder.join(&ledger.folder), ..ledger });
    assert_eq!(config.log, LogSettings::default());
    assert_eq!(config.node, NodeSettings::default());
    assert_eq!(config.default_site, None);
    let site = &config.sites[0];
    assert_eq!((&site.scope, site.body_limit, site.log_must), (&None, None, false));
    assert_eq!(site.targeted_fields, ["lectern-cache-control", "cdn-cache-control"]);
    assert!(!site.cache_status_key && site.service_credential.is_none() && site.purge_from.is_empty());
    let everything = site.rules.iter().find(|rule| rule.name == "example/everything-a-rule-can-say").unwrap();
    assert_eq!(everything.verdict, Verdict::Cache(Arc::new(Policy::default())));
    assert_eq!((everything.body_limit, everything.hide_path), (None, false));
}

#[test]
fn the_reference_names_every_setting() {
    let file = repository("config/lectern.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // What stands behind a `#` is a setting too, and must be right.
    let is_setting = |line: &str| {
        let name = line.find(" = ").map(|end| &line[..end]);
        name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let bare: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if is_setting(setting) || setting.starts_with('[') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let reader = Reader::new(&file, &bare);
    let table = toml::de::DeTable::parse(&bare).unwrap();
    super::build(&reader, table.get_ref());
    let settings = reader.settings.borrow().clone();
    let report = reader.finish();
    // Settings that cannot stand beside what is shown as the default.
    let wrong: Vec<_> = report.errors.iter().map(|problem| &*problem.key).collect();
    assert_eq!(
        wrong,
        ["listener.tls.client_ca", "rule_set.rule.status", "rule_set.rule.signed.keys"],
        "{report}"
    );
    assert!(settings.len() > 90, "{}", settings.len());
    for setting in settings {
        let key = setting.rsplit('.').next().unwrap();
        let named = bare.lines().any(|line| {
            line.starts_with(&format!("{key} = "))
                || line.trim_matches(['[', ']']) == setting
                || line.starts_with(&format!("#   {key} "))
                || (setting.starts_with("site.rule.") && key == "use")
                || (setting.contains("keep_query.") && line.contains(&format!("{{ {key} = ")))
        });
        assert!(named, "config/lectern.toml does not name {setting}");
    }
}

/// The rule of `every_setting.toml` that asks the LMS.
fn asked() -> Rule {
    let path = "/asked/{course}/**";
    let pattern = Pattern::parse(path).unwrap();
    let template = |text| Some(Template::parse(text, &pattern).unwrap());
    let asked = Asked {
        cookies: vec!["Session".to_owned()],
        authorization: true,
        content: template("{course}"),
        keep: Duration::from_secs(30),
        unreachable: Some(Duration::from_secs(300)),
        timeout: Duration::from_secs(2),
        check: template("/may?course={course}"),
    };
    Rule {
        name: "asked".to_owned(),
        when: Match { path: Some(path.to_owned()), ..Match::default() },
        verdict: Verdict::Cache(Arc::default()),
        body_limit: None,
        hide_path: false,
        access: Access::Asked(Arc::new(asked)),
        mount: None,
        class: None,
    }
}

/// The file of keys that tests have.
fn keys() -> PathBuf {
    repository("src/access/signed/test_keys.json")
}

fn every_setting() -> String {
    include_str!("every_setting.toml").replace("KEYS", keys().to_str().unwrap())
}

#[test]
fn every_setting_can_be_set() {
    let (config, report) = parse(Path::new("/etc/lectern/l.toml"), &every_setting());
    let config = config.unwrap_or_else(|| panic!("{report}"));
    let (second, calls) = (Duration::from_secs, |n| NonZeroU32::new(n).unwrap());
    let text = |text: &str| text.to_owned();
    let rule = Rule {
        name: text("set/all"),
        when: Match {
            path: Some(text("/a/{b}/**")),
            prefix: Some(text("/a/")),
            extensions: vec![text("js")],
            methods: vec![Method::GET],
            query: vec![(text("v"), None), (text("w"), Some(text("1")))],
            fields: vec![
                (HeaderName::from_static("x-a"), None),
                (HeaderName::from_static("x-b"), Some(text("c: d"))),
            ],
            cookies: vec![text("session")],
        },
        verdict: Verdict::Cache(Arc::new(Policy {
            lifetime: Some(second(3600)),
            browser_lifetime: Some(second(60)),
            negative_lifetime: Some(second(5)),
            query: QueryRule::Without(vec![text("utm")]),
            statuses: vec![StatusCode::OK, StatusCode::NOT_FOUND],
            stale_while_revalidate: Some(second(1)),
            stale_if_error: Some(second(2)),
            forward: vec![HeaderName::from_static("x-language")],
            shared: false,
            lift_private: false,
            validator: ValidatorRule::Time,
            request_directives: true,
            module: Some(Template::parse("{b}", &Pattern::parse("/a/{b}/**").unwrap()).unwrap()),
            version: Some(VersionRule {
                url: Some(UrlVersion::Query("v".into())),
                field: Some(HeaderName::from_static("x-version")),
            }),
        })),
        body_limit: Some(1024),
        hide_path: true,
        access: Access::Open,
        mount: None,
        class: Some(Class::Film),
    };
    let plain = |name: &str, verdict| {
        Arc::new(Rule {
            name: text(name),
            when: Match { prefix: Some(format!("/{name}")), ..Match::default() },
            verdict,
            body_limit: None,
            hide_path: false,
            access: Access::Open,
            mount: None,
            class: None,
        })
    };
    let signed = Rule {
        name: text("signed"),
        when: Match { prefix: Some(text("/signed/")), ..Match::default() },
        verdict: Verdict::Cache(Arc::new(Policy { lift_private: true, ..Policy::default() })),
        body_limit: None,
        hide_path: false,
        access: Access::Signed(Arc::new(Signed {
            kind: SignedKind::Jwt,
            query: Some(text("token")),
            cookie: Some(text("session")),
            keys: signed::keys(include_str!("../../access/signed/test_keys.json")).unwrap(),
            tolerance: second(5),
            issuer: Some(text("lms")),
            audience: Some(text("packages")),
        })),
        mount: Some(Mount {
            origin: text("o"),
            host: text("bucket.example"),
            prefix: text("/signed/"),
            path: text("/p/"),
        }),
        class: None,
    };
    let network = |text: &str| text.parse().unwrap();
    assert_eq!(
        config,
        Config {
            listeners: vec![ListenerSettings {
                name: text("l"),
                address: "[::1]:8443".parse().unwrap(),
                tls: Some(TlsSettings {
                    certificates: "/etc/lectern/certs".into(),
                    default: Some(text("lms")),
                    min_version: TlsVersion::V1_3,
                    client_auth: ClientAuth::Optional,
                    client_ca: Some("/ca.pem".into()),
                }),
                proxy_protocol_from: vec![network("10.0.0.0/8")],
                trusted_proxies: vec![network("192.0.2.7/32"), network("2001:db8::/32")],
                limits: Limits {
                    connections: 1,
                    handshakes: 2,
                    head_fields: 10,
                    head_bytes: 9 << 10,
                    h2_streams: 3,
                    h2_resets: 4,
                    h2_stream_window: 17 << 10,
                    h2_connection_window: 18 << 10,
                },
                deadlines: Deadlines {
                    handshake: second(1),
                    head: second(2),
                    idle: second(3),
                    write: second(4),
                    request_body: second(5),
                    tunnel: second(6),
                },
            }],
            control: ControlSettings {
                address: "127.0.0.1:9000".parse().unwrap(),
                tokens: Some("/etc/lectern/tokens".into()),
                rate: Rate { per_second: calls(20), at_once: calls(30) },
                whole_purge_pause: second(8),
                shapes: vec![Shape::Cloudflare, Shape::Fastly],
            },
            control_tls: Some(TlsSettings {
                certificates: "/etc/lectern/certs".into(),
                default: None,
                min_version: TlsVersion::default(),
                client_auth: ClientAuth::Required,
                client_ca: Some("/etc/lectern/ca.pem".into()),
            }),
            origins: vec![OriginSettings {
                name: text("o"),
                servers: vec![(text("lms.internal"), 8080), (text("2001:db8::5"), 80)],
                tls: Some(OriginTls {
                    sni: Some(text("lms")),
                    ca: Some("/etc/lectern/ca.pem".into()),
                    certificate: Some(OriginCertificate {
                        chain: "/etc/lectern/edge.crt".into(),
                        key: "/etc/lectern/edge.key".into(),
                    }),
                }),
                host: HostField::Set(HeaderValue::from_static("LMS.internal:81")),
                http: OriginHttp::H2,
                timeouts: OriginTimeouts {
                    connect: second(1),
                    handshake: second(2),
                    head: second(3),
                    body: second(4),
                    write: second(5),
                    idle: second(6),
                },
                dns_floor: second(2),
                dns_ceiling: second(3),
                dns_servers: vec!["10.0.0.53:53".parse().unwrap()],
                balance: Balance::Consistent,
                check: Some(CheckSettings {
                    path: text("/login"),
                    host: Some(HeaderValue::from_static("check.example")),
                    status: 204,
                    interval: second(7),
                    timeout: second(8),
                    rise: 9,
                    fall: 10,
                }),
                failures: 11,
                open_max: second(12),
                slow_start: second(13),
                retry_percent: 14,
                in_flight: 20,
                reserved: Some(15),
                in_flight_per_site: Some(16),
                checks: 2,
                queue: 0,
                queue_wait: second(4),
            }],
            sites: vec![SiteSettings {
                name: text("s"),
                hosts: vec![text("s.example"), text("*.s.example"), text("s.example:81")],
                origin: text("o"),
                scope: Some(text("theme")),
                rules: vec![
                    plain("refused", Verdict::Refuse(StatusCode::GONE)),
                    Arc::new(rule),
                    plain("passed", Verdict::Pass),
                    plain("obeyed", Verdict::Obey),
                    Arc::new(asked()),
                    plain(
                        "only",
                        Verdict::Cache(Arc::new(Policy {
                            query: QueryRule::Only(vec![text("v")]),
                            shared: true,
                            ..Policy::default()
                        }))
                    ),
                    plain(
                        "dropped",
                        Verdict::Cache(Arc::new(Policy { query: QueryRule::Drop, ..Policy::default() }))
                    ),
                    Arc::new(signed),
                ],
                body_limit: Some(1 << 30),
                log_must: true,
                targeted_fields: vec![HeaderName::from_static("theme-cache-control")],
                cache_status_key: true,
                service_credential: Some("/etc/lectern/credential".into()),
                purge_from: vec!["10.0.0.0/8".parse().unwrap()],
                failure_page: Some("/etc/lectern/busy.html".into()),
            }],
            default_site: Some(text("s")),
            cache: CacheSettings {
                memory: 2 << 20,
                body_limit: 1 << 30,
                fill_window: 4 << 20,
                read_ahead: 3 << 20,
                lag_limit: second(3),
                pass_mark: second(2),
                coding: CodingSettings { budget: 5 << 20, threads: 2, smallest: 2 << 10, largest: 3 << 20 },
            },
            disk: DiskSettings {
                folders: vec![
                    FolderSettings {
                        path: "/disk/a".into(),
                        limit: 1 << 30,
                        responses: 2_000,
                        protected_limit: 5 << 20,
                    },
                    FolderSettings {
                        path: "/etc/lectern/b".into(),
                        limit: 16 << 20,
                        responses: 1_000_000,
                        protected_limit: 8 << 20,
                    },
                ],
                readers: 2,
                read_queue: 3,
                read_deadline: second(6),
                write_queue: 2 << 20,
                flush_interval: second(4),
            },
            ledger: LedgerSettings {
                folder: "/var/ledger".into(),
                url_entries: 7,
                snapshot_records: 8,
                tell_head: second(420)
            },
            log: LogSettings { access: Some("/etc/lectern/access.log".into()) },
            node: NodeSettings {
                threads: Some(2),
                stop_deadline: second(7),
                upgrade_deadline: second(9),
                unready_before_stop: second(8),
                error_log: LogLevel::Debug,
                error_log_format: LogFormat::Json,
            },
        }
    );
}

#[test]
fn a_site_s_rules_stand_where_they_are_named() {
    let set = |name: &str| {
        format!(
            "[[rule_set]]\nname = \"{name}\"\n[[rule_set.rule]]\nname = \"x\"\nverdict = \"pass\"\nprefix = \"/{name}\"\n"
        )
    };
    let own =
        |name: &str| format!("[[site.rule]]\nname = \"{name}\"\nverdict = \"pass\"\nprefix = \"/{name}\"\n");
    let text = [
        set("a").as_str(),
        &set("b"),
        SMALL,
        "use = \"b\"\n",
        &own("c"),
        "[[site.rule]]\nuse = \"a\"\n",
        &own("d"),
    ]
    .concat();
    let (config, report) = parse(Path::new("l.toml"), &text);
    let names: Vec<_> = config.unwrap_or_else(|| panic!("{report}")).sites[0]
        .rules
        .iter()
        .map(|rule| rule.name.clone())
        .collect();
    assert_eq!(names, ["c", "a/x", "d", "b/x"]);
}

#[test]
fn a_small_file_is_enough() {
    assert_eq!(told(SMALL), [""; 0]);
    let (config, _) = parse(Path::new("sub/l.toml"), SMALL);
    assert_eq!(config.unwrap().ledger.folder, Path::new("sub/ledger"));
}
