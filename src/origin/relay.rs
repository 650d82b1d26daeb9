//! A request passed to the origin as it is: any method, any body, upgrades, answers without an end.
//!
//! A relay is a task. With a safe method it ends when its client does. With an unsafe one it goes on to the
//! origin's answer once the client's body is whole (a beacon sent on leaving a page must arrive); a body
//! that did not come whole closes the connection, so that the origin never takes a part for all.
//! Answer and upload run side by side: an origin may answer before it has read everything, or anything.

use super::{
    Data, Exchange, Head, Origin, OriginError, OriginRequest, Permit, Phase, Tunnel,
    balance::Choice,
    client::{Session, Wanted},
    head::Framing,
    upload::{self, H1Sink, Upload, Uploaded},
};
use crate::clock;
use bytes::Bytes;
use http::{StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pingora::protocols::http::v2;
use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};
use tokio::sync::{Notify, mpsc, oneshot};
use tower::retry::budget::Budget;

/// How long the origin may take to say 100; after that the body is sent without.
const CONTINUE: Duration = Duration::from_secs(1);
/// Pieces of an answer between origin and client, of 64 KiB each at most.
const PIECES: usize = 2;
/// What is still read of an answer whose client is gone, so that the origin may end in peace.
const FAREWELL: u64 = 1024 * 1024;

/// A relayed answer.
#[derive(Debug)]
pub struct Relayed {
    /// The head.
    pub head: Head,
    /// The body; empty beside a tunnel.
    pub body: RelayedBody,
    /// After 101: the connection to the origin.
    pub tunnel: Option<Tunnel>,
}

/// The body of a relayed answer. Dropping it tells the relay that the client is gone.
#[derive(Debug)]
pub struct RelayedBody {
    pieces: Option<mpsc::Receiver<Piece>>,
    left: Option<u64>,
}

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    End,
    Failed(OriginError),
}

type Answer = oneshot::Sender<Result<Relayed, OriginError>>;

/// A request on its way, and where its answer goes.
struct Relay {
    origin: Arc<Origin>,
    permit: Permit,
    request: OriginRequest,
    upload: Upload,
    answer: Answer,
}

impl Origin {
    /// Relays a request. Dropping the future, or later the body, says that the client is gone.
    ///
    /// # Errors
    /// No usable answer came, the client's body broke off, or it is longer than `upload.limit`.
    pub async fn relay<B>(
        self: &Arc<Self>,
        permit: Permit,
        request: OriginRequest,
        body: B,
        upload: Upload,
    ) -> Result<Relayed, OriginError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display + Send,
    {
        if upload.limit.is_some_and(|limit| body.size_hint().lower() > limit) {
            return Err(OriginError::BodyLimit);
        }
        let (answer, heard) = oneshot::channel();
        let relay = Relay { origin: self.clone(), permit, request, upload, answer };
        tokio::spawn(async move {
            if body.is_end_stream() { relay.without_body().await } else { relay.with_body(body).await }
        });
        heard.await.unwrap_or(Err(OriginError::Closed))
    }
}

impl Relay {
    async fn without_body(self) {
        let Relay { origin, permit, request, upload, mut answer } = self;
        let exchange = origin.exchange(permit, &request);
        let exchange = tokio::select! {
            exchange = exchange => exchange,
            () = answer.closed(), if !upload.finish_when_whole => return,
        };
        origin.count(exchange.as_ref().map(|exchange| &exchange.head));
        match exchange {
            Ok(exchange) => deliver(exchange, answer, || upload.finish_when_whole).await,
            Err(error) => _ = answer.send(Err(error)),
        }
    }

