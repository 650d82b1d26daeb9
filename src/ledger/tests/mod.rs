//! The ledger as a whole: what is acknowledged survives, what was altered is named, what fails is refused.

mod snapshots;

use super::{About, Flaw, Identity, Ledger, LedgerError, LedgerSettings, Number, Purge, Record, Subject};
use crate::{clock, http_caching::Tags, telemetry::Metrics};
use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

const DEADLINE: Duration = Duration::from_secs(20);

fn open(folder: &Path) -> Result<Arc<Ledger>, LedgerError> {
    open_with(folder, 1000, &Metrics::new())
}

fn open_with(folder: &Path, url_entries: usize, metrics: &Metrics) -> Result<Arc<Ledger>, LedgerError> {
    Ledger::open(&LedgerSettings { folder: folder.into(), url_entries, ..LedgerSettings::default() }, metrics)
}

fn of(sites: &[&str], purge: Purge) -> Record {
    let sites = sites.iter().map(|site| site.to_string()).collect();
    Record::purge(purge, About { sites, who: "test".into(), when: 1, ..About::default() })
}

fn url(site: &str, path: &str, query: Option<&str>) -> Record {
    of(&[site], Purge::Url { path: path.into(), query: query.map(String::from) })
}

fn site(sites: &[&str]) -> Record {
    of(sites, Purge::Site {})
}

fn subject<'a>(path: &'a str, query: Option<&'a str>) -> Subject<'a> {
    Subject { path, query, tags: Tags::NONE, came: std::time::UNIX_EPOCH }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The ledger's database, opened behind its back.
fn tamper(folder: &Path, change: impl FnOnce(&fjall::Keyspace)) {
    let database = fjall::Database::builder(folder.join("records")).open().unwrap();
    change(&database.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap());
    database.persist(fjall::PersistMode::SyncAll).unwrap();
}

#[tokio::test]
async fn an_acknowledged_purge_is_in_force_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let ledger = open_with(dir.path(), 1000, &metrics).unwrap();
    let born = ledger.last();
    assert_eq!(born.n, 0);
    let marks = ledger.marks("lms");
    assert!(!ledger.outdated(&marks, &subject("/a", None), born));
    let receipt = ledger.append(url("lms", "/a", None)).await.unwrap();
    assert_eq!(receipt.number, Number { identity: born.identity, n: 1 });
    assert_eq!((ledger.last(), metrics.ledger_number.get()), (receipt.number, 1));
    assert!(ledger.outdated(&marks, &subject("/a", Some("any")), born), "an answer from before");
    assert!(!ledger.outdated(&marks, &subject("/a", None), ledger.last()), "an answer from after");
    assert!(!ledger.outdated(&marks, &subject("/b", None), born));
    drop(ledger);

    let ledger = open(dir.path()).unwrap();
    let marks = ledger.marks("lms");
    assert_eq!(ledger.last(), receipt.number);
    assert!(ledger.outdated(&marks, &subject("/a", None), born));
    assert_eq!(ledger.append(site(&["lms", "other"])).await.unwrap().number.n, 2);
    assert!(ledger.outdated(&marks, &subject("/b", None), receipt.number));
    assert!(ledger.outdated(&ledger.marks("other"), &subject("/", None), receipt.number));
    assert!(!ledger.outdated(&ledger.marks("third"), &subject("/", None), born));
}

#[tokio::test]
async fn what_another_ledger_or_a_lost_number_vouches_for_is_outdated() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).unwrap();
    let (marks, last) = (ledger.marks("lms"), ledger.last());
    assert!(ledger.outdated(&marks, &subject("/", None), Number { n: last.n + 1, ..last }));
    assert!(ledger.outdated(&marks, &subject("/", None), Number { identity: Identity([0; 16]), ..last }));
    let other = tempfile::tempdir().unwrap();
    assert_ne!(open(other.path()).unwrap().last().identity, last.identity);
}

#[tokio::test]
async fn one_process_holds_the_ledger_until_it_closes() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(LedgerError::Held(_))));
    ledger.close();
    assert!(!ledger.ready());
    assert!(matches!(ledger.append(site(&["lms"])).await, Err(LedgerError::Closed)));
    open(dir.path()).unwrap();
}

