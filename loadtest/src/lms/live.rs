//! Connections that stay: server-sent events, and a WebSocket that sends back what it gets.

use std::convert::Infallible;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::header;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{broadcast, watch};

use super::front::Front;

/// Counted as open until dropped.
struct Open(Front);

impl Open {
    fn new(front: Front) -> Open {
        front.count(|counters| counters.open_streams += 1);
        Open(front)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.count(|counters| counters.open_streams -= 1);
    }
}

/// One event `hello` at once, then each text that is sent through the control page.
pub(crate) async fn events(State(front): State<Front>) -> Response {
    let events = front.shared.events.subscribe();
    let stopped = front.shared.stopped.clone();
    let start = (true, events, stopped, Open::new(front));
    let stream = stream::unfold(start, |(first, mut events, mut stopped, open)| async move {
        let event = if first {
            Event::default().event("hello").data("The sample LMS is listening.")
        } else {
            Event::default().data(next(&mut events, &mut stopped).await?)
        };
        Some((Ok::<_, Infallible>(event), (false, events, stopped, open)))
    });
    ([(header::CACHE_CONTROL, "no-cache")], Sse::new(stream)).into_response()
}

/// The next text; a stream that fell behind goes on with what is left.
async fn next(
    events: &mut broadcast::Receiver<String>,
    stopped: &mut watch::Receiver<bool>,
) -> Option<String> {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = ended(stopped) => return None,
        };
        match event {
            Ok(text) => return Some(text),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

/// Waits for the end of the LMS.
async fn ended(stopped: &mut watch::Receiver<bool>) {
    // An error means that it is gone already.
    drop(stopped.wait_for(|stop| *stop).await);
}

/// An echo.
pub(crate) async fn websocket(State(front): State<Front>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|socket| echo(front, socket))
}

async fn echo(front: Front, mut socket: WebSocket) {
    let mut stopped = front.shared.stopped.clone();
    let _open = Open::new(front);
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            () = ended(&mut stopped) => {
                let away = CloseFrame { code: close_code::AWAY, reason: "the LMS ends".into() };
                // The peer may be gone already.
                drop(socket.send(Message::Close(Some(away))).await);
                return;
            }
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
        }
    }
}
