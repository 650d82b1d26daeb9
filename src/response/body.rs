//! The body of an answer: from memory, from a fill under way, or relayed; counted as it is handed over.

use crate::{
    cache::Pieces,
    fill::{Cut, Reader},
    origin::RelayedBody,
    response::{Account, BodyPart, Multipart, coding::Recoded},
    telemetry::Fault,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Where the bytes of an answer come from.
pub enum Source {
    /// There are none.
    Empty,
    /// In one piece.
    Full(Bytes),
    /// In several pieces, in order.
    Pieces(std::vec::IntoIter<Bytes>),
    /// From a body that is read piece by piece.
    Reader(Reader),
    /// Several ranges of such a body, with the text between them.
    Ranges(Ranges),
    /// Of another source, in another coding.
    Recoded(Box<Recoded>),
    /// From the origin, for this request alone.
    Relayed(Pin<Box<RelayedBody>>),
}

/// Several ranges of a body, each behind its text, and the text behind the last (RFC 9110 §14.6).
pub struct Ranges {
    reader: Reader,
    /// Those still to come.
    parts: std::vec::IntoIter<BodyPart>,
    /// The bytes of a range come now.
    within: bool,
    /// The text behind the last.
    end: Option<Bytes>,
}

impl Ranges {
    /// The ranges of `multipart`, as `reader` reads them.
    pub fn new(reader: Reader, multipart: Multipart) -> Ranges {
        let Multipart { parts, end, .. } = multipart;
        Ranges { reader, parts: parts.into_iter(), within: false, end: Some(end) }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if self.within
            && let Some(piece) = ready!(self.reader.poll_next(cx))
        {
            return Poll::Ready(Some(piece));
        }
        Poll::Ready(match self.parts.next() {
            Some(part) => {
                self.reader.turn_to(part.first, Some(part.last));
                self.within = true;
                Some(Ok(part.head))
            }
            None => {
                self.within = false;
                self.end.take().map(Ok)
            }
        })
    }
}

/// The body of an answer, with the account of its request.
pub struct Body {
    source: Source,
    /// Bytes still to come, if known.
    left: Option<u64>,
    account: Option<Box<Account>>,
    /// It cannot go on: why. Told only after what was handed over before, and the head, had a turn to be sent: hyper throws
    /// away at once what it has not written yet.
    broken: Option<(Fault, &'static str)>,
}

/// An answer that cannot be given whole: the connection is reset, so that nobody takes it for whole.
#[derive(Debug)]
pub struct Unclean(pub &'static str);

impl Body {
    /// A body of `length` bytes, if known, from `source`.
    pub fn new(source: Source, length: Option<u64>, mut account: Box<Account>) -> Body {
        // A body of no bytes is never polled: it is whole as it is.
        if matches!(source, Source::Empty) || length == Some(0) {
            account.complete();
        }
        Body { source, left: length, account: Some(account), broken: None }
    }

    /// A body from pieces in memory.
    pub fn from_pieces(mut pieces: Pieces, account: Box<Account>) -> Body {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        let source = match pieces.len() {
            0 => Source::Empty,
            1 => Source::Full(pieces.swap_remove(0)),
            _ => Source::Pieces(pieces.into_iter()),
        };
        Body::new(source, Some(length), account)
    }
}

impl Source {
    /// The next piece; `None` at the end, `Err` where there is no whole.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, (Fault, &'static str)>>> {
        Poll::Ready(match self {
            Source::Empty => None,
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Source::Empty;
                Some(Ok(bytes))
            }
            Source::Pieces(pieces) => pieces.next().map(Ok),
            Source::Reader(reader) => ready!(reader.poll_next(cx)).map(|piece| piece.map_err(why)),
            Source::Ranges(ranges) => ready!(ranges.poll_next(cx)).map(|piece| piece.map_err(why)),
            Source::Recoded(recoded) => ready!(recoded.poll_next(cx)),
            Source::Relayed(body) => loop {
                match ready!(http_body::Body::poll_frame(body.as_mut(), cx)) {
                    // Trailers are dropped.
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => break Some(Ok(data)),
                        Err(_) => continue,
                    },
                    Some(Err(error)) => break Some(Err((error.fault(), error.word()))),
                    None => break None,
                }
            },
        })
    }
}

fn why(Cut { fault, word }: Cut) -> (Fault, &'static str) {
    (fault, word)
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let next = match this.broken.take() {
            Some(why) => Some(Err(why)),
            None => match ready!(this.source.poll_next(cx)) {
                Some(Err(why)) => {
                    this.broken = Some(why);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                next => next,
            },
        };
        let account = this.account.as_deref_mut();
        Poll::Ready(match next {
            Some(Ok(bytes)) => {
                if let Some(left) = &mut this.left {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                if let Some(account) = account {
                    account.handed(bytes.len());
                    if this.left == Some(0) {
                        account.complete();
                    }
                }
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err((fault, word))) => {
                if let Some(account) = account {
                    account.broke_off(fault, word);
                }
                Some(Err(Box::new(Unclean(word))))
            }
            None => {
                if let Some(account) = account {
                    account.complete();
                }
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Empty) || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Display for Unclean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer ends here, not whole: {}", self.0)
    }
}

impl Error for Unclean {}
