//! The open loop: each request of a plan starts when it was planned, whatever became of those before it, and its latency counts from
//! there. A server that stalls is therefore charged with all that it keeps waiting (no coordinated omission).
//!
//! Bounded: by the plan's length, by connections, and by a time after which a request that has no end is an error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use loadtest::clock;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout_at;

use super::client::{Answer, Client};
use super::plan::{Ask, Part};
use super::scenario::Bounds;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection was free in time; the server knows nothing of it.
    Unsent,
    /// No end in time.
    Late,
    /// The connection failed, or the answer broke off.
    Broken,
}

/// What became of one request of the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Its place in the plan.
    pub(crate) ask: usize,
    /// How late the generator itself was.
    pub(crate) lag: Duration,
    /// When it was sent, from the run's begin.
    pub(crate) sent: Duration,
    /// From the planned start to the end.
    pub(crate) took: Duration,
    pub(crate) result: Result<Answer, Fault>,
}

impl Record {
    /// No right answer: none at all, or another than was to come.
    pub(crate) fn is_error(&self, ask: &Ask) -> bool {
        match self.result {
            Ok(answer) => match ask.part {
                Part::Outsider => answer.status != 403,
                _ => answer.status != if ask.range.is_some() { 206 } else { 200 },
            },
            Err(_) => true,
        }
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.result.is_ok_and(|answer| answer.hit)
    }
}

/// Plays a plan from `begin` on; comes back when the last request has ended. On a runtime of one thread.
pub(crate) async fn play(plan: Arc<Vec<Ask>>, begin: Instant, client: Client, bounds: Bounds) -> Vec<Record> {
    let (sender, mut records) = mpsc::unbounded_channel();
    let run = Arc::new(Run { plan, begin, client, bounds, places: Semaphore::new(bounds.connections) });
    let runtime = Handle::current();
    let (paced, mut all) = (Arc::clone(&run), Vec::with_capacity(run.plan.len()));
    let pacer = std::thread::spawn(move || {
        for (n, ask) in paced.plan.iter().enumerate() {
            clock::wait_until(paced.begin + ask.at);
            if sender.is_closed() {
                return;
            }
            let (run, sender) = (Arc::clone(&paced), sender.clone());
            runtime.spawn(async move {
                // Nobody who listens is no fault: the run was given up.
                let _ = sender.send(run.one(n).await);
            });
        }
    });
    while let Some(record) = records.recv().await {
        all.push(record);
    }
    // All senders are gone, so the thread is at its end.
    drop(pacer.join());
    all
}

struct Run {
    plan: Arc<Vec<Ask>>,
    begin: Instant,
    client: Client,
    bounds: Bounds,
    places: Semaphore,
}

impl Run {
    async fn one(&self, n: usize) -> Record {
        let ask = &self.plan[n];
        let planned = self.begin + ask.at;
        let lag = clock::now() - planned;
        let deadline = tokio::time::Instant::from_std(planned + self.bounds.timeout);
        let mut sent = ask.at + self.bounds.timeout;
        let result = match timeout_at(deadline, self.places.acquire()).await {
            Ok(_place) => {
                sent = clock::now() - self.begin;
                match timeout_at(deadline, self.client.ask(ask)).await {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(_)) => Err(Fault::Broken),
                    Err(_) => Err(Fault::Late),
                }
            }
            Err(_) => Err(Fault::Unsent),
        };
        Record { ask: n, lag, sent, took: clock::now() - planned, result }
    }
}

/// Asks for everything, a few at a time, each until it came; the error names what did not come in three tries.
pub(crate) async fn warm(asks: Vec<Ask>, client: &Client) -> Result<(), String> {
    let mut warmed = stream::iter(asks).map(|ask| warm_one(client, ask)).buffer_unordered(8);
    while let Some(result) = warmed.next().await {
        result?;
    }
    Ok(())
}

async fn warm_one(client: &Client, ask: Ask) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..3 {
        match client.ask(&ask).await {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) => last = answer.status.to_string(),
            Err(error) => last = error,
        }
    }
    Err(format!("warm-up: {} of tenant {}: {last}", ask.path, ask.tenant))
}