    async fn with_body<B>(mut self, body: B)
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: std::fmt::Display + Send,
    {
        let framing = upload::announced(&body).map_or(Framing::Chunked, Framing::Length);
        let wanted = Wanted { fresh: false, safe: false, upgrade: self.request.upgrade.is_some() };
        let origin = self.origin.clone();
        let choice = Choice { key: &self.request.target, avoid: None, may_try: false };
        origin.retries.0.deposit();
        let opening = async {
            let mut head = origin.head(&self.request, framing, self.upload.expects_continue)?;
            let mut session = origin.connect(wanted, choice).await?;
            let requested = clock::now();
            if session.is_h2() {
                // It frames a body by itself.
                head.remove_header(&header::TRANSFER_ENCODING);
            }
            let sent = session.send_head(head, false).await;
            sent.inspect_err(|_| session.tell_front(sent))?;
            Ok((session, requested))
        };
        let opened = tokio::select! {
            opened = opening => opened,
            () = self.answer.closed(), if !self.upload.finish_when_whole => return,
        };
        let (mut session, requested) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.fail(error),
        };
        let patience = origin.settings.timeouts.write;
        if let Some(line) = session.line() {
            let mut sink = H1Sink::new(line, framing == Framing::Chunked, patience);
            let put = async move |piece: Option<Bytes>| sink.put(piece).await;
            return self.converse(session, requested, body, put).await;
        }
        let Some(mut stream) = session.h2().and_then(v2::client::Http2Session::take_request_body_writer)
        else {
            return self.fail(OriginError::Closed);
        };
        let put = async move |piece: Option<Bytes>| {
            let end = piece.is_none();
            let sent = v2::write_body(&mut stream, piece.unwrap_or_default(), end, Some(patience)).await;
            sent.map_err(|error| OriginError::from_pingora(&error, Phase::Send))
        };
        self.converse(session, requested, body, put).await;
    }

    fn fail(self, error: OriginError) {
        self.origin.count(Err(&error));
        _ = self.answer.send(Err(error));
    }

    /// Upload and answer, side by side.
    async fn converse<B, F>(mut self, mut session: Session, requested: SystemTime, body: B, put: F)
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: std::fmt::Display + Send,
        F: AsyncFnMut(Option<Bytes>) -> Result<(), OriginError>,
    {
        let (upload, finish) = (self.upload, self.upload.finish_when_whole);
        let whole = Arc::new(AtomicBool::new(false));
        let (go, done) = (Notify::new(), Notify::new());
        let mut answered = None;
        if upload.expects_continue {
            let read = session.read_head(|| go.notify_one());
            answered = tokio::select! {
                biased;
                read = read => Some(read),
                () = go.notified() => None,
                () = tokio::time::sleep(CONTINUE) => None,
                () = self.answer.closed(), if !finish => return,
            };
        }
        // Answered before the body was asked for: it never is.
        let mut sending = answered.is_none();
        let mut upload = pin!(async {
            let end = upload::send(body, put, upload.limit).await;
            whole.store(end == Ok(Uploaded::Whole), Ordering::Release);
            done.notify_one();
            end
        });
        let answered = match answered {
            Some(answered) => answered,
            None => {
                let patience = self.origin.settings.timeouts.head;
                let mut read = pin!(session.read_head(|| {}));
                let mut overdue = pin!(async {
                    done.notified().await;
                    tokio::time::sleep(patience).await;
                });
                loop {
                    tokio::select! {
                        biased;
                        read = &mut read => break read,
                        end = &mut upload, if sending => match end {
                            Ok(_) => sending = false,
                            Err(error) => break Err(error),
                        },
                        () = &mut overdue => break Err(OriginError::Timeout(Phase::Head)),
                        () = self.answer.closed(), if !finish => return,
                    }
                }
            }
        };
        session.tell_front(answered);
        let Relay { origin, permit, request, answer, .. } = self;
        let exchange =
            answered.and_then(|()| origin.answer(session, permit, &request, requested, whole.clone()));
        origin.count(exchange.as_ref().map(|exchange| &exchange.head));
        let exchange = match exchange {
            Ok(exchange) => exchange,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let mut delivery = pin!(deliver(exchange, answer, || finish && whole.load(Ordering::Acquire)));
        loop {
            tokio::select! {
                biased;
                () = &mut delivery => return,
                end = &mut upload, if sending => match end {
                    Ok(_) => sending = false,
                    // The answer is given up with the request: its reader sees it cut.
                    Err(_) => return,
                },
            }
        }
    }
}

/// Hands the answer over and its body after it. `finish`: read on though the client is gone.
async fn deliver(exchange: Exchange, answer: Answer, finish: impl Fn() -> bool) {
    let Exchange { head, mut body } = exchange;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let tunnel = body.into_tunnel();
        _ = answer.send(match tunnel {
            Some(tunnel) => Ok(Relayed { head, body: RelayedBody::empty(), tunnel: Some(tunnel) }),
            None => Err(OriginError::Protocol),
        });
        return;
    }
    if body.is_empty() {
        _ = answer.send(Ok(Relayed { head, body: RelayedBody::empty(), tunnel: None }));
        return;
    }
    let (pieces, received) = mpsc::channel(PIECES);
    let relayed = RelayedBody { pieces: Some(received), left: body.expected() };
    let mut gone = answer.send(Ok(Relayed { head, body: relayed, tunnel: None })).is_err();
    let mut farewell = 0;
    loop {
        if gone && (!finish() || farewell > FAREWELL) {
            return;
        }
        let piece = tokio::select! {
            biased;
            piece = async { body.next().await.map(|piece| piece.map(Data::into_bytes)) } => piece,
            () = pieces.closed(), if !gone => {
                gone = true;
                continue;
            }
        };
        let (piece, last) = match piece {
            Ok(Some(piece)) if piece.is_empty() => continue,
            Ok(Some(piece)) => (Piece::Data(piece), false),
            Ok(None) => (Piece::End, true),
            Err(error) => (Piece::Failed(error), true),
        };
        if gone && let Piece::Data(piece) = &piece {
            farewell += piece.len() as u64;
        } else {
            gone = pieces.send(piece).await.is_err();
        }
        if last {
            return;
        }
    }
}

impl RelayedBody {
    fn empty() -> RelayedBody {
        RelayedBody { pieces: None, left: Some(0) }
    }
}

impl Body for RelayedBody {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        let Some(pieces) = &mut self.pieces else {
            return Poll::Ready(None);
        };
        let end = match ready!(pieces.poll_recv(cx)) {
            Some(Piece::Data(piece)) => {
                self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            Some(Piece::End) => None,
            Some(Piece::Failed(error)) => Some(Err(error)),
            None => Some(Err(OriginError::Closed)),
        };
        self.pieces = None;
        Poll::Ready(end)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
