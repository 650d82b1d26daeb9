//! Whether a client may have what a rule does not give to everybody.
//!
//! A rule may leave that to whoever has a key ([`signed`]), which is settled before anything is looked up, or to the LMS
//! ([`Checks`]). What is stored is reached with a [`Leave`] only, and only this part makes one. It must never make one under a rule that asks the
//! LMS but from what the LMS itself said to this learner's credentials.

mod asked;
pub mod signed;
mod small_file;

pub use asked::{
    Answer, Asking, Checks, Digest, Evidence, For, Forget, Known, Learner, NotPut, Shown, Ticket, Turn,
    Waits, Yes, credential, essence, judge,
};
pub use small_file::small_file;

use crate::rules::Access;
use asked::Permit;
use std::sync::Arc;

/// Leave to be answered from what is stored. Cheap to clone.
#[derive(Clone)]
pub struct Leave(Kind);

#[derive(Clone)]
enum Kind {
    /// The rule does not ask the LMS. If it asks for a signature, the request has come past [`signed::admit`], or is a warm-up,
    /// whose answer nobody gets.
    Unasked,
    Asked(Arc<Permit>),
}

impl Leave {
    /// The leave of every request under a rule that does not ask the LMS.
    pub fn unasked(access: &Access) -> Option<Leave> {
        access.asked().is_none().then_some(Leave(Kind::Unasked))
    }

    /// Who was let in, if the LMS was asked.
    pub fn learner(&self) -> Option<&Arc<Learner>> {
        match &self.0 {
            Kind::Unasked => None,
            Kind::Asked(permit) => Some(&permit.learner),
        }
    }

    /// Whether it still stands: a yes may be forgotten while an answer is under way.
    pub fn stands(&self) -> bool {
        match &self.0 {
            Kind::Unasked => true,
            Kind::Asked(permit) => permit.stands(),
        }
    }
}
