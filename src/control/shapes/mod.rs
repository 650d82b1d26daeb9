//! Calls as other products take them, for pipelines that make them already: the same records, answered in the caller's form. Off
//! unless `control.shapes` names them.
//!
//! The token is the node's own, wherever the product has its key; a call that is not allowed or not understood changes nothing.

pub(super) mod cloudflare;
pub(super) mod fastly;

use super::Problem;

/// A product whose calls are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `POST /service/{site}/purge…`.
    Fastly,
    /// `POST /client/v4/zones/{site}/purge_cache`.
    Cloudflare,
}

impl Shape {
    /// The word for it in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Shape::Fastly => "fastly",
            Shape::Cloudflare => "cloudflare",
        }
    }
}

/// Refuses calls of a shape that is not named.
pub(super) fn takes(shapes: &[Shape], shape: Shape) -> Result<(), Problem> {
    if shapes.contains(&shape) { Ok(()) } else { Err(Problem::shape_off(shape.as_str())) }
}
