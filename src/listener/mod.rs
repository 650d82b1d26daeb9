//! The way in: accept, deadlines, TLS by name, deferred flush, hyper's connections.
//!
//! A [`Listener`] is one address; an [`Accepting`] its share of one runtime thread. Requests go to a [`Serve`], after those that
//! two servers could read differently were refused. Counts of what is open are in [`Connections`]: a stop waits there.

mod body;
mod connection;
mod connections;
mod deadlines;
mod deferred;
mod descriptors;
pub mod framing;
mod preface;
pub mod proxy_protocol;
mod run;
mod service;
mod settings;
mod socket;
mod stream;
mod streams;
mod tls;
mod watch;

pub use body::{RequestBody, RequestBodyError};
pub use connection::{Connection, Refused, Serve};
pub use connections::Connections;
pub use descriptors::raise_descriptor_limit;
pub use run::bytes_handed;
pub use service::{Accepting, Listener};
pub use settings::{ClientAuth, Deadlines, Limits, ListenerSettings, TlsSettings, TlsVersion};
pub use socket::{BindError, Bound};
pub use tls::{Certificates, DevelopmentPair, PairProblem, Problem, TlsError, write_development_pair};

#[cfg(test)]
mod tests;