#[tokio::test]
async fn what_is_given_up_another_takes_at_once_and_what_it_wrote_is_in_force_when_it_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).unwrap();
    let marks = ledger.marks("lms");
    let born = ledger.last();
    // What was asked before is written first.
    let (first, given_up) = tokio::join!(ledger.append(url("lms", "/first", None)), ledger.give_up());
    assert_eq!(first.unwrap().number.n, 1);
    given_up.unwrap();
    assert!(matches!(ledger.append(site(&["lms"])).await, Err(LedgerError::HandedOver)));
    assert!(!ledger.ready());
    for round in 0..5 {
        let other = open(dir.path()).unwrap();
        assert_eq!(other.last().n, 1 + round);
        other.append(url("lms", &format!("/{round}"), None)).await.unwrap();
        other.close();
        assert!(
            !ledger.outdated(&marks, &subject(&format!("/{round}"), None), born),
            "nothing is known of it yet"
        );
        ledger.take_back().unwrap();
        until_ready(&ledger).await;
        assert!(ledger.outdated(&marks, &subject(&format!("/{round}"), None), born));
        assert_eq!(ledger.last().n, 2 + round);
        ledger.give_up().await.unwrap();
    }
    // As long as another holds it nothing is taken back.
    let other = open(dir.path()).unwrap();
    ledger.take_back().unwrap();
    assert!(ledger.append(site(&["lms"])).await.is_err());
    other.close();
    until_ready(&ledger).await;
    ledger.append(site(&["lms"])).await.unwrap();
}

async fn until_ready(ledger: &Ledger) {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(5));
    while !ledger.ready() {
        look.tick().await;
    }
}

#[tokio::test]
async fn a_kill_after_any_acknowledgement_loses_nothing() {
    let (dir, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ledger = open(dir.path()).unwrap();
    let born = ledger.last();
    for n in 1..=5 {
        ledger.append(url("lms", &format!("/{n}"), None)).await.unwrap();
        let image = images.path().join(n.to_string());
        copy(dir.path(), &image); // what a kill at this instant leaves behind
        let ledger = open(&image).unwrap();
        assert_eq!(ledger.last(), Number { n, ..born });
        assert!(ledger.outdated(&ledger.marks("lms"), &subject(&format!("/{n}"), None), born));
    }
}

#[tokio::test]
async fn a_crash_while_the_ledger_is_made_leaves_none() {
    let dir = tempfile::tempdir().unwrap();
    let half = dir.path().join("records.new");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("0.jnl"), "half").unwrap();
    assert_eq!(open(dir.path()).unwrap().last().n, 0);
    assert!(!half.exists());
}

