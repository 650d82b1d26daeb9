//! How the bytes of a body are reached that a request gets: taken at once, or read one after the other.

use crate::{
    access::Leave,
    cache::{CHUNK, Pieces, StoredResponse, Tier},
    edge::{
        Edge,
        answer::{self, From},
        visit::Visit,
    },
    fill::{FillHead, Reader},
    http_caching::Coding,
    response::Part,
};
use http::Method;
use std::sync::Arc;

/// So many bytes of a body whose chunks can be had again are taken at once.
const PINNED: u64 = 4 * CHUNK as u64;

/// How the bytes of a stored body are reached.
pub(super) enum Reach {
    /// None is needed.
    Nothing,
    /// Taken at once, first to last, if all are there.
    Pieces(u64, u64),
    /// Read one after the other; whether reading can begin now.
    Reader { first: u64, last: u64, there: bool },
}

/// What of a stored response a request gets.
pub(super) struct There {
    /// The variant that it is shown; `None`: the response as it is.
    pub(super) variant: Option<(Coding, Arc<StoredResponse>)>,
    /// The part of it.
    pub(super) part: Part,
    /// Its bytes, or who reads them.
    pub(super) from: From,
}

impl There {
    /// What the request is shown of `stored`.
    pub(super) fn shown<'a>(&'a self, stored: &'a StoredResponse) -> &'a StoredResponse {
        self.variant.as_ref().map_or(stored, |(_, variant)| variant)
    }

    /// Whether it needs bytes that never came.
    pub(super) fn is_partial(&self, stored: &StoredResponse) -> bool {
        is_partial(&self.part, self.shown(stored))
    }
}

impl Edge {
    /// What a request gets of a stored response, if its first byte is in memory now.
    pub(super) fn at_hand(&self, leave: &Leave, visit: &mut Visit, stored: &StoredResponse) -> Option<There> {
        if let Some((coding, variant)) = self.variant(visit, stored) {
            if let Some((part, from)) = self.as_it_is_at_hand(leave, visit, &variant) {
                return Some(There { variant: Some((coding, variant)), part, from });
            }
            if self.0.tiers.may_have(&variant.body) {
                return None;
            }
            stored.body.is_lost(coding);
        }
        self.show_as_stored(visit, stored);
        let (part, from) = self.as_it_is_at_hand(leave, visit, stored)?;
        Some(There { variant: None, part, from })
    }

    /// The part of it that a request gets, and its bytes or who reads them, if its first byte is in memory now.
    ///
    /// Bytes that are there are taken at once, as far as that pins little memory: a whole window of what could not be had
    /// again, a few chunks of what could.
    fn as_it_is_at_hand(
        &self,
        leave: &Leave,
        visit: &mut Visit,
        stored: &StoredResponse,
    ) -> Option<(Part, From)> {
        let part = answer::part_of(visit, stored.status, &stored.headers, Some(stored.length));
        match self.reach(visit, stored, &part) {
            Reach::Nothing => Some((part, From::Pieces(Pieces::new()))),
            Reach::Pieces(first, last) => {
                Some((part, From::Pieces(self.0.tiers.pieces(&stored.body, first, last)?)))
            }
            Reach::Reader { first, last, there } => {
                there.then(|| (part, From::Reader(self.read(leave, visit, stored, first, last))))
            }
        }
    }

    /// How the bytes are reached that a part of a stored response needs.
    pub(super) fn reach(&self, visit: &Visit, stored: &StoredResponse, part: &Part) -> Reach {
        let Some((first, last)) = part.bytes(stored.length).filter(|_| visit.parts.method != Method::HEAD)
        else {
            return Reach::Nothing;
        };
        let (tiers, body) = (&self.0.tiers, &stored.body);
        let again = stored.content_tag().is_some();
        let pinned = if again { PINNED } else { self.0.fills.window() };
        if last - first < pinned && !matches!(part, Part::Ranges { .. }) {
            return Reach::Pieces(first, last);
        }
        let there = if again { tiers.has_in_memory(body, first) } else { tiers.has_all_in_memory(body) };
        Reach::Reader { first, last, there }
    }

