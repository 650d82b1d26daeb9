//! What every test needs: an origin that does as it is told, clients that forgive nothing, waits that end.

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod coded;
pub(crate) mod deadline;
pub(crate) mod dial;
pub(crate) mod edge;
pub(crate) mod film;
pub(crate) mod gate;
pub(crate) mod goaway;
pub(crate) mod h2;
pub(crate) mod h2_origin;
pub(crate) mod medium;
pub(crate) mod message;
pub(crate) mod moodle;
pub(crate) mod origin;
pub(crate) mod parts;
pub(crate) mod playing;
pub(crate) mod tls;
pub(crate) mod wire;
