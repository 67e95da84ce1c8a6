//! What an app is told, and how it takes it.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Task, Tracer, Tracing, lock};
use crate::courier::News;
use crate::exposure::Alert;
use crate::radio::RadioError;
use crate::time::ClockJump;

/// Events that wait to be taken, at most. An app that takes none loses the oldest; the status and the alerts still say all that matters.
const MAX_WAITING: usize = 1_000;

/// Something an app may want to show or to act upon.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Tracing was started, stopped or paused.
    TracingChanged(Tracing),
    /// Identifier and device address have changed.
    Rotated {
        /// Whether the key is a new one.
        is_new_key: bool,
    },
    /// The radio has failed, or another cause has come; tracing goes on trying.
    RadioFailed(RadioError),
    /// The radio works again.
    RadioResumed,
    /// The wall clock did not go as time did, or the device was off for more than a day. Identifiers are changed; where it is another hour now,
    /// nothing is erased for a day.
    ClockJumped(ClockJump),
    /// An exposure calls for a warning. Raised once for one exposure; [`Tracer::alerts`](super::Tracer::alerts) keeps it.
    AlertRaised(Alert),
    /// The diagnosis behind an alert was withdrawn, or other parameters weigh it less.
    AlertWithdrawn(Alert),
    /// The store was damaged and was begun anew, with what could be salvaged.
    StoreRecovered {
        /// Own keys that were salvaged.
        own_keys: usize,
        /// Alerts that were salvaged.
        alerts: usize,
    },
    /// The key vault has lost the key to what was sealed: own keys, reports and sign-ups that were on their way, and receipts are gone. Tracing
    /// goes on with new keys; encounters, exposures and alerts are kept.
    KeysLost,
    /// Something came of an answer of a server.
    Courier(News),
    /// Everything was erased.
    Erased,
    /// A part of the library failed in a way that nobody thought of, and was started again. Worth a report to its authors.
    Restarted(Task),
}

impl Tracer {
    /// The oldest event that was not taken yet.
    pub fn next_event(&self) -> Option<Event> {
        self.wait_event(Duration::ZERO)
    }

    /// Waits for an event, at most `timeout`.
    pub fn wait_event(&self, timeout: Duration) -> Option<Event> {
        let events = lock(&self.events);
        let (mut events, _) =
            self.told.wait_timeout_while(events, timeout, |events| events.is_empty()).unwrap_or_else(PoisonError::into_inner);
        let event = events.pop_front();
        drop(events);
        self.taken(event)
    }

    /// The same for a program that does not wait but is woken: the oldest event, or later a call of this context's waker.
    pub fn poll_event(&self, context: &mut Context<'_>) -> Poll<Event> {
        let mut events = lock(&self.events);
        let event = events.pop_front();
        if event.is_none() {
            // Under the lock, so that none comes in between.
            let mut wakers = lock(&self.wakers);
            wakers.retain(|waker| !waker.will_wake(context.waker()));
            wakers.push(context.waker().clone());
        }
        drop(events);
        self.taken(event).map_or(Poll::Pending, Poll::Ready)
    }

    fn taken(&self, event: Option<Event>) -> Option<Event> {
        // Where forgetting fails, it is told once more after the next start.
        let _ = match &event {
            Some(Event::StoreRecovered { .. }) => self.with(|state| Ok(state.store()?.forget_recovery()?)),
            Some(Event::KeysLost) => self.with(|state| Ok(state.store()?.forget_lost_keys()?)),
            _ => Ok(()),
        };
        event
    }

    pub(super) fn tell(&self, event: Event) {
        push(&mut lock(&self.events), event);
        self.told.notify_all();
        let wakers = std::mem::take(&mut *lock(&self.wakers));
        wakers.into_iter().for_each(Waker::wake);
    }
}

fn push(events: &mut VecDeque<Event>, event: Event) {
    if events.len() >= MAX_WAITING {
        events.pop_front();
    }
    events.push_back(event);
}
