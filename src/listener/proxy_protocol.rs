//! The PROXY header, version 1 and 2 (haproxy.org, proxy-protocol.txt §2): who the client behind a load balancer is.
//!
//! Read byte-exactly, so that nothing of what follows (often a TLS hello) is taken. Fields after the addresses (TLVs) are
//! skipped. A header that does not say an address ("UNKNOWN", "LOCAL", a family other than IP) leaves the peer's own.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What the client and the load balancer call each other: source, destination.
pub type Addresses = Option<(SocketAddr, SocketAddr)>;

/// Every header, of either version, has at least so many bytes ("PROXY UNKNOWN\r\n").
const SHORTEST: usize = 15;
/// Longest line of version 1, §2.1.
const LONGEST_LINE: usize = 107;
/// Fixed part of version 2.
const FIXED: usize = 16;
/// More than this after the fixed part is no honest header: addresses take 36 bytes, TLVs some hundred.
const LONGEST_REST: usize = 4096;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes are not a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What can be said of the first bytes.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// So many bytes more are certainly needed.
    More(usize),
    /// The header was whole.
    Whole(Addresses),
}

/// Reads one header and nothing beyond. Whoever calls holds a deadline over it.
///
/// # Errors
/// `InvalidData` if it is malformed, `UnexpectedEof` if the peer closed before.
pub async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Addresses> {
    let mut header = Vec::with_capacity(LONGEST_LINE);
    loop {
        match parse(&header).map_err(|Malformed| io::ErrorKind::InvalidData)? {
            Parsed::Whole(addresses) => return Ok(addresses),
            Parsed::More(n) => {
                let start = header.len();
                header.resize(start + n, 0);
                io.read_exact(&mut header[start..]).await?;
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes[..common] == SIGNATURE[..common] && common > 0 {
        return binary(bytes);
    }
    const WORD: &[u8] = b"PROXY ";
    let common = bytes.len().min(WORD.len());
    if bytes[..common] != WORD[..common] {
        return Err(Malformed);
    }
    if bytes.len() < SHORTEST {
        return Ok(Parsed::More(SHORTEST - bytes.len()));
    }
    match bytes.iter().position(|&b| b == b'\n') {
        Some(end) if end + 1 == bytes.len() => line(&bytes[..end]).map(Parsed::Whole),
        None if bytes.len() < LONGEST_LINE => Ok(Parsed::More(1)),
        _ => Err(Malformed),
    }
}

fn line(bytes: &[u8]) -> Result<Addresses, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?.strip_suffix('\r').ok_or(Malformed)?;
    let mut words = text.split(' ');
    let _proxy = words.next();
    match words.next() {
        Some("UNKNOWN") => Ok(None),
        Some("TCP4") => pair::<Ipv4Addr>(words),
        Some("TCP6") => pair::<Ipv6Addr>(words),
        _ => Err(Malformed),
    }
}

fn pair<A: FromStr + Into<IpAddr>>(words: std::str::Split<'_, char>) -> Result<Addresses, Malformed> {
    let words: Vec<&str> = words.collect();
    let [source, destination, from, to] = words[..] else { return Err(Malformed) };
    let address = |a: &str| a.parse::<A>().map(Into::into).map_err(|_| Malformed);
    let port = |p: &str| -> Result<u16, Malformed> {
        let digits =
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) && (p == "0" || !p.starts_with('0'));
        if digits { p.parse().map_err(|_| Malformed) } else { Err(Malformed) }
    };
    Ok(Some((
        SocketAddr::new(address(source)?, port(from)?),
        SocketAddr::new(address(destination)?, port(to)?),
    )))
}

fn binary(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if bytes.len() < FIXED {
        return Ok(Parsed::More(FIXED - bytes.len()));
    }
    let rest = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if bytes[12] >> 4 != 2 || rest > LONGEST_REST {
        return Err(Malformed);
    }
    if bytes.len() < FIXED + rest {
        return Ok(Parsed::More(FIXED + rest - bytes.len()));
    }
    let body = &bytes[FIXED..];
    match (bytes[12] & 0xf, bytes[13] >> 4) {
        (0, _) => Ok(Parsed::Whole(None)), // LOCAL: the load balancer's own health check
        (1, 0 | 3) => Ok(Parsed::Whole(None)),
        (1, 1) => blocks::<4>(body).map(Parsed::Whole),
        (1, 2) => blocks::<16>(body).map(Parsed::Whole),
        _ => Err(Malformed),
    }
}

/// Two addresses of `N` bytes, then two ports, §2.2.
fn blocks<const N: usize>(body: &[u8]) -> Result<Addresses, Malformed>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = body.split_first_chunk::<N>().ok_or(Malformed)?;
    let (destination, rest) = rest.split_first_chunk::<N>().ok_or(Malformed)?;
    let (ports, _tlvs) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
    Ok(Some((
        SocketAddr::new((*source).into(), u16::from_be_bytes([ports[0], ports[1]])),
        SocketAddr::new((*destination).into(), u16::from_be_bytes([ports[2], ports[3]])),
    )))
}

