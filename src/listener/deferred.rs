//! Fewer writes on HTTP/2: the `h2` crate flushes once per response, here small writes are held until the connection's task
//! is polled again, and it is woken for that at once. Streams that became ready meanwhile go out in the same write.
//!
//! Held bytes never wait for anything but that next poll: a flush asked for is either done or has the task woken. What is
//! large goes through without being copied.

use crate::listener::watch::Watch;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most that is held.
const BOUND: usize = 64 << 10;
/// From here on a write goes through.
const LARGE: usize = 16 << 10;
/// The buffer of an idle connection is no larger.
const KEPT: usize = 16 << 10;

/// A stream whose small writes are held to the task's next poll.
pub(super) struct Deferred<T> {
    io: T,
    watch: Arc<Watch>,
    held: Vec<u8>,
    /// Of `held`, so many bytes are out.
    out: usize,
    /// The poll in which a flush was promised.
    promised: Option<u32>,
}

impl<T: AsyncWrite + Unpin> Deferred<T> {
    /// `watch` counts the polls of the task that uses this stream.
    pub(super) fn new(io: T, watch: Arc<Watch>) -> Deferred<T> {
        Deferred { io, watch, held: Vec::new(), out: 0, promised: None }
    }

    /// Writes what is held.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out < self.held.len() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.held[self.out..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out += n;
        }
        self.out = 0;
        self.held.clear();
        if self.held.capacity() > KEPT {
            self.held = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps the promise.
    fn poll_promised(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.promised = None;
        Poll::Ready(Ok(()))
    }

    /// A flush was promised in an earlier poll than this.
    fn is_due(&self) -> bool {
        self.promised.is_some_and(|poll| poll != self.watch.polls())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Deferred<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_due()
            && let Poll::Ready(result) = self.poll_promised(cx)
        {
            result?;
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Deferred<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() >= LARGE {
            ready!(self.poll_held(cx))?;
            return Pin::new(&mut self.io).poll_write(cx, bytes);
        }
        if self.held.len() + bytes.len() > BOUND {
            ready!(self.poll_held(cx))?;
        }
        self.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = slices.iter().map(|s| s.len()).sum::<usize>();
        if total >= LARGE {
            ready!(self.poll_held(cx))?;
            return Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        }
        if self.held.len() + total > BOUND {
            ready!(self.poll_held(cx))?;
        }
        for slice in slices {
            self.held.extend_from_slice(slice);
        }
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_due() {
            return self.poll_promised(cx);
        }
        if self.held.is_empty() {
            return Pin::new(&mut self.io).poll_flush(cx);
        }
        if self.promised.is_none() {
            self.promised = Some(self.watch.polls());
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{BOUND, Deferred, KEPT, LARGE};
    use crate::listener::watch::Watch;
    use std::{
        io::{self, IoSlice},
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Poll, Wake, Waker},
    };
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    /// Takes so many bytes until it blocks; remembers each write and flush.
    #[derive(Default)]
    struct Mock {
        room: usize,
        writes: Vec<usize>,
        bytes: Vec<u8>,
        flushes: usize,
        shut: bool,
    }

    impl AsyncRead for Mock {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Mock {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
            let n = b.len().min(self.room);
            if n == 0 {
                return Poll::Pending;
            }
            self.room -= n;
            self.writes.push(n);
            self.bytes.extend_from_slice(&b[..n]);
            Poll::Ready(Ok(n))
        }
        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut = true;
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A task with a deferred stream.
    struct Task {
        io: Deferred<Mock>,
        watch: Arc<Watch>,
        woken: Arc<Woken>,
    }

    impl Task {
        fn new(room: usize) -> Task {
            let watch = Arc::new(Watch::default());
            let io = Deferred::new(Mock { room, ..Mock::default() }, watch.clone());
            Task { io, watch, woken: Arc::default() }
        }
        /// One poll of the task; says how often it was woken in it.
        fn poll<R>(&mut self, f: impl FnOnce(Pin<&mut Deferred<Mock>>, &mut Context<'_>) -> R) -> (R, usize) {
            let waker = Waker::from(self.woken.clone());
            let mut cx = Context::from_waker(&waker);
            self.watch.polled(&cx);
            let before = self.woken.0.load(Ordering::SeqCst);
            let result = f(Pin::new(&mut self.io), &mut cx);
            (result, self.woken.0.load(Ordering::SeqCst) - before)
        }
    }

    fn read(io: Pin<&mut Deferred<Mock>>, cx: &mut Context<'_>) -> bool {
        io.poll_read(cx, &mut ReadBuf::new(&mut [0; 8])).is_pending()
    }

    #[test]
    fn small_writes_of_many_flushes_leave_in_one_write_at_the_next_poll() {
        let mut task = Task::new(1 << 20);
        let (_, woken) = task.poll(|mut io, cx| {
            for _ in 0..10 {
                assert!(matches!(io.as_mut().poll_write(cx, &[7; 1000]), Poll::Ready(Ok(1000))));
                assert!(io.as_mut().poll_flush(cx).is_ready());
                assert!(read(io.as_mut(), cx));
            }
        });
        assert_eq!((woken, task.io.io.writes.len()), (1, 0));
        for by_read in [true, false] {
            let (_, woken) = task.poll(|mut io, cx| match by_read {
                true => assert!(read(io.as_mut(), cx)),
                false => assert!(io.as_mut().poll_flush(cx).is_ready()),
            });
            assert_eq!((woken, &task.io.io.writes[..]), (0, &[10_000][..]));
        }
        assert!(task.io.io.flushes > 0);
    }

    #[test]
    fn a_flush_asked_for_in_the_next_poll_is_done_there() {
        let mut task = Task::new(1 << 20);
        task.poll(|mut io, cx| (io.as_mut().poll_write(cx, b"a").is_ready(), io.poll_flush(cx).is_ready()));
        let (ready, woken) = task.poll(|io, cx| io.poll_flush(cx).is_ready());
        assert_eq!((ready, woken, &task.io.io.bytes[..], task.io.io.flushes), (true, 0, &b"a"[..], 1));
    }

    #[test]
    fn a_blocked_stream_keeps_its_promise_later_and_the_bound_holds() {
        let mut task = Task::new(10);
        let (sent, _) = task.poll(|mut io, cx| {
            let mut sent = 0;
            while let Poll::Ready(n) = io.as_mut().poll_write(cx, &[1; 1000]) {
                sent += n.unwrap();
            }
            let _ = io.poll_flush(cx);
            sent
        });
        assert!(sent <= BOUND && sent > BOUND - 1000, "{sent}");
        assert!(task.poll(|io, cx| io.poll_flush(cx).is_pending()).0);
        task.io.io.room = 1 << 20;
        assert!(task.poll(|mut io, cx| read(io.as_mut(), cx)).0);
        assert_eq!(task.io.io.bytes.len(), sent);
        assert!(task.io.held.capacity() <= KEPT);
    }

    #[test]
    fn large_data_is_not_copied_and_comes_after_what_was_held() {
        let mut task = Task::new(1 << 20);
        task.poll(|mut io, cx| {
            assert!(io.as_mut().poll_write(cx, b"head").is_ready());
            assert!(io.as_mut().poll_write(cx, &[9; LARGE]).is_ready());
            let slices = [IoSlice::new(b"head"), IoSlice::new(&[9; LARGE])];
            assert!(io.as_mut().poll_write_vectored(cx, &slices).is_ready());
        });
        assert_eq!(task.io.io.writes[..2], [4, LARGE]);
        assert_eq!(task.io.held.capacity(), 8.max(task.io.held.capacity()));
        assert!(task.io.held.is_empty());
    }

    #[test]
    fn the_last_frames_leave_before_the_stream_is_shut() {
        let mut task = Task::new(2);
        let (ready, _) = task.poll(|mut io, cx| {
            assert!(io.as_mut().poll_write(cx, b"goaway").is_ready());
            io.poll_shutdown(cx).is_ready()
        });
        assert!(!ready && !task.io.io.shut);
        task.io.io.room = 10;
        assert!(task.poll(|io, cx| io.poll_shutdown(cx).is_ready()).0);
        assert!(task.io.io.shut && task.io.io.bytes == b"goaway");
    }
}
