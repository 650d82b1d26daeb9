//! Bytes that look random, cannot be compressed, and can be computed from any offset on.

/// A seed from words, so that two files never share their noise.
pub fn seed(words: &[&str]) -> u64 {
    // FNV-1a with a separator; any spread will do, this is no secret.
    words.iter().flat_map(|word| word.bytes().chain([0xff])).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Writes the bytes that stand from `offset` on in the endless noise of this seed.
pub fn fill(seed: u64, offset: u64, into: &mut [u8]) {
    let mut word = offset / 8;
    let mut skip = (offset % 8) as usize;
    let mut rest = into;
    while !rest.is_empty() {
        let bytes = mix(seed ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes();
        let n = rest.len().min(8 - skip);
        let (now, later) = rest.split_at_mut(n);
        now.copy_from_slice(&bytes[skip..skip + n]);
        rest = later;
        skip = 0;
        word += 1;
    }
}

/// The first `length` bytes.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    fill(seed, 0, &mut out);
    out
}

/// The finisher of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{bytes, fill, seed};

    #[test]
    fn a_piece_is_the_same_from_any_offset() {
        let whole = bytes(seed(&["film"]), 1000);
        for (offset, length) in [(0, 1000), (1, 7), (7, 2), (8, 8), (333, 600)] {
            let mut piece = vec![0; length];
            fill(seed(&["film"]), offset as u64, &mut piece);
            assert_eq!(piece, whole[offset..offset + length], "from {offset}");
        }
    }

    #[test]
    fn words_are_kept_apart() {
        assert_ne!(seed(&["ab", "c"]), seed(&["a", "bc"]));
    }
}
