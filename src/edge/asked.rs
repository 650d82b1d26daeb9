//! A request under a rule that leaves to the LMS who may have what is stored: by a kept yes, or by asking.

use crate::{
    access::Leave,
    clock,
    edge::{Edge, Found, Own, Visit, answer},
    fill::{Asked, Told, Wanted},
    http_caching::{Directives, Fwd, status_field},
    response::{Body, Plain},
    telemetry::Outcome,
};
use http::{HeaderValue, Response, StatusCode};

/// The request with what was found for it, and the validator that the LMS named to it as current; or its answer.
pub(super) type Let = Result<(Box<Visit>, Found, Option<HeaderValue>), Box<Response<Body>>>;

impl Edge {
    /// Whether a request has leave to be answered from what is stored: a rule that asks nothing gives it, else a kept yes.
    pub(super) fn has_leave(&self, visit: &mut Visit) -> bool {
        if let Some(learner) = &visit.learner
            && visit.leave.is_none()
            && let Some(leave) = self.0.fills.checks().kept(learner)
        {
            learner.metrics().kept.inc();
            (visit.leave, visit.account.access) = (Some(leave), Some("kept"));
        }
        visit.leave.is_some()
    }

    /// Asks the LMS whether this learner may have what the request is for.
    pub(super) async fn ask_lms(&self, mut visit: Box<Visit>) -> Let {
        visit.end_hop();
        let access = visit.route.access.clone();
        let (Some(learner), Some(asked)) = (visit.learner.clone(), access.asked()) else {
            return Ok((visit, Found::Relays(Fwd::Request), None));
        };
        if Directives::request(&visit.parts.headers).only_if_cached {
            let plain = Plain::new(StatusCode::GATEWAY_TIMEOUT, "only-if-cached");
            return Err(Box::new(answer::plain(visit.account, Outcome::Refused, None, plain)));
        }
        let validates = match self.look_anywhere(&mut visit).await {
            Found::Serves { stored, .. } | Found::Asks { validates: Some(stored), .. } => Some(stored),
            _ => None,
        };
        // What goes by itself has the LMS's own answer. But a HEAD of what is stored needs no more than the yes.
        if let Some(own) = self.goes_by_itself(&visit, true, validates.is_some()) {
            return Err(Box::new(self.relay(visit, Fwd::Request, Own::detail(own)).await));
        }
        let wanted = Wanted { validates, ..visit.wanted(None, self.selecting(&visit)) };
        match self.0.fills.ask_lms(wanted, &learner, asked).await {
            Asked::Allowed(leave, told) => {
                visit.leave = Some(leave.clone());
                self.let_in(visit, &leave, told).await
            }
            Asked::Brought(obtained) => {
                visit.account.access = Some(if obtained.is_hers() { "yes" } else { "no" });
                Err(Box::new(self.obtained(visit, obtained, Fwd::Request).await))
            }
            Asked::GoesItself => {
                visit.account.access = Some("no");
                Err(Box::new(self.relay(visit, Fwd::Request, Some("not-allowed")).await))
            }
            Asked::Failed(failure) => {
                visit.account.access = Some("failed");
                let (plain, fault) = (Plain::failed(&failure), Some(failure.fault()));
                Err(Box::new(answer::failed(visit, Outcome::Failed, fault, plain)))
            }
        }
    }

    /// The LMS let her in: the answer, if it named what is stored as current; else what is there for her.
    async fn let_in(&self, mut visit: Box<Visit>, leave: &Leave, told: Told) -> Let {
        visit.account.access = Some(match told {
            Told::Meanwhile => "kept",
            Told::Before => "last",
            Told::Yes | Told::Stored(_) | Told::Tag(_) => "yes",
        });
        match told {
            Told::Stored(stored) => match self.in_hand(leave, &mut visit, &stored).await {
                Some(in_hand) => {
                    let status = status_field::fwd(Fwd::Request, Some(304), true, false, None, None);
                    let (outcome, now) = (Outcome::Revalidated, clock::now());
                    Err(Box::new(self.answer(visit, &stored, in_hand, outcome, status, now)))
                }
                None => Ok((visit, Found::Below, stored.content_tag().cloned())),
            },
            Told::Tag(tag) => {
                let found = match self.look_anywhere(&mut visit).await {
                    Found::Serves { stored, .. } if stored.content_tag() != Some(&tag) => Found::superseded(),
                    found => found,
                };
                Ok((visit, found, Some(tag)))
            }
            Told::Yes | Told::Meanwhile | Told::Before => {
                let found = self.look_anywhere(&mut visit).await;
                Ok((visit, found, None))
            }
        }
    }

    /// What is stored for a request, in memory or on disk.
    pub(super) async fn look_anywhere(&self, visit: &mut Visit) -> Found {
        match self.0.tiers.slot(&visit.route.key) {
            None if self.0.tiers.may_be_below(&visit.route.key) => self.look_below(visit).await,
            slot => {
                let visit = &*visit;
                self.look_up(visit, slot.as_deref(), visit.account.time, |stored| {
                    self.standing(visit, stored)
                })
            }
        }
    }
}
