//! Relays: the origin alone answers.
//!
//! A relay of an unsafe method runs as a task: it goes on when the client is gone (a beacon sent on leaving a page must
//! arrive), and what its answer makes outdated is outdated even if nobody waits for it (RFC 9111 §4.4).

use crate::{
    edge::{Edge, Visit, answer, lessons::Unsafe},
    fill::VIA,
    http_caching::{Directives, Fwd, coded_tag, may_store, status_field, storable, strip_tags},
    origin::{Head, OriginError, OriginRequest, Relayed, Tunnel, Turn, Upload},
    response::{Body, Plain, Source, fields},
    site::{Mode, Mounted},
    telemetry::{Fault, Outcome},
};
use http::{HeaderValue, Method, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use std::borrow::Cow;

/// A warm-up is not relayed: nothing of what is relayed is stored.
const NOTHING_TO_STORE: Plain = Plain::new(StatusCode::BAD_GATEWAY, "nothing-to-store");

/// Of a released module nothing is relayed: it could be of another release.
const UNPROVEN: Plain = Plain::not_of_the_release("unproven");

/// How a relay failed.
enum Failed {
    Busy(std::time::Duration),
    Origin(OriginError),
}

impl Edge {
    /// Relays a request and answers with what the origin says.
    pub(super) async fn relay(
        &self,
        mut visit: Box<Visit>,
        why: Fwd,
        detail: Option<&'static str>,
    ) -> Response<Body> {
        // A process whose place another has taken knows not which release is active by now.
        if visit.part().is_some() && !self.0.handover.has_begun() {
            let fault = Some(Fault::Origin);
            return answer::plain(visit.account, Outcome::Failed, fault, UNPROVEN);
        }
        let switch = visit.parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let request = visit.relayed();
        let safe = request.method.is_safe();
        let upload = Upload {
            expects_continue: visit.expects_continue(),
            finish_when_whole: !safe,
            limit: visit.route.body_limit,
        };
        let Some(body) = visit.body.take() else {
            return answer::plain(visit.account, Outcome::Refused, None, NOTHING_TO_STORE);
        };
        let origin = visit.origin().clone();
        let asked = async move {
            let permit = origin.admit(&request).await.map_err(|busy| Failed::Busy(busy.retry_after))?;
            origin.relay(permit, request, body, upload).await.map_err(Failed::Origin)
        };
        let about = self.before_head(&visit);
        let relayed = if safe {
            asked.await
        } else {
            let (edge, outdates) = (self.clone(), Unsafe::of(&visit));
            let task = tokio::spawn(async move {
                let in_flight = edge.parts().accounts.metrics.relays_in_flight.clone();
                in_flight.inc();
                let relayed = asked.await;
                in_flight.dec();
                if let Ok(Relayed { head, .. }) = &relayed {
                    edge.after_unsafe(outdates, head).await;
                }
                relayed
            });
            task.await.unwrap_or(Err(Failed::Origin(OriginError::Closed)))
        };
        if let Ok(Relayed { head, .. }) = &relayed {
            self.share_later(&visit, head);
            if let Some(about) = about {
                self.after_head(&visit, about, head).await;
            }
        }
        match relayed {
            Ok(relayed) => answer_relayed(visit, relayed, switch, why, detail),
            Err(failed) => answer_failed(visit, &failed),
        }
    }
}

impl Edge {
    /// A script's request was relayed for its own fields, and the answer says that it is for everybody: a fill without those
    /// fields brings it for the others. Nobody waits for it.
    fn share_later(&self, visit: &Visit, head: &Head) {
        let request = &visit.parts.headers;
        let stores = visit.mode != Mode::Relay && !self.parts().handover.has_begun();
        if visit.parts.method != Method::GET || !visit.says_own_fields() || !stores {
            return;
        }
        let exchange = storable::Exchange {
            method: &visit.parts.method,
            request_authorization: request.contains_key(header::AUTHORIZATION),
            request_cookie_sent: request.contains_key(header::COOKIE),
            request_no_store: Directives::request(request).no_store,
            status: head.status,
            headers: &head.headers,
            directives: &Directives::said_to(&visit.route.site.targeted_fields, &head.headers),
            path_extension: None,
            lifetime_by_rule: false,
            shared_by_rule: false,
            private_by_rule: false,
            asked_by_rule: false,
            storable_status_by_rule: false,
            stale_by_rule: false,
            proven_by_rule: false,
            received: head.received,
        };
        // Not while a fill without those fields is known to bring what is for nobody else.
        if may_store(&exchange).is_ok() && !self.0.fills.passes(&visit.route.key, request) {
            self.0.fills.refresh(&visit.wanted(None, Vec::new()));
        }
    }
}

impl Visit {
    /// The request as the origin gets it: the client's own fields, what ended here taken out, the edge's added.
    pub(super) fn relayed(&self) -> OriginRequest {
        let mut headers = self.parts.headers.clone();
        coded_tag::sent_onward(&mut headers);
        fields::forward(&mut headers, &self.asker());
        self.account.trace.apply(&mut headers);
        let (mut path, mut host) = (Cow::Borrowed(self.path()), &self.route.host);
        if let Some(mount) = &self.route.mount {
            (path, host) = (Cow::Owned(mount.there(&path)), &mount.host);
            Mounted::withhold(&mut headers);
        }
        let target = match self.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.into_owned(),
        };
        OriginRequest {
            method: self.parts.method.clone(),
            target,
            host: host.clone(),
            headers,
            upgrade: self.route.upgrade.clone(),
            turn: Turn { site: self.route.site.name.clone(), class: self.class() },
        }
    }

    pub(super) fn expects_continue(&self) -> bool {
        self.parts
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    }
}

