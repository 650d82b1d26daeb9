//! An answer that a thread gives and any number of tasks or threads wait for, without a channel for each of them.
//!
//! A task that no longer waits takes its waker out and leaves nothing behind.

use crate::clock;
use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Instant,
};

/// What is being found out, and who waits for it.
pub(super) struct Answer<T>(Mutex<State<T>>);

enum State<T> {
    /// Not known yet. Each who waits has a number of its own, by which it finds its waker again: they stand in order.
    Open {
        next: u64,
        wakers: Vec<(u64, Waker)>,
    },
    Given(T),
}

impl<T: Clone> Answer<T> {
    pub(super) fn open() -> Arc<Answer<T>> {
        Arc::new(Answer(Mutex::new(State::Open { next: 0, wakers: Vec::new() })))
    }

    /// Gives the answer to all who wait, and to all who will.
    pub(super) fn give(&self, answer: T) {
        let before = mem::replace(&mut *self.state(), State::Given(answer));
        if let State::Open { wakers, .. } = before {
            wakers.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits for an answer.
pub(super) struct Waiting<T: Clone> {
    answer: Arc<Answer<T>>,
    /// Its number among those who wait, once it was polled.
    number: Option<u64>,
}

impl<T: Clone> Waiting<T> {
    pub(super) fn for_answer(answer: Arc<Answer<T>>) -> Waiting<T> {
        Waiting { answer, number: None }
    }

    /// Has this thread wait for it until then.
    pub(super) fn wait(mut self, until: Instant) -> Option<T> {
        let waker = Waker::from(Arc::new(Unparks(thread::current())));
        loop {
            match Pin::new(&mut self).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => return Some(answer),
                Poll::Pending => {}
            }
            let left = until.saturating_duration_since(clock::instant());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(left);
        }
    }
}

/// Wakes a thread.
struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Unparks>) {
        self.0.unpark();
    }
}

impl<T: Clone> Future for Waiting<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Waiting { answer, number } = &mut *self;
        match &mut *answer.state() {
            State::Given(answer) => return Poll::Ready(answer.clone()),
            State::Open { next, wakers } => {
                let number = number.get_or_insert_with(|| {
                    *next += 1;
                    *next
                });
                match wakers.binary_search_by_key(number, |(of, _)| *of) {
                    Ok(at) => wakers[at].1.clone_from(context.waker()),
                    Err(at) => wakers.insert(at, (*number, context.waker().clone())),
                }
            }
        }
        Poll::Pending
    }
}

impl<T: Clone> Drop for Waiting<T> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        if let State::Open { wakers, .. } = &mut *self.answer.state()
            && let Ok(at) = wakers.binary_search_by_key(&number, |(of, _)| *of)
        {
            wakers.remove(at);
        }
    }
}
