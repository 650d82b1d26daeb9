//! Growing bodies and their readers, without an origin.

use super::{
    Reader,
    bodies::Bodies,
    growing::{Cut, Growing, OTHER_BYTES, Room, RunId, Window},
};
use crate::{
    cache::{Body, CHUNK, Chunk, KeyParts, Memory, Tiers},
    telemetry::{Fault, Metrics},
};
use bytes::Bytes;
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

const CUT: Cut = Cut { fault: Fault::Origin, word: "origin-closed" };
const WINDOW: u64 = 4 * CHUNK as u64;

/// A body of which one run comes, to `end` if that is known.
fn growing(length: Option<u64>) -> (Arc<Growing>, RunId) {
    let tiers = Tiers::new(Memory::new(1 << 30, Metrics::new()), None);
    let bodies = Arc::new(Bodies::default());
    let window = Window { held: WINDOW, ahead: WINDOW };
    let body = bodies.grow(&Arc::new(Body::new(length)), &tiers, window);
    let run = body.begin(0, length);
    (body, run)
}

fn append(body: &Growing, run: RunId, piece: &[u8]) -> Result<(), Cut> {
    for chunk in body.append(run, piece)? {
        keep(body, &chunk);
    }
    Ok(())
}

fn keep(body: &Growing, chunk: &Chunk) {
    let key = KeyParts { scope: "a", https: false, guarded: false, host: "", path: "/", query: None }.key();
    assert!(body.tiers().keep(&key, chunk).is_none(), "there is no disk");
}

fn end(body: &Growing, run: RunId) -> Option<Chunk> {
    let last = body.seal(run).unwrap();
    body.end(run);
    last
}

async fn rest(mut reader: Reader) -> Result<Vec<u8>, Cut> {
    let mut all = Vec::new();
    while let Some(piece) = poll_fn(|cx| reader.poll_next(cx)).await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

fn next(reader: &mut Reader) -> Option<Bytes> {
    match reader.poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(piece) => piece.map(Result::unwrap),
        Poll::Pending => None,
    }
}

fn room(body: &Growing, run: RunId) -> Room {
    body.poll_room(run, &Context::from_waker(Waker::noop()))
}

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

#[tokio::test]
async fn readers_see_every_byte_whenever_they_come() {
    let all = bytes(3 * CHUNK + 17);
    let (body, run) = growing(None);
    let early = tokio::spawn(rest(Reader::new(&body, 0)));
    let mut range = Reader::new(&body, 0);
    range.turn_to(CHUNK as u64 - 3, Some(CHUNK as u64 + 4));
    let range = tokio::spawn(rest(range));
    let mut middle = None;
    for (i, piece) in all.chunks(10_007).enumerate() {
        append(&body, run, piece).unwrap();
        if i == 40 {
            middle = Some(tokio::spawn(rest(Reader::new(&body, 0))));
        }
        tokio::task::yield_now().await;
    }
    let last = end(&body, run).unwrap();
    assert_eq!(last.bytes, all[3 * CHUNK..]);
    assert_eq!(body.body().whole().map(<[_]>::len), Some(4));
    assert_eq!(early.await.unwrap().unwrap(), all);
    assert_eq!(middle.unwrap().await.unwrap().unwrap(), all);
    assert_eq!(range.await.unwrap().unwrap(), all[CHUNK - 3..CHUNK + 5]);
    keep(&body, &last);
    assert_eq!(rest(Reader::new(&body, 0)).await.unwrap(), all, "and after the end");
}

#[tokio::test]
async fn a_cut_run_never_ends_cleanly_for_who_waits_for_it() {
    let (body, run) = growing(Some(100));
    let mut first_half = Reader::new(&body, 0);
    first_half.turn_to(0, Some(39));
    let reader = tokio::spawn(rest(Reader::new(&body, 0)));
    append(&body, run, &bytes(40)).unwrap();
    tokio::task::yield_now().await;
    body.cut(run, CUT);
    assert_eq!(reader.await.unwrap(), Err(CUT));
    assert_eq!(rest(first_half).await.unwrap(), bytes(40), "who has all it wants is not cut");
    assert!(rest(Reader::new(&body, 0)).await.is_err(), "nor does it end for who comes later");
}

#[test]
fn a_body_that_passes_through_waits_for_its_reader_and_lets_go_behind_it() {
    let (body, run) = growing(None);
    let mut reader = Reader::new(&body, 0);
    body.pass_through();
    let mut sent = 0;
    while matches!(room(&body, run), Room::Free) {
        append(&body, run, &bytes(CHUNK)).unwrap();
        sent += CHUNK;
        assert!(sent <= 2 * CHUNK, "the writer waits");
    }
    assert_eq!(next(&mut reader).unwrap().len(), CHUNK);
    assert!(matches!(room(&body, run), Room::Free), "and goes on when the reader has read");
    assert!(!body.has_from(0), "what was read is let go");
    assert!(body.body().is_unknown(), "and there is nothing to store");
}

