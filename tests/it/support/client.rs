//! An HTTP/1.1 client on a raw connection that reads strictly, pipelines, and leaves in each way there is.

use std::io;
use std::net::SocketAddr;

use super::deadline::within;
use super::dial::Dial;
use super::message::{End, Fields, Framing, Reply, Request, all, head};
use super::wire::Wire;

/// One connection. Bytes behind a response stay in the buffer and are the next response's beginning.
pub(crate) struct Client {
    wire: Wire,
    buffer: Vec<u8>,
    /// How the peer ended the connection.
    ended: Option<Ended>,
    /// Of the response whose head was read: what is left of it.
    left: Left,
}

/// How the peer ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Fin,
    /// RST, or a TLS connection without its end.
    Reset,
}

#[derive(Clone, Copy)]
enum Left {
    Nothing,
    Bytes(u64),
    /// Bytes of the current chunk; `None` before its size.
    Chunks(Option<u64>),
    UntilClose,
}

impl Client {
    pub(crate) fn new(wire: Wire) -> Client {
        Client { wire, buffer: Vec::new(), ended: None, left: Left::Nothing }
    }

    /// Cleartext to this address; for more see [`Dial`].
    pub(crate) async fn connect(to: SocketAddr) -> Client {
        Dial::to(to).client().await
    }

