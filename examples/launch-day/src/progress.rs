//! A progress bar on stderr, for work that takes longer than a moment.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is done sooner shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far some work has come. Goes from the screen when dropped; shows nothing where stderr is no terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// From then on the bar is seen; `None` once it is, or where it never will be.
    show_at: Option<Instant>,
}

impl Progress {
    /// Work in `total` steps.
    pub(crate) fn of_steps(total: u64, what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden()).with_message(what);
        let style = ProgressStyle::with_template("{msg} [{wide_bar}] {pos}/{len}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        let show_at = std::io::stderr().is_terminal().then(|| Instant::now() + PATIENCE);
        Self { bar, show_at }
    }

    /// So much is done in all.
    pub(crate) fn reach(&mut self, done: u64) {
        if self.show_at.is_some_and(|at| Instant::now() >= at) {
            self.show_at = None;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
