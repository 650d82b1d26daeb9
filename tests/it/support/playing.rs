//! One connection of the origin: reads requests strictly and plays the answers that are told.

use std::io;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::answer::{After, Answer, Reading};
use super::film::PIECE;
use super::gate::Gate;
use super::message::{Framing, head};
use super::origin::{Script, Seen, Shared};
use super::wire::Wire;

/// Bytes of a body that are kept.
const KEPT: usize = 1 << 20;

/// The origin's end of a connection.
pub(crate) struct Connection {
    wire: Wire,
    /// Read and not used yet.
    pub(crate) buffer: Vec<u8>,
    shared: Arc<Shared>,
    number: usize,
}

impl Connection {
    pub(crate) fn new(wire: Wire, shared: Arc<Shared>, number: usize) -> Connection {
        Connection { wire, buffer: Vec::new(), shared, number }
    }

    /// Sends raw bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.send(bytes).await
    }

    /// Sends a chunk.
    pub(crate) async fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.wire.send(&framed).await
    }

    /// More bytes into the buffer; an error also at the peer's end.
    pub(crate) async fn more(&mut self) -> io::Result<()> {
        match self.wire.read(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Waits until the peer is gone.
    pub(crate) async fn gone(&mut self) {
        while self.more().await.is_ok() {}
    }

    /// Ends with RST.
    pub(crate) fn reset(self) {
        self.wire.reset();
    }

    /// Serves requests until one ends the connection, or the peer does.
    pub(crate) async fn serve(mut self) {
        for on_connection in 0.. {
            let Some(number) = self.request(on_connection).await else { return };
            let seen = self.shared.change(number, |_| {});
            let answer = match self.shared.script(&seen.target) {
                Some(Script::Raw(play)) => return play(self, seen).await,
                Some(Script::Answer(answer)) => answer(&seen, self.shared.earlier(number)),
                None => Answer::new(404, format!("the origin has no script for {}\n", seen.target)),
            };
            let answer = answer.to(&seen.method, |name| {
                let lines = seen.all(name);
                (!lines.is_empty()).then(|| lines.join(", "))
            });
            let played = self.play(&answer, &seen, number).await;
            self.shared.change(number, |seen| match played {
                Ok(()) => seen.answered = true,
                Err(_) => seen.gone = true,
            });
            match answer.after {
                _ if played.is_err() => return,
                After::Keep => {}
                After::Reset => return self.reset(),
                After::Close => return self.close().await,
            }
        }
    }

    /// FIN, and then reads what the peer still sends, so that no RST overtakes the answer.
    pub(crate) async fn close(mut self) {
        if self.wire.half_close().await.is_ok() {
            loop {
                self.buffer.clear();
                if self.more().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Reads a head and records it; `None` at the end of the connection and after what is no request.
    async fn request(&mut self, on_connection: usize) -> Option<usize> {
        let end = loop {
            match self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if self.more().await.is_err() => {
                    if !self.buffer.is_empty() {
                        self.shared.malformed(&self.buffer);
                    }
                    return None;
                }
                None => {}
            }
        };
        let bytes: Vec<u8> = self.buffer.drain(..end).collect();
        let parsed = head(&bytes).ok().and_then(|(line, fields)| {
            let words: Vec<&str> = line.split(' ').collect();
            let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words[..] else { return None };
            Some(Seen {
                method: method.to_owned(),
                target: target.to_owned(),
                fields,
                connection: self.number,
                on_connection,
                ..Seen::default()
            })
        });
        match parsed {
            Some(seen) => Some(self.shared.record(seen)),
            None => {
                self.shared.malformed(&bytes);
                // The peer may be gone already.
                drop(self.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await);
                None
            }
        }
    }

    async fn play(&mut self, answer: &Answer, seen: &Seen, number: usize) -> io::Result<()> {
        let expects = seen.field("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        if expects && answer.reading == Reading::Whole {
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if answer.reading != Reading::Nothing {
            self.read_body(seen, number).await?;
        }
        if let Some(gate) = &answer.before_head {
            self.pass(gate).await?;
        }
        if let Some(bytes) = &answer.garbage {
            return self.send(bytes).await;
        }
        for (status, fields) in &answer.interim {
            self.send(&start(*status, fields)).await?;
        }
        let mut fields = answer.fields.clone();
        match answer.framing {
            Framing::Length if answer.status != 204 => {
                let length = answer.claims.unwrap_or(answer.length() as u64);
                fields.push(("Content-Length".to_owned(), length.to_string()));
            }
            Framing::Chunked => fields.push(("Transfer-Encoding".to_owned(), "chunked".to_owned())),
            _ => {}
        }
        self.send(&start(answer.status, &fields)).await?;
        if answer.echo {
            return self.echo().await;
        }
        if seen.method == "HEAD" || matches!(answer.status, 204 | 304) {
            return Ok(());
        }
        self.send_body(answer, number).await
    }

    async fn send_body(&mut self, answer: &Answer, number: usize) -> io::Result<()> {
        let end = answer.cut.unwrap_or(usize::MAX).min(answer.length());
        let mut pauses = answer.pauses.iter().peekable();
        let mut at = 0;
        loop {
            while let Some((_, gate)) = pauses.next_if(|(pause, _)| *pause <= at) {
                self.pass(gate).await?;
            }
            if at == end {
                break;
            }
            let stop = pauses.peek().map_or(end, |(pause, _)| end.min(*pause)).min(at + PIECE);
            match answer.framing {
                Framing::Chunked => self.chunk(answer.piece(at, stop)).await?,
                _ => self.send(answer.piece(at, stop)).await?,
            }
            at = stop;
            self.shared.change(number, |seen| seen.sent = at);
        }
        match answer.framing {
            Framing::Chunked if answer.cut.is_none() => self.send(b"0\r\n\r\n").await,
            _ => Ok(()),
        }
    }

    /// Waits at a gate; an error if the peer leaves meanwhile.
    async fn pass(&mut self, gate: &Gate) -> io::Result<()> {
        let gone = async {
            loop {
                if let Err(error) = self.more().await {
                    return error;
                }
            }
        };
        tokio::select! {
            () = gate.pass() => Ok(()),
            error = gone => Err(error),
        }
    }

    async fn echo(&mut self) -> io::Result<()> {
        loop {
            let bytes = std::mem::take(&mut self.buffer);
            self.send(&bytes).await?;
            if self.more().await.is_err() {
                return self.wire.half_close().await;
            }
        }
    }

    /// Reads the request's body by its framing and writes down how far it came.
    async fn read_body(&mut self, seen: &Seen, number: usize) -> io::Result<()> {
        let mut hash = Sha256::new();
        match (seen.all("transfer-encoding")[..] == ["chunked"], seen.field("content-length")) {
            (true, _) => loop {
                let size = self.line().await?;
                let size = size.split(';').next().map(str::trim_end);
                let size = size.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(malformed())?;
                if size == 0 {
                    while !self.line().await?.is_empty() {}
                    break;
                }
                self.take(size, number, &mut hash).await?;
                if !self.line().await?.is_empty() {
                    return Err(malformed());
                }
            },
            (false, Some(length)) => {
                let length = length.parse().map_err(|_| malformed())?;
                self.take(length, number, &mut hash).await?;
            }
            (false, None) => {}
        }
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.shared.change(number, |seen| seen.body_sha256 = Some(digest));
        Ok(())
    }

    async fn take(&mut self, mut left: u64, number: usize, hash: &mut Sha256) -> io::Result<()> {
        while left > 0 {
            if self.buffer.is_empty() {
                self.more().await?;
            }
            let n = self.buffer.len().min(usize::try_from(left).unwrap());
            hash.update(&self.buffer[..n]);
            self.shared.change(number, |seen| {
                let keep = n.min(KEPT.saturating_sub(seen.body.len()));
                seen.body.extend_from_slice(&self.buffer[..keep]);
                seen.body_length += n as u64;
            });
            self.buffer.drain(..n);
            left -= n as u64;
        }
        Ok(())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).take(at).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.more().await?;
        }
    }
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn start(status: u16, fields: &[(String, String)]) -> Vec<u8> {
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    // A field's value may hold bytes above 127 as characters up to U+00FF.
    format!("HTTP/1.1 {status} Told\r\n{lines}\r\n")
        .chars()
        .map(|c| u8::try_from(c).unwrap_or(b'?'))
        .collect()
}
