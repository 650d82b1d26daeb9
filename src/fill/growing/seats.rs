//! What readers do at a growing body: sit, look, move on, leave.

use super::{Found, Growing, run::index};
use crate::{access::Learner, clock};
use std::{
    sync::Arc,
    task::{Context, Poll},
};

impl Growing {
    /// Takes a seat at `at`.
    pub(in crate::fill) fn sit(&self, at: u64) -> usize {
        self.state().sit(at)
    }

    /// Takes a seat at `at` if all there is behind can be had: in one step, as a run lets go what nobody sits at.
    pub(in crate::fill) fn sit_if_has_from(&self, at: u64) -> Option<usize> {
        let mut state = self.state();
        state.has_from(at).then(|| state.sit(at))
    }

    /// It is this learner who sits there.
    pub(in crate::fill) fn speaks(&self, place: usize, learner: &Arc<Learner>) {
        if let Some(place) = &mut self.state().places[place] {
            place.learner = Some(learner.clone());
        }
    }

    /// The learners who read now, in whose names more can be asked for.
    pub(in crate::fill) fn learners(&self) -> Vec<Arc<Learner>> {
        self.state().places().filter_map(|place| place.learner.clone()).collect()
    }

    /// The reader leaves.
    pub(in crate::fill) fn stand_up(&self, place: usize) {
        let mut state = self.state();
        state.places[place] = None;
        for run in 0..state.runs.len() {
            state.let_go(run, self.window);
        }
        state.drop_idle();
        state.wake_writers();
    }

    /// The reader now reads from `at` to before `end`.
    pub(in crate::fill) fn move_to(&self, place: usize, at: u64, end: u64) {
        let mut state = self.state();
        if let Some(place) = &mut state.places[place] {
            (place.at, place.end, place.moved) = (at, end, clock::instant());
        }
        for run in 0..state.runs.len() {
            state.let_go(run, self.window);
        }
        state.wake_writers();
    }

    /// What the reader finds at `at`. If something comes, it is woken then.
    pub(in crate::fill) fn find(&self, place: usize, at: u64, cx: &Context<'_>) -> Found {
        let mut state = self.state();
        if let Some(bytes) = state.runs.iter().find_map(|run| run.piece(at)) {
            return Found::Bytes(bytes);
        }
        // What came and is not shown yet is had with the run's end.
        let withheld = state.runs.iter().any(|run| (run.shown..run.came).contains(&at));
        match self.body.id(index(at)).filter(|_| !withheld) {
            Some(id) => Found::Named(id),
            None => state.wait(place, at, cx),
        }
    }

    /// The reader has taken what is before `at`.
    pub(in crate::fill) fn took(&self, place: usize, at: u64) {
        let mut state = self.state();
        if let Some(place) = &mut state.places[place] {
            (place.at, place.moved) = (at, clock::instant());
        }
        for run in 0..state.runs.len() {
            state.let_go(run, self.window);
        }
        state.wake_writers();
    }

    /// Whether the byte at `last` was shown or the body ended before it; not if it was cut. Until then the reader waits.
    pub(in crate::fill) fn reaches(&self, place: usize, last: u64, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        let reached = self.body.length().is_some() || state.runs.iter().any(|run| run.shown > last);
        let Some(place) = state.places[place].as_mut().filter(|place| !reached && place.cut.is_none()) else {
            return Poll::Ready(reached);
        };
        place.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// As [`Growing::find`], where the chunk is in no tier though it has a name.
    pub(in crate::fill) fn wait(&self, place: usize, at: u64, cx: &Context<'_>) -> Found {
        self.state().wait(place, at, cx)
    }
}
