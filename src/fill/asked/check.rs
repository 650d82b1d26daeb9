//! One check: the LMS is asked about the validator of what is known, in a learner's name, and what its answer comes to.
//!
//! A yes needs no body. A yes with a new body becomes a fill, so that it is shared; a no passes through to her alone.

use super::{Asked, Came, Known, Told};
use crate::{
    access::{Answer, Asking, Learner, Yes},
    cache::StoredResponse,
    fill::{
        self, Begin, Failure, Fills, Obtained, Reader, Wanted,
        decide::{self, Sent},
        task::{self, Ask, Fill, Phase},
    },
    ledger::Number,
    origin::Exchange,
    rules::Asked as Policy,
};
use http::{HeaderValue, header};
use std::sync::Arc;

/// What had come when a question was put: what comes later and covers the answer is seen by it.
#[derive(Clone, Copy)]
struct Put {
    born: Number,
    /// Fills of this key, or of another, that an unsafe method had covered.
    covers: u64,
}

impl Fills {
    /// One check: the validator of what is known, in her name.
    pub(super) async fn check(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        learner: &Arc<Learner>,
        policy: &Policy,
        known: Known,
    ) -> Came {
        // Before the record is looked for, and before the question leaves: as for a fill.
        let put = Put { born: self.ledger.last(), covers: self.table.covers(wanted.key) };
        let (replaces, tag, outdated) = match &known {
            Known::Stored(stored) => {
                (Some(stored.clone()), stored.content_tag().cloned(), self.outdated(wanted, stored))
            }
            Known::Coming(head, tag) => {
                (None, Some(tag.clone()), self.covered(wanted, &head.tags, head.born, head.requested))
            }
        };
        let Some(tag) = tag.filter(|_| !outdated) else { return Came::Anew };
        let asking = self.checks.asking(learner);
        let ask = self.check_request(wanted, &asking, replaces, &known, &tag);
        let exchange = match self.checks.put(&wanted.site.origin, ask.sends(), policy.timeout).await {
            Ok(exchange) => exchange,
            Err(not_put) => {
                learner.metrics().failed.inc();
                return Came::To(self.unanswered(learner, not_put));
            }
        };
        let counted = learner.metrics();
        match decide::judged(&asking, &exchange.head, &ask) {
            Answer::Current(yes) => {
                counted.yes.inc();
                let leave = self.checks.remember(&yes);
                let told = match known {
                    Known::Coming(_, tag) => Told::Tag(tag),
                    Known::Stored(stored) => self.confirmed(&stored, &ask, put.born, exchange).await,
                };
                Came::To(Asked::Allowed(leave, told))
            }
            Answer::Brings(yes) => {
                counted.new.inc();
                Came::To(self.brings(wanted, ask, put, exchange, &yes).await)
            }
            Answer::Other => {
                counted.no.inc();
                if let Known::Stored(stored) = known {
                    self.tiers.withdraw(wanted.key, &stored.body).await;
                }
                Came::Anew
            }
            Answer::Failed => {
                counted.failed.inc();
                match self.before(learner) {
                    Some(asked) => Came::To(asked),
                    None => Came::To(self.hers(wanted, ask, put.born, exchange).await),
                }
            }
            Answer::No => {
                counted.no.inc();
                self.checks.deny(&asking);
                Came::To(self.hers(wanted, ask, put.born, exchange).await)
            }
        }
    }

    /// The question: what a fill would send, for the whole, with the validator of what is known.
    fn check_request(
        &self,
        wanted: &Wanted<'_>,
        asking: &Asking,
        replaces: Option<Arc<StoredResponse>>,
        known: &Known,
        tag: &HeaderValue,
    ) -> Ask {
        let mut ask = fill::ask(wanted, replaces, Begin::default());
        (ask.asking, ask.span) = (Some(asking.clone()), None);
        if let Known::Coming(head, _) = known {
            ask.coming = Some(head.clone());
        }
        for name in [header::RANGE, header::IF_MODIFIED_SINCE] {
            ask.request.headers.remove(name);
        }
        ask.request.headers.insert(header::IF_NONE_MATCH, tag.clone());
        ask
    }

    /// What is stored is current: a 304 brings its terms up to date for everybody.
    async fn confirmed(
        &self,
        stored: &Arc<StoredResponse>,
        ask: &Ask,
        born: Number,
        Exchange { mut head, .. }: Exchange,
    ) -> Told {
        if head.status != http::StatusCode::NOT_MODIFIED {
            return Told::Stored(stored.clone());
        }
        decide::arrived(&mut head);
        match decide::freshened(stored, &head, Sent::from(ask), born).map(Arc::new) {
            Some(new) if self.freshen(&ask.key, &new, head.requested).await => Told::Stored(new),
            // Made outdated since it was asked about.
            Some(_) => Told::Yes,
            None => {
                self.tiers.withdraw(&ask.key, &stored.body).await;
                Told::Yes
            }
        }
    }

    /// She may have it, and it is new: the answer becomes a fill, or is let go where one brings the same already.
    async fn brings(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        ask: Ask,
        put: Put,
        mut exchange: Exchange,
        yes: &Yes,
    ) -> Asked {
        let leave = self.checks.remember(yes);
        let tag = decide::content_tag(&exchange.head.headers, ask.policy.as_deref());
        let same = |fill: &Fill| self.suits(fill, wanted) && tag.as_ref().is_some_and(|tag| fill.brings(tag));
        let begun = self.table.begin_unless(
            wanted,
            same,
            |covers| {
                let slot = self.tiers.slot(wanted.key);
                let stored = slot.and_then(|slot| slot.select(wanted.client).cloned());
                match stored.filter(|stored| tag.is_some() && stored.content_tag() == tag.as_ref()) {
                    Some(stored) if !self.outdated(wanted, &stored) => Err(Told::Stored(stored)),
                    _ => {
                        let fill = Fill::new(self, ask, put.born);
                        if covers != put.covers {
                            fill.cover();
                        }
                        Ok(fill)
                    }
                }
            },
            |_| tag.clone().map_or(Told::Yes, Told::Tag),
        );
        match begun {
            Ok((fill, body)) => {
                wanted.no_longer_checks(&mut exchange);
                tokio::spawn(task::go_on(self.clone(), fill.clone(), exchange));
                brought(&fill, body.under(leave)).await
            }
            Err(told) => Asked::Allowed(leave, told),
        }
    }

    /// What the LMS said to her is for her alone: it passes through.
    async fn hers(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        ask: Ask,
        born: Number,
        mut exchange: Exchange,
    ) -> Asked {
        wanted.no_longer_checks(&mut exchange);
        let (fill, body) = self.table.begin(wanted, Fill::new(self, Ask { alone: true, ..ask }, born));
        tokio::spawn(task::go_on(self.clone(), fill.clone(), exchange));
        brought(&fill, body).await
    }
}

/// What her own request brought.
async fn brought(fill: &Fill, body: Reader) -> Asked {
    match fill.decided().await {
        Phase::Head(head) => Asked::Brought(Obtained::Filling { head, body, began: true }),
        Phase::Dead(failure) => Asked::Failed(failure),
        Phase::Asking | Phase::Freshened(..) | Phase::Apart => Asked::Failed(Failure::Aborted),
    }
}
