//! What a request would obtain first, found out without asking for it: for people who wonder.

use crate::{
    cache::StoredResponse,
    fill::{Begin, Fills, Wanted, request},
    origin::OriginRequest,
    rules::Asked,
};
use http::header;

/// What [`Fills::obtain`] would do first.
pub enum Rehearsed {
    /// Wait for a fill that is under way.
    Joins {
        /// It sent this.
        request: OriginRequest,
        /// It named a validator of what is stored.
        conditional: bool,
    },
    /// Begin a fill.
    Begins {
        /// It would send this.
        request: OriginRequest,
        /// It would name a validator of what is stored.
        conditional: bool,
        /// Nobody could join it: a pass mark stands.
        alone: bool,
    },
}

impl Fills {
    /// What [`Fills::obtain`] would do first, or [`Fills::refresh`] if the request does not wait. Changes nothing.
    ///
    /// Not covered: a fill that ends, begins or is too far gone to be read from its beginning at this moment.
    pub fn rehearse(&self, wanted: &Wanted<'_>, waits: bool) -> Rehearsed {
        let alone = waits && self.passes(wanted.key, wanted.client);
        let begin = Begin { alone, unread: !waits, attempt: 0 };
        match self.table.find(wanted.key, |fill| self.may_join(fill, wanted, begin)) {
            Some(fill) => {
                Rehearsed::Joins { request: fill.ask.request.clone(), conditional: fill.ask.conditional }
            }
            None => {
                let ask = self.ask(wanted, self.replaces(wanted), begin);
                Rehearsed::Begins { request: ask.sends(), conditional: ask.conditional, alone }
            }
        }
    }

    /// What the origin would be asked for parts of a stored body by, but for `Range`; `None` if it cannot be asked for parts.
    pub fn rehearse_part(&self, wanted: &Wanted<'_>, stored: &StoredResponse) -> Option<OriginRequest> {
        let tag = stored.content_tag()?.clone();
        let mut request = request::get(wanted);
        request.headers.insert(header::IF_RANGE, tag);
        if let Some(learner) = &wanted.learner {
            learner.show(&mut request.headers);
        }
        Some(request)
    }

    /// What [`Fills::ask_lms`] would send first, where no fill is under way, and whether it names a validator.
    pub fn rehearse_check(&self, wanted: &Wanted<'_>, policy: &Asked) -> (OriginRequest, bool) {
        let endpoint = policy.check.as_ref().and_then(|check| check.fill(wanted.path));
        match (&wanted.learner, endpoint, &wanted.validates) {
            (Some(learner), Some(target), _) => (request::check(wanted, learner, target), false),
            (_, None, Some(stored)) if stored.content_tag().is_some() => {
                let ask = self.ask(wanted, Some(stored.clone()), Begin::default());
                (ask.sends(), true)
            }
            _ => (self.ask(wanted, None, Begin::default()).sends(), false),
        }
    }
}
