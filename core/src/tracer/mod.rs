//! The front door: everything an app needs, tied together. What is right is said by the modules that own the matter; here it is done, in order.
//!
//! A [`Tracer`] does nothing by itself. [`Tracer::step`] does what is due and says when it wants to be called again: a simulation calls it from
//! its own loop, and an app starts a [`Driver`], which calls it in real time. [`Tracer::correspond`] does the same for servers. All methods can be
//! called from any thread.
//!
//! ```text
//!            rotate: keys -> store (durable) -> radio            check: file -> verify -> match -> exposures -> alerts
//! step  ---> scan:   radio -> encounters -> store          app ---> report, status, next_event, erase_everything
//!            erase:  what is older than 14 days            correspond: outbox, key lists -> server -> store, check
//! ```

mod bulletin;
mod check;
mod correspond;
mod driver;
mod event;
mod opening;
mod remedy;
mod services;
mod session;
mod sign_ups;
#[cfg(feature = "sim")]
pub mod simulation;
mod state;
mod status;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::beacon::ServiceUuid;
use crate::courier::ReportId;
use crate::courier::waitlist::SignUpError;
use crate::diagnosis::PublicKey;
use crate::encounters::calibration::Calibration;
use crate::exposure::{Alert, Assessment, ExposureConfiguration, ExposureId, assess};
use crate::keys::TemporaryExposureKey;
use crate::radio::Sighting;
use crate::store::{Erasure, StoreError};
use crate::time::Clock;
use correspond::Connection;
use opening::Place;
use state::State;

pub use check::{CheckReport, FileReport, FileStatus, Progress};
pub use driver::{Driver, Task};
pub use event::Event;
pub use remedy::{Input, Permission, Remedy};
pub use session::Scanning;
pub use status::{Status, Tracing};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracerError {
    /// The store refused. What was there is still there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An earlier report is not through; it can be withdrawn as long as its keys have not been sent.
    #[error("an earlier report is still under way")]
    ReportUnderWay {
        /// That report.
        id: ReportId,
    },
    /// A sign-up for the waiting list cannot be made or changed.
    #[error(transparent)]
    SignUp(SignUpError),
    /// The thread that drives the tracer could not be started.
    #[error("no thread could be started: {0}")]
    Thread(std::io::Error),
}

/// What an app decides. The default works everywhere.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// What is known of this device's radio.
    pub calibration: Calibration,
    /// How exposures are weighed, where no bulletin says otherwise.
    pub exposure: ExposureConfiguration,
    /// The public keys of the health authorities whose files are believed.
    pub authority_keys: Vec<PublicKey>,
    /// When the radio listens.
    pub scanning: Scanning,
    /// The service that the radio was opened with. A bulletin may change what is sent under.
    pub service: ServiceUuid,
}

/// A contact tracer on one store and one radio.
pub struct Tracer {
    config: Config,
    clock: Box<dyn Clock>,
    place: Option<Place>,
    state: Mutex<State>,
    events: Mutex<VecDeque<Event>>,
    /// An event has come.
    told: Condvar,
    /// Who else wants to know of it.
    wakers: Mutex<Vec<Waker>>,
    /// How often a thread of a driver was started again after a panic.
    restarts: AtomicU32,
    /// Something is due earlier than the driver thought.
    awake: Mutex<bool>,
    woken: Condvar,
    /// Where there are servers.
    connection: Mutex<Option<Arc<Connection>>>,
    /// Held for the length of a request: one at a time.
    corresponding: Mutex<()>,
    /// A request is on its way, and its answer may take a minute.
    waits_for_server: AtomicBool,
    /// Something is due earlier with servers than the driver thought.
    writes: Mutex<bool>,
    to_write: Condvar,
    /// Held for the length of a check: files are matched one at a time.
    checking: Mutex<()>,
    /// Somebody waits for the check to end.
    ends_check: AtomicBool,
}

impl Tracer {
    /// Begins to send and to hear, with the next [`step`](Self::step). Needs no network. Starting twice is no error.
    pub fn start(&self) {
        // Only silencing the radio can fail.
        let _ = self.switch(&[Tracing::Stopped, Tracing::Paused], Tracing::Running);
    }

    /// Ends sending and hearing; what was heard is kept.
    ///
    /// # Errors
    /// [`TracerError::Store`] where the last encounters could not be kept; they are tried again with the next step.
    pub fn stop(&self) -> Result<(), TracerError> {
        self.switch(&[Tracing::Running, Tracing::Paused], Tracing::Stopped)
    }

