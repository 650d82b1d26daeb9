//! Requests without a body.

use super::*;
use crate::origin::{HostField, Phase, balance::Choice};

#[tokio::test]
async fn a_whole_answer_gives_its_connection_back() {
    let (listener, address) = listen().await;
    let (origin, metrics) = origin_of(settings(&[address]));
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let mut heads = Vec::new();
        for body in [
            "content-length: 5\r\n\r\nhello",
            "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ] {
            heads.push(read_head(&mut stream).await);
            send(&mut stream, &format!("HTTP/1.1 200 OK\r\nx-a: 1\r\n{body}")).await;
        }
        heads
    });
    for length in [Some(5), None] {
        let mut asked = request(Method::GET, "/a//b?c=%2f");
        asked.headers.insert("x-b", HeaderValue::from_static("2"));
        asked.headers.insert("connection", HeaderValue::from_static("close"));
        asked.headers.insert("content-length", HeaderValue::from_static("7"));
        let mut exchange = fetch(&origin, asked).await.unwrap();
        assert_eq!(exchange.head.status, 200);
        assert_eq!(exchange.head.headers["x-a"], "1");
        assert!(exchange.head.received >= exchange.head.requested);
        assert_eq!(exchange.head.server, address);
        assert_eq!((exchange.body.length(), exchange.body.delimited_by_close()), (length, false));
        assert_eq!(collect(&mut exchange.body).await, (b"hello".to_vec(), Ok(())));
    }
    for head in within(server).await.unwrap() {
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("get /a//b?c=%2f http/1.1\r\nhost: lms.example\r\n"), "{head}");
        assert!(
            head.contains("x-b: 2\r\n") && !head.contains("connection") && !head.contains("content-length")
        );
    }
    assert_eq!(metrics.origin_requests.with_label_values(&["lms", "2xx"]).get(), 2);
    assert_eq!(metrics.origin_in_flight.with_label_values(&["lms"]).get(), 0);
}

#[tokio::test]
async fn a_cut_body_is_never_whole() {
    for cut in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n0123456789\r\n0\r\n\r\n",
    ] {
        for reset in [false, true] {
            let (listener, address) = listen().await;
            let origin = origin(address);
            tokio::spawn(async move {
                let mut stream = accept(&listener).await;
                if !reset {
                    read_head(&mut stream).await;
                }
                // Closing with unread bytes resets the connection.
                within(stream.readable()).await.unwrap();
                send(&mut stream, cut).await;
            });
            let mut exchange = match get(&origin, "/").await {
                Ok(exchange) => exchange,
                Err(error) => {
                    assert!(reset && error == OriginError::Closed, "{error}");
                    continue;
                }
            };
            let (bytes, end) = collect(&mut exchange.body).await;
            assert!(end.is_err() && bytes.len() <= 10, "{cut:?} {bytes:?} {end:?}");
            assert_eq!(exchange.body.next().await.err(), end.err(), "it stays so");
        }
    }
}

#[tokio::test]
async fn bytes_past_the_end_do_not_leak_into_the_next_answer() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        for answer in [
            "content-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
            "content-length: 4\r\n\r\ngood",
        ] {
            let mut stream = accept(&listener).await;
            read_head(&mut stream).await;
            send(&mut stream, &format!("HTTP/1.1 200 OK\r\n{answer}")).await;
            kept.push(stream);
        }
    });
    for expected in ["ok", "good"] {
        let mut exchange = get(&origin, "/").await.unwrap();
        assert_eq!(collect(&mut exchange.body).await, (expected.into(), Ok(())));
    }
}

#[tokio::test]
async fn an_answer_that_only_a_close_ends_says_so() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    play(listener, vec!["HTTP/1.1 200 OK\r\n\r\nall of it", "HTTP/1.0 200 OK\r\n\r\nold"]);
    for expected in ["all of it", "old"] {
        let mut exchange = get(&origin, "/").await.unwrap();
        assert!(exchange.body.delimited_by_close());
        assert_eq!(collect(&mut exchange.body).await, (expected.into(), Ok(())));
    }
}

