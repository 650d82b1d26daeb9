use super::{Config, NodeSettings, check, parse, reader::Reader};
use crate::{
    access::signed,
    cache::{CacheSettings, CodingSettings, DiskSettings, FolderSettings},
    control::ControlSettings,
    ledger::LedgerSettings,
    listener::{ClientAuth, Deadlines, Limits, ListenerSettings, TlsSettings, TlsVersion},
    origin::{HostField, OriginHttp, OriginSettings, OriginTimeouts, OriginTls},
    rules::{
        Access, Asked, Facts, Match, Mount, Pattern, Policy, QueryRule, Rule, RuleSet, Signed, SignedKind,
        Template, ValidatorRule, Verdict, normalise,
    },
    site::SiteSettings,
    telemetry::{LogFormat, LogLevel, LogSettings},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::{
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
    assert_eq!(config.control, ControlSettings::default());
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
    assert!(!site.cache_status_key);
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
            Some(setting) if is_setting(setting) || setting.starts_with("[[") => format!("{setting}\n"),
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
    let second = Duration::from_secs;
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
        })),
        body_limit: Some(1024),
        hide_path: true,
        access: Access::Open,
        mount: None,
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
            keys: signed::keys(include_str!("../access/signed/test_keys.json")).unwrap(),
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
            },
            origins: vec![OriginSettings {
                name: text("o"),
                servers: vec![(text("lms.internal"), 8080), (text("2001:db8::5"), 80)],
                tls: Some(OriginTls { sni: Some(text("lms")), ca: Some("/etc/lectern/ca.pem".into()) }),
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
                in_flight: 1,
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
            ledger: LedgerSettings { folder: "/var/ledger".into(), url_entries: 7 },
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
fn all_errors_are_told_at_once_each_with_its_line_and_what_would_be_right() {
    let text = r#"
default_site = "lsm"
[[listener]]
name = "http"
adress = "0.0.0.0:80"
[[listener]]
name = "http"
address = "0.0.0.0:8080"
[listener.deadlines]
idle = 75
head = "0s"
[control]
address = "127.0.0.1:8080"
[[origin]]
name = "lms"
servers = ["10.0.0.5", "10.0.0.5:0"]
[[site]]
name = "lms"
hosts = ["a.example", "A.example.", "b_/"]
origin = "lmss"
use = ["nothing"]
[[site.rule]]
name = "r"
path = "/a/**/b"
verdict = "store"
[[site]]
name = "lms"
hosts = ["a.example"]
origin = "lms"
"#;
    let expected = [
        "l.toml:2: default_site: there is no site `lsm`; did you mean `lms`?",
        "l.toml:3: listener.address: it is missing; write an address with port, as in \"0.0.0.0:443\" or \"[::]:443\"",
        "l.toml:5: listener.adress: there is no such setting; did you mean `address`?",
        "l.toml:7: listener.name: listener `http` stands in line 4 too; give each its own name",
        "l.toml:10: listener.deadlines.idle: this is a whole number; write a duration, as in \"10s\"",
        "l.toml:11: listener.deadlines.head: 0s is out of bounds; write \"1s\" to \"86400s\"",
        "l.toml:13: control.address: 127.0.0.1:8080 is taken by listener.address (0.0.0.0:8080, line 8); give each its own address or port",
        "l.toml:16: origin.servers: `10.0.0.5` is no server; write host and port, as in \"10.0.0.5:80\", \"lms.internal:8080\" or \"[2001:db8::5]:80\"",
        "l.toml:16: origin.servers: `10.0.0.5:0` is no server; write host and port, as in \"10.0.0.5:80\", \"lms.internal:8080\" or \"[2001:db8::5]:80\"",
        "l.toml:19: site.hosts: `a.example` stands in line 19 already; name each host once",
        "l.toml:19: site.hosts: `b_/`: the host is no name of letters, digits, `-`, `_` and `.`; write a name, as in \"lms.example\" or \"*.lms.example\"",
        "l.toml:20: site.origin: there is no origin `lmss`; did you mean `lms`?",
        "l.toml:21: site.use: there is no rule set `nothing`; there is no rule set at all: write one",
        "l.toml:24: site.rule.path: `/a/**/b` is no path pattern; `**` may only be the last segment, as in `/static/**`",
        "l.toml:25: site.rule.verdict: `store` is none of the words that may stand here; write \"cache\", \"pass\", \"refuse\", \"obey\"",
        "l.toml:27: site.name: site `lms` stands in line 18 too; give each its own name",
        "l.toml:28: site.hosts: `a.example` stands in line 19 already; name each host once",
    ];
    let told = told(text);
    assert_eq!(told, expected, "{}", told.join("\n"));
}

#[test]
fn broken_syntax_is_told_with_its_line() {
    let told = told("[node]\nthreads = \n[cache\n");
    assert!(told.len() >= 2, "{told:?}");
    assert!(told[0].starts_with("l.toml:2: this is no TOML: "), "{told:?}");
    assert!(told.last().unwrap().starts_with("l.toml:3: this is no TOML: "), "{told:?}");
}

#[test]
fn a_small_file_is_enough() {
    assert_eq!(told(SMALL), [""; 0]);
    let (config, _) = parse(Path::new("sub/l.toml"), SMALL);
    assert_eq!(config.unwrap().ledger.folder, Path::new("sub/ledger"));
}

#[test]
fn a_file_that_is_not_there_is_told_apart() {
    let (config, report) = check(Path::new("/nowhere/lectern.toml"));
    assert!(config.is_none() && report.unreadable);
    assert!(report.to_string().starts_with("/nowhere/lectern.toml: the file cannot be read: "), "{report}");
}

#[test]
fn an_unknown_key_is_an_error_in_every_table() {
    let full = every_setting();
    let headers: Vec<_> = full.lines().enumerate().filter(|(_, line)| line.starts_with('[')).collect();
    assert!(headers.len() >= 12);
    for (at, header) in headers {
        let mut lines: Vec<_> = full.lines().collect();
        lines.insert(at + 1, "zzz = 1");
        let told = told(&lines.join("\n"));
        let key = header.trim_matches(['[', ']']);
        let start = format!("l.toml:{}: {key}.zzz: there is no such setting; known here: ", at + 2);
        let found = told.iter().any(|line| line.starts_with(&start));
        assert!(found, "{header}: {told:#?}");
    }
}

/// Each addition to the small file, and what is told of it.
#[test]
fn what_cannot_be_meant_is_told() {
    let rule = |keys: &str| format!("[[site.rule]]\nname = \"r\"\n{keys}\n");
    let cache = |keys: &str| rule(&format!("verdict = \"cache\"\n{keys}"));
    let signed = |keys: &str, with: &str| {
        cache(&format!("prefix = \"/s/\"\naccess = \"signed\"\n{keys}\nsigned = {{ {with} }}"))
    };
    let (file, node) = (keys(), std::env::current_dir().unwrap());
    let hmac = format!("kind = \"hmac\", keys = \"{}\", query = \"s\", cookie = \"c\"", file.display());
    for (added, key, words) in [
        (cache("access = \"asked-for\""), "site.rule.access", "\"signed\""),
        (cache("access = \"signed\""), "site.rule.signed", "a table with `kind`"),
        (cache(&format!("signed = {{ {hmac} }}")), "site.rule.signed", "set access = \"signed\""),
        (signed("", "kind = \"hmac\", query = \"s\""), "site.rule.signed.keys", "it is missing"),
        (signed("", "kind = \"hmac\", query = \"s\", keys = \"no\""), "site.rule.signed.keys", "cannot be read"),
        (
            signed("", &format!("kind = \"hmac\", query = \"s\", keys = \"{}\"", node.display())),
            "site.rule.signed.keys",
            "it is no file",
        ),
        (
            signed("", &format!("kind = \"hmac\", query = \"s\", keys = \"{}/Cargo.toml\"", node.display())),
            "site.rule.signed.keys",
            "it is no JWK Set",
        ),
        (signed("", &hmac.replace("query", "issuer")), "site.rule.signed.issuer", "only a JWT"),
        (signed("", &hmac.replace("hmac", "hamc")), "site.rule.signed.kind", "\"jwt\""),
        (signed("", &hmac.replace("\"s\"", "\"s=1\"")), "site.rule.signed.query", "`s=1` is no name"),
        (
            signed("", &hmac.replace("query = \"s\", cookie = \"c\"", "tolerance = \"1h\"")),
            "site.rule.signed.tolerance",
            "600s",
        ),
        (signed("query = \"s\"", &hmac), "site.rule.query", "others fall to the rules after it"),
        (signed("cookie = \"c\"", &hmac), "site.rule.cookie", "others fall to the rules after it"),
        (cache("prefix = \"/s/\"\nlift_private = true"), "site.rule.lift_private", "would be given to everybody"),
        (
            signed("lift_private = true", &hmac).replace("prefix = \"/s/\"", "path = \"/**\""),
            "site.rule.lift_private",
            "every page of the site",
        ),
        (cache("mount = { origin = \"lms\", host = \"b\", path = \"/\" }"), "site.rule.mount", "the rule has no prefix"),
        (
            cache("prefix = \"/a/\"\nmount = { origin = \"lsm\", host = \"b\", path = \"/\" }"),
            "site.rule.mount.origin",
            "did you mean `lms`?",
        ),
        (
            cache("prefix = \"/a\"\nmount = { origin = \"lms\", host = \"b\", path = \"/\" }"),
            "site.rule.mount",
            "`/a` does not end in `/`",
        ),
        (
            cache("prefix = \"/a/\"\nmount = { origin = \"lms\", host = \"b\", path = \"/b\" }"),
            "site.rule.mount.path",
            "`/b` does not end in `/`",
        ),
        (
            cache("prefix = \"/a/\"\nmount = { origin = \"lms\", host = \"b_/\", path = \"/\" }"),
            "site.rule.mount.host",
            "is no name of letters",
        ),
        (
            cache("prefix = \"/a/\"\nforward = \"Cookie\"\nmount = { origin = \"lms\", host = \"b\", path = \"/\" }"),
            "site.rule.mount",
            "who is signed in",
        ),
        (
            cache("prefix = \"/a/\"\ncookie = \"c\"\nmount = { origin = \"lms\", host = \"b\", path = \"/\" }"),
            "site.rule.mount",
            "drop its conditions",
        ),
        (
            cache("path = \"/a/{x}/**\"\nprefix = \"/a/\"\naccess = \"asked\"\nasked = { cookies = \"c\" }\nmount = { origin = \"lms\", host = \"b\", path = \"/\" }"),
            "site.rule.mount",
            "own credentials",
        ),
        (
            signed("", &hmac).replace("verdict = \"cache\"", "verdict = \"refuse\""),
            "site.rule.access",
            "lets nobody in",
        ),
        (
            signed("lift_private = true", &hmac).replace("verdict = \"cache\"", "verdict = \"pass\""),
            "site.rule.lift_private",
            "only rules that cache",
        ),
        (cache("shared = true\nforward = [\"Cookie\"]"), "site.rule.forward", "given to everybody"),
        (cache("forward = [\"Authorization\"]"), "warning: site.rule.forward", "stored only where the origin says"),
        (cache("forward = [\"Range\"]"), "site.rule.forward", "`Range` is no field that can be forwarded"),
        (
            cache("forward = [\"X_Original_URL\"]"),
            "site.rule.forward",
            "`X_Original_URL` is no field that can be forwarded",
        ),
        (cache("shared = true\ncookie = \"s\""), "site.rule.cookie", "shares what they get"),
        (cache("shared = true\nfield = \"authorization\""), "site.rule.field", "shares what they get"),
        (cache("shared = true"), "warning: site.rule.shared", "every page of the site"),
        (cache("shared = true\nprefix = \"/\""), "warning: site.rule.shared", "every page of the site"),
        ("[[site]]\nname = \"t\"\nhosts = \"t.example:443\"\norigin = \"lms\"".to_owned(), "site.hosts", "names the usual port"),
        (cache("access = \"asked\""), "site.rule.asked", "a table with the credentials"),
        (cache("asked = { cookies = \"s\" }"), "site.rule.asked", "the rule does not ask the LMS"),
        (cache("path = \"/a/**\"\naccess = \"asked\"\nasked = {}"), "site.rule.asked.cookies", "who a learner is"),
        (cache("access = \"asked\"\nasked = { cookies = \"s\" }"), "site.rule.access", "asked about every path"),
        (
            cache("prefix = \"/\"\naccess = \"asked\"\nasked = { cookies = \"s\" }"),
            "site.rule.access",
            "say by path or prefix",
        ),
        (
            cache("prefix = \"/a/\"\nshared = true\naccess = \"asked\"\nasked = { cookies = \"s\" }"),
            "site.rule.shared",
            "not the same for everybody",
        ),
        (
            cache("prefix = \"/a/\"\nforward = \"Cookie\"\naccess = \"asked\"\nasked = { cookies = \"s\" }"),
            "site.rule.forward",
            "as far as [asked] names it",
        ),
        (
            cache("prefix = \"/a/\"\nvalidator = \"time\"\naccess = \"asked\"\nasked = { cookies = \"s\" }"),
            "site.rule.validator",
            "set check in [asked]",
        ),
        (
            cache("prefix = \"/a/\"\naccess = \"asked\"\nasked = { cookies = \"s\", content = \"{x}\" }"),
            "site.rule.asked.content",
            "no path to capture from",
        ),
        (
            cache("path = \"/a/{y}/**\"\naccess = \"asked\"\nasked = { cookies = \"s\", content = \"{x}\" }"),
            "site.rule.asked.content",
            "has no `{x}`",
        ),
        (
            cache("path = \"/a/{y}/**\"\naccess = \"asked\"\nasked = { cookies = \"s\", content = \"x\" }"),
            "site.rule.asked.content",
            "one yes would do for all",
        ),
        (
            cache("path = \"/a/{y}/**\"\naccess = \"asked\"\nasked = { cookies = \"s\", check = \"x\" }"),
            "site.rule.asked.check",
            "is no path",
        ),
        (
            cache("path = \"/a/**\"\naccess = \"asked\"\nasked = { cookies = \"s\", unreachable = \"1s\" }"),
            "site.rule.asked.unreachable",
            "longer than keep",
        ),
        (cache("method = \"POST\""), "site.rule.method", "only answers to GET and HEAD"),
        (cache("method = \"get\""), "site.rule.method", "upper case"),
        (cache("statuses = [200]"), "site.rule.statuses", "set lifetime"),
        (cache("lifetime = \"1s\"\nstatuses = [206]"), "site.rule.statuses", "206 and 304"),
        (cache("lifetime = 5"), "site.rule.lifetime", "as in \"10s\""),
        (cache("keep_query = \"no\""), "site.rule.keep_query", "{ only ="),
        (cache("keep_query = { ony = [] }"), "site.rule.keep_query.ony", "did you mean `only`?"),
        (cache("prefix = \"/a/*\""), "site.rule.prefix", "write path = \"/a/*\""),
        (cache("prefix = \"/ä\""), "site.rule.prefix", "%C3%A4"),
        (cache("extension = \".js\""), "site.rule.extension", "without the dot"),
        (rule("verdict = \"pass\"\nshared = true"), "site.rule.shared", "only rules that cache"),
        (rule("verdict = \"pass\"\nstatus = 403"), "site.rule.status", "only rules that refuse"),
        (rule("verdict = \"refuse\"\nstatus = 200"), "site.rule.status", "400 to 599"),
        (rule(""), "site.rule.verdict", "it is missing"),
        ("[[site.rule]]\nname = \"none\"\nverdict = \"pass\"".to_owned(), "site.rule.name", "`none` is taken"),
        (rule("verdict = \"pass\"") + &rule("verdict = \"pass\"\npath = \"/a\""), "site.rule", "stands in line 12 too"),
        (
            rule("verdict = \"pass\"\nprefix = \"/a\"") + "[[site.rule]]\nname=\"s\"\nverdict=\"pass\"\npath=\"/a/b\"",
            "warning: site.rule",
            "rule `s` never speaks: `r` (line 12) comes first",
        ),
        ("[[rule_set]]\nname = \"x\"".to_owned(), "warning: rule_set.name", "no site uses rule set `x`"),
        ("[[rule_set]]\nname = \"x\"\n[[rule_set.rule]]\nuse = \"x\"".to_owned(), "rule_set.rule.use", "a rule set uses no other"),
        ("[[origin]]\nname = \"x\"\nservers = \"a:1\"".to_owned(), "warning: origin.name", "no site uses origin `x`"),
        ("[[origin]]\nname = \"x\"\nservers = []".to_owned(), "origin.servers", "at least one server"),
        ("[[origin]]\nname = \"x\"\nservers = \"10.0.0.1:1\"\ntls = true".to_owned(), "origin.servers", "has no name to verify"),
        ("[[origin]]\nname = \"x\"\nservers = \"a:1\"\ndns_floor = \"2m\"".to_owned(), "origin.dns_floor", "above dns_ceiling"),
        ("[[origin]]\nname = \"x\"\nservers = \"a:1\"\ntls = { sni = \"10.0.0.1\" }".to_owned(), "origin.tls.sni", "is no host name"),
        ("[[listener]]\nname = \"t\"\naddress = \"[::1]:1\"\ntls = { certificates = \"no\" }".to_owned(), "warning: listener.tls.certificates", "there is no no"),
        ("[[listener]]\nname = \"t\"\naddress = \"[::1]:1\"\ntls = { certificates = \".\", client_ca = \".\" }".to_owned(), "listener.tls.client_ca", "nobody would be asked"),
        ("[[listener]]\nname = \"t\"\naddress = \"[::1]:1\"\ntls = { certificates = \".\", client_auth = \"required\" }".to_owned(), "listener.tls.client_ca", "it is missing"),
        ("[[listener]]\nname = \"t\"\naddress = \"[::1]:1\"\ntrusted_proxies = \"x\"".to_owned(), "listener.trusted_proxies", "write a network"),
        ("[[site]]\nname = \"t\"\nhosts = \"LMS.example\"\norigin = \"lms\"".to_owned(), "site.hosts", "site `lms` (line 10) answers for `lms.example`"),
        ("[cache]\nfill_window = \"1KiB\"".to_owned(), "cache.fill_window", "1MiB"),
        ("[cache]\nmemory = \"1MB\"".to_owned(), "cache.memory", "MiB"),
        ("[cache]\nread_ahead = \"1KiB\"".to_owned(), "cache.read_ahead", "1MiB"),
        ("[disk]\nreaders = 0".to_owned(), "disk.readers", "from 1 to 256"),
        ("[disk]\nflush_interval = \"2m\"".to_owned(), "disk.flush_interval", "to \"60s\""),
        ("[[disk.folder]]\npath = \"d\"".to_owned(), "disk.folder.limit", "it is missing"),
        ("[[disk.folder]]\nlimit = \"1GiB\"".to_owned(), "disk.folder.path", "it is missing"),
        ("[[disk.folder]]\npath = \"d\"\nlimit = \"15MiB\"".to_owned(), "disk.folder.limit", "16MiB"),
        ("[[disk.folder]]\npath = \"d\"\nlimit = \"1GiB\"\nprotected_limit = \"2GiB\"".to_owned(), "disk.folder.protected_limit", "above `limit`"),
        ("[[disk.folder]]\npath = \"d\"\nlimit = \"1GiB\"\nspeed = 1".to_owned(), "disk.folder.speed", "no such setting"),
        ("[[disk.folder]]\npath = \"d\"\nlimit = \"1GiB\"\n[[disk.folder]]\npath = \"x/../d/\"\nlimit = \"1GiB\"".to_owned(), "disk.folder.path", "is the folder of line"),
        ("[[disk.folder]]\npath = \"d\"\nlimit = \"1GiB\"\n[[disk.folder]]\npath = \"d/e\"\nlimit = \"1GiB\"".to_owned(), "disk.folder.path", "is inside the folder of line"),
        ("[[disk.folder]]\npath = \"ledger/disk\"\nlimit = \"1GiB\"".to_owned(), "disk.folder.path", "is inside the ledger's folder"),
        ("[[disk.folder]]\npath = \".\"\nlimit = \"1GiB\"".to_owned(), "disk.folder.path", "the ledger's folder is inside"),
        ("[node]\nthreads = 0".to_owned(), "node.threads", "from 1 to 1024"),
        ("[node]\nerror_log = \"loud\"".to_owned(), "node.error_log", "\"warn\""),
        ("[[site]]\nname = \"t\"\nhosts = \"t\"\norigin = \"lms\"\nscope = \"lms\"".to_owned(), "site.name", "shares with nobody"),
    ] {
        let told = told(&format!("{SMALL}{added}"));
        let found = told.iter().any(|line| line.contains(&format!(": {key}: ")) && line.contains(words));
        assert!(found && told.len() <= 2, "{added}\nexpected {key}: {words}\ntold {told:#?}");
    }
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

/// What the rules of an example say of recorded requests: site, rule and verdict.
fn says(example: &str, requests: &[(&str, Method, &str, &str, &str, &str)]) {
    let config = loaded(example);
    assert_eq!(
        check(&repository(example)).1.warnings.iter().filter(|w| !w.key.ends_with("certificates")).count(),
        0
    );
    for (host, method, target, site, rule, verdict) in requests {
        let (path, query) =
            target.split_once('?').map_or((*target, None), |(path, query)| (path, Some(query)));
        let found = config.sites.iter().find(|site| site.hosts.iter().any(|h| h == host)).unwrap();
        assert_eq!(found.name, *site, "{host}");
        let rules = RuleSet::compile(found.rules.clone()).unwrap();
        let path = normalise::target(path).unwrap();
        let hit = rules.find(&Facts { method, path: &path, query, headers: &HeaderMap::new() });
        let said = match hit.map(|(_, rule)| &rule.verdict) {
            Some(Verdict::Cache(_)) => "cache",
            Some(Verdict::Pass) => "pass",
            Some(Verdict::Refuse(_)) => "refuse",
            Some(Verdict::Obey) | None => "obey",
        };
        let name = hit.map_or("", |(_, rule)| &rule.name);
        assert_eq!((name, said), (*rule, *verdict), "{method} {host} {target}");
    }
}

#[test]
fn the_kolibri_example_fits_the_recorded_exchanges() {
    let (main, zip) = ("kolibri.example", "packages.kolibri.example");
    let (get, post) = (|| Method::GET, || Method::POST);
    says(
        "config/examples/kolibri.toml",
        &[
            (
                main,
                get(),
                "/content/storage/3/8/386257056262d43d25aa9cc0557d1df9.mp4",
                "kolibri",
                "kolibri-content/storage",
                "cache",
            ),
            (
                main,
                Method::HEAD,
                "/content/storage/3/8/386257056262d43d25aa9cc0557d1df9.mp4",
                "kolibri",
                "kolibri-content/storage",
                "cache",
            ),
            (
                zip,
                get(),
                "/content/storage/7/d/7d8b791f5050214ef55db0cb3ce6ba05.pdf",
                "kolibri-packages",
                "kolibri-content/storage",
                "cache",
            ),
            (
                zip,
                get(),
                "/content/zipcontent/d2f58d25cbf6713e9e5d205d75e7a800.zip/css/site.css",
                "kolibri-packages",
                "zipcontent",
                "cache",
            ),
            (
                "kolibri.example:9443",
                get(),
                "/content/zipcontent/d2f58d25cbf6713e9e5d205d75e7a800.zip/index.html",
                "kolibri-packages",
                "zipcontent",
                "cache",
            ),
            (
                zip,
                get(),
                "/content/static/sandbox/sandbox-8bed43fcfebfe1862b17.html",
                "kolibri-packages",
                "sandbox",
                "cache",
            ),
            (
                main,
                get(),
                "/static/kolibri.plugins.learn.app/kolibri.plugins.learn.app-0.19.5.js",
                "kolibri",
                "kolibri-content/static",
                "cache",
            ),
            (main, get(), "/static/../api/content/channel/", "kolibri", "api", "pass"),
            (main, post(), "/api/logger/trackprogress/", "kolibri", "tracking", "pass"),
            (main, Method::PUT, "/api/auth/session/current/", "kolibri", "session", "pass"),
            (main, get(), "/api/content/channel/?available=true", "kolibri", "api", "pass"),
            (main, get(), "/en/learn/", "kolibri", "", "obey"),
            (main, get(), "/learn/api/state", "kolibri", "", "obey"),
            (main, get(), "/", "kolibri", "", "obey"),
        ],
    );
}

#[test]
fn the_moodle_example_fits_the_recorded_exchanges() {
    let host = "moodle.example";
    let get = |target, rule, says| (host, Method::GET, target, "moodle", rule, says);
    says(
        "config/examples/moodle.toml",
        &[
            get("/theme/styles.php/boost/1795618195_1795618203/all", "moodle/theme-styles", "cache"),
            get("/theme/image.php/boost/theme/1795618195/favicon", "moodle/theme-image", "cache"),
            get("/theme/font.php/boost/core/1795618195/fa-solid-900.woff2", "moodle/theme-font", "cache"),
            get("/lib/javascript.php/1795618195/mod/scorm/request.js", "moodle/javascript", "cache"),
            get("/lib/requirejs.php/1795618195/core/first.js", "moodle/requirejs", "cache"),
            get("/theme/yui_combo.php?rollup/3.18.1/yui-moodlesimple-min.js", "moodle/yui-combo", "cache"),
            get(
                "/lib/ajax/service-nologin.php?info=6-method-calls&cachekey=1795618198&args=%5B%5D",
                "moodle/ajax-public",
                "cache",
            ),
            get("/lib/ajax/service-nologin.php?info=x", "moodle/pages", "pass"),
            get("/h5p/h5plib/v127/joubel/core/js/h5p.js?ver=1795618195", "moodle/h5p-player", "cache"),
            get("/pluginfile.php/14/mod_scorm/content/1/Playing/Par.html", "moodle/scorm", "cache"),
            get("/pluginfile.php/16/mod_resource/content/0/lecture.mp4", "moodle/resource", "cache"),
            get("/pluginfile.php/21/mod_forum/attachment/5/photo.jpg", "moodle/forum", "cache"),
            get("/pluginfile.php/21/mod_assign/intro/0/task.pdf", "moodle/assignment", "cache"),
            get(
                "/pluginfile.php/21/assignsubmission_file/submission_files/7/a.pdf",
                "moodle/submission",
                "cache",
            ),
            get("/pluginfile.php/21/user/private/a.pdf", "moodle/course-files", "pass"),
            get("/pluginfile.php/14/mod_scorm/package/0/a.zip", "moodle/course-files", "pass"),
            get(
                "/pluginfile.php/1/core_h5p//cachedassets/7a737f932fc17cdac6915f0ec5680af83e39b38a.js",
                "moodle/course-files",
                "pass",
            ),
            get("/tokenpluginfile.php/0123456789abcdef/14/user/private/a.pdf", "moodle/token-files", "pass"),
            (
                host,
                Method::POST,
                "/mod/scorm/datamodel.php?api=beacon",
                "moodle",
                "moodle/scorm-tracking",
                "pass",
            ),
            (host, Method::POST, "/lib/ajax/service.php?sesskey=x", "moodle", "moodle/ajax", "pass"),
            (host, Method::POST, "/mod/scorm/player.php", "moodle", "moodle/pages", "pass"),
            get("/course/view.php?id=2", "moodle/pages", "pass"),
            get("/mod/scorm/loadSCO.php?a=1&scoid=4", "moodle/pages", "pass"),
            get("/h5p/embed.php?url=x", "moodle/pages", "pass"),
            get("/my/", "", "obey"),
        ],
    );
    let config = loaded("config/examples/moodle.toml");
    let hidden: Vec<_> =
        config.sites[0].rules.iter().filter(|rule| rule.hide_path).map(|rule| &*rule.name).collect();
    assert_eq!(hidden, ["moodle/token-files"]);
    // What is private is kept for those only whom Moodle lets in, and where it decides per file it is asked each time.
    let asked: Vec<_> = config.sites[0]
        .rules
        .iter()
        .filter_map(|rule| match (&rule.access, &rule.verdict) {
            (Access::Asked(asked), Verdict::Cache(policy)) if policy.lift_private => {
                Some((&*rule.name, asked.keep.as_secs(), asked.content.is_some()))
            }
            (Access::Open, Verdict::Cache(policy)) if policy.lift_private => panic!("{}", rule.name),
            _ => None,
        })
        .collect();
    let expected = [
        ("moodle/scorm", 60, true),
        ("moodle/resource", 60, true),
        ("moodle/forum", 0, false),
        ("moodle/assignment", 0, false),
        ("moodle/submission", 0, false),
    ];
    assert_eq!(asked, expected);
}
