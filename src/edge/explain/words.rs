//! What an explanation says of the answer and of the request to the origin: outcomes and sentences.

use crate::{
    cache::StoredResponse,
    edge::{Own, Serving, Visit, outcome_of},
    fill::own_fields,
    http_caching::Fwd,
    ledger::Record,
    origin::OriginRequest,
    response::{AnswerTold, FieldTold, OriginTold, Otherwise, Part, Plain, RangeTold},
    rules::Asked,
    telemetry::Outcome,
};
use http::{HeaderName, HeaderValue, StatusCode, header};

/// Fields of a fill that come from no client.
const SAID_BY_NOBODY: [HeaderName; 4] =
    [header::HOST, header::VIA, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];

/// An answer of the edge's own.
pub(super) fn refused(plain: &Plain) -> AnswerTold {
    let why = match plain.word {
        "rule" => "the rule refuses it".to_owned(),
        "no-host" => "it names no host (no-host)".to_owned(),
        "unknown-host" => "no site answers for this host (unknown-host)".to_owned(),
        "bad-host" => "its host is no host (bad-host)".to_owned(),
        "purge-not-allowed" => "the site takes no PURGE from this client (purge-not-allowed)".to_owned(),
        "body-limit" => "its body is longer than rule or site let through (body-limit)".to_owned(),
        "only-if-cached" => {
            "it wants nothing that is not stored, and nothing stored serves (only-if-cached)".to_owned()
        }
        "signature-missing" => {
            "the rule asks for a signature, and it shows none (signature-missing)".to_owned()
        }
        "signature-expired" => "what it shows was valid until some time ago (signature-expired)".to_owned(),
        "signature-early" => "what it shows is not valid yet (signature-early)".to_owned(),
        "signature-malformed" => "what it shows cannot be read (signature-malformed)".to_owned(),
        "signature-key" => {
            "what it shows was made with a key that the rule does not have (signature-key)".to_owned()
        }
        "signature-forged" => "no key of the rule made what it shows for this host, path and client \
                               (signature-forged)"
            .to_owned(),
        "signature-path" => "what it shows is for other paths (signature-path)".to_owned(),
        "signature-client" => "what it shows is for another client address (signature-client)".to_owned(),
        "signature-audience" => "what it shows is for another host (signature-audience)".to_owned(),
        "signature-issuer" => "somebody else issued what it shows (signature-issuer)".to_owned(),
        word => format!("it is not let through ({word})"),
    };
    let status = Some(plain.status.as_u16());
    AnswerTold { outcome: Outcome::Refused.as_str().to_owned(), why, status, ..AnswerTold::default() }
}

/// An answer to a PURGE that is done.
pub(super) fn purges(records: &[Record]) -> AnswerTold {
    let soft = if records.iter().any(|record| record.about.soft) { ", soft" } else { "" };
    let what = records.first().map_or("", Record::kind);
    AnswerTold {
        outcome: Outcome::Pass.as_str().to_owned(),
        why: format!("the edge writes a record by itself: {what}{soft}"),
        status: Some(StatusCode::OK.as_u16()),
        ..AnswerTold::default()
    }
}

/// Status and ranges of an answer from what is stored.
fn part_told(stored: &StoredResponse, part: &Part) -> AnswerTold {
    let range = |&(first, last): &(u64, u64)| RangeTold { first, last };
    let (status, ranges) = match part {
        Part::Whole => (stored.status, Vec::new()),
        Part::Range { first, last, .. } => (StatusCode::PARTIAL_CONTENT, vec![range(&(*first, *last))]),
        Part::Ranges { ranges, .. } => (StatusCode::PARTIAL_CONTENT, ranges.iter().map(range).collect()),
        Part::Unsatisfiable { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, Vec::new()),
        Part::NotModified => (StatusCode::NOT_MODIFIED, Vec::new()),
        Part::Failed => (StatusCode::PRECONDITION_FAILED, Vec::new()),
    };
    AnswerTold { status: Some(status.as_u16()), ranges, ..AnswerTold::default() }
}

