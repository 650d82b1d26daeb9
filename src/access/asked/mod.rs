//! The LMS keeps deciding: it is asked with the learner's own credentials, and its yes is kept for a short time.
//!
//! A yes holds for a digest of the credentials and the content that the rule captures from the path, of one host and one rule.
//! What was asked before a [`Forget`] came is not kept after it: each question carries the number of forgets known when it was
//! put, as a fill carries `born`.

mod credential;
mod forgets;
mod judge;
mod kept;
mod learner;
mod turns;

pub use credential::credential;
pub use forgets::Forget;
pub use judge::{Answer, Evidence, Known, Yes, essence, judge};
pub use learner::{Asking, Digest, For, Learner, Shown};
pub use turns::{Ticket, Turn, Waits};

pub(super) use kept::Permit;

use super::{Kind, Leave};
use crate::{
    clock,
    origin::{Busy, Exchange, Origin, OriginError, OriginRequest},
};
use forgets::Forgets;
use kept::Kept;
use std::{sync::Arc, time::Duration};
use turns::Turns;

/// The checks of the node and the yeses they brought.
#[derive(Default)]
pub struct Checks {
    kept: Kept,
    forgets: Arc<Forgets>,
    turns: Turns,
}

/// Why a check got no answer.
#[derive(Debug)]
pub enum NotPut {
    /// Too many checks wait at the origin.
    Busy(Busy),
    /// It could not be asked.
    Origin(OriginError),
    /// It took longer than the rule gives it.
    Late,
}

impl Checks {
    /// Nothing is known of anybody.
    pub fn new() -> Arc<Checks> {
        Arc::default()
    }

    /// A question that is about to be put to the LMS for this learner.
    pub fn asking(&self, learner: &Arc<Learner>) -> Asking {
        Asking { learner: learner.clone(), put: clock::instant(), forgets: self.forgets.latest() }
    }

    /// Puts a question, in its turn among the checks of the origin.
    ///
    /// # Errors
    /// No answer came in time.
    pub async fn put(
        &self,
        origin: &Arc<Origin>,
        request: OriginRequest,
        within: Duration,
    ) -> Result<Exchange, NotPut> {
        // The wait for a place has its own bound: a class that starts is no slow LMS.
        let place = origin.admit_check(&request).await.map_err(NotPut::Busy)?;
        let answer = tokio::time::timeout(within, origin.fetch(place, request)).await;
        answer.map_err(|_| NotPut::Late)?.map_err(NotPut::Origin)
    }

    /// The leave of a learner whose yes is kept.
    pub fn kept(&self, learner: &Arc<Learner>) -> Option<Leave> {
        self.not_older(learner, learner.keep())
    }

    /// The leave of a learner whose last yes still counts though the LMS cannot be asked.
    pub fn last(&self, learner: &Arc<Learner>) -> Option<Leave> {
        self.not_older(learner, learner.unreachable())
    }

    fn not_older(&self, learner: &Arc<Learner>, than: Duration) -> Option<Leave> {
        if than.is_zero() {
            return None;
        }
        let grant = self.kept.grant(learner.key())?;
        let young = clock::instant().saturating_duration_since(grant.put) < than;
        (young && !self.forgets.cover(&grant)).then(|| self.leave(learner, grant))
    }

    /// The leave that a yes gives, which is remembered as long as the rule says.
    pub fn remember(&self, yes: &Yes) -> Leave {
        let Asking { learner, .. } = yes.asking();
        let grant = self.kept.keep(yes.asking());
        self.leave(learner, grant)
    }

    /// The LMS said no: what it said before is forgotten.
    pub fn deny(&self, asking: &Asking) {
        self.kept.deny(asking);
    }

    /// Forgets every yes that `what` names, and those that are on their way. Tells the number of this forget.
    pub fn forget(&self, what: Forget) -> u64 {
        self.forgets.add(what)
    }

    /// Whether this learner's question is put already by another request of hers; else it is this one's turn.
    pub fn turn(self: &Arc<Self>, learner: &Learner) -> Turn {
        if learner.keep().is_zero() { Turn::Mine(None) } else { self.turns.take(self, learner.key()) }
    }

    fn leave(&self, learner: &Arc<Learner>, grant: Arc<kept::Grant>) -> Leave {
        Leave(Kind::Asked(Arc::new(Permit {
            grant,
            forgets: self.forgets.clone(),
            learner: learner.clone(),
        })))
    }
}
