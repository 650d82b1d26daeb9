//! What belongs to a release: paths as keys have them, with what proves each; a file named by its digest.

use super::{Digests, Entry};
use crate::{
    ledger::ManifestId,
    rules::{Facts, Policy, Verdict, normalise},
    site::Site,
};
use hashbrown::HashMap;
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Most files of a release.
pub const FILES: usize = 50_000;
/// Longest path of one, with its query.
const PATH: usize = 4096;
/// So many wrong files are named.
const NAMED: usize = 10;

/// A manifest as it stands in its file. Made in one way, so that the same release has the same name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    module: String,
    release: String,
    https: bool,
    host: String,
    open: bool,
    /// By path and query, with the version cut out.
    files: BTreeMap<String, Digests>,
}

/// What belongs to a release.
#[derive(Debug)]
pub struct Manifest {
    /// Its name.
    pub id: ManifestId,
    /// It is warmed by `https`.
    pub https: bool,
    /// The host that it is warmed for.
    pub host: Box<str>,
    /// What is not listed may belong to the module all the same.
    pub open: bool,
    files: HashMap<Box<str>, Digests>,
}

/// Files that cannot be of the release: each with the reason.
#[derive(Debug)]
pub struct Unfit(Vec<String>);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..self.0.len().min(NAMED)].join("; "))?;
        match self.0.len().checked_sub(NAMED).filter(|more| *more > 0) {
            Some(more) => write!(f, "; and {more} more"),
            None => Ok(()),
        }
    }
}

/// Where the files of a release lie.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// By `https`.
    pub https: bool,
    /// The host, normalised.
    pub host: &'a str,
    /// The path that references are relative to.
    pub path: &'a str,
}

impl Manifest {
    /// Makes the manifest of a release from its list; gives it with the bytes of its file.
    ///
    /// # Errors
    /// A file lies at no path of the module, or there are too many.
    pub fn of(
        site: &Site,
        (module, release): (&str, &str),
        place: Place<'_>,
        entries: &[Entry],
        open: bool,
    ) -> Result<(Manifest, Vec<u8>), Unfit> {
        if entries.is_empty() || entries.len() > FILES {
            return Err(Unfit(vec![format!("{} files: list 1 to {FILES}", entries.len())]));
        }
        let (mut files, mut wrong) = (BTreeMap::new(), Vec::new());
        for entry in entries {
            match key(site, module, place, &entry.path) {
                Ok(key) => match files.insert(key, entry.digests) {
                    Some(other) if other != entry.digests => {
                        wrong.push(format!("{}: it is listed twice, with other digests", entry.path));
                    }
                    _ => {}
                },
                Err(why) => wrong.push(format!("{}: {why}", entry.path)),
            }
        }
        if !wrong.is_empty() {
            return Err(Unfit(wrong));
        }
        let Place { https, host, .. } = place;
        let (module, release, host) = (module.to_owned(), release.to_owned(), host.to_owned());
        let written = Written { module, release, https, host, open, files };
        let bytes = serde_json::to_vec(&written).map_err(|error| Unfit(vec![error.to_string()]))?;
        Ok((Manifest::from(written, ManifestId::of(&bytes)), bytes))
    }

    fn from(Written { https, host, open, files, .. }: Written, id: ManifestId) -> Manifest {
        let files = files.into_iter().map(|(path, digests)| (path.into_boxed_str(), digests)).collect();
        Manifest { id, https, host: host.into_boxed_str(), open, files }
    }

    /// Reads the file of this name; `None` if it is another's, or torn.
    pub(super) fn read(bytes: &[u8], id: ManifestId) -> Option<Manifest> {
        let written = (ManifestId::of(bytes) == id).then(|| serde_json::from_slice(bytes).ok())?;
        Some(Manifest::from(written?, id))
    }

    /// What is listed of a path and query without their version; `None`: it is not listed.
    pub fn listed(&self, path: &str, query: Option<&str>) -> Option<&Digests> {
        match query {
            None => self.files.get(path),
            Some(query) => self.files.get(format!("{path}?{query}").as_str()),
        }
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Paths with queries, in order, without their version.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<_> = self.files.keys().map(|path| &**path).collect();
        paths.sort_unstable();
        paths
    }
}

/// Path and query of a file as keys have them: normalised, and without their version.
fn key(site: &Site, module: &str, place: Place<'_>, reference: &str) -> Result<String, String> {
    let (path, query) = resolved(place.path, reference)?;
    let path = normalise::target(&path).map_err(|bad| bad.to_string())?;
    let policy = policy_of(site, &path, query.as_deref())?;
    if policy.module.as_ref().and_then(|template| template.fill(&path)).as_deref() != Some(module) {
        return Err(format!("its rule does not say that it is of {module}"));
    }
    let query = normalise::query(&policy.query, query.as_deref());
    let (path, query) = match &policy.version {
        Some(version) => version.cut(&path, query.as_deref()),
        None => (path, query),
    };
    let key = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    if key.len() > PATH { Err(format!("it is longer than {PATH} bytes")) } else { Ok(key) }
}

/// What the rule says that speaks for a path; why it has no releases.
fn policy_of<'s>(site: &'s Site, path: &str, query: Option<&str>) -> Result<&'s Policy, String> {
    let facts = Facts { method: &Method::GET, path, query, headers: &HeaderMap::new() };
    let Some((_, rule)) = site.rules.find(&facts) else { return Err("no rule speaks for it".to_owned()) };
    match &rule.verdict {
        Verdict::Cache(_) if rule.access.asked().is_some() => {
            Err(format!("rule {} asks the LMS who may have it, and has no releases", rule.name))
        }
        Verdict::Cache(policy) => Ok(policy),
        _ => Err(format!("rule {} does not cache it", rule.name)),
    }
}

/// Path and query of a reference seen from `base`.
fn resolved(base: &str, reference: &str) -> Result<(String, Option<String>), String> {
    let reference = reference.split('#').next().unwrap_or_default();
    if reference.contains("://") || reference.starts_with("//") {
        return Err("it names a host: write a path".to_owned());
    }
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let mut whole = match path.strip_prefix('/') {
        Some(_) => String::new(),
        None => base[..base.rfind('/').map_or(0, |at| at + 1)].to_owned(),
    };
    path.bytes().for_each(|byte| push(&mut whole, byte));
    let query = query.map(|query| {
        let mut text = String::with_capacity(query.len());
        query.bytes().for_each(|byte| push(&mut text, byte));
        text
    });
    Ok((whole, query))
}

/// A byte of a reference as browsers send it.
pub(super) fn push(path: &mut String, byte: u8) {
    match byte {
        0..=b' ' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | 0x7f.. => path.push_str(&format!("%{byte:02X}")),
        _ => path.push(char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::resolved;

    #[test]
    fn references_are_seen_from_the_base() {
        for (base, reference, path, query) in [
            ("/m/2/", "a/b.js", "/m/2/a/b.js", None),
            ("/m/2/index.html", "b.js?x=ü", "/m/2/b.js", Some("x=%C3%BC")),
            ("/m/2/", "/other.js#top", "/other.js", None),
            ("/m/2/", "a b{c}", "/m/2/a%20b%7Bc%7D", None),
            ("/", "", "/", None),
        ] {
            let told = resolved(base, reference).unwrap();
            assert_eq!(told, (path.to_owned(), query.map(str::to_owned)), "{base} {reference}");
        }
        for wrong in ["https://other.example/a", "//other.example/a"] {
            assert!(resolved("/m/", wrong).is_err(), "{wrong}");
        }
    }
}