#[tokio::test]
async fn what_is_no_answer_is_refused() {
    for garbage in [
        "garbage\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad field\r\n\r\n",
    ] {
        let (listener, address) = listen().await;
        let (origin, metrics) = origin_of(settings(&[address]));
        play(listener, vec![garbage]);
        assert_eq!(get(&origin, "/").await.err(), Some(OriginError::Protocol), "{garbage:?}");
        assert_eq!(metrics.origin_requests.with_label_values(&["lms", "error"]).get(), 1);
    }
}

#[tokio::test]
async fn interim_answers_are_dropped() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    play(
        listener,
        vec![
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ],
    );
    let mut exchange = get(&origin, "/").await.unwrap();
    assert_eq!((exchange.head.status.as_u16(), exchange.head.headers.get("link")), (200, None));
    assert_eq!(collect(&mut exchange.body).await, (b"ok".to_vec(), Ok(())));
}

#[tokio::test]
async fn answers_without_a_body_keep_their_length_and_connection() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        for status in ["200 OK", "304 Not Modified", "204 No Content"] {
            read_head(&mut stream).await;
            send(&mut stream, &format!("HTTP/1.1 {status}\r\ncontent-length: 12\r\n\r\n")).await;
        }
    });
    for (method, length) in [(Method::HEAD, Some(12)), (Method::GET, Some(12)), (Method::GET, None)] {
        let mut exchange = fetch(&origin, request(method, "/")).await.unwrap();
        assert_eq!((exchange.body.length(), exchange.body.delimited_by_close()), (length, false));
        assert_eq!(collect(&mut exchange.body).await, (Vec::new(), Ok(())));
    }
    within(server).await.unwrap();
}

#[tokio::test]
async fn a_pooled_connection_found_closed_is_replaced_for_a_get() {
    let (listener, address) = listen().await;
    let (origin, metrics) = origin_of(settings(&[address]));
    tokio::spawn(async move {
        let mut first = accept(&listener).await;
        read_head(&mut first).await;
        send(&mut first, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1").await;
        read_head(&mut first).await;
        drop(first);
        let mut second = accept(&listener).await;
        read_head(&mut second).await;
        send(&mut second, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2").await;
    });
    for expected in ["1", "2"] {
        let mut exchange = get(&origin, "/").await.unwrap();
        assert_eq!(collect(&mut exchange.body).await, (expected.into(), Ok(())));
    }
    assert_eq!(metrics.origin_requests.with_label_values(&["lms", "2xx"]).get(), 2);
    assert_eq!(metrics.origin_requests.with_label_values(&["lms", "error"]).get(), 0);
}

#[tokio::test]
async fn a_new_connection_that_is_closed_without_an_answer_is_not_tried_again() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        drop(stream);
        listener
    });
    assert_eq!(get(&origin, "/").await.err(), Some(OriginError::Closed));
    let listener = within(server).await.unwrap();
    assert!(futures_util::poll!(Box::pin(listener.accept())).is_pending());
}

