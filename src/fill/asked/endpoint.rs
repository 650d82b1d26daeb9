//! The check endpoint that a rule names where nothing that comes has a validator: its 2xx is a yes, and it brings no body.

use super::{Asked, Told};
use crate::{
    access::{Answer, Learner},
    fill::{Fills, Wanted, request},
    origin::Exchange,
    rules::Asked as Policy,
};
use std::sync::Arc;

impl Fills {
    /// Asks the endpoint that the rule names.
    pub(super) async fn ask_endpoint(
        &self,
        wanted: &Wanted<'_>,
        learner: &Arc<Learner>,
        policy: &Policy,
        target: String,
    ) -> Asked {
        let asking = self.checks.asking(learner);
        let request = request::check(wanted, learner, target);
        let counted = learner.metrics();
        match self.checks.put(&wanted.site.origin, request, policy.timeout).await {
            Ok(Exchange { head, .. }) => match Answer::of_endpoint(&asking, head.status) {
                Answer::Current(yes) | Answer::Brings(yes) => {
                    counted.yes.inc();
                    Asked::Allowed(self.checks.remember(&yes), Told::Yes)
                }
                Answer::Failed => {
                    counted.failed.inc();
                    self.before(learner).unwrap_or(Asked::GoesItself)
                }
                Answer::Other | Answer::No => {
                    counted.no.inc();
                    self.checks.deny(&asking);
                    Asked::GoesItself
                }
            },
            Err(not_put) => {
                counted.failed.inc();
                self.unanswered(learner, not_put)
            }
        }
    }
}
