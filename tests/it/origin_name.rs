//! An origin's name: it moves, its name servers fail, it comes late (G51).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::support::{
    answer::Answer,
    deadline::{eventually, eventually_is},
    edge::Edge,
    message::{Reply, Request},
    origin::Origin,
};

/// What the name server says of every name.
#[derive(Clone, Copy)]
enum Says {
    /// This address, for a second.
    Address(Ipv4Addr),
    /// SERVFAIL.
    Failure,
    /// NXDOMAIN.
    NoSuchName,
}

/// A name server on a port of its own.
struct Names {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
    running: JoinHandle<()>,
}

impl Names {
    async fn start(first: Says) -> Names {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let (says, asked) = (Arc::new(Mutex::new(first)), Arc::new(AtomicUsize::new(0)));
        let (address, now, count) = (socket.local_addr().unwrap(), says.clone(), asked.clone());
        let running = tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                let says = *now.lock().unwrap();
                let reply = answer(&query[..length], says);
                count.fetch_add(1, SeqCst);
                // Who asked may be gone.
                drop(socket.send_to(&reply, from).await);
            }
        });
        Names { address, says, asked, running }
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The reply to a query with one question (RFC 1035 §4).
fn answer(query: &[u8], says: Says) -> Vec<u8> {
    // The name ends with an empty label; type and class follow.
    let end = query[12..].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
    let question = &query[12..end];
    let wants_a = question[question.len() - 4..] == [0, 1, 0, 1];
    let (code, address) = match says {
        Says::Address(address) if wants_a => (0, Some(address)),
        Says::Address(_) => (0, None),
        Says::Failure => (2, None),
        Says::NoSuchName => (3, None),
    };
    let mut reply = query[..2].to_vec();
    reply.extend_from_slice(&[0x84, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    reply.extend_from_slice(question);
    if let Some(address) = address {
        // A pointer to the question's name, A, IN, a second, four bytes.
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend_from_slice(&address.octets());
    }
    reply
}

const OLD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NEW: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Two origins with the same port on [`OLD`] and [`NEW`], each of which says who it is.
async fn two_origins() -> (Origin, Origin) {
    let old = Origin::start_at((OLD, 0).into()).await;
    let new = Origin::start_at((NEW, old.addr().port()).into()).await;
    for (origin, name) in [(&old, "old"), (&new, "new")] {
        origin.on("/*", Answer::storable(name));
    }
    (old, new)
}

async fn edge(names: &Names, port: u16) -> Edge {
    Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"origin.example:{port}\"]\ndns_servers = [\"{}\"]\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
        names.address
    ))
    .await
}

/// A request for what nobody asked for before.
async fn miss(edge: &Edge, n: &mut u32) -> Reply {
    *n += 1;
    edge.get(&format!("/{n}")).await
}

#[tokio::test]
async fn g51_an_origins_name_that_moves_is_followed_and_no_miss_fails() {
    let (old, new) = two_origins().await;
    let names = Names::start(Says::Address(OLD)).await;
    let edge = edge(&names, old.addr().port()).await;
    let mut n = 0;
    miss(&edge, &mut n).await.expect_body(200, "old");
    assert_eq!(new.connections(), 0);
    names.say(Says::Address(NEW));
    eventually("a miss from the new address", async || miss(&edge, &mut n).await.expect(200).text() == "new")
        .await;
    // The pooled connections of the address that is gone go with it, and nothing is asked there again.
    eventually_is("connections to the old address", 0, || old.open_connections()).await;
    let before = old.requests().len();
    for _ in 0..5 {
        miss(&edge, &mut n).await.expect_body(200, "new");
    }
    assert_eq!(old.requests().len(), before);
    let (old_hits, new_hits) = (old.requests().len(), new.requests().len());
    assert_eq!(old_hits + new_hits, n as usize);
    edge.outcomes("miss", u64::from(n)).await;
    let log = edge.log(n as usize).await;
    assert_eq!(log.last().unwrap()["origin"], new.addr().to_string());
}

#[tokio::test]
async fn g51_an_origin_that_is_gone_from_its_old_address_is_found_without_a_restart() {
    let (old, new) = two_origins().await;
    let names = Names::start(Says::Address(OLD)).await;
    let edge = edge(&names, old.addr().port()).await;
    let mut n = 0;
    miss(&edge, &mut n).await.expect_body(200, "old");
    names.say(Says::Address(NEW));
    old.down().await;
    let mut failed = 0;
    eventually("a miss from the new address", async || {
        let reply = miss(&edge, &mut n).await;
        failed += u64::from(reply.status == 502);
        reply.status == 200 && reply.text() == "new"
    })
    .await;
    edge.get("/1").await.expect_body(200, "old");
    edge.outcomes("failed", failed).await;
    edge.outcomes("miss", 2).await;
    assert_eq!((old.requests().len(), new.requests().len()), (1, 1));
}

#[tokio::test]
async fn g51_while_the_name_server_fails_the_last_good_address_is_used() {
    let (old, new) = two_origins().await;
    let names = Names::start(Says::Address(OLD)).await;
    let edge = edge(&names, old.addr().port()).await;
    let mut n = 0;
    miss(&edge, &mut n).await.expect_body(200, "old");
    for says in [Says::Failure, Says::NoSuchName] {
        names.say(says);
        let before = names.asked();
        eventually("three more questions", async || {
            miss(&edge, &mut n).await.expect_body(200, "old");
            names.asked() >= before + 3
        })
        .await;
    }
    edge.says("no address for an origin's server").await;
    // And a good answer is taken again.
    names.say(Says::Address(NEW));
    eventually("a miss from the new address", async || miss(&edge, &mut n).await.expect(200).text() == "new")
        .await;
    assert_eq!(old.requests().len() + new.requests().len(), n as usize);
    edge.outcomes("miss", u64::from(n)).await;
    assert_eq!(edge.outcome("failed").await, 0);
}

#[tokio::test]
async fn g51_without_the_name_at_the_start_the_others_are_served_and_it_is_found_later() {
    let (old, other) = (Origin::start_at((OLD, 0).into()).await, Origin::start().await);
    old.on("/*", Answer::storable("old"));
    other.on("/a", Answer::storable("other"));
    let names = Names::start(Says::NoSuchName).await;
    let edge = Edge::with(&format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[origin]]\nname = \"lms\"\nservers = [\"origin.example:{}\"]\ndns_servers = [\"{}\"]\n\
         [[origin]]\nname = \"other\"\nservers = [\"{}\"]\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n\
         [[site]]\nname = \"other\"\nhosts = [\"other.example\"]\norigin = \"other\"\n",
        old.addr().port(),
        names.address,
        other.addr()
    ))
    .await;
    let ask = Request::get("/a").host("lms.example");
    let failed = edge.ask(&ask).await.expect(502);
    assert_eq!(failed.field("cache-status"), Some("lectern; detail=origin-unresolved"));
    for _ in 0..2 {
        edge.ask(&Request::get("/a").host("other.example")).await.expect_body(200, "other");
    }
    edge.control("GET", "/readyz", "").await.expect(200);
    edge.outcomes("failed", 1).await;
    edge.outcomes("hit", 1).await;
    assert_eq!(names.asked() > 0, old.requests().is_empty());
    names.say(Says::Address(OLD));
    eventually("the origin is found", async || edge.ask(&ask).await.status == 200).await;
    edge.ask(&ask).await.expect_body(200, "old");
    assert_eq!((old.hits("/a"), other.hits("/a")), (1, 1));
}
