//! Who may import whom: holds the order of the parts by reading `src/` as text.
//!
//! edge → response → fill → release, access → site → origin, cache → rules, ledger → ground: each may import what stands to its
//! right, parts of one rank not each other. The listener imports the ground only; of the parts the edge alone knows it, whose
//! trait it implements. Only `cli`, `node` and `main` import everything.
//!
//! A file is cut into paths (`use crate::{a::b, c}` gives `crate::a::b` and `crate::c`) without comments and literals; the
//! rules are about those. Code under `#[cfg(test)]` obeys them too. Samples that must fail show that the reader reads.

use std::{collections::BTreeSet, fs, path::Path};

/// Each rank may import what stands below it; parts of one rank do not import each other.
const RANKS: [&[&str]; 7] = [
    &["edge"],
    &["response"],
    &["fill"],
    &["release", "access"],
    &["site"],
    &["origin", "cache"],
    &["rules", "ledger"],
];
const GROUND: [&str; 4] = ["http_caching", "telemetry", "clock", "units"];

/// May a file of the part `from` import the part `to`?
fn may_import(from: &str, to: &str) -> bool {
    let rank = |part: &str| RANKS.iter().position(|parts| parts.contains(&part));
    match from {
        _ if from == to => true,
        "lib" | "main" | "cli" | "node" => true,
        "config" => !["cli", "node", "edge"].contains(&to),
        "control" => !["cli", "node", "edge", "config", "listener"].contains(&to),
        "listener" => GROUND.contains(&to),
        "edge" if to == "listener" => true,
        "http_caching" => to == "units",
        "telemetry" => ["clock", "units"].contains(&to),
        "clock" | "units" => false,
        _ => match (rank(from), rank(to)) {
            (Some(_), None) => GROUND.contains(&to),
            (Some(from), Some(to)) => from < to,
            (None, _) => false,
        },
    }
}

fn is_part(name: &str) -> bool {
    let others = ["lib", "main", "cli", "node", "config", "control", "listener"];
    others.contains(&name) || GROUND.contains(&name) || RANKS.iter().any(|parts| parts.contains(&name))
}

/// What is wrong with the imports of the file `name` (its place under `src/`), one sentence each.
fn wrongs(name: &str, text: &str) -> BTreeSet<String> {
    let part = name.split('/').next().unwrap_or(name).trim_end_matches(".rs");
    let mut wrongs = BTreeSet::new();
    let mut wrong = |what: String| wrongs.insert(format!("{name}: {what}"));
    if !is_part(part) {
        wrong(format!("the part {part} has no place in the order of imports"));
    }
    for path in paths(&bare(text)) {
        let segments: Vec<&str> = path.split("::").collect();
        // `super::super::cache` is another way to write `crate::cache`.
        let upward = segments.iter().take_while(|s| **s == "super").count();
        let to = match segments[0] {
            "crate" | "lectern" => segments.get(1),
            _ if upward > 1 => segments.get(upward).filter(|s| is_part(s)),
            _ => None,
        };
        if let Some(to) = to.filter(|to| is_part(to))
            && !may_import(part, to)
        {
            wrong(format!("{part} may not import {to}"));
        }
        let root = segments[0];
        if root.starts_with("pingora") && !["origin", "listener", "node"].contains(&part) {
            wrong("only origin/, listener/ and node.rs name pingora".to_owned());
        }
        let client = root.starts_with("pingora")
            && (path.contains("connectors::http") || path.contains("protocols::http::client"));
        if client && part != "origin" {
            wrong("only origin/ names Pingora's HTTP client".to_owned());
        }
        let others = ["hyper::client", "hyper_util::client", "reqwest", "pingora_proxy", "pingora_cache"];
        // The command line is a client of the control API.
        if others.iter().any(|other| path.starts_with(other)) || (root == "ureq" && part != "cli") {
            wrong(format!("requests go to an origin through Pingora's client, not through {path}"));
        }
        if (path.starts_with("hyper::server") || path.starts_with("hyper_util::server")) && part != "listener"
        {
            wrong("only listener/ names hyper's server".to_owned());
        }
        if part == "http_caching" {
            if ["async", "await", "tokio", "futures_util", "hyper"].contains(&root) {
                wrong(format!("http_caching knows no {root}"));
            }
            if path.ends_with("::now") || root == "elapsed" {
                wrong("http_caching reads no clock".to_owned());
            }
        }
    }
    wrongs
}

/// Every path in a piece of code, groups taken apart; a lone word is a path too.
fn paths(code: &str) -> Vec<String> {
    let chars: Vec<char> = code.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        if is_word(chars[at]) { at = path(&chars, at, "", &mut found) } else { at += 1 }
    }
    found
}

