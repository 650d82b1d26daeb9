//! Exit code, allocator, TLS provider; nothing else.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before Pingora would install ring. Fails only if a provider is there already, and nothing ran before.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    lectern::cli::run()
}
