//! What holds of any input: one claim per fuzz target, without the harness, so that a test can replay its corpus.
//!
//! A claim panics where it does not hold. It asks the parser, and then something simpler that cannot be wrong.

mod config;
mod fields;
mod list;
mod listener;
mod range;
mod stored;
mod url;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use config::config;
pub use fields::fields;
pub use list::list;
pub use listener::{framing, proxy_header};
pub use range::range;
pub use stored::stored;
pub use url::{host, normalise, query};

/// What holds of any bytes.
pub type Claim = fn(&[u8]);

/// The claims by name: each is a file in `fuzz_targets/` and a folder in `corpus/`.
pub const TARGETS: [(&str, Claim); 10] = [
    ("config", config),
    ("fields", fields),
    ("framing", framing),
    ("host", host),
    ("list", list),
    ("normalise", normalise),
    ("proxy_header", proxy_header),
    ("query", query),
    ("range", range),
    ("stored", stored),
];

/// Fields as they stand in a head, one a line: `name: value`. What is no field is left out.
fn field_lines(lines: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            // Full: so would a listener's be.
            let _ = fields.try_append(name, value);
        }
    }
    fields
}
