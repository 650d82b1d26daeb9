//! A slot as it stands on disk.

use lectern::cache::{Body, BodyRecord, Key, Slot, decode_slot, encode_slot, seal};
use std::sync::Arc;

/// Whatever the bytes, reading them ends, and what they are read as comes back as it is when it is written again: read as
/// they are, and as if their check were right.
pub fn stored(bytes: &[u8]) {
    assert!(read(bytes).is_none_or(|_| seal(bytes[..bytes.len() - 8].to_vec()) == bytes));
    let Some((key, slot)) = read(&seal(bytes.to_vec())) else { return };
    let again = read(&encode_slot(&key, 0, &slot));
    assert_eq!(format!("{:?}", Some((key, slot))), format!("{again:?}"));
}

fn read(value: &[u8]) -> Option<(Key, Slot)> {
    let body = |record: BodyRecord, names| Ok(Arc::new(Body::known(record.identity, record.length, names)));
    decode_slot(value, body).ok()
}
