//! RFC 9110, 9111, 9213 and 9875 as pure functions of plain values and `now`: what a response and a request say
//! ([`directives`], and to this kind of cache alone [`targeted`]), whether a response may be stored ([`storable`]), how
//! long it is fresh ([`freshness`]), for whom it was selected ([`vary`]), in which coding ([`coding`], [`coded_tag`]), what conditions ([`validate`]) and ranges
//! ([`range`]) come to, what parts are of one body ([`partial`]), what a 304 or a HEAD changes ([`freshen`]) and an unsafe
//! method outdates ([`invalidation`], [`groups`]), and how the outcome is told ([`status_field`]). Nothing here is async,
//! reads a clock or changes anything.
//!
//! `normative.rs` goes through RFC 9111 sentence by sentence.

pub mod accept;
pub mod coded_tag;
pub mod coding;
pub mod directives;
pub mod freshen;
pub mod freshness;
pub mod groups;
pub mod invalidation;
mod list;
#[cfg(test)]
mod normative;
pub mod partial;
pub mod range;
pub mod status_field;
pub mod storable;
mod tags;
pub mod targeted;
pub mod validate;
pub mod vary;

pub use coding::{Accepted, Coding, Recodable};
pub use directives::{Directives, Fields, RequestDirectives};
pub use freshness::{Freshness, Lifetime, Source, parse_http_date};
pub use range::{ContentRange, Requested, Resolved, Spec};
pub use status_field::Fwd;
pub use storable::{Exchange, NotStorable, may_store};
pub use tags::{LISTS, Tags, strip as strip_tags};
pub use validate::{Condition, EntityTag};
pub use vary::{SelectingValue, Vary};
