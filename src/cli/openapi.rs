//! `lectern openapi`: the description that stands in `docs/openapi.json`.

use super::{Exit, Streams};
use crate::control::openapi_json;

pub(super) fn run(streams: &mut Streams<'_>) -> Exit {
    streams.say(format_args!("{}", openapi_json().trim_end()));
    Exit::Done
}
