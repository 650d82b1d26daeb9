//! Content codings (RFC 9110 §8.4.1, §12.5.3): which of them a client takes, which a response has, whether it may be given
//! another, and what its head says then.
//!
//! Three codings are known, and `identity`, which is none. What `Accept-Encoding` says is read in one place, here, for the
//! cache key ([`Accepted::class`]) as for the choice of a representation. Weights are not compared, only whether they are above
//! 0: of what a client takes it gets what is shortest on the line.

use super::{
    Directives, coded_tag,
    list::{self, Members, Quotes},
    targeted::is_targeted,
    vary,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// A content coding, or none. In the order in which they are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
    /// `gzip` (RFC 1952).
    Gzip,
    /// None.
    Identity,
}

impl Coding {
    /// All of them, the preferred ones first.
    pub const ALL: [Coding; 4] = [Coding::Brotli, Coding::Zstd, Coding::Gzip, Coding::Identity];

    /// Its name in fields, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
            Coding::Identity => "identity",
        }
    }

    /// The coding of this name, in any case (§8.4.1).
    pub fn named(name: &[u8]) -> Option<Coding> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Coding::Gzip);
        }
        Coding::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }

    const fn bit(self) -> usize {
        match self {
            Coding::Brotli => 1,
            Coding::Gzip => 2,
            Coding::Zstd => 4,
            Coding::Identity => 8,
        }
    }
}

/// `*`: whatever is not named.
const ANY_OTHER: usize = 16;

/// By the sum of the bits of br, gzip and zstd.
const CLASSES: [&str; 8] =
    ["identity", "br", "gzip", "br, gzip", "zstd", "br, zstd", "gzip, zstd", "br, gzip, zstd"];

/// The codings that a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted(usize);

impl Accepted {
    /// What a request says (§12.5.3). One without `Accept-Encoding` is taken to accept no coding: such clients seldom can decode.
    /// What cannot be read is not accepted; of a coding named twice the refusal counts. Identity is accepted unless it is
    /// refused, by itself or with `*`; and where nothing else is accepted either.
    pub fn by(headers: &HeaderMap) -> Accepted {
        const IDENTITY: usize = Coding::Identity.bit();
        let mut lines = headers.get_all(header::ACCEPT_ENCODING).iter();
        let Some(line) = lines.next() else { return Accepted(IDENTITY) };
        let second = lines.next();
        // What browsers send, without reading it member by member.
        match (line.as_bytes(), second) {
            (b"gzip, deflate, br, zstd", None) => return Accepted(IDENTITY | 7),
            (b"gzip, deflate, br", None) => return Accepted(IDENTITY | 3),
            (b"gzip, deflate" | b"gzip", None) => return Accepted(IDENTITY | 2),
            _ => {}
        }
        let mut said = Said::default();
        said.read(line.as_bytes());
        second.into_iter().chain(lines).for_each(|line| said.read(line.as_bytes()));
        let taken = said.accepted & !said.refused;
        let others = if taken & ANY_OTHER == 0 { 0 } else { !said.refused & 7 };
        let codings = (taken & 7) | others;
        let all_others_refused = said.refused & ANY_OTHER != 0 && taken & IDENTITY == 0;
        let refused = said.refused & IDENTITY != 0 || all_others_refused;
        Accepted(if refused && codings != 0 { codings } else { codings | IDENTITY })
    }

    /// What counts in the cache key: the codings among br, gzip and zstd, as a list that can be sent to the origin; `identity`
    /// if none.
    pub fn class(self) -> &'static str {
        CLASSES[self.0 & 7]
    }

    /// Whether it takes this coding.
    pub fn takes(self, coding: Coding) -> bool {
        self.0 & coding.bit() != 0
    }

    /// Those it takes, the preferred ones first.
    pub fn preferred(self) -> impl Iterator<Item = Coding> {
        Coding::ALL.into_iter().filter(move |coding| self.takes(*coding))
    }
}

/// Bits of codings, as they are named.
#[derive(Default)]
struct Said {
    accepted: usize,
    refused: usize,
}

