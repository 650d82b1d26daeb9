//! What Lectern is run, tested and loaded with: a small learning platform with known content and known counts.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let lms = loadtest::Lms::start(([127, 0, 0, 1], 0).into(), loadtest::Options::default()).await?;
//! lms.publish("fire-safety", 2);
//! lms.trouble(loadtest::Trouble::on("/media/").status(503).times(1));
//! assert_eq!(lms.counters().commits, 0);
//! # Ok(())
//! # }
//! ```

pub mod clock;
pub mod content;
mod lms;

pub use lms::capacity::Capacity;
pub use lms::counters::Counters;
pub use lms::kind::{Kind, Load, Share};
pub use lms::trouble::Trouble;
pub use lms::{Lms, Options};
