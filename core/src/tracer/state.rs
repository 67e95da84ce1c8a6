//! What a tracer holds behind its lock, and what is done with it in one go.

use std::time::Duration;

use rand_core::CryptoRng;

use super::services::Services;
use super::session::{Session, Step};
use super::{Config, Event, Status, TracerError, Tracing};
use crate::courier::Context;
use crate::courier::bulletin::KeptBulletin;
use crate::courier::waitlist::renew_sign_ups;
use crate::diagnosis::PublicKey;
use crate::encounters::Encounter;
use crate::encounters::recorder::Recorder;
use crate::keys::TemporaryExposureKey;
use crate::keys::schedule::{Release, release};
use crate::radio::Sighting;
use crate::store::{Erasure, Store, StoreError};
use crate::time::{ClockWatch, Timestamp};

/// How often a tracer that is not tracing wants to be called.
const IDLE: Duration = Duration::from_secs(60);

/// How often what is too old is looked for.
const ERASURE_PERIOD: Duration = Duration::from_secs(3600);

const A_DAY: Duration = Duration::from_secs(86_400);

/// Encounters that wait in memory while the store cannot take them. Beyond it the oldest are lost: 30 MB at most, hours of ordinary traffic.
const MAX_UNSAVED: usize = 50_000;

/// The changing half of a tracer.
pub(super) struct State {
    /// `None` while a damaged one waits to be opened again.
    pub(super) store: Option<Store>,
    pub(super) tracing: Tracing,
    pub(super) session: Session,
    pub(super) recorder: Recorder,
    pub(super) unsaved: Vec<Encounter>,
    pub(super) rng: Box<dyn CryptoRng + Send>,
    pub(super) watch: ClockWatch,
    pub(super) erase_due: Duration,
    /// Counts how often everything was erased.
    pub(super) life: u64,
    /// The one that holds.
    pub(super) bulletin: Option<KeptBulletin>,
    /// Keys that vouch for key files beside those of the configuration.
    pub(super) authority_keys: Vec<PublicKey>,
    pub(super) services: Services,
}

impl State {
    pub(super) fn store(&mut self) -> Result<&mut Store, StoreError> {
        self.store.as_mut().ok_or(StoreError::Corrupt)
    }

