//! `[[rule_set]]` and `[[site]]`: who is served from where, under which rules.

use super::{
    access,
    listeners::NETWORK,
    reader::{Place, Placed, Reader, Section, nearest},
    rules,
};
use crate::{
    http_caching::targeted::{CDN_CACHE_CONTROL, LECTERN_CACHE_CONTROL, is_targeted},
    rules::{Rule, normalise, shadowed},
    site::SiteSettings,
};
use http::HeaderName;
use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// A rule and where it is written.
type Written = (Arc<Rule>, Place);

/// The rule sets by name.
pub(super) struct RuleSets(BTreeMap<String, (Vec<Written>, Place, Cell<bool>)>);

pub(super) fn rule_sets(reader: &Reader, sections: Vec<Section<'_>>, origins: &[String]) -> RuleSets {
    let mut sets = RuleSets(BTreeMap::new());
    for section in sections {
        let name = section.required("name", "a name that sites can use");
        let mut written = Vec::new();
        for rule in section.tables("rule") {
            let place = rule.place.clone();
            if let Some(used) = rule.value("use") {
                reader.error(&used.place, "a rule set uses no other", "name both sets in the site");
                continue;
            }
            let set = name.as_ref().map(|name| name.value);
            written.extend(rules::rule(rule, set, origins).map(|rule| (rule, place)));
        }
        section.finish();
        twice(reader, &written);
        let Some(name) = name else { continue };
        if let Some((_, first, _)) = sets.0.get(name.value) {
            reader.error(
                &name.place,
                format!("rule set `{}` stands in line {} too", name.value, first.line),
                "give each its own name",
            );
        }
        sets.0.insert(name.value.to_owned(), (written, name.place, Cell::new(false)));
    }
    sets
}

impl RuleSets {
    fn named(&self, reader: &Reader, name: &Placed<&str>) -> Vec<Written> {
        match self.0.get(name.value) {
            Some((rules, _, used)) => {
                used.set(true);
                rules.clone()
            }
            None => {
                unknown(reader, name, "rule set", self.0.keys().map(String::as_str));
                Vec::new()
            }
        }
    }

    /// Says which sets no site uses.
    pub(super) fn finish(&self, reader: &Reader) {
        for (name, (_, place, _)) in self.0.iter().filter(|(_, (_, _, used))| !used.get()) {
            reader.warning(
                place,
                format!("no site uses rule set `{name}`"),
                "name it in a site's `use`, or drop it",
            );
        }
    }
}

/// "There is no such thing", with the one that was meant or all that there are.
pub(super) fn unknown<'a>(
    reader: &Reader,
    name: &Placed<&str>,
    what: &str,
    known: impl Iterator<Item = &'a str>,
) {
    let known: Vec<_> = known.collect();
    let right = match nearest(name.value, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("there is no {what} at all: write one"),
        None => format!("there are: {}", known.join(", ")),
    };
    reader.error(&name.place, format!("there is no {what} `{}`", name.value), right);
}

/// The fields that are heeded in place of `Cache-Control`. Their names end as its own does: any other field named by mistake
/// would be read as one that cannot be understood, and a hop could take it away by `Connection`.
fn targeted_fields(section: &Section<'_>) -> Vec<HeaderName> {
    if section.value("targeted_fields").is_none() {
        return vec![LECTERN_CACHE_CONTROL, CDN_CACHE_CONTROL];
    }
    let texts = section.texts("targeted_fields");
    let named = texts.iter().filter_map(|text| {
        let name = HeaderName::try_from(text.value).ok();
        let name = name.filter(is_targeted);
        if name.is_none() {
            let wrong = format!("`{}` is no targeted field", text.value);
            section.reader.error(&text.place, wrong, "write one as in [\"CDN-Cache-Control\"]");
        }
        name
    });
    named.collect()
}

/// Rules of one list that share a name would be counted as one.
fn twice(reader: &Reader, rules: &[Written]) {
    let mut lines = HashMap::new();
    for (rule, place) in rules {
        if let Some(first) = lines.insert(rule.name.as_str(), place.line) {
            let wrong = format!("rule `{}` stands in line {first} too", rule.name);
            reader.error(place, wrong, "give each its own name");
        }
    }
}

/// Reads the sites one after another and compares each with those before.
pub(super) struct SitesReader<'a> {
    pub(super) reader: &'a Reader,
    pub(super) sets: &'a RuleSets,
    /// Names of the origins, each with the sites that use it counted.
    pub(super) origins: &'a [String],
    sites: Vec<(SiteSettings, Place)>,
    hosts: HashMap<String, (String, usize)>,
    compared: HashSet<Vec<*const Rule>>,
}