fn answer_relayed(
    mut visit: Box<Visit>,
    relayed: Relayed,
    switch: Option<hyper::upgrade::OnUpgrade>,
    why: Fwd,
    detail: Option<&'static str>,
) -> Response<Body> {
    let Relayed { head, body, tunnel } = relayed;
    let mut headers = head.headers;
    headers.append(header::VIA, VIA);
    strip_tags(&mut headers);
    if head.status == StatusCode::NOT_MODIFIED {
        answer::told_as_known(&visit.parts.headers, &mut headers);
    }
    if let Some(mount) = &visit.route.mount {
        mount.turn_back(&mut headers);
        headers.remove(header::SET_COOKIE);
    }
    if visit.part().is_some() || visit.may_be_another_version(&headers) {
        fields::tell_to_ask(&mut headers);
    }
    if !visit.route.access.is_open() {
        fields::for_one(&mut headers);
    }
    let told = detail.filter(|_| visit.is_told_why());
    let cache_status = status_field::fwd(why, Some(head.status.as_u16()), false, false, None, told);
    headers.append(status_field::CACHE_STATUS, cache_status);
    if let (Some(tunnel), Some(switch)) = (tunnel, switch) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, tunnel.protocol().clone());
        tokio::spawn(join(tunnel, switch));
    }
    visit.account.origin = Some(head.server);
    visit.account.outcome = Outcome::Pass;
    visit.account.detail = detail;
    visit.account.answered(head.status);
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let bodiless = visit.parts.method == http::Method::HEAD
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
        );
    let body = if bodiless {
        Body::new(Source::Empty, None, visit.account)
    } else {
        Body::new(Source::Relayed(Box::pin(body)), length, visit.account)
    };
    answer::respond(head.status, headers, body)
}

/// Joins the two ends of a tunnel until both have closed. The listener watches that bytes flow.
async fn join(mut tunnel: Tunnel, switch: hyper::upgrade::OnUpgrade) {
    if let Ok(client) = switch.await {
        // A tunnel ends as its ends do; how is theirs to know.
        _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut tunnel).await;
    }
}

fn answer_failed(visit: Box<Visit>, failed: &Failed) -> Response<Body> {
    let (fault, plain) = match failed {
        Failed::Busy(retry_after) => (Fault::Origin, Plain::busy(*retry_after)),
        Failed::Origin(error) => (error.fault(), Plain::origin(error)),
    };
    let outcome = match failed {
        Failed::Origin(OriginError::BodyLimit | OriginError::Unsendable) => Outcome::Refused,
        _ => Outcome::Failed,
    };
    answer::failed(visit, outcome, Some(fault), plain)
}
