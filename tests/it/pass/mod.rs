//! The relay: whatever the edge does not answer itself goes to the origin as it is.
//!
//! - `methods`: any method, any body, HTTP/1.1 and HTTP/2 on both sides.
//! - `bulk`: bodies of any size at constant memory, in both directions (G40).
//! - `expect`: `Expect: 100-continue` (G47), and bodies that are too long.
//! - `live`: upgrades (G46) and event streams.
//! - `fields`: what ends here and what is added (G44).
//! - `unsafe_methods`: beacons, no POST twice (G45), what a POST makes outdated.

mod bulk;
mod expect;
mod fields;
mod live;
mod methods;
mod unsafe_methods;

use std::net::SocketAddr;

use crate::support::edge::Edge;

/// As [`Edge::before`], with more keys of the listener and of the origin.
async fn edge(origin: SocketAddr, listener: &str, of_origin: &str, rest: &str) -> Edge {
    Edge::with(&format!(
        "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [[origin]]\nname = \"lms\"\nservers = [\"{origin}\"]\n{of_origin}\n\
         [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n{rest}\n"
    ))
    .await
}
