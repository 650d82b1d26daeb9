//! A start from a snapshot knows what one from all records does; what is wrong with a snapshot costs time and nothing else.

use super::{DEADLINE, copy, site, subject, tamper, url};
use crate::{
    clock,
    ledger::{Flaw, Ledger, LedgerError, LedgerSettings, Number, Record},
    telemetry::Metrics,
};
use std::{fs, path::Path, sync::Arc};

fn open(folder: &Path) -> Arc<Ledger> {
    try_open(folder).unwrap()
}

fn try_open(folder: &Path) -> Result<Arc<Ledger>, LedgerError> {
    let settings = LedgerSettings { folder: folder.into(), snapshot_records: 6, ..LedgerSettings::default() };
    Ledger::open(&settings, &Metrics::new())
}

fn keyed(mut record: Record, key: &str) -> Record {
    record.about.key = Some(key.into());
    record
}

/// A folder with ten records, of which a snapshot holds six: `/1` to `/10`, each with a key.
async fn ten(folder: &Path) -> Number {
    let ledger = open(folder);
    let born = ledger.last();
    for n in 1..=10 {
        ledger.append(keyed(url("lms", &format!("/{n}"), None), &format!("key {n}"))).await.unwrap();
    }
    born
}

/// The end of the snapshot in a folder.
fn snapshot(folder: &Path) -> Option<u64> {
    let text = fs::read_to_string(folder.join("projection")).ok()?;
    let first: serde_json::Value = serde_json::from_str(text.lines().next()?).unwrap();
    first["ledger"]["number"].as_u64()
}

async fn knows_all(ledger: &Ledger, born: Number) {
    let marks = ledger.marks("lms");
    for n in 1..=10 {
        let covers =
            |from| ledger.outdated(&marks, &subject(&format!("/{n}"), None), Number { n: from, ..born });
        assert!(covers(n - 1) && !covers(n), "/{n}");
    }
    assert!(!ledger.outdated(&marks, &subject("/11", None), born));
    for n in 1..=10 {
        let record = keyed(url("lms", &format!("/{n}"), None), &format!("key {n}"));
        let receipt = ledger.append(record).await.unwrap();
        assert_eq!((receipt.number.n, receipt.repeated), (n, true));
    }
    assert_eq!(ledger.last().n, 10);
}

#[tokio::test]
async fn what_is_in_the_snapshot_is_not_read_again_at_the_start_but_soon_after() {
    let dir = tempfile::tempdir().unwrap();
    let born = ten(dir.path()).await;
    assert_eq!(snapshot(dir.path()), Some(6));
    knows_all(&open(dir.path()), born).await;
    tamper(dir.path(), |records| {
        let mut value = records.get(2_u64.to_be_bytes()).unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() ^= 1;
        records.insert(2_u64.to_be_bytes(), value).unwrap();
    });
    let ledger = open(dir.path());
    let deadline = clock::instant() + DEADLINE;
    let refusal = loop {
        if let Some(refusal) = ledger.refusal() {
            break refusal;
        }
        assert!(clock::instant() < deadline, "nobody noticed");
        tokio::task::yield_now().await;
    };
    assert!(matches!(*refusal, LedgerError::Broken(2, Flaw::Altered)), "{refusal}");
    assert!(matches!(ledger.append(site(&["lms"])).await, Err(LedgerError::Refusing(_))));
    let marks = ledger.marks("lms");
    assert!(ledger.outdated(&marks, &subject("/2", None), born), "what was acknowledged is in force");
}

#[tokio::test]
async fn a_record_after_the_snapshot_that_was_altered_refuses_the_start() {
    let dir = tempfile::tempdir().unwrap();
    ten(dir.path()).await;
    tamper(dir.path(), |records| records.remove(9_u64.to_be_bytes()).unwrap());
    assert!(matches!(try_open(dir.path()), Err(LedgerError::Broken(9, Flaw::Missing))));
}

#[tokio::test]
async fn a_snapshot_that_does_not_fit_is_left_aside() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (born, _) = (ten(dir.path()).await, ten(other.path()).await);
    let file = |folder: &Path| folder.join("projection");
    let whole = fs::read(file(dir.path())).unwrap();
    let with = async |bytes: &[u8]| {
        let image = tempfile::tempdir().unwrap();
        copy(dir.path(), image.path());
        fs::write(file(image.path()), bytes).unwrap();
        knows_all(&open(image.path()), born).await;
        // One that can be used was taken meanwhile.
        assert_ne!(fs::read(file(image.path())).unwrap(), bytes);
        knows_all(&open(image.path()), born).await;
    };
    with(b"").await;
    with(&whole[..whole.len() / 2]).await;
    with(&fs::read(file(other.path())).unwrap()).await;
    // Of this ledger, but further on than it is: a backup that was put back around it.
    let image = tempfile::tempdir().unwrap();
    copy(dir.path(), image.path());
    {
        let ledger = open(image.path());
        for _ in 0..8 {
            ledger.append(site(&["lms"])).await.unwrap();
        }
    }
    assert!(snapshot(image.path()).is_some_and(|end| end > 10));
    with(&fs::read(file(image.path())).unwrap()).await;
}

#[tokio::test]
async fn a_folder_that_takes_no_snapshot_takes_records() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("projection.new")).unwrap();
    let born = ten(dir.path()).await;
    assert_eq!(snapshot(dir.path()), None);
    knows_all(&open(dir.path()), born).await;
}
