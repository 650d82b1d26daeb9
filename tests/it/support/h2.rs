//! An HTTP/2 client: many streams on a connection, each with its clean end or its reset.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use tokio::task::JoinHandle;

use super::deadline::within;
use super::dial::Dial;
use super::goaway::{Code, Watched};
use super::message::{End, Fields, Framing, Reply, Request};
use super::wire::Wire;

/// One connection.
pub(crate) struct H2 {
    send: SendRequest<Bytes>,
    running: JoinHandle<Result<(), h2::Error>>,
    scheme: &'static str,
    goaway: Code,
    server_certificate: Option<Vec<u8>>,
}

impl H2 {
    /// Cleartext with prior knowledge; for more see [`Dial`].
    pub(crate) async fn connect(to: SocketAddr) -> H2 {
        Dial::to(to).h2().await
    }

    pub(crate) async fn new(wire: Wire, dial: &Dial) -> io::Result<H2> {
        let mut builder = h2::client::Builder::new();
        let window = dial.window.unwrap_or(1 << 20);
        builder
            .enable_push(false)
            .initial_window_size(window)
            .initial_connection_window_size(window.max(65_535));
        let server_certificate = wire.peer_certificate();
        let goaway = Code::default();
        let (send, running) = match wire {
            Wire::Plain(stream) => {
                let (send, connection) =
                    builder.handshake(Watched::new(stream, &goaway)).await.map_err(io::Error::other)?;
                (send, tokio::spawn(connection))
            }
            Wire::Tls(stream) => {
                let (send, connection) =
                    builder.handshake(Watched::new(stream, &goaway)).await.map_err(io::Error::other)?;
                (send, tokio::spawn(connection))
            }
        };
        Ok(H2 { send, running, scheme: dial.scheme(), goaway, server_certificate })
    }

    /// GET from `lms-a.example`.
    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.ask(&Request::get(target)).await
    }

    /// A request and its whole reply. Several may be under way at once.
    pub(crate) async fn ask(&self, request: &Request) -> Reply {
        match self.open(request).await {
            Ok(stream) => stream.reply().await,
            Err(why) => Reply { end: End::Unclean(why), ..Reply::unread() },
        }
    }

    /// Opens a stream and sends the request with its body.
    pub(crate) async fn open(&self, request: &Request) -> Result<Stream, String> {
        let mut stream = self.begin(request, request.body.is_none()).await?;
        if let Some(body) = &request.body {
            stream.send(body, true).await?;
        }
        Ok(stream)
    }

    /// Opens a stream with a head alone; with `end` there will be no body.
    pub(crate) async fn begin(&self, request: &Request, end: bool) -> Result<Stream, String> {
        let uri = format!("{}://{}{}", self.scheme, request.host, request.target);
        let mut builder =
            http::Request::builder().method(request.method.as_str()).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in &request.fields {
            builder = builder.header(name, value);
        }
        let request = builder.body(()).map_err(|error| error.to_string())?;
        let ready = self.send.clone().ready();
        let mut ready = within("place for a stream", ready).await.map_err(|error| error.to_string())?;
        let (response, sending) = ready.send_request(request, end).map_err(|error| error.to_string())?;
        Ok(Stream { response: Some(response), sending, receiving: None })
    }

    /// The reason of the last GOAWAY that came.
    pub(crate) fn goaway(&self) -> Option<Reason> {
        self.goaway.lock().unwrap().map(Reason::from)
    }

    /// Waits for the peer to end the connection, and tells the reason of its GOAWAY if there was one.
    pub(crate) async fn closed(mut self) -> Option<Reason> {
        // The handle for requests is kept meanwhile: without one the client would end the connection itself.
        drop(within("end of an HTTP/2 connection", &mut self.running).await.unwrap());
        self.goaway()
    }

    /// Has the peer ended the connection?
    pub(crate) fn is_closed(&self) -> bool {
        self.running.is_finished()
    }

    /// Ends the connection at once, whatever is under way.
    pub(crate) fn abort(self) {
        self.running.abort();
    }

    /// The certificate that the server showed, in DER.
    pub(crate) fn server_certificate(&self) -> Option<&[u8]> {
        self.server_certificate.as_deref()
    }
}

/// A stream. Dropped before its end it is reset with CANCEL.
pub(crate) struct Stream {
    response: Option<ResponseFuture>,
    sending: SendStream<Bytes>,
    receiving: Option<RecvStream>,
}

impl Stream {
    /// Sends bytes of the request's body as the peer's windows allow.
    pub(crate) async fn send(&mut self, bytes: &[u8], end: bool) -> Result<(), String> {
        let mut left = Bytes::copy_from_slice(bytes);
        while !left.is_empty() {
            self.sending.reserve_capacity(left.len());
            let place = std::future::poll_fn(|context| self.sending.poll_capacity(context));
            let place = within("window for a request's body", place).await.ok_or("the stream is closed")?;
            let place = place.map_err(|error| error.to_string())?.min(left.len());
            let last = end && place == left.len();
            self.sending.send_data(left.split_to(place), last).map_err(|error| error.to_string())?;
        }
        match end && bytes.is_empty() {
            true => self.sending.send_data(Bytes::new(), true).map_err(|error| error.to_string()),
            false => Ok(()),
        }
    }

    /// The whole reply.
    pub(crate) async fn reply(mut self) -> Reply {
        let mut reply = self.head().await;
        while reply.end == End::Open {
            self.piece(&mut reply).await;
        }
        reply
    }

    /// The reply's head. As long as no piece is read the server's window stays used up.
    pub(crate) async fn head(&mut self) -> Reply {
        let mut reply = Reply { framing: Framing::Stream, version: "HTTP/2".to_owned(), ..Reply::unread() };
        let response = self.response.take().unwrap();
        match within("head of an HTTP/2 reply", response).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                (reply.status, reply.fields) = (head.status.as_u16(), fields(&head.headers));
                self.receiving = Some(body);
            }
            Err(error) => reply.end = End::Unclean(error.to_string()),
        }
        reply
    }

    /// Reads the next piece of the body and gives its window back, or reads the end.
    pub(crate) async fn piece(&mut self, reply: &mut Reply) {
        let body = self.receiving.as_mut().unwrap();
        let what = format!("next DATA after {} bytes of {}", reply.body.len(), reply.status);
        match within(what, body.data()).await {
            Some(Ok(data)) => {
                reply.body.extend_from_slice(&data);
                // Fails only if the stream has ended meanwhile, which the next read tells.
                drop(body.flow_control().release_capacity(data.len()));
            }
            Some(Err(error)) => reply.end = End::Unclean(error.to_string()),
            None => match within("end of an HTTP/2 stream", body.trailers()).await {
                Ok(trailers) => {
                    reply.trailers = trailers.as_ref().map(fields).unwrap_or_default();
                    reply.end = End::Clean;
                }
                Err(error) => reply.end = End::Unclean(error.to_string()),
            },
        }
    }

    /// RST_STREAM.
    pub(crate) fn reset(mut self, reason: Reason) {
        self.sending.send_reset(reason);
    }
}

fn fields(map: &http::HeaderMap) -> Fields {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.as_bytes().iter().map(|byte| char::from(*byte)).collect())
    };
    map.iter().map(line).collect()
}
