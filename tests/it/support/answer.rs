//! What the origin is told to answer: a head, a body, and how far it keeps to the protocol.

use std::fmt::Display;

use super::film::Film;
use super::gate::Gate;
use super::message::{Fields, Framing};

/// An answer. Nothing is added to its fields but its framing (not even a Date).
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    /// In place of the body: what of a film, up to and without the last place.
    pub(crate) film: Option<(Film, u64, u64)>,
    pub(crate) framing: Framing,
    /// A Content-Length that is a lie.
    pub(crate) claims: Option<u64>,
    /// Bytes instead of all of the above.
    pub(crate) garbage: Option<Vec<u8>>,
    pub(crate) interim: Vec<(u16, Fields)>,
    pub(crate) reading: Reading,
    pub(crate) before_head: Option<Gate>,
    /// Gates within the body, by the number of bytes sent before.
    pub(crate) pauses: Vec<(usize, Gate)>,
    /// The body breaks off after so many bytes.
    pub(crate) cut: Option<usize>,
    pub(crate) conditional: bool,
    pub(crate) ranges: bool,
    pub(crate) echo: bool,
    pub(crate) after: After,
}

/// What becomes of the request's body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It is asked for with 100 if the request expects that, and read before the answer.
    Whole,
    /// It is read, but never asked for.
    WithoutContinue,
    /// It is not read; the connection closes after the answer.
    Nothing,
}

/// What becomes of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Keep,
    Close,
    Reset,
}

impl Answer {
    /// With Content-Length.
    pub(crate) fn new(status: u16, body: impl AsRef<[u8]>) -> Answer {
        Answer {
            status,
            fields: Vec::new(),
            body: body.as_ref().to_vec(),
            film: None,
            framing: Framing::Length,
            claims: None,
            garbage: None,
            interim: Vec::new(),
            reading: Reading::Whole,
            before_head: None,
            pauses: Vec::new(),
            cut: None,
            conditional: false,
            ranges: false,
            echo: false,
            after: After::Keep,
        }
    }

    pub(crate) fn ok(body: impl AsRef<[u8]>) -> Answer {
        Answer::new(200, body)
    }

    /// What a cache may store: fresh for ten minutes, with a strong validator `"v1"`.
    pub(crate) fn storable(body: impl AsRef<[u8]>) -> Answer {
        Answer::ok(body).field("Cache-Control", "public, max-age=600").field("ETag", "\"v1\"")
    }

    /// These bytes and nothing else, then the end of the connection.
    pub(crate) fn garbage(bytes: impl AsRef<[u8]>) -> Answer {
        let garbage = Some(bytes.as_ref().to_vec());
        Answer { garbage, after: After::Close, ..Answer::new(0, "") }
    }

    /// The connection ends without an answer.
    pub(crate) fn hang_up() -> Answer {
        Answer::garbage("")
    }

    /// 101 to this protocol, and then everything is sent back as it comes.
    pub(crate) fn echo(protocol: &str) -> Answer {
        let answer = Answer { echo: true, framing: Framing::Nothing, ..Answer::new(101, "") };
        answer.field("Connection", "Upgrade").field("Upgrade", protocol)
    }

    /// One more field line.
    pub(crate) fn field(mut self, name: &str, value: impl Display) -> Answer {
        self.fields.push((name.to_owned(), value.to_string()));
        self
    }

    /// This field alone, in place of all lines of its name.
    pub(crate) fn instead(mut self, name: &str, value: impl Display) -> Answer {
        self.fields.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
        self.field(name, value)
    }

    pub(crate) fn chunked(self) -> Answer {
        Answer { framing: Framing::Chunked, ..self }
    }

    /// The end of the connection is the end of the body.
    pub(crate) fn until_close(self) -> Answer {
        Answer { framing: Framing::Close, after: After::Close, ..self }
    }

    /// Lies about the length. More than there is: the connection closes where the body ends; less: the rest is sent all
    /// the same.
    pub(crate) fn claims(self, length: u64) -> Answer {
        let after = if length > self.length() as u64 { After::Close } else { self.after };
        Answer { claims: Some(length), after, ..self }
    }

    /// An interim response before the answer.
    pub(crate) fn interim(mut self, status: u16, fields: &[(&str, &str)]) -> Answer {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.interim.push((status, fields.collect()));
        self
    }

    /// Waits at the gate before anything is sent, the request's body being read.
    pub(crate) fn behind(self, gate: &Gate) -> Answer {
        Answer { before_head: Some(gate.clone()), ..self }
    }

    /// Waits at the gate after so many bytes of the body, all of them sent.
    pub(crate) fn pause(mut self, after: usize, gate: &Gate) -> Answer {
        self.pauses.push((after, gate.clone()));
        self.pauses.sort_by_key(|(at, _)| *at);
        self
    }

