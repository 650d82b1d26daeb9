//! Waiting: for an event or a state, never for a time, and never without an end.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

/// Long enough for a loaded machine; only a failing test waits so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at a state that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(5);

/// The future's value, or a panic that says what did not happen, and where the test waited for it.
#[track_caller]
pub(crate) fn within<F: Future>(what: impl Display, future: F) -> impl Future<Output = F::Output> {
    let place = Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{place}: within {DEADLINE:?} no {what}"),
        }
    }
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually<C: AsyncFnMut() -> bool>(
    what: impl Display,
    mut condition: C,
) -> impl Future<Output = ()> {
    within(what, async move {
        let mut looks = tokio::time::interval(LOOK);
        while !condition().await {
            looks.tick().await;
        }
    })
}

/// Waits until a value is the expected one; the panic also tells the last value.
#[track_caller]
pub(crate) fn eventually_is<T: PartialEq + Debug>(
    what: impl Display,
    expected: T,
    mut value: impl FnMut() -> T,
) -> impl Future<Output = ()> {
    let place = Location::caller();
    async move {
        let mut looks = tokio::time::interval(LOOK);
        let wait = async {
            while value() != expected {
                looks.tick().await;
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("{place}: after {DEADLINE:?} {what} is {:?}, not {expected:?}", value());
        }
    }
}