#[tokio::test]
async fn an_altered_missing_or_torn_record_is_named() {
    let dir = tempfile::tempdir().unwrap();
    {
        let ledger = open(dir.path()).unwrap();
        for n in 1..=5 {
            ledger.append(url("lms", &format!("/{n}"), None)).await.unwrap();
        }
    }
    let key = |n: u64| n.to_be_bytes();
    type Change<'a> = &'a dyn Fn(&fjall::Keyspace);
    let table: [(&str, Change<'_>, u64, Flaw); 5] = [
        (
            "one byte of the third",
            &|records| {
                let mut value = records.get(key(3)).unwrap().unwrap().to_vec();
                *value.last_mut().unwrap() ^= 1;
                records.insert(key(3), value).unwrap();
            },
            3,
            Flaw::Altered,
        ),
        (
            "the second in the place of the fourth",
            &|records| records.insert(key(4), records.get(key(2)).unwrap().unwrap()).unwrap(),
            4,
            Flaw::Altered,
        ),
        ("the second taken out", &|records| records.remove(key(2)).unwrap(), 2, Flaw::Missing),
        ("half of the last", &|records| records.insert(key(5), [1; 20]).unwrap(), 5, Flaw::Torn),
        ("a later form", &|records| records.insert(key(1), [9; 60]).unwrap(), 1, Flaw::Unknown),
    ];
    for (name, change, number, flaw) in table {
        let image = tempfile::tempdir().unwrap();
        copy(dir.path(), image.path());
        tamper(image.path(), change);
        match open(image.path()).map(|_| ()) {
            Err(error @ LedgerError::Broken(..)) => {
                let LedgerError::Broken(n, f) = &error else { unreachable!() };
                assert_eq!((*n, *f), (number, flaw), "{name}");
                assert!(error.to_string().contains(&format!("record {number} ")), "{error}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn records_cut_off_at_the_end_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let mut sizes = Vec::new();
    {
        let ledger = open(dir.path()).unwrap();
        for n in 1..=3 {
            ledger.append(url("lms", &format!("/{n}"), None)).await.unwrap();
        }
    }
    let journal = dir.path().join("records/0.jnl");
    let bytes = std::fs::read(&journal).unwrap();
    // where the last record ends, by its text
    let end = bytes.windows(6).rposition(|window| window == b"\"from\"").unwrap();
    for cut in [end, end - 100] {
        let image = tempfile::tempdir().unwrap();
        copy(dir.path(), image.path());
        std::fs::File::options()
            .write(true)
            .open(image.path().join("records/0.jnl"))
            .and_then(|file| file.set_len(cut as u64))
            .unwrap();
        match open(image.path()).map(|_| ()) {
            Err(LedgerError::Short { found: 2, expected: 3 }) => sizes.push(cut),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
    std::fs::remove_dir_all(dir.path().join("records")).unwrap();
    assert!(matches!(open(dir.path()), Err(LedgerError::Short { found: 0, expected: 3 })));
}

#[tokio::test]
async fn a_medium_that_is_gone_refuses_purges_and_takes_them_again_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, away) = (dir.path().join("ledger"), dir.path().join("away"));
    let metrics = Metrics::new();
    let ledger = open_with(&folder, 1000, &metrics).unwrap();
    let born = ledger.append(url("lms", "/1", None)).await.unwrap().number;
    std::fs::rename(&folder, &away).unwrap();
    let error = ledger.append(url("lms", "/2", None)).await.unwrap_err();
    assert!(error.to_string().contains("was moved, deleted or replaced"), "{error}");
    assert!(!ledger.ready());
    assert_eq!((metrics.ledger_ready.get(), ledger.last()), (0, born));
    let marks = ledger.marks("lms");
    assert!(!ledger.outdated(&marks, &subject("/1", None), born), "serving goes on");
    assert!(matches!(ledger.append(url("lms", "/3", None)).await, Err(LedgerError::Refusing(_))));

    std::fs::rename(&away, &folder).unwrap();
    let deadline = clock::instant() + DEADLINE;
    while !ledger.ready() {
        assert!(clock::instant() < deadline, "{:?}", ledger.refusal());
        tokio::task::yield_now().await;
    }
    // the refused record had reached the medium: it counts now, which is too much and not too little
    assert_eq!(ledger.last().n, 2);
    assert!(ledger.outdated(&marks, &subject("/2", None), born));
    assert_eq!(ledger.append(url("lms", "/4", None)).await.unwrap().number.n, 3);
    assert_eq!(metrics.ledger_ready.get(), 1);
    drop(ledger);
    assert_eq!(open(&folder).unwrap().last().n, 3);
}

#[tokio::test]
async fn another_ledger_in_the_same_place_is_not_taken_while_the_node_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, away) = (dir.path().join("ledger"), dir.path().join("away"));
    let ledger = open(&folder).unwrap();
    ledger.append(site(&["lms"])).await.unwrap();
    std::fs::rename(&folder, &away).unwrap();
    open(&folder).unwrap();
    assert!(ledger.append(site(&["lms"])).await.is_err());
    let first = ledger.refusal().unwrap();
    let deadline = clock::instant() + DEADLINE;
    while ledger.refusal().is_some_and(|why| Arc::ptr_eq(&why, &first)) {
        assert!(clock::instant() < deadline, "never tried again");
        tokio::task::yield_now().await;
    }
    assert!(matches!(*ledger.refusal().unwrap(), LedgerError::Replaced(_)));
}

#[tokio::test]
async fn many_at_once_get_a_number_each_in_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).unwrap();
    let appends = (0..100).map(|n| ledger.append(url("lms", &format!("/{n}"), None)));
    let mut numbers: Vec<_> =
        futures_util::future::join_all(appends).await.into_iter().map(|r| r.unwrap().number.n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<u64>>());
    drop(ledger);
    assert_eq!(open(dir.path()).unwrap().last().n, 100);
}

/// A small generator, so that a failure can be run again: `SEED=… cargo test`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn seed() -> Dice {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        clock::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos() as u64 | 1
    });
    println!("SEED={seed}");
    Dice(seed)
}

