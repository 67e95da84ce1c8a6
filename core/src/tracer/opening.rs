//! How a tracer comes to its store: made or found, plain or sealed, and what is told of it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Condvar, Mutex};

use rand_core::CryptoRng;

use super::services::{self, Services};
use super::session::Session;
use super::state::State;
use super::{Config, Event, Tracer, TracerError, Tracing, lock};
use crate::encounters::recorder::Recorder;
use crate::radio::Radio;
use crate::store::{KeyVault, Opened, Store, StoreError};
use crate::time::{Clock, ClockWatch, Timestamp};

/// Where the store is, and what opens it.
pub(super) struct Place {
    path: PathBuf,
    vault: Option<Arc<dyn KeyVault>>,
}

impl Place {
    pub(super) fn open(&self, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(Store, Opened), StoreError> {
        match &self.vault {
            Some(vault) => Store::open_sealed(&self.path, Arc::clone(vault), now, rng),
            None => Store::open(&self.path, now, rng),
        }
    }
}

impl Tracer {
    /// Opens the store at `path`, made where there is none, and takes hold of the radio. Nothing is sent or heard before [`start`](Self::start).
    ///
    /// # Errors
    /// [`TracerError::Store`] where the store cannot be used: it belongs to another program, is in use, is newer, or cannot be read or written.
    pub fn open(
        config: Config,
        path: &Path,
        radio: Radio,
        clock: impl Clock + 'static,
        rng: impl CryptoRng + Send + 'static,
    ) -> Result<Self, TracerError> {
        Self::open_at(Place { path: path.to_owned(), vault: None }, config, radio, clock, rng)
    }

    /// The same with own keys and tokens sealed under a key that `vault` wraps, which is how a phone keeps them. A store that was not sealed is
    /// sealed now. Where the vault has lost its key, tracing begins with new keys, and [`Event::KeysLost`] says so.
    ///
    /// # Errors
    /// As [`open`](Self::open), and where the vault does not work now: [`StoreError::Vault`], which may be tried again.
    pub fn open_sealed(
        config: Config,
        path: &Path,
        vault: Arc<dyn KeyVault>,
        radio: Radio,
        clock: impl Clock + 'static,
        rng: impl CryptoRng + Send + 'static,
    ) -> Result<Self, TracerError> {
        Self::open_at(Place { path: path.to_owned(), vault: Some(vault) }, config, radio, clock, rng)
    }

    fn open_at(
        place: Place,
        config: Config,
        radio: Radio,
        clock: impl Clock + 'static,
        rng: impl CryptoRng + Send + 'static,
    ) -> Result<Self, TracerError> {
        let mut rng = rng;
        let (store, opened) = place.open(clock.now(), &mut rng)?;
        let has_lost_keys = store.has_lost_keys()?;
        let tracer = Self::with_store(config, store, Some(place), radio, clock, rng)?;
        tracer.news_of_store(&opened, has_lost_keys).into_iter().for_each(|event| tracer.tell(event));
        Ok(tracer)
    }

    /// The same with a store in memory that is gone with the tracer: for simulations and tests.
    ///
    /// # Errors
    /// [`TracerError::Store`] where there is no memory.
    pub fn open_in_memory(
        config: Config,
        radio: Radio,
        clock: impl Clock + 'static,
        rng: impl CryptoRng + Send + 'static,
    ) -> Result<Self, TracerError> {
        let mut rng = rng;
        let store = Store::in_memory(&mut rng)?;
        Self::with_store(config, store, None, radio, clock, rng)
    }

    fn with_store(
        config: Config,
        mut store: Store,
        place: Option<Place>,
        radio: Radio,
        clock: impl Clock + 'static,
        rng: impl CryptoRng + Send + 'static,
    ) -> Result<Self, TracerError> {
        let (now, monotonic) = clock.readings();
        let (watch, jump) = ClockWatch::resume(store.clock_state()?, now, monotonic);
        store.set_clock_state(watch.state())?;
        let mut recorder = Recorder::new(config.calibration);
        for own in store.own_keys()? {
            recorder.add_own_identifiers(own.key.identifiers().map(|(_, rpi)| rpi));
        }
        let erase_due = monotonic;
        let mut session = Session::new(radio, config.scanning, config.calibration.transmit_power);
        let kept = store.note(services::NOTE)?.and_then(|note| serde_json::from_slice(&note).ok());
        let services = Services::resume(kept, config.service, clock.now());
        session.set_services(services.sent(), services.heard());
        let tracer = Self {
            config,
            clock: Box::new(clock),
            place,
            state: Mutex::new(State {
                store: Some(store),
                tracing: Tracing::Stopped,
                session,
                recorder,
                unsaved: Vec::new(),
                rng: Box::new(rng),
                watch,
                erase_due,
                life: 0,
                bulletin: None,
                authority_keys: Vec::new(),
                services,
            }),
            events: Mutex::default(),
            told: Condvar::new(),
            wakers: Mutex::default(),
            restarts: AtomicU32::new(0),
            awake: Mutex::new(false),
            woken: Condvar::new(),
            connection: Mutex::new(None),
            corresponding: Mutex::new(()),
            waits_for_server: AtomicBool::new(false),
            writes: Mutex::new(false),
            to_write: Condvar::new(),
            checking: Mutex::new(()),
            ends_check: AtomicBool::new(false),
        };
        if let Some(jump) = jump {
            tracer.tell(Event::ClockJumped(jump));
        }
        Ok(tracer)
    }

    /// What opening the store has found.
    pub(super) fn news_of_store(&self, opened: &Opened, has_lost_keys: bool) -> Vec<Event> {
        let mut news = Vec::new();
        if let Opened::Recovered { own_keys, alerts, .. } = *opened {
            news.push(Event::StoreRecovered { own_keys, alerts });
        }
        if has_lost_keys && !lock(&self.events).contains(&Event::KeysLost) {
            news.push(Event::KeysLost);
        }
        news
    }
}
