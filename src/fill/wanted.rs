//! What a request would have of a fill.

use crate::{
    access::{Learner, Leave},
    cache::{Body, CHUNK, Key, StoredResponse},
    fill::reader::Reader,
    http_caching::RequestDirectives,
    origin::{Exchange, Origin, Turn},
    release::Part,
    rules::{Class, Policy},
    site::{Mounted, Site},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;

/// From here on a part of a body nothing is known of is asked for by itself, bytes. What is before comes as fast with the whole.
const FAR: u64 = 4 * CHUNK as u64;

/// What a request wants that nothing stored can give.
pub struct Wanted<'a> {
    /// Its key.
    pub key: &'a Key,
    /// Its site.
    pub site: &'a Arc<Site>,
    /// Policy of the rule, if one says cache.
    pub policy: Option<&'a Arc<Policy>>,
    /// The storage it is fetched from, if not from the site's origin.
    pub mount: Option<&'a Arc<Mounted>>,
    /// Normalised path.
    pub path: &'a str,
    /// Query as sent to the origin.
    pub query: Option<&'a str>,
    /// Whose turn it is at the origin.
    pub class: Class,
    /// `Host` as sent to the origin.
    pub origin_host: http::HeaderValue,
    /// Fields the edge adds to what a fill sends.
    pub added: HeaderMap,
    /// The client's end-to-end fields.
    pub client: &'a HeaderMap,
    /// Selecting fields the slot is known to have.
    pub selecting: Vec<HeaderName>,
    /// A stored response to validate, if it is stale by age alone.
    pub validates: Option<Arc<StoredResponse>>,
    /// What the request wants of a stored response.
    pub wishes: RequestDirectives,
    /// A body that is stored and not there, nor can what is missing be had: what has it is of no use.
    pub lacks: Option<Arc<Body>>,
    /// It was looked for on disk.
    pub looked_below: bool,
    /// The part of the body that is wanted, if a part will do.
    pub span: Option<Span>,
    /// Who asks, where the rule leaves to the LMS who may have it: what is asked is asked in her name.
    pub learner: Option<Arc<Learner>>,
    /// Leave to have what is stored or brought for others. Without it there is only what her own request brings.
    pub leave: Option<Leave>,
    /// [`SiteMarks::named`] at some time after the request came whole: what was purged by name later does not disturb it.
    ///
    /// [`SiteMarks::named`]: crate::ledger::SiteMarks::named
    pub named: u64,
    /// Path and query as they were asked for, where those of the release are others.
    pub asked: Option<(&'a str, Option<&'a str>)>,
    /// The file of a release that is wanted.
    pub part: Option<&'a Part>,
    /// The validator that the LMS has just named to her as current.
    pub current: Option<HeaderValue>,
}

impl Wanted<'_> {
    /// Whether what is stored is proven to be of the release that is wanted.
    pub(super) fn is_proven(&self, stored: &StoredResponse) -> bool {
        self.part.is_some_and(|part| part.proof.proves(&stored.headers))
    }

    /// Where it is fetched from.
    pub(super) fn origin(&self) -> &Arc<Origin> {
        self.mount.map_or(&self.site.origin, |mount| &mount.origin)
    }

    /// The first byte it wants.
    pub(super) fn first(&self) -> u64 {
        self.span.map_or(0, |span| span.first)
    }

    /// A reader for whoever wants it, under her leave if she has one.
    pub(super) fn reads(&self, reader: Reader) -> Reader {
        let reader = reader.of(self.learner.as_ref());
        match &self.leave {
            Some(leave) => reader.under(leave.clone()),
            None => reader,
        }
    }

    /// Whose turn it is there.
    pub(super) fn turn(&self) -> Turn {
        Turn { site: self.site.name.clone(), class: self.class }
    }

    /// The answer to a check brings a body that is wanted: it counts among the other requests from here on.
    pub(super) fn no_longer_checks(&self, exchange: &mut Exchange) {
        self.site.origin.no_longer_checks(&self.turn(), &mut exchange.body);
    }
}

/// Bytes that a request wants of a body whose length is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub first: u64,
    /// Last byte, itself included; `None`: to the end.
    pub last: Option<u64>,
}

impl Span {
    /// The first byte of its first chunk.
    pub(super) fn start(self) -> u64 {
        self.first / CHUNK as u64 * CHUNK as u64
    }

    /// The byte behind its last chunk.
    pub(super) fn end(self) -> Option<u64> {
        self.last.map(|last| (last / CHUNK as u64).saturating_add(1).saturating_mul(CHUNK as u64))
    }

    /// Where nothing is known of a body, it is asked for from its first byte unless what is wanted is far behind that.
    pub(super) fn is_far(self) -> bool {
        self.first >= FAR
    }
}
