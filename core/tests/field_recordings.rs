//! Traffic that real phones recorded: 20 people with phones at EPFL, 30 July 2020 (DP-3T/bt-measurements, CC BY-ND 4.0, EPFL and ETHZ).
//!
//! The identifiers were not published, so every transmitter gets a key and its frames are made for the times recorded. Each receiver is a tracer
//! that hears all transmitters in order of time, and then checks a signed file of each transmitter's key. The scan instances of its windows are
//! compared with those that the publishers made of the same rows.
//! `VIGIE_FIELD_DATA` names the folder with `epfl/`; without it the tests say that they were skipped.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may stop anywhere, and says what it measured")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rusqlite::{Connection, OpenFlags};
use vigie::beacon::Frame;
use vigie::diagnosis::{DiagnosisKey, ExportHeader, ReportType, SigningKey, write_export};
use vigie::encounters::calibration::CalibrationTable;
use vigie::exposure::{ExposureWindow, ScanInstance};
use vigie::keys::{Metadata, TemporaryExposureKey};
use vigie::radio::{MeasuredBy, Radio, Rssi, Sighting};
use vigie::time::{ManualClock, Timestamp};
use vigie::tracer::{Config, FileStatus, Tracer};

/// One packet heard.
struct Row {
    receiver: String,
    transmitter: String,
    at: Timestamp,
    rssi: i8,
}

/// A scan instance as published. The mean is cut to a whole number there.
struct Published {
    min_attenuation: i64,
    mean_attenuation: i64,
}

/// Receiver and transmitter.
type Pair = (String, String);

struct Recording {
    rows: Vec<Row>,
    /// The model of each device; the column of the transmitter repeats the receiver's.
    models: BTreeMap<String, String>,
    published: BTreeMap<Pair, Vec<Published>>,
    calibrations: CalibrationTable,
}

fn recording(name: &str) -> Option<Recording> {
    let Some(folder) = std::env::var_os("VIGIE_FIELD_DATA").map(PathBuf::from) else {
        // Straight to stderr: what `println!` says of a test that passes, nobody sees.
        std::io::stderr().write_all(b"skipped: VIGIE_FIELD_DATA is not set\n").unwrap();
        return None;
    };
    let table = std::fs::File::open(folder.join("en-calibration.csv")).unwrap();
    let database = folder.join("epfl").join(format!("{name}.sqlite"));
    let database = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut models = BTreeMap::new();
    let mut query = database
        .prepare("SELECT receiver_id, receiver_model, transmitter_id, timestamp, rssi FROM results ORDER BY timestamp, db_id")
        .unwrap();
    let rows = query.query_map([], |row| {
        let receiver: String = row.get(0)?;
        models.insert(receiver.clone(), row.get(1)?);
        let at = Timestamp::from_unix_s_f64(row.get(3)?).unwrap();
        Ok(Row { receiver, transmitter: row.get(2)?, at, rssi: row.get(4)? })
    });
    let rows = rows.unwrap().collect::<Result<_, _>>().unwrap();
    let json = std::fs::read(folder.join("epfl").join(format!("{name}.json"))).unwrap();
    let published = published(&serde_json::from_slice(&json).unwrap());
    Some(Recording { rows, models, published, calibrations: CalibrationTable::from_csv(table).unwrap() })
}

/// {period: {n: {receiver: {transmitter: {"ts": [first, last], "min_att", "avg_att"}}}}}
fn published(json: &serde_json::Value) -> BTreeMap<Pair, Vec<Published>> {
    let children = |value: &serde_json::Value| value.as_object().unwrap().clone().into_iter();
    let mut published: BTreeMap<Pair, Vec<Published>> = BTreeMap::new();
    for (receiver, heard) in children(json).flat_map(|(_, period)| children(&period)).flat_map(|(_, scan)| children(&scan)) {
        for (transmitter, instance) in children(&heard) {
            published.entry((receiver.clone(), transmitter)).or_default().push(Published {
                min_attenuation: instance["min_att"].as_f64().unwrap() as i64,
                mean_attenuation: instance["avg_att"].as_f64().unwrap() as i64,
            });
        }
    }
    published
}

impl Recording {
    fn keys(&self) -> BTreeMap<String, TemporaryExposureKey> {
        let devices: BTreeSet<_> = self.rows.iter().flat_map(|row| [&row.receiver, &row.transmitter]).collect();
        let midnight = self.rows[0].at.interval().day_start();
        let mut rng = ChaCha20Rng::seed_from_u64(2020);
        devices.into_iter().map(|device| (device.clone(), TemporaryExposureKey::generate(midnight, &mut rng))).collect()
    }

