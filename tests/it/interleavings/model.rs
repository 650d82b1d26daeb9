//! What the edge may do, told from outside: who asked when, what the origin read when and said when, what was purged when;
//! and what follows from that for each request at the origin and for each answer.
//!
//! Moments are numbers that only grow. What the edge decides lies between two of them, so a claim holds only for what
//! surely was before or after: of a race both orders are right.

use std::collections::HashMap;

use crate::support::message::{End, Reply, Request};
use crate::support::origin::Seen;

/// A number that grows with each event.
pub(super) type Moment = u64;

/// What the key of a stored response is made of here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Resource {
    /// `a`, or `theme`, which two sites share.
    pub(super) scope: &'static str,
    pub(super) path: &'static str,
    pub(super) query: Option<&'static str>,
}

/// The fields that an answer may be chosen by. The second is one that no fill carries unless it is known to select.
pub(super) const SELECTING: [&str; 2] = ["accept-language", "sec-ch-ua-mobile"];

/// The values of the selecting fields; empty: not sent.
pub(super) type Values = [&'static str; 2];

/// What a client asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) method: &'static str,
    pub(super) host: &'static str,
    pub(super) resource: Resource,
    pub(super) values: Values,
    pub(super) cookie: bool,
    /// A field of its own, which a fill does not carry.
    pub(super) own: bool,
    /// First and last byte.
    pub(super) range: Option<(usize, usize)>,
}

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// For everybody, fresh for ten minutes.
    Public,
    /// Fresh for ten minutes, and not for whom: for everybody only if no cookie was sent.
    Plain,
    /// For everybody, stale when it comes.
    Stale,
    /// 304, fresh for ten minutes.
    NotModified,
    /// 304, stale when it comes.
    NotModifiedStale,
    NoStore,
    Private,
    SetCookie,
    VaryCookie,
    /// 503.
    Busy,
    /// Nothing: the connection ends.
    HangUp,
    /// 204, to a POST.
    Done,
    /// 409, to a POST.
    Conflict,
}

/// A head as it is told, and how its body goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) says: Says,
    /// Which of the selecting fields it names, as bits.
    pub(super) vary: u8,
    pub(super) chunked: bool,
    /// The first half of the body, and the rest when told.
    pub(super) halves: bool,
    /// A range is answered by the whole.
    pub(super) ignores_range: bool,
    /// A part is sent whatever validator it was asked for by, as real origins do.
    pub(super) ignores_if_range: bool,
}

/// What the origin sends.
pub(super) struct Sent {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) chunked: bool,
}

pub(super) struct Asked {
    pub(super) wish: Wish,
    pub(super) epoch: usize,
    /// Before its head was sent.
    pub(super) at: Moment,
    /// When the head of its answer was there.
    pub(super) head: Option<Moment>,
    /// When its answer had ended, or the client left.
    pub(super) ended: Option<Moment>,
    /// How the edge counts it; none where the client left, which the edge may see or not.
    outcome: Option<&'static str>,
}

pub(super) struct Exchange {
    /// The request whose trace it carries.
    pub(super) cause: usize,
    pub(super) resource: Resource,
    method: String,
    epoch: usize,
    /// It goes by a relay: for its cause only.
    pub(super) relay: bool,
    values: Values,
    cookie: bool,
    range: Option<(usize, usize)>,
    if_range: Option<String>,
    /// The validator it asks about.
    about: Option<String>,
    /// When the origin read its content, and what stood there.
    at: Moment,
    version: u64,
    pub(super) told: Option<(Moment, Told)>,
    /// By when the edge surely had the head.
    settled: Option<Moment>,
    /// When the body had ended, whole or not.
    ended: Option<Moment>,
    cut: bool,
    /// When the peer left before the end.
    gone: Option<Moment>,
}

/// What makes earlier content outdated.
struct Record {
    kind: Kind,
    /// What it covers may serve where a rule lets what is stale serve.
    soft: bool,
    /// What comes after it goes once more, some time later.
    settles: bool,
    /// Before the edge could know of it; after the edge had acknowledged it.
    from: Moment,
    to: Option<Moment>,
    epoch: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Url { scope: &'static str, path: &'static str, query: Option<Option<&'static str>> },
    Prefix { scope: &'static str, path: &'static str },
    Tag { scope: &'static str, tag: &'static str },
    Module { scope: &'static str, module: &'static str },
    Site { scope: &'static str },
    All,
    Unsafe(Resource),
}

/// A purge as operations ask for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purge {
    Url,
    ExactUrl,
    /// Of the first segment of the path.
    Prefix,
    /// Of the last segment of the path, by which the origin names what it sends.
    Tag,
    /// Of the same as a rule names it; of the prefix where none speaks.
    Module,
    Site,
    All,
}

/// The whole of it.
pub(super) struct Model {
    now: Moment,
    pub(super) epoch: usize,
    pub(super) asked: Vec<Asked>,
    pub(super) exchanges: Vec<Exchange>,
    records: Vec<Record>,
    pub(super) purges: u64,
    versions: HashMap<Resource, u64>,
    /// Ends of the edge: when it was told to end, per epoch.
    stops: Vec<Moment>,
    /// The first epoch since which it ended in order each time: what is on its disk is what it knew.
    in_order_since: usize,
    /// What is stored outlives the edge.
    pub(super) disk: bool,
    /// Requests the origin may be asked at once.
    pub(super) places: usize,
    pub(super) log: Vec<String>,
    pub(super) wrong: Vec<String>,
}

impl Resource {
    pub(super) fn target(&self) -> String {
        self.query.map_or_else(|| self.path.to_owned(), |query| format!("{}?{query}", self.path))
    }

