//! A medium that fails: the library of `tests/faults` before the libc of the edge. What it does and how it is told stands in
//! `tests/faults/faults.c`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::deadline::eventually;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/faults.c");
const CONTROL: &str = "medium.control";
/// The folder that is on it, within the edge's.
pub(crate) const FOLDER: &str = "disk";

const CONTROL_BYTES: usize = 8192;
const TEXT_BYTES: usize = 448;
/// Place of the order's text, and of the table of calls: a name of 24 bytes, how often seen, how often refused.
const TEXT: usize = 72;
const CALLS: usize = TEXT + TEXT_BYTES;
const CALL_BYTES: usize = 40;

/// The medium below [`FOLDER`] of an edge.
pub(crate) struct Medium {
    control: File,
    orders: AtomicU32,
}

impl Medium {
    /// Prepares the folder of an edge that is not started yet.
    pub(crate) fn below(folder: &Path) -> Medium {
        fs::create_dir(folder.join(FOLDER)).unwrap();
        let control =
            File::options().read(true).write(true).create_new(true).open(folder.join(CONTROL)).unwrap();
        control.write_all_at(&[0; CONTROL_BYTES], 0).unwrap();
        Medium { control, orders: AtomicU32::new(0) }
    }

    /// What the process of an edge in this folder must be started with; nothing where no medium was prepared.
    pub(crate) fn environment(folder: &Path) -> Vec<(&'static str, PathBuf)> {
        let control = folder.join(CONTROL);
        if !control.exists() {
            return Vec::new();
        }
        let under = folder.join(FOLDER);
        vec![
            ("LD_PRELOAD", library().to_owned()),
            ("LECTERN_FAULTS_UNDER", under),
            ("LECTERN_FAULTS_CONTROL", control),
        ]
    }

    /// Gives an order; it is in force when this returns.
    pub(crate) async fn order(&self, text: &str) {
        let number = self.orders.fetch_add(1, Ordering::Relaxed) + 1;
        let mut padded = [0; TEXT_BYTES];
        padded[..text.len()].copy_from_slice(text.as_bytes());
        self.control.write_all_at(&padded, TEXT as u64).unwrap();
        self.control.write_all_at(&number.to_le_bytes(), 0).unwrap();
        let heard = || self.state()[4..8] == number.to_le_bytes();
        eventually(format!("the medium obeys {text:?}"), async || heard()).await;
    }

    /// How many calls were refused.
    pub(crate) fn refused(&self) -> u64 {
        let of = |call: &[u8]| u64::from_le_bytes(call[32..40].try_into().unwrap());
        self.state()[CALLS..].chunks_exact(CALL_BYTES).map(of).sum()
    }

    fn state(&self) -> Vec<u8> {
        let mut bytes = vec![0; CONTROL_BYTES];
        self.control.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }
}

/// The library, compiled once for all tests.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (made, library) =
            (place.join(format!("libfaults.{}", std::process::id())), place.join("libfaults.so"));
        let done = Command::new("cc")
            .args(["-std=gnu11", "-O2", "-shared", "-fPIC", "-pthread", "-U_FORTIFY_SOURCE", "-o"])
            .args([made.as_os_str(), SOURCE.as_ref()])
            .status();
        assert!(done.unwrap().success(), "cc cannot compile {SOURCE}");
        fs::rename(&made, &library).unwrap();
        library
    })
}
