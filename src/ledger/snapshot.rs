//! What all records up to one add up to, in a file beside them: a start reads it, and of the records only those after it.
//!
//! It is derived from the records and proves nothing: a file that is damaged, is of another ledger, or does not end at a record
//! that stands is left aside, and all records are read. Lines of JSON, the last one the BLAKE3 of what stands before it.

use super::{
    Entry, Identity,
    chain::{Chain, digest_text},
    keys::{KeyState, Keys},
    projection::{EntryState, ModuleState, Numbers, Projection, Projector, Restoring, SiteState},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, Write},
    path::Path,
};

const FILE: &str = "projection";
const UNFINISHED: &str = "projection.new";
/// Version of the form.
const FORMAT: u32 = 1;
/// The last line: 64 hexadecimal digits and its end.
const SEAL: u64 = 65;

/// What a snapshot is of, and holds.
pub(super) struct Snapshot {
    /// It holds everything up to the end of this.
    pub(super) chain: Chain,
    pub(super) projector: Projector,
    pub(super) keys: Keys,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    /// The first.
    Ledger {
        format: u32,
        identity: String,
        number: u64,
        digest: String,
    },
    #[serde(borrow)]
    Entry(EntryState<'a>),
    #[serde(borrow)]
    Site(SiteState<'a>),
    Module(Box<ModuleState>),
    /// What is purged of sites to come.
    All(Numbers),
    Key(KeyState<'a>),
}

/// Writes what a projection and the keys hold, which have taken in everything up to the end of this chain, in place of the
/// snapshot that was there. Gives its bytes.
pub(super) fn write(folder: &Path, chain: &Chain, projection: &Projection, keys: &Keys) -> io::Result<u64> {
    let unfinished = folder.join(UNFINISHED);
    let mut out = Sealing { file: BufWriter::new(File::create(&unfinished)?), seal: blake3::Hasher::new() };
    let Chain { identity, number, .. } = *chain;
    let (identity, digest) = (identity.to_string(), chain.digest_text());
    out.line(&Line::Ledger { format: FORMAT, identity, number, digest })?;
    projection.entries(|entry| out.line(&Line::Entry(entry)))?;
    let all = projection.sites(|site| out.line(&Line::Site(site)))?;
    projection.modules(|module| out.line(&Line::Module(Box::new(module))))?;
    out.line(&Line::All(all))?;
    keys.states().try_for_each(|key| out.line(&Line::Key(key)))?;
    let bytes = out.seal()?;
    fs::rename(unfinished, folder.join(FILE))?;
    File::open(folder)?.sync_all()?;
    Ok(bytes)
}

/// Reads the snapshot of a folder; nothing if there is none. At most `bound` entries are kept apart.
///
/// # Errors
/// It cannot be read, is damaged, or of a form that this version does not know.
pub(super) fn read(folder: &Path, bound: usize) -> io::Result<Option<Snapshot>> {
    let file = match File::open(folder.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lines = sealed(file)?;
    let (mut line, mut chain) = (Vec::new(), None);
    let (mut restoring, mut keys) = (Restoring::new(), Keys::default());
    while lines.read_until(b'\n', &mut line)? > 0 {
        match serde_json::from_slice(&line)? {
            Line::Ledger { format: FORMAT, identity, number, digest } => {
                let identity: Option<Identity> = identity.parse().ok();
                let parts = identity.zip(Entry::digest_of(&digest));
                chain = parts.map(|(identity, digest)| Chain { identity, number, digest });
            }
            Line::Ledger { .. } => return Err(wrong("it is of a form that this version does not know")),
            Line::Entry(entry) => restoring.entry(entry),
            Line::Site(site) => restoring.site(&site),
            Line::Module(module) => restoring.module(*module),
            Line::All(purged) => restoring.all(purged),
            Line::Key(key) => keys.restore(key),
        }
        line.clear();
    }
    let parts = chain.zip(restoring.done(bound));
    let (chain, projector) = parts.ok_or_else(|| wrong("it is not whole"))?;
    Ok(Some(Snapshot { chain, projector, keys }))
}

/// The lines of a file that is what its last line says.
fn sealed(mut file: File) -> io::Result<impl BufRead> {
    let bytes = file.metadata()?.len().checked_sub(SEAL).ok_or_else(|| wrong("it is torn"))?;
    let (mut hasher, mut seal) = (blake3::Hasher::new(), String::new());
    hasher.update_reader((&mut file).take(bytes))?;
    file.read_to_string(&mut seal)?;
    if seal.trim_end() != digest_text(hasher.finalize().as_bytes()) {
        return Err(wrong("its bytes are not those that were written"));
    }
    file.rewind()?;
    Ok(BufReader::new(file.take(bytes)))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// A file, with a digest of what was written.
struct Sealing {
    file: BufWriter<File>,
    seal: blake3::Hasher,
}

impl Sealing {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.seal.update(&bytes);
        self.file.write_all(&bytes)
    }

    /// Writes the last line, and brings all to the medium.
    fn seal(mut self) -> io::Result<u64> {
        writeln!(self.file, "{}", digest_text(self.seal.finalize().as_bytes()))?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{FILE, read, write};
    use crate::ledger::{
        About, Fact, Identity, ManifestId, Projection, Projector, Purge, Record, Step,
        chain::Chain,
        keys::{Keys, Known},
    };
    use std::{fs, sync::Arc};

    fn record(key: Option<&str>) -> Record {
        let about = About {
            sites: vec!["a".into()],
            key: key.map(String::from),
            who: "w".into(),
            ..About::default()
        };
        Record::purge(Purge::Tag { tag: "t \"\n".into() }, about)
    }

    #[test]
    fn a_snapshot_comes_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut keys) = (folder.path().join(FILE), Keys::default());
        assert!(read(folder.path(), 10).unwrap().is_none());
        let mut projector = Projector::new(Arc::new(Projection::new()), 10);
        projector.apply(1, &record(Some("k")));
        keys.learn(1, &record(Some("k")));
        let manifest = ManifestId::of(b"m");
        let step = Step::Stage { module: "m".into(), release: "1".into(), manifest };
        let about = About { sites: vec!["a".into()], ..About::default() };
        projector.apply(2, &Record { fact: Fact::Release(step), about });
        let chain = Chain::new(Identity([7; 16])).with(b"x");
        let bytes = write(folder.path(), &chain, projector.projection(), &keys).unwrap();
        let written = fs::read(&path).unwrap();
        assert_eq!(bytes, written.len() as u64);

        let snapshot = read(folder.path(), 10).unwrap().unwrap();
        assert_eq!(snapshot.chain, chain);
        assert_eq!(snapshot.keys.of(&record(Some("k"))), Some(Known::Same(1)));
        assert_eq!(snapshot.projector.projection().marks("a").named(), 1);
        let module = snapshot.projector.projection().marks("a").modules().get("m").unwrap();
        assert_eq!(module, projector.projection().marks("a").modules().get("m").unwrap());
        assert_eq!(module.staged.as_ref().map(|release| release.manifest), Some(manifest));

        for at in 0..written.len() - 1 {
            let mut altered = written.clone();
            altered[at] ^= 1;
            fs::write(&path, &altered).unwrap();
            assert!(read(folder.path(), 10).is_err(), "byte {at}");
            fs::write(&path, &written[..at]).unwrap();
            assert!(read(folder.path(), 10).is_err(), "torn at {at}");
        }
    }
}
