//! Claims about the listener: what it lets through has one host and one framing, and a PROXY header is taken byte-exactly.

use super::field_lines;
use http::{Method, Request, Version, header, request::Parts};
use lectern::listener::{Limits, framing::refusal, proxy_protocol};
use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// A request line and field lines: refused, or such that no two servers could read it differently.
pub fn framing(bytes: &[u8]) {
    let Some(head) = head(bytes) else { return };
    let refused = refusal(&head, &Limits::default());
    if let Some(why) = refused {
        assert!(why.status().is_client_error() || head.method == Method::CONNECT);
        assert!(why.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        return;
    }
    let lines = |name| head.headers.get_all(name).iter();
    assert_ne!(head.method, Method::CONNECT);
    let hosts = lines(header::HOST).count();
    assert!(hosts == 1 || (hosts == 0 && head.version != Version::HTTP_11), "{head:?}");
    assert!(lines(header::HOST).all(|host| {
        head.uri
            .authority()
            .is_none_or(|other| host.as_bytes().eq_ignore_ascii_case(other.as_str().as_bytes()))
    }));
    assert!(lines(header::CONTENT_LENGTH).collect::<std::collections::HashSet<_>>().len() <= 1, "{head:?}");
    let codings: Vec<_> = lines(header::TRANSFER_ENCODING).collect();
    assert!(codings.is_empty() || !head.headers.contains_key(header::CONTENT_LENGTH), "{head:?}");
    assert!(codings.iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")), "{head:?}");
    assert!(codings.len() <= 1, "{head:?}");
}

fn head(bytes: &[u8]) -> Option<Parts> {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let mut words = std::str::from_utf8(lines.next()?).ok()?.split(' ');
    let request =
        Request::builder().method(words.next()?).uri(words.next()?).version(match words.next()? {
            "HTTP/1.0" => Version::HTTP_10,
            "HTTP/1.1" => Version::HTTP_11,
            "HTTP/2" => Version::HTTP_2,
            _ => return None,
        });
    let mut head = request.body(()).ok()?.into_parts().0;
    head.headers = field_lines(lines.next().unwrap_or_default());
    Some(head)
}

/// Any bytes of a connection: no header, or one that ends where it ends whatever follows.
pub fn proxy_header(bytes: &[u8]) {
    let (told, taken) = read(bytes);
    assert!(taken <= bytes.len() && taken <= 16 + 4096);
    let Ok(told) = told else { return };
    if let Some((source, destination)) = told {
        assert_eq!(source.is_ipv4(), destination.is_ipv4());
    }
    let whole = &bytes[..taken];
    assert_eq!(read(whole), (Ok(told), taken));
    assert_eq!(read(&[whole, b"\x16\x03\x01\r\n"].concat()), (Ok(told), taken), "it took of what follows");
    for cut in [0, taken / 2, taken - 1] {
        assert_eq!(read(&whole[..cut]).0, Err(ErrorKind::UnexpectedEof), "a header of {cut} bytes");
    }
}

type Told = Result<Option<(SocketAddr, SocketAddr)>, ErrorKind>;

/// What is told, and how many bytes were taken.
fn read(bytes: &[u8]) -> (Told, usize) {
    let mut left = bytes;
    let told = {
        let read = pin!(proxy_protocol::read(&mut left));
        match read.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(told) => told.map_err(|error: io::Error| error.kind()),
            Poll::Pending => panic!("bytes that are there are waited for"),
        }
    };
    (told, bytes.len() - left.len())
}