/// An answer from a stored response.
pub(super) fn served(stored: &StoredResponse, part: &Part, ttl: i64, how: Serving) -> AnswerTold {
    let why = match ttl {
        1.. => format!("a stored response is fresh for {ttl} more seconds"),
        _ if how == Serving::Sparing => format!(
            "a stored response is stale for {} seconds and serves, as the origin is to be spared (switch-spare)",
            -ttl
        ),
        _ if how == Serving::AsItIs => {
            format!("a stored response is stale for {} seconds, and the request takes that (max-stale)", -ttl)
        }
        _ => format!(
            "a stored response is stale for {} seconds and serves while a fill brings a new one",
            -ttl
        ),
    };
    AnswerTold { outcome: outcome_of(ttl).as_str().to_owned(), why, ..part_told(stored, part) }
}

/// An answer from a stored response some of whose bytes are asked for.
pub(super) fn completed(stored: &StoredResponse, part: &Part) -> AnswerTold {
    let why = "a stored response serves, and the origin is asked for the bytes of it that are missing";
    let otherwise = vec![unless_it_fails(false)];
    let answer = answer(Outcome::Miss, why.to_owned(), Fwd::Partial, otherwise);
    let AnswerTold { status, ranges, .. } = part_told(stored, part);
    AnswerTold { status, ranges, ..answer }
}

/// An answer that the origin is asked for.
fn answer(outcome: Outcome, why: String, fwd: Fwd, otherwise: Vec<Otherwise>) -> AnswerTold {
    let (outcome, fwd) = (outcome.as_str().to_owned(), Some(fwd.as_str().to_owned()));
    AnswerTold { outcome, why, fwd, otherwise, ..AnswerTold::default() }
}

/// An answer from a fill that it begins, for which it is known whether it is conditional, whether nobody else may wait for
/// it, and whether what is stale may stand in for it.
pub(super) fn filled(
    visit: &Visit,
    why: Fwd,
    sentence: String,
    (conditional, alone, stale): (bool, bool, bool),
) -> AnswerTold {
    let stored = when(Outcome::Miss, "if the origin sends a response that may be stored");
    let passes = when(
        Outcome::Pass,
        if visit.says_more() {
            "if what the origin sends may not be stored; it may be asked again then, with all that this client says"
        } else {
            "if what the origin sends may not be stored"
        },
    );
    let (outcome, mut otherwise) = match (conditional, alone) {
        (true, _) => (Outcome::Revalidated, vec![stored, passes]),
        (false, true) => (Outcome::Pass, vec![stored]),
        (false, false) => (Outcome::Miss, vec![passes]),
    };
    otherwise.push(unless_it_fails(stale));
    answer(outcome, sentence, why, otherwise)
}

/// An answer from a fill under way.
pub(super) fn joined(why: Fwd, stale: bool) -> AnswerTold {
    let sentence = "a fill of this key is under way: it is waited for".to_owned();
    let otherwise = vec![
        when(Outcome::Miss, "if what comes is for other selecting fields: by a fill of its own"),
        when(Outcome::Pass, "if what comes may not be shared: by a relay of its own"),
        unless_it_fails(stale),
    ];
    answer(Outcome::Joined, sentence, why, otherwise)
}

/// An answer that depends on what the LMS says of this learner first.
pub(super) fn asked(known: bool, asked: &Asked) -> AnswerTold {
    let sentence = match known {
        true => "the LMS is asked first whether this learner may have what is stored: no yes is kept",
        false if asked.check.is_some() => {
            "the LMS is asked first whether this learner may have it: no yes is kept"
        }
        false => "no yes is kept and nothing known is stored: the LMS's answer to her own request decides",
    };
    let otherwise = vec![
        when(Outcome::Pass, "if the LMS says anything else than yes: that is her answer"),
        when(Outcome::Failed, "if the LMS cannot be asked, unless the rule lets the last yes count"),
    ];
    answer(
        if known { Outcome::Revalidated } else { Outcome::Miss },
        sentence.to_owned(),
        Fwd::Request,
        otherwise,
    )
}

/// An answer from the origin alone.
pub(super) fn relayed(visit: &Visit, why: Fwd, own: Option<Own>) -> AnswerTold {
    answer(Outcome::Pass, relay_sentence(visit, why, own), why, vec![unless_it_fails(false)])
}

