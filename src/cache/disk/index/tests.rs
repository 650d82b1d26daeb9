//! What was committed stands, whole, after whatever came next.

use super::{Changes, Counts, Index, SegmentRecord, database::Database};
use crate::cache::{
    Body, CHUNK, ChunkId, DiskError, Key, OfflineFolder, Place, Slot,
    disk::{
        Alive,
        codec::{
            encode_slot,
            tests::{body, chunk, key, slot, told},
        },
        error::guarded,
    },
};
use std::{collections::HashMap, fs, sync::Arc};
use tempfile::TempDir;

const LIMIT: u64 = 1 << 30;

fn open() -> (TempDir, Index) {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path(), LIMIT).unwrap();
    (folder, index)
}

fn place(number: u32) -> Place {
    Place { segment: 1, offset: number * 1000, length: 100 + number, ordinal: number }
}

fn put(index: &Index, slots: &[(&Key, &Arc<Slot>)]) {
    let slots = slots.iter().map(|(key, slot)| ((*key).clone(), Some((*slot).clone()))).collect();
    index.commit(&Changes { slots, ..Changes::default() }).unwrap();
}

fn found(index: &Index, key: &Key) -> Option<Slot> {
    index.slot(key, &Alive::default()).unwrap()
}

fn pages(index: &Index) -> usize {
    index.with(|database| guarded(|| database.lists.len())).unwrap()
}

fn in_order(index: &Index) -> Vec<[u8; 32]> {
    index.oldest(usize::MAX).unwrap().into_iter().map(|(_, digest)| digest).collect()
}

#[test]
fn what_was_committed_is_found_and_after_opening_anew_too() {
    let (folder, index) = open();
    let (a, b) = (key("/a"), key("/b"));
    let (short, long) = (slot(&[&body(3, 0), &body(0, 0)]), slot(&[&body(700, 0)]));
    let segment = SegmentRecord { number: 3, bytes: 1 << 33, frames: 9, marks: Some(vec![1, 2]) };
    let other = SegmentRecord { number: 4, bytes: 16, frames: 0, marks: None };
    let changes = Changes {
        places: vec![(chunk(1), place(1)), (chunk(2), place(2))],
        slots: vec![(a.clone(), Some(short.clone())), (b.clone(), Some(long.clone()))],
        segments: vec![other.clone(), segment.clone()],
        ..Changes::default()
    };
    index.commit(&changes).unwrap();
    let check = |index: &Index| {
        assert_eq!(index.place(&chunk(1)).unwrap(), Some(place(1)));
        assert_eq!(index.place(&chunk(3)).unwrap(), None);
        assert_eq!(found(index, &a).map(|slot| told(&slot)), Some(told(&short)));
        assert_eq!(found(index, &b).map(|slot| told(&slot)), Some(told(&long)));
        assert!(found(index, &key("/c")).is_none());
        assert_eq!(index.segments().unwrap(), [segment.clone(), other.clone()]);
        assert_eq!(index.counts(), Counts { responses: 3, chunks: 2, chunk_bytes: 203 });
        assert_eq!(in_order(index), [a.digest(), b.digest()]);
        let mut digests = Vec::new();
        index
            .each_digest(|digest| {
                digests.push(digest);
                true
            })
            .unwrap();
        assert_eq!(digests.len(), 4);
        assert!(index.bytes() > 0);
    };
    check(&index);
    index.reopen().unwrap();
    check(&index);
    index.close().unwrap();
    assert!(matches!(index.place(&chunk(1)), Err(DiskError::Closed)));
    assert!(matches!(index.commit(&changes), Err(DiskError::Closed)));
    index.reopen().unwrap();
    check(&index);
    drop(index);
    check(&Index::open(folder.path(), LIMIT).unwrap());
    index_takes_more(folder);
}

fn index_takes_more(folder: TempDir) {
    let index = Index::open(folder.path(), LIMIT).unwrap();
    index.commit(&Changes { gone: vec![3, 4, 5], ..Changes::default() }).unwrap();
    assert!(index.segments().unwrap().is_empty());
}

#[test]
fn another_key_under_the_same_digest_is_absent() {
    let (_folder, index) = open();
    let (here, there) = (key("/here"), key("/there"));
    let value = encode_slot(&there, 0, &slot(&[&body(1, 0)]));
    index.with(|database| guarded(|| database.heads.insert(here.digest(), value))).unwrap();
    assert!(found(&index, &here).is_none());
}

