//! Somebody sends 10,000 fresh identifiers a second for an hour. The store stays small, and who was near for 5 minutes of it is found.
//!
//! Heard by a phone as it is shipped, which listens for 4 s in some minutes; and by a computer that never stops listening, for 8 minutes, in which
//! what may be written at once is used up and only the hourly rate is left. With `VIGIE_LONG=1` for the whole hour: 36 million identifiers.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may stop anywhere, and says what it measured")]

use std::ops::ControlFlow;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rusqlite::Connection;
use vigie::beacon::Frame;
use vigie::diagnosis::{DiagnosisKey, ExportHeader, ReportType, SigningKey, write_export};
use vigie::keys::{AssociatedEncryptedMetadata, Metadata, RollingProximityIdentifier, TemporaryExposureKey};
use vigie::radio::{MeasuredBy, Radio, RadioError, Rssi, Scanner, Sighting};
use vigie::time::{Clock, ManualClock, Timestamp};
use vigie::tracer::{Config, Scanning, Tracer};

/// 22 October 2020, 12:00.
const START: Timestamp = Timestamp::from_unix_s(1_603_368_000);
const MINUTE: Duration = Duration::from_secs(60);

/// Minutes after the start.
const NEAR: Range<u64> = 2..7;

/// A phone looks every 3.5 minutes or less often: so much it makes of 5 minutes at least.
const NEAR_AT_LEAST_S: u32 = 210;

/// A scanner in the flood. Somebody with the key `friend` is near in the minutes [`NEAR`], sends four times a second, and a third of that gets lost.
struct Flooded {
    clock: ManualClock,
    rng: ChaCha20Rng,
    friend: TemporaryExposureKey,
    listens_since: Option<Timestamp>,
}

fn heard_at(at: Timestamp, frame: Frame) -> Sighting {
    Sighting { frame, rssi: Rssi(-60), measured_by: MeasuredBy::Us, at }
}

impl Scanner for Flooded {
    fn start(&mut self) -> Result<(), RadioError> {
        self.listens_since.get_or_insert(self.clock.now());
        Ok(())
    }

    fn stop(&mut self) {
        self.listens_since = None;
    }

    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), RadioError> {
        let (Some(since), now) = (self.listens_since, self.clock.now()) else { return Ok(()) };
        for ms in since.unix_ms()..now.unix_ms() {
            let at = Timestamp::from_unix_ms(ms);
            for _ in 0..10 {
                let (mut rpi, mut aem) = ([0; 16], [0; 4]);
                self.rng.fill_bytes(&mut rpi);
                self.rng.fill_bytes(&mut aem);
                let frame = Frame { rpi: RollingProximityIdentifier(rpi), aem: AssociatedEncryptedMetadata(aem) };
                heard.push(heard_at(at, frame));
            }
            let is_near = NEAR.contains(&(at.since(START).as_secs() / 60));
            if is_near && ms % 250 == 0 && !self.rng.next_u32().is_multiple_of(3) {
                let rpi = self.friend.identifier(at.interval());
                let aem = self.friend.encrypt_metadata(&rpi, Metadata::new(-25));
                heard.push(heard_at(at, Frame { rpi, aem }));
            }
        }
        self.listens_since = Some(now);
        Ok(())
    }
}

/// Bytes of the database and of its log.
fn bytes(store: &Path) -> u64 {
    let log = store.with_extension("db-wal");
    [store, &log].iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len())).sum()
}

fn flood(scanning: Scanning, time: Duration) {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store.db");
    let clock = ManualClock::new(START);
    let authority = SigningKey::generate().unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(10_000);
    let friend = TemporaryExposureKey::generate(START.interval().day_start(), &mut rng);
    let flooded =
        Flooded { clock: clock.clone(), rng: ChaCha20Rng::from_rng(&mut rng), friend: friend.clone(), listens_since: None };
    let radio = Radio { scanner: Some(Box::new(flooded)), advertiser: None };
    let mut config = Config::default();
    (config.scanning, config.authority_keys) = (scanning, vec![authority.public_key().clone()]);
    let tracer = Tracer::open(config, &store, radio, clock.clone(), rng).unwrap();
    let empty = bytes(&store);
    tracer.start();
    let mut most = 0;
    while clock.now() < START.after(time) {
        clock.advance(tracer.step().unwrap());
        most = bytes(&store).max(most);
    }
    tracer.stop().unwrap();

    let key = DiagnosisKey {
        key: friend,
        report_type: Some(ReportType::ConfirmedTest),
        days_since_onset: Some(0),
        transmission_risk: 0,
    };
    let file = dir.path().join("file");
    std::fs::write(&file, write_export(&ExportHeader::default(), &[key], &[], &authority).unwrap()).unwrap();
    let windows = tracer.check(&[file], |_| ControlFlow::Continue(())).unwrap().assessment.windows;
    // Closing moves the log into the database.
    drop(tracer);
    let size = bytes(&store) - empty;
    let (rows, budgeted) = rows_and_budget(&store);
    println!(
        "{scanning:?}, {} s: {size} bytes, {most} with the log at most; {rows} rows, {budgeted} bytes by the budget",
        time.as_secs()
    );

    assert!(rows > 40_000, "the flood did come in");
    // What strangers may take at once, and the rate of each second, and something for the friend: 16.5 MB in an hour.
    let share = 2_100_000 + 4_000 * time.as_secs();
    assert!(share <= 20_000_000 && size <= share, "{size} bytes of {share}");
    assert!(size <= budgeted, "the store takes {size} bytes, the budget counts {budgeted}");
    let instances: Vec<_> = windows.iter().flat_map(|window| &window.scan_instances).collect();
    let seconds: u32 = instances.iter().map(|instance| u32::from(instance.seconds_since_last_scan)).sum();
    println!("{} scan instances for {seconds} s", instances.len());
    assert!((NEAR_AT_LEAST_S..=600).contains(&seconds), "a contact of 5 minutes, not of {seconds} s");
}

/// How many encounters are kept, and how many bytes the recorder's budget counts for them: 45 for one packet, 4 for each more.
fn rows_and_budget(store: &Path) -> (u64, u64) {
    let database = Connection::open(store).unwrap();
    // One byte for the first packet of a row, two or three for each other.
    let sql = "SELECT count(*), sum(45 + 4 * ((length(packets) - 1) / 3)) FROM encounters";
    database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[test]
fn a_flood_of_10_000_fresh_identifiers_a_second_stays_within_20_mb_an_hour_and_hides_nobody() {
    flood(Scanning::Periodic, 60 * MINUTE);
    if std::env::var_os("VIGIE_LONG").is_some() {
        flood(Scanning::Continuous, 60 * MINUTE);
    } else {
        println!("shortened from 60 minutes to 8 for one that always listens; VIGIE_LONG=1 is the whole");
        flood(Scanning::Continuous, 8 * MINUTE);
    }
}
