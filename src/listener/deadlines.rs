//! When a client takes too long. One sweep per runtime looks at every connection about once a second; hyper's own timer is
//! off (it is also its keep-alive limit, and costs a boxed sleep per request).
//!
//! Nothing limits the whole of a transfer, and nothing runs while an answer is awaited: the origin's time-outs rule there. A
//! deadline is noticed at a sweep, so it may come late by one interval, never early.

use crate::listener::{
    settings::Deadlines,
    streams::{SeenStream, SeenUpload, StreamWatch},
    watch::{Phase, Seen, Watch},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest time between two sweeps.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a client may go on sending after it was answered and told to go.
const LEAVING: Duration = Duration::from_secs(2);
/// How long a drained connection that never carried a request, or an idle one of HTTP/2, may still use what is under way.
const LAST_CALL: Duration = Duration::from_millis(300);

/// Of the streams a client may give up, this part is forgiven each second.
const FORGIVEN: usize = 10;

/// What was overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Handshake,
    Head,
    Idle,
    Write,
    RequestBody,
    Leaving,
    Tunnel,
    /// Not a time: the client gave up too many streams, and was told.
    Resets,
}

/// How often to sweep so that no deadline is late by more than half of itself.
pub(super) fn interval(deadlines: &Deadlines) -> Duration {
    let Deadlines { handshake, head, idle, write, request_body, tunnel } = *deadlines;
    let shortest = [handshake, head, idle, write, request_body, tunnel].into_iter().min().unwrap_or(INTERVAL);
    (shortest / 2).clamp(Duration::from_millis(1), INTERVAL)
}

/// One connection over the sweeps.
pub(super) struct Observed {
    pub(super) watch: Arc<Watch>,
    last: Seen,
    phase: Instant,
    head: Option<Instant>,
    write: Instant,
    upload: Waiting,
    streams: Vec<ObservedStream>,
    drained: bool,
    forgiven: Instant,
}

struct ObservedStream {
    last: SeenStream,
    write: Instant,
    upload: Waiting,
}

/// How long a request body has been waited for without progress.
struct Waiting {
    last: SeenUpload,
    since: Instant,
}

impl Waiting {
    fn overdue(&mut self, seen: SeenUpload, progress: bool, now: Instant, limit: Duration) -> bool {
        if !seen.waiting || seen != self.last || progress {
            self.since = now;
        }
        self.last = seen;
        now - self.since >= limit
    }
}

impl Observed {
    pub(super) fn new(watch: Arc<Watch>, accepted: Instant) -> Observed {
        Observed {
            last: watch.look(),
            watch,
            phase: accepted,
            head: None,
            write: accepted,
            upload: Waiting { last: SeenUpload::default(), since: accepted },
            streams: Vec::new(),
            drained: false,
            forgiven: accepted,
        }
    }

    /// What is overdue at `now`: the connection is to be closed.
    pub(super) fn sweep(&mut self, now: Instant, deadlines: &Deadlines) -> Option<Overdue> {
        let seen = self.watch.look();
        let overdue = self.judge(seen, now, deadlines);
        self.last = seen;
        overdue
    }

    fn judge(&mut self, seen: Seen, now: Instant, deadlines: &Deadlines) -> Option<Overdue> {
        let wrote = seen.written != self.last.written;
        let read = seen.read != self.last.read;
        if seen.turns != self.last.turns {
            (self.phase, self.head) = (now, None);
        }
        if wrote || !seen.blocked {
            self.write = now;
        }
        let writing = wrote || seen.blocked;
        let upload = self.upload.overdue(seen.upload, read, now, deadlines.request_body);
        if seen.phase == Phase::Tunnel {
            if read || wrote {
                self.phase = now;
            }
            return over(now - self.phase, deadlines.tunnel, Overdue::Tunnel);
        }
        if now - self.write >= deadlines.write {
            return Some(Overdue::Write);
        }
        if self.watch.streams.abusive() && now - *self.head.get_or_insert(now) >= LAST_CALL {
            return Some(Overdue::Resets);
        }
        match seen.phase {
            Phase::Handshake => over(now - self.phase, deadlines.handshake, Overdue::Handshake),
            Phase::Idle if seen.read != seen.read_before => {
                over(now - *self.head.get_or_insert(now), deadlines.head, Overdue::Head)
            }
            Phase::Serving => upload.then_some(Overdue::RequestBody),
            Phase::Leaving => over(now - self.phase, LEAVING.min(deadlines.idle), Overdue::Leaving),
            _ => {
                if writing || seen.open > 0 || seen.begun != self.last.begun {
                    self.phase = now;
                }
                over(now - self.phase, deadlines.idle, Overdue::Idle)
            }
        }
    }

