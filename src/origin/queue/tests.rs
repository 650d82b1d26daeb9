//! Whose turn it is: by site, by class, by method; who has to leave; what a flood does to the others.

use super::*;
use crate::telemetry::Metrics;
use std::pin::Pin;

const LONG: Duration = Duration::from_secs(60);

/// Places without a reserve.
fn places(all: usize, longest: usize) -> Places {
    Places { all, reserved: 0, per_site: all, longest, wait: LONG }
}

fn queue(places: Places) -> (Arc<Queue>, Arc<Metrics>) {
    let metrics = Metrics::new();
    (Queue::new("lms", places, metrics.requests_of("lms")), metrics)
}

fn turn(site: &str, class: Class) -> Turn {
    Turn { site: site.into(), class }
}

fn page(site: &str) -> Turn {
    turn(site, Class::Page)
}

type Admitting<'a> = Pin<Box<dyn Future<Output = Result<Permit, Busy>> + Send + 'a>>;

/// One who waits: it is in the queue before this returns.
fn waits<'a>(queue: &'a Arc<Queue>, turn: &'a Turn, safe: bool) -> Admitting<'a> {
    let mut admitting: Admitting<'a> = Box::pin(queue.admit(turn, safe));
    assert!(poll(&mut admitting).is_none(), "there was a place");
    admitting
}

fn poll(admitting: &mut Admitting<'_>) -> Option<Result<Permit, Busy>> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match admitting.as_mut().poll(&mut context) {
        std::task::Poll::Ready(done) => Some(done),
        std::task::Poll::Pending => None,
    }
}

fn queued(metrics: &Metrics) -> i64 {
    metrics.origin_queued.with_label_values(&["lms"]).get()
}

fn in_flight(metrics: &Metrics) -> i64 {
    metrics.origin_in_flight.with_label_values(&["lms"]).get()
}

fn turned_away(metrics: &Metrics, site: &str, class: &str) -> u64 {
    metrics.origin_turned_away.with_label_values(&["lms", site, class]).get()
}

#[tokio::test]
async fn a_place_given_back_goes_to_the_first_who_waits() {
    let (queue, metrics) = queue(places(1, 2));
    let a = page("a");
    let place = queue.admit(&a, true).await.unwrap();
    assert_eq!(in_flight(&metrics), 1);
    let mut first = waits(&queue, &a, true);
    let mut second = waits(&queue, &a, true);
    assert_eq!(queued(&metrics), 2);
    drop(place);
    assert!(poll(&mut second).is_none());
    let place = poll(&mut first).unwrap().unwrap();
    drop(second);
    drop(place);
    assert_eq!((queued(&metrics), in_flight(&metrics)), (0, 0));
    assert!(queue.admit(&a, true).await.is_ok(), "a waiter that left took no place with it");
    assert!(queue.state().sites.is_empty(), "a site without requests is forgotten");
}

#[tokio::test]
async fn a_place_given_to_one_who_left_goes_on_to_the_next() {
    let (queue, metrics) = queue(places(1, 2));
    let a = page("a");
    let place = queue.admit(&a, true).await.unwrap();
    let first = waits(&queue, &a, true);
    let mut second = waits(&queue, &a, true);
    drop(place);
    drop(first);
    assert!(poll(&mut second).unwrap().is_ok());
    assert_eq!((queued(&metrics), in_flight(&metrics)), (0, 0));
}

#[tokio::test]
async fn the_class_a_learner_waits_for_most_goes_first() {
    let (queue, _metrics) = queue(places(1, 10));
    let place = queue.admit(&page("a"), true).await.unwrap();
    let turns: Vec<_> = Class::ALL.iter().rev().map(|class| turn("a", *class)).collect();
    let mut waiting: Vec<_> = turns.iter().map(|turn| waits(&queue, turn, true)).collect();
    let mut place = Some(place);
    while let Some(mut next) = waiting.pop() {
        drop(place.take());
        assert!(waiting.iter_mut().all(|other| poll(other).is_none()));
        place = Some(poll(&mut next).unwrap().unwrap());
    }
}

