//! Where the bytes of a chunk are.

/// The place of a chunk's bytes in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the segment.
    pub segment: u32,
    /// First byte in its file.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
    /// Number of the frame in its segment.
    pub ordinal: u32,
}

impl Place {
    /// As it stands in the index.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (field, of) in bytes.as_chunks_mut::<4>().0.iter_mut().zip([
            self.segment,
            self.offset,
            self.length,
            self.ordinal,
        ]) {
            *field = of.to_le_bytes();
        }
        bytes
    }

    /// What stands in the index.
    pub(super) fn from_bytes(bytes: &[u8; 16]) -> Place {
        let [segment, offset, length, ordinal] = [0, 1, 2, 3].map(|i| {
            let (fields, _) = bytes.as_chunks::<4>();
            u32::from_le_bytes(fields[i])
        });
        Place { segment, offset, length, ordinal }
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_place_is_four_numbers_in_order() {
        let place = Place { segment: 1, offset: 2, length: 0x0300_0000, ordinal: u32::MAX };
        let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3, 255, 255, 255, 255];
        assert_eq!(place.to_bytes(), bytes);
        assert_eq!(Place::from_bytes(&bytes), place);
    }
}
