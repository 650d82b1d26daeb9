//! What is told of a request about which the LMS would be asked first.

use super::{selecting, words};
use crate::{
    cache::{Slot, StoredResponse},
    edge::{Edge, Visit},
    fill::Wanted,
    http_caching::{Directives, Fwd},
    response::{AnswerTold, OriginTold, Plain},
};
use http::StatusCode;
use std::sync::Arc;

impl Edge {
    /// Gives leave to a request that would have it by a kept yes. Tells whether the LMS would be asked.
    pub(super) fn would_ask(&self, visit: &mut Visit) -> bool {
        if let Some(learner) = &visit.learner
            && visit.leave.is_none()
        {
            visit.leave = self.0.fills.checks().kept(learner);
        }
        visit.leave.is_none() && visit.learner.is_some()
    }

    /// The answer to such a request, and what the LMS would be sent. `stored`: what is stored for it and not outdated.
    pub(super) fn unasked(
        &self,
        visit: &mut Visit,
        stored: Option<Arc<StoredResponse>>,
        slot: Option<&Slot>,
    ) -> (AnswerTold, Option<OriginTold>) {
        visit.end_hop();
        if Directives::request(&visit.parts.headers).only_if_cached {
            return (words::refused(&Plain::new(StatusCode::GATEWAY_TIMEOUT, "only-if-cached")), None);
        }
        if let Some(own) = self.goes_by_itself(visit, true, stored.is_some()) {
            let sent = words::sent(visit, "relay", &visit.relayed(), false);
            return (words::relayed(visit, Fwd::Request, Some(own)), Some(sent));
        }
        let access = visit.route.access.clone();
        let Some(asked) = access.asked() else {
            return (AnswerTold::default(), None);
        };
        let known = stored.is_some();
        let wanted = Wanted { validates: stored, ..visit.wanted(None, selecting(slot)) };
        let (request, conditional) = self.0.fills.rehearse_check(&wanted, asked);
        (words::asked(known, asked), Some(words::sent(visit, "check", &request, conditional)))
    }
}
