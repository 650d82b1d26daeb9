//! Buffers of a chunk's size that are used again.
//!
//! A tier that is full lets as many chunks go as come. Were each of them allocated, fresh pages would cost more than the copy
//! into them, and allocators that keep what a thread frees for that thread would hold tens of MiB that nobody counts.

use crate::cache::CHUNK;
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Free buffers that are held at most: 8 MiB.
const FREE: usize = 32;

/// Where buffers of a chunk's size come from and go back to. Cheap to clone.
#[derive(Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer with room for `length` bytes.
    pub fn take(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.used(length);
        buffer.clear();
        buffer
    }

    /// A buffer of `length` bytes, whatever stands in them.
    pub fn take_filled(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.used(length);
        buffer.resize(length, 0);
        buffer
    }

    /// A buffer with room for `length` bytes, with what stood in it when it was used before.
    fn used(&self, length: usize) -> Vec<u8> {
        let free =
            if length == CHUNK { self.0.lock().unwrap_or_else(PoisonError::into_inner).pop() } else { None };
        free.unwrap_or_else(|| Vec::with_capacity(length))
    }

    /// Makes room for `more` bytes behind those of `buffer`, for a chunk's at once where it may become one.
    pub fn make_room(&self, buffer: &mut Vec<u8>, more: usize) {
        let length = buffer.len() + more;
        if length <= buffer.capacity() {
            return;
        }
        if length <= CHUNK / 4 {
            return buffer.reserve(more);
        }
        let mut larger = self.take(CHUNK);
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }

    /// The bytes of a buffer, which comes back with the last who has them. One that has much more room than bytes comes back
    /// now, and its bytes are copied: the memory tier counts bytes.
    pub fn freeze(&self, buffer: Vec<u8>) -> Bytes {
        if buffer.capacity() - buffer.len() > buffer.len() / 8 {
            let bytes = Bytes::copy_from_slice(&buffer);
            self.give_back(buffer);
            return bytes;
        }
        if buffer.capacity() == CHUNK {
            return Bytes::from_owner(Lent { buffer, home: self.clone() });
        }
        Bytes::from(buffer)
    }

    /// The buffer may be used again.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() == CHUNK && free.len() < FREE {
            free.push(buffer);
        }
    }
}

/// A buffer whose bytes somebody has.
struct Lent {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunks_buffer_is_used_again_once_nobody_has_its_bytes() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(CHUNK);
        buffer.resize(CHUNK, 7);
        let place = buffer.as_ptr();
        let bytes = buffers.freeze(buffer);
        let slice = bytes.slice(5..9);
        drop(bytes);
        let other = buffers.take(CHUNK);
        assert_ne!(other.as_ptr(), place, "somebody has four of them");
        assert_eq!(slice, [7; 4].as_slice());
        drop(slice);
        let again = buffers.take(CHUNK);
        assert!(again.as_ptr() == place && again.is_empty(), "it came back");
        drop(buffers.freeze([again, vec![9; CHUNK]].concat()[..CHUNK].to_vec()));
        assert_eq!(buffers.take_filled(CHUNK).len(), CHUNK);
        assert_eq!(buffers.take_filled(10), [0; 10]);
    }

    #[test]
    fn no_more_than_a_few_are_held_and_none_of_another_size() {
        let buffers = Buffers::default();
        let many: Vec<_> = (0..2 * FREE).map(|_| vec![1; CHUNK]).chain([vec![1; 100]]).collect();
        for bytes in many.into_iter().map(|buffer| buffers.freeze(buffer)).collect::<Vec<_>>() {
            drop(bytes);
        }
        assert_eq!(buffers.0.lock().unwrap().len(), FREE);
    }

    #[test]
    fn what_is_short_takes_little_and_what_grows_gets_a_chunks_room() {
        let buffers = Buffers::default();
        let mut short = buffers.take(0);
        buffers.make_room(&mut short, 10);
        assert!(short.capacity() < 100);
        short.extend_from_slice(b"0123456789");
        buffers.make_room(&mut short, CHUNK - 10);
        assert_eq!((short.capacity(), short.as_slice()), (CHUNK, b"0123456789".as_slice()));
        assert_eq!(buffers.freeze(short), "0123456789");
        assert_eq!(buffers.0.lock().unwrap().len(), 1, "and was copied out of it");
    }
}