    /// As [`Edge::at_hand`], with what is on disk.
    pub(super) async fn here(
        &self,
        leave: &Leave,
        visit: &mut Visit,
        stored: &StoredResponse,
    ) -> Option<There> {
        if let Some((coding, variant)) = self.variant(visit, stored) {
            if let Some((part, from)) = self.as_it_is_here(leave, visit, &variant).await {
                return Some(There { variant: Some((coding, variant)), part, from });
            }
            stored.body.is_lost(coding);
        }
        self.show_as_stored(visit, stored);
        let (part, from) = self.as_it_is_here(leave, visit, stored).await?;
        Some(There { variant: None, part, from })
    }

    /// As [`Edge::as_it_is_at_hand`], with what is on disk. Of what cannot be had again all must be there before the first byte
    /// is promised; it is read chunk by chunk all the same, so that slow clients pin little memory.
    async fn as_it_is_here(
        &self,
        leave: &Leave,
        visit: &mut Visit,
        stored: &StoredResponse,
    ) -> Option<(Part, From)> {
        if let Some(at_hand) = self.as_it_is_at_hand(leave, visit, stored) {
            return Some(at_hand);
        }
        let tiers = &self.0.tiers;
        tiers.disk()?;
        let part = answer::part_of(visit, stored.status, &stored.headers, Some(stored.length));
        let (first, last) = part.bytes(stored.length)?;
        let chunk = first / CHUNK as u64;
        if chunk == last / CHUNK as u64 && !matches!(part, Part::Ranges { .. }) {
            let bytes = tiers.read(&stored.body.id(chunk as usize)?)?.await?;
            let (from, to) = ((first % CHUNK as u64) as usize, (last % CHUNK as u64) as usize + 1);
            bytes.get(from..to)?;
            return Some((part, From::Pieces(vec![bytes.slice(from..to)])));
        }
        let there = match stored.content_tag() {
            // What turns out to be missing is asked for by itself; of a short part that is told beforehand.
            Some(_) => last - first >= PINNED || tiers.may_have_bytes(&stored.body, first, last),
            None => tiers.tier(&stored.body, first, last).await != Tier::None,
        };
        if !there {
            return None;
        }
        let mut reader = self.read(leave, visit, stored, first, last);
        reader.is_here().await.then_some((part, From::Reader(reader)))
    }

    /// As [`Edge::here`], after the origin was asked for what is missing; `None` if it does not have it.
    pub(super) async fn in_hand(
        &self,
        leave: &Leave,
        visit: &mut Visit,
        stored: &StoredResponse,
    ) -> Option<There> {
        match self.here(leave, visit, stored).await {
            Some(here) => Some(here),
            None => self.fetched(leave, visit, stored).await,
        }
    }

    /// What a request gets of a stored response, with its first byte had from the origin.
    pub(super) async fn fetched(
        &self,
        leave: &Leave,
        visit: &mut Visit,
        stored: &StoredResponse,
    ) -> Option<There> {
        stored.content_tag()?;
        self.show_as_stored(visit, stored);
        let part = answer::part_of(visit, stored.status, &stored.headers, Some(stored.length));
        let (first, last) = part.bytes(stored.length)?;
        let mut reader = self.read(leave, visit, stored, first, last);
        reader.ready().await.ok()?;
        Some(There { variant: None, part, from: From::Reader(reader) })
    }

    fn read(
        &self,
        leave: &Leave,
        visit: &mut Visit,
        stored: &StoredResponse,
        first: u64,
        last: u64,
    ) -> Reader {
        visit.end_hop();
        self.0.fills.read(leave, stored, &visit.wanted(None, self.selecting(visit)), first, last)
    }

    /// The part of a growing body that a request gets. While the length is unknown, a range is answered as one once its last
    /// byte is there, if it is not too long to wait for; where the body breaks off before, nobody knows where it ends.
    pub(super) async fn part_of_growing(&self, visit: &Visit, head: &FillHead, body: &mut Reader) -> Part {
        let part = |length| answer::part_of(visit, head.status, &head.headers, length);
        let part_now = part(head.length);
        let Part::Range { first, last, length: None } = part_now else { return part_now };
        if !head.kept || last - first >= self.0.fills.window() / 2 {
            return Part::Whole;
        }
        body.turn_to(first, Some(last));
        if body.reaches(last).await { part(body.length()) } else { Part::Whole }
    }
}

/// Whether a part needs bytes that never came.
pub(super) fn is_partial(part: &Part, stored: &StoredResponse) -> bool {
    part.bytes(stored.length).is_some_and(|(first, last)| !stored.body.knows(first, last))
}
