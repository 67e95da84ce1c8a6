//! The radio while tracing runs: when it sends which frame, and when it listens.
//!
//! All times here are monotonic. Nothing is sent that the store has not kept before; where it cannot be kept, the radio falls silent rather
//! than send the old identifier for longer than an identifier may live.

use std::time::Duration;

use rand_core::CryptoRng;

use super::Event;
use crate::beacon::{Frame, ServiceUuid};
use crate::encounters::recorder::Recorder;
use crate::keys::Metadata;
use crate::keys::schedule::{Sending, next_sending, rotation_delay};
use crate::radio::{Limit, Radio, RadioError, Sighting};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;

/// After a failure the radio is tried again this much later: soon after a Bluetooth service has come back.
const RETRY: Duration = Duration::from_secs(5);

/// Frames that get lost one after the other are followed by the next after 5 s, 10 s and so on up to about 10 minutes.
const MAX_DOUBLINGS: u32 = 7;

/// While it listens without end, what was heard is fetched this often.
const FETCH: Duration = Duration::from_secs(1);

/// The longest time between two steps.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// When the radio listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scanning {
    /// For 4 s in every 3.5 to 5 minutes, as the reference implementation does: what a phone's battery bears.
    #[default]
    Periodic,
    /// Always: for a computer with a mains plug.
    Continuous,
}

impl Scanning {
    const WINDOW: Duration = Duration::from_secs(4);
    const MIN_SPACING_MS: u64 = 210_000;
    const MAX_SPACING_MS: u64 = 300_000;

    fn window(self) -> Option<Duration> {
        (self == Self::Periodic).then_some(Self::WINDOW)
    }

    /// From the start of a scan to that of the next one. Random, so that two phones do not miss each other for ever.
    fn spacing(rng: &mut (impl CryptoRng + ?Sized)) -> Duration {
        Duration::from_millis(Self::MIN_SPACING_MS + rng.next_u64() % (Self::MAX_SPACING_MS - Self::MIN_SPACING_MS + 1))
    }
}

/// What is sent until the next rotation.
struct Rotation {
    frame: Frame,
    is_new_key: bool,
    due: Duration,
    is_on_air: bool,
}

enum Listening {
    Off { next: Duration },
    On { until: Option<Duration>, next: Duration },
}

/// What one step is given: both clocks, the rules' helpers, and where its results go.
pub(super) struct Step<'a> {
    pub(super) now: Timestamp,
    pub(super) monotonic: Duration,
    /// `None` while a damaged one waits to be opened again.
    pub(super) store: Option<&'a mut Store>,
    pub(super) recorder: &'a mut Recorder,
    pub(super) rng: &'a mut (dyn CryptoRng + Send),
    pub(super) heard: &'a mut Vec<Sighting>,
    pub(super) events: &'a mut Vec<Event>,
}

impl Step<'_> {
    fn keep_next(&mut self) -> Result<Sending, StoreError> {
        let store = self.store.as_mut().ok_or(StoreError::Corrupt)?;
        let sending = next_sending(&store.own_keys()?, self.now.interval(), self.rng);
        store.keep_sending(&sending)?;
        Ok(sending)
    }
}

pub(super) struct Session {
    radio: Radio,
    scanning: Scanning,
    transmit_power: i8,
    rotation: Option<Rotation>,
    /// When a frame that the radio refused is tried again, or what was lost is followed by the next.
    send_again: Duration,
    /// How often in a row a frame was lost before its time.
    losses: u32,
    send_problem: Option<RadioError>,
    listening: Listening,
    listen_problem: Option<RadioError>,
    /// Under which service is sent, and which ones are heard; `None` before it was said.
    services: Option<(ServiceUuid, Vec<ServiceUuid>)>,
}

impl Session {
    pub(super) fn new(radio: Radio, scanning: Scanning, transmit_power: i8) -> Self {
        Self {
            radio,
            scanning,
            transmit_power,
            rotation: None,
            send_again: Duration::ZERO,
            losses: 0,
            send_problem: None,
            listening: Listening::Off { next: Duration::ZERO },
            listen_problem: None,
            services: None,
        }
    }

    /// From now on it sends under the one, as another identifier, and hears the others.
    pub(super) fn set_services(&mut self, sent: ServiceUuid, heard: Vec<ServiceUuid>) {
        if self.services.as_ref().is_none_or(|(before, _)| *before != sent) {
            self.rotate_now();
        }
        if let Some(scanner) = &mut self.radio.scanner {
            scanner.set_services(&heard);
        }
        self.services = Some((sent, heard));
    }

    /// Why it does not listen, or else why it does not send.
    pub(super) fn problem(&self) -> Option<&RadioError> {
        self.listen_problem.as_ref().or(self.send_problem.as_ref())
    }

    /// What the radio does less well than it should.
    pub(super) fn limits(&self) -> Vec<Limit> {
        let mut limits = self.radio.scanner.as_ref().map_or_else(Vec::new, |scanner| scanner.limits());
        limits.extend(self.radio.advertiser.iter().flat_map(|advertiser| advertiser.limits()));
        limits
    }

