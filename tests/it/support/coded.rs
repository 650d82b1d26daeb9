//! Content codings as a client, or an origin, has them.

use std::io::{Cursor, Read, Write};

use super::message::Reply;

/// The body as the client reads it, having decoded what it says it is coded by.
pub(crate) fn decoded(reply: &Reply) -> Vec<u8> {
    let mut plain = Vec::new();
    let coded = Cursor::new(&reply.body);
    match reply.field("content-encoding") {
        None => return reply.body.clone(),
        Some("br") => _ = brotli::Decompressor::new(coded, 4096).read_to_end(&mut plain).unwrap(),
        Some("gzip") => _ = flate2::bufread::GzDecoder::new(coded).read_to_end(&mut plain).unwrap(),
        Some("zstd") => plain = zstd::decode_all(coded).unwrap(),
        Some(other) => panic!("coded by {other}"),
    }
    plain
}

pub(crate) fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    coder.write_all(body).unwrap();
    coder.finish().unwrap()
}

pub(crate) fn coding(reply: &Reply) -> &str {
    reply.field("content-encoding").unwrap_or("identity")
}
