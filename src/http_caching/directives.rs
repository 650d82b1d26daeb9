//! Reads `Cache-Control` (RFC 9111 §5.2) and `Pragma` (§5.4). What is doubled, conflicting or unreadable is taken as
//! the stricter of its meanings: never fresher, never more shareable than the sender may have meant.

use super::list::{self, Quotes};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The longest time a directive can say, seconds; more is this (RFC 9111 §1.2.2).
pub const MAX_DELTA: u64 = 1 << 31;

/// What a directive speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fields {
    /// The whole response.
    All,
    /// These fields of it only.
    Named(Vec<HeaderName>),
}

/// What a response says of its storing and reuse (RFC 9111 §5.2.2, RFC 5861, RFC 8246).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// §5.2.2.5
    pub no_store: bool,
    /// §5.2.2.4: [`Fields::All`] means validate before each reuse; named fields must be taken out before storing.
    pub no_cache: Option<Fields>,
    /// §5.2.2.7
    pub private: Option<Fields>,
    /// §5.2.2.9
    pub public: bool,
    /// §5.2.2.1, seconds.
    pub max_age: Option<u64>,
    /// §5.2.2.10, seconds.
    pub s_maxage: Option<u64>,
    /// §5.2.2.2
    pub must_revalidate: bool,
    /// §5.2.2.8
    pub proxy_revalidate: bool,
    /// §5.2.2.3
    pub must_understand: bool,
    /// §5.2.2.6
    pub no_transform: bool,
    /// RFC 8246; means something to browsers only.
    pub immutable: bool,
    /// RFC 5861 §3, seconds.
    pub stale_while_revalidate: Option<u64>,
    /// RFC 5861 §4, seconds.
    pub stale_if_error: Option<u64>,
    /// All this was said by a targeted field ([`targeted`](super::targeted)): `Expires` says nothing then.
    pub targeted: bool,
}

/// What a request says (RFC 9111 §5.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// §5.2.1.5
    pub no_store: bool,
    /// §5.2.1.4, or `Pragma: no-cache` where there is no `Cache-Control`.
    pub no_cache: bool,
    /// §5.2.1.1, seconds.
    pub max_age: Option<u64>,
    /// §5.2.1.2, seconds; without a value [`MAX_DELTA`].
    pub max_stale: Option<u64>,
    /// §5.2.1.3, seconds.
    pub min_fresh: Option<u64>,
    /// §5.2.1.7
    pub only_if_cached: bool,
}

impl Directives {
    /// Reads all `Cache-Control` lines of a response as one list.
    pub fn response(headers: &HeaderMap) -> Directives {
        let mut found = Directives::default();
        for member in list::members(headers, &header::CACHE_CONTROL, Quotes::Escaped) {
            found.add_member(member);
        }
        found
    }

