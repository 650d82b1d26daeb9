//! Origins that speak HTTP/2.

use super::*;
use crate::origin::{CheckSettings, OriginHttp, Upload, balance::Choice};
use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http_body_util::{BodyExt, Full, StreamBody};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

type Asked = (http::Request<RecvStream>, SendResponse<Bytes>);

/// A server by prior knowledge; each request goes to the test.
fn serve(listener: TcpListener) -> (mpsc::Receiver<Asked>, Arc<AtomicUsize>) {
    let (asked, requests) = mpsc::channel(16);
    let open = Arc::new(AtomicUsize::new(0));
    let count = open.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (asked, count) = (asked.clone(), count.clone());
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok(request)) = connection.accept().await {
                    asked.send(request).await.unwrap();
                }
                count.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (requests, open)
}

async fn h2_origin() -> (Arc<Origin>, Arc<Metrics>, mpsc::Receiver<Asked>) {
    let (listener, address) = listen().await;
    let (requests, _) = serve(listener);
    let mut settings = settings(&[address]);
    settings.http = OriginHttp::H2;
    let (origin, metrics) = origin_of(settings);
    (origin, metrics, requests)
}

fn answer(status: u16, length: Option<&str>) -> http::Response<()> {
    let mut answer = http::Response::builder().status(status);
    if let Some(length) = length {
        answer = answer.header("content-length", length);
    }
    answer.body(()).unwrap()
}

async fn next(requests: &mut mpsc::Receiver<Asked>) -> Asked {
    within(requests.recv()).await.unwrap()
}

const UNSAFE: Upload = Upload { expects_continue: false, finish_when_whole: true, limit: None };

