//! Bodies in both directions, as the deadline sweep must see them: whether anyone waits for the client.

use crate::listener::{
    run::Run,
    streams::{StreamPlace, Upload},
    watch::{Phase, Watch},
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// Why a request body ended before its end.
#[derive(Debug)]
pub enum RequestBodyError {
    /// The client closed, reset, or broke the framing.
    Client(hyper::Error),
    /// No byte came for the time allowed.
    Stalled,
}

/// A request's body.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    owner: Owner,
    ended: bool,
}

#[derive(Debug)]
enum Owner {
    Connection(Arc<Watch>),
    Stream(Arc<StreamPlace>),
}

impl RequestBody {
    pub(super) fn new(
        incoming: Incoming,
        connection: &Arc<Watch>,
        stream: Option<&Arc<StreamPlace>>,
    ) -> RequestBody {
        let owner = match stream {
            Some(place) => Owner::Stream(place.clone()),
            None => Owner::Connection(connection.clone()),
        };
        RequestBody { ended: incoming.is_end_stream(), incoming, owner }
    }

    fn upload(&self) -> &Upload {
        match &self.owner {
            Owner::Connection(watch) => &watch.upload,
            Owner::Stream(place) => &place.watch.upload,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.upload().polled(polled.is_pending());
        if polled.is_pending() {
            self.upload().wake_at_expiry(cx);
            if self.upload().expired() {
                self.ended = true;
                self.upload().left();
                return Poll::Ready(Some(Err(RequestBodyError::Stalled)));
            }
        }
        let frame = ready!(polled);
        self.ended = !matches!(frame, Some(Ok(_))) || self.incoming.is_end_stream();
        Poll::Ready(frame.map(|f| f.map_err(RequestBodyError::Client)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.upload().left();
        if let Owner::Connection(watch) = &self.owner {
            watch.leave_unread();
        }
    }
}

impl fmt::Display for RequestBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestBodyError::Client(e) => write!(f, "the client's body broke off: {e}"),
            RequestBodyError::Stalled => f.write_str("the client's body stalled"),
        }
    }
}

impl std::error::Error for RequestBodyError {}

/// Who notes how an answer goes.
#[derive(Debug)]
pub(super) enum Answer {
    /// HTTP/1: the connection is idle again when this is dropped, unless it became a tunnel.
    Connection(Arc<Watch>),
    /// HTTP/2.
    Stream(Arc<StreamPlace>),
}

/// What a poll of an answer's body gave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gave {
    Nothing,
    Frame,
    End,
    Failure,
}

impl Answer {
    fn gave(&self, what: Gave) {
        match self {
            Answer::Connection(watch) => {
                if what == Gave::Failure {
                    watch.fail_answer();
                }
            }
            Answer::Stream(place) => {
                place.watch.gave(what == Gave::Frame);
                if matches!(what, Gave::End | Gave::Failure) {
                    place.finish();
                }
            }
        }
    }

    /// The answer has no body, or its last frame is out.
    fn finish(&self) {
        if let Answer::Stream(place) = self {
            place.finish();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Answer::Connection(watch) = self
            && watch.phase() == Phase::Serving
        {
            watch.enter(Phase::Idle);
        }
    }
}

pin_project! {
    /// The answer's body on its way to hyper: what the service gave, or a line of our own.
    #[project = KindProjection]
    pub(super) enum Kind<B> {
        Served { #[pin] body: B },
        Line { text: Option<Bytes> },
    }
}

pin_project! {
    pub(super) struct ResponseBody<B: Body> {
        #[pin]
        kind: Kind<B>,
        answer: Answer,
        // What came after the run that was handed on last: the end, or a failure.
        after: Option<Option<B::Error>>,
    }
}

impl<B: Body> Kind<B> {
    fn is_over(&self) -> bool {
        match self {
            Kind::Served { body } => body.is_end_stream(),
            Kind::Line { text } => text.is_none(),
        }
    }
}

impl<B: Body<Data = Bytes>> Kind<B> {
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project() {
            KindProjection::Served { body } => body.poll_frame(cx),
            KindProjection::Line { text } => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    /// Adds to `run` what is ready; tells what came instead of a further piece, the end or a failure.
    fn extend(mut self: Pin<&mut Self>, run: &mut Run, cx: &mut Context<'_>) -> Option<Option<B::Error>> {
        while run.goes_on() && !self.is_over() {
            match self.as_mut().poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(frame))) => {
                    frame.into_data().into_iter().for_each(|piece| run.push(piece))
                }
                Poll::Ready(Some(Err(error))) => return Some(Some(error)),
                Poll::Ready(None) => return Some(None),
            }
        }
        None
    }
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn served(body: B, answer: Answer) -> Self {
        if body.is_end_stream() {
            answer.finish();
        }
        ResponseBody { kind: Kind::Served { body }, answer, after: None }
    }