impl<'a> SitesReader<'a> {
    pub(super) fn new(reader: &'a Reader, sets: &'a RuleSets, origins: &'a [String]) -> SitesReader<'a> {
        SitesReader {
            reader,
            sets,
            origins,
            sites: Vec::new(),
            hosts: HashMap::new(),
            compared: HashSet::new(),
        }
    }

    pub(super) fn site(&mut self, section: Section<'_>) {
        let name = section.required("name", "a name for log, metrics and purges");
        let origin = section.required("origin", "the name of an origin");
        if let Some(origin) = &origin
            && !self.origins.iter().any(|known| known == origin.value)
        {
            unknown(self.reader, origin, "origin", self.origins.iter().map(String::as_str));
        }
        let label = name.as_ref().map_or("", |name| name.value);
        let hosts = section.texts("hosts").iter().filter_map(|host| self.host(host, label)).collect();
        if section.value("hosts").is_none() {
            section.missing("hosts", "the hosts it answers for, as in [\"lms.example\", \"*.lms.example\"]");
        }
        let written = self.rules(&section);
        let scope = section.text("scope").map(|scope| scope.value.to_owned());
        let settings = SiteSettings {
            name: label.to_owned(),
            hosts,
            origin: origin.map(|origin| origin.value.to_owned()).unwrap_or_default(),
            scope,
            rules: written.into_iter().map(|(rule, _)| rule).collect(),
            body_limit: section.size("body_limit", rules::BODY),
            log_must: section.flag("log_must").unwrap_or(false),
            targeted_fields: targeted_fields(&section),
            cache_status_key: section.flag("cache_status_key").unwrap_or(false),
            service_credential: access::service_credential(&section),
            purge_from: section.all_parsed("purge_from", NETWORK),
            failure_page: section.existing_path("failure_page"),
        };
        section.finish();
        let Some(name) = name else { return };
        if let Some((_, first)) = self.sites.iter().find(|(site, _)| site.name == name.value) {
            let wrong = format!("site `{}` stands in line {} too", name.value, first.line);
            self.reader.error(&name.place, wrong, "give each its own name");
        }
        self.sites.push((settings, name.place));
    }

    /// Own rules in order, rule sets where they are named; those of the site's `use` stand last.
    fn rules(&mut self, section: &Section<'_>) -> Vec<Written> {
        let mut written = Vec::new();
        for rule in section.tables("rule") {
            let place = rule.place.clone();
            match rule.text("use") {
                Some(set) => {
                    written.extend(self.sets.named(self.reader, &set));
                    rule.finish();
                }
                None => written.extend(rules::rule(rule, None, self.origins).map(|rule| (rule, place))),
            }
        }
        for set in section.texts("use") {
            written.extend(self.sets.named(self.reader, &set));
        }
        twice(self.reader, &written);
        let (rules, places): (Vec<_>, Vec<_>) = written.iter().cloned().unzip();
        if self.compared.insert(rules.iter().map(Arc::as_ptr).collect()) {
            for (late, early) in shadowed(&rules) {
                let (late_rule, early_rule) = (&rules[late], &rules[early]);
                let wrong = format!(
                    "rule `{}` never speaks: `{}` (line {}) comes first and catches all of it",
                    late_rule.name, early_rule.name, places[early].line
                );
                self.reader.warning(&places[late], wrong, "move it up, or drop it");
            }
        }
        written
    }

    fn host(&mut self, host: &Placed<&str>, site: &str) -> Option<String> {
        let (star, name) = match host.value.strip_prefix("*.") {
            Some(name) => ("*.", name),
            None => ("", host.value),
        };
        let normal = match normalise::host(name, true) {
            Ok(normal) => format!("{star}{normal}"),
            Err(why) => {
                let right = "write a name, as in \"lms.example\" or \"*.lms.example\"";
                self.reader.error(&host.place, format!("`{}`: {why}", host.value), right);
                return None;
            }
        };
        if name.ends_with(":80") || name.ends_with(":443") {
            let right = "write the name without it: it is left out where it is the scheme's own";
            self.reader.error(&host.place, format!("`{}` names the usual port", host.value), right);
            return None;
        }
        if let Some((other, line)) = self.hosts.get(&normal) {
            let wrong = if other == site {
                format!("`{normal}` stands in line {line} already")
            } else {
                format!("site `{other}` (line {line}) answers for `{normal}`")
            };
            self.reader.error(&host.place, wrong, "name each host once");
            return None;
        }
        self.hosts.insert(normal.clone(), (site.to_owned(), host.place.line));
        Some(normal)
    }

    /// Compares scopes, and hands over the sites.
    pub(super) fn finish(self) -> Vec<SiteSettings> {
        for (site, place) in &self.sites {
            let Some(scope) = &site.scope else { continue };
            if let Some((alone, _)) =
                self.sites.iter().find(|(other, _)| other.name == *scope && other.scope.is_none())
            {
                let wrong = format!("its scope `{scope}` is the name of a site that shares with nobody");
                self.reader.error(
                    place,
                    wrong,
                    format!("give the scope another name, or site `{}` the same scope", alone.name),
                );
            }
            let mut before = self.sites.iter().take_while(|(other, _)| other.name != site.name);
            if let Some((other, _)) =
                before.find(|(other, _)| other.scope.as_ref() == Some(scope) && other.origin != site.origin)
            {
                let wrong = format!(
                    "it shares stored responses with site `{}`, which has another origin",
                    other.name
                );
                self.reader.warning(place, wrong, "share a scope only where both origins answer the same");
            }
        }
        self.sites.into_iter().map(|(site, _)| site).collect()
    }
}
