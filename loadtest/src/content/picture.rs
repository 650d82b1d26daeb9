//! Pictures: PNGs that a browser shows (uncompressed noise in one colour), and files that begin like a JPEG.

use super::noise;

/// A square picture of about `size` bytes.
pub fn png(seed: u64, size: usize) -> Vec<u8> {
    let side = (size / 3).isqrt().max(1);
    let tint = seed.to_le_bytes();
    let mut rows = Vec::with_capacity(side * (side * 3 + 1));
    for row in 0..side {
        rows.push(0); // filter: none
        let start = rows.len();
        rows.resize(start + side * 3, 0);
        noise::fill(seed, (row * side * 3) as u64, &mut rows[start..]);
        for (i, byte) in rows[start..].iter_mut().enumerate() {
            *byte = (*byte >> 3).wrapping_add(tint[i % 3]);
        }
    }
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let side = (side as u32).to_be_bytes();
    let header = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    for (name, data) in [(b"IHDR", header), (b"IDAT", stored(&rows)), (b"IEND", Vec::new())] {
        out.extend((data.len() as u32).to_be_bytes());
        let start = out.len();
        out.extend(name);
        out.extend(data);
        let sum = crc32(&out[start..]);
        out.extend(sum.to_be_bytes());
    }
    out
}

/// Begins and ends like a JPEG; no decoder would take what lies between.
pub fn jpeg(seed: u64, size: usize) -> Vec<u8> {
    let mut out = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x48\x00\x48\x00\x00".to_vec();
    out.extend(noise::bytes(seed, size.saturating_sub(out.len() + 2)));
    out.extend(b"\xff\xd9");
    out
}

/// A zlib stream (RFC 1950) of stored blocks only.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut pieces = data.chunks(0xffff).peekable();
    while let Some(piece) = pieces.next() {
        let length = piece.len() as u16;
        out.push(pieces.peek().is_none().into());
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(piece);
    }
    let (a, b) = data.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    out.extend((b << 16 | a).to_be_bytes());
    out
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::{crc32, png, stored};

    #[test]
    fn sums_are_those_of_the_standards() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(stored(b"Wikipedia")[2 + 5 + 9..], 0x11e6_0398u32.to_be_bytes());
    }

    #[test]
    fn a_picture_has_about_the_size_asked_for() {
        let length = png(7, 40_000).len();
        assert!((39_000..41_000).contains(&length), "{length}");
    }
}