impl Said {
    fn read(&mut self, line: &[u8]) {
        for member in (Members { rest: line, quotes: Quotes::Escaped }) {
            let mut parts = member.split(|&b| b == b';');
            let coding = list::trim(parts.next().unwrap_or_default());
            let accepted = parts.all(|part| weight_above_zero(list::trim(part)));
            let bit = match Coding::named(coding) {
                Some(coding) => coding.bit(),
                None if coding == b"*" => ANY_OTHER,
                None => continue,
            };
            *(if accepted { &mut self.accepted } else { &mut self.refused }) |= bit;
        }
    }
}

/// Is this `q=` with a weight above 0 (RFC 9110 §12.4.2)? Not for anything else.
fn weight_above_zero(parameter: &[u8]) -> bool {
    let [b'q' | b'Q', b'=', whole, fraction @ ..] = parameter else {
        return false;
    };
    let digits = match fraction {
        [] => fraction,
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return false,
    };
    let fraction_is_zero = digits.iter().all(|&d| d == b'0');
    match whole {
        b'1' => fraction_is_zero,
        b'0' => !fraction_is_zero,
        _ => false,
    }
}

/// What of a response bears on its being given another coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recodable {
    /// The coding it has.
    pub from: Coding,
    /// Its content is of a kind that a coding makes shorter.
    pub compressible: bool,
}

impl Recodable {
    /// Whether it makes sense to give it this one.
    pub fn may_become(self, to: Coding) -> bool {
        to != self.from && (self.compressible || to == Coding::Identity)
    }
}

/// Whether a response may be given another coding, as its head says. Not one that forbids it (`no-transform`, RFC 9110 §7.7), has
/// a coding that is not known or several, or whose content is compressed by its own kind.
pub fn recodable(status: StatusCode, headers: &HeaderMap) -> Option<Recodable> {
    if status != StatusCode::OK || forbids(headers) {
        return None;
    }
    let mut codings = list::members(headers, &header::CONTENT_ENCODING, Quotes::Escaped);
    let from = match codings.next() {
        Some(coding) => Coding::named(coding)?,
        None => Coding::Identity,
    };
    let compressible = headers.get(header::CONTENT_TYPE).is_some_and(is_compressible);
    let worth = compressible || from != Coding::Identity;
    (codings.next().is_none() && worth).then_some(Recodable { from, compressible })
}

/// Whether `Cache-Control` forbids it, or a field for caches of one kind (RFC 9213): what is said to any hop is obeyed.
fn forbids(headers: &HeaderMap) -> bool {
    let mut targeted = headers.keys().filter(|name| is_targeted(name));
    Directives::response(headers).no_transform
        || targeted.any(|name| Directives::said_to(std::slice::from_ref(name), headers).no_transform)
}

/// Types beside `text/*`, `*+json` and `*+xml` whose content is text, or as loose as text.
const COMPRESSIBLE: [&str; 20] = [
    "application/ecmascript",
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/rtf",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-mpegurl",
    "application/x-ndjson",
    "application/x-yaml",
    "application/xml",
    "application/yaml",
    "font/collection",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
];

fn is_compressible(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // A stream of events has no end.
    (essence.starts_with("text/") && essence != "text/event-stream")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || COMPRESSIBLE.binary_search(&&*essence).is_ok()
}

/// Fields that speak of the bytes as they were coded.
const OF_THE_BYTES: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// What is known of the bytes that a response is recoded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// All are there: how many, and the beginning of their digest.
    There {
        /// How many.
        length: u64,
        /// It tells them from those of other levels or versions of a coder.
        mark: [u8; 4],
    },
    /// They are made while they are sent.
    Coming,
}

