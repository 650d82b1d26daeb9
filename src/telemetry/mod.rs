//! What the node tells about itself: outcome words, metrics, the access log, the error log, trace context.

mod access_log;
mod access_metrics;
mod coding_metrics;
mod disk_metrics;
mod error_log;
mod front_metrics;
mod line;
mod log_file;
mod metrics;
mod outcome;
mod process;
mod seldom;
mod trace;

pub use access_log::{AccessLog, LogOpenError, LogSettings, Room};
pub use access_metrics::{AccessMetrics, QueueMetrics};
pub use coding_metrics::{CodingMetrics, NotCoded};
pub use disk_metrics::{DiskMetrics, DiskRead, FolderMetrics, NotKept};
pub use error_log::{LogFormat, LogLevel, LogWordError, init_log};
pub use front_metrics::{FrontMetrics, FrontSeries, RetryMetrics};
pub use line::Line;
pub use metrics::{Described, Metrics, RuleMetrics};
pub use outcome::{Fault, Outcome};
pub use seldom::Seldom;
pub use trace::Trace;