#[test]
fn a_damaged_value_is_that_key_s_alone_and_can_be_replaced() {
    let (_folder, index) = open();
    let (a, b) = (key("/a"), key("/b"));
    let good = slot(&[&body(1, 0)]);
    put(&index, &[(&a, &good), (&b, &good)]);
    let spoil = || index.with(|database| guarded(|| database.heads.insert(a.digest(), b"spoilt"))).unwrap();
    spoil();
    assert!(matches!(index.slot(&a, &Alive::default()), Err(DiskError::Damaged(_))));
    assert!(found(&index, &b).is_some());
    put(&index, &[(&a, &good)]);
    assert!(found(&index, &a).is_some());
    // Its number in the order was lost with it, and goes when its turn comes.
    assert_eq!(in_order(&index), [a.digest(), b.digest(), a.digest()]);
    let evicted = index.oldest(1).unwrap();
    index.commit(&Changes { evicted, ..Changes::default() }).unwrap();
    assert!(found(&index, &a).is_some(), "written anew since");
    spoil();
    let renewed = index.oldest(2).unwrap();
    index.commit(&Changes { renewed, ..Changes::default() }).unwrap();
    assert!(found(&index, &a).is_none() && found(&index, &b).is_some());
    assert_eq!(in_order(&index), [b.digest()]);
}

#[test]
fn a_body_gets_its_names_and_only_pages_that_got_some_are_written() {
    let (_folder, index) = open();
    let (film, length) = (key("/film"), 20_000 * CHUNK as u64);
    let growing = Arc::new(Body::new(Some(length)));
    growing.name(5_000, chunk(5_000));
    let growing_slot = slot(&[&growing]);
    put(&index, &[(&film, &growing_slot)]);
    assert_eq!(pages(&index), 1);
    assert_eq!(found(&index, &film).unwrap().responses()[0].body.id(5_000), Some(chunk(5_000)));

    // A page that got none is not written again: what is put there by hand stays.
    let spoil = |page| {
        let key = super::page_key(growing.identity(), page);
        index.with(|database| guarded(|| database.lists.insert(key, b"spoilt"))).unwrap();
    };
    let damaged = |index: &Index| index.slot(&film, &Alive::default()).is_err();
    spoil(5_000 / 256);
    (0..200).for_each(|i| _ = growing.name(i, chunk(i as u64)));
    put(&index, &[(&film, &growing_slot)]);
    assert!(damaged(&index), "page 19 was not written");
    // Who does not remember what was written reads it.
    index.reopen().unwrap();
    put(&index, &[(&film, &growing_slot)]);
    assert!(!damaged(&index), "page 19 could not be read");
    assert_eq!(pages(&index), 2);
    index.reopen().unwrap();
    (0..20_000).for_each(|i| _ = growing.name(i, chunk(i as u64)));
    put(&index, &[(&film, &growing_slot)]);
    assert_eq!(pages(&index), 79);
    let whole = found(&index, &film).unwrap();
    assert_eq!(whole.responses()[0].body.whole(), growing.whole());
    assert_eq!(told(&whole), told(&growing_slot));
}

#[test]
fn a_body_that_is_alive_is_loaded_as_that_one() {
    let (_folder, index) = open();
    let (a, alive, held) = (key("/a"), Alive::default(), body(700, 0));
    put(&index, &[(&a, &slot(&[&held]))]);
    let first = index.slot(&a, &alive).unwrap().unwrap();
    let second = index.slot(&a, &alive).unwrap().unwrap();
    assert!(first.responses()[0].same_body(&second.responses()[0]));
    drop((first, second));
    alive.note(&held);
    let third = index.slot(&a, &alive).unwrap().unwrap();
    assert!(Arc::ptr_eq(&third.responses()[0].body, &held));
}

#[test]
fn what_is_replaced_or_forgotten_takes_its_pages_and_its_place_in_the_order_along() {
    let (_folder, index) = open();
    let (a, b) = (key("/a"), key("/b"));
    let (first, second) = (body(700, 0), body(300, 0));
    put(&index, &[(&a, &slot(&[&first, &second])), (&b, &slot(&[&body(9, 0)]))]);
    assert_eq!((pages(&index), index.counts().responses), (3 + 2 + 1, 3));
    put(&index, &[(&a, &slot(&[&second, &body(600, 0)]))]);
    assert_eq!((pages(&index), index.counts().responses), (2 + 3 + 1, 3));
    assert_eq!(in_order(&index), [b.digest(), a.digest()]);
    index.commit(&Changes { forgotten: vec![a.digest(), [0; 32]], ..Changes::default() }).unwrap();
    assert_eq!((pages(&index), index.counts().responses), (1, 1));
    assert_eq!(in_order(&index), [b.digest()]);
    index.commit(&Changes { slots: vec![(b.clone(), None)], ..Changes::default() }).unwrap();
    assert_eq!((pages(&index), index.counts()), (0, Counts::default()));
    assert!(in_order(&index).is_empty() && found(&index, &b).is_none());
}

