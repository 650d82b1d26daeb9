//! What the deadline sweep sees of a connection and tells it: plain atomics, written by the connection as it goes.
//!
//! Nothing here takes a clock or a lock on the way of a request. A counter has one writer at a time, so that plain stores are
//! enough.

use crate::listener::streams::{SeenUpload, StreamPlace, Streams, Upload};
use futures_util::task::AtomicWaker;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Waker},
};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// PROXY header or TLS handshake.
    #[default]
    Handshake,
    /// HTTP/1 between requests, or reading a head; also before the protocol is known.
    Idle,
    /// HTTP/1 with a request under way.
    Serving,
    /// HTTP/2.
    Streams,
    /// Answered and over; what the client still sends is read so that it sees the answer.
    Leaving,
    /// Upgraded.
    Tunnel,
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Watch {
    phase: AtomicU8,
    /// Changes of phase.
    turns: AtomicU32,
    read: AtomicU64,
    written: AtomicU64,
    /// Bytes read when the phase began.
    read_before: AtomicU64,
    /// A write or flush waits for the client.
    blocked: AtomicBool,
    /// What is above the stream gathers what it would write.
    corked: AtomicBool,
    draining: AtomicBool,
    closing: AtomicBool,
    /// The answer under way failed: the client must not take it for whole.
    reset: AtomicBool,
    /// Something the client sent was not read.
    unread: AtomicBool,
    gone: AtomicBool,
    /// The connection's task. A spawned task has one waker for life, so it is stored once.
    task: OnceLock<Waker>,
    tunnel: AtomicWaker,
    /// Polls of the connection's task.
    polls: AtomicU32,
    /// The request body of HTTP/1.
    pub(super) upload: Upload,
    pub(super) streams: Streams,
}

/// What one look at a connection says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) phase: Phase,
    pub(super) turns: u32,
    pub(super) read: u64,
    pub(super) read_before: u64,
    pub(super) written: u64,
    pub(super) blocked: bool,
    pub(super) upload: SeenUpload,
    pub(super) begun: u64,
    pub(super) open: u32,
}

impl Phase {
    fn of(value: u8) -> Phase {
        const ALL: [Phase; 6] =
            [Phase::Handshake, Phase::Idle, Phase::Serving, Phase::Streams, Phase::Leaving, Phase::Tunnel];
        ALL[usize::from(value) % ALL.len()]
    }
}

impl Watch {
    pub(super) fn enter(&self, phase: Phase) {
        self.read_before.store(self.read.load(Relaxed), Relaxed);
        self.turns.store(self.turns.load(Relaxed).wrapping_add(1), Relaxed);
        self.phase.store(phase as u8, Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Relaxed))
    }

    pub(super) fn was_read(&self, n: usize) {
        self.read.store(self.read.load(Relaxed) + n as u64, Relaxed);
    }

    pub(super) fn was_written(&self, n: usize) {
        self.written.store(self.written.load(Relaxed) + n as u64, Relaxed);
    }

    pub(super) fn blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    /// While corked the stream takes nothing and wakes nobody: who corks it also flushes what is above it.
    pub(super) fn cork(&self, corked: bool) {
        self.corked.store(corked, Relaxed);
    }

    pub(super) fn corked(&self) -> bool {
        self.corked.load(Relaxed)
    }

    /// The answer under way failed: the connection is to end by a reset.
    pub(super) fn fail_answer(&self) {
        self.reset.store(true, Relaxed);
    }

    pub(super) fn answer_failed(&self) -> bool {
        self.reset.load(Relaxed)
    }

    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// A request of HTTP/1 begins.
    pub(super) fn serve(&self) {
        self.unread.store(false, Relaxed);
        self.enter(Phase::Serving);
    }

    pub(super) fn left_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// The task of this connection is polled.
    pub(super) fn polled(&self, cx: &Context<'_>) {
        self.polls.store(self.polls.load(Relaxed).wrapping_add(1), Relaxed);
        self.task.get_or_init(|| cx.waker().clone());
    }

    pub(super) fn polls(&self) -> u32 {
        self.polls.load(Relaxed)
    }

    /// Ends the connection after what is under way.
    pub(super) fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.wake();
    }

    /// Ends the connection now. An answer under way must not look whole, also where only the end of the connection ends it.
    pub(super) fn close(&self) {
        if self.phase() == Phase::Serving || self.blocked.load(Relaxed) {
            self.fail_answer();
        }
        self.closing.store(true, Relaxed);
        self.wake();
        self.tunnel.wake();
    }

    fn wake(&self) {
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    pub(super) fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub(super) fn closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Has [`Watch::close`] wake this task too: after an upgrade the stream belongs to another one.
    pub(super) fn wake_at_close(&self, cx: &Context<'_>) {
        self.tunnel.register(cx.waker());
    }

    pub(super) fn end(&self) {
        self.gone.store(true, Relaxed);
    }

    pub(super) fn gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    pub(super) fn look(&self) -> Seen {
        Seen {
            phase: self.phase(),
            turns: self.turns.load(Relaxed),
            read: self.read.load(Relaxed),
            read_before: self.read_before.load(Relaxed),
            written: self.written.load(Relaxed),
            blocked: self.blocked.load(Relaxed),
            upload: self.upload.look(),
            begun: self.streams.begun(),
            open: self.streams.open(),
        }
    }

    /// A stream of HTTP/2 begins.
    pub(super) fn begin(self: &Arc<Self>) -> StreamPlace {
        StreamPlace::take(self.clone())
    }

    /// Whether the client gave up more streams than `allowed` beyond those it let finish: each costs work that is thrown away
    /// (CVE-2023-44487). The first time it is so the connection is told to drain.
    pub(super) fn abuses(&self, allowed: usize) -> bool {
        let known = self.streams.abusive();
        let abuses = self.streams.abuse(allowed);
        if abuses && !known {
            self.drain();
        }
        abuses
    }
}
