//! The life of one connection: who is it, TLS, which HTTP, its requests, its end.

use crate::{
    http_caching::status_field,
    listener::{
        body::{Answer, RequestBody, ResponseBody},
        connections::Place,
        deferred::Deferred,
        framing,
        preface::{self, Sniffed},
        proxy_protocol,
        service::Listener,
        stream::Watched,
        watch::{Phase, Watch},
    },
};
use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    error::Error,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
};

/// hyper's buffers of one HTTP/1 connection grow to this; a body in flight is referred to, not copied.
const HTTP1_BUFFER: usize = 64 << 10;
/// What `h2` takes of one stream's answer before it waits for the client.
const HTTP2_SEND_BUFFER: usize = 64 << 10;
/// Encrypted bytes of one connection that wait for the client: as much is written at once.
const TLS_BUFFER: usize = 128 << 10;
/// So many times the limit of a head is let through by `h2`, which answers what is larger by itself and tells nobody; what is
/// not is refused here, with an account.
const HTTP2_HEADS: usize = 2;
/// Most that is read and thrown away of what a refused client still sends.
const LEAVING_BYTES: u64 = 1 << 20;

/// What a service may know of the connection a request came by.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Name of the listener.
    pub listener: Arc<str>,
    /// The client: the peer, or whom the peer's PROXY header names.
    pub peer: SocketAddr,
    /// What the client connected to, likewise.
    pub local: SocketAddr,
    /// Over TLS.
    pub tls: bool,
    /// Over HTTP/2.
    pub http2: bool,
    /// The client's `X-Forwarded-*` and `Forwarded` fields are to be believed.
    pub trusted: bool,
}

/// A request the listener answered itself.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The status sent.
    pub status: StatusCode,
    /// Why: a fixed word.
    pub reason: &'static str,
    /// The request's head, unless it could not be read.
    pub head: Option<&'a Parts>,
}

/// What answers requests: the edge, and the control API.
pub trait Serve: Clone + Send + Sync + 'static {
    /// The body of an answer. An error from it ends the answer uncleanly: a reset, no last chunk.
    type Body: http_body::Body<Data = Bytes, Error = Box<dyn Error + Send + Sync>> + Send + 'static;

    /// Answers one request. Dropped when the client is gone.
    fn serve(
        &self,
        request: Request<RequestBody>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Told of each request the listener refused, for the log.
    fn refused(&self, connection: &Connection, refused: &Refused<'_>) {
        let _ = (connection, refused);
    }
}

/// A stage of a connection's life. In a box, so that a connection takes the room of the stage it is in: an idle one that of its
/// protocol, not of a handshake and of every protocol it could have come to.
type Stage<T = ()> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Serves one connection to its end. The sweep ends it by dropping this.
pub(super) async fn live<S: Serve>(
    tcp: TcpStream,
    place: Place,
    peer: SocketAddr,
    watch: Arc<Watch>,
    listener: Arc<Listener>,
    serve: S,
) {
    let io = Watched::new(tcp, watch.clone(), place);
    let greeting: Stage<Option<Stage>> = Box::pin(greet(io, peer, watch, listener, serve));
    let protocol = greeting.await;
    if let Some(protocol) = protocol {
        protocol.await;
    }
}

/// Who is it, TLS, which HTTP: up to the first request. `None` where that was the end already.
async fn greet<S: Serve>(
    mut io: Watched,
    peer: SocketAddr,
    watch: Arc<Watch>,
    listener: Arc<Listener>,
    serve: S,
) -> Option<Stage> {
    let mut who = Connection {
        listener: listener.name.clone(),
        peer,
        local: io.local_addr().ok()?,
        tls: listener.acceptor.is_some(),
        http2: false,
        trusted: false,
    };
    let Some(seat) = listener.handshake() else {
        listener.ended("handshakes", peer);
        return None;
    };
    if contains(&listener.settings.proxy_protocol_from, peer) {
        match proxy_protocol::read(&mut io).await {
            Ok(Some((source, destination))) => (who.peer, who.local) = (source, destination),
            Ok(None) => {}
            Err(e) => {
                if e.kind() == io::ErrorKind::InvalidData {
                    listener.ended("proxy-protocol", peer);
                }
                return None;
            }
        }
    }
    who.trusted = contains(&listener.settings.trusted_proxies, who.peer);
    let Some(acceptor) = &listener.acceptor else {
        drop(seat);
        watch.enter(Phase::Idle);
        return speak(io, None, who, watch, listener, serve).await;
    };
    let buffer = Some(TLS_BUFFER);
    // rustls's own stream: Pingora's around it takes digests of each handshake and hides the session.
    let tls = match acceptor.acceptor.accept_with(io, |session| session.set_buffer_limit(buffer)).await {
        Ok(tls) => tls,
        Err(e) => {
            tracing::debug!(%peer, error = %e, "TLS handshake failed");
            listener.ended("tls-handshake", peer);
            return None;
        }
    };
    drop(seat);
    watch.enter(Phase::Idle);
    let alpn = tls.get_ref().1.alpn_protocol().map(|protocol| protocol == b"h2");
    speak(tls, alpn, who, watch, listener, serve).await
}