/// A flipped byte anywhere in the journal: an error, or no harm done. Never a record less or another one.
#[tokio::test]
async fn a_flipped_byte_in_the_journal_never_loses_a_record_silently() {
    let mut dice = seed();
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let ledger = open(dir.path()).unwrap();
        for n in 1..=3 {
            ledger.append(url("lms", &format!("/{n}"), None)).await.unwrap();
        }
        ledger.last()
    };
    let journal = std::fs::read(dir.path().join("records/0.jnl")).unwrap();
    let used = journal.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1;
    let mut errors = 0;
    // around the length of a value fjall itself panics
    let length = journal.windows(7).position(|window| window == b"{\"kind\"").unwrap() - 33 - 8;
    let places = (0..20).map(|_| (dice.roll(used) as usize, 1 << dice.roll(8)));
    for (place, flip) in places.chain((length - 8..length + 8).map(|place| (place, 4))).collect::<Vec<_>>() {
        let image = tempfile::tempdir().unwrap();
        copy(dir.path(), image.path());
        let mut bytes = journal[..used as usize].to_vec();
        bytes[place] ^= flip;
        std::fs::write(image.path().join("records/0.jnl"), bytes).unwrap();
        match open(image.path()) {
            Ok(ledger) => assert_eq!(ledger.last(), before, "byte {place}"),
            Err(_) => errors += 1,
        }
    }
    assert!(errors > 0, "of {used} bytes");
}

/// Random purges, restarts and questions: never too little is outdated; without folding, exactly what should be.
#[tokio::test]
async fn random_purges_agree_with_a_simple_model() {
    let mut dice = seed();
    for (bound, snapshot_records) in [(1000, 1000), (1000, 7), (3, 7)] {
        let dir = tempfile::tempdir().unwrap();
        let settings = LedgerSettings {
            folder: dir.path().into(),
            url_entries: bound,
            snapshot_records,
            ..LedgerSettings::default()
        };
        let open = || Ledger::open(&settings, &Metrics::new()).unwrap();
        let mut ledger = open();
        let identity = ledger.last().identity;
        let mut urls: HashMap<(u64, u64, Option<u64>), u64> = HashMap::new();
        let mut sites: HashMap<u64, u64> = HashMap::new();
        let mut last = 0;
        for _ in 0..200 {
            let (s, p, q) = (dice.roll(3), dice.roll(5), dice.roll(3));
            let (site_name, path, query) = (format!("s{s}"), format!("/{p}"), format!("q={q}"));
            match dice.roll(10) {
                0 => {
                    last = ledger.append(site(&[&site_name])).await.unwrap().number.n;
                    sites.insert(s, last);
                }
                1..=3 => {
                    last = ledger.append(url(&site_name, &path, None)).await.unwrap().number.n;
                    urls.insert((s, p, None), last);
                }
                4..=5 => {
                    last = ledger.append(url(&site_name, &path, Some(&query))).await.unwrap().number.n;
                    urls.insert((s, p, Some(q)), last);
                }
                6 => {
                    drop(ledger);
                    ledger = open();
                }
                _ => {}
            }
            assert_eq!(ledger.last(), Number { identity, n: last });
            for _ in 0..10 {
                let (s, p, q) = (dice.roll(3), dice.roll(5), dice.roll(3));
                let n = dice.roll(last + 1);
                let highest = [urls.get(&(s, p, None)), urls.get(&(s, p, Some(q))), sites.get(&s)]
                    .into_iter()
                    .flatten()
                    .max()
                    .copied()
                    .unwrap_or(0);
                let marks = ledger.marks(&format!("s{s}"));
                let (path, query) = (format!("/{p}"), format!("q={q}"));
                let outdated = ledger.outdated(&marks, &subject(&path, Some(&query)), Number { identity, n });
                assert!(outdated || n >= highest, "too little: s{s} {path}?{query} {n} < {highest}");
                assert!(bound == 3 || outdated == (n < highest), "too much: s{s} {path}?{query} {n}");
                assert!(!outdated || n < marks.touched(), "untouched: s{s} {n}");
            }
        }
    }
}
