//! Several fronts: which comes next, which is left out, when it is back, what goes to a second one.

use super::*;
use crate::origin::{Balance, CheckSettings, balance::Choice};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU16, AtomicUsize, Ordering},
};

/// A front that closes the connection before its answer.
const CLOSES: u16 = 0;
/// A front that answers the first request of a connection, and closes it at the second.
const ONCE: u16 = 1;

/// A front that answers each request, on a connection of its own, with a status that the test sets, or as one of these words says.
struct Played {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
    heads: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Played {
    async fn start() -> Played {
        let (listener, address) = listen().await;
        let front = Played {
            address,
            status: Arc::new(AtomicU16::new(200)),
            asked: Arc::default(),
            heads: Arc::default(),
        };
        let (status, asked, heads) = (front.status.clone(), front.asked.clone(), front.heads.clone());
        tokio::spawn(async move {
            loop {
                let mut stream = accept(&listener).await;
                let (status, asked, heads) = (status.clone(), asked.clone(), heads.clone());
                tokio::spawn(async move {
                    let head = read_head(&mut stream).await;
                    heads.lock().unwrap().push(head);
                    asked.fetch_add(1, Ordering::SeqCst);
                    match status.load(Ordering::SeqCst) {
                        CLOSES => {}
                        ONCE => {
                            send(&mut stream, "HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").await;
                            // Closed with something unread, as by a server that was about to: a reset.
                            _ = stream.read_u8().await;
                        }
                        status => {
                            let rest = "content-length: 0\r\nconnection: close\r\n\r\n";
                            send(&mut stream, &format!("HTTP/1.1 {status} x\r\n{rest}")).await;
                        }
                    }
                });
            }
        });
        front
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn three() -> [Played; 3] {
    [Played::start().await, Played::start().await, Played::start().await]
}

fn addresses(fronts: &[Played]) -> Vec<SocketAddr> {
    fronts.iter().map(|front| front.address).collect()
}

fn up(metrics: &Metrics, front: &Played) -> bool {
    let series = format!("lectern_origin_front_up{{front=\"{}\",origin=\"lms\"}} 1\n", front.address);
    metrics.render().contains(&series)
}

async fn server_of(origin: &Arc<Origin>, target: &str) -> SocketAddr {
    get(origin, target).await.unwrap().head.server
}

/// Until the checks have said it, asking each time a round of them.
async fn until(what: impl Fn() -> bool, origin: &Arc<Origin>) {
    within(async {
        while !what() {
            origin.tend();
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_front_with_the_fewest_requests_in_flight_comes_next() {
    let fronts = three().await;
    let mut settings = settings(&addresses(&fronts));
    settings.balance = Balance::LeastInFlight;
    let (origin, metrics) = origin_of(settings);
    let mut held = Vec::new();
    let mut counts = BTreeMap::<_, usize>::new();
    for n in 0..9 {
        let front = origin.servers.choose(Choice { key: "/", avoid: None, may_try: true }).await.unwrap();
        *counts.entry(front.address()).or_default() += 1;
        assert!(counts.values().all(|count| *count <= n / 3 + 1), "{counts:?}");
        held.push((front.address(), front.front().load()));
    }
    let idle = fronts[1].address;
    held.retain(|(front, _)| *front != idle);
    for _ in 0..3 {
        assert_eq!(server_of(&origin, "/").await, idle, "each is over before the next");
    }
    let gauges: usize = metrics.render().matches("lectern_origin_front_requests_in_flight{").count();
    assert_eq!((gauges, held.len()), (3, 6));
    drop(held);
    assert!(!metrics.render().lines().any(|line| {
        line.starts_with("lectern_origin_front_requests_in_flight{") && !line.ends_with(" 0")
    }));
}

#[tokio::test]
async fn the_same_url_goes_to_the_same_front_and_to_one_other_without_it() {
    let fronts = three().await;
    let mut settings = settings(&addresses(&fronts));
    settings.balance = Balance::Consistent;
    let (origin, _) = origin_of(settings);
    let targets: Vec<_> = (0..30).map(|n| format!("/{n}")).collect();
    let mut firsts = BTreeSet::new();
    for target in &targets {
        let first = server_of(&origin, target).await;
        firsts.insert(first);
        for _ in 0..3 {
            assert_eq!(server_of(&origin, target).await, first, "{target}");
        }
        let choice = Choice { key: target, avoid: Some(first), may_try: true };
        let second = origin.servers.choose(choice).await.unwrap().address();
        let again = origin.servers.choose(choice).await.unwrap().address();
        assert!(second == again && second != first);
    }
    assert_eq!(firsts.len(), 3);
}

#[tokio::test]
async fn a_front_that_fails_its_checks_gets_nothing_until_it_passes_them() {
    let fronts = three().await;
    let mut settings = settings(&addresses(&fronts));
    settings.check = Some(CheckSettings { interval: Duration::ZERO, ..CheckSettings::new("/health?deep=1") });
    settings.slow_start = Duration::ZERO;
    let (origin, metrics) = origin_of(settings);
    get(&origin, "/").await.unwrap();
    fronts[1].says(500);
    until(|| !up(&metrics, &fronts[1]), &origin).await;
    assert!(up(&metrics, &fronts[0]) && up(&metrics, &fronts[2]));
    for _ in 0..6 {
        assert_ne!(server_of(&origin, "/").await, fronts[1].address);
    }
    assert_eq!(metrics.origin_in_flight.with_label_values(&["lms"]).get(), 0, "a check takes no place");
    assert!(metrics.render().contains("lectern_origin_fronts_out_total{origin=\"lms\",reason=\"check\"} 1"));
    fronts[1].says(200);
    until(|| up(&metrics, &fronts[1]), &origin).await;
    within(async { while server_of(&origin, "/").await != fronts[1].address {} }).await;
    let heads = fronts[1].heads.lock().unwrap();
    let check = heads.iter().find(|head| head.contains("/health")).unwrap();
    assert!(check.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{check}");
    assert!(check.contains(&format!("Host: {}\r\n", fronts[1].address)), "{check}");
}

#[tokio::test]
async fn a_check_that_no_front_passes_takes_none_away() {
    let fronts = three().await;
    let mut settings = settings(&addresses(&fronts));
    settings.check = Some(CheckSettings { interval: Duration::ZERO, ..CheckSettings::new("/moved") });
    let (origin, metrics) = origin_of(settings);
    fronts.iter().for_each(|front| front.says(404));
    until(|| fronts.iter().all(|front| !up(&metrics, front)), &origin).await;
    assert_eq!(get(&origin, "/").await.unwrap().head.status, 404);
}

#[tokio::test]
async fn a_request_whose_front_dies_goes_to_another_if_it_is_safe() {
    let fronts = three().await;
    let mut settings = settings(&addresses(&fronts));
    settings.failures = 0;
    let (origin, metrics) = origin_of(settings);
    fronts[0].says(CLOSES);
    for _ in 0..6 {
        get(&origin, "/").await.unwrap();
    }
    let made = metrics.retries("lms").made.get();
    let asked = fronts[0].asked();
    assert!(asked > 0 && asked as u64 == made, "{asked} {made}");
    let mut failed = 0;
    for _ in 0..6 {
        failed += usize::from(fetch(&origin, request(Method::POST, "/")).await.is_err());
    }
    assert_eq!(fronts[0].asked(), asked + failed);
    assert!(failed > 0);
    assert_eq!(metrics.retries("lms").made.get(), made, "a POST that was sent is not sent again");
}

#[tokio::test]
async fn what_was_lost_with_a_pooled_connection_is_asked_again_of_the_same_front() {
    let fronts = [Played::start().await, Played::start().await];
    fronts.iter().for_each(|front| front.says(ONCE));
    let (origin, metrics) = origin_of(settings(&addresses(&fronts)));
    let first = server_of(&origin, "/").await;
    let second = server_of(&origin, "/").await;
    assert_ne!(first, second);
    for _ in 0..3 {
        assert_eq!((server_of(&origin, "/").await, server_of(&origin, "/").await), (first, second));
    }
    assert_eq!(metrics.retries("lms").made.get(), 0, "no second front");
}

#[tokio::test]
async fn the_end_of_a_pooled_connection_is_no_failure_of_its_front() {
    let front = Played::start().await;
    let (origin, _) = origin_of(settings(&[front.address]));
    let choice = Choice { key: "/", avoid: None, may_try: true };
    let endpoint = origin.servers.choose(choice).await.unwrap();
    front.says(ONCE);
    // A slow machine may find the pooled connection too old for a POST, and make a new one.
    within(async {
        loop {
            get(&origin, "/").await.unwrap();
            if let Err(error) = fetch(&origin, request(Method::POST, "/")).await {
                return assert_eq!(error, OriginError::Closed);
            }
        }
    })
    .await;
    assert_eq!(endpoint.front().failures(), 0);
    front.says(CLOSES);
    assert_eq!(fetch(&origin, request(Method::POST, "/")).await.err(), Some(OriginError::Closed));
    assert_eq!(endpoint.front().failures(), 1, "that of a new one is");
}

#[tokio::test]
async fn second_tries_end_with_their_budget() {
    let fronts = three().await;
    let mut settings = settings(&addresses(&fronts));
    (settings.retry_percent, settings.failures) = (10, 0);
    let (origin, metrics) = origin_of(settings);
    fronts.iter().for_each(|front| front.says(CLOSES));
    for _ in 0..100 {
        assert_eq!(get(&origin, "/").await.err(), Some(OriginError::Closed));
    }
    let retries = metrics.retries("lms");
    // A tenth of a hundred, and one for each of ten seconds.
    assert!((18..=22).contains(&retries.made.get()), "{}", retries.made.get());
    assert_eq!(retries.made.get() + retries.over_budget.get(), 100);
    let asked: usize = fronts.iter().map(Played::asked).sum();
    assert_eq!(asked as u64, 100 + retries.made.get());
}

#[tokio::test]
async fn an_origin_that_is_down_is_told_at_once_and_back_with_its_first_answer() {
    let front = Played::start().await;
    let mut settings = settings(&[front.address]);
    settings.failures = 2;
    let (origin, metrics) = origin_of(settings);
    front.says(CLOSES);
    // The second failure of a moment changes nothing, one that comes later does.
    let error = within(async {
        loop {
            match get(&origin, "/").await.err() {
                Some(OriginError::Closed) => {}
                error => return error,
            }
        }
    });
    assert_eq!(error.await, Some(OriginError::Down(1)));
    assert!(!up(&metrics, &front));
    let asked = front.asked();
    let mut told = 0;
    for _ in 0..100 {
        told += usize::from(matches!(get(&origin, "/").await, Err(OriginError::Down(_))));
    }
    // But for a trial that came to be due.
    assert!(told >= 98, "{told}: nobody waits for a front that is known to fail");
    assert_eq!(front.asked() - asked, 100 - told, "and it is spared");
    let counted = metrics.origin_requests.with_label_values(&["lms", "error"]).get();
    assert_eq!(counted, front.asked() as u64, "who was told at once is no request to the origin");
    front.says(200);
    within(async { while get(&origin, "/").await.is_err() {} }).await;
    assert!(up(&metrics, &front));
}