fn contains(nets: &[ipnet::IpNet], address: SocketAddr) -> bool {
    nets.iter().any(|net| net.contains(&address.ip()))
}

async fn speak<T, S>(
    io: T,
    http2: Option<bool>,
    mut who: Connection,
    watch: Arc<Watch>,
    listener: Arc<Listener>,
    serve: S,
) -> Option<Stage>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Serve,
{
    let (io, http2) = match http2 {
        Some(false) => (Sniffed::not(io), false),
        said => {
            let (io, preface) = preface::sniff(io).await.ok()?;
            (io, said.unwrap_or(preface))
        }
    };
    who.http2 = http2;
    let exchanges = Arc::new(Exchanges { connection: Arc::new(who), watch, listener, serve });
    Some(if http2 { exchanges.http2(io) } else { exchanges.http1(io) })
}

/// What the requests of one connection share.
struct Exchanges<S> {
    connection: Arc<Connection>,
    watch: Arc<Watch>,
    listener: Arc<Listener>,
    serve: S,
}

impl<S: Serve> Exchanges<S> {
    fn http1<T>(self: Arc<Self>, io: Sniffed<T>) -> Stage
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.listener.settings.limits;
        let service = service_fn({
            let exchanges = self.clone();
            move |request| exchanges.answer(request)
        });
        // A client that closes its half is gone: its reader or relay ends at once (no half-close).
        let connection = hyper::server::conn::http1::Builder::new()
            .max_headers(limits.head_fields)
            .max_header_size(limits.head_bytes)
            .max_buf_size(HTTP1_BUFFER.max(limits.head_bytes + 1))
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = Box::new(connection);
        Box::pin(async move {
            let mut told = false;
            let result = poll_fn(|cx| {
                // This ends an idle connection at once; at a hand-over its next answer ends it.
                if self.watch.draining() && !told && !self.listener.connections.patient() {
                    told = true;
                    Pin::new(&mut *connection).graceful_shutdown();
                }
                Pin::new(&mut *connection).poll(cx)
            })
            .await;
            let refused = match &result {
                Err(e) => self.broken(e),
                Ok(()) => false,
            };
            if (refused || self.watch.left_unread())
                && !self.watch.answer_failed()
                && let Some(parts) = connection.into_parts()
            {
                self.watch.enter(Phase::Leaving);
                let mut rest = Box::new(parts.io.into_inner().take(LEAVING_BYTES));
                let _ = tokio::io::copy(&mut *rest, &mut tokio::io::sink()).await;
            }
        })
    }

    fn http2<T>(self: Arc<Self>, io: Sniffed<T>) -> Stage
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.listener.settings.limits;
        self.watch.enter(Phase::Streams);
        let service = service_fn({
            let exchanges = self.clone();
            move |request| exchanges.answer(request)
        });
        let connection = hyper::server::conn::http2::Builder::new(Spawn(self.watch.clone()))
            .max_concurrent_streams(limits.h2_streams)
            .max_pending_accept_reset_streams(limits.h2_resets)
            .max_local_error_reset_streams(limits.h2_resets)
            .initial_stream_window_size(limits.h2_stream_window)
            .initial_connection_window_size(limits.h2_connection_window)
            .max_header_list_size(u32::try_from(limits.head_bytes * HTTP2_HEADS).unwrap_or(u32::MAX))
            .max_send_buf_size(HTTP2_SEND_BUFFER)
            .serve_connection(
                TokioIo::new(Deferred::new(io, self.watch.clone(), self.connection.tls)),
                service,
            );
        let mut connection = Box::pin(connection);
        Box::pin(async move {
            let mut told = false;
            let result = poll_fn(|cx| {
                if self.watch.draining() && !told {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                connection.as_mut().poll(cx)
            })
            .await;
            if let Err(e) = result {
                self.broken(&e);
            }
        })
    }

    /// Counts what hyper ended the connection for; says whether it answered by itself.
    fn broken(&self, error: &hyper::Error) -> bool {
        let peer = self.connection.peer;
        tracing::debug!(%peer, %error, "connection ended");
        let h2 = error.source().and_then(|e| e.downcast_ref::<h2::Error>());
        let (status, reason) = if error.is_parse_too_large() {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large")
        } else if error.is_parse() {
            (StatusCode::BAD_REQUEST, "malformed")
        } else {
            match h2 {
                Some(e) if e.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) => {
                    self.listener.ended("resets", peer)
                }
                Some(e) if e.is_library() => self.listener.ended("protocol", peer),
                _ if self.watch.answer_failed() => self.listener.ended("answer-failed", peer),
                _ => {}
            }
            return false;
        };
        self.refused(status, reason, None);
        true
    }

    fn refused(&self, status: StatusCode, reason: &'static str, head: Option<&Parts>) {
        self.listener.ended(reason, self.connection.peer);
        self.serve.refused(&self.connection, &Refused { status, reason, head });
    }

    /// One request. What stands before the future is done as hyper calls, before it spawns a stream's task.
    fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ResponseBody<S::Body>>, Infallible>> + use<S> {
        let has_body = !http_body::Body::is_end_stream(request.body());
        let answer = self.clone().answered(request);
        if has_body && !self.connection.http2 { Either::Left(begun(answer)) } else { Either::Right(answer) }
    }

    fn answered(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ResponseBody<S::Body>>, Infallible>> + Send + use<S> {
        let this = self;
        let place = if this.connection.http2 {
            Some(Arc::new(this.watch.begin()))
        } else {
            this.watch.serve();
            None
        };
        async move {
            let watch = &this.watch;
            let answer = match &place {
                Some(place) => Answer::Stream(place.clone()),
                None => Answer::Connection(watch.clone()),
            };
            let limits = &this.listener.settings.limits;
            let (head, incoming) = request.into_parts();
            let of_head = head.method == Method::HEAD;
            if place.is_some() && watch.abuses(limits.h2_resets) {
                return Ok(line(StatusCode::SERVICE_UNAVAILABLE, "resets", of_head, answer));
            }
            let body = RequestBody::new(incoming, watch, place.as_ref());
            drop(place);
            if let Some(refusal) = framing::refusal(&head, limits) {
                this.refused(refusal.status(), refusal.as_str(), Some(&head));
                let mut response = line(refusal.status(), refusal.as_str(), of_head, answer);
                if !this.connection.http2 {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    watch.leave_unread();
                }
                return Ok(response);
            }
            let request = Request::from_parts(head, body);
            let mut response = this.serve.serve(request, this.connection.clone()).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS && !this.connection.http2 {
                watch.enter(Phase::Tunnel);
                this.listener.connections.upgraded();
            } else if watch.draining() && !this.connection.http2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| ResponseBody::served(body, answer)))
        }
    }
}

