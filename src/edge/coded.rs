//! In which coding a request is answered from what is stored, and which it would rather have had.

use crate::{
    cache::StoredResponse,
    edge::{Edge, There, Visit},
    fill::FillHead,
    http_caching::{Coding, coding::recodable},
    response::{
        Part,
        coding::{self, Recode, Task},
    },
};
use http::Method;
use std::sync::Arc;

impl Edge {
    /// The variant of a stored response that a request is shown; `None`: the response as it is, or as it becomes on the way.
    pub(super) fn variant(
        &self,
        visit: &mut Visit,
        stored: &StoredResponse,
    ) -> Option<(Coding, Arc<StoredResponse>)> {
        let variant = coding::variant(&visit.parts.method, &visit.parts.headers, stored)?;
        visit.recode = None;
        Some(variant)
    }

    /// A request is shown a stored response as it is; or as it becomes on the way, if it cannot take that.
    pub(super) fn show_as_stored(&self, visit: &mut Visit, stored: &StoredResponse) {
        visit.recode = self.on_the_way(visit, stored).and_then(|recode| self.0.coder.makes_room(recode));
    }

    /// What becomes of a stored response on the way to this client, if there is room for it.
    pub(super) fn on_the_way(&self, visit: &Visit, stored: &StoredResponse) -> Option<Recode> {
        let codes = self.0.coder.settings().may_code(Some(stored.length));
        coding::on_the_way(&visit.parts.headers, stored.recodable(), codes)
    }

    /// The same for what a fill brings to be stored. What is not to be stored is handed through.
    pub(super) fn show_growing(&self, visit: &mut Visit, head: &FillHead) {
        let recodable = recodable(head.status, &head.headers).filter(|_| head.kept);
        let codes = self.0.coder.settings().may_code(head.length);
        let recode = coding::on_the_way(&visit.parts.headers, recodable, codes);
        visit.recode = recode.and_then(|recode| self.0.coder.makes_room(recode));
        self.count_on_the_way(visit);
    }

    /// A request is answered from what is stored. If it would rather have had another coding, that is made for those who come
    /// after it.
    pub(super) fn shown(&self, visit: &Visit, stored: &Arc<StoredResponse>, there: &There) {
        if stored.recodable().is_none() {
            return;
        }
        self.count_on_the_way(visit);
        if there.part == Part::Whole && visit.parts.method == Method::GET {
            let saved = stored.length.saturating_sub(there.shown(stored).length);
            self.0.coder.metrics().saved_bytes.inc_by(saved);
        }
        let settings = self.0.coder.settings();
        let Some(coding) = coding::wanted(&visit.parts.headers, stored, settings) else { return };
        let Some(effort) = stored.body.wants(coding) else { return };
        self.0.coder.tell(Task {
            key: visit.route.key.clone(),
            site: visit.route.site.clone(),
            path: visit.path().to_owned(),
            query: visit.query().map(str::to_owned),
            stored: stored.clone(),
            coding,
            effort,
        });
    }

    fn count_on_the_way(&self, visit: &Visit) {
        if let Some(recode) = &visit.recode {
            self.0.coder.metrics().on_the_way(recode.to.as_str());
        }
    }
}
