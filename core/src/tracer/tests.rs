use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tempfile::TempDir;

use super::*;
use crate::beacon::Frame;
use crate::diagnosis::{DiagnosisKey, ReportType, SigningKey};
use crate::keys::Metadata;
use crate::keys::schedule::{MAX_ROTATION, MIN_ROTATION};
use crate::radio::{Advertiser, MeasuredBy, RadioError, Rssi, Scanner};
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
            tracer: None,
            seed: 0,
            clock,
        };
        device.restart();
        device
    }

    fn restart(&mut self) {
        self.tracer = None;
        let sent = self.sent();
        *self.hand.lock().unwrap() = Hand { sent, ..Hand::default() };
        self.seed += 1;
        let radio = FakeRadio(Arc::clone(&self.hand), self.clock.clone());
        let radio = Radio { scanner: Some(Box::new(radio.clone())), advertiser: Some(Box::new(radio)) };
        let config = Config { authority_keys: vec![self.authority.public_key().clone()], ..Config::default() };
        let rng = ChaCha20Rng::seed_from_u64(self.seed);
        self.tracer = Some(Tracer::open(config, &self.dir.path().join("store"), radio, self.clock.clone(), rng).unwrap());
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
fn restarts_and_jumps_of_the_clock_never_send_an_identifier_twice() {
    let mut device = Device::new();
    let jumps = [
        "2020-10-22T09:10:00Z",
        "2020-10-22T23:59:59Z",
        "2020-10-23T00:00:00Z",
        "2020-10-22T09:10:00Z",
        "2031-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "2020-10-22T09:03:00Z",
    ];
    for round in 0..5 {
        for jump in jumps {
            if round % 2 == 0 {
                device.restart();
            }
            device.tracer().start();
            device.run(MINUTE);
            device.clock.jump_to(jump.parse().unwrap());
            device.run(MINUTE);
        }
    }
    let sent = device.sent();
    assert!(sent.len() >= 5 * jumps.len(), "{}", sent.len());
    assert_no_frame_twice(&sent);
}

#[test]
fn a_jump_of_the_clock_is_told_loses_nothing_and_the_status_says_it() {
    let device = Device::new();
    device.tracer().start();
    device.run(20 * MINUTE);
    device.meet(&somebody(1));
    device.run(40 * MINUTE);
    device.events();
    let before = device.tracer().status().unwrap();
    device.clock.jump_to("2035-01-01T00:00:00Z".parse().unwrap());
    device.run(2 * 60 * MINUTE);
    assert!(device.events().iter().any(|event| matches!(event, Event::ClockJumped(_))));
    assert!(!device.tracer().status().unwrap().clock_is_trusted);
    device.clock.jump_to("2020-10-22T12:03:00Z".parse().unwrap());
    device.run(2 * 60 * MINUTE);
    let after = device.tracer().status().unwrap();
    assert!(after.clock_is_trusted);
    assert_eq!(after.encounters_today, before.encounters_today);
    let file = device.publish("file", &[diagnosis(&somebody(1), ReportType::ConfirmedTest)]);
    assert_eq!(device.check(&file).assessment.windows.len(), 1);
}

#[test]
fn what_is_older_than_14_days_goes() {
    let device = Device::new();
    device.tracer().start();
    device.meet(&somebody(1));
    device.run(16 * DAY);
    let keys = device.tracer().release_keys().unwrap();
    assert_eq!(keys.len(), 15);
    assert!(keys.iter().all(|key| key.end() > device.clock.now().interval().day_start().minus(14 * 144)));
    let identifiers = device.tracer().lock().store().unwrap().identifiers().unwrap();
    assert!(identifiers.is_empty());
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
fn own_identifiers_are_never_recorded_and_own_published_keys_never_match() {
    let mut device = Device::new();
    device.tracer().start();
    device.run(2 * MINUTE);
    let key = device.tracer().release_keys().unwrap().remove(0);
    device.run(2 * MINUTE);
    device.restart();
    let relayed = sighting(&key, device.clock.now(), -50);
    let mut of_now = relayed;
    of_now.frame = device.sent().last().unwrap().0;
    device.tracer().record(&[relayed, of_now]).unwrap();
    device.tracer().stop().unwrap();
    assert!(device.tracer().lock().store().unwrap().identifiers().unwrap().is_empty());

    // As if it had been heard before the key was known.
    let mut recorder = Recorder::new(Calibration::default());
    recorder.hear(&relayed, &mut ChaCha20Rng::seed_from_u64(1));
    let encounters = recorder.flush(&mut ChaCha20Rng::seed_from_u64(1));
    device.tracer().lock().store().unwrap().add_encounters(&encounters).unwrap();
    let file = device.publish("own", &[diagnosis(&key, ReportType::ConfirmedTest)]);
    assert!(device.check(&file).assessment.windows.is_empty());
}

/// Likely, confirmed, revoked: with a restart or an interruption after every step.
#[test]
fn an_alert_is_raised_once_and_goes_when_its_key_is_revoked() {
    let mut device = Device::new();
    device.meet(&somebody(1));
    device.meet(&somebody(2));
    device.clock.advance(DAY);
    let (one, two) = (somebody(1), somebody(2));
    use ReportType::{ConfirmedClinicalDiagnosis as Likely, ConfirmedTest as Confirmed, Revoked};
    // Files in order: what they say of somebody 1 and 2; alerts raised, withdrawn, and standing after them.
    let table: [(&[DiagnosisKey], usize, usize, usize); 7] = [
        (&[diagnosis(&one, Likely)], 1, 0, 1),
        (&[diagnosis(&one, Confirmed)], 0, 0, 1),
        (&[diagnosis(&one, Confirmed), diagnosis(&two, Likely)], 1, 0, 2),
        (&[diagnosis(&one, Revoked)], 0, 1, 1),
        (&[diagnosis(&one, Confirmed), diagnosis(&two, Likely), diagnosis(&one, Confirmed)], 0, 0, 1),
        (&[diagnosis(&two, Revoked)], 0, 1, 0),
        (&[diagnosis(&two, Confirmed)], 0, 0, 0),
    ];
    for (n, (keys, raised, withdrawn, standing)) in table.into_iter().enumerate() {
        device.events();
        let file = device.publish(&format!("file{n}"), keys);
        let events = device.check_with_restarts(&file);
        assert_eq!(events.iter().filter(|e| matches!(e, Event::AlertRaised(_))).count(), raised, "step {n}");
        assert_eq!(events.iter().filter(|e| matches!(e, Event::AlertWithdrawn(_))).count(), withdrawn, "step {n}");
        for _ in 0..2 {
            assert_eq!(device.tracer().alerts().unwrap().len(), standing, "step {n}");
            assert!(matches!(device.check(&file).files[0].status, FileStatus::AlreadyMatched));
            device.restart();
            assert!(device.events().is_empty(), "nothing is raised again");
        }
    }
}

#[test]
fn a_check_that_is_stopped_after_every_key_goes_on_and_doubles_nothing() {
    let mut device = Device::new();
    device.meet(&somebody(1));
    device.clock.advance(DAY);
    let strangers = (2..20).map(|n| diagnosis(&somebody(n), ReportType::ConfirmedTest));
    let keys: Vec<_> = strangers.chain([diagnosis(&somebody(1), ReportType::ConfirmedTest)]).collect();
    let file = device.publish("file", &keys);
    let events = device.check_with_restarts(&file);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::AlertRaised(_))).count(), 1);
    assert_eq!(device.tracer().assessment().unwrap().windows.len(), 1);
}

