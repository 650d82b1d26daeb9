//! From one content coding to another, piece by piece.
//!
//! Whatever goes in, what is held is bounded by the windows of the codings. A machine that needs more than there is says
//! [`ErrorKind::WouldBlock`] and goes on when there is.

use crate::{cache::Effort, http_caching::Coding};
use brotli::enc::BrotliEncoderParams;
use bytes::{Buf, Bytes};
use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, ErrorKind, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes that brotli's machines take at a time.
const BUFFER: usize = 16 << 10;
/// Bounds of the window that brotli looks back into, as powers of two: no larger than the body, and at most 4 MiB, as the
/// memory that it takes at its highest level is many times that.
const WINDOWS: std::ops::RangeInclusive<u32> = 16..=22;

/// The window of what is coded while it is sent: a client holds it for as long as it takes.
const ON_THE_WAY: u32 = 18;

/// How hard a machine works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// No harder than a thread may that serves others meanwhile.
    OnTheWay,
    /// As a coder does.
    Coder(Effort),
}

/// Bytes that are put in here come out of its [`Mouth`].
#[derive(Clone, Default)]
pub(super) struct Feed(Arc<Mutex<Fed>>);

#[derive(Default)]
struct Fed {
    pieces: VecDeque<Bytes>,
    ended: bool,
}

impl Feed {
    /// A feed of these pieces and no more.
    pub(super) fn of(pieces: Vec<Bytes>) -> Feed {
        Feed(Arc::new(Mutex::new(Fed { pieces: pieces.into(), ended: true })))
    }

    pub(super) fn put(&self, piece: Bytes) {
        self.fed().pieces.push_back(piece);
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.fed().ended = true;
    }

    fn fed(&self) -> MutexGuard<'_, Fed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where what was fed comes out.
struct Mouth {
    feed: Feed,
    piece: Bytes,
}

impl BufRead for Mouth {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            let mut fed = self.feed.fed();
            match fed.pieces.pop_front() {
                Some(piece) => self.piece = piece,
                None if fed.ended => break,
                None => return Err(ErrorKind::WouldBlock.into()),
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, amount: usize) {
        self.piece.advance(amount);
    }
}

impl Read for Mouth {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = self.fill_buf()?.read(into)?;
        self.consume(taken);
        Ok(taken)
    }
}

type Machine = Box<dyn Read + Send>;

/// The machine that makes of what is fed in one coding the same in another.
///
/// # Errors
/// It could not be set up.
pub(super) fn machine(feed: Feed, (from, to): (Coding, Coding)) -> io::Result<Machine> {
    let plain = decoder(Mouth { feed, piece: Bytes::new() }, from)?;
    encoder(plain, to, Level::OnTheWay, None)
}

/// The same, for a body of which all is there: `length` bytes, and at most `most` when they are decoded; what has more is
/// [`ErrorKind::FileTooLarge`].
///
/// # Errors
/// It could not be set up.
pub(super) fn machine_at_leisure(
    feed: Feed,
    (from, to): (Coding, Coding),
    effort: Effort,
    (length, most): (u64, u64),
) -> io::Result<Machine> {
    let plain = decoder(Mouth { feed, piece: Bytes::new() }, from)?;
    let plain = Box::new(AtMost { plain, left: most });
    encoder(plain, to, Level::Coder(effort), Some(length).filter(|_| from == Coding::Identity))
}

/// A few bytes can decode to any number.
struct AtMost {
    plain: Machine,
    left: u64,
}

impl Read for AtMost {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.plain.read(into)?;
        self.left = self.left.checked_sub(read as u64).ok_or(ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

fn decoder(coded: Mouth, from: Coding) -> io::Result<Machine> {
    Ok(match from {
        Coding::Identity => Box::new(coded),
        Coding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(coded)),
        Coding::Brotli => Box::new(brotli::Decompressor::new(coded, BUFFER)),
        Coding::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(coded)?),
    })
}

