//! Origins played by raw sockets: what is sent, what an answer means, what is repeated.

mod fetch;
mod fronts;
mod http2;
mod identity;
mod names;
mod relay;
mod tls;

use super::{Origin, OriginBody, OriginError, OriginRequest, OriginSettings, Turn};
use crate::{rules::Class, telemetry::Metrics};
use http::{HeaderMap, HeaderValue, Method};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What must happen happens within this, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(20);

async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(DEADLINE, what).await.expect("the deadline of the test is over")
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    within(listener.accept()).await.unwrap().0
}

fn settings(servers: &[SocketAddr]) -> OriginSettings {
    OriginSettings::new(
        "lms",
        servers.iter().map(|server| (server.ip().to_string(), server.port())).collect(),
    )
}

fn origin_of(settings: OriginSettings) -> (Arc<Origin>, Arc<Metrics>) {
    let metrics = Metrics::new();
    (Origin::new(settings, &metrics).unwrap(), metrics)
}

fn origin(server: SocketAddr) -> Arc<Origin> {
    origin_of(settings(&[server])).0
}

fn request(method: Method, target: &str) -> OriginRequest {
    let host = HeaderValue::from_static("lms.example");
    let turn = Turn { site: "lms".into(), class: Class::Page };
    OriginRequest { method, target: target.to_owned(), host, headers: HeaderMap::new(), upgrade: None, turn }
}

async fn fetch(origin: &Arc<Origin>, request: OriginRequest) -> Result<super::Exchange, OriginError> {
    let permit = origin.admit(&request).await.unwrap();
    within(origin.fetch(permit, request)).await
}

async fn get(origin: &Arc<Origin>, target: &str) -> Result<super::Exchange, OriginError> {
    fetch(origin, request(Method::GET, target)).await
}

async fn collect(body: &mut OriginBody) -> (Vec<u8>, Result<(), OriginError>) {
    let mut all = Vec::new();
    loop {
        match within(body.next()).await {
            Ok(Some(piece)) => all.extend_from_slice(&piece),
            Ok(None) => return (all, Ok(())),
            Err(error) => return (all, Err(error)),
        }
    }
}

/// A request's head, as it came, up to its empty line; nothing of what follows is read.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = within(stream.read_u8()).await.expect("a whole head");
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}

/// Everything until the other side closes; a reset is an end, too.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = within(stream.read_to_end(&mut all)).await;
    all
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Until nothing is in flight any more.
async fn idle(metrics: &Metrics) {
    let gauge = metrics.origin_in_flight.with_label_values(&["lms"]);
    within(async {
        while gauge.get() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Plays `answers` in turn, one connection each, closed after its answer; counts nothing.
fn play(listener: TcpListener, answers: Vec<&'static str>) {
    tokio::spawn(async move {
        for answer in answers {
            let mut stream = accept(&listener).await;
            read_head(&mut stream).await;
            send(&mut stream, answer).await;
        }
    });
}
