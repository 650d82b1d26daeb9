//! Round trips of slots, and what becomes of a byte that is not what was written.

use super::{
    BodyRecord, INLINE, PAGE, decode_page, decode_slot, encode_page, encode_slot, outline, renumber, seal,
};
use crate::{
    cache::{Body, CHUNK, ChunkId, DiskError, Key, KeyParts, Selecting, Slot, StoredParts, StoredResponse},
    http_caching::{Freshness, Tags},
    ledger::{Identity, Number},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// The key of a path.
pub(in crate::cache::disk) fn key(path: &str) -> Key {
    KeyParts { scope: "lms", https: true, guarded: false, host: "lms.example", path, query: Some("v=3") }
        .key()
}

/// The name of a chunk that holds this number.
pub(in crate::cache::disk) fn chunk(number: u64) -> ChunkId {
    ChunkId::of(&number.to_le_bytes())
}

/// A body of so many chunks, all of them known, named from `first` on.
pub(in crate::cache::disk) fn body(chunks: u64, first: u64) -> Arc<Body> {
    Arc::new(Body::of(chunks * CHUNK as u64, (first..first + chunks).map(chunk).collect()))
}

/// A stored response with this body, for a language.
pub(in crate::cache::disk) fn stored(body: &Arc<Body>, language: &'static str) -> Arc<StoredResponse> {
    let request = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language))]);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-b", "2"),
        ("content-type", "video/mp4"),
        ("link", "<a>; rel=preload"),
        ("x-b", "1"),
        ("link", "<b>; rel=preload"),
        ("etag", "\"v3\""),
        ("x-empty", ""),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.append("x-latin", HeaderValue::from_bytes(b"\xe9t\xe9").unwrap());
    Arc::new(StoredResponse::new(StoredParts {
        status: StatusCode::OK,
        headers,
        selecting: Selecting::new(
            vec![header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE, HeaderName::from_static("x-absent")],
            &request,
        ),
        etag: Some(HeaderValue::from_static("\"v3\"")),
        last_modified: None,
        length: body.length().unwrap(),
        body: body.clone(),
        freshness: Freshness {
            lifetime: 600,
            initial_age: 7,
            received: UNIX_EPOCH + Duration::new(1_790_000_000, 123_456_789),
            validate_always: false,
            forbid_stale: true,
            stale_while_revalidate: 60,
            stale_if_error: u64::MAX,
        },
        born: Number { identity: Identity([7; 16]), n: 42 },
        tags: tags(),
    }))
}

/// One name and more of each list.
fn tags() -> Tags {
    let list = |at: usize| (0..at + 1).map(|name| format!("{at} {name}").into()).collect();
    Tags::new(std::array::from_fn(list), Some("physics".into()))
}

/// A slot of these bodies, each for another language.
pub(in crate::cache::disk) fn slot(bodies: &[&Arc<Body>]) -> Arc<Slot> {
    let languages = ["de", "en", "fr", "it"];
    let stored = bodies.iter().zip(languages).map(|(body, language)| stored(body, language));
    Arc::new(Slot::of(stored.collect()))
}

/// All that can be told of a slot.
pub(in crate::cache::disk) fn told(slot: &Slot) -> String {
    format!("{slot:?}")
}

fn read(value: &[u8]) -> Result<(Key, Slot), DiskError> {
    decode_slot(value, |record, names| Ok(Arc::new(Body::known(record.identity, record.length, names))))
}

#[test]
fn a_slot_comes_back_as_it_was() {
    let partial = Arc::new(Body::new(Some(3 * CHUNK as u64)));
    partial.name(2, chunk(2));
    let slot = slot(&[&body(INLINE as u64, 10), &partial, &Arc::new(Body::new(Some(0)))]);
    let value = encode_slot(&key("/film"), 9, &slot);
    let (found, again) = read(&value).unwrap();
    assert_eq!(found, key("/film"));
    assert_eq!(told(&again), told(&slot));
    let fields: Vec<_> = again.responses()[0].headers.get_all("link").iter().collect();
    assert_eq!(fields, ["<a>; rel=preload", "<b>; rel=preload"], "in order");
    assert_eq!(again.responses()[1].body.whole(), None);
    assert_eq!((again.responses()[1].body.id(1), again.responses()[1].body.id(2)), (None, Some(chunk(2))));

    let ends = outline(&value).unwrap();
    assert_eq!((ends.order, ends.bodies.len()), (9, 3));
    let renumbered = renumber(&value, 10).unwrap();
    assert_eq!(renumbered, encode_slot(&key("/film"), 10, &slot));
}

