//! The fuzz targets' corpus, replayed: what a fuzzer found once stays found, without a fuzzer.

#[expect(unreachable_pub, reason = "public for the crate in fuzz/, whose file it is")]
#[path = "../../fuzz/src/lib.rs"]
mod claims;

use std::{collections::BTreeSet, ffi::OsStr, fs, panic, path::Path, path::PathBuf};

/// Fewer files are no corpus: the seeds alone are more.
const FEWEST: usize = 8;

#[test]
fn every_claim_holds_for_its_corpus() {
    let mut broken = Vec::new();
    for (target, claim) in claims::TARGETS {
        let corpus = files(&Path::new("corpus").join(target));
        assert!(corpus.len() >= FEWEST, "{target}: {} files are no corpus", corpus.len());
        for file in corpus {
            let bytes = fs::read(&file).unwrap();
            if panic::catch_unwind(|| claim(&bytes)).is_err() {
                broken.push(file);
            }
        }
    }
    assert!(broken.is_empty(), "see above for why: {broken:#?}");
}

#[test]
fn every_fuzz_target_is_replayed() {
    let replayed: BTreeSet<_> =
        claims::TARGETS.iter().map(|(target, _)| OsStr::new(target).to_owned()).collect();
    let stems = |folder: &str| -> BTreeSet<_> {
        files(Path::new(folder)).iter().filter_map(|file| file.file_stem().map(OsStr::to_owned)).collect()
    };
    assert_eq!(stems("fuzz_targets"), replayed);
    assert_eq!(stems("corpus"), replayed);
}

/// What stands in a folder under `fuzz/`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}
