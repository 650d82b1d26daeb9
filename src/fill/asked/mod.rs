//! A request of a learner whose yes is not known: the LMS is asked in her name, and its answer decides.
//!
//! Asked about is the validator of what is stored, or of what a fill is bringing just now: then a yes needs no body, and a new body
//! is shared like that of any fill. Where nothing valid is known her own request is the fill, one at a time for a key, and its 200 is
//! the yes. Before that nothing of what is stored or brought for others reaches her: without a [`Leave`] nothing is joined. What
//! is outdated lends its validator to no check.

mod check;
mod endpoint;

use crate::{
    access::{Learner, Leave, NotPut, Turn},
    cache::StoredResponse,
    fill::{
        ATTEMPTS, Begin, Failure, FillHead, Fills, Obtained, Reader, Wanted,
        pump::failure_of,
        says_failed,
        task::{self, Fill, Phase},
    },
    origin::{OriginError, Phase as OriginPhase},
    rules::Asked as Policy,
};
use http::HeaderValue;
use std::sync::Arc;

/// What became of it.
pub enum Asked {
    /// She may have it, and goes on as if her yes had been kept.
    Allowed(Leave, Told),
    /// Her own request brought it, or that she may not have it.
    Brought(Obtained),
    /// A check endpoint did not let her in: her own request goes to the LMS.
    GoesItself,
    /// The LMS could not be asked.
    Failed(Failure),
}

/// What let her in.
pub enum Told {
    /// The LMS did, and named no validator.
    Yes,
    /// It did, and what is stored is current.
    Stored(Arc<StoredResponse>),
    /// It did, and what has this validator is current.
    Tag(HeaderValue),
    /// Another request of hers was told meanwhile.
    Meanwhile,
    /// It said so before, and cannot be asked now.
    Before,
}

/// What is asked about.
enum Known {
    Stored(Arc<StoredResponse>),
    Coming(Arc<FillHead>, HeaderValue),
}

/// What comes before her own request.
enum Before {
    /// Another's fill, whose head is to be waited for.
    Other(Arc<Fill>),
    /// Something that was stored meanwhile.
    Stored(Arc<StoredResponse>),
}

/// What a question came to.
enum Came {
    To(Asked),
    /// What was known is not what the LMS speaks of.
    Anew,
}

impl Fills {
    /// Asks the LMS in the name of `learner`, who wants what `wanted` says, as `policy` says.
    pub async fn ask_lms(
        self: &Arc<Self>,
        mut wanted: Wanted<'_>,
        learner: &Arc<Learner>,
        policy: &Policy,
    ) -> Asked {
        let _ticket = match self.checks.turn(learner) {
            Turn::Mine(ticket) => ticket,
            Turn::Others(waits) => {
                waits.over().await;
                if let Some(leave) = self.checks.kept(learner) {
                    learner.metrics().kept.inc();
                    return Asked::Allowed(leave, Told::Meanwhile);
                }
                None
            }
        };
        if let Some(check) = &policy.check {
            let Some(target) = check.fill(wanted.path) else { return Asked::GoesItself };
            return self.ask_endpoint(&wanted, learner, policy, target).await;
        }
        for _ in 0..ATTEMPTS {
            match self.ask_once(&mut wanted, learner, policy).await {
                Came::To(asked) => return asked,
                Came::Anew => {}
            }
        }
        let born = self.ledger.last();
        let alone = Begin { alone: true, ..Begin::default() };
        let (fill, body) = self.table.begin(&wanted, Fill::new(self, self.ask(&wanted, None, alone), born));
        tokio::spawn(task::run(self.clone(), fill.clone()));
        match self.own(&mut wanted, learner, &fill, body).await {
            Came::To(asked) => asked,
            Came::Anew => Asked::GoesItself,
        }
    }

