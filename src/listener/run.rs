//! Pieces of a body in a row, handed to hyper as one: a write costs as much as the copy of many kilobytes, so a long body
//! leaves in few of them.

use bytes::{Buf, Bytes};
use std::{
    collections::VecDeque,
    io::IoSlice,
    sync::atomic::{AtomicUsize, Ordering},
};

/// A run takes no further piece from here on: one chunk that is being written and one ahead. It refers to the pieces and
/// copies none.
const MOST: usize = 512 << 10;
/// A shorter piece ends its run: what follows is not there yet, or is hyper's to gather.
const LEAST: usize = 64 << 10;

/// Bytes of all runs that are worth counting.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Bytes of bodies that were handed to connections and are not all written: what slow clients keep in memory beside the
/// tiers. Runs of less than 64 KiB are not counted: a connection's own bounded buffers take them.
pub fn bytes_handed() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// Pieces that follow each other.
#[derive(Debug)]
pub(super) struct Run {
    first: Bytes,
    more: VecDeque<Bytes>,
    left: usize,
    /// As counted in [`HELD`].
    counted: usize,
}

impl Run {
    /// Whether it is worth while to ask for the next piece at once.
    pub(super) fn goes_on(&self) -> bool {
        self.left < MOST && self.more.back().unwrap_or(&self.first).len() >= LEAST
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.left += piece.len();
        self.count(piece.len());
        self.more.push_back(piece);
    }

    fn count(&mut self, bytes: usize) {
        if bytes >= LEAST {
            self.counted += bytes;
            HELD.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.counted > 0 {
            HELD.fetch_sub(self.counted, Ordering::Relaxed);
        }
    }
}

impl From<Bytes> for Run {
    fn from(first: Bytes) -> Run {
        let mut run = Run { left: first.len(), first: Bytes::new(), more: VecDeque::new(), counted: 0 };
        run.count(first.len());
        run.first = first;
        run
    }
}

impl Buf for Run {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = std::iter::once(&self.first).chain(&self.more).filter(|piece| !piece.is_empty());
        slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut n: usize) {
        self.left -= n;
        loop {
            let of_first = n.min(self.first.len());
            self.first.advance(of_first);
            n -= of_first;
            if !self.first.is_empty() {
                return;
            }
            match self.more.pop_front() {
                Some(next) => self.first = next,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST, MOST, Run};
    use bytes::{Buf, Bytes};
    use std::io::IoSlice;

    fn run(pieces: &[&'static [u8]]) -> Run {
        let mut run = Run::from(Bytes::from_static(pieces[0]));
        pieces[1..].iter().for_each(|piece| run.push(Bytes::from_static(piece)));
        run
    }

    fn joined(slices: &[IoSlice<'_>]) -> Vec<u8> {
        slices.iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn it_reads_as_its_pieces_in_order_however_it_is_taken() {
        for step in 1..12 {
            let mut run = run(&[b"abc", b"", b"defg", b"h"]);
            let mut read = Vec::new();
            while run.has_remaining() {
                let n = step.min(run.remaining());
                let mut slices = [IoSlice::new(&[]); 8];
                let count = run.chunks_vectored(&mut slices);
                let all = joined(&slices[..count]);
                assert_eq!((all.len(), run.chunk().is_empty()), (run.remaining(), false));
                read.extend_from_slice(&all[..n]);
                run.advance(n);
            }
            assert_eq!(read, b"abcdefgh", "in steps of {step}");
        }
    }

    #[test]
    fn few_slices_take_the_first_pieces() {
        let run = run(&[b"a", b"b", b"c"]);
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(run.chunks_vectored(&mut slices), 2);
        assert_eq!(joined(&slices), b"ab");
    }

    #[test]
    fn a_short_piece_and_the_bound_end_it() {
        let whole = || Bytes::from(vec![0; LEAST]);
        let mut long = Run::from(whole());
        assert!(long.goes_on() && !Run::from(Bytes::from_static(b"short")).goes_on());
        while long.goes_on() {
            long.push(whole());
        }
        assert_eq!(long.remaining(), MOST);
    }
}
