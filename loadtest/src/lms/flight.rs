//! A request that is under way, from its head until the last byte of its answer is taken to be sent. That is before the client has it, so that
//! a client that keeps to a limit is never seen above it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::front::Front;
use super::kind::Kind;

/// Counted as under way until dropped.
pub(crate) struct Flight(Front);

impl Flight {
    pub(crate) fn begin(front: Front, kind: Kind, conditional: bool) -> Flight {
        front.count(|counters| {
            counters.load.begin(kind, conditional);
            counters.load.enter();
        });
        front.shared.together(|load| load.enter());
        Flight(front)
    }

    /// The answer with a body that is counted as it goes, and ends the flight with its last byte.
    pub(crate) fn with(self, kind: Kind, response: Response) -> Response {
        let (head, body) = response.into_parts();
        if body.is_end_stream() {
            return Response::from_parts(head, body);
        }
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Response::from_parts(head, Body::new(Counted { body, kind, left: length, flight: Some(self) }))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.count(|counters| counters.load.leave());
        self.0.shared.together(|load| load.leave());
    }
}

struct Counted {
    body: Body,
    kind: Kind,
    /// Bytes still to come, if that is known.
    left: Option<u64>,
    flight: Option<Flight>,
}

impl Counted {
    fn sent(&mut self, bytes: u64) {
        self.left = self.left.map(|left| left.saturating_sub(bytes));
        if let Some(Flight(front)) = &self.flight {
            front.count(|counters| counters.load.sent(self.kind, bytes));
        }
        if self.left == Some(0) || self.body.is_end_stream() {
            self.flight = None;
        }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.sent(frame.data_ref().map_or(0, |data| data.len() as u64)),
            Some(Err(_)) | None => self.flight = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::http::header;
    use axum::response::Response;
    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Body as _;
    use tokio::sync::watch;

    use super::Flight;
    use crate::lms::Options;
    use crate::lms::front::{Front, Shared};
    use crate::lms::kind::Kind;

    #[tokio::test]
    async fn a_flight_ends_with_the_last_byte_and_not_when_the_body_is_found_to_be_over() {
        let (_stop, stopped) = watch::channel(false);
        let front = Front::new(Arc::new(Shared::new(Options::default(), 1, stopped)), 0);
        let flight = Flight::begin(front.clone(), Kind::Film, false);
        let pieces = stream::iter([Ok::<_, std::io::Error>(Bytes::from("ab")), Ok(Bytes::from("cd"))]);
        let response = Response::builder().header(header::CONTENT_LENGTH, 4).body(Body::from_stream(pieces));
        let mut body = std::pin::pin!(flight.with(Kind::Film, response.unwrap()).into_body());
        let in_flight = || front.shared.counters(None).load.in_flight;
        for expected in [1, 0] {
            let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
            assert!(frame.unwrap().is_ok());
            assert_eq!(in_flight(), expected);
        }
        let load = front.shared.counters(None).load;
        assert_eq!((load.of(Kind::Film).bytes, load.in_flight_max), (4, 1));
    }
}
