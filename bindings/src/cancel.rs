//! Ends calls that may last.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use crate::live::Live;

/// Ends the calls that it is handed to. One serves for as many as should end together, and cannot be taken back.
#[derive(Debug, Default, uniffi::Object)]
pub struct Cancel {
    is_cancelled: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
    _live: Live,
}

#[uniffi::export]
impl Cancel {
    /// Nothing is cancelled yet.
    #[uniffi::constructor]
    pub fn new() -> std::sync::Arc<Self> {
        std::sync::Arc::default()
    }

    /// Ends the calls. Never blocks; calling it twice is no error.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it was called.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }
}

impl Cancel {
    /// Whether it was called; where not, the context is woken when it is.
    pub(crate) fn poll(&self, context: &Context<'_>) -> bool {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock, so that no call comes in between.
        let is_cancelled = self.is_cancelled();
        if !is_cancelled {
            wakers.retain(|waker| !waker.will_wake(context.waker()));
            wakers.push(context.waker().clone());
        }
        is_cancelled
    }
}
