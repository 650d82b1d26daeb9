//! The origin: answers by script, remembers every request, counts connections, goes down and comes up again.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::answer::Answer;
use super::deadline::{eventually, eventually_is, within};
use super::message::{Fields, all, field};
use super::playing::Connection;
use super::wire::Wire;

/// A request as the origin saw it. Its body and what became of the answer are filled in as they happen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// As it was sent.
    pub(crate) target: String,
    pub(crate) fields: Fields,
    /// The first mebibyte.
    pub(crate) body: Vec<u8>,
    pub(crate) body_length: u64,
    /// SHA-256 of the whole body in hexadecimal, once it came whole.
    pub(crate) body_sha256: Option<String>,
    /// Number of the connection, from 0.
    pub(crate) connection: usize,
    /// Number of the request on its connection, from 0.
    pub(crate) on_connection: usize,
    /// Bytes of the answer's body that the kernel took.
    pub(crate) sent: usize,
    /// The answer was sent as told.
    pub(crate) answered: bool,
    /// The peer left before the answer's end.
    pub(crate) gone: bool,
}

impl Seen {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name)
    }
}

type Answering = Arc<dyn Fn(&Seen, usize) -> Answer + Send + Sync>;
type Raw = Arc<dyn Fn(Connection, Seen) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What is played for a path.
#[derive(Clone)]
pub(crate) enum Script {
    Answer(Answering),
    Raw(Raw),
}

