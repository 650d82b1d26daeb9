//! What the operator wrote: read, checked as a whole, built.
//!
//! Settings stand beside the code that obeys them; here they are read from one TOML file. Nothing is used of a file with
//! an error in it. `config/lectern.toml` shows every setting with its default.

mod access;
mod asked;
mod coding;
mod disk;
mod listeners;
mod mount;
mod node;
mod origins;
mod reader;
mod report;
mod rules;
mod sites;
mod version;

pub use node::NodeSettings;
pub use report::{Problem, Report};

use crate::{
    cache::{CacheSettings, DiskSettings},
    control::ControlSettings,
    ledger::LedgerSettings,
    listener::{ListenerSettings, TlsSettings},
    origin::OriginSettings,
    site::SiteSettings,
    telemetry::LogSettings,
};
use listeners::Addresses;
use reader::{Placed, Reader, Section};
use sites::SitesReader;
use std::{collections::HashMap, fs, path::Path};
use toml::de::{DeTable, DeValue};

/// Everything that is set, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where learners come in; at least one. A change needs a restart, but for certificates.
    pub listeners: Vec<ListenerSettings>,
    /// Where operations and the release pipeline come in. A change of the address needs a restart.
    pub control: ControlSettings,
    /// TLS of the control listener, or cleartext if absent. A change needs a restart, but for certificates.
    pub control_tls: Option<TlsSettings>,
    /// Where sites are fetched from.
    pub origins: Vec<OriginSettings>,
    /// Whom the node answers for.
    pub sites: Vec<SiteSettings>,
    /// The site for hosts that no site names; absent: they get 421.
    pub default_site: Option<String>,
    /// Tiers and fills. A change needs a restart.
    pub cache: CacheSettings,
    /// The disk tier. A change needs a restart.
    pub disk: DiskSettings,
    /// The ledger. A change needs a restart.
    pub ledger: LedgerSettings,
    /// The access log. A change needs a restart.
    pub log: LogSettings,
    /// The process. A change needs a restart.
    pub node: NodeSettings,
}

/// Reads and checks a file. Paths in it are relative to its folder.
///
/// # Errors
/// The [`Report`] with every error. Its warnings are lost where there is no error; [`check`] keeps them.
pub fn load(path: &Path) -> Result<Config, Report> {
    let (config, report) = check(path);
    config.ok_or(report)
}

/// Reads and checks a file; the configuration is there if the report has no error.
pub fn check(path: &Path) -> (Option<Config>, Report) {
    match fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(why) => {
            let mut report = Report::new(path);
            report.unreadable = true;
            let problem = |wrong| Problem { line: 0, key: String::new(), wrong, right: String::new() };
            report.errors.push(problem(format!("the file cannot be read: {why}")));
            (None, report)
        }
    }
}

/// Checks `text` as the content of `file`, which need not exist.
pub fn parse(file: &Path, text: &str) -> (Option<Config>, Report) {
    let reader = Reader::new(file, text);
    let (table, broken) = DeTable::parse_recoverable(text);
    for error in &broken {
        let place = reader.place(error.span().map_or(text.len(), |span| span.start), "");
        reader.error(&place, format!("this is no TOML: {}", error.message()), "see toml.io");
    }
    // What could be read around broken syntax says little of what was meant.
    let config = broken.is_empty().then(|| build(&reader, table.get_ref()));
    let report = reader.finish();
    (config.filter(|_| report.is_fine()), report)
}

fn build<'d>(reader: &'d Reader, table: &'d DeTable<'d>) -> Config {
    let top = Section::new(reader, table, reader.place(0, ""));
    let mut addresses = Addresses::default();
    let listeners: Vec<_> = named(&top, "listener", |section| listeners::listener(section, &mut addresses));
    if top.value("listener").is_none() {
        top.missing("listener", "[[listener]] with name and address");
    }
    let control = top.table("control").map(|section| listeners::control(section, &mut addresses));
    let (control, control_tls) = control.unwrap_or_default();
    let origins = named(&top, "origin", origins::origin);
    let names = origin_names(&top);
    let sets = sites::rule_sets(reader, top.tables("rule_set"), &names);
    let mut sites = SitesReader::new(reader, &sets, &names);
    top.tables("site").into_iter().for_each(|section| sites.site(section));
    if top.value("site").is_none() {
        reader.warning(&top.place, "there is no site: every request is refused", "write a [[site]]");
    }
    let sites = sites.finish();
    sets.finish(reader);
    unused_origins(&top, &sites);
    let default_site = top.text("default_site").map(|name| {
        if !sites.iter().any(|site| site.name == name.value) {
            let right = reader::nearest(name.value, sites.iter().map(|site| site.name.as_str())).map_or_else(
                || "write the name of a site".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            reader.error(&name.place, format!("there is no site `{}`", name.value), right);
        }
        name.value.to_owned()
    });
    let nowhere = LedgerSettings::default();
    let ledger = top
        .table("ledger")
        .map(node::ledger)
        .unwrap_or_else(|| LedgerSettings { folder: reader.in_folder(&nowhere.folder), ..nowhere });
    let config = Config {
        listeners,
        control,
        control_tls,
        origins,
        sites,
        default_site,
        cache: top.table("cache").map(node::cache).unwrap_or_default(),
        disk: top.table("disk").map(|section| disk::disk(section, &ledger.folder)).unwrap_or_default(),
        ledger,
        log: top.table("log").map(node::log).unwrap_or_default(),
        node: top.table("node").map(node::node).unwrap_or_default(),
    };
    top.finish();
    config
}

/// Reads a list of tables and says which names stand twice.
fn named<'d, T>(
    top: &Section<'d>,
    key: &'static str,
    mut read: impl FnMut(Section<'d>) -> Option<T>,
) -> Vec<T> {
    let mut lines = HashMap::new();
    let mut all = Vec::new();
    for section in top.tables(key) {
        let name = section.value("name");
        if let Some(Placed { value: DeValue::String(name), place }) = name
            && let Some(first) = lines.insert(name.clone(), place.line)
        {
            let wrong = format!("{key} `{name}` stands in line {first} too");
            top.reader.error(&place, wrong, "give each its own name");
        }
        all.extend(read(section));
    }
    all
}

/// Names of all origins, also of those with errors: a site that uses one of these is not wrong.
fn origin_names(top: &Section<'_>) -> Vec<String> {
    let name = |section: Section<'_>| match section.value("name") {
        Some(Placed { value: DeValue::String(name), .. }) => Some(name.clone().into_owned()),
        _ => None,
    };
    top.tables("origin").into_iter().filter_map(name).collect()
}

/// Whether a rule of the site has this origin mounted.
fn mounts(site: &SiteSettings, origin: &str) -> bool {
    site.rules.iter().filter_map(|rule| rule.mount.as_ref()).any(|mount| mount.origin == origin)
}

fn unused_origins(top: &Section<'_>, sites: &[SiteSettings]) {
    for section in top.tables("origin") {
        if let Some(Placed { value: DeValue::String(name), place }) = section.value("name")
            && !sites.iter().any(|site| site.origin == *name || mounts(site, name))
        {
            let wrong = format!("no site uses origin `{name}`");
            top.reader.warning(&place, wrong, "name it in a site, or drop it");
        }
    }
}

#[cfg(test)]
mod tests;
