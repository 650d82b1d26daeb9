//! Fewer writes on HTTP/2: the `h2` crate flushes once per response and once per frame of a body, here what is written is held
//! until the connection's task is polled again, and it is woken for that at once. Streams that became ready meanwhile go out
//! in the same write.
//!
//! Held bytes never wait for anything but that next poll: a flush asked for is either done or has the task woken. What is
//! large is not copied: it goes through, over TLS as far as the buffer of encrypted records.

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
/// From here on a write goes through, in whole TLS records of this length: the rest is small and held.
const LARGE: usize = 16 << 10;
/// The buffer of an idle connection is no larger.
const KEPT: usize = 16 << 10;
/// What is held and a frame's head and data.
const SLICES: usize = 4;

/// A stream whose small writes are held to the task's next poll.
pub(super) struct Deferred<T> {
    io: T,
    watch: Arc<Watch>,
    /// `io` encrypts and, while the stream under it is corked, gathers.
    tls: bool,
    held: Vec<u8>,
    /// Of `held`, so many bytes are out.
    out: usize,
    /// `io` gathered something since the last flush.
    gathered: bool,
    /// The poll in which a flush was promised.
    promised: Option<u32>,
}

impl<T: AsyncWrite + Unpin> Deferred<T> {
    /// `watch` counts the polls of the task that uses this stream; `tls` says that the stream under `io` heeds its cork.
    pub(super) fn new(io: T, watch: Arc<Watch>, tls: bool) -> Deferred<T> {
        Deferred { io, watch, tls, held: Vec::new(), out: 0, gathered: false, promised: None }
    }