#[test]
fn the_oldest_goes_unless_it_was_written_anew_or_gets_a_second_chance() {
    let (_folder, index) = open();
    let keys = ["/a", "/b", "/c"].map(key);
    let digests = keys.each_ref().map(Key::digest);
    keys.iter().for_each(|key| put(&index, &[(key, &slot(&[&body(9, 0)]))]));
    let seen = index.oldest(2).unwrap();
    assert_eq!(seen.iter().map(|(_, digest)| *digest).collect::<Vec<_>>(), digests[..2]);
    put(&index, &[(&keys[0], &slot(&[&body(9, 0)]))]);
    index.commit(&Changes { evicted: seen, ..Changes::default() }).unwrap();
    assert!(found(&index, &keys[0]).is_some(), "written anew since it was seen");
    assert!(found(&index, &keys[1]).is_none());
    assert_eq!(in_order(&index), [digests[2], digests[0]]);
    let renewed = index.oldest(1).unwrap();
    index.commit(&Changes { renewed: renewed.clone(), ..Changes::default() }).unwrap();
    assert_eq!(in_order(&index), [digests[0], digests[2]]);
    index.commit(&Changes { renewed: renewed.clone(), evicted: renewed, ..Changes::default() }).unwrap();
    assert_eq!(in_order(&index), [digests[0], digests[2]], "its number is not the one that was seen");
    assert_eq!((index.counts().responses, pages(&index)), (2, 2));
    assert!(found(&index, &keys[2]).is_some());
}

#[test]
fn a_chunk_carried_elsewhere_is_not_dropped_with_its_old_place() {
    let (_folder, index) = open();
    let (old, new) = (place(1), Place { segment: 2, ..place(1) });
    let places = vec![(chunk(1), old), (chunk(2), place(2))];
    index.commit(&Changes { places, ..Changes::default() }).unwrap();
    let dropped = vec![(chunk(1), old), (chunk(2), place(2)), (chunk(3), place(3))];
    index.commit(&Changes { places: vec![(chunk(1), new)], dropped, ..Changes::default() }).unwrap();
    assert_eq!(index.place(&chunk(1)).unwrap(), Some(new));
    assert_eq!(index.place(&chunk(2)).unwrap(), None);
    assert_eq!(index.counts(), Counts { responses: 0, chunks: 1, chunk_bytes: 101 });
}

/// A fixed sequence for a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What should be there.
#[derive(Default)]
struct Model {
    places: HashMap<ChunkId, Place>,
    slots: HashMap<Key, Arc<Slot>>,
    /// Oldest first.
    order: Vec<Key>,
}

impl Model {
    fn put(&mut self, key: &Key, slot: Option<Arc<Slot>>) {
        self.order.retain(|other| other != key);
        self.slots.remove(key);
        if let Some(slot) = slot {
            self.order.push(key.clone());
            self.slots.insert(key.clone(), slot);
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            responses: self.slots.values().map(|slot| slot.responses().len() as u64).sum(),
            chunks: self.places.len() as u64,
            chunk_bytes: self.places.values().map(|place| u64::from(place.length)).sum(),
        }
    }

    fn pages(&self) -> usize {
        let bodies = self.slots.values().flat_map(|slot| slot.responses());
        let chunks = bodies.map(|stored| Body::count(stored.length));
        chunks.filter(|chunks| *chunks > 8).map(|chunks| chunks.div_ceil(256)).sum()
    }
}

