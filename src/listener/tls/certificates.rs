//! Which certificate a client is shown: by the name it asks for, among the pairs `NAME.crt` + `NAME.key` of a directory.
//!
//! Names come from the certificates (RFC 6125 §6.4: dNSName, the common name only if there is none; a wildcard stands for one
//! whole label on the left). Several pairs may share a name: the client's signature schemes choose, ECDSA first because it is
//! cheaper. A broken pair never takes another's place: at a reload the old one of that NAME goes on.

use crate::{
    clock,
    listener::{settings::TlsSettings, tls::TlsError, tls::provider},
};
use arc_swap::ArcSwap;
use rustls::{
    SignatureAlgorithm,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer, prelude::X509Certificate};

/// The certificates of one listener.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
    default: Option<String>,
    table: ArcSwap<Table>,
}

#[derive(Debug, Default)]
struct Table {
    pairs: BTreeMap<String, Pair>,
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

#[derive(Clone, Debug)]
struct Pair {
    key: Arc<CertifiedKey>,
    names: BTreeSet<String>,
    expired: bool,
}

/// What is wrong with one pair, and in which file.
#[derive(Debug, PartialEq, Eq)]
pub struct PairProblem {
    /// The file to look at.
    pub file: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What may be wrong with a pair.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// The file of this name is not there.
    Missing,
    /// It cannot be read, or is not what it should be.
    Unreadable(String),
    /// The key is not the certificate's.
    OtherKey,
    /// The certificate names no host.
    NoName,
    /// It is over. It is shown nevertheless: clients say so more clearly than a refused handshake.
    Expired,
}

impl Certificates {
    /// Reads the directory. What is broken is told beside; the others serve.
    ///
    /// # Errors
    /// The directory cannot be read, no pair serves, or the default pair does not.
    pub fn load(settings: &TlsSettings) -> Result<(Arc<Certificates>, Vec<PairProblem>), TlsError> {
        let store = Certificates {
            directory: settings.certificates.clone(),
            default: settings.default.clone(),
            table: ArcSwap::default(),
        };
        let problems = store.reload()?;
        Ok((Arc::new(store), problems))
    }

    /// Reads the directory again; handshakes from now on see the new pairs, connections go on. A pair that became broken keeps
    /// its old content, one whose files are both gone is forgotten. Reads files: not for a runtime's thread.
    ///
    /// # Errors
    /// As in [`Certificates::load`]; then nothing was changed.
    pub fn reload(&self) -> Result<Vec<PairProblem>, TlsError> {
        let now = clock::unix_millis(clock::now()) as i64 / 1_000;
        let old = self.table.load();
        let mut problems = Vec::new();
        let mut pairs = BTreeMap::new();
        for name in self.names().map_err(|e| TlsError::Directory(self.directory.clone(), e))? {
            let pair = match read(&self.directory, &name, now) {
                Ok(pair) => pair,
                Err(problem) => {
                    problems.push(problem);
                    match old.pairs.get(&name) {
                        Some(pair) => pair.clone(),
                        None => continue,
                    }
                }
            };
            if pair.expired {
                let file = self.directory.join(format!("{name}.crt"));
                problems.push(PairProblem { file, problem: Problem::Expired });
            }
            pairs.insert(name, pair);
        }
        if pairs.is_empty() {
            return Err(TlsError::NoPair(self.directory.clone()));
        }
        self.table.store(Arc::new(Table::new(pairs, self.default.as_deref())?));
        Ok(problems)
    }

    /// Pairs that serve.
    pub fn serving(&self) -> usize {
        self.table.load().pairs.len()
    }

    /// Every NAME of which a file is there.
    fn names(&self) -> std::io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for file in std::fs::read_dir(&self.directory)? {
            let path = file?.path();
            let pair = path.extension().is_some_and(|e| e == "crt" || e == "key");
            if let (true, Some(name)) = (pair, path.file_stem().and_then(|n| n.to_str())) {
                names.insert(name.to_owned());
            }
        }
        Ok(names)
    }
}

impl Table {
    fn new(pairs: BTreeMap<String, Pair>, default: Option<&str>) -> Result<Table, TlsError> {
        let mut table = Table::default();
        for pair in pairs.values() {
            for name in &pair.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut table.wildcard, rest),
                    None => (&mut table.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(pair.key.clone());
            }
        }
        if let Some(name) = default {
            let chosen = pairs.get(name).ok_or_else(|| TlsError::Default(name.to_owned()))?;
            table.default =
                pairs.values().filter(|p| p.names == chosen.names).map(|p| p.key.clone()).collect();
        }
        for keys in table.exact.values_mut().chain(table.wildcard.values_mut()).chain([&mut table.default]) {
            keys.sort_by_key(|key| key.key.algorithm() == SignatureAlgorithm::RSA);
        }
        table.pairs = pairs;
        Ok(table)
    }

    fn find(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let by_name = |name: &str| {
            let wildcard = || self.wildcard.get(name.split_once('.')?.1);
            self.exact.get(name).or_else(wildcard)
        };
        name.and_then(|n| by_name(&n.to_ascii_lowercase())).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        table.find(hello.server_name()).iter().find(fits).cloned()
    }
}

fn read(directory: &Path, name: &str, now: i64) -> Result<Pair, PairProblem> {
    let [crt, key] = ["crt", "key"].map(|e| directory.join(format!("{name}.{e}")));
    let wrong = |file: &Path, problem| PairProblem { file: file.to_owned(), problem };
    let unreadable = |file: &Path, e: &dyn fmt::Display| wrong(file, Problem::Unreadable(e.to_string()));
    for file in [&crt, &key] {
        if !file.exists() {
            return Err(wrong(file, Problem::Missing));
        }
    }
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&crt).and_then(Iterator::collect).map_err(|e| unreadable(&crt, &e))?;
    let leaf = chain.first().ok_or_else(|| unreadable(&crt, &"no certificate in it"))?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|e| unreadable(&crt, &e))?;
    let names = names_of(&parsed);
    if names.is_empty() {
        return Err(wrong(&crt, Problem::NoName));
    }
    let expired = parsed.validity().not_after.timestamp() < now;
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|e| unreadable(&key, &e))?;
    let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|e| match e {
        rustls::Error::InconsistentKeys(_) => wrong(&key, Problem::OtherKey),
        other => unreadable(&key, &other),
    })?;
    Ok(Pair { key: Arc::new(certified), names, expired })
}

fn names_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let mut names: BTreeSet<String> = alternatives
        .iter()
        .flat_map(|a| &a.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        names.extend(
            certificate
                .subject()
                .iter_common_name()
                .filter_map(|n| n.as_str().ok())
                .map(str::to_ascii_lowercase),
        );
    }
    names
}

impl fmt::Display for PairProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        match &self.problem {
            Problem::Missing => f.write_str("missing; the other half of the pair is there"),
            Problem::Unreadable(e) => f.write_str(e),
            Problem::OtherKey => f.write_str("this key does not belong to the certificate of the same name"),
            Problem::NoName => f.write_str("the certificate names no host"),
            Problem::Expired => f.write_str("the certificate has expired; it is still shown"),
        }
    }
}

impl std::error::Error for PairProblem {}
