//! How far a long command is: a bar where somebody looks, nothing where the output is kept.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const STYLE: &str =
    "{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const STYLE_OF_MANY: &str = "{msg} {wide_bar} {pos} of {len}, {per_sec}, {eta} left";

/// A bar on the terminal that the process complains to, if it is one. Gone when dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar for what is done to this.
    pub(super) fn of(what: String) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        // A template that is not understood is a mistake in the constant: the bar has its own then.
        if let Ok(style) = ProgressStyle::with_template(STYLE) {
            bar.set_style(style);
        }
        Progress(bar.with_message(what))
    }

    /// A bar for so many things.
    pub(super) fn of_many(what: &'static str, many: usize) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(many as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(STYLE_OF_MANY) {
            bar.set_style(style);
        }
        Progress(bar.with_message(what))
    }

    /// One more of them is done.
    pub(super) fn one_more(&self) {
        self.0.inc(1);
    }

    /// So many bytes are done, of so many.
    pub(super) fn at(&self, done: u64, of: u64) {
        self.0.set_length(of);
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
