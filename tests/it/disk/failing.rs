//! Files, folders and media that go bad: what they held is missing, and nobody's request fails for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{End, again, committed, count, damage, files, folder, segments, store, tiers};
use crate::support::{
    answer::Answer, client::Client, deadline::eventually, edge::Edge, film::Film, origin::Origin,
};

/// So many bodies of three quarters of a chunk, and of some chunks.
const BODIES: u64 = 24;

fn body(n: u64) -> Film {
    Film::new(n + 1, if n.is_multiple_of(2) { 200_000 } else { 800_000 })
}

fn bodies(origin: &Origin) {
    origin.on_call("/d/*", |seen, _| body(seen.path()[3..].parse().unwrap()).answer());
}

/// Asks for all of them; each is right, wherever it comes from. Tells how many requests the origin saw.
async fn all(edge: &Edge, origin: &Origin) -> u64 {
    let before = origin.requests().len();
    let mut client = edge.client().await;
    for n in 0..BODIES {
        client.get(&format!("/d/{n}")).await.expect_body(200, body(n).bytes(0, body(n).length));
    }
    (origin.requests().len() - before) as u64
}

/// An edge that has all of them on disk only, in these folders.
async fn kept(origin: &Origin, folders: &[&str]) -> Edge {
    bodies(origin);
    let folders: String = folders.iter().map(|name| folder(name, "128MiB")).collect();
    let mut edge = Edge::before(origin, &(tiers("2MiB") + &folders)).await;
    assert_eq!(all(&edge, origin).await, BODIES);
    edge.settled().await;
    again(&mut edge, End::Stopped).await;
    edge
}

/// How a folder stands: `reads` or `writes`.
async fn is_up(edge: &Edge, folder: &str, what: &str) -> bool {
    let labels = [format!("{folder}\","), format!("what=\"{what}\"")];
    edge.metric("lectern_disk_up", &[&labels[0], &labels[1]]).await == 1.0
}

async fn healthy(edge: &Edge) {
    assert_eq!(edge.metric("lectern_requests_failed_total", &[]).await, 0.0);
    edge.control("GET", "/healthz", "").await.expect(200);
    edge.control("GET", "/readyz", "").await.expect(200);
}

#[tokio::test]
async fn a_flipped_bit_is_a_missing_chunk() {
    let origin = Origin::start().await;
    let mut edge = kept(&origin, &["store"]).await;
    edge.stop().await;
    let bad = [3, 4, 11];
    for n in bad {
        assert_eq!(damage(&edge.path("store"), &body(n).bytes(0, 200_000)), 1);
    }
    edge.start_again().await;
    assert_eq!(all(&edge, &origin).await, 3);
    assert_eq!(count(&edge, "lectern_disk_verify_failures_total").await, 3);
    healthy(&edge).await;
    again(&mut edge, End::Stopped).await;
    assert_eq!(all(&edge, &origin).await, 0, "it is healed");
}

#[tokio::test]
async fn each_byte_of_a_segment_may_be_wrong_and_nothing_wrong_is_served() {
    let origin = Origin::start().await;
    let mut edge = kept(&origin, &["store"]).await;
    // Headers and bytes of frames alike, in another place each time.
    for round in 0..4 {
        edge.stop().await;
        for path in segments(&edge.path("store")) {
            let mut content = fs::read(&path).unwrap();
            let mut at = 7 * round;
            while at < content.len() {
                content[at] ^= 1 << round;
                at += 150_001;
            }
            fs::write(&path, content).unwrap();
        }
        edge.start_again().await;
        all(&edge, &origin).await;
        healthy(&edge).await;
    }
}

#[tokio::test]
async fn segments_deleted_or_cut_short_while_it_runs_fail_nobody() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 3] = [
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("emptied", |path| fs::write(path, "").unwrap()),
        ("halved", |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let origin = Origin::start().await;
        let mut edge = kept(&origin, &["store"]).await;
        for path in segments(&edge.path("store")) {
            harm(&path);
        }
        all(&edge, &origin).await;
        healthy(&edge).await;
        // It goes on to keep what comes.
        all(&edge, &origin).await;
        again(&mut edge, End::Stopped).await;
        let asked = all(&edge, &origin).await;
        assert!(asked <= BODIES, "{name}: {asked}");
        again(&mut edge, End::Stopped).await;
        assert_eq!(all(&edge, &origin).await, 0, "{name}");
        healthy(&edge).await;
    }
}