    /// Must this response never be served stale (RFC 9111 §4.2.4)? `s-maxage` includes `proxy-revalidate` (§5.2.2.10).
    pub fn forbid_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some() || self.validate_always()
    }

    /// Must each reuse be validated? True for `no-cache` without field names.
    pub fn validate_always(&self) -> bool {
        self.no_cache == Some(Fields::All)
    }

    /// `Cache-Control` as it says the same to the client's own cache and forbids shared ones to keep the response (§5.2.2.7);
    /// `None`: it says so.
    pub fn made_private(headers: &HeaderMap) -> Option<HeaderValue> {
        let said = Directives::response(headers);
        if said.no_store || said.private == Some(Fields::All) {
            return None;
        }
        let of_shared =
            |member: &&[u8]| ["public", "private", "s-maxage"].iter().any(|word| is(split(member).0, word));
        let members = list::members(headers, &header::CACHE_CONTROL, Quotes::Escaped);
        let others = members.filter(|member| !of_shared(member));
        let told = std::iter::once(&b"private"[..]).chain(others).collect::<Vec<_>>().join(&b", "[..]);
        HeaderValue::from_bytes(&told).ok()
    }

    /// `Cache-Control` in place of the one there is, so that nobody uses what it is said of without asking. Who may have it, and
    /// that it is sent as it is, stays said.
    pub fn made_unsure(headers: &HeaderMap) -> HeaderValue {
        let stays = |member: &&[u8]| {
            ["private", "no-store", "no-transform"].iter().any(|word| is(split(member).0, word))
        };
        let stay = list::members(headers, &header::CACHE_CONTROL, Quotes::Escaped).filter(stays);
        let told = std::iter::once(&b"no-cache"[..]).chain(stay).collect::<Vec<_>>().join(&b", "[..]);
        HeaderValue::from_bytes(&told).unwrap_or(HeaderValue::from_static("no-cache"))
    }

    /// The fields that must not be stored: those that `no-cache` (§5.2.2.4) and `private` (§5.2.2.7) name.
    pub fn unstored_fields(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.no_cache, &self.private].into_iter().flatten().flat_map(|fields| match fields {
            Fields::Named(names) => names.as_slice(),
            Fields::All => &[],
        })
    }

    /// A member with a semicolon or a space in it was meant as several: what forbids in it counts, what allows does
    /// not, and its times are unreadable.
    fn add_member(&mut self, member: &[u8]) {
        let foreign = |b: &u8| matches!(b, b' ' | b'\t' | b';');
        if member.contains(&b'"') || !member.iter().any(foreign) {
            let (name, value) = split(member);
            return self.add(name, value, value.is_none());
        }
        for piece in member.split(foreign) {
            let (name, value) = split(piece);
            self.add(name, value.map(|_| &b""[..]), false);
        }
    }

    /// `allows`: may the directive widen what the cache may do? One that forbids counts with an argument it should
    /// not have; one that allows does not.
    pub(super) fn add(&mut self, name: &[u8], value: Option<&[u8]>, allows: bool) {
        match name {
            n if is(n, "no-store") => self.no_store = true,
            n if is(n, "no-cache") => restrict(&mut self.no_cache, value),
            n if is(n, "private") => restrict(&mut self.private, value),
            n if is(n, "public") => self.public |= allows,
            n if is(n, "max-age") => shorten(&mut self.max_age, value),
            n if is(n, "s-maxage") => shorten(&mut self.s_maxage, value),
            n if is(n, "must-revalidate") => self.must_revalidate = true,
            n if is(n, "proxy-revalidate") => self.proxy_revalidate = true,
            n if is(n, "must-understand") => self.must_understand |= allows,
            n if is(n, "no-transform") => self.no_transform = true,
            n if is(n, "immutable") => self.immutable |= allows,
            n if is(n, "stale-while-revalidate") => shorten(&mut self.stale_while_revalidate, value),
            n if is(n, "stale-if-error") => shorten(&mut self.stale_if_error, value),
            _ => {} // §5.2.3: unknown ones are ignored
        }
    }
}

impl Directives {
    /// Reads the `Cache-Control` and `Pragma` lines of a request.
    pub fn request(headers: &HeaderMap) -> RequestDirectives {
        let mut found = RequestDirectives::default();
        if !headers.contains_key(header::CACHE_CONTROL) {
            found.no_cache = headers.contains_key(header::PRAGMA)
                && list::members(headers, &header::PRAGMA, Quotes::Escaped).any(|m| is(m, "no-cache"));
            return found;
        }
        for member in list::members(headers, &header::CACHE_CONTROL, Quotes::Escaped) {
            let (name, value) = split(member);
            match name {
                n if is(n, "no-store") => found.no_store = true,
                n if is(n, "no-cache") => found.no_cache = true,
                n if is(n, "max-age") => shorten(&mut found.max_age, value),
                n if is(n, "max-stale") && value.is_none() => {
                    found.max_stale = Some(found.max_stale.unwrap_or(MAX_DELTA));
                }
                n if is(n, "max-stale") => shorten(&mut found.max_stale, value),
                n if is(n, "min-fresh") => {
                    let asked = seconds(value).unwrap_or(MAX_DELTA);
                    found.min_fresh = Some(found.min_fresh.map_or(asked, |known| known.max(asked)));
                }
                n if is(n, "only-if-cached") => found.only_if_cached = true,
                _ => {}
            }
        }
        found
    }
}

fn is(name: &[u8], word: &str) -> bool {
    name.eq_ignore_ascii_case(word.as_bytes())
}

/// Name and raw argument.
fn split(member: &[u8]) -> (&[u8], Option<&[u8]>) {
    match member.iter().position(|&b| b == b'=') {
        None => (member, None),
        Some(at) => (&member[..at], Some(&member[at + 1..])),
    }
}

/// The content of a quoted string, or the token as it is (§5.2: both forms are accepted). A backslash in it is left:
/// no value read here may hold one.
fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        token => token,
    }
}

fn seconds(value: Option<&[u8]>) -> Option<u64> {
    list::number(unquote(value?), MAX_DELTA)
}