    /// Writes what is held.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out < self.held.len() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.held[self.out..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.left(n);
        }
        Poll::Ready(Ok(()))
    }

    /// So many more bytes of what is held are out.
    fn left(&mut self, n: usize) {
        self.out += n;
        if self.out < self.held.len() {
            return;
        }
        self.out = 0;
        self.held.clear();
        if self.held.capacity() > KEPT {
            self.held = Vec::new();
        }
    }

    /// Hands on what is held and then `slices`, as far as they fill records; says how much of `slices` that was.
    fn poll_large(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let held = self.held.len() - self.out;
            let total = held + slices.iter().map(|s| s.len()).sum::<usize>();
            let (mut all, mut count, mut room) = ([IoSlice::new(&[]); SLICES], 0, total - total % LARGE);
            for bytes in [&self.held[self.out..]].into_iter().chain(slices.iter().map(|s| &**s)).take(SLICES)
            {
                all[count] = IoSlice::new(&bytes[..bytes.len().min(room)]);
                room -= all[count].len();
                count += 1;
            }
            if self.tls {
                self.watch.cork(true);
            }
            let written = Pin::new(&mut self.io).poll_write_vectored(cx, &all[..count]);
            if self.tls {
                self.watch.cork(false);
            }
            self.gathered |= self.tls;
            let n = match written {
                // The buffer of records is full.
                Poll::Pending if self.tls => {
                    ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                    continue;
                }
                written => ready!(written)?,
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.left(n.min(held));
            if n > held {
                return Poll::Ready(Ok(n - held));
            }
        }
    }

    /// Keeps the promise.
    fn poll_promised(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.gathered = false;
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
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = slices.iter().map(|s| s.len()).sum::<usize>();
        if total >= LARGE {
            return self.poll_large(cx, slices);
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
        if self.held.is_empty() && !self.gathered {
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

    /// Takes so many bytes until it blocks; remembers each write and flush. Over TLS it gathers while corked, up to `most`.
    #[derive(Default)]
    struct Mock {
        room: usize,
        writes: Vec<usize>,
        bytes: Vec<u8>,
        flushes: usize,
        shut: bool,
        watch: Arc<Watch>,
        most: usize,
        gathered: Vec<u8>,
    }

    impl Mock {
        fn poll_gathered(&mut self) -> Poll<io::Result<()>> {
            while !self.gathered.is_empty() {
                let n = self.gathered.len().min(self.room);
                if n == 0 {
                    return Poll::Pending;
                }
                self.room -= n;
                self.writes.push(n);
                self.bytes.extend(self.gathered.drain(..n));
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Mock {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Mock {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(b)])
        }
        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let corked = self.watch.corked();
            if !corked && self.gathered.len() == self.most {
                let _ = self.poll_gathered();
            }
            let room = if self.most > 0 { self.most - self.gathered.len() } else { self.room };
            let all = slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>();
            let n = all.len().min(room);
            self.gathered.extend_from_slice(&all[..n]);
            if !corked {
                let _ = self.poll_gathered();
            }
            if n == 0 { Poll::Pending } else { Poll::Ready(Ok(n)) }
        }
        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            assert!(!self.watch.corked());
            self.flushes += 1;
            self.poll_gathered()
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
            Task::over(Mock { room, ..Mock::default() })
        }
        /// Over TLS with a buffer of `most` bytes.
        fn tls(room: usize, most: usize) -> Task {
            Task::over(Mock { room, most, ..Mock::default() })
        }
        fn over(mock: Mock) -> Task {
            let (watch, tls) = (mock.watch.clone(), mock.most > 0);
            Task { io: Deferred::new(mock, watch.clone(), tls), watch, woken: Arc::default() }
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

    /// Writes a frame as `h2` does: what was not taken again, then a flush.
    fn frame(mut io: Pin<&mut Deferred<Mock>>, cx: &mut Context<'_>, data: u8) -> Poll<io::Result<()>> {
        let bytes = [&[0; 9][..], &[data; LARGE][..]].concat();
        let mut at = 0;
        while at < bytes.len() {
            let head = bytes.len().min(9.max(at));
            let slices = [IoSlice::new(&bytes[at..head]), IoSlice::new(&bytes[head..])];
            at += std::task::ready!(io.as_mut().poll_write_vectored(cx, &slices))?;
        }
        io.poll_flush(cx)
    }

    #[test]
    fn large_data_goes_through_with_what_was_held_in_whole_records() {
        let mut task = Task::new(1 << 20);
        task.poll(|mut io, cx| {
            assert!(io.as_mut().poll_write(cx, b"head").is_ready());
            assert!(matches!(io.as_mut().poll_write(cx, &[9; LARGE]), Poll::Ready(Ok(n)) if n == LARGE - 4));
            assert!(io.as_mut().poll_write(cx, &[9; 4]).is_ready());
            assert!(frame(io.as_mut(), cx, 8).is_ready());
        });
        assert_eq!(task.io.io.writes, [LARGE, LARGE]);
        assert_eq!(task.io.held, [8; 13]);
        task.poll(|io, cx| assert!(io.poll_flush(cx).is_ready()));
        let sent = [&b"head"[..], &[9; LARGE], &[0; 9], &[8; LARGE]].concat();
        assert!(task.io.io.bytes == sent);
    }

    #[test]
    fn over_tls_the_frames_of_a_poll_leave_in_one_write_at_the_next() {
        let mut task = Task::tls(1 << 20, 1 << 20);
        let (_, woken) =
            task.poll(|mut io, cx| (1..=5).for_each(|n| assert!(frame(io.as_mut(), cx, n).is_ready())));
        assert_eq!((woken, task.io.io.writes.len()), (1, 0));
        let (_, woken) = task.poll(|io, cx| assert!(read(io, cx)));
        assert_eq!((woken, &task.io.io.writes[..]), (0, &[5 * (9 + LARGE)][..]));
        let sent = (1..=5).flat_map(|n| [vec![0; 9], vec![n; LARGE]].concat()).collect::<Vec<_>>();
        assert!(task.io.io.bytes == sent);
        let (ready, woken) = task.poll(|io, cx| io.poll_flush(cx).is_ready());
        assert_eq!((ready, woken), (true, 0), "nothing is promised any more");
    }

    #[test]
    fn a_full_buffer_of_records_goes_out_at_once_and_waits_for_the_client() {
        let mut task = Task::tls(3 * LARGE, 2 * LARGE);
        let (taken, _) =
            task.poll(|mut io, cx| (1..=9).take_while(|n| frame(io.as_mut(), cx, *n).is_ready()).count());
        assert_eq!((taken, task.io.io.bytes.len()), (4, 3 * LARGE));
        task.io.io.room = 1 << 20;
        assert!(task.poll(|io, cx| frame(io, cx, 9).is_ready()).0);
        task.poll(|io, cx| assert!(io.poll_flush(cx).is_ready()));
        let whole = 3 * (9 + LARGE);
        assert!(task.io.io.bytes.len() > whole && task.io.held.is_empty() && task.io.io.gathered.is_empty());
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
