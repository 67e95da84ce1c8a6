//! What a bulletin changes: how exposures are weighed, which keys vouch for files, and under which service the radio sends. Nothing else can be
//! reached from here: not whether tracing runs, and not what is kept.

use std::borrow::Cow;

use super::state::State;
use super::{Config, Tracer, TracerError, lock, services};
use crate::courier::Courier;
use crate::courier::bulletin::KeptBulletin;
use crate::diagnosis::PublicKey;
use crate::exposure::ExposureConfiguration;
use crate::store::{Changes, StoreError};
use crate::time::Timestamp;

impl Tracer {
    /// The bulletin that holds: the latest that was accepted from the servers it is [connected](Self::connect) to. Needs no network, and never waits for
    /// one.
    pub fn bulletin(&self) -> Option<KeptBulletin> {
        self.lock().bulletin.clone()
    }

    /// Asks for the bulletin now, because a person waits for it, and not at this device's moment.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn fetch_bulletin_now(&self) -> Result<(), TracerError> {
        let now = self.clock.now();
        if let Some(connection) = self.connection() {
            let mut courier = lock(&connection.courier);
            self.with(|state| Ok(courier.fetch_bulletin_now(&mut state.context(now)?)?))?;
        }
        self.wake_correspondence();
        Ok(())
    }

    /// From now on these keys vouch for key files, beside [`Config::authority_keys`]: for servers that became known only after the start.
    pub fn add_authority_keys(&self, keys: impl IntoIterator<Item = PublicKey>) {
        self.lock().authority_keys.extend(keys);
    }

    /// Takes the bulletin that the courier has, unless everything was erased since it was asked for.
    pub(super) fn take_bulletin(&self, courier: &mut Courier, life: u64) -> Result<(), TracerError> {
        let now = self.clock.now();
        let has_other_service = self.with(|state| {
            if state.life != life {
                return Ok(false);
            }
            let kept = courier.bulletin(state.store()?)?.cloned();
            let is_same = state.bulletin.as_ref().map(|kept| &kept.bulletin) == kept.as_ref().map(|kept| &kept.bulletin);
            state.bulletin = kept;
            if is_same { Ok(false) } else { Ok(state.change_service(now)?) }
        })?;
        if has_other_service {
            self.wake();
        }
        Ok(())
    }

    /// All keys that vouch for key files now.
    pub(super) fn believed_keys(&self) -> Vec<PublicKey> {
        let state = self.lock();
        let named = state.bulletin.iter().flat_map(|kept| kept.bulletin.export_keys());
        self.config.authority_keys.iter().cloned().chain(state.authority_keys.iter().cloned()).chain(named).collect()
    }
}

impl State {
    /// How exposures are weighed now.
    pub(super) fn exposure<'a>(&self, config: &'a Config) -> Cow<'a, ExposureConfiguration> {
        let named = self.bulletin.as_ref().and_then(|kept| kept.bulletin.configuration.exposure.clone());
        named.map_or(Cow::Borrowed(&config.exposure), Cow::Owned)
    }

    /// The radio follows the bulletin. Whether anything has changed.
    fn change_service(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let named = self.bulletin.as_ref().and_then(|kept| kept.bulletin.configuration.service_uuid);
        self.renew_services(now, |services| services.change(named, now))
    }

    /// Services that were heard for long enough are heard no more.
    pub(super) fn forget_old_services(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.renew_services(now, |_| {}).map(drop)
    }

    fn renew_services(&mut self, now: Timestamp, change: impl FnOnce(&mut services::Services)) -> Result<bool, StoreError> {
        let mut renewed = self.services.clone();
        change(&mut renewed);
        renewed.forget_old(now);
        if renewed == self.services {
            return Ok(false);
        }
        // Only maps with keys that are no text fail, and there are none.
        let note = (services::NOTE.to_string(), serde_json::to_vec(&renewed).unwrap_or_default());
        self.store()?.keep_changes(&Changes { notes: vec![note], ..Changes::default() })?;
        self.session.set_services(renewed.sent(), renewed.heard());
        self.services = renewed;
        Ok(true)
    }
}
