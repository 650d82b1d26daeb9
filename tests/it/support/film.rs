//! Long bodies: bytes that follow from a seed and a place, so that gibibytes need no memory on either side.

use std::sync::Arc;

use super::answer::Answer;
use super::message::Reply;

/// A prime, so that nothing that is misplaced by whole chunks looks right.
const PERIOD: usize = 65_521;
/// The most that is sent at a time.
pub(crate) const PIECE: usize = 16 << 10;

/// A body of some length. Films of different seeds differ everywhere.
#[derive(Clone)]
pub(crate) struct Film {
    pub(crate) seed: u64,
    pub(crate) length: u64,
    table: Arc<[u8]>,
}

impl Film {
    pub(crate) fn new(seed: u64, length: u64) -> Film {
        let mut state = seed;
        let mut table: Vec<u8> = Vec::with_capacity(PERIOD + PIECE);
        while table.len() < PERIOD {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            table.extend_from_slice(&(z ^ (z >> 31)).to_be_bytes());
        }
        table.truncate(PERIOD);
        table.extend_from_within(..PIECE);
        Film { seed, length, table: table.into() }
    }

    /// Its strong ETag: another for each seed.
    pub(crate) fn tag(&self) -> String {
        format!("\"film-{}\"", self.seed)
    }

    /// At most [`PIECE`] bytes from this place on, not beyond `end`.
    pub(crate) fn piece(&self, at: u64, end: u64) -> &[u8] {
        let from = usize::try_from(at % PERIOD as u64).unwrap();
        let n = usize::try_from(end.min(self.length).saturating_sub(at)).unwrap().min(PIECE);
        &self.table[from..from + n]
    }

    /// The bytes from `first` up to and without `end`.
    pub(crate) fn bytes(&self, first: u64, end: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while first + (bytes.len() as u64) < end.min(self.length) {
            bytes.extend_from_slice(self.piece(first + bytes.len() as u64, end));
        }
        bytes
    }

    /// Are these its bytes from `at` on?
    pub(crate) fn is_at(&self, at: u64, bytes: &[u8]) -> bool {
        let fits = |(n, piece): (usize, &[u8])| {
            let at = at + (n * PIECE) as u64;
            self.piece(at, at + piece.len() as u64) == piece
        };
        bytes.chunks(PIECE).enumerate().all(fits)
    }

    /// What may be stored: fresh for ten minutes, with its strong ETag; ranges, `If-Range` and conditions are obeyed.
    pub(crate) fn answer(&self) -> Answer {
        self.bare()
            .field("Content-Type", "video/mp4")
            .field("Cache-Control", "public, max-age=600")
            .field("ETag", self.tag())
            .field("Accept-Ranges", "bytes")
            .conditional()
            .ranges()
    }

    /// Its bytes with status 200 and no field.
    pub(crate) fn bare(&self) -> Answer {
        Answer { film: Some((self.clone(), 0, self.length)), ..Answer::ok("") }
    }
}

/// Compares a reply's body with a film while it comes, and keeps nothing of it.
pub(crate) struct Watched {
    film: Film,
    /// The next byte's place.
    pub(crate) at: u64,
}

impl Watched {
    /// From this place on.
    pub(crate) fn from(film: &Film, at: u64) -> Watched {
        Watched { film: film.clone(), at }
    }

    /// Takes what came of the body. Panics if it is anything else.
    #[track_caller]
    pub(crate) fn take(&mut self, reply: &mut Reply) {
        assert!(self.film.is_at(self.at, &reply.body), "other bytes behind {}: {reply}", self.at);
        self.at += reply.body.len() as u64;
        reply.body.clear();
    }
}
