//! What the worker thread and the two halves of the radio share: what was heard, and what has ended by itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::radio::{Limit, RadioError, Sighting};

/// Sightings that wait to be taken, at most: half a minute of 500 phones. Then the oldest go.
const MAX_WAITING: usize = 65_536;

/// One half of the radio, as the worker knows it.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Why what was begun has ended by itself; taken once.
    pub(super) lost: Option<RadioError>,
    pub(super) limits: Vec<Limit>,
}

/// Behind one lock, which is never held for longer than a copy.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Inner>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    waiting: std::collections::VecDeque<Sighting>,
    pub(super) listening: Half,
    pub(super) sending: Half,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hear(&self, sighting: Sighting) {
        let mut inner = self.lock();
        if inner.waiting.len() >= MAX_WAITING {
            inner.waiting.pop_front();
        }
        inner.waiting.push_back(sighting);
    }
}

impl Inner {
    pub(super) fn take(&mut self, heard: &mut Vec<Sighting>) {
        heard.extend(self.waiting.drain(..));
    }
}
