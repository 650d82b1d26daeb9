//! The runs of a body and the places of its readers: who waits for whom, and what may be let go.

use super::{Cut, Found, Room, RunId, run::Run};
use crate::cache::CHUNK;
use bytes::BytesMut;
use std::{
    collections::VecDeque,
    task::{Context, Waker},
    time::Instant,
};

/// How far ahead of a run a reader may be and still wait for it, and how far before its start it may be and still count
/// as its reader, bytes.
const NEAR: u64 = 4 * CHUNK as u64;

pub(super) struct Place {
    pub(super) at: u64,
    /// Where its range ends; `u64::MAX`: with the body.
    pub(super) end: u64,
    pub(super) moved: Instant,
    pub(super) waker: Option<Waker>,
    /// What it gets where it finds nothing more.
    pub(super) cut: Option<Cut>,
}

pub(super) struct State {
    pub(super) runs: Vec<Run>,
    pub(super) begun: u64,
    pub(super) places: Vec<Option<Place>>,
    pub(super) keep: bool,
    /// Missing chunks can be had from the origin.
    pub(super) fetches: bool,
    /// Not by themselves, but with the whole.
    pub(super) with_whole: bool,
}

impl State {
    pub(super) fn begin(&mut self, start: u64, end: Option<u64>) -> RunId {
        if !self.keep {
            // Who waited for a part gets the whole of what only passes through.
            for place in self.places.iter_mut().flatten() {
                place.at = place.at.min(start);
            }
        }
        let id = RunId(self.begun);
        self.begun += 1;
        let (sealed, open) = (VecDeque::new(), BytesMut::new());
        self.runs.push(Run {
            id,
            start,
            sealed,
            held: start,
            open,
            came: start,
            shown: start,
            end,
            writer: None,
        });
        id
    }

    pub(super) fn gives_no_parts(&mut self) {
        self.with_whole |= self.fetches;
        self.fetches = false;
    }

    pub(super) fn run(&mut self, id: RunId) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.id == id)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().flatten().filter(|place| place.cut.is_none())
    }

    /// Readers that want more of a run than came: those in it or near. Where nothing can be had again, all that want more.
    pub(super) fn readers_of<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = &'a Place> {
        self.places().filter(move |place| {
            let near = place.at + NEAR >= run.start && place.at <= run.came + NEAR;
            place.end > run.shown && run.end.is_none_or(|end| place.at < end) && (near || !self.fetches)
        })
    }

    pub(super) fn slowest(&self) -> u64 {
        self.places().map(|place| place.at).min().unwrap_or(u64::MAX)
    }

    pub(super) fn room(&self, run: usize, window: u64) -> Room {
        let (run, window) = (&self.runs[run], if self.keep { window } else { CHUNK as u64 });
        let fastest = self.readers_of(run).map(|place| place.at).max();
        if fastest.is_some_and(|fastest| run.came >= fastest + window) {
            return Room::Ahead;
        }
        if self.fetches || run.came < self.slowest().saturating_add(window) {
            return Room::Free;
        }
        let slowest = self.slowest();
        let moved = self.places().filter(|place| place.at == slowest).map(|place| place.moved).min();
        let others = self.readers_of(run).any(|place| place.at > slowest);
        moved.filter(|_| others).map_or(Room::Ahead, Room::Lags)
    }

    /// Lets chunks go that nobody needs any more, or that must be had again by who does; never those that the first of its
    /// readers still needs, which is at most a window behind.
    pub(super) fn let_go(&mut self, run: usize, window: u64) {
        let (slowest, keep, fetches) = (self.slowest(), self.keep, self.fetches);
        let within = self.runs[run].held..=self.runs[run].came;
        let first = self.places().map(|place| place.at).filter(|at| within.contains(at)).max();
        let run = &mut self.runs[run];
        while let Some(oldest) = run.sealed.front() {
            let end = run.held + oldest.len() as u64;
            let full = run.sealed.len() as u64 * CHUNK as u64 >= window;
            let unread = end > slowest;
            let needed = first.is_some_and(|first| end > first) || (unread && !fetches);
            if if keep { !full || needed } else { unread } {
                break;
            }
            run.held = end;
            run.sealed.pop_front();
        }
    }

    /// A run that is over is forgotten when nobody reads what it holds.
    pub(super) fn drop_idle(&mut self) {
        let State { runs, places, .. } = self;
        runs.retain(|run| {
            !run.is_over()
                || places.iter().flatten().any(|place| place.at < run.shown && place.end > run.held)
        });
    }

    /// Whether a run will bring the byte at `at` before long.
    pub(super) fn coming(&self, at: u64) -> bool {
        self.runs.iter().any(|run| {
            let within = at >= run.shown && run.end.is_none_or(|end| at < end);
            within && (at <= run.came + NEAR || !self.fetches)
        })
    }

    /// Whether a run holds the byte at `at`, or will bring it before long.
    pub(super) fn has(&self, at: u64) -> bool {
        self.coming(at) || self.runs.iter().any(|run| (run.held..run.came).contains(&at))
    }

    pub(super) fn wait(&mut self, place: usize, at: u64, cx: &Context<'_>) -> Found {
        let coming = self.coming(at);
        let Some(place) = self.places.get_mut(place).and_then(Option::as_mut) else { return Found::Missing };
        if let Some(cut) = place.cut {
            return Found::Cut(cut);
        }
        if !coming {
            return Found::Missing;
        }
        place.waker = Some(cx.waker().clone());
        // Another reader at the end of what came may now be held up.
        self.wake_writers();
        Found::Coming
    }

    pub(super) fn wake_readers(&mut self) {
        for waker in self.places.iter_mut().flatten().filter_map(|place| place.waker.take()) {
            waker.wake();
        }
    }

    pub(super) fn wake_writers(&mut self) {
        for waker in self.runs.iter_mut().filter_map(|run| run.writer.take()) {
            waker.wake();
        }
    }
}
