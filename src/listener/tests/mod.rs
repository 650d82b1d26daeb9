//! The listener with real sockets: what a client sees, what the service sees, what is counted.

mod deadlines;
mod http2;
mod requests;
mod stop;
mod support;
mod tls;
