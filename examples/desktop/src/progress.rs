//! A progress bar on stderr, for work that takes longer than a moment.

use std::io::{IsTerminal, Read};
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
    /// Work on `total` bytes.
    pub(crate) fn of_bytes(total: u64, what: &'static str) -> Self {
        Self::new(total, what, "{msg} [{wide_bar}] {bytes}/{total_bytes}, {eta} left")
    }

    /// Work in `total` steps.
    pub(crate) fn of_steps(total: u64, what: &'static str) -> Self {
        Self::new(total, what, "{msg} [{wide_bar}] {pos}/{len}, {eta} left")
    }

    fn new(total: u64, what: &'static str, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden()).with_message(what);
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        let show_at = std::io::stderr().is_terminal().then(|| Instant::now() + PATIENCE);
        Self { bar, show_at }
    }

    /// So much more is done.
    pub(crate) fn advance(&mut self, done: u64) {
        if self.show_at.is_some_and(|at| Instant::now() >= at) {
            self.show_at = None;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(done);
    }

    /// A reader whose bytes are the progress.
    pub(crate) fn reading<R: Read>(self, reader: R) -> Reading<R> {
        Reading { reader, progress: self }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Reads, and moves a bar.
pub(crate) struct Reading<R> {
    reader: R,
    progress: Progress,
}

impl<R: Read> Read for Reading<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.progress.advance(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_counts_what_is_read_and_changes_nothing_of_it() {
        let mut reading = Progress::of_bytes(10_000, "reading").reading(std::io::repeat(7).take(10_000));
        let mut bytes = Vec::new();
        reading.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [7; 10_000]);
        assert_eq!(reading.progress.bar.position(), 10_000);

        let mut steps = Progress::of_steps(3, "days");
        steps.advance(2);
        assert_eq!((steps.bar.position(), steps.bar.length()), (2, Some(3)));
    }
}
