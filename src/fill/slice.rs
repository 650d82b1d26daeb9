//! Parts of a body that the origin is asked for: chunks that are missing, and what continues a fill that was cut.
//!
//! A part is asked for by the validator that names these bytes and no others. Real origins ignore `If-Range`, so nothing is
//! believed that the answer does not say itself: its validator, its coding, its positions and the length of the whole.

use crate::{
    access::{Learner, essence},
    cache::{Key, StoredResponse},
    fill::{
        Fills, Wanted,
        decide::is_failure,
        growing::{Cut, Growing, RunId},
        pump::{self, InFlight, Run},
        request,
        task::Failure,
    },
    http_caching::partial::{self, Part},
    origin::{Exchange, Origin, OriginBody, OriginRequest},
    telemetry::Fault,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::{fmt::Write, sync::Arc};

/// The origin has another body under this URL by now.
const CHANGED: Cut = Cut { fault: Fault::Origin, word: "other-validator" };
/// The origin gives no parts of this body.
const NO_PARTS: Cut = Cut { fault: Fault::Origin, word: "no-parts" };

/// None of those who read may have more of this body.
const NOT_ALLOWED: Cut = Cut { fault: Fault::Origin, word: "not-allowed" };

/// Where the missing chunks of a body can be had.
pub(super) struct Source {
    fills: Arc<Fills>,
    origin: Arc<Origin>,
    key: Key,
    /// As the body was asked for, without conditions.
    request: OriginRequest,
    /// The validator that names these bytes and no others.
    tag: Option<HeaderValue>,
    coding: Option<HeaderValue>,
    /// The media type, where the LMS is asked in the name of whoever reads: what has another is what it says to who may not.
    guarded: Option<Vec<u8>>,
}

/// What an origin answered that was asked for a part.
enum Answer {
    Part(OriginBody, Part),
    /// The same bytes, but all of them.
    Whole(OriginBody),
    /// It has other bytes now.
    Changed,
    /// Nothing that can be used.
    NoParts,
    /// It cannot do its work just now, which says nothing of the bytes.
    NotNow,
    /// The learner in whose name it was asked may not have them.
    Denied,
    Failed(Failure),
}

impl Source {
    /// Where the rest of what a fill brings can be had.
    pub(super) fn of_fill(
        fills: &Arc<Fills>,
        ask: &super::task::Ask,
        headers: &HeaderMap,
        tag: Option<HeaderValue>,
    ) -> Arc<Source> {
        let mut request = ask.request.clone();
        for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE] {
            request.headers.remove(name);
        }
        let (origin, key, coding) = (ask.origin().clone(), ask.key.clone(), coding(headers));
        let guarded = ask.asking.is_some().then(|| essence(headers));
        Arc::new(Source { fills: fills.clone(), origin, key, request, tag, coding, guarded })
    }

    /// Where what is missing of a stored response can be had by who wants it.
    pub(super) fn of_stored(fills: &Arc<Fills>, wanted: &Wanted<'_>, stored: &StoredResponse) -> Arc<Source> {
        let (origin, key) = (wanted.origin().clone(), wanted.key.clone());
        let (request, tag) = (request::get(wanted), stored.content_tag().cloned());
        let (coding, guarded) =
            (coding(&stored.headers), wanted.learner.is_some().then(|| essence(&stored.headers)));
        Arc::new(Source { fills: fills.clone(), origin, key, request, tag, coding, guarded })
    }

    /// Whether its validator names these bytes and no others.
    pub(super) fn names_content(&self) -> bool {
        self.tag.is_some()
    }

    /// Takes the body out of the store: the origin has another one.
    async fn withdraw(&self, growing: &Growing) {
        self.fills.tiers.withdraw(&self.key, growing.body()).await;
        growing.fetches_no_more();
    }

    /// Asks for the bytes from `start` to before `end`, or to the body's end; or for the whole. Where the LMS decides who may
    /// have them, in the name of those who read, one after the other, until one may.
    async fn ask(&self, growing: &Growing, range: Option<(u64, Option<u64>)>, length: Option<u64>) -> Answer {
        if self.guarded.is_none() {
            return self.ask_for(None, range, length).await;
        }
        let mut denied = Vec::new();
        while let Some(learner) = self.sponsor(growing, &denied) {
            let asking = self.fills.checks.asking(&learner);
            match self.ask_for(Some(&learner), range, length).await {
                Answer::Denied => {
                    self.fills.checks.deny(&asking);
                    denied.push(*learner.key());
                }
                answer => return answer,
            }
        }
        Answer::Denied
    }

    /// Who of those who read is asked for next: first who has a yes that is kept.
    fn sponsor(&self, growing: &Growing, denied: &[[u8; 32]]) -> Option<Arc<Learner>> {
        let mut readers = growing.learners();
        readers.retain(|learner| !denied.contains(learner.key()));
        let first = readers.iter().position(|learner| self.fills.checks.kept(learner).is_some());
        (!readers.is_empty()).then(|| readers.swap_remove(first.unwrap_or_default()))
    }

    async fn ask_for(
        &self,
        learner: Option<&Learner>,
        range: Option<(u64, Option<u64>)>,
        length: Option<u64>,
    ) -> Answer {
        let Some(tag) = &self.tag else { return Answer::NoParts };
        let mut request = self.request.clone();
        if let Some(learner) = learner {
            learner.show(&mut request.headers);
        }
        if let Some((start, end)) = range {
            request.headers.insert(header::RANGE, range_field(start, end));
            request.headers.insert(header::IF_RANGE, tag.clone());
        }
        let Exchange { head, body } = match pump::ask(&self.origin, request).await {
            Ok(exchange) => exchange,
            Err(failure) => return Answer::Failed(failure),
        };
        let guarded = self.guarded.as_ref();
        if guarded.is_none() && matches!(head.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Answer::Changed;
        }
        if is_failure(head.status) {
            return Answer::NotNow;
        }
        let parts = matches!(head.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        let names = head.headers.contains_key(header::ETAG);
        if guarded.is_some_and(|kind| !parts || !names || essence(&head.headers) != *kind) {
            return Answer::Denied;
        }
        if !matches!(head.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Answer::NoParts;
        }
        match partial::same_bytes(&head.headers, tag, self.coding.as_ref()) {
            None => return Answer::NoParts,
            Some(false) => return Answer::Changed,
            Some(true) => {}
        }
        if head.status == StatusCode::OK {
            let fits =
                !body.delimited_by_close() && body.length().is_none_or(|own| length.is_none_or(|l| l == own));
            return if fits { Answer::Whole(body) } else { Answer::Changed };
        }
        match range.and_then(|(start, end)| partial::part(&head.headers, body.length(), start, end)) {
            Some(part) if length.is_none_or(|length| part.length == length) => Answer::Part(body, part),
            Some(_) => Answer::Changed,
            None => Answer::NoParts,
        }
    }
}

/// Begins to ask for the chunks from one byte to before another, or for the whole.
pub(super) fn spawn(growing: &Arc<Growing>, run: RunId, range: Option<(u64, u64)>) {
    match growing.source() {
        Some(source) => drop(tokio::spawn(bring(source.clone(), growing.clone(), run, range))),
        None => growing.cut(run, NO_PARTS),
    }
}

async fn bring(source: Arc<Source>, growing: Arc<Growing>, id: RunId, range: Option<(u64, u64)>) {
    let _in_flight = InFlight::new(&source.fills.metrics);
    let run = Run::new(&source.fills, &growing, id, &source.key, false);
    let length = growing.body().length();
    if range.is_some() {
        widen(&growing, id).await;
    }
    let range = range.map(|(start, end)| (start, Some(growing.progress(id).2.unwrap_or(end))));
    let mut answer = source.ask(&growing, range, length).await;
    if range.is_some() && matches!(answer, Answer::Whole(_) | Answer::NoParts) {
        if !growing.begin_again(id) {
            return;
        }
        if matches!(answer, Answer::NoParts) {
            answer = source.ask(&growing, None, length).await;
        }
    }
    let body = match answer {
        Answer::Part(body, _) | Answer::Whole(body) => body,
        Answer::Changed => {
            source.withdraw(&growing).await;
            return run.fails(CHANGED);
        }
        Answer::NoParts | Answer::NotNow => return run.fails(NO_PARTS),
        Answer::Denied => return run.fails(NOT_ALLOWED),
        Answer::Failed(failure) => return run.fails(Cut { fault: failure.fault(), word: failure.word() }),
    };
    let brought = run.pump(&[], Some(body), None).await;
    source.fills.tiers.renew(&source.key, growing.body()).await;
    match brought {
        Ok(()) => run.ends(),
        Err(cut) => run.fails(cut),
    }
}

/// What seemed to be on disk behind a run and is not comes with it: where one chunk is lost others often are.
async fn widen(growing: &Growing, run: RunId) {
    while let Some((end, behind)) = growing.behind(run) {
        if growing.tiers().has_chunk(&behind).await {
            return;
        }
        growing.widen(run, end);
    }
}

/// What continues a run that the origin broke off: from its last sealed chunk, if the origin still has the same bytes.
pub(super) async fn go_on(growing: &Growing, run: RunId) -> Option<OriginBody> {
    let (source, (start, end)) = (growing.source()?, growing.go_back(run)?);
    match source.ask(growing, Some((start, end)), growing.body().length()).await {
        Answer::Part(body, part) if growing.body().has_length(part.length) => {
            growing.expect(run, Some(part.end));
            Some(body)
        }
        Answer::Changed => {
            source.withdraw(growing).await;
            None
        }
        Answer::Part(..)
        | Answer::Whole(_)
        | Answer::NoParts
        | Answer::NotNow
        | Answer::Denied
        | Answer::Failed(_) => None,
    }
}

/// `Range` for the bytes from `start` to before `end`, or to the body's end.
pub(super) fn range_field(start: u64, end: Option<u64>) -> HeaderValue {
    let mut text = format!("bytes={start}-");
    if let Some(end) = end {
        // Writing to a string does not fail.
        _ = write!(text, "{}", end - 1);
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("bytes=0-"))
}

fn coding(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(header::CONTENT_ENCODING).cloned()
}
