//! The runs of a body and the places of its readers: who waits for whom, and what may be let go.

use super::{
    Cut, Found, Room, RunId, Window,
    run::{Run, Sealed},
};
use crate::{
    access::Learner,
    cache::{Buffers, CHUNK},
    clock,
};
use std::{
    sync::Arc,
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
    /// Who reads, where the LMS decides who may.
    pub(super) learner: Option<Arc<Learner>>,
    /// What it gets where it finds nothing more.
    pub(super) cut: Option<Cut>,
}

pub(super) struct State {
    pub(super) runs: Vec<Run>,
    pub(super) buffers: Buffers,
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
        self.drop_unread();
        let id = RunId(self.begun);
        self.begun += 1;
        self.runs.push(Run::new(id, start, end, self.buffers.clone()));
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

    /// A reader sits down at `at`.
    pub(super) fn sit(&mut self, at: u64) -> usize {
        let place =
            Some(Place { at, end: u64::MAX, moved: clock::instant(), waker: None, cut: None, learner: None });
        let free = self.places.iter().position(Option::is_none);
        let index = free.unwrap_or(self.places.len());
        match free {
            Some(free) => self.places[free] = place,
            None => self.places.push(place),
        }
        self.wake_writers();
        index
    }

    /// Whether a reader from `at` on can have all there is behind: nothing was let go that cannot be had again.
    pub(super) fn has_from(&mut self, at: u64) -> bool {
        let lost = |run: &mut Run| run.start <= at && at < run.lost();
        self.fetches || self.with_whole || !self.runs.iter_mut().any(lost)
    }

    pub(super) fn slowest(&self) -> u64 {
        self.places().map(|place| place.at).min().unwrap_or(u64::MAX)
    }

    /// May this run grow? What the disk has by now is let go first.
    pub(super) fn room(&mut self, run: usize, window: Window) -> Room {
        self.let_go(run, window);
        let (run, keep) = (&self.runs[run], self.keep);
        let only = CHUNK as u64;
        let Window { held, ahead } = if keep { window } else { Window { held: only, ahead: only } };
        let (slowest, fastest) = (self.slowest(), self.readers_of(run).map(|place| place.at).max());
        let beyond = |at: u64, window: u64| run.came >= at.saturating_add(window);
        if fastest.is_some_and(|fastest| beyond(fastest, ahead)) {
            return Room::Ahead;
        }
        // Somebody needs what the window holds, and can have it nowhere else.
        let needed =
            if self.fetches { fastest.is_some_and(|at| beyond(at, held)) } else { beyond(slowest, held) };
        if !needed || (keep && !run.is_full(held)) {
            return Room::Free;
        }
        if run.sealed.front().is_some_and(Sealed::is_undecided) {
            return Room::Writing;
        }
        let moved = self.places().filter(|place| place.at == slowest).map(|place| place.moved).min();
        let others = !self.fetches && self.readers_of(run).any(|place| place.at > slowest);
        match moved.filter(|_| others) {
            // Written since it was looked at above: it goes the next time.
            Some(_) if run.sealed.front().is_some_and(Sealed::is_kept) => Room::Writing,
            Some(moved) => Room::Lags(moved),
            None => Room::Ahead,
        }
    }

    /// Lets chunks go that nobody needs any more, or that whoever does can have from disk or again from the origin. Never
    /// those that the first of its readers still needs, which is at most a window behind, unless the run may be farther ahead
    /// and the disk has them.
    pub(super) fn let_go(&mut self, run: usize, window: Window) {
        let (slowest, keep, fetches) = (self.slowest(), self.keep, self.fetches);
        let within = self.runs[run].held..=self.runs[run].came;
        let first = self.places().map(|place| place.at).filter(|at| within.contains(at)).max();
        let run = &mut self.runs[run];
        while let Some(oldest) = run.sealed.front() {
            let end = run.held + oldest.bytes.len() as u64;
            let (unread, kept) = (end > slowest, oldest.is_kept());
            let by_first = first.is_some_and(|first| end > first) && !(kept && window.ahead > window.held);
            let needed = by_first || (unread && !fetches && !kept);
            if if keep { !run.is_full(window.held) || needed } else { unread } {
                break;
            }
            run.let_go();
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

    /// A run that is over and can be had again is forgotten when nobody is in it: its window is for the next one.
    fn drop_unread(&mut self) {
        let State { runs, places, fetches, .. } = self;
        let read = |run: &Run| places.iter().flatten().any(|place| (run.held..run.shown).contains(&place.at));
        runs.retain(|run| !*fetches || !run.is_over() || read(run));
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

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: u64 = 100 * CHUNK as u64;

    /// A run that is over, far behind the beginning, and a reader at `at`.
    fn state(at: u64, fetches: bool) -> State {
        let place =
            Place { at, end: u64::MAX, moved: clock::instant(), waker: None, cut: None, learner: None };
        let mut state = State {
            runs: Vec::new(),
            buffers: Buffers::default(),
            begun: 0,
            places: vec![Some(place)],
            keep: true,
            fetches,
            with_whole: false,
        };
        state.begin(FAR, Some(FAR + CHUNK as u64));
        let run = &mut state.runs[0];
        run.append(&[7; CHUNK], None).unwrap();
        run.shown = run.came;
        assert!(run.is_over());
        state
    }

    #[test]
    fn what_nobody_is_in_and_can_be_had_again_makes_way_for_the_next_run() {
        for (at, fetches, runs) in [(0, true, 1), (FAR + 5, true, 2), (0, false, 2)] {
            let mut state = state(at, fetches);
            state.begin(0, Some(CHUNK as u64));
            assert_eq!(state.runs.len(), runs, "a reader at {at}, fetches: {fetches}");
        }
    }
}