    /// The streams of an HTTP/2 connection that are overdue: each is to be reset alone.
    pub(super) fn sweep_streams(
        &mut self,
        now: Instant,
        deadlines: &Deadlines,
    ) -> Vec<(Arc<StreamWatch>, Overdue)> {
        if self.last.phase != Phase::Streams || self.last.open == 0 {
            return Vec::new();
        }
        let places = self.watch.streams.all();
        let fresh = || ObservedStream {
            last: SeenStream::default(),
            write: now,
            upload: Waiting { last: SeenUpload::default(), since: now },
        };
        self.streams.resize_with(places.len(), fresh);
        let mut overdue = Vec::new();
        for (stream, place) in self.streams.iter_mut().zip(places) {
            let seen = place.look();
            let other = seen.generation != stream.last.generation;
            let uploading = stream.upload.overdue(seen.upload, other, now, deadlines.request_body);
            if other || !seen.owed || seen.given != stream.last.given {
                stream.write = now;
            }
            stream.last = seen;
            if seen.generation % 2 == 0 {
                continue;
            }
            if now - stream.write >= deadlines.write {
                overdue.push((place, Overdue::Write));
            } else if uploading {
                overdue.push((place, Overdue::RequestBody));
            }
        }
        overdue
    }

    /// Once a second, forgives the client some of the streams it gave up: seeking in a film gives one up each time.
    pub(super) fn forgive(&mut self, now: Instant, allowed: usize) {
        if now - self.forgiven >= INTERVAL {
            self.forgiven = now;
            self.watch.streams.forgive(allowed.div_ceil(FORGIVEN));
        }
    }

    /// At a stop: an idle connection ends at once. One that never carried a request, or speaks HTTP/2, may have a request on its
    /// way: it gets a moment (HTTP/2 its GOAWAY first), then ends too. `since` is when draining began.
    pub(super) fn drain(&mut self, now: Instant, since: Instant) {
        let seen = self.watch.look();
        let late = now - since >= LAST_CALL;
        let unused = matches!(seen.phase, Phase::Handshake | Phase::Idle) && seen.turns <= 1;
        let nothing = match seen.phase {
            Phase::Handshake => true,
            Phase::Idle => seen.read == seen.read_before && !seen.blocked,
            Phase::Streams => seen.open == 0 && !seen.blocked && seen.written == self.last.written,
            Phase::Serving | Phase::Leaving | Phase::Tunnel => false,
        };
        if !self.drained && (late || !unused) {
            self.drained = true;
            self.watch.drain();
        }
        if late && nothing {
            self.watch.close();
        }
    }

    /// At a hand-over: HTTP/2 gets its GOAWAY, HTTP/1 its `Connection: close` with the next answer. Nothing is ended here.
    pub(super) fn hand_over(&mut self) {
        if !self.drained {
            self.drained = true;
            self.watch.drain();
        }
    }
}

fn over(span: Duration, limit: Duration, what: Overdue) -> Option<Overdue> {
    (span >= limit).then_some(what)
}

