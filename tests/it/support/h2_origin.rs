//! An origin that speaks HTTP/2 only, by prior knowledge: a function answers each stream.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::deadline::within;

/// Running until dropped.
pub(crate) struct H2Origin {
    address: SocketAddr,
    streams: Arc<AtomicUsize>,
    _running: JoinSet<()>,
}

impl H2Origin {
    /// Answers each stream by `answer`; a stream whose function ends is left as it is.
    pub(crate) async fn start<A, F>(answer: A) -> H2Origin
    where
        A: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Arc::new(AtomicUsize::new(0));
        let (mut running, counted) = (JoinSet::new(), streams.clone());
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, counted) = (answer.clone(), counted.clone());
                connections.spawn(async move {
                    let mut streams = JoinSet::new();
                    let mut builder = h2::server::Builder::new();
                    builder.initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
                    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        counted.fetch_add(1, Ordering::Relaxed);
                        streams.spawn(answer(request, respond));
                    }
                });
            }
        });
        H2Origin { address, streams, _running: running }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Streams so far.
    pub(crate) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }
}

/// Reads a request's body to its end; `None` if it was reset.
pub(crate) async fn read(body: &mut RecvStream) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        whole.extend_from_slice(&data);
        // Fails only if the stream has ended meanwhile, which the next read tells.
        drop(body.flow_control().release_capacity(data.len()));
    }
    body.is_end_stream().then_some(whole)
}

/// Sends a head and the beginning of a body.
pub(crate) async fn begin(
    respond: &mut SendResponse<Bytes>,
    response: Response<()>,
    body: Vec<u8>,
) -> SendStream<Bytes> {
    let mut sending = respond.send_response(response, false).unwrap();
    let mut left = Bytes::from(body);
    while !left.is_empty() {
        sending.reserve_capacity(left.len());
        let place = std::future::poll_fn(|context| sending.poll_capacity(context));
        let place = within("window of the edge", place).await.unwrap().unwrap();
        let n = place.min(left.len());
        sending.send_data(left.split_to(n), false).unwrap();
    }
    sending
}
