mod check;
mod erasure;
mod sealed;
mod servers;
mod sign_ups;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tempfile::TempDir;

use super::session::Session;
use super::*;
use crate::beacon::Frame;
use crate::diagnosis::{DiagnosisKey, ReportType, SigningKey};
use crate::keys::Metadata;
use crate::keys::schedule::{MAX_ROTATION, MIN_ROTATION};
use crate::radio::{Advertiser, MeasuredBy, Radio, RadioError, Rssi, Scanner};
use crate::store::tests::TestVault;
use crate::time::{ManualClock, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// A radio that a test holds in its hand.
#[derive(Default)]
struct Hand {
    sent: Vec<(Frame, Timestamp)>,
    is_sending: bool,
    is_listening: bool,
    heard: Vec<Sighting>,
    problem: Option<RadioError>,
    panics: bool,
}

#[derive(Clone)]
struct FakeRadio(Arc<Mutex<Hand>>, ManualClock);

impl Scanner for FakeRadio {
    fn start(&mut self) -> Result<(), RadioError> {
        let mut hand = self.0.lock().unwrap();
        hand.problem.clone().map_or(Ok(()), Err)?;
        hand.is_listening = true;
        Ok(())
    }

    fn stop(&mut self) {
        self.0.lock().unwrap().is_listening = false;
    }

    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), RadioError> {
        let mut hand = self.0.lock().unwrap();
        heard.append(&mut hand.heard);
        hand.problem.clone().map_or(Ok(()), Err)
    }
}

impl Advertiser for FakeRadio {
    fn advertise(&mut self, frame: Frame) -> Result<(), RadioError> {
        let panics = self.0.lock().unwrap().panics;
        assert!(!panics, "a test wants it so");
        let mut hand = self.0.lock().unwrap();
        hand.problem.clone().map_or(Ok(()), Err)?;
        hand.sent.push((frame, self.1.now()));
        hand.is_sending = true;
        Ok(())
    }

    fn stop(&mut self) {
        self.0.lock().unwrap().is_sending = false;
    }
}

/// A device under test: its store survives `restart`.
struct Device {
    dir: TempDir,
    clock: ManualClock,
    hand: Arc<Mutex<Hand>>,
    authority: SigningKey,
    vault: Option<Arc<TestVault>>,
    tracer: Option<Tracer>,
    seed: u64,
}

fn start_time() -> Timestamp {
    "2020-10-22T09:03:00Z".parse().unwrap()
}

impl Device {
    fn new() -> Self {
        let clock = ManualClock::new(start_time());
        let mut device = Self {
            dir: tempfile::tempdir().unwrap(),
            hand: Arc::default(),
            authority: SigningKey::generate().unwrap(),
            vault: None,
            tracer: None,
            seed: 0,
            clock,
        };
        device.restart();
        device
    }

    fn restart(&mut self) {
        self.try_restart().unwrap();
    }

    fn try_restart(&mut self) -> Result<(), TracerError> {
        self.tracer = None;
        let sent = self.sent();
        *self.hand.lock().unwrap() = Hand { sent, ..Hand::default() };
        self.seed += 1;
        let radio = FakeRadio(Arc::clone(&self.hand), self.clock.clone());
        let radio = Radio { scanner: Some(Box::new(radio.clone())), advertiser: Some(Box::new(radio)) };
        let config = Config { authority_keys: vec![self.authority.public_key().clone()], ..Config::default() };
        let rng = ChaCha20Rng::seed_from_u64(self.seed);
        let (path, clock) = (self.dir.path().join("store"), self.clock.clone());
        self.tracer = Some(match &self.vault {
            Some(vault) => Tracer::open_sealed(config, &path, vault.clone(), radio, clock, rng)?,
            None => Tracer::open(config, &path, radio, clock, rng)?,
        });
        Ok(())
    }

    fn tracer(&self) -> &Tracer {
        self.tracer.as_ref().unwrap()
    }

    /// Lets time pass, and does what is due in it.
    fn run(&self, time: Duration) {
        let end = self.clock.monotonic() + time;
        loop {
            let wait = self.tracer().step().unwrap();
            let left = end.saturating_sub(self.clock.monotonic());
            self.clock.advance(wait.min(left));
            if left <= wait {
                self.tracer().step().unwrap();
                return;
            }
        }
    }

    fn sent(&self) -> Vec<(Frame, Timestamp)> {
        self.hand.lock().unwrap().sent.clone()
    }