    /// The last segment of its path, where a rule speaks.
    pub(super) fn module(&self) -> Option<&'static str> {
        (!self.path.starts_with("/o/")).then_some(self.tag())
    }

    /// The first segment of its path.
    pub(super) fn prefix(&self) -> &'static str {
        &self.path[..2]
    }

    /// The last one, by which the origin names it.
    pub(super) fn tag(&self) -> &'static str {
        &self.path[3..]
    }

    /// A rule lets what is stale serve there.
    fn has_windows(&self) -> bool {
        self.path.starts_with("/w/")
    }

    /// Bytes of its shortest version.
    pub(super) fn length(&self) -> usize {
        match self.path {
            "/o/film" => 1_600_000,
            "/o/long" => 600_000,
            "/w/page" => 40_000,
            _ => 900,
        }
    }
}

impl Wish {
    pub(super) fn request(&self, number: usize) -> Request {
        let trace = format!("00-{:032x}-00000000000000a1-01", number + 1);
        let mut request = Request::new(self.method, &self.resource.target()).host(self.host);
        request = request.field("traceparent", &trace);
        for (name, value) in SELECTING.iter().zip(self.values).filter(|(_, value)| !value.is_empty()) {
            request = request.field(name, value);
        }
        if self.cookie {
            request = request.field("Cookie", &format!("session={number}"));
        }
        if self.own {
            request = request.field("X-Requested-With", "XMLHttpRequest");
        }
        if let Some((first, last)) = self.range {
            request = request.field("Range", &format!("bytes={first}-{last}"));
        }
        if self.method == "POST" { request.body("answer=42") } else { request }
    }
}

impl Says {
    /// It may be for others; `cookie`: one was sent.
    fn shared(self, cookie: bool) -> bool {
        match self {
            Says::Public | Says::NotModified => true,
            Says::Plain => !cookie,
            _ => false,
        }
    }

    fn fields(self, exchange: usize) -> String {
        match self {
            Says::Public | Says::NotModified => "Cache-Control: public, max-age=600\r\n".into(),
            Says::Plain => "Cache-Control: max-age=600\r\n".into(),
            Says::Stale | Says::NotModifiedStale => "Cache-Control: public, max-age=10\r\nAge: 20\r\n".into(),
            Says::NoStore => "Cache-Control: no-store\r\n".into(),
            Says::Private => "Cache-Control: private, max-age=600\r\n".into(),
            Says::SetCookie => {
                format!("Cache-Control: public, max-age=600\r\nSet-Cookie: session={exchange}\r\n")
            }
            Says::VaryCookie => "Cache-Control: public, max-age=600\r\nVary: Cookie\r\n".into(),
            Says::Busy | Says::HangUp | Says::Done | Says::Conflict => String::new(),
        }
    }
}

/// The values that fields named by `vary` have; empty for the others.
fn chosen(vary: u8, values: Values) -> Values {
    let mut chosen = values;
    for (bit, value) in chosen.iter_mut().enumerate() {
        if vary & (1 << bit) == 0 {
            *value = "";
        }
    }
    chosen
}

