//! Lectern, an edge cache for learning platforms.
//!
//! A request comes in through the [`listener`], and [`edge`] leads it on. Its host names the [`site`], whose [`rules`] give
//! the verdict: refuse, pass, cache. What may be cached is looked for in the [`cache`], for whom [`access`] lets in; what is not there is brought by a
//! [`fill`], which asks the [`origin`] once for all who wait. The answer, and the account of it, is put together in
//! [`response`]. Whether something stored is outdated is asked of the [`ledger`], which [`control`] writes.
//!
//! `docs/architecture.md` tells the same with its reasons. Each part may import what stands below it (with `control` beside
//! the path, and `ledger` beside `rules`); `tests/it/architecture.rs` holds that.

// what the operator says, and what runs it
pub mod cli;
pub mod config;
pub mod node;

// the way in, and the life of a request
pub mod edge;
pub mod listener;

// the answer
pub mod response;

// what is brought, for whom
pub mod access;
pub mod fill;
pub mod release;
pub mod site;

// where it is kept, where it comes from
pub mod cache;
pub mod origin;

// what is decided before, and what outdates
pub mod ledger;
pub mod rules;

// what pipeline and operations call
pub mod control;

// the ground
pub mod clock;
pub mod http_caching;
pub mod telemetry;
pub mod units;