    fn events(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.tracer().next_event()).collect()
    }

    /// Somebody with this key stands near by for 30 minutes, from the current interval on.
    fn meet(&self, key: &TemporaryExposureKey) {
        for minute in (0..30).step_by(4) {
            let at = self.clock.now().after(MINUTE * minute);
            self.tracer().record(&[sighting(key, at, -60)]).unwrap();
        }
    }

    fn publish(&self, name: &str, keys: &[DiagnosisKey]) -> PathBuf {
        let path = self.dir.path().join(name);
        let bytes = crate::diagnosis::write_export(&Default::default(), keys, &[], &self.authority).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A check that is interrupted after every key, and goes on after a restart. What was told in all.
    fn check_with_restarts(&mut self, file: &Path) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let report = self.tracer().check(&[file], after_each_key).unwrap();
            events.extend(self.events());
            if matches!(report.files[0].status, FileStatus::Matched { refused_keys: 0 }) {
                return events;
            }
            assert!(matches!(report.files[0].status, FileStatus::Unfinished), "{report:?}");
            self.restart();
        }
    }

    fn check(&self, file: &Path) -> CheckReport {
        self.tracer().check(&[file], |_| ControlFlow::Continue(())).unwrap()
    }
}

fn after_each_key(progress: Progress) -> ControlFlow<()> {
    if progress.keys_done > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn sighting(key: &TemporaryExposureKey, at: Timestamp, rssi: i8) -> Sighting {
    let rpi = key.identifier(at.interval());
    let frame = Frame { rpi, aem: key.encrypt_metadata(&rpi, Metadata::new(-20)) };
    Sighting { frame, rssi: Rssi(rssi), measured_by: MeasuredBy::Us, at }
}

fn somebody(byte: u8) -> TemporaryExposureKey {
    let mut bytes = [byte; 16];
    bytes[0] ^= 0xFF;
    TemporaryExposureKey::new(&bytes, i64::from(start_time().interval().day_start().number()), 144).unwrap()
}

fn diagnosis(key: &TemporaryExposureKey, report_type: ReportType) -> DiagnosisKey {
    DiagnosisKey { key: key.clone(), report_type: Some(report_type), days_since_onset: Some(0), transmission_risk: 0 }
}

fn assert_no_frame_twice(sent: &[(Frame, Timestamp)]) {
    let mut identifiers: Vec<_> = sent.iter().map(|(frame, _)| frame.rpi).collect();
    identifiers.sort();
    identifiers.dedup();
    assert_eq!(identifiers.len(), sent.len(), "an identifier was sent twice");
}

#[test]
fn identifiers_change_every_10_to_20_minutes_and_are_those_of_the_kept_keys() {
    let device = Device::new();
    device.tracer().start();
    device.run(2 * DAY);
    let sent = device.sent();
    assert!(sent.len() > 2 * 72 && sent.len() < 2 * 144, "{}", sent.len());
    assert_no_frame_twice(&sent);
    for pair in sent.windows(2) {
        let lived = pair[1].1.since(pair[0].1);
        assert!((MIN_ROTATION..=MAX_ROTATION).contains(&lived), "{lived:?}");
    }
    let keys = device.tracer().release_keys().unwrap();
    assert_eq!(keys.len(), 3, "one for each UTC day");
    for (frame, at) in sent {
        let key = keys.iter().find(|key| key.covers(at.interval())).unwrap();
        assert_eq!(key.identifier(at.interval()), frame.rpi);
    }
}

#[test]
fn what_is_sent_was_kept_before() {
    let device = Device::new();
    device.tracer().start();
    for _ in 0..20 {
        device.run(15 * MINUTE);
        let (frame, _) = *device.sent().last().unwrap();
        let kept = device.tracer().lock().store().unwrap().own_keys().unwrap();
        let own = kept.last().unwrap();
        assert_eq!(own.key.identifier(own.highest_sent.unwrap()), frame.rpi);
    }
}

#[test]
fn a_release_changes_the_radio_at_once() {
    let device = Device::new();
    device.tracer().start();
    device.run(2 * MINUTE);
    let now = device.clock.now().interval();
    let keys = device.tracer().release_keys().unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].end(), now.plus(1));
    device.tracer().step().unwrap();
    let sent = device.sent();
    assert_eq!(sent.len(), 2);
    let ended: Vec<_> = keys[0].identifiers().map(|(_, rpi)| rpi).collect();
    assert!(ended.contains(&sent[0].0.rpi));
    assert!(!ended.contains(&sent[1].0.rpi));
    let next = device.tracer().lock().store().unwrap().own_keys().unwrap().pop().unwrap();
    assert_eq!((next.key.rolling_start(), next.highest_sent), (now.plus(1), Some(now.plus(1))));
}

#[test]
fn a_radio_that_fails_is_told_and_tried_again() {
    let device = Device::new();
    device.tracer().start();
    device.run(MINUTE);
    device.events();
    device.hand.lock().unwrap().problem = Some(RadioError::PoweredOff);
    device.run(30 * MINUTE);
    assert_eq!(device.tracer().status().unwrap().radio_problem, Some(RadioError::PoweredOff));
    assert_eq!(device.events().iter().filter(|e| matches!(e, Event::RadioFailed(_))).count(), 1, "told once");
    device.hand.lock().unwrap().problem = None;
    device.run(6 * MINUTE);
    let status = device.tracer().status().unwrap();
    assert_eq!((status.radio_problem, status.is_sending), (None, true));
    assert!(device.events().contains(&Event::RadioResumed));
    assert_no_frame_twice(&device.sent());
}

