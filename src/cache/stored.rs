//! A stored response, and the slot that holds those of one key.

use crate::{
    cache::{Body, CHUNK, coded::Heads, groups::Grouped},
    clock,
    http_caching::{EntityTag, Freshness, RequestDirectives, SelectingValue, Tags, vary},
    ledger::Number,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

/// Bytes the name of a chunk takes in a body.
const NAME: u64 = 40;
/// Stored responses one slot holds at most; the oldest goes (G21).
const SLOT_RESPONSES: usize = 64;

/// The request fields a response was chosen by, and the values they had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selecting {
    names: Vec<HeaderName>,
    values: Vec<SelectingValue>,
}

impl Selecting {
    /// These fields with the values they have in a request.
    pub fn new(names: Vec<HeaderName>, request: &HeaderMap) -> Selecting {
        let values = names.iter().map(|name| vary::selecting_value(name, request)).collect();
        Selecting { names, values }
    }

    /// These fields with the values that were written down of them.
    pub(super) fn written(pairs: impl Iterator<Item = (HeaderName, SelectingValue)>) -> Selecting {
        let (names, values) = pairs.unzip();
        Selecting { names, values }
    }

    /// The names.
    pub fn names(&self) -> &[HeaderName] {
        &self.names
    }

    /// The names with the values; `None` for a field that was absent.
    pub fn pairs(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.names.iter().zip(self.values.iter().map(SelectingValue::as_bytes))
    }

    /// Whether a request has the same values (RFC 9111 §4.1).
    pub fn matches(&self, request: &HeaderMap) -> bool {
        vary::same(&self.names, &self.values, request)
    }
}

/// What a stored response is made of.
#[derive(Debug)]
pub struct StoredParts {
    /// Status.
    pub status: StatusCode,
    /// Fields as the origin sent them, but those that ended at this hop.
    pub headers: HeaderMap,
    /// What it was chosen by.
    pub selecting: Selecting,
    /// `ETag`, if the rule trusts it for conditions.
    pub etag: Option<HeaderValue>,
    /// `Last-Modified`, if the rule trusts it for conditions.
    pub last_modified: Option<HeaderValue>,
    /// Length of the whole body, though chunks of it may be missing.
    pub length: u64,
    /// The body.
    pub body: Arc<Body>,
    /// How long it may serve.
    pub freshness: Freshness,
    /// The ledger's number noted before the request for it left.
    pub born: Number,
    /// What it can be purged by beside its URL. They stand no longer in its fields.
    pub tags: Tags,
}

/// A stored response: head and body. Immutable, but for the memo of its last check.
#[derive(Debug)]
pub struct StoredResponse {
    parts: StoredParts,
    /// The site's *touched* number, plus one, when this response was last found not outdated; 0: never.
    checked: AtomicU64,
    /// Its cache groups, if it has any.
    grouped: Option<Box<Grouped>>,
    /// Those of its coded variants, if it can have any.
    pub(super) heads: Option<Box<Heads>>,
}

impl Deref for StoredResponse {
    type Target = StoredParts;
    fn deref(&self) -> &StoredParts {
        &self.parts
    }
}

/// How a stored response may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Fresh, for so many more seconds.
    Fresh {
        /// Seconds left.
        ttl: i64,
    },
    /// Stale for `-ttl` seconds, and may serve while a fill brings a new one.
    WhileRevalidating {
        /// Seconds left, negative.
        ttl: i64,
    },
    /// Stale for `-ttl` seconds, and the request takes that (RFC 9111 §5.2.1.2).
    AsWished {
        /// Seconds left, negative.
        ttl: i64,
    },
    /// To be validated first; may serve if the origin fails and `on_error` says so.
    Validate {
        /// It may serve if the origin fails.
        on_error: bool,
    },
}

impl Use {
    /// The same of what is not kept beyond `until`, which is to come.
    pub fn no_longer_than(self, until: SystemTime, now: SystemTime) -> Use {
        let left = until.duration_since(now).unwrap_or_default().as_secs().max(1);
        match self {
            Use::Fresh { ttl } => Use::Fresh { ttl: ttl.min(i64::try_from(left).unwrap_or(i64::MAX)) },
            other => other,
        }
    }

    fn of(freshness: &Freshness, wishes: &RequestDirectives, now: SystemTime) -> Use {
        if freshness.is_fresh(wishes, now) {
            Use::Fresh { ttl: freshness.ttl(now) }
        } else if freshness.while_revalidate(wishes, now) {
            Use::WhileRevalidating { ttl: freshness.ttl(now) }
        } else if freshness.max_stale(wishes, now) {
            Use::AsWished { ttl: freshness.ttl(now) }
        } else {
            Use::Validate { on_error: freshness.if_error(now) }
        }
    }
}