/// The head of a response as it is in another coding (§8.8.3.3: with another strong tag).
pub fn recoded(headers: &HeaderMap, to: Coding, bytes: Bytes) -> HeaderMap {
    let mut recoded = headers.clone();
    for name in &OF_THE_BYTES {
        recoded.remove(name);
    }
    match to {
        Coding::Identity => _ = recoded.remove(header::CONTENT_ENCODING),
        coding => {
            _ = recoded.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
        }
    }
    told_in_vary(&mut recoded);
    let tag = headers.get(header::ETAG).and_then(|tag| coded_tag::of(tag, to, bytes));
    match tag {
        Some(tag) => _ = recoded.insert(header::ETAG, tag),
        None => _ = recoded.remove(header::ETAG),
    }
    match bytes {
        Bytes::There { length, .. } => {
            recoded.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Bytes::Coming => {
            recoded.remove(header::CONTENT_LENGTH);
            recoded.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
        }
    }
    recoded
}

/// Says in `Vary` that the answer was chosen by `Accept-Encoding` (RFC 9110 §12.5.5).
pub fn told_in_vary(headers: &mut HeaderMap) {
    let any = HeaderName::from_static("*");
    if !vary::names(headers, &header::ACCEPT_ENCODING) && !vary::names(headers, &any) {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

#[cfg(test)]
mod tests {
    use super::{Accepted, Bytes, COMPRESSIBLE, Coding, Recodable, recodable, recoded, told_in_vary};
    use http::{HeaderMap, HeaderName, StatusCode, header};

    fn lines(name: &'static str, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (HeaderName::from_static(name), line.parse().unwrap())).collect()
    }

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn only_codings_that_the_client_accepts_are_sent() {
        let table: &[(&str, &[&str], &str, bool)] = &[
            ("absent", &[], "identity", true),
            ("empty", &[""], "identity", true),
            ("Chromium", &["gzip, deflate, br, zstd"], "br, gzip, zstd", true),
            ("Safari", &["gzip, deflate, br"], "br, gzip", true),
            ("Chromium of a film", &["identity;q=1, *;q=0"], "identity", true),
            ("G29 two lines", &["gzip", "br"], "br, gzip", true),
            ("G29 one", &["gzip"], "gzip", true),
            ("older browsers", &["gzip, deflate"], "gzip", true),
            ("G29 q=0", &["gzip;q=0, identity"], "identity", true),
            ("G29 case", &["GZIP"], "gzip", true),
            ("G29 * with q=0", &["*;q=0, identity"], "identity", true),
            ("RFC 9110 §8.4.1.3 x-gzip", &["x-gzip"], "gzip", true),
            ("RFC 9110 §12.5.3 *", &["*"], "br, gzip, zstd", true),
            ("RFC 9110 §12.5.3 * but not those named", &["gzip;q=0, *"], "br, zstd", true),
            ("RFC 9110 §12.5.3 * refuses those not named", &["zstd, *;q=0"], "zstd", false),
            ("RFC 9110 §12.5.3 identity refused", &["gzip, identity;q=0"], "gzip", false),
            ("RFC 9110 §12.5.3 identity named", &["identity;q=0.1, gzip, *;q=0"], "gzip", true),
            ("RFC 9110 §12.5.3 identity refused, * not", &["identity;q=0, *"], "br, gzip, zstd", false),
            ("all refused: something must be sent", &["*;q=0"], "identity", true),
            ("all refused: something must be sent", &["identity;q=0"], "identity", true),
            ("RFC 9110 §12.4.2 weights", &["br;q=1.000, gzip; Q=0.001 ,zstd ; q=0.000"], "br, gzip", true),
            ("RFC 9110 §12.4.2 unreadable weights", &["br;q=2, gzip;q=, zstd;q=0.0001"], "identity", true),
            ("RFC 9110 §12.4.2 unreadable weights", &["br;q=1.5, gzip;x=1, zstd;q=.5"], "identity", true),
            ("named twice", &["gzip, gzip;q=0, br"], "br", true),
            ("named twice", &["gzip;q=0", "x-gzip"], "identity", true),
            ("* named twice", &["*, *;q=0, br"], "br", false),
            ("others", &["br, compress, dcb"], "br", true),
            ("pairs", &["zstd, br"], "br, zstd", true),
            ("pairs", &["zstd, gzip"], "gzip, zstd", true),
        ];
        for (section, said, class, identity) in table {
            let accepted = Accepted::by(&lines("accept-encoding", said));
            assert_eq!(accepted.class(), *class, "{section}: {said:?}");
            assert_eq!(accepted.takes(Coding::Identity), *identity, "{section}: {said:?}");
            let named: Vec<_> = class.split(", ").filter_map(|name| Coding::named(name.as_bytes())).collect();
            for coding in [Coding::Brotli, Coding::Zstd, Coding::Gzip] {
                assert_eq!(accepted.takes(coding), named.contains(&coding), "{section}: {said:?} {coding:?}");
            }
        }
    }

    #[test]
    fn what_may_be_given_another_coding() {
        assert!(COMPRESSIBLE.is_sorted());
        let of = |from, compressible| Some(Recodable { from, compressible });
        let (kind, coding, control) = ("content-type", "content-encoding", "cache-control");
        type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], Option<Recodable>);
        let table: &[Row<'_>] = &[
            ("text", &[(kind, "text/css; charset=utf-8")], of(Coding::Identity, true)),
            ("in any case", &[(kind, "Application/JSON")], of(Coding::Identity, true)),
            ("a suffix", &[(kind, "image/svg+xml")], of(Coding::Identity, true)),
            ("compressed by its kind", &[(kind, "video/mp4")], None),
            ("compressed by its kind", &[(kind, "font/woff2")], None),
            ("no end", &[(kind, "text/event-stream")], None),
            ("no type", &[], None),
            ("§8.4 coded", &[(kind, "text/css"), (coding, "GZip")], of(Coding::Gzip, true)),
            ("§8.4.1.3 x-gzip", &[(kind, "text/css"), (coding, "x-gzip")], of(Coding::Gzip, true)),
            ("§8.4 coded, whatever it is", &[(kind, "video/mp4"), (coding, "br")], of(Coding::Brotli, false)),
            ("§8.4 coded twice", &[(kind, "text/css"), (coding, "gzip, br")], None),
            ("§8.4 coded twice", &[(kind, "text/css"), (coding, "gzip"), (coding, "gzip")], None),
            ("§8.4 a coding that is not known", &[(kind, "text/css"), (coding, "deflate")], None),
            ("§7.7 forbidden", &[(kind, "text/css"), ("cdn-cache-control", "no-transform")], None),
            ("§7.7 forbidden", &[(kind, "text/css"), (control, "max-age=1, no-transform")], None),
        ];
        for (section, said, want) in table {
            assert_eq!(recodable(StatusCode::OK, &fields(said)), *want, "{section}: {said:?}");
        }
        assert_eq!(recodable(StatusCode::NOT_FOUND, &fields(&[(kind, "text/css")])), None, "a failure");
        let film = Recodable { from: Coding::Gzip, compressible: false };
        assert!(film.may_become(Coding::Identity) && !film.may_become(Coding::Brotli));
        assert!(!film.may_become(Coding::Gzip), "no coding twice");
    }

    #[test]
    fn the_head_says_what_the_bytes_are() {
        let source = fields(&[
            ("content-type", "text/css"),
            ("content-length", "1000"),
            ("content-encoding", "gzip"),
            ("content-md5", "x"),
            ("repr-digest", "sha-256=:x:"),
            ("accept-ranges", "bytes"),
            ("etag", "\"a\""),
        ]);
        let there = recoded(&source, Coding::Brotli, Bytes::There { length: 10, mark: [1, 2, 0xab, 0xff] });
        let want = fields(&[
            ("content-type", "text/css"),
            ("content-length", "10"),
            ("content-encoding", "br"),
            ("accept-ranges", "bytes"),
            ("vary", "Accept-Encoding"),
            ("etag", "\"a-lectern-br-0102abff\""),
        ]);
        assert_eq!(there, want);
        let coming = recoded(&source, Coding::Identity, Bytes::Coming);
        let want = fields(&[
            ("content-type", "text/css"),
            ("accept-ranges", "none"),
            ("vary", "Accept-Encoding"),
            ("etag", "W/\"a-lectern-identity\""),
        ]);
        assert_eq!(coming, want);
    }

    #[test]
    fn vary_names_it_once() {
        for (vary, told) in [
            (&[][..], &["Accept-Encoding"][..]),
            (&["Origin"], &["Origin", "Accept-Encoding"]),
            (&["origin, ACCEPT-encoding"], &["origin, ACCEPT-encoding"]),
            (&["*"], &["*"]),
        ] {
            let mut headers = lines("vary", vary);
            told_in_vary(&mut headers);
            assert_eq!(headers.get_all(header::VARY).iter().collect::<Vec<_>>(), told, "{vary:?}");
        }
    }
}
