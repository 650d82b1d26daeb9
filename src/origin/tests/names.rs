//! Names and their addresses (G51), with a name server of the test's own.

use super::*;
use std::{
    net::Ipv4Addr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::UdpSocket;

/// What the name server says next.
#[derive(Clone, Copy)]
enum Says {
    Address(Ipv4Addr, u32),
    Failure,
    NoSuchName,
    Nothing,
}

/// A name server, what it says, and how often it was asked.
struct Names {
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
    address: SocketAddr,
}

async fn names(says: Says) -> Names {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (says, asked) = (Arc::new(Mutex::new(says)), Arc::new(AtomicUsize::new(0)));
    let (say, count) = (says.clone(), asked.clone());
    tokio::spawn(async move {
        let mut question = [0; 1500];
        loop {
            let (length, from) = socket.recv_from(&mut question).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let says = *say.lock().unwrap();
            if let Some(answer) = reply(&question[..length], says) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    Names { says, asked, address }
}

/// RFC 1035 §4.1: the question's head and name again, and one A record at most.
fn reply(question: &[u8], says: Says) -> Option<Vec<u8>> {
    let name_end = 12 + question[12..].iter().position(|byte| *byte == 0)? + 1;
    let wants_a = question[name_end..name_end + 2] == [0, 1];
    let (code, record) = match says {
        Says::Address(ip, ttl) => (0, wants_a.then_some((ip, ttl))),
        Says::Failure => (2, None),
        Says::NoSuchName => (3, None),
        Says::Nothing => return None,
    };
    let mut answer = question[..2].to_vec();
    answer.extend([0x85, 0x80 | code, 0, 1, 0, u8::from(record.is_some()), 0, 0, 0, 0]);
    answer.extend(&question[12..name_end + 4]);
    if let Some((ip, ttl)) = record {
        answer.extend([0xc0, 12, 0, 1, 0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(ip.octets());
    }
    Some(answer)
}

fn named(names: &Names, host: &str, port: u16) -> OriginSettings {
    let mut settings = OriginSettings::new("lms", vec![(host.to_owned(), port)]);
    settings.dns_servers = vec![names.address];
    settings.dns_floor = Duration::from_millis(20);
    settings.dns_ceiling = Duration::from_millis(20);
    settings
}

/// Two addresses with the same port, each answering with its own last number.
async fn two_hosts() -> [(TcpListener, Ipv4Addr, u16); 2] {
    loop {
        let [one, two] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
        let first = TcpListener::bind((one, 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        if let Ok(second) = TcpListener::bind((two, port)).await {
            return [(first, one, port), (second, two, port)];
        }
    }
}

/// Serves until aborted; says with what each connection ended.
fn serve(listener: TcpListener) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
            });
        }
    })
}

async fn served_by(origin: &Arc<Origin>) -> Result<SocketAddr, OriginError> {
    get(origin, "/").await.map(|exchange| exchange.head.server)
}

async fn until_served_by(origin: &Arc<Origin>, address: SocketAddr) {
    within(async { while served_by(origin).await != Ok(address) {} }).await;
}

#[tokio::test]
async fn a_new_address_is_taken_and_the_old_one_let_go() {
    let [(first, one, port), (second, two, _)] = two_hosts().await;
    let names = names(Says::Address(one, 0)).await;
    let (origin, _) = origin_of(named(&names, "lms.example", port));
    let old = tokio::spawn(async move {
        let mut stream = accept(&first).await;
        let mut answered = 0;
        let mut byte = [0];
        let mut head = Vec::new();
        while let Ok(1) = within(stream.read(&mut byte)).await {
            head.push(byte[0]);
            if head.ends_with(b"\r\n\r\n") {
                head.clear();
                answered += 1;
                send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
        answered
    });
    assert_eq!(served_by(&origin).await, Ok((one, port).into()));
    let _new = serve(second);
    *names.says.lock().unwrap() = Says::Address(two, 0);
    until_served_by(&origin, (two, port).into()).await;
    // Its idle connection was closed by us, long before the idle limit.
    assert!(within(old).await.unwrap() >= 1);
}

#[tokio::test]
async fn an_address_that_refuses_is_asked_for_again_at_once() {
    let [(first, one, port), (second, two, _)] = two_hosts().await;
    let names = names(Says::Address(one, 3600)).await;
    let mut settings = named(&names, "lms.example", port);
    settings.dns_ceiling = Duration::from_secs(3600);
    let (origin, _) = origin_of(settings);
    let old = serve(first);
    assert_eq!(served_by(&origin).await, Ok((one, port).into()));
    let _new = serve(second);
    *names.says.lock().unwrap() = Says::Address(two, 3600);
    old.abort();
    let _ = old.await;
    until_served_by(&origin, (two, port).into()).await;
}

#[tokio::test]
async fn the_last_good_address_is_kept_while_names_fail() {
    // So many questions that the first failures were surely heard; silence lasts too long for more than one.
    for (failure, questions) in [(Says::Failure, 40), (Says::NoSuchName, 40), (Says::Nothing, 2)] {
        let [(first, one, port), _] = two_hosts().await;
        let names = names(Says::Address(one, 0)).await;
        let (origin, _) = origin_of(named(&names, "lms.example", port));
        let _server = serve(first);
        assert_eq!(served_by(&origin).await, Ok((one, port).into()));
        *names.says.lock().unwrap() = failure;
        let before = names.asked.load(Ordering::SeqCst);
        within(async {
            while names.asked.load(Ordering::SeqCst) < before + questions {
                assert_eq!(served_by(&origin).await, Ok((one, port).into()));
            }
        })
        .await;
        assert_eq!(served_by(&origin).await, Ok((one, port).into()));
    }
}

#[tokio::test]
async fn a_name_unknown_at_start_is_found_later() {
    let [(first, one, port), _] = two_hosts().await;
    let names = names(Says::NoSuchName).await;
    let (origin, metrics) = origin_of(named(&names, "lms.example", port));
    assert_eq!(served_by(&origin).await, Err(OriginError::Unresolved));
    assert_eq!(metrics.origin_requests.with_label_values(&["lms", "error"]).get(), 1);
    let _server = serve(first);
    *names.says.lock().unwrap() = Says::Address(one, 0);
    until_served_by(&origin, (one, port).into()).await;
}

#[tokio::test]
async fn floor_and_ceiling_bound_what_a_name_server_says() {
    for (ttl, floor, ceiling, asked_again) in [(0, 3600, 7200, false), (86_400, 0, 0, true)] {
        let [(first, one, port), _] = two_hosts().await;
        let names = names(Says::Address(one, ttl)).await;
        let mut settings = named(&names, "lms.example", port);
        settings.dns_floor = Duration::from_secs(floor);
        settings.dns_ceiling = Duration::from_secs(ceiling);
        let (origin, _) = origin_of(settings);
        let _server = serve(first);
        for _ in 0..50 {
            served_by(&origin).await.unwrap();
        }
        assert_eq!(names.asked.load(Ordering::SeqCst) > 1, asked_again);
    }
}

#[tokio::test]
async fn hosts_and_literal_addresses_need_no_name_server() {
    let (listener, address) = listen().await;
    let _server = serve(listener);
    let names = names(Says::Nothing).await;
    for host in ["localhost", "127.0.0.1"] {
        let (origin, _) = origin_of(named(&names, host, address.port()));
        assert_eq!(served_by(&origin).await, Ok(address));
    }
    assert_eq!(names.asked.load(Ordering::SeqCst), 0);
}
