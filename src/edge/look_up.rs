//! What a look-up found, and how a request goes on that nothing stored answers.

use crate::{
    cache::{Slot, StoredResponse, Use},
    edge::{Edge, visit::Visit},
    http_caching::{Directives, Fwd, RequestDirectives, Tags},
    ledger::{Number, Standing, Subject},
    rules::Verdict,
    site::Mode,
};
use http::{Method, header};
use std::{sync::Arc, time::SystemTime};

/// What a look-up found.
pub(super) enum Found {
    /// A stored response that may serve now.
    Serves { stored: Arc<StoredResponse>, ttl: i64, how: Serving },
    /// Nothing in memory; something may be on disk.
    Below,
    /// Nothing is looked for: the LMS is asked first who may have it.
    Unasked,
    /// Nothing is looked for: the origin alone answers, and why.
    Relays(Fwd),
    /// Nothing is looked for: its site is switched to relay everything.
    Switched,
    /// Nothing is looked for: another process serves in the place of this one.
    HandedOver,
    /// Nothing that may serve without asking.
    Asks { validates: Option<Arc<StoredResponse>>, on_error: bool, why: Fwd },
}

/// How a stored response serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    /// It may serve as it is.
    AsItIs,
    /// While a fill brings a new one.
    Refreshing,
    /// Stale, as its site is switched to spare the origin.
    Sparing,
}

impl Serving {
    /// The word for the log and `Cache-Status`, if it needs one.
    pub(super) fn detail(self) -> Option<&'static str> {
        matches!(self, Serving::Sparing).then_some("switch-spare")
    }
}

impl Found {
    /// What is stored is not what the LMS names as current.
    pub(super) const fn superseded() -> Found {
        Found::nothing(Fwd::Request)
    }

    /// Nothing of use, and why.
    const fn nothing(why: Fwd) -> Found {
        Found::Asks { validates: None, on_error: false, why }
    }
}

/// How a request goes on that nothing stored answers.
pub(super) enum Way {
    /// The client wants nothing that is not stored.
    Refuses,
    /// By itself; why, if the rules alone do not say so.
    Relays { why: Fwd, own: Option<Own> },
    /// By a fill.
    Obtains { validates: Option<Arc<StoredResponse>>, fallback: Option<Arc<StoredResponse>>, why: Fwd },
}

/// Why a request that may be stored goes to the origin by itself.
#[derive(Clone, Copy)]
pub(super) enum Own {
    /// Its site is switched to relay everything.
    Switch,
    /// Another process serves in the place of this one, and may know of purges that are not known here.
    HandedOver,
    /// A HEAD brings no body, so it fills nothing.
    Head,
    /// A fill has no body; what this one asks for the origin must see.
    Body,
    /// The client wants nothing stored.
    NoStore,
    /// A learner's own copy of a private page: the origin can say 304, a fill could not.
    ClientsCopy,
    /// A script's own fields: the origin sees them. What others may share is filled without them, see `share_later`.
    Fields,
    /// What came last was for nobody else, and this one says more than a fill may.
    PassMark,
}

impl Own {
    /// The word for the log, if it needs one.
    pub(super) fn detail(self) -> Option<&'static str> {
        match self {
            Own::HandedOver => Some("handed-over"),
            Own::Switch => Some("switch-relay"),
            _ => None,
        }
    }
}

/// Why what is stored does not serve: it is stale, or the request alone does not take it.
fn why_not(stored: &StoredResponse, now: SystemTime) -> Fwd {
    match stored.usable(&RequestDirectives::default(), now) {
        Use::Validate { .. } => Fwd::Stale,
        _ => Fwd::Request,
    }
}