    /// A tracer that has heard, at its time, all that this receiver did.
    fn receiver(
        &self,
        receiver: &str,
        model: &str,
        keys: &BTreeMap<String, TemporaryExposureKey>,
        authority: &SigningKey,
    ) -> Tracer {
        let mut config = Config::default();
        config.calibration = self.calibrations.lookup(model);
        config.authority_keys = vec![authority.public_key().clone()];
        let clock = ManualClock::new(self.rows[0].at);
        let rng = ChaCha20Rng::seed_from_u64(30);
        let tracer = Tracer::open_in_memory(config, Radio::default(), clock.clone(), rng).unwrap();
        for row in self.rows.iter().filter(|row| row.receiver == receiver) {
            let power = self.models.get(&row.transmitter).map_or(-25, |model| self.calibrations.lookup(model).transmit_power);
            let key = &keys[&row.transmitter];
            let rpi = key.identifier(row.at.interval());
            let frame = Frame { rpi, aem: key.encrypt_metadata(&rpi, Metadata::new(power)) };
            clock.advance_to(row.at);
            let sighting = Sighting { frame, rssi: Rssi(row.rssi), measured_by: MeasuredBy::Us, at: row.at };
            tracer.record(&[sighting]).unwrap();
        }
        tracer
    }
}

fn publish(key: &TemporaryExposureKey, authority: &SigningKey, path: &Path) {
    let report_type = Some(ReportType::ConfirmedTest);
    let key = DiagnosisKey { key: key.clone(), report_type, days_since_onset: Some(0), transmission_risk: 0 };
    std::fs::write(path, write_export(&ExportHeader::default(), &[key], &[], authority).unwrap()).unwrap();
}

/// What the windows of one more file hold. They come in random order, so those known before are taken out of all.
fn added_instances(tracer: &Tracer, file: &Path, known: &mut Vec<ExposureWindow>) -> Vec<ScanInstance> {
    let report = tracer.check(&[file], |_| ControlFlow::Continue(())).unwrap();
    assert!(matches!(report.files[0].status, FileStatus::Matched { refused_keys: 0 }), "{report:?}");
    let mut added = report.assessment.windows.clone();
    for window in known.drain(..) {
        let at = added.iter().position(|found| *found == window).expect("what was found stays");
        added.swap_remove(at);
    }
    *known = report.assessment.windows;
    added.into_iter().flat_map(|window| window.scan_instances).collect()
}

fn sorted(values: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values
}

fn compare_with_publication(name: &str, expected_instances: usize) {
    let Some(recording) = recording(name) else { return };
    let (keys, authority) = (recording.keys(), SigningKey::generate().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = |transmitter: &str| folder.path().join(transmitter);
    keys.iter().for_each(|(transmitter, key)| publish(key, &authority, &file(transmitter)));

    let mut instances_of_all = 0;
    let mut differences: BTreeMap<(Option<&String>, Option<&String>), BTreeSet<i64>> = BTreeMap::new();
    for (receiver, model) in &recording.models {
        let tracer = recording.receiver(receiver, model, &keys, &authority);
        let mut known = Vec::new();
        for transmitter in keys.keys() {
            let ours = added_instances(&tracer, &file(transmitter), &mut known);
            instances_of_all += ours.len();
            let pair = (receiver.clone(), transmitter.clone());
            let theirs = recording.published.get(&pair).map_or(&[][..], Vec::as_slice);
            assert_eq!(ours.len(), theirs.len(), "scan instances of {pair:?}");
            // In order of strength, as the order in time is nobody's to see. What is true of each instance is true of these.
            let minima = sorted(ours.iter().map(|instance| i64::from(instance.min_attenuation_db)));
            let typical = sorted(ours.iter().map(|instance| i64::from(instance.typical_attenuation_db)));
            let published_minima = sorted(theirs.iter().map(|instance| instance.min_attenuation));
            let published_means = sorted(theirs.iter().map(|instance| instance.mean_attenuation));
            let of_minima: BTreeSet<_> = minima.iter().zip(&published_minima).map(|(ours, theirs)| ours - theirs).collect();
            for (ours, theirs) in typical.iter().zip(&published_means) {
                assert!(
                    of_minima.iter().all(|constant| (ours - theirs - constant).abs() <= 1),
                    "{pair:?}: {ours} dB, {theirs} dB"
                );
            }
            differences.entry((Some(model), recording.models.get(transmitter))).or_default().extend(of_minima);
        }
    }
    differences.retain(|_, differences| !differences.is_empty());
    println!("{name}: {instances_of_all} scan instances, {} pairs of models", differences.len());
    assert_eq!(instances_of_all, expected_instances);
    assert!(differences.len() > 20);
    for (models, differences) in differences {
        assert_eq!(differences.len(), 1, "one constant for {models:?}, found {differences:?}");
    }
}

#[test]
fn the_lunch_at_epfl_has_1049_scan_instances() {
    compare_with_publication("scenario01-lunch", 1_049);
}

#[test]
fn the_office_at_epfl_has_1185_scan_instances() {
    compare_with_publication("scenario03-office", 1_185);
}