#[test]
fn a_file_that_cannot_be_believed_blocks_no_other() {
    let device = Device::new();
    device.meet(&somebody(1));
    device.clock.advance(DAY);
    let good = device.publish("good", &[diagnosis(&somebody(1), ReportType::ConfirmedTest)]);
    let forged = device.dir.path().join("forged");
    let other = SigningKey::generate().unwrap();
    let keys = [diagnosis(&somebody(2), ReportType::ConfirmedTest)];
    std::fs::write(&forged, crate::diagnosis::write_export(&Default::default(), &keys, &[], &other).unwrap()).unwrap();
    let missing = device.dir.path().join("missing");
    let report = device.tracer().check(&[forged, missing, good], |_| ControlFlow::Continue(())).unwrap();
    let refused = |n: usize| matches!(report.files[n].status, FileStatus::Refused(_));
    assert_eq!((refused(0), refused(1), refused(2)), (true, true, false));
    assert_eq!(report.assessment.windows.len(), 1);
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
fn erasing_everything_leaves_no_byte_of_a_key_or_an_identifier() {
    let device = Device::new();
    device.tracer().start();
    device.run(3 * DAY);
    let met = somebody(9);
    device.meet(&met);
    let keys = device.tracer().release_keys().unwrap();
    assert_eq!(device.tracer().erase_everything().unwrap(), Erasure::Done);
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(device.dir.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(keys.iter().all(|key| !holds(key.as_bytes())));
    assert!(met.identifiers().all(|(_, rpi)| !holds(&rpi.0)));
    let status = device.tracer().status().unwrap();
    assert_eq!((status.tracing, status.own_keys, status.encounters_today), (Tracing::Stopped, 0, 0));
    device.tracer().start();
    device.run(MINUTE);
    assert!(device.tracer().status().unwrap().is_sending, "it can begin again");
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
fn older_traffic_is_matched_with_files_that_were_checked_once_they_are_forgotten() {
    let device = Device::new();
    let key = somebody(1);
    device.meet(&key);
    let file = device.publish("file", &[diagnosis(&key, ReportType::ConfirmedTest)]);
    let before = device.check(&file).assessment.days;

    // A recording of the hour before arrives.
    device.clock.jump_to(start_time().before(60 * MINUTE));
    device.meet(&key);
    device.clock.jump_to(start_time());
    let unchanged = device.check(&file);
    assert!(matches!(unchanged.files[0].status, FileStatus::AlreadyMatched));
    assert_eq!(unchanged.assessment.days, before);

    device.tracer().forget_checked_files().unwrap();
    let again = device.check(&file);
    assert!(matches!(again.files[0].status, FileStatus::Matched { .. }));
    assert_eq!(again.assessment.days[0].overall.score_sum, 2.0 * before[0].overall.score_sum);

    device.tracer().forget_checked_files().unwrap();
    assert_eq!(device.check(&file).assessment.days, again.assessment.days, "nothing counts twice");
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
fn a_leap_that_is_corrected_a_little_erases_nothing() {
    let device = Device::new();
    device.tracer().start();
    device.meet(&somebody(1));
    device.run(60 * MINUTE);
    device.clock.jump_to("2035-01-01T00:10:00Z".parse().unwrap());
    device.run(2 * MINUTE);
    device.clock.jump_to("2035-01-01T00:00:00Z".parse().unwrap());
    device.run(2 * 60 * MINUTE);
    assert_eq!(device.tracer().release_keys().unwrap().len(), 2, "keys of 2020 and of now");
    device.clock.jump_to("2020-10-22T13:00:00Z".parse().unwrap());
    device.run(2 * 60 * MINUTE);
    let released = device.tracer().release_keys().unwrap();
    assert!(released.iter().all(|key| key.rolling_start().date() == start_time().date()), "none of the future");
    let file = device.publish("file", &[diagnosis(&somebody(1), ReportType::ConfirmedTest)]);
    assert_eq!(device.check(&file).assessment.windows.len(), 1);
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

#[test]
fn where_erasing_fails_own_identifiers_are_still_known() {
    let device = Device::new();
    device.tracer().start();
    device.run(2 * MINUTE);
    let other = rusqlite::Connection::open(device.dir.path().join("store")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(device.tracer().erase_everything().is_err());
    drop(other);
    let own = device.sent()[0].0;
    let relayed = Sighting { frame: own, rssi: Rssi(-50), measured_by: MeasuredBy::Us, at: device.clock.now() };
    device.tracer().record(&[relayed]).unwrap();
    device.tracer().start();
    device.tracer().stop().unwrap();
    assert_eq!(device.tracer().status().unwrap().encounters, 0);
    assert_eq!(device.tracer().erase_everything().unwrap(), Erasure::Done);
}

#[test]
fn an_erasure_that_somebody_held_up_goes_on_within_a_minute() {
    let device = Device::new();
    device.tracer().start();
    device.run(2 * MINUTE);
    let reader = rusqlite::Connection::open(device.dir.path().join("store")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM own_keys").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM own_keys", [], |row| row.get(0)).unwrap();
    assert_eq!(device.tracer().erase_everything().unwrap(), Erasure::Pending);
    assert!(device.tracer().status().unwrap().erasure_is_pending);
    drop(reader);
    device.run(MINUTE);
    assert!(!device.tracer().status().unwrap().erasure_is_pending);
}

#[test]
fn a_check_that_is_stopped_opens_no_further_file() {
    let device = Device::new();
    let keys = [diagnosis(&somebody(1), ReportType::ConfirmedTest), diagnosis(&somebody(2), ReportType::ConfirmedTest)];
    let files = [device.publish("one", &keys), device.publish("two", &keys[..1])];
    let report = device.tracer().check(&files, after_each_key).unwrap();
    assert!(report.files.iter().all(|file| matches!(file.status, FileStatus::Unfinished)), "{report:?}");
}
