//! What an operator's commands do to a folder, and what is left when they are interrupted.

use super::{OfflineError, OfflineFolder};
use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// A folder with what a store has in it, as files of which only the names matter.
fn store(at: &Path) {
    for folder in ["segments", "index/keyspaces/0"] {
        fs::create_dir_all(at.join(folder)).unwrap();
    }
    for (name, bytes) in [
        ("format", "lectern-disk 1\n".to_owned()),
        ("lock", String::new()),
        ("filter", "f".repeat(10)),
        ("segments/1.seg", "1".repeat(9 << 20)),
        ("segments/2.seg", String::new()),
        ("index/version", "v".into()),
        ("index/keyspaces/0/table", "t".repeat(100_000)),
    ] {
        fs::write(at.join(name), bytes).unwrap();
    }
    fs::set_permissions(at.join("segments/1.seg"), fs::Permissions::from_mode(0o640)).unwrap();
}

/// All that is in a folder: names with the bytes of files, in order.
fn tree(at: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut open = vec![at.to_owned()];
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(folder).unwrap().map(|found| found.unwrap().path()) {
            let name = path.strip_prefix(at).unwrap().to_owned();
            if path.is_dir() {
                found.push((name, None));
                open.push(path);
            } else {
                // a link that leads nowhere has no bytes
                found.push((name, Some(fs::read(path).unwrap_or_default())));
            }
        }
    }
    found.sort();
    found
}

fn hold(at: &Path) -> OfflineFolder {
    OfflineFolder::hold(at).unwrap()
}

fn refusal<T>(result: Result<T, OfflineError>) -> String {
    result.err().map(|error| error.to_string()).unwrap()
}

#[test]
fn only_a_store_is_held_and_only_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("a");
    assert!(refusal(OfflineFolder::hold(&at)).contains("there is no disk tier in"));
    fs::create_dir(&at).unwrap();
    fs::write(at.join("format"), "a poem\n").unwrap();
    assert!(refusal(OfflineFolder::hold(&at)).contains("there is no disk tier in"));
    assert_eq!(tree(&at).len(), 1, "nothing is made where no store is");
    store(&at);
    let held = hold(&at);
    assert!(refusal(OfflineFolder::hold(&at)).contains("in use by a node or another command"));
    drop(held);
    hold(&at);
}

#[test]
fn of_another_format_or_user_is_left_alone_with_a_word_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    store(at);
    let user = fs::metadata(at).unwrap().uid();
    assert!(hold(at).may_open(user).is_ok());
    assert!(refusal(hold(at).may_open(user + 1)).contains(&format!("number {user}: run this as that user")));
    let says = |format: &str| {
        fs::write(at.join("format"), format).unwrap();
        refusal(hold(at).may_open(user))
    };
    assert!(
        says("lectern-disk 2\n")
            .contains("is of format 2, this program knows 1: use the version that wrote it")
    );
    for unknown in ["lectern-disk 0\n", "lectern-disk \n", "lectern-disk x", "", "\x1b[2J"] {
        let said = says(unknown);
        assert!(said.contains("empty it with `lectern store clear`") && !said.contains('\x1b'), "{said}");
    }
    fs::remove_file(at.join("format")).unwrap();
    assert!(refusal(hold(at).may_open(user)).contains("`lectern store clear`"));
    let (to, before) = (dir.path().with_extension("moved"), tree(at));
    assert!(refusal(hold(at).move_to(&to, &mut |_, _| {})).contains("`lectern store clear`"));
    assert!(!to.exists() && tree(at) == before);
}

#[test]
fn clearing_leaves_an_empty_folder_whatever_its_format() {
    for format in ["lectern-disk 1\n", "lectern-disk 99\n", "lectern-disk 0", "?"] {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        store(at);
        fs::write(at.join("format"), format).unwrap();
        // an earlier one was interrupted
        fs::create_dir_all(at.join("index.gone/keyspaces")).unwrap();
        hold(at).clear().unwrap();
        assert_eq!(tree(at), [("lock".into(), Some(Vec::new()))], "{format}");
        assert!(OfflineFolder::hold(at).is_err(), "there is no store any more");
    }
}

#[test]
fn a_move_takes_everything_along_and_gives_the_lock_up() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    for way in ["renamed", "renamed over an empty folder", "copied", "copied over an empty folder"] {
        store(&from);
        let before = tree(&from);
        if way.ends_with("folder") {
            fs::create_dir(&to).unwrap();
        }
        let mut told = Vec::new();
        let mut progress = |done, of| told.push((done, of));
        if way.starts_with("renamed") {
            assert_eq!(hold(&from).move_to(&to, &mut progress).unwrap(), fs::canonicalize(&to).unwrap());
        } else {
            hold(&from).copy_to(&to, &mut progress).unwrap();
            let bytes = (9 << 20) + 100_000 + 1 + 10 + 15;
            assert_eq!((told.first(), told.last()), (Some(&(0, bytes)), Some(&(bytes, bytes))), "{way}");
            assert!(told.windows(2).all(|two| two[0].0 < two[1].0), "{way}: {told:?}");
        }
        assert!(!from.exists() && tree(&to) == before, "{way}");
        let mode = fs::metadata(to.join("segments/1.seg")).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o640, "{way}");
        drop(hold(&to));
        fs::remove_dir_all(&to).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{way}: nothing is left behind");
    }
}

#[test]
fn an_interrupted_move_loses_nothing_and_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    store(&from);
    let before = tree(&from);
    for after in 0..4 {
        let mut left = after;
        let mut interrupt = |_, _| {
            assert!(left > 0, "interrupted, as it is to be");
            left -= 1;
        };
        let held = hold(&from);
        assert!(catch_unwind(AssertUnwindSafe(|| held.copy_to(&to, &mut interrupt))).is_err());
        drop(held);
        assert!(tree(&from) == before && !to.exists(), "after {after}");
    }
    assert!(dir.path().join("to.partial").is_dir());
    hold(&from).copy_to(&to, &mut |_, _| {}).unwrap();
    assert!(!from.exists() && tree(&to) == before);
    assert!(!dir.path().join("to.partial").exists());
}

#[test]
fn a_move_takes_no_place_of_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let from = at("from");
    store(&from);
    fs::create_dir_all(at("full/of")).unwrap();
    File::create(at("file")).unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
    fs::create_dir_all(at("to.partial/thesis")).unwrap();
    let before = tree(dir.path());
    for (to, says) in [
        (at("full"), "no empty folder"),
        (at("file"), "no empty folder"),
        (at("link"), "no empty folder"),
        (from.clone(), "no empty folder"),
        (from.join("inner"), "within the folder itself"),
        (from.join("segments/inner"), "within the folder itself"),
        ("/".into(), "no place"),
        ("/proc".into(), "no empty folder"),
        (at("absent/to"), "No such file"),
    ] {
        let said = refusal(hold(&from).move_to(&to, &mut |_, _| {}));
        assert!(said.contains(says), "{}: {said}", to.display());
    }
    assert!(refusal(hold(&from).copy_to(&at("to"), &mut |_, _| {})).contains("move it away"));
    assert_eq!(tree(dir.path()), before);
}