/// `answer`, begun now. With a body and the client's end both at hand, hyper reads the one and ends the connection for
/// the other before it polls the answer once: a beacon sent on leaving a page would not even be seen.
fn begun<T: Send>(answer: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
    let mut answer = Box::pin(answer);
    // Nobody is to be woken: hyper polls again at once, or drops it.
    let first = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    async move {
        match first {
            Poll::Ready(value) => value,
            Poll::Pending => answer.await,
        }
    }
}

fn line<B: http_body::Body<Data = Bytes>>(
    status: StatusCode,
    reason: &'static str,
    of_head: bool,
    answer: Answer,
) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::line(format!("{status}: {reason}\n"), of_head, answer));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert("cache-status", status_field::own(reason));
    response
}

/// Spawns the streams of an HTTP/2 connection, each known to the sweep.
#[derive(Clone)]
struct Spawn(Arc<Watch>);

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        self.0.streams.task(tokio::spawn(stream).abort_handle());
    }
}

/// Polls `life` as a task of its own that the sweep may end.
pub(super) async fn watched(watch: Arc<Watch>, life: impl Future<Output = ()>) {
    let mut life = pin!(life);
    poll_fn(|cx| {
        watch.polled(cx);
        if watch.closing() { Poll::Ready(()) } else { life.as_mut().poll(cx) }
    })
    .await;
}