fn encoder(plain: Machine, to: Coding, level: Level, length: Option<u64>) -> io::Result<Machine> {
    let of = |on_the_way, fast, best| match level {
        Level::OnTheWay => on_the_way,
        Level::Coder(Effort::Fast) => fast,
        Level::Coder(Effort::Best) => best,
    };
    Ok(match to {
        Coding::Identity => plain,
        Coding::Gzip => {
            let level = flate2::Compression::new(of(1, 6, 9));
            Box::new(flate2::read::GzEncoder::new(plain, level))
        }
        Coding::Brotli => {
            let lgwin = match level {
                Level::OnTheWay => ON_THE_WAY,
                Level::Coder(_) => length.map_or(*WINDOWS.end(), u64::ilog2) + 1,
            };
            let params = BrotliEncoderParams {
                quality: of(2, 5, 11) as i32,
                lgwin: lgwin.clamp(*WINDOWS.start(), *WINDOWS.end()) as i32,
                size_hint: length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0),
                ..BrotliEncoderParams::default()
            };
            Box::new(brotli::CompressorReader::with_params(plain, BUFFER, &params))
        }
        Coding::Zstd => {
            // Above level 15 it takes far more memory for little.
            let mut encoder =
                zstd::stream::read::Encoder::with_buffer(BufReader::new(plain), of(1, 3, 15) as i32)?;
            encoder.set_pledged_src_size(length)?;
            Box::new(encoder)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Feed, Machine, machine, machine_at_leisure};
    use crate::{cache::Effort, http_caching::Coding};
    use bytes::Bytes;
    use std::io::{ErrorKind, Read};

    const PLAIN: Coding = Coding::Identity;

    /// Text that has something to find.
    fn text(length: usize) -> Vec<u8> {
        (0..length / 8 + 1)
            .flat_map(|n| format!("{:07x}\n", (n * n) % 4093).into_bytes())
            .take(length)
            .collect()
    }

    /// What comes out of a machine, which gets the next of `pieces` when it has nothing left to do.
    fn run(mut machine: Machine, feed: &Feed, pieces: &[&[u8]]) -> Result<Vec<u8>, ErrorKind> {
        let (mut out, mut buffer, mut pieces) = (Vec::new(), [0; 100], pieces.iter());
        loop {
            match machine.read(&mut buffer) {
                Ok(0) => return Ok(out),
                Ok(came) => out.extend_from_slice(&buffer[..came]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => match pieces.next() {
                    Some(piece) => feed.put(Bytes::copy_from_slice(piece)),
                    None => feed.end(),
                },
                Err(error) => return Err(error.kind()),
            }
        }
    }

    fn on_the_way(pieces: &[&[u8]], way: (Coding, Coding)) -> Result<Vec<u8>, ErrorKind> {
        let feed = Feed::default();
        run(machine(feed.clone(), way).unwrap(), &feed, pieces)
    }

    fn at_leisure(
        bytes: &[u8],
        way: (Coding, Coding),
        effort: Effort,
        most: u64,
    ) -> Result<Vec<u8>, ErrorKind> {
        let feed = Feed::of(vec![Bytes::copy_from_slice(bytes)]);
        let lengths = (bytes.len() as u64, most);
        run(machine_at_leisure(feed.clone(), way, effort, lengths).unwrap(), &feed, &[])
    }

    #[test]
    fn each_coding_becomes_each_other_at_each_level_in_pieces_of_any_size() {
        let plain = text(3000);
        for (from, to) in Coding::ALL.iter().flat_map(|from| Coding::ALL.map(move |to| (*from, to))) {
            let coded = on_the_way(&[&plain], (PLAIN, from)).unwrap();
            assert!(from == PLAIN || coded.len() < plain.len() / 2, "{from:?}");
            let is_plain = |recoded: &[u8]| on_the_way(&[recoded], (to, PLAIN)).as_ref() == Ok(&plain);
            for size in [1, 7, 100_000] {
                let pieces: Vec<_> = coded.chunks(size).collect();
                assert!(is_plain(&on_the_way(&pieces, (from, to)).unwrap()), "{from:?} {to:?} {size}");
            }
            for effort in [Effort::Fast, Effort::Best] {
                let recoded = at_leisure(&coded, (from, to), effort, 3000).unwrap();
                assert!(is_plain(&recoded), "{from:?} {to:?} {effort:?}");
            }
        }
    }

    #[test]
    fn what_is_not_whole_or_not_in_its_coding_is_an_error_and_never_a_short_body() {
        let plain = text(3000);
        for coding in [Coding::Brotli, Coding::Gzip, Coding::Zstd] {
            let coded = on_the_way(&[&plain], (PLAIN, coding)).unwrap();
            for length in [1, 10, coded.len() / 2, coded.len() - 1] {
                let short = on_the_way(&[&coded[..length]], (coding, PLAIN));
                assert!(short.is_err(), "{coding:?} {length}");
            }
            assert!(on_the_way(&[&plain], (coding, PLAIN)).is_err(), "{coding:?}: plain text");
        }
    }

    #[test]
    fn gzip_in_several_members_is_one_body() {
        let half = on_the_way(&[b"half"], (PLAIN, Coding::Gzip)).unwrap();
        assert_eq!(on_the_way(&[&half, &half], (Coding::Gzip, PLAIN)), Ok(b"halfhalf".to_vec()));
    }

    #[test]
    fn few_bytes_that_decode_to_many_are_not_decoded_to_the_end() {
        let coded = at_leisure(&vec![0; 1 << 20], (PLAIN, Coding::Zstd), Effort::Fast, 1 << 20).unwrap();
        assert!(coded.len() < 1000);
        for to in [PLAIN, Coding::Brotli] {
            let way = (Coding::Zstd, to);
            assert_eq!(at_leisure(&coded, way, Effort::Fast, (1 << 20) - 1), Err(ErrorKind::FileTooLarge));
            assert!(at_leisure(&coded, way, Effort::Fast, 1 << 20).is_ok());
        }
    }

    #[test]
    fn the_best_level_is_shorter_than_the_fast_one() {
        let plain = text(60_000);
        for coding in [Coding::Brotli, Coding::Gzip, Coding::Zstd] {
            let length = |effort| at_leisure(&plain, (PLAIN, coding), effort, 60_000).unwrap().len();
            assert!(length(Effort::Best) < length(Effort::Fast), "{coding:?}");
        }
    }
}
