use super::{FRAME, Frame, HEADER, Segment, Unread, size};
use crate::cache::{
    Buffers, Chunk,
    disk::{index::SegmentRecord, place::Place},
};
use bytes::Bytes;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};
use tempfile::TempDir;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(super::SEGMENTS)).unwrap();
    folder
}

fn chunk(byte: u8, length: usize) -> Chunk {
    Chunk::seal(Bytes::from(vec![byte; length]))
}

fn frames(segment: &Segment) -> Vec<Frame> {
    let (mut at, mut found) = (HEADER, Vec::new());
    while let Some(frame) = segment.frame(at, found.len() as u32).unwrap() {
        at = frame.end();
        found.push(frame);
    }
    found
}

fn open(folder: &Path, record: &SegmentRecord) -> Segment {
    Segment::open(folder, record).unwrap()
}

#[test]
fn what_was_appended_is_read_and_nothing_else_is() {
    let folder = folder();
    let segment = Segment::create(folder.path(), 7).unwrap();
    let (a, b, c) = (chunk(1, 1), chunk(2, 100_000), chunk(3, 5));
    let mut places = segment.append(&[&a, &b]).unwrap();
    places.extend(segment.append(&[&c]).unwrap());
    for (place, chunk) in places.iter().zip([&a, &b, &c]) {
        assert_eq!(segment.read(place, &chunk.id, &Buffers::default()).unwrap(), chunk.bytes);
        assert!(segment.has(place));
    }
    assert!(
        matches!(segment.read(&places[0], &b.id, &Buffers::default()), Err(Unread::Bad)),
        "another chunk's bytes"
    );
    let beyond = Place { offset: segment.end(), length: 1, ..places[2] };
    assert!(
        matches!(segment.read(&beyond, &a.id, &Buffers::default()), Err(Unread::Bad))
            && !segment.has(&beyond)
    );
    let huge = Place { length: u32::MAX, ..places[0] };
    assert!(
        matches!(segment.read(&huge, &a.id, &Buffers::default()), Err(Unread::Bad)) && !segment.has(&huge)
    );
    let expected: Vec<_> =
        places.iter().zip([&a, &b, &c]).map(|(p, c)| Frame { id: c.id, place: *p }).collect();
    assert_eq!(frames(&segment), expected);
    segment.marks.set(1);
    let again = open(folder.path(), &segment.record());
    assert_eq!(frames(&again), expected);
    assert!(again.marks.is_set(1) && !again.marks.is_set(0));
    segment.remove().unwrap();
    assert_eq!(
        segment.read(&places[1], &b.id, &Buffers::default()).unwrap(),
        b.bytes,
        "who has it open can read it"
    );
    assert!(Segment::open(folder.path(), &segment.record()).is_err());
}

#[test]
fn a_torn_end_is_cut_off_and_a_short_file_is_not_gone_on_with() {
    let folder = folder();
    let segment = Segment::create(folder.path(), 1).unwrap();
    let (a, b) = (chunk(1, 1000), chunk(2, 1000));
    let place = segment.append(&[&a]).unwrap()[0];
    let record = segment.record();
    segment.append(&[&b]).unwrap();
    let torn = open(folder.path(), &record);
    assert!(torn.resume().unwrap());
    assert_eq!(fs::metadata(Segment::path(folder.path(), 1)).unwrap().len(), record.bytes);
    let places = torn.append(&[&b]).unwrap();
    assert_eq!(torn.read(&places[0], &b.id, &Buffers::default()).unwrap(), b.bytes);
    assert_eq!(torn.read(&place, &a.id, &Buffers::default()).unwrap(), a.bytes);
    drop(torn);
    let file = File::options().write(true).open(Segment::path(folder.path(), 1)).unwrap();
    file.set_len(record.bytes - 1).unwrap();
    let short = open(folder.path(), &record);
    assert!(!short.resume().unwrap());
    assert!(matches!(short.read(&place, &a.id, &Buffers::default()), Err(Unread::Bad)));
}

#[test]
fn a_flipped_bit_is_seen() {
    let folder = folder();
    let segment = Segment::create(folder.path(), 1).unwrap();
    let a = chunk(1, 1000);
    let place = segment.append(&[&a]).unwrap()[0];
    let file = File::options().write(true).open(Segment::path(folder.path(), 1)).unwrap();
    file.write_all_at(&[0], u64::from(place.offset) + 500).unwrap();
    assert!(matches!(segment.read(&place, &a.id, &Buffers::default()), Err(Unread::Bad)));
    assert_eq!(frames(&segment).len(), 1, "the header is as it was");
    file.write_all_at(&[0], u64::from(place.offset - FRAME) + 10).unwrap();
    assert!(frames(&segment).is_empty());
    file.write_all_at(&[0], 8).unwrap();
    assert!(Segment::open(folder.path(), &segment.record()).is_err(), "of another number");
}

#[test]
fn a_frame_of_another_place_is_none() {
    let folder = folder();
    let (one, two) = (Segment::create(folder.path(), 1).unwrap(), Segment::create(folder.path(), 2).unwrap());
    one.append(&[&chunk(1, 10)]).unwrap();
    two.append(&[&chunk(2, 10)]).unwrap();
    let bytes = fs::read(Segment::path(folder.path(), 1)).unwrap();
    let file = File::options().write(true).open(Segment::path(folder.path(), 2)).unwrap();
    file.write_all_at(&bytes[HEADER as usize..], HEADER.into()).unwrap();
    assert!(frames(&two).is_empty());
}

#[test]
fn a_segment_is_a_thirty_second_of_the_folder() {
    for (limit, bytes) in [
        (0, 1 << 20),
        (32 << 20, 1 << 20),
        (48 << 20, 3 << 19),
        (1 << 40, (4_u64 << 30) - (1 << 20)),
        (u64::MAX, (4 << 30) - (1 << 20)),
    ] {
        assert_eq!(u64::from(size(limit)), bytes, "{limit}");
    }
    let folder = folder();
    let segment = Segment::create(folder.path(), 1).unwrap();
    let room = 1000 - HEADER - FRAME;
    assert!(segment.has_room(room as usize, 1000) && !segment.has_room(room as usize + 1, 1000));
}

#[test]
fn only_a_segments_name_has_a_number() {
    for (name, number) in [
        ("0000000a.seg", Some(10)),
        ("/x/ffffffff.seg", Some(u32::MAX)),
        ("a.seg", None),
        ("0000000a.seg.new", None),
        ("0000000g.seg", None),
        ("+000000a.seg", None),
    ] {
        assert_eq!(Segment::number_of(Path::new(name)), number, "{name}");
    }
    let path = Segment::path(Path::new("/f"), 255);
    assert_eq!(Segment::number_of(&path), Some(255));
}
