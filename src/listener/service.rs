//! Accepting: one service of Pingora per listener and runtime thread, all of a listener on one socket.
//!
//! Nothing leaves its runtime: a connection is accepted, served and swept by one thread.

use crate::{
    clock,
    listener::{
        connection::{Serve, live, watched},
        connections::{Connections, Place, Seat, Seats},
        deadlines::{self, Observed},
        settings::ListenerSettings,
        socket::{BindError, Bound},
        tls::{Certificates, TlsError, server_config},
        watch::Watch,
    },
    telemetry::Metrics,
};
use async_trait::async_trait;
use pingora::{
    listeners::tls::Acceptor,
    server::{ListenFds, ShutdownWatch},
    services::Service,
};
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Between two lines about accept errors.
const COMPLAINT: Duration = Duration::from_secs(60);
/// How long not to accept while descriptors or memory lack.
const REST: Duration = Duration::from_millis(100);
/// How often a drain looks at its connections.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);

type Taken = Option<Result<Arc<Bound>, Arc<BindError>>>;

/// One listening address and all that its threads share.
pub struct Listener {
    pub(super) settings: ListenerSettings,
    pub(super) name: Arc<str>,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) connections: Arc<Connections>,
    seats: Arc<Seats>,
    handshakes: Arc<Seats>,
    open: IntGauge,
    accepted: IntCounter,
    ended: IntCounterVec,
    taking: Mutex<()>,
    bound: watch::Sender<Taken>,
    complained: Mutex<Option<Instant>>,
}

impl Listener {
    /// A listener that does not listen yet: its first [`Accepting`] takes the socket. `certificates` as loaded by
    /// [`Certificates::load`] are needed exactly if the settings speak of TLS.
    ///
    /// # Errors
    /// The TLS settings cannot be obeyed.
    pub fn new(
        settings: ListenerSettings,
        certificates: Option<Arc<Certificates>>,
        connections: Arc<Connections>,
        metrics: &Metrics,
    ) -> Result<Arc<Listener>, TlsError> {
        let acceptor = match (&settings.tls, certificates) {
            (Some(tls), Some(certificates)) => {
                Some(Acceptor::from_server_config(server_config(tls, certificates)?))
            }
            (Some(tls), None) => return Err(TlsError::NoPair(tls.certificates.clone())),
            (None, _) => None,
        };
        Ok(Arc::new(Listener {
            name: settings.name.as_str().into(),
            acceptor,
            connections,
            seats: Arc::default(),
            handshakes: Arc::default(),
            open: metrics.connections.with_label_values(&[&settings.name]),
            accepted: metrics.connections_accepted.with_label_values(&[&settings.name]),
            ended: metrics.connections_ended.clone(),
            taking: Mutex::default(),
            bound: watch::Sender::new(None),
            complained: Mutex::default(),
            settings,
        }))
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &ListenerSettings {
        &self.settings
    }

    /// The name of its socket in Pingora's table: the configured address, with the listener's name where the address alone is not
    /// unique (port 0). Pingora parts names at spaces, so there is none in it.
    pub fn key(&self) -> String {
        match self.settings.address {
            address if address.port() == 0 => {
                format!("{address}#{}", self.name.replace(char::is_whitespace, "%20"))
            }
            address => address.to_string(),
        }
    }

    /// Listens from now on, with the socket that stands in the table or a new one; nothing is accepted yet. Says where.
    ///
    /// # Errors
    /// The socket could not be had.
    pub fn listen(&self, fds: &ListenFds) -> Result<SocketAddr, Arc<BindError>> {
        self.take(Some(fds)).map(|bound| bound.address())
    }

    /// Waits until it listens and says where; the port is the real one.
    ///
    /// # Errors
    /// The socket could not be had.
    pub async fn address(&self) -> Result<SocketAddr, Arc<BindError>> {
        let mut bound = self.bound.subscribe();
        match bound.wait_for(Option::is_some).await.map(|taken| taken.clone()) {
            Ok(Some(Ok(bound))) => Ok(bound.address()),
            Ok(Some(Err(e))) => Err(e),
            Ok(None) | Err(_) => {
                let source = io::ErrorKind::NotConnected.into();
                Err(Arc::new(BindError { address: self.settings.address, source }))
            }
        }
    }

    /// The socket, taken by whoever asks first.
    fn take(&self, fds: Option<&ListenFds>) -> Result<Arc<Bound>, Arc<BindError>> {
        let _one = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = self.bound.borrow().clone() {
            return taken;
        }
        let taken = Bound::take(&self.key(), self.settings.address, fds).map(Arc::new).map_err(Arc::new);
        self.bound.send_replace(Some(taken.clone()));
        taken
    }

    /// Gives the socket up; threads that still accept have their own handles.
    fn give_up(&self) {
        self.bound.send_replace(None);
    }

    /// A connection was refused or ended by us.
    pub(super) fn ended(&self, reason: &'static str, peer: SocketAddr) {
        tracing::debug!(listener = &*self.name, %peer, reason, "connection ended by the listener");
        self.ended.with_label_values(&[&*self.name, reason]).inc();
    }

    /// A seat for a handshake, if one is free.
    pub(super) fn handshake(&self) -> Option<Seat> {
        self.handshakes.take(self.settings.limits.handshakes)
    }

    /// Accepting failed: says whether to rest. One line a minute, whatever the number.
    fn complain(&self, error: &io::Error) -> bool {
        let of_the_client = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        );
        if of_the_client {
            return false;
        }
        self.ended.with_label_values(&[&*self.name, "accept-failed"]).inc();
        let now = clock::instant();
        let mut last = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now - last >= COMPLAINT) {
            *last = Some(now);
            tracing::error!(
                listener = &*self.name,
                %error,
                "accepting fails; if descriptors lack, raise LimitNOFILE= or lower the listener's limits"
            );
        }
        true
    }
}