    pub(super) fn is_sending(&self) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| rotation.is_on_air)
    }

    pub(super) fn is_listening(&self) -> bool {
        matches!(self.listening, Listening::On { .. })
    }

    pub(super) fn next_rotation(&self) -> Option<Duration> {
        self.rotation.as_ref().map(|rotation| rotation.due)
    }

    /// The next step changes identifier and address.
    pub(super) fn rotate_now(&mut self) {
        (self.rotation, self.send_again) = (None, Duration::ZERO);
    }

    /// Ends sending and listening. What was heard until now goes to `heard`.
    pub(super) fn halt(&mut self, now: Timestamp, recorder: &mut Recorder, heard: &mut Vec<Sighting>) {
        self.silence();
        if self.is_listening() {
            recorder.scan_ended(now);
        }
        if let Some(scanner) = &mut self.radio.scanner {
            scanner.stop();
            // An error means that nothing more comes: that is what is wanted.
            let _ = scanner.take(heard);
        }
        (self.send_problem, self.listen_problem) = (None, None);
        self.listening = Listening::Off { next: Duration::ZERO };
    }

    /// Does what is due, and says after what time the next thing is.
    pub(super) fn step(&mut self, step: &mut Step<'_>) -> Result<Duration, StoreError> {
        let before = self.problem().cloned();
        self.listen(step);
        self.check_sending(step.monotonic);
        let rotated = self.rotate(step);
        if rotated.is_ok() {
            self.send(step);
        }
        if self.problem() != before.as_ref() {
            step.events.push(self.problem().cloned().map_or(Event::RadioResumed, Event::RadioFailed));
        }
        rotated.map(|()| self.next_deadline(step.monotonic).saturating_sub(step.monotonic).min(MAX_WAIT))
    }

    /// What has ended by itself is not sent again, because it would go out under another address: the next identifier takes its place.
    fn check_sending(&mut self, monotonic: Duration) {
        let (Some(advertiser), Some(rotation)) = (&mut self.radio.advertiser, &mut self.rotation) else {
            return;
        };
        if !rotation.is_on_air {
            return;
        }
        if let Err(problem) = advertiser.check() {
            advertiser.stop();
            self.send_problem = Some(problem);
            self.rotation = None;
            // Each loss costs an identifier, so a service that comes and goes is given time.
            self.send_again = monotonic + RETRY * (1 << self.losses.min(MAX_DOUBLINGS));
            self.losses += 1;
        }
    }

    fn rotate(&mut self, step: &mut Step<'_>) -> Result<(), StoreError> {
        let is_due = step.monotonic >= self.rotation.as_ref().map_or(self.send_again, |rotation| rotation.due);
        if self.radio.advertiser.is_none() || !is_due {
            return Ok(());
        }
        // It stayed on the air for its whole time.
        self.losses = if self.is_sending() { 0 } else { self.losses };
        let kept = step.keep_next();
        let sending = kept.inspect_err(|_| self.silence())?;
        let key = &sending.own.key;
        if sending.is_new_key {
            step.recorder.add_own_identifiers(key.identifiers().map(|(_, rpi)| rpi));
        }
        let rpi = key.identifier(sending.interval);
        let aem = key.encrypt_metadata(&rpi, Metadata::new(self.transmit_power));
        let due = step.monotonic + rotation_delay(step.rng);
        self.rotation = Some(Rotation { frame: Frame { rpi, aem }, is_new_key: sending.is_new_key, due, is_on_air: false });
        self.send_again = step.monotonic;
        Ok(())
    }

    fn send(&mut self, step: &mut Step<'_>) {
        let (Some(advertiser), Some(rotation)) = (&mut self.radio.advertiser, &mut self.rotation) else {
            return;
        };
        if rotation.is_on_air || step.monotonic < self.send_again {
            return;
        }
        if let Some((sent, _)) = &self.services {
            advertiser.set_service(*sent);
        }
        self.send_problem = advertiser.advertise(rotation.frame).err();
        self.send_again = step.monotonic + RETRY;
        rotation.is_on_air = self.send_problem.is_none();
        if rotation.is_on_air {
            step.events.push(Event::Rotated { is_new_key: rotation.is_new_key });
        } else {
            // The frame before this one has had its time.
            advertiser.stop();
        }
    }

    fn silence(&mut self) {
        self.rotate_now();
        if let Some(advertiser) = &mut self.radio.advertiser {
            advertiser.stop();
        }
    }

    fn listen(&mut self, step: &mut Step<'_>) {
        let Some(scanner) = &mut self.radio.scanner else {
            self.listening = Listening::Off { next: Duration::MAX };
            return;
        };
        match self.listening {
            // What devices say over connections comes between scans, too; that nothing more comes is no problem then.
            Listening::Off { next } if step.monotonic < next => {
                let _ = scanner.take(step.heard);
            }
            Listening::Off { .. } => {
                self.listen_problem = scanner.start().err();
                if self.listen_problem.is_some() {
                    self.listening = Listening::Off { next: step.monotonic + RETRY };
                    return;
                }
                step.recorder.scan_started(step.now);
                let until = self.scanning.window().map(|window| step.monotonic + window);
                self.listening = Listening::On { until, next: step.monotonic + Scanning::spacing(step.rng) };
            }
            Listening::On { until, next } => {
                self.listen_problem = scanner.take(step.heard).err();
                let has_failed = self.listen_problem.is_some();
                if has_failed || until.is_some_and(|until| step.monotonic >= until) {
                    scanner.stop();
                    // What came in between; an error was told above, or means that nothing more comes.
                    let _ = scanner.take(step.heard);
                    step.recorder.scan_ended(step.now);
                    self.listening = Listening::Off { next: if has_failed { step.monotonic + RETRY } else { next } };
                }
            }
        }
    }

    fn next_deadline(&self, monotonic: Duration) -> Duration {
        let listening = match self.listening {
            Listening::Off { next } => next,
            Listening::On { until, .. } => until.unwrap_or(monotonic + FETCH),
        };
        let sending = match &self.rotation {
            Some(rotation) if rotation.is_on_air => rotation.due,
            Some(rotation) => self.send_again.min(rotation.due),
            None if self.radio.advertiser.is_some() => self.send_again,
            None => Duration::MAX,
        };
        listening.min(sending)
    }
}
