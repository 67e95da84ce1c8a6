//! When it is to end: Ctrl-C, SIGTERM, SIGHUP, or a thread that failed.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

/// Set once, looked at often. Asked to end a second time, it goes on ending.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending {
    is_wanted: Arc<AtomicBool>,
    has_panicked: Arc<AtomicBool>,
}

impl Ending {
    /// Listens to the system's signals and to panics, from now to the end of the program.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let ending = Self::default();
        let wanted = Arc::clone(&ending.is_wanted);
        ctrlc::set_handler(move || wanted.store(true, Ordering::Release))
            .context("the signals that end a program cannot be handled")?;
        // A thread that is gone would be missed only when something does not happen.
        let (panicked, tell) = (Arc::clone(&ending.has_panicked), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            tell(info);
            panicked.store(true, Ordering::Release);
        }));
        Ok(ending)
    }

    /// Whether it is to end.
    pub(super) fn has_come(&self) -> bool {
        self.is_wanted() || self.has_panicked()
    }

    /// Whether the system asked for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Acquire)
    }

    /// Whether it ends because a thread failed.
    pub(super) fn has_panicked(&self) -> bool {
        self.has_panicked.load(Ordering::Acquire)
    }
}