#[tokio::test]
async fn a_folder_removed_while_it_runs_fails_nobody_and_the_next_start_makes_it_anew() {
    let origin = Origin::start().await;
    let mut edge = kept(&origin, &["store"]).await;
    // At once: while it is taken away file by file the edge makes others in it.
    fs::rename(edge.path("store"), edge.path("gone")).unwrap();
    fs::remove_dir_all(edge.path("gone")).unwrap();
    for _ in 0..3 {
        all(&edge, &origin).await;
        healthy(&edge).await;
    }
    edge.stop().await;
    fs::remove_dir_all(edge.path("store")).unwrap_or_default();
    edge.start_again().await;
    assert_eq!(all(&edge, &origin).await, BODIES);
    again(&mut edge, End::Stopped).await;
    assert_eq!(all(&edge, &origin).await, 0);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_off_and_told_of_and_comes_when_it_can() {
    let origin = Origin::start().await;
    bodies(&origin);
    let mut edge = Edge::before(&origin, &(tiers("2MiB") + &folder("store", "128MiB"))).await;
    edge.stop().await;
    fs::remove_dir_all(edge.path("store")).unwrap();
    fs::write(edge.path("store"), "a file").unwrap();
    edge.start_again().await;
    assert!(!is_up(&edge, "store", "writes").await && !is_up(&edge, "store", "reads").await);
    all(&edge, &origin).await;
    healthy(&edge).await;
    let ready = edge.control("GET", "/readyz", "").await.expect(200).text();
    assert!(ready.contains("store"), "{ready}");
    let said = edge.said().iter().filter(|line| line.contains("the disk folder")).count();
    assert!((1..=2).contains(&said), "{:#?}", edge.said());
    fs::remove_file(edge.path("store")).unwrap();
    eventually("a folder that is on", async || is_up(&edge, "store", "writes").await).await;
    for _ in 0..2 {
        // What memory held meanwhile is not on disk yet.
        all(&edge, &origin).await;
        again(&mut edge, End::Stopped).await;
    }
    assert_eq!(all(&edge, &origin).await, 0);
}

/// Overwrites the files below a folder with what is no database.
fn ruin(folder: &Path) {
    let files = files(folder);
    assert!(!files.is_empty(), "{folder:?}");
    for path in files {
        let length = fs::metadata(&path).unwrap().len().clamp(64, 1 << 20);
        fs::write(&path, vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
    }
}

#[tokio::test]
async fn a_ruined_index_costs_its_own_folder_and_the_start_does_not_fail() {
    let origin = Origin::start().await;
    let mut edge = kept(&origin, &["one", "two"]).await;
    edge.stop().await;
    assert!(!segments(&edge.path("one")).is_empty() && !segments(&edge.path("two")).is_empty());
    ruin(&edge.path("one/index"));
    edge.start_again().await;
    let asked = all(&edge, &origin).await;
    assert!(asked > 0 && asked < BODIES, "{asked}: the other folder serves");
    healthy(&edge).await;
    assert!(is_up(&edge, "two", "writes").await && is_up(&edge, "two", "reads").await);
    let helps = format!("lectern store clear --folder {} --yes", edge.path("one").display());
    let said = edge.said().iter().filter(|line| line.contains("ERROR") && line.contains(&helps)).count();
    assert_eq!(said, 1, "{:#?}", edge.said());
    again(&mut edge, End::Stopped).await;
    let asked_again = all(&edge, &origin).await;
    assert!(asked_again <= asked, "{asked_again} after {asked}");
    healthy(&edge).await;
}

#[tokio::test]
async fn each_file_of_an_index_may_be_cut_short_or_changed_and_the_node_starts_and_serves_right() {
    let origin = Origin::start().await;
    let mut edge = kept(&origin, &["store"]).await;
    edge.stop().await;
    let (whole, index) = (edge.path("whole"), edge.path("store"));
    copy(&index, &whole);
    let inside = files(&whole.join("index"));
    let mut names: Vec<_> = inside.iter().map(|path| path.strip_prefix(&whole).unwrap()).collect();
    if std::env::var_os("LECTERN_SOAK").is_none() {
        // One of each kind.
        let kind = |name: &&Path| name.to_str().unwrap().replace(|c: char| c.is_ascii_digit(), "");
        names.sort_by_key(kind);
        names.dedup_by_key(|name| kind(name));
    }
    for (n, name) in names.iter().enumerate() {
        fs::remove_dir_all(&index).unwrap();
        copy(&whole, &index);
        let mut content = fs::read(index.join(name)).unwrap();
        let middle = content.len() / 2;
        match n % 3 {
            0 => content.truncate(middle),
            1 => content.iter_mut().skip(middle).take(64).for_each(|byte| *byte ^= 0x55),
            _ => content.clear(),
        }
        fs::write(index.join(name), content).unwrap();
        edge.start_again().await;
        all(&edge, &origin).await;
        healthy(&edge).await;
        edge.kill().await;
    }
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let to = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&path, to).unwrap();
    }
}