/// What the connections share with the origin.
#[derive(Default)]
pub(crate) struct Shared {
    scripts: Mutex<HashMap<String, Script>>,
    seen: Mutex<Vec<Seen>>,
    /// Beginnings that are not requests.
    malformed: Mutex<Vec<Vec<u8>>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl Shared {
    pub(crate) fn record(&self, seen: Seen) -> usize {
        let mut all = lock(&self.seen);
        all.push(seen);
        all.len() - 1
    }

    pub(crate) fn change(&self, number: usize, change: impl FnOnce(&mut Seen)) -> Seen {
        let mut all = lock(&self.seen);
        change(&mut all[number]);
        all[number].clone()
    }

    pub(crate) fn malformed(&self, bytes: &[u8]) {
        lock(&self.malformed).push(bytes.to_vec());
    }

    /// The script for a target: by the whole of it, by its path, by the longest `prefix*`.
    pub(crate) fn script(&self, target: &str) -> Option<Script> {
        let scripts = lock(&self.scripts);
        let path = target.split('?').next().unwrap_or_default();
        let prefixes = scripts.iter().filter_map(|(name, script)| Some((name.strip_suffix('*')?, script)));
        let longest =
            || prefixes.filter(|(start, _)| path.starts_with(start)).max_by_key(|(start, _)| start.len());
        let exact = scripts.get(target).or_else(|| scripts.get(path));
        exact.or_else(|| longest().map(|(_, script)| script)).cloned()
    }

    /// How many requests with this path came before this one.
    pub(crate) fn earlier(&self, number: usize) -> usize {
        let all = lock(&self.seen);
        all[..number].iter().filter(|seen| seen.path() == all[number].path()).count()
    }
}

/// A running origin on a port (of 127.0.0.1 unless told otherwise) that stays its own while it is down.
pub(crate) struct Origin {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Bound, never listening: keeps others from the port.
    _kept: TcpSocket,
    tls: Option<Arc<ServerConfig>>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Origin {
    pub(crate) async fn start() -> Origin {
        Origin::begin(([127, 0, 0, 1], 0).into(), None)
    }

    /// At this address.
    pub(crate) async fn start_at(address: SocketAddr) -> Origin {
        Origin::begin(address, None)
    }

    /// With TLS.
    pub(crate) async fn start_tls(config: Arc<ServerConfig>) -> Origin {
        Origin::begin(([127, 0, 0, 1], 0).into(), Some(config))
    }

    fn begin(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Origin {
        let kept = TcpSocket::new_v4().unwrap();
        kept.set_reuseaddr(true).unwrap();
        kept.bind(address).unwrap();
        let address = kept.local_addr().unwrap();
        let origin = Origin { shared: Arc::default(), address, _kept: kept, tls, running: Mutex::new(None) };
        origin.up();
        origin
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers so at a path, whatever the query; at a target with a query; or at all paths that begin so (`/a/*`).
    /// A later script for the same takes the place of the earlier one.
    pub(crate) fn on(&self, path: &str, answer: Answer) {
        self.on_call(path, move |_, _| answer.clone());
    }

    /// Answers in this order, and with the last one for ever.
    pub(crate) fn on_each(&self, path: &str, answers: Vec<Answer>) {
        let first = AtomicUsize::new(0);
        self.on_call(path, move |_, _| {
            let n = first.fetch_add(1, Ordering::Relaxed);
            answers[n.min(answers.len() - 1)].clone()
        });
    }

    /// Answers as the function says, which gets the request (without its body) and how many for its path came before.
    pub(crate) fn on_call(
        &self,
        path: &str,
        answer: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static,
    ) {
        lock(&self.shared.scripts).insert(path.to_owned(), Script::Answer(Arc::new(answer)));
    }

    /// Hands over the connection itself, the request's head being read. It ends when the function drops it.
    pub(crate) fn on_raw<F>(&self, path: &str, play: impl Fn(Connection, Seen) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let raw: Raw = Arc::new(move |connection, seen| Box::pin(play(connection, seen)));
        lock(&self.shared.scripts).insert(path.to_owned(), Script::Raw(raw));
    }

    /// All requests in the order of their heads.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The requests for a target; one without `?` means any query.
    pub(crate) fn seen(&self, target: &str) -> Vec<Seen> {
        let fits = |seen: &&Seen| seen.target == target || (!target.contains('?') && seen.path() == target);
        lock(&self.shared.seen).iter().filter(fits).cloned().collect()
    }

    /// The last of them.
    #[track_caller]
    pub(crate) fn last(&self, target: &str) -> Seen {
        self.seen(target).pop().unwrap_or_else(|| panic!("the origin saw no request for {target}"))
    }

    pub(crate) fn hits(&self, target: &str) -> usize {
        self.seen(target).len()
    }

    /// The `Range` of each request for a target, in their order.
    pub(crate) fn ranges(&self, target: &str) -> Vec<Option<String>> {
        self.seen(target).iter().map(|seen| seen.field("range").map(str::to_owned)).collect()
    }

    /// Bytes of bodies sent for a target, by all requests together.
    pub(crate) fn sent(&self, target: &str) -> u64 {
        self.seen(target).iter().map(|seen| seen.sent as u64).sum()
    }

    /// Waits until so many requests for a target came.
    #[track_caller]
    pub(crate) fn reached(&self, target: &str, hits: usize) -> impl Future<Output = ()> {
        eventually_is(format!("number of the origin's requests for {target}"), hits, move || {
            self.hits(target)
        })
    }

    /// Waits until one of the requests for a target is as the condition wants it.
    #[track_caller]
    pub(crate) fn until(
        &self,
        target: &str,
        what: &str,
        condition: impl Fn(&Seen) -> bool,
    ) -> impl Future<Output = ()> {
        eventually(format!("request for {target} with {what}"), async move || {
            self.seen(target).iter().any(&condition)
        })
    }

    /// What came that is no request.
    pub(crate) fn malformed(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.malformed).clone()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Stops listening and ends every connection; new ones are refused.
    pub(crate) async fn down(&self) {
        let running = lock(&self.running).take();
        if let Some(running) = running {
            running.abort();
            // It ends by being cancelled.
            drop(within("end of the origin", running).await);
        }
        eventually_is("number of the origin's open connections", 0, || self.open_connections()).await;
    }

    /// Listens again, on the same port.
    pub(crate) fn up(&self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let task = accept(listener, Arc::clone(&self.shared), self.tls.clone());
        let earlier = lock(&self.running).replace(tokio::spawn(task));
        assert!(earlier.is_none(), "the origin was not down");
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(running) = lock(&self.running).take() {
            running.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>) {
    // Dropped with this task, it ends the connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
        let open = Open::new(Arc::clone(&shared));
        let tls = tls.clone();
        drop(stream.set_nodelay(true));
        connections.spawn(async move {
            let wire = match tls {
                None => Wire::Plain(stream),
                Some(config) => match TlsAcceptor::from(config).accept(stream).await {
                    Ok(stream) => Wire::Tls(Box::new(TlsStream::Server(stream))),
                    Err(_) => return,
                },
            };
            Connection::new(wire, Arc::clone(&open.0), number).serve().await;
        });
    }
}

/// Counts a connection as open until dropped.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Open {
        shared.open.fetch_add(1, Ordering::Relaxed);
        Open(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A script that panics fails its own test; the others' locks stay good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