/// A number that no other content of the test has.
fn digest(resource: Resource, version: u64, vary: u8, values: Values) -> u64 {
    let text = format!("{resource:?} {version} {vary} {:?}", chosen(vary, values));
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn etag(resource: Resource, version: u64, vary: u8, values: Values) -> String {
    format!("\"{version}.{vary}.{:x}\"", digest(resource, version, vary, values))
}

/// Bytes each line of which names what it is of and where it stands.
fn content(resource: Resource, version: u64, vary: u8, values: Values) -> Vec<u8> {
    let digest = digest(resource, version, vary, values);
    // Some versions differ in length and some do not, so that a mixture shows by its end or by its bytes alone.
    let length = resource.length() + version as usize / 3 % 4 * 13;
    let mut bytes = Vec::with_capacity(length + 64);
    for line in 0.. {
        if bytes.len() >= length {
            break;
        }
        bytes.extend_from_slice(format!("{digest:016x} {line:08x} {:37}\n", "").as_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn range(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().unwrap_or(usize::MAX)))
}

impl Model {
    pub(super) fn new(places: usize, disk: bool) -> Model {
        Model {
            now: 0,
            epoch: 0,
            asked: Vec::new(),
            exchanges: Vec::new(),
            records: Vec::new(),
            purges: 0,
            versions: HashMap::new(),
            stops: Vec::new(),
            in_order_since: 0,
            disk,
            places,
            log: Vec::new(),
            wrong: Vec::new(),
        }
    }

    fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.log.push(format!("{:5}   {text}", self.now));
    }

    fn wrong(&mut self, text: String) {
        self.note(format!("WRONG: {text}"));
        self.wrong.push(text);
    }

    // --- what happens at the clients

    pub(super) fn asks(&mut self, wish: Wish) -> usize {
        let (at, epoch, number) = (self.tick(), self.epoch, self.asked.len());
        self.asked.push(Asked { wish, epoch, at, head: None, ended: None, outcome: None });
        let Wish { method, host, resource, values, cookie, own, range } = wish;
        let more = [cookie.then_some("cookie"), own.then_some("own field")];
        let more: Vec<&str> = more.into_iter().flatten().collect();
        self.note(format!("r{number} {method} {host}{} {values:?} {more:?} {range:?}", resource.target()));
        number
    }

    /// The head of an answer is there.
    pub(super) fn head(&mut self, number: usize, reply: &Reply) {
        let now = self.tick();
        self.asked[number].head = Some(now);
        if let Some(exchange) = self.source(reply) {
            let exchange = &mut self.exchanges[exchange];
            exchange.settled.get_or_insert(now);
        }
        self.unsafe_acknowledged(number, reply.status);
    }

    fn source(&self, reply: &Reply) -> Option<usize> {
        let number = reply.field("x-exchange")?.parse::<usize>().ok()?;
        (number < self.exchanges.len()).then_some(number)
    }

    /// A client got all of an answer that it will get.
    pub(super) fn ends(&mut self, number: usize, reply: &Reply) {
        let now = self.tick();
        self.asked[number].ended = Some(now);
        let source = self.source(reply).map_or("nothing".to_owned(), |source| format!("e{source}"));
        let end = if reply.clean() { "whole" } else { "broken" };
        let status = reply.field("cache-status").unwrap_or_default();
        self.note(format!("r{number} has {} of {source}, {end}; {status}", reply.status));
        if let Err(why) = self.judge(number, reply) {
            self.wrong(format!("r{number}: {why}\n{reply}"));
        }
        self.asked[number].outcome = Some(outcome(reply));
    }

    /// A client left before the end of its answer.
    pub(super) fn leaves(&mut self, number: usize) {
        let now = self.tick();
        self.asked[number].ended = Some(now);
        self.note(format!("r{number} leaves"));
    }

    /// A connection that was not taken: the request was never there.
    pub(super) fn lost(&mut self, number: usize) {
        let now = self.tick();
        self.asked[number].ended = Some(now);
        let (at, epoch) = (self.asked[number].at, self.asked[number].epoch);
        if self.stops.get(epoch).is_none() {
            self.wrong(format!("r{number}: no connection, asked at {at}"));
        }
    }

    // --- what happens at the origin

    pub(super) fn arrives(&mut self, seen: &Seen) -> usize {
        let (at, number) = (self.tick(), self.exchanges.len());
        let trace = seen.field("traceparent").and_then(|text| text.split('-').nth(1)).unwrap_or_default();
        let cause = usize::from_str_radix(trace, 16).unwrap_or(0).wrapping_sub(1);
        assert!(cause < self.asked.len(), "a request of nobody: {seen:?}");
        let Asked { wish, epoch, .. } = self.asked[cause];
        let value = |name: &str| seen.all(name).join(", ");
        let known = ["", "de", "en", "?0", "?1"];
        let values =
            SELECTING.map(|name| known.into_iter().find(|known| *known == value(name)).unwrap_or("?"));
        let exchange = Exchange {
            cause,
            resource: wish.resource,
            method: seen.method.clone(),
            epoch,
            relay: seen.field("x-forwarded-for").is_some(),
            values,
            cookie: seen.field("cookie").is_some(),
            range: seen.field("range").and_then(range),
            if_range: seen.field("if-range").map(str::to_owned),
            about: seen.field("if-none-match").map(str::to_owned),
            at,
            version: *self.versions.get(&wish.resource).unwrap_or(&0),
            told: None,
            settled: None,
            ended: None,
            cut: false,
            gone: None,
        };
        let how = if exchange.relay { "relay" } else { "fill" };
        let Exchange { version, cookie, about, .. } = &exchange;
        self.note(format!(
            "e{number} {how} for r{cause} {} {values:?} version {version} cookie {cookie} about {about:?}",
            seen.method
        ));
        self.exchanges.push(exchange);
        if seen.target != wish.resource.target() {
            self.wrong(format!("e{number}: r{cause} did not ask for {}", seen.target));
        }
        self.judge_arrival(number);
        number
    }

    /// May an answer to it be 304? Then also which fields that validator was chosen by.
    pub(super) fn may_confirm(&self, number: usize) -> Option<u8> {
        self.still_names(number, self.exchanges[number].about.as_deref()?)
    }

    /// Does it ask for the rest of what the origin still has? Then also which fields that was chosen by.
    pub(super) fn may_go_on(&self, number: usize) -> Option<u8> {
        self.still_names(number, self.exchanges[number].if_range.as_deref()?)
    }

    fn still_names(&self, number: usize, tag: &str) -> Option<u8> {
        let Exchange { resource, version, values, .. } = self.exchanges[number];
        let vary = tag.split('.').nth(1)?.parse::<u8>().ok()?;
        (tag == etag(resource, version, vary, values)).then_some(vary)
    }

    /// The origin tells a head; what it sends.
    pub(super) fn tells(&mut self, number: usize, told: Told) -> Sent {
        let now = self.tick();
        let exchange = &mut self.exchanges[number];
        exchange.told = Some((now, told));
        let Exchange { resource, version, values, cause, range, if_range, .. } = exchange;
        let tag = etag(*resource, *version, told.vary, *values);
        let named: Vec<&str> = SELECTING
            .iter()
            .enumerate()
            .filter(|(bit, _)| told.vary & (1 << bit) != 0)
            .map(|(_, name)| *name)
            .collect();
        let mut body = content(*resource, *version, told.vary, *values);
        let mut fields = format!("X-Exchange: {number}\r\nConnection: close\r\n{}", told.says.fields(number));
        if !named.is_empty() {
            fields += &format!("Vary: {}\r\n", named.join(", "));
        }
        let mut status = match told.says {
            Says::NotModified | Says::NotModifiedStale => 304,
            Says::Busy => 503,
            Says::Done => 204,
            Says::Conflict => 409,
            _ => 200,
        };
        match status {
            200 | 304 => {
                let named = resource.tag();
                fields +=
                    &format!("ETag: {tag}\r\nContent-Type: text/plain\r\nSurrogate-Key: {named} any\r\n");
            }
            204 => body.clear(),
            _ => body = format!("{status}\n").into_bytes(),
        }
        let bound = told.ignores_if_range || if_range.as_ref().is_none_or(|wanted| *wanted == tag);
        if let Some((first, last)) = range.filter(|(first, _)| *first < body.len())
            && status == 200
            && bound
            && !told.ignores_range
        {
            status = 206;
            let last = last.min(body.len() - 1);
            fields += &format!("Content-Range: bytes {first}-{last}/{}\r\n", body.len());
            body = body[first..=last].to_vec();
        }
        let chunked = told.chunked && status == 200;
        match status {
            204 | 304 => body.clear(),
            _ if chunked => fields += "Transfer-Encoding: chunked\r\n",
            _ => fields += &format!("Content-Length: {}\r\n", body.len()),
        }
        if exchange.method == "HEAD" {
            body.clear();
        }
        if exchange.method == "POST" && told.says == Says::Done {
            let (resource, epoch) = (*resource, exchange.epoch);
            let kind = Kind::Unsafe(resource);
            self.records.push(Record { kind, soft: false, settles: false, from: now, to: None, epoch });
        }
        if matches!(told.says, Says::HangUp | Says::NotModified | Says::NotModifiedStale) {
            exchange.ended = Some(now);
        }
        let cause = *cause;
        self.note(format!(
            "e{number} (r{cause}) is told {status} {:?} vary {} chunked {chunked}",
            told.says, told.vary
        ));
        let head = match told.says {
            Says::HangUp => Vec::new(),
            _ => format!("HTTP/1.1 {status} Told\r\n{fields}\r\n").into_bytes(),
        };
        Sent { head, body, chunked }
    }

    /// The last byte is on its way, or the connection was cut.
    pub(super) fn body_ends(&mut self, number: usize, cut: bool) {
        let now = self.tick();
        let exchange = &mut self.exchanges[number];
        exchange.ended = Some(now);
        exchange.cut = cut;
        self.note(format!("e{number} ends, cut {cut}"));
    }

    /// The edge took all of it and closed, so it had the head.
    pub(super) fn taken(&mut self, number: usize) {
        let now = self.tick();
        let bodiless = matches!(
            self.exchanges[number].told,
            Some((_, Told { says: Says::NotModified | Says::NotModifiedStale | Says::HangUp, .. }))
        );
        if !bodiless {
            self.exchanges[number].settled.get_or_insert(now);
        }
    }

    /// The edge left before the end.
    pub(super) fn abandoned(&mut self, number: usize) {
        let now = self.tick();
        self.exchanges[number].gone = Some(now);
        self.note(format!("e{number} is abandoned"));
    }

    // --- what operations do

    pub(super) fn publishes(&mut self, resource: Resource) {
        self.tick();
        *self.versions.entry(resource).or_default() += 1;
        self.note(format!("{} of {} has a new version", resource.target(), resource.scope));
    }

    /// A purge that covers this resource begins.
    pub(super) fn purges(&mut self, resource: Resource, purge: Purge, soft: bool, settles: bool) -> usize {
        let (from, Resource { scope, path, query }) = (self.tick(), resource);
        let kind = match purge {
            Purge::Url => Kind::Url { scope, path, query: None },
            Purge::ExactUrl => Kind::Url { scope, path, query: Some(query) },
            Purge::Prefix => Kind::Prefix { scope, path: resource.prefix() },
            Purge::Module => match resource.module() {
                Some(module) => Kind::Module { scope, module },
                None => Kind::Prefix { scope, path: resource.prefix() },
            },
            Purge::Tag => Kind::Tag { scope, tag: resource.tag() },
            Purge::Site => Kind::Site { scope },
            Purge::All => Kind::All,
        };
        self.purges += 1;
        self.note(format!("purge of {scope} {path} {query:?} by {purge:?} soft {soft} settles {settles}"));
        self.records.push(Record { kind, soft, settles, from, to: None, epoch: self.epoch });
        self.records.len() - 1
    }

    pub(super) fn purged(&mut self, record: usize) {
        self.records[record].to = Some(self.tick());
        self.note("purged");
    }

    fn unsafe_acknowledged(&mut self, number: usize, status: u16) {
        let Asked { wish, at, .. } = self.asked[number];
        if wish.method != "POST" || status != 204 {
            return;
        }
        let now = self.now;
        let of = |record: &&mut Record| {
            matches!(record.kind, Kind::Unsafe(resource) if resource == wish.resource)
                && record.to.is_none()
                && record.from > at
        };
        if let Some(record) = self.records.iter_mut().find(of) {
            record.to = Some(now);
        }
    }

    /// The edge is told to end, or is killed.
    pub(super) fn edge_ends(&mut self, in_order: bool) {
        let now = self.tick();
        self.stops.push(now);
        if !in_order {
            self.in_order_since = self.epoch + 1;
        }
        self.note(format!("the edge ends, in order {in_order}"));
    }

    pub(super) fn edge_begins(&mut self) {
        self.tick();
        self.epoch += 1;
        self.note("the edge begins");
    }

    // --- what follows

    /// Was all that was read at the origin at `read` surely outdated for a request that came at `asked`?
    fn outdated(&self, resource: Resource, read: Moment, asked: Moment, epoch: usize) -> Option<Moment> {
        self.outdating(resource, read, asked, epoch).next().map(|record| record.from)
    }

    /// The records by which it was.
    fn outdating(
        &self,
        resource: Resource,
        read: Moment,
        asked: Moment,
        epoch: usize,
    ) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| {
            self.covers(record, resource, epoch)
                && !(record.soft && resource.has_windows())
                && read < record.from
                && record.to.is_some_and(|to| to < asked)
        })
    }

    /// May a record have come between?
    fn may_be_covered(&self, resource: Resource, from: Moment, to: Moment, epoch: usize) -> bool {
        let between =
            |record: &Record| record.from < to && (record.settles || record.to.is_none_or(|end| end > from));
        self.records.iter().any(|record| self.covers(record, resource, epoch) && between(record))
    }

    /// Is a record about a resource, for what the edge does in this epoch? Unsafe methods mark what is stored: where that
    /// ends with the edge so does the mark, and with a kill it may.
    fn covers(&self, record: &Record, resource: Resource, epoch: usize) -> bool {
        match record.kind {
            Kind::Url { scope, path, query } => {
                scope == resource.scope
                    && path == resource.path
                    && query.is_none_or(|query| query == resource.query)
            }
            Kind::Prefix { scope, path } => scope == resource.scope && path == resource.prefix(),
            Kind::Tag { scope, tag } => scope == resource.scope && tag == resource.tag(),
            Kind::Module { scope, module } => scope == resource.scope && resource.module() == Some(module),
            Kind::Site { scope } => scope == resource.scope,
            Kind::All => true,
            Kind::Unsafe(of) => {
                let known = record.epoch == epoch || (self.disk && record.epoch >= self.in_order_since);
                of == resource && known
            }
        }
    }

    fn judge(&self, number: usize, reply: &Reply) -> Result<(), String> {
        let Asked { wish, at, epoch, .. } = self.asked[number];
        let stopped = self.stops.get(epoch).is_some();
        let Some(source) = self.source(reply) else {
            return if stopped || self.may_fail(number, reply.status) {
                Ok(())
            } else {
                Err("an answer of nobody's, though no exchange failed".into())
            };
        };
        let exchange = &self.exchanges[source];
        let Exchange { resource, version, values, cookie, cause, .. } = *exchange;
        let Some((_, told)) = exchange.told else { return Err(format!("e{source} was told no head")) };
        if resource != wish.resource {
            return Err(format!("e{source} is of {resource:?}"));
        }
        if let Some(record) = self.outdated(resource, exchange.at, at, epoch) {
            return Err(format!(
                "e{source} was read at {}, outdated at {record}, and the request came at {at}",
                exchange.at
            ));
        }
        if cause != number {
            let stale = matches!(told.says, Says::Stale | Says::NotModifiedStale) && resource.has_windows();
            if exchange.relay || !(told.says.shared(cookie) || stale) {
                return Err(format!(
                    "e{source} ({:?}, relay {}) is for r{cause} only",
                    told.says, exchange.relay
                ));
            }
        }
        if told.says.status() != 200 {
            return match (reply.clean(), reply.status == told.says.status()) {
                (true, true) => Ok(()),
                _ if stopped || exchange.cut => Ok(()),
                _ => Err(format!("e{source} said {:?}", told.says)),
            };
        }
        if !exchange.is_for(wish.values) {
            return Err(format!(
                "e{source} is for {values:?} by {}, the request has {:?}",
                told.vary, wish.values
            ));
        }
        let tag = etag(resource, version, told.vary, values);
        if reply.field("etag") != Some(&tag) {
            return Err(format!("e{source} has the validator {tag}"));
        }
        let content = content(resource, version, told.vary, values);
        self.judge_body(reply, wish, &content, told.chunked)?;
        if reply.clean()
            || stopped
            || exchange.cut
            || (exchange.range.is_some() && self.asked_for_rest(number))
        {
            Ok(())
        } else {
            Err(format!("e{source} came whole and its answer broke off"))
        }
    }

    /// Was the origin asked for missing bytes of its resource while it was answered? If they do not come, it breaks off.
    fn asked_for_rest(&self, number: usize) -> bool {
        let Asked { wish, at, .. } = self.asked[number];
        self.exchanges.iter().any(|exchange| {
            let over = exchange.ended.or(exchange.gone);
            exchange.resource == wish.resource
                && exchange.if_range.is_some()
                && over.is_none_or(|over| over > at)
        })
    }

    /// `growing`: its length may not have been known when the head was sent.
    fn judge_body(&self, reply: &Reply, wish: Wish, content: &[u8], growing: bool) -> Result<(), String> {
        let wanted = match (reply.status, wish.range) {
            _ if wish.method == "HEAD" => &content[..0],
            (200, _) => content,
            (206, Some((first, last))) => {
                let last = last.min(content.len() - 1);
                let told = format!("bytes {first}-{last}/{}", content.len());
                let open = format!("bytes {first}-{last}/*");
                let range = reply.field("content-range").unwrap_or_default();
                if range != told && !(growing && range == open) {
                    return Err(format!("not {told}"));
                }
                &content[first..=last]
            }
            _ => return Err("a status that nobody told".into()),
        };
        match reply.clean() {
            true if reply.body != wanted => Err(format!("not the {} bytes that were told", wanted.len())),
            false if !wanted.starts_with(&reply.body) => Err("bytes that were not told".into()),
            _ => Ok(()),
        }
    }

    /// May a request have got an error of the edge's own, or no head at all?
    fn may_fail(&self, number: usize, status: u16) -> bool {
        let Asked { wish, at, .. } = self.asked[number];
        // The head may not have left the edge when its body broke off.
        let cut = |exchange: &Exchange| {
            exchange.cut
                && exchange.resource == wish.resource
                && exchange.ended.is_some_and(|ended| ended > at)
        };
        if status == 0 && (self.exchanges.iter().any(cut) || self.asked_for_rest(number)) {
            return true;
        }
        let hung = |exchange: &&(usize, &Exchange)| {
            matches!(exchange.1.told, Some((_, Told { says: Says::HangUp, .. })))
        };
        let all: Vec<_> = self.exchanges.iter().enumerate().collect();
        all.iter().filter(hung).any(|(hanging, exchange)| {
            let when = exchange.told.map_or(0, |(when, _)| when);
            let mine = exchange.resource == wish.resource && when > at && !exchange.relay;
            exchange.cause == number || (mine && self.may_follow(*hanging, 2))
        })
    }

    /// May so many fills for the same waiters have died before this one?
    fn may_follow(&self, number: usize, dead: usize) -> bool {
        let this = &self.exchanges[number];
        let since = self.asked[this.cause].at;
        let died = |other: &Exchange| matches!(other.told, Some((when, Told { says: Says::HangUp, .. })) if since < when && when < this.at);
        dead == 0
            || self.exchanges[..number].iter().enumerate().any(|(before, other)| {
                other.resource == this.resource
                    && !other.relay
                    && died(other)
                    && self.may_follow(before, dead - 1)
            })
    }

    fn judge_arrival(&mut self, number: usize) {
        let this = &self.exchanges[number];
        if this.relay || this.method != "GET" {
            return;
        }
        let asked = self.asked[this.cause].at;
        if let Some(about) = this.about.as_ref().or(this.if_range.as_ref()) {
            let named = |other: &&Exchange| {
                other.told.is_some_and(|(_, told)| {
                    etag(other.resource, other.version, told.vary, other.values) == *about
                        && other.resource == this.resource
                        && told.says.status() == 200
                })
            };
            let mut named = self.exchanges.iter().filter(named).peekable();
            let none = named.peek().is_none();
            if none || named.all(|other| self.outdated(other.resource, other.at, asked, this.epoch).is_some())
            {
                let text = format!("e{number} asks about {about}, which is withdrawn or was never told");
                return self.wrong(text);
            }
        }
        if this.range.is_some() {
            return;
        }
        let joinable = (0..number).find(|other| self.surely_joinable(*other, number));
        if let Some(other) = joinable {
            self.wrong(format!("e{number}: two fills at once, e{other} is under way for the same"));
        }
    }

    /// Is `other` under way, and nothing known that kept the cause of `number` from waiting for it?
    fn surely_joinable(&self, other: usize, number: usize) -> bool {
        let (j, k) = (&self.exchanges[other], &self.exchanges[number]);
        let (from, to) = (self.asked[j.cause].at, k.at);
        let mine = self.asked[k.cause].wish.values;
        let fits = j.resource == k.resource
            && j.epoch == k.epoch
            && !j.relay
            && j.method == "GET"
            && j.range.is_none()
            && self.asked[j.cause].wish.values == mine;
        let open = j.ended.is_none()
            && j.gone.is_none()
            && j.told.is_none_or(|(_, told)| told.says.shared(j.cookie) && j.is_for(mine));
        fits && open
            && !self.may_be_covered(j.resource, from, to, j.epoch)
            && !self.may_be_marked(j.resource, mine, from, j.at)
            && !self.may_be_marked(j.resource, mine, self.asked[k.cause].at, to)
            && !self.may_be_alone(j.resource, from, to)
    }

    /// Fills whose answers others cannot share, and when their heads were told.
    fn unshared(&self, resource: Resource, before: Moment) -> impl Iterator<Item = (&Exchange, Moment)> {
        self.exchanges.iter().filter_map(move |exchange| {
            let (when, told) = exchange.told?;
            let marks = !told.says.shared(exchange.cookie) && !matches!(told.says, Says::Busy | Says::HangUp);
            let here = exchange.resource == resource && exchange.epoch == self.epoch && !exchange.relay;
            let head = exchange.method == "GET" && exchange.if_range.is_none();
            (marks && here && when < before && head).then_some((exchange, when))
        })
    }

    /// Fills whose answers everybody may share, and when their heads were told.
    fn shared(&self, resource: Resource) -> impl Iterator<Item = (&Exchange, Moment)> {
        self.exchanges.iter().filter_map(move |exchange| {
            let (when, told) = exchange.told?;
            let shared = told.says.shared(exchange.cookie);
            let here = exchange.resource == resource && exchange.epoch == self.epoch && !exchange.relay;
            let head = exchange.method == "GET" && exchange.if_range.is_none();
            (shared && here && head).then_some((exchange, when))
        })
    }

    /// May a pass mark for these values have stood at some time between?
    fn may_be_marked(&self, resource: Resource, values: Values, from: Moment, to: Moment) -> bool {
        self.unshared(resource, to).any(|(unshared, _)| {
            let cleared = |(shared, when): (&Exchange, Moment)| {
                unshared.settled.is_some_and(|settled| settled < when)
                    && shared.settled.is_some_and(|settled| settled < from)
                    && shared.told.is_some_and(|(_, told)| told.says != Says::NotModified)
                    && unshared.is_for(shared.values)
            };
            unshared.is_for(values) && !self.shared(resource).any(cleared)
        })
    }

    /// Does a pass mark surely stand for a request with these values?
    fn surely_marked(&self, resource: Resource, values: Values) -> bool {
        self.unshared(resource, self.now).any(|(unshared, when)| {
            let since = self.asked[unshared.cause].at;
            let cleared = |(shared, cleared): (&Exchange, Moment)| {
                cleared > when || shared.settled.is_none_or(|settled| settled > when)
            };
            let marked = |settled| {
                !self.may_be_covered(resource, since, settled, self.epoch)
                    && !self.shared(resource).any(cleared)
            };
            // What is stored in part is answered from that, and the rest may be on its way for another.
            let in_parts = self.exchanges.iter().any(|exchange| {
                (exchange.cut || exchange.range.is_some()) && exchange.resource == resource && !exchange.relay
            });
            unshared.is_for(values) && !in_parts && unshared.settled.is_some_and(marked)
        })
    }

    /// May who came since `from` have met answers after which one asks alone?
    fn may_be_alone(&self, resource: Resource, from: Moment, to: Moment) -> bool {
        let told = self.exchanges.iter().filter_map(|exchange| Some((exchange, exchange.told?)));
        let told: Vec<_> = told
            .filter(|(exchange, (when, _))| exchange.resource == resource && *when > from && *when < to)
            .collect();
        told.len() >= 4 || told.iter().any(|(_, (_, told))| told.says == Says::NotModifiedStale)
    }

    /// Has the edge nothing that this request might wait for? Then it is answered, or the origin is asked for it.
    pub(super) fn never_waits(&self, number: usize) -> bool {
        let Asked { wish, at, .. } = self.asked[number];
        if self.places < 8 {
            return false;
        }
        // A HEAD of what may serve stale is validated by a fill.
        let by_itself = wish.method == "POST" || (wish.method == "HEAD" && !wish.resource.has_windows());
        if by_itself || self.surely_marked(wish.resource, wish.values) {
            return true;
        }
        let fills = |exchange: &&Exchange| {
            exchange.resource == wish.resource
                && exchange.epoch == self.epoch
                && !exchange.relay
                && exchange.ended.is_none()
                && exchange.gone.is_none()
        };
        // What a fill brings is known by name only with its head: until then it is waited for.
        let covered = |exchange: &Exchange| {
            let mut records = self.outdating(wish.resource, exchange.at, at, self.epoch);
            records.any(|record| !matches!(record.kind, Kind::Tag { .. } | Kind::Module { .. }))
        };
        let unknown = self.asked.iter().enumerate().any(|(other, asked)| {
            other != number
                && asked.epoch == self.epoch
                && asked.wish.resource == wish.resource
                && asked.head.is_none()
                && asked.wish.method != "POST"
                && (asked.ended.is_none() || asked.outcome.is_none())
                && !self.exchanges.iter().any(|exchange| exchange.cause == other && exchange.told.is_none())
        });
        let begins_later = |(other, asked): (usize, &Asked)| {
            let fill = |exchange: &Exchange| exchange.cause == other && !exchange.relay;
            asked.wish.own && asked.wish.resource == wish.resource && !self.exchanges.iter().any(fill)
        };
        let unknown = unknown
            || wish.resource.has_windows()
            || self.asked[..number].iter().enumerate().any(begins_later);
        !unknown && self.exchanges.iter().filter(fills).all(covered)
    }

    /// Requests that the edge has to answer, as far as is known.
    pub(super) fn waiting(&self) -> usize {
        self.asked.iter().filter(|asked| asked.ended.is_none()).count()
    }

    /// Did the answer, or a request at the origin for it, come?
    pub(super) fn settled(&self, number: usize) -> bool {
        self.asked[number].head.is_some()
            || self.asked[number].ended.is_some()
            || self.exchanges.iter().any(|exchange| exchange.cause == number)
    }

    pub(super) fn has_head(&self, number: usize) -> bool {
        self.asked[number].head.is_some() || self.asked[number].ended.is_some()
    }

    pub(super) fn is_post(&self, number: usize) -> bool {
        self.exchanges[number].method == "POST"
    }

    /// Exchanges that the origin has before it.
    pub(super) fn at_once(&self) -> usize {
        let open = |exchange: &&Exchange| exchange.ended.is_none() && exchange.gone.is_none();
        self.exchanges.iter().filter(open).count()
    }

    /// How often each outcome was seen in this life of the edge, and how many clients left, whose outcome only the edge knows.
    pub(super) fn outcomes(&self) -> (HashMap<&'static str, u64>, u64) {
        let (mut seen, mut unknown) = (HashMap::new(), 0);
        for asked in self.asked.iter().filter(|asked| asked.epoch == self.epoch) {
            match asked.outcome {
                Some(outcome) => *seen.entry(outcome).or_default() += 1,
                None => unknown += 1,
            }
        }
        (seen, unknown)
    }

    /// Exchanges of this life of the edge.
    pub(super) fn counts(&self) -> Counts {
        let here = || self.exchanges.iter().filter(|exchange| exchange.epoch == self.epoch);
        let fills = || here().filter(|exchange| !exchange.relay);
        let left = |exchange: &&Exchange| exchange.relay && self.asked[exchange.cause].outcome.is_none();
        Counts {
            all: here().count() as u64,
            left: here().filter(left).count() as u64,
            fills: fills().count() as u64,
            rests: fills().filter(|exchange| exchange.if_range.is_some()).count() as u64,
        }
    }
}

