//! What matching a large key file costs in memory. Counted by a global allocator, hence a program of its own with one test.
//!
//! SQLite's own memory is not counted: it is a cache of 2 MB, whatever the file.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may stop anywhere, and says what it measured")]

use std::ops::ControlFlow;
use std::path::Path;

use peak_alloc::PeakAlloc;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vigie::beacon::Frame;
use vigie::diagnosis::{DiagnosisKey, ExportHeader, PublicKey, ReportType, SigningKey, write_export};
use vigie::encounters::calibration::Calibration;
use vigie::encounters::{Encounter, Packet};
use vigie::keys::{Metadata, RollingProximityIdentifier, TemporaryExposureKey};
use vigie::radio::{MeasuredBy, Radio, Rssi};
use vigie::store::Store;
use vigie::time::{Date, EnIntervalNumber, ManualClock};
use vigie::tracer::{Config, FileStatus, Tracer};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const KEYS: u32 = 500_000;
const IDENTIFIERS: u32 = 50_000;
const DAYS: u32 = 14;
const FIRST_DAY: Date = Date::from_days(18_557);
const LIMIT: usize = 40_000_000;

fn key(number: u32, rng: &mut ChaCha20Rng) -> DiagnosisKey {
    let start = Date::from_days(FIRST_DAY.days() + number % DAYS).first_interval();
    DiagnosisKey {
        key: TemporaryExposureKey::generate(start, rng),
        report_type: Some(ReportType::ConfirmedTest),
        days_since_onset: Some(0),
        transmission_risk: 0,
    }
}

/// The file, and one of its keys.
fn write_file(path: &Path, rng: &mut ChaCha20Rng) -> (PublicKey, TemporaryExposureKey) {
    let authority = SigningKey::generate().unwrap();
    let keys: Vec<_> = (0..KEYS).map(|number| key(number, rng)).collect();
    std::fs::write(path, write_export(&ExportHeader::default(), &keys, &[], &authority).unwrap()).unwrap();
    (authority.public_key().clone(), keys[keys.len() / 2].key.clone())
}

/// Strangers at all times of the 14 days, and half an hour with the owner of `met`.
fn fill_store(path: &Path, met: &TemporaryExposureKey, rng: &mut ChaCha20Rng) {
    let somebody = |rpi, interval: EnIntervalNumber| Encounter {
        frame: Frame { rpi, aem: met.encrypt_metadata(&rpi, Metadata::new(-25)) },
        packets: vec![Packet { at: interval.start(), rssi: Rssi(-60) }],
        measured_by: MeasuredBy::Us,
        seconds_since_last_scan: Some(240),
        calibration: Calibration::default(),
    };
    let mut encounters = Vec::new();
    for number in 0..IDENTIFIERS {
        let mut rpi = [0; 16];
        rng.fill_bytes(&mut rpi);
        encounters.push(somebody(RollingProximityIdentifier(rpi), FIRST_DAY.first_interval().plus(number % (DAYS * 144))));
    }
    encounters.extend(met.identifiers().take(3).map(|(interval, rpi)| somebody(rpi, interval)));
    let (mut store, _) = Store::open(path, FIRST_DAY.first_interval().start(), rng).unwrap();
    store.add_encounters(&encounters).unwrap();
}

#[test]
fn matching_500_000_keys_with_50_000_identifiers_takes_less_than_40_mb() {
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = (dir.path().join("file.zip"), dir.path().join("store"));
    let mut rng = ChaCha20Rng::seed_from_u64(40);
    let (authority, met) = write_file(&file, &mut rng);
    fill_store(&path, &met, &mut rng);

    let mut config = Config::default();
    config.authority_keys = vec![authority];
    let clock = ManualClock::new(Date::from_days(FIRST_DAY.days() + DAYS).first_interval().start());
    let tracer = Tracer::open(config, &path, Radio::default(), clock, rng).unwrap();
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let report = tracer.check(&[file], |_| ControlFlow::Continue(())).unwrap();
    let peak = MEMORY.peak_usage() - before;

    println!("{peak} bytes at most, {} before", before);
    assert!(matches!(report.files[0].status, FileStatus::Matched { refused_keys: 0 }), "{report:?}");
    assert_eq!((report.files[0].keys, report.assessment.windows.len()), (u64::from(KEYS), 1));
    assert!(peak < LIMIT, "{peak} bytes");
}
