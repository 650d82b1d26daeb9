//! The sample LMS as a program.

fn main() {}