fn when(outcome: Outcome, when: &str) -> Otherwise {
    Otherwise { outcome: outcome.as_str().to_owned(), when: when.to_owned() }
}

/// What becomes of it if the origin fails: what is stale may stand in, or nothing does.
fn unless_it_fails(stale: bool) -> Otherwise {
    match stale {
        true => when(Outcome::Stale, "if the origin fails: what is stored may stand in"),
        false => when(Outcome::Failed, "if the origin cannot be asked or breaks off"),
    }
}

/// Why a request is relayed.
fn relay_sentence(visit: &Visit, why: Fwd, own: Option<Own>) -> String {
    let mut sentence = match own {
        None if why == Fwd::Bypass => "the rule says pass".to_owned(),
        None if why == Fwd::Request => {
            "it shows nothing by which the LMS could be asked who it is".to_owned()
        }
        None if visit.route.upgrade.is_some() => "it asks to change the protocol".to_owned(),
        None => format!("the answer to a {} is not stored", visit.parts.method),
        Some(Own::HandedOver) => "another process serves in the place of this one".to_owned(),
        Some(Own::Switch) => {
            "its site is switched to relay everything and store nothing (switch-relay)".to_owned()
        }
        Some(Own::Head) => "nothing stored serves, and a HEAD brings no body to store".to_owned(),
        Some(Own::Body) => "it has a body, which the origin must see".to_owned(),
        Some(Own::NoStore) => "it says no-store".to_owned(),
        Some(Own::ClientsCopy) => {
            "it asks with credentials whether the client's own copy still holds; no rule speaks for it"
                .to_owned()
        }
        Some(Own::Fields) => {
            let names: Vec<_> = own_fields(&visit.parts.headers).map(HeaderName::as_str).collect();
            format!(
                "no rule speaks for it, and it has fields that a fill may not carry: {}",
                names.join(", ")
            )
        }
        Some(Own::PassMark) => {
            "what came for this key last was for nobody else (pass mark), and it says more than a fill would"
                .to_owned()
        }
    };
    if !visit.parts.method.is_safe() {
        sentence.push_str("; if it succeeds, what is stored under its URL is forgotten");
    }
    sentence
}

/// Why a fill is begun.
pub(super) fn fill_sentence(why: Fwd, validates: bool, conditional: bool, alone: bool) -> String {
    let mut sentence = match why {
        Fwd::UriMiss => "nothing is stored for this URL",
        Fwd::VaryMiss => "what is stored was chosen by other values of its selecting fields",
        Fwd::Stale if conditional => "what is stored is stale: the origin is asked whether it still holds",
        Fwd::Stale if validates => "what is stored is stale and has no validator that is trusted",
        Fwd::Stale => "what is stored is outdated, or its body is not there",
        _ => "what is stored lacks a part of its body",
    }
    .to_owned();
    if alone {
        sentence.push_str("; nobody else waits for it, as the last answer could not be shared (pass mark)");
    }
    sentence
}

/// What the origin would be sent.
pub(super) fn sent(visit: &Visit, by: &str, request: &OriginRequest, conditional: bool) -> OriginTold {
    let origin = visit.origin();
    let (body, expects) = match by {
        "relay" => (visit.announced(), visit.expects_continue()),
        _ => (None, false),
    };
    // What cannot be sent is told as it is meant.
    let fields =
        origin.sends(request, body, expects && body.is_some()).unwrap_or_else(|_| request.headers.clone());
    let field = |(name, value): (&HeaderName, &HeaderValue)| match name.as_str() {
        "traceparent" if !visit.parts.headers.contains_key(name) => {
            FieldTold { name: name.to_string(), value: "(new for each request)".to_owned() }
        }
        _ => FieldTold::new(name, value.as_bytes()),
    };
    // What another client said is not told.
    let told = |name: &HeaderName| by != "joined" || SAID_BY_NOBODY.contains(name);
    let settings = origin.settings();
    OriginTold {
        name: settings.name.clone(),
        servers: settings.servers.iter().map(|(host, port)| format!("{host}:{port}")).collect(),
        by: by.to_owned(),
        method: request.method.to_string(),
        target: request.target.clone(),
        fields: fields.iter().filter(|(name, _)| told(name)).map(field).collect(),
        conditional,
    }
}