#[tokio::test]
async fn the_site_with_the_fewest_in_flight_goes_first_and_warm_up_last() {
    let (queue, _metrics) = queue(places(3, 10));
    let (a, film, warm) = (page("a"), turn("b", Class::Film), turn("c", Class::WarmUp));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(queue.admit(&a, true).await.unwrap());
    }
    let mut warms = waits(&queue, &warm, true);
    let mut flood = waits(&queue, &a, true);
    let mut other = waits(&queue, &film, true);
    held.pop();
    let got = poll(&mut other).unwrap().unwrap();
    held.pop();
    let more = poll(&mut flood).unwrap().unwrap();
    assert!(poll(&mut warms).is_none());
    drop((got, more));
    assert!(poll(&mut warms).unwrap().is_ok());
}

#[tokio::test]
async fn unsafe_methods_have_places_of_their_own_and_leave_as_many_to_others() {
    let (queue, _metrics) = queue(Places { reserved: 2, ..places(6, 10) });
    let a = page("a");
    let mut safe = Vec::new();
    for _ in 0..4 {
        safe.push(queue.admit(&a, true).await.unwrap());
    }
    let mut page = waits(&queue, &a, true);
    let mut commits = vec![queue.admit(&a, false).await.unwrap(), queue.admit(&a, false).await.unwrap()];
    let mut commit = waits(&queue, &a, false);
    // The reserve is full, and a place of the others came back: both may take it, a site's commits go first.
    safe.pop();
    commits.push(poll(&mut commit).unwrap().unwrap());
    assert!(poll(&mut page).is_none());
    safe.pop();
    safe.push(poll(&mut page).unwrap().unwrap());
    safe.clear();
    commits.push(queue.admit(&a, false).await.unwrap());
    let mut fifth = waits(&queue, &a, false);
    let pages = [queue.admit(&a, true).await.unwrap(), queue.admit(&a, true).await.unwrap()];
    drop(pages);
    assert!(poll(&mut fifth).is_none(), "what is left is not for unsafe methods");
    drop(commits);
    assert!(poll(&mut fifth).unwrap().is_ok());
}

#[tokio::test]
async fn a_site_has_no_more_than_its_cap() {
    let (queue, _metrics) = queue(Places { per_site: 2, ..places(4, 10) });
    let (a, b) = (page("a"), page("b"));
    let held = [queue.admit(&a, true).await.unwrap(), queue.admit(&a, true).await.unwrap()];
    let mut third = waits(&queue, &a, true);
    let other = queue.admit(&b, true).await.unwrap();
    drop(other);
    assert!(poll(&mut third).is_none());
    drop(held);
    assert!(poll(&mut third).unwrap().is_ok());
}

#[tokio::test]
async fn a_full_queue_turns_away_and_says_when_to_come_back() {
    let (queue, metrics) = queue(places(1, 0));
    let a = turn("a", Class::Film);
    let _place = queue.admit(&a, true).await.unwrap();
    let busy = queue.admit(&a, true).await.unwrap_err();
    assert!(busy.retry_after >= RETRY.0 && busy.retry_after <= RETRY.1);
    assert_eq!(turned_away(&metrics, "a", "film"), 1);
    queue.state().drain.gap = Duration::from_millis(3100);
    assert_eq!(queue.admit(&a, true).await.unwrap_err().retry_after, Duration::from_secs(4));
    queue.state().drain.gap = Duration::from_secs(4000);
    assert_eq!(queue.admit(&a, true).await.unwrap_err().retry_after, RETRY.1);
}

