//! The cache engine's store: key, slot, stored response, body, memory tier.

mod body;
mod key;
mod memory;
mod settings;
mod stored;

pub use body::{Body, CHUNK, Chunk, ChunkId};
pub use key::{Key, KeyParts};
pub use memory::{Memory, Pieces};
pub use settings::CacheSettings;
pub use stored::{Selecting, Slot, StoredParts, StoredResponse, Use};
