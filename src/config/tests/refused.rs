//! What is wrong with a configuration, told all at once, each with its line and what would be right.

use super::*;

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
        (cache("version = {}"), "site.rule.version", "not where a version is named"),
        (cache("version = { path = \"v\" }"), "site.rule.version.path", "the rule's path has no `{v}`"),
        (cache("path = \"/{v}\"\nversion = { path = \"v\", query = \"v\" }"), "site.rule.version", "at one place"),
        (cache("version = { query = \"v=1\" }"), "site.rule.version.query", "is no name of a parameter"),
        (cache("keep_query = false\nversion = { query = \"v\" }"), "site.rule.version.query", "keep_query drops `v`"),
        (cache("version = { field = \"a b\" }"), "site.rule.version.field", "is no field"),
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
        ("[[origin]]\nname = \"x\"\nservers = \"a:1\"\ntls = { certificate = \"/dev/null\" }".to_owned(), "origin.tls.certificate", "stands alone"),
        ("[[origin]]\nname = \"x\"\nservers = \"a:1\"\nin_flight = 4\nreserved = 4".to_owned(), "origin.reserved", "nothing of in_flight is left"),
        ("[[origin]]\nname = \"x\"\nservers = \"a:1\"\nbalance = \"random\"".to_owned(), "origin.balance", "none of the words"),
        ("[[origin]]\nname = \"x\"\nservers = \"a:1\"\ncheck = {}".to_owned(), "origin.check.path", "a path that each front answers"),
        ("[[origin]]\nname = \"x\"\nservers = \"a:1\"\ncheck = { path = \"login\" }".to_owned(), "origin.check.path", "is no path"),
        ("[[origin]]\nname = \"x\"\nservers = \"a:1\"\ncheck = { path = \"/\", status = 100 }".to_owned(), "origin.check.status", "out of bounds"),
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