    /// A line of text; none of it to a HEAD, after which a body is the client's protocol error in HTTP/2.
    pub(super) fn line(text: String, of_head: bool, answer: Answer) -> Self {
        let text = (!of_head).then(|| text.into());
        if text.is_none() {
            answer.finish();
        }
        ResponseBody { kind: Kind::Line { text }, answer, after: None }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Run;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Run>, B::Error>>> {
        let mut this = self.project();
        let mut polled = match this.after.take() {
            Some(after) => Poll::Ready(after.map(Err)),
            None => this.kind.as_mut().poll_frame(cx).map_ok(|frame| frame.map_data(Run::from)),
        };
        // Over HTTP/2 streams take turns, a frame each.
        if let (Answer::Connection(_), Poll::Ready(Some(Ok(frame)))) = (&this.answer, &mut polled)
            && let Some(run) = frame.data_mut()
        {
            *this.after = this.kind.as_mut().extend(run, cx);
        }
        this.answer.gave(match &polled {
            Poll::Pending => Gave::Nothing,
            Poll::Ready(None) => Gave::End,
            Poll::Ready(Some(Err(_))) => Gave::Failure,
            Poll::Ready(Some(Ok(_))) => Gave::Frame,
        });
        if this.after.is_none() && this.kind.is_over() {
            this.answer.finish();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.after {
            Some(after) => after.is_none(),
            None => self.kind.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Served { body } => body.size_hint(),
            Kind::Line { text } => SizeHint::with_exact(text.as_ref().map_or(0, |t| t.len() as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, ResponseBody};
    use crate::listener::watch::Watch;
    use bytes::{Buf, Bytes};
    use futures_util::{StreamExt, stream};
    use http_body::{Body, Frame};
    use http_body_util::StreamBody;
    use std::{
        pin::Pin,
        sync::Arc,
        task::{Context, Poll, Waker},
    };

    const CHUNK: usize = 256 << 10;

    /// What hyper is handed of a body of `chunks` that then fails, or ends: the length of each run, and the failure.
    fn handed(
        answer: Answer,
        chunks: usize,
        failure: Option<&'static str>,
    ) -> (Vec<usize>, Option<&'static str>) {
        let whole = stream::repeat_with(|| Ok(Frame::data(Bytes::from(vec![0; CHUNK])))).take(chunks);
        let body = StreamBody::new(whole.chain(stream::iter(failure.map(Err))));
        let mut body = Box::pin(ResponseBody::served(body, answer));
        let mut runs = Vec::new();
        loop {
            match body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(frame))) => runs.push(frame.into_data().unwrap().remaining()),
                Poll::Ready(Some(Err(failure))) => return (runs, Some(failure)),
                Poll::Ready(None) => return (runs, None),
                Poll::Pending => panic!("all is ready"),
            }
        }
    }

    #[test]
    fn over_http1_what_is_ready_is_handed_on_in_long_runs_and_the_end_comes_after_it() {
        let connection = || Answer::Connection(Arc::new(Watch::default()));
        assert_eq!(handed(connection(), 3, None), (vec![2 * CHUNK, CHUNK], None));
        assert_eq!(handed(connection(), 2, Some("cut")), (vec![2 * CHUNK], Some("cut")));
    }

    #[test]
    fn over_http2_pieces_are_handed_on_one_by_one() {
        let watch = Arc::new(Watch::default());
        let stream = Answer::Stream(Arc::new(watch.begin()));
        assert_eq!(handed(stream, 3, Some("cut")), (vec![CHUNK; 3], Some("cut")));
    }

    #[test]
    fn an_end_seen_with_the_last_run_is_told_at_once() {
        let watch = Arc::new(Watch::default());
        let body = StreamBody::new(stream::iter([Ok::<_, &str>(Frame::data(Bytes::from(vec![0; CHUNK])))]));
        let mut body = Box::pin(ResponseBody::served(body, Answer::Connection(watch)));
        let run = Pin::as_mut(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(run, Poll::Ready(Some(Ok(_)))) && body.is_end_stream());
    }
}