#[tokio::test]
async fn in_a_full_queue_the_last_of_a_flood_makes_room_for_others() {
    let (queue, metrics) = queue(places(1, 3));
    let (a, film, b) = (page("a"), turn("a", Class::Film), page("b"));
    let place = queue.admit(&a, true).await.unwrap();
    let mut flood = [waits(&queue, &a, true), waits(&queue, &film, true), waits(&queue, &a, true)];
    assert!(queue.admit(&film, true).await.is_err(), "not one of the flood itself");
    let mut better = waits(&queue, &a, true);
    assert!(poll(&mut flood[1]).unwrap().is_err(), "but a page before a film of the same site");
    let mut other = waits(&queue, &b, true);
    assert!(poll(&mut better).unwrap().is_err());
    assert!(queue.admit(&b, true).await.is_err(), "sites that have as many keep what they have");
    assert_eq!((queued(&metrics), turned_away(&metrics, "a", "film")), (3, 2));
    let [mut first, _, last] = flood;
    drop(last);
    drop(place);
    let place = poll(&mut first).unwrap().unwrap();
    drop(place);
    assert!(poll(&mut other).unwrap().is_ok());
    drop(first);
    assert_eq!((queued(&metrics), in_flight(&metrics)), (0, 0));
}

#[tokio::test]
async fn a_wait_too_long_is_busy_and_leaves_nothing_behind() {
    let (queue, metrics) = queue(Places { wait: Duration::from_millis(1), ..places(1, 5) });
    let a = page("a");
    let place = queue.admit(&a, true).await.unwrap();
    assert!(queue.admit(&a, true).await.is_err());
    assert_eq!(queued(&metrics), 0);
    drop(place);
    assert!(queue.admit(&a, true).await.is_ok());
}

/// All of a test is one task, which tokio would want to rest.
fn at_once(queue: &Arc<Queue>, turn: &Turn) -> Admitting<'static> {
    let (queue, turn) = (queue.clone(), turn.clone());
    Box::pin(tokio::task::unconstrained(async move { queue.admit(&turn, true).await }))
}

/// Plays an origin of 16 places that takes 4 ticks for a request. Each of 93 sites asks once in 93 ticks; with a flood, one more asks for 20
/// in each tick. Gives the time that each request of the quiet sites took, in ticks, sorted; a request turned away took for ever.
fn quiet_sites(flood: bool) -> Vec<u64> {
    let (queue, _metrics) = queue(places(16, 64));
    let turns: Vec<_> = (0..94).map(|site| page(&format!("site-{site}"))).collect();
    let (mut took, mut waiting, mut served) =
        (Vec::new(), Vec::<(u64, usize, Admitting<'static>)>::new(), Vec::new());
    for tick in 0..2000_u64 {
        served.retain(|(end, _permit)| *end > tick);
        let quiet = (tick % 93) as usize;
        let asked = std::iter::once(quiet).chain(std::iter::repeat_n(93, if flood { 20 } else { 0 }));
        waiting.extend(asked.map(|site| (tick, site, at_once(&queue, &turns[site]))));
        waiting.retain_mut(|(came, site, admitting)| {
            let Some(done) = poll(admitting) else { return true };
            let spent = match done {
                Ok(permit) => {
                    served.push((tick + 4, permit));
                    tick + 4 - *came
                }
                Err(_) => u64::MAX,
            };
            if *site != 93 {
                took.push(spent);
            }
            false
        });
        let state = queue.state();
        assert!(state.in_flight.iter().sum::<usize>() <= 16 && state.waiting <= 64);
    }
    took.sort_unstable();
    took
}

#[tokio::test]
async fn a_flood_of_one_site_leaves_the_p99_of_the_others_within_twice() {
    let p99 = |took: &[u64]| took[took.len() * 99 / 100];
    let (calm, flooded) = (quiet_sites(false), quiet_sites(true));
    assert!(calm.len() > 1900 && flooded.len() > 1900);
    assert!(p99(&flooded) <= 2 * p99(&calm), "{} {}", p99(&flooded), p99(&calm));
    assert_ne!(flooded.last(), Some(&u64::MAX), "none of the others is turned away");
}