/// Reads one path, or one part of a group, from `at` on; says where it ends.
fn path(chars: &[char], mut at: usize, before: &str, found: &mut Vec<String>) -> usize {
    let mut whole = before.to_owned();
    loop {
        at = space(chars, at);
        match chars.get(at) {
            Some('{') if !whole.is_empty() => {
                at += 1;
                loop {
                    at = space(chars, at);
                    match chars.get(at) {
                        None => return at,
                        Some('}') => return at + 1,
                        Some(c) if is_word(*c) || *c == '{' => at = path(chars, at, &whole, found),
                        Some(_) => at += 1,
                    }
                }
            }
            Some(c) if is_word(*c) => {
                let end = (at..chars.len()).find(|i| !is_word(chars[*i])).unwrap_or(chars.len());
                if !whole.is_empty() {
                    whole.push_str("::");
                }
                whole.extend(&chars[at..end]);
                at = end;
            }
            _ => break, // `*` of a group, `<` of a turbofish: the path so far is what counts
        }
        let next = space(chars, at);
        if chars.get(next) == Some(&':') && chars.get(next + 1) == Some(&':') { at = next + 2 } else { break }
    }
    found.push(whole);
    at
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn space(chars: &[char], at: usize) -> usize {
    (at..chars.len()).find(|i| !chars[*i].is_whitespace()).unwrap_or(chars.len())
}

/// The code without comments, texts and characters, which may hold anything.
fn bare(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut code, mut i) = (String::new(), 0);
    while i < chars.len() {
        let raw = raw_quote(&chars, i).filter(|_| !code.ends_with(is_word));
        if at(i) == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if at(i) == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if let Some((start, hashes)) = raw {
            i = start;
            let closes = |i: usize| at(i) == '"' && (1..=hashes).all(|h| at(i + h) == '#');
            while i < chars.len() && !closes(i) {
                i += 1;
            }
            i += 1 + hashes;
        } else if at(i) == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
        } else {
            code.push(at(i));
            i += 1;
            continue;
        }
        code.push(' ');
    }
    code
}

/// Where the text of `r"`, `r#"` or `br"` begins, if one begins here, and how many `#` it has.
fn raw_quote(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let start = if chars[at] == 'b' { at + 1 } else { at };
    if chars.get(start) != Some(&'r') {
        return None;
    }
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(start + 1 + hashes) == Some(&'"')).then_some((start + 2 + hashes, hashes))
}

/// All `.rs` files under `folder`, by their place under `src/`.
fn sources(folder: &Path, place: &str, found: &mut Vec<(String, String)>) {
    for item in fs::read_dir(folder).unwrap() {
        let item = item.unwrap();
        let name = format!("{place}{}", item.file_name().to_string_lossy());
        if item.path().is_dir() {
            sources(&item.path(), &format!("{name}/"), found);
        } else if name.ends_with(".rs") {
            found.push((name, fs::read_to_string(item.path()).unwrap()));
        }
    }
}