/// One random batch, told to both.
fn batch(dice: &mut Dice, index: &Index, model: &mut Model) -> Changes {
    let mut changes = Changes::default();
    for _ in 0..dice.below(5) {
        let (id, place) = (chunk(dice.below(20)), place(dice.below(1000) as u32));
        model.places.insert(id, place);
        changes.places.push((id, place));
    }
    for _ in 0..dice.below(3) {
        let id = chunk(dice.below(20));
        // Where it is by now, or where it is not.
        let place = model.places.get(&id).copied().filter(|_| dice.below(2) == 0).unwrap_or(place(1001));
        if model.places.get(&id) == Some(&place) {
            model.places.remove(&id);
        }
        changes.dropped.push((id, place));
    }
    for (number, digest) in index.oldest(dice.below(3) as usize).unwrap() {
        let key = model.order.iter().find(|key| key.digest() == digest).unwrap().clone();
        if dice.below(2) == 0 {
            model.put(&key, None);
            changes.evicted.push((number, digest));
        } else {
            let slot = model.slots.get(&key).cloned();
            model.put(&key, slot);
            changes.renewed.push((number, digest));
        }
    }
    for _ in 0..dice.below(4) {
        let key = key(&dice.below(12).to_string());
        let bodies: Vec<_> =
            (0..dice.below(3)).map(|_| body([1, 8, 9, 300][dice.below(4) as usize], 0)).collect();
        let slot = slot(&bodies.iter().collect::<Vec<_>>());
        model.put(&key, (!bodies.is_empty()).then(|| slot.clone()));
        changes.slots.push((key, Some(slot)));
    }
    changes
}

#[test]
fn counts_pages_and_order_stay_right_whatever_comes() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x1ec7_e212);
    let (mut dice, mut model) = (Dice(seed), Model::default());
    let (_folder, index) = open();
    for round in 0..100 {
        let changes = batch(&mut dice, &index, &mut model);
        index.commit(&changes).unwrap();
        if round % 40 == 0 {
            index.close().unwrap();
            index.reopen().unwrap();
        }
        let what = format!("SEED={seed} round {round} {changes:?}");
        assert_eq!(index.counts(), model.counts(), "{what}");
        assert_eq!(pages(&index), model.pages(), "{what}");
        let digests: Vec<_> = model.order.iter().map(Key::digest).collect();
        assert_eq!(in_order(&index), digests, "{what}");
        for (key, slot) in &model.slots {
            assert_eq!(found(&index, key).map(|found| told(&found)), Some(told(slot)), "{what}");
        }
    }
}

#[test]
fn heads_are_cleared_and_chunks_stay_also_if_it_ended_in_the_middle() {
    let (_folder, index) = open();
    let a = key("/a");
    let places = vec![(chunk(1), place(1))];
    let slots = vec![(a.clone(), Some(slot(&[&body(300, 0)])))];
    index.commit(&Changes { places, slots: slots.clone(), ..Changes::default() }).unwrap();
    let check = |index: &Index| {
        assert!(found(index, &a).is_none());
        assert_eq!((pages(index), in_order(index).len()), (0, 0));
        assert_eq!(index.counts(), Counts { responses: 0, chunks: 1, chunk_bytes: 101 });
    };
    index.clear_heads().unwrap();
    check(&index);
    index.reopen().unwrap();
    check(&index);
    index.commit(&Changes { slots: slots.clone(), ..Changes::default() }).unwrap();
    index.reopen().unwrap();
    assert!(found(&index, &a).is_some());
    index.with(|database| guarded(|| database.about.insert(super::CLEARING, b""))).unwrap();
    index.reopen().unwrap();
    check(&index);
}

#[test]
fn the_filter_knows_what_is_there_and_outlives_a_clean_close_only() {
    let (folder, index) = open();
    let (a, b) = (key("/a"), key("/b"));
    let changes = Changes {
        places: vec![(chunk(1), place(1))],
        slots: vec![(a.clone(), Some(slot(&[&body(1, 0)])))],
        ..Changes::default()
    };
    index.commit(&changes).unwrap();
    let knows = |index: &Index| {
        let filter = index.filter();
        assert!(filter.may_have(&a.digest()) && filter.may_have(chunk(1).as_bytes()));
        !filter.may_have(&b.digest())
    };
    assert!(!knows(&index), "everything may be there");
    assert!(matches!(index.renew_filter(|| false), Err(DiskError::Closed)));
    assert!(!knows(&index));
    index.renew_filter(|| true).unwrap();
    assert!(knows(&index));
    index.close().unwrap();
    drop(index);
    let index = Index::open(folder.path(), LIMIT).unwrap();
    assert!(knows(&index), "from its file");
    drop(index);
    let index = Index::open(folder.path(), LIMIT).unwrap();
    assert!(knows(&index), "nothing was written since");
    index.reopen().unwrap();
    assert!(knows(&index));
    index.close().unwrap();
    let other = Index::open(folder.path(), LIMIT).unwrap();
    other.commit(&Changes { slots: vec![(b.clone(), Some(slot(&[])))], ..Changes::default() }).unwrap();
    drop(other);
    index.reopen().unwrap();
    assert!(!knows(&index), "another process has written, and ended without a close");
}