/// What the origin was asked.
pub(super) struct Counts {
    pub(super) all: u64,
    /// Relays whose client left: the edge counts them only if it had the head.
    pub(super) left: u64,
    pub(super) fills: u64,
    /// Fills of what was missing, which the edge counts, or that continue one that was cut, which it does not.
    pub(super) rests: u64,
}

impl Exchange {
    /// Were these values those that its answer was chosen by?
    fn is_for(&self, values: Values) -> bool {
        self.told.is_some_and(|(_, told)| chosen(told.vary, self.values) == chosen(told.vary, values))
    }
}

impl Says {
    fn status(self) -> u16 {
        match self {
            Says::Busy => 503,
            Says::Done => 204,
            Says::Conflict => 409,
            Says::HangUp => 0,
            _ => 200,
        }
    }
}

/// The outcome that `Cache-Status` tells, as the metrics count it.
fn outcome(reply: &Reply) -> &'static str {
    let status = reply.field("cache-status").unwrap_or_default();
    match status {
        _ if reply.end != End::Clean || reply.field("x-exchange").is_none() => "failed",
        _ if status.contains("; hit; ttl=-") || status.ends_with("ttl=0") => "stale",
        _ if status.contains("; hit") => "hit",
        _ if status.contains("; collapsed") => "joined",
        _ if status.contains("fwd-status=304") && status.contains("; stored") => "revalidated",
        _ if status.contains("; stored") => "miss",
        _ => "pass",
    }
}
