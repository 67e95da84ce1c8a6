//! How long a store of 14 days takes to open, and to give its first answers: `cargo bench -p vigie --bench store`. The target is a few ms.

#![allow(missing_docs, clippy::print_stdout, reason = "a program that prints figures")]

use std::path::Path;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vigie::beacon::Frame;
use vigie::encounters::calibration::Calibration;
use vigie::encounters::{Encounter, Packet};
use vigie::keys::{AssociatedEncryptedMetadata, RollingProximityIdentifier};
use vigie::radio::{MeasuredBy, Rssi};
use vigie::store::{Store, StoreError};
use vigie::time::Timestamp;

const START: Timestamp = Timestamp::from_unix_s(1_603_324_800);
const NOW: Timestamp = Timestamp::from_unix_s(1_603_324_800 + 14 * 86_400);

/// 5,000 packets a day, each the only one of its encounter: the most rows that they can be.
const ENCOUNTERS: u32 = 14 * 5_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo test --benches` starts this as well; there it is enough that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store");
    let rng = &mut ChaCha20Rng::seed_from_u64(14);
    fill(&path, rng)?;
    println!("{ENCOUNTERS} encounters, {} bytes", std::fs::metadata(&path)?.len());
    let mut times = Vec::new();
    for _ in 0..21 {
        times.push(open_and_ask(&path, rng)?);
    }
    for (what, of) in [("open", 0), ("first query: encounters of today", 1), ("own keys and alerts", 2), ("all identifiers", 3)] {
        let mut times: Vec<_> = times.iter().map(|times| times[of]).collect();
        times.sort_unstable();
        println!("{what}: {:.2} ms, at most {:.2} ms", ms(times[times.len() / 2]), ms(times[times.len() - 1]));
    }
    Ok(())
}

fn fill(path: &Path, rng: &mut ChaCha20Rng) -> Result<(), StoreError> {
    let (mut store, _) = Store::open(path, START, rng)?;
    let encounters: Vec<_> = (0..ENCOUNTERS).map(|n| encounter(NOW.since(START) / ENCOUNTERS * n, rng)).collect();
    encounters.chunks(1_000).try_for_each(|batch| store.add_encounters(batch))
}

fn encounter(since_start: Duration, rng: &mut ChaCha20Rng) -> Encounter {
    let (mut rpi, mut aem) = ([0; 16], [0; 4]);
    rng.fill_bytes(&mut rpi);
    rng.fill_bytes(&mut aem);
    Encounter {
        frame: Frame { rpi: RollingProximityIdentifier(rpi), aem: AssociatedEncryptedMetadata(aem) },
        packets: vec![Packet { at: START.after(since_start), rssi: Rssi(-70) }],
        measured_by: MeasuredBy::Us,
        seconds_since_last_scan: Some(240),
        calibration: Calibration::default(),
    }
}

/// How long each takes, one after the other, on a store that was closed.
fn open_and_ask(path: &Path, rng: &mut ChaCha20Rng) -> Result<[Duration; 4], StoreError> {
    let mut began = Instant::now();
    let mut lap = || std::mem::replace(&mut began, Instant::now()).elapsed();
    let (store, _) = Store::open(path, NOW, rng)?;
    let opened = lap();
    store.count_encounters(NOW.date().first_interval().start()..NOW)?;
    let counted = lap();
    let (_, _) = (store.own_keys()?, store.alerts()?);
    let own = lap();
    assert_eq!(store.identifiers()?.len(), ENCOUNTERS as usize);
    Ok([opened, counted, own, lap()])
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