    /// Like [`stop`](Self::stop), but the status says that the user wants to go on later. Does nothing where tracing does not run.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub fn pause(&self) -> Result<(), TracerError> {
        self.switch(&[Tracing::Running], Tracing::Paused)
    }

    /// Goes on after [`pause`](Self::pause), with a new identifier; does nothing where tracing is not paused.
    pub fn resume(&self) {
        // As in `start`.
        let _ = self.switch(&[Tracing::Paused], Tracing::Running);
    }

    /// Does what is due, and says after what time it wants to be called again: at most a minute, less while it listens.
    ///
    /// # Errors
    /// [`TracerError::Store`]. Nothing is lost: what is due stays due, and no identifier is sent that was not kept before.
    pub fn step(&self) -> Result<Duration, TracerError> {
        let (now, monotonic) = self.clock.readings();
        let mut events = Vec::new();
        let result = self.lock().step(now, monotonic, &mut events);
        events.into_iter().for_each(|event| self.tell(event));
        self.settle(result)
    }

    /// Takes sightings that come from elsewhere than the radio: a recorded capture, a batch of the phone's system, a write-back over GATT.
    ///
    /// # Errors
    /// [`TracerError::Store`] where they could not be kept; they are tried again with the next step.
    pub fn record(&self, sightings: &[Sighting]) -> Result<(), TracerError> {
        let now = self.clock.now();
        self.with(|state| state.record(sightings, now))
    }

    /// Forgets which files were checked, so that the next check matches them again, with older traffic that came in meanwhile. Nothing counts
    /// twice: what was found before is found again as the same.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn forget_checked_files(&self) -> Result<(), TracerError> {
        let _no_check_runs = lock(&self.checking);
        self.with(|state| Ok(state.store()?.forget_file_marks()?))
    }

    /// Ends today's key with the current interval, changes the radio to a new one with the next [`step`](Self::step), for which a [`Driver`]
    /// wakes at once, and hands out all keys of the last 14 days.
    ///
    /// Whoever publishes a key holds it back until its end plus 2 hours: before, it could be sent again to make contacts that never were.
    ///
    /// # Errors
    /// [`TracerError::Store`]: then no key has ended, and nothing is handed out.
    pub fn release_keys(&self) -> Result<Vec<TemporaryExposureKey>, TracerError> {
        let now = self.clock.now();
        let released = self.with(|state| state.release_keys(now));
        self.wake();
        released
    }

    /// What was exposed to what, from all files that were checked so far.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn assessment(&self) -> Result<Assessment, TracerError> {
        let today = self.clock.now().date();
        self.with(|state| {
            let exposures = state.store()?.exposures()?;
            let configuration = state.exposure(&self.config);
            Ok(assess(&exposures, &configuration, today, &mut state.rng))
        })
    }

    /// The alerts that stand, oldest first.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn alerts(&self) -> Result<Vec<Alert>, TracerError> {
        self.with(|state| Ok(state.store()?.alerts()?))
    }

    /// Notes that the user has seen an alert.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn acknowledge_alert(&self, exposure: ExposureId) -> Result<(), TracerError> {
        self.with(|state| Ok(state.store()?.acknowledge_alert(exposure)?))
    }

    /// Stops, and erases all that was ever kept, for good. A check that runs is ended first. [`Erasure::Pending`] where another program still
    /// reads the store: then [`step`](Self::step) goes on with it.
    ///
    /// # Errors
    /// [`TracerError::Store`]; tracing is stopped, and it may be called again.
    pub fn erase_everything(&self) -> Result<Erasure, TracerError> {
        self.stop()?;
        self.ends_check.store(true, Ordering::Release);
        let _no_check_runs = lock(&self.checking);
        self.ends_check.store(false, Ordering::Release);
        let (now, monotonic) = self.clock.readings();
        let erase = |state: &mut State| state.erase_everything(&self.config, now, monotonic);
        let erasure = match self.with(erase) {
            // By now the damaged store is set aside, and a new one can be erased together with it.
            Err(TracerError::Store(StoreError::Corrupt)) => self.with(erase)?,
            other => other?,
        };
        lock(&self.events).clear();
        self.tell(Event::Erased);
        Ok(erasure)
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn status(&self) -> Result<Status, TracerError> {
        let (now, monotonic) = self.clock.readings();
        let restarts = self.restarts.load(Ordering::Relaxed);
        self.with(|state| Ok(Status { restarts, ..state.status(now, monotonic)? }))
    }

    fn switch(&self, from: &[Tracing], to: Tracing) -> Result<(), TracerError> {
        let now = self.clock.now();
        let mut state = self.lock();
        if !from.contains(&state.tracing) {
            return Ok(());
        }
        // Under one lock with the radio's silence: a step in between would switch it on again.
        state.tracing = to;
        let halted = if to == Tracing::Running { Ok(()) } else { state.halt(now) };
        drop(state);
        self.wake();
        self.tell(Event::TracingChanged(to));
        self.settle(halted)
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> Result<T, TracerError>) -> Result<T, TracerError> {
        let result = work(&mut self.lock());
        self.settle(result)
    }

    /// Looks at how work on the store went. Where it is damaged, it is opened anew, which salvages what it can.
    fn settle<T>(&self, result: Result<T, TracerError>) -> Result<T, TracerError> {
        if let Err(TracerError::Store(StoreError::Corrupt)) = &result
            && let Some(place) = &self.place
        {
            let now = self.clock.now();
            let mut state = self.lock();
            // The lock on the file goes with the old store.
            state.store = None;
            let (store, opened) = place.open(now, &mut state.rng)?;
            let news = self.news_of_store(&opened, store.has_lost_keys()?);
            state.store = Some(store);
            drop(state);
            // Whoever is woken by it may ask at once.
            news.into_iter().for_each(|event| self.tell(event));
        }
        result
    }

    /// The radio falls silent, for whoever ends without a word; tracing is still what the user wants.
    fn silence(&self) {
        let now = self.clock.now();
        if let Err(error) = self.lock().halt(now) {
            tracing::warn!(%error, "the last encounters could not be kept");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // A clock or a radio of an app may panic; in the midst of another panic that would end the whole app.
        let _ = catch_unwind(AssertUnwindSafe(|| self.silence()));
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("tracing", &self.lock().tracing).finish_non_exhaustive()
    }
}

/// A panic in another thread is no reason for a second one: every change is complete in the store or not at all.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