#[test]
fn one_process_has_it_and_only_one_that_knows_its_format() {
    let (folder, index) = open();
    let file = folder.path().join("index");
    assert!(matches!(Database::open(folder.path()), Err(DiskError::Held(path)) if path == file));
    for (format, newer) in [(2_u32, true), (0, false)] {
        index.with(|database| guarded(|| database.about.insert("format", format.to_le_bytes()))).unwrap();
        match index.reopen() {
            Err(DiskError::Newer { found, .. }) => assert_eq!((found, newer), (2, true)),
            Err(DiskError::Older { found, .. }) => assert_eq!((found, newer), (0, false)),
            other => panic!("{other:?}"),
        }
        assert!(matches!(index.place(&chunk(1)), Err(DiskError::Closed)));
        let database = super::database::open_at(&file).unwrap();
        guarded(|| database.about.insert("format", 1_u32.to_le_bytes())).unwrap();
        database.close();
        index.reopen().unwrap();
    }
}

#[test]
fn files_that_nobody_wrote_so_end_no_process() {
    let (folder, index) = open();
    index.commit(&Changes { places: vec![(chunk(1), place(1))], ..Changes::default() }).unwrap();
    index.close().unwrap();
    drop(index);
    fs::create_dir(folder.path().join("index/7.jnl")).unwrap();
    let error = Index::open(folder.path(), LIMIT).err().unwrap();
    assert!(matches!(error, DiskError::Panicked), "{error:?}");
    fs::remove_dir(folder.path().join("index/7.jnl")).unwrap();
    let manifest = folder.path().join("index/keyspaces/0/current");
    fs::write(&manifest, b"nonsense").unwrap();
    let error = Index::open(folder.path(), LIMIT).err().unwrap();
    assert!(matches!(error, DiskError::Store(_) | DiskError::Io(..)), "{error:?}");
}

#[test]
fn an_index_that_was_half_made_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("index.new/keyspaces")).unwrap();
    fs::write(folder.path().join("index.new/0.jnl"), b"").unwrap();
    assert_eq!(Index::open(folder.path(), LIMIT).unwrap().counts(), Counts::default());
}

#[test]
fn a_small_folder_keeps_its_journals_small() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(folder.path(), 48 << 20).unwrap();
    let mut most = 0;
    for round in 0..12 {
        // A megabyte in pages: written again and again, but for the last.
        let long = body(30_000, round);
        put(&index, &[(&key("/film"), &slot(&[&long]))]);
        most = most.max(index.with(|database| Ok(database.journal_bytes())).unwrap());
    }
    assert!(most < 8 << 20, "{most} bytes of journals");
    assert!(index.bytes() < 16 << 20, "{} bytes", index.bytes());
    assert_eq!(found(&index, &key("/film")).unwrap().responses()[0].body.id(29_999), Some(chunk(30_010)));
}

#[test]
fn a_slot_that_cannot_be_read_is_told_as_such_and_verified_away() {
    let (folder, index) = open();
    let (a, b, c) = (key("/a"), key("/b"), key("/c"));
    let (short, long) = (slot(&[&body(3, 0), &body(0, 0)]), slot(&[&body(700, 0)]));
    put(&index, &[(&a, &short), (&b, &short), (&c, &long)]);
    index.with(|database| guarded(|| database.heads.insert(b.digest(), b"torn"))).unwrap();
    let mut read = HashMap::new();
    let each = |digest, slot: Result<Slot, DiskError>| {
        read.insert(digest, slot.ok().map(|slot| told(&slot)));
        true
    };
    index.each_slot(each).unwrap();
    let expected = [(a.digest(), Some(told(&short))), (b.digest(), None), (c.digest(), Some(told(&long)))];
    assert_eq!(read, HashMap::from(expected));
    let mut asked = 0;
    index
        .each_slot(|_, _| {
            asked += 1;
            false
        })
        .unwrap();
    assert_eq!(asked, 1, "no is an end");
    drop(index);

    fs::write(folder.path().join("format"), "lectern-disk 1\n").unwrap();
    let verify = |repair| OfflineFolder::hold(folder.path()).unwrap().verify(repair, &mut |_, _| {}).unwrap();
    let found = verify(false);
    assert_eq!((found.bad_heads, found.faults(), found.responses, found.repaired), (1, 1, 3, 0), "{found:?}");
    assert!(found.samples[0].contains("not as it was written"), "{found:?}");
    assert_eq!(verify(true).repaired, 1);
    assert_eq!(verify(false).faults(), 0);
}
