//! Which of a stored response's variants a request is shown, and which it would rather have.

use super::Recode;
use crate::{
    cache::{CodingSettings, StoredResponse},
    http_caching::{Accepted, Coding, Directives, Recodable, validate},
};
use http::{HeaderMap, Method, header};
use std::sync::Arc;

/// The codings that are made on the way, the fastest first.
const FASTEST: [Coding; 3] = [Coding::Zstd, Coding::Gzip, Coding::Brotli];

/// The variant that a request is shown, of those that were made; `None`: the response as it is.
///
/// Who asks for a range gets one of the response as it is, whose bytes stay the same; but of a variant, where the range is bound
/// to that by its tag.
pub fn variant(
    method: &Method,
    asked: &HeaderMap,
    stored: &StoredResponse,
) -> Option<(Coding, Arc<StoredResponse>)> {
    let Recodable { from, .. } = stored.recodable()?;
    if !stored.body.has_variants() || forbids(asked) {
        return None;
    }
    let accepted = Accepted::by(asked);
    let made = |coding| stored.coded(coding).map(|variant| (coding, variant));
    if *method == Method::GET && asked.contains_key(header::RANGE) {
        let bound = asked.contains_key(header::IF_RANGE);
        let named = |variant: &StoredResponse| {
            validate::if_range_holds(asked, variant.headers.get(header::ETAG), None, None)
        };
        let others = accepted.preferred().filter(|coding| bound && *coding != from);
        let named = others.filter_map(made).find(|(_, variant)| named(variant));
        if named.is_some() || accepted.takes(from) {
            return named;
        }
    }
    accepted.preferred().take_while(|coding| *coding != from).find_map(made)
}

/// What becomes of a response on the way to a client that cannot take it as it is.
pub fn on_the_way(asked: &HeaderMap, recodable: Option<Recodable>, codes: bool) -> Option<Recode> {
    let recodable = recodable?;
    let Recodable { from, .. } = recodable;
    if from == Coding::Identity && !codes {
        return None;
    }
    let accepted = Accepted::by(asked);
    if accepted.takes(from) || forbids(asked) {
        return None;
    }
    if accepted.takes(Coding::Identity) {
        return Some(Recode::new(from, Coding::Identity));
    }
    let to = FASTEST.into_iter().find(|to| codes && accepted.takes(*to) && recodable.may_become(*to))?;
    Some(Recode::new(from, to))
}

/// The coding in which a request would rather have had what it was shown: what a coder is to make.
pub fn wanted(asked: &HeaderMap, stored: &StoredResponse, settings: &CodingSettings) -> Option<Coding> {
    let recodable = stored.recodable()?;
    if !settings.fits(stored.length) || asked.contains_key(header::RANGE) || forbids(asked) {
        return None;
    }
    let wanted = Accepted::by(asked).preferred().next()?;
    recodable.may_become(wanted).then_some(wanted)
}

/// Whether the request itself wants nothing transformed (RFC 9111 §5.2.1.6).
fn forbids(asked: &HeaderMap) -> bool {
    asked.contains_key(header::CACHE_CONTROL) && Directives::response(asked).no_transform
}