#[tokio::test]
async fn the_last_piece_is_had_with_the_end() {
    let all = bytes(2 * CHUNK + 9);
    for split in [1, CHUNK - 1, CHUNK, 2 * CHUNK] {
        let (body, run) = growing(Some(all.len() as u64));
        let mut reader = Reader::new(&body, 0);
        append(&body, run, &all[..split]).unwrap();
        append(&body, run, &all[split..]).unwrap();
        let mut got = 0;
        while let Some(piece) = next(&mut reader) {
            got += piece.len();
        }
        assert_eq!(got, split);
        keep(&body, &end(&body, run).unwrap());
        assert_eq!(rest(reader).await.unwrap(), all[split..]);
        assert_eq!(rest(Reader::new(&body, 0)).await.unwrap(), all);
    }
}

#[test]
fn a_chunk_takes_no_more_memory_than_is_counted_for_it() {
    for (length, expected) in [(100, None), (100, Some(100)), (CHUNK + 10, Some(CHUNK as u64 + 10))] {
        let (body, run) = growing(expected);
        body.expect(run, None);
        let mut chunks = body.append(run, &bytes(length)).unwrap();
        chunks.extend(end(&body, run));
        drop(body);
        for chunk in chunks {
            let held = chunk.bytes.len();
            // What is lent has a chunk's room.
            let taken = chunk.bytes.try_into_mut().map_or(CHUNK, |bytes| bytes.capacity());
            assert!(taken <= held + held / 8, "{taken} bytes for {held} of {length}");
        }
    }
}

#[test]
fn a_run_is_a_window_ahead_of_its_first_reader_at_most_and_waits_for_its_last() {
    let (body, run) = growing(Some(100 * CHUNK as u64));
    let (mut fast, slow) = (Reader::new(&body, 0), Reader::new(&body, 0));
    let fill = |body: &Growing| {
        while matches!(room(body, run), Room::Free) {
            append(body, run, &bytes(CHUNK)).unwrap();
        }
        body.progress(run).1
    };
    assert_eq!(fill(&body), WINDOW);
    assert!(matches!(room(&body, run), Room::Ahead), "nobody is held up");
    while next(&mut fast).is_some() {}
    let Room::Lags(since) = room(&body, run) else { panic!("the slow one holds up the fast one") };
    assert_eq!(fill(&body), WINDOW, "what the slow one lacks cannot be had again");
    assert!(body.leave_behind(run, since, CUT));
    assert_eq!(fill(&body), 2 * WINDOW, "as far as the fast one has read, and a window");
    assert!(!body.has_from(0), "what nobody needs is let go");
    drop((fast, slow));
    assert!(matches!(room(&body, run), Room::Free), "who is gone holds up nothing");
}

#[test]
fn who_joins_while_a_chunk_is_let_go_finds_it_or_does_not_join() {
    let piece = bytes(CHUNK);
    let window = Window { held: CHUNK as u64, ahead: WINDOW };
    for _ in 0..500 {
        let (tiers, bodies) = (Tiers::new(Memory::new(0, Metrics::new()), None), Arc::new(Bodies::default()));
        let body = bodies.grow(&Arc::new(Body::new(None)), &tiers, window);
        let (run, last) = (body.begin(0, None), Reader::new(&body, 0));
        body.append(run, &piece).unwrap();
        // Who is the last to need it leaves at the moment at which another comes.
        let start = std::sync::Barrier::new(2);
        let found = std::thread::scope(|threads| {
            let joins = threads.spawn(|| {
                start.wait();
                Reader::if_all_is_there(&body, 0).map(|mut reader| next(&mut reader).is_some())
            });
            start.wait();
            drop(last);
            joins.join().unwrap()
        });
        assert_ne!(found, Some(false));
    }
}

#[test]
fn what_comes_again_must_be_the_same() {
    let all = bytes(2 * CHUNK);
    for (again, same) in [(&all[CHUNK..], true), (&all[CHUNK - 1..], false)] {
        let (body, run) = growing(Some(3 * CHUNK as u64));
        append(&body, run, &all[..CHUNK + 500]).unwrap();
        assert_eq!(body.go_back(run), Some((CHUNK as u64, Some(3 * CHUNK as u64))));
        append(&body, run, &again[..100]).unwrap_or_else(|cut| assert!(!same && cut == OTHER_BYTES));
        assert_eq!(append(&body, run, &again[100..CHUNK]).is_ok(), same);
    }
    let (body, run) = growing(Some(2 * CHUNK as u64));
    append(&body, run, &all[..CHUNK]).unwrap();
    let second = body.begin(0, Some(CHUNK as u64));
    assert_eq!(append(&body, second, &all[1..CHUNK + 1]), Err(OTHER_BYTES), "a chunk has one name");
}