    /// What the courier decides with.
    pub(super) fn context(&mut self, now: Timestamp) -> Result<Context<'_>, StoreError> {
        Ok(Context { store: self.store.as_mut().ok_or(StoreError::Corrupt)?, now, rng: &mut *self.rng })
    }

    /// Does all that is due, even where one of it fails. The first failure is returned.
    pub(super) fn step(&mut self, now: Timestamp, monotonic: Duration, events: &mut Vec<Event>) -> Result<Duration, TracerError> {
        let jump = self.watch.observe(now, monotonic);
        if let Some(jump) = jump {
            events.push(Event::ClockJumped(jump));
            // The identifier on the air belongs to a time that is no more.
            self.session.rotate_now();
        }
        let mut heard = Vec::new();
        let wait = match self.tracing {
            Tracing::Running => self.session.step(&mut Step {
                now,
                monotonic,
                store: self.store.as_mut(),
                recorder: &mut self.recorder,
                rng: &mut *self.rng,
                heard: &mut heard,
                events,
            }),
            Tracing::Stopped | Tracing::Paused => Ok(IDLE),
        };
        let recorded = self.record(&heard, now);
        let erased = self.erase(now, monotonic, jump.is_some());
        let wait = wait?;
        recorded.and(erased).map(|()| wait)
    }

    /// Keeps what is known of the clock, erases what is too old, and goes on with an erasure that another program held up.
    fn erase(&mut self, now: Timestamp, monotonic: Duration, has_jumped: bool) -> Result<(), TracerError> {
        let (clock, trusts_age, is_due) = (self.watch.state(), self.watch.trusts_age(), monotonic >= self.erase_due);
        let store = self.store()?;
        if is_due || has_jumped {
            store.set_clock_state(clock)?;
        }
        store.finish_erasure()?;
        if is_due {
            if trusts_age {
                renew_sign_ups(store, now)?;
                store.erase_expired(now)?;
                self.forget_old_services(now)?;
            }
            self.erase_due = monotonic + ERASURE_PERIOD;
        }
        Ok(())
    }

    pub(super) fn record(&mut self, sightings: &[Sighting], now: Timestamp) -> Result<(), TracerError> {
        for sighting in sightings {
            self.recorder.hear(sighting, &mut self.rng);
        }
        self.unsaved.extend(self.recorder.take_finished(now, &mut self.rng));
        self.save()
    }

    fn save(&mut self) -> Result<(), TracerError> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let surplus = self.unsaved.len().saturating_sub(MAX_UNSAVED);
        self.unsaved.drain(..surplus);
        self.store.as_mut().ok_or(StoreError::Corrupt)?.add_encounters(&self.unsaved)?;
        self.unsaved.clear();
        Ok(())
    }

    /// Everything that was heard so far goes to the store.
    pub(super) fn flush(&mut self) -> Result<(), TracerError> {
        self.unsaved.extend(self.recorder.flush(&mut self.rng));
        self.save()
    }

    pub(super) fn status(&mut self, now: Timestamp, monotonic: Duration) -> Result<Status, TracerError> {
        let (tracing, trusts_age) = (self.tracing, self.watch.trusts_age());
        let next_rotation = self.session.next_rotation().map(|due| due.saturating_sub(monotonic));
        let (is_sending, is_listening) = (self.session.is_sending(), self.session.is_listening());
        let (radio_problem, radio_limits) = (self.session.problem().cloned(), self.session.limits());
        let midnight = now.date().first_interval().start();
        let store = self.store()?;
        Ok(Status {
            tracing,
            is_sending,
            is_listening,
            radio_problem,
            radio_limits,
            next_rotation,
            encounters: store.count_encounters(Timestamp::from_unix_ms(i64::MIN)..Timestamp::from_unix_ms(i64::MAX))?,
            encounters_today: store.count_encounters(midnight..midnight.after(A_DAY))?,
            own_keys: store.own_keys()?.len(),
            clock_is_trusted: trusts_age,
            erasure_is_pending: store.erasure_is_pending()?,
            open_alerts: store.alerts()?.iter().filter(|alert| !alert.acknowledged).count(),
            // The threads are not known here.
            restarts: 0,
        })
    }

    /// Silences the radio, and keeps what it has heard.
    pub(super) fn halt(&mut self, now: Timestamp) -> Result<(), TracerError> {
        let mut heard = Vec::new();
        self.session.halt(now, &mut self.recorder, &mut heard);
        self.record(&heard, now)?;
        self.flush()
    }

    pub(super) fn release_keys(&mut self, now: Timestamp) -> Result<Vec<TemporaryExposureKey>, TracerError> {
        let keys = self.store()?.own_keys()?;
        let release = release(&keys, now.interval(), self.watch.believed().interval(), &mut self.rng);
        self.store()?.keep_release(&release)?;
        self.go_on_after(&release);
        Ok(release.keys)
    }

    /// The radio changes to the successor of a key that has ended.
    pub(super) fn go_on_after(&mut self, release: &Release) {
        if let Some(successor) = &release.successor {
            self.recorder.add_own_identifiers(successor.identifiers().map(|(_, rpi)| rpi));
            self.session.rotate_now();
        }
    }

    /// Everything goes, and what was sent and heard is forgotten once the store has erased it.
    pub(super) fn erase_everything(
        &mut self,
        config: &Config,
        now: Timestamp,
        monotonic: Duration,
    ) -> Result<Erasure, TracerError> {
        self.session.halt(now, &mut self.recorder, &mut Vec::new());
        let erasure = self.store.as_mut().ok_or(StoreError::Corrupt)?.erase_everything(&mut self.rng)?;
        self.life += 1;
        self.unsaved.clear();
        self.recorder = Recorder::new(config.calibration);
        self.bulletin = None;
        self.services = Services::new(config.service);
        self.session.set_services(self.services.sent(), self.services.heard());
        self.watch = ClockWatch::resume(None, now, monotonic).0;
        Ok(erasure)
    }
}