    /// Raw bytes. A peer that is gone shows itself at reading.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        drop(within("place for bytes to send", self.wire.send(bytes)).await);
    }

    /// The same, telling whether the kernel took them.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("place for bytes to send", self.wire.send(bytes)).await
    }

    /// A request and its whole reply.
    pub(crate) async fn ask(&mut self, request: &Request) -> Reply {
        self.send(&request.bytes()).await;
        self.reply(&request.method).await
    }

    /// GET from `lms-a.example`.
    pub(crate) async fn get(&mut self, target: &str) -> Reply {
        self.ask(&Request::get(target)).await
    }

    /// The next whole reply. It answers a request of this method, of which depends whether it has a body.
    pub(crate) async fn reply(&mut self, method: &str) -> Reply {
        let mut reply = self.head(method).await;
        self.rest(&mut reply).await;
        reply
    }

    /// The next reply's head; its body is read by [`Client::piece`] or [`Client::rest`].
    pub(crate) async fn head(&mut self, method: &str) -> Reply {
        let mut reply = Reply::unread();
        if let Err(why) = within("head of a reply", self.read_head(method, &mut reply)).await {
            reply.end = End::Unclean(why);
        }
        reply
    }

    /// Reads until the body has at least so many bytes, or ends.
    pub(crate) async fn at_least(&mut self, reply: &mut Reply, bytes: usize) {
        while reply.end == End::Open && reply.body.len() < bytes {
            self.piece(reply).await;
        }
    }

    /// Reads the body to its end.
    pub(crate) async fn rest(&mut self, reply: &mut Reply) {
        while reply.end == End::Open {
            self.piece(reply).await;
        }
    }

    /// Reads the next piece of the body, or its end.
    pub(crate) async fn piece(&mut self, reply: &mut Reply) {
        let what = format!("next piece of a body after {} bytes of {}", reply.body.len(), reply.status);
        match within(what, self.read_piece(reply)).await {
            Ok(true) => {}
            Ok(false) => reply.end = End::Clean,
            Err(why) => reply.end = End::Unclean(why),
        }
    }

    /// Bytes that came behind the last reply so far.
    pub(crate) fn leftover(&self) -> &[u8] {
        &self.buffer
    }

    /// Raw bytes, for what is not HTTP (after 101): waits until there are at least so many, fewer only at the end.
    pub(crate) async fn raw(&mut self, bytes: usize) -> Vec<u8> {
        let wait = async { while self.buffer.len() < bytes && self.fill().await {} };
        within(format!("{bytes} raw bytes"), wait).await;
        self.buffer.drain(..bytes.min(self.buffer.len())).collect()
    }

    /// Waits for the peer to end the connection; what it sends before that is kept in [`Client::leftover`].
    pub(crate) async fn closed(&mut self) -> Ended {
        within("end of the connection by the peer", async { while self.fill().await {} }).await;
        self.ended.unwrap()
    }

    /// Sends no more, and still reads.
    pub(crate) async fn half_close(&mut self) {
        // A peer that is gone shows itself at reading.
        drop(within("half close", self.wire.half_close()).await);
    }

    /// Leaves with RST.
    pub(crate) fn abort(self) {
        self.wire.reset();
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.wire.socket().local_addr().unwrap()
    }

    /// The certificate that the server showed, in DER.
    pub(crate) fn server_certificate(&self) -> Option<Vec<u8>> {
        self.wire.peer_certificate()
    }

    /// More bytes into the buffer; false at the end.
    async fn fill(&mut self) -> bool {
        if self.ended.is_none() {
            match self.wire.read(&mut self.buffer).await {
                Ok(0) => self.ended = Some(Ended::Fin),
                Ok(_) => {}
                Err(_) => self.ended = Some(Ended::Reset),
            }
        }
        self.ended.is_none()
    }

    async fn more(&mut self, inside: &str) -> Result<(), String> {
        match self.fill().await {
            true => Ok(()),
            false => Err(format!("{:?} {inside}", self.ended.unwrap())),
        }
    }

    /// Takes everything up to and with `mark`.
    async fn up_to(&mut self, mark: &[u8], inside: &str) -> Result<Vec<u8>, String> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return Ok(self.buffer.drain(..at + mark.len()).collect());
            }
            if self.buffer.len() > 1 << 20 {
                return Err(format!("a mebibyte {inside}"));
            }
            self.more(inside).await?;
        }
    }

    async fn read_head(&mut self, method: &str, reply: &mut Reply) -> Result<(), String> {
        loop {
            // A stray byte is seen at once, not when the head should have ended.
            while self.buffer.len() < 5 {
                self.more("before a status line").await?;
            }
            if !self.buffer.starts_with(b"HTTP/") {
                let start = &self.buffer[..self.buffer.len().min(80)];
                return Err(format!("not a status line: {}", start.escape_ascii()));
            }
            let bytes = self.up_to(b"\r\n\r\n", "within a head").await?;
            let (line, fields) = head(&bytes)?;
            let status = match line.as_bytes() {
                [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', a, b, c, rest @ ..]
                    if matches!(rest, [] | [b' ', ..])
                        && [a, b, c].iter().all(|digit| digit.is_ascii_digit()) =>
                {
                    line[9..12].parse().unwrap()
                }
                _ => return Err(format!("not a status line: {line:?}")),
            };
            if (100..200).contains(&status) && status != 101 {
                reply.interim.push((status, fields));
                continue;
            }
            (self.left, reply.framing) = framing(method, status, &fields)?;
            (reply.version, reply.status, reply.fields) = (line[..8].to_owned(), status, fields);
            return Ok(());
        }
    }

    /// One piece into the reply's body; `Ok(false)` at the clean end.
    async fn read_piece(&mut self, reply: &mut Reply) -> Result<bool, String> {
        match self.left {
            Left::Nothing | Left::Bytes(0) => Ok(false),
            Left::Bytes(left) => {
                let taken = self.take(left, &format!("with {left} bytes missing"), reply).await?;
                self.left = Left::Bytes(left - taken);
                Ok(true)
            }
            Left::Chunks(None) => {
                let line = self.up_to(b"\r\n", "within a chunk's size").await?;
                let size = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
                let digits = size.split(';').next().unwrap_or_default().trim_end();
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(format!("not a chunk's size: {size:?}"));
                }
                let size = u64::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
                if size > 0 {
                    self.left = Left::Chunks(Some(size));
                    return Ok(true);
                }
                let mut trailers = self.up_to(b"\r\n", "within the trailers").await?;
                while !trailers.ends_with(b"\r\n\r\n") && trailers != b"\r\n" {
                    trailers.extend(self.up_to(b"\r\n", "within the trailers").await?);
                }
                if trailers != b"\r\n" {
                    reply.trailers = head(&[b"\r\n", &trailers[..]].concat())?.1;
                }
                Ok(false)
            }
            Left::Chunks(Some(left)) => {
                let left =
                    left - self.take(left, &format!("with {left} bytes of a chunk missing"), reply).await?;
                self.left = Left::Chunks(Some(left));
                if left == 0 {
                    if self.up_to(b"\r\n", "after a chunk").await? != b"\r\n" {
                        return Err("no line end after a chunk".to_owned());
                    }
                    self.left = Left::Chunks(None);
                }
                Ok(true)
            }
            Left::UntilClose => {
                if !self.buffer.is_empty() || self.fill().await {
                    reply.body.append(&mut self.buffer);
                    return Ok(true);
                }
                match self.ended {
                    Some(Ended::Fin) => Ok(false),
                    _ => Err("Reset within a body that ends with the connection".to_owned()),
                }
            }
        }
    }

    async fn take(&mut self, at_most: u64, inside: &str, reply: &mut Reply) -> Result<u64, String> {
        if self.buffer.is_empty() {
            self.more(inside).await?;
        }
        let n = self.buffer.len().min(usize::try_from(at_most).unwrap());
        reply.body.extend_from_slice(&self.buffer[..n]);
        self.buffer.drain(..n);
        Ok(n as u64)
    }
}

/// RFC 9112 §6.3, and stricter: one Content-Length at most, and nothing beside `chunked`.
fn framing(method: &str, status: u16, fields: &Fields) -> Result<(Left, Framing), String> {
    let (coded, lengths) = (all(fields, "transfer-encoding"), all(fields, "content-length"));
    if !coded.is_empty() && !lengths.is_empty() {
        return Err("both Transfer-Encoding and Content-Length".to_owned());
    }
    let length = match lengths[..] {
        [] => None,
        [text] if text.bytes().all(|byte| byte.is_ascii_digit()) => Some(text.parse().map_err(|_| "length")?),
        _ => return Err(format!("Content-Length {lengths:?}")),
    };
    if method == "HEAD" || matches!(status, 101 | 204 | 304) || (method == "CONNECT" && status == 200) {
        return Ok((Left::Nothing, Framing::Nothing));
    }
    match (&coded[..], length) {
        (["chunked"], _) => Ok((Left::Chunks(None), Framing::Chunked)),
        ([], Some(length)) => Ok((Left::Bytes(length), Framing::Length)),
        ([], None) => Ok((Left::UntilClose, Framing::Close)),
        _ => Err(format!("Transfer-Encoding {coded:?}")),
    }
}