#[test]
fn without_an_advertiser_tracing_goes_on_as_listener() {
    let device = Device::new();
    device.tracer().lock().session = Session::new(
        Radio { scanner: Some(Box::new(FakeRadio(Arc::clone(&device.hand), device.clock.clone()))), advertiser: None },
        Scanning::Continuous,
        -20,
    );
    device.tracer().start();
    device.tracer().step().unwrap();
    let status = device.tracer().status().unwrap();
    assert_eq!((status.is_listening, status.is_sending, status.radio_problem), (true, false, None));
    device.hand.lock().unwrap().heard.push(sighting(&somebody(1), device.clock.now(), -60));
    device.run(2 * MINUTE);
    assert_eq!(device.tracer().status().unwrap().encounters_today, 1);
}

#[test]
fn pausing_and_stopping_silence_the_radio_and_keep_what_was_heard() {
    let device = Device::new();
    device.tracer().start();
    device.run(Duration::from_secs(2));
    device.hand.lock().unwrap().heard.push(sighting(&somebody(1), device.clock.now(), -60));
    device.tracer().pause().unwrap();
    let is_silent = || {
        let hand = device.hand.lock().unwrap();
        !hand.is_sending && !hand.is_listening
    };
    assert!(is_silent());
    device.run(60 * MINUTE);
    assert!(is_silent());
    assert_eq!(device.tracer().status().unwrap().encounters_today, 1);
    device.tracer().resume();
    device.run(MINUTE);
    assert!(device.tracer().status().unwrap().is_sending);
    device.tracer().stop().unwrap();
    device.tracer().resume();
    assert_eq!(device.tracer().status().unwrap().tracing, Tracing::Stopped, "only a pause is resumed");
    assert_no_frame_twice(&device.sent());
}

#[test]
fn the_driver_steps_in_real_time_and_ends_when_dropped() {
    let device = Device::new();
    let hand = Arc::clone(&device.hand);
    let tracer = Arc::new({ device }.tracer.take().unwrap());
    let driver = Driver::spawn(Arc::clone(&tracer)).unwrap();
    tracer.start();
    while let Some(event) = tracer.wait_event(Duration::from_secs(60)) {
        if matches!(event, Event::Rotated { .. }) {
            break;
        }
    }
    drop(driver);
    assert_eq!(Arc::strong_count(&tracer), 1);
    assert!(!hand.lock().unwrap().sent.is_empty());
}

#[test]
fn a_panic_in_the_thread_is_told_silences_the_radio_and_tracing_goes_on() {
    let mut device = Device::new();
    device.hand.lock().unwrap().panics = true;
    let tracer = Arc::new(device.tracer.take().unwrap());
    tracer.start();
    let driver = Driver::spawn(Arc::clone(&tracer)).unwrap();
    let told = || tracer.wait_event(Duration::from_secs(60)).unwrap();
    while told() != Event::Restarted(Task::Tracing) {}
    assert!(tracer.status().unwrap().restarts > 0);
    assert!(!device.hand.lock().unwrap().is_sending);

    device.hand.lock().unwrap().panics = false;
    while !matches!(told(), Event::Rotated { .. }) {}
    assert!(device.hand.lock().unwrap().is_sending);
    drop(driver);
    assert!(!device.hand.lock().unwrap().is_sending);
}

#[test]
fn a_step_at_the_same_time_as_stop_does_not_switch_the_radio_on_again() {
    let device = Device::new();
    let tracer = device.tracer();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..2_000).for_each(|_| assert!(tracer.step().is_ok())));
        for _ in 0..500 {
            tracer.start();
            tracer.stop().unwrap();
        }
    });
    let hand = device.hand.lock().unwrap();
    assert!(!hand.is_sending && !hand.is_listening);
}

#[test]
fn a_pause_of_what_does_not_run_is_none() {
    let device = Device::new();
    device.tracer().pause().unwrap();
    device.tracer().resume();
    assert_eq!(device.tracer().status().unwrap().tracing, Tracing::Stopped);
}

#[test]
fn where_the_radio_refuses_a_new_frame_the_old_one_ends() {
    let device = Device::new();
    device.tracer().start();
    device.run(MINUTE);
    device.events();
    device.hand.lock().unwrap().problem = Some(RadioError::PoweredOff);
    device.run(21 * MINUTE);
    assert!(!device.hand.lock().unwrap().is_sending);
    assert!(!device.events().iter().any(|event| matches!(event, Event::Rotated { .. })));
}
