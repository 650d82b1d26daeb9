//! The cache engine's store: key, slot, stored response, body, and the tiers that hold them.

mod body;
mod buffers;
mod coded;
mod disk;
mod groups;
mod key;
mod memory;
mod seen;
mod settings;
mod stored;
mod tiers;

pub use body::{Body, CHUNK, Chunk, ChunkId};
pub use buffers::Buffers;
pub use coded::{Effort, Made};
pub use disk::{
    Alive, BodyRecord, Changes, Counts, Disk, DiskError, DiskSettings, Filter, FolderSettings, FolderStat,
    Hooks, Index, Kept, OfflineError, OfflineFolder, Place, Read, SegmentRecord, Verified, decode_slot,
    encode_slot, seal,
};
pub use groups::Groups;
pub use key::{Key, KeyParts};
pub use memory::{Memory, Pieces};
pub use settings::{CacheSettings, CodingSettings};
pub use stored::{Selecting, Slot, StoredParts, StoredResponse, Use};
pub use tiers::{Raised, Tier, Tiers};
