//! The film, computed on the fly, and the lecture's list with its segments.

use super::noise;

/// Segments in the lecture's list.
pub const SEGMENTS: u32 = 20;
/// MPEG transport packets in a segment: 256,056 bytes, just under one chunk of the edge.
const PACKETS: usize = 1362;

/// A film: boxes that begin like an MP4, then noise up to its length. No player would show it.
#[derive(Clone, Debug)]
pub struct Film {
    /// Bytes of the whole body.
    pub length: u64,
    seed: u64,
    front: Vec<u8>,
}

impl Film {
    /// The film of a version; two versions differ in every part.
    pub fn new(version: u32, length: u64) -> Film {
        let mut front = b"\0\0\0\x18ftypisom\0\0\x02\0isommp42\0\0\0\x01mdat".to_vec();
        // A box of size 1 says its length in 64 bits, itself included.
        front.extend(length.saturating_sub(24).to_be_bytes());
        Film { length, seed: noise::seed(&["film", &version.to_string()]), front }
    }

    /// Its strong entity tag: the bytes follow from seed and length alone.
    pub fn etag(&self) -> String {
        format!("\"film-{:016x}-{:x}\"", self.seed, self.length)
    }

    /// Writes the bytes from `offset` on. The caller keeps within the length.
    pub fn fill(&self, offset: u64, into: &mut [u8]) {
        noise::fill(self.seed, offset, into);
        if let Some(front) = usize::try_from(offset).ok().and_then(|from| self.front.get(from..)) {
            let n = front.len().min(into.len());
            into[..n].copy_from_slice(&front[..n]);
        }
    }
}

/// The lecture's list, for on-demand play. The version stands in the list, not in the segments' names.
pub fn list(version: u32) -> String {
    let mut out = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXT-X-PLAYLIST-TYPE:VOD\n## version {version}\n"
    );
    for n in 0..SEGMENTS {
        out.push_str(&format!("#EXTINF:4.000,\nseg-{n:03}.ts\n"));
    }
    out.push_str("#EXT-X-ENDLIST\n");
    out
}

/// A segment: transport packets of noise.
pub fn segment(version: u32, n: u32) -> Vec<u8> {
    let seed = noise::seed(&["lecture", &version.to_string(), &n.to_string()]);
    let mut out = noise::bytes(seed, PACKETS * 188);
    out.iter_mut().step_by(188).for_each(|byte| *byte = 0x47);
    out
}

#[cfg(test)]
mod tests {
    use super::Film;

    #[test]
    fn a_film_is_one_body_from_any_offset() {
        let film = Film::new(1, 4096);
        let mut whole = vec![0; 4096];
        film.fill(0, &mut whole);
        for offset in [0, 3, 31, 40, 41, 4000] {
            let mut piece = vec![0; 90.min(4096 - offset)];
            film.fill(offset as u64, &mut piece);
            assert_eq!(piece, whole[offset..offset + piece.len()], "from {offset}");
        }
        assert_ne!(film.etag(), Film::new(2, 4096).etag());
    }
}
