//! The one normalisation: what the key is built from is exactly what the origin is asked.
//!
//! Two spellings become one only where RFC 3986 says that they are the same request *and* the origin is sent the
//! normal one. Everything else is opaque: `//`, `;`, `%2F`, letter case, the order and the spelling of a query.
//! What only pretends to be a path (control characters, overlong UTF-8, a dot segment that appears when the origin
//! decodes once more) is refused before anything is looked up.

mod host;
mod path;
mod query;

pub use host::{BadHost, host};
pub use path::{BadTarget, target};
pub use query::{masked, query, values, without};

pub(in crate::rules) use query::{parameters, spells};

/// The value of a hex digit.
const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