    async fn ask_once(
        self: &Arc<Self>,
        wanted: &mut Wanted<'_>,
        learner: &Arc<Learner>,
        policy: &Policy,
    ) -> Came {
        let known = match wanted.validates.take().filter(|stored| stored.content_tag().is_some()) {
            Some(stored) => Known::Stored(stored),
            None => match self.first(wanted) {
                Ok((fill, body)) => return self.own(wanted, learner, &fill, body).await,
                Err(Before::Stored(stored)) => Known::Stored(stored),
                Err(Before::Other(fill)) => match fill.decided().await {
                    Phase::Head(head) if self.is_outdated_by_name(wanted, &head) => {
                        fill.cover();
                        return Came::Anew;
                    }
                    Phase::Head(head) if head.kept && head.selecting.matches(wanted.client) => {
                        let Some(tag) = head.tag.clone() else { return Came::Anew };
                        Known::Coming(head, tag)
                    }
                    Phase::Freshened(stored, _) if stored.selecting.matches(wanted.client) => {
                        Known::Stored(stored)
                    }
                    Phase::Dead(failure @ (Failure::Busy { .. } | Failure::Origin(_))) => {
                        return Came::To(Asked::Failed(failure));
                    }
                    _ => return Came::Anew,
                },
            },
        };
        self.check(wanted, learner, policy, known).await
    }

    /// Begins a fill by her own request, unless one is under way whose body may be for her too, or something is stored by now.
    fn first(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<(Arc<Fill>, Reader), Before> {
        let begun = self.table.begin_unless(
            wanted,
            |fill| self.suits(fill, wanted),
            |_| {
                let born = self.ledger.last();
                let slot = self.tiers.slot(wanted.key);
                let stored = slot.and_then(|slot| slot.select(wanted.client).cloned());
                match stored.filter(|stored| stored.content_tag().is_some()) {
                    Some(stored) if !self.outdated(wanted, &stored) => Err(Before::Stored(stored)),
                    _ => Ok(Fill::new(self, self.ask(wanted, None, Begin::default()), born)),
                }
            },
            Before::Other,
        );
        if let Ok((fill, _)) = &begun {
            tokio::spawn(task::run(self.clone(), fill.clone()));
        }
        begun
    }

    /// What her own request brings: whoever waits for it is asked about by what it names.
    async fn own(&self, wanted: &mut Wanted<'_>, learner: &Arc<Learner>, fill: &Fill, body: Reader) -> Came {
        match fill.decided().await {
            Phase::Head(head) if !head.selecting.matches(wanted.client) && !says_failed(head.status) => {
                wanted.selecting.extend_from_slice(head.selecting.names());
                Came::Anew
            }
            Phase::Head(head) => {
                let body = match head.yes.as_ref().filter(|yes| yes.is_of(learner)) {
                    Some(yes) => body.under(self.checks.remember(yes)),
                    None => body,
                };
                Came::To(Asked::Brought(Obtained::Filling { head, body, began: true }))
            }
            Phase::Dead(Failure::NoParts) => {
                wanted.span = None;
                Came::Anew
            }
            Phase::Dead(failure) => Came::To(Asked::Failed(failure)),
            Phase::Asking | Phase::Freshened(..) | Phase::Apart => Came::To(Asked::Failed(Failure::Aborted)),
        }
    }

    /// No answer is a no, unless the rule lets the last yes count.
    fn unanswered(&self, learner: &Arc<Learner>, not_put: NotPut) -> Asked {
        self.before(learner).unwrap_or_else(|| {
            Asked::Failed(match not_put {
                NotPut::Busy(busy) => Failure::Busy { retry_after: busy.retry_after },
                NotPut::Origin(error) => failure_of(error),
                NotPut::Late => Failure::Origin(OriginError::Timeout(OriginPhase::Head)),
            })
        })
    }

    fn before(&self, learner: &Arc<Learner>) -> Option<Asked> {
        let leave = self.checks.last(learner)?;
        learner.metrics().last.inc();
        Some(Asked::Allowed(leave, Told::Before))
    }
}