/// A small file system of its own; gone when dropped. `None` where mounting is not allowed.
struct Mount(PathBuf);

impl Mount {
    fn new(at: PathBuf, options: &str) -> Option<Mount> {
        fs::create_dir_all(&at).unwrap();
        let mounted = run("mount", &["-t", "tmpfs", "-o", options, "lectern-test", at.to_str().unwrap()]);
        if !mounted {
            eprintln!("skipped: mounting is not allowed here");
        }
        mounted.then_some(Mount(at))
    }

    fn remount(&self, options: &str) -> bool {
        run("mount", &["-o", &format!("remount,{options}"), self.0.to_str().unwrap()])
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|done| done.status.success())
}

#[tokio::test]
async fn g10_a_full_file_system_is_a_reason_not_to_keep_and_never_not_to_serve() {
    let origin = Origin::start().await;
    bodies(&origin);
    let mount = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mount::new(mount.path().join("small"), "size=12m") else { return };
    // Told more than there is.
    let path = mount.path().join("small/store");
    let mut edge = Edge::before(&origin, &(tiers("2MiB") + &folder(path.to_str().unwrap(), "64MiB"))).await;
    for round in 0..3 {
        all(&edge, &origin).await;
        healthy(&edge).await;
        assert!(edge.said().len() < 40, "{round}: {:#?}", edge.said());
    }
    // Something else filled it; once that is gone the folder is used again.
    let other = mount.path().join("small/other");
    fs::write(&other, vec![1; 8 << 20]).unwrap_or_default();
    all(&edge, &origin).await;
    fs::remove_file(&other).unwrap_or_default();
    let what = ["what=\"writes\""];
    eventually("writes that are on", async || edge.metric("lectern_disk_up", &what).await == 1.0).await;
    origin.on("/after", Answer::storable("after"));
    edge.get("/after").await.expect_body(200, "after");
    again(&mut edge, End::Stopped).await;
    edge.get("/after").await.expect_body(200, "after");
    assert_eq!(origin.hits("/after"), 1);
    healthy(&edge).await;
}

#[tokio::test]
async fn a_read_only_file_system_is_read_on_and_written_again_when_it_can_be() {
    let origin = Origin::start().await;
    bodies(&origin);
    let mount = tempfile::tempdir().unwrap();
    let Some(mounted) = Mount::new(mount.path().join("disk"), "size=200m") else { return };
    let path = mount.path().join("disk/store");
    let name = path.to_str().unwrap();
    let mut edge = Edge::before(&origin, &(tiers("2MiB") + &folder(name, "64MiB"))).await;
    all(&edge, &origin).await;
    committed(&edge, BODIES).await;
    // Held open for writing it cannot be made so: it is while the node is down.
    edge.stop().await;
    if !mounted.remount("ro") {
        return println!("skipped: remounting is not allowed here");
    }
    edge.start_again().await;
    origin.on("/new", Answer::storable("new"));
    for _ in 0..2 {
        all(&edge, &origin).await;
        edge.get("/new").await.expect_body(200, "new");
        healthy(&edge).await;
        assert!(!is_up(&edge, name, "writes").await);
    }
    assert!(mounted.remount("rw"));
    eventually("writes that are on", async || is_up(&edge, name, "writes").await).await;
    edge.purge("http://lms-a.example/new").await;
    edge.get("/new").await.expect_body(200, "new");
    committed(&edge, BODIES + 1).await;
    again(&mut edge, End::Stopped).await;
    let asked = origin.requests().len();
    edge.get("/new").await.expect_body(200, "new");
    assert_eq!(all(&edge, &origin).await, 0);
    assert_eq!(origin.requests().len(), asked);
}

#[tokio::test]
async fn of_two_folders_one_that_fails_loses_its_own_and_the_other_goes_on() {
    let origin = Origin::start().await;
    bodies(&origin);
    let mount = tempfile::tempdir().unwrap();
    let Some(mounted) = Mount::new(mount.path().join("disk"), "size=200m") else { return };
    let one = mount.path().join("disk/one");
    let folders = folder(one.to_str().unwrap(), "64MiB") + &folder("two", "64MiB");
    let mut edge = Edge::before(&origin, &(tiers("2MiB") + &folders)).await;
    all(&edge, &origin).await;
    again(&mut edge, End::Stopped).await;
    assert_eq!(all(&edge, &origin).await, 0);
    edge.stop().await;
    // The medium is not there any more.
    drop(mounted);
    fs::remove_dir_all(mount.path().join("disk")).unwrap_or_default();
    fs::write(mount.path().join("disk"), "").unwrap();
    edge.start_again().await;
    let asked = all(&edge, &origin).await;
    assert!(asked > 0 && asked < BODIES, "{asked}");
    healthy(&edge).await;
    assert!(is_up(&edge, "two", "writes").await);
    let ready = edge.control("GET", "/readyz", "").await.expect(200).text();
    assert!(ready.contains("one"), "{ready}");
}