#[cfg(test)]
mod tests {
    use super::{Fault, play};
    use crate::load::client::Client;
    use crate::load::plan::{Ask, Part};
    use crate::load::scenario::Bounds;
    use loadtest::{Lms, Options, Trouble, clock};
    use std::sync::Arc;
    use std::time::Duration;

    fn ask(at: u64, part: Part, path: &str) -> Ask {
        let commit = (part == Part::Commit).then(|| format!("c{at}").into());
        let at = Duration::from_millis(at);
        Ask { at, part, tenant: 0, learner: "learner-1".into(), path: path.into(), range: None, commit }
    }

    async fn lms() -> Lms {
        Lms::start(([127, 0, 0, 1], 0).into(), Options::default()).await.unwrap()
    }

    #[tokio::test]
    async fn what_a_stall_keeps_waiting_counts_from_its_planned_start() {
        let lms = lms().await;
        lms.trouble(Trouble::on("/theme/").delay(Duration::from_millis(400)).times(1));
        // One connection: who waits for it was planned all the same.
        let plan: Vec<_> = (0..4).map(|n| ask(n * 100, Part::Theme, "/theme/site.css")).collect();
        let bounds = Bounds { connections: 1, timeout: Duration::from_secs(20) };
        let mut records = play(Arc::new(plan), clock::now(), Client::new(lms.addr(), 1), bounds).await;
        records.sort_by_key(|record| record.ask);
        for (record, least) in records.iter().zip([400, 300, 200, 100]) {
            assert!(record.took >= Duration::from_millis(least), "{records:?}");
            assert!(record.result.is_ok(), "{records:?}");
        }
    }

    #[tokio::test]
    async fn a_request_without_an_end_is_an_error_and_holds_no_connection() {
        let lms = lms().await;
        lms.trouble(Trouble::on("/theme/").delay(Duration::from_secs(600)).times(1));
        let plan = vec![
            ask(0, Part::Theme, "/theme/site.css"),
            ask(0, Part::Theme, "/theme/logo.png"),
            ask(1100, Part::Commit, "/track"),
        ];
        let bounds = Bounds { connections: 1, timeout: Duration::from_secs(1) };
        let plan = Arc::new(plan);
        let client = Client::new(lms.addr(), 1);
        let mut records = play(Arc::clone(&plan), clock::now(), client, bounds).await;
        records.sort_by_key(|record| record.ask);
        let faults: Vec<_> = records.iter().map(|record| record.result.err()).collect();
        assert_eq!(faults[0], Some(Fault::Late));
        assert!(faults[1].is_some(), "its connection came free when its own time was over");
        assert_eq!((faults[2], lms.counters().commits), (None, 1));
        assert!(records[0].is_error(&plan[0]));
    }

    #[tokio::test]
    async fn what_is_not_the_right_answer_is_an_error() {
        let lms = lms().await;
        let film = Ask { range: Some((0, 99)), ..ask(0, Part::Film, "/media/film.mp4") };
        let outsider = Ask {
            learner: "outsider-1".into(),
            ..ask(0, Part::Outsider, "/course/1/package/fire-safety/index.html")
        };
        let right = [film.clone(), outsider.clone(), ask(0, Part::Page, "/course/1")];
        let wrong = [
            Ask { range: None, path: "/media/none".into(), ..film },
            Ask { learner: "learner-1".into(), ..outsider },
            ask(0, Part::Page, "/my/none"),
        ];
        let plan = Arc::new([right, wrong].concat());
        lms.trouble(Trouble::on("/my/").status(503));
        let bounds = Bounds { connections: 6, timeout: Duration::from_secs(20) };
        let client = Client::new(lms.addr(), 6);
        let mut records = play(Arc::clone(&plan), clock::now(), client, bounds).await;
        records.sort_by_key(|record| record.ask);
        let errors: Vec<_> = records.iter().map(|record| record.is_error(&plan[record.ask])).collect();
        assert_eq!(errors, [false, false, false, true, true, true], "{records:?}");
        let page = records[2].result.unwrap();
        assert!(page.number.is_some() && !page.of_another);
    }
}
