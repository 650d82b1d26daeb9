//! What stays in a memory that is full.

use super::{Change, Memory};
use crate::{
    cache::{Body, Chunk, Key, KeyParts, Selecting, Slot, StoredParts, StoredResponse},
    clock,
    http_caching::{Freshness, Tags},
    ledger::{Identity, Number},
    telemetry::Metrics,
};
use http::{HeaderMap, StatusCode};
use std::{ops::Range, sync::Arc};

const CHUNK: usize = 10_000;
/// Room for so many chunks, or a little less than twice as many pages of a head and half a chunk.
const ROOM: u64 = 40;

fn memory() -> Memory {
    Memory::new(ROOM * 10_300, Metrics::new())
}

/// A chunk of its own for each number.
fn chunk(number: u64) -> Chunk {
    let mut bytes = vec![0; CHUNK];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Chunk::seal(bytes.into())
}

fn key(number: u64) -> Key {
    KeyParts { scope: "a", https: false, guarded: false, host: "", path: &format!("/{number}"), query: None }
        .key()
}

fn slot(chunk: &Chunk) -> Arc<Slot> {
    let stored = StoredResponse::new(StoredParts {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        selecting: Selecting::default(),
        etag: None,
        last_modified: None,
        length: CHUNK as u64,
        body: Arc::new(Body::of(CHUNK as u64, vec![chunk.id])),
        freshness: Freshness {
            lifetime: 60,
            initial_age: 0,
            received: clock::now(),
            validate_always: false,
            forbid_stale: false,
            stale_while_revalidate: 0,
            stale_if_error: 0,
        },
        born: Number { identity: Identity([0; 16]), n: 1 },
        tags: Tags::default(),
    });
    Arc::new(Slot::default().with(Arc::new(stored)))
}

/// Comes as a fill brings it, and is not asked for again.
fn comes(memory: &Memory, pages: Range<u64>) {
    for number in pages {
        let chunk = chunk(number);
        assert!(memory.slot(&key(number)).is_none());
        memory.keep_chunk(&chunk);
        memory.change(&key(number), |_| Change::Becomes(slot(&chunk)));
        memory.settle();
    }
}

/// Asks for it as a request does. Tells whether it is there.
fn is_hit(memory: &Memory, number: u64) -> bool {
    let Some(slot) = memory.slot(&key(number)) else { return false };
    slot.responses()[0].remember_check(1);
    memory.pieces(&slot.responses()[0].body, 0, CHUNK as u64 - 1).is_some()
}

#[test]
fn what_nobody_reads_passes_through_and_the_last_is_there() {
    let memory = memory();
    comes(&memory, 0..20);
    for number in 20..400 {
        comes(&memory, number..number + 1);
        assert!(memory.has_chunk(&chunk(number).id) && memory.has_slot(&key(number)), "{number}");
    }
    assert!(memory.held.weighted_size() <= memory.capacity);
    assert!(memory.held.weighted_size() > memory.capacity / 2, "and no more goes than must");
    assert!(is_hit(&memory, 399) && is_hit(&memory, 380) && !is_hit(&memory, 0) && !is_hit(&memory, 300));
}

#[test]
fn what_was_read_is_not_washed_out() {
    let memory = memory();
    comes(&memory, 0..20);
    assert!((0..10).all(|number| is_hit(&memory, number)));
    comes(&memory, 100..1_000);
    assert!((0..10).all(|number| is_hit(&memory, number)), "however much comes");
    assert!(is_hit(&memory, 999), "and there is room for what does");
}

#[test]
fn a_chunk_is_in_use_once_it_was_read_or_came_again() {
    let memory = memory();
    let (hooks, [read, again, neither, gone]) =
        (memory.hooks(|| Number { identity: Identity([0; 16]), n: 0 }), [1, 2, 3, 4].map(chunk));
    [&read, &again, &neither].into_iter().for_each(|chunk| memory.keep_chunk(chunk));
    assert!(memory.chunk(&read.id).is_some() && memory.chunk(&gone.id).is_none());
    memory.keep_chunk(&again);
    let hot = [&read, &again, &neither, &gone].map(|chunk| (hooks.hot)(&chunk.id));
    assert_eq!(hot, [true, true, false, false]);
    memory.held.invalidate_all();
    memory.settle();
    assert!(!(hooks.hot)(&read.id), "it is not here any more");
    memory.keep_chunk(&read);
    assert!(!(hooks.hot)(&read.id), "nobody read it since it was stored anew");
    (hooks.raised)(&gone);
    assert!((hooks.hot)(&gone.id), "who had it read from disk read it");
}

#[test]
fn a_head_is_in_use_once_it_was_looked_at_for_a_request() {
    let memory = memory();
    let hooks = memory.hooks(|| Number { identity: Identity([0; 16]), n: 0 });
    comes(&memory, 0..2);
    assert!(!(hooks.hot_slot)(&key(0)) && !(hooks.hot_slot)(&key(9)));
    assert!(is_hit(&memory, 0));
    assert!((hooks.hot_slot)(&key(0)) && !(hooks.hot_slot)(&key(1)));
}