/// The shorter of two times; one that cannot be read is no time at all.
fn shorten(known: &mut Option<u64>, value: Option<&[u8]>) {
    let said = seconds(value).unwrap_or(0);
    *known = Some(known.map_or(said, |known| known.min(said)));
}

/// Adds field names; no names, or one that is none, means the whole response.
fn restrict(known: &mut Option<Fields>, value: Option<&[u8]>) {
    let named: Option<Vec<HeaderName>> = value.and_then(|value| {
        list::Members { rest: unquote(value), quotes: Quotes::Escaped }
            .map(|name| HeaderName::from_bytes(name).ok())
            .collect()
    });
    *known = Some(match (known.take(), named) {
        (Some(Fields::All), _) | (_, None) => Fields::All,
        (_, Some(names)) if names.is_empty() => Fields::All,
        (None, Some(names)) => Fields::Named(names),
        (Some(Fields::Named(mut before)), Some(names)) => {
            before.extend(names);
            Fields::Named(before)
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{Directives, Fields, MAX_DELTA, RequestDirectives};
    use http::{HeaderMap, HeaderName, header};

    fn lines(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (header::CACHE_CONTROL, line.parse().unwrap())).collect()
    }

    fn named(names: &[&'static str]) -> Option<Fields> {
        Some(Fields::Named(names.iter().map(|name| HeaderName::from_static(name)).collect()))
    }

    #[test]
    fn a_response_means_the_stricter_of_what_it_may_mean() {
        let none = Directives::default;
        let age = |secs| Directives { max_age: Some(secs), ..none() };
        let no_store = || Directives { no_store: true, ..none() };
        let no_cache = |fields| Directives { no_cache: fields, ..none() };
        let private = |fields| Directives { private: fields, ..none() };
        let all = Some(Fields::All);
        let table: &[(&str, &[&str], Directives)] = &[
            ("§5.2.2.1 max-age", &["max-age=3600"], age(3600)),
            ("§5.2 names are case-insensitive", &["MaX-AgE=3600"], age(3600)),
            ("§5.2 token and quoted-string are both accepted", &["max-age=\"3600\""], age(3600)),
            ("§5.2 single quotes are no quotes", &["max-age='3600'"], age(0)),
            ("§5.2.3 unknown directives are ignored", &["foobar, max-age=7"], age(7)),
            ("§5.2 a directive inside a quoted string is none", &["ext=\"max-age=100\", max-age=1"], age(1)),
            ("§5.2 a directive inside a quoted string is none", &["max-age=9, ext=\"max-age=1\""], age(9)),
            ("§5.2 an escaped quote does not end it", &[r#"ext="\",no-store""#], none()),
            ("§4.2.1 of two values the response is stale sooner", &["max-age=1800, max-age=1"], age(1)),
            ("§4.2.1 of two values, on two lines", &["max-age=1", "max-age=1800"], age(1)),
            ("§4.2.1 invalid freshness is stale", &["max-age=a100"], age(0)),
            ("§4.2.1 invalid freshness is stale", &["max-age=100a"], age(0)),
            ("§4.2.1 invalid freshness is stale", &["max-age=-100"], age(0)),
            ("§4.2.1 invalid freshness is stale", &["max-age=3600.0"], age(0)),
            ("§4.2.1 invalid freshness is stale", &["max-age"], age(0)),
            ("§4.2.1 invalid freshness is stale", &["max-age="], age(0)),
            ("§4.2.1 one of two is invalid", &["max-age=60, max-age=x"], age(0)),
            ("§5.2 no space before =", &["max-age =100"], age(0)),
            ("§5.2 no space after =", &["max-age= 100"], age(0)),
            ("§1.2.2 leading zeros", &["max-age=003600"], age(3600)),
            ("§1.2.2 more than 2^31 is 2^31", &["max-age=99999999999999999999"], age(MAX_DELTA)),
            ("§5.2.2.10 s-maxage", &["s-maxage=5"], Directives { s_maxage: Some(5), ..none() }),
            ("§5.2.2.5 no-store", &["public", "No-Store"], Directives { public: true, ..no_store() }),
            ("§5.2.2.5 no-store with an argument forbids", &["no-store=1"], no_store()),
            ("§5.2.2.9 public with an argument allows nothing", &["public=1"], none()),
            (
                "§5.2.2.3 must-understand",
                &["must-understand"],
                Directives { must_understand: true, ..none() },
            ),
            ("§5.2.2.4 no-cache", &["no-cache"], no_cache(all.clone())),
            ("§5.2.2.4 with names", &["no-cache=\"A, b\""], no_cache(named(&["a", "b"]))),
            ("§5.2.2.4 a name as a token", &["no-cache=set-cookie"], no_cache(named(&["set-cookie"]))),
            ("§5.2.2.4 names on two lines", &["no-cache=a", "no-cache=b"], no_cache(named(&["a", "b"]))),
            ("§5.2.2.4 the whole is stricter", &["no-cache=\"a\", no-cache"], no_cache(all.clone())),
            ("§5.2.2.4 the whole is stricter", &["no-cache, no-cache=\"a\""], no_cache(all.clone())),
            ("§5.2.2.4 no name is the whole", &["no-cache=\"\""], no_cache(all.clone())),
            ("§5.2.2.4 a name that is none is the whole", &["no-cache=\"a b\""], no_cache(all.clone())),
            ("§5.2.2.7 private", &["private"], private(all.clone())),
            ("§5.2.2.7 with names", &["private=\"x\""], private(named(&["x"]))),
            ("a quote never closed hides nothing", &["ext=\"a, no-store"], no_store()),
            ("semicolons do not hide what forbids", &["x;no-store; y"], no_store()),
            ("semicolons allow nothing", &["public; max-age=600"], age(0)),
            (
                "spaces do not hide what forbids",
                &["no-cache no-store"],
                Directives { no_store: true, ..no_cache(all) },
            ),
            (
                "the rest",
                &["must-revalidate, proxy-revalidate, no-transform, immutable"],
                Directives {
                    must_revalidate: true,
                    proxy_revalidate: true,
                    no_transform: true,
                    immutable: true,
                    ..none()
                },
            ),
            (
                "RFC 5861 §3, §4",
                &["stale-while-revalidate=3, stale-if-error=x"],
                Directives { stale_while_revalidate: Some(3), stale_if_error: Some(0), ..none() },
            ),
        ];
        for (section, cache_control, want) in table {
            assert_eq!(Directives::response(&lines(cache_control)), *want, "{section}: {cache_control:?}");
        }
    }

    #[test]
    fn stale_is_forbidden_by_five_directives() {
        for (section, line, want) in [
            ("§5.2.2.2", "must-revalidate", true),
            ("§5.2.2.8", "proxy-revalidate", true),
            ("§5.2.2.10 has the meaning of proxy-revalidate", "s-maxage=1", true),
            ("§5.2.2.4", "no-cache", true),
            ("§5.2.2.4 names speak of the fields only", "no-cache=\"a\"", false),
            ("§4.2.4", "max-age=1", false),
        ] {
            assert_eq!(Directives::response(&lines(&[line])).forbid_stale(), want, "{section}");
        }
    }

    #[test]
    fn a_request_says_what_it_takes() {
        let none = RequestDirectives::default;
        type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], RequestDirectives);
        let table: &[Row<'_>] = &[
            ("nothing", &[], none()),
            ("§5.2.1.1", &[("cache-control", "max-age=0")], RequestDirectives { max_age: Some(0), ..none() }),
            (
                "§5.2.1.2 with a value",
                &[("cache-control", "max-stale=5")],
                RequestDirectives { max_stale: Some(5), ..none() },
            ),
            (
                "§5.2.1.2 any staleness",
                &[("cache-control", "max-stale")],
                RequestDirectives { max_stale: Some(MAX_DELTA), ..none() },
            ),
            (
                "§5.2.1.2 the stricter",
                &[("cache-control", "max-stale=5, max-stale")],
                RequestDirectives { max_stale: Some(5), ..none() },
            ),
            (
                "§5.2.1.3 the stricter",
                &[("cache-control", "min-fresh=5, min-fresh=9")],
                RequestDirectives { min_fresh: Some(9), ..none() },
            ),
            ("§5.2.1.4, §5.2.1.5, §5.2.1.7", &[("cache-control", "no-cache, no-store, ONLY-if-cached")], {
                RequestDirectives { no_cache: true, no_store: true, only_if_cached: true, ..none() }
            }),
            ("§5.4", &[("pragma", "no-cache")], RequestDirectives { no_cache: true, ..none() }),
            (
                "§5.4 among others",
                &[("pragma", "x=1, No-Cache")],
                RequestDirectives { no_cache: true, ..none() },
            ),
            ("§5.4 not beside Cache-Control", &[("pragma", "no-cache"), ("cache-control", "x")], none()),
        ];
        for (section, fields, want) in table {
            let headers =
                fields.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect();
            assert_eq!(Directives::request(&headers), *want, "{section}");
        }
    }
}