impl Edge {
    pub(super) fn look_up(
        &self,
        visit: &Visit,
        slot: Option<&Slot>,
        now: SystemTime,
        standing: impl FnOnce(&StoredResponse) -> Standing,
    ) -> Found {
        let nothing = Found::nothing;
        let Some(slot) = slot else { return nothing(Fwd::UriMiss) };
        let Some(stored) = slot.select(&visit.parts.headers) else { return nothing(Fwd::VaryMiss) };
        let usable = match standing(stored) {
            Standing::Current if visit.is_proven(&stored.headers) => {
                Use::Fresh { ttl: stored.freshness.ttl(now).max(1) }
            }
            Standing::Current => stored.usable(&visit.wishes(), now),
            Standing::Settling { until } => stored.usable(&visit.wishes(), now).no_longer_than(until, now),
            Standing::Stale { since } => stored.usable_since(since, &visit.wishes(), now),
            Standing::Outdated => return nothing(Fwd::Stale),
        };
        let serves = |ttl, how| Found::Serves { stored: stored.clone(), ttl, how };
        match usable {
            Use::Fresh { ttl } | Use::AsWished { ttl } => serves(ttl, Serving::AsItIs),
            // Not what was said to be asked about at each use.
            Use::WhileRevalidating { .. } | Use::Validate { .. }
                if visit.mode == Mode::Spare && stored.freshness.may_be_stale() =>
            {
                serves(stored.freshness.ttl(now).min(0), Serving::Sparing)
            }
            Use::WhileRevalidating { ttl } => serves(ttl, Serving::Refreshing),
            // To be told that a body which is not there has not changed helps nobody.
            Use::Validate { .. }
                if stored.content_tag().is_none() && !self.0.tiers.may_have(&stored.body) =>
            {
                nothing(why_not(stored, now))
            }
            Use::Validate { on_error } => {
                Found::Asks { validates: Some(stored.clone()), on_error, why: why_not(stored, now) }
            }
        }
    }

    /// Does a record of the ledger cover a stored response, be it a soft one, or was one of its groups made outdated?
    pub(super) fn outdated(&self, visit: &Visit, stored: &StoredResponse) -> bool {
        self.standing(visit, stored).is_covered()
    }

    /// What the records of the ledger and its groups make of a stored response. Asked again only if something concerned its site
    /// or a group since.
    pub(super) fn standing(&self, visit: &Visit, stored: &StoredResponse) -> Standing {
        if self.0.fills.groups().covers(&visit.route.key, stored) {
            return Standing::Outdated;
        }
        // Not remembered: it is of the URL that was asked for alone.
        let asked = visit.asked().map_or(Standing::Current, |(path, query)| {
            let (tags, came) = (&stored.tags, stored.freshness.received);
            let subject = Subject { path, query, tags, came };
            self.0.ledger.standing(&visit.route.site.marks, &subject, stored.born)
        });
        if asked.is_covered() {
            return asked;
        }
        let site = &visit.route.site;
        // Before the ledger is asked: a record that comes between is seen the next time.
        let touched = site.marks.touched();
        if stored.checked_at(touched) {
            return asked;
        }
        match self.recorded(visit, stored) {
            Standing::Current => {
                stored.remember_check(touched);
                asked
            }
            other => other,
        }
    }

    /// What the records alone make of it. Asked of the ledger itself.
    pub(super) fn recorded(&self, visit: &Visit, stored: &StoredResponse) -> Standing {
        let subject = visit.subject(stored);
        self.0.ledger.standing(&visit.route.site.marks, &subject, stored.born)
    }

    /// Whether what came at this time came so shortly after a purge that it may be old.
    pub(super) fn settles(&self, visit: &Visit, tags: &Tags, came: SystemTime, born: Number) -> bool {
        let marks = &visit.route.site.marks;
        marks.settles(came) && {
            let standing = self.0.ledger.standing(marks, &visit.subject_of(tags, came), born);
            matches!(standing, Standing::Settling { .. })
        }
    }