impl StoredResponse {
    /// A stored response, not yet checked against the ledger.
    pub fn new(parts: StoredParts) -> StoredResponse {
        let heads = Heads::of(&parts);
        StoredResponse { heads, ..StoredResponse::without_variants(parts) }
    }

    /// One that is not given another coding.
    pub(super) fn without_variants(parts: StoredParts) -> StoredResponse {
        let grouped = Grouped::of(&parts.tags);
        StoredResponse { parts, checked: AtomicU64::new(0), grouped, heads: None }
    }

    pub(super) fn grouped(&self) -> Option<&Grouped> {
        self.grouped.as_deref()
    }

    /// How it may serve at `now`, apart from the ledger, to who has these wishes (RFC 9111 §5.2.1).
    pub fn usable(&self, wishes: &RequestDirectives, now: SystemTime) -> Use {
        Use::of(&self.freshness, wishes, now)
    }

    /// The same of a response that a soft purge made stale at `since`.
    pub fn usable_since(&self, since: SystemTime, wishes: &RequestDirectives, now: SystemTime) -> Use {
        Use::of(&self.freshness.ended(since), wishes, now)
    }

    /// May it serve now without asking, to who has no wishes?
    pub fn is_fresh(&self) -> bool {
        matches!(self.usable(&RequestDirectives::default(), clock::now()), Use::Fresh { .. })
    }

    /// The memo: was it already found not outdated while the site's *touched* number was `touched`?
    pub fn checked_at(&self, touched: u64) -> bool {
        self.checked.load(Ordering::Relaxed) == touched + 1
    }

    /// Remembers that it was found not outdated at `touched`.
    pub fn remember_check(&self, touched: u64) {
        self.checked.store(touched + 1, Ordering::Relaxed);
    }

    /// Whether it was ever looked at for a request since it came into memory.
    pub(super) fn was_checked(&self) -> bool {
        self.checked.load(Ordering::Relaxed) != 0
    }

    /// The validator that names these bytes and no others: chunks that are missing may be asked for by it.
    pub fn content_tag(&self) -> Option<&HeaderValue> {
        self.etag.as_ref().filter(|tag| EntityTag::parse(tag.as_bytes()).is_some_and(|tag| !tag.is_weak()))
    }

    /// Whether one was made from the other by freshening, or both from a third.
    pub fn same_body(&self, other: &StoredResponse) -> bool {
        Arc::ptr_eq(&self.body, &other.body)
    }

    /// Whether it was stored for the same selecting fields and values.
    fn same_variant(&self, other: &StoredResponse) -> bool {
        self.selecting == other.selecting
    }

    /// Bytes it takes in memory, body not counted. An estimate that errs high.
    pub fn weight(&self) -> u64 {
        let fields: usize = self.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 96).sum();
        let selecting: usize =
            self.selecting.values.iter().map(|v| v.as_bytes().map_or(0, <[u8]>::len) + 96).sum();
        // Each name stands in the body twice, once none is missing. The head of a coded variant counts with the slot that was
        // written of it: most responses have none.
        (512 + fields + selecting + self.tags.weight()) as u64 + self.length.div_ceil(CHUNK as u64) * 2 * NAME
    }
}

/// The stored responses of one key, youngest first. Replaced whole.
#[derive(Debug, Default)]
pub struct Slot {
    responses: Vec<Arc<StoredResponse>>,
}

impl Slot {
    /// The youngest stored response that a request with these fields selects.
    pub fn select(&self, request: &HeaderMap) -> Option<&Arc<StoredResponse>> {
        self.responses.iter().find(|stored| stored.selecting.matches(request))
    }

    /// The slot of these stored responses, youngest first.
    pub(super) fn of(responses: Vec<Arc<StoredResponse>>) -> Slot {
        Slot { responses }
    }

    /// All stored responses, youngest first.
    pub fn responses(&self) -> &[Arc<StoredResponse>] {
        &self.responses
    }

    /// Names of all selecting fields of the slot: what a fill for it sends.
    pub fn selecting_names(&self) -> Vec<HeaderName> {
        let mut names: Vec<HeaderName> = Vec::new();
        for name in self.responses.iter().flat_map(|stored| stored.selecting.names()) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// A slot with `stored` in front, in place of the one for the same variant.
    pub fn with(&self, stored: Arc<StoredResponse>) -> Slot {
        let mut responses = vec![stored.clone()];
        responses.extend(self.responses.iter().filter(|old| !old.same_variant(&stored)).cloned());
        responses.truncate(SLOT_RESPONSES);
        Slot { responses }
    }

    /// A slot without what has this body.
    pub fn without(&self, gone: &Arc<Body>) -> Slot {
        let left = self.responses.iter().filter(|old| !Arc::ptr_eq(&old.body, gone));
        Slot { responses: left.cloned().collect() }
    }

    /// Bytes it takes in memory, bodies not counted.
    pub fn weight(&self) -> u64 {
        64 + self.responses.iter().map(|stored| stored.weight()).sum::<u64>()
    }
}