#[test]
fn names_of_long_bodies_stand_in_pages() {
    let long = body(INLINE as u64 + 1, 0);
    let record = BodyRecord { identity: long.identity(), length: long.length().unwrap() };
    assert_eq!(record.pages(), 1);
    let pages = |chunks: usize| BodyRecord { identity: 0, length: (chunks * CHUNK) as u64 }.pages();
    assert_eq!((pages(INLINE), pages(PAGE), pages(PAGE + 1), pages(20_000)), (0, 1, 2, 79));
    assert_eq!(BodyRecord { identity: 0, length: u64::MAX }.pages(), u32::MAX, "no number is too large");
    let (_, again) = read(&encode_slot(&key("/"), 0, &slot(&[&long]))).unwrap();
    assert!(again.responses()[0].body.is_unknown());

    let names = [Some(chunk(1)), None, Some(chunk(2))];
    let page = encode_page(5, 1, &names);
    assert_eq!(decode_page(5, 1, &page).unwrap(), names);
    assert!(decode_page(5, 2, &page).is_err() && decode_page(6, 1, &page).is_err(), "of another place");
}

#[test]
fn a_time_far_off_is_no_trouble() {
    for received in [UNIX_EPOCH - Duration::from_nanos(1), UNIX_EPOCH - Duration::from_hours(24 * 365)] {
        assert_eq!(super::time(super::nanos(received)), Some(received));
    }
    let far = UNIX_EPOCH + Duration::from_hours(24 * 365 * 1000);
    assert_eq!(super::nanos(far), i64::MAX);
    assert!(super::time(i64::MIN).is_some() && super::time(i64::MAX).is_some());
}

#[test]
fn whatever_byte_is_wrong_or_missing_the_value_is_damaged() {
    let value = encode_slot(&key("/film"), 9, &slot(&[&body(2, 0), &body(9, 0)]));
    let page = encode_page(5, 1, &[Some(chunk(1)), None]);
    for at in 0..value.len() {
        let mut wrong = value.clone();
        wrong[at] ^= 1 << (at % 8);
        assert!(matches!(read(&wrong), Err(DiskError::Damaged(_))), "byte {at}");
        assert!(outline(&wrong).is_err() && renumber(&wrong, 1).is_err(), "byte {at}");
        assert!(matches!(read(&value[..at]), Err(DiskError::Damaged(_))), "cut to {at}");
    }
    for at in 0..page.len() {
        let mut wrong = page.clone();
        wrong[at] ^= 1 << (at % 8);
        assert!(decode_page(5, 1, &wrong).is_err(), "byte {at}");
        assert!(decode_page(5, 1, &page[..at]).is_err(), "cut to {at}");
    }
    assert!(read(&[value, vec![0]].concat()).is_err());
}

#[test]
fn what_was_sealed_so_by_somebody_else_is_damaged_and_no_trouble() {
    let value = encode_slot(&key("/film"), 9, &slot(&[&body(2, 0), &body(9, 0)]));
    let value = &value[..value.len() - 8];
    for at in 0..value.len() {
        for wrong in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = value.to_vec();
            bytes[at] ^= wrong;
            // Many a byte may be another, as those of a name.
            _ = read(&seal(bytes));
        }
        assert!(read(&seal(value[..at].to_vec())).is_err(), "cut to {at}");
    }
    let more = seal([value, &[0][..]].concat());
    assert!(read(&more).is_err(), "more than it should be");
    let mut unknown = value.to_vec();
    unknown[0] = 3;
    assert!(read(&seal(unknown)).is_err(), "a form of tomorrow");
}