#[tokio::test]
async fn requests_share_a_connection() {
    let (listener, address) = listen().await;
    let (mut requests, open) = serve(listener);
    let mut settings = settings(&[address]);
    settings.http = OriginHttp::H2;
    let (origin, metrics) = origin_of(settings);
    let server = tokio::spawn(async move {
        for _ in 0..3 {
            let (request, mut respond) = next(&mut requests).await;
            assert_eq!(request.uri().path_and_query().unwrap(), "/a?b");
            assert_eq!(request.uri().authority().unwrap(), "lms.example");
            assert!(request.headers().get("connection").is_none());
            let mut body = respond.send_response(answer(200, None), false).unwrap();
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        }
    });
    for _ in 0..3 {
        let mut exchange = get(&origin, "/a?b").await.unwrap();
        assert!(!exchange.body.delimited_by_close());
        assert_eq!(collect(&mut exchange.body).await, (b"hello".to_vec(), Ok(())));
    }
    within(server).await.unwrap();
    assert_eq!(metrics.origin_requests.with_label_values(&["lms", "2xx"]).get(), 3);
    assert_eq!(open.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_check_has_a_connection_of_its_own_and_leaves_none() {
    let (listener, address) = listen().await;
    let (mut requests, open) = serve(listener);
    let mut settings = settings(&[address]);
    settings.http = OriginHttp::H2;
    settings.check = Some(CheckSettings { interval: Duration::ZERO, ..CheckSettings::new("/health") });
    let (origin, _metrics) = origin_of(settings);
    let server = tokio::spawn(async move {
        for _ in 0..5 {
            let (request, mut respond) = next(&mut requests).await;
            assert_eq!(request.uri().path(), "/health");
            respond.send_response(answer(200, None), true).unwrap();
        }
    });
    within(async {
        while !server.is_finished() {
            origin.tend();
            tokio::task::yield_now().await;
        }
        server.await.unwrap();
        while open.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_removed_address_loses_its_connection_when_its_last_stream_ends() {
    let (listener, address) = listen().await;
    let (mut requests, open) = serve(listener);
    let mut settings = settings(&[address]);
    settings.http = OriginHttp::H2;
    let (origin, metrics) = origin_of(settings);
    let server = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let (_request, mut respond) = next(&mut requests).await;
            bodies.push(respond.send_response(answer(200, None), false).unwrap());
        }
        (bodies, requests)
    });
    let (one, mut two) = (get(&origin, "/").await.unwrap(), get(&origin, "/").await.unwrap());
    drop(one);
    within(origin.servers.choose(Choice { key: "/", avoid: None, may_try: true }))
        .await
        .unwrap()
        .forget()
        .await;
    let (mut bodies, _requests) = within(server).await.unwrap();
    bodies[1].send_data(Bytes::from_static(b"all"), true).unwrap();
    assert_eq!(collect(&mut two.body).await, (b"all".to_vec(), Ok(())));
    drop(two);
    idle(&metrics).await;
    within(async {
        while open.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_reset_or_too_short_is_never_whole() {
    for (length, reset) in [(None, Some(Reason::CANCEL)), (None, Some(Reason::NO_ERROR)), (Some("9"), None)] {
        let (origin, metrics, mut requests) = h2_origin().await;
        let server = tokio::spawn(async move {
            let (_request, mut respond) = next(&mut requests).await;
            let mut body = respond.send_response(answer(200, length), false).unwrap();
            body.send_data(Bytes::from_static(b"hello"), reset.is_none()).unwrap();
            if let Some(reason) = reset {
                within(std::future::poll_fn(|cx| {
                    // The data must be on its way before the reset takes it back.
                    body.reserve_capacity(1);
                    body.poll_capacity(cx)
                }))
                .await;
                body.send_reset(reason);
            }
            requests
        });
        // A stream that is broken early may not even give a head.
        if let Ok(mut exchange) = get(&origin, "/").await {
            let (bytes, end) = collect(&mut exchange.body).await;
            assert!(end.is_err() && bytes.len() <= 5, "{length:?} {reset:?} {bytes:?}");
        }
        let mut requests = within(server).await.unwrap();
        // The connection itself lives on.
        let again = tokio::spawn(async move {
            let (_request, mut respond) = next(&mut requests).await;
            respond.send_response(answer(204, None), true).unwrap();
            requests
        });
        assert_eq!(get(&origin, "/").await.unwrap().head.status, 204);
        again.await.unwrap();
        idle(&metrics).await;
    }
}

#[tokio::test]
async fn a_head_without_a_body_may_announce_one() {
    let (origin, _metrics, mut requests) = h2_origin().await;
    tokio::spawn(async move {
        loop {
            let (_request, mut respond) = next(&mut requests).await;
            respond.send_response(answer(200, Some("12")), true).unwrap();
        }
    });
    let mut exchange = fetch(&origin, request(Method::HEAD, "/")).await.unwrap();
    assert_eq!(exchange.body.length(), Some(12));
    assert_eq!(collect(&mut exchange.body).await, (Vec::new(), Ok(())));
}

#[tokio::test]
async fn a_body_is_sent_and_answered() {
    let (origin, _metrics, mut requests) = h2_origin().await;
    let server = tokio::spawn(async move {
        let (request, mut respond) = next(&mut requests).await;
        assert_eq!(request.headers()["content-length"], "300000");
        let mut body = request.into_body();
        let mut read = 0;
        while let Some(piece) = within(body.data()).await {
            let piece = piece.unwrap();
            read += piece.len();
            body.flow_control().release_capacity(piece.len()).unwrap();
        }
        respond.send_response(answer(204, None), true).unwrap();
        (read, requests)
    });
    let permit = origin.admit(&request(Method::POST, "/")).await.unwrap();
    let body = Full::new(Bytes::from(vec![7; 300_000]));
    let relayed = within(origin.relay(permit, request(Method::POST, "/up"), body, UNSAFE)).await.unwrap();
    assert_eq!(relayed.head.status, 204);
    assert_eq!(within(server).await.unwrap().0, 300_000);
}

#[tokio::test]
async fn an_early_answer_stops_the_upload() {
    let (origin, metrics, mut requests) = h2_origin().await;
    let server = tokio::spawn(async move {
        let (request, mut respond) = next(&mut requests).await;
        let mut body = respond.send_response(answer(413, Some("2")), false).unwrap();
        body.send_data(Bytes::from_static(b"no"), true).unwrap();
        (request, requests)
    });
    let endless = futures_util::stream::repeat_with(|| {
        Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(vec![0; 65536])))
    });
    let permit = origin.admit(&request(Method::POST, "/")).await.unwrap();
    let relay = origin.relay(permit, request(Method::POST, "/up"), StreamBody::new(endless), UNSAFE);
    let relayed = within(relay).await.unwrap();
    assert_eq!(relayed.head.status, 413);
    assert_eq!(within(relayed.body.collect()).await.unwrap().to_bytes(), "no");
    idle(&metrics).await;
    drop(within(server).await.unwrap());
}

#[tokio::test]
async fn a_part_of_a_body_is_never_ended() {
    let (origin, _metrics, mut requests) = h2_origin().await;
    let server = tokio::spawn(async move {
        let (request, respond) = next(&mut requests).await;
        let mut body = request.into_body();
        let end = loop {
            match within(body.data()).await {
                Some(Ok(piece)) => body.flow_control().release_capacity(piece.len()).unwrap(),
                end => break end,
            }
        };
        drop(respond);
        (end, requests)
    });
    let pieces = [Ok(http_body::Frame::data(Bytes::from_static(b"abc"))), Err(std::io::Error::other("cut"))];
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let permit = origin.admit(&request(Method::POST, "/")).await.unwrap();
    let relayed = within(origin.relay(permit, request(Method::POST, "/up"), body, UNSAFE)).await;
    assert_eq!(relayed.err(), Some(OriginError::ClientBody));
    let (end, _) = within(server).await.unwrap();
    assert!(matches!(end, Some(Err(_))), "a clean end was seen");
}