    /// Closes after so many bytes of the body.
    pub(crate) fn closes_after(self, bytes: usize) -> Answer {
        Answer { cut: Some(bytes), after: After::Close, ..self }
    }

    /// Resets after so many bytes of the body. Bytes that the peer's kernel has not taken yet are lost.
    pub(crate) fn resets_after(self, bytes: usize) -> Answer {
        Answer { cut: Some(bytes), after: After::Reset, ..self }
    }

    /// Answers without reading the request's body.
    pub(crate) fn unread(self) -> Answer {
        Answer { reading: Reading::Nothing, after: After::Close, ..self }
    }

    /// Reads the request's body without ever sending 100.
    pub(crate) fn without_continue(self) -> Answer {
        Answer { reading: Reading::WithoutContinue, ..self }
    }

    /// 304 where `If-None-Match` names the answer's ETag, or `If-Modified-Since` is its Last-Modified.
    pub(crate) fn conditional(self) -> Answer {
        Answer { conditional: true, ..self }
    }

    /// 206 and 416 for one range, `If-Range` obeyed.
    pub(crate) fn ranges(self) -> Answer {
        Answer { ranges: true, ..self }
    }

    /// Any range is answered with the whole.
    pub(crate) fn no_ranges(mut self) -> Answer {
        self.fields.retain(|(field, _)| !field.eq_ignore_ascii_case("accept-ranges"));
        Answer { ranges: false, ..self }
    }

    /// Bytes of the body.
    pub(crate) fn length(&self) -> usize {
        self.film.as_ref().map_or(self.body.len(), |(_, first, end)| usize::try_from(end - first).unwrap())
    }

    /// The next bytes of the body, at most those up to `stop`.
    pub(crate) fn piece(&self, at: usize, stop: usize) -> &[u8] {
        match &self.film {
            Some((film, first, _)) => film.piece(first + at as u64, first + stop as u64),
            None => &self.body[at..stop],
        }
    }

    /// 206 with these bytes of it, up to and without `end`.
    pub(crate) fn part(mut self, first: usize, end: usize) -> Answer {
        let length = self.length();
        self.status = 206;
        match &mut self.film {
            Some((_, from, to)) => (*from, *to) = (*from + first as u64, *from + end as u64),
            None => self.body = self.body[first..end].to_vec(),
        }
        self.instead("Content-Range", format!("bytes {first}-{}/{length}", end - 1))
    }

    /// Nothing of it but its fields.
    pub(crate) fn without_body(self, status: u16) -> Answer {
        Answer { status, body: Vec::new(), film: None, ..self }
    }

    /// What it answers to this `Range`, whatever `If-Range` says.
    pub(crate) fn cut_to(self, range: &str) -> Answer {
        let length = self.length();
        match bounds(range, length) {
            Some((first, end)) if first < end => self.part(first, end),
            Some(_) => self.without_body(416).instead("Content-Range", format!("bytes */{length}")),
            None => self,
        }
    }

    /// Closes the connection after the answer without having said so.
    pub(crate) fn then_close(self) -> Answer {
        Answer { after: After::Close, ..self }
    }

    /// Resets the connection after the answer.
    pub(crate) fn then_reset(self) -> Answer {
        Answer { after: After::Reset, ..self }
    }

    /// What is really sent to a request with these fields: itself, 304, 206 or 416.
    pub(crate) fn to(&self, method: &str, field: impl Fn(&str) -> Option<String>) -> Answer {
        let own = |name| super::message::field(&self.fields, name).map(str::to_owned);
        let mut answer = self.clone();
        if method != "GET" && method != "HEAD" || self.status != 200 {
            return answer;
        }
        let known = match (field("if-none-match"), field("if-modified-since")) {
            (Some(list), _) => own("etag").is_some_and(|etag| {
                list.split(',')
                    .any(|tag| tag.trim().trim_start_matches("W/") == etag.trim_start_matches("W/"))
            }),
            (None, date) => date.is_some() && date == own("last-modified"),
        };
        if self.conditional && known {
            return Answer { framing: Framing::Nothing, ..answer.without_body(304) };
        }
        let usable = field("if-range").is_none_or(|text| Some(&text) == own("etag").as_ref());
        if let Some(range) = field("range").filter(|_| self.ranges && usable && method == "GET") {
            answer = answer.cut_to(&range);
        }
        answer
    }
}

/// The one range's first byte and the byte behind its last; an empty one is unsatisfiable.
fn bounds(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first <= last).then(|| (first, length.min(last.saturating_add(1)))),
        (Ok(first), Err(_)) => last.is_empty().then_some((first, length)),
        (Err(_), Ok(suffix)) => first.is_empty().then(|| (length.saturating_sub(suffix), length)),
        (Err(_), Err(_)) => None,
    }
}
