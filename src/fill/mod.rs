//! Fills: requests to the origin that are owned by nobody, and the readers that share what they bring.
//!
//! A request that finds nothing it may be answered from *obtains* a response: it joins a fill under way or begins one,
//! waits for the head, and reads the growing body at its own pace.

mod asked;
mod bodies;
mod decide;
mod growing;
#[cfg(test)]
mod growing_tests;
mod guard;
mod hearing;
mod pump;
mod reader;
mod rehearse;
mod request;
mod slice;
mod standing;
mod table;
mod task;
mod wanted;

use crate::{
    access::{Checks, Leave},
    cache::{Body, CacheSettings, ChunkId, Groups, Key, Selecting, Slot, StoredResponse, Tiers, Use},
    clock,
    http_caching::Tags,
    ledger::{Ledger, Number, Subject},
    telemetry::Metrics,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use slice::Source;
use std::{net::SocketAddr, sync::Arc, time::SystemTime};
use task::{Ask, Fill, Phase};

pub use asked::{Asked, Told};
pub use bodies::Bodies;
pub use decide::VIA;
pub use growing::{Cut, Growing, RunId, Window};
pub use hearing::Heard;
pub use reader::Reader;
pub use rehearse::Rehearsed;
pub use request::{own_fields, says_more};
pub use task::{Failure, FillHead};
pub use wanted::{Span, Wanted};

/// Fills that may die before their head for one waiter before it gives up.
const ATTEMPTS: u8 = 3;
/// Fills one request may leave because what they brought is for others.
const LEAVES: u8 = 4;

/// All fills of the node.
pub struct Fills {
    table: table::Table,
    bodies: Arc<bodies::Bodies>,
    tiers: Tiers,
    ledger: Arc<Ledger>,
    checks: Arc<Checks>,
    metrics: Arc<Metrics>,
    settings: CacheSettings,
    /// Bytes of the disk tier's largest folder.
    largest_folder: Option<u64>,
    groups: Groups,
}

/// What came of it.
pub enum Obtained {
    /// A new response, being filled.
    Filling {
        /// Its head.
        head: Arc<FillHead>,
        /// Its body from the first byte.
        body: Reader,
        /// This request began the fill.
        began: bool,
    },
    /// The stored response was validated.
    Freshened {
        /// As it stands now.
        stored: Arc<StoredResponse>,
        /// The server that said so.
        server: SocketAddr,
        /// This request began the fill.
        began: bool,
    },
    /// A fill that has ended since the request looked has stored it.
    Stored(Arc<StoredResponse>),
    /// What came is for the request that caused the fill only: this one goes to the origin by itself.
    Released {
        /// What came says that the origin failed.
        failed: bool,
    },
    /// Nothing came.
    Failed(Failure),
}

impl Obtained {
    /// Whether the LMS said yes to whoever this was brought for.
    pub fn is_hers(&self) -> bool {
        matches!(self, Obtained::Filling { head, began: true, .. } if head.yes.is_some())
    }

    /// What a stale response may stand in for (RFC 5861 §4): no answer, or one that says the origin failed.
    pub fn is_error(&self) -> bool {
        match self {
            Obtained::Filling { head, .. } => says_failed(head.status),
            Obtained::Released { failed } => *failed,
            Obtained::Failed(_) => true,
            Obtained::Freshened { .. } | Obtained::Stored(_) => false,
        }
    }
}

impl Fills {
    /// No fills yet.
    pub fn new(
        tiers: Tiers,
        ledger: Arc<Ledger>,
        checks: Arc<Checks>,
        metrics: Arc<Metrics>,
        settings: CacheSettings,
        largest_folder: Option<u64>,
    ) -> Arc<Fills> {
        let (table, bodies, groups) = (table::Table::new(), Arc::default(), Groups::from(clock::now()));
        Arc::new(Fills { table, bodies, tiers, ledger, checks, metrics, settings, largest_folder, groups })
    }

    /// For a request with these fields, waiting for a fill of this key is not worth while: the last answer could not be
    /// shared.
    pub fn passes(&self, key: &Key, headers: &HeaderMap) -> bool {
        self.table.passes(key, headers)
    }

    /// Where the LMS is asked who may have something.
    pub fn checks(&self) -> &Arc<Checks> {
        &self.checks
    }

    /// A fill of this key is under way, which others may join.
    pub fn under_way(&self, key: &Key) -> bool {
        self.table.under_way(key)
    }

    /// After an unsafe method (RFC 9111 §4.4): what stands under `key` goes, what is on its way is not stored. Where it names a
    /// cache group that holds for all of the group.
    pub fn invalidate(&self, key: &Key) {
        if key.is_group() {
            return self.groups.outdate(key, clock::now());
        }
        self.table.cover(key);
        self.tiers.forget(key);
    }

    /// When each cache group was last made outdated.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Obtains a response: joins a fill or begins one, and waits for its head.
    ///
    /// Who waits leaves a fill whose answer is for other selecting values, and begins or joins one for its own; so does who
    /// began it, where the fill did not know that it should have sent them. If a fill dies before its head because the
    /// origin broke off, one waiter begins anew and the others join it. A record of the ledger that comes after the
    /// request's head does not disturb it: it may be answered with what it covers.
    pub async fn obtain(self: &Arc<Self>, mut wanted: Wanted<'_>) -> Obtained {
        let (mut attempt, mut leaves, mut by_itself) = (0, 0, false);
        loop {
            let alone = by_itself || leaves == LEAVES || self.passes(wanted.key, wanted.client);
            let begin = Begin { alone, attempt, unread: false };
            let (fill, body, began) = match self.join_or_begin(&wanted, begin) {
                Ok(fill) => fill,
                Err(Instead::Stored(stored)) => return Obtained::Stored(stored),
                Err(Instead::LooksBelow) => {
                    wanted.looked_below = true;
                    if let Some(stored) =
                        self.tiers.raise(wanted.key).await.and_then(|slot| self.serves(&wanted, &slot))
                    {
                        return Obtained::Stored(stored);
                    }
                    continue;
                }
            };
            match fill.decided().await {
                Phase::Head(head)
                    if !began && leaves < LEAVES && self.is_outdated_by_name(&wanted, &head) =>
                {
                    leaves += 1;
                    fill.cover();
                }
                Phase::Freshened(stored, _)
                    if !began
                        && leaves < LEAVES
                        && self.is_purged_by_name(&wanted, &stored.tags, stored.born) =>
                {
                    leaves += 1;
                    fill.cover();
                }
                Phase::Head(head) => match heed(&head, began, &wanted) {
                    Heed::Reads => return Obtained::Filling { head, body, began },
                    // What was said to one learner says nothing to the next: her request takes the place of the former.
                    Heed::GoesItself if fill.ask.asking.is_some() && attempt + 1 < ATTEMPTS => attempt += 1,
                    // Of a release nothing is relayed.
                    Heed::GoesItself if wanted.part.is_some() && !by_itself => by_itself = true,
                    Heed::Leaves if leaves < LEAVES => {
                        leaves += 1;
                        wanted.selecting.extend_from_slice(head.selecting.names());
                        wanted.validates = None;
                    }
                    Heed::Leaves | Heed::GoesItself => {
                        return Obtained::Released { failed: says_failed(head.status) };
                    }
                },
                // What was validated for another is not validated for this one, if it is stale at once.
                Phase::Freshened(stored, _) if !began && !stored.is_fresh() => {
                    by_itself = true;
                    wanted.validates = Some(stored);
                }
                Phase::Freshened(stored, server) => return Obtained::Freshened { stored, server, began },
                Phase::Apart => return Obtained::Released { failed: false },
                Phase::Dead(Failure::OtherValidator) => wanted.validates = None,
                Phase::Dead(Failure::NoParts) => wanted.span = None,
                Phase::Dead(failure)
                    if matches!(failure, Failure::BrokenOff { .. })
                        && !began
                        && fill.ask.attempt + 1 < ATTEMPTS =>
                {
                    attempt = fill.ask.attempt + 1;
                }
                Phase::Dead(failure) => return Obtained::Failed(failure),
                // `decided` waits for something else.
                Phase::Asking => return Obtained::Failed(Failure::Aborted),
            }
        }
    }

    /// Begins a fill that nobody waits for, unless one is under way: a stale response was served meanwhile.
    pub fn refresh(self: &Arc<Self>, wanted: &Wanted<'_>) {
        // What is fresh already needs no refresh.
        _ = self.join_or_begin(wanted, Begin { unread: true, ..Begin::default() });
    }

    /// A fill to wait for, or what one has stored that ended since the request looked: a fill stores before it leaves the
    /// table, so who finds none there finds what it stored.
    fn join_or_begin(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        begin: Begin,
    ) -> Result<(Arc<Fill>, Reader, bool), Instead> {
        let joined = self.table.join_or_begin(
            wanted,
            |fill| self.may_join(fill, wanted, begin),
            || {
                // Noted before any request leaves: a purge from here on covers what this fill brings. And not before others
                // are kept from beginning one: who comes after a purge would find a fill that it covers, and begin another.
                let born = self.ledger.last();
                match self.tiers.slot(wanted.key) {
                    Some(slot) => {
                        if let Some(stored) = self.serves(wanted, &slot) {
                            return Err(Instead::Stored(stored));
                        }
                    }
                    None if wanted.looked_below || begin.unread => {}
                    None if self.tiers.may_be_below(wanted.key) => return Err(Instead::LooksBelow),
                    None => {}
                }
                Ok(Fill::new(self, self.ask(wanted, self.replaces(wanted), begin), born))
            },
        );
        joined.map(|(fill, reader, began)| {
            if began {
                tokio::spawn(task::run(self.clone(), fill.clone()));
            }
            (fill, reader, began)
        })
    }

    /// A reader of a stored body for the bytes `first..=last`, for who has leave. What no tier has of it is asked for where
    /// `wanted` would be.
    pub fn read(
        self: &Arc<Self>,
        leave: &Leave,
        stored: &StoredResponse,
        wanted: &Wanted<'_>,
        first: u64,
        last: u64,
    ) -> Reader {
        let growing = self.grow(&stored.body);
        growing.fetches(&Source::of_stored(self, wanted, stored));
        let mut reader = Reader::new(&growing, first).of(leave.learner()).under(leave.clone());
        reader.turn_to(first, Some(last));
        reader
    }

    /// Names of all chunks of bodies that somebody reads or brings.
    pub fn in_use(&self) -> Vec<ChunkId> {
        self.bodies.names()
    }

    /// Longest body that is stored, if its chunks can be had again or if not.
    fn limit(&self, again: bool) -> u64 {
        self.settings.limit(again, self.largest_folder)
    }

    /// Bytes a fill may hold.
    pub fn window(&self) -> u64 {
        self.settings.fill_window
    }

    fn grow(&self, body: &Arc<Body>) -> Arc<Growing> {
        self.bodies.grow(body, &self.tiers, Window::of(&self.settings))
    }

    /// Whether what `fill` brings may be for this request, as far as is known by now.
    fn may_join(&self, fill: &Fill, wanted: &Wanted<'_>, begin: Begin) -> bool {
        !begin.alone
            && wanted.leave.is_some()
            && self.suits(fill, wanted)
            && !(begin.unread && self.is_of_no_use(fill, wanted))
    }

    /// Whether what `fill` brings could not be stored, if it has the tags of what it is to refresh: who waits asks again with the
    /// head, but here nobody waits.
    fn is_of_no_use(&self, fill: &Fill, wanted: &Wanted<'_>) -> bool {
        wanted.validates.as_ref().is_some_and(|old| self.covered(wanted, &old.tags, fill.born, fill.begun))
    }

    /// Whether what `fill` brings may be what this request wants.
    fn suits(&self, fill: &Fill, wanted: &Wanted<'_>) -> bool {
        fill.fits(wanted.client)
            && !fill.is_covered()
            && fill.has(wanted)
            && !self.covered(wanted, Tags::NONE, fill.born, fill.begun)
    }

    /// The stored response that a fill asks about. Looked at after its `born` was noted: what a purge covers by now is not
    /// asked about, and what one covers later is outdated by it.
    fn replaces(&self, wanted: &Wanted<'_>) -> Option<Arc<StoredResponse>> {
        wanted.validates.clone().filter(|old| !self.outdated(wanted, old))
    }

    /// What of a slot that came since the request looked may serve it.
    fn serves(&self, wanted: &Wanted<'_>, slot: &Slot) -> Option<Arc<StoredResponse>> {
        wanted.leave.as_ref()?;
        let stored = slot.select(wanted.client)?;
        if wanted.lacks.as_ref().is_some_and(|lacked| Arc::ptr_eq(lacked, &stored.body)) {
            return None;
        }
        if wanted.current.as_ref().is_some_and(|tag| stored.content_tag() != Some(tag)) {
            return None;
        }
        let had = stored.content_tag().is_some() || self.tiers.may_have(&stored.body);
        let usable = stored.usable(&wanted.wishes, clock::now());
        let fresh = matches!(usable, Use::Fresh { .. }) || wanted.is_proven(stored);
        let serves = had && fresh && !self.outdated(wanted, stored);
        serves.then(|| stored.clone())
    }

    /// Puts a response that was brought up to date in the place of the former. Not where that has gone, or one of its groups was
    /// made outdated since the question left.
    async fn freshen(&self, key: &Key, new: &Arc<StoredResponse>, requested: SystemTime) -> bool {
        !self.groups.cover(key, new.tags.groups(), requested) && self.tiers.freshen(key, new).await
    }

    fn outdated(&self, wanted: &Wanted<'_>, stored: &StoredResponse) -> bool {
        self.covered(wanted, &stored.tags, stored.born, stored.freshness.received)
            || self.groups.covers(wanted.key, stored)
    }

    /// Whether one of the groups of what a fill brings was made outdated since its request left.
    fn is_covered_by_group(&self, key: &Key, head: &FillHead) -> bool {
        self.groups.cover(key, head.tags.groups(), head.requested)
    }

    /// Whether what a fill brings is outdated by what its head names it by, which nobody knew who joined it before.
    fn is_outdated_by_name(&self, wanted: &Wanted<'_>, head: &FillHead) -> bool {
        self.is_covered_by_group(wanted.key, head) || self.is_purged_by_name(wanted, &head.tags, head.born)
    }

    /// The same, by a record. One that came after the request may be answered with what it covers: so however many come while a
    /// fill is under way, who waits leaves it for one that began after the request, and no other.
    fn is_purged_by_name(&self, wanted: &Wanted<'_>, tags: &Tags, born: Number) -> bool {
        wanted.named > born.n && self.ledger.outdated_by_name(&wanted.site.marks, tags, born)
    }

    /// Whether a record covers what was born so, has these tags and came at this time.
    fn covered(&self, wanted: &Wanted<'_>, tags: &Tags, born: Number, came: SystemTime) -> bool {
        let covers = |path, query| {
            self.ledger.outdated(&wanted.site.marks, &Subject { path, query, tags, came }, born)
        };
        covers(wanted.path, wanted.query) || wanted.asked.is_some_and(|(path, query)| covers(path, query))
    }
}

/// Why a request begins no fill.
enum Instead {
    /// Somebody stored this since the request looked.
    Stored(Arc<StoredResponse>),
    /// Somebody may have stored something since, of which memory has let go.
    LooksBelow,
}

/// What a request makes of the head it waited for.
enum Heed {
    /// It is answered from it.
    Reads,
    /// It is of another variant: a fill for its own.
    Leaves,
    /// It is for somebody else.
    GoesItself,
}

/// The second decision on joining, with all that the head says; the first was made before there was one. What came for a
/// request itself is not for it either if it was chosen by fields that the fill did not send; a failure is the same in every
/// variant.
fn heed(head: &FillHead, began: bool, wanted: &Wanted<'_>) -> Heed {
    // The LMS has told this learner that it is current: no matter that it must be validated at each use.
    let told = || head.kept && wanted.current.as_ref().is_some_and(|tag| head.tag.as_ref() == Some(tag));
    if !began && head.shared.is_err() && !told() {
        Heed::GoesItself
    } else if !head.selecting.matches(wanted.client) && !says_failed(head.status) {
        Heed::Leaves
    } else {
        Heed::Reads
    }
}

/// How a fill begins.
#[derive(Clone, Copy, Default)]
struct Begin {
    alone: bool,
    unread: bool,
    attempt: u8,
}

impl Fills {
    /// What the fill for a request sends and is joined by.
    fn ask(&self, wanted: &Wanted<'_>, replaces: Option<Arc<StoredResponse>>, begin: Begin) -> Ask {
        Ask {
            asking: wanted.learner.as_ref().map(|learner| self.checks.asking(learner)),
            ..ask(wanted, replaces, begin)
        }
    }
}

/// The same, but for who is asked for.
fn ask(wanted: &Wanted<'_>, replaces: Option<Arc<StoredResponse>>, begin: Begin) -> Ask {
    let mut request = request::get(wanted);
    let assumed = Selecting::new(wanted.selecting.clone(), &request.headers);
    let conditional =
        replaces.as_ref().is_some_and(|stored| request::conditions(&mut request.headers, stored));
    // Whole and as it is: its bytes are to prove it.
    let hashed = wanted.part.is_some_and(|part| !part.proof.digests.is_none());
    if hashed {
        request.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let span = wanted.span.filter(|span| span.is_far() && !conditional && wanted.part.is_none());
    if let Some(span) = span {
        request.headers.insert(header::RANGE, slice::range_field(span.start(), span.end()));
    }
    Ask {
        key: wanted.key.clone(),
        site: wanted.site.clone(),
        policy: wanted.policy.cloned(),
        mount: wanted.mount.cloned(),
        path: wanted.path.to_owned(),
        query: wanted.query.map(str::to_owned),
        request,
        asking: None,
        part: wanted.part.cloned(),
        span,
        replaces,
        coming: None,
        conditional,
        assumed,
        alone: begin.alone,
        unread: begin.unread,
        attempt: begin.attempt,
    }
}

/// Statuses a stale response may stand in for (RFC 5861 §4).
fn says_failed(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
