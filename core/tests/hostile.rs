//! A whole tracer, on a store on disk, and what goes wrong around it: files of hostile servers, a store that is locked, a store that is damaged.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

use std::collections::BTreeSet;
use std::io::{Cursor, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rusqlite::Connection;
use tempfile::TempDir;
use vigie::beacon::Frame;
use vigie::diagnosis::{DiagnosisKey, ExportHeader, MAX_EXPORT_BIN, ReportType, SigningKey, write_export};
use vigie::keys::{Metadata, RollingProximityIdentifier, TemporaryExposureKey};
use vigie::radio::{Advertiser, MeasuredBy, Radio, RadioError, Rssi, Sighting};
use vigie::store::StoreError;
use vigie::time::{Clock, ManualClock, Timestamp};
use vigie::tracer::{Config, Event, FileStatus, Tracer, TracerError};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// 22 October 2020, 09:03.
const START: Timestamp = Timestamp::from_unix_s(1_603_357_380);
const MINUTE: Duration = Duration::from_secs(60);

/// What was sent, and what is on the air now.
#[derive(Default)]
struct Sent {
    all: Vec<RollingProximityIdentifier>,
    now: Option<RollingProximityIdentifier>,
}

struct Recording(Arc<Mutex<Sent>>);

impl Advertiser for Recording {
    fn advertise(&mut self, frame: Frame) -> Result<(), RadioError> {
        let mut sent = self.0.lock().unwrap();
        sent.all.push(frame.rpi);
        sent.now = Some(frame.rpi);
        Ok(())
    }

    fn stop(&mut self) {
        self.0.lock().unwrap().now = None;
    }
}

struct Phone {
    dir: TempDir,
    clock: ManualClock,
    sent: Arc<Mutex<Sent>>,
    authority: SigningKey,
    tracer: Option<Tracer>,
    seed: u64,
}

impl Phone {
    fn new() -> Self {
        let (dir, authority) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
        let mut phone = Self { dir, clock: ManualClock::new(START), sent: Arc::default(), authority, tracer: None, seed: 0 };
        phone.open();
        phone.tracer().start();
        phone
    }

    fn open(&mut self) {
        self.seed += 1;
        let radio = Radio { scanner: None, advertiser: Some(Box::new(Recording(Arc::clone(&self.sent)))) };
        let mut config = Config::default();
        config.authority_keys = vec![self.authority.public_key().clone()];
        let rng = ChaCha20Rng::seed_from_u64(self.seed);
        self.tracer = Some(Tracer::open(config, &self.store(), radio, self.clock.clone(), rng).unwrap());
    }

    fn tracer(&self) -> &Tracer {
        self.tracer.as_ref().unwrap()
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store.db")
    }

    /// Lets so many minutes pass, with a step in each.
    fn run(&self, minutes: u32) {
        for _ in 0..minutes {
            self.tracer().step().unwrap();
            self.clock.advance(MINUTE);
        }
    }

    /// Somebody with this key is near for half an hour.
    fn meet(&self, key: &TemporaryExposureKey) {
        for _ in 0..8 {
            let at = self.clock.now();
            let rpi = key.identifier(at.interval());
            let frame = Frame { rpi, aem: key.encrypt_metadata(&rpi, Metadata::new(-25)) };
            self.tracer().record(&[Sighting { frame, rssi: Rssi(-60), measured_by: MeasuredBy::Us, at }]).unwrap();
            self.run(4);
        }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn sign(&self, key: &TemporaryExposureKey) -> Vec<u8> {
        let report_type = Some(ReportType::ConfirmedTest);
        let key = DiagnosisKey { key: key.clone(), report_type, days_since_onset: Some(0), transmission_risk: 0 };
        write_export(&ExportHeader::default(), &[key], &[], &self.authority).unwrap()
    }

    fn events(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.tracer().next_event()).collect()
    }

    fn assert_nothing_sent_twice(&self) {
        let sent = self.sent.lock().unwrap();
        let different: BTreeSet<_> = sent.all.iter().collect();
        assert_eq!(different.len(), sent.all.len(), "an identifier was sent twice");
    }

    fn is_sending(&self) -> bool {
        self.sent.lock().unwrap().now.is_some()
    }
}

fn somebody() -> TemporaryExposureKey {
    TemporaryExposureKey::generate(START.interval().day_start(), &mut ChaCha20Rng::seed_from_u64(99))
}

fn bomb() -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut bin = vec![0; MAX_EXPORT_BIN as usize + 1];
    bin[..16].copy_from_slice(b"EK Export v1    ");
    for (name, content) in [("export.bin", &*bin), ("export.sig", b"")] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn of_a_hostile_file_nothing_is_applied_and_the_good_one_beside_it_warns() {
    let phone = Phone::new();
    phone.meet(&somebody());
    let good = phone.sign(&somebody());
    let mut flipped = good.clone();
    // In the content of export.bin, which is the first entry: random bytes, hence stored or hardly packed.
    flipped[80] ^= 1;
    let forged = Phone::new().sign(&somebody());
    let hostile = [
        ("empty", Vec::new()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("flipped", flipped),
        ("longer", [&*good, b"x"].concat()),
        ("bomb", bomb()),
        ("forged", forged),
    ];
    let files: Vec<_> = hostile.iter().map(|(name, bytes)| phone.file(name, bytes)).collect();
    phone.events();
    let report = phone.tracer().check(&files, |_| ControlFlow::Continue(())).unwrap();
    for file in &report.files {
        assert!(matches!(file.status, FileStatus::Refused(_)) && file.keys == 0, "{file:?}");
    }
    assert!(report.assessment.windows.is_empty() && phone.tracer().alerts().unwrap().is_empty() && phone.events().is_empty());

    let report = phone.tracer().check(&[phone.file("good", &good)], |_| ControlFlow::Continue(())).unwrap();
    assert!(matches!(report.files[0].status, FileStatus::Matched { refused_keys: 0 }));
    assert_eq!(phone.tracer().alerts().unwrap().len(), 1, "no mark of a hostile file stands in its way");
}

/// While the highest interval sent cannot be kept, nothing new is sent, and the old identifier does not stay on the air.
#[test]
fn a_locked_store_silences_the_radio_and_loses_nothing() {
    let phone = Phone::new();
    phone.run(5);
    assert!(phone.is_sending());
    let other = Connection::open(phone.store()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Past the end of the longest life of an identifier.
    phone.clock.advance(20 * MINUTE);
    let before = phone.sent.lock().unwrap().all.len();
    let at = phone.clock.now();
    let rpi = somebody().identifier(at.interval());
    let frame = Frame { rpi, aem: somebody().encrypt_metadata(&rpi, Metadata::new(-25)) };
    let heard = phone.tracer().record(&[Sighting { frame, rssi: Rssi(-60), measured_by: MeasuredBy::Us, at }]);
    let stepped = phone.tracer().step();
    for error in [heard.err(), stepped.err()] {
        assert!(matches!(error, Some(TracerError::Store(StoreError::Locked))), "{error:?}");
    }
    assert!(phone.tracer().release_keys().is_err());
    assert!(!phone.is_sending());
    assert_eq!(phone.sent.lock().unwrap().all.len(), before);

    other.execute_batch("ROLLBACK").unwrap();
    phone.run(2);
    assert!(phone.is_sending());
    phone.assert_nothing_sent_twice();
    let kept = phone.tracer().status().unwrap().encounters_today;
    assert_eq!(kept, 1, "what was heard meanwhile");
}

/// Noise over the last half of the database: encounters alone are there, what is small stands before them.
fn damage(store: &Path) {
    let mut bytes = std::fs::read(store).unwrap();
    assert!(bytes.len() > 200_000);
    let middle = bytes.len() / 2;
    bytes[middle..].iter_mut().enumerate().for_each(|(i, byte)| *byte ^= (i * 89 % 251 + 1) as u8);
    std::fs::write(store, bytes).unwrap();
}

/// A phone that has lived: an own key in use, an alert, and many encounters.
fn phone_with_a_past() -> Phone {
    let phone = Phone::new();
    phone.meet(&somebody());
    let file = phone.file("file", &phone.sign(&somebody()));
    phone.tracer().check(&[file], |_| ControlFlow::Continue(())).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let at = phone.clock.now();
    let crowd: Vec<_> = (0..5_000)
        .map(|_| {
            let key = TemporaryExposureKey::generate(at.interval(), &mut rng);
            let rpi = key.identifier(at.interval());
            let frame = Frame { rpi, aem: key.encrypt_metadata(&rpi, Metadata::new(-25)) };
            Sighting { frame, rssi: Rssi(-80), measured_by: MeasuredBy::Us, at }
        })
        .collect();
    phone.tracer().record(&crowd).unwrap();
    phone.run(2);
    assert!(phone.tracer().status().unwrap().encounters_today > 5_000);
    phone
}

fn assert_recovered(phone: &Phone) {
    let events = phone.events();
    let told = events.iter().filter(|event| matches!(event, Event::StoreRecovered { own_keys: 1, alerts: 1 }));
    assert_eq!(told.count(), 1, "the app is told once: {events:?}");
    phone.tracer().start();
    phone.run(60);
    assert!(phone.is_sending());
    phone.assert_nothing_sent_twice();
    assert_eq!(phone.tracer().alerts().unwrap().len(), 1);
    let key = phone.tracer().release_keys().unwrap().remove(0);
    let sent = phone.sent.lock().unwrap().all[0];
    assert!(key.identifiers().any(|(_, rpi)| rpi == sent), "the key of before the damage can be reported");
    let file = phone.file("again", &phone.sign(&somebody()));
    phone.tracer().check(&[file], |_| ControlFlow::Continue(())).unwrap();
    assert!(phone.events().iter().all(|event| !matches!(event, Event::AlertRaised(_))), "and it is not raised again");
}

#[test]
fn a_store_that_was_damaged_while_closed_is_recovered_and_no_identifier_is_sent_again() {
    let mut phone = phone_with_a_past();
    phone.tracer = None;
    damage(&phone.store());
    // The damage lies where opening does not look; the first check does.
    phone.open();
    let checked = phone.tracer().check(&[] as &[PathBuf], |_| ControlFlow::Continue(()));
    assert!(matches!(checked, Err(TracerError::Store(StoreError::Corrupt))), "{checked:?}");
    assert_recovered(&phone);
}

#[test]
fn a_store_that_is_damaged_in_use_is_recovered_without_a_restart() {
    let phone = phone_with_a_past();
    // So that what is in the log, and in SQLite's memory, is not better than what is on the disk.
    let other = Connection::open(phone.store()).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).unwrap();
    damage(&phone.store());
    other.execute_batch("UPDATE state SET clock_doubted_since = NULL").unwrap();
    drop(other);
    phone.events();
    let checked = phone.tracer().check(&[] as &[PathBuf], |_| ControlFlow::Continue(()));
    assert!(matches!(checked, Err(TracerError::Store(StoreError::Corrupt))), "{checked:?}");
    assert_recovered(&phone);
}