/// A second process with ports and a ledger of its own, on folders of an edge: how it ends and what it says.
async fn second(edge: &Edge, origin: &Origin) -> (Option<i32>, String) {
    let config = format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n\
         [ledger]\nfolder = \"second-ledger\"\n[control]\naddress = \"127.0.0.1:0\"\n[[disk.folder]]\n\
         path = \"store\"\nlimit = \"64MiB\"\n",
        origin.addr()
    );
    fs::write(edge.path("second.toml"), config).unwrap();
    let done = crate::support::deadline::within(
        "end of a start that is refused",
        edge.run(&["serve", "--config", "second.toml"]),
    )
    .await;
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

/// It did not start, and one line says why and names the folder.
#[track_caller]
fn refused((code, said): (Option<i32>, String), why: &str) {
    assert!(code.is_some_and(|code| code != 0), "{code:?}: {said}");
    let lines: Vec<_> = said.lines().filter(|line| line.contains("store")).collect();
    assert!(lines.len() == 1 && lines[0].contains(why), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn a_folder_that_another_process_holds_refuses_the_start_in_one_line() {
    let origin = Origin::start().await;
    let mut edge = kept(&origin, &["store"]).await;
    refused(second(&edge, &origin).await, "another process");
    assert_eq!(all(&edge, &origin).await, 0, "and nothing has happened to what is there");
    healthy(&edge).await;
    // A process that was killed holds nothing.
    again(&mut edge, End::Killed(BODIES)).await;
    assert_eq!(all(&edge, &origin).await, 0);
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let origin = Origin::start().await;
    let mut edge = kept(&origin, &["store"]).await;
    edge.stop().await;
    let format = edge.path("store/format");
    let told = fs::read_to_string(&format).unwrap();
    assert_eq!(told, "lectern-disk 1\n");
    fs::write(&format, "lectern-disk 2\n").unwrap();
    let before = files(&edge.path("store")).len();
    refused(second(&edge, &origin).await, "format");
    assert_eq!(fs::read_to_string(&format).unwrap(), "lectern-disk 2\n");
    assert_eq!(files(&edge.path("store")).len(), before);
    fs::write(&format, told).unwrap();
    edge.start_again().await;
    assert_eq!(all(&edge, &origin).await, 0);
}

#[tokio::test]
async fn a_poisoned_ledger_refuses_purges_while_what_lies_on_disk_serves() {
    let origin = Origin::start().await;
    let edge = kept(&origin, &["store"]).await;
    fs::rename(edge.path("ledger"), edge.path("elsewhere")).unwrap();
    let site = r#"{"kind":"site","site":"lms","reason":"test"}"#;
    edge.control("POST", "/v1/purges", site).await.expect(503);
    let ready = edge.control("GET", "/readyz", "").await.expect(503).text();
    assert!(ready.contains("ledger"), "{ready}");
    assert_eq!(all(&edge, &origin).await, 0, "it serves from disk");
    let mut client: Client = edge.client().await;
    client.get("/d/1000").await.expect(200);
    assert_eq!(edge.metric("lectern_requests_failed_total", &[]).await, 0.0);
}

#[tokio::test]
async fn folders_are_checked_with_the_rest_of_the_configuration() {
    let origin = Origin::start().await;
    let edge = Edge::before(&origin, "").await;
    let config = fs::read_to_string(edge.path("lectern.toml")).unwrap();
    let rows = [
        (store("2MiB", "1KiB"), "limit"),
        (tiers("2MiB") + "[[disk.folder]]\nlimit = \"64MiB\"\n", "path"),
        (tiers("2MiB") + "[[disk.folder]]\npath = \"a\"\n", "limit"),
        (store("2MiB", "64MiB") + &folder("store", "64MiB"), "path"),
        (store("2MiB", "64MiB") + "colour = 1\n", "colour"),
    ];
    for (more, key) in rows {
        fs::write(edge.path("wrong.toml"), format!("{config}\n{more}")).unwrap();
        let done = edge.command(&["check", "--config", "wrong.toml"]);
        let said =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(
            !done.status.success() && said.contains("disk.folder") && said.contains(key),
            "{more}: {said}"
        );
    }
}