#[test]
fn every_part_imports_only_what_the_order_allows() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    assert!(files.len() > 20, "the tree was read");
    let wrongs: BTreeSet<String> = files.iter().flat_map(|(name, text)| wrongs(name, text)).collect();
    assert!(wrongs.is_empty(), "{}", wrongs.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn what_breaks_the_order_is_found() {
    let table = [
        ("cache/slot.rs", "use crate::fill::Fill;"),
        ("cache/slot.rs", "use crate::{clock, origin::Origin};"),
        ("cache/slot.rs", "use crate::{\n    clock,\n    {fill::{Fill, Join}},\n};"),
        ("cache/slot.rs", "use crate::{clock::{now}, fill::Fill};"),
        ("cache/slot.rs", "fn f() -> crate::edge::Edge { todo() }"),
        ("cache/slot.rs", "fn f() { r::new(); let x = crate :: site :: Sites::new(); }"),
        ("cache/slot.rs", "use super::super::fill::Fill;"),
        ("cache/slot.rs", "#[cfg(test)] mod tests { use crate::response::fields; }"),
        ("cache/slot.rs", "const A: char = '\"'; use crate::fill::Fill; const B: char = '\"';"),
        ("cache/slot.rs", "const A: &str = r#\"\"\"#; use crate::fill::Fill; const B: &str = \"\";"),
        ("cache/slot.rs", "/* a /* b */ c */ use crate::fill::Fill;"),
        ("cache/slot.rs", "fn f<'a>(a: &'a str) { crate::fill::f('\\'', a) }"),
        ("origin/mod.rs", "use crate::cache::Memory;"),
        ("rules/mod.rs", "use crate::ledger::Number;"),
        ("site.rs", "use crate::config::Config;"),
        ("listener/mod.rs", "use crate::edge::Edge;"),
        ("listener/mod.rs", "use crate::rules::Rule;"),
        ("control/mod.rs", "use crate::listener::Serve;"),
        ("telemetry/mod.rs", "use crate::http_caching::Directives;"),
        ("http_caching/mod.rs", "use crate::clock;"),
        ("http_caching/mod.rs", "async fn f() {}"),
        ("http_caching/mod.rs", "fn f() { std::time::SystemTime::now(); }"),
        ("http_caching/mod.rs", "fn f(t: std::time::SystemTime) { t.elapsed(); }"),
        ("edge.rs", "use pingora::server::Server;"),
        ("site.rs", "fn f(pool: pingora_load_balancing::Backends) {}"),
        ("listener/mod.rs", "use pingora::connectors::{TransportConnector, http::Connector};"),
        ("node.rs", "use pingora::protocols::{http::{client::HttpSession}};"),
        ("origin/client.rs", "use hyper_util::client::legacy::Client;"),
        ("fill/mod.rs", "fn f() { ureq::get(\"/\"); }"),
        ("response/mod.rs", "use crate::listener::Connection;"),
        ("edge.rs", "use hyper::{server::conn::http1, body::Incoming};"),
        ("utils.rs", ""),
    ];
    for (name, text) in table {
        assert_eq!(wrongs(name, text).len(), 1, "{name}: {text}: {:?}", wrongs(name, text));
    }
}

#[test]
fn what_keeps_the_order_passes() {
    let table = [
        (
            "edge.rs",
            "use crate::{cache::Slot, clock, fill::{Fill, Join}, response, telemetry::Line, units::Size};",
        ),
        ("edge/mod.rs", "use crate::listener::Serve; use hyper::body::Incoming;"),
        ("cli/call.rs", "fn f() { ureq::get(\"/\"); }"),
        (
            "fill/mod.rs",
            "use crate::{cache::{self, Body}, ledger::Number, origin::Origin, rules, site::Site};",
        ),
        ("cache/slot.rs", "// crate::edge\nuse super::key::Key; /// crate::fill\n"),
        ("cache/slot.rs", "//! Made by [`crate::fill::Fill`].\n/* use crate::edge; */ use super::key::Key;"),
        (
            "cache/slot.rs",
            "const A: &str = \"use crate::fill::Fill; \\\" crate::edge\"; const B: &str = r\"crate::fill\";",
        ),
        ("cache/slot.rs", "const Q: char = '\\''; const A: &str = \"crate::edge\";"),
        ("origin/client.rs", "use pingora::connectors::http::Connector;"),
        ("listener/mod.rs", "use crate::{clock, telemetry::Metrics}; use hyper::server::conn::http2;"),
        (
            "http_caching/age.rs",
            "use crate::units::Span; fn age(now: std::time::SystemTime) { let now = now; }",
        ),
        ("config/mod.rs", "use crate::{listener::ListenerSettings, rules::Rule};"),
        ("control/mod.rs", "use crate::{cache::Memory, ledger::Ledger, site::Sites};"),
        ("node.rs", "use crate::{cli, config, edge}; use pingora::server::Server;"),
    ];
    for (name, text) in table {
        assert_eq!(wrongs(name, text), BTreeSet::new(), "{name}: {text}");
    }
}

/// The decision lists what is built in: name, pinned version. A new crate needs its reason there.
#[test]
fn every_dependency_has_its_reason_written_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let mut built_in: Vec<(String, String)> = ["dependencies", "dev-dependencies"]
        .iter()
        .flat_map(|kind| manifest[*kind].as_table().unwrap())
        .filter_map(|(name, spec)| {
            let version = spec.as_str().or_else(|| spec.get("version")?.as_str())?; // our own crates have none
            Some((name.clone(), version.trim_start_matches('=').to_owned()))
        })
        .collect();
    let document =
        fs::read_to_string(root.join("docs/decisions/0001-which-part-comes-from-where.md")).unwrap();
    let mut listed: Vec<(String, String)> = document
        .lines()
        .filter_map(|row| {
            let (name, rest) = row.strip_prefix("| `")?.split_once("` | ")?;
            Some((name.to_owned(), rest.split_once(" |")?.0.to_owned()))
        })
        .collect();
    built_in.sort();
    built_in.dedup(); // one may stand in both lists
    listed.sort();
    assert_eq!(listed, built_in);
}
