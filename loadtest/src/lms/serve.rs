//! A front's listener and connections. A front that dies takes all of them with it at once, as a machine that loses its power, but for
//! WebSockets; it comes back at the same address.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Whether a front shall be up, and whether it is.
pub(crate) struct Life {
    wanted: watch::Sender<bool>,
    is: watch::Sender<bool>,
}

impl Default for Life {
    fn default() -> Life {
        Life { wanted: watch::Sender::new(true), is: watch::Sender::new(true) }
    }
}

impl Life {
    /// Comes back when it is so.
    pub(crate) async fn set(&self, up: bool) {
        self.wanted.send_replace(up);
        // The sender lives as long as this.
        drop(self.is.subscribe().wait_for(|is| *is == up).await);
    }
}

enum End {
    Dies,
    Stops,
}

/// Serves until the LMS stops. `stopped` also ends idle connections, and lets the others finish.
pub(crate) async fn serve(
    mut listener: TcpListener,
    app: Router,
    life: &Life,
    stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut wanted = life.wanted.subscribe();
    loop {
        let mut connections = JoinSet::new();
        let end = tokio::select! {
            never = accept(&listener, &app, &stopped, &mut connections) => match never {},
            _ = wanted.wait_for(|up| !up) => End::Dies,
            () = wait(stopped.clone()) => End::Stops,
        };
        drop(listener);
        match end {
            End::Stops => {
                while connections.join_next().await.is_some() {}
                return Ok(());
            }
            End::Dies => connections.shutdown().await,
        }
        life.is.send_replace(false);
        tokio::select! {
            _ = wanted.wait_for(|up| *up) => {}
            () = wait(stopped.clone()) => return Ok(()),
        }
        listener = TcpListener::bind(address).await?;
        life.is.send_replace(true);
    }
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the LMS is gone already.
    drop(stopped.wait_for(|stop| *stop).await);
}

async fn accept(
    listener: &TcpListener,
    app: &Router,
    stopped: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) -> Infallible {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, say: others give theirs back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Small answers must not wait for the peer's acknowledgement; a socket that refuses still works.
        drop(stream.set_nodelay(true));
        connections.spawn(connection(stream, app.clone(), stopped.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, app: Router, stopped: watch::Receiver<bool>) {
    let builder = Builder::new(TokioExecutor::new());
    let service = TowerToHyperService::new(app);
    let mut connection =
        std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        // How it ended is the client's affair.
        end = connection.as_mut() => drop(end),
        () = wait(stopped) => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
}