    /// The names the slot of a request is known to select by.
    pub(super) fn selecting(&self, visit: &Visit) -> Vec<http::HeaderName> {
        let slot = self.0.tiers.slot(&visit.route.key).or_else(|| visit.raised.clone());
        slot.map_or_else(Vec::new, |slot| slot.selecting_names())
    }

    /// What the slot from disk comes to, where memory has none.
    pub(super) async fn look_below(&self, visit: &mut Visit) -> Found {
        (visit.raised, visit.looked_below) = (self.0.tiers.raise(&visit.route.key).await, true);
        let visit = &*visit;
        self.look_up(visit, visit.raised.as_deref(), visit.account.time, |stored| {
            self.standing(visit, stored)
        })
    }

    /// What was found, looked at again with what only the disk itself can tell: to be told that a body which is not there has
    /// not changed helps nobody.
    pub(super) async fn on_reflection(&self, found: Found) -> Found {
        if let Found::Asks { validates: Some(stored), why, .. } = &found
            && stored.content_tag().is_none()
            && !self.0.tiers.has(&stored.body).await
        {
            return Found::nothing(*why);
        }
        found
    }

    /// How a request goes on that was not answered from what was found.
    pub(super) fn way(&self, visit: &Visit, found: Found) -> Way {
        let (validates, fallback, why) = match found {
            Found::Relays(why) => return Way::Relays { why, own: None },
            Found::Switched => return Way::Relays { why: Fwd::Bypass, own: Some(Own::Switch) },
            Found::HandedOver => return Way::Relays { why: Fwd::Bypass, own: Some(Own::HandedOver) },
            Found::Below | Found::Unasked => (None, None, Fwd::UriMiss),
            // A chunk is gone: as if nothing had been found.
            Found::Serves { .. } => (None, None, Fwd::Miss),
            Found::Asks { validates, on_error, why } => {
                (validates.clone(), validates.filter(|_| on_error), why)
            }
        };
        if Directives::request(&visit.parts.headers).only_if_cached {
            return Way::Refuses;
        }
        match self.goes_by_itself(visit, validates.is_some(), fallback.is_some()) {
            Some(own) => Way::Relays { why, own: Some(own) },
            None => Way::Obtains { validates, fallback, why },
        }
    }

    /// Whether a request that found nothing goes to the origin by itself rather than as a fill, and why.
    pub(super) fn goes_by_itself(&self, visit: &Visit, validates: bool, fallback: bool) -> Option<Own> {
        let headers = &visit.parts.headers;
        let open = matches!(visit.route.verdict, Verdict::Obey);
        let credentials = headers.contains_key(header::COOKIE) || headers.contains_key(header::AUTHORIZATION);
        let conditional =
            headers.contains_key(header::IF_NONE_MATCH) || headers.contains_key(header::IF_MODIFIED_SINCE);
        if visit.part().is_some() {
            // What is relayed nobody has proven.
            None
        } else if visit.parts.method == Method::HEAD && !fallback {
            Some(Own::Head)
        } else if visit.has_body() {
            Some(Own::Body)
        } else if Directives::request(headers).no_store {
            Some(Own::NoStore)
        } else if open && credentials && conditional && !validates {
            Some(Own::ClientsCopy)
        } else if visit.says_own_fields() && !fallback && !self.0.fills.under_way(&visit.route.key) {
            Some(Own::Fields)
        } else if visit.says_more() && !fallback && self.0.fills.passes(&visit.route.key, headers) {
            Some(Own::PassMark)
        } else {
            None
        }
    }
}

impl Visit {
    /// What the ledger is asked about for this request, of what is stored for it.
    pub(super) fn subject<'a>(&'a self, stored: &'a StoredResponse) -> Subject<'a> {
        self.subject_of(&stored.tags, stored.freshness.received)
    }

    /// The same of what has these tags and came at this time.
    pub(super) fn subject_of<'a>(&'a self, tags: &'a Tags, came: SystemTime) -> Subject<'a> {
        Subject { path: self.path(), query: self.query(), tags, came }
    }
}
