//! Requests as a test writes them, replies as a client saw them, and the strict reading of heads.

use std::fmt::{self, Display};

/// Field lines in their order, names as they were sent.
pub(crate) type Fields = Vec<(String, String)>;

/// The first value of a field.
pub(crate) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// All values of a field, a line each.
pub(crate) fn all<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    let lines = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    lines.map(|(_, value)| value.as_str()).collect()
}

/// A request for `lms-a.example`, if nothing else is said.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) fields: Fields,
    pub(crate) body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Request {
        let host = "lms-a.example".to_owned();
        Request { method: method.into(), target: target.into(), host, fields: Vec::new(), body: None }
    }

    pub(crate) fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    pub(crate) fn host(self, host: &str) -> Request {
        Request { host: host.to_owned(), ..self }
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Request {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With Content-Length, unless a field names another framing.
    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Request {
        Request { body: Some(body.into()), ..self }
    }

    /// As HTTP/1.1, head and body.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.fields {
            out += &format!("{name}: {value}\r\n");
        }
        let framed =
            ["content-length", "transfer-encoding"].iter().any(|name| field(&self.fields, name).is_some());
        if let (Some(body), false) = (&self.body, framed) {
            out += &format!("Content-Length: {}\r\n", body.len());
        }
        [(out + "\r\n").as_bytes(), self.body.as_deref().unwrap_or_default()].concat()
    }
}

/// What says where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Nothing,
    Length,
    Chunked,
    /// The end of the connection.
    Close,
    /// An HTTP/2 stream.
    Stream,
}

/// Whether the protocol's own end was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Not read so far.
    Open,
    Clean,
    /// And why.
    Unclean(String),
}

/// A response as the client saw it. Without a readable head its status is 0.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    /// Interim responses before it, with their fields.
    pub(crate) interim: Vec<(u16, Fields)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    pub(crate) framing: Framing,
    pub(crate) end: End,
}

impl Reply {
    pub(crate) fn unread() -> Reply {
        Reply {
            version: String::new(),
            status: 0,
            fields: Vec::new(),
            interim: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            framing: Framing::Nothing,
            end: End::Open,
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name)
    }

    pub(crate) fn clean(&self) -> bool {
        self.end == End::Clean
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Panics unless it has this status and ended cleanly.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Reply {
        assert!(self.status == status && self.clean(), "not a clean {status}: {self}");
        self
    }

    /// Panics unless it ended cleanly with this status and exactly this body.
    #[track_caller]
    pub(crate) fn expect_body(self, status: u16, body: impl AsRef<[u8]>) -> Reply {
        let (this, body) = (self.expect(status), body.as_ref());
        if this.body != body {
            let same = this.body.iter().zip(body).take_while(|(a, b)| a == b).count();
            let (got, wanted) = (this.body.len(), body.len());
            panic!("{got} bytes instead of {wanted}, the first {same} as expected: {this}");
        }
        this
    }
}

impl Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}, {:?}, {:?}", self.version, self.status, self.framing, self.end)?;
        for (status, _) in &self.interim {
            writeln!(f, "  after {status}")?;
        }
        for (name, value) in &self.fields {
            writeln!(f, "  {name}: {value}")?;
        }
        let start = &self.body[..self.body.len().min(300)];
        write!(f, "  {} bytes: {}", self.body.len(), start.escape_ascii())
    }
}

/// A head: its start line and its fields. The bytes end with the empty line. `Err` says what is not as RFC 9112 wants.
pub(crate) fn head(bytes: &[u8]) -> Result<(String, Fields), String> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let text = text.strip_suffix("\r\n\r\n").ok_or("no empty line at the end of a head")?;
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let fields = lines.map(line).collect::<Result<Fields, String>>()?;
    match text.replace("\r\n", "").find(['\r', '\n', '\0']) {
        Some(_) => Err(format!("a bare CR, LF or NUL in a head: {text:?}")),
        None => Ok((start, fields)),
    }
}

fn line(line: &str) -> Result<(String, String), String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && name.chars().all(token) => {
            Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
        }
        _ => Err(format!("not a field line: {line:?}")),
    }
}