#[cfg(test)]
mod tests {
    use super::{Addresses, Malformed, Parsed, SIGNATURE, parse, read};
    use std::io::ErrorKind;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        out.extend([0x20 | command, family]);
        out.extend((body.len() as u16).to_be_bytes());
        out.extend(body);
        out
    }

    fn told(source: &str, destination: &str) -> Addresses {
        Some((source.parse().unwrap(), destination.parse().unwrap()))
    }

    #[test]
    fn version_1_says_tcp4_tcp6_or_nothing() {
        let table: [(&str, Result<Addresses, Malformed>); 14] = [
            (
                "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
                Ok(told("192.0.2.7:56324", "198.51.100.1:443")),
            ),
            (
                "PROXY TCP6 2001:db8::7 2001:db8::1 5 443\r\n",
                Ok(told("[2001:db8::7]:5", "[2001:db8::1]:443")),
            ),
            ("PROXY UNKNOWN\r\n", Ok(None)),
            ("PROXY UNKNOWN ff::1 ff::2 1 2\r\n", Ok(None)),
            ("PROXY TCP4 2001:db8::7 2001:db8::1 5 443\r\n", Err(Malformed)),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n", Err(Malformed)),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n", Err(Malformed)),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 +5 443\r\n", Err(Malformed)),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 05 443\r\n", Err(Malformed)),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", Err(Malformed)),
            ("PROXY TCP4  192.0.2.7 198.51.100.1 5 443\r\n", Err(Malformed)),
            ("PROXY UDP4 192.0.2.7 198.51.100.1 5 443\r\n", Err(Malformed)),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 5 443\n", Err(Malformed)),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Malformed)),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text.as_bytes()), expected.map(Parsed::Whole), "{text:?}");
        }
        let endless = format!("PROXY TCP4 {}", "1".repeat(96));
        assert_eq!(parse(endless.as_bytes()), Err(Malformed));
    }

    #[test]
    fn version_2_says_addresses_local_or_nothing_and_its_tlvs_are_skipped() {
        let mut four = vec![192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
        let expected = Ok(Parsed::Whole(told("192.0.2.7:56324", "198.51.100.1:443")));
        assert_eq!(parse(&v2(1, 0x11, &four)), expected);
        assert_eq!(parse(&v2(1, 0x11, &four[..11])), Err(Malformed));
        four.extend([0x03, 0, 4, 1, 2, 3, 4]);
        assert_eq!(parse(&v2(1, 0x11, &four)), expected);
        let mut six = [0_u8; 36];
        (six[15], six[31], six[33], six[35]) = (7, 1, 5, 80);
        assert_eq!(parse(&v2(1, 0x21, &six)), Ok(Parsed::Whole(told("[::7]:5", "[::1]:80"))));
        assert_eq!(parse(&v2(0, 0, &[])), Ok(Parsed::Whole(None)));
        assert_eq!(parse(&v2(1, 0, &[9; 4])), Ok(Parsed::Whole(None)));
        assert_eq!(parse(&v2(2, 0x11, &four)), Err(Malformed));
        assert_eq!(parse(&v2(1, 0x11, &[0; 5000])), Err(Malformed));
        let mut one = v2(1, 0x11, &four);
        one[12] = 0x11;
        assert_eq!(parse(&one), Err(Malformed));
    }

    #[tokio::test]
    async fn nothing_after_the_header_is_taken() {
        let headers = [b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n".to_vec(), v2(0, 0, &[])];
        for header in headers {
            let stream = [&header[..], b"hello"].concat();
            let mut rest = &stream[..];
            assert!(read(&mut rest).await.is_ok());
            assert_eq!(rest, b"hello");
            for cut in 0..header.len() {
                let error = read(&mut &header[..cut]).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{cut}");
            }
        }
    }
}
