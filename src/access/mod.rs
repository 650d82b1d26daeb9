//! Whether a client may have what a rule does not give to everybody.

pub mod signed;
