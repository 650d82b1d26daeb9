//! The skew guard: what an origin sends is a file of the release that was asked for only if that is proven.
//!
//! While the fronts of an origin are updated one after the other, they answer for each other's release. An answer is proven by its head and
//! streamed; or by its bytes, read whole before anybody gets one, up to [`HELD`]; or, if it is longer, at its end, and until then
//! nobody may keep what he reads. What is of another release is asked for again: the origin's servers take turns.

use crate::{
    fill::{
        Fills,
        growing::Cut,
        pump::{self, failure_of},
        task::{Ask, Failure, Fill},
    },
    origin::{Exchange, Head, OriginBody},
    release::{ByHead, Hashing, Part},
    telemetry::{Fault, Seldom},
};
use http::StatusCode;

/// So many bytes are read before the first of them is shown.
const HELD: usize = 8 << 20;
/// How often a file is asked for that comes of another release.
const TRIES: usize = 4;
/// How often one is asked for that is said not to be there.
const TRIES_OF_NONE: usize = 2;

/// What is streamed turned out to be of another release.
pub(super) const OTHER_RELEASE: Cut = Cut { fault: Fault::Origin, word: "other-release" };

static SKEW: Seldom = Seldom::new();

/// An answer that may be brought.
pub(super) struct Admitted {
    pub(super) head: Head,
    /// Its bytes that were read by now.
    pub(super) held: Vec<u8>,
    /// The rest; none: all were read.
    pub(super) rest: Option<OriginBody>,
    pub(super) length: Option<u64>,
    pub(super) delimited_by_close: bool,
    /// What the rest is to prove at its end.
    pub(super) hashing: Option<Hashing>,
    pub(super) standing: Standing,
}

/// How an answer is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As what was asked for.
    Proven,
    /// Nothing proves it before its end.
    Unproven,
    /// It is not the file, and says so: an error, a redirection.
    NotTheFile,
}

impl Admitted {
    fn streams(Exchange { head, body }: Exchange, standing: Standing) -> Admitted {
        let (length, delimited_by_close) = (body.length(), body.delimited_by_close());
        Admitted {
            head,
            held: Vec::new(),
            rest: Some(body),
            length,
            delimited_by_close,
            hashing: None,
            standing,
        }
    }
}

/// Looks at an answer before anybody gets any of it; asks again for what is of another release.
pub(super) async fn admit(fills: &Fills, fill: &Fill, mut exchange: Exchange) -> Result<Admitted, Failure> {
    let ask = &fill.ask;
    let Some(part) = &ask.part else { return Ok(Admitted::streams(exchange, Standing::Proven)) };
    for tried in 1.. {
        let server = exchange.head.server;
        let (status, by_head) =
            (exchange.head.status, part.proof.by_head(exchange.head.status, &exchange.head.headers));
        let admitted = match by_head {
            // What says that the origin cannot just now says nothing of a release.
            _ if status == StatusCode::NOT_MODIFIED || super::decide::is_failure(status) => {
                return Ok(Admitted::streams(exchange, Standing::NotTheFile));
            }
            ByHead::Fits => {
                let hashing = part.proof.hashing();
                return Ok(Admitted { hashing, ..Admitted::streams(exchange, Standing::Proven) });
            }
            ByHead::Nothing => match part.proof.hashing() {
                None => return Ok(Admitted::streams(exchange, Standing::Proven)),
                Some(hashing) => verify(exchange, hashing).await?,
            },
            ByHead::Other if status != StatusCode::OK && tried == TRIES_OF_NONE => {
                return Ok(Admitted::streams(exchange, Standing::NotTheFile));
            }
            // Its place at the origin is for the next.
            ByHead::Other => {
                drop(exchange);
                None
            }
        };
        if let Some(admitted) = admitted {
            return Ok(admitted);
        }
        mismatch(fills, ask, part, &server.to_string());
        if tried == TRIES {
            break;
        }
        exchange = pump::ask(ask.origin(), ask.sends()).await?;
    }
    Err(Failure::OtherRelease)
}

/// Reads an answer that its bytes are to prove; `None`: they prove that it is something else. A long one is to prove itself on the way.
async fn verify(
    Exchange { head, mut body }: Exchange,
    mut hashing: Hashing,
) -> Result<Option<Admitted>, Failure> {
    let (length, delimited_by_close) = (body.length(), body.delimited_by_close());
    let mut held = Vec::with_capacity(length.map_or(0, |length| (length as usize).min(HELD)));
    let long = length.is_some_and(|length| length > HELD as u64);
    while !long && held.len() <= HELD {
        let Some(piece) = body.next().await.map_err(failure_of)? else {
            let length = Some(held.len() as u64);
            let standing = Standing::Proven;
            let admitted = Admitted {
                head,
                held,
                rest: None,
                length,
                delimited_by_close: false,
                hashing: None,
                standing,
            };
            return Ok(hashing.fits().then_some(admitted));
        };
        hashing.update(&piece);
        held.extend_from_slice(&piece);
    }
    let (rest, hashing, standing) = (Some(body), Some(hashing), Standing::Unproven);
    Ok(Some(Admitted { head, held, rest, length, delimited_by_close, hashing, standing }))
}

/// Counts what is of another release, and says which front sent it.
pub(super) fn mismatch(fills: &Fills, ask: &Ask, part: &Part, front: &str) {
    let site = &*ask.site.name;
    fills.metrics.release_mismatches.with_label_values(&[site, front]).inc();
    if let Some(suppressed) = SKEW.due() {
        let (module, release, path) = (&*part.release.module, &*part.release.name, &*ask.path);
        tracing::warn!(
            site,
            module,
            release,
            front,
            path,
            suppressed,
            "a front sends files of another release"
        );
    }
}
