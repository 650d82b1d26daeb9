//! The coding of an answer: which of a response's variants a request is shown, what is coded or decoded on the way, and the
//! coders that make variants beside all that.
//!
//! A response is stored as it came, coded or not. Its variants in other codings are made once, by threads of low priority within
//! a budget, after somebody asked for it who takes them ([`coder`]). Until then it is shown as it is. Where a client cannot take
//! that (gzip that an origin sent unasked, identity that it refuses) it is decoded or coded while it is sent ([`stream`]).

mod budget;
mod choice;
mod coder;
mod machine;
mod stream;

pub use choice::{on_the_way, variant, wanted};
pub use coder::{Coder, Task};
pub use stream::{Recode, Recoded};
