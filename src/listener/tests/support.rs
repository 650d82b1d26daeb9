//! A listener on port 0 before a trivial service, and raw clients.

use crate::{
    listener::{
        Accepting, Certificates, Connection, Connections, Listener, ListenerSettings, Refused, RequestBody,
        Serve,
    },
    telemetry::Metrics,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use pingora::services::Service;
use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Yields to the others until `ready`.
pub(super) async fn until(mut ready: impl FnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(1));
    soon(async {
        while !ready() {
            look.tick().await;
        }
    })
    .await;
}

/// What the service was asked and told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) served: AtomicUsize,
    pub(super) cancelled: AtomicUsize,
    pub(super) bodies: Mutex<Vec<Result<Vec<u8>, String>>>,
    pub(super) refused: Mutex<Vec<(u16, &'static str)>>,
    pub(super) peers: Mutex<Vec<(SocketAddr, bool)>>,
}

#[derive(Clone)]
pub(super) struct Echo {
    pub(super) told: Arc<Told>,
    pub(super) gate: watch::Sender<bool>,
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// So many frames of so many bytes, then an end, an error, or nothing until the gate opens.
pub(super) struct Frames {
    left: usize,
    size: usize,
    then: Then,
}

enum Then {
    End,
    Fail,
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Problem;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Problem>>> {
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(vec![b'x'; self.size].into()))));
        }
        match &mut self.then {
            Then::End => Poll::Ready(None),
            Then::Fail => Poll::Ready(Some(Err("the fill failed".into()))),
            Then::Wait(opened) => opened.as_mut().poll(cx).map(|()| None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && matches!(self.then, Then::End)
    }
}

struct Cancelled(Arc<Told>, bool);
impl Drop for Cancelled {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cancelled.fetch_add(1, SeqCst);
        }
    }
}

impl Serve for Echo {
    type Body = Frames;

    async fn serve(
        &self,
        mut request: Request<RequestBody>,
        connection: Arc<Connection>,
    ) -> Response<Frames> {
        self.told.served.fetch_add(1, SeqCst);
        self.told.peers.lock().unwrap().push((connection.peer, connection.trusted));
        let mut gate = self.gate.subscribe();
        let wait = async move {
            let _ = gate.wait_for(|open| *open).await;
        };
        let answer = |left, size, then| Response::new(Frames { left, size, then });
        match request.uri().path() {
            "/fail" => answer(2, 1000, Then::Fail),
            "/transfer" => answer(1, 1000, Then::Wait(Box::pin(wait))),
            "/endless" => answer(usize::MAX, 64 << 10, Then::End),
            "/await" => {
                let mut cancelled = Cancelled(self.told.clone(), false);
                wait.await;
                cancelled.1 = true;
                answer(1, 5, Then::End)
            }
            "/upload" => {
                let body = request.body_mut().collect().await;
                let body = body.map(|b| b.to_bytes().to_vec()).map_err(|e| e.to_string());
                self.told.bodies.lock().unwrap().push(body);
                answer(1, 5, Then::End)
            }
            "/tunnel" => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    if let Ok(tunnel) = upgrade.await {
                        let (mut read, mut write) = tokio::io::split(TokioIo::new(tunnel));
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    }
                });
                let mut response = answer(0, 0, Then::End);
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
                response.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
                response
            }
            _ => answer(1, 5, Then::End),
        }
    }

    fn refused(&self, _: &Connection, refused: &Refused<'_>) {
        self.told.refused.lock().unwrap().push((refused.status.as_u16(), refused.reason));
    }
}

pub(super) struct Edge {
    pub(super) address: SocketAddr,
    pub(super) told: Arc<Told>,
    pub(super) gate: watch::Sender<bool>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) connections: Arc<Connections>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) certificates: Option<Arc<Certificates>>,
}

pub(super) fn settings() -> ListenerSettings {
    ListenerSettings {
        name: "edge".into(),
        address: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        proxy_protocol_from: Vec::new(),
        trusted_proxies: Vec::new(),
        limits: Default::default(),
        deadlines: Default::default(),
    }
}

impl Edge {
    pub(super) async fn start(settings: ListenerSettings) -> Edge {
        let certificates = settings.tls.as_ref().map(|tls| Certificates::load(tls).unwrap().0);
        let (metrics, connections) = (Metrics::new(), Connections::new());
        let listener = Listener::new(settings, certificates.clone(), connections.clone(), &metrics).unwrap();
        let echo = Echo { told: Arc::default(), gate: watch::Sender::new(false) };
        let stop = watch::Sender::new(false);
        for n in 0..2 {
            let mut accepting = Accepting::new(listener.clone(), n, echo.clone(), Some(stop.subscribe()));
            let never = watch::channel(false).1;
            tokio::spawn(async move { accepting.start_service(None, never, 1).await });
        }
        let address = soon(listener.address()).await.unwrap();
        Edge { address, told: echo.told, gate: echo.gate, stop, connections, metrics, certificates }
    }

    pub(super) fn ended(&self, reason: &str) -> u64 {
        self.metrics.connections_ended.with_label_values(&["edge", reason]).get()
    }

    pub(super) fn served(&self) -> usize {
        self.told.served.load(SeqCst)
    }

    pub(super) async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Sends bytes and reads until the edge closes, leaving our half open.
    pub(super) async fn until_closed(&self, bytes: &[u8]) -> String {
        let mut client = self.connect().await;
        client.write_all(bytes).await.unwrap();
        rest(&mut client).await
    }
}

/// Everything until the end, clean or not.
pub(super) async fn rest(client: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut all = Vec::new();
    let _ = soon(client.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// Sends a request and reads one answer with a body of five `x`.
pub(super) async fn ask(client: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), request: &str) -> String {
    client.write_all(request.as_bytes()).await.unwrap();
    client.flush().await.unwrap();
    read_to(client, "xxxxx\r\n0\r\n\r\n").await
}

/// Reads until what came ends so.
pub(super) async fn read_to(client: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut all = Vec::new();
    soon(async {
        while !all.ends_with(end.as_bytes()) {
            assert_ne!(client.read_buf(&mut all).await.unwrap(), 0, "{}", String::from_utf8_lossy(&all));
        }
    })
    .await;
    String::from_utf8_lossy(&all).into_owned()
}

pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