impl Overdue {
    /// The word in log and metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Overdue::Handshake => "handshake-timeout",
            Overdue::Head => "head-timeout",
            Overdue::Idle => "idle",
            Overdue::Write => "write-timeout",
            Overdue::RequestBody => "request-body-timeout",
            Overdue::Leaving => "leaving",
            Overdue::Tunnel => "tunnel-idle",
            Overdue::Resets => "resets",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Observed, Overdue, interval};
    use crate::{
        clock,
        listener::{
            settings::Deadlines,
            watch::{Phase, Watch},
        },
    };
    use std::{sync::Arc, time::Duration};

    const S: Duration = Duration::from_secs(1);

    /// One second after another: what the client does in it, then a sweep. Says in which second which deadline was over.
    fn run(phase: Phase, mut second: impl FnMut(u32, &Watch)) -> Option<(u32, Overdue)> {
        let (watch, start) = (Arc::new(Watch::default()), clock::instant());
        watch.enter(phase);
        let mut observed = Observed::new(watch.clone(), start);
        (1..=1_000).find_map(|n| {
            second(n, &watch);
            observed.sweep(start + S * n, &Deadlines::default()).map(|overdue| (n, overdue))
        })
    }

    #[test]
    fn each_phase_has_its_limit_and_a_trickle_does_not_extend_a_head() {
        let nothing = |_: u32, _: &Watch| {};
        let trickle = |_: u32, w: &Watch| w.was_read(1);
        assert_eq!(run(Phase::Handshake, trickle), Some((10, Overdue::Handshake)));
        assert_eq!(run(Phase::Idle, nothing), Some((75, Overdue::Idle)));
        assert_eq!(run(Phase::Idle, trickle), Some((11, Overdue::Head)));
        assert_eq!(run(Phase::Serving, nothing), None);
        assert_eq!(run(Phase::Streams, nothing), Some((75, Overdue::Idle)));
        assert_eq!(run(Phase::Leaving, trickle), Some((2, Overdue::Leaving)));
        assert_eq!(run(Phase::Tunnel, nothing), Some((600, Overdue::Tunnel)));
        assert_eq!(run(Phase::Tunnel, trickle), None);
    }

    #[test]
    fn a_slow_reader_lives_and_a_stalled_one_does_not() {
        let stalled = |n: u32, w: &Watch| {
            w.blocked(true);
            if n == 1 {
                w.was_written(1);
            }
        };
        let slow = |n: u32, w: &Watch| {
            w.blocked(true);
            if n.is_multiple_of(50) {
                w.was_written(1);
            }
        };
        for phase in [Phase::Idle, Phase::Serving, Phase::Streams] {
            assert_eq!(run(phase, stalled), Some((61, Overdue::Write)), "{phase:?}");
            assert_eq!(run(phase, slow), None, "{phase:?}");
        }
    }

    #[test]
    fn a_request_body_is_limited_only_while_it_is_read() {
        let waits = |_: u32, w: &Watch| w.upload.polled(true);
        assert_eq!(run(Phase::Serving, waits), Some((61, Overdue::RequestBody)));
        assert_eq!(run(Phase::Serving, |n, w| w.upload.polled(n % 50 != 0)), None);
        assert_eq!(run(Phase::Serving, |_, w| (w.upload.polled(true), w.was_read(1)).1), None);
        assert_eq!(run(Phase::Serving, |_, w| (w.upload.polled(true), w.upload.left()).1), None);
    }

    #[test]
    fn a_stream_is_overdue_alone_and_its_place_is_new_for_the_next() {
        let (watch, start) = (Arc::new(Watch::default()), clock::instant());
        watch.enter(Phase::Streams);
        let mut observed = Observed::new(watch.clone(), start);
        let mut sweep = |n: u32| {
            assert_eq!(observed.sweep(start + S * n, &Deadlines::default()), None);
            observed
                .sweep_streams(start + S * n, &Deadlines::default())
                .iter()
                .map(|o| o.1)
                .collect::<Vec<_>>()
        };
        let (stalled, awaiting) = (watch.begin(), watch.begin());
        stalled.watch.gave(true);
        assert_eq!(sweep(1), []);
        assert_eq!(sweep(60), []);
        assert_eq!(sweep(61), [Overdue::Write]);
        drop(stalled);
        let next = watch.begin();
        next.watch.gave(true);
        assert_eq!(sweep(62), []);
        assert_eq!(sweep(121), []);
        next.watch.gave(false);
        assert_eq!(sweep(200), []);
        drop((next, awaiting));
        assert_eq!(sweep(201), []);
    }

    #[test]
    fn streams_given_up_slowly_are_forgiven_and_fast_ones_are_not() {
        for (per_second, abusive) in [(10, false), (30, true)] {
            let (watch, start) = (Arc::new(Watch::default()), clock::instant());
            let mut observed = Observed::new(watch.clone(), start);
            for n in 1..100 {
                (0..per_second).for_each(|_| drop(watch.begin()));
                observed.forgive(start + S * n, 100);
            }
            assert_eq!(watch.abuses(100), abusive, "{per_second}");
        }
    }

    #[test]
    fn the_sweep_is_as_often_as_the_shortest_deadline_needs() {
        assert_eq!(interval(&Deadlines::default()), S);
        let short = Deadlines { head: S / 5, ..Deadlines::default() };
        assert_eq!(interval(&short), S / 10);
    }
}
