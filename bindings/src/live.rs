//! Counts the objects that somebody still holds: for tests, which want none at their end.

use std::sync::atomic::{AtomicU64, Ordering};

static LIVE: AtomicU64 = AtomicU64::new(0);

/// A part of an object that is to be counted.
#[derive(Debug)]
pub(crate) struct Live(());

impl Default for Live {
    fn default() -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many objects of this library are held by the app or by one another: tracers, what they hand to radios, manual clocks and cancellations.
#[uniffi::export]
pub fn live_objects() -> u64 {
    LIVE.load(Ordering::Relaxed)
}
