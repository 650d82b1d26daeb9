//! Answers: their fields, their bodies, the part a request gets, failures, and the account of each.

mod account;
mod body;
pub mod coding;
mod explanation;
mod failure;
pub mod fields;
mod multipart;
mod part;
mod warmed;

pub use account::{Account, Accounts, Arrival};
pub use body::{Body, Ranges, Source, Unclean};
pub use explanation::{
    AnswerTold, CodedTold, Explanation, FieldTold, KeyTold, NumberTold, OriginTold, Otherwise, PassedOver,
    RangeTold, RuleTold, SiteTold, StoredTold, is_secret,
};
pub use failure::Plain;
pub use multipart::{BodyPart, Boundary, Multipart};
pub use part::{Part, part};
pub use warmed::{WarmResult, Warmed};