/// One thread's share of a listener.
pub struct Accepting<S> {
    listener: Arc<Listener>,
    service: String,
    serve: S,
    stop: Option<watch::Receiver<bool>>,
}

impl<S: Serve> Accepting<S> {
    /// The share of thread `n`. It stops accepting when `stop` turns true, or with Pingora's own shutdown watch if there is none:
    /// with its own, a node can first take itself out of DNS.
    pub fn new(
        listener: Arc<Listener>,
        n: usize,
        serve: S,
        stop: Option<watch::Receiver<bool>>,
    ) -> Accepting<S> {
        Accepting { service: format!("{}-{n}", listener.name), listener, serve, stop }
    }

    async fn run(&self, tcp: TcpListener, mut stop: watch::Receiver<bool>) {
        let listener = &self.listener;
        let deadlines = &listener.settings.deadlines;
        let mut close = listener.connections.close();
        let mut round = Round { listener, observed: Vec::new(), draining: None };
        let mut tick = tokio::time::interval(deadlines::interval(deadlines));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                accepted = tcp.accept() => match accepted {
                    Ok((stream, peer)) => round.accepted(stream, peer, &self.serve),
                    Err(e) if listener.complain(&e) => tokio::time::sleep(REST).await,
                    Err(_) => {}
                },
                _ = tick.tick() => round.sweep(),
                () = turned(&mut stop) => break,
                () = turned(&mut close) => break,
            }
        }
        drop(tcp);
        listener.give_up();
        tick = tokio::time::interval(DRAIN_INTERVAL.min(tick.period()));
        round.draining = Some(clock::instant());
        while !round.observed.is_empty() {
            tokio::select! {
                biased;
                () = turned(&mut close) => {
                    round.observed.iter().for_each(|o| o.watch.close());
                    tick.tick().await;
                    round.sweep();
                }
                _ = tick.tick() => round.sweep(),
            }
        }
    }
}

/// Returns once the watch says true; never, if nobody can say it any more.
async fn turned(watch: &mut watch::Receiver<bool>) {
    if watch.wait_for(|&yes| yes).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The connections of one thread.
struct Round<'a> {
    listener: &'a Arc<Listener>,
    observed: Vec<Observed>,
    draining: Option<Instant>,
}

impl Round<'_> {
    fn accepted<S: Serve>(&mut self, stream: TcpStream, peer: SocketAddr, serve: &S) {
        let listener = self.listener;
        listener.accepted.inc();
        let Some(seat) = listener.seats.take(listener.settings.limits.connections) else {
            return listener.ended("connections", peer);
        };
        let _ = stream.set_nodelay(true);
        let watch = Arc::new(Watch::default());
        let place = Place::new(&listener.connections, &listener.open, watch.clone(), seat);
        self.observed.push(Observed::new(watch.clone(), clock::instant()));
        let life = live(stream, place, peer, watch.clone(), listener.clone(), serve.clone());
        tokio::spawn(watched(watch, life));
    }

    fn sweep(&mut self) {
        let (now, listener, draining) = (clock::instant(), self.listener, self.draining);
        let (deadlines, patient) = (&listener.settings.deadlines, listener.connections.patient());
        self.observed.retain_mut(|connection| {
            if connection.watch.gone() {
                return false;
            }
            match draining {
                Some(_) if patient => connection.hand_over(),
                Some(since) => connection.drain(now, since),
                None => {}
            }
            connection.forgive(now, listener.settings.limits.h2_resets);
            if let Some(overdue) = connection.sweep(now, deadlines) {
                listener.overdue(overdue.as_str());
                connection.watch.close();
            }
            for (stream, overdue) in connection.sweep_streams(now, deadlines) {
                listener.overdue(overdue.as_str());
                stream.end();
            }
            true
        });
    }
}

impl Listener {
    fn overdue(&self, reason: &'static str) {
        self.ended.with_label_values(&[&*self.name, reason]).inc();
    }
}

#[async_trait]
impl<S: Serve> Service for Accepting<S> {
    async fn start_service(&mut self, fds: Option<ListenFds>, shutdown: ShutdownWatch, _: usize) {
        let bound = match self.listener.take(fds.as_ref()) {
            Ok(bound) => bound,
            Err(e) => return tracing::error!(listener = &*self.listener.name, "{e}"),
        };
        let tcp = match bound.accepting() {
            Ok(tcp) => tcp,
            Err(e) => return tracing::error!(listener = &*self.listener.name, "cannot accept: {e}"),
        };
        drop(bound);
        self.run(tcp, self.stop.clone().unwrap_or(shutdown)).await;
    }

    fn name(&self) -> &str {
        &self.service
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec![self.listener.key()])
    }
}
