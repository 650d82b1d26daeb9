//! Answers: their fields, their bodies, the part a request gets, failures, and the account of each.

mod account;
mod body;
mod failure;
pub mod fields;
mod multipart;
mod part;

pub use account::{Account, Accounts, Arrival};
pub use body::{Body, Ranges, Source, Unclean};
pub use failure::Plain;
pub use multipart::{BodyPart, Boundary, Multipart};
pub use part::{Part, part};