#[tokio::test]
async fn five_hundred_gets_survive_an_origin_that_closes_idle_connections() {
    let (listener, address) = listen().await;
    let (origin, metrics) = origin_of(settings(&[address]));
    tokio::spawn(async move {
        loop {
            // Two answers, then a close at the worst moment: while the next request may be on its way.
            let mut stream = accept(&listener).await;
            tokio::spawn(async move {
                for _ in 0..2 {
                    read_head(&mut stream).await;
                    send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    for _ in 0..500 {
        let mut exchange = get(&origin, "/").await.unwrap();
        assert_eq!(collect(&mut exchange.body).await, (b"ok".to_vec(), Ok(())));
    }
    assert_eq!(metrics.origin_requests.with_label_values(&["lms", "2xx"]).get(), 500);
}

#[tokio::test]
async fn a_server_that_takes_no_connection_is_passed_over() {
    let (gone, refusing) = listen().await;
    drop(gone);
    let (listener, address) = listen().await;
    let (origin, _) = origin_of(settings(&[refusing, address]));
    play(listener, vec!["HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"; 10]);
    for _ in 0..10 {
        assert_eq!(get(&origin, "/").await.unwrap().head.server, address);
    }
    let alone = super::origin(refusing);
    assert_eq!(get(&alone, "/").await.err(), Some(OriginError::Connect));
    let choice = Choice { key: "/", avoid: Some(refusing), may_try: true };
    assert_eq!(alone.servers.choose(choice).await.err(), Some(OriginError::Connect));
}

#[tokio::test]
async fn servers_take_turns() {
    let (one, first) = listen().await;
    let (two, second) = listen().await;
    let (origin, _) = origin_of(settings(&[first, second]));
    for listener in [one, two] {
        play(listener, vec!["HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"; 3]);
    }
    let mut counts = [0, 0];
    for _ in 0..6 {
        counts[usize::from(get(&origin, "/").await.unwrap().head.server == second)] += 1;
    }
    assert_eq!(counts, [3, 3]);
}

#[tokio::test]
async fn time_limits_are_on_progress() {
    let (listener, address) = listen().await;
    let mut settings = settings(&[address]);
    settings.timeouts.head = Duration::from_millis(400);
    settings.timeouts.body = Duration::from_millis(50);
    let (origin, _) = origin_of(settings);
    let server = tokio::spawn(async move {
        let mut silent = accept(&listener).await;
        read_head(&mut silent).await;
        let closed = read_to_end(&mut silent).await;
        let mut stalls = accept(&listener).await;
        read_head(&mut stalls).await;
        assert!(tokio::time::timeout(Duration::from_millis(150), stalls.read_u8()).await.is_err());
        send(&mut stalls, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").await;
        (closed, read_to_end(&mut stalls).await)
    });
    assert_eq!(get(&origin, "/").await.err(), Some(OriginError::Timeout(Phase::Head)));
    // A head may take longer than a piece of a body.
    let mut exchange = get(&origin, "/").await.unwrap();
    let end = collect(&mut exchange.body).await;
    assert_eq!(end, (b"abc".to_vec(), Err(OriginError::Timeout(Phase::Body))));
    drop(exchange);
    within(server).await.unwrap();
}

#[tokio::test]
async fn an_unfinished_body_closes_its_connection_and_frees_its_place() {
    let (listener, address) = listen().await;
    let (origin, metrics) = origin_of(settings(&[address]));
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").await;
        read_to_end(&mut stream).await
    });
    let mut exchange = get(&origin, "/").await.unwrap();
    assert_eq!(within(exchange.body.next()).await.unwrap().unwrap().into_bytes(), "abc");
    let mut next = Box::pin(exchange.body.next());
    assert!(futures_util::poll!(&mut next).is_pending());
    drop(next);
    assert_eq!(metrics.origin_in_flight.with_label_values(&["lms"]).get(), 1);
    drop(exchange);
    assert_eq!(metrics.origin_in_flight.with_label_values(&["lms"]).get(), 0);
    assert!(within(server).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_origins_own_host_is_sent_if_it_has_one() {
    let (listener, address) = listen().await;
    let mut settings = settings(&[address]);
    settings.host = HostField::Set(HeaderValue::from_static("internal.example"));
    let (origin, _) = origin_of(settings);
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let head = read_head(&mut stream).await;
        send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        head
    });
    get(&origin, "/").await.unwrap();
    let head = within(server).await.unwrap().to_ascii_lowercase();
    assert!(head.contains("host: internal.example\r\n") && !head.contains("lms.example"));
}

#[tokio::test]
async fn a_target_arrives_exactly_as_it_is_or_is_not_sent() {
    let (listener, address) = listen().await;
    let origin = origin(address);
    let targets =
        ["//a//b", "/a;b=1", "/%2f%00", "/a?b={c}|d", "/a\"b{c}", "/a^b?", "/?", "/a?b?c", "/%C3%A4"];
    let server = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let mut seen = Vec::new();
        for _ in targets {
            let head = read_head(&mut stream).await;
            seen.push(head.split(' ').nth(1).unwrap().to_owned());
            send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
        seen
    });
    for target in targets {
        get(&origin, target).await.unwrap();
    }
    assert_eq!(within(server).await.unwrap(), targets);
    for target in ["/a b", "/a\r\nx: y", "/\0", "/a\nb"] {
        assert_eq!(get(&origin, target).await.err(), Some(OriginError::Unsendable), "{target:?}");
    }
}
