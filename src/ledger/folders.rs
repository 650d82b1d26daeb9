//! Folders whose names are on the medium.
//!
//! A file that was synced is gone all the same if the name of a folder above it was not: a power cut takes the folder with
//! all that is in it. Syncing a folder brings the names in it to the medium, not its own.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
};

/// Makes a folder where there is none, and those on the way to it. Their names are on the medium when this returns.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_folder(parent)?;
            fs::create_dir(folder)?;
        }
        Err(_) if folder.is_dir() => return Ok(()),
        Err(error) => return Err(error),
    }
    File::open(parent)?.sync_all()
}

/// Brings all names below a folder to the medium. fjall syncs what is in the folders it makes, not their own names.
pub(crate) fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::make_folder;
    use std::{fs, io::ErrorKind};

    #[test]
    fn folders_are_made_on_the_way_and_a_file_in_the_way_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        for _ in 0..2 {
            make_folder(&deep).unwrap();
            assert!(deep.is_dir());
        }
        fs::write(deep.join("file"), "").unwrap();
        assert_eq!(make_folder(&deep.join("file")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(make_folder(&deep.join("file/below")).is_err());
    }
}
