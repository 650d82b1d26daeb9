//! Manifests on the medium, each a file named by its digest, and those that are used, in memory.

use super::Manifest;
use crate::ledger::{ManifestId, make_folder};
use arc_swap::ArcSwap;
use hashbrown::HashMap;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The manifests of this node.
pub struct Manifests {
    folder: PathBuf,
    /// What was looked for: none that is not to be had.
    known: ArcSwap<HashMap<ManifestId, Option<Arc<Manifest>>>>,
}

impl Manifests {
    /// Those in the folder of this ledger.
    pub fn beside(ledger: &Path) -> Manifests {
        Manifests { folder: ledger.join("manifests"), known: ArcSwap::default() }
    }

    /// The manifest of this name. Read once, where no request comes before; one that is lost is told once, and what it lists is then
    /// of no release.
    pub fn get(&self, id: ManifestId) -> Option<Arc<Manifest>> {
        if let Some(known) = self.known.load().get(&id) {
            return known.clone();
        }
        let path = self.path(id);
        let read = fs::read(&path).map(|bytes| Manifest::read(&bytes, id).map(Arc::new));
        if !matches!(read, Ok(Some(_))) {
            let error = read.as_ref().err().map(ToString::to_string);
            tracing::error!(path = %path.display(), error, "the manifest of a release is lost or altered");
        }
        let manifest = read.ok().flatten();
        self.learn(id, manifest.clone());
        manifest
    }

    /// Brings a manifest to the medium, with its name; only then may a record name it. Blocks.
    ///
    /// # Errors
    /// The medium takes it not.
    pub fn keep(&self, manifest: Manifest, bytes: &[u8]) -> io::Result<Arc<Manifest>> {
        make_folder(&self.folder)?;
        let (path, id) = (self.path(manifest.id), manifest.id);
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(&self.folder)?.sync_all()?;
        let manifest = Arc::new(manifest);
        self.learn(id, Some(manifest.clone()));
        Ok(manifest)
    }

    /// Lets go of what is not named any more. The files stay: the ledger names them.
    pub fn retain(&self, named: impl Fn(&ManifestId) -> bool) {
        self.known.rcu(|known| {
            let stays = known.iter().filter(|(id, _)| named(id));
            stays.map(|(id, manifest)| (*id, manifest.clone())).collect::<HashMap<_, _>>()
        });
    }

    fn learn(&self, id: ManifestId, manifest: Option<Arc<Manifest>>) {
        self.known.rcu(|known| {
            let mut more = HashMap::clone(known);
            more.insert(id, manifest.clone());
            more
        });
    }

    fn path(&self, id: ManifestId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}
